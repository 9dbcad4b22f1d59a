"""The decoder by onnxruntime paints what the decoder by torch paints, within one level."""

import numpy as np
import pytest
import torch
from small_blocks import NARROW

from dctcodec import Codec
from dctcodec.bands import blocks
from dctcodec.bands.decoder import Decoder, painted
from dctcodec.bands.order import CHANNELS
from dctcodec.bands.painter import Painter

SQUARES = blocks.kinds_of(("32x32", "16x16", "8x8", "4x4"))


def symbols(height: int, width: int) -> np.ndarray:
    values = np.random.default_rng(0).integers(-6, 7, (len(CHANNELS), height, width))
    return (values // (1 + np.arange(len(CHANNELS)) // 20)[:, None, None]).astype(np.int32)


def decoder(kinds: tuple[int, ...]) -> Decoder:
    """A small decoder of random weights, none of them zero."""
    torch.manual_seed(0)
    made = Decoder(NARROW, kinds).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return made


def weights(made: Decoder) -> dict[str, np.ndarray]:
    return {name: values.numpy() for name, values in made.state_dict().items()}


@pytest.mark.parametrize("kinds", [(), SQUARES])
@pytest.mark.parametrize("grid", [(1, 1), (3, 2), (9, 2)])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_the_graph_is_the_network(kinds, grid: tuple[int, int], temperature: float, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dctcodec.tiles.STRIP", 8)  # several strips
    made, values = decoder(kinds), symbols(*grid)
    partition = np.random.default_rng(1).choice([0, *SQUARES[1:2]], grid)[None].repeat(4, 0) if kinds else None
    expected = painted(made, values, 40.0, temperature, 7, partition)
    found = Painter(weights(made), kinds).paint(values, 40.0, temperature, 7, partition)
    assert found.shape == expected.shape and np.abs(found - expected).max() < 0.05


@pytest.mark.parametrize("quality", [5, 50, 100])
def test_the_shipped_decoders_paint_the_same_pixels_within_a_level(codec: Codec, photo, quality: float):
    image = photo.crop((100, 60, 260, 180))
    for tune in codec.family.tunes:
        data = codec.encode(image, quality, tune=tune)
        header, values = codec.symbols(data)
        expected = painted(codec.family.torch_decoder(tune), values, header.step, 0, 0)[:, :120, :160].clip(0, 255).round()
        found = np.asarray(codec.decode(data), float).transpose(2, 0, 1)
        assert np.abs(found - expected).max() <= 1 and (found != expected).mean() < 1e-3


def test_weights_of_other_blocks_are_told():
    with pytest.raises(LookupError, match="other blocks"):
        Painter(weights(decoder(SQUARES)), ())

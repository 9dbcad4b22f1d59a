"""The paper's models as a codec, from images to bytes and back, with tiny models in place of the installed ones."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from dctcodec import Codec, FormatError, ModelError, container, installed, metrics
from dctcodec.cli.main import main
from dctcodec.codec import loaded
from dctcodec.evaluate import figure9
from dctcodec.evaluate.baselines import JPEG
from dctcodec.family import Parameters
from dctcodec.vae.files import load_model
from dctcodec.vae.noise import tile_noise
from dctcodec.vae.reconstruct import reconstruct_context

NAME, BASELINE = "dct-vae-tiny", "vae-tiny"
CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def places(tiny_tiles: Path) -> Iterator[None]:
    """The tiny models beside the shipped ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(installed, "_PLACES", (tiny_tiles, *installed._PLACES))
        loaded.cache_clear()
        yield
    loaded.cache_clear()


@pytest.fixture(scope="module")
def tiny(places: None) -> Codec:
    return Codec(NAME, "cpu")


@pytest.fixture(scope="module")
def png(make_picture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("png") / "picture.png"
    make_picture(70, 40).save(path)
    return path


def dctcodec(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def assert_one_error(result: Result, code: int, *words: str) -> None:
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and all(word in lines[0] for word in words), result.stderr
    assert (result.exit_code, result.stdout) == (code, "")


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


def symbols_of(codec: Codec, picture: Image.Image) -> np.ndarray:
    """The symbols that a file must hold, from the image alone: tiles row by row, edges replicated."""
    rgb = np.asarray(picture.convert("RGB"))
    rows, columns = (-(-side // 32) * 32 - side for side in rgb.shape[:2])
    padded = np.pad(rgb, ((0, rows), (0, columns), (0, 0)), "edge")
    tiles = [
        padded[row : row + 32, column : column + 32]
        for row in range(0, padded.shape[0], 32)
        for column in range(0, padded.shape[1], 32)
    ]
    images = torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2).float() / 255
    return codec.family.torch_model().context.symbols(images).int().numpy()


# --- bytes


@pytest.mark.parametrize("size", [(1, 1), (31, 33), (64, 96)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pictures_come_back(tiny: Codec, make_picture: Callable[..., Image.Image], size: tuple[int, int], mode: str):
    picture = make_picture(*size, mode)
    data = tiny.encode(picture, seed=9)
    header, symbols = tiny.symbols(data)
    assert (header.width, header.height, header.grey, header.step16, header.seed) == (*size, mode == "L", 0, 9)
    assert symbols.dtype == np.int32 and np.array_equal(symbols, symbols_of(tiny, picture))
    back = tiny.decode(data)
    assert (back.size, back.mode) == (size, mode)


def test_the_picture_shows_what_the_file_holds(tiny: Codec, make_picture):
    picture = make_picture(70, 40)
    back = tiny.decode(tiny.encode(picture), temperature=0)
    # untrained, but its means count from the context's image
    near, far = (np.abs(pixels(back) - pixels(other)).mean() for other in (picture, picture.rotate(180)))
    assert near < 0.8 * far


def test_threads_make_no_difference_to_the_bytes(tiny: Codec, make_picture, threads):
    picture = make_picture(200, 100)
    threads(1)
    expected = tiny.encode(picture)
    threads(2)
    assert tiny.encode(picture) == expected
    assert np.array_equal(tiny.symbols(expected)[1], symbols_of(tiny, picture))


def test_the_code_length_is_near_the_files_size(tiny: Codec, make_picture):
    data = tiny.encode(make_picture(320, 320))
    coded = tiny.family.prior.code(tiny.symbols(data)[1], 0, measure=True)
    assert tiny.code_length(data) == coded.bound_bits
    assert 8 * len(data) == pytest.approx(coded.bound_bits, rel=0.12)


def test_effort_paints_a_nearer_picture_or_takes_fewer_bits(tiny: Codec, make_picture):
    picture = make_picture(64, 64)
    tiles = torch.from_numpy(pixels(picture)).permute(2, 0, 1).reshape(3, 2, 32, 2, 32).permute(1, 3, 0, 2, 4)
    tiles, context = tiles.reshape(4, 3, 32, 32).float() / 255, tiny.family.torch_model().context
    costs = []
    for effort in (0, 1, 5):
        symbols = torch.from_numpy(tiny.symbols(tiny.encode(picture, effort=effort))[1]).long()
        painted = tiny.family.torch_model().vae.generate(context.image(symbols), 4, temperature=0)
        bits = context.choice.lengths(context.bins(symbols)).flatten(1).sum(1)
        costs.append((painted - tiles).square().flatten(1).sum(1) + context.choice.weight * bits)
    assert (costs[1] <= costs[0] + 1e-4).all() and (costs[2] <= costs[0] + 1e-4).all() and costs[2].sum() < costs[0].sum()
    shares: list[float] = []
    data = tiny.encode(picture, effort=2, tick=shares.append)
    assert sum(shares) == pytest.approx(1) and data == tiny.encode(picture, effort=2)


def test_a_context_without_code_lengths_knows_no_effort(tiny: Codec, monkeypatch: pytest.MonkeyPatch, png: Path, tmp_path: Path):
    monkeypatch.setattr(tiny.family, "most_effort", 0)
    monkeypatch.setattr("dctcodec.codec.loaded", lambda *_: tiny)
    with pytest.raises(ValueError, match="effort"):
        tiny.encode(Image.open(png), effort=1)
    result = dctcodec("encode", png, "-o", tmp_path / "a.dct", "--model", NAME, "--effort", 1)
    assert_one_error(result, 1, NAME, "does not support --effort")


def test_a_quality_is_refused(tiny: Codec, make_picture, png: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="one quality"):
        tiny.encode(make_picture(5, 5), quality=50)
    result = dctcodec("encode", png, "-o", tmp_path / "a.dct", "--model", NAME, "--quality", 50)
    assert_one_error(result, 2, "one quality", NAME)
    assert_one_error(dctcodec("bench", "kodak", "--data", png.parent, "--model", NAME, "--quality", 50), 2, "one quality")
    assert not (tmp_path / "a.dct").exists()


# --- noise


def test_the_same_file_and_temperature_give_the_same_pixels(tiny: Codec, make_picture):
    picture = make_picture(70, 40)
    first, second = tiny.encode(picture, seed=1), tiny.encode(picture, seed=2)
    drawn = pixels(tiny.decode(first, 1.0))
    assert np.array_equal(drawn, pixels(tiny.decode(first, 1.0)))
    assert not np.array_equal(drawn, pixels(tiny.decode(first, 0.5)))
    assert not np.array_equal(drawn, pixels(tiny.decode(second, 1.0)))


def test_at_temperature_zero_the_seed_makes_no_difference(tiny: Codec, make_picture):
    first, second = (pixels(tiny.decode(tiny.encode(make_picture(70, 40), seed=seed), 0)) for seed in (1, 2**32 - 1))
    assert np.array_equal(first, second)


def test_the_default_temperature_is_the_configurations(tiny: Codec, tiny_tiles: Path, make_picture):
    temperature = json.loads((tiny_tiles / NAME / installed.CONFIG).read_text())["temperature"]
    assert tiny.family.temperature == temperature > 0
    data = tiny.encode(make_picture(70, 40), seed=3)
    default = pixels(tiny.decode(data))
    assert np.array_equal(default, pixels(tiny.decode(data, temperature)))
    assert not np.array_equal(default, pixels(tiny.decode(data, 0)))


@pytest.mark.parametrize("temperature", [-0.1, float("nan"), float("inf")])
def test_absurd_temperatures_are_refused(tiny: Codec, make_picture, temperature: float):
    with pytest.raises(ValueError, match="temperature"):
        tiny.decode(tiny.encode(make_picture(5, 5)), temperature)


def test_a_tiles_noise_depends_on_the_seed_and_its_number_alone():
    shapes = [(2, 4, 4), (3, 8, 8)]
    many = tile_noise(range(10), 7, CPU)
    few = tile_noise(range(6, 8), 7, CPU)
    for shape in shapes:
        all_tiles = many((10, *shape))
        assert torch.equal(all_tiles[6:8], few((2, *shape)))
        assert not torch.equal(all_tiles[6], all_tiles[7])
    generator = np.random.Generator(np.random.Philox(key=[7, 6]))  # as FORMAT.md says
    again = tile_noise(range(6, 7), 7, CPU)
    for shape in shapes:
        assert np.array_equal(again((1, *shape))[0].numpy(), generator.standard_normal(shape, dtype=np.float32))


def test_a_tile_is_painted_alike_in_any_picture(tiny: Codec, make_picture, monkeypatch: pytest.MonkeyPatch):
    symbols = symbols_of(tiny, make_picture(64 + 32, 32 * 14))
    parameters = Parameters(seed=5)
    all_of_it = tiny.family.paint(symbols, (96, 32 * 14), parameters, 1.0)
    top = tiny.family.paint(symbols[:6], (96, 64), parameters, 1.0)
    assert all_of_it.shape == (3, 32 * 14, 96)
    assert np.allclose(all_of_it[:, :64], top, atol=0.05)
    monkeypatch.setattr("dctcodec.vae.family.CHUNK", 5)
    assert np.allclose(tiny.family.paint(symbols, (96, 32 * 14), parameters, 1.0), all_of_it, atol=0.05)


# --- damage


@pytest.fixture(scope="module")
def small(tiny: Codec, make_picture) -> bytes:
    return tiny.encode(make_picture(5, 5), seed=77)


def test_every_flipped_byte_is_refused(tiny: Codec, small: bytes):
    tiny.decode(small)
    for position in range(len(small)):
        damaged = bytearray(small)
        damaged[position] ^= 0x5A
        with pytest.raises(FormatError):
            tiny.symbols(bytes(damaged))


def test_every_truncation_is_refused(tiny: Codec, small: bytes):
    for length in range(len(small)):
        with pytest.raises(FormatError):
            tiny.symbols(small[:length])
    with pytest.raises(FormatError):
        tiny.symbols(small + b"\0\0\0\0")


def test_damage_under_a_right_checksum_is_refused(tiny: Codec, small: bytes):
    header, payload = container.parse(small).header, container.parse(small).payload
    read = []
    for position in range(len(payload)):
        damaged = bytearray(payload)
        damaged[position] ^= 0x21
        with suppress(FormatError):
            read.append(tiny.symbols(container.write(header, bytes(damaged)))[1])
    # the growth of the groups, which one tile does not use
    assert len(read) <= 1 and all(np.array_equal(symbols, tiny.symbols(small)[1]) for symbols in read)


def craft(codec: Codec, data: bytes, **changes: int) -> bytes:
    file = container.parse(data)
    return container.write(replace(file.header, **({"model_id": codec.model.model_id} | changes)), file.payload)


def test_a_file_of_another_model_is_named(tiny: Codec, codec, small: bytes, make_picture):
    assert craft(tiny, small)[5] == 0
    with pytest.raises(ModelError, match=f"made with model {NAME}, not {installed.DEFAULT}"):
        codec.symbols(small)
    with pytest.raises(ModelError, match=f"made with model {installed.DEFAULT}, not {NAME}"):
        tiny.symbols(codec.encode(make_picture(5, 5)))
    with pytest.raises(ModelError, match="0badcafe"):
        tiny.symbols(craft(tiny, small, model_id=0x0BADCAFE))


def test_a_step_that_the_model_does_not_know_is_refused(tiny: Codec, codec, small: bytes, make_picture):
    with pytest.raises(FormatError, match="step is 50"):
        tiny.decode(craft(tiny, small, step16=800))
    with pytest.raises(FormatError, match="step is 0"):
        codec.decode(craft(codec, codec.encode(make_picture(5, 5)), step16=0))


# --- the command line


def test_encode_and_decode_take_the_model(png: Path, tmp_path: Path):
    assert dctcodec("encode", png, "-o", tmp_path / "a.dct", "--model", NAME).exit_code == 0
    for words in ([], ["--temperature", 0.7]):
        assert dctcodec("decode", tmp_path / "a.dct", "-o", tmp_path / "a.png", *words).exit_code == 0
        assert Image.open(tmp_path / "a.png").size == (70, 40)


def test_info_shows_no_step(small: bytes, tmp_path: Path):
    path = tmp_path / "small.dct"
    path.write_bytes(small)
    facts = json.loads(dctcodec("info", path, "--json").stdout)
    assert not {"step", "quality"} & facts.keys()
    assert (facts["model"], facts["width"], facts["seed"], facts["bytes"]) == (NAME, 5, 77, len(small))
    text = dctcodec("info", path).stdout
    assert NAME in text and "\nstep" not in text and "quality" not in text


def test_models_lists_both(tiny: Codec):
    cards = {card["name"]: card for card in json.loads(dctcodec("models", "--json").stdout)}
    assert (cards[NAME]["family"], cards[NAME]["id"]) == ("dct-vae", f"{tiny.model.model_id:08x}")
    assert (cards[BASELINE]["family"], cards[BASELINE]["id"]) == ("vae", "-")


def test_the_baseline_is_no_codec(png: Path, tmp_path: Path):
    with pytest.raises(ModelError, match="has no codec"):
        Codec(BASELINE, "cpu")
    assert_one_error(dctcodec("encode", png, "-o", tmp_path / "a.dct", "--model", BASELINE), 1, BASELINE, "for evaluation only")
    assert not (tmp_path / "a.dct").exists()


# --- bench kodak --paper


@pytest.fixture(scope="module")
def pictures(make_picture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    make_picture(70, 40).save(folder / "colour.png")
    make_picture(40, 64, "L", seed=1).save(folder / "grey.png")
    return folder


def test_figure_9_is_measured_and_drawn(pictures: Path, tmp_path: Path):
    files = ["--json", tmp_path / "paper.json", "--plot", tmp_path / "paper.png"]
    result = dctcodec("bench", "kodak", "--paper", "--data", pictures, "--model", NAME, "--device", "cpu", *files)
    assert result.exit_code == 0, result.stderr
    assert all(word in result.stdout for word in ("colour.png", "grey.png", "mean", "DCT-VAE", "bare context", BASELINE))
    document = json.loads((tmp_path / "paper.json").read_text())
    assert document.keys() == {"set", "model", "baseline", "temperature", "machine", "means", "images"}
    assert [document[key] for key in ("model", "baseline", "temperature")] == [NAME, BASELINE, 0.1]
    figures = {"vae", "dct_vae", "jpeg", "jpeg_equal_bpp", "ratio", "payload_bpp", "bound_bpp", "initial_bpp", "plain_tiles"}
    figures |= {"encode_seconds", "decode_seconds", "bare", "bound", "bound_bare"}
    assert [image["image"] for image in document["images"]] == ["colour.png", "grey.png"]
    for image in document["images"]:
        assert image.keys() == figures | {"image"}
        assert image["dct_vae"].keys() == {"psnr", "ms_ssim", "bpp"}
        assert image["dct_vae"]["ms_ssim"] is None and image["vae"]["bpp"] > 0
        assert image["ratio"] == pytest.approx(image["dct_vae"]["bpp"] / image["jpeg_equal_bpp"])
        assert image["jpeg_equal_bpp"] <= image["jpeg"]["bpp"]
        assert image["payload_bpp"] < image["dct_vae"]["bpp"]
        assert image["bare"]["bpp"] == image["dct_vae"]["bpp"] and image["bare"]["psnr"] > 10
        assert image["bound"] is image["bound_bare"] is None
    figures -= {"bound", "bound_bare"}
    assert document["means"].keys() == figures | {"payload_over_bound", "worst_payload_over_bound"}
    ratios = [image["ratio"] for image in document["images"]]
    assert document["means"]["ratio"] == pytest.approx(sum(ratios) / 2)
    with Image.open(tmp_path / "paper.png") as grid:
        grid.load()
        assert grid.format == "PNG" and min(grid.size) > 100


def test_figure_9_has_the_model_for_the_bound_beside_it(make_picture, tiny: Codec):
    image = make_picture(70, 40)
    models = figure9.Models(tiny, load_model(BASELINE, CPU)[1].vae, tiny.family.torch_model(), 0.1)
    row, versions = figure9.measure(models, image, "x")
    # the same model: the same images
    assert (row.bound.psnr, row.bound_bare.psnr) == (row.dct_vae.psnr, row.bare.psnr)
    assert row.bound.bpp == row.bound_bare.bpp > 0
    symbols = tiny.symbols(tiny.encode(image))[1]
    shown = tiny.family.transform.image(symbols)[0].transpose(1, 2, 0) * 255
    assert np.abs(np.asarray(versions.bare.crop((0, 0, 32, 32))) - shown).max() <= 0.51
    assert "DCT-VAE, bound" in figure9.table([row])
    hot, _ = figure9.measure(replace(models, temperature=3), image, "x")
    assert hot.bare == row.bare and hot.dct_vae.psnr != row.dct_vae.psnr and hot.bound.psnr != row.bound.psnr
    assert hot.vae.psnr != row.vae.psnr and hot.bound.bpp == pytest.approx(row.bound.bpp, rel=0.5)
    with pytest.raises(ModelError, match="has no context"):
        reconstruct_context(load_model(BASELINE, CPU)[1], torch.zeros(3, 32, 32), 0.1, 0)


def test_paper_is_for_these_models_only(pictures: Path):
    result = dctcodec("bench", "kodak", "--paper", "--data", pictures, "--model", installed.DEFAULT)
    assert_one_error(result, 2, "--paper", installed.DEFAULT)
    result = dctcodec("bench", "kodak", "--temperature", 1, "--data", pictures, "--model", NAME)
    assert_one_error(result, 2, "--temperature goes with --paper")


@pytest.mark.parametrize(
    "option", [("--effort", 2), ("--tune", "ms-ssim"), ("--published", "."), ("--reuse", "x"), ("--no-baselines",)]
)
def test_paper_has_no_options_of_other_benches(pictures: Path, option: tuple):
    result = dctcodec("bench", "kodak", "--paper", "--data", pictures, "--model", NAME, *option)
    assert_one_error(result, 2, "Remove --effort, --tune, --published, --reuse, --report and --no-baselines")


def test_bench_takes_the_model_without_qualities(pictures: Path, tmp_path: Path):
    words = ["--data", pictures, "--model", NAME, "--device", "cpu", "--limit", 1, "--json", tmp_path / "a.json"]
    result = dctcodec("bench", "kodak", "--no-baselines", *words)
    assert result.exit_code == 0, result.stderr
    assert json.loads((tmp_path / "a.json").read_text())


def qualities(picture: Image.Image) -> list[tuple[float, int]]:
    """PSNR and bytes of JPEG at 1, 2, ... 95."""
    files = [JPEG.encode(picture, quality) for quality in range(1, 96)]
    return [(metrics.psnr(picture, JPEG.decode(data)), len(data)) for data in files]


def test_the_jpeg_of_equal_psnr_lies_between_two_neighbours(make_picture):
    picture = make_picture(96, 64)
    curve = qualities(picture)
    number = next(n for n in range(20, 95) if curve[n][0] > max(psnr for psnr, _ in curve[:n]) and curve[n][1] > curve[n - 1][1])
    (low, small), (high, large) = curve[number - 1], curve[number]
    decoded, data, equal = figure9.jpeg_of_equal_psnr(picture, low + 0.25 * (high - low))
    assert metrics.psnr(picture, decoded) == high and len(data) == large
    assert equal == pytest.approx(small + 0.25 * (large - small))
    assert figure9.jpeg_of_equal_psnr(picture, high)[2] == pytest.approx(large)


def test_the_jpeg_of_equal_psnr_at_the_ends(make_picture):
    picture = make_picture(96, 64)
    curve = qualities(picture)
    for psnr, (nearest, size) in ((1.0, curve[0]), (curve[0][0], curve[0]), (99.0, curve[-1])):
        decoded, data, equal = figure9.jpeg_of_equal_psnr(picture, psnr)
        assert metrics.psnr(picture, decoded) == nearest and len(data) == size == equal

"""The order of the symbols: each DCT frequency once, each symbol revealed once, coarse before fine."""

import numpy as np
import pytest

from dctcodec.bands.order import BANDS, CHANNELS, PARTS, REVEALS
from dctcodec.tiles import TILE


def test_channels_are_unique_frequencies():
    assert len(set(CHANNELS)) == len(CHANNELS)
    assert all(c.plane in (0, 1, 2) and 0 <= c.u < TILE and 0 <= c.v < TILE for c in CHANNELS)


def test_luma_has_every_frequency_and_both_chromas_the_same():
    planes = [{(c.u, c.v) for c in CHANNELS if c.plane == plane} for plane in range(3)]
    assert planes[0] == {(u, v) for u in range(TILE) for v in range(TILE)}
    assert planes[1] == planes[2] == {(u, v) for u in range(16) for v in range(16)}


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (5, 4)])
def test_every_symbol_is_revealed_exactly_once(shape: tuple[int, int]):
    revealed = np.zeros((len(CHANNELS), *shape), int)
    parity = np.indices(shape).sum(0) % 2
    for reveal in REVEALS:
        revealed[reveal.start : reveal.stop] += (parity == reveal.parity) if reveal.parity is not None else 1
    assert (revealed == 1).all()


def test_bands_follow_one_another_and_the_even_tiles_come_first():
    bands = list(dict.fromkeys((r.start, r.stop) for r in REVEALS))
    assert bands[0][0] == 0 and bands[-1][1] == len(CHANNELS)
    assert all(stop == start for (_, stop), (start, _) in zip(bands, bands[1:], strict=False))
    for band in bands:
        assert [r.parity for r in REVEALS if (r.start, r.stop) == band] in ([0, 1], [None])


def test_frequencies_rise_from_band_to_band():
    for plane in range(3):
        rings = [max(c.u, c.v) for c in CHANNELS if c.plane == plane]
        assert rings == sorted(rings)
    assert CHANNELS[0] == (0, 0, 0)


def test_a_band_s_parts_are_its_channels_each_once():
    for band, parts in zip(BANDS, PARTS, strict=True):
        assert sorted(sum(parts, ())) == list(range(band.start, band.stop))
        assert all(list(part) == sorted(part) for part in parts)


def test_the_second_part_of_a_band_lies_between_frequencies_of_the_first_and_the_other_two_between_both():
    for parts in PARTS:
        if len(parts) == 1:
            continue
        parities = [{(CHANNELS[c].u % 2, CHANNELS[c].v % 2) for c in part} for part in parts]
        assert parities == [{(0, 0)}, {(1, 1)}, {(0, 1)}, {(1, 0)}]
    assert [len(parts) for parts in PARTS] == [1, 1, 4, 4, 4, 4, 4, 1]

"""The order in which symbols are sent: channels, bands and the reverse steps of the masked diffusion.

A *channel* is one DCT frequency of one plane. Channels are numbered in coding order, coarse to fine, so a *band* is a
slice of channels: a ring max(u, v) of luma together with the ring of chroma before it. Each *reveal* (one reverse step of
the masked diffusion) unmasks one band on the whole tile grid, or on one parity of its checkerboard. The network runs once a
reveal; but its symbols are sent in *parts*, and the scales of a part also depend on the parts before.
"""

from typing import NamedTuple

_RINGS = ((0, 0), (1, 1), (2, 3), (4, 5), (6, 8), (9, 12), (13, 18), (19, 31))
_CHROMA_RINGS = ((0, 0), (1, 1), (2, 3), (4, 5), (6, 8), (9, 12), (13, 15))
_SPLIT_BANDS = 4
"""Bands below this one are sent in two reveals, first the tiles with (row + column) even, then the odd ones."""
_PART = ((0, 2), (3, 1))
"""Part of a frequency, by u mod 2 and v mod 2: all four neighbours of one of part 2 or 3 are of part 0 or 1."""
_BANDS_IN_PARTS = range(2, 7)
"""The first bands are too small to gain from parts, and the last one is not an input of the network."""


class Channel(NamedTuple):
    """One DCT frequency: plane 0 Y, 1 Cb, 2 Cr; u vertical, v horizontal."""

    plane: int
    u: int
    v: int


class Reveal(NamedTuple):
    """One reverse step: channels [start, stop), those of a band, on the tiles of `parity` (0, 1, or None for all)."""

    start: int
    stop: int
    parity: int | None
    band: int


def _ring(plane: int, first: int, last: int) -> list[Channel]:
    square = [Channel(plane, u, v) for u in range(last + 1) for v in range(last + 1)]
    return sorted((c for c in square if max(c.u, c.v) >= first), key=lambda c: (max(c.u, c.v), c.u + c.v, c.u))


def _bands() -> list[list[Channel]]:
    bands = [_ring(0, *ring) for ring in _RINGS]
    for band, ring in zip(bands[1:], _CHROMA_RINGS, strict=True):
        band += _ring(1, *ring) + _ring(2, *ring)
    return bands


def _reveals(bands: list[list[Channel]]) -> list[Reveal]:
    reveals, start = [], 0
    for number, band in enumerate(bands):
        parities = (0, 1) if number < _SPLIT_BANDS else (None,)
        reveals += [Reveal(start, start + len(band), parity, number) for parity in parities]
        start += len(band)
    return reveals


def _parts(number: int, band: slice) -> tuple[tuple[int, ...], ...]:
    channels = range(band.start, band.stop)
    if number not in _BANDS_IN_PARTS:
        return (tuple(channels),)
    return tuple(tuple(c for c in channels if _PART[CHANNELS[c].u % 2][CHANNELS[c].v % 2] == part) for part in range(4))


CHANNELS: tuple[Channel, ...] = tuple(c for band in _bands() for c in band)
REVEALS: tuple[Reveal, ...] = tuple(_reveals(_bands()))
BANDS: tuple[slice, ...] = tuple(slice(*ends) for ends in sorted({(now.start, now.stop) for now in REVEALS}))
"""Channels of each band."""
PARTS: tuple[tuple[tuple[int, ...], ...], ...] = tuple(_parts(number, band) for number, band in enumerate(BANDS))
"""Channels of each part of each band, ascending."""


def bands_below(side: int) -> int:
    """How many bands hold all the frequencies below `side`."""
    needed = [number for number, channel in enumerate(CHANNELS) if max(channel.u, channel.v) < side]
    return 1 + next(band for band, channels in enumerate(BANDS) if needed[-1] < channels.stop)

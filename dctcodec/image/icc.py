"""ICC profiles made of primaries and one curve, for files that name their colours in other ways."""

import struct
from typing import NamedTuple

import numpy as np

Pair = tuple[float, float]


class Primaries(NamedTuple):
    """Chromaticities (x, y)."""

    red: Pair
    green: Pair
    blue: Pair
    white: Pair


D65 = (0.3127, 0.3290)
SRGB = Primaries((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), D65)
DISPLAY_P3 = Primaries((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), D65)
BT2020 = Primaries((0.708, 0.292), (0.17, 0.797), (0.131, 0.046), D65)
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
"""Parameters g, a, b, c, d of ICC's curve (a x + b)^g from d up, c x below."""
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def profile(primaries: Primaries, curve: tuple[float, ...]) -> bytes:
    """An ICC profile, version 4, of an RGB device. `curve`: `SRGB_CURVE`, or one number, the exponent. Raises ValueError for
    primaries that span no triangle."""
    description = "dctcodec".encode("utf-16-be")
    text = struct.pack(">4sIIIHHII", b"mluc", 0, 1, 12, 0x656E, 0x5553, len(description), 28) + description
    kind = 3 if len(curve) == 5 else 0
    parametric = struct.pack(">4sIHH", b"para", 0, kind, 0) + b"".join(map(_fixed, curve))
    tags = {b"desc": text, b"cprt": text, b"wtpt": _xyz(_D50)}
    columns = zip((b"rXYZ", b"gXYZ", b"bXYZ"), _columns(primaries).T, strict=True)
    tags |= {name: _xyz(column) for name, column in columns}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), parametric)
    return _file(tags)


def _columns(primaries: Primaries) -> np.ndarray:
    """XYZ of the primaries (3, 3), seen under D50: each a column."""
    x, y = np.array(primaries[:3]).T
    if (y <= 0).any() or primaries.white[1] <= 0:
        raise ValueError("primaries outside the diagram")
    device = np.stack([x / y, np.ones(3), (1 - x - y) / y])
    white = np.array([primaries.white[0], primaries.white[1], 1 - sum(primaries.white)]) / primaries.white[1]
    try:
        device = device * np.linalg.solve(device, white)
    except np.linalg.LinAlgError as error:
        raise ValueError("primaries that span no triangle") from error
    gains = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    columns: np.ndarray = np.linalg.inv(_BRADFORD) @ (gains[:, None] * _BRADFORD) @ device
    return columns


def _fixed(number: float) -> bytes:
    return struct.pack(">i", round(number * 65536))


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(_fixed(float(value)) for value in values)


def _file(tags: dict[bytes, bytes]) -> bytes:
    position, table, data = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += struct.pack(">4sII", name, position + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    date = struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
    head = struct.pack(">IIII4s4s", position + len(data), 0, 0x04300000, 0x6D6E7472, b"RGB ", b"XYZ ") + date
    head += struct.pack(">4sIIIIIII", b"acsp", 0, 0, 0, 0, 0, 0, 0)
    head += b"".join(_fixed(float(value)) for value in _D50)
    return head + bytes(128 - len(head)) + table + data

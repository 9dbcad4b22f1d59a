"""Kinds of files that Pillow reads wrong, or fills in silence: each comes out right, or is refused with a sentence."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterable
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image, ImageCms, UnidentifiedImageError

from dctcodec.errors import DctcodecWarning, ImageError
from dctcodec.image import ImageParts, read_image, take_apart


def parts_of(data: bytes) -> ImageParts:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return take_apart(read_image(io.BytesIO(data)))


def levels(data: bytes) -> list:
    return np.asarray(parts_of(data).pixels).tolist()


def alpha(data: bytes) -> list:
    found = parts_of(data).alpha
    assert found is not None
    return np.asarray(found).tolist()


def saved(image: Image.Image, name: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, name, **options)
    return stream.getvalue()


# PNG


def png(size: tuple[int, int], depth: int, kind: int, rows: Iterable[bytes], *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file of rows of packed samples, with chunks before the pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunk(*c) for c in chunks) + pixels + chunk(b"IEND", b"")


GREY, RGB, GREY_ALPHA = 0, 2, 4


@pytest.mark.parametrize(
    ("depth", "row", "key", "opaque"),
    [
        (1, b"\x40", 1, [255, 0, 255, 255]),
        (2, b"\x1b", 2, [255, 255, 0, 255]),
        (4, b"\x05\xaf", 10, [255, 255, 0, 255]),
        (8, b"\x00\x07\x08\xff", 7, [255, 0, 255, 255]),
        (16, b"\0\0\x12\x34\x12\x35\xff\xff", 0x1234, [255, 0, 255, 255]),
    ],
)
def test_the_transparent_grey_is_compared_at_the_files_depth(depth, row, key, opaque):
    assert alpha(png((4, 1), depth, GREY, [row], (b"tRNS", struct.pack(">H", key)))) == [opaque]


@pytest.mark.parametrize("depth", [8, 16])
def test_the_transparent_colour_is_compared_at_the_files_depth(depth):
    colours = [(0x12, 0x34, 0x56), (0x12, 0x34, 0x57), (0x1234, 0x5678, 0x9ABC), (0x1235, 0x5678, 0x9ABC), (0x3434, 0x7878, 0xBCBC)]
    colours = [tuple(part & 2**depth - 1 for part in colour) for colour in colours]
    row = b"".join(struct.pack(">3H" if depth == 16 else ">3B", *colour) for colour in colours)
    key = colours[0 if depth == 8 else 2]
    expected = [0 if colour == key else 255 for colour in colours]
    assert alpha(png((5, 1), depth, RGB, [row], (b"tRNS", struct.pack(">3H", *key)))) == [expected]


def test_a_transparent_colour_that_no_pixel_has_leaves_all_opaque():
    data = png((1, 1), 16, RGB, [struct.pack(">3H", 0x1212, 0x1212, 0x1212)], (b"tRNS", struct.pack(">3H", 0xC812, 0xC812, 0xC812)))
    assert parts_of(data).alpha is None and levels(data) == [[[0x12] * 3]]


def test_grey_with_alpha_of_16_bits_stays_grey():
    data = png((2, 1), 16, GREY_ALPHA, [struct.pack(">4H", 0x4E4E, 0, 0x9C9C, 0x8080)])
    assert parts_of(data).pixels.mode == "L"
    assert levels(data)[0][1] == 0x9C and alpha(data) == [[0, 0x80]]


def one_red(*chunks: tuple[bytes, bytes]) -> bytes:
    return png((1, 1), 8, RGB, [bytes([230, 60, 60])], *chunks)


def shown(data: bytes) -> list[int]:
    """The first pixel in sRGB, through the profile that is kept."""
    parts = parts_of(data)
    if not parts.profile:
        return list(parts.pixels.getpixel((0, 0)))
    srgb = ImageCms.createProfile("sRGB")
    profile = ImageCms.ImageCmsProfile(io.BytesIO(parts.profile))
    return list(ImageCms.profileToProfile(parts.pixels, profile, srgb, outputMode="RGB").getpixel((0, 0)))


@pytest.mark.parametrize("points", [(1, 13, 0, 1), (1, 1, 0, 1), (2, 2, 0, 1)])
def test_code_points_like_srgb_store_nothing(points):
    assert parts_of(one_red((b"cICP", bytes(points)))).profile is None


def test_code_points_of_display_p3_become_a_profile():
    assert shown(one_red((b"cICP", bytes([12, 13, 0, 1])))) == pytest.approx([251, 31, 49], abs=2)


@pytest.mark.parametrize(
    ("points", "words"), [((9, 16, 0, 1), "PQ"), ((9, 18, 0, 1), "HLG"), ((11, 13, 0, 1), "primaries 11"), ((1, 13, 1, 1), "cICP")]
)
def test_other_code_points_are_refused(points, words):
    with pytest.raises(ImageError, match=words):
        parts_of(one_red((b"cICP", bytes(points))))


@pytest.mark.parametrize(
    ("gamma", "kept"), [(45455, False), (45000, False), (100000, True), (55556, True)], ids=["sRGB", "2.2", "linear", "1.8"]
)
def test_gamma_like_that_of_srgb_stores_nothing_another_a_profile(gamma, kept):
    data = one_red((b"gAMA", struct.pack(">I", gamma)))
    assert (parts_of(data).profile is not None) == kept
    if gamma == 100000:
        assert shown(data) == pytest.approx([round(255 * (1.055 * (v / 255) ** (1 / 2.4) - 0.055)) for v in (230, 60, 60)], abs=2)


def test_gamma_counts_for_nothing_beside_a_statement_of_srgb():
    assert parts_of(one_red((b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100000)))).profile is None


# TIFF


def tiff(
    directories: list[dict[int, tuple]], blocks: list[bytes], below: dict[int, list[int]] | None = None, order: str = "<"
) -> bytes:
    """A TIFF file of directories, each a chain entry unless `below` names it as a child of another; tag 273 is the number of its
    first block in `blocks`, of which as many as it has samples follow where it is planar."""
    data, starts = bytearray(8), []
    for block in blocks:
        starts.append(len(data))
        data += block + bytes(len(block) % 2)
    children = {child for group in (below or {}).values() for child in group}
    positions: dict[int, int] = {}
    links: list[tuple[int, int]] = []
    for number in sorted(range(len(directories)), key=lambda n: n not in children):
        tags = dict(directories[number])
        if below and number in below:
            tags[330] = (4, *(positions[child] for child in below[number]))
        first, count = tags[273][1], tags.get(277, (3, 1))[1] if tags.get(284, (3, 1))[1] == 2 else 1
        tags[273] = (4, *starts[first : first + count])
        tags[279] = (4, *(len(block) for block in blocks[first : first + count]))
        entries = b""
        for tag in sorted(tags):
            kind, *values = tags[tag]
            content = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
            if len(content) > 4:
                position = len(data)
                data += content
                content = struct.pack(f"{order}I", position)
            entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + content.ljust(4, b"\0")
        positions[number] = len(data)
        data += struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
        if number not in children:
            links.append((positions[number], len(data) - 4))
    data[:8] = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", links[0][0])
    for (_, end), (following, _) in zip(links, links[1:], strict=False):
        struct.pack_into(f"{order}I", data, end, following)
    return bytes(data)


def directory(size: tuple[int, int], bits: list[int], photometric: int, block: int, **more: tuple) -> dict[int, tuple]:
    tags = {256: (4, size[0]), 257: (4, size[1]), 258: (3, *bits), 259: (3, 1), 262: (3, photometric), 273: (4, block)}
    return tags | {277: (3, len(bits)), 278: (4, size[1])} | {int(name[1:]): value for name, value in more.items()}


@pytest.mark.parametrize(("order", "photometric", "expected"), [("<", 0, [175, 95]), ("<", 1, [80, 160]), (">", 1, [80, 160])])
def test_what_is_white_in_grey_of_16_bits(order, photometric, expected):
    block = struct.pack(f"{order}2H", 80 * 257, 160 * 257)
    assert levels(tiff([directory((2, 1), [16], photometric, 0)], [block], order=order)) == [expected]


def test_what_is_white_in_grey_of_floats():
    block = struct.pack("<2f", 0.25, 1)
    assert levels(tiff([directory((2, 1), [32], 0, 0, t339=(3, 3))], [block])) == [[191, 0]]


@pytest.mark.parametrize("order", ["<", ">"])
def test_planes_of_16_bits_keep_their_colours(order):
    blocks = [struct.pack(f"{order}2H", *(257 * level for level in plane)) for plane in ((200, 10), (20, 200), (30, 40))]
    data = tiff([directory((2, 1), [16] * 3, 2, 0, t284=(3, 2))], blocks, order=order)
    assert levels(data) == [[[200, 20, 30], [10, 200, 40]]]


def test_planes_of_16_bits_in_cmyk_are_refused():
    data = tiff([directory((2, 1), [16] * 4, 5, 0, t284=(3, 2))], [bytes(4)] * 4)
    with pytest.raises(ImageError, match="planes of 16 bits in CMYK: save it with deflate"):
        parts_of(data)


THUMBNAIL = directory((1, 1), [8, 8, 8], 2, 0, t254=(4, 1))
FULL = directory((2, 1), [8, 8, 8], 2, 1, t254=(4, 0))
BLOCKS = [bytes([90, 90, 90]), bytes([200, 0, 0, 0, 200, 0])]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("below", [None, {0: [1]}], ids=["next", "below"])
def test_the_full_image_is_taken_instead_of_a_thumbnail(order, below):
    assert levels(tiff([THUMBNAIL, FULL], BLOCKS, below, order)) == [[[200, 0, 0], [0, 200, 0]]]


def test_the_size_of_the_full_image_counts():
    file = io.BytesIO(tiff([THUMBNAIL, FULL], BLOCKS))
    with pytest.raises(ImageError, match="2x1"):
        read_image(file, max_pixels=1)
    assert read_image(file, max_pixels=2).size == (2, 1)


def test_a_thumbnail_alone_is_refused():
    with pytest.raises(ImageError, match="nothing but a thumbnail"):
        parts_of(tiff([THUMBNAIL], BLOCKS))


def test_a_thumbnail_of_raw_data_is_refused():
    raw = directory((2, 1), [16], 32803, 1, t254=(4, 0))
    with pytest.raises(ImageError, match="only its thumbnail can be read.*raw data"):
        parts_of(tiff([THUMBNAIL, raw], BLOCKS, {0: [1]}))


def test_a_loop_of_directories_ends():
    data = bytearray(tiff([THUMBNAIL, dict(THUMBNAIL)], BLOCKS))
    first = struct.unpack_from("<I", data, 4)[0]
    data[-4:] = struct.pack("<I", first)
    with pytest.raises(ImageError, match="nothing but a thumbnail"):
        parts_of(bytes(data))


# JPEG


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"], ids=["bare", "EOI"])
def test_a_jpeg_cut_in_its_data_is_refused(progressive, mode, end):
    data = saved(noise().convert(mode), "JPEG", quality=90, progressive=progressive)
    for share in (0.4, 0.66, 0.97):
        with pytest.raises(ImageError, match="damaged"):
            parts_of(data[: int(share * len(data))].rstrip(b"\xff") + end)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("cut", [1, 2])
def test_a_jpeg_without_its_end_marker_is_decoded_with_a_warning(progressive, cut):
    data = saved(noise(), "JPEG", quality=90, progressive=progressive)
    with pytest.warns(DctcodecWarning, match="lacks its end marker"):
        found = read_image(io.BytesIO(data[:-cut]))
    assert np.array_equal(found, Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(16, 16), (70, 33), (8, 400)])
@pytest.mark.parametrize("more", [b"", b"trailing \xff\xd9 bytes"])
def test_a_jpeg_that_ends_in_true_grey_is_whole(progressive, size, more):
    data = saved(Image.new("RGB", size, (128, 128, 128)), "JPEG", progressive=progressive)
    assert np.ptp(levels(data + more)) == 0


# Other kinds


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC: pip install pillow-heif"),
        (b"\xff\x0a" + bytes(9), "JPEG XL: pip install pillow-jxl-plugin"),
    ],
)
def test_kinds_that_need_a_plugin_name_it(start, words, monkeypatch):
    def unidentified(_):
        raise UnidentifiedImageError

    monkeypatch.setattr("dctcodec.image.reading.find_spec", lambda name: None)
    monkeypatch.setattr(Image, "open", unidentified)
    with pytest.raises(ImageError, match=words):
        parts_of(start + bytes(40))


@pytest.mark.skipif(not find_spec("pillow_heif"), reason="pillow-heif is not installed")
def test_heic_is_read_with_its_plugin():
    import pillow_heif

    pillow_heif.register_heif_opener()
    data = saved(Image.new("RGB", (64, 48), (200, 30, 30)), "HEIF", quality=95)
    assert levels(data)[20][20] == pytest.approx([200, 30, 30], abs=6)


@pytest.mark.skipif(not find_spec("pillow_jxl"), reason="pillow-jxl-plugin is not installed")
def test_jpeg_xl_is_read_with_its_plugin():
    import pillow_jxl  # noqa: F401

    data = saved(Image.new("RGB", (64, 48), (200, 30, 30)), "JXL", quality=95)
    assert levels(data)[20][20] == pytest.approx([200, 30, 30], abs=6)


def test_an_unloaded_image_is_mended_too():
    data = png((4, 1), 2, GREY, [b"\x1b"], (b"tRNS", struct.pack(">H", 2)))
    assert np.asarray(take_apart(Image.open(io.BytesIO(data))).alpha).tolist() == [[255, 255, 0, 255]]

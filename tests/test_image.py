"""Images of every kind become RGB or grey, upright and opaque; what is no image gives one sentence."""

import io
import os
import struct
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dctcodec import limits
from dctcodec.errors import DctcodecWarning, ImageError, OutputError
from dctcodec.image import check_ending, normalise, read_image, write_image

MODES = ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "La", "PA", "RGBX", "RGBa", "I;16"]
GREY = {"1", "L", "LA", "La", "I", "F", "I;16"}
ORIENTATION = 0x0112


def gradient(width: int = 24, height: int = 16) -> Image.Image:
    rows, columns = np.mgrid[:height, :width]
    planes = [rows * 255 // max(height - 1, 1), columns * 255 // max(width - 1, 1), (rows + columns) % 256]
    return Image.fromarray(np.stack(planes, -1).astype(np.uint8))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def saved(image: Image.Image, name: str, **options) -> io.BytesIO:
    stream = io.BytesIO()
    image.save(stream, name, **options)
    stream.seek(0)
    return stream


@settings(deadline=None, derandomize=True)
@given(mode=st.sampled_from(MODES), width=st.integers(1, 70), height=st.integers(1, 70))
def test_every_mode_and_size_becomes_rgb_or_grey(mode, width, height):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DctcodecWarning)
        result = normalise(Image.new(mode, (width, height)))
    assert result.mode == ("L" if mode in GREY else "RGB")
    assert result.size == (width, height)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_is_already_right_is_unchanged(mode):
    image = gradient().convert(mode)
    assert np.array_equal(pixels(normalise(image)), pixels(image))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "RGBX"])
def test_other_colour_spaces_keep_the_colours(mode):
    assert np.abs(pixels(normalise(gradient().convert(mode))) - pixels(gradient())).max() <= 12


def test_palette_keeps_the_colours():
    image = gradient().quantize(64)
    assert np.array_equal(pixels(normalise(image)), pixels(image.convert("RGB")))


def test_one_bit_becomes_black_and_white():
    assert set(pixels(normalise(gradient().convert("1"))).flat) == {0, 255}


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_sixteen_bits_are_scaled_and_rounded(dtype):
    values = np.array([[0, 128, 129, 257, 32768, 65406, 65407, 65535]], dtype)
    assert pixels(normalise(Image.fromarray(values))).tolist() == [[0, 0, 1, 1, 128, 254, 255, 255]]


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_sixteen_bit_files_are_scaled(name):
    values = np.array([[0, 257 * 10, 257 * 200, 65535]], np.uint16)
    image = read_image(saved(Image.fromarray(values), name))
    assert pixels(normalise(image)).tolist() == [[0, 10, 200, 255]]


def test_floats_are_taken_from_0_to_1():
    values = np.array([[0, 0.25, 0.5, 1]], np.float32)
    assert pixels(normalise(Image.fromarray(values))).tolist() == [[0, 64, 128, 255]]


def test_a_few_floats_outside_are_clipped_with_a_warning():
    values = np.full((20, 20), 0.5, np.float32)
    values[0, :3] = (1.02, -0.5, 7)
    with pytest.warns(DctcodecWarning, match="3 values .* clipped"):
        assert pixels(normalise(Image.fromarray(values)))[0, :4].tolist() == [255, 0, 255, 128]


@pytest.mark.parametrize(
    ("value", "words"), [(1.02, "from 1.02 to 1.02"), (200, "scale them"), (np.nan, "NaN"), (np.inf, "to inf")]
)
def test_other_floats_are_refused(value, words):
    with pytest.raises(ImageError, match=words):
        normalise(Image.fromarray(np.full((2, 2), value, np.float32)))


@pytest.mark.parametrize("value", [-1, 65536])
def test_values_outside_sixteen_bits_are_refused(value):
    with pytest.raises(ImageError, match="outside 0 to 65535"):
        normalise(Image.fromarray(np.full((2, 2), value, np.int32)))


@pytest.mark.parametrize(
    ("mode", "colour", "white"),
    [("RGBA", (9, 9, 9, 0), (255, 255, 255)), ("LA", (9, 0), 255), ("RGBA", (0, 0, 0, 51), (204, 204, 204))],
)
def test_alpha_is_flattened_on_white_with_a_warning(mode, colour, white):
    with pytest.warns(DctcodecWarning, match="alpha channel flattened on white"):
        assert normalise(Image.new(mode, (3, 2), colour)).getpixel((1, 1)) == white


@pytest.mark.parametrize(("mode", "key"), [("1", 0), ("L", 0), ("P", 0), ("RGB", (0, 0, 0)), ("I;16", 300)])
def test_the_transparent_colour_of_a_png_becomes_white(mode, key):
    image = Image.new(mode, (2, 2), 300 if mode == "I;16" else 0)
    with pytest.warns(DctcodecWarning, match="white"):
        assert pixels(normalise(read_image(saved(image, "PNG", transparency=key)))).min() == 255


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_opaque_alpha_channel_is_dropped_in_silence(mode):
    image = gradient().convert(mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(pixels(normalise(image)), pixels(image.convert(mode.rstrip("A"))))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(name, orientation):
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = gradient()
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    result = normalise(read_image(saved(stored, name, exif=exif)))
    assert result.size == upright.size
    assert np.abs(pixels(result) - pixels(upright)).mean() < 12
    assert np.array_equal(pixels(normalise(result)), pixels(result))


def test_a_tiff_of_12_bits_is_as_bright_as_it_was():
    levels = (0, 4095, 2048, 1000)
    packed = int("".join(f"{level:012b}" for level in levels), 2).to_bytes(6, "big")
    size, bits, one, shorts = 2, 12, 1, 3
    entries = [(256, 4, size), (257, 4, size), (258, shorts, bits), (259, shorts, one), (262, shorts, one), (273, 4, 8)]
    entries += [(277, shorts, one), (278, 4, size), (279, 4, len(packed))]
    fields = [struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries]
    directory = struct.pack("<H", len(entries)) + b"".join(fields)
    data = b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + directory + bytes(4)
    assert pixels(normalise(read_image(io.BytesIO(data)))).ravel().tolist() == [0, 255, 128, 62]


def test_metadata_stay_behind():
    image = gradient()
    image.info = {"comment": b"whose", "exif": b""}
    assert normalise(image).info == {} and image.info["comment"] == b"whose"


def test_unreadable_exif_is_ignored_with_a_warning():
    image = gradient()
    image.info["exif"] = b"Exif\0\0" + b"junk" * 4
    with pytest.warns(DctcodecWarning, match="EXIF"):
        assert normalise(image).size == image.size


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ImageError, match="no pixels"):
        normalise(Image.new("RGB", (0, 5)))


def test_a_lazily_opened_damaged_picture_is_refused():
    stream = io.BytesIO(saved(gradient(), "PNG").getvalue()[:-30])
    with pytest.raises(ImageError, match="damaged"):
        normalise(Image.open(stream))


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM", "GIF"])
def test_every_common_format_is_read(name, tmp_path):
    path = tmp_path / "picture"
    gradient().save(path, name)
    assert normalise(read_image(path)).size == gradient().size
    assert normalise(read_image(str(path))).size == gradient().size


def test_a_stream_that_cannot_seek_is_read():
    reading, writing = os.pipe()

    def feed() -> None:
        with os.fdopen(writing, "wb") as stream:
            stream.write(saved(gradient(), "PNG").getvalue())

    thread = threading.Thread(target=feed)
    thread.start()
    with os.fdopen(reading, "rb") as stream:
        assert np.array_equal(pixels(read_image(stream)), pixels(gradient()))
    thread.join()


def test_a_stream_without_end_is_refused(monkeypatch):
    monkeypatch.setattr("dctcodec.image.reading.MAX_INPUT_BYTES", 5000)
    reading, writing = os.pipe()
    os.write(writing, bytes(6000))
    with os.fdopen(reading, "rb") as stream, pytest.raises(ImageError, match="it is larger than"):
        read_image(stream)
    os.close(writing)


def test_damage_in_further_frames_is_no_concern(tmp_path):
    path = tmp_path / "two.gif"
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    data = path.read_bytes()
    descriptor = data.rindex(b"\x2c\0\0\0\0")  # of the second frame, at 0, 0
    path.write_bytes(data[: descriptor + 3])
    assert pixels(read_image(path).convert("RGB")).reshape(-1, 3).min(0).tolist() == [255, 0, 0]


def test_the_first_of_several_frames_is_taken_with_a_warning(tmp_path):
    path = tmp_path / "two.tiff"
    gradient().save(path, save_all=True, append_images=[Image.new("RGB", (5, 5))])
    with pytest.warns(DctcodecWarning, match="two.tiff has more than one frame; the first"):
        assert np.array_equal(pixels(read_image(path)), pixels(gradient()))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"dear diary\n" * 9, "not an image"), (saved(gradient(), "PNG").getvalue()[:-30], "damaged")],
    ids=["empty", "text", "truncated"],
)
def test_what_is_no_image_is_refused_by_name(content, message, tmp_path):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=rf"cannot read .*bad\.png: .*{message}"):
        read_image(path)


def test_missing_file_and_directory_are_refused(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(ImageError, match="is a directory"):
        read_image(tmp_path)


def test_an_image_over_the_limit_of_pixels_is_refused(monkeypatch):
    with pytest.raises(ImageError, match="24x16 pixels, the limit is 383"):
        read_image(saved(gradient(), "PNG"), max_pixels=383)
    assert read_image(saved(gradient(), "PNG"), max_pixels=384).size == (24, 16)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match="too large: Pillow's limit is 200"):
        read_image(saved(gradient(), "PNG"))


def test_an_image_that_there_is_no_memory_for_is_refused(monkeypatch):
    monkeypatch.setattr(limits, "free_memory", lambda: 60 * 383)
    with pytest.raises(ImageError, match="24x16 pixels and needs up to 0.0 GB of memory, 0.0 GB are free; --max-pixels 384"):
        read_image(saved(gradient(), "PNG"))
    assert read_image(saved(gradient(), "PNG"), max_pixels=384).size == (24, 16)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
@settings(deadline=None, derandomize=True)
@given(cut=st.floats(0, 1), value=st.integers(0, 255))
def test_damage_gives_an_image_or_an_image_error(name, cut, value):
    data = bytearray(saved(gradient(), name).getvalue())
    data[int(cut * (len(data) - 1))] = value
    for damaged in (data, data[: int(cut * len(data))]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert normalise(read_image(io.BytesIO(damaged))).mode in ("RGB", "L")
            except ImageError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize("ending", [".png", ".PNG", ".webp", ".tif", ".tiff", ".bmp", ".ppm"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_lossless_formats_are_written_exactly(ending, mode, tmp_path):
    image = gradient().convert(mode)
    write_image(image, tmp_path / f"out{ending}")
    assert np.array_equal(pixels(read_image(tmp_path / f"out{ending}").convert(mode)), pixels(image))


@pytest.mark.parametrize("ending", [".jpg", ".jpeg"])
def test_jpeg_is_written_well(ending, tmp_path):
    write_image(gradient(), tmp_path / f"out{ending}")
    assert np.abs(pixels(read_image(tmp_path / f"out{ending}")) - pixels(gradient())).mean() < 3


@pytest.mark.parametrize("name", ["out.xyz", "out", "out.dct"])
def test_an_unknown_ending_is_refused_with_those_that_are_known(name):
    with pytest.raises(OutputError, match=r"ending.*\.png"):
        check_ending(name)


def test_an_image_too_large_for_the_format_is_refused(tmp_path):
    with pytest.raises(OutputError, match="WEBP cannot hold an image of 17000x1"):
        write_image(Image.new("RGB", (17000, 1)), tmp_path / "wide.webp")
    assert not list(tmp_path.iterdir())

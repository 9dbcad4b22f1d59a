"""EXIF, XMP and dots per inch: kept, upright, and without positions where that is wished."""

import io
import struct
import warnings

import numpy as np
import pytest
from PIL import ExifTags, Image

from dctcodec.errors import DctcodecWarning, OutputError
from dctcodec.image import put_together, read_image, take_apart, write_image

ORIENTATION, GPS = ExifTags.Base.Orientation, ExifTags.IFD.GPSInfo
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
    b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
    b'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/">'
    b'<rdf:Description tiff:Orientation="6" xmp:Rating="5" exif:GPSLatitude="52,31N" exif:GPSLongitude="13,24E">'
    b"<exif:GPSAltitude>34/1</exif:GPSAltitude><dc:title>Dom</dc:title></rdf:Description></rdf:RDF></x:xmpmeta>"
)


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", DctcodecWarning)
        yield


def exif(orientation: int | None = None) -> Image.Exif:
    made = Image.Exif()
    made[ExifTags.Base.Make], made[ExifTags.Base.Model], made[ExifTags.Base.DateTime] = "Kamera", "K1", "2026:11:29 00:00:00"
    made[ExifTags.Base.Artist] = "somebody"
    if orientation:
        made[ORIENTATION] = orientation
    made.get_ifd(ExifTags.IFD.Exif).update({ExifTags.Base.ExposureTime: 0.008, ExifTags.Base.MakerNote: bytes(range(99))})
    made.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2026:11:28 23:59:59"
    made.get_ifd(GPS).update({1: "N", 2: (52.0, 31.0, 12.5), 3: "E", 4: (13.0, 24.0, 0.5)})
    return made


def flat(found: Image.Exif) -> dict:
    tags = {key: value for key, value in found.items() if key not in (ExifTags.IFD.Exif, GPS)}
    return tags | {(ifd, key): value for ifd in (ExifTags.IFD.Exif, GPS) for key, value in found.get_ifd(ifd).items()}


def file(name: str, size: tuple[int, int] = (24, 16), **options) -> Image.Image:
    stream = io.BytesIO()
    Image.new("RGB", size, (90, 120, 30)).save(stream, name, **options)
    stream.seek(0)
    return read_image(stream)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", [None, 1, 6])
def test_every_tag_but_orientation_is_kept(name, orientation):
    image = file(name, exif=exif(orientation).tobytes())
    before = flat(image.getexif())
    whole = put_together(take_apart(image))
    after = flat(whole.getexif())
    assert after.pop(ORIENTATION, 1) == 1 and whole.size == ((16, 24) if orientation == 6 else (24, 16))
    before.pop(ORIENTATION, None)
    if name == "TIFF":
        before = {key: value for key, value in before.items() if key in flat(exif())}
    assert before == after and len(after) == len(flat(exif()))


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_formats_that_have_a_place_for_metadata_carry_them(ending, tmp_path):
    has_dpi = ending in (".jpg", ".png", ".tif")
    image = file("JPEG", exif=exif(6).tobytes(), xmp=XMP, **({"dpi": (300, 200)} if has_dpi else {}))
    profile = Image.new("RGB", (1, 1)).info.get("icc_profile")
    whole = put_together(take_apart(image))
    write_image(whole, tmp_path / f"a{ending}")
    back = Image.open(tmp_path / f"a{ending}")
    back.load()
    found = {key: value for key, value in flat(back.getexif()).items() if key in flat(exif())}
    assert found == flat(exif())
    assert back.info.get("xmp", back.getexif().get(700)) == XMP.replace(b'Orientation="6"', b'Orientation="1"')
    assert back.size == (16, 24) and profile is None
    if has_dpi:
        assert back.info["dpi"] == pytest.approx((200, 300), abs=0.02)


def test_formats_that_have_none_say_so(tmp_path):
    whole = put_together(take_apart(file("JPEG", exif=exif().tobytes())))
    with pytest.warns(DctcodecWarning, match="BMP has no place for the EXIF"):
        write_image(whole, tmp_path / "a.bmp")
    assert Image.open(tmp_path / "a.bmp").size == (24, 16)


def test_what_a_jpeg_has_no_room_for_is_left_out_with_a_warning(tmp_path):
    image = file("PNG")
    image.info["xmp"] = b"<x>" + bytes(70000)
    with pytest.warns(DctcodecWarning, match="XMP is longer"):
        write_image(put_together(take_apart(image)), tmp_path / "a.jpg")


def test_transparency_in_a_jpeg_is_flattened_with_a_warning(tmp_path):
    with pytest.warns(DctcodecWarning, match="JPEG has no transparency"):
        write_image(Image.new("RGBA", (9, 9), (0, 0, 0, 0)), tmp_path / "a.jpg")
    assert np.asarray(Image.open(tmp_path / "a.jpg")).min() == 255


@pytest.mark.parametrize("ending", [".png", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_other_formats_keep_it(ending, mode, tmp_path):
    image = Image.new(mode, (9, 9), 200)
    image.putalpha(Image.linear_gradient("L").resize((9, 9)))
    try:
        write_image(image, tmp_path / f"a{ending}")
    except OutputError as error:
        pytest.fail(str(error))
    back = Image.open(tmp_path / f"a{ending}").convert("RGBA").getchannel("A")
    assert np.abs(np.asarray(back, int) - np.asarray(image.getchannel("A"), int)).max() <= (8 if ending == ".avif" else 0)


def test_strip_leaves_metadata_out():
    parts = take_apart(file("JPEG", exif=exif(6).tobytes(), xmp=XMP, dpi=(72, 72)), strip="all")
    assert (parts.exif, parts.xmp, parts.pixels.size, parts.dpi) == (None, None, (16, 24), (72, 72))
    with pytest.raises(ValueError, match="use one of all, gps"):
        take_apart(file("JPEG"), strip="exif")


@pytest.mark.parametrize("name", ["JPEG", "TIFF"])
def test_strip_gps_removes_positions_alone(name):
    parts = take_apart(file(name, exif=exif(6).tobytes()), strip="gps")
    after = flat(put_together(parts).getexif())
    expected = {key: value for key, value in flat(exif()).items() if not isinstance(key, tuple) or key[0] != GPS}
    assert after.pop(ORIENTATION, 1) == 1 and after == expected
    assert struct.pack("<II", 25, 2) not in parts.exif and struct.pack(">II", 25, 2) not in parts.exif  # 12.5 seconds


@pytest.mark.parametrize("change", [lambda xmp: xmp, lambda xmp: xmp.replace(b"exif:", b"e:").replace(b":exif=", b":e=")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_strip_gps_removes_positions_from_xmp(change, encoding):
    image = Image.new("RGB", (4, 4))
    image.info["xmp"] = change(XMP).decode().encode(encoding)
    xmp = take_apart(image, strip="gps").xmp
    assert b"GPS" not in xmp and b'xmp:Rating="5"' in xmp and b"<dc:title>Dom</dc:title>" in xmp


def test_xmp_without_positions_stays_as_it_is():
    image = Image.new("RGB", (4, 4))
    image.info["xmp"] = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">\n<!-- a -->  </x:xmpmeta>'
    assert take_apart(image, strip="gps").xmp == image.info["xmp"]


@pytest.mark.parametrize(
    "xmp", [b"<exif:GPSa>" * 99999, b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', b"<a>" * 9999 + b"</a>" * 9999]
)
def test_xmp_that_cannot_be_searched_for_positions_is_left_out(xmp):
    image = Image.new("RGB", (4, 4))
    image.info["xmp"] = xmp
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = take_apart(image, strip="gps").xmp
    assert found in (None, xmp) and (found is None) == any("XMP cannot be read" in str(one.message) for one in caught)
    assert found is None or b"GPS" not in found


def test_strip_gps_removes_every_entry_of_positions():
    tags = struct.pack("<HHHII", 3, *(0x0112, 4, 1, 6)) + 2 * struct.pack("<HHII", GPS, 4, 1, 50) + bytes(4)
    data = b"II*\0" + struct.pack("<I", 8) + tags + struct.pack("<HHHI4sI", 1, 1, 2, 2, b"N\0", 0)
    image = Image.new("RGB", (4, 4))
    image.info["exif"] = b"Exif\0\0" + data
    exif = take_apart(image, strip="gps").exif
    assert struct.unpack_from("<HHHII", exif, 8) == (1, 0x0112, 4, 1, 1) and b"N" not in exif


def test_an_orientation_of_32_bits_becomes_upright():
    data = b"MM\0*" + struct.pack(">IHHHIII", 8, 1, ORIENTATION, 4, 1, 6, 0)
    image = Image.new("RGB", (4, 2))
    image.info["exif"] = b"Exif\0\0" + data
    whole = put_together(take_apart(image))
    assert whole.size == (2, 4) and whole.getexif()[ORIENTATION] == 1


def test_tags_of_another_file_do_not_spoil_a_tiff_file(tmp_path):
    tags = exif(6)
    tags.update({256: 4000, 257: 5, 258: (5, 6, 5), 262: 6, 266: 2, 284: 2, 339: 3, 338: 1})
    image = file("JPEG", exif=tags.tobytes())
    whole = put_together(take_apart(image))
    write_image(whole, tmp_path / "a.tif")
    back = Image.open(tmp_path / "a.tif")
    assert back.getexif()[ExifTags.Base.Artist] == "somebody" and back.getexif().get_ifd(GPS)[1] == "N"
    assert np.array_equal(np.asarray(back), np.asarray(whole))


@pytest.mark.parametrize("ending", [".tif", ".avif", ".jpg", ".png", ".webp"])
def test_exif_that_a_format_cannot_hold_is_left_out_with_a_warning(ending, tmp_path):
    tags = (ExifTags.Base.Artist, 5, 1, 0), (ExifTags.Base.Make, 12, 7, 9999), (ExifTags.IFD.Exif, 2, 3, 0x616161)
    data = b"II*\0" + struct.pack("<IH", 8, 3) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    image = Image.new("RGB", (4, 2), (9, 99, 200))
    image.info["exif"] = b"Exif\0\0" + data
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        write_image(image, tmp_path / f"a{ending}")
    assert Image.open(tmp_path / f"a{ending}").size == (4, 2)


def test_orientation_of_xmp_counts_where_exif_has_none():
    assert take_apart(file("JPEG", xmp=XMP)).pixels.size == (16, 24)
    assert take_apart(file("JPEG", xmp=XMP, exif=exif(1).tobytes())).pixels.size == (24, 16)


@pytest.mark.parametrize(("name", "dpi"), [("PNG", (300, 150)), ("JPEG", (300, 150)), ("TIFF", (300, 150)), ("BMP", (96, 96))])
def test_dots_per_inch_are_kept(name, dpi):
    assert take_apart(file(name, dpi=dpi)).dpi == pytest.approx(dpi, abs=0.02)


def test_files_without_them_have_none():
    for name in ("PNG", "JPEG", "TIFF", "WEBP"):
        assert take_apart(file(name)).dpi is None


def test_damaged_exif_is_left_out_with_a_warning():
    for start in (b"II*\0", b"junk"):
        image = Image.new("RGB", (4, 4))
        image.info["exif"] = b"Exif\0\0" + start + b"\xff" * 20
        with pytest.warns(DctcodecWarning, match="EXIF data cannot be read"):
            assert take_apart(image).exif is None

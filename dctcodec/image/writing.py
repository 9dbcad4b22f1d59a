"""Decoded images as files, in the format that the ending of their name says."""

from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dctcodec.errors import DctcodecWarning, OutputError, warn
from dctcodec.files import STANDARD_STREAM, write_output
from dctcodec.image.alpha import flatten
from dctcodec.image.metadata import DESCRIBING_TAGS

_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {"compress_level": 4}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"lossless": True}),
    ".avif": ("AVIF", {"quality": 90}),
    ".tif": ("TIFF", {"compression": "tiff_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}),
    ".bmp": ("BMP", {}),
    ".ppm": ("PPM", {}),
}
"""Pillow's format and options for each ending that a decoded image may be given. PNG files are 2 % larger than at Pillow's level 6,
and take less than half the time."""
_OPAQUE = ("JPEG", "BMP", "PPM")
_KEPT = {
    "PNG": ("icc_profile", "exif", "xmp", "dpi"),
    "JPEG": ("icc_profile", "exif", "xmp", "dpi"),
    "WEBP": ("icc_profile", "exif", "xmp"),
    "AVIF": ("icc_profile", "exif", "xmp"),
    "TIFF": ("icc_profile", "exif", "xmp", "dpi"),
    "BMP": ("dpi",),
    "PPM": (),
}
"""What a file of each format holds of an image's `info`."""
_JPEG_SEGMENT = 65533
_XMP_IN_TIFF = 700
_NAMES = {"icc_profile": "colour profile", "exif": "EXIF", "xmp": "XMP"}


def has_image_ending(name: str) -> bool:
    """Whether a name has the ending of an image format."""
    return Path(name).suffix.lower() in _FORMATS


def check_ending(destination: str | Path) -> None:
    """Raise OutputError where the ending of `destination` names no image format; `-` is PNG."""
    _format(destination)


def write_image(image: Image.Image, destination: str | Path) -> None:
    """Write an image of mode "RGB", "RGBA", "L" or "LA" to a file in the format of its ending, or as PNG to stdout for `-`.

    Its profile, EXIF, XMP and dots per inch are written where the format has a place for them. JPEG, BMP and PPM have no
    transparency: it is flattened on white, with a warning. All formats but JPEG (quality 95) and AVIF (quality 90) are lossless. A
    TIFF file with EXIF or XMP is not compressed. Raises OutputError; see `files.write_output`.
    """
    write_output(destination, image_bytes(image, destination))


def image_bytes(image: Image.Image, destination: str | Path) -> bytes:
    """The bytes that `write_image` writes to `destination`. Raises OutputError."""
    name, options = _format(destination)
    if name in _OPAQUE and image.mode in ("RGBA", "LA"):
        warn(f"{name} has no transparency: it is flattened on white")
        info, opaque = image.info, image.mode.removesuffix("A")
        image = flatten(image.convert(opaque), image.getchannel("A"), "white")
        image.info = info
    if name not in Image.SAVE:
        Image.init()
    if name not in Image.SAVE:
        raise OutputError(f"cannot write {destination}: Pillow was built without {name} here; use another ending")
    plain = image.copy()
    plain.info = {}
    try:
        return _saved(plain, name, options | _metadata(image.info, name))
    except DctcodecWarning:
        raise
    except Exception as error:  # Pillow lets through anything of damaged EXIF data
        encoded = _without_exif(plain, image.info, name, options)
        if encoded:
            warn(f"{name} cannot hold these EXIF data: they are left out")
            return encoded
        width, height = image.size
        raise OutputError(f"cannot write {destination}: {name} cannot hold an image of {width}x{height}") from error


def _without_exif(plain: Image.Image, info: dict[Any, Any], name: str, options: dict[str, Any]) -> bytes | None:
    """An image as a file with what its `info` holds but EXIF data, None where that cannot be written either."""
    if "exif" not in info:
        return None
    kept = {key: info[key] for key in _KEPT[name] if key in info and key != "exif"}
    try:
        return _saved(plain, name, options | _metadata(kept, name))
    except Exception:
        return None


def _saved(image: Image.Image, name: str, options: dict[str, Any]) -> bytes:
    encoded = BytesIO()
    image.save(encoded, name, **options)
    return encoded.getvalue()


def _metadata(info: dict[Any, Any], name: str) -> dict[str, Any]:
    """Arguments of Pillow's `save` for what the format holds of an image's `info`. Warns of the rest."""
    for key in _NAMES.keys() - set(_KEPT[name]):
        if key in info:
            warn(f"{name} has no place for the {_NAMES[key]}: it is left out")
    found = {key: info[key] for key in _KEPT[name] if key in info}
    if name == "JPEG":
        for key in ("exif", "xmp"):
            if len(found.get(key, b"")) > _JPEG_SEGMENT - 64:
                warn(f"the {_NAMES[key]} is longer than a JPEG file has room for: it is left out")
                del found[key]
    if name == "PNG" and "xmp" in found:
        found["pnginfo"] = PngInfo()
        found["pnginfo"].add_itxt("XML:com.adobe.xmp", found.pop("xmp").decode("utf-8", "replace"))
    if name == "TIFF" and ("exif" in found or "xmp" in found):
        found |= _tags_of_tiff(found.pop("exif", None), found.pop("xmp", None))
    return found


def _tags_of_tiff(exif: bytes | None, xmp: bytes | None) -> dict[str, Any]:
    """EXIF and XMP are tags of the file itself, which Pillow writes without compression alone. Tags that say how an image is stored
    are those of another file, and stay out."""
    tags = Image.Exif()
    if exif:
        tags.load(exif)
        for tag in set(tags) - set(DESCRIBING_TAGS):
            del tags[tag]
    if xmp:
        tags[_XMP_IN_TIFF] = xmp
    return {"exif": tags, "compression": None}


def _format(destination: str | Path) -> tuple[str, dict[str, Any]]:
    if str(destination) == STANDARD_STREAM:
        return _FORMATS[".png"]
    ending = Path(destination).suffix.lower()
    if ending not in _FORMATS:
        problem = f"unknown image ending {ending!r}" if ending else "the name has no ending"
        raise OutputError(f"cannot write {destination}: {problem}; use one of {', '.join(_FORMATS)}")
    return _FORMATS[ending]

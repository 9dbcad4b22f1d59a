"""Pillow reads and writes .dct files once this module is imported. The codec is imported only when pixels are coded.

`Image.open` reads size, mode and `info`; `draft` and `thumbnail` decode no more bands than the size needs. `image.save` takes
`quality`, `effort`, `tune`, `seed` and `model` of `Codec.encode`, `background`, `to_srgb` and `strip` of `image.take_apart`, and
`icc_profile`, `exif`, `xmp` and `dpi` instead of the image's own.
"""

from io import BytesIO
from typing import IO, Any

from PIL import Image, ImageFile

from dctcodec import container
from dctcodec.errors import DctcodecError
from dctcodec.files import MAX_INPUT_BYTES

FORMAT, EXTENSION, MEDIA_TYPE = "DCT", ".dct", "image/x-dct"
MOST_REDUCED = 32
"""The side of a tile: a draft has one pixel of each at least."""


class DctImageFile(ImageFile.ImageFile):
    """A .dct file, decoded when its pixels are needed. A truncated one is opened where `ImageFile.LOAD_TRUNCATED_IMAGES` is set.
    Raises OSError for a damaged one."""

    format = FORMAT
    format_description = "dctcodec"
    _data: bytes | None = None
    """The file, until it is decoded; none in a copy."""

    def _open(self) -> None:
        assert self.fp is not None
        self._data = self.fp.read(MAX_INPUT_BYTES)
        self._scale = 1
        try:
            file = container.parse(self._data, partial=ImageFile.LOAD_TRUNCATED_IMAGES)
        except DctcodecError as error:
            raise OSError(str(error)) from error
        self._header, extra = file.header, file.extra
        self._size = file.header.size
        self._mode = ("L" if file.header.grey else "RGB") if extra.alpha is None else "LA" if file.header.grey else "RGBA"
        found = {"icc_profile": extra.profile, "xmp": extra.xmp, "dpi": extra.dpi}
        found["exif"] = b"Exif\0\0" + extra.exif if extra.exif else None
        self.info = {name: value for name, value in found.items() if value is not None}

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Decode at 1/2, 1/4, 1/8, 1/16 or 1/32 of the size, at no less than `size`. None where that is not possible."""
        if self._data is None or size is None or not self._header.step16:
            return None
        wanted = min(self._header.width // max(size[0], 1), self._header.height // max(size[1], 1), MOST_REDUCED)
        if wanted < 2:
            return None
        self._scale = 1 << wanted.bit_length() - 1
        width, height = self._header.size
        self._size = -(-width // self._scale), -(-height // self._scale)
        return self.mode, (0, 0, width / self._scale, height / self._scale)

    def load(self) -> Any:
        if self._data is not None:
            image = self._decoded(self._data)
            self._data = None
            if self.fp and self._exclusive_fp:
                self.fp.close()
            self.fp = BytesIO(image.tobytes())
            self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]
        return super().load()

    def load_seek(self, pos: int) -> None:
        """The pixels are at hand."""

    def _decoded(self, data: bytes) -> Image.Image:
        from dctcodec.codec import codec_for

        partial = ImageFile.LOAD_TRUNCATED_IMAGES
        try:
            codec = codec_for(data, partial=partial)
            return codec.decode(data, partial=partial) if self._scale == 1 else codec.preview(data, self._scale, partial)
        except DctcodecError as error:
            raise OSError(str(error)) from error


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(container.MAGIC)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    from dctcodec.codec import loaded
    from dctcodec.image import take_apart
    from dctcodec.installed import DEFAULT

    given: dict[str, Any] = dict(image.encoderinfo)
    replaced = {name: given.pop(name) for name in ("icc_profile", "exif", "xmp", "dpi") if name in given}
    if isinstance(replaced.get("exif"), Image.Exif):
        replaced["exif"] = replaced["exif"].tobytes()
    if replaced:
        image = image.copy()
        for name, value in replaced.items():
            image.info[name] = value
    parts = take_apart(image, **{name: given[name] for name in ("background", "to_srgb", "strip") if name in given})
    options = {name: given[name] for name in ("quality", "effort", "tune", "seed") if name in given}
    file.write(loaded(given.get("model", DEFAULT), "auto").encode(parts, **options))


Image.register_open(FORMAT, DctImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, EXTENSION)
Image.register_mime(FORMAT, MEDIA_TYPE)

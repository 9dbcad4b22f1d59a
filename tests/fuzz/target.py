"""What a fuzzer calls with each input: everything that reads a .dct file. Run by `campaign.py`.

Atheris (libFuzzer) and not Hypothesis: it keeps the inputs that reach new code and goes on from them, finds hangs and memory by
itself, and takes a tenth of the time for an input. An input is read as it is, then with all its checksums made right, every
other one with its profile, EXIF, XMP and text deflated too, so that what is changed in them comes to those who read them.
"""

import io
import sys
import time
import zlib
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["dctcodec"]):
    from dctcodec import container
    from dctcodec.cli.info import facts
    from dctcodec.errors import DctcodecError
    from dctcodec.image import alpha, colour, metadata, parts

from PIL import Image

SYMBOLS_EVERY = 100
"""One of so many inputs has its symbols decoded, which takes a hundred times longer than the rest."""
SMALL = 64
"""The side of the largest images whose symbols and alpha are decoded."""
DEFLATED = b"Cext"
MOST_SECONDS = 10
"""Of processor time; the clock on the wall is libFuzzer's."""
_counts = {"inputs": 0}


def one_input(data: bytes) -> None:
    """Raises what is no DctcodecError, and TimeoutError."""
    start = time.process_time()
    _counts["inputs"] += 1
    with suppress(DctcodecError):
        facts(data)
    file = repaired(data, deflate=len(data) % 2 == 0)
    for partial in (False, True):
        with suppress(DctcodecError):
            read(file, partial)
    if _counts["inputs"] % SYMBOLS_EVERY == 0:
        decode(file)
    if time.process_time() - start > MOST_SECONDS:
        raise TimeoutError(f"over {MOST_SECONDS} seconds of processor time")


def read(data: bytes, partial: bool) -> None:
    """All that is beside the symbols."""
    file = container.parse(data, partial)
    extra = file.extra
    if max(file.header.size) > SMALL:
        return
    mask = None
    if extra.alpha:
        with suppress(DctcodecError):
            mask = alpha.unpack(extra.alpha, file.header.size)
    if extra.exif:
        metadata.exif_without_positions(extra.exif)
    if extra.xmp:
        metadata.xmp_without_positions(extra.xmp)
    pixels = Image.new("L" if file.header.grey else "RGB", file.header.size)
    if extra.profile:
        colour.settle(pixels, extra.profile, to_srgb=True)
    whole = parts.put_together(parts.ImageParts(pixels, mask, extra.profile, extra.exif, extra.xmp, extra.dpi, extra.text))
    again = parts.take_apart(whole, strip="gps")
    container.write(file.header, file.payload, container.Extra(exif=again.exif, xmp=again.xmp, dpi=again.dpi))


def decode(data: bytes) -> None:
    """The symbols of a small image, and the image, by the default model."""
    from dctcodec.codec import loaded
    from dctcodec.installed import DEFAULT

    codec = loaded(DEFAULT, "cpu")
    with suppress(DctcodecError):
        header = container.read_header(data)
        if max(header.size) <= SMALL:
            known = header_of(header, codec.model.model_id) + data[container.HEADER_BYTES :]
            for partial in (False, True):
                with suppress(DctcodecError):
                    codec.decode(known, temperature=header.seed % 2, partial=partial)


def header_of(header: container.Header, model_id: int) -> bytes:
    """The bytes of a header of another model."""
    changed = container.Header(header.width, header.height, header.grey, max(header.step16, 1), model_id)
    return container.write(changed, b"")[: container.HEADER_BYTES]


def repaired(data: bytes, deflate: bool) -> bytes:
    """A file with right checksums, as far as it has chunks. `deflate`: metadata stand in it as they are, and are deflated."""
    size = container.HEADER_BYTES
    file = io.BytesIO()
    file.write(data[: size - 4] + zlib.crc32(data[: size - 4]).to_bytes(4, "little"))
    position = size
    while position + 5 <= len(data):
        length = int.from_bytes(data[position + 1 : position + 5], "little")
        content = data[position + 5 : position + 5 + length]
        if deflate and data[position] & 0x7F in DEFLATED and len(content) == length:
            content = zlib.compress(content, 1)
            length = len(content)
        framed = data[position : position + 1] + length.to_bytes(4, "little") + content
        file.write(framed)
        if len(content) < length:
            break
        file.write(zlib.crc32(framed).to_bytes(4, "little"))
        if data[position] & 0x80:
            break
        position += 5 + int.from_bytes(data[position + 1 : position + 5], "little") + 4
    return file.getvalue()


def main() -> None:
    import warnings

    warnings.simplefilter("ignore")
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()

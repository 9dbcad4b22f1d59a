"""The facts that `dctcodec info` prints."""

from typing import Any

from dctcodec.bands.quality import quality_of_step
from dctcodec.container import Chunk, Header, chunks_of, parse, read_header
from dctcodec.errors import ModelError
from dctcodec.family import TUNES
from dctcodec.installed import find_by_id

_LONGEST = 1000


def facts(data: bytes) -> dict[str, Any]:
    """Size, model, quality and step, chunks, bytes. Raises FormatError for a damaged file or another format."""
    header, chunks, text = read_header(data), list(chunks_of(data)), None
    truncated = not chunks or not chunks[-1].last or chunks[-1].crc is None
    if not truncated or header.step16:
        file = parse(data, partial=True)
        header, text = file.header, file.extra.text
    there = sum(len(chunk.data) for chunk in chunks)
    return {
        "width": header.width,
        "height": header.height,
        "colour": "grey" if header.grey else "RGB",
        "model": _model(header),
        "model_id": f"{header.model_id:08x}",
        **_quality(header),
        "tune": TUNES[header.tuned],
        "seed": header.seed,
        **({"settings": _shown(text)} if text else {}),
        "bytes": len(data),
        "header_bytes": len(data) - there,
        "payload_bytes": sum(len(chunk.data) for chunk in chunks if chunk.name == "symbols"),
        "chunks": {chunk.name: _size(chunk) for chunk in chunks},
        "truncated": truncated,
        "bpp": round(8 * len(data) / (header.width * header.height), 4),
    }


def _shown(text: str) -> str:
    """A text that anyone may have written, as one line of at most 1,000 characters."""
    line = "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text[:_LONGEST])
    return line + "…" * (len(text) > _LONGEST)


def _model(header: Header) -> str:
    try:
        return find_by_id(header.model_id).name
    except ModelError:
        return "not installed"


def _quality(header: Header) -> dict[str, float]:
    if not header.step16:
        return {}
    return {"quality": round(quality_of_step(header.step), 1), "step": round(header.step, 4)}


def _size(chunk: Chunk) -> int | str:
    return chunk.length if chunk.crc is not None else f"{len(chunk.data)} of {chunk.length}"

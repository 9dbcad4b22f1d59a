"""The .dct file: its frozen layout, and that no damage gets past it."""

import struct
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dctcodec import container, limits
from dctcodec.container import CHUNK_BYTES, CHUNKS, HEADER_BYTES, MAX_PIXELS, Extra, File, Header
from dctcodec.errors import FormatError, ImageError, ModelError

FROZEN = bytes.fromhex("444354890201d4c3b2a1020103002503 bc75c748 4e04000000efbeadde c27d0d4f d30400000001020304 7943b1d8")


@pytest.fixture(scope="module")
def small(codec, make_picture) -> bytes:
    """A file of some 100 bytes."""
    return codec.encode(make_picture(40, 33), quality=30, seed=5)


def craft(
    payload: bytes = b"",
    magic: bytes = b"DCT\x89",
    version: int = 2,
    flags: int = 0,
    model: int = 0,
    width: int = 40,
    height: int = 33,
    step16: int = 800,
    chunks: list[tuple[bytes, bytes]] | None = None,
    length: int | None = None,
) -> bytes:
    """A file as FORMAT.md says, with right checksums whatever it holds; independent of the writer."""
    head = magic + struct.pack("<BBIHHH", version, flags, model, width, height, step16)
    data = head + struct.pack("<I", zlib.crc32(head))
    chunks = [(b"S", payload)] if chunks is None else chunks
    for number, (kind, content) in enumerate(chunks, 1):
        last = 128 * (number == len(chunks))
        framed = struct.pack("<BI", ord(kind) | last, len(content) if length is None else length) + content
        data += framed + struct.pack("<I", zlib.crc32(framed))
    return data


def refused(decode, data: bytes) -> bool:
    """Whether a file is refused in the two ways that there are."""
    try:
        decode(data)
    except (FormatError, ModelError) as error:
        assert str(error) and "\n" not in str(error)
        return True
    return False


sides = st.integers(1, 65535)
headers = st.builds(
    Header,
    width=sides,
    height=sides,
    grey=st.booleans(),
    step16=st.integers(0, 65535),
    model_id=st.integers(0, 2**32 - 1),
    seed=st.integers(0, 2**32 - 1),
    tuned=st.booleans(),
    stepped=st.booleans(),
)
some_bytes = st.none() | st.binary(min_size=1, max_size=50)
numbers = st.floats(1, 1e5, width=32)
extras = st.builds(
    Extra,
    profile=some_bytes,
    alpha=some_bytes,
    dpi=st.none() | st.tuples(numbers, numbers),
    exif=some_bytes,
    xmp=some_bytes,
    text=st.none() | st.text(st.characters(codec="utf-8"), min_size=1),
)


@given(headers.filter(lambda h: h.width * h.height <= MAX_PIXELS), st.binary(max_size=100), extras)
def test_what_is_written_is_read(header: Header, payload: bytes, extra: Extra):
    data = container.write(header, payload, extra)
    for partial in (False, True):
        assert container.parse(data, partial) == File(header, payload, len(payload), extra)


@given(headers.filter(lambda h: h.width * h.height <= MAX_PIXELS and not h.seed), st.binary(max_size=100))
def test_a_plain_image_has_a_header_and_one_chunk(header: Header, payload: bytes):
    data = container.write(header, payload)
    flags = header.grey + 2 * header.tuned + 4 * header.stepped
    assert data == craft(payload, b"DCT\x89", 2, flags, header.model_id, header.width, header.height, header.step16)
    assert len(data) - len(payload) == HEADER_BYTES + CHUNK_BYTES == 29


def test_the_layout_is_frozen():
    header = Header(258, 3, True, 0x0325, 0xA1B2C3D4, 0xDEADBEEF)
    assert container.write(header, b"\1\2\3\4") == FROZEN
    assert container.parse(FROZEN).header.step == 0x0325 / 16


def test_symbols_come_before_all_that_is_not_needed_for_them():
    extra = Extra(bytes(9), bytes(9), (72, 72), bytes(9), bytes(9), "text", bytes(9))
    data = container.write(Header(8, 8, False, 800, 0, 7), b"1234", extra)
    assert [chunk.name for chunk in container.chunks_of(data)] == list(CHUNKS.values())
    assert list(CHUNKS.values())[:3] == ["seed", "patch", "symbols"]
    part = container.parse(data[: data.index(b"1234") + 8], partial=True)
    assert (part.payload, part.partial, part.truncated, part.extra) == (b"1234", False, True, Extra(patch=bytes(9)))
    with pytest.raises(FormatError, match="chunks after the symbols are missing; --partial"):
        container.parse(data[:-1])


def chunked(*chunks: tuple[bytes, bytes]) -> bytes:
    return craft(chunks=list(chunks))


SYMBOLS = (b"S", b"1234")


def test_unknown_chunks_are_skipped_where_they_are_ancillary():
    assert container.parse(chunked((b"q", b"?"), SYMBOLS, (b"z", b""))).payload == b"1234"
    with pytest.raises(FormatError, match="chunk 'Q' .* does not support: upgrade"):
        container.parse(chunked((b"Q", b"?"), SYMBOLS))


def packed(data: bytes) -> bytes:
    return zlib.compress(data)


@pytest.mark.parametrize(
    ("chunks", "words"),
    [
        ([(b"e", packed(b"x"))], "no symbols"),
        ([SYMBOLS, SYMBOLS], "out of place"),
        ([SYMBOLS, (b"N", bytes(4))], "out of place"),
        ([SYMBOLS, (b"x", packed(b"x")), (b"e", packed(b"x"))], "out of place"),
        ([(b"N", bytes(3)), SYMBOLS], "seed chunk has 3 bytes, not 4"),
        ([SYMBOLS, (b"d", bytes(9))], "dpi chunk has 9 bytes"),
        ([SYMBOLS, (b"d", bytes(8))], "no numbers between 0 and 1,000,000"),
        ([SYMBOLS, (b"d", struct.pack("<ff", 72, float("nan")))], "no numbers between 0 and 1,000,000"),
        ([SYMBOLS, (b"e", b"junk")], "exif chunk is not a zlib stream"),
        ([SYMBOLS, (b"x", packed(b"x")[:-1])], "not one zlib stream"),
        ([SYMBOLS, (b"x", packed(b"x") + b"!")], "not one zlib stream"),
        ([SYMBOLS, (b"C", packed(bytes(2**24 + 1)))], "of at most 16777216 bytes"),
    ],
)
def test_chunks_that_no_writer_made_are_refused(chunks, words):
    for partial in (False, True):
        with pytest.raises(FormatError, match=words):
            container.parse(chunked(*chunks), partial)


def test_metadata_too_large_for_the_format_are_refused_by_the_writer():
    header = Header(8, 8, False, 800, 0)
    assert container.parse(container.write(header, b"", Extra(xmp=bytes(2**24)))).extra.xmp == bytes(2**24)
    with pytest.raises(FormatError, match="metadata of 16777217 bytes"):
        container.write(header, b"", Extra(xmp=bytes(2**24 + 1)))


@pytest.mark.parametrize("mask", [0x01, 0x10, 0x80, 0x5A, 0xFF])
def test_every_flipped_byte_is_noticed(codec, small: bytes, mask: int):
    assert not refused(codec.decode, small)
    for position in range(len(small)):
        damaged = bytearray(small)
        damaged[position] ^= mask
        assert refused(codec.decode, bytes(damaged)), position


def test_every_truncation_is_noticed(codec, small: bytes):
    for length in range(len(small)):
        assert refused(codec.decode, small[:length]), length


@pytest.mark.parametrize("more", [b"\0", b"\0\0\0\0", b"\xff" * 9])
def test_bytes_after_the_end_are_noticed(codec, small: bytes, more: bytes):
    assert refused(codec.decode, small + more)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "not a .dct file"),
        (b"DCT", "truncated"),
        (bytes(100), "not a .dct file"),
        (craft(version=1), "version 1"),
        (craft(version=3), "version 3"),
        (craft(flags=8), "flags 0x08"),
        (craft(length=1), "truncated: 1 of 1 bytes"),
        (craft(length=2**32 - 1), "truncated: 4 of 4294967295"),
        (craft(b"abcd", length=0), "checksum of the symbols"),
        (craft()[:20], "truncated: its symbols are missing"),
        (craft()[:12], "inside the header, after 12 bytes"),
    ],
)
def test_what_is_wrong_is_said(codec, data: bytes, words: str):
    with pytest.raises(FormatError, match=words.replace(".", r"\.")):
        codec.decode(data)


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (0, 0), (65535, 65535), (65535, 2049), (2049, 65535)])
def test_absurd_sizes_are_refused_before_anything_is_made(codec, width: int, height: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(codec.family, "prior", None)
    with pytest.raises(FormatError, match=f"{width}x{height}"):
        codec.decode(craft(b"\1\2\3\4", model=codec.model.model_id, width=width, height=height))


def test_the_writer_refuses_them_too():
    with pytest.raises(FormatError, match="65536"):
        container.write(Header(65536, 1, False, 16, 0), b"")
    container.check_size(65535, 2**27 // 65535)


def test_a_step_that_the_model_does_not_know_is_refused(codec):
    with pytest.raises(FormatError, match="step is 0, which its model"):
        codec.decode(craft(model=codec.model.model_id, step16=0))


def test_another_model_is_named(codec):
    with pytest.raises(ModelError, match="0badcafe"):
        codec.decode(craft(model=0x0BADCAFE))


def test_an_image_that_there_is_no_memory_for_is_refused_before_anything_is_made(codec, monkeypatch: pytest.MonkeyPatch):
    data = craft(bytes(8), model=codec.model.model_id, width=11585, height=11585)
    monkeypatch.setattr(codec.family, "prior", None)
    monkeypatch.setattr(limits, "free_memory", lambda: 2_000_000_000)
    with pytest.raises(ImageError, match="11585x11585 pixels and needs up to 13.2 GB of memory, 2.0 GB are free"):
        codec.decode(data)
    with pytest.raises(ImageError, match="the limit is 1000000 pixels"):
        codec.decode(data, max_pixels=1_000_000)


@hypothesis_settings(max_examples=40)
@given(st.binary(max_size=120), st.booleans(), st.sampled_from([1, 800, 65535]))
def test_garbage_with_a_right_checksum_gives_symbols_or_a_format_error(codec, payload: bytes, grey: bool, step16: int):
    data = craft(payload, flags=int(grey), model=codec.model.model_id, step16=step16)
    try:
        _, symbols = codec.symbols(data)
    except FormatError:
        return
    assert symbols.shape[1:] == (2, 2)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.9])
def test_lost_symbols_with_a_right_checksum_give_a_picture_or_a_format_error(codec, small: bytes, keep: float):
    header, payload = container.parse(small).header, container.parse(small).payload
    kept = payload[: int(len(payload) * keep) // 4 * 4]
    with suppress(FormatError):
        assert codec.decode(container.write(header, kept), temperature=1).size == (40, 33)

"""The .dct file: its frozen layout, and that no damage gets past it."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dctcodec import container
from dctcodec.container import HEADER_BYTES, Header
from dctcodec.errors import FormatError, ModelError

FROZEN = bytes.fromhex("44435489 01 01 d4c3b2a1 0201 0300 2503 efbeadde 04000000 a9c9de86 01020304")


@pytest.fixture(scope="module")
def small(codec, make_picture) -> bytes:
    """A file of some 100 bytes."""
    return codec.encode(make_picture(40, 33), quality=30, seed=5)


def craft(
    payload: bytes = b"",
    magic: bytes = b"DCT\x89",
    version: int = 1,
    flags: int = 0,
    model: int = 0,
    width: int = 40,
    height: int = 33,
    step16: int = 800,
    seed: int = 0,
    length: int | None = None,
) -> bytes:
    """A file as FORMAT.md says, with a right checksum whatever it holds; independent of the writer."""
    numbers = (flags, model, width, height, step16, seed, len(payload) if length is None else length)
    head = magic + struct.pack("<BBIHHHII", version, *numbers)
    return head + struct.pack("<I", zlib.crc32(head + payload)) + payload


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
    step16=st.integers(1, 65535),
    seed=st.integers(0, 2**32 - 1),
    model_id=st.integers(0, 2**32 - 1),
    progressive=st.booleans(),
    tuned=st.booleans(),
)


@given(headers.filter(lambda h: h.width * h.height <= container.MAX_PIXELS), st.binary(max_size=100))
def test_what_is_written_is_read(header: Header, payload: bytes):
    data = container.write(header, payload)
    read, rest = container.parse(data)
    assert rest == payload
    assert vars(read) == vars(header) | {"payload_length": len(payload)}
    flags = header.grey + 4 * header.progressive + 8 * header.tuned
    crafted = craft(payload, b"DCT\x89", 1, flags, header.model_id, header.width, header.height, header.step16, header.seed)
    assert data == crafted
    assert len(data) - len(payload) == HEADER_BYTES == 28


def test_the_layout_is_frozen():
    header = Header(258, 3, True, 0x0325, 0xDEADBEEF, 0xA1B2C3D4)
    assert container.write(header, b"\1\2\3\4") == FROZEN
    assert container.parse(FROZEN)[0].step == 0x0325 / 16


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
        (craft(version=2), "version 2"),
        (craft(version=0), "version 0"),
        (craft(flags=16), "flags 0x10"),
        (craft(flags=6, step16=0), "flags 0x06"),
        (craft(flags=10, step16=0), "flags 0x0a"),
        (craft(step16=0), "step is 0, which its flags"),
        (craft(flags=2), "step is 50, which its flags"),
        (craft(length=1), "truncated"),
        (craft(length=2**32 - 1), "truncated"),
        (craft(b"abcd", length=0), "follow the end"),
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
        container.write(Header(65536, 1, False, 16, 0, 0), b"")
    container.check_size(65535, 2**27 // 65535)


def test_another_model_is_named(codec):
    with pytest.raises(ModelError, match="0badcafe"):
        codec.decode(craft(model=0x0BADCAFE))


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
    header, payload = container.parse(small)
    kept = payload[: int(len(payload) * keep) // 4 * 4]
    try:
        assert codec.decode(container.write(header, kept), temperature=1).size == (40, 33)
    except FormatError:
        pass

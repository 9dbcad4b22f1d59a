"""`dctcodec app`: the server by requests, and its page in a real browser."""

import asyncio
import base64
import http.client
import io
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from browser import Browser, browser  # noqa: F401
from click.testing import CliRunner
from PIL import Image

pytest.importorskip("starlette", reason="the extra app is not installed")
pytest.importorskip("uvicorn", reason="the extra app is not installed")

import uvicorn

from dctcodec.app import server
from dctcodec.app.guard import LOCAL
from dctcodec.app.turns import Full, Turns
from dctcodec.app.uploads import check, decoded
from dctcodec.cli import main
from dctcodec.errors import DctcodecError, ImageError

LIMITS = server.Limits(2_000_000, 300_000)


@dataclass
class Running:
    """A server in a thread."""

    port: int
    service: server.Service

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str = "GET", path: str = "/", body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, names)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def events(self, body: bytes, query: str = "") -> list[dict]:
        status, lines = self.ask("POST", f"/api/compare?{query}", body)
        assert status == 200, lines
        return [json.loads(line) for line in lines.splitlines()]

    def refusal(self, body: bytes, query: str = "") -> tuple[int, str]:
        status, answer = self.ask("POST", f"/api/compare?{query}", body)
        return status, json.loads(answer)["error"]


@pytest.fixture(scope="module")
def running(codec) -> Iterator[Running]:
    app = server.application(codec, LIMITS, LOCAL)
    service = app.routes[0].endpoint.__self__
    listener = socket.create_server(("127.0.0.1", 0))
    ours = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=ours.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield Running(listener.getsockname()[1], service)
    ours.should_exit = True
    thread.join(30)


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG of that many pixels, none of them there."""
    parts = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")
    chunks = [struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.fixture(scope="module")
def upload(make_picture) -> bytes:
    return file_of(make_picture(200, 168), "JPEG", quality=95)


# --- requests


def test_an_image_comes_back_first_alone_and_then_beside_others(running, upload, codec):
    events = running.events(upload, "quality=40&effort=1")
    data = base64.b64decode(next(event["file"] for event in events if "file" in event))
    first, whole = [event["image"] for event in events if "image" in event]
    assert codec.decode(data).size == (200, 168)
    assert [version["name"] for version in first["versions"]] == ["original", "dctcodec"]
    names = [version["name"] for version in whole["versions"]]
    assert names == ["original", "dctcodec", "AVIF, default settings", "WebP", "JPEG"]
    assert first["versions"][1]["figures"]["ssimulacra2"] is None
    assert whole["versions"][1]["figures"]["ssimulacra2"] is not None
    assert whole["versions"][1]["maps"]
    assert whole["versions"][1]["figures"]["bytes"] == len(data)
    shares = [event["share"] for event in events if "share" in event]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1, abs=0.01)


def test_bands_and_temperature_change_what_is_decoded_alone(running, upload, codec):
    def asked(query: str) -> tuple[str, np.ndarray]:
        events = running.events(upload, f"others=0&{query}")
        url = [event["image"] for event in events if "image" in event][-1]["versions"][1]["url"]
        pixels = np.array(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))
        return next(event["file"] for event in events if "file" in event), pixels

    plain, coarse, noisy = asked("bands=8"), asked("bands=2"), asked("temperature=1")
    assert plain[0] == coarse[0] == noisy[0]
    data = base64.b64decode(plain[0])
    assert np.array_equal(plain[1], np.array(codec.decode(data)))
    assert np.array_equal(coarse[1], np.array(codec.decode(data, bands=2)))
    assert np.array_equal(noisy[1], np.array(codec.decode(data, temperature=1)))


def test_a_warning_about_the_image_is_sent(running):
    events = running.events(file_of(Image.new("RGBA", (32, 32), (0, 0, 0, 0))), "others=0")
    assert "alpha" in events[0]["warnings"][0]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("quality=0", "quality must be a number from 1 to 100"),
        ("quality=nan", "quality must be a number"),
        ("effort=10", "effort must be a number from 0 to 9"),
        ("bands=x", "bands must be a number"),
        ("temperature=-1", "temperature must be"),
        ("tune=<b>", "tune must be one of"),
    ],
)
def test_wishes_that_cannot_be_are_refused(running, upload, query, message):
    status, error = running.refusal(upload, query)
    assert status == 400
    assert message in error


def test_what_is_no_image_is_refused(running):
    for body in (b"hello", b"", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", png_header(10, 10)[:20]):
        status, error = running.refusal(body)
        assert status == 400
        assert "not an image" in error
    assert "damaged" in running.events(png_header(100, 100))[-1]["error"]


@pytest.mark.parametrize(("width", "height"), [(20_000, 15_000), (10_000, 15_000), (600, 501)])
def test_too_many_pixels_are_refused_by_the_header(running, width, height):
    status, error = running.refusal(png_header(width, height))
    assert status == 413
    assert "pixels" in error


def test_too_many_bytes_are_refused_before_all_are_sent(running):
    with socket.create_connection(("127.0.0.1", running.port), timeout=60) as connection:
        connection.sendall(b"POST /api/compare HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000000\r\n\r\n")
        connection.sendall(bytes(LIMITS.bytes + 1))
        answer = ""
        while "}" not in answer:
            answer += connection.recv(10_000).decode()
    assert " 413 " in answer
    assert "the limit is 2,000,000 bytes" in answer


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "example.org"},
        {"Host": "127.0.0.1.example.org:80"},
        {"Host": ""},
        {"Origin": "http://example.org"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_other_origins_are_refused(running, upload, headers):
    headers = {name: value.format(port=running.port) for name, value in headers.items()}
    status, answer = running.ask("POST", "/api/compare", upload, **headers)
    assert status == 403
    assert json.loads(answer)["error"]


def test_the_own_origin_is_served_under_every_local_name(running):
    for name in ("127.0.0.1", "localhost", "[::1]", "LOCALHOST"):
        host = f"{name}:{running.port}"
        assert running.ask(Host=host, Origin=f"http://{host}", Sec_Fetch_Site="same-origin")[0] == 200
    assert running.ask(path="/api/compare")[0] == 405
    assert running.ask(path="/nothing")[0] == 404


def test_two_at_once_are_both_served_one_after_the_other(running, upload):
    results: list[list[dict]] = []
    threads = [threading.Thread(target=lambda: results.append(running.events(upload, "quality=30"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert len(results) == 3
    assert all(events[-1].get("whole") for events in results)
    assert len({next(event["file"] for event in events if "file" in event) for events in results}) == 1
    assert sum(any("waiting" in event for event in events) for events in results) == 2


def test_a_page_that_goes_ends_its_work(running, upload, make_picture):
    large = file_of(make_picture(512, 512))
    connection = socket.create_connection(("127.0.0.1", running.port), timeout=60)
    head = f"POST /api/compare?effort=9 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(large)}\r\n\r\n"
    connection.sendall(head.encode() + large)
    assert b"200 OK" in connection.recv(1000)
    while b"share" not in connection.recv(10_000):
        pass
    connection.close()
    start = time.perf_counter()
    assert running.events(upload, "others=0")[-1]["whole"]
    assert time.perf_counter() - start < 30  # effort 9 takes minutes
    for _ in range(100):
        if not running.service.turns._line:
            break
        time.sleep(0.05)
    assert not running.service.turns._line


def test_more_than_the_line_holds_are_told_to_come_back(running, upload, monkeypatch):
    monkeypatch.setattr(running.service.turns, "most", 0)
    assert "try again" in running.events(upload)[0]["error"]


def test_a_defect_is_told_and_the_next_image_is_served(running, upload, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(server, "work", lambda *_: 1 / 0)
        assert "bug" in running.events(upload)[0]["error"]
    assert running.events(upload, "others=0")[-1]["whole"]


# --- parts


def test_turns_come_in_order():
    async def line() -> list[str]:
        turns, told = Turns(3), []

        async def one(name: str) -> None:
            place = turns.join()
            async for ahead in turns.wait(place):
                told.append(f"{name}{ahead}")
            told.append(name)
            await asyncio.sleep(0)
            turns.leave(place)

        tasks = [asyncio.create_task(one(name)) for name in "abc"]
        await asyncio.sleep(0)
        with pytest.raises(Full):
            turns.join()
        await asyncio.gather(*tasks)
        return told

    assert asyncio.run(line()) == ["a", "b1", "c2", "b", "c1", "c"]


def test_uploads_are_what_the_codec_takes(make_picture):
    image = make_picture(40, 24)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decoded(file_of(image, "JPEG", exif=exif), 1000).size == (24, 40)
    with pytest.raises(DctcodecError, match="960 pixels"):
        check(file_of(image), 959)
    with pytest.raises(ImageError):
        check(file_of(image, "PCX"), 1000)


# --- the command


def test_a_port_in_use_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = CliRunner().invoke(main.main, ["app", "--port", str(taken.getsockname()[1])])
    assert result.exit_code == 1
    assert "give another --port" in result.stderr


# --- the page


@pytest.fixture
def page(browser: Browser, running: Running) -> Browser:  # noqa: F811
    browser.open(running.address)
    browser.wait("document.documentElement.dataset.ready")
    return browser


def choose(page: Browser, path) -> None:
    page.find("#file").send_keys(str(path))


def whole(page: Browser, count: int = 1) -> None:
    page.wait(f"document.documentElement.dataset.whole >= {count}")


@pytest.fixture
def jpeg(tmp_path, upload):
    path = tmp_path / "<b>photo.jpg"
    path.write_bytes(upload)
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_an_image_is_shown_in_every_size_and_no_other_machine_is_asked(browser, running, jpeg, width, scheme):  # noqa: F811
    browser.requests()
    browser.open(running.address, width, 844, scheme)
    browser.wait("document.documentElement.dataset.ready")
    choose(browser, jpeg)
    whole(browser)
    assert browser.log() == []
    asked = [address for address in browser.requests() if not address.startswith(("data:", "about:", "chrome:"))]
    assert asked
    assert all(address.startswith(f"{running.address}/") for address in asked)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.text("#title") == jpeg.name
    assert browser.run("document.querySelectorAll('#versions tbody tr').length") == 5


def test_the_file_can_be_saved_and_the_command_line_decodes_it(page, jpeg, tmp_path):
    choose(page, jpeg)
    whole(page)
    page.click("#save-file")
    page.click("#save-image")
    folder = page.driver.downloads
    for _ in range(200):
        names = {path.suffix for path in folder.glob("*")} if folder.exists() else set()
        if names == {".dct", ".png"}:
            break
        time.sleep(0.05)
    (file,), (image,) = folder.glob("*.dct"), folder.glob("*.png")
    result = CliRunner().invoke(main.main, ["decode", str(file), "-o", str(tmp_path / "decoded.png")])
    assert result.exit_code == 0, result.output
    assert np.array_equal(np.array(Image.open(tmp_path / "decoded.png")), np.array(Image.open(image).convert("RGB")))


def test_the_controls_change_the_result(page, jpeg):
    def set_control(name: str, value: object) -> None:
        script = "const [name, value] = arguments; const control = document.getElementById(name); control.value = value;"
        page.driver.execute_script(script + "control.dispatchEvent(new Event('input', {bubbles: true}))", name, value)

    def figures() -> dict:
        return page.run("viewer.image.versions[1].figures")

    choose(page, jpeg)
    whole(page)
    first = figures()
    set_control("quality", 80)
    whole(page, 2)
    better = figures()
    assert (better["quality"], page.text("#quality-value")) == (80, "80")
    assert better["bytes"] > first["bytes"]
    set_control("bands", 1)
    whole(page, 3)
    assert figures()["bytes"] == better["bytes"]
    assert figures()["psnr"] < better["psnr"] - 3


def test_what_cannot_be_is_a_sentence_in_the_page(page, tmp_path, jpeg):
    (tmp_path / "text.png").write_text("hello")
    choose(page, tmp_path / "text.png")
    page.wait("document.getElementById('working').classList.contains('failed')")
    assert "not an image" in page.text("#working")
    (tmp_path / "huge.png").write_bytes(png_header(20_000, 15_000))
    choose(page, tmp_path / "huge.png")
    page.wait("document.getElementById('working').textContent.includes('178 million pixels')")
    choose(page, jpeg)
    whole(page)
    assert not page.run("document.getElementById('working').classList.contains('failed')")

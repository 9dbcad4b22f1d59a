"""The server: a page, and one address that takes an image and sends back what becomes of it, line by line."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from dctcodec.app.guard import Guard
from dctcodec.app.job import Wishes, work
from dctcodec.app.turns import Full, Turns
from dctcodec.app.uploads import TooLarge, check, received
from dctcodec.codec import Codec
from dctcodec.compare.contenders import FAST
from dctcodec.compare.page import Extra, page, read
from dctcodec.compare.run import made
from dctcodec.errors import DctcodecError

FOLDER = Path(__file__).with_name("page")
MOST_WAITING = 8
"""Images that wait or are worked on."""
MOST_CONNECTIONS = 32
PATIENCE = 60.0
"""Seconds that an upload may take."""
LISTEN = 1.0
"""Seconds between two looks at whether the page is still there."""


@dataclass(frozen=True)
class Limits:
    """Of one image: bytes of its file, and pixels."""

    bytes: int
    pixels: int


class Gone(Exception):
    """The page that asked is gone."""


class Service:
    """Answers with one codec, one image at a time. Nothing is kept when an answer is done."""

    def __init__(self, codec: Codec, limits: Limits):
        self.codec, self.limits = codec, limits
        self.turns = Turns(MOST_WAITING)
        self.worker = ThreadPoolExecutor(1)
        self.page = page("dctcodec app", self._data(), _extra())

    def _data(self) -> dict[str, Any]:
        family = self.codec.family
        return {
            "made": made(FAST),
            "app": {
                "one_quality": family.one_quality,
                "effort": family.effort,
                "most_effort": family.most_effort,
                "tunes": family.tunes,
                "bands": family.bands,
                "temperature": family.temperature,
                "max_bytes": self.limits.bytes,
                "max_pixels": self.limits.pixels,
            },
        }

    async def home(self, request: Request) -> Response:
        return HTMLResponse(self.page)

    async def compare(self, request: Request) -> Response:
        """Takes an image file as the body and `Wishes` as the query; answers with events, a JSON object a line."""
        try:
            wishes = Wishes.of(request.query_params, self.codec)
            data = await asyncio.wait_for(received(request.stream(), self.limits.bytes), PATIENCE)
            await asyncio.to_thread(check, data, self.limits.pixels)
        except TooLarge as error:
            return JSONResponse({"error": str(error)}, 413)
        except DctcodecError as error:
            return JSONResponse({"error": str(error)}, 400)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it
        except TimeoutError:
            return JSONResponse({"error": f"the upload took more than {PATIENCE:.0f} seconds"}, 408)
        lines = (json.dumps(event, allow_nan=False) + "\n" async for event in self._events(request, data, wishes))
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def _events(self, request: Request, data: bytes, wishes: Wishes) -> AsyncIterator[dict[str, Any]]:
        try:
            place = self.turns.join()
        except Full:
            yield {"error": f"{MOST_WAITING} images are waiting already: try again in a minute"}
            return
        job = None
        try:
            async for ahead in self.turns.wait(place):
                yield {"waiting": ahead}
            job = _Job(self, data, wishes)
            job.future.add_done_callback(lambda _: self.turns.leave(place))
            async for event in job.events(request):
                yield event
        finally:
            if job is None:
                self.turns.leave(place)
            else:
                job.gone.set()


class _Job:
    """Process one image in the service's thread. It ends early where `gone` is set."""

    def __init__(self, service: Service, data: bytes, wishes: Wishes):
        self.loop, self.gone = asyncio.get_running_loop(), threading.Event()
        self.sent: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.future = self.loop.run_in_executor(service.worker, self._run, service, data, wishes)

    async def events(self, request: Request) -> AsyncIterator[dict[str, Any]]:
        """What the work sends, until it is done or the page is gone."""
        while True:
            try:
                event = await asyncio.wait_for(self.sent.get(), LISTEN)
            except TimeoutError:
                if await request.is_disconnected():
                    return
                continue
            if event is None:
                return
            yield event

    def _run(self, service: Service, data: bytes, wishes: Wishes) -> None:
        try:
            work(data, wishes, service.codec, service.limits.pixels, self._send)
        except Gone:
            return
        except DctcodecError as error:
            self._put({"error": str(error)})
        except MemoryError:
            self._put({"error": "not enough memory: send a smaller image"})
        except Exception:
            self._put({"error": "dctcodec failed because of a bug; its terminal shows the details"})
            raise
        finally:
            self._put(None)

    def _send(self, event: dict[str, Any]) -> None:
        if self.gone.is_set():
            raise Gone
        self._put(event)

    def _put(self, event: dict[str, Any] | None) -> None:
        self.loop.call_soon_threadsafe(self.sent.put_nowait, event)


def application(codec: Codec, limits: Limits, hosts: Sequence[str]) -> Starlette:
    """The app. `hosts`: names by which it may be asked for."""
    service = Service(codec, limits)
    routes = [Route("/", service.home), Route("/api/compare", service.compare, methods=["POST"])]
    return Starlette(routes=routes, middleware=[Middleware(Guard, hosts=hosts)])


def serve(app: Starlette, listener: socket.socket) -> None:
    """Answer on a socket until Ctrl-C."""
    options = uvicorn.Config(
        app, log_level="warning", server_header=False, limit_concurrency=MOST_CONNECTIONS, timeout_graceful_shutdown=3
    )
    uvicorn.Server(options).run(sockets=[listener])


def _extra() -> Extra:
    return Extra(read("app.html", FOLDER), read("app.css", FOLDER), read("app.js", FOLDER))

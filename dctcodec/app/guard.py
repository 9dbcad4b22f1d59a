"""Access control: only pages that the server itself sent may use it, under a known host name."""

from collections.abc import Mapping, Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL = ("127.0.0.1", "localhost", "[::1]")
"""Names of this machine that no other machine's name server can give away."""
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """Middleware that refuses requests for other hosts, which DNS rebinding makes, and from pages of other origins."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]):
        self.app, self.hosts = app, frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        problem = refusal(Headers(scope=scope), scope["scheme"], scope["path"], self.hosts)
        app = JSONResponse({"error": problem}, 403) if problem else self.app
        await app(scope, receive, guarded)


def refusal(headers: Headers, scheme: str, path: str, hosts: frozenset[str]) -> str | None:
    """Why a request is refused, as a sentence; None where it is not."""
    given = headers.getlist("host")
    if len(given) != 1 or _name(given[0]) not in hosts:
        named = f"this server is not {', '.join(given)}" if any(given) else "the request names no host"
        return f"{named}: use the address that `dctcodec app` printed"
    if headers.get("origin", f"{scheme}://{given[0]}") != f"{scheme}://{given[0]}":
        return "requests from pages of other origins are refused"
    if path != "/" and _other_site(headers):
        return "requests from pages of other sites are refused"
    return None


def _name(host: str) -> str:
    """A Host header without its port."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdecimal() else host.lower()


def _other_site(headers: Mapping[str, str]) -> bool:
    return headers.get("sec-fetch-site", "none") not in ("none", "same-origin")

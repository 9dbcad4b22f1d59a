"""`dctcodec app`: the comparison live, on this machine."""

import socket

import click

from dctcodec.cli.messages import say
from dctcodec.errors import DctcodecError
from dctcodec.files import reason
from dctcodec.installed import DEFAULT

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERY = ("0.0.0.0", "::")
"""Addresses that mean all of a machine's."""


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Port; 0 for any free port.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. Use other addresses only on a trusted network.",
)
@click.option("--allow-host", "names", multiple=True, metavar="NAME", help="Another host name that this server accepts.")
@click.option("--max-pixels", type=click.IntRange(min=1), default=2**24, show_default=True, help="Largest image, in pixels.")
@click.option("--max-bytes", type=click.IntRange(min=1), default=2**25, show_default=True, help="Largest image file, in bytes.")
@click.option("--model", default=DEFAULT, show_default=True, help="Model to encode with; see `dctcodec models`.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to compute.")
def app(port: int, host: str, names: tuple[str, ...], max_pixels: int, max_bytes: int, model: str, device: str) -> None:
    """Serve a page on this machine that encodes and compares an image as you move the controls.

    Images stay in memory and on this machine. This command needs pip install 'dctcodec[app]'.
    """
    from dctcodec.evaluate.extra import need

    need("dctcodec app", "starlette", "uvicorn", extra="app")
    from dctcodec.app.guard import LOCAL
    from dctcodec.app.server import Limits, application, serve
    from dctcodec.codec import Codec

    listener = _listener(host, port)
    with listener:
        if host not in LOOPBACK:
            say("warning", f"everyone who reaches {host} can use this server and its processor")
        shown = f"[{host}]" if ":" in host else host
        allowed = [*LOCAL, *names, *([] if host in EVERY else [shown])]
        service = application(Codec(model, device), Limits(max_bytes, max_pixels), allowed)
        click.echo(f"dctcodec app: http://{'127.0.0.1' if host in EVERY else shown}:{listener.getsockname()[1]} (Ctrl-C ends it)")
        serve(service, listener)


def _listener(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises DctcodecError."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise DctcodecError(f"cannot listen on {host}, port {port}: {reason(error)}; give another --port") from error

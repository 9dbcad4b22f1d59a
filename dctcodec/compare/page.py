"""The page: one HTML file with its style, script and data inside. It loads nothing and may not: its policy forbids it."""

import base64
import hashlib
import html
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("page")
SCRIPTS = ("colour.js", "maps.js", "stage.js", "viewer.js", "figures.js", "chart.js", "set.js", "page.js")
"""The script's parts, in order."""


def page(title: str, data: dict[str, Any]) -> str:
    """A self-contained page. `title`: plain text; `data`: what the page shows, see `document.py`; it must be JSON without NaN."""
    css, js = _read("page.css"), "\n".join(map(_read, SCRIPTS))
    policy = f"default-src 'none'; img-src data: blob:; style-src '{_digest(css)}'; script-src '{_digest(js)}'"
    parts = {
        "title": html.escape(title),
        "policy": html.escape(f"{policy}; base-uri 'none'; form-action 'none'"),
        "style": css,
        "script": js,
        "data": _as_json(data),
        "controls": "",
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _read("page.html"))


def _as_json(data: dict[str, Any]) -> str:
    """JSON that no text inside can end the element it stands in, nor be taken for markup."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")

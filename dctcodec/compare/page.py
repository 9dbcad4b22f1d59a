"""The page: one HTML file with its style, script and data inside. It loads nothing and may not: its policy forbids it."""

import base64
import hashlib
import html
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("page")
SCRIPTS = ("colour.js", "maps.js", "stage.js", "viewer.js", "figures.js", "chart.js", "set.js", "page.js")
"""The script's parts, in order."""
SELF, NOTHING = "'self'", "'none'"
"""Sources in a policy."""


@dataclass(frozen=True)
class Extra:
    """What the page of a server has besides: controls, and a style and a script for them. Its script may ask the server."""

    controls: str = ""
    style: str = ""
    script: str = ""


def page(title: str, data: dict[str, Any], extra: Extra | None = None) -> str:
    """A self-contained page. `title`: plain text; `data`: what the page shows, see `document.py`; it must be JSON without NaN."""
    more = extra or Extra()
    css = read("page.css") + more.style
    js = "\n".join([*map(read, SCRIPTS), more.script])
    policy = f"default-src 'none'; img-src data: blob:; style-src '{_digest(css)}'; script-src '{_digest(js)}'"
    policy += f"; connect-src {SELF if extra else NOTHING}; base-uri 'none'; form-action 'none'"
    parts = {
        "title": html.escape(title),
        "policy": html.escape(policy),
        "style": css,
        "script": js,
        "data": _as_json(data),
        "controls": more.controls,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], read("page.html"))


@cache
def read(name: str, folder: Path = FOLDER) -> str:
    """A file of a folder of pages."""
    return (folder / name).read_text(encoding="utf-8")


def _as_json(data: dict[str, Any]) -> str:
    """JSON that no text inside can end the element it stands in, nor be taken for markup."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

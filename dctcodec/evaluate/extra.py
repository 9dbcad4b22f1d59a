"""Packages that only measuring and drawing need."""

from importlib.util import find_spec

from dctcodec.errors import DctcodecError


def need(what: str, *packages: str, extra: str = "bench") -> None:
    """Raises DctcodecError where packages of an extra are missing, before `what` has cost any time."""
    if missing := [package for package in packages if find_spec(package) is None]:
        raise DctcodecError(f"{what} needs {', '.join(missing)}: pip install 'dctcodec[{extra}]'")

"""What a measurement ran on: without it no time and no rate can be compared."""

import hashlib
import os
import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "dctcodec",
    "torch",
    "pillow",
    "constriction",
    "onnxruntime",
    "numpy",
    "pytorch-msssim",
    "bjontegaard",
    "pillow-jxl-plugin",
    "compressai",
)


def describe() -> dict[str, Any]:
    """The processor, its cores, torch's threads, the versions of what was measured, and the command line."""
    import torch

    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "versions": {package: found for package in PACKAGES if (found := package_version(package))},
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def cpu_name() -> str:
    """The processor as Linux calls it, else what Python knows of it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def digest(folder: Path) -> str:
    """The SHA-256 of all files of a folder and their names; compiled Python apart."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    sums = [f"{path.relative_to(folder).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]
    return hashlib.sha256("\n".join(sums).encode()).hexdigest()


def package_version(package: str) -> str | None:
    """The version of an installed package; None where it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None

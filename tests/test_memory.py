"""Encoding and decoding stay within the memory that `limits` tells."""

import subprocess
import sys
from pathlib import Path

import pytest

from dctcodec.limits import memory_for

SCRIPT = """
import re, resource, sys
import numpy as np
from PIL import Image
import dctcodec
if sys.argv[1] == "encode":
    width, height = map(int, sys.argv[3:])
    small = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 4), np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    open(sys.argv[2], "wb").write(dctcodec.encode(image))
else:
    dctcodec.decode(open(sys.argv[2], "rb").read())
if sys.platform == "darwin":
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
else:  # Linux counts the parent's memory at the fork as this process's ru_maxrss
    print(1024 * int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]))
"""


def peak(what: str, file: Path, width: int, height: int) -> int:
    """Bytes of a process that encodes an image to a file, or decodes it."""
    command = [sys.executable, "-c", SCRIPT, what, file, str(width), str(height)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs resource")
@pytest.mark.parametrize(("width", "height"), [(2592, 1944), (8192, 256), (8192, 832)])
def test_memory_is_bounded(width: int, height: int, tmp_path: Path):
    for what in ("encode", "decode"):
        assert peak(what, tmp_path / "a.dct", width, height) < 2**30 + memory_for(width, height)


@pytest.mark.skipif(sys.platform != "linux", reason="was measured on Linux")
def test_a_small_image_takes_little_memory(tmp_path: Path):
    for what in ("encode", "decode"):
        assert peak(what, tmp_path / "a.dct", 768, 512) < 400 * 2**20

"""Encoding and decoding stay within 1 GiB and 90 bytes a pixel."""

import subprocess
import sys
from pathlib import Path

import pytest

WIDTH, HEIGHT = 2592, 1944
SCRIPT = f"""
import re, resource, sys
import numpy as np
from PIL import Image
import dctcodec
if sys.argv[1] == "encode":
    small = np.random.default_rng(0).integers(0, 256, ({HEIGHT} // 8, {WIDTH} // 8, 4), np.uint8)
    image = Image.fromarray(small).resize(({WIDTH}, {HEIGHT}), Image.Resampling.BICUBIC)
    open(sys.argv[2], "wb").write(dctcodec.encode(image))
else:
    dctcodec.decode(open(sys.argv[2], "rb").read())
if sys.platform == "darwin":
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
else:  # Linux counts the parent's memory at the fork as this process's ru_maxrss
    print(1024 * int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs resource")
def test_memory_is_bounded(tmp_path: Path):
    for what in ("encode", "decode"):
        run = subprocess.run([sys.executable, "-c", SCRIPT, what, tmp_path / "a.dct"], capture_output=True, text=True, check=True)
        assert int(run.stdout) < 2**30 + 90 * WIDTH * HEIGHT, what

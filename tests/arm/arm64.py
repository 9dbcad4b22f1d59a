"""A Python for Linux on Arm with dctcodec's packages, in a folder: unpacked from Debian's packages and PyPI's wheels."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

DEBIAN = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main\n"
DEBS = ("python3.11-minimal", "libpython3.11-stdlib", "libstdc++6", "libgomp1", "zlib1g")
PYTHON = "3.11"
"""Bookworm's."""
PLATFORMS = [f"manylinux_2_{glibc}_aarch64" for glibc in (28, 27, 26, 17)] + ["manylinux2014_aarch64"]
WHEELS = ("numpy", "pillow", "safetensors", "threadpoolctl", "onnxruntime", "flatbuffers", "protobuf", "packaging")
"""Named, for pip would choose by the markers of this machine."""


CPU = "neoverse-n1"
CPU_FILES = {
    "proc/cpuinfo": "processor\t: 0\n"
    "Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp\n"
    "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\nCPU revision\t: 1\n",
    "sys/devices/system/cpu/possible": "0\n",
    "sys/devices/system/cpu/present": "0\n",
}
"""What Linux tells of one such processor. On those of this machine cpuinfo, a library in onnxruntime, crashes."""


def make(folder: Path) -> tuple[list[str], str]:
    """The command of that Python, and the folder of its packages."""
    root, site = folder / "root", folder / "site"
    if not (root / "usr/bin/python3.11").exists():
        _unpack_debs(folder, root)
        for name, text in CPU_FILES.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
    if not (site / "onnxruntime").exists():
        _unpack_wheels(site)
    return ["qemu-aarch64-static", "-cpu", CPU, "-L", str(root), str(root / "usr/bin/python3.11")], str(site)


def _unpack_debs(folder: Path, root: Path) -> None:
    """By apt with a state of its own, so that this machine's is left alone."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(DEBIAN)
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "root",
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
    }
    apt = ["apt-get", "-qq", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]
    subprocess.run([*apt, "update"], check=True)
    subprocess.run([*apt, "install", "--yes", "--download-only", "--no-install-recommends", *DEBS], check=True)
    for deb in sorted((folder / "cache/archives").glob("*.deb")):
        subprocess.run(["dpkg", "-x", deb, root], check=True)


def _unpack_wheels(site: Path) -> None:
    """Of the versions that this Python has."""
    wanted = [f"{name}=={version(name)}" for name in WHEELS]
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    options = ["--target", site, "--python-version", PYTHON, "--only-binary=:all:", "--no-deps", *platforms]
    subprocess.run([sys.executable, "-m", "pip", "install", "-qq", *options, *wanted], check=True)

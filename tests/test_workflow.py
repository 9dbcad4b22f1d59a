"""The continuous integration's workflow names what there is."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
JOBS = WORKFLOW["jobs"]


def commands(job: str) -> list[str]:
    return [step["run"] for step in JOBS[job]["steps"] if "run" in step]


def test_every_platform_decodes_the_golden_files_under_every_python():
    matrix = JOBS["platform"]["strategy"]["matrix"]
    assert [name.split("-")[0] for name in matrix["os"]] == ["ubuntu", "macos", "windows"]
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=3.")
    assert [int(python.removeprefix("3.")) for python in matrix["python"]] == list(range(int(oldest), int(oldest) + 4))
    assert "python -m pytest -q tests/test_golden.py" in commands("platform")


@pytest.mark.parametrize("job", JOBS)
def test_what_commands_name_exists(job: str):
    text = "\n".join(commands(job))
    paths = re.findall(r"(?<![\w./])(?:bin|tests)/[\w./-]+", text)
    assert paths and all((ROOT / path).is_file() for path in paths)
    extras = {extra for extras in re.findall(r"\.\[([\w,]+)\]|bin/venv ([\w,]+)", text) for extra in ",".join(extras).split(",")}
    assert extras - {""} <= PROJECT["project"]["optional-dependencies"].keys()


def test_models_run_on_the_torch_that_they_were_made_with():
    (pinned,) = re.findall(r"pip install (torch==\S+)", (ROOT / "bin" / "venv").read_text(encoding="utf-8"))
    assert f"python -m pip install {pinned}" in commands("platform")


def test_linux_runs_all_tests():
    assert JOBS["everything"]["runs-on"].startswith("ubuntu-")
    assert commands("everything")[-1].endswith("bin/test")

"""The documents are right: links, file names and commands exist, commands are described, README is short and its Python runs."""

import re
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from dctcodec.cli import main

ROOT = Path(__file__).parent.parent
EXPECTED = {
    "README.md",
    "CHANGELOG.md",
    ".github/CONTRIBUTING.md",
    "benchmarks/README.md",
    "benchmarks/paper/README.md",
    "dctcodec/DESIGN.md",
    "dctcodec/FORMAT.md",
    "models/README.md",
    "models/TRAINING.md",
}
HISTORY = {"models/TRAINING.md", "benchmarks/flagship-search.md", "benchmarks/cuda.md"}
"""Logs of what was done: their commands and file names are those of their time. Only their links are checked."""
INVENTED = re.compile(r"NAME|my-")
"""Marks a file name that stands for the user's own."""


def _documents() -> list[str]:
    folders = ("", ".github/", "benchmarks/", "dctcodec/", "models/", "tests/")
    found = (path for folder in folders for path in (ROOT / folder).glob("*.md" if not folder else "**/*.md"))
    return sorted({path.relative_to(ROOT).as_posix() for path in found})


DOCUMENTS = _documents()
CURRENT = [name for name in DOCUMENTS if name not in HISTORY]


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


BLOCK = re.compile(r"^```.*?^```$|(?:^    [^\n]*\n)+", re.M | re.S)


def _code(text: str) -> list[str]:
    """Lines of code blocks, without their comments, and spans of code."""
    lines = [line.strip() for block in BLOCK.findall(text) for line in block.splitlines()]
    return [re.split(r"\s#\s", line)[0] for line in lines] + re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))


def _prose(text: str) -> str:
    """Markdown without code."""
    return re.sub(r"`[^`\n]*`", "", BLOCK.sub("", text))


def test_every_document_exists():
    assert set(DOCUMENTS) >= EXPECTED
    assert set(DOCUMENTS) >= {f"models/{path.parent.name}/README.md" for path in ROOT.glob("models/*/config.json")}


def test_the_readme_is_one_page():
    text = _text("README.md")
    assert len(text.splitlines()) <= 150
    assert len(text.encode()) <= 9 * 1024


def test_the_readme_shows_an_image_first_and_its_limits_early():
    lines = _text("README.md").splitlines()
    assert next(number for number, line in enumerate(lines) if line.startswith("![")) < 25
    assert lines.index("## Limits") < 60


def test_model_cards_are_one_page():
    for name in DOCUMENTS:
        if name.startswith("models/") and name.count("/") == 2:
            assert len(_text(name).splitlines()) <= 75, name


def test_the_word_is_image():
    assert [name for name in DOCUMENTS if "picture" in _text(name).lower()] == []


def _anchors(text: str) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_resolve(name: str):
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(_text(name))):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), target
        if anchor:
            assert anchor in _anchors(file.read_text(encoding="utf-8")), target


def test_designs_sections_that_are_cited_exist():
    sections = set(re.findall(r"^## (\d+)\.", _text("dctcodec/DESIGN.md"), re.M))
    assert sections == {str(number) for number in range(1, len(sections) + 1)}
    files = [
        path for folder in ("dctcodec", "benchmarks", "models", "tests", ".github") for path in (ROOT / folder).rglob("*.[pm][yd]")
    ]
    cited = [number for path in files for number in re.findall(r"DESIGN,? section (\d+)", path.read_text(encoding="utf-8"))]
    assert cited
    assert set(cited) <= sections


def test_the_design_lists_each_module_on_a_line_of_its_own():
    (block,) = re.findall(r"^```\ndctcodec/\n(.*?)^```$", _text("dctcodec/DESIGN.md"), re.M | re.S)
    names = [name for line in block.splitlines() for name in re.findall(r"[\w.]+(?:/|\.py)", line.split("   ")[0])]
    package = ROOT / "dctcodec"
    folders = {f"{path.parent.name}/" for path in package.glob("*/*.py")}
    assert sorted(names) == sorted(folders | {path.name for path in package.glob("*.py") if not path.name.startswith("_")})


PATHS = re.compile(
    r"(?<![\w./-])(?:(?:dctcodec|models|benchmarks|tests|bin|bands|vae|exact|data|train|evaluate|cli)/[\w.*/-]*[\w*])"
)


@pytest.mark.parametrize("name", CURRENT)
def test_files_that_are_named_exist(name: str):
    named = [path for code in _code(_text(name)) for path in PATHS.findall(code) if not INVENTED.search(path)]
    missing = [path for path in named if not any(any(folder.glob(path)) for folder in (ROOT, ROOT / "dctcodec", ROOT / "models"))]
    assert not missing


def _commands(group: click.Group, words: tuple[str, ...] = ("dctcodec",)):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        command = getattr(command, "load", lambda command=command: command)()
        if isinstance(command, click.Group):
            yield from _commands(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


COMMANDS = dict(_commands(main.main))


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_is_documented_and_explains_itself(line: str):
    assert any(re.search(rf"\b{line}\b(?!-)", code) for name in CURRENT for code in _code(_text(name)))
    assert COMMANDS[line].help
    assert all(p.help for p in COMMANDS[line].params if isinstance(p, click.Option) and not p.hidden)


@pytest.mark.parametrize("name", CURRENT)
def test_every_command_that_is_shown_exists_with_its_options(name: str):
    groups = {" ".join(line.split()[:-1]) for line in COMMANDS}
    for code in _code(_text(name)):
        for shown in re.findall(r"(?:^|\s|/)(dctcodec [a-z-].*)", code):
            words = shown.split()
            count = next((count for count in (3, 2, 1) if " ".join(words[:count]) in COMMANDS.keys() | groups), 0)
            line, options = " ".join(words[:count]), {word for word in words if word.startswith("--") and word != "--"}
            assert count > 1 or (count == 1 and words[1].startswith("-")), shown
            known = {"--help", "--version"}
            if line in COMMANDS:
                known |= {option for p in COMMANDS[line].params for option in [*p.opts, *p.secondary_opts]}
            assert options <= known, shown


@pytest.mark.parametrize("name", CURRENT)
def test_every_script_that_is_shown_exists_with_its_options(name: str):
    for code in _code(_text(name)):
        for script, rest in re.findall(r"((?:benchmarks/scripts|tests/golden)/\w+\.py)(.*)", code):
            text = (ROOT / script).read_text(encoding="utf-8")
            for option in re.findall(r"--[a-z0-9-]+", rest):
                assert re.search(rf'["/]{option}(?![\w-])', text), code


def test_every_result_is_named_with_its_command():
    results = [path for suffix in ("json", "png") for path in (ROOT / "benchmarks").rglob(f"*.{suffix}")]
    named = " ".join(code for name in CURRENT if name.startswith("benchmarks/") for code in _code(_text(name)))
    for path in results:
        if path.parent.name != "published" and path.name != "flagship-search.json":
            assert path.relative_to(ROOT).as_posix() in named


BLOCKS = re.findall(r"^```python\n(.*?)^```$", _text("README.md"), re.M | re.S)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_readmes_python_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows, columns = np.mgrid[:176, :192]
    noise = np.random.default_rng(0).integers(0, 30, (176, 192, 3))
    pixels = np.stack([rows, columns, (rows + columns) // 2], -1) + noise
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(block, names)
    assert names["image"].size == names["coarse"].size == (192, 176)


def test_the_readme_has_python():
    assert BLOCKS

"""What the documents say is so: commands exist and are described, committed figures are the measured ones."""

import json
import re
import sys
from pathlib import Path

import click
import pytest

from dctcodec import installed
from dctcodec.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
sys.path.insert(0, str(ROOT / "benchmarks" / "scripts"))


def _commands(group: click.Group, words: tuple[str, ...] = ("dctcodec",)):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        command = getattr(command, "load", lambda command=command: command)()
        if isinstance(command, click.Group):
            yield from _commands(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


@pytest.mark.parametrize(("line", "command"), list(_commands(main.main)), ids=lambda value: value if isinstance(value, str) else "")
def test_the_readme_shows_every_command_and_it_explains_itself(line: str, command: click.Command):
    assert line in README
    assert command.help
    assert all(p.help for p in command.params if isinstance(p, click.Option) and not p.hidden)


LINES = [line for line in re.sub(r"\\\n\s*", "", README).splitlines() if line.startswith("    dctcodec ")]


@pytest.mark.parametrize("line", LINES)
def test_every_command_in_the_readme_has_its_options(line: str):
    words = line.split("#")[0].split()
    (command,) = [command for name, command in _commands(main.main) if words[: len(name.split())] == name.split()]
    known = {option for p in command.params for option in [*p.opts, *p.secondary_opts]} | {"--help", "--version"}
    assert {word for word in words if word.startswith("--")} <= known


def test_the_readme_and_the_model_show_the_committed_figures():
    import publish

    assert publish.readme(README) == README
    for name in publish.SHIPPED:
        assert installed.find(name).figures == publish.figures(name)


RESULTS = {"kodak-dct-bands": "dct-bands", "held-out/dct-bands": "dct-bands"}
RESULTS |= dict.fromkeys(("kodak", "held-out/flagship", "drawings", "effort-1", "effort-4"), "flagship")
RESULTS |= dict.fromkeys(("tuned", "tuned-effort-6", "tuned-effort-7"), "flagship")


@pytest.mark.parametrize(("result", "model"), RESULTS.items())
def test_results_are_of_the_prior_that_ships(result: str, model: str):
    assert json.loads((ROOT / "benchmarks" / f"{result}.json").read_text())["model_id"] == f"{installed.find(model).model_id:08x}"


def test_the_results_are_of_this_model_and_of_all_of_kodak():
    kodak = json.loads((ROOT / "benchmarks" / "kodak.json").read_text())
    images = kodak["codecs"][0]["images"]
    assert {row["image"] for row in images} == {f"kodim{n:02}.png" for n in range(1, 25)}
    assert len({row["quality"] for row in images}) >= 6
    ours = kodak["codecs"][0]["results"]
    for column, key in (("bpp", "bpp"), ("psnr-rgb", "psnr")):
        means = [sum(r[key] for r in images if r["quality"] == q) / 24 for q in ours["quality"]]
        assert means == pytest.approx(ours[column])


def test_the_papers_figure_9_is_of_the_shipped_model_and_of_all_of_kodak():
    paper = json.loads((ROOT / "benchmarks" / "paper" / "kodak-dct-vae-cifar10.json").read_text())
    rows = paper["images"]
    assert [row["image"] for row in rows] == [f"kodim{n:02}.png" for n in range(1, 25)]
    assert paper["means"]["ratio"] == pytest.approx(sum(row["dct_vae"]["bpp"] / row["jpeg_equal_bpp"] for row in rows) / 24)
    overheads = [row["payload_bpp"] / row["bound_bpp"] for row in rows]
    assert paper["means"]["payload_over_bound"] == pytest.approx(sum(overheads) / 24)
    assert max(overheads) <= 1.03


def test_every_model_has_a_card_and_the_weights_stay_small():
    import publish

    for model in map(installed.find, publish.SHIPPED):
        card = (model.path / "README.md").read_text()
        assert model.model_id is None or f"{model.model_id:08x}" in card
        assert model.bytes < 25e6

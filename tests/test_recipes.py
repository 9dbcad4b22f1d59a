"""Recipes: TOML files that extend each other, stages that follow each other, and whole trainings by one command."""

import hashlib
import json
import os
import time
import tomllib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from dctcodec import Codec, ConfigError, DataError, configuration, installed
from dctcodec.cli.eval import evaluate
from dctcodec.cli.train import train
from dctcodec.configuration import LONGEST_CHAIN, merged, table
from dctcodec.family import DECODER, PRIOR, TUNED_DECODER
from dctcodec.train import loop
from dctcodec.train.checkpoint import CHECKPOINT
from dctcodec.train.model import BEGINNING, begin
from dctcodec.train.recipe import Recipe, from_table, read
from dctcodec.vae import config as vae_config
from dctcodec.vae.model import PaperModel

FOLDER = Path(__file__).parents[1] / "models" / "recipes"
RECIPES = sorted(FOLDER.glob("**/*.toml"))
SHIPPING = sorted(FOLDER.glob("*.toml"))
TABLE_6 = sorted(FOLDER.glob("table-6/*.toml"))
PAIRS = sorted(FOLDER.glob("pairs/*.toml"))
SETS = ("mnist", "omniglot", "cifar10")
CONTEXTS = {"contexts-mnist", "contexts-cifar10"}
"""Appendix F's, which make no model that ships."""
MODELS = [model.name for model in installed.installed()]


# --- files that extend each other


def _named(path: Path) -> str:
    return path.relative_to(FOLDER).with_suffix("").as_posix()


def written(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text)
    return folder


def test_a_file_extends_another_and_tables_are_merged(tmp_path: Path):
    base = "a = 1\nb = 2\n[x]\nkept = 1\nnew = 1\n[x.y]\ndeep = 1\n[[z]]\nn = 1\n[[z]]\nn = 2\n"
    middle = 'extends = "base.toml"\nb = 3\n[x]\nnew = 2\n[x.y]\nmore = 2\n[[z]]\nn = 9\n'
    written(tmp_path, base=base, middle=middle, last='extends = "middle.toml"\na = 5\n')
    assert table(tmp_path / "last.toml") == {
        "a": 5,
        "b": 3,
        "x": {"kept": 1, "new": 2, "y": {"deep": 1, "more": 2}},
        "z": [{"n": 9}],
    }


NAMES = st.sampled_from("abc")
PLAIN = st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=2)
TABLES = st.dictionaries(NAMES, st.recursive(PLAIN, lambda values: st.dictionaries(NAMES, values, max_size=3)), max_size=3)


def paths(values: dict, before: tuple[str, ...] = ()) -> dict[tuple[str, ...], object]:
    """Every value that is no table, by the names that lead to it."""
    found = {}
    for name, value in values.items():
        found |= paths(value, (*before, name)) if isinstance(value, dict) else {(*before, name): value}
    return found


def says(values: object, path: tuple[str, ...]) -> bool:
    """Whether a table says anything at that place."""
    if not path or not isinstance(values, dict):
        return True
    return path[0] in values and says(values[path[0]], path[1:])


@given(TABLES, TABLES)
def test_what_a_table_says_itself_stands_and_all_else_is_its_parents(parent: dict, own: dict):
    both, ours, theirs = paths(merged(parent, own)), paths(own), paths(parent)
    assert both == {path: value for path, value in theirs.items() if not says(own, path)} | ours


@given(TABLES)
def test_merging_with_nothing_or_with_itself_changes_nothing(values: dict):
    assert merged(values, {}) == merged({}, values) == merged(values, values) == values


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('extends = "none.toml"', "cannot read .*none.toml"),
        ("extends = 3", "own.toml: extends = 3 should be the name"),
        ('extends = "a\\u0000.toml"', "own.toml: extends = .* should be the name"),
        ('extends = "third.toml"', "third.toml: extends = 'own.toml' leads back to itself"),
        ('extends = "../own.toml"', "cannot read .*own.toml"),
        ("data = ", "own.toml is not a TOML file"),
        (f"a = {'[' * 100_000}", "own.toml is not a TOML file"),
    ],
)
def test_files_that_cannot_extend_each_other_are_named(tmp_path: Path, line: str, said: str):
    written(tmp_path, own=line, third='extends = "own.toml"')
    with pytest.raises(ConfigError, match=said):
        table(tmp_path / "own.toml")


def test_a_chain_of_files_is_short(tmp_path: Path):
    written(tmp_path, **{"0": "a = 1"}, **{str(n): f'extends = "{n - 1}.toml"' for n in range(1, LONGEST_CHAIN + 10)})
    assert table(tmp_path / f"{LONGEST_CHAIN}.toml") == {"a": 1}
    with pytest.raises(ConfigError, match="more than 20 files extend one another"):
        table(tmp_path / f"{LONGEST_CHAIN + 9}.toml")


def test_a_recipe_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot read .*bad.toml"):
        read(tmp_path / "bad.toml")
    written(tmp_path, bad='family = "vae"\n[[stage]]\nname = "a"\npart = "all"\nsteps = 1\n')
    with pytest.raises(ConfigError, match=r"bad.toml: \[\[stage\]\] a: \[network\]"):
        read(tmp_path / "bad.toml")


# --- stages


def bands(*stages: dict, **more: object) -> Recipe:
    common = {"family": "dct-bands", "description": "small"}
    return from_table(common | {"stage": list(stages)} | more, Path("folder"))


def stage(name: str, part: str, **more: object) -> dict:
    return {"name": name, "part": part, "steps": 2} | more


def test_a_stage_has_what_the_one_before_it_had_but_for_its_own():
    recipe = bands(
        stage("a", "joint", batch=4, learning_rate=5e-4),
        stage("b", "latents", batch=2),
        stage("c", "prior", start="a", steps=7, prior={"forecast": {"width": 8}}),
        stage("d", "decoder", start="weights.safetensors"),
        prior={"width": 64},
    )
    first, second, third, fourth = recipe.stages
    assert [one.start for one in recipe.stages] == [None, "a", "a", Path("folder/weights.safetensors")]
    assert [one.config.training.steps for one in recipe.stages] == [2, 2, 7, 2]
    assert [one.config.training.batch for one in recipe.stages] == [4, 2, 2, 2]
    assert {one.config.training.learning_rate for one in recipe.stages} == {5e-4}
    assert second.config.shape == first.config.shape and first.config.shape.prior.forecast is None
    assert third.config.shape.prior.width == 64 and fourth.config.shape.prior.forecast.width == 8


def test_data_holds_for_one_stage_alone():
    first, second, third = read(FOLDER / "dct-vae-cifar10.toml").stages[-3:]
    assert [one.data for one in (first, second, third)] == ["cifar10", "cifar10", "photos"]
    assert third.config.data == third.table["data"] == "cifar10"


A = stage("a", "joint")
WRONG = [
    ({"family": "jpeg"}, "family = 'jpeg' is none of dct-bands, vae, dct-vae"),
    ({"family": ["vae"]}, "is none of dct-bands, vae, dct-vae"),
    ({"stage": []}, r"needs one or more tables \[\[stage\]\]"),
    ({"stage": 3}, r"needs one or more tables \[\[stage\]\]"),
    ({"stage": [3]}, r"needs one or more tables \[\[stage\]\]"),
    ({"training": 3, "stage": [A]}, "training must be a table"),
    ({"colour": 3, "stage": [A]}, "has colour"),
    ({"stage": [{"name": "a"}]}, r"\[\[stage\]\] a: \[stage\].*part"),
    ({"stage": [A | {"steps": 0}]}, r"\[\[stage\]\] a: the length of the stage should be above 0"),
    ({"stage": [A | {"steps": -1}]}, r"\[\[stage\]\] a: \[training\] steps = -1 should be a number from 0 up"),
    ({"stage": [A | {"minutes": 1}]}, r"a: give the length of the stage: either steps or minutes"),
    ({"stage": [{"name": "a", "part": "joint"}]}, r"a: give the length of the stage"),
    ({"stage": [A | {"epochs": 1}]}, r"\[\[stage\]\] a: \[training\] has epochs"),
    ({"stage": [A | {"part": "head"}]}, "part = 'head' is none of joint, prior, forecast, decoder, latents, ms-ssim"),
    ({"stage": [A | {"part": 3}]}, "part = 3 should be of type str"),
    ({"stage": [A | {"name": "../a"}]}, "name = '../a' should be of small letters"),
    ({"stage": [A | {"name": "model"}]}, "and not nothing or model"),
    ({"stage": [A, A]}, "an earlier stage has the same name"),
    ({"stage": [A | {"data": "photos"}]}, "data means nothing there"),
    ({"stage": [A | {"start": "b"}, stage("b", "joint")]}, "start = 'b' is no stage before it"),
    ({"stage": [stage("a", "prior"), stage("b", "latents")]}, "b: it cannot start from a, which has no decoder"),
    ({"stage": [stage("a", "decoder"), stage("b", "joint")]}, "b: it cannot start from a, which has no prior"),
    ({"stage": [stage("a", "prior", painter="none")]}, "a: painter = 'none' is no stage before it"),
    ({"stage": [stage("a", "prior"), stage("b", "prior", painter="a")]}, "b: it cannot be painted by a, which has no decoder"),
    ({"stage": [stage("a", "decoder", painter="x.safetensors")]}, "a: painter means nothing there"),
]


@pytest.mark.parametrize(("change", "said"), WRONG, ids=[said[:40] for _, said in WRONG])
def test_a_wrong_recipe_says_what_is_wrong(change: dict, said: str):
    with pytest.raises(ConfigError, match=said):
        from_table({"family": "dct-bands", "description": "small"} | change, Path())


def test_a_codec_needs_a_context():
    whole = configuration.table(FOLDER / "vae-mnist.toml")
    from_table(whole, FOLDER)
    with pytest.raises(ConfigError, match=r"dct-vae needs a \[context\]"):
        from_table(whole | {"family": "dct-vae"}, FOLDER)


# --- the recipes of the models that ship


def test_every_model_that_ships_has_a_recipe():
    assert {path.stem for path in SHIPPING} == set(MODELS) | CONTEXTS | {"flagship-1-further"}


@pytest.mark.parametrize("name", MODELS)
def test_a_recipe_makes_the_model_that_ships(name: str):
    recipe, model = read(FOLDER / f"{name}.toml"), installed.find(name)
    config = recipe.stages[-1].config
    assert (recipe.family, config.description) == (model.family, model.description)
    if model.family == "dct-bands":
        sizes = {part: _with_tuples(model.config[part]) for part in ("prior", "decoder")}
        assert asdict(config.shape) == sizes | {"blocks": tuple(model.config.get("blocks", ()))}
    else:
        shipped = vae_config.from_table(model.config["config"])
        assert (config.shape, config.data) == (shipped.shape, shipped.data)


def test_the_recipe_that_trains_further_starts_from_what_ships():
    stages = read(FOLDER / "flagship-1-further.toml").stages
    assert {stage.config.shape for stage in stages} == {read(FOLDER / "flagship-1.toml").stages[-1].config.shape}
    model = installed.find("flagship-1").path.resolve()
    shipped = [model.parent / "recipes" / "flagship-1-prior-float.safetensors", model / DECODER, model / TUNED_DECODER]
    assert [stage.start.resolve() for stage in stages] == shipped
    assert all(stage.start.is_file() for stage in stages)


def test_minutes_are_shared_out_to_the_stages():
    recipe = read(FOLDER / "flagship-1-further.toml")
    before, after = ([stage.config.training.minutes for stage in one.stages] for one in (recipe, recipe.within(24)))
    assert after == pytest.approx([2 * minutes for minutes in before]) and sum(after) == pytest.approx(24)
    with pytest.raises(ConfigError, match="this one gives steps"):
        read(FOLDER / "flagship-1.toml").within(24)


def _parameters(path: Path) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in PaperModel(read(path).stages[-1].config.shape).parameters())


@pytest.mark.parametrize(("name", "size"), [("vae-cifar10", 21e6), ("dct-vae-cifar10", 22e6)])
def test_table_6_has_the_sizes_of_table_5(name: str, size: float):
    assert _parameters(FOLDER / "table-6" / f"{name}.toml") == pytest.approx(size, rel=0.065)


def test_table_6_has_six_columns_and_no_rate_weight():
    assert {path.stem for path in TABLE_6} == {f"{kind}-{data}" for kind in ("vae", "dct-vae") for data in SETS}
    for path in TABLE_6:
        config = read(path).stages[-1].config
        context, prior = config.shape.context, config.shape.prior
        assert context is None or (context.rate_weight, prior.schedule) == (None, "linear")
        assert (config.inputs == "grey") == (config.data != "cifar10")
        assert (config.training.optimiser, config.training.average, config.training.warm_up) == ("adamw", 0, 0)


@pytest.mark.parametrize("data", SETS)
def test_the_models_of_a_pair_are_equal_but_for_the_context(data: str):
    vae, *others = (FOLDER / "pairs" / f"{name}-{data}.toml" for name in ("vae", "dct-vae"))
    others += FOLDER.glob(f"pairs/dct-vae-{data}-*.toml")
    recipe = read(vae)
    for path in others:
        other = read(path)
        assert _parameters(path) == pytest.approx(_parameters(vae), rel=0.05)
        assert [stage.config.training for stage in other.stages] == [stage.config.training for stage in recipe.stages]
        assert [stage.part for stage in other.stages] == [stage.part for stage in recipe.stages]
        assert [stage.start for stage in other.stages] == [stage.start for stage in recipe.stages]
        assert other.stages[0].start is None and other.stages[-1].config.inputs == recipe.stages[-1].config.inputs
    assert all(read(path).stages[0].start is None for path in PAIRS)


def _with_tuples(values: dict) -> dict:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


@pytest.mark.parametrize("path", RECIPES, ids=_named)
def test_the_networks_have_the_latents_of_table_6(path: Path):
    recipe = read(path)
    for one in recipe.stages if recipe.family != "dct-bands" else ():
        network, context = one.config.shape.network, one.config.shape.context
        latents = [(scale.side, scale.latents) for scale in network.scales]
        if one.config.data == "cifar10":
            assert latents == [(32, 10), (16, 10), (8, 5), (4, 2 if context else 3), (1, 1)] and network.latent_width == 8
        else:
            assert latents == [(14, 4), (7, 3 if context else 4)] and network.latent_width == 1
        if context and context.kind == "dct" and path.stem not in CONTEXTS:  # those are as large as the downsampling ones
            assert (context.size, context.bits) == {"cifar10": (6, 5), "mnist": (6, 2), "omniglot": (7, 2)}[one.config.data]


@pytest.mark.parametrize("path", RECIPES, ids=_named)
def test_a_recipe_says_nothing_twice(path: Path):
    """Neither what the recipe that it extends says, nor what the stage before says."""
    own = tomllib.loads(path.read_text())
    parent = table(path.parent / own["extends"]) if "extends" in own else {}
    assert not _repeated(parent, own)
    whole = table(path)
    before, training = whole, dict(whole.get("training", {}))
    for one in whole["stage"]:
        sizes = {name: value for name, value in one.items() if isinstance(value, dict) or name == "scale"}
        others = {*sizes, "name", "part", "start", "data", "steps", "minutes"}
        settings = {name: value for name, value in one.items() if name not in others}
        assert not _repeated(before, sizes) and not _repeated(training, settings), one["name"]
        before, training = merged(before, sizes), training | settings


def _repeated(parent: dict, own: dict) -> list[tuple[str, ...]]:
    before = paths(parent)
    return [path for path, value in paths(own).items() if path in before and before[path] == value]


def test_the_recipe_in_the_documents_is_one(tmp_path: Path):
    text = (FOLDER.parent / "README.md").read_text("utf-8")
    written(tmp_path, own=text[text.index("```toml\n") + 8 :].partition("```")[0])
    written(tmp_path, **{"flagship-1": (FOLDER / "flagship-1.toml").read_text()})
    (stage,) = read(tmp_path / "own.toml").stages
    assert stage.config.shape == read(FOLDER / "flagship-1.toml").stages[-1].config.shape
    assert (FOLDER / stage.start.relative_to(tmp_path)).exists()


# --- whole trainings


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, make_picture) -> Path:
    folder = tmp_path_factory.mktemp("data") / "photos" / "bsds"
    folder.mkdir(parents=True)
    for number in range(11):
        make_picture(96, 96, seed=number).save(folder / f"{number:02}.png")
    return folder.parents[1]


def make(recipe: Path, data: Path, run: Path, *more: object, code: int = 0) -> Result:
    words = ["model", recipe, "--data", data, "--run", run, *more]
    result = CliRunner().invoke(train, list(map(str, words)), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def steps(run: Path) -> dict[str, list[int]]:
    """Steps after each time that a stage was left, by folder."""
    logs = sorted(run.glob("*/log.jsonl"))
    return {log.parent.name: [json.loads(line)["step"] for line in log.read_text().splitlines()] for log in logs}


def recipe_text(prior_steps: int = 1) -> str:
    """Of the family dct-bands, all of its parts."""
    text = 'family = "dct-bands"\ndescription = "small"\n[prior]\nwidth = 16\nblocks = 1\n'
    text += "[decoder]\nwidths = [8, 8, 8, 8]\nblocks = [1, 1, 1, 1]\n"
    parts = [("joint", "joint", "nothing", 3), ("latents", "latents", "joint", 1), ("decoder", "decoder", "latents", 1)]
    parts += [("second", "ms-ssim", "decoder", 1), ("prior", "prior", "joint", prior_steps)]
    for name, part, start, length in parts:
        text += f'[[stage]]\nname = "{name}"\npart = "{part}"\nstart = "{start}"\nsteps = {length}\nbatch = 2\ncrop = 64\n'
    text += '[[stage]]\nname = "forecast"\npart = "forecast"\nsteps = 1\nprior.forecast = { width = 8, coarse = 1, fine = 1 }\n'
    return text


def test_a_model_of_bands_is_made_from_nothing_and_a_stage_begins_anew_after_a_change_of_the_one_before(
    photos: Path, tmp_path: Path, make_picture, monkeypatch: pytest.MonkeyPatch
):
    run = tmp_path / "run"
    written(tmp_path, small=recipe_text())
    make(tmp_path / "small.toml", photos, run)
    first = {"joint": [3], "latents": [1], "decoder": [1], "second": [1], "prior": [1], "forecast": [1]}
    assert steps(run) == first
    monkeypatch.setattr(installed, "_PLACES", (run,))
    codec, image = Codec("model", "cpu"), make_picture(70, 50)
    for tune in ("psnr", "ms-ssim"):
        back = codec.decode(codec.encode(image, tune=tune))
        assert np.abs(np.asarray(back, float) - np.asarray(image, float)).mean() < 12
    assert installed.find("model").config["prior"]["forecast"] == {"width": 8, "coarse": 1, "fine": 1}

    before = (run / "model" / PRIOR).read_bytes()
    make(tmp_path / "small.toml", photos, run)  # all has ended
    assert steps(run) == first and (run / "model" / PRIOR).read_bytes() == before
    written(tmp_path, small=recipe_text(prior_steps=2))
    make(tmp_path / "small.toml", photos, run)
    (aside,) = steps(run).keys() - first.keys()
    assert aside.startswith("forecast-until-") and steps(run) == first | {"prior": [1, 2], aside: [1]}
    assert (run / "model" / PRIOR).read_bytes() != before


def two_stages(paper: Path, tmp_path: Path) -> Path:
    """A recipe that begins as the VAE plain.toml and becomes the DCT-VAE tiny.toml."""
    shared = {"plain": (paper / "plain.toml").read_text(), "tiny": (paper / "tiny.toml").read_text()}
    context = shared["tiny"][shared["tiny"].index("[context]") :].replace("[context]", "[stage.context]")
    stages = '[[stage]]\nname = "vae"\npart = "all"\nsteps = 4\n'
    stages += '[[stage]]\nname = "context"\npart = "all"\nsteps = 2\nprior_images = 2\n'
    text = f'extends = "plain.toml"\nfamily = "dct-vae"\n{stages}{context.replace("[prior]", "[stage.prior]")}'
    written(tmp_path, plain=shared["plain"], two=text)
    return tmp_path / "two.toml"


def test_a_model_of_the_paper_is_made_from_nothing_and_goes_on_where_it_was_interrupted(
    tiny_paper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    recipe, run = two_stages(tiny_paper, tmp_path), tmp_path / "run"
    seconds = iter(range(0, 10**6, 7))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.time, "monotonic", lambda: next(seconds))
        output = make(recipe, tiny_paper / "data", run, "--piece", 1).output
    assert "has not ended: call the same command again" in output
    (begun,) = steps(run).values()
    assert 0 < begun[-1] < 4 and not (run / "model").exists()
    make(recipe, tiny_paper / "data", run)
    assert steps(run) == {"vae": [*begun, 4], "context": [2]}
    monkeypatch.setattr(installed, "_PLACES", (run,))
    assert installed.find("model").family == "dct-vae" and (run / "model" / PRIOR).exists()
    words = ["likelihood", "model", "--data", tiny_paper / "data", "--samples", 2, "--images", 4]
    result = CliRunner().invoke(evaluate, list(map(str, words)), catch_exceptions=False)
    assert result.exit_code == 0 and json.loads(result.output[result.output.index("{") :])["elbo_context_nats"] > 0


def test_photographs_that_a_later_stage_needs_are_missed_at_once(tmp_path: Path):
    with pytest.raises(DataError, match="no photographs in"):
        make(FOLDER / "dct-vae-cifar10.toml", tmp_path, tmp_path / "run")


def test_one_stage_may_be_trained_alone(tiny_paper: Path, tmp_path: Path):
    recipe, run = two_stages(tiny_paper, tmp_path), tmp_path / "run"
    with pytest.raises(ConfigError, match="starts from vae, which has not ended in .*vae: train that first"):
        make(recipe, tiny_paper / "data", run, "--stage", "context")
    with pytest.raises(ConfigError, match="there is no stage 'head'; the recipe has vae, context"):
        make(recipe, tiny_paper / "data", run, "--stage", "head")
    make(recipe, tiny_paper / "data", run, "--stage", "vae")
    assert steps(run) == {"vae": [4]} and not (run / "model").exists()
    make(recipe, tiny_paper / "data", run, "--stage", "context")
    assert steps(run) == {"vae": [4], "context": [2]}


def test_a_stage_may_begin_with_a_file_of_weights(tiny_paper: Path, paper_runs: Path, tmp_path: Path):
    start = paper_runs / "plain" / "only" / CHECKPOINT
    text = '[[stage]]\nname = "more"\npart = "all"\nsteps = 1\nstart = "begin.safetensors"\n'
    written(tmp_path, plain=(tiny_paper / "plain.toml").read_text(), more=f'extends = "plain.toml"\n{text}')
    with pytest.raises(ConfigError, match="there is no .*begin.safetensors, which the stage more starts from"):
        make(tmp_path / "more.toml", tiny_paper / "data", tmp_path / "run")
    (tmp_path / "begin.safetensors").write_bytes(start.read_bytes())
    make(tmp_path / "more.toml", tiny_paper / "data", tmp_path / "run")
    assert (tmp_path / "run" / "more" / BEGINNING).read_text() == hashlib.sha256(start.read_bytes()).hexdigest()


def begin_of_one_process(rank: int, folder: Path) -> None:
    """Where the first process comes late."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    time.sleep(2 * (rank == 0))
    begin(folder / "part", folder / "checkpoint")
    (folder / f"{rank}").write_text((folder / "part" / BEGINNING).read_text())
    torch.distributed.destroy_process_group()


def test_no_process_begins_a_stage_before_the_first_has_made_its_folder(tmp_path: Path):
    (tmp_path / "checkpoint").write_bytes(b"weights")
    torch.multiprocessing.spawn(begin_of_one_process, (tmp_path,), nprocs=2)
    assert (tmp_path / "0").read_text() == (tmp_path / "1").read_text() == hashlib.sha256(b"weights").hexdigest()

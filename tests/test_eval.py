"""`dctcodec eval` on small runs: the bounds are bounds, the table is of the latents, mistakes are said."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from dctcodec import Codec, installed, metrics
from dctcodec.cli.main import main
from dctcodec.data.sets import Images
from dctcodec.errors import DctcodecError, ModelError
from dctcodec.evaluate import attack, collapse, extra, likelihood
from dctcodec.evaluate.source import fingerprint, load
from dctcodec.evaluate.source import test_images as images_of
from dctcodec.train.checkpoint import CHECKPOINT
from dctcodec.train.export_vae import export_vae
from dctcodec.train.recipe import read
from dctcodec.vae.model import PaperModel
from dctcodec.vae.network import Latent

PAPER = Path(__file__).parents[1] / "benchmarks" / "paper"
RECIPES = Path(__file__).parents[1] / "models" / "recipes"
FIGURES = sorted([*PAPER.glob("likelihood-*.json"), *PAPER.glob("collapse-*.json"), *PAPER.glob("attack-*.json")])


def evaluate(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["eval", *map(str, words)])
    assert result.exit_code == code, result.output
    return result.output


def tiny(folder: Path) -> tuple[PaperModel, torch.Tensor]:
    config, model = load(str(folder / "tiny.toml"), folder / "tiny")
    return model.requires_grad_(False), images_of(config, folder / "data", 20)


# --- likelihood


def test_likelihood_of_a_run(paper_runs: Path, tmp_path: Path):
    words = ["--data", paper_runs / "data", "--run", paper_runs / "tiny", "--samples", 20, "--images", 25]
    output = evaluate("likelihood", paper_runs / "tiny.toml", *words, "--json", tmp_path / "out.json")
    figures = json.loads((tmp_path / "out.json").read_text())
    assert json.loads(output[output.index("{") :]) == figures
    assert (figures["model"], figures["images"], figures["samples"]) == ("tiny", 25, 20)
    assert figures["weights"] == fingerprint(tiny(paper_runs)[0])
    parts = sum(figures[f"elbo_{part}_nats"] for part in ("reconstruction", "divergence", "context"))
    assert figures["elbo_nats"] == pytest.approx(parts)
    assert figures["nll_nats"] < figures["elbo_nats"] and figures["nll_nats_standard_error"] > 0
    assert figures["machine"]["threads"] and "bits" not in output


def test_a_run_is_named_by_its_folder_or_by_that_of_a_stage(paper_runs: Path):
    whole, stage = (load(str(paper_runs / "tiny.toml"), paper_runs / name)[1] for name in ("tiny", "tiny/only"))
    assert fingerprint(whole) == fingerprint(stage)


def test_a_fingerprint_is_of_all_weights(paper_runs: Path):
    model, _ = tiny(paper_runs)
    assert re.fullmatch("[0-9a-f]{8}", before := fingerprint(model))
    with torch.no_grad():
        for weight in (model.vae.head[1].weight, model.prior.mean):
            weight.view(-1)[0] += 1e-3
            assert fingerprint(model) != before
            before = fingerprint(model)


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.stem)
def test_committed_figures_are_of_the_weights_that_ship(path: Path):
    figures = json.loads(path.read_text())
    for row in figures.get("models", [figures]):
        assert row["weights"] == fingerprint(load(row["model"], None)[1]), f"measure again: {figures['machine']['command']}"


def test_a_model_may_be_exported_to_be_measured_alone(paper_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(installed, "_PLACES", (tmp_path,))
    (stage,) = read(paper_runs / "tiny.toml").stages
    for name, family in (("whole", "dct-vae"), ("measured", "vae")):
        export_vae(tmp_path / name, family, stage.config, stage.table, paper_runs / "tiny" / "only" / CHECKPOINT)
    assert installed.find("whole").model_id is not None and installed.find("measured").model_id is None
    words = ["--data", paper_runs / "data", "--samples", 3, "--images", 4]
    whole, measured = (evaluate("likelihood", name, *words) for name in ("whole", "measured"))
    assert json.loads(whole)["nll_nats"] == json.loads(measured)["nll_nats"]
    with pytest.raises(ModelError, match="has no codec"):
        Codec("measured", "cpu")


def test_the_bound_of_a_whole_test_set_is_estimated(paper_runs: Path):
    words = ["--data", paper_runs / "data", "--run", paper_runs / "tiny", "--samples", 8, "--images", 10]
    output = evaluate("likelihood", paper_runs / "tiny.toml", *words, "--pilot", 2)
    figures = json.loads(output[output.index("{") :])
    config, _ = load(str(paper_runs / "tiny.toml"), paper_runs / "tiny")
    assert figures["images"] == len(images_of(config, paper_runs / "data")) > 10
    assert (figures["images_with_all_samples"], figures["pilot"], figures["samples"]) == (10, 2, 8)
    assert "--pilot 9 is more than" in evaluate("likelihood", paper_runs / "tiny.toml", *words, "--pilot", 9, code=1)


def test_likelihoods_are_not_measured_in_vain(paper_runs: Path, tmp_path: Path):
    words = ["--data", paper_runs / "data", "--run", paper_runs / "tiny", "--json", tmp_path / "missing" / "out.json"]
    output = evaluate("likelihood", paper_runs / "tiny.toml", *words, code=1)
    assert "missing" in output and "nll" not in output


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_told(paper_runs: Path):
    data = ["--data", paper_runs / "data", "--device", "cuda"]
    for words in (
        ["eval", "likelihood", "dct-vae-mnist"],
        ["train", "model", paper_runs / "tiny.toml", "--run", paper_runs / "new"],
    ):
        result = CliRunner().invoke(main, list(map(str, [*words, *data])))
        assert result.exit_code == 1 and "no CUDA device was found: use --device cpu" in result.output


def test_a_model_whose_context_is_drawn_is_trained_and_measured(paper_runs: Path):
    config, run = paper_runs / "drawn.toml", paper_runs / "drawn"
    text = (paper_runs / "tiny.toml").read_text()
    config.write_text(text.replace("[context]\n", "[context]\nrate_weight = 0.5\ndrawn = true\n"))
    words = ["train", "model", config, "--data", paper_runs / "data", "--run", run]
    assert CliRunner().invoke(main, list(map(str, words))).exit_code == 0
    output = evaluate("likelihood", config, "--run", run, "--data", paper_runs / "data", "--samples", 30, "--images", 10)
    figures = json.loads(output[output.index("{") :])
    assert 0 < figures["nll_nats"] < figures["elbo_nats"]
    assert "context" in evaluate("collapse", config, "--run", run, "--data", paper_runs / "data", "--images", 10)


def test_the_baseline_has_no_context(paper_runs: Path):
    words = ["--data", paper_runs / "data", "--run", paper_runs / "plain", "--samples", 3, "--batch", 2, "--images", 4]
    output = evaluate("likelihood", paper_runs / "plain.toml", *words)
    figures = json.loads(output[output.index("{") :])
    assert figures["elbo_context_nats"] == 0


def test_a_seed_makes_the_figures_repeatable(paper_runs: Path):
    words = ["--data", paper_runs / "data", "--run", paper_runs / "tiny", "--samples", 2, "--images", 4]
    first, again, other = (
        json.loads(output[output.index("{") :])["nll_nats"]
        for seed in (1, 1, 2)
        for output in [evaluate("likelihood", paper_runs / "tiny.toml", *words, "--seed", seed)]
    )
    assert first == pytest.approx(again, rel=1e-6) and first != pytest.approx(other, rel=1e-6)


def test_one_sample_is_the_plain_bound(paper_runs: Path):
    model, images = tiny(paper_runs)
    torch.manual_seed(0)
    single = torch.stack([likelihood.importance(model, images, 1, 100) for _ in range(200)])
    plain = torch.stack([sum(likelihood.bound(model, images, 100).values()) for _ in range(200)])
    error = math.sqrt((single.mean(1).var() / 200 + plain.mean(1).var() / 200).item())
    assert single.mean().item() == pytest.approx(plain.mean().item(), abs=5 * error)


def test_more_samples_are_never_worse_in_expectation(paper_runs: Path):
    model, images = tiny(paper_runs)
    torch.manual_seed(0)
    bounds = [
        torch.stack([likelihood.importance(model, images, samples, 100) for _ in range(64 // samples)]).mean(0).mean().item()
        for samples in (1, 4, 64)
    ]
    assert bounds[0] > bounds[1] > bounds[2]


@pytest.mark.parametrize("chosen", [6, 20])
def test_a_few_images_with_all_draws_tell_the_bound_of_the_others(paper_runs: Path, chosen: int):
    model, images = tiny(paper_runs)
    torch.manual_seed(0)
    whole = torch.stack([likelihood.importance(model, images, 40, 100) for _ in range(4)]).mean().item()
    figures = likelihood.whole_set(model, images, chosen, 40, 4, 100)
    assert (figures["images_with_all_samples"], figures["pilot"]) == (chosen, 4)
    assert figures["nll_nats"] == pytest.approx(whole, abs=4 * figures["nll_nats_estimation_error"] + 0.5)
    assert (figures["nll_nats_estimation_error"] == 0) == (chosen == len(images))


def test_binary_test_images_are_always_the_same_drawing(paper_runs: Path):
    config, _ = load(str(paper_runs / "tiny.toml"), paper_runs / "tiny")
    torch.manual_seed(1)
    first = images_of(config, paper_runs / "data", 20)
    torch.manual_seed(2)
    assert torch.equal(images_of(config, paper_runs / "data", 10).target, first.target[:10])
    assert torch.initial_seed() == 2 and set(first.target.unique().tolist()) == {0, 1}


# --- collapse


def test_a_plot_without_matplotlib_is_refused_before_anything_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(extra, "find_spec", lambda package: None)
    with pytest.raises(DctcodecError, match="--plot needs matplotlib: pip install"):
        collapse.run([], tmp_path, 10, 0, "cpu", None, tmp_path / "plot.png")


def test_collapse_compares_runs(paper_runs: Path, tmp_path: Path):
    configs, runs = (
        [paper_runs / "tiny.toml", paper_runs / "plain.toml"],
        ["--run", paper_runs / "tiny", "--run", paper_runs / "plain"],
    )
    files = ["--json", tmp_path / "out.json", "--plot", tmp_path / "out.png"]
    output = evaluate("collapse", *configs, *runs, "--data", paper_runs / "data", "--images", 30, "--deep", 4, *files)
    lines = [line.split() for line in output.splitlines()]
    assert [line[1] for line in lines if line[0] == "tiny"] == ["context", "z1", "z2", "z3", "all"]
    assert [line[1] for line in lines if line[0] == "plain"] == ["z1", "z2", "z3", "all"]
    first, second = json.loads((tmp_path / "out.json").read_text())["models"]
    assert [(row["latent"], row["side"], row["units"]) for row in first["latents"]] == [
        ("context", 3, 9), ("z1", 2, 4), ("z2", 4, 16), ("z3", 4, 16)
    ]  # fmt: skip
    assert all(row["kl_nats"] >= 0 and 0 <= row["active"] <= row["units"] for row in second["latents"])
    assert all(math.isfinite(row["redrawn_nats"]) for row in first["latents"])
    assert first["gap"]["images"] == 4 and "of 9 symbols of the context vary" in output
    assert Image.open(tmp_path / "out.png").size[0] > 500


def test_units_are_active_by_what_the_image_says_not_by_noise(monkeypatch: pytest.MonkeyPatch, paper_runs: Path):
    model, _ = tiny(paper_runs)
    levels = torch.rand(2000, 1, 8, 8)
    images = Images(levels, levels)

    def top_down(shown, batch, encoded):
        said = images_now[0].mean((1, 2, 3))[:, None, None, None] * 10
        mean = torch.cat([said, torch.randn(batch, 1, 1, 1), torch.zeros(batch, 1, 1, 1)], 1)
        zero = torch.zeros_like(mean)
        return None, [Latent(mean, zero, zero, mean, zero)] * 3

    images_now = []
    monkeypatch.setattr(model.vae.encoder, "forward", lambda some: images_now.__setitem__(slice(None), [some]) or [])
    monkeypatch.setattr(model.vae, "top_down", top_down)
    monkeypatch.setattr(collapse, "ACTIVE", 0.08)
    rows = collapse.measure(model, images).rows
    assert [(row.active, row.active_one_draw, row.units) for row in rows[1:]] == [(1, 2, 3)] * 3


def test_the_symbols_of_a_context_that_vary_are_counted(paper_runs: Path):
    model, images = tiny(paper_runs)
    context = collapse.measure(model, images).rows[0]
    assert 0 < context.varying <= context.units == 9 and 1 < context.distinct <= len(images)
    same = Images(*(part[:1].expand(6, -1, -1, -1) for part in (images.seen, images.target)))
    context = collapse.measure(model, same).rows[0]
    assert (context.varying, context.distinct, context.active_one_draw) == (0, 1, 0)


def test_a_latent_that_nothing_depends_on_is_non_identifiable(paper_runs: Path):
    model, images = tiny(paper_runs)
    torch.manual_seed(0)
    for block in (block for blocks in model.vae.blocks for block in blocks):
        torch.nn.init.normal_(block.inject.weight)
    torch.nn.init.normal_(model.vae.head[-1].weight)
    block = model.vae.blocks[1][0]
    torch.nn.init.zeros_(block.inject.weight)
    changes = [change.abs().max().item() for change in collapse.redrawn(model, images)]
    assert len(changes) == 4 and changes.pop(2) == 0
    assert min(changes) > 1e-3


def test_the_gaps_are_those_of_bounds(paper_runs: Path):
    config, model = load(str(paper_runs / "plain.toml"), paper_runs / "plain")
    images = images_of(config, paper_runs / "data", 20)
    model.requires_grad_(False)
    torch.manual_seed(0)
    for block in (block for blocks in model.vae.blocks for block in blocks):
        torch.nn.init.zeros_(block.inject.weight)  # so ln p(x | z) = ln p(x), whatever z
    gap = collapse.gaps(model, images[:6])
    assert gap.images == 6 and gap.gap > 0 and gap.collapsed_gap == pytest.approx(0, abs=0.5)
    assert gap.gap == pytest.approx(gap.log_p - gap.elbo, abs=1e-6)
    assert gap.collapsed_gap == pytest.approx(gap.log_p - gap.prior_log_likelihood, abs=1e-6)
    plain = sum(part.mean() for part in likelihood.bound(model, images[:6], 100).values())
    assert gap.elbo == pytest.approx(-plain.item(), abs=10)


# --- attack


def pliable(folder: Path, name: str = "tiny") -> tuple[PaperModel, torch.Tensor]:
    """A model whose posteriors depend on the image, and grey images: with room to change both ways."""
    model = load(str(folder / f"{name}.toml"), folder / name)[1].requires_grad_(False)
    torch.manual_seed(0)
    for block in (block for blocks in model.vae.blocks for block in blocks):
        torch.nn.init.normal_(block.posterior[-1].weight[:1], std=10)
        torch.nn.init.constant_(block.posterior[-1].bias[1:], -2)  # within the bounds of the variance
        torch.nn.init.normal_(block.inject.weight)
    torch.nn.init.normal_(model.vae.head[-1].weight)
    return model, torch.rand(6, 1, 8, 8) * 0.6 + 0.2


def test_the_first_latents_are_those_of_the_whole_pass(paper_runs: Path):
    model, images = pliable(paper_runs)
    context = attack.shown(model, images)
    torch.manual_seed(1)
    _, whole = model.vae.reconstruct(images, context)
    torch.manual_seed(1)
    first = model.vae.first_latents(images, context, 2)
    assert len(first) == 2 and len(whole) == 3
    assert all(torch.equal(a, b) for one, other in zip(first, whole, strict=False) for a, b in zip(one, other, strict=True))


def test_an_attack_keeps_its_radius_and_the_range(paper_runs: Path):
    model, images = pliable(paper_runs)
    images[0, 0, 0] = torch.tensor([0.0, 1.0]).repeat(4)
    start = torch.full_like(images, 0.5)  # beyond the radius
    attacked = attack.ascend(attack.Objective(model, images, 2), images, start, attack.Settings(0.05, 8, 1))
    assert (attacked - images).abs().max() <= 0.05 + 1e-6 and attacked.min() >= 0 and attacked.max() <= 1


@pytest.mark.parametrize(("name", "count"), [("plain", 1), ("plain", 3), ("tiny", 2)])
def test_an_attack_beats_random_noise_of_its_radius(paper_runs: Path, name: str, count: int):
    model, images = pliable(paper_runs, name)
    objective = attack.Objective(model, images, count)
    noise = [objective(attack.bounded(images, attack.random_change(images, 0.1), 0.1)) for _ in range(20)]
    start = attack.random_change(images, 0.1)
    reached = objective(attack.ascend(objective, images, start, attack.Settings(0.1, 15, 1)))
    assert (reached > 3 * torch.stack(noise).mean(0)).all()


def test_an_attack_forgets_no_better_step(paper_runs: Path):
    """The objective here has its best value at the start, and every step makes it worse."""
    images = torch.full((2, 1, 4, 4), 0.5)
    calls = []

    def objective(attacked: torch.Tensor) -> torch.Tensor:
        calls.append(attacked.detach())
        return attacked.flatten(1).sum(1) - 100 * len(calls)

    start = torch.zeros_like(images)
    assert torch.equal(attack.ascend(objective, images, start, attack.Settings(0.1, 5, 1)), images)
    assert len(calls) == 5 and not torch.equal(calls[0], calls[1])


def test_gradients_of_the_divergence_are_finite_differences(paper_runs: Path):
    model, images = pliable(paper_runs)
    for count in (1, 3):
        objective = attack.Objective(model, images, count)
        # far enough for the divergence to have a slope; the context keeps its symbols, of which it is a step function
        point = (images + 0.05 * torch.randn_like(images)).requires_grad_()
        (gradient,) = torch.autograd.grad(objective(point).sum(), point)
        way = gradient / gradient.norm() * 2e-3
        symbols = [model.context.symbols(point.detach() + sign * way) for sign in (1, -1)]
        assert torch.equal(*symbols)
        with torch.no_grad():
            slope = (objective(point + way).double().sum() - objective(point - way).double().sum()) / 2
        assert slope.item() == pytest.approx((gradient * way).sum().item(), rel=0.01)


def test_an_image_that_is_not_changed_has_no_divergence(paper_runs: Path):
    model, images = pliable(paper_runs)
    assert attack.Objective(model, images, 3)(images).abs().max() < 1e-4


def test_attacks_compare_runs(paper_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(metrics, "MS_SSIM_WINDOW", 7)  # images of 8x8
    configs = [paper_runs / "tiny.toml", paper_runs / "plain.toml", "--run", paper_runs / "tiny", "--run", paper_runs / "plain"]
    names = {"--json": "a.json", "--plot": "a.png", "--examples": "b.png"}
    files = [word for option, name in names.items() for word in (option, tmp_path / name)]
    words = [*configs, "--data", paper_runs / "data", "--images", 5, "--starts", 2, "--steps", 3, *files]
    output = evaluate("attack", *words)
    assert [line.split()[:2] for line in output.splitlines()[1:]] == [
        ["tiny", "2"], ["tiny", "3"], ["tiny", "4"], ["plain", "1"], ["plain", "2"], ["plain", "3"]
    ]  # fmt: skip
    document = json.loads((tmp_path / "a.json").read_text())
    assert [document[key] for key in ("data", "images", "radius", "steps", "starts")] == ["mnist", 5, 0.1, 3, 2]
    assert document["machine"]["versions"]["torch"] and document["ms_ssim_scales"] == 1
    for model in document["models"]:
        assert model["weights"] == fingerprint(load(str(paper_runs / f"{model['model']}.toml"), paper_runs / model["model"])[1])
        for row in model["rows"]:
            assert 0 <= row["attacked"]["mean"] <= 1 + 1e-5 and row["attacked"]["error"] >= 0
            assert (row["changed_symbols"] is None) == (model["model"] == "plain")
    assert all(Image.open(tmp_path / name).size[0] > 400 for name in ("a.png", "b.png"))


def test_attacks_that_cannot_be_made_are_refused_in_one_line(paper_runs: Path, tmp_path: Path):
    words = [paper_runs / "tiny.toml", "--run", paper_runs / "tiny", "--data", paper_runs / "data", "--images", 4]
    for more, message in (
        (["--layers", 5], "tiny has 4 latent layers"),
        (["--layers", 1], "give 2 or more"),
        (["--json", tmp_path / "missing" / "a.json"], "missing"),
        ([], "MS-SSIM needs sides of at least 11 pixels"),
    ):
        output = evaluate("attack", *words, *more, code=1)
        assert message in output and len(output.strip().splitlines()) == 1, output
    models = ["vae-mnist", "vae-omniglot", "--data", paper_runs / "data"]
    assert "different data sets" in evaluate("attack", *models, code=1)
    assert "0.0<x<=1.0" in evaluate("attack", *words, "--radius", 0, code=2).replace("0<x<=1", "0.0<x<=1.0")


# --- mistakes


def test_what_is_missing_is_said(paper_runs: Path, tmp_path: Path):
    config, data = paper_runs / "tiny.toml", ["--data", paper_runs / "data"]
    assert "add --run" in evaluate("likelihood", config, *data, code=1)
    assert "--run goes with a recipe" in evaluate("likelihood", "some-model", *data, "--run", paper_runs / "tiny", code=1)
    assert "there is no" in evaluate("likelihood", config, *data, "--run", tmp_path, code=1)
    assert "not of this configuration" in evaluate("likelihood", config, *data, "--run", paper_runs / "plain", code=1)
    assert "2 recipes and 1 runs" in evaluate("collapse", config, config, *data, "--run", paper_runs / "tiny", code=1)
    assert "no-such-model" in evaluate("likelihood", "no-such-model", *data, code=1)
    assert "cannot read" in evaluate("likelihood", tmp_path / "no.toml", *data, "--run", tmp_path, code=1)
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / CHECKPOINT).write_bytes(b"nothing")
    assert "cannot read the weights" in evaluate("likelihood", config, *data, "--run", tmp_path, code=1)
    bands = RECIPES / "flagship-1.toml"
    assert "measured by `dctcodec bench`" in evaluate("likelihood", bands, *data, "--run", tmp_path, code=1)

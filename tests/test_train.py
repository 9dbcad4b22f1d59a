"""Training, a few steps of each kind on small images: it resumes, it exports, and what it exports is a codec."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from filelock import FileLock
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from dctcodec import Codec, ConfigError, DataError, ModelError, configuration, installed
from dctcodec.bands import blocks, config
from dctcodec.bands.config import BandsConfig, BandsTraining
from dctcodec.bands.decoder import Decoder, DecoderShape
from dctcodec.bands.export import to_integers
from dctcodec.bands.order import CHANNELS, REVEALS
from dctcodec.bands.prior import PriorNetwork, PriorShape, code_bits
from dctcodec.cli.train import train
from dctcodec.data import photographs, sets
from dctcodec.data.drawings import drawings
from dctcodec.family import DECODER, FLOAT_PRIOR, PRIOR, TUNES
from dctcodec.train import decoder, loop, optimiser, prior, processes, vae
from dctcodec.train import recipe as recipes
from dctcodec.train.checkpoint import AVERAGE, CHECKPOINT, load_weights
from dctcodec.train.export import export_bands, float_prior, shipped_prior
from dctcodec.train.model import BEGINNING, train_stage
from dctcodec.train.settings import Settings
from dctcodec.vae.config import Config, Training
from dctcodec.vae.model import PaperModel
from dctcodec.vae.shapes import ContextShape, DiffusionShape, ModelShape, NetworkShape, Scale

SIDE, CROP = 96, 64
RECIPES = Path(__file__).parent.parent / "models" / "recipes"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, make_picture) -> Path:
    """Eleven small photographs, of which two are held out."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "bsds").mkdir()
    for number in range(11):
        make_picture(SIDE, SIDE, seed=number).save(folder / "bsds" / f"{number:02}.jpg", quality=95)
    return folder


@pytest.fixture(scope="module")
def runs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of each kind, three steps long, and the model they make."""
    folder = tmp_path_factory.mktemp("runs")
    for kind in ("prior", "decoder"):
        train_part(kind, photos, folder / kind, 3)
    train_part("latents", photos, folder / "latents", 3, checkpoint(folder, "decoder"))
    config = BandsConfig("three steps")
    export_bands(folder / "models" / "tiny", config, checkpoint(folder, "prior"), checkpoint(folder, "latents"))
    return folder


def checkpoint(folder: Path, kind: str) -> Path:
    return folder / kind / CHECKPOINT


def train_part(
    part: str,
    photos: Path,
    run: Path,
    steps: int,
    start: Path | None = None,
    seed: int = 0,
    piece: float = math.inf,
    **more: object,
) -> bool:
    """A run of one stage of the family dct-bands. `more`: its settings, and sizes of its networks."""
    stage = {
        "name": run.name,
        "part": part,
        "steps": steps,
        "batch": 2,
        "crop": CROP,
        "reveals": 3,
        "start": str(start or "nothing"),
    }
    recipe = recipes.from_table({"family": "dct-bands", "description": "small", "stage": [stage | more]}, Path())
    return train_stage(recipe, recipe.stages[0], photos, Settings(run.parent, seed=seed, piece=piece))


def train_recipe(recipe: Path, data: Path, run: Path, *more: object) -> Result:
    words = ["model", recipe, "--data", data, "--run", run, *more]
    return CliRunner().invoke(train, [str(word) for word in words], catch_exceptions=False)


def log(folder: Path, kind: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / kind / "log.jsonl").read_text().splitlines()]


def tensors(path: Path, prefix: str) -> dict[str, Tensor]:
    with safe_open(path, "pt") as file:
        return {key.removeprefix(prefix): file.get_tensor(key) for key in file.keys() if key.startswith(prefix)}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


# --- runs


@pytest.mark.parametrize(("kind", "figure"), [("prior", "bsds bpp@50"), ("decoder", "bsds gain@50"), ("latents", "bsds bound@50")])
def test_a_run_leaves_a_checkpoint_and_a_log(runs: Path, kind: str, figure: str):
    (row,) = log(runs, kind)
    assert (row["step"], row["crops"]) == (3, 6)
    assert all(np.isfinite(value) for value in row.values()) and figure in row
    weights = tensors(checkpoint(runs, kind), "model.")
    average = tensors(checkpoint(runs, kind), AVERAGE)
    assert weights.keys() == average.keys() and not same(weights, average)
    assert all(tensor.isfinite().all() for tensor in [*weights.values(), *average.values()])
    assert {path.name for path in (runs / kind).iterdir()} - {loop.LOCK, BEGINNING} == {CHECKPOINT, "log.jsonl"}


@pytest.mark.parametrize(("kind", "model"), [("prior", PriorNetwork), ("decoder", Decoder)])
def test_every_weight_of_the_prior_and_of_the_mean_path_moves(runs: Path, kind: str, model: type[torch.nn.Module]):
    torch.manual_seed(0)
    before = dict(model().named_parameters())
    after = tensors(checkpoint(runs, kind), "model.")
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert still == {name for name in before if "latent" in name}


def test_latents_leave_the_mean_path_as_it_is(runs: Path):
    before = tensors(checkpoint(runs, "decoder"), AVERAGE)
    after = tensors(checkpoint(runs, "latents"), f"{AVERAGE}decoder.")
    assert before.keys() == after.keys()
    for name in before:
        assert torch.equal(before[name], after[name]) == ("latent" not in name), name


@pytest.mark.parametrize("part", ["prior", "decoder", "joint"])
def test_networks_are_trained_on_symbols_of_the_default_effort(photos: Path, runs: Path, tmp_path: Path, part: str):
    """Where a share of 1 is chosen, and the decoder paints well, symbols are others, and so is what is learned."""
    painter = {"painter": str(checkpoint(runs, "decoder").absolute())} if part == "prior" else {}
    rows = []
    for name, chosen in {"plain": {}, "moved": {"chosen": 1.0} | painter}.items():
        train_part(part, photos, tmp_path / name, 1, seed=4, **chosen)
        rows += log(tmp_path, name)
    assert rows[0]["loss"] != rows[1]["loss"] and np.isfinite(rows[1]["loss"])


@pytest.mark.parametrize("part", ["decoder", "joint"])
def test_units_of_bytes_are_those_of_the_weights_that_a_run_starts_from(photos: Path, tmp_path: Path, part: str):
    """Three runs: weights of the first were never rounded, those of the second were."""
    units, start = [], {}
    for name in ("first", "second", "third"):
        train_part(part, photos, tmp_path / name, 1, **start)
        start = {"start": str(checkpoint(tmp_path, name).absolute())}
        weights = tensors(checkpoint(tmp_path, name), "model.")
        units.append(torch.stack([weights[key] for key in sorted(weights) if key.endswith(("before.unit", "after.unit"))]))
    assert (units[0] != units[1]).all()
    assert torch.equal(units[1], units[2])


def test_a_prior_on_symbols_of_the_default_effort_needs_a_painter(photos: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="give its stage or file as painter"):
        train_part("prior", photos, tmp_path / "prior", 1, chosen=1.0)


def test_a_run_is_taken_up_where_it_was_left(photos: Path, tmp_path: Path):
    train_part("decoder", photos, tmp_path / "decoder", 2)
    first = tensors(checkpoint(tmp_path, "decoder"), "model.")
    assert train_part("decoder", photos, tmp_path / "decoder", 4)
    second = tensors(checkpoint(tmp_path, "decoder"), "model.")
    assert [(row["step"], row["crops"]) for row in log(tmp_path, "decoder")] == [(2, 4), (4, 8)]
    assert not same(first, second)
    optimiser_state = tensors(checkpoint(tmp_path, "decoder"), "optimiser.")
    assert {value.item() for key, value in optimiser_state.items() if key.endswith("count")} == {4}

    settings = Settings(tmp_path / "decoder", steps=4)  # nothing is left to do
    average = decoder.train_decoder(BandsConfig("", training=BandsTraining(crop=CROP)), photos, settings)
    assert same(average.state_dict(), tensors(checkpoint(tmp_path, "decoder"), AVERAGE))
    assert same(tensors(checkpoint(tmp_path, "decoder"), "model."), second)
    assert len(log(tmp_path, "decoder")) == 2


def test_a_run_may_be_done_in_pieces(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seconds = iter(range(0, 10**6, 7))
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(seconds))
    assert not train_part("decoder", photos, tmp_path / "decoder", 6, piece=1)
    (first,) = log(tmp_path, "decoder")
    assert 0 < first["step"] < 6 and "bsds psnr@50" not in first
    ends = [train_part("decoder", photos, tmp_path / "decoder", 6, piece=1) for _ in range(6)]
    assert ends == sorted(ends) and ends[-1]
    last = log(tmp_path, "decoder")[-1]
    assert last["step"] == 6 and "bsds psnr@50" in last


def test_a_run_may_be_as_long_as_some_minutes(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seconds = iter(range(0, 10**6, 7))
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(seconds))
    stage = {"name": "decoder", "part": "decoder", "minutes": 0.5, "batch": 2, "crop": CROP}
    recipe = recipes.from_table({"family": "dct-bands", "description": "small", "stage": [stage]}, Path())
    assert train_stage(recipe, recipe.stages[0], photos, Settings(tmp_path))
    assert 30 <= log(tmp_path, "decoder")[-1]["seconds"] < 60


def test_a_checkpoint_of_another_network_is_told(runs: Path, tmp_path: Path):
    for path in (checkpoint(runs, "prior"), tmp_path / "none.safetensors"):
        with pytest.raises(ModelError, match=path.name):
            load_weights(path, Decoder())


def test_a_seed_makes_a_run_repeatable(runs: Path, photos: Path, tmp_path: Path):
    train_part("decoder", photos, tmp_path / "same", 3)
    train_part("decoder", photos, tmp_path / "other", 3, seed=1)
    again, other, first = (
        tensors(path, "model.")["paint.bias"]
        for path in (checkpoint(tmp_path, "same"), checkpoint(tmp_path, "other"), checkpoint(runs, "decoder"))
    )
    assert torch.allclose(again, first, rtol=0.05, atol=1e-5)
    assert not torch.allclose(other, first, rtol=0.05, atol=1e-5)


# --- several processes


def test_one_run_is_not_trained_twice_at_a_time(photos: Path, tmp_path: Path):
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / loop.LOCK), pytest.raises(ConfigError, match="another process"):
        train_part("prior", photos, tmp_path / "run", 1)
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_processes_that_torchrun_starts_train_one_model(photos: Path, tmp_path: Path):
    recipe = tmp_path / "small.toml"
    stage = f"[[stage]]\nname = 'NAME'\npart = 'PART'\nsteps = 2\nbatch = 2\ncrop = {CROP}\nstart = 'START'\n"
    stages = [("joint", "joint", "nothing"), ("latents", "latents", "joint")]
    texts = [stage.replace("NAME", name).replace("PART", part).replace("START", start) for name, part, start in stages]
    recipe.write_text("family = 'dct-bands'\ndescription = 'small'\n" + "".join(texts))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--"]
    words = [Path(sys.executable).with_name("dctcodec"), "train", "model", recipe, "--threads", "1"]
    subprocess.run([*torchrun, *words, "--data", photos, "--run", tmp_path / "run"], check=True, timeout=300)
    for name in ("joint", "latents"):
        (row,) = log(tmp_path / "run", name)
        assert (row["step"], row["crops"]) == (2, 4)
    assert (tmp_path / "run" / "model" / PRIOR).exists()
    train_recipe(recipe, photos, tmp_path / "run")  # one process finds that it has ended
    assert log(tmp_path / "run", "latents") == [row]


def gradients_of_one_process(rank: int, folder: Path) -> None:
    """Of a weight that both processes need, one that only the second does, and one that neither does."""
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    model = torch.nn.ParameterList(torch.full((2, 3, 2, 2), 2.0).to(memory_format=torch.channels_last) for _ in range(3))
    weight = torch.arange(24).view(2, 3, 2, 2)
    sum((rank + 1) * weight * parameter for parameter in model[: rank + 1]).sum().backward()
    processes.average_gradients(model, 2)
    torch.distributed.destroy_process_group()
    save_file({str(n): p.grad.contiguous() for n, p in enumerate(model) if p.grad is not None}, folder / f"{rank}.safetensors")


def test_processes_average_their_gradients(tmp_path: Path):
    torch.multiprocessing.spawn(gradients_of_one_process, (tmp_path,), nprocs=2)
    weight = torch.arange(24.0).view(2, 3, 2, 2)
    for rank in range(2):
        gradients = load_file(tmp_path / f"{rank}.safetensors")
        assert gradients.keys() == {"0", "1"}
        assert torch.equal(gradients["0"], 1.5 * weight) and torch.equal(gradients["1"], weight)


def test_processes_have_equal_parts_of_a_batch(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert processes.local_batch(8) == 2
    with pytest.raises(ConfigError, match="batch = 6 .* 4 processes"):
        processes.local_batch(6)


def test_a_batch_is_of_all_processes_together(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match="4 processes"):
        train_part("prior", photos, tmp_path / "run", 1, batch=6)


def test_a_process_without_a_gpu_of_its_own_is_told(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    result = train_recipe(RECIPES / "flagship-1.toml", photos, tmp_path / "run", "--device", "cuda")
    assert result.exit_code == 2 and "this machine has 2" in result.output


@pytest.fixture(scope="module")
def plain_prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior without a forecast, to train on from."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("plain") / FLOAT_PRIOR
    path.write_bytes(float_prior(PriorNetwork(PriorShape())))
    return path


def test_the_forecast_is_trained_alone(photos: Path, plain_prior: Path, tmp_path: Path):
    sizes = {"forecast": {"width": 8, "coarse": 1}}
    train_part("forecast", photos, tmp_path / "prior", 2, plain_prior, seed=1, prior=sizes)
    before = load_weights(plain_prior, PriorNetwork(PriorShape())).state_dict()
    after = tensors(checkpoint(tmp_path, "prior"), "model.")
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert still == before.keys() == {name for name in after if not name.startswith("forecast.")}
    assert after["forecast.paint.weight"].any() and after["forecast.pool.weight"].any()  # both begin as 0


def test_training_begins_with_the_weights_that_ship(tmp_path: Path):
    config, model = recipes.read(RECIPES / "flagship-1.toml").stages[-1].config, installed.find("flagship-1")
    network, shipped = PriorNetwork(config.shape.prior, config.shape.kinds), load_file(model.path / PRIOR)
    sizes = {key: shipped[key].shape for key in to_integers(network)}
    assert sizes == {key: tensor.shape for key, tensor in to_integers(network).items()}
    decoder.expand_weights(Decoder(config.shape.decoder, config.shape.kinds), model.path / DECODER)
    network.load_state_dict(shipped_prior(model).state_dict())
    with pytest.raises(ModelError, match=f"there is no .*{FLOAT_PRIOR}"):
        load_weights(tmp_path / FLOAT_PRIOR, network)


def test_a_decoder_with_more_blocks_begins_as_the_one_it_starts_from(tmp_path: Path):
    torch.manual_seed(0)
    small, large = Decoder(DecoderShape((8, 8, 8, 8), (1, 1, 1, 1))), Decoder(DecoderShape((8, 8, 8, 8), (1, 2, 1, 3)))
    torch.nn.init.normal_(small.paint.weight, std=0.1)
    save_file(small.state_dict(), tmp_path / "small.safetensors")
    save_file(large.state_dict(), tmp_path / "large.safetensors")
    decoder.expand_weights(large, tmp_path / "small.safetensors")
    symbols, step = torch.randint(-2, 3, (1, len(CHANNELS), 2, 2)).float(), torch.full((1,), 40.0)
    assert torch.allclose(large(symbols, step), small(symbols, step), atol=1e-3)
    for other, name in ((small, "large"), (Decoder(DecoderShape((4, 8, 8, 8), (1, 1, 1, 1))), "small")):
        with pytest.raises(ModelError, match="not of this configuration"):
            decoder.expand_weights(other, tmp_path / f"{name}.safetensors")


def test_the_moves_of_an_encoder_lower_what_symbols_cost(photo):
    """The parities of moved symbols hold, about; of rounded ones every parity is sent."""
    codec = Codec("flagship-1", "cpu")
    painter, coded = codec.family.torch_decoder("psnr"), codec.family.prior
    original = torch.from_numpy(np.array(photo.crop((100, 80, 292, 240)))).permute(2, 0, 1)[None].float()
    steps = torch.full((1,), 50.0)
    rounded, partition = prior.symbols_of(original, steps, codec.family.kinds)
    moved = rounded + prior.moves(painter, original, rounded, steps, partition)
    costs = []
    for symbols, length in ((rounded, coded.whole_length), (moved, coded.code_length)):
        with torch.no_grad():
            error = (painter(symbols, steps, partition=partition) - original).square().sum().item()
        packed = blocks.packed(symbols[0].int(), partition[0]).numpy()
        costs.append(error + 50.0**2 / 5 * length(packed, 16 * 50))
    assert costs[1] < costs[0]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"decoder": {"blocks": [1, 2]}}, "list of 4 whole numbers"),
        ({"decoder": {"blocks": 3}}, "list of 4 whole numbers"),
        ({"decoder": {"widths": [10**20, 1, 1, 1]}}, "list of 4 whole numbers above 0, at most 1000000000"),
        ({"training": {"chosen": 2.0}}, "chosen = 2.0 should be a number from 0 up, at most 1$"),
        ({"training": {"learning_rate": 0.0}}, "learning_rate = 0.0 should be a number above 0, at most 1$"),
        ({"prior": {"depth": 2}}, "depth"),
        ({"prior": 3}, "prior must be a table"),
        ({"prior": {"forecast": 3}}, "prior.forecast must be a table"),
        ({"prior": {"forecast": {"width": "8"}}}, "width = '8' should be of type int"),
        ({"description": 3}, "description = 3"),
    ],
)
def test_a_wrong_configuration_of_bands_is_told(table: dict, words: str):
    with pytest.raises(ConfigError, match=words):
        config.from_table({"description": "a"} | table)


def test_a_configuration_needs_a_description():
    with pytest.raises(ConfigError, match="description"):
        config.from_table({})


# --- export


def test_what_is_exported_is_a_codec(runs: Path, make_picture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(installed, "_PLACES", (runs / "models",))
    (model,) = installed.installed()
    assert (model.name, model.description) == ("tiny", "three steps")
    codec = Codec("tiny", "cpu")
    image = make_picture(70, 50)
    data = codec.encode(image)
    assert codec.symbols(data)[0].model_id == model.model_id
    assert 0 <= 8 * len(data) - codec.code_length(data) < 8 * 28 + 64 + 0.01 * codec.code_length(data)
    back = codec.decode(data)
    assert np.abs(np.asarray(back, float) - np.asarray(image, float)).mean() < 12


def test_nothing_is_exported_where_a_checkpoint_does_not_fit(runs: Path, tmp_path: Path):
    with pytest.raises(ModelError, match="not of this configuration: .*Unexpected key"):
        export_bands(tmp_path / "model", BandsConfig("wrong"), checkpoint(runs, "prior"), checkpoint(runs, "prior"))
    assert not (tmp_path / "model").exists()


def test_a_decoder_may_be_trained_for_ms_ssim_and_exported_beside_the_other(
    runs: Path, photos: Path, tmp_path: Path, make_picture, monkeypatch: pytest.MonkeyPatch
):
    train_part("ms-ssim", photos, tmp_path / "tuned", 2)
    (row,) = log(tmp_path, "tuned")
    assert {"bsds psnr@50", "bsds ms-ssim@50"} <= row.keys() and all(np.isfinite(value) for value in row.values())
    sources = checkpoint(runs, "prior"), checkpoint(runs, "decoder"), checkpoint(tmp_path, "tuned")
    export_bands(tmp_path / "models" / "tuned", BandsConfig("two decoders"), *sources)
    monkeypatch.setattr(installed, "_PLACES", (tmp_path / "models",))
    codec, image = Codec("tuned", "cpu"), make_picture(70, 50)
    assert codec.family.tunes == TUNES
    plain, other = (np.asarray(codec.decode(codec.encode(image, tune=tune)), float) for tune in TUNES)
    assert 0 < np.abs(plain - other).mean() < 12


def test_the_prior_to_train_on_from_is_the_one_in_integers(runs: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(installed, "_PLACES", (runs / "models",))
    model = installed.find("tiny")
    again, shipped = to_integers(shipped_prior(model)), load_file(model.path / PRIOR)
    assert all(torch.equal(again[name], shipped[name]) for name in again if name.endswith((".weight", ".shift")))


def test_another_prior_has_another_identity(runs: Path, monkeypatch: pytest.MonkeyPatch):
    shipped = installed.find(installed.DEFAULT)
    monkeypatch.setattr(installed, "_PLACES", (runs / "models",))
    assert installed.find("tiny").model_id != shipped.model_id


# --- the paper's models


def vae_run(recipe: Path, run: Path, steps: int, part: str = "all", start: Path | None = None, **more: object) -> None:
    """A run of a recipe's only stage, with other settings; `recipe` lies beside the folder of its data."""
    table = configuration.table(recipe)
    stage = {"name": run.name, "part": part, "steps": steps, "start": str(start or "nothing")} | more
    whole = recipes.from_table(table | {"stage": [stage]}, Path())
    train_stage(whole, whole.stages[0], recipe.parent / "data", Settings(run.parent))


def config_of(recipe: Path) -> Config:
    (stage,) = recipes.read(recipe).stages
    return stage.config


def test_a_run_of_the_papers_model_is_as_long_as_its_recipe_says(paper_runs: Path):
    for name in ("tiny", "plain"):
        (row,) = log(paper_runs / name, "only")
        assert (row["step"], row["crops"]) == (3, 24)  # batches of 8
        assert row["bound"] == pytest.approx(row["reconstruction"] + row["divergence"] + row["context"], abs=1e-3)
        assert (row["context"] > 0) == (name == "tiny")
        weights = tensors(checkpoint(paper_runs / name, "only"), "model.")
        assert not same(weights, tensors(checkpoint(paper_runs / name, "only"), AVERAGE))


def test_every_weight_of_the_papers_model_moves(paper_runs: Path):
    torch.manual_seed(0)
    before = dict(PaperModel(config_of(paper_runs / "tiny.toml").shape).named_parameters())
    after = tensors(checkpoint(paper_runs / "tiny", "only"), "model.")
    still = {name for name, weight in before.items() if torch.equal(weight, after[name])}
    # the prior's head starts at zero, so in so few steps nothing below it has a gradient that matters
    assert all(name.startswith("prior.network.") and "head" not in name for name in still)


def test_a_run_of_the_papers_model_is_taken_up(paper_runs: Path, tmp_path: Path):
    vae_run(paper_runs / "tiny.toml", tmp_path / "run", 2)
    first = tensors(checkpoint(tmp_path, "run"), "model.")
    vae_run(paper_runs / "tiny.toml", tmp_path / "run", 4)
    assert [row["step"] for row in log(tmp_path, "run")] == [2, 4]
    second = tensors(checkpoint(tmp_path, "run"), "model.")
    assert not same(first, second)
    assert torch.equal(first["context.largest"], second["context.largest"])


@pytest.mark.parametrize("rate", [1e-3, 1e-2])
def test_the_rate_of_a_run_of_the_papers_model_is_its_recipes(paper_runs: Path, tmp_path: Path, rate: float):
    """Adam's first step moves each weight by the rate, of which the first step has a hundredth."""
    vae_run(paper_runs / "tiny.toml", tmp_path / "run", 1, "vae", learning_rate=rate)
    torch.manual_seed(0)
    before = dict(PaperModel(config_of(paper_runs / "tiny.toml").shape).named_parameters())
    after = tensors(checkpoint(tmp_path, "run"), "model.")
    farthest = max((after[name] - weight).abs().max().item() for name, weight in before.items())
    assert farthest == pytest.approx(rate / loop.WARMUP_STEPS, rel=0.05)


def test_processes_share_a_batch_of_the_papers_model(paper_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="batch = 8 cannot be divided by 3 processes"):
        vae_run(paper_runs / "tiny.toml", tmp_path / "run", 1)


def test_a_run_of_another_network_is_not_taken_up(paper_runs: Path):
    before = checkpoint(paper_runs / "tiny", "only").read_bytes()
    with pytest.raises(ModelError, match="not of this configuration"):
        vae_run(paper_runs / "plain.toml", paper_runs / "tiny" / "only", 9)
    assert checkpoint(paper_runs / "tiny", "only").read_bytes() == before


@pytest.mark.parametrize(("part", "moves"), [("prior", "prior."), ("vae", "vae.")])
def test_the_two_terms_of_the_papers_objective_may_be_trained_apart(paper_runs: Path, tmp_path: Path, part: str, moves: str):
    for folder, steps in (("short", 1), ("long", 3)):
        vae_run(paper_runs / "tiny.toml", tmp_path / folder, steps, part)
    short, long = (tensors(tmp_path / folder / CHECKPOINT, "model.") for folder in ("short", "long"))
    trained = {name for name, _ in PaperModel(config_of(paper_runs / "tiny.toml").shape).named_parameters()}
    changed = {name for name in trained if not torch.equal(short[name], long[name])}
    assert changed and all(name.startswith(moves) for name in changed)


def test_what_the_context_paints_may_be_trained():
    scale = Scale(side=8, latents=1, encoder=0, width=4, hidden=4)
    network = NetworkShape(3, 32, (scale,), 1, "logistic-mixture", True, offset=True)
    shape = ModelShape(network, ContextShape("dct", 6, 5), DiffusionShape(steps=2, width=8, scales=1, blocks=1))
    torch.manual_seed(0)
    model, images = PaperModel(shape), torch.rand(8, 3, 32, 32)
    model.fit(images)
    losses = []
    for paint in (0.0, 1.0):
        torch.manual_seed(0)
        training = Training(batch=8, learning_rate=1e-3, final_rate=1e-4, paint=paint)
        losses.append(vae.loss(model, sets.Images(images, images), training, "vae").item())
    with torch.no_grad():
        context = model.context_image(images[::4])
        error = (model.vae.generate(context, 2, temperature=0) - images[::4]).square().mean().item()
    assert losses[1] - losses[0] == pytest.approx(error / (2 * 0.05**2), rel=0.05)


def test_a_warm_up_raises_the_weight_of_the_latents_to_one():
    training = Training(batch=8, learning_rate=1e-3, final_rate=1e-4, warm_up=40)
    weights = vae.kl_weight(torch.tensor([0.0, 20, 40, 41]), training)
    assert weights.tolist() == pytest.approx([1e-3, 1e-3**0.5, 1, 1])
    assert vae.kl_weight(torch.zeros(()), Training(batch=8, learning_rate=1e-3, final_rate=1e-4)) == 1


def test_the_latents_weigh_what_they_are_told(paper_runs: Path):
    config, data = config_of(paper_runs / "plain.toml"), sets.load("mnist", paper_runs / "data")
    torch.manual_seed(0)
    model, images, losses = PaperModel(config.shape), data.images(data.training[:8]), []
    for weight in (0.0, 1.0, 0.25):
        torch.manual_seed(1)
        losses.append(vae.loss(model, images, config.training, weight=weight).item())
    assert losses[2] - losses[0] == pytest.approx((losses[1] - losses[0]) / 4, rel=1e-3)
    assert losses[1] > losses[0]


@pytest.mark.parametrize("started", [False, True], ids=["from nothing", "from weights"])
def test_a_warm_up_goes_on_where_a_run_is_taken_up(paper_runs: Path, tmp_path: Path, monkeypatch, started: bool):
    """A run from a model's weights has had its own: the latents weigh 1 from its first step."""
    save_file(PaperModel(config_of(paper_runs / "plain.toml").shape).state_dict(), tmp_path / "vae.safetensors")
    start = tmp_path / "vae.safetensors" if started else None
    seen, plain = [], vae.loss
    monkeypatch.setattr(vae, "loss", lambda *words: seen.append(words[-1]) or plain(*words))
    for steps in (2, 5):
        vae_run(paper_runs / "plain.toml", tmp_path / "run", steps, start=start, warm_up=3)
    assert seen == pytest.approx([1.0] * 5 if started else [1e-3, 1e-2, 1e-1, 1.0, 1.0])


def test_a_vaes_weights_begin_a_dct_vae(paper_runs: Path, tmp_path: Path):
    """One of fewer latents, whose context adds nothing at first."""
    start = tmp_path / "vae.safetensors"
    vae_weights = PaperModel(config_of(paper_runs / "plain.toml").shape).state_dict()
    save_file(vae_weights, start)
    scale = [table | {"latents": 1} for table in configuration.table(paper_runs / "tiny.toml")["scale"]]
    vae_run(paper_runs / "tiny.toml", tmp_path / "run", 1, start=start, learning_rate=1e-12, scale=scale)
    begun = tensors(checkpoint(tmp_path, "run"), "model.")
    common = begun.keys() & vae_weights.keys()
    assert {name for name in begun if name.startswith("vae.") and not name.startswith("vae.context.")} == common
    assert any(name.startswith("vae.blocks.1.1.") for name in vae_weights) and "vae.blocks.1.1.inject.weight" not in begun
    for name in common:
        assert torch.allclose(begun[name], vae_weights[name], atol=1e-9), name
    assert all(tensor.abs().max() < 1e-9 for name, tensor in begun.items() if name.startswith("vae.context."))
    assert torch.equal(begun["context.largest"], tensors(checkpoint(paper_runs / "tiny", "only"), "model.")["context.largest"])


def widened(text: str) -> str:
    return text.replace("width = 8\nhidden = 8", "width = 12\nhidden = 20")


@pytest.mark.parametrize("name", ["plain", "tiny"])
@pytest.mark.parametrize("norm", ["false", "true"], ids=["", "weight norm"])
def test_a_narrow_network_begins_a_wider_one_that_says_the_same(paper_runs: Path, tmp_path: Path, name: str, norm: str):
    text = (paper_runs / f"{name}.toml").read_text().replace("side = 8\n", f"side = 8\nweight_norm = {norm}\n")
    for file, content in (("narrow", text), ("wide", widened(text))):
        (tmp_path / f"{file}.toml").write_text(content)
    (tmp_path / "data").symlink_to(paper_runs / "data")
    torch.manual_seed(0)
    narrow, wide = (PaperModel(config_of(tmp_path / f"{file}.toml").shape) for file in ("narrow", "wide"))
    images = sets.load("mnist", paper_runs / "data").images(torch.randint(256, (6, 1, 8, 8))).target
    narrow.fit(images)
    for weight in narrow.vae.parameters():  # layers that begin as zero have something to say
        weight.data.add_(torch.randn_like(weight) / 10)
    save_file(narrow.state_dict(), tmp_path / "vae.safetensors")
    vae_run(tmp_path / "wide.toml", tmp_path / "run", 1, start=tmp_path / "vae.safetensors", learning_rate=1e-12)
    wide.load_state_dict(tensors(checkpoint(tmp_path, "run"), "model."))
    bounds = []
    for model in (narrow, wide):
        torch.manual_seed(1)
        bounds.append(model.bound(images).total().detach())
    assert wide.vae.blocks[0][0].residual[1].weight.shape[:2] == (20, 12)
    assert torch.allclose(*bounds, rtol=1e-5)


@pytest.mark.parametrize(("before", "after"), [("hidden = 20", "hidden = 8"), ("latent_width = 1", "latent_width = 2")])
def test_weights_of_more_channels_or_other_latents_begin_no_network(paper_runs: Path, tmp_path: Path, before: str, after: str):
    text = widened((paper_runs / "plain.toml").read_text())
    for file, content in (("before", text), ("after", text.replace(before, after))):
        (tmp_path / f"{file}.toml").write_text(content)
    save_file(PaperModel(config_of(tmp_path / "before.toml").shape).state_dict(), tmp_path / "vae.safetensors")
    (tmp_path / "data").symlink_to(paper_runs / "data")
    with pytest.raises(ModelError, match="not of this network"):
        vae_run(tmp_path / "after.toml", tmp_path / "run", 1, start=tmp_path / "vae.safetensors")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--piece", "inf"),
        ("--piece", "nan"),
        ("--piece", "-1"),
        ("--seed", str(2**64)),
        ("--seed", "-1"),
    ],
)
def test_pieces_and_seeds_have_a_range(paper_runs: Path, tmp_path: Path, option: str, value: str):
    result = train_recipe(paper_runs / "tiny.toml", paper_runs / "data", tmp_path / "run", option, value)
    assert result.exit_code == 2 and option in result.output and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [(None, "cannot read the weights"), ("vae.start", "not of this network"), ("stem.weight", "none of their names")],
)
def test_weights_that_cannot_begin_a_dct_vae_are_refused(paper_runs: Path, tmp_path: Path, name: str | None, said: str):
    start = tmp_path / "vae.safetensors"
    if name:
        save_file({name: torch.zeros(1, 3, 2, 2)}, start)
    else:
        start.write_bytes(b"no weights")
    with pytest.raises(ModelError, match=said):
        vae_run(paper_runs / "tiny.toml", tmp_path / "run", 1, start=start)


def test_a_step_is_of_no_more_images_than_there_are(paper_runs: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"a step of 60 images is more than the 48 to train on"):
        vae_run(paper_runs / "tiny.toml", tmp_path / "run", 1, batch=30)


def test_several_draws_train_a_nearer_bound_and_every_part(paper_runs: Path):
    torch.manual_seed(0)
    model, data = PaperModel(config_of(paper_runs / "tiny.toml").shape), sets.load("mnist", paper_runs / "data")
    images = data.images(data.training[:8])
    model.fit(images.seen)
    means = {}
    for draws in (1, 2, 8):
        training = Training(batch=8, learning_rate=1e-3, final_rate=1e-4, draws=draws)
        with torch.no_grad():
            means[draws] = np.mean([vae.loss(model, images, training).item() for _ in range(12)])
    assert means[8] < means[2] < means[1]
    vae.loss(model, images, training).backward()
    slopes = {name.split(".")[0] for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert slopes == {"vae", "prior"}


def test_several_draws_have_no_parts_to_train_apart(paper_runs: Path, tmp_path: Path):
    vae_run(paper_runs / "tiny.toml", tmp_path / "run", 1, prior_images=1, draws=2)
    with pytest.raises(ConfigError, match='part = "all"'):
        vae_run(paper_runs / "tiny.toml", tmp_path / "other", 1, "vae", prior_images=1, draws=2)


def test_validation_leaves_the_runs_random_numbers_alone(paper_runs: Path):
    model, images = PaperModel(config_of(paper_runs / "tiny.toml").shape), sets.load("mnist", paper_runs / "data")
    torch.manual_seed(3)
    first = vae.validate(model, images)
    drawn = torch.randn(5)
    torch.manual_seed(3)
    assert torch.equal(torch.randn(5), drawn)
    assert vae.validate(model, images) == first


class Slope(torch.nn.Module):
    """One weight at 0, for a loss as steep as one likes."""

    def __init__(self, shape: None = None):
        super().__init__()
        self.shape = shape
        self.weight = torch.nn.Parameter(torch.zeros(()))


@pytest.mark.parametrize(
    ("limits", "slope", "moved"),
    [
        ({}, 8.0, -24.0),
        ({"clip": 0.5}, 8.0, -1.5),
        ({"clip": 10.0}, 8.0, -24.0),
        ({"clip": 0.5, "skip": 9.0}, 8.0, -1.5),
        ({"clip": 0.5, "skip": 7.0}, 8.0, 0.0),
        ({"skip": 100.0}, float("nan"), 0.0),
    ],
)
def test_gradients_are_clipped_and_bad_steps_skipped(tmp_path: Path, limits: dict[str, float], slope: float, moved: float):
    model = Slope()
    settings = Settings(tmp_path, steps=3, learning_rate=1.0, schedule=lambda step, fraction: 1.0, **limits)
    sgd = torch.optim.SGD(model.parameters(), 1.0)
    batches = lambda count: torch.zeros(count)  # noqa: E731
    loop.train(model, sgd, lambda model, batch, step: slope * model.weight, lambda average: {}, batches, settings)
    assert model.weight.item() == pytest.approx(moved, rel=1e-4)


def test_a_last_validation_that_was_interrupted_is_made_up_for(tmp_path: Path):
    def run(validate) -> None:
        model, settings = Slope(), Settings(tmp_path / "run", steps=3)
        sgd = torch.optim.SGD(model.parameters(), 1.0)
        loop.train(model, sgd, lambda model, batch, step: model.weight.sum(), validate, torch.zeros, settings)

    def interrupted(average: Slope) -> dict[str, float]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(interrupted)
    run(lambda average: {"figure": 1.0})
    assert [(row["step"], row["figure"]) for row in log(tmp_path, "run")] == [(3, 1.0)]


def test_the_cosine_warms_up_and_falls_to_the_final_rate():
    factor = loop.cosine(0.1)
    assert factor(0, 0) == pytest.approx(1 / loop.WARMUP_STEPS)
    late = [factor(loop.WARMUP_STEPS, fraction) for fraction in (0, 0.25, 0.5, 1, 1.2)]
    assert late == pytest.approx([1, 0.1 + 0.45 * (1 + 0.5**0.5), 0.55, 0.1, 0.1])


# --- photographs


def test_missing_photographs_are_said(tmp_path: Path):
    with pytest.raises(DataError, match="no photographs in .*bsds"):
        photographs.photo_files(tmp_path)


def test_photographs_that_are_too_small_are_said(photos: Path):
    with pytest.raises(DataError, match="400 pixels"):
        photographs.Photos(sorted((photos / "bsds").iterdir()), 400)


def test_a_damaged_photograph_is_named(photos: Path, tmp_path: Path):
    (tmp_path / "half.jpg").write_bytes((photos / "bsds" / "00.jpg").read_bytes()[:700])
    for opened in (photographs.centre_crops, lambda files: photographs.Photos(files, CROP)):
        with pytest.raises(DataError, match=r"cannot read the photograph .*half\.jpg"):
            opened([tmp_path / "half.jpg"])


def test_held_out_photographs_are_cropped_to_the_same_tiles(tmp_path: Path, make_picture):
    for number, size in enumerate([(500, 400), (330, 500), (300, 170)]):
        make_picture(*size).save(tmp_path / f"{number}.png")
    files = sorted(tmp_path.iterdir())
    assert photographs.centre_crops(files[:2]).shape == (2, 3, 320, 480)
    assert photographs.centre_crops(files).shape == (3, 3, 160, 288)
    make_picture(20, 90).save(tmp_path / "3.png")
    with pytest.raises(DataError, match="smaller than 32 pixels"):
        photographs.centre_crops(sorted(tmp_path.iterdir()))


def test_a_tenth_of_two_folders_is_held_out_and_other_folders_are_only_trained_on(tmp_path: Path):
    for name, suffix in (("bsds", "jpg"), ("large", "avif"), ("more", "PNG")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "SOURCES.md").write_text("whence they are")
        for number in range(11):
            (tmp_path / name / f"{number:02}.{suffix}").write_bytes(b"")
    training, held_out = photographs.photo_files(tmp_path)
    names = [f"{path.parent.name}/{path.name}" for path in held_out]
    assert names == ["bsds/00.jpg", "bsds/10.jpg", "large/00.avif", "large/10.avif"]
    assert not set(training) & set(held_out) and len(training) == 9 + 9 + 11


def test_photographs_of_any_format_are_read_at_the_sizes_of_their_folder(tmp_path: Path, make_picture):
    (tmp_path / "large").mkdir()
    make_picture(200, 100).save(tmp_path / "large" / "0.avif", quality=90)
    crops = photographs.Photos([tmp_path / "large" / "0.avif"], CROP - 4)
    assert [image.shape for image in crops.images[:2]] == [(3, 100, 200), (3, 60, 120)]


def test_figures_are_told_by_folder(tmp_path: Path, make_picture):
    for name in ("bsds", "large"):
        (tmp_path / name).mkdir()
        make_picture(64, 64, seed=len(name)).save(tmp_path / name / "0.png")
    sets = photographs.held_out_sets(sorted(tmp_path.glob("*/*")))
    figures = photographs.figures_of_sets(lambda pictures: {"mean": pictures.float().mean().item()}, sets)
    assert figures == {f"{name} mean": sets[name].float().mean().item() for name in ("bsds", "large")}


def test_crops_are_random_parts_of_the_photographs(photos: Path):
    torch.manual_seed(0)
    files = sorted((photos / "bsds").iterdir())[:1]
    crops = photographs.Photos(files, CROP)
    batch = crops.batch(6)
    assert (batch.shape, batch.dtype) == ((6, 3, CROP, CROP), torch.uint8)
    assert len({crop.numpy().tobytes() for crop in batch}) == 6
    colours = {tuple(pixel) for image in crops.images for pixel in image.permute(1, 2, 0).reshape(-1, 3).tolist()}
    assert {tuple(pixel) for pixel in batch.permute(0, 2, 3, 1).reshape(-1, 3).tolist()} <= colours


def test_a_fiftieth_of_the_crops_are_of_drawings(photos: Path):
    torch.manual_seed(0)
    crops = photographs.Photos(sorted((photos / "bsds").iterdir()), CROP)
    (drawn,) = drawings(1, photographs.DRAWING)
    assert np.array_equal(crops.images[-1].permute(1, 2, 0).numpy(), drawn)
    assert crops.weights[-1] == pytest.approx(photographs.DRAWN) and crops.weights.sum() == pytest.approx(1)


def test_many_photographs_get_several_drawings_of_the_same_weight(photos: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(photographs, "DRAWING", CROP)
    monkeypatch.setattr(photographs, "DRAWN", 0.2)
    crops = photographs.Photos(sorted((photos / "bsds").iterdir()), CROP)
    same = crops.weights == crops.weights[-1]
    assert same.sum() > 1 and crops.weights[same].sum() == pytest.approx(0.2)


def test_drawings_are_the_same_for_a_seed_and_unlike_each_other():
    first, again, other = drawings(3, 80, 1), drawings(3, 80, 1), drawings(3, 80, 2)
    assert all(picture.shape == (80, 80, 3) and picture.dtype == np.uint8 for picture in first)
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert len({picture.tobytes() for picture in [*first, *other]}) == 6


# --- the parts of the loss


def test_steps_and_reveals_cover_their_range_evenly():
    torch.manual_seed(0)
    steps = prior.random_steps(64)
    low, high = prior.STEP_RANGE
    assert low <= steps.min() < low * 1.1 and high / 1.1 < steps.max() <= high
    reveals = prior.random_reveals(8, 3)
    assert reveals.shape == (8, 3)
    assert reveals.flatten().bincount(minlength=len(REVEALS)).unique().tolist() == [2]


def test_reveal_bits_count_the_tiles_of_the_reveal_only():
    symbols = torch.randint(-2, 3, (REVEALS[-1].stop, 4, 3))
    first, second = REVEALS[0], REVEALS[1]
    assert (first.start, first.stop, first.parity, second.parity) == (second.start, second.stop, 0, 1)
    mean, scale = torch.zeros(first.stop, 4, 3), torch.full((first.stop, 4, 3), 20.0)
    each = code_bits(symbols[: first.stop], mean, scale)
    assert (prior.reveal_bits(symbols, 0, mean, scale) + prior.reveal_bits(symbols, 1, mean, scale)).item() == pytest.approx(
        each.sum().item()
    )


@pytest.mark.parametrize("scale", [0, 20, 45])
@pytest.mark.parametrize("mean", [0, 7, -100])
def test_code_bits_are_those_of_a_distribution(scale: int, mean: int):
    symbols = torch.arange(-4000, 4001, dtype=torch.float64)
    bits = code_bits(symbols, torch.full_like(symbols, mean), torch.full_like(symbols, scale))
    assert torch.exp2(-bits).sum().item() == pytest.approx(1, abs=1e-6)
    assert symbols[bits.argmin()].item() == round(mean / 16)


# --- the optimiser


@pytest.mark.parametrize("shape", [(64, 64), (40, 200), (200, 40)])
def test_orthogonalised_has_singular_values_near_one(shape: tuple[int, int]):
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    result = optimiser.orthogonalised(matrix)
    values = torch.linalg.svdvals(result)
    assert values.max() < 1.3 and values.quantile(0.1) > 0.6
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.nn.functional.cosine_similarity(result.flatten(), (left @ right).flatten(), 0) > 0.95


def test_the_optimiser_finds_a_minimum():
    torch.manual_seed(0)
    model = torch.nn.Linear(6, 4)
    target, inputs = torch.nn.Linear(6, 4), torch.randn(64, 6)
    steps = optimiser.Optimiser(model, 0.05)
    losses = []
    for number in range(200):
        for group in steps.param_groups:
            group["lr"] = 0.05 * (1 - number / 200)
        value = (model(inputs) - target(inputs).detach()).square().mean()
        steps.zero_grad()
        value.backward()
        steps.step()
        losses.append(value.item())
    assert losses[-1] < 1e-2 * losses[0]


def test_the_optimiser_moves_what_is_seldom_needed_no_further():
    torch.manual_seed(0)
    model = torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(3)) for _ in range(2)])
    steps = optimiser.Optimiser(model, 0.01)
    for number in range(60):
        before = [parameter.detach().clone() for parameter in model]
        needed = [number % 7 == 6, number % 3 > 0]
        for parameter, is_needed in zip(model, needed, strict=True):
            parameter.grad = torch.full((3,), 2.0) if is_needed else None
        steps.step()
        for parameter, old, is_needed in zip(model, before, needed, strict=True):
            moved = (parameter.detach() - old).abs().max().item()
            assert 0 < moved < 0.011 if is_needed else moved == 0


def test_the_rate_warms_up_stays_and_falls_to_zero():
    assert loop.rate_factor(0, 0) == pytest.approx(1 / loop.WARMUP_STEPS)
    assert [loop.rate_factor(loop.WARMUP_STEPS + n, n / 30) for n in range(10)] == [1] * 10
    falling = [loop.rate_factor(10_000, 1 / 3 + n * 2 / 30) for n in range(11)]
    assert falling == pytest.approx([1 - n / 10 for n in range(11)])

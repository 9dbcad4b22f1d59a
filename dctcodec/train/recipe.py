"""Recipes: TOML files that say how a model is made, models/recipes/*.toml.

    family = "dct-vae"              # dct-bands, dct-vae (a codec) or vae (evaluation only)
    data = "mnist"                  # of the paper's models: cifar10, mnist, omniglot or photos
    description = "..."
    [network]                       # sizes; the names are the fields of the dataclasses in bands/config.py and vae/config.py
    [[stage]]
    name = "first"                  # and folder of its run
    part = "all"                    # what is trained: PARTS
    steps = 1_000                   # length; or minutes
    learning_rate = 1e-3            # and other fields of the training

A stage begins with the weights of the stage before it; `start` names another one, a file of weights (NAME.safetensors, beside the
recipe), or "nothing". Where a share of the crops has symbols of the default effort (`chosen`), the decoder that paints them is the
one that is trained; for a prior, `painter` names it, as `start` does. A stage has the sizes and settings of the stage before it but
for those that it gives itself: settings as above, sizes as [stage.network] and so on. Its length, `start`, `painter` and `data` are
its own. A recipe may extend another (`configuration.table`); its stages then replace those of the other.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dctcodec import configuration
from dctcodec.bands import config as bands_config
from dctcodec.bands.config import BandsConfig
from dctcodec.configuration import make, merged
from dctcodec.errors import ConfigError
from dctcodec.vae import config as vae_config
from dctcodec.vae.config import Config

NOTHING = "nothing"
MODEL = "model"
"""Folder of a run that the finished model is written to."""
_NAME = re.compile("[a-z0-9][a-z0-9-]*")
_LENGTH = {"steps", "minutes"}

PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "dct-bands": {
        "joint": ("prior", "decoder"),
        "prior": ("prior",),
        "forecast": ("prior",),
        "decoder": ("decoder",),
        "latents": ("decoder",),
        "ms-ssim": ("decoder",),
    },
    "vae": {"all": ("model",), "vae": ("model",), "prior": ("model",)},
}
"""What a stage may train, by family, and the networks that its checkpoint then holds. Of dct-bands: prior and decoder together;
the prior, or its forecast alone; the decoder, or its latents alone; a second decoder, for MS-SSIM. Of the paper's models: all, or
one of the two parts, which share no parameter."""
PARTS["dct-vae"] = PARTS["vae"]
_VERBS = {"start": "start from", "painter": "be painted by"}
PAINTED = ("prior", "forecast")
"""Parts that may be trained on symbols for which an image was painted by another network."""


@dataclass(frozen=True)
class Stage:
    """One run. `start`: name of the stage, or the file, whose weights it begins with, None for nothing; `data`: name of the data
    set; `table`: what `config` was made of; `painter`: name of the stage, or the file, whose decoder paints."""

    name: str
    part: str
    start: str | Path | None
    data: str
    config: BandsConfig | Config
    table: dict[str, Any]
    painter: str | Path | None = None


@dataclass(frozen=True)
class Recipe:
    """`stages`: at least one, in order."""

    family: str
    stages: tuple[Stage, ...]

    def stage(self, name: str) -> Stage:
        """Raises ConfigError where there is none of that name."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise ConfigError(f"there is no stage {name!r}; the recipe has {', '.join(stage.name for stage in self.stages)}")

    def within(self, minutes: float) -> "Recipe":
        """The same recipe, all stages together as long as that: each has its share of the minutes that it says. Raises ConfigError
        where one says its steps."""
        total = sum(stage.config.training.minutes for stage in self.stages)
        if any(stage.config.training.steps for stage in self.stages):
            raise ConfigError("--minutes is for recipes whose stages all give minutes: this one gives steps")
        return replace(self, stages=tuple(_scaled(stage, minutes / total) for stage in self.stages))

    def last(self, *parts: str) -> Stage | None:
        """The last stage that trains one of some parts."""
        return next((stage for stage in reversed(self.stages) if stage.part in parts), None)


def _scaled(stage: Stage, factor: float) -> Stage:
    config: Any = stage.config  # of either family
    return replace(stage, config=replace(config, training=replace(config.training, minutes=factor * config.training.minutes)))


@dataclass(frozen=True)
class _Heading:
    """What a stage says besides sizes and settings."""

    name: str
    part: str
    start: str | None = None
    data: str | None = None
    painter: str | None = None


def read(path: Path) -> Recipe:
    """The recipe in a TOML file. Raises ConfigError, which says what is wrong in it."""
    return configuration.read(path, lambda table: from_table(table, path.parent))


def from_table(table: dict[str, Any], folder: Path) -> Recipe:
    """The recipe of a parsed table; `folder`: where its files of weights are. Raises ConfigError."""
    common = dict(table)
    family, tables = common.pop("family", None), common.pop("stage", None)
    if not isinstance(family, str) or family not in PARTS:
        raise ConfigError(f"family = {family!r} is none of {', '.join(PARTS)}")
    if not (isinstance(tables, list) and tables and all(isinstance(one, dict) for one in tables)):
        raise ConfigError("a recipe needs one or more tables [[stage]]")
    stages: list[Stage] = []
    for own in tables:
        try:
            stages.append(_stage(family, dict(own), stages[-1].table if stages else common, stages, folder))
        except ConfigError as error:
            raise ConfigError(f"[[stage]] {own.get('name', len(stages) + 1)}: {error}") from error
    if family == "dct-vae" and not stages[-1].config.shape.prior:
        raise ConfigError("a model of the family dct-vae needs a [context]")
    return Recipe(family, tuple(stages))


def _stage(family: str, own: dict[str, Any], before: dict[str, Any], stages: list[Stage], folder: Path) -> Stage:
    heading = make(_Heading, {name: own.pop(name) for name in ("name", "part", "start", "data", "painter") if name in own}, "stage")
    sizes = {name: value for name, value in own.items() if isinstance(value, dict) or name == "scale"}
    settings = {name: value for name, value in own.items() if name not in sizes}
    if len(settings.keys() & _LENGTH) != 1:
        raise ConfigError("give the length of the stage: either steps or minutes")
    kept = {name: value for name, value in _training(before).items() if name not in _LENGTH}
    table = merged(before | {"training": kept}, merged(sizes, {"training": settings}))
    config = (bands_config if family == "dct-bands" else vae_config).from_table(table)
    if not config.training.steps and not config.training.minutes:
        raise ConfigError("the length of the stage should be above 0")
    _check(family, heading, {stage.name for stage in stages})
    data = "photos" if family == "dct-bands" else heading.data or config.data
    begun = heading.start or (stages[-1].name if stages else NOTHING)
    known = {stage.name: PARTS[family][stage.part] for stage in stages}
    start = _weights("start", begun, PARTS[family][heading.part], known, folder)
    painter = _weights("painter", heading.painter or NOTHING, ("decoder",), known, folder)
    return Stage(heading.name, heading.part, start, data, config, table, painter)


def _training(table: dict[str, Any]) -> dict[str, Any]:
    training = table.get("training", {})
    if not isinstance(training, dict):
        raise ConfigError("training must be a table: [training]")
    return training


def _check(family: str, heading: _Heading, names: set[str]) -> None:
    if not _NAME.fullmatch(heading.name) or heading.name in (NOTHING, MODEL):
        raise ConfigError(f"name = {heading.name!r} should be of small letters, digits and -, and not {NOTHING} or {MODEL}")
    if heading.name in names:
        raise ConfigError("an earlier stage has the same name")
    if heading.part not in PARTS[family]:
        raise ConfigError(f"part = {heading.part!r} is none of {', '.join(PARTS[family])}")
    if heading.data and family == "dct-bands":
        raise ConfigError("data means nothing there: models of the family dct-bands are trained on photographs")
    if heading.painter and heading.part not in PAINTED:
        raise ConfigError(f"painter means nothing there: it is for the parts {' and '.join(PAINTED)}")


def _weights(key: str, value: str, parts: tuple[str, ...], known: dict[str, tuple[str, ...]], folder: Path) -> str | Path | None:
    """The stage or the file that the value of `start` or `painter` names, if it holds these parts; `known`: those of the stages
    before."""
    if value == NOTHING:
        return None
    if value.endswith(".safetensors"):
        return folder / value
    if value not in known:
        raise ConfigError(f"{key} = {value!r} is no stage before it, nor a file NAME.safetensors, nor {NOTHING!r}")
    if missing := set(parts) - set(known[value]):
        raise ConfigError(f"it cannot {_VERBS[key]} {value}, which has no {' and no '.join(sorted(missing))}: give another {key}")
    return value

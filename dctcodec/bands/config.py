"""Configurations of dct-bands models: what a recipe says of the sizes of both networks, and of a stage of their training."""

from dataclasses import dataclass
from typing import Any

from dctcodec.bands.blocks import kinds_of
from dctcodec.bands.decoder import DecoderShape
from dctcodec.bands.prior import PriorShape
from dctcodec.configuration import Count, Rate, Share, check_names, make
from dctcodec.errors import ConfigError, ModelError


@dataclass(frozen=True)
class BandsShape:
    """Sizes of both networks. `blocks`: names of the kinds of blocks that a tile may have, none where all are 32x32."""

    prior: PriorShape = PriorShape()
    decoder: DecoderShape = DecoderShape()
    blocks: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[int, ...]:
        """Their numbers."""
        return kinds_of(self.blocks)


@dataclass(frozen=True)
class BandsTraining:
    """How a stage trains. Its length is `steps`, or `minutes` over all restarts; `batch`: images a step, of all processes together;
    `learning_rate`: peak, in root mean square a step; `crop`: side of a training image, pixels; `reveals`: of each image, that the
    prior learns from; `chosen`: share of the images whose symbols are those of the default effort."""

    steps: int = 0
    minutes: float = 0.0
    batch: Count = 8
    learning_rate: Rate = 1e-3
    crop: Count = 192
    reveals: Count = 1
    chosen: Share = 0.0


@dataclass(frozen=True)
class BandsConfig:
    description: str
    shape: BandsShape = BandsShape()
    training: BandsTraining = BandsTraining()


def from_table(table: dict[str, Any]) -> BandsConfig:
    """The configuration of a parsed table with the tables prior, decoder and training. Raises ConfigError."""
    check_names(table, {"description", "blocks", "prior", "decoder", "training"}, "the file")
    parts = dict(table)
    sizes = make(PriorShape, parts.pop("prior", {}), "prior"), make(DecoderShape, parts.pop("decoder", {}), "decoder")
    shape = BandsShape(*sizes, _blocks(parts.pop("blocks", [])))
    training = make(BandsTraining, parts.pop("training", {}), "training")
    return make(BandsConfig, parts | {"shape": shape, "training": training}, "the file")


def _blocks(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list):
        raise ConfigError(f"blocks = {names!r} should be a list of sizes")
    try:
        kinds_of(names)
    except ModelError as error:
        raise ConfigError(str(error)) from error
    return tuple(names)

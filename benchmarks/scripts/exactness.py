"""How far the exact integers are from the float network they came from, and whether all arithmetics agree.

    python benchmarks/scripts/exactness.py --data KODAK --json benchmarks/exactness.json

For every image and quality: code length of the symbols, with every parity, under the float network as trained and under the shipped
integers; the code length without the implied parities, and the size of the file; and whether NumPy, onnxruntime and torch (on CUDA
too, where there is one) give the same distributions and, at the last quality, the same pixels, bit for bit."""

from pathlib import Path

import click
import numpy as np
import torch
from safetensors.numpy import load_file
from tqdm import tqdm

from dctcodec.bands import blocks
from dctcodec.bands.exact_prior import ExactPrior
from dctcodec.bands.masked import MaskedPrior
from dctcodec.bands.order import REVEALS
from dctcodec.bands.painter import Painter
from dctcodec.bands.prior import PriorNetwork
from dctcodec.codec import Codec
from dctcodec.container import parse
from dctcodec.evaluate import machine, report
from dctcodec.exact.planes import Arithmetic
from dctcodec.family import DECODER, PRIOR
from dctcodec.image import read_image
from dctcodec.installed import DEFAULT
from dctcodec.train.export import shipped_prior
from dctcodec.train.prior import reveal_bits

QUALITIES = (10.0, 50.0, 90.0)


def float_bits(network: PriorNetwork, symbols: np.ndarray, step: float) -> float:
    """Code length in bits of symbols, with their partition if they have one, under the float network."""
    coded, partition = blocks.unpacked(torch.from_numpy(symbols))
    floats, steps, told = coded.float(), torch.tensor([step]), None if partition is None else partition[None]
    outputs = network(floats[None], torch.log(steps), torch.arange(len(REVEALS))[None], partition=told)
    bits = sum(reveal_bits(floats, reveal, *output).item() for reveal, output in enumerate(outputs))
    return bits if told is None else bits + network.partition.code.bits(told, steps).item()


def arithmetics() -> dict[str, Arithmetic]:
    """Every arithmetic that this machine can run."""
    found = {f"{kind} by NumPy": Arithmetic(kind) for kind in ("float64", "float32")}
    found |= {"float32 by onnxruntime": Arithmetic("graph"), "float32 by torch": Arithmetic("float32", torch.device("cpu"))}
    if torch.cuda.is_available():
        found["float64 on " + torch.cuda.get_device_name()] = Arithmetic("float64", torch.device("cuda"))
    return found


def agree(priors: list[MaskedPrior], symbols: np.ndarray, step16: int) -> bool:
    """Whether all priors give every symbol the same distribution."""
    first, *others = (np.stack(prior.distributions(symbols, step16)) for prior in priors)
    return all(np.array_equal(first, other) for other in others)


def same_image(painters: list[Painter], symbols: np.ndarray, step16: int) -> bool:
    """Whether all painters give every pixel the same value, before it is rounded."""
    coded, partition = blocks.unpacked(symbols)
    first, *others = (painter.paint(coded, step16, 0.0, 0, partition) for painter in painters)
    return all(np.array_equal(first, other) for other in others)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of PNG images.")
@click.option("--model", default=DEFAULT, show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures here.")
@torch.no_grad()
def main(data: Path, model: str, json_path: Path | None) -> None:
    """Compare float and exact code lengths and file sizes, and the arithmetics."""
    codec = Codec(model, "cpu")
    prior = codec.family.prior
    network = shipped_prior(codec.model)
    integers = load_file(codec.model.path / PRIOR)
    priors = {kind: MaskedPrior(ExactPrior(integers, how), prior.tables) for kind, how in arithmetics().items()}
    decoder = load_file(codec.model.path / DECODER)
    painters = [Painter(decoder, codec.family.kinds, how) for how in arithmetics().values()]
    rows, equal, painted_alike = [], True, True
    for path in tqdm(sorted(data.glob("*.png"))):
        for quality in QUALITIES:
            file = codec.encode(read_image(path), quality)
            header, symbols = codec.symbols(file)
            exact, whole = (length(symbols, header.step16) for length in (prior.code_length, prior.whole_length))
            rows.append((float_bits(network, symbols, header.step), whole, exact, 8 * len(parse(file).payload)))
        equal = equal and agree(list(priors.values()), symbols, header.step16)
        painted_alike = painted_alike and same_image(painters, symbols, header.step16)
    floats, wholes, exacts, payloads = (sum(column) for column in zip(*rows, strict=True))
    figures = {
        "machine": machine.describe(),
        "model": model,
        "count": len(rows) // len(QUALITIES),
        "qualities": QUALITIES,
        "exact_over_float_code_length": wholes / floats,
        "payload_over_exact_code_length": payloads / exacts,
        "worst_payload_over_exact_code_length": max(payload / exact for *_, exact, payload in rows),
        "arithmetics": list(priors),
        "arithmetics_agree_bit_for_bit": equal,
        "pixels_agree_bit_for_bit": painted_alike,
    }
    report.emit(figures, json_path)


if __name__ == "__main__":
    main()

"""Against CompressAI itself, in the environment that has it (bin/test makes one)."""

import importlib.util
import json
from pathlib import Path

import pytest
from PIL import Image
from test_bench import photo

from dctcodec import metrics
from dctcodec.evaluate import report
from dctcodec.evaluate.baselines import JPEG
from dctcodec.evaluate.kodak import ImageSet
from dctcodec.evaluate.measure import measure

pytest.importorskip("compressai", reason="compressai is not installed: pip install -e .[compressai], or run bin/test")


@pytest.fixture
def evaluation():
    """CompressAI's eval module; its import sets torch to one thread, which is undone."""
    import torch

    threads, deterministic = torch.get_num_threads(), torch.backends.cudnn.deterministic
    from compressai.utils.eval_model import __main__ as module

    yield module
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = deterministic


@pytest.mark.parametrize("quality", [5, 40, 90])
def test_psnr_and_ms_ssim_are_those_of_compressai_s_eval(evaluation, quality: int):
    from torchvision.transforms.functional import to_tensor

    image = photo(240, 200, quality)
    decoded = JPEG.decode(JPEG.encode(image, quality))
    theirs = evaluation.compute_metrics(to_tensor(image)[None], to_tensor(decoded)[None])
    assert metrics.psnr(image, decoded) == pytest.approx(theirs["psnr-rgb"], abs=1e-4)
    assert metrics.ms_ssim(image, decoded) == pytest.approx(theirs["ms-ssim-rgb"], abs=1e-6)


@pytest.mark.parametrize("metric", ["psnr", "ms-ssim"])
def test_compressai_s_plot_reads_a_codec_of_our_json(tmp_path: Path, metric: str):
    from compressai.utils.plot.__main__ import parse_json_file

    path = tmp_path / "a.png"
    photo(192, 176).save(path)
    result = report.Result("JPEG", "", measure(JPEG, [path], [10, 50]))
    (codec,) = report.document([result], 1, ImageSet("one", (path,)), {})["codecs"]
    (tmp_path / "jpeg.json").write_text(json.dumps(codec))
    parsed = parse_json_file(tmp_path / "jpeg.json", metric)
    bpp, values = zip(*result.curve(metric.replace("-", "_")), strict=True)
    assert parsed["name"] == "JPEG"
    assert tuple(parsed["xs"]) == bpp
    assert tuple(parsed["ys"]) == pytest.approx(values)


def test_the_speed_comparison_runs_on_a_small_picture():
    speed = _speed()
    seconds = speed.compare(photo(128, 96), "flagship-1", 50, 1, 3)
    assert set(seconds) == {"dctcodec", "bmshj2018-hyperprior"}
    assert all(times[step] > 0 for times in seconds.values() for step in ("encode", "decode"))


def test_the_hyperprior_gives_back_a_picture_of_the_padded_size():
    encode, decode = _speed().hyperprior_steps(Image.new("RGB", (100, 70)), 3)
    assert decode(encode())["x_hat"].shape == (1, 3, 128, 128)


def _speed():
    path = Path(__file__).parent.parent / "benchmarks" / "scripts" / "speed.py"
    spec = importlib.util.spec_from_file_location("speed", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

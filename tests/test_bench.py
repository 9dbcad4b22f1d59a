"""The bench: its measures, its curves, where it finds images, and what a whole run prints and stores."""

import dataclasses
import hashlib
import io
import json
import math
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pytorch_msssim
import torch
from click.testing import CliRunner
from PIL import Image
from small_blocks import small_codec

from dctcodec import installed, metrics
from dctcodec.bands.decoder import DecoderShape
from dctcodec.bands.prior import PriorShape
from dctcodec.cli.bench import bench
from dctcodec.errors import DataError, DctcodecError, ImageError, OutputError
from dctcodec.evaluate import baselines, demo, kodak, plot, published, report, reuse
from dctcodec.evaluate.baselines import AVIF_IQ, AVIF_PSNR, BASELINES, JPEG, JPEG_XL
from dctcodec.evaluate.bdrate import bd_rate, mean_bd_rate
from dctcodec.evaluate.measure import Row, means, measure


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth colours with some noise, the same for the same seed."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((width, height), Image.BICUBIC)
    noisy = np.asarray(coarse) + random.normal(0, 6, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).round().astype(np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images, one of them too small for MS-SSIM."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    photo(192, 176, 1).save(pictures / "a.png")
    photo(64, 48, 2).save(pictures / "b.png")
    (pictures / "notes.txt").write_text("no image")
    return pictures


# --- metrics


def test_psnr_is_20_log10_of_255_over_the_rms_error():
    first, second = photo(50, 40, 1), photo(50, 40, 2)
    squares = [(a - b) ** 2 for a, b in zip(first.tobytes(), second.tobytes(), strict=True)]
    rms = math.sqrt(sum(squares) / len(squares))
    assert metrics.psnr(first, second) == pytest.approx(20 * math.log10(255 / rms), abs=1e-9)


def test_psnr_of_equal_pictures_is_infinite_and_of_black_on_white_is_zero():
    black, white = Image.new("L", (3, 2), 0), Image.new("RGB", (3, 2), "white")
    assert metrics.psnr(black, black) == math.inf
    assert metrics.psnr(black, white) == 0


def test_ms_ssim_agrees_with_the_formula_of_its_authors():
    first = photo(200, 180, 1)
    second = JPEG.decode(JPEG.encode(first, 10))
    assert metrics.ms_ssim(first, second) == pytest.approx(ms_ssim_in_numpy(first, second), abs=1e-4)
    assert metrics.ms_ssim(first, first) == pytest.approx(1)


def ms_ssim_in_numpy(first: Image.Image, second: Image.Image) -> float:
    """Wang, Simoncelli, Bovik 2003, by scipy, per channel."""
    from scipy.ndimage import correlate1d

    window = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def blur(x: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(x, window, 0), window, 1)[5:-5, 5:-5]

    def halve(x: np.ndarray) -> np.ndarray:
        padded = np.pad(x, [(side % 2, side % 2) for side in x.shape])
        height, width = (side // 2 for side in padded.shape)
        return padded[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean((1, 3))

    values = []
    for channel in range(3):
        x, y = (np.asarray(image, np.float64)[..., channel] for image in (first, second))
        product = 1.0
        for level, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
            mean_x, mean_y = blur(x), blur(y)
            var_x, var_y, cov = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2, blur(x * y) - mean_x * mean_y
            term = (2 * cov + 58.5225) / (var_x + var_y + 58.5225)
            if level == 4:
                term *= (2 * mean_x * mean_y + 6.5025) / (mean_x**2 + mean_y**2 + 6.5025)
            product *= term.mean() ** weight
            x, y = halve(x), halve(y)
        values.append(product)
    return float(np.mean(values))


def waves(width: int, height: int) -> np.ndarray:
    """uint8 (height, width, 3), by arithmetic alone."""
    y, x = np.mgrid[:height, :width]
    planes = [127 + 80 * np.sin(x / (7 + c) + c) * np.cos(y / (11 - c)) + 40 * ((x * y // 200) % 2) for c in range(3)]
    return np.stack(planes, -1).clip(0, 255).round().astype(np.uint8)


DISTORTIONS = {
    "posterised": lambda a: a // 24 * 24 + 12,
    "smoothed": lambda a: (sum(np.roll(a.astype(int), shift, (0, 1)) for shift in ((0, 0), (1, 0), (0, 1), (1, 1))) // 4).astype(
        np.uint8
    ),
    "shifted": lambda a: np.roll(a, 3, 0) // 2 + 60,
}


@pytest.mark.parametrize(
    ("size", "distortion", "score"),
    [
        ((200, 150), "posterised", 78.52931314),
        ((200, 150), "smoothed", 32.47004083),
        ((200, 150), "shifted", -63.48787224),
        ((201, 151), "posterised", 78.30594954),
        ((201, 151), "smoothed", 32.34169192),
        ((113, 240), "shifted", -62.87456276),
    ],
)
def test_ssimulacra2_agrees_with_the_program_of_its_authors(size: tuple[int, int], distortion: str, score: float):
    """The scores are what the program at github.com/cloudinary/ssimulacra2 says of these images."""
    original = waves(*size)
    images = (Image.fromarray(array) for array in (original, DISTORTIONS[distortion](original)))
    assert metrics.ssimulacra2(*images) == pytest.approx(score, abs=0.02)


def test_ssimulacra2_of_equal_images_is_100():
    image = photo(130, 120)
    assert metrics.ssimulacra2(image, image) == pytest.approx(100, abs=0.05)


@pytest.mark.parametrize(("side", "exists"), [(112, False), (113, True)])
def test_ssimulacra2_has_no_value_for_small_images(side: int, exists: bool):
    image = photo(side, 130)
    assert (metrics.ssimulacra2(image, image) is not None) == exists


@pytest.mark.parametrize(("side", "exists"), [(160, False), (161, True)])
def test_ms_ssim_has_no_value_for_small_pictures(side: int, exists: bool):
    image = photo(side, 300)
    assert (metrics.ms_ssim(image, image) is not None) == exists


def test_the_differentiable_dissimilarity_is_the_same_measure():
    first, second = (torch.from_numpy(np.array(photo(192, 176, seed))).permute(2, 0, 1)[None].float() for seed in (0, 1))
    blend = (0.7 * first + 0.3 * second).round().requires_grad_()
    value = metrics.log_dissimilarity(blend, first)
    pictures = (Image.fromarray(p[0].detach().byte().permute(1, 2, 0).numpy()) for p in (first, blend))
    assert math.exp(value.item()) == pytest.approx(1 - metrics.ms_ssim(*pictures), rel=0.01, abs=2e-5)
    value.sum().backward()
    assert blend.grad.isfinite().all() and blend.grad.any()


def test_the_dissimilarity_has_a_value_for_small_pictures_too():
    small = torch.rand(2, 3, 9, 5) * 255
    values = metrics.log_dissimilarity(small, torch.stack([small[0], small[1].flip(-1)]))
    assert values[0] < math.log(2e-5) < values[1] < 0


def test_different_sizes_are_refused():
    for measure_of in (metrics.psnr, metrics.ms_ssim, metrics.ssimulacra2):
        with pytest.raises(ValueError, match="original"):
            measure_of(photo(8, 8), photo(8, 9))


@pytest.mark.parametrize("side", [161, 176])
def test_ms_ssim_of_small_images_is_the_usual_one_where_all_scales_fit(side: int):
    torch.manual_seed(0)
    first = torch.rand(2, 3, side, side + 20)
    second = (first + 0.2 * torch.randn_like(first)).clamp(0, 1)
    usual = pytorch_msssim.ms_ssim(first, second, data_range=1, size_average=False)
    torch.testing.assert_close(metrics.ms_ssim_that_fits(first, second), usual, rtol=1e-4, atol=1e-5)


def test_ms_ssim_of_small_images_uses_the_scales_that_fit():
    assert [metrics.ms_ssim_scales(side) for side in (10, 11, 28, 32, 161)] == [0, 1, 2, 2, 5]
    first = torch.rand(2, 1, 11, 13)
    single = pytorch_msssim.ssim(first, 1 - first / 2, data_range=1, size_average=False, nonnegative_ssim=True)
    torch.testing.assert_close(metrics.ms_ssim_that_fits(first, 1 - first / 2), single, rtol=1e-4, atol=1e-5)
    assert metrics.ms_ssim_that_fits(first, first).tolist() == pytest.approx([1, 1])
    with pytest.raises(ValueError, match="at least 11 pixels"):
        metrics.ms_ssim_that_fits(first[..., :10], first[..., :10])


def test_ms_ssim_in_decibels():
    assert metrics.ms_ssim_db(0.99) == pytest.approx(20)
    assert metrics.ms_ssim_db(1.0) == math.inf


# --- BD-rate

BPP = [0.05, 0.1, 0.2, 0.3, 0.45, 0.7]
CURVE = [(bpp, 20 + 6 * math.log2(bpp / 0.05) ** 0.9) for bpp in BPP]


def test_a_curve_against_itself():
    assert bd_rate(CURVE, CURVE) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("interval", [(0.08, 0.5), (0.0, math.inf)])
def test_twice_the_bits_are_plus_100_percent_and_half_minus_50(interval: tuple[float, float]):
    double = [(2 * bpp, metric) for bpp, metric in CURVE]
    assert bd_rate(CURVE, double, interval) == pytest.approx(100, abs=0.5)
    assert bd_rate(double, CURVE, interval) == pytest.approx(-50, abs=0.2)


def test_without_an_interval_it_is_the_package_s_figure():
    import bjontegaard

    other = [(1.3 * bpp, metric + 0.4 * bpp) for bpp, metric in CURVE]
    expected = bjontegaard.bd_rate(*zip(*CURVE, strict=True), *zip(*other, strict=True), method="pchip", min_overlap=0)
    assert bd_rate(CURVE, other, (0.0, math.inf)) == pytest.approx(expected)


def test_what_lies_outside_the_interval_does_not_count():
    far = [(0.02, 5.0), (0.03, 6.0)]
    dear = [(bpp * (3 if bpp > 0.5 else 1.2), metric) for bpp, metric in CURVE]
    assert bd_rate(CURVE, [(1.2 * bpp, metric) for bpp, metric in CURVE]) == pytest.approx(20, abs=0.5)
    assert bd_rate(CURVE, dear) == pytest.approx(20, abs=3)
    assert bd_rate(CURVE, far) is None


def test_points_that_cost_more_and_are_no_better_are_left_out():
    worse = [*CURVE, (0.25, 21.0), (0.31, math.inf)]
    assert bd_rate(CURVE, worse) == pytest.approx(0, abs=1e-9)


def test_one_point_is_no_curve():
    assert bd_rate(CURVE, CURVE[:1]) is None


def scaled(factor: float, bpps: list[float] = BPP) -> list[tuple[float, float]]:
    """CURVE between some rates, for `factor` times the bits."""
    return [(factor * bpp, metric) for bpp, metric in CURVE if bpp in bpps]


def test_the_mean_bd_rate_is_that_of_the_images():
    ours = {"a": scaled(1.1), "b": scaled(1.5), "not measured": CURVE}
    rate = mean_bd_rate({"a": CURVE, "b": CURVE, "only there": CURVE}, ours)
    assert rate.percent == pytest.approx((bd_rate(CURVE, scaled(1.1)) + bd_rate(CURVE, scaled(1.5))) / 2)
    assert rate.compared == 2


def test_images_whose_curves_do_not_overlap_or_reach_the_ends_are_counted():
    wide = [(0.05, 20.0), (0.1, 25.0), (0.4, 32.0), (0.9, 36.0)]
    nowhere = [(0.1, 50.0), (0.5, 60.0)]
    rate = mean_bd_rate({"wide": wide, "narrow": CURVE, "none": CURVE}, {"wide": wide, "narrow": CURVE, "none": nowhere})
    assert (rate.percent, rate.compared, rate.whole_interval) == (pytest.approx(0, abs=1e-9), 2, 1)
    assert mean_bd_rate({"none": CURVE}, {"none": nowhere}).percent is None


# --- where Kodak comes from


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no network."""

    def unreachable(url: str, timeout: float) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("DCTCODEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    return tmp_path / "cache" / "kodak"


@pytest.fixture
def site(cache: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A Kodak site of 24 other files, whose sums count as right."""
    files = {f"kodim{number:02}.png": f"image {number}".encode() for number in range(1, 25)}
    monkeypatch.setattr(kodak, "SHA256", [hashlib.sha256(content).hexdigest() for content in files.values()])
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: io.BytesIO(files[url.rpartition("/")[2]]))
    return files


def test_offline_without_pictures_is_one_sentence(cache: Path):
    with pytest.raises(DataError, match="cannot be reached .no route to host.; use --data DIR") as error:
        kodak.find()
    assert "\n" not in str(error.value)
    assert not cache.exists()


def test_download_fills_the_cache_once(cache: Path, site: dict[str, bytes], monkeypatch: pytest.MonkeyPatch):
    found = kodak.find()
    assert found.description == "Kodak"
    assert {path.name: path.read_bytes() for path in found.paths} == site
    assert sorted(path.name for path in cache.iterdir()) == sorted(site)
    monkeypatch.delattr(urllib.request, "urlopen")
    assert kodak.find() == found


def test_a_damaged_file_in_the_cache_is_fetched_again(cache: Path, site: dict[str, bytes]):
    kodak.find()
    (cache / "kodim07.png").write_bytes(b"damaged")
    kodak.find()
    assert (cache / "kodim07.png").read_bytes() == site["kodim07.png"]


def test_a_wrong_download_is_not_kept(cache: Path, site: dict[str, bytes]):
    site["kodim03.png"] = b"a page that says sorry"
    with pytest.raises(DataError, match=r"kodim03\.png is not the Kodak image"):
        kodak.find()
    assert sorted(path.name for path in cache.iterdir()) == ["kodim01.png", "kodim02.png"]


def test_a_cache_that_cannot_be_made(cache: Path, site: dict[str, bytes]):
    cache.parent.write_text("a file in the way")
    with pytest.raises(OutputError, match="cannot make the folder"):
        kodak.find()


def test_any_folder_of_pictures_will_do_and_is_not_called_kodak(folder: Path, tmp_path: Path):
    found = kodak.find(folder)
    assert [path.name for path in found.paths] == ["a.png", "b.png"]
    assert "not the Kodak set" in found.description
    with pytest.raises(DataError, match="not a folder"):
        kodak.find(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        kodak.find(tmp_path / "empty")


def test_kodak_is_recognised_in_any_folder(cache: Path, site: dict[str, bytes]):
    kodak.find()
    assert kodak.find(cache).description == "Kodak"
    (cache / "kodim01.png").write_bytes(b"other")
    assert "not the Kodak set" in kodak.find(cache).description


# --- rows, table, JSON, plot


def row(
    quality: float = 1,
    bpp: float = 0.5,
    psnr: float = 30,
    ms_ssim: float | None = 0.9,
    score: float | None = 60,
    image: str = "x.png",
) -> Row:
    return Row(image, quality, bpp, None, psnr, ms_ssim, score, 0.1, 0.2)


def test_bpp_is_that_of_the_whole_file(folder: Path):
    ticks = []
    rows = measure(JPEG, [folder / "a.png"], [10, 50], lambda: ticks.append(1))
    assert [8 * len(JPEG.encode(Image.open(folder / "a.png"), q)) / (192 * 176) for q in (10, 50)] == [row.bpp for row in rows]
    assert [row.quality for row in rows] == [10, 50]
    assert len(ticks) == 2


def test_a_file_that_is_no_picture(tmp_path: Path):
    (tmp_path / "x.png").write_bytes(b"no image")
    with pytest.raises(ImageError):
        measure(JPEG, [tmp_path / "x.png"], [10])


def test_means_are_those_of_the_per_image_values():
    first, second = means([row(1, 0.2, 20), row(1, 0.4, 30), row(2, 1, 50, None), row(2, 2, 60)])
    assert (first.bpp, first.psnr) == (pytest.approx(0.3), 25)
    assert (second.bpp, second.psnr, second.ms_ssim, second.ssimulacra2, second.code_length_bpp) == (1.5, 55, None, 60, None)


def test_an_image_too_large_for_a_format_is_said():
    (webp,) = (baseline for baseline in BASELINES if baseline.name == "WebP")
    with pytest.raises(ImageError, match="WebP cannot hold an image of 16384x1"):
        webp.encode(Image.new("RGB", (16384, 1)), 5)


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda baseline: baseline.name)
def test_baselines_in_colour_and_grey(baseline):
    for image in (photo(70, 50), photo(70, 50).convert("L")):
        sizes = [len(baseline.encode(image, quality)) for quality in baseline.qualities[::2]]
        assert sizes == sorted(sizes)
        decoded = baseline.decode(baseline.encode(image, baseline.qualities[-1]))
        assert decoded.mode == "RGB" and decoded.size == image.size
        assert metrics.psnr(image, decoded) > 25


def test_options_reach_the_encoders():
    image = photo(70, 50)
    files = {AVIF_PSNR.encode(image, 40), AVIF_IQ.encode(image, 40)}
    files |= {
        dataclasses.replace(AVIF_IQ, options=AVIF_IQ.options | change).encode(image, 40)
        for change in ({"speed": 9}, {"subsampling": "4:2:0"})
    }
    files |= {dataclasses.replace(JPEG_XL, options={"effort": effort}).encode(image, 40) for effort in (3, 7)}
    assert len(files) == 6


@pytest.mark.parametrize("baseline", [AVIF_PSNR, AVIF_IQ])
def test_a_description_tells_options_and_versions(baseline):
    assert f"tune={baseline.options['advanced']['tune']}" in baseline.description and "subsampling=4:4:4" in baseline.description
    assert "libavif" in baseline.description and "aom" in baseline.description
    assert json.loads(json.dumps(baseline.encoder)) == baseline.encoder


def test_an_encoder_that_does_not_know_an_option_is_said():
    old = dataclasses.replace(AVIF_IQ, options=AVIF_IQ.options | {"advanced": {"tune": "nonsense"}})
    with pytest.raises(DctcodecError, match="Pillow cannot write AVIF-IQ here .*: pip install --upgrade pillow"):
        old.check()


def test_json_has_compressai_s_form_and_no_infinity():
    results = [report.Result(name, "text", [row(1, 0.1, 30), row(2, 0.3, math.inf, 1.0)]) for name in ("a", "b")]
    document = json.loads(json.dumps(report.document(results, 0xABCDE, kodak.ImageSet("some", ()), {"cpu": "x"}), allow_nan=False))
    codec = document["codecs"][0]
    assert document["model_id"] == "000abcde"
    assert (codec["name"], codec["description"]) == ("a", "text")
    assert codec["results"] == {
        "quality": [1, 2],
        "bpp": [0.1, 0.3],
        "code-length-bpp": [None, None],
        "psnr-rgb": [30, None],
        "ms-ssim-rgb": [0.9, 1.0],
        "ssimulacra2": [60, 60],
        "encoding_time": [0.1, 0.1],
        "decoding_time": [0.2, 0.2],
    }
    assert [image["image"] for image in codec["images"]] == ["x.png", "x.png"]


def test_plot_draws_curves_of_three_measures_or_of_one():
    rows = [row(1, 0.1, 30), row(2, 0.3, 33)]
    small = [row(1, 0.1, 30, None, None), row(2, 0.3, 33, None, None)]
    picture = Image.open(io.BytesIO(plot.draw([report.Result("a", "", rows), report.Result("b", "", small)], "some")))
    assert picture.format == "PNG" and picture.width > 1000


# --- what others published

ROOT = Path(__file__).parent.parent
PUBLISHED = ROOT / "benchmarks" / "published"


def test_published_curves_rise_and_name_their_source():
    curves = published.read(PUBLISHED)
    assert len(curves) >= 7
    for curve in curves:
        points = sorted(curve.curve("psnr"))
        assert len(points) >= 6 and [psnr for _, psnr in points] == sorted(psnr for _, psnr in points)
        assert "/" in curve.source and curve.name
    assert {bool(curve.curve("ms_ssim")) for curve in curves} == {True, False}


def test_published_curves_are_compared_and_drawn_beside_ours():
    ours = report.Result("ours", "", [row(1, 0.1, 30), row(2, 0.3, 33)])
    curves = published.read(PUBLISHED)
    rates = report.published_rates(ours, curves)
    assert set(rates) == {curve.name for curve in curves}
    assert -100 < rates["VTM (VVC)"]["psnr"] < 100 and rates["ELIC"]["ms_ssim"] is None
    assert all(rate["ssimulacra2"] is None for rate in rates.values())
    assert "VTM (VVC)" in report.bd_lines([ours], curves)
    alone, beside = plot.draw([ours], "some"), plot.draw([ours], "some", curves)
    assert Image.open(io.BytesIO(beside)).format == "PNG" and beside != alone


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"name": "x"}',
        '{"name": "x", "source": "y", "results": {}}',
        '{"name": "x", "source": "y", "results": {"bpp": [1], "psnr-rgb": []}}',
    ],
)
def test_a_file_that_is_no_published_curve_is_one_sentence(content: str, tmp_path: Path):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(DataError, match="x.json is not a published curve"):
        published.read(tmp_path)


def test_published_curves_need_a_folder_of_them_and_all_of_kodak(folder: Path):
    with pytest.raises(DataError, match="holds no published curves"):
        published.read(folder / "none")
    done = CliRunner().invoke(bench, ["kodak", "--data", str(folder), "--published", str(PUBLISHED)])
    assert isinstance(done.exception, DataError) and "remove --published" in str(done.exception)


# --- a whole run


@pytest.fixture
def quick_baselines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Baselines at two qualities, AVIF at its fastest."""
    quick = [dataclasses.replace(b, qualities=b.qualities[2:4], options=b.options | _fast(b)) for b in BASELINES]
    monkeypatch.setattr(baselines, "BASELINES", tuple(quick))


def _fast(baseline: baselines.Baseline) -> dict[str, int]:
    return {"speed": 10} if baseline.format == "AVIF" else {}


def run_kodak(folder: Path, *options: object) -> str:
    """What a run at quality 50 prints."""
    words = ["kodak", "--data", folder, "--quality", "50", "--device", "cpu", *options]
    done = CliRunner().invoke(bench, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def rows_of(path: Path) -> dict[str, tuple[int, list[dict]]]:
    """Of the JSON of a run: of each codec, the number of reused rows and all rows."""
    return {codec["name"]: (codec["reused_rows"], codec["images"]) for codec in json.loads(path.read_text())["codecs"]}


def test_a_run_prints_a_table_and_stores_json_and_plot(folder: Path, tmp_path: Path, quick_baselines: None):
    target, drawing = tmp_path / "out.json", tmp_path / "out.png"
    options = ["--data", folder, "--quality", "20,80", "--quality", "50", "--device", "cpu", "--json", target]
    done = CliRunner().invoke(bench, ["kodak", *map(str, options), "--plot", str(drawing)], catch_exceptions=False)
    assert done.exit_code == 0
    assert "2 images" in done.stdout and "not the Kodak set" in done.stdout
    assert "BD-rate of dctcodec over 0.08-0.8 bpp (negative: fewer bits), mean over the images, against" in done.stdout

    document = json.loads(target.read_text())
    ours, *others = document["codecs"]
    assert [codec["name"] for codec in document["codecs"]] == ["dctcodec", "JPEG", "WebP", "AVIF-PSNR", "AVIF-IQ", "JPEG XL"]
    assert ours["results"]["quality"] == [20, 50, 80]
    assert sorted(ours["results"]["bpp"]) == ours["results"]["bpp"]
    assert all(bpp > 0 for bpp in ours["results"]["code-length-bpp"])
    assert len(ours["images"]) == 6
    assert {"cpu", "cores", "threads", "python", "versions", "command"} <= document["machine"].keys()
    counts = document["bd_rate_images"]["JPEG XL"]["psnr"]
    assert 0 < counts["compared"] <= 2 and counts["whole_interval"] == 0
    assert set(document["bd_rate_percent"]["AVIF-IQ"]) == {"psnr", "ms_ssim", "ssimulacra2"}
    assert all("libavif" in codec["encoder"]["library"] for codec in others if codec["name"].startswith("AVIF"))
    assert document["sha256"] == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.png"))}
    assert "nothing else ran" in document["times"]
    assert Image.open(drawing).format == "PNG"


@pytest.fixture
def earlier(folder: Path, tmp_path: Path, quick_baselines: None) -> Path:
    """The JSON of an earlier run of every baseline on the folder's images, at one quality."""
    results = [report.Result("dctcodec", "", [row()])]
    for baseline in baselines.BASELINES:
        rows = [row(baseline.qualities[0], image=name, psnr=math.inf) for name in ("a.png", "b.png")]
        results.append(report.Result(baseline.name, "", rows, baseline.encoder))
    document = report.document(results, 1, kodak.find(folder), {})
    (tmp_path / "earlier.json").write_text(json.dumps(document))
    return tmp_path / "earlier.json"


def changed(path: Path, change: Callable[[dict], object]) -> Path:
    """The JSON of a run after a change to it."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return path


def test_rows_of_earlier_runs_are_reused(folder: Path, earlier: Path, tmp_path: Path):
    once, again, other = (tmp_path / name for name in ("once.json", "again.json", "other.json"))
    run_kodak(folder, "--json", once, "--reuse", earlier)
    reused = {name: number for name, (number, _) in rows_of(once).items()}
    assert reused == {name: 0 if name == "dctcodec" else 2 for name in reused}  # of one quality; the other is measured
    run_kodak(folder, "--json", again, "--reuse", earlier, "--reuse", once)
    assert rows_of(again) == {name: (len(rows), rows) for name, (_, rows) in rows_of(once).items()}
    assert [rows[0]["psnr"] for name, (_, rows) in rows_of(again).items() if name != "dctcodec"] == [None] * 5
    run_kodak(folder, "--json", other, "--reuse", once, "--tune", "ms-ssim", "--no-baselines")
    assert rows_of(other)["dctcodec"][0] == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["sha256"].update({"a.png": "0", "b.png": "0"}),
        lambda document: document["measures"].update(ssimulacra2="another program"),
        lambda document: document["codecs"][1]["encoder"].update(library="libjpeg 6"),
        lambda document: document["codecs"][1]["encoder"]["options"].update(optimize=False),
        lambda document: document["codecs"].pop(1),
    ],
    ids=["images", "measures", "library", "options", "codec"],
)
def test_rows_of_other_measurements_are_not_reused(change: Callable[[dict], object], folder: Path, earlier: Path):
    of_jpeg = "JPEG", JPEG.encoder, kodak.find(folder)
    assert reuse.rows([reuse.read(earlier)], *of_jpeg).keys() == {("a.png", JPEG.qualities[2]), ("b.png", JPEG.qualities[2])}
    assert reuse.rows([reuse.read(changed(earlier, change))], *of_jpeg) == {}


@pytest.mark.parametrize("content", ["{", "[]", '{"codecs": 1}'])
def test_a_file_that_is_no_earlier_run_is_one_sentence(content: str, folder: Path, tmp_path: Path):
    (tmp_path / "x.json").write_text(content)
    done = CliRunner().invoke(bench, ["kodak", "--data", str(folder), "--reuse", str(tmp_path / "x.json")])
    assert isinstance(done.exception, DataError) and "x.json is not the JSON of an earlier run" in str(done.exception)


def test_a_damaged_row_or_a_missing_file_is_one_sentence(earlier: Path, tmp_path: Path):
    with pytest.raises(DataError, match="is not the JSON of an earlier run"):
        reuse.read(changed(earlier, lambda document: document["codecs"][2]["images"][0].pop("bpp")))
    with pytest.raises(DataError, match="cannot read .*none.json: no such file"):
        reuse.read(tmp_path / "none.json")


def test_without_the_plugin_jpeg_xl_is_left_out(folder: Path, quick_baselines: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(baselines, "has_jpeg_xl", lambda: False)
    said = run_kodak(folder, "--limit", "1")
    assert "JPEG XL is not measured: pip install pillow-jxl-plugin\n" in said
    assert said.count("JPEG XL") == 1 and "AVIF-IQ" in said


def test_only_ours_and_only_some(folder: Path):
    options = ["--data", str(folder), "--quality", "50", "--device", "cpu", "--no-baselines", "--limit", "1"]
    done = CliRunner().invoke(bench, ["kodak", *options], catch_exceptions=False)
    assert "first 1 of" in done.stdout
    assert "JPEG" not in done.stdout


@pytest.mark.parametrize("quality", ["0", "101", "nan", "10,", "good"])
def test_wrong_qualities_are_wrong_usage(quality: str):
    done = CliRunner().invoke(bench, ["kodak", "--quality", quality])
    assert done.exit_code == 2


def test_an_output_without_a_folder_is_refused_before_the_work(tmp_path: Path):
    done = CliRunner().invoke(bench, ["kodak", "--data", "nowhere", "--json", str(tmp_path / "no" / "x.json")])
    assert isinstance(done.exception, OutputError)


# (channels, blocks, pixels a position) of each scale
SCALES = ((96, 1, 32), (96, 1, 16), (96, 6, 8), (64, 8, 4))


@pytest.mark.parametrize(("model", "forecast"), [("flagship-1", ((48, 2, 8), (48, 1, 4))), ("tiny", ())])
def test_operations_are_those_of_the_layers(model: str, forecast: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if model == "tiny":  # as large as the default one, but for the forecast
        small_codec(tmp_path, (), PriorShape(), DecoderShape())
        monkeypatch.setattr(installed, "_PLACES", (tmp_path / "models",))

    def blocks(scales: tuple) -> float:
        """Of two 3x3 convolutions a block."""
        return sum(2 * 9 * width**2 * count / side**2 for width, count, side in scales)

    done = CliRunner().invoke(bench, ["operations", "--model", model], catch_exceptions=False)
    figures = json.loads(done.stdout)["multiply_adds_a_pixel"]
    # twelve reveals of eight 3x3 convolutions of 192 channels on tiles of 1024 pixels, six forecasts, and smaller layers
    assert 1 < figures["prior"] / (12 * blocks(((192, 4, 32),)) + 6 * blocks(forecast)) < (1.35 if forecast else 1.1)
    assert 1 < figures["decoder"] / blocks(SCALES) < 1.25
    # DCT by rows and columns, before that those of all kinds of blocks to choose from
    assert 0.9 < figures["analysis"] / (3 * 2 * 32) < 1.1 + len(installed.find(model).config.get("blocks", ()))


# --- folders of images for the bench


def test_held_out_photographs_are_cropped_at_their_centres(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "scripts")
    import held_out

    whole = {"bsds": (481, 321), "large": (900, 700)}
    for name, size in whole.items():
        (tmp_path / name).mkdir()
        for number in range(11):
            Image.new("RGB", size).save(tmp_path / name / f"{number:02}.png")
    Image.effect_noise((700, 900), 50).save(tmp_path / "large" / "10.png")
    done = CliRunner().invoke(held_out.main, [str(tmp_path), str(tmp_path / "out")], catch_exceptions=False)
    assert done.exit_code == 0
    written = {str(path.relative_to(tmp_path / "out")): Image.open(path) for path in (tmp_path / "out").rglob("*.png")}
    sizes = {name: image.size for name, image in written.items()}
    large = {"large/00.png": (768, 512), "large/10.png": (512, 768)}
    assert sizes == dict.fromkeys(("bsds/00.png", "bsds/10.png"), (481, 321)) | large
    middle = Image.open(tmp_path / "large" / "10.png").crop((94, 66, 606, 834)).convert("RGB")
    assert written["large/10.png"].tobytes() == middle.tobytes()


# --- the demo


def test_demo_leaves_an_image_and_a_page_in_the_current_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(demo.main, [str(folder / "a.png")], catch_exceptions=False)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "a.png, 192x176"
    assert lines[2].startswith("dctcodec") and lines[-3].startswith("JPEG")
    assert lines[-2].endswith("a-demo.png") and lines[-1].endswith("a-demo.html")
    assert Image.open(tmp_path / "a-demo.png").height > 176
    assert "a.png" in (tmp_path / "a-demo.html").read_text()

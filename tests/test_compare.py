"""`dctcodec compare`: what is compared, and the page that shows it, without a browser."""

import json
import re
import zipfile
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dctcodec.cli import main
from dctcodec.compare.comparison import Settings, compare, version
from dctcodec.compare.contenders import AVIF_BEST, AVIF_DEFAULT, FAST, QUALITIES, contenders
from dctcodec.compare.document import image_document
from dctcodec.compare.embed import Region
from dctcodec.compare.page import page
from dctcodec.compare.search import Search
from dctcodec.evaluate.baselines import JPEG

ROOT = Path(__file__).parent.parent
WEBP, JPEG_CONTENDER = FAST[1:]


def command(*words: object):
    return CliRunner().invoke(main.main, ["compare", *map(str, words)])


def data_of(html: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)[1])


@pytest.fixture(scope="module")
def comparison(codec, make_picture):
    return compare("image.png", make_picture(320, 200), codec, contenders(), Settings(quality=60))


def test_every_codec_is_compared_at_no_more_bytes(comparison):
    ours, *others = comparison.versions
    assert ours.name == "dctcodec"
    assert {other.name for other in others} >= {"AVIF, best settings", "AVIF, default settings", "WebP", "JPEG"}
    for other in others:
        assert other.figures.bytes == len(other.data)
        assert other.figures.bytes <= ours.figures.bytes or other.note == "larger: this is its smallest file"
        assert other.image.size == comparison.original.size


def test_curves_have_points_below_and_above(comparison):
    for compared in comparison.versions:
        assert compared.figures in compared.points
        assert [point.bpp for point in compared.points] == sorted(point.bpp for point in compared.points)
    assert len(comparison.versions[0].points) == 3


@pytest.mark.parametrize("contender", [AVIF_DEFAULT, *FAST[1:]], ids=lambda contender: contender.name)
def test_the_best_file_of_a_size_is_found(contender, make_picture):
    image = make_picture(160, 120)
    search = Search(contender, image)
    sizes = [len(search.file(quality)) for quality in QUALITIES]
    for limit in (sizes[30], sizes[60] - 1):
        found = len(search.file(Search(contender, image).of_size(limit)))
        assert 0.95 * max(size for size in sizes if size <= limit) <= found <= limit  # sizes do not quite grow with the quality
    assert Search(contender, image).of_size(10) == 0


def test_a_quick_encoder_guides_the_search_of_a_slow_one(make_picture):
    search = Search(AVIF_BEST, make_picture(160, 120))
    limit = len(search.file(50)) + 1
    found = search.of_size(limit)
    assert 0.95 * limit <= len(search.file(found)) <= limit
    assert len(search.seconds) <= 6


@pytest.mark.parametrize("contender", [AVIF_BEST, WEBP, JPEG_CONTENDER], ids=lambda contender: contender.name)
def test_the_smallest_file_of_a_psnr_is_found(contender, make_picture, codec):
    image = make_picture(160, 120)
    settings = Settings(match="psnr", curves=False)
    goal = version(image, contender, version(image, WEBP, _goal(image), settings).figures, settings).figures
    assert goal.psnr >= 30
    below = [len(Search(contender, image).file(quality)) for quality in range(int(goal.quality))]
    assert not below or max(below) <= goal.bytes


def _goal(image: Image.Image):
    from dctcodec.compare.version import measured

    data = JPEG.encode(image, 40)
    figures = measured(image, data, JPEG.decode, 40, 0.0)[1]
    return type(figures)(**{**vars(figures), "psnr": 30.0})


def test_a_goal_out_of_reach_is_told(codec, make_picture):
    image = make_picture(160, 120)
    done = compare("x", image, codec, [JPEG_CONTENDER], Settings(quality=1, curves=False))
    assert done.versions[1].note == "larger: this is its smallest file"


def test_both_tunes_are_compared_at_one_size(codec, make_picture):
    settings = Settings(quality=40, tunes=("psnr", "ms-ssim"), curves=False)
    first, second = compare("x", make_picture(160, 120), codec, [], settings).versions
    assert (first.name, second.name) == ("dctcodec", "dctcodec, ms-ssim")
    assert second.figures.bytes <= first.figures.bytes


def test_images_in_the_page_are_lossless_and_cut_to_the_limit(comparison):
    document = image_document(comparison, Region(16, 8, 128, 96), 10**7)
    assert document["region"] == [16, 8, 128, 96]
    for shown, whole in zip(document["versions"][1:], comparison.versions, strict=True):
        assert shown["url"].startswith("data:image/webp;base64,")
        assert np.array_equal(_image(shown["url"]), np.array(whole.image.crop((16, 8, 144, 104)).convert("RGB")))
    limited = image_document(comparison, Region(0, 0, 320, 200), 50_000)
    assert sum(len(version["url"]) for version in limited["versions"]) <= 50_000
    left, top, width, height = limited["region"]
    assert 40 < width < 320
    assert abs(left * 2 + width - 320) <= 2
    assert abs(top * 2 + height - 200) <= 2


def _image(url: str) -> np.ndarray:
    import base64
    import io

    return np.array(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_texts_cannot_become_markup():
    name = '</script><img src=x onerror="alert(1)">&amp;<!--'
    html = page(name, {"images": [], "made": [[name, name]]})
    assert html.count("</script>") == 2
    assert "<img" not in html
    assert data_of(html)["made"] == [[name, name]]


def test_the_command_writes_one_file_that_asks_for_nothing(tmp_path, make_picture):
    make_picture(240, 180).save(tmp_path / "a.png")
    make_picture(180, 240, "L", 1).save(tmp_path / "b.png")
    output = tmp_path / "report.html"
    result = command(
        tmp_path / "a.png", tmp_path / "b.png", "-o", output, "--target-bpp", "0.5", "--no-curves", "--crop", "64x48+8+16"
    )
    assert result.exit_code == 0, result.output
    html = output.read_text()
    assert len(html) < 20e6
    assert "default-src 'none'" in html.replace("&#x27;", "'")
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", html)
    data = data_of(html)
    assert [image["name"] for image in data["images"]] == ["a.png", "b.png"]
    assert [image["region"] for image in data["images"]] == [[8, 16, 64, 48]] * 2
    assert data["images"][0]["versions"][1]["figures"]["bpp"] <= 0.5
    assert str(tmp_path) not in html


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--crop", "0x5"], 2, "is not WIDTHxHEIGHT"),
        (["--crop", "500x5"], 1, "is not inside the image of 32x24"),
        (["--quality", "50", "--target-bpp", "1"], 2, "Give one of"),
        (["--model", "nothing"], 1, "there is no model"),
    ],
)
def test_wrong_use_is_a_sentence(tmp_path, make_picture, words, code, message):
    make_picture(32, 24).save(tmp_path / "a.png")
    result = command(tmp_path / "a.png", "-o", tmp_path / "r.html", *words)
    assert (result.exit_code, result.stderr.count("\n")) == (code, 1)
    assert message in result.stderr
    assert not (tmp_path / "r.html").exists()


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    result = command(tmp_path / "text.png", "-o", tmp_path / "r.html")
    assert result.exit_code == 1
    assert "text.png" in result.stderr


def test_a_model_of_one_quality_is_compared_without_a_curve(tmp_path, make_picture):
    make_picture(64, 64).save(tmp_path / "a.png")
    words = ["--model", "dct-vae-cifar10", "--no-curves"]
    result = command(tmp_path / "a.png", "-o", tmp_path / "r.html", *words)
    assert result.exit_code == 0, result.output
    ours = data_of((tmp_path / "r.html").read_text())["images"][0]["versions"][1]
    assert ours["maps"] == []


def test_bench_writes_a_page_of_the_set_and_one_of_each_image(tmp_path, make_picture):
    (tmp_path / "images").mkdir()
    for name, seed in (("a b.png", 0), ("c.png", 1)):
        make_picture(180, 164, seed=seed).save(tmp_path / "images" / name)
    report = tmp_path / "set report.html"
    words = ["--data", tmp_path / "images", "--quality", "30,50,70", "--no-baselines", "--report", report]
    result = CliRunner().invoke(main.main, ["bench", "kodak", *map(str, words)])
    assert result.exit_code == 0, result.output
    images = data_of(report.read_text())["set"]["images"]
    assert [image["link"] for image in images] == ["set%20report-images/a%20b.png.html", "set%20report-images/c.png.html"]
    for image in images:
        page_of_image = data_of((tmp_path / unquote(image["link"])).read_text())["images"][0]
        ours = page_of_image["versions"][1]
        assert ours["figures"]["quality"] == 50
        assert {point["quality"] for point in ours["points"]} >= {30, 70}
        assert image["figures"]["psnr"] == pytest.approx(ours["figures"]["psnr"], abs=0.01)


def test_the_wheel_contains_the_page(tmp_path):
    build = pytest.importorskip("hatchling.build", reason="hatchling is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        names = zipfile.ZipFile(tmp_path / build.build_wheel(str(tmp_path))).namelist()
    for file in (ROOT / "dctcodec").glob("*/page/*"):
        assert str(file.relative_to(ROOT)) in names

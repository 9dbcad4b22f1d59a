"""Committed results are of the weights that ship and of all images, and the documents show them."""

import json
import sys
from pathlib import Path

import pytest

from dctcodec import installed

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
sys.path.insert(0, str(ROOT / "benchmarks" / "scripts"))


def test_the_documents_and_the_models_show_the_committed_figures():
    import publish

    for path in publish.DOCUMENTS:
        assert publish.document(path) == (ROOT / path).read_text(encoding="utf-8"), f"{path}: run benchmarks/scripts/publish.py"
    for name in publish.SHIPPED:
        assert installed.find(name).figures == publish.figures(name)


RUNS = {
    str(path.relative_to(BENCHMARKS).with_suffix("")): run
    for folder in (BENCHMARKS, BENCHMARKS / "held-out")
    for path in sorted(folder.glob("*.json"))
    if "codecs" in (run := json.loads(path.read_text()))
}
"""Committed runs of `dctcodec bench kodak`."""


def test_all_results_of_the_bench_are_measured_alike():
    """Results of other measures, other intervals or other baselines must not stand beside each other."""
    for name, run in RUNS.items():
        assert (run["measures"], run["bd_rate_interval_bpp"]) == (RUNS["kodak"]["measures"], [0.08, 0.8]), name
        for codec in run["codecs"][1:]:
            same = [other for other in RUNS["kodak"]["codecs"] if other["name"] == codec["name"]]
            assert [other.get("encoder") for other in same] == [codec.get("encoder")], name


def test_the_other_codecs_on_kodak_are_measured_with_room_above():
    kodak = json.loads((BENCHMARKS / "kodak.json").read_text())
    assert [codec["name"] for codec in kodak["codecs"]] == ["dctcodec", "JPEG", "WebP", "AVIF-PSNR", "AVIF-IQ", "JPEG XL"]
    for codec in kodak["codecs"][1:]:
        assert max(codec["results"]["bpp"]) > 1.2, codec["name"]


@pytest.mark.parametrize("name", RUNS)
def test_results_are_of_the_prior_that_ships(name: str):
    model = RUNS[name]["codecs"][0]["encoder"]["model"]
    assert model == installed.DEFAULT
    assert RUNS[name]["model_id"] == f"{installed.find(model).model_id:08x}"


def test_the_results_are_of_this_model_and_of_all_of_kodak():
    kodak = json.loads((BENCHMARKS / "kodak.json").read_text())
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
        card = (model.path / "README.md").read_text(encoding="utf-8")
        assert model.model_id is None or f"{model.model_id:08x}" in card
        assert model.bytes < 25e6

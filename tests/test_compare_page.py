"""The page of `dctcodec compare` in a real browser."""

import numpy as np
import pytest
from browser import Browser, browser  # noqa: F401
from click.testing import CliRunner
from PIL import Image

from dctcodec.cli import main

NAME = "<img src=x onerror=alert(1)>&\"'.png"


@pytest.fixture(scope="module")
def image(make_picture) -> Image.Image:
    return make_picture(320, 200)


@pytest.fixture(scope="module")
def report(tmp_path_factory, image, make_picture) -> str:
    """The address of a report of two images."""
    folder = tmp_path_factory.mktemp("report")
    image.save(folder / NAME)
    make_picture(200, 240, seed=1).save(folder / "second.png")
    words = ["compare", str(folder / NAME), str(folder / "second.png"), "-o", str(folder / "report.html"), "--quality", "60"]
    result = CliRunner().invoke(main.main, words)
    assert result.exit_code == 0, result.output
    return (folder / "report.html").as_uri()


@pytest.fixture
def page(browser: Browser, report: str) -> Browser:  # noqa: F811
    browser.open(report)
    browser.shown()
    return browser


def chosen(page: Browser) -> list[int]:
    return [int(page.run("document.getElementById(arguments[0]).value", side)) for side in ("left", "right")]


def split(page: Browser) -> int:
    return int(page.find("#divider").get_attribute("aria-valuenow"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_it_opens_from_a_file_in_every_size_and_asks_for_nothing(browser, report, width, scheme):  # noqa: F811
    browser.requests()
    browser.open(report, width, 844, scheme)
    browser.shown()
    assert browser.log() == []
    assert {address.partition(":")[0] for address in browser.requests()} <= {"file", "data", "about", "chrome"}
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.text("#title") == NAME
    assert browser.find("#canvas").size["width"] >= 0.85 * width
    assert browser.run("document.querySelectorAll('.curve path').length") > 12


def test_a_policy_forbids_the_network(page):
    page.run("fetch('https://example.org').catch(() => { window.refused = true; })")
    page.wait("window.refused")
    assert any("Content Security Policy" in message for message in page.log())


def test_file_names_are_texts(page):
    assert page.run("document.querySelectorAll('main img, [onerror]').length") == 0
    assert page.run("document.title").startswith(NAME)


def test_the_divider_shows_more_of_the_left_version(page):
    from selenium.webdriver.common.action_chains import ActionChains

    page.keys("7")
    width, height = page.run("[document.getElementById('canvas').width, document.getElementById('canvas').height]")
    before = page.pixels(0, height // 2, width, 1)
    ActionChains(page.driver).drag_and_drop_by_offset(page.find("#divider"), 250, 0).perform()
    after = page.pixels(0, height // 2, width, 1)
    assert split(page) > 60
    changed = [x for x in range(width) if before[4 * x : 4 * x + 3] != after[4 * x : 4 * x + 3]]
    assert changed
    assert width // 2 - 1 <= min(changed)
    assert max(changed) <= width // 2 + 251


def test_keys_choose_flip_and_move(page):
    from selenium.webdriver.common.keys import Keys

    assert chosen(page) == [0, 1]
    page.keys("3")
    assert chosen(page) == [0, 2]
    assert "AVIF, best settings" in page.find("#canvas").get_attribute("aria-label")
    page.keys(Keys.SPACE)
    assert chosen(page) == [2, 0]
    page.run("document.dispatchEvent(new KeyboardEvent('keydown', {key: '!', code: 'Digit2', shiftKey: true}))")
    assert chosen(page) == [1, 0]
    page.keys("9")
    assert chosen(page) == [1, 0]
    assert split(page) == 50
    page.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert split(page) == 52
    page.keys("+")
    assert page.run("viewer.stage.scale") > page.run("viewer.stage.fit")
    page.keys("0")
    assert page.run("viewer.stage.scale") == page.run("viewer.stage.fit")


def test_at_800_percent_pixels_are_squares_and_both_sides_are_zoomed_alike(page, image):
    page.keys("1")  # the original on both sides
    page.click("#zoom-most")
    assert page.text("#zoom-level") == "800 %"
    width, height = page.run("[document.getElementById('canvas').width, document.getElementById('canvas').height]")
    pixels = np.array(page.pixels(0, 0, width, height)).reshape(height, width, 4)[..., :3]
    x, y = page.run("viewer.stage.corner.map(Math.round)")
    rows, columns = (np.arange(height) - y) // 8, (np.arange(width) - x) // 8
    assert np.array_equal(pixels, np.array(image)[rows[:, None], columns])
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(page.driver).move_to_element_with_offset(page.find("#canvas"), 300, 0).click_and_hold().move_by_offset(
        -80, -16
    ).release().perform()
    assert page.run("viewer.stage.corner.map(Math.round)") == [x - 80, y - 16]


def test_errors_and_bits_are_shown_as_maps(page):
    from selenium.webdriver.common.action_chains import ActionChains

    middle = page.pixels(1000, 300, 1, 1)
    page.click('[data-layer="error"]')
    assert page.pixels(1000, 300, 1, 1) != middle
    assert page.pixels(500, 300, 1, 1)[:3] == [8, 8, 20]  # the original has no error
    page.click('[data-layer="Bits per tile"]')
    ActionChains(page.driver).move_to_element_with_offset(page.find("#canvas"), 200, 0).perform()
    assert " bits" in page.text("#reading")
    assert page.text("#scale-end").endswith(" bits")
    report = page.run("report.images[0].versions[1]")
    assert sum(report["maps"][0]["values"]) == pytest.approx(8 * (report["figures"]["bytes"] - 28), rel=0.05, abs=64)


def test_the_table_has_every_figure_and_chooses(page):
    rows = page.run("[...document.querySelectorAll('#versions tbody tr')].map((row) => row.innerText)")
    assert len(rows) == page.run("report.images[0].versions.length") >= 6
    figures = page.run("report.images[0].versions[1].figures")
    for text in (f"{figures['bytes']:,}", f"{figures['bpp']:.3f}", f"{figures['psnr']:.2f}", f"{figures['ms_ssim']:.4f}"):
        assert text in rows[1]
    page.click("#versions tbody tr:nth-child(4) .choose button:nth-child(1)")
    assert chosen(page) == [3, 1]


@pytest.mark.parametrize("chart", [1, 2, 3])
def test_curves_tell_their_points(page, chart):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    selector = f"#charts .chart:nth-child({chart})"
    page.run("arguments[0].scrollIntoView({block: 'center'})", page.find(f"{selector} svg"))
    ActionChains(page.driver).move_to_element(page.find(f"{selector} .first .chosen")).perform()
    tip = page.text(f"{selector} .tip")
    assert tip.startswith("dctcodec\n")
    assert f"{page.run('report.images[0].versions[1].figures.bytes'):,} bytes" in tip
    tip_box, chart_box = (
        page.run("arguments[0].getBoundingClientRect().toJSON()", page.find(selector + end)) for end in (" .tip", "")
    )
    assert chart_box["left"] - 1 <= tip_box["left"] <= tip_box["right"] <= chart_box["right"] + 1
    page.run("arguments[0].focus()", page.find(f"{selector} svg"))
    page.keys(Keys.ARROW_RIGHT)
    assert page.text(f"{selector} .tip") != tip
    assert split(page) == 50  # the arrow was the chart's


def test_a_curve_can_be_left_out(page):
    before = page.run("document.querySelectorAll('#charts .curve').length")
    page.click("#legend button:last-child")
    assert page.run("document.querySelectorAll('#charts .curve').length") == before - 3
    assert page.find("#legend button:last-child").get_attribute("aria-pressed") == "false"


def test_another_image_of_the_report_is_shown(page):
    page.run("(() => { const s = document.getElementById('image'); s.value = 1; s.dispatchEvent(new Event('change')); })()")
    page.wait("document.documentElement.dataset.shown === 'second.png'")
    assert page.text("#title") == "second.png"
    assert "200 × 240 pixels" in page.text("#lead")


def test_the_theme_follows_the_system_or_the_button(browser, report):  # noqa: F811
    def back() -> str:
        return browser.run("getComputedStyle(document.documentElement).backgroundColor")

    browser.open(report, scheme="light")
    light = back()
    browser.media("dark")
    dark = back()
    assert light != dark
    browser.click("#theme")  # light
    assert back() == light
    browser.click("#theme")  # dark
    browser.media("light")
    assert back() == dark
    browser.click("#theme")
    assert back() == light


CONTRAST = """(() => {
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).map((value) => linear(value / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const back = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    return colour === "rgba(0, 0, 0, 0)" ? back(element.parentElement) : colour;
  };
  const ratio = (element) => {
    const [high, low] = [getComputedStyle(element).color, back(element)].map(light).sort((a, b) => b - a);
    return [(high + 0.05) / (low + 0.05), element.outerHTML.slice(0, 80)];
  };
  const texts = [...document.querySelectorAll("h1, h2, h3, p, td, th, small, button, dd, dt, kbd")];
  return texts.filter((element) => element.offsetParent && element.innerText).map(ratio).sort((a, b) => a[0] - b[0])[0];
})()"""
"""The lowest contrast of a text with what is behind it, and its element."""


@pytest.mark.parametrize("width", [390, 1440])
def test_a_set_has_rates_curves_and_its_worst_image_first(browser, report_of_a_set, width):  # noqa: F811
    browser.open(report_of_a_set, width)
    browser.shown()
    assert browser.log() == []
    assert browser.run("document.documentElement.scrollWidth") <= width

    def names() -> list[str]:
        return browser.run("[...document.querySelectorAll('#image-list tbody th')].map((cell) => cell.innerText)")

    assert names() == ["b.png", "a.png"]
    assert "−50.0 %" in browser.run("document.getElementById('rates').innerText")
    browser.click('#image-list [data-key="name"] button')
    assert names() == ["a.png", "b.png"]
    assert browser.find('#image-list [data-key="name"]').get_attribute("aria-sort") == "ascending"
    assert browser.run("document.querySelectorAll('#charts .first .mark').length") == 6
    browser.click("#image-list tbody a")
    browser.wait("document.title === 'page of a'")


@pytest.fixture(scope="module")
def report_of_a_set(tmp_path_factory) -> str:
    """The address of a page of two images, where dctcodec needs half the bits, and of the second image nearly all."""
    from dctcodec.compare.page import page as html
    from dctcodec.compare.set import document_of
    from dctcodec.evaluate.kodak import ImageSet
    from dctcodec.evaluate.measure import Row
    from dctcodec.evaluate.report import Result

    def rows(share: dict[str, float]) -> list[Row]:
        points = [(quality, name, bpp) for quality, bpp in enumerate((0.1, 0.3, 0.7)) for name in share]
        return [Row(name, q, bpp * share[name], None, 28 + 3 * q, None, 20.0 * q, 0.1, 0.1) for q, name, bpp in points]

    results = [
        Result("dctcodec", "model x", rows({"a.png": 0.4, "b.png": 0.6})),
        Result("AVIF-PSNR", "speed 1", rows({"a.png": 1.0, "b.png": 1.0})),
    ]
    folder = tmp_path_factory.mktemp("set")
    pictures = ImageSet("two images", (folder / "a.png", folder / "b.png"))
    (folder / "a.png.html").write_text("<title>page of a</title>")
    document = document_of(results, pictures, [], lambda name: f"{name}.html")
    (folder / "set.html").write_text(html("set", {"set": document, "made": []}), encoding="utf-8")
    return (folder / "set.html").as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast_and_controls_have_names(browser, report, scheme):  # noqa: F811
    browser.open(report, scheme=scheme)
    browser.shown()
    ratio, element = browser.run(CONTRAST)
    assert ratio >= 4.5, element
    for control in browser.driver.find_elements("css selector", "button, select, [role=slider], svg[tabindex], canvas[role=img]"):
        if control.is_displayed():
            assert control.accessible_name, control.get_attribute("outerHTML")


def test_nothing_moves_by_itself_where_less_motion_is_wanted(page):
    assert page.run("getComputedStyle(document.querySelector('.handle')).transitionDuration") == "0.12s"
    page.media("light", motion="reduce")
    assert page.run("getComputedStyle(document.querySelector('.handle')).transitionProperty") == "none"


def test_a_finger_moves_the_divider_and_two_zoom(browser, report):  # noqa: F811
    browser.open(report, 390, 844)
    browser.shown()
    box = browser.run("document.getElementById('stage').getBoundingClientRect().toJSON()")
    middle = box["top"] + box["height"] / 3

    def touch(kind: str, *xs: float) -> None:
        points = [{"x": x, "y": middle, "id": number} for number, x in enumerate(xs)]
        browser.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    browser.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        touch("touchStart", 195)
        touch("touchMove", 250)
        touch("touchMove", 300)
        touch("touchEnd")
        assert split(browser) > 70
        touch("touchStart", 150, 240)
        for spread in (20, 40, 60):
            touch("touchMove", 150 - spread, 240 + spread)
        touch("touchEnd")
        assert browser.run("viewer.stage.zoomed")
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})

"""A real browser for tests of pages: Chromium without a window, driven by Selenium."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1440,900",
)
WAIT = 60
"""Seconds until something on a page must have happened, on a busy machine."""


class Browser:
    """One tab. `get` and the like are the driver's."""

    def __init__(self, driver: Any):
        self.driver = driver

    def open(self, address: str, width: int = 1440, height: int = 900, scheme: str = "light") -> None:
        """Open a page that shows an image, at a size and in a colour scheme, and wait until the image is there."""
        self.size(width, height)
        self.media(scheme)
        self.log()
        self.driver.get("about:blank")
        self.driver.get(address)

    def wait(self, condition: str) -> Any:
        """The value of a JavaScript expression as soon as it is true."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, WAIT, 0.05).until(lambda driver: driver.execute_script(f"return {condition}"), condition)

    def shown(self) -> None:
        """Wait until an image is shown."""
        self.wait("document.documentElement.dataset.shown")

    def run(self, expression: str, *arguments: Any) -> Any:
        """The value of a JavaScript expression."""
        return self.driver.execute_script(f"return {expression}", *arguments)

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def click(self, selector: str) -> None:
        self.run("arguments[0].scrollIntoView({block: 'center'})", self.find(selector))
        self.find(selector).click()

    def text(self, selector: str) -> str:
        return self.find(selector).text

    def keys(self, *keys: str) -> None:
        """Press keys, with the focus where it is."""
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def media(self, scheme: str, motion: str = "no-preference") -> None:
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": name, "value": value} for name, value in features.items()]}
        )

    def log(self) -> list[str]:
        """Messages of the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def pixels(self, x: int, y: int, width: int, height: int) -> list[int]:
        """RGBA values of a part of the stage's canvas."""
        script = "document.getElementById('canvas').getContext('2d').getImageData(...arguments).data"
        return self.run(f"[...{script}]", x, y, width, height)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The browser. Without one its tests are skipped, but fail where DCTCODEC_NEED_BROWSER is set."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and chromedriver):
        message = "Chromium and its driver are not installed: apt install chromium chromium-driver"
        pytest.fail(message) if os.environ.get("DCTCODEC_NEED_BROWSER") else pytest.skip(message)
    driver = _driver(chromium, chromedriver, tmp_path_factory.mktemp("browser"))
    yield Browser(driver)
    driver.quit()


def _driver(chromium: str, chromedriver: str, folder: Path) -> Any:
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = chromium
    for switch in (*SWITCHES, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    downloads = {"download.default_directory": str(folder / "downloads"), "download.prompt_for_download": False}
    options.add_experimental_option("prefs", downloads)
    driver = webdriver.Chrome(options=options, service=Service(chromedriver))
    driver.downloads = folder / "downloads"
    return driver

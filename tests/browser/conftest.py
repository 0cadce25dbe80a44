"""The report of a small run in headless Chromium, without a GPU and without a network."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pages import SOFTWARE_GL, Browser, until, write_page
from selenium import webdriver
from small_run import NAMES


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the passes, and the report in ``report``."""
    folder = tmp_path_factory.mktemp("run")
    write_page(folder, NAMES)
    return folder


@pytest.fixture(scope="session")
def start(run: Path) -> Iterator[Callable[..., Browser]]:
    """Open the page in a browser of these arguments, and wait until all of it is there."""
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    assert all(programs), "these tests need Chromium and its driver: bash tests/browser/get_chromium.sh"
    browser, driver = map(str, programs)
    started: list[Browser] = []

    def open_page(*arguments: str, page: Path = run / "report" / "report.html") -> Browser:
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        for argument in ("--headless=new", "--no-sandbox", "--window-size=1200,900", *arguments):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        options.add_experimental_option("prefs", {"download.default_directory": str(run)})
        chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        started.append(chrome)
        chrome.get(page.as_uri())
        until(chrome, "document.documentElement.dataset.ready")
        return chrome

    yield open_page
    for chrome in started:
        chrome.quit()


@pytest.fixture(scope="session")
def page(start: Callable[..., Browser]) -> Browser:
    return start(*SOFTWARE_GL)

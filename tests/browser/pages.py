"""What tests of the page in a browser share."""

from __future__ import annotations

from pathlib import Path

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait
from small_run import write_run

from drgnalign.report.facts import run_facts
from drgnalign.report.page import write_report

SOFTWARE_GL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
NO_WEBGL = ("--disable-gpu", "--disable-webgl", "--disable-3d-apis")
# s; the machine may be busy
PATIENCE = 60
Browser = webdriver.Chrome


def write_page(folder: Path, names: dict[int, list[str]]) -> Path:
    """``report/report.html`` of a run whose rounds have these clusters."""
    folders = write_run(folder, names)
    (folder / "report").mkdir()
    write_report(folders, run_facts(folders, {}), folder / "report", folder / "report")
    return folder / "report" / "report.html"


def until(chrome: Browser, condition: str) -> None:
    """Wait for an expression of JavaScript to hold."""
    WebDriverWait(chrome, PATIENCE, 0.05).until(lambda _: chrome.execute_script(f"return Boolean({condition})"))

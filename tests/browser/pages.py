"""What tests of the page in a browser share."""

from __future__ import annotations

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

SOFTWARE_GL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
NO_WEBGL = ("--disable-gpu", "--disable-webgl", "--disable-3d-apis")
# s; the machine may be busy
PATIENCE = 60
Browser = webdriver.Chrome


def until(chrome: Browser, condition: str) -> None:
    """Wait for an expression of JavaScript to hold."""
    WebDriverWait(chrome, PATIENCE, 0.05).until(lambda _: chrome.execute_script(f"return Boolean({condition})"))

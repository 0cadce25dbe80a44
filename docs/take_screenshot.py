#!/usr/bin/env python3
"""`make screenshot`: docs/report.png, the first screens of the report of `make demo` as Chromium draws them."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).resolve().parents[1]
PAGE, PICTURE = ROOT / "demo" / "results" / "report.html", ROOT / "docs" / "report.png"
WIDTH, HEIGHT, COLOURS = 1240, 1900, 192
# s, without a GPU
PATIENCE = 60


def main() -> None:
    """Draw the page, and keep few enough colours for a small file."""
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs):
        sys.exit("Chromium and its driver are missing\n  What to do: bash tests/browser/get_chromium.sh")
    if not PAGE.is_file():
        sys.exit(f"{PAGE}: no such file\n  What to do: make demo")
    browser, driver = map(str, programs)
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars", f"--window-size={WIDTH},{HEIGHT}"):
        options.add_argument(argument)
    for argument in ("--use-angle=swiftshader", "--enable-unsafe-swiftshader"):
        options.add_argument(argument)
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        chrome.get(PAGE.as_uri())
        WebDriverWait(chrome, PATIENCE).until(
            lambda _: chrome.execute_script("return Boolean(document.documentElement.dataset.ready)")
        )
        picture = Image.open(io.BytesIO(chrome.get_screenshot_as_png())).convert("RGB")
    finally:
        chrome.quit()
    picture.quantize(COLOURS).save(PICTURE, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()

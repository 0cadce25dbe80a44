#!/usr/bin/env python3
"""`make screenshot`: docs/report.png, the first screens of the report of `make demo` as Chromium draws them."""

from __future__ import annotations

import io
import sys

from arms import REPOSITORY
from PIL import Image
from selenium.webdriver.support.ui import WebDriverWait

from report import chromium

PAGE, PICTURE = REPOSITORY / "demo" / "results" / "report.html", REPOSITORY / "docs" / "report.png"
WIDTH, HEIGHT, COLOURS = 1240, 2052, 192
# Where the picture ends: below the clusters' maps
END = "const maps = [...document.querySelectorAll('#maps .dr-cell:not(.dr-film)')];"
END += "return Math.max(...maps.map((map) => map.getBoundingClientRect().bottom)) + 12"
# s, without a GPU
PATIENCE = 60


def main() -> None:
    """Draw the page, and keep few enough colours for a small file."""
    if not PAGE.is_file():
        sys.exit(f"{PAGE}: no such file\n  What to do: make demo")
    chrome = chromium("--hide-scrollbars", f"--window-size={WIDTH},{HEIGHT}")
    try:
        chrome.get(PAGE.as_uri())
        WebDriverWait(chrome, PATIENCE).until(
            lambda _: chrome.execute_script("return Boolean(document.documentElement.dataset.ready)")
        )
        bottom = chrome.execute_script(END)
        picture = Image.open(io.BytesIO(chrome.get_screenshot_as_png())).convert("RGB")
        picture = picture.crop((0, 0, picture.width, min(int(bottom), picture.height)))
    finally:
        chrome.quit()
    # which keeps colours of small areas too, as those of the clusters are
    picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE).save(PICTURE, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()

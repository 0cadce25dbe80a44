"""Which library an image holds, and that another one is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from drgnalign.errors import InputError
from drgnalign.version import PACKAGE, TITLE, check_image, source_digest

IMAGE = Path("images/drgnalign.sif")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PACKAGE, tmp_path / "drgnalign", ignore=shutil.ignore_patterns("__pycache__")))


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({TITLE: "drgnalign"}))
    return path


def test_digest_is_of_names_and_contents(checkout: Path) -> None:
    assert source_digest(checkout) == source_digest()
    (checkout / "notes.txt").write_text("no source")
    assert source_digest(checkout) == source_digest()
    (checkout / "geometry.py").rename(checkout / "merging.py")
    renamed = source_digest(checkout)
    (checkout / "merging.py").write_text("# changed\n")
    assert len({renamed, source_digest(checkout), source_digest()}) == 3


def test_images_that_do_not_fit_are_refused(checkout: Path, labels: Path, tmp_path: Path) -> None:
    check_image(IMAGE, "drgnalign", checkout, labels)
    with pytest.raises(InputError, match=r"drgnalign\.sif: is the image drgnalign, not cryodrgn"):
        check_image(IMAGE, "cryodrgn", checkout, labels)
    with pytest.raises(InputError, match=r"drgnalign\.sif: is no image that `make images` has built"):
        check_image(IMAGE, "drgnalign", checkout, tmp_path / "absent.json")
    (checkout / "merge.py").write_text("# changed\n")
    with pytest.raises(InputError, match=rf"{source_digest()[:12]}.*{source_digest(checkout)[:12]}.*\n.*make images"):
        check_image(IMAGE, "drgnalign", checkout, labels)

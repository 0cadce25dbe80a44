"""``report.html``: one file that holds all of itself, opened from disk, without a network."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from drgnalign.files import write_text
from drgnalign.heterogeneity.verdicts import CERTAIN, LEAST_GAIN
from drgnalign.report.advice import MASK, TERMS, figure_of
from drgnalign.report.points import embedded_points
from drgnalign.report.slices import defocus_image, posterior_image, slice_images, views_image
from drgnalign.report.volumes import embedded_volumes
from drgnalign.run.state import FILTERED, MAPS, beside

TEMPLATES = "templates"
# Maps that are named one by one, and clusters of which pictures are large: the page must stay small.
OPENED, LARGE = 6, 24
OPTION = re.compile(r"--\w+")


def write_report(folders: Mapping[int, Path], facts: Mapping[str, Any], pictures: Path, outdir: Path) -> None:
    """Write ``report.json`` and ``report.html``; neither is ever there by half.

    Parameters
    ----------
    folders : mapping of int to Path
        Folders of the passes, see `drgnalign.report.facts.run_facts`.
    facts : mapping
        Of `run_facts`.
    pictures : Path
        Folder with the PNGs of `drgnalign.report.figures`, which stand where there is no JavaScript.
    outdir : Path
    """
    # what is broken is found before either is written
    page, numbers = rendered(folders, facts, pictures), json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(outdir / "report.json", f"{numbers}\n")
    write_text(outdir / "report.html", page)


def rendered(folders: Mapping[int, Path], facts: Mapping[str, Any], pictures: Path) -> str:
    """The page's text."""
    last, small = folders[facts["pass"]], len(facts["clusters"]) > LARGE
    environment = Environment(
        loader=PackageLoader("drgnalign.report", TEMPLATES),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"angstrom": _angstrom, "figure": _figure, "percent": _percent}
    environment.filters |= {"count": _count, "duration": _duration, "prose": _prose, "spoken": _spoken}
    resources = files("drgnalign.report") / TEMPLATES
    return environment.get_template("report.html.j2").render(
        facts=facts,
        terms=TERMS,
        mask=MASK,
        least_gain=LEAST_GAIN,
        certain=CERTAIN,
        opened=OPENED,
        images={cluster["name"]: _images(last, cluster, small) for cluster in facts["clusters"]},
        pictures={path.stem: _data_uri(path.read_bytes()) for path in sorted(pictures.glob("*.png"))},
        style=Markup((resources / "report.css").read_text(encoding="utf-8")),
        script=Markup((resources / "report.js").read_text(encoding="utf-8")),
        data=_embedded(facts),
        volumes=_embedded(embedded_volumes(folders, facts)),
        points=_embedded(embedded_points(folders, facts)),
    )


def _images(folder: Path, cluster: Mapping[str, Any], small: bool) -> dict[str, Any]:
    """Pictures of a cluster as data URIs: central slices, views, defoci, posteriors."""
    volume = beside(folder / MAPS / cluster["name"], FILTERED)
    posteriors = cluster["posteriors"]
    return {
        "slices": [_data_uri(image) for image in slice_images(volume, small)] if volume.is_file() else [],
        "views": _data_uri(views_image(cluster["views"], small)),
        "defocus": _data_uri(defocus_image(cluster["defocus"], cluster["colour"], small)),
        "posteriors": _data_uri(posterior_image(posteriors, cluster["colour"], small)) if posteriors else None,
    }


def _embedded(value: Mapping[str, Any]) -> Markup:
    """JSON inside a page: no text in it may end the element that holds it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _data_uri(image: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(image).decode('ascii')}"


def _prose(text: str) -> Markup:
    """Browsers would break a line after the hyphens of an option."""
    return Markup(OPTION.sub(r'<span class="whole">\g<0></span>', str(escape(text))))


def _spoken(names: str) -> str:
    """``cluster 1`` for ``cluster_01``, as figures and maps have it."""
    return re.sub(r"cluster_0*(\d+)", r"cluster \1", names)


def _angstrom(value: float | None) -> str:
    return "–" if value is None else f"{figure_of(value)} Å"


def _figure(value: float | None, digits: int = 2) -> str:
    if value is None:
        return "–"
    # none of them is less than nothing
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _duration(hours: float) -> str:
    if hours < 1 / 60:
        return f"{3600 * hours:.0f} s"
    return f"{60 * hours:.0f} min" if hours < 2 else f"{hours:.1f} h"

#!/usr/bin/env python3
"""Size, seconds and memory of the report of a large run, and how soon and with what memory a browser shows it.

The run is made up: maps of random chains in noise, latent variables of random groups. `drgnalign report` writes
the page from its folders as it would from a real run's; headless Chromium without a GPU opens it from disk.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from arms import REPOSITORY
from formats import processor, random_particles
from scipy.ndimage import gaussian_filter
from scipy.signal import lfilter
from scipy.special import erf
from selenium import webdriver

from drgnalign.files import atomic_path
from drgnalign.formats.mrc import write_volume
from drgnalign.formats.star import write_star
from drgnalign.fourier import soft_sphere
from drgnalign.run.latent import EMBEDDING_RECORD, TRAINING, EmbeddingRecord, TrainingRecord
from drgnalign.run.record import write_record
from drgnalign.run.records import ClusteringRecord, ClusterMetrics, PassMetrics
from drgnalign.run.state import METRICS

PIXEL_SIZE, ZDIM, TRAIN_BOX = 1.31, 8, 128
MB, GB = 1e6, 2**20
CLOCK = os.sysconf("SC_CLK_TCK")
# Bars: MB of the page, seconds and GB to write it, seconds to open it, MB of the browser's page.
BARS = {"page_mb": 8.0, "write_seconds": 60.0, "write_gb": 2.0, "open_seconds": 3.0, "open_mb": 300.0}
BROWSER = ("--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


def chain(box: int, seed: int, own: int) -> np.ndarray:
    """A map of a random chain in a cube, whose last quarter is another one in each cluster, in noise."""
    steps = np.random.default_rng(seed).normal(size=(40_000, 3))
    steps[30_000:] = np.random.default_rng(seed + own).normal(size=(10_000, 3))
    # drawn back to the middle, and then spread evenly: a molecule is as dense at its edge as inside
    places = lfilter([1.0], [1.0, -0.99], steps, axis=0)
    places = box / 2 + 0.2 * box * erf(places / places.std() / np.sqrt(2))
    atoms, _ = np.histogramdd(places, box, [(0, box)] * 3)
    noise = np.random.default_rng(own).normal(scale=0.05, size=atoms.shape)
    return gaussian_filter((atoms + noise).astype(np.float32), 2.0)


def make_maps(folder: Path, clusters: int, box: int) -> None:
    """One map a cluster, which all rounds share."""
    folder.mkdir(parents=True)
    write_volume(folder / "mask.mrc", soft_sphere(box, 0.3 * box, 6), PIXEL_SIZE)
    for label in range(clusters + 1):
        name = f"cluster_{label:02d}" if label else "consensus"
        write_volume(folder / f"{name}.mrc", chain(box, 1, label), PIXEL_SIZE)
    for frame in range(1, 7):
        small = chain(TRAIN_BOX, 1, frame)
        write_volume(folder / f"pc1_{frame:02d}.mrc", small, PIXEL_SIZE * box / TRAIN_BOX)


def make_pass(folder: Path, maps: Path, number: int, round_: int, rows: int, clusters: int, box: int) -> None:
    """Everything of a pass that the report reads."""
    random = np.random.default_rng(round_)
    (folder / "clusters").mkdir(parents=True)
    names = [f"cluster_{label:02d}" for label in range(1, clusters + 1)] if round_ else ["consensus"]
    for name in (*names, "mask"):
        os.link(maps / f"{name}.mrc", folder / "clusters" / f"{name}.mrc")
    # a tenth changes from round to round
    labels = np.random.default_rng(0).integers(1, clusters + 1, rows)
    moved = random.random(rows) < 0.1
    labels = np.where(moved, random.integers(1, clusters + 1, rows), labels) if round_ else np.zeros(rows, np.int64)
    write_particles(folder, labels, box)
    sizes = (
        {name: int((labels == label).sum()) for label, name in enumerate(names, 1)} if round_ else {"consensus": rows}
    )
    write_figures(folder, number, round_, sizes, box)
    if round_:
        write_latent(folder / "latent", labels, random)
        (folder / "decoded").mkdir()
        for path in maps.glob("pc1_*.mrc"):
            os.link(path, folder / "decoded" / path.name)


def write_particles(folder: Path, labels: np.ndarray, box: int) -> None:
    particles = random_particles(len(labels), seed=1)
    particles.optics = particles.optics.assign(rlnImagePixelSize=PIXEL_SIZE, rlnImageSize=box, drgnContrast="white")
    own: dict[str, Any] = {
        "rlnClassNumber": labels,
        "drgnRow": np.arange(len(labels)),
        "drgnLeftOut": 0,
        "drgnPosterior": 0.9,
    }
    particles.table = particles.table.assign(**own)
    write_star(particles, folder / "particles.star")


def write_figures(folder: Path, number: int, round_: int, sizes: dict[str, int], box: int) -> None:
    """metrics.json and fsc.csv."""
    clusters = [
        ClusterMetrics(
            cluster=name,
            particles=size,
            skipped=False,
            carried=False,
            alignment_limit_angstrom=5.0,
            resolution_angstrom=3.5,
            reaches_nyquist=False,
            mean_fsc=0.8,
            spread=0.02,
            halves="independent",
        )
        for name, size in sizes.items()
    ]
    clustering = ClusteringRecord(method="gmm", space="z", proposed=len(sizes), ari_with_last_round=0.9)
    metrics = PassMetrics(
        number=number,
        round=round_,
        particles=sum(sizes.values()),
        halves="independent",
        clusters=clusters,
        clustering=clustering if round_ else None,
    )
    write_record(metrics, folder / METRICS)
    shells = np.arange(1, box // 2 + 1)
    kinds = [f"fsc_{kind}" for kind in ("unmasked", "masked", "randomised", "corrected")]
    curve = pd.DataFrame({"shell": shells, "resolution_angstrom": box * PIXEL_SIZE / shells})
    curve = curve.assign(**dict.fromkeys(kinds, 1 / (1 + np.exp((shells - 0.35 * box) / 6))))
    curve = curve.assign(resolution_0143_angstrom=3.5, alignment_limit_angstrom="5.0", mask="mask.mrc")
    pd.concat([curve.assign(cluster=name) for name in sizes]).to_csv(folder / "fsc.csv", index=False)


def write_latent(folder: Path, labels: np.ndarray, random: np.random.Generator) -> None:
    folder.mkdir()
    centres = np.random.default_rng(7).normal(scale=3, size=(labels.max() + 1, ZDIM))
    z = centres[labels] + random.normal(size=(len(labels), ZDIM))
    columns = {"row": np.arange(len(labels))} | {f"z{i}": values for i, values in enumerate(z.T)}
    columns |= {f"pc{i}": values for i, values in enumerate(z.T, 1)}
    for dimension in (2, 3):
        columns |= {f"umap{dimension}_{i}": z[:, i].astype(np.float32) for i in range(1, dimension + 1)}
    pd.DataFrame(columns).to_csv(folder / "embedding.csv", index=False)
    write_record(EmbeddingRecord(explained_variance=[1 / ZDIM] * ZDIM), folder / EMBEDDING_RECORD)
    losses: list[dict[str, float | None]] = [
        {"epoch": epoch, "reconstruction": 0.7, "kld": 0.5, "total": 0.7 + 1 / epoch} for epoch in range(1, 41)
    ]
    record = TrainingRecord(
        epoch=40, first_epoch=1, losses=losses, settings={}, device="cuda", cryodrgn_version="4.3.1"
    )
    write_record(record, folder / TRAINING)


def written(results: Path) -> dict[str, float]:
    """What `drgnalign report` needs; this process must be smaller, for a child begins as its copy."""
    start = time.perf_counter()
    child = subprocess.Popen([Path(sys.executable).with_name("drgnalign"), "report", results])
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"exit status {child.returncode}")
    return {
        "write_seconds": round(time.perf_counter() - start, 1),
        "write_cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "write_gb": round(usage.ru_maxrss / GB, 2),
        "page_mb": round((results / "report.html").stat().st_size / MB, 2),
    }


def chromium(*arguments: str) -> webdriver.Chrome:
    """Chromium without a GPU."""
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs):
        sys.exit("Chromium and its driver are missing\n  What to do: bash tests/browser/get_chromium.sh")
    browser, driver = map(str, programs)
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in (*BROWSER, *arguments):
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


def opened(page: Path) -> dict[str, float]:
    """Until every part of the page is drawn; memory of its process, shared libraries by share, after that."""
    driver = chromium()
    try:
        root = driver.service.process.pid
        before, spent = renderers(root), cpu_seconds(root)
        driver.get(page.as_uri())
        ready = "return performance.getEntriesByName('ready')[0]?.startTime"
        while (milliseconds := driver.execute_script(ready)) is None:
            time.sleep(0.05)
        spent = cpu_seconds(root) - spent
        heap = driver.execute_cdp_cmd("Runtime.getHeapUsage", {})["usedSize"]
        return {
            "open_seconds": round(milliseconds / 1000, 2),
            "open_cpu_seconds": round(spent, 2),
            "open_mb": round(max(renderers(root).values(), default=0) / 1000),
            "heap_mb": round(heap / MB),
            "empty_mb": round(max(before.values(), default=0) / 1000),
        }
    finally:
        driver.quit()


def family(root: int) -> dict[int, str]:
    """Commands of a process and all that it started."""
    table = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in table.splitlines()]
    found = {root}
    while more := {int(pid) for pid, parent, _ in rows if int(parent) in found} - found:
        found |= more
    return {int(pid): command for pid, _, command in rows if int(pid) in found}


def renderers(root: int) -> dict[int, int]:
    """kB of each process that shows a page, of those that a driver started."""
    return {pid: shared_by_share(pid) for pid, command in family(root).items() if "--type=renderer" in command}


def cpu_seconds(root: int) -> float:
    """Of all processes that a driver started: the page's own, and the one that draws in place of a GPU."""
    after_name = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in family(root)]
    return sum(int(user) + int(system) for *_, user, system in (words[:13] for words in after_name)) / CLOCK


def shared_by_share(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return int(next(line.split()[1] for line in lines if line.startswith("Pss:")))


@click.command()
@click.option("--rows", type=int, default=300_000, show_default=True)
@click.option("--rounds", type=int, default=5, show_default=True)
@click.option("--clusters", type=int, default=6, show_default=True)
@click.option("--box", type=int, default=320, show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for the page.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=REPOSITORY / "benchmarks" / "results" / "report.json"
)
def main(rows: int, rounds: int, clusters: int, box: int, keep: Path | None, output: Path) -> None:
    """Measure, print, write the results; exit status 1 if a bar is missed."""
    load = os.getloadavg()
    folder = REPOSITORY / "benchmarks" / "out" / f"report_{os.getpid()}"
    results = folder / "results"
    try:
        make_maps(folder / "maps", clusters, box)
        make_pass(results / "consensus" / "pass_01", folder / "maps", 1, 0, rows, clusters, box)
        for round_ in range(1, rounds + 1):
            make_pass(results / f"round_{round_:02d}", folder / "maps", 1 + round_, round_, rows, clusters, box)
        print("the run is made", flush=True)
        figures = written(results)
        figures |= opened(results / "report.html")
        if keep:
            shutil.copy(results / "report.html", keep)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    record = {
        "command": " ".join(["benchmarks/report.py", *sys.argv[1:]]),
        "machine": {"processor": processor(), "cores": os.cpu_count(), "load_average": [load, os.getloadavg()]},
        "settings": {"particles": rows, "rounds": rounds, "clusters": clusters, "box": box},
        "bars": BARS,
        "results": figures,
    }
    print(json.dumps(figures, indent=1))
    with atomic_path(output) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    missed = [name for name, bar in BARS.items() if figures[name] > bar]
    print(f"missed: {', '.join(missed) or 'none'}")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()

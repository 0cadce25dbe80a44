"""Training of cryoDRGN on the current poses."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drgnalign.errors import DrgnalignError, InputError
from drgnalign.files import significant, write_text
from drgnalign.formats.cryodrgn import (
    read_indices,
    read_latent,
    write_ctf,
    write_indices,
    write_latent,
    write_poses,
)
from drgnalign.formats.mrc import read_header
from drgnalign.heterogeneity.cryodrgn import run_cryodrgn
from drgnalign.heterogeneity.memory import available_memory
from drgnalign.run.latent import CONFIG, LOG, TRAINED_ON, TRAINING, WEIGHTS, TrainingRecord, Z, write_images
from drgnalign.run.record import read_record, write_record

if TYPE_CHECKING:
    from drgnalign.particles import Particles

MADE = (WEIGHTS, Z, CONFIG)
# cryoDRGN holds the images twice while it loads them (measured: 5.8 and 10.9 GB for 2.6 and 5.2 GB), and itself.
STACK_COPIES, PROGRAM_BYTES = 2, 4 * 2**30
# Images are read batch by batch, in the same order: the result is the same bit by bit.
LAZILY = ("--lazy", "--num-workers", 0)
# cryoDRGN restores the optimiser together with the weights, its learning rate included.
FIXED_SETTINGS = ("box", "zdim", "layers", "nodes", "learning_rate")
EPOCH_LINE = re.compile(
    r"Epoch: (\d+) Average gen loss = ([^,\s]+), KLD = ([^,\s]+), total loss = ([^;\s]+); Finished in"
)


class Checkpoints(NamedTuple):
    """Where a training that may be ended from outside keeps how far it came.

    Attributes
    ----------
    folder : Path
        Outlives an attempt. Each training has a folder of its own in it, which attempts share, even at the same time.
    epochs : int
        So many are trained at a time.
    note : Path, optional
        File that gets the name of a training's folder when it has ended: who asked for it removes the folder once the
        result is safe. Without it the folder goes at once.
    """

    folder: Path
    epochs: int
    note: Path | None = None


def train(
    stack: Path,
    particles: Particles,
    box: int,
    pixel_size: float,
    previous: Path | None,
    outdir: Path,
    *,
    zdim: int,
    layers: int,
    nodes: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    beta: float,
    seed: int,
    threads: int,
    checkpoints: Checkpoints | None = None,
) -> TrainingRecord:
    """Train cryoDRGN's variational autoencoder at the particles' present poses.

    Particles that are left out are not trained on. Their latent variables are what the trained encoder says of them,
    so that ``z.pkl`` has one row a particle whoever is left out; a later round may take them back.

    With checkpoints the training is one of several stretches, each a run of cryoDRGN of its own from the weights and
    the optimiser's state of the last. One that was interrupted goes on after its last whole stretch and ends as if it
    had not been.

    Parameters
    ----------
    stack : path
        ``.mrcs`` file with the images of all particles in the table's order, white protein.
    particles : Particles
        Poses and CTF parameters.
    box, pixel_size : int, float
        Of `stack`, px and Å; the displacements in `particles` are in pixels of the original images.
    previous : path or None
        `outdir` of the previous round, from whose weights the training goes on; None starts afresh.
    outdir : path
        Folder to write ``weights.pkl``, ``z.pkl``, ``config.yaml``, ``train.log``, ``images.sha256`` and
        ``training.json`` into, and ``ind.pkl`` where some are left out.
    zdim, layers, nodes : int
        Dimensions of the latent variable; hidden layers of encoder and decoder and nodes in each.
    epochs : int
        Passes over the data, in addition to those of the previous rounds.
    batch_size, learning_rate, beta, seed
        cryoDRGN's ``-b``, ``--lr``, ``--beta`` and ``--seed``.
    threads : int
        CPU threads. One seed, one number of threads and one length of stretches give one result, bit by bit, on a CPU.
    checkpoints : Checkpoints, optional

    Returns
    -------
    TrainingRecord
        The contents of ``training.json``.

    Raises
    ------
    InputError
        The stack does not fit, or a setting differs from the previous round's network.
    DrgnalignError
        cryoDRGN is missing or fails, or its latent variables are not finite.
    """
    settings: dict[str, Any] = {
        "box": box,
        "zdim": zdim,
        "layers": layers,
        "nodes": nodes,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "beta": beta,
        "seed": seed,
        "threads": threads,
    }
    _check_stack(stack, len(particles), box)
    left_out = particles.left_out()
    first_epoch = 1 if previous is None else _last_epoch(previous, settings) + 1
    outdir.mkdir(parents=True, exist_ok=True)
    log = outdir / LOG
    with tempfile.TemporaryDirectory(dir=outdir, prefix=".training-") as folder:
        work = Path(folder)
        write_poses(work / "poses.pkl", particles.rotations(), particles.displacements(), particles.box)
        write_ctf(work / "ctf.pkl", particles, box, pixel_size)
        geometry = ["--poses", work / "poses.pkl", "--ctf", work / "ctf.pkl"]
        command = [*geometry, "--checkpoint", 0, "--no-analysis"]
        command += ["--zdim", zdim, "--enc-layers", layers, "--dec-layers", layers]
        command += ["--enc-dim", nodes, "--dec-dim", nodes, "--activation", "relu"]
        command += ["-b", batch_size, "--lr", learning_rate, "--beta", beta]
        lazy = needed_memory(stack) > available_memory()
        if lazy:
            command += LAZILY
        if left_out.any():
            write_indices(work / TRAINED_ON, np.flatnonzero(~left_out))
            command += ["--ind", work / TRAINED_ON]
        last_epoch = first_epoch + epochs - 1
        name = _digest(settings | {"epochs": [first_epoch, last_epoch]}, stack, work, previous)
        kept = (checkpoints.folder if checkpoints else work) / name
        length = checkpoints.epochs if checkpoints else epochs
        reached, weights = _last_stretch(kept, log) or (first_epoch - 1, previous)
        if reached >= first_epoch:
            print(f"going on after epoch {reached} of {last_epoch}, where this training was interrupted", flush=True)
        while reached < last_epoch:
            # the first stretch has the seed itself, as a training without checkpoints
            options = [*command, "--seed", seed + reached + 1 - first_epoch]
            reached = min(reached + length, last_epoch)
            options += ["-n", reached]
            weights = _stretch(stack, options, weights, kept / f"epoch_{reached:05d}", log, threads)
        assert weights is not None
        _check_latent(weights / Z, int((~left_out).sum()), log)
        for made in MADE:
            shutil.copyfile(weights / made, work / made)
        if left_out.any():
            options = ["-b", batch_size, *geometry, *(LAZILY[:1] if lazy else [])]
            _encode_others(stack, options, left_out, work, outdir / "eval_images.log", threads)
        for path in filter(Path.exists, (work / made for made in (*MADE, TRAINED_ON))):
            path.replace(outdir / path.name)
        if checkpoints is None or checkpoints.note is None:
            # another attempt may have done so
            shutil.rmtree(kept, ignore_errors=True)
        else:
            write_text(checkpoints.note, f"{name}\n")
    record = _record(log.read_text(), first_epoch, settings, lazy)
    write_images(particles, outdir)
    write_record(record, outdir / TRAINING)
    return record


def needed_memory(stack: Path) -> int:
    """Bytes that cryoDRGN takes where it holds all images of a stack."""
    return STACK_COPIES * stack.stat().st_size + PROGRAM_BYTES


def _digest(settings: Mapping[str, Any], stack: Path, work: Path, previous: Path | None) -> str:
    """Of all that a training depends on: one of the same name is the same."""
    facts, real = hashlib.sha256(), stack.resolve()
    facts.update(json.dumps([settings, str(real), real.stat().st_size, real.stat().st_mtime_ns]).encode())
    weights = [] if previous is None else [previous / WEIGHTS]
    for path in (work / "poses.pkl", work / "ctf.pkl", work / TRAINED_ON, *weights):
        facts.update(path.read_bytes() if path.exists() else b"")
    return facts.hexdigest()[:16]


def _last_stretch(kept: Path, log: Path) -> tuple[int, Path] | None:
    """Epoch and folder of the last whole stretch of a training, whose log goes on; None where there is none."""
    log.unlink(missing_ok=True)
    whole = sorted(kept.glob("epoch_*"))
    if not whole:
        return None
    shutil.copyfile(whole[-1] / log.name, log)
    return int(whole[-1].name.removeprefix("epoch_")), whole[-1]


def _stretch(
    stack: Path, options: Sequence[object], weights: Path | None, whole: Path, log: Path, threads: int
) -> Path:
    """Train some epochs from the weights of a folder; `whole` is there when all of it is, and earlier ones go but the
    last, which another attempt may be reading."""
    whole.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=whole.parent, prefix=".part-") as folder:
        part = Path(folder) / whole.name
        command = ["train_vae", stack.resolve(), "-o", part, *options]
        command += [] if weights is None else ["--load", (weights / WEIGHTS).resolve()]
        run_cryodrgn(command, log, threads)
        shutil.copyfile(log, part / log.name)
        try:
            part.rename(whole)
        except OSError:
            # another attempt at this training was there first, with the same
            if not whole.is_dir():
                raise
    earlier = sorted(path for path in whole.parent.glob("epoch_*") if path.name < whole.name)
    for path in earlier[:-1]:
        shutil.rmtree(path, ignore_errors=True)
    return whole


def _check_stack(stack: Path, count: int, box: int) -> None:
    shape = read_header(stack).shape
    if shape != (count, box, box):
        raise InputError(
            stack,
            f"the stack's shape is {shape} where {(count, box, box)} is expected (images, rows, columns)",
            "give the down-sampled stack of these particles",
        )
    if box % 2:
        raise InputError(stack, f"cryoDRGN needs an even box and got {box} px", "choose an even training box")


def _last_epoch(previous: Path, settings: dict[str, Any]) -> int:
    """Last epoch of the previous training, whose network must be the one that `settings` asks for."""
    path = previous / TRAINING
    if not path.is_file():
        raise InputError(path, "the previous training's record is missing", "give the folder of a finished training")
    record = read_record(TrainingRecord, path)
    for name in FIXED_SETTINGS:
        # as it is on record; of a training that was taken, the learning rate may not be
        before, now = record.settings.get(name), significant(settings[name])
        if before is not None and before != now:
            raise InputError(
                path,
                f"{name} was {before} in the previous training and is {now} now",
                f"keep --{name} {before}, or start afresh without the previous weights",
            )
    return record.epoch


def _check_latent(path: Path, count: int, log: Path) -> None:
    mu, _ = read_latent(path)
    if len(mu) != count or not np.isfinite(mu).all():
        raise DrgnalignError(
            log,
            f"cryoDRGN gave {len(mu)} latent variables for {count} particles, or some that are not finite",
            "lower the learning rate; check the images for constant or infinite pixels",
        )


def _encode_others(
    stack: Path, options: Sequence[object], left_out: NDArray[np.bool_], work: Path, log: Path, threads: int
) -> None:
    """Complete the ``z.pkl`` of a training in `work` with what its encoder makes of the particles left out (N,)."""
    write_indices(work / "left_out.pkl", np.flatnonzero(left_out))
    command = ["eval_images", stack.resolve(), work / WEIGHTS, "-c", work / CONFIG, *options]
    command += ["--ind", work / "left_out.pkl", "--out-z", work / "left_out_z.pkl", "-o", work / "losses.pkl"]
    run_cryodrgn(command, log, threads)
    _check_latent(work / "left_out_z.pkl", int(left_out.sum()), log)
    both = []
    for trained, encoded in zip(read_latent(work / Z), read_latent(work / "left_out_z.pkl"), strict=True):
        latent = np.empty((len(left_out), trained.shape[1]), np.float32)
        latent[~left_out], latent[left_out] = trained, encoded
        both.append(latent)
    write_latent(work / Z, *both)


def trained_on(folder: Path, count: int) -> NDArray[np.bool_]:
    """Which of the particles (count,) a training was of, from its folder."""
    path = folder / TRAINED_ON
    trained = np.full(count, not path.is_file())
    if path.is_file():
        rows = read_indices(path)
        if len(rows) and rows.max() >= count:
            problem = f"is of rows up to {rows.max()} (from 0), where {folder / Z} has {count:,}"
            raise InputError(path, problem, "give a folder whose files are of one training")
        trained[rows] = True
    return trained


def _finite(text: str) -> float | None:
    """A number as JSON has them; of a training that ran away, none."""
    return float(text) if math.isfinite(float(text)) else None


def losses_in(log: str) -> list[dict[str, float | None]]:
    """What was minimised in each epoch that cryoDRGN's log tells of, as `TrainingRecord` has it."""
    names = ("reconstruction", "kld", "total")
    return [
        {"epoch": int(epoch)} | {name: _finite(text) for name, text in zip(names, values, strict=True)}
        for epoch, *values in EPOCH_LINE.findall(log)
    ]


def _record(log: str, first_epoch: int, settings: dict[str, Any], lazy: bool) -> TrainingRecord:
    version = re.search(r"cryoDRGN (\d\S*)", log)
    return TrainingRecord(
        epoch=int(EPOCH_LINE.findall(log)[-1][0]),
        first_epoch=first_epoch,
        losses=losses_in(log),
        settings=settings,
        cryodrgn_version=version.group(1) if version else None,
        device="cuda" if "Use cuda True" in log else "cpu",
        lazy=lazy,
    )

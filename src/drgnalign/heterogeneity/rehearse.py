"""Before training: is there a GPU, and how long does it take without one?"""

from __future__ import annotations

import re
import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np

from drgnalign.errors import DrgnalignError
from drgnalign.formats.cryodrgn import write_ctf, write_indices, write_poses
from drgnalign.heterogeneity.cryodrgn import run_cryodrgn
from drgnalign.heterogeneity.memory import available_memory
from drgnalign.heterogeneity.train import needed_memory
from drgnalign.particles import Particles

# The first epoch is slower than all others, and any may be held up by other tasks: the fastest after it counts.
BATCHES, EPOCHS = 4, 4
DURATION = re.compile(r"Epoch: .*Finished in (?:(\d+) days?, )?(\d+):(\d+):([\d.]+)")


def gpu_name() -> str | None:
    """The GPU that cryoDRGN would use, None where it finds none."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def seconds_per_particle(
    stack: Path, particles: Particles, box: int, *, zdim: int, layers: int, nodes: int, batch_size: int, threads: int
) -> float:
    """What training takes here for each particle and epoch, timed with four batches of it.

    Parameters
    ----------
    stack, particles, box, zdim, layers, nodes, batch_size, threads
        As of `drgnalign.heterogeneity.train.train`.

    Returns
    -------
    float
        s.

    Raises
    ------
    DrgnalignError
        cryoDRGN is missing or fails.
    """
    count = min(BATCHES * batch_size, len(particles))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_poses(work / "poses.pkl", particles.rotations(), particles.displacements(), particles.box)
        write_ctf(work / "ctf.pkl", particles, box, particles.pixel_size * particles.box / box)
        write_indices(work / "ind.pkl", np.arange(count))
        options = ["--poses", work / "poses.pkl", "--ctf", work / "ctf.pkl", "--ind", work / "ind.pkl"]
        options += ["--zdim", zdim, "--enc-layers", layers, "--dec-layers", layers, "--activation", "relu"]
        options += ["--enc-dim", nodes, "--dec-dim", nodes, "-b", batch_size, "-n", EPOCHS, "--no-analysis"]
        log = work / "train.log"
        run_cryodrgn(["train_vae", stack.resolve(), "-o", work / "out", *options], log, threads)
        return epoch_seconds(log.read_text()) / count


def epoch_seconds(log: str) -> float:
    """Duration of the fastest epoch after the first in what cryoDRGN printed, s."""
    durations = []
    for found in DURATION.findall(log):
        days, hours, minutes, seconds = (float(text or 0) for text in found)
        durations.append(timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds())
    if len(durations) < 2:
        raise DrgnalignError(None, "cryoDRGN does not say how long an epoch took", "use cryodrgn 4.3.1")
    return min(durations[1:])


def in_words(seconds: float) -> str:
    """'40 s', '12 min', '3.5 h', '2.1 days'."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.2g} {unit}" if seconds < 100 * length else f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def fits_in_memory(stack: Path) -> bool:
    """Can cryoDRGN hold all images of the stack here? Else they are read batch by batch, with the same result."""
    return needed_memory(stack) <= available_memory()

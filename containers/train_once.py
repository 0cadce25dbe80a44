#!/usr/bin/env python3
"""One epoch of cryoDRGN on a tiny simulated set, on the CPU: the test of the image."""

from __future__ import annotations

import tempfile
from pathlib import Path

from drgnalign.formats.star import read_star
from drgnalign.heterogeneity.train import train
from drgnalign.simulate import phantom_states, simulate_set

BOX, PIXEL_SIZE = 32, 8.0

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        simulate_set(folder, phantom_states(1), [1.0], 32, BOX, PIXEL_SIZE, snr=1.0, seed=0)
        report = train(
            folder / "particles.mrcs",
            read_star(folder / "particles.star"),
            BOX,
            PIXEL_SIZE,
            None,
            folder / "training",
            zdim=2,
            layers=1,
            nodes=16,
            epochs=1,
            batch_size=8,
            learning_rate=1e-3,
            beta=0.5,
            seed=0,
            threads=1,
        )
    print(f"one epoch on the {report.device}")

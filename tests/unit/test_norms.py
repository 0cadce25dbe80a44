"""RELION's factors of grey values say what the noise of the images says, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from drgnalign.engine.noise import estimate_noise
from drgnalign.engine.reconstruct import insert_particles
from drgnalign.errors import InputWarning
from drgnalign.formats.mrc import ImageSource, StackWriter
from drgnalign.formats.star import write_star
from drgnalign.inputs import import_particles
from drgnalign.particles import Particles

BOX, PIXEL, DIAMETER, COUNT = 32, 8.0, 200.0, 500


def test_images_of_other_strength_give_the_map_of_all_alike(simulate: Callable, tmp_path: Path) -> None:
    """Images times what rlnNormCorrection says; without either the map would be that of the strongest."""
    data = simulate(COUNT, BOX, PIXEL, snr=0.05)
    gains = np.exp(np.random.default_rng(3).normal(0, 0.7, COUNT))
    plain = data.source.read(np.arange(COUNT))
    with StackWriter(tmp_path / "particles.mrcs", COUNT, BOX, PIXEL) as stack:
        stack.append(plain * gains[:, None, None])
    table = data.truth.table.drop(columns="drgnRow").assign(rlnNormCorrection=gains)
    write_star(Particles(table, data.truth.optics, data.truth.path), tmp_path / "p.star")
    agreement = {}
    for normalise, told in (("auto", "brought to one strength"), ("no", "however strong")):
        with pytest.warns(InputWarning) as caught:
            particles = import_particles(tmp_path / "p.star", normalise=normalise, mask_diameter=DIAMETER)
        assert any("rlnNormCorrection is not used" in str(one.message) and told in str(one.message) for one in caught)
        source = ImageSource(particles, tmp_path)
        agreement[normalise] = _agreement(particles, source, data.volume)
    best = _agreement(data.truth, data.source, data.volume)
    assert agreement["auto"] > 0.995 * best
    assert agreement["no"] < 0.97 * best


def _agreement(particles: Particles, source: ImageSource, volume: np.ndarray) -> float:
    """Correlation of the map at the true poses with the true one."""
    sums = insert_particles(particles, source, estimate_noise(particles, source, DIAMETER), 1.5)
    made = 0.5 * (sums.half_map(1) + sums.half_map(2))
    return float(np.corrcoef(made.ravel(), volume.ravel())[0, 1])

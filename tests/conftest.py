"""Small simulated particle sets that several tests share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from drgnalign.formats.mrc import ImageSource, StackWriter, read_volume
from drgnalign.formats.star import read_star
from drgnalign.particles import FEWEST_VIEWS, Particles
from drgnalign.simulate import Specimen, phantom_states, simulate_set

# So much blur leaves nothing in the corners of the true map's transform, which no reconstruction can know.
BLUR_PIXELS = 0.75


# Modules that take minutes, the longest first.
LONGEST = ("test_train", "test_frealignx", "test_every_engine", "test_frealign9", "test_screen", "test_assign")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that both workers end together: a module goes to one worker as a whole."""
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


class SimulatedSet(NamedTuple):
    """A set in a folder: true and given poses, and the true map of the first state."""

    folder: Path
    truth: Particles
    given: Particles
    volume: np.ndarray

    @property
    def source(self) -> ImageSource:
        return ImageSource(self.truth, self.folder)

    @property
    def white_noise(self) -> np.ndarray:
        """Spectrum of the noise, which has unit variance per pixel."""
        return np.full((1, self.truth.box // 2 + 1), float(self.truth.box**2))


def astigmatic_defoci(n: int) -> pd.DataFrame:
    """So much astigmatism that a wrong direction shows even at 16 Å."""
    rng = np.random.default_rng(5)
    defocus, angle = rng.uniform(24_000, 30_000, n), rng.uniform(0, 180, n)
    return pd.DataFrame({"rlnDefocusU": defocus, "rlnDefocusV": defocus - 15_000, "rlnDefocusAngle": angle})


@pytest.fixture(scope="session")
def simulate(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., SimulatedSet]:
    """Make a set of particles, of so many phantom states if they are not given; options as of
    `drgnalign.simulate.simulate_set`."""

    def make(n: int, box: int, pixel_size: float, states: int | Sequence[Specimen] = 1, **options: Any) -> SimulatedSet:
        folder = tmp_path_factory.mktemp("set")
        specimens = phantom_states(states) if isinstance(states, int) else states
        options = {"sigma": BLUR_PIXELS * pixel_size, "seed": 1, "populations": [1.0] * len(specimens), **options}
        simulate_set(folder, specimens, options.pop("populations"), n, box, pixel_size, **options)
        volume = read_volume(folder / "state_01.mrc")[0]
        return SimulatedSet(folder, read_star(folder / "truth.star"), read_star(folder / "particles.star"), volume)

    return make


@pytest.fixture(scope="session", params=[32, 33], ids=["even", "odd"])
def clean_set(request: pytest.FixtureRequest, simulate: Callable[..., SimulatedSet]) -> SimulatedSet:
    """400 all but noise-free particles, well displaced and astigmatic, in an even and an odd box."""
    return simulate(400, request.param, 8.0, snr=1e4, displacement_spread=2.0, defoci=astigmatic_defoci(400))


@pytest.fixture(scope="session")
def noisy_set(simulate: Callable[..., SimulatedSet]) -> SimulatedSet:
    """300 particles of two states at a signal-to-noise ratio of 0.3, with 4° and 4 Å of pose error."""
    return simulate(300, 32, 8.0, states=2, snr=0.3, rotation_error_deg=4.0, shift_error_angstrom=4.0)


@pytest.fixture
def particles_of(tmp_path: Path) -> Callable[..., Particles]:
    """Write images (n, N, N) as the stack images.mrcs in `tmp_path` and make a particle table of them."""

    def make(images: np.ndarray, pixel_size: float = 4.0, groups: np.ndarray | None = None) -> Particles:
        count, box = images.shape[:2]
        with StackWriter(tmp_path / "images.mrcs", count, box, pixel_size) as stack:
            stack.append(images)
        table = pd.DataFrame(
            {
                "rlnImageName": [f"{i}@images.mrcs" for i in range(1, count + 1)],
                "rlnOpticsGroup": 1 if groups is None else groups,
                **dict.fromkeys(["rlnAngleRot", "rlnAnglePsi"], 0.0),
                # many are never seen along one axis alone
                "rlnAngleTilt": np.linspace(0.0, 180.0, count) if count >= FEWEST_VIEWS else 0.0,
                **dict.fromkeys(["rlnOriginXAngst", "rlnOriginYAngst", "rlnPhaseShift", "rlnDefocusAngle"], 0.0),
                **dict.fromkeys(["rlnDefocusU", "rlnDefocusV"], 15_000.0),
                "rlnClassNumber": 0,
                "rlnRandomSubset": np.arange(count) % 2 + 1,
                "drgnRow": np.arange(count),
            }
        )
        numbers = np.unique(table["rlnOpticsGroup"])
        optics = pd.DataFrame(
            {
                "rlnOpticsGroup": numbers,
                "rlnOpticsGroupName": [f"opticsGroup{number}" for number in numbers],
                "rlnVoltage": 300.0,
                "rlnSphericalAberration": 2.7,
                "rlnAmplitudeContrast": 0.07,
                "rlnImagePixelSize": pixel_size,
                "rlnImageSize": box,
                "drgnContrast": "white",
            }
        )
        return Particles(table, optics, tmp_path / "particles.star")

    return make

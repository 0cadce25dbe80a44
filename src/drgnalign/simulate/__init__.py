"""Simulated particle sets with known truth, from point scatterers.

A specimen is a set of weighted points blurred by a Gaussian. Images are line integrals of the points
themselves, not slices of a sampled map, so that a set made here shares no interpolation with the engine that
is tested on it. What real data have besides noise (`Nuisances`) can be asked for.
"""

from drgnalign.simulate.imaging import Microscope, Spectrum, apply_ctf, coloured_noise
from drgnalign.simulate.nuisances import Nuisances
from drgnalign.simulate.particle_set import (
    MEDIAN_NORM_2D,
    MEDIAN_NORM_3D,
    perturbations,
    random_defoci,
    simulate_set,
    state_counts,
)
from drgnalign.simulate.projection import density_map, project
from drgnalign.simulate.specimens import Specimen, phantom_states, swinging_states

__all__ = [
    "MEDIAN_NORM_2D",
    "MEDIAN_NORM_3D",
    "Microscope",
    "Nuisances",
    "Specimen",
    "Spectrum",
    "apply_ctf",
    "coloured_noise",
    "density_map",
    "perturbations",
    "phantom_states",
    "project",
    "random_defoci",
    "simulate_set",
    "state_counts",
    "swinging_states",
]

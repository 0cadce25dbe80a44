"""Coarse maps of clusters, and the mask that holds what they show."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from drgnalign.downsample import downsample_stack, with_stack
from drgnalign.engine.noise import estimate_noise
from drgnalign.engine.reconstruct import insert_particles
from drgnalign.formats.mrc import ImageSource
from drgnalign.formats.star import read_star
from drgnalign.fourier import radius_grid, resize_volume
from drgnalign.heterogeneity.cluster_maps import cluster_maps
from drgnalign.maps.mask import particle_mask, union_mask
from drgnalign.particles import LEFT_OUT, Particles
from drgnalign.simulate import Nuisances, Specimen, density_map, phantom_states, simulate_set

BOX, PIXEL, DIAMETER, BLUR = 48, 6.0, 240.0, 4.0
SHARES = (0.05, 0.15)


class DomainSet(NamedTuple):
    """Particles of which some, class 2, have a domain of 60 % of the others' mass besides; it alone as a map."""

    folder: Path
    particles: Particles
    domain: np.ndarray

    def consensus(self) -> np.ndarray:
        return mean_map(self.particles, self.folder)

    def covered(self, mask: np.ndarray) -> float:
        return float((mask * self.domain).sum() / self.domain.sum())


@pytest.fixture(scope="module", params=SHARES)
def with_domain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DomainSet:
    body, both = phantom_states(2)
    points, weights = both.points[len(body.points) :], both.weights[len(body.weights) :]
    away = 20 * points.mean(axis=0) / np.linalg.norm(points.mean(axis=0))
    domain = Specimen(points + away, weights * 0.6 * body.weights.sum() / weights.sum())
    both = Specimen(np.concatenate([body.points, domain.points]), np.concatenate([body.weights, domain.weights]))
    folder = tmp_path_factory.mktemp("domain")
    simulate_set(folder, [body, both], [1 - request.param, request.param], 1500, BOX, PIXEL, sigma=BLUR, seed=3)
    density = density_map(*domain, BOX, PIXEL, BLUR)
    return DomainSet(folder, read_star(folder / "truth.star"), np.where(density > 0.05 * density.max(), density, 0))


def mean_map(particles: Particles, folder: Path) -> np.ndarray:
    source = ImageSource(particles, folder)
    sums = insert_particles(particles, source, estimate_noise(particles, source, DIAMETER), 1.5)
    return 0.5 * (sums.half_map(1) + sums.half_map(2))


def maps_of(particles: Particles, folder: Path) -> list[np.ndarray]:
    source = ImageSource(particles, folder)
    return list(cluster_maps(particles, source, estimate_noise(particles, source, DIAMETER), DIAMETER))


@pytest.mark.parametrize("mass_kda", [None, 300.0])
def test_a_minority_s_domain_is_in_the_union(with_domain: DomainSet, mass_kda: float | None) -> None:
    maps = maps_of(with_domain.particles, with_domain.folder)
    consensus = particle_mask(with_domain.consensus(), PIXEL, DIAMETER, mass_kda)
    union = union_mask(consensus, maps, PIXEL, DIAMETER)
    assert with_domain.covered(union) > 0.95
    # the others alone do not show it
    assert with_domain.covered(union_mask(np.zeros_like(consensus), maps[:1], PIXEL, DIAMETER)) < 0.15
    assert union.mean() < 1.5 * consensus.mean()


def test_maps_of_a_coarser_stack_make_a_mask_of_full_size(with_domain: DomainSet, tmp_path: Path) -> None:
    particles, folder = with_domain.particles, with_domain.folder
    downsample_stack(particles, ImageSource(particles, folder), 32, tmp_path / "coarse.mrcs")
    maps = maps_of(with_stack(particles, tmp_path / "coarse.mrcs"), tmp_path)
    assert {volume.shape for volume in maps} == {(32, 32, 32)}
    body = particle_mask(mean_map(particles.select(particles.cluster_labels() == 1), folder), PIXEL, DIAMETER)
    union = union_mask(body, maps, PIXEL, DIAMETER)
    assert union.shape == (BOX,) * 3
    assert with_domain.covered(body) < 0.15
    assert with_domain.covered(union) > 0.95


def test_a_coarse_map_is_the_map_sampled_more_coarsely(tmp_path: Path) -> None:
    simulate_set(tmp_path, phantom_states(1), [1.0], 300, 64, 3.0, snr=10, sigma=3.0, seed=4)
    particles = read_star(tmp_path / "truth.star")
    (coarse,) = maps_of(particles, tmp_path)
    assert len(coarse) == 54
    expected = resize_volume(mean_map(particles, tmp_path), 54)
    inside = radius_grid(54, 3) < 20  # what is in the corners of the finer map's transform is noise around the particle
    assert np.corrcoef(coarse[inside], expected[inside])[0, 1] > 0.995


def test_who_is_small_unassigned_or_left_out_has_no_map(with_domain: DomainSet) -> None:
    particles = with_domain.particles.select(np.arange(200))
    labels = np.repeat([0, 1, 2, 3], [50, 50, 85, 15])
    labels[particles.half_sets() == 2] = np.where(labels == 2, 1, labels)[particles.half_sets() == 2]
    particles.table["rlnClassNumber"] = labels
    alone = maps_of(particles.select(labels == 1), with_domain.folder)
    assert len(alone) == 1
    # cluster 2 is in one half set only, cluster 3 has fewer than ten in each
    some = maps_of(particles, with_domain.folder)
    assert len(some) == 1
    particles.table[LEFT_OUT] = (labels == 1).astype(int)
    assert maps_of(particles, with_domain.folder) == []


@pytest.mark.parametrize("junk", ["empty", "broken"])
def test_a_cluster_of_junk_does_not_add_the_sphere(junk: str, tmp_path: Path) -> None:
    nuisances = Nuisances(**{junk: 0.5})
    simulate_set(tmp_path, phantom_states(1), [1.0], 600, BOX, PIXEL, sigma=BLUR, seed=5, nuisances=nuisances)
    particles = read_star(tmp_path / "particles.star")
    is_junk = (read_star(tmp_path / "truth.star").table["drgnTrueJunk"] != "no").to_numpy()
    particles.table["rlnClassNumber"] = 1 + is_junk
    consensus = particle_mask(mean_map(particles.select(~is_junk), tmp_path), PIXEL, DIAMETER)
    union = union_mask(consensus, maps_of(particles, tmp_path)[1:], PIXEL, DIAMETER)
    assert union.sum() < 1.1 * consensus.sum()

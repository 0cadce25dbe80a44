"""A labelled set, its consensus poses and its latent space, and what labels are worth on it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from sklearn.metrics import adjusted_rand_score

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))

from states import DIAMETER, Experiment, half_maps, mean_of

from drgnalign.arrays import IntArray
from drgnalign.downsample import box_for_limit, downsample_stack, with_stack
from drgnalign.engine.likelihood import log_likelihoods
from drgnalign.engine.noise import estimate_noise
from drgnalign.engine.reconstruct import HALVES
from drgnalign.engine.reference import transform_reference
from drgnalign.engine.shrinkage import difference_fsc, shrunk_references
from drgnalign.formats.cryodrgn import read_latent
from drgnalign.formats.mrc import ImageSource
from drgnalign.formats.star import read_star, write_star
from drgnalign.fourier import raised_cosine
from drgnalign.geometry import angular_distance, global_rotation
from drgnalign.heterogeneity.assign import Assigner, AssignmentSettings
from drgnalign.heterogeneity.embed import embed
from drgnalign.heterogeneity.screen import screen
from drgnalign.heterogeneity.train import train, trained_on
from drgnalign.maps.mask import EDGE, GROW, particle_mask
from drgnalign.particles import LEFT_OUT, Particles
from drgnalign.run.record import write_record
from drgnalign.run.records import ClusterMetrics
from drgnalign.run.state import CONSENSUS
from drgnalign.validation.claims import doubts
from drgnalign.validation.fsc import fourier_shell_correlation, half_map_fsc, resolution_at

LIMIT = 14.0
TRAIN_BOX, EPOCHS, MORE_EPOCHS = 32, 24, 6
TRAINING: dict[str, Any] = {"zdim": 4, "layers": 3, "nodes": 64, "batch_size": 8, "learning_rate": 1e-3, "beta": 0.25}
# Share of a map's highest value from which on a voxel is part of it.
PART = 0.1


class Refined(NamedTuple):
    """Clusters after one refinement each: all particles, and what their maps claim and are.

    Attributes
    ----------
    particles : Particles
    area : float
        Mean over the clusters of the mean FSC of their maps against the true map of their commonest state.
    claims : list of dict
        Of each cluster: ``claimed`` (half maps, 0.143) and ``true`` (against the truth, 0.5) resolution in Å,
        ``difference_fsc_40``, ``warnings``.
    maps : dict of int to (N, N, N) float32
        Unfiltered, by cluster.
    """

    particles: Particles
    area: float
    claims: list[dict[str, Any]]
    maps: dict[int, NDArray[np.float32]]


class Case:
    """A set in a folder, which keeps what is made of it.

    Parameters
    ----------
    folder : Path
    seed : int
    k : int
        The number of states that a method is told.
    limits : sequence of float
        Of the consensus, Å.
    diameter : float
        Of the particle, Å.
    one_mask : bool
        Maps are held against the truth in a mask made of the true maps, not in the consensus's own, which differs from
        set to set.

    Attributes
    ----------
    truth, particles : Particles
        True poses; those of the refined consensus, with who is left out.
    states : (N,) int64
        True labels; 0 = junk.
    good : (N,) bool
        Whose labels and poses count: no junk, and given near their true poses.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        k: int,
        limits: Sequence[float],
        diameter: float = DIAMETER,
        one_mask: bool = False,
    ) -> None:
        self.folder, self.seed, self.k, self.limits, self.diameter = folder, seed, k, limits, diameter
        self.experiment = Experiment(folder, diameter)
        self.truth, self.states, self.good = self.experiment.truth, self.experiment.states, self.experiment.good
        self.particles = self._consensus()
        sums = self.experiment.reconstruct(self.particles)
        self.common = half_maps(sums)
        self.mask = particle_mask(mean_of(self.common), self.particles.pixel_size, diameter)
        self._truth_mask = self._mask_of_truth() if one_mask else self.mask

    def _mask_of_truth(self) -> NDArray[np.float32]:
        """What is in any of the true maps, grown, with a soft edge."""
        maps, pixel_size = self.experiment.true_maps.values(), self.truth.pixel_size
        inside = np.any([volume > PART * volume.max() for volume in maps], axis=0)
        return raised_cosine(distance_transform_edt(~inside) - GROW / pixel_size, EDGE / pixel_size)

    def _consensus(self) -> Particles:
        path = self.folder / "consensus.star"
        if not path.exists():
            without_junk = self._screened(*self.experiment.consensus([]), keep_poses=True)
            write_star(self._screened(*self.experiment.consensus(self.limits, without_junk)), path)
        return read_star(path)

    def _screened(
        self,
        particles: Particles,
        volumes: Sequence[NDArray[np.float32]],
        mask: NDArray[np.float32],
        keep_poses: bool = False,
    ) -> Particles:
        """As SCREEN leaves them: junk left out, lost poses looked for; what it says last is in ``screening.json``."""
        references = self.folder / "references"
        references.mkdir(exist_ok=True)
        resolution = half_map_fsc(volumes[0], volumes[1], particles.pixel_size, mask).resolution
        consensus = {"cluster": [CONSENSUS], "resolution_0143_angstrom": [resolution]}
        pd.DataFrame(consensus).to_csv(references / "fsc.csv", index=False)
        settings = AssignmentSettings(LIMIT, self.diameter)
        self.with_assigned_images(particles)
        screened, found = screen(particles, self._assigned, references, settings, keep_poses)
        write_record(found, self.folder / "screening.json")
        return screened

    def _training_stack(self, particles: Particles) -> Path:
        stack = self.folder / "down_sampled.mrcs"
        if not stack.exists():
            downsample_stack(particles, ImageSource(particles, self.folder), TRAIN_BOX, stack)
        return stack

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Who is not left out after the consensus (N,)."""
        return ~self.particles.left_out()

    def latent(self, particles: Particles, epochs: int, name: str, last: Path | None) -> Path:
        """Folder with the latent space of particles at their poses."""
        out = self.folder / name
        if not (out / "embedding.csv").exists():
            stack = self._training_stack(particles)
            width = particles.box * particles.pixel_size
            settings = TRAINING | {"epochs": epochs, "seed": self.seed, "threads": 1}
            train(stack, particles, TRAIN_BOX, width / TRAIN_BOX, last, out, **settings)
            embed(read_latent(out / "z.pkl")[0], last, self.seed, out, trained_on(out, len(particles)))
        return out

    def assigner(self, particles: Particles) -> Assigner:
        """Of particles at their poses, at the usual limit."""
        images = self.with_assigned_images(particles)
        source = ImageSource(images, self.folder)
        noise = estimate_noise(images, source, self.diameter)
        return Assigner(images, source, noise, AssignmentSettings(LIMIT, self.diameter))

    def with_assigned_images(self, particles: Particles) -> Particles:
        """The same with normalised images that reach the limit of assignment."""
        if not self._assigned.exists():
            box = box_for_limit(particles, LIMIT)
            downsample_stack(particles, ImageSource(particles, self.folder), box, self._assigned)
        return with_stack(particles, self._assigned)

    @property
    def _assigned(self) -> Path:
        return self.folder / "assigned.mrcs"

    def refine(self, particles: Particles, labels: IntArray, joint: bool = False) -> Refined:
        """Refine each cluster once, against its half maps shrunk towards the consensus, or one map of both halves.

        Labels decide who is left out (0).
        """
        left_out = {LEFT_OUT: (labels == 0).astype(np.int64)}
        particles = replace(particles, table=particles.table.assign(**left_out))
        rotations, displacements = particles.rotations(), particles.displacements()
        areas, claims, maps = [], [], {}
        for label in np.unique(labels[labels > 0]):
            rows = np.flatnonzero(labels == label)
            mine = particles.select(rows)
            sums = self.experiment.reconstruct(mine)
            volumes = half_maps(sums)
            if not joint:
                weights = sums.weights(1), sums.weights(2)
                volumes = shrunk_references(volumes, weights, self.common, self.mask)
            refined, sums = self.experiment.refine(
                mine, volumes, self.mask, self.limits[-1], weighted=not joint, joint=joint
            )
            rotations[rows], displacements[rows] = refined.rotations(), refined.displacements()
            halves = half_maps(sums)
            maps[int(label)] = mean_of(halves)
            area, claim = self.judged_map(halves, rows, "not independent" if joint else "independent")
            areas.append(area)
            claims.append({"cluster": int(label), **claim})
        return Refined(particles.with_poses(rotations, displacements), float(np.mean(areas)), claims, maps)

    def areas_by_state(self, labels: IntArray, maps: Mapping[int, NDArray[np.float32]]) -> dict[int, float]:
        """Mean FSC of each true state against the map of the cluster that has most of its good particles."""
        areas = {}
        for state, truth in self.experiment.true_maps.items():
            found = labels[self.good & (self.states == state) & (labels > 0)]
            volume = maps[int(np.bincount(found).argmax())] if found.size else np.zeros_like(truth)
            curve = fourier_shell_correlation(volume * self._truth_mask, truth * self._truth_mask)
            areas[state] = round(float(curve[1:].mean()), 4)
        return areas

    def area(self, particles: Particles, labels: IntArray) -> float:
        """As in `Refined`, of the clusters as they are."""
        areas = []
        for label in np.unique(labels[labels > 0]):
            rows = np.flatnonzero(labels == label)
            mine = particles.select(rows)
            mine.table[LEFT_OUT] = 0
            sums = self.experiment.reconstruct(mine)
            areas.append(self.judged_map(half_maps(sums), rows, "independent")[0])
        return float(np.mean(areas))

    def judged_map(
        self, volumes: Sequence[NDArray[np.float32]], rows: IntArray, halves: str
    ) -> tuple[float, dict[str, Any]]:
        """Area under the FSC against the truth, and the entry of `Refined.claims`, of half maps of some particles.

        Maps without a good particle have no truth: there is nothing in common with it.
        """
        states = self.states[rows[self.good[rows]]]
        commonest = self.experiment.true_maps[int(np.bincount(states).argmax())] if states.size else 0.0
        truth = commonest * self._truth_mask
        pixel_size, width = self.truth.pixel_size, self.truth.pixel_size * self.truth.box
        curve = fourier_shell_correlation((volumes[0] + volumes[1]) * self._truth_mask, truth)
        claimed = half_map_fsc(volumes[0], volumes[1], pixel_size, self.mask).resolution
        difference = difference_fsc((volumes[0], volumes[1]), self.common, self.mask)[round(width / 40.0)]
        facts = ClusterMetrics(
            cluster="",
            particles=len(rows),
            skipped=False,
            resolution_angstrom=claimed,
            alignment_limit_angstrom=self.limits[-1],
            difference_judged=float(difference),
        )
        return float(curve[1:].mean()), {
            "claimed": None if claimed is None else round(claimed, 3),
            "true": round(resolution_at(curve, width, 0.5), 3),
            "difference_fsc_40": round(float(difference), 3),
            "warnings": [doubt.text for doubt in doubts(facts, halves, pixel_size)],
        }

    def rotation_errors(self, particles: Particles) -> NDArray[np.float64]:
        """Degrees (N,), of junk and lost poses too, after the rotation that the good ones have in common."""
        found, true = particles.rotations(), self.truth.rotations()
        return angular_distance(true, global_rotation(true[self.good], found[self.good]) @ found)

    def judged(self, labels: IntArray) -> dict[str, Any]:
        """Labels of the good particles against the truth; the index is of those that have one."""
        rarest = int(np.bincount(self.states)[1:].argmin()) + 1
        labelled = self.good & (labels > 0)
        mine = labelled & (self.states == rarest)
        best = np.bincount(labels[mine], minlength=1).argmax()
        shared = int((mine & (labels == best)).sum())
        return {
            "clusters": len(np.unique(labels[labels > 0])),
            "ari": round(float(adjusted_rand_score(self.states[labelled], labels[labelled])), 4),
            "rarest_recall": round(shared / int((self.good & (self.states == rarest)).sum()), 4),
            "rarest_purity": round(shared / max(int((self.good & (labels == best)).sum()), 1), 4),
        }

    def judged_with_maps(
        self, labels: IntArray, particles: Particles | None = None
    ) -> tuple[Particles, dict[str, Any]]:
        """Particles after one refinement of each cluster, and what is to be said of labels, poses and maps."""
        refined = self.refine(particles or self.particles, labels)
        return refined.particles, {
            **self.judged(labels),
            **self.experiment.score(refined.particles),
            "area": round(refined.area, 4),
            "area_by_state": self.areas_by_state(labels, refined.maps),
            "claims": refined.claims,
        }

    def true_maps(self) -> IntArray:
        """The likeliest state of each particle given the true maps."""
        particles, padding = self.particles, self.experiment.padding
        ones, every = np.ones_like(self.mask), np.ones(particles.box // 2 + 1)
        maps = [
            transform_reference(volume, ones, every, particles.pixel_size, LIMIT, padding)
            for volume in self.experiment.true_maps.values()
        ]
        source = ImageSource(particles, self.folder)
        scores = log_likelihoods(
            particles, source, [dict.fromkeys(HALVES, one) for one in maps], self.experiment.noise, LIMIT
        )
        return 1 + (scores + np.log(np.bincount(self.states)[1:])).argmax(axis=1)

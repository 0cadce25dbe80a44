"""The inner loops of the engine for a GPU: those of kernels.c, many images at a time, as PyTorch operations.

Formulas and settings are the same, so that poses are too, up to rounding. Shapes: n images, m coefficients.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from drgnalign.ctf import FLIPPED, LEAST_SINE, MULTIPLIED, CtfTerms
from drgnalign.engine.kernels import (
    FAILURE,
    FIRST_DAMPING,
    GRID,
    LARGEST_ROTATION,
    SCAN_ROTATION,
    SMALL_GAIN,
    SUCCESS,
    SUMS,
    WEAK,
    Matches,
    Prior,
    Reference,
    ReferenceSet,
    Search,
)
from drgnalign.errors import DrgnalignError

Tensor = torch.Tensor
# Images of a batch, and bytes of its coefficients.
BATCH, BATCH_BYTES = 2048, 2**27
_UPPER = np.triu_indices(5)


class Poses(NamedTuple):
    """Rotations (n, 3, 3), displacements (n, 2) in px, and magnifications (n, 2, 2), float64."""

    rotation: Tensor
    shift: Tensor
    magnification: Tensor

    def of(self, rows: Tensor) -> Poses:
        return Poses(self.rotation[rows], self.shift[rows], self.magnification[rows])

    def put(self, rows: Tensor, others: Poses) -> None:
        """Take over the rotations and displacements of others."""
        self.rotation[rows], self.shift[rows] = others.rotation, others.shift

    def moved(self, rotation: Tensor, shift: Tensor) -> Poses:
        return Poses(rotation, shift, self.magnification)

    def copy(self) -> Poses:
        return self.moved(self.rotation.clone(), self.shift.clone())


class _Equations(NamedTuple):
    """Products of model, data and pose derivatives, float64, see `drgnalign.engine.kernels.SUMS`.

    ``curvature`` (n, 5, 5), ``with_model`` and ``with_data`` (n, 5), ``power`` and ``match`` (n,).
    """

    curvature: Tensor
    with_model: Tensor
    with_data: Tensor
    power: Tensor
    match: Tensor

    @property
    def score(self) -> Tensor:
        """⟨d,m⟩²/⟨m,m⟩, negative where the match is."""
        good = self.power > 0
        return torch.where(good, self.match * self.match.abs() / torch.where(good, self.power, 1.0), 0.0)

    def of(self, rows: Tensor) -> _Equations:
        return _Equations(*(values[rows] for values in self))

    def put(self, rows: Tensor, others: _Equations) -> None:
        for mine, values in zip(self, others, strict=True):
            mine[rows] = values


class TorchKernels:
    """`drgnalign.engine.kernels.Kernels` on a device of PyTorch.

    Parameters
    ----------
    box, kx, ky, flat, search
        As of `drgnalign.engine.kernels.Kernels`.
    device : str
        ``cuda``; ``cpu`` for tests.

    Raises
    ------
    DrgnalignError
        There is no such device.
    """

    def __init__(
        self,
        box: int,
        kx: NDArray[np.float32],
        ky: NDArray[np.float32],
        flat: NDArray[np.int32],
        search: Search | None = None,
        *,
        device: str = "cuda",
    ) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise DrgnalignError(None, "there is no GPU that PyTorch can use", "run on a GPU, or give --device cpu")
        self.box, self.count, self._device, self._search = box, len(kx), torch.device(device), search
        self._kx, self._ky, self._flat = self._on(kx), self._on(ky), self._on(flat.astype(np.int64))
        self.batch_size = max(1, min(BATCH, BATCH_BYTES // (12 * len(kx))))
        self._references: dict[int, tuple[Reference, Tensor]] = {}
        self._sums: dict[int, tuple[NDArray[np.float32], Tensor]] = {}

    def _on(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    def prepare(
        self,
        images: NDArray[np.float32],
        weights: NDArray[np.float32],
        groups: NDArray[np.int32],
        terms: CtfTerms,
    ) -> Tensor:
        """See `drgnalign.engine.kernels.Kernels.prepare`; (n, 3, m) on the device."""
        transforms = torch.fft.rfft2(self._on(images)).reshape(len(images), -1)[:, self._flat]
        d, p, e = (self._on(values)[:, :, None] for values in (terms.defocus, terms.phases, terms.envelopes))
        kinds = self._on(terms.kinds.astype(np.int64))
        magnified = self._on(terms.magnifications).reshape(-1, 2, 2)[kinds] @ torch.stack([self._kx, self._ky]).double()
        x, y = magnified.unbind(1)
        along = d[:, 2] * (x**2 - y**2) + d[:, 3] * 2 * x * y
        radius2 = x**2 + y**2
        turns = p[:, 0] * (d[:, 0] * radius2 + d[:, 1] * along) + p[:, 1] * radius2**2 + p[:, 2]
        turns = turns + self._on(terms.even)[kinds]
        sine = torch.sin(2 * math.pi * (turns - turns.round())).float()
        envelope = (e[:, 0] * torch.exp(-e[:, 1] * radius2)).float()
        weight = self._on(weights)[self._on(groups.astype(np.int64))]
        stored = self._on(terms.stored)[kinds][:, None]
        one = torch.ones_like(sine)
        divisor = torch.where(stored == MULTIPLIED, envelope * sine.abs().clamp(min=LEAST_SINE), one)
        treated = (stored == FLIPPED) | (stored == MULTIPLIED)
        undone = torch.where(treated, torch.copysign(one, sine), one) / divisor
        odd = self._on(terms.odd)[kinds]
        data = transforms * torch.complex(odd[:, 0], odd[:, 1]) * (weight * undone)
        return torch.stack([data.real, data.imag, sine * envelope * weight], dim=1)

    def refine(
        self, reference: Reference, coefficients: Tensor, poses: NDArray[np.float64], prior: Prior
    ) -> NDArray[np.float64]:
        """See `drgnalign.engine.kernels.Kernels.refine`."""
        assert self._search is not None
        given = self._poses(poses)
        solver = _Solver(self, reference, coefficients, given, prior, self._search)
        found, scores = solver.refine()
        poses[:, :9], poses[:, 9:11] = found.rotation.reshape(-1, 9).cpu().numpy(), found.shift.cpu().numpy()
        return scores.cpu().numpy()

    def products(
        self, reference: Reference, coefficients: Tensor, poses: NDArray[np.float64], count: int
    ) -> NDArray[np.void]:
        """See `drgnalign.engine.kernels.Kernels.products`."""
        equations = self.equations(reference, coefficients, self._poses(poses), count)
        upper = equations.curvature[:, _UPPER[0], _UPPER[1]]
        both = torch.stack([equations.power, equations.match], dim=1)
        sums = torch.cat([upper, equations.with_model, equations.with_data, both], dim=1).cpu().numpy()
        return np.ascontiguousarray(sums).view(SUMS)[:, 0]

    def matches(
        self, references: ReferenceSet, coefficients: Tensor, poses: NDArray[np.float64], bulk: int = 0
    ) -> Matches:
        """See `drgnalign.engine.kernels.Kernels.matches`."""
        found = []
        for count in (self.count, bulk):
            sums = [self.products(reference, coefficients, poses, count) for reference in references.members]
            found += [np.stack([one[name] for one in sums], axis=1) for name in ("match", "power")]
        return Matches(*found)

    def insert(
        self,
        sums: NDArray[np.float32],
        starts: NDArray[np.int32],
        scale: float,
        reach: float,
        coefficients: Tensor,
        poses: NDArray[np.float64],
    ) -> None:
        """See `drgnalign.engine.kernels.Kernels.insert`; what is added reaches `sums` with `finish`."""
        address = sums.ctypes.data
        if address not in self._sums:
            self._sums[address] = (sums, self._on(sums))
        target = self._sums[address][1]
        at = self._poses(poses)
        magnified, inside = self.in_volume(at, reach, self.count)
        corner, fraction, mirrored = _placed(scale * at.rotation.float(), magnified)
        data, ctf = self.brought_back(coefficients, at.shift, self.count), coefficients[:, 2] * inside
        data = torch.where(mirrored, data.conj(), data) * ctf
        amounts = torch.stack([data.real, data.imag, ctf * ctf, torch.zeros_like(ctf)], dim=-1).reshape(-1, 4)
        begin, edge = self._on(starts), len(starts) // 2
        (fx, fy, fz), (ix, iy, iz) = fraction.unbind(1), corner.unbind(1)
        for dz in (0, 1):
            for dy in (0, 1):
                rows = begin[iz + edge + dz, iy + edge + dy]
                across = (fz if dz else 1 - fz) * (fy if dy else 1 - fy)
                for dx in (0, 1):
                    share = (across * (fx if dx else 1 - fx)).reshape(-1, 1)
                    target.index_add_(0, (rows + ix + dx).reshape(-1), share * amounts)

    def scaled(self, coefficients: Tensor, factors: NDArray[np.float64]) -> Tensor:
        """See `drgnalign.engine.kernels.Kernels.scaled`."""
        return coefficients * self._on(factors.astype(np.float32))[:, None, None]

    def finish(self) -> None:
        """Bring what was inserted to the arrays that `insert` was given."""
        for host, on_device in self._sums.values():
            host[...] = on_device.cpu().numpy()
        self._sums.clear()

    def _poses(self, poses: NDArray[np.float64]) -> Poses:
        rotation, shift, magnification = (self._on(part.copy()) for part in np.split(poses, [9, 11], axis=1))
        return Poses(rotation.reshape(-1, 3, 3), shift, magnification.reshape(-1, 2, 2))

    def _volume(self, reference: Reference) -> Tensor:
        """The reference on the device; it is sent there once."""
        key = id(reference.transform)
        if key not in self._references:
            self._references[key] = (reference, self._on(reference.transform).reshape(-1))
        return self._references[key][1]

    def brought_back(self, coefficients: Tensor, shift: Tensor, count: int) -> Tensor:
        """Data (n, count), brought back from the box's corner to the particle's centre: F/σ e^{2πi k·s/N}."""
        turns = ((shift + self.box // 2) / self.box).float()
        turn = turns[:, :1] * self._kx[:count] + turns[:, 1:] * self._ky[:count]
        angle = 2 * math.pi * (turn - turn.round())
        phase = torch.complex(torch.cos(angle), torch.sin(angle))
        return torch.complex(coefficients[:, 0, :count], coefficients[:, 1, :count]) * phase

    def in_volume(self, poses: Poses, reach: float, count: int) -> tuple[Tensor, Tensor]:
        """M k (n, 2, count), 0 beyond what a volume reaches to, and where it is not beyond (n, count)."""
        magnified = poses.magnification.float() @ torch.stack([self._kx[:count], self._ky[:count]])
        inside = (magnified**2).sum(1) <= reach**2 * 1.000001
        return magnified * inside[:, None], inside

    def interpolated(self, reference: Reference, rotation: Tensor, magnified: Tensor) -> tuple[Tensor, Tensor]:
        """V(R q) (n, count) and its gradient (n, 3, count), trilinear, of q (n, 2, count); rotation float32."""
        volume, edge = self._volume(reference), len(reference.transform) // 2
        row = edge + 1
        plane = row * (2 * edge + 1)
        corner, fraction, mirrored = _placed(reference.scale * rotation, magnified)
        first = (corner[:, 2] + edge) * plane + (corner[:, 1] + edge) * row + corner[:, 0]
        fx, fy, fz = fraction.unbind(1)
        lines, slopes = [], []
        for offset in (0, row, plane, plane + row):
            left, right = volume[first + offset], volume[first + offset + 1]
            slopes.append(right - left)
            lines.append(left + fx * slopes[-1])
        low, high = lines[0] + fy * (lines[1] - lines[0]), lines[2] + fy * (lines[3] - lines[2])
        along_y = (lines[1] - lines[0]) + fz * ((lines[3] - lines[2]) - (lines[1] - lines[0]))
        low_x, high_x = slopes[0] + fy * (slopes[1] - slopes[0]), slopes[2] + fy * (slopes[3] - slopes[2])
        gradient = torch.stack([low_x + fz * (high_x - low_x), along_y, high - low], dim=1)
        value = low + fz * (high - low)
        # V(-k) = conj V(k)
        return torch.where(mirrored, value.conj(), value), torch.where(mirrored[:, None], -gradient.conj(), gradient)

    def equations(self, reference: Reference, coefficients: Tensor, poses: Poses, count: int) -> _Equations:
        """Products over the first `count` coefficients; the derivatives are those of kernels.c."""
        rotation = poses.rotation.float()
        magnified, inside = self.in_volume(poses, reach_of(reference), count)
        value, gradient = self.interpolated(reference, rotation, magnified)
        ctf, kx, ky = coefficients[:, 2, :count] * inside, self._kx[:count], self._ky[:count]
        qx, qy = magnified.unbind(1)
        model = ctf * value
        turned = reference.scale * torch.einsum("nij,nim->njm", rotation.to(gradient.dtype), gradient) * ctf[:, None]
        moved = torch.complex(-model.imag, model.real)
        derivatives = torch.stack(
            [qy * turned[:, 2], -qx * turned[:, 2], qx * turned[:, 1] - qy * turned[:, 0], kx * moved, ky * moved],
            dim=1,
        )
        data = self.brought_back(coefficients, poses.shift, count)
        p, m, d = (torch.view_as_real(values).flatten(-2) for values in (derivatives, model, data))
        factors = torch.ones(5, dtype=torch.float64, device=self._device)
        factors[3:] = -2 * math.pi / self.box
        return _Equations(
            torch.bmm(p, p.transpose(1, 2)).double() * factors[:, None] * factors,
            torch.einsum("npm,nm->np", p, m).double() * factors,
            torch.einsum("npm,nm->np", p, d).double() * factors,
            (m * m).sum(1).double(),
            (d * m).sum(1).double(),
        )


def reach_of(reference: Reference) -> float:
    """How far a reference reaches, in Fourier pixels of an image."""
    return (len(reference.transform) // 2 - 1) / reference.scale


def _placed(rotation: Tensor, magnified: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fourier pixels (n, 3, m) as (x, y, z) below R q of q (n, 2, m), fractions behind them, and which were mirrored to
    x ≥ 0."""
    place = rotation[:, :, :1] * magnified[:, :1] + rotation[:, :, 1:2] * magnified[:, 1:]
    mirrored = place[:, 0] < 0
    place = torch.where(mirrored[:, None], -place, place)
    below = place.floor()
    return below.long(), place - below, mirrored


class _Solver:
    """The search for the poses of a batch; see kernels.c, whose functions have the same names."""

    def __init__(
        self,
        kernels: TorchKernels,
        reference: Reference,
        coefficients: Tensor,
        start: Poses,
        prior: Prior,
        search: Search,
    ) -> None:
        self._kernels, self._reference, self._coefficients = kernels, reference, coefficients
        self._start, self._search = start, search
        self._precision = torch.tensor([prior.rotation**-2] * 3 + [prior.shift**-2] * 2).to(start.shift)
        self._weak = WEAK * prior.amplitude**2

    def _look(self, rows: Tensor, poses: Poses, count: int) -> _Equations:
        return self._kernels.equations(self._reference, self._coefficients[rows], poses, count)

    def refine(self) -> tuple[Poses, Tensor]:
        """Refined poses, and scores (n, 2) before and after."""
        found = self._start.copy()
        rows = torch.arange(len(found.shift), device=found.shift.device)
        before = self._look(rows, found, int(self._search.counts[-1])).score
        best = before.clone()
        power = self._climb_all(rows, self._start, found, best)
        weak = rows[best < self._weak * power]
        if len(weak):
            self._climb_all(weak, self._scan(weak), found, best)
        change = self._change(rows, found)
        return found, torch.stack([before, best + self._penalty(change)], dim=1)

    def _climb_all(self, rows: Tensor, start: Poses, found: Poses, best: Tensor) -> Tensor:
        """Go from coarse to fine; what is better than `best` is put there, and its pose into `found`. Gives ⟨m,m⟩."""
        poses = start.copy()
        for count, steps, largest in zip(
            self._search.counts.tolist(), self._search.steps.tolist(), self._search.largest_shifts.tolist(), strict=True
        ):
            equations = self._look(rows, poses, count)
            reached = self._climb(rows, poses, equations, count, steps, largest)
        better = reached > best[rows]
        found.put(rows[better], poses.of(better))
        best[rows[better]] = reached[better]
        return equations.power

    def _change(self, rows: Tensor, poses: Poses) -> Tensor:
        turn = self._start.rotation[rows].transpose(1, 2) @ poses.rotation
        vector = torch.stack(
            [turn[:, 2, 1] - turn[:, 1, 2], turn[:, 0, 2] - turn[:, 2, 0], turn[:, 1, 0] - turn[:, 0, 1]], dim=1
        )
        return torch.cat([0.5 * vector, poses.shift - self._start.shift[rows]], dim=1)

    def _penalty(self, change: Tensor) -> Tensor:
        return 0.5 * (self._precision * change**2).sum(1)

    def _damped_step(self, equations: _Equations, change: Tensor, damping: Tensor) -> tuple[Tensor, Tensor]:
        power = torch.where(equations.power > 0, equations.power, 1.0)
        amplitude = (equations.match / power)[:, None]
        half = 0.5 * self._precision
        gradient = amplitude * (equations.with_data - amplitude * equations.with_model) - half * change
        outer = equations.with_model[:, :, None] * equations.with_model[:, None]
        hessian = amplitude[:, :, None] ** 2 * (equations.curvature - outer / power[:, None, None]) + torch.diag(half)
        damped = hessian + torch.diag_embed(damping[:, None] * torch.diagonal(hessian, dim1=1, dim2=2))
        factor, failed = torch.linalg.cholesky_ex(damped)
        good = (failed == 0) & (equations.power > 0)
        factor = torch.where(good[:, None, None], factor, torch.eye(5).to(factor))
        step = torch.cholesky_solve(gradient[:, :, None], factor)[:, :, 0]
        promised = (step * (2 * gradient - torch.einsum("npq,nq->np", hessian, step))).sum(1)
        return step, torch.where(good & (promised >= 0), promised, -1.0)

    def _climb(
        self, rows: Tensor, poses: Poses, equations: _Equations, count: int, steps: int, largest_shift: float
    ) -> Tensor:
        change = self._change(rows, poses)
        damping = torch.full_like(equations.power, FIRST_DAMPING)
        reached = equations.score - self._penalty(change)
        active = torch.arange(len(rows), device=rows.device)
        for number in range(steps + 1):
            step, promised = self._damped_step(equations.of(active), change[active], damping[active])
            going = promised >= 0
            active, step, promised = active[going], step[going], promised[going]
            longest = torch.maximum(step[:, :3].norm(dim=1) / LARGEST_ROTATION, step[:, 3:].norm(dim=1) / largest_shift)
            step = step / longest.clamp(min=1.0)[:, None]
            now = poses.of(active)
            trial = now.moved(now.rotation @ _turn(step[:, :3]), now.shift + step[:, 3:])
            small = promised < SMALL_GAIN
            poses.put(active[small], trial.of(small))
            reached[active[small]] += promised[small]
            active, trial = active[~small], trial.of(~small)
            if number == steps or not len(active):
                break
            looked, moved = self._look(rows[active], trial, count), self._change(rows[active], trial)
            gain = looked.score - self._penalty(moved) - reached[active]
            better = gain > 0
            damping[active] *= torch.where(better, SUCCESS, FAILURE)
            good = active[better]
            poses.put(good, trial.of(better))
            equations.put(good, looked.of(better))
            reached[good] += gain[better]
            change[good] = moved[better]
        return reached

    def _scan(self, rows: Tensor) -> Poses:
        kernels, count, spacing = self._kernels, self._search.scan_count, self._search.scan_spacing
        start = self._start.of(rows)
        coefficients = self._coefficients[rows]
        axis = (torch.arange(GRID, device=rows.device) - GRID // 2) * spacing
        grid = torch.cartesian_prod(axis, axis)
        turn = (grid[:, :1] * kernels._kx[:count] + grid[:, 1:] * kernels._ky[:count]) * (2 * math.pi / kernels.box)
        waves = torch.complex(torch.cos(turn), torch.sin(turn))
        data = kernels.brought_back(coefficients, start.shift, count)
        turns = torch.cat([torch.zeros(1, 3), *(sign * torch.eye(3)[i : i + 1] for i in range(3) for sign in (1, -1))])
        turns = _turn((SCAN_ROTATION * turns.double()).to(start.shift))
        magnified, inside = kernels.in_volume(start, reach_of(self._reference), count)
        scores = []
        for turn_matrix in turns:
            value, _ = kernels.interpolated(self._reference, (start.rotation @ turn_matrix).float(), magnified)
            model = coefficients[:, 2, :count] * inside * value
            power = (model.abs() ** 2).sum(1, keepdim=True).double()
            match = torch.einsum("nm,gm->ng", data * model.conj(), waves).real.double()
            scores.append(torch.where(power > 0, match * match.abs() / torch.where(power > 0, power, 1.0), 0.0))
        most = torch.stack(scores, dim=1).flatten(1).argmax(1)
        return start.moved(start.rotation @ turns[most // len(grid)], start.shift + grid[most % len(grid)].double())


def _turn(vectors: Tensor) -> Tensor:
    """Rotation matrices (n, 3, 3) of rotation vectors (n, 3)."""
    zero = torch.zeros_like(vectors[:, 0])
    x, y, z = vectors.unbind(1)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).reshape(-1, 3, 3)
    return torch.linalg.matrix_exp(cross)

"""Compiled local search of one particle's five pose parameters (Levenberg-Marquardt, coarse to fine)."""

# No expressions of whole arrays in here: numba names their code by an address, so that it is never twice the same.

from __future__ import annotations

import math

import numpy as np
from numba import njit

from drgnalign.engine.kernels import N_SUMS, normal_equations

FIRST_DAMPING, SUCCESS, FAILURE = 1e-3, 0.2, 20.0
# Nats: steps that gain less end a stage.
SMALL_GAIN = 0.01
LARGEST_ROTATION = math.radians(6.0)
# A match this much weaker than a good one's (amplitude² against 1) hints at a wrong local optimum.
RESCUE_BELOW = 0.6
RESCUE_ROTATION = math.radians(7.0)


@njit(cache=True, error_model="numpy")
def signed_score(sums):  # type: ignore[no-untyped-def]
    """⟨d,m⟩²/⟨m,m⟩, negative where the match is: the log-likelihood gained over 'no signal', in nats."""
    if sums[25] <= 0.0:
        return 0.0
    return sums[26] * abs(sums[26]) / sums[25]


@njit(cache=True, error_model="numpy")
def damped_step(sums, damping, step):  # type: ignore[no-untyped-def]
    """Solve (H + λ diag H) δ = −gradient of |d − a m|², the amplitude a = ⟨d,m⟩/⟨m,m⟩ eliminated.

    H = a² (A − b bᵀ/⟨m,m⟩). Returns False where H is singular.
    """
    hessian = np.empty((5, 5))
    gradient = np.empty(5)
    mm, amplitude = sums[25], sums[26] / sums[25]
    index = 0
    for p in range(5):
        gradient[p] = amplitude * (sums[20 + p] - amplitude * sums[15 + p])
        for q in range(p, 5):
            value = amplitude * amplitude * (sums[index] - sums[15 + p] * sums[15 + q] / mm)
            hessian[p, q] = value
            hessian[q, p] = value
            index += 1
    for p in range(5):
        if not hessian[p, p] > 0.0:
            return False
        hessian[p, p] *= 1.0 + damping
    step[:] = np.linalg.solve(hessian, gradient)
    return math.isfinite(step[0] + step[1] + step[2] + step[3] + step[4])


@njit(cache=True, error_model="numpy")
def rotated(rotation, omega, result):  # type: ignore[no-untyped-def]
    """R exp(ω): turn by the rotation vector ω (radians) about the image's axes (Rodrigues)."""
    angle = math.sqrt(omega[0] ** 2 + omega[1] ** 2 + omega[2] ** 2)
    a = math.sin(angle) / angle if angle > 1e-12 else 1.0
    b = (1.0 - math.cos(angle)) / (angle * angle) if angle > 1e-6 else 0.5
    x, y, z = omega[0], omega[1], omega[2]
    turn = np.array(
        [
            [1.0 - b * (y * y + z * z), b * x * y - a * z, b * x * z + a * y],
            [b * x * y + a * z, 1.0 - b * (x * x + z * z), b * y * z - a * x],
            [b * x * z - a * y, b * y * z + a * x, 1.0 - b * (x * x + y * y)],
        ]
    )
    for i in range(3):
        for j in range(3):
            result[i, j] = rotation[i, 0] * turn[0, j] + rotation[i, 1] * turn[1, j] + rotation[i, 2] * turn[2, j]


@njit(cache=True, error_model="numpy")
def score_at(reference, image, count, rotation, shift, phases, sums):  # type: ignore[no-untyped-def]
    """Fill `sums` at a pose and return the score there."""
    normal_equations(reference, image, count, rotation, shift, phases, sums)
    return signed_score(sums)


@njit(cache=True, error_model="numpy")
def climb(reference, image, count, steps, largest_shift, rotation, shift, phases):  # type: ignore[no-untyped-def]
    """Improve a pose in place at one resolution, `steps` Levenberg-Marquardt steps at most.

    Returns the score reached and the model's power there.
    """
    sums, trial_sums = np.empty(N_SUMS), np.empty(N_SUMS)
    trial_rotation, trial_shift, step = np.empty((3, 3)), np.empty(2), np.empty(5)
    score = score_at(reference, image, count, rotation, shift, phases, sums)
    damping = FIRST_DAMPING
    for _ in range(steps):
        if sums[25] <= 0.0 or not damped_step(sums, damping, step):
            break
        turn = math.sqrt(step[0] ** 2 + step[1] ** 2 + step[2] ** 2)
        move = math.sqrt(step[3] ** 2 + step[4] ** 2)
        step /= max(1.0, turn / LARGEST_ROTATION, move / largest_shift)
        rotated(rotation, step[:3], trial_rotation)
        trial_shift[0], trial_shift[1] = shift[0] + step[3], shift[1] + step[4]
        gain = score_at(reference, image, count, trial_rotation, trial_shift, phases, trial_sums) - score
        if gain <= 0.0:
            damping *= FAILURE
            continue
        score += gain
        rotation[:] = trial_rotation
        shift[:] = trial_shift
        sums[:] = trial_sums
        damping *= SUCCESS
        if gain < SMALL_GAIN:
            break
    return score, sums[25]


@njit(cache=True, error_model="numpy")
def coarse_to_fine(  # type: ignore[no-untyped-def]
    reference, image, counts, steps, largest_shifts, rotation, shift, phases
):
    """Improve a pose in place through all stages. Returns the last stage's score and model power."""
    score, power = 0.0, 0.0
    for stage in range(counts.shape[0]):
        score, power = climb(
            reference, image, counts[stage], steps[stage], largest_shifts[stage], rotation, shift, phases
        )
    return score, power


@njit(cache=True, error_model="numpy")
def scan(reference, image, count, spacing, rotation, shift, phases):  # type: ignore[no-untyped-def]
    """Move a pose in place to the best of 7 rotations (none, ±7° about each axis) × 5×5 shifts, `spacing` px apart."""
    sums = np.empty(N_SUMS)
    trial, trial_shift, omega = np.empty((3, 3)), np.empty(2), np.empty(3)
    best_rotation, best_shift, best = rotation.copy(), shift.copy(), -np.inf
    for turn in range(7):
        omega[:] = 0.0
        if turn > 0:
            omega[(turn - 1) // 2] = RESCUE_ROTATION if turn % 2 else -RESCUE_ROTATION
        rotated(rotation, omega, trial)
        for i in range(25):
            trial_shift[0] = shift[0] + (i // 5 - 2) * spacing
            trial_shift[1] = shift[1] + (i % 5 - 2) * spacing
            score = score_at(reference, image, count, trial, trial_shift, phases, sums)
            if score > best:
                best = score
                best_rotation[:] = trial
                best_shift[:] = trial_shift
    rotation[:] = best_rotation
    shift[:] = best_shift


@njit(cache=True, error_model="numpy")
def refine_pose(  # type: ignore[no-untyped-def]
    reference, image, counts, steps, largest_shifts, scan_count, scan_spacing, rotation, shift, phases
):
    """Refine one particle's pose in place; it stays as it was where nothing better is found.

    Two ways lead up: from coarse to fine, which steps over the local maxima of wrong shifts, and straight at the
    limit, which does not lose a good pose where the reference fits badly at low resolution (a rare state against
    the consensus). The better end counts. A weak match is tried once more from the best of a coarse grid.

    Returns the score at the given pose and at the refined one, both at the limit.
    """
    sums = np.empty(N_SUMS)
    last = counts.shape[0] - 1
    start_rotation, start_shift = rotation.copy(), shift.copy()
    before = score_at(reference, image, counts[last], rotation, shift, phases, sums)
    after, power = climb(reference, image, counts[last], steps[last], largest_shifts[last], rotation, shift, phases)
    trial_rotation, trial_shift = start_rotation.copy(), start_shift.copy()
    trial, trial_power = coarse_to_fine(
        reference, image, counts, steps, largest_shifts, trial_rotation, trial_shift, phases
    )
    if trial > after:
        after, power = trial, trial_power
        rotation[:] = trial_rotation
        shift[:] = trial_shift
    if after < RESCUE_BELOW * power:
        trial_rotation[:] = start_rotation
        trial_shift[:] = start_shift
        scan(reference, image, scan_count, scan_spacing, trial_rotation, trial_shift, phases)
        trial, _ = coarse_to_fine(reference, image, counts, steps, largest_shifts, trial_rotation, trial_shift, phases)
        if trial > after:
            after = trial
            rotation[:] = trial_rotation
            shift[:] = trial_shift
    return before, after

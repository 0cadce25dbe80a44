"""The Cramér–Rao bound of poses: how well the best unbiased estimate can know them from images of known noise.

Derivatives are differences of the simulator's projections, so that nothing here is shared with the engine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from drgnalign.arrays import FloatArray
from drgnalign.ctf import ctf
from drgnalign.fourier import rfft_images
from drgnalign.particles import Particles
from drgnalign.simulate import Microscope, Specimen, project

# Steps of the differences: radians and pixels.
TURN, SHIFT = 2e-3, 0.05
DRAWS = 200


def pose_errors(
    specimen: Specimen, amplitude: float, truth: Particles, rows: NDArray[np.int64], limit: float, sigma: float
) -> dict[str, NDArray[np.float64]]:
    """Errors that poses at the bound would have, drawn from their normal distribution.

    Parameters
    ----------
    specimen : Specimen
        What was seen.
    amplitude : float
        Its scale in images whose noise is white and has unit variance.
    truth : Particles
        True poses and CTF.
    rows : (n,) int64
        Particles to look at.
    limit : float
        Finest resolution used, Å.
    sigma : float
        Blur of the specimen, Å.

    Returns
    -------
    dict
        ``degrees``: lengths of rotation vectors, ``angstrom``: lengths of shifts, 200 draws a particle.
    """
    box, pixel_size = truth.box, truth.pixel_size
    kx, ky = np.fft.rfftfreq(box, pixel_size)[None, :], np.fft.fftfreq(box, pixel_size)[:, None]
    distance = np.hypot(kx, ky)
    # one of each pair of mates: all of kx > 0, and half of the column kx = 0
    used = (distance <= 1 / limit) & (distance > 0) & ((kx > 0) | (ky > 0)) & (kx < kx.max()) & (abs(ky) < kx.max())
    rotations, displacements, table = truth.rotations(), truth.displacements(), truth.table
    rng = np.random.default_rng(0)
    degrees, angstrom = [], []
    for row in rows:
        defocus = [table[f"rlnDefocus{name}"].iloc[row] for name in ("U", "V", "Angle")]
        factor = amplitude * ctf(kx, ky, *(*defocus, *Microscope()))[used] / box

        def model(
            turn: FloatArray, shift: FloatArray, row: int = row, factor: FloatArray = factor
        ) -> NDArray[np.complex128]:
            rotation = rotations[row] @ Rotation.from_rotvec(turn).as_matrix()
            image = project(*specimen, rotation, displacements[row] + shift, box, pixel_size, sigma)
            return rfft_images(image[None].astype(np.float64))[0][used] * factor

        steps = np.diag([TURN] * 3 + [SHIFT] * 2)
        derivatives = [(model(s[:3], s[3:]) - model(-s[:3], -s[3:])) / (2 * s.max()) for s in steps]
        # the amplitude is not known either
        derivatives.append(model(np.zeros(3), np.zeros(2)))
        columns = np.stack(derivatives)
        information = 2 * (columns @ columns.conj().T).real
        covariance = np.linalg.inv(information)[:5, :5]
        draws = rng.multivariate_normal(np.zeros(5), covariance, DRAWS)
        degrees.append(np.degrees(np.linalg.norm(draws[:, :3], axis=1)))
        angstrom.append(np.linalg.norm(draws[:, 3:], axis=1) * pixel_size)
    return {"degrees": np.concatenate(degrees), "angstrom": np.concatenate(angstrom)}

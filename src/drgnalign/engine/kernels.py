"""The compiled inner loops: one for the CTF, one for interpolation and the normal equations, one for insertion.

Only the half x ≥ 0 of a volume's transform is kept; values at x < 0 follow from ``V(-k) = conj V(k)``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray


class Reference(NamedTuple):
    """A band-limited half volume in Fourier space.

    Attributes
    ----------
    transform : (2K+1, 2K+1, K+1) complex64
        Element [z + K, y + K, x], x ≥ 0, in Fourier pixels of the padded box.
    scale : float
        Padded box / box: the distance, in those pixels, of one Fourier pixel of an image.
    """

    transform: NDArray[np.complex64]
    scale: float


class Image(NamedTuple):
    """One particle's coefficients: box, where they are (kx ≥ 0, ky, in Fourier pixels), data and CTF.

    For refinement `data` and `ctf` are F/σ and CTF/σ, for insertion F and CTF.
    """

    box: int
    kx: NDArray[np.float32]
    ky: NDArray[np.float32]
    data: NDArray[np.complex64]
    ctf: NDArray[np.float32]


class Phases(NamedTuple):
    """Scratch for the phase factors of a shift: columns k = 0…N//2, rows k = −N//2…N//2."""

    columns: NDArray[np.complex128]
    rows: NDArray[np.complex128]


def new_phases(box: int) -> Phases:
    """Scratch for images of `box` px."""
    return Phases(np.empty(box // 2 + 1, np.complex128), np.empty(2 * (box // 2) + 1, np.complex128))


# Layout of the sums of `normal_equations`: 15 products of the five derivatives (upper triangle, row by row), five
# products derivative·model, five derivative·data, then model·model and data·model.
N_SUMS = 27


@njit(cache=True, fastmath=True, error_model="numpy")
def ctf_values(kx, ky, inverse_extent, defocus, defocus_term, cs_term, offset, out):  # type: ignore[no-untyped-def]
    """CTF of one particle at the planned coefficients, sin(defocus_term d(α) s² + cs_term s⁴ + offset).

    `defocus` is (mean, half difference, cos 2·angle, sin 2·angle); `inverse_extent` is 1/(N·pixel size), so that
    s = k · inverse_extent in 1/Å. Result in `out`.
    """
    mean, half, c2, s2 = defocus[0], defocus[1], defocus[2], defocus[3]
    to_s2 = inverse_extent * inverse_extent
    for j in range(out.shape[0]):
        x2, y2 = kx[j] * kx[j], ky[j] * ky[j]
        s_sq = (x2 + y2) * to_s2
        astigmatism = ((x2 - y2) * c2 + 2.0 * kx[j] * ky[j] * s2) * to_s2
        out[j] = math.sin(defocus_term * (mean * s_sq + half * astigmatism) + cs_term * s_sq * s_sq + offset)


@njit(cache=True, fastmath=True, error_model="numpy")
def set_phases(phases, shift, box):  # type: ignore[no-untyped-def]
    """Fill `phases` with e^{+2πi k s/N} of a shift (x, y) in px."""
    for k in range(phases.columns.shape[0]):
        angle = 2.0 * math.pi * k * shift[0] / box
        phases.columns[k] = complex(math.cos(angle), math.sin(angle))
    half = phases.rows.shape[0] // 2
    for k in range(-half, half + 1):
        angle = 2.0 * math.pi * k * shift[1] / box
        phases.rows[k + half] = complex(math.cos(angle), math.sin(angle))


@njit(cache=True, fastmath=True, error_model="numpy")
def normal_equations(reference, image, count, rotation, shift, phases, sums):  # type: ignore[no-untyped-def]
    """Products of model, data and pose derivatives over the first `count` coefficients.

    The model of coefficient k is m = c V(R k), trilinear, with c = CTF/σ; the data d are F/σ brought back by the
    shift, d e^{+2πi k·s/N}. Derivatives: rotations about the image's axes, R ← R exp(ω), with g = Rᵀ∇V:
    ∂ω₀ = k_y g₂, ∂ω₁ = −k_x g₂, ∂ω₂ = k_x g₁ − k_y g₀ (times c); shifts −2πi k/N m. Sums of real parts of
    conj(a) b in `sums` (see N_SUMS).
    """
    set_phases(phases, shift, image.box)
    volume, scale = reference.transform, reference.scale
    kx, ky, data, weighted_ctf = image.kx, image.ky, image.data, image.ctf
    columns, rows = phases.columns, phases.rows
    half_rows = rows.shape[0] // 2
    edge = volume.shape[0] // 2
    r00, r01 = rotation[0, 0], rotation[0, 1]
    r10, r11 = rotation[1, 0], rotation[1, 1]
    r20, r21 = rotation[2, 0], rotation[2, 1]
    r02, r12, r22 = rotation[0, 2], rotation[1, 2], rotation[2, 2]
    to_shift = -2.0 * math.pi / image.box
    for i in range(N_SUMS):
        sums[i] = 0.0
    a00 = a01 = a02 = a03 = a04 = a11 = a12 = a13 = a14 = a22 = a23 = a24 = a33 = a34 = a44 = 0.0
    b0 = b1 = b2 = b3 = b4 = c0 = c1 = c2 = c3 = c4 = mm = dm = 0.0
    for j in range(count):
        x, y = kx[j], ky[j]
        vx = scale * (r00 * x + r01 * y)
        vy = scale * (r10 * x + r11 * y)
        vz = scale * (r20 * x + r21 * y)
        sign = 1.0
        if vx < 0.0:
            vx, vy, vz, sign = -vx, -vy, -vz, -1.0
        ix, iy, iz = int(vx), math.floor(vy), math.floor(vz)
        fx, fy, fz = vx - ix, vy - iy, vz - iz
        iy += edge
        iz += edge
        v000, v001 = volume[iz, iy, ix], volume[iz, iy, ix + 1]
        v010, v011 = volume[iz, iy + 1, ix], volume[iz, iy + 1, ix + 1]
        v100, v101 = volume[iz + 1, iy, ix], volume[iz + 1, iy, ix + 1]
        v110, v111 = volume[iz + 1, iy + 1, ix], volume[iz + 1, iy + 1, ix + 1]
        d00, d01, d10, d11 = v001 - v000, v011 - v010, v101 - v100, v111 - v110
        w00, w01, w10, w11 = v000 + fx * d00, v010 + fx * d01, v100 + fx * d10, v110 + fx * d11
        e0, e1 = w01 - w00, w11 - w10
        u0, u1 = w00 + fy * e0, w10 + fy * e1
        value = u0 + fz * (u1 - u0)
        gz = u1 - u0
        gy = e0 + fz * (e1 - e0)
        gx0 = d00 + fy * (d01 - d00)
        gx1 = d10 + fy * (d11 - d10)
        gx = gx0 + fz * (gx1 - gx0)
        c = weighted_ctf[j]
        # The mirrored point: V(k) = conj V(−k), and its gradient changes sign with k.
        m_re, m_im = c * value.real, c * value.imag * sign
        cs = c * scale
        gx_re, gx_im = cs * gx.real * sign, cs * gx.imag
        gy_re, gy_im = cs * gy.real * sign, cs * gy.imag
        gz_re, gz_im = cs * gz.real * sign, cs * gz.imag
        g0_re, g0_im = r00 * gx_re + r10 * gy_re + r20 * gz_re, r00 * gx_im + r10 * gy_im + r20 * gz_im
        g1_re, g1_im = r01 * gx_re + r11 * gy_re + r21 * gz_re, r01 * gx_im + r11 * gy_im + r21 * gz_im
        g2_re, g2_im = r02 * gx_re + r12 * gy_re + r22 * gz_re, r02 * gx_im + r12 * gy_im + r22 * gz_im
        p0_re, p0_im = y * g2_re, y * g2_im
        p1_re, p1_im = -x * g2_re, -x * g2_im
        p2_re, p2_im = x * g1_re - y * g0_re, x * g1_im - y * g0_im
        sx, sy = to_shift * x, to_shift * y
        p3_re, p3_im = -sx * m_im, sx * m_re
        p4_re, p4_im = -sy * m_im, sy * m_re
        d = data[j] * (columns[int(x)] * rows[int(y) + half_rows])
        d_re, d_im = d.real, d.imag
        a00 += p0_re * p0_re + p0_im * p0_im
        a01 += p0_re * p1_re + p0_im * p1_im
        a02 += p0_re * p2_re + p0_im * p2_im
        a03 += p0_re * p3_re + p0_im * p3_im
        a04 += p0_re * p4_re + p0_im * p4_im
        a11 += p1_re * p1_re + p1_im * p1_im
        a12 += p1_re * p2_re + p1_im * p2_im
        a13 += p1_re * p3_re + p1_im * p3_im
        a14 += p1_re * p4_re + p1_im * p4_im
        a22 += p2_re * p2_re + p2_im * p2_im
        a23 += p2_re * p3_re + p2_im * p3_im
        a24 += p2_re * p4_re + p2_im * p4_im
        a33 += p3_re * p3_re + p3_im * p3_im
        a34 += p3_re * p4_re + p3_im * p4_im
        a44 += p4_re * p4_re + p4_im * p4_im
        b0 += p0_re * m_re + p0_im * m_im
        b1 += p1_re * m_re + p1_im * m_im
        b2 += p2_re * m_re + p2_im * m_im
        b3 += p3_re * m_re + p3_im * m_im
        b4 += p4_re * m_re + p4_im * m_im
        c0 += p0_re * d_re + p0_im * d_im
        c1 += p1_re * d_re + p1_im * d_im
        c2 += p2_re * d_re + p2_im * d_im
        c3 += p3_re * d_re + p3_im * d_im
        c4 += p4_re * d_re + p4_im * d_im
        mm += m_re * m_re + m_im * m_im
        dm += d_re * m_re + d_im * m_im
    sums[0], sums[1], sums[2], sums[3], sums[4] = a00, a01, a02, a03, a04
    sums[5], sums[6], sums[7], sums[8] = a11, a12, a13, a14
    sums[9], sums[10], sums[11], sums[12], sums[13], sums[14] = a22, a23, a24, a33, a34, a44
    sums[15], sums[16], sums[17], sums[18], sums[19] = b0, b1, b2, b3, b4
    sums[20], sums[21], sums[22], sums[23], sums[24] = c0, c1, c2, c3, c4
    sums[25], sums[26] = mm, dm


@njit(cache=True, fastmath=True, error_model="numpy")
def insert_slice(  # type: ignore[no-untyped-def]
    numerator, denominator, row_starts, scale, image, weight, rotation, shift, phases
):
    """Add one particle to the sums of a reconstruction: CTF·F·w into `numerator`, CTF²·w into `denominator`.

    `data` are the image's coefficients F, brought back here by the shift; `weight` is 1/σ². Each coefficient is
    spread over the eight Fourier pixels around R k with trilinear weights. The sums hold the rows x ≥ 0 of a half
    volume one behind the other: voxel (z, y, x) stands at ``row_starts[z + K, y + K] + x``.
    """
    set_phases(phases, shift, image.box)
    kx, ky, data, ctf = image.kx, image.ky, image.data, image.ctf
    columns, rows = phases.columns, phases.rows
    half_rows = rows.shape[0] // 2
    edge = row_starts.shape[0] // 2
    for j in range(kx.shape[0]):
        x, y = kx[j], ky[j]
        vx = scale * (rotation[0, 0] * x + rotation[0, 1] * y)
        vy = scale * (rotation[1, 0] * x + rotation[1, 1] * y)
        vz = scale * (rotation[2, 0] * x + rotation[2, 1] * y)
        d = data[j] * (columns[int(x)] * rows[int(y) + half_rows])
        if vx < 0.0:
            vx, vy, vz = -vx, -vy, -vz
            d = d.conjugate()
        ix, iy, iz = int(vx), math.floor(vy), math.floor(vz)
        fx, fy, fz = vx - ix, vy - iy, vz - iz
        iy += edge
        iz += edge
        amount = np.complex64(d * (ctf[j] * weight[j]))
        power = np.float32(ctf[j] * ctf[j] * weight[j])
        row00, row01 = row_starts[iz, iy] + ix, row_starts[iz, iy + 1] + ix
        row10, row11 = row_starts[iz + 1, iy] + ix, row_starts[iz + 1, iy + 1] + ix
        _add_pair(numerator, denominator, row00, fx, (1.0 - fz) * (1.0 - fy), amount, power)
        _add_pair(numerator, denominator, row01, fx, (1.0 - fz) * fy, amount, power)
        _add_pair(numerator, denominator, row10, fx, fz * (1.0 - fy), amount, power)
        _add_pair(numerator, denominator, row11, fx, fz * fy, amount, power)


@njit(cache=True, fastmath=True, error_model="numpy", inline="always")
def _add_pair(numerator, denominator, voxel, fx, weight, amount, power):  # type: ignore[no-untyped-def]
    """Spread a coefficient over two neighbours in a row."""
    low, high = np.float32(weight * (1.0 - fx)), np.float32(weight * fx)
    numerator[voxel] += low * amount
    numerator[voxel + 1] += high * amount
    denominator[voxel] += low * power
    denominator[voxel + 1] += high * power

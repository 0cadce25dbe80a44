"""Terms of a CTF without anything besides."""

from __future__ import annotations

import numpy as np

from drgnalign.ctf import CtfTerms

NOT_MAGNIFIED = np.array([[1.0, 0.0, 0.0, 1.0]])


def plain_terms(defocus: np.ndarray, phases: np.ndarray, count: int) -> CtfTerms:
    """Of images with these defoci (n, 4) and phases (n, 3), at so many coefficients."""
    return CtfTerms(
        defocus=defocus,
        phases=phases,
        envelopes=np.tile([1.0, 0.0], (len(defocus), 1)),
        kinds=np.zeros(len(defocus), np.int32),
        aberrated=np.zeros(1, np.int32),
        even=np.zeros((1, count), np.float32),
        odd=np.stack([np.ones((1, count)), np.zeros((1, count))], axis=1).astype(np.float32),
        magnifications=NOT_MAGNIFIED,
        stored=np.zeros(1, np.int32),
    )

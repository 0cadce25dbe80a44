"""What images say of latent variables, apart from the model that it comes of: clustering needs no engine."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from drgnalign.arrays import FloatArray, IntArray


class Known(NamedTuple):
    """What is known of images' latent variables: ln p = r·z − ½ z·A z and a constant, all else integrated out.

    Attributes
    ----------
    linear, quadratic : (N, q), (N, q, q) float64
        r and A.
    """

    linear: FloatArray
    quadratic: FloatArray

    def of(self, rows: IntArray) -> Known:
        """Of some images."""
        return Known(self.linear[rows], self.quadratic[rows])

    def log_joint(self, places: FloatArray, shares: FloatArray) -> FloatArray:
        """ln of share and likelihood (N, K) of places in latent space (K, q), over the likelihood of the mean map."""
        quadratic = np.einsum("kq,nqp,kp->nk", places, self.quadratic, places, optimize=True)
        return np.asarray(self.linear @ places.T - 0.5 * quadratic + np.log(np.maximum(shares, 1e-12)), np.float64)

    def posterior(self) -> tuple[FloatArray, FloatArray]:
        """Means and variances of z (N, q), given the image and z ~ N(0, 1)."""
        covariance = np.linalg.inv(self.quadratic + np.eye(self.linear.shape[1]))
        means = np.einsum("nqp,np->nq", covariance, self.linear)
        return means, np.asarray(np.einsum("nqq->nq", covariance), np.float64)

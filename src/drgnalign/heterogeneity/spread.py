"""Two states, or two cuts through a continuum? Where particles are on the way from one map to the other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from drgnalign.arrays import FloatArray
from drgnalign.heterogeneity.contrast import Contrast

# Standard deviations that are tried, in units of the way.
STEP, WIDEST = 0.02, 0.5
# Steps of expectation and maximisation for each; they begin where those of the last one ended.
ITERATIONS = 6
# Nats that the ends of the interval are less likely by: three standard errors.
CERTAIN = 4.5
# Variance of the noise above which the borders to third clusters, drawn through the noise, cut off what would show a
# continuum: nothing can then be ruled out.
BLURRED = 1 / 8
# Nats: where two maps differ by less in an image, the image does not say where on the way it is.
LEAST_APART = 0.1
# Contrast is never quite the same, and an image without any shows no position.
LEAST_SPREAD, LEAST_CONTRAST = 0.05, 0.1


class Spread(NamedTuple):
    """Of the particles of two clusters along the way from one map to the other, beyond noise, in units of that way.

    Attributes
    ----------
    least, likeliest, most : float
        Standard deviation, and the interval of three standard errors.
    """

    least: float
    likeliest: float
    most: float


def positions(products: FloatArray, powers: FloatArray, apart: FloatArray, contrast: Contrast) -> FloatArray:
    """Where on the way from map b (0) to map a (1) images show their particles to be.

    An image is taken for g·((a + b)/2 + t·(a − b)) and noise of variance 1. Its contrast g is fitted too, as it would
    else look like a change of state; g and c = g·t are where the likelihood times the prior of g is highest, and the
    position is ½ + t.

    Parameters
    ----------
    products : (n, 2) float64
        Re⟨D, a⟩ and Re⟨D, b⟩, nats.
    powers : (n, 2) float64
        ⟨a, a⟩ and ⟨b, b⟩.
    apart : (n,) float64
        ⟨a − b, a − b⟩.
    contrast : Contrast
        Of the images.

    Returns
    -------
    (2, m) float64
        Positions and the variances that noise gives them; without images that show no difference, or nothing at all.
    """
    middle, difference = products.mean(axis=1), products[:, 0] - products[:, 1]
    power, common = powers.mean(axis=1) - 0.25 * apart, 0.5 * (powers[:, 0] - powers[:, 1])
    telling = power * apart - common**2 > LEAST_APART * power
    # half of the prior's precision, as that of the likelihood is [[power, common], [common, apart]]
    prior = 0.5 / max(contrast.spread, LEAST_SPREAD) ** 2
    power, middle = power + prior, middle + prior * contrast.mean
    determinant = power * apart - common**2
    with np.errstate(divide="ignore", invalid="ignore"):
        g = (apart * middle - common * difference) / determinant
        way = (power * difference - common * middle) / determinant / g
        variance = 0.5 * (power + 2 * way * common + way**2 * apart) / determinant / g**2
    telling &= g > LEAST_CONTRAST
    return np.stack([0.5 + way[telling], variance[telling]])


def fitted_spread(shown: FloatArray) -> Spread:
    """What spread explains the positions of two clusters' particles best, whatever they were labelled.

    The likelihood is that of two normal distributions of one width and free places, each broadened by the particles'
    own noise. Labels play no part in it: they follow the noise, and particles of one label spread less than they
    should.

    Parameters
    ----------
    shown : (2, n) float64
        See `positions`; of both clusters.

    Returns
    -------
    Spread
        States have none; a continuum that was cut is filled from one centre to the next.
    """
    position, noise = shown
    if not position.size:
        return Spread(0.0, 0.0, WIDEST)
    tried = np.arange(0.0, WIDEST + STEP / 2, STEP)
    places, shares, likelihoods = np.array([0.0, 1.0]), np.array([0.5, 0.5]), []
    for width in tried:
        variance = noise + width**2
        for _ in range(ITERATIONS):
            exponents = np.log(shares)[:, None] - 0.5 * (position - places[:, None]) ** 2 / variance
            likelihood = np.logaddexp(*exponents)
            weights = np.exp(exponents - likelihood)
            known = (weights / variance).sum(axis=1)
            # a place that nothing is near to stays where it is
            places = np.divide((weights * position / variance).sum(axis=1), known, out=places.copy(), where=known > 0)
            shares = np.clip(weights.mean(axis=1), 1e-6, 1.0)
        likelihoods.append(float((likelihood - 0.5 * np.log(variance)).sum()))
    close = tried[np.array(likelihoods) > max(likelihoods) - CERTAIN]
    most = float(close[-1]) if noise.mean() < BLURRED else WIDEST
    return Spread(float(close[0]), float(tried[np.argmax(likelihoods)]), most)

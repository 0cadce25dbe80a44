"""Images differ in contrast, and some show nothing that belongs to any map: amplitudes, and what they tell.

Ice is thicker here and thinner there, so that an image shows its particle with an amplitude g of its own. Likelihoods
are integrated over it. And what does not belong to the maps, or not at its pose, has a fitted amplitude near zero, or
one that falls off where details begin: a wrong view of the right particle has the right bulk and the wrong details.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

FloatArray = NDArray[np.float64]

# Particles that a mixture is fitted to, and the fewest that tell anything.
SAMPLE, FEWEST = 5000, 100
# No kind is narrower than that, in amplitude².
WIDTH = 1e-4
# Junk that is less of all particles than this is none that a map would show.
LEAST_JUNK = 1e-3
# A kind whose details are matched less than half as well as those of what the maps are made of is no part of these.
# Below that it may be: contrast varies, and single states differ in mass.
HALF = 0.5
# A kind of junk has to make the amplitudes likelier by so many nats for each of the six numbers that describe it, as
# the tails of real contrast are not those of a normal distribution.
NATS_A_NUMBER = 10.0


class Contrast(NamedTuple):
    """The amplitude of images, g ~ N(mean, spread²), in units of the maps'."""

    mean: float = 1.0
    spread: float = 0.0


# All images show their particle as the maps do.
ALIKE = Contrast()


def evidence(products: FloatArray, powers: FloatArray, contrast: Contrast) -> FloatArray:
    """Log-likelihood of images given maps, over that of no signal, integrated over their contrast.

    With an amplitude g it is 2g a − g² p. The integral over g ~ N(μ, s²) is
    (2μa − μ²p + 2s²a²)/(1 + 2s²p) − ½ ln(1 + 2s²p), which is 2a − p where there is nothing to integrate over.

    Parameters
    ----------
    products, powers : (…) float64
        a = Re⟨D, m⟩ and p = ⟨m, m⟩, nats.
    contrast : Contrast

    Returns
    -------
    (…) float64
        Nats.
    """
    mean, variance = contrast.mean, contrast.spread**2
    widened = 1 + 2 * variance * powers
    exponent = mean * (2 * products - mean * powers) + 2 * variance * products**2
    return exponent / widened - 0.5 * np.log(widened)


class Amplitudes(NamedTuple):
    """What was fitted to images, each against one map that does not contain it.

    Attributes
    ----------
    whole, bulk, detail : (N,) float64
        Amplitude at all resolutions, up to 40 Å, and beyond.
    variances : (N,) float64
        That noise gives to `whole`: 1/2p.
    """

    whole: FloatArray
    bulk: FloatArray
    detail: FloatArray
    variances: FloatArray


@dataclass(frozen=True)
class Population:
    """What the amplitudes of a set are a mixture of: what the maps show, and kinds of junk.

    Without arguments, one in which all are alike and there is no junk.

    Attributes
    ----------
    contrast : Contrast
        Of what the maps show.
    junk : Contrast or None
        Amplitudes of the junk, all kinds together; None where there is none.
    share : float
        Of the junk among all.
    """

    contrast: Contrast = ALIKE
    junk: Contrast | None = None
    share: float = 0.0
    _mixture: GaussianMixture | None = None
    _is_junk: NDArray[np.bool_] | None = None

    def log_likelihoods(self, products: FloatArray, powers: FloatArray, log_shares: FloatArray) -> FloatArray:
        """Of images (n,), over that of no signal: of all clusters (n, K), in the proportions of their shares (K,), and
        of junk, whose amplitudes are others."""
        likelihoods = logsumexp(evidence(products, powers, self.contrast) + log_shares, axis=1)
        if self.junk is None:
            return likelihoods
        of_junk = logsumexp(evidence(products, powers, self.junk) + log_shares, axis=1)
        return np.logaddexp(np.log1p(-self.share) + likelihoods, np.log(self.share) + of_junk)

    def junk_posteriors(self, amplitudes: Amplitudes) -> FloatArray:
        """Probability (N,) of each particle to be junk."""
        if self._mixture is None:
            return np.zeros(len(amplitudes.whole))
        found = self._mixture.predict_proba(_features(amplitudes)) @ self._is_junk
        # what matches better than all that the maps are made of is none, however far out it is
        return np.where(amplitudes.detail > self.contrast.mean, 0.0, found)


def fitted_population(amplitudes: Amplitudes) -> Population:
    """Find the kinds of junk in a set by the amplitudes of its images.

    One normal distribution of (bulk, detail) is what the maps show, further ones are kinds of junk, each taken in where
    it makes the amplitudes much likelier. The one with the most to say in the maps (share times amplitude) is what
    these show; junk are those whose details have less than half of its amplitude. So the border between the two lies
    where the amplitudes have it.

    Parameters
    ----------
    amplitudes : Amplitudes

    Returns
    -------
    Population
    """
    rows = np.flatnonzero(np.isfinite(amplitudes.bulk) & np.isfinite(amplitudes.detail))
    rows = rows[:: max(1, -(-len(rows) // SAMPLE))]
    sample = Amplitudes(*(values[rows] for values in amplitudes))
    features = _features(sample)
    weak = sample.detail < HALF * np.median(sample.detail) if len(rows) >= FEWEST else np.zeros(len(rows), bool)
    best, junk = _kinds(features) if weak.sum() > LEAST_JUNK * len(rows) else (None, np.zeros(0, bool))
    posteriors = np.zeros(len(rows)) if best is None else best.predict_proba(features)[:, junk].sum(axis=1)
    contrast = _contrast(sample, 1 - posteriors)
    share = float(posteriors.mean())
    if share < LEAST_JUNK:
        return Population(contrast)
    return Population(contrast, _contrast(sample, posteriors), share, best, junk)


def _features(amplitudes: Amplitudes) -> FloatArray:
    return np.nan_to_num(np.stack([amplitudes.bulk, amplitudes.detail], axis=1))


def _kinds(features: FloatArray) -> tuple[GaussianMixture | None, NDArray[np.bool_]]:
    """The mixture that describes the amplitudes, and which of its parts are junk; None where nothing is."""
    best, best_junk = None, np.zeros(1, bool)
    # so few numbers are not worth more threads
    with threadpool_limits(1):
        reached = GaussianMixture(1).fit(features).score(features) * len(features)
        for starts in _starts(features):
            mixture = _mixture(features, starts)
            weight = mixture.weights_ * np.maximum(mixture.means_[:, 1], 0)
            junk = mixture.means_[:, 1] < HALF * mixture.means_[weight.argmax(), 1]
            now = mixture.score(features) * len(features)
            if junk.any() and now > reached + 6 * NATS_A_NUMBER:
                best, best_junk, reached = mixture, junk, now
    return best, best_junk


def _starts(features: FloatArray) -> list[FloatArray]:
    """Means to start mixtures from: of what matches well, and of empty images, lost poses, pieces, or some of these."""
    high = features[features[:, 1] >= np.quantile(features[:, 1], 0.6)].mean(axis=0)
    kinds = np.array([[1.0, 1.0], [0.0, 0.0], [0.7, 0.3], [0.5, 0.5]]) * high
    return [kinds[[0, 1]], kinds[[0, 2]], kinds[[0, 1, 2]], kinds]


def _mixture(features: FloatArray, means: FloatArray) -> GaussianMixture:
    number = len(means)
    precision = np.diag(1 / np.maximum(features.var(axis=0), WIDTH) * number)
    return GaussianMixture(
        number,
        init_params="random_from_data",
        weights_init=np.full(number, 1 / number),
        means_init=means,
        precisions_init=np.stack([precision] * number),
        random_state=0,
        reg_covar=WIDTH,
    ).fit(features)


def _contrast(amplitudes: Amplitudes, weights: FloatArray) -> Contrast:
    """Mean and spread of amplitudes (N,) of which each counts with its weight, beyond what noise makes of them."""
    total = weights.sum()
    if not total > 0:
        return Contrast()
    mean = float((weights * amplitudes.whole).sum() / total)
    variance = (weights * ((amplitudes.whole - mean) ** 2 - amplitudes.variances)).sum() / total
    return Contrast(mean, float(np.sqrt(max(variance, 0.0))))

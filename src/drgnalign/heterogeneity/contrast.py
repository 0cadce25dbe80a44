"""Images differ in contrast, and some show nothing that belongs to any map: amplitudes, and what they tell.

Ice is thicker here and thinner there, so that an image shows its particle with an amplitude g of its own. Likelihoods
are integrated over it. And what does not belong to the maps, or not at its pose, has a fitted amplitude near zero, or
one that falls off where details begin: a wrong view of the right particle has the right bulk and the wrong details.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from drgnalign.arrays import FloatArray

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

# Particles that a mixture is fitted to, and the fewest that tell anything.
SAMPLE, FEWEST = 5000, 100
# Where mixtures of (bulk, detail) start, in units of what matches well: two parts for what the maps show, as contrast
# is not quite normal; empty images, and lost poses: pieces lie between these.
SHOWN, JUNK = [(1.2, 1.2), (0.9, 0.9)], [(0.0, 0.05), (0.7, 0.35)]
# Amplitudes below this count as they are, those above by their logarithm.
BEND = 0.3
# No part is narrower than that, squared.
WIDTH, ITERATIONS = 1e-3, 300
# Junk that is less of all particles than this is none that a map would show.
LEAST_JUNK = 1e-3
# Contrast and thick ice change bulk and details alike. Junk are images that match little of either, by the amplitude of
# what the maps are made of; and those whose details have less than half of that amplitude, and have lost a fifth more
# of it than the bulk. From three quarters on the view may be from aside, or the particle has moved, or is of a state
# that has less than others: that is doubtful.
NOTHING, LITTLE, HALF, ASIDE, FALL = 0.25, 0.4, 0.5, 0.75, 0.8
# What is left out as junk stays so up to this much more amplitude. Maps that are made without it are others: details of
# poses 30° off had .51 of the amplitude then, and .496 in those made with them, and went out and came back for ever.
STAYS = 0.05
# Those that match next to nothing are a kind of their own, not the tail of what contrast does: between their amplitudes
# and the others' there are fewer images, by this factor.
DIP = 0.8
# Where poses are off no fewer images may lie between the two. But no state has an amplitude of zero, however little of
# the consensus it has: what lies around it, this near, is no tail of others. And whom noise alone would not give its
# amplitude, at so many standard deviations, may be of a state all the same.
EMPTY, BEYOND = 0.15, 2.0
# Other particles are turned to match the consensus as well as they can. But an image is none of ours if it has so many
# times more signal that its map does not show than signal that it shows, beyond what is usual: so many of the robust
# standard deviations of all. A compact domain of 60 % more mass that the map has not is three and a half times as much.
STRANGE, DEVIATIONS = 4.0, 4.0
# Junk has to make the amplitudes likelier by so many nats for each of the numbers that describe it (six a part), as the
# tails of real contrast are not those of a normal distribution.
NATS_A_NUMBER = 10.0


class Contrast(NamedTuple):
    """The amplitude of images, g ~ N(mean, spread²), in units of the maps'."""

    mean: float = 1.0
    spread: float = 0.0


class Caution(Enum):
    """For which reason only some junk is called so.

    Attributes
    ----------
    NONE
        States have maps: all of it.
    STATES
        They have none yet, and may be like junk beside the consensus, or show much besides: what shows next to nothing.
    POSES
        Nor are poses refined: what shows nothing.
    """

    NONE = 0
    STATES = 1
    POSES = 2


# An image with less than this amplitude, in terms of those kept, shows black for white: noise leaves junk near 0.
INVERTED = -0.5

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
    unexplained : (N,) float64
        Power of the signal that the map does not show, nats.
    """

    whole: FloatArray
    bulk: FloatArray
    detail: FloatArray
    variances: FloatArray
    unexplained: FloatArray

    def of(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Amplitudes:
        """Those of some images."""
        return Amplitudes(*(values[rows] for values in self))

    @property
    def explained(self) -> FloatArray:
        """Power of the signal that the map shows (N,), nats."""
        return self.whole * np.abs(self.whole) / (2 * self.variances)


class Kinds(NamedTuple):
    """A mixture of amplitudes, and which of its parts (parts,) show nothing, or next to nothing, are junk, and are
    doubtful."""

    mixture: GaussianMixture
    empty: NDArray[np.bool_] | None
    nothing: NDArray[np.bool_] | None
    junk: NDArray[np.bool_] | None
    doubtful: NDArray[np.bool_]


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
    _usual: float = np.inf
    _unit: float = 1.0
    _kinds: Kinds | None = None

    def log_likelihoods(self, products: FloatArray, powers: FloatArray, log_shares: FloatArray) -> FloatArray:
        """Of images (n,), over that of no signal: of all clusters (n, K), in the proportions of their shares (K,), and
        of junk, whose amplitudes are others."""
        likelihoods = scipy.special.logsumexp(evidence(products, powers, self.contrast) + log_shares, axis=1)
        if self.junk is None:
            return likelihoods
        of_junk = scipy.special.logsumexp(evidence(products, powers, self.junk) + log_shares, axis=1)
        return np.logaddexp(np.log1p(-self.share) + likelihoods, np.log(self.share) + of_junk)

    def junk_posteriors(self, amplitudes: Amplitudes, caution: Caution = Caution.NONE) -> FloatArray:
        """Probability (N,) of each particle to be junk."""
        if caution is not Caution.NONE:
            parts = self._kinds and (self._kinds.empty if caution is Caution.POSES else self._kinds.nothing)
            return np.where(self._shows(amplitudes, parts), 0.0, self._shares(amplitudes, parts))
        strange = amplitudes.unexplained - self._usual > STRANGE * np.maximum(amplitudes.explained, 0)
        return np.where(strange, 1.0, self._shares(amplitudes, self._kinds and self._kinds.junk))

    def doubtful(self, amplitudes: Amplitudes) -> NDArray[np.bool_]:
        """Who (N,) may be junk, or have another pose: worth a search."""
        return self._shares(amplitudes, None if self._kinds is None else self._kinds.doubtful) > 0.5

    def whole(self, amplitudes: Amplitudes) -> NDArray[np.bool_]:
        """Who (N,) matches a map to its details, as most of those that match well do."""
        return amplitudes.detail >= ASIDE * self._unit

    def _shows(self, amplitudes: Amplitudes, parts: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        """Who (N,) shows more than noise makes of those in some parts of the mixture."""
        if self._kinds is None or parts is None or not parts.any():
            return np.zeros(len(amplitudes.whole), np.bool_)
        level = BEND * self._unit * np.sinh(self._kinds.mixture.means_[parts]).max()
        return amplitudes.whole > level + BEYOND * np.sqrt(amplitudes.variances)

    def _shares(self, amplitudes: Amplitudes, parts: NDArray[np.bool_] | None) -> FloatArray:
        """Probability (N,) of each particle to belong to some parts of the mixture."""
        if self._kinds is None or parts is None:
            return np.zeros(len(amplitudes.whole))
        found = self._kinds.mixture.predict_proba(_features(amplitudes, self._unit)) @ parts
        # what matches better than most is none, however far out it is
        return np.where(amplitudes.detail > self._unit, 0.0, found)


def fitted_population(amplitudes: Amplitudes, before: Population | None = None) -> Population:
    """Find the kinds of junk in a set by the amplitudes of its images.

    Two normal distributions of (bulk, detail) describe what the maps show, two further ones junk, which are taken in
    where they make the amplitudes much likelier. The one with the most to say in the maps (share times amplitude) is
    surely what these show; see `NOTHING` for what is junk beside it. So the border between the two lies where the
    amplitudes have it.

    Parameters
    ----------
    amplitudes : Amplitudes
    before : Population, optional
        By whose junk images have been left out: what was junk there stays so more easily.

    Returns
    -------
    Population
    """
    rows = np.flatnonzero(np.isfinite(amplitudes.bulk) & np.isfinite(amplitudes.detail))
    rows = rows[:: max(1, -(-len(rows) // SAMPLE))]
    sample = amplitudes.of(rows)
    if len(rows) < FEWEST:
        return Population(_contrast(sample, np.ones(len(rows))))
    usual = float(
        np.median(sample.unexplained)
        + DEVIATIONS * scipy.stats.median_abs_deviation(sample.unexplained, scale="normal")
    )
    ours = sample.of(Population(_usual=usual).junk_posteriors(sample) < 0.5)
    # of those that match well, whatever share of all they are
    unit = float(np.median(ours.detail[ours.detail > np.quantile(ours.detail, 0.4)]))
    known = Population(_usual=usual, _unit=unit)
    if unit > 0 and (ours.detail < HALF * np.median(ours.detail)).sum() >= LEAST_JUNK * len(rows):
        known = replace(known, _kinds=_kinds(_features(ours, unit), None if before is None else before._kinds))
    posteriors = known.junk_posteriors(sample)
    contrast, share = _contrast(sample, 1 - posteriors), float(posteriors.mean())
    if share < LEAST_JUNK:
        nobody = known._kinds and known._kinds._replace(empty=None, nothing=None, junk=None)
        return replace(known, contrast=contrast, _usual=np.inf, _kinds=nobody)
    return replace(known, contrast=contrast, junk=_contrast(sample, posteriors), share=share)


def _features(amplitudes: Amplitudes, unit: float) -> FloatArray:
    """Bulk and detail on a scale on which real contrast, whose logarithm is spread evenly, and the noise of images that
    show nothing both are near normal."""
    return np.arcsinh(np.nan_to_num(np.stack([amplitudes.bulk, amplitudes.detail], axis=1)) / (BEND * unit))


def _kinds(features: FloatArray, before: Kinds | None) -> Kinds | None:
    """The mixture that describes the amplitudes, and what its parts are; nothing where all are what the maps show.

    Its parts begin at the same places each time, so that those of before are the same kinds.
    """
    starts = np.arcsinh(np.array(SHOWN + JUNK) / BEND)
    # so few numbers are not worth more threads
    with threadpool_limits(1):
        one, mixture = _mixture(features, starts[:1]), _mixture(features, starts)
    gain = (mixture.score(features) - one.score(features)) * len(features)
    bulk, details = np.sinh(mixture.means_).T
    main = (mixture.weights_ * np.maximum(details, 0)).argmax()
    bulk, details = bulk / bulk[main], details / details[main]
    most, apart, falls = np.maximum(bulk, details), _apart(mixture, main), details < FALL * bulk
    room = 0.0 if before is None or before.junk is None else STAYS * before.junk
    empty = np.maximum(np.abs(bulk), np.abs(details)) < EMPTY
    nothing, little = empty | ((most < NOTHING) & apart), (most < LITTLE + room) & apart
    junk = empty | little | (falls & (details < HALF + room))
    doubtful = junk | (falls & (details < ASIDE))
    known = doubtful.any() and gain > NATS_A_NUMBER * 6 * (len(starts) - 1)
    return Kinds(mixture, empty, nothing, junk, doubtful) if known else None


def _apart(mixture: GaussianMixture, main: int) -> NDArray[np.bool_]:
    """Of which parts of a mixture the centre is denser than some place on the way to that of its main part."""
    way = np.linspace(0, 1, 33)[:, None]
    logs = [mixture.score_samples(mean + way * (mixture.means_[main] - mean)) for mean in mixture.means_]
    return np.array([one.min() < one[0] + np.log(DIP) for one in logs])


def _mixture(features: FloatArray, means: FloatArray) -> GaussianMixture:
    from sklearn.mixture import GaussianMixture  # slow to import, and most steps only use what SCREEN has fitted

    number = len(means)
    precision = np.diag(number / np.maximum(features.var(axis=0), WIDTH))
    return GaussianMixture(
        number,
        init_params="random_from_data",
        weights_init=np.full(number, 1 / number),
        means_init=means,
        precisions_init=np.stack([precision] * number),
        random_state=0,
        reg_covar=WIDTH,
        max_iter=ITERATIONS,
    ).fit(features)


def _contrast(amplitudes: Amplitudes, weights: FloatArray) -> Contrast:
    """Mean and spread of amplitudes (N,) of which each counts with its weight, beyond what noise makes of them."""
    total = weights.sum()
    if not total > 0:
        return Contrast()
    mean = float((weights * amplitudes.whole).sum() / total)
    variance = (weights * ((amplitudes.whole - mean) ** 2 - amplitudes.variances)).sum() / total
    return Contrast(mean, float(np.sqrt(max(variance, 0.0))))


def inverted(amplitudes: FloatArray, left_out: NDArray[np.bool_]) -> int:
    """How many of those left out hold what the maps show, but black for white.

    Parameters
    ----------
    amplitudes : (N,) float64
        Of `Amplitudes.whole`; NaN where nobody has looked.
    left_out : (N,) bool

    Returns
    -------
    int
    """
    kept = amplitudes[~left_out]
    usual = float(np.nanmedian(kept)) if np.isfinite(kept).any() else 1.0
    return int((amplitudes[left_out] < INVERTED * usual).sum())

"""Likelihoods integrated over contrast, and amplitudes that show what is junk."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad

from drgnalign.heterogeneity.contrast import ALIKE, Amplitudes, Contrast, evidence, fitted_population
from drgnalign.heterogeneity.spread import positions

COUNT, NOISE = 4000, 0.1


@pytest.mark.parametrize(("product", "power"), [(40.0, 50.0), (-3.0, 20.0), (300.0, 200.0), (0.0, 0.0)])
@pytest.mark.parametrize(("mean", "spread"), [(1.0, 0.2), (0.9, 0.05), (1.1, 0.6)])
def test_the_integral_over_contrast_is_that_of_quadrature(
    product: float, power: float, mean: float, spread: float
) -> None:
    def integrand(g: float) -> float:
        prior = np.exp(-0.5 * ((g - mean) / spread) ** 2) / np.sqrt(2 * np.pi) / spread
        return prior * np.exp(2 * g * product - g * g * power)

    integral, _ = quad(integrand, mean - 12 * spread, mean + 12 * spread, epsabs=0, epsrel=1e-10, limit=400)
    found = evidence(np.array(product), np.array(power), Contrast(mean, spread))
    assert_allclose(found, np.log(integral), rtol=1e-6, atol=1e-9)


def test_without_a_spread_it_is_the_likelihood_itself() -> None:
    products, powers = np.array([40.0, -3.0]), np.array([50.0, 20.0])
    assert_allclose(evidence(products, powers, ALIKE), 2 * products - powers)
    assert_allclose(evidence(products, powers, Contrast(1.0, 1e-6)), 2 * products - powers, atol=1e-6)


def test_mass_still_tells_states_apart() -> None:
    """A map with a third of the mass more, seen with the contrast of 1, is likelier than one without."""
    heavy, light = 100.0, 100.0 / 1.3**2
    product_with_heavy, product_with_light = heavy, heavy / 1.3
    contrast = Contrast(1.0, 0.15)
    assert evidence(np.array(product_with_heavy), np.array(heavy), contrast) > evidence(
        np.array(product_with_light), np.array(light), contrast
    )


def amplitudes(rng: np.random.Generator, bulk: np.ndarray, detail: np.ndarray) -> Amplitudes:
    """As noise would have them; the whole is that of both alike."""
    bulk = bulk + NOISE * rng.standard_normal(len(bulk))
    detail = detail + NOISE * rng.standard_normal(len(detail))
    variances = np.full(len(bulk), 0.5 * NOISE**2)
    return Amplitudes(0.5 * (bulk + detail), bulk, detail, variances, np.zeros(len(bulk)))


def lognormal(rng: np.random.Generator, count: int, spread: float) -> np.ndarray:
    return np.exp(spread * rng.standard_normal(count) - 0.5 * spread**2)


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.2, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_contrast_alone_is_no_junk(seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    g = lognormal(rng, COUNT, spread)
    found = fitted_population(amplitudes(rng, g, g))
    assert found.junk is None
    assert found.contrast.mean == pytest.approx(1.0, abs=0.02)
    assert found.contrast.spread == pytest.approx(spread, abs=0.03)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.02, 0.15, 0.6])
def test_junk_is_found_and_good_images_are_not_lost(seed: int, share: float) -> None:
    """Empty images, pieces and lost poses, a third of each; two thirds of all may be junk."""
    rng = np.random.default_rng(seed)
    number = round(share * COUNT / 3)
    good = lognormal(rng, COUNT - 3 * number, 0.15)
    empty, piece, lost = np.zeros(number), np.full(number, 0.3), lognormal(rng, number, 0.15)
    given = amplitudes(
        rng, np.concatenate([good, empty, piece, 0.8 * lost]), np.concatenate([good, empty, piece, 0.3 * lost])
    )
    found = fitted_population(given)
    junk = found.junk_posteriors(given) > 0.5
    # where there is more junk, a weak image is more likely junk
    assert junk[: len(good)].mean() < (0.02 if share > 0.5 else 0.01)
    assert junk[len(good) :][:number].mean() > 0.95
    # a few lost poses are hard to tell from weak contrast, and stay
    assert share < 0.05 or junk[len(good) :].mean() > 0.95
    assert found.share == pytest.approx(share, abs=0.03)
    assert found.contrast.spread == pytest.approx(0.15, abs=0.03)


@pytest.mark.parametrize(("bulk", "detail", "aside"), [(0.85, 0.55, True), (0.65, 0.65, False)])
def test_details_that_fall_off_are_worth_a_search_and_a_lighter_state_is_not(
    bulk: float, detail: float, aside: bool
) -> None:
    """A view from aside has lost details only, as has a particle that moved; a lighter state is less of both."""
    rng = np.random.default_rng(5)
    good, other = lognormal(rng, COUNT, 0.1), lognormal(rng, COUNT // 8, 0.1)
    given = amplitudes(rng, np.concatenate([good, bulk * other]), np.concatenate([good, detail * other]))
    found = fitted_population(given)
    assert not (found.junk_posteriors(given) > 0.5).any()
    seen = found.doubtful(given)
    assert seen[:COUNT].mean() < 0.02
    assert (seen[COUNT:].mean() > 0.9) if aside else not seen.any()


@pytest.mark.parametrize(("times", "junk"), [(12.0, True), (3.5, False)])
def test_what_shows_something_else_is_junk_and_a_state_with_a_large_domain_is_none(times: float, junk: bool) -> None:
    """`times` as much signal that the map does not show as that it shows; all have noise and some contrast."""
    rng = np.random.default_rng(6)
    g = lognormal(rng, COUNT + COUNT // 8, 0.2)
    given = amplitudes(rng, g, g)
    noise = 0.3 * np.median(given.explained) * rng.standard_normal(len(g))
    given = given._replace(unexplained=noise + np.where(np.arange(len(g)) < COUNT, 0.0, times * given.explained))
    left_out = fitted_population(given).junk_posteriors(given) > 0.5
    assert not left_out[:COUNT].any()
    assert (left_out[COUNT:].mean() > 0.95) if junk else not left_out.any()


@pytest.mark.parametrize(("now", "stays"), [(0.51, True), (0.62, False)])
def test_who_was_left_out_stays_so_when_maps_have_changed_a_little(now: float, stays: bool) -> None:
    """Maps without lost poses show these a little more; taken in for that, they would be put out again."""
    rng = np.random.default_rng(5)
    g = lognormal(rng, COUNT + 400, 0.1)
    lost = np.arange(len(g)) >= COUNT

    def seen(detail: float) -> Amplitudes:
        return amplitudes(rng, g * np.where(lost, 0.83, 1.0), g * np.where(lost, detail, 1.0))

    before, after = seen(0.45), seen(now)
    first = fitted_population(before)
    assert (first.junk_posteriors(before) > 0.5)[lost].mean() > 0.9
    assert fitted_population(after).junk is None
    again = fitted_population(after, first).junk_posteriors(after) > 0.5
    assert (again[lost].mean() > 0.9) if stays else not again.any()
    assert again[~lost].mean() < 0.02


def test_scale_does_not_matter() -> None:
    """Maps that hold junk are weak, and amplitudes against them large."""
    rng = np.random.default_rng(1)
    g = np.concatenate([lognormal(rng, COUNT, 0.15), np.zeros(COUNT // 4)])
    given = amplitudes(rng, g, g)
    stronger = Amplitudes(*(factor * values for factor, values in zip((2, 2, 2, 4, 1), given, strict=True)))
    one, two = fitted_population(given), fitted_population(stronger)
    assert_allclose(one.junk_posteriors(given), two.junk_posteriors(stronger), atol=1e-6)
    assert two.contrast.mean == pytest.approx(2 * one.contrast.mean)


def test_images_of_which_nothing_is_known_are_no_junk_and_do_no_harm() -> None:
    rng = np.random.default_rng(2)
    g = np.concatenate([lognormal(rng, COUNT, 0.1), np.zeros(400)])
    given = amplitudes(rng, g, g)
    for values in given[:3]:
        values[:5] = np.nan
    found = fitted_population(given)
    assert np.isfinite(found.junk_posteriors(given)).all()
    assert found.share == pytest.approx(400 / (COUNT + 400), abs=0.01)


def test_few_images_tell_nothing() -> None:
    rng = np.random.default_rng(3)
    g = np.concatenate([np.ones(60), np.zeros(30)])
    assert fitted_population(amplitudes(rng, g, g)).junk is None


@pytest.mark.parametrize("contrast", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("place", [0.0, 0.3, 1.0])
def test_positions_on_the_way_do_not_depend_on_contrast(contrast: float, place: float) -> None:
    """Of vectors without noise: place·a + (1 − place)·b, seen with some contrast."""
    rng = np.random.default_rng(4)
    a, b = 3 * rng.standard_normal((2, 50))
    image = contrast * (place * a + (1 - place) * b)
    products, powers = np.array([[image @ a, image @ b]]), np.array([[a @ a, b @ b]])
    (position,), (variance,) = positions(products, powers, np.array([(a - b) @ (a - b)]), Contrast(1.0, 2.0))
    assert position == pytest.approx(place, abs=0.02)
    assert 0 < variance < 0.1

"""The ideal observer against brute force: likelihood ratios over thousands of noisy pictures, and rendered clips."""

import dataclasses
import functools
import math

import numpy as np
import pytest
from scipy import stats

from melib import DataError
from melib.simulate import events, portraits, render, units
from melib.simulate.nuisance import draw_paths, resolve
from melib.study import ideal_observer
from melib.study.ideal_observer import clip_limit, efficiency, hit_rate, ideal_curve

FPS = 200
PEOPLE = np.repeat([f"s{i}" for i in range(40)], 30)


@functools.cache
def canvas():
    return units.make_canvas(portraits.portraits(1)[0])


@functools.cache
def scene(unit=12, strength=0.5, nuisance=0.0, noise=2.5, rise=4):
    """A unit that rises for some frames and falls for as many, with one still frame at each end."""
    apex, stop = rise / FPS, 2 * rise / FPS
    movement = events.Movement(unit, "both", 1.0, 0.0, apex, 0.0, stop, (2, 2), (2, 2), 0.0, np.inf)
    paths = draw_paths(np.random.default_rng(3), resolve(nuisance), 2 * rise + 1, FPS)
    event = None if unit is None else events.Expression("others", strength, (movement,))
    return render.Scene(canvas(), "patches", event, dataclasses.replace(paths, noise=noise), FPS)


@functools.cache
def limit(amplitude=None, **of):
    return clip_limit(scene(**of), "patches", amplitude=amplitude)


# On a simulated clip ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [4, 25])
def test_d_prime_grows_in_proportion_to_a_small_amplitude(unit):
    one, other = (limit(a, unit=unit, nuisance=1.0) for a in (0.04, 0.08))
    assert one.d_prime > 1
    assert other.d_prime == pytest.approx(2 * one.d_prime, rel=0.04)
    # In that regime detection and measurement are one thing.
    assert one.d_prime == pytest.approx(one.amplitude / one.sd_px, rel=0.04)


def test_d_prime_is_inversely_proportional_to_the_noise_and_grows_with_the_movement():
    one, other = limit(0.1, noise=2.0), limit(0.1, noise=5.0)
    assert other.d_prime == pytest.approx(one.d_prime * 2 / 5)
    assert other.sd_px == pytest.approx(one.sd_px * 5 / 2)
    assert (np.diff([limit(a).d_prime for a in (0.04, 0.1, 0.4, 1.2)]) > 0).all()


def test_no_movement_gives_nothing_to_see():
    still = limit(unit=None)
    assert still.d_prime == still.amplitude == 0 and still.sd_px == math.inf
    with pytest.raises(DataError, match="nothing moves"):
        limit(1, unit=None)
    with pytest.raises(DataError, match="no noise"):
        limit(noise=0.0)


def test_the_signal_is_that_of_the_frames_as_the_simulator_renders_them():
    moved = scene(nuisance=1.0)
    still = render.Scene(canvas(), "patches", None, moved.paths, FPS)
    theirs = []
    for t in range(moved.n_frames):
        clean = still.frame(t).astype(float)
        variance = 2.5**2 * (
            0.5 + clean / 256
        )  # the camera's: read and shot noise in equal parts at mid grey
        theirs.append(((moved.frame(t) - clean) ** 2 / variance).sum())
    ours = limit(nuisance=1.0)
    # The simulator stops undoing a warp at .03 pixel of the photograph, the observer doesn't.
    assert ours.d_prime == pytest.approx(math.sqrt(sum(theirs)), rel=0.02)
    np.testing.assert_allclose(ours.energy, theirs, rtol=0.1, atol=1)


def test_a_matched_filter_on_written_frames_reaches_the_bound_and_no_more():
    """The camera's noise, its rounding and its clipping, drawn by the simulator itself."""
    moved, t = scene(strength=0.03), 4
    still = render.Scene(canvas(), "patches", None, moved.paths, FPS)
    clean = still.frame(t).astype(float)
    template = ((moved.frame(t) - clean) / ideal_observer.noise_variance(clean, 2.5)).astype(np.float32)
    without, with_ = [], []
    for trial in range(120):
        grain = still.grain(np.random.default_rng(trial))
        for film, answers in ((still, without), (moved, with_)):  # the same noise in both
            written = film.written(t, grain, np.random.default_rng(trial))
            answers.append(float((template * (written - clean)).sum()))
    bound = limit(strength=0.03).energy[t]
    # A filter matched to the signal answers d' squared more where the signal is, with d' as its standard deviation.
    assert np.mean(np.subtract(with_, without)) == pytest.approx(bound, rel=0.06)
    assert np.std(without, ddof=1) == pytest.approx(math.sqrt(bound), rel=0.2)  # three standard errors


def test_what_is_no_part_of_the_movement_is_nuisance():
    """Two fields, one asked about: the other moves in both cases, as in a long video."""
    fields = [units.unit_field(canvas(), "patches", unit) for unit in (1, 12)]
    course = scene().amplitudes[:, 0]
    amplitudes = np.stack([0.8 * course, 0.3 * course], axis=1)
    both = render.Scene(canvas(), "patches", None, scene().paths, FPS, fields, amplitudes)
    asked = clip_limit(both, "patches", course=amplitudes * [0, 1])
    assert asked.amplitude == pytest.approx(0.3 * course.max(), rel=1e-5)
    # The brow is far from the mouth: whether it moves or not changes little.
    alone = render.Scene(canvas(), "patches", None, scene().paths, FPS, fields, amplitudes * [0, 1])
    assert asked.d_prime == pytest.approx(clip_limit(alone, "patches").d_prime, rel=0.01)
    assert clip_limit(both, "patches").d_prime > 1.2 * asked.d_prime


# Over many events ---------------------------------------------------------------------------------------------------


def test_d_prime_and_hit_rate_are_those_of_the_likelihood_ratio():
    """Of a tiny picture whose blob goes right, in noise that grows with brightness."""
    y, x = np.mgrid[:6, :7]
    still, moved = (60 + 40 * np.exp(-0.5 * ((x - 3 - a) ** 2 + (y - 2.5) ** 2) / 1.3**2) for a in (0, 0.12))
    variance = ideal_observer.noise_variance(still, 2.5)
    rng = np.random.default_rng(0)

    def ratios(mean):
        pictures = mean + np.sqrt(variance) * rng.standard_normal((6000, *mean.shape))
        logs = (stats.norm.logpdf(pictures, of, np.sqrt(variance)) for of in (moved, still))
        return np.subtract(*logs).sum(axis=(1, 2))

    without, with_ = ratios(still), ratios(moved)
    d_prime = math.sqrt(((moved - still) ** 2 / variance).sum())
    assert 1 < d_prime < 3  # else an area says little
    area = stats.mannwhitneyu(with_, without).statistic / len(with_) ** 2
    assert math.sqrt(2) * stats.norm.ppf(area) == pytest.approx(d_prime, rel=0.04)
    assert hit_rate(d_prime, 0.05) == pytest.approx((with_ > np.quantile(without, 0.95)).mean(), abs=0.02)
    assert hit_rate(0, 0.03) == pytest.approx(0.03)


def test_the_ideal_threshold_grows_in_proportion_and_is_where_half_are_found():
    rng = np.random.default_rng(0)
    sd, people = np.exp(rng.normal(-6, 0.4, 40)), PEOPLE[:300:30].repeat(4)
    px = np.geomspace(0.001, 2.5, 120)
    (curve, one), (_, four) = (ideal_curve(px, factor * sd, people, 0.01) for factor in (1, 4))
    assert four[0] == pytest.approx(4 * one[0], rel=0.02)
    assert hit_rate(one[0] / sd, 0.01).mean() == pytest.approx(0.5, abs=0.01)
    assert one[1] < one[0] < one[2]
    assert (np.diff(curve["probability"]) >= 0).all()


# Efficiency ---------------------------------------------------------------------------------------------------------


def answers(seed, ideal, share, criterion=0.6):
    """Hits and alarms of an observer who gets ``share`` of the ideal's d' squared."""
    rng = np.random.default_rng(seed)
    hits = rng.standard_normal(len(ideal)) + math.sqrt(share) * ideal > criterion
    return hits, rng.standard_normal(len(ideal)) > criterion


@pytest.mark.parametrize("share", [1.0, 0.25, 0.02])
def test_an_observer_with_a_known_share_has_that_efficiency(share):
    ideal = np.full(480, 1.2 / math.sqrt(share))  # as hard for the observer, so that the test is as sharp
    inside = []
    for seed in range(6):
        hits, alarms = answers(seed, ideal, share)
        used = efficiency(hits, alarms, PEOPLE[:480], PEOPLE[:480], ideal, n=150)
        d_prime = stats.norm.ppf(hits.mean()) - stats.norm.ppf(alarms.mean())
        assert used["efficiency"] == pytest.approx((d_prime / ideal[0]) ** 2, rel=1e-6)
        assert used["efficiency"] == pytest.approx(share, rel=0.45)
        inside.append(used["efficiency_low"] <= share <= used["efficiency_high"])
    assert np.mean(inside) >= 0.6


def test_an_observer_who_guesses_uses_nothing_and_one_without_errors_gives_a_lower_bound():
    ideal = np.full(240, 30.0)
    who = PEOPLE[:240]
    used = efficiency(*answers(0, ideal, 0.0), who, who, ideal, n=200)
    assert used["efficiency_low"] == 0 and used["efficiency"] < 1e-3
    assert efficiency(np.zeros(240), np.ones(240), who, who, ideal, n=1)["efficiency"] == 0
    used = efficiency(np.ones(240), np.zeros(240), who, who, ideal, n=50)
    assert used["saturated"] and used["efficiency_high"] == math.inf
    assert 0 < used["efficiency"] < 1

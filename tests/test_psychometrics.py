"""Psychometric functions against their own simulations and a brute-force grid; alarms an hour against counting."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from melib import DataError
from melib.study import psychometrics
from melib.study.psychometrics import fit_psychometric, guess_rate, score_for_rate

RANGE = (0.02, 2.5)  # crop pixels of the probe videos


def truth(x, threshold=0.25, slope=1.8, lapse=0.04, guess=0.02):
    """The curve by scipy's normal, not by the module; the threshold is its middle."""
    risen = stats.norm.cdf(np.log(np.asarray(x) / threshold), scale=1 / slope)
    return guess + (1 - guess - lapse) * risen


def simulated(seed=0, people=30, events=20, **curve):
    """Amplitudes, detections and subjects of a made-up experiment."""
    rng = np.random.default_rng(seed)
    x = np.exp(rng.uniform(*np.log(RANGE), people * events))
    detected = rng.uniform(size=x.size) < truth(x, **curve)
    return x, detected, np.repeat([f"s{i:02d}" for i in range(people)], events)


# The fit ------------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_fit_recovers_the_curve_that_made_the_data():
    half = 0.25 * math.exp(stats.norm.ppf(0.48 / 0.94) / 1.8)
    covered = []
    for seed in range(12):
        curve = fit_psychometric(*simulated(seed), guess=0.02, n=120)
        assert curve.where == "inside"
        assert curve.threshold == pytest.approx(half, rel=0.25)
        assert curve.curves[0, 1] == pytest.approx(1.8, rel=0.45)
        assert curve.curves[0, 2] == pytest.approx(0.04, abs=0.06)
        covered.append(curve.threshold_interval[0] <= half <= curve.threshold_interval[1])
    assert np.mean(covered) >= 0.75  # 95 % of 12, less what chance may take


def test_no_curve_on_a_fine_grid_is_likelier():
    x, detected, subjects = simulated(5)
    curve = fit_psychometric(x, detected, subjects, guess=0.02, n=0)

    def log_likelihood(p):
        p = np.clip(p, 1e-12, 1 - 1e-12)
        return np.where(detected, np.log(p), np.log1p(-p)).sum()

    best = max(
        log_likelihood(truth(x, threshold, slope, lapse))
        for threshold in np.geomspace(0.15, 0.4, 30)
        for slope in np.linspace(0.8, 4, 30)
        for lapse in np.linspace(0, 0.1, 11)
    )
    assert log_likelihood(curve.probability(x)) >= best - 1e-6


@pytest.mark.parametrize("lapse", [0.0, 0.3])
def test_the_threshold_is_where_half_is_detected(lapse):
    x, detected, subjects = simulated(7, people=60, events=50, lapse=lapse, guess=0)
    curve = fit_psychometric(x, detected, subjects, n=20)
    assert curve.probability(curve.threshold) == pytest.approx(0.5)
    assert curve.threshold == pytest.approx(0.25 * np.exp(stats.norm.ppf(0.5 / (1 - lapse)) / 1.8), rel=0.12)
    low, high = curve.band(np.array([0.05, curve.threshold, 9.0]))
    assert low[1] < 0.5 < high[1] and np.isnan([low[2], high[2]]).all()


# Its ends -----------------------------------------------------------------------------------------------------------


def test_a_threshold_outside_the_tested_range_is_a_bound_and_never_a_number():
    x, _, subjects = simulated(7)
    strong = fit_psychometric(x, np.ones(len(x), bool), subjects, n=20)
    assert (strong.where, strong.threshold) == ("below", 0.0)
    assert strong.threshold_interval == pytest.approx((0.0, x.min()))
    assert (strong.probability(x) == 1).all() and math.isnan(strong.curves[0, 1])
    blind = fit_psychometric(x, np.zeros(len(x), bool), subjects, guess=0.05, n=20)
    assert (blind.where, blind.threshold) == ("above", math.inf)
    assert blind.threshold_interval == pytest.approx((x.max(), math.inf))
    assert (blind.probability(x) == 0.05).all()
    assert fit_psychometric(*simulated(8, lapse=0.65), n=5).where == "above"  # it levels off below a half


def test_one_subject_gives_an_estimate_without_an_interval():
    x, detected, _ = simulated(10)
    curve = fit_psychometric(x, detected, ["a"] * len(x))
    assert curve.where == "inside"
    assert np.isnan([*curve.threshold_interval, *np.ravel(curve.band([0.1]))]).all()


FINE = (np.geomspace(0.1, 1, 12), np.arange(12) > 5, ["a", "b"] * 6)


def test_too_few_events_one_amplitude_and_no_movement_are_refused():
    few = psychometrics.FEWEST - 1
    with pytest.raises(DataError, match=f"at least {few + 1} events, got {few}"):
        fit_psychometric(*(values[:few] for values in FINE))
    assert fit_psychometric(*(values[: few + 1] for values in FINE), n=5).where == "inside"
    _, detected, people = FINE
    with pytest.raises(DataError, match="all events have the amplitude"):
        fit_psychometric(np.full(12, 0.3), detected, people)
    with pytest.raises(DataError, match="doesn't move"):
        fit_psychometric(np.arange(12), detected, people)


# False alarms an hour -----------------------------------------------------------------------------------------------

SCORE = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]) | st.floats(-5, 5)  # with ties
SCORES = st.lists(st.tuples(SCORE, st.booleans()), max_size=30)


@settings(max_examples=200)
@given(SCORES, st.floats(0.1, 10), st.floats(0, 20), st.floats(0, 20))
def test_the_least_score_keeps_the_rate_and_nothing_lower_does(rows, hours, allowed, other):
    scores, true = np.array([s for s, _ in rows]), np.array([t for _, t in rows], bool)
    least = score_for_rate(scores, true, hours, allowed)

    def rate(score):
        return sum(s >= score and not t for s, t in rows) / hours

    assert rate(least) <= allowed * (1 + 1e-9)
    lower = [s for s, t in rows if s < least and not t]
    assert all(rate(score) > allowed * (1 - 1e-9) for score in lower)
    # A stricter rate never needs a lower score.
    assert score_for_rate(scores, true, hours, min(allowed, other)) >= least


@pytest.mark.parametrize("hours", [0.072, 0.5])
def test_on_other_videos_the_rate_that_comes_out_is_the_one_that_was_asked(hours):
    """200 calibrations: false alarms at random, 300 an hour in all, of which 60 are allowed."""
    rng = np.random.default_rng(0)
    came_out, covered = [], []
    for _ in range(200):
        validation, test = (rng.exponential(size=rng.poisson(300 * n)) for n in (hours, 5))
        least = score_for_rate(validation, np.zeros(validation.size, bool), hours, 60)
        came_out.append((test >= least).sum() / 5)
        few = psychometrics.realised((test[: len(test) // 20] >= least).sum(), 0.25)
        true_rate = 300 * math.exp(-least)
        covered.append(few["test_per_hour_low"] <= true_rate <= few["test_per_hour_high"])
    assert np.mean(came_out) == pytest.approx(60, abs=3 * np.std(came_out) / 200**0.5)
    assert np.mean(covered) >= 0.93


def test_the_guess_rate_is_that_of_random_alarms():
    rng = np.random.default_rng(0)
    alarms = np.sort(rng.uniform(0, 500, rng.poisson(500 * 120)))  # hours; 120 an hour
    starts = rng.uniform(0, 499, 20000)
    hit = np.searchsorted(alarms, starts + 10 / 3600) > np.searchsorted(alarms, starts)
    assert hit.mean() == pytest.approx(guess_rate(120, 10), abs=0.02)
    assert guess_rate(0, 10) == guess_rate(10, 0) == 0

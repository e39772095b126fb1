"""Psychometric functions against their own simulations and a brute-force grid; alarms per hour against counting."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from melib import DataError
from melib.study import psychometrics
from melib.study.psychometrics import Candidates, at_rate, fit, guess_rate, least_score

RANGE = (0.02, 2.5)  # crop pixels, as the issue asks


def truth(x, threshold=0.25, slope=1.8, lapse=0.04, guess=0.02):
    """The curve by scipy's normal, not by the module."""
    risen = stats.norm.cdf(np.log(np.asarray(x) / threshold), scale=1 / slope)
    return guess + (1 - guess - lapse) * risen


def simulated(seed=0, people=30, events=20, **curve):
    """Amplitudes, detections and subjects of a made-up experiment."""
    rng = np.random.default_rng(seed)
    x = np.exp(rng.uniform(*np.log(RANGE), people * events))
    found = rng.uniform(size=x.size) < truth(x, **curve)
    return x, found, np.repeat([f"s{i:02d}" for i in range(people)], events)


def numbers(curve):
    return np.hstack([np.ravel(value) for value in dataclasses.astuple(curve) if not isinstance(value, str)])


# The fit ------------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_fit_recovers_the_curve_that_made_the_data():
    covered = []
    for seed in range(12):
        curve = fit(*simulated(seed), guess=0.02, n=120)
        assert curve.where == "inside"
        assert curve.threshold == pytest.approx(0.25, rel=0.25)
        assert curve.slope == pytest.approx(1.8, rel=0.45)
        covered.append(
            [
                curve.threshold_interval[0] <= 0.25 <= curve.threshold_interval[1],
                curve.slope_interval[0] <= 1.8 <= curve.slope_interval[1],
                curve.lapse_interval[0] <= 0.04 <= curve.lapse_interval[1],
            ]
        )
    assert (np.mean(covered, axis=0) >= 0.75).all()  # 95 % of 12, less what chance may take


def test_a_free_guess_rate_is_recovered():
    curve = fit(*simulated(3, people=60, guess=0.25), guess=None, n=40)
    assert curve.guess == pytest.approx(0.25, abs=0.07)
    assert curve.threshold == pytest.approx(0.25, rel=0.25)
    assert curve.guess_interval[0] < curve.guess < curve.guess_interval[1]


def test_no_curve_on_a_fine_grid_is_likelier():
    x, found, subjects = simulated(5)
    curve = fit(x, found, subjects, guess=0.02, n=0)

    def log_likelihood(p):
        p = np.clip(p, 1e-12, 1 - 1e-12)
        return np.where(found, np.log(p), np.log1p(-p)).sum()

    best = max(
        log_likelihood(truth(x, threshold, slope, lapse))
        for threshold in np.geomspace(0.15, 0.4, 30)
        for slope in np.linspace(0.8, 4, 30)
        for lapse in np.linspace(0, 0.1, 11)
    )
    assert log_likelihood(curve.probability(x)) >= best - 1e-6


def test_at_the_threshold_detection_is_halfway_and_one_slope_further_at_84_percent():
    curve = fit(*simulated(1), guess=0.1, n=0)
    height = 1 - curve.guess - curve.lapse
    assert curve.probability(curve.threshold) == pytest.approx(curve.guess + height / 2)
    above = curve.probability(curve.threshold * math.exp(1 / curve.slope))
    assert above == pytest.approx(curve.guess + height * stats.norm.cdf(1))
    assert (np.diff(curve.probability(np.geomspace(*curve.tested, 50))) >= 0).all()


def test_outside_the_tested_amplitudes_there_is_no_probability():
    curve = fit(*simulated(1), n=0)
    low, high = curve.tested
    assert np.isfinite(curve.probability([low, high])).all()
    assert np.isnan(curve.probability([0.9 * low, 1.1 * high, 0, -1, np.nan])).all()


@pytest.mark.long
@pytest.mark.parametrize("unit", [1e-3, 1 / 3, 47.0])
def test_another_unit_of_amplitude_is_another_unit_of_the_threshold(unit):
    x, found, subjects = simulated(2)
    one, other = fit(x, found, subjects, n=30), fit(unit * x, found, subjects, n=30)
    assert other.threshold == pytest.approx(unit * one.threshold, rel=1e-3)
    assert other.threshold_interval == pytest.approx(np.multiply(unit, one.threshold_interval), rel=1e-2)
    assert other.slope == pytest.approx(one.slope, rel=1e-2)
    assert other.tested == pytest.approx(np.multiply(unit, one.tested))


def test_the_order_of_events_changes_nothing():
    x, found, subjects = simulated(2)
    order = np.random.default_rng(0).permutation(len(x))
    one, other = fit(x, found, subjects, n=30), fit(x[order], found[order], subjects[order], n=30)
    np.testing.assert_allclose(numbers(other), numbers(one), rtol=2e-2)


@pytest.mark.long
def test_the_same_data_from_new_people_leave_the_estimate_and_shrink_the_interval():
    x, found, subjects = simulated(4, people=15)
    once = fit(x, found, subjects, n=250)
    people = np.concatenate([np.char.add(subjects, copy) for copy in "abcd"])
    four = fit(np.tile(x, 4), np.tile(found, 4), people, n=250)
    assert four.threshold == pytest.approx(once.threshold, rel=1e-3)
    width = [np.ptp(np.log(each.threshold_interval)) for each in (once, four)]
    assert width[1] == pytest.approx(width[0] / 2, rel=0.35)


def test_the_same_data_from_the_same_people_are_no_news():
    x, found, subjects = simulated(4, people=15)
    once = fit(x, found, subjects, n=60)
    twice = fit(np.tile(x, 2), np.tile(found, 2), np.tile(subjects, 2), n=60)
    assert twice.threshold_interval == pytest.approx(once.threshold_interval, rel=1e-2)


def test_the_same_seed_gives_the_same_numbers():
    data = simulated(6)
    assert fit(*data, n=20, seed=3) == fit(*data, n=20, seed=3)


# Its ends -----------------------------------------------------------------------------------------------------------


def test_a_threshold_outside_the_tested_range_is_a_bound_and_never_a_number():
    x, _, subjects = simulated(7)
    strong = fit(x, np.ones(len(x), bool), subjects, n=20)
    assert (strong.where, strong.threshold, strong.threshold_interval) == ("below", 0.0, (0.0, x.min()))
    assert (strong.probability(x) == 1).all()
    assert math.isnan(strong.slope)
    blind = fit(x, np.zeros(len(x), bool), subjects, guess=0.05, n=20)
    assert (blind.where, blind.threshold) == ("above", math.inf)
    assert blind.threshold_interval == (x.max(), math.inf)
    assert (blind.probability(x) == 0.05).all()


@pytest.mark.long
@pytest.mark.parametrize(("threshold", "where"), [(9.0, "above"), (0.004, "below")])
def test_a_curve_that_is_only_half_seen_is_not_extrapolated(threshold, where):
    x, found, subjects = simulated(8, threshold=threshold, slope=0.6, guess=0, lapse=0)
    assert 10 < found.sum() < len(found) - 10
    curve = fit(x, found, subjects, n=40)
    assert curve.where == where
    assert curve.threshold == {"above": math.inf, "below": 0.0}[where]
    low, high = curve.threshold_interval
    assert (high == math.inf and low > 0.5) if where == "above" else (low == 0 and high < 0.1)


@pytest.mark.long
def test_an_interval_that_reaches_past_the_strongest_movement_has_no_upper_end():
    x, found, subjects = simulated(9, people=6, events=8, threshold=2.2, guess=0)
    curve = fit(x, found, subjects, n=60)
    assert curve.threshold_interval[1] == math.inf
    assert curve.threshold_interval[0] < 2.5


def test_detection_that_does_not_rise_has_no_threshold():
    x = np.repeat(np.geomspace(0.02, 2.5, 10), 10)
    found = np.tile([True, False], 50)
    curve = fit(x, found, np.tile(list("abcdefghij"), 10), max_lapse=0, n=20)
    assert curve.where == "flat"
    assert math.isnan(curve.threshold)
    assert curve.threshold_interval == (0.0, math.inf)
    falling = fit(x, x < 0.2, np.tile(list("abcdefghij"), 10), n=0)
    assert falling.where == "flat"


def test_a_perfect_step_has_its_threshold_between_its_two_sides():
    x = np.repeat([0.05, 0.1, 0.2, 0.4, 0.8], 6)
    curve = fit(x, x > 0.15, np.tile(list("abcdef"), 5), n=10)
    assert 0.1 < curve.threshold < 0.2


def test_one_subject_gives_an_estimate_without_an_interval():
    x, found, _ = simulated(10)
    curve = fit(x, found, ["a"] * len(x))
    assert curve.where == "inside"
    assert np.isnan([curve.threshold_interval, curve.slope_interval, curve.lapse_interval]).all()


FINE = (np.geomspace(0.1, 1, 12), np.arange(12) > 5, ["a", "b"] * 6)


@pytest.mark.parametrize(
    ("change", "about"),
    [
        ({"amplitudes": np.r_[0.0, FINE[0][1:]]}, "event 0 has the amplitude 0.0"),
        ({"amplitudes": np.r_[FINE[0][:-1], -1]}, "event 11 has the amplitude -1"),
        ({"amplitudes": np.r_[FINE[0][:-1], np.nan]}, "event 11 has the amplitude nan"),
        ({"amplitudes": np.r_[FINE[0][:-1], np.inf]}, "event 11 has the amplitude inf"),
        ({"amplitudes": np.full(12, 0.3)}, "all events have the amplitude 0.3"),
        ({"amplitudes": FINE[0][:5]}, "an amplitude, a detection and a subject each"),
        ({"detected": np.linspace(0, 1, 12)}, "something else than True and False"),
        ({"guess": 1.0}, "guess is 1.0"),
        ({"guess": -0.1}, "guess is -0.1"),
        ({"guess": math.nan}, "guess is nan"),
        ({"max_lapse": 0.5}, "max_lapse is 0.5"),
    ],
)
def test_impossible_data_end_in_one_sentence(change, about):
    arguments = dict(zip(("amplitudes", "detected", "subjects"), FINE, strict=True)) | change
    with pytest.raises(DataError, match=about) as error:
        fit(**arguments)
    assert "\n" not in str(error.value)


def test_too_few_events_are_refused():
    few = psychometrics.FEWEST - 1
    with pytest.raises(DataError, match=f"at least {few + 1} events, got {few}"):
        fit(*(each[:few] for each in FINE))
    assert fit(*(each[: few + 1] for each in FINE), n=5).n == few + 1


# False alarms per hour ----------------------------------------------------------------------------------------------

SCORE = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]) | st.floats(-5, 5)  # with ties
SCORES = st.lists(st.tuples(SCORE, st.booleans()), max_size=30)


@settings(max_examples=200)
@given(SCORES, st.floats(0.1, 10), st.floats(0, 20))
def test_the_least_score_keeps_the_rate_and_nothing_lower_does(rows, hours, allowed):
    scores, true = np.array([s for s, _ in rows]), np.array([t for _, t in rows], bool)
    least = least_score(scores, true, hours, allowed)

    def rate(score):
        return sum(s >= score and not t for s, t in rows) / hours

    assert rate(least) <= allowed * (1 + 1e-9)
    lower = [s for s, _ in rows if s < least]
    assert all(rate(score) > allowed * (1 - 1e-9) for score in lower)


@given(SCORES, st.floats(0.1, 10), st.floats(0, 20), st.floats(0, 20))
def test_a_stricter_rate_never_needs_a_lower_score(rows, hours, one, other):
    scores, true = [s for s, _ in rows], [t for _, t in rows]
    low, high = sorted([one, other])
    assert least_score(scores, true, hours, low) >= least_score(scores, true, hours, high)


def test_a_rate_that_was_counted_gives_that_count_again():
    scores = np.arange(40.0)
    for count in range(40):
        for hours in (0.1, 1 / 3, 0.7, 3):
            least = least_score(scores, np.zeros(40, bool), hours, count / hours)
            assert (scores >= least).sum() == count


def test_without_false_candidates_nothing_lower_than_what_was_seen_counts():
    assert least_score([0.4, 0.9], [True, True], 1, 0) == 0.4
    assert least_score([], [], 1, 0) == -math.inf


def made(subjects, seed, hours=2.0, n=200):
    rng = np.random.default_rng(seed)
    true = rng.uniform(size=n) < 0.3
    return Candidates(rng.normal(size=n) + true, true, rng.choice(subjects, n), hours)


def test_the_score_comes_from_validation_and_is_applied_to_test():
    validation, test = made(["a", "b"], 0), made(["c", "d"], 1)
    point = at_rate(validation, test, 10)
    assert point.score == least_score(validation.score, validation.true, 2.0, 10)
    assert point.validation_per_hour == 10.0
    np.testing.assert_array_equal(point.accepted, test.score >= point.score)
    assert point.test_per_hour == (point.accepted & ~test.true).sum() / 2
    # Whatever the test subjects' scores are, they don't move the score.
    other = dataclasses.replace(test, score=test.score + 100)
    assert at_rate(validation, other, 10).score == point.score


def test_no_subject_is_on_both_sides():
    with pytest.raises(DataError, match="subject b is in validation and test"):
        at_rate(made(["a", "b"], 0), made(["b", "c"], 1), 10)


@pytest.mark.parametrize(
    ("scores", "true", "hours", "allowed"),
    [([1.0], [True, False], 1, 1), ([math.nan], [True], 1, 1), ([1.0], [True], 0, 1), ([1.0], [True], 1, -1)],
)
def test_impossible_candidates_are_refused(scores, true, hours, allowed):
    with pytest.raises(DataError):
        least_score(scores, true, hours, allowed)


def test_the_guess_rate_is_that_of_random_alarms():
    rng = np.random.default_rng(0)
    alarms = np.sort(rng.uniform(0, 500, rng.poisson(500 * 120)))  # hours; 120 an hour
    starts = rng.uniform(0, 499, 20000)
    hit = np.searchsorted(alarms, starts + 10 / 3600) > np.searchsorted(alarms, starts)
    assert hit.mean() == pytest.approx(guess_rate(120, 10), abs=0.02)
    assert guess_rate(0, 10) == guess_rate(10, 0) == 0
    for wrong in ((-1, 1), (1, -1), (math.nan, 1)):
        with pytest.raises(DataError):
            guess_rate(*wrong)


@pytest.mark.parametrize("lapse", [0.0, 0.3])
def test_a_threshold_at_a_share_is_where_that_share_is_detected(lapse):
    rng = np.random.default_rng(7)
    x = np.exp(rng.uniform(np.log(0.02), np.log(2.5), 3000))
    y = rng.random(x.size) < (1 - lapse) * stats.norm.cdf(1.8 * np.log(x / 0.25))
    people = rng.choice(list("abcdefghij"), x.size)
    curve = fit(x, y, people, max_lapse=0.49, at=0.5, n=20)
    assert curve.probability(curve.threshold) == pytest.approx(0.5)
    true = 0.25 * np.exp(stats.norm.ppf(0.5 / (1 - lapse)) / 1.8)
    assert curve.threshold == pytest.approx(true, rel=0.12)
    low, high = curve.band(np.array([0.05, curve.threshold, 9.0]))
    assert low[1] < 0.5 < high[1] and np.isnan([low[2], high[2]]).all()


def test_a_curve_that_levels_off_below_the_asked_share_has_its_threshold_above_everything():
    rng = np.random.default_rng(8)
    x = np.exp(rng.uniform(np.log(0.02), np.log(2.5), 800))
    y = rng.random(x.size) < 0.35 * stats.norm.cdf(3 * np.log(x / 0.1))
    people = rng.choice(list("abcdefghij"), x.size)
    assert fit(x, y, people, max_lapse=0.8 / 2, at=0.7, n=5).where == "above"
    with pytest.raises(DataError, match="between 0 and 1"):
        fit(x, y, people, at=1.0)

"""Laws of the bootstrap over subjects, of paired swaps and of Holm's correction."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from melib import DataError, stats
from melib.study import spotting_tables


@given(st.integers(1, 8), st.integers(1, 4), st.integers(0, 20), st.integers(0, 99))
def test_every_resample_draws_as_many_as_there_are_and_one_subject_alone_is_drawn_on_demand(
    people, runs, n, seed
):
    weight, run_weight = stats.draws((seed, 0), people, runs, n=n, lone=True)
    assert weight.shape == (n, people) and run_weight.shape == (n, runs)
    assert (weight.sum(axis=1) == people).all() and (run_weight.sum(axis=1) == runs).all()
    again, _ = stats.draws((seed, 0), people, runs, n=n)
    np.testing.assert_array_equal(again, weight if people > 1 else weight[:0])


@given(st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), max_size=40), st.integers(1, 3))
def test_an_interval_is_the_middle_95_percent_of_what_is_defined(samples, columns):
    known = np.sort([sample for sample in samples if not math.isnan(sample)])
    # By hand: the ends lie 2.5 % of the way from the first to the last, and from the last to the first.
    ends = [
        np.interp(share * (known.size - 1), range(known.size), known)
        for share in (0.025, 0.975)
        if known.size
    ]
    expected = ends or [math.nan] * 2
    np.testing.assert_allclose(stats.interval(samples), expected, rtol=1e-9, atol=1e-6)
    table = np.tile(np.reshape(samples, (-1, 1)), columns)
    np.testing.assert_allclose(
        stats.interval(table), np.tile(np.reshape(expected, (2, 1)), columns), atol=1e-6
    )


def test_the_estimate_is_the_mean_of_subject_means_whatever_the_order():
    values = np.array([1.0, 3.0, 10.0, np.nan])
    subjects = np.array(["a", "a", "b", "c"])
    estimate, low, high = stats.bootstrap(values, subjects)
    assert estimate == 6
    assert low == 2
    assert high == 10
    order = [2, 0, 3, 1]
    assert stats.bootstrap(values[order], subjects[order]) == (estimate, low, high)
    assert stats.bootstrap(values, subjects, seed=5)[0] == 6


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(25), 4)
    hits = 0
    for trial in range(300):
        values = np.repeat(rng.normal(0.5, 1, 25), 4) + rng.normal(0, 1, 100)
        _, low, high = stats.bootstrap(values, subjects, n=400, seed=trial)
        hits += low <= 0.5 <= high
    assert 0.88 <= hits / 300 <= 0.98


def test_runs_are_crossed_with_subjects():
    rng = np.random.default_rng(1)
    subjects, runs = np.repeat(np.arange(20), 3), np.tile([0, 1, 2], 20)
    values = 1.0 * runs + rng.normal(0, 0.01, 60)  # all the doubt is between runs
    plain = stats.bootstrap(values, subjects)
    crossed = stats.bootstrap(values, subjects, runs=runs)
    assert crossed[0] == pytest.approx(plain[0])
    assert plain[2] - plain[1] < 0.05
    assert crossed[2] - crossed[1] > 1
    same = stats.bootstrap(values, subjects, runs=np.zeros(60, int))
    assert same == pytest.approx(plain)


def test_one_subject_tells_nothing_about_others_and_none_is_refused():
    estimate, low, high = stats.bootstrap([1.0, 2.0], ["a", "a"])
    assert estimate == 1.5
    assert math.isnan(low)
    assert math.isnan(high)
    with pytest.raises(DataError, match="no value"):
        stats.bootstrap([np.nan], ["a"])
    with pytest.raises(DataError, match="no value"):
        stats.bootstrap([], [])
    with pytest.raises(DataError, match="one subject a value"):
        stats.bootstrap([1.0], ["a", "b"])


def test_paired_differences_find_an_effect_and_no_effect():
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(30), 3)
    hard = np.repeat(rng.normal(0, 1, 30), 3)  # some faces are hard for both models
    a, b = hard + 0.2 + rng.normal(0, 0.1, 90), hard + rng.normal(0, 0.1, 90)
    paired = stats.paired_difference(a, b, subjects)
    assert set(paired) == {"difference", "low", "high", "p", "effect"}
    assert paired["low"] > 0.1
    assert paired["p"] < 0.002
    turned = stats.paired_difference(b, a, subjects)
    assert turned["difference"] == -paired["difference"]
    assert turned["p"] == paired["p"]
    nothing = stats.paired_difference(a, a, subjects)
    assert nothing["difference"] == 0
    assert nothing["p"] == 1
    with pytest.raises(DataError, match="equally many"):
        stats.paired_difference(a, b[:3], subjects)


def test_the_bootstrap_of_one_clip_a_subject_is_scipys():
    rng = np.random.default_rng(4)
    values, people = rng.normal(2, 1, 40), np.arange(40)
    for statistic in (np.mean, np.median):
        theirs = scipy.stats.bootstrap(
            (values,), statistic, n_resamples=20000, method="percentile", vectorized=False, rng=0
        ).confidence_interval
        ours = stats.bootstrap(values, people, n=20000, statistic=statistic)
        np.testing.assert_allclose(ours[1:], theirs, atol=0.03)
    np.testing.assert_allclose(
        stats.bootstrap(values, people, n=20000)[1:],
        stats.bootstrap(values, people, n=20000, statistic=np.mean)[1:],
    )


@pytest.mark.parametrize("uniform", [False, True])
def test_swaps_are_fair_and_each_subjects_is_its_own(uniform):
    swapped = stats.swaps((5, 0), 4, n=20000, uniform=uniform)
    assert swapped.dtype == bool and swapped.shape == (20000, 4)
    np.testing.assert_allclose(np.cov(swapped.T), np.eye(4) / 4, atol=0.01)
    np.testing.assert_allclose(swapped.mean(axis=0), 0.5, atol=0.02)
    assert (swapped == stats.swaps((5, 0), 4, n=20000, uniform=uniform)).all()


def test_p_agrees_with_every_possible_swap():
    rng = np.random.default_rng(7)
    a, b = rng.normal(0.3, 0.5, 8), np.zeros(8)
    exact = scipy.stats.permutation_test(
        (a, b), lambda x, y: (x - y).mean(), permutation_type="samples", vectorized=False, n_resamples=np.inf
    ).pvalue
    assert stats.paired_difference(a, b, np.arange(8), n=20000)["p"] == pytest.approx(exact, abs=0.012)
    uniform = np.where(stats.swaps((0, 0), 8, n=20000, uniform=True), -a, a).mean(axis=1)
    assert stats.swap_p(a.mean(), uniform) == pytest.approx(exact, abs=0.012)
    assert stats.swap_p(9.0, uniform) == 1 / 20001


def test_the_size_of_an_effect_is_the_paired_t_statistic_over_the_root_of_the_subjects():
    rng = np.random.default_rng(5)
    a, b = rng.normal(0.3, 1, 12), rng.normal(0, 1, 12)
    paired = stats.paired_difference(a, b, np.arange(12))
    assert paired["effect"] == pytest.approx(scipy.stats.ttest_rel(a, b).statistic / np.sqrt(12))
    assert stats.paired_difference(b, a, np.arange(12))["effect"] == pytest.approx(-paired["effect"])
    assert math.isnan(stats.paired_difference(a, a, np.arange(12))["effect"])  # nothing differs


def test_one_run_changes_nothing_and_several_widen_the_interval_alone():
    rng = np.random.default_rng(6)
    subjects = np.repeat(np.arange(10), 3)
    a, b = rng.normal(0.2, 1, 30), rng.normal(0, 1, 30)
    plain = stats.paired_difference(a, b, subjects)
    assert stats.paired_difference(a, b, subjects, runs=np.full(30, 7)) == plain
    # Three trainings that differ a lot between each other, on the same clips.
    shifts = np.repeat([-1.0, 0.0, 1.0], 30)
    crossed = stats.paired_difference(
        np.tile(a, 3) + shifts, np.tile(b, 3), np.tile(subjects, 3), runs=np.repeat([0, 1, 2], 30)
    )
    assert crossed["difference"] == pytest.approx(plain["difference"])
    assert crossed["p"] == plain["p"]
    assert crossed["effect"] == pytest.approx(plain["effect"])
    assert crossed["high"] - crossed["low"] > plain["high"] - plain["low"]


def _by_hand(p):
    """Holm's own words: test the smallest first, and stop at the first that isn't rejected at this level."""

    def rejected(alpha):
        left = sorted(range(len(p)), key=lambda i: p[i])
        gone = set()
        while left and p[left[0]] <= alpha / len(left) + 1e-12:
            gone.add(left.pop(0))
        return gone

    levels = sorted({min(1.0, p[i] * k) for i in range(len(p)) for k in range(1, len(p) + 1)} | {1.0})
    return [next((level for level in levels if i in rejected(level)), 1.0) for i in range(len(p))]


@given(st.lists(st.floats(0.0001, 1) | st.sampled_from([0.01, 0.05, 1.0]), max_size=9))
def test_holms_adjusted_p_is_the_lowest_level_at_which_stepping_down_rejects(p):
    adjusted = stats.holm(p)
    np.testing.assert_allclose(adjusted, _by_hand(p), atol=1e-9)
    assert (adjusted >= np.asarray(p) - 1e-12).all() and (adjusted <= 1).all()


@given(st.permutations([0.001, 0.02, 0.02, 0.04, 0.5, math.nan, math.nan]))
def test_holm_keeps_the_order_given_and_counts_no_missing_test(p):
    adjusted = {0.001: 0.005, 0.02: 0.08, 0.04: 0.08, 0.5: 0.5}
    np.testing.assert_allclose(stats.holm(p), [adjusted.get(value, math.nan) for value in p])
    with pytest.raises(DataError, match=r"\[0, 1\]"):
        stats.holm([1.1])


@pytest.mark.long
def test_p_is_uniform_where_nothing_differs_and_a_family_errs_no_more_often_than_allowed():
    rng = np.random.default_rng(8)
    p = np.array(
        [
            [stats.paired_difference(*rng.normal(0, 1, (2, 12)), np.arange(12), n=400)["p"] for _ in range(4)]
            for _ in range(400)
        ]
    )
    assert scipy.stats.kstest(p.ravel(), "uniform").pvalue > 0.01
    wrong = np.mean([(stats.holm(family) <= 0.05).any() for family in p])
    assert wrong < 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(p))


def test_intervals_of_f1_and_strs_cover_the_truth_at_36_hits():
    """Of 40 people with 86 events whose chance of being found differs, as in a run on long videos."""
    rng, people, n = np.random.default_rng(0), 40, len(spotting_tables.CLASSES)

    def counts(people):
        events = rng.multinomial(round(86 / 40 * people), np.full(people, 1 / people))
        tp = rng.binomial(events, 1 / (1 + np.exp(0.4 - rng.normal(size=people))))
        fp = rng.poisson(57 / 40 * np.exp(rng.normal(size=people) - 0.5))
        shares = np.outer(0.4 * np.array([0.5, 0.2, 0.2, 0.1]), [0.5, 0.2, 0.2, 0.1])
        shares += np.diag(0.6 * np.array([0.5, 0.2, 0.2, 0.1]))
        named = np.stack([rng.multinomial(hits, shares.ravel()) for hits in tp])
        right = named.reshape(-1, n, n).trace(axis1=1, axis2=2)
        columns = (tp, fp, events - tp, right, np.full(people, 0.01))
        return pd.DataFrame(np.column_stack([*columns, named]), columns=spotting_tables.COUNTS)

    truth = spotting_tables.pooled_scores(counts(20000))
    weight = spotting_tables.subject_weights(np.arange(people))[:400]
    samples = [spotting_tables.pooled_scores(counts(people), weight) for _ in range(300)]
    for name, least in (("spotting_f1", 0.92), ("strs", 0.89)):
        ends = np.array([stats.interval(sample[name]) for sample in samples])
        assert np.mean((ends[:, 0] <= truth[name]) & (truth[name] <= ends[:, 1])) >= least

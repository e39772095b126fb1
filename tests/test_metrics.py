"""Agreement of curves against scipy and scikit-learn, and the laws of intervals over subjects."""

import math
import time

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn.metrics import roc_auc_score

from melib import DataError, metrics, priors

KEYS = {"spearman", "kendall", "pearson", "ccc", "mae", "apex_error", "inside_spearman", "inside_auc"}
VALUE = st.floats(0, 1) | st.sampled_from([0.0, 0.25, 0.5, 1.0])  # with ties


def pairs(length=40):
    return st.integers(3, length).flatmap(
        lambda n: st.tuples(hnp.arrays(float, n, elements=VALUE), hnp.arrays(float, n, elements=VALUE))
    )


@given(pairs())
def test_every_measure_equals_its_textbook_definition(pair):
    predicted, target = pair
    assume(np.ptp(target) > 1e-6)
    agreement = metrics.curve_agreement(predicted, target)
    assert set(agreement) == KEYS
    rounded = np.round(predicted, 2)
    if np.ptp(rounded) > 0:
        assert agreement["spearman"] == pytest.approx(stats.spearmanr(rounded, target).statistic)
        assert agreement["kendall"] == pytest.approx(stats.kendalltau(rounded, target).statistic)
    if np.ptp(predicted) > 1e-6:
        assert agreement["pearson"] == pytest.approx(stats.pearsonr(predicted, target).statistic, abs=1e-6)
    covariance = np.cov(predicted, target, bias=True)
    ccc = 2 * covariance[0, 1] / (np.trace(covariance) + (predicted.mean() - target.mean()) ** 2)
    assert agreement["ccc"] == pytest.approx(ccc)
    assert agreement["mae"] == pytest.approx(np.abs(predicted - target).mean())
    inside = target > 0
    if inside.all():
        assert math.isnan(agreement["inside_auc"])
    else:
        assert agreement["inside_auc"] == pytest.approx(roc_auc_score(inside, rounded))
    if inside.sum() < 3 or np.ptp(target[inside]) == 0:
        assert math.isnan(agreement["inside_spearman"])
    elif np.ptp(rounded[inside]) > 0:
        oracle = stats.spearmanr(rounded[inside], target[inside]).statistic
        assert agreement["inside_spearman"] == pytest.approx(oracle)


@given(pairs(20), st.lists(st.integers(0, 20), max_size=15), st.sampled_from([np.nan, np.inf, 0.0, 7.0]))
def test_masked_frames_never_count(pair, places, junk):
    predicted, target = pair
    places = sorted({min(place, len(predicted)) for place in places})
    mask = np.insert(np.ones(len(predicted), bool), places, False)
    masked = metrics.curve_agreement(
        np.insert(predicted, places, junk), np.insert(target, places, junk), mask
    )
    plain = metrics.curve_agreement(predicted, target)
    for key in KEYS - {"apex_error"}:  # its frames are those of the window, holes included
        np.testing.assert_equal(masked[key], plain[key])


def test_a_masked_frame_never_holds_the_apex():
    target = priors.triangular(0, 10, 20, 21)
    predicted = target.copy()
    predicted[3] = np.nan
    mask = np.arange(21) != 3
    assert metrics.curve_agreement(predicted, target, mask)["apex_error"] == 0
    predicted[3] = 9
    assert metrics.curve_agreement(predicted, target, mask)["apex_error"] == 0
    assert metrics.curve_agreement(predicted, target)["apex_error"] == pytest.approx(7, abs=0.5)


@given(st.floats(0, 1))
def test_a_constant_prediction_scores_nothing_and_counts(level):
    agreement = metrics.curve_agreement(np.full(33, level), priors.triangular(4, 10, 16, 33))
    for key in ("spearman", "kendall", "pearson", "ccc", "inside_spearman"):
        assert agreement[key] == pytest.approx(0, abs=1e-12)
    assert agreement["inside_auc"] == 0.5
    assert agreement["apex_error"] == pytest.approx(6)  # the middle, 16, against 10


def test_clamping_to_exact_zeros_gains_nothing():
    target = priors.triangular(10, 20, 30, 64)
    clamped = np.where(target > 0, target, 0)
    hesitant = clamped + np.random.default_rng(0).uniform(0, 0.004, 64) * (target == 0)
    for key in ("spearman", "kendall", "inside_auc"):
        assert metrics.curve_agreement(hesitant, target)[key] == metrics.curve_agreement(clamped, target)[key]


def test_the_target_itself_is_in_full_agreement():
    target = priors.triangular(5, 12, 25, 32)
    agreement = metrics.curve_agreement(target, target)
    for key in KEYS - {"mae", "apex_error"}:
        assert agreement[key] == pytest.approx(1)
    assert agreement["mae"] == agreement["apex_error"] == 0


def test_without_anything_to_agree_with_the_answer_is_nan():
    empty = metrics.curve_agreement(np.linspace(0, 1, 9), np.zeros(9))
    assert all(math.isnan(value) for key, value in empty.items() if key != "mae")
    assert empty["mae"] == pytest.approx(0.5)
    masked = metrics.curve_agreement(np.ones(4), np.ones(4), np.zeros(4, bool))
    assert all(math.isnan(value) for value in masked.values())
    few = metrics.curve_agreement([0, 0.5, 1, 0], [0, 0.5, 1, 0])
    assert math.isnan(few["inside_spearman"])
    assert few["inside_auc"] == 1


@pytest.mark.parametrize(
    ("predicted", "target", "mask"),
    [
        (np.zeros(3), np.zeros(4), None),
        (np.zeros(3), np.zeros(3), np.ones(4, bool)),
        (np.zeros((2, 3)), np.zeros((2, 3)), None),
        (np.array([0, np.nan, 1]), np.zeros(3), None),
        (np.zeros(3), np.array([0, np.inf, 1]), None),
    ],
)
def test_curves_that_dont_fit_or_arent_finite_are_refused(predicted, target, mask):
    with pytest.raises(ValueError, match="curve"):
        metrics.curve_agreement(predicted, target, mask)


def test_kendall_of_a_whole_video_goes_in_blocks_and_is_still_exact():
    rng = np.random.default_rng(0)
    predicted, target = rng.random(1500), rng.integers(0, 5, 1500) / 4
    oracle = stats.kendalltau(np.round(predicted, 2), target).statistic
    assert metrics.curve_agreement(predicted, target)["kendall"] == pytest.approx(oracle)


@given(st.floats(1.01, 8.99), st.floats(0.01, 1), st.floats(-2, 2))
def test_the_apex_of_a_parabola_is_its_vertex(vertex, curvature, height):
    curve = height - curvature * (np.arange(11) - vertex) ** 2
    assert metrics.apex_of([curve])[0] == pytest.approx(vertex, abs=1e-6)


@given(hnp.arrays(float, st.tuples(st.integers(1, 5), st.integers(1, 30)), elements=VALUE))
def test_an_apex_lies_within_half_a_frame_of_a_maximum_or_inside_its_plateau(curves):
    for curve, apex in zip(curves, metrics.apex_of(curves), strict=True):
        highest = np.flatnonzero(curve == curve.max())
        assert highest.min() - 0.5 <= apex <= highest.max() + 0.5
        last = highest[0]
        while last + 1 < curve.size and curve[last + 1] == curve.max():
            last += 1
        if last > highest[0]:
            assert apex == (highest[0] + last) / 2


def test_an_apex_with_a_gap_beside_it_is_not_refined():
    curve, mask = np.array([[0.0, 1, 3, 2, 9]]), np.array([[True, False, True, True, False]])
    assert metrics.apex_of(curve, mask) == [2.0]
    assert np.isnan(metrics.apex_of(curve, np.zeros((1, 5), bool))).all()
    assert metrics.apex_of(np.zeros((0, 5))).shape == (0,)
    with pytest.raises(DataError, match="shape"):
        metrics.apex_of([1, 2, 3])


def made_up_targets(rng, n, T=32):
    start = rng.uniform(0, 8, n)
    length = rng.uniform(10, 20, n)
    return np.stack(
        [
            priors.triangular(s, s + a * d, s + d, T)
            for s, a, d in zip(start, rng.random(n), length, strict=True)
        ]
    )


@given(st.integers(0, 1000), st.lists(st.sampled_from("abcd"), min_size=4, max_size=20))
def test_clip_swap_is_zero_for_whatever_knows_only_position(seed, subjects):
    assume(len(set(subjects)) > 1)
    rng = np.random.default_rng(seed)
    targets = made_up_targets(rng, len(subjects))
    same = np.tile(rng.random(32), (len(subjects), 1))
    assert metrics.clip_swap(same, targets, subjects) == pytest.approx(0, abs=1e-12)


def test_clip_swap_is_the_mean_over_pairs_of_different_subjects():
    rng = np.random.default_rng(3)
    subjects = np.repeat(["a", "b", "c"], 4)
    targets = made_up_targets(rng, 12)
    predictions = np.clip(targets + rng.normal(0, 0.2, targets.shape), 0, 1)
    own, swapped = [], []
    for i in range(12):
        for j in range(12):
            rho = stats.spearmanr(np.round(predictions[i], 2), targets[j]).statistic
            if i == j:
                own.append(rho)
            elif subjects[i] != subjects[j]:
                swapped.append(rho)
    assert metrics.clip_swap(predictions, targets, subjects) == pytest.approx(np.mean(own) - np.mean(swapped))
    assert (
        metrics.clip_swap(targets, targets, subjects) > metrics.clip_swap(predictions, targets, subjects) > 0
    )


def test_clips_without_an_event_take_no_part_in_clip_swap():
    rng = np.random.default_rng(4)
    targets, subjects = made_up_targets(rng, 6), np.repeat(["a", "b", "c"], 2)
    predictions = np.clip(targets + rng.normal(0, 0.1, targets.shape), 0, 1)
    more = [
        np.vstack([x, extra])
        for x, extra in ((predictions, rng.random((3, 32))), (targets, np.zeros((3, 32))))
    ]
    each = metrics.clip_swap_each(*more, [*subjects, "a", "b", "d"])
    np.testing.assert_allclose(each[:6], metrics.clip_swap_each(predictions, targets, subjects))
    assert np.isnan(each[6:]).all()


def test_clip_swap_needs_two_subjects_and_fitting_shapes():
    targets = made_up_targets(np.random.default_rng(0), 3)
    with pytest.raises(DataError, match="two subjects"):
        metrics.clip_swap(targets, targets, ["a", "a", "a"])
    with pytest.raises(DataError, match=r"\(N, T\)"):
        metrics.clip_swap(targets, targets[:2], ["a", "b", "c"])
    with pytest.raises(DataError, match="NaN"):
        metrics.clip_swap(targets * np.nan, targets, ["a", "b", "c"])


def test_the_estimate_is_the_mean_of_subject_means_whatever_the_order():
    values = np.array([1.0, 3.0, 10.0, np.nan])
    subjects = np.array(["a", "a", "b", "c"])
    estimate, low, high = metrics.bootstrap(values, subjects)
    assert estimate == 6
    assert low == 2
    assert high == 10
    order = [2, 0, 3, 1]
    assert metrics.bootstrap(values[order], subjects[order]) == (estimate, low, high)
    assert metrics.bootstrap(values, subjects, seed=5)[0] == 6


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(25), 4)
    hits = 0
    for trial in range(300):
        values = np.repeat(rng.normal(0.5, 1, 25), 4) + rng.normal(0, 1, 100)
        _, low, high = metrics.bootstrap(values, subjects, n=400, seed=trial)
        hits += low <= 0.5 <= high
    assert 0.88 <= hits / 300 <= 0.98


def test_runs_are_crossed_with_subjects():
    rng = np.random.default_rng(1)
    subjects, runs = np.repeat(np.arange(20), 3), np.tile([0, 1, 2], 20)
    values = 1.0 * runs + rng.normal(0, 0.01, 60)  # all the doubt is between runs
    plain = metrics.bootstrap(values, subjects)
    crossed = metrics.bootstrap(values, subjects, runs=runs)
    assert crossed[0] == pytest.approx(plain[0])
    assert plain[2] - plain[1] < 0.05
    assert crossed[2] - crossed[1] > 1
    same = metrics.bootstrap(values, subjects, runs=np.zeros(60, int))
    assert same == pytest.approx(plain)


def test_a_statistic_of_ones_own_is_taken_over_the_clips_of_drawn_subjects():
    rng = np.random.default_rng(2)
    x = rng.random(80)
    table = np.stack([x, x + rng.normal(0, 0.2, 80)], axis=1)
    subjects = np.repeat(np.arange(20), 4)

    def correlation(rows):
        return stats.spearmanr(rows[:, 0], rows[:, 1]).statistic

    estimate, low, high = metrics.bootstrap(table, subjects, n=200, statistic=correlation)
    assert estimate == correlation(table)
    assert low < estimate < high
    with pytest.raises(DataError, match="default statistic"):
        metrics.bootstrap(table, subjects, statistic=correlation, runs=subjects)


def test_one_subject_tells_nothing_about_others_and_none_is_refused():
    estimate, low, high = metrics.bootstrap([1.0, 2.0], ["a", "a"])
    assert estimate == 1.5
    assert math.isnan(low)
    assert math.isnan(high)
    with pytest.raises(DataError, match="no value"):
        metrics.bootstrap([np.nan], ["a"])
    with pytest.raises(DataError, match="no value"):
        metrics.bootstrap([], [])
    with pytest.raises(DataError, match="one subject a value"):
        metrics.bootstrap([1.0], ["a", "b"])


def test_paired_differences_find_an_effect_and_no_effect():
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(30), 3)
    hard = np.repeat(rng.normal(0, 1, 30), 3)  # some faces are hard for both models
    a, b = hard + 0.2 + rng.normal(0, 0.1, 90), hard + rng.normal(0, 0.1, 90)
    found = metrics.paired_difference(a, b, subjects)
    assert set(found) == {"difference", "low", "high", "p", "effect"}
    assert found["low"] > 0.1
    assert found["p"] < 0.002
    turned = metrics.paired_difference(b, a, subjects)
    assert turned["difference"] == -found["difference"]
    assert turned["p"] == found["p"]
    nothing = metrics.paired_difference(a, a, subjects)
    assert nothing["difference"] == 0
    assert nothing["p"] == 1
    with pytest.raises(DataError, match="equally many"):
        metrics.paired_difference(a, b[:3], subjects)


def test_p_agrees_with_every_possible_swap():
    rng = np.random.default_rng(7)
    difference = rng.normal(0.3, 0.5, 8)
    every = np.array(np.meshgrid(*[[-1, 1]] * 8)).reshape(8, -1)
    exact = np.mean(np.abs(difference @ every) >= abs(difference.sum()) - 1e-12)
    found = metrics.paired_difference(difference, np.zeros(8), np.arange(8), n=20000)
    assert found["p"] == pytest.approx(exact, abs=0.012)


def test_the_size_of_an_effect_is_the_paired_t_statistic_over_the_root_of_the_subjects():
    rng = np.random.default_rng(5)
    a, b = rng.normal(0.3, 1, 12), rng.normal(0, 1, 12)
    found = metrics.paired_difference(a, b, np.arange(12))
    assert found["effect"] == pytest.approx(stats.ttest_rel(a, b).statistic / np.sqrt(12))
    assert metrics.paired_difference(b, a, np.arange(12))["effect"] == pytest.approx(-found["effect"])
    assert math.isnan(metrics.paired_difference(a, a, np.arange(12))["effect"])  # nothing differs


def test_one_run_changes_nothing_and_several_widen_the_interval_alone():
    rng = np.random.default_rng(6)
    subjects = np.repeat(np.arange(10), 3)
    a, b = rng.normal(0.2, 1, 30), rng.normal(0, 1, 30)
    plain = metrics.paired_difference(a, b, subjects)
    assert metrics.paired_difference(a, b, subjects, runs=np.full(30, 7)) == plain
    # Three trainings that differ a lot between each other, on the same clips.
    shifts = np.repeat([-1.0, 0.0, 1.0], 30)
    crossed = metrics.paired_difference(
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
    adjusted = metrics.holm(p)
    np.testing.assert_allclose(adjusted, _by_hand(p), atol=1e-9)
    assert (adjusted >= np.asarray(p) - 1e-12).all() and (adjusted <= 1).all()


@given(st.permutations([0.001, 0.02, 0.02, 0.04, 0.5, math.nan, math.nan]))
def test_holm_keeps_the_order_given_and_counts_no_missing_test(p):
    known = {0.001: 0.005, 0.02: 0.08, 0.04: 0.08, 0.5: 0.5}
    np.testing.assert_allclose(metrics.holm(p), [known.get(each, math.nan) for each in p])
    with pytest.raises(DataError, match=r"\[0, 1\]"):
        metrics.holm([1.1])


@pytest.mark.long
def test_p_is_uniform_where_nothing_differs_and_a_family_errs_no_more_often_than_allowed():
    rng = np.random.default_rng(8)
    p = np.array(
        [
            [
                metrics.paired_difference(*rng.normal(0, 1, (2, 12)), np.arange(12), n=400)["p"]
                for _ in range(4)
            ]
            for _ in range(400)
        ]
    )
    assert stats.kstest(p.ravel(), "uniform").pvalue > 0.01
    wrong = np.mean([(metrics.holm(family) <= 0.05).any() for family in p])
    assert wrong < 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(p))


def test_the_tie_limit_is_what_a_perfect_curve_with_faint_noise_gets():
    rng = np.random.default_rng(0)
    for share in (0.4, 0.6, 0.75):
        n = 4000
        target = np.maximum(np.linspace(-share / (1 - share), 1, n), 0)
        noisy = stats.spearmanr(target + 1e-6 * rng.random(n), target).statistic
        assert noisy == pytest.approx(metrics.tie_limit(np.mean(target == 0)), abs=0.01)
    np.testing.assert_allclose(metrics.tie_limit([0, 1]), [1, 0])
    with pytest.raises(DataError, match=r"lies in \[0, 1\]"):
        metrics.tie_limit(1.5)


def test_scoring_is_fast_enough_for_thousands_of_windows():
    rng = np.random.default_rng(0)
    predicted, target = rng.random(32), priors.triangular(3, 9, 20, 32)
    begin = time.perf_counter()
    for _ in range(200):
        metrics.curve_agreement(predicted, target)
    assert (time.perf_counter() - begin) / 200 < 0.01  # about .4 ms on an idle core
    begin = time.perf_counter()
    metrics.bootstrap(rng.random(4000), rng.integers(0, 100, 4000))
    assert time.perf_counter() - begin < 1

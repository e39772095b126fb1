"""Agreement of curves against scipy and scikit-learn."""

import math

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


def test_kendall_of_a_whole_video_goes_in_blocks_and_is_still_exact():
    rng = np.random.default_rng(0)
    predicted, target = rng.random(1500), rng.integers(0, 5, 1500) / 4
    oracle = stats.kendalltau(np.round(predicted, 2), target).statistic
    assert metrics.curve_agreement(predicted, target)["kendall"] == pytest.approx(oracle)


@given(st.floats(1.01, 8.99), st.floats(0.01, 1), st.floats(-2, 2))
def test_the_apex_of_a_parabola_is_its_vertex(vertex, curvature, height):
    curve = height - curvature * (np.arange(11) - vertex) ** 2
    assert metrics.apex_of([curve])[0] == pytest.approx(vertex, abs=1e-6)


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
    swaps = metrics.clip_swap_each(*more, [*subjects, "a", "b", "d"])
    np.testing.assert_allclose(swaps[:6], metrics.clip_swap_each(predictions, targets, subjects))
    assert np.isnan(swaps[6:]).all()


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


def test_without_anything_to_agree_with_the_answer_is_nan():
    empty = metrics.curve_agreement(np.linspace(0, 1, 9), np.zeros(9))
    assert all(math.isnan(value) for key, value in empty.items() if key != "mae")
    assert empty["mae"] == pytest.approx(0.5)
    masked = metrics.curve_agreement(np.ones(4), np.ones(4), np.zeros(4, bool))
    assert all(math.isnan(value) for value in masked.values())
    few = metrics.curve_agreement([0, 0.5, 1, 0], [0, 0.5, 1, 0])
    assert math.isnan(few["inside_spearman"])
    assert few["inside_auc"] == 1


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

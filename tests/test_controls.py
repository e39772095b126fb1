"""A predictor that reads the movement and one that knows only position must come out as such."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melib import DataError, controls, metrics, priors, protocols

T = 32


def faces(n=60, seed=0, dtype=float):
    """Made-up clips (n, T, 4, 4) whose pixels brighten with the movement, and what was annotated."""
    rng = np.random.default_rng(seed)
    onset, length = rng.uniform(1, 8, n), rng.uniform(16, 22, n)
    apex = onset + rng.uniform(0.3, 0.7, n) * length
    landmarks = zip(onset, apex, onset + length, strict=True)
    targets = np.stack([priors.raised_cosine(*triplet, T) for triplet in landmarks])
    identity = rng.uniform(20, 80, (n, 1, 4, 4))
    pixels = identity + 100 * targets[:, :, None, None]
    subjects = np.array([f"s{i % 12}" for i in range(n)])
    return pixels.astype(dtype), targets, subjects, apex


def reads(inputs):
    """See the movement: how much brighter a frame is than the clip's darkest."""
    level = np.asarray(inputs, dtype=float).mean(axis=(2, 3))
    return (level - level.min(axis=1, keepdims=True)) / 100


def knows_position(inputs):
    return np.tile(priors.raised_cosine(2, 14, 28, T), (len(inputs), 1))


def test_a_predictor_that_reads_the_movement_follows_the_apex_and_one_that_knows_position_doesnt():
    for dtype in (float, np.float32, np.uint8):
        inputs, _, subjects, apex = faces(dtype=dtype)
        shifts = [-3, -1.5, 0, 1.5, 3]
        sees = controls.apex_follow(reads, inputs, apex, shifts, subjects)
        assert sees["slope"] == pytest.approx(1, abs=0.08)
        assert sees["slopes"].shape == (60,)
        blind = controls.apex_follow(knows_position, inputs, apex, shifts, subjects)
        assert blind["slope"] == 0
        assert not blind["slopes"][np.isfinite(blind["slopes"])].any()


@given(st.floats(2, 28), st.floats(-20, 20))
def test_retiming_keeps_the_ends_the_order_and_moves_the_apex_as_told(apex, shift):
    ramp = np.arange(T, dtype=float)[None, :, None]  # each frame shows its own time
    if not controls._can_retime([apex], shift, T)[0]:
        with pytest.raises(DataError, match="leave out"):
            controls.retime(ramp, [apex], shift)
        return
    time = controls.retime(ramp, [apex], shift)[0, :, 0]
    assert time[0] == 0
    assert time[-1] == pytest.approx(T - 1)
    assert (np.diff(time) > 0).all()
    inverse = np.interp(apex, time, np.arange(T))  # where the old apex is shown now
    assert inverse == pytest.approx(apex + shift, abs=1)
    warp = np.interp(np.arange(T), [0, apex + shift, T - 1], [0, apex, T - 1])
    np.testing.assert_allclose(time, warp, atol=1e-4)


def test_shuffling_permutes_each_clips_frames_and_repeats_with_its_seed():
    inputs = np.tile(np.arange(T), (50, 1))
    shuffled = controls.shuffle(inputs, seed=1)
    np.testing.assert_array_equal(np.sort(shuffled, axis=1), inputs)
    np.testing.assert_array_equal(shuffled, controls.shuffle(inputs, seed=1))
    np.testing.assert_array_equal(shuffled[:7], controls.shuffle(inputs[:7], seed=1))
    assert (shuffled != controls.shuffle(inputs, seed=2)).any()
    assert len({tuple(row) for row in shuffled}) == 50  # an order of its own for each clip
    assert np.corrcoef(shuffled.ravel(), inputs.ravel())[0, 1] == pytest.approx(0, abs=0.1)


def test_frozen_correlation_is_one_for_whatever_knows_only_position():
    inputs = faces()[0]
    blind = controls.frozen_correlation(knows_position(inputs), knows_position(controls.freeze(inputs)))
    np.testing.assert_allclose(blind, 1)
    sees = controls.frozen_correlation(reads(inputs), reads(controls.freeze(inputs)))
    assert not sees.any()  # a frozen clip doesn't move: constant, so 0
    flat = np.full((2, T), 0.3)
    assert controls.frozen_correlation(flat, flat + 0.001).tolist() == [1, 1]
    assert controls.frozen_correlation(flat, knows_position(flat)).tolist() == [0, 0]


def a_card(swap_low, follow, follow_low):
    return {"clip_swap": {"low": swap_low}, "apex_follow": {"estimate": follow, "low": follow_low}}


@pytest.mark.parametrize(
    ("swap_low", "follow", "follow_low", "verdict"),
    [
        (0.011, 0.8, 0.7, "yes"),
        (0.011, 0.8, -0.1, "yes"),
        (0.01, 0.8, 0.7, "in part"),  # the low end must lie above .01 ...
        (0.011, 0.799, 0.7, "in part"),  # ... and apex_follow at .8
        (0.011, 0.0, 0.0, "in part"),
        (0.01, 0.8, 0.0, "in part"),
        (0.01, 0.799, 0.001, "in part"),
        (0.01, 0.799, 0.0, "no"),
        (-0.1, -0.2, -0.3, "no"),
        (math.nan, 0.799, math.nan, "no"),  # one subject: no interval
        (math.nan, 0.8, math.nan, "in part"),
        (math.nan, math.nan, math.nan, "no"),
    ],
)
def test_the_verdict_at_the_borders_of_its_rule(swap_low, follow, follow_low, verdict):
    assert controls.sees(a_card(swap_low, follow, follow_low)) == verdict


@given(*[st.floats(-1, 1)] * 3, st.floats(0, 0.5))
def test_a_better_card_never_has_a_worse_verdict(swap_low, follow, follow_low, more):
    order = ["no", "in part", "yes"]
    now = order.index(controls.sees(a_card(swap_low, follow, follow_low)))
    for i in range(3):
        better = [value + more * (i == k) for k, value in enumerate((swap_low, follow, follow_low))]
        assert order.index(controls.sees(a_card(*better))) >= now


def events_like_samm(people=30, clips=5, seed=0):
    """Events with SAMM's apex positions, mean .460 and sd .164 (a Beta of 3.79, 4.45), and its durations."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(people * clips):
        onset, length = 100, int(np.clip(rng.lognormal(np.log(77), 0.3), 30, 100))
        apex = onset + int(np.clip(round(rng.beta(3.79, 4.45) * length), 1, length - 1))
        rows.append(("made_up", f"s{i % people:02d}", f"v{i}", "1", onset, apex, onset + length))
    return pd.DataFrame(rows, columns=["dataset", "subject", "video", "event", "onset", "apex", "offset"])


def control_scores(windows, targets, seed=0):
    """Position-only control left one subject out: mean of each measure over windows with an event."""
    scores = []
    for fold in protocols.folds(windows["subject"], "loso", seed=seed):
        test = windows["subject"].isin(fold.test).to_numpy()
        train = windows["subject"].isin(fold.train).to_numpy()
        predicted = controls.position_only(targets[train], test.sum())
        pairs = zip(predicted, targets[test], strict=True)
        scores += [metrics.curve_agreement(p, t) for p, t in pairs if np.ptp(t) > 0]
    return pd.DataFrame(scores).mean()


def test_position_alone_nearly_solves_the_papers_protocol():
    events = events_like_samm()
    clips = events[["subject", "video"]].assign(n_first=0, n_last=399)
    windows = protocols.paper_windows(events, clips)
    scores = control_scores(windows, protocols.targets(windows, events, 16))
    # On SAMM's own table: .8823, .7745 and 1.80 of 15 steps.
    assert scores["spearman"] == pytest.approx(0.882, abs=0.02)
    assert scores["kendall"] == pytest.approx(0.7745, abs=0.025)
    assert scores["apex_error"] == pytest.approx(1.8, abs=0.3)


def test_position_tells_little_where_borders_fall_at_random():
    events = events_like_samm()
    clips = events[["subject", "video"]].assign(n_first=0, n_last=399)
    windows = protocols.context_windows(events, clips, T=32, stride=5, per_event=3, seed=0)
    scores = control_scores(windows, protocols.targets(windows, events, 32))
    assert scores["spearman"] < 0.4  # .56 where every window holds a whole event
    assert scores["inside_spearman"] < 0.2


def test_the_mean_shape_laid_into_its_own_interval_gives_the_target_back():
    n = 40
    rng = np.random.default_rng(0)
    onset, length = rng.uniform(0, 8, n), rng.uniform(12, 22, n)
    shape = priors.raised_cosine(0, 40, 100, 101)  # everyone's, on normalised time
    targets = controls.lay_shape(shape, onset, onset + length, np.tile(np.arange(T), (n, 1)))
    mean = controls.mean_shape(targets, onset, onset + length)
    np.testing.assert_allclose(mean, shape, atol=0.05)
    again = controls.lay_shape(mean, onset, onset + length, np.arange(T))
    np.testing.assert_allclose(again, targets, atol=0.08)


def test_clips_whose_apex_is_too_near_an_end_or_unknown_have_no_slope():
    inputs, _, subjects, apex = faces(5)
    apex[:3] = [0.5, np.nan, 28.5]
    follow = controls.apex_follow(reads, inputs, apex, [-2, 2], subjects)
    assert np.isnan(follow["slopes"]).tolist() == [True, True, True, False, False]
    nobody = controls.apex_follow(reads, inputs, np.full(5, np.nan), [-2, 2], subjects)
    assert np.isnan(nobody["slope"])
    with pytest.raises(DataError, match="two different shifts"):
        controls.apex_follow(reads, inputs, apex, [2, 2], subjects)


def test_position_only_is_the_mean_of_the_training_targets():
    targets = faces()[1]
    predictions = controls.position_only(targets, 3)
    assert predictions.shape == (3, T)
    assert predictions.dtype == np.float32
    np.testing.assert_allclose(predictions[2], targets.mean(axis=0), rtol=1e-6)
    with pytest.raises(DataError, match="training targets"):
        controls.position_only(np.zeros((0, T)), 3)

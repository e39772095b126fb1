"""Laws of the curve priors, and of the priors over durations and intervals."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from melib import DataError, priors

PRIORS = [priors.triangular, priors.boxcar, priors.half_apex, priors.gaussian, priors.raised_cosine]
EVERY = pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: prior.__name__)
LANDMARK = st.floats(-300, 300, allow_nan=False) | st.integers(-300, 300)


def triplets(landmark=LANDMARK):
    return st.lists(landmark, min_size=3, max_size=3).map(sorted)


@EVERY
@given(triplet=triplets(st.integers(0, 99)))
def test_every_prior_is_one_at_the_apex_and_nothing_outside(prior, triplet):
    onset, apex, offset = triplet
    curve = prior(onset, apex, offset, 100)
    assert curve.dtype == np.float32
    assert curve.shape == (100,)
    assert curve[apex] == 1
    assert curve.min() >= 0
    assert curve.max() == 1
    assert not curve[:onset].any()
    assert not curve[offset + 1 :].any()


@given(triplet=triplets(), n_frames=st.integers(0, 120))
def test_the_triangle_is_linear_interpolation_between_its_landmarks(triplet, n_frames):
    onset, apex, offset = triplet
    frame = np.arange(n_frames)
    curve = priors.triangular(onset, apex, offset, n_frames)
    # An oracle that can't meet the one-sided case: interpolation where both flanks have a length.
    rise = np.interp(frame, [onset, apex], [0, 1]) if apex > onset else (frame >= apex).astype(float)
    fall = np.interp(frame, [apex, offset], [1, 0]) if offset > apex else (frame <= apex).astype(float)
    np.testing.assert_allclose(curve, np.minimum(rise, fall), atol=1e-6)


@EVERY
@given(
    triplet=st.lists(st.integers(-200, 200), min_size=3, max_size=3).map(sorted), shift=st.integers(0, 200)
)
def test_a_prior_commutes_with_a_shift_in_time(prior, triplet, shift):
    curve = prior(*triplet, 60)
    shifted = prior(*[landmark + shift for landmark in triplet], 60 + shift)
    np.testing.assert_array_equal(shifted[shift:], curve)


@pytest.mark.parametrize("prior", [p for p in PRIORS if p is not priors.half_apex], ids=lambda p: p.__name__)
@given(triplet=triplets(st.integers(-50, 150)))
def test_a_prior_reversed_in_time_is_the_prior_of_reversed_landmarks(prior, triplet):
    onset, apex, offset = triplet
    mirrored = prior(99 - offset, 99 - apex, 99 - onset, 100)
    np.testing.assert_allclose(mirrored[::-1], prior(onset, apex, offset, 100), atol=1e-6)


@EVERY
def test_landmarks_outside_the_clip_give_the_part_inside(prior):
    whole = prior(5, 20, 40, 60)
    np.testing.assert_array_equal(prior(-10, 5, 25, 30), whole[15:45])
    assert not prior(100, 110, 120, 50).any()
    assert not prior(-30, -20, -10, 50).any()
    assert prior(0, 1, 2, 0).shape == (0,)


@EVERY
@pytest.mark.parametrize(
    "landmarks",
    [
        (3, 2, 5),
        (3, 6, 5),
        (5, 4, 3),
        (np.nan, 2, 3),
        (1, np.nan, 3),
        (1, 2, np.nan),
        (1, 2, np.inf),
        (1, pd.NA, 3),
    ],
)
def test_landmarks_that_are_missing_or_out_of_order_are_refused(prior, landmarks):
    with pytest.raises(ValueError, match="landmarks must be"):
        prior(*landmarks, 10)
    with pytest.raises(ValueError, match="landmarks must be"):
        priors.resampled_triangle(*landmarks)


@example(onset=-9.004780498096295, gap=1.7e-91, n_steps=64)
@given(onset=st.floats(-300, -0.01), gap=st.floats(0, 1e-19), n_steps=st.integers(2, 400))
def test_an_apex_at_the_offset_to_the_last_digit_is_one_at_the_last_step(onset, gap, n_steps):
    target = priors.resampled_triangle(onset, 0, gap, n_steps)
    np.testing.assert_array_equal(target, priors.resampled_triangle(onset, 0, 0, n_steps))
    assert target[-1] == 1


def test_each_prior_has_its_own_shape():
    frame = np.arange(41.0)
    np.testing.assert_array_equal(priors.boxcar(9.5, 20, 30.5, 41), (frame >= 10) & (frame <= 30))
    np.testing.assert_array_equal(priors.half_apex(10, 20, 40, 41), (frame >= 15) & (frame <= 20))
    left, right = stats.norm(20, 5).pdf(frame), stats.norm(20, 10).pdf(frame)  # sigma: half of 10, half of 20
    oracle = np.where(frame < 20, left / left.max(), right / right.max()) * (frame >= 10)
    np.testing.assert_allclose(priors.gaussian(10, 20, 40, 41), oracle, atol=1e-6)
    cosine = priors.raised_cosine(10, 20, 40, 41)
    np.testing.assert_allclose(cosine[10:21], np.sin(np.linspace(0, np.pi / 2, 11)) ** 2, atol=1e-6)
    np.testing.assert_allclose(cosine[20:], np.cos(np.linspace(0, np.pi / 2, 21)) ** 2, atol=1e-6)


@given(triplet=triplets(), n_steps=st.integers(2, 64))
def test_the_papers_target_is_its_formula_in_normalised_time(triplet, n_steps):
    onset, apex, offset = triplet
    target = priors.resampled_triangle(onset, apex, offset, n_steps)
    assert target.shape == (n_steps,)
    assert target.dtype == np.float32
    assert np.isfinite(target).all()
    assert target.min() >= 0
    assert target.max() <= 1
    if offset - onset < 1e-3:
        return  # the formula's own rounding takes over
    alpha = (apex - onset) / (offset - onset)
    for step, value in enumerate(target):
        tau = step / (n_steps - 1)
        rise = tau / alpha if alpha > 0 else 1.0
        fall = (1 - tau) / (1 - alpha) if alpha < 1 else 1.0
        assert value == pytest.approx(min(rise, fall, 1.0), abs=1e-5)


def test_the_papers_target_is_one_sided_without_any_small_constant():
    np.testing.assert_allclose(priors.resampled_triangle(5, 5, 35), np.linspace(1, 0, 16), atol=1e-6)
    np.testing.assert_allclose(priors.resampled_triangle(5, 35, 35), np.linspace(0, 1, 16), atol=1e-6)
    assert priors.resampled_triangle(5, 5, 5).tolist() == [1.0] * 16
    with pytest.raises(ValueError, match="2 steps"):
        priors.resampled_triangle(0, 1, 2, n_steps=1)


def some_events(durations, fps=200, apex_share=0.5):
    onset = np.arange(len(durations)) * 1000
    offset = onset + np.asarray(durations) - 1
    apex = np.rint(onset + apex_share * (offset - onset))
    return pd.DataFrame({"onset": onset, "apex": apex, "offset": offset, "fps": fps, "status": "ok"})


@given(st.lists(st.integers(1, 400), min_size=1, max_size=30))
def test_probabilities_of_all_durations_sum_to_one(durations):
    prior = priors.DurationPrior.fit(some_events(durations), 200)
    upper = min(prior.quantile(1 - 1e-9), 500_000)
    total = np.exp(prior.log_prob(np.arange(1, upper + 1))).sum()
    beyond = stats.norm.sf((np.log(upper + 0.5) - prior.log_mean) / prior.log_spread)
    assert total + beyond == pytest.approx(1, abs=1e-9)


def test_the_duration_prior_recovers_what_its_events_were_drawn_from():
    rng = np.random.default_rng(0)
    durations = np.maximum(np.rint(rng.lognormal(np.log(77), 0.3, 4000)), 1).astype(int)
    prior = priors.DurationPrior.fit(some_events(durations), 200)
    assert prior.log_mean == pytest.approx(np.log(77), abs=0.02)
    assert prior.log_spread == pytest.approx(0.3, abs=0.01)
    drawn = stats.lognorm(0.3, scale=77)
    n = np.array([1, 40, 77, 150, 300])
    oracle = drawn.logcdf(n + 0.5) + np.log1p(-np.exp(drawn.logcdf(n - 0.5) - drawn.logcdf(n + 0.5)))
    exact = priors.DurationPrior(200, np.log(77), 0.3, 39, 1)
    np.testing.assert_allclose(exact.log_prob(n)[1:], oracle[1:], rtol=1e-6)
    assert exact.log_prob(1) == pytest.approx(drawn.logcdf(1.5))
    assert np.isfinite(exact.log_prob(10**7))  # far in the tail, where naive differences are log 0


@given(st.lists(st.integers(1, 300), min_size=2, max_size=20), st.floats(0, 0.999))
def test_a_quantile_is_the_first_duration_that_reaches_its_share(durations, q):
    prior = priors.DurationPrior.fit(some_events(durations), 200)
    n = prior.quantile(q)
    if n > 100_000:
        return
    cumulative = np.exp(prior.log_prob(np.arange(1, n + 1))).cumsum()
    assert cumulative[-1] >= q - 1e-9
    assert n == 1 or cumulative[-2] <= q + 1e-9
    with pytest.raises(ValueError, match="quantile"):
        prior.quantile(1.0)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=20))
def test_half_length_is_the_rule_of_the_reference_decoders(durations):
    events = some_events(durations)
    median = np.median(events["offset"] - events["onset"])
    assert priors.DurationPrior.fit(events, 200).half_length == int((median + 1) // 2)


def test_events_are_counted_at_the_priors_own_frame_rate():
    # 78 frames at 200 fps, seen at every 7th frame: 11 steps from onset to offset, 12 frames.
    prior = priors.DurationPrior.fit(some_events([78, 78, 78]), 200 / 7)
    assert prior.half_length == 6  # the paper's value for SAMM-LV
    assert prior.log_mean == pytest.approx(np.log(12))
    assert prior.quantile(0.5) == 12
    without_rate = some_events([12]).drop(columns="fps")
    assert priors.DurationPrior.fit(without_rate, 30).log_mean == pytest.approx(np.log(12))


def test_a_prior_needs_an_event_to_be_fitted_on():
    nothing = some_events([50]).assign(status="dropped")
    videos = pd.DataFrame({"n_frames": [1000]})
    for events in (nothing, some_events([])):
        with pytest.raises(DataError, match="larger training fold"):
            priors.DurationPrior.fit(events, 200)
        with pytest.raises(DataError, match="larger training fold"):
            priors.IntervalPrior.fit(events, videos, 200)
    with pytest.raises(DataError, match="positive frame rate"):
        priors.DurationPrior.fit(some_events([5]), 0)
    with pytest.raises(DataError, match="ends before"):
        priors.DurationPrior.fit(some_events([-5]), 200)


def test_the_interval_prior_recovers_apex_position_and_rate():
    rng = np.random.default_rng(1)
    events = some_events(np.full(3000, 201), apex_share=rng.beta(3.23, 3.71, 3000))
    videos = pd.DataFrame(
        {"n_first": [0] * 10, "n_last": [200 * 60 * 30 - 1] * 10}
    )  # 10 videos of 30 minutes
    prior = priors.IntervalPrior.fit(events, videos, 30)
    assert prior.apex_a == pytest.approx(3.23, rel=0.08)
    assert prior.apex_b == pytest.approx(3.71, rel=0.08)
    assert prior.events_per_minute == pytest.approx(10)
    same = priors.IntervalPrior.fit(events, pd.DataFrame({"n_frames": [30 * 60], "fps": [30]}), 30)
    assert same.events_per_minute == pytest.approx(3000)


def test_events_without_an_apex_say_nothing_of_where_it_lies():
    videos = pd.DataFrame({"n_frames": [12000]})
    events = some_events([101, 101, 81, 61])
    some = events.assign(apex=events["apex"].astype("Int64").where([True, True, False, False]))
    known = priors.IntervalPrior.fit(events[:2], videos, 200)
    prior = priors.IntervalPrior.fit(some, videos, 200)
    assert (prior.apex_a, prior.apex_b) == (known.apex_a, known.apex_b)
    assert prior.duration == priors.DurationPrior.fit(events, 200)
    for unknown in (events.assign(apex=np.nan), events.assign(apex=pd.NA), events.drop(columns="apex")):
        prior = priors.IntervalPrior.fit(unknown, videos, 200)
        assert (prior.apex_a, prior.apex_b) == (1, 1)


def test_priors_survive_a_trip_through_json():
    duration = priors.DurationPrior.fit(some_events([50, 60, 90]), 200)
    interval = priors.IntervalPrior.fit(some_events([50, 60, 90]), pd.DataFrame({"n_frames": [9000]}), 200)
    for prior in (duration, interval):
        assert type(prior).from_dict(json.loads(json.dumps(prior.to_dict()))) == prior

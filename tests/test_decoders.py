"""Laws of the decoders: curve in, intervals out."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import signal, stats

from melib import DataError, _semi_markov, decoders, metrics, priors

# 13 frames in the median, as in SAMM-LV at 30 frames a second.
PRIOR = priors.IntervalPrior(priors.DurationPrior(30.0, np.log(13), 0.3, 6, 157), 3.2, 3.7, 2.0)
# Short enough to enumerate every segmentation of some frames.
SHORT = priors.IntervalPrior(priors.DurationPrior(30.0, np.log(2.5), 0.3, 1, 20), 2.0, 3.0, 300.0)
DECODERS = [
    decoders.fixed_window,
    decoders.extensible_interval,
    decoders.half_height,
    decoders.semi_markov,
]
EVERY = pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.__name__)
SCORE = st.floats(0, 1, width=32)
CURVES = hnp.arrays(float, st.integers(0, 150), elements=SCORE)


def bumpy(seed, n_frames=600, events=((100, 112), (300, 316), (450, 459))):
    """A noisy curve with rises at events, quiet at both ends."""
    rng = np.random.default_rng(seed)
    curve = rng.uniform(0.01, 0.06, n_frames)
    for onset, offset in events:
        curve += priors.raised_cosine(onset - 3, (onset + offset) // 2, offset + 3, n_frames) * 0.8
    curve[:60] = curve[-60:] = 0.03
    return curve


def spans(intervals):
    return intervals[["onset", "apex", "offset"]].to_numpy().tolist()


def inside_of(events, n_frames):
    inside = np.zeros(n_frames, bool)
    for onset, offset in events:
        inside[onset : offset + 1] = True
    return inside


@pytest.fixture(scope="module")
def validation():
    """Curves and inside arrays of videos that an emission may be fitted on."""
    rng = np.random.default_rng(5)
    curves, inside = [], []
    for seed in range(9):
        events = [(on := int(rng.integers(70, 450)), on + int(rng.integers(9, 18)))] if seed else []
        curves.append(bumpy(seed, 540, events) + rng.uniform(0, 0.15, 540))
        inside.append(inside_of(events, 540))
    return curves, inside


@pytest.fixture(scope="module")
def emission(validation):
    return decoders.Emission.fit(*validation, PRIOR)


@EVERY
@given(curve=CURVES, holes=st.sets(st.integers(0, 149), max_size=40))
@settings(max_examples=25)
def test_intervals_are_sorted_lie_inside_the_curve_and_hold_their_apex_which_was_seen(decoder, curve, holes):
    curve[[hole for hole in holes if hole < curve.size]] = np.nan
    intervals = decoder(curve, PRIOR)
    assert intervals.dtypes.astype(str).to_dict() == {
        "onset": "int64",
        "apex": "int64",
        "offset": "int64",
        "score": "float64",
    }
    assert (intervals["onset"] >= 0).all() and (intervals["offset"] < curve.size).all()
    assert (intervals["onset"] <= intervals["apex"]).all() and (
        intervals["apex"] <= intervals["offset"]
    ).all()
    assert intervals["onset"].is_monotonic_increasing
    assert np.isfinite(curve[intervals["apex"]]).all() and np.isfinite(intervals["score"]).all()


@EVERY
@pytest.mark.parametrize("seed", range(3))
def test_decoding_commutes_with_a_shift_in_time(decoder, seed):
    curve = bumpy(seed)
    intervals, shifted = decoder(curve, PRIOR), decoder(np.roll(curve, 41), PRIOR)
    assert len(intervals) == 3
    np.testing.assert_allclose(shifted, intervals.add([41, 41, 41, 0]), atol=1e-9)


@EVERY
def test_a_curve_that_says_nothing_has_no_interval(decoder):
    for curve in (np.zeros(0), np.zeros(300), np.full(300, np.nan), [0.0], [np.nan]):
        assert decoder(curve, PRIOR).empty


@EVERY
def test_frames_without_a_face_are_no_event_and_leave_the_others_alone(decoder):
    curve = bumpy(1)
    curve[280:340] = np.nan
    intervals = decoder(curve, PRIOR)
    assert len(intervals) == 2
    assert not ((intervals["apex"] >= 280) & (intervals["apex"] < 340)).any()
    whole = decoder(bumpy(1), PRIOR).iloc[[0, 2]]
    assert (
        np.abs(intervals[["onset", "apex", "offset"]].to_numpy() - whole[["onset", "apex", "offset"]]).max(
            axis=None
        )
        < 5
    )


@EVERY
@pytest.mark.parametrize("curve", [[0.1, np.inf, 0.2], [[0.1, 0.2]], 0.5])
def test_a_curve_that_cannot_be_is_refused_in_one_sentence(decoder, curve):
    with pytest.raises(DataError, match=r"infinite|one curve"):
        decoder(curve, PRIOR)


# The reference's rules, written from their description with plain loops.


def peaks_of_the_reference(raw, k, fraction):
    smooth = np.convolve(raw, np.ones(2 * k) / (2 * k), mode="same")
    threshold = np.mean(smooth) + fraction * (np.max(smooth) - np.mean(smooth))
    return signal.find_peaks(smooth, height=threshold, distance=k)[0]


def reference_intervals(raw, k, fraction):
    n, m, chosen = len(raw), np.mean(raw), []
    for q in peaks_of_the_reference(raw, k, fraction):
        l0, r0 = max(0, q - k), min(n - 1, q + k)
        rises = [i for i in range(l0 + 1, q) if raw[i] > raw[i - 1] and raw[i] > m / 1.5]
        falls = [i for i in range(r0 - 1, q, -1) if raw[i] > raw[i + 1] and raw[i] > m / 1.5]
        start = rises[0] - 1 if rises else l0
        end = falls[0] + 1 if falls else r0
        low = [
            i for i in range(start - 1, max(0, q - 5 * k) - 1, -1) if i > 0 and raw[i] < m and raw[i - 1] < m
        ]
        high = [
            j
            for j in range(end + 1, min(n - 1, q + 5 * k) + 1)
            if j < n - 1 and raw[j] < m and raw[j + 1] < m
        ]
        start = low[0] + 1 if low else start
        end = high[0] - 1 if high else end
        chosen.append([start, start + int(np.argmax(raw[start : end + 1])), end])
    result = []
    for one in sorted(chosen, key=lambda interval: interval[0]):
        fits = True
        for other in result:
            shared = max(0, min(one[2], other[2]) - max(one[0], other[0]))
            union = (one[2] - one[0]) + (other[2] - other[0]) - shared
            fits &= shared / union < 0.2 and abs(one[1] - other[1]) > k
        result += [one] if fits else []
    return result


REFERENCE_CURVES = hnp.arrays(float, st.integers(40, 300), elements=SCORE | st.sampled_from([0.0, 0.1, 0.9]))


@given(
    curve=REFERENCE_CURVES,
    k=st.integers(1, 12),
    fraction=st.sampled_from([0.2, 0.55]),
    blur=st.integers(1, 9),
)
@settings(max_examples=100)
def test_the_extensible_interval_is_the_reference_rule_interval_by_interval(curve, k, fraction, blur):
    curve = np.convolve(curve, np.ones(blur) / blur, "same")
    intervals = decoders.extensible_interval(curve, None, half_length=k, peak_fraction=fraction)
    assert spans(intervals) == reference_intervals(curve, k, fraction)


def test_the_half_height_of_a_triangle_is_the_half_of_its_width():
    curve = priors.triangular(100, 110, 120, 300).astype(float)
    wide = dataclasses.replace(PRIOR.duration, log_spread=2.0)
    [[onset, apex, offset]] = spans(decoders.half_height(curve, wide, half_length=1))
    assert [onset, apex, offset] == [105, 110, 115]


def test_the_half_height_keeps_to_usual_durations():
    shortest, longest = PRIOR.duration.quantile(0.05), PRIOR.duration.quantile(0.97)
    for half_width in (1, 60):
        curve = priors.boxcar(200 - half_width, 200, 200 + half_width, 400).astype(float)
        intervals = decoders.half_height(curve, PRIOR)
        length = intervals["offset"][0] - intervals["onset"][0] + 1
        assert length == (shortest if half_width == 1 else longest)


# The semi-Markov model, by writing out every way to divide some frames into events and what lies between.


def log_event(llr, onset, length, prior):
    """Log of duration prior times likelihood ratio of one event, from the description of the model."""
    durations = np.arange(1, prior.duration.quantile(0.999) + 1)
    p = np.exp(prior.duration.log_prob(durations))
    core = int(np.ceil(length / 2))
    total = 0.0
    for share in stats.beta.ppf([1 / 6, 1 / 2, 5 / 6], prior.apex_a, prior.apex_b):
        start = min(round(length * share / 2), length - core)
        ratio = 1.0
        for i, frame in enumerate(np.exp(llr[onset : onset + length])):
            ratio *= frame if start <= i < start + core else (frame + 1) / 2
        total += ratio / 3
    return np.log(p[length - 1] / p.sum() * total)


def segmentations(llr, prior, bonus=0.0, nuisance=()):
    """Every segmentation as (log weight, list of (start, stop))."""
    n, fps = len(llr), prior.duration.fps
    hazard = prior.events_per_minute / 60 / fps
    enter = [events / 60 / fps for _, events, _, _ in nuisance]
    leave = [1 / (seconds * fps) for _, _, seconds, _ in nuisance]
    shares = np.array([1.0, *(a / b for a, b in zip(enter, leave, strict=True))])
    emit = [np.zeros(n), *(emission.llr(curve) for curve, _, _, emission in nuisance)]
    longest = prior.duration.quantile(0.999)

    def move(j, k):
        if j == 0:
            return 1 - sum(enter) if k == 0 else enter[k - 1]
        return (1 - leave[j - 1]) if j == k else (leave[j - 1] if k == 0 else 0.0)

    def continuations(b, state):
        if b == n:
            yield 0.0, []
            return
        for k in range(len(emit)):
            if move(state, k):
                for weight, events in continuations(b + 1, k):
                    yield weight + np.log((1 - hazard) * move(state, k)) + emit[k][b], events
        for d in range(1, min(longest, n - b) + 1):
            here = np.log(hazard) + bonus + log_event(llr, b, d, prior)
            for weight, events in continuations(b + d, state):
                yield weight + here, [(b, b + d), *events]

    for state, share in enumerate(shares / shares.sum()):
        for weight, events in continuations(0, state):
            yield weight + np.log(share), events


def iou(a, b):
    shared = max(0, min(a[1], b[1]) - max(a[0], b[0]))
    return shared / (a[1] - a[0] + b[1] - b[0] - shared)


STEEP = decoders.Emission((0.3, 0.6), (-1.5, 0.4, 2.5), 0.8)
OTHER = decoders.Emission((0.5,), (-1.0, 1.5), 1.0)
SETTINGS = pytest.mark.parametrize(
    ("n_frames", "n_states", "rate"),
    [(9, 0, 1.0), (8, 0, 3.0), (5, 1, 1.0)],
    ids=["plain", "rate", "nuisance"],
)


@SETTINGS
@pytest.mark.parametrize("seed", range(3))
def test_the_search_and_every_posterior_agree_with_all_segmentations(n_frames, n_states, rate, seed):
    rng = np.random.default_rng(seed)
    curve = rng.uniform(0, 1, n_frames)
    curve[rng.uniform(size=n_frames) < 0.1] = np.nan
    nuisance = [(rng.uniform(0, 1, n_frames), 90.0, 0.2, OTHER)] * n_states
    llr = STEEP.llr(curve)
    ways = list(segmentations(llr, SHORT, nuisance=nuisance))
    weights = np.exp([weight for weight, _ in ways])
    weights /= weights.sum()

    covered = np.zeros(n_frames)
    for weight, (_, events) in zip(weights, ways, strict=True):
        for start, stop in events:
            covered[start:stop] += weight
    inside = decoders.posterior(curve, SHORT, emission=STEEP, nuisance=nuisance)
    np.testing.assert_allclose(inside, covered, atol=1e-10)

    intervals = decoders.semi_markov(curve, SHORT, emission=STEEP, rate=rate, nuisance=nuisance)
    for onset, offset, score in zip(intervals["onset"], intervals["offset"], intervals["score"], strict=True):
        hit = [any(iou((onset, offset + 1), event) >= 0.5 for event in events) for _, events in ways]
        assert score == pytest.approx(weights @ hit, abs=1e-9)

    bonus = np.log(rate * decoders._PLACES * 2.5)  # 2.5 frames is SHORT's median
    best = max(segmentations(llr, SHORT, bonus, nuisance), key=lambda way: way[0])[1]
    model, _ = decoders._model(curve, SHORT, STEEP, nuisance)
    table = _semi_markov.log_events(model)
    assert _semi_markov.trace(*_semi_markov.search(model, table, bonus)) == best
    assert len(intervals) <= len(best)
    assert all(
        any(iou((a, b + 1), event) >= 0.5 for event in best)
        for a, b in intervals[["onset", "offset"]].to_numpy()
    )


@pytest.mark.parametrize(
    "change", [lambda s: s**3, lambda s: np.log(s), lambda s: -5 / s], ids=["cube", "log", "ratio"]
)
def test_a_rising_change_of_the_scores_changes_nothing(validation, emission, change):
    curves, inside = validation
    fitted = decoders.Emission.fit([change(curve) for curve in curves], inside, PRIOR)
    curve = bumpy(7)
    np.testing.assert_array_equal(fitted.llr(change(curve)), emission.llr(curve))
    pd.testing.assert_frame_equal(
        decoders.semi_markov(change(curve), PRIOR, emission=fitted),
        decoders.semi_markov(curve, PRIOR, emission=emission),
    )


def test_an_emission_rises_keeps_to_finite_numbers_and_survives_a_settings_file(emission):
    assert len(emission.levels) == len(emission.edges) + 1
    assert (np.diff(emission.levels) > 0).all() and (np.diff(emission.edges) > 0).all()
    assert emission.levels[0] < 0 < emission.levels[-1]
    assert decoders.Emission.from_dict(json.loads(json.dumps(emission.to_dict()))) == emission
    assert emission.llr([np.nan, -1e9, 1e9]).tolist() == [
        0.0,
        emission.temperature * emission.levels[0],
        emission.temperature * emission.levels[-1],
    ]


def test_the_ratio_comes_near_the_true_one_where_frames_are_many_and_independent():
    rng = np.random.default_rng(0)
    inside = np.tile(inside_of([(20, 32)], 100), 300)
    emission = decoders.Emission.fit(
        [rng.normal(2.0 * inside, 1)], [inside], dataclasses.replace(PRIOR, events_per_minute=18)
    )
    at = np.linspace(0.5, 2.5, 41)
    true = stats.norm.logpdf(at, 2) - stats.norm.logpdf(at, 0)
    assert np.abs(emission.llr(at) / emission.temperature - true).mean() < 0.3
    assert emission.temperature > 0.5  # correlated frames, as a network's, end near .2


def test_an_emission_that_saw_no_event_claims_nothing():
    for inside in (np.zeros(50, bool), np.ones(50, bool)):
        emission = decoders.Emission.fit([np.linspace(0, 1, 50)], [inside], PRIOR)
        assert not emission.llr(np.linspace(0, 1, 50)).any()
        assert decoders.semi_markov(np.linspace(0, 1, 50), PRIOR, emission=emission).empty
    assert not decoders.Emission.fit([], [], PRIOR).llr([0.5]).any()
    with pytest.raises(DataError, match="same length"):
        decoders.Emission.fit([np.zeros(5)], [np.zeros(6, bool)], PRIOR)


def test_a_blink_that_explains_the_frames_better_takes_them_from_the_micro_expression(emission):
    curve = bumpy(3)
    blink = np.where(inside_of([(295, 320)], 600), 0.9, 0.1)
    sure = decoders.Emission((0.5,), (-3.0, 5.0), 1.0)
    alone = decoders.semi_markov(curve, PRIOR, emission=emission)
    beside = decoders.semi_markov(curve, PRIOR, emission=emission, nuisance=[(blink, 15.0, 0.45, sure)])
    assert spans(beside) == [spans(alone)[i] for i in (0, 2)]


def test_the_semi_markov_model_says_what_it_cannot_use():
    curve = bumpy(0)
    with pytest.raises(DataError, match="IntervalPrior"):
        decoders.semi_markov(curve, PRIOR.duration)
    with pytest.raises(DataError, match="fit an Emission"):
        decoders.semi_markov(curve * 9, PRIOR)
    with pytest.raises(DataError, match="positive rate"):
        decoders.semi_markov(curve, PRIOR, rate=0)
    with pytest.raises(DataError, match="nuisance curve 1 has 5 frames"):
        decoders.semi_markov(curve, PRIOR, nuisance=[(np.zeros(5), 15.0, 0.4, OTHER)])


# Fitting
# ---------------------------------------------------------------------------------------

EVERY_NAME = pytest.mark.parametrize("name", decoders.NAMES)


def weak_set(seed, n_videos=12, strength=0.5, empty=False):
    """Curves of a video each on a level and scale of its own, their events without an apex, and whose they are."""
    rng = np.random.default_rng(seed)
    curves, events = [], []
    for video in range(n_videos):
        spans = [] if empty else [(on, on + int(rng.integers(9, 18))) for on in (80, 210)[: 1 + video % 2]]
        noise = np.convolve(rng.normal(0, 0.3, 324), np.ones(5) / 5, "valid")
        rise = sum((priors.boxcar(on, on, off, 320) for on, off in spans), np.zeros(320))
        curves.append(np.exp(rng.normal(0, 1)) * (noise + strength * rise) + rng.normal(0, 2))
        events.append(pd.DataFrame(spans, columns=["onset", "offset"]))
    return curves, events, [f"s{video // 2}" for video in range(n_videos)]


@pytest.fixture(scope="module")
def fitted():
    """Every decoder, fitted on curves whose levels don't carry over between videos."""
    curves, events, subjects = weak_set(0)
    return {name: decoders.fit(name, curves, events, PRIOR, subjects=subjects) for name in decoders.NAMES}


def f1(decoder, curves, events):
    def table(parts):
        return pd.concat(
            [p.assign(subject="s", video=str(i)) for i, p in enumerate(parts)], ignore_index=True
        )

    return metrics.spotting(table([decoder(curve) for curve in curves]), table(events))["f1"]


@EVERY_NAME
def test_a_fitted_decoder_finds_events_of_other_subjects_on_levels_of_their_own(fitted, name):
    curves, events, _ = weak_set(1)
    assert f1(fitted[name], curves, events) > 0.4


def test_where_the_most_probable_set_is_empty_a_fitted_decoder_still_tells_what_is_likeliest():
    curves, events, subjects = weak_set(3, n_videos=24, strength=0.1)
    wide = dataclasses.replace(PRIOR, duration=dataclasses.replace(PRIOR.duration, log_spread=0.7))
    decoder = decoders.fit("semi_markov", curves, events, wide, subjects=subjects)
    scores = [decoder.evidence(curve) for curve in curves]
    sets = [decoders.semi_markov(s, wide, emission=decoder.emission) for s in scores]
    assert sum(intervals.empty for intervals in sets) > 12  # the most probable set of most videos
    assert f1(decoder, curves, events) > 0.2


@EVERY_NAME
def test_a_fitted_decoder_survives_a_settings_file(fitted, name):
    text = json.dumps(fitted[name].to_dict(), allow_nan=False)
    again = decoders.Decoder.from_dict(json.loads(text))
    assert again == fitted[name]
    curve = weak_set(2)[0][0]
    pd.testing.assert_frame_equal(again(curve), fitted[name](curve))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 6))
def test_of_equal_peaks_too_near_each_other_fixed_window_keeps_the_first(heights, half_length):
    curve = np.array(heights, float)
    intervals = decoders.fixed_window(curve, None, half_length=half_length, peak_fraction=0)
    smooth = np.convolve(curve, np.ones(2 * half_length) / (2 * half_length), "full")
    smooth = smooth[(2 * half_length - 1) // 2 :][: curve.size]
    peaks = signal.find_peaks(smooth, height=smooth.mean())[0].tolist()
    expected = []
    for peak in sorted(peaks, key=lambda peak: (-smooth[peak], peak)):
        if all(abs(peak - other) >= half_length for other in expected):
            expected.append(peak)
    assert intervals.apex.tolist() == sorted(expected)


@EVERY_NAME
def test_an_affine_change_of_all_scores_changes_nothing(fitted, name):
    # The reference smooths with zeros beyond both ends, and so do the rules: there a constant isn't nothing.
    shift = 7 if name in ("semi_markov", "selector") else 0
    curves, events, subjects = weak_set(0)
    changed = decoders.fit(name, [4 * curve - shift for curve in curves], events, PRIOR, subjects=subjects)
    for curve in weak_set(4, 3)[0]:
        assert spans(changed(4 * curve - shift)) == spans(fitted[name](curve))


@EVERY_NAME
@pytest.mark.parametrize(
    "curves",
    [
        [],
        [np.zeros(0)],
        [np.full(200, 0.3)],
        [np.full(200, np.nan)],
        [np.r_[np.full(9, np.nan), np.arange(9.0)]] * 2,
    ],
    ids=["none", "empty", "constant", "without a face", "too short"],
)
@pytest.mark.parametrize("n_events", [0, 1, 2])
def test_a_fit_has_a_defined_result_whatever_the_curves_hold(name, curves, n_events):
    # The second event lies outside of every curve.
    events = pd.DataFrame({"onset": [4, 900], "offset": [9, 911]}).head(n_events)
    decoder = decoders.fit(name, curves, [events] * len(curves), PRIOR, subjects=["one"] * len(curves))
    assert decoders.Decoder.from_dict(json.loads(json.dumps(decoder.to_dict(), allow_nan=False))) == decoder
    for curve in [*curves, *weak_set(5, 1)[0]]:
        assert decoder(curve).columns.tolist() == ["onset", "apex", "offset", "score"]


@EVERY_NAME
def test_without_an_event_as_many_are_kept_as_the_prior_expects(name):
    curves, events, subjects = weak_set(6, empty=True)
    decoder = decoders.fit(name, curves, events, PRIOR, subjects=subjects)
    minutes = sum(map(len, curves)) / PRIOR.duration.fps / 60
    assert sum(len(decoder(curve)) for curve in curves) <= 2 * PRIOR.events_per_minute * minutes + 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": "semi"}, "no decoder 'semi'"),
        ({"events": []}, "12 curves, but 0 tables of events"),
        ({"subjects": ["a"]}, "12 curves, but 1 subjects"),
        ({"others": {"blink": [np.zeros(3)] * 12}}, "the blink curve of video 0"),
        ({"events": [pd.DataFrame({"onset": [1]})] * 12}, "columns onset and offset"),
        ({"events": [pd.DataFrame({"onset": [9], "offset": [3]})] * 12}, "ends before it starts"),
        ({"events": [pd.DataFrame({"onset": ["x"], "offset": [3]})] * 12}, "no onset or offset in frames"),
        ({"prior": PRIOR.duration}, "fit one by priors.IntervalPrior"),
    ],
)
def test_what_cannot_be_fitted_on_is_refused_in_one_sentence(change, sentence):
    curves, events, subjects = weak_set(0)
    given = {"name": "semi_markov", "curves": curves, "events": events, "prior": PRIOR, "subjects": subjects}
    with pytest.raises(DataError, match=sentence):
        decoders.fit(**(given | change))


def test_what_the_surest_find_is_what_the_largest_matching_of_them_counts():
    rng = np.random.default_rng(1)
    for _ in range(20):
        onset, length = rng.integers(0, 90, 30), rng.integers(4, 14, 30)
        table = pd.DataFrame({"subject": "s", "video": "v", "onset": onset, "offset": onset + length})
        intervals, truth = table.head(20).assign(score=rng.permutation(20)), table.tail(10)
        surest = intervals.sort_values("score", ascending=False)
        counted = [metrics.spotting(surest.head(m), truth, 0.3)["tp"] for m in range(1, 21)]
        assert metrics.found_in_order(intervals, truth, 0.3).tolist() == counted


def test_the_least_score_is_that_with_the_best_mean_f1():
    rng = np.random.default_rng(3)
    onset = 40 * np.arange(50)
    truth = pd.DataFrame({"subject": "s", "video": "v", "onset": onset, "offset": onset + 12}).iloc[::3]
    spans = pd.DataFrame({"subject": "s", "video": "v", "onset": onset + 2, "offset": onset + 12})
    spans["score"] = rng.normal(0, 1, 50) + np.isin(onset, truth["onset"])
    best = decoders.least_score(spans, truth, 0)
    means = [np.mean(metrics.f1_over_iou(spans[spans["score"] >= least], truth)) for least in spans["score"]]
    assert np.mean(metrics.f1_over_iou(spans[spans["score"] >= best], truth)) == pytest.approx(max(means))


@pytest.mark.parametrize("n", [1, 2, 9, 40])
def test_the_posterior_of_a_curve_shorter_than_an_event_is_a_probability(n):
    inside = decoders.posterior(np.linspace(0, 1, n), PRIOR)
    assert inside.shape == (n,) and ((inside >= 0) & (inside <= 1)).all()

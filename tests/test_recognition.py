"""Classes of intervals: against a loop over frames, and the laws of weights, priors, rejection and votes."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn.metrics import f1_score

from melib import DataError
from melib.study import class_priors, recognition

NAMES = [*recognition.CLASSES, "neutral"]
CHANCES = [f"p_{name}" for name in NAMES]


def intervals(*pairs):
    return pd.DataFrame(pairs, columns=["onset", "offset"])


@st.composite
def videos(draw):
    """Intervals, score curve and logits of a short video, some frames masked."""
    n = draw(st.integers(3, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    score, logits = rng.random(n), 3 * rng.standard_normal((n, 5))
    lost = rng.random(n) < draw(st.sampled_from([0, 0.2]))
    score[lost], logits[lost] = np.nan, np.nan
    ends = np.sort(rng.integers(0, n, (draw(st.integers(0, 4)), 2)), axis=1)
    return intervals(*ends.tolist()), score, logits


@given(videos(), st.booleans())
def test_a_class_is_the_weighted_mean_of_its_frames(video, adjusted):
    spans, score, logits = video
    log_prior = np.log([0.1, 0.02, 0.05, 0.03, 0.8]) if adjusted else None
    named = recognition.classify_adjusted(spans, score, logits, log_prior=log_prior, reject=False)
    assert len(named) == len(spans) and (named.index == spans.index).all()
    for row in named.itertuples():
        frames = [t for t in range(row.onset, row.offset + 1) if np.isfinite(score[t])]
        if not frames:
            assert row.p_neutral == 1
            continue
        total = sum(score[t] for t in frames)
        mean = sum(score[t] * logits[t] for t in frames) / total
        mean = mean - log_prior if adjusted else mean
        chances = np.array([getattr(row, name) for name in CHANCES])
        np.testing.assert_allclose(chances, np.exp(log_softmax(mean)), rtol=1e-9)
        assert row.emotion == NAMES[int(np.argmax(mean[:4]))]


def test_the_prior_turns_the_scale_and_an_unseen_class_never_wins():
    logits = np.tile([1.0, 0.5, 0.4, 9.0, 0.0], (10, 1))
    spans, score = intervals((2, 7)), np.ones(10)
    shares = np.array([0.7, 0.1, 0.2, 0.0, 0.01])
    with np.errstate(divide="ignore"):
        named = recognition.classify_adjusted(spans, score, logits, log_prior=np.log(shares), reject=False)
    assert recognition.classify_adjusted(spans, score, logits)["emotion"].tolist() == ["others"]
    assert named["emotion"].tolist() == ["positive"] and named["p_others"].tolist() == [0]


# The reference's vote
# ------------------------------------------------------------------------------------------


@given(videos())
def test_the_vote_is_the_majority_of_the_inner_frames(video):
    spans, _, logits = video
    expected = {}
    for row in spans.itertuples():
        ballots = []
        for t in range(row.onset + 1, row.offset - 1):
            if np.isfinite(logits[t]).all():
                ballots.append(int(np.argmax([*logits[t, :4], 0])))
        count = Counter(ballots)
        winner = max(count, key=lambda c: (count[c], -ballots.index(c))) if ballots else 4
        if winner != 4:
            expected[row.Index] = NAMES[winner]
    assert recognition.vote(spans, logits)["emotion"].to_dict() == expected
    everyone = recognition.vote(spans, logits, reject=False)
    assert everyone.index.equals(spans.index) and set(everyone["emotion"]) <= set(recognition.CLASSES)


# What the action units allow
# ------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.sampled_from(["4", "L4", "1+2", "12"]), st.sampled_from("abc")), min_size=2, max_size=12
    )
)
def test_the_ceiling_leaves_each_event_out(events):
    aus, classes = zip(*events, strict=True)
    ceiling = recognition.unit_ceiling(aus, classes)
    for i, predicted in enumerate(ceiling["predicted"]):
        others = [(a.strip("L"), c) for j, (a, c) in enumerate(events) if j != i]
        alike = Counter(c for a, c in others if a == aus[i].strip("L"))
        overall = Counter(c for _, c in others)
        best = max(set(classes), key=lambda c: (alike[c], overall[c], -ord(c)))
        assert predicted == best
    hits = ceiling["predicted"] == np.array(classes, object)
    assert ceiling["accuracy"] == pytest.approx(hits.mean())
    scores = f1_score(
        classes, list(ceiling["predicted"]), average="macro", labels=sorted(set(classes)), zero_division=0
    )
    assert ceiling["uf1"] == pytest.approx(scores)


# Bad input
# ------------------------------------------------------------------------------------------


def test_no_interval_and_no_face_are_defined():
    logits, score = np.full((8, 5), np.nan), np.full(8, np.nan)
    for spans in (intervals(), pd.DataFrame()):
        assert (
            recognition.classify_adjusted(spans, score, logits).empty
            and recognition.vote(spans, logits).empty
        )
    spans = intervals((0, 7))
    assert recognition.classify_adjusted(spans, score, logits).empty and recognition.vote(spans, logits).empty
    for named in (
        recognition.classify_adjusted(spans, score, logits, reject=False),
        recognition.vote(spans, logits, reject=False),
    ):
        assert named["emotion"].tolist() == ["negative"]


# Class priors
# ------------------------------------------------------------------------------------------


def timed(seed, people=20, apart=0.0):
    """Events of some people; one class lasts longer by so much of a log."""
    rng = np.random.default_rng(seed)
    emotion = np.array(recognition.CLASSES)[rng.integers(0, 4, 4 * people)]
    length = np.rint(np.exp(rng.normal(2.5, 0.3, len(emotion)) + apart * (emotion == "positive"))).astype(int)
    apex = np.rint(length * rng.beta(4, 4, len(emotion))).astype(int)
    about = {"subject": [f"s{i % people}" for i in range(len(emotion))], "emotion": emotion}
    return pd.DataFrame({**about, "onset": 100, "apex": 100 + apex, "offset": 100 + length})


@given(st.integers(0, 10**6))
@settings(max_examples=20)
def test_a_class_prior_is_shrunk_to_that_of_all_classes_and_neutral_hears_nothing(seed):
    events = timed(seed)
    prior = class_priors.ClassPrior.fit(events, "duration")
    log_d = np.log(events["offset"] - events["onset"] + 1)
    for k, name in enumerate(recognition.CLASSES):
        own = log_d[events["emotion"] == name]
        mean = (own.sum() + 10 * log_d.mean()) / (len(own) + 10)
        assert prior.means[k, 0] == pytest.approx(mean)
    for part in class_priors.PARTS:
        evidence = class_priors.ClassPrior.fit(events, part).evidence(events)
        assert evidence.shape == (len(events), 5) and (evidence[:, -1] == 0).all()
    alone = events.assign(emotion="positive")  # a class that is all there is says nothing new
    lone = class_priors.ClassPrior.fit(alone, "duration").evidence(alone)
    assert np.abs(lone).max() < 0.05


def test_timing_is_kept_where_a_class_has_its_own_and_dropped_where_none_has():
    gains = class_priors.held_out_gains(timed(0, apart=1.0)).set_index("part")
    assert gains["kept"].sum() == 1 and gains.loc["apex position", "gain"] < gains["gain"].max()
    assert gains.loc["duration", "low"] > 0
    none = [class_priors.held_out_gains(timed(seed))["kept"].any() for seed in range(30)]
    assert np.mean(none) < 0.2
    assert class_priors.fit_class_prior(timed(0, people=1)).part == ""


def test_no_other_subject_s_events_change_what_a_held_out_one_gains():
    """The gain of a subject comes of a prior that never saw it: its own classes alone decide it."""
    events = timed(3, people=6, apart=1.0)
    out = events["subject"] == "s0"
    prior = class_priors.ClassPrior.fit(events[~out], "duration")
    right = [recognition.CLASSES.index(name) for name in events.loc[out, "emotion"]]
    own = prior.evidence(events[out])[np.arange(out.sum()), right].mean()
    gains = class_priors.held_out_gains(events).set_index("part")
    others = []
    for person in sorted(set(events["subject"]) - {"s0"}):
        rows = events["subject"] == person
        theirs = [recognition.CLASSES.index(name) for name in events.loc[rows, "emotion"]]
        fitted = class_priors.ClassPrior.fit(events[~rows], "duration")
        others.append(fitted.evidence(events[rows])[np.arange(rows.sum()), theirs].mean())
    assert gains.loc["duration", "gain"] == pytest.approx(np.mean([own, *others]))
    moved = recognition.classify_adjusted(
        intervals((2, 7)), np.ones(10), np.zeros((10, 5)), evidence=np.array([[0, 0, 3.0, 0, 0]])
    )
    assert moved["emotion"].tolist() == ["surprise"]


@given(videos(), st.floats(-5, 5), st.floats(0.1, 10))
def test_neither_an_offset_of_logits_nor_the_scale_of_scores_matters(video, offset, scale):
    spans, score, logits = video
    one = recognition.classify_adjusted(spans, score, logits, reject=False)
    other = recognition.classify_adjusted(spans, scale * score, logits + offset, reject=False)
    np.testing.assert_allclose(one[CHANCES].astype(float), other[CHANCES].astype(float), atol=1e-9)


def test_too_short_an_interval_is_neutral_in_the_reference():
    logits = np.tile([5.0, 0, 0, 0, 0], (10, 1))
    assert recognition.vote(intervals((3, 5)), logits).empty
    assert recognition.vote(intervals((3, 6)), logits)["emotion"].tolist() == ["negative"]
    assert recognition.vote(intervals((3, 5)), logits, reject=False)["emotion"].tolist() == ["negative"]


def test_an_interval_outside_its_video_and_a_ceiling_of_one_event_are_refused():
    score, logits = np.ones(5), np.zeros((5, 5))
    with pytest.raises(DataError, match="0 to 5, doesn't lie within the video's 5"):
        recognition.classify_adjusted(intervals((0, 5)), score, logits)
    with pytest.raises(DataError, match="3 to 2, doesn't lie"):
        recognition.vote(intervals((3, 2)), logits)
    with pytest.raises(DataError, match="two or more events"):
        recognition.unit_ceiling(["4"], ["others"])

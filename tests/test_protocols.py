"""No subject crosses, no window leaves its clip, and the same seed draws the same windows."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melib import DataError, priors, protocols

NAMES = st.lists(st.text("abc012", min_size=1, max_size=3), min_size=4, max_size=25, unique=True)


def make_events(*rows):
    """Events from (subject, video, event, onset, apex, offset)."""
    frame = pd.DataFrame(rows, columns=["subject", "video", "event", "onset", "apex", "offset"])
    return frame.assign(dataset="made_up", status="ok", fps=200)


def make_clips(*rows):
    return pd.DataFrame(rows, columns=["subject", "video", "n_first", "n_last"])


def made_up(n_videos=40, empty=10, seed=0, frames=300):
    rng = np.random.default_rng(seed)
    events, clips = [], []
    for i in range(n_videos + empty):
        subject, video = f"s{i % 8}", f"v{i}"
        clips.append((subject, video, 0, frames - 1))
        if i < n_videos:
            length = int(rng.integers(30, 100))
            onset = int(rng.integers(70, 130))
            apex = onset + int(rng.integers(0, length + 1))
            events.append((subject, video, video, onset, apex, onset + length))
    return make_events(*events), make_clips(*clips)


@given(NAMES, st.integers(2, 6) | st.just("loso"), st.integers(0, 2**31), st.randoms())
def test_no_subject_crosses_and_each_is_tested_exactly_once(names, k, seed, random):
    if k != "loso" and k > len(names):
        with pytest.raises(DataError, match="folds need"):
            protocols.folds(names, k, seed=seed)
        return
    if len(names) - -(-len(names) // (len(names) if k == "loso" else k)) < 2:
        return  # nobody to validate on; refused, see below
    folds = protocols.folds(names, k, seed=seed)
    assert len(folds) == (len(names) if k == "loso" else k)
    assert sorted(name for fold in folds for name in fold.test) == sorted(names)
    for fold in folds:
        assert fold.train
        assert fold.validation
        everyone = [*fold.train, *fold.validation, *fold.test]
        assert len(everyone) == len(set(everyone))
        assert set(everyone) == set(names)
    clips = names * 3  # one entry a clip, in any order
    random.shuffle(clips)
    assert protocols.folds(clips, k, seed=seed) == folds


def test_the_papers_target_comes_out_of_the_common_path():
    events, clips = made_up(200, 0)
    events = pd.concat([events, make_events(("x", "v", "e", 50, 50, 50))])  # an event of one frame
    clips = pd.concat([clips, make_clips(("x", "v", 0, 99))])
    windows = protocols.paper_windows(events, clips)
    targets = protocols.targets(windows, events, 16)
    assert targets.dtype == np.float32
    by_name = events.set_index(["subject", "video"])
    for window, target in zip(windows.itertuples(), targets, strict=True):
        event = by_name.loc[(window.subject, window.video)]
        oracle = priors.resampled_triangle(event.onset, event.apex, event.offset, 16)
        np.testing.assert_allclose(target, oracle, atol=1e-6)


@given(st.integers(0, 1000), st.integers(2, 40), st.integers(1, 7), st.integers(0, 4), st.integers(20, 400))
def test_context_windows_stay_inside_their_clip_and_last_equally_long(seed, T, stride, per_event, frames):
    events = make_events(("a", "v1", "1", 5, 9, 15), ("a", "v1", "2", 12, 14, 19), ("b", "v2", "1", 0, 0, 19))
    clips = make_clips(("a", "v1", 0, frames - 1), ("b", "v2", 0, frames - 1), ("b", "v3", 100, 99 + frames))
    span = (T - 1) * stride
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        windows = protocols.context_windows(events, clips, T=T, stride=stride, per_event=per_event, seed=seed)
    if span > frames - 1:
        assert windows.empty
        assert len(windows.attrs["left_out"]) == 3
        assert len(caught) == 1
        assert "3 because the clip is shorter than a window" in str(caught[0].message)
        return
    assert not caught
    assert len(windows) == 3 * per_event + 1
    assert (windows["stop"] - windows["start"] == span).all()
    bounds = windows.merge(clips, on=["subject", "video"])
    assert (bounds["start"] >= bounds["n_first"]).all()
    assert (bounds["stop"] <= bounds["n_last"]).all()
    for window in windows.itertuples():
        np.testing.assert_array_equal(
            protocols.window_frames(window, T), np.arange(window.start, window.stop + 1, stride)
        )
        event = events[(events["video"] == window.video) & (events["event"] == window.event)]
        assert len(event) == (window.event != "")
        inside = ((event["onset"] >= window.start) & (event["offset"] <= window.stop)).any()
        assert window.complete == inside
        assert window.truncated == (len(event) == 1 and not inside)
    assert windows["window"].tolist() == windows.groupby("video").cumcount().tolist()


def test_context_shows_whole_cut_and_missed_events():
    events, clips = made_up(300, 40, frames=400)
    windows = protocols.context_windows(events, clips, T=32, stride=4, per_event=4, seed=0)
    first = windows[windows["window"] == 0]
    held = set(events["video"])
    assert first.loc[first["video"].isin(held), "complete"].all()  # it always fits here
    later = windows[(windows["window"] > 0) & windows["video"].isin(held)]
    assert 0.2 < later["complete"].mean() < 0.7
    assert 0.2 < later["truncated"].mean() < 0.7
    assert 0.02 < (later["event"] == "").mean() < 0.4
    empty = windows[~windows["video"].isin(held)]
    assert len(empty) == 40
    assert (empty["event"] == "").all()


def test_windows_depend_on_the_seed_and_their_own_clip_only():
    events, clips = made_up()
    draw = {"T": 16, "stride": 4, "per_event": 3, "per_empty": 2}
    windows = protocols.context_windows(events, clips, **draw, seed=7)
    again = protocols.context_windows(
        events.sample(frac=1, random_state=1), clips.sample(frac=1, random_state=2), **draw, seed=7
    )
    pd.testing.assert_frame_equal(windows, again)
    few = clips[clips["subject"] == "s3"]
    part = protocols.context_windows(events[events["subject"] == "s3"], few, **draw, seed=7)
    whole = windows[windows["subject"] == "s3"].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, whole)
    other = protocols.context_windows(events, clips, **draw, seed=8)
    assert (other["start"] != windows["start"]).mean() > 0.8
    # Written down once: another machine or another Python must draw the same.
    event, clip = make_events(("a", "v", "1", 100, 120, 150)), make_clips(("a", "v", 0, 999))
    assert protocols.context_windows(event, clip, T=32, stride=4, seed=0)["start"].tolist() == [64, 23]


def test_what_gives_no_window_is_listed_with_its_reason():
    events = make_events(
        ("a", "v1", "1", 10, 15, 20),
        ("a", "v2", "1", 10, np.nan, 20),
        ("a", "v3", "1", 10, 15, 20),
        ("a", "v4", "1", 10, 15, 500),
        ("a", "v5", "1", 10, 15, 20),
        ("a", "v6", "1", 10, 5, 20),
        ("a", "v7", "1", np.nan, 5, 20),
    )
    events.loc[2, "status"] = "dropped"
    clips = make_clips(*[("a", f"v{i}", 0, 99) for i in (1, 2, 3, 4, 6, 7, 8)])
    with pytest.warns(UserWarning, match="left out 1 because the event has no apex; 1 because") as caught:
        paper = protocols.paper_windows(events, clips)
    assert len(caught) == 1
    assert paper["video"].tolist() == ["v1"]
    reasons = {entry["video"]: entry["reason"] for entry in paper.attrs["left_out"]}
    assert reasons == {
        "v2": "the event has no apex",
        "v3": "the event was dropped",
        "v4": "its frames aren't all there",
        "v5": "its clip is missing",
        "v6": "the event's landmarks are out of order",
        "v7": "the event has no onset or offset",
    }
    with pytest.warns(UserWarning, match="4 because an event in it can't be used"):
        context = protocols.context_windows(events, clips, T=8, stride=2, seed=0)
    assert set(context["video"]) == {"v1", "v4", "v8"}  # no frame of v2, v3, v6, v7 passes as neutral


def test_the_target_is_the_maximum_of_all_events_in_sight():
    events = make_events(("a", "v", "1", 10, 20, 30), ("a", "v", "2", 25, 40, 45), ("a", "w", "1", 0, 20, 60))
    windows = pd.DataFrame(
        [("made_up", "a", "v", "1", "context", 0, 4, 50, True, False)], columns=protocols._COLUMNS
    )
    frame = np.arange(4, 51, 2)
    for prior in (priors.triangular, priors.boxcar, priors.gaussian, priors.raised_cosine, priors.half_apex):
        oracle = np.maximum(prior(10, 20, 30, 60), prior(25, 40, 45, 60))[frame]
        if prior is priors.gaussian:  # its narrowest flank is half a sample, not half a native frame
            oracle = np.maximum(prior(3, 8, 13, 24), prior(10.5, 18, 20.5, 24))
        target = protocols.targets(windows, events, 24, prior)
        np.testing.assert_allclose(target[0], oracle, atol=1e-6)


def test_the_events_tables_nullable_integers_are_understood():
    events, clips = made_up(20, 3)
    nullable = events.astype({"onset": "Int64", "apex": "Int64", "offset": "Int64"})
    nullable.loc[0, "apex"] = pd.NA
    with pytest.warns(UserWarning, match="no apex"):
        windows = protocols.paper_windows(nullable, clips)
    assert len(windows) == 19
    plain = protocols.paper_windows(events.drop(index=0), clips)
    pd.testing.assert_frame_equal(windows, plain)
    targets = protocols.targets(windows, nullable, 16)
    np.testing.assert_array_equal(targets, protocols.targets(plain, events, 16))
    videos = clips[["n_first", "n_last"]]
    prior = priors.IntervalPrior.fit(nullable, videos, 200)
    assert prior.duration == priors.DurationPrior.fit(events, 200)


@pytest.mark.parametrize(
    ("names", "k", "share"), [("a", "loso", 0.15), ("ab", "loso", 0.15), ("abc", 1, 0.15), ("abcd", 2, 1.0)]
)
def test_folds_that_leave_nobody_to_train_on_are_refused(names, k, share):
    with pytest.raises(DataError):
        protocols.folds(list(names), k, seed=0, validation_share=share)


def test_a_paper_window_runs_from_onset_to_offset():
    events, clips = made_up()
    windows = protocols.paper_windows(events, clips)
    assert len(windows) == len(events)
    assert not windows.attrs["left_out"]
    both = windows.merge(events, on=["dataset", "subject", "video", "event"])
    assert (both["start"] == both["onset"]).all()
    assert (both["stop"] == both["offset"]).all()
    assert both["complete"].all()
    assert not both["truncated"].any()
    assert set(windows["protocol"]) == {"paper"}
    assert list(windows) == protocols._COLUMNS


def test_another_event_in_sight_doesnt_change_the_papers_target():
    events = make_events(("a", "v", "1", 100, 110, 120), ("a", "v", "2", 105, 118, 150))
    windows = protocols.paper_windows(events, make_clips(("a", "v", 0, 300)))
    targets = protocols.targets(windows, events, 16)
    np.testing.assert_allclose(targets[0], priors.resampled_triangle(100, 110, 120), atol=1e-6)
    np.testing.assert_allclose(targets[1], priors.resampled_triangle(105, 118, 150), atol=1e-6)


def test_landmarks_say_where_the_target_peaks():
    events, clips = made_up(30, 5)
    windows = protocols.context_windows(events, clips, T=32, stride=4, seed=0)
    places, targets = protocols.landmarks(windows, events, 32), protocols.targets(windows, events, 32)
    assert places["apex"].isna().equals(windows["event"] == "")
    for place, target, complete in zip(places.itertuples(), targets, windows["complete"], strict=True):
        if complete:
            assert abs(target.argmax() - place.apex) <= 1
            assert place.onset >= 0
            assert place.offset <= 31

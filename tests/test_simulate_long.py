"""Laws of the long videos: what happens when, what truth and table say, same bytes, readable as others."""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melib.data.manifest import read_manifest
from melib.simulate import events, long, render, schedule, units

SETTINGS = {"seed": 0, "statistics": "samm_lv", "fps": 30, "seconds": [25, 40], "family": "patches"}
REAL = events.event_statistics()


@functools.cache
def drawn(number, person=1, fps=30, factor=1.0, statistics="samm_lv", world="first"):
    """A video whose frames aren't rendered."""
    settings = SETTINGS | {"fps": fps, "statistics": statistics, "world": world}
    if world == "second":
        settings["family"] = "patches+muscles+head"
    return long.make_video(person, number, settings, factor)


@functools.cache
def many(statistics, n=500):
    """Schedules of many videos of 20 to 90 s: length and expressions."""
    rng = np.random.default_rng(5)
    lengths = rng.uniform(20, 90, n)
    return [(length, schedule.schedule(rng, statistics, length)) for length in lengths]


def split(expressions):
    return tuple([event for kind, event in expressions if kind == wanted] for wanted in ("micro", "macro"))


# When what happens ----------------------------------------------------------------------------------------


@given(
    st.integers(0, 2**32),
    st.sampled_from(schedule.STATISTICS),
    st.floats(3, 200),
)
def test_expressions_lie_inside_the_video_and_those_of_one_kind_apart(seed, statistics, length):
    expressions = schedule.schedule(np.random.default_rng(seed), statistics, length)
    for _, event in expressions:
        assert schedule.MARGIN_S - 1e-9 <= event.start < event.stop <= length - schedule.MARGIN_S + 1e-9
        assert all(m.start < m.apex <= m.apex + m.hold < m.stop for m in event.movements)
        assert all(np.isfinite(m.decay) for m in event.movements)
    for kind in split(expressions):
        for one, other in itertools.pairwise(kind):
            assert one.stop < other.start + 1e-9
    assert (
        sum(event.stop - event.start for event in split(expressions)[1])
        <= schedule.MACRO_SHARE * length + 1e-9
    )


@pytest.mark.parametrize("statistics", schedule.STATISTICS)
def test_videos_hold_as_many_micro_expressions_as_samm_lv_has(statistics):
    counts = np.array([len(split(expressions)[0]) for _, expressions in many(statistics)])
    figures = REAL["samm_lv"]
    assert np.mean(counts == 0) == pytest.approx(figures["share_without_micro"], abs=0.05)
    total = sum(figures["micro_per_video"].values())
    for n, videos_with in figures["micro_per_video"].items():
        share = np.sum(counts == int(n)) / np.sum(counts > 0)
        assert share == pytest.approx(videos_with / total, abs=0.08)


@pytest.mark.parametrize("statistics", schedule.STATISTICS)
def test_gaps_durations_and_classes_follow_the_statistics(statistics):
    lengths, gaps, classes = [], [], []
    class_of = {e: name for name, group in read_manifest("synthme_lv").emotion_classes.items() for e in group}
    for _, expressions in many(statistics):
        micro, macro = split(expressions)
        lengths += [event.stop - event.start for event in macro]
        classes += [class_of.get(event.emotion, "others") for event in micro]
        ends = sorted((event.start, event.stop) for _, event in expressions)
        gaps += [after[0] - before[1] for before, after in itertools.pairwise(ends)]
    real = np.array(REAL[f"{statistics}_macro"]["duration_s"])
    ours = np.percentile(lengths, REAL["percentiles"])
    assert (np.abs(np.log(ours / real))[:4] < 0.3).all()
    if statistics == "samm_lv":
        assert np.median(gaps) == pytest.approx(REAL["samm_lv"]["gap_s"][2], abs=1)
        assert np.mean(np.array(gaps) < 0) > 0.05
    for name, share in REAL["casme3_emotion_share"].items():
        assert np.mean(np.array(classes) == name) == pytest.approx(share, abs=0.04)


# One video ------------------------------------------------------------------------------------------------


def test_another_frame_rate_or_nuisance_keeps_the_events():
    for number in (1, 2):
        rows = [drawn(number, **kind).labels for kind in ({}, {"fps": 60}, {"factor": 0.3})]
        for kind in ("Micro", "Macro"):
            at30, at60, calm = ([row for row in labels if row["Type"] == kind] for labels in rows)
            assert [row["Event"] for row in at30] == [row["Event"] for row in at60]
            assert [row["Action Units"] for row in at30] == [row["Action Units"] for row in calm]
            for one, other in zip(at30, at60, strict=True):
                assert abs(one["Apex Frame"] - other["Apex Frame"] / 2) < 12


def test_without_nuisance_nothing_but_expressions_happens():
    video = drawn(2, factor=0.0)
    truth, paths = video.truth, video.scene.paths
    assert not truth[["blink", "talk_px", "gaze_px"]].to_numpy().any()
    assert {row["Type"] for row in video.labels} <= {"Micro", "Macro"}
    for still, rest in (
        (paths.shift, 0),
        (paths.turn, 0),
        (paths.size, 1),
        (paths.gain, 1),
        (paths.light, 0),
    ):
        assert np.allclose(still, rest)


def test_truth_tells_micro_macro_and_talking_apart_and_they_add_up():
    """The largest displacement of what is rendered lies between the micro one's and the sum of all."""
    for number in range(1, 7):
        video = drawn(number)
        scene, truth = video.scene, video.truth
        skin = render.on_skin(scene.canvas, scene.movements)
        whole = render.peaks(scene.amplitudes, skin)
        parts = truth[["peak_px", "macro_px", "talk_px"]].to_numpy()
        assert (whole <= parts.sum(1) + 1e-5).all()
        alone = (parts > 0).sum(1) <= 1
        assert whole[alone] == pytest.approx(parts[alone].sum(1), abs=1e-5)
        assert (truth["rms_px"] <= truth["peak_px"] + 1e-9).all()
        lone = truth[[f"au{unit}" for unit in units.UNITS]].sum(axis=1)
        assert (truth["rms_px"] <= lone + 1e-9).all()


def test_every_micro_expression_has_its_frames_a_profile_of_1_and_its_label():
    count = 0
    for number in range(1, 9):
        video = drawn(number)
        truth, labels = video.truth, {row["Event"]: row for row in video.labels}
        named = set(truth["event"]) - {""}
        assert named == {name for name, row in labels.items() if row["Type"] == "Micro"}
        for name in named:
            own = truth[truth["event"] == name]
            assert np.all(np.diff(own["frame"]) == 1)
            assert own["profile"].max() == pytest.approx(1, abs=1e-9)
            assert 0.05 < own["peak_px"].max() < 2.6
            row = labels[name]
            assert row["Onset Frame"] < row["Apex Frame"] < row["Offset Frame"]
            assert (
                own["frame"].min() - 4 <= row["Onset Frame"] <= row["Offset Frame"] <= own["frame"].max() + 4
            )
            count += 1
        annotated = np.zeros(len(truth) + 4, bool)
        for row in video.labels:
            inside = truth.iloc[row["Onset Frame"] - 1 : row["Offset Frame"]]
            if row["Type"] == "Blink":
                assert inside["blink"].max() > 0.45
                annotated[row["Onset Frame"] - 4 : row["Offset Frame"] + 4] = True
            elif row["Type"] == "Macro":
                assert inside["macro_px"].max() > 0.3
        assert not (truth["blink"][~annotated[: len(truth)]] > 0.5).any()
    assert count > 5


@pytest.mark.parametrize("world", ["first", "second"])
def test_no_frame_folds_the_skin(world):
    """Where movements overlap, macro-expressions and talking are weakened; what is left stays a map."""
    for number in range(1, 5):
        scene = drawn(number, world=world).scene
        busy = np.argsort(-np.abs(scene.amplitudes).sum(1))[:40:5]
        for t in busy:
            assert render.smallest_jacobian(scene.canvas, scene.movements, scene.amplitudes[t]) > 0.2

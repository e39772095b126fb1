"""Laws of the limits of detection: probe videos, what counts as found, tables, the figure."""

import dataclasses
import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_up import unbegun

from melib import protocols, simulate
from melib.errors import DataError, Misuse
from melib.simulate import events, long
from melib.study import ideal_observer, limits
from melib.study.data import open_study
from melib.study.spotting import Video
from melib.study.spotting_decoding import Material, System

PEAKS = (0.02, 2.5)
SETTINGS = {"seed": 0, "statistics": "samm_lv", "fps": 30, "seconds": [10, 10], "family": "patches"}
PROBE = SETTINGS | {"peaks": list(PEAKS), "micro": 3}
PEOPLE = [f"s{i:02d}" for i in range(1, 13)]
TOY = System("toy")


# Probe videos -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made():
    return long.make_video(1, 1, PROBE)


def test_the_peak_of_a_probe_event_is_measured_and_its_label_is_the_truth_s(made):
    measured = made.truth[made.truth["event"] != ""].groupby("event")["peak_px"].max()
    alone = {name: ideal_observer.peak_of(made.scene, course) for name, course in made.courses.items()}
    assert measured.to_dict() == pytest.approx(alone, rel=1e-5)
    assert measured.between(*PEAKS).all()
    for row in (row for row in made.labels if row["Type"] == "Micro"):
        moved = made.truth["peak_px"].where(made.truth["event"] == row["Event"], 0)
        share = events.VISIBLE_PX / events.TYPICAL_PEAK
        above = made.truth.loc[moved > share * measured[row["Event"]], "frame"]
        assert abs(row["Onset Frame"] - above.min()) <= 1 and abs(row["Offset Frame"] - above.max()) <= 1


def test_more_noise_changes_only_the_noise_and_the_ideal_observer_in_proportion(made):
    other = long.make_video(1, 1, PROBE | {"noise": 3.0})
    pd.testing.assert_frame_equal(other.truth, made.truth)
    assert other.labels == made.labels
    for field in dataclasses.fields(made.scene.paths):
        one, three = (getattr(video.scene.paths, field.name) for video in (made, other))
        np.testing.assert_allclose(three, one * (3 if field.name == "noise" else 1))
    course = next(iter(made.courses.values()))
    one, three = (ideal_observer.clip_sd(v.scene, course=course, every=3) for v in (made, other))
    assert three == pytest.approx(3 * one, rel=1e-3)
    gain = next(c.gain for c in limits.conditions(unbegun("paper")) if (c.name, c.level) == ("noise", 4))
    assert gain == 1 / 4


def test_a_probe_data_set_is_read_like_any_other_and_not_mixed_with_another(tmp_path):
    for wrong in ({"peaks": (2, 1)}, {"noise": 0}):
        with pytest.raises(Misuse, match=next(iter(wrong))):
            simulate.write_long(tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()
    tiny = {"people": 1, "videos": 1, "seconds": (4, 4), "fps": 20, "jobs": 1, "progress": False}
    out = simulate.write_long(tmp_path / "probe", name="probe", peaks=PEAKS, micro=2, **tiny)
    study = open_study(out / "manifest.yml", out)
    micro = study.events[study.events["kind"] == "micro"]
    assert len(micro) == 2 and (micro["status"] == "ok").all()
    assert set(micro["event"]) == set(study.truth["event"]) - {""}
    settings = json.loads((out / "record.json").read_text())["settings"]
    assert settings["peaks"] == list(PEAKS) and "noise" not in settings
    with pytest.raises(DataError, match="other settings"):
        simulate.write_long(out, name="probe", peaks=PEAKS, micro=2, noise=2, **tiny)
    # What the record says is enough to compute the limits of every event.
    run = dataclasses.replace(unbegun("smoke"), folder=tmp_path / "run")
    sd = limits.ideal_limits(run, study)
    assert set(sd.index) == set(zip(micro["video"], micro["event"], strict=True))
    assert (sd["free_px"] > sd["sd_px"]).all() and (sd["sd_px"] > 0).all()


def test_probe_videos_are_of_the_world_that_systems_learned_from():
    for profile in ("smoke", "demo", "paper"):
        run = unbegun(profile)
        long_videos = run.settings["long"][0]
        for condition in [*limits.conditions(run), limits.STILL]:
            spec = limits.probe_settings(run, condition)
            assert [spec.get(name) for name in ("world", "family")] == [
                long_videos.get(name) for name in ("world", "family")
            ]


# Found or not -----------------------------------------------------------------------------------------------------


def a_video(subject, rng, dataset="probe", n=4, length=360):
    starts = 20 + 80 * np.arange(n) + rng.integers(0, 40, n)
    peaks = np.exp(rng.uniform(*np.log(PEAKS), n))
    table = pd.DataFrame({"onset": starts, "apex": starts + 5, "offset": starts + 11, "peak_px": peaks})
    table = table.astype(float).assign(
        event=[f"{subject}.{i}" for i in range(n)], kind="micro", emotion_class="negative", aus="4"
    )
    return Video(
        dataset, subject, f"{subject}_01", 30.0, np.arange(length), np.zeros((length, 36), np.float32),
        np.ones(length, bool), np.zeros((0, 30, 36), np.float32), np.zeros(0, int), np.zeros(0, bool), table,
    )  # fmt: skip


@pytest.fixture(scope="module")
def probe():
    rng = np.random.default_rng(3)
    videos = [a_video(person, rng) for person in PEOPLE]
    folds = protocols.folds(PEOPLE, 2, seed=0, validation_share=0.5)
    home = [a_video(person, rng, "home") for person in PEOPLE]
    study = SimpleNamespace(name="probe")
    return limits.Probe(limits.BASE, study, Material("home", [*home, *videos], folds, {}, {}, {}, 0))


def decoded(probe, finds, seed=0):
    """What a system decodes that finds events with this probability of the amplitude, and raises two alarms a video."""
    rng = np.random.default_rng(seed)
    rows = []
    for video in probe.material.videos:
        for e in video.events.itertuples():
            if rng.random() < finds(e.peak_px):
                rows.append((video.dataset, video.subject, video.video, e.onset, e.offset, 1 + rng.random()))
        for start in (0, 345):
            rows.append((video.dataset, video.subject, video.video, start, start + 11, rng.random()))
    whole = pd.DataFrame(rows, columns=["dataset", "subject", "video", "onset", "offset", "score"])

    def predict(_, material, dataset):
        tested = [subject for fold in material.folds for subject in fold.test]
        return whole[(whole["dataset"] == dataset) & whole["subject"].isin(tested)].reset_index(drop=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "decode_system", predict)
        return limits.decode_probe(TOY, probe)


def measured(probe, finds):
    """Row of limits.csv of a system that finds events with this probability of the amplitude."""
    intervals = decoded(probe, finds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "decode_probe", lambda *_: intervals)
        return limits._measure(probe, limits.BASE, TOY, [60], 30)["limits"].iloc[0]


def test_a_threshold_lies_where_finding_begins_and_is_a_number_only_inside_what_was_tested(probe):
    peaks = probe.truth["peak_px"]
    row = measured(probe, lambda peak: float(peak > 0.3))
    assert peaks[peaks < 0.3].max() * 0.95 <= row["threshold_px"] <= peaks[peaks > 0.3].min() * 1.05
    assert row["remark"] == ""
    for least, words in ((0.0, "below 0.0"), (2.0, "above about"), (9.0, "above .* px, nothing found")):
        row = measured(probe, lambda peak, least=least: float(peak > least))
        assert np.isnan(row["threshold_px"]) and re.match(words, row["remark"])
    row = measured(probe, lambda peak: 0.3 * (peak > 0.1))
    assert np.isnan(row["threshold_px"]) and row["remark"].startswith("above")


def test_the_least_score_comes_from_validation_subjects_only(probe):
    before = decoded(probe, lambda peak: peak > 0.2)
    person = probe.material.folds[0].test[0]
    test = before[0, "test"].copy()
    test.loc[test["subject"] == person, "score"] *= 100
    one, other = (limits.detect(probe, intervals, 60) for intervals in (before, before | {(0, "test"): test}))
    assert other.least == one.least
    others = one.truth["subject"] != person
    np.testing.assert_array_equal(other.detected[others], one.detected[others])
    assert other.alarms > one.alarms and other.hours == one.hours  # who is tested pays for it
    videos, intervals = before[0, "validation"]
    mixed = {(0, "validation"): ([*videos, *probe.videos[:12]], intervals)}
    with pytest.raises(DataError, match="in validation and test"):
        limits.detect(probe, before | mixed, 60)


def test_videos_of_two_data_sets_that_are_called_alike_are_never_mixed(probe):
    # Right in its own video: whatever is found elsewhere under the same name would be a false alarm.
    intervals = decoded(probe, lambda peak: 1.0)
    for fold in probe.material.folds:
        judges, predicted = intervals[fold.index, "validation"]
        assert {v.dataset for v in judges} == {"probe", "home"}
        assert {v.subject for v in judges} == set(fold.validation)
        judged, finds, hours = limits._candidates(predicted, limits.spotting.annotated(judges), judges)
        assert judged["true"].sum() == finds.any(axis=0).sum() == 4 * len(judges)
        assert (~judged["true"]).sum() == 2 * len(judges)
        # Hours are those outside of movements: 12 s of video less four events of 12 samples.
        assert hours == pytest.approx(len(judges) * (12 - 4 * 12 / 30) / 3600)


def test_an_interval_that_fits_badly_is_neither_found_nor_a_false_alarm(probe):
    video = probe.videos[0]
    truth = limits.spotting.annotated([video])
    onset = float(truth["onset"][0])
    rows = [(onset, onset + 11), (onset + 4, onset + 7), (onset + 12, onset + 23), (onset + 5, onset + 30)]
    predicted = pd.DataFrame(rows, columns=["onset", "offset"]).assign(
        subject=video.subject, video=video.video
    )
    counted, finds, _ = limits._candidates(predicted, truth, [video])
    assert counted["true"].tolist() == [True, False, False]  # the second of four is left out
    assert finds[:, 0].tolist() == [True, False, False]


def test_labels_err_in_proportion_and_larger_errors_find_less(probe):
    truth, columns = probe.truth, ["onset", "offset"]
    none, small, large = (
        limits._labelled(truth, error, 0)[columns] - truth[columns] for error in (0, 0.001, 0.003)
    )
    assert not none.any(axis=None)
    np.testing.assert_allclose(large, 3 * small, atol=1e-9)
    intervals = decoded(probe, lambda peak: 1.0)
    shares = [limits.detect(probe, intervals, 60, label_error=e).detected.mean() for e in (0.0, 0.15, 0.4)]
    assert shares[0] == 1 > shares[1] > shares[2]

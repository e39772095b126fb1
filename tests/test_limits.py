"""Laws of the limits of detection: probe videos, what counts as found, the ideal observer, the figure."""

import dataclasses
import itertools
import json
import re

import numpy as np
import pandas as pd
import pytest
from made_up import unbegun
from scipy import stats

from melib import metrics, protocols, simulate
from melib.data import cache
from melib.errors import DataError, Misuse
from melib.paper import figures, latex, limits_figures
from melib.simulate import events, long, schedule
from melib.study import ideal_observer, limits, psychometrics
from melib.study.data import open_study
from melib.study.spotting import Video
from melib.study.spotting_decoding import Material, System

PEAKS = (0.02, 2.5)
SETTINGS = {"seed": 0, "statistics": "samm_lv", "fps": 30, "seconds": [10, 10], "family": "patches"}
PROBE = SETTINGS | {"peaks": list(PEAKS), "micro": 3}
PEOPLE = [f"s{i:02d}" for i in range(1, 13)]


# Probe videos -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def schedules():
    rng = np.random.default_rng(1)
    return [schedule.probes(rng, "samm_lv", 12.0, PEAKS, 4) for _ in range(300)]


def test_probe_peaks_fill_the_asked_range_evenly_on_a_logarithmic_axis(schedules):
    strengths = np.array([e.strength for each in schedules for kind, e in each if kind == "micro"])
    assert strengths.min() >= PEAKS[0] and strengths.max() <= PEAKS[1]
    shares = np.log(strengths / PEAKS[0]) / np.log(PEAKS[1] / PEAKS[0])
    assert stats.kstest(shares, "uniform").statistic < 0.03
    assert len(strengths) > 0.9 * 4 * len(schedules)


def test_probe_movements_lie_apart_from_each_other_and_from_macro_ones_and_leave_nothing(schedules):
    assert any(kind == "macro" for each in schedules for kind, _ in each)
    for each in schedules:
        micro = [e for kind, e in each if kind == "micro"]
        assert all(a.stop + schedule.APART_S <= b.start for a, b in itertools.pairwise(micro))
        macro = [e for kind, e in each if kind == "macro"]
        assert not any(a.start < b.stop and b.start < a.stop for a in micro for b in macro)
        assert all(m.residual == 0 for e in micro for m in e.movements)


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


def test_doubling_the_noise_keeps_events_nuisance_truth_and_labels(made):
    other = long.make_video(1, 1, PROBE | {"noise": 2.0})
    pd.testing.assert_frame_equal(other.truth, made.truth)
    assert other.labels == made.labels
    for field in dataclasses.fields(made.scene.paths):
        one, two = (getattr(video.scene.paths, field.name) for video in (made, other))
        np.testing.assert_allclose(two, one * (2 if field.name == "noise" else 1))


def test_the_ideal_observer_needs_movements_larger_in_proportion_to_the_noise(made):
    other = long.make_video(1, 1, PROBE | {"noise": 3.0})
    course = next(iter(made.courses.values()))
    one, three = (limits._sd(video.scene, PROBE, course) for video in (made, other))
    assert three == pytest.approx(3 * one, rel=1e-3)
    gain = next(c.gain for c in limits.conditions(unbegun("paper")) if (c.name, c.level) == ("noise", 4))
    assert gain == 1 / 4


def test_the_records_of_data_sets_without_probes_say_nothing_new(tmp_path):
    assert long._extra(1.0, None, 4) == {}
    assert long._scales(SETTINGS, 1.0) == long.NUISANCE
    with pytest.raises(Misuse, match="smallest and the largest"):
        simulate.write_long(tmp_path / "new", peaks=(2, 1))
    with pytest.raises(Misuse, match="noise"):
        simulate.write_long(tmp_path / "new", noise=0)
    assert not (tmp_path / "new").exists()


def test_a_probe_data_set_is_read_like_any_other_and_not_mixed_with_another(tmp_path):
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
    profiles = {}
    for video in videos:
        for e in video.events.itertuples():
            profiles[video.video, e.event] = np.interp(
                np.arange(len(video)), [e.onset, e.apex, e.offset], [0, 1, 0]
            )
    home = [a_video(person, rng, "home") for person in PEOPLE]
    return limits.Probe(
        limits.BASE, videos, profiles, Material("home", [*home, *videos], folds, {}, {}, {}, 0)
    )


def decoded(probe, finds, seed=0):
    """Intervals of a system that finds events with this probability of the amplitude, and raises false alarms."""
    rng = np.random.default_rng(seed)
    rows = []
    for video in probe.material.videos:
        for e in video.events.itertuples():
            if rng.random() < finds(e.peak_px):
                rows.append((video.dataset, video.subject, video.video, e.onset, e.offset, 1 + rng.random()))
        for start in (0, 345):
            rows.append((video.dataset, video.subject, video.video, start, start + 11, rng.random()))
    columns = ["dataset", "subject", "video", "onset", "offset", "score"]
    said = pd.DataFrame(rows, columns=columns)
    out = {}
    for fold in probe.material.folds:
        known = said[said["subject"].isin(fold.validation)].reset_index(drop=True)
        out[fold.index, "validation"] = known.assign(video=known["dataset"] + "/" + known["video"])
        mine = said["subject"].isin(fold.test) & (said["dataset"] == "probe")
        out[fold.index, "test"] = said[mine].reset_index(drop=True)
    return out


def fitted(probe, finds, allowed=60.0):
    said = limits.detect(System("toy"), probe, allowed, decoded=decoded(probe, finds))
    peaks, subjects = said.truth["peak_px"], said.truth["subject"]
    return said, psychometrics.fit(peaks, said.found, subjects, max_lapse=limits.MAX_LAPSE, at=0.5, n=50)


def test_a_perfect_detector_s_threshold_is_below_and_a_blind_one_s_above_all_that_was_tested(probe):
    said, curve = fitted(probe, lambda peak: 1.0)
    assert said.found.all() and curve.where == "below"
    assert limits.remark(curve, said.truth["peak_px"]).startswith("below 0.0")
    said, curve = fitted(probe, lambda peak: 0.0)
    assert not said.found.any() and curve.where == "above"
    row = limits._fitted(curve, said, System("toy"))
    assert np.isnan(row["threshold_px"]) and row["remark"] == f"above {curve.tested[1]:.2g} px, nothing found"


def test_a_step_has_its_threshold_at_the_step(probe):
    said, curve = fitted(probe, lambda peak: float(peak > 0.3))
    peaks = said.truth["peak_px"]
    assert peaks[peaks < 0.3].max() * 0.95 <= curve.threshold <= peaks[peaks > 0.3].min() * 1.05
    assert limits.remark(curve, peaks) == ""
    assert limits.remark(curve, peaks[peaks < 0.3]).startswith("above about 0.")


def test_there_is_a_threshold_unless_words_begin_by_saying_why_not(probe):
    """As notebook 08 asserts: an interval with an open end is no lack of a threshold."""
    made = [fitted(probe, lambda peak, least=least: float(peak > least)) for least in (0.0, 0.3, 2.0, 9.0)]
    said, curve = made[1]
    ends = ((0.0, curve.threshold_interval[1]), (curve.threshold_interval[0], np.inf), (0.0, np.inf))
    made += [(said, dataclasses.replace(curve, threshold_interval=each)) for each in ends]
    known = []
    for said, curve in made:
        row = limits._fitted(curve, said, System("toy"))
        known.append(bool(np.isfinite(row["threshold_px"])))
        assert known[-1] != bool(re.match("above|below|doesn't rise", row["remark"])), row["remark"]
    assert known == [False, True, False, False, True, True, True]


def test_a_system_that_levels_off_below_half_has_no_threshold(probe):
    _, curve = fitted(probe, lambda peak: 0.3 * (peak > 0.1))
    assert curve.where == "above" and curve.threshold == np.inf


def test_the_least_score_comes_from_validation_subjects_only(probe):
    finds = lambda peak: peak > 0.2  # noqa: E731
    system, first = System("toy"), decoded(probe, finds)
    before = limits.detect(system, probe, 60, decoded=first)
    person = probe.material.folds[0].test[0]
    changed = {key: table.copy() for key, table in first.items()}
    test = changed[0, "test"]
    test.loc[test["subject"] == person, "score"] *= 100
    after = limits.detect(system, probe, 60, decoded=changed)
    assert [p.score for p in after.points] == [p.score for p in before.points]
    others = before.truth["subject"] != person
    np.testing.assert_array_equal(after.found[others], before.found[others])
    assert after.per_hour > before.per_hour  # who is tested pays for it
    for point in before.points:
        assert point.validation_per_hour <= 60


def test_videos_of_two_data_sets_that_are_called_alike_are_never_mixed(probe):
    # Right in its own video: whatever is found elsewhere under the same name would be a false alarm.
    said = decoded(probe, lambda peak: 1.0)
    for fold in probe.material.folds:
        judges = [limits._apart(v) for v in limits.calibration(System("toy"), probe, fold)]
        assert {v.dataset for v in judges} == {"probe", "home"}
        heard, finds = limits.candidates(
            said[fold.index, "validation"], limits.spotting.annotated(judges), judges
        )
        assert heard.true.sum() == finds.any(axis=0).sum() == 4 * len(judges)
        assert (~heard.true).sum() == 2 * len(judges)


def test_a_rate_is_kept_on_validation_subjects_whose_hours_are_those_without_movement(probe):
    videos = probe.videos[:2]
    truth = limits.spotting.annotated(videos)
    alarms = pd.DataFrame(
        {"subject": PEOPLE[0], "video": f"{PEOPLE[0]}_01", "onset": [0.0], "offset": [5.0], "score": [0.5]}
    )
    heard, _ = limits.candidates(alarms, truth, videos)
    moving = 8 * 12 / 30
    assert heard.hours == pytest.approx((2 * 12 - moving) / 3600)
    assert not heard.true.any()


def test_an_interval_that_fits_badly_is_neither_found_nor_a_false_alarm(probe):
    video = probe.videos[0]
    truth = limits.spotting.annotated([video])
    onset = float(truth["onset"][0])
    rows = [(onset, onset + 11), (onset + 4, onset + 7), (onset + 12, onset + 23), (onset + 5, onset + 30)]
    said = pd.DataFrame(rows, columns=["onset", "offset"]).assign(
        subject=video.subject, video=video.video, score=1.0
    )
    heard, finds = limits.candidates(said, truth, [video])
    assert heard.true.tolist() == [True, False, False]  # the second of four is left out
    assert finds[:, 0].tolist() == [True, False, False]


def test_overlaps_are_those_of_frames_counted_one_by_one():
    rng = np.random.default_rng(0)
    one, two = (
        pd.DataFrame(
            {
                "subject": "a",
                "video": rng.choice(["x", "y"], 15),
                "onset": at,
                "offset": at + rng.integers(0, 9, 15),
            }
        )
        for at in rng.integers(0, 30, (2, 15))
    )
    iou, _ = limits.overlaps(one, two)
    for (i, a), (j, b) in itertools.product(enumerate(one.itertuples()), enumerate(two.itertuples())):
        frames = [set(range(e.onset, e.offset + 1)) for e in (a, b)]
        wanted = len(frames[0] & frames[1]) / len(frames[0] | frames[1]) if a.video == b.video else 0
        assert iou[i, j] == pytest.approx(wanted)


def test_labels_err_in_proportion_and_larger_errors_find_less(probe):
    truth = limits.spotting.annotated(probe.videos)
    columns = ["onset", "offset"]
    np.testing.assert_array_equal(limits.labelled(truth, 0.0)[columns], truth[columns])
    small, large = (limits.labelled(truth, error)[columns] - truth[columns] for error in (0.001, 0.003))
    np.testing.assert_allclose(large, 3 * small, atol=1e-9)
    said = decoded(probe, lambda peak: 1.0)
    shares = [
        limits.detect(System("toy"), probe, 60, error=e, decoded=said).found.mean() for e in (0.0, 0.15, 0.4)
    ]
    assert shares[0] == 1 > shares[1] > shares[2]


# The ideal observer -----------------------------------------------------------------------------------------------


def test_the_ideal_threshold_grows_in_proportion_and_is_where_half_are_found():
    rng = np.random.default_rng(0)
    sd, people = np.exp(rng.normal(-6, 0.4, 40)), np.repeat(PEOPLE[:10], 4)
    one, four = (limits.ideal_curve(factor * sd, people, 0.01) for factor in (1, 4))
    assert four.threshold == pytest.approx(4 * one.threshold, rel=0.02)
    assert ideal_observer.hit_rate(one.threshold / sd, 0.01).mean() == pytest.approx(0.5, abs=0.01)
    assert one.threshold_low < one.threshold < one.threshold_high
    assert (np.diff(one.probability) >= 0).all()


def test_a_finished_limit_is_never_computed_again(tmp_path, monkeypatch, made):
    calls = []
    monkeypatch.setattr(limits.long, "make_video", lambda *asked: calls.append(asked) or made)
    first = limits._ideal(tmp_path, "1", "s01_01", PROBE)
    assert limits._ideal(tmp_path, "1", "s01_01", PROBE) == first
    assert len(calls) == 1 and calls[0] == (1, 1, PROBE)
    assert set(first) == set(made.courses)
    limits._ideal(tmp_path, "1", "s01_01", PROBE | {"seed": 1})
    assert len(calls) == 2


# Tables, words, figure --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables(probe):
    asked = {"per_hour": [60, 240], "resamples": 30}
    ideal = {(v.video, e): 0.002 for v in probe.videos for e in v.events["event"]}
    strengths = {"ours": 0.3, "motion": 1.2, "chance": 9.0}
    parts = []
    for condition in (
        limits.BASE,
        limits.Condition("noise", 4.0, "times", 0.25),
        limits.Condition("annotators", 6.0, "", 1.0),
    ):
        done = []
        for name, size in strengths.items():
            said = decoded(probe, lambda peak, size=size: float(peak > size), seed=len(name))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(limits, "decode", lambda *_, said=said: said)
                patch.setattr(limits, "inside_agreement", lambda *_: dict.fromkeys(ideal, 0.4))
                done.append(limits._measure(probe, condition, System(name), ideal, asked))
        truth = limits.spotting.annotated(probe.videos)
        done.append(limits._ideal_rows(truth, condition, ideal, asked, 0))
        parts += done
    found = {}
    for name in limits.COLUMNS:
        found[name] = pd.concat([part[name] for part in parts if name in part], ignore_index=True)
        found[name].insert(0, "dataset", "toy")
    return found


def test_tables_have_their_columns_and_no_number_where_there_is_no_threshold(tables):
    for name, table in tables.items():
        assert list(table)[1:] == limits.COLUMNS[name]
    table = tables["limits"]
    chance = table[table["system"] == "chance"]
    assert chance["threshold_px"].isna().all() and chance["remark"].str.startswith("above").all()
    ideal = table[table["kind"] == "ideal"].set_index(["condition", "per_hour"])["threshold_px"]
    assert ideal["noise", 60] == pytest.approx(4 * ideal["base", 60], rel=0.02)
    assert ideal["base", 240] < ideal["base", 60]


def test_efficiency_is_below_one_and_zero_where_nothing_is_found(tables):
    used = tables["efficiency"].set_index("system")
    assert (used.loc["chance", "efficiency"] == 0).all()
    assert used.loc["ours", "efficiency"].between(0, 1).all() and used.loc["ours", "efficiency"].max() > 0


def test_the_verdict_tells_too_small_from_blind_by_the_table(tables):
    table = tables["limits"]
    base = table[(table["condition"] == "base") & (table["per_hour"] == 60)].set_index("system")[
        "threshold_px"
    ]
    models = table.assign(kind=table["kind"].where(table["system"] != "motion", "baseline"))
    said = limits.verdict(models)
    assert f"below {base['ideal observer']:.2g} pixels half of the movements are **too small to see**" in said
    assert (
        f"the best, ours, needs movements {base['ours'] / base['ideal observer']:.0f} times as large" in said
    )
    assert f"the best baseline needs {base['motion']:.2g}" in said
    assert "none finds half" in limits.verdict(models[~models["system"].isin(["ours", "motion"])].assign(
        kind=lambda t: t["kind"].where(t["kind"] == "ideal", "model")
    ))  # fmt: skip


def test_the_figure_is_drawn_from_the_tables_alone_to_the_same_pixels(tables, tmp_path):
    for run in (tmp_path / "one", tmp_path / "two"):
        for name, table in tables.items():
            cache.write_table(run / "results" / f"{name}.csv", table)
    drawn = [limits_figures.draw(tmp_path / run)[0] for run in ("one", "two")]
    assert drawn[0].read_bytes() == drawn[1].read_bytes()
    record = json.loads(drawn[0].with_suffix(".json").read_text())
    assert set(record["results"]) == {f"{name}.csv" for name in limits.COLUMNS}
    assert limits_figures.draw(tmp_path) == []


def test_the_figure_survives_systems_that_find_nothing_and_a_base_without_other_conditions(tables):
    blind = {name: table[table["condition"] == "base"].copy() for name, table in tables.items()}
    rows = blind["limits"]["kind"] != "ideal"
    blind["limits"].loc[rows, ["threshold_px", "threshold_px_low", "threshold_px_high"]] = np.nan
    blind["limits_events"]["found"] = 0
    blind["efficiency"] = blind["efficiency"].head(0)
    fig = limits_figures.limits_of_detection(*(blind[name] for name in limits_figures.TABLES))
    assert "Limits of detection" in fig.get_label()
    figures.plt.close(fig)


def test_the_table_for_a_manuscript_says_above_where_there_is_no_threshold(tables):
    table = latex.fill("limits_of_detection", tables["limits"])
    printed = latex.printed(table)
    assert (printed["Found half of the time, px"] == "--").any()
    assert printed.loc[printed["System"] == "chance", "Remark"].str.startswith("above").all()


def test_agreement_inside_an_event_is_that_of_the_curve_with_the_true_profile(probe, monkeypatch):
    video = probe.videos[0]
    curve = sum(probe.profiles[video.video, e] for e in video.events["event"])
    monkeypatch.setattr(limits, "curves_of", lambda *_: {"micro": curve})
    only = dataclasses.replace(probe, videos=[video])
    found = limits.inside_agreement(System("toy"), only)
    assert set(found) == {(video.video, e) for e in video.events["event"]}
    assert min(found.values()) == pytest.approx(1)
    assert limits.inside_agreement(System("toy", body="chance"), only) == {}
    assert metrics.curve_agreement(curve, curve)["inside_spearman"] == pytest.approx(1)

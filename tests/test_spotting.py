"""Laws of the spotting experiment: what is learned from whom, how windows are stitched, what is counted."""

import itertools
import types
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import unbegun

from melib import learn, metrics, protocols
from melib.errors import DataError
from melib.study import comparisons, results, spotting, spotting_decoding, spotting_runs
from melib.study.spotting import CLASSES, NEUTRAL, Curves, Video
from melib.study.spotting_decoding import FAULTS, Material, accepted_intervals, fits_of
from melib.study.spotting_runs import CHANCE, MOTION, OURS, PARTS, PUBLISHED, REPAIRED, SHAM
from melib.study.spotting_tables import (
    SCORED,
    Evaluation,
    pooled_scores,
    recognition_table,
    subject_weights,
    tally,
)

FPS, LENGTH = 30.0, 300
DECODED = [OURS, REPAIRED, CHANCE, MOTION]
PEOPLE = [f"s{i}" for i in range(8)]


def made_up_video(subject, name, events, rng, *, step=1):
    """A video whose motion is noise; ``events`` rows of kind, class, onset, apex, offset."""
    columns = ["kind", "emotion_class", "onset", "apex", "offset"]
    table = pd.DataFrame(events, columns=columns).astype({"onset": float, "apex": float, "offset": float})
    table = table.assign(event=[f"{name}.{i}" for i in range(len(table))], aus="4", peak_px=1.0)
    windows = rng.normal(size=(LENGTH // 15 - 1, 30, 36)).astype(np.float32)
    return Video(
        "toy",
        subject,
        name,
        FPS,
        np.arange(LENGTH) * step,
        rng.normal(size=(LENGTH, 36)).astype(np.float32),
        np.ones(LENGTH, bool),
        windows,
        np.arange(len(windows)) * 15,
        np.ones(len(windows), bool),
        table,
    )


def made_up_material(seed=0, fault=()):
    """Eight people, two videos each, one of them without a micro-expression; curves that nearly know the truth."""
    rng = np.random.default_rng(seed)
    videos = []
    for i, person in enumerate(PEOPLE):
        at = int(rng.integers(40, 240))
        events = [
            ("micro", CLASSES[i % 4], at, at + 5, at + 11),
            ("blink", "", 10, 14, 22),
            ("macro", "others", at - 30, at, at + 25),
        ]
        videos += [
            made_up_video(person, f"{person}_a", events, rng),
            made_up_video(person, f"{person}_b", [], rng),
        ]
    folds = protocols.folds(PEOPLE, 2, seed=0, validation_share=0.4)
    material = Material("toy", videos, folds, {}, {}, {}, 0)
    wanted = [OURS, REPAIRED, PUBLISHED, *fault]
    curves = {}
    for system in wanted:
        for fit in fits_of(system, "toy", folds, 0):
            fold = folds[fit.fold]
            spoken = [v for v in videos if v.subject in (*fold.validation, *fold.test)]
            curves[fit] = {("toy", v.subject, v.video): _nearly(v, fit, rng) for v in spoken}
    return replace(material, curves=curves)


def _nearly(video, fit, rng):
    curves, emotion = spotting.target_curves(video, "triangular")
    noisy = np.clip(0.1 + 0.7 * curves + rng.normal(0, 0.05, curves.shape), 0.001, 0.999)
    logits = 3 * np.eye(NEUTRAL + 1)[emotion] + rng.normal(0, 0.5, (len(video), NEUTRAL + 1))
    return Curves(
        (noisy[:, :1] if fit.windowed else noisy).astype(np.float32),
        logits.astype(np.float32),
        np.log(np.full(NEUTRAL + 1, 0.2)),
    )


@pytest.fixture(scope="module")
def material():
    return made_up_material()


def predict(*asked):
    return accepted_intervals(spotting_decoding.decode_system(*asked))


def truth_of(material):
    return spotting.annotated(material.videos)


def evaluation(material, predictions):
    """Of intervals that their systems stand by, of one training or of a list."""
    listed = {name: part if isinstance(part, list) else [part] for name, part in predictions.items()}
    return Evaluation(
        material, {name: [part.assign(kept=True) for part in parts] for name, parts in listed.items()}
    )


def counts_of(material, intervals):
    listed = intervals if isinstance(intervals, list) else [intervals]
    return tally(listed, truth_of(material), material.videos)


@given(st.integers(30, 400), st.integers(2, 30))
def test_stitching_puts_a_cut_signal_together_again(n, half):
    k = 2 * half
    signal = np.arange(max(n, k), dtype=float)
    starts = np.unique(np.append(np.arange(0, len(signal) - k + 1, half), len(signal) - k))
    windows = np.stack([signal[s : s + k] for s in starts])
    np.testing.assert_array_equal(spotting.stitch(windows, starts, len(signal)), signal)


def test_a_test_subject_changes_nothing_for_the_others(material):
    """Whatever one subject's events and curves are, the intervals of the others in its fold stay the same."""
    fold = material.folds[0]
    out = fold.test[0]
    others = fold.test[1:]
    rng = np.random.default_rng(5)

    def other(video):
        strange = [("micro", "surprise", 100, 120, 280)]
        return made_up_video(video.subject, video.video, strange, rng) if video.subject == out else video

    videos = [other(video) for video in material.videos]
    curves = {
        fit: {
            key: replace(curves, scores=rng.random(curves.scores.shape))
            if key[1] == out and fit.fold == 0
            else curves
            for key, curves in by_video.items()
        }
        for fit, by_video in material.curves.items()
    }
    changed = replace(material, videos=videos, curves=curves, folds=[fold])
    same = replace(material, folds=[fold])
    for system in (OURS, REPAIRED):
        before, after = predict(system, same), predict(system, changed)
        pd.testing.assert_frame_equal(
            before[before["subject"].isin(others)].reset_index(drop=True),
            after[after["subject"].isin(others)].reset_index(drop=True),
        )


def test_pooled_counts_give_the_strict_rule_s_scores(material):
    intervals, truth = predict(REPAIRED, material), truth_of(material)
    counts = counts_of(material, intervals)
    ours, theirs = pooled_scores(counts), metrics.strs(intervals, truth, emotions=SCORED)
    for name in ("spotting_f1", "recognition_f1", "strs"):
        assert ours[name][0] == pytest.approx(theirs[name])
    assert [counts.tp.sum(), counts.fp.sum(), counts.fn.sum()] == [theirs["tp"], theirs["fp"], theirs["fn"]]
    right = metrics.end_to_end(intervals, truth)
    assert ours["end_to_end_f1"][0] == pytest.approx(right["f1"])


def test_finding_nothing_scores_zero_and_stops_nothing(material):
    table = evaluation(material, {"ours": predict(OURS, material).head(0)}).systems([OURS])
    strict = table[table["rule"] == "strict"].iloc[0]
    assert strict["fn"] == len(truth_of(material))
    assert strict[["tp", "fp", "spotting_f1", "strs", "end_to_end_f1", "fp_per_hour"]].eq(0).all()


def trained(material, times):
    """Intervals of our system as several trainings would give them: each misses another share."""
    intervals = predict(OURS, material)
    return [intervals.iloc[k::2].reset_index(drop=True) if k else intervals for k in range(times)]


def test_equal_trainings_have_the_interval_of_one_and_unequal_ones_a_wider_one(material):
    one = predict(OURS, material)

    def interval(trainings):
        counts = counts_of(material, trainings)
        return np.percentile(
            pooled_scores(counts, subject_weights(counts["subject"]))["spotting_f1"], [2.5, 97.5]
        )

    np.testing.assert_allclose(interval([one, one, one]), interval([one]))
    assert np.ptp(interval([one, one.head(0)])) > np.ptp(interval([one]))


def test_the_table_has_a_row_a_training_and_one_over_all(material):
    table = evaluation(material, {"ours": trained(material, 3)}).systems([OURS])
    strict = table[table["rule"] == "strict"]
    assert strict["seed"].tolist()[:3] == [0, 1000, 2000]
    whole = strict.iloc[3]
    assert np.isnan(whole["seed"])
    assert whole["tp"] == strict["tp"].iloc[:3].sum()
    assert whole["spotting_f1_low"] <= whole["spotting_f1"] <= whole["spotting_f1_high"]
    assert results.over_seeds(strict, ["dataset", "system"])["seed"].isna().tolist() == [True]


def test_systems_are_tested_against_the_declared_reference_and_never_twice(material):
    judged = evaluation(material, {system.name: predict(system, material) for system in DECODED})
    table, family = (
        judged.differences(DECODED, "spotting_systems"),
        comparisons.declared()["spotting_systems"],
    )
    # Ours stands in spotting_claims, the reference is the reference.
    assert set(table["system"]) == {"chance", "motion"}
    assert set(table["metric"]) == set(family["metrics"])
    assert table["tests"].tolist() == [len(table)] * len(table)
    beside_ours = judged.differences(DECODED, "spotting_ablations")
    assert set(beside_ours["system"]) == {system.name for system in DECODED} - {"ours"}
    claims = judged.claims()
    assert claims.groupby("metric")["p_holm"].nunique().eq(1).all()
    assert claims["tests"].eq(3).all()


def test_each_part_stands_beside_what_another_seed_does_and_of_the_sham_nothing_is_claimed(material):
    """Made-up intervals: the sham lost every third, one arm lost all; recognition reads the fits of ours."""
    truth = truth_of(material).assign(score=1.0)
    systems = list(dict.fromkeys(itertools.chain(*PARTS.values())))
    predicted = {system.name: truth for system in systems}
    predicted |= {SHAM.name: truth.iloc[::3], "ours, separate": truth.head(0)}
    table = evaluation(material, predicted).parts(PARTS)
    sham = table[table["question"] == "sham"].set_index("metric")
    assert (
        sham["p"].isna().all()
        and (sham["family"] == "").all()
        and (sham["floor"] == -sham["difference"]).loc["spotting_f1"]
    )
    others = table[table["question"] != "sham"]
    assert others["p"].notna().all() and (others["family"] == "spotting_parts").all()
    same = others["question"].isin(
        ["recognition", "intensity"]
    )  # decoded from the same fits, but for the other paper's
    assert others.loc[same, "floor"].isna().all()
    np.testing.assert_allclose(others.loc[~same, "floor"], others.loc[~same, "metric"].map(sham["floor"]))
    f1 = table[table["metric"] == "spotting_f1"].set_index(["question", "system"])["difference"]
    assert (f1["sharing"] == 1).all() and (f1["recognition"] == 0).all()
    five = evaluation(material, {name: [part] * 5 for name, part in predicted.items()}).parts(PARTS)
    assert (five["seeds"] == 5).all()
    np.testing.assert_allclose(five["difference"], table["difference"])
    beside = evaluation(material, predicted).differences(
        spotting_runs.spotting_variants(full=False)[:2], "spotting_ablations"
    )
    assert beside["p"].isna().all() and (beside["floor"] == beside["difference"].abs()).all()


def test_the_arms_of_sharing_differ_in_the_body_or_in_neutral_alone_and_without_neutral_nothing_is_rejected(
    material,
):
    shared, ours, separate = PARTS["sharing"]
    assert ours == OURS and replace(shared, name=OURS.name, neutral=True) == OURS
    assert replace(separate, name=OURS.name, training="joint") == OURS
    options = unbegun("smoke").settings["spotting"]
    sham, base, none = (fits_of(system, "toy", material.folds, 0)[0] for system in (SHAM, OURS, shared))
    assert replace(sham, seed=base.seed) == base and sham.seed != base.seed
    assert len({fit.name for fit in (sham, base, none)}) == 3
    usual, weightless = (spotting.video_fit_settings(fit, options) for fit in (base, none))
    assert weightless == replace(usual, neutral_factor=0.0) and usual.neutral_factor == 6
    never = np.array([0.0, 0, 0, 0, -np.inf])  # of a class without weight the network was told nothing
    curves = {"micro": np.ones(9), "logits": np.eye(5)[[4] * 9] * 9, "log_prior": never}
    interval = pd.DataFrame({"onset": [1], "apex": [4], "offset": [7]})
    assert len(spotting_decoding.classify(shared, interval, curves)) == 1


def test_copies_of_the_videos_under_another_name_score_what_the_videos_score(material):
    copies = [replace(video, dataset="copies") for video in material.videos]
    curves = {
        fit: {**own, **{("copies", *place): curve for (_, *place), curve in own.items()}}
        for fit, own in material.curves.items()
    }
    both = replace(material, videos=[*material.videos, *copies], curves=curves)
    systems = [CHANCE, MOTION, REPAIRED, OURS]
    there = spotting_runs.transferred(systems, [both], jobs=1).set_index(["system", "rule"])
    read = evaluation(material, {s.name: predict(s, material) for s in systems if s != REPAIRED})
    home = read.systems([CHANCE, MOTION, OURS]).set_index(["system", "rule"])
    assert (there["dataset"] == "copies").all()
    pd.testing.assert_frame_equal(there.drop(columns=["dataset", "ap"]), home.drop(columns=["dataset", "ap"]))
    assert spotting_runs.transferred(systems, [material], jobs=1).empty


def test_every_fault_of_the_ledger_has_its_row_and_leaving_videos_out_never_lowers_the_score():
    faulty = spotting_runs.with_faults([OURS])
    whole = made_up_material(fault=faulty)
    judged = evaluation(whole, {s.name: predict(s, whole) for s in [OURS, *faulty]})
    table = judged.ledger(OURS).set_index("fault")
    assert list(table.index) == ["none", *FAULTS]
    assert table.loc["events_only", "inflation"] >= 0
    assert table.loc["dropped_subjects", "inflation"] >= 0
    assert table.loc["none", "inflation"] == 0


def test_effects_are_the_mean_over_the_other_parts(material):
    """A made-up factorial in which our decoder alone finds everything: its effect is 1, all others 0."""
    truth, systems = truth_of(material).assign(score=1.0), spotting_runs.factorial(full=False)
    predicted = {s.name: truth if s.decoder == "semi_markov" else truth.head(0) for s in systems}
    table = evaluation(material, predicted).effects(systems, spotting_runs.FACTORS)
    f1 = table[table["metric"] == "spotting_f1"].set_index("factor")["effect"]
    assert f1["decoder"] == 1
    assert (f1.drop("decoder") == 0).all()


def test_the_half_of_the_factorial_is_balanced():
    systems = spotting_runs.factorial(full=False)
    table = pd.DataFrame([[getattr(s, name) for name in spotting_runs.FACTORS] for s in systems])
    assert len(table) == len(spotting_runs.factorial()) / 2
    for one, other in itertools.combinations(table, 2):
        assert (pd.crosstab(table[one], table[other]) == len(table) / 4).all(axis=None)


def test_chance_comes_at_the_prior_s_rate():
    rng = np.random.default_rng(0)
    videos = [
        made_up_video(p, f"{p}_{i}", [("micro", "negative", 50, 55, 60)], rng)
        for p in PEOPLE
        for i in range(40)
    ]
    material = Material("toy", videos, protocols.folds(PEOPLE, 2, seed=0), {}, {}, {}, 0)
    assert len(predict(CHANCE, material)) == pytest.approx(len(videos), rel=0.15)


def test_a_fold_whose_validation_has_no_event_and_a_class_that_never_occurs_are_decoded():
    whole = made_up_material()
    quiet = {*whole.folds[0].validation}
    videos = [replace(v, events=v.events.head(0)) if v.subject in quiet else v for v in whole.videos]
    videos = [replace(v, events=v.events.replace({"emotion_class": {"positive": "others"}})) for v in videos]
    never = np.log(np.array([1, 0, 1, 1, 1]), where=np.array([1, 0, 1, 1, 1]) > 0, out=np.full(5, -np.inf))
    curves = {
        fit: {key: replace(c, log_prior=never) for key, c in by_video.items()}
        for fit, by_video in whole.curves.items()
    }
    intervals = predict(OURS, replace(whole, videos=videos, curves=curves))
    assert set(intervals["emotion"]) <= set(CLASSES) - {"positive"}


@pytest.mark.parametrize("faults", [(), ("published",), ("epoch_on_test",)])
def test_no_test_subject_reaches_a_fit_but_for_the_fault_that_says_so(monkeypatch, tmp_path, faults):
    material, subjects = made_up_material(), {}
    places = {v.motion[0, 0]: v.subject for v in material.videos} | {
        v.windows[0, 0, 0]: v.subject for v in material.videos
    }

    def recorded(settings, train, validation, seed, donors=(), **_):
        for part, read in (("train", [*train, *donors]), ("validation", validation)):
            subjects[part] = {places[s.x[0, 0]] for s in read if s.x[0, 0] in places}
        raise ValueError("recorded")

    monkeypatch.setattr(learn.videos, "fit_regressor", recorded)
    options = unbegun("smoke").settings["spotting"]
    long = spotting.Long(None, material.videos, [], material.videos, material.folds)
    for base in (OURS, REPAIRED):
        for fit in fits_of(replace(base, faults=faults), "toy", material.folds, 0):
            with pytest.raises(ValueError, match="recorded"):
                spotting._run_fit(tmp_path, fit, options, long)
            test = {*material.folds[fit.fold].test}
            assert subjects["train"]
            assert not subjects["train"] & test
            assert bool(subjects["validation"] & test) == ("epoch_on_test" in faults)


def test_long_licensed_videos_are_tested_one_subject_at_a_time(monkeypatch, tmp_path):
    videos = pd.DataFrame({"subject": PEOPLE * 2, "video": [f"v{i}" for i in range(16)]})
    study = types.SimpleNamespace(name="toy", videos=videos, truth=None)
    monkeypatch.setattr("melib.study.spotting.long_studies", lambda *_, **__: [study])
    monkeypatch.setattr(spotting, "prepare_videos", lambda *_, **__: [])
    (long,) = spotting.open_long(unbegun("paper", tmp_path, data={"toy": "/toy"}))
    assert [fold.test for fold in long.folds] == [(person,) for person in PEOPLE]
    assert all(fold.validation for fold in long.folds)
    smoke = unbegun("smoke", tmp_path, data={"toy": "/toy"})
    (long,) = spotting.open_long(smoke)
    assert len(long.folds) == smoke.settings["folds"]


def test_events_without_an_emotion_are_not_recognised_and_a_data_set_without_any_is_named(material):
    def without(some):
        blank = lambda v: v.events.assign(emotion_class="") if v.subject in some else v.events  # noqa: E731
        return replace(material, videos=[replace(v, events=blank(v)) for v in material.videos])

    def long(material):
        study = types.SimpleNamespace(name="toy")
        return spotting.Long(study, material.videos, [], [], material.folds)

    half = without(PEOPLE[:4])
    table = recognition_table([OURS], half)
    assert set(table["events"]) == {4}
    for rate in ("uf1", "uar", "accuracy"):
        assert (table[f"{rate}_low"] <= table[rate]).all() and (table[rate] <= table[f"{rate}_high"]).all()
    assert recognition_table([OURS], without(PEOPLE)).empty
    assert spotting.without_emotions([long(half), long(without(PEOPLE))]) == ["toy"]
    assert spotting.without_emotions([long(material)]) == []


def test_the_hard_target_is_one_strictly_between_onset_and_offset(material):
    video = material.videos[0]
    event = video.events_of("micro").iloc[0]
    curves, emotion = spotting.target_curves(video, "hard")
    inside = np.zeros(len(video), bool)
    inside[int(event.onset) + 1 : int(event.offset)] = True
    np.testing.assert_array_equal(curves[:, 0], inside)
    np.testing.assert_array_equal(emotion != NEUTRAL, inside)


def test_a_fold_without_an_event_to_train_on_is_refused_before_any_fit(monkeypatch):
    material = made_up_material()
    videos = [
        replace(v, events=v.events.head(0)) if v.subject in material.folds[0].train else v
        for v in material.videos
    ]
    long = spotting.Long(None, videos, [], [], material.folds)
    monkeypatch.setattr(spotting, "run_fits", lambda *_, **__: pytest.fail("a fit was started"))
    with pytest.raises(DataError, match="larger training fold"):
        spotting_runs.gather([OURS], unbegun("smoke"), long)

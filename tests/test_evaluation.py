"""Laws of the result tables, on a made-up experiment whose answer is known: no image, no training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import unbegun

from melib import controls, priors, protocols
from melib.paper import figures
from melib.study import evaluation, intensity, results

T = 32
PEOPLE = [f"{i:03d}" for i in range(12)]
MODELS = (("resnet18_bigru", "flow"), ("resnet18_bigru", "raw"), ("constant_frame", "raw"))


@pytest.fixture(scope="module")
def prepared():
    rng = np.random.default_rng(5)
    rows, marks = [], []
    for subject in PEOPLE:
        for video in ("v0", "v1", "v2"):
            onset = rng.uniform(1, 17)
            offset = onset + rng.uniform(7, 13)
            marks.append((onset, onset + (offset - onset) * rng.uniform(0.25, 0.75), offset))
            rows.append((subject, video, video, True))
        rows.append((subject, "quiet", "", False))
        marks.append((np.nan,) * 3)
    table = pd.DataFrame(rows, columns=["subject", "video", "event", "complete"])
    table = table.assign(dataset="made_up", protocol="context", window=0, truncated=False)
    marks = np.array(marks)
    empty = np.isnan(marks[:, 0])
    pseudo, truth = np.zeros((2, len(table), T), np.float32)
    for i in np.flatnonzero(~empty):
        pseudo[i] = priors.triangular(*marks[i], T)
        truth[i] = priors.raised_cosine(*marks[i], T)
    peak = np.where(empty, np.nan, rng.uniform(0.3, 2.0, len(table)))
    noise = rng.normal(0, 0.05, truth.shape).astype(np.float32)
    return intensity.Prepared(
        dataset="made_up",
        protocol="context",
        fps=200.0,
        table=table,
        positions=np.tile(np.arange(T) * 5.0, (len(table), 1)),
        mask=np.ones(truth.shape, bool),
        pseudo=pseudo,
        truth=truth,
        inside=truth > 0,
        peak_px=peak,
        annotated=marks,
        true=marks,
        magnitude=(np.nan_to_num(peak)[:, None] * truth + noise + 0.2).astype(np.float32),
        reference=np.zeros(len(table), int),
        entries=[("", 0)] * len(table),
        cache=Path("."),
        calmest=np.zeros(len(table), int),
        calmest_magnitude=np.ones(truth.shape, np.float32),
    )


@pytest.fixture(scope="module")
def folds():
    return protocols.folds(PEOPLE, 2, seed=0)


@pytest.fixture(scope="module")
def records(prepared, folds):
    """One network that sees, one that knows position only, one that sees nothing."""
    rng = np.random.default_rng(6)
    subject = prepared.table["subject"]
    out = {}
    for fold in folds:
        rows = np.flatnonzero(subject.isin(fold.test))
        mean = np.tile(prepared.pseudo.mean(0), (len(rows), 1))
        # Not the truth itself: late by half a sample, bent, smoothed, noisy, and weak where little moves.
        late = (prepared.truth[rows] + np.roll(prepared.truth[rows], 1, axis=1)) / 2
        gain = np.clip(0.5 + 0.4 * np.nan_to_num(prepared.peak_px[rows]), 0.5, 1)[:, None]
        curve = gain * late**0.8 + rng.normal(0, 0.02, (len(rows), T))
        curve = curve.clip(0, 1).astype(np.float32)
        for model, used in MODELS:
            sees = used == "flow"
            slope = np.where(prepared.complete()[rows], 0.92 * sees, np.nan)
            job = intensity.Job("made_up", "context", model, used, fold.index, 0)
            out[job] = {
                "rows": rows,
                "curve": curve if sees else mean,
                "shuffled": mean,
                "frozen": mean if not sees else np.full_like(mean, 0.1),
                "slope": slope,
            }
    return out


@pytest.fixture(scope="module")
def tables(prepared, folds, records, tmp_path_factory):
    outcome = intensity.Outcome([prepared], {}, {"made_up": folds}, {"made_up": records}, 0)
    run = unbegun("smoke", tmp_path_factory.mktemp("run"))
    return evaluation.evaluate_intensity(outcome, run), outcome, run


def per_event(tables):
    table = tables[0]["intensity"]
    return table[table["event"] != ""]


def mean_of(tables, model, used, metric):
    rows = per_event(tables)
    return rows[(rows["model"] == model) & (rows["input"] == used) & (rows["metric"] == metric)][
        "value"
    ].mean()


def test_every_event_is_scored_once_by_every_model_and_control(tables):
    rows = per_event(tables)
    assert not rows.duplicated(["model", "input", "seed", "subject", "event", "metric"]).any()
    assert set(rows.groupby(["model", "input", "metric"]).size()) == {3 * len(PEOPLE)}
    assert {"position_only", "oracle_interval", "flow_magnitude", "shuffled_frames", "frozen_clip"} <= set(
        rows["model"]
    )


def test_the_truth_scores_one_against_itself(tables):
    for metric in ("spearman_true", "inside_spearman_true", "inside_auc_true", "ccc_true"):
        assert mean_of(tables, "truth", "none", metric) == pytest.approx(1, abs=0.03)
    assert (
        mean_of(tables, "truth", "none", "apex_error_ms") < 25 / 4
    )  # uneven peaks between samples 25 ms apart


def test_a_model_that_sees_beats_every_control_inside_the_event_and_one_that_knows_position_does_not(tables):
    sees = mean_of(tables, "resnet18_bigru", "flow", "inside_spearman_true")
    for control in ("position_only", "oracle_interval"):
        assert sees > mean_of(tables, control, "none", "inside_spearman_true")
    blind = mean_of(tables, "resnet18_bigru", "raw", "spearman_true")
    assert blind == pytest.approx(mean_of(tables, "position_only", "none", "spearman_true"), abs=0.1)


def test_the_face_card_tells_the_one_that_sees_from_the_one_that_knows_position(tables):
    card = tables[0]["face_card"].set_index(["model", "input", "quantity"])["estimate"]
    assert card[("resnet18_bigru", "flow", "clip_swap")] > 0.2
    assert card[("resnet18_bigru", "raw", "clip_swap")] == pytest.approx(0, abs=1e-6)
    assert card[("resnet18_bigru", "flow", "apex_follow")] == pytest.approx(0.92)
    assert card[("position_only", "none", "apex_follow")] == 0
    assert card[("flow_magnitude", "flow", "apex_follow")] == pytest.approx(1, abs=0.25)
    assert card[("resnet18_bigru", "raw", "frozen_correlation")] == 1
    assert card[("resnet18_bigru", "flow", "frozen_correlation")] == 0


def test_apex_follow_falls_where_labels_err_for_who_sees_and_stays_at_nothing_for_who_does_not(prepared):
    rng, rows = np.random.default_rng(0), prepared.first_complete()
    truth, apex = prepared.truth[rows], prepared.annotated[rows, 1]
    people, shifts = prepared.table["subject"].to_numpy()[rows], np.asarray(intensity.SHIFTS) * T
    slopes = []
    for error in (0.0, 0.05, 0.1):  # standard deviation of the annotated apex, share of the window
        annotated = apex + T * error * rng.standard_normal(apex.shape)
        slopes.append(controls.apex_follow(lambda x: x, truth, annotated, shifts, people)["slope"])
        blind = controls.apex_follow(np.ones_like, truth, annotated, shifts, people)
        assert blind["slope"] == 0
    assert slopes[0] == pytest.approx(1, abs=0.1) and slopes[0] > slopes[1] > slopes[2] > 0.3


def test_claims_hold_for_the_model_that_sees(tables):
    claims = tables[0]["claims"].set_index("claim")
    assert claims["holds"].drop("inside_spearman_true over flow_magnitude").all()
    assert (claims["low"] <= claims["estimate"]).all()
    assert (claims["estimate"] <= claims["high"]).all()


def test_claims_fail_for_a_model_that_knows_position(prepared, folds, records, tmp_path):
    blind = {
        job: record
        if job.input == "raw"
        else record | {"curve": record["shuffled"], "slope": record["slope"] * 0}
        for job, record in records.items()
    }
    outcome = intensity.Outcome([prepared], {}, {"made_up": folds}, {"made_up": blind}, 0)
    assert not evaluation.evaluate_intensity(outcome, unbegun("smoke", tmp_path))["claims"]["holds"].any()


def test_a_second_training_is_crossed_in_the_face_card_and_one_alone_is_as_it_was(
    prepared, folds, records, tables, tmp_path
):
    again = {replace(job, seed=job.seed + 1000): record for job, record in records.items()}
    outcome = intensity.Outcome([prepared], {}, {"made_up": folds}, {"made_up": records | again}, 0)
    both = evaluation.evaluate_intensity(outcome, unbegun("smoke", tmp_path))
    alone, card = tables[0]["face_card"], both["face_card"]
    assert alone["seed"].notna().all()
    pd.testing.assert_frame_equal(results.over_seeds(alone), alone)
    keys = ["model", "input", "quantity"]
    crossed = card[card["seed"].isna()].set_index(keys)
    plain = alone.set_index(keys).loc[crossed.index]
    assert set(crossed.index.unique("model")) == {"resnet18_bigru", "constant_frame"}
    # Two equal trainings say what one says.
    for name in ("estimate", "low", "high", "clips", "subjects"):
        np.testing.assert_allclose(crossed[name].to_numpy(float), plain[name].to_numpy(float))
    np.testing.assert_allclose(
        both["claims"][["estimate", "low", "high"]], tables[0]["claims"][["estimate", "low", "high"]]
    )
    assert len(results.over_seeds(card)) == len(alone)


def test_the_truth_s_own_apex_follow_is_the_ceiling_and_nine_tenths_of_it_are_asked(tables):
    by_name, outcome, _ = tables
    (ceiling,) = by_name["face_card"]["ceiling"].dropna().unique()
    assert ceiling == pytest.approx(1, abs=0.1)  # here the annotated apexes are the true ones
    row = by_name["claims"].set_index("claim").loc["apex_follow"]
    assert row["ceiling"] == ceiling and f"{0.9 * ceiling:.2f}" in row["needed"]
    of_truth = by_name["ceilings"].query("ceiling == 'truth' and metric == 'apex_follow'")["estimate"]
    assert of_truth.tolist() == [ceiling]
    large = by_name["claims"].set_index("claim").loc["inside_spearman_true"]
    assert large["labels"] > 0.99 and 0.8 < large["magnitude"] < 1
    unknown = replace(outcome.prepared[0], **dict.fromkeys(("truth", "inside", "peak_px", "true")))
    folds, records = outcome.folds["made_up"], outcome.records["made_up"]
    curves = evaluation.window_curves(unknown, records, folds)
    _, card = evaluation.over_clips(unknown, curves, records, folds)
    assert card["ceiling"].isna().all()


def test_tested_one_subject_at_a_time_position_alone_never_seems_to_see(prepared):
    subjects = prepared.table["subject"].to_numpy()
    alone, number = np.empty_like(prepared.pseudo), np.unique(subjects, return_inverse=True)[1]
    for person in np.unique(subjects):
        own = subjects == person
        alone[own] = controls.position_only(prepared.pseudo[~own], int(own.sum()))
    swapped = evaluation.swaps_within_folds(alone, prepared.pseudo, subjects, number)
    assert -0.1 < np.nanmean(swapped) <= 0
    of_one_fold = evaluation.swaps_within_folds(
        alone[:1].repeat(len(alone), 0), prepared.pseudo, subjects, number % 2
    )
    np.testing.assert_array_equal(of_one_fold[np.isfinite(of_one_fold)], 0)


def test_the_same_predictions_give_the_same_bytes(tables, tmp_path):
    _, outcome, run = tables
    evaluation.evaluate_intensity(outcome, unbegun("smoke", tmp_path))
    for file in sorted((run.folder / "results").iterdir()):
        assert file.read_bytes() == (tmp_path / "results" / file.name).read_bytes()


def test_controls_never_see_their_own_subject(prepared, folds):
    """A test subject whose labels turn upside down changes no prediction made for itself."""
    spoilt = prepared.pseudo.copy()
    own = (prepared.table["subject"] == PEOPLE[0]).to_numpy()
    spoilt[own] = 1 - spoilt[own]
    before = evaluation.window_curves(prepared, {}, folds)
    after = evaluation.window_curves(replace(prepared, pseudo=spoilt), {}, folds)
    for name in (("position_only", "none", 0), ("oracle_interval", "none", 0), ("flow_magnitude", "flow", 0)):
        np.testing.assert_array_equal(before[name][own], after[name][own])


@pytest.fixture(scope="module")
def licensed(prepared, folds, records):
    """The same windows as of a licensed data set that is cut from onset to offset: no truth, no context."""
    whole = np.flatnonzero(prepared.complete())
    place = {row: i for i, row in enumerate(whole)}
    cut = replace(
        prepared,
        dataset="samm",
        protocol="paper",
        table=prepared.table.iloc[whole].assign(dataset="samm", protocol="paper").reset_index(drop=True),
        **{
            name: getattr(prepared, name)[whole]
            for name in ("positions", "mask", "pseudo", "annotated", "magnitude")
        },
        **dict.fromkeys(("truth", "inside", "peak_px", "true")),
        reference=prepared.reference[whole],
        entries=[("", 0)] * len(whole),
    )
    by_job = {}
    for job, record in records.items():
        keep = np.isin(record["rows"], whole)
        rows = np.array([place[row] for row in record["rows"][keep]])
        parts = {name: value[keep] for name, value in record.items() if name != "rows"}
        by_job[replace(job, dataset="samm", protocol="paper")] = parts | {"rows": rows}
    return intensity.Outcome([cut], {}, {"samm": folds}, {"samm": by_job}, 0)


@pytest.fixture(scope="module")
def licensed_tables(licensed, tmp_path_factory):
    run = unbegun("smoke", tmp_path_factory.mktemp("licensed"))
    return run, evaluation.evaluate_intensity(licensed, run)


def test_data_without_truth_and_without_context_are_evaluated_and_called_not_testable(licensed_tables):
    run, by_name = licensed_tables
    assert set(by_name["intensity"]["protocol"]) == {"paper"}
    assert by_name["claims"].empty and by_name["transfer_loss"].empty
    assert len(by_name["ceilings"]) and len(by_name["curves_paper"])
    assert len(figures.draw_all(run.folder)) >= 2
    verdicts = by_name["untestable"][["dataset", "protocol", "verdict"]].to_numpy().tolist()
    assert verdicts == [["samm", "context", "not testable"]]


def test_a_protocol_that_the_profile_has_no_windows_of_was_not_asked(prepared, licensed):
    assert evaluation.untestable([prepared], unbegun("smoke")).empty
    (row,) = evaluation.untestable(licensed.prepared, unbegun("published")).to_dict("records")
    assert row["verdict"] == "not asked" and "published" in row["reason"]

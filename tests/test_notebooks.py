"""Every notebook at profile smoke, executed by the runner as a user would, and what it must leave behind."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from test_plan import one_of_everything

from melib.app import plan, predictor_training, predictor_weights, runner
from melib.paper import report
from melib.study import results, spotting_tables

# A whole run, where the machine is slow or shared.
pytestmark = [pytest.mark.notebook, pytest.mark.timeout(1500)]
NAMES = [path.stem for path in runner.find_notebooks()]


def test_every_notebook_reaches_its_end_and_leaves_what_it_declares(smoke_run):
    for name in NAMES:
        executed = json.loads((smoke_run / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
        for output in executed["metadata"]["melib"]["outputs"]:
            assert (smoke_run / output).stat().st_size > 0, f"{name}: {output}"
        page = (smoke_run / "html" / f"{name}.html").read_text(encoding="utf-8")
        written = "".join("".join(c["source"]) for c in executed["cells"] if c["cell_type"] == "markdown")
        assert page.count("<math") >= len(re.findall(r"(?<!\$)(\$\$?)[^$]+\1", written)), (
            f"{name}: an equation isn't drawn"
        )


def test_the_results_hold_both_protocols_and_every_control(smoke_run):
    table = results.read_result(smoke_run / "results" / "intensity.csv")
    names = "dataset protocol model input fold seed subject event peak_px metric value"
    assert list(table.columns) == names.split()
    controls = {"position_only", "oracle_interval", "constant_frame", "flow_magnitude"}
    controls |= {"shuffled_frames", "frozen_clip"}
    for protocol in ("paper", "context"):
        part = table[table["protocol"] == protocol]
        assert controls | {"framewise", "resnet18_bigru"} <= set(part["model"])
        tested = part[part["subject"] != ""].groupby(["model", "input"])["subject"].nunique()
        assert (tested == tested.iloc[0]).all()
        assert {"clip_swap", "apex_follow", "amplitude_spearman", "frozen_correlation"} <= set(part["metric"])
    ours = table[(table["subject"] != "") & (table["model"] == "resnet18_bigru")]
    folds = ours.groupby(["protocol", "input", "subject"])["fold"].nunique()
    assert (folds == 1).all(), "a subject was tested by two models, of which one was trained on it"


def test_what_was_fitted_is_what_is_planned_and_a_finished_run_plans_nothing(
    smoke_run, tmp_path, monkeypatch
):
    monkeypatch.setattr(plan, "measure", lambda *_: one_of_everything())
    table = plan.plan_run("smoke", root=tmp_path)
    assert table["fits"].sum() == len([*(smoke_run / "fits").glob("[!.]*/record.json")])
    written = [path.parent for path in (smoke_run / "data").glob("*/frames/*/*")]
    assert table["videos"].sum() == len(written)
    assert not plan.plan_run("smoke", root=smoke_run.parent).set_index("notebook").to_numpy(float).any()


def test_a_second_call_repeats_nothing(smoke_run):
    before = {path: path.stat().st_mtime_ns for path in (smoke_run / "results").iterdir()}
    runner.run_notebooks("smoke", root=smoke_run.parent)
    assert {path: path.stat().st_mtime_ns for path in (smoke_run / "results").iterdir()} == before


def test_the_report_names_every_notebook_and_shows_every_figure(smoke_run):
    page = report.build(smoke_run).read_text(encoding="utf-8")
    for name in NAMES:
        assert f"{name}.html" in page
    for picture in (smoke_run / "figures").glob("*.png"):
        assert Path(picture).name in page


def test_spotting_stands_beside_its_controls_under_three_rules(smoke_run):
    table = pd.read_csv(smoke_run / "results" / "spotting.csv")
    assert set(spotting_tables.COLUMNS) <= set(table)
    assert {"chance", "motion", "reference, published", "reference, repaired", "ours"} <= set(table["system"])
    assert (table.groupby("system")["rule"].apply(set) == {"strict", "megc", "boosting"}).all()
    strict = table[table["rule"] == "strict"]
    assert len(set(strict["tp"] + strict["fn"])) == 1
    exported = sorted((smoke_run / "results" / "challenge").glob("*.csv"))
    assert len(exported) >= 5
    for path in exported:
        assert list(pd.read_csv(path, nrows=1)) == ["subject", "video", "onset", "offset", "emotion"]


@pytest.mark.long
def test_a_run_is_trained_further_on_more_videos_and_judged_on_people_it_never_saw(own_run):
    """What `make predictor` does, on a few seconds of video."""
    before = (own_run / "predictor" / "predictor.json").read_bytes()
    more = {"videos": 1, "seconds": (6, 8)}
    peaks = {"name": "more_peaks", "seed": 200, "peaks": (0.1, 2.5), **more}
    quiet = {"name": "quiet", "seed": 300, "kinds": ("talking", "smiling"), "seconds": 4, "fps": 25}
    budget = predictor_training.Budget(
        films=1,
        videos=(peaks,),
        quiet=(quiet,),
        stills={"noises": (1,), "seconds": 3},
        epochs=1,
        fit={},
    )
    place = predictor_training.train(own_run, budget)
    weights = predictor_weights.load_weights(place)
    assert weights.spotting.settings.epochs == 1
    assert weights.card["data"] == ["synthme", "synthme_lv", "more_peaks", "quiet"]
    assert all(0 <= weights.card[part]["precision"] <= 1 for part in ("spotting", "films"))
    # Half of six people are tested, each in a video made to hold some movements of known size.
    assert sum(row["events"] for row in weights.card["recall"]) >= 3 * 2
    assert weights.card["stills"]["films"] == 3
    assert list(weights.card["controls"]) == ["motion", "chance"]
    for scored in (weights.card, *weights.card["controls"].values()):
        events = [row["events"] for row in scored["recall"]]
        assert events == [row["events"] for row in weights.card["recall"]]
        films = scored["films"]
        assert [(row["kind"], row["films"]) for row in scored["kinds"]] == [("talking", 3), ("smiling", 3)]
        assert all(row["per_hour_low"] <= row["per_hour"] <= row["per_hour_high"] for row in scored["kinds"])
        assert films["recall"] == pytest.approx(sum(row["found"] for row in scored["recall"]) / sum(events))
        assert all(
            films[f"{name}_low"] <= films[name] <= films[f"{name}_high"] for name in ("precision", "recall")
        )
    assert "in compressed video files" in predictor_weights.card_in_words(weights.card)
    assert "without any: talking" in predictor_weights.card_in_words(weights.card)
    assert (own_run / "predictor" / "predictor.json").read_bytes() == before

    written = {file: file.read_bytes() for file in place.rglob("*") if file.is_file()}
    films = {file: file.stat().st_mtime_ns for file in (own_run / "data").rglob("*.mp4")}
    predictor_training.train(own_run, budget)
    assert {file: file.read_bytes() for file in written} == written
    assert {file: file.stat().st_mtime_ns for file in films} == films

"""Every notebook at profile smoke, executed by the runner as a user would, and what it must leave behind."""

import json
import re
import subprocess
import sys
from contextlib import ExitStack
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return runner.run_notebooks("smoke", root=tmp_path_factory.mktemp("runs"))


def test_every_notebook_reaches_its_end_and_leaves_what_it_declares(folder):
    for name in NAMES:
        executed = json.loads((folder / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
        for output in executed["metadata"]["melib"]["outputs"]:
            assert (folder / output).stat().st_size > 0, f"{name}: {output}"
        page = (folder / "html" / f"{name}.html").read_text(encoding="utf-8")
        written = "".join("".join(c["source"]) for c in executed["cells"] if c["cell_type"] == "markdown")
        assert page.count("<math") >= len(re.findall(r"(?<!\$)(\$\$?)[^$]+\1", written)), (
            f"{name}: an equation isn't drawn"
        )


def test_the_results_hold_both_protocols_and_every_control(folder):
    table = results.read_result(folder / "results" / "intensity.csv")
    names = [
        "dataset",
        "protocol",
        "model",
        "input",
        "fold",
        "seed",
        "subject",
        "event",
        "peak_px",
        "metric",
        "value",
    ]
    assert list(table.columns) == names
    controls = {
        "position_only",
        "oracle_interval",
        "constant_frame",
        "shuffled_frames",
        "frozen_clip",
        "flow_magnitude",
    }
    for protocol in ("paper", "context"):
        part = table[table["protocol"] == protocol]
        assert controls | {"framewise", "resnet18_bigru"} <= set(part["model"])
        tested = part[part["subject"] != ""].groupby(["model", "input"])["subject"].nunique()
        assert (tested == tested.iloc[0]).all()
        assert {"clip_swap", "apex_follow", "amplitude_spearman", "frozen_correlation"} <= set(part["metric"])


def test_what_was_fitted_is_what_is_planned_and_a_finished_run_plans_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "measure", lambda *_: one_of_everything())
    table = plan.plan_run("smoke", root=tmp_path)
    assert table["fits"].sum() == len([*(folder / "fits").glob("[!.]*/record.json")])
    written = [path.parent for path in (folder / "data").glob("*/frames/*/*")]
    assert table["videos"].sum() == len(written)
    assert not plan.plan_run("smoke", root=folder.parent).set_index("notebook").to_numpy(float).any()


def test_a_second_call_repeats_nothing(folder):
    before = {path: path.stat().st_mtime_ns for path in (folder / "results").iterdir()}
    runner.run_notebooks("smoke", root=folder.parent)
    assert {path: path.stat().st_mtime_ns for path in (folder / "results").iterdir()} == before


@pytest.mark.long
def test_the_same_seed_gives_the_same_bytes_in_another_folder(tmp_path):
    """Two runs beside each other, as from two terminals."""
    command = [sys.executable, "-m", "melib", "run", "--profile", "smoke"]
    with ExitStack() as stack:
        runs = {}
        for name in ("one", "another"):
            (tmp_path / name).mkdir()
            said = stack.enter_context((tmp_path / f"{name}.txt").open("w"))
            run = subprocess.Popen(command, cwd=tmp_path / name, stdout=said, stderr=said)
            stack.callback(run.kill)
            runs[name] = run
        for name, run in runs.items():
            assert run.wait() == 0, (tmp_path / f"{name}.txt").read_text()
    one, another = (tmp_path / name / "runs" / "smoke" / "results" for name in runs)
    tables = [path.relative_to(one) for path in one.rglob("*.csv")]
    assert {Path(f"{name}.csv") for name in ("intensity", "spotting", "limits")} <= set(tables)
    for table in tables:
        assert (another / table).read_bytes() == (one / table).read_bytes(), table


def test_the_report_names_every_notebook_and_shows_every_figure(folder):
    page = report.build(folder).read_text(encoding="utf-8")
    for name in NAMES:
        assert f"{name}.html" in page
    for picture in (folder / "figures").glob("*.png"):
        assert Path(picture).name in page


def test_no_subject_is_tested_by_a_model_that_was_trained_on_it(folder):
    table = results.read_result(folder / "results" / "intensity.csv")
    rows = table[(table["subject"] != "") & (table["model"] == "resnet18_bigru")]
    assert len(rows[["protocol", "input", "subject", "fold"]].drop_duplicates()) == len(
        rows[["protocol", "input", "subject"]].drop_duplicates()
    )
    assert pd.notna(rows["value"]).any()


def test_spotting_stands_beside_its_controls_under_three_rules(folder):
    table = pd.read_csv(folder / "results" / "spotting.csv")
    assert set(spotting_tables.COLUMNS) <= set(table)
    assert {"chance", "motion", "reference, published", "reference, repaired", "ours"} <= set(table["system"])
    assert (table.groupby("system")["rule"].apply(set) == {"strict", "megc", "boosting"}).all()
    strict = table[table["rule"] == "strict"]
    assert len(set(strict["tp"] + strict["fn"])) == 1


def test_every_system_leaves_a_challenge_file_in_the_data_set_s_own_frames(folder):
    exported = sorted((folder / "results" / "challenge").glob("*.csv"))
    assert len(exported) >= 5
    for path in exported:
        assert list(pd.read_csv(path, nrows=1)) == ["subject", "video", "onset", "offset", "emotion"]


def test_a_run_is_trained_further_on_more_videos_and_judged_on_people_it_never_saw(folder):
    """What `make predictor` does, on a few seconds of video."""
    before = (folder / "predictor" / "predictor.json").read_bytes()
    more = {"videos": 1, "seconds": (6, 8)}
    peaks = {"name": "more_peaks", "seed": 200, "peaks": (0.1, 2.5), **more}
    budget = predictor_training.Budget(
        videos=({"name": "more_lv", "seed": 100, **more}, peaks),
        stills={"noises": (1,), "seconds": 3},
        epochs=1,
        fit={},
    )
    place = predictor_training.train(folder, budget)
    weights = predictor_weights.load_weights(place)
    assert weights.spotting.settings.epochs == 1
    assert weights.card["data"] == ["synthme", "synthme_lv", "more_lv", "more_peaks"]
    assert all(0 <= weights.card[part]["precision"] <= 1 for part in ("spotting", "films"))
    # Half of six people are tested, each in a video made to hold some movements of known size.
    assert sum(row["events"] for row in weights.card["recall"]) >= 3 * 2
    assert weights.card["stills"]["films"] == 3
    assert list(weights.card["controls"]) == ["motion", "chance"]
    for scored in (weights.card, *weights.card["controls"].values()):
        events = [row["events"] for row in scored["recall"]]
        assert events == [row["events"] for row in weights.card["recall"]]
        films = scored["films"]
        assert films["recall"] == pytest.approx(sum(row["found"] for row in scored["recall"]) / sum(events))
        assert all(
            films[f"{name}_low"] <= films[name] <= films[f"{name}_high"] for name in ("precision", "recall")
        )
    assert "in compressed video files" in predictor_weights.card_in_words(weights.card)
    assert (folder / "predictor" / "predictor.json").read_bytes() == before

    written = {file: file.read_bytes() for file in place.rglob("*") if file.is_file()}
    films = {file: file.stat().st_mtime_ns for file in (folder / "data").rglob("*.mp4")}
    predictor_training.train(folder, budget)
    assert {file: file.read_bytes() for file in written} == written
    assert {file: file.stat().st_mtime_ns for file in films} == films

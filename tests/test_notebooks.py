"""Every notebook at profile smoke, executed by the runner as a user would, and what it must leave behind."""

import json
from pathlib import Path

import pandas as pd
import pytest

from melib import figures, notebooks, report, spotting_tables

# A whole run, where the machine is slow or shared.
pytestmark = [pytest.mark.notebook, pytest.mark.timeout(1500)]
NAMES = [path.stem for path in notebooks.find()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return notebooks.run("smoke", root=tmp_path_factory.mktemp("runs"))


def test_every_notebook_reaches_its_end_and_leaves_what_it_declares(folder):
    for name in NAMES:
        executed = json.loads((folder / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
        for output in executed["metadata"]["melib"]["outputs"]:
            assert (folder / output).stat().st_size > 0, f"{name}: {output}"
        assert (folder / "html" / f"{name}.html").is_file()


def test_the_results_hold_both_protocols_and_every_control(folder):
    table = figures.read(folder / "results" / "intensity.csv")
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


def test_a_second_call_repeats_nothing(folder):
    before = {path: path.stat().st_mtime_ns for path in (folder / "results").iterdir()}
    notebooks.run("smoke", root=folder.parent)
    assert {path: path.stat().st_mtime_ns for path in (folder / "results").iterdir()} == before


@pytest.mark.long
def test_the_same_seed_gives_the_same_bytes_in_another_folder(folder, tmp_path):
    again = notebooks.run("smoke", root=tmp_path)
    for path in (folder / "results").rglob("*.csv"):
        other = again / path.relative_to(folder)
        assert other.read_bytes() == path.read_bytes(), path.name


def test_the_report_names_every_notebook_and_shows_every_figure(folder):
    page = report.build(folder).read_text(encoding="utf-8")
    for name in NAMES:
        assert f"{name}.html" in page
    for picture in (folder / "figures").glob("*.png"):
        assert Path(picture).name in page


def test_no_subject_is_tested_by_a_model_that_was_trained_on_it(folder):
    table = figures.read(folder / "results" / "intensity.csv")
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

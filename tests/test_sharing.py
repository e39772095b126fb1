"""What a lab publishes of a run tells its numbers and nobody's name; labs stand side by side as measured."""

import json

import pandas as pd
import pytest
from made_up import a_run
from test_cli import melib

from melib import DataError
from melib.app import sharing
from melib.study import results


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = a_run(tmp_path_factory.mktemp("runs") / "mine")
    (folder / "configuration.yml").write_text("{code: abc, settings: {}}")
    (folder / "environment.json").write_text(json.dumps({"commit": "abc", "device": "one", "packages": {}}))
    return folder


@pytest.fixture(scope="module")
def shared(run, tmp_path_factory):
    return sharing.share(run, tmp_path_factory.mktemp("shared") / "ours")


def test_nothing_shared_names_a_subject_an_event_or_a_folder(run, shared):
    intensity = results.read_result(run / "results" / "intensity.csv")
    names = set(intensity["subject"]) | set(intensity["event"]) - {""}
    texts = {path.name: path.read_text(encoding="utf-8") for path in shared.iterdir()}
    assert set(texts) >= {"record.json", "README.md", "scores.csv"}
    for file, text in texts.items():
        assert str(run.parent) not in text, file
        cells = {cell for line in text.splitlines() for cell in line.split(",")}
        assert not cells & (names - {""}), file
    assert {path.suffix for path in shared.iterdir()} == {".csv", ".json", ".md"}


def test_pseudonyms_stay_the_same_and_are_drawn_anew_for_another_run(run, shared, tmp_path):
    again = sharing.share(run, tmp_path / "again")
    assert (again / "scores.csv").read_bytes() == (shared / "scores.csv").read_bytes()
    file = run / sharing.PSEUDONYMS
    assert file.stat().st_mode & 0o077 == 0
    orders = {file.read_text()}
    for _ in range(3):  # of 8 subjects the same order comes up once in 40,320
        file.unlink()
        sharing.share(run, tmp_path / "again")
        orders.add(file.read_text())
    assert len(orders) > 1


def test_estimates_of_a_comparison_are_those_of_the_run(run, shared):
    keys = ["dataset", "protocol", "model", "input", "metric"]
    table, _ = sharing.compare([shared])
    rows = results.read_result(run / "results" / "intensity.csv")
    own = results.intervals(rows, keys).set_index(keys)
    theirs = table.set_index(keys).loc[own.index]
    columns = ["estimate", "events", "subjects"]
    pd.testing.assert_frame_equal(theirs[columns], own[columns], check_dtype=False, rtol=1e-5)
    assert (theirs["low"] <= theirs["estimate"]).all() and (theirs["estimate"] <= theirs["high"]).all()


def test_labs_stand_side_by_side_and_what_else_differs_is_said(run, shared, tmp_path, monkeypatch):
    theirs = sharing.share(run, tmp_path / "theirs", "their lab")
    record = json.loads((theirs / sharing.RECORD).read_text())
    (theirs / sharing.RECORD).write_text(json.dumps(record | {"profile": "paper"}))
    out = tmp_path / "compared.csv"
    ended = melib("compare", shared, theirs, "--out", out)
    assert ended.exit_code == 0, ended.output
    assert "note: profiles of their lab aren't those of ours" in ended.output
    columns, rows = sharing.side_by_side(sharing.compare([shared, theirs])[0])
    assert columns[-2:] == ["ours", "their lab"]
    assert rows and all(row[-1].split()[0] == row[-2].split()[0] for row in rows)
    assert set(pd.read_csv(out)["lab"]) == {"ours", "their lab"}


def test_a_table_that_names_somebody_is_not_shared(run, tmp_path):
    file = run / "results" / "untestable.csv"
    file.write_text("dataset,protocol,verdict,reason\nsynthme,context,not testable,clip 006_1 is short\n")
    try:
        with pytest.raises(DataError, match=r"untestable\.csv names a person"):
            sharing.share(run, tmp_path / "told")
    finally:
        file.unlink()
    assert not (tmp_path / "told").exists()


def test_a_folder_that_was_changed_or_is_none_is_refused(run, shared, tmp_path):
    with pytest.raises(DataError, match="no record"):
        sharing.compare([tmp_path])
    with pytest.raises(DataError, match="two of the folders"):
        sharing.compare([shared, shared])
    changed = sharing.share(run, tmp_path / "changed")
    (changed / "scores.csv").write_text((changed / "scores.csv").read_text().replace("0.9", "0.99", 1))
    with pytest.raises(DataError, match="isn't what was shared"):
        sharing.compare([changed])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(DataError, match="isn't empty"):
        sharing.share(run, tmp_path / "full")
    (tmp_path / "nothing" / "results").mkdir(parents=True)
    with pytest.raises(DataError, match="notebook 04 or 06"):
        sharing.share(tmp_path / "nothing", tmp_path / "x")

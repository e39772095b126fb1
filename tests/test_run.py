"""A run's configuration is frozen once, before anything is drawn, and holds from then on."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from melib import DataError, simulate
from melib.app import runner
from melib.data import cache, manifest
from melib.errors import Misuse
from melib.study import comparisons, data, results
from melib.study.provenance import CONFIGURATION, configuration_checks, read_configuration
from melib.study.run import begin, profile_settings


@pytest.fixture
def run(tmp_path):
    return tmp_path / "runs" / "mine"


def test_the_same_settings_are_accepted_and_give_the_same_bytes(run, tmp_path):
    begin(run, "smoke", 3)
    before = (run / CONFIGURATION).read_bytes()
    begin(run, "smoke", 3)
    begin(tmp_path / "elsewhere", "smoke", 3)
    assert (run / CONFIGURATION).read_bytes() == before
    assert (tmp_path / "elsewhere" / CONFIGURATION).read_bytes() == before


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 4}, "was made with seed 3, not 4"),
        ({"profile": "demo"}, "was made with profile smoke, not demo"),
    ],
)
def test_a_changed_setting_is_refused_with_a_remedy(run, changed, message):
    begin(run, "smoke", 3)
    before = (run / CONFIGURATION).read_bytes()
    with pytest.raises(DataError, match=f"{message}: name another run"):
        begin(run, **{"profile": "smoke", "seed": 3, **changed})
    assert (run / CONFIGURATION).read_bytes() == before


def test_no_way_to_open_a_run_s_data_goes_round_it(run):
    begin(run, "smoke", 3)
    licensed = json.dumps({"samm": "/data/samm"})
    for way in (data.clip_studies, data.long_studies, data.every_study):
        with pytest.raises(DataError, match="was made with seed 3, not 0"):
            way(begin(run, "smoke", 0, licensed))
        with pytest.raises(DataError, match="was made with data simulated, not samm"):
            way(begin(run, "smoke", 3, licensed))


def test_a_changed_profile_or_family_of_comparisons_is_refused(run, monkeypatch):
    begin(run, "smoke")
    known = profile_settings("smoke")
    with monkeypatch.context() as other:
        other.setattr("melib.study.run.profile_settings", lambda profile: {**known, "folds": 3})
        with pytest.raises(DataError, match="other settings of the profile"):
            begin(run, "smoke")
    # How long a step may take decides nothing.
    with monkeypatch.context() as other:
        other.setattr("melib.study.run.profile_settings", lambda profile: {**known, "time_limit_minutes": 9})
        begin(run, "smoke")
    with monkeypatch.context() as other:
        other.setattr(comparisons, "declared", lambda: {"alpha": 0.1})
        with pytest.raises(DataError, match="other declared comparisons"):
            begin(run, "smoke")
    begin(run, "smoke")


def test_licensed_data_are_named_without_their_folders(run, monkeypatch):
    monkeypatch.setattr(
        manifest, "read_manifest", lambda name: SimpleNamespace(name=name, show_subjects="all")
    )
    monkeypatch.setattr(manifest, "manifest_hash", lambda about: f"hash of {about.name}")
    begin(run, "paper", 0, '{"samm": "/home/someone/samm"}')
    assert read_configuration(run)["data"] == ["samm"]
    assert read_configuration(run)["manifests"] == {"samm": "hash of samm"}
    assert "someone" not in (run / CONFIGURATION).read_text()
    with pytest.raises(DataError, match="data samm, not simulated"):
        begin(run, "paper")


@pytest.mark.parametrize("shown", ["all", "[]"])
def test_what_is_made_of_licensed_data_is_for_its_owner_alone(tmp_path, shown):
    synthme = manifest.read_manifest("synthme").source.read_text(encoding="utf-8")
    file = tmp_path / "mine.yml"
    file.write_text(synthme.replace("show_subjects: all", f"show_subjects: {shown}"), encoding="utf-8")
    before = os.umask(0o022)
    try:
        made = begin(tmp_path / "runs" / "a", "smoke", 0, json.dumps({str(file): str(tmp_path)}))
        results.write_result(made, "t", pd.DataFrame({"a": [1]}))
        places = filter(Path.exists, [made.folder, made.cache, *made.folder.glob("results/*")])
        modes = [path.stat().st_mode & 0o077 for path in places]
        assert not any(modes) if shown == "[]" else modes[0]
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    "way", ['{"samm": "/here"}', {"samm": "/here"}], ids=["papermill -r", "papermill -y"]
)
def test_settings_mean_the_same_however_papermill_passes_them(run, monkeypatch, way):
    monkeypatch.setattr(
        manifest, "read_manifest", lambda name: SimpleNamespace(name=name, show_subjects="all")
    )
    monkeypatch.setattr(manifest, "manifest_hash", lambda about: f"hash of {about.name}")
    assert begin(str(run), "smoke", "3", way) == begin(run, "smoke", 3, '{"samm": "/here"}')
    assert read_configuration(run)["seed"] == 3


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"folder": None}, "run is None: make it the path of a folder"),
        ({"folder": ""}, "run is ''"),
        ({"seed": "three"}, "seed is 'three': make it a whole number"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"data": "x=/y"}, "data is 'x=/y': make it json text"),
        ({"data": "[1]"}, "data is .*: make it json text"),
        ({"data": {"samm": None}}, "data is .*: make it json text"),
    ],
)
def test_what_is_no_setting_is_refused_before_anything_is_written(run, settings, sentence):
    with pytest.raises(DataError, match=sentence):
        begin(**{"folder": run, "profile": "smoke", **settings})
    assert not run.exists()


def test_other_code_is_not_refused_but_the_first_is_kept_and_the_check_says_so(run, monkeypatch):
    begin(run, "smoke")
    assert all(holds for holds, *_ in configuration_checks(run))
    first = read_configuration(run)["code"]
    monkeypatch.setattr(cache, "content_hash", lambda files: "another")
    begin(run, "smoke")
    assert read_configuration(run)["code"] == first
    holds, _, detail = configuration_checks(run)[1]
    assert not holds
    assert "code" in detail


def test_nothing_is_simulated_before_the_configuration_is_frozen(run, monkeypatch):

    there = []

    def write(out, **spec):
        there.append((run / CONFIGURATION).is_file())
        raise DataError("enough")

    monkeypatch.setattr(simulate, "write_clips", write)
    with pytest.raises(DataError, match="enough"):
        data.clip_studies(begin(run, "smoke"))
    assert there == [True]


def test_a_profile_that_names_its_notebooks_passes_over_the_others_with_a_sentence(tmp_path):
    wanted = runner.ask("published", root=tmp_path)
    assert [path.stem[:2] for path in wanted.notebooks] == ["03", "04", "05", "09"]
    assert "06_spotting: skipped, profile published has no settings for it" in wanted.unfit
    with pytest.raises(Misuse, match=r"none of the notebooks .*profile published has no settings"):
        runner.ask("published", root=tmp_path, only=["06"])

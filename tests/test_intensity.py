"""Laws of the grid of fits, on tiny made-up windows: nothing leaks, nothing finished is repeated, same seed same bytes."""

import os
import shutil
import signal
import subprocess
import sys
import time
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import unbegun

from melib import learn, priors, protocols
from melib.data import manifest
from melib.errors import DataError
from melib.study import intensity
from melib.study.data import (
    clip_studies,
    every_study,
    folds_of,
    long_studies,
    open_study,
    with_clips,
)
from melib.study.run import Run, profile_settings

T, SIDE = 8, 16
PEOPLE = ["001", "002", "003", "004", "005", "006"]
TINY = {
    "folds": 2,
    "seeds": 1,
    "fit": {"width": 8, "hidden": 4, "epochs": 1, "batch": 4},
    "fits": {
        "paper": [{"model": "resnet18_bigru", "input": "flow"}, {"model": "constant_frame", "input": "raw"}]
    },
}


def windows(folder):
    """Two windows a person, a block that moves with the target; stored as the cache stores them."""
    rng = np.random.default_rng(1)
    rows, entries, pseudo = [], [], []
    for subject in PEOPLE:
        raw = rng.integers(0, 255, (2, T, SIDE, SIDE), dtype=np.uint8)
        motion = rng.normal(0, 0.05, (2, T, 2, SIDE, SIDE)).astype(np.float16)
        for k in range(2):
            target = priors.triangular(1, rng.uniform(2, 5), 6, T)
            motion[k, :, 1, 4:8, 4:8] -= target[:, None, None].astype(np.float16)
            rows.append(("made_up", subject, f"v{k}", f"v{k}", "paper", k, 0, T - 1, True, False))
            entries.append((subject, k))
            pseudo.append(target)
        (folder / subject).mkdir(parents=True, exist_ok=True)
        np.save(folder / subject / "raw.npy", raw)
        np.save(folder / subject / "flow.npy", motion)
    names = [
        "dataset",
        "subject",
        "video",
        "event",
        "protocol",
        "window",
        "start",
        "stop",
        "complete",
        "truncated",
    ]
    n = len(rows)
    return intensity.Prepared(
        dataset="made_up",
        protocol="paper",
        fps=200.0,
        table=pd.DataFrame(rows, columns=names),
        positions=np.tile(np.arange(T, dtype=float), (n, 1)),
        mask=np.ones((n, T), bool),
        pseudo=np.stack(pseudo),
        truth=None,
        inside=None,
        peak_px=None,
        annotated=np.tile([1.0, 3.5, 6.0], (n, 1)),
        true=None,
        magnitude=np.ones((n, T), np.float32),
        reference=np.zeros(n, int),
        entries=entries,
        cache=folder,
    )


def tiny_run(folder):
    return Run(folder / "run", "tiny", TINY, jobs=1)


@pytest.fixture
def tiny(tmp_path):
    prepared = windows(tmp_path / "cache")
    return tiny_run(tmp_path), prepared, protocols.folds(PEOPLE, 2, seed=0)


def jobs_of(folds):
    return [
        intensity.Job("made_up", "paper", fit["model"], fit["input"], fold.index, 0)
        for fit in TINY["fits"]["paper"]
        for fold in folds
    ]


def grid(run, prepared, folds):
    return intensity.run_grid(run, jobs_of(folds), {"paper": prepared}, folds)


def weights(run):
    return {
        path.parent.name: path.read_bytes()
        for path in sorted(Path(run).glob("weights/*/weights.safetensors"))
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The grid, run once undisturbed: only to be read."""
    folder = tmp_path_factory.mktemp("grid")
    prepared, folds = windows(folder / "cache"), protocols.folds(PEOPLE, 2, seed=0)
    run = tiny_run(folder)
    return run, prepared, folds, grid(run, prepared, folds)


def test_every_window_is_predicted_once_by_a_model_that_never_saw_its_subject(finished):
    _, prepared, folds, records = finished
    for model in ("resnet18_bigru", "constant_frame"):
        rows = np.concatenate([record["rows"] for job, record in records.items() if job.model == model])
        assert sorted(rows) == list(range(len(prepared.table)))
    for job, record in records.items():
        fold = folds[job.fold]
        assert not set(prepared.table["subject"].iloc[record["rows"]]) & {*fold.train, *fold.validation}


def test_a_test_subject_changes_no_weight(tiny, finished):
    run, prepared, folds = tiny
    pseudo = prepared.pseudo.copy()
    test = prepared.table["subject"].isin(folds[0].test).to_numpy()
    pseudo[test] = 1 - pseudo[test]
    for subject in folds[0].test:
        for name in ("flow.npy", "raw.npy"):  # still a signal: the other fold is trained on it
            np.save(prepared.cache / subject / name, np.load(prepared.cache / subject / name)[:, ::-1])
    grid(run, replace(prepared, pseudo=pseudo), folds)
    same = {name: value for name, value in weights(finished[0]).items() if "fold0" in name}
    assert len(same) == 2
    assert all(weights(run)[name] == value for name, value in same.items())


def test_a_finished_fit_is_never_repeated_and_a_changed_one_never_read(finished, monkeypatch):
    run, prepared, folds, first = finished

    def refuse(*args, **kwargs):
        raise ValueError("fitted again")

    monkeypatch.setattr(learn.windows, "fit_windows", refuse)
    again = grid(run, prepared, folds)
    for job in first:
        np.testing.assert_array_equal(first[job]["curve"], again[job]["curve"])
    with pytest.raises(DataError, match="fitted again"):
        grid(run, replace(prepared, pseudo=prepared.pseudo * 0.9), folds)


def test_a_failed_fit_names_its_reason_and_the_others_are_kept(tiny, monkeypatch):
    run, prepared, folds = tiny
    fit = learn.windows.fit_windows

    def fails_once(settings, *args, **kwargs):
        if settings.constant_frame:
            raise RuntimeError("out of memory")
        return fit(settings, *args, **kwargs)

    monkeypatch.setattr(learn.windows, "fit_windows", fails_once)
    with pytest.raises(DataError, match=r"2 of 4 fits failed.*constant_frame.*out of memory"):
        grid(run, prepared, folds)
    assert len(weights(run)) == 2


@pytest.mark.parametrize("profile", ["smoke", "demo", "five", "published", "published_main", "paper"])
def test_every_profile_names_fits_that_exist(profile):
    options = profile_settings(profile)
    for protocol in options["windows"]:
        for fit in options["fits"][protocol]:
            job = intensity.Job("x", protocol, fit["model"], fit["input"], 0, 0)
            assert intensity.window_fit_settings(job, options["fit"]).input == fit["input"]


# ---- which data sets, which folds ------------------------------------------------------------------------------


def manifest_of(name, *, long=False, has_context=True, join=None):
    """What a manifest says of these questions."""
    return types.SimpleNamespace(name=name, long=long, has_context=has_context, join=join)


@pytest.fixture
def known(monkeypatch):
    """Manifests of four data sets that exist nowhere; opening one tells which tables it was given."""
    manifests = {
        "clips": manifest_of("clips", has_context=False),
        "long": manifest_of("long", long=True, join={"dataset": "clips", "take": ["emotion"]}),
        "cut": manifest_of("cut", long=True, has_context=False),
        "more": manifest_of("more"),
    }
    monkeypatch.setattr(manifest, "read_manifest", manifests.get)
    monkeypatch.setattr(manifest, "effective", lambda about, root: about)
    monkeypatch.setattr(manifest, "tables", lambda about, root: [f"{root}/{about.name}.xlsx"])

    def study(name, root, *tables, tables_alone):
        return types.SimpleNamespace(name=name, manifest=manifests[name], tables=tables)

    monkeypatch.setattr("melib.study.data.open_study", study)
    return lambda *names: unbegun("paper", data={name: f"/{name}" for name in names})


def names(studies):
    return [study.name for study in studies]


def test_clips_go_to_one_paper_and_long_videos_with_context_to_the_other(known):
    run = known("clips", "long", "cut", "more")
    assert names(clip_studies(run)) == ["clips", "cut", "more"]
    assert names(long_studies(run)) == ["long"]
    assert names(every_study(run)) == ["clips", "cut", "more", "long"]


def test_a_table_that_knows_the_emotions_is_handed_on_where_its_data_set_is_named(known):
    (alone,) = long_studies(known("long"))
    (beside,) = long_studies(known("clips", "long"))
    assert alone.tables == ()
    assert beside.tables == ("/clips/clips.xlsx",)


def made_of(people, truth=None):
    return types.SimpleNamespace(name="made_up", videos=pd.DataFrame({"subject": people}), truth=truth)


def test_licensed_data_are_tested_one_subject_at_a_time_at_paper_alone():
    licensed, simulated = made_of(PEOPLE * 3), made_of(PEOPLE * 3, truth=pd.DataFrame())
    folds = folds_of(licensed, unbegun("paper"))
    assert [fold.test for fold in folds] == [(person,) for person in PEOPLE]
    for profile in ("smoke", "demo"):
        assert len(folds_of(licensed, unbegun(profile))) == profile_settings(profile)["folds"]
    assert folds_of(simulated, unbegun("demo")) == protocols.folds(PEOPLE, 2, seed=0)
    many = made_of([f"{i:03d}" for i in range(40)], truth=pd.DataFrame())
    assert len(folds_of(many, unbegun("paper"))) == profile_settings("paper")["folds"]


def test_whoever_has_no_window_is_in_no_fold_and_no_job_asks_for_an_empty_test(monkeypatch, tmp_path):
    people = [f"{i:03d}" for i in range(8)]
    having = {"paper": people[:7], "context": people[:6]}
    prepared = [
        types.SimpleNamespace(dataset="made_up", protocol=p, table=pd.DataFrame({"subject": having[p]}))
        for p in intensity.PROTOCOLS
    ]
    study = made_of(people)
    asked = []
    monkeypatch.setattr("melib.study.intensity.clip_studies", lambda *_, **__: [study])
    monkeypatch.setattr("melib.study.intensity.with_clips", lambda study, *_, **__: study)
    monkeypatch.setattr(intensity, "prepare_all", lambda *_, **__: prepared)
    monkeypatch.setattr(intensity, "run_grid", lambda run, todo, *_, **__: asked.extend(todo))
    outcome = intensity.intensity_study(unbegun("paper", tmp_path, data={"made_up": "/made_up"}))
    folds = outcome.folds["made_up"]
    assert [fold.test for fold in folds] == [(person,) for person in people[:7]]
    for protocol in intensity.PROTOCOLS:
        tested = [folds[job.fold].test[0] for job in asked if job.protocol == protocol]
        assert sorted(set(tested)) == having[protocol]


def test_a_folder_in_another_case_is_that_of_its_events(tiny_set, tmp_path):
    data = Path(shutil.copytree(tiny_set, tmp_path / "synthme"))
    (data / "truth.csv").unlink()
    text = (data / "manifest.yml").read_text()
    (data / "manifest.yml").write_text(text.replace("truth: truth.csv", ""))
    (data / "frames" / "s01").rename(data / "frames" / "S01")
    study = open_study(data / "manifest.yml", data)
    assert set(study.videos["subject"]) == set(study.events["subject"]) == {"s01", "s02"}
    assert (study.events["status"] != "dropped").all()
    clips = with_clips(study, unbegun("smoke", tmp_path / "runs" / "one")).clips
    assert {clip.subject for clip in clips} == {"s01", "s02"}


_KILLED = """
import sys; sys.path.insert(0, {tests!r})
from pathlib import Path
import test_intensity as t
folder = Path({folder!r})
run = t.Run(folder / "run", "tiny", t.TINY, jobs=1)
t.grid(run, t.windows(folder / "cache"), t.protocols.folds(t.PEOPLE, 2, seed=0))
"""


@pytest.mark.long
def test_kill_in_the_middle_of_the_grid_loses_nothing_finished(tmp_path, finished):
    code = _KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    started = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    limit = time.monotonic() + 120
    while not list(tmp_path.glob("run/fits/*/record.json")) and time.monotonic() < limit:
        time.sleep(0.02)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("run/fits/*/record.json")}
    assert written, "the grid never finished a fit"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert all(path.stat().st_mtime_ns == when for path, when in written.items())
    assert weights(tmp_path / "run") == weights(finished[0])

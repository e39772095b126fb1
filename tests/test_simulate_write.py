"""Laws of what the simulator writes: same bytes, resumable, readable as any data set."""

import errno
import hashlib
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from melib import DataError, simulate
from melib.annotations import check_frames, read_events
from melib.data.manifest import frame_files, load_truth, read_manifest, spans, videos
from melib.simulate import units

TINY = {"people": 2, "videos": 1, "seconds": (4, 5), "fps": 20, "seed": 4, "progress": False}
SMALL = {"people": 2, "clips": 2, "empty": 1, "fps": 30, "seed": 5, "progress": False}


def hashes(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return simulate.write_clips(tmp_path_factory.mktemp("sim") / "one", jobs=1, **SMALL)


@pytest.fixture(scope="module")
def long_written(tmp_path_factory):
    return simulate.write_long(tmp_path_factory.mktemp("long") / "one", jobs=1, **TINY)


@pytest.mark.parametrize("long", [False, True])
def test_same_seed_gives_the_same_bytes_whatever_the_jobs_and_the_number_of_people(
    written, long_written, tmp_path, long
):
    one, write, settings = (
        (long_written, simulate.write_long, TINY) if long else (written, simulate.write_clips, SMALL)
    )
    assert hashes(write(tmp_path / "two", jobs=2, **settings)) == hashes(one)
    alone, whole = (
        hashes(write(tmp_path / "alone", **settings | {"people": 1}) / "frames"),
        hashes(one / "frames"),
    )
    assert alone == {name: whole[name] for name in alone}


@pytest.mark.parametrize("long", [False, True])
def test_the_set_reads_like_any_other(written, long_written, long):
    folder = long_written if long else written
    manifest = read_manifest(folder / "manifest.yml")
    shipped = read_manifest("synthme_lv" if long else "synthme")
    assert manifest == replace(shipped, fps=20.0 if long else 30.0, source=manifest.source)
    table = spans(manifest, videos(manifest, folder))
    assert table["subject"].tolist() == (["s01", "s02"] if long else ["s01"] * 3 + ["s02"] * 3)
    events = read_events(manifest, folder / "annotations.xlsx", policy="strict")
    assert (check_frames(events, table)["status"] == "ok").all()
    assert events["event"].is_unique and set(events["kind"]) <= {"micro", "macro", "blink"}
    assert ((events["emotion_class"] == "") == (events["kind"] == "blink")).all()
    truth = load_truth(manifest, folder)
    assert set(truth["event"]) - {""} == set(events.loc[events["kind"] == "micro", "event"])
    for row in table.itertuples():
        numbers, paths = frame_files(row.folder, manifest)
        assert numbers.tolist() == truth.loc[truth["video"] == row.video, "frame"].tolist()
        assert cv2.imread(str(paths[0]), cv2.IMREAD_UNCHANGED).ndim == 2
    assert not long or {"macro_px", "talk_px", "gaze_px", "au12"} <= set(truth)


def test_what_was_cut_off_is_finished_and_what_is_finished_is_kept(written, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(written, copy)
    shutil.rmtree(copy / "frames" / "s01" / "s01_02")
    (copy / ".parts" / "s02_01.csv").unlink()
    dead = subprocess.Popen(["true"])
    dead.wait()
    half = copy / ".parts" / f"s01_02.{dead.pid}.unfinished"
    half.mkdir()
    (half / "img0001.jpg").write_bytes(b"half a fr")
    (copy / "annotations.xlsx").unlink()
    frame = copy / "frames" / "s01" / "s01_01" / "img0001.jpg"
    before = frame.stat().st_mtime_ns
    simulate.write_clips(copy, jobs=1, **SMALL)
    assert hashes(copy) == hashes(written)
    assert frame.stat().st_mtime_ns == before


def test_processes_that_outlive_a_killed_run_disturb_nothing(written, tmp_path, monkeypatch):
    """Kill -9 leaves workers that finish their clip: the rerun lets them, whoever is first."""
    copy = tmp_path / "copy"
    shutil.copytree(written, copy)
    shutil.rmtree(copy / "frames" / "s01" / "s01_02")
    theirs = copy / ".parts" / f"s01_02.{os.getppid()}.unfinished"
    theirs.mkdir()
    (theirs / "img0001.jpg").write_bytes(b"half a fr")
    original = cv2.imencode

    clip = Path("frames", "s01", "s01_02")

    def slow(*arguments):  # the other process finishes in the middle of our clip
        if not (copy / clip).exists():
            shutil.copytree(written / clip, copy / clip)
        return original(*arguments)

    monkeypatch.setattr(cv2, "imencode", slow)
    simulate.write_clips(copy, jobs=1, **SMALL)
    assert (theirs / "img0001.jpg").exists()
    shutil.rmtree(theirs)
    assert hashes(copy) == hashes(written)


@pytest.mark.parametrize(
    ("cut", "message"),
    [(KeyboardInterrupt(), ""), (OSError(errno.ENOSPC, "No space left on device"), "disk is full")],
)
def test_ctrl_c_and_a_full_disk_lose_nothing_that_was_finished(tmp_path, written, monkeypatch, cut, message):
    out, original, calls = tmp_path / "cut", Path.write_bytes, []

    def write(self, data):
        calls.append(self)
        if len(calls) > 90:
            raise cut
        return original(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write)
        with pytest.raises((KeyboardInterrupt, DataError), match=message):
            simulate.write_clips(out, jobs=1, **SMALL)
    stamps = {folder: folder.stat().st_mtime_ns for folder in out.glob("frames/*/*")}
    assert stamps
    simulate.write_clips(out, jobs=1, **SMALL)
    assert {folder: folder.stat().st_mtime_ns for folder in stamps} == stamps
    assert hashes(out) == hashes(written)


def test_a_set_of_the_second_world_reads_alike_and_is_told_from_one_of_the_first(tmp_path):
    settings = SMALL | {"people": 1, "family": "patches+head", "jobs": 1}
    out = simulate.write_clips(tmp_path / "two", world="second", **settings)
    manifest = read_manifest(out / "manifest.yml")
    truth, events = (
        load_truth(manifest, out),
        read_events(manifest, out / "annotations.xlsx", policy="strict"),
    )
    assert set(truth["event"].fillna("")) - {""} == set(events["event"])
    assert (check_frames(events, spans(manifest, videos(manifest, out)))["status"] == "ok").all()
    with pytest.raises(DataError, match="other settings"):
        simulate.write_clips(out, **settings)
    with pytest.raises(DataError, match="no world"):
        simulate.write_clips(tmp_path / "third", world="third", **settings)


def test_a_folder_of_other_settings_is_refused(written, tmp_path):
    with pytest.raises(DataError, match="other settings"):
        simulate.write_clips(written, jobs=1, **{**SMALL, "seed": 9})
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(DataError, match="isn't empty"):
        simulate.write_clips(tmp_path, jobs=1, **SMALL)


@pytest.mark.parametrize(
    "setting",
    [
        *({"people": 41}, {"clips": -1}, {"clips": 0, "empty": 0}, {"family": "waves"}, {"statistics": "ck"}),
        *({"fps": 5}, {"seed": -1}, {"name": "Synth ME"}, {"nuisance": -1.0}),
        *({"videos": 0}, {"videos": 1, "statistics": "samm_lv_micro"}, {"videos": 1, "nuisance": -1.0}),
        *({"seconds": (30, 20)}, {"seconds": (1, 2)}, {"seconds": (20, float("nan"))}),
    ],
    ids=str,
)
def test_an_impossible_setting_is_one_sentence_and_writes_nothing(tmp_path, setting):
    long = {"videos", "seconds"} & set(setting)
    write, settings = (simulate.write_long, TINY) if long else (simulate.write_clips, SMALL)
    with pytest.raises(
        DataError, match=next(reversed(setting)) if "empty" not in setting else "nothing to write"
    ):
        write(tmp_path / "out", jobs=1, **settings | setting)
    assert not (tmp_path / "out").exists()


def test_truth_has_a_row_a_frame_and_peaks_once_an_event(written):
    manifest = read_manifest(written / "manifest.yml")
    truth, events = load_truth(manifest, written), read_events(manifest, written / "annotations.xlsx")
    for (subject, video), clip in truth.groupby(["subject", "video"]):
        count = len(list((written / "frames" / subject / video).glob("*.jpg")))
        assert clip["frame"].tolist() == list(range(count))
        inside = clip["event"].fillna("") != ""
        if video in set(events["video"]):
            assert clip["profile"].max() == 1
            assert set(clip.loc[inside, "event"]) == {video}
            first = int(np.argmax(inside))
            assert not clip["rms_px"][:first].any()
            assert clip.loc[clip["rms_px"].idxmax(), "event"] == video
            assert 0.1 <= clip["peak_px"].max() <= 2.5 + 1e-6
            lone = clip[[f"au{unit}" for unit in units.UNITS]]
            assert (lone.to_numpy() >= 0).all()
            # Fields of several units add as vectors, so their sum can't exceed the sum of their sizes.
            assert (clip["rms_px"] <= lone.sum(axis=1) + 1e-6).all()
            assert (clip["peak_px"] >= clip["rms_px"]).all()
        else:
            assert not inside.any()
            assert not clip[["rms_px", "peak_px", "profile"]].to_numpy().any()

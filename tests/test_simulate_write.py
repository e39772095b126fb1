"""Laws of what the simulator writes: same bytes, resumable, readable as any data set."""

import errno
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from melib import DataError, simulate
from melib.annotations import read_events
from melib.data.manifest import frame_files, load_truth, read_manifest, videos
from melib.simulate import units

SMALL = {"people": 2, "clips": 2, "empty": 1, "fps": 30, "seed": 5, "progress": False}


def hashes(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return simulate.write_clips(tmp_path_factory.mktemp("sim") / "one", jobs=1, **SMALL)


@pytest.fixture(scope="module")
def manifest(written):
    return read_manifest(written / "manifest.yml")


@pytest.fixture(scope="module")
def events(written, manifest):
    return read_events(manifest, written / "annotations.xlsx")


def test_same_seed_gives_the_same_bytes_whatever_the_jobs(written, tmp_path):
    again = simulate.write_clips(tmp_path / "two", jobs=2, **SMALL)
    assert hashes(again) == hashes(written)


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
    kept = copy / "frames" / "s01" / "s01_01" / "img0001.jpg"
    before = kept.stat().st_mtime_ns
    simulate.write_clips(copy, jobs=1, **SMALL)
    assert hashes(copy) == hashes(written)
    assert kept.stat().st_mtime_ns == before


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


def test_a_folder_of_other_settings_is_refused(written, tmp_path):
    with pytest.raises(DataError, match="other settings"):
        simulate.write_clips(written, jobs=1, **{**SMALL, "seed": 9})
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(DataError, match="isn't empty"):
        simulate.write_clips(tmp_path, jobs=1, **SMALL)


@pytest.mark.parametrize(
    ("setting", "word"),
    [
        ({"people": 41}, "people"),
        ({"clips": -1}, "clips"),
        ({"clips": 0, "empty": 0}, "nothing to write"),
        ({"family": "waves"}, "family"),
        ({"statistics": "ck"}, "statistics"),
        ({"fps": 5}, "fps"),
        ({"seed": -1}, "seed"),
        ({"name": "Synth ME"}, "name"),
        ({"nuisance": -1.0}, "nuisance"),
    ],
)
def test_an_impossible_setting_is_one_sentence(tmp_path, setting, word):
    with pytest.raises(DataError, match=word):
        simulate.write_clips(tmp_path / "out", jobs=1, **{**SMALL, **setting})
    assert not (tmp_path / "out").exists()


def test_the_set_reads_like_any_other(written, manifest, events):
    found = videos(manifest, written)
    assert found["subject"].tolist() == ["s01"] * 3 + ["s02"] * 3
    assert len(events) == 4  # an empty clip is a video without a row
    assert (events["status"] == "ok").all()
    assert manifest.fps == 30
    for row in found.itertuples():
        numbers, paths = frame_files(row.folder, manifest)
        assert numbers.tolist() == list(range(len(numbers)))
        assert cv2.imread(str(paths[0]), cv2.IMREAD_UNCHANGED).ndim == 2
    lengths = {row.video: len(frame_files(row.folder, manifest)[0]) for row in found.itertuples()}
    for row in events.itertuples():
        assert 0 <= row.onset < row.apex < row.offset < lengths[row.video]


def test_truth_has_a_row_a_frame_and_peaks_once_an_event(written, manifest, events):
    truth = load_truth(manifest, written)
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

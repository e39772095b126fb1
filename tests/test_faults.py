"""Bad input and interruptions as a user meets them: one sentence or a mask and a count, nothing finished is lost."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from made_up import unbegun
from typer.testing import CliRunner

from melib import DataError
from melib.app import cli
from melib.study import intensity
from melib.study.data import detection, open_study, with_clips


@pytest.fixture
def data(tiny_set, tmp_path):
    """A copy of a sound data set, to be broken."""
    return Path(shutil.copytree(tiny_set, tmp_path / "synthme"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs share a cache addressed by content: clips that a fault leaves alone are cropped once."""
    return unbegun("smoke", tmp_path_factory.mktemp("runs") / "one")


def frames(data, video="s01_01"):
    return sorted((data / "frames" / video[:3] / video).glob("*.jpg"))


def windows(data, run):
    """The path of notebooks 01 and 02: from a folder to what a network sees."""
    study = open_study(data / "manifest.yml", data)
    study = with_clips(study, run)
    return study, [intensity.prepare_windows(study, protocol, run) for protocol in intensity.PROTOCOLS]


def check(data):
    return CliRunner().invoke(
        cli.app, ["data", "check", "synthme", "--root", str(data), "--sample", "4", "--json"]
    )


# Input that can't be used: one sentence that names the place


def _remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    ("spoil", "place", "message"),
    [
        (_remove, "", "synthme (does not exist|is missing)"),
        (_empty, "", "no annotation table .* in .*synthme|synthme (is empty|holds no annotation table)"),
        (_remove, "frames", "synthme holds no folder of frames like"),
        (_empty, "frames", "synthme holds no folder of frames like"),
        (_empty, "frames/s01/s01_01", "s01_01 holds no image"),
        (_remove, "annotations.xlsx", "no annotation table"),
        (
            lambda path: path.write_bytes(b"PK\x03\x04 cut"),
            "annotations.xlsx",
            "can't be read as a spreadsheet",
        ),
        (_remove, "truth.csv", "truth.csv is missing"),
        (lambda path: path.write_text("subject,video\n"), "truth.csv", "truth.csv has no column"),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_sentence(data, run, spoil, place, message):
    manifest = data.parent / "manifest.yml"
    shutil.copy(data / "manifest.yml", manifest)
    spoil(data / place)
    with pytest.raises(DataError, match=message) as caught:
        with_clips(open_study(manifest, data), run)
    assert "\n" not in str(caught.value)
    ended = check(data)
    assert ended.exit_code == 1
    assert isinstance(ended.exception, SystemExit)
    if ended.stdout:  # found while everything else was checked too
        assert len(json.loads(ended.stdout)["problems"]) == 1
    else:
        assert len(ended.stderr.splitlines()) == 1


def test_what_a_copy_leaves_behind_is_no_fault(data, run):
    (data / "~$annotations.xlsx").write_bytes(b"a spreadsheet program holds it open")
    (data / "frames" / "s01" / ".cache").mkdir()
    (data / "frames" / "s01" / "s01_01" / "notes.txt").write_text("mine")
    study, _ = windows(data, run)
    assert study.videos["video"].tolist() == ["s01_01", "s02_01"]
    assert check(data).exit_code == 0


# Input of which a part can be used: the part is left out, with a reason, a mask or a count


@pytest.mark.parametrize(
    ("n_frames", "reason"),
    [(0, "its video has no folder of frames"), (60, r"its frames \d+ to \d+ aren't within 0 to 59")],
)
def test_a_row_whose_frames_do_not_exist_is_dropped_with_its_reason(data, run, n_frames, reason):
    for path in frames(data)[n_frames:]:
        path.unlink()
    if not n_frames:
        shutil.rmtree(data / "frames" / "s01")
    with pytest.warns(UserWarning, match=f"1 of 2 events have no frames and are dropped .*{reason}"):
        study, prepared = windows(data, run)
    assert study.events["status"].tolist() == ["dropped", "ok"]
    assert study.events["reason"].str.contains(reason).tolist() == [True, False]
    for p in prepared:
        assert set(p.table["subject"]) == {"s02"}
        assert p.mask.all()
    ended = check(data)
    assert ended.exit_code == 1
    (problem,) = json.loads(ended.stdout)["problems"]
    assert "s01/s01_01" in problem


def _unreadable(path):
    path.write_bytes(path.read_bytes()[: 500 * (int(path.stem[-1]) % 2)])  # cut, or empty


def _smaller(path):
    cv2.imwrite(str(path), cv2.imread(str(path))[::2, ::2])


def _faceless(path):
    cv2.imwrite(str(path), np.full_like(cv2.imread(str(path)), 128))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [(_unreadable, "unreadable"), (_smaller, "of another size"), (_faceless, "without a face")],
)
def test_frames_that_cannot_be_used_are_masked_and_counted(data, run, spoil, why):
    broken = range(40, 60)
    for path in frames(data)[40:60]:
        spoil(path)
    n = len(frames(data))
    with pytest.warns(UserWarning, match=rf"20 of {n} frames of s01/s01_01 are masked \(20 {why}\)"):
        study, prepared = windows(data, run)
    counts = detection([study]).set_index("video")
    assert counts.loc["s01_01", ["frames", "with_face"]].tolist() == [n, n - 20]
    for p in prepared:
        here = (p.table["video"] == "s01_01").to_numpy()
        readable = ~np.isin(np.rint(p.positions), broken)
        np.testing.assert_array_equal(p.mask[here], readable[here])
        assert p.mask[~here].all()
        assert np.isfinite(p.magnitude).all()


def test_a_clip_without_a_face_is_masked_and_the_others_are_used(data, run):
    for path in frames(data):
        _faceless(path)
    with pytest.warns(UserWarning, match=r"s01/s01_01 are masked"):
        study, prepared = windows(data, run)
    assert detection([study])["with_face"].tolist() == [0, len(frames(data, "s02_01"))]
    for p in prepared:
        here = (p.table["video"] == "s01_01").to_numpy()
        assert not p.mask[here].any()
        assert p.mask[~here].all()
        assert np.isfinite(p.magnitude).all()
    ended = check(data)
    assert ended.exit_code == 1
    assert "A face was found in 2 of 4 images" in ended.stdout


def test_frames_missing_in_between_are_masked_and_counted(data, run):
    for path in frames(data)[40:60]:
        path.unlink()
    study, prepared = windows(data, run)
    assert detection([study])["missing"].tolist() == [20, 0]
    for p in prepared:
        here = (p.table["video"] == "s01_01").to_numpy()
        exists = ~np.isin(np.rint(p.positions), range(40, 60))
        np.testing.assert_array_equal(p.mask[here], exists[here])


# A disk that is full


def test_a_disk_full_while_caching_keeps_what_is_finished_and_the_rerun_continues(data, small_disk):
    disk = small_disk(3)  # room for one of the two clips
    with pytest.raises(DataError, match=r"disk is full .* nothing finished is lost") as caught:
        windows(data, unbegun("smoke", disk / "run"))
    assert "\n" not in str(caught.value)
    (finished,) = disk.glob("cache/*")
    when = (finished / "frames.npy").stat().st_mtime_ns
    small_disk(64)
    study, _ = windows(data, unbegun("smoke", disk / "run"))
    assert all(clip.mask.all() for clip in study.clips)
    assert (finished / "frames.npy").stat().st_mtime_ns == when
    assert not list(disk.glob("cache/.*"))


def _command(*arguments):
    return [sys.executable, "-m", "melib", "run", "--profile", "smoke", "--only", "01_data", *arguments]


@pytest.mark.long
def test_a_disk_full_during_a_run_is_one_sentence(small_disk):
    disk = small_disk(8)
    ended = subprocess.run(_command("--run", str(disk / "run")), capture_output=True, text=True)
    assert ended.returncode == 1
    assert re.fullmatch("1/1 01_data: started\nmelib: 01_data stopped .* disk is full .*\n", ended.stderr)
    free = shutil.disk_usage(disk).free
    (disk / "filler").write_bytes(bytes(free - free % 4096))
    ended = subprocess.run(_command("--run", str(disk / "run")), capture_output=True, text=True)
    assert ended.returncode == 1
    assert "disk is full" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


# Ctrl-C and kill -9


def _results(folder):
    return {path.name: path.read_bytes() for path in (folder / "runs" / "smoke" / "results").glob("*")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    subprocess.run(_command(), cwd=folder, check=True, capture_output=True)
    return folder


def _alive(processes):
    """Those that are still running; one that nobody has waited for isn't."""
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.long
@pytest.mark.parametrize(
    ("how", "group"),
    [(signal.SIGINT, True), (signal.SIGTERM, True), (signal.SIGKILL, False)],
    ids=["Ctrl-C", "SIGTERM to all", "kill -9 of the run"],
)
def test_a_run_cut_off_anywhere_leaves_no_process_and_continues_to_the_same_bytes(
    tmp_path, undisturbed, how, group
):
    """A terminal, systemd and Slurm signal the whole group, `timeout` and the kernel's memory killer one process."""
    seed = random.randrange(1000)
    clips = random.Random(seed).randrange(1, 12)
    print(f"seed {seed}: cut off after {clips} clips")
    errors = tmp_path / "errors.txt"
    with errors.open("w") as file:
        process = subprocess.Popen(_command(), cwd=tmp_path, start_new_session=True, stderr=file)
    done = "runs/smoke/data/synthme/frames/*/*"
    limit = time.monotonic() + 200
    while len(list(tmp_path.glob(done))) < clips and time.monotonic() < limit:
        time.sleep(0.02)
    time.sleep(random.Random(seed).uniform(0, 1))
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) > 2  # the kernel and its processes
    (os.killpg if group else os.kill)(process.pid, how)
    assert process.wait(timeout=60) == (-how if how == signal.SIGKILL else 1)
    if how != signal.SIGKILL:
        log = "1/1 01_data: started\nmelib: 01_data was interrupted in cell .*\n"
        assert re.fullmatch(log, errors.read_text())
    limit = time.monotonic() + 10
    while _alive(family) and time.monotonic() < limit:
        time.sleep(0.1)
    assert _alive(family) == []
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob(done)}
    assert clips <= len(finished)
    subprocess.run(_command(), cwd=tmp_path, check=True, capture_output=True)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert _results(tmp_path) == _results(undisturbed)
    assert _results(tmp_path)

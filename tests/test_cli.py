"""The command line: exit codes, one sentence for a mistake, help that answers at once and shows how."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import cv2
import made_up
import numpy as np
import pytest
import typer.main
from made_up import a_run
from test_audit import clips
from typer.testing import CliRunner

from melib import DataError
from melib.app import cli, runner


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """What `pip install .` would put among the packages, unpacked far from the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder)]
    subprocess.run([*build, str(Path(cli.__file__).parents[2])], check=True, capture_output=True)
    (packed,) = folder.glob("*.whl")
    shutil.unpack_archive(packed, folder / "packages", "zip")
    return folder / "packages"


def own_video(clip, file):
    """A video as a user has one: frames of a clip, grey, half as many a second."""
    frames = [cv2.imread(str(path)) for path in sorted(clip.glob("*.jpg"))[::2]]
    made_up.film(file, frames, 100)


def own_curves(curves, events):
    """Score curves of another method, a video of 500 frames with two events of each of six people."""
    rng = np.random.default_rng(0)
    rows, truth = ["subject,video,frame,score"], ["subject,video,onset,offset"]
    for subject in range(6):
        score = rng.normal(0, 1, 500)
        for onset in (100, 300):
            score[onset : onset + 15] += 3
            truth.append(f"{subject},a,{onset},{onset + 14}")
        rows += [f"{subject},a,{frame},{value:.3f}" for frame, value in enumerate(score)]
    curves.write_text("\n".join(rows))
    events.write_text("\n".join(truth))


def leaves(command, *names):
    """Every command below one, by its words."""
    below = getattr(command, "commands", {})
    return [leaf for name, inner in below.items() for leaf in leaves(inner, *names, name)] or [list(names)]


COMMANDS = leaves(typer.main.get_command(cli.app))


def melib(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def example_of(command):
    """Words of the example in a command's help, after `melib`."""
    ended = melib(*command, "--help")
    assert ended.exit_code == 0
    return shlex.split(re.search(r"Example:\s+melib (.*?)\s*\Z", ended.output, re.DOTALL)[1])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_a_help_with_an_example_of_itself(command):
    assert example_of(command)[: len(command)] == command


EXAMPLES = """
import json, sys
from melib.app import cli
for words in json.loads(sys.argv[1]):
    print("melib", *words, flush=True)
    assert not cli.app(words, standalone_mode=False)
"""


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_every_example_of_a_help_runs_as_installed_in_a_clean_folder(own_run, tmp_path, wheel):
    """Where one needs a file, another has made it; put there are a user's own files, and a run to be gone on with."""
    (own_run / "notebooks" / "04_intensity.json").unlink()
    own_video(next((own_run / "data" / "synthme" / "frames").glob("*/*")), tmp_path / "clip.mp4")
    own_curves(tmp_path / "curves.csv", tmp_path / "events_of_curves.csv")
    for table, name in zip(clips(), ("intensity.csv", "landmarks.csv"), strict=True):
        table.to_csv(tmp_path / name, index=False)
    needed = ("simulate", "run")  # by others
    examples = [example_of(command) for command in sorted(COMMANDS, key=lambda words: words[0] not in needed)]
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    command = [sys.executable, "-P", "-c", EXAMPLES, json.dumps(examples)]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0 and "Traceback" not in ended.stderr, ended.stdout + ended.stderr
    for made in ("events.csv", "files.csv", "runs/trial/report/index.html", "predictions/clip.json"):
        assert (tmp_path / made).is_file(), made


def test_help_imports_nothing_heavy():
    heavy = "('torch', 'pandas', 'cv2', 'papermill', 'matplotlib')"
    code = f"import sys; from melib.app import cli; print([name for name in {heavy} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


MISUSES = """
run --data samm
run --data =x
run --only 99
run --engine steam
simulate x --people 41
simulate x --family waves
simulate x --statistics ck
simulate x --videos 2
data events synthme --table x.xlsx --out e.csv --policy guess
data manifest --root .
data manifest --root . --out a.csv --verify b.csv
"""


@pytest.mark.parametrize("line", MISUSES.strip().splitlines())
def test_misuse_ends_with_2(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert melib(*line.split()).exit_code == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error", [DataError("samm: no table"), runner.NotebookError("04 stopped"), KeyboardInterrupt("04")]
)
def test_a_run_that_fails_says_so_without_a_traceback(monkeypatch, error):
    monkeypatch.setattr(runner, "run_notebooks", mock.Mock(side_effect=error))
    ended = melib("run", "--profile", "smoke")
    assert ended.exit_code == 1 and isinstance(ended.exception, SystemExit)
    assert ended.stderr.startswith(f"melib: {error}") and len(ended.stderr.splitlines()) == 1


def test_a_run_is_asked_for_as_it_was_typed_and_ends_with_the_face_card_and_the_reports_path(
    monkeypatch, tmp_path
):
    folder = a_run(tmp_path / "demo")
    run = mock.Mock(return_value=folder)
    monkeypatch.setattr(runner, "run_notebooks", run)
    words = "run --data samm=/a=b --data casme2=/c --only 04 --run 006 --seed 3"
    ended = melib(*words.split())
    assert ended.exit_code == 0, ended.output
    more = {"data": {"samm": "/a=b", "casme2": "/c"}, "engine": "local", "scheduler": ""}
    run.assert_called_once_with("demo", run="006", seed=3, only=["04"], **more)
    assert "Does the model see the face?" in ended.stdout
    assert ended.stdout.splitlines()[-1] == str(folder / "report" / "index.html")


def test_annotations_are_not_overwritten_and_a_folder_is_no_file(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("a")
    for out, words in (
        (tmp_path / "." / "table.csv", "overwrite the annotations"),
        (tmp_path, "is a folder"),
    ):
        ended = melib("data", "events", "synthme", "--table", table, "--out", out)
        assert ended.exit_code == 2 and words in ended.stderr
    assert table.read_text() == "a"

"""The command line: exit codes, one sentence for a mistake, help that answers at once and shows how."""

import json
import re
import shlex
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from made_up import a_run
from typer.testing import CliRunner

from melib import DataError, cache, cli, data_check, notebooks, report

COMMANDS = [
    ["doctor"],
    ["simulate"],
    ["data", "check"],
    ["data", "events"],
    ["data", "manifest"],
    ["run"],
    ["figures"],
]


def melib(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_a_help_with_an_example_of_itself(command):
    ended = melib(*command, "--help")
    assert ended.exit_code == 0
    example = re.search(r"Example:\s+melib (.*)", ended.output).group(1)
    assert shlex.split(example)[: len(command)] == command


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_example_is_understood(command, monkeypatch):
    """Each example is parsed and called with what it names; the work itself is tested elsewhere."""
    called = []
    monkeypatch.setattr(notebooks, "run", lambda *a, **k: called.append(k) or Path("runs/x"))
    monkeypatch.setattr(report, "health", lambda: called.append({}) or [])
    monkeypatch.setattr(report, "build", lambda folder: called.append({}) or folder)
    monkeypatch.setattr(report, "table", lambda folder: "")
    nothing = {"notes": [], "known": [], "problems": []}
    monkeypatch.setattr(data_check, "check_data", lambda *a, **k: called.append(k) or nothing)
    monkeypatch.setattr(data_check, "check_tables", lambda *a: called.append(a) or ([], nothing))
    monkeypatch.setattr(data_check, "inventory", lambda *a: called.append(a))
    monkeypatch.setattr(data_check, "summary", lambda record: [])
    monkeypatch.setattr(cache, "write_table", lambda *a: called.append(a))
    drawing = types.SimpleNamespace(draw_all=lambda folder, style: [])
    typesetting = types.SimpleNamespace(write_all=lambda folder: [])
    simulator = types.SimpleNamespace(write=lambda out, **k: called.append(k) or out)
    for name, module in (("figures", drawing), ("typeset", typesetting), ("simulate", simulator)):
        monkeypatch.setitem(sys.modules, f"melib.{name}", module)
        monkeypatch.setattr(f"melib.{name}", module, raising=False)
    example = re.search(r"Example:\s+melib (.*)", melib(*command, "--help").output).group(1)
    ended = melib(*shlex.split(example))
    assert ended.exit_code == 0, ended.output
    assert called


def test_help_answers_at_once_because_nothing_heavy_is_imported():
    start = time.monotonic()
    heavy = "('torch', 'pandas', 'cv2', 'papermill', 'matplotlib')"
    code = f"import sys; from melib import cli; print([name for name in {heavy} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "arguments",
    [
        ["simulate"],
        ["run", "--data", "samm"],
        ["run", "--data", "=x"],
        ["run", "--seed", "one"],
        ["run", "--only", "99"],
        ["run", "--engine", "steam"],
        ["simulate", "x", "--people", "41"],
        ["simulate", "x", "--family", "waves"],
        ["simulate", "x", "--statistics", "ck"],
        ["nonsense"],
        ["data", "check"],
        ["data", "events", "synthme", "--table", "x.xlsx"],
        ["data", "events", "synthme", "--table", "x.xlsx", "--out", "e.csv", "--policy", "guess"],
        ["data", "manifest", "--root", "."],
        ["data", "manifest", "--root", ".", "--out", "a.csv", "--verify", "b.csv"],
    ],
    ids=" ".join,
)
def test_misuse_ends_with_2(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert melib(*arguments).exit_code == 2
    assert not list(tmp_path.iterdir())


def test_a_setting_that_cannot_be_ends_with_2_and_one_sentence():
    ended = subprocess.run(
        [sys.executable, "-m", "melib.cli", "run", "--profile", "dmeo"], capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("melib: profile 'dmeo' is unknown")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "error", [DataError("samm: no table"), notebooks.NotebookError("04 stopped"), KeyboardInterrupt("04")]
)
def test_a_run_that_fails_says_so_without_a_traceback(monkeypatch, capsys, error):
    def run(*_, **__):
        raise error

    monkeypatch.setattr(notebooks, "run", run)
    ended = melib("run", "--profile", "smoke")
    assert ended.exit_code == 1
    assert isinstance(ended.exception, SystemExit)
    assert ended.stderr.startswith(f"melib: {error}")
    assert len(ended.stderr.splitlines()) == 1


def test_a_run_ends_with_the_face_card_and_the_reports_path(monkeypatch, tmp_path):
    folder = a_run(tmp_path / "demo")
    asked = {}
    monkeypatch.setattr(
        notebooks, "run", lambda profile, **settings: asked.update(settings, profile=profile) or folder
    )
    ended = melib(
        "run", "--data", "samm=/a=b", "--data", "casme2=/c", "--only", "04", "--run", "006", "--seed", "3"
    )
    assert ended.exit_code == 0, ended.output
    assert asked["data"] == {"samm": "/a=b", "casme2": "/c"}
    assert (asked["run"], asked["seed"], asked["only"], asked["profile"]) == ("006", 3, ["04"], "demo")
    assert "Does the model see the face?" in ended.stdout
    assert ended.stdout.splitlines()[-1] == str(folder / "report" / "index.html")


@pytest.mark.long
def test_figures_are_redrawn_by_name_or_path(tmp_path, monkeypatch):
    folder = a_run(tmp_path / "runs" / "006")
    monkeypatch.chdir(tmp_path)
    ended = melib("figures", "006")
    assert ended.exit_code == 0, ended.output
    before = (folder / "figures" / "agreement.pdf").read_bytes()
    assert melib("figures", folder).exit_code == 0
    assert (folder / "figures" / "agreement.pdf").read_bytes() == before
    assert melib("figures", "007").exit_code == 1


def test_doctor_names_a_remedy_for_each_thing_wrong(monkeypatch):
    assert all(remedy for *_, remedy in report.health())
    monkeypatch.setattr(
        report, "health", lambda: [(True, "Python", "3.11", "x"), (False, "disk", "1 GB free", "make room")]
    )
    ended = melib("doctor")
    assert ended.exit_code == 1
    assert re.search(r"wrong\s+disk\s+1 GB free\s+make room", ended.output)


def test_doctor_finds_this_environment_in_order():
    found = {what: fine for fine, what, *_ in report.health() if what != "disk"}
    assert all(found.values()), found


def test_a_broken_pair_of_torch_and_torchvision_is_found(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.ops", None)
    fine, said = report._torch()
    assert not fine
    assert "torchvision" in said


def test_a_data_set_in_order_passes_the_check(tiny_set):
    arguments = ["data", "check", tiny_set / "manifest.yml", "--root", tiny_set]
    ended = melib(*arguments, "--json", "--sample", 5)
    assert ended.exit_code == 0, ended.output
    found = json.loads(ended.stdout)
    assert found["events"]["ok"] + found["events"]["repaired"] == 2
    assert found["videos_missing"] == found["events_with_missing_frames"] == 0
    assert found["videos_from_first_frame"] == found["videos_found"] == 2
    assert found["known"] == found["problems"] == []
    assert found["faces_found"] == found["faces_sampled"] == 5
    ended = melib(*arguments, "--sample", 2)
    assert ended.exit_code == 0
    assert "nothing wrong found" in ended.output

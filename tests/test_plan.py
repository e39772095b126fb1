"""What a run will cost follows from what it would compute; what one of each costs is given here, since clocks vary."""

import json
from collections import defaultdict
from types import SimpleNamespace

import pytest

from melib.app import cli, plan, runner, timing
from melib.data import workers
from melib.study import intensity
from melib.study.data import folds_of
from melib.study.run import Run, profile_settings

# windows, those that hold a whole event, and events that are scored
WINDOWS = {
    "context": {"clips": (2, 1.5, 1), "empty": (1, 0, 0)},
    "paper": {"clips": (1, 1, 1), "empty": (0, 0, 0)},
}


def one_of_everything():
    """As `plan.measure` returns, everything 1 but what a count follows from."""
    known = {
        f"{protocol} {part} {name}": number
        for protocol, parts in WINDOWS.items()
        for part, numbers in parts.items()
        for name, number in zip(timing.WINDOWS, numbers, strict=True)
    }
    return defaultdict(lambda: 1.0, known)


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """A function that plans a run at smoke, with some settings and attributes of modules changed."""
    monkeypatch.setattr(plan, "measure", lambda *_: one_of_everything())

    def get(settings=(), **asked):
        monkeypatch.setattr(plan, "profile_settings", lambda name: profile_settings(name) | dict(settings))
        return plan.plan_run("smoke", root=tmp_path, **asked).set_index("notebook")

    return get


def test_more_folds_mean_more_fits_and_more_epochs_more_time(planned):
    once = planned()
    folds = planned({"folds": 3})
    assert (folds["fits"] >= once["fits"]).all() and folds["fits"].sum() == 1.5 * once["fits"].sum()
    longer = planned({"fit": profile_settings("smoke")["fit"] | {"epochs": 20}})
    assert longer["fits"].equals(once["fits"])
    assert longer.loc["04_intensity", "seconds"] > once.loc["04_intensity", "seconds"]


def test_the_fits_are_the_jobs_of_the_run_and_each_is_counted_once(planned, tmp_path):
    run = Run(tmp_path, "smoke", profile_settings("smoke"))
    people = [f"s{i:02d}" for i in range(1, 7)]
    folds = folds_of(SimpleNamespace(name="synthme", truth=True), run, subjects=people)
    jobs = [
        job for protocol in intensity.PROTOCOLS for job in intensity.jobs_of("synthme", run, protocol, folds)
    ]
    table = planned()
    assert table.loc["04_intensity", "fits"] == len(jobs) == len(set(jobs))
    # Whoever begins with 05 pays for the bases of its variants, too.
    assert (
        planned(only=["05"])["fits"].sum()
        == table.loc[["04_intensity", "05_intensity_ablations"], "fits"].sum()
    )
    weights = tmp_path / "smoke" / "weights"
    for job in jobs[:3]:
        (weights / job.name).mkdir(parents=True)
        (weights / job.name / "settings.yml").touch()
    assert planned().loc["04_intensity", "fits"] == len(jobs) - 3


def test_what_two_notebooks_call_for_is_paid_once_by_the_first(planned):
    videos = planned()["videos"]
    spec = profile_settings("smoke")["data"][0]
    assert (
        videos["01_data"] == spec["people"] * (spec["clips"] + spec["empty"])
        and videos["02_preprocessing"] == 0
    )
    assert planned(only=["02"])["videos"].sum() == videos["01_data"]


def test_a_finished_run_plans_nothing_and_times_nothing(planned, tmp_path, monkeypatch):
    (tmp_path / "smoke" / "notebooks").mkdir(parents=True)
    (tmp_path / "smoke" / "notebooks" / "01_data.json").write_text("{}")
    monkeypatch.setattr(runner, "notebook_finished", lambda *_: True)
    monkeypatch.setattr(plan, "measure", None)
    assert not planned().to_numpy(float).any()


def test_more_workers_take_less_time_and_more_memory(planned, monkeypatch):
    two = planned()
    monkeypatch.setattr(workers, "count_workers", lambda jobs: 8)
    eight = planned()
    assert eight["fits"].equals(two["fits"]) and eight["disk_gb"].equals(two["disk_gb"])
    assert (eight["seconds"] <= two["seconds"]).all() and eight["seconds"].sum() < two["seconds"].sum()
    assert (eight["memory_gb"] > two["memory_gb"]).all()


@pytest.mark.long
def test_the_command_times_this_machine_and_leaves_nothing(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(cli.app, ["run", "--profile", "smoke", "--only", "04", "--plan"])
    assert ended.exit_code == 0, ended.output
    row = next(line.split() for line in ended.stdout.splitlines() if "04_intensity" in line)
    assert row[:3] == ["04_intensity", "24", "18"]
    assert 0.1 < float(row[3]) < 2 and 0.5 < float(row[4]) < 16 and float(row[5]) > 0
    assert json.dumps([path.name for path in tmp_path.iterdir()]) == "[]"

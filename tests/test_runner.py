"""The runner's laws, on notebooks of two cells made on the spot."""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import nbformat
import pytest
import yaml
from filelock import FileLock

from melib import DataError
from melib.app import runner
from melib.data import cache
from melib.paper import report
from melib.study import provenance

PARAMETERS = 'run = "runs/smoke"  # folder of the run\nprofile = "smoke"\nseed = 0\ndata = ""\n'
COUNT = """
from pathlib import Path
place = Path(run) / "results"
place.mkdir(exist_ok=True, parents=True)
with (place / "{name}.txt").open("a") as file:
    file.write(f"{seed}\\n")
"""


def write(folder, name, *cells, parameters=PARAMETERS, **declared):
    """A notebook of a parameter cell and the given ones."""
    first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    rest = [nbformat.v4.new_code_cell(cell.replace("{name}", name)) for cell in cells]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(
        cells=[first, *rest], metadata={"kernelspec": kernel, "melib": declared}
    )
    folder.mkdir(exist_ok=True)
    nbformat.write(notebook, folder / f"{name}.ipynb")


def times(place, name):
    """How often the notebook's cell ran."""
    file = place / "results" / f"{name}.txt"
    return len(file.read_text().splitlines()) if file.exists() else 0


CLIPS, LONG = "synthme", "synthme_lv"


@pytest.fixture
def source(tmp_path):
    return tmp_path / "source"


@pytest.fixture
def go(tmp_path, source, monkeypatch):
    monkeypatch.setattr(report, "build", lambda folder: folder / "report" / "index.html")

    def call(profile="smoke", **settings):
        return runner.run_notebooks(profile, root=tmp_path / "runs", notebooks=source, **settings)

    return call


def test_notebooks_run_in_order_and_leave_copy_page_and_time(go, source):
    write(
        source,
        "02_second",
        "assert (Path := __import__('pathlib').Path)(run, 'results/01_first.txt').exists()",
    )
    equations = "from IPython.display import Markdown\nMarkdown(r'$\\alpha_1 < 2$ and $a_b_c$')"
    write(source, "01_first", COUNT, equations)
    folder = go()
    assert folder.name == "smoke"
    for name in ("01_first", "02_second"):
        assert (folder / "notebooks" / f"{name}.ipynb").is_file()
        assert "<script" not in (folder / "html" / f"{name}.html").read_text()
    page = (folder / "html" / "01_first.html").read_text()
    # An equation is drawn without a script, and one that is none stands as typed.
    assert "<msub><mi>α</mi><mn>1</mn></msub>" in page and "$a_b_c$" in page
    assert set(json.loads((folder / "timing.json").read_text())) == {"01_first", "02_second", "report"}
    assert not list(folder.rglob("*tmp*"))
    assert yaml.safe_load((folder / "parameters.yml").read_text())["profile"] == "smoke"


def test_a_kernel_is_this_interpreter_alone_and_is_given_values_of_their_types(
    go, source, tmp_path, monkeypatch
):
    """Beside a user's own kernel of that name, and files of the working folder that are called like modules."""
    spec = {"argv": ["/nonexistent", "{connection_file}"], "display_name": "user's", "language": "python"}
    kernel = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    for name in ("types", "random", "statistics"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    typed = "assert subject == '006' and seed == 3 and isinstance(data, str), (subject, seed, data)"
    own = f"import statistics, subprocess, sys; assert sys.executable == {sys.executable!r}, sys.executable"
    children = "subprocess.run([sys.executable, '-c', 'import random'], check=True)"
    write(source, "01_first", typed, own, children, parameters=PARAMETERS + 'subject = ""\n')
    go(seed=3, run="006", parameters={"subject": "006"})
    assert os.environ["JUPYTER_PATH"] == str(tmp_path / "jupyter")


def test_the_engine_reaches_the_notebooks_that_declare_it_and_another_one_repeats_nothing(go, source):
    write(source, "01_first", COUNT)
    declared = PARAMETERS + 'engine = "local"\nscheduler = ""\n'
    write(source, "02_second", "print(engine, repr(scheduler))", COUNT, parameters=declared)
    folder = go(engine="dask")
    executed = (folder / "notebooks" / "02_second.ipynb").read_text()
    assert "dask ''" in executed
    go()
    assert (times(folder, "01_first"), times(folder, "02_second")) == (1, 1)


def test_what_is_finished_is_skipped_until_something_it_depends_on_changes(go, source, tmp_path):
    declared = {"outputs": ["results/02_second.txt"], "inputs": ["results/01_first.txt"]}
    write(source, "01_first", COUNT)
    write(source, "02_second", COUNT, **declared)
    folder = go()
    go()
    assert (times(folder, "01_first"), times(folder, "02_second")) == (1, 1)

    write(
        source, "01_first", COUNT, "1 + 1"
    )  # another source: runs again, and changes the input of the second
    go()
    assert (times(folder, "01_first"), times(folder, "02_second")) == (2, 2)

    (folder / "results" / "02_second.txt").write_text("")  # an output that was cut
    with pytest.raises(DataError, match="isn't what 02_second wrote: run that notebook again"):
        runner.check_results(folder)
    go()
    assert (times(folder, "01_first"), times(folder, "02_second")) == (2, 1)
    runner.check_results(folder)


def test_the_stamp_follows_code_settings_and_data_but_not_place(source, tmp_path, monkeypatch):
    write(source, "01_first", "1")
    path = source / "01_first.ipynb"
    base = {"run": "a", "profile": "smoke", "seed": 0, "data": ""}
    package = tmp_path / "package"
    (package / "app").mkdir(parents=True)
    (package / "priors.py").write_text("one")
    (package / "app" / "cli.py").write_text("one")
    monkeypatch.setattr(provenance, "PACKAGE", package)

    def stamp(data="one", **changed):
        return runner.notebook_stamp(path, tmp_path, {**base, **changed}, {"samm": data})

    before = stamp()
    assert stamp(run="b") == before
    assert stamp(engine="dask", scheduler="tcp://host:8786") == before
    assert stamp(seed=1) != before
    (package / "app" / "cli.py").write_text("two")
    assert stamp() == before
    assert stamp(data="two") != before
    file = tmp_path / "data" / "synthme" / "corrections" / "synthme.csv"  # of simulated data
    file.parent.mkdir(parents=True)
    (file.parent / ".synthme.host-1.csv").write_text("sub")  # whoever wrote it was killed
    assert stamp() == before
    file.write_text("subject\n")
    assert stamp() != before
    file.unlink()
    (package / "priors.py").write_text("two")
    assert stamp() != before


def test_data_are_their_bytes_wherever_they_lie_and_whenever_they_were_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_manifest_hash", lambda name: name)
    monkeypatch.setattr(cache, "_LARGE", 0)  # everything is remembered by size and time, ...
    monkeypatch.setattr(cache, "_YOUNG", 0)
    data, copy = tmp_path / "samm", tmp_path / "elsewhere"
    for name in ("sheets/table.csv", "006/006_1/1.jpg", "006/006_1/2.jpg", "006/006_2/1.jpg"):
        cache.write_json(data / name, name)

    def data_hash(place):
        time.sleep(0.02)  # coarser than some disks' clocks
        return runner.data_hash("samm", place, tmp_path / "cache")

    before = data_hash(data)
    shutil.copytree(data, copy)
    (copy / "readme.txt").write_text("")
    (copy / ".DS_Store").write_text("")
    cache.write_yaml(copy / "runs" / "smoke" / provenance.CONFIGURATION, {})
    (copy / "runs" / "smoke" / "intensity.csv").write_text("what a run writes isn't data")
    (copy / "again").symlink_to(copy)
    assert data_hash(copy) == data_hash(data) == before
    changes = [  # ... and every change shows
        lambda: (copy / "006/006_2/2.jpg").write_text("unpacked later"),
        lambda: (copy / "006/006_1/1.jpg").write_text('"006/006_1/9.jpg"\n'),
        lambda: (copy / "006/006_1/2.jpg").unlink(),
        lambda: (copy / "006/006_2").rename(copy / "006/006_3"),
        lambda: (copy / "sheets/table.csv").write_text("another"),
    ]
    hashes = {before}
    for change in changes:
        change()
        hashes.add(data_hash(copy))
    assert len(hashes) == 1 + len(changes)


def test_an_unknown_parameter_is_refused_before_anything_runs(go, source):
    write(source, "01_first", COUNT)
    with pytest.raises(
        DataError, match=r"01_first[.]ipynb has no parameter 'sede'; it declares run, profile, seed, data"
    ):
        go(parameters={"sede": 1})
    write(source, "02_bare", "1", parameters='run = ""\nprofile = ""\n')
    with pytest.raises(DataError, match=r"02_bare[.]ipynb has no parameter 'seed'"):
        go()
    assert not (source.parent / "runs" / "smoke" / "results").exists()


def test_a_failing_cell_ends_in_one_sentence_and_what_is_finished_stays(go, source):
    write(source, "01_first", COUNT)
    write(source, "02_second", "1", "{}['apex']")
    with pytest.raises(
        runner.NotebookError, match=r"^02_second stopped in cell \[4\]: KeyError: 'apex'; the"
    ):
        go()
    folder = source.parent / "runs" / "smoke"
    assert (folder / "notebooks" / "02_second.failed.ipynb").is_file()
    assert not (folder / "notebooks" / "02_second.ipynb").exists()
    assert "KeyError" in (folder / "log.txt").read_text()
    write(source, "02_second", "1")
    go()
    assert times(folder, "01_first") == 1
    assert not (folder / "notebooks" / "02_second.failed.ipynb").exists()


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ("assert 1 > 2", r"stopped in cell \[3\]: AssertionError: assert 1 > 2; the traceback"),
        ("from melib.errors import Misuse\nraise Misuse('no apex')", r"stopped in cell \[3\]: no apex$"),
        ("import os; os._exit(1)", r"stopped in cell .*kernel died"),
        ("import time; time.sleep(600)", r"stopped in cell .*time limit of 0.02 minutes"),
        ("1", r"ended without writing results/intensity.csv"),
    ],
)
def test_whatever_stops_a_notebook_is_said_in_one_sentence(go, source, cell, sentence):
    write(
        source, "01_first", cell, outputs=["results/intensity.csv"], minutes=0.02 if "sleep" in cell else 10
    )
    with pytest.raises(runner.NotebookError, match=rf"^01_first {sentence}"):
        go()


def test_only_notebooks_that_were_named_and_fit_the_data_are_run(go, source, capfd):
    for name, needs in (("01_first", {}), ("02_second", {"needs": "clips"}), ("06_third", {"needs": "long"})):
        write(source, name, COUNT, **needs)
    folder = go(data={CLIPS: source}, run="mine", only=["02", "06"])
    assert [times(folder, name) for name in ("01_first", "02_second", "06_third")] == [0, 1, 0]
    line = "06_third: skipped, synthme: no long videos"
    assert line in capfd.readouterr().err and line in (folder / "log.txt").read_text()
    with pytest.raises(DataError, match=r"none of the notebooks asked for fits .*synthme: no long"):
        go(data={CLIPS: source}, only=["06"])
    with pytest.raises(DataError, match="no notebook begins with '90'"):
        go(only=["90"])
    with pytest.raises(DataError, match="was made with seed 0, not 2"):
        go(data={CLIPS: source}, run="mine", seed=2, only=["02"])


def test_a_correction_and_a_joined_manifest_are_in_the_hash_of_the_data(tmp_path):
    own = yaml.safe_load((Path(runner.PACKAGE).parent / "data_manifests" / "synthme.yml").read_text())
    own = own | {"name": "mine", "truth": None}
    path, data = tmp_path / "mine.yml", tmp_path / "data"
    (data / "corrections").mkdir(parents=True)
    hashes = set()
    for join in ({}, {"join": {"dataset": "synthme_lv", "take": ["emotion"]}}):
        for corrections in ("", "subject,video\n"):
            path.write_text(yaml.safe_dump({k: v for k, v in {**own, **join}.items() if v is not None}))
            (tmp_path / "corrections").mkdir(exist_ok=True)
            (tmp_path / "corrections" / "mine.csv").write_text(corrections)
            hashes.add(runner.data_hash(str(path), data, tmp_path / "cache"))
    assert len(hashes) == 4


def test_a_folder_is_held_by_one_run_at_a_time(go, source, tmp_path):
    """tests/test_faults.py shows that nothing stays locked after a process is gone."""
    write(source, "01_first", "1")
    with FileLock(tmp_path / "runs" / "smoke" / ".lock"), pytest.raises(DataError, match="another melib is"):
        go()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"profile": "dmeo"}, "profile 'dmeo' is unknown"),
        ({"engine": "slurm"}, "engine 'slurm' is unknown"),
        ({"scheduler": "tcp://host:8786"}, "engine 'local' has no scheduler"),
        ({"data": {"samm": "/nonexistent"}}, "samm: /nonexistent isn't a folder"),
    ],
)
def test_what_does_not_exist_is_refused_in_one_sentence(go, source, settings, sentence):
    write(source, "01_first", "1")
    with pytest.raises(DataError, match=sentence):
        go(**settings)

"""The runner's laws, on notebooks of two cells made on the spot."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
import yaml

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


@pytest.fixture
def source(tmp_path):
    return tmp_path / "source"


@pytest.fixture
def go(tmp_path, source, monkeypatch):
    monkeypatch.setattr(report, "build", lambda folder: folder / "report" / "index.html")

    def call(profile="smoke", **settings):
        return runner.run(profile, root=tmp_path / "runs", notebooks=source, **settings)

    return call


def test_notebooks_run_in_order_and_leave_copy_page_and_time(go, source):
    write(
        source,
        "02_second",
        "assert (Path := __import__('pathlib').Path)(run, 'results/01_first.txt').exists()",
    )
    write(source, "01_first", COUNT)
    folder = go()
    assert folder.name == "smoke"
    for name in ("01_first", "02_second"):
        assert (folder / "notebooks" / f"{name}.ipynb").is_file()
        assert "<script" not in (folder / "html" / f"{name}.html").read_text()
    assert set(json.loads((folder / "timing.json").read_text())) == {"01_first", "02_second", "report"}
    assert not list(folder.rglob("*tmp*"))
    assert yaml.safe_load((folder / "parameters.yml").read_text())["profile"] == "smoke"


def test_an_equation_is_drawn_on_the_page_without_a_script_and_one_that_is_none_stands_as_typed(go, source):
    write(
        source,
        "01_first",
        "from IPython.display import Markdown\nMarkdown(r'$\\alpha_1 < 2$ and $a_b_c$')",
    )
    page = (go() / "html" / "01_first.html").read_text()
    assert "<msub><mi>α</mi><mn>1</mn></msub>" in page
    assert "$a_b_c$" in page


def test_values_keep_their_types(go, source):
    check = "assert subject == '006' and seed == 3 and isinstance(data, str), (subject, seed, data)"
    write(source, "01_first", check, parameters=PARAMETERS + 'subject = ""\n')
    go(seed=3, run="006", parameters={"subject": "006"})


def test_the_engine_reaches_the_notebooks_that_declare_it_and_another_one_repeats_nothing(go, source):
    write(source, "01_first", COUNT)
    declared = PARAMETERS + 'engine = "local"\nscheduler = ""\n'
    write(source, "02_second", "print(engine, repr(scheduler))", COUNT, parameters=declared)
    folder = go(engine="dask")
    executed = (folder / "notebooks" / "02_second.ipynb").read_text()
    assert "dask ''" in executed
    go()
    assert (times(folder, "01_first"), times(folder, "02_second")) == (1, 1)


def test_the_kernel_is_this_interpreter_even_beside_a_users_own(go, source, tmp_path, monkeypatch):
    spec = {"argv": ["/nonexistent", "{connection_file}"], "display_name": "user's", "language": "python"}
    kernel = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    write(source, "01_first", f"import sys; assert sys.executable == {sys.executable!r}, sys.executable")
    go()
    assert os.environ["JUPYTER_PATH"] == str(tmp_path / "jupyter")


def test_files_of_the_working_folder_are_not_imported(go, source, tmp_path, monkeypatch):
    for name in ("types", "random", "statistics"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    children = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import random'], check=True)"
    write(source, "01_first", f"import statistics\n{children}")
    go()


def test_a_result_that_was_cut_is_made_again_by_a_run_and_drawn_by_nobody(go, source):
    write(source, "01_first", COUNT, outputs=["results/01_first.txt"])
    folder = go()
    runner.check_results(folder)
    (folder / "results" / "01_first.txt").write_text("")
    with pytest.raises(DataError, match="isn't what 01_first wrote: run that notebook again"):
        runner.check_results(folder)
    go()
    assert times(folder, "01_first") == 1
    runner.check_results(folder)


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

    (folder / "results" / "02_second.txt").unlink()  # a lost output
    go()
    assert (times(folder, "01_first"), times(folder, "02_second")) == (2, 1)


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
        return runner.stamp(path, tmp_path, {**base, **changed}, {"samm": data})

    before = stamp()
    assert stamp(run="b") == before
    assert stamp(engine="dask", scheduler="tcp://host:8786") == before
    assert stamp(seed=1) != before
    (package / "app" / "cli.py").write_text("two")
    assert stamp() == before
    assert stamp(data="two") != before
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
    seen = {before}
    for change in changes:
        change()
        seen.add(data_hash(copy))
    assert len(seen) == 1 + len(changes)


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


def test_an_assertion_without_words_is_quoted(go, source):
    write(source, "01_first", "value = 1\nassert value > 2")
    with pytest.raises(
        runner.NotebookError, match=r"cell \[3\]: AssertionError: assert value > 2; the traceback"
    ):
        go()


@pytest.mark.parametrize("kind", ["DataError", "Misuse"])
def test_a_data_error_is_shown_as_it_reads_in_the_notebook_too(go, source, kind):
    says = "samm: row 3 has no apex; see samm.yml"
    write(source, "01_first", f"from melib.errors import {kind}\nraise {kind}({says!r})")
    with pytest.raises(runner.NotebookError, match=rf"^01_first stopped in cell \[3\]: {says}$"):
        go()
    failed = source.parent / "runs" / "smoke" / "notebooks" / "01_first.failed.ipynb"
    shown = [out for cell in nbformat.read(failed, 4).cells for out in cell.get("outputs", [])]
    assert [out["traceback"] for out in shown if out["output_type"] == "error"] == [[f"{kind}: {says}"]]


def test_an_output_that_was_promised_must_exist(go, source):
    write(source, "01_first", "1", outputs=["results/intensity.csv"])
    with pytest.raises(runner.NotebookError, match=r"without writing results/intensity.csv"):
        go()


@pytest.mark.long
def test_a_notebook_over_its_time_limit_is_stopped(go, source):
    write(source, "01_first", "import time; time.sleep(60)", minutes=0.03)
    start = time.monotonic()
    with pytest.raises(runner.NotebookError, match=r"time limit of 0.03 minutes"):
        go()
    assert time.monotonic() - start < 30


def test_a_dead_kernel_is_named(go, source):
    write(source, "01_first", "import os; os._exit(1)")
    with pytest.raises(runner.NotebookError, match=r"01_first stopped in cell .*kernel died"):
        go()


def test_only_runs_what_was_named(go, source):
    for name in ("01_first", "02_second", "90_explore"):
        write(source, name, COUNT)
    folder = go(only=["02"])
    assert (times(folder, "01_first"), times(folder, "02_second")) == (0, 1)
    with pytest.raises(DataError, match="no notebook begins with '90'"):
        go(only=["90"])


CLIPS, LONG = "synthme", "synthme_lv"


@pytest.mark.parametrize(
    ("data", "fitting"),
    [
        ([], ["01_clips", "02_both", "03_long"]),
        ([CLIPS], ["01_clips", "02_both"]),
        ([LONG], ["02_both", "03_long"]),
        ([CLIPS, LONG], ["01_clips", "02_both", "03_long"]),
    ],
)
def test_only_notebooks_that_some_data_set_fits_are_run_and_the_others_are_named(source, data, fitting):
    for name, needs in (("01_clips", {"needs": "clips"}), ("02_both", {}), ("03_long", {"needs": "long"})):
        write(source, name, "1", **needs)
    found, unfit = runner._fitting(runner.find(source), dict.fromkeys(data, source))
    assert [path.stem for path in found] == fitting
    assert len(unfit) == 3 - len(fitting)
    assert all("skipped" in line and line[:7] not in str(fitting) for line in unfit)


def test_a_notebook_that_does_not_fit_is_skipped_in_one_line(go, source, capfd):
    write(source, "01_first", COUNT, needs="clips")
    write(source, "06_second", COUNT, needs="long")
    folder = go(data={CLIPS: source}, run="mine")
    assert (times(folder, "01_first"), times(folder, "06_second")) == (1, 0)
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("06_second")]
    assert said == ["06_second: skipped, synthme: no long videos"]
    assert said[0] in (folder / "log.txt").read_text()
    with pytest.raises(DataError, match="synthme: none of the notebooks asked for fits"):
        go(data={CLIPS: source}, only=["06"])


def test_every_notebook_says_what_it_needs():
    declared = {p.stem: runner._declared(nbformat.read(p, as_version=4)) for p in runner.find()}
    needs = {name: each.get("needs") for name, each in declared.items()}
    by_need = {n: {name[:2] for name, need in needs.items() if need == n} for n in ("clips", "long", "truth")}
    assert by_need == {"clips": {"01", "02", "04", "05"}, "long": {"06", "07"}, "truth": {"08"}}


def test_a_correction_and_a_joined_manifest_are_in_the_stamp(tmp_path):
    own = yaml.safe_load((Path(runner.PACKAGE).parent / "data_manifests" / "synthme.yml").read_text())
    own.pop("truth")
    path = tmp_path / "mine.yml"
    path.write_text(yaml.safe_dump(own | {"name": "mine"}))
    before = runner._manifest_hash(str(path))
    (tmp_path / "corrections").mkdir()
    (tmp_path / "corrections" / "mine.csv").write_text("subject,video\n")
    corrected = runner._manifest_hash(str(path))
    assert corrected != before
    path.write_text(
        yaml.safe_dump(own | {"name": "mine", "join": {"dataset": "synthme_lv", "take": ["emotion"]}})
    )
    assert runner._manifest_hash(str(path)) != corrected


def test_a_manifest_s_path_gives_the_run_a_name_without_folders():
    assert runner.name_of("paper", 0, {"../my/set.yml": "/a", "samm": "/b"}) == "paper_samm_set"


def test_two_settings_never_share_a_folder(go, source):
    write(source, "01_first", "1")
    go(run="mine", seed=1)
    with pytest.raises(DataError, match="was made with seed 1, not 2"):
        go(run="mine", seed=2)
    assert runner.name_of("demo", 2) != runner.name_of("demo", 1) != runner.name_of("demo")


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


def test_a_name_lies_below_the_root_and_a_path_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert runner.locate("006") == tmp_path / "runs" / "006"
    assert runner.locate("runs/006") == tmp_path / "runs" / "006"
    assert runner.locate(tmp_path / "x") == tmp_path / "x"


PROGRAM = """
import sys
from melib.app import runner
from melib.data import cache
from melib.paper import report
report.build = lambda folder: folder
try:
    runner.run("smoke", root=sys.argv[1], notebooks=sys.argv[2])
except KeyboardInterrupt as error:
    sys.exit(f"interrupted: {error}")
"""


def begin(source):
    """Start a run in another process and wait until its second notebook is at work."""
    arguments = [sys.executable, "-c", PROGRAM, str(source.parent / "runs"), str(source)]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, start_new_session=True)
    flag = source.parent / "runs" / "smoke" / "results" / "02_second.txt"
    for _ in range(600):
        if flag.exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    assert flag.exists(), process.communicate()[1]
    return process, int(flag.with_name("pid").read_text())


def slow_second(source):
    pid = "import os, time\n(place / 'pid').write_text(str(os.getpid()))\n"
    write(source, "01_first", COUNT)
    write(source, "02_second", COUNT.replace("with", pid + "with") + "time.sleep(120)")


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_stopped_at_any_point_leaves_nothing_half_and_continues(go, source, how):
    slow_second(source)
    process, kernel = begin(source)
    process.send_signal(how)
    said = re.sub(r"(finished) in .*", r"\1", process.communicate(timeout=30)[1])
    folder = source.parent / "runs" / "smoke"
    if how == signal.SIGINT:
        assert "interrupted: 02_second was interrupted in cell" in said
        assert said.splitlines() == [
            "1/2 01_first: started",
            "1/2 01_first: finished",
            "2/2 02_second: started",
            "interrupted: 02_second was interrupted in cell [3]",
        ]
        assert not list(folder.glob("notebooks/.*"))
    for _ in range(100):
        if not is_alive(kernel):
            break
        time.sleep(0.1)
    assert not is_alive(kernel)
    assert [path.name for path in sorted(folder.glob("notebooks/[0-9]*"))] == [
        "01_first.ipynb",
        "01_first.json",
    ]

    write(source, "02_second", COUNT)
    go()
    assert times(folder, "01_first") == 1


@pytest.mark.long
def test_a_folder_is_held_by_one_run_at_a_time(go, source):
    slow_second(source)
    process, _ = begin(source)
    try:
        with pytest.raises(DataError, match="another melib is working in"):
            go()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)

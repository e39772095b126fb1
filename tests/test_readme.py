"""The README and its pages from top to bottom: their commands run in a clean folder, and every result is a run's.

The fast tests execute nothing: each command is one that its program understands. The long one copies and pastes all of them,
in order, but those of LEFT_OUT; INSTEAD says what is run instead of what takes too long.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import click
import papermill
import pytest
import typer.main
from made_up import a_run
from papermill.cli import papermill as papermill_command
from test_answers import TABLES, write
from test_cli import own_curves, own_video
from test_latex import RESULTS

from melib.app import cli
from melib.data import manifest
from melib.study import results

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("readme_tables", ROOT / "docs" / "readme_tables.py")
readme_tables = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(readme_tables)
README, DOCS = ROOT / "README.md", ROOT / "docs"
# In the order of reading.
PAGES = ("audit", "sharing", "exchange", "licensed_data", "runs", "troubleshooting")
TEXT = "".join(
    page.read_text(encoding="utf-8") for page in (README, *(DOCS / f"{name}.md" for name in PAGES))
)
FENCED = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
BLOCKS = [block for language, block in FENCED if language == "sh"]
LICENSED = "a data set that is lent under licence (tests/test_licensed.py runs invented ones)"
CLUSTER = "never ends by itself, and belongs on several machines (tests/test_workers.py starts one)"
LEFT_OUT = {
    "make test": "this is one of its tests",
    "make reproduce RUN=second SEED=1": "an hour; the same as another run with another seed",
    "for set in samm casme2; do": LICENSED,
    ".venv/bin/papermill notebooks/03_priors.ipynb": LICENSED,
    ".venv/bin/dask scheduler": CLUSTER,
    ".venv/bin/dask worker": CLUSTER,
    ".venv/bin/melib run --profile paper --engine dask": CLUSTER,
    "from dask_jobqueue import SLURMCluster": "wants Slurm",
    "make CPU=1": "wants the index of torch's processor builds",
    "conda ": "wants conda",
    "docker ": "wants Docker",
    ".venv/bin/melib data check samm": LICENSED,
    "make reproduce DATA=": LICENSED,
    ".venv/bin/melib run --profile published --data": LICENSED,
    ".venv/bin/melib share published_samm": LICENSED,
    ".venv/bin/melib compare shared/samm": LICENSED,
    ".venv/bin/melib audit runs/published_samm": LICENSED,
    ".venv/bin/melib run --profile paper --data samm": LICENSED,
    ".venv/bin/melib data events samm_lv": LICENSED,
}
# An hour at profile demo: a run at smoke instead.
INSTEAD = {
    "make reproduce": "make reproduce PROFILE=smoke && cp -al runs/smoke runs/demo",
    "make docs RUN=smoke": ":",  # tests/test_docs.py builds a site
    # The text beside it tells to make a copy first.
    "make figures RUN=demo STYLE=journal.mplstyle": "cp melib/paper/paper.mplstyle journal.mplstyle && "
    "make figures RUN=demo STYLE=journal.mplstyle",
    ".venv/bin/melib run --profile demo --only 04": ".venv/bin/melib run --profile smoke --only 04",
}
# Instead of programs: each prints what it was asked, a line of json a call.
STAND_INS = """
show() { python3 -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "$@"; }
make() { show make "$@"; }
mkdir() { :; }
dask() { :; }
melib() { show melib "$@"; }
papermill() { show papermill "$@"; }
conda() { :; }
docker() { :; }
"""


def commands():
    code = STAND_INS + "".join(BLOCKS).replace(".venv/bin/", "")
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code], capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in ended.stdout.splitlines()]


COMMANDS = commands()


def steps():
    """What is to be copied and pasted, in order: whole shell commands without their comments, and Python examples."""
    for language, block in FENCED:
        held = "" if language == "sh" else block
        for line in block.splitlines() if language == "sh" else ():
            held += re.sub(r"\s+#.*", "", line) + "\n"
            whole = not subprocess.run(["bash", "-nc", held], capture_output=True).returncode
            if whole and held.strip():
                yield language, held.strip()
            held = "" if whole else held
        if language == "python":
            yield language, held
        assert language != "sh" or not held, held


STEPS = list(steps())


def calls(program):
    return [words[1:] for words in COMMANDS if words[0] == program]


def understood(command, words):
    """Parse as the program would, down to the last subcommand."""
    context = command.make_context(command.name, list(words))
    while isinstance(context.command, click.Group):
        name, command, rest = context.command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        context = command.make_context(name, rest, parent=context)
    return context


@pytest.mark.parametrize("words", calls("melib"), ids=" ".join)
def test_every_melib_command_is_understood(words):
    understood(typer.main.get_command(cli.app), words)


@pytest.mark.parametrize("words", calls("papermill"), ids=" ".join)
def test_papermill_is_given_parameters_that_the_notebook_declares_as_text_where_they_are_text(words):
    given = understood(papermill_command, words).params
    declared = papermill.inspect_notebook(str(ROOT / given["notebook_path"]))
    assert {name for name, _ in (*given["parameters"], *given["parameters_raw"])} <= set(declared)
    assert {name for name, _ in given["parameters"]} <= {"seed"}


@pytest.mark.parametrize("words", calls("make"), ids=" ".join)
def test_make_has_the_target_and_the_settings(words):
    text = (ROOT / "Makefile").read_text()
    targets = [word for word in words if "=" not in word]
    assert all(re.search(rf"^{target}:", text, re.MULTILINE) for target in targets)
    names = [word.partition("=")[0] for word in words if "=" in word]
    assert all(re.search(rf"^{name} \?=", text, re.MULTILINE) for name in names)


def test_every_data_set_that_is_named_has_a_manifest():
    names = re.findall(
        r"^\| [^|]*?`[^|]*", (DOCS / "licensed_data.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    named = {name for row in names for name in re.findall(r"`(\w+)`", row)}
    assert len(named) == 12
    assert all(manifest.read_manifest(name).name == name for name in named)


# Said by Python, torch and Jupyter.
OTHERS_SAY = {"operator torchvision::nms does not exist", "No module named 'melib'"}


def test_what_troubleshooting_quotes_is_what_the_code_says():
    first_cells = re.findall(
        r"^\| ([^|]+) \|", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    quoted = {span for cell in first_cells for span in re.findall(r"`([^`]+)`", cell) if " " in span}
    assert quoted > OTHERS_SAY
    code = "".join(path.read_text() for path in [ROOT / "Makefile", *sorted((ROOT / "melib").rglob("*.py"))])
    for span in quoted - OTHERS_SAY:
        assert all(part.strip(", ") in code for part in span.split("...")), span


def test_the_blocks_of_results_are_those_that_the_stated_run_gives():
    texts = [page.read_text(encoding="utf-8") for page in readme_tables.PAGES]
    assert [readme_tables.filled(text) for text in texts] == texts, (
        "make them again: .venv/bin/python docs/readme_tables.py"
    )
    assert all("".join(texts).count(f"<!-- {name}, made by") == 1 for name in readme_tables.blocks())


def test_no_result_is_typed_beside_the_blocks():
    section = README.read_text(encoding="utf-8").partition("## What it finds")[2].partition("\n## ")[0]
    for text in (section, (DOCS / "results.md").read_text(encoding="utf-8")):
        typed = re.sub(r"<!-- \w+, made by .*?<!-- end -->", "", text, flags=re.DOTALL)
        assert len(typed) < len(text) and "<!--" not in typed
        assert not re.findall(r"(?<![\w.])\d*\.\d+", re.sub(r"`[^`]*`", "", typed))


def test_what_the_pages_say_in_words_holds_in_the_results():
    card, differences, factorial, transfer = (
        results.read_result(DOCS / "results" / f"{name}.csv")
        for name in ("face_card", "model_differences", "factorial", "spotting_transfer")
    )
    card = results.over_seeds(card).query("protocol == 'context' and model == 'resnet18_bigru'")
    follow = card[card["quantity"] == "apex_follow"].set_index("input")
    # "On flow the network follows the face ...; on raw frames, the paper's input, it draws the same curve whatever happens."
    assert follow.loc["flow", "low"] > 0.5 and abs(follow.loc["raw", "estimate"]) < 0.1
    # "On clips cut from onset to offset, position alone scores what the network scores on raw frames."
    asked = (
        "protocol == 'paper' and model == 'resnet18_bigru' and input == 'raw' and control == 'position_only'"
    )
    (alone,) = differences.query(f"{asked} and metric == 'spearman_pseudo'").to_dict("records")
    assert alone["low"] <= 0 and abs(alone["difference"]) < 0.05
    # "On a family of movements that nothing was trained on, spotting finds more ..., but what it finds it names no better."
    there = results.over_seeds(transfer, ["dataset", "system"]).set_index("system")
    ours, motion = there.loc["ours"], there.loc["motion"]
    assert (
        ours["spotting_f1"] > motion["spotting_f1_high"]
        and ours["end_to_end_f1_low"] < motion["end_to_end_f1"]
    )
    # "Of our parts the features and the network's body carry the lead ...; triangle and decoder add nothing to it ..."
    parts = factorial.query("metric == 'end_to_end_f1'").set_index("factor")
    assert parts["effect"].idxmax() == "features" and (parts.loc[["features", "body"], "low"] > 0).all()
    rest = parts.loc[["target", "decoder"]]
    assert (rest["low"] < 0).all() and (rest["high"] > 0).all()
    # "... and the decoder invents more."
    (alarms,) = factorial.query("metric == 'fp_per_hour' and factor == 'decoder'").to_dict("records")
    assert alarms["low"] > 0


def test_a_run_fills_the_blocks_from_its_results_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(readme_tables, "DOCS", tmp_path)
    run = write(a_run(tmp_path / "run"), TABLES | RESULTS)
    readme_tables.keep(run)
    filled = readme_tables.blocks()
    assert "commit 0000000" in filled["intensity"]
    assert "**yes**" in filled["answers"]


def test_a_run_of_some_notebooks_leaves_the_other_tables_to_the_run_before(tmp_path, monkeypatch):
    monkeypatch.setattr(readme_tables, "DOCS", tmp_path)
    readme_tables.keep(write(a_run(tmp_path / "whole"), TABLES | RESULTS))
    part = write(a_run(tmp_path / "part"), {"model_differences": RESULTS["model_differences"]})
    (part / "environment.json").write_text(json.dumps({"commit": "1" * 40, "device": "another"}))
    readme_tables.keep(part)
    filled = readme_tables.blocks()
    assert "commit 1111111" in filled["intensity"] and "commit 0000000" in filled["spotting"]
    assert "another" in filled["time"] and "a processor" in filled["time"]


# From top to bottom


def left_out(step):
    return any(step.startswith(begin) for begin in LEFT_OUT)


def test_what_is_not_run_is_still_in_the_pages_and_the_rest_is_known_to_a_shell():
    listed = [step for _, step in STEPS]
    assert all(any(step.startswith(begin) for step in listed) for begin in LEFT_OUT)
    assert set(INSTEAD) <= set(listed)
    assert not any(left_out(step) for step in INSTEAD)
    assert {language for language, _ in FENCED} <= {"sh", "python", "latex"}


def clean_checkout(folder):
    """The files of the repository as they are now, without history, beside the environment that runs this test."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-coz", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_a_newcomer_gets_from_the_top_to_the_bottom_of_the_pages_and_to_the_same_bytes(tmp_path, smoke_run):
    folder = clean_checkout(tmp_path / "melib")
    # The copy is what is imported, by kernels and workers, too; and nothing is installed anew.
    environment = os.environ | {"PYTHONPATH": str(folder)}
    environment.pop("MAKEFLAGS", None)
    for language, step in STEPS:
        if left_out(step):
            continue
        if "clip.mp4" in step and not (folder / "clip.mp4").exists():
            frames = folder / "runs" / "smoke" / "data" / "synthme" / "frames"
            own_video(next(frames.glob("*/*")), folder / "clip.mp4")
        if "curves.csv" in step and not (folder / "curves.csv").exists():
            own_curves(folder / "curves.csv", folder / "events_of_curves.csv")
        command = [str(folder / ".venv" / "bin" / "python"), "-c", step]
        if language == "sh":
            made = 'make() { command make -o .venv/.stamp "$@"; }\n'
            command = ["bash", "-euo", "pipefail", "-c", made + INSTEAD.get(step, step)]
        start = time.monotonic()
        ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        print(f"{time.monotonic() - start:6.1f} s  {step.splitlines()[0]}")
        assert ended.returncode == 0, f"{step}\n{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}"
    runs = folder / "runs"
    for run in ("smoke", "demo"):
        assert (runs / run / "report" / "index.html").is_file()
        assert {"figures", "results"} <= {path.name for path in (runs / run).iterdir()}
    assert list((runs / "demo" / "tables").glob("*.tex"))
    assert list((runs / "demo" / "figures" / "journal").glob("*.pdf"))
    assert list((folder / "predictions").glob("clip*.csv"))
    assert (folder / "first" / "first.png").is_file()
    tables = [path.relative_to(smoke_run) for path in (smoke_run / "results").rglob("*.csv")]
    assert {f"results/{name}.csv" for name in ("intensity", "spotting", "limits")} <= set(map(str, tables))
    for table in tables:
        assert (runs / "smoke" / table).read_bytes() == (smoke_run / table).read_bytes(), table

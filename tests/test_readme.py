"""Every command of the README is one that its program understands: bash expands it, nothing is executed."""

import json
import re
import subprocess
from pathlib import Path

import click
import papermill
import pytest
import typer.main
from papermill.cli import papermill as papermill_command

from melib import cli, manifest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
# Instead of programs: each prints what it was asked, a line of json a call.
STAND_INS = """
show() { python3 -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "$@"; }
make() { show make "$@"; }
mkdir() { :; }
dask() { :; }
melib() { show melib "$@"; }
papermill() { show papermill "$@"; }
"""


def commands():
    code = STAND_INS + "".join(BLOCKS).replace(".venv/bin/", "")
    said = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code], capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in said.stdout.splitlines()]


COMMANDS = commands()


def of(program):
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


@pytest.mark.parametrize("words", of("melib"), ids=" ".join)
def test_every_melib_command_is_understood(words):
    understood(typer.main.get_command(cli.app), words)


@pytest.mark.parametrize("words", of("papermill"), ids=" ".join)
def test_papermill_is_given_parameters_that_the_notebook_declares_as_text_where_they_are_text(words):
    given = understood(papermill_command, words).params
    declared = papermill.inspect_notebook(str(ROOT / given["notebook_path"]))
    assert {name for name, _ in (*given["parameters"], *given["parameters_raw"])} <= set(declared)
    assert {name for name, _ in given["parameters"]} <= {"seed"}


@pytest.mark.parametrize("words", of("make"), ids=" ".join)
def test_make_has_the_target_and_the_settings(words):
    text = (ROOT / "Makefile").read_text()
    targets = [word for word in words if "=" not in word]
    assert all(re.search(rf"^{target}:", text, re.MULTILINE) for target in targets)
    names = [word.partition("=")[0] for word in words if "=" in word]
    assert all(re.search(rf"^{name} \?=", text, re.MULTILINE) for name in names)


def test_the_loop_covers_every_data_set_and_seed():
    runs = [words for words in of("melib") if words[0] == "run" and "--seed" in words]
    pairs = {(words[words.index("--data") + 1], words[words.index("--seed") + 1]) for words in runs}
    assert pairs == {(f"{name}=/data/{name}", seed) for name in ("samm", "casme2") for seed in "012"}


def test_every_data_set_that_is_named_has_a_manifest():
    text = (ROOT / "README.md").read_text()
    section = text.partition("## Licensed data")[2].partition("\n## ")[0]
    names = re.findall(r"^\| [^|]*?`[^|]*", section, re.MULTILINE)
    named = {name for row in names for name in re.findall(r"`(\w+)`", row)}
    assert len(named) == 10
    assert all(manifest.read_manifest(name).name == name for name in named)

"""One set of packages: environment.yml, pyproject.toml, requirements.lock and what is installed agree."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK_LINES = [
    line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")
]
LOCK = {canonicalize_name(Requirement(line).name): Requirement(line) for line in LOCK_LINES}
WANTED = [Requirement(text) for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]]


def version(name):
    return str(LOCK[name].specifier).removeprefix("==")


def test_the_lock_pins_each_package_exactly_and_names_no_place():
    for line in LOCK_LINES:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+( ; sys_platform == \"linux\")?", line), line
    assert len(LOCK) == len(LOCK_LINES)


@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_every_dependency_is_locked_within_its_range(wanted):
    name = canonicalize_name(wanted.name)
    assert name in LOCK
    assert wanted.specifier.contains(version(name), prereleases=True)


def test_the_lock_holds_what_pyproject_needs_and_nothing_else():
    """Follow the installed packages' own requirements from pyproject.toml, extras included."""
    needed, todo = set(), [(canonicalize_name(r.name), frozenset(r.extras)) for r in WANTED]
    seen = set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        needed.add(name)
        for text in importlib.metadata.requires(name) or []:
            requirement = Requirement(text)
            contexts = [{**default_environment(), "extra": extra} for extra in ("", *extras)]
            if requirement.marker is None or any(
                requirement.marker.evaluate(context) for context in contexts
            ):
                todo.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    assert set(LOCK) == needed - {"pip", "melib"}


def test_what_is_installed_is_what_is_locked():
    for name in LOCK:
        assert importlib.metadata.version(name) == version(name), name


def test_torch_and_torchvision_are_the_pair_that_was_run():
    pair = [
        Requirement(text)
        for text in importlib.metadata.requires("torchvision") or []
        if text.startswith("torch")
    ]
    assert any(requirement.specifier.contains(version("torch")) for requirement in pair)
    assert "torchvision" in LOCK


def test_conda_brings_the_same_python_and_pip_brings_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == PROJECT["name"]
    packages = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pip == ["-r requirements.lock", "-e ."]
    assert "pip" in packages
    (python,) = [entry.removeprefix("python=") for entry in packages if entry.startswith("python=")]
    supported = SpecifierSet(PROJECT["requires-python"])
    assert supported.contains(f"{python}.0")
    assert not supported.contains("3.12.0")
    assert not supported.contains("3.10.9")
    assert ".".join(map(str, sys.version_info[:2])) == python
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert f'python-version: "{python}"' in workflow


def test_the_hosted_workflow_and_ci_call_the_same_two_targets():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    steps = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]
    assert steps == ["make test", "make test-long"]
    ci = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("make ")]
    assert ci == steps


def make(*arguments, **settings):
    return subprocess.run(["make", "-C", str(ROOT), *arguments], capture_output=True, text=True, **settings)


def test_the_settings_of_make_reach_the_command():
    # -o: the environment counts as built, so that a dry run shows the target alone
    said = make("-n", "-o", ".venv/.stamp", "reproduce", "RUN=006", "SEED=3", "DATA=samm=/a casme2=/b").stdout
    command = " ".join(said.replace("\\\n", " ").split())
    assert '--profile "paper" --seed "3" --run "006" --data "samm=/a" --data "casme2=/b"' in command
    assert '--profile "demo"' in make("-n", "-o", ".venv/.stamp", "reproduce").stdout
    assert '--profile "smoke"' in make("-n", "-o", ".venv/.stamp", "reproduce", "PROFILE=smoke").stdout


def test_another_python_is_refused_in_one_sentence():
    # -W: as if requirements.lock were new, so that the environment's recipe begins; it ends at its first line
    ended = make("-W", "requirements.lock", "venv", "PYTHON=/nonexistent/python3.12")
    assert ended.returncode != 0
    assert "melib needs Python 3.11" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_every_target_is_in_the_help():
    text = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE).group(1).split()
    said = make("help").stdout
    assert all(re.search(rf"^{target} ", said, re.MULTILINE) for target in targets)

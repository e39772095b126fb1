"""The house: rooms lie in the order in which data flow, imports point down, and a changed line repeats what it may change.

app -> paper -> study -> learn, simulate -> vision -> data -> the files at the top (annotations alone stands above data)
"""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "melib"
FILES = sorted(PACKAGE.rglob("*.py"))
BELOW = {
    "top": {"top"},
    "data": {"top", "data"},
    "annotations": {"top", "data"},
    "vision": {"top", "data", "vision"},
    "learn": {"top", "data", "vision", "learn"},
    "simulate": {"top", "data", "vision", "simulate"},
    "study": {"top", "data", "annotations", "vision", "learn", "simulate", "study"},
    "paper": {"top", "data", "study", "paper"},
}
BELOW["app"] = {*BELOW, "app"}
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
# Whose functions may import: the command line answers at once, and `import melib` doesn't wait for torch.
LATE = {"melib/app/cli.py", "melib/__init__.py"}


def room(parts):
    """The room of a module, given its dotted name without ``melib``."""
    return parts[0] if parts and parts[0] in BELOW else "top"


def imported(tree):
    """Each import of melib in a file: (rooms, whether it stands at the top of the file)."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "melib":
            inner = node.module.split(".")[1:]
            names = [[*inner, alias.name] for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".")[1:] for alias in node.names if alias.name.split(".")[0] == "melib"]
        if names:
            yield {room(parts) for parts in names}, node in tree.body, node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_down_and_stand_at_the_top_of_the_file(path):
    name = path.relative_to(ROOT).as_posix()
    own = room(path.relative_to(PACKAGE).with_suffix("").parts)
    for rooms, on_top, line in imported(ast.parse(path.read_text(encoding="utf-8"))):
        assert on_top or name in LATE, f"{name}:{line} imports melib inside a function"
        if (name not in LATE and path.parent != PACKAGE) or own == "annotations":
            assert rooms <= BELOW[own], f"{name}:{line}: {own} imports {rooms - BELOW[own]}"
        elif path.parent == PACKAGE and path.name not in ("__init__.py", "__main__.py"):
            assert rooms <= {"top"}, f"{name}:{line}: a file at the top imports {rooms - {'top'}}"


def test_no_file_waits_for_itself():
    """No circle, also none within a room."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}
    arrows = {}
    for name, path in modules.items():
        out = set()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("melib"):
                out |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        arrows[name] = out & set(modules)
    while free := {name for name, out in arrows.items() if not out & set(arrows)}:
        arrows = {name: out for name, out in arrows.items() if name not in free}
    assert not arrows


def test_the_papers_stand_first():
    on_top = [path for path in PACKAGE.iterdir() if path.is_file()]
    assert len(on_top) <= 18
    assert set(ROOMS) == set(BELOW) - {"top", "annotations"}


def test_git_and_the_wheel_hold_every_room(tmp_path):
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--cached", "--exclude-standard", "melib"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    ).stdout.split()
    assert {path.relative_to(ROOT).as_posix() for path in FILES} <= set(listed)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    pytest.importorskip("hatchling")
    subprocess.run([*command, "--wheel-dir", tmp_path, str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "wheel", "zip")
    assert set(listed) <= {
        path.relative_to(tmp_path / "wheel").as_posix() for path in (tmp_path / "wheel").rglob("*")
    }


# What a key or a stamp must follow: a file, and the expressions that change with it.
STAMPS = """
import sys
from pathlib import Path
from melib import PACKAGE
from melib.data import cache
from melib.study import run
print(cache.content_hash(run.package_files()))
"""


def stamp_of(package):
    """What the stamp of every notebook takes of the code in a copy of the package."""
    ended = subprocess.run(
        [sys.executable, "-c", STAMPS], capture_output=True, text=True, cwd=package.parent, check=True
    )
    return ended.stdout


def test_a_changed_line_in_any_room_changes_the_notebooks_stamp(tmp_path):
    package = tmp_path / "melib"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "data_manifests", tmp_path / "data_manifests")
    before = stamp_of(package)
    for file in (
        "priors.py",
        "data/layouts.py",
        "vision/flow.py",
        "learn/windows.py",
        "simulate/units.py",
        "study/profiles.yml",
        "study/comparisons.yml",
        "study/intensity.py",
        "paper/style.py",
        "app/prediction.py",
        "app/runner.py",
    ):
        source = package / file
        text = source.read_text(encoding="utf-8")
        source.write_text(text + "\n# changed\n", encoding="utf-8")
        # A profile's own section is in the stamp by itself, and what only tells about a run can't change it.
        assert (stamp_of(package) == before) == (file in ("study/profiles.yml", "app/runner.py")), file
        source.write_text(text, encoding="utf-8")
    assert stamp_of(package) == before

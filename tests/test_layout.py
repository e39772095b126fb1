"""The house: rooms lie in the order in which data flow, imports point down, and a changed line repeats what it may change.

app -> paper -> study -> learn, simulate -> vision -> data -> the files at the top (annotations alone stands above data)
"""

import ast
import json
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
    "paper": {
        "top",
        "data",
        "study",
        "paper",
    },  # of study what reads csv: see test_paper_reads_csv_and_nothing_else
}
BELOW["app"] = {*BELOW, "app"}
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
# Whose functions may import: the command line answers at once, and `import melib` doesn't wait for torch. (app/doctor.py
# imports by name, so that a broken package is a finding.)
LATE = {"melib/app/cli.py", "melib/__init__.py"}


def room(parts):
    """The room of a module, given its dotted name without ``melib``."""
    return parts[0] if parts and parts[0] in BELOW else "top"


def imported(tree):
    """Each import of melib in a file: (rooms, whether it stands at the top of the file)."""
    for node in ast.walk(tree):
        names = []
        assert not getattr(node, "level", 0), "imports are absolute"
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


def test_paper_reads_csv_and_nothing_else():
    code = "import sys, melib.paper.report, melib.paper.figures ; print([n for n in %r if n in sys.modules])"
    heavy = ("torch", "cv2", "dlib", "loky", "melib.learn", "melib.vision", "melib.simulate")
    ended = subprocess.run(
        [sys.executable, "-c", code % (heavy,)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert ended.stdout.strip() == "[]"


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
    subprocess.run([*command, "--wheel-dir", tmp_path, str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "wheel", "zip")
    assert set(listed) <= {
        path.relative_to(tmp_path / "wheel").as_posix() for path in (tmp_path / "wheel").rglob("*")
    }


PROGRAM = """
import json, sys
from melib import PACKAGE
from melib.data import cache
from melib.study import intensity, limits, provenance, spotting

def keys():
    named = {"windows": intensity.INPUTS_CODE, "fits": intensity.FIT_CODE, "recipe": spotting.RECIPE_CODE,
             "videos": spotting.FIT_CODE, "intensity": spotting.INTENSITY_CODE, "ideal": limits.IDEAL_CODE}
    found = {name: cache.code_version(*modules) for name, modules in named.items()}
    return found | {"stamp": cache.content_hash(provenance.package_files())}

before, changed = keys(), {}
for name in sys.argv[1:]:
    text = (PACKAGE / name).read_text(encoding="utf-8")
    (PACKAGE / name).write_text(text + "\\n# changed\\n", encoding="utf-8")
    changed[name] = [key for key, value in keys().items() if value != before[key]]
    (PACKAGE / name).write_text(text, encoding="utf-8")
assert keys() == before
print(json.dumps(changed))
"""
# A file of each room, and what a changed line of it makes anew: the notebooks (stamp), and what lies in the cache.
CHANGES = {
    "priors.py": {"stamp", "videos"},
    "losses.py": {"stamp", "fits", "videos"},
    "models.py": {"stamp", "fits", "videos", "intensity"},
    "controls.py": {"stamp", "fits"},
    "annotations.py": {"stamp"},
    "data/layouts.py": {"stamp"},
    "vision/flow.py": {"stamp", "windows", "videos", "intensity"},
    "vision/faces.py": {"stamp", "recipe", "intensity"},
    "vision/recipe.py": {"stamp", "recipe"},
    "learn/windows.py": {"stamp", "fits", "videos", "intensity"},
    "learn/videos.py": {"stamp", "videos"},
    "learn/dense.py": {"stamp", "intensity"},
    "simulate/render.py": {"stamp", "ideal"},
    "study/spotting.py": {"stamp", "videos"},
    "study/intensity.py": {"stamp"},
    "study/ideal_observer.py": {"stamp", "ideal"},
    "study/comparisons.yml": {"stamp"},
    # A profile's own section is in the stamp by itself.
    "study/profiles.yml": set(),
    "paper/style.py": {"stamp"},
    "paper/paper.mplstyle": {"stamp"},
    "app/prediction.py": {"stamp"},
    # What only tells about a run can't change it.
    "paper/report.py": set(),
    "app/runner.py": set(),
}


def test_a_changed_line_in_any_room_repeats_what_it_may_change(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "melib", ignore=shutil.ignore_patterns("__pycache__"))
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *CHANGES], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert {name: set(keys) for name, keys in json.loads(ended.stdout).items()} == CHANGES
    assert {name.split("/")[0] for name in CHANGES if "/" in name} == set(ROOMS)

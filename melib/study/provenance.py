"""Where a result comes from: commit, versions, settings and the hash of every result that a figure or table was made of.

    runs/<name>/configuration.yml, parameters.yml, results/*.csv   -->   origin, recorded, configuration_checks

Reads small files alone, so that figures and tables need neither torch nor a video.
"""

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from functools import cache as once
from pathlib import Path
from typing import Any

import psutil
import yaml

from melib import PACKAGE
from melib.data import cache
from melib.data.machine import package_version, processor
from melib.errors import DataError

CONFIGURATION = "configuration.yml"


def configuration_checks(run: str | Path) -> list[tuple[bool, str, str]]:
    """What the report's checklist says of a run's configuration: (holds, sentence, detail) each.

    Parameters
    ----------
    run : str or Path
        Folder of the run.
    """
    file = Path(run) / CONFIGURATION
    if not file.is_file():
        return [
            (False, "The configuration was frozen before anything was simulated or trained", "never frozen")
        ]
    frozen = read_configuration(run)
    now = code_and_packages()
    changed = [name for name in now if frozen.get(name) != now[name]]
    before = frozen.get("before", [])
    return [
        (
            not before,
            "The configuration was frozen before anything was simulated or trained",
            f"{CONFIGURATION}; there already: {', '.join(before)}" if before else CONFIGURATION,
        ),
        (
            not changed,
            "Code (the simulator's, too) and packages are those of the frozen configuration",
            f"changed since: {', '.join(changed)}" if changed else f"code {frozen.get('code')}",
        ),
    ]


def code_and_packages() -> dict[str, Any]:
    """Hash of the package's code, the simulator's included, and versions of what computes."""
    return {
        "code": cache.content_hash(package_files()),
        "packages": packages(),
    }


def read_configuration(run: str | Path) -> dict[str, Any]:
    """Read what `begin` has frozen.

    Raises
    ------
    DataError
        If the run has no configuration, or not a whole one.
    """
    file = Path(run) / CONFIGURATION
    if not file.is_file():
        raise DataError(f"{run} is no run that was begun: it has no {CONFIGURATION}; name the folder of one.")
    try:
        return dict(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (yaml.YAMLError, TypeError, ValueError):
        raise DataError(f"{file} can't be read: name another run (RUN=...), or remove that folder") from None


# The notebook that draws again what can be drawn from results alone; `melib figures` does the same.
NOTEBOOK = "09_figures"


def origin(run: str | Path, results: Sequence[str] | None = None) -> dict[str, Any]:
    """Where a figure or a table comes from: notebook, commit, hash of each result it was made of, settings of the run.

    Parameters
    ----------
    run : str or Path
        Folder of the run.
    results : sequence of str, optional
        Names of result tables; by default all that the run has so far.
    """

    run = Path(run)
    names = sorted(f"{name}.csv" for name in results or ())
    files = [run / "results" / name for name in names] or sorted((run / "results").glob("*.csv"))
    return {
        "notebook": os.environ.get("MELIB_NOTEBOOK", NOTEBOOK if results else ""),
        "commit": commit(),
        "results": {file.name: cache.content_hash([file]) for file in files},
        "settings": recorded(run),
    }


# What tells about a run, but can't change its results: an edit here repeats no notebook.
_TELLERS = {
    "__main__.py",
    "app/cli.py",
    "app/audit.py",
    "app/corrections.py",
    "app/data_check.py",
    "app/doctor.py",
    "app/exchange.py",
    "app/explore.py",
    "app/finished.py",
    "app/plan.py",
    "app/runner.py",
    "app/sharing.py",
    "app/timing.py",
    "paper/answers.py",
    "paper/verdicts.yml",
    "paper/report.py",
}
# The profile's own section is in the stamp, so that an edit of `paper` doesn't repeat `demo`.
PROFILES = Path(__file__).with_name("profiles.yml")


def package_files() -> list[Path]:
    """Files of the package that can change a result; profiles.yml, of which a run uses one section, isn't among them."""
    files = (
        f for f in sorted(PACKAGE.rglob("*")) if f.suffix in {".py", ".json", ".csv", ".yml", ".mplstyle"}
    )
    outside = ("notebooks_shipped", "data_manifests")  # both are in the stamp where they are used
    return [
        file
        for file in files
        if file.relative_to(PACKAGE).as_posix() not in _TELLERS
        and file != PROFILES
        and file.parent.name not in outside
    ]


# What a reader of a result asks for first; the lock has all of them.
_PACKAGES = ("numpy", "scipy", "pandas", "torch", "torchvision", "opencv-contrib-python-headless", "dlib-bin")


def recorded(run: str | Path) -> dict[str, Any]:
    """Profile, seed and names of the data sets of a run (their folders are nobody's business)."""
    file = Path(run) / "parameters.yml"
    if not file.is_file():
        return {}
    known = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    data = sorted(json.loads(known["data"])) if known.get("data") else ["simulated"]
    return {"profile": known.get("profile"), "seed": known.get("seed"), "data": data}


@once
def commit() -> str:
    """Hash of the commit that this code is, with a note where files differ from it; else the version."""
    git = ["git", "-C", str(PACKAGE.parent)]
    if not (PACKAGE.parent / ".git").exists():
        return f"melib {importlib.metadata.version('melib')}, installed without its history"
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=20
        ).stdout
        dirty = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown: git doesn't answer"
    return f"{head.strip()}{' with changes' if dirty.strip() else ''}"


def packages() -> dict[str, str]:
    """Versions of what computes."""
    return {name: package_version(name) for name in _PACKAGES}


def environment() -> dict[str, Any]:
    """Commit, versions and device of this moment, for the run's record."""
    import torch

    gpu = torch.cuda.is_available()
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name()
        if gpu
        else f"{processor()}, {len(psutil.Process().cpu_affinity())} cores",
        "packages": packages(),
    }

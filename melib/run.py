"""A run's configuration, frozen in its folder before the first clip is simulated and the first model is trained.

    configuration.yml   profile and seed; names of the data sets; every setting of the profile; the declared comparisons
                        simulator, code, packages, manifests: versions at that moment
                        before: what already lay in the run's folder then; nothing, if all is well

Whoever goes on with a run under other settings, comparisons, seed or data is refused. Changed code is not: the notebooks run
again (notebooks.stamp), and the report says that the code isn't the frozen one.
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

import yaml

from melib import PACKAGE, cache, comparisons, manifest, simulate
from melib.errors import DataError, Misuse
from melib.machine import package_version, processor
from melib.simulate import long

# From one training's seed to the next one's.
SEEDS_APART = 1000


def profile_settings(profile):
    """Settings of a profile, from profiles.yml.

    Parameters
    ----------
    profile : str
        smoke, demo or paper.

    Returns
    -------
    dict

    Raises
    ------
    Misuse
        If there is no such profile.
    """
    profiles = yaml.safe_load(PROFILES.read_text(encoding="utf-8"))
    if profile not in profiles:
        raise Misuse(f"There is no profile '{profile}'; choose one of {', '.join(profiles)}.")
    return profiles[profile]


def cache_folder(run):
    """Cache that the runs beside each other share."""
    return Path(run).parent / "cache"


def seeds_of(profile, seed=0):
    """Seeds of a profile's trainings, that of the run first: list of int."""
    return [seed + SEEDS_APART * repeat for repeat in range(profile_settings(profile)["seeds"])]


def stamp(profile, data=""):
    """Print what a result depends on: commit, versions, device, manifests."""

    for name, value in environment().items():
        told = ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, dict) else value
        print(f"{name}: {told}")
    names = json.loads(data) if data else [spec["name"] for spec in profile_settings(profile)["data"]]
    for name in names:
        try:
            print(f"manifest {name}: {manifest.manifest_hash(manifest.read_manifest(name))}")
        except DataError:
            print(f"manifest {name}: written by the simulator")


CONFIGURATION = "configuration.yml"
# What may not change in a run, with what a reader calls it.
_FIXED = {
    "profile": "profile",
    "seed": "seed",
    "data": "data",
    "settings": "settings of the profile (melib/profiles.yml)",
    "comparisons": "declared comparisons (melib/comparisons.yml)",
}
# Whatever is simulated or trained lies below these.
_DRAWN = ("data", "fits", "weights", "results")


def freeze(run: str | Path, profile: str, seed: int = 0, data: str = "") -> dict[str, Any]:
    """Write the run's configuration, or check that it is the one written before.

    Parameters
    ----------
    run, profile, seed, data : as in the notebooks

    Returns
    -------
    dict
        The frozen configuration.

    Raises
    ------
    DataError
        If the run was frozen with other settings: says which.
    """
    file = Path(run) / CONFIGURATION
    now = _now(profile, seed, data)
    if file.is_file():
        frozen = read_configuration(run)
        for name, said in _FIXED.items():
            if frozen.get(name) != now[name]:
                what = f"{said} {_short(frozen.get(name))}, not {_short(now[name])}"
                if isinstance(now[name], dict):
                    what = f"other {said}"
                raise DataError(
                    f"{run} was made with {what}: name another run (RUN=...), or remove that folder"
                )
        return frozen
    drawn = [Path(run) / name for name in _DRAWN]
    before = [
        f"{folder.name}/{each.name}"
        for folder in drawn
        if folder.is_dir()
        for each in sorted(folder.iterdir())
    ]

    known = {name: manifest.manifest_hash(manifest.read_manifest(name)) for name in json.loads(data or "{}")}
    manifests = {Path(name).stem: found for name, found in known.items()}
    frozen = _plain({**now, **_versions(), "manifests": manifests, "before": before})
    cache.write_yaml(file, frozen)
    return frozen


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
    now = _versions()
    changed = [name for name in ("simulator", "code", "packages") if frozen.get(name) != now[name]]
    before = frozen.get("before", [])
    return [
        (
            not before,
            "The configuration was frozen before anything was simulated or trained",
            f"{CONFIGURATION}; there already: {', '.join(before)}" if before else CONFIGURATION,
        ),
        (
            not changed,
            "Code, simulator and packages are those of the frozen configuration",
            f"changed since: {', '.join(changed)}" if changed else f"code {frozen.get('code')}",
        ),
    ]


def data_names(data: str) -> list[str]:
    """Names of a run's data sets without any folder; ``simulated`` where none was named."""
    return sorted(Path(name).stem for name in json.loads(data)) if data else ["simulated"]


def _now(profile: str, seed: int, data: str) -> dict[str, Any]:

    found = profile_settings(profile)
    # How long a step may take decides no result.
    settings = {name: value for name, value in found.items() if name != "time_limit_minutes"}
    fixed = {"settings": settings, "comparisons": comparisons.declared()}
    return _plain({"profile": profile, "seed": seed, "data": data_names(data), **fixed})


def _versions() -> dict[str, Any]:

    return {
        "simulator": {"clips": simulate.VERSION, "videos": long.VERSION},
        "code": cache.content_hash(package_files()),
        "packages": environment()["packages"],
    }


def _plain(record: Any) -> Any:
    """The record as it comes back from its file: lists for tuples."""
    return json.loads(json.dumps(record))


def read_configuration(run: str | Path) -> dict[str, Any]:
    """Read what `freeze` has written.

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


def _short(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


# The notebook that draws again what can be drawn from results alone; `melib figures` does the same.
NOTEBOOK = "08_figures"


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
    "answers.py",
    "cli.py",
    "data_check.py",
    "environment.py",
    "explore.py",
    "explore_pictures.py",
    "explore_widgets.py",
    "notebooks.py",
    "report.py",
    "report.html.j2",
    "review.py",
}
# The profile's own section is in the stamp, so that an edit of `paper` doesn't repeat `demo`.
PROFILES = PACKAGE / "profiles.yml"


def package_files() -> list[Path]:
    """Files of the package that can change a result; profiles.yml, of which a run uses one section, isn't among them."""
    files = (
        f for f in sorted(PACKAGE.rglob("*")) if f.suffix in {".py", ".json", ".csv", ".yml", ".mplstyle"}
    )
    outside = ("notebooks_shipped", "data_manifests")  # both are in the stamp where they are used
    return [f for f in files if f.name not in _TELLERS and f != PROFILES and f.parent.name not in outside]


# What a reader of a result asks for first; the lock has all of them.
PACKAGES = ("numpy", "scipy", "pandas", "torch", "torchvision", "opencv-contrib-python-headless", "dlib-bin")


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
        else f"{processor()}, {len(os.sched_getaffinity(0))} cores",
        "packages": {name: package_version(name) for name in PACKAGES},
    }

"""A run's configuration, frozen in its folder before the first clip is simulated and the first model is trained.

    configuration.yml   profile and seed; names of the data sets; every setting of the profile; the declared comparisons
                        simulator, code, packages, manifests: versions at that moment
                        before: what already lay in the run's folder then; nothing, if all is well

Whoever goes on with a run under other settings, comparisons, seed or data is refused. Changed code is not: the notebooks run
again (notebooks.stamp), and the report says that the code isn't the frozen one.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from melib import simulate
from melib.data import cache, manifest
from melib.errors import DataError, Misuse
from melib.simulate import long
from melib.study import comparisons, provenance

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
    profiles = yaml.safe_load(provenance.PROFILES.read_text(encoding="utf-8"))
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

    for name, value in provenance.environment().items():
        told = ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, dict) else value
        print(f"{name}: {told}")
    names = json.loads(data) if data else [spec["name"] for spec in profile_settings(profile)["data"]]
    for name in names:
        try:
            print(f"manifest {name}: {manifest.manifest_hash(manifest.read_manifest(name))}")
        except DataError:
            print(f"manifest {name}: written by the simulator")


# What may not change in a run, with what a reader calls it.
_FIXED = {
    "profile": "profile",
    "seed": "seed",
    "data": "data",
    "settings": "settings of the profile (melib/study/profiles.yml)",
    "comparisons": "declared comparisons (melib/study/comparisons.yml)",
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
    file = Path(run) / provenance.CONFIGURATION
    now = _now(profile, seed, data)
    if file.is_file():
        frozen = provenance.read_configuration(run)
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
    simulator = {"clips": simulate.VERSION, "videos": long.VERSION}
    versions = {"simulator": simulator, **provenance.code_and_packages(), "manifests": manifests}
    frozen = _plain({**now, **versions, "before": before})
    cache.write_yaml(file, frozen)
    return frozen


def data_names(data: str) -> list[str]:
    """Names of a run's data sets without any folder; ``simulated`` where none was named."""
    return sorted(Path(name).stem for name in json.loads(data)) if data else ["simulated"]


def _now(profile: str, seed: int, data: str) -> dict[str, Any]:
    found = profile_settings(profile)
    # How long a step may take decides no result.
    settings = {name: value for name, value in found.items() if name != "time_limit_minutes"}
    fixed = {"settings": settings, "comparisons": comparisons.declared()}
    return _plain({"profile": profile, "seed": seed, "data": data_names(data), **fixed})


def _plain(record: Any) -> Any:
    """The record as it comes back from its file: lists for tuples."""
    return json.loads(json.dumps(record))


def _short(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

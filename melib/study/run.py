"""A run: its folder, settings, seed and data as one object, frozen in its folder before anything is simulated or trained.

    run = begin(folder, profile, seed, data)        in a notebook's first cells; everything else takes `run`

    configuration.yml   profile and seed; names of the data sets; every setting of the profile; the declared comparisons
                        simulator, code, packages, manifests: versions at that moment
                        before: what already lay in the run's folder then; nothing, if all is well

Whoever goes on with a run under other settings, comparisons, seed or data is refused. Changed code is not: the notebooks run
again (runner.notebook_stamp), and the report says that the code isn't the frozen one.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
# From a training's seed to that of its sham, which no other training has.
SHAM_APART = 500


def profile_settings(profile):
    """Settings of a profile, from profiles.yml.

    Parameters
    ----------
    profile : str
        smoke, demo, five, published, published_main or paper.

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
        raise Misuse(f"profile {profile!r} is unknown: choose one of {', '.join(profiles)}")
    return profiles[profile]


@dataclass(frozen=True)
class Run:
    """One run of the notebooks: made once in their first cells by `begin`, and passed on.

    Attributes
    ----------
    folder : Path
        Everything that the run writes lies below it. A run stands for it wherever a path is taken.
    profile : str
        smoke, demo, five, published, published_main or paper.
    settings : dict
        Those of the profile (profiles.yml), read once.
    seed : int
        It decides every random choice.
    data : dict
        Name of a data set, or the path of its manifest -> its folder; empty where the data are simulated.
    jobs : int
        Processes of this machine, one thread each; with 1 everything runs in this process. It decides no result.
    """

    folder: Path
    profile: str
    settings: Mapping[str, Any] = field(repr=False)
    seed: int = 0
    data: Mapping[str, str] = field(default_factory=dict)
    jobs: int = 2

    def __fspath__(self) -> str:
        """The folder."""
        return str(self.folder)

    @property
    def cache(self) -> Path:
        """Cache that the runs beside each other share."""
        return self.folder.parent / "cache"

    @property
    def seeds(self) -> list[int]:
        """Seeds of the trainings, that of the run first."""
        return [self.seed + SEEDS_APART * repeat for repeat in range(self.settings["seeds"])]


def begin(folder: str | Path, profile: str, seed: int = 0, data: str = "") -> Run:
    """Freeze a run's configuration, or go on with the frozen one. What is made of licensed data is for its owner alone.

    Parameters
    ----------
    folder : str or Path
        It is made if missing.
    profile, seed : as in `Run`
    data : str
        Json text ``{name: folder}`` of licensed data sets, or empty to simulate.

    Returns
    -------
    Run

    Raises
    ------
    DataError
        If the folder holds a run with other settings: says which. Misuse if there is no such profile, or folder or seed
        are none.
    """
    if not isinstance(folder, str | Path) or not str(folder):
        raise Misuse(f"run is {folder!r}: make it the path of a folder, as in runs/mine")
    run = Run(Path(folder), profile, profile_settings(profile), _whole_number(seed), places_of(data))
    if any(manifest.licensed(manifest.read_manifest(name)) for name in run.data):
        cache.for_owner_alone(run.folder, run.cache)
    _freeze(run)
    return run


def places_of(data: str | Mapping[str, str]) -> dict[str, str]:
    """Folders of the data sets that were named: json text, or (papermill's ``-y``) what such text means.

    Raises
    ------
    DataError
        If it is neither.
    """
    try:
        places = json.loads(data or "{}") if isinstance(data, str) else data
    except ValueError:
        places = None
    if not isinstance(places, Mapping) or not all(
        isinstance(text, str) for pair in places.items() for text in pair
    ):
        raise DataError(f'data is {data!r}: make it json text such as {{"samm": "/path"}}, or empty.')
    return dict(places)


def _whole_number(seed: int | str) -> int:
    """A seed, which papermill's ``-r`` passes as text."""
    text = str(seed)
    if isinstance(seed, bool) or not text.removeprefix("-").isdecimal():
        raise Misuse(f"seed is {seed!r}: make it a whole number, as in -p seed 3")
    return int(text)


def stamp(run: Run) -> None:
    """Print what a result depends on: commit, versions, device, manifests."""
    for name, value in provenance.environment().items():
        text = ", ".join(f"{key} {part}" for key, part in value.items()) if isinstance(value, dict) else value
        print(f"{name}: {text}")
    names = run.data or [spec["name"] for spec in run.settings["data"]]
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


def _freeze(run: Run) -> None:
    """Write the run's configuration, or check that it is the one written before."""
    file = run.folder / provenance.CONFIGURATION
    now = _now(run)
    if file.is_file():
        frozen = provenance.read_configuration(run.folder)
        for name, title in _FIXED.items():
            if frozen.get(name) != now[name]:
                what = f"{title} {_short(frozen.get(name))}, not {_short(now[name])}"
                if isinstance(now[name], dict):
                    what = f"other {title}"
                raise DataError(
                    f"{run.folder} was made with {what}: name another run (RUN=...), or remove that folder"
                )
        return
    drawn = [run.folder / name for name in _DRAWN]
    before = [
        f"{folder.name}/{path.name}"
        for folder in drawn
        if folder.is_dir()
        for path in sorted(folder.iterdir())
    ]
    manifests = {Path(name).stem: manifest.manifest_hash(manifest.read_manifest(name)) for name in run.data}
    simulator = {"clips": simulate.VERSION, "videos": long.VERSION}
    versions = {"simulator": simulator, **provenance.code_and_packages(), "manifests": manifests}
    cache.write_yaml(file, _plain({**now, **versions, "before": before}))


def data_names(data: Iterable[str]) -> list[str]:
    """Names of a run's data sets without any folder; ``simulated`` where none was named."""
    return sorted(Path(name).stem for name in data) or ["simulated"]


def _now(run: Run) -> dict[str, Any]:
    # How long a step may take decides no result.
    settings = {name: value for name, value in run.settings.items() if name != "time_limit_minutes"}
    fixed = {"settings": settings, "comparisons": comparisons.declared()}
    return _plain({"profile": run.profile, "seed": run.seed, "data": data_names(run.data), **fixed})


def _plain(record: Any) -> Any:
    """The record as it comes back from its file: lists for tuples."""
    return json.loads(json.dumps(record))


def _short(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

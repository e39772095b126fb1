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

from melib import cache, comparisons
from melib.errors import DataError

NAME = "configuration.yml"
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
    file = Path(run) / NAME
    now = _now(profile, seed, data)
    if file.is_file():
        frozen = read(run)
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
    from melib import manifest  # it opens videos: not for the report, which asks for `checks` alone

    known = {name: manifest.manifest_hash(manifest.read_manifest(name)) for name in json.loads(data or "{}")}
    manifests = {Path(name).stem: found for name, found in known.items()}
    frozen = _plain({**now, **_versions(), "manifests": manifests, "before": before})
    cache.write_yaml(file, frozen)
    return frozen


def checks(run: str | Path) -> list[tuple[bool, str, str]]:
    """What the report's checklist says of a run's configuration: (holds, sentence, detail) each.

    Parameters
    ----------
    run : str or Path
        Folder of the run.
    """
    file = Path(run) / NAME
    if not file.is_file():
        return [
            (False, "The configuration was frozen before anything was simulated or trained", "never frozen")
        ]
    frozen = read(run)
    now = _versions()
    changed = [name for name in ("simulator", "code", "packages") if frozen.get(name) != now[name]]
    before = frozen.get("before", [])
    return [
        (
            not before,
            "The configuration was frozen before anything was simulated or trained",
            f"{NAME}; there already: {', '.join(before)}" if before else NAME,
        ),
        (
            not changed,
            "Code, simulator and packages are those of the frozen configuration",
            f"changed since: {', '.join(changed)}" if changed else f"code {frozen.get('code')}",
        ),
    ]


def names(data: str) -> list[str]:
    """Names of a run's data sets without any folder; ``simulated`` where none was named."""
    return sorted(Path(name).stem for name in json.loads(data)) if data else ["simulated"]


def _now(profile: str, seed: int, data: str) -> dict[str, Any]:
    from melib import experiments  # which freezes, too

    found = experiments.settings(profile)
    # How long a step may take decides no result.
    settings = {name: value for name, value in found.items() if name != "time_limit_minutes"}
    fixed = {"settings": settings, "comparisons": comparisons.declared()}
    return _plain({"profile": profile, "seed": seed, "data": names(data), **fixed})


def _versions() -> dict[str, Any]:
    from melib import notebooks, report, simulate
    from melib.simulate import long

    return {
        "simulator": {"clips": simulate.VERSION, "videos": long.VERSION},
        "code": cache.content_hash(notebooks.package_files()),
        "packages": report.environment()["packages"],
    }


def _plain(record: Any) -> Any:
    """The record as it comes back from its file: lists for tuples."""
    return json.loads(json.dumps(record))


def read(run: str | Path) -> dict[str, Any]:
    """Read what `freeze` has written.

    Raises
    ------
    DataError
        If the run has no configuration, or not a whole one.
    """
    file = Path(run) / NAME
    if not file.is_file():
        raise DataError(f"{run} is no run that was begun: it has no {NAME}; name the folder of one.")
    try:
        return dict(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (yaml.YAMLError, TypeError, ValueError):
        raise DataError(f"{file} can't be read: name another run (RUN=...), or remove that folder") from None


def _short(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

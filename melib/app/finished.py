"""A finished run, opened to be looked at or exported: its data sets and scores. Nothing is simulated, trained or written."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from melib.errors import DataError
from melib.study import results
from melib.study.data import named, open_study
from melib.study.provenance import CONFIGURATION, read_configuration
from melib.study.run import Run, places_of

MODEL = "resnet18_bigru"


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A finished run.

    ``short`` and ``long`` are dicts name -> data.Study, of clips and of long videos; ``scores`` the network's rows of
    intensity.csv, none where notebook 04 hasn't run; ``command`` what makes whatever is missing.
    """

    run: Run
    short: dict
    long: dict
    scores: pd.DataFrame
    command: str


def open_run(folder):
    """Open a finished run to look at.

    Parameters
    ----------
    folder : str or Path
        It may also lie beside the folder of the notebooks.

    Returns
    -------
    FinishedRun

    Raises
    ------
    DataError
        If there is no such run, or no data in it.
    """
    places = [place for place in (Path(folder), Path("..") / folder) if (place / CONFIGURATION).is_file()]
    if not places:
        raise DataError(
            f"{folder} is no finished run: make it with `melib run --run {folder}`, or set run to one that is."
        )
    place, frozen = places[0], read_configuration(places[0])
    run = Run(place, frozen["profile"], frozen["settings"], frozen["seed"], _data_of(place), jobs=1)
    if run.data:
        clips, long = named(run, long=False), named(run, long=True)
    else:
        clips, long = (_simulated(run, part) for part in ("data", "long"))
    seed = f" --seed {run.seed}" if run.seed else ""
    data = "".join(f" --data {name}={root}" for name, root in run.data.items())
    command = f"melib run --profile {run.profile} --run {folder}{seed}{data}"
    if not clips and not long:
        raise DataError(f"{place} holds no data yet: make it with `{command}`.")
    tables = results.read_results(place, "intensity")
    scores = rows_where(tables[0], model=MODEL) if tables else pd.DataFrame(columns=_COLUMNS)
    clips, long = ({study.name: study for study in studies} for studies in (clips, long))
    return FinishedRun(run, clips, long, scores, command)


_COLUMNS = ["dataset", "protocol", "input", "fold", "seed", "subject", "event", "peak_px", "metric", "value"]


def _data_of(folder):
    """Where the licensed data sets of a run lie: dict, empty for simulated ones."""
    file = folder / "parameters.yml"
    if not file.is_file():  # its notebooks were run by hand
        return {}
    try:
        return places_of(yaml.safe_load(file.read_text(encoding="utf-8"))["data"])
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError):
        raise DataError(f"{file} can't be read; `melib run` writes it again.") from None


def _simulated(run, part):
    """Data sets of a part of the profile that the run has simulated: list of Study."""
    places = [run.folder / "data" / spec["name"] for spec in run.settings[part]]
    made = [place for place in places if (place / "annotations.xlsx").is_file()]
    return [open_study(place / "manifest.yml", place) for place in made]


def rows_where(table, **values):
    """Rows of a table that have these values."""
    return table[(table[list(values)] == pd.Series(values)).all(axis=1)]

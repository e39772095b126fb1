"""Result tables: read as text where names are text, written whole, and what a reader calls what stands in them.

    runs/<name>/results/*.csv  --read_result-->  table  --intervals, over_seeds, ordered, label-->  figures, tables, report

Names and their order are those of every figure and table.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from melib import stats
from melib.data import cache
from melib.errors import DataError

# In the order of every figure and table, with what a reader calls them.
MODELS = {
    "position_only": "position only",
    "oracle_interval": "true interval, mean shape",
    "constant_frame": "constant frame",
    "shuffled_frames": "shuffled frames",
    "frozen_clip": "frozen clip",
    "flow_magnitude": "flow magnitude",
    "framewise": "ResNet18, no GRU",
    "resnet18_bigru": "ResNet18 + BiGRU",
}
LEARNED = ("framewise", "resnet18_bigru")
# The truth's own score: nothing can do better against this target.
CEILINGS = {"truth": "the truth itself", "pseudo_label": "the pseudo-label"}
INPUTS = ("none", "raw", "difference", "flow")
METRICS = {
    "spearman_pseudo": "Spearman with the pseudo-label",
    "kendall_pseudo": "Kendall with the pseudo-label",
    "spearman_true": "Spearman with the truth",
    "kendall_true": "Kendall with the truth",
    "inside_spearman_true": "Spearman with the truth, inside the event",
    "inside_auc_true": "AUC, inside against outside",
    "ccc_true": "Concordance with the truth",
    "apex_error_ms": "Error of the apex, ms",
    "apex_position_error": "Error of the apex, share of the event",
}
QUANTITIES = {
    "clip_swap": ("clip swap", 0.0, "0: knows only position"),
    "apex_follow": ("apex follow", 1.0, "1: follows the apex"),
    "frozen_correlation": ("frozen correlation", 1.0, "1: doesn't need the movement"),
}
PROTOCOLS = {
    "paper": "Paper protocol (cut from onset to offset)",
    "context": "Context protocol (borders at random)",
}
# Of the limits of detection: who knows all there is to know, and borders of every bin by amplitude, crop pixels.
IDEAL = "ideal observer"
BORDERS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.75, 1.4, 2.5)


def write_result(run, name, table):
    """Write a result table below ``run/results`` and return it; the same numbers give the same bytes."""
    cache.write_table(Path(run) / "results" / f"{name}.csv", table)
    return table


def intervals(results: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean over subjects and its 95 % interval, by bootstrap, for each group of rows.

    Parameters
    ----------
    results : DataFrame
        In the long form of intensity.csv: subject, event and value beside the columns in ``by``. Rows without
        a subject and rows whose value is undefined are left out. Where there is a column seed, intervals are
        over subjects crossed with seeds.
    by : sequence of str
        Columns that make a group.

    Returns
    -------
    DataFrame
        ``by``, estimate, low, high, events, subjects.
    """
    by = list(by)
    rows = results[results["subject"].notna() & (results["subject"].astype(str) != "")].dropna(
        subset=["value"]
    )
    out = []
    if "seed" not in rows:
        rows = rows.assign(seed=0)
    for group, part in rows.groupby(by, sort=False, observed=True):
        means = part.groupby(["subject", "event", "seed"], as_index=False)["value"].mean()
        estimate = stats.bootstrap(
            *(means[name].to_numpy() for name in ("value", "subject")), runs=means["seed"]
        )
        events = len(means.drop_duplicates(["subject", "event"]))
        out.append((*group, *estimate, events, means["subject"].nunique()))
    return pd.DataFrame(out, columns=[*by, "estimate", "low", "high", "events", "subjects"])


def over_seeds(
    table: pd.DataFrame, keys: Sequence[str] = ("dataset", "protocol", "model", "input", "quantity")
) -> pd.DataFrame:
    """Rows that speak for all seeds: without a seed where there were several, else the only ones.

    Parameters
    ----------
    table : DataFrame
        face_card.csv; or the rows of one rule of spotting.csv.
    keys : sequence of str
        What one row is about.
    """
    whole = table["seed"].isna()
    several = table["seed"].groupby([table[key] for key in keys]).transform("nunique") > 1
    return table[whole | ~several]


def read_results(run: str | Path, *names: str) -> list[pd.DataFrame]:
    """Result tables of a run, as many as names; none at all where the run lacks one of them.

    Examples
    --------
    >>> read_results("runs/nowhere", "summary")
    []
    """
    files = [Path(run) / "results" / f"{name}.csv" for name in names]
    return [read_result(file) for file in files] if all(file.is_file() for file in files) else []


def read_result(file: str | Path) -> pd.DataFrame:
    """Read a result table: names stay text (``006``), an empty input is ``none``.

    Raises
    ------
    DataError
        If the file isn't a table.
    """
    names = (
        "dataset",
        "protocol",
        "model",
        "input",
        "subject",
        "event",
        "metric",
        "quantity",
        "group",
        "panel",
        "family",
    )
    try:
        table = pd.read_csv(file, dtype=dict.fromkeys(names, str))
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise DataError(f"{file} isn't a table ({error}): remove it and run its notebook again") from None
    known = [name for name in names if name in table]
    table = table.fillna({name: "none" if name == "input" else "" for name in known})
    return table.assign(**{name: table[name].map(cache.restored) for name in known})


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table as dicts by column."""
    return [{str(column): value for column, value in row.items()} for row in table.to_dict("records")]


def ordered(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs (model, input) in the order of MODELS, then of inputs; unknown models last, ceilings left out."""
    pairs = {
        (str(m), str(i)) for m, i in zip(table["model"], table["input"], strict=True) if m not in CEILINGS
    }
    order, inputs = list(MODELS), list(INPUTS)
    place = lambda names, name: names.index(name) if name in names else len(names)  # noqa: E731
    return sorted(pairs, key=lambda pair: (place(order, pair[0]), pair[0], place(inputs, pair[1]), pair[1]))


def label(model: str, used: str) -> str:
    """What a reader calls a model on an input."""
    text = MODELS.get(model, spaced(model))
    return text if used == "none" or model == "flow_magnitude" else f"{text}, {used}"


def spaced(name: Any) -> str:
    """A name of code as a reader would write it: ``semi-Markov`` for ``semi_markov``."""
    return str(name).replace("semi_markov", "semi-Markov").replace("_", " ")

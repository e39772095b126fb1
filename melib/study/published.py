"""Published values beside ours, with a loud mark where data or protocol differ: nobody may take simulated for real.

    published.csv                         value, metric, data set, protocol, method, source; which of our models stands
                                          beside it (model, input), what else is known to differ (differs)
    summary, position_control, spotting   what a run found
        --> published_all.csv             ours, control, published, difference, mark

The control of intensity is position alone, that of spotting is chance: neither has seen a pixel.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melib.study import results

COLUMNS = [
    *("dataset", "protocol", "what", "metric", "ours", "low", "high", "control", "published", "difference"),
    *("mark", "source", "model", "of", "events", "subjects"),
]

# A variant of our model (ablations.CHANGES) that was published, in words.
_VARIANTS = {"no ranking term": "trained without the apex-ranking term"}
# What stands behind a published value in a table of ours, and is said aloud in its caption.
SIGNS = {"OTHER DATA": "!", "OTHER PROTOCOL": "?"}


def values(task: str) -> pd.DataFrame:
    """Published values of one task: intensity or spotting.

    Returns
    -------
    DataFrame
        task, dataset, protocol (of intensity; the scorer of spotting), method, model, input, metric, value, events, subjects
        (empty where the source doesn't state them), source, differs, variant (of ours, which was published; empty: the model
        as it is).
    """
    table = results.read_result(Path(__file__).with_name("published.csv"))
    return table[table["task"] == task].fillna({"differs": "", "variant": ""}).reset_index(drop=True)


def beside(run: str | Path) -> pd.DataFrame:
    """Every published number beside ours on every data set of a run, from its results alone.

    Parameters
    ----------
    run : str or Path
        Folder of the run.

    Returns
    -------
    DataFrame
        dataset, protocol, what (whose number, on which data), metric, ours, low, high (95 %), control, published, difference
        (ours minus published), mark (empty only where data and protocol agree), source; model (which of ours), of
        (the data set of the published number), events, subjects (of ours).
    """
    rows = [row for table in results.read_results(run, "position_control") for row in _position(table)]
    variants = results.read_results(run, "intensity_ablations")
    rows += [row for table in results.read_results(run, "summary") for row in _intensity(table, *variants)]
    rows += [row for table in results.read_results(run, "spotting") for row in _spotting(table)]
    return pd.DataFrame(rows, columns=COLUMNS)


def control_beside_published(control: pd.DataFrame) -> pd.DataFrame:
    """Position alone on this run's data, beside the paper's number and what the same control scores on the public table.

    Parameters
    ----------
    control : DataFrame
        As position.position_alone or position.control_of_tables returns.

    Returns
    -------
    DataFrame
        dataset, metric, ours (mean over events, as published), ours_low, ours_high (95 % over subjects), events, subjects;
        of (the published data set), paper, control, their_events, their_subjects; data: "same" or "OTHER DATA" with what
        differs; alone, alone_low, alone_high: position alone on the published data set, ours with its interval where we hold
        its table, else control, of which none is known; table: of how many clips that is; difference, low, high: paper less
        alone. A data set that was published stands beside its own row alone.
    """
    known, rows = values("intensity"), []
    network = known[known["model"] == "resnet18_bigru"].set_index(["dataset", "metric"])["value"]
    for ours in results.records(control[control["protocol"] == "paper"]):
        blind = known[(known["model"] == "position_only") & (known["metric"] == ours["metric"])]
        own = blind[blind["dataset"] == ours["dataset"]]
        for theirs in results.records(own if len(own) else blind):
            mean = [ours[f"over_events{end}"] for end in ("", "_low", "_high")]
            row = [ours["dataset"], ours["metric"], *mean, ours["events"], ours["subjects"]]
            paper = network.get((theirs["dataset"], theirs["metric"]), np.nan)
            row += [theirs["dataset"], paper, theirs["value"], int(theirs["events"]), int(theirs["subjects"])]
            held = ours["dataset"] == theirs["dataset"]
            alone = mean if held else [theirs["value"], np.nan, np.nan]
            counted = "{events:.0f} clips, {subjects:.0f} subjects of ".format_map(ours if held else theirs)
            row += [
                mark(ours, theirs) or "same",
                *alone,
                counted + ("this run's table" if held else "the public table"),
            ]
            rows.append((*row, paper - alone[0], paper - alone[2], paper - alone[1]))
    names = [
        "dataset",
        "metric",
        "ours",
        "ours_low",
        "ours_high",
        "events",
        "subjects",
        "of",
        "paper",
        "control",
    ]
    names += ["their_events", "their_subjects", "data", "alone", "alone_low", "alone_high", "table"]
    return pd.DataFrame(rows, columns=[*names, "difference", "low", "high"])


def as_rows(dataset: str, metrics: Sequence[str]) -> pd.DataFrame:
    """Published values of intensity as rows that go below a table of ours.

    Parameters
    ----------
    dataset : str
        Ours. Where something is published of it, the values of all other data are left out.
    metrics : sequence of str

    Returns
    -------
    DataFrame
        what (whose number, on which data, and a sign of ``SIGNS`` for whatever isn't as with us), protocol, differs (the
        same in words), a column a metric.
    """
    known = values("intensity")
    known = known[known["metric"].isin(metrics)]
    own = known[known["dataset"] == dataset]
    rows = []
    for (whose, data), part in (own if len(own) else known).groupby(["method", "dataset"], sort=False):
        first = results.records(part)[0]
        differs = mark({"dataset": dataset}, first)
        signs = "".join(sign for words, sign in SIGNS.items() if words in differs)
        scores = dict(zip(part["metric"], part["value"], strict=True))
        about = {
            "what": f"{whose}, {data} {signs}".rstrip(),
            "protocol": first["protocol"],
            "differs": differs,
        }
        rows.append({**about, **scores})
    return pd.DataFrame(rows, columns=["what", "protocol", "differs", *metrics])


def mark(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """What differs between one of our numbers and a published one, in capitals; empty where nothing is known to.

    Parameters
    ----------
    ours : dict
        dataset, events, subjects (NaN where not counted), variant (if it is one).
    theirs : dict
        A row of published.csv.
    """
    marks = []
    counts = [(ours.get(name, np.nan), theirs[name]) for name in ("events", "subjects")]
    if ours["dataset"] != theirs["dataset"]:
        marks.append(f"OTHER DATA: {ours['dataset']}, not {theirs['dataset']}")
    elif any(our != their for our, their in counts if pd.notna(our) and pd.notna(their)):
        (events, their_events), (subjects, their_subjects) = counts
        marks.append(
            f"OTHER DATA: {events:.0f} clips of {subjects:.0f} subjects, not {their_events:.0f} of {their_subjects:.0f}"
        )
    other = theirs.get("variant", "")
    differs = [_VARIANTS[other]] if other and ours.get("variant", "") != other else []
    if differs := [*differs, *([theirs["differs"]] if theirs["differs"] else [])]:
        marks.append(f"OTHER PROTOCOL: {'; '.join(differs)}")
    return "; ".join(marks)


def _row(ours: dict[str, Any], theirs: dict[str, Any], value: float, control: float) -> dict[str, Any]:
    return {
        **{
            name: ours.get(name, np.nan)
            for name in ("dataset", "protocol", "low", "high", "model", "events", "subjects")
        },
        "what": f"{theirs['method']} on {theirs['dataset']}",
        "metric": theirs["metric"],
        "ours": value,
        "control": control,
        "published": theirs["value"],
        "difference": value - theirs["value"],
        "mark": mark(ours, theirs),
        "source": theirs["source"],
        "of": theirs["dataset"],
    }


def _position(control: pd.DataFrame) -> list[dict[str, Any]]:
    """Position alone, averaged over events as it was on the public tables; an interval over subjects isn't that of it."""
    out = []
    for theirs in results.records(values("intensity").query("model == 'position_only'")):
        for ours in results.records(_same(control, theirs, ["protocol", "metric"])):
            about = {name: ours[name] for name in ("dataset", "protocol", "events", "subjects")}
            model = results.label("position_only", "none")
            out.append(_row({**about, "model": model}, theirs, ours["over_events"], np.nan))
    return out


def _intensity(summary: pd.DataFrame, variants: pd.DataFrame | None = None) -> list[dict[str, Any]]:
    """Networks, mean over subjects; what was published of a variant stands beside ours where the run has trained it."""
    means, out = summary[summary["amplitude"] == "all"], []
    keys = ["protocol", "model", "input", "metric"]
    position = means[means["model"] == "position_only"]
    control = position.set_index(["dataset", "protocol", "metric"])["estimate"]
    for theirs in results.records(values("intensity").query("model != 'position_only'")):
        candidates = _same(means, theirs, keys)
        if variants is not None and theirs["variant"]:
            trained = _same(variants, theirs, [*keys, "variant"])
            rest = candidates[~candidates["dataset"].isin(trained["dataset"])]
            candidates = pd.concat([trained, rest]) if len(trained) else candidates
        for ours in results.records(candidates):
            blind = control.get((ours["dataset"], ours["protocol"], ours["metric"]), np.nan)
            name = results.label(ours["model"], ours["input"])
            variant = ours.get("variant")
            ours["model"] = f"{name}, {variant}" if isinstance(variant, str) else name
            out.append(_row(ours, theirs, ours["estimate"], float(blind)))
    return out


def _spotting(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Our system, and the one that follows the published recipe where there is one, by the scorer named."""
    keys, out = ["dataset", "system", "rule"], []
    strict = results.over_seeds(table[table["rule"] == "strict"], ["dataset", "system"])
    # The other scorers have no pooled row: mean over seeds.
    both = pd.concat([strict, table[table["rule"] != "strict"]])
    scores = both.groupby(keys, sort=False).mean(numeric_only=True)
    for theirs in results.records(values("spotting")):
        for model in dict.fromkeys((theirs["model"], "ours")):
            for dataset in table["dataset"].unique():
                if (dataset, model, theirs["protocol"]) not in scores.index:
                    continue
                score = scores.loc[(dataset, model, theirs["protocol"])]
                metric, blind = theirs["metric"], (dataset, "chance", theirs["protocol"])
                ours = {
                    "dataset": dataset,
                    "protocol": theirs["protocol"],
                    "model": model,
                    "low": score.get(f"{metric}_low", np.nan),
                    "high": score.get(f"{metric}_high", np.nan),
                }
                control = float(scores.loc[blind, metric]) if blind in scores.index else np.nan
                out.append(_row(ours, theirs, float(score[metric]), control))
    return out


def _same(table: pd.DataFrame, row: dict[str, Any], keys: list[str]) -> pd.DataFrame:
    return table[(table[keys] == [row[key] for key in keys]).all(axis=1)]

"""Published values beside ours, with a loud mark where data or protocol differ: nobody may take simulated for real.

    published.csv                         value, metric, data set, protocol, method, source; which of our models stands
                                          beside it (model, input), what else is known to differ (differs)
    summary, table_control, spotting      what a run found
        --> published_all.csv             ours, control, published, difference, mark

The control of intensity is position alone, that of spotting is chance: neither has seen a pixel.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melib.study import results

COLUMNS = [
    *("dataset", "protocol", "what", "metric", "ours", "low", "high", "control", "published", "difference"),
    *("mark", "source", "model", "of", "events", "subjects"),
]

_BESIDE = [
    *("dataset", "metric", "ours", "ours_low", "ours_high", "events", "subjects", "of", "paper", "control"),
    *("their_events", "their_subjects", "data", "alone", "alone_low", "alone_high", "table"),
    *("difference", "low", "high"),
]
# A variant of our model (ablations.CHANGES) that was published, in words.
_VARIANTS = {"no ranking term": "trained without the apex-ranking term"}


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
    rows = [row for table in results.read_results(run, "table_control") for row in _position(table)]
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
    known, ends = values("intensity"), ("", "_low", "_high")
    network = known[known["model"] == "resnet18_bigru"].set_index(["dataset", "metric"])["value"]
    blind = known[known["model"] == "position_only"].drop(columns=["protocol", "model", "input", "task"])
    theirs = {"value": "control", "events": "their_events", "subjects": "their_subjects", "dataset": "of"}
    ours = {f"over_events{end}": f"ours{end}" for end in ends}
    table = control[control["protocol"] == "paper"].rename(columns=ours)
    table = table.merge(blind.rename(columns=theirs), on="metric").astype(
        {"their_events": int, "their_subjects": int}
    )
    held = table["of"] == table["dataset"]
    table, held = (part[held | ~table["dataset"].isin(table.loc[held, "of"])] for part in (table, held))
    rows = results.records(table)
    back = {new: old for old, new in theirs.items()}
    table["data"] = [
        mark(row, {back.get(k, k): v for k, v in row.items() if k not in theirs}) or "same" for row in rows
    ]
    for end in ends:
        table[f"alone{end}"] = table[f"ours{end}"].where(held, np.nan if end else table["control"])
    counted = "{events:.0f} clips, {subjects:.0f} subjects of this run's table"
    public = "{their_events:.0f} clips, {their_subjects:.0f} subjects of the public table"
    table["table"] = [
        (counted if own else public).format_map(row) for row, own in zip(rows, held, strict=True)
    ]
    table["paper"] = [network.get(key, np.nan) for key in zip(table["of"], table["metric"], strict=True)]
    for name, end in (("difference", ""), ("low", "_high"), ("high", "_low")):
        table[name] = table["paper"] - table[f"alone{end}"]
    return table.reindex(columns=_BESIDE).reset_index(drop=True)


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
    """Position alone, averaged over events as it was on the public tables, with the interval of that."""
    out = []
    for theirs in results.records(values("intensity").query("model == 'position_only'")):
        for ours in results.records(_same(control, theirs, ["protocol", "metric"])):
            about = {name: ours[name] for name in ("dataset", "protocol", "events", "subjects")}
            about |= {end: ours[f"over_events_{end}"] for end in ("low", "high")}
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

"""Plots of the second paper, from its result tables alone: systems, timelines, recall, decoders, effects, inflation.

Each function takes tables as spotting_tables.py writes them and returns a figure whose label is its caption; `draw` makes
all that a run's results allow.
"""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import binomtest

from melib import figures
from melib.figures import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, TWO_COLUMNS, YELLOW

# Controls that see no face or aren't trained are grey, the references orange, what we propose blue.
_CONTROLS = ("chance", "motion")
_REFERENCES = ("reference, published", "reference, repaired")
_DECODERS = {"fixed_window": GREY, "extensible_interval": ORANGE, "half_height": GREEN, "semi_markov": BLUE}
_KINDS = {"micro": BLUE, "macro": SKY, "blink": YELLOW}
_SCORES = {
    "end_to_end_f1": "End-to-end F1",
    "strs": "STRS",
    "spotting_f1": "Spotting F1",
    "fp_per_hour": "False alarms an hour",
}
_GROUPS = {
    "peak_px": "true peak, pixels",
    "duration_s": "duration, s",
    "overlapped": "overlaps a macro-expression",
}


def systems(table: pd.DataFrame) -> Figure:
    """End-to-end F1, STRS and false alarms of every system.

    Parameters
    ----------
    table : DataFrame
        spotting.csv of one data set; the strict rule's rows are drawn.
    """
    part = table[table["rule"] == "strict"]
    with figures.style():
        fig, axes = plt.subplots(1, 3, figsize=(TWO_COLUMNS, 0.75 + 0.22 * len(part)), sharey=True)
        for axis, metric in zip(axes, ("end_to_end_f1", "strs", "fp_per_hour"), strict=True):
            for y, row in enumerate(figures.records(part)):
                _interval(
                    axis, row[metric], row[f"{metric}_low"], row[f"{metric}_high"], y, _colour(row["system"])
                )
            axis.set_title(_SCORES[metric])
            axis.set_xlim(left=0)
            _rows(axis, part["system"])
        events = int(part["tp"].iloc[0] + part["fn"].iloc[0])
        fig.set_label(
            f"Spotting and recognition in {int(part['videos'].iloc[0])} videos ({part['minutes'].iloc[0]:.0f} minutes, "
            f"{events} micro-expressions), videos without any included, pooled over folds, with 95 % intervals over "
            "subjects; one-to-one matching at IoU .5; end to end: interval and class are right. Grey: controls that see no "
            "pixel or aren't trained. Orange: the "
            "published method."
        )
    return fig


def timelines(curves: pd.DataFrame, intervals: pd.DataFrame) -> Figure:
    """Score curve, true and found intervals of some videos.

    Parameters
    ----------
    curves : DataFrame
        panel (text over it), seconds, score.
    intervals : DataFrame
        panel, what (micro, macro, blink: annotated; found), start, stop (seconds), score (of what was found).
    """
    panels = list(dict.fromkeys(curves["panel"]))
    with figures.style():
        fig, axes = plt.subplots(
            len(panels), 1, figsize=(TWO_COLUMNS, 0.6 + 1.05 * len(panels)), squeeze=False
        )
        for axis, panel in zip(axes[:, 0], panels, strict=True):
            line = curves[curves["panel"] == panel]
            axis.plot(line["seconds"], line["score"], color=INK, linewidth=0.8, label="score")
            for row in figures.records(intervals[intervals["panel"] == panel]):
                _bar(axis, row)
            axis.set_xlim(0, line["seconds"].max())
            axis.set_ylim(-0.05, 1.62)
            axis.set_yticks([0, 0.5, 1])
            axis.set_title(panel, fontsize=plt.rcParams["legend.fontsize"], fontweight="normal")
        axes[-1, 0].set_xlabel("Time, s")
        names = [("score", INK), ("found", PURPLE), *((f"annotated {kind}", c) for kind, c in _KINDS.items())]
        handles = [
            plt.Line2D([], [], color=colour, linewidth=3 if name != "score" else 1) for name, colour in names
        ]
        fig.legend(handles, [name for name, _ in names], loc="outside upper center", ncols=len(names))
        fig.set_label(
            "Score curves of whole videos of subjects that the model never saw, what was annotated (bars above) and what "
            "was found (purple, the number is its confidence). Videos are chosen evenly over the share of events that "
            "were found."
        )
    return fig


def _bar(axis: Axes, row: dict[str, Any]) -> None:
    found = row["what"] == "found"
    height = 1.5 if found else {"micro": 1.34, "macro": 1.22, "blink": 1.1}[row["what"]]
    colour = PURPLE if found else _KINDS[row["what"]]
    # A short event must stay visible in a long video.
    axis.plot(
        [row["start"], row["stop"]], [height] * 2, color=colour, linewidth=3, solid_capstyle="projecting"
    )
    if found:
        axis.axvspan(row["start"], row["stop"], ymax=0.6, color=PURPLE, alpha=0.15, linewidth=0)
        axis.annotate(
            f"{row['score']:.2f}",
            (row["stop"], height),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
        )


def recall(table: pd.DataFrame) -> Figure:
    """Share of events found, by amplitude, duration and overlap.

    Parameters
    ----------
    table : DataFrame
        spotting_recall.csv: system, by, group, events, found, recall.
    """
    by = [name for name in _GROUPS if name in set(table["by"])]
    names = list(dict.fromkeys(table["system"]))
    with figures.style():
        fig, axes = plt.subplots(1, len(by), figsize=(TWO_COLUMNS, 2.5), sharey=True, squeeze=False)
        for axis, column in zip(axes[0], by, strict=True):
            part = table[table["by"] == column]
            groups = list(dict.fromkeys(part["group"]))
            for place, name in enumerate(names):
                mine = part[part["system"] == name].set_index("group").reindex(groups)
                x = np.arange(len(groups)) + 0.08 * (place - (len(names) - 1) / 2)
                low, high = _wilson(mine["found"].to_numpy(float), mine["events"].to_numpy(float))
                middle = mine["recall"].to_numpy(float)
                errors = np.abs(np.nan_to_num([middle - low, high - middle]))
                style = {"markerfacecolor": "white"} if name in _CONTROLS else {}
                axis.errorbar(
                    x,
                    middle,
                    errors,
                    color=_colour(name),
                    marker="osD^vP"[place % 6],
                    label=name,
                    linewidth=0.9,
                    elinewidth=0.6,
                    **style,
                )
            counts = part[part["system"] == names[0]].set_index("group").reindex(groups)["events"]
            axis.set_xticks(
                range(len(groups)),
                [f"{g}\n{int(n)}" for g, n in zip(groups, counts, strict=True)],
                fontsize="small",
            )
            axis.set_xlabel(_GROUPS[column])
            axis.set_ylim(-0.03, 1.03)
        axes[0, 0].set_ylabel("Share found (IoU .5)")
        fig.legend(
            *axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=min(4, len(names))
        )
        fig.set_label(
            "Which micro-expressions are found. Under each group the number of its events; 95 % Wilson intervals over "
            "events."
        )
    return fig


def _wilson(found: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % intervals of shares; NaN where there is no event."""
    bounds = np.full((len(n), 2), np.nan)
    for i in np.flatnonzero(n > 0):
        bounds[i] = binomtest(int(found[i]), int(n[i])).proportion_ci(method="wilson")[:2]
    return bounds[:, 0], bounds[:, 1]


def inflation(table: pd.DataFrame) -> Figure:
    """How much STRS each fault of evaluation adds.

    Parameters
    ----------
    table : DataFrame
        inflation_ledger.csv: system, fault, meaning, strs, inflation, low, high.
    """
    names = list(dict.fromkeys(table["system"]))
    faults = table[(table["system"] == names[0]) & (table["fault"] != "none")]
    with figures.style():
        fig, axes = plt.subplots(
            1, len(names), figsize=(TWO_COLUMNS, 0.8 + 0.24 * len(faults)), sharey=True, squeeze=False
        )
        for axis, name in zip(axes[0], names, strict=True):
            part = table[(table["system"] == name) & (table["fault"] != "none")]
            for y, row in enumerate(figures.records(part)):
                _interval(
                    axis,
                    row["inflation"],
                    row["low"],
                    row["high"],
                    y,
                    ORANGE if row["inflation"] > 0 else GREY,
                )
            clean = table[(table["system"] == name) & (table["fault"] == "none")]["strs"].iloc[0]
            axis.axvline(0, color=INK, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
            axis.set_title(f"{name} (STRS {clean:.3f})")
            axis.set_xlabel("STRS added by the fault")
            _rows(axis, faults["meaning"])
        fig.set_label(
            "Inflation ledger: what each published fault of evaluation adds to STRS when it alone is switched on, with 95 % "
            "intervals over subjects (paired)."
        )
    return fig


def effects(table: pd.DataFrame) -> Figure:
    """What each part brings, over combinations of the others.

    Parameters
    ----------
    table : DataFrame
        factorial.csv: factor, reference, ours, metric, effect, low, high, combinations.
    """
    chosen = ("end_to_end_f1", "strs", "fp_per_hour")
    factors = table.drop_duplicates("factor")
    names = [
        f"{row['factor']}: {_level(row['ours'])} for {_level(row['reference'])}"
        for row in figures.records(factors)
    ]
    with figures.style():
        fig, axes = plt.subplots(1, len(chosen), figsize=(TWO_COLUMNS, 0.9 + 0.24 * len(names)), sharey=True)
        for axis, metric in zip(axes, chosen, strict=True):
            for y, row in enumerate(figures.records(table[table["metric"] == metric])):
                _interval(axis, row["effect"], row["low"], row["high"], y, BLUE)
            axis.axvline(0, color=INK, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
            axis.set_title(_SCORES[metric])
            axis.set_xlabel("Change")
            _rows(axis, names)
        fig.set_label(
            f"What each part brings: mean score with it less mean score without, over {int(table['combinations'].iloc[0])} "
            "combinations of all parts, with 95 % intervals over subjects (the same resamples for all combinations). "
            "The body brings its way of training along: windows, or whole videos with masks, augmentation and "
            "macro-expressions and blinks as further targets."
        )
    return fig


def decoders(table: pd.DataFrame) -> Figure:
    """Spotting F1 over the IoU that is asked for, a line a decoder and a panel a setting.

    Parameters
    ----------
    table : DataFrame
        decoders.csv: setting, decoder, iou, f1, low, high.
    """
    settings = list(dict.fromkeys(table["setting"]))
    with figures.style():
        fig, axes = plt.subplots(1, len(settings), figsize=(TWO_COLUMNS, 2.3), sharey=True, squeeze=False)
        for axis, setting in zip(axes[0], settings, strict=True):
            for place, (decoder, colour) in enumerate(_DECODERS.items()):
                line = table[(table["setting"] == setting) & (table["decoder"] == decoder)]
                if len(line):
                    x = line["iou"] + 0.006 * (place - 1.5)
                    errors = np.abs(np.stack([line["f1"] - line["low"], line["high"] - line["f1"]]))
                    axis.errorbar(
                        x,
                        line["f1"],
                        errors,
                        color=colour,
                        marker="osD^"[place],
                        label=decoder.replace("_", " "),
                        elinewidth=0.6,
                        linewidth=0.9,
                    )
            axis.set_title(setting.replace(", ", ",\n"), fontsize="small")
            axis.set_xlabel("IoU asked for")
            axis.set_ylim(0, min(1, 1.05 * float(table["high"].max())))
        axes[0, 0].set_ylabel("Spotting F1")
        fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
        fig.set_label(
            "Decoders on the same curves of held-out subjects. Each tuned the least score that it keeps on validation "
            "subjects, from whom semi_markov has its emissions, too; priors are those of training subjects, of the same "
            "and of another data set. 95 % intervals over subjects."
        )
    return fig


def draw(run: str | Path) -> list[Path]:
    """Draw what the results of a run allow, and save it.

    Returns
    -------
    list of Path
        The PNGs written.
    """
    run = Path(run)
    drawn = []
    for name, made, files in (
        ("spotting_systems", systems, ["spotting"]),
        ("spotting_timelines", timelines, ["spotting_curves", "spotting_intervals"]),
        ("spotting_recall", recall, ["spotting_recall"]),
        ("spotting_inflation", inflation, ["inflation_ledger"]),
        ("spotting_effects", effects, ["factorial"]),
        ("spotting_decoders", decoders, ["decoders"]),
    ):
        paths = [run / "results" / f"{file}.csv" for file in files]
        if not all(path.is_file() for path in paths):
            continue
        tables = [figures.read(path) for path in paths]
        datasets = list(dict.fromkeys(tables[0]["dataset"])) if "dataset" in tables[0] else [""]
        for dataset in datasets:
            parts = [table[table["dataset"] == dataset] if dataset else table for table in tables]
            fig, ending = made(*parts), f"_{dataset}" if len(datasets) > 1 else ""
            figures.save(fig, run, f"{name}{ending}", results=files)
            plt.close(fig)
            drawn.append(figures.folder(run) / f"{name}{ending}.png")
    return drawn


def _colour(system: str) -> str:
    return (
        GREY
        if system in _CONTROLS
        else ORANGE
        if system in _REFERENCES
        else GREEN
        if "intensity" in system
        else BLUE
    )


def _level(value: Any) -> str:
    return str(value).replace("_", " ")


def _interval(axis: Axes, middle: float, low: float, high: float, y: float, colour: str) -> None:
    if np.isfinite(low) and np.isfinite(high):
        axis.plot([low, high], [y, y], color=colour, linewidth=1.1, solid_capstyle="butt")
    axis.plot(middle, y, "o", color=colour)


def _rows(axis: Axes, names: Any) -> None:
    axis.set_yticks(range(len(names)), [_level(name) for name in names])
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color="#E4E4E4", linewidth=0.5)
    axis.set_axisbelow(True)

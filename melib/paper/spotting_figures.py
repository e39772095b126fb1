"""Figures of the spotting paper, from its result tables alone: systems, timelines, recall, decoders, effects.

Each function takes tables of one data set as spotting_tables.py writes them and returns a figure whose label is its caption.
"""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import binomtest

from melib.paper import style
from melib.paper.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, TWO_COLUMNS, YELLOW, Plot
from melib.study import comparisons, results

# Controls that see no face or aren't trained are grey, the references orange, what we propose blue, as in the figure of the
# limits of detection.
_CONTROLS = ("chance", "motion")
_COLOURS = {
    **dict.fromkeys(_CONTROLS, GREY),
    **dict.fromkeys(("reference, published", "reference, repaired"), ORANGE),
    **{"intensity model": GREEN, "ours + intensity model": PURPLE},
}
_DECODERS = {
    "fixed_window": GREY,
    "extensible_interval": ORANGE,
    "half_height": GREEN,
    "semi_markov": BLUE,
    "selector": PURPLE,
}
# Colour and height above the curve.
_BARS = {"found": (PURPLE, 1.5), "micro": (BLUE, 1.34), "macro": (SKY, 1.22), "blink": (YELLOW, 1.1)}
# STRS, which hangs on single subjects, stands in the tables alone.
_SCORES = {
    "spotting_f1": "Spotting F1",
    "end_to_end_f1": "End-to-end F1",
    "fp_per_hour": "False alarms\nan hour",
}
_GROUPS = {
    "peak_px": "True peak, pixels of the crop",
    "duration_s": "Duration, s",
    "overlapped": "Overlaps a macro-expression",
}
_ENDS = {"estimate": "", "low": "_low", "high": "_high"}
_THIN: dict[str, Any] = {"linewidth": 0.9, "err_kws": {"linewidth": 0.6}}


@style.context()
def systems(table: pd.DataFrame) -> Figure:
    """Spotting F1, average precision, end-to-end F1 and false alarms of every system.

    Parameters
    ----------
    table : DataFrame
        spotting.csv of one data set; the strict rule's rows are drawn.
    """
    part = results.over_seeds(table[table["rule"] == "strict"], ["dataset", "system"])
    look = {
        "y": range(len(part)),
        "colour": part["system"].map(_colour),
        "filled": ~part["system"].isin(_CONTROLS),
    }
    heads = {"spotting_f1": _SCORES["spotting_f1"], "ap": "Average\nprecision", **_SCORES}
    panels = {
        head: pd.DataFrame(
            {end: part.get(f"{score}{suffix}", np.nan) for end, suffix in _ENDS.items()} | look
        )
        for score, head in heads.items()
    }
    fig, axes = style.dot_panels(list(part["system"]), panels)
    for axis, values in zip(axes, panels.values(), strict=True):
        axis.set_xlim(left=-0.03 * values[["estimate", "high"]].max().max())
    axes[3].set_xlabel("fewer is better", fontsize="small")
    first = table.dropna(subset=["seed"]).iloc[0]  # a row without a seed counts every training
    fig.set_label(
        f"Spotting and recognition in {first['videos']:.0f} videos ({first['minutes']:.0f} minutes, "
        f"{first['tp'] + first['fn']:.0f} micro-expressions), videos without any included, pooled over folds, with 95 % "
        "intervals over subjects but for b; one-to-one matching at IoU .5. c, F1 of intervals whose class is right, too. d, "
        "intervals found where nothing is, an hour of video. Grey, open: controls that see no pixel or aren't trained. "
        "Orange: the published method. Green and purple: with the intensity paper's model."
    )
    return fig


@style.context()
def timelines_figure(curves: pd.DataFrame, intervals: pd.DataFrame) -> Figure:
    """Score curve, true and predicted intervals of some videos.

    Parameters
    ----------
    curves : DataFrame
        panel (text over it), seconds, score.
    intervals : DataFrame
        panel, what (micro, macro, blink: annotated; found: predicted, right or not), start, stop (seconds).
    """
    panels = curves["panel"].unique()
    size = TWO_COLUMNS, 0.6 + 1.05 * len(panels)
    fig, axes = plt.subplots(len(panels), 1, figsize=size, squeeze=False)
    for axis, panel in zip(axes[:, 0], panels, strict=True):
        line = curves[curves["panel"] == panel]
        axis.plot(line["seconds"], line["score"], color=INK, linewidth=0.8)
        for row in results.records(intervals[intervals["panel"] == panel]):
            _bar(axis, row)
        axis.set_xlim(0, line["seconds"].max())
        axis.set_ylim(-0.05, 1.62)
        axis.set_yticks([0, 0.5, 1])
        axis.set_title(panel, fontsize=plt.rcParams["legend.fontsize"], fontweight="normal")
        axis.set_ylabel("Score")
    axes[-1, 0].set_xlabel("Time, s")
    names = {name: f"annotated {name}" for name in _BARS} | {"found": "predicted (bar, shade)"}
    handles = [plt.Line2D([], [], color=INK, linewidth=1, label="score")] + [
        plt.Line2D([], [], color=colour, linewidth=3, label=names[name])
        for name, (colour, _) in _BARS.items()
    ]
    fig.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    fig.set_label(
        "Our system on whole videos of subjects that it never saw: score of every frame; bars above from low to high: "
        "annotated blinks, macro- and micro-expressions, and what it predicted, right or wrong (shaded below, too). "
        "Over each panel: subject, video, and the share of its micro-expressions found at IoU .5. Videos are chosen "
        "evenly over that share, none by hand; time scales differ."
    )
    return fig


def _bar(axis: Axes, row: dict[str, Any]) -> None:
    """An interval as a bar above the curve; one that was predicted is shaded below, too."""
    colour, height = _BARS[row["what"]]
    # A short event must stay visible in a long video.
    axis.plot(
        [row["start"], row["stop"]], [height] * 2, color=colour, linewidth=3, solid_capstyle="projecting"
    )
    if row["what"] == "found":
        axis.axvspan(row["start"], row["stop"], ymax=0.6, color=colour, alpha=0.15, linewidth=0)


@style.context()
def recall(table: pd.DataFrame) -> Figure:
    """Share of events found, by amplitude, duration and overlap.

    Parameters
    ----------
    table : DataFrame
        spotting_recall.csv: system, by, group, events, found, recall.
    """
    by = [name for name in _GROUPS if name in set(table["by"])]
    names = list(table["system"].unique())
    first = table[table["system"] == names[0]]
    # 95 % intervals of shares, none where there is no event.
    bounds = [
        binomtest(int(hits), int(events)).proportion_ci(method="wilson")[:2] if events else (np.nan, np.nan)
        for hits, events in zip(table["found"], table["events"], strict=True)
    ]
    low, high = np.transpose(bounds)
    table = table.assign(estimate=table["recall"], low=low, high=high)
    look: dict[str, Any] = {
        "hue": "system",
        "hue_order": names,
        "palette": {name: _colour(name) for name in names},
        "markers": ["osD^vPX"[place % 7] for place in range(len(names))],
        "hollow": _CONTROLS,
        "dodge": 0.08 * (len(names) - 1),
        **_THIN,
    }
    fig, axes = plt.subplots(1, len(by), figsize=(TWO_COLUMNS, 2.5), sharey=True, squeeze=False)
    for axis, column in zip(axes[0], by, strict=True):
        part = table[table["by"] == column]
        groups = list(part["group"].unique())
        dash = "none" if column == "overlapped" else "-"  # a line joins what has an order
        places = part.assign(place=part["group"].map(groups.index))
        style.points(axis, places, x="place", linestyles=[dash] * len(names), **look)
        counts = first[first["by"] == column].set_index("group")["events"]
        ticks = [f"{_group(group)}\n{counts[group]:.0f}" for group in groups]
        axis.set_xticks(range(len(groups)), ticks, fontsize="small")
        axis.set_xlabel(_GROUPS[column])
        axis.set_ylim(-0.03, 1.03)
    axes[0, 0].set_ylabel("Share found (IoU .5)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=min(4, len(names)))
    style.letters(axes[0])
    events = first[first["by"] == by[0]]["events"].sum()
    fig.set_label(
        f"Which of {events:.0f} micro-expressions are found (one-to-one matching at IoU .5), by the size of the movement, "
        "its length, and what it overlaps. Under each group the number of its events; 95 % Wilson intervals over "
        "events, which take no account of whose they are. Neighbours are shifted sideways to keep them apart. Grey, "
        "open: controls that see no pixel or aren't trained."
    )
    return fig


@style.context()
def effects(table: pd.DataFrame, systems: pd.DataFrame) -> Figure:
    """What each part brings, over combinations of the others.

    Parameters
    ----------
    table : DataFrame
        factorial.csv: factor, reference, ours, metric, effect, low, high, combinations.
    systems : DataFrame
        ablations.csv: of the combinations scored, for the caption how much video there was.
    """
    names = [
        f"{row['factor']}: {results.spaced(row['ours'])} for {results.spaced(row['reference'])}"
        for row in results.records(table.drop_duplicates("factor"))
    ]
    table = table.rename(columns={"effect": "estimate"})
    table = table.assign(
        y=table["factor"].map(list(table["factor"].unique()).index), colour=BLUE, filled=_apart(table)
    )
    fig, axes = style.dot_panels(names, _by_score(table))
    _changes(axes)
    first = systems[systems["rule"] == "strict"].iloc[0]
    fig.set_label(
        f"What each part brings: mean score with it less mean score without, over {table['combinations'].iloc[0]:.0f} "
        f"combinations of all parts, on {first['videos']:.0f} videos with {first['tp'] + first['fn']:.0f} "
        "micro-expressions; 95 % intervals over subjects (the same resamples for all combinations). Filled: the interval "
        "leaves 0 out; open: it holds 0; no part is a declared test. The body brings its way of training along: windows, "
        "or whole videos with masks, augmentation and macro-expressions and blinks as further targets."
    )
    return fig


@style.context()
def parts(table: pd.DataFrame) -> Figure:
    """Single parts of our system, each against what it is asked about, on what another seed alone does.

    Parameters
    ----------
    table : DataFrame
        spotting_parts.csv.
    """
    pairs = list(
        table.drop_duplicates(["question", "system"])[["question", "system", "against"]].itertuples(
            index=False
        )
    )
    short = lambda name: name.removeprefix("ours, ")  # noqa: E731
    names = [f"{short(system)} \N{MINUS SIGN} {short(against)}" for _, system, against in pairs]
    places = {pair[:2]: y for y, pair in enumerate(pairs)}
    sham = table["question"] == "sham"
    table = table.rename(columns={"difference": "estimate"}).assign(
        y=[places[pair] for pair in zip(table["question"], table["system"], strict=True)],
        colour=np.where(sham, GREY, BLUE),
        filled=table["significant"].astype(bool),
    )
    fig, axes = style.dot_panels(names, _by_score(table))
    _changes(axes)
    for axis, metric in zip(axes, _SCORES, strict=True):
        for row in results.records(table[(table["metric"] == metric) & (table["floor"] > 0)]):
            ends = [row["y"] - 0.5, row["y"] + 0.5]
            axis.fill_betweenx(ends, -row["floor"], row["floor"], color="#E4E4E4", linewidth=0, zorder=0)
    seeds = int(table["seeds"].max())
    fig.set_label(
        "Single parts of our system: score with the first less score with the second, over the same "
        f"{table['events'].max():.0f} micro-expressions; 95 % intervals over subjects"
        f"{' crossed with trainings' * (seeds > 1)}. Grey band: what another seed does, where the two aren't decoded from "
        f"the same fits. {'One training' if seeds == 1 else f'{seeds} trainings'} of each. Filled: told apart at "
        f"{comparisons.alpha():g} after Holm's correction over {table['tests'].max():.0f} tests."
        f"{' A verdict takes five trainings: none is drawn.' * (seeds < 5)}"
    )
    return fig


def _by_score(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {head: table[table["metric"] == metric] for metric, head in _SCORES.items()}


def _changes(axes: Any) -> None:
    """Say that dots are differences, on both sides of 0."""
    for axis in axes:
        axis.axvline(0, **style.DASHED)
        axis.locator_params(axis="x", nbins=4)  # numbers of four figures fit, too
        axis.set_xlabel("Change (less is better)" if axis is axes[2] else "Change")


@style.context()
def decoders(table: pd.DataFrame, differences: pd.DataFrame) -> Figure:
    """Spotting F1 over the IoU that is asked for, a line a decoder and a panel a setting.

    Parameters
    ----------
    table : DataFrame
        decoders.csv: setting, decoder, iou, f1, low, high.
    differences : DataFrame
        decoder_differences.csv: setting, events, subjects.
    """
    settings = table["setting"].unique()
    counts = differences.drop_duplicates("setting").set_index("setting")["events"]
    look: dict[str, Any] = {
        "hue": "decoder",
        "palette": _DECODERS,
        "hue_order": list(_DECODERS),
        "markers": list("osD^v"),
    }
    fig, axes = plt.subplots(1, len(settings), figsize=(TWO_COLUMNS, 2.3), sharey=True, squeeze=False)
    for axis, setting in zip(axes[0], settings, strict=True):
        part = table[table["setting"] == setting].rename(columns={"f1": "estimate"})
        style.points(axis, part, x="iou", dodge=0.2, **look, **_THIN)
        axis.set_title(setting.replace(", ", ",\n"))
        axis.set_xlabel(f"IoU asked for\n({counts[setting]:.0f} events)")
        axis.set_ylim(0, min(1, 1.05 * float(table["high"].max())))
    axes[0, 0].set_ylabel("Spotting F1")
    style.letters(axes[0], fontsize="small")
    handles, names = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, map(results.spaced, names), loc="outside upper center", ncols=5)
    fig.set_label(
        "Decoders on the same curves of held-out subjects. Over each panel the data set of the curves, and whose "
        "training subjects the prior is from. Each decoder tuned the least score that it keeps on validation subjects, "
        "from whom semi-Markov has its emissions and the selector its weights, too. 95 % intervals over subjects; "
        "neighbours are shifted sideways to keep them apart."
    )
    return fig


PLOTS = (
    Plot("spotting_systems", systems, ("spotting",)),
    Plot("spotting_timelines", timelines_figure, ("spotting_curves", "spotting_intervals")),
    Plot("spotting_recall", recall, ("spotting_recall",)),
    Plot("spotting_parts", parts, ("spotting_parts",)),
    Plot("spotting_effects", effects, ("factorial", "ablations")),
    Plot("spotting_decoders", decoders, ("decoders", "decoder_differences")),
)


def _colour(system: str) -> str:
    return _COLOURS.get(system, BLUE)


def _group(text: str) -> str:
    """``1.5 to inf`` as a reader says it, and ``True``; a dash, since five of them stand side by side."""
    low, _, high = text.partition(" to ")
    words = {"True": "yes", "False": "no"}
    return f"from {low}" if high == "inf" else words.get(text, text.replace(" to ", "\N{EN DASH}"))


def _apart(table: pd.DataFrame) -> pd.Series:
    """Whose interval leaves 0 out."""
    return (table["low"] > 0) | (table["high"] < 0)

"""The figure of the limits of detection, from limits.py's result tables alone."""

import itertools
import math
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from melib import stats
from melib.paper import style
from melib.paper.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, TWO_COLUMNS, Plot
from melib.study import results

# Colour, marker and dash of each system, the same in every panel.
_LOOKS: dict[str, tuple[str, str, Any]] = {
    "ours": (BLUE, "o", "-"),
    "ours + intensity model": (PURPLE, "D", "-"),
    "intensity model": (GREEN, "s", "-"),
    "reference, repaired": (ORANGE, "^", "-"),
    "motion": (GREY, "v", (0, (3, 1.5))),
    "chance": (GREY, "x", (0, (1, 1.2))),
    results.IDEAL: (INK, "*", "-"),
}
# Conditions, in words, and the level of the base.
_CONDITIONS = {
    "noise": ("times the noise", 1.0),
    "frame rate": ("frames a second", 30.0),
    "annotators": ("label error, ms", 0.0),
}
_TICKS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_BESIDE: dict[str, Any] = {"textcoords": "offset points", "fontsize": "small"}


@style.context()
def limits_of_detection(limits: pd.DataFrame, events: pd.DataFrame, curve: pd.DataFrame) -> Figure:
    """Draw what is found over amplitude, by every system and by the ideal observer.

    Parameters
    ----------
    limits, events, curve : DataFrame
        limits.csv, limits_events.csv and limits_curve.csv of one data set.
    """
    main = limits[(limits["condition"] == "base") & (limits["per_hour"] == limits["per_hour"].iloc[0])]
    rows = main.set_index("system")
    order = [name for name in _LOOKS if name in rows.index]
    events, curve = (table[table["condition"] == "base"] for table in (events, curve))
    asked = [name for name in _CONDITIONS if (limits["condition"] == name).any()]
    heights = [2.1, 0.2 + 0.14 * len(order), *[1.5] * bool(asked)]
    fig = plt.figure(figsize=(TWO_COLUMNS, 0.7 + sum(heights)))
    grid = fig.add_gridspec(len(heights), 1, height_ratios=heights)
    top = fig.add_subplot(grid[0])
    _functions(top, rows, events, curve, order)
    _thresholds(fig.add_subplot(grid[1], sharex=top), rows, order)
    axes: list[Axes] = []
    below = grid[-1].subgridspec(1, max(1, len(asked)))
    for place, name in enumerate(asked):
        axes.append(fig.add_subplot(below[place], sharey=axes[0] if axes else None))
        _condition(axes[-1], limits, main, name, order)
        axes[-1].tick_params(labelleft=not place)
    if axes:
        axes[0].set(title="b  Under other conditions", ylabel="Found half of\nthe time, pixels")
    fig.set_label(_caption(rows, asked))
    return fig


def _functions(
    axis: Axes, rows: pd.DataFrame, events: pd.DataFrame, curve: pd.DataFrame, order: list[str]
) -> None:
    """Psychometric functions, with the observed share of each bin where a model was trained for it."""
    models = [name for name in order if rows.loc[name, "kind"] == "model"]
    limit = float(rows.loc[results.IDEAL, "threshold_px"])
    reached = rows.loc[[n for n in order if n != results.IDEAL], "threshold_px"].min()
    blind = float(reached) if np.isfinite(reached) else float(rows["most_px"].max())
    about: dict[str, Any] = {"fontsize": "small", "color": "#555555", "style": "italic"}
    for low, high, colour, text in (
        (_TICKS[0], limit, "#F0F0F0", "too small\nto see"),
        (limit, blind, "#FFF4E0", "the models are blind"),
    ):
        axis.axvspan(low, high, color=colour, linewidth=0)
        axis.annotate(text, (math.sqrt(low * high), 0.9), ha="center", va="center", **about)
    for name in order:
        colour, _, dash = _LOOKS[name]
        line = curve[curve["system"] == name].sort_values("px")
        axis.plot(line["px"], line["probability"], color=colour, linestyle=dash, linewidth=1.5, zorder=3)
        if rows.loc[name, "kind"] != "baseline" and line["low"].notna().all():
            axis.fill_between(line["px"], line["low"], line["high"], color=colour, alpha=0.12, linewidth=0)
    for name, apart in zip(models, _apart(models), strict=True):
        x, *share = _binned(events[events["system"] == name], "found")
        _series(axis, name, x * 1.05**apart, *share, linestyle="none", markeredgewidth=0.5, zorder=5)
    axis.axhline(0.5, color=INK, linewidth=0.6, linestyle=(0, (4, 2)), zorder=1)
    axis.set(ylim=(-0.02, 1.03), yticks=[0, 0.25, 0.5, 0.75, 1], ylabel="Share of movements found")
    axis.set_title(f"a  What is found, {rows['per_hour'].iloc[0]:.0f} false alarms an hour asked")
    axis.tick_params(labelbottom=False)


def _thresholds(axis: Axes, rows: pd.DataFrame, order: list[str]) -> None:
    """Threshold of each system with its interval, a row each; an arrow where it lies above all that was tested."""
    most = float(rows["most_px"].max())
    for y, name in enumerate(order):
        colour, marker, _ = _LOOKS[name]
        row = rows.loc[name]
        middle, low, high = (row[f"threshold_px{end}"] for end in ("", "_low", "_high"))
        if np.isnan(middle):
            # What is known of an open interval is its lower end.
            start, text = low if np.isfinite(low) else 0.75 * most, str(row["remark"])
            arrow = {"arrowstyle": "->", "color": colour, "linewidth": 1.1}
            axis.annotate("", (1.28 * most, y), (start, y), annotation_clip=False, arrowprops=arrow)
        else:
            start, text = low if np.isfinite(low) else row["least_px"], f"{middle:.2g}"
            ends = start, high if np.isfinite(high) else 1.2 * most
            axis.plot(ends, [y, y], color=colour, linewidth=1.3, solid_capstyle="butt", clip_on=False)
            axis.plot(middle, y, marker, color=colour, markersize=6 if name == results.IDEAL else 4)
        axis.annotate(text, (start, y), (-3, 0), ha="right", va="center", **_BESIDE)
    axis.set_yticks(range(len(order)), order)
    for label, name in zip(axis.get_yticklabels(), order, strict=True):
        label.set_color(_LOOKS[name][0] if _LOOKS[name][0] != GREY else "#666666")
    axis.set_ylim(len(order) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    style.ruled(axis, "x")
    axis.set_xlabel(
        "Largest displacement, pixels of the 112-pixel crop (rows: what is found half of the time)"
    )
    _pixels(axis, _TICKS, (_TICKS[0], 1.2 * most))


def _condition(axis: Axes, limits: pd.DataFrame, main: pd.DataFrame, name: str, order: list[str]) -> None:
    """Thresholds over one condition's levels, the base among them; a triangle at the top lies above all tested."""
    text, at_base = _CONDITIONS[name]
    part = limits[limits["condition"] == name]
    shown = [system for system in order if (part["system"] == system).any()]
    table = pd.concat([main[main["system"].isin(shown)].assign(level=at_base), part])
    levels = sorted(table["level"].unique())
    most = float(table["most_px"].max())
    for system, apart in zip(shown, _apart(shown), strict=True):
        line = table[table["system"] == system].sort_values("level")
        x = np.array([levels.index(level) for level in line["level"]]) + 0.07 * apart
        middle = line["threshold_px"].to_numpy(float)
        low, high = (
            np.where(np.isfinite(line[f"threshold_px_{end}"]), line[f"threshold_px_{end}"], open_end)
            for end, open_end in (("low", line["least_px"]), ("high", 1.3 * most))
        )
        size = 5 if system == results.IDEAL else 3.5
        known = np.isfinite(middle)
        low[~known] = np.nan
        _series(axis, system, x, middle, low, high, linewidth=1, markersize=size)
        top = np.where(known, np.nan, 1.3 * most)
        look: dict[str, Any] = {"markerfacecolor": "white", "markersize": 4, "clip_on": False}
        axis.plot(x, top, "^", color=_LOOKS[system][0], linestyle="none", **look)
    axis.set(yscale="log", ylim=(_TICKS[0], 1.35 * most))
    axis.set_yticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    axis.minorticks_off()
    words = [f"{1000 * level / 200:g}" if name == "annotators" else f"{level:g}" for level in levels]
    axis.set_xticks(range(len(levels)), words)
    axis.set(xlim=(-0.5, len(levels) - 0.5), xlabel=text)
    style.ruled(axis, "y")


# What an observer loses at each step of the cascade.
_LOST = {
    "all known": "told everything but\nthe camera's noise",
    "rest of the picture unknown": "head, light and other\nunits may do anything",
    "36 features": "sees 18 regions' motion,\ntold what and when",
    "at any time": "isn't told when",
    "among other movements": "nor when somebody\nblinks, talks or smiles",
    "network's curve": "has learned what\nto look for",
    "network's intervals": "must say where they\nbegin and end (IoU .5)",
}
# Colour and kind of the observer at each step.
_KNOWERS = [
    *[(INK, "the best on the frames")] * 2,
    *[(ORANGE, "the best that weighs 36 features linearly")] * 3,
    *[(BLUE, "the trained network")] * 2,
]


@style.context()
def cascade_figure(steps: pd.DataFrame) -> Figure:
    """Draw where sight is lost: the size that is found half of the time at each step, and the factor to the step before.

    Parameters
    ----------
    steps : DataFrame
        cascade.csv of one data set.
    """
    fig, axis = plt.subplots(figsize=(TWO_COLUMNS, 0.7 + 0.42 * len(steps)))
    ends = steps[["threshold_px", "threshold_px_low", "threshold_px_high"]]
    most, before = 1.6 * float(np.nanmax(ends[np.isfinite(ends)])), np.nan
    elbow = {
        "arrowstyle": "-|>",
        "connectionstyle": "angle,angleA=-90,angleB=180,rad=0",
        "shrinkA": 4,
        "shrinkB": 3,
    }
    for y, row in enumerate(steps.itertuples()):
        px, colour = row.threshold_px, _KNOWERS[y][0]
        if np.isfinite(px):
            low = row.threshold_px_low if np.isfinite(row.threshold_px_low) else px
            high = row.threshold_px_high if np.isfinite(row.threshold_px_high) else most
            who = "" if _KNOWERS[y] in _KNOWERS[:y] else _KNOWERS[y][1]
            axis.plot([low, high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
            axis.plot(px, y, "o", color=colour, markersize=4.5, label=who)
            axis.annotate(f"{px:.2g}", (high, y), (4, 0), va="center", **_BESIDE)
        else:
            text = f"{row.remark} \N{RIGHTWARDS ARROW}"
            axis.annotate(text, (most, y), (-4, 0), ha="right", va="center", color=colour, **_BESIDE)
        if np.isfinite(px) and np.isfinite(before):
            axis.annotate(
                "", (px, y), (before, y - 1), arrowprops={"color": GREY, "linewidth": 0.8, **elbow}, zorder=1
            )
            factor = f"\N{MULTIPLICATION SIGN} {row.factor:.2g}"
            axis.annotate(factor, (before, y - 0.5), (-4, 0), ha="right", va="center", **_BESIDE)
        before = px
    axis.legend(loc="lower left")
    axis.set_yticks(range(len(steps)), [_LOST[step] for step in steps["step"]])
    axis.set_ylim(len(steps) - 0.5, -0.6)
    axis.tick_params(axis="y", length=0)
    style.ruled(axis, "x")
    axis.set_xlabel("Largest displacement that is found half of the time, pixels of the 112-pixel crop")
    ticks = tuple(tick for tick in (*_TICKS, 3.0) if 0.5 * ends.min().min() < tick < most)
    _pixels(axis, ticks, (0.6 * float(ends.min().min()), 1.15 * most))
    fig.set_label(_cascade_caption(steps))
    return fig


def _cascade_caption(steps: pd.DataFrame) -> str:
    first, counted = steps.iloc[0], steps.dropna(subset=["test_per_hour"])
    rates = ", ".join(
        f"{row.step} {row.test_per_hour:.0f} [{row.test_per_hour_low:.0f}, {row.test_per_hour_high:.0f}]"
        for row in counted.itertuples()
    )
    judged = steps.loc[steps["step"] == "36 features", "events"].max()
    return (
        f"Where sight is lost: the size at which half of {first['events']:.0f} movements of {first['subjects']:.0f} people "
        f"are found, by observers who know less and less. Features are weighed for those {judged:.0f} movements that are "
        "large enough to tell how they answer. Beside the arrows, times the step before; bars, 95 % over subjects. "
        f"{first['per_hour']:.0f} false alarms an hour are asked of all"
        + (f"; on test subjects it came to: {rates} (95 %, Poisson)." if rates else ".")
    )


def _series(axis: Axes, system: str, x: Any, middle: Any, low: Any, high: Any, **changed: Any) -> None:
    """Values of a system and their intervals in its colour, marker and dash."""
    colour, marker, dash = _LOOKS[system]
    look = {"linestyle": dash, "marker": marker, "linewidth": 0.9, "markersize": 3.5, **changed}
    axis.vlines(x, low, high, color=colour, linewidth=0.7)
    axis.plot(x, middle, color=colour, **look)


def _apart(series: list[str]) -> np.ndarray:
    """Steps by which series are shifted sideways, around 0."""
    return np.arange(len(series)) - (len(series) - 1) / 2


def _binned(table: pd.DataFrame, column: str) -> np.ndarray:
    """Place, mean over subjects and its 95 % interval of each bin of amplitude with enough events: (4, bins)."""
    bins = []
    for low, high in itertools.pairwise(results.BORDERS):
        part = table[(table["peak_px"] > low) & (table["peak_px"] <= high)]
        if len(part) >= 3:
            values = part[column].to_numpy(float), part["subject"].to_numpy()
            bins.append((math.sqrt(low * high), *stats.bootstrap(*values, n=500)))
    return np.array(bins).reshape(-1, 4).T


def _pixels(axis: Axes, ticks: tuple[float, ...], limits: tuple[float, float]) -> None:
    axis.set_xscale("log")
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlim(*limits)


def _caption(rows: pd.DataFrame, conditions: list[str]) -> str:
    tested = rows[rows["kind"] != "ideal"]
    first = tested.iloc[0]
    rates = ", ".join(
        f"{name} {row['test_per_hour']:.0f} [{row['test_per_hour_low']:.0f}, {row['test_per_hour_high']:.0f}]"
        for name, row in tested.iterrows()
    )
    under = f" b, these sizes under other conditions ({', '.join(conditions)}); open triangles lie above all tested."
    return (
        f"Limits of detection: {first['events']:.0f} micro-expressions of {first['subjects']:.0f} people that no model was "
        f"trained on. a, share found (IoU .5). The least score was set on validation subjects for {first['per_hour']:.0f} "
        f"false alarms an hour; on test subjects it came to: {rates}. Points, observed shares; curves, psychometric "
        "functions with bands; rows, the size found half of the time, an arrow where it lies above all that was tested. The "
        "ideal observer is told photograph, field, course, place and nuisance of each movement, and only has to beat the "
        "camera's noise: it is a bound, not a rival. What it misses is too small to see (grey band); what it finds and a "
        f"model misses, the model is blind to (yellow band, up to the best model's threshold).{under if conditions else ''} "
        "Intervals are 95 %, over subjects given the fits and the least score; those of rates are Poisson's."
    )


TABLES = ("limits", "limits_events", "limits_curve")
PLOTS = (
    Plot("limits_of_detection", limits_of_detection, TABLES),
    Plot("cascade", cascade_figure, ["cascade"]),
)

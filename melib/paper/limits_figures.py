"""The figure of the limits of detection, from limits.py's result tables alone."""

import itertools
import math
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from melib import stats
from melib.paper import style
from melib.paper.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, TWO_COLUMNS
from melib.study import results

TABLES = ("limits", "limits_events", "limits_curve", "efficiency")
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
_AXES = {
    "noise": ("times the noise", 1.0),
    "frame rate": ("frames a second", 30.0),
    "annotators": ("label error, ms", 0.0),
}
_TICKS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_LEAST_EFFICIENCY = 1e-7


def limits_of_detection(
    limits: pd.DataFrame, found: pd.DataFrame, curve: pd.DataFrame, efficiency: pd.DataFrame
) -> Figure:
    """Draw what is found over amplitude, by every system and by the ideal observer.

    Parameters
    ----------
    limits, found, curve, efficiency : DataFrame
        limits.csv, limits_events.csv, limits_curve.csv and efficiency.csv of one data set.
    """
    main = limits[(limits["condition"] == "base") & (limits["per_hour"] == limits["per_hour"].iloc[0])]
    rows = main.set_index("system")
    order = [name for name in _LOOKS if name in rows.index]
    base = [table[table["condition"] == "base"] for table in (found, curve, efficiency)]
    with style.context():
        fig = plt.figure(figsize=(TWO_COLUMNS, 4.5 + 0.14 * len(order)))
        upper = 2.3 + 0.14 * len(order)
        grid = fig.add_gridspec(2, 2, width_ratios=[1.95, 1], height_ratios=[upper, 1.5])
        left = grid[0, 0].subgridspec(2, 1, height_ratios=[2.1, upper - 2.1])
        top = fig.add_subplot(left[0])
        _functions(top, rows, base[0], base[1], order)
        _thresholds(fig.add_subplot(left[1], sharex=top), rows, order)
        _efficiencies(fig.add_subplot(grid[0, 1]), base[2], order)
        asked = [name for name in _AXES if (limits["condition"] == name).any()]
        below = grid[1, 0].subgridspec(1, max(1, len(asked)))
        first: Axes | None = None
        for place, name in enumerate(asked):
            axis = fig.add_subplot(below[place], sharey=first)
            _condition(axis, limits, main, name, order)
            if first is None:
                axis.set_title("c  Under other conditions")
                axis.set_ylabel("Found half of the time, pixels")
            else:
                axis.tick_params(labelleft=False)
            first = first or axis
        _agreement(fig.add_subplot(grid[1, 1]), base[0], order)
        fig.set_label(_caption(rows, limits))
    return fig


def _functions(
    axis: Axes, rows: pd.DataFrame, found: pd.DataFrame, curve: pd.DataFrame, order: list[str]
) -> None:
    """Psychometric functions, with the observed share of each bin where a model was trained for it."""
    models = [name for name in order if rows.loc[name, "kind"] == "model"]
    limit = float(rows.loc[results.IDEAL, "threshold_px"])
    reached = rows.loc[[n for n in order if n != results.IDEAL], "threshold_px"].min()
    blind = float(reached) if np.isfinite(reached) else float(rows["most_px"].max())
    axis.axvspan(_TICKS[0], limit, color="#F0F0F0", linewidth=0)
    axis.axvspan(limit, blind, color="#FFF4E0", linewidth=0)
    for x, text in (
        (math.sqrt(_TICKS[0] * limit), "too small\nto see"),
        (math.sqrt(limit * blind), "the models are blind"),
    ):
        axis.annotate(
            text, (x, 0.9), ha="center", va="center", fontsize="small", color="#555555", style="italic"
        )
    for name in order:
        colour, _, dash = _LOOKS[name]
        line = curve[curve["system"] == name].sort_values("px")
        axis.plot(line["px"], line["probability"], color=colour, linestyle=dash, linewidth=1.5, zorder=3)
        if rows.loc[name, "kind"] != "baseline" and line["low"].notna().all():
            axis.fill_between(line["px"], line["low"], line["high"], color=colour, alpha=0.12, linewidth=0)
    for place, name in enumerate(models):
        colour, marker, _ = _LOOKS[name]
        for x, middle, low, high in _binned(found[found["system"] == name], "found"):
            at = x * 1.05 ** (place - (len(models) - 1) / 2)
            axis.plot([at, at], [low, high], color=colour, linewidth=0.7, zorder=4)
            axis.plot(at, middle, marker, color=colour, markersize=3.5, markeredgewidth=0.5, zorder=5)
    axis.axhline(0.5, color=INK, linewidth=0.6, linestyle=(0, (4, 2)), zorder=1)
    axis.set_ylim(-0.02, 1.03)
    axis.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axis.set_ylabel("Share of movements found")
    rate = rows["per_hour"].iloc[0]
    axis.set_title(f"a  What is found, {rate:.0f} false alarms an hour allowed")
    axis.tick_params(labelbottom=False)


def _thresholds(axis: Axes, rows: pd.DataFrame, order: list[str]) -> None:
    """Threshold of each system with its interval, a row each; an arrow where it lies above all that was tested."""
    most = float(rows["most_px"].max())
    across = blended_transform_factory(axis.transData, axis.transData)
    for y, name in enumerate(order):
        colour, marker, _ = _LOOKS[name]
        row = rows.loc[name]
        middle, low, high = (row[f"threshold_px{end}"] for end in ("", "_low", "_high"))
        if np.isnan(middle):
            # What is known of an open interval is its lower end.
            start = low if np.isfinite(low) else 0.75 * most
            axis.annotate(
                "", (1.28 * most, y), (start, y), xycoords=across, annotation_clip=False,
                arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 1.1},
            )  # fmt: skip
            said = str(row["remark"])
            axis.annotate(
                said,
                (start, y),
                (-3, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize="small",
            )
            continue
        ends = (low if np.isfinite(low) else row["least_px"], high if np.isfinite(high) else 1.2 * most)
        axis.plot(ends, [y, y], color=colour, linewidth=1.3, solid_capstyle="butt", clip_on=False)
        axis.plot(middle, y, marker, color=colour, markersize=6 if name == results.IDEAL else 4)
        axis.annotate(
            f"{middle:.2g}",
            (ends[0], y),
            (-3, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize="small",
        )
    axis.set_yticks(range(len(order)), order)
    for label, name in zip(axis.get_yticklabels(), order, strict=True):
        label.set_color(_LOOKS[name][0] if _LOOKS[name][0] != GREY else "#666666")
    axis.set_ylim(len(order) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color="#E4E4E4", linewidth=0.5)
    axis.set_axisbelow(True)
    axis.set_xlabel("Largest displacement, pixels of the crop; rows: found half of the time")
    _pixels(axis, _TICKS, (_TICKS[0], 1.2 * most))


def _efficiencies(axis: Axes, efficiency: pd.DataFrame, order: list[str]) -> None:
    """Share of what there is to know that each system uses, in each bin of amplitude."""
    shown = [name for name in order if name != results.IDEAL]
    axis.axhline(1, color=INK, linewidth=1)
    axis.annotate("the ideal observer", (1, 1), (-1, -2), ("axes fraction", "data"), "offset points", ha="right", va="top",
                  fontsize="small")  # fmt: skip
    for place, name in enumerate(shown):
        colour, marker, dash = _LOOKS[name]
        line = efficiency[efficiency["system"] == name]
        x = np.sqrt(line["low_px"] * line["high_px"]).to_numpy() * 1.06 ** (place - (len(shown) - 1) / 2)
        middle, low, high = (
            np.clip(line[f"efficiency{end}"].to_numpy(float), _LEAST_EFFICIENCY, 1)
            for end in ("", "_low", "_high")
        )
        some = line["efficiency"].to_numpy() > 0
        axis.plot(
            x[some], middle[some], color=colour, linestyle=dash, marker=marker, linewidth=0.9, markersize=3.5
        )
        axis.vlines(x[some], low[some], high[some], color=colour, linewidth=0.7)
        # Where no more was found than by guessing, only the interval's upper end is known.
        axis.plot(
            x[~some],
            high[~some],
            "v",
            color=colour,
            markerfacecolor="white",
            markersize=3.5,
            linestyle="none",
        )
        axis.vlines(x[~some], high[~some] / 4, high[~some] / 1.3, color=colour, linewidth=0.7)
    axis.set_yscale("log")
    axis.set_ylim(_LEAST_EFFICIENCY, 3)
    axis.minorticks_off()
    _pixels(axis, (0.03, 0.1, 0.3, 1.0), (0.02, 2.6))
    axis.set_title("b  Efficiency")
    axis.set_ylabel("Share of the ideal d' squared")
    axis.set_xlabel("Largest displacement, pixels")


def _condition(axis: Axes, limits: pd.DataFrame, main: pd.DataFrame, name: str, order: list[str]) -> None:
    """Thresholds over one condition's levels, the base among them; a triangle at the top lies above all tested."""
    text, at_base = _AXES[name]
    part = limits[limits["condition"] == name]
    shown = [system for system in order if (part["system"] == system).any()]
    both = pd.concat([main[main["system"].isin(shown)].assign(level=at_base), part])
    levels = sorted(both["level"].unique())
    most = float(both["most_px"].max())
    for place, system in enumerate(shown):
        colour, marker, dash = _LOOKS[system]
        line = both[both["system"] == system].sort_values("level")
        x = np.array([levels.index(level) for level in line["level"]]) + 0.07 * (place - (len(shown) - 1) / 2)
        middle = line["threshold_px"].to_numpy(float)
        known = np.isfinite(middle)
        low = np.where(np.isfinite(line["threshold_px_low"]), line["threshold_px_low"], line["least_px"])
        high = np.where(np.isfinite(line["threshold_px_high"]), line["threshold_px_high"], 1.3 * most)
        axis.plot(x, np.where(known, middle, np.nan), color=colour, linestyle=dash, linewidth=1)
        axis.vlines(x[known], low[known], high[known], color=colour, linewidth=0.8)
        axis.plot(
            x[known],
            middle[known],
            marker,
            color=colour,
            markersize=5 if system == results.IDEAL else 3.5,
            linestyle="none",
        )
        if not known.all():
            axis.plot(
                x[~known], np.full((~known).sum(), 1.3 * most), "^", color=colour, markerfacecolor="white", markersize=4,
                linestyle="none", clip_on=False,
            )  # fmt: skip
    axis.set_yscale("log")
    axis.set_yticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    axis.set_ylim(_TICKS[0], 1.35 * most)
    axis.minorticks_off()
    said = [f"{1000 * level / 200:g}" if name == "annotators" else f"{level:g}" for level in levels]
    axis.set_xticks(range(len(levels)), said)
    axis.set_xlim(-0.5, len(levels) - 0.5)
    axis.set_xlabel(text)
    axis.grid(axis="y", color="#E4E4E4", linewidth=0.5)
    axis.set_axisbelow(True)


def _agreement(axis: Axes, found: pd.DataFrame, order: list[str]) -> None:
    """Rank agreement of each curve with the true intensity inside the event, in each bin of amplitude."""
    shown = [n for n in order if found.loc[found["system"] == n, "inside_spearman"].notna().any()]
    axis.axhline(0, color=INK, linewidth=0.6, linestyle=(0, (4, 2)))
    for place, name in enumerate(shown):
        colour, marker, dash = _LOOKS[name]
        points = _binned(found[found["system"] == name].dropna(subset=["inside_spearman"]), "inside_spearman")
        x, middle, low, high = np.array(points).reshape(-1, 4).T
        x = x * 1.06 ** (place - (len(shown) - 1) / 2)
        axis.plot(x, middle, color=colour, linestyle=dash, marker=marker, markersize=3.5, linewidth=0.9)
        axis.vlines(x, low, high, color=colour, linewidth=0.7)
    _pixels(axis, (0.03, 0.1, 0.3, 1.0), (0.02, 2.6))
    axis.set_title("d  Agreement inside the event")
    axis.set_ylabel("Spearman with the truth")
    axis.set_xlabel("Largest displacement, pixels")


def _binned(table: pd.DataFrame, column: str) -> list[tuple[float, float, float, float]]:
    """Place, mean over subjects and its 95 % interval of each bin of amplitude with enough events."""
    out = []
    for low, high in itertools.pairwise(results.BORDERS):
        part = table[(table["peak_px"] > low) & (table["peak_px"] <= high)]
        if len(part) >= 3:
            values = part[column].to_numpy(float), part["subject"].to_numpy()
            out.append((math.sqrt(low * high), *stats.bootstrap(*values, n=500)))
    return out


def _pixels(axis: Axes, ticks: tuple[float, ...], limits: tuple[float, float]) -> None:
    axis.set_xscale("log")
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlim(*limits)


def _caption(rows: pd.DataFrame, limits: pd.DataFrame) -> str:
    tested = rows[rows["kind"] != "ideal"]
    one = tested.iloc[0]
    rates = ", ".join(f"{name} {row['test_per_hour']:.0f}" for name, row in tested.iterrows())
    changed = [name for name in _AXES if (limits["condition"] == name).any()]
    more = (
        f" c, these sizes under other conditions ({', '.join(changed)}); open triangles at the top lie above all that was "
        "tested."
    )
    more *= bool(changed)
    return (
        f"Limits of detection: {int(one['events'])} micro-expressions of {int(one['subjects'])} people that no model was "
        f"trained on. a, share found (IoU .5). The least score was set on validation subjects for {one['per_hour']:.0f} "
        f"false alarms an hour; on test subjects it came to: {rates}. Points, observed shares; curves, psychometric "
        "functions with bands; rows, the size found half of the time, an arrow where it lies above all that was tested. The "
        "ideal observer is told photograph, field, course, place and nuisance of each movement, and only has to beat the "
        "camera's noise: it is a bound, not a rival. What it misses is too small to see (grey band); what it finds and a "
        "model misses, the model is blind to (yellow band, up to the best model's threshold). b, share of the ideal "
        "observer's d' squared with which it would find what the model finds; open triangles: found no more than by "
        f"guessing, upper limit.{more} d, rank agreement of each curve with the true "
        "intensity inside the event. All intervals are 95 %, over subjects, given the fits and the least score."
    )


def draw(run: str | Path) -> list[Path]:
    """Draw what the results of a run allow, and save it.

    Returns
    -------
    list of Path
        The PNGs written.
    """
    run = Path(run)
    paths = [run / "results" / f"{name}.csv" for name in TABLES]
    if not all(path.is_file() for path in paths):
        return []
    drawn = []
    tables = [results.read_result(path) for path in paths]
    datasets = list(dict.fromkeys(tables[0]["dataset"]))
    for dataset in datasets:
        fig = limits_of_detection(*(table[table["dataset"] == dataset] for table in tables))
        name = f"limits_of_detection{f'_{dataset}' if len(datasets) > 1 else ''}"
        style.save(fig, run, name, results=TABLES)
        plt.close(fig)
        drawn.append(style.folder(run) / f"{name}.png")
    return drawn

"""Figures of the intensity ablations and of the priors, from their result tables alone.

Each function takes tables of one data set as ablations.py writes them and returns a figure whose label is its caption.
"""

import textwrap
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from melib.paper import style
from melib.paper.style import BLUE, GREY, INK, ORANGE, TWO_COLUMNS, NothingToDraw, Plot
from melib.study import comparisons, results

_FAMILY = "intensity_ablations"
_CONTROLS = ("position_only", "constant_frame", "flow_magnitude", "oracle_interval")
_MARKERS = dict(zip(style.PRIOR_COLOURS, "osD^v", strict=True))
# Told from the triangle by their flanks alone.
_SMOOTH = ("gaussian", "raised_cosine")
_FLOOR: dict[str, Any] = {"color": "#E4E4E4", "linewidth": 0, "zorder": 0}
_BORDER: dict[str, Any] = {"color": "#BBBBBB", "linewidth": 0.5}


@style.context()
def forest(table: pd.DataFrame, differences: pd.DataFrame, *, protocol: str) -> Figure:
    """Every variant beside its base, the controls and the ceiling: agreement, and the two quantities of the face card.

    Parameters
    ----------
    table, differences : DataFrame
        intensity_ablations.csv and ablation_differences.csv of one data set.
    protocol : str
    """
    table = table[table["protocol"] == protocol].fillna({"base": ""})
    if table.empty:
        raise NothingToDraw(f"no variant was trained under {protocol}: run notebook 05 first")
    metric = comparisons.metric_of(_FAMILY, protocol, set(table["metric"]))
    rows = _rows(table)
    less = differences[(differences["protocol"] == protocol) & (differences["metric"] == metric)]
    less = less[less["family"] != "control"].rename(columns={"difference": "estimate"})
    tested = less[less["significant"].astype(bool)]
    marked = set(zip(tested["base"], tested["variant"], strict=True))
    heads = {metric: results.METRICS[metric], "": "The same, less its base"}
    heads |= {name: results.QUANTITIES[name][0].capitalize() for name in ("clip_swap", "apex_follow")}
    panels = {
        # Only the first two panels show what was tested.
        head: _placed(
            table[table["metric"] == name] if name else less, rows, marked if name in (metric, "") else set()
        )
        for name, head in heads.items()
    }
    names = [row["variant"].replace(" (", "\n(" if row["family"] == "base" else " (") for row in rows]
    fig, axes = style.dot_panels(names, panels, width_ratios=[1.4, 1.2, 1, 1])
    for axis, (head, values) in zip(axes, panels.items(), strict=True):
        _bands(axis, rows, values[values["family"] == "base"])
        axis.set(title="", xlabel=textwrap.fill(head, 26, break_on_hyphens=False))
        axis.axvline(1 if axis is axes[3] else 0, color=GREY, linewidth=0.5, zorder=0)
    _floors(axes[1], rows, less)
    style.letters(axes)
    ceiling = "pseudo_label" if metric.endswith("_true") else "truth"
    for value in table[(table["model"] == ceiling) & (table["metric"] == metric)]["estimate"]:
        axes[0].axvline(value, **style.DASHED)
    for text, row in zip(axes[0].get_yticklabels(), rows, strict=True):
        text.set(fontweight="bold" if row["family"] == "base" else "normal", linespacing=1)
    fig.set_label(
        f"One change at a time. {results.PROTOCOLS.get(protocol, protocol)}; mean over "
        f"{table['subjects'].max()} subjects and {table['events'].max()} events with 95 % intervals over subjects. "
        "Bold: a base (blue), its interval as a band behind its variants, which share its budget, subjects and folds; "
        "grey: controls. a, agreement; dashed: the score of "
        f"{results.CEILINGS[ceiling]}. b, difference from the base, paired over events; grey band: what "
        f"another seed alone does ({_trainings(less)}), within which no change says anything. Filled in a and b: told apart "
        f"from the base at {comparisons.alpha():g} after Holm's correction over the {differences['p'].notna().sum()} "
        "tests of this data set; open: not told apart. c and d, face card, not tested: clip swap is 0 for whatever knows "
        "only position, apex follow is 1 for what follows the apex of re-timed clips and 0 for what doesn't."
    )
    return fig


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows from top to bottom: each base above its variants, the controls last."""
    known = table.drop_duplicates(["base", "variant"])
    controls = known[(known["family"] == "control") & ~known["variant"].str.startswith("position only, ")]
    parts = [known[known["family"] != "control"], *(controls[controls["model"] == m] for m in _CONTROLS)]
    return results.records(pd.concat(parts)[["base", "variant", "family"]])


def _placed(table: pd.DataFrame, rows: list[dict[str, Any]], marked: set[Any]) -> pd.DataFrame:
    """Variants with row, colour, and whether they are told apart from their base."""
    places = {(row["base"], row["variant"]): y for y, row in enumerate(rows)}
    pairs = list(zip(table["base"], table["variant"], strict=True))
    base = table["family"] == "base"
    table = table.assign(
        y=[places.get(pair, np.nan) for pair in pairs],
        colour=table["family"].map({"base": BLUE, "control": GREY}).fillna(ORANGE),
        filled=base | pd.Series([pair in marked for pair in pairs], table.index),
    )
    return table.dropna(subset=["y", "estimate"])


def _bands(axis: Axes, rows: list[dict[str, Any]], bases: pd.DataFrame) -> None:
    """The interval of each base as a band behind its variants, and a line below them."""
    for base in results.records(bases):
        last = max(place for place, row in enumerate(rows) if row["base"] == base["base"])
        ends = base["y"] - 0.5, last + 0.5
        axis.fill_betweenx(ends, base["low"], base["high"], color="#DCEAF4", linewidth=0, zorder=0)
        axis.plot([base["estimate"]] * 2, ends, color=BLUE, linewidth=0.6, zorder=0.5)
    for y in range(1, len(rows)):
        if rows[y]["base"] != rows[y - 1]["base"]:
            axis.axhline(y - 0.5, **_BORDER)


def _floors(axis: Axes, rows: list[dict[str, Any]], less: pd.DataFrame) -> None:
    """What another seed alone does to each base, as a band on both sides of 0 behind its variants."""
    for row in results.records(less[less["family"] == "sham"]):
        places = [y for y, other in enumerate(rows) if other["base"] == row["base"]]
        axis.fill_betweenx([min(places) - 0.5, max(places) + 0.5], -row["floor"], row["floor"], **_FLOOR)


def _trainings(less: pd.DataFrame) -> str:
    n = int(less["seeds"].max())
    return "one training each: no verdict" if n == 1 else f"{n} trainings each"


@style.context()
def prior_figure(table: pd.DataFrame) -> Figure:
    """How well each prior matches the true intensity, against the error of the landmarks that it was given.

    Parameters
    ----------
    table : DataFrame
        prior_match.csv of one data set. The context protocol is drawn where there is one.
    """
    protocol = next(name for name in reversed(results.PROTOCOLS) if (table["protocol"] == name).any())
    table = table[table["protocol"] == protocol]
    less = table[table["prior"].isin(_SMOOTH)].drop(columns=["estimate", "low", "high"])
    names = {"less_triangle": "estimate", "less_triangle_low": "low", "less_triangle_high": "high"}
    panels = [
        ("ccc", table, "Concordance with the truth"),
        ("ccc", less.rename(columns=names), "Concordance, less the triangle's"),
        ("inside_spearman", table, "Spearman with the truth, inside"),
    ]
    look: dict[str, Any] = {
        "hue": "prior",
        "hue_order": list(style.PRIOR_COLOURS),
        "palette": style.PRIOR_COLOURS,
        "markers": list(_MARKERS.values()),
        "markersize": 3,
        "linewidth": 0.9,
        "err_kws": {"linewidth": 0.6},
    }
    fig, axes = plt.subplots(1, len(panels), figsize=(TWO_COLUMNS, 2.4))
    for axis, (metric, values, title) in zip(axes, panels, strict=True):
        part = values[values["metric"] == metric]
        top = part["jitter"].max()
        theirs = part[part["landmarks"] == "annotated"].assign(jitter=top + 1.6)
        for points, dash, dodge in ((part[part["jitter"].notna()], "-", 0.32), (theirs, "none", 0.96)):
            style.points(axis, points, x="jitter", linestyles=[dash] * len(_MARKERS), dodge=dodge, **look)
        axis.axvline(top + 0.7, **_BORDER)
        ticks = sorted(part["jitter"].dropna().unique())
        axis.set_xticks([*ticks, top + 1.6], [*(f"{tick:g}" for tick in ticks), "anno-\ntators"])
        axis.set_ylabel(textwrap.fill(title, 22))
        style.ruled(axis, "y")
    axes[1].axhline(0, color=INK, linewidth=0.8)
    style.letters(axes)
    fig.supxlabel("Error of the true landmarks, frames (standard deviation)", fontsize="medium")
    handles = [
        Line2D([], [], color=colour, marker=_MARKERS[prior], label=results.spaced(prior))
        for prior, colour in style.PRIOR_COLOURS.items()
    ]
    fig.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    fig.set_label(
        "Which prior is right? Agreement of each prior, as a label, with the true intensity of simulated clips: laid "
        "over the true landmarks, over the same with a normal error in frames of the video, and, right of the line, "
        f"over the annotators' landmarks. {results.PROTOCOLS[protocol]}; mean over {table['subjects'].max()} subjects "
        f"and {table['events'].max()} events with 95 % intervals over subjects, most of them smaller than their marks. a, "
        "concordance over the window. b, the same less the triangle's, paired over events, of the priors that rise "
        "and fall alike. c, rank agreement inside the event. The axes of a and b don't begin at 0."
    )
    return fig


_TABLES = ("intensity_ablations", "ablation_differences")
PLOTS = (
    Plot("intensity_ablations", partial(forest, protocol="context"), _TABLES),
    Plot("intensity_ablations_paper", partial(forest, protocol="paper"), _TABLES),
    Plot("prior_match", prior_figure, ("prior_match",)),
)

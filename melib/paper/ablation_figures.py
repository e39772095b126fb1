"""Plots of the intensity ablations and of the priors, from their result tables alone.

Each function takes tables of one data set as ablations.py writes them and returns a figure whose label is its caption;
`draw` makes all that a run's results allow.
"""

import textwrap
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from melib.paper import style
from melib.paper.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, TWO_COLUMNS
from melib.study import comparisons, results

_FAMILY = "intensity_ablations"
_CONTROLS = ("position_only", "constant_frame", "flow_magnitude", "oracle_interval")
_MARKERS = dict(zip(style.PRIOR_COLOURS, "osD^v", strict=True))
# Told from the triangle by their flanks alone.
_SMOOTH = ("gaussian", "raised_cosine")


def forest(table: pd.DataFrame, differences: pd.DataFrame, *, protocol: str) -> Figure:
    """Every variant beside its base, the controls and the ceiling: agreement, and the two quantities of the face card.

    Parameters
    ----------
    table, differences : DataFrame
        intensity_ablations.csv and ablation_differences.csv of one data set.
    protocol : str
    """
    table = table[table["protocol"] == protocol]
    metric = comparisons.metric_of(_FAMILY, protocol, set(table["metric"]))
    rows = _rows(table)
    less = differences[(differences["protocol"] == protocol) & (differences["metric"] == metric)]
    less = less[less["family"] != "control"].rename(columns={"difference": "estimate"})
    tested = less[less["significant"].astype(bool)]
    marked = set(zip(tested["base"], tested["variant"], strict=True))
    panels = {
        "": less,
        **{name: table[table["metric"] == name] for name in (metric, "clip_swap", "apex_follow")},
    }
    order = (metric, "", "clip_swap", "apex_follow")
    with style.context():
        height = (0.75 + 0.165 * len(rows)) * plt.rcParams["font.size"] / 7
        fig, axes = plt.subplots(
            1, 4, figsize=(TWO_COLUMNS, height), sharey=True, width_ratios=[1.4, 1.2, 1, 1]
        )
        for axis, name in zip(axes, order, strict=True):
            known = panels[name].set_index(["base", "variant"])[["estimate", "low", "high"]]
            # Only the first two panels show what was tested.
            _panel(axis, rows, known.to_dict("index"), marked if name in (metric, "") else set())
            title = (
                results.QUANTITIES[name][0].capitalize()
                if name in results.QUANTITIES
                else "The same, less its base"
            )
            said = results.METRICS[metric] if name == metric else title
            axis.set_xlabel(textwrap.fill(said, 26, break_on_hyphens=False))
            axis.axvline(1 if name == "apex_follow" else 0, color=GREY, linewidth=0.5, zorder=0)
        ceiling = "pseudo_label" if metric.endswith("_true") else "truth"
        best = table[(table["model"] == ceiling) & (table["metric"] == metric)]["estimate"]
        for value in best:
            axes[0].axvline(value, color=INK, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
        for text, row in zip(axes[0].get_yticklabels(), rows, strict=True):
            text.set_fontweight("bold" if row[2] == "base" else "normal")
        style.letters(axes)
        tests = int(differences["p"].notna().sum())
        fig.set_label(
            f"One change at a time. {results.PROTOCOLS.get(protocol, protocol)}; mean over "
            f"{table['subjects'].max()} subjects and {table['events'].max()} events with 95 % intervals over subjects. "
            "Bold: a base (blue), its interval as a band behind its variants, which share its budget, subjects and folds; "
            "grey: controls. a, agreement; dashed: the score of "
            f"{results.CEILINGS[ceiling]}. b, difference from the base, paired over events. Filled in a and b: told apart "
            f"from the base at {comparisons.alpha():g} after Holm's correction over the {tests} tests of this data set; "
            "open: not told apart. c and d, face card, not tested: clip swap is 0 for whatever knows only position, apex "
            "follow is 1 for what follows the apex of re-timed clips and 0 for what doesn't."
        )
    return fig


def _rows(table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """(base, variant, family) from top to bottom: each base above its variants, the controls last."""
    known = table.drop_duplicates(["base", "variant"])
    lines = [row for row in results.records(known) if row["family"] != "control"]
    controls = known[(known["family"] == "control") & ~known["variant"].str.startswith("position only, ")]
    shown = [row for model in _CONTROLS for row in results.records(controls[controls["model"] == model])]
    return [(row["base"], row["variant"], row["family"]) for row in (*lines, *shown)]


def _text(row: tuple[str, str, str]) -> str:
    return row[1].replace(" (", "\n(") if row[2] == "base" else row[1]


def _panel(
    axis: Axes, rows: list[tuple[str, str, str]], known: dict[Any, Any], marked: set[tuple[str, str]]
) -> None:
    """Dots and intervals of one metric, and the interval of each base as a band behind its variants."""
    shown = []
    for y, (base, variant, family) in enumerate(rows):
        row = known.get((base, variant))
        if row is None or not np.isfinite(row["estimate"]):
            continue
        if family == "base":
            last = max(place for place, each in enumerate(rows) if each[0] == base)
            axis.fill_betweenx(
                [y - 0.5, last + 0.5], row["low"], row["high"], color="#DCEAF4", linewidth=0, zorder=0
            )
            axis.plot([row["estimate"]] * 2, [y - 0.5, last + 0.5], color=BLUE, linewidth=0.6, zorder=0.5)
        colour = {"base": BLUE, "control": GREY}.get(family, ORANGE)
        filled = family == "base" or (base, variant) in marked
        shown.append({**row, "y": y, "colour": colour, "filled": filled})
    table = pd.DataFrame(shown, columns=["y", "estimate", "low", "high", "colour", "filled"])
    style.dots(axis, table, [_text(row) for row in rows], table["colour"], table["filled"])
    for y in range(1, len(rows)):
        if rows[y][0] != rows[y - 1][0]:
            axis.axhline(y - 0.5, color="#BBBBBB", linewidth=0.5)


def jitter(table: pd.DataFrame) -> Figure:
    """Agreement of models against the error of the labels that they were trained on.

    Parameters
    ----------
    table : DataFrame
        intensity_ablations.csv of one data set; a line a base that has variants of the family ``labels``.
    """
    keys = ["protocol", "base"]
    chosen = table[table["family"].isin(["base", "labels"])]
    lines = chosen[chosen["family"] == "labels"].drop_duplicates(keys)[keys]
    with style.context():
        fig, axis = plt.subplots(figsize=(style.ONE_COLUMN, 2.4))
        looks = zip((BLUE, ORANGE, GREEN, PURPLE), "osD^", strict=True)
        for (colour, marker), line in zip(looks, results.records(lines), strict=False):
            part = chosen[(chosen["protocol"] == line["protocol"]) & (chosen["base"] == line["base"])]
            metric = comparisons.metric_of(_FAMILY, line["protocol"], set(part["metric"]))
            part = part[part["metric"] == metric]
            frames = part["variant"].str.extract(r"off by (\d+)")[0].astype(float).fillna(0)
            part = part.assign(frames=frames).sort_values("frames")
            said = f"{line['base']}, {line['protocol']}: {results.METRICS[metric]}"
            look = {"color": colour, "marker": marker, "label": said}
            style.points(axis, part, x="frames", err_kws={"linewidth": 0.7}, **look)
        axis.set_xlabel("Error of onset, apex and offset in training, frames (standard deviation)")
        axis.set_ylabel("Agreement on undisturbed clips")
        fig.legend(loc="outside upper left")
        fig.set_label(
            "Agreement with the undisturbed target against the error of the labels that were trained on, drawn for each "
            "landmark on top of the annotators' own, in frames of the video; mean over "
            f"{chosen['subjects'].max()} subjects and {chosen['events'].max()} events with 95 % intervals over subjects."
        )
    return fig


def prior_match(table: pd.DataFrame) -> Figure:
    """How well each prior matches the true intensity, against the error of the landmarks that it was given.

    Parameters
    ----------
    table : DataFrame
        prior_match.csv of one data set. The context protocol is drawn where there is one.
    """
    protocols = [name for name in reversed(results.PROTOCOLS) if (table["protocol"] == name).any()]
    table = table[table["protocol"] == protocols[0]]
    names = {"less_triangle": "estimate", "less_triangle_low": "low", "less_triangle_high": "high"}
    less = table[table["prior"].isin(_SMOOTH)].drop(columns=["estimate", "low", "high"]).rename(columns=names)
    panels = [
        ("ccc", table, "Concordance with the truth"),
        ("ccc", less, "Concordance, less the triangle's"),
        ("inside_spearman", table, "Spearman with the truth, inside"),
    ]
    with style.context():
        fig, axes = plt.subplots(1, len(panels), figsize=(TWO_COLUMNS, 2.4))
        for axis, (metric, of, said) in zip(axes, panels, strict=True):
            part = of[of["metric"] == metric]
            top = part["jitter"].max()
            theirs = part[part["landmarks"] == "annotated"].assign(jitter=top + 1.6)
            for mine, dash, dodge in ((part[part["jitter"].notna()], "-", 0.32), (theirs, "none", 0.96)):
                style.points(
                    axis,
                    mine,
                    x="jitter",
                    hue="prior",
                    hue_order=list(style.PRIOR_COLOURS),
                    palette=style.PRIOR_COLOURS,
                    markers=list(_MARKERS.values()),
                    linestyles=[dash] * len(_MARKERS),
                    markersize=3,
                    dodge=dodge,
                    linewidth=0.9,
                    err_kws={"linewidth": 0.6},
                )
            axis.axvline(top + 0.7, color="#BBBBBB", linewidth=0.5)
            ticks = sorted(part["jitter"].dropna().unique())
            axis.set_xticks([*ticks, top + 1.6], [*(f"{tick:g}" for tick in ticks), "anno-\ntators"])
            axis.set_ylabel(said)
            axis.grid(axis="y", color="#E4E4E4", linewidth=0.5)
            axis.set_axisbelow(True)
        axes[1].axhline(0, color=INK, linewidth=0.8)
        style.letters(axes)
        fig.supxlabel("Error of the true landmarks, frames (standard deviation)", fontsize="medium")
        handles = [
            Line2D([], [], color=colour, marker=_MARKERS[prior], label=prior.replace("_", " "))
            for prior, colour in style.PRIOR_COLOURS.items()
        ]
        fig.legend(handles=handles, loc="outside upper center", ncols=len(handles))
        protocol = results.PROTOCOLS[protocols[0]]
        fig.set_label(
            "Which prior is right? Agreement of each prior, as a label, with the true intensity of simulated clips: laid "
            "over the true landmarks, over the same with a normal error in frames of the video, and, right of the line, "
            f"over the annotators' landmarks. {protocol}; mean over {table['subjects'].max()} subjects and "
            f"{table['events'].max()} events with 95 % intervals over subjects, most of them smaller than their marks. a, "
            "concordance over the window. b, the same less the triangle's, paired over events, of the priors that rise "
            "and fall alike. c, rank agreement inside the event. The axes of a and b don't begin at 0."
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
    made: list[tuple[str, Figure, list[str]]] = []
    sources = ["intensity_ablations", "ablation_differences"]
    for ending, table, differences in _by_dataset(run, sources):
        table["base"], differences["base"] = table["base"].fillna(""), differences["base"].fillna("")
        for protocol in dict.fromkeys(table["protocol"]):
            name = "intensity_ablations" + ("" if protocol == "context" else f"_{protocol}")
            made.append((f"{name}{ending}", forest(table, differences, protocol=protocol), sources))
        if len(set(table["variant"][table["family"] == "labels"])) > 1:
            made.append((f"label_errors{ending}", jitter(table), sources[:1]))
    for ending, table in _by_dataset(run, ["prior_match"]):
        made.append((f"prior_match{ending}", prior_match(table), ["prior_match"]))
    for name, fig, files in made:
        style.save(fig, run, name, results=files)
        plt.close(fig)
    return [style.folder(run) / f"{name}.png" for name, *_ in made]


def _by_dataset(run: Path, names: list[str]) -> list[tuple[Any, ...]]:
    """Tables of each data set, after what its files' names end with where there are several."""
    files = [run / "results" / f"{name}.csv" for name in names]
    if not all(file.is_file() for file in files):
        return []
    tables = [results.read_result(file) for file in files]
    datasets = list(dict.fromkeys(tables[0]["dataset"]))
    parts = [[table[table["dataset"] == dataset].copy() for table in tables] for dataset in datasets]
    endings = [f"_{dataset}" if len(datasets) > 1 else "" for dataset in datasets]
    return [(ending, *part) for ending, part in zip(endings, parts, strict=True)]

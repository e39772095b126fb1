"""Figures of the intensity paper, drawn from result tables alone; `draw_all` draws those of the other modules, too.

A plot is a function from tables to a matplotlib figure, whose label is its caption; style.py saves it.
"""

import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from melib import priors
from melib.errors import DataError
from melib.paper import ablation_figures, limits_figures, spotting_figures, style
from melib.paper.style import BLUE, GREY, INK, ONE_COLUMN, ORANGE, PURPLE, TWO_COLUMNS, NothingToDraw, Plot
from melib.study import comparisons
from melib.study.results import (
    CEILINGS,
    LEARNED,
    METRICS,
    PROTOCOLS,
    QUANTITIES,
    intervals,
    label,
    ordered,
    over_seeds,
    records,
)

# On a grey print the colours of flow and raw are one: where lines cross, dashes tell them apart.
_INPUT_DASHES: dict[str, Any] = {"flow": "-", "difference": (0, (5, 1.5)), "raw": (0, (4, 1.2, 1, 1.2))}
# Borders of the amplitude bins: about equal counts at a median of .7.
PEAKS_PX = (0.1, 0.35, 0.5, 0.7, 1.0, 1.4, 2.5)
_MARKERS = "osD^vP"


@style.context()
def agreement(results: pd.DataFrame, chosen: Mapping[str, str] | None = None) -> Figure:
    """Dot and interval of every model and control, one panel a protocol.

    Parameters
    ----------
    results : DataFrame
        intensity.csv of one data set.
    chosen : mapping protocol -> metric, optional
        By default what each protocol can show: agreement with the pseudo-label where the paper's protocol is
        followed, agreement with the truth inside the event where the borders say nothing.
    """
    chosen = chosen or {"paper": "spearman_pseudo", "context": "inside_spearman_true"}
    parts = {protocol: _pick(results, protocol, metric) for protocol, metric in chosen.items()}
    tables = {
        p: intervals(part, ["model", "input"]) for p, part in parts.items() if part["value"].notna().any()
    }
    if not tables:
        raise NothingToDraw("the results hold none of the metrics to draw: run notebook 04 first")
    rows = ordered(pd.concat(tables.values()))
    panels = {
        PROTOCOLS.get(name, name).replace(" (", "\n("): _placed(part, rows) for name, part in tables.items()
    }
    fig, axes = style.dot_panels([label(*row) for row in rows], panels, missing="not asked")
    for axis, (protocol, table) in zip(axes, tables.items(), strict=True):
        metric = chosen[protocol]
        # What could be reached: of the pseudo-label's fit to the truth, or the truth's fit to the pseudo-label.
        ceiling = "truth" if metric.endswith("_pseudo") else "pseudo_label"
        for value in table.loc[table["model"] == ceiling, "estimate"]:
            axis.axvline(value, **style.DASHED)
            text = f"{CEILINGS[ceiling]}: {value:.2f} "
            axis.annotate(text, (value, -0.75), ha="right", va="center", fontsize="small")
        axis.set_xlabel(METRICS.get(metric, metric))
        bottom = float(np.nanmin(table[["low", "estimate"]]))
        axis.set_xlim(min(0.0, bottom) - 0.04 if bottom < 0.3 else bottom - 0.06, 1.02)
        axis.set_ylim(len(rows) - 0.4, -1.2)
    asked = "; ".join(
        f"{letter}, {METRICS[chosen[name]]}" for letter, name in zip("ab", tables, strict=False)
    )
    fig.set_label(
        f"Agreement of every model and control with the target ({asked}), mean over subjects with 95 % intervals "
        f"(bootstrap over {_counted(results)}). Grey, open: controls that don't see the movement, "
        "or aren't trained. Dashed: what the truth and the label made of it score against each other, which no "
        "model can be expected to pass. What lies no further right than position only has shown nothing about "
        "the face."
    )
    return fig


@style.context()
def amplitude(
    results: pd.DataFrame, *, metric: str = "inside_spearman_true", protocol: str = "context"
) -> Figure:
    """Agreement against the true peak of the movement, binned, a line a model.

    Parameters
    ----------
    results : DataFrame
        intensity.csv of one data set whose peaks are known.
    """
    part = _pick(results, protocol, metric).dropna(subset=["peak_px"])
    if part["value"].isna().all():
        raise NothingToDraw(
            f"no row of {metric} under {protocol} knows its true peak: only simulated clips do"
        )
    part = part.assign(bin=pd.cut(part["peak_px"], PEAKS_PX, include_lowest=True).cat.codes)
    table = intervals(part, ["model", "input", "bin"])
    peaks = part[part["bin"] >= 0].drop_duplicates(["subject", "event"]).groupby("bin")["peak_px"]
    centres = peaks.median()
    shown = ("oracle_interval", "flow_magnitude", *LEARNED)
    rows = [row for row in ordered(table) if row[0] in shown]
    names = {row: label(*row) for row in rows}
    known = table[table["bin"] >= 0]
    series = pd.Series(list(zip(known["model"], known["input"], strict=True)), known.index).map(names)
    x = known["bin"].map(centres)
    # A slight shift on the logarithmic axis keeps the intervals of neighbours apart.
    apart = np.diff(np.log10(np.unique(x))).min(initial=1)
    fig, axis = plt.subplots(figsize=(ONE_COLUMN, 3.1))
    axis.set_xscale("log")
    style.points(
        axis,
        known.assign(series=series, x=x).dropna(subset=["series"]),
        x="x",
        hue="series",
        hue_order=list(names.values()),
        palette={names[row]: _colour(*row) for row in rows},
        markers=[_MARKERS[place % len(_MARKERS)] for place in range(len(rows))],
        linestyles=["-" if row[0] in LEARNED else (0, (3, 1.5)) for row in rows],
        hollow=[names[row] for row in rows if row[0] not in LEARNED],
        dodge=(len(rows) - 1) * np.log10(1.02) / apart,
        err_kws={"linewidth": 0.7},
    )
    ticks = [0.2, 0.5, 1, 2]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("True peak, pixels of the 112-pixel crop")
    axis.set_ylabel(textwrap.fill(METRICS.get(metric, metric), 30))
    axis.axhline(0, color=GREY, linewidth=0.5)
    axis.set_ylim(max(min(-0.05, float(table["low"].min())), -1) - 0.08, 1.03)
    for centre, count in zip(centres, peaks.size(), strict=True):
        above: dict[str, Any] = {
            "xycoords": ("data", "axes fraction"),
            "textcoords": "offset points",
            "ha": "center",
        }
        axis.annotate(f"{count}", (centre, 0), (0, 2), va="bottom", **above, **style.ASIDE)
    # As many columns of a legend as fit in the style's letters, 2 at most.
    width = 0.52 * plt.rcParams["legend.fontsize"] * max(map(len, names.values()), default=0) + 24
    columns = 2 if 2 * width <= 72 * ONE_COLUMN else 1
    look: dict[str, Any] = {"handlelength": 2.2, "columnspacing": 1}
    fig.legend(*axis.get_legend_handles_labels(), loc="outside upper left", ncols=columns, **look)
    fig.set_label(
        f"Agreement against the size of the movement: {METRICS.get(metric, metric)}. "
        f"{PROTOCOLS.get(protocol, protocol)}, {_counted(part)}. Events are binned by their true peak, and a bin "
        "is drawn at its median; grey numbers count its events. Means over subjects with 95 % intervals; "
        "neighbours are shifted sideways to keep them apart. Grey, open, dashed: controls."
    )
    return fig


@style.context()
def face_card(cards: pd.DataFrame, *, protocol: str = "context") -> Figure:
    """Does the model see the face? Three panels: clip_swap, apex_follow, frozen_correlation.

    Parameters
    ----------
    cards : DataFrame
        face_card.csv: dataset, protocol, model, input, seed, quantity, estimate, low, high.
    """
    part = cards[(cards["protocol"] == protocol) & ~cards["model"].isin(CEILINGS)]
    if part.empty:
        raise NothingToDraw(f"the face card holds no row under {protocol}: run notebook 04 first")
    rows, table = ordered(part), over_seeds(part)
    panels = {
        title.capitalize(): _placed(table[table["quantity"] == quantity], rows)
        for quantity, (title, *_) in QUANTITIES.items()
    }
    fig, axes = style.dot_panels([label(*row) for row in rows], panels, missing="not asked")
    fig.suptitle(PROTOCOLS.get(protocol, protocol))
    for axis, values, (_, mark, meaning) in zip(axes, panels.values(), QUANTITIES.values(), strict=True):
        axis.axvline(mark, **style.DASHED)
        low = np.nanmin([0, mark, *values["low"], *values["estimate"]])
        high = np.nanmax([0, mark, *values["high"], *values["estimate"]])
        room = 0.08 * (max(high, 1) - low)
        axis.set_xlim(low - room, high + room)
        axis.set_xlabel(textwrap.fill(f"dashed, {meaning}", 26), fontsize="small")
    people = f"{part['subjects'].max():.0f} " if "subjects" in part else ""
    fig.set_label(
        "Face card: does the model see the face? Clip swap: how much better the prediction fits its own clip "
        "than another person's. Apex follow: slope of the predicted apex on a known shift of the true one. "
        "Frozen correlation: agreement of the prediction with that on the clip's first frame repeated, asked of "
        "models that see several frames. Means with 95 % intervals over "
        f"{people}subjects; grey, open: controls. {PROTOCOLS.get(protocol, protocol)}."
    )
    return fig


@style.context()
def curves(table: pd.DataFrame, *, protocol: str = "", columns: int = 3) -> Figure:
    """Truth, pseudo-label and predictions over time, a small panel an event.

    Parameters
    ----------
    table : DataFrame
        panel (text over the panel, say ``s03, 1.2 px``), series (``truth``, ``pseudo_label`` or a model with
        its input, as in ``resnet18_bigru flow``), seed of the training, ms, value in [0, 1]; a row a frame.
    protocol : str
        Under which the windows were cut; for the caption.
    columns : int
        Panels side by side.
    """
    panels, names = list(table["panel"].unique()), list(table["series"].unique())
    if not panels:
        raise NothingToDraw("there is no event to draw: no window holds one whole")
    lines = -(-len(panels) // columns)
    size = TWO_COLUMNS, 0.55 + 1.25 * lines
    fig, axes = plt.subplots(lines, columns, figsize=size, sharey=True, sharex=True, squeeze=False)
    for axis, panel in zip(axes.flat, panels, strict=False):
        for name in names:
            rows = table[(table["panel"] == panel) & (table["series"] == name)]
            drawn = rows.pivot_table("value", "ms", "seed")  # (T, trainings)
            if name == "truth":
                axis.fill_between(
                    drawn.index, 0, drawn.iloc[:, 0], color="#D9D9D9", linewidth=0, label="truth"
                )
                continue
            for i, seed in enumerate(drawn):
                look = _line(name) | ({"linewidth": 0.7} if drawn.shape[1] > 1 else {})
                axis.plot(drawn[seed], **look | ({"label": None} if i else {}))
        axis.set_title(panel, fontsize=plt.rcParams["legend.fontsize"], fontweight="normal")
        axis.set_ylim(-0.03, 1.08)
        axis.set_yticks([0, 0.5, 1])
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis in axes.flat[max(0, len(panels) - columns) : len(panels)]:
        axis.tick_params(labelbottom=True)
    fig.supxlabel("Time in the window, ms", fontsize="medium")
    fig.supylabel("Intensity, share of the peak", fontsize="medium")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 5), handlelength=3)
    ours = label(*comparisons.declared()["intensity_claims"]["ours"])
    truth, judge = "", "the pseudo-label"
    if "truth" in names:
        truth, judge = "true intensity and the ", "the truth inside the event"
    fig.set_label(
        "Predicted intensity over time for single events of subjects that the models never saw, beside the "
        f"{truth}pseudo-label made of onset, apex and offset. Over each panel: the event, its true peak in pixels of "
        "the 112-pixel crop where it is known, and rho, the rank agreement of "
        f"{ours} with {judge}, mean over trainings; events are spaced evenly from the worst rho to the best, none is picked "
        "by hand. A line a training."
        f"{f' {PROTOCOLS.get(protocol, protocol)}.' if protocol else ''}"
    )
    return fig


@style.context()
def position_figure(targets: np.ndarray, values: pd.DataFrame) -> Figure:
    """Why position is nearly enough in the paper's protocol: all targets, their mean, and what that scores.

    Parameters
    ----------
    targets : (N, T) float in [0, 1]
        Targets of the events under the paper's protocol.
    values : DataFrame
        label (say ``synthme, position only``), estimate, low, high (NaN where unknown), kind (``control``,
        ``published`` or ``ours``): Spearman with the pseudo-label.
    """
    if len(targets) == 0:
        raise NothingToDraw("there is no target to draw: no event has onset, apex and offset")
    time = np.linspace(0, 1, targets.shape[1])
    size = TWO_COLUMNS, max(2.3, 0.8 + 0.2 * len(values))
    fig, (left, right) = plt.subplots(1, 2, figsize=size, width_ratios=[1, 1.15])
    step = max(1, len(targets) // 150)  # more lines than this are a grey area
    left.plot(time, targets[::step].T, color=GREY, linewidth=0.4, alpha=0.35)
    left.plot(time, targets.mean(axis=0), color=ORANGE, linewidth=2)
    left.set_xlabel("Position in the clip, from onset (0) to offset (1)")
    left.set_ylabel("Pseudo-label")
    left.set_title(f"{len(targets)} targets and their mean")
    names = [textwrap.fill(str(name), 34) for name in values["label"]]
    colours = values["kind"].map({"control": GREY, "published": INK, "ours": BLUE})
    style.dots(right, values, names, colours, values["kind"] != "control")
    right.set_xlabel("Spearman with the pseudo-label")
    right.set_title("Scored without a pixel\n(grey), and with")
    style.letters([left, right])
    drawn = "" if step == 1 else f", of which one in {step} is drawn"
    fig.set_label(
        f"Clips cut from onset to offset. a, targets (grey; {len(targets)} events{drawn}) and their mean (orange), "
        "which is what the position-only control predicts without reading a pixel. b, what it scores (grey, open) "
        "beside published networks (black), with 95 % intervals over subjects where they are known: none is "
        "published. The axis doesn't begin at 0. Data sets differ between rows; read each against its own control."
    )
    return fig


def _position(events: pd.DataFrame, control: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """The control that reads no pixel, beside what was published."""
    mean = {end: f"over_events{end}" for end in ("", "_low", "_high")}
    control = control[control["metric"] == "spearman_pseudo"]
    control = control.assign(
        **{name.removeprefix("_") or "estimate": control[column] for name, column in mean.items()}
    )
    used = events[(events["kind"] == "micro") & (events["status"] != "dropped")].dropna(subset=["apex"])
    used = records(used[used["dataset"].isin(control["dataset"])])
    targets = [priors.resampled_triangle(row["onset"], row["apex"], row["offset"]) for row in used]
    published = published[published["metric"] == "spearman_pseudo"].drop_duplicates("of")
    ours = control.assign(label=control["dataset"] + ": position only (this run)", kind="control")
    parts = {"position only (public)": ("control", "control"), "network (published)": ("paper", "published")}
    theirs = [
        {"label": f"{row['of']}: {name}", "estimate": row[column], "kind": kind}
        for row in records(published)
        for name, (column, kind) in parts.items()
    ]
    values = pd.concat([ours, pd.DataFrame(theirs)], ignore_index=True).dropna(subset=["estimate"])
    return position_figure(np.array(targets), values)


PLOTS = (
    Plot("position_control", _position, ("events", "table_control", "published_control"), whole=True),
    Plot("agreement", agreement, ("intensity",)),
    Plot("amplitude", amplitude, ("intensity",)),
    *(Plot(f"face_card_{name}", partial(face_card, protocol=name), ("face_card",)) for name in PROTOCOLS),
    *(Plot(f"curves_{name}", partial(curves, protocol=name), (f"curves_{name}",)) for name in PROTOCOLS),
)


def draw_all(run: str | Path, style_file: str | Path | None = None) -> list[Path]:
    """Draw what the results of a run allow, and save it; seconds, no training.

    Parameters
    ----------
    run : str or Path
        Folder of the run.
    style_file : str or Path, optional
        Another journal's style file, see :func:`melib.paper.style.styled`.

    Returns
    -------
    list of Path
        The PNGs written.

    Raises
    ------
    DataError
        If the run has no results, or the style file can't be read.
    """
    run = Path(run)
    plt.switch_backend("Agg")
    with style.styled(style_file):
        others = (ablation_figures, spotting_figures, limits_figures)
        drawn = style.draw(run, [*PLOTS, *(plot for module in others for plot in module.PLOTS)])
    if not drawn:
        missing = run / "results" / "intensity.csv"
        raise DataError(
            f"{missing} doesn't exist, nor another result to draw: run `melib run --run {run.name}` first, or name "
            "another run"
        )
    return drawn


def _pick(results: pd.DataFrame, protocol: str, metric: str) -> pd.DataFrame:
    return results[(results["protocol"] == protocol) & (results["metric"] == metric)]


def _colour(model: str, used: str) -> str:
    return style.INPUT_COLOURS.get(used, PURPLE) if model in LEARNED else GREY


def _line(series: str) -> dict[str, Any]:
    """Look and name of the curve of a model on its input."""
    model, _, used = series.partition(" ")
    if model == "pseudo_label":
        return {"color": INK, "linestyle": (0, (4, 2)), "label": "pseudo-label"}
    dash = (0, (1, 1)) if model == "framewise" else _INPUT_DASHES.get(used, "-")
    used = used or "none"
    return {"color": _colour(model, used), "linestyle": dash, "label": label(model, used)}


def _placed(table: pd.DataFrame, rows: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Models on their inputs with row, colour, and whether they stand out."""
    pairs = list(zip(table["model"], table["input"], strict=True))
    places = [rows.index(pair) if pair in rows else np.nan for pair in pairs]
    looks = {
        "y": places,
        "colour": [_colour(*pair) for pair in pairs],
        "filled": table["model"].isin(LEARNED),
    }
    return table.assign(**looks).dropna(subset=["y", "estimate"])


def _counted(results: pd.DataFrame) -> str:
    """``40 subjects, 280 events``."""
    known = results[results["subject"].notna() & results["subject"].astype(str).ne("")]
    return f"{known['subject'].nunique()} subjects, {len(known.drop_duplicates(['subject', 'event']))} events"

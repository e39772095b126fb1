"""Every plot, drawn from result tables alone, and saved the way a journal wants it.

A plot is a function from tables to a matplotlib figure, whose label is its caption. `save` writes it four times:

    runs/<name>/figures/<figure>.pdf     fonts embedded
                                .svg     text as text
                                .png     300 dpi, to look at
                                .json    sidecar: caption, notebook, commit, hash of the results, settings, style

Same results, same bytes: no date is written anywhere. Colours are told apart with any colour vision, controls
are grey, and a dot always comes with its 95 % interval over subjects. Fonts, lines and column widths are those of
paper.mplstyle; another journal's file gives a second set in figures/<name of that file>/.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from melib import priors
from melib.errors import DataError
from melib.paper import ablation_figures, limits_figures, spotting_figures
from melib.paper.style import (
    BLUE,
    GREY,
    INK,
    INPUT_COLOURS,
    ONE_COLUMN,
    ORANGE,
    PURPLE,
    TWO_COLUMNS,
    context,
    dots,
    folder,
    letters,
    points,
    save,
    styled,
)
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
    read_result,
    records,
)

# On a grey print the colours of flow and raw are one: where lines cross, dashes tell them apart.
_INPUT_DASHES: dict[str, Any] = {"flow": "-", "difference": (0, (5, 1.5)), "raw": (0, (4, 1.2, 1, 1.2))}
PEAKS_PX = (
    0.1,
    0.35,
    0.5,
    0.7,
    1.0,
    1.4,
    2.5,
)  # borders of the amplitude bins: about equal counts at a median of .7


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
    chosen = dict(chosen or {"paper": "spearman_pseudo", "context": "inside_spearman_true"})
    chosen = {protocol: metric for protocol, metric in chosen.items() if _has(results, protocol, metric)}
    if not chosen:
        raise DataError("the results hold none of the metrics to draw: run notebook 04 first")
    tables = {p: intervals(_pick(results, p, m), ["model", "input"]) for p, m in chosen.items()}
    rows = ordered(pd.concat(tables.values()))
    with context():
        fig, axes = plt.subplots(
            1, len(chosen), figsize=(TWO_COLUMNS, 0.55 + 0.19 * len(rows)), sharey=True, squeeze=False
        )
        for axis, (protocol, metric) in zip(axes[0], chosen.items(), strict=True):
            table = tables[protocol]
            _models(axis, table, rows)
            for ceiling in records(table[table["model"].isin(_ceilings(metric))]):
                axis.axvline(ceiling["estimate"], color=INK, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
                said = f"{CEILINGS[ceiling['model']]}: {ceiling['estimate']:.2f} "
                axis.annotate(said, (ceiling["estimate"], -0.75), ha="right", va="center", fontsize="small")
            axis.set_title(PROTOCOLS.get(protocol, protocol).replace(" (", "\n("))
            axis.set_xlabel(METRICS.get(metric, metric))
            axis.set_xlim(*_span(table, 1.02))
            axis.set_ylim(len(rows) - 0.4, -1.2)
        letters(axes[0])
        caption = (
            "Agreement of every model and control with the target, mean over subjects with 95 % intervals "
            f"(bootstrap over {_counted(results)}). Grey, open: controls that don't see the movement, "
            "or aren't trained. Dashed: what the truth and the label made of it score against each other, which no "
            "model can be expected to pass. What lies no further right than position only has shown nothing about "
            "the face."
        )
        fig.set_label(caption)
    return fig


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
    if part.empty:
        raise DataError(f"no row of {metric} under {protocol} knows its true peak: only simulated clips do")
    bins = pd.cut(part["peak_px"], PEAKS_PX, include_lowest=True)
    table = intervals(part.assign(bin=bins.cat.codes), ["model", "input", "bin"])
    events = part.assign(bin=bins.cat.codes).drop_duplicates(["subject", "event"])
    centres = events.groupby("bin")["peak_px"].median()
    counts = events.groupby("bin")["peak_px"].size()
    shown = ("oracle_interval", "flow_magnitude", *LEARNED)
    rows = [row for row in ordered(table) if row[0] in shown and row[0] not in CEILINGS]
    with context():
        fig, axis = plt.subplots(figsize=(ONE_COLUMN, 3.1))
        names = {row: label(*row) for row in rows}
        known = table[table["bin"] >= 0]
        series = pd.Series(list(zip(known["model"], known["input"], strict=True)), known.index).map(names)
        x = known["bin"].map(centres)
        # A slight shift on the logarithmic axis keeps the intervals of neighbours apart.
        apart = np.diff(np.log10(np.unique(x))).min(initial=1)
        axis.set_xscale("log")
        points(
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
        bottom = min(-0.05, float(table["low"].min()))
        axis.set_ylim(max(bottom, -1) - 0.08, 1.03)
        for centre, count in zip(centres[centres.index >= 0], counts[counts.index >= 0], strict=True):
            axis.annotate(
                f"{count}",
                (centre, 0),
                (0, 2),
                ("data", "axes fraction"),
                "offset points",
                ha="center",
                va="bottom",
                fontsize="small",
                color="#666666",
            )
        fig.legend(
            *axis.get_legend_handles_labels(),
            loc="outside upper left",
            ncols=_side_by_side([label(*row) for row in rows], ONE_COLUMN),
            handlelength=2.2,
            columnspacing=1,
        )
        fig.set_label(
            f"Agreement against the size of the movement: {METRICS.get(metric, metric)}. "
            f"{PROTOCOLS.get(protocol, protocol)}, {_counted(part)}. Events are binned by their true peak, and a bin "
            "is drawn at its median; grey numbers count its events. Means over subjects with 95 % intervals; "
            "neighbours are shifted sideways to keep them apart. Grey, open, dashed: controls."
        )
    return fig


def face_card(cards: pd.DataFrame, *, protocol: str = "context") -> Figure:
    """Does the model see the face? Three panels: clip_swap, apex_follow, frozen_correlation.

    Parameters
    ----------
    cards : DataFrame
        face_card.csv: dataset, protocol, model, input, seed, quantity, estimate, low, high.
    """
    part = cards[(cards["protocol"] == protocol) & ~cards["model"].isin(CEILINGS)]
    if part.empty:
        raise DataError(f"the face card holds no row under {protocol}: run notebook 04 first")
    rows = ordered(part)
    table = over_seeds(part)
    with context():
        fig, axes = plt.subplots(1, 3, figsize=(TWO_COLUMNS, 0.75 + 0.2 * len(rows)), sharey=True)
        for axis, (quantity, (title, mark, meaning)) in zip(axes, QUANTITIES.items(), strict=True):
            axis.axvline(mark, color=INK, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
            found = table[table["quantity"] == quantity]
            _models(axis, found, rows)
            low = np.nanmin([mark, *found["low"], *found["estimate"]])
            high = np.nanmax([mark, *found["high"], *found["estimate"]])
            room = 0.08 * (max(high, 1) - min(low, 0))
            axis.set_xlim(min(low, 0) - room, max(high, 1 if quantity != "clip_swap" else 0) + room)
            axis.set_title(title.capitalize())
            axis.set_xlabel(textwrap.fill(f"dashed, {meaning}", 26), fontsize="small")
        letters(axes)
        people = f"{part['subjects'].max():.0f} " if "subjects" in part else ""
        fig.set_label(
            "Face card: does the model see the face? Clip swap: how much better the prediction fits its own clip "
            "than another person's. Apex follow: slope of the predicted apex on a known shift of the true one. "
            "Frozen correlation: agreement of the prediction with that on the clip's first frame repeated, asked of "
            "models that see several frames. Means with 95 % intervals over "
            f"{people}subjects; grey, open: controls. {PROTOCOLS.get(protocol, protocol)}."
        )
    return fig


def curves(table: pd.DataFrame, *, protocol: str = "", columns: int = 3) -> Figure:
    """Truth, pseudo-label and predictions over time, a small panel an event.

    Parameters
    ----------
    table : DataFrame
        panel (text over the panel, say ``s03, 1.2 px``), series (``truth``, ``pseudo_label`` or a model with
        its input, as in ``resnet18_bigru flow``), ms, value in [0, 1]; a row a frame.
    protocol : str
        Under which the windows were cut; for the caption.
    columns : int
        Panels side by side.
    """

    panels = list(dict.fromkeys(table["panel"]))
    if not panels:
        raise DataError("there is no event to draw: no window holds one whole")
    names = list(dict.fromkeys(table["series"]))
    lines = -(-len(panels) // columns)
    with context():
        fig, axes = plt.subplots(
            lines,
            columns,
            figsize=(TWO_COLUMNS, 0.55 + 1.25 * lines),
            sharey=True,
            sharex=True,
            squeeze=False,
        )
        for axis, panel in zip(axes.flat, panels, strict=False):
            for name in names:
                line = table[(table["panel"] == panel) & (table["series"] == name)].sort_values("ms")
                if name == "truth":
                    axis.fill_between(
                        line["ms"], 0, line["value"], color="#D9D9D9", linewidth=0, label="truth"
                    )
                else:
                    colour, dash = _series(name)
                    axis.plot(
                        line["ms"], line["value"], color=colour, linestyle=dash, label=_series_name(name)
                    )
            axis.set_title(panel, fontsize=plt.rcParams["legend.fontsize"], fontweight="normal")
            axis.set_ylim(-0.03, 1.08)
            axis.set_yticks([0, 0.5, 1])
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        for place in range(min(columns, len(panels))):
            bottom = range(place, len(panels), columns)[-1]
            axes.flat[bottom].tick_params(labelbottom=True)
        fig.supxlabel("Time in the window, ms", fontsize="medium")
        fig.supylabel("Intensity, share of the peak", fontsize="medium")
        handles, labels = axes.flat[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 5), handlelength=3)
        ours = comparisons.declared()["intensity_claims"]["ours"]
        judge = "the truth inside the event" if "truth" in names else "the pseudo-label"
        fig.set_label(
            "Predicted intensity over time for single events of subjects that the models never saw, beside the "
            f"{'true intensity and the ' * ('truth' in names)}pseudo-label made of onset, apex and offset. Over each "
            "panel: the event, its true peak in pixels of the 112-pixel crop where it is known, and rho, the rank "
            f"agreement of {label(*ours)} with {judge}; events are spaced evenly from the worst rho "
            f"to the best, none is picked by hand.{' ' * bool(protocol)}{PROTOCOLS.get(protocol, protocol)}"
            f"{'.' * bool(protocol)}"
        )
    return fig


def position_control(targets: np.ndarray, values: pd.DataFrame) -> Figure:
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
        raise DataError("there is no target to draw: no event has onset, apex and offset")
    time = np.linspace(0, 1, targets.shape[1])
    colours = {"control": GREY, "published": INK, "ours": BLUE}
    with context():
        fig, (left, right) = plt.subplots(
            1, 2, figsize=(TWO_COLUMNS, max(2.3, 0.8 + 0.2 * len(values))), width_ratios=[1, 1.15]
        )
        step = max(1, len(targets) // 150)  # more lines than this are a grey area
        left.plot(time, targets[::step].T, color=GREY, linewidth=0.4, alpha=0.35)
        left.plot(time, targets.mean(axis=0), color=ORANGE, linewidth=2)
        left.set_xlabel("Position in the clip, from onset (0) to offset (1)")
        left.set_ylabel("Pseudo-label")
        left.set_title(f"{len(targets)} targets and their mean")
        names = [textwrap.fill(str(label), 34) for label in values["label"]]
        dots(right, values, names, values["kind"].map(colours), values["kind"] != "control")
        right.set_xlabel("Spearman with the pseudo-label")
        right.set_title("Scored without a pixel\n(grey), and with")
        letters([left, right])
        drawn = "" if step == 1 else f", of which every {_ordinal(step)} is drawn"
        fig.set_label(
            f"Clips cut from onset to offset. a, targets (grey; {len(targets)} events{drawn}) and their mean (orange), "
            "which is what the position-only control predicts without reading a pixel. b, what it scores (grey, open) "
            "beside published networks (black), with 95 % intervals over subjects where they are known: none is "
            "published. The axis doesn't begin at 0. Data sets differ between rows; read each against its own control."
        )
    return fig


def draw_all(run: str | Path, style: str | Path | None = None) -> list[Path]:
    """Draw what the results of a run allow, and save it; seconds, no training.

    Parameters
    ----------
    run : str or Path
        Folder of the run.
    style : str or Path, optional
        Another journal's style file, see :func:`styled`.

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
    with styled(style):
        made = [*_draw_position(run), *_draw_intensity(run)]
        for name, fig, sources in made:
            save(fig, run, name, results=sources)
            plt.close(fig)
        drawn = [
            *(folder(run) / f"{name}.png" for name, *_ in made),
            *ablation_figures.draw(run),
            *spotting_figures.draw(run),
            *limits_figures.draw(run),
        ]
    if not drawn:
        missing = run / "results" / "intensity.csv"
        raise DataError(
            f"{missing} doesn't exist, nor another result to draw: run `melib run --run {run.name}` first, or name "
            "another run"
        )
    return drawn


def _draw_position(run: Path) -> list[tuple[str, Figure, list[str]]]:
    """The control that reads no pixel, beside what was published."""
    tables = _all(run, ["events", "position_control", "published_control"])
    if not tables:
        return []
    events, control, published = tables
    used = events[(events["kind"] == "micro") & (events["status"] != "dropped")].dropna(subset=["apex"])
    cut = _pick(control, "paper", "spearman_pseudo")
    used = used[used["dataset"].isin(cut["dataset"])]
    if used.empty:
        return []
    targets = [priors.resampled_triangle(row["onset"], row["apex"], row["offset"]) for row in records(used)]
    rows = [
        {**row, "label": f"{row['dataset']}: position only (this run)", "kind": "control"}
        for row in records(cut)
    ]
    published = published[published["metric"] == "spearman_pseudo"].drop_duplicates("of")
    for row in records(published):
        rows += [
            {
                "label": f"{row['of']}: position only (public)",
                "estimate": row["control"],
                "kind": "control",
            },
            {"label": f"{row['of']}: network (published)", "estimate": row["paper"], "kind": "published"},
        ]
    values = pd.DataFrame(rows).dropna(subset=["estimate"])
    fig = position_control(np.stack(targets), values)
    return [("position_control", fig, ["events", "position_control", "published_control"])]


def _draw_intensity(run: Path) -> list[tuple[str, Figure, list[str]]]:
    """Figures of the first paper: name, figure, and the results that it is drawn from."""
    drawn: list[tuple[str, Figure, list[str]]] = []
    for ending, part in _by_dataset(_all(run, ["intensity"])):
        drawn.append((f"agreement{ending}", agreement(part), ["intensity"]))
        if part["peak_px"].notna().any() and _has(part, "context", "inside_spearman_true"):
            drawn.append((f"amplitude{ending}", amplitude(part), ["intensity"]))
    for ending, part in _by_dataset(_all(run, ["face_card"])):
        for protocol in part["protocol"].unique():
            fig = face_card(part, protocol=protocol)
            drawn.append((f"face_card_{protocol}{ending}", fig, ["face_card"]))
    for protocol in PROTOCOLS:
        for table in _all(run, [f"curves_{protocol}"]):
            if len(table):
                drawn.append((f"curves_{protocol}", curves(table, protocol=protocol), [f"curves_{protocol}"]))
    return drawn


def _by_dataset(tables: list[pd.DataFrame]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Part of each data set, and what its files' names end with where there are several."""
    for table in tables:
        several = len(set(table["dataset"])) > 1
        for dataset, part in table.groupby("dataset", sort=False):
            yield (f"_{dataset}" if several else ""), part


def _all(run: Path, names: Sequence[str]) -> list[pd.DataFrame]:
    """Result tables by their names; none where one of them isn't there."""
    files = [run / "results" / f"{name}.csv" for name in names]
    return [read_result(file) for file in files] if all(file.is_file() for file in files) else []


_MARKERS = "osD^vP"


def _pick(results: pd.DataFrame, protocol: str, metric: str) -> pd.DataFrame:
    return results[(results["protocol"] == protocol) & (results["metric"] == metric)]


def _has(results: pd.DataFrame, protocol: str, metric: str) -> bool:
    return bool(_pick(results, protocol, metric)["value"].notna().any())


def _ceilings(metric: str) -> list[str]:
    """What could be reached: of the pseudo-label's fit to the truth, or the truth's fit to the pseudo-label."""
    return ["truth"] if metric.endswith("_pseudo") else ["pseudo_label"]


def _colour(model: str, used: str) -> str:
    return INPUT_COLOURS.get(used, PURPLE) if model in LEARNED else GREY


def _series(name: str) -> tuple[str, Any]:
    model, _, used = name.partition(" ")
    if model == "pseudo_label":
        return INK, (0, (4, 2))
    return _colour(model, used or "none"), _INPUT_DASHES.get(used, "-") if model != "framewise" else (
        0,
        (1, 1),
    )


def _series_name(name: str) -> str:
    model, _, used = name.partition(" ")
    return "pseudo-label" if model == "pseudo_label" else label(model, used or "none")


def _models(axis: Axes, table: pd.DataFrame, rows: Sequence[tuple[str, str]]) -> None:
    """A dot for each model on its input, and in an empty row that there is no result."""
    pairs = list(zip(table["model"], table["input"], strict=True))
    shown = table.assign(y=[rows.index(pair) if pair in rows else -1 for pair in pairs])
    colours = np.array([_colour(*pair) for pair in pairs])
    asked = (shown["y"] >= 0).to_numpy()
    names = [label(*row) for row in rows]
    dots(axis, shown[asked], names, colours[asked], shown["model"].isin(LEARNED).to_numpy()[asked])
    for y in set(range(len(rows))) - set(shown["y"]):
        _not_asked(axis, y)


def _not_asked(axis: Axes, y: float) -> None:
    """Say in an empty row that there is no result, so that nobody looks for a dot."""
    axis.annotate(
        "not asked",
        (0.02, y),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize="small",
        color="#666666",
    )


def _side_by_side(labels: Sequence[str], width: float) -> int:
    """How many columns of a legend fit so many inches in the style's letters, 2 at most."""
    points = 0.52 * plt.rcParams["legend.fontsize"] * max(map(len, labels), default=0) + 24
    return 2 if 2 * points <= 72 * width else 1


def _span(table: pd.DataFrame, top: float) -> tuple[float, float]:
    bottom = float(np.nanmin([table["low"].min(), table["estimate"].min()]))
    return (min(0.0, bottom) - 0.04 if bottom < 0.3 else bottom - 0.06), top


def _counted(results: pd.DataFrame) -> str:
    """``40 subjects, 280 events``."""
    known = results[results["subject"].notna() & results["subject"].astype(str).ne("")]
    return f"{known['subject'].nunique()} subjects, {len(known.drop_duplicates(['subject', 'event']))} events"


def _ordinal(number: int) -> str:
    return {1: "1st", 2: "2nd", 3: "3rd"}.get(number, f"{number}th")

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

from melib.paper import style
from melib.paper.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, TWO_COLUMNS, YELLOW
from melib.study import results

# Controls that see no face or aren't trained are grey, the references orange, what we propose blue.
_CONTROLS = ("chance", "motion")
_REFERENCES = ("reference, published", "reference, repaired")
_DECODERS = {"fixed_window": GREY, "extensible_interval": ORANGE, "half_height": GREEN, "semi_markov": BLUE}
_KINDS = {"micro": BLUE, "macro": SKY, "blink": YELLOW}
_SCORES = {
    "end_to_end_f1": "End-to-end F1",
    "strs": "STRS",
    "spotting_f1": "Spotting F1",
    "fp_per_hour": "False alarms\nan hour",
}
_ENDS = {"estimate": "", "low": "_low", "high": "_high"}
_GROUPS = {
    "peak_px": "True peak, pixels of the crop",
    "duration_s": "Duration, s",
    "overlapped": "Overlaps a macro-expression",
}
_YES_NO = {"True": "yes", "False": "no"}


def systems(table: pd.DataFrame) -> Figure:
    """End-to-end F1, STRS and false alarms of every system.

    Parameters
    ----------
    table : DataFrame
        spotting.csv of one data set; the strict rule's rows are drawn.
    """
    part = results.over_seeds(table[table["rule"] == "strict"], ["dataset", "system"])
    with style.context():
        fig, axes = plt.subplots(1, 3, figsize=(TWO_COLUMNS, 0.75 + 0.22 * len(part)), sharey=True)
        for axis, metric in zip(axes, ("end_to_end_f1", "strs", "fp_per_hour"), strict=True):
            mine = pd.DataFrame({name: part[f"{metric}{end}"] for name, end in _ENDS.items()})
            colours = part["system"].map(_colour)
            style.dots(axis, mine, list(part["system"]), colours, ~part["system"].isin(_CONTROLS))
            axis.set_title(_SCORES[metric])
            axis.set_xlim(left=0)
        axes[2].set_xlabel("fewer is better", fontsize="small")
        style.letters(axes)
        events = int(part["tp"].iloc[0] + part["fn"].iloc[0])
        fig.set_label(
            f"Spotting and recognition in {int(part['videos'].iloc[0])} videos ({part['minutes'].iloc[0]:.0f} minutes, "
            f"{events} micro-expressions), videos without any included, pooled over folds, with 95 % intervals over "
            "subjects; one-to-one matching at IoU .5. a, F1 of intervals whose class is right, too. b, spotting and "
            "recognition score. c, intervals found where nothing is, an hour of video. Grey, open: controls that see no "
            "pixel or aren't trained. Orange: the published method. Green and purple: with the intensity paper's model."
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
    with style.context():
        fig, axes = plt.subplots(
            len(panels), 1, figsize=(TWO_COLUMNS, 0.6 + 1.05 * len(panels)), squeeze=False
        )
        for axis, panel in zip(axes[:, 0], panels, strict=True):
            line = curves[curves["panel"] == panel]
            axis.plot(line["seconds"], line["score"], color=INK, linewidth=0.8, label="score")
            for row in results.records(intervals[intervals["panel"] == panel]):
                _bar(axis, row)
            axis.set_xlim(0, line["seconds"].max())
            axis.set_ylim(-0.05, 1.62)
            axis.set_yticks([0, 0.5, 1])
            axis.set_title(panel, fontsize=plt.rcParams["legend.fontsize"], fontweight="normal")
            axis.set_ylabel("Score")
        axes[-1, 0].set_xlabel("Time, s")
        names = [("score", INK), ("found", PURPLE), *((f"annotated {kind}", c) for kind, c in _KINDS.items())]
        handles = [
            plt.Line2D([], [], color=colour, linewidth=3 if name != "score" else 1) for name, colour in names
        ]
        fig.legend(handles, [name for name, _ in names], loc="outside upper center", ncols=len(names))
        fig.set_label(
            "Our system on whole videos of subjects that it never saw: score of every frame; bars above from low to high: "
            "annotated blinks, macro- and micro-expressions, and what was found (with its confidence, and shaded below). "
            "Over each panel: subject, video, and the share of its micro-expressions found at IoU .5. Videos are chosen "
            "evenly over that share, none by hand; time scales differ."
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
    with style.context():
        fig, axes = plt.subplots(1, len(by), figsize=(TWO_COLUMNS, 2.5), sharey=True, squeeze=False)
        for axis, column in zip(axes[0], by, strict=True):
            part = table[table["by"] == column]
            groups = list(dict.fromkeys(part["group"]))
            ordered = column != "overlapped"  # a line joins what has an order
            low, high = _wilson(part["found"].to_numpy(float), part["events"].to_numpy(float))
            places = part["group"].map(groups.index)
            style.points(
                axis,
                part.assign(place=places, estimate=part["recall"], low=low, high=high),
                x="place",
                hue="system",
                hue_order=names,
                palette={name: _colour(name) for name in names},
                markers=["osD^vPX"[place % 7] for place in range(len(names))],
                linestyles=["-" if ordered else "none"] * len(names),
                hollow=_CONTROLS,
                dodge=0.08 * (len(names) - 1),
                linewidth=0.9,
                err_kws={"linewidth": 0.6},
            )
            counts = part[part["system"] == names[0]].set_index("group").reindex(groups)["events"]
            axis.set_xticks(
                range(len(groups)),
                [f"{_group(g)}\n{int(n)}" for g, n in zip(groups, counts, strict=True)],
                fontsize="small",
            )
            axis.set_xlabel(_GROUPS[column])
            axis.set_ylim(-0.03, 1.03)
        axes[0, 0].set_ylabel("Share found (IoU .5)")
        fig.legend(
            *axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=min(4, len(names))
        )
        style.letters(axes[0])
        first = table[table["system"] == names[0]]
        events = int(first[first["by"] == by[0]]["events"].sum())
        fig.set_label(
            f"Which of {events} micro-expressions are found (one-to-one matching at IoU .5), by the size of the movement, "
            "its length, and what it overlaps. Under each group the number of its events; 95 % Wilson intervals over "
            "events, which take no account of whose they are. Neighbours are shifted sideways to keep them apart. Grey, "
            "open: controls that see no pixel or aren't trained."
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
    with style.context():
        fig, axes = plt.subplots(
            1, len(names), figsize=(TWO_COLUMNS, 0.8 + 0.24 * len(faults)), sharey=True, squeeze=False
        )
        for axis, name in zip(axes[0], names, strict=True):
            part = table[(table["system"] == name) & (table["fault"] != "none")]
            apart = _apart(part)
            colours = apart.map({True: ORANGE, False: GREY})
            style.dots(axis, part.assign(estimate=part["inflation"]), list(faults["meaning"]), colours, apart)
            clean = table[(table["system"] == name) & (table["fault"] == "none")]["strs"].iloc[0]
            axis.axvline(0, color=INK, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
            axis.set_title(f"{name}\n(STRS {clean:.3f})")
            axis.set_xlabel("STRS added by the fault")
        style.letters(axes[0])
        first = table.iloc[0]
        fig.set_label(
            "Inflation ledger: what each published fault of evaluation adds to the STRS of a system (its honest STRS in "
            "brackets) when that fault alone is switched on, with 95 % intervals over subjects, paired"
            f"{_of(first)}. Filled: the interval leaves 0 out; grey, open: it holds 0. Scales differ."
        )
    return fig


def effects(table: pd.DataFrame, systems: pd.DataFrame) -> Figure:
    """What each part brings, over combinations of the others.

    Parameters
    ----------
    table : DataFrame
        factorial.csv: factor, reference, ours, metric, effect, low, high, combinations.
    systems : DataFrame
        ablations.csv: of the combinations scored, for the caption how much video there was.
    """
    chosen = ("end_to_end_f1", "strs", "fp_per_hour")
    factors = table.drop_duplicates("factor")
    names = [
        f"{row['factor']}: {_level(row['ours'])} for {_level(row['reference'])}"
        for row in results.records(factors)
    ]
    with style.context():
        fig, axes = plt.subplots(1, len(chosen), figsize=(TWO_COLUMNS, 0.9 + 0.24 * len(names)), sharey=True)
        for axis, metric in zip(axes, chosen, strict=True):
            part = table[table["metric"] == metric]
            colours = pd.Series(BLUE, part.index)
            style.dots(axis, part.assign(estimate=part["effect"]), names, colours, _apart(part))
            axis.axvline(0, color=INK, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
            axis.set_title(_SCORES[metric])
            axis.set_xlabel("Change (less is better)" if metric == "fp_per_hour" else "Change")
        style.letters(axes)
        one = systems[systems["rule"] == "strict"].iloc[0]
        fig.set_label(
            f"What each part brings: mean score with it less mean score without, over {int(table['combinations'].iloc[0])} "
            f"combinations of all parts, on {one['videos']:.0f} videos with {one['tp'] + one['fn']:.0f} micro-expressions; "
            "95 % intervals over subjects (the same resamples for all combinations). Filled: the interval leaves 0 out, not "
            "corrected for the number of intervals; open: it holds 0. "
            "The body brings its way of training along: windows, or whole videos with masks, augmentation and "
            "macro-expressions and blinks as further targets."
        )
    return fig


def decoders(table: pd.DataFrame, differences: pd.DataFrame) -> Figure:
    """Spotting F1 over the IoU that is asked for, a line a decoder and a panel a setting.

    Parameters
    ----------
    table : DataFrame
        decoders.csv: setting, decoder, iou, f1, low, high.
    differences : DataFrame
        decoder_differences.csv: setting, events, subjects.
    """
    settings = list(dict.fromkeys(table["setting"]))
    counts = differences.drop_duplicates("setting").set_index("setting")["events"]
    with style.context():
        fig, axes = plt.subplots(1, len(settings), figsize=(TWO_COLUMNS, 2.3), sharey=True, squeeze=False)
        for axis, setting in zip(axes[0], settings, strict=True):
            style.points(
                axis,
                table[table["setting"] == setting].rename(columns={"f1": "estimate"}),
                x="iou",
                hue="decoder",
                palette=_DECODERS,
                hue_order=list(_DECODERS),
                markers=list("osD^"),
                dodge=0.2,
                linewidth=0.9,
                err_kws={"linewidth": 0.6},
            )
            axis.set_title(setting.replace(", ", ",\n"))
            axis.set_xlabel(f"IoU asked for\n({counts[setting]:.0f} events)")
            axis.set_ylim(0, min(1, 1.05 * float(table["high"].max())))
        axes[0, 0].set_ylabel("Spotting F1")
        style.letters(axes[0], fontsize="small")
        handles, names = axes[0, 0].get_legend_handles_labels()
        fig.legend(handles, map(_level, names), loc="outside upper center", ncols=4)
        fig.set_label(
            "Decoders on the same curves of held-out subjects. Over each panel the data set of the curves, and whose "
            "training subjects the prior is from. Each decoder tuned the least score that it keeps on validation subjects, "
            "from whom semi-Markov has its emissions, too. 95 % intervals over subjects; neighbours are shifted sideways to "
            "keep them apart."
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
        ("spotting_effects", effects, ["factorial", "ablations"]),
        ("spotting_decoders", decoders, ["decoders", "decoder_differences"]),
    ):
        paths = [run / "results" / f"{file}.csv" for file in files]
        if not all(path.is_file() for path in paths):
            continue
        tables = [results.read_result(path) for path in paths]
        datasets = list(dict.fromkeys(tables[0]["dataset"])) if "dataset" in tables[0] else [""]
        for dataset in datasets:
            parts = [table[table["dataset"] == dataset] if dataset else table for table in tables]
            fig, ending = made(*parts), f"_{dataset}" if len(datasets) > 1 else ""
            style.save(fig, run, f"{name}{ending}", results=files)
            plt.close(fig)
            drawn.append(style.folder(run) / f"{name}{ending}.png")
    return drawn


def _colour(system: str) -> str:
    """The same as in the figure of the limits of detection."""
    if system in _CONTROLS:
        return GREY
    if system in _REFERENCES:
        return ORANGE
    return {"intensity model": GREEN, "ours + intensity model": PURPLE}.get(system, BLUE)


def _group(text: str) -> str:
    """``1.5 to inf`` as a reader says it, and ``True``; a dash, since five of them stand side by side."""
    low, _, high = text.partition(" to ")
    return f"from {low}" if high == "inf" else _YES_NO.get(text, text.replace(" to ", "\N{EN DASH}"))


def _of(row: Any) -> str:
    """How many events and subjects, where a table counts them."""
    counted = [f"{row[name]:.0f} {name}" for name in ("events", "subjects") if name in row.index]
    return f" ({', '.join(counted)})" * bool(counted)


def _level(value: Any) -> str:
    return str(value).replace("semi_markov", "semi-Markov").replace("_", " ")


def _apart(table: pd.DataFrame) -> pd.Series:
    """Whose interval leaves 0 out."""
    return (table["low"] > 0) | (table["high"] < 0)

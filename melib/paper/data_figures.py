"""Plots of annotations alone: no pixel of a face is read here. Plots of faces and their motion are in pictures.py."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from scipy import stats

from melib.paper import style

_KINDS = {"micro": style.BLUE, "macro": style.ORANGE, "blink": style.YELLOW}
_DASHES: dict[str, Any] = {"micro": "-", "macro": (0, (5, 1.5)), "blink": (0, (1.5, 1))}
_FILLED: dict[str, Any] = {"stat": "density", "alpha": 0.35, "linewidth": 0}


def durations(events, fits, statistics):
    """Durations, apex positions and gaps of every data set, with fitted priors and the published range.

    Parameters
    ----------
    events, statistics : DataFrame
        As durations.event_durations and durations.duration_statistics return.
    fits : DataFrame
        As durations.fits returns.

    Returns
    -------
    matplotlib.figure.Figure
        A row a data set.
    """
    names = list(dict.fromkeys(events["dataset"]))
    with style.context():
        size = (style.TWO_COLUMNS, 0.7 + 1.85 * len(names))
        fig, axes = plt.subplots(len(names), 3, figsize=size, squeeze=False)
        for row, name in zip(axes, names, strict=True):
            own, fitted, known = (table[table["dataset"] == name] for table in (events, fits, statistics))
            for place, (kind, part) in enumerate(own.groupby("kind", sort=False)):
                prior = fitted[fitted["kind"] == kind].iloc[0]
                _durations(row[0], part["seconds"], prior, kind)
                _positions(row[1], part["position"].dropna(), prior, kind)
                for axis, quantity in zip(row, ("duration_s", "apex_position"), strict=False):
                    _published(axis, known[known["kind"] == kind], quantity, kind, 1.04 + 0.06 * place)
            _gaps(row[2], own["gap_s"].dropna())
            _published(row[2], known[known["kind"] == "all"], "gap_s", "all", 1.04)
            row[0].set_ylabel(f"{name}\ndensity", visible=True)  # seaborn hides it where ticks are gone
        kinds = [kind for kind in _KINDS if kind in set(events["kind"])]
        handles = [plt.Line2D([], [], color=_KINDS[kind], linestyle=_DASHES[kind], lw=2) for kind in kinds]
        fig.legend(handles, kinds, loc="outside upper right", ncols=len(kinds), handlelength=3)
        style.letters(axes.flat)
        fig.set_label(_caption(events, statistics))
        return fig


def _caption(events, statistics):
    """What is drawn, how many events of each kind, and the bars only where there are some."""
    counts = events.groupby(["dataset", "kind"], sort=False).size()
    counted = ", ".join(f"{dataset} {count} {kind}" for (dataset, kind), count in counts.items())
    bars = (
        " Bars above: 5 to 95 % and median of the public annotation table of the same data set, where there are published "
        "statistics."
    )
    return (
        f"Annotated events ({counted}), a row a data set: duration (offset less onset, logarithmic axis), apex position, "
        "and gap to the next event of the video (negative where two overlap; the middle 98 %). Lines: the priors fitted to "
        f"all events, drawn where there is one.{bars * bool(statistics['published'].notna().any())}"
    )


def _durations(axis, seconds, prior, kind):
    """Histogram over the log of the duration; the prior's curve has the same scale."""
    logs = np.log10(seconds[seconds > 0])
    if len(logs):
        sns.histplot(logs, bins=_whole_frames(logs, prior["fps"]), color=_KINDS[kind], **_FILLED, ax=axis)
    # The prior counts frames inclusively; one frame is one sample more than offset - onset.
    at = np.linspace(logs.min() - 0.2, logs.max() + 0.2, 200) if len(logs) else np.zeros(0)
    frames = 10**at * prior["fps"]
    height = (
        stats.norm.pdf(np.log(frames + 1), prior["log_mean"], prior["log_spread"]) * frames / (frames + 1)
    )
    axis.plot(at, height * np.log(10), color=_KINDS[kind], linestyle=_DASHES[kind])
    ticks = np.array([0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30])
    shown = ticks[(np.log10(ticks) > axis.get_xlim()[0]) & (np.log10(ticks) < axis.get_xlim()[1])]
    axis.set_xticks(np.log10(shown), [f"{tick:g}" for tick in shown])
    axis.set(xlabel="Duration, s", ylabel="", yticks=[])


def _positions(axis, position, prior, kind):
    if len(position):  # of blinks nobody annotates one
        sns.histplot(position, bins=20, binrange=(0, 1), color=_KINDS[kind], **_FILLED, ax=axis)
    if len(position) > 1 and np.isfinite(prior["apex_a"]):
        at = np.linspace(0.005, 0.995, 200)
        height = stats.beta.pdf(at, prior["apex_a"], prior["apex_b"])
        axis.plot(at, height, color=_KINDS[kind], linestyle=_DASHES[kind])
    axis.set(xlabel="Apex position, from onset (0) to offset (1)", xlim=(0, 1), ylabel="", yticks=[])


def _whole_frames(logs, fps):
    """Borders of about two dozen bins, halfway between whole frames: a bin that holds no frame would stay empty."""
    wanted = 10 ** np.linspace(logs.min(), logs.max(), 24) * fps
    frames = np.unique(np.rint(wanted))
    # The longest belongs to the bin before it: alone in a bin of one frame it would look like many.
    begins = frames[: max(1, len(frames) - 1)]
    return np.log10((np.append(begins, frames[-1] + 1) - 0.5) / fps)


def _gaps(axis, gaps):
    axis.set(xlabel="Gap to the next event, s", ylabel="Gaps")
    if len(gaps):
        middle = tuple(np.percentile(gaps, [1, 99], method="inverted_cdf"))  # gaps that there are
        sns.histplot(gaps, bins=40, binrange=middle, color=style.GREY, alpha=1, linewidth=0, ax=axis)
        axis.axvline(0, color=style.INK, lw=0.8, ls=(0, (4, 2)))
        return
    axis.set(xticks=[], yticks=[])
    axis.text(
        0.5,
        0.5,
        "no video holds two events",
        transform=axis.transAxes,
        ha="center",
        va="center",
        fontsize="small",
    )


def _published(axis, known, quantity, kind, height):
    """The 5 to 95 % range and the median of the published table, above the axis."""
    value = known.set_index("statistic")["published"]
    low, middle, high = (value.get(f"{quantity}_p{q:02d}", np.nan) for q in (5, 50, 95))
    if np.isfinite(middle):
        at = np.log10([low, middle, high]) if quantity == "duration_s" else [low, middle, high]
        about = {
            "color": _KINDS.get(kind, style.INK),
            "clip_on": False,
            "transform": axis.get_xaxis_transform(),
        }
        axis.plot([at[0], at[2]], [height] * 2, lw=2, solid_capstyle="butt", **about)
        axis.plot(at[1], height, "o", ms=4, **about)

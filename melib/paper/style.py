"""How a figure looks and is saved: colours, widths, marks, and the files of one figure.

    runs/<name>/figures/<figure>.pdf     fonts embedded
                                .svg     text as text
                                .png     300 dpi, to look at
                                .json    sidecar: caption, notebook, commit, hash of the results, settings, style

Same results, same bytes: no date is written anywhere, and what is there already isn't drawn a second time. Colours are
told apart with any colour vision, controls are grey, and a dot always comes with its 95 % interval over subjects. Fonts,
lines and column widths are those of paper.mplstyle; another journal's file gives a second set in figures/<name of that
file>/.
"""

import contextlib
import functools
import json
import re
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from melib.data import cache
from melib.errors import DataError
from melib.study.provenance import origin, package_files
from melib.study.results import read_results

ONE_COLUMN, TWO_COLUMNS = 3.5, 7.2  # inches, unless another style says otherwise
BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
GREY, INK = "#8A8A8A", "#222222"
INPUT_COLOURS = {"flow": BLUE, "difference": GREEN, "raw": ORANGE}
PRIOR_COLOURS = {
    "triangular": INK,
    "boxcar": ORANGE,
    "half_apex": PURPLE,
    "gaussian": SKY,
    "raised_cosine": BLUE,
}
# A line that dots are read against; what says something about a panel, not about the data.
DASHED: dict[str, Any] = {"color": INK, "linewidth": 0.8, "linestyle": (0, (4, 2)), "zorder": 0}
ASIDE: dict[str, Any] = {"fontsize": "small", "color": "#666666"}

STYLE = Path(__file__).with_name("paper.mplstyle")
_chosen: ContextVar[Path] = ContextVar("style", default=STYLE)
# matplotlib has no setting for the two widths, so that a style file says them in a comment.
_WIDTHS = re.compile(r"^#\s*column widths, inches:\s*([\d.]+)\s+([\d.]+)", re.MULTILINE)


@contextlib.contextmanager
def context() -> Iterator[None]:
    """Make and save figures, in a block or as a decorator, by paper.mplstyle and what :func:`styled` puts over it."""
    with plt.style.context([str(file) for file in dict.fromkeys((STYLE, _chosen.get()))]):
        yield


@contextlib.contextmanager
def styled(file: str | Path | None) -> Iterator[None]:
    """Make and save figures by another matplotlib style file, in a folder of its name beside the others.

    Parameters
    ----------
    file : str or Path or None
        Changes paper.mplstyle where it says something; None changes nothing. A comment
        ``# column widths, inches: 3.3 6.85`` sets the two widths.

    Raises
    ------
    DataError
        If the file doesn't exist or matplotlib can't read it.
    """
    path = STYLE if file is None else Path(file).resolve()
    try:
        with plt.style.context(str(path)):
            path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file} isn't a matplotlib style file ({error}): copy {STYLE} and change it"
        ) from None
    before = _chosen.set(path)
    try:
        yield
    finally:
        _chosen.reset(before)


def folder(run: str | Path) -> Path:
    """Where a run's figures are saved: below ``figures``, those of another style in a folder of its name."""
    other = [] if _chosen.get() == STYLE else [_chosen.get().stem]
    return Path(run).joinpath("figures", *other)


def save(
    fig: Figure,
    run: str | Path,
    name: str,
    *,
    settings: Mapping[str, Any] | None = None,
    results: Sequence[str] | None = None,
) -> None:
    """Write a figure as PDF, SVG, PNG and json sidecar into the run's folder: same figure, same bytes.

    Parameters
    ----------
    fig : Figure
        Its label (``fig.get_label()``) is the caption.
    run : str or Path
        Folder of the run.
    name : str
        File name without suffix, say ``fig04_agreement``.
    settings : mapping, optional
        What the reader of the sidecar should know beside commit, profile, seed and data.
    results : sequence of str, optional
        Names of the result tables that it was drawn from, and from nothing else; by default all that there are.
    """
    used = _chosen.get()
    known = _WIDTHS.search(used.read_text(encoding="utf-8"))
    widths = dict(zip((ONE_COLUMN, TWO_COLUMNS), map(float, known.groups()), strict=True)) if known else {}
    with context():
        fig.set_figwidth(widths.get(round(fig.get_figwidth(), 6), fig.get_figwidth()))
        _settle(fig)
        for suffix, metadata in _NO_DATE.items():
            with cache.atomic(folder(run) / f"{name}{suffix}") as temporary:
                fig.savefig(temporary, metadata=metadata)
    record = {"figure": name, "caption": fig.get_label(), **_made_of(run, name, results)}
    record["settings"] |= settings or {}
    cache.write_json(folder(run) / f"{name}.json", record)


_NO_DATE: dict[str, dict[str, Any]] = {
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
    ".png": {"Software": None},
}


def _made_of(run: str | Path, name: str, results: Sequence[str] | None) -> dict[str, Any]:
    """What a figure was drawn from and by, and the hash of its files."""
    used, files = _chosen.get(), [folder(run) / f"{name}{suffix}" for suffix in _NO_DATE]
    return {
        **origin(run, results),
        "from_results": bool(results),  # what was drawn from tables alone shows no face
        "style": {used.name: cache.content_hash([used])},
        "code": _code(),
        "files": cache.content_hash(files) if all(file.is_file() for file in files) else "",
    }


@functools.cache
def _code() -> str:
    return cache.key(matplotlib.__version__, {}, cache.content_hash(package_files()))


def _is_drawn(run: str | Path, plot: "Plot", name: str) -> bool:
    """Whether a figure is there as the same results, style and code would draw it again, whichever notebook drew it."""
    sidecar = folder(run) / f"{name}.json"
    if not sidecar.is_file():
        return False
    try:
        known = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    now = _made_of(run, name, plot.results)
    return all(known.get(key) == value for key, value in now.items() if key != "notebook")


def _settle(fig: Figure) -> None:
    """Lay a figure out once and for all; places are rounded, since the last digits that are solved for vary."""
    fig.draw_without_rendering()
    fig.set_layout_engine("none")
    for axis in fig.axes:
        place = axis.get_position(original=True)
        axis.set_position(Bbox(place.get_points().round(6)), which="original")


@dataclass(frozen=True)
class Plot:
    """A figure of a run: its name, the function of result tables that draws it, and their names.

    ``whole``: of all data sets in one figure instead of one a data set.
    """

    name: str
    draw: Callable[..., Figure]
    results: Sequence[str]
    whole: bool = False


class NothingToDraw(DataError):
    """A result holds no row of what a figure shows."""


def draw(run: str | Path, plots: Iterable[Plot]) -> list[Path]:
    """Draw what the results of a run allow, and save it; what is there, of the same results, style and code, stays.

    Parameters
    ----------
    run : str or Path
        Folder of the run.
    plots : iterable of Plot

    Returns
    -------
    list of Path
        The PNGs of all.
    """
    drawn = []
    for plot in plots:
        tables = read_results(run, *plot.results)
        by_dataset = tables and "dataset" in tables[0] and not plot.whole
        datasets = list(tables[0]["dataset"].unique()) if by_dataset else [""] * bool(tables)
        for dataset in datasets:
            name = f"{plot.name}_{dataset}" if len(datasets) > 1 else plot.name
            parts = [table[table["dataset"] == dataset] if dataset else table for table in tables]
            with contextlib.suppress(NothingToDraw):
                if not _is_drawn(run, plot, name):
                    fig = plot.draw(*parts)
                    save(fig, run, name, results=plot.results)
                    plt.close(fig)
                drawn.append(folder(run) / f"{name}.png")
    return drawn


_ENDS = ["estimate", "low", "high"]


def points(axis: Axes, table: pd.DataFrame, *, hollow: Sequence[str] = (), **how: Any) -> None:
    """seaborn's points with the intervals that the rows bring (estimate, low, high): it is to compute none of its own.

    ``hollow``: which hues are drawn open. A legend is left to the figure.
    """
    values = {"x" if how.get("orient") == "y" else "y": "drawn"}
    lines = {"linewidth": plt.rcParams["lines.linewidth"], "markersize": plt.rcParams["lines.markersize"]}
    sns.pointplot(
        table.melt([name for name in table if name not in _ENDS], _ENDS, "end", "drawn"),
        **{"native_scale": True, "zorder": 2.1, **values, **lines, **how},
        estimator=lambda ends: ends.iloc[0],
        errorbar=lambda ends: tuple(ends.iloc[1:3]) if len(ends) == 3 else (np.nan, np.nan),
        ax=axis,
    )
    axis.set(xlabel="", ylabel="")
    if legend := axis.get_legend():
        legend.remove()
        # One line a hue, and one for the legend; those of the intervals have no marker.
        marked = [line for line in axis.lines if line.get_marker() != "None"]
        for line, name in zip(marked, 2 * how.get("hue_order", []), strict=False):
            line.set(**{"markerfacecolor": "white", "markeredgewidth": 1} if name in hollow else {})


def dots(axis: Axes, table: pd.DataFrame, names: Sequence[str], colours: Any, filled: Any) -> None:
    """Estimates and intervals of rows from top to bottom, at ``y`` or one below the other; what is filled stands out.

    Parameters
    ----------
    table : DataFrame
        estimate, low, high (NaN where there is no interval), and y where rows are left out.
    names : sequence of str
        Of all rows.
    colours, filled : sequence of str, of bool
        One a row of the table.
    """
    rows = {"y": np.arange(len(table)), **table[[name for name in ("y", *_ENDS) if name in table]]}
    for (colour, full), part in pd.DataFrame(rows).groupby([colours, filled], sort=False):
        face = colour if full else "white"
        look = {"color": colour, "markerfacecolor": face, "markeredgewidth": 1, "linestyle": "none"}
        points(axis, part, y="y", orient="y", err_kws={"linewidth": 1.1, "zorder": 2}, **look)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    ruled(axis, "x")


def dot_panels(
    names: Sequence[str], panels: Mapping[str, pd.DataFrame], *, missing: str = "", **grid: Any
) -> tuple[Figure, list[Axes]]:
    """Panels of dots and intervals side by side, the same rows in each.

    Parameters
    ----------
    names : sequence of str
        Of the rows, from top to bottom.
    panels : mapping head -> DataFrame
        estimate, low, high, y (the row), colour, filled.
    missing : str
        What stands in a row without a dot.
    grid : of `matplotlib.pyplot.subplots`
    """
    size = TWO_COLUMNS, (0.8 + 0.2 * len(names)) * plt.rcParams["font.size"] / 7
    fig, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False, **grid)
    for axis, (head, table) in zip(axes[0], panels.items(), strict=True):
        dots(axis, table, names, table["colour"], table["filled"])
        axis.set_title(head)
        for y in set(range(len(names))) - set(table["y"]) if missing else ():
            axis.annotate(missing, (0.02, y), xycoords=("axes fraction", "data"), va="center", **ASIDE)
    letters(axes[0])
    return fig, list(axes[0])


def ruled(axis: Axes, which: Literal["x", "y"]) -> None:
    """Faint lines at the ticks of an axis, below what is drawn."""
    axis.grid(axis=which, color="#E4E4E4", linewidth=0.5)
    axis.set_axisbelow(True)


def letters(axes: Iterable[Axes], **font: Any) -> None:
    """Put a letter before the title of each panel, for a text to point at; ``font``: of the titles, if not the style's."""
    place = plt.rcParams["axes.titlelocation"]
    for letter, axis in zip(string.ascii_lowercase, axes, strict=False):
        axis.set_title(f"{letter}  {axis.get_title(place)}".rstrip(), **font)

"""How a figure looks and is saved: colours, widths, marks, and the files of one figure.

    runs/<name>/figures/<figure>.pdf     fonts embedded
                                .svg     text as text
                                .png     300 dpi, to look at
                                .json    sidecar: caption, notebook, commit, hash of the results, settings, style

Same results, same bytes: no date is written anywhere. Colours are told apart with any colour vision, controls
are grey, and a dot always comes with its 95 % interval over subjects. Fonts, lines and column widths are those of
paper.mplstyle; another journal's file gives a second set in figures/<name of that file>/.
"""

import contextlib
import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from melib.data import cache
from melib.errors import DataError
from melib.study.provenance import origin

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


STYLE = Path(__file__).with_name("paper.mplstyle")
_chosen: ContextVar[Path] = ContextVar("style", default=STYLE)
# matplotlib has no setting for the two widths, so that a style file says them in a comment.
_WIDTHS = re.compile(r"^#\s*column widths, inches:\s*([\d.]+)\s+([\d.]+)", re.MULTILINE)


def context() -> Any:
    """Context in which figures are made and saved: paper.mplstyle, and what :func:`styled` puts over it."""
    return plt.style.context([str(file) for file in dict.fromkeys((STYLE, _chosen.get()))])


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
    no_date: dict[str, dict[str, Any]] = {
        ".pdf": {"CreationDate": None},
        ".svg": {"Date": None},
        ".png": {"Software": None},
    }
    used = _chosen.get()
    said = _WIDTHS.search(used.read_text(encoding="utf-8"))
    widths = dict(zip((ONE_COLUMN, TWO_COLUMNS), map(float, said.groups()), strict=True)) if said else {}
    with context():
        fig.set_figwidth(widths.get(round(fig.get_figwidth(), 6), fig.get_figwidth()))
        _settle(fig)
        for suffix, metadata in no_date.items():
            with cache.atomic(folder(run) / f"{name}{suffix}") as temporary:
                fig.savefig(temporary, metadata=metadata)
    record: dict[str, Any] = {"figure": name, "caption": fig.get_label(), **origin(run, results)}
    record["settings"] |= settings or {}
    record["style"] = {used.name: cache.content_hash([used])}
    cache.write_json(folder(run) / f"{name}.json", record)


def _settle(fig: Figure) -> None:
    """Lay a figure out once and for all; places are rounded, since the last digits that are solved for vary."""
    fig.draw_without_rendering()
    fig.set_layout_engine("none")
    for axis in fig.axes:
        place = axis.get_position(original=True)
        axis.set_position(Bbox(place.get_points().round(6)), which="original")


def dot(axis: Axes, row: Any, y: float, colour: str, *, filled: bool) -> None:
    """A row's estimate and, where there is one, its interval; what is filled stands out."""
    if np.isfinite(row["low"]) and np.isfinite(row["high"]):
        axis.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=1.1, solid_capstyle="butt")
    axis.plot(
        row["estimate"],
        y,
        "o",
        color=colour,
        markerfacecolor=colour if filled else "white",
        markeredgewidth=1,
    )


def letters(axes: Iterable[Axes], **font: Any) -> None:
    """Put a letter before the title of each panel, for a text to point at; ``font``: of the titles, if not the style's."""
    place = plt.rcParams["axes.titlelocation"]
    for letter, axis in zip(string.ascii_lowercase, axes, strict=False):
        axis.set_title(f"{letter}  {axis.get_title(place)}".rstrip(), **font)


def errors(line: pd.DataFrame) -> np.ndarray:
    """(2, N) distances to the interval's ends; 0 where there is no interval."""
    return np.nan_to_num(np.abs(np.stack([line["estimate"] - line["low"], line["high"] - line["estimate"]])))

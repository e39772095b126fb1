"""Sheets -> cells: which sheet of which file holds what a manifest describes, and what stands in it.

    file.xlsx    notes above, a header somewhere     sheet, header, columns of the manifest's part
                 Subject | Filename | Onset | ...  ------------------------------------------------>  Row(role -> cell)

Files are recognised by their cells, never by their names. What the cells mean is for annotations.py.
"""

import math
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from melib.data.manifest import Manifest, line_of, parts
from melib.data.sheets import TEXT, Sheets, short
from melib.errors import DataError

_FRAMES = ("onset", "apex", "offset")
_SHOWN = 40  # titles in one message
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,2})?")


@dataclass(frozen=True)
class Row:
    """One annotated event as the table writes it.

    Attributes
    ----------
    part : dict
        The manifest's part that it belongs to.
    where : str
        Row, line and file, for messages.
    cells : dict
        Role (subject, video, event, onset, apex, offset, aus, emotion, fps, kind) -> cell.
    titles : dict
        Role -> what the column is called in this file.
    fault : str
        Why the cells can't be told apart, or "".
    """

    part: dict
    where: str
    cells: dict
    titles: dict
    fault: str = ""


def held(manifest: Manifest, sheets: Sheets) -> list[int]:
    """Which of the manifest's parts a file holds."""
    return [n for n, part in enumerate(parts(manifest)) if _headed(manifest, part, sheets)]


def rows(manifest: Manifest, path: Path, sheets: Sheets) -> list[Row]:
    """Events of one file, of every part of the manifest's table that it holds.

    Raises
    ------
    DataError
        If it holds no part: what is missing, and what to do.
    """
    # A part whose sheet isn't here may be in another file; where none is here, the first one says what is missing.
    return [row for n in held(manifest, sheets) or [0] for row in _rows_of_part(manifest, n, path, sheets)]


def titles(manifest: Manifest, sheets: Sheets) -> set[str]:
    """Titles of all columns of the sheets that hold the table, as :func:`same` compares them."""
    heads = [(n, at) for part in parts(manifest) for n, at in _headed(manifest, part, sheets).items()]
    return {_plain(text(cell)) for name, at in heads if at >= 0 for cell in sheets[name][at]}


def looked_up(rule: dict, sheets: Sheets) -> dict[str, str]:
    """The table's cell -> the folder's name, from a sheet that names folders; nothing without that sheet."""
    chosen = _named(sheets, rule["sheet"])
    width = max(rule["key"], rule["value"])
    content = next(iter(chosen.values()), {})
    return {text(row[rule["key"]]): text(row[rule["value"]]) for row in content.values() if len(row) > width}


def text(cell: Any) -> str:
    """A cell as text: whole floats lose their ".0", nothing and NaN become "", full-width signs become usual ones.

    Signs of no width, which nobody sees, are left out.
    """
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    content = str(cell)
    if not content.isascii():
        content = "".join(sign for sign in content if unicodedata.category(sign) != "Cf")
    return unicodedata.normalize("NFKC", content).strip()


def number(cell: Any) -> float | None:
    """A cell's number, None where it holds none; Python alone would read ``1_0`` and ``infinity``, too."""
    content = text(cell)
    return float(content) if _NUMBER.fullmatch(content) else None


def same(one: str, other: str) -> bool:
    """Equal but for case and white space: headers differ in these between copies of one table."""
    return _plain(one) == _plain(other)


def _plain(title: str) -> str:
    return re.sub(r"\s+", "", title).casefold()


def _rows_of_part(manifest: Manifest, place: int, path: Path, sheets: Sheets) -> list[Row]:
    part = parts(manifest)[place]
    own = ("table",) if "columns" in manifest.table else ("table", "parts", str(place))
    wanted = part["columns"] | ({"kind": part["kind"]["column"]} if isinstance(part["kind"], dict) else {})
    headed = _headed(manifest, part, sheets)
    if not headed:
        if not _chosen(manifest, part, sheets):
            sought = f'it has no sheet "{part["sheet"]}"' if "sheet" in part else "it holds no sheet of cells"
        elif "header" in part:
            sought = f'no row holds a cell "{part["header"]}"'
        else:
            sought = f"fewer than half of its rows hold an event, with its onset at place {part['columns']['onset']}"
        raise DataError(
            f"{path} isn't the annotation table of {manifest.name}: {sought}; give the right file, or correct "
            f"table.header ({manifest.source}, line {line_of(manifest, *own, 'header')})."
        )
    fitting = {}
    for name, head in headed.items():
        titles_here = sheets[name][head] if head >= 0 else [None] * _width(sheets[name])
        fitting[name] = _columns(titles_here, wanted, part)
    complete = {name: columns for name, columns in fitting.items() if not _lacking(columns, wanted, part)}
    if not complete:
        name, columns = next(iter(fitting.items()))
        role = _lacking(columns, wanted, part)[0]
        filled = [short(title) for title in map(text, sheets[name].get(headed[name], [])) if title]
        present = (
            f"it has: {', '.join(filled[:_SHOWN])}"
            if filled
            else f"its rows have {_width(sheets[name])} cells"
        )
        field = (*own, "kind", "column") if role == "kind" else (*own, "columns", role)
        raise DataError(
            f"{path} has no column {_quoted(wanted[role])} ({present}); rename the column, or correct "
            f"{'.'.join(field)} ({manifest.source}, line {line_of(manifest, *field)})."
        )
    if len(complete) > 1:
        raise DataError(
            f"{path} holds several sheets that fit ({', '.join(complete)}); name one as table.sheet in "
            f"{manifest.source}."
        )
    name, columns = next(iter(complete.items()))
    plain = [_plain(text(title)) for title in sheets[name].get(headed[name], [])]
    for role, at in columns.items():
        if not isinstance(wanted[role], int) and plain.count(plain[at]) > 1:
            raise DataError(f'{path} has several columns "{short(plain[at])}"; remove or rename all but one.')
    return _rows_of_sheet(part, path, name, sheets[name], headed[name], columns)


def _rows_of_sheet(part: dict, path: Path, sheet: str, content: dict, head: int, columns: dict) -> list[Row]:
    header = content.get(head, [])
    named = {role: text(header[at]) if at < len(header) else f"column {at}" for role, at in columns.items()}
    more = [
        {role: at for role, at in _columns(header, event, part).items() if at >= 0}
        for event in part.get("more_events", [])
    ]
    rows = []
    for line, cells in ((line, cells) for line, cells in content.items() if line > head):
        values = {role: cells[at] if at < len(cells) else None for role, at in columns.items()}
        if not any(map(text, values.values())):
            continue  # a note beside the table
        where = f"row {line - head - 1} (line {line + 1} of {path.name})"
        fault = _uneven(header, cells) if sheet == TEXT and header else ""
        rows.append(Row(part, where, values, named, fault))
        for others in more:
            again = {role: cells[at] if at < len(cells) else None for role, at in others.items()}
            if not {text(cell) for cell in again.values()} <= {"", *part["missing"]}:
                # What the row says of its first event alone isn't known of the next.
                rows.append(Row(part, where, values | dict.fromkeys(_FRAMES) | again, named, fault))
    if not rows:
        raise DataError(f"{path} holds no row under its header (line {head + 1}); give the complete table.")
    return rows


def _uneven(header: list[str], cells: list[str]) -> str:
    """In text a separator too many or too few moves all cells behind it."""
    extra = any(map(text, cells[len(header) :]))
    if not extra and len(cells) >= len(header):
        return ""
    if extra:
        return f"has {len(cells)} cells under a header of {len(header)}; put text that holds the separator in quotes"
    return f"has {len(cells)} cells under a header of {len(header)}; give empty cells their separators, too"


def _chosen(manifest: Manifest, part: dict, sheets: Sheets) -> Sheets:
    """The sheet that the part names; of a table of one part any, since a sheet may have been renamed."""
    return _named(sheets, part.get("sheet")) or (sheets if len(parts(manifest)) == 1 else {})


def _headed(manifest: Manifest, part: dict, sheets: Sheets) -> dict[str, int]:
    """Sheets that hold the part's header, with its index; -1 where the part has none."""
    heads = {n: _header(content, part) for n, content in _chosen(manifest, part, sheets).items()}
    return {name: head for name, head in heads.items() if head is not None}


def _named(sheets: Sheets, name: str | int | None) -> Sheets:
    if name is None:
        return sheets
    if isinstance(name, int):
        return dict(list(sheets.items())[name : name + 1])
    exact = {title: content for title, content in sheets.items() if same(title, name)}
    word = re.compile(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", re.IGNORECASE)
    return exact or {title: content for title, content in sheets.items() if word.search(title)}


def _header(content: dict[int, list[Any]], part: dict) -> int | None:
    """Index of the first row that holds the header's cell; -1 where the part has no header and most rows are events."""
    if "header" not in part:
        filled = [row for row in content.values() if any(map(text, row))]
        return -1 if 2 * sum(_is_event(row, part) for row in filled) > len(filled) else None
    title = part["header"]
    return next((at for at, row in content.items() if any(same(text(cell), title) for cell in row)), None)


def _is_event(row: list[Any], part: dict) -> bool:
    """Whether a row of a table without header has a frame and a known kind of event where the part says so."""
    at = part["columns"]["onset"]
    fits = isinstance(at, int) and at < len(row) and number(row[at]) is not None
    if not isinstance(part["kind"], dict):
        return fits
    at, known = part["kind"]["column"], {name.casefold() for name in part["kind"]["values"]}
    return fits and isinstance(at, int) and at < len(row) and text(row[at]).casefold() in known


def _columns(header: list[Any], wanted: dict, part: dict) -> dict[str, int]:
    """Place of the column of each role; -1 where there is none."""
    places: dict[str, int] = {}
    for at, cell in enumerate(header):
        places.setdefault(_plain(text(cell)), at)
    columns: dict[str, int] = {}
    for role, title in wanted.items():
        if isinstance(title, int):
            columns[role] = title if title < len(header) else -1
        else:
            names = [title] if isinstance(title, str) else title
            columns[role] = next((places[_plain(name)] for name in names if _plain(name) in places), -1)
    optional = part.get("optional", [])
    return {role: at for role, at in columns.items() if at >= 0 or role not in optional}


def _lacking(columns: dict[str, int], wanted: dict, part: dict) -> list[str]:
    return [role for role in wanted if columns.get(role, -1) < 0 and role not in part.get("optional", [])]


def _width(content: dict[int, list[Any]]) -> int:
    return max(map(len, content.values()), default=0)


def _quoted(title: str | list[str] | int) -> str:
    if isinstance(title, int):
        return str(title)
    return " or ".join(f'"{name}"' for name in ([title] if isinstance(title, str) else title))

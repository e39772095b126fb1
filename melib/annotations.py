"""Annotation tables -> events, with a reason for every row that was repaired or dropped.

Tables number frames as their manifest's ``first_frame`` says, mostly from 1. Here they are converted,
once::

    file            img001  img002  img003  img004  img005  img006  img007
    table                1       2       3       4       5       6       7      first_frame: 1
    melib                0       1       2       3       4       5       6      0-based
                                 |  onset      apex |          | offset
                                 1 ----------- 3 -------- 5                     closed: [1, 5], 5 frames
    seconds                  .005            .015      .025                     frame / fps, at 200 fps

A row is valid if onset <= apex <= offset and onset < offset. What happens to others is the manifest's
``repair`` policy; every row of the table comes out, with ``status`` and ``reason``. Row numbers in
messages are 0-based data rows, lines are those that a spreadsheet shows. Frames in messages are numbered
as in the table.
"""

import csv
import io
import math
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from melib.errors import DataError
from melib.manifest import Manifest, line_of, read_manifest

Policy = Literal["repair", "drop", "strict"]

COLUMNS = {
    "dataset": "str",
    "subject": "str",
    "video": "str",
    "event": "str",
    "onset": "Int64",
    "apex": "Int64",
    "offset": "Int64",
    "fps": "float64",
    "kind": "str",
    "emotion": "str",
    "emotion_class": "str",
    "aus": "str",
    "status": "str",
    "reason": "str",
}


def read_events(
    dataset: str | Path | Manifest,
    table: str | Path,
    *more_tables: str | Path,
    policy: Policy = "repair",
) -> pd.DataFrame:
    """Read the annotated events of a data set.

    Parameters
    ----------
    dataset : str, Path or Manifest
        A manifest, its name or its path.
    table, *more_tables : str or Path
        xlsx, xls or csv files, recognised by the cells of their header, never by their names.
    policy : {"repair", "drop", "strict"}
        What happens to a row that isn't valid: what the manifest's ``repair`` says; it is dropped;
        DataError.

    Returns
    -------
    events : DataFrame
        One row a row of the tables, in their order: dataset, subject, video, event (str; event is unique
        within dataset and subject, and equals the video where that has one event), onset, apex, offset
        (Int64, 0-based, closed, <NA> where missing), fps (float), kind (micro, macro, blink), emotion
        (str, as annotated, lower case), emotion_class (negative, positive, surprise, others, "" without an
        emotion), aus (str), status (ok, repaired, dropped), reason (str). Use the rows whose status isn't
        "dropped".

    Raises
    ------
    DataError
        If a file isn't the table that the manifest describes, lacks a column or holds no row; with
        ``policy="strict"`` also for the first row that isn't valid.

    Examples
    --------
    >>> events = read_events("synthme", "data/synthme/annotations.xlsx")  # doctest: +SKIP
    """
    manifest = dataset if isinstance(dataset, Manifest) else read_manifest(dataset)
    if policy not in ("repair", "drop", "strict"):
        raise DataError(f"policy is {policy!r}; use repair, drop or strict.")
    records: list[dict[str, Any]] = []
    for path in map(Path, (table, *more_tables)):
        for row, line, cells in _rows(manifest, path):
            where = f"row {row} (line {line} of {path.name})"
            records.append(_event(manifest, where, cells, policy))
    _drop_repeated(manifest, records, policy)
    _name_events(records)
    columns = {name: pd.Series([record[name] for record in records], dtype=COLUMNS[name]) for name in COLUMNS}
    return pd.DataFrame(columns)


def check_frames(events: pd.DataFrame, clips: pd.DataFrame) -> pd.DataFrame:
    """Drop, with a reason and one warning, events whose frames don't exist.

    Parameters
    ----------
    events : DataFrame
        As :func:`read_events` returns.
    clips : DataFrame
        subject, video, n_first, n_last, as ``manifest.spans`` returns.

    Returns
    -------
    DataFrame
        The events, same rows; those outside their video have status "dropped".

    Raises
    ------
    DataError
        If no event is left although there were some.
    """
    events = events.copy()
    places = zip(clips["subject"], clips["video"], strict=True)
    known = dict(zip(places, zip(clips["n_first"], clips["n_last"], strict=True), strict=True))
    used = events["status"] != "dropped"
    first = ""
    for index, row in events[used].iterrows():
        span = known.get((row["subject"], row["video"]))
        if span is not None and span[0] <= row["onset"] and row["offset"] <= span[1]:
            continue
        if span is None:
            fault = "its video has no folder of frames"
        else:
            fault = (
                f"its frames {row['onset']} to {row['offset']} aren't within {span[0]} to {span[1]} (0-based)"
            )
        events.loc[index, "status"] = "dropped"
        events.loc[index, "reason"] = "; ".join(filter(None, [row["reason"], fault]))
        first = first or f"{row['subject']}/{row['video']}: {fault}"
    lost = int(used.sum() - (events["status"] != "dropped").sum())
    if lost and lost == used.sum():
        raise DataError(
            f"None of the {lost} annotated events has its frames (first: {first}); check the root folder, "
            "frames.pattern and first_frame in the manifest."
        )
    if lost:
        warnings.warn(
            f"{lost} of {int(used.sum())} events have no frames and are dropped (first: {first}).",
            stacklevel=2,
        )
    return events


# From cells to one event
# ---------------------------------------------------------------------------------------


def _event(manifest: Manifest, where: str, cells: dict[str, Any], policy: Policy) -> dict[str, Any]:
    """One row of the table, given as column role -> cell; ``where`` names it in messages."""
    subject = _subject(cells["subject"], manifest.table.get("subject_digits", 0))
    video = _text(cells["video"])
    kind, kind_fault = _kind(manifest, cells)
    repair = manifest.repair if policy == "repair" else dict.fromkeys(manifest.repair, "drop")
    if manifest.repair["apex_missing"] == "keep":
        repair = repair | {"apex_missing": "keep"}  # then an empty apex is no fault
    frames, reason, status = _interval(cells, set(manifest.table["missing"]), repair)
    if kind_fault:
        reason, status = kind_fault, "dropped"
    if not subject or not video:
        reason, status = f"{manifest.table['columns']['video' if subject else 'subject']} is empty", "dropped"
    if reason:
        reason = f"{where} {reason}"
        if policy == "strict":
            raise DataError(
                f"{manifest.name}: {reason} ({subject}/{video}); correct the table, or use policy repair "
                f"({manifest.source}, line {line_of(manifest, 'repair')})."
            )
    emotion = _text(cells.get("emotion")).lower()
    return {
        "dataset": manifest.name,
        "subject": subject,
        "video": video,
        "event": _text(cells.get("event")),
        **{
            name: pd.NA if number is None else number - manifest.first_frame
            for name, number in frames.items()
        },
        "fps": manifest.fps,
        "kind": kind,
        "emotion": emotion,
        "emotion_class": _emotion_class(manifest, emotion),
        "aus": _text(cells.get("aus")),
        "status": status,
        "reason": reason,
    }


def _interval(
    cells: dict[str, Any], missing: set[str], repair: dict[str, str]
) -> tuple[dict[str, int | None], str, str]:
    """Frames (in the table's numbering), reason and status of one row."""
    onset, apex, offset = (_frame(cells.get(name), missing) for name in ("onset", "apex", "offset"))
    faults: list[str] = []
    dropped = False

    def shown(name: str) -> str:
        return f'{name} "{_text(cells.get(name))}"'

    def mirror(fault: str, policy: str) -> int | None:
        """An offset as far behind the apex as the onset lies before it."""
        nonlocal dropped
        if policy == "mirror" and onset is not None and apex is not None and onset < apex:
            faults.append(f"has {fault}; used the mirrored offset {2 * apex - onset}")
            return 2 * apex - onset
        faults.append(f"has {fault}" + (", which can't be mirrored" if policy == "mirror" else ""))
        dropped = True
        return offset

    if onset is None:
        faults.append(f"has {shown('onset')}")
        dropped = True
    elif offset is None:
        offset = mirror(shown("offset"), repair["offset_missing"])
    elif offset <= onset:
        offset = mirror(f"offset {offset} not after onset {onset}", repair["offset_not_after_onset"])
    if not dropped and onset is not None and offset is not None:
        middle = (onset + offset) // 2
        if apex is None:
            if repair["apex_missing"] == "midpoint":
                faults.append(f"has {shown('apex')}; used the midpoint {middle}")
                apex = middle
            elif repair["apex_missing"] == "drop":
                faults.append(f"has {shown('apex')}")
                dropped = True
        elif not onset <= apex <= offset:
            fault = f"apex {apex} outside {onset} to {offset}"
            if repair["apex_outside"] == "midpoint":
                faults.append(f"has {fault}; used the midpoint {middle}")
                apex = middle
            else:
                offset = mirror(fault, repair["apex_outside"])
    status = "dropped" if dropped else "repaired" if faults else "ok"
    return {"onset": onset, "apex": apex, "offset": offset}, " and ".join(faults), status


def _frame(cell: Any, missing: set[str]) -> int | None:
    """A frame number from text, float, int or a formula's result; None where it is missing or no number."""
    text = _text(cell)
    if text in missing:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if math.isfinite(number) and str(int(number)) not in missing else None


def _text(cell: Any) -> str:
    """A cell as text: whole floats lose their ".0", nothing and NaN become ""."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def _subject(cell: Any, digits: int) -> str:
    text = _text(cell)
    return text.zfill(digits) if text.isdecimal() else text


def _kind(manifest: Manifest, cells: dict[str, Any]) -> tuple[str, str]:
    """Kind of the event, and a fault if the table holds one that the manifest doesn't know."""
    rule = manifest.table["kind"]
    if isinstance(rule, str):
        return rule, ""
    text = _text(cells["kind"])
    known = {name.lower(): kind for name, kind in rule["values"].items()}
    if text.lower() in known:
        return known[text.lower()], ""
    return "", f'has {rule["column"]} "{text}", which table.kind.values of the manifest doesn\'t list'


def _emotion_class(manifest: Manifest, emotion: str) -> str:
    if not emotion:
        return ""
    classes = manifest.emotion_classes.items()
    return next((name for name, members in classes if emotion in members), "others")


def _drop_repeated(manifest: Manifest, records: list[dict[str, Any]], policy: Policy) -> None:
    """A row that says the same as an earlier one is one event, not two."""
    seen = set()
    for record in records:
        if record["status"] == "dropped":
            continue
        same = tuple(str(record[name]) for name in ("subject", "video", "onset", "apex", "offset", "kind"))
        if same in seen:
            fault = "repeats an earlier row"
            if policy == "strict":
                raise DataError(
                    f"{manifest.name}: an event of {record['subject']}/{record['video']} {fault} (onset "
                    f"{record['onset'] + manifest.first_frame}); remove one of the two."
                )
            record["status"] = "dropped"
            record["reason"] = "; ".join(filter(None, [record["reason"], fault]))
        seen.add(same)


def _name_events(records: list[dict[str, Any]]) -> None:
    """Unique names: the table's own, else the video's, with a running number where several share it."""
    bases = [(record["subject"], record["event"] or record["video"]) for record in records]
    used = Counter(base for base, record in zip(bases, records, strict=True) if record["status"] != "dropped")

    def rank(row: int) -> tuple[bool, bool]:
        """Who chooses first: events that have their name to themselves, dropped rows last."""
        return records[row]["status"] == "dropped", used[bases[row]] > 1

    taken = set()
    for row in sorted(range(len(records)), key=rank):
        subject, base = bases[row]
        name, number = base, 0
        while (subject, name) in taken or (number == 0 and used[subject, base] > 1):
            number += 1
            name = f"{base}.{number}"
        taken.add((subject, name))
        records[row]["event"] = name


# From a file to cells
# ------------------------------------------------------------------------------------------


def _rows(manifest: Manifest, path: Path) -> list[tuple[int, int, dict[str, Any]]]:
    """Data rows of a table: number (0-based), line (1-based, as a spreadsheet shows it), role -> cell."""
    wanted = manifest.table["columns"] | (
        {"kind": manifest.table["kind"]["column"]} if isinstance(manifest.table["kind"], dict) else {}
    )
    sheets = _sheets(path)
    if manifest.table.get("sheet") is not None:
        named = {name: rows for name, rows in sheets.items() if _same(name, manifest.table["sheet"])}
        sheets = named or sheets
    headed = {name: head for name, rows in sheets.items() if (head := _header(rows, manifest)) is not None}
    if not headed:
        raise DataError(
            f"{path} isn't the annotation table of {manifest.name}: no row holds a cell "
            f'"{manifest.table["header"]}"; give the right file, or correct table.header ({manifest.source}, '
            f"line {line_of(manifest, 'table', 'header')})."
        )
    fitting = {name: head for name, head in headed.items() if not _lacking(sheets[name][head], wanted)}
    if not fitting:
        name, head = next(iter(headed.items()))
        role = _lacking(sheets[name][head], wanted)[0]
        found = ", ".join(filter(None, map(_text, sheets[name][head])))
        where = ("table", "kind", "column") if role == "kind" else ("table", "columns", role)
        raise DataError(
            f'{path} has no column "{wanted[role]}" (it has: {found}); rename the column, or correct '
            f"{'.'.join(where)} ({manifest.source}, line {line_of(manifest, *where)})."
        )
    if len(fitting) > 1:
        raise DataError(
            f"{path} holds several sheets that fit ({', '.join(fitting)}); name one as table.sheet in "
            f"{manifest.source}."
        )
    name, head = next(iter(fitting.items()))
    header = [_text(cell) for cell in sheets[name][head]]
    place = {
        role: next(i for i, cell in enumerate(header) if _same(cell, title)) for role, title in wanted.items()
    }
    rows = []
    for line, cells in enumerate(sheets[name][head + 1 :], start=head + 2):
        values = {role: cells[column] if column < len(cells) else None for role, column in place.items()}
        if any(_text(values[role]) for role in ("subject", "video", "onset")):  # else a blank line or a note
            rows.append((line - head - 2, line, values))
    if not rows:
        raise DataError(f"{path} holds no row under its header (line {head + 1}); give the complete table.")
    return rows


def _header(rows: list[list[Any]], manifest: Manifest) -> int | None:
    """Index of the first row that holds the header's cell."""
    title = manifest.table["header"]
    return next((i for i, row in enumerate(rows) if any(_same(_text(cell), title) for cell in row)), None)


def _lacking(header: list[Any], wanted: dict[str, str]) -> list[str]:
    return [role for role, title in wanted.items() if not any(_same(_text(cell), title) for cell in header)]


def _same(one: str, other: str) -> bool:
    """Equal but for case and white space: headers differ in these between copies of one table."""
    return re.sub(r"\s+", "", one).casefold() == re.sub(r"\s+", "", other).casefold()


def _sheets(path: Path) -> dict[str, list[list[Any]]]:
    """Every sheet as rows of raw cells; what kind of file it is is read from its first bytes."""
    if not path.is_file():
        raise DataError(f"{path} is missing or no file; give the annotation table (xlsx, xls or csv).")
    data = path.read_bytes()
    if data[:4] in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0"):
        try:
            sheets = pd.read_excel(
                io.BytesIO(data),
                sheet_name=None,
                header=None,
                dtype=object,
                engine="calamine",
                keep_default_na=False,
            )
        except Exception as error:  # the reader has exceptions of its own, which all mean this
            raise DataError(
                f"{path} can't be read as a spreadsheet ({error}); save it again as xlsx."
            ) from error
        return {str(name): sheet.to_numpy().tolist() for name, sheet in sheets.items()}
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is neither a spreadsheet nor UTF-8 text; save it as xlsx or UTF-8 csv."
        ) from error
    separator = max(",;\t", key=text.count)
    return {"csv": list(csv.reader(io.StringIO(text), delimiter=separator))}

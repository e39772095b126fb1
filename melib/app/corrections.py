"""Corrections of single cells of annotation tables, written so that the next reading says what was seen, and nothing else.

    events (0-based)  --- save_changes --->  corrections/<dataset>.csv beside the manifest (cells as the table writes them)

The table itself is never touched; annotations.py applies the rows when it reads it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from melib import annotations
from melib.data import cache, manifest
from melib.data.manifest import Manifest
from melib.errors import DataError

# What can be corrected here, in the order of an event's record.
FIELDS = ("onset", "apex", "offset", "emotion")
Rows = list[dict[str, str]]
_COLUMNS = (*annotations.CORRECTION, "reviewer")
_PLACE = ("subject", "video", "onset")  # says which row of the table is corrected


@dataclass(frozen=True)
class EventChange:
    """An event that was edited: what it was (all of `FIELDS`), what of it is new, why, who says so, and in which file."""

    subject: str
    event: str
    before: dict
    new: dict
    reason: str
    reviewer: str
    source: str

    @property
    def sentence(self) -> str:
        """What was changed, from what to what."""
        moved = ", ".join(f"{name} from {self.before[name]} to {new}" for name, new in self.new.items())
        return f"{self.subject}/{self.event}: {moved}"


def path_of(about: Manifest) -> Path:
    """Where a data set's corrections lie."""
    return about.source.parent / "corrections" / f"{about.name}.csv"


def whole(frame: Any) -> int | None:
    """A frame of the events table; None where there is none."""
    return None if pd.isna(frame) else int(frame)


def save_changes(about: Manifest, tables: list[Path], changes: list[EventChange]) -> list[EventChange]:
    """Write corrections of events, and hold the next reading against them.

    The file appears whole or not at all. Several people may save at once: each change is made to the file as it is then.

    Parameters
    ----------
    about : Manifest
    tables : list of Path
        The data set's tables, as for `annotations.audit`.
    changes : list of EventChange

    Returns
    -------
    list of EventChange
        Those that were saved: what the tables and corrections say already isn't.

    Raises
    ------
    DataError
        If an event is gone, somebody else has changed the same of it since, or the next reading wouldn't say what is asked.
        The file is left as it was.
    """
    file = path_of(about)
    # Nobody saves between our reading and our writing; the lock of a killed process is free.
    with cache.disk_errors(file.parent), FileLock(file.with_name(f".{file.stem}.lock")):
        before, rows = annotations.audit(about, *tables), annotations.read_corrections(file)
        expected, now = before.events[list(FIELDS)].astype(object), rows
        made = []
        for change in changes:
            place = _row(before.events, about, change)
            held = {name: expected.loc[place, name] for name in change.new}
            held = {name: value if name == "emotion" else whole(value) for name, value in held.items()}
            new = {name: value for name, value in change.new.items() if held[name] != value}
            for name in new:
                if held[name] != change.before[name]:
                    raise DataError(
                        f"{change.subject}/{change.event}: its {name} was {change.before[name]} when it was exported, and "
                        f"is {held[name]} now; export again, and edit that file."
                    )
            if new:
                expected.loc[place, list(new)] = list(new.values())
                now = _with(now, _rows_for(about, before, set(map(_key, now)), place, change, new))
                made.append(change)
        if not made:
            return []
        _write(file, now)
        wrong = _wrong(annotations.audit(about, *tables).events, expected, before.events)
        if wrong:
            _write(file, rows)
            raise DataError(f"{wrong}; nothing is saved.")
    return made


def _row(events: pd.DataFrame, about: Manifest, change: EventChange) -> int:
    rows = events.index[(events["subject"] == change.subject) & (events["event"] == change.event)]
    if len(rows) != 1:
        raise DataError(
            f"{about.name}: no table has an event {change.subject}/{change.event} any more; export again, and edit that "
            "file."
        )
    return rows[0]


def _rows_for(
    about: Manifest, audit: annotations.Audit, corrected: set, place: int, change: EventChange, new: dict
) -> dict:
    """Rows of corrections by the cell that they are about; none where the cell says already what is new."""
    cells = audit.cells.loc[place]
    # A person is called as its folder is, or as the table does where it says that apart.
    looked_up = any("subject" in part.get("lookup", {}) for part in manifest.parts(about))
    subject = (audit.cells if looked_up else audit.events)["subject"].loc[place]
    where = {name: str(cells[name]) for name in _PLACE} | {"subject": subject}
    why = {"reason": change.reason, "source": change.source, "reviewer": change.reviewer}
    # What the table leaves open was repaired by means of the landmarks that move now: it stays as it was seen.
    unchanged = {name: whole(audit.events.loc[place, name]) for name in FIELDS[:3] if name not in new}
    rows = {}
    for name, value in {**new, **unchanged}.items():
        if value is None:
            continue
        text = value if name == "emotion" else str(value + about.first_frame)
        if about.unit == "seconds" and name != "emotion":
            text = f"{value / audit.events.loc[place, 'fps']:.9g}"
        row = {**where, "field": name, "old": str(cells[name]), "new": text}
        if name in unchanged and (text == cells[name] or _key(row) in corrected):
            continue
        rows[_key(row)] = [] if text == cells[name] else [{**row, **why}]
    return rows


def _wrong(after: pd.DataFrame, expected: pd.DataFrame, before: pd.DataFrame) -> str:
    """Why the events, as they are read now, aren't those that were asked for; empty if they are."""
    now, then = (table[list(FIELDS)].astype(object).fillna(-1) for table in (after, before))
    same, asked = (now == expected.fillna(-1)).all(axis=1), (then != expected.fillna(-1)).any(axis=1)
    lost = (after["status"] == "dropped") & (before["status"] != "dropped")
    for row in after[lost | ~same].itertuples():
        what = f"{row.subject}/{row.event}"
        if row.status == "dropped":
            return f"{what} would be dropped, since it {row.reason.rsplit(' and ', 1)[-1]}"
        if not asked[row.Index]:
            return f"{what} has the same video, onset and cell as another row of the table, and would be changed, too"
        reading = ", ".join(f"{name} {getattr(row, name)}" for name in FIELDS)
        return f"{what} would be read as {reading}"
    return ""


def _write(file: Path, rows: Rows) -> None:
    columns = list(dict.fromkeys((*_COLUMNS, *(name for row in rows for name in row))))
    cache.write_table(file, pd.DataFrame(rows, columns=columns, dtype=str).fillna(""))
    if not rows:
        file.unlink()  # as before the first change


def _key(row: dict[str, str]) -> tuple[str, ...]:
    """Which cell of the table a row of corrections is about."""
    subject, *rest = (row[name].strip() for name in (*_PLACE, "field"))
    return (subject.casefold(), *rest)


def _with(rows: Rows, cells: dict) -> Rows:
    """Rows in which some cells have other corrections, at the places of those they replace."""
    for key, new in cells.items():
        first = next((k for k, row in enumerate(rows) if _key(row) == key), len(rows))
        rows = [*rows[:first], *new, *(row for row in rows[first:] if _key(row) != key)]
    return rows

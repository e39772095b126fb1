"""Somebody looks at an event again and moves its landmarks: rows of corrections, which the next run reads.

    events (0-based)  --- change --->  corrections/<dataset>.csv beside the manifest (cells as the table writes them)
                      <--- undo ----

The table itself is never touched. The file appears whole or not at all. Several people may review at once: each change is
made to the file as it is then, and each session takes back its own changes alone, the last one first.
"""

import contextlib
import csv
import fcntl
import html
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd

from melib import annotations
from melib.data import cache
from melib.data.manifest import Manifest, parts
from melib.errors import DataError

LANDMARKS = ("onset", "apex", "offset")
_COLUMNS = (*annotations.CORRECTION, "reviewer")
_PLACE = ("subject", "video", "onset")  # says which row of the table is corrected

Rows = list[dict[str, str]]
Key = tuple[str, ...]  # subject, video, onset, field


@dataclass(frozen=True)
class _Change:
    """What one change of an event did to the file: its rows of each field, before and after."""

    event: str
    before: dict[Key, Rows]
    after: dict[Key, Rows]


class Review:
    """A session with one data set.

    Parameters
    ----------
    manifest : Manifest
    tables : sequence of Path
        The data set's tables, as for `annotations.read_events`.

    Attributes
    ----------
    file : Path
        Where changes are saved.
    audit : annotations.Audit
        The events as they are read with all changes that this session knows.
    """

    def __init__(self, manifest: Manifest, tables: Sequence[Path]) -> None:  # noqa: D107
        self.manifest, self.tables = manifest, list(tables)
        self.file = manifest.source.parent / "corrections" / f"{manifest.name}.csv"
        self.changes: list[_Change] = []
        self._look()

    def change(
        self,
        subject: str,
        event: str,
        *,
        reason: str,
        reviewer: str,
        source: str = "frames looked at",
        **frames: int,
    ) -> None:
        """Move landmarks of one event and save that.

        Parameters
        ----------
        subject, event : str
            As in the events table.
        reason, reviewer : str
            Why, and who says so; neither may be empty.
        source : str
            What shows it.
        **frames : int
            onset, apex, offset: 0-based frames; what isn't named stays.

        Raises
        ------
        DataError
            If there is no such event, onset, apex and offset aren't in order, nobody says why, somebody else has moved it
            meanwhile, or the next reading wouldn't do what is asked; the file is left as it was.
        """
        if not (reason.strip() and reviewer.strip()):
            raise DataError("a correction needs a reason and a reviewer: others must be able to judge it.")
        row = self._row(subject, event)
        self._check_order(row, frames)
        cells = self.audit.cells.loc[row]
        place = {name: str(cells[name]) for name in _PLACE} | {"subject": self._subject(row)}
        about = {"source": source, "reason": reason, "reviewer": reviewer}
        about = {name: " ".join(words.split()) for name, words in about.items()}
        after: dict[Key, Rows] = {}
        for name, frame in frames.items():
            new = {**place, "field": name, "old": cells[name], "new": str(frame + self.manifest.first_frame)}
            after[_key(new)] = [] if new["new"] == cells[name] else [{**new, **about}]
        with self._alone():
            rows = self._read()
            self._check_meanwhile(rows, [_key({**place, "field": name}) for name in LANDMARKS], row)
            before = {key: _rows_of(rows, key) for key in after}
            events = self.audit.events
            self._write(_with(rows, after))
            wrong = self._wrong(row, frames, events)
            if wrong:
                self._write(rows)
                raise DataError(f"{subject}/{event}: {wrong}; nothing is saved.")
        self.changes.append(_Change(f"{subject}/{event}", before, after))

    def undo(self) -> str:
        """Take the last change of this session back.

        Returns
        -------
        str
            Whose change it was, ``subject/event``; empty if there is none.

        Raises
        ------
        DataError
            If somebody else has moved the same landmarks since: theirs stay.
        """
        if not self.changes:
            return ""
        with self._alone():
            last, rows = self.changes[-1], self._read()
            others = [key for key, new in last.after.items() if _cells(_rows_of(rows, key)) != _cells(new)]
            if others:
                self.changes.pop()
                self._look()
                raise DataError(f"{last.event}: {_who(rows, others)} since; nothing is taken back.")
            self._write(_with(rows, last.before))
        return self.changes.pop().event

    def landmarks(self, subject: str, event: str) -> dict[str, int | None]:
        """Onset, apex and offset of an event as they are read with all changes, 0-based frames; None: not annotated."""
        row = self.audit.events.loc[self._row(subject, event)]
        return {mark: None if pd.isna(row[mark]) else int(row[mark]) for mark in LANDMARKS}

    def _row(self, subject: str, event: str) -> int:
        events = self.audit.events
        rows = events.index[(events["subject"] == subject) & (events["event"] == event)]
        if len(rows) != 1:
            raise DataError(
                f"{self.manifest.name} has {len(rows)} events {subject}/{event}; name one of its table."
            )
        return rows[0]

    def _subject(self, row: int) -> str:
        """How corrections name an event's person: as its folder is called, or as the table does where it says that apart."""
        looked_up = any("subject" in part.get("lookup", {}) for part in parts(self.manifest))
        return str((self.audit.cells if looked_up else self.audit.events)["subject"].loc[row])

    def _check_order(self, row: int, frames: dict[str, int]) -> None:
        event = self.audit.events.loc[row]
        now = {name: event[name] for name in LANDMARKS} | frames
        known = [int(number) for number in now.values() if not pd.isna(number)]
        if known != sorted(known) or min(known) < 0 or now["onset"] == now["offset"]:
            words = ", ".join(f"{name} {'none' if pd.isna(now[name]) else now[name]}" for name in LANDMARKS)
            raise DataError(
                f"{event['subject']}/{event['event']}: {words} aren't in order; the apex lies between onset and offset."
            )

    def _check_meanwhile(self, rows: Rows, keys: list[Key], row: int) -> None:
        """Read what others have saved; refuse to replace it where this session has never seen it."""
        if rows == self.rows:
            return
        others = [key for key in keys if _cells(_rows_of(rows, key)) != _cells(_rows_of(self.rows, key))]
        self._look()
        if others:
            event = self.audit.events.loc[row]
            raise DataError(
                f"{event['subject']}/{event['event']}: {_who(rows, others)} meanwhile; look again, and save once more to "
                "replace that."
            )

    def _wrong(self, row: int, frames: dict[str, int], before: pd.DataFrame) -> str:
        """Why the events, as they are read now, aren't those that were asked for; empty if they are."""
        events = self.audit.events
        event = events.loc[row]
        if event["status"] == "dropped":
            last = event["reason"].rsplit(" and ", 1)[-1]  # before it stand the corrections themselves
            return f"the event would be dropped, since it {last}"
        ignored = [name for name, frame in frames.items() if event[name] != frame]
        if ignored:
            return f"its {ignored[0]} would be read as {event[ignored[0]]}, not {frames[ignored[0]]}"
        others = [table[list(LANDMARKS)].drop(row) for table in (events, before)]
        if not others[0].equals(others[1]):
            return "another row of the table has the same video, onset and cell, and would be moved, too"
        return ""

    def _look(self) -> None:
        """Read the file and the events anew."""
        self.audit = annotations.audit(self.manifest, *self.tables)  # it refuses a file without the columns
        self.rows = self._read()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the data set, so that nobody saves between our reading and our writing; a killed process lets go."""
        # The manifest is locked, since the file itself is replaced. Some network disks lock only what may be written.
        how = os.O_RDWR if os.access(self.manifest.source, os.W_OK) else os.O_RDONLY
        handle = os.open(self.manifest.source, how)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _read(self) -> Rows:
        if not self.file.is_file():
            return []
        with self.file.open(newline="", encoding="utf-8-sig") as stream:
            rows: Rows = [
                {name: cache.restored(cell) for name, cell in row.items()}
                for row in csv.DictReader(stream, restval="")
            ]
        for line, row in enumerate(rows, start=2):
            if None in row:  # where csv puts cells that no column names
                raise DataError(
                    f"{self.file}, row {line}: it has more cells than the header; put text that holds a comma in quotes."
                )
        return rows

    def _write(self, rows: Rows) -> None:
        text = io.StringIO()
        columns = list(dict.fromkeys((*_COLUMNS, *(name for row in rows for name in row))))
        table = csv.DictWriter(text, columns, lineterminator="\n", restval="")
        table.writeheader()
        table.writerows({name: cache.inert(cell) for name, cell in row.items()} for row in rows)
        with cache.atomic(self.file) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8")
        if not rows:
            self.file.unlink()  # as before the first change
        self._look()


def _key(row: dict[str, str]) -> Key:
    """Which cell of the table a row of corrections is about."""
    subject, *rest = (row[name].strip() for name in (*_PLACE, "field"))
    return (subject.casefold(), *rest)


def _rows_of(rows: Rows, key: Key) -> Rows:
    return [row for row in rows if _key(row) == key]


def _cells(rows: Rows) -> list[list[str]]:
    """What rows say, whatever columns somebody has added to the file."""
    return [[row.get(name, "") for name in _COLUMNS] for row in rows]


def _with(rows: Rows, cells: dict[Key, Rows]) -> Rows:
    """Rows in which some cells have other corrections, at the places of those they replace."""
    for key, new in cells.items():
        first = next((k for k, row in enumerate(rows) if _key(row) == key), len(rows))
        rows = [*rows[:first], *new, *(row for row in rows[first:] if _key(row) != key)]
    return rows


def _who(rows: Rows, keys: list[Key]) -> str:
    """Who has changed some cells, in words."""
    fields = " and ".join(key[-1] for key in keys)
    names = dict.fromkeys(row.get("reviewer") or "somebody" for key in keys for row in _rows_of(rows, key))
    return f"{' and '.join(names) or 'somebody'} changed its {fields}"


def panel(
    review: Review, subject: str, event: str, first: int, last: int, look: Callable[[int], None]
) -> tuple[dict[str, int | None], widgets.Widget]:
    """Sliders over an event's landmarks, and buttons that save them and take back what was saved.

    Parameters
    ----------
    review : Review
    subject, event : str
    first, last : int
        Frames of its video.
    look : callable
        Called with the frame that a landmark was moved to.

    Returns
    -------
    landmarks : dict
        Onset, apex and offset as they are now: it changes with the sliders.
    box : widget
    """
    wide: dict[str, Any] = {
        "layout": widgets.Layout(width="820px"),
        "style": {"description_width": "85px"},
    }
    now = review.landmarks(subject, event)
    sliders = {mark: widgets.IntSlider(description=mark, min=first, max=last, **wide) for mark in LANDMARKS}
    reason, reviewer = (widgets.Text(description=name, **wide) for name in ("reason", "reviewer"))
    saving, undoing = (widgets.Button(description=name) for name in ("Save", "Undo"))
    line = widgets.HTML()

    def begin() -> None:
        now.update(review.landmarks(subject, event))
        for mark, frame in now.items():
            sliders[mark].value = (first + last) // 2 if frame is None else frame
            now[mark] = frame

    def move(change: dict[str, Any]) -> None:
        mark, frame = change["owner"].description, change["new"]
        if now[mark] != frame:
            now[mark] = frame
            look(frame)

    def save() -> str:
        before = review.landmarks(subject, event)
        moved = {mark: frame for mark, frame in now.items() if frame != before[mark]}
        if not moved:
            return f"{subject}/{event}: nothing was moved, so that nothing is saved."
        review.change(subject, event, reason=reason.value, reviewer=reviewer.value, **moved)  # type: ignore[arg-type]
        changes = ", ".join(f"{mark} from {before[mark]} to {frame}" for mark, frame in moved.items())
        return f"{subject}/{event}: {changes} saved in {review.file}; the next `melib run` uses it."

    def undo() -> str:
        changed = review.undo()
        if not changed:
            return f"Nothing was saved in this session; older changes are rows of {review.file}."
        return f"{changed}: the last change was taken back."

    def clicked(button: widgets.Button) -> None:
        try:
            line.value = html.escape(save() if button is saving else undo())
        except DataError as error:
            line.value = html.escape(str(error))
            return
        before = dict(now)
        begin()
        if now != before:
            look(now["onset"] or first)

    begin()
    for slider in sliders.values():
        slider.observe(move, "value")
    for button in (saving, undoing):
        button.on_click(clicked)
    box = widgets.VBox([*sliders.values(), reason, widgets.HBox([reviewer, saving, undoing]), line])
    return now, widgets.Accordion([box], titles=["Review: move the landmarks of this event"])

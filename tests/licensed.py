"""Miniatures of licensed data sets: simulated faces in each one's folders, invented rows in each one's table.

What they hold stands in licensed.yml; nothing there comes from a real table.

    write("samm", folder, faces)  ->  folder/SAMM/028/028_4_1/028_00101.jpg ..., folder/SAMM_Micro_FACS_Codes_v2.xlsx
"""

import itertools
import os
import re
import struct
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import openpyxl
import yaml

from melib.annotations import read_events


class Video(NamedTuple):
    """Frames of one video: its folder, the name of a frame, the first and the last number."""

    folder: str
    frame: str
    first: int
    last: int

    @property
    def numbers(self) -> range:
        """Numbers of the frames that exist."""
        return range(self.first, self.last + 1)


@dataclass(frozen=True)
class Miniature:
    """One data set: its table, its videos by layout, and what a reader must find in the table."""

    book: str
    sheets: dict[str, list[list]]  # a cell that is {formula: value} was computed by a spreadsheet
    videos: dict[str, list[Video]]  # layout -> videos; the first is the one that is written by default
    version: str
    kinds: dict[str, int]
    faults: dict[str, int] = field(default_factory=dict)
    dropped: int = 0
    joined: str = ""  # the data set whose table must be there, too


def _miniature(record):
    videos = {layout: [Video(*video) for video in held] for layout, held in record["videos"].items()}
    return Miniature(**record | {"videos": videos})


MINIATURES = {
    name: _miniature(record)
    for name, record in yaml.safe_load(Path(__file__).with_suffix(".yml").read_text(encoding="utf-8")).items()
}


def write(name, out, faces, layout=""):
    """Write a miniature: frames are links to those in ``faces``, a list of folders of simulated clips, one a person."""
    mini = MINIATURES[name]
    for number, video in enumerate(mini.videos[layout or next(iter(mini.videos))]):
        lay(out, video, sorted(faces[number % len(faces)].iterdir()))
    write_table(name, out)
    return out


def write_table(name, out):
    """Write a miniature's tables alone; returns their paths."""
    mini = MINIATURES[name]
    out.mkdir(parents=True, exist_ok=True)
    save = save_xls if mini.book.endswith(".xls") else save_xlsx
    return [save(out / mini.book, mini.sheets), *(write_table(mini.joined, out) if mini.joined else [])]


def lay(out, video, frames):
    """Link frames under the names of a data set: a clip forwards, backwards, and again."""
    folder = out / video.folder
    folder.mkdir(parents=True)
    for number, frame in zip(video.numbers, itertools.cycle([*frames, *frames[::-1]])):
        os.link(frame, folder / video.frame.format(number))


# Subject, video, folder and frames of a release, and whether clips are cut from onset to offset.
RELEASES = {
    "samm": ("{person:03d}", "{person:03d}_{n}_1", "SAMM/{subject}/{video}", "{subject}_{{:05d}}.jpg", True),
    "casme2": ("{person:02d}", "EP{n:02d}_01", "CASME2-RAW/sub{subject}/{video}", "{{}}.jpg", False),
}


def release(name, out, source):
    """Write SAMM or CASME II as large as a set of simulated clips in ``source``: their events, in its folders and table."""
    subject_of, video_of, place, frame, cut = RELEASES[name]
    ((title, sheet),) = MINIATURES[name].sheets.items()
    head = next(place for place, row in enumerate(sheet) if "Subject" in row)
    rows = sheet[: head + 1]
    for n, event in enumerate(read_events(source / "manifest.yml", source / "annotations.xlsx").itertuples()):
        subject = subject_of.format(person=int(event.subject[1:]))
        video = video_of.format(person=int(event.subject[1:]), n=n)
        first, begin = (1 + 100 * n, event.onset) if cut else (1, 0)
        frames = sorted((source / "frames" / event.subject / event.video).iterdir())
        frames = frames[event.onset : event.offset + 1] if cut else frames
        where = place.format(subject=subject, video=video), frame.format(subject=subject)
        lay(out, Video(*where, first, first + len(frames) - 1), frames)
        marks = [first + int(mark - begin) for mark in (event.onset, event.apex, event.offset)]
        template = sheet[head + 1]
        rows = [*rows, [subject, video, template[2], *marks, *template[6:]]]
    save_xlsx(out / MINIATURES[name].book, {title: rows})
    return out


def clips(folder):
    """Folders of a simulated data set's clips, one a person, for :func:`write`."""
    return sorted(Path(folder).glob("frames/*/*_01"))


# Spreadsheets
# ---------------------------------------------------------------------------------------------------------------


def save_xlsx(path, sheets):
    """Save rows as .xlsx; formulas keep the value that a spreadsheet program would have stored with them."""
    book = openpyxl.Workbook(write_only=True)
    values = {}
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            values |= {
                formula: value for cell in row if isinstance(cell, dict) for formula, value in cell.items()
            }
            sheet.append([f"={next(iter(cell))}" if isinstance(cell, dict) else cell for cell in row])
    book.save(path)
    if values:
        _store(path, values)
    return path


def _store(path, values):
    """Write values behind formulas, which openpyxl leaves empty."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    formula = re.compile(r"<f>([^<]*)</f><v ?/?>(</v>)?")
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            if name.startswith("xl/worksheets/"):
                text = content.decode()
                content = formula.sub(lambda m: f"<f>{m[1]}</f><v>{values[m[1]]}</v>", text).encode()
            archive.writestr(name, content)


# The old binary format, as little of it as a reader needs: records (BIFF8) of texts and numbers, in a container (CFB)
# of one stream. No writer of it is among the project's packages.
_FREE, _LAST, _TABLE = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
_SECTOR = 512


def save_xls(path, sheets):
    """Save rows of texts and numbers as .xls, up to some 60 kB."""
    end = _record(0x0A)
    bodies = [_begin(0x10) + _cells(rows) + end for rows in sheets.values()]
    head = len(_begin(0x05) + _titles(sheets, [0] * len(sheets)) + end)
    starts = [head + sum(map(len, bodies[:place])) for place in range(len(bodies))]
    path.write_bytes(_contained(_begin(0x05) + _titles(sheets, starts) + end + b"".join(bodies)))
    return path


def _record(code, content=b""):
    return struct.pack("<HH", code, len(content)) + content


def _begin(kind):
    return _record(0x809, struct.pack("<HHHHII", 0x600, kind, 0, 0, 0, 0))


def _titles(sheets, starts):
    """Where each sheet begins and what it is called."""
    entries = zip(sheets, starts, strict=True)
    return b"".join(
        _record(0x85, struct.pack("<IBBBB", start, 0, 0, len(title), 1) + title.encode("utf-16-le"))
        for title, start in entries
    )


def _cells(rows):
    return b"".join(
        _cell(struct.pack("<HHH", line, place, 0), cell)
        for line, row in enumerate(rows)
        for place, cell in enumerate(row)
        if cell is not None
    )


def _cell(where, cell):
    if isinstance(cell, str):
        return _record(0x204, where + struct.pack("<HB", len(cell), 1) + cell.encode("utf-16-le"))
    return _record(0x203, where + struct.pack("<d", cell))


def _contained(stream):
    """The container: a header, the table of sectors, the directory, the stream."""
    n = max(8, -(-len(stream) // _SECTOR))  # a shorter stream would need a table of its own
    sectors = [_TABLE, _LAST, *range(3, n + 2), _LAST]
    assert len(sectors) <= 128, "one table of sectors holds some 60 kB"
    header = struct.pack("<Q16x5H6x", 0xE11AB1A1E011CFD0, 0x3E, 3, 0xFFFE, 9, 6)
    header += struct.pack("<9I", 0, 1, 1, 0, 4096, _LAST, 0, _LAST, 0) + struct.pack(
        "<109I", 0, *[_FREE] * 108
    )
    table = struct.pack("<128I", *sectors, *[_FREE] * (128 - len(sectors)))
    directory = _entry("Root Entry", 5, 1, _LAST, 0) + _entry("Workbook", 2, _FREE, 2, n * _SECTOR)
    return header + table + directory.ljust(_SECTOR, b"\0") + stream.ljust(n * _SECTOR, b"\0")


def _entry(name, kind, child, start, size):
    text = name.encode("utf-16-le")
    return struct.pack("<64sHBB3I36xIQ", text, len(text) + 2, kind, 1, _FREE, _FREE, child, start, size)

"""Miniatures of licensed data sets: simulated faces in each one's folders, invented rows in each one's table.

Headers, types and faults are those of the release (as far as the manifest knows them), numbers are invented. Nothing here
comes from a real table.

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


class Formula(NamedTuple):
    """A cell that a spreadsheet computed."""

    text: str
    value: float


class Video(NamedTuple):
    """Frames of one video: its folder, the name of a frame, the numbers that exist."""

    folder: str
    frame: str
    numbers: range


@dataclass(frozen=True)
class Miniature:
    """One data set: its table, its videos by layout, and what a reader must find in the table."""

    book: str
    sheets: dict[str, list[list]]
    videos: dict[str, list[Video]]  # layout -> videos; the first is the one that is written by default
    version: str
    kinds: dict[str, int]
    faults: dict[str, int] = field(default_factory=dict)
    dropped: int = 0
    joined: str = ""  # the data set whose table must be there, too

    @property
    def rows(self) -> int:
        """How many events the table holds."""
        return sum(self.kinds.values())


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


# Spreadsheets
# ---------------------------------------------------------------------------------------------------------------


def save_xlsx(path, sheets):
    """Save rows as .xlsx; formulas keep the value that a spreadsheet program would have stored with them."""
    book = openpyxl.Workbook(write_only=True)
    values = {}
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            formulas = [cell for cell in row if isinstance(cell, Formula)]
            values |= {formula.text: formula.value for formula in formulas}
            sheet.append([f"={cell.text}" if isinstance(cell, Formula) else cell for cell in row])
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


# The data sets
# ---------------------------------------------------------------------------------------------------------------

NOTES = [["An invented table"], [], ["Symbol Key:"], ['"/" = or'], []]

SAMM_HEADER = [
    "Subject",
    "Filename",
    "Inducement Code",
    "Onset Frame",
    "Apex Frame",
    "Offset Frame",
    "Duration",
    "Micro",
    "Action Units",
    "Estimated Emotion",
    "Objective Classes",
    "Notes",
]
LONG_HEADER = [
    "Subject",
    "Filename",
    "Inducement Code",
    "Onset",
    "Apex",
    "Offset",
    "Duration",
    "Type",
    "Action Units",
    "Notes",
]
CASME2_HEADER = [
    "Subject",
    "Filename",
    None,
    "OnsetFrame",
    "ApexFrame",
    "OffsetFrame",
    None,
    "Action Units",
    "Estimated Emotion",
]
CASME3_HEADER = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU"]


def _samm(name, onset, apex, offset, emotion):
    subject = name.split("_")[0]
    return [subject, name, 3, onset, apex, offset, 40, "Micro - 1/2", "4+7", emotion, 1, None]


def _samm_clip(name, numbers):
    return Video(f"SAMM/{name[:3]}/{name}", f"{name[:3]}_{{:05d}}.jpg", numbers)


def _long(name, onset, apex, offset, kind):
    duration = Formula(f"{offset}-{onset}+0", offset - onset)
    return [name[:3], name, 3, onset, apex, offset, duration, kind, "4+7", None]


def _casme2(subject, name, onset, apex, offset, emotion):
    return [subject, name, None, onset, apex, offset, None, "4+L7", emotion]


def _casme2_clips(form, image, numbers):
    where = {"04/EP12_01f": numbers, "04/EP12_02": numbers, "16/EP01_08": numbers, "16/EP02_04f": numbers}
    if "Cropped" in form:  # one clip ends early
        where["16/EP01_08"] = numbers[: len(numbers) // 2]
    return [Video(form.format(*place.split("/")), image, some) for place, some in where.items()]


# The columns that all tables of part A share, with every fault that it is known to have, text numbers and full-width
# commas; the subject's name is spelt in two ways.
_PART_A = [
    ["spNO.1", "a", "5", "10", "20", "4，14"],
    ["spNO.1", "a", "25", "25", "45", "6+12"],  # apex on the onset: valid
    ["spNO.2", "b", "30", "26", "45", "4"],
    ["spNo.2", "b", "8", "28", "20", "R4"],
    ["spNo.2", "b", "40", "48", "35", "1+2"],
    ["spNO.1", "a", "50", "45", "40", "1"],  # can't be mirrored
    ["spNO.2", "b", "0", "0", "0", "0"],
    ["spNO.1", "a", "6", "300", "3461", "4"],
]
_PART_A_FAULTS = {"apex_outside": 2, "offset_not_after_onset": 2, "onset_missing": 1, "too_long": 1}
_PART_A_VIDEOS = [
    Video("part_A/spNO.1/a/color", "{}.jpg", range(1, 65)),
    Video("part_A/spNo.2/b/color", "{}.jpg", range(1, 65)),
]

MINIATURES = {
    "samm": Miniature(
        "SAMM_Micro_FACS_Codes_v2.xlsx",
        {
            "MICRO_ONLY": [
                *NOTES,
                SAMM_HEADER,
                _samm("028_3_1", "501", 520.0, "540", "Anger"),
                _samm("028_4_1", 101, 151, 140, "Other"),
                _samm("032_3_1", 801, 301, Formula("800+40", 840), "Happiness"),
                _samm("032_4_1", 5562, 5580.4, 5601, "Surprise"),
            ]
        },
        {
            "": [
                _samm_clip("028_3_1", range(501, 541)),
                _samm_clip("028_4_1", range(101, 141)),
                _samm_clip("032_3_1", range(801, 841)),
                _samm_clip("032_4_1", range(5562, 5602)),
            ]
        },
        "v2",
        {"micro": 4},
        {"apex_outside": 2},
    ),
    "casme2": Miniature(
        "CASME2-coding-20140508.xlsx",
        {
            "Sheet1": [
                CASME2_HEADER,
                _casme2(4, "EP12_01f", 21, "/", 50, "others"),
                _casme2(4, "EP12_02", 25, 25, 55, "repression"),
                _casme2("16", "EP01_08", 23, 35, 48, "happiness"),
                _casme2("16", "EP02_04f", 20, 45, 45, "surprise"),
            ]
        },
        {
            "raw": _casme2_clips("CASME2-RAW/sub{}/{}", "{}.jpg", range(1, 71)),
            "selected": _casme2_clips("CASME2_RAW_selected/sub{}/{}", "img{}.jpg", range(20, 56)),
            "cropped": _casme2_clips("Cropped/sub{}/{}", "reg_img{}.jpg", range(20, 56)),
        },
        "20140508",
        {"micro": 4},
        {"apex_missing": 1},
    ),
    "samm_lv": Miniature(
        "SAMM_LongVideos_V3_Release.xlsx",
        {
            "Sheet1": [
                *NOTES,
                LONG_HEADER,
                _long("028_3_2", 0, 30, 60, "Macro"),
                _long("028_3_1", 66, 86, 130, "Micro - 1/2"),
                _long("032_4_2", 10.4, -1, 66.6, "Macro"),
                _long("032_4_1", 71, 90, 120, "Micro - 1/2"),
            ]
        },
        {
            "": [
                Video("SAMM_longvideos/028_3", "028_3_{:04d}.jpg", range(1, 151)),
                Video("SAMM_longvideos/032_4", "032_4_{:04d}.jpg", range(1, 151)),
            ]
        },
        "V1, V2 or V3",
        {"macro": 2, "micro": 2},
        {"onset_before_first": 1, "apex_missing": 1},
        joined="samm",
    ),
    "casme_sq": Miniature(
        "CAS(ME)^2code_final.xlsx",
        {
            "Sheet1": [
                [1, "anger1_1", 5, 15, 28, "4", "negative", "macro-expression", "anger"],
                [1, "anger1_2", 40, 48, 0, "4+7", "negative", "macro-expression", "disgust"],
                [2, "disgust1_1", 6, 0, 26, "9", "negative", "micro-expression", "disgust"],
                [2, "disgust1_2", 40, 60, 54, "12", "positive", "micro-expression", "happyiness"],
            ],
            "Sheet2": [[15, "s15", 1], [16, "s16", 2]],
            "Sheet3": [["0101", "disgust1"], ["0401", "anger1"]],
        },
        {
            "": [
                Video("rawpic/s15/15_0401girlcrashing", "img{:03d}.jpg", range(1, 65)),
                Video("rawpic/s16/16_0101disgustingteeth", "img{:03d}.jpg", range(1, 65)),
            ]
        },
        "final",
        {"macro": 2, "micro": 2},
        {"offset_missing": 1, "apex_missing": 1, "apex_outside": 1},
    ),
    "casme3_me": Miniature(
        "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx",
        {
            "label": [
                [*CASME3_HEADER, "Objective class", "emotion"],
                *([*row, "VII", "disgust" if row[1] == "a" else "Others"] for row in _PART_A),
            ]
        },
        {
            "part_A": _PART_A_VIDEOS,
            "clips": [
                Video("Part_A_ME_clip/frame/spNO.1_a_5", "{}.jpg", range(5, 21)),
                Video("Part_A_ME_clip/frame/spNO.1_a_25", "{}.jpg", range(25, 46)),
                Video("Part_A_ME_clip/frame/spNO.2_b_30", "{}.jpg", range(30, 46)),
                Video("Part_A_ME_clip/frame/spNO.2_b_8", "{}.jpg", range(8, 21)),
                Video("Part_A_ME_clip/frame/spNO.2_b_40", "{}.jpg", range(40, 57)),
            ],
        },
        "part A, micro-expressions, v2",
        {"micro": 8},
        _PART_A_FAULTS,
        dropped=3,
    ),
    "casme3": Miniature(
        "CAS(ME)3_part_A_v2.xls",
        {
            "AU+Emotion": [
                [*CASME3_HEADER, "Expression type", "Objective class"],
                *([*row, "Micro-expression", "VII"] for row in _PART_A),
                ["spNO.1", "a", "20", "30", "60", "6+12", "Macro-expression", "I"],
            ],
            "eye blink": [
                ["Subject", "Filename", "Onset", "Offset"],
                ["spNO.1", "a", "12", "24"],
                ["spNO.2", "b", "50", "60"],
            ],
        },
        {"": _PART_A_VIDEOS},
        "part A, v2",
        {"micro": 8, "macro": 1, "blink": 2},
        _PART_A_FAULTS,
        dropped=3,
    ),
    "casme3_c": Miniature(
        "CAS(ME)3_part_C_ME.xlsx",
        {
            "Sheet1": [
                ["sub", "count", "onset", "offset", "au", "emotion"],
                ["1", 1, 10, 30, "4", "disgust"],
                ["2", 1, 12, 35, "1，2", "surprise"],
            ]
        },
        {
            "": [
                Video("part_C/1/1/color", "{}.jpg", range(1, 65)),
                Video("part_C/2/1/color", "{}.jpg", range(1, 65)),
            ]
        },
        "part C",
        {"micro": 2},
    ),
    "smic": Miniature(
        "SMIC-HS-E_annotation.xlsx",
        {
            "Sheet1": [
                ["Subject", "Filename", "FirstF", "OnsetF", "OffsetF", "LastF", "Onset2F", "Offset2F"],
                ["s1", "s1_ne_01", 1001, 1005, 1025, 1064, 1040, 1058],
                ["s2", "s2_po_01", 2001, 2010, 2040, 2064, None, None],
            ]
        },
        {
            "E": [
                Video("SMIC-HS-E/s1/s1_ne_01", "image{:06d}.jpg", range(1001, 1065)),
                Video("SMIC-HS-E/s2/s2_po_01", "image{:06d}.jpg", range(2001, 2065)),
            ],
            "plain": [
                Video("HS/s1/micro/negative/s1_ne_01", "image{:06d}.jpg", range(1005, 1060)),
                Video("HS/s2/micro/positive/s2_po_01", "image{:06d}.jpg", range(2010, 2041)),
            ],
        },
        "HS-E",
        {"micro": 3},
    ),
    "mmew": Miniature(
        "MMEW_Micro_Exp.xlsx",
        {
            "Sheet1": [
                [
                    "Subject",
                    "Filename",
                    "OnsetFrame",
                    "ApexFrame",
                    "OffsetFrame",
                    "Action Units",
                    "Estimated Emotion",
                ],
                [1, "S01-01-001", 1, 20, 40, "4", "anger"],
                [2, "S02-01-001", 1, 50, 40, "12", "happiness"],
            ]
        },
        {
            "": [
                Video("Micro_Expression/anger/S01-01-001", "{}.jpg", range(1, 41)),
                Video("Micro_Expression/happiness/S02-01-001", "{}.jpg", range(1, 41)),
            ]
        },
        "MMEW",
        {"micro": 2},
        {"apex_outside": 1},
    ),
    "4dme": Miniature(
        "4DME.xlsx",
        {
            "Sheet1": [
                ["sub_ID", "fold_name", "Onset", "Apex", "Offset", "AU", "Emotion"],
                ["01", "01_a", 1, 20, 40, "4", "Negative"],
                ["02", "02_b", 1, 25, 40, "12", "Positive"],
            ]
        },
        {
            "": [
                Video("01/01_a", "{}.jpg", range(1, 41)),
                Video("02/02_b", "{}.jpg", range(1, 41)),
            ]
        },
        "",
        {"micro": 2},
    ),
}


def clips(folder):
    """Folders of a simulated data set's clips, one a person, for :func:`write`."""
    return sorted(Path(folder).glob("frames/*/*_01"))

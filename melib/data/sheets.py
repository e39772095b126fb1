"""Files -> sheets of raw cells, in bounded time and memory whatever a file holds.

    .xlsx      an archive: its sizes are summed before it is unpacked; a sheet with a stray cell far away is read row by row
    .xls, ods  read by a process of its own: the reader may panic, abort, or ask for any memory
    text       the separator that gives most rows the same number of cells

What kind of file it is is read from its first bytes, never from its name. Blank rows are left out, the others keep their
place.
"""

import csv
import io
import json
import math
import re
import struct
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import openpyxl
import python_calamine

from melib.errors import DataError

Sheets = dict[str, dict[int, list[Any]]]  # sheet -> row from 0 -> cells

# What a text file's only sheet is called; no spreadsheet program allows brackets there.
TEXT = "[text]"

# The largest released table takes 1 MB.
_LARGEST = 256 << 20  # bytes, packed or not
_BOX = 4_000_000  # cells of a sheet's rectangle, which one reader fills wholly
_SECONDS = 60
_HEAD = 4096  # bytes that tell a web page

_PLACE = re.compile(rb"""\sr=["']([A-Z]{0,3})(\d{1,8})["']""")  # of a row or a cell
_MARKUP = re.compile(
    rb"\s*(?:<!--.*?-->\s*)*<(\?xml|!doctype|html|head|meta|table|style|body|div)\b", re.I | re.S
)

# Run by -c: a module of the package would import all of it.
_APART = """
import io, json, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
except (ImportError, ValueError, OSError):
    pass
import python_calamine
book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(sys.stdin.buffer.read()))
sheets = [(name, book.get_sheet_by_name(name).to_python(skip_empty_area=False)) for name in book.sheet_names]
blank = ("", None)
json.dump([(name, [(at, row) for at, row in enumerate(rows) if any(cell not in blank for cell in row)])
           for name, rows in sheets], sys.stdout, default=str)
"""


def read_sheets(path: Path) -> Sheets:
    """Every sheet of a file as rows of raw cells.

    Raises
    ------
    DataError
        If the file is missing, empty, too large, damaged, or neither a spreadsheet nor text.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing or no file; give the annotation table (xlsx, xls or csv).")
    try:
        if path.stat().st_size > _LARGEST:
            raise DataError(
                f"{path} is larger than {_LARGEST >> 20} MB, so no annotation table; give the table."
            )
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}); check its rights.") from error
    if data[:4] == b"PK\x03\x04":
        return _read_archive(data, path)
    if data[:4] == b"\xd0\xcf\x11\xe0":
        if _is_cut(data):
            raise _damaged(path, "its end lacks, as after a copy that was interrupted")
        return _read_apart(data, path)
    if kind := _MARKUP.match(data[:_HEAD].removeprefix(b"\xef\xbb\xbf")):
        what = "xml" if kind[1].lower() == b"?xml" else "a web page (html)"
        raise DataError(
            f"{path} is {what}, whatever its name says; open it in a spreadsheet program and save it as xlsx."
        )
    try:
        return {TEXT: _read_text(data.decode("utf-8-sig"), path)}
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is neither a spreadsheet nor UTF-8 text; save it as xlsx or UTF-8 csv."
        ) from error


def short(content: str) -> str:
    """A cell as messages quote it."""
    return content if len(content) <= 60 else f"{content[:57]}..."


# Spreadsheets
# ---------------------------------------------------------------------------------------


def _read_archive(data: bytes, path: Path) -> Sheets:
    """An xlsx; its readers have exceptions of their own, one of them no Exception, which all mean the same."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(part.file_size for part in archive.infolist()) > _LARGEST:
                raise DataError(
                    f"{path} unpacks to more than {_LARGEST >> 20} MB, so it is no annotation table; give the table."
                )
            # Reading a part compares its size and checksum with what the archive says.
            parts = {part.filename: archive.read(part) for part in archive.infolist()}
        if "xl/workbook.xml" not in parts:
            return _read_apart(data, path)
        far = any(
            _box(content) > _BOX for name, content in parts.items() if name.startswith("xl/worksheets/")
        )
        return _read_by_row(data) if far else _read_whole(data)
    except DataError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise _damaged(path, str(error)) from error


def _box(sheet: bytes) -> int:
    """Cells of the rectangle from the first cell to the last; a stray one makes it large."""
    rows, columns = 1, {b""}
    for place in _PLACE.finditer(sheet):
        columns.add(place[1])
        rows = max(rows, int(place[2]))
    width = 0
    for letter in max(columns, key=lambda column: (len(column), column)):
        width = 26 * width + letter - 64
    return rows * max(width, 1)


def _read_whole(data: bytes) -> Sheets:
    book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
    names = [about.name for about in book.sheets_metadata if "Work" in str(about.typ)]
    return {name: _filled(book.get_sheet_by_name(name).to_python(skip_empty_area=False)) for name in names}


def _read_by_row(data: bytes) -> Sheets:
    """Slower, and no larger than the cells that there are."""
    book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    sheets = {}
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # what the file says of them made it slow
        sheets[sheet.title] = _filled(sheet.iter_rows(values_only=True))
    return sheets


def _read_apart(data: bytes, path: Path) -> Sheets:
    try:
        ended = subprocess.run(
            [sys.executable, "-I", "-c", _APART],
            input=data,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
        sheets = json.loads(ended.stdout) if ended.returncode == 0 else None
    except (subprocess.TimeoutExpired, ValueError):
        raise _damaged(path, "its reader doesn't come to an end") from None
    if sheets is None:
        last = ended.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise _damaged(
            path,
            last if ended.returncode == 1 else "its reader breaks down, as at a cell far from all others",
        )
    return {name: dict(rows) for name, rows in sheets}


def _is_cut(data: bytes) -> bool:
    """Whether an old spreadsheet lacks sectors that its own table lists; its reader may leave out their rows in silence."""
    try:
        size = {9: 512, 12: 4096}[struct.unpack_from("<H", data, 30)[0]]
        sectors = [sector for sector in struct.unpack_from("<109I", data, 76) if sector < 0xFFFFFFFA]
        entries = [
            entry for n in sectors for entry in struct.unpack_from(f"<{size // 4}I", data, (n + 1) * size)
        ]
    except (struct.error, KeyError):
        return True
    used = max((place for place, entry in enumerate(entries) if entry != 0xFFFFFFFF), default=0)
    return len(data) <= (used + 1) * size


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path} can't be read as a spreadsheet ({reason[:200]}); save it again as xlsx.")


def _filled(rows: Any) -> dict[int, list[Any]]:
    return {
        at: list(row) for at, row in enumerate(rows) if any(cell is not None and cell != "" for cell in row)
    }


# Text
# ---------------------------------------------------------------------------------------


def _read_text(content: str, path: Path) -> dict[int, list[str]]:
    splits = {separator: _split(content, separator) for separator in ",;\t|"}
    separator = max(splits, key=lambda separator: math.prod(_usual(splits[separator][0])))
    rows, fault = splits[separator]
    if fault:
        raise DataError(
            f"{path} can't be read as csv, line {len(rows) + 1}: {fault}; close or remove the quotation mark there, or "
            "save the table as xlsx."
        )
    width = _usual(rows)[1]
    for line, row in enumerate(rows, start=1):
        for cell in row:
            if "\n" in cell and (len(row) > width or cell.count(separator) >= width - 1 > 0):
                raise DataError(
                    f"{path}, row {line}: a quotation mark opens a cell that holds the row below, too; close or remove it."
                )
    return {at: row for at, row in enumerate(rows) if any(cell.strip() for cell in row)}


def _split(content: str, separator: str) -> tuple[list[list[str]], str]:
    """Rows up to the first that can't be read, and what is wrong there."""
    rows: list[list[str]] = []
    lines = io.StringIO(content.replace("\r\n", "\n").replace("\r", "\n"))
    try:
        for row in csv.reader(lines, delimiter=separator, strict=True):
            rows.append(row)
    except csv.Error as error:
        return rows, str(error)
    return rows, ""


def _usual(rows: list[list[str]]) -> tuple[int, int]:
    """How many rows have the commonest number of cells, and that number."""
    widths = Counter(len(row) for row in rows if len(row) > 1)
    return max(((n, width) for width, n in widths.items()), key=math.prod, default=(0, 1))

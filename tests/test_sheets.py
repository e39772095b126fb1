"""Files become sheets of cells in bounded time and memory, whatever they hold."""

import resource
import time
import zipfile

import licensed
import openpyxl
import pytest
from test_annotations import HEADER, manifest, row, xlsx

from melib import DataError
from melib.annotations import audit, read_events


def write_text(path, *lines, end="\n", encoding="utf-8"):
    path.write_text(end.join(lines), encoding=encoding, newline="")
    return path


LINE = "006;v{n};{n}0;{n}5;{n}9;4,12,17;Anger"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_separator_is_the_one_that_makes_rows_alike_whatever_ends_a_line(tmp_path, end):
    lines = [LINE.format(n=n) for n in range(1, 6)]
    events = read_events(
        manifest(tmp_path), write_text(tmp_path / "t.csv", ";".join(HEADER), *lines, end=end)
    )
    assert events["status"].eq("ok").all() and set(events["aus"]) == {"4,12,17"}


def test_a_row_with_a_separator_too_many_or_too_few_is_dropped_with_its_reason(tmp_path):
    rows = [",".join(map(str, row(10, 20, 30, video=f"v{n}"))) for n in range(4)]
    rows[1] = rows[1].replace("L12+R4", "12,4")
    rows[2] = rows[2].replace("006,v2", "006 v2")
    result = audit(manifest(tmp_path), write_text(tmp_path / "t.csv", ",".join(HEADER), *rows))
    assert result.events["status"].tolist() == ["ok", "dropped", "dropped", "ok"]
    assert result.faults["fault"].tolist() == ["uneven", "uneven"]


def zipped(path, **parts):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def stray(path, cell):
    """A table with one more cell far away."""
    book = openpyxl.Workbook()
    for cells in (HEADER, row(10, 20, 30)):
        book.active.append(cells)
    book.active[cell] = "stray"
    book.save(path)
    return path


def refused_files(folder):
    """What the sentence names, and the file."""
    header, good = ",".join(HEADER), "006,v,10,20,30,4,Anger"
    onset = ["Onset" if title == "Onset Frame" else title for title in HEADER]
    twice = xlsx(folder / "twice.xlsx", [HEADER, row(1, 2, 3)])
    book = openpyxl.load_workbook(twice)
    book.copy_worksheet(book.active)
    book.save(twice)
    xls = licensed.save_xls(
        folder / "cut.xls", {"label": [HEADER, ["006", "v", "1", "2", "3", "4", "Anger"]]}
    )
    yield "Subject", xlsx(folder / "other.xlsx", [["Name", "Age"], ["x", 3]])
    yield "Subject", write_text(folder / "nothing.csv")
    yield "table.columns.onset", xlsx(folder / "renamed.xlsx", [onset, row(1, 2, 3)])
    yield "no row", xlsx(folder / "empty.xlsx", [HEADER])
    yield "several sheets", twice
    yield "several columns", xlsx(folder / "column.xlsx", [[*HEADER, "onset frame"], [*row(10, 20, 30), 5]])
    yield "UTF-8", write_text(folder / "latin.csv", "Subject;süß", encoding="latin-1")
    yield "missing", folder / "missing.xlsx"
    yield "no file", folder
    yield "web page", write_text(folder / "t.xls", "<html><table><tr><td>Subject</td></tr></table></html>")
    yield "spreadsheet", write_text(folder / "zero.xlsx", "PK\3\4 not really")
    for n in (513, 600, 1500, len(xls.read_bytes()) - 513):
        (folder / f"cut{n}.xls").write_bytes(xls.read_bytes()[:n])
        yield "spreadsheet", folder / f"cut{n}.xls"
    yield "unpacks", zipped(folder / "bomb.xlsx", **{f"{n}.xml": bytes(90 << 20) for n in range(3)})
    yield "quotation", write_text(folder / "open.csv", header, '006,"v,10,20,30,4,Anger', good)
    yield (
        "quotation",
        write_text(folder / "two.csv", header, good, f'006,"{good}', good, '006,v",1,2,3,4,Anger', good),
    )
    yield "csv", write_text(folder / "long.csv", header, good, "x" * 140_000)


def test_a_file_that_can_t_be_read_is_one_sentence_that_names_it(tmp_path):
    described = manifest(tmp_path)
    for message, path in refused_files(tmp_path):
        with pytest.raises(DataError, match=message) as caught:
            read_events(described, path)
        assert str(path) in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize("cell", ["A1048576", "XFD1048576"])
def test_a_stray_cell_costs_neither_time_nor_memory(tmp_path, cell):
    table = stray(tmp_path / "t.xlsx", cell)
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    events = read_events(manifest(tmp_path), table)
    assert time.process_time() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10
    assert events["status"].tolist() == (["ok", "dropped"] if cell[0] == "A" else ["ok"])

"""Whatever stands in a table or a manifest ends as events, each row with its status, or as one readable sentence; whatever
befalls the cache, and whenever its writer is killed, what is read is what was written.

Cases are drawn by number, so that a failure names what to run again: FUZZ_SHARE is the share of all of them that is run, a
twentieth by default and all in `make test-fuzz`.
"""

import contextlib
import copy
import csv
import io
import json
import os
import random
import shutil
import subprocess
import sys
import time
import warnings
import zipfile
from collections import Counter

import licensed
import numpy as np
import openpyxl
import pytest
import yaml

from melib import DataError
from melib.annotations import audit
from melib.data import cache
from melib.data.manifest import frame_files, parts, read_manifest, spans, videos
from melib.data.tables import text

SHARE = float(os.environ.get("FUZZ_SHARE", "0.05"))
SLOWEST = 30  # seconds of one case
NAMES = sorted(licensed.MINIATURES)
ODD_CELLS = [
    None, True, 0, -5, 4.1, 1e30, 10**15, -(10**9), 0.0001,
    "", " ", "/", "-1", "1e30", "1e999", "nan", "inf", "12 13", "1_0", "0x1F", "٣", "５", "6e2", "1.0", "12,5", "006",
    "=1+1", "@SUM(A1)", "#REF!", "a\nb", "a\rb", 'say "so"', "4,12", "4;12", "00:00:04.1", "é" * 300, "x" * 40_000,
    "\u200bhappiness", "suprise", "Macro", "subject", "\u00a0",
]  # fmt: skip
ODD_VALUES = [
    None, True, False, 0, -1, 1, 30, 2**70, 1.5, float("nan"), float("inf"), "", " ", "0", "x" * 2000,
    "{", "}", "(", "[", "*", "(a+)+b", "a{99999999999}", "{subject}", "{video}/{subject}", "{subject}/{video:(x|y)*z}",
    "../..", "/", "2024-13-45", "é\n\u2028", "micro", "drop", "samm", "seconds", "Subject",
    [], {}, [[]], [{}], {"a": {}}, ["a", "a"], [1, "a"], {"micro": 2},
]  # fmt: skip
ODD_TEXTS = [
    "", "\t", "\0", "&a ", "*a", "<<: *a", "[" * 400, "{", "- ", ": ", "!!python/object:os.system ", "%", "---\n",
    "é", "\x85", "? ", "|\n", '"', "'", "\n", "#", "0" * 5000, "1:40", "\ufeff", "a: &a [*a, *a]\n",
]  # fmt: skip


def cases(number):
    """Numbers of the cases that are run, of so many."""
    return range(max(1, round(number * SHARE)))


def all_end_well(number, case):
    """Run cases; collect what neither ends well nor in one sentence."""
    failures, ends = [], Counter()
    for seed in cases(number):
        began = time.monotonic()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ends[case(random.Random(seed))] += 1
        except DataError as error:
            ends["refused"] += 1
            if len(f"{error}".splitlines()) != 1 or len(f"{error}") > 1200:
                failures.append(f"case {seed}: not one short line: {error}")
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            failures.append(f"case {seed}: {type(error).__name__}: {error}"[:600])
        if time.monotonic() - began > SLOWEST:
            failures.append(f"case {seed}: took {time.monotonic() - began:.0f} s")
    assert not failures, "\n".join(failures[:20]) + f"\n{len(failures)} of {number}; {dict(ends)}"
    assert len(ends) > 1, f"all cases end alike: {dict(ends)}"


# Tables
# ---------------------------------------------------------------------------------------------------------------


def change_cells(rng, rows, first):
    """A few rows become others: cells are odd, moved, copied, or gone. The header stays."""
    for _ in range(rng.randint(1, 4)):
        row = rng.randrange(first, len(rows))
        kind = rng.random()
        if kind < 0.7 and rows[row]:
            rows[row][rng.randrange(len(rows[row]))] = rng.choice(ODD_CELLS)
        elif kind < 0.8:
            rows.insert(row, list(rng.choice(rows[first:])))
        elif kind < 0.9:
            rows.insert(row, [None] * len(rows[row]))
        else:
            one, other = (rng.randrange(max(1, len(rows[row]))) for _ in range(2))
            if rows[row]:
                rows[row][one], rows[row][other] = rows[row][other], rows[row][one]


def change_header(rng, rows, first):
    """Titles are renamed, repeated, moved together with their columns, or gone; notes stand above."""
    at = rng.randrange(len(rows[first - 1])) if first else 0
    kind = rng.random()
    if first and kind < 0.3:
        rows[first - 1][at] = rng.choice([*ODD_CELLS, *rows[first - 1]])
    elif kind < 0.6:
        order = list(range(max(map(len, rows))))
        rng.shuffle(order)
        rows[:] = [[row[place] if place < len(row) else None for place in order] for row in rows]
    elif kind < 0.8:
        rows.insert(0, [rng.choice(ODD_CELLS)])
    else:
        for row in rows:
            del row[at : at + 1]


def change_bytes(rng, path):
    """The file is cut, or bytes of it change."""
    data = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 5)):
        kind, at = rng.random(), rng.randrange(max(1, len(data)))
        if kind < 0.3:
            del data[at:]
        elif kind < 0.7 and data:
            data[at] = rng.randrange(256)
        elif kind < 0.85:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 40)))
        else:
            del data[at : at + rng.randint(1, 200)]
        data = data or bytearray(b"\0")
    path.write_bytes(bytes(data))


def change_part(rng, path):
    """A part of an xlsx is changed as text, and packed again."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name).decode("utf-8", "replace") for name in archive.namelist()}
    name = rng.choice(list(content))
    part = content[name]
    at = rng.randrange(len(part))
    stop = min(len(part), at + rng.randint(0, 60))
    swaps = {
        "A1": "XFD1048576",
        "B2": "A1048576",
        't="n"': 't="s"',
        "<v>": "<v>9",
        "<row": "<c",
        "sheetData": "data",
        "1": "99999",
    }
    swap = rng.choice(list(swaps))
    content[name] = (
        part[:at] + part[stop:] if rng.random() < 0.5 else part.replace(swap, swaps[swap], rng.randint(1, 9))
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in content.items():
            archive.writestr(name, part)


def save_text(rng, path, rows):
    lines = io.StringIO()
    quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    plain = [[cell.replace("\r", "\n") if isinstance(cell, str) else cell for cell in row] for row in rows]
    csv.writer(lines, delimiter=rng.choice(",;\t"), quoting=quoting, lineterminator="\n").writerows(plain)
    content = lines.getvalue().replace("\n", rng.choice(["\n", "\r\n", "\r"]))
    path.write_bytes(
        content.encode(rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]), "replace")
    )


def save_sheets(path, sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            clean = (
                openpyxl.cell.cell.ILLEGAL_CHARACTERS_RE.sub("", c)[:32_000] if isinstance(c, str) else c
                for c in row
            )
            sheet.append(
                [None if isinstance(c, float) and c in (float("inf"), float("nan")) else c for c in clean]
            )
            for cell in sheet[sheet.max_row] if any(c is not None for c in row) else ():
                cell.data_type = "s" if isinstance(cell.value, str) else cell.data_type
    book.save(path)


def a_table(rng, folder):
    """A miniature's table after some accidents; its rows of events where their number is still known, else None."""
    name = rng.choice(NAMES)
    sheets = {
        title: [
            [next(iter(cell.values())) if isinstance(cell, dict) else cell for cell in row] for row in rows
        ]
        for title, rows in licensed.MINIATURES[name].sheets.items()
    }
    title = next(iter(sheets))
    header = parts(read_manifest(name))[0].get("header")
    first = next((at + 1 for at, row in enumerate(sheets[title]) if header in row), 0)
    known = rng.random() < 0.5
    (change_cells if known or rng.random() < 0.5 else change_header)(rng, sheets[title], first)
    path = folder / "table"
    as_text = rng.random() < 0.4 and len(sheets) == 1
    old = rng.random() < 0.1
    if as_text:
        save_text(rng, path, sheets[title])
    elif old:
        licensed.save_xls(
            path, {t: [[of_old(cell) for cell in row] for row in rows] for t, rows in sheets.items()}
        )
    else:
        save_sheets(path, sheets)
    if not known:
        rng.choice([change_bytes, change_bytes if as_text or old else change_part])(rng, path)
    return name, path, sheets[title][first - 1 :] if known and len(sheets) == 1 and first else None


def of_old(cell):
    """A cell as the old format can hold it, in a file that isn't large."""
    number = isinstance(cell, int | float) and not isinstance(cell, bool)
    return cell if cell is None or number else str(cell)[:100].replace("\r", " ")


def of_table(rng, folder):
    name, path, rows = a_table(rng, folder)
    described = read_manifest(name)
    audited = audit(described, path, policy=rng.choice(["repair", "drop"]))
    events = audited.events
    assert events["status"].isin(["ok", "repaired", "dropped"]).all()
    assert (events["reason"] != "").equals(events["status"] != "ok"), "each row that isn't ok has a reason"
    used = events[events["status"] != "dropped"]
    assert ((used["onset"] >= 0) & (used["onset"] < used["offset"])).all()
    inside = used.dropna(subset="apex")
    assert inside["apex"].between(inside["onset"], inside["offset"]).all()
    if rows and "more_events" not in parts(described)[0]:
        no_row_is_lost(described, rows, events)
    return "read"


def no_row_is_lost(described, rows, events):
    """As many events as rows that hold something of one, in order; one that is ok says what its cells say."""
    part = parts(described)[0]
    titles = {role: [t] if isinstance(t, str) else t for role, t in part["columns"].items()}
    places = {
        role: next((rows[0].index(t) for t in named if t in rows[0]), None) for role, named in titles.items()
    }
    expected = [row for row in rows[1:] if any(text(row[at]) for at in places.values() if at is not None)]
    if isinstance(part["kind"], dict):
        at = rows[0].index(part["kind"]["column"])
        expected = [row for row in rows[1:] if row in expected or text(row[at])]
    assert len(events) == len(expected)
    for row, event in zip(expected, events.itertuples(), strict=True):
        if event.status == "ok":
            for role in ("onset", "offset"):
                assert int(float(text(row[places[role]]))) - described.first_frame == getattr(event, role)


@pytest.mark.timeout(3600)
def test_every_row_of_a_table_ends_as_an_event_with_its_status_or_the_table_in_one_sentence(tmp_path):
    all_end_well(2000, lambda rng: of_table(rng, tmp_path))


# Manifests
# ---------------------------------------------------------------------------------------------------------------


def change_value(rng, record):
    """One value somewhere becomes another, or its name does."""
    node = record
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = rng.choice(keys)
        inner = node[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.2:
            break
        node = inner
    kind = rng.random()
    if kind < 0.7:
        node[key] = copy.deepcopy(rng.choice(ODD_VALUES))
    elif kind < 0.85:
        del node[key]
    elif isinstance(node, dict):
        node[rng.choice(["x", "sheet", "rows", "fps", "unit", "subject", "pattern", 1, None])] = rng.choice(
            ODD_VALUES
        )


def change_text(rng, content):
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(content))
        stop = at + rng.choice([0, 1, 5, 80])
        new = rng.choice(ODD_TEXTS)
        content = content[:at] + new + content[stop:]
    return content


def of_manifest(rng, folder, tables):
    name = rng.choice(NAMES)
    content = read_manifest(name).source.read_text(encoding="utf-8")
    if rng.random() < 0.6:
        record = yaml.safe_load(content)
        for _ in range(rng.randint(1, 2)):
            change_value(rng, record)
        content = yaml.safe_dump(record, sort_keys=False, allow_unicode=rng.random() < 0.5)
    else:
        content = change_text(rng, content)
    path = folder / "manifest.yml"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    described = read_manifest(path)
    try:
        audit(described, *tables[name])
    finally:
        table = videos(described, folder / name)
        spans(described, table)
        for row in table.itertuples():
            frame_files(row.folder, described)
    return "read"


@pytest.mark.timeout(3600)
def test_every_manifest_is_read_and_used_or_ends_in_one_sentence(tmp_path):
    tables = {name: licensed.write_table(name, tmp_path / "tables" / name) for name in NAMES}
    for name in NAMES:
        for video in next(iter(licensed.MINIATURES[name].videos.values())):
            (tmp_path / name / video.folder).mkdir(parents=True)
            for number in video.numbers[:5]:
                (tmp_path / name / video.folder / video.frame.format(number)).touch()
    all_end_well(1000, lambda rng: of_manifest(rng, tmp_path, tables))


# Cache entries, and kill -9
# ---------------------------------------------------------------------------------------------------------------


def entries(folder):
    """Three entries of other values, as they are computed; every read is checked."""
    for key in "abc":
        rng = np.random.default_rng(ord(key))
        values = {"curve": rng.random(50), "mask": rng.random((4, 5)) > 0.5}
        read = cache.arrays(folder, key, lambda values=values: values)
        assert read.keys() == values.keys()
        for name, value in values.items():
            np.testing.assert_array_equal(read[name], value, strict=True)


def change_entry(rng, folder):
    """A file of an entry is changed, lost or another's, or a folder is."""
    place, other = rng.sample([folder / key for key in "abc"], 2)
    name = rng.choice(["record.json", "curve.npy", "mask.npy"])
    kind = rng.random()
    if kind < 0.4:
        change_bytes(rng, place / name)
    elif kind < 0.5:
        (place / name).unlink()
    elif kind < 0.6:
        shutil.copyfile(other / name, place / name)
    elif kind < 0.7:
        shutil.copyfile(place / rng.choice(["curve.npy", "mask.npy"]), place / name)
    elif kind < 0.8:
        (place / name).unlink()
        (place / name).mkdir()
    else:
        shutil.rmtree(place)
        if kind < 0.9:
            shutil.copytree(other, place)
        else:
            place.write_bytes(rng.randbytes(20))


def test_a_changed_cache_is_never_read_as_if_it_were_whole(tmp_path):
    def case(rng):
        folder = tmp_path / f"{rng.random()}"
        entries(folder)
        changes = rng.randint(1, 3)
        for _ in range(changes):
            with contextlib.suppress(OSError):  # a second accident may find nothing left to spoil
                change_entry(rng, folder)
        entries(folder)
        entries(folder)
        shutil.rmtree(folder)
        return changes

    all_end_well(300, case)


WRITER = """
import sys, time
import numpy as np
from melib.data import cache

folder = sys.argv[1]
print("began", flush=True)
for key in range(40):
    def compute():
        time.sleep(.01)
        return {"x": np.full(100_000, key)}
    cache.arrays(folder + "/cache", str(key), compute)
    cache.write_json(f"{folder}/records/{key}.json", list(range(key, key + 20_000)))
"""


def test_a_writer_killed_anywhere_leaves_nothing_half_and_repeats_nothing_finished(tmp_path):
    finished = {}
    for seed in range(max(3, round(20 * SHARE))):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert writer.stdout.readline() == b"began\n"
        time.sleep(random.Random(seed).uniform(0, 0.3))
        writer.kill()
        writer.wait(timeout=60)
        writer.stdout.close()
        now = {path: path.stat().st_mtime_ns for path in tmp_path.glob("cache/[0-9]*/*")}
        assert finished.items() <= now.items(), f"kill {seed}: what was finished is gone or was made again"
        finished = now
        for record in tmp_path.glob("records/[0-9]*.json"):
            assert json.loads(record.read_text()) == list(range(int(record.stem), int(record.stem) + 20_000))
    subprocess.run([sys.executable, "-c", WRITER, str(tmp_path)], check=True, stdout=subprocess.DEVNULL)
    for key in range(40):
        read = cache.arrays(tmp_path / "cache", str(key), lambda: pytest.fail("not finished"))
        np.testing.assert_array_equal(read["x"], np.full(100_000, key))
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == sorted(map(str, range(40)))

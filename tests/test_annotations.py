"""Tables become events: every row comes out once, with a reason if it was touched; nothing depends on file names.

All rows are invented; the headers are those that real tables have.
"""

import csv
import math
import re

import openpyxl
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from melib import DataError
from melib.annotations import COLUMNS, check_frames, read_events
from melib.manifest import read_manifest

HEADER = [
    "Subject",
    "Filename",
    "Onset Frame",
    "Apex Frame",
    "Offset Frame",
    "Action Units",
    "Estimated Emotion",
]
REPAIR = {
    "apex_missing": "midpoint",
    "apex_outside": "midpoint",
    "offset_missing": "mirror",
    "offset_not_after_onset": "mirror",
}


def manifest(folder, repair=(), **table):
    """A manifest of an invented data set; ``table`` changes its table, ``repair`` its policy."""
    record = {
        "name": "invented",
        "title": "t",
        "citation": "c",
        "licence": "l",
        "contact": "c",
        "fps": 200,
        "first_frame": 1,
        "has_context": True,
        "show_subjects": [],
        "frames": {"pattern": "{subject}/{video}"},
        "table": {
            "header": "Subject",
            "columns": {
                "subject": "Subject",
                "video": "Filename",
                "onset": "Onset Frame",
                "apex": "Apex Frame",
                "offset": "Offset Frame",
                "aus": "Action Units",
                "emotion": "Estimated Emotion",
            },
            "missing": ["/", "", "-1"],
            "kind": "micro",
            **table,
        },
        "repair": REPAIR | dict(repair),
        "emotion_classes": {
            "negative": ["anger", "disgust"],
            "positive": ["happiness"],
            "surprise": ["surprise"],
        },
    }
    folder.mkdir(exist_ok=True)
    path = folder / "invented.yml"
    path.write_text(yaml.safe_dump(record, sort_keys=False), encoding="utf-8")
    return read_manifest(path)


def xlsx(path, rows, sheet="Sheet1", notes=0):
    book = openpyxl.Workbook()
    page = book.active
    page.title = sheet
    for number in range(notes):
        page.append([f"note {number}"] if number % 2 == 0 else [])
    for row in rows:
        page.append(row)
    book.save(path)
    return path


def write_csv(path, rows, delimiter=",", encoding="utf-8"):
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def events_of(tmp_path, *rows, policy="repair", **settings):
    table = xlsx(tmp_path / "any name.xlsx", [HEADER, *rows])
    return read_events(manifest(tmp_path, **settings), table, policy=policy)


def row(onset, apex, offset, subject="006", video="006_1_2", emotion="Happiness"):
    return [subject, video, onset, apex, offset, "L12+R4", emotion]


def test_columns_and_types_are_those_of_the_contract(tmp_path):
    events = events_of(tmp_path, row(10, 20, 30))
    assert dict(events.dtypes.astype(str)) == COLUMNS
    assert events.iloc[0].to_dict() == {
        "dataset": "invented",
        "subject": "006",
        "video": "006_1_2",
        "event": "006_1_2",
        "onset": 9,
        "apex": 19,
        "offset": 29,
        "fps": 200,
        "kind": "micro",
        "emotion": "happiness",
        "emotion_class": "positive",
        "aus": "L12+R4",
        "status": "ok",
        "reason": "",
    }


frame_cells = st.one_of(
    st.integers(-2, 400),
    st.floats(0, 400).map(lambda number: round(number, 1)),
    st.integers(1, 400).map(str),
    st.floats(0, 400).map(lambda number: f" {number:.1f} "),
    st.sampled_from(["/", "", None, "-1", "-1.0", "unclear", "nan", "inf"]),
)


def oracle(cell):
    try:
        number = math.floor(float(str(cell).strip()))
    except (ValueError, OverflowError):
        return None
    return None if number == -1 else number


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(frame_cells, frame_cells, frame_cells), min_size=1, max_size=8),
    policy=st.sampled_from(["repair", "drop"]),
)
def test_every_row_comes_out_valid_or_dropped_and_every_change_has_a_reason(tmp_path_factory, rows, policy):
    folder = tmp_path_factory.mktemp("table")
    cells = [row(*frames, video=f"v{number}") for number, frames in enumerate(rows)]
    events = read_events(manifest(folder), xlsx(folder / "t.xlsx", [HEADER, *cells]), policy=policy)
    assert events["video"].tolist() == [f"v{number}" for number in range(len(rows))]
    for frames, event in zip(rows, events.itertuples(), strict=True):
        onset, apex, offset = map(oracle, frames)
        raw_valid = None not in (onset, apex, offset) and onset <= apex <= offset and onset < offset
        assert (event.status == "ok") == raw_valid
        assert (event.reason == "") == raw_valid
        if raw_valid:
            assert (event.onset, event.apex, event.offset) == (onset - 1, apex - 1, offset - 1)
        if policy == "drop":
            assert event.status in ("ok", "dropped")
        if event.status != "dropped":
            assert event.onset <= event.apex <= event.offset
            assert event.onset < event.offset


@pytest.mark.parametrize(
    ("frames", "expected", "reason"),
    [
        ((261, "/", 321), (261, 291, 321), 'has apex "/"; used the midpoint 291'),
        ((10, -1, 20), (10, 15, 20), 'has apex "-1"; used the midpoint 15'),
        (
            (1100, 1143, 1134),
            (1100, 1117, 1134),
            "has apex 1143 outside 1100 to 1134; used the midpoint 1117",
        ),
        ((10, 20, ""), (10, 20, 30), 'has offset ""; used the mirrored offset 30'),
        ((10, 20, 5), (10, 20, 30), "has offset 5 not after onset 10; used the mirrored offset 30"),
    ],
)
def test_repairs_do_what_they_say_in_the_tables_own_numbering(tmp_path, frames, expected, reason):
    event = events_of(tmp_path, row(*frames)).iloc[0]
    assert event["status"] == "repaired"
    assert event["reason"] == f"row 0 (line 2 of any name.xlsx) {reason}"
    assert tuple(event[["onset", "apex", "offset"]] + 1) == expected


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        (("", 20, 30), 'onset ""'),
        ((4896, 1930, 4890), "which can't be mirrored"),
        ((10, "", ""), 'offset "", which can\'t be mirrored'),
        (("unclear", 20, 30), 'onset "unclear"'),
    ],
)
def test_what_cannot_be_repaired_is_dropped_with_its_reason(tmp_path, frames, reason):
    event = events_of(tmp_path, row(*frames)).iloc[0]
    assert event["status"] == "dropped"
    assert reason in event["reason"]


def test_the_manifest_decides_what_happens_to_a_broken_row(tmp_path):
    broken = [
        row(1, "/", 9, video="a"),
        row(1, 20, 9, video="b"),
        row(1, 4, 1, video="c"),
        row(1, 4, "/", video="d"),
    ]
    dropped = events_of(tmp_path, *broken, repair=dict.fromkeys(REPAIR, "drop"))
    assert dropped["status"].tolist() == ["dropped"] * 4
    mirrored = events_of(tmp_path, *broken, repair={"apex_missing": "keep", "apex_outside": "mirror"})
    assert mirrored["status"].tolist() == ["ok", "repaired", "repaired", "repaired"]
    assert pd.isna(mirrored["apex"][0])
    assert (mirrored["offset"] + 1).tolist() == [9, 39, 7, 7]


def test_an_apex_on_a_border_is_valid(tmp_path):
    assert events_of(tmp_path, row(5, 5, 9), row(5, 9, 9, video="w"))["status"].tolist() == ["ok", "ok"]


def test_policy_drop_changes_no_number_and_strict_names_the_row(tmp_path):
    event = events_of(tmp_path, row(261, "/", 321), policy="drop").iloc[0]
    assert (event["status"], event["onset"], event["offset"]) == ("dropped", 260, 320)
    assert "midpoint" not in event["reason"]
    with pytest.raises(DataError, match=r'invented: row 1 \(line 3 of .*\) has apex "/" \(006/w\)') as caught:
        events_of(tmp_path, row(1, 2, 3), row(261, "/", 321, video="w"), policy="strict")
    assert re.search(r"invented\.yml, line \d+", str(caught.value))
    with pytest.raises(DataError, match="use repair, drop or strict"):
        events_of(tmp_path, row(1, 2, 3), policy="lenient")


def test_numbers_come_as_text_floats_and_formulas(tmp_path):
    events = events_of(tmp_path, row("566", 600.4, " 700.0 "))
    assert (events[["onset", "apex", "offset"]] + 1).iloc[0].tolist() == [566, 600, 700]


@pytest.mark.parametrize(
    ("cell", "digits", "expected"), [("006", None, "006"), (6, None, "6"), (6.0, None, "6")]
)
def test_subjects_stay_text(tmp_path, cell, digits, expected):
    assert events_of(tmp_path, row(1, 2, 3, subject=cell))["subject"].tolist() == [expected]


def test_numeric_subjects_are_padded_where_the_manifest_says_so(tmp_path):
    rows = [
        row(1, 2, 3, subject=cell, video=str(number)) for number, cell in enumerate([1, "01", "1", "spNO.1"])
    ]
    assert events_of(tmp_path, *rows, subject_digits=2)["subject"].tolist() == ["01", "01", "01", "spNO.1"]


def test_the_header_is_found_under_notes_and_on_any_sheet(tmp_path):
    described = manifest(tmp_path, sheet="MICRO_ONLY")
    table = xlsx(
        tmp_path / "t.xlsx",
        [HEADER, row(1, 5, 9), [], [None, None], row(2, 5, "/")],
        "MICRO_ONLY",
        13,
    )
    events = read_events(described, table)
    assert events["status"].tolist() == ["ok", "repaired"]
    assert events["reason"][1].startswith("row 3 (line 18 of t.xlsx)")


def test_a_table_is_recognised_by_content_not_by_its_name(tmp_path):
    rows = [HEADER, row("10", "20", "30"), row("11", "/", "31", video="b")]
    described = manifest(tmp_path)
    expected = read_events(described, xlsx(tmp_path / "x.xlsx", rows))[list(COLUMNS)[:-1]]
    xlsx(tmp_path / "y.xlsx", rows).rename(tmp_path / "lies.csv")
    write_csv(tmp_path / "lies.xlsx", rows)
    for path in (
        tmp_path / "lies.csv",
        tmp_path / "lies.xlsx",
        write_csv(tmp_path / "semicolon.txt", rows, ";"),
        write_csv(tmp_path / "tab", rows, "\t", "utf-8-sig"),
    ):
        pd.testing.assert_frame_equal(read_events(described, path)[list(COLUMNS)[:-1]], expected)


def test_headers_differ_in_case_and_white_space_only(tmp_path):
    header = [
        "subject ",
        "FileName",
        "OnsetFrame",
        " apex\nframe",
        "Offset  Frame",
        "Action units",
        "estimated emotion",
    ]
    table = xlsx(tmp_path / "t.xlsx", [header, row(1, 2, 3)])
    assert read_events(manifest(tmp_path), table)["status"].tolist() == ["ok"]


def test_more_tables_follow_each_other(tmp_path):
    one = xlsx(tmp_path / "1.xlsx", [HEADER, row(1, 2, 3, video="a")])
    two = write_csv(tmp_path / "2.csv", [HEADER, row(1, 2, 3, video="b")])
    assert read_events(manifest(tmp_path), one, two)["video"].tolist() == ["a", "b"]


def test_kinds_come_from_a_column_where_the_manifest_says_so(tmp_path):
    kind = {"column": "Type", "values": {"Macro": "macro", "Micro - 1/2": "micro"}}
    rows = [[*row(1, 2, 3, video=str(n)), name] for n, name in enumerate(["Macro", "micro - 1/2 ", "odd"])]
    table = xlsx(tmp_path / "t.xlsx", [[*HEADER, "Type"], *rows])
    events = read_events(manifest(tmp_path, kind=kind), table)
    assert events["kind"].tolist() == ["macro", "micro", ""]
    assert events["status"].tolist() == ["ok", "ok", "dropped"]
    assert 'Type "odd"' in events["reason"][2]


@pytest.mark.parametrize(
    ("emotion", "expected"),
    [
        ("Anger", "negative"),
        (" HAPPINESS", "positive"),
        ("surprise", "surprise"),
        ("Other", "others"),
        ("", ""),
    ],
)
def test_emotions_fall_into_classes(tmp_path, emotion, expected):
    event = events_of(tmp_path, row(1, 2, 3, emotion=emotion)).iloc[0]
    assert event["emotion_class"] == expected
    assert event["emotion"] == emotion.strip().lower()


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["v", "v.1", "w"]), st.integers(1, 3)), min_size=1
    )
)
@settings(max_examples=30)
def test_event_names_are_unique_and_a_lone_event_is_called_like_its_video(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("names")
    cells = [row(onset, 5, 9, subject, video) for subject, video, onset in rows]
    events = read_events(manifest(folder), xlsx(folder / "t.xlsx", [HEADER, *cells]))
    assert not events.duplicated(["subject", "event"]).any()
    used = events[events["status"] != "dropped"]
    assert len(used) == len(set(rows))  # a repeated row is one event
    alone = used[~used.duplicated(["subject", "video"], keep=False)]
    assert (alone["event"] == alone["video"]).all()


def test_a_repeated_row_is_dropped_with_a_reason(tmp_path):
    events = events_of(tmp_path, row(1, 2, 3), row(1, 2, 3))
    assert events["status"].tolist() == ["ok", "dropped"]
    assert "repeats" in events["reason"][1]
    with pytest.raises(DataError, match="repeats"):
        events_of(tmp_path, row(1, 2, 3), row(1, 2, 3), policy="strict")


def test_a_row_without_subject_or_video_is_dropped_with_a_reason(tmp_path):
    events = events_of(tmp_path, row(1, 2, 3, subject=""), row(1, 2, 3, video=None), row(1, 2, 3))
    assert events["status"].tolist() == ["dropped", "dropped", "ok"]
    assert "Subject is empty" in events["reason"][0]
    assert "Filename is empty" in events["reason"][1]


def wrong_tables(folder):
    other = [
        "Subject",
        "Filename",
        "Onset",
        "Apex Frame",
        "Offset Frame",
        "Action Units",
        "Estimated Emotion",
    ]
    broken = folder / "broken.xlsx"
    broken.write_bytes(b"PK\x03\x04 not really")
    latin = folder / "latin.csv"
    latin.write_bytes("Subject;süß".encode("latin-1"))
    empty = folder / "nothing.csv"
    empty.write_text("")
    twice = xlsx(folder / "twice.xlsx", [HEADER, row(1, 2, 3)])
    book = openpyxl.load_workbook(twice)
    book.copy_worksheet(book.active)
    book.save(twice)
    return [
        (xlsx(folder / "other.xlsx", [["Name", "Age"], ["x", 3]]), 'no row holds a cell "Subject"'),
        (empty, 'no row holds a cell "Subject"'),
        (
            xlsx(folder / "renamed.xlsx", [other, row(1, 2, 3)]),
            'no column "Onset Frame" .*table.columns.onset',
        ),
        (xlsx(folder / "empty.xlsx", [HEADER]), "no row under its header"),
        (twice, "several sheets"),
        (broken, "can't be read as a spreadsheet"),
        (latin, "neither a spreadsheet nor UTF-8"),
        (folder / "missing.xlsx", "is missing"),
        (folder, "is missing or no file"),
    ]


@pytest.mark.parametrize("case", range(9))
def test_a_wrong_table_ends_in_one_sentence_naming_it(tmp_path, case):
    described = manifest(tmp_path)
    path, message = wrong_tables(tmp_path)[case]
    with pytest.raises(DataError, match=message) as caught:
        read_events(described, path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_sheets_that_fit_are_told_apart_by_the_manifest(tmp_path):
    path = wrong_tables(tmp_path)[4][0]
    assert len(read_events(manifest(tmp_path, sheet="Sheet1"), path)) == 1


def clips(*spans):
    return pd.DataFrame(spans, columns=["subject", "video", "n_first", "n_last"])


def test_events_without_frames_are_dropped_with_a_reason_and_counted(tmp_path):
    events = events_of(tmp_path, *(row(10, 20, 30, video=video) for video in "abcd"))
    spans = clips(("006", "a", 9, 29), ("006", "b", 0, 28), ("006", "c", 10, 29))
    with pytest.warns(
        UserWarning, match=r"3 of 4 events have no frames .*006/b: its frames 9 to 29 aren't within 0"
    ):
        checked = check_frames(events, spans)
    assert checked["status"].tolist() == ["ok", "dropped", "dropped", "dropped"]
    assert "no folder of frames" in checked["reason"][3]
    assert events["status"].tolist() == ["ok"] * 4
    with pytest.raises(DataError, match="None of the 4 annotated events"):
        check_frames(events, spans[:0])


def test_no_warning_where_all_frames_exist(tmp_path, recwarn):
    events = events_of(tmp_path, row(10, 20, 30))
    pd.testing.assert_frame_equal(check_frames(events, clips(("006", "006_1_2", 0, 99))), events)
    assert not recwarn.list

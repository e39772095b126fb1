"""Tables become events: every row comes out once, with a reason if it was touched; nothing depends on file names.

All rows are invented; the headers are those that real tables have.
"""

import csv
import math
import re

import licensed
import openpyxl
import pandas as pd
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from melib import DataError
from melib.annotations import COLUMNS, CORRECTION, audit, check_frames, read_events
from melib.data.manifest import parts, read_manifest

SHIPPED = list(licensed.MINIATURES)
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
    table = xlsx(folder / "t.xlsx", [HEADER, *cells])
    for column in zip(*rows, strict=True):
        fractions = [
            bool(float(cell) % 1) for cell in column if oracle(cell) is not None or cell in (-1, "-1", "-1.0")
        ]
        assume(2 * sum(fractions) <= len(fractions))  # else they may be taken for seconds
    events = read_events(manifest(folder), table, policy=policy)
    assert events["video"].tolist() == [f"v{number}" for number in range(len(rows))]
    for frames, event in zip(rows, events.itertuples(), strict=True):
        onset, apex, offset = map(oracle, frames)
        raw_valid = None not in (onset, apex, offset) and 1 <= onset <= apex <= offset and onset < offset
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
    ("frames", "expected", "fault"),
    [
        (("", 20, 30), None, "onset_missing"),
        (("unclear", 20, 30), None, "onset_missing"),
        ((10, "", ""), None, "offset_missing"),
        ((4896, 1930, 4890), None, "offset_not_after_onset"),
        ((261, "/", 321), (261, 291, 321), "apex_missing"),
        ((10, -1, 20), (10, 15, 20), "apex_missing"),
        ((1100, 1143, 1134), (1100, 1117, 1134), "apex_outside"),
        ((10, 20, ""), (10, 20, 30), "offset_missing"),
        ((10, 20, 5), (10, 20, 30), "offset_not_after_onset"),
    ],
)
def test_a_repair_is_the_midpoint_or_the_mirrored_offset_or_the_row_is_dropped(
    tmp_path, frames, expected, fault
):
    result = audit(manifest(tmp_path), xlsx(tmp_path / "t.xlsx", [HEADER, row(*frames)]))
    [event] = result.events.to_dict("records")
    assert event["status"] == ("repaired" if expected else "dropped")
    assert result.faults["fault"].tolist() == [fault]
    assert re.match(r"row 0 \(line 2 of t.xlsx\) has ", event["reason"])
    assert not expected or (event["onset"] + 1, event["apex"] + 1, event["offset"] + 1) == expected


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


def test_policy_drop_changes_no_number_and_strict_names_the_row(tmp_path):
    event = events_of(tmp_path, row(261, "/", 321), policy="drop").iloc[0]
    assert (event["status"], event["onset"], event["offset"]) == ("dropped", 260, 320)
    with pytest.raises(DataError, match=r'invented: row 1 \(line 3 of .*\) has apex "/" \(006/w\)') as caught:
        events_of(tmp_path, row(1, 2, 3), row(261, "/", 321, video="w"), policy="strict")
    assert re.search(r"invented\.yml, line \d+", str(caught.value))
    with pytest.raises(DataError, match="repeats an earlier row"):
        events_of(tmp_path, row(1, 2, 3), row(1, 2, 3), policy="strict")
    with pytest.raises(DataError, match="use repair, drop or strict"):
        events_of(tmp_path, row(1, 2, 3), policy="lenient")


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


def test_a_table_is_recognised_by_content_whatever_its_name_and_the_case_and_space_of_its_header(tmp_path):
    header = ["subject ", "FileName", "OnsetFrame", " apex\nframe", "Offset  Frame", *HEADER[5:]]
    rows = [header, row("10", "20", "30"), row("11", "/", "31", video="b")]
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


def test_kinds_come_from_a_column_where_the_manifest_says_so(tmp_path):
    kind = {"column": "Type", "values": {"Macro": "macro", "Micro - 1/2": "micro"}}
    rows = [[*row(1, 2, 3, video=str(n)), name] for n, name in enumerate(["Macro", "micro - 1/2 ", "odd"])]
    table = xlsx(tmp_path / "t.xlsx", [[*HEADER, "Type"], *rows])
    events = read_events(manifest(tmp_path, kind=kind), table)
    assert events["kind"].tolist() == ["macro", "micro", ""]
    assert events["status"].tolist() == ["ok", "ok", "dropped"]


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


def test_a_row_without_subject_or_video_is_dropped_with_a_reason(tmp_path):
    events = events_of(tmp_path, row(1, 2, 3, subject=""), row(1, 2, 3, video=None), row(1, 2, 3))
    assert events["status"].tolist() == ["dropped", "dropped", "ok"]


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


# What real tables do


def raw_manifest(folder, name="invented", **changes):
    """The yml of an invented data set, changed at its top level."""
    path = manifest(folder).source
    record = yaml.safe_load(path.read_text(encoding="utf-8")) | {"name": name} | changes
    path = folder / f"{name}.yml"
    path.write_text(yaml.safe_dump(record, sort_keys=False), encoding="utf-8")
    return path


def book(path, **sheets):
    """A spreadsheet of several sheets."""
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for name, rows in sheets.items():
        page = workbook.create_sheet(name)
        for cells in rows:
            page.append(cells)
    workbook.save(path)
    return path


COLUMNS_OF = {"subject": "Subject", "video": "Filename", "onset": "Onset", "offset": "Offset"}
EXPRESSIONS = {
    "sheet": "AU+Emotion",
    "header": "Subject",
    "columns": COLUMNS_OF | {"apex": "Apex"},
    "missing": ["0", ""],
    "kind": {"column": "Type", "values": {"Micro": "micro", "Macro": "macro"}},
}
BLINKS = {"sheet": "blink", "header": "Subject", "columns": COLUMNS_OF, "missing": [""], "kind": "blink"}


def test_several_sheets_make_one_table(tmp_path):
    path = raw_manifest(tmp_path, table={"parts": [EXPRESSIONS, BLINKS]})
    expressions = [
        ["Subject", "Filename", "Onset", "Apex", "Offset", "Type"],
        ["a", "v", "1", "5", "9", "Micro"],
    ]
    expressions.append(["a", "v", "11", "15", "19", "Macro"])
    blinks = [["Subject", "Filename", "Onset", "Offset"], ["a", "v", "21", "29"]]
    table = book(tmp_path / "t.xlsx", **{"AU+Emotion": expressions, "blink": blinks})
    events = read_events(path, table)
    assert events["kind"].tolist() == ["micro", "macro", "blink"]
    assert events["status"].eq("ok").all(), "a blink has no apex, and that is no fault"
    assert events["apex"].isna().tolist() == [False, False, True]
    # one of the sheets in a file of its own
    alone = book(tmp_path / "b.xlsx", blink=blinks)
    first = book(tmp_path / "e.xlsx", **{"AU+Emotion": expressions})
    pd.testing.assert_frame_equal(read_events(path, first, alone), events.assign(reason=""))
    with pytest.warns(UserWarning, match='no file has the sheet "blink"'):
        assert len(read_events(path, first)) == 2
    with pytest.raises(DataError, match='has no sheet "AU'):
        read_events(path, book(tmp_path / "x.xlsx", other=blinks))


def test_a_table_without_a_header_is_read_by_places_and_its_numbers_become_folders(tmp_path):
    part = {
        "sheet": 0,
        "columns": {"subject": 0, "video": 1, "onset": 2, "apex": 3, "offset": 4, "aus": 5},
        "missing": ["0"],
        "kind": "macro",
        "lookup": {
            "subject": {"sheet": 1, "key": 2, "value": 1},
            "video": {"sheet": 2, "key": 1, "value": 0},
        },
    }
    rows = [[1, "anger1_1", 10, 20, 30, "4，7"], [1, "anger1_2", 40, 50, 0, ""], [2, "joy", 5, 6, 9, ""]]
    tables = {"a": rows, "b": [[15, "s15", 1]], "c": [["0101", "anger1"], ["0505", "sad"]]}
    events = read_events(raw_manifest(tmp_path, table=part), book(tmp_path / "t.xlsx", **tables))
    assert events["subject"].tolist() == ["s15", "s15", "2"]
    assert events["video"].tolist() == ["0101", "0101", "joy"]
    assert events["event"].tolist() == ["anger1_1", "anger1_2", "joy"]
    assert events["aus"].iloc[0] == "4,7", "full-width signs are usual ones"
    assert events["offset"].iloc[1] == 59
    assert events["status"].tolist() == ["ok", "repaired", "ok"]
    with pytest.warns(UserWarning, match="folders of a subject"):
        events = read_events(raw_manifest(tmp_path, table=part), book(tmp_path / "u.xlsx", a=rows))
    assert events["subject"].tolist() == ["1", "1", "2"]


def test_further_events_of_a_row_are_events(tmp_path):
    columns = {"subject": "Subject", "video": "Filename", "onset": "OnsetF", "offset": "OffsetF"}
    part = {"header": "Subject", "columns": columns, "missing": [""], "kind": "micro"}
    part["more_events"] = [{"onset": "Onset2F", "offset": "Offset2F"}]
    header = ["Subject", "Filename", "OnsetF", "OffsetF", "Onset2F", "Offset2F"]
    table = xlsx(tmp_path / "t.xlsx", [header, ["s1", "a", 3, 9, 13, 19], ["s1", "b", 3, 9, None, None]])
    events = read_events(raw_manifest(tmp_path, table=part), table)
    assert events[["video", "onset", "offset"]].to_numpy().tolist() == [
        ["a", 2, 8],
        ["a", 12, 18],
        ["b", 2, 8],
    ]
    assert events["event"].tolist() == ["a.1", "a.2", "b"]


@pytest.mark.parametrize(("onset", "expected"), [(0, 0), (1, 0), (2, 1)])
def test_an_onset_before_the_video_is_its_first_frame_where_the_manifest_says_so(tmp_path, onset, expected):
    [event] = events_of(tmp_path, row(onset, 5, 9), repair={"onset_before_first": "first"}).to_dict("records")
    assert (event["onset"], event["status"]) == (expected, "repaired" if onset == 0 else "ok")
    for rule in ({"onset_before_first": "drop"}, {}):
        [event] = events_of(tmp_path, row(onset, 5, 9), repair=rule).to_dict("records")
        assert event["status"] == ("dropped" if onset == 0 else "ok")
    [event] = events_of(tmp_path, row(onset, 5, 9), policy="drop").to_dict("records")
    assert event["status"] == ("dropped" if onset == 0 else "ok")


def test_an_implausibly_long_event_is_flagged_and_not_used(tmp_path):
    path = raw_manifest(tmp_path, longest_s={"micro": 2})
    events = read_events(
        path, xlsx(tmp_path / "t.xlsx", [HEADER, row(1, 200, 400), row(1, 200, 401, video="b")])
    )
    assert events["status"].tolist() == ["ok", "dropped"], "400 frames at 200 a second are 2 s"


def test_subjects_that_differ_by_case_are_one(tmp_path):
    rows = [
        row(1, 5, 9, subject="spNo.1"),
        row(11, 15, 19, subject="spNO.1"),
        row(21, 25, 29, subject="spNO.1"),
    ]
    with pytest.warns(UserWarning, match=r"spNo\.1 is read as spNO\.1"):
        events = events_of(tmp_path, *rows)
    assert set(events["subject"]) == {"spNO.1"}


def joining(folder):
    """A data set of long videos whose emotions stand in another's table."""
    manifest(folder)
    part = EXPRESSIONS | {"video_pattern": r"^(\d+_\d+)_\d+$"}
    del part["sheet"]
    join = {"dataset": str(folder / "invented.yml"), "take": ["emotion"], "kind": "micro"}
    path = raw_manifest(folder, "long", table=part, join=join)
    header = ["Subject", "Filename", "Onset", "Apex", "Offset", "Type"]
    rows = [["006", "006_1_2", 10, 20, 30, "Micro"], ["006", "006_1_3", 50, 60, 70, "Macro"]]
    return path, xlsx(folder / "long.xlsx", [header, *rows])


def test_emotions_come_from_the_table_that_the_manifest_joins(tmp_path, recwarn):
    path, table = joining(tmp_path)
    other = xlsx(
        tmp_path / "other.xlsx", [HEADER, row(1, 2, 3), row(1, 2, 3, video="006_1_3", emotion="Anger")]
    )
    for files in ((table, other), (other, table)):
        events = read_events(path, *files)
        assert events["emotion"].tolist() == ["happiness", ""], "only micro-expressions are joined"
        assert events["emotion_class"].tolist() == ["positive", ""]
        assert events["video"].tolist() == ["006_1", "006_1"]
        assert events["event"].tolist() == ["006_1_2", "006_1_3"]
    assert not recwarn
    with pytest.raises(DataError, match="not the annotation table of long itself"):
        read_events(path, other)


def test_events_may_be_joined_by_their_onsets(tmp_path):
    path, table = joining(tmp_path)
    join = {"dataset": str(tmp_path / "invented.yml"), "take": ["emotion"], "by": "onset"}
    part = yaml.safe_load(path.read_text(encoding="utf-8"))["table"]
    del part["video_pattern"]
    path = raw_manifest(tmp_path, "long", table=part, join=join)
    other = xlsx(tmp_path / "other.xlsx", [HEADER, row(10, 20, 30), row(51, 60, 70, video="006_1_3")])
    assert read_events(path, table, other)["emotion"].tolist() == ["happiness", ""]


def test_an_absent_table_to_join_leaves_emotions_missing_and_says_so_once(tmp_path):
    path, table = joining(tmp_path)
    with pytest.warns(UserWarning, match="no table of invented") as caught:
        events = read_events(path, table)
    assert len(caught) == 1
    assert events["emotion"].eq("").all()


def correct(folder, *rows, columns=CORRECTION):
    (folder / "corrections").mkdir(exist_ok=True)
    write_csv(folder / "corrections" / "invented.csv", [columns, *rows])


def test_a_correction_counts_only_where_the_table_still_holds_the_old_cell(tmp_path):
    table = xlsx(tmp_path / "t.xlsx", [HEADER, row(10, 50, 30), row(10, 20, 30, video="b")])
    correct(tmp_path, ["006", "006_1_2", "10", "apex", "50", "25", "slip", "seen"])
    result = audit(manifest(tmp_path), table)
    assert result.events["apex"].tolist() == [24, 19]
    assert result.events["status"].tolist() == ["repaired", "ok"]
    assert "slip, seen" in result.events["reason"].iloc[0]
    assert result.faults["fault"].tolist() == ["corrected"]
    assert not result.notes
    read_events(manifest(tmp_path), table, policy="strict")
    correct(tmp_path, ["006", "006_1_2", "10", "apex", "51", "25", "slip", "seen"])
    result = audit(manifest(tmp_path), table)
    assert result.events["apex"].tolist() == [19, 19], "the midpoint, as without a correction"
    assert "1 of 1 corrections fit no row" in result.notes[0]


def test_a_broken_file_of_corrections_is_named(tmp_path):
    table = xlsx(tmp_path / "t.xlsx", [HEADER, row(10, 20, 30)])
    correct(tmp_path, ["006", "v", "10", "duration", "1", "2", "r", "s"])
    with pytest.raises(DataError, match=r"invented\.csv, line 2: field is 'duration'"):
        read_events(manifest(tmp_path), table)
    correct(tmp_path, columns=CORRECTION[:-1])
    with pytest.raises(DataError, match="has no column source"):
        read_events(manifest(tmp_path), table)
    (tmp_path / "corrections" / "invented.csv").write_bytes("subject,zögert\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"invented\.csv isn't UTF-8 text \(byte 9\); save it as UTF-8"):
        read_events(manifest(tmp_path), table)


def test_a_correction_finds_its_row_with_and_without_the_zeros_before_a_subject(tmp_path):
    table = xlsx(tmp_path / "t.xlsx", [HEADER, row(10, 50, 30)])
    for subject in ("6", "006"):
        correct(tmp_path, [subject, "006_1_2", "10", "apex", "50", "25", "slip", "seen"])
        assert read_events(manifest(tmp_path, subject_digits=3), table)["apex"].tolist() == [24]


def test_faults_come_by_row_and_kind(tmp_path):
    rows = [
        row(10, "/", 30),
        row(10, 40, 30, video="b"),
        row(10, 20, 30, video="c"),
        row("", 1, 2, video="d"),
    ]
    rows.append(row(10, 20, 30, video="c"))
    result = audit(manifest(tmp_path), xlsx(tmp_path / "t.xlsx", [HEADER, *rows]))
    expected = [(0, "apex_missing"), (1, "apex_outside"), (3, "onset_missing"), (4, "repeated")]
    assert list(zip(result.faults["row"], result.faults["fault"], strict=True)) == expected
    assert result.faults["name"].tolist() == result.events["event"].iloc[result.faults["row"]].tolist()


def test_versions_are_told_apart_by_their_columns_and_rows(tmp_path):
    versions = [{"name": "new", "has": ["Objective Classes"]}, {"name": "two", "rows": 2}]
    versions.append({"name": "old", "lacks": ["Objective Classes"], "rows": 1})
    path = raw_manifest(tmp_path, versions=versions)
    new = xlsx(tmp_path / "n.xlsx", [[*HEADER, "Objective classes"], [*row(1, 2, 3), 1]])
    old = xlsx(tmp_path / "o.xlsx", [HEADER, row(1, 2, 3)])
    two = xlsx(tmp_path / "2.xlsx", [HEADER, row(1, 2, 3), row(4, 5, 6)])
    many = xlsx(tmp_path / "m.xlsx", [HEADER, row(1, 2, 3), row(4, 5, 6), row(7, 8, 9)])
    assert [audit(path, table).version for table in (new, old, two, many)] == ["new", "old", "two", ""]
    path = raw_manifest(tmp_path, versions=versions[:1])
    with pytest.raises(DataError, match=r"o\.xlsx is none of the versions .* \(new\)"):
        read_events(path, old)


def test_a_table_of_something_else_is_passed_over_where_another_fits(tmp_path):
    other = xlsx(tmp_path / "notes.xlsx", [["a note"]])
    table = xlsx(tmp_path / "t.xlsx", [HEADER, row(1, 2, 3)])
    with pytest.warns(UserWarning, match="notes.*passed over"):
        assert len(read_events(manifest(tmp_path), other, table)) == 1


def test_a_column_may_have_several_titles_or_be_optional(tmp_path):
    columns = COLUMNS_OF | {"onset": ["Onset", "Onset Frame"], "emotion": "Feeling"}
    part = {
        "header": "Subject",
        "columns": columns,
        "missing": [""],
        "kind": "micro",
        "optional": ["emotion"],
    }
    path = raw_manifest(tmp_path, table=part)
    for title in ("onset", "Onset frame"):
        table = xlsx(tmp_path / "t.xlsx", [["Subject", "Filename", title, "Offset"], ["a", "b", 1, 5]])
        assert read_events(path, table)["onset"].tolist() == [0]
    with pytest.raises(DataError, match='no column "Onset" or "Onset Frame"'):
        read_events(
            path, xlsx(tmp_path / "t.xlsx", [["Subject", "Filename", "Start", "Offset"], ["a", "b", 1, 5]])
        )


# Seconds, frame rates, emotions, events on the same frames


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("policy", ["repair", "drop"])
def test_no_event_of_any_data_set_begins_before_its_first_frame(tmp_path, name, policy):
    mini = licensed.MINIATURES[name]
    described = read_manifest(name)
    part = parts(described)[0]
    sheets = {title: [list(cells) for cells in rows] for title, rows in mini.sheets.items()}
    rows = next(iter(sheets.values()))
    head = next((at for at, cells in enumerate(rows) if part.get("header") in cells), -1)
    names = part["columns"]["onset"]
    names = [names] if isinstance(names, str) else names
    at = names if isinstance(names, int) else next(rows[head].index(n) for n in names if n in rows[head])
    for cells in rows[head + 1 :]:
        cells[at] = -5
    events = audit(described, licensed.save_xlsx(tmp_path / "t.xlsx", sheets), policy=policy).events
    used = events[events["status"] != "dropped"]
    assert (used["onset"] >= 0).all()


def test_seconds_are_converted_where_the_manifest_says_so_and_refused_where_it_does_not(tmp_path):
    rows = [row(4.10, 4.25, 4.40), row(12.4, 12.5, 12.75, video="b"), row(20, 20.5, 21, video="c")]
    table = xlsx(tmp_path / "t.xlsx", [HEADER, *rows])
    events = read_events(raw_manifest(tmp_path, unit="seconds"), table)
    assert events[["onset", "apex", "offset"]].to_numpy().tolist() == [
        [820, 850, 880],
        [2480, 2500, 2550],
        [4000, 4100, 4200],
    ]
    with pytest.raises(DataError, match="unit: seconds"):
        read_events(raw_manifest(tmp_path), table)
    frames = xlsx(tmp_path / "f.xlsx", [HEADER, row(820, 850, 880)])
    with pytest.raises(DataError, match="in frames"):
        read_events(raw_manifest(tmp_path, unit="seconds"), frames)
    long = xlsx(tmp_path / "l.xlsx", [HEADER, row(566.4, 640.2, 901.6)])
    assert read_events(raw_manifest(tmp_path), long)["onset"].tolist() == [565], "frames may be fractions"


def test_a_frame_rate_may_be_a_column(tmp_path):
    path = manifest(tmp_path).source
    record = yaml.safe_load(path.read_text(encoding="utf-8"))
    record["table"]["columns"]["fps"] = "Frame rate"
    path.write_text(yaml.safe_dump(record | {"longest_s": {"micro": 1}}), encoding="utf-8")
    rows = [[*row(1, 200, 400, video=str(n)), rate] for n, rate in enumerate([200, "300", 500.0, "", "fast"])]
    table = xlsx(tmp_path / "t.xlsx", [[*HEADER, "Frame rate"], *rows])
    events = read_events(path, table)
    assert events["fps"].tolist() == [200, 300, 500, 200, 200]
    assert events["status"].tolist() == ["dropped", "dropped", "ok", "dropped", "dropped"], (
        "400 frames at 500/s"
    )
    assert audit(path, table).faults["fault"].tolist().count("fps_missing") == 2


@given(
    emotion=st.sampled_from(["happiness", "surprise", "anger"]),
    place=st.integers(0, 9),
    sign=st.sampled_from(["\u200b", "\ufeff", "\u00ad", ""]),
    case=st.sampled_from([str.upper, str.title, str.lower]),
)
@settings(max_examples=20)
def test_an_emotion_is_known_in_any_case_and_with_signs_that_nobody_sees(
    tmp_path_factory, emotion, place, sign, case
):
    written = case(emotion[:place] + sign + emotion[place:])
    [event] = events_of(tmp_path_factory.mktemp("e"), row(1, 2, 3, emotion=written)).to_dict("records")
    assert event["emotion"] == emotion and event["emotion_class"] != "others"


def test_emotions_that_no_class_lists_are_counted_and_what_may_be_meant_is_said(tmp_path):
    names = ["suprise", "suprise", "tense", "Others", "anger"]
    rows = [row(n * 10 + 1, n * 10 + 2, n * 10 + 3, emotion=name) for n, name in enumerate(names)]
    result = audit(manifest(tmp_path), xlsx(tmp_path / "t.xlsx", [HEADER, *rows]))
    [note] = result.notes
    assert '(1 "tense")' in note and '(2 "suprise", surprise?)' in result.misspelt
    with pytest.warns(UserWarning, match="suprise"), pytest.warns(UserWarning, match="tense"):
        events_of(tmp_path, *rows)
    result = audit(manifest(tmp_path), xlsx(tmp_path / "t.xlsx", [HEADER, *rows[3:]]))
    assert not result.notes and not result.misspelt


def test_two_emotions_of_the_same_frames_and_events_that_overlap_are_called_so(tmp_path):
    rows = [row(1, 5, 9), row(1, 5, 9, emotion="Anger"), row(1, 5, 9), row(9, 12, 20), row(21, 22, 23)]
    result = audit(manifest(tmp_path), xlsx(tmp_path / "t.xlsx", [HEADER, *rows]))
    assert result.faults[["row", "fault"]].to_numpy().tolist() == [[1, "two_emotions"], [2, "repeated"]]
    assert result.events["status"].tolist() == ["ok", "dropped", "dropped", "ok", "ok"]
    [note] = result.notes
    assert "1 of 3 events overlap" in note


def test_a_table_whose_videos_are_called_otherwise_is_another_data_sets(tmp_path):
    with pytest.raises(DataError, match="isn't the annotation table of mmew"):
        read_events("mmew", *licensed.write_table("casme2", tmp_path))


def test_a_version_has_counts_of_its_own(tmp_path):
    versions = [{"name": "v2", "expected": {"rows": 1}}, {"name": "v1", "expected": {"rows": 2}}]
    path = raw_manifest(tmp_path, versions=versions)
    rows = [row(1, 2, 3), row(4, 5, 6), row(7, 8, 9)]
    found = [audit(path, xlsx(tmp_path / "t.xlsx", [HEADER, *rows[:n]])) for n in (1, 2, 3)]
    assert [(each.version, each.expected) for each in found] == [
        ("v2", {"rows": 1}),
        ("v1", {"rows": 2}),
        ("v2", {"rows": 1}),
    ]


@pytest.mark.parametrize("frame", ["1e30", "-1e30", "1e99", 1e30, "1_0", "٣", "infinity", "0x10"])
def test_what_is_no_frame_number_costs_its_row_alone(tmp_path, frame):
    events = events_of(tmp_path, row(frame, 20, 30), row(10, 20, 30, video="b"))
    assert events["status"].tolist() == ["dropped", "ok"]

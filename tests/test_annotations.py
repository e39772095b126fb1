"""Tables become events: every row comes out once, with a reason if it was touched; nothing depends on file names.

All rows are invented; the headers are those that real tables have.
"""

import csv
import math
import re

import licensed
import pandas as pd
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from melib import DataError
from melib.annotations import COLUMNS, CORRECTION, audit, check_frames, read_events
from melib.data.manifest import parts, read_manifest

ROLES = {
    "subject": "Subject",
    "video": "Filename",
    "onset": "Onset Frame",
    "apex": "Apex Frame",
    "offset": "Offset Frame",
    "aus": "Action Units",
    "emotion": "Estimated Emotion",
}
HEADER = list(ROLES.values())
REPAIR = {
    "apex_missing": "midpoint",
    "apex_outside": "midpoint",
    "offset_missing": "mirror",
    "offset_not_after_onset": "mirror",
}
RECORD = {
    **dict.fromkeys(("title", "citation", "licence", "contact"), "t"),
    "fps": 200,
    "first_frame": 1,
    "has_context": True,
    "show_subjects": [],
    "frames": {"pattern": "{subject}/{video}"},
    "repair": REPAIR,
    "emotion_classes": {"negative": ["anger"], "positive": ["happiness"], "surprise": ["surprise"]},
}
TABLE = {"header": "Subject", "columns": ROLES, "missing": ["/", "", "-1"], "kind": "micro"}


def manifest(folder, name="invented", repair=(), table=(), **changes):
    """A manifest of an invented data set; ``table`` changes its table, ``repair`` its policy."""
    table = dict(table) if "parts" in table else TABLE | dict(table)
    record = RECORD | {"name": name, "table": table, "repair": REPAIR | dict(repair)} | changes
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.yml"
    path.write_text(yaml.safe_dump(record, sort_keys=False), encoding="utf-8")
    return read_manifest(path)


def xlsx(path, rows, sheet="Sheet1"):
    return licensed.save_xlsx(path, {sheet: rows})


def write_csv(path, rows, delimiter=",", encoding="utf-8"):
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def audited(tmp_path, *rows, header=HEADER, policy="repair", **changes):
    return audit(manifest(tmp_path, **changes), xlsx(tmp_path / "t.xlsx", [header, *rows]), policy=policy)


def row(onset, apex, offset, subject="006", video="006_1_2", emotion="Happiness"):
    return [subject, video, onset, apex, offset, "L12+R4", emotion]


def films(*rows):
    """Rows, each of a video of its own."""
    return [row(*frames, video=f"v{number}") for number, frames in enumerate(rows)]


# One row


def test_columns_and_types_are_those_of_the_contract(tmp_path):
    events = audited(tmp_path, row(10, 20, 30)).events
    assert dict(events.dtypes.astype(str)) == COLUMNS
    expected = [
        "invented",
        "006",
        "006_1_2",
        "006_1_2",
        9,
        19,
        29,
        200,
        "micro",
        "happiness",
        "positive",
        "L12+R4",
    ]
    assert events.iloc[0].tolist() == [*expected, "ok", ""]


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
    for column in zip(*rows, strict=True):
        numbers = [c for c in column if oracle(c) is not None or c in (-1, "-1", "-1.0")]
        assume(
            2 * sum(bool(float(c) % 1) for c in numbers) <= len(numbers)
        )  # else they may be taken for seconds
    events = audited(tmp_path_factory.mktemp("table"), *films(*rows), policy=policy).events
    assert events["video"].tolist() == [f"v{number}" for number in range(len(rows))]
    for frames, event in zip(rows, events.itertuples(), strict=True):
        onset, apex, offset = map(oracle, frames)
        valid = None not in (onset, apex, offset) and 1 <= onset <= apex <= offset and onset < offset
        assert (event.status == "ok") == (event.reason == "") == valid
        if valid:
            assert (event.onset, event.apex, event.offset) == (onset - 1, apex - 1, offset - 1)
        if policy == "drop":
            assert event.status in ("ok", "dropped")
        if event.status != "dropped":
            assert event.onset <= event.apex <= event.offset and event.onset < event.offset


@pytest.mark.parametrize(
    ("frames", "expected", "fault", "repair"),
    [
        (("", 20, 30), None, "onset_missing", {}),
        (("unclear", 20, 30), None, "onset_missing", {}),
        ((10, "", ""), None, "offset_missing", {}),
        ((4896, 1930, 4890), None, "offset_not_after_onset", {}),
        ((261, "/", 321), (261, 291, 321), "apex_missing", {}),
        ((10, -1, 20), (10, 15, 20), "apex_missing", {}),
        ((1100, 1143, 1134), (1100, 1117, 1134), "apex_outside", {}),
        ((1, 20, 9), (1, 20, 39), "apex_outside", {"apex_outside": "mirror"}),
        ((10, 20, ""), (10, 20, 30), "offset_missing", {}),
        ((10, 20, 5), (10, 20, 30), "offset_not_after_onset", {}),
        ((0, 5, 9), None, "onset_before_first", {}),
        ((0, 5, 9), (1, 5, 9), "onset_before_first", {"onset_before_first": "first"}),
        *((frames, None, fault, {fault: "drop"}) for frames, fault in (
            ((1, "/", 9), "apex_missing"),
            ((1, 20, 9), "apex_outside"),
            ((1, 4, 1), "offset_not_after_onset"),
            ((1, 4, "/"), "offset_missing"),
        )),
    ],
)  # fmt: skip
def test_a_repair_is_what_the_manifest_says_and_drop_and_strict_change_no_number(
    tmp_path, frames, expected, fault, repair
):
    result = audited(tmp_path, row(*frames), repair=repair)
    [event] = result.events.to_dict("records")
    assert event["status"] == ("repaired" if expected else "dropped")
    assert result.faults["fault"].tolist() == [fault]
    assert re.match(r"row 0 \(line 2 of t.xlsx\) has ", event["reason"])
    assert not expected or (event["onset"] + 1, event["apex"] + 1, event["offset"] + 1) == expected
    [dropped] = audited(tmp_path, row(*frames), repair=repair, policy="drop").events.to_dict("records")
    assert dropped["status"] == "dropped"
    for name, cell in zip(("onset", "apex", "offset"), frames, strict=True):
        assert pd.isna(dropped[name]) if oracle(cell) is None else dropped[name] == oracle(cell) - 1
    with pytest.raises(DataError, match=r"row 0 \(line 2 of .*invented\.yml, line \d+"):
        audited(tmp_path, row(*frames), repair=repair, policy="strict")


@pytest.mark.parametrize("frame", ["1e30", "-1e30", "1e99", 1e30, "1_0", "٣", "infinity", "0x10"])
def test_what_is_no_frame_number_costs_its_row_alone(tmp_path, frame):
    assert audited(tmp_path, *films((frame, 20, 30), (10, 20, 30))).events["status"].tolist() == [
        "dropped",
        "ok",
    ]


def test_a_row_without_subject_or_video_is_dropped_with_a_reason(tmp_path):
    result = audited(tmp_path, row(1, 2, 3, subject=""), row(1, 2, 3, video=None), row(1, 2, 3))
    assert result.events["status"].tolist() == ["dropped", "dropped", "ok"]
    assert result.faults["fault"].tolist() == ["no_subject", "no_video"]


def test_kinds_come_from_a_column_where_the_manifest_says_so(tmp_path):
    kind = {"column": "Type", "values": {"Macro": "macro", "Micro - 1/2": "micro"}}
    rows = [[*row(1, 2, 3, video=name), name] for name in ("Macro", "micro - 1/2 ", "odd")]
    events = audited(tmp_path, *rows, header=[*HEADER, "Type"], table={"kind": kind}).events
    assert events["kind"].tolist() == ["macro", "micro", ""]
    assert events["status"].tolist() == ["ok", "ok", "dropped"]


@given(
    st.sampled_from(
        [("Anger", "negative"), ("happiness", "positive"), ("surprise", "surprise"), ("other", "others")]
    ),
    st.integers(0, 9),
    st.sampled_from(["\u200b", "\ufeff", "\u00ad", ""]),
    st.sampled_from([str.upper, str.title, str.lower, " {} ".format]),
)
@settings(max_examples=20)
def test_an_emotion_has_its_class_in_any_case_and_with_signs_that_nobody_sees(
    tmp_path_factory, emotion, place, sign, case
):
    name, expected = emotion
    written = case(name[:place] + sign + name[place:])
    [event] = audited(tmp_path_factory.mktemp("e"), row(1, 2, 3, emotion=written)).events.to_dict("records")
    assert (event["emotion"], event["emotion_class"]) == (name.lower(), expected)


def test_emotions_that_no_class_lists_are_counted_and_what_may_be_meant_is_said(tmp_path):
    names = ["suprise", "suprise", "tense", "Others", "anger"]
    rows = [row(n * 10 + 1, n * 10 + 2, n * 10 + 3, emotion=name) for n, name in enumerate(names)]
    result = audited(tmp_path, *rows)
    [note] = result.notes
    assert '(1 "tense")' in note and '(2 "suprise", surprise?)' in result.misspelt
    with pytest.warns(UserWarning, match="suprise"), pytest.warns(UserWarning, match="tense"):
        read_events(manifest(tmp_path), tmp_path / "t.xlsx")
    result = audited(tmp_path, *rows[3:])
    assert not result.notes and not result.misspelt


def test_seconds_are_converted_where_the_manifest_says_so_and_refused_where_it_does_not(tmp_path):
    rows = films((4.10, 4.25, 4.40), (12.4, 12.5, 12.75), (20, 20.5, 21))
    events = audited(tmp_path, *rows, unit="seconds").events
    assert events["onset"].tolist() == [820, 2480, 4000] and events["offset"].tolist() == [880, 2550, 4200]
    with pytest.raises(DataError, match="unit: seconds"):
        audited(tmp_path, *rows)
    with pytest.raises(DataError, match="in frames"):
        audited(tmp_path, row(820, 850, 880), unit="seconds")
    assert audited(tmp_path, row(566.4, 640.2, 901.6)).events["onset"].tolist() == [565], (
        "frames may be fractions"
    )


def test_a_frame_rate_may_be_a_column(tmp_path):
    rows = [[*row(1, 200, 400, video=f"v{rate}"), rate] for rate in (200, "300", 500.0, "", "fast")]
    columns = {"columns": ROLES | {"fps": "Frame rate"}}
    result = audited(tmp_path, *rows, header=[*HEADER, "Frame rate"], table=columns, longest_s={"micro": 1})
    assert result.events["fps"].tolist() == [200, 300, 500, 200, 200]
    assert result.events["status"].eq("ok").tolist() == [False, False, True, False, False], (
        "400 frames at 500/s"
    )
    assert result.faults["fault"].tolist().count("fps_missing") == 2


# Rows of one data set


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["v", "v.1", "w"]), st.integers(1, 3)), min_size=1
    )
)
def test_event_names_are_unique_and_a_lone_event_is_called_like_its_video(tmp_path_factory, rows):
    cells = [row(onset, 5, 9, subject, video) for subject, video, onset in rows]
    events = audited(tmp_path_factory.mktemp("names"), *cells).events
    assert not events.duplicated(["subject", "event"]).any()
    used = events[events["status"] != "dropped"]
    assert len(used) == len(set(rows))  # a repeated row is one event
    alone = used[~used.duplicated(["subject", "video"], keep=False)]
    assert (alone["event"] == alone["video"]).all()


def test_two_emotions_of_the_same_frames_and_events_that_overlap_are_called_so(tmp_path):
    rows = [row(1, 5, 9), row(1, 5, 9, emotion="Anger"), row(1, 5, 9), row(9, 12, 20), row(21, 22, 23)]
    result = audited(tmp_path, *rows)
    assert result.faults[["row", "fault"]].to_numpy().tolist() == [[1, "two_emotions"], [2, "repeated"]]
    assert result.faults["name"].tolist() == result.events["event"].iloc[[1, 2]].tolist()
    assert result.events["status"].tolist() == ["ok", "dropped", "dropped", "ok", "ok"]
    [note] = result.notes
    assert "1 of 3 events overlap" in note
    with pytest.raises(DataError, match="repeats an earlier row"):
        audited(tmp_path, row(1, 2, 3), row(1, 2, 3), policy="strict")


def test_numeric_subjects_are_padded_and_those_that_differ_by_case_are_one(tmp_path):
    cells = [1, "01", "1", "spNo.1", "spNO.1", "spNO.1"]
    rows = [row(1, 2, 3, subject=cell, video=str(number)) for number, cell in enumerate(cells)]
    result = audited(tmp_path, *rows, table={"subject_digits": 2})
    assert result.events["subject"].tolist() == ["01"] * 3 + ["spNO.1"] * 3
    assert "spNo.1 is read as spNO.1" in result.notes[0]


def test_events_without_frames_are_dropped_with_a_reason_and_counted(tmp_path):
    events = audited(tmp_path, *(row(10, 20, 30, video=video) for video in "abcd")).events
    spans = [("006", "a", 9, 29), ("006", "b", 0, 28), ("006", "c", 10, 29)]
    spans = pd.DataFrame(spans, columns=["subject", "video", "n_first", "n_last"])
    with pytest.warns(
        UserWarning, match=r"3 of 4 events have no frames .*006/b: its frames 9 to 29 aren't within 0"
    ):
        checked = check_frames(events, spans)
    assert checked["status"].tolist() == ["ok", "dropped", "dropped", "dropped"]
    assert "no folder of frames" in checked["reason"][3]
    assert events["status"].eq("ok").all()
    with pytest.raises(DataError, match="None of the 4 annotated events"):
        check_frames(events, spans[:0])


@pytest.mark.parametrize("policy", ["repair", "drop"])
@pytest.mark.parametrize("name", list(licensed.MINIATURES))
def test_no_event_of_any_data_set_begins_before_its_first_frame(tmp_path, name, policy):
    described = read_manifest(name)
    part = parts(described)[0]
    sheets = {
        title: [list(cells) for cells in rows] for title, rows in licensed.MINIATURES[name].sheets.items()
    }
    rows = next(iter(sheets.values()))
    head = next((at for at, cells in enumerate(rows) if part.get("header") in cells), -1)
    titles = part["columns"]["onset"]
    titles = [titles] if isinstance(titles, str) else titles
    at = titles if isinstance(titles, int) else next(rows[head].index(t) for t in titles if t in rows[head])
    for cells in rows[head + 1 :]:
        cells[at] = -5
    events = audit(described, licensed.save_xlsx(tmp_path / "t.xlsx", sheets), policy=policy).events
    assert (events.loc[events["status"] != "dropped", "onset"] >= 0).all()


# Sheets and files


def test_a_table_is_recognised_by_content_whatever_its_name_and_the_case_and_space_of_its_header(tmp_path):
    header = ["subject ", "FileName", "OnsetFrame", " apex\nframe", "Offset  Frame", *HEADER[5:]]
    rows = [header, row("10", "20", "30"), row("11", "/", "31", video="b")]
    described, columns = manifest(tmp_path), list(COLUMNS)[:-1]
    expected = read_events(described, xlsx(tmp_path / "x.xlsx", rows))[columns]
    under_notes = [["a note"], [], *rows[:2], [], [None, None], *rows[2:]]
    for path in (
        xlsx(tmp_path / "y.xlsx", rows).rename(tmp_path / "lies.csv"),
        xlsx(tmp_path / "notes.xlsx", under_notes, sheet="some other sheet"),
        write_csv(tmp_path / "lies.xlsx", rows),
        write_csv(tmp_path / "semicolon.txt", rows, ";"),
        write_csv(tmp_path / "tab", rows, "\t", "utf-8-sig"),
    ):
        events = read_events(described, path)
        pd.testing.assert_frame_equal(events[columns], expected)
    assert read_events(described, tmp_path / "notes.xlsx")["reason"][1].startswith(
        "row 3 (line 7 of notes.xlsx)"
    )


SHORT = {"subject": "Subject", "video": "Filename", "onset": "Onset", "offset": "Offset"}
EXPRESSIONS = {
    "header": "Subject",
    "columns": SHORT | {"apex": "Apex"},
    "missing": ["0", ""],
    "kind": {"column": "Type", "values": {"Micro": "micro", "Macro": "macro"}},
}
BLINKS = {"sheet": "blink", "header": "Subject", "columns": SHORT, "missing": [""], "kind": "blink"}


def test_several_sheets_make_one_table_in_one_file_or_two(tmp_path):
    described = manifest(tmp_path, table={"parts": [EXPRESSIONS | {"sheet": "AU+Emotion"}, BLINKS]})
    expressions = [
        ["Subject", "Filename", "Onset", "Apex", "Offset", "Type"],
        ["a", "v", "1", "5", "9", "Micro"],
    ]
    sheets = {
        "AU+Emotion": [*expressions, ["a", "v", "11", "15", "19", "Macro"]],
        "blink": [["Subject", "Filename", "Onset", "Offset"], ["a", "v", "21", "29"]],
    }
    events = read_events(described, licensed.save_xlsx(tmp_path / "t.xlsx", sheets))
    assert events["kind"].tolist() == ["micro", "macro", "blink"]
    assert events["status"].eq("ok").all(), "a blink has no apex, and that is no fault"
    assert events["apex"].isna().tolist() == [False, False, True]
    first, second = (xlsx(tmp_path / f"{name}.xlsx", rows, name) for name, rows in sheets.items())
    pd.testing.assert_frame_equal(read_events(described, first, second), events)
    with pytest.warns(UserWarning, match='no file has the sheet "blink"'):
        assert len(read_events(described, first)) == 2
    with pytest.raises(DataError, match='has no sheet "AU'):
        read_events(described, xlsx(tmp_path / "x.xlsx", sheets["blink"], "other"))


def test_a_column_may_have_several_titles_or_be_optional(tmp_path):
    columns = SHORT | {"onset": ["Onset", "Onset Frame"], "emotion": "Feeling"}
    part = {"columns": columns, "optional": ["emotion"]}
    for title in ("onset", "Onset frame"):
        header = ["Subject", "Filename", title, "Offset"]
        assert audited(tmp_path, ["a", "b", 1, 5], header=header, table=part).events["onset"].tolist() == [0]
    with pytest.raises(DataError, match='no column "Onset" or "Onset Frame"'):
        audited(tmp_path, ["a", "b", 1, 5], header=["Subject", "Filename", "Start", "Offset"], table=part)


def test_a_table_of_something_else_is_passed_over_where_another_fits_and_else_named(tmp_path):
    other, table = (
        xlsx(tmp_path / "notes.xlsx", [["a note"]]),
        xlsx(tmp_path / "t.xlsx", [HEADER, row(1, 2, 3)]),
    )
    with pytest.warns(UserWarning, match="notes.*passed over"):
        assert len(read_events(manifest(tmp_path), other, table)) == 1
    with pytest.raises(DataError, match="isn't the annotation table of mmew"):
        read_events("mmew", *licensed.write_table("casme2", tmp_path))


def test_versions_are_told_apart_by_columns_rows_and_counts(tmp_path):
    versions = [{"name": "new", "has": ["Objective Classes"]}, {"name": "two", "rows": 2}]
    versions += [{"name": "old", "lacks": ["Objective Classes"], "rows": 1}]
    rows = films((1, 2, 3), (4, 5, 6), (7, 8, 9))
    newer = audited(tmp_path, [*rows[0], 1], header=[*HEADER, "Objective classes"], versions=versions)
    others = [audited(tmp_path, *rows[:n], versions=versions).version for n in (1, 2, 3)]
    assert [newer.version, *others] == ["new", "old", "two", ""]
    with pytest.raises(DataError, match=r"t\.xlsx is none of the versions .* \(new\)"):
        audited(tmp_path, *rows, versions=versions[:1])
    counted = [{"name": "v2", "expected": {"rows": 1}}, {"name": "v1", "expected": {"rows": 2}}]
    results = [audited(tmp_path, *rows[:n], versions=counted) for n in (1, 2, 3)]
    assert [(r.version, r.expected["rows"]) for r in results] == [("v2", 1), ("v1", 2), ("v2", 1)]


def joining(folder, **join):
    """A data set of long videos whose emotions stand in another's table."""
    manifest(folder)
    part = EXPRESSIONS if "by" in join else EXPRESSIONS | {"video_pattern": r"^(\d+_\d+)_\d+$"}
    join = {"dataset": "invented.yml", "take": ["emotion"]} | join
    header = ["Subject", "Filename", "Onset", "Apex", "Offset", "Type"]
    rows = [["006", "006_1_2", 10, 20, 30, "Micro"], ["006", "006_1_3", 50, 60, 70, "Macro"]]
    return manifest(folder, "long", table=part, join=join), xlsx(folder / "long.xlsx", [header, *rows])


def test_emotions_come_from_the_table_that_the_manifest_joins_by_name_or_onset(tmp_path, recwarn):
    described, table = joining(tmp_path, kind="micro")
    other = xlsx(
        tmp_path / "o.xlsx", [HEADER, row(1, 2, 3), row(51, 60, 70, video="006_1_3", emotion="Anger")]
    )
    for files in ((table, other), (other, table)):
        events = read_events(described, *files)
        assert events["emotion"].tolist() == ["happiness", ""], "only micro-expressions are joined"
        assert events["emotion_class"].tolist() == ["positive", ""]
        assert events["video"].tolist() == ["006_1", "006_1"]
        assert events["event"].tolist() == ["006_1_2", "006_1_3"]
    described, table = joining(tmp_path, by="onset")
    other = xlsx(tmp_path / "p.xlsx", [HEADER, row(10, 20, 30), row(51, 60, 70, video="006_1_3")])
    assert read_events(described, table, other)["emotion"].tolist() == ["happiness", ""]
    assert not recwarn
    with pytest.raises(DataError, match="not the annotation table of long itself"):
        read_events(described, other)
    with pytest.warns(UserWarning, match="no table of invented") as caught:
        assert read_events(described, table)["emotion"].eq("").all()
    assert len(caught) == 1


# Corrections


def correct(folder, *rows, columns=CORRECTION):
    (folder / "corrections").mkdir(exist_ok=True)
    write_csv(folder / "corrections" / "invented.csv", [columns, *rows])


def test_a_correction_counts_only_where_the_table_still_holds_the_old_cell(tmp_path):
    rows = [row(10, 50, 30), row(10, 20, 30, video="b")]
    for subject in ("6", "006"):
        correct(tmp_path, [subject, "006_1_2", "10", "apex", "50", "25", "slip", "seen"])
        result = audited(tmp_path, *rows, table={"subject_digits": 3})
        assert result.events["apex"].tolist() == [24, 19]
        assert result.events["status"].tolist() == ["repaired", "ok"]
        assert "slip, seen" in result.events["reason"].iloc[0]
        assert result.faults["fault"].tolist() == ["corrected"] and not result.notes
    audited(tmp_path, *rows, policy="strict")
    correct(tmp_path, ["006", "006_1_2", "10", "apex", "51", "25", "slip", "seen"])
    result = audited(tmp_path, *rows)
    assert result.events["apex"].tolist() == [19, 19], "the midpoint, as without a correction"
    assert "1 of 1 corrections fit no row" in result.notes[0]


def test_a_broken_file_of_corrections_is_named(tmp_path):
    correct(tmp_path, ["006", "v", "10", "duration", "1", "2", "r", "s"])
    with pytest.raises(DataError, match=r"invented\.csv, line 2: field is 'duration'"):
        audited(tmp_path, row(10, 20, 30))
    correct(tmp_path, columns=CORRECTION[:-1])
    with pytest.raises(DataError, match=r"invented\.csv has no column source"):
        audited(tmp_path, row(10, 20, 30))
    (tmp_path / "corrections" / "invented.csv").write_bytes("subject,zögert\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"invented\.csv is neither a spreadsheet nor UTF-8 text"):
        audited(tmp_path, row(10, 20, 30))


def test_a_missing_apex_may_be_kept_and_an_unknown_policy_is_refused(tmp_path):
    [event] = audited(tmp_path, row(1, "/", 9), repair={"apex_missing": "keep"}).events.to_dict("records")
    assert event["status"] == "ok" and pd.isna(event["apex"])
    with pytest.raises(DataError, match="use repair, drop or strict"):
        audited(tmp_path, row(1, 2, 3), policy="lenient")


def test_an_implausibly_long_event_is_flagged_and_not_used(tmp_path):
    events = audited(tmp_path, *films((1, 200, 400), (1, 200, 401)), longest_s={"micro": 2}).events
    assert events["status"].tolist() == ["ok", "dropped"], "400 frames at 200 a second are 2 s"

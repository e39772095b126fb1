"""A frame that went to another program comes back as it was; what was edited there is a correction, or one sentence."""

import csv
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import unbegun
from pympi import Eaf
from test_annotations import HEADER, manifest, xlsx
from typer.testing import CliRunner

from melib import DataError, annotations
from melib.app import cli, corrections, exchange
from melib.data import cache, video_files

RATES = (25, 29.97, 30, 60, 100, 200)
EMOTIONS = ("anger", "surprise", "")
# Of video 006_1 of person 006; the second overlaps the first.
ROWS = [
    ["006", "006_1", 11, 20, 31, "4", "Anger"],
    ["006", "006_1", 25, "/", 41, "12", "Surprise"],
    ["007", "007_1", 5, 10, 31, "1+2", "Surprise"],
]


# ---- frames and milliseconds ---------------------------------------------------------------------------------------


@given(
    st.integers(0, 10**6), st.integers(0, 10**4), st.sampled_from([*RATES, 23.976, 59.94, 119.88, 240, 500])
)
def test_frames_come_back_from_milliseconds_whether_a_program_cuts_fractions_or_rounds_up(first, more, fps):
    begin, end = exchange.span(first, first + more, fps)
    for up in (0, 1 if fps < 500 else 0):
        exact = [frame * 1000 / fps for frame in (first, first + more + 1)]
        times = [time + up * (time < true - 1e-6) for time, true in zip((begin, end), exact, strict=True)]
        assert exchange.frames(*times, fps) == (first, first + more)


@st.composite
def a_table(draw):
    """Events of one video by name, native frames: overlapping ones, ones without apex or emotion."""
    events = {}
    for number in range(draw(st.integers(1, 5))):
        onset, length = draw(st.integers(0, 20_000)), draw(st.integers(1, 400))
        apex = draw(st.none() | st.integers(onset, onset + length))
        kind, emotion = draw(st.sampled_from(exchange.KINDS)), draw(st.sampled_from(EMOTIONS))
        events[f"e {number}"] = exchange.Event(kind, onset, apex, onset + length, emotion)
    return events


def a_video(events, fps, first=None, ours=()):
    events = {name: exchange.Event(*event) for name, event in events.items()}
    first = min(event.onset for event in events.values()) if first is None else first
    ours = [exchange.Event("found", *event) for event in ours]
    known = (Path("v"), {0: "v/0.jpg"}, events, ours, EMOTIONS[:2], ("t.xlsx",), "m.yml")
    return exchange.ExportedVideo("toy", "006", "006_1", fps, first, *known)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("exchange")


@pytest.mark.parametrize("n", [40, pytest.param(1000, marks=pytest.mark.long)])
def test_random_tables_come_back_to_the_frame_at_every_rate(folder, n):
    @settings(max_examples=n, deadline=None)
    @given(a_table())
    def holds(events):
        for fps in RATES:
            shown = a_video(events, fps)
            exchange.elan_document(shown, folder / "v.mp4", folder).to_file(str(folder / "v.eaf"))
            cache.write_json(folder / "v.json", [exchange.task_of(shown, "v.webm")])
            (elan,) = exchange.read_elan(folder / "v.eaf")
            (studio,) = exchange.read_labelstudio(folder / "v.json")
            exported = {name: tuple(event) for name, event in elan.about["events"].items()}
            assert elan.events == studio.events == exported == events

    holds()


# ---- what is written -----------------------------------------------------------------------------------------------


def test_an_eaf_has_what_its_schema_asks_for(folder):
    events = {"a": ("micro", 3, 5, 9, "anger"), "b": ("micro", 9, None, 12, ""), "c": ("blink", 4, 6, 8, "")}
    shown = a_video(events, 29.97, ours=[(2, None, 4, "others"), (3, 3, 9, "others 0.50")], first=2)
    media, file = folder / "films" / "a film.mp4", folder / "s.eaf"
    exchange.elan_document(shown, media, folder / "files").to_file(str(file))
    root = ElementTree.parse(file).getroot()
    order = "HEADER TIME_ORDER TIER LINGUISTIC_TYPE LANGUAGE CONSTRAINT CONTROLLED_VOCABULARY"
    assert list(dict.fromkeys(part.tag for part in root)) == order.split()
    assert root.find("HEADER/MEDIA_DESCRIPTOR").attrib == {
        "RELATIVE_MEDIA_URL": "../films/a%20film.mp4", "MIME_TYPE": "video/mp4", "MEDIA_URL": media.as_uri(),
    }  # fmt: skip
    slots = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE")) for slot in root.iter("TIME_SLOT")}
    assert list(slots) == [f"ts{number}" for number in range(1, len(slots) + 1)]
    assert list(slots.values()) == sorted(slots.values())
    tiers = {tier.get("TIER_ID"): tier for tier in root.iter("TIER")}
    types = {kind.get("LINGUISTIC_TYPE_ID"): kind.attrib for kind in root.iter("LINGUISTIC_TYPE")}
    assert {
        "micro",
        "micro 2",
        "micro apex",
        "micro emotion",
        "micro reason",
        "blink",
        "found",
        "found 2",
    } <= {*tiers}
    ids = [note.get("ANNOTATION_ID") for note in root.iter() if note.get("ANNOTATION_ID")]
    assert len(ids) == len(set(ids))
    for tier in tiers.values():
        kind, parent = types[tier.get("LINGUISTIC_TYPE_REF")], tier.get("PARENT_REF")
        assert (parent is None) == ("CONSTRAINTS" not in kind) and (parent is None or parent in tiers)
        times = [
            slots[n.get(f"TIME_SLOT_REF{end}")] for n in tier.iter("ALIGNABLE_ANNOTATION") for end in (1, 2)
        ]
        assert times == sorted(times) and all(
            begin < end for begin, end in zip(times[::2], times[1::2], strict=True)
        )
        assert all(note.get("ANNOTATION_REF") in ids for note in tier.iter("REF_ANNOTATION"))
    vocabulary = root.find("CONTROLLED_VOCABULARY")
    assert types["emotion"]["CONTROLLED_VOCABULARY_REF"] == vocabulary.get("CV_ID")
    assert [value.text for value in vocabulary.iter("CVE_VALUE")] == ["anger", "surprise"]


def test_label_studio_is_offered_every_label_and_counts_frames_from_one():
    task = exchange.task_of(
        a_video({"a": ("blink", 8, 9, 10, "")}, 30, first=8, ours=[(8, None, 9, "others 0.50")]), "a.webm"
    )
    interval, apex = task["annotations"][0]["result"]
    assert interval["value"] == {"ranges": [{"start": 1, "end": 3}], "timelinelabels": ["blink"]}
    assert apex["value"] == {"ranges": [{"start": 2, "end": 2}], "timelinelabels": ["apex"]}
    view = ElementTree.fromstring(exchange.labelling_interface([task]))
    labels = [label.get("value") for label in view.iter("Label")]
    assert sorted(labels) == ["anger", "apex", "blink", "others", "surprise"] and labels[-1] == "apex"
    assert view.find("Video").get("value") == "$video" and view.find("Video").get("frameRate") == "$fps"
    assert {interval["from_name"], interval["to_name"]} == {view.find("TimelineLabels").get("name"), "video"}


# ---- a run and its corrections -------------------------------------------------------------------------------------


def a_run(folder, rows=ROWS, **about):
    """A finished run whose only data are invented clips of 50 frames, a shade of grey each; frame 7 of one is missing."""
    place = folder / "run" / "data" / "invented"
    place.mkdir(parents=True)
    described = manifest(place)
    described.source.rename(place / "manifest.yml")
    xlsx(place / "annotations.xlsx", [HEADER, *rows])
    for subject, video in {tuple(row[:2]) for row in rows}:
        (place / subject / video).mkdir(parents=True)
        for number in range(1, 51):
            if (video, number) != ("006_1", 7):
                file = place / subject / video / f"img{number:03d}.png"
                cv2.imwrite(str(file), np.full((48, 64, 3), 4 * number, np.uint8))
    parts = {"data": [{"name": "invented"}], "long": [], "long_transfer": []}
    settings = {**unbegun("smoke").settings, **parts}
    record = {"profile": "smoke", "seed": 0, "data": ["simulated"], "settings": settings}
    cache.write_yaml(folder / "run" / "configuration.yml", record)
    return folder / "run"


@pytest.fixture(scope="module")
def a_finished_run(tmp_path_factory):
    return a_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def place(a_finished_run, tmp_path):
    """A run, and what was exported of it for both programs."""
    shutil.copytree(a_finished_run, tmp_path / "run")
    for to in ("elan", "labelstudio"):
        ended = melib("export", tmp_path / "run", "--to", to, "--out", tmp_path / to)
        assert ended.exit_code == 0, ended.output
    return tmp_path


def melib(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def eaf_of(place, subject="006"):
    return place / "elan" / "invented" / subject / f"{subject}_1.eaf"


def saved(place):
    file = place / "run" / "data" / "invented" / "corrections" / "invented.csv"
    return list(csv.DictReader(file.open())) if file.is_file() else []


def read_again(place):
    root = place / "run" / "data" / "invented"
    events = annotations.read_events(root / "manifest.yml", root / "annotations.xlsx")
    return {row.event: (row.onset, row.apex, row.offset, row.emotion) for row in events.itertuples()}


def edit(place, changes=(), texts=(), subject="006"):
    """Change times of annotations in an .eaf, by tier, words and (begin, end) in frames of 200 a second, and words."""
    eaf = Eaf(str(eaf_of(place, subject)))
    for tier, words, first, last in changes:
        key = next(key for key, note in eaf.tiers[tier][0].items() if note[2] == words)
        begin, end, *_ = eaf.tiers[tier][0][key]
        eaf.timeslots[begin], eaf.timeslots[end] = exchange.span(first, last, 200)
    for tier, parent, words in texts:
        known = eaf.tiers[tier][1]
        (aligned,) = [key for key, note in eaf.tiers[tier.rsplit(" ", 1)[0]][0].items() if note[2] == parent]
        old = next((key for key, note in known.items() if note[0] == aligned), None)
        known[old or f"a{eaf.maxaid + 1}"] = (aligned, words, None, None)
    eaf.to_file(str(eaf_of(place, subject)))
    return eaf_of(place, subject)


def imported(file, *more, source="elan", dataset="invented"):
    return melib("import", file, "--from", source, "--dataset", dataset, *more)


def test_an_event_that_was_edited_in_elan_is_a_row_of_corrections_with_reason_and_reviewer(place):
    before = read_again(place)
    changes = [("micro", "006_1.1", 12, 33), ("micro apex", "apex", 21, 21)]
    file = edit(
        place,
        changes,
        [("micro reason", "006_1.1", 'late,\n "blur"'), ("micro emotion", "006_1.1", "surprise")],
    )
    ended = imported(file, "--reviewer", "AB")
    assert ended.exit_code == 0, ended.output
    assert read_again(place) == before | {"006_1.1": (12, 21, 33, "surprise")}
    rows = saved(place)
    assert {row["field"]: (row["old"], row["new"]) for row in rows} == {
        "onset": ("11", "13"), "apex": ("20", "22"), "offset": ("31", "34"), "emotion": ("Anger", "surprise"),
    }  # fmt: skip
    reasons = {(row["subject"], row["onset"], row["reason"], row["source"], row["reviewer"]) for row in rows}
    assert reasons == {("006", "11", 'late, "blur"', "006_1.eaf", "AB")}
    assert "006/006_1.1: onset from 10 to 12" in ended.output
    assert "nothing was changed" in imported(file).output and saved(place) == rows


def test_what_was_edited_in_label_studio_comes_back_as_its_export_says(place):
    (source,) = (place / "labelstudio").glob("*.json")
    tasks = json.loads(source.read_text())
    (done,) = tasks[0]["annotations"]
    done["completed_by"] = {"email": "ab@lab"}
    for region in done["result"]:
        if region["id"] == "006_1.2":
            region["value"]["ranges"] = [{"start": 25, "end": 43}]
            region["meta"] = {"text": ["seen", "later"]}
        if region["id"] == "006_1.2 apex":  # drawn anew
            region |= {"id": "x", "value": {"ranges": [{"start": 36, "end": 36}], "timelinelabels": ["apex"]}}
    tasks[1]["annotations"] = []  # nobody has submitted the other
    source.write_text(json.dumps(tasks))
    ended = imported(source, source="labelstudio")
    assert ended.exit_code == 0, ended.output
    assert read_again(place)["006_1.2"][1:3] == (35, 42)
    assert {(row["reason"], row["reviewer"]) for row in saved(place)} == {("seen later", "ab@lab")}


def test_who_says_nothing_is_named_by_the_file_or_by_the_login(place, monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "me")
    assert imported(edit(place, [("micro", "006_1.1", 12, 30)])).exit_code == 0
    assert [(row["reason"], row["reviewer"]) for row in saved(place)] == [("edited in ELAN", "me")]
    eaf = Eaf(str(edit(place, [("micro", "006_1.1", 13, 30)])))
    eaf.tiers["micro"][2]["ANNOTATOR"] = "CD"
    eaf.to_file(str(eaf_of(place)))
    assert "its onset was 10 when it was exported, and is 12 now" in imported(eaf_of(place)).stderr
    shutil.rmtree(place / "run" / "data" / "invented" / "corrections")
    assert imported(eaf_of(place), "--reason", "looked again").exit_code == 0
    assert [(row["reason"], row["reviewer"]) for row in saved(place)] == [("looked again", "CD")]


def test_an_older_file_takes_back_nothing_that_a_colleague_has_saved(place):
    other = Path(shutil.copy(eaf_of(place), place / "other.eaf"))
    assert imported(edit(place, [("micro", "006_1.1", 12, 30)])).exit_code == 0
    eaf = Eaf(str(other))
    ((begin, _, *_),) = eaf.tiers["micro 2"][0].values()
    eaf.timeslots[begin] = 26 * 5
    eaf.to_file(str(other))
    assert imported(other).exit_code == 0
    # The apex of the second was the midpoint, since the table has none, and stays where it was seen.
    assert [read_again(place)[name][:2] for name in ("006_1.1", "006_1.2")] == [(12, 19), (26, 32)]


def test_a_film_shows_every_frame_at_its_time_and_the_one_before_a_missing_one(place):
    assert melib("export", place / "run", "--to", "elan", "--out", place / "elan", "--film").exit_code == 0
    film = place / "elan" / "invented" / "006" / "006_1.mp4"
    shades = [picture.mean() / 4 for picture in video_files.pictures(film, range(50))]
    expected = [number if number != 7 else 6 for number in range(1, 51)]
    np.testing.assert_allclose(shades, expected, atol=1)
    media = ElementTree.parse(eaf_of(place)).find("HEADER/MEDIA_DESCRIPTOR")
    assert media.get("RELATIVE_MEDIA_URL") == "./006_1.mp4"


# ---- what can't be -------------------------------------------------------------------------------------------------


def tier(name, content=""):
    """Take a tier out, or all that it holds."""
    return lambda text: re.sub(rf'(<TIER TIER_ID="{name}"[^>]*>).*?(</TIER>)', content, text, flags=re.DOTALL)


def swap(old, new):
    return lambda text: text.replace(old, new, 1)


def more(name, begin, end, words):
    def change(eaf):
        eaf.add_annotation(name, begin, end, words)

    return change


BROKEN = {
    "broken xml": (lambda text: text[:-40], "is broken"),
    "another xml": (lambda _: "<a/>", "is no ELAN document"),
    "another eaf": (swap('NAME="melib"', 'NAME="other"'), "doesn't say what it was exported of"),
    "its record edited": (swap("19, 30,", "19, 31,"), "doesn't say what it was exported of"),
    "tier missing": (tier("micro"), "006_1.1 is missing"),
    "apex tier missing": (tier("micro apex"), "has no apex any more"),
    "apex outside": (swap('TIME_VALUE="155"', 'TIME_VALUE="90"'), "an apex at frame .* lies outside"),
    "no apex": (tier("micro apex", r"\1\2"), "has no apex any more"),
    "no emotion": (tier("micro emotion", r"\1\2"), "has no emotion any more"),
    "unknown event": (swap(">006_1.1<", ">mine<"), 'no table has an event "mine"'),
    "event twice": (swap(">006_1.2<", ">006_1.1<"), "006_1.1 stands there twice"),
    "no times": (swap(' TIME_VALUE="50"', ""), "has no begin before its end"),
    "two apexes": (more("micro apex", 60, 65, "apex"), "two apexes"),
    "overlap": (more("micro", 60, 90, "006_1.3"), "overlaps another annotation"),
}  # fmt: skip
BROKEN_TASKS = {
    "no annotations": (lambda tasks: tasks[0].pop("annotations"), "choose JSON, not JSON-MIN"),
    "two of a task": (lambda tasks: tasks[0]["annotations"].append(tasks[0]["annotations"][0]), "2 annotations; keep one"),
    "nothing done": (lambda tasks: [task["annotations"].clear() for task in tasks], "holds no annotation"),
    "another task": (lambda tasks: tasks[0]["data"].pop("melib"), "doesn't say what it was exported of"),
    "event missing": (lambda tasks: tasks[0]["annotations"][0]["result"].pop(0), "006_1.1 is missing"),
    "another kind": (
        lambda tasks: tasks[0]["annotations"][0]["result"][0]["value"].update(timelinelabels=["blink"]), "is a micro",
    ),
}  # fmt: skip


def refused(ended, message):
    assert ended.exit_code == 1 and re.search(message, ended.stderr), ended.stderr
    assert ended.stderr.count("\n") == 1 and "Traceback" not in ended.stderr


@pytest.mark.parametrize("name", [*BROKEN, *BROKEN_TASKS])
def test_a_file_that_can_t_be_is_refused_in_a_sentence_and_nothing_is_saved(place, name):
    if name in BROKEN:
        (change, message), file, source = BROKEN[name], eaf_of(place), "elan"
        if name in ("two apexes", "overlap"):
            eaf = Eaf(str(file))
            change(eaf)
            eaf.to_file(str(file))
        else:
            file.write_text(change(file.read_text()))
    else:
        (change, message), source = BROKEN_TASKS[name], "labelstudio"
        (file,) = (place / source).glob("*.json")
        tasks = json.loads(file.read_text())
        change(tasks)
        file.write_text(json.dumps(tasks))
    refused(imported(file, source=source), message)
    assert not saved(place)


def test_an_unknown_data_set_program_file_or_run_is_one_sentence(place):
    refused(imported(eaf_of(place), dataset="nobody"), "nobody")
    refused(imported(eaf_of(place), dataset="samm"), "is of invented, not of samm")
    refused(imported(place / "none.eaf"), "can't be read")
    refused(melib("export", place / "none", "--to", "elan"), "is no finished run")
    assert (
        imported(eaf_of(place), source="praat").exit_code
        == melib("export", place, "--to", "praat").exit_code
        == 2
    )
    (place / "run" / "data" / "invented" / "annotations.xlsx").unlink()
    refused(imported(eaf_of(place)), "which is gone")


def test_predictions_are_linked_to_their_video_and_can_t_be_corrected(tmp_path):
    seconds = [frame / 29.97 for frame in range(0, 90)]
    rows = [{"onset": 20, "apex": 24, "offset": 31, "confidence": 0.8312, "emotion": "surprise"}]
    record = {
        "video": "clip.mp4",
        "samples_per_second": 29.97,
        "intervals": rows,
        "curve": {"frame": [*range(90)], "seconds": seconds},
    }
    cache.write_json(tmp_path / "predictions" / "clip.json", record)
    refused(
        melib("export", tmp_path / "predictions", "--to", "elan", "--out", tmp_path / "out"),
        "clip.mp4 isn't there to be linked",
    )
    (tmp_path / "clip.mp4").touch()
    for given_as in ("predictions", "predictions/clip.json", "predictions/clip_intervals.csv"):
        ended = melib("export", tmp_path / given_as, "--to", "elan", "--out", tmp_path / "out")
        assert ended.exit_code == 0, ended.output
    file = tmp_path / "out" / "predicted" / "clip.eaf"
    eaf = Eaf(str(file))
    ((begin, end, words),) = eaf.get_annotation_data_for_tier("found")
    assert exchange.frames(begin, end, 29.97) == (20, 31) and words == "surprise 0.83"
    assert eaf.media_descriptors[0]["RELATIVE_MEDIA_URL"] == "../../clip.mp4"
    refused(imported(file, dataset="samm"), "holds predictions")
    record["curve"]["seconds"][-1] += 1
    cache.write_json(tmp_path / "predictions" / "clip.json", record)
    refused(
        melib("export", tmp_path / "predictions", "--to", "webvtt", "--out", tmp_path),
        "its frame rate varies",
    )


# ---- what the next reading says ------------------------------------------------------------------------------------


def change(event, reviewer="AB", subject="006", **new):
    """A change of landmarks, as an edited file asks for it."""
    names = {"onset": 100, "apex": 119, "offset": 150, "emotion": "anger"}
    return corrections.EventChange(subject, event, names, new, "two digits swapped", reviewer, "a.eaf")


LATE = [["006", "006_1", 101, 120, 151, "4", "anger"], ["007", "007_1", 101, 120, 151, "1+2", "anger"]]


@pytest.fixture
def table(tmp_path):
    """A data set's manifest, tables and file of corrections."""
    described = manifest(tmp_path / "m")
    tables = [xlsx(tmp_path / "u.xlsx", [HEADER, *LATE])]
    return described, tables, described.source.parent / "corrections" / "invented.csv"


def landmarks(described, tables, event):
    events = annotations.read_events(described, *tables)
    row = events[events["event"] == event].iloc[0]
    return tuple(int(row[name]) for name in ("onset", "apex", "offset"))


def test_a_person_whom_the_table_numbers_and_the_folders_name_is_corrected(tmp_path):
    lookup = {"subject": {"sheet": 1, "key": 2, "value": 1}}
    book = openpyxl.Workbook()
    for page, rows in ((book.active, [HEADER, *LATE]), (book.create_sheet("b"), [[15, "s15", "006"]])):
        for row in rows:
            page.append(row)
    book.save(tmp_path / "u.xlsx")
    described, tables = manifest(tmp_path / "m", table={"lookup": lookup}), [tmp_path / "u.xlsx"]
    corrections.save_changes(described, tables, [change("006_1", subject="s15", apex=130)])
    assert landmarks(described, tables, "006_1") == (100, 130, 150)


@pytest.mark.parametrize(
    ("rows", "about", "event", "new", "message"),
    [
        (
            LATE,
            {"longest_s": {"micro": 0.5}},
            "006_1",
            {"offset": 299},
            r"would be dropped, since it lasts 1[.]0 s",
        ),
        (
            [LATE[0], [*LATE[0][:3], 125, *LATE[0][4:]]],
            {},
            "006_1.1",
            {"offset": 140},
            "another row of the table",
        ),
        (LATE, {}, "nobody", {"apex": 130}, "no table has an event 006/nobody any more"),
    ],
)
def test_what_the_next_reading_wouldn_t_say_is_refused_and_nothing_is_saved(
    tmp_path, rows, about, event, new, message
):
    described = replace(manifest(tmp_path / "m"), **about)
    tables = [xlsx(tmp_path / "u.xlsx", [HEADER, *rows])]
    file = tmp_path / "m" / "corrections" / "invented.csv"
    with pytest.raises(DataError, match=message):
        corrections.save_changes(described, tables, [change(event, **new)])
    assert not file.exists()


def test_columns_that_somebody_added_stay_and_a_cell_that_is_right_again_has_no_row(table):
    described, tables, file = table
    file.parent.mkdir(parents=True)
    columns = [*annotations.CORRECTION, "remark"]
    row = ["007", "007_1", "101", "aus", "1+2", "1", "seen", "frames", "left brow only"]
    file.write_text("\n".join(",".join(cells) for cells in (columns, row)) + "\n")
    corrections.save_changes(*table[:2], [change("006_1", apex=130)])
    assert [row["remark"] for row in csv.DictReader(file.open())] == ["left brow only", ""]
    back = replace(change("006_1", apex=119), before=change("006_1").before | {"apex": 130})
    corrections.save_changes(*table[:2], [back])
    assert len(annotations.read_corrections(file)) == 1
    assert landmarks(described, tables, "006_1") == (100, 119, 150)
    file.write_text(file.read_text().replace("left brow", "left, right brow"))
    with pytest.raises(DataError, match="line 2: it has more cells than the header"):
        corrections.save_changes(*table[:2], [change("006_1", apex=130)])


def beside(work):
    """Do something in another process, and return its number."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return child


def test_of_what_several_save_at_the_same_time_nothing_is_lost(table):
    def save(event):
        for apex in range(120, 126):
            known = change(event, subject=event[:3]).before | {"apex": apex - 1}
            corrections.save_changes(
                *table[:2], [replace(change(event, subject=event[:3], apex=apex), before=known)]
            )

    children = [beside(lambda event=event: save(event)) for event in ("006_1", "007_1")]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert [landmarks(*table[:2], event)[1] for event in ("006_1", "007_1")] == [125, 125]

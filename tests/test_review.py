"""A change of a landmark is a row of corrections that the next reading uses; what is taken back was never there."""

import csv
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_annotations import HEADER, manifest, xlsx

from melib import DataError, annotations
from melib.app.review import Review

ROWS = [
    ["006", "006_1", 101, 120, 151, "4", "anger"],
    ["006", "006_2", 11, "/", 51, "12", "happiness"],
    ["007", "007_1", 21, 30, 61, "1+2", "surprise"],
]
WHY = {"reason": "two digits swapped", "reviewer": "AB"}


@pytest.fixture
def review(tmp_path):
    return Review(manifest(tmp_path / "m"), [xlsx(tmp_path / "u.xlsx", [HEADER, *ROWS])])


def landmarks(review, event):
    events = annotations.read_events(review.manifest, *review.tables)
    row = events[events["event"] == event].iloc[0]
    return tuple(int(row[name]) for name in ("onset", "apex", "offset"))


def test_the_next_reading_uses_the_last_change_and_what_isn_t_named_stays(review):
    before = annotations.read_events(review.manifest, *review.tables)
    for apex in (140, 130):
        review.change("006", "006_1", apex=apex, **WHY)
    assert landmarks(review, "006_1") == (100, 130, 150)
    assert review.audit.events.iloc[0]["status"] == "repaired"
    assert review.audit.notes == () and len(annotations.read_corrections(review.file)) == 1
    assert before.iloc[1:].equals(annotations.read_events(review.manifest, *review.tables).iloc[1:])


@pytest.mark.parametrize("reason", ['a, "b" and c', "two\nlines", "Lid zögert, 眨眼 → später", "=1+1;'"])
def test_a_reason_is_read_as_it_was_given_on_one_line(review, reason):
    review.change("006", "006_1", apex=130, reason=reason, reviewer="Åsa, 李")
    [row] = annotations.read_corrections(review.file)
    assert row["reason"] == " ".join(reason.split())
    assert review.audit.events["reason"].iloc[0].endswith(f"({row['reason']}, frames looked at)")
    assert landmarks(review, "006_1") == (100, 130, 150)


def test_a_missing_apex_can_be_given(review):
    review.change("006", "006_2", apex=33, **WHY)
    assert landmarks(review, "006_2") == (10, 33, 50)


@settings(max_examples=30)
@given(
    moves=st.lists(st.tuples(st.sampled_from(["006_1", "006_2", "007_1"]), st.integers(30, 45)), max_size=5)
)
def test_undoing_everything_leaves_the_table_as_it_was(tmp_path_factory, moves):
    folder = tmp_path_factory.mktemp("review")
    review = Review(manifest(folder / "m"), [xlsx(folder / "u.xlsx", [HEADER, *ROWS])])
    states = [review.audit.events]
    for event, apex in moves:
        review.change(event[:3], event, apex=apex + 100 * (event == "006_1") - 25 * (event == "006_1"), **WHY)
        states.append(review.audit.events)
    for expected in reversed(states[:-1]):
        assert review.undo()
        assert review.audit.events.equals(expected)
    assert not review.undo()
    assert not review.file.exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"apex": 90}, "aren't in order"),
        ({"offset": 100}, "aren't in order"),
        ({"offset": 99}, "onset 100, apex 119, offset 99 aren't in order"),
        ({"onset": -1}, "aren't in order"),
        ({"apex": 130, "reason": " "}, "needs a reason"),
        ({"apex": 130, "reviewer": ""}, "needs a reason and a reviewer"),
        ({"apex": 130, "event": "nobody"}, "0 events"),
    ],
)
def test_what_cant_be_is_refused_and_nothing_is_written(review, changed, said):
    asked = {"event": "006_1", **WHY, **changed}
    with pytest.raises(DataError, match=said) as caught:
        review.change("006", **asked)
    assert "\n" not in str(caught.value)
    assert not review.file.exists()
    assert not review.undo()


def test_a_person_whom_the_table_numbers_and_the_folders_name_is_corrected(tmp_path):
    lookup = {"subject": {"sheet": 1, "key": 2, "value": 1}}
    book = openpyxl.Workbook()
    for page, rows in ((book.active, [HEADER, *ROWS]), (book.create_sheet("b"), [[15, "s15", "006"]])):
        for row in rows:
            page.append(row)
    book.save(tmp_path / "u.xlsx")
    review = Review(manifest(tmp_path / "m", table={"lookup": lookup}), [tmp_path / "u.xlsx"])
    review.change("s15", "006_1", apex=130, **WHY)
    assert landmarks(review, "006_1") == (100, 130, 150)


def test_what_the_next_reading_would_drop_is_refused(tmp_path):
    of = manifest(tmp_path / "m")
    review = Review(replace(of, longest_s={"micro": 0.5}), [xlsx(tmp_path / "u.xlsx", [HEADER, *ROWS])])
    with pytest.raises(DataError, match=r"would be dropped, since it lasts 1[.]0 s.*nothing is saved"):
        review.change("006", "006_1", offset=299, **WHY)
    assert not review.file.exists()


def test_a_change_that_would_move_two_events_is_refused(tmp_path):
    twice = [ROWS[0], [*ROWS[0][:3], 125, *ROWS[0][4:]]]
    review = Review(manifest(tmp_path / "m"), [xlsx(tmp_path / "u.xlsx", [HEADER, *twice])])
    with pytest.raises(DataError, match="another row of the table has the same video, onset and cell"):
        review.change("006", "006_1.1", offset=140, **WHY)
    assert not review.file.exists()
    review.change("006", "006_1.1", apex=110, **WHY)  # their apexes differ
    assert landmarks(review, "006_1.2")[1] == 124


def test_columns_that_somebody_added_stay(review):
    review.file.parent.mkdir(parents=True)
    columns = [*annotations.CORRECTION, "remark"]
    row = ["007", "007_1", "21", "aus", "1+2", "1", "seen", "frames", "left brow only"]
    review.file.write_text("\n".join(",".join(each) for each in (columns, row)) + "\n")
    review.change("007", "007_1", apex=40, **WHY)
    rows = list(csv.DictReader(review.file.open()))
    assert [row["remark"] for row in rows] == ["left brow only", ""]


# ---- killed, or in company ---------------------------------------------------------------------------------------


def beside(work):
    """Do something in another process, and return how that ended."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return child


def killed_when_half_is_written(path, text, **_):
    path.write_bytes(text.encode()[: len(text) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


def killed_when_all_is_written(*_):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("where", "name", "killed"),
    [
        (Path, "write_text", killed_when_half_is_written),
        (os, "replace", killed_when_all_is_written),
    ],
)
def test_who_is_killed_while_saving_leaves_what_was_saved_before(review, monkeypatch, where, name, killed):
    review.change("006", "006_1", apex=130, **WHY)
    before = review.file.read_bytes()
    monkeypatch.setattr(where, name, killed)
    child = beside(lambda: review.change("007", "007_1", apex=40, **WHY))
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    monkeypatch.undo()
    assert review.file.read_bytes() == before
    assert landmarks(review, "007_1") == (20, 29, 60)
    again = Review(review.manifest, review.tables)  # nobody holds the data set any more
    again.change("007", "007_1", apex=40, **WHY)
    assert landmarks(review, "006_1") == (100, 130, 150)
    assert landmarks(review, "007_1") == (20, 40, 60)


def test_of_what_several_save_at_the_same_time_nothing_is_lost(review):
    asked = [("006", "006_1", 105), ("006", "006_2", 15), ("007", "007_1", 25)]

    def save(subject, event, first):
        for apex in range(first, first + 8):
            mine.change(subject, event, apex=apex, **WHY)

    children = []
    for each in asked:
        mine = Review(review.manifest, review.tables)
        children.append(beside(lambda each=each: save(*each)))
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    for _, event, first in asked:
        assert landmarks(review, event)[1] == first + 7


def test_who_would_replace_what_another_has_just_saved_is_told_and_may_do_so_then(review):
    other = Review(review.manifest, review.tables)
    other.change("006", "006_1", apex=130, reason="blur", reviewer="CD")
    with pytest.raises(DataError, match="006/006_1: CD changed its apex meanwhile; look again"):
        review.change("006", "006_1", apex=140, **WHY)
    assert landmarks(review, "006_1") == (100, 130, 150)
    assert review.audit.events["apex"].iloc[0] == 130
    review.change("006", "006_1", apex=140, **WHY)
    assert landmarks(review, "006_1") == (100, 140, 150)
    assert review.undo() == "006/006_1"
    assert landmarks(review, "006_1") == (100, 130, 150)


def test_undo_takes_back_nothing_of_others(review):
    other = Review(review.manifest, review.tables)
    review.change("006", "006_1", apex=130, **WHY)
    other.change("007", "007_1", apex=40, **WHY)
    assert review.undo()
    assert landmarks(review, "006_1") == (100, 119, 150)
    assert landmarks(review, "007_1") == (20, 40, 60)
    review.change("006", "006_1", apex=130, **WHY)
    other.audit, other.rows = review.audit, review.rows
    other.change("006", "006_1", apex=140, reason="blur", reviewer="CD")
    with pytest.raises(DataError, match="006/006_1: CD changed its apex since; nothing is taken back"):
        review.undo()
    assert landmarks(review, "006_1") == (100, 140, 150)
    assert not review.undo()


def test_a_full_disk_is_one_sentence_and_what_was_saved_stays(small_disk):
    folder = small_disk(1)
    review = Review(manifest(folder / "m"), [xlsx(folder / "u.xlsx", [HEADER, *ROWS])])
    review.change("006", "006_1", apex=130, **WHY)
    before = review.file.read_bytes()
    (folder / "rest").write_bytes(bytes(shutil.disk_usage(folder).free))
    for again in (lambda: review.change("007", "007_1", apex=40, **WHY), review.undo):
        with pytest.raises(DataError, match="disk is full") as caught:
            again()
        assert "\n" not in str(caught.value)
        assert review.file.read_bytes() == before
    (folder / "rest").unlink()
    assert review.undo()


def test_a_folder_that_can_t_be_written_is_one_sentence(review, monkeypatch):
    def refuses(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuses)  # who is root may write everywhere
    with pytest.raises(DataError, match=r"corrections can't be written \(Permission denied\)"):
        review.change("006", "006_1", apex=130, **WHY)
    assert not review.file.exists()


def test_a_row_with_too_many_cells_is_named(review):
    review.change("006", "006_1", apex=130, **WHY)
    review.file.write_text(review.file.read_text().replace("swapped", "swapped, I think"))
    with pytest.raises(
        DataError, match="row 2: it has more cells than the header; put text that holds a comma"
    ):
        Review(review.manifest, review.tables)

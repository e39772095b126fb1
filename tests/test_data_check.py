"""What a user holds against what a manifest says: known faults pass, anything else is a sentence and exit code 1.

The data set is invented here, by a yml alone.
"""

import json
import os

import cv2
import numpy as np
import openpyxl
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from melib import DataError
from melib.app import cli, data_check
from melib.study.data import open_study
from melib.vision import faces

HEADER = ["Subject", "Filename", "Onset", "Apex", "Offset", "Emotion"]
ROWS = [
    ["01", "a", 3, 6, 10, "happy"],
    ["01", "b", 12, 15, 20, "sad"],
    ["02", "c", 21, 25, 30, "tense"],
]
BAD_APEX = ["02", "c", 31, 40, 36, "sad"]  # an apex after the offset: repaired to the midpoint


def a_set(folder, rows=ROWS, numbers=range(1, 41), header=HEADER, **fields):
    """Manifest and root of a data set whose frames are empty files, or those of ``numbers`` by video."""
    record = {
        "name": "invented",
        "title": "t",
        "citation": "c",
        "licence": "l",
        "contact": "c",
        "fps": 100,
        "first_frame": 1,
        "has_context": True,
        "show_subjects": [],
        "frames": {"pattern": "frames/{subject}/{video}"},
        "table": {
            "header": "Subject",
            "columns": {
                "subject": "Subject",
                "video": "Filename",
                "onset": "Onset",
                "apex": "Apex",
                "offset": "Offset",
                "emotion": "Emotion",
            },
            "missing": ["/", ""],
            "kind": "micro",
        },
        "repair": {
            "apex_missing": "midpoint",
            "apex_outside": "midpoint",
            "offset_missing": "drop",
            "offset_not_after_onset": "drop",
        },
        "emotion_classes": {"negative": ["sad"], "positive": ["happy"], "surprise": ["surprise"]},
        **fields,
    }
    manifest, root = folder / "invented.yml", folder / "held"
    manifest.write_text(yaml.safe_dump(record, sort_keys=False), encoding="utf-8")
    for subject, video in dict.fromkeys((row[0], row[1]) for row in rows):
        held = numbers.get(f"{subject}/{video}", range(1, 41)) if isinstance(numbers, dict) else numbers
        place = root / "frames" / subject / video
        place.mkdir(parents=True)
        for number in held:
            (place / f"img{number}.png").touch()
    xlsx(root / "table.xlsx", [header, *rows])
    return manifest, root


def xlsx(path, rows):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)
    return path


def melib(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def check(manifest, root, *more):
    """Exit code and record of `melib data check`, by default without looking at images."""
    sample = () if "--sample" in more else ("--sample", 0)
    ended = melib("data", "check", manifest, "--root", root, "--json", *sample, *more)
    return ended.exit_code, json.loads(ended.stdout) if ended.stdout else ended.stderr


def the_problem(found):
    """The only sentence under problems."""
    assert len(found["problems"]) == 1, found["problems"]
    return found["problems"][0]


# Nothing wrong, known, anything else


def test_a_data_set_in_order_ends_with_0_and_all_its_numbers(tmp_path):
    code, found = check(*a_set(tmp_path))
    assert code == 0
    assert found["events"] == {"ok": 3, "repaired": 0, "dropped": 0}
    assert found["kinds"] == {"micro": 3}
    assert (found["subjects"], found["subjects_found"]) == (2, 2)
    assert (found["videos_annotated"], found["videos_found"], found["videos_missing"]) == (3, 3, 0)
    assert found["frames_found"] == 3 * 40
    assert (found["first_frame"], found["videos_from_first_frame"], found["events_within_frames"]) == (
        1,
        3,
        3,
    )
    assert (found["layout"], found["has_context"]) == ("frames/{subject}/{video}", True)
    assert found["known"] == found["problems"] == found["gaps"] == []


@pytest.mark.parametrize("known", [1, 2, ["c"], ["02/c"], ["c.2"]])
def test_what_the_release_is_known_to_have_is_no_problem(tmp_path, known):
    code, found = check(*a_set(tmp_path, [*ROWS, BAD_APEX], known={"apex_outside": known}))
    assert code == 0
    assert found["reasons"] == {"repaired": {"apex_outside": 1}}
    assert found["known"] == ["1 row with an apex outside the event (02/c.2)."]


@pytest.mark.parametrize("known", [None, 0, ["b"]])
def test_what_it_isn_t_known_to_have_is_one(tmp_path, known):
    fields = {} if known is None else {"known": {"apex_outside": known}}
    code, found = check(*a_set(tmp_path, [*ROWS, BAD_APEX], **fields))
    assert code == 1
    assert found["known"] == []
    assert the_problem(found).startswith("1 row with an apex outside the event (02/c.2: row 3 (line 5")


def test_more_than_is_known_is_a_problem_that_says_how_many_are_known(tmp_path):
    rows = [*ROWS, BAD_APEX, ["02", "c", 5, 2, 9, "sad"]]
    code, found = check(*a_set(tmp_path, rows, known={"apex_outside": 1}))
    assert code == 1
    assert "2 rows" in the_problem(found) and "known to have 1" in the_problem(found)


def test_of_named_faults_only_the_others_are_a_problem(tmp_path):
    rows = [*ROWS, BAD_APEX, ["01", "d", 5, 2, 9, "sad"]]
    code, found = check(*a_set(tmp_path, rows, known={"apex_outside": ["d"]}))
    assert code == 1
    assert found["known"] == ["1 row with an apex outside the event (01/d)."]
    assert "02/c.2" in the_problem(found) and "01/d" not in the_problem(found)


def test_a_corrected_row_is_no_problem(tmp_path):
    manifest, root = a_set(tmp_path, [*ROWS, BAD_APEX])
    (tmp_path / "corrections").mkdir()
    (tmp_path / "corrections" / "invented.csv").write_text(
        "subject,video,onset,field,old,new,reason,source\n02,c,31,apex,40,34,digits,video\n"
    )
    code, found = check(manifest, root)
    assert code == 0, found
    assert "corrected" in found["known"][0]


def test_a_table_to_join_that_is_absent_is_a_note(tmp_path):
    code, found = check(*a_set(tmp_path, join={"dataset": "synthme", "take": ["emotion"]}))
    assert code == 0
    assert "synthme" in found["notes"][0]


# Tables


def test_a_part_of_the_release_is_told_in_counts(tmp_path):
    code, found = check(*a_set(tmp_path, expected={"rows": 4, "subjects": 3, "videos": 3, "micro": 4}))
    assert code == 1
    said = the_problem(found)
    assert "3 rows, 2 subjects, 3 micro-expressions" in said and "4 rows, 3 subjects, 4 micro" in said
    assert "only a part" in said and "videos" not in said


def test_a_table_of_no_known_version_names_those_that_are(tmp_path):
    versions = [{"name": "v1", "has": ["Notes"]}, {"name": "v2", "rows": 9}]
    code, found = check(*a_set(tmp_path, versions=versions))
    assert code == 1
    assert "v1, v2" in the_problem(found)


def test_a_wrong_table_is_one_sentence_that_names_it(tmp_path):
    manifest, root = a_set(tmp_path)
    other = xlsx(tmp_path / "other.xlsx", [["name", "age"], ["x", 3]])
    code, said = check(manifest, root, "--table", other)
    assert code == 1
    assert str(other) in said and len(said.splitlines()) == 1


# Videos and frames


def test_a_missing_video_is_a_problem_unless_it_is_known(tmp_path):
    manifest, root = a_set(tmp_path)
    (root / "frames" / "01" / "b").rename(tmp_path / "gone")
    code, found = check(manifest, root)
    assert code == 1 and found["videos_missing"] == 1
    assert "1 annotated video without frames (01/b)" in the_problem(found)
    assert "subjects" not in the_problem(found)
    (tmp_path / "known").mkdir()
    manifest, root = a_set(tmp_path / "known", known={"video_missing": ["01/b"]})
    (root / "frames" / "01" / "b").rename(tmp_path / "gone, too")
    code, found = check(manifest, root)
    assert code == 0 and "01/b" in found["known"][0]


def test_names_that_never_agree_are_shown_side_by_side(tmp_path):
    manifest, root = a_set(tmp_path)
    for subject in ("01", "02"):
        (root / "frames" / subject).rename(root / "frames" / f"s{subject}")
    code, found = check(manifest, root)
    assert code == 1
    assert "01/a" in the_problem(found) and "s01/a" in the_problem(found)


def test_case_tells_no_videos_apart(tmp_path):
    manifest, root = a_set(tmp_path, [["spNO.1", "a", 3, 6, 10, "sad"]])
    (root / "frames" / "spNO.1").rename(root / "frames" / "spNo.1")
    code, found = check(manifest, root)
    assert code == 0 and found["videos_missing"] == 0


def test_a_video_that_nobody_annotated_is_counted_and_no_problem(tmp_path):
    manifest, root = a_set(tmp_path)
    (root / "frames" / "02" / "empty").mkdir()
    (root / "frames" / "02" / "empty" / "img1.png").touch()
    code, found = check(manifest, root)
    assert code == 0 and found["videos_not_annotated"] == 1


def test_an_empty_folder_is_told_and_the_rest_is_checked(tmp_path):
    code, found = check(*a_set(tmp_path, numbers={"01/a": []}))
    assert code == 1 and found["frames_found"] == 80
    assert the_problem(found).startswith("1 of 3 videos can't be used")


def test_frames_whose_order_is_not_certain_and_numbers_that_lack_are_said(tmp_path):
    manifest, root = a_set(tmp_path, numbers={"02/c": [n for n in range(1, 41) if n not in (4, 5, 39)]})
    (root / "frames" / "01" / "a" / "img5 (1).png").touch()
    code, found = check(manifest, root)
    assert code == 1
    assert "img5 (1).png" in the_problem(found)
    assert any("02/c, 3" in note for note in found["notes"])


def test_a_missing_root_is_one_sentence(tmp_path):
    manifest, root = a_set(tmp_path)
    code, said = check(manifest, root / "nowhere")
    assert code == 1 and "nowhere is missing" in said


def test_a_gap_inside_an_event_is_counted_and_a_gap_elsewhere_is_none(tmp_path):
    inside = [n for n in range(1, 41) if n not in (14, 15, 17)]
    outside = [n for n in range(1, 41) if n not in (32, 35)]
    code, found = check(*a_set(tmp_path, numbers={"01/b": inside, "02/c": outside}))
    assert code == 1
    assert found["gaps"] == [{"event": "01/b", "missing": 3, "of": 9, "first": 14}]
    assert (found["frames_missing"], found["events_with_missing_frames"]) == (3, 1)
    assert "01/b: 3 of 9 from 14" in the_problem(found)


def test_a_known_gap_is_none(tmp_path):
    cut = {"01/b": range(1, 18)}
    code, found = check(*a_set(tmp_path, numbers=cut, known={"frames_missing": ["01/b"]}))
    assert code == 0
    assert found["frames_missing"] == 3 and found["events_within_frames"] == 2


@pytest.mark.parametrize("start", [0, 2])
def test_clips_numbered_one_off_are_found_out(tmp_path, start):
    """Cut from onset to offset, so that the first number says nothing by itself."""
    cut = {f"{row[0]}/{row[1]}": range(row[2] + start - 1, row[4] + start) for row in ROWS}
    code, found = check(*a_set(tmp_path, numbers=cut, has_context=False))
    assert code == 1
    assert f"numbered from {start}, not from 1" in the_problem(found)
    assert "first_frame" in the_problem(found) and "line " in the_problem(found)
    assert found["gaps"] == []


def test_videos_that_begin_one_late_are_found_out_although_every_event_is_inside(tmp_path):
    code, found = check(*a_set(tmp_path, numbers=range(2, 42)))
    assert code == 1
    assert "numbered from 2, not from 1" in the_problem(found)


def test_videos_that_begin_one_early_are_found_out(tmp_path):
    code, found = check(*a_set(tmp_path, numbers=range(40)))
    assert code == 1
    assert "img0.png" in the_problem(found) and "first_frame" in the_problem(found)


def test_a_last_frame_that_lacks_is_not_taken_for_numbers_one_off(tmp_path):
    code, found = check(*a_set(tmp_path, numbers={"02/c": range(1, 30)}))
    assert code == 1
    assert "02/c: 1 of 10 from 30" in the_problem(found)


def test_clips_cut_at_their_onset_begin_where_they_like(tmp_path):
    rows = [[f"{i:02d}", "a", 2, 4, 9, "sad"] for i in range(4)]
    code, found = check(*a_set(tmp_path, rows, numbers=range(2, 10)))
    assert code == 0, found


def test_clips_with_numbers_of_their_own_are_told_from_broken_ones(tmp_path):
    rows = [[f"{i:02d}", "a", 500, 505, 520, "sad"] for i in range(3)]
    code, found = check(*a_set(tmp_path, rows, numbers=range(1, 22)))
    assert code == 1
    assert "name the files by the numbers of the table" in the_problem(found)


@pytest.mark.parametrize("rates", [[300, 300, 300], [300, 300, 500]])
def test_a_study_has_the_one_frame_rate_of_its_events_or_is_refused(tmp_path, rates):
    path, root = a_set(
        tmp_path, [[*row, rate] for row, rate in zip(ROWS, rates, strict=True)], header=[*HEADER, "FPS"]
    )
    record = yaml.safe_load(path.read_text(encoding="utf-8"))
    record["table"]["columns"]["fps"] = "FPS"
    path.write_text(yaml.safe_dump(record), encoding="utf-8")
    if len(set(rates)) == 1:
        assert open_study(path, root).manifest.fps == 300
    else:
        with pytest.raises(DataError, match="300, 500 frames a second"):
            open_study(path, root)


# Images


@pytest.fixture
def of_noise(tmp_path):
    """A data set whose images can be read."""
    manifest, root = a_set(tmp_path)
    rng = np.random.default_rng(0)
    for path in root.glob("frames/*/*/*.png"):
        cv2.imwrite(str(path), rng.integers(0, 256, (8, 8), np.uint8))
    return manifest, root


def test_no_more_images_are_read_than_asked_for(of_noise, monkeypatch):
    read = []
    monkeypatch.setattr(faces, "find_face", lambda image: read.append(image.shape) or True)
    code, found = check(*of_noise, "--sample", 7)
    assert code == 0
    assert len(read) == found["images_sampled"] == found["faces_found"] == 7
    assert found["images_unreadable"] == 0


def test_images_that_can_t_be_read_are_named(of_noise, monkeypatch):
    manifest, root = of_noise
    monkeypatch.setattr(faces, "find_face", lambda image: True)
    for path in (root / "frames" / "01" / "a").iterdir():
        path.write_bytes(b"no image")
    code, found = check(manifest, root, "--sample", 6)
    assert code == 1
    assert (found["images_unreadable"], found["faces_sampled"]) == (2, 4)
    assert "2 of 6 images can't be read" in the_problem(found) and "img" in the_problem(found)


def test_images_without_a_face_are_a_problem(of_noise, monkeypatch):
    monkeypatch.setattr(faces, "find_face", lambda image: None)
    code, found = check(*of_noise, "--sample", 5)
    assert code == 1
    assert "in 0 of 5 frames" in the_problem(found)


# Events from tables alone


def test_events_are_written_from_tables_alone_and_nothing_vanishes(tmp_path):
    rows = [*ROWS, BAD_APEX, ["02", "c", 5, "/", "/", "sad"]]
    manifest, root = a_set(tmp_path, rows, known={"apex_outside": 1, "offset_missing": 1})
    out = tmp_path / "sub" / "events.csv"
    ended = melib("data", "events", manifest, "--table", root / "table.xlsx", "--out", out)
    assert ended.exit_code == 0, ended.output
    assert "3 ok, 1 repaired, 1 dropped" in ended.stdout
    table = pd.read_csv(out, dtype=str, keep_default_na=False)
    assert len(table) == len(rows)
    assert table["status"].tolist() == ["ok", "ok", "ok", "repaired", "dropped"]
    assert table.loc[0, ["onset", "apex", "offset"]].tolist() == ["2", "5", "9"]  # 0-based
    assert table.loc[4, ["apex", "offset"]].tolist() == ["", ""]
    assert table.loc[3:, "reason"].str.contains("line ").all()


def test_events_with_an_unknown_fault_are_written_and_end_with_1(tmp_path):
    manifest, root = a_set(tmp_path, [*ROWS, BAD_APEX])
    out = tmp_path / "events.csv"
    arguments = ["data", "events", manifest, "--table", root / "table.xlsx", "--out", out]
    ended = melib(*arguments)
    assert ended.exit_code == 1
    assert "problem: 1 row with an apex outside" in ended.stdout
    assert len(pd.read_csv(out)) == 4
    melib(*arguments, "--policy", "drop")
    assert pd.read_csv(out)["status"].tolist()[-1] == "dropped"


def test_strict_stops_at_the_first_row_and_writes_nothing(tmp_path):
    manifest, root = a_set(tmp_path, [*ROWS, BAD_APEX])
    out = tmp_path / "events.csv"
    ended = melib(
        "data", "events", manifest, "--table", root / "table.xlsx", "--out", out, "--policy", "strict"
    )
    assert ended.exit_code == 1
    assert "line 5" in ended.stderr and len(ended.stderr.splitlines()) == 1
    assert not out.exists()


def test_several_tables_are_read_as_one(tmp_path):
    manifest, root = a_set(tmp_path)
    more = xlsx(tmp_path / "more.xlsx", [HEADER, ["03", "d", 1, 2, 3, "sad"]])
    out = tmp_path / "events.csv"
    ended = melib("data", "events", manifest, "--table", root / "table.xlsx", "--table", more, "--out", out)
    assert ended.exit_code == 0
    assert pd.read_csv(out, dtype=str)["subject"].tolist() == ["01", "01", "02", "03"]


# What the user holds, file by file


@pytest.fixture
def held(tmp_path):
    root = tmp_path / "held"
    for name in ("a/img10.png", "a/img2.png", "table, final.csv", ".hidden/x", "a/.DS_Store"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def test_every_file_is_listed_in_natural_order_with_its_size_and_hash(held, tmp_path):
    out = tmp_path / "files.csv"
    assert melib("data", "manifest", "--root", held, "--out", out).exit_code == 0
    table = pd.read_csv(out)
    assert table["relpath"].tolist() == ["a/img2.png", "a/img10.png", "table, final.csv"]
    assert table["bytes"].tolist() == [10, 11, 16]
    # sha256 of the text a/img2.png, by coreutils
    assert table["sha256"][0] == "6f9596fa094cc8295744de8c4b98dd47a163baa1233ba2c401fe441b7c17b76e"


def test_a_list_verifies_what_it_was_made_of_even_from_inside_the_folder(held):
    out = held / "files.csv"
    for _ in range(2):
        assert melib("data", "manifest", "--root", held, "--out", out).exit_code == 0
        assert len(pd.read_csv(out)) == 3
    ended = melib("data", "manifest", "--root", held, "--verify", out)
    assert ended.exit_code == 0
    assert ended.stdout.strip() == "0 missing, 0 changed, 0 extra of 3 listed files"


def test_missing_changed_and_extra_files_are_named(held, tmp_path):
    out = tmp_path / "files.csv"
    melib("data", "manifest", "--root", held, "--out", out)
    (held / "a" / "img2.png").unlink()
    (held / "a" / "img10.png").write_bytes(b"a/img1O.png")  # as many bytes
    (held / "new.txt").touch()
    ended = melib("data", "manifest", "--root", held, "--verify", out)
    assert ended.exit_code == 1
    assert ended.stdout.splitlines() == [
        "missing: a/img2.png",
        "changed: a/img10.png",
        "extra: new.txt",
        "1 missing, 1 changed, 1 extra of 3 listed files",
    ]


def test_links_are_followed_once(held, tmp_path):
    (held / "elsewhere").symlink_to(tmp_path / "other")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").touch()
    (held / "a" / "up").symlink_to(held)
    assert data_check.inventory(held)["relpath"].tolist()[-2:] == ["elsewhere/x", "table, final.csv"]
    assert len(data_check.inventory(held)) == 4


def test_names_in_another_encoding_are_listed_too(held, tmp_path):
    (held / os.fsdecode(b"\xc4\xe3.txt")).touch()
    out = tmp_path / "files.csv"
    assert melib("data", "manifest", "--root", held, "--out", out).exit_code == 0
    assert "\\xc4\\xe3.txt" in pd.read_csv(out)["relpath"].tolist()
    assert melib("data", "manifest", "--root", held, "--verify", out).exit_code == 0


@pytest.mark.parametrize(
    "wrong", ["a,b\n1,2\n", "relpath,bytes,sha256\nx,many,0\n", f"relpath,bytes,sha256\nx,{10**30},0\n", ""]
)
def test_a_file_that_is_no_list_is_one_sentence(held, tmp_path, wrong):
    (tmp_path / "wrong.csv").write_text(wrong)
    ended = melib("data", "manifest", "--root", held, "--verify", tmp_path / "wrong.csv")
    assert ended.exit_code == 1
    assert "wrong.csv" in ended.stderr and len(ended.stderr.splitlines()) == 1


def test_a_file_that_can_t_be_read_is_named_and_nothing_is_written(held, tmp_path):
    os.symlink("nowhere", held / "broken")
    ended = melib("data", "manifest", "--root", held, "--out", tmp_path / "files.csv")
    assert ended.exit_code == 1
    assert "broken" in ended.stderr and len(ended.stderr.splitlines()) == 1
    assert not (tmp_path / "files.csv").exists()


def test_an_interrupt_leaves_no_list(held, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(data_check.hashlib, "file_digest", stop)
    ended = melib("data", "manifest", "--root", held, "--out", tmp_path / "files.csv")
    assert ended.exit_code == 1
    assert "interrupted" in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["held"]

"""What a user holds against what a manifest says: known faults pass, anything else is a sentence and exit code 1.

The data set is invented here, by a yml alone.
"""

import json
import os

import cv2
import numpy as np
import pandas as pd
import pytest
from test_annotations import manifest, xlsx
from typer.testing import CliRunner

from melib import DataError
from melib.app import cli, data_check
from melib.study.data import open_study
from melib.vision import faces

HEADER = ["Subject", "Filename", "Onset", "Apex", "Offset", "Emotion"]
COLUMNS = dict(zip(("subject", "video", "onset", "apex", "offset", "emotion"), HEADER, strict=True))
ROWS = [
    ["01", "a", 3, 6, 10, "happiness"],
    ["01", "b", 12, 15, 20, "anger"],
    ["02", "c", 21, 25, 30, "tense"],
]
BAD_APEX = ["02", "c", 31, 40, 36, "anger"]  # an apex after the offset: repaired to the midpoint


def a_set(folder, rows=ROWS, numbers=range(1, 41), header=HEADER, columns=COLUMNS, **fields):
    """Manifest and root of a data set whose frames are empty files, or those of ``numbers`` by video."""
    fields = {"fps": 100, "frames": {"pattern": "frames/{subject}/{video}"}} | fields
    about = manifest(folder, table={"columns": columns}, repair={"offset_missing": "drop"}, **fields)
    root = folder / "held"
    for subject, video in dict.fromkeys((row[0], row[1]) for row in rows):
        held = numbers.get(f"{subject}/{video}", range(1, 41)) if isinstance(numbers, dict) else numbers
        place = root / "frames" / subject / video
        place.mkdir(parents=True)
        for number in held:
            (place / f"img{number}.png").touch()
    xlsx(root / "table.xlsx", [header, *rows])
    return about.source, root


def melib(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def check(manifest, root, *more):
    """Exit code and record of `melib data check`, by default without looking at images."""
    sample = () if "--sample" in more else ("--sample", 0)
    ended = melib("data", "check", manifest, "--root", root, "--json", *sample, *more)
    return ended.exit_code, json.loads(ended.stdout) if ended.stdout else ended.stderr


def the_problem(record):
    """The only sentence under problems."""
    assert len(record["problems"]) == 1, record["problems"]
    return record["problems"][0]


# Known of the release, or a problem


def test_a_data_set_in_order_ends_with_0_and_all_its_numbers(tmp_path):
    code, record = check(*a_set(tmp_path))
    assert code == 0
    assert record["counts"] == {
        "events": {"ok": 3, "repaired": 0, "dropped": 0},
        "kinds": {"micro": 3},
        "subjects": {"annotated": 2, "found": 2},
        "videos": {"annotated": 3, "found": 3, "missing": 0, "not annotated": 0},
        "frames": {"found": 120},
        "images": {"read": 0, "with a face": 0},
    }
    assert record["layout"] == "frames/{subject}/{video}"
    assert record["known"] == record["problems"] == []


# What a manifest knows of apexes outside -> exit code, and what is said where it isn't all known
KNOWN = [
    (2, 0, ""),
    (["c"], 1, "01/d"),
    (["c.2", "01/d"], 0, ""),
    (1, 1, "known to have 1"),
    (None, 1, "02/c.2: row 3 (line 5"),
]


@pytest.mark.parametrize(("known", "code", "words"), KNOWN)
def test_what_the_release_is_known_to_have_is_no_problem_and_all_else_is(tmp_path, known, code, words):
    fields = {} if known is None else {"known": {"apex_outside": known}}
    rows = [*ROWS, BAD_APEX, ["01", "d", 5, 2, 9, "anger"]]
    ended, record = check(*a_set(tmp_path, rows, **fields))
    assert ended == code
    assert record["counts"]["rows with an apex outside the event"] == {"repaired": 2}
    if code:
        assert words in the_problem(record)
    else:
        assert record["known"] == ["rows with an apex outside the event: 2 (02/c.2, 01/d)."]


def test_a_corrected_row_is_no_problem(tmp_path):
    manifest, root = a_set(tmp_path, [*ROWS, BAD_APEX])
    (tmp_path / "corrections").mkdir()
    (tmp_path / "corrections" / "invented.csv").write_text(
        "subject,video,onset,field,old,new,reason,source\n02,c,31,apex,40,34,digits,video\n"
    )
    code, record = check(manifest, root)
    assert code == 0 and "corrected" in record["known"][0]


def test_the_table_is_held_against_the_release(tmp_path):
    cases = {
        "part": {"expected": {"rows": 4, "subjects": 3, "videos": 3, "micro": 4}},
        "version": {"versions": [{"name": "v1", "has": ["Notes"]}, {"name": "v2", "rows": 9}]},
        "joined": {"join": {"dataset": "synthme", "take": ["emotion"]}},
    }
    records = {}
    for name, fields in cases.items():
        (tmp_path / name).mkdir()
        records[name] = check(*a_set(tmp_path / name, **fields))
    code, part = records["part"]
    assert (
        code == 1 and "3 rows, 2 subjects, 3 micro" in the_problem(part) and "videos" not in the_problem(part)
    )
    code, version = records["version"]
    assert code == 1 and "v1, v2" in the_problem(version)
    code, joined = records["joined"]
    assert code == 0 and "synthme" in joined["notes"][0]


# Videos and frames


@pytest.mark.parametrize("known", [False, True])
def test_a_missing_video_is_a_problem_unless_it_is_known(tmp_path, known):
    manifest, root = a_set(tmp_path, **({"known": {"video_missing": ["01/b"]}} if known else {}))
    (root / "frames" / "01" / "b").rename(root / "frames" / "01" / "nobody annotated this")
    code, record = check(manifest, root)
    assert code == 1 - known
    assert record["counts"]["videos"] == {"annotated": 3, "found": 3, "missing": 1, "not annotated": 1}
    assert "annotated videos without frames: 1 (01/b)" in "".join(record["known" if known else "problems"])


def test_names_that_never_agree_are_shown_side_by_side_and_case_tells_none_apart(tmp_path):
    manifest, root = a_set(tmp_path)
    for subject in ("01", "02"):
        (root / "frames" / subject).rename(root / "frames" / f"s{subject}")
    code, record = check(manifest, root)
    assert code == 1 and "01/a" in the_problem(record) and "s01/a" in the_problem(record)
    (tmp_path / "case").mkdir()
    manifest, root = a_set(tmp_path / "case", [["spNO.1", "a", 3, 6, 10, "anger"]])
    (root / "frames" / "spNO.1").rename(root / "frames" / "spNo.1")
    assert check(manifest, root)[0] == 0


def test_a_folder_that_can_t_be_used_is_told_and_the_rest_is_checked(tmp_path):
    manifest, root = a_set(tmp_path, numbers={"01/a": []})
    (root / "frames" / "01" / "b" / "img5 (1).png").touch()
    code, record = check(manifest, root)
    assert code == 1 and record["counts"]["frames"]["found"] == 40
    assert the_problem(record).startswith("videos that can't be used: 2 (")


# Frames that a video lacks -> what is said of it
GAPS = [
    ({"01/b": [n for n in range(1, 41) if n not in (14, 15, 17)]}, "01/b: 3 of 9 from 14"),
    ({"02/c": range(1, 30)}, "02/c: 1 of 10 from 30"),  # at the end, and not taken for numbers one off
    ({"02/c": [n for n in range(1, 41) if n not in (32, 35)]}, ""),  # in no event
]


@pytest.mark.parametrize(("numbers", "words"), GAPS)
def test_a_frame_that_an_event_lacks_is_a_problem_unless_it_is_known(tmp_path, numbers, words):
    code, record = check(*a_set(tmp_path, numbers=numbers))
    assert code == bool(words)
    if words:
        assert words in the_problem(record)
        (tmp_path / "known").mkdir()
        manifest, root = a_set(tmp_path / "known", numbers=numbers, known={"frames_missing": [*numbers]})
        assert check(manifest, root)[0] == 0


# Numbers of the files, one off where a number is given
NUMBERED = [
    ({f"{r[0]}/{r[1]}": range(r[2] - 1, r[4]) for r in ROWS}, 0),  # cut from onset to offset
    ({f"{r[0]}/{r[1]}": range(r[2] + 1, r[4] + 2) for r in ROWS}, 2),
    (range(2, 42), 2),  # every event is inside
    ({f"{r[0]}/{r[1]}": range(r[2], r[4] + 1) for r in ROWS}, None),
]


@pytest.mark.parametrize(("numbers", "start"), NUMBERED)
def test_files_numbered_one_off_are_found_out(tmp_path, numbers, start):
    code, record = check(*a_set(tmp_path, numbers=numbers, has_context=False))
    assert code == (start is not None)
    if code:
        assert f"numbered from {start}, not from 1" in the_problem(record)
        assert "first_frame" in the_problem(record) and "line " in the_problem(record)


def test_clips_cut_at_their_onset_begin_where_they_like(tmp_path):
    rows = [[f"{i:02d}", "a", 2, 4, 9, "anger"] for i in range(4)]
    assert check(*a_set(tmp_path, rows, numbers=range(2, 10)))[0] == 0


@pytest.mark.parametrize("rates", [[300, 300, 300], [300, 300, 500]])
def test_a_study_has_the_one_frame_rate_of_its_events_or_is_refused(tmp_path, rates):
    rows = [[*row, rate] for row, rate in zip(ROWS, rates, strict=True)]
    path, root = a_set(tmp_path, rows, header=[*HEADER, "FPS"], columns=COLUMNS | {"fps": "FPS"})
    if len(set(rates)) == 1:
        assert open_study(path, root).manifest.fps == 300
    else:
        with pytest.raises(DataError, match="300, 500 frames a second"):
            open_study(path, root)


# Images


@pytest.mark.parametrize("face", [True, None])
def test_as_many_images_are_read_as_asked_for_and_looked_at_for_faces(tmp_path, monkeypatch, face):
    manifest, root = a_set(tmp_path)
    rng = np.random.default_rng(0)
    for path in root.glob("frames/*/*/*.png"):
        cv2.imwrite(str(path), rng.integers(0, 256, (8, 8), np.uint8))
    monkeypatch.setattr(faces, "find_face", lambda image: face)
    code, record = check(manifest, root, "--sample", 6)
    assert code == (0 if face else 1)
    assert record["counts"]["images"] == {"read": 6, "with a face": 6 if face else 0}
    if not face:
        assert "0 of 6 images" in the_problem(record)
        return
    for path in (root / "frames" / "01" / "a").iterdir():
        path.write_bytes(b"no image")
    code, record = check(manifest, root, "--sample", 6)
    assert code == 1 and record["counts"]["images"]["read"] == 4
    assert "images that can't be read: 2 (" in the_problem(record)


# Events from tables alone


def test_events_are_written_from_tables_alone_and_nothing_vanishes(tmp_path):
    rows = [*ROWS, BAD_APEX, ["02", "c", 5, "/", "/", "anger"]]
    manifest, root = a_set(tmp_path, rows, known={"apex_outside": 1, "offset_missing": 1})
    more = xlsx(tmp_path / "more.xlsx", [HEADER, ["03", "d", 1, 2, 3, "anger"]])
    out = tmp_path / "sub" / "events.csv"
    ended = melib("data", "events", manifest, "--table", root / "table.xlsx", "--table", more, "--out", out)
    assert ended.exit_code == 0, ended.output
    assert "4 ok, 1 repaired, 1 dropped" in ended.stdout
    table = pd.read_csv(out, dtype=str, keep_default_na=False)
    assert table["status"].tolist() == ["ok", "ok", "ok", "repaired", "dropped", "ok"]
    assert table.loc[0, ["onset", "apex", "offset"]].tolist() == ["2", "5", "9"]  # 0-based
    assert table.loc[4, ["apex", "offset"]].tolist() == ["", ""]
    assert table.loc[[3, 4], "reason"].str.contains("line ").all()


def test_an_unknown_fault_ends_with_1_and_what_is_done_is_asked_for(tmp_path):
    manifest, root = a_set(tmp_path, [*ROWS, BAD_APEX])
    out = tmp_path / "events.csv"
    arguments = ["data", "events", manifest, "--table", root / "table.xlsx", "--out", out, "--policy"]
    ended = melib(*arguments, "strict")
    assert ended.exit_code == 1 and "line 5" in ended.stderr and not out.exists()
    for policy, status in (("repair", "repaired"), ("drop", "dropped")):
        ended = melib(*arguments, policy)
        assert ended.exit_code == 1 and "problem: rows with an apex outside" in ended.stdout
        assert pd.read_csv(out)["status"].tolist()[-1] == status


# What the user holds, file by file


@pytest.fixture
def held(tmp_path):
    root = tmp_path / "held"
    for name in ("a/img10.png", "a/img2.png", "table, final.csv", ".hidden/x", "a/.DS_Store"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def test_every_file_is_listed_in_natural_order_and_what_differs_from_a_list_is_named(held):
    out = held / "files.csv"
    for _ in range(2):  # the list itself may lie in the folder
        assert melib("data", "manifest", "--root", held, "--out", out).exit_code == 0
    table = pd.read_csv(out)
    assert table["relpath"].tolist() == ["a/img2.png", "a/img10.png", "table, final.csv"]
    assert table["bytes"].tolist() == [10, 11, 16]
    # sha256 of the text a/img2.png, by coreutils
    assert table["sha256"][0] == "6f9596fa094cc8295744de8c4b98dd47a163baa1233ba2c401fe441b7c17b76e"
    ended = melib("data", "manifest", "--root", held, "--verify", out)
    assert ended.exit_code == 0
    assert ended.stdout.strip() == "0 missing, 0 changed, 0 extra of 3 listed files"
    (held / "a" / "img2.png").unlink()
    (held / "a" / "img10.png").write_bytes(b"a/img1O.png")  # as many bytes
    (held / "new.txt").touch()
    ended = melib("data", "manifest", "--root", held, "--verify", out)
    assert ended.exit_code == 1
    names = ["missing: a/img2.png", "changed: a/img10.png", "extra: new.txt"]
    assert ended.stdout.splitlines() == [*names, "1 missing, 1 changed, 1 extra of 3 listed files"]


def test_links_are_followed_once(held, tmp_path):
    (held / "elsewhere").symlink_to(tmp_path / "other")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").touch()
    (held / "a" / "up").symlink_to(held)
    assert data_check.inventory(held)["relpath"].tolist()[-2:] == ["elsewhere/x", "table, final.csv"]
    assert len(data_check.inventory(held)) == 4


def test_a_file_that_can_t_be_read_is_named_and_nothing_is_written(held, tmp_path):
    os.symlink("nowhere", held / "broken")
    ended = melib("data", "manifest", "--root", held, "--out", tmp_path / "files.csv")
    assert ended.exit_code == 1
    assert "broken" in ended.stderr and len(ended.stderr.splitlines()) == 1
    assert not (tmp_path / "files.csv").exists()


@pytest.mark.parametrize(
    "wrong", ["a,b\n1,2\n", "relpath,bytes,sha256\nx,many,0\n", f"relpath,bytes,sha256\nx,{10**30},0\n", ""]
)
def test_a_file_that_is_no_list_is_one_sentence(held, tmp_path, wrong):
    (tmp_path / "wrong.csv").write_text(wrong)
    ended = melib("data", "manifest", "--root", held, "--verify", tmp_path / "wrong.csv")
    assert ended.exit_code == 1
    assert "wrong.csv" in ended.stderr and len(ended.stderr.splitlines()) == 1

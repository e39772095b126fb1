"""Every licensed data set, as a miniature: its table is read, its folders are found, and a network learns from them.

All rows are invented, all faces simulated (tests/licensed.py).
"""

import ast
import json
import os
import re
import subprocess
import sys
import time
import warnings

import licensed
import numpy as np
import pytest
import yaml
from made_up import unbegun
from test_readme import clean_checkout

from melib import DataError, learn, simulate
from melib.annotations import audit, read_events
from melib.app import predictor_weights
from melib.app.data_check import check_data
from melib.data.manifest import parts, read_manifest, variants, videos
from melib.study import intensity, results, spotting
from melib.study.data import open_study, with_clips

NAMES = list(licensed.MINIATURES)


def has_apex(name):
    return any("apex" in part["columns"] for part in parts(read_manifest(name)))


# Where paper 1 has no target, whole videos are learned from.
LONG = {name for name in NAMES if read_manifest(name).long or not has_apex(name)}
GAP = {"event": "16/EP01_08", "missing": 11, "of": 26, "first": 38}
LAYOUTS = [(name, layout) for name in NAMES for layout in licensed.MINIATURES[name].videos]


@pytest.fixture(scope="module")
def faces(tiny_set):
    return licensed.clips(tiny_set)


@pytest.fixture(scope="module")
def table_of(tmp_path_factory):
    """A function that writes a miniature's tables and returns their paths."""
    folder = tmp_path_factory.mktemp("tables")
    return lambda name: licensed.write_table(name, folder / name)


def partial(name, folder):
    """A copy of a manifest that expects no count: a miniature holds a part of the release."""
    record = yaml.safe_load(read_manifest(name).source.read_text(encoding="utf-8"))
    record.pop("expected", None)
    for version in record.get("versions", []):
        version.pop("rows", None)
    path = folder / f"{name}.yml"
    path.write_text(yaml.safe_dump(record, sort_keys=False), encoding="utf-8")
    return path


# Manifests
# ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_says_who_made_the_data_whom_to_ask_and_shows_nobody(name):
    manifest = read_manifest(name)
    assert (manifest.name, manifest.source.stem) == (name, name)
    assert re.search(r"\b(19|20)\d\d\.", manifest.citation)
    assert "agreement" in manifest.licence
    assert "agreement" in manifest.contact
    assert manifest.show_subjects == ()
    assert "@" not in manifest.contact  # nobody's address that may have changed


@pytest.mark.parametrize("name", NAMES)
def test_a_plausible_event_is_never_too_long(name):
    """Four times the 95 % quantile of the same kind in the event statistics, for each kind of the table."""
    quantiles = {"micro": 0.5 if read_manifest(name).fps > 30 else 2.13, "macro": 16.2, "blink": 0.7}
    if name == "casme_sq":
        quantiles["micro"] = 0.5
    limits = read_manifest(name).longest_s
    assert limits.keys() == licensed.MINIATURES[name].kinds.keys()
    assert all(limits[kind] >= 4 * quantiles[kind] for kind in limits)


@pytest.mark.parametrize("name", NAMES)
def test_the_classes_are_those_of_the_protocols(name):
    classes = read_manifest(name).emotion_classes
    members = [emotion for known in classes.values() for emotion in known]
    assert len(members) == len(set(members))
    assert all(emotion == emotion.lower() for emotion in members)


# Tables alone
# ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_a_table_comes_out_with_its_fault_and_reason(name, table_of):
    mini = licensed.MINIATURES[name]
    found = audit(partial(name, table_of(name)[0].parent), *table_of(name))
    events = found.events
    assert found.version == mini.version
    alone = read_manifest(name).join is not None and not mini.joined
    assert all(
        "differs by case" in n or "overlap" in n or (alone and "no table of" in n) for n in found.notes
    )
    assert events["kind"].value_counts().to_dict() == mini.kinds
    assert found.faults["fault"].value_counts().to_dict() == mini.faults
    assert (events["status"] == "dropped").sum() == mini.dropped
    assert set(found.faults["row"]) == set(events.index[events["status"] != "ok"])
    assert (events["reason"] != "").equals(events["status"] != "ok")
    used = events[events["status"] != "dropped"]
    assert (used["onset"] >= 0).all()
    assert (used["onset"] < used["offset"]).all()
    inside = used.dropna(subset="apex")
    assert inside["apex"].between(inside["onset"], inside["offset"]).all()
    assert set(used["emotion_class"]) <= {"negative", "positive", "surprise", "others", ""}


@pytest.mark.parametrize("name", NAMES)
def test_faults_of_a_miniature_are_those_that_the_release_is_known_to_have(name):
    known = read_manifest(name).known
    for fault, count in licensed.MINIATURES[name].faults.items():
        assert count <= (known[fault] if isinstance(known[fault], int) else len(known[fault]))


@pytest.mark.parametrize("name", NAMES)
def test_policy_strict_stops_at_the_first_fault_and_drop_repairs_nothing(name, table_of):
    mini, tables = licensed.MINIATURES[name], table_of(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dropped = read_events(name, *tables, policy="drop")
        assert (dropped["status"] == "ok").sum() == mini.rows - len(set(audit(name, *tables).faults["row"]))
        if mini.faults and mini.joined == "":
            with pytest.raises(DataError, match=rf"^{name}: row \d+ \(line \d+"):
                read_events(name, *tables, policy="strict")


def test_a_subject_in_two_spellings_is_one_person(table_of):
    for name in ("casme3", "casme3_me"):
        found = audit(name, *table_of(name))
        assert found.events["subject"].str.casefold().nunique() == found.events["subject"].nunique() == 2
        assert any("differs by case" in note for note in found.notes)


def test_emotions_come_from_the_table_that_is_joined_and_are_missing_without_it(table_of):
    own, other = table_of("samm_lv")[0], table_of("samm")[0]
    joined = read_events("samm_lv", own, other).set_index("event")["emotion"]
    assert joined.to_dict() == {"028_3_2": "", "028_3_1": "anger", "032_4_2": "", "032_4_1": "surprise"}
    with pytest.warns(UserWarning, match="samm_lv: no table of samm") as caught:
        alone = read_events("samm_lv", own)
    assert len(caught) == 1
    assert set(alone["emotion"]) == {""}


def test_an_onset_of_zero_is_the_first_frame_of_a_long_video(table_of):
    events = read_events("samm_lv", *table_of("samm_lv")).set_index("event")
    assert events.loc["028_3_2", ["onset", "apex", "offset", "status"]].tolist() == [0, 29, 59, "repaired"]
    assert events.loc["032_4_2", ["onset", "apex", "offset"]].tolist() == [9, 37, 65]  # 10.4, -1, 66.6
    assert events["video"].tolist() == ["028_3", "028_3", "032_4", "032_4"]


def test_numbers_of_subjects_and_videos_become_names_of_folders(table_of):
    events = read_events("casme_sq", *table_of("casme_sq"))
    assert events[["subject", "video", "event"]].to_numpy().tolist() == [
        ["s15", "0401", "anger1_1"],
        ["s15", "0401", "anger1_2"],
        ["s16", "0101", "disgust1_1"],
        ["s16", "0101", "disgust1_2"],
    ]
    assert (events["offset"][1] + 1) == 2 * 48 - 40  # mirrored
    assert read_events("casme2", *table_of("casme2"))["subject"].tolist() == ["04", "04", "16", "16"]


def test_full_width_commas_and_further_events_of_a_row_are_read(table_of):
    assert read_events("casme3_c", *table_of("casme3_c"))["aus"].tolist() == ["4", "1,2"]
    events = read_events("smic", *table_of("smic"))
    assert events["video"].tolist() == ["s1_ne_01", "s1_ne_01", "s2_po_01"]
    assert events["onset"].tolist() == [1004, 1039, 2009]
    assert events["apex"].isna().all()
    assert set(events["status"]) == {"ok"}


def test_of_a_workbook_of_three_cameras_the_manifests_is_read_and_subjects_are_called_like_folders(tmp_path):
    rows = [list(row) for row in licensed.MINIATURES["smic"].sheets["Sheet1"]]
    for row in rows[1:]:
        row[0] = int(row[0].removeprefix("s"))
    path = licensed.save_xlsx(tmp_path / "t.xlsx", {"HS": rows, "VIS": rows[:2], "NIR": rows[:2]})
    found = audit("smic", path)
    assert len(found.events) == licensed.MINIATURES["smic"].rows
    assert found.events["subject"].tolist() == ["s01", "s01", "s02"]
    third = [[*row, title] for row, title in zip(rows, ["Onset3F", 1060, None], strict=True)]
    for row, offset in zip(third, ["Offset3F", 1063, None], strict=True):
        row.append(offset)
    assert len(audit("smic", licensed.save_xlsx(path, {"SMIC-HS-E": third})).events) == len(found.events) + 1


def test_ten_thousand_rows_are_read_and_checked_in_two_seconds(tmp_path):
    sheet = licensed.MINIATURES["samm_lv"].sheets["Sheet1"]
    head = sheet[:-4]
    rows = [
        [
            f"{n % 30:03d}",
            f"{n % 30:03d}_{n % 7}_{n}",
            1,
            n,
            n + 20.4 if n % 9 else -1,
            f"{n + 40}",
            40,
            "Macro",
            "4",
            "",
        ]
        for n in range(10_000)
    ]
    path = licensed.save_xlsx(tmp_path / "t.xlsx", {"Sheet1": [*head, *rows]})
    began = time.process_time()  # cores are shared
    found = audit("samm_lv", path)
    assert time.process_time() - began < 2
    assert len(found.events) == 10_000
    assert found.faults["fault"].value_counts().to_dict() == {"apex_missing": 1112, "onset_before_first": 1}


# Bad input
# ---------------------------------------------------------------------------------------------------------------


def changed(name, table_of, change):
    """A miniature's table with a change to its rows, saved beside it."""
    mini = licensed.MINIATURES[name]
    sheets = {title: [list(row) for row in rows] for title, rows in mini.sheets.items()}
    change(next(iter(sheets.values())))
    return licensed.save_xlsx(table_of(name)[0].parent / "changed.xlsx", sheets)


def rename(old, new):
    """A change: a column's title."""

    def change(rows):
        row = next(row for row in rows if old in row)
        row[row.index(old)] = new

    return change


def sentence(call):
    """Message of the DataError that a call ends in: one sentence."""
    with pytest.raises(DataError) as caught:
        call()
    said = str(caught.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other", ["samm", "casme_sq", "casme3"])
def test_the_table_of_another_data_set_is_named_and_refused(name, other, table_of):
    if name == other:
        return
    path = table_of(other)[0]
    assert str(path) in sentence(lambda: audit(name, path))


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("samm", "Apex Frame"),
        ("casme2", "OffsetFrame"),
        ("samm_lv", "Type"),
        ("casme3_me", "emotion"),
        ("casme3_c", "onset"),
    ],
)
def test_a_renamed_column_is_named_with_what_to_do(name, title, table_of):
    path = changed(name, table_of, rename(title, "Something"))
    said = sentence(lambda: read_events(name, path))
    assert str(path) in said
    assert f'no column "{title}"' in said
    assert "Something" in said
    line = int(re.search(rf"{name}\.yml, line (\d+)", said)[1])
    assert title in read_manifest(name).source.read_text(encoding="utf-8").splitlines()[line - 1]


def test_a_column_that_may_lack_is_no_fault(table_of):
    path = changed("samm", table_of, rename("Action Units", "AUs of v1"))
    assert set(read_events("samm", path)["aus"]) == {""}


def test_versions_of_a_table_are_told_apart(table_of):
    def newer(rows):
        for place, row in enumerate(rows):
            row.append("VII" if place else "Objective Classes")

    assert audit("casme2", changed("casme2", table_of, newer)).version == "20190701"
    assert audit("casme2", *table_of("casme2")).version == "20140508"


def test_numeric_subjects_get_the_digits_of_their_folders(table_of):
    def numeric(rows):
        for row in rows[-4:]:
            row[0] = int(row[0])

    for name in ("samm", "samm_lv", "casme2"):
        expected = audit(name, *table_of(name)).events["subject"].tolist()
        assert audit(name, changed(name, table_of, numeric)).events["subject"].tolist() == expected


def test_merged_cells_are_told_apart_from_empty_rows(table_of):
    def merged(rows):
        rows[-1][0] = None  # what a merged cell leaves
        rows.insert(-1, [None] * 5)
        rows.append([None, None, None, None])

    found = audit("samm", changed("samm", table_of, merged))
    assert found.events["status"].tolist() == ["ok", "repaired", "repaired", "dropped"]
    assert "Subject is empty; fill it in, merged cells too" in found.events["reason"].iloc[-1]
    assert re.match(r"row 4 \(line \d+ of changed.xlsx\)", found.events["reason"].iloc[-1])


def test_a_file_without_its_second_sheets_keeps_the_tables_names_and_says_so(table_of):
    path = licensed.save_xlsx(
        table_of("casme_sq")[0].parent / "one.xlsx",
        {"Sheet1": licensed.MINIATURES["casme_sq"].sheets["Sheet1"]},
    )
    found = audit("casme_sq", path)
    assert len(found.notes) == 2
    assert all(str(path) in note and "are called" in note for note in found.notes)
    assert found.events["subject"].str.isdecimal().all()


# Folders: data check, preprocessing, one step of training
# ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def laid(tmp_path_factory, faces):
    """A function that writes a miniature once; whoever changes it changes a copy."""
    done = {}

    def get(name, layout=""):
        if (name, layout) not in done:
            folder = tmp_path_factory.mktemp(f"{name}_{layout}")
            done[name, layout] = licensed.write(name, folder / "data", faces, layout), partial(name, folder)
        return done[name, layout]

    return get


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_data_check_finds_nothing_wrong_that_the_release_is_not_known_for(name, layout, laid):
    mini = licensed.MINIATURES[name]
    root, manifest = laid(name, layout)
    record = check_data(manifest, root, sample=2)
    assert record["problems"] == []
    assert record["version"] == mini.version
    assert record["events"]["dropped"] == mini.dropped
    assert record["videos_missing"] == 0
    assert record["faces_found"] == record["faces_sampled"] == 2
    # One clip of the cropped layout ends early, and the manifest knows it.
    assert record["gaps"] == ([] if layout != "cropped" else [GAP])
    json.dumps(record)


@pytest.mark.parametrize("name", NAMES)
def test_a_network_learns_one_step_from_a_miniature(name, laid, tmp_path):
    root, manifest = laid(name, next(iter(licensed.MINIATURES[name].videos)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # spellings, events that are dropped
        study = open_study(manifest, root)
        learn = long_step if name in LONG else clip_step
        curves = learn(study, tmp_path)
    assert np.isfinite(curves).all()
    assert ((curves >= 0) & (curves <= 1)).all()


def clip_step(study, folder):
    """Faces, windows and flow of clips; one epoch of the intensity network."""
    run = unbegun("smoke", folder / "run")
    study = with_clips(study, run)
    prepared = intensity.prepare_windows(study, "paper", run)
    used = (study.events["status"] != "dropped").sum()
    assert len(prepared.table) == used
    assert prepared.mask.any(axis=1).all()
    rows = np.arange(len(prepared.table))
    fit = learn.windows.FitSettings(input="flow", width=8, hidden=4, epochs=1, batch=4)
    fitted = learn.windows.fit_windows(fit, prepared.load(rows[:-1]), prepared.load(rows[-1:]), seed=0)
    return learn.windows.predict_windows(fitted, prepared.load(rows))


def long_step(study, folder):
    """Regional motion of whole videos; one epoch of the video network."""
    found = spotting.prepare_videos(study, unbegun("smoke", folder / "run"), windows=False)
    assert all(video.mask.any() for video in found)
    assert sum(len(video.events) for video in found) == (study.events["status"] != "dropped").sum()
    sequences = []
    for video in found:
        curves, emotion = spotting.target_curves(video, "triangular")
        sequences.append(learn.videos.Sequence(video.motion, video.mask, curves[:, :1], emotion))
    fit = learn.videos.VideoSettings(width=8, blocks=1, epochs=1, batch=2, segment=32)
    fitted = learn.videos.fit_regressor(fit, sequences[:1], sequences[1:], seed=0)
    return np.concatenate([each["scores"] for each in learn.videos.predict_curves(fitted, sequences)])


@pytest.mark.parametrize("name", ["samm", "samm_lv", "casme_sq", "casme3"])
def test_the_wrong_level_of_folders_is_one_sentence(name, laid):
    root, _ = laid(name)
    for wrong in (root.parent, next(path for path in root.iterdir() if path.is_dir())):
        said = sentence(lambda wrong=wrong: videos(read_manifest(name), wrong))
        assert f"{wrong} holds no" in said
        assert f"give {root} instead" in said


def test_a_new_data_set_is_a_yml_and_nothing_else(tmp_path, faces):
    """Invented from title to folder: what it is called stands nowhere in the code."""
    (tmp_path / "data").mkdir()
    licensed.save_xlsx(
        tmp_path / "data" / "events.xlsx",
        {"Notes": [["read me"]], "E": [["who", "film", "from", "to"], [7, "x", 10, 40], [8, "y", 12, 30]]},
    )
    for number, subject in enumerate(("7/x", "8/y")):
        video = licensed.Video(f"data/Films/P{subject}", "f-{:d}.jpg", range(0, 60))
        licensed.lay(tmp_path, video, sorted(faces[number].iterdir()))
    manifest = tmp_path / "invented.yml"
    manifest.write_text(
        r"""
name: invented
title: Invented
citation: Nobody, 2025.
licence: none
contact: nobody
fps: 50
first_frame: 0
has_context: true
show_subjects: []
frames: {pattern: 'films/p{subject:\d+}/{video}'}
table:
  header: who
  columns: {subject: who, video: film, onset: from, offset: to}
  missing: [""]
  kind: macro
repair: {apex_missing: keep, apex_outside: drop, offset_missing: drop, offset_not_after_onset: drop}
emotion_classes: {negative: [], positive: [], surprise: []}
""",
        encoding="utf-8",
    )
    record = check_data(manifest, tmp_path / "data", sample=2)
    assert record["problems"] == []
    assert record["kinds"] == {"macro": 2}
    study = open_study(manifest, tmp_path / "data")
    assert study.events["onset"].tolist() == [10, 12]
    assert np.isfinite(long_step(study, tmp_path)).all()


def test_no_code_asks_for_the_name_of_a_data_set():
    for path in read_manifest("samm").source.parent.parent.glob("melib/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare | ast.MatchValue):
                constants = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)}
                assert not constants & set(NAMES), f"{path}, line {node.lineno}"


@pytest.mark.parametrize("name", NAMES)
def test_every_part_and_variant_is_written_in_the_miniature(name):
    """What a manifest describes is what the tests read."""
    manifest, mini = read_manifest(name), licensed.MINIATURES[name]
    titles = {cell for rows in mini.sheets.values() for row in rows for cell in row}
    for part in parts(manifest):
        for role, title in part["columns"].items():
            named = {title} if isinstance(title, str | int) else set(title)
            assert role in part.get("optional", []) or isinstance(title, int) or named & titles
    assert len(variants(manifest)) == len(mini.videos)


# A run
# ---------------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_run_that_tests_one_subject_at_a_time_ends_and_predicts_with_its_own_models(tmp_path):
    """As profile paper does with licensed data, at the budget of smoke, on simulated data whose truth is thrown away."""
    folder = clean_checkout(tmp_path / "melib")
    file = folder / "melib" / "study" / "profiles.yml"
    profiles = yaml.safe_load(file.read_text(encoding="utf-8"))
    profiles["smoke"] |= {"loso": True, "seeds": 2, "ablations": profiles["smoke"]["ablations"][1:]}
    file.write_text(yaml.safe_dump(profiles), encoding="utf-8")
    simulate.write_clips(tmp_path / "clips", name="clips", people=4, clips=2, empty=0, jobs=2, progress=False)
    simulate.write_long(
        tmp_path / "videos", name="videos", people=4, videos=1, seconds=(8, 12), progress=False
    )
    run = tmp_path / "run"
    command = [sys.executable, "-m", "melib", "run", "--profile", "smoke", "--run", str(run)]
    for number in ("04", "05", "06"):
        command += ["--only", number]
    for name in ("clips", "videos"):
        place = tmp_path / name
        manifest = (place / "manifest.yml").read_text(encoding="utf-8").replace("truth: truth.csv", "")
        (place / f"{name}.yml").write_text(manifest, encoding="utf-8")
        (place / "truth.csv").unlink()
        command += ["--data", f"{place / name}.yml={place}"]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-4000:]
    tested = results.read_result(run / "results" / "intensity.csv").query(
        "model == 'resnet18_bigru' and subject != ''"
    )
    assert tested.groupby("fold")["subject"].nunique().tolist() == [1] * 4
    assert not tested["metric"].str.endswith("_true").any()
    card = results.read_result(run / "results" / "face_card.csv")
    alone = card.query("model == 'position_only' and quantity == 'clip_swap'")
    assert len(alone) and (alone["low"] <= 0).all()
    weights = predictor_weights.load_weights(run)
    assert weights.card["data"] == ["clips", "videos"]
    pooled = card.query("model == 'resnet18_bigru' and input == 'flow' and protocol == 'context'")
    pooled = pooled[pooled["seed"].isna()].set_index("quantity")["estimate"]
    assert weights.card["face"]["clip_swap"]["estimate"] == pytest.approx(pooled["clip_swap"])

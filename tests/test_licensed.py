"""Every licensed data set, as a miniature: its table is read, its folders are found, and a network learns from them.

All rows are invented, all faces simulated (tests/licensed.py).
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import warnings

import licensed
import numpy as np
import pandas as pd
import pytest
import yaml
from made_up import unbegun
from test_readme import clean_checkout

from melib import DataError, learn, simulate
from melib.annotations import audit, read_events
from melib.app import predictor_weights
from melib.app.data_check import check_data
from melib.data.manifest import parts, read_manifest
from melib.paper import answers
from melib.study import intensity, results, spotting
from melib.study.data import open_study, with_clips

NAMES = list(licensed.MINIATURES)
LAYOUTS = [(name, layout) for name in NAMES for layout in licensed.MINIATURES[name].videos]


@pytest.fixture(scope="module")
def faces(tiny_set):
    return licensed.clips(tiny_set)


@pytest.fixture(scope="module")
def table_of(tmp_path_factory):
    """A function that writes a miniature's tables and returns their paths."""
    folder = tmp_path_factory.mktemp("tables")
    return lambda name: licensed.write_table(name, folder / name)


@pytest.fixture(scope="module")
def laid(tmp_path_factory, faces):
    """A function that writes a miniature once: its folder and a manifest of it."""
    done = {}

    def get(name, layout):
        if (name, layout) not in done:
            folder = tmp_path_factory.mktemp(f"{name}_{layout}")
            done[name, layout] = licensed.write(name, folder / "data", faces, layout), partial(name, folder)
        return done[name, layout]

    return get


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
    assert re.search(r"\b(19|20)\d\d\.", manifest.citation)
    assert "agreement" in manifest.licence and "agreement" in manifest.contact
    assert manifest.show_subjects == ()
    assert "@" not in manifest.contact  # nobody's address that may have changed


@pytest.mark.parametrize("name", NAMES)
def test_a_plausible_event_is_never_too_long(name):
    """Four times the 95 % quantile of the same kind in the event statistics, for each kind of the table."""
    slow = name.startswith("casme3")
    quantiles = {"micro": 2.13 if slow else 0.5, "macro": 16.2, "blink": 0.7}
    limits = read_manifest(name).longest_s
    assert limits.keys() == licensed.MINIATURES[name].kinds.keys()
    assert all(limits[kind] >= 4 * quantiles[kind] for kind in limits)


def test_no_code_asks_for_the_name_of_a_data_set():
    for path in read_manifest("samm").source.parent.parent.glob("melib/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare | ast.MatchValue):
                constants = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
                assert not constants & {*NAMES, "synthme", "synthme_lv"}, f"{path}, line {node.lineno}"


# Tables alone
# ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_a_table_comes_out_with_its_fault_and_reason(name, table_of):
    mini = licensed.MINIATURES[name]
    result = audit(partial(name, table_of(name)[0].parent), *table_of(name))
    events = result.events
    assert result.version == mini.version
    alone = read_manifest(name).join is not None and not mini.joined
    expected = ["differs by case", "overlap", *(["no table of"] if alone else [])]
    assert all(any(words in note for words in expected) for note in result.notes)
    assert events["kind"].value_counts().to_dict() == mini.kinds
    assert result.faults["fault"].value_counts().to_dict() == mini.faults
    assert (events["status"] == "dropped").sum() == mini.dropped
    assert set(result.faults["row"]) == set(events.index[events["status"] != "ok"])
    assert (events["reason"] != "").equals(events["status"] != "ok")
    assert set(events["emotion_class"]) <= {"negative", "positive", "surprise", "others", ""}


# Video, event, 1-based frames and emotion of the events; what a table calls a subject its folders may call otherwise.
READ = {
    "casme2": [
        "04 EP12_01f EP12_01f 21 35 50 others", "04 EP12_02 EP12_02 25 25 55 repression",
        "16 EP01_08 EP01_08 23 35 48 happiness", "16 EP02_04f EP02_04f 20 45 45 surprise",
    ],
    "samm_lv": [  # emotions are SAMM's, of micro-expressions; an onset of 0 is the first frame
        "028 028_3 028_3_2 1 30 60 -", "028 028_3 028_3_1 66 86 130 anger",
        "032 032_4 032_4_2 10 38 66 -", "032 032_4 032_4_1 71 90 120 surprise",
    ],
    "casme_sq": [  # numbers of subjects and videos become names of folders
        "s15 0401 anger1_1 5 15 28 negative", "s15 0401 anger1_2 40 48 56 negative",
        "s16 0101 disgust1_1 6 16 26 negative", "s16 0101 disgust1_2 40 47 54 positive",
    ],
    "smic": ["s1 s1_ne_01 s1_ne_01.1 1005 - 1025 -", "s1 s1_ne_01 s1_ne_01.2 1040 - 1058 -",
             "s2 s2_po_01 s2_po_01 2010 - 2040 -"],
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_events_are_those_that_the_table_means(name, table_of):
    rows = []
    for event in read_events(name, *table_of(name)).itertuples():
        frames = ("-" if pd.isna(frame) else frame + 1 for frame in (event.onset, event.apex, event.offset))
        rows.append(
            " ".join(map(str, (event.subject, event.video, event.event, *frames, event.emotion or "-")))
        )
    assert rows == READ[name]


def test_of_a_workbook_of_three_cameras_the_manifests_is_read_and_subjects_are_called_like_folders(tmp_path):
    rows = [list(row) for row in licensed.MINIATURES["smic"].sheets["Sheet1"]]
    for row in rows[1:]:
        row[0] = int(row[0].removeprefix("s"))
    path = licensed.save_xlsx(tmp_path / "t.xlsx", {"HS": rows, "VIS": rows[:2], "NIR": rows[:2]})
    assert audit("smic", path).events["subject"].tolist() == ["s01", "s01", "s02"]
    third = [
        [*row, *more] for row, more in zip(rows, [("Onset3F", "Offset3F"), (1060, 1063), ()], strict=True)
    ]
    assert len(audit("smic", licensed.save_xlsx(path, {"SMIC-HS-E": third})).events) == 4


def changed(name, table_of, change):
    """A miniature's table with a change to its sheets, saved beside it."""
    sheets = {t: [list(row) for row in rows] for t, rows in licensed.MINIATURES[name].sheets.items()}
    change(sheets)
    return licensed.save_xlsx(table_of(name)[0].parent / "changed.xlsx", sheets)


def test_a_file_without_its_second_sheets_keeps_the_tables_names_and_says_so(table_of):
    path = changed("casme_sq", table_of, lambda sheets: [sheets.pop("Sheet2"), sheets.pop("Sheet3")])
    result = audit("casme_sq", path)
    assert len(result.notes) == 2
    assert all(str(path) in note and "are called" in note for note in result.notes)
    assert result.events["subject"].str.isdecimal().all()


def test_merged_cells_are_told_apart_from_empty_rows(table_of):
    def merge(sheets):
        rows = sheets["MICRO_ONLY"]
        rows[-1][0] = None  # what a merged cell leaves
        rows.insert(-1, [None] * 5)
        rows.append([None, None, None, None])

    events = audit("samm", changed("samm", table_of, merge)).events
    assert events["status"].tolist() == ["ok", "repaired", "repaired", "dropped"]
    assert "Subject is empty; fill it in, merged cells too" in events["reason"].iloc[-1]
    assert re.match(r"row 4 \(line \d+ of changed.xlsx\)", events["reason"].iloc[-1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other", ["samm", "casme_sq", "casme3"])
def test_the_table_of_another_data_set_is_named_and_refused(name, other, table_of):
    path = table_of(other)[0]
    if name != other:
        with pytest.raises(DataError, match=re.escape(str(path))):
            audit(name, path)


# Folders: data check, preprocessing, one step of training
# ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_data_check_finds_nothing_wrong_that_the_release_is_not_known_for(name, layout, laid):
    mini = licensed.MINIATURES[name]
    root, manifest = laid(name, layout)
    record = check_data(manifest, root, sample=2)
    assert record["problems"] == []
    assert record["version"] == mini.version
    counts = record["counts"]
    assert counts["events"]["dropped"] == mini.dropped
    assert counts["videos"]["missing"] == 0
    assert counts["images"] == {"read": 2, "with a face": 2}
    # One clip of the cropped layout ends early, and the manifest knows it.
    gaps = [sentence for sentence in record["known"] if "without all of their frames" in sentence]
    assert len(gaps) == (layout == "cropped")
    json.dumps(record)


@pytest.mark.parametrize("name", NAMES)
def test_a_network_learns_one_step_from_a_miniature(name, laid, tmp_path):
    root, manifest = laid(name, next(iter(licensed.MINIATURES[name].videos)))
    # Where paper 1 has no target, whole videos are learned from.
    clips = not read_manifest(name).long and any("apex" in p["columns"] for p in parts(read_manifest(name)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # spellings, events that are dropped
        curves = (clip_step if clips else long_step)(open_study(manifest, root), tmp_path)
    assert np.isfinite(curves).all()
    assert ((curves >= 0) & (curves <= 1)).all()


def clip_step(study, folder):
    """Faces, windows and flow of clips; one epoch of the intensity network."""
    run = unbegun("smoke", folder / "run")
    study = with_clips(study, run)
    prepared = intensity.prepare_windows(study, "paper", run)
    assert len(prepared.table) == (study.events["status"] != "dropped").sum()
    assert prepared.mask.any(axis=1).all()
    rows = np.arange(len(prepared.table))
    fit = learn.windows.FitSettings(input="flow", width=8, hidden=4, epochs=1, batch=4)
    fitted = learn.windows.fit_windows(fit, prepared.load(rows[:-1]), prepared.load(rows[-1:]), seed=0)
    return learn.windows.predict_windows(fitted, prepared.load(rows))


def long_step(study, folder):
    """Regional motion of whole videos; one epoch of the video network."""
    videos = spotting.prepare_videos(study, unbegun("smoke", folder / "run"), windows=False)
    assert all(video.mask.any() for video in videos)
    assert sum(len(video.events) for video in videos) == (study.events["status"] != "dropped").sum()
    sequences = []
    for video in videos:
        curves, emotion = spotting.target_curves(video, "triangular")
        sequences.append(learn.videos.Sequence(video.motion, video.mask, curves[:, :1], emotion))
    fit = learn.videos.VideoSettings(width=8, blocks=1, epochs=1, batch=2, segment=32)
    fitted = learn.videos.fit_regressor(fit, sequences[:1], sequences[1:], seed=0)
    return np.concatenate([video["scores"] for video in learn.videos.predict_curves(fitted, sequences)])


INVENTED = r"""
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
"""


def test_a_new_data_set_is_a_yml_and_nothing_else(tmp_path, faces):
    """Invented from title to folder: what it is called stands nowhere in the code."""
    rows = [["who", "film", "from", "to"], [7, "x", 10, 40], [8, "y", 12, 30]]
    (tmp_path / "data").mkdir()
    licensed.save_xlsx(tmp_path / "data" / "events.xlsx", {"Notes": [["read me"]], "E": rows})
    for number, subject in enumerate(("7/x", "8/y")):
        video = licensed.Video(f"data/Films/P{subject}", "f-{:d}.jpg", 0, 59)
        licensed.lay(tmp_path, video, sorted(faces[number].iterdir()))
    manifest = tmp_path / "invented.yml"
    manifest.write_text(INVENTED, encoding="utf-8")
    record = check_data(manifest, tmp_path / "data", sample=2)
    assert record["problems"] == [] and record["counts"]["kinds"] == {"macro": 2}
    study = open_study(manifest, tmp_path / "data")
    assert study.events["onset"].tolist() == [10, 12]
    assert np.isfinite(long_step(study, tmp_path)).all()


# A run
# ---------------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_two_labs_get_from_an_archive_to_shared_numbers_on_the_first_day(tmp_path):
    """As docs/licensed_data.md, sharing.md and audit.md say it, with profile published at a budget that fits a test."""
    folder = clean_checkout(tmp_path / "melib")
    file = folder / "melib" / "study" / "profiles.yml"
    profiles = yaml.safe_load(file.read_text(encoding="utf-8"))
    small = profiles["published"]
    small["folds"], small["windows"]["paper"]["size"] = 2, 64
    small["fit"] |= {"width": 8, "hidden": 16, "epochs": 2, "batch": 4}
    small["ablations"][0]["variants"] = ["no temporal model", "clips split at random (leaky)"]
    file.write_text(yaml.safe_dump(profiles), encoding="utf-8")

    def melib(*words, code=0):
        command = [sys.executable, "-m", "melib", *map(str, words)]
        environment = os.environ | {"PYTHONPATH": str(folder)}
        ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert ended.returncode == code, ended.stdout[-2000:] + ended.stderr[-4000:]
        return ended.stdout + ended.stderr

    source = simulate.write_clips(tmp_path / "clips", people=6, clips=2, empty=0, jobs=2, progress=False)
    places = {name: tmp_path / "data" / name for name in licensed.RELEASES}
    for name, place in places.items():  # an archive arrives, and is unpacked
        arrived = licensed.release(name, tmp_path / "arrived" / name, source)
        shutil.unpack_archive(shutil.make_archive(tmp_path / name, "zip", arrived), place)
        printed = melib("data", "check", name, "--root", place, code=1)
        assert printed.count("problem:") == 1 and f"the whole release of {name} holds" in printed
        partial(name, folder / "data_manifests")
        assert "12 ok, 0 repaired, 0 dropped" in melib("data", "check", name, "--root", place)

    run = ["run", "--profile", "published", "--data", f"samm={places['samm']}"]
    planned = melib(*run, "--plan")
    fits = [int(n) for n in re.findall(r"^ 0[45]_\w+ +0 +(\d+)", planned, re.MULTILINE)]
    runs = folder / "runs" / "published_samm"
    assert fits == [6, 4] and not runs.exists()
    printed = melib(*run)
    assert "On clips cut from onset to offset" in printed and "one training" in printed
    assert len([*(runs / "fits").glob("[!.]*/record.json")]) == sum(fits)
    page = (runs / "report" / "index.html").read_text(encoding="utf-8")
    assert "0.9014 as published" in page and "subjects of this run&#39;s table" in page
    assert (runs / "figures" / "position_control.png").is_file()
    (verdict,) = answers.verdicts(runs, "position")  # asks for raw frames where nothing else was trained
    assert verdict.standing != "missing" and "the network on raw frames" in verdict.about

    for model in ("resnet18_bigru_raw", "flow_magnitude_flow"):
        curves = runs / "curves" / f"samm_paper_{model}.csv"
        events, table = runs / "curves" / "samm_paper_events.csv", tmp_path / "audit.csv"
        melib("audit", curves, "--events", events, "--out", table)
        audited = pd.read_csv(table).set_index("measure")["curves"]
        summary = results.read_result(runs / "results" / "summary.csv").query("amplitude == 'all'")
        own = summary[summary["model"] + "_" + summary["input"] == model].set_index("metric")["estimate"]
        for measure in ("spearman", "kendall"):
            assert audited[measure] == pytest.approx(own[f"{measure}_pseudo"], abs=1e-4)

    only = ("--only", "03", "--only", "04")
    melib("run", "--profile", "published", "--data", f"casme2={places['casme2']}", *only)
    shared = [tmp_path / "shared" / name for name in places]
    for name, out in zip(places, shared, strict=True):
        melib("share", f"published_{name}", "--out", out, "--lab", f"lab of {name}")
        counted = pd.read_csv(out / "counts.csv")
        assert (counted["events"].sum(), counted["dataset"].unique().tolist()) == (12, [name])
    assert (shared[0] / "paper_protocol.csv").is_file()
    printed = melib("compare", *shared, "--out", tmp_path / "compared.csv")
    assert "data sets of lab of casme2 aren't those of lab of samm" in printed
    compared = pd.read_csv(tmp_path / "compared.csv")
    both = compared.query("model == 'position_only' and metric == 'spearman_pseudo'")
    assert both.groupby("lab")["subjects"].first().to_dict() == {"lab of samm": 6, "lab of casme2": 6}


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_run_that_tests_one_subject_at_a_time_ends_and_predicts_with_its_own_models(tmp_path):
    """As profile paper does with licensed data, at the budget of smoke, on simulated data whose truth is thrown away."""
    folder = clean_checkout(tmp_path / "melib")
    file = folder / "melib" / "study" / "profiles.yml"
    profiles = yaml.safe_load(file.read_text(encoding="utf-8"))
    profiles["smoke"] |= {"loso": True, "seeds": 2, "ablations": profiles["smoke"]["ablations"][1:]}
    file.write_text(yaml.safe_dump(profiles), encoding="utf-8")
    quiet = {"people": 4, "progress": False}
    simulate.write_clips(tmp_path / "clips", name="clips", clips=2, empty=0, **quiet)
    simulate.write_long(tmp_path / "videos", name="videos", videos=1, seconds=(8, 12), **quiet)
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

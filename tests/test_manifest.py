"""A manifest is checked line by line, and finds exactly the frames that it describes."""

import random
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from melib import DataError
from melib import manifest as manifests

SYNTHME = Path(__file__).parent.parent / "data_manifests" / "synthme.yml"


@pytest.fixture
def synthme():
    return manifests.read_manifest("synthme")


def changed(tmp_path, old, new):
    """Synthme's manifest with one text replaced."""
    text = SYNTHME.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path = tmp_path / "changed.yml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def put(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


def test_a_name_and_its_path_give_the_same_manifest(synthme):
    assert manifests.read_manifest(SYNTHME) == synthme
    assert (synthme.name, synthme.fps, synthme.first_frame, synthme.truth) == ("synthme", 200, 1, "truth.csv")


@pytest.mark.parametrize("path", sorted(SYNTHME.parent.glob("*.yml")), ids=lambda path: path.stem)
def test_every_shipped_manifest_fits_the_schema_and_is_called_like_its_file(path):
    assert manifests.read_manifest(path).name == path.stem


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("fps: 200", "fps: fast", r"line \d+: fps: 'fast' is not of type 'number'"),
        ("fps: 200", "fps: 0", r"line \d+: fps: 0 is less than"),
        ("fps: 200\n", "", r"line \d+: 'fps' is a required property"),
        ("fps: 200", "fps: 200\nfsp: 100", r"line \d+: .*'fsp' was unexpected"),
        ("fps: 200", "fps: 200\nfps: 100", r"line \d+: fps stands there twice"),
        ("fps: 200", "fps: [200", r"line \d+: not valid yaml"),
        ("kind: micro", "kind: tiny", r"line \d+: table.kind: 'tiny' is not valid"),
        ("    onset: Onset Frame\n", "", r"line \d+: table.columns: 'onset' is a required property"),
        (
            "apex_missing: midpoint",
            "apex_missing: guess",
            r"line \d+: repair.apex_missing: 'guess' is not one of",
        ),
        ("show_subjects: all", "show_subjects: [006]", r"line \d+: show_subjects"),
        ("frames/{subject}/{video}", "frames/{subject}", r"line \d+: frames.pattern"),
        ("surprise: [surprise]", "surprised: [surprise]", r"line \d+: emotion_classes"),
    ],
)
def test_a_fault_is_named_with_file_line_and_remedy(tmp_path, old, new, message):
    path = changed(tmp_path, old, new)
    with pytest.raises(DataError, match=message) as caught:
        manifests.read_manifest(path)
    assert str(path) in str(caught.value)
    assert "correct that line" in str(caught.value) or "remove one" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_line_named_is_the_line_at_fault(tmp_path):
    path = changed(tmp_path, "kind: micro", "kind: tiny")
    line = 1 + path.read_text(encoding="utf-8").splitlines().index("  kind: tiny")
    with pytest.raises(DataError, match=f"line {line}:"):
        manifests.read_manifest(path)
    path = changed(tmp_path, "fps: 200", "fps: 200\nfsp: 100")
    line = 1 + path.read_text(encoding="utf-8").splitlines().index("fsp: 100")
    with pytest.raises(DataError, match=f"line {line}:"):
        manifests.read_manifest(path)


def test_an_unknown_name_a_missing_file_and_an_empty_file_end_in_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"no manifest called nothing; known are .*synthme"):
        manifests.read_manifest("nothing")
    with pytest.raises(DataError, match="is missing"):
        manifests.read_manifest(tmp_path / "nothing.yml")
    (tmp_path / "empty.yml").write_text("")
    with pytest.raises(DataError, match="is empty"):
        manifests.read_manifest(tmp_path / "empty.yml")
    (tmp_path / "latin.yml").write_bytes("name: süß".encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        manifests.read_manifest(tmp_path / "latin.yml")


def test_a_manifest_is_read_as_utf8_whatever_the_locale(tmp_path):
    path = changed(tmp_path, "title: SynthME", "title: Mikroexpressionen für 微表情")
    assert "für 微表情" in manifests.read_manifest(path).title


def test_the_hash_follows_meaning_not_comments(tmp_path, synthme):
    base = manifests.manifest_hash(synthme)
    commented = manifests.read_manifest(changed(tmp_path, "fps: 200", "# a comment\nfps: 200"))
    assert manifests.manifest_hash(commented) == base
    assert manifests.manifest_hash(manifests.read_manifest(changed(tmp_path, "fps: 200", "fps: 100"))) != base


def test_videos_come_in_natural_order_and_only_where_the_pattern_says(tmp_path, synthme):
    for folder in ("s10/s10_2", "s10/s10_10", "s2/a", "s2/a/deeper"):
        put(tmp_path / "frames" / folder, "img1.jpg")
    put(tmp_path / "elsewhere" / "s3" / "b", "img1.jpg")
    put(tmp_path / "frames" / "s4", "no_folder.jpg")
    found = manifests.videos(synthme, tmp_path)
    assert found[["subject", "video"]].to_numpy().tolist() == [
        ["s2", "a"],
        ["s10", "s10_2"],
        ["s10", "s10_10"],
    ]
    assert found["folder"][0] == tmp_path / "frames" / "s2" / "a"


@pytest.mark.parametrize(
    ("pattern", "folder"),
    [
        ("Cropped/sub{subject}/{video}", "Cropped/sub01/EP02_01f"),
        ("SAMM/{subject}/{video}", "SAMM/01/EP02_01f"),
        ("part (A)/{subject}/{video}/color", "part (A)/01/EP02_01f/color"),
        ("{subject}/{subject}-{video}", "01/01-EP02_01f"),
    ],
)
def test_layouts_of_real_data_sets_can_be_said_as_a_pattern(tmp_path, pattern, folder):
    record = yaml.safe_load(SYNTHME.read_text(encoding="utf-8"))
    record["frames"]["pattern"] = pattern
    (tmp_path / "m.yml").write_text(yaml.safe_dump(record), encoding="utf-8")
    put(tmp_path / "root" / folder, "1.jpg")
    found = manifests.videos(manifests.read_manifest(tmp_path / "m.yml"), tmp_path / "root")
    assert found[["subject", "video"]].to_numpy().tolist() == [["01", "EP02_01f"]]


def test_a_missing_an_empty_and_a_wrong_root_end_in_one_sentence(tmp_path, synthme):
    with pytest.raises(DataError, match="is missing"):
        manifests.videos(synthme, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is empty"):
        manifests.videos(synthme, tmp_path / "empty")
    put(tmp_path / "wrong" / "s1" / "v1", "img1.jpg")
    with pytest.raises(DataError, match=r"no folder of frames like frames/\{subject\}/\{video\}"):
        manifests.videos(synthme, tmp_path / "wrong")


@given(
    numbers=st.sets(st.integers(1, 3000), min_size=1, max_size=30),
    digits=st.integers(1, 5),
    seed=st.integers(0, 9),
)
def test_frames_are_ordered_by_the_last_integer_of_their_names(tmp_path_factory, numbers, digits, seed):
    manifest = manifests.read_manifest("synthme")
    folder = tmp_path_factory.mktemp("frames")
    shuffled = random.Random(seed).sample(sorted(numbers), len(numbers))
    put(
        folder,
        *(f"006_reg2_{number:0{digits}}.jpg" for number in shuffled),
        "Thumbs.db",
        ".img7.jpg",
        "notes 3.txt",
    )
    found, paths = manifests.frame_files(folder, manifest)
    assert found.tolist() == [number - 1 for number in sorted(numbers)]
    assert found.dtype == np.int64
    assert [int(path.stem.split("_")[-1]) for path in paths] == sorted(numbers)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no image"),
        (["cover.jpg"], "no frame number"),
        (["img1.jpg", "img01.jpg"], "same frame"),
        (["img0.jpg"], "before the first frame"),
    ],
)
def test_a_folder_that_makes_no_sense_ends_in_one_sentence(tmp_path, synthme, names, message):
    put(tmp_path / "v", *names)
    with pytest.raises(DataError, match=message):
        manifests.frame_files(tmp_path / "v", synthme)
    with pytest.raises(DataError, match="is missing"):
        manifests.frame_files(tmp_path / "other", synthme)


def test_spans_are_those_of_frames_that_exist(tmp_path, synthme):
    put(tmp_path / "frames" / "s1" / "v", "img5.jpg", "img7.jpg", "img20.jpg")
    row = manifests.spans(synthme, manifests.videos(synthme, tmp_path)).iloc[0]
    assert (row["n_first"], row["n_last"], row["n_frames"]) == (4, 19, 3)


def truth(folder, text):
    folder.mkdir(exist_ok=True)
    (folder / "truth.csv").write_text(text, encoding="utf-8")
    return folder


def test_truth_is_read_0_based_with_names_as_text(tmp_path, synthme):
    header = "subject,video,frame,event,rms_px,peak_px,profile,blink,au1\n"
    root = truth(tmp_path, header + "006,NA,1,,0,0,0,0.5,0\n006,NA,2,e1,0.1,.2,1,0,.1\n")
    table = manifests.load_truth(synthme, root)
    assert table["frame"].tolist() == [0, 1]
    assert table["subject"].tolist() == ["006", "006"]
    assert table["video"].tolist() == ["NA", "NA"]
    assert table["event"].tolist() == ["", "e1"]
    assert table["au1"].tolist() == [0, 0.1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "can't be read"),
        ("subject,video,frame,event,rms_px,profile,blink\n", "no column peak_px"),
        ("subject,video,frame,event,rms_px,peak_px,profile,blink\ns,v,x,,0,0,0,0\n", "can't be read"),
    ],
)
def test_a_broken_truth_ends_in_one_sentence(tmp_path, synthme, text, message):
    with pytest.raises(DataError, match=message):
        manifests.load_truth(synthme, truth(tmp_path / "root", text))


def test_truth_is_none_where_nobody_knows_it_and_an_error_where_it_is_lost(tmp_path, synthme):
    unknown = manifests.read_manifest(changed(tmp_path, "truth: truth.csv", ""))
    assert manifests.load_truth(unknown, tmp_path) is None
    with pytest.raises(DataError, match=r"truth\.csv is missing"):
        manifests.load_truth(synthme, tmp_path)


def test_no_code_asks_for_a_data_sets_name():
    names = {path.stem for path in SYNTHME.parent.glob("*.yml")} | {
        "samm",
        "casme2",
        "samm_lv",
        "casme3",
        "smic",
    }
    for source in (SYNTHME.parent.parent / "melib").rglob("*.py"):
        text = source.read_text(encoding="utf-8")
        for name in names:
            assert f'== "{name}"' not in text, f"{source} branches on {name}"

"""A manifest is checked line by line, and finds exactly the frames that it describes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from melib import DataError
from melib.data import manifest as manifests

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
        ("fps: 200", "fps: 200\0", r"not valid yaml \(special characters are not allowed\)"),
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


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("fps: 200", "fps: 2024-13-45"),
        ("fps: 200", "fps: .nan"),
        ("fps: 200", "fps: 0200"),
        ("fps: 200", "fps: 3:20"),
        ("fps: 200", "fps: 1" + "0" * 400),
        ("fps: 200", "fps: 200\n[a]: b"),
        ("fps: 200", "fps: " + "[" * 5000),
        ("fps: 200", "fps: &a [*a]"),
        ("name: synthme", 'name: "a\\n"'),
        ("frames/{subject}/{video}", "'{subject}/{video:(a+)+b}'"),
        ("frames/{subject}/{video}", "'{subject}/{video:a{9999999999}}'"),
        ("kind: micro", "kind: micro\n  video_pattern: no group"),
        ("surprise: [surprise]", "surprise: [surprise, Sad]"),
    ],
)
def test_whatever_stands_in_a_yml_ends_in_one_sentence_that_names_it(tmp_path, old, new):
    path = changed(tmp_path, old, new)
    with pytest.raises(DataError) as caught:
        manifests.read_manifest(path)
    assert str(path) in str(caught.value) and len(str(caught.value)) < 600


def test_a_yml_that_grows_by_its_aliases_is_refused_and_one_that_names_a_part_twice_is_read(tmp_path):
    laughs = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
    path = changed(tmp_path, "name: synthme", f"a0: &a0 ha\n{laughs}name: synthme")
    with pytest.raises(DataError, match="without end"):
        manifests.read_manifest(path)
    path = changed(tmp_path, "missing: [", "missing: &m [")
    assert manifests.read_manifest(path).table["missing"] == ["/", "", "-1"]


def test_a_truth_outside_the_data_sets_folder_is_not_opened(tmp_path, synthme):
    header = "subject,video,frame,event,rms_px,peak_px,profile,blink\n"
    outside, root = truth(tmp_path / "outside", header) / "truth.csv", truth(tmp_path / "root", header)
    (root / "linked.csv").symlink_to(outside)
    for place in ("../outside/truth.csv", str(outside), "linked.csv"):
        with pytest.raises(DataError, match="lies outside"):
            manifests.load_truth(replace(synthme, truth=place), root)
    (tmp_path / "link").symlink_to(root)
    assert manifests.load_truth(synthme, tmp_path / "link").empty


@pytest.mark.parametrize("name", ["../other.yml", "/etc/other.yml", "../../melib/samm"])
def test_a_manifest_joins_none_that_lies_elsewhere(tmp_path, name):
    here = described(tmp_path / "here", join={"dataset": name, "take": ["emotion"]})
    with pytest.raises(DataError, match="lies elsewhere"):
        manifests.joined(here)
    beside = described(tmp_path / "here", join={"dataset": "manifest.yml", "take": ["emotion"]})
    assert manifests.joined(beside).name == "synthme"


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
    table = manifests.videos(synthme, tmp_path)
    assert names(table) == [("s2", "a"), ("s10", "s10_2"), ("s10", "s10_10")]
    assert table["folder"][0] == tmp_path / "frames" / "s2" / "a"


def test_a_missing_an_empty_and_a_wrong_root_end_in_one_sentence(tmp_path, synthme):
    with pytest.raises(DataError, match="is missing"):
        manifests.videos(synthme, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is empty"):
        manifests.videos(synthme, tmp_path / "empty")
    put(tmp_path / "wrong" / "s1" / "v1", "img1.jpg")
    with pytest.raises(DataError, match=r"no folder of frames like frames/\{subject\}/\{video\}"):
        manifests.videos(synthme, tmp_path / "wrong")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no image"),
        (["cover.jpg"], "no frame number"),
        (["img1.jpg", "img01.jpg"], "same frame"),
        (["img0.jpg"], "before the first frame"),
        (["img1.jpg", "img2.jpg", "img1 (1).jpg"], "two kinds of names"),
        (["left1.jpg", "right1.jpg"], "two kinds of names"),
        (["1_1.jpg", "1_2.jpg", "2_1.jpg", "2_2.jpg"], "no number in the names"),
    ],
)
def test_a_folder_that_makes_no_sense_ends_in_one_sentence(tmp_path, synthme, names, message):
    put(tmp_path / "v", *names)
    with pytest.raises(DataError, match=message):
        manifests.frame_files(tmp_path / "v", synthme)
    with pytest.raises(DataError, match="is missing"):
        manifests.frame_files(tmp_path / "other", synthme)


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
        ("subject,video,frame,event,rms_px,peak_px,profile,blink\ns,v,1e30,,0,0,0,0\n", "no whole number"),
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
    names = {path.stem for path in SYNTHME.parent.glob("*.yml")}
    for source in (SYNTHME.parent.parent / "melib").rglob("*.py"):
        text = source.read_text(encoding="utf-8")
        for name in names:
            assert f'== "{name}"' not in text, f"{source} branches on {name}"


# Faults in a manifest that knows alternatives


def described(folder, **changes):
    """Synthme's manifest with other fields, read from a file of its own; None takes a field out."""
    record = yaml.safe_load(SYNTHME.read_text(encoding="utf-8")) | changes
    record = {name: value for name, value in record.items() if value is not None}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.yml"
    path.write_text(yaml.safe_dump(record, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return manifests.read_manifest(path)


def layout(folder, *variants, **changes):
    return described(folder, frames={"variants": [*variants]}, **changes)


PART = {
    "columns": {"subject": "S", "video": ["File", "Film"], "onset": 2, "offset": "Off"},
    "missing": [],
    "kind": "micro",
}


@pytest.mark.parametrize(
    ("changes", "place", "line", "message"),
    [
        ({"frames": {"patern": "x"}}, "frames", "patern", "'patern' was unexpected"),
        ({"frames": {"pattern": 3}}, "frames.pattern", "pattern", "3 is not of type 'string'"),
        ({"frames": {"pattern": "{video}"}}, "frames.pattern", "pattern", r"'{video}' has no {subject}"),
        ({"frames": {"pattern": "{subject}"}}, "frames.pattern", "pattern", r"'{subject}' has no {video}"),
        (
            {"frames": {"variants": [{"pattern": "{subject}/{video}", "first": 1}]}},
            "frames.variants.0",
            "first",
            "'first' was unexpected",
        ),
        (
            {"frames": {"variants": [{"pattern": "{subject}/{video:(}"}]}},
            "frames.variants.0",
            "- pattern",
            "is no regular expression",
        ),
        (
            {"frames": {"pattern": "{subject}/{video}}"}},
            "frames",
            "frames",
            "a brace that belongs to no field",
        ),
        (
            {"frames": {"pattern": "{video}", "subject": r"\d+"}},
            "frames.subject",
            "subject: ",
            "needs one group in parentheses",
        ),
        (
            {"frames": {"pattern": "{video}", "subject": "(x"}},
            "frames.subject",
            "subject: (x",
            "is no regular expression",
        ),
        (
            {"table": PART | {"columns": PART["columns"] | {"onset": 2.5}}},
            "table.columns.onset",
            "onset",
            "2.5 is not valid, it must be a text or a list or a whole number",
        ),
        (
            {"table": PART | {"columns": PART["columns"] | {"onset": -1}}},
            "table.columns.onset",
            "onset",
            "-1 is less than the minimum of 0",
        ),
        (
            {"table": {"parts": [PART, PART | {"kind": {"column": "K"}}]}},
            "table.parts.1.kind",
            "kind:",
            "'values' is a required property",
        ),
        (
            {"table": PART | {"kind": "tiny"}},
            "table.kind",
            "kind: tiny",
            "'tiny' is not valid, it must be micro or macro or blink or a mapping",
        ),
        ({"known": {"apex_missing": "many"}}, "known.apex_missing", "apex_missing: many", "a list"),
        ({"longest_s": {"micro": 0}}, "longest_s.micro", "micro: 0", "0 is less than"),
    ],
)
def test_of_several_alternatives_the_one_that_was_meant_names_the_fault(
    tmp_path, changes, place, line, message
):
    with pytest.raises(DataError, match=message) as caught:
        described(tmp_path, **changes)
    lines = (tmp_path / "manifest.yml").read_text(encoding="utf-8").splitlines()
    number = int(str(caught.value).split(", line ")[1].split(":")[0])
    assert line in lines[number - 1]
    assert f": {place}: " in str(caught.value)
    assert "given schemas" not in str(caught.value) and len(str(caught.value)) < 500


# Layouts


def names(table):
    return [tuple(row) for row in table[["subject", "video"]].to_numpy().tolist()]


@pytest.mark.parametrize(
    ("variant", "folders", "expected"),
    [
        ({"pattern": "Raw/sub{subject:\\d+}/{video:EP[^/]+}"}, ["raw/Sub01/EP02_01f"], [("01", "EP02_01f")]),
        ({"pattern": "Raw/sub{subject:\\d+}/{video:EP[^/]+}"}, ["Raw/sub01/other", "Raw/subx/EP01"], []),
        ({"pattern": "{subject}/{video:\\d{2}_\\d}"}, ["a/12_3", "a/123"], [("a", "12_3")]),
        ({"pattern": "HS/{subject}/*/{video}"}, ["HS/s1/x/v", "HS/s1/y/w"], [("s1", "v"), ("s1", "w")]),
        (
            {"pattern": "raw/{subject:s\\d+}/*_{video:\\d\\d\\d\\d}*"},
            ["raw/s15/15_0101disgust"],
            [("s15", "0101")],
        ),
        ({"pattern": "{subject}/{subject}-{video}"}, ["A/a-1", "A/b-2"], [("a", "1")]),
        (
            {"pattern": "{subject:spNO\\.\\d+}/{video}/color"},
            ["spNo.1/a/color", "spNo.1/a/depth"],
            [("spNo.1", "a")],
        ),
        (
            {"pattern": "long/{video:\\d+_\\d+}", "subject": "^(\\d+)_"},
            ["long/006_1", "long/x_1"],
            [("006", "006_1")],
        ),
        ({"pattern": "{subject}/{video}"}, ["s/v", "s/.v", ".s/v"], [("s", "v")]),
        ({"pattern": "{subject}/{video}"}, ["sp[1] (a)/v", "s+/v^$"], [("s+", "v^$"), ("sp[1] (a)", "v")]),
    ],
)
def test_a_pattern_finds_the_folders_that_it_says_in_any_case(tmp_path, variant, folders, expected):
    manifest = layout(tmp_path, variant)
    for folder in folders:
        put(tmp_path / "root" / folder, "1.jpg")
    if not expected:
        with pytest.raises(DataError, match="no folder of frames like"):
            manifests.videos(manifest, tmp_path / "root")
        return
    table = manifests.videos(manifest, tmp_path / "root")
    assert names(table) == expected
    for row in table.itertuples():
        for change in (str, str.upper, str.lower):
            place = manifests.find_video(manifest, tmp_path / "root", change(row.subject), change(row.video))
            assert place == row.folder


def test_the_layout_that_holds_most_videos_counts_and_the_first_of_equals(tmp_path):
    first, second = {"pattern": "raw/{subject}/{video}"}, {"pattern": "cut/{subject}/{video}"}
    second |= {"has_context": False, "first_frame": 0}
    manifest, root = layout(tmp_path, first, second), tmp_path / "root"
    put(root / "raw/s1/a", "img5.jpg")
    put(root / "cut/s1/a", "img5.jpg")
    assert manifests.videos(manifest, root)["variant"].tolist() == [0]
    assert manifests.effective(manifest, root).has_context
    put(root / "cut/s1/b", "img0.jpg", "img5.jpg")
    table, chosen = manifests.videos(manifest, root), manifests.effective(manifest, root)
    assert names(table) == [("s1", "a"), ("s1", "b")]
    assert table["variant"].tolist() == [1, 1]
    assert not chosen.has_context
    assert chosen.first_frame == manifest.first_frame  # the table's
    for one in (manifest, chosen):  # its files count from 0, said or recognised by their folder
        assert manifests.spans(one, table)[["n_first", "n_last"]].to_numpy().tolist() == [[5, 5], [0, 5]]
        assert manifests.find_video(one, root, "s1", "b") == root / "cut/s1/b"
    assert manifests.frame_files(root / "raw/s1/a", manifest)[0].tolist() == [4]
    assert manifests.frame_files(root / "raw/s1/a", manifest, first_frame=2)[0].tolist() == [3]
    again = manifests.videos(chosen, root)
    assert names(again) == names(table) and again["folder"].tolist() == table["folder"].tolist()
    assert manifests.effective(chosen, root) is chosen


def test_folders_that_differ_where_the_pattern_has_a_star_are_one_video(tmp_path):
    manifest = layout(tmp_path, {"pattern": "clip/{subject}_{video:[^_]+}_*"})
    root = tmp_path / "root"
    put(root / "clip" / "s1_a_355", "355.jpg", "356.jpg", "359.jpg")
    put(root / "clip" / "s1_a_20", "20.jpg")
    put(root / "clip" / "s1_b_7", "7.jpg")
    table = manifests.spans(manifest, manifests.videos(manifest, root))
    assert names(table) == [("s1", "a"), ("s1", "b")]
    assert table[["n_first", "n_last", "n_frames"]].to_numpy().tolist() == [[19, 358, 4], [6, 6, 1]]
    place = manifests.find_video(manifest, root, "S1", "A")
    numbers, paths = manifests.frame_files(place, manifest)
    assert numbers.tolist() == [19, 354, 355, 358]
    assert [path.parent.name for path in paths] == ["s1_a_20", *["s1_a_355"] * 3]
    assert all(path.is_file() for path in paths)
    put(
        root / "clip" / "s1_a_350", "350.jpg", "356.jpg"
    )  # clips may overlap: the first folder's frame counts
    put(root / "clip" / "s1_a_400", "359.jpg")  # or hold but copies
    numbers, paths = manifests.frame_files(place, manifest)
    assert numbers.tolist() == [19, 349, 354, 355, 358]
    assert [path.parent.name[5:] for path in paths] == ["20", "350", "355", "350", "355"]
    (root / "clip" / "s1_a_400" / "359.jpg").write_bytes(b"another picture")  # numbers that start again
    with pytest.raises(DataError, match=r"s1_a_400/359\.jpg and .*s1_a_355/359\.jpg are the same frame"):
        manifests.frame_files(place, manifest)


def test_names_that_differ_by_case_alone_stay_apart_and_the_same_case_goes_first(tmp_path, synthme):
    for subject, video in (("spNO.1", "a"), ("spNo.1", "a"), ("spNo.1", "b")):
        put(tmp_path / "frames" / subject / video, "1.jpg")
    table = manifests.videos(synthme, tmp_path)
    assert names(table) == [("spNO.1", "a"), ("spNo.1", "a"), ("spNo.1", "b")]
    for row in table.itertuples():
        assert manifests.find_video(synthme, tmp_path, row.subject, row.video) == row.folder
    assert manifests.find_video(synthme, tmp_path, "spNO.1", "b") == tmp_path / "frames/spNo.1/b"


def test_one_video_in_two_folders_ends_in_one_sentence(tmp_path):
    manifest = layout(tmp_path, {"pattern": "{group}/{subject}/{video}"})
    for group in ("one", "two"):
        put(tmp_path / "root" / group / "s1" / "a", "1.jpg")
    with pytest.raises(
        DataError, match=r"one/s1/a and .*two/s1/a are both video a of subject s1; remove one"
    ):
        manifests.videos(manifest, tmp_path / "root")


def test_a_video_that_is_not_there_is_named_as_it_should_be_called(tmp_path, synthme):
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match="frames/s1/v is missing"):
            manifests.find_video(synthme, root, "s1", "v")


# A root too deep or too shallow


@pytest.mark.parametrize(
    ("pattern", "folder"),
    [
        ("SAMM/{subject}/{video}", "SAMM/006/006_1_2"),
        ("{subject}/{video}", "s1/v"),
        ("part_A/{subject:sp\\d+}/{video}/color", "part_A/sp1/a/color"),
        ("HS/{subject}/micro/*/{video}", "hs/s1/micro/negative/s1_ne_01"),
        ("clip/frame/{subject:sp\\d+}_{video}_*", "clip/frame/sp1_a_355"),
    ],
)
def test_of_a_root_too_deep_or_too_shallow_the_right_one_is_said(tmp_path, pattern, folder):
    manifest, right = layout(tmp_path / "m", {"pattern": pattern}), tmp_path / "outer" / "data" / "release"
    for other in ("1.jpg", "2.jpg"):
        put(right / folder, other)
    put(right.parent, "readme.txt")
    assert len(manifests.videos(manifest, right)) == 1
    deeper = [right / folder, *(right / folder).parents]
    deeper = deeper[: deeper.index(right)]
    for wrong in [*deeper, right.parent, right.parent.parent]:
        for ask in (manifests.videos, manifests.tables):
            with pytest.raises(DataError, match=f"give {right} instead") as caught:
                ask(manifest, wrong)
            assert "\n" not in str(caught.value)


def test_frames_without_the_release_s_own_folder_around_them_are_to_be_moved_there(tmp_path, synthme):
    put(tmp_path / "root" / "s1" / "v", "1.jpg")
    with pytest.raises(DataError, match=f"belongs into {tmp_path / 'root' / 'frames'}: move it there"):
        manifests.videos(synthme, tmp_path / "root")


def test_tables_lie_in_the_root_or_else_one_level_below(tmp_path, synthme):
    put(tmp_path / "frames" / "s1" / "v", "1.jpg")
    with pytest.raises(DataError, match=r"no annotation table.*put the release's table of synthme there"):
        manifests.tables(synthme, tmp_path)
    put(tmp_path / "annotation", "b.xlsx", "~$b.xlsx", ".c.xlsx", "A.XLS")
    assert [path.name for path in manifests.tables(synthme, tmp_path)] == ["A.XLS", "b.xlsx"]
    put(tmp_path, "own.xls")
    assert manifests.tables(synthme, tmp_path) == [tmp_path / "own.xls"]


# What else lies in a folder


@settings(max_examples=25)
@given(
    st.sets(st.integers(1, 3000), min_size=1, max_size=30),
    st.integers(1, 5),
    st.sets(st.sampled_from(["cover.jpg", "Thumbs.db", ".DS_Store", ".img7.jpg", "a 3.txt"])),
)
def test_frames_are_ordered_by_the_last_integer_of_their_names_whatever_else_lies_there(
    tmp_path_factory, numbers, digits, strays
):
    manifest, folder = manifests.read_manifest("synthme"), tmp_path_factory.mktemp("strays")
    put(folder, *(f"006_reg2_{number:0{digits}}.jpg" for number in numbers), *strays)
    frames, paths = manifests.frame_files(folder, manifest)
    assert frames.tolist() == [number - 1 for number in sorted(numbers)] and frames.dtype == np.int64
    assert [int(path.stem.split("_")[-1]) for path in paths] == sorted(numbers)


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 40), min_size=3, max_size=30, unique=True),
    st.sampled_from(
        ["frame{n}_30fps.jpg", "11-26-{s}-{n:05}.png", "{n}_t{ms}.jpg", "s01_ep2_{n:03}.JPG", "{n}.bmp"]
    ),
)
def test_the_frame_number_is_the_integer_that_counts_one_by_one(tmp_path_factory, numbers, form):
    manifest, folder = manifests.read_manifest("synthme"), tmp_path_factory.mktemp("forms")
    name = {n: form.format(n=n + 1, s=n // 40, ms=n * 33) for n in numbers}
    put(folder, *name.values())
    frames, paths = manifests.frame_files(folder, manifest)
    assert frames.tolist() == sorted(numbers)
    assert [path.name for path in paths] == [name[n] for n in sorted(numbers)]

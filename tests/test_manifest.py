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


def described(folder, **changes):
    """Synthme's manifest with other fields, read from a file of its own."""
    record = yaml.safe_load(SYNTHME.read_text(encoding="utf-8")) | changes
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.yml"
    path.write_text(yaml.safe_dump(record, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return manifests.read_manifest(path)


def layout(folder, *variants):
    return described(folder, frames={"variants": [*variants]})


def put(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


def names(table):
    return [tuple(row) for row in table[["subject", "video"]].to_numpy().tolist()]


# What a manifest says


@pytest.mark.parametrize("path", sorted(SYNTHME.parent.glob("*.yml")), ids=lambda path: path.stem)
def test_every_shipped_manifest_fits_the_schema_and_is_called_like_its_file(path):
    assert manifests.read_manifest(path).name == path.stem
    assert manifests.read_manifest(path) == manifests.read_manifest(path.stem)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("fps: 200", "fps: fast", "fps: 'fast' is not of type 'number'"),
        *(
            ("fps: 200", f"fps: {text}", f"fps: '{text}' is not of type 'number'")
            for text in (".nan", ".inf", "0200", "3:20", "2024-13-45", "0x10")
        ),
        ("fps: 200", "fps: 1" + "0" * 400, "fps"),
        ("fps: 200\n", "", "'fps' is a required property"),
        ("fps: 200", "fps: 200\nfsp: 100", "'fsp' was unexpected"),
        ("fps: 200", "fps: 200\nfps: 100", "fps stands there twice"),
        ("fps: 200", "fps: [200", "not valid yaml"),
        ("fps: 200", "fps: 200\0", r"not valid yaml \(special characters are not allowed\)"),
        ("fps: 200", "fps: 200\n[a]: b", "not valid yaml"),
        ("fps: 200", "fps: " + "[" * 5000, "in each other"),
        ("fps: 200", "fps: &a [*a]", "grows without end"),
        ("name: synthme", 'name: "a\\n"', "name: "),
        ("kind: micro", "kind: micro\n  video_pattern: no group", "needs one group in parentheses"),
        ("    onset: Onset Frame\n", "", "table.columns: 'onset' is a required property"),
        ("apex_missing: midpoint", "apex_missing: guess", "repair.apex_missing: 'guess' is not one of"),
        ("has_context: true", "has_context: yes", "'yes' is not of type 'boolean'"),
        ("frames/{subject}/{video}", "frames/{subject}", r"frames.pattern: .* has no \{video\}"),
        ("frames/{subject}/{video}", "frames/{video}", r"frames.pattern: .* does not match .*subject"),
        ("frames/{subject}/{video}", "'{subject}/{video}}'", "a brace that belongs to no field"),
        ("frames/{subject}/{video}", "'{subject}/{video:(a+)+b}'", "may take for ever"),
        ("frames/{subject}/{video}", "'{subject}/{video:a{9999999999}}'", "is no regular expression"),
        ("surprise: [surprise]", "surprise: [surprise, Sad]", "sad stands there twice"),
    ],
)
def test_a_fault_is_one_sentence_with_file_line_and_remedy(tmp_path, old, new, message):
    path = changed(tmp_path, old, new)
    with pytest.raises(DataError, match=rf"line \d+: .*{message}") as caught:
        manifests.read_manifest(path)
    assert str(path) in str(caught.value) and "correct that line" in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


PART = {
    "columns": {"subject": "S", "video": "F", "onset": 2, "offset": "Off"},
    "missing": [],
    "kind": "micro",
}


@pytest.mark.parametrize(
    ("changes", "place", "line"),
    [
        ({"frames": {"patern": "x"}}, "frames", "patern"),
        (
            {"frames": {"variants": [{"pattern": "{subject}/{video:(}"}]}},
            "frames.variants.0.pattern",
            "- pattern",
        ),
        ({"table": PART | {"columns": PART["columns"] | {"onset": 2.5}}}, "table.columns.onset", "onset"),
        ({"table": {"parts": [PART, PART | {"kind": {"column": "K"}}]}}, "table.parts.1.kind", "kind:"),
        ({"known": {"apex_missing": "many"}}, "known.apex_missing", "apex_missing: many"),
    ],
)
def test_of_several_alternatives_the_one_that_was_meant_names_the_line(tmp_path, changes, place, line):
    with pytest.raises(DataError) as caught:
        described(tmp_path, **changes)
    number = int(str(caught.value).split(", line ")[1].split(":")[0])
    assert line in (tmp_path / "manifest.yml").read_text(encoding="utf-8").splitlines()[number - 1]
    assert f": {place}: " in str(caught.value)


def test_a_yml_that_grows_by_its_aliases_is_refused(tmp_path):
    laughs = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
    with pytest.raises(DataError, match="without end"):
        manifests.read_manifest(changed(tmp_path, "name: synthme", f"a0: &a0 ha\n{laughs}name: synthme"))


def test_codes_are_text_as_they_are_written(tmp_path):
    path = changed(tmp_path, "show_subjects: all", 'show_subjects: [006, no, 1:40, "7", 1_0]')
    assert manifests.read_manifest(path).show_subjects == ("006", "no", "1:40", "7", "1_0")


@pytest.mark.parametrize("name", ["../other.yml", "/etc/other.yml", "../../melib/samm", ".."])
def test_a_manifest_joins_none_that_lies_elsewhere(tmp_path, name):
    with pytest.raises(DataError, match=r"does not match|no manifest called"):
        manifests.joined(described(tmp_path / "here", join={"dataset": name, "take": ["emotion"]}))
    beside = described(tmp_path / "here", join={"dataset": "manifest.yml", "take": ["emotion"]})
    assert manifests.joined(beside).name == "synthme"


def test_an_unknown_name_a_missing_file_and_an_unreadable_one_end_in_one_sentence(tmp_path):
    (tmp_path / "empty.yml").write_text("")
    (tmp_path / "latin.yml").write_bytes("name: süß".encode("latin-1"))
    for name, message in (
        ("nothing", "no manifest called nothing; known are .*synthme"),
        (tmp_path / "nothing.yml", "is missing"),
        (tmp_path / "empty.yml", "is empty"),
        (tmp_path / "latin.yml", "UTF-8"),
    ):
        with pytest.raises(DataError, match=message):
            manifests.read_manifest(name)


def test_the_hash_follows_meaning_not_comments(tmp_path, synthme):
    base = manifests.manifest_hash(synthme)
    commented = manifests.read_manifest(changed(tmp_path, "fps: 200", "# a comment\nfps: 200"))
    assert manifests.manifest_hash(commented) == base
    assert manifests.manifest_hash(manifests.read_manifest(changed(tmp_path, "fps: 200", "fps: 100"))) != base


# True intensity

TRUTH = "subject,video,frame,event,rms_px,peak_px,profile,blink,au1\n"


def truth(folder, text):
    folder.mkdir(exist_ok=True)
    (folder / "truth.csv").write_text(text, encoding="utf-8")
    return folder


def test_truth_is_read_0_based_with_names_as_text(tmp_path, synthme):
    root = truth(tmp_path, TRUTH + "006,NA,1,,0,0,0,0.5,0\n006,NA,2,e1,0.1,.2,1,0,.1\n")
    table = manifests.load_truth(synthme, root)
    assert table["frame"].tolist() == [0, 1] and table["au1"].tolist() == [0, 0.1]
    assert table[["subject", "video", "event"]].to_numpy().tolist() == [
        ["006", "NA", ""],
        ["006", "NA", "e1"],
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "can't be read"),
        (TRUTH.replace("peak_px,", ""), "no column peak_px"),
        (TRUTH + "s,v,x,,0,0,0,0,0\n", "can't be read"),
        (TRUTH + "s,v,1e30,,0,0,0,0,0\n", "no whole number"),
    ],
)
def test_a_broken_or_lost_truth_ends_in_one_sentence_and_nobodys_is_none(tmp_path, synthme, text, message):
    with pytest.raises(DataError, match=message):
        manifests.load_truth(synthme, truth(tmp_path / "root", text))
    with pytest.raises(DataError, match=r"truth\.csv is missing"):
        manifests.load_truth(synthme, tmp_path)
    assert manifests.load_truth(replace(synthme, truth=None), tmp_path) is None


def test_a_truth_outside_the_data_sets_folder_is_not_opened(tmp_path, synthme):
    outside, root = truth(tmp_path / "outside", TRUTH) / "truth.csv", truth(tmp_path / "root", TRUTH)
    (root / "linked.csv").symlink_to(outside)
    for place in ("../outside/truth.csv", str(outside), "linked.csv"):
        with pytest.raises(DataError, match="lies outside"):
            manifests.load_truth(replace(synthme, truth=place), root)
    (tmp_path / "link").symlink_to(root)
    assert manifests.load_truth(synthme, tmp_path / "link").empty


# Folders


@pytest.mark.parametrize(
    ("variant", "folders", "expected"),
    [
        ({"pattern": "Raw/sub{subject:\\d+}/{video:EP[^/]+}"}, ["raw/Sub01/EP02_01f"], [("01", "EP02_01f")]),
        ({"pattern": "Raw/sub{subject:\\d+}/{video:EP[^/]+}"}, ["Raw/sub01/other", "Raw/subx/EP01"], []),
        ({"pattern": "frames/{subject}/{video}"}, ["s1/v"], []),
        ({"pattern": "{subject}/{video:\\d{2}_\\d}"}, ["a/12_3", "a/123"], [("a", "12_3")]),
        ({"pattern": "HS/{subject}/*/{video}"}, ["HS/s1/x/v", "HS/s1/y/w"], [("s1", "v"), ("s1", "w")]),
        ({"pattern": "raw/{subject:s\\d+}/*_{video:\\d{4}}*"}, ["raw/s15/15_0101x"], [("s15", "0101")]),
        ({"pattern": "{subject}/{subject}-{video}"}, ["A/a-1", "A/b-2"], [("a", "1")]),
        ({"pattern": "{subject:sp\\d+}/{video}/color"}, ["sp1/a/color", "sp1/a/depth"], [("sp1", "a")]),
        ({"pattern": "{video:\\d+_\\d+}", "subject": "^(\\d+)_"}, ["006_1", "x_1"], [("006", "006_1")]),
        ({"pattern": "{subject}/{video}"}, ["s/v", "s/.v", ".s/v"], [("s", "v")]),
        ({"pattern": "{subject}/{video}"}, ["sp[1] (a)/v", "s+/v^$"], [("s+", "v^$"), ("sp[1] (a)", "v")]),
        (
            {"pattern": "{subject}/{video}"},
            ["s10/b", "s2/a10", "s2/a9"],
            [("s2", "a9"), ("s2", "a10"), ("s10", "b")],
        ),
    ],
)
def test_a_pattern_finds_the_folders_that_it_says_in_any_case_and_natural_order(
    tmp_path, variant, folders, expected
):
    manifest = layout(tmp_path, variant)
    for folder in folders:
        put(tmp_path / "root" / folder, "1.jpg")
    if not expected:
        with pytest.raises(DataError, match="no folder of frames like"):
            manifests.videos(manifest, tmp_path / "root")
        return
    table = manifests.videos(manifest, tmp_path / "root")
    assert names(table) == expected
    assert len({*table["folder"]}) == len(expected)


def test_the_layout_that_holds_most_videos_counts_and_the_first_of_equals(tmp_path):
    first, second = {"pattern": "raw/{subject}/{video}"}, {"pattern": "cut/{subject}/{video}"}
    second |= {"has_context": False, "first_frame": 0}
    manifest, root = layout(tmp_path, first, second), tmp_path / "root"
    put(root / "raw/s1/a", "img5.jpg")
    put(root / "cut/s1/a", "img5.jpg")
    assert manifests.effective(manifest, root).has_context
    put(root / "cut/s1/b", "img0.jpg", "img5.jpg")
    table, chosen = manifests.videos(manifest, root), manifests.effective(manifest, root)
    assert names(table) == [("s1", "a"), ("s1", "b")]
    assert (
        not chosen.has_context and chosen.first_frame == manifest.first_frame
    )  # the table's; its files count from 0
    assert manifests.spans(chosen, table)[["n_first", "n_last"]].to_numpy().tolist() == [[5, 5], [0, 5]]
    assert table["folder"].tolist() == [root / "cut/s1/a", root / "cut/s1/b"]
    assert manifests.effective(chosen, root) is chosen


def test_folders_that_differ_where_the_pattern_has_a_star_are_one_video(tmp_path):
    manifest, root = layout(tmp_path, {"pattern": "clip/{subject}_{video:[^_]+}_*"}), tmp_path / "root"
    put(root / "clip" / "s1_a_355", "355.jpg", "356.jpg", "359.jpg")
    put(root / "clip" / "s1_a_20", "20.jpg")
    put(root / "clip" / "s1_b_7", "7.jpg")
    table = manifests.spans(manifest, manifests.videos(manifest, root))
    assert names(table) == [("s1", "a"), ("s1", "b")]
    assert table[["n_first", "n_last", "n_frames"]].to_numpy().tolist() == [[19, 358, 4], [6, 6, 1]]
    place = table["folder"][0]
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


def test_names_that_differ_by_case_alone_stay_apart(tmp_path, synthme):
    for subject, video in (("spNO.1", "a"), ("spNo.1", "a"), ("spNo.1", "b")):
        put(tmp_path / "frames" / subject / video, "1.jpg")
    table = manifests.videos(synthme, tmp_path)
    assert names(table) == [("spNO.1", "a"), ("spNo.1", "a"), ("spNo.1", "b")]
    assert table["folder"].tolist() == [tmp_path / "frames" / s / v for s, v in names(table)]


def test_a_video_in_two_folders_is_one_sentence(tmp_path):
    manifest = layout(tmp_path, {"pattern": "{group}/{subject}/{video}"})
    for group in ("one", "two"):
        put(tmp_path / "root" / group / "s1" / "a", "1.jpg")
    with pytest.raises(
        DataError, match=r"one/s1/a and .*two/s1/a are both video a of subject s1; remove one"
    ):
        manifests.videos(manifest, tmp_path / "root")


@pytest.mark.parametrize(
    ("pattern", "folder"),
    [
        ("SAMM/{subject}/{video}", "SAMM/006/006_1_2"),
        ("part_A/{subject:sp\\d+}/{video}/color", "part_A/sp1/a/color"),
        ("clip/frame/{subject:sp\\d+}_{video}_*", "clip/frame/sp1_a_355"),
    ],
)
def test_of_a_root_too_deep_or_too_shallow_the_right_one_is_said(tmp_path, pattern, folder):
    manifest, right = layout(tmp_path / "m", {"pattern": pattern}), tmp_path / "outer" / "data" / "release"
    put(right / folder, "1.jpg", "2.jpg")
    put(right.parent, "readme.txt")
    assert len(manifests.videos(manifest, right)) == 1
    deeper = [right / folder, *(right / folder).parents]
    for wrong in [*deeper[: deeper.index(right)], right.parent, right.parent.parent]:
        for ask in (manifests.videos, manifests.tables):
            with pytest.raises(DataError, match=f"give {right} instead"):
                ask(manifest, wrong)


def test_tables_lie_in_the_root_or_else_one_level_below(tmp_path, synthme):
    put(tmp_path / "frames" / "s1" / "v", "1.jpg")
    with pytest.raises(DataError, match=r"no annotation table.*put the release's table of synthme there"):
        manifests.tables(synthme, tmp_path)
    put(tmp_path / "annotation", "b.xlsx", "~$b.xlsx", ".c.xlsx", "A.XLS")
    assert [path.name for path in manifests.tables(synthme, tmp_path)] == ["A.XLS", "b.xlsx"]
    put(tmp_path, "own.xls")
    assert manifests.tables(synthme, tmp_path) == [tmp_path / "own.xls"]


# Frames


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
def test_a_folder_whose_order_is_not_certain_ends_in_one_sentence(tmp_path, synthme, names, message):
    put(tmp_path / "v", *names)
    with pytest.raises(DataError, match=message):
        manifests.frame_files(tmp_path / "v", synthme)
    with pytest.raises(DataError, match="is missing"):
        manifests.frame_files(tmp_path / "other", synthme)


FORMS = ["frame{n}_30fps.jpg", "11-26-{s}-{n:05}.png", "{n}_t{ms}.jpg", "s01_ep2_{n:03}.JPG", "{n}.bmp"]
STRAYS = ["cover.jpg", "Thumbs.db", ".DS_Store", ".img7.jpg", "a 3.txt"]


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 40), min_size=3, max_size=30, unique=True),
    st.sampled_from(FORMS),
    st.sets(st.sampled_from(STRAYS)),
)
def test_frames_are_in_the_order_of_the_integer_that_counts_one_by_one_whatever_else_lies_there(
    tmp_path_factory, numbers, form, strays
):
    manifest, folder = manifests.read_manifest("synthme"), tmp_path_factory.mktemp("forms")
    name = {n: form.format(n=n + 1, s=n // 40, ms=n * 33) for n in numbers}
    put(folder, *name.values(), *strays)
    frames, paths = manifests.frame_files(folder, manifest)
    assert frames.tolist() == sorted(numbers) and frames.dtype == np.int64
    assert [path.name for path in paths] == [name[n] for n in sorted(numbers)]

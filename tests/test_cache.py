"""Files appear whole or not at all; arrays are found again by what produced them, or computed again."""

import contextlib
import errno
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melib import DataError
from melib.data import cache


def files(folder):
    return sorted(path.name for path in Path(folder).rglob("*") if path.is_file())


texts = st.text(st.sampled_from("=+-@\t\r'＝a1."), max_size=6) | st.sampled_from(
    ["=1+1", "-1", "+.5", "@x", "-1+1"]
)


@given(st.lists(texts, min_size=1))
def test_no_cell_of_a_table_is_one_that_a_spreadsheet_runs_and_all_come_back(tmp_path_factory, cells):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    cache.write_table(path, pd.DataFrame({"text": cells, "number": -1.5}))
    read = pd.read_csv(path, keep_default_na=False, dtype={"text": str})
    for cell, written in zip(cells, read["text"], strict=True):
        assert written[:1] not in {*"=+-@\t\r\n＝"} or float(written) == float(cell)
        assert cache.restored(written) == cell.replace("\r", "\n")
    assert (read["number"] == -1.5).all()


def test_a_content_hash_knows_names_bytes_and_order_but_not_folders(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        for name, data in (("1", b"one"), ("2", b"two")):
            (tmp_path / folder / name).write_bytes(data)
    one, two = tmp_path / "a" / "1", tmp_path / "a" / "2"
    assert cache.content_hash([one, two]) == cache.content_hash([tmp_path / "b" / "1", tmp_path / "b" / "2"])
    before = {cache.content_hash([one, two]), cache.content_hash([two, one]), cache.content_hash([one])}
    one.rename(tmp_path / "a" / "3")
    before.add(cache.content_hash([tmp_path / "a" / "3", two]))
    (tmp_path / "a" / "3").write_bytes(b"onE")
    before.add(cache.content_hash([tmp_path / "a" / "3", two]))
    assert len(before) == 5
    with pytest.raises(DataError, match="can't be read"):
        cache.content_hash([one])


@given(
    st.dictionaries(st.text(), st.integers() | st.floats(allow_nan=False) | st.text(), min_size=1), st.data()
)
def test_a_key_changes_with_every_value_and_not_with_the_order(params, data):
    name = data.draw(st.sampled_from(sorted(params)))
    reordered = dict(reversed(params.items()))
    base = cache.key(1, params, "s")
    assert len(base) == 20
    assert base == cache.key(1, reordered, "s")
    others = [
        cache.key(2, params, "s"),
        cache.key(1, params),
        cache.key(1, params | {name: [params[name]]}, "s"),
    ]
    assert len({base, *others}) == 4


@settings(max_examples=20)
@given(
    shape=st.lists(st.integers(0, 3), max_size=3),
    dtype=st.sampled_from(["uint8", "bool", "float32", "float64", "int64", "<U3"]),
)
def test_arrays_come_back_as_they_were_without_computing_again(tmp_path_factory, shape, dtype):
    folder = tmp_path_factory.mktemp("cache")
    value = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    first = cache.arrays(folder, "k", lambda: {"x": value})["x"]
    again = cache.arrays(folder, "k", lambda: pytest.fail("computed twice"))["x"]
    for read in (first, again):
        np.testing.assert_array_equal(read, value)
        assert read.dtype == value.dtype
        assert not read.flags.writeable


VALUES = {"x": np.arange(1000), "y": np.eye(3, dtype=np.float32)}


def stored(folder, key="k"):
    """What the cache gives for VALUES, checked; its warnings are the caller's."""
    read = cache.arrays(folder, key, lambda: VALUES)
    assert read.keys() == VALUES.keys()
    for name, value in VALUES.items():
        np.testing.assert_array_equal(read[name], value, strict=True)


def test_a_full_disk_ends_in_one_sentence_and_keeps_finished_entries(small_disk):
    disk = small_disk(1)
    cache.arrays(disk, "first", lambda: {"x": np.arange(100)})
    with pytest.raises(DataError, match=r"disk is full .* run the same command again"):
        cache.arrays(disk, "second", lambda: {"x": np.zeros(4 << 20, np.uint8)})
    with pytest.raises(DataError, match="disk is full"), cache.atomic(disk / "t.bin") as temporary:
        temporary.write_bytes(b"0" * (4 << 20))
    assert [path.name for path in disk.iterdir()] == ["first"]
    cache.arrays(disk, "first", lambda: pytest.fail("lost"))
    cache.arrays(disk, "second", lambda: {"x": np.arange(5)})


@pytest.mark.parametrize("fault", [None, RuntimeError, KeyboardInterrupt])
def test_a_file_appears_whole_when_its_block_ends_and_a_failed_write_leaves_what_was_there(tmp_path, fault):
    target = tmp_path / "deep" / "a.json"
    cache.write_json(target, {"old": 1})
    with contextlib.suppress(*([fault] if fault else [])), cache.atomic(target) as temporary:
        assert (temporary.parent, temporary.suffix) == (target.parent, ".json")
        temporary.write_text("new")
        assert target.read_text() == '{\n "old": 1\n}\n'
        if fault:
            raise fault
    assert target.read_text() == ('{\n "old": 1\n}\n' if fault else "new")
    assert files(tmp_path) == ["a.json"]


def test_tables_and_records_have_stable_bytes(tmp_path):
    cache.write_table(tmp_path / "t.csv", pd.DataFrame({"a": [1 / 3, 2.0], "b": ["ä", ""]}))
    assert (tmp_path / "t.csv").read_bytes() == "a,b\n0.333333,ä\n2,\n".encode()
    cache.write_yaml(
        tmp_path / "r.yml", {"z": np.float64(0.5), "a": (1, 2), "p": Path("x/y"), "n": np.arange(2)}
    )
    assert (tmp_path / "r.yml").read_text() == "z: 0.5\na:\n- 1\n- 2\np: x/y\nn:\n- 0\n- 1\n"


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: (entry / "x.npy").unlink(),
        lambda entry: (entry / "record.json").write_text("[]"),
        lambda entry: (entry / "y.npy").write_bytes((entry / "x.npy").read_bytes()),
        lambda entry: (shutil.rmtree(entry), entry.write_text("")),
    ],
)
def test_a_broken_entry_is_rebuilt_with_a_warning(tmp_path, damage):
    stored(tmp_path)
    damage(tmp_path / "k")
    with pytest.warns(UserWarning, match="computed again"):
        stored(tmp_path)
    cache.arrays(tmp_path, "k", lambda: pytest.fail("computed a third time"))
    assert files(tmp_path) == ["record.json", "x.npy", "y.npy"]


def test_what_fails_or_is_an_object_leaves_nothing_and_what_another_process_finished_is_kept(tmp_path):
    with pytest.raises(ValueError, match="pickle"):
        cache.arrays(tmp_path, "k", lambda: {"x": np.array([{}], object)})
    with pytest.raises(ZeroDivisionError):
        cache.arrays(tmp_path, "k", lambda: {"x": 1 / 0})
    assert list(tmp_path.iterdir()) == []

    def compute():
        stored(tmp_path / "other")
        (tmp_path / "other" / "k").rename(tmp_path / "k")
        return VALUES

    np.testing.assert_array_equal(cache.arrays(tmp_path, "k", compute)["x"], VALUES["x"])
    assert [path.name for path in tmp_path.iterdir() if path.name != "other"] == ["k"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full"),
        (OSError("262144 requested and 12 written"), "disk is full"),  # numpy's short write
        (RuntimeError("IoError: No space left on device (os error 28)"), "disk is full"),  # safetensors
        (PermissionError(errno.EACCES, "Permission denied"), "can't be written"),
    ],
)
def test_every_way_of_saying_that_a_disk_is_full_or_locked_is_understood(
    tmp_path, monkeypatch, error, sentence
):
    def fail(*args, **kwargs):
        raise error

    stored(tmp_path, "first")
    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(DataError, match=sentence):
        stored(tmp_path, "second")
    with pytest.raises(DataError, match=sentence), cache.atomic(tmp_path / "a.npy"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


# What is remembered of large files


@pytest.fixture
def large(tmp_path, monkeypatch):
    """Two files that are worth remembering, and where."""
    monkeypatch.setattr(cache, "_LARGE", 1)
    monkeypatch.setattr(cache, "_YOUNG", 0)
    for name in "ab":
        (tmp_path / name).write_text(name)
    time.sleep(0.02)
    return [tmp_path / "a", tmp_path / "b"], tmp_path / "index"


def test_files_that_did_not_change_are_not_read_again_and_a_broken_note_is_not_believed(large, monkeypatch):
    paths, index = large
    known = cache.content_hash(paths)
    assert cache.content_hash(paths, index) == known
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_add", lambda *_: pytest.fail("read again"))
        assert cache.content_hash(paths, index) == known
    [note] = index.iterdir()
    whole = note.read_text()
    cache.content_hash(paths[:1], index)
    [other] = set(index.iterdir()) - {note}
    for broken in ("cut", whole.replace(known[:4], "0000"), other.read_text()):
        note.write_text(broken)
        assert cache.content_hash(paths, index) == known
        assert note.read_text() == whole  # written again


@pytest.mark.parametrize("change", ["bytes", "bytes, with the old time", "name", "order", "another file"])
def test_a_remembered_hash_never_outlives_a_change(large, change):
    paths, index = large
    cache.content_hash(paths, index)
    before = paths[0].stat()
    time.sleep(0.02)
    if change.startswith("bytes"):
        paths[0].write_text("c")
    if change == "name":
        paths[0] = paths[0].rename(paths[0].with_name("c"))
    if change == "order":
        paths.reverse()
    if change == "another file":
        paths[0].with_name("new").write_text("c")
        paths[0].with_name("new").replace(paths[0])
    if change.endswith(("time", "file")):
        os.utime(paths[0], ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.content_hash(paths, index) == cache.content_hash(paths)


@pytest.mark.parametrize(("name", "limit"), [("_YOUNG", 10**18), ("_LARGE", 100)])
def test_young_and_small_files_are_read_each_time(large, monkeypatch, name, limit):
    paths, index = large
    monkeypatch.setattr(cache, name, limit)
    assert cache.content_hash(paths, index) == cache.content_hash(paths)
    assert not index.exists()

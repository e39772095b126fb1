"""Files appear whole or not at all; arrays are found again by what produced them, or computed again."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from melib import DataError
from melib.data import cache


def files(folder):
    return sorted(path.name for path in Path(folder).rglob("*") if path.is_file())


def test_a_file_appears_only_when_its_block_ends(tmp_path):
    target = tmp_path / "deep" / "table.csv"
    with cache.atomic(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".csv"
        temporary.write_text("half")
        assert not target.exists()
    assert target.read_text() == "half"
    assert files(tmp_path) == ["table.csv"]


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt])
def test_a_failed_write_leaves_what_was_there(tmp_path, fault):
    target = tmp_path / "a.json"
    cache.write_json(target, {"old": 1})

    def stop(temporary):
        temporary.write_text("half")
        raise fault

    with pytest.raises(fault), cache.atomic(target) as temporary:
        stop(temporary)
    assert target.read_text() == '{\n "old": 1\n}\n'
    assert files(tmp_path) == ["a.json"]


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


def test_tables_and_records_have_stable_bytes(tmp_path):
    cache.write_table(tmp_path / "t.csv", pd.DataFrame({"a": [1 / 3, 2.0], "b": ["ä", ""]}))
    assert (tmp_path / "t.csv").read_bytes() == "a,b\n0.333333,ä\n2,\n".encode()
    record = {"z": np.float64(0.5), "a": (1, 2), "path": Path("x/y"), "n": np.arange(2)}
    cache.write_yaml(tmp_path / "r.yml", record)
    assert yaml.safe_load((tmp_path / "r.yml").read_text()) == {
        "z": 0.5,
        "a": [1, 2],
        "path": "x/y",
        "n": [0, 1],
    }
    assert (tmp_path / "r.yml").read_text().startswith("z:")
    with pytest.raises(TypeError):
        cache.write_json(tmp_path / "never.json", {"x": object()})
    assert not (tmp_path / "never.json").exists()


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


def test_large_arrays_are_mapped_and_small_ones_hold_no_file_open(tmp_path):
    read = cache.arrays(tmp_path, "k", lambda: {"large": np.zeros(1 << 21, np.uint8), "small": np.zeros(9)})
    assert isinstance(read["large"], np.memmap)
    assert not isinstance(read["small"], np.memmap)


VALUES = {"x": np.arange(1000), "y": np.eye(3, dtype=np.float32)}


def stored(folder, key="k"):
    """What the cache gives for VALUES, checked; its warnings are the caller's."""
    read = cache.arrays(folder, key, lambda: VALUES)
    assert read.keys() == VALUES.keys()
    for name, value in VALUES.items():
        np.testing.assert_array_equal(read[name], value, strict=True)


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: (entry / "x.npy").unlink(),
        lambda entry: (entry / "record.json").unlink(),
        lambda entry: (entry / "record.json").write_text("{"),
        lambda entry: (entry / "record.json").write_text("[]"),
        lambda entry: (entry / "record.json").write_text(
            '{"x": {"crc32": 0}}'
        ),  # as it was before entries held their key
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


@pytest.mark.filterwarnings("ignore:.*computed again")
@settings(max_examples=60)
@given(
    st.sampled_from(["record.json", "x.npy", "y.npy"]), st.floats(0, 1, exclude_max=True), st.integers(0, 7)
)
def test_no_flipped_bit_and_no_cut_of_an_entry_changes_what_is_read(tmp_path_factory, name, place, bit):
    folder = tmp_path_factory.mktemp("cache")
    stored(folder)
    data = bytearray((folder / "k" / name).read_bytes())
    at = int(place * len(data))
    (folder / "k" / name).write_bytes(data[:at])
    stored(folder)
    data[at] ^= 1 << bit
    (folder / "k" / name).write_bytes(data)
    stored(folder)


def test_two_entries_whose_folders_were_swapped_are_not_read_as_each_other(tmp_path):
    stored(tmp_path, "a")
    cache.arrays(tmp_path, "b", lambda: {name: value + 1 for name, value in VALUES.items()})
    (tmp_path / "a").rename(tmp_path / "c")
    (tmp_path / "b").rename(tmp_path / "a")
    (tmp_path / "c").rename(tmp_path / "b")
    for key in "ab":
        with pytest.warns(UserWarning, match="it was written as"):
            stored(tmp_path, key)


def test_objects_are_never_stored(tmp_path):
    with pytest.raises(ValueError, match="pickle"):
        cache.arrays(tmp_path, "k", lambda: {"x": np.array([{}], object)})
    assert files(tmp_path) == []


def test_a_failed_computation_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        cache.arrays(tmp_path, "k", lambda: {"x": 1 / 0})
    assert list(tmp_path.iterdir()) == []


def test_an_entry_that_another_process_finished_meanwhile_is_kept(tmp_path):
    def compute():
        cache.arrays(tmp_path / "other", "k", lambda: {"x": np.arange(3)})
        (tmp_path / "other" / "k").rename(tmp_path / "k")
        return {"x": np.arange(3)}

    np.testing.assert_array_equal(cache.arrays(tmp_path, "k", compute)["x"], np.arange(3))
    assert [path.name for path in tmp_path.iterdir() if path.name != "other"] == ["k"]


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


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("262144 requested and 12 written"),  # numpy's short write
        RuntimeError("IoError: No space left on device (os error 28)"),  # safetensors
    ],
)
def test_every_way_of_saying_disk_full_is_understood(tmp_path, monkeypatch, error):
    def full(*args, **kwargs):
        raise error

    cache.arrays(tmp_path, "first", lambda: {"x": np.arange(3)})
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.raises(DataError, match="disk is full"):
            cache.arrays(tmp_path, "second", lambda: {"x": np.arange(3)})
    with pytest.raises(DataError, match="disk is full"), cache.atomic(tmp_path / "a.npy"):
        full()
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


def test_a_locked_folder_ends_in_one_sentence(tmp_path):
    def locked():
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(DataError, match="can't be written"), cache.atomic(tmp_path / "a.npy"):
        locked()


SLOW_WRITER = """
import signal, sys, time
import numpy as np
from melib.data import cache

signal.signal(signal.SIGINT, signal.default_int_handler)  # who started the tests in the background may ignore it
folder = sys.argv[1]
cache.arrays(folder, "first", lambda: {"x": np.arange(3)})
save = np.save
def slow(path, value, **kwargs):
    save(path, value, **kwargs)
    print("half", flush=True)
    time.sleep(60)
np.save = slow
cache.arrays(folder, "second", lambda: {"x": np.arange(3), "y": np.arange(4)})
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
@pytest.mark.parametrize("with_signal", ["SIGKILL", "SIGINT"])
def test_a_killed_write_is_not_seen_and_the_rerun_continues(tmp_path, with_signal):
    environment = os.environ | {"PYTHONPATH": str(Path(cache.__file__).parent.parent)}
    writer = subprocess.Popen(
        [sys.executable, "-c", SLOW_WRITER, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    assert writer.stdout.readline() == b"half\n"
    writer.send_signal(getattr(signal, with_signal))
    writer.wait(timeout=30)
    time.sleep(0.05)
    assert not (tmp_path / "second").exists()
    cache.arrays(tmp_path, "first", lambda: pytest.fail("a finished entry was lost"))
    read = cache.arrays(tmp_path, "second", lambda: {"x": np.arange(3), "y": np.arange(4)})
    np.testing.assert_array_equal(read["y"], np.arange(4))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]  # nothing half is left


def large(folder, monkeypatch, old=True):
    """Two files that are worth remembering."""
    monkeypatch.setattr(cache, "_LARGE", 1)
    if old:
        monkeypatch.setattr(cache, "_YOUNG", 0)
    for name in "ab":
        (folder / name).write_text(name)
    return [folder / "a", folder / "b"]


def test_files_that_did_not_change_are_not_read_again(tmp_path, monkeypatch):
    paths = large(tmp_path, monkeypatch)
    index = tmp_path / "index"
    known = cache.content_hash(paths)
    time.sleep(0.02)
    assert cache.content_hash(paths, index) == known
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_add", lambda *_: pytest.fail("read again"))
        assert cache.content_hash(paths, index) == known
    [note] = index.iterdir()
    whole = note.read_text()
    for broken in ("cut", whole.replace(known[:4], "0000"), whole.replace(note.name, note.name[::-1])):
        note.write_text(broken)
        assert cache.content_hash(paths, index) == known
        assert note.read_text() == whole  # written again


def test_a_note_on_other_files_is_not_believed(tmp_path, monkeypatch):
    paths = large(tmp_path, monkeypatch)
    index = tmp_path / "index"
    time.sleep(0.02)
    cache.content_hash(paths[:1], index)
    [first] = index.iterdir()
    cache.content_hash(paths[1:], index)
    [second] = set(index.iterdir()) - {first}
    second.write_bytes(first.read_bytes())
    assert cache.content_hash(paths[1:], index) == cache.content_hash(paths[1:])


@pytest.mark.parametrize("change", ["bytes", "bytes, with the old time", "name", "order", "another file"])
def test_a_remembered_hash_never_outlives_a_change(tmp_path, monkeypatch, change):
    paths = large(tmp_path, monkeypatch)
    index = tmp_path / "index"
    time.sleep(0.02)
    cache.content_hash(paths, index)
    before = paths[0].stat()
    time.sleep(0.02)
    if change.startswith("bytes"):
        paths[0].write_text("c")
    if change.endswith("time"):
        os.utime(paths[0], ns=(before.st_atime_ns, before.st_mtime_ns))
    if change == "name":
        paths[0] = paths[0].rename(tmp_path / "c")
    if change == "order":
        paths.reverse()
    if change == "another file":
        (tmp_path / "new").write_text("c")
        os.utime(tmp_path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
        (tmp_path / "new").replace(paths[0])
    assert cache.content_hash(paths, index) == cache.content_hash(paths)


def test_young_and_small_files_and_a_folder_that_cannot_be_written_cost_only_time(tmp_path, monkeypatch):
    paths = large(tmp_path, monkeypatch, old=False)
    assert cache.content_hash(paths, tmp_path / "index") == cache.content_hash(paths)
    monkeypatch.setattr(cache, "_YOUNG", 0)
    monkeypatch.setattr(cache, "_LARGE", 100)
    assert cache.content_hash(paths, tmp_path / "index") == cache.content_hash(paths)
    assert not (tmp_path / "index").exists()
    monkeypatch.setattr(cache, "_LARGE", 1)

    def locked(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", locked)
    assert cache.content_hash(paths, tmp_path / "index") == cache.content_hash(paths)

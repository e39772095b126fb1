"""Files that appear whole or not at all, and arrays on disk addressed by what produced them.

Everything that melib writes goes through :func:`atomic`: a temporary name in the same folder, then a
rename. A process that is killed leaves its temporary file behind and nothing else, so whatever carries its
final name is finished and the rerun continues from there.

    cache/<key>/record.json     its key, checksums of the arrays, and one of itself
    cache/<key>/<name>.npy      one file an array, read back read-only, large ones memory-mapped
    cache/hashes/               hashes of large sources, so that they aren't read at every start
    cache/.<key>.<host>-<pid>   being written; swept by the next build of the same key if that process is dead
"""

import contextlib
import errno
import hashlib
import inspect
import itertools
import json
import os
import re
import shutil
import socket
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import yaml
from tqdm import tqdm

from melib.errors import DataError

_HOST = socket.gethostname().replace("-", "_").replace(".", "_") or "host"
_KEY_LENGTH = 20  # hex digits: 80 bits, no collision among any number of clips we could store
_LARGE = 1 << 20  # bytes: what reads slower than it is looked up
_YOUNG = 2_000_000_000  # nanoseconds: times of files are this coarse on some disks
# How a formula begins; apostrophes are those that hide it. Signs of full width count in some countries.
_FORMULA = re.compile(r"'*[=+\-@\t\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?%?")
_CHUNK = 1 << 20  # bytes: read at a time for checksums, and where memory-mapping begins
# Version of how `video_files` decodes: the same file gives other pixels where it changed.
_DECODING = 2


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Write a file so that it appears whole or not at all.

    Parameters
    ----------
    path : str or Path
        The file's final name; missing folders are made.

    Yields
    ------
    Path
        A temporary name in the same folder with the same suffix. It is renamed to ``path`` when the block
        ends, and removed when the block raises (Ctrl-C too).

    Raises
    ------
    DataError
        If the disk is full or the folder can't be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{_HOST}-{os.getpid()}{path.suffix}")
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_table(path: str | Path, frame: pd.DataFrame, float_format: str = "%.6g") -> None:
    """Write ``frame`` without its index as UTF-8 csv, with the same bytes on every machine.

    No cell is one that a spreadsheet would run: see :func:`inert`; who reads the file takes it back by :func:`restored`.
    """
    frame = frame.apply(lambda column: column if pd.api.types.is_numeric_dtype(column) else column.map(inert))
    with atomic(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n", float_format=float_format, encoding="utf-8")


def inert(cell: Any) -> Any:
    """A cell that a spreadsheet takes for text: one that it would run begins with an apostrophe; numbers stay.

    A lone carriage return, which no quotes hold together in csv, becomes a line feed.
    """
    if not isinstance(cell, str) or _NUMBER.fullmatch(cell):
        return cell
    cell = cell.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{cell}" if _FORMULA.match(cell) else cell


def restored(cell: Any) -> Any:
    """What :func:`inert` was given."""
    return cell[1:] if isinstance(cell, str) and cell[:1] == "'" and _FORMULA.match(cell) else cell


def for_owner_alone(*folders: Path) -> None:
    """Make folders if missing and close them to others, and whatever this process and its children write from now on.

    Raises
    ------
    DataError
        If a folder is somebody else's.
    """
    os.umask(os.umask(0o077) | 0o077)
    for folder in folders:
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)


def write_json(path: str | Path, record: Any) -> None:
    """Write a record (dicts, lists, text, numbers, numpy scalars and arrays) as UTF-8 json, order kept."""
    text = json.dumps(record, indent=1, ensure_ascii=False, default=_plain)
    with atomic(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8", newline="\n")


def write_yaml(path: str | Path, record: Any) -> None:
    """Write a record (dicts, lists, text, numbers, numpy scalars and arrays) as UTF-8 yaml, order kept."""
    text = yaml.safe_dump(plain(record), sort_keys=False, allow_unicode=True, width=110)
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def plain(record: Any) -> Any:
    """The record as json gives it back: tuples are lists, numpy's numbers are Python's, paths are text."""
    return json.loads(json.dumps(record, default=_plain))


def content_hash(paths: Iterable[str | Path | tuple], index: str | Path | None = None) -> str:
    """Hash files by their names (not their folders) and bytes, in the order given.

    Parameters
    ----------
    paths : iterable of str, Path or video_files.Frame
        A video file whose frames follow each other is read once, and hashed with their numbers.
    index : str or Path, optional
        A folder that remembers hashes of large files, by their names, sizes, times and inodes, so that they aren't
        read again while they are unchanged.

    Returns
    -------
    str
        32 hex digits: equal exactly if names, bytes and order are equal.

    Raises
    ------
    DataError
        If a file can't be read.
    """
    files: list[tuple[Path, bytes]] = []  # each with the numbers of the frames that are used
    for path, group in itertools.groupby(paths, lambda p: Path(p[0] if isinstance(p, tuple) else p)):
        frames = list(group)
        numbers = [frame[1] for frame in frames if isinstance(frame, tuple)]
        files += (
            [(path, np.array([_DECODING, *numbers], "<i8").tobytes())]
            if numbers
            else [(path, b"")] * len(frames)
        )
    note = _note(files, Path(index)) if index is not None else None
    if note is not None and (remembered := _remembered(note)):
        return remembered
    digest = hashlib.blake2b(digest_size=16)
    for path, used in files:
        _add(digest, path)
        digest.update(used)
    if note is not None:
        # A full disk only costs the next run time.
        with contextlib.suppress(DataError), atomic(note) as temporary:
            record = seal({"of": note.name, "hash": digest.hexdigest()})
            temporary.write_text(json.dumps(record), encoding="utf-8")
    return digest.hexdigest()


def tree_hash(
    root: str | Path, wanted: Callable[[str], bool], skipped: Callable[[Path], bool], index: str | Path
) -> str:
    """Hash the files below a folder by their places in it and their bytes, so that a copy has the same hash.

    Parameters
    ----------
    root : str or Path
    wanted : callable
        Says of a file's name whether the file counts.
    skipped : callable
        Says of a folder whether it is passed over.
    index : str or Path
        As in `content_hash`: what is unchanged isn't read again.

    Raises
    ------
    DataError
        If a file can't be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    places = [
        (folder, chosen)
        for folder, names in folders_below(root, skipped)
        if (chosen := sorted(filter(wanted, names)))
    ]
    # A hundred gigabytes take minutes the first time.
    for folder, names in tqdm(
        places, desc=f"reading {root}", unit="folder", delay=2, leave=False, disable=None
    ):
        content = content_hash([folder / name for name in names], index)
        digest.update(json.dumps([folder.relative_to(root).as_posix(), content]).encode())
    return digest.hexdigest()


def folders_below(
    root: str | Path, skipped: Callable[[Path], bool] = lambda folder: False
) -> Iterator[tuple[Path, list[str]]]:
    """Folders of a tree in order, each with the names of its files.

    Links are followed, each folder once; what is hidden, or ``skipped`` says of, is left out.
    """
    visited = set()
    for folder, below, names in os.walk(root, followlinks=True):
        below[:] = sorted(name for name in below if not name.startswith("."))
        real = os.path.realpath(folder)
        if real in visited or skipped(Path(folder)):
            below.clear()
            continue
        visited.add(real)
        yield Path(folder), [name for name in names if not name.startswith(".")]


def _remembered(note: Path) -> str | None:
    """The hash that a note holds; None where there is none, or one of other files or changed: they are read again."""
    with contextlib.suppress(OSError, ValueError):
        record = unseal(json.loads(note.read_text(encoding="utf-8")))
        return record["hash"] if record.get("of") == note.name else None
    return None


def seal(record: dict) -> dict:
    """Add a checksum of a record that json can hold, for `unseal` to check."""
    text = json.dumps(record, sort_keys=True, default=_plain)
    return {**record, "checksum": hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}


def unseal(record: Any) -> dict:
    """Give a sealed record without its checksum.

    Raises
    ------
    ValueError
        If the record isn't what `seal` returned.
    """
    if not isinstance(record, dict) or "checksum" not in record:
        raise ValueError("its record has no checksum")
    bare = {name: value for name, value in record.items() if name != "checksum"}
    if seal(bare)["checksum"] != record["checksum"]:
        raise ValueError("its record has changed since it was written")
    return bare


def _add(digest: Any, path: Path) -> None:
    """Hash one file's name, length and bytes."""
    try:
        with path.open("rb") as file:
            name = path.name.encode()
            digest.update(len(name).to_bytes(8, "big") + name)
            digest.update(os.fstat(file.fileno()).st_size.to_bytes(8, "big"))
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}); check the path and its rights.") from error


def _note(files: list[tuple[Path, bytes]], index: Path) -> Path | None:
    """Where the hash of some files is remembered; None if they are small, or so young that a change might not show."""
    try:
        known = [(path.name, path.stat(), used.hex()) for path, used in files]
    except OSError:
        return None  # hashing it says what is wrong
    small = sum(status.st_size for _, status, _ in known) < _LARGE
    newest = max((max(status.st_mtime_ns, status.st_ctime_ns) for _, status, _ in known), default=0)
    if small or newest >= time.time_ns() - _YOUNG:
        return None
    about = [
        (name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, used)
        for name, status, used in known
    ]
    return index / key(1, {"files": about})


def key(version: int | str, params: dict, *sources: str) -> str:
    """Name what ``version`` of a function produces from ``params`` and ``sources`` (hashes): 20 hex digits.

    ``params`` holds what json can. A changed value, name or version changes the key, their order does not.
    """
    text = json.dumps([str(version), params, sources], sort_keys=True, default=_plain)
    return hashlib.blake2b(text.encode(), digest_size=_KEY_LENGTH // 2).hexdigest()


def arrays(
    folder: str | Path, key: str, compute: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Read the arrays stored under ``folder/key``, or compute and store them first.

    Parameters
    ----------
    folder : str or Path
        The cache; made if missing.
    key : str
        What :func:`key` returned for everything that ``compute`` depends on.
    compute : callable
        Returns a dict of arrays (any shape and dtype but object).

    Returns
    -------
    dict of arrays
        As computed, read-only, large ones memory-mapped. A broken entry (a file missing, cut or changed, another
        key's folder) is rebuilt with a warning.

    Raises
    ------
    DataError
        If the disk is full or the folder can't be written; entries already stored stay.
    """
    entry = Path(folder) / key
    if entry.exists():
        try:
            return _read(entry)
        except (OSError, ValueError) as error:
            warnings.warn(f"{entry} is broken ({error}); it is computed again.", stacklevel=2)
    with disk_errors(entry.parent), _aside(entry) as temporary:
        _write(temporary, key, compute())
        try:
            temporary.rename(entry)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            with contextlib.suppress(OSError, ValueError):
                return _read(entry)  # another process has just finished it
            entry.rename(temporary / "broken")
            temporary.rename(entry)
            _remove(entry / "broken")
    return _read(entry)


@contextlib.contextmanager
def _aside(entry: Path) -> Iterator[Path]:
    """A new folder beside an entry; those that killed processes of this host left there are removed."""
    for stale in entry.parent.glob(f".{entry.name}.{_HOST}-*"):
        owner = int(stale.name.rsplit(f"{_HOST}-", 1)[1].partition("-")[0])
        if owner == os.getpid() or not alive(owner):
            _remove(stale)
    temporary = entry.with_name(f".{entry.name}.{_HOST}-{os.getpid()}")
    temporary.mkdir(parents=True)
    try:
        yield temporary
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    """Remove a folder or a file, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    elif path.exists():
        path.unlink(missing_ok=True)


def _write(entry: Path, key: str, values: dict[str, np.ndarray]) -> None:
    checksums = {}
    for name, value in values.items():
        path = entry / f"{name}.npy"
        np.save(path, np.asarray(value), allow_pickle=False)
        checksums[name] = _checksum(path)
    record = seal({"key": key, "crc32": checksums})
    (entry / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _read(entry: Path) -> dict[str, np.ndarray]:
    """Arrays of an entry; OSError or ValueError where it isn't what was written under this key."""
    record = unseal(json.loads((entry / "record.json").read_text(encoding="utf-8")))
    if record.get("key") != entry.name:
        raise ValueError(f"it was written as {record.get('key')}")
    values = {}
    for name, checksum in record["crc32"].items():
        path = entry / f"{name}.npy"
        if _checksum(path) != checksum:
            raise ValueError(f"{path.name} has changed since it was written")
        large = path.stat().st_size > _CHUNK  # a map holds a file descriptor, so small arrays go into memory
        values[name] = np.load(path, mmap_mode="r" if large else None, allow_pickle=False)
        values[name].flags.writeable = False
    return values


def _checksum(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc


def alive(pid: int) -> bool:
    """Whether a process of this number runs on this machine."""
    return psutil.pid_exists(pid)


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn a full or locked disk into one sentence."""
    try:
        yield
    except Exception as error:
        if _disk_full(error):
            existing = next(place for place in (folder, *folder.parents) if place.exists())
            free = shutil.disk_usage(existing).free // 2**20
            raise DataError(
                f"The disk is full ({free} MB free at {folder}); make room and run the same command again: "
                "nothing finished is lost."
            ) from error
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise DataError(
                f"{folder} can't be written ({error.strerror}); choose another folder or change its rights."
            ) from error
        raise


def _disk_full(error: Exception) -> bool:
    # numpy reports a short write without errno ("8000 requested and 12 written"), safetensors only in words.
    words = str(error)
    return (
        (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT))
        or "No space left on device" in words
        or ("requested and" in words and "written" in words)
    )


def _plain(value: Any) -> Any:
    """Numpy scalars and arrays, paths, tuples: what json takes instead."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return value.as_posix()
    raise TypeError(f"{type(value).__name__} can't be written as json")


def code_version(*modules):
    """Hash of the source of modules: a changed line never reads what the old line produced."""
    text = "".join(inspect.getsource(module) for module in modules)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

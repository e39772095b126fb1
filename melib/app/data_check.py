"""Hold what a user has of a data set against what its manifest says: tables, videos, frames, faces, files.

    tables   rows repaired and dropped  --+
    videos   missing, unusable          --+--> cases (fault, where, names) --> known of this release, or a problem
    frames   missing inside events      --+
    sample   images that don't open     --+
    counts of each, and what is wrong with the whole: another version, numbers one off, no faces

A sentence counts its cases and names the first. Frame numbers in messages are those of the files; inside they are 0-based
as everywhere.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from melib import annotations
from melib.data import cache
from melib.data import manifest as manifests
from melib.data.manifest import Manifest, line_of
from melib.errors import DataError
from melib.study.data import as_in_table
from melib.vision import faces

_FILES = ["relpath", "bytes", "sha256"]
_SHOWN = 3  # names in one sentence
_FACES = 0.9  # of the sampled images: below it something other than rare detection failures is going on

_COMPARE = "compare with the release's table"
_FILL = "fill in its cell, merged cells too"
FAULTS = {  # a key of ``known`` -> what is counted, and what to do with those that aren't known
    "apex_missing": ("rows without an apex", _COMPARE),
    "apex_outside": ("rows with an apex outside the event", _COMPARE),
    "offset_missing": ("rows without an offset", _COMPARE),
    "offset_not_after_onset": ("rows whose offset isn't after the onset", _COMPARE),
    "onset_missing": ("rows without an onset", _COMPARE),
    "onset_before_first": ("rows that begin before the first frame", "check first_frame in the manifest"),
    "too_long": ("rows longer than is plausible", _COMPARE),
    "repeated": ("rows that repeat an earlier one", "give one version of the table with --table"),
    "two_emotions": ("rows with the frames of an earlier one, but another emotion", "keep one of the two"),
    "fps_missing": ("rows without a frame rate", "fill in its cell"),
    "uneven": ("rows with other cells than their header", "give every row the header's separators"),
    "unknown_kind": ("rows of a kind that the manifest doesn't list", "add it to kind.values there"),
    "no_subject": ("rows without a subject", _FILL),
    "no_video": ("rows without a video", _FILL),
    "corrected": ("rows corrected by the corrections beside the manifest", ""),
    "video_missing": (
        "annotated videos without frames",
        "unpack them, too; if you hold only a part, don't compare your numbers with those of the whole",
    ),
    "video_unusable": ("videos that can't be used", "mend its folder"),
    "frames_missing": (
        "events without all of their frames",
        "unpack their videos again, or name the files by the numbers of the table",
    ),
    "image_unreadable": ("images that can't be read", "unpack them again"),
}


class _Case(NamedTuple):
    fault: str
    where: str
    names: tuple[str, ...]  # by which a manifest may call it, the one that is shown first


def check_data(
    dataset: str | Path, root: str | Path, tables: Sequence[Path] | None = None, *, sample: int = 50
) -> dict[str, Any]:
    """Hold a data set against its manifest.

    Parameters
    ----------
    dataset : str or Path
        Name of a manifest, or the path of one.
    root : str or Path
        Folder of the unpacked data set.
    tables : sequence of Path, optional
        Annotation tables; by default those in the folder.
    sample : int
        Images that are read to look for faces, spread evenly over the videos.

    Returns
    -------
    dict
        dataset, root, layout (the pattern), version (of the table, "" if none fits); counts: what -> outcome -> how many;
        known, problems and notes: sentences. All that is wrong is known of the release where problems is empty.

    Raises
    ------
    DataError
        If the folder, the manifest or a table can't be read at all.
    """
    manifest = manifests.effective(manifests.read_manifest(dataset), root)
    videos = manifests.videos(manifest, root)
    manifests.load_truth(manifest, root)  # refuses a file that isn't what the simulator wrote
    audit = annotations.audit(manifest, *(tables or manifests.tables(manifest, root)))
    videos = as_in_table(videos, audit.events)
    numbers, pictures, cases = _read_folders(manifest, videos, sample)
    first = manifest.frames.get("first_frame", manifest.first_frame)
    used = audit.events[audit.events["status"] != "dropped"]
    shift = _one_off(used, numbers)
    annotated, held = (set(_places(table)) for table in (used, videos))
    missing = sorted(annotated - held)
    problems = list(_of_folders(manifest, missing if not annotated & held else [], held, first, shift))
    if annotated & held:
        cases += [_Case("video_missing", "/".join(v), ("/".join(v), v[1], v[0])) for v in missing]
    for names, video, onset, offset in zip(
        _names(used), _places(used), used["onset"], used["offset"], strict=True
    ):
        inside = numbers.get(video, np.arange(0)) + shift
        inside = inside[(inside >= onset) & (inside <= offset)]
        length, gaps = offset - onset + 1, np.flatnonzero(inside != onset + np.arange(len(inside)))
        if video in numbers and len(inside) < length:
            absent = onset + (gaps[0] if len(gaps) else len(inside)) - shift + first
            where = f"{names[0]}: {length - len(inside)} of {length} from {absent}"
            cases.append(_Case("frames_missing", where, names))
    images = {"read": 0, "with a face": 0}
    for picture in tqdm(pictures, desc="faces", unit="image", disable=None):
        image = faces.read_image(picture)
        if image is None:
            cases.append(_Case("image_unreadable", str(picture), (str(picture),)))
        else:
            images["read"] += 1
            images["with a face"] += faces.find_face(image) is not None
    if images["with a face"] < _FACES * images["read"]:
        problems.append(
            f"A face was found in {images['with a face']} of {images['read']} images: check that the folder holds whole "
            "frames, not crops, and that people face the camera."
        )
    counts = {
        "subjects": {"annotated": used["subject"].nunique(), "found": videos["subject"].nunique()},
        "videos": {
            "annotated": len(annotated),
            "found": len(held),
            "missing": len(missing),
            "not annotated": len(held - annotated),
        },
        "frames": {"found": sum(map(len, numbers.values()))},
        "images": images,
    }
    record = _record(manifest, audit, cases, problems, counts)
    return {"root": str(root), "layout": manifest.frames["pattern"], **record}


def check_tables(
    dataset: str | Path, tables: Sequence[Path], policy: annotations.Policy = "repair"
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Events of a data set from its tables alone, without an image.

    Parameters
    ----------
    dataset : str or Path
        Name of a manifest, or the path of one.
    tables : sequence of Path
    policy : {"repair", "drop", "strict"}
        As in :func:`melib.annotations.read_events`.

    Returns
    -------
    events : DataFrame
        As :func:`melib.annotations.read_events` returns, every row of the tables.
    record : dict
        The part of :func:`check_data`'s that tables decide.

    Raises
    ------
    DataError
        If a table can't be read, or with ``policy="strict"`` for the first row that isn't valid.
    """
    manifest = manifests.read_manifest(dataset)
    audit = annotations.audit(manifest, *tables, policy=policy)
    counts = {"subjects": {"annotated": audit.events["subject"].nunique()}}
    return audit.events, _record(manifest, audit, [], [], counts)


def summary(record: dict[str, Any]) -> list[tuple[str, str]]:
    """One screen of what :func:`check_data` or :func:`check_tables` found: what, and how much of it."""
    about = [(name, record[name]) for name in ("dataset", "root", "layout", "version") if record.get(name)]
    return about + [
        (what, ", ".join(f"{n} {outcome}" for outcome, n in outcomes.items()))
        for what, outcomes in record["counts"].items()
    ]


def _record(
    manifest: Manifest, audit: annotations.Audit, cases: list[_Case], problems: list[str], counts: dict
) -> dict[str, Any]:
    """What is found, every case among what is known of the release or among the problems."""
    events = audit.events
    rows = events.loc[audit.faults["row"]]
    of_rows = zip(audit.faults["fault"], rows["reason"], _names(rows), strict=True)
    cases = [*(_Case(fault, f"{names[0]}: {reason}", names) for fault, reason, names in of_rows), *cases]
    known: list[str] = []
    problems = [*_whole(manifest, audit), *problems]
    for fault in dict.fromkeys(case.fault for case in cases):
        what, remedy = FAULTS[fault]
        explained, others, release = _explained(manifest, fault, [c for c in cases if c.fault == fault])
        if explained:
            known.append(f"{what}: {len(explained)} ({_several([c.names[0] for c in explained])}).")
        if others:
            shown = _several([others[0].where, *(case.names[0] for case in others[1:])])
            problems.append(f"{what}: {len(others)} ({shown}){release}: {remedy}.")
    outcomes: dict[str, Counter] = {}
    for fault, status in sorted(zip(audit.faults["fault"], rows["status"], strict=True)):
        outcomes.setdefault(FAULTS[fault][0], Counter())[status] += 1
    status = {name: int((events["status"] == name).sum()) for name in ("ok", "repaired", "dropped")}
    kinds = {str(kind) or "unknown": int(n) for kind, n in events["kind"].value_counts(sort=False).items()}
    return {
        "dataset": manifest.name,
        "version": audit.version,
        "counts": {"events": status, **outcomes, "kinds": kinds, **counts},
        "known": known,
        "problems": problems,
        "notes": list(audit.notes),
    }


def _explained(manifest: Manifest, fault: str, cases: list[_Case]) -> tuple[list[_Case], list[_Case], str]:
    """Cases that the release is known to have, the others, and how many are known."""
    known = len(cases) if fault == "corrected" else manifest.known.get(fault, 0)
    if isinstance(known, int):
        release = f", where {manifest.name} is known to have {known}" if known else ""
        return (cases, [], "") if len(cases) <= known else ([], cases, release)
    explained = [case for case in cases if set(case.names) & set(known)]
    release = f", beside those that {manifest.name} is known to have" if explained else ""
    return explained, [case for case in cases if case not in explained], release


def _whole(manifest: Manifest, audit: annotations.Audit) -> Iterator[str]:
    """What is wrong with the table as a whole."""
    held = annotations.counts(audit.events)
    if expected := annotations.differing(held, audit.expected):
        counted = ", ".join(f"{held.get(name, 0)} {name}" for name in expected)
        released = ", ".join(f"{n} {name}" for name, n in expected.items())
        yield (
            f"The table holds {counted}; the whole release of {manifest.name} holds {released}: give the release's table, "
            "or, if you hold only a part of it, don't compare your numbers with those published on the whole."
        )
    if audit.misspelt:
        yield audit.misspelt
    if manifest.versions and not audit.version:
        versions = ", ".join(version["name"] for version in manifest.versions)
        yield (
            f"The table fits none of the versions of {manifest.name} that are known ({versions}): give the release's "
            f"table, or add its version to {manifest.source}."
        )


def _of_folders(manifest: Manifest, strange: list, held: set, first: int, shift: int) -> Iterator[str]:
    """What is wrong with the folders as a whole; strange are the annotated videos where none of them is held."""
    if strange:
        yield (
            f"None of the annotated videos, such as {'/'.join(strange[0])}, is among the {len(held)} found, such as "
            f"{'/'.join(min(held))}: check subject_digits, video_pattern and frames.pattern in {manifest.source}."
        )
    if shift:
        yield (
            f"Files seem to be numbered from {first - shift}, not from {first}: write first_frame: {first - shift} beside "
            f"their pattern in {manifest.source}, line {line_of(manifest, 'frames')}."
        )


def _read_folders(manifest: Manifest, videos: pd.DataFrame, sample: int) -> tuple[dict, list, list[_Case]]:
    """0-based frame numbers of every video, the frames to look at, and the videos that can't be used."""
    # Even over all videos, one after the other.
    places = (np.arange(sample) + 0.5) / max(sample, 1) * len(videos)
    numbers: dict[tuple[str, str], np.ndarray] = {}
    pictures, cases = [], []
    rows = tqdm(_places(videos), desc="videos", unit="video", disable=None)
    for i, (video, folder) in enumerate(zip(rows, videos["folder"], strict=True)):
        try:
            numbers[video], frames = manifests.frame_files(folder, manifest)
        except DataError as error:
            cases.append(_Case("video_unusable", str(error).rstrip("."), ("/".join(video), video[1])))
            continue
        pictures += [frames[int(share * len(frames))] for share in places[places.astype(int) == i] % 1]
    return numbers, pictures, cases


def _one_off(events: pd.DataFrame, numbers: dict) -> int:
    """What must be added to the files' numbers, -1 or 1, where they are one off in most videos; else 0."""
    places = list(zip(_places(events), events["onset"], events["offset"], strict=True))
    held = [(onset, offset, numbers[v][0], numbers[v][-1]) for v, onset, offset in places if v in numbers]
    onset, offset, first, last = np.array(held, np.int64).reshape(-1, 4).T
    fitting = {n: int(((first + n <= onset) & (offset <= last + n)).sum()) for n in (0, -1, 1)}
    best = max(fitting, key=fitting.__getitem__)
    # A frame too few at the end of a video is a missing frame, whatever fits one off; numbers are off in all videos.
    if fitting[best] - fitting[0] > len(held) / 2:
        return best
    # A clip that was cut at its onset may begin with the second number.
    starts = {v for v, onset, _ in places if onset == 1}
    late = sum(frames[0] == 1 and video not in starts for video, frames in numbers.items())
    return -1 if late > max(1, len(numbers) / 2) else 0


def _places(table: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(table["subject"], table["video"], strict=True))


def _names(events: pd.DataFrame) -> list[tuple[str, ...]]:
    """All names by which a manifest may call each event, the one that is shown first."""
    return [
        (f"{e.subject}/{e.event}", e.event, f"{e.subject}/{e.video}", e.video) for e in events.itertuples()
    ]


def _several(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + f" and {len(names) - _SHOWN} more" * (len(names) > _SHOWN)


# ---- files ------------------------------------------------------------------------------------------------------


def inventory(root: str | Path, without: Path | None = None) -> pd.DataFrame:
    """Size and hash of every file below a folder, hidden ones left out.

    Parameters
    ----------
    root : str or Path
    without : Path, optional
        A file to leave out: the inventory itself may lie in the folder.

    Returns
    -------
    DataFrame
        relpath (text, with "/"), bytes (int), sha256 (64 hex digits), in natural order (2 before 10).

    Raises
    ------
    DataError
        If the folder is missing or empty, or a file can't be read.
    """
    files = [folder / name for folder, names in cache.folders_below(root) for name in names]
    files = [path for path in files if without is None or path.resolve() != without.resolve()]
    if not files:
        raise DataError(
            f"{root} is missing or holds no file; give the folder of the unpacked data set as root."
        )
    rows = []
    for path in tqdm(files, desc="files", unit="file", disable=None):
        try:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
                size = os.fstat(stream.fileno()).st_size
        except OSError as error:
            raise DataError(
                f"{path} can't be read ({error.strerror}); unpack it again or change its rights."
            ) from error
        # Names that aren't UTF-8 come out of archives packed elsewhere; they are listed with \x.. for their bytes.
        name = os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")
        rows.append((name, size, digest))
    rows.sort(key=lambda row: manifests.natural(row[0]))
    return pd.DataFrame(rows, columns=_FILES)


def read_inventory(file: str | Path) -> pd.DataFrame:
    """What :func:`inventory` returned and ``cache.write_table`` wrote.

    Raises
    ------
    DataError
        If it is missing or isn't such a file.
    """
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise DataError(f"{file} can't be read ({error}); give a csv that --out wrote.") from error
    if list(table.columns) != _FILES or not table["bytes"].str.fullmatch(r"\d{1,18}").all():
        raise DataError(f"{file} isn't a list of files ({', '.join(_FILES)}); give a csv that --out wrote.")
    return table.assign(relpath=table["relpath"].map(cache.restored)).astype({"bytes": "int64"})


def compare_files(listed: pd.DataFrame, held: pd.DataFrame) -> dict[str, list[str]]:
    """Files that are listed and not held (missing), held with other bytes (changed), held and not listed (extra)."""
    due, here = (dict(zip(table["relpath"], table["sha256"], strict=True)) for table in (listed, held))
    return {
        "missing": [name for name in due if name not in here],
        "changed": [name for name in due if name in here and here[name] != due[name]],
        "extra": [name for name in here if name not in due],
    }

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

FAULTS = {  # a key of ``known`` -> what is counted
    "apex_missing": "rows without an apex",
    "apex_outside": "rows with an apex outside the event",
    "offset_missing": "rows without an offset",
    "offset_not_after_onset": "rows whose offset isn't after the onset",
    "onset_missing": "rows without an onset",
    "onset_before_first": "rows that begin before the first frame",
    "too_long": "rows longer than is plausible",
    "repeated": "rows that repeat an earlier one",
    "two_emotions": "rows with the frames of an earlier one, but another emotion",
    "fps_missing": "rows without a frame rate",
    "uneven": "rows with other cells than their header",
    "unknown_kind": "rows of a kind that the manifest doesn't list",
    "no_subject": "rows without a subject",
    "no_video": "rows without a video",
    "corrected": "rows corrected by the corrections beside the manifest",
    "video_missing": "annotated videos without frames",
    "video_unusable": "videos that can't be used",
    "frames_missing": "events without all of their frames",
    "image_unreadable": "images that can't be read",
}
_REMEDIES = {  # what to do with those that aren't known; with all others
    "": "compare with the release's table",
    "onset_before_first": "check first_frame in the manifest",
    "repeated": "give one version of the table with --table",
    "two_emotions": "keep one of the two",
    "fps_missing": "fill in its cell",
    "uneven": "give every row the header's separators",
    "unknown_kind": "add it to kind.values there",
    "no_subject": "fill in its cell, merged cells too",
    "no_video": "fill in its cell, merged cells too",
    "video_missing": "unpack them, too; if you hold only a part, don't compare your numbers with those of the whole",
    "video_unusable": "mend its folder",
    "frames_missing": "unpack their videos again, or name the files by the numbers of the table",
    "image_unreadable": "unpack them again",
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
    used = audit.events[audit.events["status"] != "dropped"]
    events = [
        (_names(e.subject, e.video, e.event), (e.subject, e.video), int(e.onset), int(e.offset))
        for e in used.itertuples()
    ]
    first = manifest.frames.get("first_frame", manifest.first_frame)
    shift = _one_off(events, numbers)
    cases += _missing_frames(events, numbers, shift, first)
    annotated, held = (set(table[_VIDEO].itertuples(index=False, name=None)) for table in (used, videos))
    missing, strange = sorted(annotated - held), not annotated & held
    cases += (
        [] if strange else [_Case("video_missing", "/".join(v), ("/".join(v), v[1], v[0])) for v in missing]
    )
    images, lost = _images(pictures)
    problems = [*_of_folders(manifest, missing if strange else [], held, first, shift, images)]
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
    record = _record(manifest, audit, [*cases, *lost], problems, counts)
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
    return audit.events, _record(
        manifest, audit, [], [], {"subjects": {"annotated": audit.events["subject"].nunique()}}
    )


def summary(record: dict[str, Any]) -> list[tuple[str, str]]:
    """One screen of what :func:`check_data` or :func:`check_tables` found: what, and how much of it."""
    about = [(name, record[name]) for name in ("dataset", "root", "layout", "version") if record.get(name)]
    return about + [
        (what, ", ".join(f"{n} {outcome}" for outcome, n in outcomes.items()))
        for what, outcomes in record["counts"].items()
    ]


# ---- cases ------------------------------------------------------------------------------------------------------

_VIDEO = ["subject", "video"]


def _record(
    manifest: Manifest,
    audit: annotations.Audit,
    cases: list[_Case],
    problems: list[str],
    counts: dict[str, dict[str, int]],
) -> dict[str, Any]:
    """What is found, every case among what is known of the release or among the problems."""
    events = audit.events
    rows = events.loc[audit.faults["row"]]
    of_rows = zip(audit.faults["fault"], rows["reason"], rows.itertuples(), strict=True)
    names = [(fault, reason, _names(r.subject, r.video, r.event)) for fault, reason, r in of_rows]
    cases = [*(_Case(fault, f"{name[0]}: {reason}", name) for fault, reason, name in names), *cases]
    known: list[str] = []
    problems = [*_whole(manifest, audit), *problems]
    for fault in dict.fromkeys(case.fault for case in cases):
        explained, others = _explained(manifest, fault, [case for case in cases if case.fault == fault])
        known += explained
        problems += others
    outcomes = pd.crosstab(audit.faults["fault"].to_numpy(), rows["status"].to_numpy())
    faulty = {
        FAULTS.get(str(fault), f"rows with {fault}"): {str(k): int(n) for k, n in row.items() if n}
        for fault, row in outcomes.iterrows()
    }
    status = {name: int((events["status"] == name).sum()) for name in ("ok", "repaired", "dropped")}
    kinds = {str(kind) or "unknown": int(n) for kind, n in events["kind"].value_counts(sort=False).items()}
    return {
        "dataset": manifest.name,
        "version": audit.version,
        "counts": {"events": status, **faulty, "kinds": kinds, **counts},
        "known": known,
        "problems": problems,
        "notes": list(audit.notes),
    }


def _explained(manifest: Manifest, fault: str, cases: list[_Case]) -> tuple[list[str], list[str]]:
    """A sentence of the cases that the release is known to have, and one of the others."""
    known = len(cases) if fault == "corrected" else manifest.known.get(fault, 0)
    if isinstance(known, int):
        explained = cases if len(cases) <= known else []
        release = f", where {manifest.name} is known to have {known}" if known else ""
    else:
        explained = [case for case in cases if set(case.names) & set(known)]
        release = f", beside those that {manifest.name} is known to have" if explained else ""
    others = [case for case in cases if case not in explained]
    what, remedy = FAULTS.get(fault, f"rows with {fault}"), _REMEDIES.get(fault, _REMEDIES[""])
    shown = [others[0].where, *(case.names[0] for case in others[1:])] if others else []
    return (
        [f"{what}: {len(explained)} ({_several([c.names[0] for c in explained])})."] if explained else [],
        [f"{what}: {len(others)} ({_several(shown)}){release}: {remedy}."] if others else [],
    )


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


def _read_folders(manifest: Manifest, videos: pd.DataFrame, sample: int) -> tuple[dict, list, list[_Case]]:
    """0-based frame numbers of every video, the frames to look at, and the videos that can't be used."""
    places = (
        (np.arange(sample) + 0.5) / max(sample, 1) * len(videos)
    )  # even over all videos, one after the other
    numbers: dict[tuple[str, str], np.ndarray] = {}
    pictures, cases = [], []
    rows = videos[[*_VIDEO, "folder"]].itertuples(index=False, name=None)
    for i, (subject, video, folder) in enumerate(
        tqdm(rows, total=len(videos), desc="videos", unit="video", disable=None)
    ):
        try:
            numbers[subject, video], frames = manifests.frame_files(folder, manifest)
        except DataError as error:
            cases.append(_Case("video_unusable", str(error).rstrip("."), (f"{subject}/{video}", video)))
            continue
        pictures += [frames[int(share * len(frames))] for share in places[places.astype(int) == i] % 1]
    return numbers, pictures, cases


def _one_off(events: list, numbers: dict) -> int:
    """What must be added to the files' numbers, -1 or 1, where they are one off in most videos; else 0."""
    held = [(onset, offset, numbers[v][0], numbers[v][-1]) for _, v, onset, offset in events if v in numbers]
    onset, offset, first, last = np.array(held, np.int64).reshape(-1, 4).T
    fitting = {
        shift: int(((first + shift <= onset) & (offset <= last + shift)).sum()) for shift in (0, -1, 1)
    }
    best = max(fitting, key=fitting.__getitem__)
    # A frame too few at the end of a video is a missing frame, whatever fits one off; numbers are off in all videos.
    if fitting[best] - fitting[0] > len(held) / 2:
        return best
    # A clip that was cut at its onset may begin with the second number.
    starts = {(v, onset) for _, v, onset, _ in events}
    late = sum(frames[0] == 1 and (video, 1) not in starts for video, frames in numbers.items())
    return -1 if late > max(1, len(numbers) / 2) else 0


def _missing_frames(events: list, numbers: dict, shift: int, first: int) -> Iterator[_Case]:
    for names, video, onset, offset in events:
        if video in numbers:
            absent = np.setdiff1d(np.arange(onset, offset + 1) - shift, numbers[video])
            if len(absent):
                where = f"{names[0]}: {len(absent)} of {offset - onset + 1} from {absent[0] + first}"
                yield _Case("frames_missing", where, names)


def _images(pictures: list) -> tuple[dict[str, int], list[_Case]]:
    """How many images open and show a face, and those that don't open."""
    images = {"read": 0, "with a face": 0}
    cases = []
    for picture in tqdm(pictures, desc="faces", unit="image", disable=None):
        image = faces.read_image(picture)
        if image is None:
            cases.append(_Case("image_unreadable", str(picture), (str(picture),)))
        else:
            images["read"] += 1
            images["with a face"] += faces.find_face(image) is not None
    return images, cases


def _of_folders(
    manifest: Manifest, missing: list, held: set, first: int, shift: int, images: dict[str, int]
) -> Iterator[str]:
    """What is wrong with the folders as a whole; missing are videos where none that is annotated is held."""
    if missing:
        yield (
            f"None of the annotated videos, such as {'/'.join(missing[0])}, is among the {len(held)} found, such as "
            f"{'/'.join(min(held))}: check subject_digits, video_pattern and frames.pattern in {manifest.source}."
        )
    if shift:
        yield (
            f"Files seem to be numbered from {first - shift}, not from {first}: write first_frame: {first - shift} beside "
            f"their pattern in {manifest.source}, line {line_of(manifest, 'frames')}."
        )
    if images["with a face"] < _FACES * images["read"]:
        yield (
            f"A face was found in {images['with a face']} of {images['read']} images: check that the folder holds whole "
            "frames, not crops, and that people face the camera."
        )


def _names(subject: str, video: str, event: str) -> tuple[str, ...]:
    """All names by which a manifest may call an event, the one that is shown first."""
    return f"{subject}/{event}", event, f"{subject}/{video}", video


def _several(names: list[str]) -> str:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest


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
    root = Path(root)
    files = [path for path in _below(root) if without is None or path.resolve() != without.resolve()]
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
    both = listed.merge(held, how="outer", on="relpath", suffixes=("", "_now"), indicator=True, sort=False)
    changed = (both["_merge"] == "both") & (both["sha256"] != both["sha256_now"])
    parts = {
        "missing": both["_merge"] == "left_only",
        "changed": changed,
        "extra": both["_merge"] == "right_only",
    }
    return {what: both.loc[rows, "relpath"].tolist() for what, rows in parts.items()}


def _below(root: Path) -> Iterator[Path]:
    """Files below a folder, links followed but where they lead back up, hidden ones left out."""
    for folder, folders, files in os.walk(root, followlinks=True):
        here = os.path.realpath(folder)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and not (here + os.sep).startswith(os.path.realpath(os.path.join(folder, name)) + os.sep)
        ]
        yield from (Path(folder, name) for name in files if not name.startswith("."))

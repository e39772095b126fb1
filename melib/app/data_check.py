"""Hold what a user has of a data set against what its manifest says: tables, videos, frames, faces, files.

Everything found ends in one of two lists of sentences: ``known``, what the manifest's ``known`` and ``expected`` explain
of this release, and ``problems``, all else. No sentence is about one row of a thousand: they count, and name the first.

    tables   version, rows repaired and dropped, counts  --+
    videos   annotated, found, missing                     +--> one record: numbers, notes, known, problems
    frames   first numbers, gaps inside events             |
    sample   images that open, faces in them             --+

Frame numbers in messages are those of the files; inside they are 0-based as everywhere.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
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
from melib.vision import faces

Video = tuple[str, str]  # subject and video, both as _Held.key spells them

_FILES = ["relpath", "bytes", "sha256"]
_SHOWN = 3  # names in one sentence
_FACES = 0.9  # of the sampled images: below it something other than rare detection failures is going on

_COUNTED = {  # key of ``expected`` -> what it counts
    "rows": "row",
    "subjects": "subject",
    "videos": "video",
    "micro": "micro-expression",
    "macro": "macro-expression",
    "blink": "blink",
}

_COMPARE = "compare with the release's table"
FAULTS = {  # key of ``known`` -> what is told of rows that have it, and what to do where it isn't known
    "apex_missing": ("without an apex", _COMPARE),
    "apex_outside": ("with an apex outside the event", _COMPARE),
    "offset_missing": ("without an offset", _COMPARE),
    "offset_not_after_onset": ("whose offset isn't after the onset", _COMPARE),
    "onset_missing": ("without an onset", _COMPARE),
    "onset_before_first": ("that begin before the first frame", "check first_frame in the manifest"),
    "too_long": ("longer than is plausible", _COMPARE),
    "repeated": ("that repeat an earlier row", "give one version of the table with --table"),
    "two_emotions": ("with the frames of an earlier row, but another emotion", "keep one of the two"),
    "fps_missing": ("without a frame rate", "fill in its cell"),
    "uneven": ("with other cells than their header", "give every row the header's separators"),
    "unknown_kind": ("of a kind that the manifest doesn't list", "add it to kind.values in the manifest"),
    "no_subject": ("without a subject", "fill in its cell, merged cells too"),
    "no_video": ("without a video", "fill in its cell, merged cells too"),
    "corrected": ("corrected by the corrections beside the manifest", ""),
}


@dataclass(frozen=True)
class _Check:
    """What is found: every part of the check adds to it."""

    manifest: Manifest
    record: dict[str, Any]
    notes: list[str]
    known: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def explain(
        self, fault: str, cases: Sequence[tuple[str, ...]], noun: str, what: str, remedy: str
    ) -> None:
        """Sort the cases of a fault into what the release is known to have and the rest, one sentence each.

        A case is what is told of it, its name, and what else a manifest may call it.
        """
        known = len(cases) if fault == "corrected" else self.manifest.known.get(fault, 0)
        if isinstance(known, int):
            explained, others = (cases, []) if len(cases) <= known else ([], cases)
            release = f" where {self.manifest.name} is known to have {known}" if known else ""
        else:
            explained = [case for case in cases if set(case) & set(known)]
            others = [case for case in cases if not set(case) & set(known)]
            release = f" beside those that {self.manifest.name} is known to have" if explained else ""
        if explained:
            names = _several(case[1] for case in explained)
            self.known.append(f"{_n(len(explained), noun)} {what} ({names}).")
        if others:
            names = _several([others[0][0], *(case[1] for case in others[1:])])
            self.problems.append(f"{_n(len(others), noun)} {what} ({names}){release}: {remedy}.")

    def result(self) -> dict[str, Any]:
        return self.record | {"notes": self.notes, "known": self.known, "problems": self.problems}


class _Held(NamedTuple):
    """Frames of the videos that were found."""

    layout: dict  # the manifest's variant in which they lie
    key: Callable[[str, str], Video]
    numbers: dict[Video, np.ndarray]  # 0-based, increasing
    names: dict[Video, str]  # subject/video as the folders say
    unusable: list[str]  # what is wrong with the other videos
    sample: list[Any]  # frames to look at

    def first_file(self, manifest: Manifest) -> int:
        """Number of the first frame in the names of files."""
        return self.layout.get("first_frame", manifest.first_frame)


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
        dataset, root, version (of the table, "" if none fits), events (count by status), reasons (status -> fault ->
        count), kinds, subjects, subjects_found, videos_annotated, videos_found, videos_missing,
        videos_not_annotated, layout (the pattern), has_context, frames_found, frames_missing (in events),
        events_with_missing_frames, gaps (one dict an event: event, missing, of, first), first_frame,
        videos_from_first_frame, events_within_frames, images_sampled, images_unreadable, faces_sampled, faces_found,
        and notes, known and problems: sentences. All that is wrong is known where problems is empty.

    Raises
    ------
    DataError
        If the folder, the manifest or a table can't be read at all.
    """
    manifest = manifests.read_manifest(dataset)
    videos = manifests.videos(manifest, root)
    audit = annotations.audit(manifest, *(tables or manifests.tables(manifest, root)))
    used = audit.events[audit.events["status"] != "dropped"]
    held = _read_folders(manifest, videos, sample)
    check = _Check(manifest, {"dataset": manifest.name, "root": str(root)}, [*audit.notes])
    _check_tables(check, audit)
    _check_videos(check, used, held)
    _check_frames(check, used, held)
    _check_images(check, held.sample)
    _check_truth(check, root, held)
    return check.result()


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
    check = _Check(manifest, {"dataset": manifest.name}, [*audit.notes])
    _check_tables(check, audit)
    return audit.events, check.result()


def summary(record: dict[str, Any]) -> list[tuple[str, str]]:
    """One screen of what :func:`check_data` or :func:`check_tables` found: what, and how much of it."""
    lines = [("data set", record["dataset"])]
    if "root" in record:
        lines.append(("folder", record["root"]))
    lines += [
        ("table", record["version"] or "version not told apart"),
        ("events", _tally(record["events"])),
        *((status, _reasons(faults)) for status, faults in record["reasons"].items()),
        ("kinds", _tally(record["kinds"])),
    ]
    if "root" not in record:
        return [*lines, ("subjects", str(record["subjects"]))]
    n_events = record["events"]["ok"] + record["events"]["repaired"]
    n_videos = _n(record["videos_found"], "video")
    return [
        *lines,
        ("subjects", f"{record['subjects']} annotated, {record['subjects_found']} found"),
        (
            "videos",
            f"{record['videos_annotated']} annotated, {record['videos_found']} found, {record['videos_missing']} "
            f"missing, {record['videos_not_annotated']} found but not annotated",
        ),
        (
            "layout",
            f"{record['layout']}, {'with' if record['has_context'] else 'without'} neutral frames around",
        ),
        (
            "first frames",
            f"{record['videos_from_first_frame']} of {n_videos} begin with number {record['first_frame']}, "
            f"{record['events_within_frames']} of {_n(n_events, 'event')} lie within their frames",
        ),
        (
            "frames",
            f"{record['frames_found']} found, {record['frames_missing']} missing in "
            f"{_n(record['events_with_missing_frames'], 'event')}",
        ),
        (
            "images",
            f"{record['images_sampled']} read, {record['images_unreadable']} unreadable, "
            f"{record['faces_found']} with a face",
        ),
    ]


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
    if not root.is_dir():
        raise DataError(f"{root} is missing or no folder; give that of the data set as root.")
    files = [path for path in _below(root) if without is None or path.resolve() != without.resolve()]
    if not files:
        raise DataError(f"{root} holds no file; give the folder of the unpacked data set as root.")
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


def compare(listed: pd.DataFrame, held: pd.DataFrame) -> dict[str, list[str]]:
    """Files that are listed and not held (missing), held with other bytes (changed), held and not listed (extra)."""
    before, now = (
        dict(zip(table["relpath"], zip(table["bytes"], table["sha256"], strict=True), strict=True))
        for table in (listed, held)
    )
    return {
        "missing": [name for name in before if name not in now],
        "changed": [name for name in before if name in now and before[name] != now[name]],
        "extra": [name for name in now if name not in before],
    }


# Tables
# ---------------------------------------------------------------------------------------


def _check_tables(check: _Check, audit: annotations.Audit) -> None:
    events, manifest = audit.events, check.manifest
    for fault, rows in audit.faults.groupby("fault", sort=False):
        about = events.loc[rows["row"].unique()]
        what, remedy = FAULTS.get(str(fault), (f"with {fault}", _COMPARE))
        names = [_names(*cells) for cells in _cells(about)]
        cases = [(f"{name[0]}: {reason}", *name) for name, reason in zip(names, about["reason"], strict=True)]
        check.explain(str(fault), cases, "row", what, remedy)
    counts = annotations.counts(events)
    expected = annotations.differing(counts, audit.expected)
    if expected:
        held = ", ".join(_n(counts.get(name, 0), _COUNTED[name]) for name in expected)
        released = ", ".join(_n(n, _COUNTED[name]) for name, n in expected.items())
        check.problems.append(
            f"The table holds {held}; the whole release of {manifest.name} holds {released}: give the release's table, "
            "or, if you hold only a part of it, don't compare your numbers with those published on the whole."
        )
    if audit.misspelt:
        check.problems.append(audit.misspelt)
    if manifest.versions and not audit.version:
        versions = ", ".join(version["name"] for version in manifest.versions)
        check.problems.append(
            f"The table fits none of the versions of {manifest.name} that are known ({versions}): give the release's "
            f"table, or add its version to {manifest.source}."
        )
    # A row may have several faults.
    status = audit.events["status"].loc[audit.faults["row"]].to_numpy()
    reasons = {
        name: audit.faults.loc[status == name, "fault"].value_counts() for name in ("repaired", "dropped")
    }
    check.record.update(
        version=audit.version,
        events={name: int((events["status"] == name).sum()) for name in ("ok", "repaired", "dropped")},
        reasons={
            name: {str(fault): int(n) for fault, n in faults.items()}
            for name, faults in reasons.items()
            if len(faults)
        },
        kinds={str(kind) or "unknown": int(n) for kind, n in events["kind"].value_counts(sort=False).items()},
        subjects=int(counts["subjects"]),
    )


# Videos and frames
# ---------------------------------------------------------------------------------------


def _read_folders(manifest: Manifest, videos: pd.DataFrame, sample: int) -> _Held:
    """Frame numbers of every video, and the frames of the sample; holds no other path than the current video's."""
    shares = _spread(len(videos), sample)
    layout = manifests.variants(manifest)[int(videos["variant"].iloc[0])]
    held = _Held(layout, _speller(videos), {}, {}, [], [])
    rows = zip(videos["subject"], videos["video"], videos["folder"], strict=True)
    for place, (subject, video, folder) in enumerate(
        tqdm(rows, total=len(videos), desc="videos", unit="video", disable=None)
    ):
        key = held.key(subject, video)
        held.names[key] = f"{subject}/{video}"
        try:
            numbers, frames = manifests.frame_files(folder, manifest)
        except DataError as error:
            held.unusable.append(str(error))
            continue
        held.numbers[key] = numbers
        held.sample.extend(frames[int(share * len(frames))] for share in shares.get(place, []))
    return held


def _speller(videos: pd.DataFrame) -> Callable[[str, str], Video]:
    """Folders and tables may differ by case, unless case is what tells two folders apart."""

    def folded(subject: str, video: str) -> Video:
        return subject.casefold(), video.casefold()

    names = list(zip(videos["subject"], videos["video"], strict=True))
    return folded if len({folded(*name) for name in names}) == len(names) else lambda *name: name


def _spread(n_videos: int, sample: int) -> dict[int, list[float]]:
    """Video -> shares of its length, at ``sample`` places that lie evenly over all videos one after the other."""
    shares: dict[int, list[float]] = {}
    for place in (np.arange(sample) + 0.5) / max(sample, 1) * n_videos:
        shares.setdefault(int(place), []).append(float(place % 1))
    return shares


def _check_videos(check: _Check, used: pd.DataFrame, held: _Held) -> None:
    annotated = {
        held.key(subject, video): (f"{subject}/{video}", f"{subject}/{video}", video, subject)
        for subject, video in zip(used["subject"], used["video"], strict=True)
    }
    missing = {key: names for key, names in annotated.items() if key not in held.names}
    if annotated and len(missing) == len(annotated):
        check.problems.append(
            f"None of the {len(annotated)} annotated videos, such as {next(iter(annotated.values()))[0]}, is among the "
            f"{len(held.names)} found, such as {next(iter(held.names.values()))}: check subject_digits, video_pattern and "
            f"frames.pattern in {check.manifest.source}."
        )
    elif missing:
        remedy = "unpack them, too" + _absent(annotated, missing)
        check.explain("video_missing", list(missing.values()), "annotated video", "without frames", remedy)
    if held.unusable:
        check.problems.append(
            f"{len(held.unusable)} of {_n(len(held.names), 'video')} can't be used, the first: {held.unusable[0]}"
        )
    check.record.update(
        subjects_found=len({subject for subject, _ in held.names}),
        videos_annotated=len(annotated),
        videos_found=len(held.names),
        videos_missing=len(missing),
        videos_not_annotated=len(held.names.keys() - annotated.keys()),
        layout=held.layout["pattern"],
        has_context=held.layout.get("has_context", check.manifest.has_context),
    )


def _absent(annotated: Iterable[Video], missing: Iterable[Video]) -> str:
    """What is to be said to a user who holds only some of the subjects."""
    everybody = {subject for subject, _ in annotated}
    left = {subject for subject, _ in set(annotated) - set(missing)}
    if len(left) == len(everybody):
        return ""
    return (
        f" (of {len(everybody) - len(left)} of {len(everybody)} subjects there is no video at all; if these are all that "
        "you hold, don't compare your numbers with those published on the whole)"
    )


def _check_frames(check: _Check, used: pd.DataFrame, held: _Held) -> None:
    manifest = check.manifest
    rows = [
        (names, start, stop, held.numbers[key])
        for names, start, stop, key in _events(used, held)
        if key in held.numbers
    ]
    onset, offset, first, last = (
        np.array([(start, stop, numbers[0], numbers[-1]) for _, start, stop, numbers in rows], np.int64)
        .reshape(-1, 4)
        .T
    )
    fitting = {  # added to the files' numbers -> how many events then lie within their frames
        shift: int(((first + shift <= onset) & (offset <= last + shift)).sum()) for shift in (0, -1, 1)
    }
    shift = max(fitting, key=fitting.__getitem__)
    # A frame too few at the end of a video is a missing frame, whatever fits one off; numbers are off in all videos.
    if fitting[shift] - fitting[0] <= len(rows) / 2:
        shift = 0
    number = held.first_file(manifest)
    gaps: list[dict[str, Any]] = []
    lacking = []
    for names, start, stop, numbers in rows:
        n, place = _missing(numbers, start - shift, stop - shift)
        if n:
            length, place = stop - start + 1, place + number
            gaps.append({"event": names[0], "missing": n, "of": length, "first": place})
            lacking.append((f"{names[0]}: {n} of {length} from {place}", *names))
    if shift:
        _say_one_off(
            check,
            number,
            -shift,
            f"then {fitting[shift]} instead of {fitting[0]} events lie within their frames",
        )
    elif (late := _beginning_late(used, held)) > max(1, len(held.numbers) / 2):
        _say_one_off(check, number, 1, f"{late} of {_n(len(held.numbers), 'video')} begin with it")
    wholly = sum(gap["missing"] == gap["of"] for gap in gaps) > len(gaps) / 2
    remedy = "name the files by the numbers of the table" if wholly else "unpack their videos again"
    check.explain("frames_missing", lacking, "event", "without all of its frames", remedy)
    incomplete = {
        key: n
        for key, numbers in held.numbers.items()
        if (n := int(numbers[-1] - numbers[0]) + 1 - len(numbers))
    }
    if incomplete:
        video, n = next(iter(incomplete.items()))
        check.notes.append(
            f"Numbers are missing between the first and the last frame of {_n(len(incomplete), 'video')} (first: "
            f"{held.names[video]}, {n})."
        )
    check.record.update(
        frames_found=int(sum(map(len, held.numbers.values()))),
        frames_missing=int(sum(gap["missing"] for gap in gaps)),
        events_with_missing_frames=len(gaps),
        gaps=gaps,
        first_frame=number,
        videos_from_first_frame=sum(int(numbers[0] == 0) for numbers in held.numbers.values()),
        events_within_frames=fitting[0],
    )


def _beginning_late(used: pd.DataFrame, held: _Held) -> int:
    """How many videos begin with the second number, though not with an event: a clip cut at its onset may."""
    onsets: dict[Video, int] = {}
    for _, onset, _, key in _events(used, held):
        onsets[key] = min(onset, onsets.get(key, onset))
    return sum(numbers[0] == 1 and onsets.get(key) != 1 for key, numbers in held.numbers.items())


def _say_one_off(check: _Check, number: int, by: int, why: str) -> None:
    check.problems.append(
        f"Files seem to be numbered from {number + by}, not from {number} ({why}): write first_frame: {number + by} beside "
        f"their pattern in {check.manifest.source}, line {line_of(check.manifest, 'frames')}."
    )


def _missing(numbers: np.ndarray, onset: int, offset: int) -> tuple[int, int]:
    """How many frames of a closed interval don't exist, and the first of them."""
    inside = numbers[np.searchsorted(numbers, onset) : np.searchsorted(numbers, offset, "right")]
    n = offset - onset + 1 - len(inside)
    # Frames increase, so that they agree with a run of whole numbers up to the first gap.
    whole = int(np.argmin(np.append(inside == onset + np.arange(len(inside)), False)))
    return n, onset + whole


# Images
# ---------------------------------------------------------------------------------------


def _check_images(check: _Check, sample: Sequence[Any]) -> None:
    with_face, unreadable = 0, []
    for frame in tqdm(sample, desc="faces", unit="image", disable=None):
        image = faces.read_image(frame)
        if image is None:
            unreadable.append(str(frame))
        else:
            with_face += faces.find_face(image) is not None
    read = len(sample) - len(unreadable)
    if unreadable:
        check.problems.append(
            f"{len(unreadable)} of {_n(len(sample), 'image')} can't be read ({_several(unreadable)}): unpack them again."
        )
    if with_face < _FACES * read:
        check.problems.append(
            f"In the sample a face was found in {with_face} of {_n(read, 'frame')}: check that the folder holds whole "
            "frames, not crops, and that people face the camera."
        )
    check.record.update(
        images_sampled=len(sample),
        images_unreadable=len(unreadable),
        faces_sampled=read,
        faces_found=with_face,
    )


def _check_truth(check: _Check, root: str | Path, held: _Held) -> None:
    truth = manifests.load_truth(check.manifest, root)
    if truth is None:
        return
    simulated = {held.key(*name) for name in zip(truth["subject"], truth["video"], strict=True)}
    unknown = [name for key, name in held.names.items() if key not in simulated]
    if unknown:
        check.problems.append(
            f"{check.manifest.truth} has no row of {_n(len(unknown), 'video')} ({_several(unknown)}): simulate "
            f"{check.manifest.name} again."
        )


# Names and sentences
# ---------------------------------------------------------------------------------------


def _cells(events: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    return zip(events["subject"], events["video"], events["event"], strict=True)


def _names(subject: str, video: str, event: str) -> tuple[str, ...]:
    """All names by which a manifest may call an event, the one that is shown first."""
    return f"{subject}/{event}", event, f"{subject}/{video}", video


def _events(used: pd.DataFrame, held: _Held) -> Iterator[tuple[tuple[str, ...], int, int, Video]]:
    """Names, onset, offset and video of every usable event."""
    frames = zip(used["onset"].astype("int64"), used["offset"].astype("int64"), strict=True)
    for (subject, video, event), (onset, offset) in zip(_cells(used), frames, strict=True):
        yield _names(subject, video, event), int(onset), int(offset), held.key(subject, video)


def _n(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _several(names: Iterable[str]) -> str:
    names = list(names)
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest


def _tally(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"


def _reasons(faults: dict[str, int]) -> str:
    return ", ".join(f"{n} {FAULTS.get(fault, (fault,))[0]}" for fault, n in faults.items())


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

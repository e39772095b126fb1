"""Annotation tables -> events, with a reason for every row that was repaired or dropped.

Tables number frames as their manifest's ``first_frame`` says, mostly from 1. Here they are converted,
once::

    file            img001  img002  img003  img004  img005  img006  img007
    table                1       2       3       4       5       6       7      first_frame: 1
    melib                0       1       2       3       4       5       6      0-based
                                 |  onset      apex |          | offset
                                 1 ----------- 3 -------- 5                     closed: [1, 5], 5 frames
    seconds                  .005            .015      .025                     frame / fps, at 200 fps

A row is valid if first frame <= onset <= apex <= offset and onset < offset. What happens to others is the manifest's
``repair`` policy; every row of the table comes out, with ``status`` and ``reason``. Row numbers in
messages are 0-based data rows, lines are those that a spreadsheet shows. Frames in messages are numbered
as in the table.

``data_manifests/corrections/<dataset>.csv`` corrects single cells before anything else is done with them, each only where
the table still says what the correction found.
"""

import difflib
import math
import re
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from melib.data import cache, layouts, tables
from melib.data import manifest as manifests
from melib.data.manifest import Manifest, line_of, parts, read_manifest, variants
from melib.data.sheets import Sheets, read_sheets, short
from melib.data.tables import Row, number, text
from melib.errors import DataError

Policy = Literal["repair", "drop", "strict"]

COLUMNS = {
    "dataset": "str",
    "subject": "str",
    "video": "str",
    "event": "str",
    "onset": "Int64",
    "apex": "Int64",
    "offset": "Int64",
    "fps": "float64",
    "kind": "str",
    "emotion": "str",
    "emotion_class": "str",
    "aus": "str",
    "status": "str",
    "reason": "str",
}


CORRECTABLE = ("onset", "apex", "offset", "emotion", "aus")
CELLS = ("subject", "video", *CORRECTABLE)
CHALLENGE_COLUMNS = ("subject", "video", "onset", "offset", "emotion")
CORRECTION = ("subject", "video", "onset", "field", "old", "new", "reason", "source")

# No recording has so many frames, and a table of whole numbers holds no larger one.
_LAST = 10**9
# Events of the face last less, in seconds; and more, in frames, where most frames are fractions (SAMM Long Videos).
_LONGEST = 20
_SHOWN = 8  # emotions in one sentence


@dataclass(frozen=True)
class Audit:
    """Events of a data set and what was wrong with its tables.

    Attributes
    ----------
    events : DataFrame
        As :func:`read_events` returns.
    faults : DataFrame
        row (int, index into ``events``), fault (str, a key of the manifest's ``known``), name (str, the event's).
    version : str
        Version of the table, "" where none of the manifest's fits.
    expected : dict
        Counts of the whole release of that version, as :func:`counts` names them.
    notes : tuple of str
        Sentences: an absent table to join, a correction that didn't fit, a subject in two spellings, events that overlap,
        emotions that the manifest's ``emotion_classes`` don't list.
    misspelt : str
        A sentence on those of the latter that are nearly a listed one, or "".
    cells : DataFrame
        A row a row of ``events``: subject, video and the `CORRECTABLE` cells as the table writes them, before any
        correction; what a row of corrections is written from.
    """

    events: pd.DataFrame
    faults: pd.DataFrame
    version: str
    expected: dict[str, int]
    notes: tuple[str, ...]
    misspelt: str
    cells: pd.DataFrame


def read_events(
    dataset: str | Path | Manifest,
    table: str | Path,
    *more_tables: str | Path,
    policy: Policy = "repair",
) -> pd.DataFrame:
    """Read the annotated events of a data set.

    Parameters
    ----------
    dataset : str, Path or Manifest
        A manifest, its name or its path.
    table, *more_tables : str or Path
        xlsx, xls or csv files, recognised by the cells of their header, never by their names. The table that the
        manifest joins may be among them.
    policy : {"repair", "drop", "strict"}
        What happens to a row that isn't valid: what the manifest's ``repair`` says; it is dropped;
        DataError.

    Returns
    -------
    events : DataFrame
        One row a row of the tables, in their order: dataset, subject, video, event (str; event is unique
        within dataset and subject, and equals the video where that has one event), onset, apex, offset
        (Int64, 0-based, closed, <NA> where missing), fps (float), kind (micro, macro, blink), emotion
        (str, as annotated, lower case), emotion_class (negative, positive, surprise, others, "" without an
        emotion), aus (str), status (ok, repaired, dropped), reason (str). Use the rows whose status isn't
        "dropped".

    Raises
    ------
    DataError
        If a file isn't the table that the manifest describes, lacks a column or holds no row; with
        ``policy="strict"`` also for the first row that isn't valid.

    Warns
    -----
    UserWarning
        One sentence a thing that the tables leave open, such as an absent table to join.

    Examples
    --------
    >>> events = read_events("synthme", "data/synthme/annotations.xlsx")  # doctest: +SKIP
    """
    result = audit(dataset, table, *more_tables, policy=policy)
    for note in filter(None, (*result.notes, result.misspelt)):
        warnings.warn(note, stacklevel=2)
    return result.events


def audit(
    dataset: str | Path | Manifest,
    table: str | Path,
    *more_tables: str | Path,
    policy: Policy = "repair",
) -> Audit:
    """As :func:`read_events`, with all faults and notes beside the events; warns of nothing."""
    manifest = dataset if isinstance(dataset, Manifest) else read_manifest(dataset)
    if policy not in ("repair", "drop", "strict"):
        raise DataError(f"policy is {policy!r}; use repair, drop or strict.")
    files = {path: read_sheets(path) for path in map(Path, (table, *more_tables))}
    own, joined, notes = _tell_apart(manifest, files)
    corrections = _Corrections(manifest)
    records, cells = [], []
    for path, rows in own.items():
        _refuse_other_unit(manifest, path, rows)
        lookups = _lookups(manifest, files[path])
        notes += [
            f"{path} doesn't say what the folders of a {role} are called; its own names are kept."
            for role, names in lookups.items()
            if not names
        ]
        for row in rows:
            cells.append([text(row.cells.get(name)) for name in CELLS])
            records.append(_event(manifest, *corrections.apply(row), lookups, policy))
    events = pd.DataFrame(records).astype(COLUMNS)
    notes += corrections.unused() + _one_spelling(events)
    _drop_repeated(manifest, events, policy)
    _take(manifest, events, joined)
    _name_events(events)
    unlisted, misspelt = _unlisted(manifest, events)
    notes += _overlapping(manifest, events) + unlisted
    faults = events[["faults", "event"]].explode("faults").dropna(subset="faults").reset_index()
    events = events[list(COLUMNS)]
    version = _version(manifest, [files[path] for path in own], counts(events))
    return Audit(
        events,
        faults.set_axis(["row", "fault", "name"], axis=1),
        version.get("name", ""),
        version.get("expected", manifest.expected),
        tuple(notes),
        misspelt,
        pd.DataFrame(cells, columns=CELLS, dtype=str),
    )


def counts(events: pd.DataFrame) -> dict[str, int]:
    """What a release is recognised by: how many rows, subjects and videos there are, and events of each kind."""
    return {
        "rows": len(events),
        "subjects": events["subject"].nunique(),
        "videos": len(events[["subject", "video"]].drop_duplicates()),
        **events["kind"].value_counts(sort=False).to_dict(),
    }


def check_frames(events: pd.DataFrame, clips: pd.DataFrame) -> pd.DataFrame:
    """Drop, with a reason and one warning, events whose frames don't exist.

    Parameters
    ----------
    events : DataFrame
        As :func:`read_events` returns.
    clips : DataFrame
        subject, video, n_first, n_last, as ``manifest.spans`` returns.

    Returns
    -------
    DataFrame
        The events, same rows; those outside their video have status "dropped".

    Raises
    ------
    DataError
        If no event is left although there were some.
    """
    events = events.copy()
    spans = {(clip.subject, clip.video): (clip.n_first, clip.n_last) for clip in clips.itertuples()}
    used = events["status"] != "dropped"
    first = ""
    for index, row in events[used].iterrows():
        span = spans.get((row["subject"], row["video"]))
        if span is not None and span[0] <= row["onset"] and row["offset"] <= span[1]:
            continue
        if span is None:
            fault = "its video has no folder of frames"
        else:
            fault = (
                f"its frames {row['onset']} to {row['offset']} aren't within {span[0]} to {span[1]} (0-based)"
            )
        events.loc[index, "status"] = "dropped"
        events.loc[index, "reason"] = "; ".join(filter(None, [row["reason"], fault]))
        first = first or f"{row['subject']}/{row['video']}: {fault}"
    lost = int(used.sum() - (events["status"] != "dropped").sum())
    if lost and lost == used.sum():
        raise DataError(
            f"None of the {lost} annotated events has its frames (first: {first}); check the root folder, "
            "frames.pattern and first_frame in the manifest."
        )
    if lost:
        warnings.warn(
            f"{lost} of {int(used.sum())} events have no frames and are dropped (first: {first}).",
            stacklevel=2,
        )
    return events


# From cells to one event
# ---------------------------------------------------------------------------------------


def _event(manifest: Manifest, row: Row, corrected: str, lookups: dict, policy: Policy) -> dict[str, Any]:
    """One row of the table as an event, with ``faults`` and what the table calls it (``raw``)."""
    cells, part = row.cells, row.part
    subject = _subject(cells["subject"], part)
    video, event = _video(row)
    if "video" in lookups:
        event = event or video
        video = _look_up(lookups["video"], video)
    subject = lookups.get("subject", {}).get(subject, subject)
    kind, unknown = _kind(row)
    fps, no_fps = _rate(manifest, row)
    rules = _policies(manifest, part, policy)
    frames, faults, dropped = _interval(cells, set(part["missing"]), rules, manifest, fps)
    if no_fps:
        faults, dropped = [("fps_missing", no_fps), *faults], dropped or policy == "drop"
    if row.fault:
        faults, dropped = [("uneven", row.fault)], True
    elif unknown:
        faults, dropped = [("unknown_kind", unknown)], True
    elif not subject or not video:
        empty = "video" if subject else "subject"
        faults, dropped = (
            [(f"no_{empty}", f"{row.titles[empty]} is empty; fill it in, merged cells too")],
            True,
        )
    elif not dropped and (sentence := _too_long(manifest, kind, frames, fps)):
        faults, dropped = [*faults, ("too_long", sentence)], True
    reason = " and ".join(sentence for _, sentence in faults)
    if faults and policy == "strict":
        raise DataError(
            f"{manifest.name}: {row.where} {reason} ({subject}/{video}); correct the table, or use policy repair "
            f"({manifest.source}, line {line_of(manifest, 'repair')})."
        )
    if corrected:
        faults, reason = [("corrected", corrected), *faults], " and ".join(filter(None, [corrected, reason]))
    emotion = " ".join(text(cells.get("emotion")).lower().split())
    return {
        "dataset": manifest.name,
        "subject": subject,
        "video": video,
        "event": event,
        **{
            name: pd.NA if number is None else number - manifest.first_frame
            for name, number in frames.items()
        },
        "fps": fps,
        "kind": kind,
        "emotion": emotion,
        "emotion_class": _emotion_class(manifest, emotion),
        "aus": text(cells.get("aus")),
        "status": "dropped" if dropped else "repaired" if faults else "ok",
        "reason": f"{row.where} {reason}" if reason else "",
        "faults": [fault for fault, _ in faults],
        "raw": event or video,
    }


def _video(row: Row) -> tuple[str, str]:
    """What the table calls the video and the event."""
    video, event = text(row.cells["video"]), text(row.cells.get("event"))
    if "video_pattern" not in row.part:
        return video, event
    match = re.search(row.part["video_pattern"], video)
    return (match[1] if match and match[1] else video), event or video


def _policies(manifest: Manifest, part: dict, policy: Policy) -> dict[str, str]:
    """What to do with each fault; a table that knows no apex can't be blamed for it."""
    rules = {"onset_before_first": "drop"} | manifest.repair
    rules = rules if policy == "repair" else dict.fromkeys(rules, "drop")
    if manifest.repair["apex_missing"] == "keep" or "apex" not in part["columns"]:
        rules = rules | {"apex_missing": "keep"}
    return rules


def _interval(
    cells: dict[str, Any], missing: set[str], repair: dict[str, str], manifest: Manifest, fps: float
) -> tuple[dict[str, int | None], list[tuple[str, str]], bool]:
    """Frames (in the table's numbering), faults with a sentence each, and whether the row is lost."""
    onset, apex, offset = (
        _frame(cells.get(name), missing, manifest, fps) for name in ("onset", "apex", "offset")
    )
    faults: list[tuple[str, str]] = []
    dropped = False

    def fault(name: str, sentence: str, used: str = "") -> None:
        """Note a fault; one for which nothing else is used costs the row."""
        nonlocal dropped
        dropped |= not used
        faults.append((name, f"has {sentence}; used {used}" if used else f"has {sentence}"))

    def shown(name: str) -> str:
        return f'{name} "{short(text(cells.get(name)))}"'

    def mirrored(name: str, sentence: str) -> int | None:
        """An offset as far behind the apex as the onset lies before it."""
        if repair[name] != "mirror":
            fault(name, sentence)
        elif onset is None or apex is None or onset >= apex:
            fault(name, f"{sentence}, which can't be mirrored")
        else:
            fault(name, sentence, f"the mirrored offset {2 * apex - onset}")
            return 2 * apex - onset
        return offset

    first = manifest.first_frame
    if onset is not None and onset < first:
        repaired = repair["onset_before_first"] == "first"
        fault("onset_before_first", f"onset {onset} before the first frame, {first}", str(first) * repaired)
        onset = first if repaired else onset
    if onset is None:
        fault("onset_missing", shown("onset"))
    elif offset is None:
        offset = mirrored("offset_missing", shown("offset"))
    elif offset <= onset:
        offset = mirrored("offset_not_after_onset", f"offset {offset} not after onset {onset}")
    if not dropped and onset is not None and offset is not None:
        middle = (onset + offset) // 2
        if apex is None and repair["apex_missing"] == "drop":
            fault("apex_missing", shown("apex"))
        elif apex is None and repair["apex_missing"] == "midpoint":
            fault("apex_missing", shown("apex"), f"the midpoint {middle}")
            apex = middle
        elif apex is not None and not onset <= apex <= offset:
            sentence = f"apex {apex} outside {onset} to {offset}"
            if repair["apex_outside"] == "midpoint":
                fault("apex_outside", sentence, f"the midpoint {middle}")
                apex = middle
            else:
                offset = mirrored("apex_outside", sentence)
    return {"onset": onset, "apex": apex, "offset": offset}, faults, dropped


def _too_long(manifest: Manifest, kind: str, frames: dict[str, int | None], fps: float) -> str:
    """The fault of an event that lasts longer than the manifest finds plausible, or ""."""
    onset, offset, limit = frames["onset"], frames["offset"], manifest.longest_s.get(kind, math.inf)
    if onset is None or offset is None or (seconds := (offset - onset + 1) / fps) <= limit:
        return ""
    return f"lasts {seconds:.1f} s, a {kind} of more than {limit:g} s isn't trusted"


def _rate(manifest: Manifest, row: Row) -> tuple[float, str]:
    """Frames a second of an event, and a fault if the table has a column of them whose cell holds none."""
    if "fps" not in row.titles:
        return manifest.fps, ""
    rate = number(row.cells["fps"])
    if rate is not None and 0 < rate < _LAST:
        return rate, ""
    content = short(text(row.cells["fps"]))
    return manifest.fps, f'has {row.titles["fps"]} "{content}"; used {manifest.fps:g}, the manifest\'s fps'


def _frame(cell: Any, missing: set[str], manifest: Manifest, fps: float) -> int | None:
    """A frame number from text, float, int or a formula's result; None where it is missing or no number."""
    value = number(cell)
    if value is None or abs(value) > _LAST or {text(cell), f"{value:g}"} & missing:
        return None
    if manifest.unit == "seconds":
        return manifest.first_frame + round(value * fps)
    return None if str(int(value)) in missing else int(value)


def _refuse_other_unit(manifest: Manifest, path: Path, rows: list[Row]) -> None:
    """Seconds where the manifest says frames, and frames where it says seconds: told by fractions and by lengths."""
    ends = [(number(row.cells.get("onset")), number(row.cells.get("offset"))) for row in rows]
    lengths = [abs(offset - onset) for onset, offset in ends if onset is not None and offset is not None]
    typical = np.median(lengths) if lengths else 0
    for role in ("onset", "apex", "offset"):
        title = next((row.titles[role] for row in rows if role in row.titles), role)
        values = [value for row in rows if (value := number(row.cells.get(role))) is not None]
        fractions = [value for value in values if not value.is_integer()]
        if manifest.unit == "frames" and 2 * len(fractions) > len(values) and typical <= _LONGEST:
            raise DataError(
                f"{path}: most cells of column {title} hold small fractions such as {fractions[0]:g}, so it seems to be in "
                f"seconds, not frames; write unit: seconds into a copy of {manifest.source} and give its path."
            )
        if manifest.unit == "seconds" and values and not fractions and typical > _LONGEST:
            raise DataError(
                f"{path}: column {title} holds whole numbers and events of {typical:g}, so it seems to be in frames, not "
                f"seconds; correct unit in {manifest.source}."
            )


def _subject(cell: Any, part: dict) -> str:
    """What a subject's folder is called."""
    content = text(cell)
    if not content.isdecimal():
        return content
    return part.get("subject_prefix", "") + content.zfill(part.get("subject_digits", 0))


def _kind(row: Row) -> tuple[str, str]:
    """Kind of the event, and a fault if the table holds one that the manifest doesn't know."""
    rule = row.part["kind"]
    if isinstance(rule, str):
        return rule, ""
    content = text(row.cells["kind"])
    kinds = {name.lower(): kind for name, kind in rule["values"].items()}
    if content.lower() in kinds:
        return kinds[content.lower()], ""
    return (
        "",
        f'has {row.titles["kind"]} "{short(content)}", which table.kind.values of the manifest doesn\'t list',
    )


def _emotion_class(manifest: Manifest, emotion: str) -> str:
    if not emotion:
        return ""
    classes = manifest.emotion_classes.items()
    return next((name for name, members in classes if emotion in members), "others")


def _unlisted(manifest: Manifest, events: pd.DataFrame) -> tuple[list[str], str]:
    """A note on emotions that no class lists, with their counts, and a sentence on those that are nearly a listed one."""
    listed = {"other", "others"}.union(*manifest.emotion_classes.values())
    counted = Counter(emotion for emotion in events["emotion"] if emotion not in {"", *listed})
    near = {name: difflib.get_close_matches(name, listed, n=1, cutoff=0.75) for name in counted}
    strange = [f'{n} "{short(name)}"' for name, n in counted.most_common() if not near[name]]
    wrong = [f'{n} "{short(name)}", {near[name][0]}?' for name, n in counted.most_common() if near[name]]

    def sentence(named: list[str], remedy: str) -> str:
        more = f"; {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
        return (
            f"{manifest.name}: events with an emotion that emotion_classes doesn't list count as others "
            f"({'; '.join(named[:_SHOWN])}{more}): {remedy} ({manifest.source}, "
            f"line {line_of(manifest, 'emotion_classes')})."
        )

    misspelt = sentence(wrong, "correct the table, or list them") if wrong else ""
    return [sentence(strange, "list them where they belong")] if strange else [], misspelt


# From rows to events of one data set
# ---------------------------------------------------------------------------------------


def _one_spelling(events: pd.DataFrame) -> list[str]:
    """Subjects that differ by case only are one: the commonest spelling counts, of equals the first."""
    best: dict[str, str] = {}
    for name, _ in Counter(events["subject"]).most_common():
        best.setdefault(name.casefold(), name)
    others = [name for name in events["subject"].unique() if best[name.casefold()] != name]
    events["subject"] = [best[name.casefold()] for name in events["subject"]]
    dataset = events["dataset"].iloc[0]
    return [f"{dataset}: {n} is read as {best[n.casefold()]}, which differs by case only." for n in others]


def _drop_repeated(manifest: Manifest, events: pd.DataFrame, policy: Policy) -> None:
    """A row that says the same as an earlier one is one event, not two; nor are two emotions of the same frames."""
    same = ["subject", "video", "onset", "apex", "offset", "kind"]
    used = events[events["status"] != "dropped"]
    of_first = used.groupby(same, dropna=False, sort=False)["emotion"].transform("first")
    for row in used.index[used.duplicated(same)]:
        event, first = used.loc[row], of_first[row]
        fault, sentence = "repeated", "repeats an earlier row"
        if event["emotion"] and first and event["emotion"] != first:
            fault = "two_emotions"
            sentence = f"has the frames of an earlier row, with emotion {event['emotion']} instead of {first}"
        if policy == "strict":
            raise DataError(
                f"{manifest.name}: an event of {event['subject']}/{event['video']} {sentence} (onset "
                f"{event['onset'] + manifest.first_frame}); remove one of the two."
            )
        reason = "; ".join(filter(None, [event["reason"], sentence]))
        events.loc[row, ["status", "reason"]] = ["dropped", reason]
        events["faults"][row].append(fault)


def _overlapping(manifest: Manifest, events: pd.DataFrame) -> list[str]:
    """A note on events that share frames with another of their kind; both are kept."""
    keys = ["subject", "video", "kind"]
    used = events[events["status"] != "dropped"].sort_values([*keys, "onset"], kind="stable")
    reach = used.groupby(keys)["offset"].cummax().groupby([used[name] for name in keys]).shift()
    sharing = used[(used["onset"] <= reach).fillna(False)]
    if sharing.empty:
        return []
    first = sharing.iloc[0]
    return [
        f"{manifest.name}: {len(sharing)} of {len(used)} events overlap an earlier one of the same kind (first: "
        f"{first['subject']}/{first['event']}); all are kept."
    ]


def _name_events(events: pd.DataFrame) -> None:
    """Unique names: the table's own, else the video's, with a running number where several share it."""
    bases = list(zip(events["subject"], events["raw"], strict=True))
    dropped = list(events["status"] == "dropped")
    used = Counter(base for base, lost in zip(bases, dropped, strict=True) if not lost)
    names, taken = {}, set()
    # Events that have their name to themselves choose first, dropped rows last.
    for row in sorted(range(len(bases)), key=lambda row: (dropped[row], used[bases[row]] > 1)):
        subject, base = bases[row]
        name, number = base, 0
        while (subject, name) in taken or (number == 0 and used[bases[row]] > 1):
            number += 1
            name = f"{base}.{number}"
        taken.add((subject, name))
        names[row] = name
    events["event"] = pd.Series(names)


# From files to rows
# ---------------------------------------------------------------------------------------


def _tell_apart(
    manifest: Manifest, files: dict[Path, Sheets]
) -> tuple[dict[Path, list[Row]], list[pd.DataFrame], list[str]]:
    """Rows of the files that hold the data set's table, events of those of the joined data set, and notes."""
    other = manifests.joined(manifest)
    own: dict[Path, list[Row]] = {}
    joined, errors = [], []
    for path, sheets in files.items():
        try:
            rows = tables.rows(manifest, path, sheets)
        except DataError as error:
            if other is not None and _holds(other, path, sheets):
                joined.append(audit(other, path).events)
            else:
                errors.append(error)
            continue
        try:
            _refuse_unknown_version(manifest, path, sheets)
            _refuse_other_names(manifest, path, rows)
            own[path] = rows
        except DataError as error:
            errors.append(error)
    if not own and errors:
        raise errors[0]
    if not own:
        given = ", ".join(map(str, files))
        raise DataError(
            f"{given}: not the annotation table of {manifest.name} itself; add that as a further table."
        )
    notes = [f"{error} It is passed over, since another file fits." for error in errors]
    present = {number for path in own for number in tables.held(manifest, files[path])}
    notes += [
        f'{manifest.name}: no file has the sheet "{part["sheet"]}", so its events are missing.'
        for number, part in enumerate(parts(manifest))
        if len(parts(manifest)) > 1 and number not in present
    ]
    if manifest.join and other and not joined:
        notes.append(
            f"{manifest.name}: no table of {other.name} is among the files, so events have no "
            f"{' and '.join(manifest.join['take'])}; add it as a further table."
        )
    return own, joined, notes


def _lookups(manifest: Manifest, sheets: Sheets) -> dict[str, dict[str, str]]:
    """Names of folders by role and cell, from the sheets that the manifest's part names."""
    rules: dict[str, dict] = next((part["lookup"] for part in parts(manifest) if "lookup" in part), {})
    return {role: tables.looked_up(rule, sheets) for role, rule in rules.items()}


def _look_up(names: dict[str, str], cell: str) -> str:
    """A folder's name; events of one video may be numbered behind its own name."""
    return names.get(cell) or names.get(re.sub(r"_\d+$", "", cell), cell)


def _holds(manifest: Manifest, path: Path, sheets: Sheets) -> bool:
    try:
        return bool(tables.rows(manifest, path, sheets))
    except DataError:
        return False


def _take(manifest: Manifest, events: pd.DataFrame, joined: list[pd.DataFrame]) -> None:
    """Fill cells in from the other data set's events of the same subject and name, or subject, video and onset."""
    if manifest.join is None or not joined:
        return

    def keys(table: pd.DataFrame, *names: str) -> list[tuple]:
        return list(zip(table["subject"].str.casefold(), *(table[name] for name in names), strict=True))

    rule, other = manifest.join, pd.concat(joined)
    by_onset = rule.get("by") == "onset"
    own = keys(events, *(("video", "onset") if by_onset else ("raw",)))
    for field in rule["take"]:
        theirs: dict[tuple, str] = {}
        for names in [("video", "onset")] if by_onset else [("video",), ("event",)]:
            theirs |= dict(zip(keys(other, *names), other[field], strict=True))
        taken = pd.Series([theirs.get(key, "") for key in own], events.index)
        events[field] = events[field].where(
            (events[field] != "") | (events["kind"] != rule.get("kind", events["kind"])), taken
        )
    events["emotion_class"] = [_emotion_class(manifest, emotion) for emotion in events["emotion"]]


def _version(manifest: Manifest, files: list[Sheets], held: dict[str, int]) -> dict:
    """The first version that fits the columns and the number of rows; one whose counts all agree goes first."""
    fitting = [v for v in _fitting(manifest, files) if v.get("rows", held["rows"]) == held["rows"]]
    whole = [v for v in fitting if not differing(held, v.get("expected", manifest.expected))]
    return next(iter(whole or fitting), {})


def differing(held: dict[str, int], expected: dict[str, int]) -> dict[str, int]:
    """Counts of a release that those held differ from."""
    return {name: n for name, n in expected.items() if held.get(name, 0) != n}


def _fitting(manifest: Manifest, files: list[Sheets]) -> list[dict]:
    """Versions that fit the columns."""
    titles = set().union(*(tables.titles(manifest, sheets) for sheets in files))

    def has(title: str) -> bool:
        return any(tables.same(title, other) for other in titles)

    return [
        version
        for version in manifest.versions
        if all(map(has, version.get("has", []))) and not any(map(has, version.get("lacks", [])))
    ]


def _refuse_unknown_version(manifest: Manifest, path: Path, sheets: Sheets) -> None:
    """Another data set's table may have every column that is asked for: its other columns tell."""
    if manifest.versions and not _fitting(manifest, [sheets]):
        known = ", ".join(version["name"] for version in manifest.versions)
        raise DataError(
            f"{path} is none of the versions of {manifest.name}'s table that are known ({known}): its columns differ; give "
            f"the right file, or add its version ({manifest.source}, line {line_of(manifest, 'versions')})."
        )


def _refuse_other_names(manifest: Manifest, path: Path, rows: list[Row]) -> None:
    """Another data set's table may have the same columns, too: its videos are called otherwise."""
    if any("video" in part.get("lookup", {}) for part in parts(manifest)):
        return
    videos = [video for row in rows if (video := _video(row)[0])]
    if videos and not any(
        layouts.names_video(layout, v) for layout in variants(manifest) for v in set(videos)
    ):
        raise DataError(
            f"{path} isn't the annotation table of {manifest.name}: none of its videos, such as {short(videos[0])}, is "
            f"called as frames.pattern says; give the right file, or correct the pattern ({manifest.source}, line "
            f"{line_of(manifest, 'frames')})."
        )


class _Corrections:
    """Cells to correct, and which of them have been."""

    def __init__(self, manifest: Manifest):
        self.file = manifest.source.parent / "corrections" / f"{manifest.name}.csv"
        self.rows = read_corrections(self.file)
        self.used: set[int] = set()
        self.by_event = defaultdict(list)
        for place, row in enumerate(self.rows):
            for subject in {_subject(row["subject"], part).casefold() for part in parts(manifest)}:
                self.by_event[subject, row["video"], row["onset"]].append(place)

    def apply(self, row: Row) -> tuple[Row, str]:
        """The row with its corrections, and a sentence on them."""
        cells, reasons = dict(row.cells), []
        subject = _subject(cells["subject"], row.part).casefold()
        for place in self.by_event.get((subject, text(cells["video"]), text(cells["onset"])), []):
            change = self.rows[place]
            field, old, new = change["field"], change["old"], change["new"]
            if text(row.cells.get(field)) == old:
                cells[field] = new
                source = ", ".join(filter(None, [change["reason"], change["source"]]))
                reasons.append(f'has {field} "{old}"; corrected to {new} ({source})')
                self.used.add(place)
        return replace(row, cells=cells), " and ".join(reasons)

    def unused(self) -> list[str]:
        """A note on corrections that fitted no row."""
        unused = [row for number, row in enumerate(self.rows) if number not in self.used]
        if not unused:
            return []
        first = unused[0]
        return [
            f"{self.file}: {len(unused)} of {len(self.rows)} corrections fit no row of the table and are left out (first: "
            f'{first["subject"]}/{first["video"]} onset {first["onset"]}, {first["field"]} "{first["old"]}").'
        ]


def read_corrections(file: Path) -> list[dict[str, str]]:
    """Rows of a file of corrections, all text; none where there is no file.

    Parameters
    ----------
    file : Path
        csv with the columns ``CORRECTION``; more are allowed, and given. subject, video and onset are the table's cells.

    Raises
    ------
    DataError
        If it isn't UTF-8, lacks a column, has a cell too many, or a field can't be corrected.
    """
    if not file.is_file():
        return []
    lines = next(iter(read_sheets(file).values()))
    head, *others = lines.items() or [(0, [])]
    header, rows = [*map(text, head[1])], []
    if lacking := [name for name in CORRECTION if name not in header]:
        raise DataError(f"{file} has no column {lacking[0]}; its columns are {', '.join(CORRECTION)}.")
    for line, cells in others:
        row = dict.fromkeys(header, "") | dict(zip(header, map(text, cells), strict=False))
        if any(map(text, cells[len(header) :])):
            raise DataError(
                f"{file}, line {line + 1}: it has more cells than the header; put text that holds a comma in quotes."
            )
        if row["field"] not in CORRECTABLE:
            raise DataError(
                f"{file}, line {line + 1}: field is {row['field']!r}; it must be one of {', '.join(CORRECTABLE)}."
            )
        rows.append({name: cache.restored(cell) for name, cell in row.items()})
    return rows


def export_challenge(intervals, numbers, manifest, path):
    """Write intervals as csv ``subject, video, onset, offset, emotion`` in the data set's own frame numbers.

    The form is that of MEGC 2025, the last challenge with a track in which events are spotted and then recognised.

    Parameters
    ----------
    intervals : DataFrame
        subject, video, onset, offset (0-based positions of the sampled sequence, closed), emotion.
    numbers : dict (subject, video) -> (T,) int
        0-based native frame of each position of a video, rising: it undoes sampling and missing frames.
    manifest : manifest.Manifest
        Its ``first_frame`` is added.
    path : str or Path
        The csv; rows stay in their order.

    Raises
    ------
    DataError
        If a column is missing, a video has no numbers, or an interval isn't inside its video.
    """
    lacking = [name for name in CHALLENGE_COLUMNS if name not in intervals]
    if lacking and len(intervals):
        raise DataError(
            f"intervals have no column {lacking[0]}; an export needs {', '.join(CHALLENGE_COLUMNS)}."
        )
    columns = (intervals[name] for name in CHALLENGE_COLUMNS) if len(intervals) else ()
    rows = []
    for subject, video, onset, offset, emotion in zip(*columns, strict=True):
        if (subject, video) not in numbers:
            raise DataError(f"no frame numbers are known for {subject}/{video}; give those of every video.")
        frames = np.asarray(numbers[subject, video])
        if frames.size == 0 or not (np.diff(frames) > 0).all():
            raise DataError(f"frame numbers of {subject}/{video} must be one or more and rise.")
        if not 0 <= onset <= offset < len(frames) or onset != int(onset) or offset != int(offset):
            raise DataError(
                f"{subject}/{video}: interval {onset} to {offset} doesn't lie within the {len(frames)} "
                "positions of its video; export positions of the sampled sequence."
            )
        native = (int(frames[int(place)]) + manifest.first_frame for place in (onset, offset))
        rows.append((subject, video, *native, emotion))
    cache.write_table(path, pd.DataFrame(rows, columns=CHALLENGE_COLUMNS))

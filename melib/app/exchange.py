"""Annotations to ELAN, WebVTT and Label Studio, and what was edited there back as corrections that the next run reads.

    RUN         annotated events, and what our system found   --+--> export --> <dataset>/<subject>/<video>.eaf or .vtt
    PREDICTION  what `melib predict` found                    --+               <dataset>.json for Label Studio

    .eaf, .json  --import-->  rows of corrections/<dataset>.csv beside the manifest; the table itself is never touched

ELAN counts in milliseconds, and a frame lasts 33.37 of them at 29.97 frames a second. A frame's begin is written with its
fraction cut off; what is read holds every frame that is shown for at least one millisecond:

    frame (30 a second)        20          21          22          23
    begins at                  666.67      700         733.33      766.67     ms
    written, [21, 22]                       700 ------------------- 766       ms
    reaches into                    no      yes         yes         no (766 is before 766.67)

So a frame comes back as it was at any rate up to 500 a second, also where a program rounds up instead. An interval is closed
in frames (melib), its end is the begin of the next frame in milliseconds. Label Studio counts frames from 1, ends included.

Every file carries, as sealed json, the events as they were exported. Only what differs from that was edited: a colleague's
correction that was saved in between stays, and is never overwritten by an older file.
"""

import getpass
import html
import json
import math
import mimetypes
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree

import cv2
import numpy as np
import pandas as pd
from pympi import Eaf
from tqdm.auto import tqdm

from melib.app import corrections, finished, footage, runner
from melib.data import cache, manifest, video_files
from melib.data.manifest import Manifest
from melib.errors import DataError, Misuse
from melib.study.provenance import CONFIGURATION

FORMATS = ("elan", "webvtt", "labelstudio")
KINDS = ("micro", "macro", "blink")
_FOUND = "found"  # the tier of what nobody annotated
_ORDER = (*KINDS, _FOUND)
_FASTEST = 500  # frames a second: above, a frame is too short for whole milliseconds
_ABOUT = "melib"  # property of an .eaf, and key of a task's data
# Suffix and codec of a film: ELAN's players take the first, browsers the second.
_FILMS = {"elan": (".mp4", "mpeg4"), "webvtt": (".webm", "libvpx"), "labelstudio": (".webm", "libvpx")}
_SAID = ("dataset", "subject", "video", "fps", "first", "tables", "manifest", "events")  # of a file by itself
_UNDER = ("apex", "emotion", "reason")  # tiers below one of events


class Event(NamedTuple):
    """One event in native frames, 0-based, closed; apex None where there is none."""

    kind: str
    onset: int
    apex: int | None
    offset: int
    emotion: str


@dataclass(frozen=True, eq=False)
class ExportedVideo:
    """One video with what is known of it.

    ``subject`` and ``video`` name it; ``fps`` native frames a second; ``first`` the native frame at which it begins;
    ``source`` a video file, or a folder of the frames ``images`` (path by native frame); ``events`` a dict name -> Event,
    and ``predicted`` a list of Event whose emotion is what was found, in words.
    """

    dataset: str
    subject: str
    video: str
    fps: float
    first: int
    source: Path
    images: dict = field(default_factory=dict)
    events: dict = field(default_factory=dict)
    predicted: list = field(default_factory=list)
    emotions: tuple = ()
    tables: tuple = ()
    manifest: str = ""

    @property
    def about(self) -> dict[str, Any]:
        """What a file says of itself, so that it can be imported; no number but whole ones, which no program writes anew."""
        identity = {name: getattr(self, name) for name in _SAID} | {"fps": str(self.fps)}
        return cache.seal(cache.plain(identity))

    def rows(self) -> list[tuple[str, str, Event]]:
        """Tier, name and event of all that is known, in frames of the film."""
        rows = [(event.kind, name, event) for name, event in self.events.items()]
        rows += [(_FOUND, event.emotion, event) for event in self.predicted]
        return [(tier, name, _moved(event, -self.first)) for tier, name, event in rows]


@dataclass(frozen=True)
class Edited:
    """One video as it came back: ``about`` as exported, ``events`` as `ExportedVideo.events`, reasons, who edited."""

    about: dict
    events: dict
    reasons: dict
    reviewer: str


def _moved(event: Event, by: int) -> Event:
    apex = None if event.apex is None else event.apex + by
    return event._replace(onset=event.onset + by, apex=apex, offset=event.offset + by)


# ---- frames and milliseconds ------------------------------------------------------------------------------------


def span(first: int, last: int, fps: float) -> tuple[int, int]:
    """Begin and end in milliseconds of the closed interval of frames [first, last].

    Examples
    --------
    >>> span(21, 22, 30), span(21, 22, 29.97)
    ((700, 766), (700, 767))
    """
    return tuple(int(frame * 1000 / Fraction(str(fps))) for frame in (first, last + 1))  # type: ignore[return-value]


def frames(begin: int, end: int, fps: float | str) -> tuple[int, int]:
    """First and last frame that are shown for a millisecond or more between begin and end: `span` undone.

    Examples
    --------
    >>> frames(700, 766, 30), frames(700, 767, 29.97)
    ((21, 22), (21, 22))
    """
    rate = Fraction(str(fps)) / 1000
    first = math.ceil((begin + 1) * rate) - 1
    return first, max(first, math.floor((end - 1) * rate))


# ---- what there is to export ------------------------------------------------------------------------------------


def videos_of_run(folder: Path) -> list[ExportedVideo]:
    """Every video of a finished run's data sets, with its annotated events and what our system found.

    Raises
    ------
    DataError
        If it is no finished run, or holds no data.
    """
    finished_run = finished.open_run(folder)
    places, videos = finished_run.run.data, []
    for study in (*finished_run.short.values(), *finished_run.long.values()):
        about, events = study.manifest, study.events[study.events["status"] != "dropped"]
        if manifest.licensed(about):
            cache.for_owner_alone()
        tables = manifest.tables(about, study.root)
        if about.join and about.join["dataset"] in places:
            other = manifest.read_manifest(about.join["dataset"])
            tables += manifest.tables(other, places[other.name])
        listed = {emotion for members in about.emotion_classes.values() for emotion in members}
        emotions = tuple(sorted((listed | set(events["emotion"])) - {""}))
        paths = tuple(str(table.resolve()) for table in tables)
        known: dict[tuple, dict] = {}
        for row in events.itertuples():
            frames = int(row.onset), corrections.whole(row.apex), int(row.offset)
            known.setdefault((row.subject, row.video), {})[row.event] = Event(row.kind, *frames, row.emotion)
        predicted: dict[tuple, list] = {}
        file = folder / "results" / "challenge" / f"{about.name}_ours.csv"
        rows = pd.read_csv(file, dtype={"subject": str, "video": str}) if file.is_file() else pd.DataFrame()
        for row in rows.itertuples():
            event = Event(_FOUND, row.onset, None, row.offset, row.emotion)
            predicted.setdefault((row.subject, row.video), []).append(_moved(event, -about.first_frame))
        for row in study.videos.itertuples():
            place, images, key = Path(row.folder), {}, (row.subject, row.video)
            if not place.is_file():
                images = dict(zip(*manifest.frame_files(place, about), strict=True))
            film = (study.name, *key, about.fps, int(min(images, default=0)), place, images)
            known_here = (known.get(key, {}), predicted.get(key, []))
            videos.append(ExportedVideo(*film, *known_here, emotions, paths, str(about.source.resolve())))
    return videos


def videos_of_predictions(place: Path, videos: Path | None = None) -> list[ExportedVideo]:
    """What `melib predict` found, one video a json.

    Parameters
    ----------
    place : Path
        The folder that it was written to, or one video's json or csv in it.
    videos : Path, optional
        Folder that holds the videos; else they are looked for beside the predictions, above them and here.

    Raises
    ------
    DataError
        If there is no prediction, or a video's frame rate varies.
    """
    stem = re.sub(r"_(curve|intervals)$", "", place.stem)
    files = sorted(place.glob("*.json")) if place.is_dir() else [place.with_name(f"{stem}.json")]
    made = []
    for file in files:
        record = _json(file)
        try:
            frame, seconds = (np.array(record["curve"][name], float) for name in ("frame", "seconds"))
            predicted = [
                Event(
                    _FOUND,
                    row["onset"],
                    row["apex"],
                    row["offset"],
                    f"{row['emotion']} {row['confidence']:.2f}",
                )
                for row in record["intervals"]
            ]
            name, fps = str(record["video"]), float(record["samples_per_second"])
        except (KeyError, TypeError, ValueError):
            raise DataError(
                f"{file} wasn't written by `melib predict`; give its folder, or one of its json."
            ) from None
        if len(frame) > 1 and seconds[-1] > 0:
            fps = round((frame[-1] - frame[0]) / (seconds[-1] - seconds[0]), 4)
            if np.abs(frame / fps - seconds).max() > 0.5 / fps:
                raise DataError(
                    f"{name}: its frame rate varies, so that frames have no even times; convert it first."
                )
        folders = [videos] if videos else [file.parent, file.parent.parent, Path()]
        source = next((folder / name for folder in folders if (folder / name).exists()), folders[-1] / name)
        images = dict(enumerate(footage.images(source)[0])) if source.is_dir() else {}
        made.append(ExportedVideo("predicted", "", file.stem, fps, 0, source, images, predicted=predicted))
    if not made:
        raise DataError(f"{place} holds no prediction; make some with `melib predict VIDEO --out {place}`.")
    return made


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else "it isn't json"
        raise DataError(f"{file} can't be read ({what}); give a file as it was written.") from None


# ---- export -----------------------------------------------------------------------------------------------------


def export(place: str, to: str, out: Path, *, film: bool = False, videos: Path | None = None) -> list[Path]:
    """Write the events of a run or of predictions for another program.

    Parameters
    ----------
    place : str
        Name or folder of a run; folder of predictions, or one of their json.
    to : str
        One of `FORMATS`.
    out : Path
        Folder; a data set's files lie in ``out/<dataset>``.
    film : bool
        Write a film of every video that is a folder of frames, too: no program opens such a folder.
    videos : Path, optional
        As for `videos_of_predictions`.

    Returns
    -------
    list of Path
        What was written, films aside.

    Raises
    ------
    DataError
        If there is nothing to export or to link, or frames are too short for milliseconds; Misuse for another format.
    """
    if to not in FORMATS:
        raise Misuse(f"--to is {to!r}; use {', '.join(FORMATS)}.")
    path, run = Path(place), runner.locate(place)
    predicted = path.is_dir() or path.suffix in (".json", ".csv")
    finished_run = (run / CONFIGURATION).is_file() or not predicted
    known = videos_of_run(run) if finished_run else videos_of_predictions(path, videos)
    written: dict[Path, str] = {}
    tasks: dict[str, list] = {}
    for shown in tqdm(known, desc=f"to {to}", unit="video", disable=len(known) < 2, leave=False):
        if not 0 < shown.fps <= _FASTEST:
            raise DataError(
                f"{shown.dataset} has {shown.fps:g} frames a second; whole milliseconds hold {_FASTEST} at most."
            )
        if to != "webvtt" and not shown.source.exists():
            raise DataError(
                f"{shown.source} isn't there to be linked; name the folder of the videos by --videos."
            )
        base, media = out / shown.dataset / shown.subject, shown.source
        if shown.images:
            media = base / f"{shown.video}{_FILMS[to][0]}"
            if film and not media.is_file():
                _write_film(shown, media, _FILMS[to][1])
        if to == "labelstudio":
            tasks.setdefault(shown.dataset, []).append(task_of(shown, os.path.relpath(media, out)))
        elif to == "webvtt":
            written[base / f"{shown.video}.vtt"] = webvtt(shown)
        else:
            with cache.atomic(base / f"{shown.video}.eaf") as temporary:
                elan_document(shown, media, base).to_file(str(temporary))
            written[base / f"{shown.video}.eaf"] = ""
    for dataset, made in tasks.items():
        written[out / f"{dataset}.json"] = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
        written[out / f"{dataset}_labels.xml"] = labelling_interface(made)
    for file, text in written.items():
        if text:
            with cache.atomic(file) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="\n")
    return list(written)


def _write_film(shown: ExportedVideo, file: Path, codec: str) -> None:
    """Write a folder of frames as a film, so that frame and time agree: a missing frame shows the one before it."""

    def pictures() -> Iterator[np.ndarray]:
        picture = None
        for number in range(min(shown.images), max(shown.images) + 1):
            read = cv2.imread(str(shown.images[number])) if number in shown.images else None
            picture = picture if read is None else read
            if picture is None:
                raise DataError(f"{shown.images[number]} can't be read; copy it again.")
            yield picture

    video_files.write(file, pictures(), shown.fps, codec)


def elan_document(shown: ExportedVideo, media: Path, folder: Path) -> Eaf:
    """An ELAN document: a tier of events a kind, with tiers of apex, emotion and reason below it."""
    eaf = Eaf(author="melib")
    eaf.remove_tier("default")
    eaf.remove_linguistic_type("default-lt")
    near = quote(Path(os.path.relpath(media.absolute(), folder.absolute())).as_posix())
    kind = mimetypes.guess_type(media.name)[0] or "video/*"
    eaf.add_linked_file(media.absolute().as_uri(), near if near.startswith("..") else f"./{near}", kind)
    eaf.properties = [(_ABOUT, json.dumps(shown.about, ensure_ascii=False))]
    eaf.add_language("und", None, "undetermined (und)")
    eaf.add_controlled_vocabulary("emotion")
    for number, emotion in enumerate(shown.emotions):
        eaf.add_cv_entry("emotion", f"emotion{number}", [(emotion, "und", None)])
    eaf.add_linguistic_type("event")
    eaf.add_linguistic_type("apex", "Included_In")
    for text in ("emotion", "reason"):
        eaf.add_linguistic_type(text, "Symbolic_Association", timealignable=False)
    eaf.linguistic_types["emotion"]["CONTROLLED_VOCABULARY_REF"] = "emotion"
    last: dict[str, int] = {}  # frame of each tier
    for kind, name, event in sorted(shown.rows(), key=lambda row: (_ORDER.index(row[0]), row[2].onset)):
        # A tier can't hold what overlaps: that has further ones.
        tier = kind
        while last.get(tier, -1) >= event.onset:
            tier = f"{kind} {int(tier.removeprefix(kind) or 1) + 1}"
        if tier not in last:
            eaf.add_tier(tier, "event")
            for below in _UNDER[: 1 if kind == _FOUND else 3]:
                eaf.add_tier(f"{tier} {below}", below, tier)
        last[tier] = event.offset
        begin, end = span(event.onset, event.offset, shown.fps)
        eaf.add_annotation(tier, begin, end, name)
        if event.emotion and kind != _FOUND:
            eaf.add_ref_annotation(f"{tier} emotion", tier, (begin + end) // 2, event.emotion)
        if event.apex is not None:
            eaf.add_annotation(f"{tier} apex", *span(event.apex, event.apex, shown.fps), "apex")
    # ELAN numbers time slots by their times.
    slots = sorted(eaf.timeslots.items(), key=lambda slot: slot[1])
    names = {old: f"ts{number}" for number, (old, _) in enumerate(slots, start=1)}
    eaf.timeslots = {names[old]: time for old, time in slots}
    for aligned, *_ in eaf.tiers.values():
        for key, (begin, end, *rest) in aligned.items():
            aligned[key] = (names[begin], names[end], *rest)
    eaf.add_property("lastUsedAnnotationId", eaf.maxaid)
    return eaf


def webvtt(shown: ExportedVideo) -> str:
    """Captions: a cue an event, and one of its apex."""
    cues = []
    for tier, name, event in shown.rows():
        words = (_FOUND, name) if tier == _FOUND else (name, f"{tier} {event.emotion}".rstrip())
        cues.append((event.onset, event.offset, ": ".join(words)))
        if event.apex is not None:
            cues.append((event.apex, event.apex, f"{words[0]}: apex"))
    return video_files.captions(
        [
            (*span(first, last, shown.fps), html.escape(text, quote=False))
            for first, last, text in sorted(cues)
        ]
    )


def task_of(shown: ExportedVideo, media: str) -> dict:
    """A task of Label Studio: regions of its timeline, annotated ones to be edited, found ones as predictions."""

    def region(name: str, first: int, last: int, label: str) -> dict:
        value = {"ranges": [{"start": first + 1, "end": last + 1}], "timelinelabels": [label]}
        about = {"from_name": "label", "to_name": "video", "type": "timelinelabels"}
        return {"id": name, **about, "value": value}

    annotated: list[dict] = []
    predicted: list[dict] = []
    for tier, name, event in shown.rows():
        if tier == _FOUND:
            label = event.emotion.split()[0]
            predicted.append(region(f"found {len(predicted)}", event.onset, event.offset, label))
            continue
        annotated.append(region(name, event.onset, event.offset, event.emotion or tier))
        if event.apex is not None:
            annotated.append(region(f"{name} apex", event.apex, event.apex, "apex"))
    url = f"/data/local-files/?d={quote(Path(media).as_posix())}"
    return {
        "data": {"video": url, "fps": shown.fps, "emotions": list(shown.emotions), _ABOUT: shown.about},
        "annotations": [{"result": annotated}],
        "predictions": [{"model_version": _ABOUT, "result": predicted}] if predicted else [],
    }


def labelling_interface(tasks: list) -> str:
    """The labelling interface of Label Studio that the tasks need."""
    offered = {emotion for task in tasks for emotion in task["data"]["emotions"]}
    for part in (part for task in tasks for part in (*task["annotations"], *task["predictions"])):
        offered |= {region["value"]["timelinelabels"][0] for region in part["result"]}
    view = ElementTree.Element("View")
    video = {"name": "video", "value": "$video", "frameRate": "$fps", "timelineHeight": "200"}
    ElementTree.SubElement(view, "Video", video)
    labels = ElementTree.SubElement(view, "TimelineLabels", {"name": "label", "toName": "video"})
    for label in [*sorted(offered - {"apex"}), "apex"]:
        ElementTree.SubElement(labels, "Label", {"value": label})
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


# ---- import -----------------------------------------------------------------------------------------------------


def import_file(
    file: Path, source: str, dataset: str, *, reviewer: str = "", reason: str = ""
) -> tuple[Path, list[str]]:
    """Save what was edited in a file as corrections of its data set.

    Parameters
    ----------
    file : Path
        An .eaf, or the json that Label Studio exports.
    source : str
        elan or labelstudio.
    dataset : str
        Name of a manifest, or its path.
    reviewer : str
        Who edited; by default whom the file names (ELAN: annotator of the tier; Label Studio: who completed the task), else
        who is logged in.
    reason : str
        Why, for events that give no reason of their own (ELAN: tier reason; Label Studio: meta text of the region).

    Returns
    -------
    corrections : Path
        The file that was written, or would be.
    changes : list of str
        A sentence an event that was changed.

    Raises
    ------
    DataError
        If the file isn't what was exported and then edited, or the next reading of the table wouldn't say what it says.
        Nothing is saved then.
    """
    if source not in _READERS:
        raise Misuse(f"--from is {source!r}; use {' or '.join(_READERS)}.")
    program, read = _READERS[source]
    videos = read(file)
    about, tables = _dataset(file, dataset, videos[0].about)
    changes = []
    for edited in videos:
        if edited.about["dataset"] != about.name:
            raise DataError(
                f"{file} is of {edited.about['dataset']}, not of {about.name}; give --dataset {about.name}."
            )
        who = " ".join((reviewer or edited.reviewer or _logged_in()).split())
        for name, event in edited.events.items():
            before = Event(*edited.about["events"][name])
            _check(f"{file}: {name}", before, event)
            was = {key: getattr(before, key) for key in corrections.FIELDS}
            new = {key: getattr(event, key) for key in was if getattr(event, key) != was[key]}
            why = " ".join((edited.reasons.get(name) or reason or f"edited in {program}").split())
            if new:
                subject = edited.about["subject"]
                changes.append(corrections.EventChange(subject, name, was, new, why, who, file.name))
    saved = corrections.save_changes(about, tables, changes)
    return corrections.path_of(about), [change.sentence for change in saved]


def _dataset(file: Path, dataset: str, about: dict) -> tuple[Manifest, list[Path]]:
    """The manifest that the run has read, and the tables."""
    read = Path(about["manifest"])
    # A simulated data set has a manifest of its own beside its table.
    known = manifest.read_manifest(read if dataset == about["dataset"] and read.is_file() else dataset)
    for table in about["tables"]:
        if not Path(table).is_file():
            raise DataError(
                f"{file} was made of {table}, which is gone; put that table back, or export again."
            )
    return known, [Path(table) for table in about["tables"]]


def _logged_in() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise DataError("nobody says who edited; add --reviewer NAME.") from None


def _check(what: str, before: Event, event: Event) -> None:
    if event.kind != before.kind:
        raise DataError(
            f"{what} is on a tier of {event.kind}, but is a {before.kind}; a kind is corrected in the table itself."
        )
    if event.onset >= event.offset:
        raise DataError(f"{what} lasts a single frame, {event.onset}; an event needs two.")
    if event.apex is None and before.apex is not None:
        raise DataError(
            f"{what} has no apex any more; mark one frame between onset {event.onset} and offset {event.offset}."
        )
    if not event.emotion and before.emotion:
        raise DataError(f"{what} has no emotion any more; it was {before.emotion}.")


def _about(file: Path, record: Any) -> dict:
    """What the file says of itself; refused where it isn't ours."""
    try:
        about = cache.unseal(record)
    except ValueError:
        raise DataError(
            f"{file} doesn't say what it was exported of; export again with `melib export`, and edit that file."
        ) from None
    if not about["tables"]:
        raise DataError(
            f"{file} holds predictions, which no table has; export a RUN to correct its annotation."
        )
    return about


def _gather(file: Path, about: dict, intervals: list, apexes: list) -> dict[str, Event]:
    """Events of intervals (name, Event) and of apexes (frame, names of the events it may be of)."""
    events: dict[str, Event] = {}
    for name, event in intervals:
        if name not in about["events"]:
            raise DataError(
                f'{file}: no table has an event "{name}" (frames {event.onset} to {event.offset}); remove it, or add a new '
                f"one to the table of {about['dataset']} itself."
            )
        if name in events:
            raise DataError(f"{file}: {name} stands there twice; keep one.")
        events[name] = event
    for name in about["events"]:
        if name not in events:
            raise DataError(f"{file}: {name} is missing; corrections can't remove an event, so put it back.")
    for frame, names in apexes:
        inside = [n for n in names if n in events and events[n].onset <= frame <= events[n].offset]
        if len(inside) != 1:
            outside = f"outside {names[0] if len(names) == 1 else 'every event'}"
            where = f"in {' and '.join(inside)}" if inside else outside
            raise DataError(f"{file}: an apex at frame {frame} lies {where}; move it into its event alone.")
        apex = events[inside[0]].apex
        if apex is not None:
            raise DataError(f"{file}: {inside[0]} has two apexes, frames {apex} and {frame}; keep one.")
        events[inside[0]] = events[inside[0]]._replace(apex=frame)
    return events


def read_elan(file: Path) -> list[Edited]:
    """Read the video of an .eaf; DataError where it isn't what was exported and then edited."""
    try:
        ElementTree.parse(file)
        eaf = Eaf(str(file), suppress_version_warning=True)  # takes it for granted that a file is one
    except OSError as error:
        raise DataError(f"{file} can't be read ({error.strerror}); give an .eaf.") from None
    except ElementTree.ParseError as error:
        raise DataError(f"{file} is broken: {error}; save it again in ELAN.") from None
    except (KeyError, ValueError, IndexError, TypeError, AttributeError):
        raise DataError(f"{file} is no ELAN document; give an .eaf that ELAN opens.") from None
    try:
        record = json.loads(dict(eaf.properties)[_ABOUT])
    except (KeyError, TypeError, ValueError):
        record = None
    about = _about(file, record)
    intervals: list[tuple] = []
    apexes: list[tuple] = []
    reasons: dict[str, str] = {}
    reviewer = ""
    for tier in [name for name in eaf.tiers if re.fullmatch(rf"({'|'.join(KINDS)})( \d+)?", name)]:
        emotions, whys = (
            {parent: words.strip() for parent, words, *_ in eaf.tiers[name][1].values()}
            if name in eaf.tiers
            else {}
            for name in (f"{tier} emotion", f"{tier} reason")
        )
        own = _aligned(file, eaf, tier, about)
        for key, first, last, words in own:
            emotion = emotions.get(key, "").lower()
            intervals.append((words, Event(tier.split()[0], first, None, last, emotion)))
            reasons[words] = whys.get(key, "")
        names = [words for *_, words in own]
        marks = _aligned(file, eaf, f"{tier} apex", about)
        apexes += [((first + last) // 2, names) for _, first, last, _ in marks]
        reviewer = reviewer or eaf.tiers[tier][2].get("ANNOTATOR") or ""
    return [Edited(about, _gather(file, about, intervals, apexes), reasons, reviewer)]


def _aligned(file: Path, eaf: Eaf, tier: str, about: dict) -> list[tuple[str, int, int, str]]:
    """Annotations of a tier in order: id, first and last native frame, words; none where there is no such tier."""
    rows, annotations, before = [], [], 0
    for key, (begins, ends, words, _) in eaf.tiers[tier][0].items() if tier in eaf.tiers else ():
        begin, end = eaf.timeslots.get(begins), eaf.timeslots.get(ends)
        if begin is None or end is None or not 0 <= begin < end:
            raise DataError(
                f'{file}: "{words}" on tier {tier} has no begin before its end; set both in ELAN.'
            )
        rows.append((begin, end, key, words.strip()))
    for begin, end, key, words in sorted(rows):
        if begin < before:
            raise DataError(f'{file}: "{words}" overlaps another annotation of tier {tier}; part them.')
        before = end
        first, last = frames(begin, end, about["fps"])
        annotations.append((key, about["first"] + first, about["first"] + last, words))
    return annotations


def read_labelstudio(file: Path) -> list[Edited]:
    """Read the videos of a json that Label Studio exported; DataError where it isn't what was exported and then edited."""
    tasks = _json(file)
    videos = []
    for task in tasks if isinstance(tasks, list) else [tasks]:
        data = task.get("data") if isinstance(task, dict) else None
        about = _about(file, data.get(_ABOUT) if isinstance(data, dict) else None)
        try:
            done = [made for made in task["annotations"] if not made.get("was_cancelled")]
            edits = [_of_annotation(about, made) for made in done]
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            raise DataError(
                f"{file}: the task of {about['video']} isn't as Label Studio exports it; choose JSON, not JSON-MIN."
            ) from None
        if len(done) > 1:
            raise DataError(f"{file}: {about['video']} has {len(done)} annotations; keep one a task.")
        videos += [
            Edited(about, _gather(file, about, *marks), reasons, who) for *marks, reasons, who in edits
        ]
    if not videos:
        raise DataError(f"{file} holds no annotation; submit the tasks in Label Studio, and export as JSON.")
    return videos


def _of_annotation(about: dict, made: dict) -> tuple[list, list, dict, str]:
    """Intervals and apexes as `_gather` takes them, reasons by event, and who made an annotation of Label Studio."""
    intervals, apexes, reasons = [], [], {}
    for region in made["result"]:
        if region["type"] != "timelinelabels":
            continue
        name, value = str(region["id"]), region["value"]
        ((label,), (shown,)) = value["timelinelabels"], value["ranges"]
        first, last = (about["first"] + int(shown[side]) - 1 for side in ("start", "end"))
        if label == "apex":
            own = name.removesuffix(" apex")
            apexes.append(((first + last) // 2, [own] if own in about["events"] else list(about["events"])))
            continue
        # Where nobody knows an emotion, the label is the kind.
        kind = label if label in KINDS else about["events"].get(name, KINDS)[0]
        intervals.append((name, Event(kind, first, None, last, "" if label in KINDS else label)))
        reasons[name] = " ".join(map(str, region.get("meta", {}).get("text", ())))
    who = made.get("completed_by") or ""
    who = who.get("email") or "" if isinstance(who, dict) else f"Label Studio user {who}" if who else ""
    return intervals, apexes, reasons, who


_READERS = {"elan": ("ELAN", read_elan), "labelstudio": ("Label Studio", read_labelstudio)}

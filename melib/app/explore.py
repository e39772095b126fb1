"""Look at a finished run frame by frame: what is read for it, what is decoded from it, and the pictures.

    run/results/intensity.csv ---> worst(): events in the order of a metric
    run/data, cache, weights  -+-> Event:   crops, motion and curves around one event  ---> EventPicture -+-> PNG bytes
                               +-> Footage: scores and annotation of one long video ------> VideoPicture -+
                                        decode(): decoder, prior, least score ---> intervals, at once

Nothing is trained, and nothing of the run is written: curves come from the run's weights, each of a fold that never saw its
subject. explore_pictures.py draws, explore_widgets.py puts sliders around these functions.
"""

import functools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from melib import decoders, learn, metrics
from melib.app import review
from melib.data import manifest
from melib.errors import DataError
from melib.paper import style
from melib.study import intensity, results, spotting, spotting_decoding, spotting_runs
from melib.study.data import Study, folds_of, named, open_study, with_clips
from melib.study.run import Run, data_names, places_of, profile_settings
from melib.vision import faces, flow

OURS = spotting_runs.OURS
INPUTS = tuple(style.INPUT_COLOURS)
MARKS = ("onset", "apex", "offset")
# Metrics of intensity.csv by which an event can be bad, and whether a high value is.
METRICS = {
    "inside_spearman_true": False,
    "spearman_pseudo": False,
    "spearman_true": False,
    "inside_auc_true": False,
    "apex_error_ms": True,
    "apex_position_error": True,
}
# Samples of a long video that are aligned, and whose motion is measured, together: two seconds.
STRETCH = 64


# ---- a run ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Opened:
    """A finished run.

    Attributes
    ----------
    run : run.Run
    short, long : dict name -> data.Study
        Data sets with clips, and with long videos; no face is looked at before it is asked for.
    other : tuple of data.Study
        Long videos that were only tested on: their durations are another prior.
    agreement : DataFrame
        intensity.csv; empty where notebook 04 hasn't run.
    command : str
        What makes whatever is missing.
    """

    run: Run
    short: dict
    long: dict
    other: tuple
    agreement: pd.DataFrame
    command: str


def open_run(run, profile="smoke", seed=0, data=""):
    """Open a finished run to look at; ``run`` may also lie beside the folder of the notebooks.

    Parameters
    ----------
    run, profile, seed, data : as in the notebooks

    Returns
    -------
    Opened

    Raises
    ------
    DataError
        If there is no such run, or it was made with another profile or seed.
    """
    asked = [f"--profile {profile}", f"--run {run}", *([f"--seed {seed}"] if seed else [])]
    places = places_of(data)
    asked += [f"--data {name}={place}" for name, place in places.items()]
    command = f"melib run {' '.join(asked)}"
    known = [place for place in (Path(run), Path("..") / run) if (place / "parameters.yml").is_file()]
    if not known:
        raise DataError(f"{run} is no finished run: make it with `{command}`, or set run to one that is.")
    made = _made(known[0] / "parameters.yml", command)
    names = data_names(places_of(made["data"]))
    if (made["profile"], made["seed"], names) != (profile, seed, data_names(places)):
        said = f"profile {made['profile']!r}, seed {made['seed']} and data {', '.join(names)}"
        raise DataError(f"{run} was made with {said}: set them so in the first cell.")
    table = known[0] / "results" / "intensity.csv"
    agreement = results.read_result(table) if table.is_file() else pd.DataFrame()
    begun = Run(known[0], profile, profile_settings(profile), seed, places)
    if places:
        clips, long, other = (*(named(begun, long=kind) for kind in (False, True)), [])
    else:
        clips, long, other = (_simulated(begun, part) for part in ("data", "long", "long_transfer"))
    if not clips and not long:
        raise DataError(f"{known[0]} holds no data yet: make it with `{command}`.")
    of_clips, of_long = ({study.name: study for study in found} for found in (clips, long))
    return Opened(begun, of_clips, of_long, tuple(other), agreement, command)


def _made(file, command):
    """What a run was made with: dict."""
    try:
        made = yaml.safe_load(file.read_text(encoding="utf-8"))
        return {name: made[name] for name in ("profile", "seed", "data")}
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError):
        raise DataError(f"{file} can't be read; write it again with `{command}`.") from None


def _simulated(run, part):
    """Data sets of a part of the profile that the run has simulated: list of Study."""
    places = [run.folder / "data" / spec["name"] for spec in run.settings[part]]
    made = [place for place in places if (place / "annotations.xlsx").is_file()]
    return [open_study(place / "manifest.yml", place) for place in made]


def usable(study):
    """Events that can be looked at: those that weren't dropped."""
    return study.events[study.events["status"] != "dropped"]


def metrics_of(opened, dataset, protocol):
    """Those of ``METRICS`` that were scored on a data set under a protocol: list of str."""
    table = opened.agreement
    if table.empty:
        return []
    scored = set(table["metric"][(table["dataset"] == dataset) & (table["protocol"] == protocol)])
    return [name for name in METRICS if name in scored]


def worst(opened, dataset, protocol, metric, used="flow"):
    """Events from the worst to the best, by the network's agreement on one input.

    Parameters
    ----------
    opened : Opened
    dataset, protocol : str
    metric : str
        One of ``METRICS``.
    used : str
        Input of the network: flow, difference or raw.

    Returns
    -------
    DataFrame
        subject, event, value (mean over seeds). Empty where this was never scored.
    """
    table = opened.agreement
    if metric not in metrics_of(opened, dataset, protocol):
        return pd.DataFrame(columns=["subject", "event", "value"])
    asked = {"dataset": dataset, "protocol": protocol, "metric": metric, "input": used}
    mine = table[(table[list(asked)] == pd.Series(asked)).all(axis=1) & (table["event"] != "")]
    mine = mine[mine["model"] == "resnet18_bigru"].dropna(subset=["value"])
    each = mine.groupby(["subject", "event"], as_index=False)["value"].mean()
    return each.sort_values("value", ascending=not METRICS[metric], kind="stable", ignore_index=True)


# ---- an event -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Event:
    """One event with everything around it.

    Attributes
    ----------
    study : data.Study
    subject, video, name : str
    fps : float
        Native frames a second.
    landmarks : tuple of 3 int or None
        Annotated onset, apex and offset, native frames; the apex may be missing.
    numbers : (F,) int64
        Native frames of the clip; ``crops`` (F, S, S) uint8; ``seen`` (F,) bool, whether the face was found.
    points : (68, 2) float
        Landmarks of the face, pixels of the crop.
    positions : (T,) float
        Native frames of the window's samples; empty where no window holds the event.
    motion : (T, 2, S, S) float32
        Motion of the skin since sample ``reference``, pixels of the crop.
    curves : dict input -> (T,) float32
        Predicted intensity, by the network on each input; NaN where no face was found.
    truth : (F,) float or None
        True profile.
    said : tuple of str
        What the picture says of it.
    notes : tuple of str
        What can't be shown, and what makes it.
    """

    study: Study
    subject: str
    video: str
    name: str
    fps: float
    landmarks: tuple
    numbers: np.ndarray
    crops: np.ndarray
    seen: np.ndarray
    points: np.ndarray
    positions: np.ndarray
    motion: np.ndarray
    reference: int
    curves: dict
    truth: np.ndarray | None
    said: tuple
    notes: tuple


def event(opened, dataset, subject, name, protocol="context"):
    """Read one event: its clip, the window that was scored, and what the run's models say of it.

    Parameters
    ----------
    opened : Opened
    dataset, subject, name : str
        As in the events table.
    protocol : str
        Whose windows: context or paper.

    Returns
    -------
    Event

    Raises
    ------
    DataError
        If there is no such event, or its frames can't be read.
    """
    study = opened.short[dataset]
    rows = usable(study)
    found = rows[(rows["subject"] == subject) & (rows["event"] == name)]
    if found.empty:
        raise DataError(f"{dataset} has no usable event {subject}/{name}; see `melib data check`.")
    row = found.iloc[0]
    cut = _one_video(study, subject, row["video"])
    cut = with_clips(cut, opened.run, jobs=1)
    (clip,) = cut.clips
    truth = None
    if cut.truth is not None:
        frames, profile = (cut.truth[column].to_numpy() for column in ("frame", "profile"))
        truth = np.interp(clip.numbers, frames, profile)
    window, notes = _window(opened, cut, protocol, name)
    curves, missing = _predicted(opened, window, dataset, protocol, subject)
    landmarks = tuple(None if pd.isna(row[mark]) else int(row[mark]) for mark in MARKS)
    positions, motion, reference = window[2:] if window else _NO_WINDOW
    return Event(
        study,
        subject,
        row["video"],
        name,
        float(row["fps"]),
        landmarks,
        clip.numbers,
        clip.frames,
        clip.mask,
        clip.landmarks,
        positions,
        motion,
        reference,
        curves,
        truth,
        _said(opened, dataset, protocol, subject, name),
        (*notes, *missing),
    )


# Positions, motion and reference of an event that no window holds.
_NO_WINDOW = (np.zeros(0), np.zeros((0, 2, 1, 1), np.float32), 0)


def _one_video(study, subject, video):
    """The study as if it held this video alone: windows and keys of the cache don't depend on the others."""

    def mine(table):
        return table[(table["subject"] == subject) & (table["video"] == video)]

    truth = None if study.truth is None else mine(study.truth)
    return replace(study, videos=mine(study.videos), events=mine(study.events), truth=truth)


def _window(opened, cut, protocol, name):
    """The scored window of an event (Prepared, row, positions, motion, reference) or None, and why there is none."""
    try:
        prepared = intensity.prepare(cut, protocol, opened.run, jobs=1)
    except DataError as error:
        return None, (str(error),)
    whole = np.flatnonzero(prepared.complete() & (prepared.table["event"] == name))
    if not len(whole):
        return None, (
            f"No window of protocol '{protocol}' holds {name} whole, so that nothing was predicted.",
        )
    row = int(whole[0])  # the one that evaluation.intensity scores
    windows = prepared.load([row])
    motion, reference = windows.flow[0].astype(np.float32), int(windows.reference[0])
    return (prepared, row, prepared.positions[row], motion, reference), ()


def _predicted(opened, window, dataset, protocol, subject):
    """Curves of one window by the network on each input that the run has fitted, and a sentence where none is there."""
    table = opened.agreement
    if window is None or table.empty:
        missing = f"{opened.run.folder} has no results/intensity.csv; make it with `{opened.command}`."
        return {}, (missing,) if table.empty else ()
    prepared, row, *_ = window
    mine = table[
        (table["dataset"] == dataset) & (table["protocol"] == protocol) & (table["subject"] == subject)
    ]
    mine = mine[mine["model"] == "resnet18_bigru"].astype({"fold": int, "seed": int})
    curves: dict[str, np.ndarray] = {}
    told: list[str] = []
    for used in INPUTS:
        # The table says whose test subject this is: no model is asked of somebody that it was trained on.
        first = mine[mine["input"] == used].head(1)
        for fit in first.itertuples():
            job = intensity.Job(dataset, protocol, fit.model, used, fit.fold, fit.seed)
            try:
                fitted = _weights(opened, job.name)
            except DataError as error:
                told.append(str(error))
                continue
            curve = learn.windows.predict(fitted, prepared.load([row]), device="cpu")[0]
            curves[used] = np.where(prepared.mask[row], curve, np.nan)
    return curves, tuple(told)


@functools.lru_cache(maxsize=16)
def _weights(opened, name, kind="clips"):
    """A fit of the run; a sentence with the command where it is missing."""
    folder = opened.run.folder / "weights" / name
    if not (folder / "settings.yml").is_file():
        raise DataError(f"{opened.run.folder} has no weights of {name}; make them with `{opened.command}`.")
    return learn.windows.load(folder) if kind == "clips" else learn.videos.load(folder)


def _said(opened, dataset, protocol, subject, name):
    """Lines on an event: its true peak where it is known, and how well the network on each input agrees."""
    table = opened.agreement
    if table.empty:
        return ()
    mine = table[(table["dataset"] == dataset) & (table["protocol"] == protocol) & (table["event"] == name)]
    mine = mine[(mine["subject"] == subject) & (mine["model"] == "resnet18_bigru")]
    known = [metric for metric in METRICS if metric in set(mine["metric"])]
    if not known:
        return (f"not scored under protocol '{protocol}'",)
    scored = mine[mine["metric"] == known[0]].groupby("input")["value"].mean()
    values = [f"    {used}: {scored[used]:.2f}" for used in INPUTS if used in scored]
    peak = mine["peak_px"].iloc[0]
    size = [] if pd.isna(peak) else [f"true peak {peak:.2f} pixels of the crop"]
    return (*size, "", f"{results.METRICS[known[0]]}:", *values)


# ---- long videos ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Videos:
    """Long videos of one data set, with what our system says of some of their folds.

    Attributes
    ----------
    study : data.Study
    folds : list of protocols.Fold
    material : spotting_decoding.Material
        Curves of the folds that were asked for so far.
    """

    study: Study
    folds: list
    material: spotting_decoding.Material


def videos(opened, dataset):
    """Features and annotation of a data set's long videos, from the cache.

    Parameters
    ----------
    opened : Opened
    dataset : str

    Returns
    -------
    Videos
    """
    study = opened.long[dataset]
    share = opened.run.settings["spotting"]["validation_share"]
    folds = folds_of(study, opened.run, validation_share=share)
    found = [
        video
        for each in (study, *opened.other)
        for video in spotting.prepare(each, opened.run, windows=False, jobs=1)
    ]
    return Videos(
        study, folds, spotting_decoding.Material(dataset, found, folds, {}, {}, {}, opened.run.seed)
    )


def speak(opened, found, fold):
    """Let the run's model of a fold speak of the fold's validation and test videos; done once.

    Raises
    ------
    DataError
        If the run has no weights of it: says which command makes them.
    """
    material = found.material
    (fit,) = spotting_decoding.fits_of(OURS, material.dataset, [fold], material.seed)
    if fit in material.said:
        return
    fitted = _weights(opened, fit.name, "videos")
    asked = {*fold.validation, *fold.test}
    mine = [v for v in material.videos if v.subject in asked and v.dataset == material.dataset]
    said = learn.videos.predict(fitted, [spotting.sequences(v, fit)[0] for v in mine], device="cpu")
    prior = np.array(fitted.scale["class_prior"])
    log_prior = np.log(prior, where=prior > 0, out=np.full(len(prior), -np.inf))
    material.said[fit] = {
        (v.dataset, v.subject, v.video): spotting.Curves(each["scores"], each["logits"], log_prior)
        for v, each in zip(mine, said, strict=True)
    }


@dataclass(frozen=True, eq=False)
class Footage:
    """One long video that is looked at.

    Attributes
    ----------
    found : Videos
    fold : protocols.Fold
        The one that tests its subject.
    video : spotting.Video
    of : dict or None
        As `spotting_decoding.curves_of` returns; None where the run has no model of the fold.
    paths : list
        Frames of the samples.
    truth : DataFrame
        Annotated micro-expressions in samples, as `spotting.annotated` returns.
    notes : tuple of str
    """

    found: Videos
    fold: object
    video: spotting.Video
    of: dict | None
    paths: list
    truth: pd.DataFrame
    notes: tuple


def footage(opened, found, subject, name):
    """Open one long video.

    Parameters
    ----------
    opened : Opened
    found : Videos
    subject, name : str

    Returns
    -------
    Footage
    """
    material, study = found.material, found.study
    (video,) = (
        v for v in material.videos if (v.dataset, v.subject, v.video) == (material.dataset, subject, name)
    )
    (fold,) = (fold for fold in found.folds if subject in fold.test)
    place = study.videos.set_index(["subject", "video"])["folder"][subject, name]
    numbers, paths = manifest.frame_files(place, study.manifest)
    at = np.searchsorted(numbers, video.numbers)
    of, notes = None, list[str]()
    try:
        speak(opened, found, fold)
        of = spotting_decoding.curves_of(OURS, material, fold, video)
    except DataError as error:
        notes = [str(error)]
    return Footage(found, fold, video, of, [paths[i] for i in at], spotting.annotated([video]), tuple(notes))


@functools.lru_cache(maxsize=16)
def statistics_of(shown):
    """Data sets whose durations may be the prior: those with a micro-expression of the fold's training subjects.

    Returns
    -------
    dict name -> priors.IntervalPrior
        The video's own data set first.
    """
    material, known = shown.found.material, {}
    for name in dict.fromkeys((material.dataset, *(v.dataset for v in material.videos))):
        train = [v for v in material.videos if v.dataset == name and v.subject in shown.fold.train]
        if any(len(v.of("micro")) for v in train):
            known[name] = spotting.prior_of(train)
    return known


def others_of(shown):
    """Names of the other data sets whose durations may be the prior."""
    return [name for name in statistics_of(shown) if name != shown.found.material.dataset]


def half_length_of(shown, statistics=""):
    """Half an event's length in samples, by the training fold's events of a data set."""
    prior = statistics_of(shown)[statistics or shown.found.material.dataset]
    return max(1, int(prior.duration.half_length))


@functools.lru_cache(maxsize=512)
def _fitted(found, fold, decoder, statistics):
    """The fold's decoder and its tuned least score; fitted on validation subjects, as the run's was."""
    return spotting_decoding.fitted(replace(OURS, decoder=decoder), found.material, fold, statistics)


def tuned(shown, decoder="semi_markov", statistics=""):
    """Least score that was tuned for a decoder and a prior on the fold's validation subjects.

    Parameters
    ----------
    shown : Footage
    decoder : str
        One of spotting_decoding.DECODERS.
    statistics : str
        Data set whose durations are the prior; by default the video's own.

    Returns
    -------
    float
    """
    return _fitted(shown.found, shown.fold, decoder, statistics or shown.found.material.dataset)[1]


def warm_up(shown):
    """Fit every decoder under every prior beforehand, so that a change of one is seen at once."""
    if shown.of is not None:
        for decoder in spotting_decoding.DECODERS:
            for statistics in statistics_of(shown):
                decode(shown, decoder, statistics)


def decode(shown, decoder="semi_markov", statistics="", *, half_length=None, peak_fraction=0.55, least=None):
    """Intervals of one video.

    Parameters
    ----------
    shown : Footage
    decoder : str
        One of spotting_decoding.DECODERS.
    statistics : str
        Data set whose durations are the prior; by default the video's own. Of both, the training fold's alone.
    half_length : int or None
        Half an event's length in samples; None takes the prior's. Not read by semi_markov.
    peak_fraction : float in [0, 1]
        Threshold of the first three decoders; not read by semi_markov.
    least : float or None
        Score below which an interval is dropped; None takes the tuned one.

    Returns
    -------
    DataFrame
        onset, apex, offset (samples), score, emotion ("neutral" was rejected), kept (bool), right (bool: it finds a
        micro-expression, at IoU .5).
    """
    statistics = statistics or shown.found.material.dataset
    rule, known = _fitted(shown.found, shown.fold, decoder, statistics)
    if decoder == "semi_markov":
        found = rule(shown.of)
    else:
        moved = {"half_length": half_length, "peak_fraction": peak_fraction}
        found = getattr(decoders, decoder)(shown.of["micro"], statistics_of(shown)[statistics], **moved)
    named = spotting_decoding.classify(OURS, found, shown.of)
    sure = (found["score"] >= (known if least is None else least)) & found.index.isin(named.index)
    found = found.assign(emotion=named["emotion"].reindex(found.index).fillna("neutral"), kept=sure)
    video = {"subject": shown.video.subject, "video": shown.video.video}
    pairs = metrics.spotting(found[sure].assign(**video), shown.truth)["matches"]
    return found.assign(right=found.index.isin(pairs["predicted"]))


def mistakes(opened, found):
    """What our system misses and invents in all videos, each kind from its worst on.

    Parameters
    ----------
    opened : Opened
    found : Videos

    Returns
    -------
    DataFrame
        what (missed, invented), subject, video, onset, offset (samples), size: of what was missed the true peak in pixels
        (its seconds where nobody knows the peak), the largest first; of what was invented the score, the surest first.

    Raises
    ------
    DataError
        If the run has no weights of a fold.
    """
    for fold in found.folds:
        speak(opened, found, fold)
    home = [v for v in found.material.videos if v.dataset == found.material.dataset]
    truth = spotting.annotated(home)
    said = spotting_decoding.kept(spotting_decoding.predict(OURS, found.material))
    pairs = metrics.spotting(said, truth)["matches"]
    size = "duration_s" if truth["peak_px"].isna().all() else "peak_px"
    missed = truth[~truth.index.isin(pairs["truth"])].assign(what="missed", size=truth[size])
    invented = said[~said.index.isin(pairs["predicted"])].assign(what="invented", size=said["score"])
    columns = ["what", "subject", "video", "onset", "offset", "size"]
    parts = [part[columns].sort_values("size", ascending=False, kind="stable") for part in (missed, invented)]
    return pd.concat(parts, ignore_index=True)


@functools.lru_cache(maxsize=32)
def stretch(shown, first):
    """Aligned crops of some samples from ``first`` on, and the motion of the skin in them.

    Returns
    -------
    crops : (n, S, S) uint8
    points : (n, 68, 2) float32
        Landmarks, pixels of the crop.
    motion : (n, 2, s, s) float32
        Since the calmest sample of the stretch, pixels of the crop.
    seen : (n,) bool
    """
    paths = shown.paths[first : first + STRETCH]
    parts = list(faces.follow(paths, shown.video.fps))
    crops, points, seen = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("crops", "landmarks", "mask")
    )
    middle = np.median(points[seen], axis=0) if seen.any() else np.zeros((68, 2))
    motion = flow.window_inputs(crops, seen, middle)["flow"].astype(np.float32)
    return crops, points, motion, seen


# ---- review ---------------------------------------------------------------------------------------------------


def reviewed(study):
    """Begin to review a data set: melib.app.review.Review of its tables."""
    return review.Review(study.manifest, manifest.tables(study.manifest, study.root))


def landmarks_of(session, subject, name):
    """Landmarks of an event with all corrections made so far: tuple of 3 int or None, native frames."""
    events = session.audit.events
    row = events[(events["subject"] == subject) & (events["event"] == name)].iloc[0]
    return tuple(None if pd.isna(row[mark]) else int(row[mark]) for mark in MARKS)


def save(session, subject, name, landmarks, reason, reviewer):
    """Save an event's landmarks as rows of corrections.

    Parameters
    ----------
    session : melib.app.review.Review
    subject, name : str
    landmarks : tuple of 3 int or None
        Onset, apex and offset as they should be, native frames.
    reason, reviewer : str

    Returns
    -------
    str
        A sentence that says what was saved, where.

    Raises
    ------
    DataError
        As `melib.app.review.Review.change`: nothing is saved then.
    """
    before = landmarks_of(session, subject, name)
    three = dict(zip(MARKS, zip(before, landmarks, strict=True), strict=True))
    moved = {mark: new for mark, (old, new) in three.items() if new != old}
    if not moved:
        return f"{subject}/{name}: nothing was moved, so that nothing is saved."
    session.change(subject, name, reason=reason, reviewer=reviewer, **moved)
    said = ", ".join(f"{mark} from {three[mark][0]} to {new}" for mark, new in moved.items())
    return f"{subject}/{name}: {said} saved in {session.file}; the next `melib run` uses it."


def undo(session):
    """Take the last saved change of this session back; a sentence that says so."""
    name = session.undo()
    if name:
        return f"{name}: the last change was taken back."
    return f"Nothing was saved in this session that could be taken back; older changes are rows of {session.file}."

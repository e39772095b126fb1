"""Look at a finished run frame by frame: an event of a clip, or a long video and what is decoded from its scores.

    data, cache, weights --+--> event       crops, motion, truth, curves --> event_picture --+--> menus and sliders:
    of a run's folder      +--> long_video  scores -> decode -> intervals -> video_picture --+    *_panel

Nothing is trained, and nothing is written but the corrections that somebody saves (review.py). Every curve comes from a
model of the run that never saw its subject. A face is drawn by pictures.show_face alone, which asks for the licence;
anybody else appears as landmarks.
"""

import functools
import html
import io
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
import yaml
from IPython.utils.capture import capture_output
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from melib import decoders, learn, metrics, priors
from melib.app import pictures, review
from melib.data import manifest
from melib.errors import DataError
from melib.paper import style
from melib.study import intensity, results, spotting, spotting_decoding, spotting_runs
from melib.study.data import Study, folds_of, named, open_study, with_clips
from melib.study.provenance import CONFIGURATION, read_configuration
from melib.study.run import Run, places_of
from melib.vision import faces, flow

OURS = spotting_runs.OURS
MODEL = "resnet18_bigru"
INPUTS = tuple(style.INPUT_COLOURS)
MARKS = review.LANDMARKS
UNKNOWN = (None, None, None)
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
class FinishedRun:
    """A finished run.

    ``short`` and ``long`` are dicts name -> data.Study, of clips and of long videos; ``transfer`` a list of long videos that
    were only tested on: their durations are another prior; ``scores`` the network's rows of intensity.csv, none where
    notebook 04 hasn't run; ``command`` what makes whatever is missing.
    """

    run: Run
    short: dict
    long: dict
    transfer: list
    scores: pd.DataFrame
    command: str


def open_run(folder):
    """Open a finished run to look at.

    Parameters
    ----------
    folder : str or Path
        It may also lie beside the folder of the notebooks.

    Returns
    -------
    FinishedRun

    Raises
    ------
    DataError
        If there is no such run, or no data in it.
    """
    places = [place for place in (Path(folder), Path("..") / folder) if (place / CONFIGURATION).is_file()]
    if not places:
        raise DataError(
            f"{folder} is no finished run: make it with `melib run --run {folder}`, or set run to one that is."
        )
    place, frozen = places[0], read_configuration(places[0])
    run = Run(place, frozen["profile"], frozen["settings"], frozen["seed"], _data_of(place), jobs=1)
    if run.data:
        clips, long, transfer = named(run, long=False), named(run, long=True), []
    else:
        clips, long, transfer = (_simulated(run, part) for part in ("data", "long", "long_transfer"))
    seed = f" --seed {run.seed}" if run.seed else ""
    data = "".join(f" --data {name}={root}" for name, root in run.data.items())
    command = f"melib run --profile {run.profile} --run {folder}{seed}{data}"
    if not clips and not long:
        raise DataError(f"{place} holds no data yet: make it with `{command}`.")
    tables = results.read_results(place, "intensity")
    scores = _where(tables[0], model=MODEL) if tables else pd.DataFrame(columns=_COLUMNS)
    clips, long = ({study.name: study for study in studies} for studies in (clips, long))
    return FinishedRun(run, clips, long, transfer, scores, command)


_COLUMNS = ["dataset", "protocol", "input", "fold", "seed", "subject", "event", "peak_px", "metric", "value"]


def _data_of(folder):
    """Where the licensed data sets of a run lie: dict, empty for simulated ones."""
    file = folder / "parameters.yml"
    if not file.is_file():  # its notebooks were run by hand
        return {}
    try:
        return places_of(yaml.safe_load(file.read_text(encoding="utf-8"))["data"])
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError):
        raise DataError(f"{file} can't be read; `melib run` writes it again.") from None


def _simulated(run, part):
    """Data sets of a part of the profile that the run has simulated: list of Study."""
    places = [run.folder / "data" / spec["name"] for spec in run.settings[part]]
    made = [place for place in places if (place / "annotations.xlsx").is_file()]
    return [open_study(place / "manifest.yml", place) for place in made]


def _where(table, **values):
    """Rows of a table that have these values."""
    return table[(table[list(values)] == pd.Series(values)).all(axis=1)]


def _usable(study):
    """Events that can be looked at: those that weren't dropped."""
    return study.events[study.events["status"] != "dropped"]


def ranked(finished, dataset, protocol, metric, input_="flow"):
    """Events of a data set from the worst to the best, by the network's agreement on one input.

    Parameters
    ----------
    finished : FinishedRun
    dataset, protocol : str
    metric : str or None
        One of ``METRICS``.
    input_ : str
        Input of the network: flow, difference or raw.

    Returns
    -------
    DataFrame
        subject, event, value (mean over seeds). Every usable event once; those that were never scored come last, NaN.
    """
    scored = _where(finished.scores, dataset=dataset, protocol=protocol, metric=metric, input=input_)
    value = scored.groupby(["subject", "event"], as_index=False)["value"].mean()
    events = _usable(finished.short[dataset])[["subject", "event"]].merge(value, how="left")
    return events.sort_values("value", ascending=not METRICS.get(metric), kind="stable", ignore_index=True)


# ---- an event -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Event:
    """One event with everything around it.

    ``row`` of the events table; ``clip`` its video, aligned; ``truth`` (F,) the true profile on the clip's frames, or None;
    ``scores`` rows of the network. Of the window that was scored: ``positions`` (T,) native frames of its samples, empty
    where no window holds the event; ``motion`` (T, 2, s, s) float32 of the skin since sample ``reference``, crop pixels;
    ``curves`` dict input -> (T,) predicted intensity, NaN where no face was found. ``notes``: what can't be shown, and what
    makes it.
    """

    study: Study
    row: pd.Series
    clip: faces.Clip
    truth: np.ndarray | None
    scores: pd.DataFrame
    positions: np.ndarray
    motion: np.ndarray
    reference: int
    curves: dict
    notes: tuple


@functools.lru_cache(maxsize=8)
def event(finished, dataset, subject, name, protocol="context"):
    """Read one event: its clip, the window that was scored, and what the run's models predict there.

    Parameters
    ----------
    finished : FinishedRun
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
    study = finished.short[dataset]
    rows = _where(_usable(study), subject=subject, event=name)
    if rows.empty:
        raise DataError(f"{dataset} has no usable event {subject}/{name}; see `melib data check`.")
    place = {"subject": subject, "video": rows.iloc[0]["video"]}
    # As if the study held this video alone: windows and keys of the cache don't depend on the others.
    truth = None if study.truth is None else _where(study.truth, **place)
    alone = replace(
        study, videos=_where(study.videos, **place), events=_where(study.events, **place), truth=truth
    )
    alone = with_clips(alone, finished.run)
    (clip,) = alone.clips
    if truth is not None:
        truth = np.interp(clip.numbers, truth["frame"], truth["profile"])
    scores = _where(finished.scores, dataset=dataset, protocol=protocol, subject=subject, event=name)
    return Event(study, rows.iloc[0], clip, truth, scores, *_window(finished, alone, protocol, name, scores))


def _window(finished, alone, protocol, name, scores):
    """Of the window that is scored: positions, motion, reference, curves; and what is missing."""
    nothing: tuple = (np.zeros(0), np.zeros((0, 2, 1, 1), np.float32), 0, {})
    try:
        prepared = intensity.prepare_windows(alone, protocol, finished.run)
    except DataError as error:
        return *nothing, (str(error),)
    rows = [i for i in prepared.first_complete() if prepared.table["event"][i] == name]
    if not rows:
        note = f"No window of protocol '{protocol}' holds {name} whole, so that nothing was predicted."
        return *nothing, (note,)
    window, curves, notes = prepared.load(rows), {}, []
    if finished.scores.empty:
        notes = [f"{finished.run.folder} has no results/intensity.csv; make it with `{finished.command}`."]
    for input_ in INPUTS:
        # The scores say whose test subject this is: no model is asked of somebody that it was trained on.
        for fit in _where(scores, input=input_).head(1).itertuples():
            job = intensity.Job(alone.name, protocol, MODEL, input_, int(fit.fold), int(fit.seed))
            try:
                fitted = _weights(finished, job.name, learn.windows.load_fit)
            except DataError as error:
                notes.append(str(error))
                continue
            curve = learn.windows.predict_windows(fitted, window, device="cpu")[0]
            curves[input_] = np.where(prepared.mask[rows[0]], curve, np.nan)
    motion, reference = window.flow[0].astype(np.float32), int(window.reference[0])
    return prepared.positions[rows[0]], motion, reference, curves, tuple(notes)


@functools.lru_cache(maxsize=16)
def _weights(finished, name, load):
    """A fit of the run, read by `load` of its own kind."""
    folder = finished.run.folder / "weights" / name
    if not (folder / "settings.yml").is_file():
        raise DataError(
            f"{finished.run.folder} has no weights of {name}; make them with `{finished.command}`."
        )
    return load(folder)


# ---- a long video ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class FoldCurves:
    """What our system says of the validation and test videos of one fold.

    ``material`` holds this fold alone, and no curves where the run has no model of it; ``notes`` say what makes them.
    """

    study: Study
    material: spotting_decoding.Material
    notes: tuple

    @property
    def fold(self):
        """Who is tested: a protocols.Fold."""
        return self.material.folds[0]


@dataclass(frozen=True, eq=False)
class LongVideo:
    """One long video that is looked at.

    ``source`` is of the fold that tests its subject; ``curves`` as `spotting_decoding.curves_of` returns, None where the run
    has no model of that fold; ``paths`` the frames of the samples.
    """

    source: FoldCurves
    video: spotting.Video
    curves: dict | None
    paths: list


@functools.lru_cache(maxsize=8)
def fold_curves(finished, dataset):
    """Let the run's models speak of a data set's long videos: list of FoldCurves, one a fold."""
    study, run = finished.long[dataset], finished.run
    folds = folds_of(study, run, validation_share=run.settings["spotting"]["validation_share"])
    studies = (study, *finished.transfer)
    videos = [video for s in studies for video in spotting.prepare_videos(s, run, windows=False)]
    return [_fold_curves(finished, study, videos, fold) for fold in folds]


def _fold_curves(finished, study, videos, fold):
    seed = finished.run.seed
    material = spotting_decoding.Material(study.name, videos, [fold], {}, {}, {}, seed)
    (fit,) = spotting_decoding.fits_of(OURS, study.name, [fold], seed)
    try:
        fitted = _weights(finished, fit.name, learn.videos.load_regressor)
    except DataError as error:
        return FoldCurves(study, material, (str(error),))
    people = {*fold.validation, *fold.test}
    asked = [v for v in videos if v.dataset == study.name and v.subject in people]
    spoken = learn.videos.predict_curves(fitted, [spotting.sequences(v, fit)[0] for v in asked], device="cpu")
    prior = np.array(fitted.scale["class_prior"])
    log_prior = np.log(prior, where=prior > 0, out=np.full(len(prior), -np.inf))
    curves = {
        (v.dataset, v.subject, v.video): spotting.Curves(out["scores"], out["logits"], log_prior)
        for v, out in zip(asked, spoken, strict=True)
    }
    return FoldCurves(study, replace(material, curves={fit: curves}), ())


def long_video(finished, dataset, subject, name):
    """Open one long video.

    Parameters
    ----------
    finished : FinishedRun
    dataset, subject, name : str

    Returns
    -------
    LongVideo
    """
    source = next(part for part in fold_curves(finished, dataset) if subject in part.fold.test)
    key = (dataset, subject, name)
    video = next(v for v in source.material.videos if (v.dataset, v.subject, v.video) == key)
    place = _where(source.study.videos, subject=subject, video=name)["folder"].iloc[0]
    numbers, paths = manifest.frame_files(place, source.study.manifest)
    curves = None
    if source.material.curves:
        curves = spotting_decoding.curves_of(OURS, source.material, source.fold, video)
    return LongVideo(source, video, curves, [paths[i] for i in np.searchsorted(numbers, video.numbers)])


@functools.lru_cache(maxsize=16)
def duration_priors(source):
    """When micro-expressions of the fold's training subjects happen: dict data set -> IntervalPrior, their own first."""
    material, known = source.material, {}
    for name in dict.fromkeys((material.dataset, *(v.dataset for v in material.videos))):
        train = [v for v in material.videos if v.dataset == name and v.subject in source.fold.train]
        if any(len(v.events_of("micro")) for v in train):
            known[name] = spotting.prior_of(train)
    return known


@functools.lru_cache(maxsize=512)
def fitted_decoder(source, decoder, statistics):
    """The fold's decoder, fitted on validation subjects, as the run's was."""
    system = replace(OURS, decoder=decoder)
    return spotting_decoding.fitted(system, source.material, source.fold, statistics)


@functools.lru_cache(maxsize=64)
def decode_video(
    shown,
    decoder=OURS.decoder,
    statistics="",
    half_length=None,
    peak_fraction=decoders.PEAK_FRACTION,
    least=None,
):
    """Intervals of one video; untouched settings give those that the run has scored.

    Parameters
    ----------
    shown : LongVideo
    decoder : str
        One of spotting_decoding.DECODERS.
    statistics : str
        Data set whose durations are the prior; by default the video's own. Of both, the training fold's alone.
    half_length : int or None
        Half an event's length in samples; None takes the prior's. Not read by semi_markov and selector.
    peak_fraction : float in [0, 1]
        Threshold of the first three decoders; not read by the others.
    least : float or None
        Score below which an interval is dropped; None takes the tuned one.

    Returns
    -------
    DataFrame
        onset, apex, offset (samples), score, emotion ("neutral" was rejected), kept (bool), right (bool: it finds a
        micro-expression, at IoU .5).
    """
    statistics = statistics or shown.source.material.dataset
    fitted = fitted_decoder(shown.source, decoder, statistics)
    if decoder in ("semi_markov", "selector"):
        intervals = fitted.propose(shown.curves["micro"], shown.curves)
    else:
        settings = {"half_length": half_length, "peak_fraction": peak_fraction}
        prior = duration_priors(shown.source)[statistics]
        intervals = getattr(decoders, decoder)(shown.curves["micro"], prior, **settings)
    classed = spotting_decoding.classify(OURS, intervals, shown.curves)
    sure = intervals["score"] >= (fitted.least if least is None else least)
    sure &= intervals.index.isin(classed.index)
    emotion = classed["emotion"].reindex(intervals.index).fillna("neutral")
    place = {"subject": shown.video.subject, "video": shown.video.video}
    pairs = metrics.spotting(intervals[sure].assign(**place), spotting.annotated([shown.video]))["matches"]
    return intervals.assign(emotion=emotion, kept=sure, right=intervals.index.isin(pairs["predicted"]))


def mistakes(finished, dataset):
    """What our system misses and invents in all videos, each kind from its worst on.

    Parameters
    ----------
    finished : FinishedRun
    dataset : str

    Returns
    -------
    DataFrame
        what (missed, invented), subject, video, onset, offset (samples), size: of what was missed its seconds, of what was
        invented the score; the largest first.

    Raises
    ------
    DataError
        If the run has no weights of a fold.
    """
    sources = fold_curves(finished, dataset)
    for note in [note for source in sources for note in source.notes]:
        raise DataError(note)
    predicted = [spotting_decoding.predict(OURS, source.material) for source in sources]
    invented = spotting_decoding.accepted_intervals(pd.concat(predicted))
    missed = spotting.annotated([v for v in sources[0].material.videos if v.dataset == dataset])
    pairs = metrics.spotting(invented, missed)["matches"]
    missed = missed.assign(what="missed", size=missed["duration_s"]).drop(pairs["truth"])
    invented = invented.assign(what="invented", size=invented["score"]).drop(pairs["predicted"])
    columns = ["what", "subject", "video", "onset", "offset", "size"]
    kinds = [kind[columns].sort_values("size", ascending=False, kind="stable") for kind in (missed, invented)]
    return pd.concat(kinds, ignore_index=True)


@functools.lru_cache(maxsize=32)
def stretch(shown, first):
    """Some samples from ``first`` on: (n, S, S) crops, their landmarks, motion since the calmest, (n,) mask of faces."""
    parts = list(faces.follow(shown.paths[first : first + STRETCH], shown.video.fps))
    names = ("crops", "landmarks", "mask")
    crops, points, mask = (np.concatenate([getattr(part, name) for part in parts]) for name in names)
    middle = np.median(points[mask], axis=0) if mask.any() else np.zeros((68, 2))
    return crops, points, flow.window_inputs(crops, mask, middle)["flow"].astype(np.float32), mask


# ---- pictures -------------------------------------------------------------------------------------------------

_FONT = 8  # points: larger than in print, a screen is read from further away
# Panels: left, bottom, width, height as a share of the figure.
_PLACES = {
    "face": (0.01, 0.455, 0.26, 0.5),
    "motion": (0.28, 0.455, 0.26, 0.5),
    "about": (0.57, 0.455, 0.42, 0.5),
    "curves": (0.05, 0.09, 0.94, 0.27),
}
_LABEL: dict[str, Any] = {"color": style.INK, "linestyle": (0, (4, 2))}
# Of a long video: where bars lie above the curves, and their colours.
_KINDS = {"micro": (1.34, style.BLUE), "macro": (1.22, style.SKY), "blink": (1.1, style.YELLOW)}
_RIGHT: dict[str, Any] = {"facecolor": style.PURPLE, "alpha": 0.3, "linewidth": 0}
_INVENTED: dict[str, Any] = {
    "facecolor": "none",
    "edgecolor": style.PURPLE,
    "hatch": "////",
    "linewidth": 0.5,
}
_PALE = "#C8C8C8"


def event_picture(shown, number, landmarks=None):
    """Face, motion and curves around one event.

    Parameters
    ----------
    shown : Event
    number : int
        Native frame.
    landmarks : tuple of 3 int or None, optional
        Onset, apex and offset that make the label, perhaps moved; the annotated ones stay as a fine line.

    Returns
    -------
    matplotlib.figure.Figure
    """
    clip, fps, annotated = shown.clip, shown.row["fps"], _landmarks(shown.row)
    landmarks = landmarks or annotated
    k = int(np.abs(clip.numbers - number).argmin())
    title = f"frame {number}, {(number - clip.numbers[0]) / fps:.3f} s into the clip"
    face = (np.asarray(clip.frames[k]) if clip.mask[k] else None, clip.landmarks, title)
    moved: tuple = (None, None, 1, "motion: outside the window")
    sample = _sample_at(shown.positions, number)
    if sample is not None:
        since, most = shown.positions[shown.reference], _most(shown.motion)
        points = clip.landmarks * shown.motion.shape[-1] / clip.frames.shape[-1]
        moved = (shown.motion[sample], points, most, f"motion since frame {since:.0f}; up to {most:.1f} px")
    words = [f"{shown.row['subject']}/{shown.row['event']}", _lengths(landmarks, fps), *_agreement(shown)]
    fig, axis = _figure(shown.study, shown.row["subject"], face, moved, words)
    if shown.truth is not None:
        axis.fill_between(clip.numbers, 0, shown.truth, color="#D9D9D9", linewidth=0, label="true intensity")
    for name, width, marks in (("label", 1, landmarks), ("label as annotated", 0.5, annotated)):
        if None not in marks and list(marks) == sorted(marks):
            first, last = clip.numbers[[0, -1]]
            onset, apex, offset = (mark - first for mark in marks)
            label = priors.triangular(onset, apex, offset, last - first + 1)
            axis.plot(np.arange(first, last + 1), label, linewidth=width, label=name, **_LABEL)
    for name, curve in shown.curves.items():
        colour = style.INPUT_COLOURS[name]
        axis.plot(shown.positions, curve, color=colour, linewidth=1.2, label=f"predicted from {name}")
    axis.set(xlim=(clip.numbers[0], max(clip.numbers[-1], clip.numbers[0] + 1)), ylim=(0, 1.1))
    x = f"frame of the video, counted from 0 ({fps:g} a second)"
    _finish(axis, x, "share of the peak", axis.get_legend_handles_labels()[0], number, landmarks)
    return fig


def _landmarks(row):
    """Onset, apex and offset of a row of the events table: tuple of 3 int or None."""
    return tuple(None if pd.isna(row[mark]) else int(row[mark]) for mark in MARKS)


def _agreement(shown):
    """Words on an event: its true peak where it is known, and how well the network on each input agrees."""
    scored = [name for name in METRICS if name in set(shown.scores["metric"])]
    if not scored:
        return ["not scored under this protocol", "", *shown.notes]
    peak = shown.scores["peak_px"].iloc[0]
    value = _where(shown.scores, metric=scored[0]).groupby("input")["value"].mean()
    size = [] if pd.isna(peak) else [f"true peak {peak:.2f} pixels of the crop"]
    lines = [f"    {name}: {value[name]:.2f}" for name in INPUTS if name in value]
    return [*size, "", f"{results.METRICS[scored[0]]}:", *lines, "", *shown.notes]


def _lengths(landmarks, fps):
    """Landmarks of an event in words: their frames, and how long it lasts."""
    onset, apex, offset = landmarks
    words = ", ".join(
        f"{mark} {'none' if at is None else at}" for mark, at in zip(MARKS, landmarks, strict=True)
    )
    rise = "" if apex is None else f"{(apex - onset) / fps * 1000:.0f} ms to the apex, "
    return f"{words}: {rise}{(offset - onset) / fps * 1000:.0f} ms in all"


def _sample_at(positions, number):
    """Sample of a window that shows a native frame, or None outside the window."""
    if len(positions) < 2:
        return None
    half = (positions[1] - positions[0]) / 2
    inside = positions[0] - half <= number <= positions[-1] + half
    return int(np.abs(positions - number).argmin()) if inside else None


def _most(motion):
    """Length of motion that gets the brightest colour: that of all samples together, at least a pixel."""
    return max(1.0, float(np.percentile(np.linalg.norm(motion, axis=1), 99.5)))


def video_picture(shown, t, intervals=None, landmarks=UNKNOWN):
    """Face, motion, score curves, annotation and intervals of one long video.

    Parameters
    ----------
    shown : LongVideo
    t : int
        Sample.
    intervals : DataFrame or None
        As `decode_video` returns.
    landmarks : tuple of 3 int or None
        Onset, apex and offset of an event, native frames.

    Returns
    -------
    matplotlib.figure.Figure
    """
    video, seconds = shown.video, np.arange(len(shown.video)) / shown.video.fps
    crops, points, motion, mask = stretch(shown, t // STRETCH * STRETCH)
    k, scale, most = t % STRETCH, motion.shape[-1] / crops.shape[-1], _most(motion)
    face = (crops[k] if mask[k] else None, points[k], f"frame {video.numbers[t]}, {seconds[t]:.2f} s")
    title = f"motion within these two seconds; up to {most:.1f} px"
    moved = (motion[k] if mask[k] else None, points[k] * scale, most, title)
    words = [f"{video.subject}/{video.video}", *_in_words(shown, intervals)]
    fig, axis = _figure(shown.source.study, video.subject, face, moved, words)
    for kind, (_, colour) in _KINDS.items():
        if shown.curves is not None and kind in shown.curves:
            axis.plot(seconds, shown.curves[kind], color=colour, linewidth=1 if kind == "micro" else 0.6)

    def bar(row, height, colour):
        span = np.array([row.onset, row.offset + 1]) / video.fps
        axis.plot(span, [height] * 2, color=colour, linewidth=3, solid_capstyle="butt")
        return span

    for row in video.events.itertuples():
        bar(row, *_KINDS[row.kind])
    for i, row in enumerate(() if intervals is None else intervals.itertuples()):
        span = bar(row, 1.48, style.PURPLE if row.kept else _PALE)
        if row.kept:
            axis.axvspan(*span, ymax=0.56, **(_RIGHT if row.right else _INVENTED))
            height = (1.54, 1.67)[i % 2]  # neighbours' scores at two heights
            axis.annotate(f"{row.score:.2f}", (span.mean(), height), ha="center", fontsize=_FONT)
    axis.set(xlim=(0, max(seconds[-1], 1)), ylim=(-0.03, 1.8), yticks=[0, 0.5, 1])
    scored = "" if shown.curves is None else ", score"
    names: dict = {f"annotated {kind}{scored}": {"color": colour} for kind, (_, colour) in _KINDS.items()}
    names |= {"found, right": _RIGHT, "found, invented": _INVENTED, "below the least score": {"color": _PALE}}
    patches = [Patch(label=name, **about) for name, about in names.items()]
    marks = [None if at is None else np.interp(at, video.numbers, seconds) for at in landmarks]
    _finish(axis, "seconds", "score", patches, seconds[t], marks)
    return fig


def _in_words(shown, intervals):
    """What was found in a video: list of str, a line an interval that is kept, in order of time, at most ten."""
    if intervals is None:
        return shown.source.notes or ["Nothing was decoded."]
    sure, fps = intervals[intervals["kept"]], shown.video.fps
    right, events = int(sure["right"].sum()), len(shown.video.events_of("micro"))
    lines = [f"{right} of {events} micro-expressions found, {len(sure) - right} invented.", ""]
    for row in sure.head(10).itertuples():
        times = f"{row.onset / fps:6.2f} to {row.offset / fps:.2f} s"
        lines.append(f"{times}   {row.emotion}   {row.score:.2f}   {'right' if row.right else 'invented'}")
    return [*lines, *(["..."] if len(sure) > 10 else [])]


def png(fig):
    """The bytes of a picture."""
    file = io.BytesIO()
    FigureCanvasAgg(fig).print_png(file, pil_kwargs={"compress_level": 1})
    return file.getvalue()


def _figure(study, subject, face, moved, words):
    """Figure with face (image, landmarks, title), motion (field, landmarks, most, title) and words; the curves' axis."""
    with style.context():
        fig = Figure(figsize=(10, 5.2), dpi=100)
        fig.set_layout_engine("none")
        axes = {name: fig.add_axes(place) for name, place in _PLACES.items()}
    nothing: dict[str, Any] = {"ha": "center", "va": "center", "color": style.GREY, "fontsize": _FONT}
    for name, (panel, *_, title) in (("face", face), ("motion", moved)):
        axes[name].set_title(title, fontsize=_FONT, loc="left")
        if panel is None:
            axes[name].text(0.5, 0.5, f"no {name} found here", **nothing)
            axes[name].set(xticks=[], yticks=[])
    if face[0] is not None:
        pictures.show_face(axes["face"], study, subject, *face[:2])
    if moved[0] is not None:
        pictures.arrows(axes["motion"], *moved[:2]).set_clim(0, moved[2])
    axes["about"].axis("off")
    lines = "\n".join(textwrap.fill(line, 68, drop_whitespace=False) for line in words)
    axes["about"].text(0, 1, lines, va="top", fontsize=_FONT, linespacing=1.4)
    return fig, axes["curves"]


def _finish(axis, x, y, handles, cursor, marks):
    """Names of the axes, a line above the curves that says what each is, the frame that is shown, and landmarks."""
    axis.tick_params(labelsize=_FONT)
    axis.set_xlabel(x, fontsize=_FONT)
    axis.set_ylabel(y, fontsize=_FONT)
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.08), "borderaxespad": 0, "ncols": 9}
    axis.legend(handles=handles, columnspacing=1.4, handlelength=1.8, fontsize=_FONT, frameon=False, **place)
    axis.axvline(cursor, color=style.INK, linewidth=1)
    sides = ("right", "center", "left")  # three that are close together can still be read
    for mark, at, side in zip(MARKS, marks, sides, strict=True):
        if at is not None:
            axis.axvline(at, color=style.PURPLE, linewidth=0.8, linestyle=":")
            top = (at, axis.get_ylim()[1])
            axis.annotate(mark, top, ha=side, va="bottom", color=style.PURPLE, fontsize=_FONT)


# ---- menus and sliders ----------------------------------------------------------------------------------------

_LABELLED = {"style": {"description_width": "85px"}}
_WIDE = {**_LABELLED, "layout": widgets.Layout(width="820px")}


def events_panel(finished):
    """Clips: one event at a time, listed from the worst on; scrub its frames, move its landmarks.

    Parameters
    ----------
    finished : FinishedRun

    Returns
    -------
    widget
    """
    if not finished.short:
        return _sentence(f"{finished.run.folder} holds no clips; make some with `{finished.command}`.")
    dataset, protocol, input_ = _menu("data set", finished.short), _menu("windows"), _menu("input", INPUTS)
    metric, name, place = _menu("worst by", width="420px"), _menu("event", width="420px"), widgets.VBox()

    def choose(changed):
        if changed is dataset:
            context = finished.short[dataset.value].manifest.has_context
            _offer(protocol, ["context", "paper"] if context else ["paper"])
        if changed in (dataset, protocol):
            table = _where(finished.scores, dataset=dataset.value, protocol=protocol.value)
            scored = [key for key in METRICS if key in set(table["metric"])]
            _offer(metric, [(results.METRICS[key], key) for key in scored])
        if changed is not name:
            events = ranked(finished, dataset.value, protocol.value, metric.value, input_.value)
            events["label"] = events["value"].map("{:.3g}".format).replace("nan", "not scored")
            rows = list(events.itertuples())
            _offer(
                name, [(f"{row.subject}/{row.event}, {row.label}", (row.subject, row.event)) for row in rows]
            )
        place.children = [_or_sentence(_event_view, finished, dataset.value, *name.value, protocol.value)]

    _observe(choose, dataset, protocol, input_, metric, name)
    choose(dataset)
    return widgets.VBox([widgets.HBox([dataset, protocol, input_]), widgets.HBox([metric, name]), place])


def _event_view(finished, dataset, subject, name, protocol):
    """Picture, frames and review of one event."""
    shown, picture = event(finished, dataset, subject, name, protocol), _picture()
    numbers, (onset, apex, _) = shown.clip.numbers, _landmarks(shown.row)
    frame, frames = _frames(numbers[0], numbers[-1], onset if apex is None else apex)

    def draw(_=None):
        picture.value = png(event_picture(shown, frame.value, tuple(landmarks.values())))

    def look(number):
        if number == frame.value:
            draw()
        frame.value = number

    first, last = int(numbers[0]), int(numbers[-1])
    landmarks, box = review.panel(_session(finished, dataset), subject, name, first, last, look)
    _observe(draw, frame)
    draw()
    return widgets.VBox([picture, frames, box])


def videos_panel(finished):
    """Long videos: one at a time, with everything that turns scores into intervals.

    Parameters
    ----------
    finished : FinishedRun

    Returns
    -------
    widget
    """
    if not finished.long:
        return _sentence(f"{finished.run.folder} holds no long videos; make some with `{finished.command}`.")
    dataset, name, place = _menu("data set", finished.long), _menu("video"), widgets.VBox()
    find, mistake = widgets.Button(description="list mistakes"), _menu("mistakes", width="420px")

    def choose(changed):
        first = 0
        if changed is dataset:
            rows = list(finished.long[dataset.value].videos.itertuples())
            _offer(name, [(f"{row.subject}/{row.video}", (row.subject, row.video)) for row in rows])
            _offer(mistake, [])
        if changed is mistake and mistake.value:
            *video, first = mistake.value
            name.value = tuple(video)
        place.children = [_or_sentence(_video_view, finished, dataset.value, *name.value, first)]

    def list_mistakes(_):
        find.description = "decoding all videos ..."
        sentence = _or_sentence(offer)
        place.children = [sentence] if sentence else place.children
        find.description = "list mistakes"

    def offer():
        rows = [
            (f"{row.what}, {row.subject}/{row.video}, {row.size:.2f}", (row.subject, row.video, row.onset))
            for row in mistakes(finished, dataset.value).itertuples()
        ]
        _offer(mistake, rows)

    find.on_click(list_mistakes)
    _observe(choose, dataset, name, mistake)
    choose(dataset)
    return widgets.VBox([widgets.HBox([dataset, name]), widgets.HBox([find, mistake]), place])


def _video_view(finished, dataset, subject, name, first):
    """Picture, frames, decoder and review of one long video."""
    shown, picture, under_review = long_video(finished, dataset, subject, name), _picture(), widgets.VBox()
    video, source = shown.video, shown.source
    frame, frames = _frames(0, len(video) - 1, first)
    decoder = _menu("decoder", spotting_decoding.DECODERS)
    prior = _menu("prior", [(f"durations of {name}", name) for name in duration_priors(source)])
    about: dict[str, Any] = {"min": 0, "max": 1, "readout_format": ".3f", **_WIDE}
    half_length = _slider("half length", 1, 60, 1)
    peak_fraction = widgets.FloatSlider(description="threshold", step=0.05, **about)
    least = widgets.FloatSlider(description="least score", step=0.001, **about)
    settings = (decoder, prior, half_length, peak_fraction, least)
    rows = list(video.events.itertuples())
    events = [(f"{row.kind}, {row.onset / video.fps:.1f} s", row.event) for row in rows]
    annotated = _menu("event", [("", None), *events])
    landmarks, tuned = dict.fromkeys(MARKS), 0.0
    decoder.value = OURS.decoder

    def draw():
        intervals = None
        if shown.curves is not None:
            # A page rounds to the slider's step: untouched, it means the tuned score itself.
            known = None if np.isclose(least.value, tuned) else least.value
            intervals = decode_video(shown, *(control.value for control in settings[:-1]), known)
        picture.value = png(video_picture(shown, frame.value, intervals, tuple(landmarks.values())))

    def look(number):
        sample = int(np.abs(video.numbers - number).argmin())
        if sample == frame.value:
            draw()
        frame.value = sample

    def choose(changed):
        nonlocal landmarks, tuned
        if changed in (decoder, prior) and shown.curves is not None:  # begin at what the training fold says
            half_length.value = int(duration_priors(source)[prior.value].duration.half_length)
            peak_fraction.value = decoders.PEAK_FRACTION
            tuned = float(np.clip(fitted_decoder(source, decoder.value, prior.value).least, 0, 1).round(3))
            least.value = tuned
        if changed is annotated and annotated.value:
            start, stop = int(video.numbers[0]), int(video.numbers[-1])
            session = _session(finished, dataset)
            landmarks, box = review.panel(session, subject, annotated.value, start, stop, look)
            under_review.children = [box]
            frame.value = int(np.abs(video.numbers - landmarks["onset"]).argmin())
        draw()

    _observe(choose, frame, annotated, *settings)
    choose(decoder)
    for control in settings:
        control.disabled = shown.curves is None
    rule = widgets.HBox([decoder, prior])
    return widgets.VBox([picture, frames, rule, half_length, peak_fraction, least, annotated, under_review])


@functools.lru_cache(maxsize=16)
def _session(finished, dataset):
    """The session in which a data set is reviewed: a review.Review of its tables."""
    study = {**finished.short, **finished.long}[dataset]
    return review.Review(study.manifest, manifest.tables(study.manifest, study.root))


def _menu(name, options=(), width="270px"):
    layout = widgets.Layout(width=width)
    return widgets.Dropdown(description=name, options=list(options), layout=layout, **_LABELLED)


def _offer(menu, options):
    """Give a menu other options, the first of them chosen."""
    menu.options = options
    menu.index = 0 if options else None


def _slider(name, first, last, value):
    return widgets.IntSlider(description=name, min=int(first), max=int(last), value=int(value), **_WIDE)


def _frames(first, last, value):
    """A slider over frames, and a row with it and a button that plays them."""
    slider = _slider("frame", first, last, value)
    play = widgets.Play(interval=300, min=slider.min, max=slider.max, value=slider.value)
    widgets.jslink((play, "value"), (slider, "value"))
    return slider, widgets.HBox([play, slider])


def _picture():
    return widgets.Image(format="png", layout=widgets.Layout(width="1000px", height="520px"))


def _sentence(words):
    return widgets.HTML(html.escape(words))


def _or_sentence(view, *arguments):
    """What a function returns, or the sentence that says why it can't."""
    with capture_output():  # progress bars of what is read
        try:
            return view(*arguments)
        except DataError as error:
            return _sentence(str(error))


def _observe(function, *controls):
    """Call a function with the control that was changed, but not for what it changes itself."""
    busy = False

    def observer(change):
        nonlocal busy
        if not busy:
            busy = True
            try:
                function(change["owner"])
            finally:
                busy = False

    for control in controls:
        control.observe(observer, "value")

"""Look at a finished run frame by frame: an event of a clip, or a long video and what is decoded from its scores.

    data, cache, weights --+--> event       crops, motion, truth, curves --> event_picture --+--> menus and sliders:
    of a run's folder      +--> long_video  scores -> decode -> intervals -> video_picture --+    *_panel

Nothing is trained or written. Every curve comes from a model of the run that never saw its subject. A face is drawn by
pictures.show_face alone, which asks for the licence; anybody else appears as landmarks.
"""

import functools
import html
import io
import textwrap
from dataclasses import dataclass, replace
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
from IPython.utils.capture import capture_output
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from melib import learn, metrics, priors
from melib.app import pictures
from melib.app.finished import MODEL, rows_where
from melib.data import manifest
from melib.errors import DataError
from melib.paper import style
from melib.study import intensity, results, spotting, spotting_decoding, spotting_runs
from melib.study.data import Study, folds_of, with_clips
from melib.vision import faces, flow

OURS = spotting_runs.OURS
MARKS = ("onset", "apex", "offset")
# By what an event is ranked: the first of these metrics of intensity.csv that it was scored by.
METRICS = ("inside_spearman_true", "spearman_pseudo")
# Samples of a long video that are aligned, and whose motion is measured, together: two seconds.
STRETCH = 64


def _usable(study):
    """Events that can be looked at: those that weren't dropped."""
    return study.events[study.events["status"] != "dropped"]


def _protocol(study):
    """Whose windows are shown: where the data allow it, those in which position says nothing."""
    return "context" if study.manifest.has_context else "paper"


def ranked(finished, dataset):
    """Events of a data set from the worst to the best, by the network's agreement on flow.

    Parameters
    ----------
    finished : FinishedRun
    dataset : str

    Returns
    -------
    DataFrame
        subject, event, value (the first of ``METRICS`` that there is, mean over seeds). Every usable event once; those
        that were never scored come last, NaN.
    """
    study = finished.short[dataset]
    scored = rows_where(finished.scores, dataset=dataset, protocol=_protocol(study), input="flow")
    metric = next((name for name in METRICS if name in set(scored["metric"])), "")
    value = rows_where(scored, metric=metric).groupby(["subject", "event"], as_index=False)["value"].mean()
    events = _usable(study)[["subject", "event"]].merge(value, how="left")
    return events.sort_values("value", kind="stable", ignore_index=True)


# ---- an event -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Event:
    """One event with everything around it.

    ``row`` of the events table; ``clip`` its video, aligned; ``truth`` (F,) the true profile on the clip's frames, or None.
    Of the window that was scored: ``positions`` (T,) native frames of its samples, empty where no window holds the event;
    ``motion`` (T, 2, s, s) float32 of the skin since sample ``reference``, crop pixels; ``curves`` dict input -> (T,)
    predicted intensity, NaN where no face was found. ``words``: how well each agrees, and what is missing.
    """

    study: Study
    row: pd.Series
    clip: faces.Clip
    truth: np.ndarray | None
    positions: np.ndarray
    motion: np.ndarray
    reference: int
    curves: dict
    words: tuple


@functools.lru_cache(maxsize=8)
def event(finished, dataset, subject, name):
    """Read one event: its clip, the window that was scored, and what the run's models predict there.

    Parameters
    ----------
    finished : FinishedRun
    dataset, subject, name : str
        As in the events table.

    Returns
    -------
    Event

    Raises
    ------
    DataError
        If its frames can't be read.
    """
    study = finished.short[dataset]
    rows = rows_where(_usable(study), subject=subject, event=name)
    place = {"subject": subject, "video": rows.iloc[0]["video"]}
    # As if the study held this video alone: windows and keys of the cache don't depend on the others.
    truth = None if study.truth is None else rows_where(study.truth, **place)
    parts = {part: rows_where(getattr(study, part), **place) for part in ("videos", "events")}
    alone = with_clips(replace(study, **parts, truth=truth), finished.run)
    (clip,) = alone.clips
    if truth is not None:
        truth = np.interp(clip.numbers, truth["frame"], truth["profile"])
    return Event(study, rows.iloc[0], clip, truth, *_window(finished, alone, name))


def _window(finished, alone, name):
    """Of the window that is scored: positions, motion, reference, curves; and words on them."""
    nothing: tuple = (np.zeros(0), np.zeros((0, 2, 1, 1), np.float32), 0, {})
    protocol = _protocol(alone)
    try:
        prepared = intensity.prepare_windows(alone, protocol, finished.run)
    except DataError as error:
        return *nothing, (str(error),)
    rows = [i for i in prepared.first_complete() if prepared.table["event"][i] == name]
    if not rows:
        note = f"No window of protocol '{protocol}' holds {name} whole, so that nothing was predicted."
        return *nothing, (note,)
    window, curves, words = prepared.load(rows), {}, []
    if finished.scores.empty:
        words = [f"{finished.run.folder} has no results/intensity.csv; make it with `{finished.command}`."]
    place = {
        "dataset": alone.name,
        "protocol": protocol,
        "event": name,
        "subject": alone.events["subject"].iloc[0],
    }
    scores = rows_where(finished.scores, **place)
    metric = next((metric for metric in METRICS if metric in set(scores["metric"])), "")
    for input_ in style.INPUT_COLOURS:
        known = rows_where(scores, input=input_, metric=metric)
        # The scores say whose test subject this is: no model is asked of somebody that it was trained on.
        for fit in known.head(1).itertuples():
            words.append(f"{results.METRICS[metric]}, {input_}: {known['value'].mean():.2f}")
            job = intensity.Job(alone.name, protocol, MODEL, input_, int(fit.fold), int(fit.seed))
            try:
                fitted = _weights(finished, job.name, learn.windows.FitSettings)
            except DataError as error:
                words.append(str(error))
                continue
            curve = learn.windows.predict_windows(fitted, window, device="cpu")[0]
            curves[input_] = np.where(prepared.mask[rows[0]], curve, np.nan)
    motion, reference = window.flow[0].astype(np.float32), int(window.reference[0])
    return prepared.positions[rows[0]], motion, reference, curves, tuple(words)


@functools.lru_cache(maxsize=16)
def _weights(finished, name, settings):
    """A fit of the run, of the kind that these settings make."""
    folder = finished.run.folder / "weights" / name
    if not (folder / "settings.yml").is_file():
        raise DataError(
            f"{finished.run.folder} has no weights of {name}; make them with `{finished.command}`."
        )
    return learn.windows.load_fit(folder, settings)


# ---- a long video ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LongVideo:
    """One long video that is looked at.

    ``material`` is of the fold alone that tests its subject; ``curves`` as `spotting_decoding.curves_of` returns, None where
    the run has no model of that fold, which ``command`` makes; ``paths`` the frames of the samples.
    """

    study: Study
    material: spotting_decoding.Material
    video: spotting.Video
    curves: dict | None
    paths: list
    command: str


@functools.lru_cache(maxsize=8)
def fold_curves(finished, dataset):
    """What the run's models say of a data set's long videos: list of spotting_decoding.Material, one a fold.

    Curves are those of the fold's validation and test videos; there are none where the run has no model of it.
    """
    study, run = finished.long[dataset], finished.run
    folds = folds_of(study, run, validation_share=run.settings["spotting"]["validation_share"])
    videos = spotting.prepare_videos(study, run, windows=False)
    return [_fold_curves(finished, videos, fold) for fold in folds]


def _fold_curves(finished, videos, fold):
    name, seed = videos[0].dataset, finished.run.seed
    material = spotting_decoding.Material(name, videos, [fold], {}, {}, {}, seed)
    (fit,) = spotting_decoding.fits_of(OURS, name, [fold], seed)
    try:
        fitted = _weights(finished, fit.name, learn.videos.VideoSettings)
    except DataError:
        return material
    asked = [v for v in videos if v.subject in {*fold.validation, *fold.test}]
    spoken = learn.videos.predict_curves(fitted, [spotting.sequences(v, fit)[0] for v in asked], device="cpu")
    prior = np.array(fitted.scale["class_prior"])
    log_prior = np.log(prior, where=prior > 0, out=np.full(len(prior), -np.inf))
    curves = {
        (v.dataset, v.subject, v.video): spotting.Curves(out["scores"], out["logits"], log_prior)
        for v, out in zip(asked, spoken, strict=True)
    }
    return replace(material, curves={fit: curves})


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
    study = finished.long[dataset]
    material = next(part for part in fold_curves(finished, dataset) if subject in part.folds[0].test)
    video = next(v for v in material.videos if (v.subject, v.video) == (subject, name))
    place = rows_where(study.videos, subject=subject, video=name)["folder"].iloc[0]
    numbers, paths = manifest.frame_files(place, study.manifest)
    curves = None
    if material.curves:
        curves = spotting_decoding.curves_of(OURS, material, material.folds[0], video)
    frames = [paths[i] for i in np.searchsorted(numbers, video.numbers)]
    return LongVideo(study, material, video, curves, frames, finished.command)


@functools.lru_cache(maxsize=64)
def decode_video(shown, decoder=OURS.decoder):
    """Intervals of one video, as the run has scored them.

    Parameters
    ----------
    shown : LongVideo
    decoder : str
        One of spotting_decoding.DECODERS.

    Returns
    -------
    DataFrame
        As `spotting_decoding.decode_system` returns, and right (bool: it finds a micro-expression, at IoU .5).
    """
    place = {"subject": shown.video.subject, "video": shown.video.video}
    intervals = spotting_decoding.decode_system(replace(OURS, decoder=decoder), shown.material)
    intervals = rows_where(intervals, **place).reset_index(drop=True)
    accepted = intervals[intervals["kept"]]
    pairs = metrics.spotting(accepted, spotting.annotated([shown.video]))["matches"]
    return intervals.assign(right=intervals.index.isin(pairs["predicted"]))


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
        invented the score; the largest first. None where the run has no weights of a fold.
    """
    materials = fold_curves(finished, dataset)
    if not all(material.curves for material in materials):
        return pd.DataFrame()
    invented = pd.concat([spotting_decoding.decode_system(OURS, material) for material in materials])
    invented = spotting_decoding.accepted_intervals(invented)
    missed = spotting.annotated(materials[0].videos)
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
# Of a long video: where bars lie above the curves, and their colours.
_KINDS = {"micro": (1.34, style.BLUE), "macro": (1.22, style.SKY), "blink": (1.1, style.YELLOW)}
_RIGHT: dict[str, Any] = {"facecolor": style.PURPLE, "alpha": 0.3, "linewidth": 0}
_INVENTED: dict[str, Any] = {"fc": "none", "ec": style.PURPLE, "hatch": "////", "lw": 0.5}
_PALE = "#C8C8C8"


def event_picture(shown, number):
    """Face, motion and curves around one event.

    Parameters
    ----------
    shown : Event
    number : int
        Native frame.

    Returns
    -------
    matplotlib.figure.Figure
    """
    clip, fps, landmarks = shown.clip, shown.row["fps"], _landmarks(shown.row)
    k = int(np.abs(clip.numbers - number).argmin())
    title = f"frame {number}, {(number - clip.numbers[0]) / fps:.3f} s into the clip"
    face = (np.asarray(clip.frames[k]) if clip.mask[k] else None, clip.landmarks, title)
    moved: tuple = (None, None, 1, "motion: outside the window")
    sample = _sample_at(shown.positions, number)
    if sample is not None:
        since, most = shown.positions[shown.reference], _most(shown.motion)
        points = clip.landmarks * shown.motion.shape[-1] / clip.frames.shape[-1]
        moved = (shown.motion[sample], points, most, f"motion since frame {since:.0f}; up to {most:.1f} px")
    marks = ", ".join(f"{mark} {at}" for mark, at in zip(MARKS, landmarks, strict=True) if at is not None)
    words = [f"{shown.row['subject']}/{shown.row['event']}", marks, "", *shown.words]
    fig, axis = _figure(shown.study, shown.row["subject"], face, moved, words)
    if shown.truth is not None:
        axis.fill_between(clip.numbers, 0, shown.truth, color="#D9D9D9", linewidth=0, label="true intensity")
    if None not in landmarks:
        first, last = clip.numbers[[0, -1]]
        onset, apex, offset = (mark - first for mark in landmarks)
        label = priors.triangular(onset, apex, offset, last - first + 1)
        axis.plot(np.arange(first, last + 1), label, "--", color=style.INK, linewidth=1, label="label")
    for name, curve in shown.curves.items():
        colour = style.INPUT_COLOURS[name]
        axis.plot(shown.positions, curve, color=colour, linewidth=1.2, label=f"predicted from {name}")
    axis.set(xlim=(clip.numbers[0], max(clip.numbers[-1], clip.numbers[0] + 1)), ylim=(0, 1.1))
    x = f"frame of the video, counted from 0 ({fps:g} a second)"
    _finish(axis, x, "share of the peak", axis.get_legend_handles_labels()[0], number)
    sides = ("right", "center", "left")  # three that are close together can still be read
    for mark, at, side in zip(MARKS, landmarks, sides, strict=True):
        if at is not None:
            axis.axvline(at, color=style.PURPLE, linewidth=0.8, linestyle=":")
            axis.annotate(mark, (at, 1.1), ha=side, va="bottom", color=style.PURPLE, fontsize=_FONT)
    return fig


def _landmarks(row):
    """Onset, apex and offset of a row of the events table: tuple of 3 int or None."""
    return tuple(None if pd.isna(row[mark]) else int(row[mark]) for mark in MARKS)


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


def video_picture(shown, t, intervals=None):
    """Face, motion, score curves, annotation and intervals of one long video.

    Parameters
    ----------
    shown : LongVideo
    t : int
        Sample.
    intervals : DataFrame or None
        As `decode_video` returns.

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
    words = [f"{video.subject}/{video.video}", f"No weights of its fold; make them with `{shown.command}`."]
    if intervals is not None:
        accepted, events = intervals[intervals["kept"]], len(video.events_of("micro"))
        right, wrong = accepted["right"].sum(), (~accepted["right"]).sum()
        words[1] = f"{right} of {events} micro-expressions found, {wrong} invented."
    fig, axis = _figure(shown.study, video.subject, face, moved, words)
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
    names: dict = {f"{kind}: annotated, score": {"color": colour} for kind, (_, colour) in _KINDS.items()}
    names |= {"found, right": _RIGHT, "found, invented": _INVENTED, "below the least score": {"color": _PALE}}
    patches = [Patch(label=name, **about) for name, about in names.items()]
    _finish(axis, "seconds", "score", patches, seconds[t])
    return fig


def png(fig):
    """The bytes of a picture."""
    file = io.BytesIO()
    fig.savefig(file, format="png", pil_kwargs={"compress_level": 1})
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


def _finish(axis, x, y, handles, cursor):
    """Names of the axes, a line above the curves that says what each is, and the frame that is shown."""
    axis.tick_params(labelsize=_FONT)
    axis.set_xlabel(x, fontsize=_FONT)
    axis.set_ylabel(y, fontsize=_FONT)
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.08), "borderaxespad": 0, "ncols": 9}
    axis.legend(handles=handles, columnspacing=1.4, handlelength=1.8, fontsize=_FONT, frameon=False, **place)
    axis.axvline(cursor, color=style.INK, linewidth=1)


# ---- menus and sliders ----------------------------------------------------------------------------------------


def events_panel(finished):
    """Clips: one event at a time, listed from the worst on; scrub its frames.

    Parameters
    ----------
    finished : FinishedRun

    Returns
    -------
    widget
    """

    def listed(dataset):
        for row in ranked(finished, dataset).itertuples():
            value = "not scored" if np.isnan(row.value) else f"{row.value:.2f}"
            yield f"{row.subject}/{row.event}, {value}", (dataset, row.subject, row.event)

    return _panel(finished, finished.short, "clips", listed, _event_view)


def videos_panel(finished):
    """Long videos: one at a time, the worst mistakes first, with the decoder that turns scores into intervals.

    Parameters
    ----------
    finished : FinishedRun

    Returns
    -------
    widget
    """

    def listed(dataset):
        for row in mistakes(finished, dataset).itertuples():
            label = f"{row.what}, {row.subject}/{row.video}, {row.size:.2f}{' s' * (row.what == 'missed')}"
            yield label, (dataset, row.subject, row.video, row.onset)
        for row in finished.long[dataset].videos.itertuples():
            yield f"{row.subject}/{row.video}", (dataset, row.subject, row.video, 0)

    return _panel(finished, finished.long, "long videos", listed, _video_view)


def _panel(finished, studies, what, listed, view):
    """A menu of data sets and one of what is listed of each; below them the view of what is chosen."""
    if not studies:
        return _sentence(f"{finished.run.folder} holds no {what}; make some with `{finished.command}`.")
    dataset, chosen, place = _menu("data set", studies), _menu("show", (), "420px"), widgets.VBox()

    def show(_):
        with capture_output():  # progress bars of what is read
            try:
                place.children = [view(finished, *chosen.value)]
            except DataError as error:
                place.children = [_sentence(str(error))]

    def offer(_):
        with capture_output():
            chosen.options = list(listed(dataset.value))
            chosen.index = 0 if chosen.options else None  # an empty menu that is filled chooses nothing

    chosen.observe(show, "value")
    dataset.observe(offer, "value")
    offer(None)
    return widgets.VBox([widgets.HBox([dataset, chosen]), place])


def _event_view(finished, dataset, subject, name):
    shown = event(finished, dataset, subject, name)
    first, last = shown.clip.numbers[[0, -1]]
    return _scrubbed(first, last, shown.row["onset"], lambda frame: event_picture(shown, frame))


def _video_view(finished, dataset, subject, name, start):
    shown, decoder = (
        long_video(finished, dataset, subject, name),
        _menu("decoder", spotting_decoding.DECODERS),
    )
    decoder.value, decoder.disabled = OURS.decoder, shown.curves is None

    def draw(t):
        return video_picture(shown, t, None if decoder.disabled else decode_video(shown, decoder.value))

    return _scrubbed(0, len(shown.video) - 1, start, draw, decoder)


def _scrubbed(first, last, value, draw, *controls):
    """A picture over a slider of frames with a button that plays them, and further controls that change the picture."""
    picture = widgets.Image(format="png", layout=widgets.Layout(width="1000px", height="520px"))
    span = {"min": int(first), "max": int(last), "value": int(value)}
    frame = widgets.IntSlider(description="frame", layout=widgets.Layout(width="820px"), **span)
    play = widgets.Play(interval=300, **span)
    widgets.jslink((play, "value"), (frame, "value"))

    def show(_):
        picture.value = png(draw(frame.value))

    for control in (frame, *controls):
        control.observe(show, "value")
    show(None)
    return widgets.VBox([picture, widgets.HBox([play, frame]), *controls])


def _menu(name, options, width="270px"):
    return widgets.Dropdown(description=name, options=list(options), layout=widgets.Layout(width=width))


def _sentence(words):
    return widgets.HTML(html.escape(words))

"""Plots of the data itself: events, curves, faces and their motion. Plots of results are in melib/paper.

A face is drawn only where faces.may_show allows it; anybody else appears as landmarks and flow. All pixels of faces go
through `_face`, which asks; nothing else here, and no other module, draws an image (tests/test_private.py holds it to that).
"""

import matplotlib.pyplot as plt
import numpy as np

from melib import priors
from melib.data import manifest
from melib.errors import DataError
from melib.paper import style
from melib.vision import faces

_GREY = style.GREY
_DASHES = {
    "triangular": "-",
    "boxcar": (0, (5, 1.5)),
    "half_apex": (0, (1.5, 1)),
    "gaussian": (0, (4, 1.2, 1, 1.2)),
    "raised_cosine": (0, (8, 1.5)),
}
# Pixels of motion below which an arrow would be a dot.
_LEAST_ARROW = 0.1
_COLOURS = (style.BLUE, style.ORANGE, style.GREEN)


def events_picture(study, statistics=None):
    """Durations, apex positions and true peaks of a data set's events.

    Parameters
    ----------
    study : data.Study
    statistics : dict, optional
        One entry of event_statistics.json, drawn as the 5 to 95 % range and the median of a real data set.

    Returns
    -------
    matplotlib.figure.Figure
    """
    used = study.events[study.events["status"] != "dropped"]
    length = (used["offset"] - used["onset"]).astype(float)
    seconds = ((length + 1) / used["fps"]).to_numpy(float)
    position = ((used["apex"] - used["onset"]).astype(float) / length).dropna().to_numpy(float)
    panels: list[tuple] = [
        ("Duration, s", seconds, "duration_s"),
        ("Apex position, from onset (0) to offset (1)", position, "apex_position"),
    ]
    if study.truth is not None:
        inside = study.truth[study.truth["event"] != ""]
        panels.append(
            (
                "True peak, pixels of the 112-pixel crop",
                inside.groupby(["subject", "event"])["peak_px"].max().to_numpy(),
                None,
            )
        )
    with style.context():
        fig, axes = plt.subplots(1, len(panels), figsize=(style.TWO_COLUMNS, 2.1))
        for ax, (label, values, key) in zip(axes, panels, strict=True):
            ax.hist(values, bins=20, color=style.BLUE)
            ax.set(xlabel=label, ylabel="Events")
            if statistics and key:
                low, _, middle, _, high = statistics[key]
                top = ax.get_ylim()[1]
                ax.plot([low, high], [top, top], color="black", lw=2, solid_capstyle="butt", clip_on=False)
                ax.plot(middle, top, "o", color="black", ms=4, clip_on=False)
        style.letters(axes)
        bars = (
            " Black bars: 5 to 95 % and median of real micro-expressions (public annotation tables, see "
            "melib/simulate/event_statistics.json)."
        )
        peaks = " and by the true peak of the movement" * (study.truth is not None)
        fig.set_label(
            f"Events of {study.name}: {len(used)} events of {used['subject'].nunique()} subjects, by annotated duration and "
            f"apex{peaks}.{bars if statistics else ''}"
        )
        return fig


def curves_picture(study, n=8):
    """True intensity of some events and the triangle that their annotation makes, evenly over the true peaks.

    Parameters
    ----------
    study : data.Study
        Without truth, the triangles alone are drawn.
    n : int

    Returns
    -------
    matplotlib.figure.Figure
    """
    used = study.events[study.events["status"] != "dropped"].dropna(subset=["apex"])
    if study.truth is not None:
        inside = study.truth[study.truth["event"] != ""]
        peaks = inside.groupby(["subject", "event"])["peak_px"].max().rename("peak").reset_index()
        used = used.merge(peaks, on=["subject", "event"]).sort_values("peak", kind="stable")
    used = used.iloc[np.unique(np.linspace(0, len(used) - 1, min(n, len(used))).astype(int))]
    with style.context():
        if used.empty:
            fig = plt.figure(figsize=(style.ONE_COLUMN, 1))
            fig.text(0.5, 0.5, f"{study.name}: no event has an apex", ha="center", va="center")
            fig.set_label("No pseudo-label can be made of onset and offset alone.")
            return fig
        fig, axes = plt.subplots(
            2, -(-len(used) // 2), figsize=(style.TWO_COLUMNS, 2.9), sharey=True, squeeze=False
        )
        for ax in axes.flat[len(used) :]:
            ax.remove()
        for ax, event in zip(axes.flat, used.itertuples(), strict=False):
            first = max(0, event.onset - int(0.1 * event.fps))
            frames = np.arange(first, event.offset + int(0.15 * event.fps))
            time = (frames - first) / event.fps * 1000
            label = priors.triangular(
                event.onset - first, event.apex - first, event.offset - first, len(frames)
            )
            if study.truth is not None:
                video = study.truth[
                    (study.truth["subject"] == event.subject) & (study.truth["video"] == event.video)
                ]
                true = np.interp(frames, video["frame"], video["profile"])
                ax.fill_between(time, 0, true, color="#D9D9D9", linewidth=0, label="true intensity")
                ax.set_title(f"peak {event.peak:.2f} px", fontweight="normal")
            ax.plot(time, label, color=style.INK, ls=(0, (4, 2)), lw=0.9, label="pseudo-label")
        fig.supxlabel("Time, ms (scales differ)", fontsize="medium")
        fig.supylabel("Intensity, share of the peak", fontsize="medium")
        fig.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
        what = "the triangle made of annotated onset, apex and offset"
        if study.truth is not None:
            what = (
                "what the skin did (grey; over each panel the true peak, pixels of the 112-pixel crop), and "
                f"{what}. Events are spaced evenly from the smallest to the largest true peak, none is picked by hand"
            )
        fig.set_label(f"Intensity of single events of {study.name}: {what}.")
        return fig


def _spread(prepared, n):
    """Complete windows spread evenly over the true peaks (over the table where nobody knows them)."""
    rows = np.flatnonzero(prepared.complete())
    order = rows if prepared.peak_px is None else rows[np.argsort(prepared.peak_px[rows], kind="stable")]
    return order[np.unique(np.linspace(0, len(order) - 1, min(n, len(order))).astype(int))]


def motion(study, prepared, n=4):
    """Reference frame, frame at the annotated apex and the motion between them, for some events.

    Parameters
    ----------
    study : data.Study
        Its manifest decides whose face may be drawn.
    prepared : intensity.Prepared
        Windows of that study, complete ones are shown.
    n : int
        Events, evenly over the upper half of the true peaks: smaller ones can't be seen in print.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If the windows are another study's, whose manifest may forbid what this one's allows.
    """
    if prepared.dataset != study.name:
        raise DataError(
            f"windows of {prepared.dataset} can't be drawn as {study.name}'s: give its own study."
        )
    rows = _spread(prepared, 2 * n)[-n:]
    clips = {(clip.subject, clip.video): clip for clip in study.clips}
    with style.context():
        fig, axes = plt.subplots(3, len(rows), figsize=(style.TWO_COLUMNS, 5.2), squeeze=False)
        motions = []
        for column, i in zip(axes.T, rows, strict=True):
            about = prepared.table.iloc[i]
            clip = clips[(about.subject, about.video)]
            windows = prepared.load([i])
            apex = int(np.clip(np.rint(prepared.annotated[i, 1]), 0, windows.mask.shape[1] - 1))
            scale = windows.raw.shape[-1] / clip.frames.shape[-1]
            show_face(
                column[0], study, about.subject, windows.raw[0, windows.reference[0]], clip.landmarks * scale
            )
            show_face(column[1], study, about.subject, windows.raw[0, apex], clip.landmarks * scale)
            motions.append(
                arrows(column[2], windows.flow[0, apex].astype(np.float32), clip.landmarks * scale)
            )
            units = "" if prepared.peak_px is None else f", peak {prepared.peak_px[i]:.2f} px"
            column[0].set_title(f"{about.event}{units}")
        for ax, label in zip(axes[:, 0], ("Reference", "Apex", "Motion"), strict=True):
            ax.set_ylabel(label)
        most = max(
            motion.get_clim()[1] for motion in motions
        )  # one scale for all: the bar belongs to every panel
        for motion in motions:
            motion.set_clim(0, most)
        bar = fig.colorbar(motions[-1], ax=axes[2, :].tolist(), shrink=0.8, extend="max")
        bar.set_label("Motion, pixels of the 112-pixel crop", fontsize="small")
        fig.set_label(
            "Neutral reference (chosen from the pixels alone), frame at the annotated apex, and the motion of the skin "
            f"between them, for events of {study.name} with larger movements; arrows show its direction, much enlarged, "
            "dots the landmarks." + _said_of_people(study, prepared.table.iloc[rows]["subject"])
        )
        return fig


def show_face(ax, study, subject, image, landmarks):
    """The face where it may be shown, else its landmarks."""
    if faces.may_show(study.manifest, subject):
        ax.imshow(image, cmap="gray", vmin=0, vmax=255)
    else:
        ax.plot(*landmarks.T, ".", color=_GREY, ms=2)
    _square(ax, image.shape[-1])


def _said_of_people(study, subjects):
    """What a caption says of people: whose pictures they are, and why some aren't shown."""
    credit = f" {study.manifest.citation.strip()}"
    if all(faces.may_show(study.manifest, subject) for subject in subjects):
        return credit
    return f" Whom the licence doesn't allow to show appears as landmarks.{credit}"


def _square(ax, side):
    ax.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5), xticks=[], yticks=[], aspect="equal")
    ax.spines[:].set_visible(False)


def arrows(ax, flow, landmarks):
    """Length of a motion as colour, its direction as arrows, landmarks for the place."""
    length = np.linalg.norm(flow, axis=0)
    side = length.shape[0]
    shown = ax.imshow(length, cmap="viridis", vmin=0, vmax=max(1.0, float(np.percentile(length, 99.5))))
    at = np.arange(2, side, 4)
    x, y = (grid[length[np.ix_(at, at)] > _LEAST_ARROW] for grid in np.meshgrid(at, at))
    ax.quiver(
        x,
        y,
        flow[0][y, x],
        flow[1][y, x],
        color="white",
        angles="xy",
        scale_units="xy",
        scale=0.25,
        width=0.006,
    )
    ax.plot(*landmarks.T, ".", color="white", ms=1, alpha=0.6)
    _square(ax, side)
    return shown


def alignment(study, n=4):
    """First frames of some clips as they arrive, with landmarks and the crop, and the aligned crop below each.

    Parameters
    ----------
    study : data.Study
        With clips.
    n : int

    Returns
    -------
    matplotlib.figure.Figure
    """
    with_face = [clip for clip in study.clips if clip.mask.any()]
    places = np.unique(np.linspace(0, len(with_face) - 1, min(n, len(with_face))).astype(int))
    chosen = [with_face[place] for place in places]
    folders = study.videos.set_index(["subject", "video"])["folder"]
    with style.context():
        fig, axes = plt.subplots(2, len(chosen), figsize=(style.TWO_COLUMNS, 4.2), squeeze=False)
        for column, clip in zip(axes.T, chosen, strict=True):
            column[0].set_title(f"{clip.subject}/{clip.video}", fontweight="normal")
            first = np.flatnonzero(clip.mask)[0]
            numbers, paths = manifest.frame_files(folders[(clip.subject, clip.video)], study.manifest)
            image = faces.read_image(paths[int(np.searchsorted(numbers, clip.numbers[first]))])
            face = None if image is None else faces.find_face(image)
            if image is None or face is None:  # tracked from its neighbours, not found by itself
                column[0].set(xticks=[], yticks=[])
            else:
                show_face(column[0], study, clip.subject, image, face.landmarks)
                column[0].plot(*face.landmarks.T, ".", color=style.SKY, ms=1.5)
                _crop_outline(column[0], face.landmarks, clip.frames.shape[-1])
                column[0].set(xlim=(0, image.shape[1]), ylim=(image.shape[0], 0))
            show_face(column[1], study, clip.subject, np.asarray(clip.frames[first]), clip.landmarks)
            column[1].plot(*clip.landmarks.T, ".", color=style.SKY, ms=1.5)
        for ax, label in zip(axes[:, 0], ("As it arrives", "Aligned crop"), strict=True):
            ax.set_ylabel(label)
        fig.set_label(
            f"First frames of videos of {study.name} before and after alignment: landmarks (blue dots), the crop (orange), "
            "and what the models see. Over each column subject and video."
            + _said_of_people(study, [clip.subject for clip in chosen])
        )
        return fig


def _crop_outline(ax, landmarks, side):
    transform = faces.crop_transform(landmarks, size=side)  # image -> crop
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side], [0, 0]], float)
    back = (corners - transform[:, 2]) @ np.linalg.inv(transform[:, :2]).T
    ax.plot(*back.T, color=style.ORANGE)


def shapes(onset=8, apex=22, offset=44, n_frames=56):
    """Every prior over one event."""
    with style.context():
        fig, ax = plt.subplots(figsize=(style.ONE_COLUMN, 2.2))
        family = (priors.triangular, priors.boxcar, priors.half_apex, priors.gaussian, priors.raised_cosine)
        for prior in family:
            name = prior.__name__
            curve = prior(onset, apex, offset, n_frames)
            ax.plot(
                curve, color=style.PRIOR_COLOURS[name], linestyle=_DASHES[name], label=name.replace("_", " ")
            )
        ax.set(
            xlabel="Frame",
            ylabel="Assumed intensity",
            xticks=[onset, apex, offset],
            xticklabels=["onset", "apex", "offset"],
        )
        fig.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=3, handlelength=3)
        fig.set_label(
            "Priors over one made-up event: what is assumed between three landmarks when nobody labels the frames. The "
            "paper's is the triangle."
        )
        return fig


def annotators(prepared):
    """How far the annotated landmarks are from the true ones, by the size of the movement.

    Parameters
    ----------
    prepared : intensity.Prepared
        With truth.

    Returns
    -------
    matplotlib.figure.Figure
    """
    rows = np.flatnonzero(prepared.complete())
    milliseconds = (prepared.step() / prepared.fps * 1000)[rows]
    error = (prepared.annotated - prepared.true)[rows] * milliseconds[:, None]  # (n, 3)
    with style.context():
        fig, axes = plt.subplots(1, 3, figsize=(style.TWO_COLUMNS, 2.0), sharey=True)
        for k, (ax, name) in enumerate(zip(axes, ("onset", "apex", "offset"), strict=True)):
            ax.axhline(0, color=_GREY, lw=0.8)
            ax.plot(prepared.peak_px[rows], error[:, k], ".", ms=3, color=_COLOURS[k])
            ax.set(title=name.capitalize(), xlabel="True peak, pixels of the crop")
        axes[0].set_ylabel("Annotated less true, ms")
        style.letters(axes)
        fig.set_label(
            f"Error of the annotated landmarks by the size of the movement, a dot an event ({len(rows)} events of "
            f"{prepared.dataset}); above 0 the annotator came later than the movement."
        )
        return fig

"""What is seen of a finished run: pictures of one event or one long video, drawn anew in some milliseconds.

    never changes      axes, legend, curves of the models, annotated bars
    a widget changes   labels and landmarks; intervals; text beside the pictures
    a frame changes    the face, its motion, the cursor in the curves

A face is drawn by pictures.show_face alone, which asks for the licence; anybody else appears as landmarks.
"""

import textwrap
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import Bbox

from melib import priors
from melib.app import explore, pictures
from melib.app.explore import MARKS
from melib.paper import style

# What an event's label may look like between its landmarks.
SHAPES = ("triangular", "boxcar", "half_apex", "gaussian", "raised_cosine")
_KINDS = {"micro": style.BLUE, "macro": style.SKY, "blink": style.YELLOW}
_RIGHT: dict[str, Any] = {"facecolor": style.PURPLE, "alpha": 0.3, "linewidth": 0}
_INVENTED: dict[str, Any] = {
    "facecolor": "none",
    "edgecolor": style.PURPLE,
    "hatch": "////",
    "linewidth": 0.5,
}
_PALE = "#C8C8C8"
_LABEL: dict[str, Any] = {"color": style.INK, "linestyle": (0, (4, 2)), "linewidth": 1.0}
_BEFORE: dict[str, Any] = {**_LABEL, "linewidth": 0.5}
_HEIGHTS = dict(zip(_KINDS, (1.34, 1.22, 1.1), strict=True))
_FOUND_AT, _SCORE_AT = 1.48, (1.54, 1.67)  # neighbours' scores at two heights
_SIZE, _DPI = (10.0, 5.2), 100  # inches, dots an inch
# One filter for all rows: to try all of them on each takes twice as long, and makes the same size.
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
_FONT = 8  # points: larger than in print, a screen is read from further away
# Panels: left, bottom, width, height as a share of the figure.
_PLACES = {
    "face": (0.01, 0.455, 0.26, 0.5),
    "motion": (0.28, 0.455, 0.26, 0.5),
    "about": (0.57, 0.455, 0.42, 0.5),
    "curves": (0.05, 0.09, 0.94, 0.27),
}
_PICTURES = ((0, 0.45), (0.565, 1))  # face and motion with their titles: lower left, upper right


class Panels:
    """Four panels in three layers: what never changes, what a widget changes, what every frame changes.

    Each layer is drawn over a copy of those below it, and only when it changed: drawing everything takes as long as several
    frames last. Of the third, face and motion are kept while another layer changes.
    """

    def __init__(self):  # noqa: D107
        with style.context():
            self.fig = Figure(figsize=_SIZE, dpi=_DPI)
            self.fig.set_layout_engine("none")
            self.canvas = FigureCanvasAgg(self.fig)
            self.axes = {name: self.fig.add_axes(place) for name, place in _PLACES.items()}
        self.axes["about"].axis("off")
        for name in ("face", "motion"):
            self.axes[name].set_animated(True)
        curves = self.axes["curves"]
        curves.tick_params(labelsize=_FONT)
        (self.cursor,) = curves.plot([], [], color=style.INK, linewidth=1, animated=True)
        self.never: Any = None
        self.still: Any = None  # pixels of the first layer, and of the first two
        self.over: list = []  # artists of the second
        self.shown: Any = None  # pixels of face and motion, until another frame is looked at

    def change(self, artists, lines):
        """Replace the second layer: artists in the panel of the curves, and lines of text beside the pictures."""
        for old in self.over:
            old.remove()
        spaced: dict[str, Any] = {"va": "top", "ha": "left", "fontsize": _FONT, "linespacing": 1.4}
        words = "\n".join(textwrap.fill(line, 68, drop_whitespace=False) for line in lines)
        self.over = [*artists, self.axes["about"].text(0, 1, words, **spaced)]
        for artist in self.over:
            artist.set_animated(True)
        self.still = None

    @mpl.rc_context({"text.hinting": "none"})  # letters take most of the time: a third less so
    def png(self, x):
        """The picture with its cursor at ``x``, as PNG bytes."""
        if self.never is None:
            self.canvas.draw()
            self.never = self.canvas.copy_from_bbox(self.fig.bbox)
        if self.still is None:
            self.canvas.restore_region(self.never)
            for artist in self.over:
                self.fig.draw_artist(artist)
            self.still = self.canvas.copy_from_bbox(self.fig.bbox)
        self.canvas.restore_region(self.still)
        self.cursor.set_data([x, x], self.axes["curves"].get_ylim())
        self.fig.draw_artist(self.cursor)
        if self.shown is None:
            for name in ("face", "motion"):
                self.fig.draw_artist(self.axes[name])
            self.shown = self.canvas.copy_from_bbox(Bbox(_PICTURES).transformed(self.fig.transFigure))
        self.canvas.restore_region(self.shown)
        drawn = cv2.cvtColor(np.asarray(self.canvas.buffer_rgba()), cv2.COLOR_RGBA2BGR)
        return cv2.imencode(".png", drawn, _PNG)[1].tobytes()

    def look(self, study, subject, image, points, title):
        """Face panel: the face where it may be shown, else its landmarks; None where no face was found."""
        axis, self.shown = _emptied(self.axes["face"]), None
        if image is None:
            _nothing(axis, "no face found")
        else:
            pictures.show_face(axis, study, subject, image, points)
        axis.set_title(title, fontsize=_FONT, loc="left")

    def move(self, motion, points, most, title):
        """Motion panel: length as colour up to ``most`` pixels, arrows; None where nothing was measured."""
        axis, self.shown = _emptied(self.axes["motion"]), None
        if motion is None:
            _nothing(axis, "no motion measured here")
        else:
            pictures.arrows(axis, motion, points).set_clim(0, most)
        axis.set_title(title, fontsize=_FONT, loc="left")

    def marks(self, places):
        """Artists that mark onset, apex and offset at three places of the curves' axis; None: not known."""
        axis = self.axes["curves"]
        drawn: list = []
        above: dict[str, Any] = {"va": "bottom", "color": style.PURPLE, "fontsize": _FONT}
        sides = ("right", "center", "left")  # three that are close together can still be read
        for mark, x, side in zip(MARKS, places, sides, strict=True):
            if x is not None:
                drawn.append(axis.axvline(x, color=style.PURPLE, linewidth=0.8, linestyle=":"))
                drawn.append(axis.annotate(mark, (x, axis.get_ylim()[1]), ha=side, **above))
        return drawn

    def name(self, x, y, handles):
        """Labels of the axes, and one line above the curves that says what each is."""
        axis = self.axes["curves"]
        axis.set_xlabel(x, fontsize=_FONT)
        axis.set_ylabel(y, fontsize=_FONT)
        above: dict[str, Any] = {
            "loc": "lower left",
            "bbox_to_anchor": (0, 1.08),
            "borderaxespad": 0,
            "handlelength": 1.8,
        }
        axis.legend(handles=handles, ncols=9, columnspacing=1.4, fontsize=_FONT, frameon=False, **above)


def _emptied(axis):
    for artist in (*axis.images, *axis.lines, *axis.collections, *axis.texts, *axis.patches):
        artist.remove()
    return axis


def _nothing(axis, words):
    centred: dict[str, Any] = {"ha": "center", "va": "center", "transform": axis.transAxes}
    axis.text(0.5, 0.5, words, color=style.GREY, fontsize=_FONT, **centred)
    axis.set(xticks=[], yticks=[])


def most_of(motion):
    """Length of motion that gets the brightest colour: that of all samples together, at least a pixel."""
    return max(1.0, float(np.percentile(np.linalg.norm(motion, axis=1), 99.5))) if len(motion) else 1.0


class EventPicture:
    """Face, motion and curves around one event.

    Parameters
    ----------
    event : Event
    """

    def __init__(self, event):  # noqa: D107
        self.panels = Panels()
        self.number: int | None = None  # the frame whose pictures are drawn
        self.event, self.most, axis = event, most_of(event.motion), self.panels.axes["curves"]
        handles: list = [Line2D([], [], label="label", **_LABEL)]
        handles.append(Line2D([], [], label="label as annotated", **_BEFORE))
        if event.truth is not None:
            true: dict[str, Any] = {"color": "#D9D9D9", "linewidth": 0, "label": "true intensity"}
            handles.append(axis.fill_between(event.numbers, 0, event.truth, **true))
        for used, curve in event.curves.items():
            line: dict[str, Any] = {"color": style.INPUT_COLOURS[used], "label": f"predicted from {used}"}
            handles += axis.plot(event.positions, curve, linewidth=1.2, **line)
        axis.set(xlim=(event.numbers[0], max(event.numbers[-1], event.numbers[0] + 1)), ylim=(0, 1.1))
        said = f"frame of the video, counted from 0 ({event.fps:g} a second)"
        self.panels.name(said, "share of the peak", handles)
        self.label(event.landmarks)

    def label(self, landmarks, shape="triangular"):
        """Draw the label that three landmarks make.

        Parameters
        ----------
        landmarks : tuple of 3 int or None
            Onset, apex and offset as they are now, perhaps moved; the annotated ones stay as a fine line.
        shape : str
            One of ``SHAPES``.
        """
        event, axis, drawn = self.event, self.panels.axes["curves"], []
        marks = {tuple(event.landmarks): _BEFORE} | {tuple(landmarks): _LABEL}
        for three, line in marks.items():
            curve = curve_of(three, event.numbers, shape)
            drawn += [] if curve is None else axis.plot(event.numbers, curve, **line)
        drawn += self.panels.marks(landmarks)
        words = [f"{event.subject}/{event.name}", lengths_of(landmarks, event.fps), *event.said]
        self.panels.change(drawn, [*words, *(["", *event.notes] if event.notes else [])])

    def frame(self, number):
        """The picture at a native frame, as PNG bytes."""
        if number != self.number:
            self._look_at(number)
        return self.panels.png(number)

    def _look_at(self, number):
        event = self.event
        row = int(np.abs(event.numbers - number).argmin())
        image = np.asarray(event.crops[row]) if event.seen[row] else None
        seconds = (number - event.numbers[0]) / event.fps
        title = f"frame {number}, {seconds:.3f} s into the clip"
        self.panels.look(event.study, event.subject, image, event.points, title)
        sample = sample_at(event.positions, number)
        if sample is None:
            self.panels.move(None, None, 1, "motion: outside the window")
        else:
            scale = event.motion.shape[-1] / event.crops.shape[-1]
            since = event.positions[event.reference]
            title = f"motion since frame {since:.0f}; up to {self.most:.1f} px"
            self.panels.move(event.motion[sample], event.points * scale, self.most, title)
        self.number = number


def lengths_of(landmarks, fps):
    """Landmarks of an event in words: their frames, and how long it lasts.

    Parameters
    ----------
    landmarks : tuple of 3 int or None
    fps : float

    Returns
    -------
    str
    """
    words = [f"{mark} {'none' if at is None else at}" for mark, at in zip(MARKS, landmarks, strict=True)]
    onset, apex, offset = landmarks
    spans = {"to the apex": (onset, apex), "in all": (onset, offset)}
    lasting = {what: stop - start for what, (start, stop) in spans.items() if None not in (start, stop)}
    times = [f"{frames / fps * 1000:.0f} ms {what}" for what, frames in lasting.items()]
    return ", ".join(words) + (f": {', '.join(times)}" if times else "")


def sample_at(positions, number):
    """Sample of a window that shows a native frame, or None outside the window.

    Parameters
    ----------
    positions : (T,) float
        Native frames of the samples.
    number : int

    Returns
    -------
    int or None
    """
    if len(positions) < 2:
        return None
    half = (positions[1] - positions[0]) / 2
    if not positions[0] - half <= number <= positions[-1] + half:
        return None
    return int(np.abs(positions - number).argmin())


def curve_of(landmarks, numbers, shape="triangular"):
    """The label that three landmarks make on some frames, or None where they make none.

    Parameters
    ----------
    landmarks : tuple of 3 int or None
        Onset, apex, offset, native frames.
    numbers : (F,) int
    shape : str
        One of ``SHAPES``.

    Returns
    -------
    (F,) float32 in [0, 1] or None
        None where the apex isn't annotated, or they aren't in order.
    """
    known = [mark for mark in landmarks if mark is not None]
    if len(known) < 3 or known != sorted(known):
        return None
    first = int(numbers[0])
    whole = getattr(priors, shape)(*(mark - first for mark in known), int(numbers[-1]) - first + 1)
    return whole[np.asarray(numbers) - first]


class VideoPicture:
    """Face, motion, score curves, annotation and intervals of one long video.

    Parameters
    ----------
    shown : Footage
    """

    def __init__(self, shown):  # noqa: D107
        self.panels = Panels()
        self.t: int | None = None  # the sample whose pictures are drawn
        self.shown, self.seconds = shown, np.arange(len(shown.video)) / shown.video.fps
        axis = self.panels.axes["curves"]
        for kind, colour in _KINDS.items():
            if shown.of is not None and kind in shown.of:
                width = 1 if kind == "micro" else 0.6
                axis.plot(self.seconds, shown.of[kind], color=colour, linewidth=width)
        for row in shown.video.events.itertuples():
            self._bar(row, _HEIGHTS[row.kind], _KINDS[row.kind])
        axis.set(xlim=(0, max(self.seconds[-1], 1)), ylim=(-0.03, 1.8), yticks=[0, 0.5, 1])
        self.panels.name("seconds", "score", _legend(shown.of is not None))
        self.decoded(None)

    def decoded(self, found, landmarks=(None, None, None)):
        """Draw intervals, as `decode` returns them (None: there are none), and landmarks of an event, native frames."""
        rows = [] if found is None else found.itertuples()
        drawn = [artist for k, row in enumerate(rows) for artist in self._interval(row, _SCORE_AT[k % 2])]
        numbers = self.shown.video.numbers
        drawn += self.panels.marks(
            [None if at is None else np.interp(at, numbers, self.seconds) for at in landmarks]
        )
        name = f"{self.shown.video.subject}/{self.shown.video.video}"
        self.panels.change(drawn, [name, *said_of(self.shown, found)])

    def _bar(self, row, height, colour):
        span = np.array([row.onset, row.offset + 1]) / self.shown.video.fps
        bar: dict[str, Any] = {"color": colour, "linewidth": 3, "solid_capstyle": "butt"}
        return self.panels.axes["curves"].plot(span, [height] * 2, **bar)

    def _interval(self, row, height):
        """Artists of one interval that was found."""
        if not row.kept:
            return self._bar(row, _FOUND_AT, _PALE)
        axis = self.panels.axes["curves"]
        start, stop = np.array([row.onset, row.offset + 1]) / self.shown.video.fps
        area = axis.axvspan(start, stop, ymax=0.56, **(_RIGHT if row.right else _INVENTED))
        score = axis.annotate(f"{row.score:.2f}", ((start + stop) / 2, height), ha="center", fontsize=_FONT)
        return [*self._bar(row, _FOUND_AT, style.PURPLE), area, score]

    def frame(self, t):
        """The picture at a sample, as PNG bytes."""
        if t != self.t:
            self._look_at(t)
        return self.panels.png(self.seconds[t])

    def _look_at(self, t):
        shown, first = self.shown, t // explore.STRETCH * explore.STRETCH
        crops, points, motion, seen = explore.stretch(shown, first)
        row = t - first
        study, number = shown.found.study, shown.video.numbers[t]
        title = f"frame {number}, {self.seconds[t]:.2f} s"
        self.panels.look(study, shown.video.subject, crops[row] if seen[row] else None, points[row], title)
        most, scale = most_of(motion), motion.shape[-1] / crops.shape[-1]
        said = f"motion within these two seconds; up to {most:.1f} px"
        self.panels.move(motion[row] if seen[row] else None, points[row] * scale, most, said)
        self.t = t


def said_of(shown, found):
    """What was found in a video, in words.

    Parameters
    ----------
    shown : Footage
    found : DataFrame or None
        As `decode` returns.

    Returns
    -------
    list of str
        A line an interval that is kept, in order of time, at most ten.
    """
    if found is None:
        return list(shown.notes) or ["Nothing was decoded."]
    sure, fps = found[found["kept"]], shown.video.fps
    right = int(sure["right"].sum())
    lines = [f"{right} of {len(shown.truth)} micro-expressions found, {len(sure) - right} invented.", ""]
    for row in sure.head(10).itertuples():
        what = "right" if row.right else "invented"
        lines.append(
            f"{row.onset / fps:6.2f} to {row.offset / fps:.2f} s   {row.emotion}   {row.score:.2f}   {what}"
        )
    return [*lines, *(["..."] if len(sure) > 10 else [])]


def _legend(scored):
    """What is drawn of a video: list of Patch."""
    scores = ", score" if scored else ""
    names: dict[str, dict[str, Any]] = {
        f"annotated {kind}{scores}": {"color": colour} for kind, colour in _KINDS.items()
    }
    names |= {"found, right": _RIGHT, "found, invented": _INVENTED, "below the least score": {"color": _PALE}}
    return [Patch(label=name, **about) for name, about in names.items()]

"""Sliders, menus and buttons around explore.py and explore_pictures.py: a thin layer that holds what is chosen.

    EventPanel   a clip's event: scrub its frames, step through the worst, move its landmarks
    VideoPanel   a long video:   scrub it, change decoder and prior, step through the mistakes, move landmarks

Whatever can't be done is said in the line below the picture; nothing is drawn by the browser but the finished picture.
"""

import contextlib
import gc
import html
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
from IPython.utils.capture import capture_output

from melib.app import explore
from melib.app.explore import MARKS
from melib.app.explore_pictures import SHAPES, EventPicture, VideoPicture
from melib.errors import DataError
from melib.study import results
from melib.study.spotting_decoding import DECODERS

_WIDE = widgets.Layout(width="820px")
_SLIDING = {"layout": _WIDE, "style": {"description_width": "85px"}}
_MENU = {"style": {"description_width": "85px"}, "layout": widgets.Layout(width="270px")}
_OWN = "its own training fold"
_NO_MARKS = (None, None, None)


def show(panel, opened):
    """A panel over a run, or one sentence where the run has nothing for it.

    Parameters
    ----------
    panel : type
        EventPanel or VideoPanel.
    opened : explore.Opened

    Returns
    -------
    widget
    """
    try:
        box = panel(opened).box
    except DataError as error:
        return widgets.HTML(html.escape(str(error)))
    gc.collect()
    gc.freeze()  # to search all that was read for garbage would hold a picture up for .4 s
    return box


@contextlib.contextmanager
def _silent(panel):
    """Change widgets of a panel without their being listened to."""
    before, panel.busy = panel.busy, True
    try:
        yield
    finally:
        panel.busy = before


def _menu(name, options, **more):
    return widgets.Dropdown(description=name, options=options, **_MENU, **more)


def _span(slider, first, last):
    """Let a slider run over some frames: at no moment may its least be above its most."""
    slider.min = min(first, slider.min)
    slider.max, slider.min = last, first


def _offer(menu, options):
    """Give a menu other options, the first of them chosen."""
    menu.options = options
    first = options[0] if options else None
    menu.value = first[1] if isinstance(first, tuple) else first


class _Chooser:
    """Menus for data set, subject and item: each offers what the one before it holds.

    Parameters
    ----------
    item : str
        What is chosen in the end, event or video: a column of the rows.
    names : list of str
        Data sets.
    opened : callable
        Called with the name of a data set that was chosen; returns the rows (DataFrame subject, item) to choose from.
    read : callable
        Called when an item was chosen.
    """

    def __init__(self, item, names, opened, read):
        self.column, self.opened, self.read, self.busy = item, opened, read, False
        self.dataset = _menu("data set", names)
        self.subject, self.item = _menu("subject", []), _menu(item, [])
        self.dataset.observe(self.open, "value")
        self.subject.observe(self._subject_chosen, "value")
        self.item.observe(self._item_chosen, "value")

    def open(self, _=None):
        """Take up the chosen data set, and the first item of its first subject."""
        self.rows = self.opened(self.dataset.value)
        with _silent(self):
            _offer(self.subject, sorted(set(self.rows["subject"])))
        self._subject_chosen()

    def to(self, subject, item):
        """Choose an item; it isn't read."""
        with _silent(self):
            self.subject.value = subject
            self._offer_items()
            self.item.value = item

    def _offer_items(self):
        with _silent(self):
            _offer(self.item, list(self.rows[self.column][self.rows["subject"] == self.subject.value]))

    def _subject_chosen(self, _=None):
        if not self.busy:
            self._offer_items()
            self.read()

    def _item_chosen(self, _):
        if not self.busy:
            self.read()


class _Frames:
    """The picture, the slider over its frames, the play button, and the line for what there is to say.

    Attributes
    ----------
    picture : EventPicture, VideoPicture or None
        What is seen; None: nothing is.
    """

    def __init__(self):
        self.picture: Any = None
        self.busy = False
        self.image = widgets.Image(format="png", layout=widgets.Layout(width="1000px", height="520px"))
        self.slider = widgets.IntSlider(description="frame", **_SLIDING)
        self.play = widgets.Play(interval=150)
        widgets.jslink((self.play, "value"), (self.slider, "value"))
        self.line = widgets.HTML()
        self.rows = (self.image, widgets.HBox([self.play, self.slider]), self.line)
        self.slider.observe(self.draw, "value")

    def show(self, picture, first=0, last=0, value=0):
        """Take another picture, whose slider runs over some frames; nothing is drawn yet."""
        self.picture = picture
        with _silent(self):
            for slider in (self.play, self.slider):
                _span(slider, first, last)
            self.slider.value = value

    def to(self, value):
        """Move the slider; nothing is drawn yet."""
        with _silent(self):
            self.slider.value = value

    def draw(self, _=None):
        """Draw the frame of the slider."""
        if not self.busy:
            drawn = self.picture and self.told(self.picture.frame, self.slider.value)
            self.image.value = drawn or b""
            self.image.layout.visibility = "visible" if drawn else "hidden"

    def say(self, words):
        """Put a sentence below the picture."""
        self.line.value = html.escape(words)

    def told(self, action, *arguments):
        """Do something that may be impossible; then the reason is said, and None is returned."""
        with capture_output():  # progress bars of what is read
            try:
                return action(*arguments)
            except DataError as error:
                self.say(str(error))
        return None


class _Steps:
    """Buttons through a list that begins with the worst."""

    def __init__(self, go):
        self.go, self.at = go, -1
        self.rows: list = []
        names = ("worst", "next worse", "previous")
        self.worst, self.next, self.previous = (widgets.Button(description=name) for name in names)
        self.where = widgets.Label()
        for button, move in (
            (self.worst, self._first),
            (self.next, self._next),
            (self.previous, self._previous),
        ):
            button.on_click(move)
        self.box = widgets.HBox([self.worst, self.next, self.previous, self.where])

    def through(self, rows):
        """Begin a new list of rows (named tuples)."""
        self.rows, self.at, self.where.value = rows, -1, f"{len(rows)} in the list"

    def _to(self, at):
        if 0 <= at < len(self.rows):
            self.at = at
            self.where.value = f"{at + 1} of {len(self.rows)}: {self.go(self.rows[at])}"

    def _first(self, _):
        self._to(0)

    def _next(self, _):
        self._to(self.at + 1)

    def _previous(self, _):
        self._to(self.at - 1)


class _Review:
    """Sliders over an event's landmarks, and what saves them.

    Parameters
    ----------
    moved : callable
        Called with the landmarks, and the frame that was moved to (None: none was).
    frames : _Frames
        Where sentences go.
    """

    def __init__(self, moved, frames):
        self.moved, self.frames, self.busy = moved, frames, False
        self.sessions: dict = {}
        self.session: Any = None
        self.event: Any = ()
        self.unknown: set = set()  # landmarks that nobody has given yet
        self.sliders = {mark: widgets.IntSlider(description=mark, **_SLIDING) for mark in MARKS}
        self.reason = widgets.Text(description="reason", **_SLIDING)
        self.reviewer = widgets.Text(description="reviewer", **_MENU)
        self.save, self.undo = (widgets.Button(description=name) for name in ("Save", "Undo"))
        self.save.on_click(self._save)
        self.undo.on_click(self._undo)
        for slider in self.sliders.values():
            slider.observe(self._slid, "value")
        buttons = widgets.HBox([self.reviewer, self.save, self.undo])
        self.box = widgets.Accordion([widgets.VBox([*self.sliders.values(), self.reason, buttons])])
        self.box.set_title(0, "Review: move the landmarks of this event")

    def choose(self, study, subject, name, numbers):
        """Take up an event whose video has some frames, (F,) native, and return its landmarks as they are read now."""
        if study.name not in self.sessions:
            self.sessions[study.name] = explore.reviewed(study)
        self.session, self.event = self.sessions[study.name], (subject, name)
        for slider in self.sliders.values():
            with _silent(self):
                _span(slider, int(numbers[0]), int(numbers[-1]))
        return self._again()

    def drop(self):
        """Take up no event."""
        self.event = ()

    def landmarks(self):
        """Landmarks as they are now: tuple of 3 int or None."""
        return tuple(None if mark in self.unknown else slider.value for mark, slider in self.sliders.items())

    def _again(self):
        """Put the sliders to the event's landmarks as they are read now."""
        landmarks = explore.landmarks_of(self.session, *self.event)
        self.unknown = {mark for mark, at in zip(MARKS, landmarks, strict=True) if at is None}
        with _silent(self):
            for slider, at in zip(self.sliders.values(), landmarks, strict=True):
                slider.value = (slider.min + slider.max) // 2 if at is None else at
        return landmarks

    def _slid(self, change):
        if not self.busy:
            self.unknown.discard(change["owner"].description)
            self.moved(self.landmarks(), change["new"])

    def _save(self, _):
        self._act(
            explore.save, lambda: (*self.event, self.landmarks(), self.reason.value, self.reviewer.value)
        )

    def _undo(self, _):
        self._act(explore.undo, tuple)

    def _act(self, action, arguments):
        """Save, or take back; where that was possible, the event is shown as it is read now."""
        if not self.event:
            self.frames.say("Choose an event first.")
            return
        said = self.frames.told(action, self.session, *arguments())
        if said:
            self.frames.say(said)
            self.moved(self._again(), None)


class EventPanel:
    """Clips: one event at a time.

    Parameters
    ----------
    opened : explore.Opened

    Attributes
    ----------
    box : widget
        What a notebook shows.

    Raises
    ------
    DataError
        If the run has no data set with clips.
    """

    def __init__(self, opened):  # noqa: D107
        if not opened.short:
            raise DataError(
                f"{opened.run.folder} holds no data set with clips; make one with `{opened.command}`."
            )
        self.opened, self.busy = opened, False
        self.marks: tuple = _NO_MARKS  # where the label is drawn, perhaps moved
        self.frames = _Frames()
        self.review = _Review(self._moved, self.frames)
        self.steps = _Steps(self._go)
        self.chosen = _Chooser("event", list(opened.short), self._set_chosen, self._read)
        self.dataset, self.subject, self.event = self.chosen.dataset, self.chosen.subject, self.chosen.item
        self.protocol = _menu("windows", ["context"])
        self.metric = _menu("worst by", [])
        self.metric.layout = widgets.Layout(width="420px")
        self.used = _menu("input", list(explore.INPUTS))
        self.shape = _menu("label", [(name.replace("_", " "), name) for name in SHAPES])
        self.box = widgets.VBox(
            [
                widgets.HBox([self.dataset, self.protocol, self.subject, self.event]),
                widgets.HBox([self.metric, self.used, self.shape]),
                self.steps.box,
                *self.frames.rows,
                self.review.box,
            ]
        )
        self.protocol.observe(self._protocol_chosen, "value")
        for widget in (self.metric, self.used):
            widget.observe(self._order, "value")
        self.shape.observe(lambda _: self._moved(self.marks, None), "value")
        self.chosen.open()

    def _set_chosen(self, dataset):
        study = self.opened.short[dataset]
        with _silent(self):
            _offer(self.protocol, ["context", "paper"] if study.manifest.has_context else ["paper"])
        self._metrics()
        return explore.usable(study)

    def _protocol_chosen(self, _=None):
        if not self.busy:
            self._metrics()
            self._read()

    def _metrics(self):
        """Offer what was scored under the protocol."""
        known = explore.metrics_of(self.opened, self.dataset.value, self.protocol.value)
        with _silent(self):
            _offer(self.metric, [(results.METRICS[name], name) for name in known])
        self._order()

    def _order(self, _=None):
        if self.busy:
            return
        asked = (self.dataset.value, self.protocol.value, self.metric.value, self.used.value)
        self.steps.through(list(explore.worst(self.opened, *asked).itertuples()))

    def _go(self, row):
        """Show a row of the list of the worst, and say its value."""
        self.chosen.to(row.subject, row.event)
        self._read()
        return f"{row.subject}/{row.event}, {row.value:.3g}"

    def _read(self):
        self.frames.say("")
        self.review.drop()
        self.frames.show(None)
        asked = (self.dataset.value, self.subject.value, self.event.value, self.protocol.value)
        event = self.event.value and self.frames.told(explore.event, self.opened, *asked)
        if event:
            self.frames.say(" ".join(event.notes))
            onset, apex, _ = event.landmarks
            middle = onset if apex is None else apex
            self.frames.show(EventPicture(event), int(event.numbers[0]), int(event.numbers[-1]), middle)
            asked = (event.study, event.subject, event.name, event.numbers)
            self._moved(self.frames.told(self.review.choose, *asked) or event.landmarks, None)
        else:
            self.frames.draw()

    def _moved(self, landmarks, frame):
        if self.frames.picture:
            self.marks = landmarks
            self.frames.picture.label(landmarks, self.shape.value)
            if frame is not None:
                self.frames.to(frame)
            self.frames.draw()


class VideoPanel:
    """Long videos: one at a time, with everything that turns scores into intervals.

    Parameters
    ----------
    opened : explore.Opened

    Attributes
    ----------
    box : widget
        What a notebook shows.

    Raises
    ------
    DataError
        If the run has no data set with long videos.
    """

    def __init__(self, opened):  # noqa: D107
        if not opened.long:
            raise DataError(f"{opened.run.folder} holds no long videos; make some with `{opened.command}`.")
        self.opened, self.busy = opened, False
        self.found: Any = None
        self.shown: Any = None
        self.intervals: Any = None
        self.marks: tuple = _NO_MARKS  # landmarks of the chosen event, perhaps moved
        self.frames = _Frames()
        self.review = _Review(self._moved, self.frames)
        self.steps = _Steps(self._go)
        self.chosen = _Chooser("video", list(opened.long), self._set_chosen, self._read)
        self.dataset, self.subject, self.video = self.chosen.dataset, self.chosen.subject, self.chosen.item
        self.event = _menu("event", [])
        self.what = _menu("mistakes", ["missed", "invented"])
        self.decoder = _menu("decoder", [(name.replace("_", " "), name) for name in DECODERS])
        self.decoder.value = "semi_markov"
        self.prior = _menu("prior", [_OWN])
        later = {"continuous_update": True, "readout_format": ".3f", **_SLIDING}
        self.half_length = widgets.IntSlider(description="half length", min=1, max=60, **_SLIDING)
        self.peak_fraction = widgets.FloatSlider(
            description="threshold", value=0.55, min=0, max=1, step=0.05, **later
        )
        self.least = widgets.FloatSlider(description="least score", min=0, max=1, step=0.005, **later)
        self.find = widgets.Button(description="list mistakes")
        self.box = widgets.VBox(
            [
                widgets.HBox([self.dataset, self.subject, self.video]),
                widgets.HBox([self.what, self.find]),
                self.steps.box,
                *self.frames.rows,
                widgets.HBox([self.decoder, self.prior]),
                self.half_length,
                self.peak_fraction,
                self.least,
                self.event,
                self.review.box,
            ]
        )
        self.event.observe(self._event_chosen, "value")
        for widget in (self.decoder, self.prior):
            widget.observe(self._rule_chosen, "value")
        for widget in (self.half_length, self.peak_fraction, self.least):
            widget.observe(self._decode, "value")
        self.what.observe(self._list, "value")
        self.find.on_click(self._list)
        self.chosen.open()

    def _set_chosen(self, dataset):
        self.steps.through([])
        self.found = self.frames.told(explore.videos, self.opened, dataset)
        return pd.DataFrame(columns=["subject", "video"]) if self.found is None else self.found.study.videos

    def _list(self, _=None):
        if self.found is None:
            return
        self.frames.say("Every video is decoded, which may take a while ...")
        table = self.frames.told(explore.mistakes, self.opened, self.found)
        if table is not None:
            self.steps.through(list(table[table["what"] == self.what.value].itertuples()))
            self.frames.say("")

    def _go(self, row):
        """Show a mistake with the frame in its middle, and say how bad it is."""
        middle = int((row.onset + row.offset) // 2)
        if (self.subject.value, self.video.value) != (row.subject, row.video):
            self.chosen.to(row.subject, row.video)
            self._read(at=middle)
        self.frames.slider.value = middle
        return f"{row.what} in {row.subject}/{row.video}, {row.size:.2f}"

    def _read(self, at=0):
        self.shown, self.marks = None, _NO_MARKS
        self.review.drop()
        self.frames.show(None)
        with _silent(self):
            self.event.options = []
        if self.video.value is not None:
            self.frames.say("")
            asked = (self.opened, self.found, self.subject.value, self.video.value)
            self.shown = self.frames.told(explore.footage, *asked)
        shown = self.shown
        if shown is None:
            self.frames.draw()
            return
        self.frames.told(explore.warm_up, shown)
        self.frames.say(" ".join(shown.notes))
        self.frames.show(VideoPicture(shown), 0, len(shown.video) - 1, at)
        with _silent(self):
            others = [(f"that of {name}", name) for name in explore.others_of(shown)]
            _offer(self.prior, [(_OWN, ""), *others])
            self.event.options = [
                (f"{row.kind}, {row.onset / shown.video.fps:.1f} s", row.event)
                for row in shown.video.events.itertuples()
            ]
            self.event.value = None
        for widget in (self.decoder, self.prior, self.half_length, self.peak_fraction, self.least):
            widget.disabled = shown.of is None
        self._rule_chosen()

    def _rule_chosen(self, _=None):
        """Another decoder or prior: half length and least score begin again at what the training fold says."""
        if self.busy or self.shown is None:
            return
        sliders = (self.half_length, self.peak_fraction, self.least)
        with contextlib.ExitStack() as drawn:
            for slider in sliders:
                drawn.enter_context(slider.hold_sync())  # the page gets the picture first
            if self.shown.of is not None:
                asked = (self.shown, self.decoder.value, self.prior.value)
                with _silent(self):
                    self.half_length.value = explore.half_length_of(self.shown, self.prior.value)
                    self.peak_fraction.value = 0.55
                    self.least.value = float(np.clip(explore.tuned(*asked), 0, 1))
                for slider in sliders[:2]:
                    slider.disabled = self.decoder.value == "semi_markov"
            self._decode()

    def _decode(self, _=None):
        if self.busy or self.shown is None:
            return
        self.intervals = None
        if self.shown.of is not None:
            numbers = {"half_length": self.half_length.value, "peak_fraction": self.peak_fraction.value}
            self.intervals = explore.decode(
                self.shown, self.decoder.value, self.prior.value, least=self.least.value, **numbers
            )
        self._draw()

    def _event_chosen(self, _=None):
        if self.busy or self.event.value is None:
            return
        video = self.shown.video
        asked = (self.found.study, video.subject, self.event.value, video.numbers)
        landmarks = self.frames.told(self.review.choose, *asked)
        if landmarks:
            self._moved(landmarks, landmarks[0])

    def _moved(self, landmarks, frame):
        if self.event.value is not None:
            self.marks = landmarks
            if frame is not None:
                self.frames.to(int(np.abs(self.shown.video.numbers - frame).argmin()))
            self._draw()

    def _draw(self):
        """Draw what is decoded, and the landmarks of the chosen event."""
        self.frames.picture.decoded(self.intervals, self.marks)
        self.frames.draw()

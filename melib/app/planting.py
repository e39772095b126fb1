"""Small movements of known size laid over a user's own film, to be found or missed there: what could be seen in it.

    film, looked at once -> where a face is seen and nothing was found -> places in time, drawn
    film, read again     -> crops of the followed face, warped by units of the simulator -> found, or not

Durations, apices and units are those of real micro-expressions, the same ten movements in each size. They lie some seconds
apart, so a short film is read several times. A warp moves what was recorded: the codec has no chance to take a part of the
movement away, nothing is uncovered where lids or lips open, and only places that are calm for the models are asked.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pandas as pd

from melib import metrics
from melib.simulate import events, nuisance, portraits, render, units
from melib.vision import faces

SIZES = (0.2, 0.4, 0.8, 1.6)  # largest displacement over the skin, pixels of the 112-pixel crop
EACH = 10
STATISTICS = "samm_lv_micro"
# Seconds free of anything found around a movement, and free of another planted one: an event of a second in three leaves
# the running median of `flow.regional` where it was.
_CLEAR, _APART = 0.2, 2.0
_SIDE = {"both": "", "left": "L", "right": "R"}
_LIDS = [[36, 37, 38, 39], [36, 41, 40, 39], [42, 43, 44, 45], [42, 47, 46, 45]]


@dataclass(eq=False)
class Planted:
    """One movement: its place, and what became of it.

    Attributes
    ----------
    event : Expression
        Times from the first sample of its place.
    family : str
    start, n : int
        First sample of its place in the film, and samples.
    interval : tuple of int or None
        True onset, apex and offset, samples of the film; None until it was laid.
    peak : float
        Displacement that was reached, pixels of the crop; less than wanted where the skin would have folded.
    """

    event: events.Expression
    family: str
    start: int
    n: int
    interval: tuple[int, int, int] | None = None
    peak: float = 0.0


def draw_rounds(free: np.ndarray, fps: float, seed: int = 0) -> list[list[Planted]]:
    """Draw movements and their places: as many readings of the film as it takes.

    Parameters
    ----------
    free : (T,) bool
        Samples in which a face is seen and nothing was found; no movement lies across one that isn't.
    fps : float
    seed : int

    Returns
    -------
    list of list of Planted
        A list a reading; what finds no place in the film is left out.
    """
    rng = np.random.default_rng([seed, 19])
    waiting = []
    for _ in range(EACH):
        event, family = events.draw_event(rng, STATISTICS, 0.0), str(rng.choice(units.FAMILIES))
        event = replace(event, movements=tuple(replace(m, residual=0.0) for m in event.movements))
        event = event.moved(_CLEAR - event.start)
        n = int(np.ceil((event.stop + _CLEAR) * fps))
        waiting += [Planted(replace(event, strength=size), family, 0, n) for size in SIZES]
    rounds: list[list[Planted]] = []
    while waiting:
        room, here = free.copy(), []
        for k in rng.permutation(len(waiting)):
            one = waiting[k]
            so_far = np.r_[0, np.cumsum(room)]
            starts = np.flatnonzero(so_far[one.n :] - so_far[: -one.n] == one.n)
            if len(starts):
                one.start = int(rng.choice(starts))
                apart = round(_APART * fps)
                room[max(0, one.start - apart) : one.start + one.n + apart] = False
                here.append(one)
        if not here:
            break
        rounds.append(here)
        waiting = [one for one in waiting if one not in here]
    return rounds


class Planter:
    """Lays the movements of one reading over the crops of a face, stretch by stretch.

    Parameters
    ----------
    planted : list of Planted
        Their ``interval`` and ``peak`` are filled in.
    fps : float
    """

    def __init__(self, planted: list[Planted], fps: float) -> None:  # noqa: D107
        self.waiting, self.fps = planted, fps
        self.scenes: dict[int, render.Scene | None] = {}  # of the movements that are under way

    def lay(self, first: int, part: faces.Followed) -> faces.Followed:
        """A stretch with what is planted there; its sample 0 is sample ``first`` of the film."""
        crops, numbers = part.crops.copy(), part.numbers + first
        for one in self.waiting:
            for row in np.flatnonzero((numbers >= one.start) & (numbers < one.start + one.n) & part.mask):
                if one.start not in self.scenes:
                    begun = _lies_flat(part.landmarks[row])
                    self.scenes[one.start] = (
                        self._begun(one, crops[row], part.landmarks[row]) if begun else None
                    )
                scene = self.scenes[one.start]
                if scene is not None:
                    crops[row] = moved_skin(scene, crops[row], int(numbers[row]) - one.start)
            if one.start + one.n <= numbers[-1]:
                self.scenes.pop(one.start, None)
        return replace(part, crops=crops)

    def _begun(self, one: Planted, crop: np.ndarray, landmarks: np.ndarray) -> render.Scene:
        whole = np.eye(2, 3)  # the picture is the crop
        portrait = portraits.Portrait(0, 0, crop, landmarks.astype(np.float64), whole)
        still = nuisance.draw_paths(np.random.default_rng(0), nuisance.Nuisance().scaled(0), one.n, self.fps)
        scene = render.Scene(units.make_canvas(portrait), one.family, one.event, still, self.fps)
        one.peak = float(scene.truth.peak.max())
        onset, apex, offset = events.visible(scene.truth.peak, int(one.event.stop * self.fps))
        one.interval = one.start + onset, one.start + apex, one.start + offset
        return scene


def _lies_flat(landmarks: np.ndarray) -> bool:
    """Whether the lids' landmarks follow one another across the picture: of a head turned far they don't."""
    return all((np.diff(landmarks[lid, 0]) > 0).all() for lid in _LIDS)


def moved_skin(scene: render.Scene, crop: np.ndarray, t: int) -> np.ndarray:
    """A crop (S, S) uint8 with its skin moved as the scene's is in frame ``t``; nothing is painted where it opens."""
    if not scene.amplitudes[t].any():
        return crop
    x, y, shade = scene.origin(t, scene.field(t), *scene.undo_similarity(t))
    fine = cv2.resize(
        crop.astype(np.float32), None, fx=render.FINE, fy=render.FINE, interpolation=cv2.INTER_CUBIC
    )
    middle = (render.FINE - 1) / 2
    grey = render.look_up(fine, render.FINE * x + middle, render.FINE * y + middle) * (1 + shade)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def held_against(planted: list[Planted], intervals: pd.DataFrame) -> pd.DataFrame:
    """What became of the movements that were laid in one reading.

    Parameters
    ----------
    planted : list of Planted
    intervals : DataFrame
        onset, offset of what was found, samples, closed.

    Returns
    -------
    DataFrame
        onset, apex, offset (samples), size_px, peak_px, units, family, found: an interval has an IoU of .5 or more.
    """
    kinds = {"onset": int, "apex": int, "offset": int, "size_px": float, "peak_px": float}
    values = []
    for one in planted:
        if one.interval is not None:
            moving = "+".join(f"{_SIDE[m.side]}{m.unit}" for m in one.event.movements)
            values.append((*one.interval, one.event.strength, one.peak, moving, one.family))
    rows = pd.DataFrame(values, columns=[*kinds, "units", "family"]).astype(kinds)
    same = {"subject": "any", "video": "film"}
    matches = metrics.spotting(intervals[["onset", "offset"]].assign(**same), rows.assign(**same))["matches"]
    return rows.assign(found=rows.index.isin(matches["truth"]))


def in_words(planted: pd.DataFrame) -> str:
    """What `held_against` counted, of all readings of a film, as a sentence."""
    if planted.empty:
        return "no place in this recording shows a face for long enough, with nothing found there, to plant a movement"
    counts = planted.groupby("size_px")["found"].agg(["sum", "size"])
    shares = ", ".join(f"of {size:g} px in {row['sum']} of {row['size']}" for size, row in counts.iterrows())
    return f"in this recording a planted movement {shares} is found (pixels of the 112-pixel crop)"

"""Everything in a clip that isn't the expression: head, eyes, light, camera. Each has a named scale.

Ranges are drawn once a clip. Paths over time are smooth (no power above a few hertz, as heads move), start at zero
and are scaled to their largest excursion.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from melib.errors import DataError
from melib.simulate import events
from melib.simulate.worlds import FIRST, World


@dataclass(frozen=True)
class Nuisance:
    """Scales of all nuisances. A pair is the range that a clip's largest excursion is drawn from.

    Attributes
    ----------
    drift : pair of float
        Head translation, crop pixels.
    rotation : pair of float
        In the picture plane, degrees.
    zoom : pair of float
        Relative change of size.
    turn : pair of float
        Out of the plane (yaw and pitch), degrees.
    blink_share : float in [0, 1]
        Share of clips with a blink.
    blink : pair of float
        Way of the upper lid's margin, crop pixels.
    gaze_share : float in [0, 1]
        Share of clips in which the gaze jumps.
    gaze : pair of float
        Way of the iris, crop pixels.
    gain : pair of float
        Slow drift of brightness, relative.
    flicker : pair of float
        Standard deviation of brightness from frame to frame, relative.
    light_turn : pair of float
        Change of the light's direction: relative brightness between a face's sides.
    noise : pair of float
        Standard deviation of shot and read noise at mid grey (128), grey levels of the written frame.
    jpeg : pair of int
        Quality of the written frames, both ends included.
    """

    drift: tuple[float, float] = (0.5, 2.0)
    rotation: tuple[float, float] = (0.2, 1.0)
    zoom: tuple[float, float] = (0.002, 0.006)
    turn: tuple[float, float] = (1.0, 3.0)
    blink_share: float = 0.2
    blink: tuple[float, float] = (4.0, 6.0)
    gaze_share: float = 0.35
    gaze: tuple[float, float] = (0.5, 1.6)
    gain: tuple[float, float] = (0.005, 0.02)
    flicker: tuple[float, float] = (0.002, 0.004)
    light_turn: tuple[float, float] = (0.01, 0.04)
    noise: tuple[float, float] = (2.0, 3.0)
    jpeg: tuple[int, int] = (90, 95)

    def __post_init__(self):  # noqa: D105
        for entry in fields(self):
            values = np.atleast_1d(getattr(self, entry.name))
            if not np.isfinite(values).all() or (values < 0).any() or (np.diff(values) < 0).any():
                raise DataError(
                    f"Nuisance {entry.name} = {getattr(self, entry.name)} must be positive and in order."
                )

    def scaled(self, factor: float) -> "Nuisance":
        """All scales times ``factor``; 0 turns everything off (JPEG then has quality 100).

        Shares of clips are kept, unless the factor is 0; JPEG's loss (100 - quality) is scaled.
        """
        if not np.isfinite(factor) or factor < 0:
            raise DataError(f"The nuisance factor is {factor}; it must be 0 or more (1 is the default).")
        new: dict = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name.endswith("_share"):
                new[entry.name] = value if factor else 0.0
            elif entry.name == "jpeg":
                new[entry.name] = tuple(round(max(30.0, 100 - factor * (100 - quality))) for quality in value)
            else:
                new[entry.name] = tuple(factor * bound for bound in value)
        return replace(self, **new)


def resolve(nuisance: "float | Nuisance", world: World = FIRST) -> Nuisance:
    """A factor on the world's scales, or the scales themselves."""
    if isinstance(nuisance, Nuisance):
        return nuisance
    return replace(Nuisance(), **world.clips).scaled(float(nuisance))


@dataclass(frozen=True)
class Paths:
    """One clip's nuisance over time; arrays (T,) or (T, 2).

    Attributes
    ----------
    shift : (T, 2) crop pixels
    angle : (T,) radians
    size : (T,) factor
    turn : (T, 2) yaw and pitch, radians
    blink : (T,) in [0, 1], and ``blink_px`` : float, way of the upper lid's margin
    gaze : (T, 2) crop pixels
    gain : (T,) factor
    light : (T, 2) relative brightness along x and y
    noise : float, sd at mid grey
    jpeg : int
    hold : int, frames for which the camera's picture stands still
    """

    shift: np.ndarray
    angle: np.ndarray
    size: np.ndarray
    turn: np.ndarray
    blink: np.ndarray
    blink_px: float
    gaze: np.ndarray
    gain: np.ndarray
    light: np.ndarray
    noise: float
    jpeg: int
    hold: int = 1


def draw_hold(rng: np.random.Generator, camera_fps: Sequence[float], fps: float) -> int:
    """Draw for how many frames of the data set a camera's picture stands still; a slower data set has none."""
    return max(1, round(fps / float(rng.choice(camera_fps)))) if camera_fps else 1


def draw_paths(
    rng: np.random.Generator, nuisance: Nuisance, n_frames: int, fps: float, world: World = FIRST
) -> Paths:
    """Draw one clip's nuisance.

    Parameters
    ----------
    rng : Generator
    nuisance : Nuisance
    n_frames : int
    fps : float
    world : World

    Returns
    -------
    Paths
    """
    seconds = np.arange(n_frames) / fps

    def excursion(pair, columns=1, top_hz=2.5):
        path = smooth_path(rng, seconds, columns, top_hz)
        return path * rng.uniform(*pair)

    blink, blink_px = np.zeros(n_frames), float(rng.uniform(*nuisance.blink))
    if rng.uniform() < nuisance.blink_share:
        blink = _blink(rng, seconds)
    elif world.lid_share and rng.uniform() < world.lid_share:
        blink = _blink(rng, seconds, depth=float(rng.uniform(0.05, 0.4)))
    gaze = np.zeros((n_frames, 2))
    if rng.uniform() < nuisance.gaze_share:
        gaze = _gaze(rng, seconds) * rng.uniform(*nuisance.gaze)
    slow = excursion(nuisance.gain, top_hz=1.0)[:, 0]
    fast = rng.uniform(*nuisance.flicker) * rng.standard_normal(n_frames)
    return Paths(
        shift=excursion(nuisance.drift, 2),
        angle=np.radians(excursion(nuisance.rotation)[:, 0]),
        size=1 + excursion(nuisance.zoom)[:, 0],
        turn=np.radians(excursion(nuisance.turn, 2)),
        blink=blink,
        blink_px=blink_px,
        gaze=gaze,
        gain=1 + slow + fast,
        light=excursion(nuisance.light_turn, 2, top_hz=1.0),
        noise=float(rng.uniform(*nuisance.noise)),
        jpeg=int(rng.integers(nuisance.jpeg[0], nuisance.jpeg[1] + 1)),
        hold=draw_hold(rng, world.camera_fps, fps),
    )


def smooth_path(rng: np.random.Generator, seconds: np.ndarray, columns: int, top_hz: float) -> np.ndarray:
    """(T, columns), zero at the first frame, largest length 1: slow sinusoids with falling amplitudes."""
    hz = rng.uniform(0.1, top_hz, size=(8, columns))
    phase = rng.uniform(0, 2 * np.pi, size=(8, columns))
    weight = rng.standard_normal((8, columns)) / (0.25 + hz) ** 1.5  # heads drift more than they shake
    path = (weight * np.sin(2 * np.pi * hz * seconds[:, None, None] + phase)).sum(1)
    path = path - path[:1]
    return path / max(1e-9, float(np.linalg.norm(path, axis=1).max()))


@dataclass(frozen=True)
class Blink:
    """One blink.

    Attributes
    ----------
    start, duration : float
        Seconds.
    closing, closed : float
        Shares of the duration; the lid opens in the rest of it.
    depth : float in (0, 1]
        How far the lid goes.
    """

    start: float
    duration: float
    closing: float
    closed: float
    depth: float = 1.0

    def course(self, seconds: np.ndarray) -> np.ndarray:
        """(T,) in [0, depth] at times (T,)."""
        phase = np.clip((seconds - self.start) / self.duration, 0, 1)
        rise = ease(phase / self.closing)
        fall = ease((phase - self.closing - self.closed) / (1 - self.closing - self.closed))
        return self.depth * (rise - fall)


def blink_duration(rng: np.random.Generator) -> float:
    """Draw the duration of a blink, seconds, between the 5th and the 95th percentile of CAS(ME)^3."""
    knots = events.event_statistics()["casme3_blink"]["duration_s"]
    return float(np.interp(rng.uniform(5, 95), events.event_statistics()["percentiles"], knots))


def blink_phases(rng: np.random.Generator) -> tuple[float, float]:
    """Draw a blink's closing and closed shares: closing takes about a third of it, opening is slower."""
    return float(rng.uniform(0.25, 0.38)), float(rng.uniform(0.05, 0.15))


def _blink(rng: np.random.Generator, seconds: np.ndarray, depth: float = 1.0) -> np.ndarray:
    """A blink somewhere in the clip, in [0, depth]."""
    duration = blink_duration(rng)
    start = float(rng.uniform(-0.5 * duration, seconds[-1] - 0.5 * duration))
    return Blink(start, duration, *blink_phases(rng), depth).course(seconds)


def _gaze(rng: np.random.Generator, seconds: np.ndarray) -> np.ndarray:
    """(T, 2), length up to 1: a quick jump (a saccade of 40 ms), in half of the clips a jump back."""
    direction = rng.uniform(-0.35, 0.35) + np.pi * rng.integers(0, 2)
    first, second = np.sort(rng.uniform(0.05, 1.0, 2)) * seconds[-1]
    path = ease((seconds - first) / 0.04)
    if rng.uniform() < 0.5:
        path = path - ease((seconds - second) / 0.04)
    return path[:, None] * np.array([np.cos(direction), np.sin(direction)])


def ease(x: np.ndarray) -> np.ndarray:
    """0 before 0, 1 after 1, smooth to the second derivative."""
    x = np.clip(x, 0, 1)
    return x**3 * (10 - 15 * x + 6 * x**2)

"""The best that anybody could do on a simulated clip: "too small to see" against "the model is blind".

    still     photograph, nuisance                        noise-free frames, (T, H, W) grey levels
    moved     photograph, nuisance, movement * amplitude       "
    signal    moved - still
    d'        sqrt( sum over frames and pixels of signal^2 / variance )
    sd_px     1 / sqrt( sum of (d moved / d amplitude)^2 / variance )         crop pixels

The observer is told everything: photograph, field, course, place and nuisance, and the noise's standard deviation in
every pixel; only the noise itself, white and Gaussian, is hidden. Then the likelihood ratio is a matched filter with
this d' (signal known exactly: Green and Swets, Signal Detection Theory and Psychophysics, 1966, chapter 6), and no
unbiased estimate of the amplitude has a smaller standard deviation than sd_px (the Cramer-Rao bound: Kay,
Fundamentals of Statistical Signal Processing: Estimation Theory, 1993, chapter 3). As long as the signal grows in
proportion to the amplitude, d' = amplitude / sd_px.

It is an upper bound that no honest model reaches: a model has to find out what this observer knows. Rounding, JPEG,
cropping and flow are computed from these frames, so they only lower what can be known. Left out are the noise's
own change with brightness (it adds about 1e-4 of the information), that the simulator shifts one grain of noise from
frame to frame instead of drawing it anew, and the last hundredths of a pixel to which it undoes a warp (1 to 2 % of d').
"""

import math
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
from scipy import special

from melib import stats
from melib.errors import DataError
from melib.simulate import render
from melib.simulate.nuisance import Paths
from melib.study.psychometrics import HALF

# Crop pixels to either side for the derivative: the signal is linear there, rounding is 1e-3 of it.
STEP = 0.02
# Every warp is undone with this many steps. The simulator stops earlier, at .03 pixel of the photograph (2 % of a
# clip's d'); a count that changes with the amplitude would leave a trace of the nuisance in the signal.
_ITERATIONS = 6
_BOOTSTRAP = 0  # stream of random numbers
_CURVE_RESAMPLES = 1000  # of the ideal curve
_LARGEST = 1e6  # a factor on d' is looked for between this and its inverse


# On a simulated clip ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClipLimit:
    """What can be known about one movement, frame by frame: frames are independent, so they add up.

    Attributes
    ----------
    amplitude : float
        Largest displacement over the skin and the clip, crop pixels (``peak_px`` of the truth).
    energy : (T,) float64
        d' squared of each frame alone, movement of this amplitude against none.
    information : (T,) float64
        Fisher information on the amplitude in each frame, 1 / crop pixels squared, at this amplitude.
    """

    amplitude: float
    energy: np.ndarray
    information: np.ndarray

    @property
    def d_prime(self) -> float:
        """Movement against no movement, all frames together."""
        return math.sqrt(self.energy.sum())

    @property
    def sd_px(self) -> float:
        """Smallest standard deviation of an unbiased estimate of the amplitude, crop pixels; inf without movement."""
        total = float(self.information.sum())
        return 1 / math.sqrt(total) if total > 0 else math.inf


def clip_limit(
    scene: render.Scene,
    family: str,
    *,
    amplitude: float | None = None,
    course: np.ndarray | None = None,
    every: int = 1,
) -> ClipLimit:
    """Best possible detection and measurement of a movement in one simulated clip.

    Parameters
    ----------
    scene : render.Scene
    family : {"patches", "muscles"}
        The scene's own.
    amplitude : float or None
        Peak in crop pixels that the movement is scaled to, its course over time kept; None: as it is.
    course : (T, K) float or None
        Crop pixels of each of the scene's fields that belong to the movement asked about; what is left of
        ``scene.amplitudes`` is nuisance, there in both cases. None: all of them, as in a clip with one event.
    every : int, at least 1
        Render each n-th of the frames that move and interpolate between them: four renderings a frame are slow, and
        at 200 frames a second an expression is smooth.

    Returns
    -------
    ClipLimit

    Raises
    ------
    DataError
        If there is no noise, or a scene without movement is to be scaled.
    """
    course = scene.amplitudes if course is None else np.asarray(course, dtype=float)
    if not scene.paths.noise > 0:
        raise DataError("this clip has no noise, so nothing is too small to see; simulate it with some.")
    peak = peak_of(scene, course)
    still = np.zeros(scene.n_frames)
    if peak == 0:
        if amplitude is not None:
            raise DataError(f"nothing moves in this clip, so it can't be scaled to {amplitude} pixels.")
        return ClipLimit(0.0, still, still.copy())
    amplitude = peak if amplitude is None else float(amplitude)
    moving = np.flatnonzero(course.any(axis=1))  # elsewhere both hypotheses look the same
    rendered = moving[::every]
    known = _frame_by_frame(scene, family, course, peak, amplitude, rendered)
    energy, information = still, still.copy()
    energy[moving], information[moving] = (np.interp(moving, rendered, values) for values in known)
    return ClipLimit(amplitude, energy, information)


def _frame_by_frame(scene, family, course, peak, amplitude, frames) -> np.ndarray:
    """Energy and information of some frames, (2, n) float64."""
    low, high = max(amplitude - STEP, 0.0), amplitude + STEP  # nothing moves by less than nothing
    film = _film(scene, family, course, frames, (0.0, amplitude / peak, low / peak, high / peak))
    out = np.empty((2, len(frames)))
    for row in range(len(frames)):
        still, moved, before, after = (film.frame(row + k * len(frames)) for k in range(4))
        variance = noise_variance(still, scene.paths.noise)
        signals = moved - still, (after - before) / (high - low)
        out[:, row] = [(signal.astype(np.float64) ** 2 / variance).sum() for signal in signals]
    return out


def peak_of(scene: render.Scene, course: np.ndarray) -> float:
    """Largest displacement over skin and time by fields of a scene, course (T, K); crop pixels."""
    used = np.flatnonzero(course.any(axis=0))
    if not used.size:
        return 0.0
    skin = render.on_skin(scene.canvas, [scene.movements[k] for k in used])
    return float(render.peaks(course[:, used], skin).max())


def noise_variance(image: np.ndarray, noise: float) -> np.ndarray:
    """Variance of the camera's noise around a noise-free frame.

    Parameters
    ----------
    image : (H, W) float
        Grey levels.
    noise : float
        ``Paths.noise``: standard deviation at mid grey.

    Returns
    -------
    (H, W) float
        Grey levels squared: half of it constant, half in proportion to brightness, as ``Scene.written`` adds it.
    """
    return noise**2 * (0.5 + 0.5 / 128 * np.maximum(image, 0))


class _Film(render.Scene):
    """A scene whose warps are all undone equally well, whatever the amplitude."""

    def _iterations(self, t: int, total: np.ndarray) -> int:
        return _ITERATIONS


def _film(
    scene: render.Scene, family: str, course: np.ndarray, moving: np.ndarray, factors: tuple[float, ...]
) -> _Film:
    """Frames ``moving`` with the movement times each factor, one stretch after the other: laid out only once."""
    rest, course = (scene.amplitudes - course)[moving], course[moving]
    arrays = {f.name: getattr(scene.paths, f.name) for f in fields(Paths)}
    rows = np.tile(moving, len(factors))
    paths = replace(
        scene.paths, **{name: path[rows] for name, path in arrays.items() if isinstance(path, np.ndarray)}
    )
    amplitudes = np.concatenate([rest + factor * course for factor in factors])
    # Frames a second only time an event, and here there is none.
    return _Film(scene.canvas, family, None, paths, 1.0, scene.movements, amplitudes)


# Over many events ---------------------------------------------------------------------------------------------------


def hit_rate(d_prime, false_alarm) -> np.ndarray:
    """Probability of detection at a fixed probability of a false alarm: Phi(d' + Phi^-1(false alarm)).

    Parameters
    ----------
    d_prime : (...) float
    false_alarm : (...) float in (0, 1)
        Of one trial without movement; ``psychometrics.guess_rate`` turns a rate per hour into it.

    Returns
    -------
    (...) float64 in [0, 1]

    Examples
    --------
    >>> float(hit_rate(0, 0.05).round(2)), float(hit_rate(1.645, 0.05).round(2))
    (0.05, 0.5)
    """
    return special.ndtr(np.asarray(d_prime, dtype=float) + special.ndtri(false_alarm))


def ideal_curve(px, sd_px, subjects, false_alarm: float, *, seed: int = 0):
    """Detection of all events by the ideal observer, each scaled to the same amplitude.

    Parameters
    ----------
    px : (P,) float, rising
        Amplitudes, crop pixels.
    sd_px : (N,) float, above 0
        Of each event (``ClipLimit.sd_px``): d' is amplitude / this.
    subjects : (N,) of str
    false_alarm : float in (0, HALF)
        Probability of a false alarm where an event could be.
    seed : int

    Returns
    -------
    curve : DataFrame
        px, probability, low, high.
    threshold, low, high : float
        Crop pixels at which half is detected, and its 95 % interval over subjects.
    """
    weight = _weights(subjects, _CURVE_RESAMPLES, seed)  # (1 + n, N)
    hits = hit_rate(px[:, None] / np.asarray(sd_px, dtype=float), false_alarm)  # (P, N)
    curves = weight @ hits.T / weight.sum(axis=1, keepdims=True)  # (1 + n, P)
    crossed = [float(np.exp(np.interp(HALF, curve, np.log(px)))) for curve in curves]
    low, high = stats.interval(curves[1:])
    curve = pd.DataFrame({"px": px, "probability": curves[0], "low": low, "high": high})
    return curve, (crossed[0], *map(float, stats.interval(crossed[1:])))


def _weights(subjects, n: int, seed: int) -> np.ndarray:
    """How often each of N trials counts, (1 + n, N), by its subject: all once, then each resample."""
    people, owner = np.unique(np.asarray(subjects), return_inverse=True)
    drawn, _ = stats.draws((seed, _BOOTSTRAP), len(people), n=n)
    return np.vstack([np.ones(len(people)), drawn])[:, owner]


def efficiency(
    hits, alarms, hit_subjects, alarm_subjects, ideal, *, n: int = 1000, seed: int = 0
) -> dict[str, float | bool]:
    """How much of what there is to know a model uses: its efficiency against the ideal observer of the same events.

    Parameters
    ----------
    hits : (N,) of 0 and 1
        Whether the model detected each movement.
    alarms : (M,) of 0 and 1
        Whether it detected something in each stretch without one.
    hit_subjects, alarm_subjects : (N,), (M,) of str
    ideal : (N,) float, above 0
        d' of the ideal observer for each movement (``ClipLimit.d_prime``).
    n : int
        Bootstrap resamples.
    seed : int

    Returns
    -------
    dict
        - efficiency: at least 0; share of the ideal observer's d' squared with which it would detect what the model
          detects. Where all events are equally hard it is (d'_model / d'_ideal) squared
        - efficiency_low, efficiency_high: 95 %, by bootstrap over subjects; NaN with a single subject
        - saturated: the model made no error that could be counted: the efficiency is a lower bound, its high end inf

    Raises
    ------
    DataError
        If a side is empty.

    Notes
    -----
    An ideal observer whose d' is sqrt(e) times as large has, at the false alarm rate F, the hit rate
    mean(Phi(sqrt(e) d' + Phi^-1(F))). The value is the e that gives the model's. So movements far easier than others don't
    hide the rest, as they would in a mean of d'. An error rate of 0 is counted as half an error (Macmillan and Kaplan,
    Psychological Bulletin 98, 1985).
    """
    hits, alarms, ideal = (np.asarray(values, dtype=float) for values in (hits, alarms, ideal))
    if not hits.size or not alarms.size:
        raise DataError("efficiency needs stretches with and without a movement.")
    weight = _weights([*hit_subjects, *alarm_subjects], n, seed)
    moved, still = weight[:, : hits.size], weight[:, hits.size :]
    (hit, no_miss, _), (alarm, _, no_alarm) = _rates(hits, moved), _rates(alarms, still)
    values = _shares(ideal, moved, special.ndtri(alarm), hit)
    low, high = stats.interval(values[1:])
    saturated = bool(no_miss[0] or no_alarm[0])
    return {
        "efficiency": float(values[0]),
        "efficiency_low": float(low),
        "efficiency_high": math.inf if saturated and len(values) > 1 else float(high),
        "saturated": saturated,
    }


def _rates(answers, weight):
    """Share of answers that are 1 in each resample, half a count off 0 and 1, and where it was 1 or 0; NaN without any."""
    ones, counted = weight @ answers, weight.sum(axis=1)
    counted = np.where(counted > 0, counted, np.nan)
    return np.clip(ones / counted, 0.5 / counted, 1 - 0.5 / counted), ones == counted, ones == 0


def _shares(ideal, weight, criterion, wanted) -> np.ndarray:
    """Factor on d' squared with which the ideal observer's hit rate, mean over events, is the wanted one.

    ideal (N,), weight (B, N), criterion and wanted (B,) -> (B,); by bisection, since the rate grows with the factor.
    """
    low, high = np.full(len(wanted), -math.log(_LARGEST)), np.full(len(wanted), math.log(_LARGEST))
    total = weight.sum(axis=1)
    for _ in range(40):
        middle = (low + high) / 2
        rate = special.ndtr(np.exp(middle)[:, None] * ideal + criterion[:, None])
        under = (weight * rate).sum(axis=1) < wanted * total
        low, high = np.where(under, middle, low), np.where(under, high, middle)
    factor = np.where(wanted > special.ndtr(criterion), np.exp(low + high), 0.0)
    return np.where(np.isnan(wanted + criterion), np.nan, factor)

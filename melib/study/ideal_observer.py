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
from collections.abc import Collection

import numpy as np
import pandas as pd
from scipy import special

from melib import stats
from melib.errors import DataError
from melib.simulate import render, units
from melib.study.psychometrics import HALF

# Crop pixels to either side for the derivative: the signal is linear there, rounding is 1e-3 of it.
STEP = 0.02
SMALL = 0.1  # crop pixels at which an amplitude is estimated: small enough for a linear signal
# Every warp is undone with this many steps. The simulator stops earlier, at .03 pixel of the photograph (2 % of a
# clip's d'); a count that changes with the amplitude would leave a trace of the nuisance in the signal.
_ITERATIONS = 6
_BOOTSTRAP = 0  # stream of random numbers
_CURVE_RESAMPLES = 1000  # of the ideal curve


def clip_sd(
    scene: render.Scene, *, at: float = SMALL, course: np.ndarray | None = None, every: int = 1
) -> float:
    """Smallest standard deviation of an unbiased estimate of a movement's amplitude in one simulated clip.

    Parameters
    ----------
    scene : render.Scene
    at : float
        Peak in crop pixels that the movement is scaled to, its course over time kept.
    course : (T, K) float or None
        Crop pixels of each of the scene's fields that belong to the movement asked about; what is left of
        ``scene.amplitudes`` is nuisance, there in both cases. None: all of them, as in a clip with one event.
    every : int, at least 1
        Render each n-th of the frames that move and interpolate between them: three renderings a frame are slow, and
        at 200 frames a second an expression is smooth.

    Returns
    -------
    float
        Crop pixels; inf without movement. Frames are independent, so that what they tell adds up.

    Raises
    ------
    DataError
        If there is no noise.
    """
    course = scene.amplitudes if course is None else np.asarray(course, dtype=float)
    if not scene.paths.noise > 0:
        raise DataError("this clip has no noise, so nothing is too small to see; simulate it with some.")
    peak = peak_of(scene, course)
    if peak == 0:
        return math.inf
    moving = np.flatnonzero(course.any(axis=1))  # elsewhere both hypotheses look the same
    frames = moving[::every]
    low, high = max(at - STEP, 0.0), at + STEP  # nothing moves by less than nothing
    rest = scene.amplitudes - course
    films = [_Film(scene, rest + factor * course) for factor in (0.0, low / peak, high / peak)]
    information = np.empty(len(frames))
    for row, frame in enumerate(frames):
        still, before, after = (film.frame(frame) for film in films)
        signal = ((after - before) / (high - low)).astype(np.float64)
        information[row] = (signal**2 / noise_variance(still, scene.paths.noise)).sum()
    return float(1 / math.sqrt(np.interp(moving, frames, information).sum()))


def share_left(scene: render.Scene, family: str, course: np.ndarray, moved: Collection[int]) -> float:
    """Share of the information on a movement that is left to an observer who isn't told what else changes.

    Unknown in every frame: the head's shift, rotation, zoom and turn, the light's strength and direction, and how far each
    unit of the face moves that isn't the movement's own. With the Fisher information J of all of them, that on the movement
    is the Schur complement J_mm - J_mu J_uu^-1 J_um (Kay, chapter 3): what of its signal no sum of theirs can imitate.

    Parameters
    ----------
    scene : render.Scene
        With noise.
    family : {"patches", "muscles"}
    course : (T, K) float
        As for `clip_sd`; its strongest frame is asked about, on the photograph at rest.
    moved : collection of int
        Action units of the movement.

    Returns
    -------
    float in [0, 1]
    """
    canvas, image = scene.canvas, scene.canvas.portrait.image.astype(float)
    grown_y, grown_x = np.gradient(image)

    def signal(
        way, shade=0.0
    ):  # of a small displacement (H, W, 2) in image pixels and a change of brightness, (H, W)
        return image * shade - grown_x * way[..., 0] - grown_y * way[..., 1]

    def field(unit):
        return signal(canvas.to_image(unit.displacement(canvas)), unit.shade)

    top = course[np.argmax(np.abs(course).sum(axis=1))]
    own = sum(a * field(unit) for a, unit in zip(top, scene.movements, strict=True) if a)
    one, none = np.ones(image.shape), np.zeros(image.shape)
    x, y = scene.grid_x - scene.pivot[0], scene.grid_y - scene.pivot[1]
    head = [signal(np.dstack(way)) for way in ((one, none), (none, one), (-y, x), (x, y))]
    head += [signal(turn) for turn in scene.turning]
    slopes = np.gradient(canvas.depth / canvas.portrait.scale)  # of the head's surface, down and across
    steep = np.sqrt(1 + (slopes[0] ** 2 + slopes[1] ** 2) * canvas.portrait.scale**2)
    light = [image, *(image * slope / steep for slope in slopes)]
    others = [field(units.unit_field(canvas, family, unit)) for unit in units.UNITS if unit not in moved]
    weight = 1 / np.sqrt(noise_variance(image, scene.paths.noise))
    own, unknown = (
        (own * weight).ravel(),
        np.stack([(s * weight).ravel() for s in (*head, *light, *others)], axis=1),
    )
    unknown /= np.linalg.norm(unknown, axis=0)
    left = own - unknown @ np.linalg.lstsq(unknown, own, rcond=None)[0]
    return float(left @ left / (own @ own))


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
    """A laid out scene whose fields go other ways (T, K), each warp undone equally well whatever the amplitude."""

    def __init__(self, scene: render.Scene, amplitudes: np.ndarray):
        vars(self).update(vars(scene), amplitudes=amplitudes)
        fields = amplitudes[:, scene.amplitudes.any(axis=0)]  # layers are of what moves at all, fields first
        self.amounts = np.hstack([fields, scene.amounts[:, fields.shape[1] :]]).astype(np.float32)

    def _iterations(self, t: int, total: np.ndarray) -> int:
        return _ITERATIONS


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


def ideal_curve(px, sd_px, subjects, false_alarm, *, seed: int = 0):
    """Detection of all events by the ideal observer, each scaled to the same amplitude.

    Parameters
    ----------
    px : (P,) float, rising
        Amplitudes, crop pixels.
    sd_px : (N,) float, above 0
        Of each event (``ClipLimit.sd_px``): d' is amplitude / this.
    subjects : (N,) of str
    false_alarm : float or (N,) in (0, HALF)
        Probability of a false alarm where an event could be.
    seed : int

    Returns
    -------
    curve : DataFrame
        px, probability, low, high.
    row : dict
        threshold_px, threshold_px_low, threshold_px_high: crop pixels at which half is detected, and its 95 % interval over
        subjects; events, subjects, remark.
    """
    people, owner = np.unique(np.asarray(subjects), return_inverse=True)
    drawn, _ = stats.draws((seed, _BOOTSTRAP), len(people), n=_CURVE_RESAMPLES)
    weight = np.vstack([np.ones(len(people)), drawn])[:, owner]  # (1 + n, N)
    hits = hit_rate(px[:, None] / np.asarray(sd_px, dtype=float), false_alarm)  # (P, N)
    curves = weight @ hits.T / weight.sum(axis=1, keepdims=True)  # (1 + n, P)
    crossed = [float(np.exp(np.interp(HALF, curve, np.log(px)))) for curve in curves]
    low, high = stats.interval(curves[1:])
    curve = pd.DataFrame({"px": px, "probability": curves[0], "low": low, "high": high})
    ends = zip(("", "_low", "_high"), (crossed[0], *stats.interval(crossed[1:])), strict=True)
    row = {f"threshold_px{end}": float(px) for end, px in ends}
    return curve, row | {"events": len(owner), "subjects": len(people), "remark": ""}

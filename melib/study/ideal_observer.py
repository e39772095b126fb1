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
from scipy import special

from melib import stats
from melib.errors import DataError
from melib.simulate import render
from melib.simulate.nuisance import Paths

STEP = (
    0.02  # crop pixels to either side for the derivative: the signal is linear there, rounding is 1e-3 of it
)
QUANTISED = 1 / 12  # variance that rounding to whole grey levels adds, grey levels squared

# Every warp is undone with this many steps. The simulator stops earlier, at .03 pixel of the photograph (2 % of a
# clip's d'); a count that changes with the amplitude would leave a trace of the nuisance in the signal.
_ITERATIONS = 6
_BOOTSTRAP = 0  # stream of random numbers
_LARGEST = 1e6  # a factor on d' is looked for between this and its inverse


# On arrays ----------------------------------------------------------------------------------------------------------


def detectability(signal, variance) -> float:
    """Tell how well a known signal is told from none in independent Gaussian noise.

    Parameters
    ----------
    signal : (...) float
        Noise-free difference, grey levels.
    variance : (...) float, above 0
        Of the noise, grey levels squared; any shape that broadcasts to the signal's.

    Returns
    -------
    float, at least 0
        d', in standard deviations of the best decision variable.

    Examples
    --------
    >>> detectability([3.0, 4.0], 4.0)
    2.5
    """
    return math.sqrt(_energy(signal, variance))


def amplitude_sd(slope, variance) -> float:
    """Cramer-Rao bound of an amplitude: the smallest standard deviation of an unbiased estimate.

    Parameters
    ----------
    slope : (...) float
        Derivative of the noise-free picture with respect to the amplitude, grey levels a pixel of amplitude.
    variance : (...) float, above 0
        Grey levels squared.

    Returns
    -------
    float
        Pixels; ``inf`` where nothing changes with the amplitude.
    """
    information = _energy(slope, variance)
    return 1 / math.sqrt(information) if information > 0 else math.inf


def _energy(signal, variance) -> float:
    signal, variance = np.asarray(signal, dtype=float), np.asarray(variance, dtype=float)
    if not (np.isfinite(signal).all() and (variance > 0).all()):
        raise DataError("an ideal observer needs a finite signal and a variance above 0 in every pixel.")
    return float((signal**2 / variance).sum())


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


def d_prime_of_auc(auc) -> np.ndarray:
    """Equal-variance d' of an area under the ROC curve: sqrt(2) Phi^-1(AUC), (...) float64."""
    return math.sqrt(2) * special.ndtri(np.asarray(auc, dtype=float))


def d_prime_of_rates(hit, false_alarm) -> np.ndarray:
    """Equal-variance d' of a rate of hits and one of false alarms: Phi^-1(hit) - Phi^-1(false alarm)."""
    return special.ndtri(np.asarray(hit, dtype=float)) - special.ndtri(np.asarray(false_alarm, dtype=float))


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

    def amplitude_for(self, d_prime: float) -> float:
        """Crop pixels at which the observer reaches a d', by proportion: d' times ``sd_px``.

        Right for amplitudes up to some tenths of a pixel, where the signal is linear, and with ``sd_px`` taken at a
        small amplitude.
        """
        return d_prime * self.sd_px

    def within(self, first: int, last: int) -> "ClipLimit":
        """Return the same for an observer who sees frames ``first`` to ``last`` only, closed and 0-based.

        Raises
        ------
        DataError
            If the window is empty or leaves the clip.
        """
        if not 0 <= first <= last < len(self.energy):
            raise DataError(
                f"frames {first} to {last} aren't a window of a clip of {len(self.energy)} frames."
            )
        seen = slice(first, last + 1)
        return ClipLimit(self.amplitude, self.energy[seen], self.information[seen])


def clip_limit(
    scene: render.Scene,
    family: str,
    *,
    amplitude: float | None = None,
    course: np.ndarray | None = None,
    pixels: np.ndarray | None = None,
    sd: float | None = None,
    quantised: bool = False,
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
    pixels : (H, W) bool or None
        Pixels of the written frame that the observer sees; None: the whole picture. ``scene.canvas.skin`` is the face
        at rest without the openings of the eyes.
    sd : float or None
        Standard deviation of white noise, grey levels; None: the camera's, which grows with brightness.
    quantised : bool
        Add the 1/12 of rounding to the noise's variance. Rounding only loses, so it isn't needed for an upper bound; it
        brings the bound closer where noise is weak.
    every : int, at least 1
        Render each n-th of the frames that move and interpolate between them: four renderings a frame are slow, and
        at 200 frames a second an expression is smooth.

    Returns
    -------
    ClipLimit

    Raises
    ------
    DataError
        If there is no noise, an amplitude or sd isn't above 0, ``every`` is below 1, an array has another shape than
        the clip, or a scene without movement is to be scaled.
    """
    course = scene.amplitudes if course is None else np.asarray(course, dtype=float)
    _check(scene, course, amplitude, pixels, sd, quantised, every)
    peak = peak_of(scene, course)
    still = np.zeros(scene.n_frames)
    if peak == 0:
        if amplitude is not None:
            raise DataError(f"nothing moves in this clip, so it can't be scaled to {amplitude} pixels.")
        return ClipLimit(0.0, still, still.copy())
    amplitude = peak if amplitude is None else float(amplitude)
    moving = np.flatnonzero(course.any(axis=1))  # elsewhere both hypotheses look the same
    looked = moving[::every]
    known = _looked_at(scene, family, course, peak, amplitude, looked, pixels, sd, quantised)
    energy, information = still, still.copy()
    energy[moving], information[moving] = (np.interp(moving, looked, each) for each in known)
    return ClipLimit(amplitude, energy, information)


def _looked_at(scene, family, course, peak, amplitude, frames, pixels, sd, quantised) -> np.ndarray:
    """Energy and information of some frames, (2, n) float64."""
    low, high = max(amplitude - STEP, 0.0), amplitude + STEP  # nothing moves by less than nothing
    film = _film(scene, family, course, frames, (0.0, amplitude / peak, low / peak, high / peak))
    out = np.empty((2, len(frames)))
    for row in range(len(frames)):
        still, moved, before, after = (film.frame(row + k * len(frames)) for k in range(4))
        variance = noise_variance(still, scene.paths.noise, quantised) if sd is None else sd**2
        signals = moved - still, (after - before) / (high - low)
        out[:, row] = [_seen(signal, variance, pixels) for signal in signals]
    return out


def peak_of(scene: render.Scene, course: np.ndarray) -> float:
    """Largest displacement over skin and time by fields of a scene, course (T, K); crop pixels."""
    used = np.flatnonzero(course.any(axis=0))
    if not used.size:
        return 0.0
    skin = render.on_skin(scene.canvas, [scene.movements[k] for k in used])
    return float(render.peaks(course[:, used], skin).max())


def noise_variance(image: np.ndarray, noise: float, quantised: bool = False) -> np.ndarray:
    """Variance of the camera's noise around a noise-free frame.

    Parameters
    ----------
    image : (H, W) float
        Grey levels.
    noise : float
        ``Paths.noise``: standard deviation at mid grey.
    quantised : bool
        Add rounding to whole grey levels.

    Returns
    -------
    (H, W) float
        Grey levels squared: half of it constant, half in proportion to brightness, as ``Scene.written`` adds it.
    """
    return noise**2 * (0.5 + 0.5 / 128 * np.maximum(image, 0)) + (QUANTISED if quantised else 0.0)


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
        scene.paths, **{name: each[rows] for name, each in arrays.items() if isinstance(each, np.ndarray)}
    )
    amplitudes = np.concatenate([rest + factor * course for factor in factors])
    # Frames a second only time an event, and here there is none.
    return _Film(scene.canvas, family, None, paths, 1.0, scene.movements, amplitudes)


def _seen(signal: np.ndarray, variance, pixels: np.ndarray | None) -> float:
    each = signal.astype(np.float64) ** 2 / variance
    return float(each.sum() if pixels is None else each[pixels].sum())


def _check(scene, course, amplitude, pixels, sd, quantised, every) -> None:
    if every < 1:
        raise DataError(f"every is {every}; 1 looks at all frames.")
    if course.shape != scene.amplitudes.shape:
        raise DataError(f"course is {course.shape}, but the scene's amplitudes are {scene.amplitudes.shape}.")
    for name, value in (("amplitude", amplitude), ("sd", sd)):
        if value is not None and not 0 < value < math.inf:
            raise DataError(f"{name} is {value}; it must be a number above 0.")
    if sd is None and not quantised and not scene.paths.noise > 0:
        raise DataError("this clip has no noise, so nothing is too small to see; give sd, or quantised=True.")
    shape = scene.canvas.portrait.image.shape
    if pixels is not None and (np.shape(pixels) != shape or np.asarray(pixels).dtype != bool):
        raise DataError(f"pixels must be a mask of the frame's shape {shape}, got {np.shape(pixels)}.")


# A model against it -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Efficiency:
    """How much of what there is to know a model uses.

    Attributes
    ----------
    value : float, at least 0
        Share of the ideal observer's d' squared with which it would score what the model scores; 0 for a model that
        doesn't do better than chance. Where all clips are equally hard it is (d'_model / d'_ideal) squared.
    low, high : float
        95 % interval by bootstrap over subjects; NaN with a single subject.
    d_prime : float
        The model's own.
    saturated : bool
        The model made no error that could be counted: ``value`` and ``d_prime`` are lower bounds, ``high`` is inf.
    n_moved, n_still, n_subjects : int
    """

    value: float
    low: float
    high: float
    d_prime: float
    saturated: bool
    n_moved: int
    n_still: int
    n_subjects: int


def efficiency(
    moved,
    still,
    moved_subjects,
    still_subjects,
    ideal,
    *,
    measure: str = "auc",
    n: int = 1000,
    seed: int = 0,
) -> Efficiency:
    """Efficiency of a model against the ideal observer of the same clips.

    Parameters
    ----------
    moved : (N,) float
        What the model says to each clip with a movement; with "rates" 1 for detected and 0 for not.
    still : (M,) float
        The same for clips, or windows, without one.
    moved_subjects, still_subjects : (N,), (M,) of str
    ideal : (N,) float, above 0
        d' of the ideal observer for each clip with a movement (``ClipLimit.d_prime``).
    measure : {"auc", "rates"}
        Whether the model's d' comes from the area under its ROC curve or from its hits and false alarms.
    n : int
        Bootstrap resamples.
    seed : int

    Returns
    -------
    Efficiency

    Raises
    ------
    DataError
        If shapes differ, a side is empty, a number isn't finite or an ideal d' isn't above 0.

    Notes
    -----
    An ideal observer whose d' is sqrt(e) times as large has the AUC mean(Phi(sqrt(e) d' / sqrt(2))), each clip against
    itself without movement, and at the false alarm rate F the hit rate mean(Phi(sqrt(e) d' + Phi^-1(F))). The value is
    the e that gives the model's. So clips far easier than others don't hide the rest, as they would in a mean of
    d'. An error rate of 0 is counted as half an error (Macmillan and Kaplan, Psychological Bulletin 98, 1985).
    """
    trials = _trials(moved, still, moved_subjects, still_subjects, ideal, measure)
    drawn, _ = stats.draws((seed, _BOOTSTRAP), trials.people, n=n)
    weight = np.vstack([np.ones(trials.people), drawn])  # the first row is everybody once
    scored = (_areas if measure == "auc" else _rates)(trials, weight)
    gain = math.sqrt(0.5) if measure == "auc" else 1.0
    values = _share(trials.ideal, weight[:, trials.moved_by], gain, scored.criterion, scored.hit)
    low, high = stats.interval(values[1:])
    saturated = bool(scored.saturated[0])
    return Efficiency(
        value=float(values[0]),
        low=float(low),
        high=math.inf if saturated and len(drawn) else float(high),
        d_prime=float((special.ndtri(scored.hit[0]) - scored.criterion[0]) / gain),
        saturated=saturated,
        n_moved=len(trials.moved),
        n_still=len(trials.still),
        n_subjects=trials.people,
    )


@dataclass(frozen=True)
class _Trials:
    moved: np.ndarray  # (N,) float64
    still: np.ndarray  # (M,) float64
    moved_by: np.ndarray  # (N,) int, number of the subject
    still_by: np.ndarray  # (M,) int
    people: int
    ideal: np.ndarray  # (N,) float64


@dataclass(frozen=True)
class _Scored:
    """Of each resample, (B,): how often the model is right, and Phi^-1 of how often it would be without a signal."""

    hit: np.ndarray
    criterion: np.ndarray
    saturated: np.ndarray


def _trials(moved, still, moved_subjects, still_subjects, ideal, measure) -> _Trials:
    if measure not in ("auc", "rates"):
        raise DataError(f"there is no measure {measure!r}; use auc or rates.")
    moved, still, ideal = (np.asarray(each, dtype=float) for each in (moved, still, ideal))
    one, other = np.asarray(moved_subjects), np.asarray(still_subjects)
    if not (moved.shape == ideal.shape == one.shape and still.shape == other.shape) or moved.ndim != 1:
        raise DataError(
            f"efficiency needs a score, a subject and an ideal d' for each clip with a movement, got {moved.shape}, "
            f"{one.shape} and {ideal.shape}, and a score and a subject without, got {still.shape} and {other.shape}."
        )
    if not moved.size or not still.size:
        raise DataError("efficiency needs clips with and without a movement.")
    if not (np.isfinite(moved).all() and np.isfinite(still).all()):
        raise DataError(
            "a score is NaN or infinite; a clip that the model can't score is one that it didn't detect."
        )
    if not (np.isfinite(ideal).all() and (ideal > 0).all()):
        raise DataError("an ideal d' isn't a number above 0; leave out clips in which nothing moves.")
    if measure == "rates" and not (np.isin(moved, (0, 1)).all() and np.isin(still, (0, 1)).all()):
        raise DataError("rates are counted from 0 and 1; compare scores with a least score first.")
    people, owner = np.unique(np.concatenate([one, other]), return_inverse=True)
    return _Trials(moved, still, owner[: one.size], owner[one.size :], people.size, ideal)


def _areas(trials: _Trials, weight: np.ndarray) -> _Scored:
    """Area under the ROC curve in each resample, from the pairs won between each two subjects."""
    won = np.zeros((trials.people, trials.people))
    for person in range(trials.people):
        theirs = np.sort(trials.still[trials.still_by == person])
        below, upto = (np.searchsorted(theirs, trials.moved, side=side) for side in ("left", "right"))
        np.add.at(won[:, person], trials.moved_by, (below + upto) / 2)  # ties half
    counts = [np.bincount(by, minlength=trials.people) for by in (trials.moved_by, trials.still_by)]
    pairs = (weight @ counts[0]) * (weight @ counts[1])
    wins = ((weight @ won) * weight).sum(axis=1)
    area, saturated = _held(wins, pairs)
    return _Scored(area, np.zeros(len(weight)), saturated)


def _rates(trials: _Trials, weight: np.ndarray) -> _Scored:
    """Hits, and the criterion that goes with the false alarms, in each resample."""
    sides = []
    for said, by in ((trials.moved, trials.moved_by), (trials.still, trials.still_by)):
        yes, all_ = (np.bincount(by, each, minlength=trials.people) for each in (said, np.ones_like(said)))
        sides.append((weight @ yes, weight @ all_))
    hit, every = _held(*sides[0])
    alarm, _ = _held(*sides[1])
    return _Scored(hit, special.ndtri(alarm), every | (sides[1][0] == 0))


def _held(right: np.ndarray, of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rates kept half a count away from 0 and 1, and where 1 was reached; NaN where nothing was counted."""
    of = np.where(of > 0, of, np.nan)
    return np.clip(right / of, 0.5 / of, 1 - 0.5 / of), right == of


def _share(
    ideal: np.ndarray, weight: np.ndarray, gain: float, criterion: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """Factor on d' squared with which the ideal's rate, mean over clips, is the wanted one.

    ideal (N,), weight (B, N), criterion and wanted (B,) -> (B,); by bisection, since the rate grows with the factor.
    """
    low, high = np.full(len(wanted), -math.log(_LARGEST)), np.full(len(wanted), math.log(_LARGEST))
    total = weight.sum(axis=1)
    for _ in range(40):
        middle = (low + high) / 2
        rate = special.ndtr(gain * np.exp(middle)[:, None] * ideal + criterion[:, None])
        under = (weight * rate).sum(axis=1) < wanted * total
        low, high = np.where(under, middle, low), np.where(under, high, middle)
    factor = np.where(wanted > special.ndtr(criterion), np.exp(low + high), 0.0)
    return np.where(np.isnan(wanted + criterion), np.nan, factor)

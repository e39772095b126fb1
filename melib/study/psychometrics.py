"""How small a movement is still found: detection over amplitude, at a fixed rate of false alarms per hour.

    share found
    1 - lapse                                       .-------------
                                                 .-'
    halfway  . . . . . . . . . . . . . . . . . .+         threshold = pixels at the cross
                                             .-'|
    guess    ------------------------------'    |
             .02     .05     .1      .2     .5  |    1      2.5    amplitude, crop pixels, log scale

The curve is guess + (1 - guess - lapse) * Phi(slope * ln(amplitude / threshold)): a cumulative normal over the
logarithm of the amplitude, after Wichmann and Hill (Perception & Psychophysics 63, 2001). First the score that a
detection needs is fixed on validation subjects (``at_rate``), then the events of test subjects are detected or not,
then the curve is fitted to them (``fit``). A threshold beyond the tested amplitudes is reported as such, never as a
number.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import optimize, special

from melib import stats
from melib.errors import DataError

FEWEST = 10  # events: below that, even a perfect step leaves its threshold anywhere
MAX_LAPSE = 0.1  # share of strong movements that may be missed for other reasons than their size
MAX_GUESS = 0.5  # of a free guess rate; above it the threshold would be a matter of guesses

# The fit works on u = ln(amplitude), shifted and scaled so that the tested range is [-1, 1]: units then change nothing.
_BEYOND = 2.0  # the curve's middle may lie half a range outside, where it only says "outside"
_FLAT = 0.1257  # least slope in units of u: over all tested amplitudes it climbs a tenth of its height
_STEEP = 100.0  # largest: a step between neighbouring amplitudes has no other end
_STARTS = [(middle, slope) for middle in (-0.6, 0.0, 0.6) for slope in (1.0, 4.0)]
_TINY = 1e-9  # likelihoods stay finite where the curve is 0 or 1
_BOOTSTRAP = 0  # stream of random numbers

Interval = tuple[float, float]


@dataclass(frozen=True)
class Psychometric:
    """A fitted curve; every interval is 95 %, by bootstrap over subjects, NaN with a single subject.

    Attributes
    ----------
    threshold : float
        Pixels where detection is halfway between guess and 1 - lapse, or where it reaches the share asked for. ``inf``
        above all tested amplitudes, 0 below all, NaN where detection doesn't rise with amplitude: see ``where``.
    threshold_interval : (low, high)
        The end of a tested range stands for "at least" or "at most": (largest tested, inf) is above all tested.
    slope, slope_interval : float, (low, high)
        1 / standard deviation of the normal in ln(amplitude): detection goes from 16 to 84 % of its way between
        threshold * exp(-1 / slope) and threshold * exp(1 / slope). NaN where all or no events were detected.
    lapse, lapse_interval : float, (low, high)
        Share missed however strong.
    guess, guess_interval : float, (low, high)
        Share detected however weak; no width where it was given.
    where : {"inside", "above", "below", "flat"}
        Where the threshold lies with respect to the tested amplitudes.
    middle : float
        The curve's own middle in pixels, also outside the tested range: ``probability`` needs it, nobody else.
    tested : (low, high)
        Smallest and largest amplitude, pixels.
    n, n_detected, n_subjects : int
    samples : (B, 4) float64
        Middle, slope, lapse and guess of each resample.
    """

    threshold: float
    threshold_interval: Interval
    slope: float
    slope_interval: Interval
    lapse: float
    lapse_interval: Interval
    guess: float
    guess_interval: Interval
    where: str
    middle: float
    tested: Interval
    n: int
    n_detected: int
    n_subjects: int
    samples: np.ndarray = field(repr=False, compare=False)

    def probability(self, amplitude) -> np.ndarray:
        """Probability of detection.

        Parameters
        ----------
        amplitude : (...,) float
            Crop pixels.

        Returns
        -------
        (...,) float64 in [0, 1]
            NaN outside the tested amplitudes.
        """
        x = np.asarray(amplitude, dtype=float)
        low, high = self.tested
        # A hair of tolerance: a grid made with geomspace ends beside the range's end.
        inside = (x >= low * (1 - 1e-9)) & (x <= high * (1 + 1e-9))
        curve = _probability(np.where(inside, x, low), self.middle, self.slope, self.lapse, self.guess)
        return np.where(inside, curve, np.nan)

    def band(self, amplitude) -> tuple[np.ndarray, np.ndarray]:
        """95 % interval of the probability at each amplitude, by the same resamples.

        Parameters
        ----------
        amplitude : (N,) float
            Crop pixels.

        Returns
        -------
        low, high : (N,) float64
            NaN outside the tested amplitudes, and with a single subject.
        """
        x = np.asarray(amplitude, dtype=float)
        if not len(self.samples):
            return np.full(x.shape, np.nan), np.full(x.shape, np.nan)
        curves = np.stack([_probability(x, *sample) for sample in self.samples])  # (B, N)
        low, high = stats.interval(curves)
        outside = np.isnan(self.probability(x))
        return np.where(outside, np.nan, low), np.where(outside, np.nan, high)


def _probability(x: np.ndarray, middle: float, slope: float, lapse: float, guess: float) -> np.ndarray:
    """The curve; its middle is 0 where all events were detected and infinite where none was."""
    between = 0 < middle < math.inf
    risen = special.ndtr(slope * np.log(x / middle)) if between else np.full(x.shape, float(middle == 0))
    return guess + (1 - guess - lapse) * risen


def fit(
    amplitudes: Sequence[float] | np.ndarray,
    detected: Sequence[bool] | np.ndarray,
    subjects: Sequence[str] | np.ndarray,
    *,
    guess: float | None = 0.0,
    max_lapse: float = MAX_LAPSE,
    at: float | None = None,
    n: int = 1000,
    seed: int = 0,
) -> Psychometric:
    """Fit detection over amplitude by maximum likelihood.

    Parameters
    ----------
    amplitudes : (N,) float, above 0
        True peak of each event, crop pixels.
    detected : (N,) bool
        At a rate of false alarms that was fixed without these events.
    subjects : (N,) of str
    guess : float in [0, 1 - max_lapse) or None
        Chance that an event is hit by a false alarm (see ``guess_rate``); None fits it in [0, MAX_GUESS].
    max_lapse : float in [0, .5)
        Largest lapse rate.
    at : float in (0, 1), optional
        Share of events detected that defines the threshold; a curve that levels off below it has its threshold above all
        tested amplitudes. By default halfway between guess and 1 - lapse, whatever that share is.
    n : int
        Bootstrap resamples.
    seed : int

    Returns
    -------
    Psychometric

    Raises
    ------
    DataError
        If there are fewer than FEWEST events, fewer than two different amplitudes, or an amplitude that isn't a
        number above 0.

    Examples
    --------
    >>> amplitudes = np.repeat([0.1, 0.2, 0.4, 0.8], 10)
    >>> found = np.tile(np.arange(10), 4) < np.repeat([0, 2, 8, 10], 10)
    >>> curve = fit(amplitudes, found, np.tile(list("abcdefghij"), 4), n=20)
    >>> round(curve.threshold, 2), curve.where
    (0.28, 'inside')
    """
    x, y, subjects = _checked(amplitudes, detected, subjects)
    if not 0 <= max_lapse < 0.5:
        raise DataError(f"max_lapse is {max_lapse}; a lapse rate lies in [0, .5).")
    if guess is not None and not 0 <= guess < 1 - max_lapse:
        raise DataError(f"guess is {guess}; it lies in [0, 1 - max_lapse), or None to fit it.")
    if at is not None and not 0 < at < 1:
        raise DataError(f"at is {at}; a share of detected events lies between 0 and 1.")
    scale = _Scale(x, guess, max_lapse, at)
    best = scale.fit(y, np.ones(len(y)), None)
    people, owner = np.unique(subjects, return_inverse=True)
    drawn, _ = stats.draws((seed, _BOOTSTRAP), people.size, n=n)
    samples = []
    for weight in drawn[:, owner].astype(float):
        sample = scale.fit(y, weight, best)
        if sample is not None:
            samples.append(scale.reported(sample))
    assert best is not None  # two amplitudes with weight can always be fitted
    point = scale.reported(best)
    return Psychometric(
        threshold=point.threshold,
        threshold_interval=_ends([s.least for s in samples], [s.most for s in samples]),
        slope=point.slope,
        slope_interval=_ends([s.slope for s in samples]),
        lapse=point.lapse,
        lapse_interval=_ends([s.lapse for s in samples]),
        guess=point.guess,
        guess_interval=_ends([s.guess for s in samples]),
        where=point.where,
        middle=point.middle,
        tested=scale.tested,
        n=len(y),
        n_detected=int(y.sum()),
        n_subjects=int(people.size),
        samples=np.array([(s.middle, s.slope, s.lapse, s.guess) for s in samples]).reshape(-1, 4),
    )


def guess_rate(per_hour: float, seconds: float) -> float:
    """Chance that false alarms at this rate hit a stretch of this length, if they come at random (Poisson).

    Parameters
    ----------
    per_hour : float
        False alarms per hour.
    seconds : float
        Length of a trial, or of the stretch in which an alarm counts as the event's detection.

    Returns
    -------
    float in [0, 1)

    Examples
    --------
    >>> round(guess_rate(60, 1), 4)
    0.0165
    """
    if not (per_hour >= 0 and seconds >= 0 and math.isfinite(per_hour * seconds)):
        raise DataError(f"a rate of {per_hour} per hour over {seconds} s is impossible; both are 0 or more.")
    return -math.expm1(-per_hour * seconds / 3600)


# Detection at a fixed rate of false alarms ------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidates:
    """Scored intervals of some subjects, or scored windows.

    Attributes
    ----------
    score : (N,) float
    true : (N,) bool
        Whether the interval is an event's; a false one is a false alarm if its score is high enough.
    subject : (N,) of str
    hours : float, above 0
        Length of all video that was searched, also where there is no candidate.
    """

    score: np.ndarray
    true: np.ndarray
    subject: np.ndarray
    hours: float


@dataclass(frozen=True)
class OperatingPoint:
    """A least score chosen on some subjects and what it does to others.

    Attributes
    ----------
    score : float
        A candidate counts from this score on.
    allowed : float
        False alarms per hour that were allowed.
    validation_per_hour, test_per_hour : float
        False alarms per hour that this score gives. On the test subjects it may be more than allowed: that is their
        price for not having been looked at.
    accepted : (N,) bool
        Test candidates that count.
    """

    score: float
    allowed: float
    validation_per_hour: float
    test_per_hour: float
    accepted: np.ndarray


def least_score(scores, true, hours: float, allowed: float) -> float:
    """Least score that keeps false alarms at or below a rate.

    Parameters
    ----------
    scores : (N,) float
    true : (N,) bool
    hours : float, above 0
    allowed : float
        False alarms per hour.

    Returns
    -------
    float
        Candidates from this score on count; equal scores count together. Just above the first false candidate that is
        one too many; the lowest score of all where none is, since nothing lower was tried; -inf without candidates.

    Raises
    ------
    DataError
        If a score isn't finite, ``hours`` isn't above 0 or ``allowed`` is below 0.

    Examples
    --------
    >>> least_score([0.9, 0.8, 0.7], [True, False, True], hours=2, allowed=0.5)
    0.7
    >>> least_score([0.9, 0.8, 0.7], [True, False, True], hours=2, allowed=0) > 0.8
    True
    """
    scores, true = np.asarray(scores, dtype=float), np.asarray(true, dtype=bool)
    if scores.ndim != 1 or scores.shape != true.shape or not np.isfinite(scores).all():
        raise DataError(f"candidates need one finite score each, got {scores.shape} and {true.shape}.")
    if not (0 < hours < math.inf and 0 <= allowed < math.inf):
        raise DataError(
            f"{allowed} false alarms per hour in {hours} hours: give a rate of 0 or more and a length."
        )
    if scores.size == 0:
        return -math.inf
    false = np.sort(scores[~true])[::-1]
    may = math.floor(
        allowed * hours * (1 + 1e-12)
    )  # a rate that was computed from a count gives that count again
    return float(np.nextafter(false[may], np.inf)) if may < false.size else float(scores.min())


def at_rate(validation: Candidates, test: Candidates, allowed: float) -> OperatingPoint:
    """Choose the least score on validation subjects and apply it to test subjects.

    Parameters
    ----------
    validation, test : Candidates
    allowed : float
        False alarms per hour.

    Returns
    -------
    OperatingPoint

    Raises
    ------
    DataError
        If a subject is on both sides, or as ``least_score``.
    """
    shared = sorted(set(np.asarray(validation.subject).tolist()) & set(np.asarray(test.subject).tolist()))
    if shared:
        raise DataError(
            f"subject {shared[0]} is in validation and test; a score is chosen on other people's videos."
        )
    score = least_score(validation.score, validation.true, validation.hours, allowed)
    least_score(test.score, test.true, test.hours, allowed)  # the same checks for the other side
    accepted = np.asarray(test.score, dtype=float) >= score
    return OperatingPoint(
        score=score,
        allowed=float(allowed),
        validation_per_hour=_per_hour(validation, np.asarray(validation.score, dtype=float) >= score),
        test_per_hour=_per_hour(test, accepted),
        accepted=accepted,
    )


def _per_hour(candidates: Candidates, accepted: np.ndarray) -> float:
    return float(np.count_nonzero(accepted & ~np.asarray(candidates.true, dtype=bool)) / candidates.hours)


# The fit ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Curve:
    """A fit in units of u; middle is -inf where all events were detected and inf where none was."""

    middle: float
    slope: float
    lapse: float
    guess: float


@dataclass(frozen=True)
class _Reported:
    """A fit in pixels; (least, most) is the set of thresholds that it stands for."""

    threshold: float
    least: float
    most: float
    slope: float
    lapse: float
    guess: float
    where: str
    middle: float


class _Scale:
    """Amplitudes laid out on [-1, 1], and curves fitted to them."""

    def __init__(self, x: np.ndarray, guess: float | None, max_lapse: float, at: float | None):
        self.at = at
        self.tested = (float(x.min()), float(x.max()))
        ends = np.log(self.tested)
        self.centre, self.half = float(ends.mean()), float(ends[1] - ends[0]) / 2
        self.u = (np.log(x) - self.centre) / self.half
        self.given = guess
        self.bounds = [
            (-_BEYOND, _BEYOND),
            (math.log(_FLAT), math.log(_STEEP)),
            (0.0, max_lapse),
            (0.0, MAX_GUESS) if guess is None else (guess, guess),
        ]

    def fit(self, y: np.ndarray, weight: np.ndarray, near: _Curve | None) -> _Curve | None:
        """Curve of the events with weight; None where their amplitudes are all the same."""
        used = weight > 0
        u, y, weight = self.u[used], y[used], weight[used]
        if np.ptp(u) == 0:
            return None
        guess = 0.0 if self.given is None else self.given
        if y.all():
            return _Curve(-math.inf, math.nan, 0.0, guess)
        if not y.any():
            return _Curve(math.inf, math.nan, 0.0, guess)
        lapse = (self.bounds[2][1]) / 2
        starts = [(m, math.log(s), lapse, sum(self.bounds[3]) / 2) for m, s in _STARTS]
        if near is not None and math.isfinite(near.middle):
            starts = [(near.middle, math.log(near.slope), near.lapse, near.guess)]
        fits = [
            optimize.minimize(
                _loss, start, args=(u, y, weight), jac=True, method="L-BFGS-B", bounds=self.bounds
            )
            for start in starts
        ]
        m, log_slope, lapse, guess = min(fits, key=lambda each: each.fun).x
        return _Curve(float(m), float(np.exp(log_slope)), float(lapse), float(guess))

    def reported(self, curve: _Curve) -> _Reported:
        """The same in pixels, its threshold replaced by what can be said where it lies outside."""
        low, high = self.tested
        # Where the middle is infinite, exp gives 0 and inf: all or none detected.
        middle = float(np.exp(self.centre + self.half * curve.middle))
        place = self._place(curve)
        if math.isnan(place):
            said = (math.nan, 0.0, math.inf, "flat")
        elif place > 1:
            said = (math.inf, high, math.inf, "above")
        elif place < -1:
            said = (0.0, 0.0, low, "below")
        else:
            threshold = float(np.exp(self.centre + self.half * place))
            said = (threshold, threshold, threshold, "inside")
        threshold, least, most, where = said
        slope = curve.slope / self.half
        return _Reported(threshold, least, most, slope, curve.lapse, curve.guess, where, middle)

    def _place(self, curve: _Curve) -> float:
        """Threshold in units of u; beyond 1 or -1 it only says where it lies, NaN where detection doesn't rise."""
        # Not steeper than it must be: detection doesn't rise, or falls, wherever the middle came to lie.
        flat = curve.slope <= _FLAT * (1 + 1e-6)
        if self.at is None or not math.isfinite(curve.middle):
            return math.nan if flat else curve.middle
        needed = (self.at - curve.guess) / (1 - curve.guess - curve.lapse)
        if not 0 < needed < 1:
            return math.copysign(math.inf, needed)  # it levels off below, or is never as low
        place = curve.middle + float(special.ndtri(needed)) / curve.slope
        return math.nan if flat and abs(place) <= 1 else place


def _loss(parameters, u, y, weight):
    """Negative log-likelihood an event and its gradient; parameters middle, ln(slope), lapse, guess."""
    middle, log_slope, lapse, guess = parameters
    slope, span = math.exp(log_slope), 1 - guess - lapse
    z = slope * (u - middle)
    risen, density = special.ndtr(z), np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    p = np.clip(guess + span * risen, _TINY, 1 - _TINY)
    loss = -(weight * np.where(y, np.log(p), np.log1p(-p))).sum()
    pull = weight * np.where(y, -1 / p, 1 / (1 - p))  # of the loss on p
    by = [-span * slope * density, span * density * z, -risen, 1 - risen]
    total = weight.sum()
    return loss / total, np.array([(pull * each).sum() for each in by]) / total


def _ends(low: list[float], high: list[float] | None = None) -> Interval:
    """95 % of the resamples; those on which a quantity is undefined tell nothing."""
    # "higher": between a number and infinity there is nothing to interpolate.
    (least, _), (_, most) = (
        stats.interval(each, upper="higher") for each in (low, low if high is None else high)
    )
    return float(least), float(most)


def _checked(amplitudes, detected, subjects) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, y, subjects = np.asarray(amplitudes, dtype=float), np.asarray(detected), np.asarray(subjects)
    if x.ndim != 1 or not x.shape == y.shape == subjects.shape:
        raise DataError(f"events need an amplitude, a detection and a subject each, got {x.shape}, {y.shape} and "
                        f"{subjects.shape}.")  # fmt: skip
    wrong = np.flatnonzero(~(np.isfinite(x) & (x > 0)))
    if wrong.size:
        raise DataError(f"event {wrong[0]} has the amplitude {x[wrong[0]]}; leave out what doesn't move "
                        "and give its false alarms as guess.")  # fmt: skip
    if not np.isin(y, (0, 1)).all():
        raise DataError(
            "detected holds something else than True and False; compare scores with a least score first."
        )
    if x.size < FEWEST:
        raise DataError(
            f"a psychometric function needs at least {FEWEST} events, got {x.size}; pool conditions."
        )
    if np.ptp(x) == 0:
        raise DataError(f"all events have the amplitude {x[0]:g}; a psychometric function needs several.")
    return x, y.astype(bool), subjects

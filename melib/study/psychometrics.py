"""How small a movement is still found: detection over amplitude, at a fixed rate of false alarms an hour.

    share found
    1 - lapse                                       .-------------
                                                 .-'
    half     . . . . . . . . . . . . . . . . . .+         threshold = pixels at the cross
                                             .-'|
    guess    ------------------------------'    |
             .02     .05     .1      .2     .5  |    1      2.5    amplitude, crop pixels, log scale

The curve is guess + (1 - guess - lapse) * Phi(slope * ln(amplitude / middle)): a cumulative normal over the logarithm of the
amplitude, after Wichmann and Hill (Perception & Psychophysics 63, 2001). First the score that a detection needs is fixed on
validation subjects (`score_for_rate`), then the events of test subjects are detected or not, then the curve is fitted to
them (`fit_psychometric`). A threshold beyond the tested amplitudes is reported as such, never as a number.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from scipy import optimize, special

from melib import stats
from melib.errors import DataError

FEWEST = 10  # events: below that, even a perfect step leaves its threshold anywhere
HALF = 0.5  # share of events found at the threshold
LARGER = 5  # tested movements that must be larger than a threshold
# Share of strong movements that may be missed for other reasons than their size: a weak model misses nearly half.
MAX_LAPSE = 0.49

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
    tested : (low, high)
        Smallest and largest amplitude, pixels.
    curves : (1 + B, 4) float64
        Middle in pixels, slope (1 / standard deviation of the normal in ln(amplitude)), lapse and guess of the fit, and
        below it those of each resample. Middle 0 and no slope where all events were detected, infinite where none was.
    """

    tested: Interval
    curves: np.ndarray = field(repr=False)

    @property
    def threshold(self) -> float:
        """Pixels at which half of the events are detected; 0, ``inf`` and NaN where `where` isn't "inside"."""
        return float(self._thresholds()[0])

    @property
    def where(self) -> str:
        """Where the threshold lies: "inside" the tested amplitudes, "above" or "below" them all, or detection is "flat".

        Above, too, where the curve levels off below a half; flat where detection doesn't rise with amplitude.
        """
        names = {math.inf: "above", 0.0: "below"}
        return "flat" if math.isnan(self.threshold) else names.get(self.threshold, "inside")

    @property
    def threshold_interval(self) -> Interval:
        """Low and high end; that of the tested range stands for "at least" or "at most": (largest, inf) is above all."""
        (low, high), places = self.tested, self._thresholds()[1:]
        least = np.where(np.isnan(places), 0.0, np.minimum(places, high))
        most = np.where(np.isnan(places), math.inf, np.maximum(places, low))
        # Between a number and infinity there is nothing to interpolate, hence "higher".
        (first, _), (_, last) = (stats.interval(ends, upper="higher") for ends in (least, most))
        return float(first), float(last)

    def _thresholds(self) -> np.ndarray:
        """Threshold of every curve, (1 + B,)."""
        middle, slope, lapse, guess = self.curves.T
        low, high = self.tested
        needed = np.minimum((HALF - guess) / (1 - guess - lapse), 1)
        with np.errstate(over="ignore"):
            place = np.where(np.isnan(slope), middle, middle * np.exp(special.ndtri(needed) / slope))
        # Not steeper than it must be: detection doesn't rise, or falls, wherever the middle came to lie.
        flat = (slope <= _FLAT * (1 + 1e-6) * 2 / math.log(high / low)) & (place >= low) & (place <= high)
        return np.where(flat, math.nan, np.where(place < low, 0.0, np.where(place > high, math.inf, place)))

    def probability(self, amplitude) -> np.ndarray:
        """Probability of detection, (N,) float64, at amplitudes (N,) in pixels; NaN outside the tested ones."""
        return np.where(self._is_tested(amplitude), self._all(amplitude)[0], np.nan)

    def band(self, amplitude) -> tuple[np.ndarray, np.ndarray]:
        """95 % interval of the same, two (N,) float64: NaN outside the tested amplitudes and with a single subject."""
        tested, ends = self._is_tested(amplitude), stats.interval(self._all(amplitude)[1:])
        return np.where(tested, ends[0], np.nan), np.where(tested, ends[1], np.nan)

    def _is_tested(self, amplitude):
        x, (low, high) = np.asarray(amplitude), self.tested
        return (x >= low * (1 - 1e-9)) & (x <= high * (1 + 1e-9))  # geomspace ends beside the range's end

    def _all(self, amplitude):
        """Every curve at every amplitude, (1 + B, N)."""
        middle, slope, lapse, guess = self.curves.T[..., None]
        with np.errstate(divide="ignore", invalid="ignore"):
            risen = special.ndtr(
                np.where(np.isnan(slope), 1.0, slope) * np.log(np.asarray(amplitude) / middle)
            )
        return guess + (1 - guess - lapse) * risen


def fit_psychometric(
    amplitudes, detected, subjects, *, guess: float = 0.0, n: int = 1000, seed: int = 0
) -> Psychometric:
    """Fit detection over amplitude by maximum likelihood.

    Parameters
    ----------
    amplitudes : (N,) float, above 0
        True peak of each event, crop pixels.
    detected : (N,) bool
        At a rate of false alarms that was fixed without these events.
    subjects : (N,) of str
    guess : float in [0, HALF)
        Chance that an event is hit by a false alarm (see `guess_rate`).
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
    >>> curve = fit_psychometric(amplitudes, found, np.tile(list("abcdefghij"), 4), n=20)
    >>> round(curve.threshold, 2), curve.where
    (0.28, 'inside')
    """
    x, y, subjects = (
        np.asarray(amplitudes, dtype=float),
        np.asarray(detected, dtype=bool),
        np.asarray(subjects),
    )
    if x.size < FEWEST:
        raise DataError(
            f"a psychometric function needs at least {FEWEST} events, got {x.size}; pool conditions."
        )
    if not (np.isfinite(x) & (x > 0)).all():
        raise DataError("an event doesn't move; leave it out and give its false alarms as guess.")
    if np.ptp(x) == 0:
        raise DataError(f"all events have the amplitude {x[0]:g}; a psychometric function needs several.")
    tested = float(x.min()), float(x.max())
    centre, half = float(np.log(tested).mean()), float(np.diff(np.log(tested))[0]) / 2
    u = (np.log(x) - centre) / half
    people, owner = np.unique(subjects, return_inverse=True)
    drawn, _ = stats.draws((seed, _BOOTSTRAP), people.size, n=n)
    best = _likeliest(u, y, np.ones(len(y)), guess)
    again = [_likeliest(u, y, weight, guess, best) for weight in drawn[:, owner].astype(float)]
    fits = np.array([best, *(curve for curve in again if curve is not None)])  # (1 + B, 4)
    pixels = np.exp(centre + half * fits[:, 0])
    return Psychometric(tested, np.column_stack([pixels, fits[:, 1] / half, fits[:, 2:]]))


def guess_rate(per_hour: float, seconds: float) -> float:
    """Chance that false alarms at this rate hit a stretch of this length, if they come at random (Poisson).

    Parameters
    ----------
    per_hour : float
        False alarms an hour.
    seconds : float
        Length of the stretch in which an alarm counts as the event's detection.

    Returns
    -------
    float in [0, 1)

    Examples
    --------
    >>> round(guess_rate(60, 1), 4)
    0.0165
    """
    return -math.expm1(-per_hour * seconds / 3600)


def score_for_rate(scores, true, hours: float, allowed: float) -> float:
    """Least score whose false alarms come to a rate on other videos, on average.

    Parameters
    ----------
    scores : (N,) float
        Of candidates: intervals of some subjects.
    true : (N,) bool
        Whether the interval is an event's; a false one is a false alarm if its score is high enough.
    hours : float, above 0
        Length of all video that was searched, also where there is no candidate.
    allowed : float
        False alarms an hour.

    Returns
    -------
    float
        Candidates from this score on count; equal scores count together. With m false alarms in these hours allowed, it lies
        between the m-th highest false score and the next, so far towards that as m is no whole number: of alarms that come
        at random, as many more come above the m-th highest as m says. (Just above the next, m + 1 would: 70 an hour instead
        of 60 after 4.3 minutes.) Just above the highest where m is below 1; the lowest score of all where there are fewer
        false ones, since nothing lower was tried; -inf without candidates.

    Examples
    --------
    >>> round(score_for_rate([0.9, 0.8, 0.7, 0.6], [True, False, True, False], hours=2, allowed=0.5), 6)
    0.8
    >>> score_for_rate([0.9, 0.8, 0.7], [True, False, True], hours=2, allowed=0) > 0.8
    True
    """
    scores, true = np.asarray(scores, dtype=float), np.asarray(true, dtype=bool)
    if scores.size == 0:
        return -math.inf
    false = np.sort(scores[~true])[::-1]
    # A hair more: a rate that was computed from a count gives that count again.
    m = allowed * hours * (1 + 1e-12)
    whole = math.floor(m)
    if whole >= false.size:
        return float(scores.min())
    least = float(np.nextafter(false[whole], np.inf))
    return (
        max(least, float(false[whole - 1] - (m - whole) * (false[whole - 1] - false[whole])))
        if whole
        else least
    )


def realised(alarms: int, hours: float) -> dict[str, float]:
    """False alarms an hour as they came out: test_per_hour, test_per_hour_low and _high (95 %, exact for Poisson counts).

    Examples
    --------
    >>> {name: round(rate) for name, rate in realised(8, 8 / 111.3).items()}
    {'test_per_hour': 111, 'test_per_hour_low': 48, 'test_per_hour_high': 219}
    """
    low = special.gammaincinv(alarms, 0.025) if alarms else 0.0
    ends = {"": alarms, "_low": low, "_high": special.gammaincinv(alarms + 1, 0.975)}
    return {f"test_per_hour{end}": float(count / hours) for end, count in ends.items()}


def measure(
    truth, detected, alarms: int, hours: float, *, guess: float, n: int, seed: int
) -> tuple[Psychometric, dict]:
    """A fitted curve, and what a result table says of it.

    There is no number where the threshold lies outside the tested amplitudes or fewer than `LARGER` of them are larger, nor
    for an open end of its interval: ``remark`` says which.

    Parameters
    ----------
    truth : DataFrame
        subject, peak_px: an event a row.
    detected : (M,) bool
    alarms, hours, guess, n, seed
        As in `realised` and `fit_psychometric`.

    Returns
    -------
    curve : Psychometric
    row : dict
        threshold_px with _low and _high, lapse, guess, events, subjects, remark, least_px, most_px, and what `realised`
        gives.
    """
    curve = fit_psychometric(truth["peak_px"], detected, truth["subject"], guess=guess, n=n, seed=seed)
    threshold, (low, high) = curve.threshold, curve.threshold_interval
    least, most = (f"{px:.2g} px" for px in curve.tested)
    few = (truth["peak_px"] > threshold).sum() < LARGER
    outside = {
        "above": f"above {most}" + ("" if np.any(detected) else ", nothing found"),
        "below": f"below {least}",
        "flat": "doesn't rise with amplitude",
        "inside": f"above about {threshold:.2g} px, too few larger events" if few else "",
    }[curve.where]
    open_ends = {f"interval goes beyond {most}": high == math.inf, f"interval begins below {least}": low <= 0}
    return curve, {
        "threshold_px": math.nan if outside else threshold,
        "threshold_px_low": math.nan if outside or low <= 0 else low,
        "threshold_px_high": math.nan if outside or high == math.inf else high,
        "lapse": float(curve.curves[0, 2]),
        "guess": guess,
        "events": len(detected),
        "subjects": truth["subject"].nunique(),
        "remark": outside or ", ".join(text for text, is_open in open_ends.items() if is_open),
        "least_px": curve.tested[0],
        "most_px": curve.tested[1],
        **realised(alarms, hours),
    }


def _likeliest(u, y, weight, guess: float, near=None) -> tuple[float, ...] | None:
    """Middle and slope in units of u, lapse, guess of the events with weight; None where their amplitudes are all the same.

    ``near``: a fit to begin at; else several places are tried.
    """
    used = weight > 0
    u, y, weight = u[used], y[used], weight[used]
    if np.ptp(u) == 0:
        return None
    if y.all() or not y.any():
        return (-math.inf if y.all() else math.inf), math.nan, 0.0, guess
    starts = [(middle, slope, MAX_LAPSE / 2) for middle, slope in _STARTS]
    if near is not None and math.isfinite(near[0]):
        starts = [near[:3]]
    # Bounds hold the guess rate: without it the search takes other steps, and every committed result its last digits.
    bounds = [(-_BEYOND, _BEYOND), (math.log(_FLAT), math.log(_STEEP)), (0.0, MAX_LAPSE), (guess, guess)]
    how = {"args": (u, y, weight), "jac": True, "method": "L-BFGS-B", "bounds": bounds}
    fits = [optimize.minimize(_loss, (m, math.log(s), lapse, guess), **how) for m, s, lapse in starts]
    middle, log_slope, lapse, _ = min(fits, key=lambda result: result.fun).x
    return float(middle), float(np.exp(log_slope)), float(lapse), guess


def _loss(parameters, u, y, weight):
    """Negative log-likelihood an event and its gradient; parameters middle, ln(slope), lapse, guess."""
    middle, log_slope, lapse, guess = parameters
    slope, span = math.exp(log_slope), 1 - guess - lapse
    z = slope * (u - middle)
    risen, density = special.ndtr(z), np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    p = np.clip(guess + span * risen, _TINY, 1 - _TINY)
    loss = -(weight * np.where(y, np.log(p), np.log1p(-p))).sum()
    pull = weight * np.where(y, -1 / p, 1 / (1 - p))  # of the loss on p
    slopes = [-span * slope * density, span * density * z, -risen, 1 - risen]
    total = weight.sum()
    return loss / total, np.array([(pull * of_p).sum() for of_p in slopes]) / total

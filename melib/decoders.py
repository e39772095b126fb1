"""From a score curve to intervals: which frames are a micro-expression, and how sure that is.

    frame        0  1  2  3  4  5  6  7  8  9
    score       .1 .1 .3 .6 .9 .5 .2 .1 .1 .1      (T,) one number a frame, NaN where no face was seen
    interval           |-----*-----|               onset 2, apex 4, offset 6: 0-based, closed

Five decoders share one answer, a DataFrame with onset, apex, offset (int64) and score (float64):

    fixed_window         peak of the smoothed curve, plus and minus half a median duration
    extensible_interval  the reference rule of the spotting paper (arXiv 2508.18834), to the letter
    half_height          down to half the peak's height, length clamped to what the prior holds usual
    semi_markov          the most probable set of events under a duration, apex and rate prior
    selector             candidates of many lengths, a learned probability for each (IntervalSelector, made by `fit`),
                         in one set with those of semi_markov

What remains to tune on validation videos is one number for all: the least score of an interval that is kept. `fit`
tunes it, and whatever else a decoder has to learn, and gives a `Decoder`. The first three take their threshold
from the highest peak of the whole curve, so they find something in every video that moves at all; the
semi-Markov model can find nothing.

A masked frame (NaN) is no evidence. The first three read it as the curve's lowest score, the semi-Markov
model as a log-likelihood ratio of 0; an apex never lies on one. A curve without any scored frame has no
intervals.
"""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numba
import numpy as np
import pandas as pd
from numba import njit
from scipy.optimize import isotonic_regression, minimize_scalar
from scipy.signal import find_peaks
from scipy.special import expit, logit
from scipy.stats import beta, rankdata

from melib import _semi_markov, metrics
from melib._curve import Curve, Steps, checked, events_of_all, interval_table, numbered, ranks
from melib.errors import DataError
from melib.priors import DurationPrior, IntervalPrior
from melib.selector import (
    DURATIONS,
    IntervalSelector,
    likeliest,
    local_maxima,
    mean_ap,
    odds_alike,
    overlap_of,
    worth_keeping,
)

# Height of a peak between mean and maximum of the smoothed curve, of the reference and of the rules beside it.
PEAK_FRACTION = 0.55
# Lengths that `half_height` allows, as shares of the prior's durations that are shorter.
_USUAL = (0.05, 0.97)
# Durations the semi-Markov model knows: up to this share of the prior.
_LONGEST = 0.999
# Every duration up to this many frames; beyond, steps of 1/16 to 1/32 of it, finer than annotators agree.
_EXACT_UP_TO = 32
# Apex positions the model sums over, as quantiles of the Beta prior: the middles of three equal shares.
_APEX_QUANTILES = (1 / 6, 1 / 2, 5 / 6)
# Frames of events' cores that one bin of an emission should rest on; fewest and most edges between bins.
_FRAMES_PER_BIN = 15
_EDGES = (4, 24)
# Shares of the frames outside at whose scores bins begin too: between background and cores lie the flanks.
_OUTSIDE = (0.5, 0.8, 0.95, 0.99, 0.998)
# Temperatures an emission may take: from frames that all say the same to frames that are independent.
_TEMPERATURES = (0.01, 1.5)
# Probabilities are kept this far from 0 and 1 when their log is taken: no single frame may decide a fit.
_SURE = 1e-9
# Placements of onset and offset that count as the same event, in median durations: measured (benchmarks/decoders.md).
_PLACES = 4.0
# Without an emission: scores are kept this far from 0 and 1, ...
_CERTAIN = 0.005
# ... a frame speaks for an event if its odds are at least exp(2) times those of the curve's median frame, ...
_ABOVE_MEDIAN = 2.0
# ... and all frames of an event together count as this many independent looks.
_LOOKS = 6.0
# A least score is lowered by this much, so that the last one is kept, too, whatever rounding does.
_BELOW = 1 - 1e-9
# What `fit` fits.
NAMES = ("fixed_window", "extensible_interval", "half_height", "semi_markov", "selector")
# Times the prior's rate at which a fitted decoder looks for the set: it brings what is doubtful, the least score decides.
SEARCH_RATE = 16.0
_NEEDS_INTERVAL_PRIOR = (
    "the semi-Markov model needs a prior over durations, apexes and events a minute; "
    "fit one by priors.IntervalPrior.fit(events, videos, fps)."
)
# Groups of subjects at most that are left out in turn while a decoder is fitted.
_GROUPS = 3
# Scores at most that are tried as the least one, evenly spaced over their ranks.
_TRIED = 60


def fixed_window(scores, prior, *, half_length=None, peak_fraction=PEAK_FRACTION):
    """Peaks of the smoothed curve, plus and minus half a duration: the reference's baseline decoder.

    The curve is smoothed by a box of width 2 half_length (``np.convolve``, 'same', float64). Peaks are at
    least mean + peak_fraction (max - mean) of the smoothed curve high and half_length apart: of nearer ones
    the highest stays, of equally high ones the first.

    Parameters
    ----------
    scores : (T,) float
        Higher where a micro-expression is likelier; NaN where no face was seen.
    prior : DurationPrior, IntervalPrior or None
        Gives `half_length` where that is None.
    half_length : int, optional
        Half the length of an event, frames, at least 1 (the reference's k_p).
    peak_fraction : float in [0, 1]
        Height of the threshold between mean and maximum of the smoothed curve.

    Returns
    -------
    intervals : DataFrame
        onset, apex, offset (int64): the peak, and half_length frames to either side as far as the curve
        goes. On a masked frame the apex moves to the nearest scored one, of two equally near ones to the
        first. score (float64): the smoothed curve at the peak.

    Raises
    ------
    DataError
        If scores are infinite or not one curve, half_length isn't a whole number from 1 on, or both prior and
        half_length are missing.

    Examples
    --------
    >>> fixed_window([0, 0, 0, 1, 3, 1, 0, 0, 0], None, half_length=2).offset.tolist()
    [6]
    """
    curve = Curve.read(scores)
    k = _half_length(prior, half_length)
    every_peak, every_height = _peaks(curve.filled, k, peak_fraction, distance=1)
    peaks, heights = _first_of_equals(every_peak, every_height, k)
    last = curve.filled.size - 1
    rows = []
    for peak, height in zip(peaks.tolist(), heights.tolist(), strict=True):
        onset, offset = max(0, peak - k), min(last, peak + k)
        scored = np.flatnonzero(curve.scored[onset : offset + 1]) + onset
        if scored.size:
            rows.append((onset, int(scored[np.abs(scored - peak).argmin()]), offset, height))
    return interval_table(rows)


def extensible_interval(scores, prior, *, half_length=None, peak_fraction=PEAK_FRACTION):
    """Give the intervals of the reference rule: a window grows while the curve stays above its mean.

    Peaks as in `fixed_window`, but of equally high ones the last stays. A side starts half_length from the
    peak, moves in to the first rise towards the peak above 2/3 of the mean, then out, at most to
    5 half_length, to the first two frames below the mean. Of intervals that overlap (IoU from .2 on) or whose
    apexes are at most half_length apart, the earliest stays.

    Parameters and errors as in `fixed_window`.

    Returns
    -------
    intervals : DataFrame
        As in `fixed_window`, but the apex is the highest frame of the interval.

    Notes
    -----
    The rule is tied to the mean of the whole curve: more background makes the intervals longer.
    """
    curve = Curve.read(scores)
    k = _half_length(prior, half_length)
    peaks, heights = _peaks(curve.filled, k, peak_fraction)
    if peaks.size == 0:
        return interval_table([])
    raw = curve.filled
    onsets, offsets = _extend(raw, raw.mean(), peaks, k)
    order = np.argsort(onsets, kind="stable")
    rows: list[tuple[int, int, int, float]] = []
    for onset, offset, height in zip(onsets[order], offsets[order], heights[order], strict=True):
        apex = onset + curve.ranked[onset : offset + 1].argmax()
        if curve.scored[apex] and not _suppressed(onset, apex, offset, rows, k):
            rows.append((onset, apex, offset, height))
    return interval_table(rows)


def half_height(scores, prior, *, half_length=None, peak_fraction=PEAK_FRACTION):
    """From each peak down to half its height over the background, with a length that the prior holds usual.

    Peaks as in `extensible_interval`. On a curve smoothed over half_length frames (an odd number), the interval
    reaches as far as the curve stays above the middle between the peak and the curve's median. Both flanks
    are then scaled so that the length lies between the 5 and 97 % quantiles of the durations. Of two
    intervals of which one contains the other's peak the higher stays.

    Parameters and errors as in `fixed_window`, but the prior can't be None.

    Returns
    -------
    intervals : DataFrame
        As in `fixed_window`, but the apex is the highest frame of the less smoothed curve.
    """
    duration = _duration(prior)
    curve = Curve.read(scores)
    k = _half_length(prior, half_length)
    peaks, heights = _peaks(curve.filled, k, peak_fraction)
    if peaks.size == 0:
        return interval_table([])
    shortest, longest = (int(duration.quantile(q)) for q in _USUAL)
    smooth = _box(curve.filled, k + (k + 1) % 2)
    apexes = _climb(smooth, peaks, k)
    level = (smooth[apexes] + np.median(curve.filled[curve.scored])) / 2
    left, right = _flanks(smooth, apexes, level, longest)
    length = left + right + 1
    stretch = np.clip(length, shortest, longest) / length
    onsets = np.maximum(apexes - np.rint((left + 0.5) * stretch - 0.5).astype(np.int64), 0)
    offsets = np.minimum(onsets + np.clip(length, shortest, longest), smooth.size) - 1
    offsets = np.maximum(offsets, apexes)
    rows = []
    taken = np.full(smooth.size, False)  # frames inside an interval that stays
    tops = np.full(smooth.size, False)  # and their peaks
    for i in np.argsort(-heights, kind="stable"):
        onset, apex, offset = int(onsets[i]), int(apexes[i]), int(offsets[i])
        inside = np.where(curve.scored[onset : offset + 1], smooth[onset : offset + 1], -np.inf)
        if taken[apex] or tops[onset : offset + 1].any() or not np.isfinite(inside.max()):
            continue
        taken[onset : offset + 1] = True
        tops[apex] = True
        rows.append((onset, onset + int(inside.argmax()), offset, float(heights[i])))
    return interval_table(rows)


@dataclass(frozen=True)
class Emission:
    """What a score says for or against an event: a rising step function, and how much of it to believe.

    A regressor's score is no likelihood. On validation videos, scores are put into bins that hold equally
    many frames from the cores of events (the half around the apex, see `semi_markov`), some of them divided
    further at quantiles of the frames outside; the share of such frames in a
    bin, made rising by isotonic regression, gives the log of p(score | core) / p(score | outside). Each bin
    also gets one event's worth of average frames, so that few frames say little. Bins begin at scores that
    occurred, hence only the order of scores matters: whoever changes the scores by a rising function, before
    fitting and before using an emission, gets the same numbers.

    Neighbouring frames see nearly the same picture, so that their ratios can't be simply added up: all are
    multiplied by one temperature.

    Attributes
    ----------
    edges : tuple of float, rising
        Scores at which a bin begins; the first bin has no lower edge.
    levels : tuple of float, rising, one more than edges
        Log-likelihood ratio of each bin, before the temperature.
    temperature : float
        The share of it that counts.
    """

    edges: tuple[float, ...]
    levels: tuple[float, ...]
    temperature: float

    @classmethod
    def fit(cls, scores, inside, prior):
        """Fit on the curves of validation videos, none of which the scores' model was trained on.

        The temperature minimises the log loss of `posterior`, which says of each frame how probably it lies
        inside an event: with it the posterior means what it says.

        Parameters
        ----------
        scores : list of (T_i,) float arrays
            A curve a video, videos without events included; NaN where no face was seen.
        inside : list of (T_i,) bool arrays
            True from onset to offset of each event.
        prior : IntervalPrior
            Of the same kind of event, at the curves' frame rate.

        Returns
        -------
        emission : Emission
            With one level, 0, where no frame or every frame lies inside an event: nothing can be learnt, so
            nothing is claimed.

        Raises
        ------
        DataError
            If curves and inside differ in number or length, or scores are infinite.
        """
        curves = [Curve.read(curve) for curve in scores]
        truths = [np.asarray(truth, dtype=bool) for truth in inside]
        if [curve.filled.shape for curve in curves] != [truth.shape for truth in truths]:
            raise DataError(
                "an emission needs one inside array a curve, of the same length; "
                f"got lengths {[curve.filled.size for curve in curves]} and {[truth.size for truth in truths]}."
            )
        if not curves:
            return cls((), (0.0,), 1.0)
        scored = np.concatenate([curve.scored for curve in curves])
        value = np.concatenate([curve.filled for curve in curves])
        core = np.concatenate([_cores(truth, prior) for truth in truths])
        label = np.concatenate(truths)
        used = scored & (core | ~label)
        if not core[used].any() or core[used].all():
            return cls((), (0.0,), 1.0)
        n_events = sum(len(_runs(truth)) for truth in truths)
        edges, levels = _rising_ratio(value[used], core[used], core.sum() / n_events)

        def loss(log_temperature):
            emission = cls(edges, levels, float(np.exp(log_temperature)))
            parts = pool.map(lambda curve: posterior(curve, prior, emission=emission), scores)
            inside = np.concatenate([*parts]).clip(_SURE, 1 - _SURE)
            return -np.log(np.where(label, inside, 1 - inside))[scored].mean()

        # The compiled sums hold no lock; workers of a grid have one thread each (melib.data.workers).
        with ThreadPoolExecutor(numba.get_num_threads()) as pool:
            bounds, options = np.log(_TEMPERATURES), {"xatol": 0.03}
            best = minimize_scalar(loss, bounds=bounds, method="bounded", options=options)
        return cls(edges, levels, float(np.exp(best.x)))

    def llr(self, scores):
        """Log-likelihood ratio of each frame, temperature included.

        Parameters
        ----------
        scores : (T,) float
            NaN where no face was seen.

        Returns
        -------
        llr : (T,) float64
            Above 0 where a score speaks for an event; 0 where it is NaN.
        """
        scores = np.asarray(scores, dtype=float)
        bins = np.searchsorted(self.edges, scores, side="right")  # NaN sorts last
        return np.where(np.isnan(scores), 0.0, self.temperature * np.asarray(self.levels)[bins])

    def to_dict(self):
        """Return plain numbers, for a settings file."""
        record = dataclasses.asdict(self)
        return {**record, "edges": list(self.edges), "levels": list(self.levels)}

    @classmethod
    def from_dict(cls, record):
        """Rebuild what `to_dict` wrote."""
        return cls(tuple(record["edges"]), tuple(record["levels"]), record["temperature"])


def semi_markov(scores, prior, *, emission=None, rate=1.0, nuisance=()):
    """Find the most probable set of micro-expressions, given the curve and what is known of them beforehand.

    The model. At every frame an event may begin, with the prior's events a minute. It lasts d frames with the
    probability of the duration prior; its apex lies where the Beta prior puts it. The half of the event
    around the apex, where a triangle over onset, apex and offset is above half its height, shows scores as
    inside an event; a frame of the flanks shows them only every second time::

        log ratio of an event = sum over core of llr + sum over flanks of log((1 + exp(llr)) / 2)

    summed, as probabilities, over three equally probable apex positions. Frames outside events have ratio 1.
    Events don't overlap. Over all segmentations this is a semi-Markov chain; the most probable one and all
    posteriors are computed exactly (Rabiner 1989, IV.D; Sarawagi and Cohen 2004). A set is one exact
    placement of each event, though many neighbours share the probability of an event; so the search counts
    every event 4 median durations (in frames) times. Durations end at the prior's
    .999 quantile; above 32 frames they go in steps of at most 1/16.

    Each event of the most probable set is then refined: onset and offset move to their posterior means over
    all events that have an IoU of at least .5 with it. The apex is the frame where the ratio in its
    neighbourhood, plus the log of the apex prior, is highest.

    Parameters
    ----------
    scores : (T,) float
        Higher where a micro-expression is likelier; NaN where no face was seen.
    prior : IntervalPrior
        At the curve's frame rate.
    emission : Emission, optional
        Fitted on validation videos. Without, scores must lie in [0, 1] and are read as probabilities: the
        ratio is their logit less that of the share of frames that the prior expects inside events (or of the
        curve's median plus 2, if that is higher), scaled so that an event of median length counts as 6
        independent frames.
    rate : float
        How many times as probable an event is in the search as the prior's events a minute say: the number to
        tune; above 1 finds more. It changes which intervals are found, not the score of an interval.
    nuisance : sequence of (scores, events_a_minute, mean_seconds, Emission)
        Curves (T,) of other movement, macro-expressions and blinks. Each is a Markov state of its own that
        competes for frames: where its curve explains them better, they are no micro-expression. One may
        interrupt it.

    Returns
    -------
    intervals : DataFrame
        onset, apex, offset (int64), disjoint; score (float64 in [0, 1]): the posterior probability, under
        the prior's own rate, that there is a micro-expression whose IoU with the interval is at least .5.

    Raises
    ------
    DataError
        If scores are infinite or not one curve, lie outside [0, 1] without an emission, the prior is none
        over intervals, rate isn't positive, or a nuisance curve has another length.
    """
    if not (np.isfinite(rate) and rate > 0):
        raise DataError(f"semi_markov needs a positive rate, got {rate}.")
    model, llr = _model(scores, prior, emission, nuisance)
    scored = ~np.isnan(np.asarray(scores, dtype=float))
    if not scored.any():
        return interval_table([])
    table, sums = _sums(model)
    return _placed(_most_probable(model, table, sums, prior, rate), llr, scored, prior)


def _most_probable(model, table, sums, prior, rate):
    """Start, stop and probability of each event of the most probable set, refined."""
    # An event at an exact place is never probable; as many places as this mean the same event.
    places = _PLACES * np.exp(prior.duration.log_mean)
    events = _semi_markov.trace(*_semi_markov.search(model, table, np.log(rate * places)))
    refined = []
    for i, (start, stop) in enumerate(events):
        # Half of the gap to the neighbour is free to move into.
        low = (events[i - 1][1] + start + 1) // 2 if i else 0
        high = (stop + events[i + 1][0]) // 2 if i + 1 < len(events) else model.flank.size - 1
        refined.append(_refined(model, table, sums, start, stop, low, high))
    return refined


def _placed(refined, llr, scored, prior):
    """Intervals of what was refined, with an apex each, as far as a frame of them was seen."""
    rows = []
    for start, stop, mass in refined:
        if scored[start:stop].any():
            apex = start + _apex(llr[start:stop], scored[start:stop], prior)
            rows.append((start, apex, stop - 1, mass))
    return interval_table(rows)


def _sums(model):
    """Weights of all events, and the sums over all segmentations before and behind each boundary with every posterior."""
    table = _semi_markov.log_events(model)
    forward = _semi_markov.forward(model, table)
    return table, (forward, *_semi_markov.backward(model, table, forward))


def _refined(model, table, sums, start, stop, low, high):
    """Start, stop and probability of an event, moved to its posterior means within [low, high) where that is likelier."""
    mass, to_start, to_stop = _semi_markov.mass(model, table, sums, start, stop)
    moved = (max(low, start + round(to_start)), min(high, stop + round(to_stop)))
    moved_mass = _semi_markov.mass(model, table, sums, *moved)[0]
    if moved_mass >= mass:
        (start, stop), mass = moved, moved_mass
    return start, stop, float(np.clip(mass, 0.0, 1.0))


def _likely(scores, prior, emission, nuisance):
    """The set of `semi_markov` at a high rate, and what else is likely by its model, each by itself.

    Where evidence is weak the most probable set is empty. So the places with the highest posterior at five durations are
    refined and scored as there, too; of those that share an IoU above .2 the set's stays, else the likelier.
    """
    model, llr = _model(scores, prior, emission, nuisance)
    scored, n = ~np.isnan(np.asarray(scores, dtype=float)), llr.size
    if not llr.any():  # nothing is claimed
        return interval_table([])
    table, sums = _sums(model)
    spans, weights = [np.zeros((0, 2), np.int64)], [np.zeros(0)]
    for g in np.unique(np.searchsorted(model.lengths, prior.duration.quantile(np.array(DURATIONS)))):
        length = model.lengths[g]
        weight = sums[2][: max(n + 1 - length, 0), g] * length**2.0  # of as many places as mean the same
        starts = local_maxima(weight, max(1, length // 4))
        spans.append(np.stack([starts, starts + length], axis=1))
        weights.append(weight[starts])
    every = np.concatenate(spans)
    places = every[likeliest(every - [0, 1], np.concatenate(weights))]
    of_set = _most_probable(model, table, sums, prior, SEARCH_RATE)
    refined = of_set + [_refined(model, table, sums, start, stop, 0, n) for start, stop in places.tolist()]
    bounds = np.array([row[:2] for row in refined], dtype=np.int64).reshape(-1, 2)
    rank = np.array([mass + (i < len(of_set)) for i, (_, _, mass) in enumerate(refined)])
    chosen = likeliest(bounds - [0, 1], rank)
    return _placed([row for row, keep in zip(refined, chosen, strict=True) if keep], llr, scored, prior)


def posterior(scores, prior, *, emission=None, nuisance=()):
    """Give the probability of each frame to lie inside a micro-expression, under the model of `semi_markov`.

    Parameters and errors as in `semi_markov`.

    Returns
    -------
    inside : (T,) float64 in [0, 1]
    """
    model, llr = _model(scores, prior, emission, nuisance)
    if llr.size == 0:
        return np.zeros(0)
    probability = _sums(model)[1][2]  # (T + 1, G)
    change = probability.sum(axis=1)
    for length, of_length in zip(model.lengths, probability.T, strict=True):
        change[length:] -= of_length[: max(change.size - length, 0)]
    return np.cumsum(change)[:-1].clip(0, 1)


def fit(name, curves, events, prior, *, subjects=None, others=None):
    """Fit a decoder, and the least score of an interval that it keeps, on validation curves.

    The least score is the one with the highest spotting F1, averaged over IoU of .3 to .7; of equals the
    lowest. Where the curves hold no event to judge by, as many intervals are kept as the prior expects. For
    semi_markov an `Emission` is fitted, on the scores as they are or on their ranks within a video, whichever
    has the higher average precision in subjects left out; its least score has the highest expected F1 there. It proposes
    what is likely by itself beside the most probable set, which is empty where evidence is weak. The selector is
    an `IntervalSelector` and semi_markov together: the mean of their log odds, each calibrated in subjects left out, so
    that whichever can't tell hits there hardly counts; the mean is calibrated again, its least chosen as above. Both read
    the curve in sixteenths of an event of median length instead of frames, so that the frame rate hardly matters.

    Parameters
    ----------
    name : str
        fixed_window, extensible_interval, half_height, semi_markov or selector.
    curves : list of (T_i,) float
        Curves of validation videos, none of which the scores' model was trained on; videos without an event
        included. NaN where no face was seen.
    events : list of DataFrame
        onset, offset of each curve's events, closed, in frames of the curve (0 is its first number); other
        columns aren't read. What lies outside the curve is missed by every decoder.
    prior : IntervalPrior, or DurationPrior for the first three
        At the curves' frame rate, of other subjects or of these.
    subjects : sequence, optional
        Whose curve it is. By default every curve is a subject's of its own.
    others : dict of lists of (T_i,) float, optional
        Curves of macro-expressions and blinks, kind -> one a video. Only the selector reads them.

    Returns
    -------
    decoder : Decoder

    Raises
    ------
    DataError
        If the name is unknown, curves, events, subjects and others differ in number or length, a table lacks
        onset or offset or an event ends before it starts, scores are infinite, or the prior doesn't suit.
    """
    if name not in NAMES:
        raise DataError(f"there is no decoder {name!r}; use {', '.join(NAMES)}.")
    curves, truth, subjects, others = checked(curves, events, subjects, others)
    if name not in ("semi_markov", "selector"):
        decoder = Decoder(name, prior)
        return _with_least(decoder, _of_videos([decoder.propose(curve) for curve in curves]), truth, curves)
    if not isinstance(prior, IntervalPrior):
        raise DataError(_NEEDS_INTERVAL_PRIOR)
    if name == "semi_markov":
        return _fit_search(curves, truth, subjects, prior)[0]
    steps = Steps.for_prior(prior)
    curves, truth = [steps.curve(curve) for curve in curves], [steps.spans(spans) for spans in truth]
    others = {kind: [steps.curve(curve) for curve in given] for kind, given in others.items()}
    stepped = steps.prior(prior)
    selector, ours = IntervalSelector.fit_nested(stepped, curves, truth, subjects, others)
    search, theirs = _fit_search(curves, truth, subjects, stepped)
    if not (any(map(len, ours)) and any(map(len, theirs))):
        return Decoder(name, prior, selector.least, selector=selector)
    pool, least = _fit_pool(ours, theirs, truth)
    return dataclasses.replace(search, name=name, prior=prior, selector=selector, pool=pool, least=least)


class Pool(NamedTuple):
    """How intervals of the selector and of semi_markov, scored by log odds, become one set.

    An interval of one and the other's likeliest that shares at least half with it (IoU) are taken for the same; where there
    is none, the median interval's odds stand in. Of what overlaps the likeliest stays, of two alike the one that its own
    decoder is surer of.
    """

    slope: float  # semi_markov's log odds of a hit are slope times its own plus shift; ours are calibrated
    shift: float
    median: float  # log odds of the selector's median interval, in subjects left out
    other_median: float  # of semi_markov's, calibrated
    weight: float  # the log odds of the set are weight * mean + offset
    offset: float

    def intervals(self, ours, theirs):
        """Intervals of a curve, score a probability; ours, theirs: DataFrames onset, apex, offset, score (log odds)."""
        tables = ours.sort_values("onset"), theirs.assign(score=self.slope * theirs["score"] + self.shift)
        spans, other_spans = (table[["onset", "offset"]].to_numpy(float) for table in tables)
        odds, other_odds = (table["score"].to_numpy(float) for table in tables)
        alike = odds_alike(spans, other_spans, other_odds, self.other_median)
        other_alike = odds_alike(other_spans, spans, odds, self.median)
        own = np.concatenate([odds, other_odds])
        mean = (own + np.concatenate([alike, other_alike])) / 2
        chosen = likeliest(np.concatenate([spans, other_spans]), mean + 1e-6 * own)
        table = pd.concat(tables).assign(score=expit(self.weight * mean + self.offset))[chosen]
        return interval_table(table[["onset", "apex", "offset", "score"]])


def _fit_pool(ours, theirs, truth):
    """Pool, and the least probability, from what both proposed for subjects left out, a table a curve."""
    theirs = [_in_log_odds(table) for table in theirs]
    slope, shift, _ = _calibrated(theirs, truth)
    medians = [pd.concat(tables)["score"].median() for tables in (ours, theirs)]
    pool = Pool(slope, shift, float(medians[0]), float(slope * medians[1] + shift), 1.0, 0.0)
    both = [
        pool.intervals(one.assign(apex=one["onset"]), other) for one, other in zip(ours, theirs, strict=True)
    ]
    weight, offset, best = _calibrated([_in_log_odds(table) for table in both], truth)
    return pool._replace(weight=weight, offset=offset), float(expit(weight * best + offset) * _BELOW)


def _in_log_odds(table):
    return table.assign(score=logit(table["score"].to_numpy(float).clip(_SURE, 1 - _SURE)))


def _calibrated(tables, truth):
    """`worth_keeping` of intervals scored by log odds, a table a curve."""
    spans = [table[["onset", "offset"]].to_numpy(float) for table in tables]
    hits = [overlap_of(own, events) >= 0.5 for own, events in zip(spans, truth, strict=True)]
    odds = np.concatenate([table["score"].to_numpy(float) for table in tables])
    return worth_keeping(odds, np.concatenate(hits), sum(map(len, truth)))


@dataclass(frozen=True)
class Decoder:
    """A decoder with all that was fitted for it; called with a curve it gives the intervals that are kept.

    Attributes
    ----------
    name : str
        One of ``NAMES``.
    prior : DurationPrior or IntervalPrior
    least : float
        Score from which on an interval is kept.
    emission : Emission, optional
        What a score is worth to semi_markov, also as the selector's partner.
    ranked : bool
        Whether scores are replaced by their ranks within the curve first.
    selector : IntervalSelector, optional
    pool : Pool, optional
        How the selector's and semi_markov's intervals become one set; without, the selector stands alone.
    added : dict of Emission
        Curves among the others whose evidence is added up to make the score; empty: the score is the curve itself.
    nuisance : dict of (float, float, Emission)
        Other movement that competes for frames, a kind each: events a minute, their mean seconds, what its curve is worth.
    """

    name: str
    prior: DurationPrior | IntervalPrior
    least: float = -np.inf
    emission: Emission | None = None
    ranked: bool = False
    selector: IntervalSelector | None = None
    pool: Pool | None = None
    added: dict[str, Emission] = field(default_factory=dict)
    nuisance: dict[str, tuple[float, float, Emission]] = field(default_factory=dict)

    def __call__(self, scores, others=None):
        """Intervals of one curve that are kept.

        Parameters
        ----------
        scores : (T,) float
            NaN where no face was seen.
        others : dict of (T,) float, optional
            Curves of macro-expressions and blinks of the same video, of the kinds that it was fitted with.

        Returns
        -------
        intervals : DataFrame
            onset, apex, offset (int64), score (float64), sorted by onset.
        """
        intervals = self.propose(scores, others)
        return intervals[intervals["score"] >= self.least].reset_index(drop=True)

    def propose(self, scores, others=None):
        """Intervals of one curve, those that score less than the least included; parameters as for a call."""
        if self.selector is not None:
            steps = Steps.for_prior(self.prior)
            curve = steps.curve(scores)
            given = {
                kind: steps.curve(others[kind]) for kind in self.selector.kinds if kind in (others or ())
            }
            intervals = self.selector.propose(curve, given)
            if self.pool is not None:
                theirs = _likely(self.evidence(curve), self.selector.prior, self.emission, ())
                intervals = self.pool.intervals(_in_log_odds(intervals), _in_log_odds(theirs))
            return steps.intervals(intervals, scores)
        if self.emission is None:
            return globals()[self.name](scores, self.prior)
        nuisance = [(others[kind], *about) for kind, about in self.nuisance.items()]
        return _likely(self.evidence(scores, others), self.prior, self.emission, nuisance)

    def evidence(self, scores, others=None):
        """The curve (T,) that the emission reads; parameters as for a call."""
        if self.added:
            return sum(emission.llr(others[name]) for name, emission in self.added.items())
        return ranks(scores) if self.ranked else scores

    def to_dict(self):
        """Return plain numbers and text, for a settings file."""
        return {
            "name": self.name,
            "prior": self.prior.to_dict(),
            "least": self.least if np.isfinite(self.least) else str(self.least),  # json knows no infinity
            "emission": None if self.emission is None else self.emission.to_dict(),
            "ranked": self.ranked,
            "selector": None if self.selector is None else self.selector.to_dict(),
            "pool": self.pool and list(self.pool),
            "added": {name: emission.to_dict() for name, emission in self.added.items()},
            "others": {kind: [*about, known.to_dict()] for kind, (*about, known) in self.nuisance.items()},
        }

    @classmethod
    def from_dict(cls, record):
        """Rebuild what `to_dict` wrote."""
        # Weights exported before 2026-11-27 hold a semi-Markov decoder without these.
        record = {
            "name": "semi_markov",
            "least": "-inf",
            "ranked": False,
            "selector": None,
            "pool": None,
        } | record
        kind = IntervalPrior if "duration" in record["prior"] else DurationPrior
        emission, selector, read = record["emission"], record["selector"], Emission.from_dict
        return cls(
            record["name"],
            kind.from_dict(record["prior"]),
            float(record["least"]),
            None if emission is None else read(emission),
            record["ranked"],
            None if selector is None else IntervalSelector.from_dict(selector),
            record["pool"] and Pool(*record["pool"]),
            {name: read(stored) for name, stored in record["added"].items()},
            {name: (*about, read(stored)) for name, (*about, stored) in record["others"].items()},
        )


def least_score(intervals, truth, expected):
    """Score below which intervals are dropped: the one with the highest spotting F1, averaged over IoU of .3 to .7.

    Parameters
    ----------
    intervals : DataFrame
        subject, video, onset, offset, score.
    truth : DataFrame
        subject, video, onset, offset.
    expected : float
        As many intervals are kept where there is no truth to judge by, at least one.

    Returns
    -------
    least : float
        Halfway between two scores, so that an interval a little less sure than those seen is kept; of equally
        good ones the lowest. -inf keeps all.
    """
    known = np.unique(intervals["score"].to_numpy(float))
    if not known.size:
        return np.inf if truth.empty else -np.inf
    if truth.empty:
        return float(intervals["score"].nlargest(max(1, round(expected))).min())
    known = known[np.unique(np.linspace(0, len(known) - 1, _TRIED).astype(int))]
    tried = np.append(-np.inf, (known[1:] + known[:-1]) / 2)
    accepted = (intervals["score"].to_numpy(float) >= tried[:, None]).sum(axis=1)  # (N,), never 0
    hits = np.stack([metrics.found_in_order(intervals, truth, iou)[accepted - 1] for iou in metrics.IOUS])
    f1 = (2 * hits / (accepted + len(truth))).mean(axis=0)
    return float(tried[int(np.argmax(f1))])


def _fit_search(curves, truth, subjects, prior):
    """The semi-Markov model on scores or on ranks, whichever is better on subjects left out, and its intervals there."""
    fitted = []
    for ranked in (False, True):
        decoder = Decoder("semi_markov", prior, ranked=ranked)
        proposed = _propose_nested(decoder, curves, truth, subjects)
        fitted.append((mean_ap(_of_videos(proposed), events_of_all(truth)), decoder, proposed))
    _, decoder, proposed = max(fitted, key=lambda trial: trial[0])  # of equals the scores as they are
    decoder = _with_least(decoder, _of_videos(proposed), truth, curves)
    if sum(map(len, truth)) and sum(map(len, proposed)):
        least = expit(_calibrated([_in_log_odds(table) for table in proposed], truth)[2])
        decoder = dataclasses.replace(decoder, least=float(least * _BELOW))
    return _with_emission(decoder, curves, truth), proposed


def _propose_nested(decoder, curves, truth, subjects):
    """Intervals of each curve, with an emission from curves of other subjects."""
    group = numbered(subjects) % _GROUPS
    proposed: dict[int, pd.DataFrame] = {}
    for left_out in np.unique(group):
        # One subject alone can't be left out.
        known = np.flatnonzero(group != left_out) if group.any() else np.arange(len(curves))
        fitted = _with_emission(decoder, [curves[i] for i in known], [truth[i] for i in known])
        proposed.update({i: fitted.propose(curves[i]) for i in np.flatnonzero(group == left_out).tolist()})
    return [proposed[i] for i in range(len(curves))]


def _with_least(decoder, intervals, truth, curves):
    """The decoder with the best least score for the intervals of some curves."""
    expected = 0.0  # a prior over durations alone doesn't say how many
    if isinstance(decoder.prior, IntervalPrior):
        frames = sum(np.isfinite(curve).sum() for curve in curves)
        expected = decoder.prior.events_per_minute * frames / decoder.prior.duration.fps / 60
    return dataclasses.replace(decoder, least=least_score(intervals, events_of_all(truth), expected))


def _of_videos(tables):
    """Intervals of several curves as one table, with the columns that metrics ask for."""
    parts = [table.assign(subject="any", video=number) for number, table in enumerate(tables)]
    return pd.concat([interval_table([]).assign(subject="any", video=0), *parts], ignore_index=True)


def _with_emission(decoder, curves, truth):
    inside = [frames_inside(spans, curve.size) for curve, spans in zip(curves, truth, strict=True)]
    scores = [decoder.evidence(curve) for curve in curves]
    return dataclasses.replace(decoder, emission=Emission.fit(scores, inside, decoder.prior))


def frames_inside(spans, n_frames):
    """Frames (T,) bool that lie in one of some events, onset and offset (N, 2) each; ends between frames are rounded."""
    inside = np.zeros(n_frames, bool)
    for onset, offset in np.rint(np.asarray(spans, dtype=float)).astype(int):
        inside[max(onset, 0) : max(offset + 1, 0)] = True
    return inside


def _duration(prior):
    duration = prior.duration if isinstance(prior, IntervalPrior) else prior
    if duration is None:
        raise DataError(
            "this decoder needs a duration prior; fit one by priors.DurationPrior.fit(events, fps)."
        )
    return duration


def _half_length(prior, half_length):
    if half_length is None:
        if prior is None:
            raise DataError("a decoder needs a duration prior or half_length, in frames.")
        return max(1, int(_duration(prior).half_length))  # events of one frame give 0
    if half_length != int(half_length) or half_length < 1:
        raise DataError(f"half_length is a whole number of frames from 1 on, got {half_length}.")
    return int(half_length)


def _box(curve, width):
    """Moving mean as np.convolve(..., 'same'), but never longer than the curve."""
    return np.convolve(curve, np.ones(width) / width, "full")[(width - 1) // 2 :][: curve.size]


def _first_of_equals(peaks, heights, distance):
    """Peaks that no higher and no equally high earlier one is nearer to than distance, and their heights."""
    if peaks.size == 0:
        return peaks, heights
    # scipy keeps the last of equals: it is given the peaks, and nothing else, from the end.
    steps = np.zeros(peaks[-1] + 2)
    steps[peaks] = rankdata(heights, method="dense")
    mirrored, _ = find_peaks(steps[::-1], distance=distance)
    chosen = np.isin(peaks, steps.size - 1 - mirrored)
    return peaks[chosen], heights[chosen]


def _peaks(raw, k, fraction, distance=None):
    """Peaks of the smoothed curve, by default k apart, and their heights, in order of time."""
    if not 0 <= fraction <= 1:
        raise DataError(f"peak_fraction lies between 0 (the mean) and 1 (the maximum), got {fraction}.")
    if raw.size == 0:
        return np.zeros(0, np.int64), np.zeros(0)
    smooth = _box(raw, 2 * k)
    threshold = smooth.mean() + fraction * (smooth.max() - smooth.mean())
    peaks, _ = find_peaks(smooth, height=threshold, distance=distance or k)
    return peaks.astype(np.int64), smooth[peaks]


@njit(nogil=True, cache=True)
def _extend(raw, mean, peaks, k):
    """Both ends of the reference rule, steps 2 and 3."""
    n = raw.size
    onsets, offsets = np.empty_like(peaks), np.empty_like(peaks)
    for p in range(peaks.size):
        q = peaks[p]
        start, end = max(0, q - k), min(n - 1, q + k)
        for i in range(start + 1, q):
            if raw[i] > raw[i - 1] and raw[i] > mean / 1.5:
                start = i - 1
                break
        for i in range(end - 1, q, -1):
            if raw[i] > raw[i + 1] and raw[i] > mean / 1.5:
                end = i + 1
                break
        for i in range(start - 1, max(0, q - 5 * k) - 1, -1):
            if i > 0 and raw[i] < mean and raw[i - 1] < mean:
                start = i + 1
                break
        for i in range(end + 1, min(n - 1, q + 5 * k) + 1):
            if i < n - 1 and raw[i] < mean and raw[i + 1] < mean:
                end = i - 1
                break
        onsets[p], offsets[p] = start, end
    return onsets, offsets


def _suppressed(onset, apex, offset, earlier, k):
    """Whether an earlier interval, sorted by onset, is too near (IoU without the + 1)."""
    for other_onset, other_apex, other_offset, _ in reversed(earlier):
        if other_onset < onset - 11 * k:  # no interval is longer than 10 k, so none before can reach
            return False
        shared = max(0, min(offset, other_offset) - max(onset, other_onset))
        union = offset - onset + other_offset - other_onset - shared
        if shared >= 0.2 * union or abs(apex - other_apex) <= k:
            return True
    return False


def _climb(curve, peaks, reach):
    """Highest frame of the curve within reach of each peak, the nearest where several are equal."""
    steps = np.arange(1, reach + 1)
    nearest_first = np.concatenate([[0], np.stack([-steps, steps], axis=1).ravel()])
    near = (peaks[:, None] + nearest_first).clip(0, curve.size - 1)
    return near[np.arange(peaks.size), curve[near].argmax(axis=1)]


@njit(nogil=True, cache=True)
def _flanks(curve, tops, level, longest):
    """How many frames to the left and right of each top stay at or above its level."""
    left, right = np.zeros_like(tops), np.zeros_like(tops)
    for p in range(tops.size):
        top = tops[p]
        while left[p] < min(longest, top) and curve[top - left[p] - 1] >= level[p]:
            left[p] += 1
        while right[p] < min(longest, curve.size - 1 - top) and curve[top + right[p] + 1] >= level[p]:
            right[p] += 1
    return left, right


def _runs(truth):
    """First and one behind the last frame of each stretch of True: (N, 2)."""
    return np.flatnonzero(np.diff(truth.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)


def _cores(truth, prior):
    """Frames (T,) around the expected apex of each event, as many as its flanks have together."""
    core = np.zeros_like(truth)
    for first, stop in _runs(truth):
        # As in `_model`, with the mean of the apex prior.
        start = first + round((stop - first) * prior.apex_a / (prior.apex_a + prior.apex_b) / 2)
        core[start : min(start + (stop - first + 1) // 2, stop)] = True
    return core


def _rising_ratio(value, label, event_length):
    """Bin edges and log-likelihood ratios of pooled scores (N,) with labels (N,) bool."""
    share = label.mean()
    n_edges = int(np.clip(label.sum() // _FRAMES_PER_BIN, *_EDGES))
    middles = (np.arange(n_edges) + 0.5) / n_edges
    core = np.quantile(value[label], middles, method="inverted_cdf")
    quiet = np.quantile(value[~label], _OUTSIDE, method="inverted_cdf")
    edges = np.unique(np.concatenate([core, quiet]))
    bins = np.searchsorted(edges, value, side="right")
    count = np.bincount(bins, minlength=edges.size + 1)  # (B,)
    hits = np.bincount(bins, label, minlength=edges.size + 1)
    # One event's worth of average frames in each bin.
    inside = isotonic_regression(
        (hits + event_length * share) / (count + event_length), weights=count + event_length
    )
    levels = logit(inside.x) - logit(share)
    new = np.diff(levels) > 0  # isotonic regression pools neighbours: one bin is enough for them
    return tuple(edges[new].tolist()), (float(levels[0]), *levels[1:][new].tolist())


class _Model(NamedTuple):
    """All that dynamic programming needs; boundary b lies before frame b, G durations, S states outside events."""

    flank: np.ndarray  # (T + 1,) summed log ratio of frames before b, if they are of a flank
    gain: np.ndarray  # (T + 1,) summed what they gain by being of the core instead
    lengths: np.ndarray  # (G,) int64, rising
    log_p: np.ndarray  # (G,) log probability of each length
    core: np.ndarray  # (G,) int64, length of the core
    starts: np.ndarray  # (G, 3) int64, where the core starts, an apex position each
    emit: np.ndarray  # (T, S) log ratio of a frame in each state; column 0 is the background
    move: np.ndarray  # (S, S) probability to go on in another state
    share: np.ndarray  # (S,) share of time in each state
    hazard: float  # probability that an event begins, a frame


def _model(scores, prior, emission, nuisance):
    """Model of one curve, and its log-likelihood ratios (T,)."""
    if not isinstance(prior, IntervalPrior):
        raise DataError(_NEEDS_INTERVAL_PRIOR)
    curve = Curve.read(scores)
    fps = prior.duration.fps
    llr = _ratio_of_probability(curve, prior) if emission is None else emission.llr(scores)
    flank = np.logaddexp(llr, 0) - np.log(2)
    lengths, log_p = _lengths(prior.duration)
    core = (lengths + 1) // 2
    apexes = beta.ppf(_APEX_QUANTILES, prior.apex_a, prior.apex_b)
    # A triangle with its apex at a share of its length is above half its height from half that share on.
    starts = np.minimum(np.rint(np.outer(lengths, apexes / 2)), (lengths - core)[:, None]).astype(np.int64)
    emit = np.zeros((llr.size, 1 + len(nuisance)))
    move = np.eye(1 + len(nuisance))
    share = np.ones(1 + len(nuisance))
    for state, (other, events_a_minute, mean_seconds, other_emission) in enumerate(nuisance, start=1):
        other = Curve.read(other)
        if other.filled.size != llr.size:
            raise DataError(
                f"nuisance curve {state} has {other.filled.size} frames, "
                f"the scores have {llr.size}; give it one value a frame."
            )
        emit[:, state] = np.where(other.scored, other_emission.llr(other.filled), 0.0)
        enter, leave = _probability(events_a_minute / (60 * fps)), 1 / max(mean_seconds * fps, 1.0)
        move[0, state], move[state, 0], move[state, state] = enter, leave, 1 - leave
        share[state] = enter / leave
    move[0, 0] = max(1 - move[0, 1:].sum(), 0.0)
    hazard = _probability(prior.events_per_minute / (60 * fps))
    model = _Model(
        np.concatenate([[0.0], np.cumsum(flank)]),
        np.concatenate([[0.0], np.cumsum(llr - flank)]),
        lengths,
        log_p,
        core,
        starts,
        emit,
        move,
        share / share.sum(),
        hazard,
    )
    return model, llr


def _probability(p):
    """Keep a probability a frame away from 0 and 1, both of which would forbid something for good."""
    return float(np.clip(p, 1e-12, 0.5))


def _ratio_of_probability(curve, prior):
    """Log-likelihood ratio (T,) of scores that are read as probabilities."""
    scores = curve.filled[curve.scored]
    if scores.size and (scores.min() < 0 or scores.max() > 1):
        raise DataError(
            f"scores from {scores.min():.3g} to {scores.max():.3g} are no probabilities; "
            "fit an Emission on validation videos."
        )
    odds = logit(curve.filled.clip(_CERTAIN, 1 - _CERTAIN))
    lengths, log_p = _lengths(prior.duration)
    expected = (np.exp(log_p) * lengths).sum() * prior.events_per_minute / (60 * prior.duration.fps)
    level = logit(np.clip(expected, _CERTAIN, 0.5))
    if scores.size:
        level = max(level, np.median(odds[curve.scored]) + _ABOVE_MEDIAN)
    temperature = min(1.0, _LOOKS / np.exp(prior.duration.log_mean))
    return np.where(curve.scored, temperature * (odds - level), 0.0)


def _lengths(duration):
    """Durations (G,) that the model knows, and the log probabilities of all up to the next."""
    longest = int(duration.quantile(_LONGEST))
    parts, first, step = [], 1, 1
    while first <= longest:
        last = _EXACT_UP_TO if step == 1 else first + _EXACT_UP_TO // 2 * step - 1
        parts.append(np.arange(first, min(longest, last) + 1, step))
        first, step = int(parts[-1][-1]) + step, 2 * step
    lengths = np.concatenate(parts)
    every = np.arange(1, longest + 1)
    p = np.exp(duration.log_prob(every))
    owner = np.searchsorted(lengths, every, side="right") - 1
    mass = np.bincount(owner, p, minlength=lengths.size)
    return lengths.astype(np.int64), np.log(np.maximum(mass / mass.sum(), 1e-300))


def _apex(llr, scored, prior):
    """Frame of an interval with the most evidence around it, weighed by where the prior expects an apex."""
    n = llr.size
    reach = n // 8
    summed = np.concatenate([[0.0], np.cumsum(llr)])
    frame = np.arange(n)
    evidence = summed[np.minimum(frame + reach + 1, n)] - summed[np.maximum(frame - reach, 0)]
    edges = beta.cdf(np.arange(n + 1) / n, prior.apex_a, prior.apex_b)
    value = evidence + np.log(np.maximum(np.diff(edges), 1e-12))
    return int(np.where(scored, value, -np.inf).argmax())

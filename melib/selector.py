"""A learned choice of intervals: candidates first, verdict second.

    curve -> robust units, ranks within the video -> candidates: local maxima of a triangle at five durations
    candidate -> how it stands out, in numbers that know neither unit nor network -> log odds of a hit
    of candidates that overlap the likeliest -> calibrated probability of IoU >= .5 -> those worth their risk for F1

Scores of a network aren't comparable between subjects, videos differ in level and noise, and few events stand out. So
a video is held against itself, and nothing here reads a score as it is. What is learned is one logistic regression:
a fold has a hundred events or so, and boosted trees did worse on all curves that were tried.
"""

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numba import njit
from scipy.signal import find_peaks
from scipy.special import expit, logit, ndtri
from sklearn.linear_model import LogisticRegression

from melib import metrics
from melib._curve import Curve, checked, interval_table, numbered, ranks
from melib.errors import DataError
from melib.priors import IntervalPrior

# Durations of candidates, as shares of the prior's that are shorter.
DURATIONS = (0.1, 0.3, 0.5, 0.7, 0.9)
# Robust units beyond which a score says no more; their inverse hyperbolic sine is what is read.
_UNITS = (-5.0, 30.0)
# Boxes that a triangle is stacked of.
_BOXES = 4
# Quantiles of a video that tell how its background is spread and bent, and the largest bend.
_BACKGROUND = (0.1, 0.5, 0.9)
_SKEWEST = 1.5
# An annotated middle lies this share of a median duration from that of a candidate which is right (sd).
_JITTER = 0.15
# Candidates that share more than this (IoU) are one: the likelier stays.
_SAME = 0.2
# Their standardised sum is trusted beforehand: what stands high and lasts as long as usual. Its weight is normal around 0
# with a spread of 1: one standard deviation changes the log odds by about one.
_TRUSTED = ("units_height", "ranks_height", "hit")
# Spreads that the weights of single features may have, the more cautious first; `fit` chooses.
_SPREADS = (0.0, 0.1)
# Groups of subjects at most that are left out in turn for calibration.
_GROUPS = 5
# Seen through the two scales: robust units and normal scores of ranks.
_VIEWS = ("units", "ranks")
_OF_VIEW = ("inside", "core", "beside", "around", "higher", "height")
_OF_CANDIDATE = ("hit", "duration", "duration_squared", "length")


@dataclass(frozen=True)
class IntervalSelector:
    """Candidates of a curve, each with a calibrated probability to be right.

    Features of a candidate, once in robust units of the video (standard deviations from its median by its 10 and
    90 % quantiles, bent so that these lie symmetrically, as inverse hyperbolic sine) and once in normal scores of
    ranks within the video: the mean inside, in the middle, beside (one length to each side) and around (the
    next two); how many other places of the video are higher; its height at the median duration in standard
    deviations of the video. Further the probability that a random event there has an IoU of .5, its duration
    under the prior, the length of the video, and the mean inside of each other curve.

    Attributes
    ----------
    prior : IntervalPrior
    kinds : tuple of str
        Other curves that are read.
    low, high : tuple of float, one a feature
        Range of the feature where it was fitted; beyond, it counts as the end of the range.
    weights : tuple of float, one a feature
    offset : float
        The log odds of a hit are offset + weights @ features.
    least : float
        Probability from which on a candidate is worth its risk.
    """

    prior: IntervalPrior
    kinds: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    weights: tuple[float, ...]
    offset: float
    least: float

    @classmethod
    def fit(cls, curves, events, prior, *, subjects=None, others=None):
        """Fit on validation curves; parameters and errors as in `decoders.fit`.

        Weights come from all candidates of all subjects; how far those of single features may go is chosen by log loss in
        subjects left out, in up to five groups: the least whose loss is within one standard error over subjects of the
        lowest. The probability is calibrated, and the least one chosen, on candidates of subjects that the weights weren't
        fitted on: the least is that with the highest expected F1, the best choice if probabilities are right, whereas the
        highest F1 that was seen hangs on a few chance finds.

        Without any candidate that is right nothing can be learned: then height and duration count the
        same, and as many are kept as the prior expects.

        Returns
        -------
        selector : IntervalSelector
        """
        return cls.fit_nested(prior, *checked(curves, events, subjects, others))[0]

    @classmethod
    def fit_nested(cls, prior, curves, truth, subjects, others):
        """As `fit`, on what `checked` returns; also what it proposes for each curve, with weights from other subjects.

        Returns
        -------
        selector : IntervalSelector
        proposed : list of DataFrame
            onset, offset, score (the log odds, calibrated on all); empty where nothing could be learned.
        """
        if not isinstance(prior, IntervalPrior):
            raise DataError(
                "the selector needs a prior over durations and events a minute; "
                "fit one by priors.IntervalPrior.fit(events, videos, fps)."
            )
        kinds = tuple(sorted(others))
        videos = [
            candidates(curve, prior, [others[kind][i] for kind in kinds]) for i, curve in enumerate(curves)
        ]
        features = np.concatenate(
            [np.zeros((0, len(feature_names(kinds)))), *(video.features for video in videos)]
        )
        overlap = np.concatenate(
            [[], *(overlap_of(video.spans, spans) for video, spans in zip(videos, truth, strict=True))]
        )
        owner = np.repeat(np.arange(len(videos)), [len(video.spans) for video in videos])
        expected = prior.events_per_minute * sum(map(len, curves)) / prior.duration.fps / 60
        right = (overlap[:, None] >= metrics.IOUS).mean(axis=1)  # how right each is
        if not right.any():
            empty = pd.DataFrame({"onset": [], "offset": [], "score": []})
            return cls._unlearned(prior, kinds, videos, expected), [empty] * len(videos)
        subject = numbered(subjects)[owner]
        trusted = np.isin(feature_names(kinds), _TRUSTED)
        spread, odds = _spread_and_odds(features, right, subject, trusted)
        chosen = [verdict(video.spans, odds[owner == i]) for i, video in enumerate(videos)]
        hits = [overlap_of(merged, events) >= 0.5 for (merged, _), events in zip(chosen, truth, strict=True)]
        odds = np.concatenate([own for _, own in chosen])
        slope, shift, best = worth_keeping(odds, np.concatenate(hits), sum(map(len, truth)))
        proposed = [
            pd.DataFrame(merged, columns=["onset", "offset"]).assign(score=slope * own + shift)
            for merged, own in chosen
        ]
        model = _logistic(features, right, trusted, spread)
        selector = cls(
            prior,
            kinds,
            tuple(model.low.tolist()),
            tuple(model.high.tolist()),
            tuple((slope * model.weights).tolist()),
            float(slope * model.offset + shift),
            float(expit(slope * best + shift)),
        )
        return selector, proposed

    @classmethod
    def _unlearned(cls, prior, kinds, videos, expected):
        weights = np.isin(feature_names(kinds), _TRUSTED).astype(float)
        bound = np.full(len(weights), 50.0)
        raw = cls(prior, kinds, tuple(-bound), tuple(bound), tuple(weights), 0.0, 0.0)
        odds = np.concatenate([[], *(raw._verdict(video)[1] for video in videos)])
        share = np.clip(expected / max(odds.size, 1), 1e-3, 0.5)
        offset = float(logit(share) - (odds.mean() if odds.size else 0.0))
        surest = np.sort(expit(odds + offset))[::-1][: max(1, round(expected))]
        return dataclasses.replace(raw, offset=offset, least=float(surest[-1]) if surest.size else 0.5)

    def __call__(self, scores, others=None):
        """Candidates that are worth their risk; parameters and result as for a `decoders.Decoder`."""
        intervals = self.propose(scores, others)
        return intervals[intervals["score"] >= self.least].reset_index(drop=True)

    def propose(self, scores, others=None):
        """Every candidate that no likelier one overlaps.

        Parameters
        ----------
        scores : (T,) float
            NaN where no face was seen.
        others : dict of (T,) float, optional
            Curves of other movement in the same video, of the kinds that it was fitted with.

        Returns
        -------
        intervals : DataFrame
            onset, apex, offset (int64), score (float64 in [0, 1]): the probability that a micro-expression has an
            IoU of at least .5 with it. No two share more than an IoU of .2.
        """
        missing = set(self.kinds) - set(others or {})
        if missing:
            raise DataError(f"the selector was fitted with a curve of {min(missing)}; give that curve, too.")
        curve = Curve.read(scores)
        given = [np.asarray((others or {})[kind], dtype=float) for kind in self.kinds]
        for kind, other in zip(self.kinds, given, strict=True):
            if other.shape != curve.filled.shape:
                raise DataError(
                    f"the {kind} curve has shape {other.shape}, the scores {curve.filled.shape}; "
                    "give it one value a frame."
                )
        spans, odds = self._verdict(candidates(scores, self.prior, given))
        ranked = curve.ranked
        rows = [
            (onset, _apex(ranked, onset, offset), offset, probability)
            for (onset, offset), probability in zip(spans.tolist(), expit(odds).tolist(), strict=True)
            if curve.scored[onset : offset + 1].any()
        ]
        return interval_table(rows)

    def _verdict(self, video):
        """Spans (N, 2) and log odds (N,) of the likeliest candidates of a video."""
        odds = self.offset + np.clip(video.features, self.low, self.high) @ np.array(self.weights)
        return verdict(video.spans, odds)

    def to_dict(self):
        """Return plain numbers and text, for a settings file."""
        record = dataclasses.asdict(self)
        for name in ("kinds", "low", "high", "weights"):
            record[name] = list(record[name])
        return record

    @classmethod
    def from_dict(cls, record):
        """Rebuild what `to_dict` wrote."""
        read = {name: tuple(record[name]) for name in ("kinds", "low", "high", "weights")}
        return cls(**{**record, **read, "prior": IntervalPrior.from_dict(record["prior"])})


class Candidates(NamedTuple):
    """Candidates of one curve."""

    spans: np.ndarray  # (N, 2) float64, onset and offset, between frames
    features: np.ndarray  # (N, F) float64, named by `feature_names`


def feature_names(kinds=()):
    """Names of the features of a candidate, in their order; kinds: other curves that are read."""
    of_views = [f"{view}_{what}" for view in _VIEWS for what in _OF_VIEW]
    return [*of_views, *_OF_CANDIDATE, *(f"{kind}_{view}" for kind in kinds for view in _VIEWS)]


def candidates(scores, prior, others=()):
    """Candidates of a curve (T,), with their features; none where it says nothing. others: curves of the same length."""
    curve = Curve.read(scores)
    n, median = curve.filled.size, np.exp(prior.duration.log_mean)
    if curve.scored.sum() < 3 or np.ptp(curve.filled[curve.scored]) == 0:
        return Candidates(np.zeros((0, 2)), np.zeros((0, len(feature_names(others)))))
    views = [_Means.from_curve(view) for view in _views(scores)]
    spread = prior.duration.log_spread * ndtri(DURATIONS)
    lengths = np.maximum(median * np.exp(spread), 1.0)
    tops = [vertices(_contrast(views[1], length)) for length in lengths]
    scale = np.repeat(np.arange(len(lengths)), [len(top) for top in tops])
    middle, length = np.concatenate(tops) + 0.5, lengths[scale]  # frame t lasts from t to t + 1
    onset, offset = (middle - length / 2).clip(0, n - 1), (middle + length / 2).clip(1, n)
    inside, frames = offset - onset, np.arange(n) + 0.5
    columns = []
    for view in views:
        level = view.mean(frames - median / 2, frames + median / 2)  # (T,)
        places = level[local_maxima(level, max(1, int(0.75 * median)))]
        height = view.mean(middle - median / 2, middle + median / 2)
        columns += [
            view.mean(onset, offset),
            view.mean(middle - 0.3 * length, middle + 0.3 * length),
            view.beside(onset - inside, onset, offset, offset + inside),
            view.beside(onset - 3 * inside, onset - inside, offset + inside, offset + 3 * inside),
            np.log1p(places.size - np.searchsorted(np.sort(places), height, side="right")),
            (height - np.median(level)) / (level.std() or 1.0),
        ]
    hit = np.log(_hit_probability(lengths, prior.duration) + 1e-3)
    z = spread / prior.duration.log_spread
    columns += [hit[scale], z[scale], z[scale] ** 2, np.full(middle.size, np.log(n / median))]
    for other in others:
        columns += [_Means.from_curve(view).mean(onset, offset) for view in _views(other)]
    return Candidates(np.stack([onset, offset - 1], axis=1), np.stack(columns, axis=1))


def _views(scores):
    """A curve in the two scales that don't know its unit, (T,) each; 0, the median, where it is masked."""
    scores = np.asarray(scores, dtype=float)
    scored = ~np.isnan(scores)
    if not scored.any():
        return np.zeros((2, scores.size))
    units = np.arcsinh(np.clip(_straightened(scores[scored]), *_UNITS))
    views = np.zeros((2, scores.size))
    # Rounded, so that another unit, which rounds each score a little, changes nothing.
    views[:, scored] = units.round(6), ndtri(ranks(scores[scored]))
    return views


def _straightened(scores):
    """Scores (N,) in standard deviations from their median, bent so that the background is symmetrical.

    The g distribution of Tukey: whoever applied an exponential or a logarithm to scores with a normal background
    changes nothing.
    """
    low, middle, high = np.quantile(scores, _BACKGROUND)
    distance, z = scores - middle, ndtri(_BACKGROUND[2])
    if low == middle or middle == high:
        noise = np.abs(distance).mean() * 1.2533  # more than a third of the scores are equal
        return distance / (noise or 1.0)
    skew = float(np.clip(np.log((high - middle) / (middle - low)) / z, -_SKEWEST, _SKEWEST))
    if abs(skew) < 1e-6:
        return distance * (2 * z / (high - low))
    unit = (high - low) / (np.exp(skew * z) - np.exp(-skew * z))  # high and low lie at z and -z
    return np.log(np.maximum(1 + distance * (1 / unit), np.exp(-_UNITS[1] * abs(skew)))) / skew


class _Means(NamedTuple):
    """Means of a curve between any two points of time; frame t lasts from t to t + 1."""

    curve: np.ndarray  # (T,)
    total: np.ndarray  # (T + 1,)

    @classmethod
    def from_curve(cls, curve):
        return cls(curve, np.concatenate([[0.0], np.cumsum(curve)]))

    def mean(self, start, stop):
        """Means (N,) over the part of [start, stop) that lies in the curve; NaN where that is none."""
        start, stop = (np.clip(edge, 0, self.curve.size) for edge in (start, stop))
        time = np.arange(self.total.size)
        summed = np.interp(stop, time, self.total) - np.interp(start, time, self.total)
        length = stop - start
        return np.divide(summed, length, out=np.full(summed.shape, np.nan), where=length > 0.05)

    def beside(self, start, stop, second_start, second_stop):
        """Mean over two stretches, of what lies in the curve; 0, the median, where nothing does."""
        both = np.stack([self.mean(start, stop), self.mean(second_start, second_stop)])
        there = ~np.isnan(both)
        return np.where(there, both, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)


def _contrast(view, length):
    """Mean under a triangle of a length less half the mean of three lengths around it, (T,)."""
    middle = np.arange(view.curve.size) + 0.5
    # A triangle is a stack of boxes.
    halves = length / 2 * (np.arange(_BOXES) + 0.5) / _BOXES
    triangle = sum(half * view.mean(middle - half, middle + half) for half in halves) / halves.sum()
    return triangle - 0.5 * view.mean(middle - 1.5 * length, middle + 1.5 * length)


def local_maxima(curve, distance=1):
    """Frames of local maxima, ends included."""
    padded = np.concatenate([[-np.inf], curve, [-np.inf]])
    return find_peaks(padded, distance=distance)[0] - 1


def vertices(curve):
    """Local maxima between frames: vertices of the parabolas through each and its neighbours, at most half a frame off."""
    top = local_maxima(curve)
    before, after = curve[np.maximum(top - 1, 0)], curve[np.minimum(top + 1, curve.size - 1)]
    rise, fall = curve[top] - before, curve[top] - after
    inner = (rise > 0) & (fall > 0)
    return top + np.where(inner, (rise - fall) / (2 * np.where(inner, rise + fall, 1.0)), 0.0)


def _hit_probability(lengths, duration):
    """Probability (N,) that an event whose middle is near has an IoU of at least .5 with a candidate's length."""
    events = np.exp(duration.log_mean + duration.log_spread * ndtri((np.arange(40) + 0.5) / 40))[:, None]
    shift = np.abs(ndtri((np.arange(15) + 0.5) / 15)) * _JITTER * np.exp(duration.log_mean)
    length = lengths[:, None, None]
    shared = np.minimum(np.minimum(length, events), (length + events) / 2 - shift).clip(0)
    return (shared / (length + events - shared) >= 0.5).mean(axis=(1, 2))


def mean_ap(intervals, events):
    """Average precision, mean over IoU of .3 to .7; 0 without any event."""
    return float(
        np.nan_to_num([metrics.average_precision(intervals, events, iou) for iou in metrics.IOUS]).mean()
    )


def _pairs(spans, others, least=0.5):
    """Which spans (N, 2) and others (M, 2, sorted by onset) share at least this IoU: their numbers, and the IoU."""
    longest = (others[:, 1] - others[:, 0]).max(initial=0.0) + 1
    first = np.searchsorted(others[:, 0], spans[:, 0] - longest)
    count = np.searchsorted(others[:, 0], spans[:, 1], side="right") - first
    i = np.repeat(np.arange(len(spans)), count)
    j = np.arange(len(i)) + np.repeat(first - np.cumsum(count) + count, count)
    (onset, offset), (other_onset, other_offset) = spans[i].T, others[j].T
    shared = np.minimum(offset, other_offset) - np.maximum(onset, other_onset) + 1
    iou = shared / (offset - onset + other_offset - other_onset + 2 - shared)
    near = iou >= least
    return i[near], j[near], iou[near]


def overlap_of(spans, events):
    """Largest IoU (N,) of each candidate with an event (M, 2)."""
    best = np.zeros(len(spans))
    i, _, iou = _pairs(spans, events[np.argsort(events[:, 0])], 1e-9)
    np.maximum.at(best, i, iou)
    return best


def verdict(spans, odds):
    """Of candidates (N, 2) with log odds (N,) those that no likelier one overlaps, with their odds.

    Each goes to the mean of all that share at least half of it, weighed by their probability and IoU: durations are
    tried in steps, and which step wins by a hair shall not matter.
    """
    in_time, chosen = np.argsort(spans[:, 0], kind="stable"), likeliest(spans, odds)
    merged, odds = _merged(spans[in_time], expit(odds)[in_time], spans[chosen]), odds[chosen]
    chosen = likeliest(merged, odds)
    return merged[chosen], odds[chosen]


def _merged(spans, weight, chosen):
    i, j, iou = _pairs(chosen, spans)
    weight = weight[j] * iou
    ends = [np.bincount(i, weight * end, len(chosen)) for end in spans[j].T]
    middle = np.stack(ends, axis=1) / np.bincount(i, weight, len(chosen))[:, None]
    return np.floor(middle + 0.5).astype(np.int64)


def odds_alike(spans, others, odds, absent):
    """Highest log odds of the others (M, 2), sorted by onset, that have an IoU of at least .5 with each span (N, 2)."""
    best = np.full(len(spans), -np.inf)
    i, j, _ = _pairs(spans, others)
    np.maximum.at(best, i, odds[j])
    return np.where(np.isinf(best), absent, best)


def likeliest(spans, odds):
    """Which candidates no likelier one overlaps, (N,) bool."""
    if not len(spans):
        return np.zeros(0, bool)
    return _suppress(np.asarray(spans, dtype=float), np.argsort(-odds, kind="stable"), _SAME)


@njit(nogil=True, cache=True)
def _suppress(spans, order, same):
    # Kept candidates hang in one list a stretch as long as the longest, so that only three lists are looked through.
    longest = 1.0
    for i in range(len(spans)):
        longest = max(longest, spans[i, 1] - spans[i, 0] + 1)
    first = np.full(int(spans[:, 0].max() // longest) + 3, -1)
    following = np.full(len(spans), -1)
    chosen = np.zeros(len(spans), np.bool_)
    for i in order:
        onset, offset = spans[i]
        place = int(onset // longest) + 1
        free = True
        for near in range(place - 1, place + 2):
            j = first[near]
            while j >= 0 and free:
                shared = min(offset, spans[j, 1]) - max(onset, spans[j, 0]) + 1
                union = offset - onset + spans[j, 1] - spans[j, 0] + 2 - shared
                free = shared <= same * union
                j = following[j]
        if free:
            chosen[i] = True
            following[i] = first[place]
            first[place] = i
    return chosen


class _Logistic(NamedTuple):
    """A logistic regression on features that are kept in the range where it was fitted."""

    low: np.ndarray  # (F,)
    high: np.ndarray  # (F,)
    weights: np.ndarray  # (F,)
    offset: float

    def odds(self, features):
        return self.offset + np.clip(features, self.low, self.high) @ self.weights


def _spread_and_odds(features, right, subject, trusted):
    """Spread of single weights, and log odds (N,) from subjects that they weren't fitted on; subject (N,) int."""
    group, tried = subject % _GROUPS, []
    for spread in _SPREADS:
        odds = np.zeros(len(right))
        for left_out in np.unique(group):
            known = group != left_out
            # One subject alone, or the only one with an event, can't be left out.
            known = known if right[known].any() else np.ones_like(known)
            model = _logistic(features[known], right[known], trusted, spread)
            odds[group == left_out] = model.odds(features[group == left_out])
        tried.append((spread, odds, np.bincount(subject, np.logaddexp(0, odds) - right * odds)))
    lowest = min(tried, key=lambda trial: trial[2].sum())[2]
    apart = [loss - lowest for *_, loss in tried]
    near = [gap.sum() <= gap.std() * np.sqrt(gap.size) for gap in apart]
    return tried[near.index(True)][:2]


def _logistic(features, right, trusted, spread_of_weights):
    """Fit; right (N,) in [0, 1] says how right each is, trusted (F,) bool which features' sum has a weight of its own."""
    spread = features.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    scale = (features @ trusted).std() or 1.0
    columns = np.column_stack([np.diag(spread_of_weights / spread), trusted / scale])  # (F, F + 1)
    centre = features.mean(axis=0)
    twice = np.concatenate([(features - centre) @ columns] * 2)
    label = np.repeat([1, 0], len(right))
    weight = np.concatenate([right, 1 - right])
    model = LogisticRegression(C=1.0, max_iter=1000)
    model.fit(twice[weight > 0], label[weight > 0], sample_weight=weight[weight > 0])
    weights = columns @ model.coef_[0]
    offset = float(model.intercept_[0] - weights @ centre)
    return _Logistic(features.min(axis=0), features.max(axis=0), weights, offset)


def worth_keeping(odds, hit, n_events):
    """Slope and shift that calibrate log odds (N,) of hits, and the odds from which on keeping has the best expected F1.

    These lie halfway between the last that is kept and the next, so that one a little less sure is kept.
    """
    slope, shift = _calibration(odds, hit)
    falling = np.sort(odds)[::-1]
    expected = np.cumsum(expit(slope * falling + shift))
    last = int(np.argmax(2 * expected / (np.arange(1, len(falling) + 1) + n_events)))
    return slope, shift, falling[last : last + 2].mean()


def _calibration(odds, hit):
    """Slope above 0 and offset that turn log odds into those of a hit (Platt)."""
    if not hit.any() or hit.all():
        return 1.0, 0.0
    model = LogisticRegression(C=1.0, max_iter=1000).fit(odds[:, None], hit)
    slope = max(float(model.coef_[0, 0]), 0.05)  # the order stays, even where it proved worth nothing
    return slope, float(model.intercept_[0])


def _apex(ranked, onset, offset):
    """Highest frame of an interval, of equals the middle one: a saturated curve has a plateau."""
    inside = ranked[onset : offset + 1]
    tops = np.flatnonzero(inside == inside.max())
    return onset + int(tops[len(tops) // 2])

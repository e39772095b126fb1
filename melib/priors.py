"""Curves that turn three landmarks into a target for every frame, and priors over when events happen.

A curve prior says how strong a movement is assumed to be between onset and offset when nobody labelled the
frames in between. All share one signature, are 1 at the apex and 0 outside the annotated interval.

    frame      0 . . . 10 . . . 22 . . . . . 40 . . 63
    triangle   0 0 0 0 0  / / / 1  \\ \\ \\ \\ \\ 0  0 0 0
                     onset     apex        offset        closed interval, 0-based

A curve is a function of time, read off at whole frames: a landmark between two frames is legal (annotators
work at a higher rate than we sample), and an event that falls between two frames altogether leaves no
trace.

A duration prior says how long events last, an interval prior also where the apex lies and how often.
"""

import dataclasses
import math
from dataclasses import dataclass
from numbers import Real

import numpy as np
from scipy.special import log_ndtr, ndtri

from melib.errors import DataError

# Narrowest Gaussian flank, in frames: half a frame still leaves the apex as the only frame above .14.
_NARROWEST_SIGMA = 0.5
# Smallest spread of log durations. The public tables lie between .172 (CAS(ME)^2) and .920; a fold with two
# equal events must not end in a prior that forbids every other duration.
_SMALLEST_LOG_SPREAD = 0.1
# Bounds for the apex position's mean and standard deviation: few or equal apexes give a proper Beta, too.
_APEX_MEAN = (0.02, 0.98)
_APEX_SPREAD = 0.02


def triangular(onset, apex, offset, n_frames):
    """Straight rise from onset to apex, straight fall from apex to offset.

    Parameters
    ----------
    onset, apex, offset : float
        Landmarks in frames, 0-based, ``onset <= apex <= offset``; they may lie between frames or outside
        the clip.
    n_frames : int
        Length of the clip.

    Returns
    -------
    curve : (n_frames,) float32 in [0, 1]
        1 at the apex, 0 at and outside onset and offset. Where apex and onset (or offset) coincide the
        triangle is one-sided, with 1 at that frame.

    Raises
    ------
    DataError
        (a ValueError) If a landmark is NaN, infinite or out of order, or n_frames is negative.

    Examples
    --------
    >>> triangular(1, 3, 4, 6).tolist()
    [0.0, 0.0, 0.5, 1.0, 0.0, 0.0]
    >>> triangular(0, 0, 2, 4).tolist()
    [1.0, 0.5, 0.0, 0.0]
    """
    return _phase(onset, apex, offset, n_frames).astype(np.float32)


def boxcar(onset, apex, offset, n_frames):
    """1 on the closed interval [onset, offset], 0 outside; parameters, shape and errors as in `triangular`.

    Examples
    --------
    >>> boxcar(1, 2, 3, 5).tolist()
    [0.0, 1.0, 1.0, 1.0, 0.0]
    """
    frame = _frames(onset, apex, offset, n_frames)
    return ((frame >= onset) & (frame <= offset)).astype(np.float32)


def half_apex(onset, apex, offset, n_frames):
    """1 from the middle of onset and apex to the apex (SFAMNet's label); otherwise as `triangular`.

    Examples
    --------
    >>> half_apex(0, 4, 6, 8).tolist()
    [0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    """
    frame = _frames(onset, apex, offset, n_frames)
    middle = onset + (apex - onset) / 2
    return ((frame >= middle) & (frame <= apex)).astype(np.float32)


def gaussian(onset, apex, offset, n_frames):
    """Gaussian at the apex whose sigma is half the flank, a side of its own; otherwise as `triangular`.

    A flank shorter than one frame gets a sigma of half a frame. The curve is cut outside onset and offset,
    where a flank of a frame or more still has exp(-2) = .135.

    Examples
    --------
    >>> gaussian(1, 3, 5, 7).astype(float).round(2).tolist()
    [0.0, 0.14, 0.61, 1.0, 0.61, 0.14, 0.0]
    """
    frame = _frames(onset, apex, offset, n_frames)
    flank = np.where(frame < apex, apex - onset, offset - apex)  # (n_frames,), frames
    sigma = np.maximum(flank / 2, _NARROWEST_SIGMA)
    inside = (frame >= onset) & (frame <= offset)
    distance = np.where(inside, frame - apex, 0.0) / sigma
    return np.where(inside, np.exp(-0.5 * distance**2), 0.0).astype(np.float32)


def raised_cosine(onset, apex, offset, n_frames):
    """Smooth rise and fall with zero slope at all three landmarks; otherwise as `triangular`.

    Examples
    --------
    >>> raised_cosine(0, 2, 4, 5).round(2).tolist()
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    phase = _phase(onset, apex, offset, n_frames)
    return (0.5 - 0.5 * np.cos(np.pi * phase)).astype(np.float32)


def symmetric_triangle(onset, apex, offset, n_frames):
    """Triangle whose top is midway between onset and offset, wherever the apex; otherwise as `triangular`.

    What is left of the label without the apex.

    Examples
    --------
    >>> symmetric_triangle(0, 1, 4, 5).tolist()
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    _check(onset, apex, offset)
    return triangular(onset, onset + (offset - onset) / 2, offset, n_frames)


def apex_only(onset, apex, offset, n_frames):
    """1 at the frame nearest to the apex and 0 elsewhere: no shape at all; otherwise as `triangular`.

    Examples
    --------
    >>> apex_only(0, 1.2, 4, 5).tolist()
    [0.0, 1.0, 0.0, 0.0, 0.0]
    """
    return (_frames(onset, apex, offset, n_frames) == round(float(apex))).astype(np.float32)


def resampled_triangle(onset, apex, offset, n_steps=16):
    """The intensity paper's target: onset to offset, resampled to n_steps, against normalised time.

    With tau = t / (n_steps - 1) and alpha = (apex - onset) / (offset - onset), the rise is tau / alpha up
    to alpha. The paper (arXiv 2512.01145) states tau, alpha and the rise, with a small constant added to
    alpha; that T is typically 16 comes from a secondary source. The fall, (1 - tau) / (1 - alpha), we infer
    by symmetry. Instead of the small constant the limit itself is taken: alpha = 0 or 1 gives the one-sided
    triangle with 1 at that end. How the paper treats onset == offset is not known; here every step then
    shows the same frame, the apex, and the target is 1 throughout.

    Parameters
    ----------
    onset, apex, offset : float
        Landmarks in frames, ``onset <= apex <= offset``.
    n_steps : int
        Number of samples, at least 2.

    Returns
    -------
    target : (n_steps,) float32 in [0, 1]

    Raises
    ------
    DataError
        (a ValueError) If a landmark is NaN, infinite or out of order, or n_steps is under 2.

    Examples
    --------
    >>> resampled_triangle(100, 110, 140, n_steps=5).astype(float).round(3).tolist()
    [0.0, 1.0, 0.667, 0.333, 0.0]
    """
    _check(onset, apex, offset)
    if n_steps < 2:
        raise DataError(f"resampled_triangle needs at least 2 steps, got {n_steps}; the paper uses 16.")
    if onset == offset:
        return np.ones(n_steps, np.float32)
    rise, length, last = apex - onset, offset - onset, n_steps - 1
    # Rounding must not move an apex at the offset off the last step, nor any apex beyond it.
    apex_step = last if rise == length else min(rise * last / length, last)
    return triangular(0, apex_step, last, n_steps)


@dataclass(frozen=True)
class DurationPrior:
    """How long events last: a log-normal over whole frames, counted inclusively.

    Durations of the public tables are positive and skewed, with a spread in proportion to their size; a
    log-normal has just the two numbers that a training fold of some dozens of events can support. It is
    made discrete by giving n frames the probability of (n - .5, n + .5], and 1 frame all that lies below
    1.5, so that the probabilities over n >= 1 sum to 1.

    The reference pipeline of the spotting paper states only `half_length`; the family is our choice.

    Attributes
    ----------
    fps : float
        Frame rate in which durations are counted.
    log_mean, log_spread : float
        Mean and standard deviation of the log of the duration in frames.
    half_length : int
        (median of offset - onset, plus 1) // 2, frames: the reference decoders' k_p.
    n_events : int
        Number of events it was fitted on.
    """

    fps: float
    log_mean: float
    log_spread: float
    half_length: int
    n_events: int

    @classmethod
    def fit(cls, events, fps):
        """Fit on the events of a training fold.

        Parameters
        ----------
        events : DataFrame
            With onset, offset (closed, frames) and, where it differs from `fps`, the column fps. Rows with
            status "dropped" or without onset or offset don't count.
        fps : float
            Frame rate of the prior. An event of another rate is rounded to whole frames of this one.

        Returns
        -------
        prior : DurationPrior

        Raises
        ------
        DataError
            If no event is left, an event ends before it starts, or fps isn't positive.
        """
        if not (np.isfinite(fps) and fps > 0):
            raise DataError(f"a duration prior needs a positive frame rate, got {fps}.")
        events = _usable(events)
        rate = _rates(events, fps)
        length = np.rint((events["offset"] - events["onset"]).to_numpy(float) * fps / rate)  # (N,)
        if length.size == 0:
            raise DataError(
                "no event with onset and offset to fit a duration prior on; use a larger training fold, or "
                "keep more rows by read_events(..., policy='repair')."
            )
        if length.min() < 0:
            raise DataError("an event ends before it starts; check onset and offset of the table.")
        logs = np.log(length + 1)  # inclusive count
        spread = float(logs.std(ddof=1)) if logs.size > 1 else 0.0
        return cls(
            fps=float(fps),
            log_mean=float(logs.mean()),
            log_spread=max(spread, _SMALLEST_LOG_SPREAD),
            half_length=int((np.median(length) + 1) // 2),
            n_events=int(length.size),
        )

    def log_prob(self, n_frames):
        """Log probability of lasting n_frames frames (inclusive count).

        Parameters
        ----------
        n_frames : int or (...,) int array

        Returns
        -------
        log_prob : float or (...,) float64, at most 0; -inf for n_frames under 1.

        Raises
        ------
        DataError
            (a ValueError) If n_frames is NaN or not whole.
        """
        n = np.asarray(n_frames, dtype=float)
        if not np.all(n == np.rint(n)):  # also catches NaN
            raise DataError("log_prob takes whole numbers of frames.")
        safe = np.maximum(n, 1.0)
        upper = (np.log(safe + 0.5) - self.log_mean) / self.log_spread
        lower = np.where(safe > 1, (np.log(safe - 0.5) - self.log_mean) / self.log_spread, -np.inf)
        # Far above the median both tails are 1 to machine precision; mirrored, they are tiny and exact.
        mirrored = lower > 0
        low, high = np.where(mirrored, -upper, lower), np.where(mirrored, -lower, upper)
        log_high = log_ndtr(high)
        log_prob = log_high + np.log1p(-np.exp(log_ndtr(low) - log_high))
        log_prob = np.where(n >= 1, log_prob, -np.inf)
        return float(log_prob) if log_prob.ndim == 0 else log_prob

    def quantile(self, q):
        """Return the smallest duration, in frames, that a share q of events doesn't exceed.

        Parameters
        ----------
        q : float or (...,) float array in [0, 1)

        Returns
        -------
        n_frames : int or (...,) int64, at least 1
        """
        q = np.asarray(q, dtype=float)
        if not np.all((q >= 0) & (q < 1)):
            raise DataError("a quantile lies in [0, 1).")
        bound = np.exp(self.log_mean + self.log_spread * ndtri(q)) - 0.5
        n = np.maximum(np.ceil(bound), 1).astype(np.int64)
        return int(n) if n.ndim == 0 else n

    def to_dict(self):
        """Return plain numbers, for a settings file."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, record):
        """Rebuild what `to_dict` wrote."""
        return cls(**record)


@dataclass(frozen=True)
class IntervalPrior:
    """When events happen: their duration, where the apex lies in them, and how many come a minute.

    Attributes
    ----------
    duration : DurationPrior
    apex_a, apex_b : float
        Beta distribution of (apex - onset) / (offset - onset), fitted by its moments, since annotated
        apexes lie exactly on onset or offset often enough to break a likelihood. Beta(1, 1) under two
        usable apexes.
    events_per_minute : float
    """

    duration: DurationPrior
    apex_a: float
    apex_b: float
    events_per_minute: float

    @classmethod
    def fit(cls, events, videos, fps):
        """Fit on the events and videos of a training fold.

        Parameters
        ----------
        events : DataFrame
            Events table; as in `DurationPrior.fit`. Rows without an apex, or a table without that column, say
            nothing of where it lies.
        videos : DataFrame
            Every video of the fold, those without events included: n_first and n_last (closed) or n_frames,
            and fps; without that column the rate is that of the events (which must be one), or else `fps`.
        fps : float
            Frame rate of the duration prior.

        Returns
        -------
        prior : IntervalPrior

        Raises
        ------
        DataError
            If no event or no video time is left, or the videos' rate is ambiguous.
        """
        duration = DurationPrior.fit(events, fps)
        events = _usable(events)
        minutes = _minutes(videos, _rates(events, fps))
        length = (events["offset"] - events["onset"]).to_numpy(float)
        position = np.zeros(0)
        if "apex" in events:
            apex = events["apex"].astype("Float64").to_numpy(float, na_value=np.nan)
            rise = apex - events["onset"].to_numpy(float)
            position = rise / np.where(length > 0, length, np.nan)
        a, b = _beta_by_moments(position[np.isfinite(position)])
        return cls(duration, a, b, len(events) / minutes)

    def to_dict(self):
        """Return plain numbers, for a settings file."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, record):
        """Rebuild what `to_dict` wrote."""
        return cls(**{**record, "duration": DurationPrior.from_dict(record["duration"])})


def _check(onset, apex, offset):
    # An events table's missing apex is pd.NA, which is no number at all.
    if not all(isinstance(frame, Real) and math.isfinite(frame) for frame in (onset, apex, offset)):
        raise DataError(f"landmarks must be finite, got onset {onset}, apex {apex}, offset {offset}.")
    if not onset <= apex <= offset:
        raise DataError(f"landmarks must be in order, got onset {onset}, apex {apex}, offset {offset}.")


def _frames(onset, apex, offset, n_frames):
    """Frame indices (n_frames,) float64, once the landmarks are known to be in order."""
    _check(onset, apex, offset)
    if n_frames < 0 or n_frames != int(n_frames):
        raise DataError(f"a clip can't have {n_frames} frames.")
    return np.arange(n_frames, dtype=float)


def _phase(onset, apex, offset, n_frames):
    """0 at and outside onset and offset, 1 at the apex, linear between: (n_frames,) float64."""
    frame = _frames(onset, apex, offset, n_frames)
    phase = np.zeros(n_frames)
    rise = (frame > onset) & (frame < apex)
    fall = (frame > apex) & (frame < offset)
    phase[rise] = (frame[rise] - onset) / (apex - onset)
    phase[fall] = (offset - frame[fall]) / (offset - apex)
    phase[frame == apex] = 1.0
    return phase


def _usable(events):
    """Rows that have both ends and weren't dropped."""
    keep = events["onset"].notna() & events["offset"].notna()
    if "status" in events:
        keep &= events["status"] != "dropped"
    return events[keep]


def _rates(events, fps):
    """Frame rate of each event, (N,) float; `fps` where the table doesn't say."""
    if "fps" not in events:
        return np.full(len(events), float(fps))
    return events["fps"].astype(float).fillna(fps).to_numpy(float)


def _minutes(videos, event_rates):
    frames = videos["n_frames"] if "n_frames" in videos else videos["n_last"] - videos["n_first"] + 1
    if "fps" in videos:
        rate = videos["fps"].to_numpy(float)
    else:
        rates = np.unique(event_rates)
        if rates.size != 1:
            raise DataError(f"events come at {rates.tolist()} fps; give the videos a column fps.")
        rate = rates[0]
    minutes = float((frames.to_numpy(float) / rate).sum() / 60)
    if not minutes > 0:
        raise DataError("no video time to count events a minute in; give every video of the training fold.")
    return minutes


def _beta_by_moments(position):
    if position.size < 2:
        return 1.0, 1.0
    mean = float(np.clip(position.mean(), *_APEX_MEAN))
    # A Beta's variance stays below mean (1 - mean); .9 of it is already a deep U.
    variance = float(np.clip(position.var(ddof=1), _APEX_SPREAD**2, 0.9 * mean * (1 - mean)))
    total = mean * (1 - mean) / variance - 1
    return mean * total, (1 - mean) * total

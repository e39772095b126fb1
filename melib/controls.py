"""What a model must beat, and whether it sees the face at all.

A window cut at the annotation tells its target by position alone, so each learned number stands beside
controls:

    position_only      the mean training target: knows the place in the window, no pixel
    lay_shape          the mean shape laid between the true onset and offset: knows more than it should
    freeze, shuffle    the same clip without movement, and without order
    retime             the same clip with its apex moved by a known shift; a model that sees follows it

The clip swap (`melib.metrics`), `apex_follow` and `frozen_correlation` need no truth and no retraining: they can be asked
of licensed clips as well as of simulated ones, and `sees` draws the verdict from them, wherever one is shown.
"""

import math

import numpy as np

from melib.errors import DataError
from melib.metrics import apex_of, curve_agreement
from melib.stats import bootstrap

# A clip swap that two digits don't show is none, however narrow its interval: training leaves slivers of .002.
LEAST_SWAP = 0.01
# Slope of the predicted apex on a known shift from which on a model follows it. Annotated apexes err, so that the truth
# itself doesn't reach 1: where its own slope is known, a model is asked for this share of that; else for the number below.
SHARE_OF_CEILING = 0.9
LEAST_FOLLOW = 0.8

# Frames that must lie between the apex, before and after its move, and either end of the window: closer,
# and a whole flank would be squeezed into less than two frames.
_ROOM = 2.0
_SHUFFLES = 0
_SHAPE = 101  # points of a mean shape


def position_only(train_targets, n):
    """Mean training target for every window: what position alone tells.

    Windows of one protocol have the same number of samples and start anywhere, so there is nothing else to
    condition on.

    Parameters
    ----------
    train_targets : (N, T) float
        Targets of training windows only.
    n : int
        Number of windows to predict.

    Returns
    -------
    predictions : (n, T) float32
    """
    train_targets = np.asarray(train_targets)
    if train_targets.ndim != 2 or len(train_targets) == 0:
        raise DataError(f"position_only needs training targets of shape (N, T), got {train_targets.shape}.")
    return np.tile(train_targets.mean(axis=0, dtype=float).astype(np.float32), (n, 1))


def mean_shape(targets, onsets, offsets):
    """Mean target on normalised time between onset and offset.

    Parameters
    ----------
    targets : (N, T) float
        Targets of training windows.
    onsets, offsets : (N,) float
        In samples (see `melib.protocols.landmarks`); NaN where a window shows no event. What a window cuts
        off is left out of the mean.

    Returns
    -------
    shape : (101,) float32

    Raises
    ------
    DataError
        If some part of the interval is seen in no window.
    """
    targets = np.asarray(targets, dtype=float)
    onsets, offsets = np.asarray(onsets, dtype=float), np.asarray(offsets, dtype=float)
    sample = np.arange(targets.shape[1])
    total, count = np.zeros(_SHAPE), np.zeros(_SHAPE)
    for target, onset, offset in zip(targets, onsets, offsets, strict=True):
        if not offset > onset:  # also skips NaN; a single frame has no shape
            continue
        place = np.linspace(onset, offset, _SHAPE)
        inside = (place >= 0) & (place <= sample[-1])
        total[inside] += np.interp(place[inside], sample, target)
        count[inside] += 1
    if not count.all():
        raise DataError(
            "mean_shape saw no window for a part of the interval; train on windows with complete events."
        )
    return (total / count).astype(np.float32)


def lay_shape(shape, onset, offset, positions):
    """A shape on normalised time, stretched over known intervals; 0 outside them.

    Parameters
    ----------
    shape : (n,) float
        From `mean_shape`.
    onset, offset : float or (N,) float
        In the unit of positions; NaN gives a curve of zeros.
    positions : (T,) or (N, T) float
        Where to read the curve off: samples, or native frames.

    Returns
    -------
    curves : (T,) or (N, T) float32

    Examples
    --------
    >>> lay_shape([0, 1, 0], 1, 3, [0, 1, 2, 3, 4]).tolist()
    [0.0, 0.0, 1.0, 0.0, 0.0]
    """
    shape, positions = np.asarray(shape, dtype=float), np.asarray(positions, dtype=float)
    onset, offset = np.asarray(onset, dtype=float)[..., None], np.asarray(offset, dtype=float)[..., None]
    inside = (positions >= onset) & (positions <= offset)
    length = offset - onset
    # An event of one frame shows the middle of the shape.
    share = np.divide(positions - onset, length, out=np.full(inside.shape, 0.5), where=length > 0)
    curve = np.interp(np.where(inside, share, 0.0), np.linspace(0, 1, shape.size), shape)
    return np.where(inside, curve, 0.0).astype(np.float32)


def freeze(inputs):
    """Every clip's first frame, repeated: what is left is the face without its movement.

    Parameters
    ----------
    inputs : (N, T, ...) array

    Returns
    -------
    frozen : (N, T, ...), same dtype
    """
    inputs = np.asarray(inputs)
    return np.repeat(inputs[:, :1], inputs.shape[1], axis=1)


def shuffle(inputs, seed):
    """Frames of every clip in a random order of its own.

    Parameters
    ----------
    inputs : (N, T, ...) array
    seed : int
        The i-th clip's order depends on the seed, i and T only.

    Returns
    -------
    shuffled : (N, T, ...), same dtype
    """
    inputs = np.asarray(inputs)
    n, length = inputs.shape[:2]
    order = np.random.default_rng([seed, _SHUFFLES]).random((n, length)).argsort(axis=1)
    return inputs[np.arange(n)[:, None], order]


def _can_retime(apex, shift, n_frames):
    """Where `retime` can move the apex, (N,) bool: `_ROOM` stays between it and either end; not for NaN."""
    apex = np.asarray(apex, dtype=float)
    nearest, farthest = np.minimum(apex, apex + shift), np.maximum(apex, apex + shift)
    return (nearest >= _ROOM) & (farthest <= n_frames - 1 - _ROOM)


def retime(inputs, apex, shift):
    """Let the same frames play faster before the apex and slower after it, or the other way round.

    Time is warped by two straight pieces that keep the first and the last frame and show at apex + shift
    what was at the apex. Needs the annotated apex, no truth.

    Parameters
    ----------
    inputs : (N, T, ...) uint8 or float
    apex : (N,) float, frames of the window
    shift : float, frames
        Positive: the apex comes later.

    Returns
    -------
    retimed : (N, T, ...), same dtype
        Interpolated linearly between neighbouring frames; whole-numbered types are rounded.

    Raises
    ------
    DataError
        If an apex is nearer than 2 frames to an end, before or after.
    """
    inputs, apex = np.asarray(inputs), np.asarray(apex, dtype=float)
    n_frames = inputs.shape[1]
    if apex.shape != inputs.shape[:1] or not _can_retime(apex, shift, n_frames).all():
        raise DataError(
            f"retime by {shift} frames needs one apex a clip, {_ROOM:g} frames or more from both ends before "
            "and after; leave out the others."
        )
    retimed = np.empty_like(inputs)
    output_time = np.arange(n_frames)
    for i in range(len(inputs)):  # clip by clip, so that only one is ever widened to float
        time = np.interp(output_time, [0, apex[i] + shift, n_frames - 1], [0, apex[i], n_frames - 1])
        left = np.minimum(time.astype(int), n_frames - 2)
        share = (time - left).reshape(-1, *[1] * (inputs.ndim - 2)).astype(np.float32)
        frames = inputs[i, left] * (1 - share) + inputs[i, left + 1] * share
        retimed[i] = np.rint(frames) if np.issubdtype(inputs.dtype, np.integer) else frames
    return retimed


def apex_follow(predict, inputs, apex, shifts, subjects):
    """Does the predicted apex follow when the apex is moved? 1: it sees; 0: it knows position.

    Parameters
    ----------
    predict : function
        (M, T, ...) inputs -> (M, T) curves.
    inputs : (N, T, ...) array
    apex : (N,) float
        Annotated apex in frames of the window; NaN where there is none.
    shifts : sequence of float
        At least two different ones, frames of the window.
    subjects : (N,) of str

    Returns
    -------
    follow : dict
        - slope: mean over subjects of their clips' slopes; NaN if no clip could be re-timed
        - slopes: (N,) float64, within each clip the regression slope of the predicted apex on the shift;
          NaN for clips whose apex is too near an end for one of the shifts

    Raises
    ------
    DataError
        If fewer than two different shifts are given.
    """
    inputs, apex = np.asarray(inputs), np.asarray(apex, dtype=float)
    shifts = np.asarray(shifts, dtype=float)
    if np.unique(shifts).size < 2:
        raise DataError("apex_follow needs at least two different shifts to fit a slope.")
    used = np.all([_can_retime(apex, shift, inputs.shape[1]) for shift in shifts], axis=0)
    slopes = np.full(len(inputs), np.nan)
    if used.any():
        clips, places = inputs[used], apex[used]
        apexes = np.stack(
            [apex_of(predict(retime(clips, places, shift))) for shift in shifts]
        )  # (shifts, used)
        centred = shifts - shifts.mean()
        moved = apexes - apexes[0]  # exactly 0 for a prediction that doesn't change
        slopes[used] = centred @ moved / (centred @ centred)
    slope = bootstrap(slopes, subjects, n=1)[0] if used.any() else math.nan
    return {"slope": slope, "slopes": slopes}


def frozen_correlation(real, frozen):
    """Spearman of a model's curve on a frozen clip with its curve on the real one.

    Parameters
    ----------
    real, frozen : (N, T) float
        Predictions on the clips and on `freeze` of them.

    Returns
    -------
    correlation : (N,) float64
        1: the movement played no part. 1 also where both curves are constant and equal, at .01; 0 where
        just one of them is constant.
    """
    result = np.zeros(len(real))
    for i, (moving, still) in enumerate(zip(np.round(real, 2), np.round(frozen, 2), strict=True)):
        if np.array_equal(moving, still):
            result[i] = 1.0
        elif np.ptp(moving) > 0:
            result[i] = curve_agreement(still, moving)["spearman"]
    return result


def sees(card):
    """The verdict on "does it see the face?": the only rule, for every table, sentence and page.

    Parameters
    ----------
    card : mapping quantity -> mapping with estimate and low
        Rows of face_card.csv: clip_swap and apex_follow, this with its ceiling where the truth is known. NaN doesn't fulfil
        a condition.

    Returns
    -------
    verdict : {"yes", "in part", "no", "not asked"}
        - yes: the low end of clip_swap is above `LEAST_SWAP` and apex_follow is `least_follow` or more
        - in part: one of the two, or the low end of apex_follow is above 0
        - no: else
        - not asked: the card lacks one of the two, as that of a control which knows the true interval

    Examples
    --------
    >>> sees({"clip_swap": {"low": 0.55}, "apex_follow": {"estimate": 0.77, "low": 0.74}})
    'in part'
    """
    swap, follow = card.get("clip_swap"), card.get("apex_follow")
    if swap is None or follow is None:
        return "not asked"
    fits = swap["low"] > LEAST_SWAP
    follows = follow["estimate"] >= least_follow(follow.get("ceiling", math.nan))
    moves = follow["low"] > 0
    return "yes" if fits and follows else "in part" if fits or follows or moves else "no"


def least_follow(ceiling):
    """The apex_follow that is asked of a model, from the truth's own (NaN where nobody knows the truth)."""
    return LEAST_FOLLOW if math.isnan(ceiling) else SHARE_OF_CEILING * ceiling

"""An intensity curve beside the electromyogram (EMG) of the same face: does it rise where the muscle contracts?

    EMG     ~~~~~~~~WWWWWWW~~~~~~~~    some 1000 samples a second from one muscle
    band    20 to 450 Hz, rectified, smoothed below 6 Hz: the envelope
    curve   ........./^^\\........      one value a frame; skin follows its muscle by some hundredths of a second
                 |<- event ->|         onset to offset and half a second around: rank correlation at the best lag

A lag that is searched for always finds some agreement. So each event is held against the envelope around every other
event, too, with the same search: what the curve knows of its own muscle is the difference.
"""

import numpy as np
import pandas as pd
from scipy import signal, stats

from melib.errors import DataError

COLUMNS = ("onset", "apex", "offset", "spearman", "lag_s", "swapped", "peak")
_BAND = (20.0, 450.0)  # Hz: below it electrodes move, above it there is no muscle
_SMOOTH = 6.0  # Hz: a micro-expression's rise takes a tenth of a second
_STEP = 0.005  # seconds from one lag to the next


def envelope(emg: np.ndarray, rate: float) -> np.ndarray:
    """Strength of a muscle's activity over time.

    Parameters
    ----------
    emg : (N,) float
        One channel, any unit.
    rate : float
        Samples a second, above 40.

    Returns
    -------
    (N,) float64, at least 0
        Unit of ``emg``: band-passed, rectified and smoothed without a shift in time.

    Raises
    ------
    DataError
        If it isn't one channel of finite numbers, or too short or too slow to filter.
    """
    emg = np.asarray(emg, float)
    if emg.ndim != 1 or not np.isfinite(emg).all():
        raise DataError(f"EMG must be one channel of finite numbers, not an array of shape {emg.shape}.")
    if not rate > 2 * _BAND[0] or len(emg) < rate / 2:
        raise DataError(
            f"{len(emg)} samples of EMG at {rate:g} a second can't be filtered; give half a second at 1000."
        )
    high = min(_BAND[1], 0.45 * rate)
    band = signal.butter(4, (_BAND[0], high), "bandpass", fs=rate, output="sos")
    low = signal.butter(2, _SMOOTH, "lowpass", fs=rate, output="sos")
    return np.maximum(signal.sosfiltfilt(low, np.abs(signal.sosfiltfilt(band, emg))), 0)


def beside_emg(
    curve: np.ndarray,
    fps: float,
    emg: np.ndarray,
    rate: float,
    events: pd.DataFrame,
    *,
    start: float = 0.0,
    longest_lag: float = 0.3,
    margin: float = 0.5,
) -> pd.DataFrame:
    """Agreement of an intensity curve with a muscle's envelope, event by event.

    Parameters
    ----------
    curve : (T,) float
        Intensity, one value a frame.
    fps : float
        Frames a second.
    emg : (N,) float
        The channel of the muscle that should move.
    rate : float
        Samples a second.
    events : DataFrame
        onset, offset (frames of the curve, 0-based, closed) and, where known, apex.
    start : float
        When the first sample was taken, seconds after frame 0.
    longest_lag : float
        Seconds that the curve may follow or lead the muscle.
    margin : float
        Seconds before the onset and after the offset that belong to an event's stretch.

    Returns
    -------
    DataFrame
        A row an event: onset, apex (the middle where it wasn't known), offset; spearman, the largest over all lags
        (0 where the curve doesn't change); lag_s, where that is, positive where the curve follows the muscle; swapped,
        the mean of the same search with the envelope around the other events' apexes; peak, the envelope's maximum in
        the stretch, in the unit of ``emg`` (with that of a maximal contraction it gives the MVC per cent). NaN where the
        EMG doesn't reach.

    Raises
    ------
    DataError
        If curve, EMG or an event can't be used.

    Examples
    --------
    >>> table = beside_emg(curve, 30, zygomaticus, 1000, events)  # doctest: +SKIP
    >>> (table["spearman"] - table["swapped"]).mean()  # doctest: +SKIP
    """
    curve, strength = np.asarray(curve, float), envelope(emg, rate)
    if curve.ndim != 1 or not np.isfinite(curve).all() or not fps > 0:
        raise DataError(
            f"An intensity curve of shape {curve.shape} at {fps} frames/s can't be compared; give (T,) finite."
        )
    lags = np.arange(-round(longest_lag / _STEP), round(longest_lag / _STEP) + 1) * _STEP
    seconds = start + np.arange(len(strength)) / rate

    def search(frames: np.ndarray, moved: float) -> tuple[float, float]:
        """Best agreement of the curve in some frames with the envelope ``moved`` seconds later, and its lag."""
        times = frames / fps + moved - lags[:, None]  # (lags, n)
        reached = (times >= seconds[0]).all(axis=1) & (times <= seconds[-1]).all(axis=1)
        if not reached.any():
            return np.nan, np.nan
        there = np.interp(times[reached], seconds, strength)
        scores = _spearman(np.round(curve[frames], 2), there)
        best = int(np.argmax(scores))
        return float(scores[best]), float(lags[reached][best])

    table = events.reset_index(drop=True).reindex(columns=["onset", "apex", "offset"])
    inside = (table["onset"] >= 0) & (table["onset"] < table["offset"]) & (table["offset"] < len(curve))
    for number, event in table[~inside].iterrows():
        span = f"{event['onset']:g} to {event['offset']:g}"
        raise DataError(f"Event {number} goes from frame {span}, outside a curve of {len(curve)} frames.")
    middle = (table["onset"] + table["offset"]) / 2
    table["apex"] = pd.to_numeric(table["apex"]).astype(float).fillna(middle)
    rows = []
    for number, (onset, apex, offset) in enumerate(table.to_numpy(float)):
        first, last = max(0, round(onset - margin * fps)), min(len(curve) - 1, round(offset + margin * fps))
        frames = np.arange(first, last + 1)
        away = (table["apex"].drop(number) - apex) / fps
        swapped = pd.Series([search(frames, moved)[0] for moved in away], dtype=float).mean()
        held = strength[(seconds >= first / fps) & (seconds <= last / fps)]
        rows.append((*search(frames, 0.0), swapped, held.max() if held.size else np.nan))
    return table.assign(**dict(zip(COLUMNS[3:], np.reshape(rows, (-1, 4)).T, strict=True)))


def _spearman(curve: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Rank correlation of (n,) with each row of (m, n); 0 where one of the two doesn't change."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(np.corrcoef(stats.rankdata([curve, *others], axis=1))[0, 1:])

"""Intervals as challenges want them: csv in the data set's own frame numbers, and back.

position of the sampled sequence     0    1    2    3          0-based, what decoders give
0-based native frame (numbers)       0    7   14   21          every 7th frame was read
the data set's own number            1    8   15   22          plus the manifest's first_frame
"""

from pathlib import Path

import numpy as np
import pandas as pd

from melib import cache
from melib.errors import DataError

COLUMNS = ("subject", "video", "onset", "offset", "emotion")


def export(intervals, numbers, manifest, path):
    """Write intervals as csv ``subject, video, onset, offset, emotion`` in the data set's own frame numbers.

    Parameters
    ----------
    intervals : DataFrame
        subject, video, onset, offset (0-based positions of the sampled sequence, closed), emotion.
    numbers : dict (subject, video) -> (T,) int
        0-based native frame of each position of a video, rising: it undoes sampling and missing frames.
    manifest : manifest.Manifest
        Its ``first_frame`` is added.
    path : str or Path
        The csv; rows stay in their order.

    Raises
    ------
    DataError
        If a column is missing, a video has no numbers, or an interval isn't inside its video.
    """
    lacking = [name for name in COLUMNS if name not in intervals]
    if lacking and len(intervals):
        raise DataError(f"intervals have no column {lacking[0]}; an export needs {', '.join(COLUMNS)}.")
    rows = []
    for subject, video, onset, offset, emotion in _cells(intervals):
        frames = _frames(numbers, subject, video)
        if not 0 <= onset <= offset < len(frames) or onset != int(onset) or offset != int(offset):
            raise DataError(
                f"{subject}/{video}: interval {onset} to {offset} doesn't lie within the {len(frames)} "
                "positions of its video; export positions of the sampled sequence."
            )
        own = (int(frames[int(place)]) + manifest.first_frame for place in (onset, offset))
        rows.append((subject, video, *own, emotion))
    cache.write_table(path, pd.DataFrame(rows, columns=COLUMNS))


def read(path, numbers, manifest):
    """Read such a csv back into positions of the sampled sequence.

    Parameters
    ----------
    path : str or Path
    numbers, manifest
        As in `export`. Frames that weren't sampled (another's predictions, an annotation) go to the nearest
        sampled one, the earlier of two; those outside the video, negative ones too, to its first or last.

    Returns
    -------
    intervals : DataFrame
        subject, video (text), onset, offset (int64, 0-based positions, closed), emotion (text), in the file's
        order.

    Raises
    ------
    DataError
        If the file is missing or no such csv, a row has no whole frame numbers or ends before it starts, or a
        video has no numbers.
    """
    path = Path(path)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}); give a challenge's csv.") from error
    except ValueError as error:  # pandas' own errors and broken UTF-8
        raise DataError(f"{path} is no csv ({error}); give a table {', '.join(COLUMNS)}.") from error
    lacking = [name for name in COLUMNS if name not in table]
    if lacking:
        raise DataError(f"{path} has no column {lacking[0]}; give a table {', '.join(COLUMNS)}.")
    rows = []
    for line, (subject, video, onset, offset, emotion) in enumerate(_cells(table), start=2):
        own = pd.to_numeric(pd.Series([onset, offset]), errors="coerce").to_numpy(float)
        if not (own == np.round(own)).all() or np.isinf(own).any():
            raise DataError(
                f"{path}, line {line}: {onset} to {offset} are no whole frame numbers; correct that line."
            )
        first, last = (int(number) - manifest.first_frame for number in own)
        if last < first:
            raise DataError(
                f"{path}, line {line}: offset {offset} lies before onset {onset}; correct that line."
            )
        frames = _frames(numbers, subject, video)
        rows.append((subject, video, _nearest(frames, first), _nearest(frames, last), emotion))
    return pd.DataFrame(rows, columns=COLUMNS).astype({"onset": "int64", "offset": "int64"})


def _cells(table):
    return zip(*(table[name] for name in COLUMNS), strict=True) if len(table) else ()


def _frames(numbers, subject, video):
    if (subject, video) not in numbers:
        raise DataError(f"no frame numbers are known for {subject}/{video}; give those of every video.")
    frames = np.asarray(numbers[subject, video])
    if frames.size == 0 or not (np.diff(frames) > 0).all():
        raise DataError(f"frame numbers of {subject}/{video} must be one or more and rise.")
    return frames


def _nearest(frames, number):
    """Position of the number nearest to a given one, the earlier of two."""
    after = min(int(np.searchsorted(frames, number)), len(frames) - 1)
    before = max(after - 1, 0)
    return before if abs(number - frames[before]) <= abs(frames[after] - number) else after

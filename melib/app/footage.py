"""A user's video as frames at about 30 a second: a video file, or a folder of images.

30 frames a second, or a multiple    every so manieth frame, as in training
any other rate, or one that varies   the frame nearest to each 1/30 s
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from melib.data import layouts, video_files
from melib.errors import DataError, Misuse
from melib.study import spotting
from melib.vision import faces

# Below this rate the shortest micro-expressions (1/25 s) fall between two frames; times are rounded in containers.
_SLOW = 25.0 * (1 - 1e-3)
# Seconds of video below which there is nothing to compare a movement with.
_SHORTEST = 0.5
# Share of the frames that a header promises, below which a file is called cut; players show the last few never.
_WHOLE = 0.98
# Seconds without a new frame: what lies behind them is told apart from what lay before.
_GAP = 1.0
# Likeness of two frames in a row (`video_files.likeness`) below which another shot begins: halfway between the least of
# neighbours and the most of two people, both framed alike, whom the weights learned from (benchmarks/predict.md).
CUT = 0.83


@dataclass(frozen=True)
class Footage:
    """Frames of a video at about 30 a second.

    Attributes
    ----------
    source : Path
    frames : list of Path or video_files.Frame
        One a sample.
    numbers : (T,) int64
        0-based native frame of each sample; a video of fewer than 20 frames a second repeats some.
    seconds : (T,) float64
        When that frame is shown.
    fps : float
        Samples a second.
    notes : tuple of str
        What the reader of a result must know.
    breaks : tuple of int
        Samples at which another recording or shot begins, or frames come again after more than a second without any.
    """

    source: Path
    frames: list
    numbers: np.ndarray
    seconds: np.ndarray
    fps: float
    notes: tuple[str, ...]
    breaks: tuple[int, ...] = ()


def footage(source: str | Path, fps: float | None = None, *, progress: bool = False) -> Footage:
    """Look at a video file or a folder of frames, and choose the frames to be read.

    Parameters
    ----------
    source : str or Path
    fps : float or None
        Frames a second of a folder, 30 if not given; of a file, instead of the times that it holds.
    progress : bool
        Show a bar while a file's times are read.

    Raises
    ------
    DataError
        If there is nothing to read; Misuse if fps isn't above 0.
    """
    source = Path(source)
    if fps is not None and not (np.isfinite(fps) and fps > 0):
        raise Misuse(f"{fps:g} frames a second isn't a rate; give a number above 0.")
    notes: list[str] = []
    seams: list[int] = []
    if source.is_dir():
        frames: list
        frames, notes = images(source)
        alike = _alike(frames, progress)
        if fps is None:
            notes.append(
                f"images hold no times: {spotting.RATE} frames a second were assumed (--fps says otherwise)"
            )
        seconds = np.arange(len(frames)) / (fps or spotting.RATE)
    else:
        recorded = video_files.recording(source, progress=progress)
        seconds, seams, alike = recorded.seconds, recorded.seams, recorded.likeness
        seconds = seconds if fps is None else np.arange(len(seconds)) / fps
        if len(seconds) < _WHOLE * recorded.promised - 1:
            notes.append(
                f"the file is cut or damaged: {len(seconds)} of the {recorded.promised} frames that its header promises "
                "can be read; copy it again if you have the rest"
            )
        if seams:
            notes.append(
                f"{len(seams) + 1} recordings are joined in this file: seconds count on from one to the next"
            )
        frames = [video_files.Frame(source, number) for number in range(len(seconds))]
    numbers, rate = sampled(seconds)
    gaps = np.diff(seconds)
    native = 1 / np.median(gaps) if len(gaps) else spotting.RATE
    if native < _SLOW:
        notes.append(
            f"{native:.3g} frames a second are too few for the shortest movements: below 25 expect misses"
        )
    if len(numbers) < rate * _SHORTEST:
        notes.append(
            f"{len(frames)} frames are too few to tell anything of a movement: nothing can be found in them"
        )
    if len(gaps) and gaps.max() > 1.5 * np.median(gaps):
        notes.append("the frame rate varies: frames were chosen by their times")
    shown = seconds[numbers]
    cuts = [int(k) for k in np.flatnonzero(alike < CUT) if k not in seams]
    if cuts:
        notes.append(f"cuts: {len(cuts)}; each shot is looked at by itself")
    jumps = np.flatnonzero(np.diff(shown) > _GAP) + 1
    breaks = {*np.searchsorted(numbers, [*seams, *cuts]).tolist(), *jumps.tolist()} - {0, len(numbers)}
    return Footage(
        source,
        [frames[i] for i in numbers],
        numbers,
        shown,
        rate,
        tuple(notes),
        tuple(sorted(breaks)),
    )


def expected(source: Path, fps: float | None) -> float:
    """Seconds of video that a file's header or a folder's list promises: for a bar; 0 where nothing can be read."""
    try:
        if source.is_dir():
            return len(images(source)[0]) / (fps or spotting.RATE)
        return video_files.promised_seconds(source)
    except (DataError, OSError):
        return 0.0


def _alike(paths: list[Path], progress: bool) -> np.ndarray:
    """(n,) likeness of each image and the one before; 1 where one can't be read."""
    alike, before = np.ones(len(paths), np.float32), None
    for number, path in enumerate(tqdm(paths, "cuts", leave=False, disable=not progress)):
        grey = faces.read_image(path)
        now = None if grey is None else video_files.small(grey)
        if now is not None and before is not None:
            alike[number] = video_files.likeness(before, now)
        before = now if now is not None else before
    return alike


def images(folder: Path) -> tuple[list[Path], list[str]]:
    """Images of a folder in the order of all numbers of their names, and what isn't certain of it."""
    names = [entry.name for entry in layouts.entries(folder) if layouts.is_image(entry.name)]
    if not names:
        raise DataError(
            f"{folder} holds no image ({', '.join(layouts.IMAGES)}); name a folder of frames, or video files."
        )
    numbered = layouts.series(names)
    by_integers = sorted((row, name) for row, name in zip(numbered.integers, names, strict=True) if row)
    pairs = itertools.pairwise(by_integers)
    strangers = numbered.strangers or next(((a[1], b[1]) for a, b in pairs if a[0] == b[0]), ())
    if strangers:
        raise DataError(
            f"{folder}: the order of {' and '.join(strangers)} isn't certain; leave the images of one camera there, and no "
            "copies."
        )
    if not by_integers:
        return [folder / name for name in names], [
            "no name of an image holds a number: they are in the order of names"
        ]
    notes = []
    if n := len(names) - len(by_integers):
        notes.append(f"images without a number in their names are passed over: {n}")
    if numbered.column is None:
        notes.append(
            f"several numbers vary in the names: images are in the order of all of them, {by_integers[0][1]} first"
        )
    else:
        steps = np.diff([row[numbered.column] for row, _ in by_integers])
        usual = int(np.median(steps)) if len(steps) else 1
        if missing := int((steps[steps > usual] // usual - 1).sum()):
            notes.append(f"{missing} numbers are missing among the names: times behind a gap are too early")
    return [folder / name for _, name in by_integers], notes


def sampled(seconds: np.ndarray) -> tuple[np.ndarray, float]:
    """Which native frames are read, so that they lie about 1/30 s apart.

    Parameters
    ----------
    seconds : (n,) float
        When each frame is shown, rising.

    Returns
    -------
    numbers : (T,) int64
        An even rate of 20 frames a second or more keeps every so manieth frame, as in training; else the frame nearest
        to each 1/30 s, and nothing where none was shown for more than a second.
    rate : float
        Samples a second.
    """
    gaps = np.diff(seconds)
    if not len(gaps):
        return np.arange(len(seconds)), float(spotting.RATE)
    usual = float(np.median(gaps))
    even = np.abs(gaps - usual).max() <= 0.5 * usual  # times are rounded to milliseconds in some containers
    if even and usual <= 1.001 / 20:
        mean = (seconds[-1] - seconds[0]) / len(gaps)
        step = max(1, round(1 / mean / spotting.RATE))
        return np.arange(0, len(seconds), step), 1 / (mean * step)
    wanted = np.arange(seconds[0], seconds[-1] + 0.5 / spotting.RATE, 1 / spotting.RATE)
    middles = (seconds[1:] + seconds[:-1]) / 2
    nearest = np.searchsorted(middles, wanted).astype(np.int64)
    return nearest[np.abs(seconds[nearest] - wanted) <= _GAP / 2], float(spotting.RATE)

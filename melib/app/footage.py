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
# Likeness of two frames below which they are of two shots: halfway between the least of neighbours and the most of two
# people, both framed alike, whom the weights learned from (benchmarks/predict.md).
CUT = 0.83
# A dissolve: seconds from its middle to frames of either shot, the least share of each of them in a frame between, what of
# that frame (variance over the picture) the two must explain, and how far their shares may miss 1 in sum: where something
# moves, as in a pan, the frame between has more contrast than their mean.
_APART, _SHARE, _EXPLAINED, _MISSED = (0.15, 0.3, 0.6), 0.2, 0.97, 0.03
# Standard deviation of a picture, grey levels, below which there is nothing to compare; frames that are compared at a time.
_EVEN, _BLOCK = 1.0, 2048


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
    dissolves : tuple of (int, int)
        First sample and the end of each slow change from one shot to the next; both are breaks.
    """

    source: Path
    frames: list
    numbers: np.ndarray
    seconds: np.ndarray
    fps: float
    notes: tuple[str, ...]
    breaks: tuple[int, ...] = ()
    dissolves: tuple[tuple[int, int], ...] = ()


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
        rough = _coarse(frames, progress)
        if fps is None:
            notes.append(
                f"images hold no times: {spotting.RATE} frames a second were assumed (--fps says otherwise)"
            )
        seconds = np.arange(len(frames)) / (fps or spotting.RATE)
    else:
        recorded = video_files.recording(source, progress=progress)
        seconds, seams, rough = recorded.seconds, recorded.seams, recorded.coarse
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
    cuts = [int(k) for k in np.flatnonzero(likeness(rough) < CUT) if k not in seams]
    if cuts:
        notes.append(f"cuts: {len(cuts)}; each shot is looked at by itself")
    slow = [tuple(np.searchsorted(numbers, ends).tolist()) for ends in dissolves(rough, native)]
    if slow:
        notes.append(f"dissolves from one shot to the next: {len(slow)}; what lies inside is masked")
    jumps = np.flatnonzero(np.diff(shown) > _GAP) + 1
    breaks = {*np.searchsorted(numbers, [*seams, *cuts]).tolist(), *jumps.tolist(), *itertools.chain(*slow)}
    breaks -= {0, len(numbers)}
    return Footage(
        source,
        [frames[i] for i in numbers],
        numbers,
        shown,
        rate,
        tuple(notes),
        tuple(sorted(breaks)),
        tuple(slow),
    )


def expected(source: Path, fps: float | None) -> float:
    """Seconds of video that a file's header or a folder's list promises: for a bar; 0 where nothing can be read."""
    try:
        if source.is_dir():
            return len(images(source)[0]) / (fps or spotting.RATE)
        return video_files.promised_seconds(source)
    except (DataError, OSError):
        return 0.0


def _coarse(paths: list[Path], progress: bool) -> np.ndarray:
    """(n, 256) uint8, what each image roughly shows; one that can't be read shows what the one before does."""
    rough = np.zeros((len(paths), video_files.coarse(np.zeros((1, 1), np.uint8)).size), np.uint8)
    for number, path in enumerate(tqdm(paths, "cuts", leave=False, disable=not progress)):
        grey = faces.read_image(path)
        rough[number] = rough[max(0, number - 1)] if grey is None else video_files.coarse(grey)
    return rough


def likeness(rough: np.ndarray) -> np.ndarray:
    """Correlation of each picture with the one before.

    Parameters
    ----------
    rough : (n, 256) uint8
        As `video_files.coarse` makes it.

    Returns
    -------
    (n,) float32
        1 for the same, however bright, and for the first; .5 of any and an even one.
    """
    alike = np.ones(len(rough), np.float32)
    for start in range(1, len(rough), _BLOCK):
        shown = rough[start - 1 : start + _BLOCK].astype(np.float32)
        shown -= shown.mean(axis=1, keepdims=True)
        length = np.linalg.norm(shown, axis=1, keepdims=True)
        shown = np.where(length > _EVEN * shown.shape[1] ** 0.5, shown / np.maximum(length, 1e-9), 0)
        alike[start : start + _BLOCK] = 1 - (np.diff(shown, axis=0) ** 2).sum(axis=1) / 2
    return alike


def dissolves(rough: np.ndarray, fps: float) -> list[tuple[int, int]]:
    """Where one shot slowly gives way to another: each frame is a sum of one before and one behind, which differ.

    Parameters
    ----------
    rough : (n, 256) uint8
        As `video_files.coarse` makes it.
    fps : float

    Returns
    -------
    list of (int, int)
        First frame and the end of each.
    """
    inside = np.zeros(len(rough) + 1, bool)
    for apart in {max(2, round(seconds * fps)) for seconds in _APART}:
        mixed = np.zeros(len(rough), bool)
        for start in range(apart, len(rough) - apart, _BLOCK):
            stop = min(start + _BLOCK, len(rough) - apart)
            parts = (rough[k + start : k + stop].astype(np.float32) for k in (-apart, 0, apart))
            mixed[start:stop] = _is_mixed(*(part - part.mean(axis=1, keepdims=True) for part in parts))
        for first, stop in stretches(mixed):
            # What is found is where either shot has its share; it begins before that and ends behind.
            more = int(np.ceil((stop - first) * _SHARE / (1 - 2 * _SHARE)))
            inside[max(0, first - more) : min(len(rough), stop + more)] = True
    return stretches(inside)


def _is_mixed(before: np.ndarray, now: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Of pictures without their mean, (m, 256) each: whether ``now`` is a mixture of two others that differ, (m,) bool."""

    def product(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return (one * other).sum(axis=1)

    aa, bb, xx, ab = (product(*p) for p in ((before, before), (behind, behind), (now, now), (before, behind)))
    ax, bx = product(before, now), product(behind, now)
    least = _EVEN**2 * now.shape[1]
    differ = (np.minimum(aa, bb) > least) & (ab < CUT * np.sqrt(aa * bb))
    by = np.maximum(aa * bb - ab**2, 1e-9)
    shares = (ax * bb - bx * ab) / by, (bx * aa - ax * ab) / by
    explained = shares[0] * ax + shares[1] * bx >= _EXPLAINED * xx
    return differ & explained & (np.minimum(*shares) > _SHARE) & (np.abs(sum(shares) - 1) < _MISSED)


def stretches(inside: np.ndarray) -> list[tuple[int, int]]:
    """First place and the end of each stretch of True, of (n,) bool."""
    edges = np.flatnonzero(np.diff(np.r_[False, inside, False].astype(np.int8)))
    return [(int(first), int(stop)) for first, stop in edges.reshape(-1, 2)]


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

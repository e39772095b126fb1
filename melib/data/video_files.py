"""Frames of video files, decoded forwards; recent ones stay in memory for a while.

    file      0 1 2 3 4 5 6 7 8 9 . . .        frames are numbered as they are decoded, from 0
    decoded   > > > > > > > >                  one decoder a process
    recent          . . . . .                  held in memory, grey: some steps back cost nothing, more a new start

Containers only say where frames lie to within some frames, and how many there are not always truly, so nothing is ever
sought and frames are counted by decoding them. Memory holds the recent frames, however long the video; of those, only
the ones that will be asked for, where that is known.
"""

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from cv2.utils import logging
from tqdm.auto import tqdm

from melib.data import cache
from melib.errors import DataError

# Bytes of grey frames that are held: 600 of 640 x 480, more than a face is followed ahead at 200 frames/s (2 s).
_MEMORY = 192 << 20
# Frames that are held however large they are, and where it is known which are read: a face is followed 86 ahead at
# 30 frames/s, 98 at 45, the highest rate that predict samples at.
_FEWEST = 104

# A broken file is reported in one sentence, and not by the decoder, too.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


class Frame(NamedTuple):
    """One frame of a video file.

    Attributes
    ----------
    file : Path
    number : int
        0-based, as decoded.
    """

    file: Path
    number: int

    @property
    def name(self) -> str:
        """Name of the file and number of the frame."""
        return f"{self.file.name}:{self.number}"


def count(file: str | Path) -> int:
    """How many frames a video file holds; all are decoded once, and the number is remembered while it is unchanged.

    Raises
    ------
    DataError
        If the file is missing or none of its frames can be decoded.
    """
    return _count(*_identity(file))


def read(frame: Frame) -> np.ndarray | None:
    """(H, W) uint8, or None if the video ends before.

    Quick if frames are asked for in order, or not far before the furthest; else the file is decoded from its start.

    Raises
    ------
    DataError
        If the file is missing or no video.
    """
    return _reader(*_identity(frame.file), os.getpid()).frame(frame.number)


def expect(file: str | Path, numbers: np.ndarray) -> None:
    """Tell which frames of a file will be read, so that no others are held: quick at any rate, in the same memory.

    Parameters
    ----------
    file : str or Path
    numbers : (n,) int

    Raises
    ------
    DataError
        If the file is missing or no video.
    """
    wanted = np.zeros(int(numbers.max()) + 1, bool)
    wanted[numbers] = True
    _reader(*_identity(file), os.getpid()).before = np.r_[0, np.cumsum(wanted)]


def pictures(file: str | Path, numbers: Iterable[int]) -> Iterator[np.ndarray | None]:
    """Frames in colour, (H, W, 3) uint8, blue first; None for one that can't be decoded.

    Parameters
    ----------
    file : str or Path
    numbers : iterable of int
        0-based, as decoded, not falling.

    Raises
    ------
    DataError
        If the file is missing or no video.
    """
    capture, last, fine, picture = _capture(_identity(file)[0]), -1, False, None
    for number in numbers:
        while last < number:
            last += 1
            fine = capture.grab()
        if fine:
            fine, picture = capture.retrieve()
        yield picture if fine else None


def write(file: str | Path, pictures: Iterable[np.ndarray], fps: float, code: str = "mp4v") -> None:
    """Write a film, whole or not at all.

    Parameters
    ----------
    file : str or Path
    pictures : iterable of (H, W, 3) uint8
        Blue first, all of one size.
    fps : float
        Frames a second.
    code : str
        Four letters of the codec.

    Raises
    ------
    DataError
        If it isn't there to its last frame, which no writer tells of a full disk.
    """
    film, n_frames = None, 0
    with cache.atomic(file) as temporary:
        for picture in pictures:
            n_frames += 1
            if film is None:
                letters = cv2.VideoWriter.fourcc(*code)
                film = cv2.VideoWriter(str(temporary), letters, fps, picture.shape[1::-1])
            film.write(picture)
        if film is not None:
            film.release()
        try:
            whole = count(temporary) == n_frames
        except DataError:
            whole = False
        if not whole:
            raise DataError(
                f"{file} could not be written whole; make room on its disk and run the same command again."
            )


def times(file: str | Path, *, progress: bool = False) -> np.ndarray:
    """When each frame of a video file is shown; all are decoded once.

    Parameters
    ----------
    file : str or Path
    progress : bool
        Show a bar, as long as the header says that the file is.

    Returns
    -------
    (n,) float64
        Seconds from 0, never falling. A file whose frames carry no times of their own has an even rate: what its header
        says, else 30 frames a second.

    Raises
    ------
    DataError
        If the file is missing or none of its frames can be decoded.
    """
    capture, shown = _capture(_identity(file)[0]), []
    total = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))) or None
    label = f"{Path(file).name}: times"
    with tqdm(total=total, desc=label, unit="frame", leave=False, disable=not progress) as bar:
        while capture.grab():
            shown.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
            bar.update()
    if not shown:
        raise DataError(f"{file} holds no frame that can be decoded; copy this video again, or remove it.")
    seconds = np.array(shown) - shown[0]
    if len(seconds) > 1 and np.median(np.diff(seconds)) <= 0:
        rate = capture.get(cv2.CAP_PROP_FPS)
        return np.arange(len(seconds)) / (rate if np.isfinite(rate) and rate > 0 else 30.0)
    return np.maximum.accumulate(seconds)


class _Reader:
    """Decoder of one file, with its recent frames."""

    def __init__(self, file: Path):
        self.file = file
        self.recent: OrderedDict[int, np.ndarray | None] = OrderedDict()
        self.most = _FEWEST
        # How many frames that will be read lie before each frame; None: any may be.
        self.before: np.ndarray | None = None
        self.start()

    def start(self) -> None:
        self.capture = _capture(self.file)
        self.next = 0

    def frame(self, number: int) -> np.ndarray | None:
        if number not in self.recent:
            if number < self.next:
                self.start()
            while self.next <= number and self.capture.grab():
                if self.needed(number):
                    self.keep()
                self.next += 1
        return self.recent.get(number)

    def needed(self, number: int) -> bool:
        """Whether the next frame will be read, and isn't dropped again on the way to the one that is asked for."""
        if self.before is None or self.next == number:
            return number - self.next < self.most
        places = np.minimum([self.next, self.next + 1, number + 1], len(self.before) - 1)
        here, behind, last = self.before[places]
        return bool(behind > here and last - here <= self.most)

    def keep(self) -> None:
        fine, image = self.capture.retrieve()
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if fine else None
        self.recent[self.next] = grey
        self.recent.move_to_end(self.next)
        if grey is not None and self.before is None:
            self.most = max(_FEWEST, _MEMORY // grey.size)
        while len(self.recent) > self.most:
            self.recent.popitem(last=False)


def _identity(file: str | Path) -> tuple[Path, int, int]:
    try:
        status = os.stat(file)
    except OSError as error:
        raise DataError(f"{file} can't be read ({error.strerror}); check the path and its rights.") from error
    return Path(file), status.st_size, status.st_mtime_ns


@lru_cache(maxsize=1)  # one decoder and its frames at a time; a forked process must not share its parent's
def _reader(file: Path, size: int, changed: int, process: int) -> _Reader:
    return _Reader(file)


@lru_cache(maxsize=10_000)
def _count(file: Path, size: int, changed: int) -> int:
    capture, n_frames = _capture(file), 0
    while capture.grab():
        n_frames += 1
    if not n_frames:
        raise DataError(f"{file} holds no frame that can be decoded; copy this video again, or remove it.")
    return n_frames


def _capture(file: Path) -> cv2.VideoCapture:
    # One thread: processes share the work, and frames that are decoded ahead take memory.
    loud = logging.setLogLevel(logging.LOG_LEVEL_ERROR)
    capture = cv2.VideoCapture(str(file), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    logging.setLogLevel(loud)
    if not capture.isOpened():
        raise DataError(f"{file} is no video that can be decoded; copy it again, or remove it.")
    return capture

"""Frames of video files, decoded forwards; recent ones stay in memory for a while.

    file      0 1 2 3 4 5 6 7 8 9 . . .        frames are numbered as they are decoded, from 0
    decoded   > > > > > > > >                  one decoder a process
    recent          . . . . .                  held in memory, grey: some steps back cost nothing, more a new start

Containers only say where frames lie to within some frames, and how many there are not always truly, so nothing is ever
sought and frames are counted by decoding them. Memory holds the recent frames, however long the video; of those, only
the ones that will be asked for, where that is known. A frame comes as a player shows it: pixels square, the right way up.
"""

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from tqdm.auto import tqdm

from melib.data import cache
from melib.errors import DataError

# Bytes of grey frames that are held: 600 of 640 x 480, more than a face is followed ahead at 200 frames/s (2 s).
_MEMORY = 192 << 20
# Frames that are held however large they are, and where it is known which are read: a face is followed 86 ahead at
# 30 frames/s, 98 at 45, the highest rate that predict samples at.
_FEWEST = 104
# Brightness of video from 16 to 235, as most files have it, brought to 0 to 255 (ITU-R BT.601 and 709).
_FULL = np.clip(np.rint((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)
# Pixels a side of the small pictures that neighbouring frames are compared in.
_SMALL = 16
# A pixel more than so many times as wide as high, or as high as wide, is a header's mistake.
_OBLONG = 8


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
    source = _open(_identity(file)[0])
    frames, last = _decoded(source), -1
    frame = picture = None
    for number in numbers:
        while last < number:
            last, picture = last + 1, None
            frame = next(frames, None)
        if picture is None and frame is not None:
            picture = _as_shown(frame.to_ndarray(format="bgr24"), frame, source)
        yield picture


def write(
    file: str | Path, pictures: Iterable[np.ndarray], fps: float, codec: str = "mpeg4", **options
) -> None:
    """Write a film, whole or not at all.

    Parameters
    ----------
    file : str or Path
    pictures : iterable of (H, W, 3) uint8
        Blue first, all of one size; an odd last row or column is left out.
    fps : float
        Frames a second.
    codec : str
        FFmpeg's name: mpeg4 for what is to be measured; libx264 or libvpx for what browsers shall play.
    options : str
        The codec's own.

    Raises
    ------
    DataError
        If it isn't there to its last frame.
    """
    n_frames = 0
    with cache.atomic(file) as temporary:
        try:
            with av.open(str(temporary), "w") as film:
                stream: Any = film.add_stream(
                    codec, rate=Fraction(fps).limit_denominator(60_000), options=options
                )
                stream.pix_fmt = "yuv420p"
                stream.codec_context.thread_count = 1  # the same bytes on any number of cores
                for n_frames, picture in enumerate(pictures, start=1):
                    height, width = (side // 2 * 2 for side in picture.shape[:2])
                    if n_frames == 1:
                        stream.height, stream.width = height, width
                        if codec == "mpeg4":  # as OpenCV writes it: what the shipped weights learned from
                            stream.codec_context.bit_rate = round(fps * height * width)
                            stream.codec_context.gop_size, stream.codec_context.qmin = 12, 3
                    cut = np.ascontiguousarray(picture[:height, :width])
                    film.mux(stream.encode(av.VideoFrame.from_ndarray(cut, format="bgr24")))
                film.mux(stream.encode(None))
            whole = count(temporary) == n_frames
        except (av.error.FFmpegError, DataError):
            whole = False
        if not whole:
            raise DataError(
                f"{file} could not be written whole; make room on its disk and run the same command again."
            )


def captions(cues: Iterable[tuple[int, int, str]]) -> str:
    """WebVTT of a film: begin and end of each cue in milliseconds, and its text."""

    def clock(milliseconds: int) -> str:
        minutes, rest = divmod(milliseconds, 60_000)
        return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"

    return "\n".join(
        ["WEBVTT\n", *(f"{clock(begin)} --> {clock(end)}\n{text}\n" for begin, end, text in cues)]
    )


class Recording(NamedTuple):
    """What a video file says of its frames.

    Attributes
    ----------
    seconds : (n,) float64
        When each is shown, from 0, never falling. A file whose frames carry no times of their own has an even rate: what
        its header says, else 30 frames a second. Recordings that were joined follow each other.
    seams : list of int
        Frames at which another recording begins.
    coarse : (n, 256) uint8
        See `coarse`.
    promised : int
        How many frames the header says that there are; 0 where it doesn't.
    """

    seconds: np.ndarray
    seams: list[int]
    coarse: np.ndarray
    promised: int


def recording(file: str | Path, *, progress: bool = False) -> Recording:
    """Decode a whole file once for the times of its frames, and for what they roughly show.

    Parameters
    ----------
    file : str or Path
    progress : bool
        Show a bar, as long as the header says that the file is.

    Raises
    ------
    DataError
        If the file is missing or none of its frames can be decoded.
    """
    source, shown, rough = _open(_identity(file)[0]), [], []
    label = f"{Path(file).name}: times"
    with tqdm(
        total=source.stream.frames or None, desc=label, unit="frame", leave=False, disable=not progress
    ) as bar:
        for frame in _decoded(source):
            shown.append(np.nan if frame.time is None else frame.time)
            rough.append(coarse(_brightness(frame)))
            bar.update()
    if not shown:
        raise DataError(_undecodable(file))
    raw = np.array(shown)
    gaps = np.diff(raw)
    usual = float(np.median(gaps)) if len(gaps) else 0.0
    if len(raw) > 1 and not usual > 0:  # no times, or the same again and again
        rate = source.stream.guessed_rate or source.stream.average_rate or 30
        raw, gaps = np.arange(len(raw)) / float(rate), gaps[:0]
    raw = np.where(np.isnan(raw), -np.inf, raw)
    # Times that fall, and stay below what was reached: a recording was joined to another. One alone is a fault of its time.
    falls = [
        int(i) for i in np.flatnonzero(gaps < 0) + 1 if raw[i : i + 2].max() < raw[i - 1] and i + 1 < len(raw)
    ]
    seconds = raw - raw[0]
    for seam in falls:
        seconds[seam:] += seconds[:seam].max() + usual - seconds[seam]
    return Recording(np.maximum.accumulate(seconds), falls, np.stack(rough), source.stream.frames)


def promised_seconds(file: str | Path) -> float:
    """How long a file is by its header; 0 where that doesn't say. DataError if it is missing or no video."""
    return (_open(_identity(file)[0]).container.duration or 0) / av.time_base


def coarse(grey: np.ndarray) -> np.ndarray:
    """A (H, W) uint8 picture as (256,) uint8: so little that every frame of a film can be kept, to be compared."""
    step = max(1, min(grey.shape) // (4 * _SMALL))
    sparse = np.ascontiguousarray(grey[::step, ::step])
    return cv2.resize(sparse, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA).ravel()


class _Reader:
    """Decoder of one file, with its recent frames."""

    def __init__(self, file: Path):
        self.file = file
        self.recent: OrderedDict[int, np.ndarray] = OrderedDict()
        self.most = _FEWEST
        # How many frames that will be read lie before each frame; None: any may be.
        self.before: np.ndarray | None = None
        self.start()

    def start(self) -> None:
        self.source = _open(self.file)
        self.frames = _decoded(self.source)
        self.next = 0

    def frame(self, number: int) -> np.ndarray | None:
        if number not in self.recent:
            if number < self.next:
                self.start()
            while self.next <= number and (frame := next(self.frames, None)) is not None:
                if self.needed(number):
                    self.keep(_as_shown(_brightness(frame), frame, self.source))
                self.next += 1
        return self.recent.get(number)

    def needed(self, number: int) -> bool:
        """Whether the next frame will be read, and isn't dropped again on the way to the one that is asked for."""
        if self.before is None or self.next == number:
            return number - self.next < self.most
        places = np.minimum([self.next, self.next + 1, number + 1], len(self.before) - 1)
        here, behind, last = self.before[places]
        return bool(behind > here and last - here <= self.most)

    def keep(self, grey: np.ndarray) -> None:
        self.recent[self.next] = grey
        self.recent.move_to_end(self.next)
        if self.before is None:
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
    n_frames = sum(1 for _ in _decoded(_open(file)))
    if not n_frames:
        raise DataError(_undecodable(file))
    return n_frames


def _undecodable(file: str | Path) -> str:
    return f"{file} holds no frame that can be decoded; copy this video again, or remove it."


class _Source(NamedTuple):
    container: av.container.InputContainer
    stream: av.VideoStream
    oblong: float  # width of a pixel over its height


def _open(file: Path) -> _Source:
    try:
        container = av.open(str(file), metadata_errors="replace")
        stream = container.streams.video[0]
    except (av.error.FFmpegError, IndexError) as error:
        raise DataError(f"{file} is no video that can be decoded; copy it again, or remove it.") from error
    # One thread: processes share the work, and frames that are decoded ahead take memory.
    stream.codec_context.thread_count = 1
    oblong = float(stream.sample_aspect_ratio or 1)
    return _Source(container, stream, oblong if 1 / _OBLONG <= oblong <= _OBLONG else 1.0)


def _decoded(source: _Source) -> Iterator[av.VideoFrame]:
    """Frames of a file as they come; what is broken is left out, and what is behind an end that is broken off."""
    packets = source.container.demux(source.stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            return
        if packet is None:
            return
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            continue
        yield from frames


def _brightness(frame: av.VideoFrame) -> np.ndarray:
    """(H, W) uint8 as stored."""
    kind = frame.format
    if not kind.is_planar or kind.is_rgb or kind.components[0].bits != 8:
        return frame.to_ndarray(format="gray")
    plane: Any = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
    full = kind.name.startswith("yuvj") or frame.color_range == av.video.reformatter.ColorRange.JPEG
    return rows.copy() if full else cv2.LUT(rows, _FULL)


def _as_shown(picture: np.ndarray, frame: av.VideoFrame, source: _Source) -> np.ndarray:
    """A stored picture with square pixels, the right way up."""
    if source.oblong != 1:
        height, width = picture.shape[:2]
        wide, high = max(1.0, source.oblong), max(1.0, 1 / source.oblong)
        picture = cv2.resize(picture, (round(width * wide), round(height * high)))
    quarter = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, quarter)) if quarter else picture

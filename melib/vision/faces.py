"""From frames to aligned crops of one face: detect, landmarks, align once a clip, crop, mask.

The contract of a crop (whoever works in "pixels of the 112-pixel crop", the simulator too, shares it):

- One similarity (rotation, one scale, shift) a clip, so that nothing inside a clip is warped and no motion
  is invented. It is fitted to the corners of the eyes and the root of the nose, which expressions don't
  move.
- A face of average proportions reaches from brows to chin with MARGIN of that height free above and below::

      0 +------------------------+      eye centres at 31.5 % and 68.5 % of the width,
        |      ~~~~    ~~~~      |      24.9 % of the height; 41 pixels apart at size 112
        |      (o)      (o)      |
        |           ||           |      grey, uint8, not normalised in brightness
        |          (__)          |
        |         ======         |      outside the photograph its border is repeated
        |          ----          |
    112 +------------------------+

- Detection is dlib's HOG detector (best-scoring box) at a stride, followed from box to box; landmarks are
  dlib's 68 points, smoothed over time. Frames are resampled linearly at a multiple of the crop's size and
  averaged down, so that fine texture doesn't alias into motion.
- A clip has one similarity for all its frames. In a long video (``follow``) the face wanders, and the similarity
  follows it slowly: whatever that moves, it moves as a whole.
- ``mask`` is False where no face was found for longer than the detector's short lapses, where an image
  can't be read, and where a frame has another size than the rest. Nothing goes in silence: every reason is
  counted.
"""

import functools
import importlib.util
import io
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import dlib
import numpy as np
import pandas as pd
import PIL.Image

from melib.data import cache, layouts, video_files, workers
from melib.data.manifest import Manifest, frame_files
from melib.data.video_files import Frame
from melib.errors import DataError

Image = str | Path | Frame  # a file, or a frame of a video file

SIZE = 112  # side of the crop in pixels: our choice, the intensity paper states no size of its images
# Of the height from brows to chin, free above and below: raised brows and open jaws stay inside.
MARGIN = 0.15

# An average frontal face (medians over 390 photographs of 40 people) in units of the distance between the
# eye centres, origin midway between them, y downwards. Eye corners and the two upper points of the nose's
# ridge lie on bone: a similarity fitted to them doesn't follow expressions.
_RIGID = (36, 39, 42, 45, 27, 28)
_RIGID_SHAPE = np.array([[-0.7, 0], [-0.3, 0], [0.3, 0], [0.7, 0], [0, -0.06], [0, 0.12]])
_BROWS, _CHIN = -0.36, 1.72

STRIDE = 8  # frames from one detection to the next: 40 ms at 200 frames/s; shorter lapses are bridged
_SMOOTH = 0.1  # seconds: standard deviation of the Gaussian that smooths landmarks over time
_VERSION = 2  # of a stored clip; raise it with every change of what is computed

# A long video, where a head goes some pixels a second: looked at this often (seconds), the crop following with this
# standard deviation (seconds): slow beside a micro-expression, quick beside a change of posture.
_LOOK = 0.2
_FOLLOW_SMOOTH = 0.25
_CHUNK = 64  # frames held in memory at a time

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the image

# dlib's detector sees faces from 80 pixels on. An image whose shorter side is below _SMALL is doubled for
# it, one below twice that is doubled if nothing was found. A followed face is shrunk to _FOLLOWED pixels:
# faster.
_SMALL = 160
_FOLLOWED = 110


@dataclass(frozen=True)
class Face:
    """One detected face.

    Attributes
    ----------
    box : tuple of 4 floats
        left, top, right, bottom in pixels of the image; may reach outside it.
    score : float
        The detector's confidence, above 0.
    landmarks : (68, 2) float32
        x, y in pixels of the image (dlib's 68 points).
    """

    box: Box
    score: float
    landmarks: np.ndarray


@dataclass(frozen=True)
class Followed:
    """A stretch of a long video whose crop follows the face.

    Attributes
    ----------
    fps : float
        Frames a second.
    numbers : (n,) int64
        Positions in the list of paths, without gaps from one stretch to the next.
    crops : (n, size, size) uint8
        Grey; 0 where ``mask`` is False.
    mask : (n,) bool
        True where the face was seen.
    landmarks : (n, 68, 2) float32
        Smoothed over time, pixels of each frame's own crop; 0 where ``mask`` is False.
    masked : (3,) int64
        How many frames can't be read, have another size, show no face.
    """

    fps: float
    numbers: np.ndarray
    crops: np.ndarray
    mask: np.ndarray
    landmarks: np.ndarray
    masked: np.ndarray


@dataclass(frozen=True)
class Clip:
    """One video, aligned and cropped.

    Attributes
    ----------
    dataset, subject, video : str
    fps : float
        Frames a second.
    numbers : (T,) int64
        0-based frame index of each row of ``frames``; increasing, with gaps where files are missing.
    frames : (T, size, size) uint8
        Grey crops, read-only; 0 where the image can't be used.
    mask : (T,) bool
        True where the face was seen.
    landmarks : (68, 2) float32
        Median over the clip, pixels of the crop; 0 in a clip without a face.
    key : str
        Hash of the frame files' names and bytes and of all parameters: same key, same pixels.
    """

    dataset: str
    subject: str
    video: str
    fps: float
    numbers: np.ndarray
    frames: np.ndarray
    mask: np.ndarray
    landmarks: np.ndarray
    key: str


def load_clips(
    manifest: Manifest,
    table_of_videos: pd.DataFrame,
    cache_folder: str | Path,
    *,
    jobs: int = 2,
    progress: bool = True,
) -> list[Clip]:
    """Align and crop videos in several single-threaded processes, or read them from the cache.

    Parameters
    ----------
    manifest : Manifest
    table_of_videos : DataFrame
        subject, video, folder, as ``manifest.videos`` returns.
    cache_folder : str or Path
        Every clip that is finished stays there.
    jobs : int
        Processes.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of Clip
        In the table's order; frames stay on disk, memory-mapped.

    Warns
    -----
    UserWarning
        One sentence a clip with masked frames: how many, and why. A clip without any face is all masked.

    Raises
    ------
    DataError
        If a video's folder or file is missing, empty or inconsistent, or the disk is full.
    """
    videos = table_of_videos[["subject", "video", "folder"]].itertuples(index=False, name=None)
    tasks = [(manifest, *video, cache_folder) for video in videos]
    label = f"{manifest.name}: faces" if progress else ""
    filled = workers.run_jobs(_fill, tasks, max(1, min(jobs, len(tasks))), label=label, unit="clip")
    return [_clip(source, cache_folder) for source in filled]


def follow(paths: Sequence[Image], fps: float, *, largest: bool = False) -> Iterator[Followed]:
    """Stream a video of any length, its crop following the face; memory doesn't grow with the video.

    Each frame has a similarity of its own, from landmarks that are smoothed over time with a look-ahead. The crop may
    reach beyond the picture, whose border is then repeated; it ends only where no face is found.

    Parameters
    ----------
    paths : sequence of str, Path or video_files.Frame
        The frames in order.
    fps : float
        Frames a second.
    largest : bool
        Of several faces begin with the largest, not with the best-scoring one; from then on the face is looked for where
        it was.

    Yields
    ------
    Followed
        At most 64 frames each, every frame once and in order.

    Raises
    ------
    DataError
        If there is no frame, or ``fps`` isn't positive.
    """
    if not paths or not (np.isfinite(fps) and fps > 0):
        raise DataError(
            f"A video of {len(paths)} frames at {fps} frames/s can't be followed; check its folder."
        )
    stride = max(1, round(_LOOK * fps))
    reach = max(stride, round(3 * _FOLLOW_SMOOTH * fps))
    # A file's frames are of one size, and looking at some far ahead would decode it all twice.
    some = [0] if isinstance(paths[0], Frame) else range(0, len(paths), max(1, len(paths) // 9))
    shape = _usual_shape(paths, some)
    strided = sorted({*range(0, len(paths), stride), len(paths) - 1})
    detected: dict[int, Face] = {}
    searched = 0  # how many of ``strided`` were searched
    for start in range(0, len(paths), _CHUNK):
        stop = min(start + _CHUNK, len(paths))
        ahead = [index for index in strided[searched:] if index < stop + reach]
        before = (strided[searched - 1], detected) if searched else None
        detected |= _follow(paths, shape, ahead, before, largest)
        searched += len(ahead)
        detected = {index: face for index, face in detected.items() if index >= start - reach}
        yield _stretch(paths, shape, np.arange(start, stop), detected, (stride, reach), fps)


def may_show(manifest: Manifest, subject: str) -> bool:
    """Whether the data set's licence lets a figure show this subject's face; ask before drawing any."""
    return manifest.show_subjects == "all" or subject in manifest.show_subjects


def find_face(image: np.ndarray, *, largest: bool = False) -> Face | None:
    """Find the best-scoring face and its landmarks.

    Parameters
    ----------
    image : (H, W) uint8
        Grey image. The detector sees a small one at twice the size.
    largest : bool
        The largest face instead.

    Returns
    -------
    Face or None
        None if the detector sees no face.

    Raises
    ------
    DataError
        If the image isn't an 8-bit grey one.
    """
    if image.ndim != 2 or image.dtype != np.uint8:
        raise DataError(f"find_face needs a grey (H, W) uint8 image, not {image.shape} {image.dtype}.")
    image = np.ascontiguousarray(image)
    side = min(image.shape)
    detection = _detect(image, doubled=side < _SMALL, largest=largest)
    if detection is None and _SMALL <= side < 2 * _SMALL:
        detection = _detect(image, doubled=True, largest=largest)
    return None if detection is None else Face(*detection, _landmarks(image, detection[0]))


def count_faces(image: np.ndarray) -> int:
    """How many faces the detector sees in a (H, W) uint8 image, a small one at twice its size."""
    return len(_detector().run(np.ascontiguousarray(image), int(min(image.shape) < _SMALL), 0.0)[0])


def crop_transform(landmarks: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Similarity that takes image pixels to crop pixels.

    Parameters
    ----------
    landmarks : (68, 2) float
        In image pixels (centres of pixels at whole numbers).
    size : int
        Side of the crop in pixels.

    Returns
    -------
    (2, 3) float64
        ``crop = matrix @ (x, y, 1)``: least squares over the rigid points. Its scale, crop pixels an image
        pixel, is ``np.hypot(matrix[0, 0], matrix[1, 0])``.
    """
    height = _CHIN - _BROWS
    eyes_apart = size / (height * (1 + 2 * MARGIN))  # pixels of the crop
    eye_line = (MARGIN * height - _BROWS) * eyes_apart
    target = _RIGID_SHAPE * eyes_apart + [size / 2 - 0.5, eye_line - 0.5]
    # As complex numbers a similarity is z -> a z + b, and least squares has a closed form.
    source_z = np.asarray(landmarks, float)[list(_RIGID)] @ [1, 1j]
    target_z = target @ [1, 1j]
    centred = source_z - source_z.mean()
    a = np.vdot(centred, target_z) / np.vdot(centred, centred)
    b = target_z.mean() - a * source_z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def _smooth_landmarks(
    landmarks: np.ndarray, seconds: np.ndarray, width: float = _SMOOTH, at: np.ndarray | None = None
) -> np.ndarray:
    """Gaussian mean over time (sd ``width``) of landmarks (N, 68, 2), seen at uneven times, at (M,) times: (M, 68, 2)."""
    at = seconds if at is None else at
    weights = np.exp(-0.5 * ((at[:, None] - seconds) / width) ** 2)  # (M, N)
    return np.einsum("nm,mkd->nkd", weights / weights.sum(1, keepdims=True), landmarks)


# From files to a cached clip


class _Source(NamedTuple):
    """What one clip is made from."""

    manifest: Manifest
    subject: str
    video: str
    paths: list[Path] | list[Frame]
    numbers: np.ndarray
    key: str


def _fill(
    manifest: Manifest, subject: str, video: str, place: str | Path, cache_folder: str | Path
) -> _Source:
    """Put one clip into the cache (in a worker process), without its warnings: the reader gives them."""
    cv2.setNumThreads(1)
    numbers, paths = frame_files(place, manifest)
    params = {"size": SIZE, "margin": MARGIN, "stride": STRIDE, "smooth": _SMOOTH, "fps": manifest.fps}
    key = cache.key(_VERSION, params, cache.content_hash(paths, index=Path(cache_folder) / "hashes"))
    source = _Source(manifest, subject, video, paths, numbers, key)
    _stored(source, cache_folder)
    return source


def _stored(source: _Source, cache_folder: str | Path) -> dict[str, np.ndarray]:
    seconds = source.numbers / source.manifest.fps
    return cache.arrays(cache_folder, source.key, lambda: _crop_video(source.paths, seconds))


def _clip(source: _Source, cache_folder: str | Path) -> Clip:
    stored = _stored(source, cache_folder)
    name = source.manifest.name
    warn_of_masked(name, source.subject, source.video, stored["masked"], len(source.numbers))
    arrays = stored["frames"], stored["mask"], stored["landmarks"]
    about = name, source.subject, source.video, source.manifest.fps, source.numbers
    return Clip(*about, *arrays, source.key)


def warn_of_masked(dataset: str, subject: str, video: str, masked: np.ndarray, n_frames: int) -> None:
    """Say in one sentence how many frames are masked (3,) and why; nothing if none is."""
    reasons = ("unreadable", "of another size", "without a face")
    counts = [f"{n} {why}" for n, why in zip(masked.tolist(), reasons, strict=True) if n]
    if counts:
        warnings.warn(
            f"{dataset}: {int(masked.sum())} of {n_frames} frames of {subject}/{video} are masked "
            f"({', '.join(counts)}).",
            stacklevel=4,
        )


def _crop_video(paths: Sequence[Image], seconds: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays of a `Clip`, and masked (3,) as in `Followed`; one frame of the video in memory at a time."""
    strided = sorted({*range(0, len(paths), STRIDE), len(paths) - 1})
    shape = _usual_shape(paths, strided)
    detected = _follow(paths, shape, strided)
    mask = _bridged(sorted(detected), len(paths))
    frames = np.zeros((len(paths), SIZE, SIZE), np.uint8)
    landmarks = np.zeros((68, 2), np.float32)
    matrix = None
    if detected:
        indices = sorted(detected)
        points = np.stack([detected[index].landmarks for index in indices])
        typical = np.median(_smooth_landmarks(points, seconds[indices]), axis=0)
        matrix = crop_transform(typical)
        landmarks = (typical @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    masked = np.zeros(3, np.int64)
    for index, image in _usable(paths, shape, mask, masked):
        if matrix is not None:
            frames[index] = crop(image, matrix)
    return {"frames": frames, "mask": mask, "landmarks": landmarks, "masked": masked}


def crop(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Resample an image into a crop.

    Parameters
    ----------
    image : (H, W) uint8
    matrix : (2, 3) float
        From :func:`crop_transform`.

    Returns
    -------
    (SIZE, SIZE) uint8
        Linear at the smallest multiple of ``SIZE`` that doesn't shrink the image, then averaged down.
    """
    factor = max(1, int(np.ceil(1 / np.hypot(matrix[0, 0], matrix[1, 0]) - 1e-6)))
    larger = factor * matrix  # pixel centres are whole numbers: x -> factor x + (factor - 1) / 2
    larger[:, 2] += (factor - 1) / 2
    side = factor * SIZE
    fine = cv2.warpAffine(
        image, larger, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return fine if factor == 1 else cv2.resize(fine, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def read_image(path: Image) -> np.ndarray | None:
    """(H, W) uint8 of an image's file or a frame of a video file, or None if the file isn't a whole image."""
    return video_files.read(path) if isinstance(path, Frame) else read_picture(path, cv2.IMREAD_GRAYSCALE)


def read_picture(path: str | Path, colours: int = cv2.IMREAD_COLOR) -> np.ndarray | None:
    """(H, W, 3) uint8 of an image's file, blue first, or (H, W) as OpenCV's flag says; None if it isn't a whole image.

    Pictures of more than 8 bits are scaled by the bits that their folder's use: a camera of 12 fills a part of 16.
    """
    try:
        data = Path(path).read_bytes()
        # A cut jpeg still decodes, with its lower part grey: only its end marker tells.
        if not data or (data[:2] == b"\xff\xd8" and b"\xff\xd9" not in data[-1024:]):
            return None
        with warnings.catch_warnings(action="error", category=PIL.Image.DecompressionBombWarning):
            PIL.Image.open(io.BytesIO(data))  # the header alone: a few bytes may promise gigabytes
    except PIL.UnidentifiedImageError:
        pass  # OpenCV knows others
    except (OSError, ValueError, PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
        return None
    picture = _decode(data, colours)
    if picture is not None and picture.dtype == np.uint16:
        picture = cv2.convertScaleAbs(picture, alpha=1 / 2 ** (_bits(Path(path).parent) - 8), beta=-0.5)
    return picture


def _decode(data: bytes, colours: int) -> np.ndarray | None:
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), colours | cv2.IMREAD_ANYDEPTH)
        if picture is None or picture.dtype in (np.uint8, np.uint16):
            return picture
        return cv2.imdecode(np.frombuffer(data, np.uint8), colours)
    except cv2.error:
        return None


@functools.lru_cache(maxsize=8)
def _bits(folder: Path) -> int:
    """Bits that a folder's pictures of 16 use, by nine of them: 9 to 16."""
    names = [
        entry.path for entry in layouts.entries(folder) if layouts.is_image(entry.name) and entry.is_file()
    ]
    some = (
        _decode(Path(names[i]).read_bytes(), cv2.IMREAD_GRAYSCALE)
        for i in range(0, len(names), len(names) // 9 + 1)
    )
    return int(np.clip(max(int(image.max()) for image in some if image is not None).bit_length(), 9, 16))


def _usual_shape(paths: Sequence[Image], indices: Iterable[int]) -> tuple[int, ...] | None:
    """Commonest size of some frames, None if none can be read."""
    shapes = Counter(image.shape for index in indices if (image := read_image(paths[index])) is not None)
    return shapes.most_common(1)[0][0] if shapes else None


def _stretch(
    paths: Sequence[Image],
    shape: tuple[int, ...] | None,
    numbers: np.ndarray,
    detected: dict[int, Face],
    frames: tuple[int, int],
    fps: float,
) -> Followed:
    """Crop some frames in a row, given the faces detected at a stride in them and within reach around them."""
    stride, reach = frames
    indices = np.array(sorted(detected), np.int64)
    low, high = min([*indices[:1], numbers[0]]), max([*indices[-1:], numbers[-1]])
    mask = _bridged((indices - low).tolist(), high - low + 1, stride)[numbers - low]
    crops = np.zeros((len(numbers), SIZE, SIZE), np.uint8)
    landmarks = np.zeros((len(numbers), 68, 2), np.float32)
    masked = np.zeros(3, np.int64)
    for row, image in _usable([paths[number] for number in numbers], shape, mask, masked):
        number = numbers[row]
        if mask[row]:
            near = indices[np.abs(indices - number) <= reach]  # however the video is cut into stretches
            points = np.stack([detected[index].landmarks for index in near])
            smooth = _smooth_landmarks(points, near / fps, _FOLLOW_SMOOTH, np.array([number / fps]))[0]
            matrix = crop_transform(smooth)
            crops[row] = crop(image, matrix)
            landmarks[row] = smooth @ matrix[:, :2].T + matrix[:, 2]
    return Followed(fps, numbers, crops, mask, landmarks, masked)


def _usable(
    paths: Sequence[Image], shape: tuple[int, ...] | None, mask: np.ndarray, masked: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """Rows and images of this shape; others leave the mask, and masked (3,) counts as in `Followed`, both in place."""
    for row, path in enumerate(paths):
        image = read_image(path)
        if image is not None and image.shape == shape:
            yield row, image
        else:
            mask[row] = False
            masked[0 if image is None else 1] += 1
    masked[2] = len(paths) - mask.sum() - masked[:2].sum()


def _follow(
    paths: Sequence[Image],
    shape: tuple[int, ...] | None,
    strided: list[int],
    before: tuple[int, dict[int, Face]] | None = None,
    largest: bool = False,
) -> dict[int, Face]:
    """Faces by index: at the stride, and at every frame between a stride that has one and one that hasn't.

    ``before`` is the index that was searched last, and the faces detected by then.
    """
    last, earlier = before or (-1, {})
    detected = {last: earlier[last]} if last in earlier else {}

    def search(indices: Iterable[int], face: Face | None) -> None:
        for index in indices:
            image = read_image(paths[index])
            box = face.box if face else None
            face = None if image is None or image.shape != shape else _find_near(image, box, largest)
            if face:
                detected[index] = face

    search(strided, detected.get(last))
    for first, second in pairwise([*([last] if before else []), *strided]):
        if (first in detected) != (second in detected):
            search(range(first + 1, second), detected.get(first) or detected[second])
    return detected


def _find_near(image: np.ndarray, box: Box | None, largest: bool = False) -> Face | None:
    """The face where it was a moment ago, else the best or the largest one in the image."""
    if box is not None:
        width = box[2] - box[0]
        left, top = (max(0, round(side - 0.35 * width)) for side in box[:2])
        right, bottom = (max(0, round(side + 0.35 * width)) for side in box[2:])
        around = image[top:bottom, left:right]
        scale = min(1.0, _FOLLOWED / width)
        if around.size:
            small = cv2.resize(around, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            detection = _detect(small, doubled=width < _SMALL / 2)
            if detection is not None:
                (x0, y0, x1, y1), score = detection
                near = (x0 / scale + left, y0 / scale + top, x1 / scale + left, y1 / scale + top)
                return Face(near, score, _landmarks(image, near))
    return find_face(image, largest=largest)


def _bridged(detected: list[int], n_frames: int, stride: int = STRIDE) -> np.ndarray:
    """(n_frames,) bool: True at and between frames with a face that are at most a stride apart."""
    mask = np.zeros(n_frames, bool)
    mask[detected] = True
    for before, after in pairwise(detected):
        if after - before <= stride:
            mask[before:after] = True
    return mask


def _detect(image: np.ndarray, *, doubled: bool, largest: bool = False) -> tuple[Box, float] | None:
    boxes, scores, _ = _detector().run(image, int(doubled), 0.0)
    if not boxes:
        return None
    best = int(np.argmax([box.area() for box in boxes] if largest else scores))
    box = boxes[best]
    return (float(box.left()), float(box.top()), float(box.right()), float(box.bottom())), float(scores[best])


def _landmarks(image: np.ndarray, box: Box) -> np.ndarray:
    """(68, 2) float32, pixels of the image."""
    points = _predictor()(image, dlib.rectangle(*(round(side) for side in box))).parts()
    return np.array([(point.x, point.y) for point in points], np.float32)


@functools.cache
def _detector():
    return dlib.get_frontal_face_detector()


@functools.cache
def _predictor():
    # The package that carries the model can't be imported any more (it needs pkg_resources), so only its
    # folder is looked up.
    package = importlib.util.find_spec("face_recognition_models")
    folders = package.submodule_search_locations if package else None
    model = Path(folders[0]) / "models" / "shape_predictor_68_face_landmarks.dat" if folders else None
    if model is None or not model.exists():
        raise DataError(
            "The 68-point landmark model is missing; install it: pip install face_recognition_models."
        )
    return dlib.shape_predictor(str(model))

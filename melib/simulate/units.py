"""Facial action units as smooth displacement fields on one photograph, after FACS, in two independent families.

Everything is laid out in pixels of the 112-pixel crop (eye centres 41 apart, x right, y down), so that a length here
is a length in the truth. A field gives, for every pixel of the photograph, where the skin that lies there moves to
(material coordinates) when the unit's largest displacement over the skin is one crop pixel.

    patches   sums of Gaussian patches, each pushing one way or gathering skin towards a point
    muscles   after Waters: linear muscles that draw a sector of skin towards the bone they spring from, and ring
              muscles that draw an ellipse together

Sides are the subject's own: "left" is on the right of the picture. Lips that part get one field above and one below
the line between them; what appears in between is painted by render.py.
"""

# ruff: noqa: RUF005 - points are arrays here, and + moves them

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import cv2
import numpy as np
from scipy.interpolate import PchipInterpolator

from melib.errors import DataError
from melib.simulate.events import UNIT_SCALE
from melib.simulate.portraits import Portrait

FAMILIES = ("patches", "muscles")
SIDES = ("both", "left", "right")
UNITS = tuple(UNIT_SCALE)
JAW = 26  # the jaw drops: in talking, not in expressions, so it isn't one of UNITS
# Outer or inner corner, upper lid, corner, lower lid.
EYES = {"right": np.arange(36, 42), "left": np.arange(42, 48)}
_STRAIN_SHADE = 0.30  # gain of light for a stretch of 1 (folds darken, stretched skin shines)
_RELIEF_SHADE = 0.4  # gain for the slope of the bulge that folding skin makes, light from above


@dataclass(frozen=True)
class Canvas:
    """A photograph's geometry, laid out in crop pixels.

    Attributes
    ----------
    portrait : Portrait
    x, y : (H, W) float32
        Crop coordinates of every image pixel.
    points : (68, 2) float64
        Landmarks in crop pixels.
    skin : (H, W) bool
        Skin of the face without the openings of the eyes.
    depth : (H, W) float32
        How far each point stands before the ears, crop pixels, from a generic head.
    below : (H, W) float32
        Signed distance to the line between the lips, crop pixels, positive below it.
    along : (H, W) float32
        Place along that line, -1 and 1 at the mouth's corners.
    lids : dict of str to (H, W, 3) float32
        For "left" and "right" eye: distance below the upper lid's margin, distance above the lower one's, height of
        the opening there; crop pixels, negative outside the opening, height 0 beside it.
    """

    portrait: Portrait
    x: np.ndarray
    y: np.ndarray
    points: np.ndarray
    skin: np.ndarray
    depth: np.ndarray
    below: np.ndarray
    along: np.ndarray
    lids: dict[str, np.ndarray]

    def to_image(self, vectors: np.ndarray) -> np.ndarray:
        """Turn crop displacements (..., 2) into image displacements (..., 2), pixels."""
        inverse = np.linalg.inv(self.portrait.to_crop[:, :2])
        return (vectors @ inverse.T).astype(np.float32)


@dataclass(frozen=True)
class Field:
    """One unit at a largest displacement of one crop pixel.

    Attributes
    ----------
    common : (H, W, 2) float32
        Displacement of all skin, crop pixels, without the parting of the lips.
    upper, lower : (H, W, 2) float32 or None
        What is added above and below the line between the lips, each continued smoothly across it.
    shade : (H, W) float32
        Relative change of brightness.
    """

    common: np.ndarray
    upper: np.ndarray | None
    lower: np.ndarray | None
    shade: np.ndarray

    def displacement(self, canvas: Canvas) -> np.ndarray:
        """Displacement of the skin, (H, W, 2) crop pixels, with the jump at the line between the lips."""
        if self.upper is None or self.lower is None:
            return self.common
        return self.common + np.where(canvas.below[..., None] < 0, self.upper, self.lower)


def make_canvas(portrait: Portrait) -> Canvas:
    """Lay out one photograph."""
    height, width = portrait.image.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    matrix = portrait.to_crop
    x = matrix[0, 0] * columns + matrix[0, 1] * rows + matrix[0, 2]
    y = matrix[1, 0] * columns + matrix[1, 1] * rows + matrix[1, 2]
    points = portrait.landmarks @ matrix[:, :2].T + matrix[:, 2]

    lids = {side: _lids(points[index], x, y) for side, index in EYES.items()}
    forehead = points[17:27] - [0, 17]  # crop pixels: to the hairline, about
    hull = cv2.convexHull(np.concatenate([points[:17], forehead]).astype(np.float32))
    inverse = cv2.invertAffineTransform(matrix)
    outline = cv2.transform(hull, inverse).round().astype(np.int32)
    skin = cv2.fillConvexPoly(np.zeros((height, width), np.uint8), outline, 1).astype(bool)
    for lid in lids.values():
        skin &= ~((lid[..., 0] > 0) & (lid[..., 1] > 0) & (lid[..., 2] > 0))

    line = _lip_line(points)
    half = (points[54, 0] - points[48, 0]) / 2
    centre = (points[54, 0] + points[48, 0]) / 2
    below = y - line(np.clip(x, points[48, 0], points[54, 0]))
    return Canvas(
        portrait=portrait,
        x=x.astype(np.float32),
        y=y.astype(np.float32),
        points=points,
        skin=skin,
        depth=_depth(points, x, y).astype(np.float32),
        below=below.astype(np.float32),
        along=((x - centre) / half).astype(np.float32),
        lids=lids,
    )


def _lip_line(points: np.ndarray) -> Callable:
    middle = (points[[61, 62, 63]] + points[[67, 66, 65]]) / 2
    path = np.concatenate([points[[48]], middle, points[[54]]])
    return PchipInterpolator(np.maximum.accumulate(path[:, 0] + 1e-3 * np.arange(5)), path[:, 1])


def _lids(eye: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32: below the upper margin, above the lower margin, height of the opening."""
    upper, lower = eye[[0, 1, 2, 3]], eye[[0, 5, 4, 3]]
    inside = np.clip(x, eye[0, 0], eye[3, 0])
    top = PchipInterpolator(upper[:, 0], upper[:, 1])(inside)
    bottom = PchipInterpolator(lower[:, 0], lower[:, 1])(inside)
    beside = np.minimum(x - eye[0, 0], eye[3, 0] - x)
    outside = np.minimum(beside, 0)  # beyond the corners both distances fall off
    height = np.where(beside > 0, np.maximum(bottom - top, 0), 0)
    return np.stack([y - top + outside, bottom - y + outside, height], axis=-1).astype(np.float32)


def _depth(points: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A generic head: a broad bump, the nose, brows and chin on it; 0 far away, so that the background stays."""
    tip, root, chin = points[30], points[27], points[8]
    middle = (points[0] + points[16]) / 2
    centre = (root + chin) / 2
    across, tall = np.linalg.norm(points[16] - points[0]) / 2, np.linalg.norm(chin - root)

    def bump(place, wide, high):
        return np.exp(-0.5 * (((x - place[0]) / wide) ** 2 + ((y - place[1]) / high) ** 2))

    head = 32 * bump([middle[0], centre[1] - 0.1 * tall], 0.62 * across, 0.7 * tall)
    nose = 9 * bump(tip, 5.5, 5.5) + 4 * bump((tip + root) / 2, 4.5, 8)
    brows = 2 * (bump(points[19], 9, 4) + bump(points[24], 9, 4))
    return head + nose + brows + 3 * bump(chin - [0, 6], 9, 6)


def unit_field(canvas: Canvas, family: str, unit: int, side: str = "both") -> Field:
    """Displacement and shading of one unit.

    Parameters
    ----------
    canvas : Canvas
    family : {"patches", "muscles"}
    unit : int
        One of UNITS, or JAW; 45 (blink) is the same field as 43 (eyes closed).
    side : {"both", "left", "right"}
        The subject's own side.

    Returns
    -------
    Field
        Its largest displacement over the skin is 1 crop pixel.

    Raises
    ------
    DataError
        If family, unit or side is unknown.
    """
    unit = 43 if unit == 45 else unit
    for value, known in ((family, FAMILIES), (unit, (*UNITS, JAW)), (side, SIDES)):
        if value not in known:
            raise DataError(f"{value!r} is not one of {', '.join(map(str, known))}.")
    layer = _Layer(canvas)
    for one_side in ("left", "right") if side == "both" else (side,):
        (_patches if family == "patches" else _muscles)(layer, anchors(canvas.points, one_side), unit)
        _creases(layer, anchors(canvas.points, one_side), unit)
    return layer.finish(smooth=0.0 if family == "patches" else 0.8)


def anchors(points: np.ndarray, side: str) -> SimpleNamespace:
    """Named places of one side of a face.

    Parameters
    ----------
    points : (68, 2) float
        Crop pixels.
    side : {"left", "right"}
        The subject's own.

    Returns
    -------
    SimpleNamespace
        (2,) arrays, and ``out``: +1 or -1, the direction of x away from the midline.
    """
    right = side == "right"  # on the left of the picture

    def at(one, other):
        return np.mean(points[np.atleast_1d(one if right else other)], axis=0)

    place = SimpleNamespace(
        side=side,
        out=-1.0 if right else 1.0,
        brow_inner=at(21, 22),
        brow_middle=at(19, 24),
        brow_outer=at(17, 26),
        eye=at(range(36, 42), range(42, 48)),
        eye_outer=at(36, 45),
        eye_inner=at(39, 42),
        upper_lid=at([37, 38], [43, 44]),
        lower_lid=at([40, 41], [46, 47]),
        wing=at(31, 35),
        corner=at(48, 54),
        upper_lip=at(50, 52),
        lower_lip=at(58, 56),
        glabella=(points[21] + points[22]) / 2,
        root=points[27],
        nose_base=points[33],
        mouth=(points[62] + points[66]) / 2,
        chin=points[8],
    )
    place.boss = 0.45 * points[57] + 0.55 * points[8]  # middle of the chin
    place.cheek = place.lower_lid + [4 * place.out, 13]
    return place


@dataclass
class _Layer:
    """A field while it is being summed."""

    canvas: Canvas
    common: np.ndarray = field(init=False)
    upper: np.ndarray = field(init=False)
    lower: np.ndarray = field(init=False)
    crease: np.ndarray = field(init=False)
    parts: bool = False

    def __post_init__(self):
        shape = self.canvas.x.shape
        self.common, self.upper, self.lower = (np.zeros((*shape, 2)) for _ in range(3))
        self.crease = np.zeros(shape)

    def _gauss(self, centre, size):
        return np.exp(
            -0.5
            * (((self.canvas.x - centre[0]) / size[0]) ** 2 + ((self.canvas.y - centre[1]) / size[1]) ** 2)
        )

    # Family "patches" -------------------------------------------------------------------------------------------
    def push(self, centre, size, direction, weight=1.0):
        """A Gaussian patch moves one way."""
        self.common += weight * self._gauss(centre, size)[..., None] * np.asarray(direction, float)

    def gather(self, centre, size, weight=1.0, axes=(1.0, 1.0)):
        """Skin around a point is drawn towards it; largest displacement about ``weight``."""
        window = weight * self._gauss(centre, size) * np.exp(0.5)
        self.common[..., 0] -= axes[0] * window * (self.canvas.x - centre[0]) / size[0]
        self.common[..., 1] -= axes[1] * window * (self.canvas.y - centre[1]) / size[1]

    # Family "muscles" -------------------------------------------------------------------------------------------
    def pull(self, bone, skin, angle, beyond, weight=1.0):
        """A linear muscle: the sector within ``angle`` degrees is drawn to ``bone``, most at ``skin``."""
        bone, skin = np.asarray(bone, float), np.asarray(skin, float)
        dx, dy = self.canvas.x - bone[0], self.canvas.y - bone[1]
        radius = np.hypot(dx, dy) + 1e-6
        axis, length = skin - bone, float(np.linalg.norm(skin - bone))
        off = np.arccos(np.clip((dx * axis[0] + dy * axis[1]) / (radius * length), -1, 1))
        sector = np.cos(np.pi / 2 * np.clip(off / np.radians(angle), 0, 1)) ** 2
        near = np.sin(np.pi / 2 * np.clip(radius / length, 0, 1)) ** 2
        far = np.cos(np.pi / 2 * np.clip((radius - length) / beyond, 0, 1)) ** 2
        strength = weight * sector * near * far
        self.common[..., 0] -= strength * dx / radius
        self.common[..., 1] -= strength * dy / radius

    def ring(self, centre, radii, weight=1.0, axes=(1.0, 1.0)):
        """A ring muscle: an ellipse is drawn together; largest displacement about ``weight``."""
        u, v = (self.canvas.x - centre[0]) / radii[0], (self.canvas.y - centre[1]) / radii[1]
        window = weight / 0.274 * np.cos(np.pi / 2 * np.clip(np.hypot(u, v), 0, 1)) ** 2
        self.common[..., 0] -= axes[0] * window * u
        self.common[..., 1] -= axes[1] * window * v

    # Both -------------------------------------------------------------------------------------------------------
    def part(self, up, down, out=0.0, reach=(5.0, 8.0)):
        """The lips part: ``up`` and ``down`` crop pixels at the middle, none at the corners."""
        self.parts = True
        # One side alone opens its own half; both halves sum to a symmetric opening.
        along = np.clip(self.canvas.along, -1, 1)
        opening = np.cos(np.pi / 2 * along) ** 2 * (0.5 * (1 + np.tanh(2.0 * out * along)))
        high = np.exp(-0.5 * (np.minimum(self.canvas.below, 0) / reach[0]) ** 2)
        low = np.exp(-0.5 * (np.maximum(self.canvas.below, 0) / reach[1]) ** 2)
        self.upper[..., 1] -= up * opening * high
        self.lower[..., 1] += down * opening * low

    def fold(self, start, stop, width, depth=0.05):
        """A crease between two points darkens, its flanks catch a little light."""
        start, stop = np.asarray(start, float), np.asarray(stop, float)
        axis = stop - start
        length = float(np.linalg.norm(axis))
        axis = axis / length
        dx, dy = self.canvas.x - (start[0] + stop[0]) / 2, self.canvas.y - (start[1] + stop[1]) / 2
        along = (dx * axis[0] + dy * axis[1]) / (0.4 * length)
        across = (dx * axis[1] - dy * axis[0]) / width
        self.crease -= depth * np.exp(-0.5 * along**2) * (1 - 0.35 * across**2) * np.exp(-0.5 * across**2)

    def finish(self, smooth: float) -> Field:
        """Scale to a largest displacement of one crop pixel over the skin, and add the shading."""
        canvas = self.canvas
        if smooth:  # crop pixels; sectors end with a kink in their second derivative
            sigma = smooth / canvas.portrait.scale
            self.common = cv2.GaussianBlur(self.common, (0, 0), sigma)
        raw = Field(self.common, self.upper if self.parts else None, self.lower, self.crease)
        largest = np.linalg.norm(raw.displacement(canvas)[canvas.skin], axis=-1).max()
        scale = canvas.portrait.scale

        def divergence(vectors):  # per crop pixel; gradients along rows and columns rotate into one another
            turned = vectors @ (canvas.portrait.to_crop[:, :2] / scale)  # crop axes -> image axes
            return (np.gradient(turned[..., 0], axis=1) + np.gradient(turned[..., 1], axis=0)) / scale

        strain = divergence(self.common)
        if self.parts:
            strain = strain + np.where(canvas.below < 0, divergence(self.upper), divergence(self.lower))
        strain = cv2.GaussianBlur(strain, (0, 0), 0.8 / scale)
        relief = -np.gradient(strain, axis=0) / scale  # of a bulge of height -strain, lit from above
        shade = (_STRAIN_SHADE * strain + _RELIEF_SHADE * relief) / largest
        shade = np.where(shade > 0, 0.5 * shade, shade) + self.crease  # skin darkens more than it brightens
        pair = (self.upper, self.lower) if self.parts else (None, None)
        upper, lower = (None if one is None else (one / largest).astype(np.float32) for one in pair)
        return Field((self.common / largest).astype(np.float32), upper, lower, shade.astype(np.float32))


def _patches(layer: _Layer, a: SimpleNamespace, unit: int) -> None:
    """Gaussian patches of one side."""
    o = a.out
    if unit == 1:
        layer.push(a.brow_inner, (6, 5), (0, -1))
        layer.push(a.brow_inner - [0, 8], (7, 6), (0, -1), 0.45)
    elif unit == 2:
        outer = 0.55 * a.brow_outer + 0.45 * a.brow_middle
        layer.push(outer, (6.5, 5), (0.12 * o, -1))
        layer.push(outer - [0, 8], (7, 6), (0, -1), 0.4)
    elif unit == 4:
        layer.push(a.brow_inner + [1.5 * o, 0], (5.5, 5), (-0.55 * o, 0.85))
        layer.push(a.brow_middle, (7, 5), (-0.4 * o, 0.8), 0.45)
    elif unit == 5:
        layer.push(a.upper_lid, (6.5, 3.2), (0, -1))
    elif unit == 6:
        layer.push(a.cheek, (8, 6.5), (0.05 * o, -1))
        layer.push(a.eye_outer + [5 * o, 2], (5, 6), (-1 * o, -0.1), 0.6)
        layer.push(a.lower_lid + [0, 1.5], (7, 3.5), (0, -1), 0.5)
    elif unit == 7:
        layer.push(a.lower_lid, (6.5, 3.4), (-0.15 * o, -1))
        layer.push(a.upper_lid, (6.5, 3.2), (0, 1), 0.45)
    elif unit == 9:
        layer.push(a.wing + [0, -3], (4.5, 5.5), (0.1 * o, -1))
        layer.push(0.6 * a.root + 0.4 * a.wing, (4, 5), (-0.1 * o, -0.8), 0.7)
        layer.push(a.upper_lip, (6, 4), (0.1 * o, -1), 0.4)
        layer.push(a.brow_inner, (4.5, 4), (-0.3 * o, 0.6), 0.3)
    elif unit == 10:
        layer.push(0.65 * a.upper_lip + 0.35 * a.wing, (6, 4.2), (0.1 * o, -1))
        layer.push(a.wing + [6 * o, 3], (5.5, 5.5), (0.1 * o, -1), 0.55)
        layer.part(0.35, 0.0, o, reach=(5, 8))
    elif unit == 12:
        layer.push(a.corner, (6, 6), (0.71 * o, -0.71))
        layer.push(a.corner + [6 * o, -9], (7, 7), (0.45 * o, -0.85), 0.45)
    elif unit == 14:
        layer.gather(a.corner + [3.5 * o, 0], (6, 6.5))
    elif unit == 15:
        layer.push(a.corner + [0.5 * o, 0.5], (5.5, 5.5), (0.15 * o, 1))
        layer.push(a.corner + [1 * o, 8], (6, 6), (0, 1), 0.4)
    elif unit == 16:
        layer.push(a.lower_lip + [0, 2], (6.5, 5), (0.15 * o, 1), 0.5)
        layer.part(0.0, 0.7, o)
    elif unit == 17:
        layer.push(a.boss + [2.5 * o, 0], (6.5, 5.5), (0, -1))
        layer.push(a.lower_lip, (6, 4.5), (0, -1), 0.6)
        layer.push(a.corner, (4.5, 4.5), (0, 1), 0.25)
    elif unit == 18:
        layer.push(a.corner, (6, 5.5), (-1 * o, 0.05))
        layer.push(0.5 * (a.corner + a.upper_lip), (5, 5), (-0.6 * o, 0), 0.4)
    elif unit == 20:
        layer.push(a.corner, (6.5, 5), (1 * o, 0.12))
        layer.push(a.corner + [7 * o, 1], (6, 6), (1 * o, 0.1), 0.5)
    elif unit == 24:
        layer.gather(a.mouth + [4 * o, 0], (8, 5.2), axes=(0.12, 1.0))
    elif unit == 25:
        layer.push(a.boss + [3 * o, -2], (8, 6), (0, 1), 0.25)
        layer.part(0.35, 0.8, o)
    elif unit == JAW:
        layer.push(a.chin + [3 * o, -3], (11, 9), (0, 1))
        layer.push(a.lower_lip + [2 * o, 2], (7, 6), (0, 1), 0.5)
        layer.part(0.1, 0.9, o, reach=(5, 12))
    elif unit == 38:
        layer.push(a.wing + [0.5 * o, -1], (3.6, 4), (1 * o, -0.2))
    elif unit == 43:
        layer.push(a.upper_lid + [0, -0.3], (7, 3.6), (0, 1))
        layer.push(a.lower_lid, (6.5, 3.5), (-0.1 * o, -1), 0.12)


def _muscles(layer: _Layer, a: SimpleNamespace, unit: int) -> None:
    """Linear and ring muscles of one side."""
    o = a.out
    if unit == 1:  # frontalis, inner part
        layer.pull(a.brow_inner + [0, -24], a.brow_inner, 31, 13)
    elif unit == 2:  # frontalis, outer part
        layer.pull(a.brow_outer + [-1 * o, -24], 0.6 * a.brow_outer + 0.4 * a.brow_middle, 34, 13)
    elif unit == 4:  # corrugator and depressor supercilii
        layer.pull(a.root + [0.5 * o, 1], a.brow_inner, 50, 11)
        layer.pull(a.root + [-1 * o, -2], 0.5 * (a.brow_inner + a.brow_middle), 36, 14, 0.8)
    elif unit == 5:  # levator palpebrae
        layer.pull(0.2 * a.upper_lid + 0.8 * a.brow_middle + [0, -3], a.upper_lid, 48, 7)
    elif unit == 6:  # orbicularis oculi, outer ring
        layer.ring(a.eye + [0, 2], (19, 19), axes=(0.7, 1.0))
        layer.pull(a.lower_lid, a.cheek, 54, 13, 0.8)
    elif unit == 7:  # orbicularis oculi, inner ring
        layer.ring(a.eye, (16, 11), axes=(0.1, 1.0))
        layer.pull(a.eye - [0, 6], a.lower_lid, 60, 10, 0.6)
    elif unit == 9:  # levator labii alaeque nasi
        layer.pull(a.eye_inner + [-1.5 * o, -3], a.wing, 29, 13)
        layer.pull(a.glabella + [0.5 * o, -9], 0.5 * (a.root + a.glabella) + [2 * o, 4], 42, 11, 0.5)
    elif unit == 10:  # levator labii superioris
        layer.pull(a.lower_lid + [-1 * o, 4], a.upper_lip + [1.5 * o, -1], 29, 10)
        layer.part(0.4, 0.0, o)
    elif unit == 12:  # zygomaticus major
        layer.pull(a.corner + [17 * o, -17], a.corner, 38, 13)
    elif unit == 14:  # buccinator
        layer.ring(a.corner + [3 * o, 0], (14, 14))
    elif unit == 15:  # depressor anguli oris
        layer.pull(a.corner + [3 * o, 20], a.corner, 36, 11)
    elif unit == 16:  # depressor labii inferioris
        layer.pull(a.lower_lip + [4 * o, 17], a.lower_lip + [0, 1], 36, 7, 0.6)
        layer.part(0.0, 0.75, o)
    elif unit == 17:  # mentalis
        layer.pull(a.mouth + [2 * o, -4], a.boss + [2 * o, 1], 41, 13)
        layer.pull(a.nose_base + [3 * o, 0], a.lower_lip, 43, 11, 0.5)
    elif unit == 18:  # incisivus, a ring that narrows the mouth
        layer.pull(a.mouth - [2 * o, 0], a.corner, 46, 13)
    elif unit == 20:  # risorius
        layer.pull(a.corner + [22 * o, 3], a.corner, 34, 11)
    elif unit == 24:  # orbicularis oris, marginal part
        layer.ring(a.mouth + [4 * o, 0], (19, 12.5), axes=(0.15, 1.0))
    elif unit == 25:
        layer.pull(a.chin + [3 * o, 4], a.lower_lip + [0, 5], 48, 8, 0.3)
        layer.part(0.3, 0.8, o)
    elif unit == JAW:  # digastric
        layer.pull(a.chin + [4 * o, 22], a.chin + [4 * o, -2], 48, 14)
        layer.part(0.1, 0.9, o)
    elif unit == 38:  # dilator naris
        layer.pull(a.wing + [9 * o, -2], a.wing + [0, -1], 48, 7)
    elif unit == 43:  # orbicularis oculi, lids
        layer.pull(a.lower_lid + [0, 4], a.upper_lid, 60, 8)


def _creases(layer: _Layer, a: SimpleNamespace, unit: int) -> None:
    """Furrows that deepen with a unit, one side."""
    o = a.out
    if unit == 1:
        middle = a.brow_inner + [0, -9]
        layer.fold(middle - [6 * o, 0], middle + [5 * o, 0], 1.1, 0.035)
    elif unit == 2:
        middle = a.brow_outer + [-4 * o, -8]
        layer.fold(middle - [5 * o, 1], middle + [5 * o, 1], 1.1, 0.03)
    elif unit == 4:
        place = a.glabella + [2.4 * o, 0.5]
        layer.fold(place + [0.8 * o, -5], place + [-0.4 * o, 4], 0.9, 0.09)
    elif unit == 6:
        for angle in (-1.6, 1.0, 3.4):
            place = a.eye_outer + [5 * o, angle]
            layer.fold(place - [2.5 * o, 0.4 * angle], place + [2.5 * o, 0.4 * angle], 0.7, 0.035)
    elif unit == 9:
        place = 0.75 * a.root + 0.25 * a.eye_inner
        layer.fold(place + [-1.5 * o, -1.5], place + [1.5 * o, 2], 0.8, 0.06)
        layer.fold(a.wing + [1.5 * o, -5], a.wing + [4 * o, 2], 0.9, 0.045)
    elif unit in (10, 12):
        middle = 0.5 * (a.wing + a.corner) + [4.5 * o, 0]
        layer.fold(a.wing + [2.5 * o, -1], middle + [1.5 * o, 2], 1.2, 0.045)
    elif unit == 14:
        place = a.corner + [3.5 * o, 0]
        layer.fold(place - [0.4 * o, 3], place + [0.4 * o, 3], 1.2, 0.06)
    elif unit == 15:
        layer.fold(a.corner + [1.5 * o, 1], a.corner + [2.5 * o, 6], 0.9, 0.045)
    elif unit == 17:
        layer.fold(a.boss + [0, -4.5], a.boss + [7 * o, -4], 1.1, 0.045)
    elif unit == 20:
        layer.fold(a.corner + [3 * o, -3], a.corner + [3 * o, 4], 1.1, 0.04)

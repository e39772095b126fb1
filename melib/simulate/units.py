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

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import yaml
from scipy.interpolate import PchipInterpolator, RBFInterpolator

from melib.errors import DataError
from melib.simulate.events import UNIT_SCALE
from melib.simulate.portraits import Portrait
from melib.simulate.worlds import FIRST, World

FAMILIES = ("patches", "muscles", "head")
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
        Landmarks that movements hang on, crop pixels; off those found by as much as the world says.
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
    world : World
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
    world: World

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


def make_canvas(portrait: Portrait, world: World = FIRST) -> Canvas:
    """Lay out one photograph."""
    rng = np.random.default_rng(
        [portrait.person, 68]
    )  # of the person: places and depth are the same in every clip
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
        points=_misplaced(rng, points, world.misplaced),
        skin=skin,
        depth=_depth(points, x, y, rng, world.heads).astype(np.float32),
        below=below.astype(np.float32),
        along=((x - centre) / half).astype(np.float32),
        lids=lids,
        world=world,
    )


def _misplaced(rng: np.random.Generator, points: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """Landmarks (68, 2) shifted by a random quadratic of the place, its root mean square within ``bounds``."""
    if not any(bounds):
        return points
    x, y = ((points - points.mean(0)) / np.ptp(points[:, 0])).T
    shift = np.stack([np.full_like(x, 0.3), x, y, x * x, x * y, y * y], axis=1) @ rng.standard_normal((6, 2))
    return points + shift * rng.uniform(*bounds) / np.sqrt((shift**2).sum(1).mean())


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


def _depth(points, x, y, rng: np.random.Generator, own: float) -> np.ndarray:
    """A generic head: a broad bump, the nose, brows and chin on it; 0 far away, so that the background stays.

    ``own`` scales what is a person's: how deep head and nose are, and four bumps and dents anywhere.
    """
    tip, root, chin = points[30], points[27], points[8]
    middle = (points[0] + points[16]) / 2
    centre = (root + chin) / 2
    across, tall = np.linalg.norm(points[16] - points[0]) / 2, np.linalg.norm(chin - root)

    def bump(place, wide, high):
        return np.exp(-0.5 * (((x - place[0]) / wide) ** 2 + ((y - place[1]) / high) ** 2))

    head = 32 * bump([middle[0], centre[1] - 0.1 * tall], 0.62 * across, 0.7 * tall)
    nose = 9 * bump(tip, 5.5, 5.5) + 4 * bump((tip + root) / 2, 4.5, 8)
    brows = 2 * (bump(points[19], 9, 4) + bump(points[24], 9, 4))
    head, nose = head * (1 + 0.2 * own * rng.uniform(-1, 1)), nose * (1 + 0.4 * own * rng.uniform(-1, 1))
    for place in rng.uniform(points.min(0), points.max(0), (4, 2)):
        wide, high = rng.uniform(8, 20, 2)
        head = head + own * rng.normal(0, 2) * bump(place, wide, high)
    return head + nose + brows + 3 * bump(chin - [0, 6], 9, 6)


def unit_field(canvas: Canvas, family: str, unit: int, side: str = "both") -> Field:
    """Displacement and shading of one unit.

    Parameters
    ----------
    canvas : Canvas
    family : {"patches", "muscles", "head"}
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
        layer.anchors = anchors(canvas.points, one_side)
        for part in (family, "creases"):
            for step, *arguments in _field_steps(canvas.world.generation)[part].get(unit, []):
                getattr(layer, step)(*arguments)
    return layer.finish(smooth=0.0 if family == "patches" else 0.8)


@functools.cache
def _field_steps(generation: int) -> dict[str, dict[int, list[list]]]:
    """The steps of fields.yml, by family and unit."""
    steps = yaml.safe_load((Path(__file__).parent / "fields.yml").read_text())
    later = steps["second"] if generation == 2 else {}
    return {family: steps[family] | later.get(family, {}) for family in (*FAMILIES, "creases")}


@functools.cache
def _head_units() -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Fields (h, w, 2) float32 of the MakeHuman head's left half by name, and where their grid lies."""
    folder = Path(__file__).parent
    key = yaml.safe_load((folder / "head_units.yml").read_text())
    table = np.load(folder / "head_units.npy").astype(np.float32) / 127
    return dict(zip(key["targets"], table, strict=True)), key["grid"]


# Anchors on the MakeHuman head, crop pixels from the point between its eyes; the first number points outward.
_HEAD_PLACES = {
    "brow_inner": (9, -11), "brow_middle": (22, -15), "brow_outer": (34, -9), "eye_inner": (11.5, 0.5), "eye_outer": (31, 0),
    "wing": (10, 29), "corner": (19.3, 46), "upper_lip": (5, 39), "lower_lip": (6, 54),
    "root": (0, -1), "nose_base": (0, 31), "mouth": (0, 46), "chin": (0, 74.5),
}  # fmt: skip


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
    anchors: SimpleNamespace = field(init=False)  # of the side that is being summed
    parts: bool = False

    def __post_init__(self):
        shape = self.canvas.x.shape
        self.common, self.upper, self.lower = (np.zeros((*shape, 2)) for _ in range(3))
        self.crease = np.zeros(shape)

    def _place(self, text):
        """(2,) crop pixels: a sum of weighted anchors and of steps, the first number of which points outward."""
        total = np.zeros(2)
        for term in text.split(" + "):
            if term.startswith("("):
                total = total + self._outward(map(float, term[1:-1].split(",")))
            else:
                weight, _, name = term.rpartition(" ")
                total = total + float(weight or 1) * getattr(self.anchors, name)
        return total

    def _outward(self, pair):
        across, down = pair
        return np.array([across * self.anchors.out, down])

    def _gauss(self, centre, size):
        return np.exp(
            -0.5
            * (((self.canvas.x - centre[0]) / size[0]) ** 2 + ((self.canvas.y - centre[1]) / size[1]) ** 2)
        )

    # Family "patches" -------------------------------------------------------------------------------------------
    def push(self, centre, size, direction, weight=1.0):
        """A Gaussian patch moves one way."""
        self.common += weight * self._gauss(self._place(centre), size)[..., None] * self._outward(direction)

    def gather(self, centre, size, weight=1.0, axes=(1.0, 1.0)):
        """Skin around a point is drawn towards it; largest displacement about ``weight``."""
        centre = self._place(centre)
        window = weight * self._gauss(centre, size) * np.exp(0.5)
        self.common[..., 0] -= axes[0] * window * (self.canvas.x - centre[0]) / size[0]
        self.common[..., 1] -= axes[1] * window * (self.canvas.y - centre[1]) / size[1]

    # Family "muscles" -------------------------------------------------------------------------------------------
    def pull(self, bone, skin, angle, beyond, weight=1.0):
        """A linear muscle: the sector within ``angle`` degrees is drawn to ``bone``, most at ``skin``."""
        bone, skin = self._place(bone), self._place(skin)
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
        centre = self._place(centre)
        u, v = (self.canvas.x - centre[0]) / radii[0], (self.canvas.y - centre[1]) / radii[1]
        window = weight / 0.274 * np.cos(np.pi / 2 * np.clip(np.hypot(u, v), 0, 1)) ** 2
        self.common[..., 0] -= axes[0] * window * u
        self.common[..., 1] -= axes[1] * window * v

    # Family "head" ----------------------------------------------------------------------------------------------
    def mesh(self, name, weight=1.0):
        """A face unit of the MakeHuman head, laid over this face; of one that has no sides, this side's half."""
        units, grid = _head_units()
        x, y = self._on_head()
        out = np.float32(self.anchors.out)
        columns, rows = (out * x - grid["left"]) / grid["step"], (y - grid["top"]) / grid["step"]
        moved = cv2.remap(units[name], columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        half = 1.0 if "left" in name else 0.5 * (1 + np.tanh(out * x / 9))[..., None]
        self.common += weight * half * moved * [out, 1]

    def _on_head(self):
        """Where each pixel lies on the MakeHuman head, x and y (H, W) float32: thin plates between the anchors."""
        pairs = []
        for side in ("left", "right"):
            here = anchors(self.canvas.points, side)
            pairs += [(getattr(here, name), (here.out * x, y)) for name, (x, y) in _HEAD_PLACES.items() if x]
        pairs += [(getattr(here, name), place) for name, place in _HEAD_PLACES.items() if not place[0]]
        ours, theirs = (np.array(places, float) for places in zip(*pairs, strict=True))
        shape = self.canvas.x.shape
        coarse = np.stack([self.canvas.x[::4, ::4], self.canvas.y[::4, ::4]], axis=-1)
        moved = RBFInterpolator(ours, theirs, smoothing=1.0)(coarse.reshape(-1, 2)).reshape(coarse.shape)
        rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32) / 4
        fine = cv2.remap(
            moved.astype(np.float32), columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return fine[..., 0], fine[..., 1]

    # Both -------------------------------------------------------------------------------------------------------
    def part(self, up, down, reach=(5.0, 8.0)):
        """The lips part: ``up`` and ``down`` crop pixels at the middle, none at the corners."""
        self.parts, out = True, self.anchors.out
        # One side alone opens its own half; both halves sum to a symmetric opening.
        along = np.clip(self.canvas.along, -1, 1)
        opening = np.cos(np.pi / 2 * along) ** 2 * (0.5 * (1 + np.tanh(2.0 * out * along)))
        high = np.exp(-0.5 * (np.minimum(self.canvas.below, 0) / reach[0]) ** 2)
        low = np.exp(-0.5 * (np.maximum(self.canvas.below, 0) / reach[1]) ** 2)
        self.upper[..., 1] -= up * opening * high
        self.lower[..., 1] += down * opening * low

    def fold(self, start, stop, width, depth=0.05):
        """A crease between two points darkens, its flanks catch a little light."""
        start, stop = self._place(start), self._place(stop)
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

"""One photograph in motion: a frame is one backward warp of it, and what lids and lips uncover is painted.

    material point --(units: skin)--> --(turn of the head: depth)--> --(shift, rotation, zoom)--> pixel of the frame

Fields live at material points, so a frame looks up where each of its pixels came from: the similarity is undone in
closed form, the sum of the fields by fixed-point iteration. The photograph is enlarged once with a cubic kernel
and sampled linearly: unlike the cubic kernel at original size that is exact for ramps, and motion is sub-pixel.

Three things don't move with the skin and are layers of their own: the eyeball (only the gaze moves it; seen through the
opening of the lids), the lid that unrolls in a blink, and the inside of the mouth.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from melib.simulate.events import UNIT_SCALE, Expression, profile
from melib.simulate.nuisance import Paths
from melib.simulate.units import Canvas, Field, unit_field

FINE = 3  # enlargement of the photograph before it is sampled linearly
BLINK_SKIN = 0.8  # crop pixels that the skin around the eye moves in a full blink
SMALLEST_JACOBIAN = 0.35  # a stronger expression is weakened; turns and blinks then keep every frame above .2
_LASHES = 2.2  # crop pixels of the lid's margin that stay attached to it
_EDGE = 0.8  # crop pixels over which a lid's edge is blended


@dataclass(frozen=True)
class Truth:
    """What truly happened in each frame; crop pixels at material points.

    Attributes
    ----------
    rms, peak : (T,) float64
        Root mean square and largest displacement over the skin, by all units of the expression.
    units : dict of int to (T,) float64
        Root mean square of each unit alone.
    inside : (T,) bool
        True between the first movement and the last return.
    """

    rms: np.ndarray
    peak: np.ndarray
    units: dict[int, np.ndarray]
    inside: np.ndarray


class Scene:
    """A photograph, one event (or none) and one clip's nuisance, ready to be rendered frame by frame.

    Parameters
    ----------
    canvas : Canvas
    family : {"patches", "muscles"}
    event : Event or None
    paths : Paths
    fps : float
    movements : sequence of K Fields
        What moves the skin where it isn't one event (which then is None); the truth of it is the caller's.
    amplitudes : (T, K) float64 or None
        Crop pixels of each of these fields in each frame.

    Attributes
    ----------
    truth : Truth
        Of the event.
    movements : list of Field
    amplitudes : (T, K) float64
        Crop pixels of each movement in each frame.
    """

    def __init__(  # noqa: D107
        self,
        canvas: Canvas,
        family: str,
        event: Expression | None,
        paths: Paths,
        fps: float,
        movements: Sequence[Field] = (),
        amplitudes: np.ndarray | None = None,
    ):
        self.canvas, self.paths, self.event = canvas, paths, event
        self.n_frames = len(paths.gain)
        seconds = np.arange(self.n_frames) / fps
        self.movements = list(movements)
        skin = np.zeros((0, 1, 2), np.float32)
        if event is not None:
            self.movements = [unit_field(canvas, family, m.unit, m.side) for m in event.movements]
            skin = on_skin(canvas, self.movements)
            amplitudes = driven(canvas, event, self.movements, skin, seconds)
        self.amplitudes = np.zeros((self.n_frames, 0)) if amplitudes is None else amplitudes
        self.truth = _truth(event, self.amplitudes, skin, seconds)
        self._prepare(family)

    # ---------------------------------------------------------------------------------------------------------------
    def _prepare(self, family: str) -> None:
        canvas, scale = self.canvas, self.canvas.portrait.scale
        image = canvas.portrait.image.astype(np.float32)
        self.height, self.width = image.shape
        zero = np.zeros(image.shape, np.float32)
        slope_y, slope_x = np.gradient(canvas.depth / scale)
        steep = np.sqrt(1 + (slope_x**2 + slope_y**2) * scale**2)

        layers, amounts = [], []

        def add(vectors, shade, amount):
            if np.any(amount):
                layers.append(np.dstack([vectors[..., 0], vectors[..., 1], shade]))
                amounts.append(amount)

        for index, field in enumerate(self.movements):
            moved = canvas.to_image(field.displacement(canvas))
            add(moved, field.shade, self.amplitudes[:, index])
        blink = unit_field(canvas, family, 43)
        add(canvas.to_image(blink.common), blink.shade, BLINK_SKIN * self.paths.blink)
        # A turn moves what stands out most; the depth falls to 0 by itself, so the background stays.
        self.turning = [
            canvas.to_image(np.dstack(pair)) for pair in ((canvas.depth, zero), (zero, canvas.depth))
        ]
        for axis in (0, 1):
            add(self.turning[axis], zero, np.sin(self.paths.turn[:, axis]))
        for axis, slope in enumerate((slope_x, slope_y)):
            normal = -slope * scale / steep
            add(
                np.zeros((*image.shape, 2), np.float32),
                normal / np.abs(normal).max(),
                self.paths.light[:, axis],
            )
        self.layers = [layer.astype(np.float32) for layer in layers]
        self.sizes = np.array([_size_and_slope(layer) for layer in layers]).reshape(-1, 2)
        self.amounts = (
            np.stack(amounts, axis=1).astype(np.float32) if layers else np.zeros((self.n_frames, 0))
        )

        self.grid_y, self.grid_x = np.mgrid[: self.height, : self.width].astype(np.float32)
        self.pivot = canvas.portrait.landmarks[29]
        self.down = canvas.to_image(np.array([0.0, 1.0]))  # one crop pixel downwards, image pixels
        self.photo = _enlarge(image)
        self.eyes = [_Eye(canvas, image, side) for side in ("left", "right")]
        self.mouth = _Mouth(canvas, image, self.movements)

    def frame(self, t: int) -> np.ndarray:
        """Noise-free frame ``t``, (H, W) float32 in grey levels."""
        base_x, base_y = self.undo_similarity(t)
        total = self.field(t)
        x, y, shade = self.origin(t, total, base_x, base_y)
        out = _sample(self.photo, x, y)
        self.mouth.paint(out, self, t, base_x, base_y, total)
        for eye in self.eyes:
            eye.paint(out, self, t, base_x, base_y, x, y)
        light = np.clip(shade, -0.3, 0.2)
        light += 1
        light *= np.float32(self.paths.gain[t])
        out *= light
        return out

    def grain(self, rng: np.random.Generator) -> np.ndarray:
        """Normal noise for ``written``, six frames of it: drawn once a clip, since drawing is slow."""
        return rng.standard_normal(6 * self.height * self.width, dtype=np.float32)

    def written(self, t: int, grain: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Frame ``t`` as the camera gives it, (H, W) uint8: shot and read noise in equal parts at mid grey.

        Each frame takes its noise from a random place of the grain, so frames are independent to the eye.
        """
        image = self.frame(t - t % self.paths.hold)
        if self.paths.noise > 0:
            start = rng.integers(len(grain) - image.size)
            noise = grain[start : start + image.size].reshape(image.shape)
            spread = np.maximum(image, 0)
            spread *= np.float32(0.5 / 128)
            spread += np.float32(0.5)
            np.sqrt(spread, out=spread)
            spread *= noise
            spread *= np.float32(self.paths.noise)
            image += spread
        return np.clip(np.rint(image, out=image), 0, 255, out=image).astype(np.uint8)

    def origin(self, t: int, total: np.ndarray, base_x: np.ndarray, base_y: np.ndarray):
        """Material point that each pixel of frame ``t`` shows, x and y, and its change of brightness, (H, W) float32."""
        return _invert(total, base_x, base_y, self._iterations(t, total))

    def undo_similarity(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """Where each pixel was before the head's shift, rotation and zoom: x and y, (H, W) float32."""
        shift = self.canvas.to_image(self.paths.shift[t])
        size, angle = self.paths.size[t], self.paths.angle[t]
        cos, sin = np.float32(np.cos(angle) / size), np.float32(np.sin(angle) / size)
        px, py = np.float32(self.pivot[0]), np.float32(self.pivot[1])
        x, y = self.grid_x[:1] - px - shift[0], self.grid_y[:, :1] - py - shift[1]  # (1, W), (H, 1)
        return (cos * x + (px + sin * y)), ((py - sin * x) + cos * y)

    def field(self, t: int) -> np.ndarray:
        """Where material points go before the similarity, image pixels, and change of brightness: (H, W, 3) float32."""
        total = np.zeros((self.height, self.width, 3), np.float32)
        for amount, layer in zip(self.amounts[t], self.layers, strict=True):
            if amount:
                cv2.scaleAdd(layer, float(amount), total, total)
        return total

    def _iterations(self, t: int, total: np.ndarray) -> int:
        """Enough for an error below .03 image pixel: each one shrinks it at least by the steepest slope."""
        if self.event is None and self.movements:
            size, slope = self._steepness(total)
        else:  # one event: a bound from its layers, fast and far above what they come to together
            size, slope = np.abs(self.amounts[t]) @ self.sizes
        return int(
            np.clip(np.ceil(np.log(0.03 / max(size, 0.031)) / np.log(np.clip(slope, 1e-3, 0.8))), 1, 12)
        )

    def _steepness(self, total: np.ndarray) -> tuple[float, float]:
        """Largest displacement and steepest slope of a frame's sum; coarse, lips' edges left out."""
        u, v = total[::3, ::3, 0].copy(), total[::3, ::3, 1].copy()
        above = self.canvas.below[::3, ::3] < 0
        across = (u[:, 1:] - u[:, :-1]) ** 2 + (v[:, 1:] - v[:, :-1]) ** 2
        down = (u[1:] - u[:-1]) ** 2 + (v[1:] - v[:-1]) ** 2
        across[above[:, 1:] != above[:, :-1]] = 0
        down[above[1:] != above[:-1]] = 0
        return float(np.sqrt((u * u + v * v).max())), float(np.sqrt((across[1:] + down[:, 1:]).max()) / 3)

    def turned(self, t: int, rows: slice, columns: slice) -> np.ndarray:
        """Displacement by the head's turn alone inside a window, (h, w, 2) image pixels."""
        yaw, pitch = np.sin(self.paths.turn[t])
        return (
            np.float32(yaw) * self.turning[0][rows, columns]
            + np.float32(pitch) * self.turning[1][rows, columns]
        )


def _size_and_slope(layer: np.ndarray) -> tuple[float, float]:
    """Largest displacement (image pixels) and steepest slope of a layer (H, W, 3)."""
    steps = [np.abs(np.diff(layer[..., :2], axis=axis)).max() for axis in (0, 1)]
    return float(np.linalg.norm(layer[..., :2], axis=-1).max()), float(max(steps))


def on_skin(canvas: Canvas, movements: Sequence[Field]) -> np.ndarray:
    """Displacement of the P pixels of skin by each of K fields, (K, P, 2) float32 crop pixels."""
    return np.stack([field.displacement(canvas)[canvas.skin] for field in movements])


def driven(
    canvas: Canvas, event: Expression, movements: list[Field], skin: np.ndarray, seconds: np.ndarray
) -> np.ndarray:
    """How far each movement of an event goes.

    Parameters
    ----------
    canvas : Canvas
    event : Event
    movements : list of K Fields
        One a movement of the event.
    skin : (K, P, 2) float32
        As :func:`on_skin` gives.
    seconds : (T,) float

    Returns
    -------
    (T, K) float64
        Crop pixels; together they reach the event's strength, or as much as doesn't fold the skin.
    """
    courses = [UNIT_SCALE[m.unit] * m.share * profile(m, seconds) for m in event.movements]
    amplitudes = np.stack(courses, axis=1)
    reached = peaks(amplitudes, skin)
    amplitudes = amplitudes * (event.strength / reached.max())
    top = amplitudes[np.argmax(reached)]
    while smallest_jacobian(canvas, movements, top) < SMALLEST_JACOBIAN:
        amplitudes, top = 0.93 * amplitudes, 0.93 * top
    return amplitudes


def peaks(amplitudes: np.ndarray, fields: np.ndarray) -> np.ndarray:
    """(T,) largest displacement over the skin; amplitudes (T, K), fields (K, P, 2)."""
    n = len(amplitudes)
    out = np.zeros(n)
    if len(fields) == 1:  # most events: the field's largest displacement is 1
        return amplitudes[:, 0] * np.linalg.norm(fields[0], axis=1).max()
    for t in range(n):
        if amplitudes[t].any():
            parts = (np.float32(a) * field for a, field in zip(amplitudes[t], fields, strict=True))
            moved = sum(parts)  # (P, 2)
            out[t] = np.sqrt((moved[:, 0] ** 2 + moved[:, 1] ** 2).max())
    return out


def _truth(
    event: Expression | None, amplitudes: np.ndarray, fields: np.ndarray, seconds: np.ndarray
) -> Truth:
    n = len(amplitudes)
    if event is None:
        return Truth(np.zeros(n), np.zeros(n), {}, np.zeros(n, bool))
    rms, alone = root_mean_squares(amplitudes, fields)
    units = {movement.unit: alone[:, k] for k, movement in enumerate(event.movements)}
    inside = (seconds > event.start) & (seconds < event.stop)
    return Truth(rms, peaks(amplitudes, fields), units, inside)


def root_mean_squares(amplitudes: np.ndarray, fields: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Root mean square displacement over the skin by all fields, (T,), and by each alone, (T, K)."""
    flat = fields.reshape(len(fields), -1).astype(np.float64)
    # Mean over the skin of products of displacements; not by BLAS, whose last digit depends on its threads.
    gram = np.einsum("kp,lp->kl", flat, flat) / fields.shape[1]
    rms = np.sqrt(np.maximum(np.einsum("tk,kl,tl->t", amplitudes, gram, amplitudes), 0))
    return rms, amplitudes * np.sqrt(np.diag(gram))


def smallest_jacobian(canvas: Canvas, movements: list[Field], amplitudes: np.ndarray) -> float:
    """Smallest Jacobian determinant of the skin's map: below 0 skin is folded, 1 is rest.

    Parameters
    ----------
    canvas : Canvas
    movements : list of K Fields
    amplitudes : (K,) float
        Crop pixels.

    Returns
    -------
    float
        The lips' two sides are mapped separately, each over its own side.
    """
    one = [(field.common, field.common) for field in movements]
    both = [
        (common + field.upper, common + field.lower)
        if field.upper is not None and field.lower is not None
        else (common, common)
        for field, (common, _) in zip(movements, one, strict=True)
    ]
    smallest = np.inf
    for side in (0, 1):
        total = sum(
            (np.float32(a) * pair[side] for a, pair in zip(amplitudes, both, strict=True)),
            np.zeros((*canvas.x.shape, 2), np.float32),
        )
        moved = canvas.to_image(total)
        dy_x, dx_x = np.gradient(moved[..., 0])
        dy_y, dx_y = np.gradient(moved[..., 1])
        determinant = (1 + dx_x) * (1 + dy_y) - dy_x * dx_y
        own = canvas.below < 0 if side == 0 else canvas.below >= 0
        smallest = min(smallest, float(determinant[own].min()))
    return smallest


def _enlarge(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, None, fx=FINE, fy=FINE, interpolation=cv2.INTER_CUBIC)


def _sample(fine: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Look up an enlarged image at coordinates of the original one."""
    offset = np.float32((FINE - 1) / 2)
    return cv2.remap(
        fine, x * FINE + offset, y * FINE + offset, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def look_up(field: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Values of a field (H, W) or (H, W, C) at image coordinates, linear in between."""
    return cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _invert(total: np.ndarray, base_x: np.ndarray, base_y: np.ndarray, iterations: int):
    """Solve ``p + total(p) = base`` for p; also the third channel there."""
    x, y = base_x, base_y
    for _ in range(iterations):
        moved = look_up(total, x, y)
        x, y = base_x - moved[..., 0], base_y - moved[..., 1]
    return x, y, moved[..., 2]


def _window(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = mask.shape
    return (
        slice(max(0, rows[0] - margin), min(height, rows[-1] + margin + 1)),
        slice(max(0, columns[0] - margin), min(width, columns[-1] + margin + 1)),
    )


def _step(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


class _Eye:
    """Eyeball behind the lids, and the lid that unrolls in a blink."""

    def __init__(self, canvas: Canvas, image: np.ndarray, side: str):
        self.lids = canvas.lids[side]
        top, bottom, height = (self.lids[..., i] for i in range(3))
        opening = (top > 0) & (bottom > 0) & (height > 0)
        if not opening.any():  # an eye narrower than a pixel: leave it to the skin
            opening[tuple(np.argwhere(height == height.max())[0])] = True
        self.rows, self.columns = _window(opening, round(12 / canvas.portrait.scale))
        self.tallest = float(height.max())
        nearest = ndimage.distance_transform_edt(~opening, return_distances=False, return_indices=True)
        grown = cv2.GaussianBlur(image[tuple(nearest)], (0, 0), 1.5)
        shadow = 1 - 0.25 * _step(-np.minimum(top, 0) / 2.5)  # under the upper lid it is dark
        self.eyeball = _enlarge(np.where(opening, image, grown * shadow).astype(np.float32))
        # The skin of a closed lid: a smooth mean of the skin around the eye, lashes left out.
        source = ((top < -_LASHES) | (bottom < -_LASHES)).astype(np.float32)
        sigma = 3 / canvas.portrait.scale
        mean = cv2.GaussianBlur(image * source, (0, 0), sigma) / np.maximum(
            cv2.GaussianBlur(source, (0, 0), sigma), 1e-3
        )
        # 0 beyond the margins, 1 from their middle
        covered = _step(2 * (np.minimum(top, bottom) / _LASHES + 1))
        self.bare = _enlarge((image + (mean - image) * covered).astype(np.float32))

    def way(self, wanted: float) -> float:
        """How far the upper margin goes, crop pixels: no further than a little below the lower one."""
        return min(wanted, self.tallest + 1.2)

    def paint(self, out, scene: Scene, t: int, base_x, base_y, x, y) -> None:
        here = (self.rows, self.columns)
        px, py = x[here], y[here]
        lids = look_up(self.lids, px, py)
        top, bottom, height = lids[..., 0], lids[..., 1], lids[..., 2]
        closing = float(scene.paths.blink[t])
        skin = out[here]
        if closing > 0:
            # The upper margin goes its way and takes the lower one with it where they meet.
            way = np.float32(self.way(scene.paths.blink_px) * closing)
            share = height / max(self.tallest, 1e-6)
            upper = way * share
            lower = np.minimum(0.12 * upper, height - upper)
            top, bottom = top - upper, bottom - lower
            bare = _sample(self.bare, px, py)
            down = scene.down
            lashes = _sample(scene.photo, px - upper * down[0], py - upper * down[1])
            lid = bare + (lashes - bare) * _step((top + _LASHES + _EDGE) / _EDGE)
            margin = _sample(scene.photo, px + lower * down[0], py + lower * down[1])
            margin = bare + (margin - bare) * _step((bottom + _LASHES + _EDGE) / _EDGE)
            lid = lid + (margin - lid) * _step((top - bottom) / _EDGE + 0.5)
            near = _step(np.minimum(top + upper, bottom + lower) + _LASHES + 2)  # only around the opening
            skin = skin + (lid - skin) * near
        gaze = scene.canvas.to_image(scene.paths.gaze[t])
        turned = scene.turned(t, self.rows, self.columns)
        ball = _sample(
            self.eyeball,
            base_x[here] - turned[..., 0] - gaze[0],
            base_y[here] - turned[..., 1] - gaze[1],
        )
        visible = _step(np.minimum(top, bottom) / _EDGE) * (height > 0)
        out[here] = skin + (ball - skin) * visible


class _Mouth:
    """Upper and lower lip as two sheets, and the dark between them."""

    def __init__(self, canvas: Canvas, image: np.ndarray, movements: list[Field]):
        self.parting = [k for k, field in enumerate(movements) if field.upper is not None]
        if not self.parting:
            return
        near = (np.abs(canvas.along) < 1) & (np.abs(canvas.below) < 6)
        self.rows, self.columns = _window(near, 3)
        self.below = canvas.below
        self.upper, self.lower = (
            [canvas.to_image(sheet) for k in self.parting for sheet in [getattr(movements[k], name)]]
            for name in ("upper", "lower")
        )
        self.already = [
            canvas.to_image(movements[k].displacement(canvas) - movements[k].common) for k in self.parting
        ]
        line = image[(np.abs(canvas.along) < 0.7) & (np.abs(canvas.below) < 1)]
        self.dark = np.float32(0.6 * np.percentile(line, 10))

    def paint(self, out, scene: Scene, t: int, base_x, base_y, total) -> None:
        if not self.parting or not scene.amplitudes[t, self.parting].any():
            return
        here = (self.rows, self.columns)
        amplitudes = scene.amplitudes[t, self.parting].astype(np.float32)
        sheets, covers = [], []
        for extra, sign in ((self.upper, -1), (self.lower, 1)):
            field = total[..., :2].copy()
            for amplitude, own, already in zip(amplitudes, extra, self.already, strict=True):
                field += amplitude * (own - already)
            px, py = base_x[here], base_y[here]
            for _ in range(5):
                moved = look_up(field, px, py)
                px, py = base_x[here] - moved[..., 0], base_y[here] - moved[..., 1]
            sheets.append(_sample(scene.photo, px, py))
            covers.append(_step(sign * look_up(self.below, px, py) / _EDGE + 0.5))
        gap = np.clip(1 - covers[0] - covers[1], 0, 1)
        lips = (covers[0] * sheets[0] + covers[1] * sheets[1]) / np.maximum(covers[0] + covers[1], 1e-3)
        out[here] = lips + (self.dark - lips) * gap

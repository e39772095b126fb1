"""Motion of a window of aligned frames: dense flow, head motion taken out, one reference chosen from the pixels.

    aligned crop (T, H, W)  -> flow from the middle frame to each frame -> motion of the head: smooth fit, robust
                                                                          |
              stabilised frames  <- warped back by the head's motion  <---+---> what is left: motion of the skin
                                                                                      |
                                             calmest stretch = the state it returns to = reference
                                                                                      |
                                                            motion of every frame since the reference

All three inputs of the models (raw, difference, flow) come from this one function, so that they share pixels,
stabilisation and sampling. Flow is Dense Inverse Search at its medium preset down to the finest scale: the fast
preset loses half of a movement below one pixel.

Of a long video only the motion of 18 regions is kept (:func:`regional`), measured from a chain of key frames:

    video   . . . . . . . . . . . . . . . . . .      each frame is compared with the key before it; what the new key
    key     K > > > > > > >                          had moved by then is added, so that the curve has no step;
                        K > > > > > > >              then the running median of some seconds is taken off
"""

import functools
from pathlib import Path

import cv2
import numpy as np

from melib.data import cache
from melib.data.manifest import frame_files
from melib.vision import faces

# Half the preset's weight of smoothness: the response is linear from .2 to 2.5 pixels within 6 %, for 15 % more noise.
_SMOOTHNESS = 10
# Spread of the nose's bump, in distances between the eyes.
_NOSE = 0.3
# Share of the height from brows to chin by which the skin goes on above the brows.
_FOREHEAD = 0.25
# A quarter of a window: rest must be seen again for that long.
_CALM_SHARE = 0.25
# Rounds of re-weighting: enough for the weights to settle to 1 % on simulated clips.
_ROUNDS = 5
# Every third pixel carries the fit of the head's motion: it is smooth, and the fit 9 times faster. Between key frames of
# a long video it is every fourth, all over the face alike: points that crowd on brows and mouth take a movement there for
# one of the head. Residuals of one median halve a point's weight, where a window's fit grants two (benchmarks/features.md).
_FIT_STEP, _KEY_STEP, _KEY_GRANTS = 3, 4, 1.0

# Regions of a long video's motion, image-left first; landmarks are dlib's, 0-based.
REGIONS = (
    *("left brow", "right brow", "brow 18", "brow 19", "brow 20", "brow 23", "brow 24", "brow 25", "mouth"),
    *("corner 48", "lip 51", "corner 54", "lip 57", "lip 62", "wing 31", "wing 35", "left lid", "right lid"),
)
CHANNELS = 2 * len(REGIONS)
_TWIN = np.array([1, 0, 7, 6, 5, 4, 3, 2, 8, 11, 10, 9, 12, 13, 15, 14, 17, 16])
# motion[:, order] * sign is the motion of the mirrored face
MIRROR = (
    np.stack([2 * _TWIN, 2 * _TWIN + 1], axis=1).ravel(),
    np.tile(np.array([-1, 1], np.float32), len(REGIONS)),
)
# Half a patch around a landmark, pixels of the 112-pixel crop: the reference's 20 x 20 at its scale.
_PATCH = 2.5
# Seconds from one key frame to the next, for which two are compared with the same frames, after which the face counts
# as gone, and of the running median: far longer than a micro-expression, and shorter than a change of posture.
_KEY, _OVERLAP, _GONE, _REST = 1.0, 0.2, 0.5, 3.0
_REGIONAL_VERSION = 2  # of what is followed and measured; raise it with every change of either
# Pixels of the 112-pixel crop that a head may be off its key: further, and flow gets coarse.
_FAR = 6.0


def dense_flow(reference, frame):
    """Where each pixel of the reference lies in the frame.

    Parameters
    ----------
    reference, frame : (H, W) uint8

    Returns
    -------
    flow : (H, W, 2) float32, pixels
        ``frame[y + flow[y, x, 1], x + flow[y, x, 0]]`` shows what ``reference[y, x]`` shows.
    """
    return _dis().calc(reference, frame, None)


def _dis():
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)
    dis.setVariationalRefinementAlpha(_SMOOTHNESS)
    return dis


def face_region(landmarks, side):
    """Skin of the face in an aligned crop: from the jaw to the middle of the forehead.

    What lies outside (hair, neck, background) moves on its own and is seen by no model.

    Parameters
    ----------
    landmarks : (68, 2) float
        In pixels of the crop.
    side : int

    Returns
    -------
    region : (side, side) bool
    """
    brows = landmarks[17:27]
    forehead = brows - [0, _FOREHEAD * (landmarks[8, 1] - brows[:, 1].mean())]
    hull = cv2.convexHull(np.rint(np.vstack([landmarks, forehead])).astype(np.int32))
    return cv2.fillConvexPoly(np.zeros((side, side), np.uint8), hull, 1).astype(bool)


def head_motion(flow, landmarks):
    """Part of a flow that a head which shifts, turns and nears the camera would cause.

    Quadratic polynomial of the place, and a bump at the nose, which a turn out of the plane moves more than the rest;
    fitted inside the face by iteratively re-weighted least squares (Cauchy weights, scale from the median absolute
    residual), so that a local movement of the skin is left out.

    Parameters
    ----------
    flow : (H, W, 2) float32, pixels
    landmarks : (68, 2) float
        In pixels of the crop.

    Returns
    -------
    motion : (H, W, 2) float32, pixels
    """
    basis, places, rows = _head_basis(flow.shape[0], landmarks.astype(np.float32).tobytes())
    values = flow[::_FIT_STEP, ::_FIT_STEP][rows].astype(np.float64)  # (n, 2)
    return (basis @ _robust_fit(places, values)).astype(np.float32)


def _robust_fit(places, values, grants=2.0):
    """Coefficients (7, 2) of functions of the place (n, 7) that explain most of the values (n, 2)."""
    weight = np.ones(len(values))
    for left in reversed(range(_ROUNDS)):
        weighted = places * weight[:, None]
        normal = weighted.T @ places + 1e-9 * np.eye(places.shape[1])
        coefficients = np.linalg.solve(normal, weighted.T @ values)  # (7, 2)
        if left:
            residual = _length(values - places @ coefficients)  # (n,)
            scale = np.median(residual) + 1e-6
            weight = 1 / (1 + (residual / (grants * scale)) ** 2)
    return coefficients


def _length(vectors):
    """Length of each of (..., 2) vectors: numpy's norm, to the bit, in a fifth of its time."""
    squares = vectors**2
    return np.sqrt(squares[..., 0] + squares[..., 1])


@functools.lru_cache(maxsize=4)
def _head_basis(side, landmarks):
    """Functions of the place (H, W, 7), their values where the fit looks (n, 7), and where that is (h, w) bool."""
    points = np.frombuffer(landmarks, np.float32).reshape(68, 2)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    basis = _head_functions(x, y, points, side)
    rows = face_region(points, side)[::_FIT_STEP, ::_FIT_STEP]
    return basis, basis[::_FIT_STEP, ::_FIT_STEP][rows], rows


def _head_functions(x, y, points, side):
    """1, x, y, x x, x y, y y and the nose's bump, (..., 7), at places from -1 to 1 across the crop."""
    across, down = (points[30] / (side - 1)) * 2 - 1  # tip of the nose
    spread = _NOSE * np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0)) / (side - 1) * 2
    nose = np.exp(-((x - across) ** 2 + (y - down) ** 2) / (2 * spread**2))
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y, nose], axis=-1)


def sample(frames, positions, width=1):
    """Frames at given positions of a clip, each the mean of the native frames that it stands for.

    Averaging over the sampling step keeps noise from folding into the samples; it treats every input alike.

    Parameters
    ----------
    frames : (N, H, W) uint8
    positions : (T,) float
        Places in ``frames``; rounded to the nearest, clipped to the clip.
    width : int
        Native frames averaged, centred on the position; even numbers count as the next odd one.

    Returns
    -------
    sampled : (T, H, W) uint8
    """
    centres = np.clip(np.rint(positions).astype(int), 0, len(frames) - 1)  # (T,)
    half = width // 2
    if half == 0:
        return np.asarray(frames[centres])
    out = np.empty((len(centres), *frames.shape[1:]), np.uint8)
    for i, centre in enumerate(centres):
        part = frames[max(0, centre - half) : centre + half + 1]
        out[i] = np.rint(part.mean(axis=0, dtype=np.float32))
    return out


def _calmest(motion, mask):
    """Index of the state that the face keeps or returns to, the middle of the calmest stretch; of (T, h, w, 2) pixels.

    The rule reads pixels alone. Speed wouldn't do, since a held apex is as slow as rest; what tells rest is that it is
    seen again half a window later. The window's strongest motion (first principal component, mean of three frames)
    gives each frame one number; the chosen frame has the nearest fellows among those at least half a window away. Frames
    without a face are never chosen.
    """
    frames = np.flatnonzero(mask)
    if len(frames) < 3:
        return int(frames[0]) if len(frames) else 0
    flat = motion[frames].reshape(len(frames), -1).astype(np.float64)  # (n, d)
    flat -= flat.mean(axis=0)
    _, vectors = np.linalg.eigh(flat @ flat.T)
    score = vectors[:, -1]  # (n,) up to sign and scale, neither of which matters
    padded = np.concatenate([score[:1], score, score[-1:]])
    score = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    apart = np.abs(frames[:, None] - frames[None]) >= (frames[-1] - frames[0]) / 2  # (n, n)
    distance = np.where(apart, np.abs(score[:, None] - score[None]), np.inf)
    near = max(2, int(np.ceil(_CALM_SHARE * len(frames))))
    spread = (np.sort(distance, axis=1)[:, :near] ** 2).mean(axis=1)  # (n,), inf where too few are far away
    return int(frames[np.argmin(spread)])


def around(reference, mask):
    """Frames whose mean stands for the reference: it and its neighbours with a face, a third less noise.

    Parameters
    ----------
    reference : int
    mask : (T,) bool

    Returns
    -------
    frames : (1 to 3,) int
    """
    near = np.arange(max(0, reference - 1), min(len(mask), reference + 2))
    return near[mask[near]] if mask[near].any() else near[near == reference]


def window_inputs(frames, mask, landmarks, size=64, *, since_first=False):
    """The three inputs of a window, from the same pixels.

    Parameters
    ----------
    frames : (T, H, W) uint8
        Aligned crop.
    mask : (T,) bool
        False where no face was found.
    landmarks : (68, 2) float
        In pixels of the crop; nothing outside the face that they span is seen.
    size : int
        Side of what the network sees.
    since_first : bool
        The reference is the first frame with a face: of a window that is cut at the onset, which is neutral by its cut.
        By default it is the calmest stretch.

    Returns
    -------
    inputs : dict
        ``raw`` (T, size, size) uint8, head motion removed; ``flow`` (T, 2, size, size) float16, motion of the skin
        since the reference (mean of it and its neighbours), pixels of the aligned crop; ``reference`` () int64, its index;
        ``magnitude`` (T,) float32, 95th percentile over the face of the length of that motion, pixels. ``calmest`` and
        ``calmest_magnitude``: index and magnitude by the calmest stretch, whatever the reference.
        Frames without a face hold 0 motion.
    """
    n, height, width = frames.shape
    visible = np.flatnonzero(mask)
    skin = np.zeros((n, height, width, 2), np.float32)
    raw = np.zeros((n, size, size), np.uint8)
    region = face_region(landmarks, height) if len(visible) else np.zeros((height, width), bool)
    middle = int(visible[np.argmin(np.abs(visible - (n - 1) / 2))]) if len(visible) else 0
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for t in visible:
        motion = np.zeros((height, width, 2), np.float32)
        if t != middle:
            flow = dense_flow(frames[middle], frames[t])
            motion = head_motion(flow, landmarks)
            skin[t] = np.where(region[..., None], flow - motion, 0)
        across, down = x + motion[..., 0], y + motion[..., 1]
        steady = cv2.remap(frames[t], across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        raw[t] = cv2.resize(np.where(region, steady, 0), (size, size), interpolation=cv2.INTER_AREA)
    coarse = skin[:, : height // 4 * 4, : width // 4 * 4]
    # The mean over squares of 4 x 4, summed as numpy's would be, to the bit, in a third of its time.
    parts = (coarse[:, i::4, j::4] for i in range(4) for j in range(4))
    coarse = functools.reduce(np.add, parts) / 16  # (T, H/4, W/4, 2)
    calm = _calmest(coarse, mask)
    reference = int(visible[0]) if since_first and len(visible) else calm

    def since(index):
        moved = skin.copy()
        moved[visible] -= skin[around(index, mask)].mean(axis=0)
        length = _length(moved[:, region]) if len(visible) else np.zeros((n, 1))  # (T, pixels)
        return moved, np.percentile(length, 95, axis=1).astype(np.float32)

    moved, magnitude = since(reference)
    flow = np.zeros((n, 2, size, size), np.float16)
    for t in visible:
        flow[t] = cv2.resize(moved[t], (size, size), interpolation=cv2.INTER_AREA).transpose(2, 0, 1)
    return {
        "raw": raw,
        "flow": flow,
        "reference": np.int64(reference),
        "magnitude": magnitude,
        "calmest": np.int64(calm),
        "calmest_magnitude": magnitude if reference == calm else since(calm)[1],
    }


# Long videos


def load_regional(manifest, subject, video, place, cache_folder, *, step=1):
    """Follow the face through one video and measure its regions, or read that from the cache.

    Parameters
    ----------
    manifest : Manifest
    subject, video, place
        As subject, video and folder of ``manifest.videos``.
    cache_folder : str or Path
    step : int
        Every so manieth frame is used; 7 brings 200 frames/s to the 28.6 of the reference.

    Returns
    -------
    features : dict
        As :func:`regional`, and ``numbers`` (T,) int64, the 0-based frame of each row.

    Warns
    -----
    UserWarning
        One sentence if frames are masked: how many, and why. A video without any face is all masked.

    Raises
    ------
    DataError
        If the video's folder or file is missing, empty or inconsistent, or the disk is full.
    """
    numbers, paths = frame_files(place, manifest)
    numbers, paths, fps = numbers[::step], paths[::step], manifest.fps / step
    pixels = cache.content_hash(paths, index=Path(cache_folder) / "hashes")
    key = cache.key(_REGIONAL_VERSION, {"fps": fps}, pixels)
    stored = cache.arrays(cache_folder, key, lambda: regional(faces.follow(paths, fps)))
    faces.warn_of_masked(manifest.name, subject, video, stored["masked"], len(numbers))
    return {**stored, "numbers": numbers}


def regional(stream):
    """Motion of 18 regions of the face through a whole video, head motion taken out; each flow is computed once.

    The curve depends on no window: it is the motion since a chain of key frames, less its running median, so that a
    movement of seconds (a posture, the drift of the chain) is no motion.

    Parameters
    ----------
    stream : iterable of Followed
        From :func:`melib.vision.faces.follow`.

    Returns
    -------
    features : dict
        ``motion`` (T, 36) float32, pixels of the 112-pixel crop: channel 2 r is region r (``REGIONS``) to the right,
        2 r + 1 down, 0 where the face wasn't seen; ``mask`` (T,) bool, True where it was; ``masked`` (3,) int64, how
        many frames can't be read, have another size, show no face.
    """
    motions, masks, masked = [], [], np.zeros(3, np.int64)
    chain, fps = None, 1.0
    for stretch in stream:
        fps = stretch.fps
        chain = chain or _Chain(fps)
        pairs = zip(stretch.numbers, stretch.mask, stretch.crops, stretch.landmarks, strict=True)
        measured = [chain.motion(int(t), *both) if face else np.zeros(CHANNELS) for t, face, *both in pairs]
        motions.append(np.array(measured, np.float32))
        masks.append(stretch.mask)
        masked += stretch.masked
    motion = np.concatenate(motions) if motions else np.zeros((0, CHANNELS), np.float32)
    mask = np.concatenate(masks) if masks else np.zeros(0, bool)
    visible = np.flatnonzero(mask)
    for run in np.split(visible, np.flatnonzero(np.diff(visible) > _GONE * fps) + 1):
        _less_running_median(motion, run, fps)
    return {"motion": motion, "mask": mask, "masked": masked}


class _Chain:
    """Motion since a chain of key frames, fed frame by frame."""

    def __init__(self, fps):
        self.fps = fps
        self.flow = _fast_dis()
        self.key: _Key | None = None  # the key in use
        self.following: _Key | None = None  # its successor, while both are measured
        self.level = np.zeros(CHANNELS)  # what had moved when the key in use was taken
        self.steps: list[np.ndarray] = []  # how much more the key in use measures than its successor
        self.last = 0

    def motion(self, t, crop, landmarks):
        """(36,) motion of frame ``t`` since the first frame of this run."""
        if self.key is None or t - self.last > _GONE * self.fps:
            self.key, self.following, self.level = _Key(t, crop, landmarks), None, np.zeros(CHANNELS)
        self.last = t
        measured, far = self.key.compare(crop, self.flow)
        now = self.level + measured
        if self.following is not None:
            self.steps.append(now - self.following.compare(crop, self.flow)[0])
            if far or t - self.following.taken >= _OVERLAP * self.fps:
                self.key, self.level, self.following = self.following, np.mean(self.steps, axis=0), None
        elif far or t - self.key.taken >= _KEY * self.fps:
            self.following, self.steps = _Key(t, crop, landmarks), [now]
        return now


class _Key:
    """A frame that others are compared with: its picture, and where in it the regions lie."""

    def __init__(self, t, crop, landmarks):
        side = len(crop)
        self.taken = t
        points, self.regions = _region_points(landmarks.astype(np.float64))
        self.count = len(points)
        y, x = np.mgrid[2 : side - 1 : _KEY_STEP, 2 : side - 1 : _KEY_STEP]
        points = np.vstack([points, np.stack([x, y], axis=-1)[face_region(landmarks, side)[y, x]]])
        margin = 10  # pixels: flow needs to see around a region
        low = np.clip(points.min(axis=0) - margin, 0, side - 16).astype(int)
        high = np.clip(points.max(axis=0) + margin, low + 16, side).astype(int)
        self.part = slice(low[1], high[1]), slice(low[0], high[0])
        self.picture = np.ascontiguousarray(crop[self.part])
        self.at = (points - low).astype(np.float32)
        x, y = (points / (side - 1) * 2 - 1).T
        self.places = _head_functions(x, y, landmarks, side)

    def compare(self, crop, flow):
        """Motion of each region since the key (36,), and whether the head is too far from it to measure well."""
        field = flow.calc(self.picture, np.ascontiguousarray(crop[self.part]), None)
        across, down = np.ascontiguousarray(self.at.T)[..., None]  # (P, 1) each
        moved = cv2.remap(field, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        moved = moved[:, 0].astype(np.float64)  # (P, 2)
        n = self.count  # the regions' points; behind them those that the head is fitted to
        head = self.places @ _robust_fit(self.places[n:], moved[n:], _KEY_GRANTS)
        return (self.regions @ (moved - head)[:n]).ravel(), np.median(np.linalg.norm(head, axis=1)) > _FAR


def _region_points(landmarks):
    """Points on the skin of a face (P, 2), and the weights of the mean over each region, (18, P).

    Landmarks and points in pixels of the 112-pixel crop.
    """
    offsets = _PATCH * np.stack(np.meshgrid((-1, 0, 1), (-1, 0, 1)), axis=-1).reshape(-1, 2)
    groups = [landmarks[k] + offsets for k in (*range(17, 27), 48, 51, 54, 57, 62, 31, 35)]
    groups.append(landmarks[[49, 50, 52, 53, 55, 56, 58, 59]])  # the rest of the lips' outline
    for lid in (landmarks[[36, 41, 40, 39]], landmarks[[42, 47, 46, 45]]):
        line = np.vstack([(lid[:-1] + lid[1:]) / 2, lid[1:3]])
        groups.append((line + np.array([[[0, _PATCH]], [[0, 2 * _PATCH]]])).reshape(-1, 2))
    left, right, lips = range(5), range(5, 10), (*range(10, 15), 17)
    members = [
        left,
        right,
        *([k] for k in (1, 2, 3, 6, 7, 8)),
        lips,
        *([k] for k in range(10, 17)),
        [18],
        [19],
    ]
    owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    share = np.array([np.isin(owner, list(member)) for member in members], np.float64)
    return np.vstack(groups), share / share.sum(axis=1, keepdims=True)


def _fast_dis():
    """As :func:`dense_flow`, twice as fast and as exact on average over a region: fewer patches and rounds."""
    dis = _dis()
    dis.setPatchStride(4)
    dis.setGradientDescentIterations(12)
    dis.setVariationalRefinementIterations(2)
    return dis


def _less_running_median(motion, run, fps):
    """Take off the median over ``_REST`` seconds around each frame, in place.

    It is taken every twelfth of that and linear in between. ``motion`` (T, C), of which the frames ``run`` (n,) are used.
    """
    if not len(run):
        return
    half, hop = max(1, round(_REST / 2 * fps)), max(1, round(_REST / 12 * fps))
    since = run - run[0]  # (n,) int: a shift in time changes nothing
    moments = np.arange(0, since[-1] + hop, hop)
    low, high = np.searchsorted(since, moments - half), np.searchsorted(since, moments + half, side="right")
    medians = np.stack([np.median(motion[run[a:b]], axis=0) for a, b in zip(low, high, strict=True)])
    for channel in range(motion.shape[1]):  # one at a time: a copy of a whole video would take memory
        motion[run, channel] -= np.interp(since, moments, medians[:, channel])

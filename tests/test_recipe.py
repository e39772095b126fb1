"""The published recipe, window by window: the fast way equals the plain one, and its faults are the published ones."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melib import DataError
from melib.simulate import portraits
from melib.vision import faces, recipe

K = 8


@pytest.fixture(scope="module")
def still():
    image = portraits.portraits(10)[0].image
    return cv2.copyMakeBorder(image, 30, 30, 60, 60, cv2.BORDER_CONSTANT, value=100)


def moved(still, x, y, mouth=0.0):
    """The photograph shifted by (x, y) pixels, the mouth's corner at image-left raised by ``mouth``."""
    landmarks = faces.find_face(still).landmarks
    down, across = np.mgrid[: still.shape[0], : still.shape[1]].astype(np.float32)
    distance = (across - landmarks[48, 0]) ** 2 + (down - landmarks[48, 1]) ** 2
    lift = mouth * np.exp(-distance / (2 * 9.0**2))
    here = cv2.remap(still, across, (down + lift).astype(np.float32), cv2.INTER_CUBIC)
    matrix = np.array([[1, 0, x], [0, 1, y]], float)
    return cv2.warpAffine(here, matrix, still.shape[::-1], borderMode=cv2.BORDER_REPLICATE)


def write(folder, images):
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"img{number:05d}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        cv2.imwrite(str(path), image)
    return paths


@pytest.fixture(scope="module")
def smiling(still, tmp_path_factory):
    """21 frames: the head drifts, a corner of the mouth goes up and down."""
    mouth = 3 * np.hanning(21)
    images = [moved(still, 0.3 * t, 0.1 * t, m) for t, m in enumerate(mouth)]
    return write(tmp_path_factory.mktemp("smiling"), images)


def test_windows_share_their_work_and_give_what_each_alone_gives(smiling):
    features, starts, ok = recipe.windows(smiling, K)
    assert features.shape == (5, K, 36) and features.dtype == np.float32
    assert starts.tolist() == [0, 4, 8, 12, 13]
    assert ok.all()
    assert not features[:, 0].any()
    assert np.abs(features[0, 6] - features[1, 2]).max() > 0.2  # the same frame, since another reference
    for window, start in zip(features, starts, strict=True):
        np.testing.assert_array_equal(window, recipe.windows(smiling[start : start + K], K)[0][0])


def test_a_raised_corner_is_seen_there_and_of_the_heads_shift_little_is_left(still, tmp_path):
    # A head 10 crop pixels off leaves more than 1: the flow of so small a box at the nose falls short.
    for x, y, left in ((0, 0, 0.3), (5, -3, 1.6)):
        paths = write(tmp_path, [still, moved(still, x, y, mouth=2.0)])
        motion = recipe.windows(paths, 2)[0][0, 1].reshape(18, 2)
        corner = faces.find_face(still).landmarks[[39, 42]]
        unit = recipe.SIDE / (9 * np.linalg.norm(corner[1] - corner[0]) / 2)  # crop pixels an image pixel
        assert motion[9, 1] == pytest.approx(-2.0 * unit, abs=0.6 + left)
        elsewhere = np.delete(motion, [8, 9, 10, 12, 13, 14], axis=0)
        assert np.abs(elsewhere).max() < left


def test_a_crop_that_leaves_the_picture_leaves_zeros(still, tmp_path):
    landmarks = faces.find_face(still).landmarks
    cut = still[int(landmarks[27, 1]) - 60 :]  # less than 3.5 g above the eyes
    assert faces.find_face(cut) is not None
    features, _, ok = recipe.windows(write(tmp_path, [cut] * 3), 3)
    assert not features.any() and not ok.any()


def test_a_window_without_a_face_or_with_a_broken_frame_is_at_rest_and_says_so(still, tmp_path):
    blank = np.full(still.shape, 90, np.uint8)
    paths = write(tmp_path, [still] * 8 + [blank] * 8 + [still] * 8)
    paths[2].write_bytes(b"x")
    cv2.imwrite(str(paths[23]), still[:-2])
    features, starts, ok = recipe.windows(paths, 4)
    measured = dict(zip(starts.tolist(), ok.tolist(), strict=True))
    assert [measured[start] for start in (0, 2, 4, 8, 16, 20)] == [False, False, True, False, True, False]
    assert not features[~ok].any()
    with pytest.raises(DataError, match="at least 2"):
        recipe.windows(paths, 1)


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(2, 12), st.floats(0.05, 1))
def test_the_fastest_pixels_are_those_that_sorting_finds(seed, height, width, share):
    field = np.random.default_rng(seed).normal(size=(height, width, 2)).astype(np.float32)
    vectors = sorted(field.reshape(-1, 2).tolist(), key=lambda v: v[0] ** 2 + v[1] ** 2, reverse=True)
    count = max(1, round(share * height * width))
    np.testing.assert_allclose(recipe._fastest(field, share), np.mean(vectors[:count], axis=0), atol=1e-5)


@given(st.integers(1, 200), st.integers(2, 60))
def test_windows_overlap_by_half_and_cover_every_frame(n_frames, k):
    starts = recipe._starts(n_frames, k)
    assert starts[0] == 0 and (starts >= 0).all()
    assert set(np.diff(starts[:-1]).tolist()) <= {k // 2}
    covered = np.zeros(n_frames, int)
    for start in starts:
        assert start + k <= n_frames or n_frames < k
        covered[start : start + k] += 1
    assert covered.all()
    assert starts[-1] == max(0, n_frames - k)

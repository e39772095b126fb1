"""Laws of the motion of a window; the oracle is the displacement with which a texture was warped."""

import cv2
import numpy as np
import pytest

from melib.vision import flow

SIDE = 112


def face_shaped():
    """68 points of a face that fills the crop: jaw, brows, nose, eyes, mouth."""
    jaw = [(56 + 46 * np.sin(a), 50 + 54 * np.cos(a)) for a in np.linspace(-1.6, 1.6, 17)]
    brows = [(x, 18.0) for x in np.linspace(20, 50, 5)] + [(x, 18.0) for x in np.linspace(62, 92, 5)]
    nose = [(56.0, y) for y in (28, 38, 47, 56)] + [(x, 60.0) for x in (48, 52, 56, 60, 64)]
    ring = [(np.cos(a), np.sin(a)) for a in np.linspace(np.pi, 3 * np.pi, 7)[:6]]
    eyes = [(35 + 7 * x, 28 + 3 * y) for x, y in ring] + [(77 + 7 * x, 28 + 3 * y) for x, y in ring]
    mouth = [(56 + 16 * np.cos(a), 80 + 6 * np.sin(a)) for a in np.linspace(np.pi, 3 * np.pi, 21)[:20]]
    return np.array([*jaw, *brows, *nose, *eyes, *mouth], np.float32)


LANDMARKS = face_shaped()


@pytest.fixture(scope="module")
def texture():
    rng = np.random.default_rng(3)
    image = cv2.GaussianBlur(rng.normal(size=(SIDE + 40, SIDE + 40)), (0, 0), 2.0)
    image = (image - image.mean()) / image.std() * 35 + 128
    return image.astype(np.float32)


def warp(texture, dx, dy):
    """Frame whose point (x, y) shows the texture's point (x - dx, y - dy): material moves by (dx, dy)."""
    y, x = np.mgrid[20 : 20 + SIDE, 20 : 20 + SIDE].astype(np.float32)
    frame = cv2.remap(texture, (x - dx).astype(np.float32), (y - dy).astype(np.float32), cv2.INTER_CUBIC)
    return np.clip(np.rint(frame), 0, 255).astype(np.uint8)


def patch(amplitude, at=(40, 70), spread=6.0):
    """Displacement upward by a Gaussian patch, pixels."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    return -amplitude * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * spread**2))


def rigid(shift, degrees):
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32) - SIDE / 2
    angle = np.deg2rad(degrees)
    return shift[0] - angle * y, shift[1] + angle * x


def movement(texture, amplitudes, heads=None):
    heads = heads or [((0, 0), 0)] * len(amplitudes)
    frames = []
    for amplitude, head in zip(amplitudes, heads, strict=True):
        dx, dy = rigid(*head)
        frames.append(warp(texture, dx, dy + patch(amplitude)))
    return np.stack(frames)


@pytest.mark.parametrize("amplitude", [0.3, 0.7, 1.5])
def test_a_movement_below_and_above_one_pixel_is_measured_within_15_percent(texture, amplitude):
    places = [(x, y) for x in (30, 56, 82) for y in (30, 56, 82)]
    share = []
    for place in places:
        commanded = patch(amplitude, place, spread=8)
        measured = flow.dense_flow(warp(texture, 0, 0), warp(texture, 0, commanded))[..., 1]
        moves = commanded < -0.3 * amplitude
        share.append((measured[moves] * commanded[moves]).sum() / (commanded[moves] ** 2).sum())
    assert np.median(share) == pytest.approx(1, abs=0.15)


def test_motion_of_skin_is_read_through_motion_of_the_head(texture):
    amplitudes = [0] * 8 + [0.5, 1, 1.5, 1, 0.5] + [0] * 5
    heads = [((0.1 * t, -0.05 * t), 0.03 * t) for t in range(len(amplitudes))]
    inputs = flow.window_inputs(
        movement(texture, amplitudes, heads), np.ones(len(amplitudes), bool), LANDMARKS, size=56
    )
    assert np.corrcoef(inputs["flow"][:, 1, 35, 20].astype(float), amplitudes)[0, 1] < -0.95


def test_the_reference_is_neutral_although_the_apex_is_held(texture):
    amplitudes = [0] * 5 + [0.5, 1] + [1.5] * 5 + [1, 0.5] + [0.1] * 8
    inputs = flow.window_inputs(
        movement(texture, amplitudes), np.ones(len(amplitudes), bool), LANDMARKS, size=56
    )
    assert amplitudes[int(inputs["reference"])] <= 0.1


def test_nothing_outside_the_face_is_seen(texture):
    rng = np.random.default_rng(0)
    region = flow.face_region(LANDMARKS, SIDE)
    frames = movement(texture, [0, 0.5, 1, 0.5, 0, 0])
    other = np.where(region, frames, rng.integers(0, 255, frames.shape)).astype(np.uint8)
    assert not flow.window_inputs(other, np.ones(6, bool), LANDMARKS, size=56)["raw"][:, 0, 0].any()
    assert not flow.window_inputs(other, np.ones(6, bool), LANDMARKS, size=56)["flow"][:, :, 0, 0].any()


def test_a_head_that_turns_moves_its_nose_more_and_both_are_taken_out():
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    nose = np.exp(-((x - 56) ** 2 + (y - 56) ** 2) / (2 * 12.6**2))
    whole = np.stack([0.8 + 0.6 * nose, 0 * nose], axis=-1).astype(np.float32)
    left = whole - flow.head_motion(whole, LANDMARKS)
    assert np.abs(left[flow.face_region(LANDMARKS, SIDE)]).max() < 0.02


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_the_quick_length_of_vectors_is_numpys_norm_to_the_bit(kind):
    vectors = np.random.default_rng(0).normal(size=(3, 500, 2)).astype(kind)
    np.testing.assert_array_equal(flow._length(vectors), np.linalg.norm(vectors, axis=-1))


def test_a_sample_is_the_mean_of_the_frames_it_stands_for():
    frames = np.arange(20, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    assert flow.sample(frames, np.array([5.2, 10]), 5)[:, 0, 0].tolist() == [5, 10]
    assert flow.sample(frames, np.array([0.0, 19]), 3)[:, 0, 0].tolist() == [0, 18]  # .5 and 18.5, to even
    assert flow.sample(frames, np.array([7.4]), 1)[0, 0, 0] == 7


def test_a_frame_without_a_face_holds_nothing_and_is_never_the_reference(texture):
    frames = movement(texture, [0, 0, 0, 1, 1, 0])
    mask = np.array([True, False, True, True, True, True])
    frames[1] = 255
    inputs = flow.window_inputs(frames, mask, LANDMARKS, size=56)
    assert not inputs["raw"][1].any() and not inputs["flow"][1].any()
    assert int(inputs["reference"]) != 1

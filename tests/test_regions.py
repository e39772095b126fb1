"""Laws of the regional motion of a long video; the oracle is the movement that the simulator commanded."""

import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

from melib.data.manifest import read_manifest
from melib.simulate import events, nuisance, portraits, render, units
from melib.vision import faces, flow

FPS = 30
# Landmarks of a mirrored face, dlib's order.
MIRRORED = np.r_[
    16:-1:-1, 26:16:-1, 27:31, 35:30:-1, 45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40, 54:47:-1, 59:54:-1
]
MIRRORED = np.r_[MIRRORED, 64, 63, 62, 61, 60, 67, 66, 65]


def scene(person, unit, strength, seconds=6.0, start=3.0):
    """A video with one unit's movement, and the head's usual nuisance without a blink."""
    rng = np.random.default_rng([person, unit])
    canvas = units.make_canvas(portraits.portraits(person)[0])
    event = events.draw_event(rng, "samm_lv_micro", start, strength)
    event = replace(event, movements=(replace(event.movements[0], unit=unit, side="both"),))
    paths = nuisance.draw_paths(rng, replace(nuisance.Nuisance(), blink_share=0), round(seconds * FPS), FPS)
    return render.Scene(canvas, "patches", event, paths, FPS)


def shown(film, folder):
    """Paths of a scene's frames."""
    rng = np.random.default_rng(0)
    grain = film.grain(rng)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"img{t + 1:05d}.jpg" for t in range(film.n_frames)]
    for t, path in enumerate(paths):
        cv2.imwrite(str(path), film.written(t, grain, rng), [cv2.IMWRITE_JPEG_QUALITY, 92])
    return paths


def commanded(film, landmarks):
    """(T, 36) pixels of the crop: the skin's displacement at the regions' points."""
    points, share = flow._region_points(landmarks.astype(float))
    back = cv2.invertAffineTransform(film.canvas.portrait.to_crop)
    x, y = (points @ back[:, :2].T + back[:, 2]).astype(np.float32).T[:, :, None].copy()
    out = np.zeros((film.n_frames, 18, 2))
    for amplitude, field in zip(film.amplitudes.T, film.movements, strict=True):
        there = cv2.remap(field.displacement(film.canvas), x, y, cv2.INTER_LINEAR)[:, 0]  # (P, 2)
        out += amplitude[:, None, None] * (share @ there)
    return out.reshape(-1, 36)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Corners of the lips up, brows up, lips' corners down: name -> scene, stretches."""
    out = {}
    for person, unit, strength in ((7, 12, 1.6), (12, 1, 0.9), (24, 15, 0.7)):
        film = scene(person, unit, strength)
        folder = tmp_path_factory.mktemp("films") / f"unit{unit}"
        out[unit] = film, list(faces.follow(shown(film, folder), FPS)), folder
    return out


def cut(stretches, lengths):
    """The same video in other stretches."""
    names = ("numbers", "crops", "mask", "landmarks")
    whole = [np.concatenate([getattr(stretch, name) for stretch in stretches]) for name in names]
    borders = np.cumsum(lengths)
    parts = zip(*(np.split(array, borders) for array in whole), strict=True)
    return [faces.Followed(FPS, *part, np.zeros(3, np.int64)) for part in parts if len(part[0])]


def test_commanded_movements_are_recovered_through_the_heads_motion(films):
    gains, likeness, rest = [], [], []
    for film, stretches, _ in films.values():
        motion = flow.regional(stretches)["motion"]
        truth = commanded(film, stretches[0].landmarks[0])
        flow._less_running_median(truth, np.arange(len(truth)), FPS)
        quiet = film.truth.peak < 0.02
        rest.append(motion[quiet].std(axis=0))
        for channel in np.flatnonzero(np.abs(truth).max(axis=0) > 0.3):
            there = truth[:, channel]
            gains.append(motion[:, channel] @ there / (there @ there))
            likeness.append(np.corrcoef(motion[:, channel], there)[0, 1])
    assert len(gains) >= 5
    assert 0.6 < np.median(gains) < 1.1
    assert np.median(likeness) > 0.9
    assert np.sqrt(np.mean(np.square(rest))) < 0.04


def test_a_still_video_has_no_motion_and_a_brighter_light_hardly_any(films):
    _, stretches, _ = films[12]
    crop, landmarks = stretches[0].crops[0], stretches[0].landmarks[0]

    def still(crops):
        n = len(crops)
        return faces.Followed(
            FPS, np.arange(n), crops, np.ones(n, bool), np.stack([landmarks] * n), np.zeros(3, int)
        )

    assert np.abs(flow.regional([still(np.stack([crop] * 70))])["motion"]).max() < 1e-3
    light = np.linspace(0.97, 1.03, 70)[:, None, None]
    brighter = np.rint(crop * light).clip(0, 255).astype(np.uint8)
    assert np.abs(flow.regional([still(brighter)])["motion"]).max() < 0.1


def test_the_mirrored_video_has_the_mirrored_motion(films):
    _, stretches, _ = films[12]

    def mirror(stretch):
        landmarks = stretch.landmarks[:, MIRRORED] * [-1, 1] + [111, 0]
        return replace(
            stretch, crops=stretch.crops[:, :, ::-1].copy(), landmarks=landmarks.astype(np.float32)
        )

    order, sign = flow.MIRROR
    motion = flow.regional(stretches)["motion"]
    there = flow.regional([mirror(stretch) for stretch in stretches])["motion"]
    strong = motion.std(axis=0) > 0.1
    likeness = [np.corrcoef(a, b)[0, 1] for a, b in zip((motion[:, order] * sign).T, there.T, strict=True)]
    assert min(np.array(likeness)[strong[order]]) > 0.95


def test_frames_without_a_face_hold_nothing_and_a_long_lapse_starts_anew(films):
    _, stretches, _ = films[15]
    whole = cut(stretches, [])[0]
    mask = whole.mask.copy()
    mask[40] = False  # one broken image
    mask[60:100] = False  # the face is gone
    lapse = replace(whole, mask=mask)
    features = flow.regional([lapse])
    assert not features["motion"][~mask].any()
    np.testing.assert_array_equal(features["mask"], mask)
    assert np.abs(features["motion"][41:60]).max() < 0.5
    np.testing.assert_array_equal(
        features["motion"][100:], flow.regional(cut(stretches, [100])[1:])["motion"]
    )


def test_a_videos_motion_comes_from_the_cache_the_second_time(films, tmp_path, monkeypatch):
    manifest = read_manifest("synthme")
    folder = tmp_path / "frames" / "s01" / "v"
    shutil.copytree(films[12][2], folder)
    sorted(folder.iterdir())[20].write_bytes(b"x")
    with pytest.warns(UserWarning, match="1 of 90 frames of s01/v are masked"):
        first = flow.load_regional(manifest, "s01", "v", folder, tmp_path / "cache", step=2)
    assert first["numbers"].tolist() == list(range(0, 180, 2)) and first["motion"].shape == (90, 36)
    monkeypatch.setattr(flow, "regional", lambda stream: pytest.fail("computed twice"))
    with pytest.warns(UserWarning, match="1 unreadable"):
        again = flow.load_regional(manifest, "s01", "v", folder, tmp_path / "cache", step=2)
    np.testing.assert_array_equal(first["motion"], again["motion"])
    assert sum(path.name != "hashes" for path in (tmp_path / "cache").iterdir()) == 1


def test_the_stream_may_be_cut_anywhere(films):
    _, stretches, _ = films[12]
    whole = flow.regional(stretches)
    other = flow.regional(cut(stretches, [1, 6, 80]))
    np.testing.assert_array_equal(whole["motion"], other["motion"])
    assert whole["motion"].dtype == np.float32 and whole["motion"].shape == (180, 36)
    assert whole["mask"].all()

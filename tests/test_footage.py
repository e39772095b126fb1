"""Which frames of a user's film are read: by their times, in the order of their numbers, shot by shot."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import film

from melib import DataError
from melib.app import footage
from melib.data import video_files
from melib.study import spotting


@given(fps=st.floats(20.0, 1000.0), n=st.integers(2, 400))
def test_an_even_rate_keeps_every_so_manieth_frame(fps, n):
    numbers, rate = footage.sampled(np.arange(n) / fps)
    assert len(set(np.diff(numbers))) <= 1
    assert 20 <= rate <= 45
    assert rate == pytest.approx(fps / max(1, round(fps / spotting.RATE)))


@given(st.lists(st.floats(0.001, 0.5), min_size=2, max_size=60))
def test_an_uneven_rate_takes_the_frame_that_is_shown_nearest(gaps):
    seconds = np.cumsum([0.0, *gaps])
    numbers, rate = footage.sampled(seconds)
    assert (np.diff(numbers) >= 0).all()
    assert numbers[0] >= 0 and numbers[-1] < len(seconds)
    even = np.abs(np.diff(seconds) - np.median(gaps)).max() <= 0.5 * np.median(gaps)
    if rate == spotting.RATE and not even:
        wanted = seconds[0] + np.arange(len(numbers)) / rate
        off = np.abs(seconds[numbers] - wanted)
        assert (off <= np.abs(seconds[:, None] - wanted).min(axis=0) + 1e-9).all()


def test_seconds_are_those_of_the_file_where_its_rate_varies(tmp_path, frames):
    gaps = [33 if t < 30 else 100 for t in range(60)]
    true = np.cumsum([0, *gaps[:-1]])
    shown = footage.footage(film(tmp_path / "a.mkv", frames[:60], pts=true.tolist()))
    np.testing.assert_allclose(shown.seconds, true[shown.numbers] / 1000, atol=1e-3)
    assert np.abs(shown.seconds - np.arange(len(shown.seconds)) / spotting.RATE).max() <= 0.051
    assert any("rate varies" in note for note in shown.notes)


@pytest.mark.parametrize(
    ("names", "note"),
    [
        ([f"RGB-11-{58 + n // 60}-{n % 60}-{n * 370 % 1000}.jpg" for n in range(55, 65)], "several numbers"),
        ([f"frame{n}_30fps.jpg" for n in range(8, 13)], ""),
        ([f"frame{n}.jpg" for n in (1, 2, 3, 7, 8)], "3 numbers are missing"),
        ([f"{name}.jpg" for name in "abc"], "no name of an image holds a number"),
        (["1.jpg", "2.jpg", "cover.jpg"], "passed over: 1"),
    ],
)
def test_images_are_in_the_order_of_all_their_numbers_and_what_is_not_certain_is_said(tmp_path, names, note):
    for name in sorted(names, key=hash):
        (tmp_path / name).touch()
    shown = footage.footage(tmp_path, fps=30)
    assert [path.name for path in shown.frames] == [name for name in names if name != "cover.jpg"]
    notes = [text for text in shown.notes if "too few" not in text]
    assert any(note in text for text in notes) if note else not notes


@pytest.mark.parametrize(
    "second", ["img0005 (1).jpg", "img0005 - Copy.jpg", "right0005.jpg", "img5.jpg", "img0005.png"]
)
def test_images_whose_order_is_not_certain_are_refused(tmp_path, second):
    for name in (*(f"img{n:04d}.jpg" for n in range(9)), second):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"the order of .* isn't certain"):
        footage.footage(tmp_path, fps=30)


def test_a_rate_that_is_25_but_for_rounding_is_not_too_slow(tmp_path):
    for number in range(60):
        (tmp_path / f"{number}.png").touch()
    assert not any("too few" in note for note in footage.footage(tmp_path, fps=24.99999999999998).notes)
    assert any("too few" in note for note in footage.footage(tmp_path, fps=24).notes)


def test_images_of_a_folder_are_cut_into_shots_too(frames, stranger, tmp_path):
    for number, image in enumerate([*frames[:5], *[stranger] * 5]):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    assert footage.footage(tmp_path, fps=30).breaks == (5,)


@pytest.mark.parametrize("path", [lambda t: (2 * t, 0), lambda t: (60 * np.sin(t / 8), 0), lambda t: (t, t)])
def test_a_picture_that_moves_is_no_dissolve(frames, path):
    def moved(t):
        matrix = np.float32([[1, 0, path(t)[0]], [0, 1, path(t)[1]]])
        grey = cv2.cvtColor(frames[0], cv2.COLOR_BGR2GRAY)
        return cv2.warpAffine(grey, matrix, grey.shape[::-1], borderMode=cv2.BORDER_REFLECT)

    assert footage.dissolves(np.stack([video_files.coarse(moved(t)) for t in range(90)]), 30) == []

"""A video file is the frames that decoding it from its start yields, asked for in any order."""

import os
import wave

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import film as write_film

from melib import DataError
from melib.app import footage
from melib.data import cache, video_files
from melib.data.manifest import frame_files, read_manifest, spans, videos
from melib.data.video_files import Frame
from melib.simulate import portraits
from melib.vision import faces, flow, recipe

N = 40
CODECS = [("a.avi", "mjpeg"), ("b.mp4", "mpeg4"), ("c.mkv", "libx264"), ("d.mov", "mpeg4")]


def decoded(path):
    """Grey frames from first to last, by FFmpeg's own conversion: the oracle."""
    with av.open(str(path)) as film:
        return [frame.to_ndarray(format="gray") for frame in film.decode(video=0)]


@pytest.fixture(scope="module")
def drifting():
    """Colour noise that drifts, so that no frame is like another."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    large = cv2.resize(noise, (160, 120), interpolation=cv2.INTER_CUBIC)
    return [np.roll(large, 3 * t, axis=1) for t in range(N)]


@pytest.fixture(scope="module")
def films(tmp_path_factory, drifting):
    folder = tmp_path_factory.mktemp("films")
    return [write_film(folder / name, drifting, 200, codec) for name, codec in CODECS]


@pytest.fixture
def forgetful(monkeypatch):
    """Keep no more than five frames."""
    monkeypatch.setattr(video_files, "_FEWEST", 5)
    monkeypatch.setattr(video_files, "_MEMORY", 0)
    video_files._reader.cache_clear()
    yield
    video_files._reader.cache_clear()


@pytest.fixture(scope="module")
def synthme():
    return read_manifest("synthme")


def test_every_frame_is_what_decoding_from_the_start_yields_at_the_rate_it_was_written_with(films):
    for film in films:
        expected = decoded(film)
        assert video_files.count(film) == len(expected) == N
        for number, image in enumerate(expected):
            np.testing.assert_array_equal(video_files.read(Frame(film, number)), image)
        assert video_files.recording(film).seconds == pytest.approx(np.arange(N) / 200, abs=1e-3)


def test_frames_can_be_asked_for_in_any_order_however_few_are_kept(films, forgetful):
    film = films[1]
    expected = decoded(film)

    @given(st.lists(st.integers(0, N - 1), max_size=12))
    def law(order):
        for number in order:
            assert video_files.read(Frame(film, N)) is None
            np.testing.assert_array_equal(video_files.read(Frame(film, number)), expected[number])
            assert len(video_files._reader(*video_files._identity(film), os.getpid()).recent) <= 5

    law()


@given(step=st.integers(1, 6), ahead=st.integers(0, 3), chunk=st.integers(1, 3))
def test_what_is_expected_is_decoded_once_at_any_rate_and_nothing_else_is_kept(films, step, ahead, chunk):
    film, numbers = films[1], np.arange(0, N, step)
    expected = decoded(film)
    starts, open_file = [], video_files._open
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video_files, "_FEWEST", ahead + chunk)
        patch.setattr(video_files, "_open", lambda file: starts.append(file) or open_file(file))
        video_files._reader.cache_clear()
        video_files.expect(film, numbers)
        for start in range(0, len(numbers), chunk):
            furthest = min(start + chunk + ahead, len(numbers)) - 1
            for number in (numbers[furthest], *numbers[start : start + chunk]):
                np.testing.assert_array_equal(video_files.read(Frame(film, int(number))), expected[number])
            recent = video_files._reader(*video_files._identity(film), os.getpid()).recent
            assert set(recent) <= set(numbers.tolist()) and len(recent) <= ahead + chunk
        video_files._reader.cache_clear()
    assert len(starts) == 1


def test_pictures_are_the_decoded_frames_in_colour_again_and_again_if_asked(films, drifting):
    with av.open(str(films[2])) as film:
        expected = [frame.to_ndarray(format="bgr24") for frame in film.decode(video=0)]
    numbers = [0, 0, 1, 5, 5, N - 1, N, N + 3]
    for number, picture in zip(numbers, video_files.pictures(films[2], numbers), strict=True):
        if number < N:
            np.testing.assert_array_equal(picture, expected[number])
        else:
            assert picture is None


def test_frames_are_counted_by_decoding_not_by_what_the_container_says(tmp_path, films):
    data = films[0].read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(data[: len(data) // 2])
    recorded = video_files.recording(cut)
    assert 0 < video_files.count(cut) == len(recorded.seconds) < recorded.promised == N
    assert any("cut or damaged" in note for note in footage.footage(cut).notes)
    cut.write_bytes(data)  # a file that has changed is counted again
    assert video_files.count(cut) == N


def sound(path):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16000))


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)),
        lambda path: path.write_text("no video"),
        sound,
    ],
    ids=["empty", "noise", "text", "sound"],
)
def test_a_file_without_pictures_ends_in_one_sentence(tmp_path, synthme, spoil, suffix, capfd):
    path = tmp_path / f"v{suffix}"
    spoil(path)
    for use in (video_files.count, lambda path: frame_files(path, synthme)):
        with pytest.raises(DataError, match=f"v{suffix} .*decoded; copy .* again, or remove it") as caught:
            use(path)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""  # nor does the decoder add anything
    with pytest.raises(DataError, match="can't be read"):
        video_files.count(tmp_path / "missing.avi")


def test_files_in_any_case_are_videos_beside_folders_and_a_folder_of_the_same_name_wins(
    tmp_path, synthme, drifting
):
    place = tmp_path / "frames" / "s1"
    write_film(place / "film.avi", drifting[:7]).rename(place / "film.AVI")
    write_film(place / "both.avi", drifting[:7])
    (place / "both").mkdir()
    (place / "both" / "img3.jpg").write_bytes(b"")
    (place / "notes.txt").write_text("no video")
    listed = videos(synthme, tmp_path)
    assert listed["folder"].tolist() == [place / "both", place / "film.AVI"]
    table = spans(synthme, listed)
    assert table[["n_first", "n_last", "n_frames"]].to_numpy().tolist() == [[2, 2, 1], [0, 6, 7]]
    numbers, frames = frame_files(place / "film.AVI", synthme)
    assert numbers.tolist() == list(range(7))
    assert frames == [Frame(place / "film.AVI", number) for number in range(7)]
    write_film(place / "film.mp4", drifting[:7])
    with pytest.raises(
        DataError, match=r"film\.AVI and .*film\.mp4 are both video film of subject s1; remove"
    ):
        videos(synthme, tmp_path)


def test_a_clip_from_a_file_is_the_clip_from_its_decoded_frames(tmp_path, synthme):
    person = portraits.portraits(10)[0].image
    shifted = [np.roll(person, round(3 * np.sin(t / 4)), axis=1) for t in range(20)]
    film = write_film(tmp_path / "film" / "frames" / "s01" / "v.avi", shifted, 200, "mjpeg")
    folder = tmp_path / "images" / "frames" / "s01" / "v"
    folder.mkdir(parents=True)
    for number, image in enumerate(decoded(film), start=1):
        cv2.imwrite(str(folder / f"img{number}.png"), image)
    clips, motions = [], []
    for place in (film, folder):
        table = pd.DataFrame({"subject": ["s01"], "video": ["v"], "folder": [place]})
        stored = place.parents[2]
        clips += faces.load_clips(synthme, table, stored, jobs=1, progress=False)
        motions.append(flow.load_regional(synthme, "s01", "v", place, stored)["motion"])
    assert clips[0].mask.all()
    for name in ("frames", "mask", "landmarks", "numbers"):
        np.testing.assert_array_equal(getattr(clips[0], name), getattr(clips[1], name))
    np.testing.assert_array_equal(*motions)
    windows = [recipe.windows(frame_files(place, synthme)[1], 8)[0] for place in (film, folder)]
    np.testing.assert_array_equal(*windows)


def test_the_hash_of_frames_knows_file_and_numbers_and_reads_the_file_once(films, tmp_path, monkeypatch):
    frames = [Frame(films[0], number) for number in range(N)]
    copy = tmp_path / films[0].name
    copy.write_bytes(films[0].read_bytes())
    assert cache.content_hash([Frame(copy, number) for number in range(N)]) == cache.content_hash(frames)
    others = [frames[::2], frames[:-1], frames[::-1], [films[0]], [Frame(films[1], n) for n in range(N)]]
    assert len({cache.content_hash(sequence) for sequence in [frames, *others]}) == 6
    copy.write_bytes(films[0].read_bytes() + b"x")
    assert cache.content_hash([Frame(copy, number) for number in range(N)]) != cache.content_hash(frames)
    read = []
    add = cache._add
    monkeypatch.setattr(cache, "_add", lambda digest, path: read.append(path) or add(digest, path))
    cache.content_hash(frames)
    assert read == [films[0]]


def ticks(shown):
    return np.round(np.asarray(shown) * 1000).astype(int).tolist()


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (np.r_[0:4, 4 : 4 * (N - 3) : 4], None),  # a rate that varies
        (np.r_[0:20, 0:20], np.r_[0:40]),  # joined: the second recording's clock begins anew
        (np.r_[0:25, 5, 26:40], np.maximum.accumulate(np.r_[0:25, 5, 26:40])),  # one wrong time
    ],
    ids=["varies", "joined", "one falls"],
)
def test_times_are_as_recorded_and_never_fall(tmp_path, drifting, monkeypatch, shown, expected):
    film = write_film(tmp_path / "a.mkv", drifting, 25, pts=ticks(np.arange(N) / 25))
    decode = video_files._decoded

    def retimed(source):  # no container takes times that fall
        for frame, second in zip(decode(source), shown / 25, strict=True):
            frame.pts = round(second / frame.time_base)
            yield frame

    monkeypatch.setattr(video_files, "_decoded", retimed)
    recorded = video_files.recording(film)
    np.testing.assert_allclose(recorded.seconds, (shown if expected is None else expected) / 25, atol=2e-3)
    assert recorded.seams == ([20] if shown[20] == 0 else [])


def test_joined_recordings_are_read_to_the_end_and_said_to_be_joined(tmp_path, drifting):
    parts = [write_film(tmp_path / f"{name}.ts", drifting, 25, "libx264").read_bytes() for name in "ab"]
    (tmp_path / "ab.ts").write_bytes(b"".join(parts))
    shown = footage.footage(tmp_path / "ab.ts")
    assert len(shown.seconds) == 2 * N
    np.testing.assert_allclose(shown.seconds, np.arange(2 * N) / 25, atol=2e-3)
    assert shown.breaks == (N,)
    assert any("2 recordings are joined" in note for note in shown.notes)


def test_frames_without_times_have_an_even_rate(tmp_path, drifting):
    film = write_film(tmp_path / "a.h264", drifting, 25, "libx264")
    np.testing.assert_allclose(np.diff(video_files.recording(film).seconds), 1 / 25, atol=1e-6)


@pytest.mark.parametrize(
    ("aspect", "shape"), [("64:45", (120, 228)), ("2:1", (120, 320)), ("1:2", (240, 160))]
)
def test_pixels_are_square_in_grey_and_in_colour(tmp_path, drifting, aspect, shape):
    film = write_film(tmp_path / "a.mp4", drifting[:3], codec="libx264", aspect=aspect)
    assert video_files.read(Frame(film, 0)).shape == shape
    (picture,) = video_files.pictures(film, [0])
    assert picture.shape == (*shape, 3)


@pytest.mark.parametrize("turn", [90, -90, 180])
def test_a_turned_film_is_turned_back(tmp_path, drifting, turn):
    film = write_film(tmp_path / "a.mp4", drifting[:3], codec="libx264", turn=turn)
    np.testing.assert_array_equal(video_files.read(Frame(film, 1)), np.rot90(decoded(film)[1], turn // 90))


def test_av1_and_a_name_that_is_no_utf8_are_read(tmp_path, drifting, capfd):
    film = write_film(tmp_path / "a.mkv", drifting, codec="libsvtav1")
    film = film.rename(tmp_path / os.fsdecode(b"caf\xe9.mkv"))
    assert video_files.count(film) == N
    assert np.abs(video_files.read(Frame(film, 9)).astype(int) - decoded(film)[9]).max() <= 1


@pytest.mark.parametrize("codec", ["libx264", "libvpx", "mpeg4"])
def test_what_is_written_is_what_is_read_but_for_compression(tmp_path, drifting, codec):
    smooth = [cv2.GaussianBlur(image, (0, 0), 5) for image in drifting]
    film = tmp_path / ("a.webm" if codec == "libvpx" else "a.mp4")
    video_files.write(film, smooth, 29.97, codec)
    recorded = video_files.recording(film)
    np.testing.assert_allclose(recorded.seconds, np.arange(N) / 29.97, atol=2e-3)
    off = [
        np.abs(a.astype(int) - b).mean()
        for a, b in zip(video_files.pictures(film, range(N)), smooth, strict=True)
    ]
    assert max(off) < 6

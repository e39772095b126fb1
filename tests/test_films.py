"""Laws of simulated data sets as video files: the same videos, only compressed."""

import cv2
import numpy as np
import pytest

from melib import simulate
from melib.data import video_files
from melib.data.manifest import frame_files
from melib.errors import Misuse
from melib.simulate.films import write_films, write_quiet, write_stills
from melib.study.data import open_study


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    out = tmp_path_factory.mktemp("films") / "pictures"
    return simulate.write_long(
        out, people=2, videos=1, seconds=(4, 5), fps=20, seed=4, jobs=1, progress=False
    )


@pytest.fixture(scope="module")
def films(pictures):
    return write_films(pictures, pictures.parent / "films", jobs=1, progress=False)


def test_films_hold_the_same_videos_events_and_truth(pictures, films):
    as_pictures, as_films = (open_study(place / "manifest.yml", place) for place in (pictures, films))
    assert all(place.suffix == ".mp4" for place in as_films.videos["folder"])
    columns = ["subject", "video", "n_first", "n_last", "n_frames"]
    assert as_films.videos[columns].equals(as_pictures.videos[columns])
    assert as_films.events.equals(as_pictures.events)
    assert as_films.truth.equals(as_pictures.truth)


def test_a_frame_of_a_film_is_the_picture_but_for_what_compression_took(pictures, films):

    as_pictures, as_films = (open_study(place / "manifest.yml", place) for place in (pictures, films))
    described = as_films.manifest
    for first, second in zip(as_pictures.videos["folder"], as_films.videos["folder"], strict=True):
        paths, frames = frame_files(first, described)[1], frame_files(second, described)[1]
        for t in range(0, len(paths), 7):
            picture = cv2.imread(str(paths[t]), cv2.IMREAD_GRAYSCALE).astype(float)
            off = np.abs(video_files.read(frames[t]) - picture)
            assert 0 < off.mean() < 3


def test_a_still_film_holds_one_photograph_and_its_noise(tmp_path):
    place = write_stills(tmp_path, people=1, noises=(0, 4), seconds=1, fps=20, jobs=1, progress=False)
    quiet, noisy = (
        np.stack([video_files.read(video_files.Frame(file, t)).astype(float) for t in range(20)])
        for file in sorted(place.rglob("*.mp4"))
    )
    assert np.abs(quiet - quiet[0]).mean() < 0.5
    assert 1 < noisy.std(axis=0).mean() < 5


def test_films_without_a_micro_expression_are_annotated_and_differ_as_recordings_do(tmp_path):
    about = {"kinds": ("still", "smiling", "lively"), "people": 2, "seconds": 4, "fps": 25, "world": "second"}
    place = write_quiet(tmp_path / "quiet", **about, jobs=1, progress=False)
    study = open_study(place / "manifest.yml", place)
    assert set(study.events["kind"]) == {"macro", "blink"}
    assert not study.truth["peak_px"].any()
    assert len(study.videos) == 6 and (study.videos["n_frames"] == 100).all()
    first = [video_files.read(video_files.Frame(path, 0)) for path in sorted(place.rglob("*.mp4"))]
    assert len({image.shape for image in first}) == 6
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*.mp4")}
    write_quiet(tmp_path / "quiet", **about, jobs=1, progress=False)
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*.mp4")} == before
    with pytest.raises(Misuse, match="choose among"):
        write_quiet(tmp_path / "other", kinds=("yawning",))

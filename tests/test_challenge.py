"""The challenge's csv: exact round trips, whatever was sampled, and the frame numbers of a real release."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melib import DataError, annotations
from melib.data import manifest

SYNTHME = manifest.read_manifest("synthme")


def starting_at(first_frame):
    return dataclasses.replace(SYNTHME, first_frame=first_frame)


def table(*rows):
    return pd.DataFrame(rows, columns=["subject", "video", "onset", "offset", "emotion"])


@st.composite
def exports(draw):
    """Frame numbers of some videos, with a step and with frames missing, and intervals in positions."""
    numbers, rows = {}, []
    for place in draw(
        st.lists(st.sampled_from([("006", "006_1_2"), ("1", "a"), ("s,1", 'x"y')]), unique=True)
    ):
        frames = np.arange(0, draw(st.integers(1, 400)), draw(st.integers(1, 9)))
        keep = np.random.default_rng(draw(st.integers(0, 99))).random(len(frames)) < 0.9
        numbers[place] = frames[keep] if keep.any() else frames
        for _ in range(draw(st.integers(0, 3))):
            first, last = sorted(draw(st.tuples(*[st.integers(0, len(numbers[place]) - 1)] * 2)))
            rows.append((*place, first, last, draw(st.sampled_from(["negative", "others", "NA"]))))
    return table(*rows).astype({"onset": "int64", "offset": "int64"}), numbers, draw(st.integers(0, 1000))


@given(exports())
def test_what_is_exported_is_read_back(tmp_path_factory, export):
    intervals, numbers, first_frame = export
    path = tmp_path_factory.mktemp("challenge") / "out.csv"
    annotations.export_challenge(intervals, numbers, starting_at(first_frame), path)
    back = annotations.read_challenge(path, numbers, starting_at(first_frame))
    pd.testing.assert_frame_equal(back, intervals, check_dtype=False, check_index_type=False)
    assert back["onset"].dtype == back["offset"].dtype == np.int64
    written = pd.read_csv(path, keep_default_na=False, dtype={"subject": str, "video": str})
    assert list(written) == ["subject", "video", "onset", "offset", "emotion"]
    for row in written.itertuples():
        assert {row.onset - first_frame, row.offset - first_frame} <= set(
            numbers[row.subject, row.video].tolist()
        )


def test_the_first_frame_and_the_sampling_are_undone(tmp_path):
    path = tmp_path / "samm.csv"
    every_7th = {("006", "006_1"): np.arange(0, 700, 7)}
    intervals = table(("006", "006_1", 0, 3, "negative"))
    annotations.export_challenge(intervals, every_7th, starting_at(1), path)
    assert path.read_text() == "subject,video,onset,offset,emotion\n006,006_1,1,22,negative\n"


def test_frames_that_were_not_sampled_go_to_the_nearest(tmp_path):
    path = tmp_path / "others.csv"
    path.write_text(
        "subject,video,onset,offset,emotion\n1,a,-3,11,others\n1,a,12,999,others\n1,a,15,15,others\n"
    )
    numbers = {("1", "a"): np.array([0, 10, 20])}
    back = annotations.read_challenge(path, numbers, starting_at(0))
    assert back[["onset", "offset"]].to_numpy().tolist() == [[0, 1], [1, 2], [1, 1]]
    path.write_text(
        path.read_text().replace("15,15", "15.0,1.5e1")
    )  # other tools write whole frames like this
    pd.testing.assert_frame_equal(annotations.read_challenge(path, numbers, starting_at(0)), back)


def test_nothing_found_is_a_header(tmp_path):
    path = tmp_path / "none.csv"
    for nothing in (table(), pd.DataFrame()):
        annotations.export_challenge(nothing, {}, starting_at(1), path)
        assert path.read_text() == "subject,video,onset,offset,emotion\n"
        assert annotations.read_challenge(path, {}, starting_at(1)).empty


NUMBERS = {("1", "a"): np.arange(10)}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (table(("1", "a", 0, 10, "others")), "1/a: interval 0 to 10 doesn't lie within the 10 positions"),
        (table(("1", "a", -1, 3, "others")), "interval -1 to 3"),
        (table(("1", "b", 0, 3, "others")), "no frame numbers are known for 1/b"),
        (table(("1", "a", 0, 3, "others")).drop(columns="emotion"), "no column emotion"),
    ],
)
def test_what_cannot_be_exported_is_said_and_nothing_is_written(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        annotations.export_challenge(rows, NUMBERS, SYNTHME, tmp_path / "out.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("subject,video,onset,offset\n1,a,1,2\n", "no column emotion"),
        (
            "subject,video,onset,offset,emotion\n1,a,1,2,others\n1,a,x,2,others\n",
            "line 3: x to 2 are no whole",
        ),
        ("subject,video,onset,offset,emotion\n1,a,5,2,others\n", "line 2: offset 2 lies before onset 5"),
        ("subject,video,onset,offset,emotion\n1,b,1,2,others\n", "no frame numbers are known for 1/b"),
        ("", "is no csv"),
    ],
)
def test_a_csv_that_cannot_be_read_is_said(tmp_path, text, message):
    path = tmp_path / "in.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        annotations.read_challenge(path, NUMBERS, SYNTHME)
    with pytest.raises(DataError, match="can't be read"):
        annotations.read_challenge(tmp_path / "missing.csv", NUMBERS, SYNTHME)


def test_frame_numbers_must_rise(tmp_path):
    with pytest.raises(DataError, match="must be one or more and rise"):
        annotations.export_challenge(
            table(("1", "a", 0, 1, "others")), {("1", "a"): [3, 3]}, SYNTHME, tmp_path / "out.csv"
        )

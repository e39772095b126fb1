"""The challenge's csv: frame numbers of the release, whatever was sampled."""

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
def test_positions_become_the_releases_frame_numbers_and_the_rest_stays(tmp_path_factory, export):
    intervals, numbers, first_frame = export
    path = tmp_path_factory.mktemp("challenge") / "out.csv"
    annotations.export_challenge(intervals, numbers, starting_at(first_frame), path)
    written = pd.read_csv(path, keep_default_na=False, dtype={"subject": str, "video": str})
    assert list(written) == ["subject", "video", "onset", "offset", "emotion"]
    for row, before in zip(written.itertuples(), intervals.itertuples(), strict=True):
        frames = numbers[before.subject, before.video]
        assert (row.subject, row.video, row.emotion) == (before.subject, before.video, before.emotion)
        assert row.onset == frames[before.onset] + first_frame
        assert row.offset == frames[before.offset] + first_frame


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

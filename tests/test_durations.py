"""Laws of the statistics of annotated events: what overlaps, what is a gap, what stands beside them."""

import types

import numpy as np
import pandas as pd
import pytest

from melib.study import durations

FPS = 30.0


def study(rows, name="made_up", *, long=True):
    """A data set of rows subject, video, kind, onset, apex, offset, status; 600 frames a video."""
    table = pd.DataFrame(rows, columns=["subject", "video", "kind", "onset", "apex", "offset", "status"])
    table = table.assign(dataset=name, fps=FPS, event=[f"e{i}" for i in range(len(table))])
    events = table.astype({"onset": "Int64", "apex": "Int64", "offset": "Int64"})
    videos = events[["subject", "video"]].drop_duplicates().assign(n_frames=600)
    manifest = types.SimpleNamespace(fps=FPS)
    return types.SimpleNamespace(name=name, events=events, videos=videos, manifest=manifest, long=long)


def many(name="made_up", *, long=True, seed=0):
    """Events at random, some of them without apex or dropped."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(120):
        onset, length = int(rng.integers(0, 500)), int(rng.integers(4, 60))
        apex = pd.NA if i % 9 == 0 else onset + int(rng.integers(0, length))
        kind, status = ("micro", "macro", "blink")[i % 3], "dropped" if i % 11 == 0 else "ok"
        rows.append((f"s{i % 4}", f"v{i % 2}", kind, onset, apex, onset + length, status))
    return study(rows, name, long=long)


def test_an_overlap_is_a_frame_in_common_and_a_gap_leads_to_the_next_onset():
    table = durations.event_durations(
        [
            study(
                [
                    ("s", "v", "micro", 10, 15, 20, "ok"),
                    ("s", "v", "macro", 20, 30, 50, "ok"),  # shares frame 20
                    ("s", "v", "micro", 51, 55, 60, "ok"),  # shares none
                    ("s", "w", "micro", 25, 26, 30, "ok"),  # in another video
                    ("s", "v", "macro", 0, 5, 600, "dropped"),
                ]
            )
        ]
    ).set_index("event")
    assert table["overlaps_macro"].to_dict() == {"e0": True, "e1": False, "e2": False, "e3": False}
    assert table.loc["e0", "gap_s"] == 0
    assert table.loc["e1", "gap_s"] == pytest.approx(1 / FPS)
    assert table.loc[["e2", "e3"], "gap_s"].isna().all()


def test_dropped_events_count_nowhere_and_the_others_all():
    data = many()
    events = durations.event_durations([data])
    assert len(events) == (data.events["status"] != "dropped").sum()
    table = durations.duration_statistics(events)
    counted = table[table["statistic"] == "events"]["value"].sum()
    assert counted == durations.fits([data])["events"].sum() == len(events)


def test_seconds_are_offset_less_onset_and_position_runs_from_onset_to_offset():
    table = durations.event_durations(
        [study([("s", "v", "micro", 30, 45, 90, "ok"), ("s", "v", "micro", 3, pd.NA, 9, "ok")])]
    )
    assert table["seconds"].tolist() == [0.2, 2.0]
    assert table["frames"].tolist() == [7, 61]
    np.testing.assert_array_equal(table["position"], [np.nan, 0.25])

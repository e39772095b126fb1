"""First minutes: what was found stands beside all that happened, and nothing of either is lost."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from melib.app import first


def study(*onsets):
    """One video of a simulated person with a micro-expression of 10 frames at each onset, and a blink."""
    names = [f"micro{n}" for n in range(len(onsets))]
    micro = {"event": names, "onset": onsets, "offset": [onset + 9 for onset in onsets], "kind": "micro"}
    events = pd.concat(
        [pd.DataFrame({"event": ["blink1"], "onset": 3, "offset": 9, "kind": "blink"}), pd.DataFrame(micro)]
    ).assign(subject="s01", video="v", fps=30.0)
    truth = pd.DataFrame({"event": ["", "blink1", *names, *names], "peak_px": 0.0})
    truth.loc[truth["event"] == "micro1", "peak_px"] = [0.5, 2.0]
    videos = pd.DataFrame({"subject": ["s01"], "video": ["v"], "folder": [Path("v")]})
    return SimpleNamespace(events=events, truth=truth, videos=videos)


def intervals(*onsets):
    ends = {"onset": onsets, "offset": [onset + 9 for onset in onsets]}
    return pd.DataFrame({**ends, "apex_s": [onset / 30 for onset in onsets], "confidence": 0.5})


def test_rows_are_all_that_happened_and_all_that_was_found_in_the_order_of_time():
    rows = first.beside_truth(intervals(41, 20, 300), study(300, 40, 200))
    assert rows["onset_s"].mul(30).round().tolist()[1:] == [40, 200, 300]
    assert rows["found_s"].mul(30).round().fillna(-1).tolist() == [20, 41, -1, 300]
    assert rows["onset_s"].isna().tolist() == [True, False, False, False]
    assert rows["peak_px"].tolist()[1:] == [2.0, 0.0, 0.0]


def test_nothing_found_leaves_what_happened_and_nothing_happened_leaves_what_was_found():
    assert first.beside_truth(intervals(), study(40, 200))["found_s"].isna().tolist() == [True, True]
    assert first.beside_truth(intervals(40), study())["found_s"].tolist() == [pytest.approx(40 / 30)]


@pytest.mark.long
def test_the_same_seed_gives_the_same_figure(tmp_path):
    figures = [first.first(tmp_path / name, progress=False)[0] for name in "ab"]
    assert figures[0].read_bytes() == figures[1].read_bytes()
    assert figures[0] == tmp_path / "a" / "first.png"

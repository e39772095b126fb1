"""First minutes: one simulated video, what the shipped weights say of it, and what truly happened in it.

OUT/video/          a simulated data set of one long video: frames, annotations.xlsx, truth.csv
OUT/first.png       its prediction, and the csv and json beside it
"""

from pathlib import Path

import pandas as pd

from melib import metrics, simulate
from melib.app import prediction, predictions
from melib.simulate import long
from melib.study.data import Study, open_study

# Long enough for three movements and some blinks, short enough for the slowest laptop.
SECONDS, MICRO = 16, 3
# Pixels of the 112-pixel crop: movements as one sees them on a good day, so that there is something to find.
PEAKS = (0.8, 2.5)


def first(out: str | Path, *, seed: int = 0, progress: bool = True) -> tuple[Path, pd.DataFrame]:
    """Simulate a video, predict it with the shipped weights, and hold what was found against what happened.

    Parameters
    ----------
    out : str or Path
        Folder to write to, made if needed.
    seed : int
        Of the video; same seed, same bytes.
    progress : bool
        Show progress bars.

    Returns
    -------
    figure : Path
        The prediction's figure.
    rows : DataFrame
        A row a micro-expression that happened or was found: onset_s, offset_s (seconds, NaN where only found),
        peak_px (its true peak, pixels of the 112-pixel crop), found_s (where it was found, NaN where missed), confidence.

    Raises
    ------
    DataError
        If the folder can't be written, or holds a video of another seed; Misuse if the seed is below 0.
    """
    study = a_video(Path(out) / "video", seed, progress)
    made = prediction.predict_video(study.videos["folder"].iloc[0], fps=long.FPS, progress=progress)
    *_, figure = predictions.write_prediction(made, out, "first")
    return figure, beside_truth(made.intervals, study)


def a_video(out: str | Path, seed: int = 0, progress: bool = True) -> Study:
    """Simulate one long video with a few micro-expressions, and open it.

    Parameters
    ----------
    out, seed, progress
        As for `first`.

    Returns
    -------
    data.Study
    """
    folder = simulate.write_long(
        out,
        people=1,
        videos=1,
        seed=seed,
        seconds=(SECONDS, SECONDS),
        peaks=PEAKS,
        micro=MICRO,
        jobs=1,
        progress=progress,
    )
    return open_study(folder / "manifest.yml", folder)


def beside_truth(intervals: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Found intervals beside the micro-expressions that happened, of a study of one simulated video.

    Parameters
    ----------
    intervals : DataFrame
        As in `prediction.Prediction`.
    study : data.Study

    Returns
    -------
    DataFrame
        As `first` returns; matched at an IoU of .5, in the order of time.
    """
    events = study.events[study.events["kind"] == "micro"].reset_index(drop=True)
    intervals = intervals.assign(subject=study.videos["subject"].iloc[0], video=study.videos["video"].iloc[0])
    pairs = metrics.spotting(intervals, events)["matches"]
    assert study.truth is not None  # the simulator writes it
    peaks = study.truth.groupby("event")["peak_px"].max()
    happened = pd.DataFrame(
        {
            "onset_s": (events["onset"] / events["fps"]).astype(float),
            "offset_s": (events["offset"] / events["fps"]).astype(float),
            "peak_px": events["event"].map(peaks),
        }
    )
    predicted = intervals[["apex_s", "confidence"]].rename(columns={"apex_s": "found_s"})
    predicted.index = intervals.index.map(pairs.set_index("predicted")["truth"].to_dict())
    rows = happened.join(predicted[predicted.index.notna()])
    rows = pd.concat([rows, predicted[predicted.index.isna()]], ignore_index=True)
    when = rows["onset_s"].fillna(rows["found_s"])
    return rows.loc[when.sort_values(kind="stable").index].reset_index(drop=True)

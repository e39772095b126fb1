"""melib: micro-expression intensity and spotting, with controls that show whether the model saw the face."""

from pathlib import Path
from typing import Any

from melib.errors import DataError

__version__ = "0.1.0"
# Whatever lies beside the rooms, or in all of them, is looked for from here.
PACKAGE = Path(__file__).parent
__all__ = ["DataError", "__version__", "predict"]


def predict(source: Any, weights: Any = None, *, fps: float | None = None, progress: bool = True) -> Any:
    """Intensity and micro-expressions of one video.

    Parameters
    ----------
    source : str or Path
        A video file, or a folder of frames.
    weights : str or Path or None
        A run's folder; None: the weights that come with the package.
    fps : float or None
        Frames a second of a folder, 30 if not given; of a file, instead of the times that it holds.
    progress : bool
        Show a bar with the time left.

    Returns
    -------
    melib.app.prediction.Prediction
        ``curve`` (a row a sample: frame, seconds, face, intensity, score), ``intervals`` (onset, apex, offset in frames
        from 0 and in seconds, confidence, emotion), ``plot()``, ``notes`` and the weights' ``card``; what each column
        means stands in ``melib.app.prediction.MEANING``.

    Raises
    ------
    DataError
        If the video can't be read, or no face is found in it.

    Examples
    --------
    >>> made = melib.predict("clip.mp4")  # doctest: +SKIP
    >>> made.intervals, made.plot()  # doctest: +SKIP
    """
    from melib.app import prediction  # torch takes seconds to import

    return prediction.predict_video(source, weights, fps=fps, progress=progress)

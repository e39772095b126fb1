"""The intensity model on whole videos: windows that overlap, fed stretch by stretch.

    samples   0 . . . . . . . . . . . . . . . . . . . .        a window is 32 samples long
    windows   [ - - - - - - - ]                                windows start HOP samples apart, each with a reference
                          [ - - - - - - - ]                    of its own
    weight     small  large  small                             a window knows its middle best

Memory holds a batch of windows, whatever the video's length.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from melib.learn.windows import Fitted, Windows, predict_windows
from melib.vision import flow
from melib.vision.faces import Followed

# Windows start so many samples apart: their ends, which the model knows worst, overlap.
HOP = 28
BATCH = 16  # windows at a time: setting a model up takes longer than five of them


class Dense:
    """Curves of one video by some intensity models; `feed` it every stretch in order, then ask for `curves`.

    Parameters
    ----------
    models : mapping name -> windows.Fitted
    n_samples : int
        Of the whole video.
    length, stride : int
        Samples a window, and from one of them to the next.
    """

    def __init__(  # noqa: D107
        self, models: Mapping[Any, Fitted], n_samples: int, length: int, stride: int
    ) -> None:
        self.models, self.length, self.stride = models, length, stride
        self.total = {name: np.zeros(n_samples) for name in models}
        self.weight = np.zeros(n_samples)
        self.hat = np.minimum(np.arange(1.0, length + 1), np.arange(length, 0, -1))
        self.crops, self.mask, self.landmarks = np.zeros((0, 1, 1)), np.zeros(0), np.zeros((0, 68, 2))
        self.first = 0  # sample of the first crop that is still held
        self.waiting: list[tuple[int, np.ndarray, dict]] = []  # first sample, mask (T,), inputs

    def feed(self, part: Followed) -> None:
        """Take the next stretch."""
        if len(self.crops):
            self.crops = np.concatenate([self.crops, part.crops])
            self.mask = np.concatenate([self.mask, part.mask])
            self.landmarks = np.concatenate([self.landmarks, part.landmarks])
        else:
            self.crops, self.mask, self.landmarks = part.crops, part.mask, part.landmarks
        span, hop = self._span(), HOP * self.stride
        while len(self.crops) >= span:
            self._window()
            self.crops, self.mask, self.landmarks = self.crops[hop:], self.mask[hop:], self.landmarks[hop:]
            self.first += hop

    def curves(self) -> dict[Any, np.ndarray]:
        """Intensity by each model, (n_samples,) float32 in [0, 1]; its value without a face means nothing."""
        overlap = self._span() - HOP * self.stride if self.first else 0
        if len(self.crops) > overlap:
            self._window()  # cut by the end of the video: its last frame is repeated
        self._predict()
        frames = np.arange(len(self.weight))
        sampled = np.flatnonzero(self.weight)  # windows whose samples lie apart leave frames between them out
        return {
            name: np.interp(frames, sampled, total[sampled] / self.weight[sampled]).astype(np.float32)
            for name, total in self.total.items()
        }

    def _span(self) -> int:
        return (self.length - 1) * self.stride + 1

    def _window(self) -> None:
        at = np.minimum(self.stride * np.arange(self.length), len(self.crops) - 1)
        mask = self.mask[at]
        shape = np.median(self.landmarks[at][mask], axis=0) if mask.any() else np.zeros((68, 2))
        self.waiting.append((self.first, mask, flow.window_inputs(self.crops[at], mask, shape)))
        if len(self.waiting) == BATCH:
            self._predict()

    def _predict(self) -> None:
        if not self.waiting:
            return
        first, masks, inputs = zip(*self.waiting, strict=True)
        self.waiting = []
        at = np.array(first)[:, None] + self.stride * np.arange(self.length)
        at = np.minimum(at, len(self.weight) - 1)  # (n, T)
        hats = np.tile(self.hat, (len(at), 1))  # numpy 2.4's add.at reads past the end of what it broadcasts
        np.add.at(self.weight, at, hats)
        stacked = {
            name: np.stack([window[name] for window in inputs]) for name in ("raw", "flow", "reference")
        }
        windows = Windows(**stacked, target=np.zeros(at.shape, np.float32), mask=np.stack(masks))
        for name, model in self.models.items():
            np.add.at(self.total[name], at, hats * predict_windows(model, windows))

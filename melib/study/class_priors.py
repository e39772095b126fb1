"""When and how an expression moves, by its class: our extension, used only where people who weren't fitted on bear it out.

    onset, apex, offset -> duration        log of its samples
                           apex position   log odds of where the apex lies between onset and offset
                           rise and fall   logs of either side, together
                        -> a normal a class, shrunk to that of all classes -> log p(x | class) - log p(x | any class)

The reference knows no such prior: its classes are balanced in the loss and neutral weighs six times. Everything is fitted,
and chosen, on a fold's training subjects: each is held out in turn, and a part is used only if it surely gives their events
more likelihood under the right class than the prior of all classes does.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import multivariate_normal

from melib import stats
from melib.study.recognition import CLASSES

PARTS = ("duration", "apex position", "rise and fall")
# How many events of the pooled prior each class is taken to have shown beside its own.
_POOLED = 10
_LEAST_SPREAD = 0.1  # of a log; identical durations mustn't make a prior certain
_ROUNDING = 1e-9  # a gain of nothing but this isn't one


@dataclass(frozen=True)
class ClassPrior:
    """A normal of one part a class.

    ``part`` one of `PARTS`, or empty: says nothing; ``means`` (K + 1, k) and ``spreads`` (K + 1, k, k): of each of
    ``CLASSES``, that of all classes last.
    """

    part: str = ""
    means: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    spreads: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0)))

    @classmethod
    def fit(cls, events, part):
        """Fit on events of training subjects.

        Parameters
        ----------
        events : DataFrame
            onset, apex, offset (samples, closed), emotion (class); at least one row.
        part : str
        """
        x, emotion = _measured(events, part), events["emotion"].to_numpy()
        least = _LEAST_SPREAD**2 * np.eye(x.shape[1])
        means, spreads = [], []
        middle, spread = x.mean(0), np.cov(x.T, ddof=0).reshape(least.shape) + least
        for name in CLASSES:
            own = x[emotion == name]
            share = len(own) / (len(own) + _POOLED)
            mean = share * own.mean(0) + (1 - share) * middle if len(own) else middle
            off = own - mean
            means.append(mean)
            spreads.append(
                spread if not len(own) else share * (off.T @ off / len(own) + least) + (1 - share) * spread
            )
        return cls(part, np.array([*means, middle]), np.array([*spreads, spread]))

    def evidence(self, intervals):
        """What the timing of some intervals says for each class: (N, K + 1) float, neutral last and 0."""
        if not self.part or intervals.empty:
            return np.zeros((len(intervals), len(CLASSES) + 1))
        x = _measured(intervals, self.part)
        normals = zip(self.means, self.spreads, strict=True)
        log_p = [np.atleast_1d(multivariate_normal.logpdf(x, mean, spread)) for mean, spread in normals]
        return np.stack([*log_p[:-1], log_p[-1]], axis=1) - log_p[-1][:, None]


def _measured(intervals, part):
    """What a part looks at, (N, k) float."""
    onset, apex, offset = (intervals[name].to_numpy(float) for name in ("onset", "apex", "offset"))
    rise, fall = apex - onset + 0.5, offset - apex + 0.5  # samples of either side, the apex shared
    return {
        "duration": np.log(rise + fall)[:, None],
        "apex position": np.log(rise / fall)[:, None],
        "rise and fall": np.log(np.stack([rise, fall], axis=1)),
    }[part]


def held_out_gains(events, seed=0):
    """What each part says of the class of events whose subject it wasn't fitted on.

    Parameters
    ----------
    events : DataFrame
        As `ClassPrior.fit`, and subject: training subjects alone, each held out in turn.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        part, gain (mean over subjects of log p(x | class) - log p(x | any class), nats an event), low, high (95 %, over
        subjects), events, subjects, kept (bool: the part with the largest gain, if its interval lies above 0; a gain above 0
        alone comes to one of the parts in half of all tables without any difference). Empty where fewer than two subjects
        have an event with a class.
    """
    events = events[events["emotion"].isin(CLASSES)].reset_index(drop=True)
    people = events["subject"].unique()
    columns = ["part", "gain", "low", "high", "events", "subjects", "kept"]
    if len(people) < 2:
        return pd.DataFrame(columns=columns)
    right = np.array([CLASSES.index(name) for name in events["emotion"]])
    rows = []
    for part in PARTS:
        gain = np.zeros(len(events))
        for person in people:
            out = (events["subject"] == person).to_numpy()
            gain[out] = ClassPrior.fit(events[~out], part).evidence(events[out])[
                np.arange(out.sum()), right[out]
            ]
        rows.append(
            (part, *stats.bootstrap(gain, events["subject"].to_numpy(), seed=seed), len(events), len(people))
        )
    best = max(rows, key=lambda row: row[1])
    return pd.DataFrame([(*row, row is best and row[2] > _ROUNDING) for row in rows], columns=columns)


def fit_class_prior(events, seed=0):
    """The prior of the part that is kept, fitted on all training events; one that says nothing where none is."""
    gains = held_out_gains(events, seed)
    parts = gains.loc[gains["kept"].astype(bool), "part"].tolist()
    return ClassPrior.fit(events[events["emotion"].isin(CLASSES)], parts[0]) if parts else ClassPrior()

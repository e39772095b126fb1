"""The semi-Markov model's sums over all segmentations of a curve, compiled by numba: decoders.py asks, this file counts.

Kept by hand, since no library sums over segments whose likelihood depends on where the apex lies. Boundaries are 0 to T:
an event [start, stop) lies between two of them.
"""

import numpy as np
from numba import njit

# Weights below exp(-40) of the largest are lost in a double anyway.
_NEGLIGIBLE = -40.0


@njit(nogil=True, cache=True)
def log_events(model):
    """Log of duration prior times likelihood ratio of every event: (T + 1, G), by the boundary where it starts and length.

    Taken once: the search, both sums and every score read it. What would end behind the curve is left undefined.
    """
    gain, flank, log_p = model.gain, model.flank, model.log_p
    lengths, cores, starts = model.lengths, model.core, model.starts
    n = flank.size - 1
    table = np.empty((n + 1, lengths.size))
    for start in range(n + 1):
        for g in range(lengths.size):
            if start + lengths[g] > n:
                break
            core = cores[g]
            first, second, third = start + starts[g, 0], start + starts[g, 1], start + starts[g, 2]
            low, middle = gain[first + core] - gain[first], gain[second + core] - gain[second]
            top = gain[third + core] - gain[third]
            # The largest of the three leads, so that no exponential overflows.
            if low > top:
                low, top = top, low
            if middle > top:
                middle, top = top, middle
            mean = (1 + np.exp(low - top) + np.exp(middle - top)) / 3
            table[start, g] = log_p[g] + flank[start + lengths[g]] - flank[start] + top + np.log(mean)
    return table


@njit(nogil=True, cache=True)
def search(model, table, bonus):
    """Best of all segmentations, where an event weighs exp(bonus) times as much.

    Returns steps (T + 1, S) int32: the length of the event that the best segmentation up to a boundary ends with, 0 for a
    frame outside; origins (T + 1, S) int8: the state before that frame; and the best state at the end.
    """
    n, n_states = model.emit.shape
    lengths, log_hazard = model.lengths, np.log(model.hazard)
    best = np.empty((n + 1, n_states))
    steps, origins = np.zeros((n + 1, n_states), np.int32), np.zeros((n + 1, n_states), np.int8)
    best[0] = np.log(model.share)
    log_move = np.log(model.move * (1 - model.hazard))
    for b in range(1, n + 1):
        for k in range(n_states):
            best[b, k] = -np.inf
            for j in range(n_states):
                value = best[b - 1, j] + log_move[j, k] + model.emit[b - 1, k]
                if value > best[b, k]:
                    best[b, k] = value
                    origins[b, k] = j
        for g in range(lengths.size):
            start = b - lengths[g]
            if start < 0:
                break
            for k in range(n_states):
                value = best[start, k] + log_hazard + bonus + table[start, g]
                if value > best[b, k]:
                    best[b, k] = value
                    steps[b, k] = lengths[g]
    return steps, origins, best[n].argmax()


@njit(nogil=True, cache=True)
def forward(model, table):
    """Sums over all segmentations before each boundary: log_total (T + 1,), part (T + 1, S).

    The sum is exp(log_total) * part, and the parts of a boundary add up to 1.
    """
    n, n_states = model.emit.shape
    lengths, move, emit = model.lengths, model.move, model.emit
    log_total, part = np.empty(n + 1), np.empty((n + 1, n_states))
    log_total[0] = 0.0
    part[0] = model.share
    log_hazard, quiet = np.log(model.hazard), 1 - model.hazard
    weight = np.empty(lengths.size)
    total = np.empty(n_states)
    for b in range(1, n + 1):
        top = log_total[b - 1] + emit[b - 1].max()
        fitting = 0
        for g in range(lengths.size):
            start = b - lengths[g]
            if start < 0:
                break
            weight[g] = log_total[start] + log_hazard + table[start, g]
            top = max(top, weight[g])
            fitting = g + 1
        for k in range(n_states):
            value = 0.0
            for j in range(n_states):
                value += part[b - 1, j] * move[j, k]
            total[k] = value * quiet * np.exp(log_total[b - 1] + emit[b - 1, k] - top)
        for g in range(fitting):
            if weight[g] - top > _NEGLIGIBLE:
                value = np.exp(weight[g] - top)
                for k in range(n_states):
                    total[k] += value * part[b - lengths[g], k]
        scale = total.sum()
        log_total[b] = top + np.log(scale)
        for k in range(n_states):
            part[b, k] = total[k] / scale
    return log_total, part


@njit(nogil=True, cache=True)
def backward(model, table, forward):
    """Sums over all segmentations behind each boundary, and the posterior probability of every event (T + 1, G)."""
    n, n_states = model.emit.shape
    lengths, move, emit = model.lengths, model.move, model.emit
    log_total, part = forward
    log_rest, rest = np.empty(n + 1), np.empty((n + 1, n_states))
    posterior = np.zeros((n + 1, lengths.size))
    log_rest[n] = np.log(n_states)
    rest[n] = 1 / n_states
    log_hazard, quiet = np.log(model.hazard), 1 - model.hazard
    weight = np.empty(lengths.size)
    total = np.empty(n_states)
    for b in range(n - 1, -1, -1):
        top = log_rest[b + 1] + emit[b].max()
        fitting = 0
        for g in range(lengths.size):
            stop = b + lengths[g]
            if stop > n:
                break
            weight[g] = log_rest[stop] + log_hazard + table[b, g]
            top = max(top, weight[g])
            fitting = g + 1
        for j in range(n_states):
            value = 0.0
            for k in range(n_states):
                value += move[j, k] * rest[b + 1, k] * np.exp(log_rest[b + 1] + emit[b, k] - top)
            total[j] = value * quiet
        here = np.exp(log_total[b] + top - log_total[n])
        for g in range(fitting):
            if weight[g] - top > _NEGLIGIBLE:
                value = np.exp(weight[g] - top)
                stop = b + lengths[g]
                both = 0.0
                for j in range(n_states):
                    total[j] += value * rest[stop, j]
                    both += part[b, j] * rest[stop, j]
                posterior[b, g] = here * value * both
        scale = total.sum()
        log_rest[b] = top + np.log(scale)
        for j in range(n_states):
            rest[b, j] = total[j] / scale
    return (log_rest, rest), posterior


def trace(steps, origins, state):
    """Events of the best segmentation as (start, stop) boundaries, in order of time."""
    events = []
    b = steps.shape[0] - 1
    while b > 0:
        step = int(steps[b, state])
        if step:
            events.append((b - step, b))
            b -= step
        else:
            state = origins[b, state]
            b -= 1
    return events[::-1]


@njit(nogil=True, cache=True)
def mass(model, table, sums, start, stop):
    """Probability of an event whose IoU with [start, stop) is at least .5; sums: of `forward`, and both of `backward`.

    Also the posterior means of its start and stop, from those given.
    """
    (log_total, part), (log_rest, rest), posterior = sums
    n, n_states = model.emit.shape
    length = stop - start
    mass = to_start = to_stop = 0.0
    for g in range(model.lengths.size):
        d = model.lengths[g]
        shared = (d + length + 2) // 3  # least overlap: 3 shared >= d + length
        if shared > min(d, length):
            continue
        for first in range(max(0, start + shared - d), min(stop - shared, n - d) + 1):
            p = posterior[first, g]
            mass += p
            to_start += p * (first - start)
            to_stop += p * (first + d - stop)
    means = (to_start / mass, to_stop / mass) if mass > 0 else (0.0, 0.0)
    # Two events can both have an IoU of at least .5 with one interval only as its two halves: count them once.
    if length % 2 == 0:
        g = np.searchsorted(model.lengths, length // 2)
        if g < model.lengths.size and model.lengths[g] == length // 2:
            both = 0.0
            for j in range(n_states):
                both += part[start, j] * rest[stop, j]
            halves = 2 * np.log(model.hazard) + table[start, g] + table[start + length // 2, g]
            mass -= both * np.exp(log_total[start] + halves + log_rest[stop] - log_total[n])
    return mass, means[0], means[1]

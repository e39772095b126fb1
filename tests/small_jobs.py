"""Jobs for tests of workers; light, since a process that takes over from a dead one imports this anew."""

import os
import signal
import time
from pathlib import Path


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def fail(what):
    raise RuntimeError(what)


def slow(seconds):
    time.sleep(seconds)
    return seconds


def counted(trace, kills):
    """Leave a byte for each time that it began, and kill the process the first times."""
    with open(trace, "ab") as file:
        file.write(b".")
    return die() if os.path.getsize(trace) <= kills else os.getpid()


def die_or_say(run, job):
    return die() if job.name == "die" else job.name


def endless(place):
    """Say that it began, and never end."""
    Path(place).touch()
    while True:
        sum(range(10**6))

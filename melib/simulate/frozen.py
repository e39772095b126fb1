"""Frozen test sets of both worlds (frozen.yml): written by name, and checked by hash.

python -m melib.simulate.frozen            compares this machine's bytes with those on record
python -m melib.simulate.frozen --record   puts them on record: only where a set is new
"""

import argparse
import hashlib
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import yaml

from melib import simulate
from melib.data import cache
from melib.errors import Misuse
from melib.simulate import folder, long, worlds
from melib.simulate.nuisance import resolve

PLACE = Path(__file__).parent
_DEFAULTS = {"people": 40, "statistics": "samm_lv_micro", "fps": 200}
_LONG = {"people": 40, "statistics": "samm_lv", "fps": long.FPS}


def write_frozen(out, name: str, *, jobs: int = 2, progress: bool = True) -> Path:
    """Write a frozen test set; a second call only adds what is missing.

    Parameters
    ----------
    out : path
    name : {"first_clips", "first_videos", "second_clips", "second_videos"}
    jobs : int
        Processes.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Path
        The folder, as `melib.simulate.write_clips` or `write_long` leaves it.
    """
    write = simulate.write_long if name.endswith("videos") else simulate.write_clips
    return write(out, name=f"frozen_{name}", jobs=jobs, progress=progress, **_settings(name))


def write_share(out, name: str, numbers: Sequence[int], *, jobs: int = 2) -> Path:
    """Write some clips of each person of a frozen set, byte for byte those of the whole one.

    Parameters
    ----------
    out : path
    name : {"first_clips", "second_clips"}
    numbers : sequence of int
        Of the clips, 1-based; one folder gathers those of several calls.
    jobs : int
        Processes.

    Returns
    -------
    Path
        The folder.
    """
    out, settings = Path(out), _settings(name) | {"name": f"frozen_{name}"}
    scales = resolve(1.0, worlds.find_world(settings["world"]))
    folder.claim(out, {**settings, "nuisance": asdict(scales)}, simulate.VERSION, like="synthme")
    todo = [(person, number) for person in range(1, settings["people"] + 1) for number in numbers]
    tasks = [(out, *job, settings, scales) for job in todo if not folder.finished(out, *job)]
    folder.fill_folder(simulate.write_one, tasks, jobs, "clip", progress=True)
    whole = range(1, settings["clips"] + settings["empty"] + 1)
    every = [(person, number) for person in range(1, settings["people"] + 1) for number in whole]
    present = [job for job in every if folder.finished(out, *job)]  # an earlier call's, too
    folder.join(out, present, simulate._COLUMNS, "Micro_Only")
    return out


def digest(name: str, person: int, number: int) -> str:
    """SHA-256 of one clip's frames, truth and label, as this machine writes them."""
    settings, long_videos = _settings(name) | {"name": name}, name.endswith("videos")
    with tempfile.TemporaryDirectory() as place:
        if long_videos:
            long.write_one(Path(place), person, number, settings, 1.0)
        else:
            scales = resolve(1.0, worlds.find_world(settings["world"]))
            simulate.write_one(Path(place), person, number, settings, scales)
        digest = hashlib.sha256()
        for path in sorted(path for path in Path(place).rglob("*") if path.is_file()):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _settings(name: str) -> dict:
    sets = yaml.safe_load((PLACE / "frozen.yml").read_text())["sets"]
    if name not in sets:
        raise Misuse(f"simulate: there is no frozen set {name!r}; choose one of {', '.join(sets)}.")
    return (_LONG if name.endswith("videos") else _DEFAULTS) | sets[name]


def processor() -> str:
    """Name of this machine's processor, as far as the system tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> int:
    """Compare or record; 1 if a hash differs on the processor that it was recorded on."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--record", action="store_true")
    record, path = parser.parse_args().record, PLACE / "frozen_hashes.yml"
    about = yaml.safe_load((PLACE / "frozen.yml").read_text())
    hashes = {
        f"{name} {folder.names(*job)[1]}": digest(name, *job)
        for name in about["sets"]
        for job in about["hashed"][name.partition("_")[2]]
    }
    if record:
        versions = {"clips": simulate.VERSION, "videos": long.VERSION}
        cache.write_yaml(path, {"processor": processor(), "versions": versions, "hashes": hashes})
        return 0
    recorded = yaml.safe_load(path.read_text())
    differ = [name for name in hashes if hashes[name] != recorded["hashes"].get(name)]
    print(
        f"{len(hashes) - len(differ)} of {len(hashes)} as recorded on {recorded['processor']}; here: {processor()}"
    )
    return int(bool(differ) and processor() == recorded["processor"])


if __name__ == "__main__":
    raise SystemExit(main())

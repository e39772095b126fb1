"""How much faster two workers run the grid than one, on this machine, in one run; and whether they say the same.

    python benchmarks/grid.py runs/demo            two fits of the intensity grid, four times: one process, two
                                                   processes, two Dask workers, and the first once more

Only fits are timed: clips and inputs come from the cache of the run that is named, which must be finished.
"""

import argparse
import hashlib
import json
import shutil
import time
from dataclasses import replace

from melib.app import runner
from melib.data import workers
from melib.study import intensity
from melib.study.data import clip_studies, folds_of, with_clips
from melib.study.run import begin

PROFILE = "demo"
FITS = (("framewise", "raw"),)  # of the context protocol, in every fold


def main() -> None:
    """Print seconds, speed-ups and whether the records are the same bytes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="name or path of a finished run of profile demo")
    run = begin(runner.locate(parser.parse_args().run), PROFILE)
    (study, *_) = clip_studies(run)
    study = with_clips(study, run)
    windows = {"context": intensity.prepare_windows(study, "context", run)}
    folds = folds_of(study, run)
    jobs = [
        intensity.Job(study.name, "context", model, used, fold.index, 0)
        for model, used in FITS
        for fold in folds
    ]
    seconds: dict[str, list[float]] = {}
    digests = set()
    for name, engine, processes in (
        ("one process", "local", 1),
        ("two processes", "local", 2),
        ("two Dask workers", "dask", 2),
        ("one process", "local", 1),
    ):
        place = replace(run, folder=run.folder.parent / "grid-benchmark", jobs=processes)
        start = time.perf_counter()
        with workers.use(engine, folder=place.folder):
            records = intensity.run_grid(place, jobs, windows, folds)
        seconds.setdefault(name, []).append(time.perf_counter() - start)
        curves = b"".join(records[job]["curve"].tobytes() for job in jobs)
        digests.add(hashlib.sha256(curves).hexdigest())
        shutil.rmtree(place)
        print(f"{name}: {seconds[name][-1]:.1f} s for {len(jobs)} fits", flush=True)
    alone = sum(seconds["one process"]) / len(seconds["one process"])
    ratios = {name: round(alone / taken[0], 2) for name, taken in seconds.items() if name != "one process"}
    print(json.dumps({"times as fast as one": ratios, "same bytes": len(digests) == 1}))


if __name__ == "__main__":
    main()

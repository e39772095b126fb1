"""Intensity models of a finished run, and the shipped ones, on the frozen test sets that nothing was trained or chosen on.

    python benchmarks/sight.py demo --clips 8

Prints what benchmarks/sight.md holds: agreement inside complete events by size, beside the untrained magnitude on the same
events; whether the predicted apex follows, beside the truth itself; clip_swap; and each aim, hit or missed. The 40 people
are in every set, so each is scored by models of the fold that never saw that person. The shipped weights are of a run's
first fold: they are scored on its test people alone, beside the run's own model of that fold.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from realism import as_markdown

from melib import controls, learn
from melib.app import predictor_weights, runner
from melib.simulate import folder, frozen
from melib.study import evaluation, intensity, results
from melib.study.data import folds_of, open_study, with_clips
from melib.study.provenance import read_configuration
from melib.study.run import Run

SIZES = {
    "all": (0, np.inf),
    "under .5 px": (0, 0.5),
    ".5 to 1 px": (0.5, 1),
    "under 1 px": (0, 1),
    "1 px or more": (1, np.inf),
}
METRIC, ENOUGH = "inside_spearman_true", 300  # events of 1 px or more that the aims ask for
MAGNITUDE = ("flow_magnitude", "flow", 0)


def prepared_set(world, clips, run):
    """Windows of one frozen set, the one of each event that holds it whole."""
    place = run.folder / f"{world}_clips"
    frozen.write_share(place, f"{world}_clips", range(1, clips + 1), jobs=run.jobs)
    study = open_study(place / "manifest.yml", place)
    people = {folder.names(person + 1, 1)[0] for person in range(run.settings["data"][0]["people"])}
    study = replace(study, videos=study.videos[study.videos["subject"].isin(people)])
    return intensity.prepare_windows(with_clips(study, run), "context", run), folds_of(
        study, run, subjects=people
    )


def of_people(prepared, people):
    """The windows of some people alone."""
    rows = intensity.rows_of(prepared, people)
    cut = {
        name: value[rows] if isinstance(value, np.ndarray) else value
        for name, value in vars(prepared).items()
    }
    cut |= {
        "table": prepared.table.iloc[rows].reset_index(drop=True),
        "entries": [prepared.entries[i] for i in rows],
    }
    return intensity.Prepared(**cut)


def predict(fitted, prepared, rows):
    """Curves (n, T) of some windows, and how the predicted apex follows (n,), NaN where it can't be asked."""
    curves = learn.windows.predict_windows(fitted, prepared.load(rows))
    slopes = np.full(len(rows), np.nan)
    whole = np.flatnonzero(np.isin(rows, prepared.first_complete()))
    slopes[whole] = controls.apex_follow(
        lambda x: learn.windows.predict_inputs(fitted, x),
        intensity.inputs_of(fitted, prepared, rows[whole]),
        prepared.annotated[rows[whole], 1],
        np.asarray(intensity.SHIFTS) * prepared.positions.shape[1],
        prepared.table["subject"].to_numpy()[rows[whole]],
    )["slopes"]
    return curves, slopes


def scores(prepared, folds, models):
    """A row an event and metric of every model and of the controls.

    ``models``: (name, input, seed) -> fold's index -> Fitted. Each person's curve is from the fold that tests it.
    """
    empty = np.full(prepared.pseudo.shape, np.nan, np.float32)
    curves, slopes = {}, evaluation.window_slopes(prepared, {})
    for key, fitted in models.items():
        curves[key], slopes[key] = empty.copy(), empty[:, 0].copy()
        for index, network in fitted.items():
            rows = intensity.rows_of(prepared, folds[index].test)
            if len(rows):
                curves[key][rows], slopes[key][rows] = predict(network, prepared, rows)
    curves[MAGNITUDE] = evaluation.scaled(prepared.magnitude)
    curves["truth", "none", 0] = prepared.truth
    agreement = evaluation.intensity(prepared, curves, folds)
    of_clips = evaluation.clip_scores(prepared, curves, slopes, evaluation.tested_in(prepared, folds), curves)
    peaks = agreement.drop_duplicates(["subject", "event"])[["subject", "event", "peak_px"]]
    return pd.concat([agreement, of_clips.merge(peaks, on=["subject", "event"])], ignore_index=True)


def by_size(rows):
    """Mean over people of every model, by size of the movement, and its difference from the magnitude on the same events."""
    out = []
    for size, (low, high) in SIZES.items():
        part = rows[(rows["metric"] == METRIC) & rows["peak_px"].between(low, high, inclusive="left")]
        control = part[part["model"] == MAGNITUDE[0]]
        for row in results.intervals(part, ["model", "input"]).itertuples():
            own = part[(part["model"] == row.model) & (part["input"] == row.input)]
            less = evaluation.paired(own, control) if row.model not in ("truth", MAGNITUDE[0]) else {}
            out.append(
                {"size": size, **row._asdict(), **{f"less_{name}": value for name, value in less.items()}}
            )
    return pd.DataFrame(out).drop(columns="Index")


def aims(rows, table, name, used):
    """What was aimed at, what came out with its interval, and whether it was hit."""
    own = table[(table["model"] == name) & (table["input"] == used)].set_index("size")
    large = own.loc["1 px or more"]
    out = [
        ("inside complete events, all sizes", "at least .92", *_triple(own.loc["all"]), own.loc["all", "estimate"] >= 0.92),
        ("less the magnitude, under 1 px", "interval above 0", *_triple(own.loc["under 1 px"], "less_difference", "less_"),
         own.loc["under 1 px", "less_low"] > 0),
        ("less the magnitude, 1 px or more", f"at least -.02, {ENOUGH} events", *_triple(large, "less_difference", "less_"),
         large["less_difference"] >= -0.02),
    ]  # fmt: skip
    of_clips = results.intervals(
        rows[rows["metric"].isin(["clip_swap", "apex_follow"])], ["model", "input", "metric"]
    )
    of_clips = of_clips.set_index(["model", "metric"])
    own = of_clips[of_clips["input"].eq(used) | of_clips["input"].eq("none")]
    ceiling = own.loc[("truth", "apex_follow"), "estimate"]
    follow, swap = own.loc[(name, "apex_follow")], own.loc[(name, "clip_swap")]
    needed = 0.9 * ceiling
    out.append(
        (
            "apex_follow",
            f"at least {needed:.3f}, .9 of {ceiling:.3f}",
            *_triple(follow),
            follow["estimate"] >= needed,
        )
    )
    out.append(("clip_swap", "at least .65", *_triple(swap), swap["estimate"] >= 0.65))
    columns = ["question", "aim", "result", "interval", "events", "hit"]
    answer = pd.DataFrame(out, columns=columns)
    return answer.assign(hit=np.where(answer["hit"], "hit", "missed"))


def _triple(row, value="estimate", prefix=""):
    return f"{row[value]:.3f}", f"{row[prefix + 'low']:.3f} to {row[prefix + 'high']:.3f}", int(row["events"])


def run_models(place, settings, folds):
    """Networks of a run by (name, input, seed) and fold."""
    seeds = Run(place, "", settings, read_configuration(place)["seed"]).seeds
    dataset, out = settings["data"][0]["name"], {}
    for fit in settings["fits"]["context"]:
        if fit["model"] == "resnet18_bigru":
            for seed in seeds:
                jobs = [intensity.Job(dataset, "context", *fit.values(), fold.index, seed) for fold in folds]
                read = {job.fold: learn.windows.load_fit(place / "weights" / job.name) for job in jobs}
                out[place.name, fit["input"], seed] = read
    return out


def main():
    """Print the tables as markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--clips", type=int, default=28, help="of each person, of the 28 there are")
    parser.add_argument("--worlds", nargs="+", default=["second", "first"])
    parser.add_argument("--out", type=Path, default=Path("runs/frozen"), help="where the sets are written")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    place = runner.locate(given.run)
    known = read_configuration(place)
    windows = known["settings"]["windows"]["context"] | {"per_event": 1}
    settings = known["settings"] | {"windows": {"context": windows}}
    run = Run(given.out, known["profile"], settings, known["seed"], jobs=given.jobs)
    for world in given.worlds:
        prepared, folds = prepared_set(world, given.clips, run)
        models = run_models(place, known["settings"], folds)
        rows = scores(prepared, folds, models)
        table = by_size(rows)
        print(
            f"\n## {world} world, {given.clips} clips of each of {prepared.table['subject'].nunique()} people\n"
        )
        print(as_markdown(aims(rows, table, place.name, "flow"), 3), "\n")
        print(as_markdown(table, 3), flush=True)
        first = of_people(prepared, folds[0].test)
        both = {key: {0: fitted[0]} for key, fitted in models.items() if key[1] == "flow"}
        both["shipped", "flow", 0] = {0: predictor_weights.load_weights().intensity}
        rows = scores(first, folds[:1], both)
        print(f"\n### The first fold's {len(folds[0].test)} test people: shipped weights beside the run's\n")
        print(as_markdown(by_size(rows), 3), flush=True)


if __name__ == "__main__":
    main()

"""Weights that `melib predict` uses: those of a run, or those that the package ships, and what they were worth.

    run: first fold's models, decoder, card  --export-->  run/predictor/  --load_weights-->  Weights

The shipped ones learned from more than a run has: predictor_training.py.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from melib import controls, learn, protocols
from melib.data import cache
from melib.decoders import Decoder
from melib.errors import DataError
from melib.study import spotting, spotting_runs
from melib.study.comparisons import CANDIDATE
from melib.study.results import QUANTITIES, over_seeds, read_result
from melib.study.run import Run
from melib.study.spotting_decoding import Material, fits_of, fitted

SHIPPED = Path(__file__).with_name("predictor")


@dataclass(frozen=True)
class Weights:
    """Two trained models, what turns their curves into intervals, and what they were worth on people they never saw.

    Attributes
    ----------
    intensity : windows.Fitted
    spotting : windows.Fitted
    decoder : Decoder
    least : float
        Confidence below which an interval is dropped.
    floor : float
        Movement in pixels of the crop (`moved`) below which an interval is dropped: what noise and compression alone make.
    windows : dict
        ``T`` samples and ``step`` seconds of the intensity model's windows.
    card : dict
        Face card and spotting scores of the run that trained them, over all its test subjects.
    """

    intensity: learn.windows.Fitted
    spotting: learn.windows.Fitted
    decoder: Decoder
    least: float
    floor: float
    windows: dict
    card: dict


def load_weights(folder: str | Path | None = None) -> Weights:
    """Read the weights that a run has left, or the shipped ones.

    Parameters
    ----------
    folder : str or Path or None
        A run's folder, or a copy of the folder ``predictor`` in it. None: those that the package ships.

    Raises
    ------
    DataError
        If they aren't there, or not whole.
    """
    place = SHIPPED if folder is None else Path(folder)
    place = place / "predictor" if (place / "predictor").is_dir() else place
    try:
        record = cache.unseal(json.loads((place / "predictor.json").read_text(encoding="utf-8")))
        if record["models"] != _models_hash(place):
            raise ValueError("its models aren't those that it was written with")
        decoder = Decoder.from_dict(record["decoder"])
        least, windows, about = float(record["least"]), record["windows"], record["card"]
        floor = float(record.get("floor", 0))  # runs before there was one have none
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(
            f"{place} holds no weights to predict with ({why}); name a run whose notebook 06 has finished."
        ) from error
    spotting = learn.windows.load_fit(place / "spotting", learn.videos.VideoSettings)
    both = learn.windows.load_fit(place / "intensity"), spotting
    return Weights(*both, decoder, least, floor, windows, about)


def export_predictor(run: Run, long: spotting.Long) -> Path:
    """Put what `predict` needs into ``run/predictor``: the models of the first fold, their decoder, their card.

    Nothing is fitted that the run hasn't fitted; the people of the fold's test and validation part were never trained on.

    Parameters
    ----------
    run : Run
    long : spotting.Long
        Long videos of that run.

    Raises
    ------
    DataError
        If the run has no intensity model, see `clips_of`.
    """
    fold = long.folds[0]
    clips = clips_of(run, fold)
    if not clips:
        raise DataError(f"{run.folder} has no trained intensity model; run notebook 04 in this run first.")
    material = spotting_runs.gather([spotting_runs.OURS], run, long)
    return export_fold(run.folder / "predictor", run, material, fold, card_of(run, clips, long.study.name))


def clips_of(run: Run, fold: protocols.Fold) -> str:
    """Name of the data set whose clips trained the intensity model that `predict` would use: a run's first one that can.

    Returns
    -------
    str
        Empty where there is none: notebook 04 hasn't run, or every clip is cut to its event (no context protocol).
    """
    table = run.folder / "results" / "face_card.csv"
    names = dict.fromkeys(read_result(table)["dataset"]) if table.is_file() else []
    trained = (
        n for n in names if (spotting.weights_folder(run, n, fold.index, run.seed) / "settings.yml").is_file()
    )
    return next(trained, "")


def export_fold(
    place: Path,
    run: Run,
    material: Material,
    fold: protocols.Fold,
    about: dict,
    floor: float = 0,
    least: float = 0,
) -> Path:
    """Put the models of a fold and the decoder that is fitted for them into a folder, as `load_weights` reads it.

    Parameters
    ----------
    place : Path
    run : Run
    material : spotting_decoding.Material
        With the curves of our system.
    fold : protocols.Fold
    about : dict
        The card; the first of its ``data`` are the clips of the intensity model.
    floor, least : float
        See `Weights`; 0 drops nothing, and the decoder's own least stays where it is the higher.
    """
    decoder = fitted(spotting_runs.OURS, material, fold)
    (fit,) = fits_of(spotting_runs.OURS, material.dataset, [fold], material.seed)
    sources = {
        "intensity": spotting.weights_folder(run, about["data"][0], fold.index, material.seed),
        "spotting": run.folder / "weights" / fit.name,
    }
    for name, source in sources.items():
        for file in ("weights.safetensors", "history.csv", "settings.yml"):
            with cache.atomic(place / name / file) as temporary:
                temporary.write_bytes((source / file).read_bytes())
    record = {
        "decoder": decoder.to_dict(),
        "least": max(decoder.least, least),
        "floor": floor,
        "windows": run.settings["windows"]["context"],
        "card": about,
        "models": _models_hash(place),
    }
    cache.write_json(place / "predictor.json", cache.seal(record))
    return place


def _models_hash(place: Path) -> str:
    """Hash of both models' settings, which hold one of their weights."""
    return cache.content_hash([place / name / "settings.yml" for name in ("intensity", "spotting")])


def card_of(run: Run, clips: str, dataset: str) -> dict:
    """What a run's models were worth on its test subjects: rows of face_card.csv and spotting.csv.

    Parameters
    ----------
    run : Run
    clips, dataset : str
        Data sets of the intensity model and of the long videos.

    Returns
    -------
    dict
        ``face``: see `face_of`; ``spotting``: scores of the system that `predict` uses; ``data``: the data sets' names.
    """
    systems = read_result(run.folder / "results" / "spotting.csv")
    ours = systems[(systems["system"] == spotting_runs.OURS.name) & (systems["rule"] == "strict")]
    ours = over_seeds(ours[ours["dataset"] == dataset], ["dataset", "system"])
    wanted = ["precision", "recall", "spotting_f1", "fp_per_hour", "end_to_end_f1"]
    scores = {name: float(ours[name].mean()) for name in wanted}
    return {"data": [clips, dataset], "face": face_of(run, clips), "spotting": scores}


def face_of(run: Run, clips: str) -> dict:
    """Face card of a run's intensity model on some clips, context protocol: quantity -> estimate, low, high."""
    faces = read_result(run.folder / "results" / "face_card.csv")
    model, used = CANDIDATE
    ours = {"dataset": clips, "protocol": "context", "model": model, "input": used}
    faces = faces[(faces[[*ours]] == pd.Series(ours)).all(axis=1)]
    # Of several trainings the row without a seed, over all of them, is what is known of the model.
    rows = over_seeds(faces).itertuples()
    return {row.quantity: {"estimate": row.estimate, "low": row.low, "high": row.high} for row in rows}


def card_in_words(card: dict) -> str:
    """Say in words what weights were worth, see `Weights`: two lines."""
    face = ", ".join(
        f"{QUANTITIES[name][0]} {measured['estimate']:.2f} ({measured['low']:.2f} to {measured['high']:.2f})"
        for name, measured in card["face"].items()
    )
    spotting_ = card["spotting"]
    return (
        f"face card of these weights ({', '.join(card['data'])}; people that they never saw): {face}; "
        f"sees the face: {controls.sees(card['face'])}\n"
        f"there they found {spotting_['recall']:.0%} of the micro-expressions, and {spotting_['precision']:.0%} of their "
        f"intervals were one ({spotting_['fp_per_hour']:.0f} false alarms an hour){_on_films(card)}"
    )


def _on_films(card: dict) -> str:
    """What `card_in_words` adds where the weights were tested on video files, too (`melib.app.predictor_training`)."""
    if "films" not in card:
        return ""
    motion, kinds = card["controls"]["motion"], card.get("kinds", [])
    films, largest = card["films"], [row for row in card["recall"] if row["events"]][-1]
    [same] = [row for row in motion["recall"] if row["group"] == largest["group"]]
    hourly = ", ".join(f"{row['kind']} {row['per_hour']:.0f}" for row in kinds)
    return (
        f"; in compressed video files {films['recall']:.0%} and {films['precision']:.0%} (the length of motion alone: "
        f"{motion['films']['recall']:.0%} and {motion['films']['precision']:.0%}), and of the largest movements, "
        f"{largest['group']} pixels of the crop, {largest['recall']:.0%} ({same['recall']:.0%})"
    ) + f"; false alarms an hour of films without any: {hourly}" * bool(kinds)

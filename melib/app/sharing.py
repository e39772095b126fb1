"""What a lab may publish of a run on licensed data, and several labs' results side by side.

    runs/<name>/  --share-->  record.json    profile, commit, versions, data sets, a checksum a file
                              counts.csv     events and subjects by data set, kind, status and class
                              scores.csv     mean over a pseudonym's events: a row a fold, training, model and metric
                              card.csv, claims.csv, ceilings.csv, spotting.csv, ...   tables that name nobody
                              README.md      what is in here and what isn't
    A B ...       --compare-->  a row a model and metric, a column a lab

No picture, curve, frame number, subject, video or event leaves the run. Pseudonyms are drawn at random once a run and stay
in its folder, so that sharing again gives the same ones and nobody finds the subject from the pseudonym.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from melib.data import cache
from melib.errors import DataError, Misuse
from melib.paper import answers
from melib.study import provenance, results

RECORD = "record.json"
# Of the shared files' columns and their meaning; a folder of another format isn't compared.
FORMAT = 1
# In a run's folder, never shared: json of the subjects in the order of their pseudonyms.
PSEUDONYMS = "pseudonyms.json"
# Tables of a run that speak of models and data sets, never of one person; the first is called card here.
OPEN_TABLES = (
    *("face_card", "claims", "ceilings", "untestable", "spotting", "spotting_claims"),
    *("paper_protocol", "published_all", "published_control"),
)
# Columns that tell of one person or one recording.
_PRIVATE = ("subject", "video", "event", "panel", "file", "path")
_SCORE = ["dataset", "protocol", "model", "input", "metric"]
# What stands on the screen when labs are compared; all else is in the csv.
_HEADLINES = {
    "paper": ("spearman_pseudo", "kendall_pseudo"),
    "context": ("inside_spearman_true", "inside_auc_true"),
    "spotting": ("spotting_f1", "ap", "end_to_end_f1", "fp_per_hour"),
}
# Tests of the tested models and the truth's own score: in the csv alone.
_ASIDE = ("shuffled_frames", "frozen_clip", "truth")
_CARD = ("clip_swap", "apex_follow")
_SPOTTING = ("spotting_f1", "ap", "end_to_end_f1", "strs", "fp_per_hour")


def share(run: str | Path, out: str | Path, lab: str = "") -> Path:
    """Write the folder that a lab may publish of a run.

    Parameters
    ----------
    run : str or Path
        Folder of the run.
    out : str or Path
        Folder to write; it is made, or replaced where it is an earlier share.
    lab : str
        Name under which the results stand in a comparison; by default that of the folder.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    DataError
        If the run has no intensity or spotting results, `out` holds something else, or a table would name a subject, a
        video or an event.
    """
    run, out = Path(run), Path(out)
    if out.exists() and not (out.is_dir() and ((out / RECORD).is_file() or not any(out.iterdir()))):
        raise DataError(f"{out} isn't empty and isn't an earlier share: name a new folder.")
    if run.resolve() in (out.resolve(), *out.resolve().parents):
        raise Misuse(f"{out} lies in the run that is shared: name a folder outside of it.")
    read = {path.stem: results.read_result(path) for path in sorted((run / "results").glob("*.csv"))}
    if not {"intensity", "spotting"} & set(read):
        raise DataError(f"{run} has no intensity.csv and no spotting.csv yet: run notebook 04 or 06 first.")

    tables = {name.removeprefix("face_"): read[name] for name in OPEN_TABLES if name in read}
    if "events" in read:
        tables["counts"] = _counts(read["events"])
    if "intensity" in read:
        tables["scores"] = _scores(read["intensity"], _pseudonyms(run, read["intensity"]["subject"]))
    _refuse_names(tables, [read[name] for name in ("events", "intensity") if name in read])

    for name, table in tables.items():
        cache.write_table(out / f"{name}.csv", table)
    frozen, ran = provenance.read_configuration(run), _environment(run)
    record = {
        "format": FORMAT,
        "lab": lab or out.resolve().name,
        **provenance.recorded(run),
        **{what: ran.get(what) for what in ("commit", "python", "device", "packages")},
        "code": frozen.get("code"),
        "settings": frozen.get("settings"),
        "frozen_before_any_result": not frozen.get("before"),
        "files": {f"{name}.csv": _sha256(out / f"{name}.csv") for name in sorted(tables)},
    }
    with cache.atomic(out / "README.md") as page:
        page.write_text(_page(record), encoding="utf-8")
    cache.write_json(out / RECORD, record)
    for stale in set(out.glob("*.csv")) - {out / name for name in record["files"]}:
        stale.unlink()
    return out


def compare(folders: Sequence[str | Path]) -> tuple[pd.DataFrame, list[str]]:
    """Set shared results of several labs beside each other.

    Parameters
    ----------
    folders : sequence of str or Path
        What :func:`share` wrote, of one run each.

    Returns
    -------
    table : DataFrame
        A row a lab and number: lab, dataset, protocol (paper, context, spotting), model, input, metric, estimate, low, high
        (95 % over subjects, where they are known), events, subjects.
    notes : list of str
        What makes the labs' numbers differ for another reason than the faces: data sets, profiles, code, versions.

    Raises
    ------
    DataError
        If a folder isn't a share, was changed afterwards, or two have one name.
    """
    records = [_read_record(Path(folder)) for folder in folders]
    labs = [record["lab"] for record in records]
    double = sorted({lab for lab in labs if labs.count(lab) > 1})
    if double:
        raise DataError(
            f"two of the folders are of the lab {double[0]!r}: share one again with another --lab."
        )
    parts = [_numbers(Path(folder)).assign(lab=lab) for folder, lab in zip(folders, labs, strict=True)]
    table = pd.concat(parts, ignore_index=True)
    columns = ["lab", "dataset", "protocol", "model", "input", "metric", "estimate", "low", "high"]
    return table[[*columns, "events", "subjects"]], _notes(records)


def side_by_side(table: pd.DataFrame) -> tuple[list[str], list[tuple[str, ...]]]:
    """Columns and rows of a screen: the numbers that both papers are about, a column a lab."""
    labs = list(dict.fromkeys(table["lab"]))
    shown = table[~table["model"].isin(_ASIDE)]
    headlines = [
        (protocol, metric) for protocol, metrics in _HEADLINES.items() for metric in (*metrics, *_CARD)
    ]
    shown = shown[pd.MultiIndex.from_frame(shown[["protocol", "metric"]]).isin(headlines)]
    places = {pair: place for place, pair in enumerate(results.ordered(shown))}
    rows = []
    for key, part in shown.groupby(["protocol", "dataset", "metric", "model", "input"], sort=False):
        protocol, dataset, metric, model, used = map(str, key)
        cells = {
            row["lab"]: answers.interval_text(row, digits=0 if abs(row["estimate"]) >= 10 else 3)
            for row in results.records(part)
        }
        words = (f"{dataset}, {protocol}", results.spaced(metric), results.label(model, used))
        rows.append(
            (words[:2], places.get((model, used), -1), (*words, *(cells.get(lab, "") for lab in labs)))
        )
    return ["data, protocol", "measure", "model", *labs], [row for *_, row in sorted(rows)]


def _counts(events):
    """Events and subjects by data set, kind, status and class."""
    groups = events.fillna({"emotion_class": "", "kind": ""}).groupby(
        ["dataset", "kind", "status", "emotion_class"]
    )
    return groups.agg(events=("event", "size"), subjects=("subject", "nunique")).reset_index()


def _pseudonyms(run, subjects):
    """Subject -> pseudonym, drawn at random the first time and kept in the run's folder for its owner alone."""
    file = run / PSEUDONYMS
    try:
        order = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    except ValueError:
        raise DataError(f"{file} can't be read: remove it, and new pseudonyms are drawn.") from None
    new = sorted({str(subject) for subject in subjects if subject == subject and subject != ""} - set(order))
    if new:
        secrets.SystemRandom().shuffle(new)
        order += new
        cache.write_json(file, order)
        os.chmod(file, 0o600)
    return {subject: f"p{place:03d}" for place, subject in enumerate(order, start=1)}


def _scores(intensity, pseudonyms):
    """Mean over each subject's events, a row a pseudonym, fold, training, model and metric."""
    rows = intensity[intensity["subject"].ne("")].dropna(subset=["value"])
    rows = rows.assign(subject=rows["subject"].map(pseudonyms))
    by = ["dataset", "protocol", "model", "input", "fold", "seed", "subject", "metric"]
    means = rows.groupby(by, as_index=False).agg(events=("value", "size"), value=("value", "mean"))
    return means.sort_values(by, ignore_index=True)


def _refuse_names(tables, named):
    """A name of a subject, video or event in a shared table, or a column made for one, ends the sharing."""
    columns = ("subject", "video", "event")
    names = {str(name) for table in named for column in columns if column in table for name in table[column]}
    names = {name for name in names if not name.isdecimal()}  # a bare number may be a count
    for title, table in tables.items():
        private = [] if title in ("scores", "counts") else [column for column in _PRIVATE if column in table]
        texts = [column for column in table if not pd.api.types.is_numeric_dtype(table[column])]
        naming = [
            column for column in texts if names & set(" ".join(table[column].dropna().astype(str)).split())
        ]
        if private or naming:
            raise DataError(
                f"{title}.csv names a person or a recording in {(private or naming)[0]}: it can't be shared."
            )


def _environment(run):
    """What the notebooks ran on: the record that the runner leaves."""
    file = run / "environment.json"
    if not file.is_file():
        raise DataError(f"{run} has no {file.name}: let `melib run` finish a notebook of it first.")
    return json.loads(file.read_text(encoding="utf-8"))


def _sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _page(record):
    files = "\n".join(f"- `{name}`" for name in record["files"])
    return f"""# Results of {record["lab"]}, shared without a face

Made by `melib share` from a run of profile {record["profile"]}, seed {record["seed"]}, on {", ".join(record["data"])};
commit {record["commit"]}.

{files}

In here: counts, scores by pseudonym and fold, controls, face card, settings and versions (`{RECORD}`, with a checksum
a file). Not in here: images, curves, frame numbers, names of subjects, videos and events. Pseudonyms were drawn at random
and can't be undone from these files; whoever holds the data may still recognise a subject by its number of events. Set
it beside others' with `melib compare`.
"""


def _read_record(folder):
    file = folder / RECORD
    if not file.is_file():
        raise DataError(
            f"{folder} isn't a shared folder: it has no {RECORD}; make one by melib share RUN --out FOLDER."
        )
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        form, lab, listed = record["format"], str(record["lab"]), dict(record["files"])
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{file} can't be read: ask its lab to share again.") from None
    if form != FORMAT:
        raise DataError(f"{folder} was shared in format {form}, this melib reads {FORMAT}: share it again.")
    for name, known in listed.items():
        if Path(name).name != name or not (folder / name).is_file() or _sha256(folder / name) != known:
            raise DataError(f"{folder / name} isn't what was shared: ask its lab for the folder again.")
    return record | {"lab": lab}


def _numbers(folder):
    """All of a lab's numbers in long form: scores with their intervals, the card, spotting under the strict rule."""
    parts = []
    if (folder / "scores.csv").is_file():
        scores = results.read_result(folder / "scores.csv")
        # A row is a mean already, and stands for one event of its subject: the mean over subjects is the same.
        parts.append(results.intervals(scores.assign(event="all"), _SCORE).drop(columns="events"))
        counted = scores.groupby([*_SCORE, "subject"])["events"].max().groupby(_SCORE).sum()
        parts[-1] = parts[-1].join(counted, on=_SCORE)
    if (folder / "card.csv").is_file():
        card = results.over_seeds(results.read_result(folder / "card.csv"))
        parts.append(card.rename(columns={"quantity": "metric", "clips": "events"}))
    if (folder / "spotting.csv").is_file():
        spotting = results.read_result(folder / "spotting.csv")
        keys = ("dataset", "system", "decoder", "features", "target", "training")
        times = answers.trainings(spotting)
        spotting = results.over_seeds(spotting[spotting["rule"] == "strict"], keys)
        counted = (spotting["tp"] + spotting["fn"]) / np.where(spotting["seed"].isna(), times, 1)
        for metric in _SPOTTING:
            ends = {end: spotting.get(f"{metric}_{end}", np.nan) for end in ("low", "high")}
            parts.append(
                spotting[["dataset"]].assign(
                    protocol="spotting", model=spotting["system"], input=spotting["decoder"], metric=metric,
                    estimate=spotting[metric], **ends, events=counted, subjects=np.nan,
                )
            )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _notes(records) -> list[str]:
    first, notes = records[0], []
    words = {"data": "data sets", "packages": "package versions", "profile": "profiles", "seed": "seeds"}
    for what in ("data", "profile", "seed", "code", "packages", "settings"):
        others = [record["lab"] for record in records[1:] if record.get(what) != first.get(what)]
        if others:
            notes.append(f"{words.get(what, what)} of {', '.join(others)} aren't those of {first['lab']}")
    late = [record["lab"] for record in records if not record.get("frozen_before_any_result")]
    if late:
        notes.append(f"the configuration of {', '.join(late)} wasn't frozen before the first result")
    return notes

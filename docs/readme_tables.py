"""The numbers of README.md and docs/results.md, made of a run's results: nobody types one.

    .venv/bin/python docs/readme_tables.py runs/demo    results/*.csv -> docs/results/*.csv -> both pages
    .venv/bin/python docs/readme_tables.py              both pages again from docs/results/

A block of a page lies between ``<!-- NAME, made by docs/readme_tables.py -->`` and ``<!-- end -->``; what is between is
replaced. docs/results/ holds the rows that the blocks need, and origin.json: which table is of which run, commit and day.
A run that stopped half way, or ran some notebooks, replaces the tables that it has; the others stay those of the run before.
`tests/test_readme.py` holds the pages against them.
"""

import datetime
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from melib.data import cache
from melib.paper import answers
from melib.study import results
from melib.study.provenance import recorded

DOCS = Path(__file__).parent
PAGES = (DOCS.parent / "README.md", DOCS / "results.md")
_BLOCK = re.compile(r"(<!-- (\w+), made by docs/readme_tables.py -->\n).*?(<!-- end -->)", re.DOTALL)
# What the intensity table shows: head, protocol, metric, and which events by their true peak.
_AGREEMENT = (
    ("paper protocol, pseudo-label", "paper", "spearman_pseudo", "all"),
    ("paper protocol, truth", "paper", "spearman_true", "all"),
    ("context, inside the event", "context", "inside_spearman_true", "all"),
    ("context, inside, 1 px or more", "context", "inside_spearman_true", ">= 1 px"),
)
_CARD = (("apex follow", "apex_follow"), ("clip swap", "clip_swap"))
# Rows: learned first, then what a reader needs to judge them.
_MODELS = (
    ("resnet18_bigru", "flow", "ResNet18 + BiGRU, flow"),
    ("resnet18_bigru", "difference", "ResNet18 + BiGRU, difference"),
    ("resnet18_bigru", "raw", "ResNet18 + BiGRU, raw frames (the paper's input)"),
    ("framewise", "raw", "ResNet18 frame by frame, raw"),
    ("constant_frame", "raw", "*control*: trained on one frame, repeated"),
    ("position_only", "none", "*control*: position only, no pixel"),
    ("flow_magnitude", "flow", "*control*: flow magnitude, untrained"),
    ("oracle_interval", "none", "*control*: true onset and offset, mean shape"),
    ("pseudo_label", "none", "*ceiling*: the labels themselves"),
)
_PARTS = {"spotting_f1": 3, "end_to_end_f1": 3, "fp_per_hour": 0}  # and their digits
_SCORES = ["spotting F1", "end-to-end F1", "false alarms an hour", "STRS"]
_SYSTEMS = {
    "chance": "*control*: chance, no pixel",
    "motion": "*control*: length of the motion, untrained",
    "reference, published": "the reference as published, faults kept",
    "reference, repaired": "the reference, mended",
    "ours": "**ours**",
    "intensity model": "the intensity paper's model, same decoder",
    "ours + intensity model": "ours and the intensity model",
}


def keep(run: Path) -> None:
    """Copy the results that the blocks need from a run's folder, and say where they come from."""
    made_with = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    day = datetime.date.fromtimestamp((run / "environment.json").stat().st_mtime).isoformat()
    about = {**recorded(run), "commit": made_with["commit"], "day": day, "device": made_with["device"]}
    about["seconds"] = _seconds(run)
    origin = DOCS / "results" / "origin.json"
    tables = _tables() if origin.is_file() else {}
    asked = {rule["result"] for rule in answers.rules().values()}
    for name in sorted({"summary", "transfer_loss", "spotting", "spotting_transfer", *asked}):
        theirs = run / "results" / f"{name}.csv"
        if not theirs.is_file():
            continue
        table = results.read_result(theirs)
        if name == "summary":
            shown = {(protocol, metric, amplitude) for _, protocol, metric, amplitude in _AGREEMENT}
            rows = zip(table["protocol"], table["metric"], table["amplitude"], strict=True)
            table = table[[row in shown for row in rows]]
        if name == "transfer_loss":
            table = table[(table["protocol"] == "context") & (table["metric"] == "inside_spearman_true")]
        if name in ("spotting", "spotting_transfer"):
            table = table[table["rule"] == "strict"]
        cache.write_table(DOCS / "results" / f"{name}.csv", table)
        tables[name] = about
    runs = [about for i, about in enumerate(tables.values()) if about not in [*tables.values()][:i]]
    of = {name: runs.index(about) for name, about in sorted(tables.items())}
    cache.write_json(origin, {"runs": runs, "tables": of})


def _seconds(run: Path) -> dict[str, int]:
    """How long each notebook took, all its starts together: a later one goes on from what an earlier one left."""
    seconds: dict[str, int] = {}
    for name, took in re.findall(
        r" (\w+): finished in (\d+) s", (run / "log.txt").read_text(encoding="utf-8")
    ):
        seconds[name] = seconds.get(name, 0) + int(took)
    return seconds


def blocks() -> dict[str, str]:
    """Markdown of every block by its name, from docs/results alone."""
    return {
        "time": _time(),
        "missed": _missed(),
        "intensity": _intensity(),
        "published": _published(),
        "aims": _aims(),
        "families": _families(),
        "spotting": _spotting("spotting"),
        "transfer": _spotting("spotting_transfer"),
        "parts": _parts(),
        "choices": _choices(),
        "variants": _variants(),
        "sharing": _sharing(),
        "answers": answers.markdown(DOCS, *(name for name in answers.rules() if name != "aims")),
    }


def filled(text: str) -> str:
    """The text of a page with its blocks made again."""
    made = blocks()
    return _BLOCK.sub(lambda block: f"{block[1]}{made[block[2]]}\n{block[3]}", text)


def _tables() -> dict[str, dict[str, Any]]:
    """Each table that was kept, and the run that it is of."""
    kept = json.loads((DOCS / "results" / "origin.json").read_text(encoding="utf-8"))
    return {name: kept["runs"][i] for name, i in kept["tables"].items()}


def _time() -> str:
    lines = []
    for name, about in {_named(about): about for about in _tables().values()}.items():
        of = ", ".join(sorted({part[:2] for part in about["seconds"] if part[:2].isdigit()}))
        minutes = sum(about["seconds"].values()) / 60
        lines.append(f"{minutes:.0f} minutes on {about['device']}: {name}, notebooks {of}.")
    return " ".join(lines)


def _named(about: dict[str, Any]) -> str:
    return f"profile {about['profile']}, seed {about['seed']}, commit {about['commit'][:7]}, {about['day']}"


def _origin(name: str) -> str:
    """Which run a table is of, and how often it trained each model."""
    (table,) = results.read_results(DOCS, name)
    times = answers.trainings(table)
    return f"{_named(_tables()[name])}, each model trained {'once' if times == 1 else f'{times} times'}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _intensity() -> str:
    summary, card = results.read_results(DOCS, "summary", "face_card")
    agreement = {
        (r["model"], r["input"], r["protocol"], r["metric"], r["amplitude"]): r
        for r in results.records(summary)
    }
    seen = {
        (r["model"], r["input"], r["quantity"]): r
        for r in results.records(results.over_seeds(card[card["protocol"] == "context"]))
    }
    rows = []
    for model, used, name in _MODELS:
        scores = [agreement.get((model, used, *asked[1:])) for asked in _AGREEMENT]
        scores += [seen.get((model, used, quantity)) for _, quantity in _CARD]
        rows.append([name, *("" if row is None else answers.interval_text(row) for row in scores)])
    whole = summary[summary["amplitude"] == "all"]
    counted = f"{whole['subjects'].max():.0f} subjects, {whole['events'].max():.0f} events"
    head = ["", *(asked[0] for asked in _AGREEMENT), *(title for title, _ in _CARD)]
    of = _origin("model_differences")
    caption = f"Simulated clips, {counted} ({of}). Spearman, mean over subjects with 95 % intervals:"
    return f"{caption}\n\n{_table(head, rows)}"


def _families() -> str:
    """Agreement on the families of movements that were trained on, and on another."""
    (table,) = results.read_results(DOCS, "transfer_loss")
    known = {(row["model"], row["input"]): row for row in results.records(table)}
    sides = ("within", "across")
    rows = [
        [name, *(answers.interval_text(known[model, used], side) for side in sides)]
        for model, used, name in _MODELS
        if (model, used) in known
    ]
    asked = (
        "Spearman with the truth, inside the event, context protocol, mean over subjects with 95 % intervals"
    )
    caption = f"{asked} ({_named(_tables()['transfer_loss'])}):"
    return f"{caption}\n\n{_table(['', 'families trained on', 'another family'], rows)}"


def _published() -> str:
    (table,) = results.read_results(DOCS, "published_control")
    table = table.assign(alone=table.get("alone", table["control"]))
    rows = results.records(table[(table["metric"] == "spearman_pseudo") & table["paper"].notna()])
    beside = [f"{answers.interval_text(r, 'alone', 4)} against {r['paper']:.4f} on {r['of']}" for r in rows]
    return (
        f"Spearman of position alone against that of the published network, paper protocol: {', '.join(beside)}. Where no "
        "interval is shown none is known; `melib run --profile published --only 03` on your copy of a table gives it."
    )


def _missed() -> str:
    aims = _aim_rows()
    missed = [f"- {aim}: {result}, needed: {needed}." for aim, needed, result, holds in aims if not holds]
    return "\n".join([f"Of {len(aims)} aims {len(missed)} were missed (flow, context protocol):\n", *missed])


def _aims() -> str:
    rows = [[*texts, "holds" if holds else "**missed**"] for *texts, holds in _aim_rows()]
    return _table(["aim", "needed", "result", ""], rows)


def _aim_rows() -> list[tuple[str, str, str, bool]]:
    """Aim, what it needed, what came out, whether it holds."""
    (claims,), rows = results.read_results(DOCS, "claims"), []
    ceilings = {"ceiling": "the truth itself", "labels": "the labels", "magnitude": "untrained magnitude"}
    for row in results.records(claims):
        metric, over, other = row["claim"].partition(" over ")
        name = results.METRICS.get(metric) or results.QUANTITIES.get(metric, (metric,))[0]
        name += f", over {results.label(other, 'none')}" if over else ""
        result = f"{answers.interval_text(row, sign=bool(over))}, {row['events']:.0f} events"
        beside = [
            f"{what} {row[n]:.2f}" for n, what in ceilings.items() if row.get(n, math.nan) == row.get(n)
        ]
        result += f" ({', '.join(beside)})" if beside else ""
        rows.append((name, row["needed"], result, bool(row["holds"])))
    return rows


def _spotting(name: str) -> str:
    """Systems in the videos that were trained on, or in others; nothing where the run is older."""
    tables = results.read_results(DOCS, name)
    return _systems(*tables, _origin(name)) if tables else f"Of this run there is no `results/{name}.csv`."


def _systems(table: pd.DataFrame, origin: str) -> str:
    first, times = table.iloc[0], answers.trainings(table)
    table = results.over_seeds(table, ["dataset", "system"])
    table = table[table["system"].isin(_SYSTEMS)]
    rows = []
    for row in results.records(table):
        n = times if row["seed"] != row["seed"] else 1  # counts of all trainings
        counts = " / ".join(f"{row[name] / n:.0f}" for name in ("tp", "fp", "fn"))
        f1, end_to_end, strs = (
            answers.interval_text(row, name) for name in ("spotting_f1", "end_to_end_f1", "strs")
        )
        alarms = answers.interval_text(row, "fp_per_hour", 0)
        rows.append([_SYSTEMS[row["system"]], counts, f1, f"{row['ap']:.2f}", end_to_end, alarms, strs])
    head = [
        "",
        "found / invented / missed" + " (mean of the trainings)" * (times > 1),
        _SCORES[0],
        "AP",
        *_SCORES[1:],
    ]
    caption = (
        f"{first['videos']:.0f} simulated videos, {first['minutes']:.0f} minutes, {first['tp'] + first['fn']:.0f} "
        f"micro-expressions ({origin}); every video scored, one-to-one matching at IoU .5; 95 % intervals over "
        "subjects:"
    )
    return f"{caption}\n\n{_table(head, rows)}"


def _parts() -> str:
    (table,) = results.read_results(DOCS, "factorial")
    digits = _PARTS | {"strs": 3}
    rows = []
    for (factor, ours, reference), part in table.groupby(["factor", "ours", "reference"], sort=False):
        effects = {row["metric"]: row for row in results.records(part)}
        cells = [answers.interval_text(effects[m], "effect", d, sign=True) for m, d in digits.items()]
        rows.append([factor, f"{results.spaced(ours)} for {results.spaced(reference)}", *cells])
    head = ["part", "ours for the reference's", *_SCORES]
    caption = f"Mean over {table['combinations'].max()} combinations ({_origin('factorial')}); 95 % intervals over subjects:"
    return f"{caption}\n\n{_table(head, rows)}"


def _choices() -> str:
    """Single parts of our system, each against what it is asked about, with p after Holm; nothing where the run is older."""
    rows = []
    for table in results.read_results(DOCS, "spotting_parts"):
        for (asked, *about), part in table.groupby(["question", "system", "against"], sort=False):
            by = {row["metric"]: row for row in results.records(part)}
            cells = [_tested(by.get(metric, {}), digits) for metric, digits in _PARTS.items()]
            rows.append([asked, " less ".join(about), *cells])
    head = ["question", "difference", "spotting F1", "end-to-end F1", "false alarms an hour"]
    return _table(head, rows) if rows else "Of this run there is no `results/spotting_parts.csv`."


def _variants() -> str:
    """The intensity model with one thing changed, beside another seed."""
    (table,), rows = results.read_results(DOCS, "ablation_differences"), []
    chosen = {"context": "inside_spearman_true", "paper": "spearman_pseudo"}
    shown = table[(table["metric"] == table["protocol"].map(chosen)) & (table["family"] != "control")]
    for row in results.records(shown):
        rows.append([row["protocol"], row["base"], row["variant"], _tested(row, 3)])
    head = ["protocol", "base", "changed", "difference, p after Holm"]
    asked = "Spearman with the truth inside the event (context), with the pseudo-label (paper), less that of the base"
    return f"{asked} ({_origin('ablation_differences')}):\n\n{_table(head, rows)}"


def _tested(row: dict[str, Any], digits: int) -> str:
    """A difference, and its p where somebody declared a test."""
    p = row.get("p_holm", math.nan)
    text = answers.interval_text(row, "difference", digits, sign=True)
    return text + (f", p {p:.3f}" if p >= 0 else "")


def _sharing() -> str:
    """What sharing the body does, the alarms that it raises, and what another seed does to the same numbers."""
    said = answers.verdicts(DOCS, "sharing", "synergy")
    lines = [f"{v.question} **{v.answer}**: {v.effect}, {v.about}." for v in said if v.standing != "missing"]
    for table in results.read_results(DOCS, "spotting_parts"):
        named = table["question"].isin(["sharing", "sham"]) & (table["metric"] == "fp_per_hour")
        alarms = [
            f"{row['system']}, less {row['against']}, {_tested(row, 0)}"
            for row in results.records(table[named])
        ]
        lines.append(f"False alarms an hour: {'; '.join(alarms)}.")
    return "\n".join(f"- {line}" for line in lines)


def main() -> None:
    """Fill the pages, from a run's folder where one is named."""
    if len(sys.argv) > 1:
        run = Path(sys.argv[1])
        if not (run / "environment.json").is_file():
            raise SystemExit(f"{run} is no folder of a run: name one, as in runs/demo")
        keep(run)
    for page in PAGES:
        with cache.atomic(page) as temporary:
            temporary.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Paired tests of a run: declared beforehand in comparisons.yml, corrected family by family, gathered in one table.

    comparisons.yml --> claims, model_differences, ablation_differences, spotting_claims,       p of each test
                        system_differences, variant_differences, spotting_parts,                p_holm over its family
                        decoder_differences
                    --> statistics.csv                                                          every test of the run, once

A family is what one line of comparisons.yml declares, on one data set. p comes from swapping the two sides for a random half
of the subjects, the effect is the mean difference over subjects divided by its standard deviation over subjects.
"""

from collections.abc import Collection, Sequence
from functools import cache as once
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from melib import stats
from melib.errors import DataError
from melib.study import results

COLUMNS = [
    *("family", "dataset", "protocol", "comparison", "metric", "difference", "low", "high", "p", "p_holm"),
    *("effect", "significant", "subjects", "seeds"),
]


@once
def declared() -> dict[str, Any]:
    """Families of paired comparisons by name, as comparisons.yml declares them; and alpha."""
    return yaml.safe_load(Path(__file__).with_name("comparisons.yml").read_text(encoding="utf-8"))


# The model that the claims of intensity are about was named before any test subject was scored.
CANDIDATE: tuple[str, str] = tuple(declared()["intensity_claims"]["ours"])


def alpha() -> float:
    """Level of every family: the chance of one false finding or more."""
    return float(declared()["alpha"])


def metric_of(family: str, protocol: str, known: Collection[str]) -> str:
    """The metric that a family is tested in under a protocol: the first declared one that is known; empty if none is."""
    return next((metric for metric in declared()[family]["metrics"][protocol] if metric in known), "")


def corrected(table: pd.DataFrame, family: str, test: Sequence[str]) -> pd.DataFrame:
    """Correct the p-values of a table, which is one family, and say what is significant.

    Parameters
    ----------
    table : DataFrame
        p; a row without one isn't a test. Where there is a column ``dataset``, each data set is corrected by itself.
    family : str
        Its name in comparisons.yml.
    test : sequence of str
        Columns that tell one test from another: rows that agree in them are the same test and count once.

    Returns
    -------
    DataFrame
        The same rows, and at the end family (empty where there is no test), p_holm, significant (p_holm at most alpha),
        tests (how many the family has).
    """
    if family not in declared():
        raise KeyError(f"{family}: no family of comparisons.yml")
    keys = [*(["dataset"] if "dataset" in table else []), *test]
    once = table.dropna(subset=["p"]).drop_duplicates(keys)
    parts = [part for _, part in once.groupby("dataset", sort=False)] if "dataset" in table else [once]
    known = pd.concat(
        [part.assign(p_holm=stats.holm(part["p"]), tests=len(part)) for part in parts or [once]]
    )
    adjusted = known.set_index(keys)[["p_holm", "tests"]].reindex(table.set_index(keys).index)
    tested = table["p"].notna().to_numpy()
    return table.assign(
        family=np.where(tested, family, ""),
        p_holm=np.where(tested, adjusted["p_holm"], np.nan),
        significant=tested & (adjusted["p_holm"] <= alpha()).to_numpy(),
        tests=np.where(tested, adjusted["tests"], 0).astype(int),
    )


# Tables of tests by their name, in the order of comparisons.yml: their family, and what the two sides of a row are called.
TABLES = {
    "claims": ("intensity_claims", "{tested} over {beside}"),
    "model_differences": ("intensity_models", "{tested} over {beside}"),
    "ablation_differences": ("intensity_ablations", "{family}: {variant} against {base}"),
    "spotting_claims": ("spotting_claims", "{system} against {against}"),
    "system_differences": ("spotting_systems", "{system} against {against}"),
    "variant_differences": ("spotting_ablations", "{system} against {against}"),
    "spotting_parts": ("spotting_parts", "{question}: {system} against {against}"),
    "decoder_differences": ("decoder_differences", "{ours} against {other}; {setting}"),
}


def _sides(form: str, row: dict[str, Any]) -> str:
    """What a test compares: ``ResNet18 + BiGRU, flow over flow magnitude, at 1 px or more``."""
    claims = declared()["spotting_claims"]
    words = {"system": claims["ours"], "against": claims["other"]} | row
    if "model" in row:
        words["tested"] = results.label(row["model"], row["input"])
    if "control" in row:
        words["beside"] = results.label(row["control"], row["control_input"])
    elif {"model", "claim"} <= {*row}:  # the control, and which events it is about
        other, about = row["claim"].partition(" over ")[2], row["needed"].rpartition("above 0")[2]
        words["beside"] = results.label(other, "none") + about
    return form.format_map(words)


def statistics(run: str | Path) -> pd.DataFrame:
    """Every paired test of a run, once, from its result tables alone.

    Parameters
    ----------
    run : str or Path
        Folder of the run.

    Returns
    -------
    DataFrame
        family, dataset, protocol (empty for spotting), comparison, metric, difference, low, high (95 %), p, p_holm (Holm
        within the family on that data set), effect, significant, subjects, seeds; tests (how many the family has there).

    Raises
    ------
    DataError
        If an older version wrote a table, without the corrected p.
    """
    parts = []
    for name, (family, form) in TABLES.items():
        for table in results.read_results(run, name):
            if "p_holm" not in table:
                raise DataError(
                    f"{name}.csv has no column p_holm: an older melib wrote it, run its notebook again"
                )
            rows = table[table["p"].notna()].rename(columns={"estimate": "difference"})
            if name == "claims":
                rows = rows.assign(metric=rows["claim"].str.split(" over ").str[0])
            rows = rows.assign(comparison=[_sides(form, row) for row in results.records(rows)], family=family)
            parts.append(rows.reindex(columns=COLUMNS))
    if not parts:
        return pd.DataFrame(columns=[*COLUMNS, "tests"])
    tests = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    tests["protocol"] = tests["protocol"].fillna("")
    tests = tests.drop_duplicates(COLUMNS[:5], ignore_index=True)
    return tests.assign(tests=tests.groupby(["family", "dataset"])["p"].transform("size"))


def note(rows: pd.DataFrame, *families: str) -> str:
    """Say in a caption what a mark of significance means: level, number of tests, family."""
    sizes = rows.groupby("family")["tests"].max()
    counts = [f"{int(sizes[family])} tests (family: {family.replace('_', ' ')})" for family in families]
    return f"significant at {alpha():g} after Holm's correction over {' and '.join(counts)}"

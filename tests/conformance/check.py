"""Hold a scorer against the conformance cases of this folder; Python alone is needed.

python check.py strict scores.csv                 a row a case: case, and any columns of expected.csv
python check.py strict my_package.scores:strs     a function (predicted, truth, emotions) -> dict of such values
python check.py scores.csv                        how many cases agree with each rule
"""

import csv
import importlib
import math
import sys
from pathlib import Path

HERE = Path(__file__).parent
RULES = ("strict", "megc", "boosting")
TOLERANCE = 1e-5


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def expected(rule):
    """Case -> its row of expected.csv."""
    return {row["case"]: row for row in read(HERE / "expected.csv") if row["rule"] == rule}


def scores(source, rule):
    """Case -> values by a table, or by a function that is given every case."""
    if ":" not in source or Path(source).is_file():
        return {row.pop("case"): row for row in read(source)}
    module, name = source.rsplit(":", 1)
    scorer, values = getattr(importlib.import_module(module), name), {}
    for case, row in expected(rule).items():
        rows = read(HERE / "cases" / f"{case}.csv")
        sides = ([r for r in rows if r["role"] == role] for role in ("predicted", "truth"))
        values[case] = scorer(*sides, row["emotions"].split() or None)
    return values


def differences(rule, values):
    """What differs: list of (case, column, expected, yours); a case that is missing counts."""
    out = []
    for case, row in expected(rule).items():
        if case not in values:
            out.append((case, "", "", "missing"))
        for column, value in values.get(case, {}).items():
            if column in row and column not in ("case", "rule", "emotions"):
                due, got = float(row[column]), math.nan if value == "" else float(value)
                alike = math.isclose(due, got, abs_tol=TOLERANCE) or (math.isnan(due) and math.isnan(got))
                out += [] if alike else [(case, column, f"{due:g}", f"{got:g}")]
    return out


def main(arguments):
    if not 1 <= len(arguments) <= 2 or (len(arguments) == 2 and arguments[0] not in RULES):
        print(__doc__)
        return 2
    chosen, source = (arguments[:1], arguments[-1]) if len(arguments) == 2 else (RULES, arguments[0])
    sys.path.insert(0, "")
    for rule in chosen:
        wrong = differences(rule, scores(source, rule))
        cases = expected(rule)
        print(f"{rule}: {len(cases) - len({case for case, *_ in wrong})} of {len(cases)} cases agree")
        if len(arguments) == 2:
            for case, column, due, got in wrong:
                print(f"  {case}: {column} {got}" + (f", expected {due}" if due else ""))
    return int(len(arguments) == 2 and bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Tables for a manuscript: the csv's numbers rounded, LaTeX that compiles, from results alone."""

import itertools
import json
import re
import shutil
import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import a_run, results
from test_figures import CONTROL, EVENTS, PUBLISHED_CONTROL, curve_table
from test_spotting_figures import TABLES as SPOTTING

from melib import DataError
from melib.app import runner
from melib.data import cache
from melib.paper import figures, latex
from melib.study import comparisons, published, spotting_runs
from melib.study.ablations import DIFFERENCES, PRIORS, TABLE
from melib.study.provenance import NOTEBOOK, origin
from melib.study.results import intervals, read_result, records
from melib.study.spotting_decoding import DECODERS, FAULTS

RNG = np.random.default_rng(0)
SCORES = ("spotting_f1", "strs", "end_to_end_f1", "fp_per_hour")


def frame(rows, columns):
    return pd.DataFrame(rows, columns=columns.split()).assign(dataset="synthme_lv")


def around(value):
    return value, value - 0.0517, value + 0.0333


def systems(names):
    rows = []
    for name in names:
        row = {
            "system": name,
            "seed": 0,
            "videos": 8,
            "minutes": 12.4,
            "tp": 3,
            "fp": 40,
            "fn": 7,
            "ap": RNG.random(),
        }
        row |= {"recognition_f1": RNG.random(), "dataset": "synthme_lv", "rule": "strict"}
        for score in SCORES:
            value = RNG.random() * (400 if score == "fp_per_hour" else 1)
            row |= {score: value, f"{score}_low": value * 0.9, f"{score}_high": value * 1.1}
        rows += [row, row | {"rule": "megc"}]
    return pd.DataFrame(rows)


def summary():
    keys = ["dataset", "protocol", "model", "input", "metric"]
    found = intervals(results(), keys)
    return pd.concat([found.assign(amplitude=name) for name in ("all", "0 to 0.5 px", ">= 1 px")])


TEST = ["protocol", "model", "input", "control", "metric"]


def evaluation_like():
    """Like model_differences.csv before the correction."""
    rows = [
        ("paper", "resnet18_bigru", "flow", "position_only", "none", "spearman_pseudo", 0.0001),
        ("paper", "resnet18_bigru", "flow", "constant_frame", "raw", "spearman_pseudo", 0.9),
        ("context", "resnet18_bigru", "flow", "position_only", "none", "inside_spearman_true", 0.0001),
        ("context", "resnet18_bigru", "flow", "flow_magnitude", "flow", "inside_spearman_true", 0.0001),
        ("context", "resnet18_bigru", "raw", "position_only", "none", "inside_spearman_true", 0.03),
    ]
    columns = ["protocol", "model", "input", "control", "control_input", "metric", "p"]
    table = pd.DataFrame(rows, columns=columns).assign(dataset="synthme", difference=0.1, low=0.05, high=0.15)
    return table.assign(effect=0.5, events=24, subjects=8, seeds=1)


def as_family(table, family, test):
    return comparisons.corrected(table.assign(effect=0.5, subjects=8, seeds=1), family, test)


def ablations():
    """intensity_ablations.csv and ablation_differences.csv of one base, two variants and two controls."""
    rows, gaps = [], []
    for protocol, metric in (("context", "inside_spearman_true"), ("paper", "spearman_pseudo")):
        for base, family, variant, model in (
            ("base", "base", "base", "resnet18_bigru"),
            ("base", "temporal", "no temporal model", "framewise"),
            ("base", "labels", "labels off by 2 frames", "resnet18_bigru"),
            ("base", "labels", "labels off by 6 frames", "resnet18_bigru"),
            ("", "control", "position only", "position_only"),
            ("", "control", "the truth itself", "truth"),
        ):
            about = ("synthme", protocol, family, variant, model, "flow")
            rows += [
                (*about, name, *around(0.7), 24, 8, base) for name in (metric, "clip_swap", "apex_follow")
            ]
            if family not in ("base", "control"):
                gap = (
                    *about[:4],
                    "base",
                    metric,
                    *around(-0.1),
                    0.0001,
                    -0.6,
                    0.0003,
                    True,
                    24,
                    8,
                    1,
                    model,
                    "flow",
                )
                gaps.append(gap)
    table = pd.DataFrame(rows, columns=[*TABLE, "estimate", "low", "high", "events", "subjects", "base"])
    return {"intensity_ablations": table, "ablation_differences": pd.DataFrame(gaps, columns=DIFFERENCES)}


def prior_match():
    rows = [
        ("synthme", "context", prior, landmarks, jitter, metric, *around(0.9), 24, 8)
        for prior in PRIORS
        for landmarks, jitter in (("exact", 0), ("annotated", np.nan), ("off by 2 frames", 2))
        for metric in ("ccc", "inside_spearman")
    ]
    names = [
        "dataset",
        "protocol",
        "prior",
        "landmarks",
        "jitter",
        "metric",
        "estimate",
        "low",
        "high",
        "events",
    ]
    less = dict(zip(("less_triangle", "less_triangle_low", "less_triangle_high"), around(0.01), strict=True))
    return pd.DataFrame(rows, columns=[*names, "subjects"]).assign(**less, p=0.2)


# Every result that a table is made of.
RESULTS = {
    **ablations(),
    "prior_match": prior_match(),
    "summary": summary(),
    "position_control": CONTROL,
    "published_control": PUBLISHED_CONTROL,
    "model_differences": comparisons.corrected(evaluation_like(), "intensity_models", TEST),
    "transfer_loss": pd.DataFrame(
        [
            ("synthme", "context", "resnet18_bigru", "flow", "inside_spearman_true", 0.9, 0.8, 0.1),
            ("synthme", "context", "flow_magnitude", "flow", "inside_spearman_true", 0.7, 0.6, 0.1),
        ],
        columns=["dataset", "protocol", "model", "input", "metric", "within", "across", "loss"],
    ).assign(within_low=0.85, within_high=0.95, across_low=0.7, across_high=0.9),
    "spotting": systems([system.name for system in spotting_runs.SYSTEMS]),
    "ablations": systems(["ours", "ours, no grafts", "reference, repaired"]),
    "spotting_claims": as_family(
        frame(
            [
                ("STRS above", "strs", 0.23, 0.02, *around(0.21), 0.0005, 86, 12.1, "above 0", True),
                ("fewer alarms", "fp_per_hour", 103, 267, *around(-163.8), 0.003, 86, np.nan, "below", False),
                ("STRS 1.5 times", "strs", 0.23, 0.02, *around(0.21), 0.0005, 86, 12.1, "1.5 times", True),
            ],
            "claim metric ours other difference low high p events events_needed needed holds",
        ),
        "spotting_claims",
        ["metric"],
    ),
    "system_differences": as_family(
        frame(
            [("chance", "strs", *around(-0.1), 0.001), ("motion", "strs", *around(-0.1), 0.4)],
            "system metric difference low high p",
        ).assign(against="reference, repaired"),
        "spotting_systems",
        ["system", "metric"],
    ),
    "recognition": frame([("ours", 4, 86, 0.3, 0.32, 0.43)], "system classes events uf1 uar accuracy"),
    "inflation_ledger": frame(
        [
            ("ours", fault, meaning, 0.2, *around(0.0))
            for fault, meaning in {"none": "nothing", **FAULTS}.items()
        ],
        "system fault meaning strs inflation low high",
    ),
    "factorial": frame(
        [
            (factor, *levels, score, *around(RNG.normal()), 16)
            for factor, levels in spotting_runs.FACTORS.items()
            for score in SCORES
        ],
        "factor reference ours metric effect low high combinations",
    ),
    "decoders": frame(
        [(of, d, iou, *around(0.5)) for of in ("own", "other") for d in DECODERS for iou in (0.3, 0.5, 0.7)],
        "setting decoder iou f1 low high",
    ),
    "variant_differences": as_family(
        frame(
            [("ours, no grafts", "strs", *around(-0.1), 0.001)], "system metric difference low high p"
        ).assign(against="ours"),
        "spotting_ablations",
        ["system", "metric"],
    ),
    "decoder_differences": as_family(
        frame(
            [
                (of, d, *around(0.04), 0.001 if of == "own" else 0.22, 86)
                for of in ("own", "other")
                for d in DECODERS
                if d != "semi_markov"
            ],
            "setting other difference low high p events",
        ).assign(ours="semi_markov", metric="spotting_f1"),
        "decoder_differences",
        ["setting", "other"],
    ),
}


@pytest.fixture
def run(tmp_path):
    return fill(a_run(tmp_path / "made up"))


def fill(folder):
    for name, table in RESULTS.items():
        cache.write_table(folder / "results" / f"{name}.csv", table)
    for name, gathered in (("statistics", comparisons.statistics), ("published_all", published.beside)):
        cache.write_table(folder / "results" / f"{name}.csv", gathered(folder))
    return folder


def cells(tex):
    """Cells of all rows of a table, heads left out."""
    body = tex.split(r"\midrule", 1)[1].split(r"\bottomrule")[0]
    lines = [line.removesuffix(r" \\") for line in body.splitlines() if line.endswith(r" \\")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)&", line)] for line in lines]


def plain(cell):
    """What a reader sees of a cell."""
    words = {r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^"}
    words |= {
        r"$^{\dagger}$": "",
        r"$^{\ddagger}$": "",
        "$<$": "<",
        "$>$": ">",
        r"$\geq$": ">=",
        "$-$": "-",
        "{[}": "[",
        "{*}": "*",
    }
    words |= {f"\\{mark}": mark for mark in "&%$#_{}"}
    return re.sub("|".join(map(re.escape, words)), lambda found: words[found[0]], cell)


def test_every_result_that_belongs_in_a_manuscript_has_its_table(run):
    assert {path.stem for path in latex.write_all(run)} == {
        *("intensity_paper", "intensity_context", "intensity_amplitude", "face_card", "claims", "transfer"),
        *("intensity_ablations_context", "intensity_ablations_paper", "prior_match"),
        *("position_control", "published_control", "published_intensity", "published_spotting"),
        *("spotting_systems", "spotting_claims", "spotting_inflation", "spotting_effects"),
        *("spotting_ablations", "spotting_decoders", "recognition"),
        *("tests_intensity_models", "tests_spotting_systems", "tests_spotting_ablations"),
    }


def test_every_printed_number_is_the_csv_s_rounded(run):
    numbers = 0
    for path, table in zip(latex.write_all(run), latex.tables(run), strict=True):
        rows = records(read_result(path.with_suffix(".csv")))
        printed = cells(path.read_text())
        assert len(rows) == len(printed) > 0
        for row, line in zip(rows, printed, strict=True):
            for column, cell in zip(table.columns, line, strict=True):
                value = row[column.name]
                if column.digits is None:
                    said = {True: "yes", False: "no", "": "--"}.get(value, value)
                    assert plain(cell) == said
                    continue
                found = [float(text) for text in re.findall(r"-?\d+\.?\d*", plain(cell))]
                bounds = [row.get(f"{column.name}_{side}", np.nan) for side in ("low", "high")]
                known = [value, *bounds] if np.isfinite(bounds).all() else [value]
                known = known if np.isfinite(value) else []
                assert len(found) == len(known), (path.name, cell, known)
                decimals = [len(text) for text in re.findall(r"\.(\d+)", cell)] or [0]
                assert max(decimals) <= 4
                np.testing.assert_allclose(found, known, rtol=0, atol=0.5 * 10.0 ** -decimals[0] + 1e-12)
                numbers += len(found)
    assert numbers > 300


def test_the_rows_are_the_results_own(run):
    latex.write_all(run)
    table = read_result(run / "tables" / "intensity_paper.csv").set_index(["model", "input"])
    known = read_result(run / "results" / "summary.csv").query("amplitude == 'all' and protocol == 'paper'")
    for row in records(known):
        mine = table.loc[(row["model"], row["input"])]
        found = [mine[row["metric"]], mine[f"{row['metric']}_low"], mine[f"{row['metric']}_high"]]
        assert found == [row["estimate"], row["low"], row["high"]]
    systems = pd.read_csv(run / "tables" / "spotting_systems.csv")
    assert list(systems["system"]) == [system.name for system in spotting_runs.SYSTEMS]


def test_published_values_stand_below_ours_and_it_is_said_aloud_that_the_data_are_others(run):
    tables = {table.name: table for table in latex.tables(run)}
    table = tables["intensity_paper"]
    below = table.rows[table.rows["source"] == "published"]
    assert list(table.rows.index[-len(below) :]) == list(below.index)
    assert below["name"].str.endswith("!?").any() and below["differs"].str.contains("OTHER DATA").all()
    assert "!: OTHER DATA" in table.caption
    known = published.values("intensity")
    for row in records(known):
        (mine,) = below[below["name"].str.startswith(f"{row['method']}, {row['dataset']} !")].to_dict(
            "records"
        )
        assert mine[row["metric"]] == row["value"]
    assert below[known["metric"].unique()].notna().to_numpy().sum() == len(known) > 8
    own = published.as_rows("samm", ["spearman_pseudo"])
    assert len(own) == 2 and not own["differs"].str.contains("OTHER DATA").any()
    assert own["what"].str.contains("samm").all() and not own["what"].str.contains("!").any()
    assert "published_spotting" in tables and "table published_spotting" in tables["spotting_systems"].caption


def test_a_mark_stands_where_a_difference_is_significant_and_nowhere_else(run):
    tables = {table.name: table for table in latex.tables(run)}
    daggers = {name: latex.printed(table).map(str) for name, table in tables.items()}
    claims = daggers["spotting_claims"].set_index("Claim")
    known = RESULTS["spotting_claims"].set_index("claim")["significant"]
    for claim, significant in known.items():
        assert latex.MARKS[0] in claims.loc[claim, "Difference"] if significant else True
    systems = daggers["spotting_systems"].set_index("System")["STRS"]
    tests = pd.concat([RESULTS["system_differences"], RESULTS["spotting_claims"].assign(system="ours")])
    significant = set(tests.loc[tests["significant"] & (tests["metric"] == "strs"), "system"])
    assert (
        {name for name, cell in systems.items() if latex.MARKS[0] in cell}
        == significant
        == {"chance", "ours"}
    )
    context = daggers["intensity_context"].set_index("Model")
    inside = context["Spearman truth, inside"]
    assert inside["ResNet18 + BiGRU, flow"].endswith("]" + latex.MARKS)
    assert not set(latex.MARKS) & set(
        "".join(inside.drop(["ResNet18 + BiGRU, flow", "ResNet18 + BiGRU, raw"]))
    )
    paper = daggers["intensity_paper"].set_index("Model")["Spearman pseudo-label"]
    assert paper["ResNet18 + BiGRU, flow"].endswith("]" + latex.MARKS[0])
    # Whoever sees a mark can read what it means, over how many tests of which family.
    for name, cells in daggers.items():
        if set(latex.MARKS) & set("".join(cells.to_numpy().ravel())):
            said = tables[name].caption
            assert re.search(
                r"significant at 0.05 after Holm's correction over \d+ tests \(family: [a-z ]+\)", said
            )


def test_the_same_results_give_the_same_bytes(run, tmp_path):
    other = fill(a_run(tmp_path / "again"))
    for folder in (run, other):
        latex.write_all(folder)
    files = sorted((run / "tables").iterdir())
    assert len(files) == 3 * 23 + 1
    assert [path.read_bytes() for path in files] == [
        path.read_bytes() for path in sorted((other / "tables").iterdir())
    ]


def structure(tex):
    """What any compiler asks for, and what a careless cell breaks."""
    code = "\n".join(line for line in tex.splitlines() if not line.startswith("%"))
    bare = re.sub(r"\\[&%$#_{}]", "", code)
    assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
    depth = np.cumsum([{"{": 1, "}": -1}.get(mark, 0) for mark in bare])
    assert depth.min() >= 0
    assert not set("%_#~^") & set(bare)
    assert re.findall(r"\\(begin|end)\{(table\*?|tabular)\}", code) in (
        [("begin", of), ("begin", "tabular"), ("end", "tabular"), ("end", of)] for of in ("table", "table*")
    )
    said = re.search(r"\\begin\{tabular\}\{@\{\}(.*)@\{\}\}", code).group(1)
    wide = len(re.findall(r">\{.*?\}p\{\d+em\}|[lr]", said))
    rows = [line for line in code.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in rows} == {wide}
    for after, line in zip(["", *code.splitlines()], code.splitlines(), strict=False):
        assert not (after.endswith((r"\\", "rule")) and line.lstrip().startswith(("[", "*")))


def test_a_table_is_well_formed_and_has_its_own_label(run):
    texts = [path.read_text() for path in latex.write_all(run)]
    for tex in texts:
        structure(tex)
        for rule in ("toprule", "midrule", "bottomrule"):
            assert rf"\{rule}" in tex
    labels = [re.search(r"\\label\{(tab:[a-z0-9-]+)\}", tex).group(1) for tex in texts]
    assert len(set(labels)) == len(labels)


@given(st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1))
def test_any_name_stays_one_cell_and_comes_back(name):
    table = latex.Table("t", pd.DataFrame({"name": [name, "b"]}), [latex.Column("name", "N")], f"Of {name}.")
    tex = latex.latex(table, {"commit": "0", "notebook": "", "settings": {}, "results": {}})
    structure(tex)
    assert plain(cells(tex)[0][0]) == name


A4 = "\\hsize=170mm\\textwidth=170mm\\textheight=250mm\\hoffset=-20mm\\voffset=-20mm\n"


@pytest.mark.long
@pytest.mark.skipif(
    not shutil.which("pdflatex"),
    reason="no pdflatex on this machine: apt-get install texlive-latex-recommended",
)
@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
def test_every_table_compiles_and_fits_the_page(run, tmp_path, columns):
    paths = latex.write_all(run)
    needed = "\\usepackage{array,booktabs,graphicx}\n"
    head = f"\\documentclass[10pt,a4paper,{columns}]{{article}}\n{A4}{needed}\\begin{{document}}\n"
    body = "".join(f"\\typeout{{TABLE {path.stem}}}\n{path.read_text()}\\clearpage\n" for path in paths)
    (tmp_path / "all.tex").write_text(f"{head}{body}\\end{{document}}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-2000:]
    for part in ended.stdout.split("TABLE ")[1:]:
        assert "Overfull \\hbox" not in part, part[:400]
        assert "Float too large" not in part, part[:400]
    assert len(ended.stdout.split("TABLE ")) == len(paths) + 1


def test_a_star_stands_where_an_interval_leaves_0_out_and_its_caption_says_so(run):
    starred = set()
    for table in latex.tables(run):
        for row, cells_of in zip(
            records(table.rows), latex.printed(table).itertuples(index=False), strict=True
        ):
            for column, cell in zip(table.columns, cells_of, strict=True):
                if str(cell).endswith(latex.APART) and table.name != "prior_match":
                    low, high = row[f"{column.name}_low"], row[f"{column.name}_high"]
                    assert low > 0 or high < 0
                    assert f"{latex.APART}: the interval leaves" in table.caption
                    starred.add(table.name)
    assert starred >= {"face_card", "spotting_effects"}


def test_tests_of_one_metric_stand_together(run):
    for table in latex.tables(run):
        if table.group:
            groups = table.rows[table.group].tolist()
            blocks = 1 + sum(a != b for a, b in itertools.pairwise(groups))
            assert blocks == len(set(groups)), table.name


@pytest.mark.parametrize("name", [*RESULTS, "face_card", "claims"])
def test_a_missing_result_leaves_out_its_tables_and_no_other(run, name):
    all_of_them = {table.name: table for table in latex.tables(run)}
    (run / "results" / f"{name}.csv").unlink()
    left = {table.name for table in latex.tables(run)}
    assert left == {of for of, table in all_of_them.items() if name not in table.results}
    assert left < set(all_of_them)


def test_a_result_without_rows_leaves_out_its_table(run):
    for path in sorted((run / "results").glob("*.csv")):
        path.write_text(path.read_text().splitlines()[0] + "\n")
    assert latex.write_all(run) == []
    assert (run / "tables" / "index.csv").read_text() == "table,rows,results,caption\n"


@pytest.mark.parametrize("name", ["claims", "model_differences", "decoder_differences"])
def test_what_an_older_version_wrote_is_refused_in_one_sentence(run, name):
    old = read_result(run / "results" / f"{name}.csv").drop(columns=["p_holm", "significant"])
    cache.write_table(run / "results" / f"{name}.csv", old)
    for ask in (latex.tables, latex.write_all):
        with pytest.raises(DataError, match=f"{name}.csv has no .*run its notebook again"):
            ask(run)


def test_a_run_without_results_has_no_table(tmp_path):
    assert latex.write_all(tmp_path) == []


def test_several_data_sets_get_a_table_each(run):
    both = pd.concat([RESULTS["recognition"], RESULTS["recognition"].assign(dataset="other")])
    cache.write_table(run / "results" / "recognition.csv", both)
    found = {table.name: table for table in latex.tables(run)}
    assert {"recognition_synthme_lv", "recognition_other"} <= set(found)
    assert "Data: other (simulated)." in found["recognition_other"].caption


def test_what_is_licensed_is_not_called_simulated(run):
    (run / "parameters.yml").write_text('{profile: paper, seed: 0, data: \'{"samm": "/data"}\'}\n')
    assert all("simulated)" not in table.caption for table in latex.tables(run))


def test_a_table_says_where_it_comes_from(run):
    for path, table in zip(latex.write_all(run), latex.tables(run), strict=True):
        record = json.loads(path.with_suffix(".json").read_text())
        known = {f"{of}.csv": cache.content_hash([run / "results" / f"{of}.csv"]) for of in table.results}
        assert record["results"] == known
        assert record["settings"] == {"profile": "smoke", "seed": 0, "data": ["simulated"]}
        comments = "\n".join(line for line in path.read_text().splitlines() if line.startswith("%"))
        for said in (record["commit"], "profile smoke, seed 0, data simulated", *known.values()):
            assert said in comments


def test_a_number_that_rounds_to_nothing_has_no_sign_and_no_number_is_two_dashes():
    rows = pd.DataFrame({"x": [-0.0004, np.nan, -0.25], "x_low": [-0.1, np.nan, np.nan], "x_high": [0.1] * 3})
    table = latex.Table("t", rows, [latex.Column("x", "X", 3)], "c.")
    assert list(latex.printed(table)["X"]) == ["0.000 [-0.100, 0.100]", "--", "-0.250"]
    tex = latex.latex(table, {"commit": "0", "notebook": "", "settings": {}, "results": {}})
    assert cells(tex) == [["0.000 [$-$0.100, 0.100]"], ["--"], ["$-$0.250"]]


def test_figures_and_tables_read_nothing_but_results_and_train_nothing(run):
    """In an interpreter of its own, with the results alone, images locked and no module that trains or reads frames."""
    draw_also(run)
    for place in run.iterdir():
        if place.name != "results":
            shutil.rmtree(place) if place.is_dir() else place.unlink()
    code = """
import sys
from pathlib import Path
from PIL import Image
def locked(*a, **k): raise AssertionError("an image is read")
Image.open = locked
read = []
sys.addaudithook(lambda event, args: event == "open" and read.append((str(args[0]), str(args[1]))))
from melib.paper import figures, latex
run = Path(sys.argv[1])
made = [*figures.draw_all(run), *latex.write_all(run)]
heavy = ("torch", "cv2", "dlib", "melib.learn.windows", "melib.vision.faces", "melib.vision.flow", "melib.study.intensity")
print(len(made), [name for name in heavy if name in sys.modules])
inside = {Path(of).relative_to(run).parts[0] for of, mode in read if of.startswith(str(run)) and mode in ("r", "rb")}
print(sorted(inside))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    made, inside = ended.stdout.splitlines()
    assert re.fullmatch(r"\d\d \[\]", made), made
    assert inside == "['results']"


def draw_also(run):
    """The results of figures that have no table."""
    spotting = {name: table.assign(dataset="synthme_lv") for name, table in SPOTTING.items()}
    more = {"events": EVENTS, "curves_paper": curve_table(), "curves_context": curve_table()}
    for name, table in (spotting | more).items():
        if name not in RESULTS:
            cache.write_table(run / "results" / f"{name}.csv", table)


@pytest.mark.notebook
def test_notebook_08_is_repeated_when_a_result_that_it_shows_has_changed(run, monkeypatch):
    draw_also(run)
    saved = []
    before = origin
    monkeypatch.setattr(
        "melib.study.provenance.origin",
        lambda run, results=None: saved.extend(results) or before(run, results),
    )
    figures.draw_all(run)
    latex.write_all(run)
    path = next(path for path in runner.find() if path.stem == NOTEBOOK)
    declared = nbformat.read(path, as_version=4).metadata["melib"]
    # What it gathers itself follows from other inputs; the ablations are read for the statistics, too.
    gathered = {"published_all", "statistics"}
    read = {*saved, *comparisons.TABLES} - gathered
    assert {f"results/{name}.csv" for name in read} <= set(declared["inputs"])


SPOTTED = ("spotting", "spotting_claims", "system_differences", "recognition")


@pytest.mark.notebook
@pytest.mark.parametrize("kept", [(), SPOTTED, ("events", "position_control")])
def test_notebook_08_ends_well_whatever_has_run_before(run, kept, tmp_path):
    draw_also(run)
    folder = tmp_path / "runs" / "part"
    (folder / "results").mkdir(parents=True)
    for name in kept:
        shutil.copy(run / "results" / f"{name}.csv", folder / "results")
    runner.run("smoke", run=folder, only=["09"])
    index = pd.read_csv(folder / "tables" / "index.csv")
    gathered = ({"published_all"} if kept else set()) | ({"statistics"} if kept == SPOTTED else set())
    assert set(" ".join(index["results"]).split()) == {*kept, *gathered} - {"events"}
    assert (folder / "figures" / "spotting_systems.pdf").is_file() == ("spotting" in kept)

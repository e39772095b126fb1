"""Tables for a manuscript: the csv's numbers rounded, marks by their rule, LaTeX that compiles, from results alone."""

import json
import re
import shutil
import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import a_run
from test_answers import TABLES
from test_figures import CONTROL, EVENTS, curve_table
from test_spotting_figures import TABLES as SPOTTING

from melib import DataError
from melib.app import runner
from melib.data import cache
from melib.paper import ablation_figures, figures, latex, limits_figures, spotting_figures
from melib.study import comparisons, published, results, spotting_runs
from melib.study.ablations import DIFFERENCES, TABLE
from melib.study.provenance import NOTEBOOK
from melib.study.results import read_result, records
from melib.study.spotting_decoding import DECODERS


def frame(rows, columns, dataset="synthme_lv"):
    return pd.DataFrame(rows, columns=columns.split()).assign(dataset=dataset)


def around(value):
    return value, value - 0.0517, value + 0.0333


def as_family(table, family, test):
    return comparisons.corrected(table.assign(effect=0.5, subjects=8, seeds=1), family, test)


def ablations():
    """intensity_ablations.csv and ablation_differences.csv of one base, three variants and two controls."""
    rows, gaps = [], []
    for protocol, metric in (("context", "inside_spearman_true"), ("paper", "spearman_pseudo")):
        for base, family, variant, model in (
            ("base", "base", "base", "resnet18_bigru"),
            ("base", "temporal", "no temporal model", "framewise"),
            ("base", "labels", "labels off by 6 frames", "resnet18_bigru"),
            ("", "control", "position only", "position_only"),
            ("", "control", "the truth itself", "truth"),
        ):
            about = ("synthme", protocol, family, variant)
            rows += [
                (*about, model, "flow", name, *around(0.7), 24, 8, base)
                for name in (metric, "clip_swap", "apex_follow")
            ]
            if family not in ("base", "control"):
                test = (*around(-0.1), 0.0001, -0.6, 0.0003, True, 24, 8, 1, model, "flow", 0.02)
                gaps.append((*about, "base", metric, *test))
    table = pd.DataFrame(rows, columns=[*TABLE, "estimate", "low", "high", "events", "subjects", "base"])
    return {"intensity_ablations": table, "ablation_differences": pd.DataFrame(gaps, columns=DIFFERENCES)}


def decoders():
    """decoders.csv and decoder_differences.csv."""
    rows = [
        (setting, name, iou, *around(0.5))
        for setting in ("own", "other")
        for name in DECODERS
        for iou in (0.3, 0.5, 0.7)
    ]
    gaps = [
        (setting, name, *around(0.04), 0.001 if setting == "own" else 0.22, 86)
        for setting in ("own", "other")
        for name in DECODERS
        if name != "semi_markov"
    ]
    tests = frame(gaps, "setting other difference low high p events").assign(
        ours="semi_markov", metric="spotting_f1"
    )
    return {
        "decoders": frame(rows, "setting decoder iou f1 low high"),
        "decoder_differences": as_family(tests, "decoder_differences", ["setting", "other"]),
    }


def variants():
    """ablations.csv, its tests and those of all systems."""
    tests = frame(
        [("strs", *around(-0.1), 0.001), ("fp_per_hour", *around(9), 0.4)], "metric difference low high p"
    )
    ours, other = (
        {"system": "ours, no grafts", "against": "ours"},
        {"system": "motion", "against": "reference, repaired"},
    )
    spotting = TABLES["spotting"]
    changed = spotting[spotting["system"] == "ours"].assign(system="ours, no grafts")
    return {
        "ablations": pd.concat([spotting, changed, changed.assign(rule="megc")]),
        "variant_differences": as_family(tests.assign(**ours), "spotting_ablations", ["system", "metric"]),
        "system_differences": as_family(tests.assign(**other), "spotting_systems", ["system", "metric"]),
    }


transfer = [
    ("context", model, used, "inside_spearman_true", *around(0.9), *around(0.8), 0.1)
    for model, used in (("resnet18_bigru", "flow"), ("flow_magnitude", "flow"))
]
across = "within within_low within_high across across_low across_high loss"
# Every result that a table is made of: those of the committed run, and what it doesn't hold.
RESULTS = {
    **TABLES,
    **ablations(),
    **decoders(),
    **variants(),
    "table_control": CONTROL,
    "transfer_loss": frame(transfer, f"protocol model input metric {across}", "synthme"),
    "recognition": frame([("ours", 4, 86, 0.3, 0.32, 0.43)], "system classes events uf1 uar accuracy"),
}


@pytest.fixture
def run(tmp_path):
    """A run to be changed."""
    return fill(a_run(tmp_path / "made up"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run whose tables are written, and them: not to be changed."""
    folder = fill(a_run(tmp_path_factory.mktemp("runs") / "made up"))
    latex.write_all(folder)
    return folder, {table.name: table for table in latex.printable_tables(folder)}


def tex_of(folder, name):
    return (folder / "tables" / f"{name}.tex").read_text()


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
    words |= {"$<$": "<", "$>$": ">", "$-$": "-", "{[}": "[", "{*}": "*"}
    words |= {r"\textsuperscript{\dag}": latex.DAGGER}
    words |= {f"\\{mark}": mark for mark in "&%$#_{}"}
    return re.sub("|".join(map(re.escape, words)), lambda match: words[match[0]], cell)


def marked(table):
    """Places of a table whose cell ends with a dagger."""
    daggers = latex.printed(table).map(lambda cell: cell.endswith(latex.DAGGER))
    return set(zip(*np.nonzero(daggers.to_numpy()), strict=True))


def test_every_declared_result_has_its_table(whole):
    _, tables = whole
    assert {name.removesuffix("_synthme").removesuffix("_synthme_lv") for name in tables} == set(
        latex.DECLARED
    )
    for table in tables.values():
        assert len(table.rows) and len(latex.printed(table)) == len(table.rows)
        if table.group:  # rows of one group stand together
            groups = table.rows[table.group]
            assert (groups != groups.shift()).sum() == groups.nunique(), table.name


def test_every_printed_number_is_the_csv_s_rounded(whole):
    folder, tables = whole
    numbers = 0
    for name, table in tables.items():
        rows = records(read_result(folder / "tables" / f"{name}.csv"))
        for row, line in zip(rows, cells(tex_of(folder, name)), strict=True):
            for column, cell in zip(table.columns, line, strict=True):
                value = row[column.name]
                if column.digits is None:
                    assert plain(cell) == ("--" if pd.isna(value) or value == "" else value)
                    continue
                shown = [float(text) for text in re.findall(r"-?\d+\.?\d*", plain(cell))]
                bounds = [row.get(f"{column.name}_{side}", np.nan) for side in ("low", "high")]
                known = [value, *bounds] if np.isfinite(bounds).all() else [value]
                decimals = [len(text) for text in re.findall(r"\.(\d+)", cell)] or [0]
                known = known if np.isfinite(value) else []
                np.testing.assert_allclose(shown, known, rtol=0, atol=0.5 * 10.0 ** -decimals[0] + 1e-12)
                numbers += len(shown)
    assert numbers > 300


def test_the_rows_are_the_results_own(whole):
    folder, _ = whole
    table = read_result(folder / "tables" / "intensity_paper.csv").set_index(["model", "input"])
    means = RESULTS["summary"].query("amplitude == 'all' and protocol == 'paper'")
    for row in records(means):
        values = [
            table.loc[(row["model"], row["input"])][f"{row['metric']}{end}"] for end in ("", "_low", "_high")
        ]
        np.testing.assert_allclose(values, [row["estimate"], row["low"], row["high"]], rtol=1e-5)
    assert list(table["kind"].unique()) == ["control", "learned", "ceiling"]
    rows = pd.read_csv(folder / "tables" / "spotting_systems.csv")
    tested = {*RESULTS["spotting"]["system"]}
    assert list(rows["system"]) == [s.name for s in spotting_runs.SYSTEMS if s.name in tested]


def test_a_dagger_stands_where_a_test_is_significant_and_nowhere_else(whole):
    _, tables = whole
    tests = pd.concat([RESULTS["system_differences"], RESULTS["spotting_claims"].assign(system="ours")])
    systems = tables["spotting_systems"]
    places = {(systems.rows["system"][row], systems.columns[column].name) for row, column in marked(systems)}
    significant = tests[tests["significant"]]
    assert places == set(zip(significant["system"], significant["metric"], strict=True))
    inside = latex.printed(tables["intensity_context"]).set_index("Model")["Spearman truth, inside"]
    tests = RESULTS["model_differences"].query("significant and control == 'position_only'")
    tests = records(tests[tests["metric"] == "inside_spearman_true"])
    names = {results.label(row["model"], row["input"]) for row in tests}
    assert set(inside[inside.str.endswith(latex.DAGGER)].index) == names
    differences = latex.printed(tables["spotting_decoders"])["Semi-Markov less this"]
    assert differences.str.endswith(latex.DAGGER).sum() == RESULTS["decoder_differences"]["significant"].sum()
    # Whoever sees a mark can read what it means, over how many tests of which family.
    words = r"significant at 0.05 after Holm's correction over \d+ tests"
    assert all(not marked(table) or re.search(words, table.caption) for table in tables.values())


def test_the_same_results_give_the_same_bytes_and_say_where_they_come_from(whole, run):
    folder, tables = whole
    latex.write_all(run)
    hashes = {path.name: cache.content_hash([path]) for path in (folder / "results").glob("*.csv")}
    for path in sorted((folder / "tables").iterdir()):
        assert path.read_bytes() == (run / "tables" / path.name).read_bytes()
    for name, table in tables.items():
        record = json.loads((folder / "tables" / f"{name}.json").read_text())
        assert record["results"] == {f"{result}.csv": hashes[f"{result}.csv"] for result in table.results}
        comments = "\n".join(line for line in tex_of(folder, name).splitlines() if line.startswith("%"))
        assert all(text in comments for text in (record["commit"], "smoke", *record["results"].values()))


def structure(tex):
    """What any compiler asks for, and what a careless cell breaks."""
    code = "\n".join(line for line in tex.splitlines() if not line.startswith("%"))
    bare = re.sub(r"\\[&%$#_{}]", "", code)
    depth = np.cumsum([{"{": 1, "}": -1}.get(mark, 0) for mark in bare])
    assert depth.min() >= 0 and depth[-1] == 0 and bare.count("$") % 2 == 0
    assert not set("%_#~^") & set(bare)
    lines = code.splitlines()
    columns = re.search(r"\\begin\{tabular\}\{@\{\}(.*)@\{\}\}", code)[1]
    wide = len(re.findall(r">\{.*?\}p\{\d+em\}|[lr]", columns))
    assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines if line.endswith(r"\\")} == {wide}
    for before, line in zip(["", *lines], lines, strict=False):
        assert not (before.endswith((r"\\", "rule")) and line.lstrip().startswith(("[", "*")))


def test_a_table_is_well_formed_and_has_its_own_label(whole):
    folder, tables = whole
    texts = [tex_of(folder, name) for name in tables]
    for tex in texts:
        structure(tex)
    assert len({re.search(r"\\label\{(tab:[a-z0-9-]+)\}", tex)[1] for tex in texts}) == len(texts)


NOWHERE = {"commit": "0", "notebook": "", "settings": {}, "results": {}}


@settings(max_examples=30)
@given(st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1))
def test_any_name_stays_one_cell_and_comes_back(name):
    rows = pd.DataFrame({"name": [name, "b"]})
    tex = latex.latex(latex.Table("t", rows, [latex.Column("name", "N")], f"Of {name}."), NOWHERE)
    structure(tex)
    assert plain(cells(tex)[0][0]) == name


def test_a_number_that_rounds_to_nothing_has_no_sign_and_no_number_is_two_dashes():
    rows = pd.DataFrame({"x": [-0.0004, np.nan, -0.25], "x_low": [-0.1, np.nan, np.nan], "x_high": [0.1] * 3})
    tex = latex.latex(latex.Table("t", rows, [latex.Column("x", "X", 3)], "c."), NOWHERE)
    assert cells(tex) == [["0.000 [$-$0.100, 0.100]"], ["--"], ["$-$0.250"]]


A4 = "\\hsize=170mm\\textwidth=170mm\\textheight=250mm\\hoffset=-20mm\\voffset=-20mm\n"


@pytest.mark.long
@pytest.mark.skipif(
    not shutil.which("pdflatex"), reason="no pdflatex: apt-get install texlive-latex-recommended"
)
@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
def test_every_table_compiles_and_fits_the_page(whole, tmp_path, columns):
    paths = sorted((whole[0] / "tables").glob("*.tex"))
    needed = "\\usepackage{array,booktabs,graphicx}\n"
    head = f"\\documentclass[10pt,a4paper,{columns}]{{article}}\n{A4}{needed}\\begin{{document}}\n"
    body = "".join(f"\\typeout{{TABLE {path.stem}}}\n{path.read_text()}\\clearpage\n" for path in paths)
    (tmp_path / "all.tex").write_text(f"{head}{body}\\end{{document}}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-2000:]
    assert len(ended.stdout.split("TABLE ")) == len(paths) + 1
    for part in ended.stdout.split("TABLE ")[1:]:
        assert "Overfull \\hbox" not in part and "Float too large" not in part, part[:400]


def test_a_missing_empty_or_old_result_leaves_out_its_tables_and_no_other(whole, run):
    _, tables = whole
    (run / "results" / "decoders.csv").unlink()
    spotting = run / "results" / "spotting.csv"
    spotting.write_text(spotting.read_text().splitlines()[0] + "\n")
    lost = {name for name, table in tables.items() if {"decoders", "spotting"} & set(table.results)}
    assert {table.name for table in latex.printable_tables(run)} == set(tables) - lost != set(tables)
    old = read_result(run / "results" / "model_differences.csv").drop(columns=["p_holm", "significant"])
    cache.write_table(run / "results" / "model_differences.csv", old)
    with pytest.raises(DataError, match=r"model_differences.csv lacks a column .*run its notebook again"):
        latex.printable_tables(run)


def test_several_data_sets_get_a_table_each_and_licensed_ones_are_not_called_simulated(run):
    both = pd.concat([RESULTS["recognition"], RESULTS["recognition"].assign(dataset="other")])
    cache.write_table(run / "results" / "recognition.csv", both)
    (run / "parameters.yml").write_text('{profile: paper, seed: 0, data: \'{"samm": "/data"}\'}\n')
    tables = {table.name: table for table in latex.printable_tables(run)}
    assert {"recognition_synthme_lv", "recognition_other"} <= set(tables)
    assert tables["recognition_other"].caption.endswith("Data: other.")


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
from melib.paper import figures, latex, style
style.save = lambda *a, **k: None  # how a figure is drawn matters here, its files don't
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


def test_notebook_09_is_repeated_when_a_result_that_it_shows_has_changed():
    modules = (figures, ablation_figures, spotting_figures, limits_figures)
    drawn = {name for module in modules for plot in module.PLOTS for name in plot.results}
    set_in_tables = {name for how in latex.DECLARED.values() for name in how["results"]}
    path = next(path for path in runner.find_notebooks() if path.stem == NOTEBOOK)
    declared = nbformat.read(path, as_version=4).metadata["melib"]
    # What it gathers itself follows from other inputs; the ablations are read for the statistics, too.
    shown = {*drawn, *set_in_tables, *comparisons.TABLES} - {"published_all", "statistics"}
    assert {f"results/{name}.csv" for name in shown} <= set(declared["inputs"])


SPOTTED = ("spotting", "spotting_claims", "system_differences", "recognition")


@pytest.mark.notebook
@pytest.mark.parametrize("names", [(), SPOTTED])
def test_notebook_09_ends_well_whatever_has_run_before(whole, names, tmp_path):
    folder = tmp_path / "runs" / "part"
    (folder / "results").mkdir(parents=True)
    for name in names:
        shutil.copy(whole[0] / "results" / f"{name}.csv", folder / "results")
    runner.run_notebooks("smoke", run=folder, only=["09"])
    sidecars = [json.loads(path.read_text()) for path in (folder / "tables").glob("*.json")]
    used = {name.removesuffix(".csv") for sidecar in sidecars for name in sidecar["results"]}
    assert used == ({*names, "published_all"} if names else set())
    assert (folder / "figures" / "spotting_systems.pdf").is_file() == ("spotting" in names)

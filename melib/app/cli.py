"""The `melib` command.

Every command ends with 0 (fine), 1 (found something wrong: one sentence on stderr) or 2 (misused).
Heavy modules are imported inside the commands, so that `melib --help` answers at once.
"""

import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from melib.errors import DataError, Misuse


class _Readable(TyperGroup):
    """Turns the errors that users are meant to read into one sentence and exit code 1, or 2 for a misuse."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except DataError as error:
            sentence, code = str(error), 2 if isinstance(error, Misuse) else 1
        except KeyboardInterrupt as error:
            what = str(error) or "interrupted"
            sentence, code = f"{what}; what was finished stays, the same command continues from there", 1
        print(f"melib: {sentence}", file=sys.stderr)
        raise SystemExit(code)


app = typer.Typer(
    cls=_Readable,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Micro-expression intensity and spotting, with controls that show whether the model saw the face.",
)
data_app = typer.Typer(no_args_is_help=True, help="Look at a data set before anything is computed from it.")
app.add_typer(data_app, name="data")


# What several commands ask for.
_Dataset = Annotated[str, typer.Argument(help="Name of a manifest, or the path of one.")]
_Root = Annotated[Path, typer.Option(help="Folder of the unpacked data set.")]
_RunName = Annotated[str, typer.Argument(help="Name of the run, or the path of its folder.")]
_Rate = Annotated[float, typer.Option(min=0.1, help="Frames a second.")]


@app.callback()
def _main() -> None:
    # timeout, Slurm and systemd end a command by SIGTERM: what Ctrl-C leaves in order, they leave in order, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@app.command("doctor", epilog="Example:  melib doctor")
def _doctor() -> None:
    """Say what is installed, and a remedy for each thing wrong; exit 1 if anything is."""
    from rich.console import Console
    from rich.markup import escape

    from melib.app import doctor as health

    console = Console(soft_wrap=True, highlight=False)  # a remedy is copied as a whole
    findings = health.health()
    for finding in findings:
        mark = "[red]wrong[/]" if finding.remedy else "[green]ok[/]   "
        console.print(f"{mark}  {finding.what:20}{escape(finding.state)}")
        if finding.remedy:
            console.print(f"       {'':20}[bold]do:[/] {escape(finding.remedy)}")
    if any(finding.remedy for finding in findings):
        raise typer.Exit(1)


@app.command("first", epilog="Example:  melib first")
def _first(
    out: Annotated[Path, typer.Argument(help="Folder to write into.")] = Path("first"),
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another video (and another folder).")] = 0,
) -> None:
    """One short simulated video, what the shipped weights find in it, and what truly happened; under a minute."""
    from melib.app import first as begin

    figure, rows = begin.first(out, seed=seed)

    def cell(form: str, *values: float) -> str:
        return "-" if values[0] != values[0] else form.format(*values)

    shown = [
        (
            cell("{:.2f} to {:.2f} s", row.onset_s, row.offset_s),
            cell("{:.1f} px", row.peak_px),
            cell("at {:.2f} s, confidence {:.2f}", row.found_s, row.confidence),
        )
        for row in rows.itertuples()
    ]
    _table(["a micro-expression happened", "its peak", "it was found"], shown)
    print(
        "The face is simulated, and the weights were trained on such faces: this shows what comes out, not how good it is."
    )
    print(figure)


@app.command("simulate", epilog="Example:  melib simulate data/synthme --people 2 --clips 1 --empty 0")
def _simulate(
    out: Annotated[
        Path, typer.Argument(help="Folder to write the data set into; finished clips in it are kept.")
    ],
    long: Annotated[
        bool, typer.Option("--long", help="Long videos with several expressions, blinks and talking.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Name of the data set.")] = None,
    family: Annotated[str, typer.Option(help="Displacement fields: patches, muscles, head.")] = "patches",
    world: Annotated[str, typer.Option(help="How movements and cameras are: first or second.")] = "first",
    people: Annotated[int, typer.Option(min=1, max=40, help="How many people.")] = 40,
    clips: Annotated[
        int | None, typer.Option(min=0, help="Clips with an expression, a person; 5 if not given.")
    ] = None,
    empty: Annotated[
        int | None, typer.Option(min=0, help="Clips without any, a person; 1 if not given.")
    ] = None,
    videos: Annotated[int | None, typer.Option(min=1, help="Long videos a person; 2 if not given.")] = None,
    seconds: Annotated[
        tuple[float, float] | None, typer.Option(help="Shortest and longest long video; 20 90 if not given.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    statistics: Annotated[
        str | None,
        typer.Option(help="Whose event statistics to follow: samm_lv_micro, of long videos samm_lv."),
    ] = None,
    fps: Annotated[
        int | None, typer.Option(min=1, help="Frames a second; 200 if not given, of long videos 30.")
    ] = None,
    nuisance: Annotated[
        float, typer.Option(min=0, help="Scale of head motion, light and noise; 0 is none.")
    ] = 1.0,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Write clips or long videos of photographs that move by a known amount, as a data set would arrive."""
    from melib import simulate as simulator

    of_clips, of_videos = {"clips": clips, "empty": empty}, {"videos": videos, "seconds": seconds}
    for option, value in (of_clips if long else of_videos).items():
        if value is not None:
            raise Misuse(f"--{option} is for {'clips: leave out' if long else 'long videos: add'} --long.")
    given: dict[str, Any] = (of_videos if long else of_clips) | {
        "name": name,
        "statistics": statistics,
        "fps": fps,
    }
    folder = (simulator.write_long if long else simulator.write_clips)(
        out,
        family=family,
        world=world,
        people=people,
        seed=seed,
        nuisance=nuisance,
        jobs=jobs,
        **{option: value for option, value in given.items() if value is not None},
    )
    print(folder)


@data_app.command("check", epilog="Example:  melib data check synthme --root data/synthme")
def _check(
    dataset: _Dataset,
    root: _Root,
    table: Annotated[
        list[Path] | None,
        typer.Option(help="Annotation table; by default those in the folder. May be repeated."),
    ] = None,
    sample: Annotated[int, typer.Option(min=0, help="Images that are read to look for faces.")] = 50,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one json record instead of a screen.")
    ] = False,
) -> None:
    """Hold a data set against its manifest; exit 1 for anything wrong that isn't known of the release."""
    from melib.app import data_check

    _say(data_check.check_data(dataset, root, table, sample=sample), as_json)


@data_app.command(
    "events",
    epilog="Example:  melib data events synthme --table data/synthme/annotations.xlsx --out events.csv",
)
def _events(
    dataset: _Dataset,
    table: Annotated[list[Path], typer.Option(help="Annotation table. May be repeated.")],
    out: Annotated[Path, typer.Option(help="csv to write: a row an event, frames 0-based and closed.")],
    policy: Annotated[
        Literal["repair", "drop", "strict"], typer.Option(help="What happens to rows that aren't valid.")
    ] = "repair",
) -> None:
    """Read events from tables alone, no image needed; exit 1 for faults that aren't known of the release."""
    _refuse_out(out, table)
    from melib.app import data_check
    from melib.data import cache, manifest

    events, record = data_check.check_tables(dataset, table, policy)
    if manifest.licensed(manifest.read_manifest(dataset)):
        cache.for_owner_alone()
    cache.write_table(out, events)
    print(f"{out}: {len(events)} events, frames counted from 0, intervals closed")
    _say(record)


@data_app.command("manifest", epilog="Example:  melib data manifest --root data/synthme --out files.csv")
def _files(
    root: _Root,
    out: Annotated[
        Path | None, typer.Option(help="csv to write: relpath, bytes, sha256 of every file.")
    ] = None,
    verify: Annotated[
        Path | None, typer.Option(help="csv written before, to compare the folder with.")
    ] = None,
) -> None:
    """List every file of a folder with its hash, or --verify that it still holds what a list says."""
    from melib.app import data_check

    if out is not None and verify is None:
        _refuse_out(out)
        _write(out, data_check.inventory(root, out))
    elif verify is not None and out is None:
        listed = data_check.read_inventory(verify)
        differing = data_check.compare_files(listed, data_check.inventory(root, verify))
        for what, names in differing.items():
            for name in names:
                print(f"{what}: {name}")
        counts = ", ".join(f"{len(names)} {what}" for what, names in differing.items())
        print(f"{counts} of {len(listed)} listed files")
        if any(differing.values()):
            raise typer.Exit(1)
    else:
        raise Misuse("give either --out FILE to write a list, or --verify FILE to compare with one.")


@app.command("run", epilog="Example:  melib run --profile smoke --only 04 --run trial")
def _run(
    profile: Annotated[
        str, typer.Option(help="smoke, demo, five, published, published_main or paper: how much is computed.")
    ] = "demo",
    data: Annotated[list[str] | None, typer.Option(help="NAME=DIR of a data set; may be repeated.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="A notebook, or how it begins (04); may be repeated.")
    ] = None,
    engine: Annotated[
        str,
        typer.Option(help="local: processes of this machine; dask: a cluster, of this machine or of many."),
    ] = "local",
    scheduler: Annotated[
        str,
        typer.Option(
            help="Address of a Dask scheduler, else that in DASK_SCHEDULER_ADDRESS, else a new cluster here."
        ),
    ] = "",
    run: Annotated[str | None, typer.Option(help="Name of the run, or the path of its folder.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same results, byte by byte.")] = 0,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Say what it will cost, after a minute of timing, and run nothing."),
    ] = False,
) -> None:
    """Execute the notebooks into a run's folder; what is finished isn't repeated."""
    from melib.app import runner
    from melib.paper import answers, report

    folders = {}
    for pair in data or []:
        name, equals, place = pair.partition("=")
        if not (name and equals and place):
            raise typer.BadParameter(f"{pair!r} isn't NAME=DIR, as in samm=/data/samm", param_hint="--data")
        folders[name] = place
    asked: dict[str, Any] = {"run": run, "seed": seed, "data": folders, "only": only}
    asked |= {"engine": engine, "scheduler": scheduler}
    if plan:
        from melib.app import plan as planning

        table = planning.plan_run(profile, **asked)
        _table(*planning.screen(table))
        print(planning.caption(table))
        return
    try:
        folder = runner.run_notebooks(profile, **asked)
    except runner.NotebookError as error:
        print(f"melib: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print("Does the model see the face?")
    _table([*answers.HEADS], report.verdict_rows(folder))
    print(folder / "report" / "index.html")


@app.command("figures", epilog="Example:  melib figures trial")
def _figures(
    run: _RunName,
    style: Annotated[
        Path | None,
        typer.Option(help="Another journal's matplotlib style; its figures go to figures/<its name>/."),
    ] = None,
) -> None:
    """Redraw the figures of a run and write its tables, from its results alone, and rebuild its report."""
    from melib.app import runner
    from melib.paper import figures as drawing
    from melib.paper import latex, report

    folder = runner.locate(run)
    runner.check_results(folder)
    for path in [*drawing.draw_all(folder, style), *latex.write_all(folder)]:
        print(path)
    print(report.build(folder))


@app.command("predict", epilog="Example:  melib predict clip.mp4 --out predictions")
def _predict(
    videos: Annotated[list[Path], typer.Argument(help="Video files, or folders of frames.")],
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("predictions"),
    weights: Annotated[
        str | None,
        typer.Option(help="A run that has finished notebook 06; the shipped weights if not given."),
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Frames a second of folders; of files, instead of what they say.")
    ] = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="Write the video with its curve, too.")] = False,
    plant: Annotated[
        bool,
        typer.Option("--plant", help="Lay small movements over the video, and count which are found in it."),
    ] = False,
) -> None:
    """Intensity curve, micro-expressions with confidence and class, and a figure of each video."""
    from melib.app import predictions, predictor_weights, runner

    try:
        used = predictor_weights.load_weights(None if weights is None else runner.locate(weights))
        failed = predictions.predict_all(
            videos, out, used, fps=fps, overlay=overlay, plant=plant, progress=True
        )
    except KeyboardInterrupt:
        failed = ["interrupted; the videos named above are finished, the same command begins anew"]
    for sentence in failed:
        print(f"melib: {sentence}", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


@app.command("export", epilog="Example:  melib export trial --to elan --out exchange")
def _export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|PREDICTION",
            help="A run's name or folder; or a folder that `melib predict` wrote, or one json of it.",
        ),
    ],
    to: Annotated[str, typer.Option(help="elan, webvtt or labelstudio.")],
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("exchange"),
    film: Annotated[
        bool,
        typer.Option("--film", help="Write a film of every folder of frames, too, which the files link to."),
    ] = False,
    videos: Annotated[
        Path | None,
        typer.Option(help="Folder of the predicted videos, where they aren't beside the predictions."),
    ] = None,
) -> None:
    """Write annotated and found events for another program, linked to their videos."""
    from melib.app import exchange

    written = exchange.export(source, to, out, film=film, videos=videos)
    print(f"{len(written)} files in {out}, such as {written[0]}")


@app.command(
    "import", epilog="Example:  melib import exchange/synthme/s01/s01_01.eaf --from elan --dataset synthme"
)
def _import(
    file: Annotated[Path, typer.Argument(help="What `melib export` wrote, edited and saved.")],
    source: Annotated[str, typer.Option("--from", help="elan or labelstudio.")],
    dataset: Annotated[str, typer.Option(help="Name of a manifest, or the path of one.")],
    reviewer: Annotated[
        str, typer.Option(help="Who edited; else whom the file names, else who is logged in.")
    ] = "",
    reason: Annotated[str, typer.Option(help="Why, for events whose file gives no reason.")] = "",
) -> None:
    """Save events that were edited in another program as corrections, which the next run reads."""
    from melib.app import exchange

    corrections, changes = exchange.import_file(file, source, dataset, reviewer=reviewer, reason=reason)
    for sentence in changes:
        print(sentence)
    events = "1 event" if len(changes) == 1 else f"{len(changes)} events"
    print(f"{events} corrected in {corrections}" if changes else "nothing was changed")


@app.command("audit", epilog="Example:  melib audit intensity.csv --events landmarks.csv --out audit.csv")
def _audit(
    curves: Annotated[Path, typer.Argument(help="csv: subject, video, frame, intensity, perhaps fold.")],
    events: Annotated[
        Path,
        typer.Option(
            help="csv: subject, video, onset, apex, offset, perhaps fps; frames counted as in CURVES."
        ),
    ],
    fps: Annotated[
        float | None, typer.Option(min=1, help="Frames a second, for errors in milliseconds.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="csv to write: a row a measure.")] = None,
) -> None:
    """Hold anybody's intensity curves against what knows the position in the clip alone; no pixel is needed."""
    from melib.app import audit as auditing

    _refuse_out(out, [curves, events])
    made = auditing.audit_curves(auditing.read_csv(curves), auditing.read_csv(events), fps=fps)
    _table(["", "curves", "position alone", "difference", "clips"], auditing.screen_rows(made))
    for note in made.notes:
        print(f"note: {note}")
    print(made.verdict)
    _write(out, made.table)


@app.command(
    "decode", epilog="Example:  melib decode curves.csv --events events_of_curves.csv --out intervals.csv"
)
def _decode(
    curves: Annotated[
        Path,
        typer.Argument(
            help="csv with subject, video, frame, score (and macro, blink, head), npy, OpenFace's csv, or a folder."
        ),
    ],
    events: Annotated[
        Path, typer.Option(help="csv with subject, video, onset, offset of micro-expressions.")
    ],
    out: Annotated[Path, typer.Option(help="csv to write: intervals with their confidence.")],
    decoder: Annotated[
        str,
        typer.Option(help="selector, semi_markov, half_height, fixed_window or extensible_interval."),
    ] = "selector",
    rate: _Rate = 30.0,
    apply: Annotated[
        Path | None, typer.Option(help="Curves to decode instead, by what was learned from all of CURVES.")
    ] = None,
    column: Annotated[
        str, typer.Option(help="Column to decode; score if not given, of OpenFace AU12_r.")
    ] = "",
    everything: Annotated[
        bool,
        typer.Option("--all", help="Write what isn't kept, too, so that `melib score` can explain misses."),
    ] = False,
) -> None:
    """Intervals of any method's score curves, each by a decoder that was fitted without its subject."""
    from melib.app import interval_files

    _refuse_out(out, [curves, events, apply])
    known = interval_files.read_curves(curves, column)
    truth = interval_files.read_truth(events, known)
    other = None if apply is None else interval_files.read_curves(apply, column)
    intervals = interval_files.decode_curves(known, truth, decoder, rate, other)
    interval_files.write_intervals(out, intervals, everything)
    n_videos = len(known if other is None else other)
    how = "fitted on other subjects" if other is None else f"fitted on all of {curves}"
    print(f"{out}: {intervals['kept'].sum()} intervals in {n_videos} videos by {decoder}, {how}")
    print(f"{interval_files.CONVENTION}; {rate:g} frames a second")


@app.command("score", epilog="Example:  melib score intervals.csv events_of_curves.csv")
def _score(
    predicted: Annotated[
        Path,
        typer.Argument(help="csv with subject, video, onset, offset (and apex, emotion, confidence, kept)."),
    ],
    truth: Annotated[
        Path, typer.Argument(help="csv with subject, video, onset, offset (and apex, emotion).")
    ],
    rate: _Rate = 30.0,
    misses: Annotated[Path | None, typer.Option(help="csv to write: every missed event and why.")] = None,
) -> None:
    """Hold intervals against the truth: three rules, F1 over IoU, timing, and why each event was missed."""
    from melib.app import interval_files

    _refuse_out(misses, [predicted, truth])
    rules, over_iou, timing, missed = interval_files.score_intervals(
        interval_files.read_intervals(predicted), interval_files.read_truth(truth, None), rate
    )
    for table in (rules, over_iou, timing):
        text = table.map(
            lambda cell: cell if isinstance(cell, str) else "" if cell != cell else f"{cell:.4g}"
        )
        _table(list(table.columns), [tuple(row) for row in text.to_numpy().tolist()])
    reasons = ", ".join(f"{(missed['reason'] == reason).sum()} {reason}" for reason in interval_files.MISSES)
    print(f"missed: {reasons}")
    print(f"{interval_files.CONVENTION}; {rate:g} frames a second; low and high: 95 % over subjects")
    _write(misses, missed)


@app.command("share", epilog="Example:  melib share trial --out shared/trial")
def _share(
    run: _RunName,
    out: Annotated[Path, typer.Option(help="Folder to write, which a lab may publish.")],
    lab: Annotated[str, typer.Option(help="Name in comparisons; that of the folder if not given.")] = "",
) -> None:
    """Write what may be published of a run: no face, no curve, no subject's name; counts, scores by fold, controls, card."""
    from melib.app import runner, sharing

    folder = runner.locate(run)
    runner.check_results(folder)
    print(sharing.share(folder, out, lab))


@app.command("compare", epilog="Example:  melib compare shared/trial --out compared.csv")
def _compare(
    shared: Annotated[list[Path], typer.Argument(help="Folders that `melib share` wrote, a lab each.")],
    out: Annotated[Path | None, typer.Option(help="csv to write: a row a lab, model and measure.")] = None,
) -> None:
    """Set several labs' shared results beside each other, and say what else differs between them."""
    from melib.app import sharing

    _refuse_out(out)
    table, notes = sharing.compare(shared)
    _table(*sharing.side_by_side(table))
    for note in notes:
        print(f"note: {note}")
    _write(out, table)


def _write(out: Path | None, table: Any) -> None:
    """Write a table where a file was named, and say so."""
    from melib.data import cache

    if out is not None:
        cache.write_table(out, table)
        print(out)


def _refuse_out(out: Path | None, tables: Sequence[Path | None] = ()) -> None:
    if out is None:
        return
    if out.is_dir():
        raise Misuse(f"--out {out} is a folder: name a file in it, as in {out / 'events.csv'}.")
    if out.resolve() in [table.resolve() for table in tables if table is not None]:
        raise Misuse(f"--out {out} would overwrite the annotations that are read: give another file.")


def _say(record: dict[str, Any], as_json: bool = False) -> None:
    """Print what a check found; exit 1 if any of it is a problem."""
    if as_json:
        print(json.dumps(record, indent=1, ensure_ascii=False))
    else:
        from rich.markup import escape

        from melib.app import data_check

        _table(["", ""], [(what, escape(value)) for what, value in data_check.summary(record)])
        for kind in ("notes", "known", "problems"):
            for sentence in record[kind]:
                print(f"{kind.removesuffix('s')}: {sentence}")
        fine = "all that is wrong is known of this release" if record["known"] else "nothing wrong found"
        print("something is wrong, see above" if record["problems"] else fine)
    if record["problems"]:
        raise typer.Exit(1)


def _table(columns: list[str], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=any(columns))
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console()
    # In a file or a pipe nobody's window is narrow.
    console.width = console.width if console.is_terminal else max(console.width, 140)
    console.print(table, highlight=False)


if __name__ == "__main__":
    app()

"""The `melib` command.

Every command ends with 0 (fine), 1 (found something wrong: one sentence on stderr) or 2 (misused).
Heavy modules are imported inside the commands, so that `melib --help` answers at once.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

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


@app.callback()
def _main() -> None:
    pass


@app.command(epilog="Example:  melib doctor")
def doctor() -> None:
    """Say what is installed, and a remedy for each thing wrong; exit 1 if anything is."""
    from melib import report

    findings = report.health()
    _table(["", "What", "Found", "Remedy"], [_finding(*finding) for finding in findings])
    if not all(fine for fine, *_ in findings):
        raise typer.Exit(1)


@app.command(epilog="Example:  melib simulate data/synthme --people 2 --clips 1 --empty 0")
def simulate(
    out: Annotated[
        Path, typer.Argument(help="Folder to write the data set into; finished clips in it are kept.")
    ],
    long: Annotated[
        bool, typer.Option("--long", help="Long videos with several expressions, blinks and talking.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Name of the data set.")] = None,
    family: Annotated[str, typer.Option(help="Displacement fields: patches or muscles.")] = "patches",
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
    folder = (simulator.write_long if long else simulator.write)(
        out,
        family=family,
        people=people,
        seed=seed,
        nuisance=nuisance,
        jobs=jobs,
        **{option: value for option, value in given.items() if value is not None},
    )
    print(folder)


@data_app.command("check", epilog="Example:  melib data check synthme --root data/synthme")
def data_check(
    dataset: Annotated[str, typer.Argument(help="Name of a manifest, or the path of one.")],
    root: Annotated[Path, typer.Option(help="Folder of the unpacked data set.")],
    table: Annotated[
        list[Path] | None, typer.Option(help="Annotation table; by default those in the folder.")
    ] = None,
    sample: Annotated[int, typer.Option(min=0, help="Frames on which faces are looked for.")] = 50,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one json record instead of a screen.")
    ] = False,
) -> None:
    """Hold a data set against its manifest: events, videos, frames, faces; exit 1 if something is wrong."""
    found = check_data(dataset, root, table, sample=sample)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        lines = [
            (name.replace("_", " "), _value(value)) for name, value in found.items() if name != "problems"
        ]
        _table(["", ""], lines)
        for problem in found["problems"]:
            print(f"problem: {problem}")
        print("something is wrong, see above" if found["problems"] else "nothing wrong found")
    if found["problems"]:
        raise typer.Exit(1)


@app.command(epilog="Example:  melib run --profile smoke --only 01 --run trial")
def run(
    profile: Annotated[str, typer.Option(help="smoke, demo or paper: how much is computed.")] = "demo",
    data: Annotated[list[str] | None, typer.Option(help="NAME=DIR of a data set; may be repeated.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="A notebook, or how it begins (04); may be repeated.")
    ] = None,
    engine: Annotated[str, typer.Option(help="local or dask.")] = "local",
    run: Annotated[str | None, typer.Option(help="Name of the run, or the path of its folder.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same results, byte by byte.")] = 0,
) -> None:
    """Execute the notebooks into a run's folder; what is finished isn't repeated."""
    from melib import notebooks, report

    folders = {}
    for pair in data or []:
        name, equals, place = pair.partition("=")
        if not (name and equals and place):
            raise typer.BadParameter(f"{pair!r} isn't NAME=DIR, as in samm=/data/samm", param_hint="--data")
        folders[name] = place
    try:
        folder = notebooks.run(profile, run=run, seed=seed, data=folders, only=only, engine=engine)
    except notebooks.NotebookError as error:
        print(f"melib: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(report.table(folder))
    print(folder / "report" / "index.html")


@app.command(epilog="Example:  melib figures runs/demo")
def figures(
    run: Annotated[str, typer.Argument(help="Name of the run, or the path of its folder.")],
) -> None:
    """Redraw the figures of a run from its results alone, and rebuild its report."""
    from melib import figures as drawing
    from melib import notebooks, report

    folder = notebooks.locate(run)
    for path in drawing.draw_all(folder):
        print(path)
    print(report.build(folder))


def check_data(
    dataset: str, root: Path, tables: list[Path] | None = None, *, sample: int = 50
) -> dict[str, Any]:
    """Hold a data set against its manifest.

    Returns
    -------
    dict
        events (count by status), reasons (count by reason), videos_found, videos_annotated, videos_missing,
        frames_missing (events with a frame that doesn't exist), faces_found and faces_sampled, and problems:
        sentences, empty where all is well.

    Raises
    ------
    DataError
        If the folder, the manifest or a table can't be read at all.
    """
    import numpy as np

    from melib import annotations
    from melib import manifest as manifests

    manifest = manifests.read_manifest(dataset)
    videos = manifests.videos(manifest, root)
    events = annotations.read_events(manifest, *(tables or manifests.tables(manifest, root)))
    truth = manifests.load_truth(manifest, root)
    kept = events[events["status"] != "dropped"]
    folders = {(row.subject, row.video): row.folder for row in videos.itertuples()}
    annotated = {(row.subject, row.video) for row in kept.itertuples()}
    missing = sorted(annotated - set(folders))

    frames, unusable = {}, []
    for key, folder in folders.items():
        try:
            frames[key] = manifests.frame_files(folder, manifest)
        except DataError as error:
            unusable.append(str(error))
    gaps = []
    for row in kept.itertuples():
        if (row.subject, row.video) in frames:
            lacking = set(range(row.onset, row.offset + 1)) - set(frames[row.subject, row.video][0].tolist())
            if lacking:
                gaps.append(
                    f"{row.subject}/{row.video} event {row.event}: {len(lacking)} of its frames don't exist"
                )

    files = [path for _, paths in frames.values() for path in paths]
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, min(sample, len(files))).astype(int)]
    seen, unreadable = _faces(chosen)
    problems = [f"{subject}/{video} is annotated, and no such folder was found" for subject, video in missing]
    problems += unusable + gaps
    problems += [f"{path} can't be read as an image: unpack it again" for path in unreadable]
    if truth is not None:
        unknown = sorted(set(folders) - set(zip(truth["subject"], truth["video"], strict=True)))
        problems += [f"{manifest.truth} has no row of {subject}/{video}" for subject, video in unknown]
    if chosen and seen < 0.9 * len(chosen):
        problems.append(
            f"a face was found in {seen} of {len(chosen)} frames: is this the folder of whole frames?"
        )
    return {
        "dataset": manifest.name,
        "root": str(root),
        "events": {
            status: int((events["status"] == status).sum()) for status in ("ok", "repaired", "dropped")
        },
        "reasons": {
            str(k): int(v) for k, v in events.loc[events["status"] != "ok", "reason"].value_counts().items()
        },
        "videos_found": len(folders),
        "videos_annotated": len(annotated),
        "videos_missing": len(missing),
        "frames_found": len(files),
        "events_with_missing_frames": len(gaps),
        "faces_sampled": len(chosen),
        "faces_found": seen,
        "problems": problems,
    }


def _faces(paths: list[Path]) -> tuple[int, list[Path]]:
    """How many of the frames show a face, and which can't be read."""
    import cv2

    from melib import faces

    seen, unreadable = 0, []
    for path in paths:
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if image is None:
            unreadable.append(path)
        else:
            seen += faces.find_face(image) is not None
    return seen, unreadable


def _finding(fine: bool, what: str, found: str, remedy: str) -> tuple[str, str, str, str]:
    return ("[green]ok[/]" if fine else "[red]wrong[/]", what, found, "" if fine else remedy)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{count} {name}" for name, count in value.items()) or "none"
    return str(value)


def _table(columns: list[str], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=any(columns))
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table, highlight=False)


if __name__ == "__main__":
    app()

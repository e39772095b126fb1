"""Execute the notebooks of a run, in order, and never twice what is finished.

    notebooks/04_intensity.ipynb
        --papermill-->  runs/<name>/notebooks/04_intensity.ipynb    executed copy
                        runs/<name>/notebooks/04_intensity.json     its stamp, and hashes of its outputs
                        runs/<name>/html/04_intensity.html          to read without Jupyter

A notebook declares what it needs to be resumed and timed in its own metadata, all of it optional:

    "melib": {"outputs": ["results/intensity.csv"], "inputs": ["results/clips.csv"], "minutes": 20, "needs": "clips"}

What needs clips, long videos, or the truth (which only the simulator knows), is passed over where a run's data sets hold
none. Paths are relative to the run's folder. The stamp is a hash of all that may change what a notebook writes: its source
and parameters, melib's source, the profile's settings, manifests, tables and frames of the data, its inputs. A notebook is
skipped while its stamp is the recorded one, its outputs exist, and its results have the recorded hashes.
"""

import contextlib
import datetime
import hashlib
import html
import json
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import nbformat
from filelock import FileLock, Timeout
from tqdm import tqdm

from melib import PACKAGE
from melib.data import cache, layouts, manifest, workers
from melib.errors import DataError, Misuse
from melib.paper import report
from melib.study.provenance import CONFIGURATION, environment, package_files
from melib.study.run import begin, profile_settings

# For a profile that states no limit: a hung notebook must end, a slow machine must not be punished.
_MINUTES = 60.0

# What `python -m ipykernel_launcher` does, without asyncio's log of the cell that Ctrl-C abandoned. SIGTERM to the whole
# group (systemd, Slurm) is answered by the run, which stops its kernel: else whichever died first decided what is said.
_LAUNCH = """
import logging, signal
signal.signal(signal.SIGTERM, lambda *_: None)
logging.getLogger("asyncio").setLevel(logging.CRITICAL)
from ipykernel import kernelapp
kernelapp.launch_new_instance()
"""


class NotebookError(RuntimeError):
    """A notebook didn't reach its end: one sentence that names notebook and cell."""


def run_notebooks(profile: str, **asked: Any) -> Path:
    """Execute the notebooks that fit the data into a run's folder, skip what is finished, and build the report.

    Parameters
    ----------
    profile, **asked
        As in `ask`.

    Returns
    -------
    Path
        The run's folder.

    Raises
    ------
    DataError
        As `ask`.
    NotebookError
        If a cell fails, takes too long, or kills its kernel. What was finished before stays.
    KeyboardInterrupt
        If interrupted; the kernel is stopped, and nothing half-written carries a final name.
    """
    wanted = ask(profile, **asked)
    folder, sources = wanted.folder, wanted.notebooks
    with _only_one(folder):
        settled = begin(folder, profile, wanted.common["seed"], wanted.common["data"])
        contents = {name: data_hash(name, place, settled.cache) for name, place in wanted.places.items()}
        cache.write_yaml(folder / "parameters.yml", wanted.common)
        for reason in wanted.unfit:
            _say(folder, reason)

        for number, (path, parameters) in enumerate(sources.items(), start=1):
            executed = _step(path, f"{number}/{len(sources)} {path.stem}", folder, parameters, contents)
            if executed:
                cache.write_json(folder / "environment.json", environment())
        with _timed(folder, "report"):
            report.build(folder)
    return folder


@dataclass(frozen=True)
class Asked:
    """What is asked for, once it is known to exist.

    ``folder`` of the run; ``places`` name of a data set -> its folder, absolute; ``common`` profile, seed and data, as every
    notebook is given them; ``notebooks`` notebook -> its parameters, in order; ``unfit`` why others are passed over.
    """

    folder: Path
    places: dict[str, Path]
    common: dict[str, Any]
    notebooks: dict[Path, dict[str, Any]]
    unfit: list[str]


def ask(
    profile: str,
    *,
    run: str | Path | None = None,
    seed: int = 0,
    data: Mapping[str, str | Path] | None = None,
    only: Sequence[str] | None = None,
    root: str | Path = "runs",
    engine: str = "local",
    scheduler: str = "",
    parameters: Mapping[str, Any] | None = None,
    notebooks: str | Path | None = None,
) -> Asked:
    """Look whether everything that a run needs is there; nothing is written.

    Parameters
    ----------
    profile : str
        Name of a profile: smoke, demo, five, published, published_main, paper.
    run : str or Path, optional
        Name of the run below ``root``, or a path to its folder; :func:`name_of` gives the default.
    seed : int
        The one seed of the run.
    data : mapping of name to folder, optional
        Data sets to use; without any the notebooks simulate.
    only : sequence of str, optional
        Names of notebooks, or how they begin (``"04"``).
    root : str or Path
        Where runs live.
    engine, scheduler : str
        Where jobs run, as in `workers.use`; passed to the notebooks that declare them. Results are the same
        bytes, so that another engine repeats nothing.
    parameters : mapping, optional
        Further parameters, passed as they are typed: the text ``"006"`` stays text. Each executed notebook
        must declare them.
    notebooks : str or Path, optional
        Folder of notebooks; by default those of the checkout, or those shipped with the package.

    Returns
    -------
    Asked

    Raises
    ------
    DataError
        If something asked for doesn't exist, no notebook fits the data, or a notebook doesn't know a parameter.
    """
    numbers = profile_settings(profile).get("notebooks")  # refuses a profile that there isn't
    workers.check_engine(engine, scheduler)
    places = {name: Path(place).resolve() for name, place in sorted((data or {}).items())}
    for name, place in places.items():
        if not place.is_dir():
            raise DataError(f"{name}: {place} isn't a folder: give that of the unpacked data set, {name}=DIR")
    folder = locate(run or name_of(profile, seed, places), root)
    sources, unfit = _fitting(find_notebooks(notebooks, only), profile, numbers, places)
    paths = json.dumps({name: str(place) for name, place in places.items()}) if places else ""
    common = {"profile": profile, "seed": seed, "data": paths}
    where = {"engine": engine, "scheduler": scheduler}
    asked = {path: _parameters(path, folder, common, where, parameters or {}) for path in sources}
    return Asked(folder, places, common, asked, unfit)


def notebook_finished(
    path: Path, folder: Path, parameters: Mapping[str, Any], data: Mapping[str, str]
) -> bool:
    """Whether a notebook needn't be executed: nothing that it depends on has changed, and its results are its own."""
    copy = folder / "notebooks" / path.name
    record = _read_json(copy.with_suffix(".json"))
    outputs = [folder / name for name in notebook_metadata(path).get("outputs", [])]
    if not (record and copy.is_file() and all(file.exists() for file in outputs)) or _altered(folder, record):
        return False
    return record.get("stamp") == notebook_stamp(path, folder, parameters, data)


def notebook_metadata(path: Path) -> dict[str, Any]:
    """What a notebook's metadata say of it."""
    return dict(nbformat.read(path, as_version=4).metadata.get("melib", {}))


def find_notebooks(folder: str | Path | None = None, only: Sequence[str] | None = None) -> list[Path]:
    """Notebooks 00 to 09 that exist, in order; ``only`` keeps those whose name begins so."""
    if folder is None:
        checkout = PACKAGE.parent / "notebooks"
        is_checkout = (PACKAGE.parent / "pyproject.toml").is_file() and checkout.is_dir()
        folder = checkout if is_checkout else PACKAGE / "notebooks_shipped"
    notebooks = sorted(Path(folder).glob("0[0-9]_*.ipynb"))
    if not notebooks:
        raise DataError(f"{folder} holds no notebook 00 to 09: run from a checkout, or install melib again")
    for start in only or ():
        if not any(path.stem.startswith(start) for path in notebooks):
            raise Misuse(
                f"no notebook begins with {start!r}: there are {', '.join(p.stem for p in notebooks)}"
            )
    return [path for path in notebooks if not only or path.stem.startswith(tuple(only))]


def name_of(profile: str, seed: int = 0, data: Mapping[str, Any] | None = None) -> str:
    """Name of a run that nobody named: no two settings share a folder. A manifest's path counts by its stem.

    Examples
    --------
    >>> name_of("demo"), name_of("paper", 1, {"samm": "/data/samm"})
    ('demo', 'paper_samm_seed1')
    """
    names = sorted(Path(name).stem for name in data or {})
    return "_".join([profile, *names, *([f"seed{seed}"] if seed else [])])


def locate(run: str | Path, root: str | Path = "runs") -> Path:
    """Folder of a run, absolute, given its name (below ``root``) or its path (anything with a separator)."""
    text = str(run)
    is_path = isinstance(run, Path) or os.sep in text or text in (".", "..")
    return (Path(run) if is_path else Path(root) / text).resolve()


def notebook_stamp(path: Path, folder: Path, parameters: Mapping[str, Any], data: Mapping[str, str]) -> str:
    """Hash of all that may change what the notebook at ``path`` writes into ``folder``; hex text.

    ``data`` has the `data_hash` of each data set.
    Neither the run's own path nor the engine is part of it: a run may be moved, and go on elsewhere.
    """
    source = nbformat.read(path, as_version=4)
    digest = hashlib.sha256()
    for cell in source.cells:
        digest.update(json.dumps([cell.cell_type, cell.source]).encode())
    elsewhere = ("run", "data", "engine", "scheduler")
    settings = {name: value for name, value in parameters.items() if name not in elsewhere}
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    profile = profile_settings(str(parameters["profile"]))
    digest.update(json.dumps(profile, sort_keys=True, default=str).encode())
    digest.update(cache.content_hash(package_files()).encode())
    digest.update(json.dumps(sorted(data.items())).encode())
    # What somebody moved in simulated data; of licensed data it goes with the manifest.
    digest.update(cache.content_hash(sorted((folder / "data").glob("*/corrections/[!.]*.csv"))).encode())
    inputs = [folder / file for file in notebook_metadata(path).get("inputs", [])]
    digest.update(cache.content_hash([file for file in inputs if file.is_file()]).encode())
    return digest.hexdigest()


def data_hash(name: str, place: Path, cache_folder: Path) -> str:
    """Hash of a data set: its manifest, corrections, and the bytes of its tables, images and videos.

    Files whose size and time are known aren't read again; a copy has the hash of what it was copied from.
    """
    files = cache.tree_hash(place, _is_data, _is_run, cache_folder / "hashes")
    return cache.key(1, {"name": name}, _manifest_hash(name), files)


def _is_data(name: str) -> bool:
    table = name.lower().endswith((".xlsx", ".xls", ".csv", ".yml")) and not name.startswith(".")
    return table or layouts.is_image(name) or layouts.is_video(name)


def _is_run(folder: Path) -> bool:
    return (folder / CONFIGURATION).is_file()


def _fitting(
    sources: Sequence[Path], profile: str, numbers: Sequence[str] | None, places: Mapping[str, Path]
) -> tuple[list[Path], list[str]]:
    """Notebooks that fit the profile and some data set, and why others are passed over; simulated runs have all kinds."""
    kinds = {"clips", "long", "truth"}
    if places:
        sets = [manifest.effective(manifest.read_manifest(name), place) for name, place in places.items()]
        # Nothing can be spotted in a video that is cut to its event.
        kinds = {"long" if data.long and data.has_context else "clips" for data in sets}
    names = ", ".join(places)
    words = {"clips": "clips", "long": "long videos", "truth": "movement of known size"}
    fitting, unfit = [], []
    for path in sources:
        needs = notebook_metadata(path).get("needs")
        if numbers is not None and not path.stem.startswith(tuple(numbers)):
            unfit.append(f"{path.stem}: skipped, profile {profile} has no settings for it")
        elif needs is not None and needs not in kinds:
            unfit.append(f"{path.stem}: skipped, {names}: no {words[needs]}")
        else:
            fitting.append(path)
    if not fitting:
        raise Misuse(f"none of the notebooks asked for fits ({'; '.join(unfit)})")
    return fitting, unfit


def _step(
    path: Path, title: str, folder: Path, parameters: Mapping[str, Any], data: Mapping[str, str]
) -> bool:
    """Execute one notebook unless it is finished, and say whether; leave its copy, its record and its page."""
    about, copy = notebook_metadata(path), folder / "notebooks" / path.name
    record_file, page = copy.with_suffix(".json"), folder / "html" / f"{path.stem}.html"
    outputs = [folder / name for name in about.get("outputs", [])]
    if notebook_finished(path, folder, parameters, data):
        if not page.is_file():
            _write_page(copy, page)
        _say(folder, f"{title}: finished before, skipped")
        return False

    current = notebook_stamp(path, folder, parameters, data)
    record_file.unlink(missing_ok=True)  # from here on the old outputs may be replaced one by one
    settings = profile_settings(str(parameters["profile"]))
    # What a notebook declares is meant for a workstation; a profile that takes days says so itself.
    minutes = max(float(about.get("minutes", _MINUTES)), float(settings.get("time_limit_minutes", 0)))
    start = time.monotonic()
    with _timed(folder, path.stem):
        cells = _execute(path, title, copy, parameters, minutes)
        lost = [str(file.relative_to(folder)) for file in outputs if not file.exists()]
        if lost:
            raise NotebookError(
                f"{path.stem} ended without writing {', '.join(lost)}, which its metadata declare"
            )
        _write_page(copy, page)
    # The record comes last: whoever finds it finds everything else too.
    hashes = {str(f.relative_to(folder)): cache.content_hash([f]) for f in outputs if f.is_file()}
    cache.write_json(
        record_file, {"stamp": current, "parameters": dict(parameters), "cells": cells, "outputs": hashes}
    )
    _say(folder, f"{title}: finished in {time.monotonic() - start:.0f} s")
    return True


def check_results(folder: Path) -> None:
    """Refuse results that aren't, or not any more, what the run's notebooks wrote.

    Raises
    ------
    DataError
        Names the first of them, and the notebook that wrote it.
    """
    for file in sorted((folder / "notebooks").glob("0*.json")):
        for name in _altered(folder, _read_json(file)):
            raise DataError(
                f"{folder / name} isn't what {file.stem} wrote: run that notebook again, which melib run does by itself"
            )


def _altered(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """Results whose hash isn't the recorded one. Figures may be redrawn in another style."""
    return [
        name
        for name, known in record.get("outputs", {}).items()
        if name.startswith("results/")
        and not ((folder / name).is_file() and known == cache.content_hash([folder / name]))
    ]


def execute(path: Path, copy: Path, parameters: Mapping[str, Any]) -> None:
    """Execute one notebook that belongs to no run, and write its page beside the copy."""
    _execute(path, path.stem, copy, parameters, _MINUTES)
    _write_page(copy, copy.with_suffix(".html"))


def _execute(path: Path, title: str, copy: Path, parameters: Mapping[str, Any], minutes: float) -> int:
    """Run the notebook at ``path``; its executed copy appears at ``copy`` only when it reached its end."""
    import papermill  # slow to import: not for `melib --help`
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    for name in ("papermill", "asyncio"):  # they log what our one sentence says, asyncio after Ctrl-C
        logging.getLogger(name).setLevel(logging.CRITICAL)
    cells = sum(cell.cell_type == "code" for cell in nbformat.read(path, as_version=4).cells)
    end = time.monotonic() + 60 * minutes
    failed = copy.with_name(f"{path.stem}.failed.ipynb")
    running = 0

    with cache.atomic(copy) as temporary, _kernel(path.stem), _progress(title, cells) as show:

        def started(cell: Any, cell_index: int) -> None:
            nonlocal running
            running += 1
            show(running)

        def keep(what: str) -> str:
            """Put the unfinished copy where it can be looked at, and complete the sentence."""
            os.replace(temporary, failed)
            return f"{path.stem} stopped in cell [{running}]: {what}"

        try:
            papermill.execute_notebook(
                _formatted(path),
                _formatted(temporary),
                parameters=dict(parameters),
                kernel_name="python3",
                progress_bar=False,
                start_timeout=120,
                autosave_cell_every=0,
                timeout_func=lambda cell: max(1, int(end - time.monotonic())),
                on_cell_start=started,
            )
        except papermill.PapermillExecutionError as error:
            if error.ename in ("DataError", "Misuse"):  # already one readable sentence with its remedy
                raise NotebookError(keep(error.evalue)) from None
            why = _first_line(error.evalue) or _failed_line(error.traceback)
            what = f"{error.ename}: {why}".rstrip(": ")
            raise NotebookError(keep(f"{what}; the traceback is in {failed}")) from None
        except CellTimeoutError:
            raise NotebookError(keep(f"the notebook's time limit of {minutes:g} minutes is over")) from None
        except DeadKernelError:
            raise NotebookError(
                keep("its kernel died; most often memory ran out, see `melib doctor`")
            ) from None
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"{path.stem} was interrupted in cell [{running}]") from None
    failed.unlink(missing_ok=True)
    return cells


def _parameters(
    path: Path, folder: Path, common: Mapping[str, Any], where: Mapping[str, str], extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Parameters for one notebook, refused where it doesn't declare them (papermill would only warn)."""
    import papermill

    known = papermill.inspect_notebook(_formatted(path))
    parameters = {"run": str(folder), **common, **extra}
    parameters |= {name: value for name, value in where.items() if name in known}
    for name in parameters:
        if name not in known:
            names = ", ".join(known) or "none: no cell is tagged `parameters`"
            raise Misuse(f"{path.name} has no parameter {name!r}; it declares {names}")
    return parameters


def _manifest_hash(name: str) -> str:
    """Hash of a manifest, its corrections, and the manifest whose emotions it takes."""

    about = manifest.read_manifest(name)
    corrections = about.source.parent / "corrections" / f"{about.name}.csv"
    parts = [manifest.manifest_hash(about), cache.content_hash([f for f in [corrections] if f.is_file()])]
    return "".join([*parts, _manifest_hash(about.join["dataset"]) if about.join else ""])


def _equations() -> Any:
    """Renders Markdown with its equations as MathML, which a browser draws without a script."""
    from latex2mathml import converter, exceptions
    from nbconvert.filters.markdown_mistune import IPythonRenderer

    not_latex: tuple[type[Exception], ...] = tuple(
        e for e in vars(exceptions).values() if isinstance(e, type)
    )

    def mathml(body: str, display: str) -> str:
        try:
            return converter.convert(body, display=display)
        except not_latex:  # somebody's own notebook: shown as it was typed
            return html.escape(f"${body}$")

    class Equations(IPythonRenderer):
        def inline_math(self, body: str) -> str:
            return mathml(body, "inline")

        def block_math(self, body: str) -> str:
            return mathml(body, "block")

    return Equations(escape=False)


def _write_page(copy: Path, page: Path) -> None:
    """Turn an executed copy into a page that loads nothing from elsewhere."""
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import MarkdownWithMath
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor

    # Of a progress bar that was printed a hundred times, only the last state is worth reading.
    exporter = HTMLExporter(template_name="lab", preprocessors=[CoalesceStreamsPreprocessor])
    exporter.register_filter("markdown2html", MarkdownWithMath(renderer=_equations()).render)
    text, _ = exporter.from_filename(str(copy))
    text = re.sub(r"<script\b.*?</script>", "", text, flags=re.DOTALL)  # all of them fetch libraries
    with cache.atomic(page) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the run's folder; the lock goes with the process, even if that is killed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder / ".lock", blocking=False).acquire()
        for left in (folder / "notebooks").glob(".*.ipynb"):  # by a run that was killed
            left.unlink()
    except Timeout:
        raise DataError(f"another melib is working in {folder}: wait for it, or name another run") from None
    except OSError as error:
        raise DataError(f"{folder} can't be written ({error.strerror}): choose another run") from None
    with held:
        yield


@contextlib.contextmanager
def _timed(folder: Path, step: str) -> Iterator[None]:
    """Add the wall time of a finished step to timing.json, outside results/ on purpose, or say in the log why it isn't."""
    start, file = time.monotonic(), folder / "timing.json"
    try:
        yield
    except (NotebookError, DataError, KeyboardInterrupt) as error:  # whoever called tells the user
        _log(folder, str(error))
        raise
    cache.write_json(file, {**_read_json(file), step: round(time.monotonic() - start, 2)})


@contextlib.contextmanager
def _kernel(notebook: str) -> Iterator[None]:
    """Make `python3` the kernel of this interpreter, whatever kernels of that name a user has installed.

    The kernel also learns the notebook's name, for the sidecars of its figures.
    """
    options = ("--log-level=CRITICAL", "--InteractiveShellApp.ignore_cwd=True")
    spec = {
        "argv": [sys.executable, "-c", _LAUNCH, "-f", "{connection_file}", *options],
        "display_name": "Python 3 (melib)",
        "language": "python",
    }
    with tempfile.TemporaryDirectory(prefix="melib-kernel-") as place:
        cache.write_json(Path(place) / "kernels" / "python3" / "kernel.json", spec)
        paths = [place, *filter(None, [os.environ.get("JUPYTER_PATH")])]
        # Somebody's types.py in the working folder must not be imported, by the kernel or by the processes that it starts.
        here = {"JUPYTER_PATH": os.pathsep.join(paths), "MELIB_NOTEBOOK": notebook, "PYTHONSAFEPATH": "1"}
        with mock.patch.dict(os.environ, here):
            yield


@contextlib.contextmanager
def _progress(title: str, cells: int) -> Iterator[Callable[[int], None]]:
    """Show notebook, cell and time elapsed; where nobody watches, one line when the notebook starts."""
    if not sys.stderr.isatty():
        print(f"{title}: started", file=sys.stderr, flush=True)
    form = "{desc} |{bar:40}| cell {n}/{total} {elapsed}"
    with tqdm(total=cells, desc=title, bar_format=form, leave=False, disable=None) as bar:
        # The injected parameters are one cell more than the source has.
        yield lambda running: bar.update(min(running, cells) - bar.n) and None


def _say(folder: Path, line: str) -> None:
    """Tell the user, and the run's log."""
    print(line, file=sys.stderr, flush=True)
    _log(folder, line)


def _log(folder: Path, line: str) -> None:
    now = datetime.datetime.now().isoformat(timespec="seconds")
    # The user has been told already: a disk too full for the log must not hide why the run ended.
    with contextlib.suppress(OSError), (folder / "log.txt").open("a", encoding="utf-8") as log:
        log.write(f"{now} {line}\n")


def _formatted(path: Path) -> str:
    """A path as papermill wants it, which formats what it is given."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""


def _failed_line(traceback: Sequence[str]) -> str:
    """The line that an arrow points at in the first frame of IPython's traceback: says which assertion failed."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(traceback))
    line = re.search(r"^-+> *\d+ (.*)$", plain, re.MULTILINE)
    return line.group(1).strip() if line else ""


def _read_json(file: Path) -> dict[str, Any]:
    """What a record holds; nothing where it is absent or isn't json (the step is then done again)."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}

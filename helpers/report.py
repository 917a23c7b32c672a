"""A plan in, one self-contained HTML file out: notebooks run by papermill, two at a time, rendered by nbconvert."""

import argparse
import io
import logging
import os
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import nbformat
import papermill
from joblib import Parallel, delayed, parallel_config
from nbclient.exceptions import DeadKernelError

from helpers import article, published
from helpers.experiments import begin_worker
from helpers.inputs import ROOT, InputError, known_keys, one_of, print_anything, read_yaml, unwritable, writable_folder
from helpers.questions import USUAL, short
from helpers.sources import load_digits

NOTEBOOKS = ROOT / "notebooks"
PARTS = ("notebooks", "tables", "figures")  # folders of a finished report
AT_ONCE = 2  # notebooks
MARK = '<meta name="generator" content="digit-comparison report">'  # of a page that was built here
OURS = ("plan", "output")  # parameters that a report gives its notebooks itself
KINDS = {"title": str, "description": str, "parameters": dict, "notebooks": list}
KINDS_OF_ENTRY = {"notebook": str, "parameters": dict, "title": str, "waits_for": list, "appendix": bool}
WORDS = {str: "a text", dict: "a mapping", list: "a list", bool: "true or false"}


@dataclass(frozen=True)
class NotebookRun:
    """One notebook of a plan."""

    notebook: str = ""
    parameters: dict = field(default_factory=dict)
    title: str = ""  # replaces the notebook's own in the report
    waits_for: tuple = ()  # notebooks whose tables it reads
    appendix: bool = False  # stands in the appendix, as all notebooks do whose names begin with a
    name: str = ""  # of the executed notebook and its section, e.g. 03_ablation-mlp


def read_plan(path: Path) -> tuple[dict, list[NotebookRun]]:
    """Read a plan and check it against the notebooks. Raises InputError before anything is run.

    A plan has `title`, `description`, `parameters` that go to every notebook that declares them, and `notebooks`: a
    list of names or of {notebook, parameters, title, waits_for, appendix}. The article has the order of the notebooks'
    names, its appendix at the end.
    """
    _, plan = read_yaml("plan", path, NOTEBOOKS / "plans")
    _check_kinds("plan", plan, KINDS)
    entries, common = plan.get("notebooks"), plan.get("parameters") or {}
    if not entries:
        raise InputError(f"plan: notebooks: {entries!r} was given, allowed is a list of notebooks.")
    notebooks = [file.stem for file in sorted(NOTEBOOKS.glob("[0-9a][0-9]_*.ipynb"))]
    runs, declared = [], set()
    for said in entries:
        entry: dict = {"notebook": said} if isinstance(said, str) else said
        _check_kinds("plan: notebooks", entry, KINDS_OF_ENTRY)
        run = NotebookRun(**entry)
        one_of("plan: notebook", run.notebook, notebooks)
        known = list(papermill.inspect_notebook(_literal(NOTEBOOKS / f"{run.notebook}.ipynb")))
        for name in set(run.parameters) & {"source", *OURS}:
            raise InputError(
                f"plan: parameters of {run.notebook}: {name!r} was given, which is the whole report's; "
                + ("put it under the plan's own parameters." if name == "source" else "allowed is none.")
            )
        known_keys(f"plan: parameters of {run.notebook}", run.parameters, [n for n in known if n not in OURS])
        given = {name: value for name, value in common.items() if name in known} | run.parameters
        name = _name_of(run.notebook, given)
        turn = 1 + sum(name == _name_of(other.notebook, other.parameters) for other in runs)
        name, appendix = name if turn == 1 else f"{name}-{turn}", run.appendix or run.notebook.startswith("a")
        runs.append(replace(run, parameters=given, name=name, appendix=appendix))
        declared |= set(known)
    known_keys("plan: parameters", common, sorted(declared - set(OURS)))
    for run in runs:
        for name in run.waits_for:
            one_of(f"plan: waits_for of {run.notebook}", name, list(dict.fromkeys(run.notebook for run in runs)))
    _turns(runs)  # refuses notebooks that wait for each other
    return plan, sorted(runs, key=lambda run: (run.appendix, run.notebook))


def _check_kinds(where: str, mapping, kinds: dict[str, type]) -> None:
    for name in known_keys(where, mapping, kinds):
        if not isinstance(mapping[name], kinds[name]):
            raise InputError(f"{where}: {name}: {mapping[name]!r} was given, allowed is {WORDS[kinds[name]]}.")


def _turns(runs: list[NotebookRun]) -> list[list[NotebookRun]]:
    """The runs in turns: each has those that wait for nothing but earlier turns."""
    turns = []
    while runs:
        left = {run.notebook for run in runs}
        turns.append([run for run in runs if not left & set(run.waits_for)])
        if not turns[-1]:
            raise InputError(f"plan: waits_for: {', '.join(sorted(left))} wait for each other, so none can begin.")
        runs = [run for run in runs if left & set(run.waits_for)]
    return turns


def _literal(path: Path) -> str:
    """A path as papermill takes it, which puts parameters into braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _name_of(notebook: str, parameters: dict) -> str:
    """The notebook's name and what makes its tables' names others."""
    question = parameters.get("question", USUAL)
    architecture = parameters.get("architecture", "")
    parts = [
        "own" if isinstance(architecture, dict) else Path(str(architecture)).stem[:40],
        short(question) if question != USUAL else "",
    ]
    parts += [f"{parameters['images']}-images"] if parameters.get("images", 2) != 2 else []
    return "-".join([notebook, *re.findall(r"\w+", " ".join(parts))])


# ---------------------------------------------------------------------------------------------------------- building


def build_report(plan_path: Path, target: Path = ROOT / "report") -> Path:
    """Run a plan's notebooks and write `target`/report.html; the last good report stays until the new one is whole.

    Raises InputError where the plan or a notebook fails, with the notebook, the cell and its error in one message.
    """
    plan, runs = read_plan(plan_path)
    target, commit, began = writable_folder("report", target), published.commit(), time.monotonic()
    _check_target(target)
    digits = load_digits((plan.get("parameters") or {}).get("source", "auto"))
    print(f"{plan_path.stem} plan: {len(runs)} notebooks on {digits.name}", flush=True)
    try:
        return _build(plan, plan_path.stem, runs, target, digits, commit, began)
    except OSError as error:
        raise unwritable("report", target, error) from None


def _check_target(target: Path) -> None:
    """Refuse a folder in which a report would replace what is not an earlier report's."""
    page = target / "report.html"
    earlier = page.is_file() and MARK in page.read_text(encoding="utf-8", errors="replace")[:2000]
    for part in (*PARTS, "report.html"):
        path = target / part
        if path.is_symlink() or (path.exists() and not earlier):
            raise InputError(
                f"report: the folder {str(target)!r} was given, which has {part!r} of its own; allowed is an empty "
                "folder, or one with an earlier report."
            )


def _build(plan: dict, name: str, runs: list[NotebookRun], target: Path, digits, commit: str, began: float) -> Path:
    with tempfile.TemporaryDirectory(dir=target, prefix=".building-", ignore_cleanup_errors=True) as folder:
        building = Path(folder)
        for part in PARTS:
            (building / part).mkdir()
        sections: dict[str, dict] = {}
        for turn in _turns(runs):
            for run, notebook in _execute(turn, building, name, digits.source):
                sections[run.name] = article.section(run.name, run.title, notebook, run.appendix)
                clock = str(timedelta(seconds=round(time.monotonic() - began))).removeprefix("0:")
                print(f"[{len(sections)}/{len(runs)}] {run.name} done after {clock}", flush=True)
        in_order = [sections[run.name] for run in runs]
        text = article.page(plan, name, digits.name, commit, in_order)
        (building / "report.html").write_text(text, encoding="utf-8")
        for part in (*PARTS, "report.html"):
            shutil.rmtree(target / part, ignore_errors=True)
            os.replace(building / part, target / part)
    return target / "report.html"


def _execute(runs: list[NotebookRun], building: Path, plan: str, source: str) -> Iterable:
    """Run notebooks, some at a time, and give each with its executed notebook as soon as it is finished."""
    work = []
    for run in runs:
        again = run.name != _name_of(run.notebook, run.parameters)  # a second run of a notebook, with the same tables
        given = {"plan": plan, "source": source, "output": str(building / "tables" / run.name if again else building)}
        work.append(delayed(_run_notebook)(run, run.parameters | given, building / "notebooks"))
    with parallel_config(backend="loky", initializer=begin_worker, initargs=(os.getpid(),)):
        return Parallel(n_jobs=AT_ONCE, return_as="generator_unordered")(work)


def _run_notebook(run: NotebookRun, parameters: dict, folder: Path) -> tuple[NotebookRun, nbformat.NotebookNode]:
    """In a process of its own: the notebook, executed. Raises InputError that says what went wrong in which cell."""
    try:
        executed = papermill.execute_notebook(
            _literal(NOTEBOOKS / f"{run.notebook}.ipynb"),
            _literal(folder / f"{run.name}.ipynb"),
            parameters,
            kernel_name="python3",
            progress_bar=False,
            stderr_file=_Log(run.name),
            extra_arguments=["--log-level=50"],  # the kernel's own warnings would drown the progress
        )
        return run, executed
    except DeadKernelError:
        said = f"{run.notebook}: its kernel died, perhaps for want of memory; all finished runs are kept."
    except OSError as error:
        raise unwritable("report", folder.parent, error) from None
    except papermill.PapermillExecutionError as error:
        said = error.evalue if error.ename == "InputError" else f"{error.ename}: {error.evalue}"
        # Behind papermill's own cell of given parameters: its index from 0 is its number from 1 in the notebook.
        said = f"{run.notebook}, cell {error.cell_index}: {said}"
    raise InputError(said)


class _Log(io.TextIOBase):
    """A kernel's standard error as lines of ours, each with its notebook's name: progress bars become lines too."""

    def __init__(self, name: str):
        self.name = name

    def write(self, text: str) -> None:
        for line in filter(str.strip, re.split(r"[\r\n]+", text)):
            print(f"    {self.name}: {line.strip()}", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m helpers.report", description=__doc__)
    parser.add_argument("plan", type=Path, nargs="?", default=NOTEBOOKS / "plans" / "standard.yaml")
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "report")
    given = parser.parse_args(arguments)
    print_anything()
    warnings.filterwarnings("ignore", message=".*tasks.* were still")  # joblib's, where a notebook fails
    try:
        print(f"Written: {build_report(given.plan, given.folder)}")
    except InputError as error:
        print(f"The report was not built. {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # what was under way is given up, and need not be told
        print("Interrupted; finished runs are kept, and the next report goes on from them.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    # Of workers that were ended joblib's resource tracker, a process of its own, says that it cleans up behind them.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
    sys.exit(main())

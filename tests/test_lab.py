"""JupyterLab as its users meet it: a notebook is opened and run in a real browser, and its explorer answers."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from conftest import set_size
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from helpers import data
from helpers.inputs import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lab(tmp_path_factory, made_folder):
    """JupyterLab on a copy of 01_data whose results go to a folder of their own."""
    folder = tmp_path_factory.mktemp("lab")
    notebook = json.loads((ROOT / "notebooks" / "01_data.ipynb").read_text())
    for cell in notebook["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            source = "".join(cell["source"])
            cell["source"] = re.sub(r'output: str = ""', f"output: str = {str(folder)!r}", source)
    (folder / "01_data.ipynb").write_text(json.dumps(notebook))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = f"lab --no-browser --allow-root --ip 127.0.0.1 --port {port} --expose-app-in-browser"
    options = ["--IdentityProvider.token=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    environment = os.environ | {data.FOLDER_VARIABLE: str(made_folder), "RUN_STORE": str(folder / "runs")}
    environment.pop("PROGRESS_LINES", None)
    whole = [sys.executable, "-m", "jupyter", *command.split(), *options]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(whole, cwd=folder, env=environment, **quiet)
    address = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/api", timeout=5)
            break
        except OSError:
            time.sleep(0.5)
    yield address
    server.terminate()
    server.wait(30)


def test_in_jupyterlab_all_cells_run_and_the_explorer_answers(browser, lab):
    set_size(browser, 1440, 1000)
    browser.get(f"{lab}/lab/tree/01_data.ipynb")
    wait = WebDriverWait(browser, 180, poll_frequency=0.5)
    ready = "return !!window.jupyterapp?.shell.currentWidget?.sessionContext?.session"
    wait.until(lambda b: b.execute_script(ready))
    browser.set_script_timeout(180)
    failed = browser.execute_async_script("""
        const finish = arguments[0];
        jupyterapp.shell.currentWidget.sessionContext.ready
            .then(() => jupyterapp.commands.execute('notebook:run-all-cells'))
            .then(() => finish(null), error => finish(String(error)));""")
    assert failed is None
    outputs = """return jupyterapp.shell.currentWidget.content.widgets.filter(c => c.model.type === 'code')
                 .map(c => [c.model.executionCount, c.model.outputs.toJSON().map(o => o.output_type)])"""
    cells = wait.until(lambda b: (found := b.execute_script(outputs)) and all(c for c, _ in found) and found)
    assert not any("error" in kinds for _, kinds in cells)
    find = "return document.querySelector('.widget-bounded-int-text input, .jupyter-widgets input[type=number]')"
    number = wait.until(lambda b: b.execute_script(find))
    picture = "return document.querySelector('img.widget-image, .widget-image')?.src"
    before = wait.until(lambda b: b.execute_script(picture))
    browser.execute_script("arguments[0].scrollIntoView()", number)
    number.send_keys(Keys.CONTROL, "a")
    number.send_keys("7", Keys.ENTER)
    wait.until(lambda b: b.execute_script(picture) != before)

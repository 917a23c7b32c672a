"""JupyterLab as its users meet it: a notebook is opened and run in a real browser, and its demo answers."""

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

from helpers import runs, sources
from helpers.inputs import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lab(tmp_path_factory, made_folder):
    """JupyterLab on a copy of 00_start whose results go to a folder of their own."""
    folder = tmp_path_factory.mktemp("lab")
    notebook = json.loads((ROOT / "notebooks" / "00_start.ipynb").read_text())
    for cell in notebook["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            source = "".join(cell["source"])
            cell["source"] = re.sub(r'output: str = ""', f"output: str = {str(folder)!r}", source)
    (folder / "00_start.ipynb").write_text(json.dumps(notebook))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = f"lab --no-browser --allow-root --ip 127.0.0.1 --port {port} --expose-app-in-browser"
    options = ["--IdentityProvider.token=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    environment = os.environ | {sources.FOLDER_VARIABLE: str(made_folder), runs.STORE_VARIABLE: str(folder / "runs")}
    whole = [sys.executable, "-m", "jupyter", *command.split(), *options]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(whole, cwd=folder, env=environment, **quiet)
    address = f"http://127.0.0.1:{port}"
    while server.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/api", timeout=60)
            break
        except OSError:
            time.sleep(0.2)
    yield address
    server.terminate()
    server.wait(30)


# The notebook is looked up among the open documents: which of them has the focus is a matter of the window.
NOTEBOOK = "[...(window.jupyterapp?.shell.widgets('main') ?? [])].find(w => w.content?.widgets && w.sessionContext)"


def test_in_jupyterlab_all_cells_run_and_the_demo_answers(browser, lab):
    set_size(browser, 1440, 1000)
    browser.get(f"{lab}/lab/tree/00_start.ipynb")
    from selenium.webdriver.support.ui import WebDriverWait

    wait = WebDriverWait(browser, 600, poll_frequency=0.5)  # a hang, not slowness, is what this ends
    wait.until(lambda b: b.execute_script(f"return !!{NOTEBOOK}"))
    # Asked for by turns: no single answer of the browser has to wait for the notebook.
    browser.execute_script(f"""
        const finish = said => window.ran = {{said}}, notebook = {NOTEBOOK};
        notebook.sessionContext.ready.then(async () => {{
            jupyterapp.shell.activateById(notebook.id);
            for (const cell of notebook.content.widgets) {{
                if (cell.model.type !== 'code') continue;
                cell.model.trusted = true;
                const code = cell.model.sharedModel.getSource();
                const future = notebook.sessionContext.session.kernel.requestExecute({{code}});
                cell.outputArea.future = future;
                const reply = await future.done;
                if (reply.content.status !== 'ok') return finish(reply.content.ename + ': ' + reply.content.evalue);
            }}
            finish(null);
        }}, error => finish(String(error)));""")
    assert wait.until(lambda b: b.execute_script("return window.ran"))["said"] is None
    # Brought into view, for JupyterLab draws only what may be seen.
    browser.execute_script(f"""const n = {NOTEBOOK};
        const found = n.content.widgets.findIndex(w => w.model.sharedModel.getSource().includes('demo.demo('));
        n.content.scrollToItem?.(found);""")
    demo = "document.querySelector('.demo:has(.demo-body:not([hidden]))')"
    texts = "[d.querySelector('.demo-pick').value, d.querySelector('.demo-read').textContent]"
    read = f"const d = {demo}; return d && {texts}"
    pair, said = wait.until(lambda b: b.execute_script(read))
    assert said
    browser.execute_script(f"{demo}.querySelector('.demo-next').click()")
    wait.until(lambda b: b.execute_script(read)[0] not in ("", pair))

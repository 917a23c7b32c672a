"""The report and JupyterLab as their readers meet them: in a real browser, Debian's Chromium."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import axe_core_python
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from helpers import data
from helpers.inputs import ROOT

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("report"),  # one process builds it for all
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]
QUIET = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*QUIET.split(), "--disable-component-update", "--disable-sync"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def set_size(browser, width, height=900):
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


@pytest.fixture(scope="module")
def report(built):
    return f"file://{built[0]}/report/report.html"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_the_report_fits_is_silent_and_accessible(browser, report, width, theme):
    set_size(browser, width)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    )
    browser.get(report)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")] == []
    fetched = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in fetched if not name.startswith("data:")] == []
    assert browser.execute_script("return [...document.images].every(i => i.alt && i.naturalWidth > 0)")
    browser.execute_script(Path(axe_core_python.__file__).with_name("axe.min.js").read_text())
    browser.set_script_timeout(180)
    violations = "const done = arguments[0]; axe.run({resultTypes: ['violations']}).then(r => done(r.violations))"
    found = browser.execute_async_script(violations)
    serious = [(v["id"], v["nodes"][0]["html"][:150]) for v in found if v["impact"] in ("serious", "critical")]
    assert serious == []


def test_the_contents_follow_the_scroll_and_tables_sort(browser, report):
    set_size(browser, 1440)
    browser.get(report)
    links = browser.find_elements(By.CSS_SELECTOR, "nav > ol > li > a")
    target = links[len(links) // 2]
    target.click()
    WebDriverWait(browser, 10).until(lambda _: "here" in target.get_attribute("class"))
    button = next(b for b in browser.find_elements(By.CSS_SELECTOR, "th button") if b.text == "parameters")
    browser.execute_script("arguments[0].scrollIntoView()", button)
    cells = "return [...arguments[0].closest('table').tBodies[0].rows].map(r => r.cells[1].textContent)"
    for order in (1, -1):
        browser.execute_script("arguments[0].click()", button)
        values = [int(text.replace(",", "")) for text in browser.execute_script(cells, button)]
        assert values == sorted(values, reverse=order < 0)


def test_the_report_prints(browser, report, tmp_path):
    browser.get(report)
    pdf = browser.execute_cdp_cmd("Page.printToPDF", {})["data"]
    assert len(pdf) > 100_000


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

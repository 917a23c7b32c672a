"""Small made-up digits for all tests that need no real ones, and a store of finished runs of each test's own."""

import ast
import os
import shutil
import subprocess
from itertools import pairwise
from types import SimpleNamespace

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads wait for each other where others use the cores

import nbformat
import numpy as np
import pytest
import yaml
from bs4 import BeautifulSoup

from helpers.data import Digits, make_digits
from helpers.experiments import Setting
from helpers.inputs import ROOT
from helpers.runs import STORE_VARIABLE
from helpers.sources import FILES

QUIET = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"


def made_digits(train: int = 600, test: int = 600, noise: float = 20.0, seed: int = 0) -> Digits:
    """Ten classes, each a bright square at a place of its own in 28×28, with noise."""
    generator = np.random.default_rng(seed)
    parts = []
    for count in (train, test):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = generator.normal(30, noise, (count, 28, 28)).clip(0, 255)
        for image, label in zip(images, labels, strict=True):
            top, left = 2 + 12 * (label // 5), 5 * (label % 5)
            image[top : top + 8, left : left + 5] = 230
        order = generator.permutation(count)
        parts += [images.astype(np.uint8)[order], labels[order]]
    return make_digits("made", "made digits", *parts)


def by_hand(question: str, digits: list[int]) -> int:
    """The answer to a question, written down a second time."""
    neighbours = list(pairwise(digits))
    match question:
        case "less than or equal":
            return int(sorted(digits) == digits)
        case "less than":
            return int(all(a < b for a, b in neighbours))
        case "equal":
            return int(len(set(digits)) == 1)
        case "sum":
            return sum(digits)
        case "sum modulo 3":
            return sum(digits) % 3
    return int(eval(question, {"first": digits[0], "second": digits[1]}))


def defined_in(notebook: str) -> SimpleNamespace:
    """A notebook's functions, constants, parameters and imports, without anything else of it being run."""
    cells = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", 4).cells
    body = ast.parse("\n".join(cell.source for cell in cells if cell.cell_type == "code")).body
    kinds, names = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AnnAssign, {}
    constants = [node for node in body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).isupper()]
    wanted = [node for node in body if isinstance(node, kinds) or node in constants]
    exec(compile(ast.Module(wanted, []), notebook, "exec"), names)
    return SimpleNamespace(**names)


def shipped(folder: str, pattern: str) -> list:
    """The project's own files, without what a user has put beside them: what git tracks, where there is git."""
    listed = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, encoding="utf-8").stdout
    tracked = {ROOT / line for line in listed.splitlines()}
    return [path for path in sorted((ROOT / folder).glob(pattern)) if not tracked or path in tracked]


@pytest.fixture(scope="session")
def digits() -> Digits:
    return made_digits()


@pytest.fixture(autouse=True)
def run_store(tmp_path, monkeypatch):
    """The folder of finished runs of this test."""
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def many_digits() -> Digits:
    """Enough for rounds of 1,000 pairs."""
    return made_digits(2000, 2000)


@pytest.fixture
def setting(many_digits) -> Setting:
    return Setting(many_digits, rounds=2, jobs=1)


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.tobytes())


def write_plan(path, **plan):
    path.write_text(yaml.safe_dump(plan))
    return path


@pytest.fixture(scope="session")
def made_folder(tmp_path_factory, many_digits):
    """The made digits as a folder of IDX files."""
    folder = tmp_path_factory.mktemp("Made")
    parts = (many_digits.train_images, many_digits.train_labels, many_digits.test_images, many_digits.test_labels)
    for name, array in zip(FILES, parts, strict=True):
        write_idx(folder / name, array)
    return folder


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Debian's Chromium, without a window."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (binary and driver):
        pytest.skip("needs chromium and chromedriver")
    webdriver = pytest.importorskip("selenium.webdriver")  # here, so that all other tests do without it
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (*QUIET.split(), "--disable-component-update", "--disable-sync"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chromium = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield chromium
    chromium.quit()


def set_size(browser, width, height=900):
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def bare_page(folder, fragment: str) -> str:
    """The address of a page that has only this fragment of HTML, parsed and written again as the report does."""
    head = '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    page = BeautifulSoup(f"{head}<title>fragment</title><body>{fragment}</body></html>", "html.parser")
    (folder / "page.html").write_text(str(page))
    return f"file://{folder / 'page.html'}"

"""What trains a run decides its name: all code that it can reach, as loaded, and nothing that cannot matter."""

import os
import shutil
import subprocess
import sys

import pytest

from helpers import fingerprint
from helpers.inputs import ROOT

WORDS = frozenset({"sgd", "hinge", "linear", "relu", "constant", "distort"})


def names(module="", old="", new="", words=WORDS) -> str:
    """The hash of the code with one edit."""
    sources = dict(fingerprint.reached())
    if module:
        assert old in sources[module], (module, old)
        sources[module] = sources[module].replace(old, new, 1)
    return fingerprint.hash_of(tuple(sorted(sources.items())), words)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("training", "loss.backward()", "loss.backward(retain_graph=True)"),
        ("training", "for start in range(0, len(pairs), recipe.batch_size)", "for start in range(0, len(pairs), 7)"),
        ("training", "        outputs.append([None", "    outputs.append([None"),
        ("training", "    if digit_weight:", "    if digit_weight is False:"),
        ("distortion", "shear: float = 0.0,", "shear: float = False,"),
        ("training", "EVALUATION_BATCH = 100", "EVALUATION_BATCH = 50"),
        ("training", "\ndef one_cycle", "\nOPTIMIZERS |= {'sgd': torch.optim.Adam}\n\n\ndef one_cycle"),
        ("training", '"sgd": torch.optim.SGD', '"sgd": torch.optim.ASGD'),
        ("data", "dtype=np.uint16", "dtype=np.uint32"),
        ("data", "% folds == fold", "% folds == folds - 1 - fold"),
        ("digits", "CLASSES = 10", "CLASSES = 11"),
        ("models", "IMAGE = (14, 14)", "IMAGE: tuple = (14, 15)"),
        ("models", "\nclass Flatten", "\nLAYERS |= {'relu': (lambda shape: nn.GELU(), None)}\n\n\nclass Flatten"),
        ("models", "\nclass Flatten", "\nLAYERS['relu'] = (lambda shape: nn.GELU(), None)\n\n\nclass Flatten"),
        ("models", "\nclass Flatten", "\nBY_NUMBER = {1: nn.ReLU}\n\n\nclass Flatten"),
        ("models", "return self.head(joined), digits", "return self.head(joined), digits * 1"),
        ("runs", "stream(run.seed, run.round, run.fold, run.start)", "stream(run.seed, run.round)"),
        ("runs", 'split(pairs["train"], *self.fold)', 'split(pairs["train"], 0, 2)'),
        ("inputs", "return float(value)", "return round(float(value), 2)"),
        ("distortion", 'padding_mode="border"', 'padding_mode="zeros"'),
    ],
)
def test_a_change_that_a_run_can_reach_is_another_name(module, old, new):
    assert names(module, old, new) != names()


def test_a_private_name_in_two_modules_is_told_apart():
    twice = ("data", "\ndef split", "\ndef _measures(): pass\n\n\ndef split")
    assert names(*twice) != names("training", '    measures = {\n        "loss"', '    measures = {\n        "nats"')
    assert names("training", '"loss": round(', '"loss": max(') != names()


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("training", "for start in range", "for start  in range"),
        ("training", "            rows, measured, ", "            # a word\n            rows, measured, "),
        ("training", '"""One pass over', '"""Once over'),
        ("training", '    "rmsprop": ', '    "nadam": torch.optim.NAdam,\n    "rmsprop": '),
        ("training", '"adam": torch.optim.Adam', '"adam": torch.optim.AdamW'),
        ("models", "\nLAYERS = {", "\nLAYERS = {\n    'mine': (lambda shape: nn.ReLU6(), None),"),
    ],
)
def test_what_cannot_matter_is_the_same_name(module, old, new):
    assert names(module, old, new) == names()


def test_a_changed_entry_is_another_name_for_what_uses_it():
    with_adam = WORDS | {"adam"}
    edit = ("training", '"adam": torch.optim.Adam', '"adam": torch.optim.AdamW')
    assert names(*edit, words=with_adam) != names(words=with_adam)


SCRIPT = """
import pathlib, sys
from helpers import fingerprint
from helpers.architectures import read_models
from helpers.experiments import Setting, run_rounds
sys.path.insert(0, {tests!r})
from conftest import made_digits
models = read_models({{"layers": [{{"linear": 10}}], "recipe": {{"epochs": 1}}}})
digits = made_digits(2000, 2000)
run_rounds(models, Setting(digits, rounds=1, jobs=1))
print(sorted(fingerprint.reached()))
path = pathlib.Path(fingerprint.__file__).with_name("training.py")
path.write_text(path.read_text().replace("optimizer.step()", "optimizer.step(); optimizer.step()"))
run_rounds(models, Setting(digits, rounds=1, jobs=1))
try:
    run_rounds(models, Setting(digits, rounds=2, jobs=2))
except Exception as error:
    print(error)
import importlib
from helpers import training
importlib.reload(training)
try:
    run_rounds(models, Setting(digits, rounds=1, jobs=1))
except Exception as error:
    print(error)
"""


@pytest.mark.slow
def test_a_live_process_is_named_by_what_it_has_loaded_and_other_workers_are_refused(tmp_path, runs):
    """On a copy: after an edit the same process goes on under the old name, and no worker with the new code does."""
    shutil.copytree(ROOT / "helpers", tmp_path / "helpers", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "helpers" / "extra.py").write_text("ONE = 1\n")
    with open(tmp_path / "helpers" / "distortion.py", "a") as file:
        file.write("\n\ndef lazily():\n    from helpers import extra\n\n    return extra.ONE\n")
    script = SCRIPT.format(tests=str(ROOT / "tests"))
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    reached, refused, reloaded = result.stdout.strip().splitlines()
    assert "'extra'" in reached
    assert result.stderr.count("trained now") == 2  # the second call found all it wanted under the old name
    assert refused.startswith("A worker has loaded other code of this project")
    assert reloaded == "Code of helpers/ was loaded a second time; start the kernel again."
    assert len(list(runs.glob("*.run"))) == 4

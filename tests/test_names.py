"""A run's name follows what the code does: no rewording changes it, and every edit that changes a result does."""

import ast
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import augment, data, models, runs, training
from helpers.architectures import find_model, read_models
from helpers.experiments import run_rounds
from helpers.inputs import ROOT, InputError
from helpers.runs import NOISE, STEP, Run, canary, names_of

MODELS = [*read_models("convnet"), *read_models("m6"), find_model(read_models("mlp", question="less than"), "both")]
HELPERS = [module for name, module in sorted(sys.modules.items()) if name.startswith("helpers.")]


def name(model) -> str:
    run = Run(model, 0, 0)
    description = {"model": str(model.architecture), "recipe": str(model.recipe), "seed": run.seed}
    return names_of(description, canary(model))[0]


@contextmanager
def edited(module, old: str, new: str):
    """A function or class of a module with one edit, in this process, wherever helpers use it."""
    source = inspect.getsource(module)
    assert source.count(old) >= 1, old
    line = source[: source.index(old)].count("\n") + 1
    body = ast.parse(source).body
    part = next(node for node in body if hasattr(node, "name") and first_line(node) <= line <= node.end_lineno)
    text = "\n".join(source.splitlines()[first_line(part) - 1 : part.end_lineno])
    before, space = getattr(module, part.name), dict(vars(module))
    exec(compile(text.replace(old, new, 1), module.__file__, "exec"), vars(module))
    after = getattr(module, part.name)
    places = [place for place in HELPERS for key, value in vars(place).items() if value is before and key == part.name]
    tables = [table for table in vars(module).values() if isinstance(table, dict) and before in table.values()]
    keys = [(table, key) for table in tables for key, entry in table.items() if entry is before]
    for place in places:
        setattr(place, part.name, after)
    for table, key in keys:
        table[key] = after
    try:
        yield
    finally:
        for place in [module, *places]:
            setattr(place, part.name, before)
        for table, key in keys:
            table[key] = before
        assert vars(module).keys() == space.keys()


def first_line(node) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])


def test_a_name_is_the_same_every_time_and_of_every_model_another():
    names = [name(model) for model in MODELS]
    assert names == [name(model) for model in MODELS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("module", "old", "new", "model"),
    [
        (training, "loss.backward()", "(2 * loss).backward()", "M1"),
        (training, "range(0, len(pairs), recipe.batch_size)", "range(0, len(pairs), 7)", "M1"),
        (training, "    if digit_weight:", "    if False:", "M4"),
        (training, "* classes.shape[1]", "", "M3"),
        (training, "optimizer.zero_grad(set_to_none=True)", "pass", "M2"),
        (training, "return progress / warm_up", "return 1.0", "M6"),
        (training, "(logits.argmax(dim=-1) == classes)", "(logits.argmax(dim=-1) != classes)", "M1"),
        (data, "% folds == fold", "% folds == folds - 1 - fold", "M1"),
        (data, ".astype(np.float32) / 4)", ".astype(np.float32) ** 2 / 4)", "M1"),
        (data, "torch.randperm(self.digits.numel())", "torch.arange(self.digits.numel())", "M6"),
        (runs, "derive_seed(run.seed, run.round, run.fold, run.start)", "derive_seed(run.seed, run.round)", "M1"),
        (runs, 'split(pairs["train"], *self.fold)', 'split(pairs["train"], 0, 2)', "M1"),
        (augment, 'padding_mode="border"', 'padding_mode="zeros"', "M6"),
        (models, "F.pad(images, (1, 1, 1, 1), mode", "F.pad(images * 2, (1, 1, 1, 1), mode", "M6"),
        (models, "return self.head(joined), digits", "return self.head(joined * 2), digits", "M2"),
    ],
)  # fmt: skip
def test_an_edit_that_changes_results_changes_the_name(module, old, new, model):
    model = find_model(MODELS, model)
    before = name(model)
    with edited(module, old, new):
        try:
            assert name(model) != before
        except InputError as refusal:  # which is as good
            assert "cannot be trained" in str(refusal)
    assert name(model) == before


def test_what_a_notebook_changes_changes_the_name(monkeypatch):
    m4, mlp = find_model(MODELS, "M4"), MODELS[-1]
    before = name(m4), name(mlp)
    with monkeypatch.context() as patch:
        patch.setitem(models.LAYERS, "relu", (lambda shape: nn.GELU(), None))
        assert name(m4) != before[0]
    with monkeypatch.context() as patch:
        patch.setitem(training.OPTIMIZERS, "adam", torch.optim.Adamax)
        assert (name(m4), name(mlp) != before[1]) == (before[0], True)
    with monkeypatch.context() as patch:
        real = F.cross_entropy
        patch.setattr(F, "cross_entropy", lambda *a, **k: 1.1 * real(*a, **k))
        assert name(m4) != before[0]
    with monkeypatch.context() as patch:
        patch.setitem(models.LAYERS, "mine", (lambda shape: nn.ReLU(), None))
        patch.setitem(training.LOSSES, "mine", lambda logits, labels: logits.sum())
        assert (name(m4), name(mlp)) == before


def test_a_layer_of_a_package_that_is_imported_late_is_seen(tmp_path, monkeypatch):
    package = tmp_path / "late"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "layer.py").write_text("from torch.nn import ReLU as Layer\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(models.LAYERS, "late", (lambda shape: importlib.import_module("late.layer").Layer(), None))
    model = read_models({"layers": [{"linear": 20}, "late", {"linear": 10}]})[0]
    before = name(model)
    (package / "layer.py").write_text("from torch.nn import Tanh as Layer  # changed\n")
    importlib.reload(importlib.import_module("late.layer"))
    assert name(model) != before


def test_a_changed_layer_of_a_notebook_is_trained_again_on_all_cores(setting, monkeypatch):
    """Workers get what the notebook has put into the tables."""
    own = {"layers": [{"linear": 20}, "mine", {"linear": 10}], "recipe": {"epochs": 1}}
    found = []
    for layer in (nn.ReLU, nn.Tanh, nn.ReLU):
        monkeypatch.setitem(models.LAYERS, "mine", (lambda shape, layer=layer: layer(), None))
        setting = setting.__class__(setting.digits, rounds=1, jobs=2)
        found.append(run_rounds(read_models(own), setting))
    assert (found[0].test_loss != found[1].test_loss).all()
    assert found[0].to_csv() == found[2].to_csv()


def test_last_bits_of_another_processor_find_the_same_names():
    numbers = canary(MODELS[0])
    assert len(numbers) > 8
    mine = names_of({}, numbers)
    for noise in (0.9 * NOISE, -0.9 * NOISE):
        assert mine[0] in names_of({}, tuple(number + noise for number in numbers))
    assert mine[0] not in names_of({}, tuple(number + 2 * STEP for number in numbers))


def test_a_model_that_cannot_be_trained_is_refused_before_anything_is(setting, run_store):
    own = {"layers": [{"linear": 20}, "batch_norm", {"linear": 10}], "models": {"apart": {"sharing": False}}}
    with pytest.raises(InputError, match="model apart cannot be trained: "):
        run_rounds(read_models(own, pairs=51), setting)
    assert not list(run_store.glob("*.run"))


def in_a_copy(tmp_path, script: str, edits=()) -> list[str]:
    """What a script prints that runs on a copy of helpers with edits, (file, pattern, replacement)."""
    shutil.copytree(ROOT / "helpers", tmp_path / "helpers", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "notebooks" / "architectures", tmp_path / "notebooks" / "architectures")
    for file, pattern, replacement in edits:
        for path in (tmp_path / "helpers").glob(file):
            text, count = re.subn(pattern, replacement, path.read_text())
            assert count or "*" in file, pattern
            path.write_text(text)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / 'tests'}"}
    arguments = [sys.executable, "-c", script]
    result = subprocess.run(arguments, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip().splitlines()


NAMES = "import test_names; print(*map(test_names.name, test_names.MODELS), test_names.runs.__file__, sep='\\n')"


@pytest.mark.slow
def test_rewording_moving_renaming_and_adding_keep_every_name(tmp_path):
    edits = [
        ("*.py", "allowed", "permitted"),
        ("*.py", "was given", "has been given"),
        ("*.py", r'(?m)^    """[A-Z][^"]*"""\n(?=    \w)', "    # a comment\n"),
        ("training.py", "_measures", "_figures"),
        ("training.py", r"def one_cycle\((.|\n)*?\n\n\n", "from helpers.moved import one_cycle\n\n\n"),
        ("training.py", r'    "rmsprop": ', '    "nadam": torch.optim.NAdam,\n    "rmsprop": '),
        ("layers.py", r"\nLAYERS = \{", r"\nLAYERS = {\n    'mine': (lambda shape: nn.ReLU6(), None),"),
    ]
    source = inspect.getsource(training.one_cycle)
    script = f"open('helpers/moved.py', 'w').write({'import math' + chr(10) * 3 + source!r})\n{NAMES}"
    *names, place = in_a_copy(tmp_path, script, edits)
    assert place.startswith(str(tmp_path))
    assert names == [name(model) for model in MODELS]


LIVE = """
import pathlib
from conftest import made_digits
from helpers import training
from helpers.architectures import read_models
from helpers.experiments import Setting, run_rounds
models = read_models({"layers": [{"linear": 10}], "recipe": {"epochs": 1}})
digits = made_digits(2000, 2000)
run_rounds(models, Setting(digits, rounds=1, jobs=1))
path = pathlib.Path(training.__file__)
path.write_text(path.read_text().replace("optimizer.step()", "optimizer.step(); optimizer.step()"))
run_rounds(models, Setting(digits, rounds=1, jobs=1))
try:
    run_rounds(models, Setting(digits, rounds=2, jobs=2))
except Exception as error:
    print(error)
"""


@pytest.mark.slow
def test_a_live_process_is_named_by_what_it_has_loaded_and_other_workers_are_refused(tmp_path, run_store):
    (refused,) = in_a_copy(tmp_path, LIVE)
    assert refused.startswith("A worker has loaded other code of this project")
    assert len(list(run_store.glob("*.run"))) == 4  # the second call found all it wanted, and no worker's were kept

from dataclasses import asdict, replace

import pytest
import torch

from helpers import experiments, runs
from helpers.architectures import read_models
from helpers.inputs import UNFINISHED, InputError
from helpers.runs import Trained

TINY = {"layers": [{"linear": 10}], "recipe": {"optimizer": "adam", "learning_rate": 0.003, "epochs": 2}}
DESCRIPTION = {"architecture": {"layers": [{"linear": 10}, "relu"]}, "recipe": {"optimizer": "sgd", "loss": "hinge"}}
ROWS = [
    {"epoch": 1, "test_loss": 0.1 + 0.2, "test_accuracy": 1 / 3},
    {"epoch": 2, "test_loss": 2e-17, "test_accuracy": 1.0},
]


def write(name="a" * 64):
    weights = {"head.weight": torch.randn(3, 2)}
    runs.store_run(name, DESCRIPTION, Trained(ROWS, weights), runs.store_folder())
    return weights


def test_what_is_written_comes_back_bit_for_bit(run_store):
    weights = write()
    rows, again = runs.read_run("a" * 64)
    assert rows.to_dict("records") == ROWS
    assert torch.equal(again["head.weight"], weights["head.weight"])
    assert runs.read_run("b" * 64) is None


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other"])
def test_a_damaged_entry_is_reported_and_removed(run_store, capsys, damage):
    write()
    path = run_store / f"{'a' * 64}.run"
    content = bytearray(path.read_bytes())
    if damage == "flip":
        place = content.index(b"rows.npy") + 200
        content[place] ^= 1
    path.write_bytes({"cut": content[:-40], "flip": content, "empty": b"", "other": b"something else"}[damage])
    assert runs.read_run("a" * 64) is None
    assert "The stored run aaaaaaaaaaaaaaaa is damaged" in capsys.readouterr().err
    assert not path.exists()


def test_every_flipped_byte_of_the_numbers_is_noticed(run_store):
    """Any single damaged byte gives either what was stored or nothing, never other numbers."""
    weights = write()
    path = run_store / f"{'a' * 64}.run"
    good = path.read_bytes()
    for place in range(0, len(good), 7):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        found = runs.read_run("a" * 64)
        if found is not None:
            assert found[0].to_dict("records") == ROWS
            assert torch.equal(found[1]["head.weight"], weights["head.weight"])


def test_a_file_that_cannot_be_read_is_no_damage(run_store):
    (run_store / f"{'a' * 64}.run").mkdir(parents=True)
    with pytest.raises(InputError, match="RUN_STORE: .* allowed is one that can be read"):
        runs.read_run("a" * 64)
    assert (run_store / f"{'a' * 64}.run").is_dir()


def test_clear_says_what_it_removed(run_store):
    write("a" * 64), write("b" * 64)
    (run_store / f"{UNFINISHED}x").write_text("left by a killed process")
    assert runs.clear_store().startswith("Removed 3 ")
    assert list(run_store.iterdir()) == []


def test_every_run_is_stored_with_its_own_description(setting):
    """What another machine would train by that description has the name under which the run was stored."""
    models = read_models(TINY)[:3]
    experiments.run_rounds(models, replace(setting, rounds=2, jobs=2))
    files = list(runs.store_folder().glob("*.run"))
    assert len(files) == 6
    seen = set()
    for path in files:
        described = runs.description_of(path.stem)
        model = next(m for m in models if asdict(m.recipe) == described["recipe"]
                     and m.architecture.sharing == described["architecture"]["sharing"])  # fmt: skip
        assert path.stem in runs.names_of(described, runs.canary(model))
        rows, _ = runs.read_run(path.stem)
        again = runs.Run(model, described["seed"], described["round"])
        expected = runs.train_run(again, again.pairs(setting.digits), "cpu").rows
        assert rows.test_loss.tolist() == [row["test_loss"] for row in expected]
        seen.add((model.name, described["round"]))
    assert len(seen) == 6

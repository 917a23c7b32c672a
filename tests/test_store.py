import errno

import pytest
import torch

from helpers import store
from helpers.inputs import InputError

DESCRIPTION = {"architecture": {"layers": [{"linear": 10}, "relu"]}, "recipe": {"optimizer": "sgd", "loss": "hinge"}}
ROWS = [
    {"epoch": 1, "test_loss": 0.1 + 0.2, "test_accuracy": 1 / 3},
    {"epoch": 2, "test_loss": 2e-17, "test_accuracy": 1.0},
]


def write(name="a" * 64):
    weights = {"head.weight": torch.randn(3, 2)}
    store.write(name, DESCRIPTION, ROWS, weights, 1.5)
    return weights


def test_what_is_written_comes_back_bit_for_bit(runs):
    weights = write()
    rows, again, seconds = store.read("a" * 64)
    assert rows.to_dict("records") == ROWS
    assert torch.equal(again["head.weight"], weights["head.weight"])
    assert seconds == 1.5
    assert store.read("b" * 64) is None


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other"])
def test_a_damaged_entry_is_reported_and_removed(runs, capsys, damage):
    write()
    path = runs / f"{'a' * 64}.run"
    content = bytearray(path.read_bytes())
    if damage == "flip":
        place = content.index(b"rows.npy") + 200
        content[place] ^= 1
    path.write_bytes({"cut": content[:-40], "flip": content, "empty": b"", "other": b"something else"}[damage])
    assert store.read("a" * 64) is None
    assert "The stored run aaaaaaaaaaaa is damaged" in capsys.readouterr().err
    assert not path.exists()


def test_every_flipped_byte_of_the_numbers_is_noticed(runs):
    """Any single damaged byte gives either what was stored or nothing, never other numbers."""
    weights = write()
    path = runs / f"{'a' * 64}.run"
    good = path.read_bytes()
    for place in range(0, len(good), 7):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        found = store.read("a" * 64)
        if found is not None:
            assert found[0].to_dict("records") == ROWS
            assert torch.equal(found[1]["head.weight"], weights["head.weight"])


def test_a_full_disk_leaves_nothing_half_written(runs, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(InputError, match="RUN_STORE: .* allowed is one that can be written to .No space left"):
        write()
    assert list(runs.iterdir()) == []


def test_clear_says_what_it_removed(runs):
    write("a" * 64), write("b" * 64)
    (runs / f"{store.UNFINISHED}x").write_text("left by a killed process")
    assert store.clear().startswith("Removed 3 ")
    assert list(runs.iterdir()) == []


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A copy of the code that trains, to be changed."""
    folder = tmp_path / "copy" / "helpers"
    folder.mkdir(parents=True)
    for module in store.CODE:
        (folder / f"{module}.py").write_text((store.ROOT / "helpers" / f"{module}.py").read_text())
    monkeypatch.setattr(store, "ROOT", folder.parent)

    def change(module, old, new):
        path = folder / f"{module}.py"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
        store._code_fingerprint.cache_clear()

    store._code_fingerprint.cache_clear()
    yield change
    store._code_fingerprint.cache_clear()


def names():
    other = {"architecture": {"layers": [{"conv2d": {"kernel": 3}}]}, "recipe": {"optimizer": "adam", "loss": "hinge"}}
    return store.name_of(DESCRIPTION), store.name_of(other)


def test_comments_and_layout_retrain_nothing(code):
    before = names()
    code("training", "rows = []", "rows  =  []  # a word")
    assert names() == before


def test_docstrings_retrain_nothing(code):
    before = names()
    code("training", '"""One pass over', '"""Once over')
    assert names() == before


def test_a_new_optimizer_retrains_nothing(code):
    before = names()
    code("training", '    "rmsprop": ', '    "nadam": torch.optim.NAdam,\n    "rmsprop": ')
    assert names() == before


def test_a_changed_entry_retrains_what_uses_it(code):
    linear, convolution = names()
    code("training", '"adam": lambda parameters, **settings:', '"adam": lambda parameters, beta=1, **settings:')
    assert names()[0] == linear
    assert names()[1] != convolution


def test_a_changed_function_behind_an_entry_retrains_what_uses_it(code):
    linear, convolution = names()
    code("models", "(size + 2 * padding - kernel) // stride + 1", "(size + 2 * padding - kernel) // stride + 1 + 0")
    assert names()[0] == linear
    assert names()[1] != convolution


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("training", "loss.backward()", "loss.backward(retain_graph=True)"),
        ("data", "dtype=np.uint16", "dtype=np.uint32"),
        ("data", "CLASSES = 10", "CLASSES = 11"),
        ("models", "return self.head(digits), digits", "return self.head(digits), digits * 1"),
    ],
)
def test_a_change_to_what_all_use_retrains_all(code, module, old, new):
    before = names()
    code(module, old, new)
    assert all(a != b for a, b in zip(before, names(), strict=True))

"""Trainings with every kind of part against rows that were written down: whoever changes what is trained, sees it here.

After a change that is meant: `python tests/test_golden.py > tests/golden.csv`, and say in the commit why.
"""

import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import made_digits

from helpers.architectures import read_models
from helpers.data import draw_round
from helpers.training import train

CONV = {"conv2d": {"channels": 4, "kernel": 3, "padding": 1}}
MLP = [{"linear": 12}, "tanh", {"linear": 10}]
LINEAR = {"linear": "answers"}
CASES = {  # name: (file or its content, what of read_models)
    "M1": ("convnet", {}),
    "M4": ("convnet", {}),
    "M5": ("m5", {}),
    "M6": ("m6", {}),
    "both": ("mlp", {"question": "less than"}),
    "lines": (
        {
            "layers": [{"conv1d": {"channels": 4, "kernel": 5, "stride": 3}}, "gelu", {"max_pool": 2},
                       {"conv1d": {"channels": 4, "kernel": 3, "groups": 2}}, "elu", {"average_pool": 2},
                       {"linear": 10}],
            "head": ["softmax", "outer_product", LINEAR],
            "recipe": {"optimizer": "adam", "learning_rate": 0.03, "loss": "mean_squared_error", "schedule": "linear"},
        },
        {"auxiliary": 0.3},
    ),
    "two channels": (
        {
            "layers": [CONV, {"residual": ["batch_norm", "relu", CONV]}, {"average_pool": {"kernel": 3, "padding": 1}},
                       "silu", "flatten", {"linear": 20}],
            "digits": "none", "together": True, "head": [{"leaky_relu": 0.3}, LINEAR],
            "recipe": {"optimizer": "adagrad", "learning_rate": 0.02, "loss": "hinge",
                       "schedule": {"step": {"every": 1, "factor": 0.5}}},
        },
        {},
    ),
    "side branch": (
        {
            "layers": [CONV, "selu", "global_average_pool"], "digits": [{"linear": 10}],
            "head": ["difference", {"linear": 8}, {"batch_norm": {"affine": False}}, "relu", {"dropout": 0.3}, LINEAR],
            "initialization": "xavier",
            "recipe": {"learning_rate": 0.1, "schedule": {"exponential": {"factor": 0.5}}, "held_out": 0.2},
            "models": {"side branch": {"sharing": False, "auxiliary": 0.5}},
        },
        {},
    ),
    "frozen": (
        {
            "layers": MLP, "head": ["expected_digit", "difference", {"linear": 1}],
            "recipe": {"optimizer": "adam", "learning_rate": 0.02, "pretrain": 1, "freeze": True, "shuffle": False},
        },
        {"standardize": "each"},
    ),
    "digits alone": ({"layers": MLP, "recipe": {"learning_rate": 0.02}}, {"comparison": 0, "auxiliary": 2.0}),
    "sums": (
        {
            "layers": MLP, "head": [{"temperature": "learned"}, "normalize", "fixed"], "initialization": "kaiming",
            "recipe": {"optimizer": "adamw", "learning_rate": 0.02, "comparison": 0.5},
        },
        {"question": "sum", "images": 3},
    ),
    "stopped": (
        {"layers": MLP, "head": ["stop_gradient", "relu", LINEAR], "recipe": {"learning_rate": 0.1}},
        {"auxiliary": 1.0, "label_smoothing": 0.1, "measure_in_train_mode": True, "question": "first + 1 == second"},
    ),
    "raw": ({"layers": ["sigmoid", *MLP], "recipe": {"learning_rate": 0.1, "new_pairs": True}}, {"standardize": False}),
}  # fmt: skip
WRITTEN = Path(__file__).with_name("golden.csv")


def trained(name: str) -> pd.DataFrame:
    """The rows of two epochs on 120 pairs of noisy made digits; of several models the one of this name, or the last."""
    description, settings = CASES[name]
    if isinstance(description, dict):
        description = {"models": {name: {}}} | description
    models = read_models(description, epochs=2, **settings)
    model = next((model for model in models if model.name == name), models[-1])
    drawn = made_digits(360, 360, noise=60.0)
    asked = model.architecture.images, model.architecture.question, model.recipe.standardize
    pairs = dict(zip(("train", "test"), draw_round(drawn, 7, 0, 120, *asked, test_pairs=120), strict=True))
    return pd.DataFrame(train(model.architecture, model.recipe, pairs, seed=7)[0]).assign(case=name)


@pytest.mark.parametrize("name", CASES)
def test_training_gives_what_was_written_down(name):
    """Up to last bits, which another processor may compute in another order, and which M6's steps enlarge most."""
    written = pd.read_csv(WRITTEN)
    expected = written[written.case == name].dropna(axis=1, how="all").reset_index(drop=True)
    found = trained(name)
    losses = [column for column in expected if "loss" in column]
    shares = [column for column in expected if "accuracy" in column]
    assert found[losses].to_numpy() == pytest.approx(expected[losses].to_numpy(), abs=5e-3 if name == "M6" else 3e-5)
    assert found[shares].to_numpy() == pytest.approx(expected[shares].to_numpy(), abs=0.02)


if __name__ == "__main__":
    pd.concat(map(trained, CASES)).to_csv(sys.stdout, index=False)

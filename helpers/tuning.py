"""Recipes tuned alike: the same points of one search space for every model, judged on validation splits.

Its points are fixed beforehand and its trainings are runs like all others, so that neither an interruption nor the
number of workers changes what is found, and what is stored is not trained again.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

import pandas as pd
from scipy.stats import qmc

from helpers import effects
from helpers.experiments import Setting, run_rounds
from helpers.inputs import one_of, whole_number
from helpers.runs import Model

LEARNING_RATES = (0.002, 0.5)  # least and most, on a logarithmic axis
BATCH_SIZES = (10, 25, 50, 100)  # pairs
MOMENTA = (0.0, 0.95)  # least and most


def search(models: Iterable[Model], setting: Setting, trials: int, folds: int) -> pd.DataFrame:
    """Try the same `trials` points of the search space for every model, on all `folds` splits of every round.

    Returns one row per model and trial: `model`, `trial`, what was tried, and `validation_accuracy` (share of 1) over
    the last epochs, mean over splits and rounds. Raises InputError for what cannot be tuned.
    """
    models, points = list(models), design(whole_number("trials", trials, 1), setting.seed)
    whole_number("folds", folds, 2, min(model.pairs for model in models))
    tried = [with_recipe(model, point, f"{model.name} {n}") for model in models for n, point in enumerate(points)]
    means = effects.last_epochs(run_rounds(tried, setting, folds)).groupby("model").validation_accuracy.mean()
    return pd.DataFrame(
        [
            {"model": model.name, "trial": n} | point | {"validation_accuracy": means[f"{model.name} {n}"]}
            for model in models
            for n, point in enumerate(points)
        ]
    )


def design(trials: int, seed: int) -> list[dict]:
    """The first `trials` points of a scrambled Sobol sequence through the space; powers of 2 cover it most evenly."""
    sequence = qmc.Sobol(3, scramble=True, seed=seed)
    low, high = map(math.log, LEARNING_RATES)
    points = []
    for rate, batch, momentum in sequence.random(2 ** math.ceil(math.log2(trials)))[:trials]:
        point = {"learning_rate": math.exp(low + rate * (high - low)), "batch_size": BATCH_SIZES[int(batch * 4)]}
        point["momentum"] = MOMENTA[0] + momentum * (MOMENTA[1] - MOMENTA[0])
        points.append({name: float(f"{value:.3g}") for name, value in point.items()})  # the same after any storage
    return points


def choose(table: pd.DataFrame) -> pd.DataFrame:
    """The best trial of each model, of a table of `search`; of equals the first."""
    order = table.sort_values(["validation_accuracy", "trial"], ascending=[False, True])
    return order.drop_duplicates("model").sort_index().reset_index(drop=True)


def with_recipe(model: Model, point, name: str = "") -> Model:
    """The model with the learning rate, batch size and momentum of a point (a mapping or a row of `choose`)."""
    one_of("optimizer", model.recipe.optimizer, ["sgd"])  # for its momentum
    own = {"learning_rate": float(point["learning_rate"]), "batch_size": int(point["batch_size"])}
    settings = model.recipe.settings | {"momentum": float(point["momentum"])}
    return replace(model, name=name or model.name, recipe=replace(model.recipe, settings=settings, **own))

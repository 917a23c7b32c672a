"""Recipes tuned alike: the same points of one search space for every model, judged on validation splits.

Its points are fixed beforehand and its trainings are runs like all others, so that neither an interruption nor the
number of workers changes what is found, and what is stored is not trained again.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import pandas as pd
from scipy import stats
from scipy.stats import qmc

from helpers import effects
from helpers.experiments import Setting, run_rounds
from helpers.inputs import InputError, one_of, whole_number
from helpers.runs import Model

LEARNING_RATES = (0.002, 0.5)  # least and most, on a logarithmic axis
BATCH_SIZES = (10, 25, 50, 100)  # pairs
MOMENTA = (0.0, 0.95)  # least and most
SPACE = ("learning_rate", "batch_size", "momentum")
METRICS = ["validation_accuracy", "validation_loss"]
RECIPES = ("table_2", "tuned")


def search(models: Iterable[Model], setting: Setting, trials: int, folds: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Try the same `trials` points of the search space for every model, on all `folds` splits of every round.

    Returns one row per model and trial: `model`, `family`, `trial`, what was tried, and the number of `epochs` up to
    the recipe's at which the validation accuracy is highest, with `validation_accuracy` (share of 1) and
    `validation_loss` (nats) there, means over splits and rounds; and the table of all runs. Raises InputError for what
    cannot be tuned.
    """
    models, points = list(models), design(whole_number("trials", trials, 1), setting.seed)
    whole_number("folds", folds, 2, min(model.pairs for model in models))
    for model in models:
        one_of("optimizer", model.recipe.optimizer, ["sgd"])  # for its momentum
        one_of("schedule", model.recipe.schedule, ["constant"])  # else fewer epochs are no beginning of more
    tried = [
        replace(_with_point(m, point, training_mode=False), name=f"{m.name} {n}", labels=m.labels | {"network": m.name})
        for m in models
        for n, point in enumerate(points)
    ]
    table = run_rounds(tried, setting, folds)
    means = table.groupby(["model", "epoch"])[METRICS].mean()
    rows = []
    for model in models:
        for number, point in enumerate(points):
            curve = means.loc[f"{model.name} {number}"].sort_values(METRICS, ascending=[False, True], kind="stable")
            best = {"epochs": int(curve.index[0])} | curve.iloc[0].to_dict()
            rows.append({"model": model.name, "family": model.labels["family"], "trial": number} | point | best)
    return pd.DataFrame(rows), table


def design(trials: int, seed: int) -> list[dict]:
    """The first `trials` points of a scrambled Sobol sequence through the space; powers of 2 cover it most evenly."""
    sequence = qmc.Sobol(len(SPACE), scramble=True, seed=seed)
    points = []
    for rate, batch, momentum in sequence.random(2 ** math.ceil(math.log2(trials)))[:trials]:
        low, high = map(math.log, LEARNING_RATES)
        point = {
            "learning_rate": math.exp(low + rate * (high - low)),
            "batch_size": BATCH_SIZES[int(batch * len(BATCH_SIZES))],
            "momentum": MOMENTA[0] + momentum * (MOMENTA[1] - MOMENTA[0]),
        }
        points.append({name: _rounded(value) for name, value in point.items()})
    return points


def choose(table: pd.DataFrame) -> pd.DataFrame:
    """The best trial of each model, of a table of `search`: highest validation accuracy, of equals the lowest loss."""
    order = table.sort_values([*METRICS, "trial"], ascending=[False, True, True])
    return order.drop_duplicates("model").sort_index().reset_index(drop=True)


def own_recipes(models: Iterable[Model], setting: Setting, folds: int) -> pd.DataFrame:
    """The models' own recipes after their last epoch, on the same splits: the columns of `search` without `trial`."""
    models = list(models)
    table = run_rounds([replace(m, recipe=replace(m.recipe, training_mode=False)) for m in models], setting, folds)
    ends = effects.last_epoch(table).groupby("model")[METRICS].mean()
    rows = []
    for model in models:
        recipe = {name: getattr(model.recipe, name) for name in ("learning_rate", "batch_size", "epochs")}
        recipe["momentum"] = model.recipe.settings.get("momentum", 0.0)
        who = {"model": model.name, "family": model.labels["family"]}
        rows.append(who | recipe | ends.loc[model.name].to_dict())
    return pd.DataFrame(rows)


def tuned_models(models: Iterable[Model], chosen: pd.DataFrame) -> list[Model]:
    """The models with the recipes of `choose`. Raises InputError where a model has none."""
    rows = {(row.model, row.family): row for row in chosen.itertuples()}
    tuned = []
    for model in models:
        row = rows.get((model.name, model.labels["family"]))
        if row is None:
            raise InputError(
                f"recipes: 'tuned' was given, but {model.name} has not been tuned; allowed for it is table_2, "
                f"tuned were {', '.join(name for name, _ in rows)}."
            )
        point = {"learning_rate": _rounded(row.learning_rate), "momentum": _rounded(row.momentum)}
        tuned.append(_with_point(model, point | {"batch_size": int(row.batch_size)}, epochs=int(row.epochs)))
    return tuned


def _with_point(model: Model, point: dict, **others) -> Model:
    """The model with the learning rate, batch size and momentum of `point`, and others of its recipe's parameters."""
    own = {"learning_rate": point["learning_rate"], "batch_size": point["batch_size"]}
    settings = model.recipe.settings | {"momentum": point["momentum"]}
    return replace(model, recipe=replace(model.recipe, settings=settings, **own, **others))


def _rounded(value):
    """A float to three digits, so that a recipe is the same after any storage or CSV."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


@dataclass(frozen=True)
class Ranking:
    """What becomes of the order of models under other recipes."""

    settled: int  # pairs of models told apart before
    pairs: int
    kept: int  # of the settled, those told apart in the same order after
    turned: int  # in the opposite order
    lost: int  # no longer told apart
    new: int  # told apart only after
    before: str  # the order by mean test accuracy
    after: str
    tau: float  # Kendall's, of the mean test accuracies
    rho: float  # Spearman's


def compare_rankings(before: pd.DataFrame, after: pd.DataFrame) -> Ranking:
    """The order of the models in two tables of one row per model and round."""
    first, second = (effects.pairs_of_models(table).ahead.to_numpy() for table in (before, after))
    means = [table.groupby("model").test_accuracy.mean() for table in (before, after)]
    orders = [" > ".join(values.sort_values(ascending=False).index) for values in means]
    return Ranking(
        settled=int((first != "").sum()),
        pairs=len(first),
        kept=int(((first != "") & (first == second)).sum()),
        turned=int(((first != "") & (second != "") & (first != second)).sum()),
        lost=int(((first != "") & (second == "")).sum()),
        new=int(((first == "") & (second != "")).sum()),
        before=orders[0],
        after=orders[1],
        tau=float(stats.kendalltau(*means).statistic),
        rho=float(stats.spearmanr(*means).statistic),
    )


def with_recipes(models: list[Model], recipes: str, load: Callable[[str], pd.DataFrame]) -> list[Model]:
    """The models as their file has them ("table_2") or with the recipes that a search saved ("tuned").

    `load` reads a saved table by its name. Raises InputError for another word and where a model was not tuned.
    """
    if one_of("recipes", recipes, RECIPES) == "table_2":
        return models
    tuned = tuned_models(models, load("tuned_recipes"))
    return [replace(model, labels=model.labels | {"family": f"{model.labels['family']}-tuned"}) for model in tuned]

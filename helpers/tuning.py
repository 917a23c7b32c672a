"""Recipes tuned alike: the same points of one search space for every model, judged on validation splits.

The search is an Optuna study for each model, in a storage that several processes or machines may share. Its points are
fixed beforehand, so neither an interruption nor the number of workers changes what is found.
"""

import os
import warnings
from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import optuna
import pandas as pd
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from scipy import stats
from sqlalchemy.exc import SQLAlchemyError
from statsmodels.stats.multitest import multipletests

from helpers import output, statistics, store
from helpers.experiments import Model, Run, Setting, run_rounds
from helpers.inputs import InputError, one_of, whole_number

SPACE = {
    "learning_rate": FloatDistribution(0.002, 0.5, log=True),
    "batch_size": CategoricalDistribution((10, 25, 50, 100)),  # pairs
    "momentum": FloatDistribution(0.0, 0.95),
}
MEASURES = ["validation_accuracy", "validation_loss"]
RECIPES = ("table_2", "tuned")
STORAGE_VARIABLE = "TUNING_STORAGE"
AT_ONCE = 8  # trials that a process claims and trains together: times the splits, enough for many cores

optuna.logging.set_verbosity(optuna.logging.WARNING)


# ----------------------------------------------------------------------------------------------------------- search


def search(models: Iterable[Model], setting: Setting, trials: int, folds: int) -> pd.DataFrame:
    """Try the same `trials` points of SPACE for every model, on all `folds` splits of every round's training pairs.

    Returns one row per model and trial: `model`, `family`, `trial`, what of SPACE was tried, and the number of `epochs`
    up to the recipe's at which the validation accuracy is highest, with `validation_accuracy` (share of 1) and
    `validation_loss` (nats) there, means over splits and rounds. What the storage already has is not trained again.
    Raises InputError for recipes that cannot be tuned like this and for a storage that cannot be opened.
    """
    models, points = list(models), design(whole_number("trials", trials, 1), setting.seed)
    whole_number("folds", folds, 2, min(model.pairs for model in models))
    for model in models:
        one_of("optimizer", model.recipe.optimizer, ["sgd"])  # for its momentum
        one_of("schedule", model.recipe.schedule, ["constant"])  # else fewer epochs are no beginning of more
    opened = storage()
    studies = [
        optuna.create_study(
            storage=opened, study_name=_study_name(model, setting, folds), direction="maximize", load_if_exists=True
        )
        for model in models
    ]
    # First what nobody has begun; then what nobody has finished, for whoever began it may have been killed.
    for states in (None, (TrialState.COMPLETE,)):
        for model, study in zip(models, studies, strict=True):
            _explore(study, model, points, setting, folds, states)
    rows = []
    for model, study in zip(models, studies, strict=True):
        finished = _trials(study, (TrialState.COMPLETE,))
        for number, point in enumerate(points):
            curves = finished[_key(point)].user_attrs
            rows.append(_who(model) | {"trial": number} | point | _best_epoch(*(curves[name] for name in MEASURES)))
    return pd.DataFrame(rows)


def design(trials: int, seed: int) -> list[dict]:
    """The first `trials` points of a scrambled Sobol sequence through SPACE; powers of 2 cover it most evenly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(sampler=optuna.samplers.QMCSampler(scramble=True, seed=seed))
    # The sampler learns the space from a study's first trial, which it draws at random.
    points = [study.ask(SPACE).params for _ in range(trials + 1)][1:]
    return [{name: _rounded(value) for name, value in point.items()} for point in points]


def storage() -> BaseStorage:
    """What TUNING_STORAGE names, an Optuna storage URL or a file for a journal; else a database beside the runs.

    Raises InputError where it cannot be opened.
    """
    named = os.environ.get(STORAGE_VARIABLE) or f"sqlite:///{store.folder().absolute() / 'tuning.db'}"
    try:
        store.folder().mkdir(parents=True, exist_ok=True)
        return RDBStorage(named) if "://" in named else JournalStorage(JournalFileBackend(str(Path(named).absolute())))
    except (SQLAlchemyError, ImportError, OSError, RuntimeError) as error:
        # What was given is not repeated: it may hold a password.
        raise InputError(
            f"{STORAGE_VARIABLE}: the storage of trials cannot be opened ({type(error).__name__}), allowed is a file "
            "that can be written to or a URL such as postgresql://user@host/trials."
        ) from None


def _explore(study, model: Model, points: list[dict], setting: Setting, folds: int, states) -> None:
    """Measure the points of which the study has no trial in one of these states (None: in any)."""
    while left := [point for point in points if _key(point) not in _trials(study, states)]:
        claimed = []
        for point in left[:AT_ONCE]:
            study.enqueue_trial(point)
            claimed.append(study.ask(SPACE))
        variants = {trial.number: _variant(model, trial.params, training_mode=False) for trial in claimed}
        table = run_rounds([replace(variant, name=n) for n, variant in variants.items()], setting, folds)
        for trial in claimed:
            curves = table[table.model == trial.number].groupby("epoch")[MEASURES].mean()
            for measure in MEASURES:
                trial.set_user_attr(measure, curves[measure].tolist())
            study.tell(trial, curves.validation_accuracy.max())


def _trials(study, states) -> dict[tuple, optuna.trial.FrozenTrial]:
    trials = study.get_trials(deepcopy=False, states=states)
    # Another process may just be writing a trial's parameters, one by one.
    return {_key(trial.params): trial for trial in trials if trial.params.keys() == SPACE.keys()}


def _key(point: dict) -> tuple:
    return tuple(point[name] for name in SPACE)


def _study_name(model: Model, setting: Setting, folds: int) -> str:
    """All that determines a trial's curves, except its point."""
    run = Run(_variant(model, dict.fromkeys(SPACE, 1), training_mode=False), setting.seed, 0)
    description = run.description(setting.digits, setting.device) | {"rounds": setting.rounds, "folds": folds}
    return f"{model.name} {store.name_of(description)}"


def _variant(model: Model, point: dict, **others) -> Model:
    """The model with the learning rate, batch size and momentum of `point`, and others of its recipe's parameters."""
    own = {"learning_rate": point["learning_rate"], "batch_size": point["batch_size"]}
    settings = model.recipe.settings | {"momentum": point["momentum"]}
    return replace(model, recipe=replace(model.recipe, settings=settings, **own, **others))


def _best_epoch(accuracy: list[float], loss: list[float]) -> dict:
    best = max(range(len(accuracy)), key=lambda epoch: (accuracy[epoch], -loss[epoch]))
    return {"epochs": best + 1, "validation_accuracy": accuracy[best], "validation_loss": loss[best]}


def _who(model: Model) -> dict:
    return {"model": model.name, "family": model.labels.get("family", "")}


def _rounded(value):
    """A float to three digits, so that a recipe is the same after any storage or CSV."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


# ---------------------------------------------------------------------------------------------------------- recipes


def choose(table: pd.DataFrame) -> pd.DataFrame:
    """The best trial of each model, of a table of `search`: highest validation accuracy, of equals the lowest loss."""
    order = table.sort_values([*MEASURES, "trial"], ascending=[False, True, True])
    return order.drop_duplicates("model").sort_index().reset_index(drop=True)


def judge(models: Iterable[Model], setting: Setting, folds: int) -> pd.DataFrame:
    """The models' own recipes after their last epoch, on the same splits: the columns of `search` without `trial`."""
    models = list(models)
    table = run_rounds([replace(m, recipe=replace(m.recipe, training_mode=False)) for m in models], setting, folds)
    ends = statistics.last_epoch(table).groupby("model")[MEASURES].mean()
    rows = []
    for model in models:
        recipe = {name: getattr(model.recipe, name) for name in ("learning_rate", "batch_size", "epochs")}
        recipe["momentum"] = model.recipe.settings.get("momentum", 0.0)
        rows.append(_who(model) | recipe | ends.loc[model.name].to_dict())
    return pd.DataFrame(rows)


def tuned_models(models: Iterable[Model], chosen: pd.DataFrame) -> list[Model]:
    """The models with the recipes of `choose`. Raises InputError where a model has none."""
    rows = {(row.model, row.family): row for row in chosen.itertuples()}
    tuned = []
    for model in models:
        row = rows.get((model.name, model.labels.get("family", "")))
        if row is None:
            raise InputError(
                f"recipes: 'tuned' was given, but {model.name} has not been tuned; allowed for it is table_2, "
                f"tuned were {', '.join(name for name, _ in rows)}."
            )
        point = {"learning_rate": _rounded(row.learning_rate), "momentum": _rounded(row.momentum)}
        tuned.append(_variant(model, point | {"batch_size": int(row.batch_size)}, epochs=int(row.epochs)))
    return tuned


def with_recipes(models: Iterable[Model], recipes: str, setting: Setting) -> list[Model]:
    """The models as their file has them ("table_2") or with the recipes that the last search saved ("tuned").

    Raises InputError for another word, where no search was saved and where it lacks a model.
    """
    one_of("recipes", recipes, RECIPES)
    return list(models) if recipes == "table_2" else tuned_models(models, output.load("tuned_recipes", setting))


# ---------------------------------------------------------------------------------------------------------- ranking


def pairs_of_models(final: pd.DataFrame) -> pd.DataFrame:
    """Differences in test accuracy between all models, paired by round, for each of `final.recipes`.

    `final` has one row per recipes, model and round. Columns: `recipes`, `first`, `second`, `mean` (first − second) and
    `half_width` of its 95 % t interval (shares of 1), `p_holm` of a permutation test, corrected for all pairs of the
    same recipes, and `ahead`: the better model where interval and test tell the two apart, else "".
    """
    tables = []
    for recipes, part in final.groupby("recipes", sort=False):
        accuracy = statistics.by_round(part, "test_accuracy")
        rows = []
        for first, second in combinations(accuracy, 2):
            difference = accuracy[first] - accuracy[second]
            mean, half = statistics.mean_interval(difference)
            rows.append((recipes, first, second, mean, half, statistics.permutation_p(difference)))
        table = pd.DataFrame(rows, columns=["recipes", "first", "second", "mean", "half_width", "p_holm"])
        tables.append(table.assign(p_holm=multipletests(table.p_holm, method="holm")[1]))
    table = pd.concat(tables, ignore_index=True)
    better = {"helps": "first", "harms": "second"}
    verdicts = [better.get(statistics.verdict(*row)) for row in table[["mean", "half_width", "p_holm"]].to_numpy()]
    return table.assign(ahead=[table[who][row] if who else "" for row, who in enumerate(verdicts)])


def survival(final: pd.DataFrame) -> str:
    """Whether the order of the models with Table II's recipes is their order when all are tuned alike, in words."""
    pairs = pairs_of_models(final)
    before, after = (pairs[pairs.recipes == recipes].ahead.to_numpy() for recipes in RECIPES)
    settled, known = before != "", after != ""
    kept, turned = settled & (before == after), settled & known & (before != after)
    if not settled.any():
        answer = "It cannot be told"
    elif turned.any():
        answer = "No, not all of it"
    else:
        answer = "Yes, as far as it is settled" if kept.sum() == settled.sum() else "In part"
    means = [final[final.recipes == recipes].groupby("model").test_accuracy.mean() for recipes in RECIPES]
    orders = [" > ".join(values.sort_values(ascending=False).index) for values in means]
    tau, rho = stats.kendalltau(*means).statistic, stats.spearmanr(*means).statistic
    return (
        f"**{answer}.** With Table II's recipes {settled.sum()} of the {len(settled)} pairs of models are told apart; "
        f"tuned alike, {kept.sum()} of these keep their order, {turned.sum()} are turned around and "
        f"{(settled & ~known).sum()} no longer told apart, while {(known & ~settled).sum()} of the others now are. By "
        f"mean test accuracy the order is {orders[0]} with Table II's recipes and {orders[1]} when tuned "
        f"(Kendall's τ = {tau:.2f}, Spearman's ρ = {rho:.2f})."
    ).replace("= -", "= −")

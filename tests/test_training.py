import pytest
import torch

from helpers.data import draw_round
from helpers.inputs import InputError
from helpers.models import Architecture, build
from helpers.training import LOSSES, OPTIMIZERS, Recipe, evaluate, predict, train

LAYERS = ({"linear": 32}, "relu", {"linear": 10})
RECIPE = Recipe(optimizer="adam", learning_rate=0.003, batch_size=25, epochs=3)


@pytest.fixture(scope="module")
def pairs(digits):
    return dict(zip(("train", "test"), draw_round(digits, 0, 0, 200, test_pairs=200), strict=True))


def test_one_row_per_epoch_with_measures_of_both_sets(pairs):
    rows, _ = train(Architecture(LAYERS), RECIPE, pairs, seed=0)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    measures = {f"{part}_{m}" for part in ("train", "test") for m in ("loss", "accuracy", "digit_accuracy")}
    assert set(rows[0]) == {"epoch"} | measures


def test_it_learns_and_the_auxiliary_loss_teaches_the_digits(pairs):
    recipe = {"optimizer": "adam", "learning_rate": 0.003, "batch_size": 25, "epochs": 12}
    rows, _ = train(Architecture(LAYERS), Recipe(**recipe, auxiliary=1.0), pairs, seed=0)
    assert rows[-1]["test_accuracy"] > 0.75
    assert rows[-1]["test_digit_accuracy"] > 0.95
    rows, _ = train(Architecture(LAYERS), Recipe(**recipe), pairs, seed=0)
    assert rows[-1]["test_digit_accuracy"] < 0.5


def test_the_auxiliary_loss_reaches_the_sub_networks_and_not_the_head(pairs):
    """With the comparison's loss made constant, only what the digits' loss reaches may move."""
    LOSSES["nothing"] = lambda logits, labels: logits.sum() * 0
    try:
        recipe = Recipe(loss="nothing", auxiliary=1.0, epochs=1, learning_rate=0.1)
        _, trained = train(Architecture(LAYERS, sharing=False), recipe, pairs, seed=0)
        _, still = train(Architecture(LAYERS, sharing=False), Recipe(loss="nothing", epochs=1), pairs, seed=0)
    finally:
        del LOSSES["nothing"]
    moved = {name: not torch.equal(a, b) for (name, a), b in
             zip(trained.named_parameters(), still.parameters(), strict=True)}  # fmt: skip
    assert {name.split(".")[0] for name, change in moved.items() if change} == {"branches"}
    assert all(change for name, change in moved.items() if name.startswith("branches"))


def test_the_auxiliary_weight_scales_the_digits_loss(pairs):
    """One step of plain gradient descent is linear in the weight."""
    LOSSES["nothing"] = lambda logits, labels: logits.sum() * 0
    steps = []
    try:
        for weight in (0.0, 1.0, 2.0):
            recipe = Recipe(
                loss="nothing", auxiliary=weight, epochs=1, learning_rate=0.01, batch_size=len(pairs["train"])
            )
            _, network = train(Architecture(LAYERS), recipe, pairs, seed=0)
            steps.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    finally:
        del LOSSES["nothing"]
    assert torch.allclose(2 * (steps[1] - steps[0]), steps[2] - steps[0], atol=1e-6)
    assert (steps[1] - steps[0]).abs().max() > 1e-4


def test_the_same_seed_gives_the_same_numbers_and_leaves_torch_as_it_was(pairs):
    threads = torch.get_num_threads()
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = train(Architecture(LAYERS), RECIPE, pairs, seed=5)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    second = train(Architecture(LAYERS), RECIPE, pairs, seed=5)
    assert first[0] == second[0]
    assert all(torch.equal(a, b) for a, b in zip(first[1].parameters(), second[1].parameters(), strict=True))
    assert train(Architecture(LAYERS), RECIPE, pairs, seed=6)[0] != first[0]


def test_measuring_in_training_mode_changes_no_other_number(pairs):
    layers = ({"conv2d": {"channels": 4, "kernel": 3}}, "batch_norm", "relu", "spatial_dropout", {"linear": 10})
    settings = {"optimizer": "sgd", "learning_rate": 0.05, "epochs": 2}
    plain, _ = train(Architecture(layers), Recipe(**settings), pairs, seed=0)
    both, _ = train(Architecture(layers), Recipe(**settings, training_mode=True), pairs, seed=0)
    assert [{k: row[k] for k in plain[0]} for row in both] == plain
    assert both[-1]["test_loss_training_mode"] != both[-1]["test_loss"]


def test_measuring_seldom_changes_no_number_and_ends_with_the_last_five_epochs(pairs):
    layers = ({"conv2d": {"channels": 4, "kernel": 3}}, "batch_norm", "relu", "spatial_dropout", {"linear": 10})
    always, _ = train(Architecture(layers), Recipe(epochs=9), pairs, seed=0)
    seldom, _ = train(Architecture(layers), Recipe(epochs=9, measure_every=3), pairs, seed=0)
    assert seldom == [always[2], *always[4:]]


def test_every_presentation_of_a_pair_is_distorted_anew_and_counts(pairs):
    plain = Architecture(({"linear": 10},))
    distort = {"distort": {"shift": 1.0}}
    once, _ = train(plain, Recipe(epochs=1, augmentation=distort), pairs, seed=0)
    twice, _ = train(plain, Recipe(epochs=1, augmentation=distort, presentations=2), pairs, seed=0)
    assert once != twice
    same, _ = train(plain, Recipe(epochs=1, presentations=2), pairs, seed=0)  # shown twice without distortion
    assert same[0]["test_loss"] == pytest.approx(
        train(plain, Recipe(epochs=1), pairs, seed=0)[0][0]["test_loss"], abs=1e-5
    )


def test_a_smoothed_label_keeps_the_digits_less_certain(pairs):
    layers = Architecture(({"linear": 10},))
    sure, smooth = (
        train(layers, Recipe(epochs=40, auxiliary=1.0, label_smoothing=share), pairs, seed=0)[1] for share in (0.0, 0.3)
    )
    certain = [network.read(pairs["train"].images).softmax(dim=2).amax(dim=2).mean() for network in (sure, smooth)]
    assert certain[0] > certain[1]


def test_a_recipe_leaves_the_random_state_as_it_was():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    Recipe(augmentation={"distort": {"shift": 1.0}})
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_measuring_in_training_mode_changes_no_other_number_on_a_gpu(pairs):
    layers = ({"linear": 10}, {"dropout": 0.5}, {"linear": 10})
    plain, _ = train(Architecture(layers), Recipe(epochs=3), pairs, seed=0, device="cuda")
    both, _ = train(Architecture(layers), Recipe(epochs=3, training_mode=True), pairs, seed=0, device="cuda")
    assert [{k: row[k] for k in plain[0]} for row in both] == plain


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_optimizer_and_loss_lowers_the_loss(pairs, optimizer, loss):
    rate = 0.3 if optimizer == "sgd" else 0.003 if optimizer != "adagrad" else 0.03
    recipe = Recipe(optimizer=optimizer, loss=loss, learning_rate=rate, epochs=4, batch_size=25)
    rows, _ = train(Architecture(LAYERS), recipe, pairs, seed=0)
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]


def test_evaluation_counts_what_predict_says(pairs):
    network = build(Architecture(LAYERS))
    test = pairs["test"]
    comparison, named = predict(network, test.images)
    measures = evaluate(network, test)
    assert measures["accuracy"] == (comparison.argmax(1) == test.labels).sum().item() / 200
    assert measures["digit_accuracy"] == (named.argmax(2) == test.digits).sum().item() / 400


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epochs": -1}, "epochs: -1 was given, allowed is a whole number of at least 1"),
        ({"epochs": "abc"}, "epochs: 'abc' was given"),
        ({"batch_size": 0}, "batch_size: 0 was given"),
        ({"learning_rate": "fast"}, "learning_rate: 'fast' was given, allowed is a number of at least 0"),
        ({"auxiliary": -0.5}, "auxiliary: -0.5 was given"),
        ({"optimizer": "sdg"}, "optimizer: 'sdg' was given, allowed is one of sgd, adam"),
        ({"loss": "none"}, "loss: 'none' was given, allowed is one of cross_entropy"),
    ],
)
def test_bad_recipes_are_refused(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        Recipe(**settings)


@pytest.mark.parametrize("settings", [{"momentun": 0.5}, {"momentum": -1}])
def test_bad_settings_of_an_optimizer_are_refused(pairs, settings):
    with pytest.raises(InputError, match=f"settings of the optimizer sgd: '?{next(iter(settings))}"):
        Recipe(settings=settings)

import math

import pytest
import torch

from helpers import training
from helpers.data import draw_round
from helpers.inputs import InputError
from helpers.models import Architecture, build
from helpers.training import LOSSES, OPTIMIZERS, SCHEDULES, Recipe, evaluate, predict, train

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


def weights_of(network) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_trained_on_the_digits_alone_the_head_stays_as_it_was(pairs):
    recipe = {"comparison": 0.0, "auxiliary": 1.0, "epochs": 1}
    still = train(Architecture(LAYERS, sharing=False), Recipe(**recipe, learning_rate=0.0), pairs, seed=0)[1]
    trained = train(Architecture(LAYERS, sharing=False), Recipe(**recipe, learning_rate=0.1), pairs, seed=0)[1]
    for (name, before), after in zip(still.named_parameters(), trained.parameters(), strict=True):
        assert torch.equal(before, after) == name.startswith("head")


@pytest.mark.parametrize("images", [2, 3])
@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.5, 0.1)])
def test_two_steps_are_those_computed_by_hand(digits, images, momentum, decay):
    """Stochastic gradient descent with momentum and weight decay on the whole loss, in a few lines of matrices."""
    drawn = draw_round(digits, 0, 0, 60, images, "less than", test_pairs=10)
    pairs = dict(zip(("train", "test"), drawn, strict=True))
    settings = {"momentum": momentum, "weight_decay": decay}
    recipe = {"settings": settings, "batch_size": 60, "epochs": 2, "comparison": 0.5, "auxiliary": 0.7}
    architecture = Architecture(({"linear": 10},), ("relu", {"linear": 2}), images=images, question="less than")
    initial = train(architecture, Recipe(**recipe, learning_rate=0.0), pairs, seed=4)[1]
    trained = train(architecture, Recipe(**recipe, learning_rate=0.3), pairs, seed=4)[1]
    w, b, v, c = (parameter.detach().clone().requires_grad_() for parameter in initial.parameters())
    x, classes, labels = pairs["train"].images.flatten(2), pairs["train"].digits, pairs["train"].labels
    velocity = [torch.zeros_like(part) for part in (w, b, v, c)]
    for _ in range(2):
        logits = x @ w.T + b
        answers = logits.clamp(min=0).flatten(1) @ v.T + c
        loss = -0.5 * answers.log_softmax(1)[range(60), labels].mean()
        for image in range(images):  # the digits' mean losses are added up
            loss = loss - 0.7 * logits[:, image].log_softmax(1)[range(60), classes[:, image]].mean()
        gradients = torch.autograd.grad(loss, (w, b, v, c))
        with torch.no_grad():
            for part, speed, gradient in zip((w, b, v, c), velocity, gradients, strict=True):
                speed.mul_(momentum).add_(gradient + decay * part)
                part.sub_(0.3 * speed)
    assert torch.allclose(weights_of(trained), torch.cat([p.flatten() for p in (w, b, v, c)]), atol=1e-5)
    assert not torch.allclose(weights_of(trained), weights_of(initial), atol=1e-2)


@pytest.mark.parametrize(
    ("optimizer", "settings"),
    [
        ("sgd", {"momentum": 0.5}),
        ("sgd", {"weight_decay": 0.1}),
        ("adam", {"betas": [0.5, 0.9]}),
        ("adamw", {"eps": 0.1}),
    ],
)
def test_an_optimizers_settings_reach_it(pairs, optimizer, settings):
    recipe = {"optimizer": optimizer, "epochs": 1, "learning_rate": 0.01}
    plain, changed = (
        train(Architecture(LAYERS), Recipe(**recipe, settings=one), pairs, 0)[1] for one in ({}, settings)
    )
    assert not torch.allclose(weights_of(plain), weights_of(changed), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "settings", "factors"),
    [  # at the beginning, after 10 %, half and 90 % of ten epochs
        ("constant", {}, [1, 1, 1, 1]),
        ("linear", {}, [1, 0.9, 0.5, 0.1]),
        ("one_cycle", {"warm_up": 0.2}, [0, 0.5, 0.6913, 0.0381]),
        ("step", {"every": 4, "factor": 0.5}, [1, 1, 0.5, 0.25]),
        ("exponential", {"factor": 0.9}, [1, 0.9, 0.59049, 0.38742]),
    ],
)
def test_schedules_at_fixed_points(name, settings, factors):
    found = [SCHEDULES[name](progress, 10, **settings) for progress in (0.0, 0.1001, 0.5001, 0.9001)]
    assert found == pytest.approx(factors, abs=1e-3)


def test_the_schedule_sets_the_rate_of_every_step(pairs, monkeypatch):
    rates = []

    class Recorded(torch.optim.SGD):
        def step(self, *arguments):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*arguments)

    monkeypatch.setitem(OPTIMIZERS, "sgd", Recorded)
    train(Architecture(LAYERS), Recipe(learning_rate=0.8, batch_size=50, epochs=2, schedule="linear"), pairs, 0)
    assert rates == pytest.approx([0.8 * (1 - (step + 0.5) / 8) for step in range(8)])
    rates.clear()
    schedule = {"step": {"every": 1, "factor": 0.1}}
    train(Architecture(LAYERS), Recipe(learning_rate=0.8, batch_size=100, epochs=2, schedule=schedule), pairs, 0)
    assert rates == pytest.approx([0.8, 0.8, 0.08, 0.08])


@pytest.fixture
def seen(monkeypatch):
    """The labels and classes of every batch that the loss is computed of."""
    batches, real = [], training.loss_of

    def recorded(recipe, epoch, answers, digits, labels, classes):
        batches.append((epoch, classes.clone()))
        return real(recipe, epoch, answers, digits, labels, classes)

    monkeypatch.setattr(training, "loss_of", recorded)
    return lambda epoch: torch.cat([classes for number, classes in batches if number == epoch])


def test_batches_are_shuffled_in_every_epoch_if_not_asked_otherwise(pairs, seen):
    drawn = pairs["train"].digits
    train(Architecture(LAYERS), Recipe(epochs=2), pairs, 0)
    assert sorted(seen(1).tolist()) == sorted(seen(2).tolist()) == sorted(drawn.tolist())
    assert len({str(order.tolist()) for order in (seen(1), seen(2), drawn)}) == 3


def test_without_shuffling_batches_come_as_they_were_drawn(pairs, seen):
    train(Architecture(LAYERS), Recipe(epochs=2, shuffle=False), pairs, 0)
    assert torch.equal(seen(1), pairs["train"].digits)
    assert torch.equal(seen(2), pairs["train"].digits)


def test_new_pairs_are_of_the_same_digits_in_every_epoch(pairs, seen):
    train(Architecture(LAYERS), Recipe(epochs=2, new_pairs=True), pairs, 0)
    assert sorted(seen(1).flatten().tolist()) == sorted(seen(2).flatten().tolist())
    assert len({str(sorted(order.tolist())) for order in (seen(1), seen(2), pairs["train"].digits)}) == 3


def test_the_squared_error_is_that_of_the_right_answers_probability():
    logits, labels = torch.tensor([[0.0, 2.0], [1.0, 0.0]]), torch.tensor([1, 1])
    expected = [(1 - 1 / (1 + math.exp(-2))) ** 2, (1 - 1 / (1 + math.exp(1))) ** 2]
    assert LOSSES["mean_squared_error"](logits, labels).item() == pytest.approx(sum(expected) / 2, abs=1e-6)


def test_held_out_pairs_choose_the_best_epoch_and_are_not_trained_on(pairs, seen):
    recipe = Recipe(optimizer="adam", learning_rate=0.05, epochs=30, held_out=0.25, patience=3)
    rows, network = train(Architecture(LAYERS), recipe, pairs, 0)
    assert sorted(seen(1)[:150].tolist()) == sorted(pairs["train"].digits[:150].tolist())
    assert [row["epoch"] for row in rows] == list(range(1, 31))
    held_out = pairs["train"][150:]
    plain = Recipe(optimizer="adam", learning_rate=0.05, epochs=30)
    fitted = pairs | {"train": pairs["train"][:150], "validation": held_out}
    losses = [row["validation_loss"] for row in train(Architecture(LAYERS), plain, fitted, 0)[0]]
    stop = next(e for e in range(3, 30) if min(losses[e - 2 : e + 1]) > min(losses[: e - 2]))
    best = min(range(stop + 1), key=losses.__getitem__)
    assert evaluate(network, held_out)["loss"] == pytest.approx(losses[best], abs=1e-5)
    assert rows[-1]["test_loss"] == evaluate(network, pairs["test"])["loss"]


def test_after_pretraining_on_the_digits_a_frozen_reader_stays_as_it_is(pairs):
    layers = ({"conv2d": {"channels": 4, "kernel": 3}}, "batch_norm", "relu", {"linear": 10})
    recipe = {"learning_rate": 0.1, "freeze": True}
    before = train(Architecture(layers), Recipe(**recipe, pretrain=2, epochs=2), pairs, 0)[1].state_dict()
    after = train(Architecture(layers), Recipe(**recipe, pretrain=2, epochs=4), pairs, 0)[1].state_dict()
    start = train(Architecture(layers), Recipe(learning_rate=0.0, epochs=1), pairs, 0)[1].state_dict()
    for name in before:
        assert torch.equal(before[name], after[name]) == name.startswith("branches"), name
        assert torch.equal(before[name], start[name]) == name.startswith("head"), name


def test_the_heads_learning_rate_can_be_another_than_the_other_layers(pairs):
    before = train(Architecture(LAYERS), Recipe(learning_rate=0.0, epochs=1), pairs, 0)[1].state_dict()
    for rate, moved in ((0.0, ["branches"]), (2.0, ["branches", "head"])):
        recipe = Recipe(learning_rate=0.1, head_rate=rate, epochs=1, schedule="linear")
        after = train(Architecture(LAYERS), recipe, pairs, 0)[1].state_dict()
        assert {n.split(".")[0] for n in after if not torch.equal(before[n], after[n])} == set(moved)
    # With a frozen sub-network a factor is the same as another learning rate.
    frozen = {"pretrain": 2, "freeze": True, "epochs": 4, "auxiliary": 1.0}
    ten = train(Architecture(LAYERS), Recipe(learning_rate=0.01, head_rate=10.0, **frozen), pairs, 0)[1].head
    one = train(Architecture(LAYERS), Recipe(learning_rate=0.01, **frozen), pairs, 0)[1].head
    assert not torch.equal(*(next(head.parameters()) for head in (ten, one)))


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
    both, _ = train(Architecture(layers), Recipe(**settings, measure_in_train_mode=True), pairs, seed=0)
    assert [{k: row[k] for k in plain[0]} for row in both] == plain
    assert both[-1]["test_loss_training_mode"] != both[-1]["test_loss"]


def test_measuring_seldom_changes_no_number_and_ends_with_the_last_five_epochs(pairs):
    layers = ({"conv2d": {"channels": 4, "kernel": 3}}, "batch_norm", "relu", "spatial_dropout", {"linear": 10})
    always, _ = train(Architecture(layers), Recipe(epochs=9), pairs, seed=0)
    seldom, _ = train(Architecture(layers), Recipe(epochs=9, measure_every=3), pairs, seed=0)
    assert seldom == [always[2], *always[4:]]


def test_every_view_of_a_pair_has_a_distortion_of_its_own_and_counts(pairs):
    plain = Architecture(({"linear": 10},))
    distort = {"distort": {"shift": 1.0}}
    once, _ = train(plain, Recipe(epochs=1, augmentation=distort), pairs, seed=0)
    twice, _ = train(plain, Recipe(epochs=1, augmentation=distort, views_per_pair=2), pairs, seed=0)
    assert once != twice
    same, _ = train(plain, Recipe(epochs=1, views_per_pair=2), pairs, seed=0)  # shown twice without distortion
    assert same[0]["test_loss"] == pytest.approx(
        train(plain, Recipe(epochs=1), pairs, seed=0)[0][0]["test_loss"], abs=1e-5
    )


def test_a_smoothed_label_keeps_the_digits_less_certain(pairs):
    layers = Architecture(({"linear": 10},))
    sure, smooth = (
        train(layers, Recipe(epochs=40, auxiliary=1.0, label_smoothing=share), pairs, seed=0)[1] for share in (0.0, 0.3)
    )
    certain = [network.read(pairs["train"].images)[1].softmax(dim=2).amax(dim=2).mean() for network in (sure, smooth)]
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
    both, _ = train(Architecture(layers), Recipe(epochs=3, measure_in_train_mode=True), pairs, seed=0, device="cuda")
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
        ({"epochs": -1}, "epochs: -1 was given, allowed is a whole number from 1 to"),
        ({"epochs": "abc"}, "epochs: 'abc' was given"),
        ({"batch_size": 0}, "batch_size: 0 was given"),
        ({"learning_rate": "fast"}, "learning_rate: 'fast' was given, allowed is a number of at least 0"),
        ({"auxiliary": -0.5}, "auxiliary: -0.5 was given"),
        ({"optimizer": "sdg"}, "optimizer: 'sdg' was given, allowed is one of sgd, adam"),
        ({"loss": "none"}, "loss: 'none' was given, allowed is one of cross_entropy"),
        ({"comparison": 0}, "comparison: 0"),
        ({"held_out": 1}, "held_out: 1"),
        ({"pretrain": 26}, "pretrain: 26"),
        ({"shuffle": False, "new_pairs": True}, "shuffle: False"),
        ({"standardize": "all"}, "standardize: 'all'"),
        ({"schedule": {"step": {}}}, "schedule: step is missing its 'every'"),
        ({"schedule": {"step": {"every": 0}}}, "every"),
    ],
)
def test_bad_recipes_are_refused(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        Recipe(**settings)


@pytest.mark.parametrize("settings", [{"momentun": 0.5}, {"momentum": -1}])
def test_bad_settings_of_an_optimizer_are_refused(pairs, settings):
    with pytest.raises(InputError, match=f"settings of the optimizer sgd: '?{next(iter(settings))}"):
        Recipe(settings=settings)

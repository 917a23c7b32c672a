import pytest
import torch

from helpers.augment import AUGMENTATIONS, distort
from helpers.data import draw_round
from helpers.inputs import InputError
from helpers.models import Architecture
from helpers.training import Recipe, train


@pytest.fixture(scope="module")
def pairs(digits):
    return draw_round(digits, 0, 0, 100, test_pairs=100)[0]


@pytest.fixture
def pictures(pairs):
    return pairs.images.flatten(0, 1).unsqueeze(1)


def test_nothing_asked_nothing_done(pictures):
    assert torch.allclose(distort(pictures), pictures, atol=1e-4)


@pytest.mark.parametrize("setting", ["shift", "rotation", "scale", "shear", "elastic"])
def test_every_distortion_changes_every_image_differently(pictures, setting):
    amount = {setting: 10.0 if setting == "rotation" else 0.5}
    first, second = distort(pictures, **amount), distort(pictures, **amount)
    assert first.shape == pictures.shape
    assert not any(torch.equal(a, b) for a, b in zip(first, pictures, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_shift_is_in_pixels():
    image = torch.zeros(500, 1, 14, 14)
    image[:, :, 7, 7] = 1
    moved = distort(image, shift=2.0)
    rows, columns = torch.arange(14.0).view(14, 1), torch.arange(14.0).view(1, 14)
    for places in (rows, columns):
        way = (moved.squeeze(1) * places).sum(dim=(1, 2)) - 7
        assert way.abs().max() <= 2.001
        assert way.abs().max() > 1.9
        assert abs(way.mean()) < 0.2


def test_labels_stay_right(pairs):
    """A picture keeps its digit's class: every distorted picture is still nearest to its own class's mean."""
    means = torch.stack([pairs.images[pairs.digits == c].mean(dim=0) for c in range(10)]).flatten(1)
    moved = distort(pairs.images.flatten(0, 1).unsqueeze(1), shift=0.5, rotation=5, scale=0.05, elastic=0.2)
    assert torch.equal(torch.cdist(moved.flatten(1), means).argmin(dim=1), pairs.digits.flatten())


def test_new_pairs_are_of_the_same_images_with_their_classes(digits):
    pairs = draw_round(digits, 0, 0, 100, test_pairs=100)[0]
    again = pairs.reshuffle_pairs()
    old, new = (
        sorted(
            (image.numpy().tobytes(), int(c))
            for image, c in zip(p.images.flatten(0, 1), p.digits.flatten(), strict=True)
        )
        for p in (pairs, again)
    )
    assert old == new
    assert not torch.equal(again.digits, pairs.digits)


def test_an_augmentation_reaches_training_and_not_the_measures(digits):
    pairs = dict(zip(("train", "test"), draw_round(digits, 0, 0, 100, test_pairs=100), strict=True))
    layers = ({"linear": 10},)
    seen = []
    AUGMENTATIONS["spy"] = lambda images: seen.append(len(images)) or images
    try:
        recipe = Recipe(epochs=3, augmentation="spy")
        rows, _ = train(Architecture(layers), recipe, pairs, seed=0)
    finally:
        del AUGMENTATIONS["spy"]
    assert seen == [200] * 3
    assert rows == train(Architecture(layers), Recipe(epochs=3), pairs, seed=0)[0]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"augmentation": "mixup"}, "augmentation: 'mixup' was given, allowed is one of none, distort"),
        (
            {"augmentation": {"distort": {"twist": 1}}},
            "augmentation: distort: 'twist' was given, allowed is one of shift, rotation, .*knots",
        ),
        ({"augmentation": {"distort": {"shift": "far"}}}, "augmentation: distort shift: 'far' was given"),
        ({"schedule": "cosine"}, "schedule: 'cosine' was given, allowed is one of constant, linear, one_cycle"),
        ({"schedule": {"one_cycle": {"warm": 1}}}, "schedule: one_cycle: 'warm' was given, allowed is one of warm_up"),
    ],
)
def test_unknown_parts_are_refused(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        Recipe(**settings)

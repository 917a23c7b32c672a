from dataclasses import asdict

import pytest
import torch
from conftest import defined_in
from torch import nn

from helpers.architectures import find_model, read_models
from helpers.inputs import InputError
from helpers.models import LAYERS, Architecture, build, count_parameters, moved
from helpers.questions import ask

SMALL = ("relu", {"linear": 10})
PARAMETERS = {"M1": 66_934, "M2": 33_504, "M3": 66_934, "M4": 33_504, "M5": 66_344}  # Table I of the first report


@pytest.fixture(scope="module")
def models():
    return {model.name: model for family in ("convnet", "m5") for model in read_models(family)}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts_are_those_of_table_one(models, name):
    assert count_parameters(build(models[name].architecture)) == PARAMETERS[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_switches_are_those_of_the_report(models, name):
    assert models[name].architecture.sharing == (name in ("M2", "M4", "M5"))
    assert (models[name].recipe.auxiliary > 0) == (name in ("M3", "M4", "M5"))


@pytest.mark.parametrize("name", PARAMETERS)
def test_forward_gives_comparison_and_digits(models, name):
    comparison, digits = build(models[name].architecture)(torch.randn(7, 2, 14, 14))
    assert comparison.shape == (7, 2)
    assert digits.shape == (7, 2, 10)


def gradient_of_one_image(architecture: Architecture, image: int) -> list[bool]:
    """Whether each sub-network's linear layers get a gradient from the digits' logits of one image."""
    network = build(architecture)
    network(torch.randn(4, architecture.images, 14, 14))[1][:, image].sum().backward()
    linears = [[m for m in branch.modules() if isinstance(m, nn.Linear)] for branch in network.branches]
    return [any(m.weight.grad is not None and bool(m.weight.grad.any()) for m in branch) for branch in linears]


def test_without_sharing_an_image_moves_its_own_sub_network_only(models):
    assert gradient_of_one_image(models["M1"].architecture, 0) == [True, False]
    assert gradient_of_one_image(models["M1"].architecture, 1) == [False, True]


def test_with_sharing_both_images_move_the_one_sub_network(models):
    assert gradient_of_one_image(models["M2"].architecture, 0) == [True]
    assert gradient_of_one_image(models["M2"].architecture, 1) == [True]


def test_shared_sub_network_treats_both_images_alike():
    network = build(Architecture(SMALL)).eval()
    images = torch.randn(5, 2, 14, 14)
    _, digits = network(images)
    _, swapped = network(images.flip(1))
    assert torch.equal(digits.flip(1), swapped)


def test_the_common_layer_is_one_in_both_sub_networks_and_all_else_is_not(models):
    first, second = build(models["M1"].architecture).branches
    norms = {id(m) for branch in (first, second) for m in branch.modules() if isinstance(m, nn.BatchNorm2d)}
    assert len(norms) == 1
    for a, b in zip(first.modules(), second.modules(), strict=True):
        if isinstance(a, nn.Conv2d | nn.Linear):
            assert a is not b


def test_every_layer_kind_can_be_built_and_run():
    layers = (
        {"conv2d": {"channels": 4, "kernel": 3, "padding": 1}}, "batch_norm", "relu", {"max_pool": 2},
        {"conv2d": {"channels": 8, "kernel": 3, "groups": 2}}, "gelu", {"average_pool": {"kernel": 2, "stride": 1}},
        {"spatial_dropout": 0.2}, {"linear": 12}, "tanh", {"dropout": 0.1}, {"linear": 10},
    )  # fmt: skip
    assert build(Architecture(layers))(torch.randn(3, 2, 14, 14))[0].shape == (3, 2)
    line = (
        {"conv1d": {"channels": 4, "kernel": 5, "stride": 2}}, "batch_norm", "leaky_relu", {"max_pool": 2},
        {"conv1d": {"channels": 3, "kernel": 3}}, "elu", {"spatial_dropout": 0.2}, {"average_pool": 2}, "silu",
        "sigmoid", {"linear": 10},
    )  # fmt: skip
    assert build(Architecture(line, sharing=False))(torch.randn(3, 2, 14, 14))[0].shape == (3, 2)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 1, 0), (2, None, 1), (3, 2, 1), (5, 1, 2)])
def test_max_pooling_gives_the_same_in_training_and_out_of_it(kernel, stride, padding):
    pool, maps = LAYERS["max_pool"][0]((4, 13, 9), kernel, stride, padding), torch.randn(3, 4, 13, 9)
    assert torch.equal(pool.train()(maps), pool.eval()(maps))


def test_conv1d_slides_over_the_pixels_in_reading_order():
    network = build(Architecture(({"conv1d": {"channels": 1, "kernel": 2}}, {"linear": 10})))
    convolution = next(m for m in network.modules() if isinstance(m, nn.Conv1d))
    image = torch.randn(1, 1, 14, 14)
    got = network.branches[0][0](image)
    line = image.flatten()
    weight, bias = convolution.weight.flatten(), convolution.bias
    assert torch.allclose(got.flatten(), line[:-1] * weight[0] + line[1:] * weight[1] + bias, atol=1e-6)


@pytest.mark.parametrize("images", [3, 5])
@pytest.mark.parametrize("sharing", [True, False])
def test_any_number_of_images(images, sharing):
    network = build(Architecture(({"linear": 10},), sharing=sharing, images=images))
    assert len(network.branches) == (1 if sharing else images)
    comparison, digits = network(torch.randn(4, images, 14, 14))
    assert comparison.shape == (4, 2)
    assert digits.shape == (4, images, 10)


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        (({"conv2d": {"channels": 4, "kernel": 15}}, {"linear": 10}),
         r"layer 1 \(conv2d\) cannot take the 14×14 maps in 1 channel\(s\) that it gets .*Kernel size: \(15 x 15\)"),
        (({"max_pool": 8}, {"conv2d": {"channels": 4, "kernel": 3}}, {"linear": 10}),
         r"layer 2 \(conv2d\) cannot take the 1×1 maps in 1 channel\(s\) that it gets .*Kernel size: \(3 x 3\)"),
        (({"linear": 5}, {"conv2d": {"channels": 4, "kernel": 3}}), r"layer 2 \(conv2d\) cannot take the 5 units"),
        (({"linear": 5}, {"max_pool": 2}, {"linear": 10}), r"layer 2 \(max_pool\): it needs a map, but gets 5 units"),
        (({"conv2d": {"chanels": 8, "kernel": 3}}, {"linear": 10}),
         r"layer 1 \(conv2d\): 'chanels' was given, allowed is one of channels, kernel, stride, padding, groups"),
        (({"conv2d": {"channels": 4, "kernel": 3, "groups": 3}}, {"linear": 10}), r"layer 1 \(conv2d\): .*divisible"),
        (({"convolution": 3}, {"linear": 10}), r"layer 1: 'convolution' was given, allowed is one of linear"),
        (({"conv2d": {"channels": 4}}, {"linear": 10}), r"layer 1 \(conv2d\) .* missing .*'kernel'"),
        (({"linear": {}}, {"linear": 10}), r"layer 1 \(linear\) .* missing .*'units'"),
        (({"linear": {"units": 10, "size": 2}},), r"layer 1 \(linear\): 'size' was given, allowed is one of units"),
        (({"linear": -3}, {"linear": 10}), r"layer 1 \(linear\) units: -3 was given"),
        (({"linear": "many"},), r"layer 1 \(linear\) units: 'many' was given"),
        (({"dropout": 1.5}, {"linear": 10}), r"layer 1 \(dropout\) rate: 1.5 was given"),
        (({"relu": 3}, {"linear": 10}), r"layer 1 \(relu\) takes no value"),
        (({"linear": 20},), r"the last layer gives 20 units, allowed are 10"),
        ((), r"allowed is a list of 1 to 1,000 layers"),
        ((3,), r"layers: 3 was given"),
        (({"linear": {"units": 20, "name": "a"}}, {"linear": {"units": 10, "name": "a"}}), r"layer 2 .* named 'a'"),
    ],
)  # fmt: skip
def test_an_impossible_description_is_refused_in_one_sentence(layers, sentence):
    with pytest.raises(InputError, match=sentence) as refusal:
        build(Architecture(layers))
    assert str(refusal.value).count(". ") == 0
    assert "\n" not in str(refusal.value)


def head_of(*layers, **settings) -> nn.Module:
    return build(Architecture(SMALL, head=layers, **settings)).head


def test_the_fixed_head_gives_finite_losses_where_it_is_sure_and_wrong():
    head = head_of("fixed")
    logits = torch.full((1, 2, 10), -1000.0, requires_grad=True)
    sure = logits + 2000 * nn.functional.one_hot(torch.tensor([[9, 0]]), 10)
    loss = nn.functional.cross_entropy(head(sure), torch.tensor([1]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_the_outer_product_has_every_combination_once():
    head = head_of("softmax", "outer_product", {"linear": 2})
    (_, linear) = head[-1]
    with torch.no_grad():
        linear.weight[:] = torch.arange(200.0).view(2, 100)
        linear.bias[:] = 0
    got = head(100.0 * nn.functional.one_hot(torch.tensor([[3, 7]]), 10).float())
    assert torch.allclose(got, torch.tensor([[37.0, 137.0]]))
    assert count_parameters(head_of("outer_product", {"linear": 2}, images=3)) == 2002


@pytest.mark.parametrize("question", ["less than or equal", "equal", "sum"])
def test_the_argmax_head_answers_for_the_largest_logits(question):
    logits = torch.randn(50, 2, 10)
    answers = head_of("argmax", "fixed", question=question)(logits).argmax(dim=1)
    assert torch.equal(answers, ask(question).labels(logits.argmax(dim=2)))


def test_the_expected_digit_is_compared_with_two_parameters():
    head = head_of("expected_digit", "difference", {"linear": 1})
    assert count_parameters(head) == 2
    logits = torch.randn(6, 2, 10)
    means = logits.softmax(dim=2) @ torch.arange(10.0)
    weight, bias = (parameter.detach().flatten() for parameter in head.parameters())
    expected = weight * (means[:, 1] - means[:, 0]) + bias
    assert torch.allclose(head(logits), torch.stack([torch.zeros(6), expected], dim=1), atol=1e-5)


def test_a_learned_temperature_divides_the_logits_and_begins_at_one():
    head = head_of({"temperature": "learned"}, "fixed")
    logits = torch.randn(5, 2, 10)
    assert torch.allclose(head(logits), head_of("fixed")(logits))
    assert count_parameters(head) == 1
    assert torch.allclose(head_of({"temperature": 2.0}, "fixed")(logits), head_of("fixed")(logits / 2))


def test_normalized_logits_have_mean_zero_and_variance_one_in_each_image():
    normalized = head_of("normalize", {"linear": 2})[0](5 + 3 * torch.randn(4, 2, 10))
    assert torch.allclose(normalized.mean(dim=2), torch.zeros(4, 2), atol=1e-5)
    assert torch.allclose(normalized.var(dim=2, unbiased=False), torch.ones(4, 2), atol=1e-3)


def test_a_stopped_gradient_trains_the_head_alone():
    network = build(Architecture(SMALL, head=("stop_gradient", {"linear": 2})))
    network(torch.randn(3, 2, 14, 14))[0].sum().backward()
    assert all(parameter.grad is None for parameter in network.branches.parameters())
    assert all(parameter.grad is not None for parameter in network.head.parameters())


def test_both_digits_may_be_two_channels_of_one_network():
    network = build(Architecture(({"conv2d": {"channels": 4, "kernel": 3}}, {"linear": 20}), together=True))
    answers, digits = network(torch.randn(5, 2, 14, 14))
    assert (answers.shape, digits.shape) == ((5, 2), (5, 2, 10))
    assert network.branches[0][0].in_channels == 2
    answers, digits = build(Architecture(({"linear": 7},), together=True, digits="none"))(torch.randn(5, 2, 14, 14))
    assert answers.shape == (5, 2)
    assert digits is None


@pytest.mark.parametrize("sharing", [True, False])
def test_hidden_features_are_joined_and_the_digits_are_on_a_side_branch(sharing):
    layers, side = ({"linear": 6}, "relu"), ({"linear": 10},)
    network = build(Architecture(layers, ("difference", {"linear": 2}), side, sharing)).eval()
    images = torch.randn(5, 2, 14, 14)
    features, logits = network.read(images)
    assert (features.shape, logits.shape) == ((5, 2, 6), (5, 2, 10))
    answers, digits = network(images)
    assert torch.equal(answers, network.head[1](features[:, 1] - features[:, 0]))
    assert torch.equal(digits, torch.stack([network.sides[0 if sharing else i](features[:, i]) for i in range(2)], 1))
    answers[:, 0].sum().backward()
    assert all(parameter.grad is None for parameter in network.sides.parameters())


def test_convolutions_may_be_shared_while_normalizations_are_not():
    layers = ({"conv2d": {"channels": 4, "kernel": 3, "common": True}}, "batch_norm", {"linear": 10})
    first, second = build(Architecture(layers, sharing=False)).branches
    assert first[0] is second[0]
    assert first[1] is not second[1]


def test_a_residual_block_adds_its_input():
    block = {"residual": ["relu", {"conv2d": {"channels": 1, "kernel": 3, "padding": 1}}]}
    branch = build(Architecture((block, {"linear": 10}))).branches[0]
    image = torch.randn(2, 1, 14, 14)
    assert torch.allclose(branch[0](image), image + branch[0].layers(image))
    wider = {"conv2d": {"channels": 3, "kernel": 1}}
    block = {"residual": {"layers": [wider, "relu"], "shortcut": [wider]}}
    branch = build(Architecture((block, {"linear": 10}))).branches[0]
    assert torch.allclose(branch[0](image), branch[0].layers(image) + branch[0].shortcut(image))
    with pytest.raises(InputError, match="residual"):
        build(Architecture(({"residual": [wider]}, {"linear": 10})))


def test_an_initialization_is_that_of_all_weights():
    first, second = (build(Architecture(({"linear": 10},), initialization=name)) for name in ("torch", "xavier"))
    bounds = [network.branches[0][0][1].weight.abs().max().item() for network in (first, second)]
    assert bounds[0] == pytest.approx(196**-0.5, rel=0.02)
    assert bounds[1] == pytest.approx((6 / 206) ** 0.5, rel=0.02)


@pytest.mark.parametrize(("name", "reduce"), [("global_max_pool", "amax"), ("global_average_pool", "mean")])
def test_global_pooling_leaves_one_value_a_channel(name, reduce):
    layers = ({"conv2d": {"channels": 10, "kernel": 3}}, name)
    branch = build(Architecture(layers)).branches[0]
    image = torch.randn(4, 1, 14, 14)
    assert torch.equal(branch(image), getattr(branch[0](image), reduce)(dim=(2, 3)))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"head": ("quadratic",)}, "head: layer 1: 'quadratic'"),
        ({"head": ({"linear": 3},)}, "head: the last layer gives 3 units, allowed are 2"),
        ({"head": ({"linear": 2},), "question": "sum"}, "head: the last layer gives 2 units, allowed are 19"),
        ({"head": ("expected_digit",)}, "head: the last layer gives 2×1 values"),
        ({"head": ({"linear": 5}, "fixed")}, r"head: layer 2 \(fixed\)"),
        ({"head": ({"fixed": {"question": "sum"}},)}, r"head: layer 1 \(fixed\): 'question'"),
        ({"head": ({"temperature": 0},)}, r"head: layer 1 \(temperature\) value: 0"),
        ({"digits": ({"linear": 5},)}, "digits: the last layer gives 5 units, allowed are 10"),
        ({"together": True}, "layers: the last layer gives 10 units, allowed are 20"),
        ({"together": True, "sharing": False}, "sharing: False"),
        ({"initialization": "zero"}, "initialization: 'zero'"),
        ({"question": "perhaps"}, "question: 'perhaps'"),
        ({"tta_shift": 0.5, "digits": "none"}, "tta_shift"),
    ],
)
def test_a_part_that_does_not_fit_is_named(settings, named):
    with pytest.raises(InputError, match=named):
        build(Architecture(SMALL, **settings))


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_diagram_counts_what_the_network_has(models, name):
    branches, (_, head) = defined_in("a1_networks").outline(models[name].architecture)
    assert len(branches) == (1 if models[name].architecture.sharing else 2)
    assert sum(parameters for lines in branches for _, parameters in lines) + head == PARAMETERS[name]


def parts(model):
    return asdict(model.architecture) | asdict(model.recipe)


def changes(before, after):
    old, new = parts(before), parts(after)
    return {name for name in old if old[name] != new[name]}


def test_m6_without_a_part_lacks_one_thing_and_stays_within_the_limit():
    (whole,), without = read_models("m6"), read_models("m6_parts")
    one_thing = [{"layers", "sharing"}, {"auxiliary"}, {"head"}, {"augmentation", "new_pairs"}]
    for model in without:
        assert changes(whole, model) in one_thing, model.name
    sizes = {m.name: count_parameters(build(m.architecture)) for m in (whole, *without)}
    assert max(sizes.values()) <= 70_000
    assert abs(sizes["no sharing"] / sizes[whole.name] - 1) < 0.1


def test_m6_is_one_of_its_candidates():
    (m6,) = read_models("m6")
    assert count_parameters(build(m6.architecture)) == 61_226
    assert [one.name for one in read_models("m6_candidates") if not changes(one, m6)] == ["four views, shifts"]


def test_the_smallest_network_has_299_parameters():
    assert min(count_parameters(build(model.architecture)) for model in read_models("frontier")) == 299


def test_one_recipe_is_that_of_m4_for_all_four():
    m4 = find_model(read_models("convnet"), "M4")
    four = read_models("one_recipe")
    assert [changes(m4, one) - {"measure_every"} for one in four] == [
        {"sharing", "auxiliary"},
        {"auxiliary"},
        {"sharing"},
        set(),
    ]


def test_two_networks_of_the_same_counts_are_not_the_same_network(models):
    for model in read_models("same_counts"):
        assert count_parameters(build(model.architecture)) == PARAMETERS[model.name]
        assert changes(models[model.name], model) == {"layers", "head"}


def test_the_first_reports_maps_have_the_sizes_of_its_figure(models):
    shapes, image = [], torch.randn(1, 1, 14, 14)
    for layer in build(models["M4"].architecture).branches[0]:
        image = layer(image)
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.Sequential):
            shapes.append(tuple(image.shape[1:]))
    assert shapes == [(16, 14, 14), (16, 8, 8), (16, 9, 9), (16, 10, 10), (20,), (10,)]


def test_images_move_by_a_pixel_or_a_part_of_one():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    still, *whole = moved(image, 1.0)
    assert torch.equal(still, image)
    right, left, down, up = (  # the border is repeated where nothing comes in
        image[..., [0, 0, 1, 2]],
        image[..., [1, 2, 3, 3]],
        image[..., [0, 0, 1, 2], :],
        image[..., [1, 2, 3, 3], :],
    )
    for way in (right, left, down, up):
        assert sum(torch.equal(way, view) for view in whole) == 1
    for half, full in zip(moved(image, 0.5)[1:], whole, strict=True):
        assert torch.equal(half, (image + full) / 2)


def test_answers_are_averaged_over_five_views_out_of_training_only():
    shifted = build(Architecture(SMALL, head=("fixed",), tta_shift=0.5))
    plain = build(Architecture(SMALL, head=("fixed",)))
    plain.load_state_dict(shifted.state_dict())
    images = torch.randn(6, 2, 14, 14)
    assert torch.equal(shifted.train()(images)[1], plain.train()(images)[1])
    _, digits = shifted.eval()(images)
    views = [plain.eval()(view)[1].softmax(dim=2) for view in moved(images, 0.5)]
    assert len(views) == 5
    assert torch.allclose(digits.exp(), sum(views) / 5, atol=1e-6)
    assert torch.allclose(shifted(images)[0], shifted.head(digits))
    assert not torch.allclose(digits.softmax(dim=2), views[0], atol=1e-3)


@pytest.mark.parametrize("shift", [-0.5, 1.5, "far"])
def test_a_shift_of_more_than_a_pixel_is_refused(shift):
    with pytest.raises(InputError, match="tta_shift: .* allowed is a number from 0 to 1"):
        build(Architecture(SMALL, tta_shift=shift))

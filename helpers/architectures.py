"""Models as YAML files describe them, and variants of them."""

from collections.abc import Iterable
from dataclasses import fields, replace

import torch

from helpers.inputs import ROOT, InputError, known_keys, one_of, read_yaml, whole_number
from helpers.layers import entry_of
from helpers.models import ARGMAX_HEAD, IMAGE, Architecture, build, count_parameters
from helpers.questions import USUAL, short
from helpers.runs import Model
from helpers.training import Recipe

FOLDER = ROOT / "notebooks" / "architectures"
OF_NETWORK = ("layers", "head", "digits", "together", "initialization", "tta_shift")  # of a file, or of one model
OF_OPTIMIZERS = ("momentum", "weight_decay", "betas", "nesterov", "dampening", "eps", "amsgrad")
KEYS = ("description", *OF_NETWORK, "recipe", "models")
FOUR_WAY = {  # where a file names no models of its own
    "neither": {"sharing": False, "auxiliary": 0.0},
    "sharing": {"sharing": True, "auxiliary": 0.0},
    "auxiliary": {"sharing": False, "auxiliary": 1.0},
    "both": {"sharing": True, "auxiliary": 1.0},
}


def read_models(
    architecture: str | dict, images: int = 2, question: str = USUAL, pairs: int = 1000, head=None, **changes
) -> list[Model]:
    """The models that an architecture file describes: a name in notebooks/architectures, a path, or its content.

    The file has `layers`, and may have `head`, `digits`, `together`, `initialization`, `tta_shift`, `recipe` and
    `models`: {name: {sharing, auxiliary, and what of the network or the recipe is its own}}; without `models` the
    four-way comparison is made. `head` and further keyword arguments, of the network or of the recipe, replace what the
    file says of all models. Raises InputError in one sentence.
    """
    family, content = "own", architecture
    if not isinstance(architecture, dict):
        path, content = read_yaml("architecture", architecture, FOLDER)
        family = path.stem if FOLDER in path.parents else f"own-{path.stem}"
    content = known_keys(f"architecture {family}", content, KEYS)
    whole_number("pairs", pairs, 1)
    # Another question or head, like a file of one's own, makes other tables, whose names begin with the family's.
    if head:
        head = tuple(head if isinstance(head, list | tuple) else [head])
        kinds = [entry_of(layer, "head")[0] for layer in head]
        family += "-" + "-".join(kinds[:-1] if kinds[-1] == "linear" and kinds[1:] else kinds)
    family += (f"-{images}-images" if images != 2 else "") + (f"-{short(question)}" if question != USUAL else "")
    of_recipe = [field.name for field in fields(Recipe)]
    common = content.get("recipe") or {}
    described = content.get("models") or FOUR_WAY
    for where, mapping in (("recipe", common), *(described.items() if isinstance(described, dict) else ())):
        wrong = [key for key in mapping if key in OF_OPTIMIZERS] if isinstance(mapping, dict) else []
        if wrong:
            raise InputError(f"{where}: {wrong[0]!r} was given, which belongs under settings, the optimizer's own.")
    known_keys("recipe", common, of_recipe)
    allowed, models = ["sharing", *OF_NETWORK, *of_recipe], []
    changes = known_keys("read_models", changes | ({"head": head} if head else {}), allowed)
    for name in known_keys("models", described, described):
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"models: the name {name!r} was given, allowed is a text; write it in quotes.")
        own = known_keys(f"model {name}", described[name], allowed)
        given = {key: content[key] for key in OF_NETWORK if key in content} | common | own | changes
        of_network = {key: value for key, value in given.items() if key not in of_recipe}
        model_recipe = Recipe(**{key: value for key, value in given.items() if key in of_recipe})
        network = _architecture(of_network, images=images, question=question)
        built = build(network)  # a description at fault is refused here, before any training
        if not model_recipe.comparison and count_parameters(built.head) and network.has_digits():
            # Nothing would train this head: the answer is that for the digits with the largest logits.
            layers = (*network.layers, *network.digits)
            network = replace(network, layers=layers, digits=(), head=ARGMAX_HEAD)
        labels = {"family": family, "sharing": network.sharing, "auxiliary": model_recipe.auxiliary}
        model = Model(str(name), network, model_recipe, pairs, labels)
        check_trainable(model)
        models.append(model)
    return models


def _architecture(network: dict, **question) -> Architecture:
    """An Architecture of what a file says, in which a list with one layer may be written as the layer alone."""
    lists = {
        key: tuple(value if isinstance(value, list | tuple) else [value])
        for key, value in network.items()
        if key in ("layers", "head", "digits") and value != "none"
    }
    given: dict = {"layers": (), **network, **lists, **question}
    return Architecture(**given)


def check_trainable(model: Model) -> None:
    """Refuse a model of which no loss would train anything."""
    network, recipe = build(model.architecture), model.recipe
    if recipe.freeze:
        network.branches.requires_grad_(False)
        network.sides.requires_grad_(False)
    answers, _ = network(torch.zeros(2, model.architecture.images, *IMAGE))
    trained = (answers.requires_grad and recipe.comparison) or (recipe.auxiliary and not recipe.freeze)
    if not trained:
        raise InputError(
            f"model {model.name}: no loss trains any of its parameters; give its head something to learn, or an "
            "auxiliary loss without freeze."
        )


def find_model(models: list[Model], name: str) -> Model:
    """The model of this name. Raises InputError where there is none."""
    by_name = {model.name: model for model in models}
    return by_name[one_of("model", name, by_name)]


def labelled(models: Iterable[Model], name: str, value: str) -> list[Model]:
    """The models with a further column `name` in their table, and its value behind their names."""
    return [variant(model, f", {value}", {name: value}) for model in models]


def vary(model: Model, name: str, values: Iterable) -> list[Model]:
    """The model once for each value of one of its recipe's parameters, which becomes a column of the table.

    Raises InputError where a value is not allowed.
    """
    return [
        variant(model, f" {value:g}", {name: value}, recipe=replace(model.recipe, **{name: value})) for value in values
    ]


def variant(model: Model, suffix: str, labels: dict, **parts) -> Model:
    """The model with other `parts` and further labels; a column `network` keeps the name that `suffix` goes behind."""
    labels = model.labels | {"network": model.name} | labels
    return replace(model, name=f"{model.name}{suffix}", labels=labels, **parts)

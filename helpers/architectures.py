"""Models as YAML files describe them, and variants of them."""

from collections.abc import Iterable
from dataclasses import fields, replace

from helpers.files import read_yaml
from helpers.inputs import ROOT, known_keys, one_of, whole_number
from helpers.models import Architecture, build
from helpers.runs import Model
from helpers.training import Recipe

FOLDER = ROOT / "notebooks" / "architectures"
KEYS = ("description", "layers", "head", "recipe", "models")
FOUR_WAY = {  # where a file names no models of its own
    "neither": {"sharing": False, "auxiliary": 0.0},
    "sharing": {"sharing": True, "auxiliary": 0.0},
    "auxiliary": {"sharing": False, "auxiliary": 1.0},
    "both": {"sharing": True, "auxiliary": 1.0},
}


def read_models(
    architecture: str | dict, images: int = 2, strict: bool = False, pairs: int = 1000, head=None, **recipe
) -> list[Model]:
    """The models that an architecture file describes: a name in notebooks/architectures, a path, or its content.

    The file has `layers`, and may have `head`, `recipe` and `models`: {name: {sharing, auxiliary, and what of the
    recipe, the layers or the head is its own}}; without `models` the four-way comparison is made. `head` and further
    keyword arguments replace what the file says of the heads and the recipes. Raises InputError in one sentence.
    """
    family, content = "own", architecture
    if not isinstance(architecture, dict):
        path, content = read_yaml("architecture", architecture, FOLDER)
        family = path.stem if path.parent == FOLDER else f"own-{path.stem}"
    known_keys(f"architecture {family}", content, KEYS)
    whole_number("pairs", pairs, 1)
    one_of("strict", strict, (True, False))
    # Another question, like a file of one's own, makes other tables, whose names begin with the family's.
    family += (f"-{images}-images" if images != 2 else "") + ("-strict" if strict else "")
    of_recipe = [field.name for field in fields(Recipe)]
    common = known_keys("recipe", content.get("recipe") or {}, of_recipe)
    described = content.get("models") or FOUR_WAY
    models = []
    for name in known_keys("models", described, described):
        of_network = ["sharing", "layers", "head", "answer_shift"]
        own = known_keys(f"model {name}", described[name], [*of_network, *of_recipe])
        own = {"sharing": True, "auxiliary": 0.0} | common | own | recipe
        sharing = one_of(f"model {name}: sharing", own.pop("sharing"), (True, False))
        layers, own_head = (own.pop(key, content.get(key)) for key in ("layers", "head"))
        shift = own.pop("answer_shift", 0.0)
        network = Architecture(tuple(layers or ()), sharing, images, head or own_head or "linear", strict, shift)
        build(network)  # a description at fault is refused here, before any training
        labels = {"family": family, "sharing": sharing, "auxiliary": own["auxiliary"]}
        models.append(Model(str(name), network, Recipe(**own), pairs, labels))
    return models


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

"""Models as YAML files describe them, and variants of them."""

from collections.abc import Iterable
from dataclasses import fields, replace

from helpers.files import read_yaml
from helpers.inputs import ROOT, known_keys, one_of, whole_number
from helpers.models import Architecture, build, entry_of
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
    return [_variant(model, f", {value}", {name: value}) for model in models]


def first_report_layers(
    norm: str = "both", dropout: str = "both", kind: str = "spatial_dropout", units: tuple[int, ...] = (20,)
) -> tuple:
    """The sub-network of the first report's M1 to M4 (of M5: units 40 and 20) in a reading of it.

    `norm` and `dropout` stand behind the "first" convolution, the "second" or "both"; dropout also behind "none". The
    one batch normalisation is the same layer in both places and in both sub-networks, as the parameter counts ask for.
    """

    def behind(which: str, place: str, layer) -> list:
        return [layer] if which in (place, "both") else []

    batch_norm = {"batch_norm": {"name": "norm", "common": True}}
    layers = [{"conv2d": {"channels": 16, "kernel": 3}}, *behind(norm, "first", batch_norm), "relu"]
    layers += [*behind(dropout, "first", {kind: 0.5}), {"conv2d": {"channels": 16, "kernel": 2}}]
    layers += [*behind(norm, "second", batch_norm), "relu", {"max_pool": {"kernel": 2, "stride": 1}}]
    layers += [*behind(dropout, "second", {kind: 0.5})]
    for count in units:
        layers += [{"linear": count}, "relu"]
    return (*layers, {"linear": 10})


def vary(model: Model, name: str, values: Iterable) -> list[Model]:
    """The model once for each value of one of its recipe's parameters, which becomes a column of the table.

    Raises InputError where a value is not allowed.
    """
    return [
        _variant(model, f" {value:g}", {name: value}, recipe=replace(model.recipe, **{name: value})) for value in values
    ]


def with_pairs(models: Iterable[Model], numbers: Iterable[int]) -> list[Model]:
    """Every model with each number of training pairs a round."""
    return [_variant(model, f" {n:g}", {}, pairs=whole_number("pairs", n, 1)) for model in models for n in numbers]


def with_widths(models: Iterable[Model], widths: Iterable[int]) -> list[Model]:
    """Every model with so many units or channels in each layer but the last, as a column `width` of the table."""
    variants = []
    for model in models:
        for width in widths:
            network = replace(model.architecture, layers=_widened(model.architecture.layers, width))
            build(network)  # a width at fault is refused here
            variants.append(_variant(model, f" {width:g}", {"width": width}, architecture=network))
    return variants


def _variant(model: Model, suffix: str, labels: dict, **parts) -> Model:
    labels = model.labels | {"network": model.name} | labels
    return replace(model, name=f"{model.name}{suffix}", labels=labels, **parts)


def _widened(layers: tuple, width: int) -> tuple:
    sized = []
    for layer in layers[:-1]:
        kind, settings = entry_of(layer)
        size = {"conv1d": "channels", "conv2d": "channels", "linear": "units"}.get(kind)
        wider = settings | {size: width} if isinstance(settings, dict) else width  # in the form in which it was given
        sized.append({kind: wider} if size else layer)
    return (*sized, layers[-1])

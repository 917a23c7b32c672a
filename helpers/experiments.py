"""A list of runs in, one tidy table out: from the store where a run is finished, else trained now.

Runs are independent, each in one thread of its own process: on one core, on all cores or on a Dask cluster.
"""

import ctypes
import os
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pandas as pd
import torch
import yaml
from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from tqdm.auto import tqdm

from helpers import store
from helpers.data import Digits, Pairs, draw_round, load_digits, split, stream
from helpers.inputs import ROOT, InputError, one_of, whole_number
from helpers.models import Architecture, Network, build, count_parameters, entry_of
from helpers.training import Recipe, make_optimizer, predict, train

DEVICES = ("cpu", "cuda", "mps", "auto")
ARCHITECTURES = ROOT / "notebooks" / "architectures"
LOG_VARIABLE = "PROGRESS_LINES"  # set: progress as lines for a log instead of a bar


@dataclass(frozen=True)
class Model:
    """One line of a comparison: a network, its recipe, and what the table's further columns say of it."""

    name: str
    architecture: Architecture
    recipe: Recipe
    pairs: int = 1000  # training pairs a round
    labels: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """What all runs of a notebook have in common."""

    digits: Digits
    rounds: int = 10
    seed: int = 0
    jobs: int = 0  # processes; 0: one per core
    cluster: str = ""  # address of a Dask scheduler; empty: this machine
    device: str = "cpu"
    plan: str = "by hand"  # who asked for it: said at every figure and table
    output: str = ""  # folder that gets data/results and figures; empty: the project's own

    @property
    def provenance(self) -> str:
        return f"{self.digits.name}; plan: {self.plan}; seed {self.seed}"


def setting(
    source: str = "auto",
    rounds: int = 1,
    seed: int = 0,
    jobs: int = 0,
    cluster: str = "",
    device: str = "cpu",
    plan: str = "by hand",
    output: str = "",
) -> Setting:
    """Check a notebook's parameters and load its digits. Raises InputError naming the parameter at fault."""
    whole_number("rounds", rounds, 1)
    whole_number("seed", seed, 0)
    whole_number("jobs", jobs, 0)
    one_of("device", device, DEVICES)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if (device == "cuda" and not torch.cuda.is_available()) or (
        device == "mps" and not torch.backends.mps.is_available()
    ):
        raise InputError(f"device: {device!r} was given, but torch finds none here; allowed are cpu and auto.")
    return Setting(load_digits(source), rounds, seed, jobs, cluster, device, str(plan), str(output))


# ----------------------------------------------------------------------------------------------- models from a file

FOUR_WAY = {  # where a file names no models of its own
    "neither": {"sharing": False, "auxiliary": 0.0},
    "sharing": {"sharing": True, "auxiliary": 0.0},
    "auxiliary": {"sharing": False, "auxiliary": 1.0},
    "both": {"sharing": True, "auxiliary": 1.0},
}


def read_models(
    architecture: str | dict, images: int = 2, strict: bool = False, pairs: int = 1000, **recipe
) -> list[Model]:
    """The models that an architecture file describes : a name in notebooks/architectures, a path, or itself.

    The file has `layers`, and may have `head`, `recipe` and `models`: {name: {sharing, auxiliary, and what of the
    recipe, the layers or the head is its own}}; without `models` the four-way comparison is made. Keyword arguments
    replace what the file's recipes say. Raises InputError in one sentence.
    """
    family, content = _read_mapping(architecture)
    _known(f"architecture {family}", content, {"description", "layers", "head", "recipe", "models"})
    whole_number("pairs", pairs, 1)
    models = []
    for name, own in (content.get("models") or FOUR_WAY).items():
        own = {"sharing": True, "auxiliary": 0.0} | (content.get("recipe") or {}) | own | recipe
        sharing, layers = own.pop("sharing"), own.pop("layers", content.get("layers"))
        head = own.pop("head", content.get("head", "linear"))
        _known(f"model {name}", own, set(Recipe.__dataclass_fields__))
        network = Architecture(tuple(layers or ()), sharing, images, head, strict)
        method = Recipe(**own)
        make_optimizer(method, build(network))  # a description at fault is refused here, before anything is trained
        models.append(
            Model(
                str(name), network, method, pairs, {"family": family, "sharing": sharing, "auxiliary": own["auxiliary"]}
            )
        )
    return models


def _read_mapping(architecture: str | dict) -> tuple[str, dict]:
    if isinstance(architecture, dict):
        return "own", architecture
    given = Path(str(architecture)).expanduser()
    path = next((p for p in (ARCHITECTURES / f"{given}.yaml", given) if p.is_file()), None)
    if path is None:
        names = ", ".join(sorted(p.stem for p in ARCHITECTURES.glob("*.yaml")))
        raise InputError(
            f"architecture: {str(architecture)!r} was given, allowed is {names}, the path of a YAML file, or a mapping."
        )
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"architecture: {path} is no YAML file ({' '.join(str(error).split())}).") from None
    if not isinstance(content, dict):
        raise InputError(f"architecture: {path} holds {type(content).__name__}, allowed is a mapping with layers.")
    return path.stem, content


def _known(where: str, mapping: dict, allowed: set[str]) -> None:
    for key in mapping:
        if key not in allowed:
            raise InputError(f"{where}: {key!r} was given, allowed is one of {', '.join(sorted(allowed))}.")


# ------------------------------------------------------------------------------------------------------------- runs


@dataclass(frozen=True)
class Run:
    """One training, as plain data."""

    model: Model
    seed: int
    round: int
    fold: tuple[int, int] | None = None  # (k, of n): train without the k-th part of the pairs, which validates

    def pairs(self, digits: Digits) -> dict[str, Pairs]:
        """The round's "train" and "test" pairs; with a fold its part of the training pairs stands as "validation"."""
        network = self.model.architecture
        drawn = draw_round(digits, self.seed, self.round, self.model.pairs, network.images, network.strict)
        pairs = dict(zip(("train", "test"), drawn, strict=True))
        if self.fold:
            pairs["train"], pairs["validation"] = split(pairs["train"], *self.fold)
        return pairs

    def description(self, digits: Digits, device: str) -> dict:
        return {
            "architecture": asdict(self.model.architecture),
            "recipe": asdict(self.model.recipe),
            "pairs": self.model.pairs,
            "seed": self.seed,
            "round": self.round,
            "fold": self.fold,
            "data": digits.fingerprint,
            "device": device,
        }


def find_model(models: list[Model], name: str) -> Model:
    """The model of this name. Raises InputError where there is none."""
    return models[[model.name for model in models].index(one_of("model", name, [model.name for model in models]))]


def vary(model: Model, name: str, values: Iterable) -> list[Model]:
    """The model once for each value of one of its recipe's parameters, which becomes a column of the table.

    Raises InputError where a value is not allowed.
    """
    return [
        replace(
            model,
            name=f"{model.name} {value:g}",
            recipe=replace(model.recipe, **{name: value}),
            labels=model.labels | {name: value},
        )
        for value in values
    ]


def with_width(model: Model, width: int) -> Model:
    """The model with `width` units or channels in each of its layers but the last, as a column `width` of the table."""
    *hidden, last = model.architecture.layers
    sized = []
    for layer in hidden:
        kind, settings = entry_of(layer)
        if kind in ("conv1d", "conv2d"):
            layer = {kind: settings | {"channels": width}}
        elif kind == "linear":
            layer = {kind: width}
        sized.append(layer)
    return replace(
        model,
        name=f"{model.name} {width}",
        architecture=replace(model.architecture, layers=(*sized, last)),
        labels=model.labels | {"network": model.name, "width": width},
    )


def run_rounds(models: Iterable[Model], setting: Setting, folds: int = 0, only_fold: int | None = None) -> pd.DataFrame:
    """Every model in every round (with `folds`: on every validation split of its training pairs, or on `only_fold`).

    Returns one row per model, round (and fold) and epoch, in that order whatever was trained where: `model`, the
    models' labels, `pairs`, `round`, the measures of `training.train`, and `parameters`.
    """
    models = list(models)
    runs = [
        Run(model, setting.seed, round, fold)
        for model in models
        for round in range(setting.rounds)
        for fold in ([(k, folds) for k in range(folds) if only_fold in (None, k)] if folds else [None])
    ]
    results = _finish(runs, setting)
    parameters = {id(model): count_parameters(build(model.architecture)) for model in models}
    tables = []
    for run, (rows, _, _) in zip(runs, results, strict=True):
        columns = {
            "model": run.model.name,
            **run.model.labels,
            "parameters": parameters[id(run.model)],
            "pairs": run.model.pairs,
            "round": run.round,
        } | ({"fold": run.fold[0]} if run.fold else {})
        tables.append(pd.DataFrame({**columns, **rows}))
    return pd.concat(tables, ignore_index=True)


def training_seconds(models: Iterable[Model], setting: Setting) -> pd.DataFrame:
    """How long the finished runs of `run_rounds` took when they were trained: `model`, labels, `round`, `seconds`."""
    runs = [Run(model, setting.seed, round) for model in models for round in range(setting.rounds)]
    return pd.DataFrame(
        [
            {"model": run.model.name, **run.model.labels, "round": run.round, "seconds": seconds}
            for run, (_, _, seconds) in zip(runs, _finish(runs, setting), strict=True)
        ]
    )


def trained(model: Model, setting: Setting, round: int = 0) -> tuple[Network, dict[str, Pairs]]:
    """The network of one round after its last epoch, with the round's "train" and "test" pairs."""
    run = Run(model, setting.seed, round)
    network = build(model.architecture)
    network.load_state_dict(_finish([run], setting)[0][1])
    return network.eval(), run.pairs(setting.digits)


def predictions(model: Model, setting: Setting) -> pd.DataFrame:
    """What the trained networks of all rounds say of their test pairs, one row per pair.

    Columns: `round`, `pair`, `first` and `second` (classes), `label`, `probability` (of label 1), `right`,
    `named_first` and `named_second` (the classes that the digits' logits name), and `swapped`, the probability of
    label 1 with the two images exchanged.
    """
    tables = []
    for round in range(setting.rounds):
        network, pairs = trained(model, setting, round)
        test = pairs["test"]
        comparison, digits = predict(network, test.images)
        swapped, _ = predict(network, test.images.flip(1))
        columns = {
            "round": round, "pair": range(len(test)), "first": test.digits[:, 0], "second": test.digits[:, 1],
            "label": test.labels, "probability": comparison.softmax(dim=1)[:, 1],
            "right": comparison.argmax(dim=1) == test.labels, "named_first": digits[:, 0].argmax(dim=1),
            "named_second": digits[:, 1].argmax(dim=1), "swapped": swapped.softmax(dim=1)[:, 1],
        }  # fmt: skip
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _finish(runs: list[Run], setting: Setting) -> list[tuple[pd.DataFrame, dict, float]]:
    """Every run's rows, weights and seconds, in order; what is not in the store is trained and stored at once."""
    descriptions = [run.description(setting.digits, setting.device) for run in runs]
    names = [store.name_of(description) for description in descriptions]
    found = {name: store.read(name) for name in dict.fromkeys(names)}
    missing = [index for index, name in enumerate(names) if found[name] is None and names.index(name) == index]
    if missing:
        with _workers(setting, len(missing)) as parallel:
            work = (
                delayed(_train_one)(index, runs[index], runs[index].pairs(setting.digits), setting.device)
                for index in missing
            )
            for index, rows, weights, seconds in progress(parallel(work), len(missing), "runs"):
                store.write(names[index], descriptions[index], rows, weights, seconds)
        found |= {names[index]: store.read(names[index]) for index in missing}
    return [found[name] for name in names]


def _train_one(index: int, run: Run, pairs: dict[str, Pairs], device: str):
    began = time.perf_counter()
    _keep_freed_memory()
    seed = stream(run.seed, run.round, run.fold)
    rows, network = train(run.model.architecture, run.model.recipe, pairs, seed, device)
    weights = {key: value.detach().cpu() for key, value in network.state_dict().items()}
    return index, rows, weights, time.perf_counter() - began


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed for the next step of the training, instead of giving it back to the system.

    Dask starts its workers with the opposite setting, under which two of them spend half their time on page faults.
    """
    with suppress(OSError, TypeError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(-1, 2**28)  # M_TRIM_THRESHOLD
        ctypes.CDLL(None).mallopt(-3, 2**25)  # M_MMAP_THRESHOLD


@contextmanager
def _workers(setting: Setting, runs: int):
    """joblib's Parallel on this machine's cores or on a Dask cluster; no worker outlives an interruption."""
    options = {"return_as": "generator_unordered", "batch_size": 1}
    if setting.cluster:
        with _dask_client(setting.cluster), parallel_config(backend="dask"):
            yield Parallel(n_jobs=-1, **options)
        return
    try:
        with parallel_config(backend="loky", initializer=_die_with, initargs=(os.getpid(),)):
            yield Parallel(n_jobs=min(setting.jobs or cpu_count(), runs), **options)
    except BaseException:
        get_reusable_executor().shutdown(wait=True, kill_workers=True)
        raise


def _die_with(parent: int) -> None:
    """In a worker: end when the process that gives out the work is gone, even if it was killed."""

    def watch():
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _dask_client(address: str):
    try:
        from distributed import Client
    except ImportError:
        raise InputError(
            f"cluster: {address!r} was given, but Dask is not installed; install this project with its extra [cluster]."
        ) from None
    try:
        return Client(address, timeout="10s")
    except (OSError, ValueError, TimeoutError):
        raise InputError(
            f"cluster: {address!r} was given, but no Dask scheduler answers there; allowed is an address "
            "such as tcp://127.0.0.1:8786."
        ) from None


def progress(items: Iterable, total: int, unit: str) -> Iterable:
    """One bar in JupyterLab and in a terminal; with PROGRESS_LINES set, a line of a log every ten seconds."""
    if not os.environ.get(LOG_VARIABLE):
        yield from tqdm(items, total=total, unit=f" {unit}", leave=False)
        return
    began = said = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - said >= 10 and done < total:
            left = (now - began) / done * (total - done)
            print(
                f"    {done} of {total} {unit}, {done / (now - began):.2f} a second, about {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )
            said = now

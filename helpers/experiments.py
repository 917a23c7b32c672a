"""A list of runs in, one tidy table out: from the published tables, from the store, or trained now.

Runs are independent, each in one thread of its own process: on one core, on all cores or on a Dask cluster.
"""

import hashlib
import inspect
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from joblib import Parallel, cpu_count, delayed, parallel_config
from tqdm import tqdm

from helpers.data import Digits, Pairs
from helpers.inputs import ROOT, InputError, Interrupted, is_live, one_of, whole_number
from helpers.models import Network, build, count_parameters
from helpers.runs import (
    TABLES,
    Model,
    Run,
    Trained,
    additions,
    canary,
    is_stored,
    names_of,
    read_run,
    same_canary,
    store_folder,
    store_run,
    train_run,
)  # fmt: skip
from helpers.sources import load_digits

DEVICES = ("cpu", "cuda", "mps", "auto")
PUBLISHED = ROOT / "data" / "results"
SHORT = 16  # characters of a run's name in a table
_CHECKED: set[tuple] = set()  # canaries that this process has sung itself, with their models


@dataclass(frozen=True)
class Setting:
    """What all runs of a notebook have in common."""

    digits: Digits
    rounds: int = 10
    seed: int = 0
    jobs: int = 0  # processes; 0: one per core
    cluster: str = ""  # address of a Dask scheduler; empty: this machine
    device: str = "cpu"


def setting(
    source: str = "auto", rounds: int = 1, seed: int = 0, jobs: int = 0, cluster: str = "", device: str = "cpu"
) -> Setting:
    """Check a notebook's parameters and load its digits. Raises InputError naming the parameter at fault."""
    whole_number("rounds", rounds, 1, 10**4)
    whole_number("seed", seed, 0, 2**63)
    whole_number("jobs", jobs, 0, 1000)
    if not isinstance(cluster, str):
        raise InputError(f"cluster: {cluster!r} was given, allowed is an address such as tcp://127.0.0.1:8786.")
    one_of("device", device, DEVICES)
    found = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if found[name])
    if not found[device]:
        raise InputError(f"device: {device!r} was given, but torch finds none here; allowed are cpu and auto.")
    return Setting(load_digits(source), rounds, seed, jobs, cluster, device)


def run_rounds(
    models: Iterable[Model], setting: Setting, folds: int = 0, only_fold: int | None = None, starts: int = 1
) -> pd.DataFrame:
    """Every model in every round, from so many `starts` (initial weights and order of batches).

    With `folds` it is trained on every validation split of its training pairs, or on `only_fold`.

    Returns one row per model, round (and fold) and epoch, in that order whatever was trained where: `model`, the
    models' labels, what else determines the run, `run` (its shortened name), and the measures of `training.train`.
    """
    splits = [(k, folds) for k in range(folds) if only_fold in (None, k)] if folds else [None]
    models = list(models)
    if not models:
        raise InputError("models: none were given, allowed is at least one, as a list's values make them.")
    replicates = list(product(range(setting.rounds), splits, range(starts)))
    runs = [Run(model, setting.seed, r, fold, start) for model in models for r, fold, start in replicates]
    parameters = {id(model): count_parameters(build(model.architecture)) for model in models}
    tables = []
    for run, (name, rows, _) in zip(runs, finish(runs, setting), strict=True):
        who = {"model": run.model.name, **run.model.labels, "parameters": parameters[id(run.model)]}
        what = {"images": run.model.architecture.images, "question": run.model.architecture.question}
        what |= {"pairs": run.model.pairs, "seed": run.seed, "round": run.round}
        fold = ({"fold": run.fold[0]} if run.fold else {}) | ({"start": run.start} if starts > 1 else {})
        tables.append(pd.DataFrame({**who, **what, **fold, "run": name[:SHORT], **rows}))
    return pd.concat(tables, ignore_index=True)


def trained(models: list[Model], setting: Setting, starts: int = 1) -> Iterator[tuple[Network, dict[str, Pairs]]]:
    """Each model's network of every round, and start, after its last epoch, trained all at once; and its pairs."""
    rounds = product(models, range(setting.rounds), range(starts))
    return _networks([Run(model, setting.seed, r, None, start) for model, r, start in rounds], setting)


def measured(name: str, models: list[Model], setting: Setting, measure: Callable, *used: Callable) -> pd.DataFrame:
    """What `measure(network, pairs)`, a table or one row as a mapping, says of each model's trained network.

    Columns: `model`, `round`, `run`, `measured_by` and those of `measure`, numbers to six places. Rows come from the
    published table `name` where run and source text, of `measure` and of the functions `used` by it, are the same.
    """
    by = hashlib.sha256("".join(map(inspect.getsource, (measure, *used))).encode()).hexdigest()[:8]
    path, known = PUBLISHED / f"{name}.csv", {}
    table = pd.read_csv(path) if path.is_file() else pd.DataFrame()
    if "measured_by" in table:
        rows = table[table.measured_by == by].drop(columns=["source", "plan"], errors="ignore")
        known = dict(list(rows.groupby("run")))
    runs = [Run(model, setting.seed, r) for model in models for r in range(setting.rounds)]
    names = [
        next((name for name in candidates if name in known), candidates[0])
        for candidates in ([name[:SHORT] for name in names] for names in _names(runs, setting, _canaries(runs)))
    ]
    fresh = _networks([run for name, run in zip(names, runs, strict=True) if name not in known], setting)
    tables = {}
    for name, run in zip(names, runs, strict=True):
        if name in known:
            rows = known[name].drop(columns=["model", "round", "run", "measured_by"])
        else:
            said = measure(*next(fresh))
            rows = said if isinstance(said, pd.DataFrame) else pd.DataFrame([said])
        tables[run.model.name, run.round, name, by] = rows
    return pd.concat(tables, names=["model", "round", "run", "measured_by"]).droplevel(-1).reset_index().round(6)


def _networks(runs: list[Run], setting: Setting) -> Iterator[tuple[Network, dict[str, Pairs]]]:
    for run, (_, _, weights) in zip(runs, finish(runs, setting, weights=True), strict=True):
        network = build(run.model.architecture)
        network.load_state_dict(weights)  # pyright: ignore[reportArgumentType]  # asked for, so not None
        yield network.eval(), run.pairs(setting.digits)


# ------------------------------------------------------------------------------------------------- finished runs


def _canaries(runs: list[Run]) -> dict[int, tuple]:
    """By the id of each of the runs' models its canary, as the code at hand sings it."""
    models = {id(run.model): run.model for run in runs}
    canaries = {key: canary(model) for key, model in models.items()}
    _CHECKED.update((numbers, repr(models[key])) for key, numbers in canaries.items())
    return canaries


def _names(runs: list[Run], setting: Setting, canaries: dict[int, tuple]) -> list[list[str]]:
    """Of each run the names that it may have; the first is that under which it is stored."""
    return [names_of(run.description(setting.digits, setting.device), canaries[id(run.model)]) for run in runs]


@lru_cache
def published() -> dict[str, pd.DataFrame]:
    """The rows of each run in the committed tables, by its shortened name."""
    found = {}
    for path in sorted(PUBLISHED.glob("[!.]*.csv")):
        try:
            table = pd.read_csv(path)
        except (ValueError, OSError) as error:  # ValueError: empty, or no CSV
            raise InputError(f"{path} is no table of results ({error}); remove it.") from None
        if {"run", "epoch"} <= set(table.columns):
            rows = table.loc[:, "epoch":].drop(columns=["source", "plan"], errors="ignore")
            for name, part in rows.groupby(table.run):
                once = part.drop_duplicates("epoch")  # a run that a table has under two models' names
                found.setdefault(name, once.dropna(axis=1, how="all").reset_index(drop=True))
    return found


def finish(runs: list[Run], setting: Setting, weights: bool = False) -> list[tuple[str, pd.DataFrame, dict | None]]:
    """Every run's name, rows and weights, in order: published, stored, or trained now and stored at once.

    The published have no weights; they are trained where `weights` are wanted.
    """
    names, found, taken, missing, canaries = [], {}, 0, {}, _canaries(runs)
    for candidates, run in zip(_names(runs, setting, canaries), runs, strict=True):
        name = candidates[0]
        shown = next((other for other in candidates if other[:SHORT] in published()), name)
        rows = None if weights else published().get(shown[:SHORT])
        if rows is not None and rows.epoch.tolist() == run.model.recipe.epochs_measured():
            taken += shown not in found
            found[name := shown] = (rows, None)
        elif name not in found and name not in missing:
            name, stored = next(((other, kept) for other in candidates if (kept := read_run(other))), (name, None))
            if stored:
                found[name] = stored
            else:
                run.pairs(setting.digits)  # too few digits are refused before anything is trained
                missing[name] = run
        names.append(name)
    if taken or missing:
        counts = f"{taken} runs published, {len(found) - taken} stored, {len(missing)} trained now"
        print(counts, file=sys.stderr, flush=True)
    if missing:
        _train(missing, setting, canaries)
        found |= {name: read_run(name) for name in missing}
    return [(name, *found[name]) for name in names]


def _train(missing: dict[str, Run], setting: Setting, canaries: dict[int, tuple]) -> None:
    """Train runs, {name: run}, and store each as soon as it is finished.

    Whatever ends it early ends in one sentence, leaves no worker and keeps all that is finished.
    """
    jobs, own = min(setting.jobs or cpu_count(), len(missing)), additions()
    described = {name: run.description(setting.digits, setting.device) for name, run in missing.items()}
    # Workers on this machine store what they train. Sent back instead, a result that is cut off, because its worker is
    # killed, would be waited for without end.
    folder = None if setting.cluster else store_folder().absolute()
    with _workers(setting.cluster):
        how: dict = {"return_as": "generator_unordered", "batch_size": 1}
        parallel = Parallel(n_jobs=-1 if setting.cluster else jobs, **how)
        work = parallel(
            delayed(_train_named)(
                name, canaries[id(run.model)], own, run, run.pairs(setting.digits), described[name], folder
            )
            for name, run in missing.items()
        )
        try:
            for name, result in _progress(work, len(missing)):
                if result:
                    store_run(name, described[name], result, store_folder())
        except BrokenProcessPool:
            raise InputError(
                f"jobs: a worker process died, perhaps for want of memory; {_finished(missing)}, and fewer jobs than "
                f"{jobs} need less memory."
            ) from None
        except KeyboardInterrupt:
            raise Interrupted(f"{_finished(missing)}; run it again to go on.") from None
        finally:
            with suppress(ValueError):  # "already executing": it is being closed
                work.close()  # pyright: ignore[reportAttributeAccessIssue]  # a generator, by return_as


def _finished(names: Iterable[str]) -> str:
    stored = [is_stored(name) for name in names]
    return f"{sum(stored)} of {len(stored)} runs are finished and kept"


def _progress(work: Iterable, total: int) -> Iterable:
    """A bar where a person watches, else a line of a log every ten seconds at most."""
    bar = {"total": total, "unit": "run", "leave": False}
    if not (is_live() or sys.stderr.isatty()):
        bar |= {"mininterval": 10, "maxinterval": 10**9, "bar_format": "{n_fmt} of {total_fmt} runs, {remaining} left"}
    return tqdm(work, **bar)


@contextmanager
def _workers(cluster: str) -> Iterator[None]:
    """Where joblib's work goes: to the cluster at this address, or to this machine, whose workers stay for more."""
    here = {"backend": "loky", "initializer": begin_worker, "initargs": (os.getpid(),)}
    with _cluster(cluster) if cluster else parallel_config(**here), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*tasks.* were still", category=UserWarning)  # closed early
        yield


def _train_named(
    name: str, expected: tuple, own: list[dict], run: Run, pairs: dict, description: dict, folder: Path | None
) -> tuple[str, Trained | None]:
    """Train a run in a worker whose canary is as `expected`; store it in the folder or, without one, return it."""
    for table, entries in zip(TABLES, own, strict=True):
        table.update(entries)
    if (checked := (expected, repr(run.model))) not in _CHECKED:
        if not same_canary(canary(run.model), expected):
            raise InputError(
                "A worker has loaded other code of this project than this process, or another version of torch; start "
                "the kernel (or the cluster's workers) again."
            )
        _CHECKED.add(checked)
    trained = train_run(run, pairs, description["device"])
    if folder is None:
        return name, trained
    store_run(name, description, trained, folder)
    return name, None


def begin_worker(parent: int) -> None:
    """Leave Ctrl-C to the process that gives out the work, `parent`, and end when that is gone, even if killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch():
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _cluster(address: str) -> Iterator[None]:
    """Where joblib's work goes to a Dask cluster. Raises InputError where there is none."""
    try:
        from distributed import Client

        client = Client(address, timeout="10s")
        if not client.scheduler_info()["workers"]:
            client.wait_for_workers(1, timeout=10)
    except (ImportError, OSError, ValueError, TimeoutError) as error:
        why = "no Dask scheduler with workers answers there; allowed is an address such as tcp://127.0.0.1:8786"
        if isinstance(error, ImportError):
            why = "Dask is not installed; install this project with its extra [cluster]"
        raise InputError(f"cluster: {address!r} was given, but {why}.") from None
    with client, parallel_config(backend="dask"):
        yield

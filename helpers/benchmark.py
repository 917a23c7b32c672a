"""make benchmark: what an epoch costs here, beside a plain loop, a trainer library and the machine's own limit.

Everything is measured in one sitting, in turns, so that a machine whose speed drifts slows all alike; medians are
printed as a table and drawn as figures/benchmark.png. Timings decide nothing: no test looks at them.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from joblib import cpu_count
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, TensorDataset

from helpers import experiments, plots, store
from helpers.data import Pairs
from helpers.inputs import ROOT
from helpers.models import Architecture, build
from helpers.training import evaluate, make_optimizer, train_epoch

TURNS = 5
SEED = 0


def time_epochs(model: experiments.Model, pairs: dict[str, Pairs]) -> tuple[float, float]:
    """Milliseconds of one epoch's training and of measuring it on both sets, with this project's code, of the third."""
    torch.set_num_threads(1)
    network = build(model.architecture)
    optimizer = make_optimizer(model.recipe, network)
    for epoch in (1, 2, 3):
        began = time.perf_counter()
        train_epoch(network, optimizer, model.recipe, pairs["train"], epoch)
        trained = time.perf_counter()
        for part in pairs.values():
            evaluate(network, part)
        measured = time.perf_counter()
    return 1000 * (trained - began), 1000 * (measured - trained)


class PlainM4(nn.Module):
    """M4 as a student would write it: default layout, each digit passed through by itself."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 16, 3), nn.Conv2d(16, 16, 2)
        self.norm, self.pool, self.dropout = nn.BatchNorm2d(16), nn.MaxPool2d(2, 1), nn.Dropout2d(0.5)
        self.hidden, self.digit, self.compare = nn.Linear(1600, 20), nn.Linear(20, 10), nn.Linear(20, 2)

    def branch(self, x):
        x = self.dropout(F.relu(self.norm(self.first(x))))
        x = self.dropout(self.pool(F.relu(self.norm(self.second(x)))))
        return self.digit(F.relu(self.hidden(x.flatten(1))))

    def forward(self, images):
        first, second = self.branch(images[:, :1]), self.branch(images[:, 1:])
        return self.compare(torch.cat([first, second], 1)), first, second


def plain_epoch(model: PlainM4, optimizer, train: TensorDataset, test: TensorDataset) -> None:
    """One epoch of the plain loop, with its measuring: DataLoaders, and a number fetched at every batch."""
    criterion = nn.CrossEntropyLoss()
    model.train()
    for images, digits, labels in DataLoader(train, batch_size=25, shuffle=True):
        comparison, first, second = model(images)
        loss = criterion(comparison, labels) + criterion(first, digits[:, 0]) + criterion(second, digits[:, 1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        for part in (train, test):
            right = total = 0.0
            for images, _, labels in DataLoader(part, batch_size=25):
                comparison, _, _ = model(images)
                total += criterion(comparison, labels).item()
                right += (comparison.argmax(1) == labels).sum().item()


def plain_milliseconds(pairs: dict[str, Pairs], epochs: int) -> float:
    """Milliseconds an epoch of the plain loop in this process, with torch's default threads."""
    train, test = (TensorDataset(p.images, p.digits, p.labels) for p in (pairs["train"], pairs["test"]))
    model = PlainM4()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.7)
    plain_epoch(model, optimizer, train, test)
    began = time.perf_counter()
    for _ in range(epochs):
        plain_epoch(model, optimizer, train, test)
    return 1000 * (time.perf_counter() - began) / epochs


def skorch_milliseconds(pairs: dict[str, Pairs], epochs: int) -> float:
    """Milliseconds an epoch of skorch's trainer on the same network, measuring on both sets after each epoch."""
    from skorch import NeuralNet
    from skorch.callbacks import EpochScoring
    from skorch.helper import predefined_split

    class AllLosses(nn.Module):
        def forward(self, outputs, target):
            comparison, first, second = outputs
            loss = F.cross_entropy(comparison, target[:, 0]) + F.cross_entropy(first, target[:, 1])
            return loss + F.cross_entropy(second, target[:, 2])

    def sets(part):
        return part.images, torch.cat([part.labels.unsqueeze(1), part.digits], dim=1)

    def accuracy(net, dataset, target=None):
        shown, wanted = sets(pairs["train"] if dataset is not pairs["held"] else pairs["test"])
        return (net.forward(shown)[0].argmax(1) == wanted[:, 0]).float().mean().item()

    pairs = pairs | {"held": TensorDataset(*sets(pairs["test"]))}
    net = NeuralNet(
        PlainM4, AllLosses, optimizer=torch.optim.SGD, lr=0.01, optimizer__momentum=0.7, batch_size=25, verbose=0,
        max_epochs=1, iterator_train__shuffle=True, train_split=predefined_split(pairs["held"]), warm_start=True,
        callbacks=[EpochScoring(accuracy, name="train_accuracy", on_train=True, use_caching=False),
                   EpochScoring(accuracy, name="test_accuracy", use_caching=False)],
    )  # fmt: skip
    net.fit(*sets(pairs["train"]))
    net.set_params(max_epochs=epochs)
    began = time.perf_counter()
    net.partial_fit(*sets(pairs["train"]))
    return 1000 * (time.perf_counter() - began) / epochs


def count_operations(architecture: Architecture) -> float:
    """Floating-point operations of one example's forward pass, convolutions and linear layers only."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        build(architecture).eval()(torch.zeros(1, architecture.images, 14, 14))
    return counter.get_total_flops()


def peak_operations() -> float:
    """Floating-point operations a second of one thread: its best product of two matrices of 1,024 × 1,024."""
    torch.set_num_threads(1)
    a, b = torch.randn(2, 1024, 1024)
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - began)
    return 2 * 1024**3 / min(seconds)


def limit_milliseconds(architecture: Architecture, pairs: dict[str, Pairs], peak: float) -> float:
    """An epoch's operations at the machine's peak: training counts thrice (forward, two gradients), measuring once."""
    forward = count_operations(architecture)
    operations = forward * (3 * len(pairs["train"]) + len(pairs["train"]) + len(pairs["test"]))
    return 1000 * operations / peak


def shares_of_time(model: experiments.Model, pairs: dict[str, Pairs], rows: int = 10) -> pd.Series:
    """Which share of an epoch, in percent, each of torch's operations takes, in training and measuring; the largest."""
    network = build(model.architecture)
    optimizer = make_optimizer(model.recipe, network)
    train_epoch(network, optimizer, model.recipe, pairs["train"], 1)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        train_epoch(network, optimizer, model.recipe, pairs["train"], 2)
        for part in pairs.values():
            evaluate(network, part)
    taken = pd.Series({row.key: row.self_cpu_time_total for row in profiled.key_averages()})
    return (100 * taken / taken.sum()).nlargest(rows)


def seconds_of(models: list, setting: experiments.Setting) -> float:
    """Seconds to train `models` in all rounds of `setting` from an empty store, workers' start included."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[store.FOLDER_VARIABLE] = folder
        began = time.perf_counter()
        experiments.run_rounds(models, setting)
        return time.perf_counter() - began


def with_workers(setting: experiments.Setting, models: list, workers: int) -> float:
    """Seconds of the same through Dask: a scheduler and `workers` one-thread processes on the loopback address."""
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:
        with Client(cluster) as client:
            client.run(the_pairs)  # so that every worker has imported torch
        return seconds_of(models, replace(setting, cluster=cluster.scheduler_address))


def in_a_process(function: str, *arguments: str) -> float:
    """What `function` of this module gives in a fresh process with torch's default threads."""
    code = f"from helpers import benchmark as b; print(b.{function}(b.the_pairs(), {', '.join(arguments)}))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return float(result.stdout.split()[-1])


def the_pairs() -> dict[str, Pairs]:
    setting = experiments.setting("auto")
    (m5,) = experiments.read_models("m5")
    return experiments.Run(m5, SEED, 0).pairs(setting.digits)


def main() -> None:
    os.environ[experiments.LOG_VARIABLE] = "1"  # no bars among the tables
    setting = experiments.setting("auto")
    models = {m.name: m for name in ("convnet", "m6") for m in experiments.read_models(name)}
    models |= {name: experiments.find_model(experiments.read_models(name), "both") for name in ("mlp", "conv")}
    shown = {name: models[name] for name in ("M4", "M6", "mlp", "conv")}
    pairs = experiments.Run(models["M4"], SEED, 0).pairs(setting.digits)
    times = {name: [] for name in (*shown, "peak", "plain", "skorch", "throughput")}
    whole = replace(models["M4"], recipe=replace(models["M4"].recipe, epochs=25))
    short = replace(whole, recipe=replace(whole.recipe, epochs=5))
    for _ in range(TURNS):
        times["peak"].append(peak_operations())
        for name, model in shown.items():
            times[name].append(time_epochs(model, pairs))
        times["plain"].append(in_a_process("plain_milliseconds", "3"))
        times["skorch"].append(in_a_process("skorch_milliseconds", "3"))
        # Eight runs through all cores, start of the workers included, as an epoch of one of them.
        times["throughput"].append(1000 * seconds_of([whole], replace(setting, rounds=8)) / (8 * 25))
    rows, peak = [], float(np.median(times["peak"]))
    for name, model in shown.items():
        trained, measured = np.median(times[name], axis=0)
        limit = limit_milliseconds(model.architecture, pairs, peak)
        epoch = trained + measured
        rows.append({"what": f"{name}, one thread", "training": trained, "measuring": measured, "epoch": epoch})
        rows[-1] |= {"limit": limit, "times the limit": epoch / limit}
    every = float(np.median(times["throughput"]))
    plain, skorch = (float(np.median(times[name])) for name in ("plain", "skorch"))
    rows.append({"what": f"M4, all {cpu_count()} cores, per run", "epoch": every})
    rows.append({"what": "M4, plain loop, default threads", "epoch": plain})
    rows.append({"what": "M4, skorch, default threads", "epoch": skorch})
    table = pd.DataFrame(rows).set_index("what")
    origin = (
        f"{setting.digits.name}; 1,000 pairs; median of {TURNS} turns; {cpu_count()} cores, torch {torch.__version__}; "
        f"red: the same operations at the limit of one thread, {peak / 1e9:.0f} GFLOP/s"
    )
    print(f"Milliseconds an epoch. {origin}")
    print(table.round(1).to_string(na_rep=""))
    print(f"Throughput against the plain loop: {plain / every:.1f} times; against skorch: {skorch / every:.1f} times")
    jobs = {n: seconds_of([whole], replace(setting, rounds=8, jobs=n)) for n in range(1, cpu_count() + 1)}
    rounds = {n: seconds_of([short], replace(setting, rounds=n)) for n in (1, 5, 10, 20, 40)}
    widths = {w: sum(time_epochs(experiments.with_width(models["mlp"], w), pairs)) for w in (100, 200, 400, 600)}
    workers = {n: with_workers(replace(setting, rounds=8), [whole], n) for n in range(1, cpu_count() + 1)}
    print("Where M4's epoch goes (%), one thread")
    print(shares_of_time(models["M4"], pairs).round(1).to_string())
    growth = {
        "jobs (8 runs of 25 epochs, s)": jobs,
        "rounds (5 epochs each, s)": rounds,
        "width of mlp (an epoch, ms)": widths,
        "Dask workers (8 runs of 25 epochs, s)": workers,
    }
    print(pd.concat({name: pd.Series(values) for name, values in growth.items()}).round(2).to_string())
    draw(table, growth, origin)


def draw(table: pd.DataFrame, growth: dict[str, dict], origin: str) -> None:
    """Bars of an epoch's time above; below, how the time grows with each of `growth`."""
    plots.set_theme()
    figure = plt.figure(figsize=(plots.WIDTH, 6.4))
    above, below = figure.subfigures(2, 1, height_ratios=(3, 2))
    bars = above.subplots()
    bars.barh(table.index[::-1], table.epoch[::-1], color="0.75", edgecolor="0.4")
    for row, line in enumerate(table[::-1].itertuples()):
        bars.annotate(f" {line.epoch:.0f}", (line.epoch, row), va="center")
        bars.plot([line.limit] * 2, [row - 0.4, row + 0.4], color="C3", linewidth=2.5)
    bars.set(xlabel="milliseconds an epoch", xlim=(0, 1.1 * table.epoch.max()))
    bars.grid(axis="y", visible=False)
    for (name, values), ax in zip(growth.items(), below.subplots(1, len(growth)), strict=True):
        ax.plot(list(values), list(values.values()), "o-", color="C0")
        subject, _, rest = name.rstrip(")").partition(" (")
        what, _, unit = rest.rpartition(", ")
        ax.set(xlabel=f"{subject}\n({what})", ylabel=unit, ylim=(0, None), xticks=list(values))
    above.suptitle(origin.replace("; red", ";\nred"), fontsize="small")
    (ROOT / "figures").mkdir(exist_ok=True)
    figure.savefig(ROOT / "figures" / "benchmark.png", dpi=200)


if __name__ == "__main__":
    main()

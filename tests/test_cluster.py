"""The same runs through a real Dask scheduler and two worker processes on the loopback address."""

import os
import signal
import threading
import time
from dataclasses import replace

import pytest
from distributed import Client, LocalCluster

from helpers import runs
from helpers.architectures import read_models
from helpers.experiments import run_rounds
from helpers.inputs import InputError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster():
    options = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    with LocalCluster(**options) as cluster:
        yield cluster


@pytest.fixture
def models():
    return read_models("mlp", epochs=8)


def test_a_cluster_gives_the_same_bytes_and_a_killed_worker_costs_only_time(
    cluster, models, setting, monkeypatch, tmp_path
):
    local = run_rounds(models, setting).to_csv()
    monkeypatch.setenv(runs.STORE_VARIABLE, str(tmp_path / "cluster"))
    remote = replace(setting, cluster=cluster.scheduler_address)
    assert run_rounds(models, remote).to_csv() == local

    monkeypatch.setenv(runs.STORE_VARIABLE, str(tmp_path / "killed"))
    with Client(cluster.scheduler_address) as client:
        victim = next(iter(client.run(os.getpid).values()))

    def kill_in_mid_run():
        while not list((tmp_path / "killed").glob("*.run")):
            time.sleep(0.02)
        os.kill(victim, signal.SIGKILL)

    threading.Thread(target=kill_in_mid_run, daemon=True).start()
    assert run_rounds(models, remote).to_csv() == local
    assert len(list((tmp_path / "killed").glob("*.run"))) == 8


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense"])
def test_no_scheduler_is_one_sentence(models, setting, address):
    with pytest.raises(
        InputError, match=f"cluster: '{address}' was given, but no Dask scheduler with workers answers there"
    ):
        run_rounds(models, replace(setting, cluster=address))


def test_a_scheduler_without_workers_is_one_sentence(models, setting):
    message = "no Dask scheduler with workers answers there"
    idle = LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=None)
    with idle, pytest.raises(InputError, match=message):
        run_rounds(models, replace(setting, cluster=idle.scheduler_address))

"""Whatever ends a study early ends it in one sentence, with no worker left and all that is finished kept."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from helpers.inputs import ROOT
from helpers.runs import STORE_VARIABLE

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")]
# Runs that are long enough to be in the middle of; a marker in the environment finds all processes of one test.
SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a test run in the background has ignored
sys.path.insert(0, {tests!r})
from conftest import made_digits
from helpers.architectures import read_models
from helpers.experiments import Setting, run_rounds
from helpers.inputs import InputError, Interrupted
try:
    run_rounds(read_models("mlp", epochs={epochs}), Setting(made_digits(2000, 2000), rounds=3, jobs=2))
except (InputError, Interrupted) as error:
    sys.exit(str(error))
"""


def begin(run_store, epochs=10, *before):
    script = SCRIPT.format(tests=str(ROOT / "tests"), epochs=epochs)
    environment = os.environ | {STORE_VARIABLE: str(run_store), "PYTHONPATH": str(ROOT)}
    command = [*before, sys.executable, "-c", script]
    return subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def processes_of(run_store) -> list[int]:
    """Processes that carry this store in their environment: the script and its workers, not joblib's tracker."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as environ, open(f"/proc/{pid}/cmdline", "rb") as command:
                if str(run_store).encode() in environ.read() and b"resource_tracker" not in command.read():
                    found.append(int(pid))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def state_of(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0]


def wait_until(condition, process=None):
    """Wait without a clock's judgement: as long as the test runner lets us, or until the process has ended."""
    while not condition():
        assert process is None or process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


def last_line(process) -> str:
    return process.communicate()[1].strip().splitlines()[-1]


def kept(run_store) -> int:
    return len(list(run_store.glob("*.run")))


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare, to mount a small file system")
def test_a_full_disk_ends_in_one_sentence(tmp_path):
    """A real file system of 2.5 MB, which is full after the first runs."""
    runs = tmp_path / "small"
    runs.mkdir()
    mount = f"mount -t tmpfs -o size=2500k tmpfs {runs} && exec "
    probe = subprocess.run(["unshare", "--map-root-user", "--mount", "sh", "-c", mount + "true"], capture_output=True)
    if probe.returncode:
        pytest.skip("this machine lets nobody mount a file system")
    process = begin(runs, 1, "unshare", "--map-root-user", "--mount", "sh", "-c", mount + '"$@"', "sh")
    assert "RUN_STORE" in (said := last_line(process)), said
    assert "allowed is one that can be written to (No space left on device)." in said
    assert process.returncode == 1
    wait_until(lambda: processes_of(runs) == [])


def test_a_worker_that_dies_ends_in_one_sentence_and_the_rest_is_kept(run_store):
    process = begin(run_store)
    wait_until(lambda: kept(run_store) >= 1, process)
    workers = [pid for pid in processes_of(run_store) if pid != process.pid]
    os.kill(workers[0], signal.SIGKILL)
    said = last_line(process)
    assert said.startswith("jobs: a worker process died, perhaps for want of memory; ")
    assert "fewer jobs than 2 need less memory." in said
    assert process.returncode == 1
    wait_until(lambda: processes_of(run_store) == [])
    assert kept(run_store) >= 1


def test_a_worker_that_dies_while_it_answers_is_noticed(run_store):
    """While the process that gives out the work stands still, an answer larger than a pipe holds could not be sent."""
    process = begin(run_store)
    wait_until(lambda: kept(run_store) >= 1, process)
    workers = [pid for pid in processes_of(run_store) if pid != process.pid]
    process.send_signal(signal.SIGSTOP)
    still = 0
    while still < 40:  # two seconds in which no worker computes
        still = still + 1 if all(state_of(pid) == "S" for pid in workers) else 0
        time.sleep(0.05)
    os.kill(workers[0], signal.SIGKILL)
    process.send_signal(signal.SIGCONT)
    assert last_line(process).startswith("jobs: a worker process died, perhaps for want of memory; ")
    assert process.returncode == 1
    wait_until(lambda: processes_of(run_store) == [])


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_study_leaves_no_worker_and_goes_on_where_it_stopped(how, run_store):
    process = begin(run_store, 10)
    wait_until(lambda: kept(run_store) >= 2, process)
    process.send_signal(how)
    said = process.communicate()[1]
    assert process.returncode != 0
    if how == signal.SIGINT:
        assert said.strip().endswith("of 12 runs are finished and kept; run it again to go on.")
        assert "Traceback" not in said
    wait_until(lambda: processes_of(run_store) == [])
    before = {path: path.stat().st_mtime_ns for path in run_store.glob("*.run")}
    assert 2 <= len(before) < 12
    again = begin(run_store, 10)
    said = again.communicate()[1]
    assert again.returncode == 0
    assert f"{len(before)} stored, {12 - len(before)} trained now" in said
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert kept(run_store) == 12

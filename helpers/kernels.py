"""Kernels forked from a process that has imported already what notebooks import, so that each starts at once."""

import multiprocessing
import os
import signal
import sys
import threading

from jupyter_client import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

IMPORTED = ["ipykernel.kernelapp", "helpers", "helpers.output", "helpers.architectures"]  # and all that these import


class ForkedKernelManager(AsyncKernelManager):
    """For nbclient and papermill, as their `kernel_manager_class`."""

    async def _async_pre_start_kernel(self, **options):
        self.provisioner = _Forked(kernel_id=self.kernel_id, kernel_spec=self.kernel_spec, parent=self)
        return await super()._async_pre_start_kernel(**options)


class _Forked(LocalProvisioner):
    """Starts a kernel by a fork of Python's own fork server, one for each process that runs notebooks."""

    async def launch_kernel(self, cmd: list[str], **options):
        os.environ["MPLBACKEND"] = options["env"]["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(IMPORTED)
        arguments = cmd[cmd.index("-f") :]
        process = context.Process(target=_serve, args=(arguments, options.get("cwd"), options["env"]))
        process.start()
        self.process, self.pid, self.pgid = _Child(process), process.pid, process.pid
        return self.connection_info


class _Child:
    """What a kernel's manager asks of a subprocess, asked of a process of multiprocessing."""

    stdin = stdout = stderr = None

    def __init__(self, process):
        self.process = process

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self) -> int | None:
        self.process.join()
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()  # not the fork server, which lives as long as one of its forks
    os._exit(1)


def _serve(arguments: list[str], folder: str | None, environment: dict) -> None:
    """In the forked process: be a kernel."""
    from ipykernel import kernelapp

    os.setsid()  # as a kernel that is started by itself: Ctrl-C in the terminal is for who runs the notebooks
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ |= environment
    if folder:
        os.chdir(folder)
    sys.argv = ["ipykernel_launcher", *arguments]
    kernelapp.launch_new_instance()

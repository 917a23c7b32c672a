"""Kernels forked from a process that has imported already what notebooks import, so that each starts at once."""

import multiprocessing
import os
import sys
import threading

from jupyter_client import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

IMPORTED = [
    "ipykernel.kernelapp",
    "helpers.kernels",
    "helpers.output",
    "helpers.architectures",
]  # and what these import
# Python's own fork server, one for each process that runs notebooks; elsewhere kernels start anew.
FORKS = multiprocessing.get_context("forkserver" if sys.platform == "linux" else None)


class ForkedKernelManager(AsyncKernelManager):
    """For nbclient and papermill, as their `kernel_manager_class`."""

    async def _async_pre_start_kernel(self, **options):
        self.provisioner = _Forked(kernel_id=self.kernel_id, kernel_spec=self.kernel_spec, parent=self)
        return await super()._async_pre_start_kernel(**options)


class _Forked(LocalProvisioner):
    async def launch_kernel(self, cmd: list[str], **options):
        os.environ["MPLBACKEND"] = options["env"]["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
        FORKS.set_forkserver_preload(IMPORTED)
        self.process = _Kernel(args=(cmd[cmd.index("-f") :], options.get("cwd"), options["env"]), target=_serve)
        self.process.start()
        self.pid = self.pgid = self.process.pid
        return self.connection_info


class _Kernel(FORKS.Process):
    """A process that answers to what a kernel's manager asks of a subprocess."""

    stdin = stdout = stderr = None

    def poll(self) -> int | None:
        return self.exitcode

    def wait(self) -> int | None:
        self.join()
        return self.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


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


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()  # not the fork server, which lives as long as one of its forks
    os._exit(1)

"""What a worker process does first, whoever started it for whatever work."""

import os
import signal
import threading
import time


def begin(parent: int) -> None:
    """Leave Ctrl-C to the process that gives out the work, `parent`, and end when that is gone, even if killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch():
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

"""How a command ends when it is told to stop: Ctrl-C and SIGTERM both reach it as KeyboardInterrupt.

with terminable():
    try:
        work()
    except KeyboardInterrupt as stop:
        print("stopped; the same command goes on", file=sys.stderr)
        return exit_status(stop)  # 130 or 143
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised where Ctrl-C would raise KeyboardInterrupt."""


@contextmanager
def terminable() -> Iterator[None]:
    """Inside, SIGTERM raises `Terminated` in the main thread; elsewhere than there nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number, frame):
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_status(stop: KeyboardInterrupt) -> int:
    """What a shell expects of a process that ended by this signal: 143 for SIGTERM, 130 for Ctrl-C."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)

"""How commands end on bad input: one line that names the file and the cure, not the way to where it arose.

    with exit_on_error("caan push", hint="to go on: caan push ..."):
        ...

Exit status: 1 on bad input, 130 after Ctrl-C, 143 after SIGTERM, 141 where nobody reads the output any more (`| head`).
CAAN_TRACEBACK=1 in the environment brings tracebacks back.
"""

import difflib
import errno
import os
import re
import select
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

USER_ERRORS = (ValueError, OSError, ImportError)  # what the package raises on bad input; most else is a bug
WORKER = re.compile(r"DataLoader worker \(pid[^)]*\) .*(killed by signal|exited unexpectedly)", re.DOTALL)


class Terminated(BaseException):
    """SIGTERM reached the process."""


@contextmanager
def exit_on_error(prog: str, hint: str | Callable[[], str] | None = None) -> Iterator[None]:
    """Ends the program with one line on an error of the user's input, on Ctrl-C and on SIGTERM.

    Args:
        prog: what the line begins with. hint: of a stop, what is kept and which command goes on.

    Raises SystemExit.
    """
    with sigterm_raises():
        try:
            yield
            if sys.stdout is not None:
                sys.stdout.flush()  # what cannot be written is told here, not when Python ends
        except KeyboardInterrupt:
            stop(prog, 130, hint)
        except Terminated:
            stop(prog, 143, hint)
        except Exception as error:
            if isinstance(error, BrokenPipeError) and output_is_closed():
                raise SystemExit(141) from None
            message = explain(error)
            if message is None or os.environ.get("CAAN_TRACEBACK"):
                raise
            print(f"\n{prog}: error: {message}", file=sys.stderr)
            raise SystemExit(1) from None


def output_is_closed() -> bool:
    """Whether nobody reads standard output any more; what is left of it is then thrown away, so that Python can end."""
    try:
        sys.stdout.flush()
        asked = select.poll()  # without a buffer there is nothing to flush; Windows has no poll
        asked.register(sys.stdout.fileno(), 0)
        closed = any(event & select.POLLERR for _, event in asked.poll(0))
    except BrokenPipeError:
        closed = True
    except (AttributeError, OSError):
        closed = False
    if closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return closed


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """SIGTERM raises `Terminated` inside, so that files are closed and locks let go; only the main thread can ask for it."""

    def raise_terminated(number, frame):
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def stop(prog: str, status: int, hint: str | Callable[[], str] | None) -> None:
    """Says that the program was stopped, and how to go on. Raises SystemExit."""
    text = hint() if callable(hint) else hint
    print(f"\n{prog}: stopped{f'; {text}' if text else ''}", file=sys.stderr)
    raise SystemExit(status) from None


def explain(error: BaseException) -> str | None:
    """What a user needs to know of an error, in one message; None for what must be a bug."""
    message = str(error)
    if WORKER.search(message):
        return (
            "a process that reads pictures was killed, mostly for want of memory: lower --num_workers or the batch, or take "
            "--num_workers 0."
        )
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return f"out of memory: lower the batch or the image size. ({message.splitlines()[0] if message else 'no details'})"
    if no_space(error):
        return f"{message} Free some space on that disk."
    if type(error).__name__ == "SafetensorError":
        return f"{message} The file of weights is damaged: download or write it again."
    if not isinstance(error, USER_ERRORS):
        return None
    if message.startswith("Caught "):  # from a loader's worker, which sends its traceback as the message
        message = message.rstrip().rpartition(f"\n{type(error).__name__}: ")[2]
    return message


def no_space(error: BaseException) -> bool:
    """Whether a disk was full, by the error's number or by the words of libraries that drop it."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    return full or bool(re.search(r"No space left on device|StorageFull|PytorchStreamWriter failed writing", str(error)))


def refuse_unknown(problem: str, names: Iterable[str], known: Collection[str]) -> None:
    """Raises ValueError for a name that is not known, with the nearest one that is."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            raise ValueError(f"{problem} {name!r}{f', did you mean {near[0]!r}?' if near else '.'}")


@contextmanager
def naming(option: str, value: str) -> Iterator[None]:
    """Errors of loading from the Hub or a folder begin with the option that named it, on one line, whatever a broken file
    raises."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{option} {value!r} cannot be loaded: {' '.join(str(error).split())}") from error

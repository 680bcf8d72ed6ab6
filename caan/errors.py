"""How the scripts end on bad input: one clear message and exit status 1, as a user needs it, not the way to where it arose."""

import difflib
import os
import sys
import traceback
from collections.abc import Collection, Iterable
from contextlib import contextmanager

USER_ERRORS = (ValueError, OSError, ImportError)  # what the package raises on bad input; anything else is a bug


def explain_errors() -> None:
    """From now on an error of `USER_ERRORS` that ends the program is printed without its traceback."""
    sys.excepthook = print_error


def print_error(kind: type[BaseException], error: BaseException, trace) -> None:
    """An exception hook. The environment variable CAAN_TRACEBACK brings the traceback back."""
    if not issubclass(kind, USER_ERRORS) or os.environ.get("CAAN_TRACEBACK"):
        traceback.print_exception(kind, error, trace)
        return
    message = str(error)
    if message.startswith("Caught "):  # from a loader's worker, which sends its traceback as the message
        message = message.rstrip().rpartition(f"\n{kind.__name__}: ")[2]
    print(f"\nerror: {message}\n(CAAN_TRACEBACK=1 shows where it arose.)", file=sys.stderr)


def refuse_unknown(problem: str, names: Iterable[str], known: Collection[str]) -> None:
    """Raises ValueError for a name that is not known, with the nearest one that is."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            raise ValueError(f"{problem} {name!r}{f', did you mean {near[0]!r}?' if near else '.'}")


@contextmanager
def naming(option: str, value: str):
    """Errors of loading from the Hub or a folder begin with the option that named it: the Hub's own may not."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise ValueError(f"{option} {value!r} cannot be loaded: {error}") from error

"""train.py and eval.py as the tests run them, and the one finished run that many tests look at.

In this process a script takes a second; an interpreter of its own takes ten to import torch and transformers.
"""

import functools
import io
import os
import runpy
import subprocess
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from accelerate import debug_launcher
from accelerate.state import AcceleratorState, GradientState
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from trees import make_shapes, shape_options

ROOT = Path(__file__).resolve().parents[2]


class Run(NamedTuple):
    """A finished run of a script: its variables and what it printed."""

    variables: dict
    stdout: str


def run_script(name: str, arguments: list[str]) -> Run:
    """Runs a script of the repository in this process."""
    output = io.StringIO()
    with script_process(name, arguments), redirect_stdout(output):
        variables = runpy.run_path(str(ROOT / name), run_name="__main__")
    return Run(variables, output.getvalue())


def run_to_error(name: str, arguments: list[str]) -> str:
    """What a user reads when the script ends on an error."""
    output = io.StringIO()
    with script_process(name, arguments), redirect_stderr(output), redirect_stdout(io.StringIO()):
        try:
            runpy.run_path(str(ROOT / name), run_name="__main__")
        except SystemExit as error:
            assert error.code
        except Exception:
            sys.excepthook(*sys.exc_info())
        else:
            raise AssertionError("the script ended without an error")
    return output.getvalue()


@contextmanager
def script_process(name: str, arguments: list[str]):
    """Gives and takes back what a script sees and changes: its arguments, its exception hook, Accelerate's singletons."""
    forget_accelerate()
    with mock.patch.multiple(sys, argv=[name, *arguments], excepthook=sys.__excepthook__):
        yield
    forget_accelerate()


def forget_accelerate() -> None:
    """The next Accelerator is the first of this process again."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def in_two_processes(function, *arguments) -> None:
    """Runs a function in two processes that Accelerate joins by gloo."""
    forget_accelerate()
    debug_launcher(function, arguments, num_processes=2)


def run_process(*command, **environment) -> subprocess.CompletedProcess:
    """Runs a Python command line in an interpreter of its own, in the repository's root."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, env=env, capture_output=True, text=True, timeout=280)


@functools.cache
def shapes() -> Path:
    """The tree of shapes, made once."""
    return make_shapes(Path(os.environ["HF_HOME"]) / "shapes")


@functools.cache
def finished() -> tuple[Path, Run]:
    """A run of train.py that nothing disturbed, ten steps in two epochs, made once: its folder, and what is left of it."""
    folder = Path(os.environ["HF_HOME"]) / "finished"
    return folder, run_script("train.py", shape_options(shapes(), folder))


def train(folder: Path, **options) -> dict:
    """A run of train.py on the shapes in this process; its variables."""
    return run_script("train.py", shape_options(shapes(), folder, **options)).variables


def tensors(folder: Path) -> dict:
    """The weights of a finished folder."""
    return load_file(folder / "model.safetensors")


def scalars(folder: Path) -> dict[str, list[float]]:
    """What the tensorboard tracker wrote, in the order of the steps."""
    events = EventAccumulator(str(folder / "caan"))
    events.Reload()
    return {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}

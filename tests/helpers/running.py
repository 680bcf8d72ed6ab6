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

from caan.parsing import parse_options
from caan.training.command import FAMILIES
from caan.training.run import TrainingRun

ROOT = Path(__file__).resolve().parents[2]


class Run(NamedTuple):
    """A finished run: the `TrainingRun`, or None of a script that has none, and what was printed."""

    training: TrainingRun | None
    stdout: str


def run_training(arguments: list[str]) -> Run:
    """`train.py` in this process, with the run that it made."""
    output = io.StringIO()
    with script_process("train.py", arguments), redirect_stdout(output):
        run = TrainingRun(*parse_options(*FAMILIES, argv=[str(argument) for argument in arguments]))
        run.train()
    return Run(run, output.getvalue())


def run_script(name: str, arguments: list[str]) -> Run:
    """Runs a script of the repository in this process, as a user does."""
    output = io.StringIO()
    with script_process(name, arguments), redirect_stdout(output):
        try:
            runpy.run_path(str(ROOT / name), run_name="__main__")
        except SystemExit as end:
            assert not end.code, f"{name} ended with {end.code}"
    return Run(None, output.getvalue())


def run_to_error(name: str, arguments: list[str]) -> str:
    """What a user reads when the script ends on an error."""
    output = io.StringIO()
    with script_process(name, arguments), redirect_stderr(output), redirect_stdout(io.StringIO()):
        try:
            runpy.run_path(str(ROOT / name), run_name="__main__")
        except SystemExit as error:
            assert error.code, "the script ended without an error"
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
    return folder, run_training(shape_options(shapes(), folder))


def train(folder: Path, **options) -> TrainingRun:
    """A run of train.py on the shapes in this process."""
    return run_training(shape_options(shapes(), folder, **options)).training


def listed(folder: Path) -> set[str]:
    """Names of what lies in a run's `checkpoints`, without the lock and the record."""
    return {path.name for path in (folder / "checkpoints").iterdir() if path.name not in (".lock", "training.json")}


def tensors(folder: Path) -> dict:
    """The weights of a finished folder."""
    return load_file(folder / "model.safetensors")


def scalars(folder: Path) -> dict[str, list[float]]:
    """What the tensorboard tracker wrote, in the order of the steps."""
    events = EventAccumulator(str(folder / "caan"))
    events.Reload()
    return {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}

"""A run that is killed by SIGKILL at any moment ends as if it had not been.

python -m pytest tests/training/test_kills.py -m slow

The run whitens and keeps the best weights. Half of the kills are between two calls that change files (every save is a row of
these), spread over the run; half are at a time drawn from a seed. Processes are forked, so that none imports torch again.
"""

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from running import forget_accelerate, listed, run_training, shapes
from trees import shape_options

KILLS = int(os.environ.get("CAAN_KILLS", "50"))
CHANGES = ((os, "fsync"), (os, "replace"), (Path, "rename"), (shutil, "rmtree"), (shutil, "copyfile"), (Path, "write_text"))
OPTIONS = {"checkpointing_steps": 2, "model_config": {"whitening": 0.5}}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="forks"), pytest.mark.timeout(3000)]


def forked(function: Callable[[], None]) -> int:
    """The process number of a copy of this process that runs `function` and nothing else."""
    child = os.fork()
    if child:
        return child
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (the process ends with it)
    try:
        forget_accelerate()
        function()
    except BaseException:
        os._exit(1)
    os._exit(0)


def ended(child: int) -> int:
    """The exit status of a process, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(folder: Path, kill_at: int = 0, resume: bool = True) -> None:
    """A run that kills itself before the change of files number `kill_at`, from 1; 0 = never. Writes how many there were."""
    count = 0

    def counting(original):
        def change(*args, **kwargs):
            nonlocal count
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        return change

    for owner, name in CHANGES:
        setattr(owner, name, counting(getattr(owner, name)))
    run_training(shape_options(shapes(), folder, **OPTIONS, **({"resume_from_checkpoint": "latest"} if resume else {})))
    changes = count
    (folder.parent / f"{folder.name}.count").write_text(str(changes))


def contents(folder: Path) -> dict[str, bytes]:
    names = ("model.safetensors", "config.json", "tokenizer.json", "processor_config.json")
    return {name: (folder / name).read_bytes() for name in names}


def test_a_run_killed_at_any_moment_ends_as_if_it_had_not_been(tmp_path):
    shapes()
    start = time.monotonic()
    assert ended(forked(lambda: run(tmp_path / "whole", resume=False))) == 0
    duration, changes = time.monotonic() - start, int((tmp_path / "whole.count").read_text())
    expected, draw, places = contents(tmp_path / "whole"), random.Random(0), []
    for number in range(KILLS):
        folder = tmp_path / f"{number}"
        if number % 2:
            child = forked(lambda folder=folder: run(folder))
            time.sleep(draw.uniform(0.05, 0.9) * duration)
            os.kill(child, signal.SIGKILL)
        else:
            place = round(1 + (changes - 1) * number / max(1, KILLS - 2))
            child = forked(lambda folder=folder, place=place: run(folder, kill_at=place))
        status = ended(child)
        places.append(status)
        assert status in (-signal.SIGKILL, 0), number
        assert ended(forked(lambda folder=folder: run(folder))) == 0, f"kill {number} cannot be resumed: {folder}"
        assert contents(folder) == expected, f"kill {number} changed the result: {folder}"
        assert not [name for name in listed(folder) if name.endswith(".tmp") or "whitened" in name], number
        shutil.rmtree(folder)
    assert places.count(-signal.SIGKILL) > 0.8 * KILLS
    print(f"{places.count(-signal.SIGKILL)} kills, {changes} changes of files in a run")

"""A run owns its folder: one run at a time, and nobody else's files are written over."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout

from caan.evaluation.facts import FACTS_FILE, read_facts, readable_facts
from caan.training.checkpoints import checkpoints, latest_checkpoint, read_state, readable_state

LOCK_FILE = "checkpoints/.lock"
# What a run writes into its folder; files of other names are left alone.
OWN_PATTERNS = (
    *("config.json", "*.safetensors", "*.safetensors.index.json", "preprocessor_config.json", "processor_config.json"),
    *("tokenizer*.json", "README.md", FACTS_FILE, "*_caan.py"),
)


def claim(output: Path, checkpoint: Path | None) -> FileLock:
    """Locks a run's folder and sees that it is its own; a folder that is refused stays as it is.

    Args, Raises: as of `lock_folder` and `require_own`.
    """
    if not (output / LOCK_FILE).exists():
        require_own(output, checkpoint)
    lock = lock_folder(output)
    try:
        require_own(output, checkpoint)
    except BaseException:
        lock.release()
        raise
    return lock


def lock_folder(output: Path) -> FileLock:
    """Takes a run's folder, made if it is missing, for this process until it ends or releases the lock.

    Raises:
        ValueError: another run has it. OSError: it cannot be made or written; names it.
    """
    path = output / LOCK_FILE
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"Another run is writing to {output} now. Wait until it ends, or give another --output_dir.") from None
    except OSError as error:
        file = next((place for place in path.parents if place.is_file()), None)
        reason = f"{file} is a file" if file else error.strerror
        raise OSError(f"{output} cannot be written: {reason}. Give another --output_dir.") from error
    return lock


def require_own(output: Path, checkpoint: Path | None) -> None:
    """Refuses a folder in which this run would write over what is not its own.

    Args:
        checkpoint: what this run goes on from; None where it starts anew.

    Raises:
        ValueError: naming what is there: checkpoints of an earlier run that this one does not go on from, or a model of
            another run or of other origin.
    """
    home = output / "checkpoints"
    latest = latest_checkpoint(home)
    if latest and checkpoint is None:
        raise ValueError(
            f"{latest} is a checkpoint of an earlier run. Go on from it with --resume_from_checkpoint latest, give another "
            f"--output_dir, or remove {latest.parent}."
        )
    run, there = checkpoint and read_state(checkpoint).run, runs_of(home)
    if checkpoint and there and run not in there:
        raise ValueError(f"{home} holds checkpoints of another run than {checkpoint}. Give another --output_dir.")
    found = sorted(path.name for pattern in OWN_PATTERNS for path in output.glob(pattern))
    if not found or there and readable_facts(output) is None:  # a lost record is written anew
        return
    facts = read_facts(output) or {}
    if found == [FACTS_FILE] and facts.get("finished") is False:  # stopped before its first checkpoint
        return
    if checkpoint is None or facts.get("run") not in {run, *there}:
        raise ValueError(
            f"{output} holds files that are not of this run ({', '.join(found[:4])}{' ...' if len(found) > 4 else ''}), and "
            "they would be written over. Give another --output_dir, or move them away."
        )


def runs_of(checkpoints_folder: Path) -> set[str | None]:
    """Names of the runs whose checkpoints a folder holds; None stands for those of versions that gave no name."""
    states = [readable_state(path) for path in checkpoints(checkpoints_folder)]
    runs = {state.run for state in states if state is not None}
    facts = readable_facts(checkpoints_folder) if states and not runs else None
    return {facts.get("run")} if facts else runs


def in_main_process(accelerator, function: Callable[[], Any]) -> Any:
    """What `function` gives in the main process, None in the others; its ValueError or OSError ends all of them."""
    result = None
    problem: list[Exception | None] = [None]
    if accelerator.is_main_process:
        try:
            result = function()
        except (ValueError, OSError) as error:
            problem = [error]
    broadcast_object_list(problem)
    if problem[0] is not None:
        raise problem[0]
    return result

"""Training checkpoints: weights, optimizer, schedule, where the run stands, and what it was told.

A checkpoint is a folder `step_N` under the run's `checkpoints`; `trainer_state.json` in it names the best weights so far, which
lie in a folder of their own, and holds a checksum of every other file and of theirs. A resumed run takes the newest whole one.
Which is newer is told by a count of the checkpoints that a run wrote: with more processes the same place has a lower number of
steps.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from caan.training.files import checksums, find_damage, publish_folder, temporary_folder, temporary_name

STATE_FILE = "trainer_state.json"


@dataclass
class TrainerState:
    """Where a run stands.

    Attributes:
        epoch, batches, step: finished epochs; batches of the current one that this process has seen; optimizer steps.
        best_metric: mAP@all on the seen hold-out of the weights in `best_folder`, the number that selected them.
        saves: checkpoints that the run has written up to this one.
        finished_metric: the same of the finished model, where whitening changed it after the selection.
        run: a name of the run that no other has, which its `training.json` has too.
        settings: what decides the result (`caan.training.resume`). history: how settings changed on a resume.
    """

    epoch: int = 0
    batches: int = 0
    step: int = 0
    saves: int = 0
    best_metric: float = float("-inf")
    best_folder: str | None = None
    finished_metric: float | None = None
    run: str | None = None
    settings: dict = field(default_factory=dict)
    history: list[dict] = field(default_factory=list)


Check = Callable[[TrainerState], None]


class DamagedCheckpoint(ValueError):
    """A checkpoint that cannot be used; the message names it and says why."""


def save_checkpoint(accelerator, folder: Path, state: TrainerState, limit: int = 2) -> Path:
    """Writes model, optimizer, schedule and `state` to `folder/step_N`, then removes all but the newest `limit` checkpoints.

    It counts in `state.saves`.

    Raises:
        OSError: it could not be written (a full disk); the older ones stay.
    """
    final = folder / f"step_{state.step:08d}"
    if accelerator.is_main_process:
        temporary_folder(final)
    accelerator.wait_for_everyone()
    temporary = temporary_name(final)
    try:
        accelerator.save_state(str(temporary))
    except Exception as error:
        kept = latest_checkpoint(folder)
        raise OSError(
            f"The checkpoint {final} could not be written: {error} Free some space, then go on with "
            f"--resume_from_checkpoint latest from {kept or 'the start'}."
        ) from error
    accelerator.wait_for_everyone()
    state.saves += 1
    if accelerator.is_main_process:
        best = {} if state.best_folder is None else checksums(folder / state.best_folder)
        files = checksums(temporary) | {f"../{state.best_folder}/{name}": told for name, told in best.items()}
        record = {**asdict(state), "files": files}
        (temporary / STATE_FILE).write_text(json.dumps(record, indent=2), encoding="utf-8")
        publish_folder(temporary, final)
        prune(folder, limit, final, state.best_folder)
    accelerator.wait_for_everyone()
    return final


def checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints in `folder`, the newest first; one whose state cannot be read stands where its number does."""
    ranked, saves = [], 0
    for path in sorted(path for path in folder.glob("step_*") if (path / STATE_FILE).is_file()):
        state = readable_state(path)
        saves = saves if state is None else state.saves
        ranked.append((saves, path))
    return [path for _, path in sorted(ranked, reverse=True)]


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint in `folder`, or None."""
    return next(iter(checkpoints(folder)), None)


def prune(folder: Path, limit: int, written: Path, best: str | None) -> None:
    """Removes all but the newest `limit` checkpoints, best weights that none of these names, and what was left half written.

    Args:
        written: the checkpoint that was just written; it stays. best: folder of the best weights so far; it stays.
    """
    states = {path: readable_state(path) for path in checkpoints(folder) if path != written}
    kept = [(path.name, state.best_folder) for path, state in states.items() if state is not None][: limit - 1]
    names = {written.name, best, *(name for pair in kept for name in pair)}
    for old in [*folder.glob("step_*"), *folder.glob("best_*"), *folder.glob(".*.tmp")]:
        if old.name not in names:
            shutil.rmtree(old, ignore_errors=True)


def read_state(folder: Path) -> TrainerState:
    """Where the run of a checkpoint stood.

    Raises:
        ValueError: the folder is no checkpoint. DamagedCheckpoint: its state cannot be read.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        raise ValueError(f"{folder} is no complete checkpoint: it has no {STATE_FILE}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        state = TrainerState(**{item.name: content[item.name] for item in fields(TrainerState) if item.name in content})
        require_types({name: content[name] for name in ("epoch", "batches", "step")} | asdict(state))
        require_types({"files": content.get("files", {})})
        return state
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        told = f"{type(error).__name__}: {error}"
        raise DamagedCheckpoint(f"The checkpoint {folder} is damaged: {STATE_FILE} cannot be read ({told}).") from error


def require_types(values: dict) -> None:
    """Raises ValueError where what a state holds is not of the kind that it wrote."""
    for name, value in values.items():
        if name in ("epoch", "batches", "step", "saves"):
            right = type(value) is int and value >= 0
        elif name in ("best_metric", "finished_metric"):
            right = type(value) in (int, float) or value is None and name == "finished_metric"
        elif name in ("settings", "files"):
            right = isinstance(value, dict)
        elif name == "history":
            right = isinstance(value, list) and all(isinstance(entry, dict) for entry in value)
        else:
            right = isinstance(value, str | None)
        if not right:
            raise ValueError(f"{name} is {value!r:.50}")


def readable_state(folder: Path) -> TrainerState | None:
    """Where the run of a checkpoint stood; None where its state is damaged."""
    try:
        return read_state(folder)
    except DamagedCheckpoint:
        return None


def newest_readable(folder: Path) -> Path | None:
    """The newest checkpoint whose state can be read; None where there is no checkpoint.

    Raises:
        DamagedCheckpoint: there are checkpoints, and the state of none can be read.
    """
    found = checkpoints(folder)
    readable = next((path for path in found if readable_state(path) is not None), None)
    if found and readable is None:
        raise DamagedCheckpoint(
            f"The checkpoint {found[0]} is damaged: its {STATE_FILE} cannot be read, nor that of an older one. Remove {folder} "
            "to start anew."
        )
    return readable


def load_checkpoint(accelerator, folder: Path, check: Check = lambda state: None) -> TrainerState:
    """Restores model, optimizer and schedule, and returns where the run stood.

    Args:
        check: sees the state before anything is restored, and raises ValueError where it must not be.

    Raises:
        ValueError: the folder is no checkpoint, or it holds a model of another shape. DamagedCheckpoint: a file of it is
            missing, cut off or changed.
    """
    state = read_state(folder)
    files = json.loads((folder / STATE_FILE).read_text(encoding="utf-8")).get("files", {})
    if damage := find_damage(folder, files):
        raise DamagedCheckpoint(f"The checkpoint {folder} is damaged: {damage}.")
    check(state)
    try:
        accelerator.load_state(str(folder))
    except (RuntimeError, ValueError) as error:  # of the weights, of the optimizer's groups
        raise ValueError(
            f"The checkpoint {folder} holds another model than these options build. Resume with the options it was "
            f"trained with, or give another output_dir.\n{error}"
        ) from error
    return state


def load_newest(accelerator, folder: Path, check: Check) -> tuple[TrainerState, Path | None]:
    """The newest checkpoint in `folder` that is whole, restored; damaged ones are named. A fresh state and None without any.

    Raises:
        DamagedCheckpoint: there are checkpoints, and all are damaged.
    """
    found = checkpoints(folder)
    for path in found:
        try:
            return load_checkpoint(accelerator, path, check), path
        except DamagedCheckpoint as error:
            if path == found[-1]:
                raise DamagedCheckpoint(f"{error} There is no older one: remove {folder} to start anew.") from error
            accelerator.print(f"{error} Trying the one before.")
    return TrainerState(), None


def asked_checkpoint(asked: str | None, home: Path) -> Path | None:
    """The checkpoint to go on from, as `resume_from_checkpoint` has it: a folder, or "latest" for the newest in `home`.

    None where it asks for none, or where there is none yet.

    Raises:
        DamagedCheckpoint: as of `newest_readable`.
    """
    return newest_readable(home) if asked == "latest" else Path(asked) if asked else None


def load_asked(accelerator, asked: str | None, home: Path, check: Check) -> tuple[TrainerState, Path | None]:
    """What `resume_from_checkpoint` asks for, restored, and where it lay; of the latest, damaged ones are passed over.

    A fresh state and None where there is nothing to restore. Args, Raises: as of `load_checkpoint`.
    """
    if asked and asked != "latest":
        return load_checkpoint(accelerator, Path(asked), check), Path(asked)
    return load_newest(accelerator, home, check) if asked else (TrainerState(), None)

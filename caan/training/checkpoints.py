"""Training checkpoints that are complete or absent, whatever moment the process is killed.

A folder is written under a name that nothing reads and renamed when it is whole; a rename is atomic. Older folders are
removed only after the newer one stands. The best weights lie in a folder of their own that checkpoints name.
"""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

STATE_FILE = "trainer_state.json"


@dataclass
class TrainerState:
    """Where a run stands. `batches` counts the batches of the current epoch that this process has seen."""

    epoch: int = 0
    batches: int = 0
    step: int = 0
    best_metric: float = float("-inf")
    best_folder: str | None = None


def publish_folder(temporary: Path, final: Path) -> None:
    """Gives a finished folder its name, on disk before the name is: files first, then the rename."""
    for path in temporary.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)


def publish_files(source: Path, target: Path) -> None:
    """Copies a model folder's files into `target`, each whole or not at all, config.json last: without it nothing loads."""
    target.mkdir(parents=True, exist_ok=True)
    (target / "config.json").unlink(missing_ok=True)
    for path in sorted(source.iterdir(), key=lambda p: p.name == "config.json"):
        temporary = target / f".{path.name}.tmp"
        shutil.copyfile(path, temporary)
        os.replace(temporary, target / path.name)


def temporary_folder(final: Path) -> Path:
    """A fresh empty folder beside `final`, under a name that `latest_checkpoint` never reads."""
    temporary = final.with_name(f".{final.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    return temporary


def save_checkpoint(accelerator, folder: Path, state: TrainerState) -> Path:
    """Writes model, optimizer, schedule and `state` to `folder/step_N`, then removes older checkpoints and best weights."""
    final = folder / f"step_{state.step:08d}"
    if accelerator.is_main_process:
        temporary_folder(final)
    accelerator.wait_for_everyone()
    temporary = final.with_name(f".{final.name}.tmp")
    accelerator.save_state(str(temporary))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (temporary / STATE_FILE).write_text(json.dumps(asdict(state), indent=2))
        publish_folder(temporary, final)
        keep = {final.name, state.best_folder}
        for old in [*folder.glob("step_*"), *folder.glob("best_*"), *folder.glob(".*.tmp")]:
            if old.name not in keep:
                shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()
    return final


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint in `folder`, or None."""
    return max((path for path in folder.glob("step_*") if (path / STATE_FILE).is_file()), default=None)


def require_fresh(folder: Path) -> None:
    """Refuses to start anew over the checkpoints of another run, which the first new one would remove.

    Raises:
        ValueError: `folder` holds a complete checkpoint.
    """
    if latest := latest_checkpoint(folder):
        raise ValueError(
            f"{latest} is a checkpoint of an earlier run. Go on from it with --resume_from_checkpoint latest, give another "
            f"--output_dir, or remove {folder}."
        )


def load_checkpoint(accelerator, folder: Path) -> TrainerState:
    """Restores model, optimizer and schedule, and returns where the run stood.

    Raises:
        ValueError: the folder is no checkpoint, or it holds a model of another shape.
    """
    if not (folder / STATE_FILE).is_file():
        raise ValueError(f"{folder} is no complete checkpoint: it has no {STATE_FILE}.")
    try:
        accelerator.load_state(str(folder))
    except (RuntimeError, ValueError) as error:  # of the weights, of the optimizer's groups
        raise ValueError(
            f"The checkpoint {folder} holds another model than these options build. Resume with the options it was "
            f"trained with, or give another output_dir.\n{error}"
        ) from error
    return TrainerState(**json.loads((folder / STATE_FILE).read_text()))

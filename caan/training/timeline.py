"""A run that goes on from an older checkpoint, or from one elsewhere: what came later is set aside, not lost.

Where a run goes on from an older checkpoint, the later ones belong to a course that it leaves. They move to
`checkpoints/set_aside_1` (2, 3, ...) with copies of the best weights that they name; a run can go on from there too. Nothing
but the user removes them. A checkpoint from elsewhere is copied, so that the run can be resumed from its own folder.
"""

import shutil
from itertools import count
from pathlib import Path

from caan.training.checkpoints import checkpoints, read_state, readable_state
from caan.training.files import publish_folder, sync, temporary_folder


def take_up(restored: Path, home: Path) -> Path | None:
    """Makes the checkpoint `restored` the newest one in `home`, a run's `checkpoints`, with its best weights beside it.

    Returns:
        The folder to which later checkpoints moved; None where there was none.

    Raises:
        ValueError: its best weights are missing; nothing has changed then.
    """
    state = read_state(restored)
    best = restored.parent / state.best_folder if state.best_folder else None
    if best is not None and not best.is_dir():
        raise ValueError(f"{best} with the best weights so far is missing: go on from another checkpoint.")
    aside = set_aside(restored, home)
    if not restored.parent.samefile(home):
        if best is not None:
            copy_folder(best, home / best.name)
        copy_folder(restored, home / f"step_{state.step:08d}")
    return aside


def set_aside(restored: Path, home: Path) -> Path | None:
    """Moves all checkpoints in `home` that are newer than `restored`, of one elsewhere all, to a folder of their own."""
    found = checkpoints(home)
    place = next((number for number, path in enumerate(found) if path.samefile(restored)), len(found))
    if not place:
        return None
    target = next(folder for number in count(1) if not (folder := home / f"set_aside_{number}").exists())
    target.mkdir()
    for path in found[:place]:
        state = readable_state(path)
        best = home / state.best_folder if state is not None and state.best_folder else None
        if best is not None and best.is_dir() and not (target / best.name).exists():
            copy_folder(best, target / best.name)
        path.rename(target / path.name)
    sync(target)
    sync(home)
    return target


def copy_folder(source: Path, target: Path) -> None:
    """Copies a folder, complete or not at all."""
    temporary = temporary_folder(target)
    shutil.copytree(source, temporary, dirs_exist_ok=True)
    publish_folder(temporary, target)

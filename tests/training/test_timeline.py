"""A run that goes on from an older checkpoint, or from one elsewhere.  python -m pytest tests/training/test_timeline.py"""

import json
import shutil

import pytest
import torch
from running import finished, listed, run_to_error, run_training, shapes, tensors
from trees import shape_options

from caan.training.checkpoints import STATE_FILE, checkpoints, read_state
from caan.training.timeline import take_up


def write(folder, step: int, saves: int, best: str | None = None, text: str = ""):
    """A checkpoint of a state alone, and its best weights."""
    path = folder / f"step_{step:08d}"
    path.mkdir(parents=True)
    state = {"epoch": 0, "batches": 0, "step": step, "saves": saves, "best_folder": best}
    (path / STATE_FILE).write_text(json.dumps(state))
    if best:
        (folder / best).mkdir(exist_ok=True)
        (folder / best / "weights").write_text(text or best)
    return path


def tree(folder) -> dict[str, str]:
    """Text of the weights, and of other folders their names."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): "" if path.name == STATE_FILE else path.read_text() for path in files}


def test_from_the_newest_nothing_moves(tmp_path):
    write(tmp_path, 4, 1)
    newest = write(tmp_path, 8, 2, "best_epoch_0001")
    before = tree(tmp_path)
    assert take_up(newest, tmp_path) is None and tree(tmp_path) == before


def test_later_checkpoints_move_with_copies_of_their_best_weights(tmp_path):
    for step, saves, best in ((4, 1, "best_epoch_0001"), (8, 2, "best_epoch_0002"), (12, 3, "best_epoch_0002")):
        write(tmp_path, step, saves, best)
    (tmp_path / "set_aside_1").mkdir()
    assert take_up(tmp_path / "step_00000004", tmp_path) == tmp_path / "set_aside_2"
    assert tree(tmp_path) == {
        f"step_00000004/{STATE_FILE}": "",
        "best_epoch_0001/weights": "best_epoch_0001",
        "best_epoch_0002/weights": "best_epoch_0002",  # goes with the next checkpoint
        f"set_aside_2/step_00000008/{STATE_FILE}": "",
        f"set_aside_2/step_00000012/{STATE_FILE}": "",
        "set_aside_2/best_epoch_0002/weights": "best_epoch_0002",
    }


def test_what_was_set_aside_can_be_taken_up_again(tmp_path):
    """Its best weights have the name that other ones have by now."""
    write(tmp_path, 4, 1)
    write(tmp_path, 8, 2, "best_epoch_0001", "old")
    aside = take_up(tmp_path / "step_00000004", tmp_path)
    write(tmp_path, 6, 2, "best_epoch_0001", "new")
    assert take_up(aside / "step_00000008", tmp_path) == tmp_path / "set_aside_2"
    assert [path.name for path in checkpoints(tmp_path)] == ["step_00000008"]
    assert (tmp_path / "best_epoch_0001" / "weights").read_text() == "old"
    assert (tmp_path / "set_aside_2" / "best_epoch_0001" / "weights").read_text() == "new"
    assert (aside / "step_00000008").is_dir()


def test_missing_best_weights_are_told_before_anything_moves(tmp_path):
    older = write(tmp_path, 4, 1, "best_epoch_0001")
    write(tmp_path, 8, 2, "best_epoch_0002")
    shutil.rmtree(tmp_path / "best_epoch_0001")
    before = tree(tmp_path)
    with pytest.raises(ValueError, match=f"{tmp_path}/best_epoch_0001 with the best weights so far is missing: go on from"):
        take_up(older, tmp_path)
    assert tree(tmp_path) == before


def test_a_damaged_checkpoint_that_is_newer_is_set_aside_too(tmp_path):
    older = write(tmp_path, 4, 5)
    (write(tmp_path, 8, 6) / STATE_FILE).write_text("{half")
    assert [path.name for path in checkpoints(tmp_path)] == ["step_00000008", "step_00000004"]
    assert take_up(older, tmp_path) == tmp_path / "set_aside_1"
    assert checkpoints(tmp_path) == [older] and (tmp_path / "set_aside_1" / "step_00000008").is_dir()


# ---------------------------------------------------------------------------------------------------------- whole runs


@pytest.fixture
def longer(tmp_path):
    """A finished run of two epochs with checkpoints at steps 2, 4, 5, 7, 9 and 10."""
    folder = tmp_path / "run"
    run_training(shape_options(shapes(), folder, checkpointing_steps=2, save_total_limit=9))
    return folder


@pytest.mark.parametrize("step", [2, 5])
@pytest.mark.parametrize("limit", [1, 2])
def test_a_finished_run_goes_on_from_an_older_checkpoint(longer, step, limit):
    """It ends with the same weights, and what was there before is not lost."""
    kept = {path.name for path in longer.glob("checkpoints/step_*") if int(path.name[-8:]) > step}
    old = longer / "checkpoints" / f"step_{step:08d}"
    run = run_training(shape_options(shapes(), longer, save_total_limit=limit, resume_from_checkpoint=old))
    aside = longer / "checkpoints" / "set_aside_1"
    assert f"what was trained after {old} is kept in {aside}" in run.stdout
    assert {path.name for path in aside.glob("step_*")} == kept
    states = [read_state(path) for path in checkpoints(aside)]
    best = {state.best_folder for state in states if state.best_folder}
    assert states[0].step == 10 and best and best <= {path.name for path in aside.iterdir()}
    steps = {name for name in listed(longer) if name.startswith("step_")}
    assert steps == {"step_00000010"} | ({"step_00000005"} if limit == 2 else set())
    for name, tensor in tensors(finished()[0]).items():
        assert torch.equal(tensor, tensors(longer)[name]), name


def test_a_shorter_run_from_an_older_checkpoint_keeps_its_own_and_publishes(longer):
    """The last of its checkpoints has a lower number than those of the longer run."""
    run_training(shape_options(shapes(), longer, num_epochs=4, save_total_limit=4, resume_from_checkpoint="latest"))
    assert "step_00000020" in listed(longer)
    old = longer / "checkpoints" / "step_00000010"
    run = run_training(shape_options(shapes(), longer, num_epochs=3, save_total_limit=1, resume_from_checkpoint=old)).training
    assert {name for name in listed(longer) if name.startswith("step_")} == {"step_00000015"}
    assert run.state.step == 15 and run.state.best_folder in listed(longer) and (longer / "config.json").is_file()
    record = json.loads((longer / "training.json").read_text())
    assert (record["step"], record["finished"]) == (15, True)


def test_a_checkpoint_from_elsewhere_is_copied_and_can_be_resumed(tmp_path):
    """Before the first checkpoint of its own, too."""
    source = checkpoints(finished()[0] / "checkpoints")[0]
    options = {"resume_from_checkpoint": source, "num_epochs": 3}
    error = run_to_error("train.py", shape_options(shapes(), tmp_path, **options, seed=1))
    assert "seed: 0 -> 1" in error and listed(tmp_path) == set()
    run_training(shape_options(shapes(), tmp_path, **options, save_total_limit=3))
    assert {name for name in listed(tmp_path) if name.startswith("step_")} == {"step_00000010", "step_00000015"}

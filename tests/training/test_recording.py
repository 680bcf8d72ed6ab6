"""The run's record, and what a run makes of damaged files of its own.  python -m pytest tests/training/test_recording.py"""

import json
import shutil

import pytest
from running import finished, listed, run_to_error, run_training, shapes
from trees import shape_options

from caan.evaluation import record as record_module
from caan.evaluation.facts import read_facts, write_facts
from caan.training.checkpoints import STATE_FILE, TrainerState, checkpoints
from caan.training.recording import begin_record


@pytest.fixture
def folder(tmp_path):
    """A copy of a finished run of two epochs, with checkpoints at steps 5 and 10."""
    return shutil.copytree(finished()[0], tmp_path / "run")


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def more(folder, **options) -> list[str]:
    """Arguments that extend the run to three epochs."""
    return shape_options(shapes(), folder, num_epochs=3, resume_from_checkpoint="latest", **options)


def kill(monkeypatch, arguments) -> None:
    """A run that ends before its first step, when it has its record."""

    def stop(*ignored):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("caan.training.loop.seed_step", stop)
        run_training(arguments)


# ---------------------------------------------------------------------------------------------------------- the record


def test_a_finished_model_keeps_its_record_until_the_longer_run_is_finished(folder, monkeypatch):
    before = (folder / "training.json").read_bytes()
    kill(monkeypatch, more(folder))
    assert (folder / "training.json").read_bytes() == before
    running, own = read_facts(folder / "checkpoints"), read_facts(folder)
    assert (own["finished"], own["step"], own["history"]) == (True, 10, [])
    assert (running["finished"], running["step"], running["run"]) == (False, 10, own["run"])
    assert running["history"] == [{"step": 10, "changed": {"num_epochs": [2, 3]}}]
    run_training(more(folder))
    assert [read_facts(place)["step"] for place in (folder, folder / "checkpoints")] == [15, 15]
    assert read_facts(folder)["finished"] and read_facts(folder)["history"] == running["history"]


def test_an_unfinished_run_has_its_record_in_both_places(tmp_path, monkeypatch):
    kill(monkeypatch, shape_options(shapes(), tmp_path))
    assert read_facts(tmp_path) == read_facts(tmp_path / "checkpoints")
    assert (read_facts(tmp_path)["finished"], read_facts(tmp_path)["step"]) == (False, 0)


def test_weights_and_record_change_in_one_go(folder, monkeypatch):
    """A run that dies after the new weights are there and before the card has the new record already."""

    def stop(*ignored):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("caan.training.recording.write_facts", lambda *a, **k: None if k.get("finished") is False else stop())
        run_training(more(folder))
    assert (folder / "config.json").is_file() and read_facts(folder)["step"] == 15 and read_facts(folder)["finished"]


@pytest.mark.parametrize("content", [None, "", "{half", "[]"])
@pytest.mark.parametrize("state", [None, "{half"])
def test_a_lost_record_is_written_anew(folder, monkeypatch, content, state):
    """In the state of a checkpoint the run's name may be lost too: `checkpoints` keeps it."""
    expected = read_facts(folder)
    (folder / "training.json").unlink() if content is None else (folder / "training.json").write_text(content)
    if state:
        (checkpoints(folder / "checkpoints")[0] / STATE_FILE).write_text(state)
    kill(monkeypatch, more(folder))
    assert read_facts(folder) == expected
    run_training(more(folder))
    assert (read_facts(folder)["step"], read_facts(folder)["run"]) == (15, expected["run"])


def test_a_record_without_the_run_s_name_gets_it(tmp_path):
    """Of an earlier version: without the name the next resume would take the model for a foreign one."""
    facts, home = {"dataset": "d", "options": {"keep": "last"}}, tmp_path / "checkpoints"
    home.mkdir()
    (tmp_path / "config.json").write_text("{}")
    write_facts(tmp_path, facts, TrainerState(epoch=2, step=9), finished=True)
    before = read_facts(tmp_path)
    begin_record(tmp_path, facts, TrainerState(epoch=2, step=9, run="x"))
    assert read_facts(tmp_path) == {**before, "run": "x"} and read_facts(home)["finished"] is False


def test_a_full_disk_leaves_the_record_that_was_there(tmp_path, monkeypatch):
    facts = {"dataset": "d", "options": {"keep": "last"}}
    write_facts(tmp_path, facts, TrainerState(step=9), finished=True)
    before = read_facts(tmp_path)

    def full(*ignored):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record_module.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_facts(tmp_path, facts, TrainerState(step=10), finished=False)
    assert read_facts(tmp_path) == before and [path.name for path in tmp_path.iterdir()] == ["training.json"]


# ------------------------------------------------------------------------------------------------------ damaged states


@pytest.mark.parametrize("content", ["", "{half", "[]", "3", "{}", '{"epoch": 0, "batches": 0, "step": "10"}', "\udcff"])
def test_a_damaged_state_falls_back_to_the_checkpoint_before(folder, content):
    newest, older = checkpoints(folder / "checkpoints")
    (newest / STATE_FILE).write_text(content, errors="surrogateescape")
    run = run_training(more(folder))
    assert f"The checkpoint {newest} is damaged: {STATE_FILE} cannot be read (" in run.stdout
    assert f"resuming at step 5 from {older}" in run.stdout and run.training.state.step == 15
    assert {name for name in listed(folder) if name.startswith("step")} == {"step_00000010", "step_00000015"}


def test_a_damaged_state_of_an_older_checkpoint_does_not_stop_the_run(folder):
    newest, older = checkpoints(folder / "checkpoints")
    (older / STATE_FILE).write_text("{half")
    run = run_training(more(folder, save_total_limit=3))
    assert run.training.state.step == 15 and "is damaged" not in run.stdout
    assert {name for name in listed(folder) if name.startswith("step")} == {"step_00000010", "step_00000015"}


@pytest.mark.parametrize("asked", ["latest", "explicit"])
def test_where_no_state_can_be_read_that_is_said(folder, asked):
    newest, older = checkpoints(folder / "checkpoints")
    for path in (newest, older):
        (path / STATE_FILE).write_text("{half")
    before = (folder / "training.json").read_bytes()
    resume = "latest" if asked == "latest" else newest
    error = run_to_error("train.py", shape_options(shapes(), folder, resume_from_checkpoint=resume))
    cure = (
        f", nor that of an older one. Remove {folder}/checkpoints to start anew" if asked == "latest" else " (JSONDecodeError"
    )
    assert f"error: The checkpoint {newest} is damaged: " in error and f"{STATE_FILE} cannot be read{cure}" in error
    assert (folder / "training.json").read_bytes() == before


def test_a_run_goes_on_from_elsewhere_where_its_own_states_are_lost(folder, tmp_path):
    """Its name is kept in `checkpoints`, too."""
    backup = shutil.copytree(checkpoints(folder / "checkpoints")[0], tmp_path / "backup" / "step_00000010")
    best = json.loads((backup / STATE_FILE).read_text())["best_folder"]
    shutil.copytree(folder / "checkpoints" / best, backup.parent / best)
    for path in checkpoints(folder / "checkpoints"):
        (path / STATE_FILE).write_text("{half")
    run = run_training([*more(folder), f"--resume_from_checkpoint={backup}"]).training
    assert run.state.step == 15 and read_facts(folder)["step"] == 15

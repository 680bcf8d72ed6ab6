"""A run's folder is its own.  python -m pytest tests/training/test_ownership.py"""

import os
import shutil

import pytest
from folders import make_folder
from running import finished, run_process, run_to_error, run_training, shapes, train
from trees import shape_options

from caan.training.checkpoints import latest_checkpoint
from caan.training.ownership import lock_folder


def contents(folder) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_the_second_run_in_a_folder_is_refused_at_once(tmp_path):
    lock = lock_folder(tmp_path)
    before = contents(tmp_path)
    done = run_process("train.py", *shape_options(shapes(), tmp_path, resume_from_checkpoint="latest"))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"train.py: error: Another run is writing to {tmp_path} now. Wait until it ends, or give another" in done.stderr
    assert contents(tmp_path) == before
    lock.release()
    run_training(shape_options(shapes(), tmp_path, num_epochs=1, batches_per_epoch=1))
    assert (tmp_path / "config.json").exists()


def test_a_finished_or_failed_run_lets_go_of_its_folder(tmp_path):
    run_to_error("train.py", shape_options(shapes(), tmp_path, classes_per_batch=6))
    lock_folder(tmp_path).release()
    run_training(shape_options(shapes(), tmp_path, num_epochs=1, batches_per_epoch=1))
    lock_folder(tmp_path).release()


@pytest.mark.parametrize("resume", [{}, {"resume_from_checkpoint": "latest"}])
@pytest.mark.parametrize("left_out", [(), ("training.json",), ("training.json", "config.json", "model.safetensors")])
def test_a_foreign_model_is_not_written_over(tmp_path, left_out, resume):
    folder = make_folder(tmp_path / "run")
    for name in left_out:
        (folder / name).unlink(missing_ok=True)
    (folder / "README.md").write_text("somebody's model")
    before = contents(folder)
    error = run_to_error("train.py", shape_options(shapes(), folder, **resume))
    assert f"error: {folder} holds files that are not of this run (" in error
    assert "Give another --output_dir, or move them away." in error
    assert contents(folder) == before and not (folder / "checkpoints").exists()


def test_a_foreign_model_beside_checkpoints_is_not_written_over(tmp_path):
    """The checkpoints are of a run, and the model in its folder is not."""
    folder, other = tmp_path / "run", make_folder(tmp_path / "other")
    shutil.copytree(finished()[0], folder)
    for path in other.iterdir():
        shutil.copy(path, folder)
    before = contents(folder)
    error = run_to_error("train.py", shape_options(shapes(), folder, resume_from_checkpoint="latest"))
    assert f"error: {folder} holds files that are not of this run" in error and contents(folder) == before


def test_a_run_that_was_stopped_before_its_first_checkpoint_is_no_obstacle(tmp_path, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("caan.training.loop.seed_step", stop)
        run_to_error("train.py", shape_options(shapes(), tmp_path))
    assert (tmp_path / "training.json").exists() and not list((tmp_path / "checkpoints").glob("step_*"))
    run_training(shape_options(shapes(), tmp_path, num_epochs=1, batches_per_epoch=1, resume_from_checkpoint="latest"))
    assert (tmp_path / "config.json").exists()


def test_files_that_a_run_does_not_write_stay(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "figures").mkdir()
    run_training(shape_options(shapes(), tmp_path, num_epochs=1, batches_per_epoch=1))
    assert (tmp_path / "notes.txt").read_text() == "mine" and (tmp_path / "config.json").exists()


@pytest.mark.parametrize("place", ["file", "file/run", "run", "run/checkpoints"])
def test_a_file_in_the_place_of_a_folder_is_named_at_the_start(tmp_path, place):
    file = tmp_path / "file" if place.startswith("file") else tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    output = tmp_path / place.removesuffix("/checkpoints")
    error = run_to_error("train.py", shape_options(shapes(), output))
    assert f"train.py: error: {output} cannot be written: {file} is a file. Give another --output_dir.\n" in error
    assert file.read_text() == "mine" and "Traceback" not in error


@pytest.mark.parametrize("resume", ["latest", "explicit"])
def test_checkpoints_of_another_run_are_not_mixed_with_its_own(tmp_path, resume):
    folder = tmp_path / "run"
    train(folder, num_epochs=1, batches_per_epoch=1)
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()  # the checkpoints alone are left
    before = contents(folder)
    source = latest_checkpoint((finished()[0] if resume == "explicit" else folder) / "checkpoints")
    arguments = shape_options(shapes(), folder, resume_from_checkpoint=source, num_epochs=1, batches_per_epoch=1)
    if resume == "explicit":
        error = run_to_error("train.py", arguments)
        assert f"error: {folder}/checkpoints holds checkpoints of another run than {source}. Give another" in error
        assert contents(folder) == before
    else:
        assert run_training(arguments).training.state.step == 1 and (folder / "training.json").is_file()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_told_at_the_start(tmp_path):
    (tmp_path / "run").mkdir(mode=0o500)
    error = run_to_error("train.py", shape_options(shapes(), tmp_path / "run"))
    assert f"{tmp_path}/run cannot be written: Permission denied. Give another --output_dir." in error

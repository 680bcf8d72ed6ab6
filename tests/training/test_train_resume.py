"""train.py killed and resumed, and in two processes.

python -m pytest tests/training/test_train_resume.py, -m slow for `accelerate`"""

import json
import shutil
import signal

import pytest
from running import finished, listed, run_process, run_to_error, run_training, scalars, shapes
from trees import shape_options

from caan.data.benchmark import make_benchmark
from caan.data.pictures import load_splits
from caan.evaluation.evaluate import evaluate
from caan.evaluation.retrievers import load_retriever
from caan.options import DataOptions
from caan.training import checkpoints, loop
from caan.training import run as training_run

# train.py in a process that ends by SIGKILL at the moment that `{moment}` is reached for the `{count}`th time.
KILLED = """
import os, runpy, signal, sys
import caan.training.checkpoints, caan.training.loop, caan.training.run

reached, original = [], {moment}

def reach(*args):
    reached.append(1)
    if len(reached) == {count}:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args)

{moment} = reach
runpy.run_path("train.py", run_name="__main__")
"""


def killed(folder, moment: str, count: int, **options):
    """A process of train.py that kills itself."""
    script = KILLED.format(moment=moment, count=count)
    done = run_process("-c", script, *shape_options(shapes(), folder, checkpointing_steps=2, **options))
    assert done.returncode == -signal.SIGKILL, done.stderr


def assert_like_the_finished_run(folder):
    reference, _ = finished()
    for name in ("model.safetensors", "config.json", "tokenizer.json", "processor_config.json"):
        assert (folder / name).read_bytes() == (reference / name).read_bytes(), name
    older = {"step_00000005", "step_00000008"}  # the one before the last, by how often they were written
    assert listed(folder) - older == listed(reference) - older


def test_a_run_killed_in_the_middle_of_an_epoch_ends_as_if_it_had_not_been(tmp_path):
    killed(tmp_path, "caan.training.loop.seed_step", 10)  # the ninth step is done, the eighth is the checkpoint
    checkpoint = max((tmp_path / "checkpoints").glob("step_*"))
    assert json.loads((checkpoint / "trainer_state.json").read_text())["step"] == 8
    assert not (tmp_path / "config.json").exists()
    arguments = shape_options(shapes(), tmp_path, checkpointing_steps=2, resume_from_checkpoint="latest")
    done = run_process("train.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert f"resuming at step 8 from {checkpoint}" in done.stdout
    assert_like_the_finished_run(tmp_path)


class Stopped(BaseException):
    """Stands for a kill, in this process."""


@pytest.mark.parametrize(
    "moment,count,at", [("seed_step", 4, 2), ("seed_step", 6, 5), ("publish_folder", 3, 4), ("validate", 2, 8)]
)
def test_a_run_stopped_anywhere_ends_as_if_it_had_not_been(tmp_path, monkeypatch, moment, count, at):
    """In the first epoch, at the border of two, while a checkpoint is written, after the last step."""
    reached = []
    module = {"publish_folder": checkpoints, "seed_step": loop, "validate": training_run}[moment]
    original = getattr(module, moment)

    def reach(*args):
        reached.append(1)
        if len(reached) == count:
            raise Stopped
        return original(*args)

    arguments = shape_options(shapes(), tmp_path, checkpointing_steps=2)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(module, moment, reach)
        run_training(arguments)
    half_written = tmp_path / "checkpoints" / "step_00000099"
    half_written.mkdir()
    shutil.copy(next((tmp_path / "checkpoints").glob("step_*/model.safetensors")), half_written)
    run = run_training([*arguments, "--resume_from_checkpoint=latest"])
    assert f"resuming at step {at} from" in run.stdout
    assert_like_the_finished_run(tmp_path)


def test_a_finished_run_that_is_resumed_changes_nothing(tmp_path):
    reference, _ = finished()
    folder = tmp_path / "finished"
    shutil.copytree(reference, folder)
    run = run_training(shape_options(shapes(), folder, resume_from_checkpoint="latest"))
    assert "resuming at step 10" in run.stdout and run.training.state.step == 10
    assert_like_the_finished_run(folder)


def test_resuming_where_there_is_nothing_starts_anew(tmp_path):
    options = {"num_epochs": 1, "batches_per_epoch": 1, "resume_from_checkpoint": "latest"}
    run = run_training(shape_options(shapes(), tmp_path, **options))
    assert "no checkpoint yet: starting anew" in run.stdout and run.training.state.step == 1


def test_a_second_run_does_not_overwrite_the_first():
    folder, _ = finished()
    error = run_to_error("train.py", shape_options(shapes(), folder))
    assert "is a checkpoint of an earlier run. Go on from it with --resume_from_checkpoint latest" in error
    assert "Traceback" not in error


def test_a_checkpoint_of_another_model_is_refused_and_still_good(tmp_path):
    reference, _ = finished()
    folder = tmp_path / "finished"
    shutil.copytree(reference, folder)
    for config in ({"hidden_size": 32}, {"num_alignment_layers": 2}, {"text_config": None, "use_text": False}):
        options = shape_options(shapes(), folder, resume_from_checkpoint="latest", num_epochs=3, model_config=config)
        error = run_to_error("train.py", options)
        assert "error: The checkpoint was made with other settings:" in error and "\n  model_config." in error
    run_training(shape_options(shapes(), folder, resume_from_checkpoint="latest"))
    assert_like_the_finished_run(folder)


# ------------------------------------------------------------------------------------------------------- two processes


def assert_two_processes_trained(folder, done):
    """Losses fall, there is one set of files, and their weights measure what the run measured."""
    assert done.returncode == 0, done.stderr
    values = scalars(folder)
    losses = values["train/loss"]
    assert len(losses) == 16 and sum(losses[-4:]) < 0.9 * sum(losses[:4])
    assert done.stdout.count("The model is in") == 1 and done.stdout.count("validation mAP@all") == 4
    assert len(list((folder / "caan").glob("events*"))) == 1
    retriever = load_retriever(str(folder))
    splits = load_splits(DataOptions(dataset="folder", data_dir=str(shapes())))
    report = evaluate(retriever, make_benchmark(splits, "validation"))
    assert report["map_all"] == pytest.approx(max(values["validation/map_all"]), abs=1e-6)
    checkpoint = max((folder / "checkpoints").glob("step_*"))
    assert {path.name for path in checkpoint.glob("random_states_*")} == {"random_states_0.pkl", "random_states_1.pkl"}


LONGER = {"num_epochs": 4, "batches_per_epoch": 8, "augment": False, "report_to": "tensorboard"}  # 4 batches a process


@pytest.mark.slow
def test_torchrun_with_two_processes(tmp_path):
    arguments = shape_options(shapes(), tmp_path, **LONGER)
    done = run_process("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "train.py", *arguments)
    assert_two_processes_trained(tmp_path, done)


@pytest.mark.slow
def test_accelerate_launch_with_two_processes(tmp_path):
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--main_process_port=0", "train.py"]
    done = run_process(*launch, *shape_options(shapes(), tmp_path, **LONGER), ACCELERATE_USE_CPU="true")
    assert_two_processes_trained(tmp_path, done)

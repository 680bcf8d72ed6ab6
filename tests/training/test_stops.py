"""How a run ends before its end: Ctrl-C, SIGTERM, losses that are no number.  python -m pytest tests/training/test_stops.py"""

import os
import re
import signal

import pytest
import torch
from accelerate import Accelerator
from running import forget_accelerate, listed, run_script, run_to_error, shapes, tensors
from trees import shape_options

from caan.training import loop, saving
from caan.training import run as training_run
from caan.training.checkpoints import latest_checkpoint


def stopped_at(monkeypatch, step: int, stop):
    """Calls `stop` when the run begins this step."""
    original, begun = loop.seed_step, []

    def seed_step(*arguments):
        begun.append(1)
        if len(begun) == step:
            stop()
        original(*arguments)

    monkeypatch.setattr(loop, "seed_step", seed_step)


@pytest.mark.parametrize("number,status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_how_to_go_on(tmp_path, monkeypatch, number, status, capsys):
    stopped_at(monkeypatch, 8, lambda: os.kill(os.getpid(), number))
    arguments = shape_options(shapes(), tmp_path, checkpointing_steps=2)
    with pytest.raises(AssertionError, match=f"ended with {status}"):
        run_script("train.py", arguments)
    error = capsys.readouterr().err
    latest = tmp_path / "checkpoints" / "step_00000006"
    (line,) = [line for line in error.splitlines() if line.startswith("train.py: ")]
    assert line.startswith(f"train.py: stopped; {latest} is kept; to go on: python train.py --")
    assert line.endswith("--resume_from_checkpoint latest") and "Traceback" not in error
    monkeypatch.undo()
    run_script("train.py", [*arguments, "--resume_from_checkpoint", "latest"])  # as the line says
    assert tensors(tmp_path)


def test_a_run_stopped_before_its_first_checkpoint(tmp_path, monkeypatch, capsys):
    def stop():
        raise KeyboardInterrupt

    stopped_at(monkeypatch, 1, stop)
    with pytest.raises(AssertionError, match="ended with 130"):
        run_script("train.py", shape_options(shapes(), tmp_path))
    assert "train.py: stopped; no checkpoint was written yet\n" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["loss", "gradient"])
def test_a_loss_that_is_no_number_ends_the_run_and_the_last_checkpoint_stays(tmp_path, monkeypatch, option):
    original, taken = loop.TrainingLoop.take, []

    def take(self, batch):
        taken.append(1)
        if len(taken) == 6 and option == "loss":
            batch = {**batch, "pixel_values": batch["pixel_values"] * float("nan")}
        if len(taken) == 6 and option == "gradient":
            weight = next(p for p in self.model.parameters() if p.requires_grad)
            weight.register_hook(lambda gradient: gradient * float("inf"))
        return original(self, batch)

    monkeypatch.setattr(loop.TrainingLoop, "take", take)
    error = run_to_error("train.py", shape_options(shapes(), tmp_path, checkpointing_steps=2))
    assert re.search(rf"train.py: error: step 6, epoch 2: the {option} is not finite \(.*(nan|inf)", error), error
    latest = latest_checkpoint(tmp_path / "checkpoints")
    assert latest.name == "step_00000005" and f"The last checkpoint is {latest}." in error
    assert "learning rate 0.00" in error and "Lower learning_rate" in error
    assert all(tensor.isfinite().all() for tensor in tensors(latest).values() if tensor.is_floating_point())
    assert not (tmp_path / "config.json").exists()


DIVERGED = {"learning_rate": 1e38, "warmup_ratio": 0, "num_epochs": 1}
BY_THE_LAST = {"train_on_validation": True, "keep": "last"}


@pytest.mark.parametrize("options", [{}, BY_THE_LAST, {**BY_THE_LAST, "max_grad_norm": 0}])
def test_weights_that_are_no_numbers_are_not_kept(tmp_path, options):
    """The loss and the gradient of the only step are finite; what the step makes of the weights is not."""
    error = run_to_error("train.py", shape_options(shapes(), tmp_path, **DIVERGED, batches_per_epoch=1, **options))
    (line,) = [line for line in error.splitlines() if line.startswith("train.py: error: ")]
    assert line == (
        "train.py: error: step 1: weights are not finite after a step at learning rate 1e+38, and are not kept. "
        "Lower learning_rate, raise warmup_ratio, or keep max_grad_norm above 0. The last checkpoint is not written yet."
    )
    assert listed(tmp_path) == set() and {path.name for path in tmp_path.iterdir()} == {"checkpoints", "training.json"}


def test_a_checkpoint_within_an_epoch_is_of_finite_weights(tmp_path):
    error = run_to_error("train.py", shape_options(shapes(), tmp_path, **DIVERGED, checkpointing_steps=1))
    assert "error: step 1: weights are not finite after a step at learning rate 1e+38" in error and listed(tmp_path) == set()


def test_a_finished_run_with_broken_weights_publishes_nothing(tmp_path, monkeypatch):
    """Weights may break after the last checkpoint, in memory."""
    original = training_run.TrainingRun.finish

    def finish(run):
        next(run.model.parameters()).data[0] = float("nan")
        original(run)

    monkeypatch.setattr(training_run.TrainingRun, "finish", finish)
    error = run_to_error("train.py", shape_options(shapes(), tmp_path, num_epochs=1, keep="last"))
    assert "error: step 5: weights are not finite" in error and "step_00000005." in error
    assert not (tmp_path / "config.json").exists() and "last" not in listed(tmp_path)


def test_a_whitening_that_is_no_number_is_not_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "fit_whitening", lambda model, *a, **k: model.image_whitening.mean.fill_(float("nan")))
    error = run_to_error("train.py", shape_options(shapes(), tmp_path, num_epochs=1, model_config={"whitening": 0.5}))
    assert "error: step 5: weights are not finite" in error
    assert not (tmp_path / "config.json").exists() and not [name for name in listed(tmp_path) if "whitened" in name]


def test_the_gradient_is_looked_at_where_it_is_not_clipped(tmp_path, monkeypatch):
    def take(self, batch):
        weight = next(p for p in self.model.parameters() if p.requires_grad)
        weight.register_hook(lambda gradient: gradient * float("inf"))
        return original(self, batch)

    original = loop.TrainingLoop.take
    monkeypatch.setattr(loop.TrainingLoop, "take", take)
    error = run_to_error("train.py", shape_options(shapes(), tmp_path, max_grad_norm=0))
    assert re.search(r"train.py: error: step 1, epoch 1: the gradient is not finite \(gradient norm (nan|inf)", error), error


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", ["parameter", "buffer"])
def test_one_value_is_enough(value, place):
    forget_accelerate()
    model, accelerator = torch.nn.BatchNorm1d(3), Accelerator(cpu=True)
    assert loop.finite_weights(model, accelerator)
    (model.weight.data if place == "parameter" else model.running_mean)[1] = value
    assert not loop.finite_weights(model, accelerator)

"""How a run ends before its end: Ctrl-C, SIGTERM, losses that are no number.  python -m pytest tests/training/test_stops.py"""

import os
import re
import signal

import pytest
from running import run_script, run_to_error, shapes, tensors
from trees import shape_options

from caan.training import loop
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

"""A training run's way to the Hub."""

import shutil
from pathlib import Path

from caan.evaluation.facts import write_facts
from caan.hub.card import write_card
from caan.hub.upload import BackgroundPush
from caan.options import TrainPushOptions
from caan.training.checkpoints import TrainerState
from caan.training.saving import save_model


def open_push(options: TrainPushOptions, checkpoints: Path, accelerator) -> BackgroundPush | None:
    """The way to the Hub, in the main process of a run that pushes; None elsewhere. Clears away what a killed run left.

    Raises:
        PushError: the Hub would not let it in; better told now than when the training is done.
    """
    if not options.push_to_hub or not accelerator.is_main_process:
        return None
    for old in checkpoints.glob("push_*"):
        shutil.rmtree(old)
    return BackgroundPush(str(options.hub_model_id), options)


def push_progress(push: BackgroundPush | None, model, processor, folder: Path, facts, state: TrainerState, accelerator, full):
    """Pushes the weights as they are now, in the background. Call it in every process, since sharded weights are gathered.

    Args:
        folder: to be made for the upload, and removed after it. facts: of the run. full: as in `save_model`.
    """
    save_model(model, processor, folder, accelerator, full)
    if push is not None:
        write_facts(folder, facts, state, finished=False)
        write_card(folder, push.repo)
        push.start(folder, f"Training, step {state.step}")

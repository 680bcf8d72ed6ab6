"""A run's record, `training.json`: beside the model what is true of the model, under `checkpoints` how far the run is.

A finished model that is trained on from its checkpoints stays as it is until the run ends, and so does its record.
"""

import json
from pathlib import Path

from caan.evaluation.facts import FACTS_FILE, facts_text, readable_facts, write_facts
from caan.evaluation.record import write_whole
from caan.training.checkpoints import TrainerState
from caan.training.files import publish_files


def begin_record(output: Path, facts: dict, state: TrainerState) -> None:
    """Makes a folder a run's own. The record of a finished model of this run stays, or is written anew where it was lost."""
    home = output / "checkpoints"
    records = [record for record in (readable_facts(output), readable_facts(home)) if record is not None]
    own = next((record for record in records if record.get("run") in (None, state.run)), None)
    if own and own.get("finished") and (output / "config.json").is_file():
        write_whole(output / FACTS_FILE, json.dumps({**own, "run": state.run}, indent=2) + "\n")
    else:
        write_facts(output, facts, state, finished=False)
    write_facts(home, facts, state, finished=False)


def publish_model(folder: Path, output: Path, facts: dict, state: TrainerState) -> None:
    """Makes the model in `folder` that of the run's folder, with its record in one go."""
    publish_files(folder, output, {FACTS_FILE: facts_text(facts, state, finished=True)})
    write_facts(output / "checkpoints", facts, state, finished=True)

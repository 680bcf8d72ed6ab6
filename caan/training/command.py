"""Train a CAAN.

    caan train openmoji                                              # a recipe that comes along, by its name
    python train.py recipes/openmoji.yaml                            # the same from a checkout; one process
    accelerate launch train.py recipes/openmoji.yaml                 # as `accelerate config` says
    torchrun --nproc_per_node 2 train.py recipes/openmoji.yaml --cpu # two processes without a GPU
    caan train openmoji --resume_from_checkpoint latest              # go on after a stop, with the same result
    caan train openmoji --model_config.hidden_size 256               # one field of the recipe's model_config
    caan train openmoji --push_to_hub --hub_model_id org/caan-openmoji --push_steps 500

The result is a folder in the form of a Hub repository, which `AutoModel.from_pretrained` loads. exit status: 0 done; 1 bad
input; 2 wrong options; 130 stopped with Ctrl-C; 143 stopped by SIGTERM.
"""

import shlex

from caan.errors import exit_on_error
from caan.options import DataOptions, ModelOptions, TrainOptions, TrainPushOptions
from caan.parsing import parse_options

FAMILIES = (ModelOptions, DataOptions, TrainOptions, TrainPushOptions)


def main(argv: list[str], prog: str) -> int:
    """Runs the command; returns the exit status."""
    families = parse_options(*FAMILIES, argv=argv, prog=prog, description=__doc__)
    with exit_on_error(prog, lambda: way_on(argv, prog, families[2].output_dir)):
        from caan.training.run import TrainingRun  # imports torch

        TrainingRun(*families).train()
    return 0


def way_on(argv: list[str], prog: str, output_dir: str) -> str:
    """What a stopped run leaves, and the command that goes on."""
    from pathlib import Path

    from caan.training.checkpoints import latest_checkpoint

    latest = latest_checkpoint(Path(output_dir) / "checkpoints")
    if latest is None:
        return "no checkpoint was written yet"
    parts = iter(argv)
    kept = [part for part in parts if not (part == "--resume_from_checkpoint" and next(parts, None))]
    kept = [part for part in kept if not part.startswith("--resume_from_checkpoint=")]
    start = prog if prog.startswith("caan ") else f"python {prog}"
    return f"{latest} is kept; to go on: {start} {shlex.join([*kept, '--resume_from_checkpoint', 'latest'])}"

"""Train a CAAN.

    python train.py recipes/openmoji.yaml                                     # one process
    accelerate launch train.py recipes/openmoji.yaml --output_dir outputs/a   # as `accelerate config` says
    torchrun --nproc_per_node 2 train.py recipes/openmoji.yaml --cpu          # two processes without a GPU
    python train.py recipes/openmoji.yaml --resume_from_checkpoint latest     # go on after a stop, with the same result
    python train.py recipes/openmoji.yaml --push_to_hub --hub_model_id org/caan-openmoji --push_steps 500

`caan train openmoji` is the same command where the package is installed. The run itself is `caan/training/run.py`, its loop
`caan/training/loop.py`.
"""

import sys

from caan.training.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], prog="train.py"))

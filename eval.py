"""Evaluate retrievers on a zero-shot benchmark.

    python eval.py --model outputs/openmoji                                       # unseen classes of the embedded set
    python eval.py --model outputs/openmoji facebook/dinov2-small pixels          # beside baselines without training
    python eval.py --model org/caan-sketchy --dataset sketchy --data_dir Sketchy --generalized
    python eval.py --model outputs/openmoji --split validation                    # held-out items of seen classes
    python eval.py --model outputs/openmoji pixels --update_card                  # and write the model's card anew

`caan eval` is the same command where the package is installed. The run itself is `caan/evaluation/run.py`.
"""

import sys

from caan.evaluation.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], prog="eval.py"))

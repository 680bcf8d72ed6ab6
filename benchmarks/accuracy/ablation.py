"""What each part of CAAN brings: the whole of it, and the same without one part.

    python -m benchmarks.accuracy.ablation --fold 0          # all rows of a fold, with table and figure
    python -m benchmarks.accuracy.ablation --fold 0 1 2      # mean and spread

Parts of the paper: text, the relation loss L_rn, the triplet loss L_tri, the alignment module (without it the losses see the
features before alignment only), two vision towers or one. Parts of ours: the contrastive term, descriptions as prototypes.
"""

from functools import partial
from pathlib import Path

from benchmarks.accuracy.study import Row, Run, build_caan, parse_study, run_study
from benchmarks.accuracy.summary import draw_bars, write_table


def changed(run: Run, **fields) -> tuple:
    """CAAN with some config fields changed."""
    return build_caan(run.with_config(**fields))


CHANGES = {
    "CAAN": {},
    "without text": {"use_text": False},
    "without L_rn": {"lambda_rn": 0.0},
    "without L_tri": {"lambda_tri": 0.0},
    "without alignment": {"loss_on": "before"},
    "losses after alignment only": {"loss_on": "after"},
    "without the contrastive term": {"lambda_con": 0.0},
    "without text prototypes": {"lambda_text": 0.0},
    "the paper's losses alone": {"lambda_con": 0.0, "lambda_text": 0.0},
    "two towers": {"share_vision_encoder": False},
}
ROWS = [Row(name, partial(changed, **fields)) for name, fields in CHANGES.items()]


def show(results: list[dict], path: Path) -> None:
    write_table(results, list(CHANGES), path)
    draw_bars(results, list(CHANGES), path)


if __name__ == "__main__":
    run_study("ablation", ROWS, parse_study(__doc__), show)

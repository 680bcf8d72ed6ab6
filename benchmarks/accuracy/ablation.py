"""What each part of CAAN brings: the whole of it, and the same without one part.

    python -m benchmarks.accuracy.ablation --fold 0          # all rows of a fold, with table and figure
    python -m benchmarks.accuracy.ablation --fold 0 1 2      # mean and spread

Parts of the paper: text, the relation loss L_rn, the triplet loss L_tri, the alignment module (without it the losses see the
features before alignment only), two vision towers or one. Parts of ours: the contrastive term, descriptions as prototypes, the
shade over what a sketch's outline encloses.
"""

from pathlib import Path

from benchmarks.accuracy.rows import CAAN, WITHOUT_L_RN, WITHOUT_L_TRI, WITHOUT_TEXT, on_lines, own_results, trained, variant
from benchmarks.accuracy.study import build_caan, parse_study, run_study
from benchmarks.accuracy.summary import draw_bars, write_table

ROWS = [
    CAAN,
    WITHOUT_TEXT,
    WITHOUT_L_RN,
    WITHOUT_L_TRI,
    variant("without alignment", loss_on="before"),
    variant("without the contrastive term", lambda_con=0.0),
    variant("without text prototypes", lambda_text=0.0),
    variant("the paper's losses alone", lambda_con=0.0, lambda_text=0.0, lambda_tri=1.0, lambda_rn=1.0),
    trained("without shade", on_lines(build_caan), whitened=True),
    variant("two towers", share_vision_encoder=False),
]


def show(results: list[dict], path: Path) -> None:
    order = [row.name for row in ROWS]
    write_table(own_results(results), order, path, "CAAN")
    draw_bars(own_results(results), order, path)


if __name__ == "__main__":
    run_study("ablation", ROWS, parse_study(__doc__), show)

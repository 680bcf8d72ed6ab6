"""The paper's Figure 4: mAP@all and Prec over the weights of its two losses, lambda_tri and lambda_rn.

    python -m benchmarks.accuracy.lambdas --fold 0           # a grid of nine trained models
    python -m benchmarks.accuracy.lambdas --rows "tri 0 "    # only the rows whose name begins so

The other terms keep the recipe's weights. The paper shows TU-Berlin at Prec@100; here it is a fold of Sketchy at Prec@25.
"""

from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt

from benchmarks.accuracy.ablation import changed
from benchmarks.accuracy.study import Row, parse_study, run_study
from benchmarks.accuracy.summary import METRICS, write_table

WEIGHTS = (0.0, 0.2, 1.0)
GRID = {f"tri {tri:g} rn {rn:g}": {"lambda_tri": tri, "lambda_rn": rn} for tri in WEIGHTS for rn in WEIGHTS}
ROWS = [Row(name, partial(changed, **fields)) for name, fields in GRID.items()]


def mean_of(results: list[dict], name: str, metric: str) -> float:
    """Mean of a row's runs; NaN where there is none."""
    values = [r[metric] for r in results if r["row"] == name]
    return sum(values) / len(values) if values else float("nan")


def draw_grid(results: list[dict], path: Path) -> None:
    """Writes `lambdas.png`: one panel a metric, lambda_tri down, lambda_rn across."""
    figure, panels = plt.subplots(1, 2, figsize=(7, 3.2), layout="constrained")
    for axes, metric in zip(panels, ("map_all", "prec_25")):
        values = [[mean_of(results, f"tri {tri:g} rn {rn:g}", metric) for rn in WEIGHTS] for tri in WEIGHTS]
        image = axes.imshow(values, cmap="cividis")
        middle = sum(image.get_clim()) / 2
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                color = "black" if value > middle else "white"
                axes.text(column, row, f"{value:.3f}", ha="center", va="center", color=color)
        axes.set_xticks(range(len(WEIGHTS)), [f"{w:g}" for w in WEIGHTS])
        axes.set_yticks(range(len(WEIGHTS)), [f"{w:g}" for w in WEIGHTS])
        axes.set_xlabel("lambda_rn")
        axes.set_ylabel("lambda_tri")
        axes.set_title(METRICS[metric], fontsize=10)
    figure.savefig(path.with_suffix(".png"), dpi=160)
    plt.close(figure)


def show(results: list[dict], path: Path) -> None:
    write_table(results, list(GRID), path)
    draw_grid(results, path)


if __name__ == "__main__":
    run_study("lambdas", ROWS, parse_study(__doc__), show)

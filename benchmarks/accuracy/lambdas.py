"""The paper's Figure 4: mAP@all and Prec over the weights of its two losses, lambda_tri and lambda_rn.

    python -m benchmarks.accuracy.lambdas --fold 0             # five trained models, three of them shared with `ablation`
    python -m benchmarks.accuracy.lambdas --rows lambda_tri    # only the rows whose name begins so

One weight varies while all others are the recipe's. The paper shows TU-Berlin at Prec@100; here it is a fold of Sketchy at
Prec@25.
"""

from pathlib import Path

import matplotlib.pyplot as plt

from benchmarks.accuracy.rows import CAAN, WITHOUT_L_RN, WITHOUT_L_TRI, own_results, variant
from benchmarks.accuracy.study import parse_study, run_study
from benchmarks.accuracy.summary import BLUE, METRICS, ORANGE, write_table

RECIPE = 0.2  # both weights in recipes/sketchy_small.yaml
HIGH = 1.0
CURVES = {
    "lambda_tri": {0.0: WITHOUT_L_TRI, RECIPE: CAAN, HIGH: variant("lambda_tri 1", lambda_tri=HIGH)},
    "lambda_rn": {0.0: WITHOUT_L_RN, RECIPE: CAAN, HIGH: variant("lambda_rn 1", lambda_rn=HIGH)},
}
ROWS = list({row.name: row for curve in CURVES.values() for row in curve.values()}.values())


def mean_of(results: list[dict], name: str, metric: str) -> float:
    """Mean of a row's runs; NaN where there is none."""
    values = [r[metric] for r in results if r["row"] == name]
    return sum(values) / len(values) if values else float("nan")


def draw_curves(results: list[dict], path: Path) -> None:
    """Writes `lambdas.png`: one panel a weight, mAP@all and Prec@25 over it, runs as dots."""
    figure, panels = plt.subplots(1, 2, figsize=(7, 3), layout="constrained", sharey=True)
    for axes, (weight, curve) in zip(panels, CURVES.items()):
        for metric, color in (("map_all", BLUE), ("prec_25", ORANGE)):
            means = [mean_of(results, row.name, metric) for row in curve.values()]
            axes.plot(range(len(curve)), means, color=color, label=METRICS[metric])
            for place, row in enumerate(curve.values()):
                runs = [r[metric] for r in results if r["row"] == row.name]
                axes.plot([place] * len(runs), runs, "o", color=color, markersize=3.5)
        axes.set_xticks(range(len(curve)), [f"{value:g}" for value in curve])
        axes.set_xlabel(weight)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=9)
    figure.savefig(path.with_suffix(".png"), dpi=160)
    plt.close(figure)


def show(results: list[dict], path: Path) -> None:
    write_table(own_results(results), [row.name for row in ROWS], path, "CAAN")
    draw_curves(own_results(results), path)


if __name__ == "__main__":
    run_study("lambdas", ROWS, parse_study(__doc__), show)

"""How the recipe was found: from the first recipe to today's, one change a row, after one pass over fold 4.

    python -m benchmarks.accuracy.recipe                  # all rows, with table and figure
    python -m benchmarks.accuracy.recipe --rows "shaded"  # only the rows whose name begins so

Fold 4 is for choosing and has no part in the other studies. The rows stand in the order of the search, which was greedy.
"""

from pathlib import Path

from benchmarks.accuracy.rows import on_lines, trained
from benchmarks.accuracy.study import build_caan, parse_study, run_study
from benchmarks.accuracy.summary import draw_bars, write_table

LAST = "shaded, 6 classes a batch, rate 6e-5"


def row(name: str, classes: int, rate: float, build=build_caan, **options):
    """CAAN with this many classes a batch and this peak rate of the vision encoder."""
    return trained(name, build, whitened=True, classes_per_batch=classes, vision_learning_rate=rate, **options)


ROWS = [
    row("lines, 24 classes a batch, rate 1e-4", 24, 1e-4, on_lines(build_caan)),
    row("lines, 12 classes a batch, rate 1e-4", 12, 1e-4, on_lines(build_caan)),
    row("lines, 6 classes a batch, rate 1e-4", 6, 1e-4, on_lines(build_caan)),
    row("shaded, 6 classes a batch, rate 1e-4", 6, 1e-4),
    row(LAST, 6, 6e-5),
    row("shaded, 6 classes a batch, rate 3.5e-5", 6, 3.5e-5),
    row("shaded, 6 classes a batch, rate 6e-5, layer decay 0.9", 6, 6e-5, layer_decay=0.9),
]


def show(results: list[dict], path: Path) -> None:
    order = [row.name for row in ROWS]
    write_table(results, order, path, LAST)
    draw_bars(results, order, path, LAST)


if __name__ == "__main__":
    run_study("recipe", ROWS, parse_study(__doc__, fold=[4], num_epochs=1), show)

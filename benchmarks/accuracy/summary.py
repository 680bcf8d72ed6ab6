"""Results of a study as a table and as a figure: mean and spread over folds and seeds, and what each row costs."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

import matplotlib

from caan.evaluation.report import results_table

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the backend is chosen)

METRICS = {"map_all": "mAP@all", "prec_25": "Prec@25", "top1": "top-1"}
PRECISIONS = {"no": "float32", "bf16": "bfloat16", "fp16": "float16"}
BLUE, ORANGE, GRAY = "#0072b2", "#d55e00", "#999999"  # told apart by colour-blind readers too


def summarise(results: Sequence[dict], order: Sequence[str], reference: str) -> list[dict]:
    """One line a row, in the given order; other rows, such as a re-ranked one, follow the one they were trained as.

    Where a row was run for several numbers of epochs, each has a line. Spread is the standard deviation over runs. Rows may
    have unequal runs: what compares is the last column but the costs, the mean difference of mAP@all to the row `reference`
    over the folds and seeds that both have.
    """
    lines = []
    names = list(dict.fromkeys((r["trained_as"], r["row"], r["epochs"]) for r in results))
    names.sort(key=lambda n: (order.index(n[0]) if n[0] in order else len(order), n[2], n[1] != n[0]))
    for trained_as, row, epochs in names:
        runs = [r for r in results if (r["trained_as"], r["row"], r["epochs"]) == (trained_as, row, epochs)]
        line = {"row": row, "epochs": epochs, "runs": len(runs)}
        for metric, heading in METRICS.items():
            values = [r[metric] for r in runs]
            line[heading] = f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")
        line[f"over {reference}"] = difference(runs, [r for r in results if r["row"] == reference])
        speeds = [r["images_seen"] / r["seconds"] / r["threads"] for r in runs if "threads" in r]
        line["images seen"] = runs[0].get("images_seen")
        line["images/s a thread"] = round(mean(speeds), 1) if speeds else None
        line["parameters (M)"] = round(runs[0]["trained_parameters"] / 1e6, 1) if runs[0]["trained_parameters"] else None
        lines.append(line)
    return lines


def difference(runs: Sequence[dict], reference: Sequence[dict]) -> str | None:
    """Mean and spread of the differences in mAP@all over folds and seeds; what was trained compares after equal epochs."""
    if not reference or runs[0]["row"] == reference[0]["row"]:
        return None
    most = max(r["epochs"] for r in reference)
    by_run = {(r["fold"], r["seed"], r["epochs"]): r["map_all"] for r in reference}
    keys = [(r["fold"], r["seed"], r["epochs"] or most) for r in runs]
    gains = [r["map_all"] - by_run[key] for r, key in zip(runs, keys) if key in by_run]
    if not gains:
        return None
    return f"{mean(gains):+.3f}" + (f" ± {stdev(gains):.3f}" if len(gains) > 1 else "")


def write_table(results: Sequence[dict], order: Sequence[str], path: Path, reference: str) -> None:
    """Writes `<study>.md`, and prints it. `reference`: the row that the others are compared with."""
    table = results_table(summarise(results, order, reference), digits=1)
    runs = sorted({(r["fold"], r["seed"]) for r in results})
    sizes = sorted({(r["num_queries"], r["gallery_size"]) for r in results})
    precisions = sorted({PRECISIONS.get(r["precision"], r["precision"]) for r in results if "precision" in r})
    trained = f"trained in {' and '.join(precisions)}, " if precisions else ""  # frozen rows alone were not
    said = (
        f"Fold-unseen classes of Sketchy; (fold, seed): {', '.join(map(str, runs))}; "
        f"(queries, gallery): {', '.join(map(str, sizes))}; micro mean over queries; ± standard deviation over runs; "
        f"{trained}judged in float32."
    )
    path.with_suffix(".md").write_text(f"{said}\n\n{table}\n")
    print(f"{said}\n\n{table}")


def shared_runs(results: Sequence[dict]) -> list[dict]:
    """The results on those folds and seeds that every trained or frozen row has: their means compare."""
    runs = {}
    for r in results:
        runs.setdefault(r["trained_as"], set()).add((r["fold"], r["seed"]))
    shared = set.intersection(*runs.values())
    return [r for r in results if (r["fold"], r["seed"]) in shared]


def draw_bars(results: Sequence[dict], order: Sequence[str], path: Path, highlight: str = "CAAN") -> None:
    """Writes `<study>.png`: mean mAP@all of each row over the runs that all rows have, as bars; each run as a dot."""
    results = shared_runs(results) or results
    lines = summarise(results, order, highlight)
    values = [[r["map_all"] for r in results if (r["row"], r["epochs"]) == (x["row"], x["epochs"])] for x in lines]
    figure, axes = plt.subplots(figsize=(8, 0.36 * len(lines) + 1.1), layout="constrained")
    colors = [BLUE if line["row"].startswith(highlight) else GRAY for line in lines]
    axes.barh(range(len(lines)), [mean(v) for v in values], color=colors, height=0.65)
    for place, runs in enumerate(values):
        axes.plot(runs, [place] * len(runs), "o", color="black", markersize=3.5)
        axes.text(max(runs) + 0.01, place, f"{mean(runs):.3f}", va="center", fontsize=9)
    several = len({line["epochs"] for line in lines if line["epochs"]}) > 1
    labels = [f"{line['row']} ({line['epochs']} ep.)" if several and line["epochs"] else line["row"] for line in lines]
    axes.set_yticks(range(len(lines)), labels, fontsize=9)
    axes.invert_yaxis()
    folds = ", ".join(map(str, sorted({r["fold"] for r in results})))
    axes.set_xlabel(f"mAP@all, fold-unseen classes (fold {folds})", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(0, max(max(v) for v in values) * 1.18)
    axes.margins(y=0.01)
    figure.savefig(path.with_suffix(".png"), dpi=160)
    plt.close(figure)

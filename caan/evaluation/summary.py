"""What an evaluation says in words: the lines of `table.md`, which the model card shares."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from caan.evaluation.record import Evaluation
from caan.evaluation.report import AVERAGES, TIES, results_table


def metric_heading(name: str) -> str:
    """How a metric's name is written: map_200_hits -> mAP@200 (hits), prec_100 -> Prec@100, top1 -> top-1, acc_5_class -> acc@5
    (class)."""
    if name == "top1":
        return "top-1"
    kind, k, *variant = name.split("_")
    return {"map": "mAP", "prec": "Prec", "acc": "acc"}[kind] + f"@{k}" + (f" ({variant[0]})" if variant else "")


def metric_table(record: Evaluation, names: Mapping[str, str] | None = None, first: str = "model") -> str:
    """A markdown table with a row for each retriever and a column for each metric.

    Args:
        names: how retrievers are called in it, where otherwise than in the record. first: heading of their column.
    """
    return _table(record.results, record.definitions, names, first)


def instance_table(record: Evaluation, names: Mapping[str, str] | None = None, first: str = "model") -> str | None:
    """The same of the instance level; None where it was not measured."""
    return _table(record.instance_results, record.instance_definitions, names, first) if record.instance_results else None


def _table(results: Mapping[str, dict], metrics: Iterable[str], names: Mapping[str, str] | None, first: str) -> str:
    rows = [{first: (names or {}).get(name, name), **row} for name, row in results.items()]
    return results_table(rows, {first: first, **{name: metric_heading(name) for name in metrics}}, digits=4)


def instance_sizes(record: Evaluation) -> str | None:
    """What the instance level was measured on, in a sentence; None where it was not measured."""
    if not record.instance_results:
        return None
    row = next(iter(record.instance_results.values()))
    asked = row["num_queries"] - row["num_queries_without_pair"] - row["num_queries_without_photo"]
    return (
        f"Instance level: how often the very photo that a sketch was drawn from is among the first K, over {asked:,} sketches; "
        f"{row['photos_per_class']:,g} photos a class in the median, {row['gallery_size']:,} in the gallery. Mean over "
        f"queries; {TIES[row['ties']]}."
    )


def metric_definitions(record: Evaluation) -> dict[str, str]:
    """Heading -> definition of all metrics in the record."""
    both = {**record.definitions, **record.instance_definitions}
    return {metric_heading(name): text.partition(": ")[2] or text for name, text in both.items()}


def protocol(record: Evaluation) -> str:
    """Data set, split and gallery in words: "sketchy 104_21, split test, gallery: photos of the same classes"."""
    data = f"{Path(record.dataset).name} {record.dataset_config or ''}".strip()
    partial = " of a folder that need not be whole (--allow_partial)" if record.settings.get("allow_partial") else ""
    return f"{data}{partial}, split {record.split}, gallery: photos of {gallery_classes(record)}"


def gallery_classes(record: Evaluation) -> str:
    """Whose photos are searched."""
    return "the same classes and of all classes of the training split" if record.generalized else "the same classes"


def sizes(record: Evaluation) -> str:
    """How much was searched, and for how much, in a sentence."""
    row = next(iter(record.results.values()))
    asked = row["num_queries"] - row["num_queries_without_relevant"]
    return (
        f"{asked:,} query sketches, a gallery of {row['gallery_size']:,} photos; relevant to a query are "
        f"{row['relevant_min']:,} or more of them, {row['relevant_median']:,g} in the median."
    )


def means(record: Evaluation) -> str:
    """Which mean, and what becomes of ties."""
    return f"Numbers are the {AVERAGES[record.average]}; {TIES[record.ties]}."


def reranking_note(record: Evaluation) -> str | None:
    """What a reader must know of re-ranked numbers; None where they are not."""
    row = next(iter(record.results.values()))
    return record.rerank.describe(row["relevant_median"]) if record.rerank else None


def results_markdown(record: Evaluation) -> str:
    """The text of `table.md`: what was measured, the table, definitions and notes; whoever copies the table has them beside."""
    rerank = reranking_note(record)
    evaluated = [f"- {name}: {record.seen(name)}" for name in record.results]
    definitions = [f"- {heading}: {text}" for heading, text in metric_definitions(record).items()]
    parts = [
        f"{protocol(record)}. {sizes(record)} {means(record)}",
        rerank and f"**Re-ranked.** {rerank}",
        metric_table(record),
        instance_sizes(record),
        instance_table(record),
        "\n".join([*definitions, "- R is the number of relevant photos of a query; a hit is one of them."]),
        "\n".join(evaluated),
        "\n".join(f"- note: {note}" for note in record.notes),
        f"    {record.command}",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"

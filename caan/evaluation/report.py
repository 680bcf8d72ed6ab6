"""What a retrieval measurement says in words: the report with its definitions, and the table of several reports."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

AVERAGES = {"micro": "mean over queries", "macro": "mean of the class means"}
TIES = {
    "gallery_order": "equal scores rank in gallery order",
    "pessimistic": "among equal scores the irrelevant photos rank first",
}


@dataclass(frozen=True)
class RetrievalReport:
    """The metrics of a ranking, what they mean, and what they were measured on.

    Attributes:
        metrics: fractions in [0, 1]: `map_all`, `map_{ap_k}`, `map_{ap_k}_hits`, `prec_{k}` of each top k, `top1`; with
            `voc` also `map_all_voc` and `map_{ap_k}_voc`.
        definitions: of each metric.
        gallery_size: photos ranked.
        num_queries: all queries, of which `num_queries_without_relevant` are in no mean.
        relevant_min, relevant_median: relevant photos per query, over the queries that have any.
        average, ties: a key of `AVERAGES` and of `TIES`.
        notes: what a reader of these numbers must know, in sentences.
        per_class: class -> its mean metrics; empty when no labels were given.
        per_query: metric -> float64 (num_queries,), NaN where a query was left out; None unless asked for.
    """

    metrics: dict[str, float]
    definitions: dict[str, str]
    gallery_size: int
    num_queries: int
    num_queries_without_relevant: int
    relevant_min: int
    relevant_median: float
    average: str
    ties: str
    notes: tuple[str, ...]
    per_class: dict[Hashable, dict[str, float]] = field(repr=False)
    per_query: dict[str, Tensor] | None = field(repr=False)

    def __getitem__(self, name: str) -> float:
        return self.metrics[name]

    def to_dict(self) -> dict[str, float | int | str]:
        """The metrics and their circumstances as one flat dictionary, fit for JSON."""
        names = ["gallery_size", "num_queries", "num_queries_without_relevant", "relevant_min", "relevant_median"]
        return {**self.metrics, **{name: getattr(self, name) for name in [*names, "average", "ties"]}}

    def __str__(self) -> str:
        width = max(map(len, self.metrics))
        return "\n".join(
            [
                f"{self.num_queries - self.num_queries_without_relevant:,} queries in a gallery of {self.gallery_size:,}; "
                f"relevant photos per query: min {self.relevant_min:,}, median {self.relevant_median:,g}",
                f"{self.average} average ({AVERAGES[self.average]}); ties: {TIES[self.ties]}",
                *(f"  {name:<{width}}  {value:.4f}  {self.definitions[name]}" for name, value in self.metrics.items()),
                *(f"note: {note}" for note in self.notes),
            ]
        )


def metric_definitions(top_k: Sequence[int], ap_k: int, voc: bool) -> dict[str, str]:
    """A definition of each metric. R is the number of relevant photos of a query; a hit is one of them in the ranking."""
    definitions = {
        "map_all": "mAP@all: precision at each hit, summed, divided by R",
        f"map_{ap_k}": f"mAP@{ap_k}: precision at each hit in the top {ap_k}, summed, divided by min({ap_k}, R)",
        f"map_{ap_k}_hits": f"the same, divided by the number of hits in the top {ap_k} (0 without a hit)",
        **{f"prec_{k}": f"Prec@{k}: hits in the top {k}, divided by {k}" for k in top_k},
        "top1": "share of queries whose first photo is a hit (Prec@1)",
    }
    if voc:
        definitions["map_all_voc"] = "mAP@all with VOC's precision envelope: at each hit the best precision at it or later"
        definitions[f"map_{ap_k}_voc"] = f"mAP@{ap_k} with VOC's precision envelope, divided by min({ap_k}, R)"
    return definitions


def report_notes(num_relevant: Sequence[int], gallery_size: int, ks: Sequence[int]) -> tuple[str, ...]:
    """Sentences on queries that were left out, a gallery smaller than a K, and queries with fewer than K relevant photos."""
    notes = []
    if missing := sum(count == 0 for count in num_relevant):
        notes.append(f"{missing:,} of {len(num_relevant):,} queries have no relevant photo in the gallery and are in no mean")
    for k in ks:
        if k > gallery_size:
            notes.append(f"the gallery of {gallery_size:,} is smaller than {k}: Prec@{k} is divided by {k} all the same")
        elif few := sum(0 < count < k for count in num_relevant):
            notes.append(f"{few:,} queries have fewer than {k} relevant photos: their Prec@{k} cannot reach 1")
    return tuple(notes)


def results_table(
    rows: Sequence[Mapping[str, object]], columns: Mapping[str, str] | Sequence[str] | None = None, digits: int = 3
) -> str:
    """A GitHub-markdown table, aligned in the source too.

    Args:
        rows: one mapping a row, such as `{"name": "CAAN", **report.to_dict()}`. A missing or None value is shown as an en dash.
        columns: keys in order, or key -> heading; by default the keys in order of first appearance.
        digits: decimals of a float. Integers get thousands separators; numbers are right-aligned.

    Raises:
        ValueError: if there is no row or no column, or if a column is in no row.
    """
    if columns is None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
    headings = dict(columns) if isinstance(columns, Mapping) else {key: key for key in columns}
    if not rows or not headings:
        raise ValueError("a table needs at least one row and one column")
    if unknown := [key for key in headings if not any(key in row for row in rows)]:
        raise ValueError(f"no row has the columns {unknown}; there are {list(dict.fromkeys(k for row in rows for k in row))}")
    numeric = [all(isinstance(row.get(key), int | float | None) for row in rows) for key in headings]
    cells = [list(headings.values()), *([_cell(row.get(key), digits) for key in headings] for row in rows)]
    widths = [max(3, *(len(line[i]) for line in cells)) for i in range(len(headings))]
    rule = ["-" * (width - 1) + ":" if right else "-" * width for width, right in zip(widths, numeric)]
    lines = [[text.rjust(w) if right else text.ljust(w) for text, w, right in zip(line, widths, numeric)] for line in cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])


def _cell(value: object, digits: int) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")

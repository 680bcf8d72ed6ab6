"""The instance level: does a sketch find the very photo that it was drawn from? What helps, on unseen classes.

    python -m benchmarks.accuracy.instance                               # all rows on fold 4, which is for choosing
    python -m benchmarks.accuracy.instance --rows "own photos"           # the rows whose name begins so
    python -m benchmarks.accuracy.instance --fold 0 --num_epochs 4 --rows "today" "own photos and contrast, 3 x 4"   # a report

Each row is judged by acc@1 and acc@5 among the 25 photos of a class (chance 0.04 and 0.20), by acc@1 in the whole gallery, and
by mAP@all, which the instance level must not cost; with whitening and without, since whitening flattens what varies within a
class. "P x K" are the classes and items of a batch; images seen are the same in all rows.

Standing controls: today's recipe in other batches, and own photos (drawn with their sketches, both mirrored or neither) without
a loss over pairs. The losses over pairs: *contrast* is `losses_caan.instance_loss`; *triplet* takes the nearest wrong photo of
the class, and *jigsaw* is the patch shuffling of Sain et al., "CLIP for All Things Zero-Shot Sketch-Based Image Retrieval"
(CVPR 2023, arXiv 2303.13440): a sketch whose tiles are shuffled is nearer to its photo shuffled alike than to the same shuffled
otherwise.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.accuracy.baselines import Baseline
from benchmarks.accuracy.rows import NOT_WHITENED, RERANKED, with_extras
from benchmarks.accuracy.study import Row, Run, build_caan, judge, parse_study, run_study
from caan.data.benchmark import Benchmark
from caan.evaluation.instance import score_instance_metrics
from caan.evaluation.report import results_table
from losses_caan import triplet_loss
from modeling_caan import CAANModel

MARGIN = 0.2
TILES = 2  # a side, of the jigsaw
METRICS = {
    "acc_1_class": "acc@1 (class)",
    "acc_5_class": "acc@5 (class)",
    "acc_1_gallery": "acc@1 (gallery)",
    "map_all": "mAP@all",
}


class WithPairLoss(Baseline):
    """A CAAN that learns by one more loss over the pairs of a batch. Args: term: features and inputs -> loss. weight: of it."""

    def __init__(self, caan: CAANModel, term: Callable, weight: float):
        super().__init__(caan)
        self.term, self.weight = term, weight

    def encode_descriptions(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        return self.caan.encode_descriptions(*inputs)

    def forward(self, **inputs: Tensor) -> SimpleNamespace:
        result = self.caan(**inputs)
        pairs = self.term(self.caan, result, inputs)
        return SimpleNamespace(loss=result.loss + self.weight * pairs, loss_pairs=pairs)


def within_class_triplet(caan: CAANModel, result, inputs: dict[str, Tensor]) -> Tensor:
    """Triplet loss with the own photo as the positive and the nearest other photo of the class in the batch as the negative."""
    labels, drawn, shown = (inputs[name] for name in ("labels", "sketch_instances", "photo_instances"))
    sketches, photos = result.sketch_embeds.float(), result.image_embeds.float()
    own = (drawn[:, None] == shown) & (drawn >= 0)[:, None]
    other = (labels[:, None] == labels) & ~own
    counts = own.any(dim=1) & other.any(dim=1)
    if not counts.any():
        return 0.0 * sketches.sum()
    cosines = sketches @ photos.T
    negative = cosines.detach().masked_fill(~other, -torch.inf).argmax(dim=1)
    positive = own.int().argmax(dim=1)
    return triplet_loss(sketches[counts], photos[positive[counts]], photos[negative[counts]], MARGIN)


def shuffled(pixels: Tensor, order: Tensor) -> Tensor:
    """Pictures (batch, 3, side, side) whose TILES x TILES tiles stand in another order; edges left over are cut off."""
    side = pixels.shape[-1] // TILES
    tiles = F.unfold(pixels[..., : side * TILES, : side * TILES], side, stride=side)[..., order]
    whole = F.fold(tiles, side * TILES, side, stride=side)
    return F.interpolate(whole, size=pixels.shape[-2:]) if whole.shape != pixels.shape else whole


def jigsaw(caan: CAANModel, result, inputs: dict[str, Tensor]) -> Tensor:
    """Triplet loss of shuffled sketches: positive is the own photo shuffled alike, negative the same shuffled otherwise."""
    counts = (inputs["sketch_instances"] == inputs["photo_instances"]) & (inputs["sketch_instances"] >= 0)
    if not counts.any():
        return 0.0 * result.loss
    first = torch.randperm(TILES**2)
    second = first[(torch.arange(TILES**2) + 1 + torch.randint(TILES**2 - 1, ())) % TILES**2]  # another one
    sketches, photos = (inputs[name][counts] for name in ("sketch_pixel_values", "pixel_values"))
    anchor = caan.encode(shuffled(sketches, first), "sketch").global_token
    positive, negative = (caan.encode(shuffled(photos, order), "photo").global_token for order in (first, second))
    return triplet_loss(anchor, positive, negative, MARGIN)


def with_loss(run: Run, term: Callable, weight: float) -> tuple:
    """The recipe's CAAN with one more loss over pairs."""
    caan, processor, tokens = build_caan(run)
    return WithPairLoss(caan, term, weight), processor, tokens


def with_fields(run: Run, **fields) -> tuple:
    """CAAN with other fields of its config."""
    return build_caan(run.with_config(**fields))


def scores(name: str, model, processor, run: Run) -> dict[str, Tensor]:
    """Cosine similarities with whitening, under the row's own name, and without."""
    return {key: value for key, value in with_extras(name, True, model, processor, run).items() if not key.endswith(RERANKED)}


def judge_instances(scores: Tensor, benchmark: Benchmark) -> dict:
    """What `judge` keeps, and acc@K of the instance level."""
    labels, instances = benchmark.queries.labels, benchmark.queries.instances
    known = labels, benchmark.gallery_labels, instances, benchmark.gallery_instances
    report = score_instance_metrics([scores.float()], *known)
    return judge(scores, benchmark) | {name: round(value, 5) for name, value in report.metrics.items()}


def row(name: str, p: int, k: int, build: Callable = build_caan, **options) -> Row:
    """A row in batches of p classes x k, which its name says. Args: options: of TrainOptions, unlike the recipe's."""
    name = f"{name}, {p} x {k}"
    batches = {"classes_per_batch": p, "items_per_class": k, **options}
    return Row(name, build, partial(scores, name), options=batches, judge=judge_instances)


CONTRAST = partial(with_fields, lambda_instance=1.0)
ROWS = [
    row("today's recipe", 6, 1),
    row("today's recipe", 3, 4),
    row("own photos", 3, 4, own_photos=1.0),
    row("own photos and contrast", 6, 2, CONTRAST),
    row("own photos and contrast", 3, 4, CONTRAST),
    row("own photos and contrast", 2, 8, CONTRAST),
    row("own photos of half the sketches and contrast", 2, 8, CONTRAST, own_photos=0.5),
    row("own photos and contrast at 0.3", 3, 4, partial(with_fields, lambda_instance=0.3)),
    row("own photos and contrast at 3", 3, 4, partial(with_fields, lambda_instance=3.0)),
    row("own photos and contrast, weak text", 3, 4, partial(with_fields, lambda_instance=1.0, lambda_text=0.2)),
    row("own photos and triplet", 3, 4, partial(with_loss, term=within_class_triplet, weight=1.0), own_photos=1.0),
    row("own photos and jigsaw", 3, 4, partial(with_loss, term=jigsaw, weight=1.0), own_photos=1.0),
]


def summarise(results: list[dict]) -> list[dict]:
    """A line for each row and number of epochs: means over folds and seeds, in the order of `ROWS`."""
    order = [each.name for each in ROWS]
    kept = [r for r in results if "acc_1_class" in r]
    keys = {(order.index(r["trained_as"]), r["epochs"], r["row"].endswith(NOT_WHITENED), r["row"]) for r in kept}
    lines = []
    for _, epochs, _, name in sorted(keys):
        runs = [r for r in kept if (r["row"], r["epochs"]) == (name, epochs)]
        means = {metric: mean(r[metric] for r in runs) for metric in METRICS}
        lines.append({"row": name, "epochs": epochs, "runs": len(runs), **means})
    return lines


def show(results: list[dict], path: Path) -> None:
    """Writes `instance.md`, and prints it."""
    if not (lines := summarise(results)):
        return
    runs = ", ".join(map(str, sorted({(r["fold"], r["seed"]) for r in results})))
    said = (
        f"Fold-unseen classes of Sketchy; (fold, seed): {runs}; mean over queries, then over runs. Rows are whitened unless "
        "they say otherwise."
    )
    table = results_table(lines, {"row": "row", "epochs": "epochs", "runs": "runs", **METRICS}, digits=3)
    path.with_suffix(".md").write_text(f"{said}\n\n{table}\n")
    print(f"{said}\n\n{table}")


if __name__ == "__main__":
    kept = str(Path(__file__).parent / "results" / "instance")
    run_study("instance", ROWS, parse_study(__doc__, fold=[4], output_dir=kept), show)

"""The study of the instance level.  python -m pytest tests/benchmarks/test_instance_study.py"""

import json
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from running import forget_accelerate, shapes
from tiny import batch, caan_model, image_processor

from benchmarks.accuracy import instance
from benchmarks.accuracy.instance import (
    ROWS,
    WithPairLoss,
    jigsaw,
    judge_instances,
    show,
    shuffled,
    summarise,
    within_class_triplet,
)
from benchmarks.accuracy.study import Row, Run, run_row
from caan.data.benchmark import make_benchmark
from caan.data.pictures import load_splits
from caan.options import DataOptions, ModelOptions, TrainOptions


@pytest.fixture
def run():
    forget_accelerate()
    data = DataOptions(dataset="folder", data_dir=str(shapes()), num_workers=0)
    splits = load_splits(data)
    options = TrainOptions(classes_per_batch=2, items_per_class=3, num_epochs=1, batches_per_epoch=2, cpu=True)
    return Run(ModelOptions(), data, options, splits, make_benchmark(splits, "test"))


def pairs() -> dict:
    """A batch of three classes x two, of whose sketches the last has no own photo."""
    codes = torch.tensor([0, 1, 2, 3, 4, -1])
    inputs = {name: value for name, value in batch().items() if "pixel" in name or name == "labels"}
    return {**inputs, "sketch_instances": codes, "photo_instances": torch.tensor([0, 1, 3, 2, 4, 5])}


def test_the_triplet_takes_the_own_photo_and_the_nearest_other_of_the_class():
    model, inputs = caan_model(use_text=False), pairs()
    result = model(**inputs)
    expected = []
    for i, own, other in ((0, 0, 1), (1, 1, 0), (2, 3, 2), (3, 2, 3), (4, 4, 5)):  # in a class of two there is one other
        near, far = ((result.sketch_embeds[i] - result.image_embeds[j]).norm().item() for j in (own, other))
        expected.append(max(0, near - far + instance.MARGIN))
    assert within_class_triplet(model, result, inputs).item() == pytest.approx(sum(expected) / 5, abs=1e-5)
    none = {**inputs, "sketch_instances": torch.full((6,), -1)}
    assert within_class_triplet(model, result, none).item() == 0


def test_tiles_change_places():
    pixels = torch.arange(2 * 3 * 4 * 4.0).view(2, 3, 4, 4)
    assert torch.equal(shuffled(pixels, torch.arange(4)), pixels)
    turned = shuffled(pixels, torch.tensor([3, 2, 1, 0]))
    assert torch.equal(turned[..., :2, :2], pixels[..., 2:, 2:]) and torch.equal(turned[..., :2, 2:], pixels[..., 2:, :2])
    assert shuffled(torch.ones(1, 3, 7, 7), torch.arange(4)).shape == (1, 3, 7, 7)  # an odd side


def test_the_jigsaw_tells_two_orders_of_one_photo_apart():
    seen = []

    def encode(pixels, modality):
        seen.append((modality, pixels))
        return SimpleNamespace(global_token=pixels.flatten(1))

    inputs = pairs()
    loss = jigsaw(SimpleNamespace(encode=encode), SimpleNamespace(loss=torch.ones(())), inputs)
    assert [modality for modality, _ in seen] == ["sketch", "photo", "photo"]
    anchor, positive, negative = (pixels for _, pixels in seen)
    assert len(anchor) == 3  # rows whose own photo stands in the same row
    assert not torch.equal(positive, negative)
    assert torch.equal(positive.flatten(1).sort().values, negative.flatten(1).sort().values)  # one photo's pixels
    unit = [F.normalize(x.flatten(1), dim=-1) for x in (anchor, positive, negative)]
    expected = ((unit[0] - unit[1]).norm(dim=1) - (unit[0] - unit[2]).norm(dim=1) + instance.MARGIN).relu().mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-4)


def test_a_row_is_trained_on_pairs_and_judged_by_them(run):
    def build(run):
        caan = caan_model(use_text=False, share_vision_encoder=True, whitening=0.5)
        return WithPairLoss(caan, within_class_triplet, 0.5), image_processor(), None

    row = Row("triplet", build, options={"own_photos": 1.0}, judge=judge_instances)
    (record,) = run_row(row, run).values()
    assert record["images_seen"] == 2 * 6 * 2 and 0 <= record["acc_1_class"] <= record["acc_5_class"] <= 1
    assert {"map_all", "acc_10_gallery"} <= record.keys()


def test_scores_that_rank_the_own_photo_first_are_perfect(run):
    queries, gallery = run.benchmark.queries, run.benchmark.galleries[0]
    own = [[float(q.rpartition("sketch/")[2] == g.rpartition("photo/")[2]) for g in gallery.files] for q in queries.files]
    assert judge_instances(torch.tensor(own), run.benchmark)["acc_1_gallery"] == 1
    assert judge_instances(-torch.tensor(own), run.benchmark)["acc_5_class"] == 0


def test_rows_differ_in_what_their_names_say():
    assert len({row.name for row in ROWS}) == len(ROWS) and ROWS[0].name == "today's recipe, 6 x 1"
    for row in ROWS:
        p, k = (int(number) for number in row.name.rpartition(", ")[2].split(" x "))
        assert (row.options["classes_per_batch"], row.options["items_per_class"]) == (p, k)


def test_the_table_has_a_line_for_each_row_and_its_whitening(tmp_path, capsys):
    def record(row, trained_as, fold, value):
        metrics = dict.fromkeys(instance.METRICS, value)
        return {"row": row, "trained_as": trained_as, "fold": fold, "seed": 0, "epochs": 1, **metrics}

    name = ROWS[1].name
    results = [record(name, name, fold, value) for fold, value in ((4, 0.25), (0, 0.75))]
    results += [record(f"{name}, not whitened", name, 4, 0.125), record(ROWS[0].name, ROWS[0].name, 4, 0.5)]
    assert [(line["row"], line["runs"], line["acc_1_class"]) for line in summarise(results)] == [
        (ROWS[0].name, 1, 0.5),
        (name, 2, 0.5),
        (f"{name}, not whitened", 1, 0.125),
    ]
    show(results, tmp_path / "instance")
    assert (tmp_path / "instance.md").read_text() == capsys.readouterr().out
    assert "| acc@1 (class) |" in (tmp_path / "instance.md").read_text() and not json.dumps(results).count("NaN")
    show([], tmp_path / "none")
    assert not (tmp_path / "none.md").exists()

"""Benchmarks, their measurement and picture.  python -m pytest tests/evaluation/test_evaluate.py"""

import datasets
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from running import shapes
from tiny import caan_model, image_processor
from trees import UNSEEN

from caan.data.benchmark import make_benchmark
from caan.data.pictures import Pictures, load_splits
from caan.evaluation import evaluate as evaluation
from caan.evaluation.evaluate import embed_benchmark, evaluate, measure, retrieval_picture
from caan.evaluation.retrievers import Retriever
from caan.options import DataOptions


@pytest.fixture(scope="module")
def splits():
    return load_splits(DataOptions(dataset="folder", data_dir=str(shapes())))


@pytest.fixture(scope="module")
def retriever():
    return Retriever("tiny", caan_model(), image_processor())


def files(splits, split: str, modality: str) -> list[str]:
    """Files of a split's rows, by hand."""
    names = splits[split].features["modality"].names
    rows = zip(splits[split]["file"], splits[split]["modality"])
    return [file for file, number in rows if names[number] == modality]


# ------------------------------------------------------------------------------------------------------ the benchmark


@pytest.mark.parametrize("split", ["test", "validation"])
def test_sketches_of_a_split_search_its_photos(splits, split):
    benchmark = make_benchmark(splits, split)
    assert benchmark.queries.files == files(splits, split, "sketch")
    (gallery,) = benchmark.galleries
    assert gallery.files == files(splits, split, "photo")
    classes = {benchmark.queries.names[label] for label in benchmark.queries.labels}
    assert (classes == set(UNSEEN)) == (split == "test")
    assert benchmark.gallery_labels.tolist() == gallery.labels.tolist()


def test_the_generalized_gallery_holds_the_photos_of_all_classes(splits):
    benchmark = make_benchmark(splits, "test", generalized=True)
    assert benchmark.queries.files == files(splits, "test", "sketch")
    expected = [file for split in ("test", "train", "validation") for file in files(splits, split, "photo")]
    joined = [file for gallery in benchmark.galleries for file in gallery.files]
    assert joined == expected and len(set(joined)) == 7 * 8
    names = benchmark.queries.names
    assert [names[label] for label in benchmark.gallery_labels] == [file.split("/")[1] for file in expected]
    for row in (0, 15, 16, 50, 51, 55):  # across the borders of the galleries
        assert benchmark.gallery_picture(row).filename == expected[row]
    with pytest.raises(IndexError):
        benchmark.gallery_picture(56)


def test_a_validation_split_without_photos_adds_none(splits):
    photo = splits["validation"].features["modality"].str2int("photo")
    bare = datasets.DatasetDict(dict(splits))
    bare["validation"] = splits["validation"].filter(lambda row: row["modality"] != photo)
    assert len(make_benchmark(bare, "test", generalized=True).gallery_labels) == 7 * 8 - 5
    del bare["validation"]
    assert len(make_benchmark(bare, "test", generalized=True).gallery_labels) == 7 * 8 - 5


def test_what_cannot_be_asked_for(splits):
    with pytest.raises(ValueError, match="use it with split test"):
        make_benchmark(splits, "validation", generalized=True)
    alone = datasets.DatasetDict({"train": splits["train"]})
    with pytest.raises(ValueError, match="The data set has no split 'validation', only train"):
        make_benchmark(alone, "validation")
    with pytest.raises(ValueError, match="no split 'test', only train. A test needs unseen classes: name some in unseen.txt"):
        make_benchmark(alone)


# ---------------------------------------------------------------------------------------------------------- the numbers


def test_features_of_queries_and_joined_galleries(splits, retriever):
    benchmark = make_benchmark(splits, "test", generalized=True)
    queries, gallery = embed_benchmark(retriever, benchmark, batch_size=9, progress=False)
    assert queries.shape == (20, 8) and gallery.shape == (56, 8)
    for row in (3, 17, 40, 55):
        picture = benchmark.gallery_picture(row)
        pixels = retriever.processor(picture, modality="photo", return_tensors="pt").pixel_values
        with torch.no_grad():
            assert torch.allclose(gallery[row], retriever.model.get_image_features(pixels)[0], atol=1e-5)


def test_the_metrics_are_those_of_the_ranking(splits, retriever):
    benchmark = make_benchmark(splits)
    report = evaluate(retriever, benchmark, {"top_k": (3,), "ap_k": 5}, progress=False)
    queries, gallery = embed_benchmark(retriever, benchmark, progress=False)
    precisions, averages = [], []
    for query, label in zip(queries, benchmark.queries.labels):
        hits = (benchmark.gallery_labels[(gallery @ query).argsort(descending=True)] == label).numpy()
        precisions.append(hits[:3].sum() / 3)
        averages.append(np.mean([hits[: i + 1].mean() for i in np.flatnonzero(hits)]))
    assert report["prec_3"] == pytest.approx(np.mean(precisions), abs=1e-6)
    assert report["map_all"] == pytest.approx(np.mean(averages), abs=1e-6)
    assert (report.num_queries, report.gallery_size, report.relevant_min) == (20, 16, 8)


# ---------------------------------------------------------------------------------------------------------- the picture


@pytest.fixture
def shown(monkeypatch):
    """What the picture shows, in place of its pixels."""
    told = {}
    monkeypatch.setattr(evaluation, "retrieval_grid", lambda queries, results: told.update(queries=queries, results=results))
    return told


@pytest.mark.parametrize("rows", [1, 3, 20, 99])
def test_the_picture_shows_queries_from_best_to_worst_with_their_nearest_photos(splits, shown, rows):
    benchmark = make_benchmark(splits)
    features = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)), torch.randn(16, 6)
    report = measure(features, benchmark, per_query=True)
    retrieval_picture(features, benchmark, report, rows, top_k=4)
    assert len(shown["queries"]) == len(shown["results"]) == min(rows, 20)
    scores = F.normalize(features[0], dim=-1) @ F.normalize(features[1], dim=-1).T
    names, place = benchmark.queries.names, {file: row for row, file in enumerate(benchmark.queries.files)}
    order = []
    for (image, label), items in zip(shown["queries"], shown["results"]):
        row = place[image.filename]
        order.append(row)
        assert label == names[benchmark.queries.labels[row]]
        best = scores[row].argsort(descending=True)[:4].tolist()
        assert [item[0].filename for item in items] == [benchmark.galleries[0].files[i] for i in best]
        assert [item[1] for item in items] == [names[benchmark.gallery_labels[i]] for i in best]
        assert [item[2] for item in items] == pytest.approx([scores[row, i].item() for i in best], abs=1e-5)
    ranked = report.per_query["map_all"].argsort(descending=True, stable=True).tolist()
    places = [ranked.index(row) for row in order]
    assert places == sorted(set(places))  # no query twice, from the best on
    if rows == 1:
        assert places == [10]
    if rows == 3:
        assert places == [3, 10, 16]


@pytest.mark.parametrize("ties", ["gallery_order", "pessimistic"])
def test_the_picture_shows_the_ranking_that_was_measured_ties_and_all(splits, shown, ties):
    """A model that sees no difference: all scores are one tie, and the rule decides what the picture shows."""
    benchmark = make_benchmark(splits)
    features = torch.ones(20, 3), torch.ones(16, 3)
    report = measure(features, benchmark, ties=ties, per_query=True, top_k=(8,))
    retrieval_picture(features, benchmark, report, rows=20, top_k=8)
    own = [[item[1] == label for item in items] for (_, label), items in zip(shown["queries"], shown["results"])]
    assert sum(map(sum, own)) / (20 * 8) == pytest.approx(report["prec_8"])
    if ties == "pessimistic":
        assert not any(map(any, own))
    else:
        files = benchmark.galleries[0].files[:8]
        assert all([item[0].filename for item in items] == files for items in shown["results"])


def test_queries_without_a_relevant_photo_come_last_in_the_picture(splits, shown):
    benchmark = make_benchmark(splits)
    (gallery,) = benchmark.galleries
    only = [i for i, label in enumerate(gallery.labels.tolist()) if gallery.names[label] == "frame"]
    rows = [i for i, name in enumerate(splits["test"]["file"]) if not name.startswith("photo/gable")]
    benchmark = make_benchmark(datasets.DatasetDict(test=splits["test"].select(rows)))
    features = torch.randn(20, 4, generator=torch.Generator().manual_seed(1)), torch.randn(len(only), 4)
    report = measure(features, benchmark, per_query=True)
    assert report.num_queries_without_relevant == 10
    retrieval_picture(features, benchmark, report, rows=4, top_k=3)
    assert [label for _, label in shown["queries"]] == ["frame", "frame", "gable", "gable"]


def test_the_picture_is_drawn(splits, retriever):
    benchmark = make_benchmark(splits)
    features = embed_benchmark(retriever, benchmark, progress=False)
    image = retrieval_picture(features, benchmark, measure(features, benchmark, per_query=True), rows=2)
    assert image.mode == "RGB" and image.width > 10 * 112 and image.height > 2 * 112


# --------------------------------------------------------------------------------------------------------------- the cost


def test_pictures_are_not_decoded_to_make_a_benchmark(splits, monkeypatch):
    monkeypatch.setattr(Pictures, "__getitem__", lambda self, row: pytest.fail("a picture was decoded"))
    assert len(make_benchmark(splits, "test", generalized=True).gallery_labels) == 56

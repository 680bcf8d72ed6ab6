"""The `evaluate` module gives the numbers of `caan.evaluation.metrics`, whatever way the queries reach it,
without a network."""

import sys
from pathlib import Path

import pytest
import torch

from caan.evaluation.metrics import retrieval_metrics

MODULE = Path(__file__).parents[2] / "metrics" / "sketch_retrieval"


@pytest.fixture
def metric(tmp_path, monkeypatch):
    evaluate = pytest.importorskip("evaluate")
    monkeypatch.setattr("evaluate.config.HF_EVALUATE_OFFLINE", True)
    return evaluate.load(str(MODULE), cache_dir=str(tmp_path))


@pytest.fixture
def data():
    rng = torch.Generator().manual_seed(0)
    labels = {"query": torch.randint(3, (10,), generator=rng), "gallery": torch.randint(3, (40,), generator=rng)}
    return torch.randn(10, 5, generator=rng), torch.randn(40, 5, generator=rng), labels["query"], labels["gallery"]


def test_compute_equals_the_function(metric, data):
    queries, gallery, query_labels, gallery_labels = data
    options = {"similarity": "euclidean", "top_k": [5], "ap_k": 7, "average": "macro", "voc": True}
    expected = retrieval_metrics(*data, **options).to_dict()
    given = {"predictions": queries, "references": query_labels, "gallery_features": gallery, "gallery_labels": gallery_labels}
    assert metric.compute(**given, **options) == expected


def test_batches_names_and_single_queries_equal_the_function(metric, data):
    queries, gallery, query_labels, gallery_labels = data
    names = ["3", "palm tree", "cup"]  # "3" is a name too, not a number
    metric.add_batch(predictions=queries[:6].numpy(), references=[names[x] for x in query_labels[:6]])
    for query, label in zip(queries[6:].tolist(), query_labels[6:]):
        metric.add(prediction=query, reference=names[label])
    result = metric.compute(gallery_features=gallery.tolist(), gallery_labels=[names[x] for x in gallery_labels])
    assert result == retrieval_metrics(*data).to_dict()


def test_score_rows_need_no_features(metric, data):
    queries, gallery, query_labels, gallery_labels = data
    result = metric.compute(predictions=queries @ gallery.T, references=query_labels, gallery_labels=gallery_labels)
    assert result == pytest.approx(retrieval_metrics(*data, similarity="dot").to_dict(), abs=1e-12)


def test_the_example_of_its_docstring(metric):
    metric.add_batch(predictions=[[1.0, 0.0], [0.0, 1.0]], references=["cat", "dog"])
    photos = {"gallery_features": [[0.9, 0.1], [0.2, 0.8]], "gallery_labels": ["cat", "dog"]}
    assert metric.compute(**photos)["map_all"] == 1.0


def test_bad_calls_say_what_is_wrong(metric, data):
    queries, gallery, query_labels, gallery_labels = data
    with pytest.raises(ValueError, match="compute needs gallery_labels"):
        metric.compute(predictions=queries, references=query_labels)


def test_score_rows_of_another_width_are_refused(metric, data):
    queries, _, query_labels, gallery_labels = data
    with pytest.raises(ValueError, match=r"of \(5,\) photos, but there are 10 query labels and 40 gallery labels"):
        metric.compute(predictions=queries, references=query_labels, gallery_labels=gallery_labels)


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch):
    evaluate = pytest.importorskip("evaluate")
    monkeypatch.setitem(sys.modules, "caan.evaluation", None)  # what Python takes for a package that is not there
    with pytest.raises(ImportError, match=r"sketch_retrieval needs the caan package .* run `pip install -e .` there"):
        evaluate.load(str(MODULE))

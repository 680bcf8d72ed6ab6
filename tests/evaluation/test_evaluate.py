"""Benchmarks, their measurement, picture and report.  python -m pytest tests/evaluation/test_evaluate.py"""

import json
import platform
import sys

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
from caan.data.provenance import command_line, version_of
from caan.evaluation import evaluate as evaluation
from caan.evaluation.evaluate import embed_benchmark, evaluate, results_markdown, retrieval_picture, write_results
from caan.evaluation.metrics import retrieval_metrics
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


@pytest.mark.parametrize("rows", [1, 3, 20, 99])
def test_the_picture_shows_queries_from_best_to_worst_with_their_nearest_photos(splits, monkeypatch, rows):
    shown = {}
    monkeypatch.setattr(evaluation, "retrieval_grid", lambda queries, results: shown.update(queries=queries, results=results))
    benchmark = make_benchmark(splits)
    features = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)), torch.randn(16, 6)
    retrieval_picture(features, benchmark, rows, top_k=4)
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
    values = retrieval_metrics(*features, benchmark.queries.labels, benchmark.gallery_labels, per_query=True).per_query[
        "map_all"
    ]
    ranked = values.argsort(descending=True, stable=True).tolist()
    places = [ranked.index(row) for row in order]
    assert places == sorted(set(places))  # no query twice, from the best on
    if rows == 1:
        assert places == [10]
    if rows == 3:
        assert places == [3, 10, 16]


def test_the_picture_is_drawn(splits, retriever):
    benchmark = make_benchmark(splits)
    image = retrieval_picture(embed_benchmark(retriever, benchmark, progress=False), benchmark, rows=2)
    assert image.mode == "RGB" and image.width > 10 * 112 and image.height > 2 * 112


# ----------------------------------------------------------------------------------------------------------- the report


@pytest.fixture
def reports(splits, retriever):
    benchmark = make_benchmark(splits)
    return {"a/tiny": evaluate(retriever, benchmark, progress=False), "pixels": evaluate(retriever, benchmark, progress=False)}


def test_a_report_file_holds_what_is_needed_to_get_it_again(tmp_path, monkeypatch, reports):
    monkeypatch.setattr(sys, "argv", ["/somewhere/else/eval.py", "--model", "a/tiny", "pixels", "--data_dir", "my data"])
    circumstances = {"dataset": "folder", "split": "test", "generalized": False, "seed": 3}
    path = write_results(tmp_path / "new" / "folder", reports, circumstances)
    assert path == tmp_path / "new" / "folder" / "results.json"
    content = json.loads(path.read_text())
    assert {key: content[key] for key in circumstances} == circumstances
    assert content["command"] == "python eval.py --model a/tiny pixels --data_dir 'my data'"
    assert list(content["results"]) == ["a/tiny", "pixels"]
    for name, row in content["results"].items():
        assert row["map_all"] == reports[name]["map_all"]
        assert (row["gallery_size"], row["num_queries"], row["relevant_min"], row["average"]) == (16, 20, 8, "micro")
        assert content["definitions"].keys() <= row.keys()
    assert "divided by R" in content["definitions"]["map_all"]
    assert content["versions"]["python"] == platform.python_version()
    assert content["versions"]["torch"] == torch.__version__.split("+")[0] or content["versions"]["torch"] == torch.__version__
    assert "/somewhere" not in path.read_text() and str(tmp_path) not in path.read_text()


def test_the_table_has_a_row_a_model_and_a_column_a_metric(reports):
    lines = results_markdown(reports).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["model", *reports["pixels"].metrics]
    assert cells[2] == ["a/tiny", *(f"{value:.4f}" for value in reports["a/tiny"].metrics.values())]
    assert [row[0] for row in cells[2:]] == ["a/tiny", "pixels"]


def test_small_facts():
    assert version_of("no-such-package") == "not installed"
    assert command_line(["/a/b/train.py", "--x=1 2", "it's"]) == """python train.py '--x=1 2' 'it'"'"'s'"""


def test_pictures_are_not_decoded_to_make_a_benchmark(splits, monkeypatch):
    monkeypatch.setattr(Pictures, "__getitem__", lambda self, row: pytest.fail("a picture was decoded"))
    assert len(make_benchmark(splits, "test", generalized=True).gallery_labels) == 56

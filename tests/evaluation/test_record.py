"""The record of an evaluation: what it holds, its file, and older files.  python -m pytest tests/evaluation/test_record.py"""

import json

import pytest
import torch
from running import shapes
from trees import UNSEEN

from caan.data.benchmark import make_benchmark
from caan.data.pictures import load_splits
from caan.evaluation.evaluate import measure
from caan.evaluation.record import EvaluatedModel, Evaluation, write_whole
from caan.evaluation.reranking import Reranking
from caan.evaluation.seen import Seen, compare_classes, seen_classes
from caan.evaluation.summary import metric_heading, results_markdown
from caan.options import DataOptions
from dataset_scripts.core.layouts import ClassNames

WHAT = {"dataset_config": "mine", "split": "test", "generalized": False, "average": "micro", "ties": "gallery_order"}


@pytest.fixture(scope="module")
def benchmark():
    return make_benchmark(load_splits(DataOptions(dataset="folder", data_dir=str(shapes()))))


@pytest.fixture(scope="module")
def reports(benchmark):
    generator = torch.Generator().manual_seed(0)
    draw = lambda: (torch.randn(20, 6, generator=generator), torch.randn(16, 6, generator=generator))  # noqa: E731
    return [measure(draw(), benchmark, top_k=(3, 9), ap_k=9) for _ in range(2)]


def make_record(benchmark, reports, dataset="folder", command=("caan eval",), rerank=None, **settings) -> Evaluation:
    """A record of a CAAN that saw one of the classes, and of another model."""
    device = torch.device("cpu")
    record = Evaluation.begin(benchmark, settings, command, device=device, rerank=rerank, seed=3, dataset=dataset, **WHAT)
    record.add("org/caan", reports[0], EvaluatedModel(weights="abc", seen_classes=["Gable ", "arch"]))
    record.add("other", reports[1])
    return record


def test_what_it_holds(benchmark, reports):
    record = make_record(benchmark, reports, num_workers=2)
    assert record.classes == list(UNSEEN) and record.settings == {"num_workers": 2} and record.seed == 3
    assert record.results == {"org/caan": reports[0].to_dict(), "other": reports[1].to_dict()}
    assert record.definitions == reports[0].definitions and record.notes == list(reports[0].notes) != []
    assert record.hardware.startswith("CPU, ") and record.versions["torch"] == torch.__version__.partition("+")[0]
    assert record.of("other").model == "other" and record.model is None


def test_no_path_of_the_machine_gets_in(benchmark, reports, tmp_path):
    command = ["/somewhere/eval.py", "--data_dir", str(tmp_path / "my data"), f"--output_dir={tmp_path}/out"]
    record = make_record(
        benchmark, reports, str(tmp_path), command, data_dir=str(tmp_path / "x"), more=[str(tmp_path), "org/b"]
    )
    assert record.dataset == tmp_path.name and record.command == "python eval.py --data_dir 'my data' --output_dir=out"
    assert record.settings == {"data_dir": "x", "more": [tmp_path.name, "org/b"]}
    assert str(tmp_path) not in json.dumps(record.to_dict())


@pytest.mark.parametrize("rerank", [None, Reranking(4, alpha=2.0)])
def test_the_file_gives_the_record_back(benchmark, reports, tmp_path, rerank):
    record = make_record(benchmark, reports, rerank=rerank).of("org/caan")
    path = record.write(tmp_path / "new" / "results.json")
    assert Evaluation.read(path) == record
    assert json.loads(path.read_text())["format"] == 2


def test_a_file_of_format_1_is_read(reports, tmp_path):
    old = {
        "model": "caan",
        "weights": "abc",
        "dataset": "sketchy",
        "dataset_config": "104_21",
        "split": "test",
        "generalized": True,
        "rerank": 5,
        "batch_size": 64,
        "seed": None,
        "results": {"caan": reports[0].to_dict(), "pixels": reports[1].to_dict()},
        "definitions": reports[0].definitions,
        "command": "python eval.py",
        "date": "2026-01-02",
        "versions": {"python": "3.11"},
    }
    (tmp_path / "results.json").write_text(json.dumps(old))
    record = Evaluation.read(tmp_path / "results.json")
    assert (record.model, record.average, record.ties, record.generalized) == ("caan", "micro", "gallery_order", True)
    assert record.rerank == Reranking(5) and record.classes is None and record.settings == {"batch_size": 64}
    assert record.models == {"caan": EvaluatedModel(weights="abc"), "pixels": EvaluatedModel()}
    assert record.seen("caan").kind == "unknown" and "is not recorded" in str(record.seen("caan"))
    assert Evaluation.from_dict(record.to_dict()) == record
    (tmp_path / "results.json").write_text(json.dumps(old | {"model": ["caan", "pixels"]}))  # as eval.py left it
    assert Evaluation.read(tmp_path / "results.json").model is None


@pytest.mark.parametrize(
    "content, reason",
    [
        ("{", "Expecting property name"),
        ("[]", "it is no record of an evaluation"),
        ("3", "it is no record of an evaluation"),
        ("{}", "it is no record of an evaluation"),
        ('{"results": {}}', "it has no numbers"),
        ('{"format": 3}', "it is of format 3, and this version of caan reads 1 and 2"),
        ('{"format": 2, "rerank": null, "models": {}}', "it is no record of an evaluation"),
    ],
)
def test_what_is_no_record_is_named(tmp_path, content, reason):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(ValueError) as caught:
        Evaluation.read(tmp_path / "results.json")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/results.json cannot be read: ") and reason in message and "Remove it" in message


def test_a_record_of_a_model_that_it_does_not_hold_is_refused(benchmark, reports):
    content = make_record(benchmark, reports).of("nobody").to_dict()
    with pytest.raises(ValueError, match="it has no numbers of 'nobody'"):
        Evaluation.from_dict(content)


def test_a_full_disk_leaves_the_older_file(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    path.write_text("old")

    def full(self, content):
        self.open("wb").write(content[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
        write_whole(path, "new")
    assert path.read_text() == "old" and [file.name for file in tmp_path.iterdir()] == ["results.json"]


# ------------------------------------------------------------------------------------------------------ seen and unseen


@pytest.mark.parametrize(
    "evaluated, seen, expected, kind",
    [
        (["a", "b"], ["c"], (2, 0), "unseen"),
        (["a", "b"], [], (2, 0), "unseen"),
        (["a", "b"], ["b", "c", "a"], (2, 2), "seen"),
        (["a", "b", "c"], ["b"], (3, 1), "mixed"),
        (["a"], None, (1, None), "unknown"),
        (["hot-air_balloon", "Tea Pot"], ["Hot air  balloon", "teapot"], (2, 2), "seen"),
        (["T-shirt", "car_(sedan)", "ice-cream-cone"], ["tshirt", "car sedan"], (3, 2), "mixed"),
        (["stra\u00dfe", "\uff24og", "o'clock"], ["Strasse", "dog", "O\u2019Clock"], (3, 3), "seen"),
        (["c", "c++"], ["c++"], (2, 1), "mixed"),
        (["!", "?"], ["?"], (2, 1), "mixed"),
        (["T-shirt", "tshirt"], ["shoe"], (2, 0), "unseen"),
        (["caf\u00e9"], ["cafe\u0301"], (1, 1), "seen"),
    ],
)
def test_seen_classes_are_counted(evaluated, seen, expected, kind):
    found = compare_classes(evaluated, seen)
    assert found == expected and found.kind == kind


def test_the_counts_in_words():
    assert str(Seen(21, 0)) == "21 classes, none of which the model saw in training"
    assert str(Seen(1300, 1300)) == "1,300 classes, all of which the model saw in training: no zero-shot numbers"
    assert str(Seen(21, 4)) == "21 classes, of which the model saw 4 in training: no zero-shot numbers"
    assert str(Seen(21, None)) == "21 classes; whether the model saw them in training is not recorded"


def test_a_record_that_lists_no_classes_tells_nothing():
    assert seen_classes({"seen_classes": ["a"], "seen_before": ["b"]}) == ["a", "b"]
    assert seen_classes({"seen_classes": ["a"]}) == ["a"]
    assert seen_classes({"seen_classes": ["a"], "seen_before": None}) is None
    assert seen_classes({"seen_classes": [1, None]}) is None
    assert seen_classes({"seen_classes": 104}) is None and seen_classes({}) is None and seen_classes(None) is None


# -------------------------------------------------------------------------------------------------------------- in words


def test_the_table_has_all_that_its_numbers_need(benchmark, reports):
    text = results_markdown(make_record(benchmark, reports))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")]
    assert rows[0] == ["model", "mAP@all", "mAP@9", "mAP@9 (hits)", "Prec@3", "Prec@9", "top-1"]
    for row, name, report in zip(rows[2:], ("org/caan", "other"), reports):
        assert row == [name, *(f"{value:.4f}" for value in report.metrics.values())]
    assert text.startswith(
        "folder mine, split test, gallery: photos of the same classes. 20 query sketches, a gallery of 16 photos"
    )
    assert "8 or more of them, 8 in the median" in text and "mean over queries; equal scores rank in gallery order" in text
    assert "- org/caan: 2 classes, of which the model saw 1 in training" in text and "- other: 2 classes; whether" in text
    assert "- Prec@3: hits in the top 3, divided by 3" in text and "    caan eval" in text and "e-ranked" not in text


@pytest.mark.parametrize("neighbours, warned", [(3, False), (8, False), (9, True), (100, True)])
def test_a_re_ranked_table_says_so_and_when_it_hurts(benchmark, reports, neighbours, warned):
    text = results_markdown(make_record(benchmark, reports, rerank=Reranking(neighbours)))
    assert (
        f"**Re-ranked.** These numbers are re-ranked by query expansion with database-side augmentation over {neighbours}"
        in text
    )
    assert "the whole gallery: transductive" in text and "cannot be compared" in text
    assert "helps where a query has many more relevant photos" in text and "hurts where it has few" in text
    assert ("Here the median query has 8, fewer than the neighbours" in text) == warned


@pytest.mark.parametrize(
    "name, heading",
    [("map_all", "mAP@all"), ("map_200_hits", "mAP@200 (hits)"), ("map_all_voc", "mAP@all (voc)"), ("prec_100", "Prec@100")],
)
def test_headings(name, heading):
    assert metric_heading(name) == heading and metric_heading("top1") == "top-1"


@pytest.mark.parametrize("one, other", [("T-shirt", "tshirt"), ("car_(sedan)", "car sedan"), ("caf\u00e9", "CAFE\u0301")])
def test_a_class_that_a_builder_takes_for_another_is_seen_of_it(one, other):
    assert ClassNames([one]).resolve(other) == one
    assert compare_classes([one], [other]) == compare_classes([other], [one]) == (1, 1)

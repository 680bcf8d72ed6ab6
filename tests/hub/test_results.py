"""An evaluation in a model's folder.  python -m pytest tests/hub/test_results.py"""

import pytest
import torch
import yaml
from fake_hub_metadata import metadata_errors
from folders import evaluate_folder, make_folder
from huggingface_hub import ModelCard, parse_eval_result_entries
from tiny import caan_model

from caan.evaluation.summary import metric_heading
from caan.evaluation.weights import weights_fingerprint
from caan.hub.card import write_card
from caan.hub.results import read_results
from modeling_caan import CAANModel


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "caan-sketchy")


def card_of(folder) -> ModelCard:
    return ModelCard.load(folder / "README.md")


def test_eval_results_for_a_benchmark_on_the_hub_alone(folder, tmp_path):
    evaluate_folder(folder, tmp_path / "eval")
    assert not (folder / ".eval_results").exists()
    written = evaluate_folder(folder, tmp_path / "eval", dataset="org/sketchy-zs")
    (path,) = (folder / ".eval_results").iterdir()
    (entry,) = parse_eval_result_entries(yaml.safe_load(path.read_text()))
    assert path.name == "caan_sketchy-zs.yaml"
    assert (entry.dataset_id, entry.task_id) == ("org/sketchy-zs", "104_21")
    assert entry.value == written.results[folder.name]["map_all"] and entry.date == written.date
    assert entry.notes == (
        "mAP@all, sketchy-zs 104_21, split test, gallery: photos of the same classes (50 photos), micro average; "
        "4 classes, none of which the model saw in training"
    )
    assert card_of(folder).data.datasets == ["org/sketchy-zs"]
    assert metadata_errors(card_of(folder).content, "model") == []


@pytest.mark.parametrize(
    "name, heading",
    [("map_all", "mAP@all"), ("map_200_hits", "mAP@200 (hits)"), ("map_all_voc", "mAP@all (voc)"), ("prec_100", "Prec@100")],
)
def test_metric_headings(name, heading):
    assert metric_heading(name) == heading


def test_results_of_other_weights_are_not_used(folder, tmp_path):
    evaluate_folder(folder, tmp_path / "eval")
    assert read_results(folder) is not None
    caan_model(seed=1).save_pretrained(folder)
    assert read_results(folder) is None
    write_card(folder)
    assert "No test has been run on these weights." in card_of(folder).text and "retrieval.png" not in card_of(folder).text


def test_both_forms_have_one_fingerprint(folder, tmp_path):
    model = CAANModel.from_pretrained(folder)
    model.for_inference().save_pretrained(tmp_path / "inference")
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    prints = [weights_fingerprint(path) for path in (folder, tmp_path / "inference", tmp_path / "shards")]
    assert len(set(prints)) == 1
    with torch.no_grad():
        model.text_projection.weight += 1
    model.save_pretrained(tmp_path / "text")
    assert weights_fingerprint(tmp_path / "text") == prints[0]
    with torch.no_grad():
        next(model.image_encoder.parameters()).view(-1)[0] += 1e-3
    model.save_pretrained(tmp_path / "vision")
    assert weights_fingerprint(tmp_path / "vision") != prints[0]


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} holds no weights"):
        weights_fingerprint(tmp_path)


def test_an_evaluation_without_a_picture_removes_the_old_one(folder, tmp_path):
    evaluate_folder(folder, tmp_path / "eval")
    assert "![Query sketches" in card_of(folder).text and (folder / "retrieval.png").is_file()
    evaluate_folder(folder, tmp_path / "eval", picture=False)
    assert "![" not in card_of(folder).text and not (folder / "retrieval.png").exists()

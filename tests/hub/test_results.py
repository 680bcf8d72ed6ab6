"""An evaluation in a model's folder.  python -m pytest tests/hub/test_results.py"""

import pytest
import torch
import yaml
from fake_hub_metadata import metadata_errors
from folders import CLASSES, contents, evaluate_folder, make_folder, make_record
from huggingface_hub import ModelCard, parse_eval_result_entries
from safetensors.torch import save_file
from tiny import caan_model

from caan.evaluation.summary import metric_heading
from caan.evaluation.weights import weights_fingerprint
from caan.hub.card import describe_results, update_card, write_card
from caan.hub.results import read_results
from modeling_caan import CAANModel
from pipeline_caan import Gallery


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


def test_other_files_of_tensors_in_the_folder_are_no_weights(folder, tmp_path):
    """A gallery that was saved there, and shards of a model before."""
    evaluate_folder(folder, tmp_path / "eval")
    before = weights_fingerprint(folder)
    Gallery(torch.eye(3)).save(folder / "photos.safetensors")
    save_file({"image_encoder.projection.weight": torch.zeros(1)}, folder / "model-00001-of-00002.safetensors")
    assert weights_fingerprint(folder) == before
    assert read_results(folder) is not None


def test_a_list_of_weights_that_is_none_is_named(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(ValueError, match="index.json is no list of weights"):
        weights_fingerprint(tmp_path)


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} holds no weights"):
        weights_fingerprint(tmp_path)


def test_an_evaluation_without_a_picture_removes_the_old_one(folder, tmp_path):
    evaluate_folder(folder, tmp_path / "eval")
    assert "![Query sketches" in card_of(folder).text and (folder / "retrieval.png").is_file()
    evaluate_folder(folder, tmp_path / "eval", picture=False)
    assert "![" not in card_of(folder).text and not (folder / "retrieval.png").exists()


@pytest.mark.parametrize("seen, zero_shot", [([], True), (CLASSES, False), (CLASSES[:1], False), (None, True)])
def test_numbers_on_classes_of_the_training_reach_no_leaderboard(folder, tmp_path, seen, zero_shot):
    evaluate_folder(folder, tmp_path / "eval", dataset="org/sketchy-zs", seen=[])
    evaluate_folder(folder, tmp_path / "eval", dataset="org/sketchy-zs", seen=seen)
    assert [path.name for path in (folder / ".eval_results").iterdir()] == ["caan_sketchy-zs.yaml"] * zero_shot
    (task,) = {entry.task_name for entry in card_of(folder).data.eval_results}
    assert task == ("zero-shot " if zero_shot else "") + "sketch-based image retrieval"


def test_leaderboard_entries_of_other_weights_are_removed_and_those_of_others_stay(folder, tmp_path):
    evaluate_folder(folder, tmp_path / "eval", dataset="org/sketchy-zs")
    (folder / ".eval_results" / "by_others.yaml").write_text("- a\n")
    caan_model(seed=1).save_pretrained(folder)
    write_card(folder)
    assert [path.name for path in (folder / ".eval_results").iterdir()] == ["by_others.yaml"]


def test_numbers_are_not_given_to_weights_that_came_after_them(folder, tmp_path):
    record = make_record(folder, seen=[])
    record.models[folder.name].weights = weights_fingerprint(folder)
    caan_model(seed=1).save_pretrained(folder)  # a training run ends while its last model is evaluated
    before = contents(folder)
    with pytest.raises(ValueError, match=f"{folder} holds other weights than those that were measured: evaluate it anew"):
        update_card(folder, record, None)
    assert contents(folder) == before


@pytest.mark.parametrize("content", ['{"a"', "[]", '{"format": 3, "results": {}}'])
def test_a_file_that_is_no_record_is_left_aside_and_named(folder, caplog, content):
    (folder / "results.json").write_text(content)
    assert write_card(folder) == folder / "README.md"
    assert "No test has been run on these weights." in card_of(folder).text
    assert f"{folder / 'results.json'} cannot be read" in caplog.text and "written without it" in caplog.text
    assert (folder / "results.json").read_text() == content


def test_the_command_of_the_card_can_be_pasted(folder):
    settings = {"data_dir": "my data", "allow_partial": True, "skip_corrupt": False, "top_k": [5, 10], "batch_size": 3}
    record = make_record(folder, generalized=True, settings=settings)
    expected = "--dataset sketchy --dataset_config 104_21 --data_dir 'my data' --allow_partial --generalized --top_k 5 10"
    assert "a folder that need not be whole" in describe_results(record)["protocol"]
    assert describe_results(record)["again"] == f"pixels {expected}"

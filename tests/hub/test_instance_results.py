"""The instance level in a model's folder: its card and its results.  python -m pytest tests/hub/test_instance_results.py"""

import re

import pytest
from fake_hub_metadata import metadata_errors
from folders import evaluate_folder, make_folder, make_record
from huggingface_hub import ModelCard

from caan.hub.card import describe_results
from caan.hub.results import model_index, read_results

HEADINGS = ["acc@1 (class)", "acc@5 (class)", "acc@10 (class)", "acc@1 (gallery)", "acc@5 (gallery)", "acc@10 (gallery)"]
NAMES = [f"acc_{k}_{scope}" for scope in ("class", "gallery") for k in (1, 5, 10)]


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "caan-sketchy")


def text_of(folder) -> str:
    return ModelCard.load(folder / "README.md").text


def test_the_card_has_a_table_of_its_own(folder, tmp_path):
    record = evaluate_folder(folder, tmp_path / "eval", instances=True)
    results = text_of(folder).partition("## Results")[2].partition("## Training")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in results.splitlines() if line.startswith("|")]
    first, second = lines[:4], lines[4:]
    assert first[0][1] == "mAP@all" and second[0] == ["retriever", *HEADINGS]
    own = record.instance_results[folder.name]
    assert second[2] == ["**this model**", *(f"{own[name]:.4f}" for name in NAMES)]
    assert second[3][0] == "pixels"
    assert (
        "Instance level: how often the very photo that a sketch was drawn from is among the first K, over 19 sketches; 12.5 "
        "photos a class in the median, 50 in the gallery. Mean over queries; equal scores rank in gallery order."
    ) in results
    for heading in HEADINGS:
        assert f"\n- {heading}: share of sketches whose own photo is among the first " in results
    assert "the photos that 1 of 20 sketches were drawn from are not in the gallery" in results
    assert "need not come first (acc@K above says how often it does)." in text_of(folder)


def test_the_card_of_a_model_without_it_says_nothing_of_it(folder, tmp_path):
    evaluate_folder(folder, tmp_path / "eval")
    assert "nstance level" not in text_of(folder) and "acc@" not in text_of(folder)


def test_the_header_has_the_numbers_as_accuracies(folder, tmp_path):
    record = evaluate_folder(folder, tmp_path / "eval", instances=True)
    card = ModelCard.load(folder / "README.md")
    assert card.data.metrics == ["accuracy", "mean_average_precision", "precision"]
    found = {result.metric_name: (result.metric_type, result.metric_value) for result in card.data.eval_results}
    own = record.instance_results[folder.name]
    assert [name for name in found if name.startswith("acc@")] == HEADINGS
    assert all(found[heading] == ("accuracy", own[name]) for heading, name in zip(HEADINGS, NAMES))
    assert found["mAP@all"] == ("mean_average_precision", record.results[folder.name]["map_all"])
    assert metadata_errors(card.content, "model") == []
    assert len(model_index(make_record(folder))) == 6


def test_the_record_is_read_back(folder, tmp_path):
    record = evaluate_folder(folder, tmp_path / "eval", instances=True)
    found = read_results(folder)
    assert found.instance_results == record.instance_results and found.instance_definitions == record.instance_definitions


def test_the_command_to_measure_again_asks_for_it(folder):
    record = make_record(folder, instances=True, settings={"instance": True})
    assert re.search(r"--dataset sketchy .*--instance\b", describe_results(record)["again"])
    assert "--instance" not in describe_results(make_record(folder, settings={"instance": False}))["again"]

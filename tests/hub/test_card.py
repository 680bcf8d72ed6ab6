"""The model card: what was recorded and measured, and nothing else.  python -m pytest tests/hub/test_card.py"""

import json
import re

import pytest
from fake_hub_metadata import metadata_errors
from folders import FACTS, contents, evaluate_folder, make_folder
from huggingface_hub import ModelCard
from tiny import caan_model

from caan.evaluation.reranking import Reranking
from caan.evaluation.summary import metric_heading
from caan.evaluation.weights import weights_fingerprint
from caan.hub.card import carded_folders, update_card, write_card
from modeling_caan import CAANModel


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "caan-sketchy")


def card_of(folder) -> ModelCard:
    return ModelCard.load(folder / "README.md")


def sections(card) -> dict[str, str]:
    """Heading -> text."""
    parts = re.split(r"^## (.*)$", card.text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def table(text: str) -> list[list[str]]:
    """The rows of the first markdown table, without the rule."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if not set("".join(row)) <= set("-:")]


# ------------------------------------------------------------------------------------------------------------- the text


def test_sections_and_their_order(folder, tmp_path):
    evaluate_folder(folder, tmp_path / "eval")
    assert list(sections(card_of(folder))) == ["Use", "Results", "Training", "Limits", "Licence", "Citation"]


def test_the_table_is_what_was_measured(folder, tmp_path):
    results = evaluate_folder(folder, tmp_path / "eval").results
    heading, *rows = table(sections(card_of(folder))["Results"])
    assert heading == ["retriever", "mAP@all", "mAP@10", "mAP@10 (hits)", "Prec@5", "Prec@10", "top-1"]
    names = ["map_all", "map_10", "map_10_hits", "prec_5", "prec_10", "top1"]
    measured = {"**this model**": results[folder.name], "pixels": results["pixels"]}
    assert rows == [[label, *(f"{row[name]:.4f}" for name in names)] for label, row in measured.items()]


def test_every_metric_is_defined_and_every_file_named_is_there(folder, tmp_path):
    evaluate_folder(folder, tmp_path / "eval")
    text = sections(card_of(folder))["Results"]
    for heading in table(text)[0][1:]:
        assert f"\n- {heading}: " in text
    assert "20 query sketches, a gallery of 50 photos; relevant to a query are 12 or more of them, 12.5 in the median." in text
    links = re.findall(r"\]\(([^)]+)\)", card_of(folder).text)
    assert {link for link in links if "://" not in link} == {"results.json", "retrieval.png", "training.json"}
    assert all((folder / link).is_file() for link in links if "://" not in link)


def test_no_number_comes_from_anywhere_else(folder, tmp_path):
    written = evaluate_folder(folder, tmp_path / "eval")
    measured = [value for row in written.results.values() for value in row.values() if isinstance(value, float)]
    known = {f"{value:.4f}" for value in [*measured, FACTS["validation_map_all"]]}
    text = sections(card_of(folder))["Results"]
    shown = re.findall(r"\d\.\d{3,}", text)
    assert len(shown) == 13 and set(shown) <= known


def test_training_recipe(folder):
    rows = dict(table(sections(card_of(folder))["Training"]))
    assert rows == {
        "setting": "value",
        "data": "`sketchy`, zero-shot split `104_21`",
        "seen classes": "104",
        "pictures": "62,787 sketches, 11,250 photos",
        "vision encoders start from": "facebook/dinov2-small",
        "text encoder starts from": "my-text-model",
        "input": "224 x 224 pixels",
        "batch": "16 classes x 4 sketches and photos, on each of 2 processes",
        "epochs, steps": "5, 2,455",
        "batches for a step": "1",
        "learning rate": "0.0001, vision encoders 1e-05",
        "precision": "bf16",
        "seed": "7",
        "hardware": "NVIDIA H100 80GB HBM3, 2 processes",
        "versions": "python 3.11.7, torch 2.15.0",
        "date": "2026-11-21",
    }


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"image_size": 98, "inference_image_size": 126}, "98 x 98 pixels in training, 126 x 126 in use"),
        ({"sketch_shade": 0.55}, "224 x 224 pixels; what a sketch's outline encloses is shaded (0.55)"),
        ({"sketch_shade": 0.0}, "224 x 224 pixels"),
    ],
)
def test_training_recipe_tells_what_pictures_become(tmp_path, given, told):
    card = card_of(make_folder(tmp_path / "m", facts={**FACTS, "options": {**FACTS["options"], **given}}))
    assert dict(table(sections(card)["Training"]))["input"] == told


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        ({"tune": "all", "lora_rank": 8, "ema_decay": 0.0, "start_share": 0.0}, ()),
        ({"tune": "layer_norm"}, ("their norms alone", None)),
        ({"tune": "last_4"}, ("the last 4 blocks and what follows", None)),
        ({"tune": "lora", "lora_rank": 16}, ("adapters of rank 16 (LoRA), merged", None)),
        ({"tune": "none", "ema_decay": 0.999}, ("nothing, they are frozen", "average over the steps (EMA, 0.999)")),
        (
            {"tune": "layer_norm_attention", "start_share": 0.25},
            (
                "norms, query, key, value, class token and positions (CLIP-AT's code calls that LayerNorm)",
                "vision encoders at 0.75 of what they learned, 0.25 of their start (WiSE-FT)",
            ),
        ),
    ],
)
def test_training_recipe_tells_what_learned_and_what_was_kept(tmp_path, given, rows):
    card = card_of(make_folder(tmp_path / "m", facts={**FACTS, "options": {**FACTS["options"], **given}}))
    told = dict(table(sections(card)["Training"]))
    names = ("of the vision encoders learned", "finished weights")
    assert tuple(told.get(name) for name in names) == (rows or (None, None))


def test_training_without_text(tmp_path):
    card = card_of(make_folder(tmp_path / "m", facts={**FACTS, "uses_text": False}))
    assert dict(table(sections(card)["Training"]))["text encoder starts from"] == "none: trained without text"


def test_licences_are_those_that_were_stated(folder):
    rows = table(sections(card_of(folder))["Licence"])[1:]
    assert rows == [
        ["these weights", "not stated by their publisher"],
        ["code (the `.py` files)", "Apache-2.0"],
        ["training data, `sketchy`", "Free for research."],
        ["started from `facebook/dinov2-small`", "apache-2.0"],
        ["started from `my-text-model`", "not stated where it was loaded from"],
    ]
    write_card(folder, license_id="cc-by-nc-4.0")
    assert table(sections(card_of(folder))["Licence"])[1] == ["these weights", "cc-by-nc-4.0"]
    assert card_of(folder).data.license == "cc-by-nc-4.0"


def test_snippets_name_the_repository_and_are_python(folder):
    write_card(folder, "org/some-model")
    snippets = re.findall(r"```python\n(.*?)```", card_of(folder).text, re.DOTALL)
    assert len(snippets) == 2 and all('"org/some-model"' in snippet for snippet in snippets)
    for snippet in snippets:
        compile(snippet, "card", "exec")
    assert "python eval.py --model org/some-model pixels --dataset sketchy" in card_of(folder).text


def test_without_a_test_the_card_has_no_number_but_the_seen_hold_out(folder):
    text = sections(card_of(folder))["Results"]
    assert text.strip().startswith("No test has been run on these weights.")
    assert re.findall(r"\d\.\d+", text) == ["0.8765"] and "held-out items of *seen* classes" in text
    assert card_of(folder).data.eval_results is None


def test_a_whitened_model_that_nothing_selected_says_what_it_reaches(tmp_path):
    facts = {**FACTS, "validation_map_all": None, "finished_map_all": 0.4321987}
    text = sections(card_of(make_folder(tmp_path / "m", facts=facts)))["Results"]
    assert re.findall(r"\d\.\d+", text) == ["0.4322"]
    assert "No measurement selected these weights. On held-out items of *seen* classes the finished model reaches" in text
    assert "which is no zero-shot number." in " ".join(text.split())


def test_without_a_record_of_the_run(tmp_path):
    card = card_of(make_folder(tmp_path / "m", facts=None))
    assert "The run that made these weights left no record." in sections(card)["Training"]
    assert len(table(sections(card)["Licence"])) == 3 and card.data.base_model is None
    assert "None" not in card.text


def test_forms(folder, tmp_path):
    assert "This is the full form" in card_of(folder).text
    inference = tmp_path / "inference"
    CAANModel.from_pretrained(folder).for_inference().save_pretrained(inference)
    write_card(inference)
    assert "two vectors out.\n\n## Use" in card_of(inference).text
    (inference / "training.json").write_text(json.dumps(FACTS))
    write_card(inference)
    assert "two vectors out. Text took part in training alone.\n\n## Use" in card_of(inference).text


def test_what_was_told_to_the_run_is_kept(tmp_path):
    told = {**FACTS, "options": {**FACTS["options"], "license": "mit", "hub_model_id": "org/told"}}
    card = card_of(make_folder(tmp_path / "m", facts=told))
    assert card.data.license == "mit" and "# told\n" in card.text and '"org/told"' in card.text


# ----------------------------------------------------------------------------------------------------------- the header


def test_header(folder, tmp_path):
    written = evaluate_folder(folder, tmp_path / "eval")
    card = card_of(folder)
    assert metadata_errors(card.content, "model") == []
    data = card.data
    assert (data.library_name, data.pipeline_tag, data.license) == ("transformers", "image-feature-extraction", "unknown")
    assert data.base_model == ["facebook/dinov2-small"] and data.datasets is None
    assert data.metrics == ["mean_average_precision", "precision"] and "sketch-based-image-retrieval" in data.tags
    own = written.results[folder.name]
    entries = {entry.metric_name: entry for entry in data.eval_results}
    assert {name: entry.metric_value for name, entry in entries.items()} == {
        metric_heading(name): own[name] for name in written.definitions
    }
    entry = entries["mAP@all"]
    assert (entry.dataset_type, entry.dataset_config, entry.dataset_split) == ("sketchy", "104_21", "test")
    assert entry.dataset_name == "sketchy 104_21, split test, gallery: photos of the same classes"


# ------------------------------------------------------------------------------------------------- cards edited by hand


def test_an_edited_card_is_left_alone(folder, tmp_path):
    path = folder / "README.md"
    edited = path.read_text().replace("## Limits", "## Limits\n\nMine.")
    path.write_text(edited)
    assert write_card(folder) is None
    evaluate_folder(folder, tmp_path / "eval")
    assert path.read_text() == edited
    path.unlink()
    assert write_card(folder) == path and "**this model**" in path.read_text()


def test_a_card_of_ours_is_written_anew_and_stays_the_same(folder):
    before = contents(folder)
    assert write_card(folder) is not None
    assert contents(folder) == before


def test_update_card_says_what_it_did(folder, tmp_path):
    record = evaluate_folder(folder, tmp_path / "eval")
    assert update_card(folder, record, None) == str(folder / "README.md")
    (folder / "README.md").write_text("mine")
    said = update_card(folder, record, None)
    assert said.startswith("README.md was edited and stays as it is") and str(folder / "results.json") in said


def test_which_cards_an_evaluation_can_update(folder, tmp_path):
    caan_model().config.vision_config.save_pretrained(tmp_path / "plain")
    names = ["pixels", "facebook/dinov2-small", str(folder), str(tmp_path / "plain")]
    assert carded_folders(names, "test") == [str(folder)]
    for given, split in ((names[:2], "test"), (names, "validation")):
        with pytest.raises(ValueError, match="update_card needs a folder of a CAAN among the models, and the zero-shot split"):
            carded_folders(given, split)


def test_an_empty_card_is_no_edited_one(folder):
    """As a new repository has it."""
    for text in ("", "\n\n"):
        (folder / "README.md").write_text(text)
        assert write_card(folder) is not None and "## Use" in (folder / "README.md").read_text()


# ------------------------------------------------------------------------------------- what a reader must not be told wrongly


@pytest.mark.parametrize(
    "seen,told",
    [
        (["door", "fan"], "4 classes, none of which the model saw in training."),
        (["bat", "cabin", "cow", "dolphin", "fan"], "4 classes, all of which the model saw in training: no zero-shot numbers."),
        (["Bat", "fan"], "4 classes, of which the model saw 1 in training: no zero-shot numbers."),
        (None, "4 classes; whether the model saw them in training is not recorded."),
    ],
)
def test_the_card_says_whether_the_classes_were_seen(folder, tmp_path, seen, told):
    evaluate_folder(folder, tmp_path / "eval", seen=seen)
    assert f"The queries are of {told}" in sections(card_of(folder))["Results"]
    assert "never saw" not in sections(card_of(folder))["Results"]


def test_both_numbers_of_a_whitened_model_are_named(tmp_path):
    card = card_of(make_folder(tmp_path / "m", facts={**FACTS, "finished_map_all": 0.7654321}))
    text = " ".join(sections(card)["Results"].split())
    assert (
        "These weights were selected by mAP@all on held-out items of *seen* classes: 0.8765, which is no zero-shot number."
        in text
    )
    assert "Whitened after that, they reach 0.7654 there." in text
    assert "Whitened" not in card_of(make_folder(tmp_path / "n")).text


def test_re_ranked_numbers_are_said_to_be(folder, tmp_path):
    evaluate_folder(folder, tmp_path / "eval", dataset="org/sketchy-zs", rerank=Reranking(neighbours=10))
    card = card_of(folder)
    assert "**Re-ranked.** " in card.text and "transductive" in card.text
    assert all("re-ranked" in entry.dataset_name for entry in card.data.eval_results)
    assert "re-ranked by the whole gallery (transductive)" in (folder / ".eval_results" / "caan_sketchy-zs.yaml").read_text()


def test_a_resumed_run_tells_what_changed(tmp_path):
    history = [{"step": 1200, "changed": {"num_epochs": [3, 5], "processes": [2, 1]}}]
    card = card_of(make_folder(tmp_path / "m", facts={**FACTS, "history": history, "precision": "no"}))
    rows = dict(table(sections(card)["Training"]))
    assert rows["changed on the way"] == "at step 1,200: num_epochs 3 to 5, processes 2 to 1"
    odd = [{"step": 1, "changed": {"mixed_precision": ["a|b", None]}}]
    assert "a\\|b to None" in card_of(make_folder(tmp_path / "n", facts={**FACTS, "history": odd})).text
    assert rows["precision"] == "float32"  # what ran, whatever was asked for


def test_records_of_the_version_before_are_read(folder, tmp_path):
    """A folder with training.json and results.json of commit d570c56: the number of classes, and no list of them."""
    (folder / "training.json").write_text(json.dumps({**FACTS, "seen_classes": 104}))
    record = evaluate_folder(folder, tmp_path / "eval")
    old = {
        "dataset": "sketchy", "dataset_config": "104_21", "split": "test", "generalized": False, "data_dir": "Sketchy",
        "results": record.results, "definitions": record.definitions, "command": record.command, "date": record.date,
        "versions": record.versions, "model": folder.name, "weights": record.models and weights_fingerprint(folder),
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(old))
    write_card(folder)
    text = card_of(folder).text
    assert "whether the model saw them in training is not recorded" in text and "It learned 104 classes" in text
    assert f"{record.results[folder.name]['map_all']:.4f}" in text


@pytest.mark.parametrize(
    "before, told",
    [
        ([], "104"),
        (["cat", "dog"], "104, and 2 by the model it was trained on"),
        (None, "104, and those that the model it was trained on had seen, which are not recorded"),
    ],
)
def test_what_the_model_that_was_trained_on_had_seen_is_told(tmp_path, before, told):
    card = card_of(make_folder(tmp_path / "m", facts={**FACTS, "seen_before": before}))
    assert dict(table(sections(card)["Training"]))["seen classes"] == told


def test_a_number_of_a_record_without_the_finished_one_is_not_said_to_have_selected(tmp_path):
    facts = {name: FACTS[name] for name in FACTS if name != "finished_map_all"}
    text = " ".join(sections(card_of(make_folder(tmp_path / "m", facts=facts)))["Results"].split())
    assert "the model reaches mAP@all 0.8765, which is no zero-shot number." in text and "selected" not in text


def test_a_record_that_lacks_a_part_is_named(folder):
    card = (folder / "README.md").read_text()
    (folder / "training.json").write_text(json.dumps({name: FACTS[name] for name in FACTS if name != "hardware"}))
    with pytest.raises(ValueError, match=r"training\.json has no 'hardware', which the card tells\. Remove the file"):
        write_card(folder)
    assert (folder / "README.md").read_text() == card

"""The model card: what was recorded and measured, and nothing else.  python -m pytest tests/test_card.py"""

import json
import re

import pytest
import torch
import yaml
from fake_hub_metadata import metadata_errors
from folders import FACTS, contents, evaluate_folder, make_folder
from huggingface_hub import HfApi, ModelCard, parse_eval_result_entries
from tiny import caan_model

from caan.card import carded_folders, update_card, write_card
from caan.checkpoint import TrainerState
from caan.facts import declared_license, is_hub_id, public_command, public_name, write_facts
from caan.results import metric_heading, read_results, weights_fingerprint
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


# ------------------------------------------------------------------------------------------------------ the text


def test_sections_and_their_order(folder, tmp_path):
    evaluate_folder(folder, tmp_path / "eval")
    assert list(sections(card_of(folder))) == ["Use", "Results", "Training", "Limits", "Licence", "Citation"]


def test_the_table_is_what_was_measured(folder, tmp_path):
    results = evaluate_folder(folder, tmp_path / "eval")["results"]
    heading, *rows = table(sections(card_of(folder))["Results"])
    assert heading == ["retriever", "mAP@all", "mAP@10", "mAP@10 (hits)", "Prec@5", "Prec@10", "top-1"]
    names = ["map_all", "map_10", "map_10_hits", "prec_5", "prec_10", "top1"]
    measured = {"**this model**": results[str(folder)], "pixels": results["pixels"]}
    assert rows == [[label, *(f"{row[name]:.4f}" for name in names)] for label, row in measured.items()]


def test_every_metric_is_defined_and_every_file_named_is_there(folder, tmp_path):
    evaluate_folder(folder, tmp_path / "eval")
    text = sections(card_of(folder))["Results"]
    for heading in table(text)[0][1:]:
        assert f"\n- {heading}: " in text
    assert "sketches, a gallery of 50 photos; relevant to a\nquery are 12 or more of them, 12.5 in the median" in text
    links = re.findall(r"\]\(([^)]+)\)", card_of(folder).text)
    assert {link for link in links if "://" not in link} == {"results.json", "retrieval.png", "training.json"}
    assert all((folder / link).is_file() for link in links if "://" not in link)


def test_no_number_comes_from_anywhere_else(folder, tmp_path):
    written = evaluate_folder(folder, tmp_path / "eval")
    measured = [value for row in written["results"].values() for value in row.values() if isinstance(value, float)]
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
        "learning rate": "0.0001, vision encoders 1e-05",
        "precision": "bf16",
        "seed": "7",
        "hardware": "NVIDIA H100 80GB HBM3, 2 processes",
        "versions": "python 3.11.7, torch 2.15.0",
        "date": "2026-11-21",
    }


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
    assert "This is the form for inference" in card_of(inference).text


def test_what_was_told_to_the_run_is_kept(tmp_path):
    told = {**FACTS, "options": {**FACTS["options"], "license": "mit", "hub_model_id": "org/told"}}
    card = card_of(make_folder(tmp_path / "m", facts=told))
    assert card.data.license == "mit" and "# told\n" in card.text and '"org/told"' in card.text


# ---------------------------------------------------------------------------------------------------- the header


def test_header(folder, tmp_path):
    written = evaluate_folder(folder, tmp_path / "eval")
    card = card_of(folder)
    assert metadata_errors(card.content, "model") == []
    data = card.data
    assert (data.library_name, data.pipeline_tag, data.license) == ("transformers", "image-feature-extraction", "unknown")
    assert data.base_model == ["facebook/dinov2-small"] and data.datasets is None
    assert data.metrics == ["mean_average_precision", "precision"] and "sketch-based-image-retrieval" in data.tags
    own = written["results"][str(folder)]
    entries = {entry.metric_name: entry for entry in data.eval_results}
    assert {name: entry.metric_value for name, entry in entries.items()} == {
        metric_heading(name): own[name] for name in written["definitions"]
    }
    entry = entries["mAP@all"]
    assert (entry.dataset_type, entry.dataset_config, entry.dataset_split) == ("sketchy", "104_21", "test")
    assert entry.dataset_name == "sketchy 104_21, gallery: photos of unseen classes"


def test_eval_results_for_a_benchmark_on_the_hub_alone(folder, tmp_path):
    evaluate_folder(folder, tmp_path / "eval")
    assert not (folder / ".eval_results").exists()
    written = evaluate_folder(folder, tmp_path / "eval", dataset="org/sketchy-zs")
    (path,) = (folder / ".eval_results").iterdir()
    (entry,) = parse_eval_result_entries(yaml.safe_load(path.read_text()))
    assert path.name == "caan_sketchy-zs.yaml"
    assert (entry.dataset_id, entry.task_id) == ("org/sketchy-zs", "104_21")
    assert entry.value == written["results"][str(folder)]["map_all"] and entry.date == written["date"]
    assert entry.notes == "mAP@all, sketchy-zs 104_21, gallery: photos of unseen classes (50 photos), micro average"
    assert card_of(folder).data.datasets == ["org/sketchy-zs"]
    assert metadata_errors(card_of(folder).content, "model") == []


@pytest.mark.parametrize(
    "name, heading",
    [("map_all", "mAP@all"), ("map_200_hits", "mAP@200 (hits)"), ("map_all_voc", "mAP@all (voc)"), ("prec_100", "Prec@100")],
)
def test_metric_headings(name, heading):
    assert metric_heading(name) == heading


# -------------------------------------------------------------------------------------- numbers belong to weights


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


# --------------------------------------------------------------------------------------------- cards edited by hand


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
    evaluate_folder(folder, tmp_path / "eval")
    results = tmp_path / "eval" / "results.json"
    assert update_card(folder, str(folder), results, None) == str(folder / "README.md")
    (folder / "README.md").write_text("mine")
    said = update_card(folder, str(folder), results, None)
    assert said.startswith("README.md was edited and stays as it is") and str(folder / "results.json") in said


def test_which_cards_an_evaluation_can_update(folder, tmp_path):
    caan_model().config.vision_config.save_pretrained(tmp_path / "plain")
    names = ["pixels", "facebook/dinov2-small", str(folder), str(tmp_path / "plain")]
    assert carded_folders(names, "test") == [str(folder)]
    for given, split in ((names[:2], "test"), (names, "validation")):
        with pytest.raises(ValueError, match="update_card needs a folder of a CAAN among the models, and the zero-shot split"):
            carded_folders(given, split)


# ---------------------------------------------------------------------------------------- what is told of the machine


def test_no_path_of_the_machine_is_published(folder, tmp_path):
    evaluate_folder(folder, tmp_path / "eval")
    results = json.loads((folder / "results.json").read_text())
    assert results["model"] == "caan-sketchy" and results["data_dir"] == "Sketchy" and "output_dir" not in results
    text = "".join((folder / name).read_text() for name in ("README.md", "results.json", "training.json"))
    assert str(tmp_path) not in text and "/data" not in text


def test_public_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "mine").mkdir(parents=True)
    names = {
        "/home/me/Sketchy": "Sketchy",
        "~/x/run": "run",
        "models/mine": "mine",
        "org/caan": "org/caan",
        "a" * 5000: "a" * 5000,
    }
    assert {name: public_name(name) for name in names} == names
    assert [public_name(value) for value in (3, None, True)] == [3, None, True]
    assert is_hub_id("org/caan") and not any(map(is_hub_id, ["models/mine", "sketchy", "a/b/c", "/a", "a/"]))


def test_public_command():
    argv = [
        "/home/me/caan/train.py",
        "recipes/sketchy.yaml",
        "--data_dir",
        "/data/my sets/Sketchy",
        "--output_dir=/o/run",
        "--a=1",
    ]
    expected = "python train.py recipes/sketchy.yaml --data_dir Sketchy --output_dir=run --a=1"
    assert public_command(argv) == expected


def test_declared_licences(hub, tmp_path):
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "README.md").write_text("---\nlicense: mit\n---\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "README.md").write_text("---\nlicense: other\nlicense_name: my-terms\n---\n")
    for name in ("local", "other"):
        HfApi().create_repo(f"org/{name}", repo_type="dataset")
        HfApi().upload_folder(repo_id=f"org/{name}", repo_type="dataset", folder_path=tmp_path / name)
    expected = {"local": "mit", "other": "my-terms", "none": None}
    assert {name: declared_license(str(tmp_path / name), "model") for name in expected} == expected
    assert {name: declared_license(f"org/{name}", "dataset") for name in expected} == expected
    hub.fail("GET", "/api/datasets/org/local", status=503)
    assert declared_license("org/local", "dataset") is None


@pytest.mark.parametrize("keep, finished, expected", [("best", True, 0.5), ("last", True, None), ("best", False, None)])
def test_the_hold_outs_number_is_that_of_these_weights(tmp_path, keep, finished, expected):
    facts = {"options": {"keep": keep}}
    write_facts(tmp_path, facts, TrainerState(epoch=2, step=9, best_metric=0.5), finished)
    written = json.loads((tmp_path / "training.json").read_text())
    assert written == {**facts, "epoch": 2, "step": 9, "finished": finished, "validation_map_all": expected}

"""The claim of the Hub set: a folder, transformers and timm are all that a user needs.

python -m pytest tests/hub_set/test_hub_set.py

One fresh interpreter, in which none of the project's modules can be imported, loads what was saved here, from a folder and
from a simulated Hub cache, and reports tensors, features and everything that was said on the way.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import (
    HUB_SET,
    assert_same_tensors,
    batch,
    caan_config,
    caan_model,
    complaints,
    features,
    image_processor,
    photo,
    pixels,
    processor,
    sketch,
    tensors,
)
from transformers import AutoImageProcessor, AutoModel, AutoProcessor, pipeline

from modeling_caan import CAANModel
from processing_caan import CAANImageProcessor, CAANProcessor

CODE = HUB_SET - {"processing_caan.py", "ink_caan.py"}  # what a model brings along; its processor brings these
STRANGER = str(Path(__file__).parents[1] / "helpers" / "stranger.py")
REPO = "org/caan-sketchy"
SHA, MAIN = "0123456789abcdef0123456789abcdef01234567", "76543210fedcba9876543210fedcba9876543210"


def save_to_hub_cache(folder, cache):
    """`folder` as huggingface_hub would have downloaded it, as revision SHA, and as `main` with one more line of code."""
    repository = cache / "hub" / f"models--{REPO.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(MAIN)
    for revision in (SHA, MAIN):
        shutil.copytree(folder, repository / "snapshots" / revision)
    with open(repository / "snapshots" / MAIN / "modeling_caan.py", "a") as file:
        file.write('CAANModel.edition = "second"\n')


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """Saved models, and what a fresh interpreter without the project made of them."""
    work = tmp_path_factory.mktemp("work")
    models = {name: caan_model(vision_config=name) for name in ("vit", "timm_swin")}
    models["inference"] = models["vit"].for_inference()
    for name, model in models.items():
        model.save_pretrained(work / name)
        (processor() if name == "vit" else processor().image_processor).save_pretrained(work / name)
    save_to_hub_cache(work / "vit", work / "home")
    sketch().save(work / "sketch.png")
    photo().save(work / "photo.png")
    (work / "photos" / "more").mkdir(parents=True)
    for seed, name in enumerate(("a.png", "b.jpg", "more/c.png")):
        photo(seed=seed).save(work / "photos" / name)
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HOME": str(work / "home")}
    done = subprocess.run(
        [sys.executable, "-I", STRANGER, str(work), REPO, SHA],
        cwd=work,
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return {
        "work": work,
        "models": models | {"pinned": models["vit"], "hub": models["vit"]},
        "results": json.loads((work / "results.json").read_text()),
        "arrays": load_file(work / "arrays.safetensors"),
        "stderr": done.stderr,
    }


@pytest.mark.parametrize("name", ["vit", "timm_swin", "inference", "pinned", "hub"])
def test_a_stranger_gets_every_tensor_and_feature(stranger, name):
    arrays = {key.split("|")[1]: t for key, t in stranger["arrays"].items() if key.startswith(f"{name}|")}
    model, process = stranger["models"][name], processor().image_processor
    inputs = pixels(process, sketch(), modality="sketch"), pixels(process, photo(), modality="photo")
    with torch.no_grad():
        expected = {"features0": model.get_sketch_features(inputs[0]), "features1": model.get_image_features(inputs[1])}
    expected |= {"pixels0": inputs[0], "pixels1": inputs[1], **tensors(model)}
    assert arrays.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(arrays[key], tensor), key
    assert all(module.startswith("transformers_modules.") for module in stranger["results"][name]["modules"])


def test_a_stranger_hears_no_complaint(stranger):
    results = stranger["results"]
    for name in ("vit", "timm_swin", "inference", "pinned"):
        assert results[name]["said"] == [], name
    assert all("you can pin a revision" in text for text in results["hub"]["said"])  # transformers' advice without one
    lines = stranger["stderr"].replace("\r", "\n").split("\n")
    assert results["pipeline"] == [] and all(line.startswith("encoding ") for line in lines if line.strip())  # progress


def test_nothing_of_the_installed_package_served_the_stranger(stranger):
    assert stranger["results"]["ours"] == []


def test_without_the_flag_the_cure_is_named(stranger):
    assert "trust_remote_code=True" in stranger["results"]["without the flag"]


def test_the_stock_pipeline_gives_tokens_or_the_embedding(stranger):
    process = processor().image_processor
    with torch.no_grad():
        output = stranger["models"]["vit"](pixel_values=pixels(process, photo(), modality="photo"))
    assert torch.allclose(stranger["arrays"]["pipeline"], output.last_hidden_state, atol=1e-6)
    assert torch.allclose(stranger["arrays"]["pooled"], output.image_embeds, atol=1e-6)


def test_the_processor_of_the_hub_reads_words(stranger):
    assert stranger["results"]["words"] == processor()(text=["a cat"], return_tensors="pt").input_ids.tolist()


def test_a_stranger_searches_by_folder_pinned_revision_and_name(stranger):
    """The installed pipeline is the reference; test_pipeline.py compares it with a slow one."""
    results, work = stranger["results"], stranger["work"]
    pipe = pipeline("sketch-retrieval", model=str(work / "vit"))
    expected = pipe(str(work / "sketch.png"), gallery=str(work / "photos"))
    assert sorted(result["image"][len(str(work / "photos")) + 1 :] for result in expected) == ["a.png", "b.jpg", "more/c.png"]
    for key in ("folder", "pinned", "main"):
        assert results[f"search {key}"] == expected, key
        assert results[f"pipeline {key}"].startswith("transformers_modules.")
    assert results["search file"] == [expected[:1]] and results["search said"] == []


def test_each_revision_runs_its_own_code(stranger):
    """All are loaded in one process, in this order: what is loaded first must not serve the others."""
    editions = [stranger["results"][f"edition {key}"] for key in ("folder", "pinned", "main")]
    assert editions == ["first", "first", "second"]


def test_a_pipeline_that_a_stranger_saved_searches_again(stranger):
    work = stranger["work"]
    assert {path.name for path in (work / "searching").glob("*.py")} == HUB_SET
    assert "sketch-retrieval" in json.loads((work / "searching" / "config.json").read_text())["custom_pipelines"]
    again = pipeline("sketch-retrieval", model=str(work / "searching"))
    assert again(str(work / "sketch.png"), str(work / "photos")) == stranger["results"]["search folder"]


def test_a_stranger_can_save_the_model_again(stranger):
    again = stranger["work"] / "again"
    assert {path.name for path in again.iterdir()} >= CODE
    config = json.loads((again / "config.json").read_text())
    assert config["auto_map"]["AutoModel"].endswith("modeling_caan.CAANModel")
    assert_same_tensors(CAANModel.from_pretrained(again), stranger["models"]["vit"])


def test_the_folder_holds_all_code_and_no_other(stranger):
    for name in ("vit", "inference"):
        code = {path.name for path in (stranger["work"] / name).glob("*.py")}
        assert code == HUB_SET
    config = json.loads((stranger["work"] / "vit" / "config.json").read_text())
    assert config["auto_map"] == {"AutoConfig": "configuration_caan.CAANConfig", "AutoModel": "modeling_caan.CAANModel"}


def test_with_the_package_installed_no_flag_is_needed(stranger):
    folder = stranger["work"] / "vit"
    with complaints() as said:
        model, report = AutoModel.from_pretrained(folder, output_loading_info=True)
        both, images = AutoProcessor.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder)
    assert said == [] and not any(report.values())
    assert (type(model), type(both), type(images)) == (CAANModel, CAANProcessor, CAANImageProcessor)
    assert_same_tensors(model, stranger["models"]["vit"])
    for got, expected in zip(features(model), features(stranger["models"]["vit"])):
        assert torch.equal(got, expected)
    assert torch.equal(model(**batch()).loss, stranger["models"]["vit"](**batch()).loss)


def test_the_package_imports_its_classes():
    import caan

    assert (caan.CAANModel, caan.CAANImageProcessor, caan.CAANProcessor) == (CAANModel, CAANImageProcessor, CAANProcessor)


def test_auto_processor_of_a_folder_without_tokenizer_is_the_image_processor(tmp_path):
    caan_config().save_pretrained(tmp_path)
    image_processor().save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is type(image_processor())
    assert loaded.to_dict() == AutoImageProcessor.from_pretrained(tmp_path).to_dict()
    assert loaded.size == image_processor().size

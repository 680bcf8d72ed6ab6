"""From training to a stranger's machine, over the wire.  python -m pytest tests/hub/test_from_the_hub.py

Two processes train a model and push it; other weights are pushed over it; the model is evaluated, and pushed again from its
folder; a data set is published. Then an interpreter with an empty cache, in which none of the project's modules can be
imported, runs the card's snippets and loads the data set by id; and once more offline.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hub_client import hub_environment, served_hub
from huggingface_hub import HfApi, ModelCard
from running import in_two_processes, run_script, run_training, shapes
from safetensors.torch import load_file
from tiny import HUB_SET, add_noise
from trees import draw_photo, draw_sketch, shape_options

from caan.hub.push import push
from caan.hub.upload import PushOptions
from configuration_caan import SENTENCE_FILES
from dataset_scripts import load
from dataset_scripts.folder import Folder
from dataset_scripts.parquet import publish
from modeling_caan import CAANModel
from pipeline_caan import SketchRetrievalPipeline
from processing_caan import CAANImageProcessor

REPO, DATASET = "org/caan-shapes", "org/shapes-zs"
STRANGER = str(Path(__file__).parents[1] / "helpers" / "hub_stranger.py")


def train(output: str, options: dict) -> None:
    """What each of two processes runs."""
    run_training(shape_options(shapes(), output, **options))


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """All of it, once: the hub, folders, commits, and what the strangers wrote down."""
    work = tmp_path_factory.mktemp("story")
    run, other = work / "run", work / "other"
    data = ["--dataset", "folder", "--data_dir", str(shapes()), "--num_workers", "0", "--device", "cpu"]
    with pytest.MonkeyPatch.context() as patch, served_hub(patch, work / "cache") as hub:
        in_two_processes(train, run, {"push_to_hub": True, "hub_model_id": REPO, "push_steps": 2, "private": True})
        trained = hub.model(REPO).branches["main"].copy()
        shutil.copytree(run, other, ignore=shutil.ignore_patterns("checkpoints"))
        add_noise(CAANModel.from_pretrained(run)).save_pretrained(other)
        push(other, REPO, PushOptions(full=True))
        pinned = HfApi().model_info(REPO).sha
        run_script("eval.py", ["--model", str(run), "pixels", *data, "--output_dir", str(work / "eval"), "--update_card"])
        push(run, REPO, PushOptions(license="apache-2.0", commit_message="with results"))
        publish.publish(Folder, publish.PublishArguments(data_dir=str(shapes())), str(work / "parquet"))
        publish.upload(str(work / "parquet"), DATASET, private=True)
        draw_pictures(work / "desk")
        online, asked = visit(hub, work, "online", pinned), len(hub.log)
        told = {"online": online, "offline": visit(hub, work, "offline", pinned), "asked offline": hub.log[asked:]}
        yield {"hub": hub, "trained": trained, "run": run, "other": other, "desk": work / "desk", **told}


def draw_pictures(desk: Path) -> None:
    """The files that the card's snippets name."""
    (desk / "photos").mkdir(parents=True)
    draw_sketch("frame", 1).save(desk / "sketch.png")
    for i, name in enumerate(["frame", "gable", "arch", "bar", "cross", "frame"]):
        draw_photo(name, i).save(desk / "photos" / f"{i}.png")
    for name, i in (("a", 0), ("b", 1)):
        draw_photo("frame", i).save(desk / f"{name}.jpg")


def visit(hub, work: Path, name: str, sha: str) -> dict:
    """Runs the stranger, and reads what it wrote."""
    done = subprocess.run(
        [sys.executable, "-I", STRANGER, str(work / name), REPO, sha, DATASET],
        cwd=work / "desk",
        env=hub_environment(hub, work / "home", offline=name == "offline"),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return {**json.loads((work / f"{name}.json").read_text()), "arrays": load_file(work / f"{name}.safetensors")}


def here(folder: Path) -> tuple[CAANModel, CAANImageProcessor]:
    """The model of a folder, by the package, in the form that is pushed."""
    return CAANModel.from_pretrained(folder).for_inference(), CAANImageProcessor.from_pretrained(folder)


def test_two_processes_push_once(story):
    assert [commit.title for commit in story["trained"]] == ["initial commit", "Training, step 2", "End of training"]
    assert story["hub"].model(REPO).private
    early, late = ({name: file.content for name, file in commit.files.items()} for commit in story["trained"][1:])
    assert "**Training goes on.** These are the weights of step 2" in early["README.md"].decode()
    assert json.loads(early["training.json"])["validation_map_all"] is None
    assert "Training goes on" not in late["README.md"].decode()
    facts = json.loads(late["training.json"])
    assert (facts["step"], facts["finished"], facts["processes"]) == (4, True, 2)
    assert not list((story["run"] / "checkpoints").glob("push_*"))


@pytest.mark.parametrize("when", ["online", "offline"])
def test_a_stranger_gets_equal_tensors(story, when):
    arrays = story[when]["arrays"]
    for prefix, folder in (("model|", story["run"]), ("pinned|", story["other"])):
        expected = here(folder)[0].state_dict()
        got = {name.removeprefix(prefix): tensor for name, tensor in arrays.items() if name.startswith(prefix)}
        got = {name: tensor for name, tensor in got.items() if name in expected or prefix == "model|"}
        assert got.keys() == expected.keys()
        assert all(torch.equal(got[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("when", ["online", "offline"])
def test_a_pinned_revision_gives_the_weights_of_then_after_a_later_push(story, when):
    model, processor = here(story["other"])
    query = model.get_sketch_features(**processor(str(story["desk"] / "sketch.png"), modality="sketch", return_tensors="pt"))
    assert torch.equal(story[when]["arrays"]["pinned_query"], query)
    assert not torch.equal(story[when]["arrays"]["query"], query)


@pytest.mark.parametrize("when", ["online", "offline"])
def test_a_stranger_gets_equal_scores(story, when, monkeypatch):
    monkeypatch.chdir(story["desk"])
    model, processor = here(story["run"])
    query = model.get_sketch_features(**processor("sketch.png", modality="sketch", return_tensors="pt"))
    photos = model.get_image_features(**processor(["a.jpg", "b.jpg"], modality="photo", return_tensors="pt"))
    for name, expected in {"query": query, "photos": photos, "scores": query @ photos.T}.items():
        assert torch.equal(story[when]["arrays"][name], expected), name
    search = SketchRetrievalPipeline(model=model, image_processor=processor)
    found = search("sketch.png", gallery="photos/", top_k=5)
    assert story[when]["found"] == [[item["image"], item["score"], item["rank"]] for item in found]


@pytest.mark.parametrize("when", ["online", "offline"])
def test_a_stranger_gets_the_data_set(story, when):
    expected = load("folder", data_dir=str(shapes()))["test"]
    columns = zip(expected["file"], expected["label"], expected["modality"])
    assert story[when]["rows"] == [list(row) for row in columns]
    picture = expected[0]["image"].convert("RGB").tobytes()
    assert story[when]["arrays"]["first picture"].numpy().tobytes() == picture


@pytest.mark.parametrize("when", ["online", "offline"])
def test_nothing_complains(story, when):
    told = story[when]
    assert told["ours"] == []
    assert told["pinned_said"] == [] and not any(told["pinned_loading"].values())
    # Code that is not pinned is announced by transformers when it is new; that is its advice to pin it.
    assert all("A new version of the following files was downloaded" in text for text in told["said"])
    assert when == "online" or told["said"] == []


def test_offline_nothing_is_asked(story):
    assert story["asked offline"] == []


def test_the_fake_hub_knew_every_address_of_a_repository(story):
    assert not [path for _, path in story["hub"].unknown if REPO in path or DATASET in path]


def test_the_pushed_folder(story):
    files = story["hub"].files(REPO)
    data = {"README.md", "config.json", "model.safetensors", "preprocessor_config.json", *SENTENCE_FILES}
    assert files.keys() == HUB_SET | data | {"training.json", "results.json", "retrieval.png", ".gitattributes"}
    config = json.loads(files["config.json"])
    assert config["auto_map"] == {"AutoConfig": "configuration_caan.CAANConfig", "AutoModel": "modeling_caan.CAANModel"}
    assert config["use_text"] is False and "sketch-retrieval" in config["custom_pipelines"]
    assert str(story["run"].parent).encode() not in b"".join(files.values())


def test_the_pushed_card_carries_what_was_measured(story):
    files = story["hub"].files(REPO)
    card, results = ModelCard(files["README.md"].decode()), json.loads(files["results.json"])
    own = results["results"]["run"]
    entries = {entry.metric_name: entry.metric_value for entry in card.data.eval_results}
    assert entries["mAP@all"] == own["map_all"] and entries["top-1"] == own["top1"]
    assert card.data.license == "apache-2.0" and card.data.library_name == "transformers"
    assert f"| **this model** |  {own['map_all']:.4f} |" in card.text
    assert f"| pixels         |  {results['results']['pixels']['map_all']:.4f} |" in card.text

"""The record of a training run, and what of this machine is published.  python -m pytest tests/evaluation/test_facts.py"""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import HfApi
from running import shapes, train
from trees import SEEN

from caan.data.pictures import load_splits
from caan.data.provenance import declared_license, installed_versions, is_hub_id, public_command, public_name, public_names
from caan.evaluation.facts import read_facts, training_facts, write_facts
from caan.options import DataOptions, ModelOptions, TrainOptions, TrainPushOptions
from caan.training.checkpoints import TrainerState


@pytest.fixture
def accelerator():
    return SimpleNamespace(num_processes=2, mixed_precision="bf16", gradient_accumulation_steps=4, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def train_split():
    return load_splits(DataOptions(dataset="folder", data_dir=str(shapes())))["train"]


def record_of(train_split, accelerator, model=None, **train) -> dict:
    data = DataOptions(dataset="folder", data_dir=str(shapes()))
    options = ModelOptions(model=model), data, TrainOptions(**train), TrainPushOptions()
    return training_facts(train_split, *options, accelerator, uses_text=True)


def test_no_path_of_the_machine_is_published(train_split, accelerator, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "train.py"), "--data_dir", str(shapes()), f"--output_dir={tmp_path}/run"])
    facts = record_of(train_split, accelerator, output_dir=str(tmp_path / "run"))
    assert facts["command"] == f"python train.py --data_dir {shapes().name} --output_dir=run"
    assert facts["options"]["data_dir"] == shapes().name and facts["options"]["output_dir"] == "run"
    text = json.dumps(facts)
    assert str(tmp_path) not in text and str(shapes()) not in text and str(shapes().parent) not in text


def test_no_path_in_model_config_is_published(train_split, accelerator):
    options = ModelOptions(model_config='{"vision_config": {"_name_or_path": "/home/me/vit"}}')
    data = DataOptions(dataset="folder", data_dir=str(shapes()))
    facts = training_facts(train_split, options, data, TrainOptions(), TrainPushOptions(), accelerator, uses_text=True)
    assert facts["options"]["model_config"] == '{"vision_config": {"_name_or_path": "vit"}}'


def test_the_record_says_what_ran_and_on_which_classes(train_split, accelerator):
    facts = record_of(train_split, accelerator, mixed_precision="auto")
    assert facts["seen_classes"] == list(SEEN) and facts["seen_before"] == []
    assert (facts["sketches"], facts["photos"]) == (40, 35)
    assert (facts["processes"], facts["precision"], facts["gradient_accumulation_steps"]) == (2, "bf16", 4)
    assert facts["versions"] == installed_versions()


def test_classes_of_the_model_that_was_trained_on_count_as_seen(train_split, accelerator, tmp_path):
    for number, before in enumerate([{"seen_classes": ["x", "y"], "seen_before": ["z"]}, {"seen_classes": 3}, None]):
        folder = tmp_path / str(number)
        folder.mkdir()
        if before is not None:
            content = {"dataset": "d", "options": {"keep": "last"}, **before}
            (folder / "training.json").write_text(json.dumps(content))
        expected = ["x", "y", "z"] if number == 0 else None  # a count names no class, and without a record nothing is known
        assert record_of(train_split, accelerator, model=str(folder))["seen_before"] == expected


def test_public_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "mine").mkdir(parents=True)
    names = {
        "/home/me/Sketchy": "Sketchy",
        "~/x/run": "run",
        "../elsewhere/set": "set",
        r"C:\photos\holidays": "holidays",
        "models/mine": "mine",
        "org/caan": "org/caan",
        "a" * 5000: "a" * 5000,
    }
    assert {name: public_name(name) for name in names} == names
    assert [public_name(value) for value in (3, None, True)] == [3, None, True]
    assert public_name(["/a/b", "pixels", 5]) == ["b", "pixels", 5]
    assert public_name(".") == public_name(str(tmp_path)) == tmp_path.name
    assert public_names(["/a/run", "pixels", "/b/run", "/c/run"]) == ["run", "pixels", "run (2)", "run (3)"]
    assert is_hub_id("org/caan") and not any(map(is_hub_id, ["models/mine", "sketchy", "a/b/c", "/a", "a/"]))


def test_no_path_within_a_mapping_is_published():
    fields = {"vision_config": {"_name_or_path": "/home/me/vit", "depths": [1, "/a/b"]}, "margin": 0.2}
    public = {"vision_config": {"_name_or_path": "vit", "depths": [1, "b"]}, "margin": 0.2}
    text = json.dumps(fields)
    assert json.loads(public_name(text)) == public_name(fields) == public
    assert [public_name(same) for same in ('{"margin":0.2}', "{", "{x}")] == ['{"margin":0.2}', "{", "{x}"]  # as it was written
    for argv in (["train.py", "--model_config", text], ["train.py", f"--model_config={text}"]):
        command = public_command(argv)
        assert "/home/me" not in command and "/a/b" not in command and json.dumps(public) in command
    assert public_command(["train.py", "--model_config.vision_config._name_or_path", "/a/vit"]).endswith("_name_or_path vit")


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
    assert public_command(["caan eval", "--model", "../a/run", "it's"]) == """caan eval --model run 'it'"'"'s'"""
    assert public_command(["/venv/bin/caan.exe", "eval"]) == "caan eval"
    assert public_command(["/a/caan/cli.py", "train", "openmoji"]) == "caan train openmoji"  # python -m caan.cli


def test_names_of_any_bytes_stand_in_a_line_of_utf_8():
    names = {"/a/caf\udce9": r"caf\udce9", "/a/two\nlines": r"two\nlines", "/a/\u7530\u3000\u00e9": "\u7530\u3000\u00e9"}
    assert {name: public_name(name) for name in names} == names
    for name, shown in names.items():
        assert shown in public_command(["caan eval", "--output_dir", name]) and shown in public_command(
            ["caan eval", f"--a={name}"]
        )


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


@pytest.mark.parametrize(
    "keep, done, selected, whitened",
    [("best", True, 0.5, 0.4), ("last", True, None, 0.4), ("best", False, None, None)],
)
def test_the_hold_outs_numbers_are_those_of_the_selection_and_of_the_finished_model(tmp_path, keep, done, selected, whitened):
    facts = {"dataset": "d", "options": {"keep": keep}}
    write_facts(tmp_path, facts, TrainerState(epoch=2, step=9, best_metric=0.5, finished_metric=0.4), done)
    progress = {"epoch": 2, "step": 9, "finished": done, "validation_map_all": selected, "finished_map_all": whitened}
    assert read_facts(tmp_path) == {**facts, **progress}


def test_without_whitening_there_is_one_number(tmp_path):
    run = train(tmp_path, batches_per_epoch=1)
    facts = read_facts(tmp_path)
    assert facts["validation_map_all"] == run.state.best_metric and facts["finished_map_all"] is None
    assert facts["seen_classes"] == list(SEEN)


def test_a_damaged_record_is_named(tmp_path):
    assert read_facts(tmp_path) is None
    for content in ("", "[]", "{}", '{"dataset": "x"}', "{"):
        (tmp_path / "training.json").write_text(content)
        with pytest.raises(ValueError, match=f"^{tmp_path}/training.json is no record of a training run .* Remove it"):
            read_facts(tmp_path)

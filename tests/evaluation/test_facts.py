"""The record of a training run, and what of this machine is published.  python -m pytest tests/evaluation/test_facts.py"""

import json

import pytest
from folders import evaluate_folder, make_folder
from huggingface_hub import HfApi

from caan.data.provenance import declared_license, is_hub_id, public_command, public_name
from caan.evaluation.facts import write_facts
from caan.training.checkpoints import TrainerState


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "caan-sketchy")


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

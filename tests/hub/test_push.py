"""`caan push` and the pushes of a training run, against the fake Hub.  python -m pytest tests/hub/test_push.py"""

import json
import os
import signal

import pytest
from fake_hub import READER
from folders import contents, evaluate_folder, make_folder
from huggingface_hub import HfApi, ModelCard
from pushing import FULL, INFERENCE, REPO, caan_push, titles
from safetensors.torch import load, load_file, save_file
from tiny import assert_same_tensors, caan_model, complaints
from transformers import AutoImageProcessor, AutoModel, AutoProcessor

from caan.hub.card import write_card
from caan.hub.push import push, push_finished
from caan.hub.upload import BackgroundPush
from caan.options import PushOptions, TrainPushOptions
from modeling_caan import TRAINING_MODULES, CAANModel


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "run")


# ------------------------------------------------------------------------------------------------- what is pushed


def test_the_form_for_inference_is_pushed(hub, folder, capsys):
    before = contents(folder)
    assert caan_push(folder, REPO) == 0
    files = hub.files(REPO)
    assert files.keys() == INFERENCE
    assert json.loads(files["config.json"])["use_text"] is False
    assert not {name.split(".")[0] for name in load(files["model.safetensors"])} & set(TRAINING_MODULES)
    assert f'"{REPO}"' in files["README.md"].decode() and "the form for inference" in files["README.md"].decode()
    assert contents(folder) == before and titles(hub) == ["initial commit", "Upload CAAN"]
    assert f"pushed: {hub.url}/{REPO}/commit/{HfApi().model_info(REPO).sha}" in capsys.readouterr().out


def test_the_full_form_on_request(hub, folder):
    assert caan_push(folder, REPO, "--full") == 0
    files = hub.files(REPO)
    assert files.keys() == FULL
    assert {name.split(".")[0] for name in load(files["model.safetensors"])} >= set(TRAINING_MODULES) - {"teacher_head"}


@pytest.mark.parametrize("full", [False, True])
def test_both_forms_load_by_id_without_a_complaint(hub, folder, full):
    repo = f"org/caan-{full}"
    push(folder, repo, PushOptions(full=full))
    with complaints() as said:
        model, report = AutoModel.from_pretrained(repo, output_loading_info=True)
        (AutoProcessor if full else AutoImageProcessor).from_pretrained(repo)
    assert said == [] and not any(report.values()) and model.config.use_text is full
    source = CAANModel.from_pretrained(folder)
    assert_same_tensors(model, source if full else source.for_inference())


def test_results_and_picture_go_along(hub, folder, tmp_path):
    evaluate_folder(folder, tmp_path / "eval", dataset="org/sketchy-zs")
    push(folder, REPO, PushOptions())
    files = hub.files(REPO)
    assert files.keys() == INFERENCE | {"results.json", "retrieval.png", ".eval_results/caan_sketchy-zs.yaml"}
    assert files["retrieval.png"] == (folder / "retrieval.png").read_bytes()
    assert len(ModelCard(files["README.md"].decode()).data.eval_results) == 6


def test_results_of_other_weights_stay_at_home(hub, folder, tmp_path):
    evaluate_folder(folder, tmp_path / "eval")
    caan_model(seed=1).save_pretrained(folder)
    push(folder, REPO, PushOptions())
    assert hub.files(REPO).keys() == INFERENCE
    assert "No test has been run on these weights" in hub.files(REPO)["README.md"].decode()


def test_other_files_stay_at_home(hub, folder):
    (folder / "checkpoints" / "step_1").mkdir(parents=True)
    (folder / "checkpoints" / "step_1" / "optimizer.bin").write_bytes(b"1")
    (folder / "notes.txt").write_text("mine")
    (folder / "LICENSE").write_text("terms")
    push(folder, REPO, PushOptions())
    assert hub.files(REPO).keys() == INFERENCE | {"LICENSE"}


def test_a_later_push_leaves_nothing_stale_and_nothing_else_undone(hub, folder, tmp_path):
    evaluate_folder(folder, tmp_path / "eval", dataset="org/sketchy-zs")
    push(folder, REPO, PushOptions(full=True))
    HfApi().upload_file(repo_id=REPO, path_or_fileobj=b"by hand", path_in_repo="NOTES.md")
    HfApi().upload_file(repo_id=REPO, path_or_fileobj=b"- a", path_in_repo=".eval_results/by_others.yaml")
    make_folder(tmp_path / "new")
    push(tmp_path / "new", REPO, PushOptions())
    assert hub.files(REPO).keys() == INFERENCE | {"NOTES.md", ".eval_results/by_others.yaml"}


def test_options(hub, folder):
    assert caan_push(folder, REPO, "--private", "--revision", "v2", "--commit_message", "the second", "--license", "mit") == 0
    assert hub.model(REPO).private
    assert titles(hub) == ["initial commit"] and titles(hub, "v2") == ["initial commit", "the second"]
    assert ModelCard(hub.files(REPO, "v2")["README.md"].decode()).data.license == "mit"


def test_an_edited_card_goes_along_as_it_is(hub, folder, capsys):
    edited = (folder / "README.md").read_text().replace("## Limits", "## Limits\n\nMine.")
    (folder / "README.md").write_text(edited)
    assert caan_push(folder, REPO) == 0
    assert hub.files(REPO)["README.md"].decode() == edited
    assert f"{folder}/README.md was edited: it is pushed as it is" in capsys.readouterr().out


# --------------------------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    "fault, said",
    [
        (("PUT", "/lfs-store/"), "cannot be reached, or the connection broke"),
        (("POST", "/commit/"), "cannot be reached, or the connection broke"),
        (("POST", "/api/repos/create"), "cannot be reached, or the connection broke"),
        (("POST", "/preupload/", 403, "You need write access"), "Your token may not write to org/caan-sketchy"),
        (("POST", "/commit/", 500, "The disk is full"), "The disk is full"),
    ],
)
def test_a_failed_push_loses_nothing_and_says_how_to_go_on(hub, folder, capsys, fault, said):
    method, path, *answer = fault
    push(folder, REPO, PushOptions())
    there = HfApi().model_info(REPO).sha
    caan_model(seed=1).save_pretrained(folder)
    before = contents(folder)
    hub.fail(method, path, **dict(zip(("status", "message"), answer)))
    assert caan_push(folder, REPO, "--license", "mit", "--commit_message", "better weights") == 1
    error = capsys.readouterr().err
    assert "caan push: error: " in error and said in error
    again = f"caan push {folder} {REPO} --license mit --commit_message 'better weights'"
    assert f"Nothing is lost: {folder} is whole. To go on: {again}" in error
    assert contents(folder) == before and HfApi().model_info(REPO).sha == there
    hub.faults.clear()
    assert caan_push(folder, REPO, "--license", "mit") == 0
    assert HfApi().model_info(REPO).sha != there


@pytest.mark.parametrize("token, said", [("", "hf auth login"), ("hf_wrong", "hf auth login"), (READER, "may not write to")])
def test_who_may_not_push(hub, folder, capsys, monkeypatch, token, said):
    monkeypatch.setenv("HF_TOKEN", token)
    assert caan_push(folder, REPO) == 1
    assert said in capsys.readouterr().err and hub.repositories == {}


def test_private_is_not_promised_where_the_repository_is_public(hub, folder, capsys):
    HfApi().create_repo(REPO)
    assert caan_push(folder, REPO, "--private") == 1
    assert f"{REPO} is there and public. Make it private" in capsys.readouterr().err
    assert titles(hub) == ["initial commit"]


def test_an_unknown_licence_is_refused_before_anything_is_sent(hub, folder, capsys):
    assert caan_push(folder, REPO, "--license", "mine") == 1
    assert 'Invalid metadata in README.md. - "license" must be' in capsys.readouterr().err
    assert titles(hub) == ["initial commit"] and hub.objects == {}


def test_a_folder_without_a_model_is_named(hub, tmp_path, capsys):
    assert caan_push(tmp_path / "none", REPO) == 1
    assert f"caan push: error: {tmp_path}/none holds no CAAN: give the folder that train.py wrote" in capsys.readouterr().err
    CAANModel.from_pretrained(make_folder(tmp_path / "m")).config.vision_config.save_pretrained(tmp_path / "vit")
    assert caan_push(tmp_path / "vit", REPO) == 1
    assert hub.log == []


def test_offline(hub, folder, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert caan_push(folder, REPO) == 1
    assert "HF_HUB_OFFLINE" in capsys.readouterr().err and hub.log == []


def test_ctrl_c_says_how_to_go_on(hub, folder, capsys, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("caan.hub.push.upload", stop)
    assert caan_push(folder, REPO, "--full") == 130
    assert f"to go on: caan push {folder} {REPO} --full" in capsys.readouterr().err


def test_a_name_without_an_organisation_is_the_user_s_own(hub, folder, capsys):
    """What the Hub makes of it is where the files go, and what the card says."""
    assert caan_push(folder, "mine") == 0
    assert list(hub.repositories) == [("model", "writer/mine")]
    files = hub.files("writer/mine")
    assert '"writer/mine"' in files["README.md"].decode() and "model.safetensors" in files


def test_sigterm_says_how_to_go_on(hub, folder, capsys, monkeypatch):
    def stop(*args):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("caan.hub.push.upload", stop)
    assert caan_push(folder, REPO) == 143
    assert f"caan push: stopped; {folder} is whole; to go on: caan push {folder} {REPO}\n" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_damaged_folder_is_named_in_one_line(hub, folder, capsys, file):
    (folder / file).write_bytes((folder / file).read_bytes()[:50])
    assert caan_push(folder, REPO) == 1
    error = capsys.readouterr().err
    assert f"caan push: error: folder '{folder}' cannot be loaded: " in error and "Traceback" not in error
    assert hub.repositories == {}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device", "x"), RuntimeError("something of the client")])
def test_the_last_push_of_a_run_never_raises(hub, folder, caplog, monkeypatch, error):
    def fail(*args):
        raise error

    background = BackgroundPush(REPO, TrainPushOptions(push_to_hub=True, hub_model_id=REPO))
    monkeypatch.setattr("caan.hub.push.prepare_folder", fail)
    push_finished(background, folder)
    assert "The model was not pushed: " in caplog.text and str(error.args[-1]) in caplog.text
    assert f"{folder} is whole. To go on: caan push {folder} {REPO}" in caplog.text


def test_a_folder_whose_weights_are_incomplete_is_not_pushed(hub, folder, capsys):
    """transformers would fill the gaps with random numbers."""
    weights = load_file(folder / "model.safetensors")
    del weights[min(name for name in weights if name.startswith("image_encoder"))]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert caan_push(folder, REPO) == 1 and hub.repositories == {}
    assert "1 of its weights are missing, such as image_encoder." in capsys.readouterr().err


def test_a_card_edited_by_hand_keeps_the_leaderboard_entry(hub, folder, tmp_path):
    evaluate_folder(folder, tmp_path / "eval", dataset="org/sketchy-zs")
    push(folder, REPO, PushOptions())
    (folder / "README.md").write_text("# mine")
    push(folder, REPO, PushOptions())
    assert ".eval_results/caan_sketchy-zs.yaml" in hub.files(REPO)
    (folder / "README.md").write_bytes(b"# caf\xe9")  # not even UTF-8: somebody's, and no error
    assert write_card(folder) is None


def test_a_full_disk_is_not_called_an_unreachable_hub(hub, folder, capsys, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr(HfApi, "upload_folder", fail)
    assert caan_push(folder, REPO) == 1
    error = capsys.readouterr().err
    assert "A disk is full: free some space" in error and "cannot be reached" not in error


def test_a_record_that_stands_in_the_way_is_named_where_the_user_has_it(hub, folder, capsys):
    """And not in the copy that is pushed, which is gone by then."""
    facts = json.loads((folder / "training.json").read_text())
    for content, said in (
        ({}, "is no record of a training run"),
        ({**facts, "hardware": None}, "holds a value of the wrong type"),
        ({name: value for name, value in facts.items() if name != "hardware"}, "has no 'hardware'"),
    ):
        (folder / "training.json").write_text(json.dumps(content))
        assert caan_push(folder, REPO) == 1 and hub.repositories == {}
        assert f"caan push: error: {folder}/training.json {said}" in capsys.readouterr().err

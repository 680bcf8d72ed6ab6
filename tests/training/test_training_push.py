"""The pushes of a training run, against the fake Hub.  python -m pytest tests/training/test_training_push.py"""

import logging
import shutil
import threading
from types import SimpleNamespace

import pytest
from fake_hub import READER, WRITER
from folders import FACTS, make_folder
from huggingface_hub import HfApi
from pushing import FULL, REPO, caan_push, titles
from running import run_to_error, run_training, shapes
from trees import shape_options

from caan.hub import upload as hub_module
from caan.hub.push import push_finished
from caan.hub.upload import BackgroundPush, PushError, open_repository
from caan.options import PushOptions, TrainPushOptions
from caan.training import pushing
from caan.training.checkpoints import TrainerState


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "run")


@pytest.fixture
def slow_uploads(monkeypatch):
    """Uploads that take until they are let go; the list of what was uploaded."""
    go_on, uploaded = threading.Event(), []

    def upload(folder, repo, options, message):
        go_on.wait(timeout=60)
        uploaded.append((message, sorted(path.name for path in folder.iterdir())))

    monkeypatch.setattr(hub_module, "upload", upload)
    return go_on, uploaded


def prepared(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "file").write_text(name)
    return tmp_path / name


def test_one_upload_at_a_time_and_none_holds_the_training(hub, tmp_path, slow_uploads, caplog):
    go_on, uploaded = slow_uploads
    background = BackgroundPush(REPO, TrainPushOptions(push_to_hub=True, hub_model_id=REPO))
    first, second = prepared(tmp_path, "first"), prepared(tmp_path, "second")
    assert background.start(first, "step 1") is True and first.exists()
    assert background.start(second, "step 2") is False and not second.exists()
    assert "The last push is still on its way: this one is left out" in caplog.text
    go_on.set()
    background.wait()
    assert uploaded == [("step 1", ["file"])] and not first.exists()
    assert background.start(prepared(tmp_path, "third"), "step 3") is True
    background.wait()
    assert [message for message, _ in uploaded] == ["step 1", "step 3"]


def test_a_failed_upload_beside_training_is_a_warning(hub, folder, tmp_path, caplog):
    background = BackgroundPush(REPO, TrainPushOptions(push_to_hub=True, hub_model_id=REPO))
    hub.fail("POST", "/commit/")
    copy = shutil.copytree(folder, tmp_path / "copy")
    background.start(copy, "step 1")
    background.wait()
    (record,) = [record for record in caplog.records if record.name == "caan.hub.upload"]
    assert record.levelno == logging.WARNING and "training goes on, and the next push tries again" in record.getMessage()
    assert not copy.exists() and titles(hub) == ["initial commit"]
    push_finished(background, folder)
    assert f"The model was not pushed. {hub.url} cannot be reached" in caplog.text
    assert f"To go on: caan push {folder} {REPO}" in caplog.text
    hub.faults.clear()
    push_finished(background, folder)
    assert titles(hub) == ["initial commit", "End of training"]


def test_a_run_that_may_not_push_is_told_before_it_trains(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", READER)
    options = shape_options(shapes(), tmp_path / "run", push_to_hub=True, hub_model_id=REPO)
    assert "Your token may not write to org/caan-sketchy" in run_to_error("train.py", options)
    HfApi(token=WRITER).create_repo(REPO)  # it is there, and may be read
    assert "Your token may not write to org/caan-sketchy" in run_to_error("train.py", options)
    assert not (tmp_path / "run" / "training.json").exists()


@pytest.mark.parametrize(
    "options, said",
    [
        ({"push_to_hub": True}, "push_to_hub needs hub_model_id"),
        ({"push_steps": 5, "hub_model_id": REPO}, "push_steps needs push_to_hub"),
    ],
)
def test_options_that_do_not_go_together(tmp_path, options, said):
    assert said in run_to_error("train.py", shape_options(shapes(), tmp_path / "run", **options))


def test_training_goes_on_without_the_hub(hub, tmp_path, caplog):
    options = {"push_to_hub": True, "hub_model_id": REPO, "push_steps": 2, "num_epochs": 1}
    hub.fail("POST", "/commit/")
    run_training(shape_options(shapes(), tmp_path / "run", **options))
    said = [record.getMessage() for record in caplog.records if record.name.startswith("caan")]
    # A slow machine may also have left out a push while the first was still failing.
    assert any("training goes on" in message for message in said) and "The model was not pushed" in said[-1]
    assert f"To go on: caan push {tmp_path / 'run'} {REPO}" in said[-1]
    assert titles(hub) == ["initial commit"]
    hub.faults.clear()
    assert caan_push(tmp_path / "run", REPO) == 0
    assert {"model.safetensors", "README.md"} <= hub.files(REPO).keys()


def test_pushed_while_training_and_not_pushed_without_the_option(hub, tmp_path):
    options = shape_options(shapes(), tmp_path / "run", num_epochs=1, mixed_precision="bf16")
    plain = run_training(options)
    assert hub.repositories == {} and "pushed: " not in plain.stdout
    options = [option for option in options if "output_dir" not in option] + [f"--output_dir={tmp_path / 'other'}"]
    pushing = run_training([*options, "--push_to_hub", f"--hub_model_id={REPO}", "--push_steps=3", "--full"])
    assert titles(hub) == ["initial commit", "Training, step 3", "End of training"]
    assert "pushed: " in pushing.stdout and hub.files(REPO).keys() == FULL
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "other")]
    assert weights[0] == weights[1]  # pushing changes nothing in the training


def test_the_repository_is_made_once(hub):
    open_repository(REPO, PushOptions())
    open_repository(REPO, PushOptions())
    assert titles(hub) == ["initial commit"]
    with pytest.raises(PushError, match="namespace"):
        open_repository("elsewhere/m", PushOptions())


def test_the_card_of_a_push_on_the_way_names_the_repository_that_was_made(tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "push")
    (folder / "README.md").unlink()
    monkeypatch.setattr(pushing, "save_model", lambda *given: None)
    started = []
    push = SimpleNamespace(repo="me/mymodel", start=lambda *given: started.append(given))  # --hub_model_id mymodel
    facts = {**FACTS, "options": {**FACTS["options"], "hub_model_id": "mymodel"}}
    pushing.push_progress(push, None, None, folder, facts, TrainerState(step=3), None, full=True)
    assert started == [(folder, "Training, step 3")]
    card = (folder / "README.md").read_text()
    assert card.count('"me/mymodel"') == 3 and '"mymodel"' not in card

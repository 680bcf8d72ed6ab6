"""Checkpoints that are complete or absent.  python -m pytest tests/training/test_checkpoints.py"""

import hashlib
import json
import os

import pytest
import torch
from accelerate import Accelerator
from running import forget_accelerate

from caan.training import checkpoints as checkpoint
from caan.training.checkpoints import (
    STATE_FILE,
    DamagedCheckpoint,
    TrainerState,
    latest_checkpoint,
    load_checkpoint,
    load_newest,
    save_checkpoint,
)
from caan.training.files import publish_files, publish_folder, temporary_folder


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


class Training:
    """A tiny model with optimizer and schedule under Accelerate."""

    def __init__(self, width: int = 3, groups: int = 1):
        forget_accelerate()
        torch.manual_seed(0)
        self.accelerator = Accelerator(cpu=True)
        model = torch.nn.Linear(width, 2)
        parameters = list(model.parameters())
        optimizer = torch.optim.AdamW([{"params": parameters[i::groups]} for i in range(groups)], lr=0.1)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, 1, 0.5)
        self.accelerator.register_for_checkpointing(self.schedule)

    def step(self) -> None:
        self.model(torch.ones(4, self.model.in_features)).square().sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()

    def content(self) -> list:
        moments = [s["exp_avg"].tolist() for s in self.optimizer.state_dict()["state"].values()]
        return [[p.tolist() for p in self.model.parameters()], moments, self.schedule.get_last_lr()]


@pytest.fixture
def training():
    return Training()


def save(training, folder, step: int, limit: int = 1, **state):
    return save_checkpoint(training.accelerator, folder, TrainerState(step=step, **state), limit)


def fingerprint(folder) -> dict:
    """Hash of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_everything_comes_back(training, tmp_path):
    for _ in range(3):
        training.step()
    state = TrainerState(epoch=2, batches=5, step=3, best_metric=0.25, best_folder="best_epoch_0001")
    path = save_checkpoint(training.accelerator, tmp_path, state)
    saved = training.content()
    training.step()
    assert training.content() != saved
    again = Training()
    assert load_checkpoint(again.accelerator, path) == state
    assert again.content() == saved
    again.step()
    assert again.content() == training.content()


def test_before_the_first_validation_there_is_no_best(training, tmp_path):
    path = save(training, tmp_path, 1)
    expected = TrainerState(step=1, saves=1, best_metric=float("-inf"), best_folder=None)
    assert load_checkpoint(training.accelerator, path) == expected


def test_the_newest_and_the_best_are_kept(training, tmp_path):
    for name in ("best_epoch_0001", "best_epoch_0002", ".best_epoch_0003.tmp", ".step_00000009.tmp", "push_00000002"):
        (tmp_path / name).mkdir()
    save(training, tmp_path, 9)
    assert names(tmp_path) == {"step_00000009", "push_00000002"}
    (tmp_path / "best_epoch_0002").mkdir()
    (tmp_path / "best_epoch_0004").mkdir()
    save(training, tmp_path, 10, best_folder="best_epoch_0002")
    assert names(tmp_path) == {"step_00000010", "best_epoch_0002", "push_00000002"}


def test_the_latest_is_the_newest_complete_one(training, tmp_path):
    assert latest_checkpoint(tmp_path / "nowhere") is None and latest_checkpoint(tmp_path) is None
    path = save(training, tmp_path, 99)
    for name in ("step_00000100", ".step_00000101.tmp"):  # killed before, and while, the state was written
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"half of it")
    (tmp_path / ".step_00000101.tmp" / STATE_FILE).write_text('{"epo')
    assert latest_checkpoint(tmp_path) == path
    save(training, tmp_path, 102)
    assert names(tmp_path) == {"step_00000102"}  # leftovers are gone


@pytest.mark.parametrize("moment", ["fsync", "rename", "rmtree"])
def test_a_kill_at_any_moment_leaves_a_checkpoint_to_go_on_from(training, tmp_path, monkeypatch, moment):
    training.step()
    old, before = save(training, tmp_path, 1, best_folder=None), training.content()
    training.step()

    def kill(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        if moment == "fsync":
            patch.setattr(os, "fsync", kill)
        elif moment == "rename":
            patch.setattr(type(tmp_path), "rename", kill)
        else:  # when the new one stands and the old ones go
            final = tmp_path / "step_00000002"
            remove = checkpoint.shutil.rmtree
            patch.setattr(checkpoint.shutil, "rmtree", lambda p, **k: kill() if final.exists() else remove(p, **k))
        with pytest.raises(Killed):
            save(training, tmp_path, 2)
    again = Training()
    latest = latest_checkpoint(tmp_path)
    assert load_checkpoint(again.accelerator, latest).step == (2 if moment == "rmtree" else 1)
    assert again.content() == (training.content() if moment == "rmtree" else before)
    again.step()
    save(again, tmp_path, 3)
    assert names(tmp_path) == {"step_00000003"}
    assert moment == "rmtree" or latest == old


def test_a_folder_that_is_no_checkpoint(training, tmp_path):
    (tmp_path / "step_00000001").mkdir()
    with pytest.raises(ValueError, match="step_00000001 is no complete checkpoint: it has no trainer_state.json"):
        load_checkpoint(training.accelerator, tmp_path / "step_00000001")


def test_newest_is_what_was_written_last_not_the_highest_number(training, tmp_path):
    """With twice the processes the same place has half the number of steps."""
    state = TrainerState(step=10)
    save_checkpoint(training.accelerator, tmp_path, state, limit=1)
    state.step, state.best_folder = 7, "best_epoch_0001"
    (tmp_path / "best_epoch_0001").mkdir()
    path = save_checkpoint(training.accelerator, tmp_path, state, limit=1)
    assert names(tmp_path) == {"step_00000007", "best_epoch_0001"} and latest_checkpoint(tmp_path) == path
    state.step = 9
    save_checkpoint(training.accelerator, tmp_path, state, limit=2)
    assert [found.name for found in checkpoint.checkpoints(tmp_path)] == ["step_00000009", "step_00000007"]
    assert [checkpoint.read_state(found).saves for found in checkpoint.checkpoints(tmp_path)] == [3, 2]


def test_checkpoints_without_a_count_are_older_than_those_with_one(training, tmp_path):
    """They are of an earlier version of the package."""
    state = TrainerState(step=20)
    old = save_checkpoint(training.accelerator, tmp_path, state)
    content = json.loads((old / STATE_FILE).read_text())
    del content["saves"]
    (old / STATE_FILE).write_text(json.dumps(content))
    new = save_checkpoint(training.accelerator, tmp_path, TrainerState(step=12))
    assert checkpoint.checkpoints(tmp_path) == [new, old]


@pytest.mark.parametrize("other", [{"width": 5}, {"groups": 2}])
def test_another_model_is_refused_and_nothing_is_lost(training, tmp_path, other):
    training.step()
    path = save(training, tmp_path, 1)
    before = fingerprint(tmp_path)
    with pytest.raises(ValueError, match=f"The checkpoint {path} holds another model than these options build. Resume with"):
        load_checkpoint(Training(**other).accelerator, path)
    assert fingerprint(tmp_path) == before
    again = Training()
    load_checkpoint(again.accelerator, path)
    assert again.content() == training.content()


def test_the_older_checkpoint_and_its_best_weights_stay_too(training, tmp_path):
    for step, best in ((1, "best_epoch_0001"), (2, "best_epoch_0001"), (3, "best_epoch_0003")):
        (tmp_path / best).mkdir(exist_ok=True)
        save(training, tmp_path, step, limit=2, best_folder=best)
    assert names(tmp_path) == {"step_00000002", "step_00000003", "best_epoch_0001", "best_epoch_0003"}
    (tmp_path / "best_epoch_0004").mkdir()
    save(training, tmp_path, 4, limit=2, best_folder="best_epoch_0004")
    assert names(tmp_path) == {"step_00000003", "step_00000004", "best_epoch_0003", "best_epoch_0004"}


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 64
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.bin", "random_states_0.pkl", STATE_FILE])
@pytest.mark.parametrize("harm", [cut, flip, os.remove])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(training, tmp_path, capsys, file, harm):
    training.step()
    older, before = save(training, tmp_path, 1, limit=2), training.content()
    training.step()
    newer = save(training, tmp_path, 2, limit=2)
    if (file, harm) == (STATE_FILE, flip):
        (newer / file).write_text("{half")
    else:
        harm(newer / file)
    again = Training()
    state, path = load_newest(again.accelerator, tmp_path, lambda state: None)
    assert (state.step, path) == (1, older) and again.content() == before
    if (file, harm) != (STATE_FILE, os.remove):  # without its state it was never a whole one
        assert f"The checkpoint {newer} is damaged: " in capsys.readouterr().out


@pytest.mark.parametrize("harm", [cut, flip, os.remove])
def test_with_damaged_best_weights_the_one_before_is_taken(training, tmp_path, capsys, harm):
    for step, best in ((1, "best_epoch_0001"), (2, "best_epoch_0002")):
        model_folder(tmp_path / best, f"of step {step}")
        save(training, tmp_path, step, limit=2, best_folder=best)
    harm(tmp_path / "best_epoch_0002" / "model.safetensors")
    state, path = load_newest(training.accelerator, tmp_path, lambda state: None)
    assert (state.step, path) == (1, tmp_path / "step_00000001")
    assert "step_00000002 is damaged: ../best_epoch_0002/model.safetensors " in capsys.readouterr().out


@pytest.mark.parametrize(
    "name, value",
    [
        *[("epoch", -1), ("batches", True), ("step", "3"), ("saves", 1.5), ("best_metric", "high"), ("best_metric", None)],
        *[("best_folder", 3), ("settings", []), ("settings", None), ("history", "long"), ("history", [3]), ("files", None)],
    ],
)
def test_a_state_of_wrong_kinds_is_damage(training, tmp_path, name, value):
    path = save(training, tmp_path, 1)
    record = json.loads((path / STATE_FILE).read_text())
    (path / STATE_FILE).write_text(json.dumps({**record, name: value}))
    with pytest.raises(DamagedCheckpoint, match=f"cannot be read .ValueError: {name} is "):
        load_checkpoint(training.accelerator, path)


def test_a_state_nested_beyond_reading_is_damage(training, tmp_path):
    path = save(training, tmp_path, 1)
    (path / STATE_FILE).write_text("[" * 100_000)
    with pytest.raises(DamagedCheckpoint, match="RecursionError"):
        load_checkpoint(training.accelerator, path)


def test_where_all_are_damaged_that_is_said_and_all_stay(training, tmp_path):
    path = save(training, tmp_path, 1)
    cut(path / "model.safetensors")
    before = fingerprint(tmp_path)
    with pytest.raises(DamagedCheckpoint, match=rf"{path} is damaged: model.safetensors has \d+ of \d+ bytes. There is no"):
        load_newest(training.accelerator, tmp_path, lambda state: None)
    assert fingerprint(tmp_path) == before
    assert load_newest(training.accelerator, tmp_path / "none", lambda state: None) == (TrainerState(), None)


def test_what_may_not_go_on_is_refused_before_anything_is_restored(training, tmp_path):
    path = save(training, tmp_path, 1)
    training.step()
    before = training.content()

    def refuse(state):
        raise ValueError(f"not from step {state.step}")

    with pytest.raises(ValueError, match="not from step 1"):
        load_checkpoint(training.accelerator, path, refuse)
    assert training.content() == before


def test_a_full_disk_leaves_the_older_one_and_says_how_to_go_on(training, tmp_path, monkeypatch):
    older = save(training, tmp_path, 1)

    def full(folder):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(training.accelerator, "save_state", full)
    with pytest.raises(OSError, match=f"step_00000002 could not be written: .* from {older}"):
        save(training, tmp_path, 2)
    assert latest_checkpoint(tmp_path) == older


# ------------------------------------------------------------------------------------------------------ finished folders


def model_folder(path, text: str):
    path.mkdir()
    for name in ("config.json", "a.py", "model.safetensors", "zebra.json"):
        (path / name).write_text(f"{name} {text}")
    return path


def test_files_are_published_with_the_config_last(tmp_path, monkeypatch):
    source, target = model_folder(tmp_path / "best", "new"), tmp_path / "out"
    (target / "checkpoints").mkdir(parents=True)
    (target / "config.json").write_text("old")
    (target / ".model.safetensors.tmp").write_text("of a killed run")
    order, replace = [], os.replace

    def spy(old, new):
        assert not (target / "config.json").exists()  # until all others are there nothing loads
        order.append(new.name)
        replace(old, new)

    monkeypatch.setattr(os, "replace", spy)
    publish_files(source, target)
    assert len(order) == 4 and order[-1] == "config.json"
    assert {path.name: path.read_text() for path in target.iterdir() if path.is_file()} == {
        path.name: path.read_text() for path in source.iterdir()
    }
    assert names(source) == {"config.json", "a.py", "model.safetensors", "zebra.json"} and (target / "checkpoints").is_dir()


@pytest.mark.parametrize("failure", [Killed("at once"), OSError(28, "No space left on device")])
@pytest.mark.parametrize("copied", range(4))
def test_a_model_that_cannot_be_copied_leaves_the_old_one_whole(tmp_path, monkeypatch, copied, failure):
    target = tmp_path / "out"
    old = model_folder(tmp_path / "old", "old")
    publish_files(old, target)
    source, copy, done = model_folder(tmp_path / "best", "new"), checkpoint.shutil.copyfile, []

    def copyfile(source, new):
        if len(done) == copied:
            new.write_text("half")
            raise failure
        done.append(copy(source, new))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.shutil, "copyfile", copyfile)
        with pytest.raises(type(failure)):
            publish_files(source, target)
    assert fingerprint(target) == fingerprint(old)
    publish_files(source, target)
    assert fingerprint(target) == fingerprint(source)


@pytest.mark.parametrize("replaced", range(4))
def test_a_kill_while_names_are_given_never_mixes_two_models(tmp_path, monkeypatch, replaced):
    target, done, replace = tmp_path / "out", [], os.replace
    publish_files(model_folder(tmp_path / "old", "old"), target)
    source = model_folder(tmp_path / "best", "new")

    def kill(old, new):
        if len(done) == replaced:
            raise Killed
        done.append(replace(old, new))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", kill)
        with pytest.raises(Killed):
            publish_files(source, target)
    assert not (target / "config.json").exists()
    publish_files(source, target)
    assert fingerprint(target) == fingerprint(source)


@pytest.mark.parametrize("lacking", ["", "config.json", "model.safetensors"])
def test_what_is_no_model_takes_no_model_s_place(tmp_path, lacking):
    target, source = tmp_path / "out", tmp_path / "best"
    publish_files(model_folder(tmp_path / "old", "old"), target)
    before = fingerprint(target)
    if lacking:
        model_folder(source, "new")
        (source / lacking).unlink()
    with pytest.raises(ValueError, match=f"^{source} holds no model to publish: go on from another checkpoint.$"):
        publish_files(source, target)
    assert fingerprint(target) == before


def test_texts_are_published_with_the_model(tmp_path):
    source = model_folder(tmp_path / "best", "new")
    publish_files(source, tmp_path / "out", {"training.json": "{}", "a.py": "instead"})
    assert (tmp_path / "out" / "training.json").read_text() == "{}"
    assert (tmp_path / "out" / "a.py").read_text() == "instead" and (source / "a.py").read_text() == "a.py new"
    assert names(tmp_path / "out") == {*names(source), "training.json"}


def test_a_folder_takes_the_place_of_an_older_one(tmp_path):
    final = tmp_path / "best_epoch_0001"
    for text in ("first", "second"):
        temporary = temporary_folder(final)
        assert temporary.parent == tmp_path and temporary.name.startswith(".") and not any(temporary.iterdir())
        (temporary / "weights").write_text(text)
        (temporary / f"only_{text}").write_text("")
        publish_folder(temporary, final)
        assert names(final) == {"weights", f"only_{text}"} and (final / "weights").read_text() == text
    assert names(tmp_path) == {"best_epoch_0001"}


def test_the_state_is_plain_json(training, tmp_path):
    path = save(training, tmp_path, 1, epoch=1, best_metric=0.5, best_folder="best_epoch_0001")
    state = json.loads((path / STATE_FILE).read_text())
    assert state["files"].keys() >= {"model.safetensors", "optimizer.bin", "random_states_0.pkl"}
    assert {name: state[name] for name in ("epoch", "batches", "step", "best_metric", "best_folder")} == {
        "epoch": 1,
        "batches": 0,
        "step": 1,
        "best_metric": 0.5,
        "best_folder": "best_epoch_0001",
    }

"""Settings that must stay when a run goes on, and those that may change.  python -m pytest tests/training/test_resume.py"""

import json
import shutil

import pytest
import torch
from running import finished, listed, run_to_error, run_training, shapes, tensors, train
from tiny import text_config, tokenizer, vision_config
from transformers import AutoModel
from trees import CLASSES, SEEN, make_shapes, sentences, shape_options, write_descriptions

from caan.data.pictures import load_splits
from caan.options import DataOptions, ModelOptions, TrainOptions
from caan.training.checkpoints import TrainerState, latest_checkpoint, read_state
from caan.training.resume import record_changes, require_settings, run_settings
from modeling_caan import CAANModel


@pytest.fixture
def folder(tmp_path):
    """A copy of a finished run of two epochs."""
    return shutil.copytree(finished()[0], tmp_path / "run")


@pytest.mark.parametrize(
    "options,line",
    [
        ({"learning_rate": 0.001}, "learning_rate: 0.003 -> 0.001"),
        ({"vision_learning_rate": 0.001}, "vision_learning_rate: 0.0 -> 0.001"),
        ({"seed": 1}, "seed: 0 -> 1"),
        ({"classes_per_batch": 5}, "classes_per_batch: 4 -> 5"),
        ({"batches_per_epoch": 3}, "batches_per_epoch: 0 -> 3"),
        ({"weight_decay": 0.1}, "weight_decay: 0.05 -> 0.1"),
        ({"augment": False}, "augment: true -> false"),
        ({"gradient_accumulation_steps": 2}, "gradient_accumulation_steps: 1 -> 2"),
        ({"mixed_precision": "bf16"}, 'mixed_precision: "no" -> "bf16"'),
        ({"keep": "last"}, 'keep: "best" -> "last"'),
        ({"tune": "last_1"}, 'tune: "all" -> "last_1"'),
        ({"ema_decay": 0.9}, "ema_decay: 0.0 -> 0.9"),
        ({"model_config": {"margin": 0.5}}, "model_config.margin: null -> 0.5"),
        ({"model_config": {"mining": "batch_hard"}}, 'model_config.mining: "random" -> "batch_hard"'),
    ],
)
def test_another_setting_is_refused_with_the_difference(folder, options, line):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}
    arguments = shape_options(shapes(), folder, resume_from_checkpoint="latest", **{"num_epochs": 3, **options})
    error = run_to_error("train.py", arguments)
    assert "error: The checkpoint was made with other settings:\n  " in error and f"\n  {line}\n" in error, error
    assert error.count("\n  ") == 1
    assert {path: path.read_bytes() for path in before} == before


def test_other_pictures_and_other_classes_are_refused(folder, tmp_path):
    more = make_shapes(tmp_path / "more", sketches=11)
    error = run_to_error("train.py", shape_options(more, folder, resume_from_checkpoint="latest", num_epochs=3))
    assert "\n  rows: " in error and "classes:" not in error
    fewer = make_shapes(tmp_path / "fewer", unseen=("bar", "frame", "gable"))
    error = run_to_error("train.py", shape_options(fewer, folder, resume_from_checkpoint="latest", num_epochs=3))
    assert '\n  classes: ["arch", "bar", "cross", "diamond", "ellipse"] -> ["arch", "cross", "diamond", "ellipse"]\n' in error


def write_texts(folder, name: str, **changed):
    """A file of descriptions, in a folder of its own."""
    folder.mkdir()
    texts = {label: changed.get(label, sentences(label)) for label in SEEN}
    write_descriptions(folder, texts)
    return (folder / "descriptions.jsonl").rename(folder / name)


def test_other_sentences_are_refused_by_class(tmp_path):
    """Under the same name of the file, and of the data's own descriptions."""
    run, options = tmp_path / "run", {"num_epochs": 1, "batches_per_epoch": 1}
    train(run, **options, descriptions=write_texts(tmp_path / "one", "d.jsonl"))
    before = read_state(latest_checkpoint(run / "checkpoints")).settings["sentences"]
    assert list(before) == list(SEEN) and len(set(before.values())) == len(SEEN)
    other = write_texts(tmp_path / "two", "d.jsonl", bar=["the bar is long .", "a bar ."])
    arguments = shape_options(shapes(), run, resume_from_checkpoint="latest", num_epochs=2, batches_per_epoch=1)
    error = run_to_error("train.py", [*arguments, f"--descriptions={other}"])
    assert "error: The checkpoint was made with other settings:\n  sentences.bar: " in error and error.count("\n  ") == 1
    same = write_texts(tmp_path / "three", "d.jsonl")
    assert run_training([*arguments, f"--descriptions={same}"]).training.state.step == 2


def test_the_data_s_own_sentences_count_too(folder, tmp_path):
    root = make_shapes(tmp_path / "shapes")
    write_descriptions(root, {label: [f"a {label} .", f"the {label} ."] for label in CLASSES})
    error = run_to_error("train.py", shape_options(root, folder, resume_from_checkpoint="latest", num_epochs=3))
    assert [f"\n  sentences.{label}: " in error for label in SEEN] == [True] * 5 and error.count("\n  ") == 5


def start_folder(place, option: str, value: float):
    """A folder that a run starts from by `option`, whose encoder has this value everywhere."""
    if option == "model":
        shutil.copytree(finished()[0], place, ignore=shutil.ignore_patterns("checkpoints"))
        model = CAANModel.from_pretrained(place)
        encoder = model.text_encoder  # takes no part in retrieval
    else:
        model = encoder = AutoModel.from_config(vision_config() if option == "vision_model" else text_config())
        tokenizer().save_pretrained(place)
    for parameter in encoder.parameters():
        torch.nn.init.constant_(parameter, value)
    model.save_pretrained(place)
    return place


@pytest.mark.parametrize(
    "option, options",
    [
        ("model", {}),
        ("vision_model", {"model_config": {"vision_config": None}}),
        ("text_model", {"model_config": {"text_config": None, "max_description_tokens": 48}, "tokenizer_vocab_size": 2000}),
    ],
)
def test_a_folder_that_a_model_starts_from_counts_by_its_content(tmp_path, option, options):
    first, other, same = (start_folder(tmp_path / name / "start", option, value) for name, value in zip("abc", (0.1, 0.2, 0.1)))
    (same / "README.md").write_text("another card")
    run, options = tmp_path / "run", {**options, "batches_per_epoch": 1}
    train(run, **options, num_epochs=1, **{option: first})
    options |= {"num_epochs": 2, "resume_from_checkpoint": "latest"}
    arguments = shape_options(shapes(), run, **{**options, option: other})
    error = run_to_error("train.py", arguments)
    assert f"other settings:\n  start.{option}: " in error and error.count("\n  ") == 1, error
    assert train(run, **options, **{option: same}).state.step == 2


def test_a_long_list_of_differences_is_cut():
    state = TrainerState(settings={"sentences": {str(number): "a" for number in range(30)}})
    with pytest.raises(ValueError) as caught:
        require_settings(state, {"sentences": {str(number): "b" for number in range(30)}})
    lines = str(caught.value).splitlines()
    assert lines[1] == '  sentences.0: "a" -> "b"' and lines[21] == "  ... and 10 more" and len(lines) == 23


def test_with_a_whole_model_options_that_took_no_part_may_go(folder):
    """Earlier versions accepted them beside --model."""
    families = ModelOptions(model=str(folder)), DataOptions(), TrainOptions()
    split = load_splits(DataOptions(dataset="folder", data_dir=str(shapes())))["train"]
    now = run_settings(families, split, 1, {})
    before = now | {"vision_model": "x", "model_config": {"hidden_size": 3}, "tokenizer_vocab_size": 7}
    del before["start"], before["sentences"]
    require_settings(TrainerState(settings=before), now)
    with pytest.raises(ValueError, match="seed: 3 -> 0"):
        require_settings(TrainerState(settings=before | {"seed": 3}), now)


def test_data_and_run_may_be_elsewhere(folder, tmp_path):
    moved = shutil.copytree(shapes(), tmp_path / "moved")
    options = {"resume_from_checkpoint": "latest", "num_workers": 1, "eval_batch_size": 3, "checkpointing_steps": 4}
    run = run_training(shape_options(moved, folder, **options)).training
    assert run.state.step == 10 and run.state.history == []
    for name, tensor in tensors(finished()[0]).items():
        assert torch.equal(tensor, tensors(folder)[name]), name


def test_more_epochs_go_on_with_their_own_schedule_and_are_recorded(folder):
    run = run_training(shape_options(shapes(), folder, resume_from_checkpoint="latest", num_epochs=4)).training
    assert (run.state.epoch, run.state.step) == (4, 20)
    changed = {"step": 10, "changed": {"num_epochs": [2, 4]}}
    assert run.state.history == [changed]
    assert json.loads((folder / "training.json").read_text())["history"] == [changed]
    assert read_state(latest_checkpoint(folder / "checkpoints")).settings["num_epochs"] == 4
    assert run.loop.learning_rate == pytest.approx(0, abs=1e-12)


def test_the_rate_after_a_change_of_epochs_is_that_of_the_new_schedule(folder, monkeypatch):
    rates = []
    from caan.training import run as module

    monkeypatch.setattr(module.TrainingRun, "after_step", lambda run, losses: rates.append(run.loop.learning_rate))
    options = {"num_epochs": 4, "warmup_ratio": 0.05}
    run_training(shape_options(shapes(), folder, resume_from_checkpoint="latest", **options))
    resumed, rates[:] = rates.copy(), []
    run_training(shape_options(shapes(), folder.with_name("whole"), **options))
    assert resumed == pytest.approx(rates[10:], rel=1e-9) and len(resumed) == 10


def test_a_run_goes_on_in_another_folder_with_the_best_weights(folder, tmp_path):
    source = latest_checkpoint(folder / "checkpoints")
    run = run_training(shape_options(shapes(), tmp_path / "new", resume_from_checkpoint=source)).training
    assert run.state.step == 10 and run.state.best_folder in listed(tmp_path / "new")
    for name, tensor in tensors(folder).items():
        assert torch.equal(tensor, tensors(tmp_path / "new")[name]), name


def test_processes_may_change_and_the_place_is_counted_anew():
    state = TrainerState(epoch=1, batches=3, step=8, settings={"processes": 2, "seed": 0})
    require_settings(state, {"processes": 1, "seed": 0})
    assert record_changes(state, {"processes": 1, "seed": 0}) == {"processes": [2, 1]}
    assert state.history == [{"step": 8, "changed": {"processes": [2, 1]}}]


def test_a_run_of_one_process_takes_up_that_of_two(tmp_path, monkeypatch):
    """A checkpoint in the middle of an epoch: what two processes had seen of it is not seen again."""
    run = train(tmp_path, checkpointing_steps=3, num_epochs=1, batches_per_epoch=6, save_total_limit=3)
    assert run.loop.total_steps == 6
    checkpoint = tmp_path / "checkpoints" / "step_00000003"
    content = json.loads((checkpoint / "trainer_state.json").read_text())
    content["settings"]["processes"], content["batches"], content["step"] = 2, 2, 2  # as two would have written it
    (checkpoint / "trainer_state.json").write_text(json.dumps(content))
    options = {"checkpointing_steps": 3, "num_epochs": 1, "batches_per_epoch": 6, "resume_from_checkpoint": checkpoint}
    seen = []
    from caan.training import loop

    original = loop.seed_step
    monkeypatch.setattr(loop, "seed_step", lambda seed, batch, rank: (seen.append(batch), original(seed, batch, rank)))
    run = train(tmp_path / "other", **options)
    assert seen == [4, 5] and run.state.step == 6
    assert run.state.history == [{"step": 2, "changed": {"processes": [2, 1]}}]


def test_a_checkpoint_without_settings_is_taken_as_it_is(folder):
    """One of an earlier version of the package."""
    path = latest_checkpoint(folder / "checkpoints") / "trainer_state.json"
    content = json.loads(path.read_text())
    for name in ("settings", "history", "run", "files"):
        del content[name]
    path.write_text(json.dumps(content))
    facts = json.loads((folder / "training.json").read_text())
    del facts["run"]
    (folder / "training.json").write_text(json.dumps(facts))
    run = run_training(shape_options(shapes(), folder, resume_from_checkpoint="latest", num_epochs=3)).training
    assert run.state.step == 15 and run.state.history == []

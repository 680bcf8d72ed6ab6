"""train.py as a user runs it: the folder it leaves, and what its options do.

python -m pytest tests/training/test_train_script.py"""

import copy
import json
import re
import shutil

import pytest
import torch
import yaml
from accelerate.utils import set_seed
from running import finished, in_two_processes, listed, run_training, scalars, shapes, tensors, train
from tiny import HUB_SET, assert_same_tensors
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
from trees import CONFIG, SEEN, make_shapes, sentences, shape_options, write_descriptions

from caan.data.benchmark import make_benchmark
from caan.data.pictures import load_splits
from caan.evaluation.evaluate import evaluate
from caan.evaluation.retrievers import load_retriever
from caan.options import DataOptions
from caan.training import run as training
from caan.training.building import build_model
from caan.training.whitening import fit_whitening
from modeling_caan import CAANModel

VIT = {"model_type": "vit", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
VIT |= {"image_size": 32, "patch_size": 8}


def test_the_folder_is_a_hub_repository():
    folder, run = finished()
    files = {path.name for path in folder.iterdir() if path.is_file()}
    assert files >= HUB_SET | {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "README.md"}
    assert not [name for name in files if name.endswith(".tmp")]
    config = json.loads((folder / "config.json").read_text())
    assert config["auto_map"]["AutoModel"] == "modeling_caan.CAANModel"
    assert f"The model is in {folder}. Load it with AutoModel.from_pretrained({str(folder)!r}" in run.stdout
    for text in (path.read_text() for path in folder.glob("*.json")):
        assert str(shapes()) not in text


def test_the_card_tells_of_this_run():
    folder, run = finished()
    text = (folder / "README.md").read_text()
    _, header, body = text.split("---\n", 2)
    metadata = yaml.safe_load(header)
    assert metadata["library_name"] == "transformers" and metadata["pipeline_tag"] == "image-feature-extraction"
    assert "datasets" not in metadata and "base_model" not in metadata  # a folder of this machine is no data set of the Hub
    assert not any(mark in body for mark in ("{{", "}}", "{%", "None"))
    assert f"held-out items of *seen* classes: {run.training.state.best_metric:.4f}" in body
    for row in ("seen classes | 5", "pictures | 40 sketches, 35 photos", "epochs, steps | 2, 10", "input | 32 x 32 pixels"):
        assert f"| {row} |" in body
    assert f'from_pretrained("{folder.name}", trust_remote_code=True)' in body
    assert str(shapes()) not in text and str(folder) not in text


def test_it_loads_by_the_auto_classes_and_measures_what_the_run_measured():
    folder, run = finished()
    retriever = load_retriever(str(folder))
    model = AutoModel.from_pretrained(folder)
    assert_same_tensors(model, retriever.model)
    assert AutoImageProcessor.from_pretrained(folder).size == {"height": 32, "width": 32}
    assert len(AutoTokenizer.from_pretrained(folder)) == model.config.text_config.vocab_size
    report = evaluate(retriever, make_benchmark(run.training.splits, "validation"))
    assert report["map_all"] == pytest.approx(run.training.state.best_metric, abs=1e-9)


def test_steps_and_epochs_are_counted():
    _, run = finished()
    state = run.training.state
    assert (state.epoch, state.batches, state.step) == (2, 0, 10)
    assert max(run.training.loop.schedule.get_last_lr()) == pytest.approx(0, abs=1e-12)
    assert run.stdout.count("validation mAP@all") == 2


def test_the_newest_checkpoints_and_the_best_weights_that_they_name_stay():
    folder, run = finished()
    best = run.training.state.best_folder
    steps = {"step_00000005", "step_00000010"}
    states = [json.loads((folder / "checkpoints" / name / "trainer_state.json").read_text()) for name in sorted(steps)]
    assert states[1]["best_folder"] == best
    assert listed(folder) == steps | {state["best_folder"] for state in states}
    assert tensors(folder).keys() == tensors(folder / "checkpoints" / best).keys()
    for name, tensor in tensors(folder / "checkpoints" / best).items():
        assert torch.equal(tensor, tensors(folder)[name]), name


def test_keep_decides_which_weights_are_kept(tmp_path, monkeypatch):
    metrics = iter([0.9, 0.1])
    monkeypatch.setattr(training, "validate", lambda *args: next(metrics))
    best = train(tmp_path / "best", batches_per_epoch=2)
    metrics = iter([0.9, 0.1])
    last = train(tmp_path / "last", batches_per_epoch=2, keep="last")
    assert best.state.best_folder == "best_epoch_0001" and best.state.best_metric == 0.9
    final = last.accelerator.unwrap_model(last.model).state_dict()
    one, other = tensors(tmp_path / "best"), tensors(tmp_path / "last")
    assert all(torch.equal(final[name], tensor) for name, tensor in other.items())
    assert any(not torch.equal(one[name], tensor) for name, tensor in other.items())


# ------------------------------------------------------------------------------------------------- what the options do


def test_the_loss_falls(tmp_path):
    train(tmp_path, augment=False, num_epochs=4, report_to="tensorboard")
    values = scalars(tmp_path)
    losses = values["train/loss"]
    assert len(losses) == 20 and sum(losses[-5:]) < 0.8 * sum(losses[:5])
    for step in range(20):
        parts = [values[f"train/loss_{part}"][step] for part in ("tri", "rn", "con")]
        assert losses[step] == pytest.approx(sum(parts), rel=1e-5)  # all weights are 1
    rates = values["train/lr"]
    assert rates[0] == pytest.approx(0.003) and rates[-1] == pytest.approx(0, abs=1e-9)
    assert len(values["validation/map_all"]) == 4


def test_a_step_of_several_batches(tmp_path, monkeypatch):
    run = train(tmp_path, gradient_accumulation_steps=2, batches_per_epoch=5, checkpointing_steps=1, warmup_ratio=0)
    assert (run.loop.steps_per_epoch, run.state.step, run.bar.n) == (3, 6, 6)  # 2 + 2 + 1 batches an epoch
    assert max(run.loop.schedule.get_last_lr()) == pytest.approx(0, abs=1e-12)
    steps = {state["step"].item() for state in run.loop.optimizer.state_dict()["state"].values()}
    assert steps == {6}


def gradients(monkeypatch, folder, **options) -> list:
    """The gradients that the optimizer saw in each step; the weights stay as they are."""
    steps = []

    def step(optimizer, *args):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        steps.append([torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters])

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    config = {"share_vision_encoder": True, "vision_config": VIT, "text_dropout": 0.0}
    train(folder, max_grad_norm=0, num_epochs=1, batches_per_epoch=2, model_config=config, **options)
    return steps


def test_accumulated_gradients_are_the_mean_of_the_batches(tmp_path, monkeypatch):
    (both,) = gradients(monkeypatch, tmp_path / "both", gradient_accumulation_steps=2)
    first, second = gradients(monkeypatch, tmp_path / "alone")
    for mean, one, other in zip(both, first, second):
        assert torch.allclose(mean, (one + other) / 2, atol=1e-6)
    assert any(not torch.allclose(one, other, atol=1e-3) for one, other in zip(first, second))


def whitened_run(folder, num_processes: int):
    config = {"model_config": {"vision_config": VIT, "whitening": 0.5}, "num_epochs": 2, "batches_per_epoch": 2}
    options = shape_options(shapes(), folder, **config)
    if num_processes == 2:
        in_two_processes(run_training, options)
    else:
        run_training(options)


@pytest.mark.parametrize("num_processes", [1, 2])
def test_the_finished_model_is_whitened(tmp_path, num_processes):
    whitened_run(tmp_path, num_processes)
    retriever = load_retriever(str(tmp_path))
    again = copy.deepcopy(retriever.model)
    splits = load_splits(DataOptions(dataset="folder", data_dir=str(shapes())))
    fit_whitening(again, retriever.processor, splits["train"], progress=False)
    for modality in ("sketch", "image"):
        found, expected = (getattr(m, f"{modality}_whitening") for m in (retriever.model, again))
        assert found.mean.abs().sum() > 0 and torch.allclose(found.mean, expected.mean, atol=1e-6)
        assert not torch.equal(found.matrix, torch.eye(len(found.mean)))
        assert torch.allclose(found.matrix, expected.matrix, rtol=1e-3, atol=1e-3)
    measured = json.loads((tmp_path / "training.json").read_text())["finished_map_all"]
    assert measured == pytest.approx(evaluate(retriever, make_benchmark(splits, "validation"))["map_all"], abs=1e-6)


def test_bf16(tmp_path):
    run = train(tmp_path, mixed_precision="bf16", num_epochs=1, batches_per_epoch=2)
    assert run.state.step == 2 and run.facts["options"]["mixed_precision"] == "bf16"
    assert all(tensor.dtype == torch.float32 for tensor in tensors(tmp_path).values() if tensor.is_floating_point())
    assert all(tensor.isfinite().all() for tensor in tensors(tmp_path).values())


def test_recomputed_activations_change_nothing(tmp_path):
    """Also where the first blocks, and so the inputs of the others, need no gradient."""
    config = {"model_config": {"vision_config": VIT, "alignment_dropout": 0.1}, "tune": "last_1"}
    for name in (True, False):
        train(tmp_path / str(name), activation_checkpointing=name, num_epochs=1, batches_per_epoch=2, **config)
    for name, tensor in tensors(tmp_path / "True").items():
        assert torch.allclose(tensor, tensors(tmp_path / "False")[name], atol=1e-6), name


def test_frozen_blocks_stay_and_the_others_learn(tmp_path):
    config = {"model_config": {"vision_config": VIT, "share_vision_encoder": False}}
    common = {**config, "num_epochs": 1, "batches_per_epoch": 2, "tune": "last_1", "weight_decay": 0.5}
    run = train(tmp_path, **common)
    set_seed(0)
    texts = [text for name in SEEN for text in sentences(name)[:2]]
    before, _ = build_model(run.model_options, texts)
    after = CAANModel.from_pretrained(tmp_path)
    learnt = set()
    for (name, old), new in zip(before.named_parameters(), after.parameters()):
        if not torch.equal(old, new):
            learnt.add(name)
        assert old.requires_grad or torch.equal(old, new), name
    frozen = {name for name, old in before.named_parameters() if not old.requires_grad}
    assert any("image_encoder.encoder.embeddings" in name for name in frozen)
    assert any("text_encoder" in name for name in frozen)
    for tower in ("image_encoder", "sketch_encoder"):
        blocks = {match[1] for name in learnt if (match := re.search(rf"{tower}\.encoder\..*\blayers?\.(\d+)\.", name))}
        assert blocks == {"1"}


@pytest.mark.parametrize("unused", [None, "poison"])
def test_only_seen_classes_are_read_of(tmp_path, unused):
    """Whatever the unseen classes' descriptions say, or that there are none, the model is the same."""
    root = make_shapes(tmp_path / "shapes")
    texts = {name: sentences(name)[:2] for name in SEEN}
    if unused:
        texts |= {"frame": [f"{unused} frame"] * 7, "gable": [unused]}
    write_descriptions(root, texts)
    run = run_training(shape_options(root, tmp_path / "run", num_epochs=1, batches_per_epoch=2)).training
    vocabulary = run.processor.tokenizer.get_vocab()
    assert "gable" not in vocabulary and "poison" not in vocabulary and "diamond" in vocabulary
    assert [run.descriptions[label] for label in range(5)] == [sentences(name)[:2] for name in SEEN]
    assert run.tokens.input_ids.shape[:2] == (5, 2)
    decoded = [run.processor.tokenizer.decode(row[0], skip_special_tokens=True) for row in run.tokens.input_ids]
    assert [text.split()[1] for text in decoded] == list(SEEN)
    reference = train(tmp_path / "other", num_epochs=1, batches_per_epoch=2)
    for name, tensor in tensors(tmp_path / "other").items():
        assert torch.equal(tensor, tensors(tmp_path / "run")[name]), name
    assert reference.state.step == 2


def test_without_text_no_description_is_needed(tmp_path):
    root = make_shapes(tmp_path / "shapes")
    (root / "descriptions.jsonl").unlink()
    config = {"use_text": False, "text_config": None}
    arguments = shape_options(root, tmp_path / "run", num_epochs=1, batches_per_epoch=2, model_config=config)
    run = run_training(arguments).training
    assert run.loop.text is None and not CAANModel.from_pretrained(tmp_path / "run").config.use_text
    assert "tokenizer.json" not in {path.name for path in (tmp_path / "run").iterdir()}


def test_a_seen_class_that_is_missing_can_be_allowed(tmp_path):
    root = make_shapes(tmp_path / "shapes")
    for modality in ("sketch", "photo"):
        shutil.rmtree(root / modality / "bar")
        (root / modality / "bar").mkdir()
    arguments = shape_options(root, tmp_path / "run", num_epochs=1, batches_per_epoch=2, allow_partial=True)
    run = run_training(arguments).training
    assert run.tokens.input_ids.shape[0] == 4 and run.state.step == 2
    assert set(run.loop.loader.dataset.class_rows) == {0, 1, 2, 3}


def test_training_goes_on_from_a_finished_model(tmp_path):
    folder, _ = finished()
    options = {
        "model": folder,
        "image_size": 224,
        "tokenizer_vocab_size": 2000,
        "learning_rate": 0.0,
        "num_epochs": 1,
        "batches_per_epoch": 1,
        "keep": "last",
    }
    train(tmp_path, **options, model_config=dict.fromkeys(CONFIG))
    parameters = dict(CAANModel.from_pretrained(tmp_path).named_parameters())
    for name, parameter in CAANModel.from_pretrained(folder).named_parameters():
        assert torch.equal(parameter, parameters[name]), name
    card = (tmp_path / "README.md").read_text()
    assert "| input | 32 x 32 pixels |" in card  # not the options' defaults
    record = json.loads((tmp_path / "training.json").read_text())
    words = len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
    assert (record["options"]["image_size"], record["options"]["tokenizer_vocab_size"]) == (32, words)

"""Parts of the training loop.  python -m pytest tests/training/test_loop.py"""

import json

import pytest
import torch
from accelerate import Accelerator
from running import forget_accelerate, in_two_processes, shapes, train
from safetensors.torch import load_file
from tiny import assert_same_tensors, batch, caan_model, features, image_processor, processor
from torch import nn

from caan.data.benchmark import make_benchmark
from caan.data.pictures import Pictures, load_splits
from caan.data.text import DescriptionTokens
from caan.evaluation.evaluate import evaluate
from caan.evaluation.retrievers import Retriever
from caan.options import DataOptions, TrainOptions
from caan.training.batches import build_loader, seed_step
from caan.training.loop import TrainingLoop, set_training
from caan.training.precision import build_accelerator
from caan.training.saving import save_model, validate
from modeling_caan import CAANModel

DATA = DataOptions(dataset="folder", num_workers=0)
OPTIONS = TrainOptions(classes_per_batch=4, items_per_class=2, eval_batch_size=4)
RESNET = "resnet"  # with batch norms


@pytest.fixture(autouse=True)
def fresh():
    forget_accelerate()


@pytest.fixture(scope="module")
def splits():
    return load_splits(DataOptions(dataset="folder", data_dir=str(shapes())))


@pytest.mark.parametrize("asked,processes,made", [(0, 1, 5), (0, 2, 4), (0, 3, 6), (7, 1, 7), (7, 2, 8), (1, 4, 4)])
def test_every_process_gets_as_many_batches(splits, asked, processes, made):
    options = TrainOptions(classes_per_batch=4, items_per_class=2, batches_per_epoch=asked)
    loader = build_loader(splits["train"], image_processor(), DATA, options, processes)
    assert len(loader) == made and made % processes == 0
    first = next(iter(loader))
    assert first["pixel_values"].shape == first["sketch_pixel_values"].shape == (8, 3, 32, 32)
    assert first["labels"].unique().numel() == 4


def test_a_step_s_random_state_depends_on_seed_batch_and_rank_alone():
    draws = {}
    for key in [(0, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0), (0, 1_000_003, 0)]:
        torch.rand(3)
        seed_step(*key)
        draws[key] = torch.rand(1).item()
        seed_step(*key)
        assert torch.rand(1).item() == draws[key]
    assert len(set(draws.values())) == len(draws) - 1  # seed 1 begins where seed 0 is after a million batches


def test_frozen_batch_norms_do_not_count():
    model = caan_model(vision_config=RESNET)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    norms[0].requires_grad_(False)
    before = [norm.running_mean.clone() for norm in norms]
    set_training(model)
    assert model.training and not norms[0].training and all(norm.training for norm in norms[1:])
    model.get_image_features(torch.randn(4, 3, 32, 32) + 3)
    photo_norms = [m for m in model.image_encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms[0] is photo_norms[0] and torch.equal(norms[0].running_mean, before[0])
    assert not torch.equal(photo_norms[1].running_mean, before[1])


def test_validation_is_retrieval_of_the_held_out_items(splits):
    model, benchmark = caan_model(vision_config=RESNET).train(), make_benchmark(splits, "validation")
    metric = validate(model, image_processor(), benchmark, OPTIONS, DATA, Accelerator(cpu=True))
    assert model.training
    report = evaluate(Retriever("alone", model.eval(), image_processor()), benchmark)
    assert metric == pytest.approx(report["map_all"], abs=1e-9) and 0 < metric <= 1
    assert (report.num_queries, report.gallery_size) == (10, 5)


@pytest.mark.parametrize("full", [True, False])
def test_a_saved_model_is_the_model(tmp_path, full):
    model = caan_model()
    save_model(model, processor(), tmp_path / "best", Accelerator(cpu=True), full)
    again = CAANModel.from_pretrained(tmp_path / "best")
    assert again.config.use_text is full
    assert_same_tensors(again, model if full else model.for_inference())
    for one, other in zip(features(again), features(model)):
        assert torch.equal(one, other)
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def train_a_little(folder):
    """Three steps of one process of two, as train.py makes them; writes what this rank holds and measured."""
    accelerator = Accelerator(cpu=True)
    splits = load_splits(DataOptions(dataset="folder", data_dir=str(shapes())))
    model = caan_model(vision_config=RESNET, use_text=False, lambda_con=1.0)
    loader = build_loader(splits["train"], image_processor(), DATA, OPTIONS, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    set_training(model)
    gradients = []
    for pairs_of_step in loader:
        accelerator.backward(model(**pairs_of_step).loss)
        gradients.append(sum(p.grad.double().sum().item() for p in model.parameters() if p.grad is not None))
        optimizer.step()
        optimizer.zero_grad()
    metric = validate(model, image_processor(), make_benchmark(splits, "validation"), OPTIONS, DATA, accelerator)
    rank = accelerator.process_index
    if not (folder / "final").exists():
        save_model(model, processor(), folder / "final", accelerator)
    state = {name: tensor.tolist() for name, tensor in accelerator.unwrap_model(model).state_dict().items()}
    (folder / f"{rank}.json").write_text(json.dumps({"metric": metric, "gradients": gradients, "state": state}))


def test_two_processes_stay_equal_and_measure_what_one_does(tmp_path, splits):
    shapes()
    in_two_processes(train_a_little, tmp_path)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first["state"] == second["state"]  # batch norms' buffers too
    assert first["gradients"] == second["gradients"] and len(first["gradients"]) == 2
    assert first["metric"] == second["metric"]
    saved = load_file(tmp_path / "final" / "model.safetensors")
    assert {name: tensor.tolist() for name, tensor in saved.items()} == first["state"]
    model = CAANModel.from_pretrained(tmp_path / "final").eval()
    report = evaluate(Retriever("alone", model, image_processor()), make_benchmark(splits, "validation"))
    assert first["metric"] == pytest.approx(report["map_all"], abs=1e-9)


def test_the_pictures_of_two_processes_are_disjoint(splits):
    sampler = build_loader(splits["train"], image_processor(), DATA, OPTIONS, 2).sampler
    items = list(sampler)
    batches = [items[i : i + 8] for i in range(0, len(items), 8)]
    ranks = [{item.sketch for batch in batches[rank::2] for item in batch} for rank in range(2)]
    assert not ranks[0] & ranks[1] and len(ranks[0] | ranks[1]) == len(items)
    assert len(items) <= len(Pictures(splits["train"], "sketch"))


@pytest.mark.parametrize("capability,precision,warns", [("AVX2", "bf16", 1), ("AVX512", "bf16", 0), ("AVX2", "no", 0)])
def test_slow_bf16_is_told(monkeypatch, recwarn, capability, precision, warns):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    build_accelerator(TrainOptions(mixed_precision=precision, cpu=True))
    assert sum("--mixed_precision no" in str(w.message) for w in recwarn) == warns


def test_no_two_batches_of_a_run_have_the_same_random_state(tmp_path, monkeypatch):
    from caan.training import loop

    seeded, original = [], loop.seed_step
    monkeypatch.setattr(loop, "seed_step", lambda *arguments: (seeded.append(arguments), original(*arguments)))
    train(tmp_path, num_epochs=3, batches_per_epoch=2)
    assert seeded == [(0, number, 0) for number in range(6)]


def test_the_text_source_is_made_where_the_model_trains(splits):
    """On an accelerator it would else stay on the CPU, and the first step would fail."""
    model = caan_model()
    tokens = DescriptionTokens(*(batch()[name] for name in ("input_ids", "attention_mask")))
    moves, move = [], model.to
    model.to = lambda *device, **form: (moves.extend(device), move(*device, **form))[1]
    loader = build_loader(splits["train"], image_processor(), DATA, OPTIONS, 1)
    accelerator = Accelerator(cpu=True)
    loop = TrainingLoop(accelerator, model, loader, OPTIONS, tokens, 2)
    assert moves[0] == accelerator.device and loop.text.features[0].device == accelerator.device
    assert loop.text.tokens.input_ids.device == accelerator.device


def test_a_study_and_a_run_share_the_loop():
    from benchmarks.accuracy import study
    from caan.training import run

    assert study.TrainingLoop is run.TrainingLoop

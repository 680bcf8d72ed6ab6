"""What a run validates and publishes: averages, merged adapters, weights drawn back to their start; and how it goes on.

python -m pytest tests/training/test_finished.py"""

import copy
import json
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from running import in_two_processes, run_to_error, run_training, shapes, tensors, train
from safetensors.torch import load_file
from tiny import add_noise, caan_model, vision_config
from transformers import AutoModel
from trees import shape_options

from caan.data.benchmark import make_benchmark
from caan.evaluation.evaluate import evaluate
from caan.evaluation.retrievers import load_retriever
from caan.options import ModelOptions, TrainOptions
from caan.training import loop
from caan.training import run as training
from caan.training.finished import FinishedWeights, WeightAverage, draw_back
from caan.training.tuning import has_adapters, tune_encoders
from modeling_caan import CAANModel

pytest.importorskip("peft")
NO_TEXT = {"use_text": False, "text_config": None}
FROM_VIT = {"model_config": {**NO_TEXT, "vision_config": None}, "num_epochs": 2, "batches_per_epoch": 3}
HERE = SimpleNamespace(distributed_type=DistributedType.NO)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """The folder of a pretrained ViT."""
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    add_noise(AutoModel.from_config(vision_config("vit")), seed=3).save_pretrained(folder)
    return str(folder)


def recorded(monkeypatch) -> list[dict]:
    """The weights of the model in training after each step of a run, in double precision."""
    steps, original = [], training.TrainingRun.after_step

    def after_step(run, losses):
        weights = run.accelerator.unwrap_model(run.model).state_dict()
        steps.append({name: weight.double().clone() for name, weight in weights.items()})
        original(run, losses)

    monkeypatch.setattr(training.TrainingRun, "after_step", after_step)
    return steps


def weighted_sum(start: dict, steps: list[dict], decay: float) -> dict:
    """The average of `WeightAverage` written as a sum over all steps."""
    decays = [min(decay, (1 + t) / (10 + t)) for t in range(1, len(steps) + 1)]
    shares = [(1 - d) * torch.tensor(decays[t + 1 :]).prod().item() for t, d in enumerate(decays)]
    first = torch.tensor(decays).prod().item()
    assert sum(shares) + first == pytest.approx(1, abs=1e-6)
    return {name: first * start[name].double() + sum(s * step[name] for s, step in zip(shares, steps)) for name in start}


# ------------------------------------------------------------------------------------------------------------- the average


def test_the_average_is_a_weighted_sum_of_the_weights():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2).requires_grad_(False))
    average, start, steps = WeightAverage(model, 0.5), copy.deepcopy(model.state_dict()), []
    for _ in range(12):
        add_noise(model[:2], seed=len(steps), scale=0.5)
        model[1].running_mean += 1
        average.update()
        steps.append({name: weight.double().clone() for name, weight in model.state_dict().items()})
    assert set(average.values) == {"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"}
    for name, value in weighted_sum({name: start[name] for name in average.values}, steps, 0.5).items():
        assert torch.allclose(average.values[name].double(), value, atol=1e-6), name
        assert name == "1.running_var" or not torch.allclose(average.values[name].double(), steps[-1][name], atol=1e-2)


def test_the_average_goes_on_where_it_was_saved():
    models = [caan_model(use_text=False) for _ in range(2)]
    first, second = (WeightAverage(model, 0.9) for model in models)
    add_noise(models[0], seed=1)
    first.update()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    add_noise(models[0], seed=2)
    models[1].load_state_dict(models[0].state_dict())
    first.update(), second.update()
    assert first.steps == second.steps == 2
    assert all(torch.equal(value, second.values[name]) for name, value in first.values.items())
    with pytest.raises(ValueError, match="the average of the weights is of other weights than those that learn"):
        WeightAverage(models[0].requires_grad_(False), 0.9).load_state_dict(first.state_dict())


def test_a_run_publishes_the_average_and_trains_on_the_weights(tmp_path, monkeypatch):
    steps = recorded(monkeypatch)
    begun, build = [], training.build_model
    monkeypatch.setattr(training, "build_model", lambda *args: begun.append(build(*args)) or begun[0])
    monkeypatch.setattr(training.TrainingRun, "build", with_start(begun, training.TrainingRun.build))
    run = train(tmp_path, ema_decay=0.6, num_epochs=2, batches_per_epoch=3, keep="last", model_config=NO_TEXT)
    assert len(steps) == 6
    published = tensors(tmp_path)
    expected = weighted_sum(begun[1], steps, 0.6)
    for name, value in published.items():
        if value.is_floating_point():
            assert torch.allclose(value.double(), expected[name], atol=1e-6), name
    checkpoint = load_file(max((tmp_path / "checkpoints").glob("step_*")) / "model.safetensors")
    assert all(torch.equal(weight.double(), steps[-1][name]) for name, weight in checkpoint.items())
    assert any(not torch.equal(weight, published[name]) for name, weight in checkpoint.items())
    assert run.loop.finished.average.steps == 6


def with_start(begun: list, build):
    """`TrainingRun.build` that also keeps a copy of the weights that a run begins with."""

    def wrapped(run):
        build(run)
        begun.append(copy.deepcopy(run.accelerator.unwrap_model(run.model).state_dict()))

    return wrapped


@pytest.mark.parametrize("options", [{"ema_decay": 0.9}, {"tune": "lora"}, {"start_share": 0.5}])
def test_the_number_that_selects_is_that_of_the_published_weights(tmp_path, encoder, options):
    run = train(tmp_path, vision_model=encoder, **FROM_VIT, **options)
    report = evaluate(load_retriever(str(tmp_path)), make_benchmark(run.splits, "validation"))
    assert report["map_all"] == pytest.approx(run.state.best_metric, abs=1e-9)


# ---------------------------------------------------------------------------------------------------- the share of the start


def test_weights_and_statistics_are_drawn_back_in_a_straight_line():
    start, trained = torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    add_noise(start, seed=1), add_noise(trained, seed=2)
    trained.running_mean.fill_(8.0), trained.num_batches_tracked.fill_(7)
    weights = copy.deepcopy(trained.state_dict())
    draw_back(trained.requires_grad_(False), start.state_dict(), 0.25)
    for name in ("weight", "bias", "running_mean", "running_var"):
        expected = 0.75 * weights[name].double() + 0.25 * start.state_dict()[name].double()
        assert torch.allclose(trained.state_dict()[name].double(), expected, atol=1e-6), name
    assert trained.running_mean.tolist() == [6.0] * 3 and trained.num_batches_tracked == 7


@pytest.mark.parametrize("tune", ["all", "last_1", "lora"])
def test_a_run_publishes_encoders_between_start_and_end(tmp_path, encoder, tune):
    options = {**FROM_VIT, "vision_model": encoder, "keep": "last", "learning_rate": 0.01, "tune": tune}
    half, whole = ({"start_share": share} for share in (0.5, 0.0))
    train(tmp_path / "half", **options, **half), train(tmp_path / "whole", **options, **whole)
    start, trained = load_file(f"{encoder}/model.safetensors"), tensors(tmp_path / "whole")
    moved = set()
    for name, value in tensors(tmp_path / "half").items():
        place, inside, own = name.partition(".encoder.")
        begun = start[own] if inside else trained[name]
        assert torch.allclose(value, (begun + trained[name]) / 2, atol=1e-6), name
        moved |= {name} if inside and not torch.allclose(value, begun, atol=1e-5) else set()
    assert bool(moved) and any("layer.0." in name for name in moved) is (tune != "last_1")


@pytest.mark.parametrize(
    "options,reason",
    [
        ({}, "the vision encoders start from random weights. Leave it out; where a recipe has it, give --start_share 0."),
        ({"tune": "none"}, "tune is none: the vision encoders stay as they start. Leave it out;"),
    ],
)
def test_a_share_of_a_start_that_takes_no_part_is_refused(tmp_path, encoder, options, reason):
    start = {"vision_model": encoder, "model_config": {**NO_TEXT, "vision_config": None}} if options else {}
    error = run_to_error("train.py", shape_options(shapes(), tmp_path, start_share=0.5, **start, **options))
    assert f"error: start_share 0.5 would take no part: {reason}" in error


# -------------------------------------------------------------------------------------------------------------- adapters


def test_a_run_with_adapters_leaves_a_model_like_any_other(tmp_path, encoder, monkeypatch):
    pushed = []
    monkeypatch.setattr(training, "push_progress", lambda push, model, *others: pushed.append(model))
    monkeypatch.setattr(training, "open_push", lambda *others: None)
    options = {**FROM_VIT, "vision_model": encoder}
    run = train(tmp_path / "lora", tune="lora", push_to_hub=True, hub_model_id="a/b", push_steps=2, **options)
    train(tmp_path / "plain", **options)
    assert (tmp_path / "lora" / "config.json").read_bytes() == (tmp_path / "plain" / "config.json").read_bytes()
    names = [{path.name for path in (tmp_path / name).iterdir()} for name in ("lora", "plain")]
    assert names[0] == names[1] and not any("adapter" in name for name in names[0])
    assert list(tensors(tmp_path / "lora")) == list(tensors(tmp_path / "plain"))
    best = tmp_path / "lora" / "checkpoints" / run.state.best_folder
    assert list(tensors(best)) == list(tensors(tmp_path / "plain"))
    assert len(pushed) == 2 and not any(has_adapters(model) for model in pushed) and has_adapters(run.model)
    checkpoint = load_file(max((tmp_path / "lora" / "checkpoints").glob("step_*")) / "model.safetensors")
    assert any("lora_A" in name for name in checkpoint)
    moved = moved_from(encoder, tmp_path / "lora")
    assert len(moved) == 12 and all(
        name.endswith(("query.weight", "key.weight", "value.weight", "dense.weight")) for name in moved
    )


def moved_from(encoder: str, folder) -> set[str]:
    """Names, as they are saved, of an encoder's weights that are not those of its start."""
    begun, found = load_file(f"{encoder}/model.safetensors"), tensors(folder)
    own = {name: name.partition(".encoder.")[2] for name in found if ".encoder." in name}
    return {own[name] for name in own if not torch.equal(found[name], begun[own[name]])}


def test_adapters_in_bf16_with_recomputed_activations(tmp_path, encoder):
    run = train(
        tmp_path,
        tune="lora",
        mixed_precision="bf16",
        activation_checkpointing=True,
        ema_decay=0.5,
        vision_model=encoder,
        **FROM_VIT,
    )
    assert run.facts["options"]["mixed_precision"] == "bf16" and run.state.step == 6
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in tensors(tmp_path).values())
    assert len(moved_from(encoder, tmp_path)) == 12  # six layers of two blocks


def test_the_model_in_training_is_itself_where_nothing_differs(tmp_path):
    run = train(tmp_path, num_epochs=1, batches_per_epoch=1, model_config=NO_TEXT, keep="last")
    assert run.loop.finished_model() is run.model
    final = run.accelerator.unwrap_model(run.model).state_dict()
    assert all(torch.equal(final[name], weight) for name, weight in tensors(tmp_path).items())


# ------------------------------------------------------------------------------------------------------------- going on


class Stopped(BaseException):
    """Stands for a kill, in this process."""


EVERYTHING = {"tune": "lora", "ema_decay": 0.8, "start_share": 0.3}
PROMPTS = {"model_config": {**NO_TEXT, "vision_config": None, "num_prompt_tokens": 2}}


@pytest.mark.parametrize(
    "options", [{"ema_decay": 0.8}, {"tune": "lora"}, {"start_share": 0.3}, {**EVERYTHING, **PROMPTS}], ids=str
)
def test_a_stopped_run_ends_as_if_it_had_not_been(tmp_path, monkeypatch, encoder, options):
    options = {**FROM_VIT, "vision_model": encoder, "checkpointing_steps": 1, **options}
    whole, stopped = (shape_options(shapes(), tmp_path / name, **options) for name in ("whole", "stopped"))
    run_training(whole)
    reached, original = [], loop.seed_step

    def reach(*args):
        reached.append(1)
        if len(reached) == 5:  # the fourth step is the first of the second epoch
            raise Stopped
        original(*args)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(loop, "seed_step", reach)
        run_training(stopped)
    run = run_training([*stopped, "--resume_from_checkpoint=latest"])
    assert "resuming at step 4 from" in run.stdout and run.training.state.step == 6
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "stopped" / name).read_bytes(), name


@pytest.mark.parametrize(
    "options,line",
    [
        ({"ema_decay": 0.9}, "ema_decay: 0.8 -> 0.9"),
        ({"start_share": 0.0}, "start_share: 0.3 -> 0.0"),
        ({"tune": "all"}, 'tune: "lora" -> "all"'),
        ({"lora_rank": 4}, "lora_rank: 8 -> 4"),
    ],
)
def test_other_settings_are_refused(tmp_path, encoder, options, line):
    before = {**FROM_VIT, "vision_model": encoder, "num_epochs": 1, "batches_per_epoch": 1, **EVERYTHING}
    train(tmp_path, **before)
    arguments = shape_options(shapes(), tmp_path, **{**before, **options, "resume_from_checkpoint": "latest", "num_epochs": 2})
    error = run_to_error("train.py", arguments)
    assert f"error: The checkpoint was made with other settings:\n  {line}\n" in error


def test_a_checkpoint_of_an_earlier_version_has_no_average(tmp_path):
    options = {"num_epochs": 1, "batches_per_epoch": 1, "model_config": NO_TEXT}
    train(tmp_path, **options)
    state = max((tmp_path / "checkpoints").glob("step_*")) / "trainer_state.json"
    record = json.loads(state.read_text())
    for name in ("tune", "lora_rank", "ema_decay", "start_share"):
        del record["settings"][name]
    state.write_text(json.dumps(record | {"settings": record["settings"] | {"freeze_vision_blocks": 0}}))
    options |= {"resume_from_checkpoint": "latest", "num_epochs": 2}
    for other in ({"ema_decay": 0.9}, {"tune": "last_1"}):
        error = run_to_error("train.py", shape_options(shapes(), tmp_path, **options, **other))
        assert f"error: The checkpoint {state.parent} holds another model than these options build." in error
    assert train(tmp_path, **options).state.step == 2


# --------------------------------------------------------------------------------------------------------- many processes


def train_in_two(folder, encoder: str):
    """A run in one process of two; writes what this rank averaged and would publish."""
    run = run_training(shape_options(shapes(), folder, vision_model=encoder, **FROM_VIT, **EVERYTHING, keep="last")).training
    values = {name: value.tolist() for name, value in run.loop.finished.average.values.items()}
    published = {name: weight.tolist() for name, weight in run.loop.finished_model().state_dict().items()}
    (folder / f"{torch.distributed.get_rank()}.json").write_text(json.dumps({"average": values, "published": published}))


def test_two_processes_average_and_publish_the_same(tmp_path, encoder):
    shapes()
    in_two_processes(train_in_two, tmp_path, encoder)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    saved = CAANModel.from_pretrained(tmp_path).state_dict()
    assert {name: weight.tolist() for name, weight in saved.items()} == first["published"]


@pytest.mark.parametrize("options,tune", [({"ema_decay": 0.9}, "all"), ({"start_share": 0.5}, "all"), ({}, "lora")])
def test_sharded_weights_are_refused(options, tune):
    model = caan_model()
    tune_encoders(model, ModelOptions(tune=tune))
    with pytest.raises(ValueError, match="^FSDP shards the weights, which tune: lora, ema_decay and start_share need whole"):
        FinishedWeights(model, TrainOptions(**options), SimpleNamespace(distributed_type=DistributedType.FSDP))
    FinishedWeights(caan_model(), TrainOptions(), SimpleNamespace(distributed_type=DistributedType.FSDP))


def test_a_copy_leaves_the_model_in_training_as_it_is():
    model = caan_model()
    tune_encoders(model, ModelOptions(tune="lora"))
    finished = FinishedWeights(model, TrainOptions(ema_decay=0.5, start_share=0.5), HERE)
    add_noise(model, seed=2)
    before = copy.deepcopy(model.state_dict())
    finished.copy()
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items()) and has_adapters(model)

"""Training on pairs: a sketch with the photo that it was drawn from.  python -m pytest tests/training/test_pairs.py"""

import json

import pytest
import torch
from accelerate import Accelerator
from running import forget_accelerate, in_two_processes, run_to_error, scalars, shapes, tensors, train
from tiny import batch, caan_model, features, image_processor
from trees import shape_options

from caan.data.pictures import Pictures, load_splits
from caan.hub.card import describe_recipe
from caan.options import DataOptions, TrainOptions
from caan.training.batches import build_loader, own_photo_share
from losses_caan import instance_loss

DATA = DataOptions(dataset="folder", num_workers=0)


@pytest.fixture(scope="module")
def splits():
    return load_splits(DataOptions(dataset="folder", data_dir=str(shapes())))


def own(items, split) -> list[bool]:
    """Whether each item's photo is called as its sketch is."""
    sketches, photos = Pictures(split, "sketch"), Pictures(split, "photo")
    return [sketches.files[item.sketch].partition("/")[2] == photos.files[item.photo].partition("/")[2] for item in items]


# -------------------------------------------------------------------------------------------------------------- the model


@torch.no_grad()
def test_the_instance_loss_is_of_the_features_used_at_inference():
    model, inputs = caan_model(lambda_instance=2.0, temperature=0.2), batch()
    drawn, shown = torch.tensor([0, 1, 2, 3, -1, 5]), torch.tensor([1, 0, 2, 3, 4, -1])
    output = model(**inputs, sketch_instances=drawn, photo_instances=shown)
    expected = instance_loss(*features(model), inputs["labels"], drawn, shown, 0.2)
    assert output.loss_instance.item() == pytest.approx(expected.item(), rel=1e-5) and expected > 0
    total = output.loss_tri + output.loss_rn + 2 * output.loss_instance
    assert output.loss.item() == pytest.approx(total.item(), rel=1e-5)
    assert caan_model()(**inputs, sketch_instances=drawn, photo_instances=shown).loss_instance is None


@pytest.mark.parametrize("given", [{}, {"sketch_instances": torch.arange(6)}, {"photo_instances": torch.arange(6)}])
def test_a_model_that_learns_from_pairs_needs_them(given):
    with pytest.raises(ValueError, match="lambda_instance is above 0: give sketch_instances and photo_instances, or"):
        caan_model(lambda_instance=1.0)(**batch(), **given)


# -------------------------------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize(
    "asked, weight, share", [(None, 0, 0), (None, 0.5, 1), (0.25, 0.5, 0.25), (0.25, 0, 0.25), (0.0, 0, 0), (1.0, 0, 1)]
)
def test_own_photos_come_with_the_loss_or_as_asked(asked, weight, share):
    assert own_photo_share(TrainOptions(own_photos=asked), weight) == share


@pytest.mark.parametrize(
    "options, said",
    [
        ({"items_per_class": 1}, "lambda_instance is 0.5, .* raise items_per_class, which is 1, to 2 or more"),
        ({"own_photos": 0.0}, "own_photos is 0, so that batches have no pairs for model_config.lambda_instance: raise it, or"),
    ],
)
def test_a_loss_over_pairs_that_could_have_none_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        own_photo_share(TrainOptions(**options), 0.5)


def test_a_share_out_of_its_range_is_refused():
    with pytest.raises(ValueError, match=r"own_photos must be in \[0, 1\], got 1.5"):
        TrainOptions(own_photos=1.5)


def test_batches_of_pairs(splits):
    options = TrainOptions(classes_per_batch=3, items_per_class=4, batches_per_epoch=6)
    loader = build_loader(splits["train"], image_processor(), DATA, options, 1, lambda_instance=1.0)
    items = list(loader.sampler)
    there = {file.partition("/")[2] for file in Pictures(splits["train"], "photo").files}
    sketches = Pictures(splits["train"], "sketch").files
    assert own(items, splits["train"]) == [sketches[item.sketch].partition("/")[2] in there for item in items]
    batch = next(iter(loader))
    paired = batch["sketch_instances"] == batch["photo_instances"]
    assert batch["pixel_values"].shape == (12, 3, 32, 32) and 6 <= paired.sum() <= 12
    for label in batch["labels"].unique():
        drawn = batch["sketch_instances"][(batch["labels"] == label) & paired]
        assert len(drawn.unique()) == len(drawn)


def test_without_pairs_asked_for_batches_are_as_before(splits):
    options = TrainOptions(classes_per_batch=3, items_per_class=4)
    loader = build_loader(splits["train"], image_processor(), DATA, options, 1)
    assert set(next(iter(loader))) == {"sketch_pixel_values", "pixel_values", "labels", "photo_rows"}
    assert sum(own(loader.sampler, splits["train"])) < 12


def check_disjoint(splits) -> None:
    accelerator = Accelerator(cpu=True)
    options = TrainOptions(classes_per_batch=2, items_per_class=2, batches_per_epoch=4)
    loader = accelerator.prepare(build_loader(splits["train"], image_processor(), DATA, options, 2, lambda_instance=1.0))
    batches = [(b["labels"].tolist(), b["sketch_instances"].tolist()) for b in loader]
    assert len(batches) == 2 and all(len(set(labels)) == 2 and labels[::2] == labels[1::2] for labels, _ in batches)
    other = torch.tensor(batches[0][1] + batches[1][1])
    gathered = accelerator.gather(other).view(2, -1)
    assert not torch.equal(gathered[0], gathered[1])


def test_two_processes_get_whole_runs_of_pairs(splits):
    in_two_processes(check_disjoint, splits)
    forget_accelerate()


# ---------------------------------------------------------------------------------------------------------------- a run


def test_a_run_learns_from_pairs_and_resumes_to_the_same_weights(tmp_path):
    fields = {"model_config": {"lambda_instance": 0.5}, "report_to": "tensorboard"}
    run = train(tmp_path / "whole", **fields)
    assert run.options.own_photos == 1.0
    losses = scalars(tmp_path / "whole")["train/loss_instance"]
    assert len(losses) == run.state.step and all(0 < loss < 20 for loss in losses)
    facts = json.loads((tmp_path / "whole" / "training.json").read_text())
    assert facts["options"]["own_photos"] == 1.0
    assert describe_recipe(facts)["batch"] == "4 classes x 2 sketches and photos, 100% of the sketches with their own photos"
    train(tmp_path / "again", **fields, checkpointing_steps=3, save_total_limit=9)
    folder = tmp_path / "again" / "checkpoints" / "step_00000003"
    train(tmp_path / "again", **fields, checkpointing_steps=3, save_total_limit=9, resume_from_checkpoint=folder)
    whole, again = tensors(tmp_path / "whole"), tensors(tmp_path / "again")
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_own_photos_without_the_loss(tmp_path):
    run = train(tmp_path / "run", own_photos=0.5, num_epochs=1)
    assert run.options.own_photos == 0.5 and run.model.config.lambda_instance == 0


@pytest.mark.parametrize(
    "options, said",
    [
        ({"items_per_class": 1}, "raise items_per_class, which is 1, to 2 or more"),
        ({"own_photos": 0}, "own_photos is 0, so that batches have no pairs"),
        ({"data": "other"}, "No class has a sketch with its own photo and another photo beside it"),
    ],
)
def test_bad_input_is_one_line(tmp_path, options, said):
    root = shapes()
    if options.pop("data", None):
        root = tmp_path / "data"
        (root / "photo").mkdir(parents=True)
        (root / "sketch").symlink_to(shapes() / "sketch")
        for folder in (shapes() / "photo").iterdir():
            (root / "photo" / folder.name).mkdir()
            for file in folder.iterdir():
                (root / "photo" / folder.name / f"other{file.name}").symlink_to(file)
        (root / "descriptions.jsonl").symlink_to(shapes() / "descriptions.jsonl")
    fields = {"model_config": {"lambda_instance": 0.5}, **options}
    error = run_to_error("train.py", shape_options(root, tmp_path / "run", **fields))
    assert said in error.splitlines()[-1] and "Traceback" not in error

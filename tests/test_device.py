"""On another device the numbers are those of the CPU.  TEST_DEVICE=cuda python -m pytest

TEST_DEVICE names the device that these tests, and with it the training tests, run on; without it they run on the CPU and hold
what is computed there against itself.
"""

import copy
import os

import pytest
import torch
from running import forget_accelerate, shapes, train
from tiny import batch, caan_model, image_processor, photo, sketch

from caan.data.pictures import load_splits
from caan.evaluation.metrics import retrieval_metrics
from caan.options import DataOptions
from caan.training.whitening import fit_whitening
from losses_caan import sketch_photo_contrastive_loss, text_contrastive_loss, triplet_loss
from pipeline_caan import embed_images

DEVICE = torch.device(os.environ.get("TEST_DEVICE", "cpu"))
BACKBONES = ("vit", "dinov2", "resnet", "timm_vit")


def moved(values: dict) -> dict:
    return {name: value.to(DEVICE) for name, value in values.items()}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_losses_features_and_gradients_of_a_model(backbone):
    here = caan_model(vision_config=backbone, lambda_con=1.0, lambda_text=1.0)
    there = copy.deepcopy(here).to(DEVICE)
    one, other = here(**batch()), there(**moved(batch()))
    for name in ("loss", "loss_tri", "loss_rn", "loss_con", "loss_text", "image_embeds", "sketch_embeds"):
        torch.testing.assert_close(other[name].cpu(), one[name], rtol=1e-4, atol=1e-5, msg=name)
    one.loss.backward()
    other.loss.backward()
    for (name, p), q in zip(here.named_parameters(), there.parameters()):
        if p.grad is not None:
            torch.testing.assert_close(q.grad.cpu(), p.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_losses_are_float32_under_autocast():
    generator = torch.Generator().manual_seed(0)
    first, second, third = (torch.randn(8, 6, generator=generator) for _ in range(3))
    labels = torch.arange(8) % 4
    losses = (
        lambda a, b, c, y: triplet_loss(a, b, c, 0.3),
        lambda a, b, c, y: sketch_photo_contrastive_loss(a, b, y, 0.07),
        lambda a, b, c, y: text_contrastive_loss(a, b[:4], y, 0.07),
    )
    for loss in losses:
        with torch.autocast(DEVICE.type, torch.bfloat16):
            got = loss(*(x.to(DEVICE) for x in (first, second, third, labels)))
        torch.testing.assert_close(got.cpu(), loss(first, second, third, labels), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ties", ["gallery_order", "pessimistic"])
def test_metrics(ties):
    generator = torch.Generator().manual_seed(0)
    queries, gallery = torch.randn(30, 8, generator=generator), torch.randn(90, 8, generator=generator).repeat(2, 1)
    labels = torch.arange(30) % 5, torch.arange(180) % 5
    options = {"top_k": (5, 10), "ap_k": 10, "ties": ties, "voc": True}
    expected = retrieval_metrics(queries, gallery, *labels, **options).metrics
    got = retrieval_metrics(queries.to(DEVICE), gallery.to(DEVICE), *labels, **options).metrics
    assert got == pytest.approx(expected, abs=1e-9)


def test_features_of_pictures_and_whitening():
    here = caan_model(whitening=0.5)
    there = copy.deepcopy(here).to(DEVICE)
    split = load_splits(DataOptions(dataset="folder", data_dir=str(shapes())))["train"]
    for model in (here, there):
        fit_whitening(model, image_processor(), split, progress=False)
    for modality, pictures in (("sketch", [sketch()] * 2), ("photo", [photo(), photo(seed=1)])):
        one, other = (embed_images(m, image_processor(), pictures, modality, progress=False) for m in (here, there))
        torch.testing.assert_close(other.cpu(), one, rtol=0, atol=2e-3)


def test_training_is_on_that_device(tmp_path):
    forget_accelerate()
    run = train(tmp_path, num_epochs=1, batches_per_epoch=2)
    assert next(run.loop.model.parameters()).device.type == DEVICE.type and run.state.step == 2
    assert run.loop.text.features[0].device.type == DEVICE.type

"""A device that gives other vectors than the CPU is not used.  python -m pytest tests/hub_set/test_checked_device.py

No such device is here: "cpu:0" plays it, on which fake models compute wrong.
"""

import warnings

import pytest
import torch
from tiny import caan_model, image_processor, sketch
from torch import nn

import pipeline_caan
from caan.evaluation.retrievers import PIXELS, load_retriever
from pipeline_caan import SketchRetrievalPipeline, checked_device, probe_pixels

CPU, APPLE = torch.device("cpu"), torch.device("cpu:0")


class Fake(nn.Module):
    """Vectors that depend on where the model is: `fault` is applied off the CPU, to sketches alone where `only_sketches`."""

    def __init__(self, fault=lambda vectors: vectors, only_sketches: bool = False):
        super().__init__()
        self.fault, self.only_sketches, self.place, self.places = fault, only_sketches, CPU, []

    def to(self, device):
        self.place = torch.device(device)
        self.places.append(self.place)
        return self

    def get_image_features(self, pixels):
        assert not self.training and not torch.is_grad_enabled()
        vectors = pixels.flatten(1)[:, :6]
        return vectors if self.place == CPU or self.only_sketches else self.fault(vectors)

    def get_sketch_features(self, pixels):
        vectors = -pixels.flatten(1)[:, :6]
        return vectors if self.place == CPU else self.fault(vectors)


@pytest.fixture
def apple(monkeypatch):
    monkeypatch.setattr(pipeline_caan, "UNTRUSTED", {"cpu"})


def pixels(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("fault", [lambda v: v, lambda v: v * (1 + 1e-3), lambda v: v + 1e-3, lambda v: v.half()])
def test_a_device_with_equal_vectors_is_used(apple, fault):
    model = Fake(fault).train()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checked_device(model, "cpu:0", pixels()) == APPLE
    assert model.places == [CPU, APPLE] and model.training


@pytest.mark.parametrize("only_sketches", [False, True])
@pytest.mark.parametrize(
    "fault, cosine",
    [
        (lambda v: -v, "-1.000"),
        (lambda v: v.roll(1, dims=0), r"-?\d\.\d{3}"),
        (lambda v: torch.cat([v[:-1], v[-1:] * torch.tensor([1.0, 1, 1, 1, 1, -1])]), r"0\.\d{3}"),  # one row of the batch
        (lambda v: v * torch.nan, "nan"),
        (lambda v: torch.zeros_like(v), "0.000"),
    ],
)
def test_a_device_with_other_vectors_is_not(apple, fault, cosine, only_sketches):
    model = Fake(fault, only_sketches)
    said = (
        rf"cpu:0 gives this model other vectors than the CPU does \(cosine {cosine}, and 0.999 is the least\): the CPU is used"
    )
    with pytest.warns(UserWarning, match=said):
        assert checked_device(model, APPLE, pixels()) == CPU
    assert model.place == CPU and model.places == [CPU, APPLE, CPU]


def test_devices_that_nobody_complained_of_are_not_tried():
    model = Fake(lambda vectors: -vectors)
    assert checked_device(model, "cuda:1", pixels()) == torch.device("cuda:1") and model.places == []
    assert {"mps"} == pipeline_caan.UNTRUSTED


def test_a_true_model_passes_and_is_as_it_was(apple):
    model, process = caan_model(), image_processor()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    probe = probe_pixels(process)
    assert probe.shape == (4, 3, 32, 32) and torch.equal(probe, probe_pixels(process)) and not torch.equal(probe[0], probe[1])
    assert checked_device(model, "cpu:0", probe) == APPLE
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    model.train()
    loss = model.get_image_features(probe).sum()  # no weight became one of inference mode, which could not be trained
    loss.backward()


def wrong_off_the_cpu(monkeypatch):
    """`checked_device` finds what a broken device would give."""
    true_vectors, calls = pipeline_caan.trial_vectors, []

    def vectors(model, device, batch):
        calls.append(tuple(batch.shape))
        found = true_vectors(model, device, batch)
        return found if len(calls) % 2 else -found

    monkeypatch.setattr(pipeline_caan, "trial_vectors", vectors)
    return calls


def test_the_pipeline_checks_when_it_is_made(apple, monkeypatch):
    calls = wrong_off_the_cpu(monkeypatch)
    with pytest.warns(UserWarning, match="other vectors than the CPU"):
        pipe = SketchRetrievalPipeline(model=caan_model(), image_processor=image_processor(), device="cpu")
    assert pipe.device == CPU and calls == [(4, 3, 32, 32)] * 2
    found = pipe(sketch(), gallery=torch.eye(8), top_k=1)
    assert len(found) == 1 and len(calls) == 2


def test_a_retriever_says_where_it_is(apple, monkeypatch):
    retriever = load_retriever(PIXELS)
    assert retriever.to("cpu:0") == APPLE
    calls = wrong_off_the_cpu(monkeypatch)
    with pytest.warns(UserWarning, match="cosine -1.000"):
        assert retriever.to("cpu:0") == CPU
    assert calls == [(4, 3, 32, 32)] * 2

"""The precision that `auto` stands for, by what the machine says of itself."""

import pytest
import torch
from running import forget_accelerate

from caan.options import TrainOptions
from caan.training.precision import build_accelerator, fastest_precision, honour_launch


@pytest.fixture
def machine(monkeypatch):
    """Makes this a machine with or without a GPU, and with what its CPU and GPU can do."""

    def make(gpu: bool, gpu_bf16: bool = False, **cpu):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: gpu_bf16 or including_emulation)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu, raising=False)

    return make


@pytest.mark.parametrize(
    "gpu,gpu_bf16,cpu,forced,precision",
    [
        (False, False, {"avx512_bf16": True, "amx_bf16": False}, False, "bf16"),
        (False, False, {"avx512_bf16": False, "amx_bf16": True}, False, "bf16"),
        (False, False, {"avx512_f": True, "avx512_bf16": False}, False, "no"),
        (False, False, {"neon": True}, False, "no"),  # an ARM CPU: not measured
        (True, True, {"avx512_bf16": False}, False, "bf16"),
        (True, False, {"avx512_bf16": True}, False, "no"),  # a GPU that only emulates it
        (True, False, {"avx512_bf16": True}, True, "bf16"),  # --cpu
    ],
)
def test_auto_follows_the_device_that_trains(machine, gpu, gpu_bf16, cpu, forced, precision):
    machine(gpu, gpu_bf16, **cpu)
    assert fastest_precision(forced) == precision
    assert honour_launch(TrainOptions(mixed_precision="auto", cpu=forced), "cuda").mixed_precision == precision


def test_a_pytorch_that_does_not_tell_its_cpu_trains_in_float32(machine, monkeypatch):
    machine(False)
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert fastest_precision() == "no"


@pytest.mark.parametrize(
    "launched,given,runs",
    [
        (None, None, "no"),
        ("no", "bf16", "bf16"),  # what `accelerate launch` says where it was told nothing
        ("bf16", None, "bf16"),
        ("bf16", "bf16", "bf16"),
        (None, "fp16", "fp16"),
    ],
)
def test_the_precision_is_what_the_options_or_the_launcher_say(monkeypatch, launched, given, runs):
    if launched:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launched)
    assert honour_launch(TrainOptions(mixed_precision=given), "cuda").mixed_precision == runs


def test_what_contradicts_or_cannot_run_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="fp16 needs a GPU: on a CPU take bf16, auto or no"):
        honour_launch(TrainOptions(mixed_precision="fp16"), "cpu")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(ValueError, match="accelerate launch says mixed_precision bf16, the options say no: leave one of"):
        honour_launch(TrainOptions(mixed_precision="no"), "cpu")


@pytest.mark.parametrize("launched,given,runs", [("1", 3, 3), ("4", 1, 4), ("4", 4, 4), (None, 2, 2)])
def test_the_accumulation_is_what_the_options_or_the_launcher_say(monkeypatch, launched, given, runs):
    if launched:
        monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", launched)
    options = TrainOptions(gradient_accumulation_steps=given, cpu=True)
    assert honour_launch(options, "cpu").gradient_accumulation_steps == runs
    forget_accelerate()
    assert build_accelerator(options).gradient_accumulation_steps == runs
    forget_accelerate()


def test_two_accumulations_are_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    with pytest.raises(ValueError, match="accelerate launch says gradient_accumulation_steps 4, the options say 2"):
        honour_launch(TrainOptions(gradient_accumulation_steps=2), "cpu")


@pytest.mark.parametrize("name", ["wandbb", "comet_ml", "", "tensorboard,trackio"])
def test_a_tracker_that_would_be_left_out_is_refused(name):
    with pytest.raises(ValueError, match=f"report_to '{name}' is no tracker that is installed .there are .*tensorboard"):
        build_accelerator(TrainOptions(cpu=True, report_to=name))

"""The precision that `auto` stands for, by what the machine says of itself."""

import pytest
import torch

from caan.options import TrainOptions
from caan.training.precision import fastest_precision


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
    assert TrainOptions(mixed_precision="auto", cpu=forced).mixed_precision == precision


def test_a_pytorch_that_does_not_tell_its_cpu_trains_in_float32(machine, monkeypatch):
    machine(False)
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert fastest_precision() == "no"


@pytest.mark.parametrize("given", ["no", "bf16", "fp16"])
def test_what_is_given_stays(machine, given):
    machine(False, avx512_bf16=True)
    assert TrainOptions(mixed_precision=given).mixed_precision == given

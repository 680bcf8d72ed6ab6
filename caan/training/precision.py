"""Which type of activations is fast on this machine, and which a run has."""

import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from accelerate import Accelerator, PartialState
from accelerate.tracking import get_available_trackers
from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin
from transformers.utils.logging import disable_progress_bar

from caan.options import TrainOptions


def fastest_precision(cpu: bool = False) -> str:
    """ "bf16" where the GPU, or without one (or with `cpu`) the CPU, multiplies it natively, else "no", that is float32.

    bf16 has float32's range, so that nothing needs scaling, and half of its traffic.
    """
    if torch.cuda.is_available() and not cpu:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    return "bf16" if cpu_has_bf16() else "no"


def cpu_has_bf16() -> bool:
    """Whether the CPU has instructions of its own for bf16 products. With AVX512_BF16 a step was seen to take half the time."""
    read: Callable[[], dict] = getattr(torch.cpu, "get_capabilities", dict)  # older versions of PyTorch do not tell
    return any(read().get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def cpu_multiplies_bf16() -> bool:
    """Whether PyTorch has fast bf16 products here: x86 needs AVX-512. Without it a step was seen to take 18 times as long."""
    return torch.backends.cpu.get_cpu_capability() not in ("AVX2", "DEFAULT")


def honour_launch(options: TrainOptions, device_type: str) -> TrainOptions:
    """The options with the precision and the accumulation that will run: as `accelerate launch` says where they say nothing.

    Args:
        device_type: "cpu", "cuda", ... that the run is on.

    Raises:
        ValueError: both say something, and not the same; or fp16 on a CPU, which PyTorch cannot train in.
    """
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    precision = fastest_precision(options.cpu) if options.mixed_precision == "auto" else options.mixed_precision
    if launched != "no" and precision not in (None, launched):
        raise ValueError(
            f"accelerate launch says mixed_precision {launched}, the options say {precision}: leave one of them out."
        )
    precision = precision or launched
    if precision == "fp16" and device_type == "cpu":
        raise ValueError("mixed_precision fp16 needs a GPU: on a CPU take bf16, auto or no.")
    steps, asked = options.gradient_accumulation_steps, int(os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1"))
    if asked != 1 and steps not in (1, asked):
        raise ValueError(
            f"accelerate launch says gradient_accumulation_steps {asked}, the options say {steps}: leave one of them out."
        )
    return replace(options, mixed_precision=cast(Any, precision), gradient_accumulation_steps=max(steps, asked))


def require_tracker(name: str) -> None:
    """Raises ValueError for a tracker that is unknown or not installed, which Accelerate would leave out without a word."""
    installed = sorted(map(str, get_available_trackers()))
    if name not in ("none", "all", *installed):
        known = f"there are {', '.join(installed)}" if installed else "none is installed"
        raise ValueError(f"report_to {name!r} is no tracker that is installed ({known}): pip install it, or take none.")


def build_accelerator(options: TrainOptions) -> Accelerator:
    """Accelerate with the options' precision, accumulation and tracker; `accelerator.mixed_precision` is what runs.

    Encoders carry parameters that no loss reaches (DINOv2's mask token, CLIP's last norm), so DDP has to look for them.
    """
    disable_progress_bar()  # of every small file that transformers writes; the training bar stays
    require_tracker(options.report_to)
    device = PartialState(cpu=options.cpu).device
    options = honour_launch(options, device.type)
    accelerator = Accelerator(
        cpu=options.cpu,
        mixed_precision=options.mixed_precision,
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=options.gradient_accumulation_steps),
        log_with=None if options.report_to == "none" else options.report_to,
        project_dir=options.output_dir,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if accelerator.mixed_precision == "bf16" and device.type == "cpu" and not cpu_multiplies_bf16():
        message = "This CPU multiplies bf16 many times more slowly than float32: train with --mixed_precision no."
        warnings.warn(message, stacklevel=2)
    return accelerator

"""Which type of activations is fast on this machine."""

import torch


def fastest_precision(cpu: bool = False) -> str:
    """ "bf16" where the GPU, or without one (or with `cpu`) the CPU, multiplies it natively, else "no", that is float32.

    bf16 has float32's range, so that nothing needs scaling, and half of its traffic.
    """
    if torch.cuda.is_available() and not cpu:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    return "bf16" if cpu_has_bf16() else "no"


def cpu_has_bf16() -> bool:
    """Whether the CPU has instructions of its own for bf16 products. With AVX512_BF16 a step was seen to take half the time."""
    read = getattr(torch.cpu, "get_capabilities", dict)  # older versions of PyTorch do not tell
    return any(read().get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def cpu_multiplies_bf16() -> bool:
    """Whether PyTorch has fast bf16 products here: x86 needs AVX-512. Without it a step was seen to take 18 times as long."""
    return torch.backends.cpu.get_cpu_capability() not in ("AVX2", "DEFAULT")

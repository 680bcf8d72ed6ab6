"""Instances as integers: which photos show the very thing that a sketch was drawn from."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

NO_INSTANCE = -1


def instance_codes(
    labels: Sequence[Hashable] | Tensor, instances: Sequence[str | None], codes: dict[tuple, int] | None = None
) -> Tensor:
    """Instances as integers (count,): equal for one name within one class, `NO_INSTANCE` where there is none.

    Args:
        labels: class of each picture. instances: as `Pictures.instances` has them.
        codes: (class, name) -> integer; read and added to, so that sketches and photos get one vocabulary.

    Raises:
        ValueError: the lengths differ.
    """
    labels = labels.tolist() if isinstance(labels, Tensor) else list(labels)
    if len(labels) != len(instances):
        raise ValueError(f"there are {len(instances)} instances for {len(labels)} labels")
    codes = {} if codes is None else codes
    pairs = zip(labels, instances)
    return torch.tensor([codes.setdefault(pair, len(codes)) if pair[1] else NO_INSTANCE for pair in pairs], dtype=torch.long)

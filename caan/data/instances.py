"""Which photos show the very thing that a sketch was drawn from: its own photos."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from caan.data.pictures import Pictures

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


def paired_codes(sketches: Pictures, photos: Pictures) -> tuple[Tensor, Tensor]:
    """Codes of all sketches and of all photos of a split, in one vocabulary."""
    codes: dict[tuple, int] = {}
    both = [instance_codes(pictures.labels, pictures.instances, codes) for pictures in (sketches, photos)]
    return both[0], both[1]


def own_photos(sketches: Pictures, photos: Pictures) -> list[list[int]]:
    """Rows of `photos` with each sketch's own photo, in order: none where it is not there, several where it has copies."""
    drawn, shown = paired_codes(sketches, photos)
    rows: dict[int, list[int]] = {}
    for row, code in enumerate(shown.tolist()):
        rows.setdefault(code, []).append(row)
    return [rows.get(code, []) if code != NO_INSTANCE else [] for code in drawn.tolist()]

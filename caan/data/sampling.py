"""Sampling of P classes x K items: what a batch of CAAN's training is made of."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch.utils.data import Sampler


class TrainingItem(NamedTuple):
    """One row of a batch: a sketch, a photo of its class, and the seed of their augmentation."""

    sketch: int
    photo: int
    seed: int


class ClassBalancedSampler(Sampler[TrainingItem]):
    """Yields items in runs of P classes x K, as a plain item sampler.

    A batch sampler would be the natural form, but Accelerate hides it behind shards that `set_epoch` does not reach, and
    every epoch would repeat the first. As an item sampler with `batch_size = P * K`, Accelerate gives whole P x K batches
    to the processes in turn. Order and augmentation depend on `seed` and epoch alone.

    Args:
        sketch_labels, photo_labels: class of each sketch and of each photo; yielded indices count within these sequences.
        classes_per_batch: P, at least 2. items_per_class: K.
        batches_per_epoch: by default so many that an epoch shows as many sketches as there are.
        names: class names for error messages, indexed by label.

    Raises:
        ValueError: a class has fewer than two sketches or no photo, or there are fewer than P classes.
    """

    def __init__(
        self,
        sketch_labels: Sequence[int],
        photo_labels: Sequence[int],
        classes_per_batch: int,
        items_per_class: int,
        batches_per_epoch: int | None = None,
        seed: int = 0,
        names: Sequence[str] | None = None,
    ):
        self.sketches, self.photos = rows_by_class(sketch_labels), rows_by_class(photo_labels)
        check_classes(self.sketches, self.photos, classes_per_batch, names)
        self.classes_per_batch, self.items_per_class = classes_per_batch, items_per_class
        per_batch = classes_per_batch * items_per_class
        self.batches_per_epoch = batches_per_epoch or max(1, len(sketch_labels) // per_batch)
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Each epoch has its own order, the same in every process and every run with this seed."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches_per_epoch * self.classes_per_batch * self.items_per_class

    def __iter__(self) -> Iterator[TrainingItem]:
        return self.items(torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch))

    def items(self, generator: torch.Generator) -> Iterator[TrainingItem]:
        """The items of an epoch, by that generator."""
        classes = Deck(sorted(self.sketches), generator)
        sketches = {label: Deck(rows, generator) for label, rows in self.sketches.items()}
        photos = {label: Deck(rows, generator) for label, rows in self.photos.items()}
        for _ in range(self.batches_per_epoch):
            for label in classes.draw_distinct(self.classes_per_batch):
                for _ in range(self.items_per_class):
                    seed = int(torch.randint(2**31, (), generator=generator))
                    yield TrainingItem(sketches[label].draw(), photos[label].draw(), seed)


class Deck:
    """Cards drawn in shuffled order, shuffled anew when all are out: no card is drawn twice before every other was once."""

    def __init__(self, cards: Sequence[int], generator: torch.Generator):
        self.cards, self.generator = list(cards), generator
        self.left: list[int] = []

    def _shuffled(self, cards: list[int]) -> list[int]:
        return [cards[i] for i in torch.randperm(len(cards), generator=self.generator).tolist()]

    def draw(self) -> int:
        """The next card."""
        if not self.left:
            self.left = self._shuffled(self.cards)
        return self.left.pop()

    def draw_distinct(self, count: int) -> list[int]:
        """The next `count` cards, all different, also where the deck is shuffled in between."""
        missing = count - len(self.left)
        if missing > 0:  # the first of the new round are others than the last of the old, which come later in it
            fresh = self._shuffled(self.cards)
            first = [card for card in fresh if card not in self.left][-missing:]
            self.left = [card for card in fresh if card not in first] + first + self.left
        return [self.left.pop() for _ in range(count)]


def rows_by_class(labels: Sequence[int]) -> dict[int, list[int]]:
    """Label -> positions in `labels` that hold it."""
    rows: dict[int, list[int]] = {}
    for row, label in enumerate(labels):
        rows.setdefault(int(label), []).append(row)
    return rows


def check_classes(sketches: dict, photos: dict, classes_per_batch: int, names: Sequence[str] | None) -> None:
    """Refuses classes from which no triplet can be formed, by name."""
    poor = {label for label in sketches.keys() | photos.keys() if len(sketches.get(label, ())) < 2 or label not in photos}
    if poor:
        shown = ", ".join(
            f"{names[label] if names is not None else label} ({len(sketches.get(label, ()))} sketches, "
            f"{len(photos.get(label, ()))} photos)"
            for label in sorted(poor)[:10]
        )
        raise ValueError(f"A class needs at least two sketches and one photo to train on. Add pictures or leave out: {shown}.")
    if not 2 <= classes_per_batch <= len(sketches):
        raise ValueError(f"classes_per_batch is {classes_per_batch}; there are {len(sketches)} classes, and 2 are the least.")

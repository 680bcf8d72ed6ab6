"""Sampling of pairs: P classes x K sketches, each with the photo that it was drawn from."""

from collections.abc import Iterator, Sequence

import torch

from caan.data.sampling import ClassBalancedSampler, Deck, TrainingItem


class PairedSampler(ClassBalancedSampler):
    """Yields runs of P classes x K whose sketches bring their own photos, K different ones wherever a class has so many.

    The photos of a class take turns, and of each photo its sketches: no photo is drawn twice before every other was once. The
    other photos of a run are those that `losses_caan.instance_loss` compares with. A sketch whose photo is not there has a turn
    of its own, and comes with any photo of its class.

    Args:
        sketch_labels, photo_labels, options: as of `ClassBalancedSampler`.
        own: rows of each sketch's own photo, its copies or none, as `caan.data.instances.own_photos` gives them.
        share: of the sketches that come with their own photo, 0 to 1; the others come with any of their class, so that photos
            which nobody drew are seen too.

    Raises:
        ValueError: as `ClassBalancedSampler`, and where no class has a pair and a second photo.
    """

    def __init__(
        self,
        sketch_labels: Sequence[int],
        photo_labels: Sequence[int],
        *options,
        own: Sequence[Sequence[int]],
        share: float = 1.0,
        **named,
    ):
        super().__init__(sketch_labels, photo_labels, *options, **named)
        self.own, self.share = own, share
        if not any(0 < len(own[row]) < len(self.photos[label]) for label, rows in self.sketches.items() for row in rows):
            raise ValueError(
                "No class has a sketch with its own photo and another photo beside it, so that pairs cannot be learnt here. "
                "Sketchy has such pairs, and so has a folder whose sketches are called as their photos are; for other data set "
                "model_config.lambda_instance and own_photos to 0."
            )

    def items(self, generator: torch.Generator) -> Iterator[TrainingItem]:
        """The items of an epoch, by that generator."""
        classes = Deck(sorted(self.sketches), generator)
        photos = {label: Deck(rows, generator) for label, rows in self.photos.items()}
        things = {label: [Deck(rows, generator) for rows in self._by_photo(rows)] for label, rows in self.sketches.items()}
        turns = {label: Deck(range(len(decks)), generator) for label, decks in things.items()}
        for _ in range(self.batches_per_epoch):
            for label in classes.draw_distinct(self.classes_per_batch):
                for thing in draw_run(turns[label], self.items_per_class):
                    seed, copy = torch.randint(2**31, (2,), generator=generator).tolist()
                    sketch = things[label][thing].draw()
                    own = self.own[sketch] if torch.rand((), generator=generator) < self.share else ()
                    yield TrainingItem(sketch, own[copy % len(own)] if own else photos[label].draw(), seed)

    def _by_photo(self, rows: Sequence[int]) -> list[list[int]]:
        """Rows of a class's sketches, those of one photo together; a sketch without its photo is alone."""
        groups: dict[tuple, list[int]] = {}
        for row in rows:
            groups.setdefault(tuple(self.own[row]) or ("sketch", row), []).append(row)
        return list(groups.values())


def draw_run(deck: Deck, count: int) -> list[int]:
    """`count` cards, different ones until the deck has no more of them."""
    cards: list[int] = []
    while len(cards) < count:
        cards += deck.draw_distinct(min(count - len(cards), len(deck.cards)))
    return cards

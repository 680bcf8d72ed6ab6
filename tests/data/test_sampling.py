"""P x K sampling.  python -m pytest tests/data/test_sampling.py"""

import json

import pytest
import torch
from accelerate import Accelerator
from running import in_two_processes
from torch.utils.data import DataLoader

from caan.data.sampling import ClassBalancedSampler, Deck, TrainingItem
from caan.training.loop import epoch_batches

# Six classes of 2 to 7 sketches and 1 to 6 photos, their rows shuffled.
SKETCHES = [5, 0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 0, 2, 3, 4, 5, 3, 4, 5, 1, 4, 5, 2, 3, 4, 5]
PHOTOS = [0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 5, 4, 3, 2, 5, 4, 3, 5, 4, 5]
P, K = 3, 2


def sampler(**options) -> ClassBalancedSampler:
    return ClassBalancedSampler(SKETCHES, PHOTOS, **{"classes_per_batch": P, "items_per_class": K, "seed": 1, **options})


def epoch(sampler, number: int = 0) -> list[TrainingItem]:
    sampler.set_epoch(number)
    return list(sampler)


def batches(items) -> list[list[TrainingItem]]:
    return [items[i : i + P * K] for i in range(0, len(items), P * K)]


@pytest.mark.parametrize("seed", range(5))
def test_a_batch_is_p_distinct_classes_times_k(seed):
    items = epoch(sampler(batches_per_epoch=40, seed=seed))
    assert len(items) == len(sampler(batches_per_epoch=40)) == 40 * P * K
    for batch in batches(items):
        labels = [SKETCHES[item.sketch] for item in batch]
        assert labels == [PHOTOS[item.photo] for item in batch]
        assert len(set(labels)) == P
        assert all(labels[i] == labels[i - 1] for i in range(P * K) if i % K)  # in runs of K


def test_an_epoch_shows_as_many_sketches_as_there_are():
    assert len(epoch(sampler())) == len(SKETCHES) // (P * K) * (P * K)
    assert len(epoch(sampler(classes_per_batch=6, items_per_class=9))) == 6 * 9  # at least one batch


@pytest.mark.parametrize("classes_per_batch", [2, 3, 4, 5, 6])
def test_classes_take_turns(classes_per_batch):
    drawn = [SKETCHES[item.sketch] for item in epoch(sampler(classes_per_batch=classes_per_batch, batches_per_epoch=30))][::K]
    for turn in range(1, len(drawn) + 1):  # at no moment is a class more than one turn ahead of another
        counts = [drawn[:turn].count(label) for label in range(6)]
        assert max(counts) - min(counts) <= 1
    assert {drawn.count(label) for label in range(6)} == {30 * classes_per_batch // 6}


@pytest.mark.parametrize("side,labels", [("sketch", SKETCHES), ("photo", PHOTOS)])
def test_every_item_of_a_class_is_drawn_before_any_comes_again(side, labels):
    items = epoch(sampler(batches_per_epoch=40))
    for label in range(6):
        rows = {row for row, other in enumerate(labels) if other == label}
        drawn = [getattr(item, side) for item in items if SKETCHES[item.sketch] == label]
        rounds = [drawn[i : i + len(rows)] for i in range(0, len(drawn) - len(rows) + 1, len(rows))]
        assert len(rounds) > 1 and all(set(part) == rows for part in rounds)
        if len(rows) > 3:
            assert len({tuple(part) for part in rounds}) > 1  # shuffled anew


@pytest.mark.parametrize("classes,p", [(5, 3), (7, 5), (6, 4), (4, 3)])
def test_the_classes_of_a_batch_are_distinct_where_they_are_shuffled_in_between(classes, p):
    labels = [label for label in range(classes) for _ in range(4)]
    sampler = ClassBalancedSampler(labels, labels, p, 2, batches_per_epoch=60, seed=3)
    drawn = [labels[item.sketch] for item in sampler]
    for start in range(0, len(drawn), 2 * p):
        assert len(set(drawn[start : start + 2 * p])) == p


def test_order_depends_on_seed_and_epoch_alone():
    first, second = sampler(), sampler()
    torch.manual_seed(1)
    expected = [epoch(first, number) for number in range(3)]
    torch.manual_seed(2)
    assert [epoch(second, number) for number in (2, 0, 1)] == [expected[2], expected[0], expected[1]]
    assert expected[0] != expected[1] != expected[2]
    assert epoch(sampler(seed=2)) != expected[0]
    assert list(first) == list(first)  # until the epoch is set, the same


def test_augmentation_seeds_never_repeat():
    seeds = [item.seed for number in range(5) for item in epoch(sampler(batches_per_epoch=40), number)]
    assert len(set(seeds)) == len(seeds) == 5 * 40 * P * K


def test_poor_classes_are_named_with_their_counts():
    names = ["ant", "bee", "cow", "dog"]
    with pytest.raises(ValueError, match=r"bee \(1 sketches, 1 photos\), cow \(2 sketches, 0 photos\), dog \(0 sketches, 1 ph"):
        ClassBalancedSampler([0, 0, 1, 2, 2], [0, 1, 3], 2, 1, names=names)
    with pytest.raises(ValueError, match=r"leave out: 1 \(1 sketches"):
        ClassBalancedSampler([0, 0, 1, 2, 2], [0, 1, 2], 2, 1)


@pytest.mark.parametrize("wanted", [7, 1, 0])
def test_too_few_classes(wanted):
    with pytest.raises(ValueError, match=f"classes_per_batch is {wanted}; there are 6 classes, and 2 are the least"):
        sampler(classes_per_batch=wanted)


def test_a_deck_draws_distinct_cards_across_its_shuffles():
    deck = Deck(range(7), torch.Generator().manual_seed(0))
    hands = [deck.draw_distinct(count) for _ in range(30) for count in (3, 5, 7, 1)]
    assert all(len(set(hand)) == len(hand) for hand in hands)
    cards = [card for hand in hands for card in hand]
    rounds = [cards[i : i + 7] for i in range(0, len(cards) - 6, 7)]
    assert len(rounds) == 68 and all(sorted(part) == list(range(7)) for part in rounds)
    assert len({tuple(part) for part in rounds}) > 60


class Rows:
    """A dataset that gives what it is asked for."""

    def __getitem__(self, item: TrainingItem) -> torch.Tensor:
        return torch.tensor(item)


def write_shards(folder):
    """What one process sees: three epochs, then the second again as a run does that resumes in its middle."""
    accelerator = Accelerator(cpu=True)
    loader = DataLoader(Rows(), batch_size=P * K, sampler=sampler(batches_per_epoch=8))
    loader = accelerator.prepare(loader)
    epochs = [[batch.tolist() for batch in epoch_batches(loader, number, 0)] for number in range(3)]
    fresh = accelerator.prepare(DataLoader(Rows(), batch_size=P * K, sampler=sampler(batches_per_epoch=8)))
    epochs.append([batch.tolist() for batch in epoch_batches(fresh, 1, 3)])
    epochs.append([batch.tolist() for batch in epoch_batches(fresh, 2, 0)])
    (folder / f"{accelerator.process_index}.json").write_text(json.dumps(epochs))


def test_two_processes_share_whole_batches(tmp_path):
    in_two_processes(write_shards, tmp_path)
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    alone = sampler(batches_per_epoch=8)
    for number in range(3):
        expected = [[list(item) for item in batch] for batch in batches(epoch(alone, number))]
        for rank in range(2):
            assert ranks[rank][number] == expected[rank::2], (rank, number)
    for rank in range(2):
        assert ranks[rank][3] == ranks[rank][1][3:]
        assert ranks[rank][4] == ranks[rank][2]


def test_a_resumed_process_sees_the_epochs_it_has_not_seen():
    def loader():
        return Accelerator(cpu=True).prepare(DataLoader(Rows(), batch_size=P * K, sampler=sampler()))

    whole, resumed = loader(), loader()
    epochs = [[batch.tolist() for batch in epoch_batches(whole, number, 0)] for number in range(4)]
    assert len({str(batches) for batches in epochs}) == 4
    assert [batch.tolist() for batch in epoch_batches(resumed, 2, 1)] == epochs[2][1:]
    assert [batch.tolist() for batch in epoch_batches(resumed, 3, 0)] == epochs[3]

"""python -m pytest tests/hub_set/test_losses.py"""

import math
from contextlib import nullcontext

import pytest
import torch

from losses_caan import (
    instance_loss,
    mine_triplets,
    relation_loss,
    retained_knowledge_loss,
    sketch_photo_contrastive_loss,
    text_contrastive_loss,
    triplet_loss,
)

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def unit(vector):
    norm = math.sqrt(sum(x * x for x in vector))
    return [x / norm for x in vector]


def distance(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b)))


def random_batch(seed, num_classes=4, per_class=3, size=6):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_classes).repeat_interleave(per_class)[
        torch.randperm(num_classes * per_class, generator=generator)
    ]
    sketches, photos = torch.randn(2, len(labels), size, generator=generator)
    return sketches, photos, labels


@pytest.mark.parametrize("seed", range(4))
def test_batch_hard_finds_what_three_loops_find(seed):
    sketches, photos, labels = random_batch(seed)
    positive, negative = mine_triplets(sketches, photos, labels, "batch_hard")
    for a, sketch in enumerate(sketches.tolist()):
        farthest, nearest = None, None
        for p, photo in enumerate(photos.tolist()):
            gap = distance(unit(sketch), unit(photo))
            if labels[p] == labels[a] and (farthest is None or gap > farthest[0]):
                farthest = (gap, p)
            if labels[p] != labels[a] and (nearest is None or gap < nearest[0]):
                nearest = (gap, p)
        assert (positive[a], negative[a]) == (farthest[1], nearest[1])


def test_batch_hard_by_hand():
    """Angles in degrees: the sketch at 0 has positives at 10 and 80, negatives at 30 and 100."""
    angles = torch.tensor([10.0, 80.0, 30.0, 100.0]).deg2rad()
    photos = torch.stack([angles.cos(), angles.sin()], dim=1) * torch.tensor(
        [[1.0], [5.0], [2.0], [7.0]]
    )  # lengths are ignored
    sketches = torch.tensor([[3.0, 0.0]]).repeat(4, 1)
    positive, negative = mine_triplets(sketches, photos, torch.tensor([0, 0, 1, 1]))
    assert positive.tolist() == [1, 1, 3, 3] and negative.tolist() == [2, 2, 0, 0]


def test_random_mining_takes_every_allowed_photo_and_no_other():
    labels = torch.tensor([0, 0, 1, 1, 2])
    torch.manual_seed(0)
    picks = [mine_triplets(torch.zeros(5, 2), torch.zeros(5, 2), labels, "random") for _ in range(200)]
    for anchor, label in enumerate(labels):
        allowed = {i for i in range(5) if labels[i] == label}
        assert {int(positive[anchor]) for positive, _ in picks} == allowed
        assert {int(negative[anchor]) for _, negative in picks} == set(range(5)) - allowed


@pytest.mark.parametrize("mining", ["batch_hard", "random"])
def test_a_batch_of_one_class_says_what_to_do(mining):
    with pytest.raises(ValueError, match="at least two classes.*classes_per_batch"):
        mine_triplets(torch.randn(3, 2), torch.randn(3, 2), torch.tensor([7, 7, 7]), mining)


def test_mining_records_no_graph():
    """Indices have no gradient; what is computed on the way to them is not kept for one either."""
    sketches, photos = torch.randn(2, 4, 3, requires_grad=True).unbind()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        mine_triplets(sketches, photos, torch.tensor([0, 0, 1, 1]))
    assert kept == []


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("margin", [0.0, 0.3, 2.0])
def test_triplet_loss_equals_the_formula(dtype, margin):
    anchor, positive, negative = torch.randn(3, 9, 5, generator=torch.Generator().manual_seed(1)).to(dtype)
    rows = [[unit(v) for v in x.tolist()] for x in (anchor, positive, negative)]
    expected = [max(0.0, distance(a, p) - distance(a, n) + margin) for a, p, n in zip(*rows)]
    loss = triplet_loss(anchor, positive, negative, margin)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(sum(expected) / 9, abs=2e-5)


def test_triplet_loss_by_hand():
    """Unit vectors at right angles are sqrt(2) apart, opposite ones 2; what is beyond the margin costs nothing."""
    x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert triplet_loss(x, 3 * y, -2 * x, 0.3).item() == pytest.approx(0.0, abs=1e-5)
    assert triplet_loss(x, -x, y, 0.3).item() == pytest.approx(2 - math.sqrt(2) + 0.3, abs=1e-5)
    assert triplet_loss(x, x, x, 0.3).item() == pytest.approx(0.3, abs=1e-5)


def test_the_gradient_pulls_the_positive_and_pushes_the_negative():
    anchor, positive, negative = (torch.tensor([v], requires_grad=True) for v in ([1.0, 0.0], [0.6, 0.8], [0.8, 0.6]))
    triplet_loss(anchor, positive, negative, 0.3).backward()
    assert (positive.grad @ anchor.T).item() < 0 < (negative.grad @ anchor.T).item()  # a step is against the gradient


@pytest.mark.parametrize("dtype", DTYPES)
def test_relation_loss_equals_the_formula(dtype):
    positive, negative = torch.rand(2, 7, generator=torch.Generator().manual_seed(2)).to(dtype)
    errors = [(1 - s) ** 2 for s in positive.tolist()] + [s**2 for s in negative.tolist()]
    tolerance = 5e-3 if dtype in (torch.bfloat16, torch.float16) else 1e-6
    assert relation_loss(positive, negative).item() == pytest.approx(sum(errors) / len(errors), abs=tolerance)


def test_relation_loss_by_hand():
    assert relation_loss(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 0.0])).item() == 0
    assert relation_loss(torch.tensor([0.0]), torch.tensor([1.0])).item() == 1
    assert relation_loss(torch.tensor([0.5, 1.0]), torch.tensor([0.5, 0.0])).item() == pytest.approx(0.125)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_contrastive_loss_equals_the_formula(dtype, temperature):
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(5, 4, generator=generator).to(dtype)
    prototypes = torch.randn(3, 4, generator=generator).to(dtype)
    labels = [2, 0, 1, 1, 0]
    total = 0.0
    for image, label in zip(images.tolist(), labels):
        logits = [sum(a * b for a, b in zip(unit(image), unit(p))) / temperature for p in prototypes.tolist()]
        total += math.log(sum(math.exp(x - logits[label]) for x in logits))
    loss = text_contrastive_loss(images, prototypes, torch.tensor(labels), temperature)
    assert loss.item() == pytest.approx(total / 5, rel=1e-5)


def test_contrastive_loss_by_hand():
    """An image on its own prototype, at right angles to the other: log(1 + exp(-1 / temperature))."""
    loss = text_contrastive_loss(torch.tensor([[5.0, 0.0]]), torch.eye(2), torch.tensor([0]), 0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_sketch_photo_contrast_equals_the_formula(dtype, temperature):
    """Both directions, each anchor's same-class partners averaged."""
    sketches, photos, labels = random_batch(6, num_classes=3, per_class=2)
    labels[0] = labels[1]  # uneven classes
    sketches, photos = sketches.to(dtype), photos.to(dtype)
    total = 0.0
    for anchors, others in ((sketches, photos), (photos, sketches)):
        for anchor, label in zip(anchors.tolist(), labels):
            logits = [sum(a * b for a, b in zip(unit(anchor), unit(other))) / temperature for other in others.tolist()]
            normaliser = math.log(sum(math.exp(x) for x in logits))
            partners = [normaliser - logits[k] for k in range(len(labels)) if labels[k] == label]
            total += sum(partners) / len(partners)
    loss = sketch_photo_contrastive_loss(sketches, photos, labels, temperature)
    assert loss.item() == pytest.approx(total / 12, rel=1e-4)


def test_sketch_photo_contrast_by_hand():
    """Two classes at right angles, one pair each: log(1 + exp(-1 / temperature)); the same for wrong pairs, plus 1 / t."""
    pairs, labels = torch.eye(2), torch.tensor([0, 1])
    expected = math.log(1 + math.exp(-2))
    assert sketch_photo_contrastive_loss(3 * pairs, pairs, labels, 0.5).item() == pytest.approx(expected)
    assert sketch_photo_contrastive_loss(pairs, pairs.flip(0), labels, 0.5).item() == pytest.approx(expected + 2)


def test_a_class_without_description_does_not_make_the_contrast_nan():
    images = torch.randn(2, 3, requires_grad=True)
    prototypes = torch.zeros(2, 3, requires_grad=True)
    loss = text_contrastive_loss(images, prototypes, torch.tensor([0, 1]), 0.07)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2)) and images.grad.isfinite().all() and prototypes.grad.isfinite().all()


LOSSES = {  # name -> of sketches, photos (12, 6), labels (12,)
    "triplet": lambda s, p, y: triplet_loss(s, p, p[[*range(7, 12), *range(7)]], 0.3),
    "triplet, by name": lambda s, p, y: triplet_loss(anchor=s, positive=p, negative=p[[*range(7, 12), *range(7)]], margin=0.3),
    "mined triplet": lambda s, p, y: triplet_loss(s, *(p[rows] for rows in mine_triplets(s, p, y)), 0.3),
    "relation": lambda s, p, y: relation_loss(s[:, 0].sigmoid(), p[:, 0].sigmoid()),
    "sketch-photo contrast": lambda s, p, y: sketch_photo_contrastive_loss(s, p, y, 0.07),
    "instance": lambda s, p, y: instance_loss(s, p, y, torch.arange(12), torch.arange(12), 0.07),
    "text contrast": lambda s, p, y: text_contrastive_loss(s, p[:4], y, 0.07),
    "retained knowledge": lambda s, p, y: retained_knowledge_loss(s, p, torch.eye(6), 0.1),
}


def value_and_gradients(loss, dtype, autocast):
    """The backward pass is outside, as Accelerate has it: autocast would round its products too."""
    sketches, photos, labels = random_batch(0)
    sketches, photos = (x.to(dtype).requires_grad_() for x in (sketches, photos))
    with autocast:
        value = loss(sketches, photos, labels)
    value.backward()
    return value.detach(), sketches.grad, photos.grad


@pytest.mark.parametrize("amp", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_float32_whatever_the_autocast(name, dtype, amp):
    expected = value_and_gradients(LOSSES[name], dtype, nullcontext())
    got = value_and_gradients(LOSSES[name], dtype, torch.autocast("cpu", amp))
    assert got[0].dtype == torch.float32
    for one, other in zip(got, expected):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_the_loss_of_a_model_differs_under_autocast_by_its_features_alone():
    """The same features give the same losses: those of the model under autocast are those of its rounded features."""
    sketches, photos, labels = random_batch(0)
    rounded = [x.to(torch.bfloat16) for x in (sketches, photos)]
    with torch.autocast("cpu", torch.bfloat16):
        got = sketch_photo_contrastive_loss(*rounded, labels, 0.07)
    assert got.item() == pytest.approx(
        sketch_photo_contrastive_loss(*(x.float() for x in rounded), labels, 0.07).item(), abs=1e-6
    )


def test_losses_of_tensors_without_memory():
    """Shapes can be worked out on the meta device, which has no autocast."""
    empty = torch.empty(4, 3, device="meta")
    assert triplet_loss(empty, empty, empty, 0.3).shape == ()


@pytest.mark.parametrize("dtype", DTYPES)
def test_retained_knowledge_equals_the_formula(dtype):
    """Mean over pictures of -sum over photos of grade * log(predicted share); both shares are softmaxes of cosines."""
    generator = torch.Generator().manual_seed(3)
    predicted, targets, photos = (torch.randn(n, 5, generator=generator).to(dtype) for n in (3, 3, 7))

    def shares(vector):
        logits = [sum(a * b for a, b in zip(unit(vector), unit(photo))) / 0.2 for photo in photos.float().tolist()]
        total = sum(math.exp(logit) for logit in logits)
        return [math.exp(logit) / total for logit in logits]

    rows = zip(predicted.float().tolist(), targets.float().tolist())
    losses = [-sum(t * math.log(p) for p, t in zip(shares(one), shares(other))) for one, other in rows]
    got = retained_knowledge_loss(predicted, targets, photos, 0.2)
    assert got.dtype == torch.float32 and got.item() == pytest.approx(sum(losses) / 3, abs=1e-5)


def test_retained_knowledge_by_hand():
    """Two photos at right angles, temperature 1: a picture on the first has shares e : 1; the best prediction is the same."""
    photos, first = torch.eye(2), torch.tensor([[1.0, 0.0]])
    share = math.e / (math.e + 1)
    least = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert retained_knowledge_loss(3 * first, first, photos, 1.0).item() == pytest.approx(least, abs=1e-6)
    worst = -share * math.log(1 - share) - (1 - share) * math.log(share)
    assert retained_knowledge_loss(first.flip(1), first, photos, 1.0).item() == pytest.approx(worst, abs=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(3))
def test_instance_loss_equals_the_formula(dtype, seed):
    """Mean over both directions of the mean over rows with an own and another photo of their class of -log of its share."""
    sketches, photos, labels = random_batch(seed, num_classes=3, per_class=4)
    sketches, photos = sketches.to(dtype), photos.to(dtype)
    draw = torch.Generator().manual_seed(seed)
    drawn, shown = (labels * 3 + torch.randint(-1, 2, (12,), generator=draw) for _ in range(2))
    drawn[::5], shown[::4] = -1, -1
    sides = []
    for anchors, others, one, other in ((sketches, photos, drawn, shown), (photos, sketches, shown, drawn)):
        rows = []
        for i in range(12):
            logits = {
                k: sum(a * b for a, b in zip(unit(anchors[i].tolist()), unit(others[k].tolist()))) / 0.1
                for k in range(12)
                if labels[k] == labels[i]
            }
            own = [k for k in logits if other[k] == one[i] and one[i] >= 0]
            if own and len(own) < len(logits):
                total = math.log(sum(math.exp(x) for x in logits.values()))
                rows.append(sum(total - logits[k] for k in own) / len(own))
        sides.append(sum(rows) / len(rows))
    got = instance_loss(sketches, photos, labels, drawn, shown, 0.1)
    assert got.dtype == torch.float32 and got.item() == pytest.approx(sum(sides) / 2, rel=1e-4)


def test_instance_loss_by_hand():
    """A class of two photos at right angles, whose sketches lie on them: log(1 + exp(-1 / t)); on the other's, 1 / t more."""
    photos, labels, things = torch.eye(2), torch.zeros(2, dtype=torch.long), torch.tensor([4, 7])
    least = math.log(1 + math.exp(-2))
    assert instance_loss(3 * photos, photos, labels, things, things, 0.5).item() == pytest.approx(least)
    assert instance_loss(photos.flip(0), photos, labels, things, things, 0.5).item() == pytest.approx(least + 2)


def test_other_classes_take_no_part_in_the_instance_loss():
    sketches, photos, labels = random_batch(1, num_classes=2, per_class=3)
    things = torch.arange(6)
    before = instance_loss(sketches, photos, labels, things, things, 0.1)
    only = labels == 0
    photos[labels == 1] = sketches[only]  # as near as can be
    alone = instance_loss(sketches[only], photos[only], labels[only], things[only], things[only], 0.1)
    rest = instance_loss(sketches[~only], photos[~only], labels[~only], things[~only], things[~only], 0.1)
    assert instance_loss(sketches, photos, labels, things, things, 0.1).item() == pytest.approx((alone + rest).item() / 2)
    assert before.item() != pytest.approx(alone.item())


@pytest.mark.parametrize(
    "labels, drawn, shown",
    [([0, 1], [0, 1], [0, 1]), ([0, 0], [-1, -1], [-1, -1]), ([0, 0], [0, 0], [0, 0]), ([0, 0], [0, 1], [2, 3])],
)
def test_the_instance_loss_of_a_batch_without_a_choice_is_nothing(labels, drawn, shown):
    """One photo a class; no pairs; copies of one photo alone; own photos that are not in the batch."""
    sketches, photos = torch.randn(2, 2, 3).requires_grad_()
    loss = instance_loss(sketches, photos, *map(torch.tensor, (labels, drawn, shown)), 0.1)
    loss.backward()
    assert loss.item() == 0


def test_the_instance_loss_pulls_the_own_photo_and_pushes_the_others():
    sketches, photos = torch.tensor([[1.0, 0.2], [0.3, 1.0]]), torch.tensor([[0.6, 0.8], [0.8, 0.6]], requires_grad=True)
    labels, things = torch.zeros(2, dtype=torch.long), torch.arange(2)
    instance_loss(sketches, photos, labels, things, things, 0.1).backward()
    assert (photos.grad[0] * sketches[0]).sum() < 0 < (photos.grad[0] * sketches[1]).sum()
    assert photos.grad.isfinite().all()

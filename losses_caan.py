"""The losses of CAAN, as plain functions on features: global triplet loss L_tri, local relation loss L_rn, three contrastive
terms, and one that retains what a frozen teacher knows.

The paper gives the names L_tri and L_rn and their roles; margins, mining, targets and all other terms are ours and config
fields. All run in float32, whatever the features' type and the autocast: divided by a temperature of 0.07, an error of 0.06 in
a bfloat16 cosine is almost 1 in a logit.
"""

from collections.abc import Callable
from functools import wraps

import torch
import torch.nn.functional as F


def in_float32(function: Callable) -> Callable:
    """Casts the floating tensors among the arguments to float32 and switches autocast off while `function` runs."""

    @wraps(function)
    def run(*args, **kwargs):
        args = tuple(cast(value) for value in args)
        kwargs = {name: cast(value) for name, value in kwargs.items()}
        device = next(value.device.type for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor))
        if not torch.amp.is_autocast_available(device):  # the meta device knows none
            return function(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return run


def cast(value):
    """A floating tensor in float32; anything else as it is."""
    return value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


@in_float32
def mine_triplets(
    sketches: torch.Tensor, photos: torch.Tensor, labels: torch.Tensor, mining: str = "batch_hard"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Picks a positive and a negative photo for each anchor sketch of a P x K batch.

    Args:
        sketches, photos: global tokens (batch, d); row i of both is of class labels[i].
        labels: (batch,) integers.
        mining: "batch_hard" takes the farthest positive and the nearest negative (Hermans et al. 2017), "random" any.

    Returns:
        Two index vectors (batch,) into the photos. Raises ValueError when the batch has a single class.
    """
    same = labels[:, None] == labels[None, :]
    if bool(same.all()):
        raise ValueError("A batch needs at least two classes: no negative photo can be formed. Raise classes_per_batch.")
    if mining == "random":
        distance = torch.rand(same.shape, device=same.device)
    else:
        with torch.no_grad():
            distance = torch.cdist(F.normalize(sketches, dim=-1), F.normalize(photos, dim=-1))
    positive = distance.masked_fill(~same, -torch.inf).argmax(dim=1)
    negative = distance.masked_fill(same, torch.inf).argmin(dim=1)
    return positive, negative


@in_float32
def triplet_loss(anchor: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, margin: float) -> torch.Tensor:
    """L_tri: mean of max(0, |a - p| - |a - n| + margin) over unit vectors. Three (batch, d) tensors -> scalar."""
    anchor, positive, negative = (F.normalize(x, dim=-1) for x in (anchor, positive, negative))
    # F.triplet_margin_loss is the same, but refuses a margin of 0.
    return (F.pairwise_distance(anchor, positive) - F.pairwise_distance(anchor, negative) + margin).relu().mean()


@in_float32
def relation_loss(positive_scores: torch.Tensor, negative_scores: torch.Tensor) -> torch.Tensor:
    """L_rn: mean squared error of relation scores to 1 (same class) and 0 (other class). Two (batch,) tensors -> scalar."""
    return (F.mse_loss(positive_scores, torch.ones_like(positive_scores)) + negative_scores.square().mean()) / 2


@in_float32
def sketch_photo_contrastive_loss(
    sketches: torch.Tensor, photos: torch.Tensor, labels: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Supervised contrastive loss across the modalities (after Khosla et al. 2020); off by default (lambda_con).

    Each sketch should be nearer to the photos of its class than to all others of the batch, and each photo to its sketches:
    the mean over both directions of -log of the probability of a same-class partner, averaged over partners.

    Args:
        sketches, photos: (batch, d) global tokens; row i of both is of class labels[i].
        labels: (batch,) integers.
        temperature: divides the cosine similarities.
    """
    logits = F.normalize(sketches, dim=-1) @ F.normalize(photos, dim=-1).T / temperature
    same = (labels[:, None] == labels[None, :]).to(logits.dtype)
    target = same / same.sum(dim=1, keepdim=True)  # symmetric: both sides have the same labels
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


@in_float32
def instance_loss(
    sketches: torch.Tensor,
    photos: torch.Tensor,
    labels: torch.Tensor,
    sketch_instances: torch.Tensor,
    photo_instances: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """Contrast of each sketch's own photo with the other photos of its class in the batch, and the reverse; ours, off by
    default (lambda_instance).

    The mean over both directions of -log of the probability of the own photo (InfoNCE, van den Oord et al. 2018), where only
    photos of the class stand for choice: what tells classes apart cannot lower it. The softmax weighs the nearest wrong photos
    most, as the hard negatives of a triplet would be (Sain et al. 2023), and by how near they are, in place of a margin.

    Args:
        sketches, photos: (batch, d) global tokens; row i of both is of class labels[i].
        labels: (batch,) integers. sketch_instances, photo_instances: (batch,) integers, equal for a sketch and its own photo;
            below 0 = of no pair.
        temperature: divides the cosine similarities.

    Rows without an own photo, or without another one of their class, are in no mean; without any row the loss is 0.
    """
    logits = F.normalize(sketches, dim=-1) @ F.normalize(photos, dim=-1).T / temperature
    own = (sketch_instances[:, None] == photo_instances[None, :]) & (sketch_instances >= 0)[:, None]
    same = labels[:, None] == labels[None, :]
    return (_own_among_class(logits, own, same) + _own_among_class(logits.T, own.T, same.T)) / 2


def _own_among_class(logits: torch.Tensor, own: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    """One direction of `instance_loss`; all (batch, batch)."""
    chosen = logits.masked_fill(~same, -torch.inf).log_softmax(dim=1).masked_fill(~own, 0).sum(dim=1)
    counts = own.any(dim=1) & (same & ~own).any(dim=1)
    losses = (-chosen / own.sum(dim=1).clamp(min=1)).masked_fill(~counts, 0)
    return losses.sum() / counts.sum().clamp(min=1)


@in_float32
def text_contrastive_loss(
    images: torch.Tensor, prototypes: torch.Tensor, labels: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Cross-entropy of each image over all class descriptions; off by default (lambda_text).

    Args:
        images: (batch, d) global tokens of sketches or photos.
        prototypes: (classes, d), one mean description vector a class.
        labels: (batch,) rows of `prototypes`.
        temperature: divides the cosine similarities.
    """
    logits = F.normalize(images, dim=-1) @ F.normalize(prototypes, dim=-1).T
    return F.cross_entropy(logits / temperature, labels)


@in_float32
def retained_knowledge_loss(
    predicted: torch.Tensor, targets: torch.Tensor, teacher_photos: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Cross-entropy of which of the teacher's photos a picture shows, graded by how alike the teacher finds them; ours, after
    SAKE (Liu et al. 2019), which asks for the teacher's ImageNet classes. Only with a teacher (teacher_width).

    Args:
        predicted: (batch, width), what the head makes of the global tokens.
        targets: (batch, width), the teacher's features of what the pictures show.
        teacher_photos: (photos, width), the teacher's features of training photos.
        temperature: divides the cosine similarities, of both.
    """
    photos = F.normalize(teacher_photos, dim=-1).T / temperature
    grades = (F.normalize(targets, dim=-1) @ photos).softmax(dim=-1)
    return F.cross_entropy(F.normalize(predicted, dim=-1) @ photos, grades)

"""Fits the whitening of a trained model on its training pictures (`whitening_caan`); ours."""

import torch
from torch import Tensor
from torch.utils.data import Subset

from caan.data import Pictures
from caan.embedding import embed_images
from modeling_caan import CAANModel

PICTURES = 1000  # of each modality; a covariance of 384 x 384 needs no more
FLOOR = 1e-3  # of the largest variance: directions below count as if they had so much


def whitening_matrix(sketches: Tensor, photos: Tensor, strength: float) -> Tensor:
    """Flattens the spectrum of both modalities together: variances v along the principal axes become v^(1 - strength).

    Args:
        sketches, photos: (count, d) features, each with zero mean. strength: 0 to 1.

    Returns a symmetric matrix (d, d), to be multiplied from the right.
    """
    features = torch.cat([sketches, photos]).double()
    variances, axes = torch.linalg.eigh(features.T @ features / len(features))
    scales = variances.clamp(min=FLOOR * variances.max()) ** (-strength / 2)
    return ((axes * scales) @ axes.T).to(sketches.dtype)


def fit_whitening(model: CAANModel, image_processor, train_split, **options) -> None:
    """Sets the model's whitening, of the strength that its config says, by pictures spread evenly over a training split.

    Args:
        model: with `config.whitening` above 0; earlier statistics of it are forgotten.
        options: go to `embed_images`.
    """
    both = {"sketch": model.sketch_whitening, "photo": model.image_whitening}
    size = model.config.hidden_size
    features = {}
    for modality, whitening in both.items():
        whitening.set(torch.zeros(size), torch.eye(size))
        features[modality] = embed_images(model, image_processor, spread(Pictures(train_split, modality)), modality, **options)
    means = {modality: values.mean(dim=0) for modality, values in features.items()}
    centred = [features[modality] - means[modality] for modality in both]
    matrix = whitening_matrix(*centred, model.config.whitening)
    for modality, whitening in both.items():
        whitening.set(means[modality], matrix)


def spread(pictures: Pictures, count: int = PICTURES) -> Subset:
    """At most `count` of the pictures, at even distances."""
    count = min(count, len(pictures))
    return Subset(pictures, [round(i * len(pictures) / count) for i in range(count)])

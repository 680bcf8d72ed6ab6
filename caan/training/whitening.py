"""Fits the whitening of a trained model on its training pictures (`whitening_caan`); ours."""

import torch
from torch import Tensor
from torch.utils.data import Subset

from caan.data.pictures import Pictures
from modeling_caan import CAANModel
from pipeline_caan import embed_images

PICTURES = 1000  # of each modality; a covariance of 384 x 384 needs no more
SMALLEST = 1e-14  # variance of unit vectors that is rounding and no variation: one picture a class, or copies
FLOOR = 1e-2  # of the largest variance: directions below count as if they had so much


def class_deviations(features: Tensor, labels: Tensor) -> Tensor:
    """Features (count, d) minus the mean of their class; `labels` (count,)."""
    rows = labels.unique(return_inverse=True)[1]
    sums = features.new_zeros(int(rows.max()) + 1, features.shape[1]).index_add(0, rows, features)
    return features - (sums / rows.bincount()[:, None])[rows]


def whitening_matrix(deviations: Tensor, strength: float) -> Tensor:
    """Flattens what varies within classes: variances v along the principal axes of `deviations` become v^(1 - strength).

    Args:
        deviations: (count, d) features of both modalities, minus the means of their classes. strength: 0 to 1.

    Returns a symmetric matrix (d, d), to be multiplied from the right; where nothing varies within classes, the identity.
    """
    variances, axes = torch.linalg.eigh(deviations.double().T @ deviations.double() / len(deviations))
    if not variances.max() > SMALLEST:
        return torch.eye(len(axes), dtype=deviations.dtype)
    scales = variances.clamp(min=FLOOR * variances.max()) ** (-strength / 2)
    return ((axes * scales) @ axes.T).to(deviations.dtype)


def fit_whitening(model: CAANModel, image_processor, train_split, **options) -> None:
    """Sets the model's whitening, of the strength that its config says, by pictures spread evenly over a training split.

    Args:
        model: with `config.whitening` above 0; earlier statistics of it are forgotten.
        options: go to `embed_images`.
    """
    both = {"sketch": model.sketch_whitening, "photo": model.image_whitening}
    size = model.config.hidden_size
    features, labels = {}, []
    for modality, whitening in both.items():
        whitening.set(torch.zeros(size), torch.eye(size))
        pictures = spread(Pictures(train_split, modality))
        features[modality] = embed_images(model, image_processor, pictures, modality, **options)
        labels.append(pictures.dataset.labels[pictures.indices])
    means = {modality: values.mean(dim=0) for modality, values in features.items()}
    centred = torch.cat([features[modality] - means[modality] for modality in both])
    matrix = whitening_matrix(class_deviations(centred, torch.cat(labels)), model.config.whitening)
    for modality, whitening in both.items():
        whitening.set(means[modality], matrix)


def spread(pictures: Pictures, count: int = PICTURES) -> Subset:
    """At most `count` of the pictures, at even distances."""
    count = min(count, len(pictures))
    return Subset(pictures, [round(i * len(pictures) / count) for i in range(count)])

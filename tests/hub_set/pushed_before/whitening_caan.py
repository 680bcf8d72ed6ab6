"""Whitening of the features that retrieval compares; ours, after Hatch et al., "Within-class covariance normalization" (2006).

Sketches and photos lie around two different means, and a class's pictures differ among each other, and its sketches from its
photos, mostly in a few directions, which say little of what is shown. So each modality's mean is taken off and directions weigh
the less the more they vary within classes, by statistics of the training pictures alone. It is fitted once, after training
(`caan.whitening`), and takes no part in the losses.
"""

import torch
import torch.nn.functional as F
from torch import nn


class Whitening(nn.Module):
    """(batch, size) features of one modality -> unit vectors (batch, size). Until it is fitted it only normalises."""

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))  # of unit vectors
        self.register_buffer("matrix", torch.eye(size))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return F.normalize((F.normalize(features, dim=-1) - self.mean) @ self.matrix, dim=-1)

    def set(self, mean: torch.Tensor, matrix: torch.Tensor) -> None:
        """New statistics: `mean` (size,), `matrix` (size, size)."""
        self.mean.copy_(mean)
        self.matrix.copy_(matrix)

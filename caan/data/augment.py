"""Augmentation of photos and sketches; ours. All randomness comes from the global torch generator, which callers seed."""

import torch
import torch.nn.functional as F
from torchvision.transforms import InterpolationMode, v2

# Bicubic overshoots [0, 1], and the change of hue makes NaN of that.
BILINEAR = InterpolationMode.BILINEAR


class StrokeWidth(torch.nn.Module):
    """Thickens or thins the strokes of a sketch (3, h, w), dark on white, by about one pixel, or leaves them.

    Dark strokes grow under a minimum filter and shrink under a maximum filter; a mix with the original gives widths between.
    """

    def __init__(self, probability: float = 0.5):
        super().__init__()
        self.probability = probability

    def forward(self, sketch: torch.Tensor) -> torch.Tensor:
        draw, thin, amount = torch.rand(3).tolist()
        if draw >= self.probability:
            return sketch
        # Thinning is halved: a one-pixel line must not vanish.
        sign, amount = (1, amount / 2) if thin < 0.5 else (-1, amount)
        filtered = sign * F.max_pool2d(sign * sketch[None], 3, stride=1, padding=1)[0]
        return torch.lerp(sketch, filtered, amount)


class Negative(torch.nn.Module):
    """White on black for black on white, in [0, 1]."""

    def forward(self, sketch: torch.Tensor) -> torch.Tensor:
        return 1 - sketch


def sketch_augmentation(size: int, flip: bool = True) -> torch.nn.Module:
    """Flip, small rotation, shift and scale, elastic change, stroke width: (3, size, size) in [0, 1] -> the same.

    Args:
        flip: mirror half of the pictures; without it, so that a sketch and its own photo can be mirrored together, none.
    """
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(0.5 if flip else 0.0),
            Negative(),  # torchvision fills up with black exactly; with white it draws the moved border as a gray line
            v2.RandomAffine(degrees=12, translate=(0.08, 0.08), scale=(0.8, 1.1), shear=6, interpolation=BILINEAR),
            v2.RandomApply([v2.ElasticTransform(alpha=size * 0.15, sigma=size * 0.05)], p=0.3),
            Negative(),
            StrokeWidth(),
        ]
    )


def photo_augmentation(size: int, flip: bool = True) -> torch.nn.Module:
    """Flip, crop, colour: any (3, h, w) in [0, 1] -> (3, size, size); `flip` as of `sketch_augmentation`."""
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(0.6, 1.0), ratio=(0.8, 1.25), interpolation=BILINEAR, antialias=True),
            v2.RandomHorizontalFlip(0.5 if flip else 0.0),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            v2.RandomGrayscale(0.2),
        ]
    )

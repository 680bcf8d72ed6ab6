"""Training pairs: a sketch and a photo of one class, augmented, as pixel values."""

import torch
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms.v2 import functional as tv

from caan.data.augment import photo_augmentation, sketch_augmentation
from caan.data.pictures import CURE, Pictures
from caan.data.sampling import TrainingItem


class SketchPhotoPairs(TorchDataset):
    """Training pairs, indexed by the sampler's `TrainingItem`.

    Args:
        sketches, photos: `Pictures` of one split. image_processor: gives size, mean, std and the sketch's square.
        augment: random changes, decided by the item's seed alone, in whatever process the item is made.

    Each item is `{"sketch_pixel_values", "pixel_values"}` (3, size, size) and `"labels"`, the class's place among those that
    have sketches: the row of its description. It is the label itself unless a seen class of a partial archive is missing.
    """

    def __init__(self, sketches: Pictures, photos: Pictures, image_processor, augment: bool = True):
        self.sketches, self.photos, self.image_processor = sketches, photos, image_processor
        self.size = image_processor.size["height"]
        self.class_rows = sketches.labels.unique(return_inverse=True)[1].tolist()
        self.augmentations = (
            {"sketch": sketch_augmentation(self.size), "photo": photo_augmentation(self.size)} if augment else None
        )

    def __getitem__(self, item: TrainingItem) -> dict:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(item.seed)
            return {
                "sketch_pixel_values": self._pixels(self.sketches, item.sketch),
                "pixel_values": self._pixels(self.photos, item.photo),
                "labels": self.class_rows[item.sketch],
            }

    def _pixels(self, pictures: Pictures, row: int) -> torch.Tensor:
        processor = self.image_processor
        if self.augmentations is None:
            return processor(pictures[row], modality=pictures.modality, return_tensors="pt")["pixel_values"][0]
        image = pictures[row]
        try:
            image = processor.prepare(image, pictures.modality)
        except ValueError as error:
            raise ValueError(f"{pictures.files[row]}: {error}. {CURE}") from error
        if pictures.modality == "sketch":  # crops would cut strokes away, so a sketch is at its final size already
            image = image.resize((self.size, self.size), processor.resample)
        pixels = tv.to_dtype(tv.pil_to_tensor(image), torch.float32, scale=True)
        pixels = self.augmentations[pictures.modality](pixels).clamp(0, 1)
        return tv.normalize(pixels, list(processor.image_mean), list(processor.image_std))

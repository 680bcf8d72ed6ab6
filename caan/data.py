"""Rows of a `datasets` split as training pairs and as queries and gallery."""

from collections.abc import Sequence

import torch
from datasets import Dataset, Image, concatenate_datasets
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms.v2 import functional as tv

import dataset_scripts
from caan.augment import photo_augmentation, sketch_augmentation
from caan.sampling import TrainingItem
from processing_caan import open_image


def load_splits(options):
    """The `DatasetDict` that the options `dataset`, `dataset_config`, `data_dir` and `allow_partial` name.

    With `train_on_validation` the held-out items join the training split, and there is no validation split.
    """
    extra = {"allow_partial": True} if options.allow_partial else {}  # not every builder knows it
    splits = dataset_scripts.load(options.dataset, options.dataset_config, options.data_dir, **extra)
    if getattr(options, "train_on_validation", False) and "validation" in splits:
        splits["train"] = concatenate_datasets([splits["train"], splits.pop("validation")])
    return splits


class Pictures(Sequence):
    """The pictures of one modality in a split: `pictures[i]` is a decoded PIL image, `pictures.labels[i]` its class.

    Nothing is decoded before it is asked for; an unreadable picture raises a ValueError with the row's `file`.
    """

    def __init__(self, split: Dataset, modality: str):
        names = split.features["modality"].names
        if modality not in names:
            raise ValueError(f"The data set has no modality {modality!r}; it has {', '.join(names)}.")
        keep = [i for i, m in enumerate(split.with_format(None)["modality"]) if m == names.index(modality)]
        if not keep:
            raise ValueError(f"The split has no {modality} at all. Check data_dir and the builder's report.")
        self.modality = modality
        self.rows = split.select(keep).cast_column("image", Image(decode=False))
        self.labels = torch.tensor(list(self.rows["label"]))
        self.files = list(self.rows["file"])
        self.names = split.features["label"].names

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int):
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        cell = self.rows[row]["image"]
        try:
            image = open_image(cell["bytes"] if cell["bytes"] is not None else cell["path"])
        except ValueError as error:
            raise ValueError(f"{self.files[row]}: {error}") from error
        image.filename = self.files[row]
        return image


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
            raise ValueError(f"{pictures.files[row]}: {error}") from error
        if pictures.modality == "sketch":  # crops would cut strokes away, so a sketch is at its final size already
            image = image.resize((self.size, self.size), processor.resample)
        pixels = tv.to_dtype(tv.pil_to_tensor(image), torch.float32, scale=True)
        pixels = self.augmentations[pictures.modality](pixels).clamp(0, 1)
        return tv.normalize(pixels, list(processor.image_mean), list(processor.image_std))

"""Training pairs: a sketch and a photo of one class, augmented, as pixel values."""

import warnings

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms.v2 import functional as tv

from caan.data.augment import photo_augmentation, sketch_augmentation
from caan.data.instances import paired_codes
from caan.data.pictures import CURE, Pictures
from caan.data.sampling import TrainingItem
from caan.data.surfaces import random_surface

PAPER_SIZES = ((320, 320), (300, 400), (400, 300))  # pixels; a drawing on a page is then 75 to 270 long, in some 10 ms


class SketchPhotoPairs(TorchDataset):
    """Training pairs, indexed by the sampler's `TrainingItem`.

    Args:
        sketches, photos: `Pictures` of one split. image_processor: gives size, mean, std and the sketch's square.
        augment: random changes, decided by the item's seed alone, in whatever process the item is made.
        paper: probability, 0 to 1, that a sketch is put on a random surface before it is prepared; 0 without `augment`.
        paired: sketches come with their own photos. Both are mirrored or neither is, since which way a thing faces tells its
            photo from others, and items say which are pairs.

    Each item is `{"sketch_pixel_values", "pixel_values"}` (3, size, size), `"labels"`, the class's place among those that have
    sketches: the row of its description, which is the label itself unless a seen class of a partial archive is missing; and
    `"photo_rows"`, the photo's place in `photos`. `paired` items also have `"sketch_instances"` and `"photo_instances"`, which
    are equal for a sketch and its own photo (`instance_codes`).
    """

    def __init__(
        self,
        sketches: Pictures,
        photos: Pictures,
        image_processor,
        augment: bool = True,
        paper: float = 0.0,
        paired: bool = False,
    ):
        self.sketches, self.photos, self.image_processor = sketches, photos, image_processor
        self.size = image_processor.size["height"]
        self.paper = paper if augment else 0.0
        self.class_rows = sketches.labels.unique(return_inverse=True)[1].tolist()
        self.codes = paired_codes(sketches, photos) if paired else None
        self.augmentations = None
        if augment:
            makers = {"sketch": sketch_augmentation, "photo": photo_augmentation}
            self.augmentations = {modality: make(self.size, flip=not paired) for modality, make in makers.items()}

    def __getitem__(self, item: TrainingItem) -> dict:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(item.seed)
            made = {
                "sketch_pixel_values": self._pixels(self.sketches, item.sketch, item.seed),
                "pixel_values": self._pixels(self.photos, item.photo),
                "labels": self.class_rows[item.sketch],
                "photo_rows": item.photo,
            }
            if self.codes is None:
                return made
            if self.augmentations is not None and torch.rand(()) < 0.5:
                made |= {name: made[name].flip(-1) for name in ("sketch_pixel_values", "pixel_values")}
        drawn, shown = self.codes
        return made | {"sketch_instances": int(drawn[item.sketch]), "photo_instances": int(shown[item.photo])}

    def _pixels(self, pictures: Pictures, row: int, seed: int = 0) -> torch.Tensor:
        processor = self.image_processor
        if self.augmentations is None:
            return processor(pictures[row], modality=pictures.modality, return_tensors="pt")["pixel_values"][0]
        image = pictures[row]
        try:
            found = self._from_paper(image, seed) if pictures.modality == "sketch" and self.paper else None
            image = found or processor.prepare(image, pictures.modality)
        except ValueError as error:
            raise ValueError(f"{pictures.files[row]}: {error}. {CURE}") from error
        if pictures.modality == "sketch":  # crops would cut strokes away, so a sketch is at its final size already
            image = image.resize((self.size, self.size), processor.resample)
        pixels = tv.to_dtype(tv.pil_to_tensor(image), torch.float32, scale=True)
        pixels = self.augmentations[pictures.modality](pixels).clamp(0, 1)
        return tv.normalize(pixels, list(processor.image_mean), list(processor.image_std))

    def _from_paper(self, sketch: Image.Image, seed: int) -> Image.Image | None:
        """The prepared picture of a sketch on a random surface; None where it stays plain, or its ink is not found there.

        Its randomness is its own, so that the other augmentation is the same with paper and without.
        """
        generator = np.random.default_rng(seed)
        if generator.random() >= self.paper:
            return None
        picture = random_surface(sketch, generator, PAPER_SIZES[int(generator.integers(len(PAPER_SIZES)))])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a doubt whether there is a drawing: there is one
            try:
                return self.image_processor.prepare(picture, "sketch")
            except ValueError:
                return None

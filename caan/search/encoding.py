"""Photos of a list of files as vectors and thumbnails, read by worker processes while the model works."""

import io
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from caan.search.engine import Photo
from caan.search.photos import full_path, unchanged
from pipeline_caan import device_of
from processing_caan import flatten_image, open_image

THUMBNAIL, QUALITY = 256, 80  # longer side in pixels, and JPEG quality: about 10 KB each

CHANGED = "it changed while it was read, and is read again the next time"
NO_VECTOR = "the model makes no usable vector of it"


class Encoded(NamedTuple):
    """A photo as the model sees it: vector (width,) float16 of unit length, JPEG thumbnail; or the problem with it, in
    words."""

    photo: Photo
    vector: np.ndarray | None
    thumbnail: bytes
    problem: str


class PhotoFiles(Dataset):
    """`files[photo]`: the photo, its pixels (3, height, width) as a processor makes them, its thumbnail, and "" or its
    problem."""

    def __init__(self, processor):
        self.processor = processor
        self.blank = self._pixels(Image.new("RGB", (8, 8)))

    def __getitem__(self, photo: Photo) -> tuple[Photo, torch.Tensor, bytes, str]:
        pixels, thumbnail = self.blank, b""
        try:
            image = open_image(full_path(photo))
            pixels, thumbnail, problem = self._pixels(image), make_thumbnail(image), ""
        except (ValueError, OSError, MemoryError) as error:
            problem = " ".join(str(error).split()) or type(error).__name__
        return photo, pixels, thumbnail, problem if unchanged(photo) else CHANGED  # else it is not what was hashed

    def _pixels(self, image: Image.Image) -> torch.Tensor:
        return self.processor([image], modality="photo", return_tensors="pt")["pixel_values"][0]


def make_thumbnail(image: Image.Image, side: int = THUMBNAIL) -> bytes:
    """A JPEG of at most `side` pixels, upright, without EXIF or any other note of the picture's file."""
    small = flatten_image(image)
    small.thumbnail((side, side))
    small.info.clear()
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def collate(rows: list[tuple]) -> tuple[list[Photo], torch.Tensor, list[bytes], list[str]]:
    """A batch: pixels (batch, 3, height, width), the rest as lists."""
    photos, pixels, thumbnails, problems = zip(*rows)
    return list(photos), torch.stack(pixels), list(thumbnails), list(problems)


class PhotoEncoder:
    """Encodes photos in batches; the batch is halved, for good, where the memory does not suffice.

    Args:
        model: anything with `get_image_features`, on its device. processor: its image processor.
    """

    def __init__(self, model, processor, batch_size: int = 64, num_workers: int = 0):
        self.model, self.files = model.eval(), PhotoFiles(processor)
        self.batch_size, self.num_workers = batch_size, num_workers

    def encode(self, batches: Iterator[list[Photo]]) -> Iterator[list[Encoded]]:
        """The photos of each batch. `batches` is read a few batches ahead."""
        loader = DataLoader(self.files, batch_sampler=batches, num_workers=self.num_workers, collate_fn=collate)
        for photos, pixels, thumbnails, problems in loader:
            vectors = self.vectors(pixels)
            usable = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)  # of zeros: the correlation of a plain surface
            problems = [text or ("" if ok else NO_VECTOR) for text, ok in zip(problems, usable)]
            yield [
                Encoded(photo, None if problem else vector, thumbnail, problem)
                for photo, vector, thumbnail, problem in zip(photos, vectors, thumbnails, problems)
            ]

    @torch.inference_mode()
    def vectors(self, pixels: torch.Tensor) -> np.ndarray:
        """Unit vectors (batch, width) float16 of pixels (batch, 3, height, width)."""
        device, done, start = device_of(self.model), list[torch.Tensor](), 0
        while start < len(pixels):
            part = pixels[start : start + self.batch_size]
            try:
                done.append(F.normalize(self.model.get_image_features(part.to(device)).float(), dim=-1).cpu())
                start += len(part)
            except (RuntimeError, MemoryError) as error:  # torch's OutOfMemoryError is a RuntimeError
                if self.batch_size == 1 or not out_of_memory(error):
                    raise
                self.batch_size = max(1, len(part) // 2)
        return torch.cat(done).numpy().astype(np.float16)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or of the system says that the memory did not suffice."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(error)

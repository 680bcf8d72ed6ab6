"""Pictures to features: one function for folders, lists and data sets, on one or many processes.

It is a file of the Hub set because the retrieval pipeline needs it where only those files are; everything else takes it from
`caan.embedding`.
"""

import os
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
PLURALS = {"sketch": "sketches", "photo": "photos"}
ON_ERROR = ("raise", "skip")
REASONS_SHOWN = 20  # of the skipped pictures in one warning


def list_images(folder) -> list[str]:
    """Paths of the pictures in `folder` and its subfolders, told by `IMAGE_SUFFIXES`, sorted; hidden ones are left out.

    Raises ValueError where the folder does not exist or holds no picture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"No such folder of pictures: {folder}")
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES]
    shown = sorted(path for path in found if not any(part.startswith(".") for part in path.parts))
    files = [str(folder / path) for path in shown if (folder / path).is_file()]
    if not files:
        raise ValueError(f"There is no picture in {folder} or its subfolders; known are {', '.join(IMAGE_SUFFIXES)}.")
    return files


class ProcessedImages(Dataset):
    """Pixel values of a sequence of pictures, made where they are asked for (in a loader's worker).

    Each item is pixels (3, height, width) and "", or with `on_error="skip"` a blank picture and why the true one is missing.
    """

    def __init__(self, images: Sequence, processor, modality: str, on_error: str = "raise"):
        if on_error not in ON_ERROR:
            raise ValueError(f"on_error must be one of {', '.join(ON_ERROR)}, got {on_error!r}.")
        self.images, self.processor, self.modality = images, processor, modality
        self.blank = self._process(Image.new("RGB", (8, 8)), "photo") if on_error == "skip" else None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, str]:
        try:
            return self._read(row), ""
        except ValueError as error:
            if self.blank is None:
                raise
            return self.blank.clone(), str(error)

    def _read(self, row: int) -> torch.Tensor:
        image = self.images[row]  # a lazy sequence reads here, and names the file itself
        try:
            return self._process(image, self.modality)
        except ValueError as error:
            name = image if isinstance(image, (str, os.PathLike)) else getattr(image, "filename", "")
            reason = error.__cause__ or error  # without the place in the processor's batch, which is always 0 here
            raise ValueError(f"{self.modality} {row}{f' ({name})' if name else ''}: {reason}") from error

    def _process(self, image, modality: str) -> torch.Tensor:
        return self.processor(image, modality=modality, return_tensors="pt")["pixel_values"][0]


@torch.inference_mode()
def embed_images(
    model,
    processor,
    images: Sequence | str | os.PathLike,
    modality: str,
    batch_size: int = 64,
    num_workers: int = 0,
    accelerator=None,
    progress: bool = True,
    on_error: str = "raise",
) -> torch.Tensor:
    """Features (len(images), hidden_size), float32 on the CPU, in the order of `images`.

    Args:
        model: anything with `get_sketch_features` and `get_image_features`, on its device; put in eval mode.
        processor: its image processor; makes `pixel_values` of one picture.
        images: a folder (`list_images` gives the order), or a sequence of paths, URLs and PIL images, which may be lazy as
            `caan.data.Pictures` is.
        modality: "sketch" or "photo".
        accelerator: an `Accelerator` whose processes share the work; every process gets all features.
        on_error: "raise", or "skip": the row of an unreadable picture or of a sketch without ink is NaN, and one warning
            counts them and says why; with an accelerator each process warns of those that it read.

    Raises ValueError naming the file or the position of an unreadable picture or a sketch without ink.
    """
    if modality not in PLURALS:
        raise ValueError(f'modality must be "sketch" or "photo", got {modality!r}.')
    images = list_images(images) if isinstance(images, (str, os.PathLike)) else images
    features_of = model.get_sketch_features if modality == "sketch" else model.get_image_features
    pictures = ProcessedImages(images, processor, modality, on_error)
    loader = DataLoader(pictures, batch_size=batch_size, num_workers=num_workers)
    if accelerator is not None:
        loader = accelerator.prepare_data_loader(loader, device_placement=True)
    placed = (weight.device for weight in model.parameters() if weight.device.type != "meta")  # offloaded weights are on meta
    device = next(placed, torch.device("cpu"))
    was_training = model.training
    model.eval()
    show = progress and (accelerator is None or accelerator.is_main_process)
    features, reasons = [], {}
    with accelerator.autocast() if accelerator is not None else nullcontext():
        for pixels, errors in tqdm(loader, desc=f"encoding {PLURALS[modality]}", disable=not show, leave=False):
            batch = features_of(pixels.to(device)).float()
            batch[torch.tensor([bool(error) for error in errors])] = torch.nan
            reasons |= dict.fromkeys(filter(None, errors))  # once: the last batch is filled up from the first
            features.append((batch if accelerator is None else accelerator.gather_for_metrics(batch)).cpu())
    model.train(was_training)
    if reasons:
        shown = [*list(reasons)[:REASONS_SHOWN], *(["..."] if len(reasons) > REASONS_SHOWN else [])]
        warnings.warn("\n".join([f"skipped {len(reasons)} of {len(images)} {PLURALS[modality]}:", *shown]), stacklevel=3)
    return torch.cat(features) if features else torch.empty(0, 0)

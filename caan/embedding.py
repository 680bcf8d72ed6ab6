"""Pictures to features: one function for lists, folders and data sets, on one or many processes."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm


class ProcessedImages(Dataset):
    """Pixel values of a sequence of pictures, made where they are asked for (in a loader's worker)."""

    def __init__(self, images: Sequence, processor, modality: str):
        self.images, self.processor, self.modality = images, processor, modality

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> torch.Tensor:
        return self.processor(self.images[row], modality=self.modality, return_tensors="pt")["pixel_values"][0]


@torch.inference_mode()
def embed_images(
    model,
    processor,
    images: Sequence,
    modality: str,
    batch_size: int = 64,
    num_workers: int = 0,
    accelerator=None,
    progress: bool = True,
) -> torch.Tensor:
    """Features (len(images), hidden_size), float32 on the CPU, in the order of `images`.

    Args:
        model: anything with `get_sketch_features` and `get_image_features`, on its device; put in eval mode.
        processor: its image processor; makes `pixel_values` of one picture.
        images: paths, PIL images, or a lazy sequence such as `caan.data.Pictures`.
        modality: "sketch" or "photo".
        accelerator: an `Accelerator` whose processes share the work; every process gets all features.

    Raises ValueError naming the file or the position of an unreadable picture or a sketch without ink.
    """
    features_of = model.get_sketch_features if modality == "sketch" else model.get_image_features
    loader = DataLoader(ProcessedImages(images, processor, modality), batch_size=batch_size, num_workers=num_workers)
    if accelerator is not None:
        loader = accelerator.prepare_data_loader(loader, device_placement=True)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    show = progress and (accelerator is None or accelerator.is_main_process)
    features = []
    with accelerator.autocast() if accelerator is not None else nullcontext():
        for pixels in tqdm(loader, desc=f"encoding {modality}s", disable=not show, leave=False):
            batch = features_of(pixels.to(device)).float()
            features.append((batch if accelerator is None else accelerator.gather_for_metrics(batch)).cpu())
    model.train(was_training)
    return torch.cat(features) if features else torch.empty(0, 0)

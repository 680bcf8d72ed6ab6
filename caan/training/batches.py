"""The batches of a run: P x K pairs, the same for the same seed, epoch and place, whatever was before."""

from functools import partial

import torch
from accelerate import skip_first_batches
from torch.utils.data import DataLoader

from caan.data.instances import own_photos
from caan.data.paired_sampling import PairedSampler
from caan.data.pairs import SketchPhotoPairs
from caan.data.pictures import Pictures
from caan.data.sampling import ClassBalancedSampler
from caan.options import DataOptions, TrainOptions


def own_photo_share(options: TrainOptions, lambda_instance: float) -> float:
    """Share of the sketches that come with their own photo, which is 1 with a loss over pairs unless `own_photos` says another.

    Raises:
        ValueError: the loss has a weight, and batches would have no pair, or no second photo of a class to tell it from.
    """
    share = float(lambda_instance > 0) if options.own_photos is None else options.own_photos
    if lambda_instance > 0 and options.items_per_class < 2:
        raise ValueError(
            f"model_config.lambda_instance is {lambda_instance:g}, which tells a sketch's own photo from others of its class: "
            f"raise items_per_class, which is {options.items_per_class}, to 2 or more."
        )
    if lambda_instance > 0 and not share:
        raise ValueError(
            "own_photos is 0, so that batches have no pairs for model_config.lambda_instance: raise it, or set both to 0."
        )
    return share


def build_loader(
    train_split,
    image_processor,
    data: DataOptions,
    options: TrainOptions,
    num_processes: int,
    lambda_instance: float = 0.0,
) -> DataLoader:
    """The P x K training loader, not yet prepared by Accelerate, which shards it in whole batches.

    Args:
        lambda_instance: of the model that it is for, with which sketches come with their own photos (`own_photo_share`).
    """
    sketches, photos = Pictures(train_split, "sketch"), Pictures(train_split, "photo")
    share = own_photo_share(options, lambda_instance)
    make = partial(PairedSampler, own=own_photos(sketches, photos), share=share) if share else ClassBalancedSampler
    sampler = make(
        sketches.labels.tolist(),
        photos.labels.tolist(),
        options.classes_per_batch,
        options.items_per_class,
        options.batches_per_epoch,
        options.seed,
        sketches.names,
    )
    # Every process gets the same number of batches; one that runs out early would hang the others.
    sampler.batches_per_epoch = max(1, round(sampler.batches_per_epoch / num_processes)) * num_processes
    return DataLoader(
        SketchPhotoPairs(sketches, photos, image_processor, data.augment, data.paper, paired=share > 0),
        batch_size=options.classes_per_batch * options.items_per_class,
        sampler=sampler,
        num_workers=data.num_workers,
        persistent_workers=data.num_workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def epoch_batches(loader, epoch: int, done: int):
    """What is left of an epoch after its first `done` batches, in that epoch's order.

    The loader counts its own passes from 0 and tells the sampler, over whatever the sampler was told before: a resumed run
    would see the first epochs again. So it is the loader that has to know.
    """
    loader.set_epoch(epoch)
    rest = skip_first_batches(loader, done) if done else loader
    rest.set_epoch(epoch)
    return rest


def seed_step(seed: int, batch: int, rank: int) -> None:
    """Gives batch number `batch` of the run its own random state, so that a resumed run needs no history to be equal."""
    torch.manual_seed((seed * 1_000_003 + batch) * 1_009 + rank)

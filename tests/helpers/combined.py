"""Trained folders of different kinds, and what is expected of their combination: `from combined import save_member`."""

import json
from pathlib import Path

import torch
import transformers
from folders import FACTS
from tiny import VIT, caan_model, image_processor, photo, pixels, sketch, timm_config

from caan import cli
from caan.evaluation.facts import FACTS_FILE
from modeling_caan import CAANModel
from processing_caan import CAANProcessor

SKETCHES = [sketch(), sketch(box=(5, 5, 60, 20)), sketch(box=(30, 8, 50, 60), width=3)]
PHOTOS = [photo(seed=seed) for seed in range(4)]


def vit_126() -> transformers.ViTConfig:
    """A ViT of 126 pixels and patches of 14."""
    return transformers.ViTConfig(**{**VIT, "image_size": 126, "patch_size": 14}, intermediate_size=32)


MEMBERS = {  # name -> fields of the model, and settings of its image processor
    "vit": (
        {"vision_config": vit_126(), "whitening": 0.5},
        {"size": {"height": 126, "width": 126}, "sketch_shade": 0.3, "image_mean": [0.4, 0.5, 0.6]},
    ),
    "cnn": (
        {
            "vision_config": timm_config("resnet18", layers=[1, 1, 1, 1], channels=[8, 8, 8, 16]),
            "hidden_size": 12,
            "share_vision_encoder": True,
            "use_text": False,
        },
        {"size": {"height": 224, "width": 224}, "image_std": [0.2, 0.3, 0.4], "ink_mode": "border", "ink_padding": 0.2},
    ),
    "wide": (
        {"vision_config": "dinov2", "hidden_size": 16, "use_text": False, "pooling": "mean", "whitening": 1.0},
        {"size": {"height": 32, "width": 48}, "resample": 2},
    ),
}


def whiten(model: CAANModel, seed: int) -> CAANModel:
    """Gives each whitening of a model statistics of its own."""
    draws = torch.Generator().manual_seed(seed)
    for whitening in [module for module in model.children() if hasattr(module, "matrix")]:
        size = len(whitening.mean)
        whitening.set(0.1 * torch.randn(size, generator=draws), torch.randn(size, size, generator=draws))
    return model


@torch.no_grad()
def centre(model: CAANModel, processor) -> CAANModel:
    """Takes the mean vector of some pictures off, so that vectors of different pictures differ, as a trained model's do."""
    for modality in ("sketch", "photo"):
        batch = pixels(processor, SKETCHES if modality == "sketch" else PHOTOS, modality=modality)
        tower = model.image_encoder if model.config.share_vision_encoder or modality == "photo" else model.sketch_encoder
        tower.projection.bias -= model.encode(batch, modality).global_token.mean(dim=0)
    return model


def save_member(folder: Path, kind: str, seed: int = 0, facts: dict | None = None, **settings) -> Path:
    """A folder as train.py leaves it, of one of the `MEMBERS`; `settings` are of its image processor."""
    fields, own = MEMBERS[kind]
    processor = image_processor(**{**own, **settings})
    centre(whiten(caan_model(seed, **fields), seed + 5), image_processor(**own)).save_pretrained(folder)
    processor.save_pretrained(folder)
    if facts is not None:
        (folder / FACTS_FILE).write_text(json.dumps({**FACTS, **facts}))
    return folder


def caan_combine(*arguments) -> int:
    """Exit status of the command, whether it returns it or ends the process."""
    try:
        return cli.main(["combine", *map(str, arguments)])
    except SystemExit as end:
        return int(end.code or 0)


@torch.no_grad()
def cosines(model, processor, sketches=SKETCHES, photos=PHOTOS) -> torch.Tensor:
    """Cosine of each sketch with each photo, in float64, of vectors whose length is not relied on."""
    drawn = model.get_sketch_features(pixels(processor, sketches, modality="sketch")).double()
    taken = model.get_image_features(pixels(processor, photos, modality="photo")).double()
    return (drawn @ taken.T) / drawn.norm(dim=1)[:, None] / taken.norm(dim=1)[None]


def member_cosines(folder, **pictures) -> torch.Tensor:
    """`cosines` of a member by itself, each modality by its own processor."""
    processor = CAANProcessor.from_pretrained(folder)
    return cosines(CAANModel.from_pretrained(folder).eval(), getattr(processor, "image_processor", processor), **pictures)


def mean_cosines(weights: dict, **pictures) -> torch.Tensor:
    """What a combination of folder -> weight must give."""
    total = torch.zeros(len(pictures.get("sketches", SKETCHES)), len(pictures.get("photos", PHOTOS)), dtype=torch.float64)
    for folder, weight in weights.items():
        total += weight * member_cosines(folder, **pictures)
    return total / sum(weights.values())

"""Tiny configs, models, tokenizers, pictures and batches for the tests: `from tiny import caan_model`.

A model of these sizes is built in about 0.05 s. Its weights are not those of a fresh model, whose zero biases and near-zero
matrices would make many wrong programs agree with the right one, but noise of a size that every part of the model feels.
"""

import io
import logging
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image, ImageDraw
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, TimmWrapperConfig

from configuration_caan import CAANConfig
from modeling_caan import CAANModel
from processing_caan import CAANImageProcessor, CAANProcessor

HUB_SET = {path.name for path in Path(__file__).parents[2].glob("*_caan.py")}  # what travels with the weights
IMAGE_SIZE = 32
PATCH_SIZE = 8
HIDDEN_SIZE = 8  # of the common space; the towers are 16 wide, the text encoder 12
SENTENCES = [
    "what does a cat look like",
    "a cat is a small animal with fur .",
    "the car has four round wheels .",
    "the dog has a tail and fur .",
]
WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})

VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": IMAGE_SIZE, "patch_size": PATCH_SIZE}
TIMM_VIT = {"img_size": IMAGE_SIZE, "patch_size": PATCH_SIZE, "embed_dim": 16, "depth": 2, "num_heads": 2}


def timm_config(architecture: str, **model_args) -> TimmWrapperConfig:
    """A timm backbone as a transformers config."""
    return TimmWrapperConfig(architecture=architecture, model_args=model_args)


def vision_config(name: str = "vit"):
    """A new config of one of the backbone families, with 16 channels out and, of 32 x 32 pixels, a 4 x 4 or smaller grid."""
    makers = {
        "vit": lambda: transformers.ViTConfig(**VIT, intermediate_size=32),
        "dinov2": lambda: transformers.Dinov2Config(**VIT, mlp_ratio=2),
        "dinov2_with_registers": lambda: transformers.Dinov2WithRegistersConfig(**VIT, mlp_ratio=2, num_register_tokens=3),
        "dinov3_vit": lambda: transformers.DINOv3ViTConfig(**VIT, intermediate_size=32, num_register_tokens=3),
        "clip_vision": lambda: transformers.CLIPVisionConfig(**VIT, intermediate_size=32),
        "siglip_vision": lambda: transformers.SiglipVisionConfig(**VIT, intermediate_size=32),
        "deit": lambda: transformers.DeiTConfig(**VIT, intermediate_size=32),
        "resnet": lambda: transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1]),
        "convnext": lambda: transformers.ConvNextConfig(num_stages=2, hidden_sizes=[8, 16], depths=[1, 1]),
        "timm_vit": lambda: timm_config("vit_tiny_patch16_224", **TIMM_VIT, dynamic_img_size=True),
        "timm_vit_no_class_token": lambda: timm_config(
            "vit_tiny_patch16_224", **TIMM_VIT, dynamic_img_size=True, class_token=False, global_pool="avg"
        ),
        "timm_vit_registers_only": lambda: timm_config(
            "vit_tiny_patch16_224", **TIMM_VIT, dynamic_img_size=True, class_token=False, reg_tokens=3, global_pool="avg"
        ),
        "timm_resnet": lambda: timm_config("resnet18", layers=[1, 1, 1, 1], channels=[8, 8, 8, 16]),
        "timm_swin": lambda: timm_config(
            "swin_tiny_patch4_window7_224",
            img_size=IMAGE_SIZE,
            window_size=4,
            embed_dim=8,
            depths=[1, 1],
            num_heads=[1, 2],
            drop_path_rate=0.0,
        ),
    }
    return makers[name]()


def text_config(**fields):
    """A BERT with 12 channels whose vocabulary is that of `tokenizer()`."""
    defaults = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    return transformers.BertConfig(**{**defaults, "vocab_size": 4 + len(WORDS), "max_position_embeddings": 64, **fields})


def caan_config(**fields) -> CAANConfig:
    """A tiny CAAN with ViT towers and a BERT; `vision_config` may be a name that `vision_config()` knows."""
    if isinstance(fields.get("vision_config"), str):
        fields["vision_config"] = vision_config(fields["vision_config"])
    defaults = {
        "vision_config": vision_config(),
        "text_config": text_config(),
        "hidden_size": HIDDEN_SIZE,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "num_relation_tokens": 4,
        "relation_hidden_size": 8,
    }
    return CAANConfig(**{**defaults, **fields})


@torch.no_grad()
def add_noise(module, seed: int = 0, scale: float = 0.15):
    """Moves every weight by Gaussian noise of its own; returns the module."""
    generator = torch.Generator().manual_seed(seed)
    for weight in module.parameters():
        weight += scale * torch.randn(weight.shape, generator=generator).to(weight)
    return module


def caan_model(seed: int = 0, **fields) -> CAANModel:
    """A tiny CAAN in eval mode, the same for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return add_noise(CAANModel(caan_config(**fields)), seed).eval()


def batch(num_classes: int = 3, per_class: int = 2, seed: int = 0, size: int = IMAGE_SIZE) -> dict:
    """Inputs of a training step of P classes x K items, with two sentences of up to five tokens for each class."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_classes * per_class, 3, size, size)
    lengths = torch.tensor([[5, 3], [4, 5], [2, 4]]).repeat(-(-num_classes // 3), 1)[:num_classes]  # (classes, sentences)
    return {
        "pixel_values": torch.randn(shape, generator=generator),
        "sketch_pixel_values": torch.randn(shape, generator=generator),
        "labels": torch.arange(num_classes).repeat_interleave(per_class),
        "input_ids": torch.randint(4, 4 + len(WORDS), (num_classes, 2, 5), generator=generator),
        "attention_mask": (torch.arange(5) < lengths[..., None]).long(),
    }


def tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer in BERT's form: [CLS] words [SEP]."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    model = models.WordLevel({word: i for i, word in enumerate([*special, *WORDS])}, unk_token="[UNK]")
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=64, **names)


def image_processor(**fields) -> CAANImageProcessor:
    """The image processor at the tiny models' size."""
    return CAANImageProcessor(**{"size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE}, **fields})


def processor() -> CAANProcessor:
    """Image processor and tokenizer."""
    return CAANProcessor(image_processor(), tokenizer())


def sketch(box=(10, 20, 40, 50), size=(64, 64), width: int = 2) -> Image.Image:
    """A black ellipse drawn in `box` (left, top, right, bottom, all inclusive) on white."""
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).ellipse(box, outline="black", width=width)
    return image


def photo(size=(48, 40), seed: int = 0) -> Image.Image:
    """Smooth colour noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


@contextmanager
def complaints():
    """Collects what transformers logs at warning level or above and what Python warns of, as a list of texts."""
    texts = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: texts.append(record.getMessage())
    loggers = [logging.getLogger(name) for name in ("transformers", "transformers_modules", "huggingface_hub", "timm")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield texts
        texts += [str(warning.message) for warning in caught]
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


def tensors(module) -> dict:
    """All weights and buffers, those that are not saved too."""
    return dict(module.named_parameters()) | dict(module.named_buffers())


def assert_same_tensors(first, second):
    """Two models hold the same names and bit-equal values, in buffers that are not saved too."""
    first, second = tensors(first), tensors(second)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def features(model) -> tuple:
    """Sketch and image features of `batch()`."""
    pixels = batch()
    with torch.no_grad():
        return model.get_sketch_features(pixels["sketch_pixel_values"]), model.get_image_features(pixels["pixel_values"])


def pixels(process, images, **options) -> torch.Tensor:
    """`pixel_values` of one image or several."""
    return process(images, return_tensors="pt", **options).pixel_values


def encoded(image: Image.Image, kind="PNG", **options) -> bytes:
    """The bytes of a picture's file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()

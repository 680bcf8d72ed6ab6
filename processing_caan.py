"""Sketches and photos to pixels, and the processor that adds a tokenizer for the descriptions.

A sketch is ink on a plain ground: it is put on white, cropped to its ink, padded to a square, shaded where that is asked for,
then resized, so that size and place of the drawing do not matter. A photo is resized to the square, its aspect ignored, as the
field does.
"""

import os
from io import BytesIO
from urllib.request import Request, urlopen

import numpy as np
from PIL import Image, ImageOps
from transformers import AutoImageProcessor, AutoProcessor, ProcessorMixin
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import PILImageResampling, is_valid_image
from transformers.processing_utils import ImagesKwargs, ProcessingKwargs
from transformers.utils import cached_file

try:  # as a module of the Hub repository
    from .configuration_caan import INSTALLED, CAANConfig
    from .ink_caan import crop_to_ink, shade_silhouette
except ImportError:
    if __package__:
        raise
    from configuration_caan import INSTALLED, CAANConfig  # as an installed module
    from ink_caan import crop_to_ink, shade_silhouette

MODALITIES = ("sketch", "photo")


def open_image(source) -> Image.Image:
    """The decoded picture at a path, http(s) URL or in bytes, or of a PIL image, which may not have been read yet.

    Raises:
        ValueError: naming the file, where it is absent, no picture, truncated, or too large to be one (decompression bomb).
    """
    if isinstance(source, Image.Image):
        name = getattr(source, "filename", None) or "<PIL image>"
    else:
        name = f"<{len(source)} bytes>" if isinstance(source, bytes) else os.fspath(source)
    try:
        if isinstance(source, Image.Image):
            image = source
        elif isinstance(source, bytes):
            image = Image.open(BytesIO(source))
        elif name.startswith(("http://", "https://")):
            request = Request(name, headers={"User-Agent": "caan"})  # some servers refuse Python's own name
            with urlopen(request, timeout=30) as response:
                image = Image.open(BytesIO(response.read()))
        else:
            image = Image.open(name)
        image.load()
    except FileNotFoundError as error:
        raise ValueError(f"No such image file: {name}") from error
    except Exception as error:  # a broken file raises whatever its decoder comes upon: zlib, struct, index errors, ...
        raise ValueError(f"Cannot read the image {name}: {error}. Repair or remove the file.") from error
    if image is not source:
        image.filename = name
    return image


def array_to_image(array) -> Image.Image:
    """An array or tensor (h, w), (h, w, c) or (c, h, w) of 1 to 4 channels, of any number type, as a picture of 8 bits."""
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        array = array.float() if array.is_floating_point() else array  # numpy has no bfloat16
    pixels = np.asarray(array)
    channels = range(1, 5)
    if pixels.ndim == 3 and pixels.shape[0] in channels and pixels.shape[-1] not in channels:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.dtype.kind not in "buif" or pixels.ndim not in (2, 3) or pixels.ndim == 3 and pixels.shape[-1] not in channels:
        raise ValueError(f"a {type(array).__name__} of shape {pixels.shape} and type {pixels.dtype} is no image.")
    if not pixels.size:
        raise ValueError(f"an image of shape {pixels.shape} has no pixels.")
    pixels = to_8_bits(pixels)
    return Image.fromarray(pixels.squeeze(-1) if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels)


def to_8_bits(pixels: np.ndarray) -> np.ndarray:
    """Pixels of any number type as uint8. White is told by the largest value: 1 (floats and booleans), 255, or 65535.

    Floats up to 2 still mean white = 1, since resizing overshoots; negative and larger values are clipped.
    """
    if pixels.dtype == np.uint8:
        return pixels
    pixels, fractional = np.nan_to_num(pixels.astype(np.float32)), pixels.dtype.kind in "bf"
    peak = pixels.max(initial=0)
    white = 1 if fractional and peak <= 2 else 255 if peak <= 255 else 65535
    return (pixels.clip(0, white) * (255 / white)).round().astype(np.uint8)


def flatten_image(image: Image.Image) -> Image.Image:
    """Any mode to upright 8-bit RGB: EXIF rotation applied, transparency on white, 16-bit and float scaled to 8 bits."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(to_8_bits(np.asarray(image))).convert("RGB")
    if image.mode == "La":  # premultiplied: PIL has no direct way to RGBA
        image = image.convert("LA")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


class CAANImagesKwargs(ImagesKwargs, total=False):
    """
    modality (`str`): "sketch" or "photo".
    ink_threshold (`float`): Distance from the ground, as a share of the full range, above which a sketch's pixel is ink.
    ink_padding (`float`): Margin around the ink as a share of its longer side.
    sketch_shade (`float`): Darkness of the shade over what a sketch's outline encloses, from 0 (none) to 1 (black).
    """

    modality: str
    ink_threshold: float | int
    ink_padding: float | int
    sketch_shade: float | int


class CAANImageProcessor(PilBackend):
    """`processor(images, modality="sketch" | "photo", return_tensors="pt")` -> `pixel_values` (batch, 3, height, width).

    `images`: one or a list of PIL images, paths, URLs, arrays or tensors, of any mode and size. A sketch without ink and an
    unreadable file raise a ValueError that names the file, or the position where there is no file.
    """

    valid_kwargs = CAANImagesKwargs
    modality = "photo"
    ink_threshold = 0.1
    ink_padding = 0.05
    sketch_shade = 0.0
    resample = PILImageResampling.BICUBIC
    size = {"height": 224, "width": 224}
    image_mean = [0.5, 0.5, 0.5]
    image_std = [0.5, 0.5, 0.5]
    do_convert_rgb = True
    do_resize = True
    do_rescale = True
    do_normalize = True

    def prepare(self, image, modality=None, ink_threshold=None, ink_padding=None, sketch_shade=None) -> Image.Image:
        """The upright RGB picture before resizing, which training augments; a sketch is cropped to its ink, square, shaded."""
        modality = modality or self.modality
        if modality not in MODALITIES:
            raise ValueError(f'modality must be "sketch" or "photo", got {modality!r}.')
        readable = isinstance(image, (str, os.PathLike, bytes, Image.Image))
        image = flatten_image(open_image(image) if readable else array_to_image(image))
        if modality == "photo":
            return image
        threshold = self.ink_threshold if ink_threshold is None else ink_threshold
        shade = self.sketch_shade if sketch_shade is None else sketch_shade
        if not 0 <= shade <= 1:
            raise ValueError(f"sketch_shade must be in [0, 1], got {shade}.")
        sketch = crop_to_ink(image, threshold, self.ink_padding if ink_padding is None else ink_padding)
        return shade_silhouette(sketch, shade, threshold) if shade else sketch

    def process_image(self, image, modality=None, ink_threshold=None, ink_padding=None, sketch_shade=None, **kwargs):
        """One picture as (3, height, width) uint8, before resizing."""
        return np.asarray(self.prepare(image, modality, ink_threshold, ink_padding, sketch_shade)).transpose(2, 0, 1)

    def fetch_images(self, images):
        """Paths and URLs stay what they are until `prepare`: the stock loader would turn transparent ground black."""
        return images

    def _prepare_images_structure(self, images, expected_ndims: int = 3):
        """One image or several as a flat list."""
        if isinstance(images, (str, os.PathLike, bytes)) or is_valid_image(images) and getattr(images, "ndim", 3) <= 3:
            return [images]
        return list(images)

    def _prepare_image_like_inputs(self, images, *args, **kwargs):
        prepared = []
        for position, image in enumerate(self._prepare_images_structure(images)):
            try:
                prepared.append(self.process_image(image, *args, **kwargs))
            except ValueError as error:
                name = getattr(image, "filename", None) or (image if isinstance(image, (str, os.PathLike)) else None)
                raise ValueError(f"Image {position} of the batch{f' ({name})' if name else ''}: {error}") from error
        if not prepared:
            raise ValueError("There is no image in the batch.")
        return prepared


class CAANProcessorKwargs(ProcessingKwargs, total=False):
    images_kwargs: CAANImagesKwargs
    _defaults = {"text_kwargs": {"padding": True, "truncation": True}}


class CAANProcessor(ProcessorMixin):
    """Image processor and tokenizer in one: `processor(images=..., modality=..., text=..., return_tensors="pt")`."""

    valid_processor_kwargs = CAANProcessorKwargs

    def __init__(self, image_processor=None, tokenizer=None, **kwargs):
        super().__init__(image_processor, tokenizer, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        """The processor; of the form for inference, which has no tokenizer, the image processor alone."""
        hub = {key: kwargs[key] for key in ("revision", "token", "cache_dir", "local_files_only", "subfolder") if key in kwargs}
        found = cached_file(
            pretrained_model_name_or_path, "processor_config.json", _raise_exceptions_for_missing_entries=False, **hub
        )
        load = super().from_pretrained if found else CAANImageProcessor.from_pretrained
        return load(pretrained_model_name_or_path, **kwargs)


CAANImageProcessor.register_for_auto_class("AutoImageProcessor")
CAANProcessor.register_for_auto_class("AutoProcessor")
if INSTALLED:
    # One class for both names: asking for the torchvision backend must not warn that there is only this one.
    classes = {"pil": CAANImageProcessor, "torchvision": CAANImageProcessor}
    AutoImageProcessor.register(CAANConfig, image_processor_classes=classes, exist_ok=True)
    AutoProcessor.register(CAANConfig, CAANProcessor, exist_ok=True)

__all__ = ["CAANImageProcessor", "CAANProcessor", "open_image"]

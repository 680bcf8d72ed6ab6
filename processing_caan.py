"""Sketches and photos to pixels, and the processor that adds a tokenizer for the descriptions.

A sketch is ink on a plain ground: it is put on white, cropped to its ink, padded to a square, shaded where that is asked for,
then resized, so that size and place of the drawing do not matter. A photo is resized to the square, its aspect ignored, as the
field does.
"""

import os
from collections.abc import Iterable, Sequence
from io import BytesIO
from urllib.request import Request, urlopen

import numpy as np
from PIL import Image, ImageOps
from transformers import AutoImageProcessor, AutoProcessor, ProcessorMixin
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import PILImageResampling
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
DEPTHS = (8, 10, 12, 16)  # bits of a sample that are told by the largest one
HEADER = 2**16  # bytes of a PNG in which its chunks before the picture are looked for
MAX_SAMPLE_VALUE, BITS_PER_SAMPLE = 281, 258  # tags of TIFF
CHANNELS = range(1, 5)  # of an array that is a picture


ACCEPTED = (
    "a picture is a path, a URL, a PIL image, an array or tensor, bytes, an open file, a row {bytes, path} of a data set, or "
    "what gradio's editor gives"
)


def as_batch(images) -> tuple[Sequence, bool]:
    """One picture or several, told apart in one place: the pictures, and whether it was a single one.

    Several are any sequence or iterable of pictures, and an array (n, h, w) or (n, h, w, c) of them. A sequence stays as it is,
    so that a lazy one, such as a column of a data set, is read where a picture is needed.

    Raises:
        ValueError: it is neither; names its type.
    """
    if isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, dict)) or hasattr(images, "read"):
        return [images], True
    if hasattr(images, "ndim") and hasattr(images, "shape") and hasattr(images, "dtype") and not hasattr(images, "iloc"):
        if str(images.dtype) == "object":
            return list(images), False
        one = images.ndim == 2 or images.ndim == 3 and (images.shape[-1] in CHANNELS or images.shape[0] in CHANNELS)
        if not one and images.ndim not in (3, 4):
            raise ValueError(f"A {type(images).__name__} of shape {tuple(images.shape)} is no picture and no batch of them.")
        return ([images], True) if one else (list(images), False)
    if isinstance(images, Sequence):
        return images, False
    if isinstance(images, Iterable):
        return list(images), False
    raise ValueError(f"{describe(images)} is no picture: {ACCEPTED}.")


def describe(value) -> str:
    """A value by its type, in a few words."""
    return (
        "None"
        if value is None
        else f"a dict of {', '.join(map(str, value))}"
        if isinstance(value, dict)
        else (f"a {type(value).__name__}")
    )


def unpack(source):
    """A picture in a form that `open_image` or `array_to_image` read; out of rows, editors and files.

    Raises:
        ValueError: it is no picture; names its type.
    """
    if isinstance(source, dict):
        if "composite" in source:
            if source["composite"] is None:
                raise ValueError("the drawing is empty: nothing has been drawn yet.")
            return unpack(source["composite"])
        if {"bytes", "path"} & source.keys():
            inside = source.get("bytes") if source.get("bytes") is not None else source.get("path")
            if inside is None:
                raise ValueError("a row with neither bytes nor a path holds no picture.")
            return inside
    if isinstance(source, (bytearray, memoryview)):
        return bytes(source)
    if hasattr(source, "read") and not isinstance(source, Image.Image):
        return read_file(source)
    if isinstance(source, (str, os.PathLike, bytes, Image.Image)) or hasattr(source, "shape") or hasattr(source, "__array__"):
        return source
    raise ValueError(f"{describe(source)} is no picture: {ACCEPTED}.")


def read_file(file) -> bytes:
    """The bytes of an open file from its start, where it can go there. Raises ValueError for a file of text."""
    if hasattr(file, "seek") and (not hasattr(file, "seekable") or file.seekable()):
        file.seek(0)
    content = file.read()
    if not isinstance(content, (bytes, bytearray)):
        raise ValueError(f"{getattr(file, 'name', 'the file')} is open as text: open it in binary mode, 'rb'.")
    return bytes(content)


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
        if (depth := stated_depth(image)) is not None:
            image.info["depth"] = depth
        image.load()
    except FileNotFoundError as error:
        raise ValueError(f"No such image file: {name}") from error
    except Exception as error:  # a broken file raises whatever its decoder comes upon: zlib, struct, index errors, ...
        raise ValueError(f"Cannot read the image {name}: {error}. Repair or remove the file.") from error
    if image is not source:
        image.filename = name  # type: ignore[attr-defined]
    return image


def array_to_image(array) -> Image.Image:
    """An array or tensor (h, w), (h, w, c) or (c, h, w) of 1 to 4 channels, of any number type, as a picture of 8 bits."""
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        array = array.float() if array.is_floating_point() else array  # numpy has no bfloat16
    pixels = np.asarray(array)
    if pixels.ndim == 3 and pixels.shape[0] in CHANNELS and pixels.shape[-1] not in CHANNELS:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.dtype.kind not in "buif" or pixels.ndim not in (2, 3) or pixels.ndim == 3 and pixels.shape[-1] not in CHANNELS:
        raise ValueError(f"a {type(array).__name__} of shape {pixels.shape} and type {pixels.dtype} is no image.")
    if not pixels.size:
        raise ValueError(f"an image of shape {pixels.shape} has no pixels.")
    pixels = to_8_bits(pixels)
    return Image.fromarray(pixels.squeeze(-1) if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels)


def to_8_bits(pixels: np.ndarray, bits: int | None = None) -> np.ndarray:
    """Pixels of any number type as uint8; negative values and those above white are clipped.

    Args:
        bits: depth that the file states; white is 2^bits - 1. Where it does not say: booleans and floats up to 2 have white 1
            (resizing overshoots); otherwise white is the largest value of the smallest of 8, 10, 12 and 16 bits that holds
            the picture: cameras and scanners put 10 or 12 bits into 16, and taken for 16 these would be nearly black.
    """
    if pixels.dtype == np.uint8:
        return pixels
    pixels, fractional = np.nan_to_num(pixels.astype(np.float32)), pixels.dtype.kind in "bf"
    peak = pixels.max(initial=0)
    if bits is None:
        bits = next((depth for depth in DEPTHS if peak < 2**depth), DEPTHS[-1])
    white = 1 if fractional and peak <= 2 else 2**bits - 1
    return (pixels.clip(0, white) * (255 / white)).round().astype(np.uint8)


def stated_depth(image: Image.Image) -> int | None:
    """Bits of a sample that are in use, as the file of a picture of 16 bits says: in PNG's chunk sBIT, in TIFF's MaxSampleValue
    or BitsPerSample. None where it does not say, and for a picture that is no file any more."""
    if not image.mode.startswith("I"):
        return None
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        most, bits = (np.max(tags.get(tag, 0)) for tag in (MAX_SAMPLE_VALUE, BITS_PER_SAMPLE))
        stated = int(most).bit_length() or int(bits)
        return stated if 8 < stated < 16 else None
    file = getattr(image, "fp", None)
    if image.format != "PNG" or file is None:
        return None
    place = file.tell()
    file.seek(0)
    header = file.read(HEADER).partition(b"IDAT")[0]
    file.seek(place)
    bits = header.partition(b"sBIT")[2][:1]
    return bits[0] if bits and 0 < bits[0] <= 16 else None


def flatten_image(image: Image.Image) -> Image.Image:
    """Any mode to upright 8-bit RGB: EXIF rotation applied, transparency on white, 16-bit and float scaled to 8 bits."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(to_8_bits(np.asarray(image), image.info.get("depth"))).convert("RGB")
    if image.mode == "La":  # premultiplied: PIL has no direct way to RGBA
        image = image.convert("LA")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


class CAANImagesKwargs(ImagesKwargs, total=False):  # type: ignore[call-arg]
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
        image = unpack(image)
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
        return list(as_batch(images)[0])

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


class CAANProcessorKwargs(ProcessingKwargs, total=False):  # type: ignore[call-arg]
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

__all__ = ["CAANImageProcessor", "CAANProcessor", "as_batch", "open_image"]

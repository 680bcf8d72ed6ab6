"""Sketches and photos to pixels, and the processor that adds a tokenizer for the descriptions.

A sketch is ink on a plain ground: it is put on white, cropped to its ink, padded to a square, shaded where that is asked for,
then resized, so that size and place of the drawing do not matter. A photo is resized to the square, its aspect ignored, as the
field does.
"""

import os
import re
import subprocess
import sys
import warnings
import zlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from io import BytesIO, TextIOBase
from typing import Any
from urllib.request import Request, urlopen
from xml.parsers import expat

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from transformers import AutoImageProcessor, AutoProcessor, BatchFeature, ProcessorMixin
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import PILImageResampling
from transformers.processing_utils import ImagesKwargs, ProcessingKwargs
from transformers.utils import cached_file

try:  # as a module of the Hub repository
    from .configuration_caan import INSTALLED, CAANConfig, CAANEnsembleConfig
    from .ink_caan import crop_to_ink, doubt, find_drawing, is_clean, shade_silhouette, square_of
except ImportError:
    if __package__:
        raise
    from configuration_caan import INSTALLED, CAANConfig, CAANEnsembleConfig  # as an installed module
    from ink_caan import crop_to_ink, doubt, find_drawing, is_clean, shade_silhouette, square_of

MODALITIES = ("sketch", "photo")
INK_MODES = ("auto", "border")
NO_DRAWING = 0.9975  # doubt from which a picture is refused as a sketch
TELLING_SIDE = 64  # pixels of the shorter side from which that can be certain
SKETCH_SIDE = 700  # pixels of the shorter side to which a camera's JPEG of a sketch is decoded at least
INK_OPTIONS = ("ink_threshold", "ink_padding", "sketch_shade", "ink_mode", "ink_width")
SOURCES = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image)  # of one picture; so are open files
CHANNELS = range(1, 5)
ACCEPTED = (
    "a picture is a path, a URL, a PIL image, an array or tensor, bytes, an open file, a row {bytes, path} of a data set, or "
    "what gradio's editor gives"
)
NAME_LENGTH = 200  # characters of a name in an error: a picture in a URL may have millions
TIFF_BITS_PER_SAMPLE, TIFF_LARGEST_VALUE = 258, 281
SCALED_FORMATS = ("PPM", "JPEG2000")  # Pillow has spread their values over all 16 bits
REDUCED_FORMATS = ("JPEG", "MPO")  # Pillow decodes them at a half, quarter or eighth of their size
HEAD_BYTES = 2**16  # of a file, in which its brand or its root element lies
AVIF_BRANDS = {b"avif", b"avis"}
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
SVG_SIDE = 1024  # pixels of an SVG's longer side
SVG_BYTES, SVG_SECONDS, SVG_MEMORY = 10 * 2**20, 20, 2**30  # the most that one drawing takes
# Run in a process of its own: a drawing of a kilobyte can ask resvg for terabytes, and resvg then ends its process.
SVG_RENDERER = """
import sys
folder, side, seconds, memory = sys.argv[1], *map(int, sys.argv[2:])
try:
    import resource
    for limit, value in ("RLIMIT_AS", memory), ("RLIMIT_CPU", seconds), ("RLIMIT_CORE", 0):
        resource.setrlimit(getattr(resource, limit), (value, value))
except (ImportError, AttributeError, ValueError, OSError):  # not on this system: the parent's clock remains
    pass
sys.path.insert(0, folder)
from resvg_py import svg_to_bytes
svg = sys.stdin.buffer.read().decode()
sys.stdout.buffer.write(bytes(svg_to_bytes(svg_string=svg, width=side, height=side, skip_system_fonts=True)))
"""


# ---------------------------------------------------------------------------------------------------- one picture or several


def as_batch(images: Any) -> tuple[Sequence, bool]:
    """The pictures of a batch, and whether `images` was one picture and no batch.

    One picture is a PIL image, path, URL, bytes, open file or dict, and an array or tensor of two axes, or of three of which
    the last or the first counts 1 to 4 channels. Several are a list, tuple, iterator or other iterable of pictures, and an
    array (n, h, w), (n, h, w, c) or (n, c, h, w). A sequence that makes its pictures when asked stays as it is.

    Raises:
        ValueError: naming the type, of what is neither; of an array (2, h, w) or (4, h, w), which may be either.
    """
    if hasattr(images, "read") or isinstance(images, (*SOURCES, Mapping)):
        return [images], True
    lazy = hasattr(images, "__getitem__") and hasattr(images, "__len__")
    table = hasattr(images, "columns") or hasattr(images, "column_names")  # of pandas, of datasets: its rows are no pictures
    if table or isinstance(images, (set, frozenset)) or not (lazy or isinstance(images, Iterable)):
        cure = 'give its column of pictures, such as table["image"]' if table else ACCEPTED
        raise ValueError(f"{describe(images)} is no picture: {cure}.")
    if hasattr(images, "__array__"):
        return split_array(images)
    return images if lazy else list(images), False


def split_array(array: Any) -> tuple[Sequence, bool]:
    """`as_batch` of an array, a tensor or a pandas Series."""
    if not hasattr(array, "detach") and np.asarray(array).dtype.kind in "OUS":  # objects or strings: pictures or paths
        return ([array.item()], True) if not array.ndim else (list(array), False)
    first, last = (array.shape[0], array.shape[-1]) if array.ndim else (0, 0)
    if array.ndim == 4:
        return list(array), False
    if array.ndim != 3 or last in CHANNELS:
        return [array], True
    if first in (2, 4) and not hasattr(array, "detach"):  # tensors have their channels first
        raise ValueError(
            f"{describe(array)} may be one picture of {first} channels or {first} gray pictures: "
            f"give (h, w, {first}) for one, a list or ({first}, h, w, 1) for several."
        )
    return ([array], True) if first in CHANNELS else (list(array), False)


def describe(value: Any) -> str:
    """A value in an error: its type, with the keys of a dict and the shape of an array."""
    if value is None:
        return "None"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} of {', '.join(map(str, value)) or 'nothing'}"
    shape = (
        f" of shape {tuple(value.shape)} and type {value.dtype}" if hasattr(value, "shape") and hasattr(value, "dtype") else ""
    )
    return f"a {type(value).__name__}{shape}"


# ------------------------------------------------------------------------------------------------------- reading one picture


def read_picture(source: Any, at_least: int | None = None) -> Image.Image:
    """The decoded picture of any single form that `as_batch` lists, as it is: no rotation, no change of mode.

    Args:
        at_least: as for `open_image`.

    Raises:
        ValueError: naming the file, or the type of what is no picture.
    """
    if isinstance(source, Mapping):
        return read_picture(unwrap(source), at_least)
    if hasattr(source, "__array__") and not isinstance(source, SOURCES):
        return array_to_image(source)
    return open_image(source, at_least)


def unwrap(row: Mapping) -> Any:
    """The picture in a row {bytes, path} of a data set, or in gradio's {background, layers, composite}."""
    if "composite" in row:
        keys, empty = ("composite", "background"), "the drawing is empty: nothing has been drawn yet"
    elif "bytes" in row or "path" in row:
        keys, empty = ("bytes", "path"), "a row with neither bytes nor a path holds no picture"
    else:
        cure = 'give its "image"' if "image" in row else ACCEPTED
        raise ValueError(f"{describe(row)} is no picture: {cure}.")
    found = next((row[key] for key in keys if row.get(key) is not None), None)
    if found is None:
        raise ValueError(f"{empty}.")
    if isinstance(found, Mapping):
        raise ValueError(f"a dict within a dict is no picture: {ACCEPTED}.")
    return found


def open_image(source: Any, at_least: int | None = None) -> Image.Image:
    """The decoded picture at a path or URL, in bytes or an open binary file, or of a PIL image not read yet.

    Args:
        at_least: pixels of the shorter side that suffice. A JPEG is then decoded at a half, quarter or eighth of its size where
            that leaves as many, in a fraction of the time and memory. None: at full size. PIL images stay as they are.

    Raises:
        ValueError: naming the file, where it is absent, no picture, truncated, or too large to be one (decompression bomb);
            with the cure, where its format needs a package that is not installed.
    """
    if at_least is not None and at_least < 1:
        raise ValueError(f"at_least must be 1 or more pixels, got {at_least}.")
    if not hasattr(source, "read") and not isinstance(source, SOURCES):
        raise ValueError(f"{describe(source)} is no picture: {ACCEPTED}.")
    name = image_name(source)
    try:
        image = source if isinstance(source, Image.Image) else open_file(as_file(source), at_least)
        bits = significant_bits(image) if deep(image) else None
        image.load()
    except FileNotFoundError as error:
        link = f", a broken link to {os.readlink(source)}" if is_link(source) else ""
        raise ValueError(f"No such image file: {name}{link}") from error
    except ImportError as error:
        raise ValueError(f"Cannot read the image {name}: {error}") from error
    except Exception as error:  # a broken file raises whatever its decoder comes upon: zlib, struct, index errors, ...
        said = " ".join(str(error).split()).removesuffix(".")  # libheif's has line ends
        raise ValueError(f"Cannot read the image {name}: {said}. Repair or remove the file.") from error
    if bits is not None:
        image.info["significant_bits"] = bits
    if image is not source:
        image.filename = name  # type: ignore[attr-defined]
    return image


def open_file(file: Any, at_least: int | None) -> Image.Image:
    """The picture in what `as_file` gives: by Pillow, or where that does not know it, by the package that does."""
    try:
        image = Image.open(file)
    except UnidentifiedImageError:
        other = open_other(file)
        if other is None:
            raise
        return other
    if at_least and image.format in REDUCED_FORMATS:
        image.draft("RGB", (at_least, at_least))
    return image


def image_name(source: Any) -> str:
    """What an error calls a picture: its file, or what it is made of."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"<{len(source)} bytes>"
    if isinstance(source, Image.Image):
        name = getattr(source, "filename", None) or "<PIL image>"
    elif isinstance(source, (str, os.PathLike)):
        name = source
    else:  # a file: one without a name on disk has none, or a number
        name = getattr(source, "name", None)
        name = name if isinstance(name, (str, os.PathLike)) else f"<{type(source).__name__}>"
    name = os.fsdecode(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")  # can be printed
    return name if len(name) <= NAME_LENGTH else f"{name[:NAME_LENGTH]}..."


def has_name(source: Any) -> bool:
    """Whether `image_name` is the name of a file or URL."""
    return isinstance(source, (str, os.PathLike)) or bool(getattr(source, "filename", None))


def as_file(source: Any) -> Any:
    """What `Image.open` reads: a path, or the bytes of a URL, of bytes in memory or of an open file, from its beginning."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return BytesIO(source)
    if hasattr(source, "read"):
        if hasattr(source, "seekable") and source.seekable():
            source.seek(0)
        if isinstance(source, TextIOBase):
            raise ValueError('it is open as text; open it with mode "rb"')
        return BytesIO(source.read())
    name = os.fsdecode(source)
    if not name.startswith(("http://", "https://", "data:")):
        return source
    with urlopen(Request(name, headers={"User-Agent": "caan"}), timeout=30) as response:  # some refuse Python's own name
        return BytesIO(response.read())


def is_link(source: Any) -> bool:
    return isinstance(source, (str, os.PathLike)) and os.path.islink(source)


# ------------------------------------------------------------------------------------------ formats that Pillow does not read


def open_other(file: Any) -> Image.Image | None:
    """A HEIC picture by pillow-heif, an SVG drawing by resvg-py; both are known by their content. None: it is neither.

    Raises:
        ImportError: what the format needs is not installed; the message is the cure.
        Exception: whatever the decoder of a broken file raises.
    """
    with file if isinstance(file, BytesIO) else open(file, "rb") as stream:
        stream.seek(0)
        head = stream.read(HEAD_BYTES)
        stream.seek(0)
        brands = iso_brands(head)
        if brands & AVIF_BRANDS:  # of the HEIF family too, but Pillow's
            if find_spec("PIL._avif") is None:
                raise ImportError('it is AVIF, which Pillow reads from 11.3 on. Cure: pip install "pillow>=11.3".')
        elif brands & HEIF_BRANDS:
            return read_heif(stream)
        elif is_svg(head):
            return render_svg(stream.read(SVG_BYTES + 1))
    return None


def iso_brands(head: bytes) -> set[bytes]:
    """The brands that an ISO media file (HEIC, AVIF, also MP4) begins with; empty for other files."""
    if head[4:8] != b"ftyp":
        return set()
    return {head[place : place + 4] for place in range(8, min(int.from_bytes(head[:4], "big"), len(head)), 4)}


def read_heif(stream: Any) -> Image.Image:
    """A HEIC picture, upright: pillow-heif turns it and sets its EXIF orientation to 1. 10 and 12 bits a colour become 8."""
    try:  # in such a block transformers' check of imports lets it be absent
        import pillow_heif
    except ImportError as error:
        raise ImportError(f"it is HEIC, which Pillow does not read ({error}). Cure: pip install pillow-heif.") from error
    file = pillow_heif.open_heif(stream)
    pixels, limit = file.size[0] * file.size[1], Image.MAX_IMAGE_PIXELS
    if limit and pixels > 2 * limit:  # where Pillow refuses too
        raise Image.DecompressionBombError(f"it has {pixels} pixels and may be a decompression bomb; the limit is {2 * limit}")
    image = file.to_pillow()
    if deep(image):  # gray, of 10 or 12 bits, spread over 16
        image.info["significant_bits"] = 16
    return image


def unzip(data: bytes, limit: int) -> bytes:
    """The first `limit` bytes of gzipped data (.svgz); other data as it is."""
    return zlib.decompressobj(31).decompress(data, limit) if data.startswith(b"\x1f\x8b") else data


def is_svg(head: bytes) -> bool:
    """Whether the first element of an XML file is `svg`, after whatever declaration, comments and document type."""
    roots: list[str] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, attributes: roots.append(name)
    try:
        parser.Parse(unzip(head, HEAD_BYTES).lstrip())
    except (expat.ExpatError, zlib.error, ValueError, LookupError):  # no XML, or broken further on
        pass
    return bool(roots) and local_name(roots[0]) == "svg"


def local_name(name: str) -> str:
    return name.rpartition(":")[2]


def svg_text(data: bytes) -> str:
    """The text of an SVG file in any encoding that it declares."""
    data = unzip(data, SVG_BYTES + 1).lstrip()
    if len(data) > SVG_BYTES:
        raise ValueError(f"its drawing is larger than {SVG_BYTES >> 20} MB")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    declared = re.match(rb"""(?:\xef\xbb\xbf)?<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.-]+)""", data)
    encoding = declared[1].decode() if declared else "utf-8"
    return data.decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)


def check_svg(text: str) -> None:
    """Raises an error for broken XML, for a drawing that refers to other files, and for entities that would fill the memory."""

    def check_element(name: str, attributes: dict[str, str]) -> None:
        if local_name(name) in ("image", "feImage", "use"):
            for key, value in attributes.items():
                if local_name(key) == "href" and value and not value.startswith(("#", "data:")):
                    raise ValueError(f"it refers to another file, {value[:NAME_LENGTH]!r}, which is not read")

    def check_entity(name: str, is_parameter: bool, value: str | None, *place: Any) -> None:
        if value and ("&" in value or len(value) * text.count("&") > SVG_BYTES):
            raise ValueError(f"its entity {name[:NAME_LENGTH]!r} expands too far")

    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler, parser.EntityDeclHandler = check_element, check_entity
    parser.Parse(text.encode(), True)


def render_svg(data: bytes) -> Image.Image:
    """An SVG drawing on a transparent ground, `SVG_SIDE` pixels on its longer side.

    Nothing but the drawing itself is read, no fonts either: text that is no outline is left out.
    """
    package = find_spec("resvg_py")
    if package is None or package.origin is None:
        raise ImportError("it is an SVG drawing, which Pillow does not read. Cure: pip install resvg-py.")
    text = svg_text(data)
    check_svg(text)
    arguments = [os.path.dirname(os.path.dirname(package.origin)), SVG_SIDE, SVG_SECONDS, SVG_MEMORY]
    command = [sys.executable, "-I", "-S", "-c", SVG_RENDERER, *map(str, arguments)]
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=SVG_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"it takes more than {SVG_SECONDS} s to draw") from error
    if done.returncode:
        *_, last = done.stderr.decode(errors="replace").strip().splitlines() or [""]
        said = last.removeprefix("ValueError: ") if last.startswith("ValueError: ") else None
        raise ValueError(said or f"it takes more than {SVG_MEMORY >> 30} GB to draw, or ends its renderer")
    return Image.open(BytesIO(done.stdout))


# ---------------------------------------------------------------------------------------------------------- depth and colours


def array_to_image(array: Any) -> Image.Image:
    """An array or tensor (h, w), (h, w, c) or (c, h, w) of 1 to 4 channels, of any number type, as a picture of 8 bits."""
    kind = type(array).__name__
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        array = array.float() if array.is_floating_point() else array  # numpy has no bfloat16
    pixels = np.asarray(array)
    if pixels.ndim == 3 and pixels.shape[0] in CHANNELS and pixels.shape[-1] not in CHANNELS:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.dtype.kind not in "buif" or pixels.ndim not in (2, 3) or pixels.ndim == 3 and pixels.shape[-1] not in CHANNELS:
        raise ValueError(f"a {kind} of shape {pixels.shape} and type {pixels.dtype} is no image: {ACCEPTED}.")
    if not pixels.size:
        raise ValueError(f"an image of shape {pixels.shape} has no pixels.")
    pixels = np.ascontiguousarray(to_8_bits(pixels))
    return Image.fromarray(pixels.squeeze(-1) if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels)


def to_8_bits(pixels: np.ndarray, bits: int | None = None) -> np.ndarray:
    """Pixels of any number type as uint8: 0 is black, `white_value` is white, what lies outside is clipped, NaN is black."""
    if pixels.dtype == np.uint8:
        return pixels
    white = white_value(pixels, bits)
    pixels = np.nan_to_num(pixels.astype(np.float32), posinf=white)
    return (pixels.clip(0, white) * (255 / white)).round().astype(np.uint8)


def white_value(pixels: np.ndarray, bits: int | None = None) -> float:
    """The value that means white.

    1. Where the file says how many bits its values have (`bits`), their largest value, unless a pixel is above it: then the
       values were spread over the whole type, as the PNG standard asks for.
    2. Else the type's largest value: 1 for booleans, 65535 for uint16, 32767 for int16. Types of more bits, and floats, do not
       tell: white is then 1 for floats up to 2 (resizing overshoots), 255 up to 255 (floats: 510), 65535 or 2^32 - 1.
    3. But scanners and cameras put 10 or 12 bits into 16: where the largest value is exactly 1023 or 4095, as clipped white
       is, or 1020 or 4080, as 8 bits moved up are, they have that many. Every other picture stays as dark as its type says.
    """
    kind, size = pixels.dtype.kind, pixels.dtype.itemsize
    if kind == "b":
        return 1
    peak = float(pixels.max(initial=0, where=np.isfinite(pixels)) if kind == "f" else pixels.max(initial=0))
    if bits is not None and peak < 2**bits:
        return 2**bits - 1
    if kind == "f" and peak <= 2:
        return 1
    if size == 1 or (kind == "f" or size > 2) and peak <= (510 if kind == "f" else 255):
        return 127 if kind == "i" and size == 1 else 255
    if bits is None:
        for depth in (10, 12):
            if peak in (2**depth - 1, 255 << depth - 8):
                return 2**depth - 1
    if kind == "i" and size == 2:
        return 32767
    return next((white for white in (2**16 - 1, 2**32 - 1) if peak <= white), peak)


def deep(image: Image.Image) -> bool:
    """Whether a picture has more than 8 bits."""
    return image.mode.startswith("I") or image.mode == "F"


def significant_bits(image: Image.Image) -> int | None:
    """Bits of a picture's values as its file gives them, before it is decoded; None where it does not say."""
    if image.format in SCALED_FORMATS:
        return 16
    if image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        bits = tags.get(TIFF_BITS_PER_SAMPLE, (16,))[0]
        largest = tags.get(TIFF_LARGEST_VALUE)
        largest = largest[0] if isinstance(largest, tuple) else largest
        return int(largest).bit_length() if largest else bits if 8 < bits < 16 else None
    file = getattr(image, "fp", None)  # none or closed where the caller has decoded it
    return png_significant_bits(file) if image.format == "PNG" and file is not None and not file.closed else None


def png_significant_bits(file: Any) -> int | None:
    """Bits in the sBIT chunk of a PNG file, which Pillow does not keep."""
    place, bits = file.tell(), None
    file.seek(8)
    while len(head := file.read(8)) == 8 and head[4:] not in (b"IDAT", b"IEND"):
        data = file.read(int.from_bytes(head[:4], "big") + 4)  # and the checksum
        if head[4:] == b"sBIT" and 0 < data[0] <= 16:
            bits = data[0]
    file.seek(place)
    return bits


def flatten_image(image: Image.Image, ground: str = "white") -> Image.Image:
    """Any mode to upright 8-bit RGB: EXIF rotation applied, transparency on a ground, deep values scaled (`white_value`)."""
    image = ImageOps.exif_transpose(image)
    if deep(image):
        values = np.asarray(image)
        pixels = to_8_bits(values, image.info.get("significant_bits"))
        if isinstance(clear := image.info.get("transparency"), int):
            pixels = np.where(values == clear, np.uint8(255), pixels)
        return Image.fromarray(pixels).convert("RGB")
    if image.mode == "La":  # premultiplied: PIL has no direct way to RGBA
        image = image.convert("LA")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, ground), image).convert("RGB")
    return image.convert("RGB")


# -------------------------------------------------------------------------------------------------------------- sketches


def check_ink_options(threshold: float, padding: float, shade: float, mode: str, width: float) -> None:
    """Raises a ValueError that names the option and its range."""
    if not 0 <= shade <= 1:
        raise ValueError(f"sketch_shade must be in [0, 1], got {shade}.")
    if not 0 <= threshold < 1:
        raise ValueError(f"ink_threshold must be in [0, 1), got {threshold}.")
    if not 0 <= padding < float("inf"):
        raise ValueError(f"ink_padding must be at least 0, got {padding}.")
    if mode not in INK_MODES:
        raise ValueError(f'ink_mode must be "auto" or "border", got {mode!r}.')
    if not 0 <= width <= 0.1:
        raise ValueError(f"ink_width must be in [0, 0.1], got {width}.")


def take_sketch(image: Image.Image, threshold: float, padding: float, mode: str, width: float) -> Image.Image:
    """The white square RGB of the drawing in a picture of any mode, before it is shaded.

    Raises:
        ValueError: there is no ink, or the picture is a photo of something else (`ink_caan.doubt`). A UserWarning where that is
            not certain.
    """
    if mode == "border":
        return crop_to_ink(flatten_image(image), threshold, padding)
    image = flatten_image(image, visible_ground(image))
    if is_clean(image, width):
        return crop_to_ink(image, threshold, padding)
    drawing = find_drawing(image)
    cure = '`caan figures sketches FILE` shows what was found in it; ink_mode="border" takes it as it is.'
    unsure = doubt(drawing.features)
    if unsure > NO_DRAWING and min(image.size) >= TELLING_SIDE:
        raise ValueError(f"the sketch is no drawing but a photo of something: {cure}")
    if unsure > 0.5:
        warnings.warn(f"the sketch may be no drawing ({unsure:.0%} sure): {cure}", stacklevel=2)
    return square_of(drawing, padding, width)


def visible_ground(image: Image.Image) -> str:
    """The ground to put a transparent sketch on: black where all that is seen is nearly white, else white."""
    if image.mode not in ("RGBA", "LA", "PA", "RGBa", "La") and "transparency" not in image.info or deep(image):
        return "white"
    pixels = np.asarray((image.convert("LA") if image.mode == "La" else image).convert("RGBA"))
    seen = pixels[pixels[..., 3] > 127]
    return (
        "black"
        if len(seen) < pixels[..., 3].size and len(seen) and np.quantile(seen[:, :3].min(axis=1), 0.05) > 225
        else "white"
    )


# ---------------------------------------------------------------------------------------------------------------- processors


def read_once(image: Any, modality: str) -> Any:
    """A picture in a form that several processors can read, without decoding a photo or emptying an open file again.

    What cannot be read stays as it is: the first processor's error names it.
    """
    try:
        if modality == "photo":
            return read_picture(image)
        return as_file(image).getvalue() if hasattr(image, "read") else image
    except ValueError:
        return image


def side_by_side(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures (batch, 3, h_i, w_i) from left to right, 0 below the lower ones: (batch, 3, largest h_i, sum of w_i)."""
    height = max(part.shape[-2] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, 0), (0, height - part.shape[-2]), (0, 0))) for part in parts], axis=-1)


class CAANImagesKwargs(ImagesKwargs, total=False):  # type: ignore[call-arg]
    """
    modality (`str`): "sketch" or "photo".
    ink_threshold (`float`): Distance from the ground, as a share of the full range, above which a sketch's pixel is ink.
    ink_padding (`float`): Margin around the ink as a share of its longer side.
    ink_mode (`str`): "auto" finds the drawing in any picture of one (`ink_caan.py`) and takes clean drawings as they are;
        "border" takes the ground for white, or black where the border is dark, as it was before there was this option.
    ink_width (`float`): Least width of strokes as a share of the drawing's longer side; thinner ones are thickened ("auto").
    sketch_shade (`float`): Darkness of the shade over what a sketch's outline encloses, from 0 (none) to 1 (black).
    """

    modality: str
    ink_threshold: float | int
    ink_padding: float | int
    ink_mode: str
    ink_width: float | int
    sketch_shade: float | int


class CAANImageProcessor(PilBackend):
    """`processor(images, modality="sketch" | "photo", return_tensors="pt")` -> `pixel_values` (batch, 3, height, width).

    `images`: one picture or several, in the forms that `as_batch` lists, of any mode and size. A sketch without ink and an
    unreadable file raise a ValueError that names the file, or the position where there is no file.

    The processor of a combined model (`CAANEnsembleConfig`) has `parts`, the settings of an image processor each: a picture is
    made by each of these, and what they make lies side by side from the left, at the top, in `pixel_values` of `size`. Its
    other settings are those of the heaviest member, which explains what was found; options of a call are for all parts.
    """

    valid_kwargs = CAANImagesKwargs
    parts: list[dict] | None = None
    modality = "photo"
    ink_threshold = 0.1
    ink_padding = 0.05
    ink_mode = "auto"
    ink_width = 0.01
    sketch_shade = 0.0
    resample = PILImageResampling.BICUBIC
    size = {"height": 224, "width": 224}
    image_mean = [0.5, 0.5, 0.5]
    image_std = [0.5, 0.5, 0.5]
    do_convert_rgb = True
    do_resize = True
    do_rescale = True
    do_normalize = True

    def prepare(
        self,
        image: Any,
        modality: str | None = None,
        ink_threshold: float | None = None,
        ink_padding: float | None = None,
        sketch_shade: float | None = None,
        ink_mode: str | None = None,
        ink_width: float | None = None,
    ) -> Image.Image:
        """The upright RGB picture before resizing, which training augments; a sketch is cropped to its ink, square, shaded."""
        modality = modality or self.modality
        if modality not in MODALITIES:
            raise ValueError(f'modality must be "sketch" or "photo", got {modality!r}.')
        if modality == "photo":
            return flatten_image(read_picture(image))
        threshold = self.ink_threshold if ink_threshold is None else ink_threshold
        padding = self.ink_padding if ink_padding is None else ink_padding
        shade = self.sketch_shade if sketch_shade is None else sketch_shade
        mode = ink_mode or self.ink_mode
        width = self.ink_width if ink_width is None else ink_width
        check_ink_options(threshold, padding, shade, mode, width)
        picture = read_picture(image, at_least=None if mode == "border" else SKETCH_SIDE)
        sketch = take_sketch(picture, threshold, padding, mode, width)
        return shade_silhouette(sketch, shade, threshold) if shade else sketch

    def preprocess(self, images, *args, **options):
        """`pixel_values` of pictures, by this processor or, where it has `parts`, by those of the members.

        Raises ValueError where options of the call, such as `size`, give parts of a size that the model does not take.
        """
        if not self.parts:
            return super().preprocess(images, *args, **options)
        wanted = options.pop("return_tensors", None)
        options["modality"] = options.get("modality") or self.modality
        pictures = [read_once(image, options["modality"]) for image in as_batch(images)[0]]
        processors = [type(self)(**settings) for settings in self.parts]
        made = [processor(pictures, *args, return_tensors="np", **options)["pixel_values"] for processor in processors]
        pixels = side_by_side(made)
        if pixels.shape[-2:] != (self.size["height"], self.size["width"]):
            raise ValueError(
                f"The parts of a combined model's pictures have sizes of their own, together {self.size['height']} x "
                f"{self.size['width']}, and not {pixels.shape[-2]} x {pixels.shape[-1]}: leave size and do_resize out."
            )
        return BatchFeature({"pixel_values": pixels if wanted else list(pixels)}, tensor_type=wanted)

    def process_image(self, image, modality=None, **options):
        """One picture as (3, height, width) uint8, before resizing."""
        ink = {name: options[name] for name in INK_OPTIONS if name in options}
        return np.asarray(self.prepare(image, modality, **ink)).transpose(2, 0, 1)

    def fetch_images(self, images):
        """Paths and URLs stay what they are until `prepare`: the stock loader would turn transparent ground black."""
        return images

    def _prepare_images_structure(self, images, expected_ndims: int = 3):
        """One image or several as a flat list."""
        return as_batch(images)[0]

    def _prepare_image_like_inputs(self, images, *args, **kwargs):
        prepared = []
        for position, image in enumerate(self._prepare_images_structure(images)):
            try:
                prepared.append(self.process_image(image, *args, **kwargs))
            except ValueError as error:
                name = f" ({image_name(image)})" if has_name(image) else ""
                raise ValueError(f"Image {position} of the batch{name}: {error}") from error
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
    for config_class in (CAANConfig, CAANEnsembleConfig):
        AutoImageProcessor.register(config_class, image_processor_classes=classes, exist_ok=True)
        AutoProcessor.register(config_class, CAANProcessor, exist_ok=True)

__all__ = ["CAANImageProcessor", "CAANProcessor", "as_batch", "open_image"]

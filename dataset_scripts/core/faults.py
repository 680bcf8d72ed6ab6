"""What is wrong with a picture once it is opened: it does not decode, or it is a sketch without a stroke."""

from PIL import Image, ImageSequence, UnidentifiedImageError

TINT = 32  # of 255: how far the colour of paper may be from grey


def fault_of(file, modality: str) -> str | None:
    """Why a picture cannot be used, or None. Where what reads its format is not installed, the reason is the cure.

    Args:
        file: a path or a file object.
        modality: ``sketch`` or ``photo``; only a sketch must not be blank.
    """
    try:
        with open_any(file) as image:
            image.load()  # to the last pixel; `Image.verify` would let a truncated JPEG pass
            blank = modality == "sketch" and all(map(is_blank, ImageSequence.Iterator(image)))
    except Exception as error:  # whatever a decoder raises is its verdict on the file
        return str(error.__cause__) if isinstance(error.__cause__, ImportError) else "does not decode"
    return "blank" if blank else None


def open_any(file) -> Image.Image:
    """A picture by Pillow, or where that does not know it by the reader of the models: HEIC, and drawings in SVG."""
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        from processing_caan import open_image  # here: it imports torch, and few data sets need it

        return open_image(file)


def is_blank(image: Image.Image) -> bool:
    """Whether a picture is an empty sheet: fully transparent, or white, grey, black or cream all over.

    One of a strong colour is not: it may be a shape that was filled in up to the edges.
    """
    extrema = image.getextrema()
    bands = dict(zip(image.getbands(), extrema if isinstance(extrema[0], tuple) else [extrema]))
    if bands.get("A") == (0, 0):
        return True
    if any(low != high for low, high in bands.values()):
        return False
    if list(bands) not in (["P"], ["P", "A"]) and len(bands) < 3:  # a tone, of any depth
        return True
    *colour, alpha = image.crop((0, 0, 1, 1)).convert("RGBA").tobytes()
    return alpha == 0 or max(colour) - min(colour) <= TINT

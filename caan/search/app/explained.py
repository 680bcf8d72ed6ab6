"""An explanation as the page draws it: pictures, and links between their places."""

from typing import Any

from matplotlib.colors import to_hex
from PIL import Image

from caan.figures.correspondences import cell_centres
from caan.figures.page import distinct_colours
from caan.search.app.server import jpeg_url
from caan.search.encoding import make_thumbnail
from caan.search.explanation import SIDE, explain, heat_picture


def explained(model: Any, processor: Any, sketch: Image.Image, photo: Image.Image, most: int) -> dict:
    """Sketch, photo and heat map as data URLs; the `most` strongest links, with places in [0, 1] and colours.

    Raises:
        ValueError: the model has no local tokens, or the sketch is no drawing.
    """
    explanation = explain(model, processor, sketch, photo)
    shown = min(most, len(explanation.links.sketch))
    starts = cell_centres(explanation.links.sketch[:shown], explanation.side).tolist()
    ends = cell_centres(explanation.links.photo[:shown], explanation.side).tolist()
    cosines = explanation.links.similarity[:shown].tolist()
    links = [
        {"from": start, "to": end, "colour": to_hex(colour), "score": round(cosine, 3)}
        for start, end, colour, cosine in zip(starts, ends, distinct_colours(shown), cosines)
    ]
    pictures = {"sketch": explanation.sketch, "photo": explanation.photo, "heat": heat_picture(explanation)}
    return {name: jpeg_url(make_thumbnail(picture, SIDE)) for name, picture in pictures.items()} | {"links": links}

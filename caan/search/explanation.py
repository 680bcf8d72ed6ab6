"""Which part of a photo answers which stroke, by the model's local tokens.

The tokens are those that the relation network compares. A cell of the sketch with ink answers for a cell of the photo where
each is the other's nearest (`caan.figures.correspondences`); the heat map is, for each cell of the photo, its best cosine with
a cell that holds ink. It is made from the photo's file, not from what the gallery keeps.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from caan.figures.correspondences import LinkedPair, Links, cells_with_ink, draw_correspondences, mutual_nearest
from pipeline_caan import device_of

SIDE = 320  # pixels of the pictures that are shown
STRONGEST = 12  # links that are drawn
HEAT = 0.45  # of the heat map's colour over the photo


class Explanation(NamedTuple):
    """Sketch and photo as the model sees them, `SIDE` pixels square; their links; heat (side, side) in [0, 1]; cells a side."""

    sketch: Image.Image
    photo: Image.Image
    links: Links
    heat: np.ndarray
    side: int


@torch.inference_mode()
def explain(model: Any, processor: Any, sketch: Any, photo: Any) -> Explanation:
    """The explanation of a sketch and a photo, each in any form that the processor takes.

    Raises:
        ValueError: the model has no local tokens, such as the correlation of pixels; a picture cannot be read.
    """
    if not hasattr(model, "get_relation_tokens"):
        raise ValueError("This model has no local tokens to explain a result by: a CAAN, a ViT or a CNN has.")
    pictures = {"sketch": processor.prepare(sketch, "sketch"), "photo": processor.prepare(photo, "photo")}
    tokens = {
        modality: model.eval().get_relation_tokens(
            processor([source], modality=modality, return_tensors="pt")["pixel_values"].to(device_of(model)), modality
        )[0]
        for modality, source in (("sketch", sketch), ("photo", photo))
    }
    side = int(len(tokens["sketch"]) ** 0.5)
    ink = cells_with_ink(pictures["sketch"], side)
    links = mutual_nearest(tokens["sketch"], tokens["photo"], ink)
    best = (tokens["photo"] @ tokens["sketch"][ink.to(tokens["sketch"].device)].T).amax(dim=1).float().cpu().numpy()
    heat = (best - best.min()) / max(float(best.max() - best.min()), 1e-6)
    shown = {name: picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS) for name, picture in pictures.items()}
    return Explanation(shown["sketch"], shown["photo"], links, heat.reshape(side, side), side)


def draw_explanation(explanation: Explanation, name: str) -> Image.Image:
    """One picture, RGB: sketch and photo with their links, beside the photo under its heat map."""
    pair = LinkedPair(name, explanation.sketch, explanation.photo, explanation.links, explanation.side)
    figure = draw_correspondences([pair], STRONGEST)
    figure.set_dpi(150)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    links = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    hot = heat_picture(explanation).resize((links.height, links.height))
    page = Image.new("RGB", (links.width + hot.width, links.height), "white")
    page.paste(links, (0, 0))
    page.paste(hot, (links.width, 0))
    return page


def heat_picture(explanation: Explanation) -> Image.Image:
    """The photo under its heat map: bright where it answers a stroke."""
    heat = Image.fromarray((255 * explanation.heat).astype(np.uint8)).resize(explanation.photo.size, Image.Resampling.BICUBIC)
    colours = Image.fromarray((255 * colormaps["inferno"](np.asarray(heat) / 255.0)[..., :3]).astype(np.uint8))
    return Image.blend(explanation.photo, colours, HEAT)

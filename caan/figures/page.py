"""What the figures share: a page with places in inches, sizes of type, and colours that most eyes can tell apart."""

import colorsys

from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Stroke, withStroke
from PIL import Image

DPI = 300
WIDTH = 7.2  # inches: the text width of a two-column page
SMALL, NORMAL = 6.5, 8.0  # points
INK, FAINT = "#1f2328", "#6e7781"
# Petroff's accessible colour cycle (arXiv 2107.02270), matplotlib's style "petroff10", without its two grays: too alike.
COLOURS = ("#3f90da", "#ffa90e", "#bd1f01", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#92dadd")


class Page:
    """A figure whose parts are placed in inches from its upper left corner, so that nothing overlaps by chance."""

    def __init__(self, width: float, height: float):
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Empty axes without ticks or frame, whose data run from 0 to `width` / `height` rightwards and from 0 to 1 down."""
        box = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(box)
        axes.set(xlim=(0, width / height), ylim=(1, 0), xticks=[], yticks=[])
        axes.set_frame_on(False)
        return axes

    def text(self, left: float, top: float, text: str, size: float = NORMAL, colour: str = INK, **options) -> None:
        """A text whose upper left corner, or what `options` (ha, va) make of it, is at this place."""
        x, y = left / self.width, 1 - top / self.height
        self.figure.text(x, y, text, **{"fontsize": size, "color": colour, "ha": "left", "va": "top", **options})


def show_picture(axes: Axes, picture: Image.Image, left: float = 0.0, **options) -> None:
    """A picture stretched to the unit square at `left`, as the processor stretches it for the model, in a hairline frame."""
    axes.imshow(picture, extent=(left, left + 1, 1, 0), aspect="auto", interpolation="antialiased", **options)
    axes.add_patch(frame(left))


def frame(left: float = 0.0) -> Rectangle:
    """A hairline around the unit square at `left`."""
    return Rectangle((left, 0), 1, 1, fill=False, edgecolor=FAINT, linewidth=0.5, clip_on=False, zorder=5)


def distinct_colours(count: int) -> list[str]:
    """`count` colours: those of `COLOURS`, then the same in darker rounds, since no twenty hues can be told apart."""
    return [darker(COLOURS[i % len(COLOURS)], 0.65 ** (i // len(COLOURS))) for i in range(count)]


def darker(colour: str, factor: float) -> str:
    """The colour with its lightness multiplied; text takes a factor below 1 to be read on white."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*to_rgb(colour))
    return to_hex(colorsys.hls_to_rgb(hue, lightness * factor, saturation))


def halo(width: float = 2.0) -> list[Stroke]:
    """A white outline that keeps a line or a text legible over anything."""
    return [withStroke(linewidth=width, foreground="white")]


def plain_name(name: str) -> str:
    """A class's name as it is read: the archives' underscores are spaces."""
    return name.replace("_", " ")

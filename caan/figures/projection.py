"""t-SNE of sketch and photo embeddings: whether the classes fall apart, and whether both modalities fall together.

Both modalities are projected together, as they are searched: by cosine similarity. Distances between far clusters and sizes
of clusters mean nothing in a t-SNE. scikit-learn computes it and is the extra `figures`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from caan.figures.page import DPI, FAINT, INK, NORMAL, darker, distinct_colours, halo, plain_name

MARKERS = {"sketch": "^", "photo": "o"}


def need_scikit_learn() -> None:
    """Raises ImportError with the cure where scikit-learn is missing."""
    try:
        import sklearn.manifold  # noqa: F401
    except ImportError as error:
        raise ImportError('t-SNE needs the package scikit-learn: pip install -e ".[figures]" in the repository.') from error


def tsne(
    sketch_features: torch.Tensor, photo_features: torch.Tensor, seed: int = 0, perplexity: float = 30.0
) -> tuple[np.ndarray, np.ndarray]:
    """Places in the plane of sketches and photos, projected together.

    Args:
        sketch_features, photo_features: (n, d) and (m, d), on the CPU.
        perplexity: about how many neighbours count; at most a third of all points.

    Returns arrays (n, 2) and (m, 2).

    Raises:
        ImportError: scikit-learn is missing.
        ValueError: there are fewer than five points.
    """
    need_scikit_learn()
    from sklearn.manifold import TSNE

    features = torch.cat([sketch_features, photo_features]).float().numpy()
    if len(features) < 5:
        raise ValueError(f"t-SNE needs five pictures or more, got {len(features)}.")
    perplexity = min(perplexity, (len(features) - 1) / 3)
    places = TSNE(metric="cosine", init="pca", perplexity=perplexity, random_state=seed).fit_transform(features)
    return places[: len(sketch_features)], places[len(sketch_features) :]


def draw_projection(
    places: dict[str, np.ndarray], labels: dict[str, Sequence[int]], names: Sequence[str], width: float = 5.2
) -> Figure:
    """Points of both modalities in the colours of their classes, each class named at the medoid of its photos.

    Of its photos, since a middle of both modalities lies where nothing is as long as the model still holds them apart.

    Args:
        places: "sketch" and "photo" -> (n, 2), as `tsne` gives them. labels: the same keys -> (n,) classes.
        names: of all classes, by label. Each class that occurs has photos.
    """
    figure = Figure(figsize=(width, width), dpi=DPI, facecolor="white")
    everywhere = np.concatenate(list(places.values()))
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.94))
    axes.set(xticks=[], yticks=[], **limits(everywhere))
    axes.spines[:].set(color=FAINT, linewidth=0.5)
    classes_of = np.concatenate([np.asarray(labels[modality]) for modality in places])
    classes = sorted(set(classes_of.tolist()))
    colours = dict(zip(classes, distinct_colours(len(classes))))
    size = float(np.clip(6000 / len(everywhere), 5, 22))
    for modality, points in places.items():
        colour = [colours[int(label)] for label in labels[modality]]
        x, y, marker = points[:, 0], points[:, 1], MARKERS[modality]
        axes.scatter(x, y, s=size, c=colour, marker=marker, label=modality, alpha=0.8, linewidths=0.25, edgecolors="white")
    texts = []
    for label in classes:
        x, y = medoid(places["photo"][np.asarray(labels["photo"]) == label])
        text = axes.text(x, y, plain_name(names[label]), color=darker(colours[label], 0.6), ha="center", va="center")
        text.set(fontsize=NORMAL, weight="bold", path_effects=halo(), zorder=10)
        texts.append(text)
    markers = [Line2D([], [], linestyle="", marker=marker, color=FAINT, markersize=5) for marker in MARKERS.values()]
    style = {"frameon": False, "labelcolor": INK, "borderaxespad": 0.2, "handletextpad": 0.1, "columnspacing": 1.0}
    figure.legend(markers, MARKERS, loc="upper left", ncols=2, fontsize=NORMAL, **style)
    _move_names(figure, axes, texts, everywhere)
    return figure


def limits(points: np.ndarray, margin: float = 0.04) -> dict[str, tuple[float, float]]:
    """`xlim` and `ylim` around the points, with a margin in shares of their range."""
    low, high = points.min(axis=0), points.max(axis=0)
    edge = margin * np.maximum(high - low, 1e-6)
    return dict(zip(("xlim", "ylim"), zip(low - edge, high + edge)))


def medoid(points: np.ndarray) -> np.ndarray:
    """The one of the points (n, 2) whose distances to all the others have the least sum, (2,)."""
    return points[np.linalg.norm(points[:, None] - points, axis=2).sum(axis=1).argmin()]


def _move_names(figure: Figure, axes, texts: list, points: np.ndarray) -> None:
    """Gives each name the place that `place_names` finds; one that went away from its class gets a line to it."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = np.array([text.get_window_extent(renderer).extents for text in texts])  # (n, 4) pixels: x0, y0, x1, y1
    centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2] + DPI * 0.02
    moved = place_names(centres, sizes, axes.transData.transform(points), axes.bbox.extents)
    to_data = axes.transData.inverted()
    for text, old, new, size in zip(texts, centres, moved, sizes):
        text.set_position(to_data.transform(new))
        if (np.abs(new - old) > size * (0.8, 1.6)).any():
            axes.plot(*zip(to_data.transform(old), to_data.transform(new)), color=text.get_color(), linewidth=0.5, zorder=9)


def place_names(centres: np.ndarray, sizes: np.ndarray, points: np.ndarray, bounds: Sequence[float]) -> np.ndarray:
    """Places (n, 2) of names, one after the other, each near its centre and where it covers least; ours.

    Of places on rings around the centre a name takes the cheapest: as its cost counts a hundred for each name it would touch,
    one for each point it would cover, and half for each of its heights away from the centre.

    Args:
        centres: (n, 2), in pixels, as all here. sizes: (n, 2), width and height of each name.
        points: (m, 2), what is better not covered. bounds: x0, y0, x1, y1, which no name leaves.
    """
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    placed = np.empty((0, 2))
    for row, (centre, size) in enumerate(zip(centres, sizes)):
        steps = np.concatenate([[[0.0, 0.0]], *(radius * ring for radius in np.arange(0.75, 8, 0.5))])  # in heights
        steps *= (1 + (size[0] / size[1] - 1) / 2, 1)  # wide names need wide steps to clear a point beside them
        low, high = np.asarray(bounds[:2]) + size / 2, np.asarray(bounds[2:]) - size / 2
        places = np.clip(centre + steps * size[1], low, high)
        touched = (np.abs(places[:, None] - placed) < (size + sizes[:row]) / 2).all(axis=2).sum(axis=1)
        covered = (np.abs(places[:, None] - points) < size / 2).all(axis=2).sum(axis=1)
        cost = 100 * touched + covered + 0.5 * np.linalg.norm(steps, axis=1)
        placed = np.vstack([placed, places[cost.argmin()]])
    return placed

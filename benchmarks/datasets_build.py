"""How long a Sketchy-sized tree takes to check, build and load again, and how much memory.

    python benchmarks/datasets_build.py                    # 75,481 sketches and 73,002 photos, small files; about a minute
    python benchmarks/datasets_build.py --scale 0.05       # a twentieth of it

Times depend on the machine, so each is given as a ratio to a bare `os.walk` with `os.stat` of every file of the same
tree, in the same run: the least that any reader who wants to notice changed files must do. The tree is warm in the
page cache in all of them. Every step runs in a process of its own; its peak memory is what that process reached over
what it had after its imports. The result goes to ``benchmarks/results/datasets_build.json``.
"""

import json
import multiprocessing
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

import dataset_scripts
from caan.options import SHARE_ABOVE_ZERO, Options, option
from caan.parsing import OptionParser
from dataset_scripts.core.splits import read_split
from dataset_scripts.sketchy import SKETCHY

RESULT = Path(__file__).parent / "results" / "datasets_build.json"
PNG = bytes.fromhex(  # one white pixel
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8ffff3f0005fe02fe0dc44682"
    "0000000049454e44ae426082"
)


@dataclass
class Arguments(Options):
    """What to measure."""

    scale: float = option(1.0, "share of Sketchy's size", SHARE_ABOVE_ZERO)
    folder: str | None = option(None, "where the tree goes; a temporary folder where not given")


def make_tree(root: str, scale: float) -> int:
    """Write Sketchy's folders with one-pixel files; returns how many."""
    sketches, _, photos = SKETCHY.sources
    classes = read_split("sketchy", "104_21").classes
    plan = [
        (os.path.join(root, source.candidates[1], name), round(scale * source.expected / len(classes)), suffix)
        for source, suffix in ((sketches, "png"), (photos, "jpg"))
        for name in classes
    ]
    for folder, count, suffix in tqdm(plan, desc="make the tree", unit=" folders"):
        os.makedirs(folder)
        for number in range(count):
            with open(os.path.join(folder, f"n{number:08d}_{number}.{suffix}"), "wb") as file:
                file.write(PNG)
    return sum(count for _, count, _ in plan)


def walk(root: str, cache: str) -> int:
    """The bare reading: every path with its size and time."""
    files = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            status = os.stat(path)
            files[path] = status.st_size, status.st_mtime_ns
    return len(files)


def load(root: str, cache: str) -> int:
    """`dataset_scripts.load`: the first call builds, a later one reads the cache."""
    splits = dataset_scripts.load("sketchy", "104_21", data_dir=root, cache_dir=cache, allow_partial=True)
    return sum(split.num_rows for split in splits.values())


def megabytes() -> float:
    """Highest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def _run(step, root: str, cache: str, connection) -> None:
    before, start = megabytes(), time.perf_counter()
    count = step(root, cache)
    connection.send({"seconds": time.perf_counter() - start, "memory_mb": megabytes() - before, "rows": count})


def measure(step, root: str, cache: str) -> dict[str, float]:
    """Run `step` in a fresh process."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(step, root, cache, sender))
    process.start()
    process.join()
    return receiver.recv()


def folder_size(path: str) -> int:
    """Bytes under `path`."""
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names)


def main() -> None:
    """Make the tree, measure, print, write."""
    arguments = OptionParser((Arguments,), description=__doc__).fill(sys.argv[1:])[0]
    folder = tempfile.mkdtemp(dir=arguments.folder)
    root, cache = os.path.join(folder, "Sketchy"), os.path.join(folder, "cache")
    try:
        count = make_tree(root, arguments.scale)
        walk(root, cache)  # warms the page cache
        steps = {
            "walk and stat": measure(walk, root, cache),
            "first load (builds)": measure(load, root, cache),
            "load again": measure(load, root, cache),
        }
        size = folder_size(cache)
    finally:
        shutil.rmtree(folder)
    base = steps["walk and stat"]["seconds"]
    for step in steps.values():
        step["ratio"] = step["seconds"] / base
    rounded = {name: {key: round(value, 3) for key, value in step.items()} for name, step in steps.items()}
    result = {"files": count, "cache_mb": round(size / 1e6, 1), "steps": rounded, "python": platform.python_version()}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"\n{count:,} files, cache {size / 1e6:.1f} MB")
    for name, step in steps.items():
        print(f"{name:20} {step['seconds']:7.2f} s  {step['ratio']:6.2f} x walk  {step['memory_mb']:7.0f} MB")


if __name__ == "__main__":
    main()

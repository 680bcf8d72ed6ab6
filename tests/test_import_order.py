"""Who may import whom: rooms in one order, so that a reader can start at the bottom.

Hub set -> caan.data -> caan.figures -> caan.evaluation -> caan.hub -> caan.training -> caan.combine -> caan.cli. caan.export
and caan.search stand on data, figures and evaluation, and only caan.cli on them; caan.descriptions stands on no room. A module
that is a command of caan.cli counts as a part of it. What a function imports when it is called counts as well.

python -m pytest tests/test_import_order.py
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from caan.cli import COMMANDS

ROOT = Path(__file__).parents[1]
BASE = {"errors", "options", "parsing", "registration", "__init__", "__version__"}  # of every command; they import no room
ROOMS = {  # room -> rooms that it may import, besides itself, the base and the Hub set
    "data": set(),
    "descriptions": set(),
    "figures": {"data"},
    "evaluation": {"data", "figures"},
    "hub": {"data", "figures", "evaluation"},
    "training": {"data", "figures", "evaluation", "hub"},
    "combine": {"data", "figures", "evaluation", "hub", "training"},
    "export": {"data", "figures", "evaluation"},
    "search": {"data", "figures", "evaluation"},
}
HUB_SET = {path.stem for path in ROOT.glob("*_caan.py")}
COMMAND_FILES = {f"{module.replace('.', '/')}.py" for module, _ in COMMANDS.values()}


def imported(path: Path) -> Iterator[str]:
    """Full names of the modules that a file imports, at its top or in a function."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            yield from (".".join((*above, *filter(None, [node.module]), alias.name)) for alias in node.names)


def violations(path: Path) -> list[str]:
    """Imports of a file that its place does not allow."""
    place = path.relative_to(ROOT)
    return [name for name in imported(path) if not allowed(place, name.split("."))]


def allowed(place: Path, name: list[str]) -> bool:
    """Whether the file at `place`, relative to the repository, may import what is called `name`."""
    top, part = name[0], name[1] if len(name) > 1 else ""
    if place.name in {f"{module}.py" for module in HUB_SET} and len(place.parts) == 1:
        return top not in {"caan", "dataset_scripts"}
    if place.parts[0] == "dataset_scripts":
        reader = place.name == "faults.py" and top == "processing_caan"  # it opens pictures as the processor will
        return reader or top not in {"caan", *HUB_SET}
    if top != "caan" or part in BASE or not part:
        return True
    room = place.parts[1]
    if room not in ROOMS:  # caan/errors.py and the like
        return part not in {*ROOMS, "cli"}
    if place.as_posix() in COMMAND_FILES:
        return part == room or part not in {"export", "search"}
    return part == room or part in ROOMS[room]


FILES = [*ROOT.glob("*_caan.py"), *ROOT.glob("caan/**/*.py"), *ROOT.glob("dataset_scripts/**/*.py")]


def test_every_room_is_known():
    rooms = {path.parent.name for path in ROOT.glob("caan/*/__init__.py")}
    assert rooms <= set(ROOMS) and len(FILES) > 60


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_one_way(path):
    assert violations(path) == []


@pytest.mark.parametrize(
    "place, name, expected",
    [
        ("caan/data/x.py", "caan.evaluation.metrics", False),
        ("caan/data/x.py", "caan.data.pictures", True),
        ("caan/data/x.py", "modeling_caan", True),
        ("caan/evaluation/x.py", "caan.hub.card", False),
        ("caan/evaluation/x.py", "caan.figures.grid", True),
        ("caan/hub/x.py", "caan.training.loop", False),
        ("caan/training/x.py", "caan.export.graphs", False),
        ("caan/export/x.py", "caan.hub.card", False),
        ("caan/descriptions/x.py", "caan.data.text", False),
        ("caan/errors.py", "caan.data.text", False),
        ("caan/training/loop.py", "caan.cli.main", False),
        ("caan/training/loop.py", "caan.options.TrainOptions", True),
        ("caan/hub/command.py", "caan.cli.COMMANDS", True),
        ("caan/hub/card.py", "caan.cli.COMMANDS", False),
        ("caan/evaluation/command.py", "caan.hub.card", True),
        ("caan/evaluation/command.py", "caan.export.graphs", False),
        ("dataset_scripts/core/x.py", "caan.errors", False),
        ("dataset_scripts/core/x.py", "processing_caan.open_image", False),
        ("modeling_caan.py", "configuration_caan.CAANConfig", True),
        ("modeling_caan.py", "caan.errors", False),
    ],
)
def test_the_order_by_examples(place, name, expected):
    assert allowed(Path(place), name.split(".")) is expected


def test_imports_inside_functions_and_relative_ones_are_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "caan" / "data" / "x.py"
    path.parent.mkdir(parents=True)
    path.write_text("from ..hub import card\nfrom .pictures import Pictures\ndef f():\n    import caan.training.loop\n")
    assert list(imported(path)) == ["caan.hub.card", "caan.data.pictures.Pictures", "caan.training.loop"]
    assert violations(path) == ["caan.hub.card", "caan.training.loop"]

"""What a wheel must hold stands in setup.cfg by hand: no room is forgotten, nothing lands beside the packages.

python -m pytest tests/test_wheel.py
"""

import configparser
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg", encoding="utf-8")
SHIPPED_AS = {"caan.recipes": "recipes", "caan.metrics": "metrics"}  # folders of the repository that are data of the wheel


def listed(section: str, name: str) -> list[str]:
    return [line for line in CONFIG[section][name].splitlines() if line]


def test_every_room_is_a_package():
    rooms = {"caan", "dataset_scripts"} | {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("caan", "dataset_scripts")
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert set(listed("options", "packages")) == rooms | SHIPPED_AS.keys()


def test_recipes_and_metrics_are_inside_caan():
    mapped = dict(map(str.strip, line.split("=")) for line in listed("options", "package_dir"))
    assert mapped == SHIPPED_AS
    assert not {"recipes", "metrics"} & {package.split(".")[0] for package in listed("options", "packages")}


def test_the_hub_set_is_complete():
    assert {f"{name}.py" for name in listed("options", "py_modules")} == {path.name for path in ROOT.glob("*_caan.py")}


def test_every_file_that_is_no_python_is_package_data():
    data = {package: CONFIG["options.package_data"][package].split(", ") for package in CONFIG["options.package_data"]}
    for package in listed("options", "packages"):
        folder = ROOT / SHIPPED_AS.get(package, package.replace(".", "/"))
        for path in folder.rglob("*"):
            inside = path.relative_to(folder)
            deeper = any((folder / parent / "__init__.py").is_file() for parent in inside.parents if parent.parts)
            if path.is_dir() or deeper or path.suffix in (".py", ".pyc"):
                continue
            assert any(inside.match(pattern) for pattern in data.get(package, [])), f"{package}: {inside}"

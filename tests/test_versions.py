"""What setup.cfg, tests/versions, docs and the environment say of versions.  python -m pytest tests/test_versions.py"""

import configparser
import importlib
import os
import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
MODULES = {"pillow": "PIL", "pyyaml": "yaml"}


def read_requirements(text: str) -> dict[str, Requirement]:
    lines = [line.strip() for line in text.splitlines()]
    return {line.name: line for line in map(Requirement, (line for line in lines if line and line[0] != "#"))}


def pins(name: str) -> dict[str, Version]:
    """The versions of a file in tests/versions, each of them `==`."""
    requirements = read_requirements((ROOT / "tests" / "versions" / f"{name}.txt").read_text())
    return {name: only_version(requirement, "==") for name, requirement in requirements.items()}


def only_version(requirement: Requirement, operator: str) -> Version:
    [specifier] = requirement.specifier
    assert specifier.operator == operator, requirement
    return Version(specifier.version)


def lower_bounds() -> dict[str, Version]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    requirements = read_requirements(parser["options"]["install_requires"])
    return {name: only_version(requirement, ">=") for name, requirement in requirements.items()}


def test_the_oldest_pins_are_the_lower_bounds():
    assert pins("oldest") == lower_bounds()


def test_between_is_between():
    oldest, between = pins("oldest"), pins("between")
    assert between and all(oldest[name] < version for name, version in between.items())
    assert between["datasets"].major == 4


def test_the_table_of_the_docs_is_that_of_the_pins():
    section = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    table = [re.findall(r"[\w.]+", row) for row in section.splitlines() if row.startswith("| `")]
    oldest = pins("oldest")
    assert {row[0] for row in table} >= {"torch", "transformers", "datasets", "accelerate", "huggingface_hub"}
    for name, lowest, highest in table:
        assert Version(lowest) == oldest[name] < Version(highest), name


def test_what_is_installed_is_what_is_meant():
    """At least the lower bounds, and the pins in a session of noxfile.py: there the module that is imported says so too."""
    for name, version in lower_bounds().items():
        assert Version(metadata.version(name)) >= version, name
    for pin in map(Requirement, os.environ.get("CAAN_PINS", "").split()):
        version, module = only_version(pin, "=="), importlib.import_module(MODULES.get(pin.name, pin.name))
        said = {metadata.version(pin.name), getattr(module, "__version__", str(version))}
        assert {Version(text).base_version for text in said} == {str(version)}, f"{pin}, {module.__file__}"


@pytest.mark.parametrize("line", ["torch", "torch==2.7.0", "torch>=2.7,<3"])
def test_a_dependency_without_one_lower_bound_is_noticed(line):
    [requirement] = read_requirements(line).values()
    with pytest.raises((AssertionError, ValueError)):
        only_version(requirement, ">=")

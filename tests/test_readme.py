"""What README, docs and docstrings tell users to type.  python -m pytest tests/test_readme.py

Every command is parsed by the parser of the program that it names, and every Python snippet of README and docs runs, alone, on
small stand-ins for the files that it names.
"""

import argparse
import ast
import configparser
import importlib.util
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from PIL import Image
from tiny import caan_model, image_processor
from transformers import HfArgumentParser
from trees import draw_photo, draw_sketch, make_shapes

import dataset_scripts.core.cli
from caan.cli import COMMANDS, main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SCRIPTS = [*ROOT.glob("*.py"), *ROOT.glob("caan/**/*.py"), *ROOT.glob("dataset_scripts/**/*.py"), *ROOT.glob("benchmarks/*.py")]
LAUNCHERS = re.compile(r"^(accelerate launch|torchrun --nproc_per_node \d+|python) (?=\S+\.py|-m )")
PROGRAMS = re.compile(r"^(caan [a-z]|python |accelerate launch |torchrun |nox |make [a-z]|pip install )")
RECIPES = {path.stem for path in (ROOT / "recipes").glob("*.yaml")} | {"my_recipe.yaml"}


class Parsed(BaseException):
    """The command line was accepted; the program goes no further."""


def commands_of(text: str) -> list[str]:
    """Lines of shell in a page or docstring, without comments (after # or three blanks); a backslash joins two lines."""
    lines = [line.strip() for line in re.sub(r"\\\n\s*", "", text).splitlines()]
    return [re.sub(r"\s+#.*|\s{3,}.*", "", line) for line in lines if PROGRAMS.match(line)]


def blocks_of(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def inline_commands(page: Path) -> list[str]:
    """Commands in the middle of a sentence; they may go on in the next line. The bare name of a command is no command line."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    named = [span for span in spans if PROGRAMS.match(span) and (len(span.split()) > 2 or span.startswith("make "))]
    return [span for span in named if LAUNCHERS.match(span) or not span.startswith(("accelerate", "torchrun"))]


def collect() -> list:
    """All commands, each with the place that it stands in."""
    found = [(page, command) for page in PAGES for block in blocks_of(page, "bash") for command in commands_of(block)]
    found += [(page, command) for page in PAGES for command in inline_commands(page)]
    for script in SCRIPTS:
        tree = ast.parse(script.read_text(encoding="utf-8"))
        texts = [ast.get_docstring(tree) or "", *(examples_of(node) for node in tree.body)]
        found += [(script, command) for text in texts for command in commands_of(text)]
    return [pytest.param(command, id=f"{path.relative_to(ROOT)}: {command}") for path, command in found]


def examples_of(node: ast.stmt) -> str:
    """The text of `EXAMPLES = ...`, the end of a command's help; of another statement nothing."""
    named = isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "EXAMPLES"
    return node.value.value if named and isinstance(node.value, ast.Constant) else ""


@pytest.fixture
def only_parse(monkeypatch, tmp_path):
    """Programs stop as soon as their command line is accepted; they run in an empty folder with the recipes."""
    accept_options, accept_arguments = HfArgumentParser.parse_args_into_dataclasses, argparse.ArgumentParser.parse_args
    accept_builder = dataset_scripts.core.cli.parse

    def parse_options(parser, *arguments, **options):
        made = accept_options(parser, *arguments, **options)
        if Path(parser.prog).stem in RECIPES or parser.prog in RECIPES:  # a recipe that is checked, on the way
            return made
        raise Parsed

    def parse_arguments(parser, *arguments, **options):
        made = accept_arguments(parser, *arguments, **options)
        if parser.prog == "caan":  # which finds the command
            return made
        raise Parsed

    def parse_builder(*arguments, **options):
        accept_builder(*arguments, **options)
        raise Parsed

    monkeypatch.setattr(HfArgumentParser, "parse_args_into_dataclasses", parse_options)
    monkeypatch.setattr(dataset_scripts.core.cli, "parse", parse_builder)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_arguments)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "my_recipe.yaml").write_text("num_epochs: 2\n")
    return monkeypatch


def run_program(words: list[str], monkeypatch) -> None:
    """Runs `caan ...`, `script.py ...` or `-m module ...` in this process."""
    monkeypatch.setattr(sys, "argv", words)
    if words[0] == "caan":
        main(words[1:])
    elif words[0] == "-m":
        monkeypatch.setattr(sys, "argv", words[1:])
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        script = ROOT / words[0]
        monkeypatch.setattr(sys, "argv", [str(script), *words[1:]])
        runpy.run_path(str(script), run_name="__main__")


@pytest.mark.parametrize("command", collect())
def test_a_command_parses(command, only_parse):
    words = shlex.split(LAUNCHERS.sub("", command))
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif words[0] == "nox":
        sessions = re.findall(r"def (\w+)\(session", (ROOT / "noxfile.py").read_text())
        assert words[1] in ("-l", "-s") and set(words[2:3]) <= set(sessions)
    elif words[0] == "pip":
        check_install(words)
    elif words[:2] == ["-m", "pytest"]:
        assert all((ROOT / word).exists() for word in words[2:] if word.startswith("tests/"))
    elif words[0] == "-m" and len(words) == 2:  # would do its work
        assert importlib.util.find_spec(words[1])
    else:
        with pytest.raises((Parsed, SystemExit)) as end:
            run_program(words, only_parse)
        assert end.type is Parsed or (end.value.code == 0 and {"--help", "--version"} & set(words))


def check_install(words: list[str]) -> None:
    """The package is not in a registry: it is installed from its folder, with extras that there are."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert words[1:3] == ["install", "-e"] and words[3].startswith("."), words
    extras = re.findall(r"[\w]+", words[3][1:])
    assert set(extras) <= set(setup["options.extras_require"])


def test_commands_are_found():
    found = [parameter.values[0] for parameter in collect()]
    assert {"make demo", "make test", 'pip install -e ".[demo]"'} <= set(found)
    for name in COMMANDS:
        assert any(command.startswith(f"caan {name} ") for command in found), name
    assert len(found) > 60


@pytest.mark.parametrize(
    "command", ["caan describe --output x --config 104_21", "train.py recipes/openmoji.yaml --epochs 3", "caan push x --repo y"]
)
def test_a_wrong_command_is_noticed(command, only_parse):
    with pytest.raises((SystemExit, ValueError)) as end:
        run_program(shlex.split(command), only_parse)
    assert getattr(end.value, "code", 2) != 0


# ------------------------------------------------------------------------------------------------------------ snippets


SNIPPETS = [pytest.param(block, id=f"{page.name} {i}") for page in PAGES for i, block in enumerate(blocks_of(page, "python"))]


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    """A folder with the files that the snippets name: a tiny model and its export, a sketch, some photos."""
    folder = tmp_path_factory.mktemp("user")
    caan_model(share_vision_encoder=True).save_pretrained(folder / "outputs" / "demo")
    image_processor().save_pretrained(folder / "outputs" / "demo")
    draw_sketch("frame", 0).save(folder / "sketch.png")
    (folder / "photos").mkdir()
    for i, path in enumerate(("a.jpg", "b.jpg", "photos/a.jpg", "photos/b.jpg")):
        draw_photo("frame", i).convert("RGB").save(folder / path)
    make_shapes(folder / "shapes", sketches=5, photos=3)
    return folder


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_snippet_runs_alone(snippet, stand_ins, monkeypatch):
    monkeypatch.chdir(stand_ins)
    load = dataset_scripts.load
    monkeypatch.setattr(dataset_scripts, "load", lambda name, *a, **k: load("folder", data_dir=str(stand_ins / "shapes")))
    if "outputs/onnx" in snippet:
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
        main(["export", "--model", "outputs/demo", "--output_dir", "outputs/onnx", "--dataset", "none"])
    if "outputs/both" in snippet:
        main(["combine", "outputs/demo", "outputs/demo", "--output_dir", "outputs/both"])
    if "sentence_transformers" in snippet:
        pytest.importorskip("sentence_transformers", minversion="6.2")
    if "import mteb" in snippet:
        mteb = pytest.importorskip("mteb")
        from mteb_task import ShapesI2IRetrieval

        monkeypatch.setattr(mteb, "get_task", lambda name: ShapesI2IRetrieval())
    names: dict = {}
    exec(compile(snippet, "snippet", "exec"), names)
    if "from transformers import" in snippet:  # registered in this process already, in a user's not
        assert snippet.startswith("import caan")
    for name, shape in {"sketch": (1, 8), "photos": (2, 8), "scores": (1, 2), "features": (2, 8)}.items():
        assert name not in names or tuple(names[name].shape) == shape
    if "splits" in names:
        assert set(names["splits"]) == {"train", "validation", "test"}
    if "gallery" in names:
        (found, *_) = names["search"]("sketch.png", gallery="photos.safetensors", top_k=5)
        assert found["rank"] == 1 and found["image"] in ("photos/a.jpg", "photos/b.jpg")


# --------------------------------------------------------------------------------------------------------------- links


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not link.startswith("http") and not (page.parent / link).exists()] == []


def test_the_picture_is_small_and_its_licence_stands_beside_it():
    picture = ROOT / "docs" / "images" / "retrieval.png"
    assert picture.stat().st_size < 200_000 and Image.open(picture).size[0] > 800
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "OpenMoji" in text and "CC BY-SA 4.0" in text

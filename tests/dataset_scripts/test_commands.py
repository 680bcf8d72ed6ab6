"""The builders' commands, and text files in UTF-8 wherever one is read or written.

pytest tests/dataset_scripts/test_commands.py
"""

import ast
import sys
from pathlib import Path

import pytest
from benchmark_trees import SKETCHY_LINES, make_tree, paths

import dataset_scripts
from dataset_scripts import openmoji
from dataset_scripts.core import cli
from dataset_scripts.parquet import publish
from dataset_scripts.sketchy import Sketchy

ROOT = Path(dataset_scripts.__file__).parent


def run(monkeypatch, main, *arguments):
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    return main()


def test_a_builder_s_command_prints_the_check_and_the_splits(tmp_path, monkeypatch, capsys):
    root = make_tree(tmp_path / "data", paths(SKETCHY_LINES))
    run(monkeypatch, lambda: cli.main(Sketchy), "--data_dir", root, "--dataset_config", "100_25", "--allow_partial")
    out = capsys.readouterr().out
    assert out.startswith(f"Sketchy 100_25 in {root}\n")
    rows = [line for line in out.splitlines() if line.startswith(("| train", "| validation", "| test"))]
    assert rows == ["| train | 2 | 3 | 4 |", "| validation | 3 | 4 | 1 |", "| test | 1 | 2 | 3 |"]


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "error: Sketchy: data_dir (not given) does not exist. Accepted, in any mixture:"),
        (["--dataset_config", "9_9"], "error: BuilderConfig '9_9' not found. Available: ['104_21', '100_25', '100_25_sempcyc'"),
    ],
)
def test_a_builder_s_command_ends_with_the_cure(tmp_path, monkeypatch, arguments, said):
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, lambda: cli.main(Sketchy), *arguments)
    assert end.value.code.startswith(said)


COMMANDS = [(lambda: cli.main(Sketchy), []), (publish.main, ["sketchy"]), (openmoji.main, [])]


@pytest.mark.parametrize("main, name", COMMANDS, ids=["sketchy", "publish", "openmoji"])
@pytest.mark.parametrize("old", ["--config", "--configs"])
def test_one_name_for_the_config_in_every_command(monkeypatch, capsys, main, name, old):
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, main, *name, "--help")
    assert end.value.code == 0 and "--dataset_config" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, main, *name, old, "104_21")
    assert end.value.code == 2 and f"unrecognized arguments: {old} 104_21" in capsys.readouterr().err


def test_the_check_of_the_drawings(monkeypatch, capsys):
    run(monkeypatch, openmoji.main, "--dataset_config", "80_20")
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| train", "| validation", "| test"]
    assert rows[3].endswith("| 0 |")  # no colour drawing is held out


@pytest.mark.parametrize("option", ["--allow_partial", "--verify", "--skip_corrupt", "--duplicates", "--validation_photos"])
def test_the_commands_share_their_options(monkeypatch, capsys, option):
    for main, name in COMMANDS[:2]:
        with pytest.raises(SystemExit):
            run(monkeypatch, main, *name, "--help")
        assert option in capsys.readouterr().out


def test_no_docstring_names_an_option_that_is_gone():
    for path in ROOT.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "--config" not in text and "--configs" not in text, path


def test_text_that_a_terminal_cannot_show_ends_nothing(monkeypatch):
    with open("/dev/null", "w", encoding="ascii") as narrow:
        monkeypatch.setattr(sys, "stdout", narrow)
        cli.say("caf\u00e9 \u0915\u0932 \udce9")


def text_calls(tree):
    """Calls that read or write text, by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            mode = node.args[1].value if name == "open" and len(node.args) > 1 else ""
            if name in ("read_text", "write_text") or (name == "open" and "b" not in mode):
                yield name, node


def test_text_files_are_read_and_written_in_utf_8():
    for path in ROOT.rglob("*.py"):
        for name, call in text_calls(ast.parse(path.read_text(encoding="utf-8"))):
            own = isinstance(call.func, ast.Name) and name == "read_text"  # core.texts.read_text, which says it inside
            binary = isinstance(call.func, ast.Attribute) and name == "open"  # Image.open; a resource opened as "rb"
            encodings = [keyword.value.value for keyword in call.keywords if keyword.arg == "encoding"]
            assert own or binary or encodings in (["utf-8"], ["utf-8-sig"]), f"{path}:{call.lineno}"

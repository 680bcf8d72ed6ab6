"""What an import costs and registers, in fresh processes.  python -m pytest tests/test_imports.py"""

import subprocess
import sys
from pathlib import Path

import pytest

from caan.cli import COMMANDS

FOLDER = Path(__file__).parent / "hub_set" / "pushed_before"
PROCESSORS = ("AutoConfig", "AutoImageProcessor", "AutoProcessor", "AutoTokenizer")


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "code",
    {
        "caan first": "import caan, sys; assert 'torch' not in sys.modules; from transformers import *; MODEL; PIPELINE",
        "transformers first": "from transformers import AutoModel, pipeline; import caan; MODEL; PIPELINE",
        "the bare transformers first": "import transformers, caan; from transformers import *; MODEL; PROCESSORS",
        "the pipeline first": "import caan, pipeline_caan, processing_caan; from transformers import *; MODEL; PROCESSORS",
        "the model first": "import caan, modeling_caan; from transformers import AutoModel; MODEL",
    }.items(),
    ids=lambda item: item[0],
)
def test_auto_classes_and_pipeline_know_caan(code):
    text = code[1].replace("MODEL", f"AutoModel.from_pretrained({str(FOLDER)!r})")
    text = text.replace("PIPELINE", f"pipeline('sketch-retrieval', model={str(FOLDER)!r})")
    run(text.replace("PROCESSORS", "; ".join(f"{name}.from_pretrained({str(FOLDER)!r})" for name in PROCESSORS)))


def test_help_and_version_of_every_command_leave_torch_alone():
    """In one process: importing transformers' parser alone takes most of a second."""
    code = f"""
import contextlib, io, sys
from caan import cli
def ends(*arguments):
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text):
            cli.main(list(arguments))
    except SystemExit as end:
        assert not end.code, arguments
    return text.getvalue()
assert "train" in ends("--help") and ends("--version").startswith("caan ")
assert "transformers" not in sys.modules
for command in {sorted(COMMANDS)}:
    assert "usage: " in ends(command, "--help"), command
    assert "torch" not in sys.modules, command
import caan.options, caan.parsing, caan.errors
assert "torch" not in sys.modules
"""
    run(code)


def test_the_public_names_are_there():
    code = """
import caan
assert set(caan.__all__) <= set(dir(caan))
for name in caan.__all__:
    assert getattr(caan, name).__name__ == name
try:
    caan.Nothing
except AttributeError as error:
    assert "has no attribute 'Nothing'" in str(error)
else:
    raise AssertionError
"""
    run(code)

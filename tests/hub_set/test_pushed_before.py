"""A folder that an earlier version pushed: it loads and gives what it gave.

python -m pytest tests/hub_set/test_pushed_before.py

`pushed_before/` was written by commit d570c56 with tests/helpers/tiny.py, when the Hub set was eleven files: weights, config,
processor, tokenizer and code, two pictures, and in `expected.safetensors` the pixels, features and losses of then.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny import batch
from transformers import AutoModel, AutoProcessor

import caan  # noqa: F401 (registers the classes)

FOLDER = Path(__file__).with_name("pushed_before")
EXPECTED = load_file(FOLDER / "expected.safetensors")
STRANGER = """
import sys
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModel, AutoProcessor
folder = sys.argv[1]
model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
expected = load_file(f"{folder}/expected.safetensors")
with torch.no_grad():
    for modality, read in (("sketch", model.get_sketch_features), ("photo", model.get_image_features)):
        pixels = processor(images=Image.open(f"{folder}/{modality}.png"), modality=modality, return_tensors="pt").pixel_values
        assert torch.equal(pixels, expected[f"{modality}_pixels"])
        torch.testing.assert_close(read(pixels), expected[f"{modality}_features"], rtol=0, atol=1e-6)
assert type(model).__module__.startswith("transformers_modules"), type(model).__module__
"""


@pytest.fixture(scope="module")
def loaded():
    return AutoModel.from_pretrained(FOLDER).eval(), AutoProcessor.from_pretrained(FOLDER)


@pytest.mark.parametrize("modality", ["sketch", "photo"])
def test_pixels_and_features_are_what_they_were(loaded, modality):
    model, processor = loaded
    picture = Image.open(FOLDER / f"{modality}.png")
    pixels = processor(images=picture, modality=modality, return_tensors="pt").pixel_values
    assert torch.equal(pixels, EXPECTED[f"{modality}_pixels"])
    with torch.no_grad():
        features = {"sketch": model.get_sketch_features, "photo": model.get_image_features}[modality](pixels)
    torch.testing.assert_close(features, EXPECTED[f"{modality}_features"], rtol=0, atol=1e-6)


def test_losses_are_what_they_were(loaded):
    model, _ = loaded
    with torch.no_grad():
        output = model(**batch())
    for name in ("loss", "loss_tri", "loss_rn"):
        torch.testing.assert_close(output[name].reshape(1), EXPECTED[name], rtol=0, atol=1e-6)


def test_a_saved_copy_brings_todays_code(loaded, tmp_path):
    loaded[0].save_pretrained(tmp_path)
    assert (tmp_path / "modeling_caan.py").read_text() == Path(sys.modules["modeling_caan"].__file__).read_text()
    assert json.loads((tmp_path / "config.json").read_text())["auto_map"]["AutoModel"] == "modeling_caan.CAANModel"


def test_its_own_code_still_runs_where_this_package_is_not(tmp_path):
    """An interpreter that cannot import the project, as test_hub_set.py's."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    block = (
        "import sys, importlib.abc\n"
        "class Block(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'caan' or name.split('.')[0].endswith('_caan'):\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
    )
    command = [sys.executable, "-I", "-c", block + STRANGER, str(FOLDER)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr

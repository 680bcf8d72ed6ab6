"""Dotted names: one field of a nested option on the command line.  python -m pytest tests/test_dotted_options.py"""

import json

import pytest

from caan.options import DataOptions, ModelOptions, TrainOptions
from caan.parsing import parse_options

CLASSES = (ModelOptions, DataOptions, TrainOptions)
RECIPE = """
model_config: {hidden_size: 64, lambda_con: 1e-1, vision_config: {model_type: vit, depths: [1, 2]}, pooling: mean}
num_epochs: 7
"""


@pytest.fixture
def recipe(tmp_path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return str(path)


def refused(capsys, *arguments) -> str:
    """The message of a refused command line."""
    with pytest.raises(SystemExit) as caught:
        parse_options(*CLASSES, argv=list(arguments))
    assert caught.value.code == 2
    return capsys.readouterr().err


def nested(*argv) -> dict:
    """The model_config of a command line."""
    return json.loads(parse_options(*CLASSES, argv=[str(a) for a in argv])[0].model_config)


def test_a_dotted_name_changes_one_field_of_the_recipe_s_block(recipe):
    before = nested(recipe)
    assert nested(recipe, "--model_config.hidden_size", "128") == {**before, "hidden_size": 128}
    assert nested("--model-config.hidden_size=128", recipe) == {**before, "hidden_size": 128}
    changed = nested(recipe, "--model_config.vision_config.depths", "[3, 4]", "--model_config.lambda_con=-1e-3")
    assert changed == {**before, "vision_config": {"model_type": "vit", "depths": [3, 4]}, "lambda_con": -0.001}
    assert nested("--model_config.use_text", "false", "--model_config.text_config.hidden_size", 8) == {
        "use_text": False,
        "text_config": {"hidden_size": 8},
    }
    assert nested(recipe, '--model_config={"margin": 1}', "--model_config.hidden_size", 2) == {"margin": 1, "hidden_size": 2}


def test_wrong_dotted_names(capsys, recipe):
    assert "--model_config.margin needs a value, as in --model_config.margin 128" in refused(capsys, "--model_config.margin")
    assert "--model_config.pooling.x: pooling is no mapping" in refused(capsys, recipe, "--model_config.pooling.x", "1")
    assert "unknown option 'data_confi.x'" in refused(capsys, "--data_confi.x", "1")
    assert "--model_config is no JSON" in refused(capsys, "--model_config={x", "--model_config.margin=1")
    assert "--model_config.a: model_config is no mapping" in refused(capsys, "--model_config=[1]", "--model_config.a=1")


@pytest.mark.parametrize(
    "value, message",
    [
        ("{a:[", "'{a:[' is no YAML value (while parsing"),
        ("!!x 1", "is no YAML value ("),
        ("2020-13-01", "is no YAML value (month must be in 1..12)"),
        ("2020-01-01", "2020-01-01 holds what JSON does not know (Object of type date is not JSON serializable): put"),
        ("{2020-01-01: 1}", "holds what JSON does not know (keys must be str"),
        ("!!set {a}", "holds what JSON does not know (Object of type set"),
        ("[1e999]", "[inf] holds what JSON does not know (Out of range float values are not JSON compliant"),
        ("1e999", "inf holds what JSON does not know"),
        ("&a [*a]", "holds what JSON does not know (Circular reference"),
    ],
)
def test_a_dotted_value_that_json_does_not_know_names_its_option(capsys, tmp_path, value, message):
    for argv in (["--model_config.vision_config", value], [f"--model_config.vision_config={value}"]):
        error = refused(capsys, *argv)
        assert "error: --model_config.vision_config: " in error and message in error and len(error.splitlines()) == 2
    path = tmp_path / "recipe.yaml"  # a recipe's mapping goes the same way
    path.write_text(f"model_config: {{margin: {value}}}\n")
    error = refused(capsys, str(path))
    assert f"{path}: error: " in error and ("model_config: " in error or "no YAML" in error)


def test_a_dotted_option_does_not_take_the_next_option_as_its_value(capsys):
    for argv in (["--model_config.hidden_size", "--num_epochs", "3"], ["--num_epochs", "3", "--model_config.hidden_size"]):
        assert "error: --model_config.hidden_size needs a value, as in --model_config.hidden_size 128" in refused(capsys, *argv)
    assert nested("--model_config.lambda_con", "-1e-3", "--model_config.x=--y") == {"lambda_con": -0.001, "x": "--y"}
    assert nested("--model_config.a.a", "1", "--model_config.a.b", "2") == {"a": {"a": 1, "b": 2}}

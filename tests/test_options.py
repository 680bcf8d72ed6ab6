"""Recipes and command lines.  python -m pytest tests/test_options.py"""

import json
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import get_args, get_type_hints

import pytest
from running import ROOT

from benchmarks import datasets_build, export
from benchmarks.accuracy.figures import FigureOptions
from benchmarks.accuracy.study import StudyOptions
from benchmarks.paper_pictures import PaperOptions
from caan.descriptions.command import DescribeOptions
from caan.export.command import ExportOptions
from caan.options import DataOptions, EvalOptions, ModelOptions, TrainOptions, TrainPushOptions
from caan.parsing import parse_options

BENCHMARKS = (StudyOptions, datasets_build.Arguments, export.Arguments, PaperOptions)
CLASSES = (ModelOptions, DataOptions, TrainOptions)
RECIPE = """
# comments and all
dataset: sketchy
dataset_config: 104_21
model_config: {hidden_size: 64, lambda_con: 1e-1, vision_config: {model_type: vit, depths: [1, 2]}, pooling: mean}
learning_rate: 1e-3
num_epochs: 7
augment: no
text_model: null
output_dir: outputs/x
"""


@pytest.fixture
def recipe(tmp_path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return str(path)


def refused(capsys, *arguments, classes=CLASSES) -> str:
    """The message of a refused command line."""
    with pytest.raises(SystemExit) as caught:
        parse_options(*classes, argv=list(arguments))
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_without_arguments_the_defaults():
    assert parse_options(*CLASSES, argv=[]) == (ModelOptions(), DataOptions(), TrainOptions())


def test_a_recipe_gives_values_of_the_right_types(recipe):
    model, data, train = parse_options(*CLASSES, argv=[recipe])
    assert (data.dataset, data.dataset_config, data.augment) == ("sketchy", "104_21", False)
    assert (train.learning_rate, train.num_epochs, train.output_dir) == (0.001, 7, "outputs/x")
    assert model.text_model is None and train.seed == TrainOptions().seed
    assert json.loads(model.model_config) == {
        "hidden_size": 64,
        "lambda_con": 0.1,
        "vision_config": {"model_type": "vit", "depths": [1, 2]},
        "pooling": "mean",
    }


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_command_line_wins_wherever_the_recipe_stands(recipe, place):
    argv = ["--num_epochs=3", "--augment=true"]
    argv.insert(place, recipe)
    _, data, train = parse_options(*CLASSES, argv=[*argv, "--learning-rate", "0.5"])
    assert (train.num_epochs, data.augment, train.learning_rate) == (3, True, 0.5)
    assert data.dataset == "sketchy"


def test_numbers_of_a_recipe_are_those_that_people_write(tmp_path):
    path = tmp_path / "numbers.yaml"
    path.write_text("model_config: {a: 12, b: -3, c: 1e-3, d: .5, e: 2., f: 104_21, g: 0, h: 1E+2, i: 12:30, j: '5', k: 0.25}")
    model, *_ = parse_options(*CLASSES, argv=[str(path)])
    expected = {"a": 12, "b": -3, "c": 0.001, "d": 0.5, "e": 2.0, "f": "104_21", "g": 0, "h": 100.0, "i": "12:30", "j": "5"}
    assert json.loads(model.model_config) == {**expected, "k": 0.25}
    assert isinstance(json.loads(model.model_config)["e"], float)


def test_lists_of_a_recipe(tmp_path):
    path = tmp_path / "eval.yaml"
    path.write_text("model: [a, b]\ntop_k: [5, 10]\n")
    (options,) = parse_options(EvalOptions, argv=[str(path)])
    assert (options.model, options.top_k) == (["a", "b"], [5, 10])
    (options,) = parse_options(EvalOptions, argv=[str(path), "--top_k", "1"])
    assert (options.model, options.top_k) == (["a", "b"], [1])


def test_an_unknown_option_gets_the_nearest_name(capsys, tmp_path):
    assert "unknown option 'num_epoch', did you mean 'num_epochs'?" in refused(capsys, "--num_epoch", "3")
    assert "unknown option 'learning-rat', did you mean 'learning_rate'?" in refused(capsys, "--learning-rat=3")
    assert "unknown option 'qqq'\n" in refused(capsys, "--qqq")
    path = tmp_path / "typo.yaml"
    path.write_text("num_epochs: 3\noutput_dirs: x\n")
    message = refused(capsys, str(path))
    assert f"{path}: error: unknown option 'output_dirs', did you mean 'output_dir'?" in message
    assert len(message.splitlines()) == 2  # usage in one line, and the message


@pytest.mark.parametrize(
    "text,message",
    [
        ("num_epochs: many", "argument --num_epochs/--num-epochs: invalid int value: 'many'"),
        ("num_epochs: 2.5", "invalid int value: '2.5'"),
        ("seed: {a: 1}", "argument --seed: invalid int value"),
        ("keep: all", "argument --keep: invalid choice: 'all'"),
        ("mixed_precision: bf32", "invalid choice: 'bf32'"),
        ("augment: perhaps", "got perhaps"),
        ("- seed", "a recipe is a mapping of options to values"),
        ("seed: [1", "no YAML"),
    ],
)
def test_a_wrong_recipe_is_named(capsys, tmp_path, text, message):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    error = refused(capsys, str(path))
    assert f"{path}: error: " in error and message in error


def test_a_missing_recipe_and_wrong_values_on_the_command_line(capsys):
    assert "no/recipe.yaml: error: no such recipe" in refused(capsys, "no/recipe.yaml")
    assert "argument --keep: invalid choice: 'all'" in refused(capsys, "--keep", "all")
    assert "argument --seed: invalid int value: 'x'" in refused(capsys, "--seed", "x")
    assert "argument --split: invalid choice: 'train'" in refused(capsys, "--split", "train", classes=(EvalOptions,))


def test_an_empty_recipe_changes_nothing(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing yet\n")
    assert parse_options(*CLASSES, argv=[str(path)]) == (ModelOptions(), DataOptions(), TrainOptions())


@pytest.mark.parametrize("classes", [CLASSES, (EvalOptions,)])
def test_help_tells_every_option_with_its_default(capsys, classes):
    with pytest.raises(SystemExit) as caught:
        parse_options(*classes, argv=["--help"], description="First line.\n\n    python train.py a.yaml\n")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "\n    python train.py a.yaml\n" in text  # the description keeps its lines
    words = " ".join(text.split())
    for cls in classes:
        for option in fields(cls):
            assert f"--{option.name}" in words
            assert option.metadata["help"].split()[0] in words
    assert "[recipe.yaml] [--option value ...]" in words
    if classes is CLASSES:
        assert "Passes over the training sketches. [at least 1] (default: 20)" in words


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.name)
def test_the_shipped_recipes_parse(path: Path):
    from caan.training.building import config_fields

    model, data, train = parse_options(*CLASSES, argv=[str(path)])
    assert config_fields(model.model_config)
    assert data.dataset == path.stem.partition("_")[0] and train.output_dir == f"outputs/{path.stem}"


# ------------------------------------------------------------------------------------------------------------- ranges


@pytest.mark.parametrize(
    "option,value,allowed",
    [
        ("learning_rate", "-0.001", "at least 0"),
        ("learning_rate", "nan", "at least 0"),
        ("learning_rate", "inf", "at least 0"),
        ("vision_learning_rate", "-1", "at least 0"),
        ("max_grad_norm", "-1", "at least 0"),
        ("warmup_ratio", "5", "in [0, 1]"),
        ("layer_decay", "-2", "in (0, 1]"),
        ("layer_decay", "0", "in (0, 1]"),
        ("weight_decay", "-0.1", "at least 0"),
        ("classes_per_batch", "1", "at least 2"),
        ("items_per_class", "0", "at least 1"),
        ("batches_per_epoch", "-3", "at least 0"),
        ("gradient_accumulation_steps", "0", "at least 1"),
        ("save_total_limit", "0", "at least 1"),
        ("seed", "-1", "in [0, 4.29497e+09]"),
        ("seed", "4294967296", "in [0, 4.29497e+09]"),
        ("image_size", "0", "at least 1"),
        ("sketch_shade", "1.5", "in [0, 1]"),
        ("lora_rank", "0", "at least 1"),
        ("ema_decay", "1", "in [0, 1)"),
        ("start_share", "-0.1", "in [0, 1)"),
        ("sentences_per_step", "-1", "at least 0"),
        ("num_workers", "-2", "at least 0"),
        ("validation_photos", "1", "in [0, 1)"),
    ],
)
def test_a_value_out_of_its_range_is_refused(capsys, tmp_path, option, value, allowed):
    message = f"error: {option} must be {allowed}, got "
    assert message in refused(capsys, f"--{option}={value}")
    (tmp_path / "recipe.yaml").write_text(f"{option}: {value.replace('nan', '.nan').replace('inf', '.inf')}\n")
    if value not in ("nan", "inf"):
        assert f"recipe.yaml: {message}" in refused(capsys, str(tmp_path / "recipe.yaml"))
    owner = next(cls for cls in CLASSES if option in {item.name for item in fields(cls)})
    with pytest.raises(ValueError, match=option):
        owner(**{option: float(value)})


def kind_of(item):
    """The type of an option, without the None that stands for "not given"."""
    return next(iter({*get_args(item.type)} - {type(None)})) if isinstance(item.type, UnionType) else item.type


def test_every_number_has_a_range():
    """A count, a rate or a share without bounds would be the next that trains uphill."""
    for cls in (*CLASSES, EvalOptions, TrainPushOptions, DescribeOptions, ExportOptions, FigureOptions, *BENCHMARKS):
        kinds = get_type_hints(cls)
        for item in fields(cls):
            if {kinds[item.name], *get_args(kinds[item.name])} & {int, float}:
                assert "range" in item.metadata, f"{cls.__name__}.{item.name}"


def test_one_name_means_one_thing():
    """Where two families have an option of the same name, it has the same type and meaning."""
    seen = {}
    for cls in (*CLASSES, EvalOptions, TrainPushOptions):
        for item in fields(cls):
            kind = seen.setdefault(item.name, (kind_of(item), item.metadata.get("range"), cls))
            assert kind[:2] == (kind_of(item), item.metadata.get("range")) or item.name == "model", (item.name, cls, kind[2])


@pytest.mark.parametrize(
    "option,values,allowed",
    [
        ("top_k", ["5", "0"], "at least 1, got 0"),
        ("rerank", ["-1"], "at least 0, got -1"),
        ("image_size", ["0"], "at least 1, got 0"),
        ("batch_size", ["0"], "at least 1, got 0"),
        ("num_workers", ["-1"], "at least 0, got -1"),
        ("picture_rows", ["-2"], "at least 0, got -2"),
    ],
)
def test_the_ranges_of_an_evaluation(capsys, option, values, allowed):
    assert f"error: {option} must be {allowed}." in refused(capsys, f"--{option}", *values, classes=(EvalOptions,))


@pytest.mark.parametrize(
    "text, key",
    [
        ("seed: 1\nseed: 2", "seed"),
        ("num-epochs: 1\nnum_epochs: 2", "num_epochs"),
        ("model_config: {hidden_size: 8, hidden_size: 16}", "hidden_size"),
    ],
)
def test_a_key_that_stands_twice_is_refused(capsys, tmp_path, text, key):
    path = tmp_path / "double.yaml"
    path.write_text(text)
    assert f"{path}: error: no YAML: '{key}' stands twice in a mapping" in refused(capsys, str(path))


def test_a_double_key_of_the_command_line_is_refused(capsys):
    double = '--model_config={"hidden_size": 8, "hidden_size": 16}'
    assert "'hidden_size' stands twice in a mapping" in refused(capsys, double, "--model_config.margin=0.2")


def test_merged_keys_come_below_a_mapping_of_their_own(tmp_path):
    path = tmp_path / "merged.yaml"
    path.write_text("model_config: {vision_config: &a {x: 1, y: 1}, text_config: &b {<<: *a, x: 2}, z: {<<: *b, x: 3}}")
    model, *_ = parse_options(*CLASSES, argv=[str(path)])
    assert json.loads(model.model_config)["z"] == {"x": 3, "y": 1}


def test_plain_values_of_a_recipe_are_what_is_written(tmp_path):
    path = tmp_path / "plain.yaml"
    path.write_text(
        "mixed_precision: no\ndataset_config: 012\noutput_dir: 1e5\ndata_dir: yes\naugment: off\ncpu: on\nseed: '3'\n"
    )
    _, data, train = parse_options(*CLASSES, argv=[str(path)])
    assert (train.mixed_precision, train.output_dir, train.seed, train.cpu) == ("no", "1e5", 3, True)
    assert (data.dataset_config, data.data_dir, data.augment) == ("012", "yes", False)


def test_a_list_for_one_value_is_named(capsys, tmp_path):
    path = tmp_path / "list.yaml"
    path.write_text("seed: [1, 2]")
    assert f"{path}: error: seed takes one value, got a list: [1, 2]" in refused(capsys, str(path))


@pytest.mark.parametrize("name", ["", " ", "~/runs"])
def test_an_output_dir_that_would_be_the_current_folder_or_one_called_tilde_is_refused(capsys, name):
    assert f"output_dir must be the path of a folder, written out, got {name!r}." in refused(capsys, f"--output_dir={name}")


@pytest.mark.parametrize("option", [["--private"], ["--full"], ["--revision=x"], ["--commit_message=x"], ["--push_steps=3"]])
def test_options_of_a_push_need_one(capsys, option):
    name = option[0].partition("=")[0].removeprefix("--")
    assert f"error: {name} needs push_to_hub." in refused(capsys, *option, classes=(TrainPushOptions,))


@pytest.mark.parametrize("tune", ["all", "layer_norm", "layer_norm_attention", "last_1", "last_12", "lora", "none"])
def test_what_can_be_tuned(tune):
    assert parse_options(*CLASSES, argv=["--tune", tune])[0].tune == tune


@pytest.mark.parametrize("tune", ["", "some", "last", "last_", "last_0", "last_-1", "last_2.5", "LoRA", "all "])
def test_what_cannot_be_tuned_is_refused(capsys, tune):
    said = "tune must be all, layer_norm, layer_norm_attention, last_N (N from 1 on), lora or none, got "
    assert f"error: {said}{tune!r}." in refused(capsys, f"--tune={tune}")


def test_an_option_that_is_gone_names_the_one_in_its_place(capsys, tmp_path):
    said = "error: option 'freeze_vision_blocks' is gone, in its place is tune: last_N, with the number of blocks that learn"
    assert said in refused(capsys, "--freeze-vision-blocks", "4")
    path = tmp_path / "old.yaml"
    path.write_text("freeze_vision_blocks: 4\n")
    assert f"{path}: {said}" in refused(capsys, str(path))


def test_a_recipe_by_its_name():
    by_name, by_path = (parse_options(*CLASSES, argv=[name]) for name in ("openmoji", str(ROOT / "recipes" / "openmoji.yaml")))
    assert by_name == by_path and by_name[1].dataset == "openmoji"


def test_an_unknown_recipe_names_those_that_there_are(capsys):
    told = "no such recipe; those that come along are openmoji, sketchy, sketchy_instance, sketchy_small"
    assert told in refused(capsys, "openmojis")

"""Options that would take no part are refused.  python -m pytest tests/training/test_effect.py"""

import pytest
from running import finished, run_to_error, shapes, train
from tiny import add_noise, text_config, tokenizer, vision_config
from transformers import AutoModel
from trees import CONFIG, shape_options

from caan.evaluation.facts import read_facts
from caan.training.effect import require_same

LEAVE = "Leave it out; where a recipe has it, give "


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Folders of a vision encoder and of a text encoder."""
    work = tmp_path_factory.mktemp("encoders")
    for kind, config in (("vision", vision_config()), ("text", text_config(max_position_embeddings=64))):
        add_noise(AutoModel.from_config(config)).save_pretrained(work / kind)
    tokenizer().save_pretrained(work / "text")
    return work


def error_of(tmp_path, **options) -> str:
    """The one line that a run with these options ends with; it leaves no model and trains on nothing."""
    error = run_to_error("train.py", shape_options(shapes(), tmp_path / "run", **options))
    assert not list((tmp_path / "run").glob("*.*")) and "Traceback" not in error
    (line,) = [line for line in error.splitlines() if line.startswith("train.py: error: ")]
    return line.removeprefix("train.py: error: ")


@pytest.mark.parametrize("option", ["vision_model", "text_model"])
def test_encoders_beside_a_whole_model(tmp_path, option):
    folder = finished()[0]
    expected = f"{option} 'no/such' would take no part: model '{folder}' brings its own weights. {LEAVE}--{option} ''."
    assert error_of(tmp_path, model=folder, **{option: "no/such"}) == expected
    assert not (tmp_path / "run").exists()


def test_a_config_beside_a_whole_model(tmp_path):
    folder = finished()[0]
    reason = f"model_config.hidden_size 64 would take no part: model '{folder}' has 16. {LEAVE}--model_config.hidden_size null."
    assert error_of(tmp_path, model=folder, model_config={"hidden_size": 64}) == reason
    found = error_of(tmp_path, model=folder, model_config={"vision_config": {"model_type": "resnet", "depths": [1, 2, 3]}})
    assert found.startswith("model_config.vision_config.depths [1, 2, 3] would take no part: ") and "has [1, 1, 1]" in found


@pytest.mark.parametrize("option, value, default", [("image_size", 64, 224), ("sketch_shade", 0.5, 0.0)])
def test_a_processor_s_options_beside_a_whole_model(tmp_path, option, value, default):
    folder = finished()[0]
    options = {"model": folder, option: value}
    expected = f"{option} {value} would take no part: that of model '{folder}' counts. {LEAVE}--{option} {default}."
    assert error_of(tmp_path, **options) == expected


def test_the_recipe_of_a_model_is_no_obstacle_to_train_on_from_it(tmp_path):
    """What it says is true of the model."""
    folder = finished()[0]
    train(tmp_path, model=folder, num_epochs=1, batches_per_epoch=1)
    facts = read_facts(tmp_path)
    assert facts["base_models"] == {folder.name: "unknown"} and facts["finished"]  # the licence


WITHOUT_TEXT = {"text_config": None, "use_text": False}


def test_text_options_of_a_model_without_text(tmp_path):
    expected = (
        f"text_model 'no/such' would take no part: the model learns without text (use_text: false). {LEAVE}--text_model ''."
    )
    assert error_of(tmp_path, text_model="no/such", model_config=WITHOUT_TEXT) == expected
    descriptions = shapes() / "descriptions.jsonl"
    expected = f"descriptions '{descriptions}' would take no part: the model learns without text. {LEAVE}--descriptions ''."
    assert error_of(tmp_path, descriptions=descriptions, model_config=WITHOUT_TEXT) == expected


def test_an_empty_name_takes_a_recipe_s_name_off(tmp_path):
    options = {"text_model": "", "vision_model": "", "descriptions": "", "model": "", "model_config": WITHOUT_TEXT}
    run = train(tmp_path, **options, num_epochs=1, batches_per_epoch=1)
    facts = read_facts(tmp_path)
    assert facts["base_models"] == {} and facts["uses_text"] is False
    assert {facts["options"][name] for name in ("text_model", "vision_model", "descriptions", "model")} == {None}
    assert run.state.settings["text_model"] is None


def test_a_config_beside_the_encoder_that_has_one(tmp_path, encoders):
    found = error_of(tmp_path, vision_model=encoders / "vision")
    assert found == (
        "model_config.vision_config.model_type 'resnet' would take no part: vision_model has 'vit'. "
        f"{LEAVE}--model_config.vision_config.model_type null."
    )
    config = {"vision_config": {"model_type": "vit", "hidden_size": 16}, "text_config": {"hidden_size": 99}}
    found = error_of(
        tmp_path, vision_model=encoders / "vision", text_model=encoders / "text", model_config=config, tokenizer_vocab_size=2000
    )
    assert found.startswith("model_config.text_config.hidden_size 99 would take no part: text_model has 12.")


def test_the_size_of_a_tokenizer_that_is_not_trained(tmp_path, encoders):
    found = error_of(tmp_path, text_model=encoders / "text", model_config={"text_config": None})
    assert found == (
        f"tokenizer_vocab_size 100 would take no part: that of text_model '{encoders}/text' counts. "
        f"{LEAVE}--tokenizer_vocab_size 2000."
    )
    found = error_of(tmp_path, model_config={"text_config": {**CONFIG["text_config"], "vocab_size": 9999}})
    assert found.startswith("model_config.text_config.vocab_size 9999 would take no part: the tokenizer has ")


def test_base_models_are_what_was_loaded(tmp_path, encoders):
    config = {"vision_config": None, "text_config": None, "use_text": True, "max_description_tokens": 48}
    options = {"vision_model": encoders / "vision", "text_model": encoders / "text", "tokenizer_vocab_size": 2000}
    train(tmp_path, **options, model_config=config, num_epochs=1, batches_per_epoch=1)
    assert read_facts(tmp_path)["base_models"] == {"vision": None, "text": None}


def test_layer_decay_without_blocks(tmp_path):
    timm = {
        "model_type": "timm_wrapper",
        "architecture": "resnet18",
        "model_args": {"layers": [1, 1, 1, 1], "channels": [8] * 4},
    }
    found = error_of(tmp_path, layer_decay=0.1, model_config={"vision_config": timm})
    assert found.startswith("layer_decay is 0.1, but TimmWrapperModel has 0 blocks that it could tell apart: leave it out")


@pytest.mark.parametrize(
    "given", [None, {}, {"a": None}, {"size": [1, 2]}, {"part": {"depth": 3}}, {"rate": 1}, {"table": {"x": 1}}]
)
def test_what_is_said_alike_is_no_difference(given):
    class Config:
        size, rate, table = (1, 2), 1.0, {"x": 1}

        class part:
            depth = 3

    require_same(given, Config, "model", "c")
    for other in ({"size": [1, 3]}, {"part": {"depth": 2}}, {"nothing": 1}, {"table": {"x": 2}}):
        with pytest.raises(ValueError, match="would take no part"):
            require_same(other, Config, "model", "c")


@pytest.mark.parametrize(
    "options, said",
    [
        ({"teacher_image_size": 64}, "teacher_image_size 64 would take no part: there is no teacher_model. "),
        (
            {"model_config": {**CONFIG, "lambda_teacher": 2.0}},
            "model_config.lambda_teacher 2.0 would take no part: there is no",
        ),
        (
            {"teacher_model": "a/b", "model_config": {**CONFIG, "lambda_teacher": 0}},
            "teacher_model 'a/b' would take no part: mod",
        ),
        (
            {"model_config": {**CONFIG, "teacher_width": 8}},
            "model_config.teacher_width 8 would take no part: it is the teacher",
        ),
    ],
)
def test_a_teacher_without_effect(tmp_path, options, said):
    assert error_of(tmp_path, **options).startswith(said)


@pytest.mark.parametrize("tune", ["all", "layer_norm", "last_1", "none"])
def test_a_rank_without_adapters(tmp_path, tune):
    said = f"lora_rank 4 would take no part: tune is {tune}, not lora. Leave it out; where a recipe has it, give --lora_rank 8."
    assert error_of(tmp_path, tune=tune, lora_rank=4) == said


def test_batch_norms_that_are_not_there(tmp_path):
    config = {
        **CONFIG,
        "vision_config": {"model_type": "vit", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
    }
    said = error_of(tmp_path, freeze_batch_norm=True, model_config=config)
    assert said.startswith("freeze_batch_norm would take no part: no batch norm of ViTModel learns.")

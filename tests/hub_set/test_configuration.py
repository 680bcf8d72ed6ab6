"""python -m pytest tests/hub_set/test_configuration.py"""

import json
import math

import pytest
from huggingface_hub.errors import StrictDataclassClassValidationError, StrictDataclassFieldValidationError
from tiny import caan_config, text_config, timm_config, vision_config
from transformers import AutoConfig, BertConfig, CLIPTextConfig, ViTConfig

from configuration_caan import CAANConfig


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("hidden_size", "512", "expected int, got str"),
        ("hidden_size", True, "expected int, got bool"),
        ("hidden_size", 8.0, "expected int, got float"),
        ("share_vision_encoder", "yes", "expected bool, got str"),
        ("margin", "0.3", "expected float, got str"),
        ("mining", "semi_hard", "'batch_hard', 'random'"),
        ("pooling", "cls", "'token', 'mean'"),
        ("loss_on", "aligned", "'both', 'before', 'after'"),
        ("vision_config", "vit", "expected dict, got str"),
        ("text_config", 3, "expected dict, got int"),
    ],
)
def test_a_wrong_type_is_refused_by_name(field, value, said):
    with pytest.raises(StrictDataclassFieldValidationError) as caught:
        CAANConfig(**{field: value})
    assert field in str(caught.value) and said in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"hidden_size": 500}, r"hidden_size \(500\) must be a multiple of num_attention_heads \(8\)"),
        ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
        ({"num_attention_heads": 0}, "num_attention_heads must be at least 1, got 0"),
        ({"intermediate_size": -1}, "intermediate_size must be at least 1, got -1"),
        ({"relation_hidden_size": 0}, "relation_hidden_size must be at least 1, got 0"),
        ({"num_relation_tokens": 48}, "num_relation_tokens must be a square number such as 49, got 48"),
        ({"num_relation_tokens": -4}, "num_relation_tokens must be at least 1, got -4"),
        ({"num_prompt_tokens": -1}, "num_prompt_tokens must be at least 0, got -1"),
        ({"num_alignment_layers": -1}, "num_alignment_layers must be at least 0, got -1"),
        ({"text_dropout": 1.0}, r"text_dropout must be in \[0, 1\), got 1.0"),
        ({"alignment_dropout": -0.1}, r"alignment_dropout must be in \[0, 1\), got -0.1"),
        ({"temperature": 0}, "temperature must be above 0, got 0"),
        ({"margin": 2.5}, r"margin must be in \[0, 2\], got 2.5"),
        ({"margin": math.nan}, r"margin must be in \[0, 2\], got nan"),
        ({"lambda_tri": -1}, "lambda_tri must be at least 0, got -1"),
        ({"lambda_rn": -1.0}, "lambda_rn must be at least 0, got -1.0"),
        ({"lambda_con": -0.5}, "lambda_con must be at least 0, got -0.5"),
        ({"lambda_instance": -1}, "lambda_instance must be at least 0, got -1"),
        ({"lambda_text": math.nan}, "lambda_text must be at least 0, got nan"),
        ({"max_description_tokens": 0}, "max_description_tokens must be at least 1, got 0"),
        (
            {"max_description_tokens": 78, "text_config": CLIPTextConfig(max_position_embeddings=77)},
            r"max_description_tokens \(78\) is more than the text encoder reads \(max_position_embeddings = 77\)",
        ),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(fields, said):
    with pytest.raises(StrictDataclassClassValidationError, match=said):
        CAANConfig(**fields)


def test_a_field_is_checked_when_it_is_set_later():
    config = caan_config()
    with pytest.raises(StrictDataclassFieldValidationError, match="margin"):
        config.margin = "large"
    assert config.margin == 0.3


def test_the_edges_of_the_ranges_are_allowed():
    config = caan_config(margin=2, text_dropout=0, lambda_tri=0, num_relation_tokens=1, max_description_tokens=64)
    assert (config.margin, config.text_dropout, config.lambda_tri, config.num_relation_tokens) == (2, 0, 0, 1)


@pytest.mark.parametrize("name", ["vit", "dinov2", "clip_vision", "resnet", "timm_vit"])
def test_json_brings_everything_back(tmp_path, name):
    config = caan_config(vision_config=name, margin=0.5, mining="random", text_dropout=0.25, loss_on="after")
    config.save_pretrained(tmp_path)
    for loaded in (CAANConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert type(loaded) is CAANConfig
        assert type(loaded.vision_config) is type(config.vision_config)
        assert type(loaded.text_config) is BertConfig
        saved, read = config.to_dict(), loaded.to_dict()
        differing = {key for key in saved if saved[key] != read.get(key)}
        assert differing <= {"architectures", "auto_map", "_name_or_path"}
        assert (loaded.margin, loaded.mining, loaded.text_dropout, loaded.loss_on) == (0.5, "random", 0.25, "after")
    assert json.loads((tmp_path / "config.json").read_text())["vision_config"]["model_type"] == config.vision_config.model_type


def test_json_keeps_the_arguments_of_a_timm_model(tmp_path):
    model_args = {"img_size": 32, "depths": [1, 1], "dynamic_img_size": True}
    caan_config(vision_config=timm_config("swin_tiny_patch4_window7_224", **model_args)).save_pretrained(tmp_path)
    loaded = CAANConfig.from_pretrained(tmp_path).vision_config
    assert loaded.architecture == "swin_tiny_patch4_window7_224" and loaded.model_args == model_args


def test_dicts_become_configs_and_absent_ones_get_the_documented_defaults():
    vision = {"model_type": "dinov2", "hidden_size": 48}
    config = CAANConfig(vision_config=vision, text_config={"model_type": "clip_text_model"})
    assert (config.vision_config.model_type, config.vision_config.hidden_size) == ("dinov2", 48)
    assert isinstance(config.text_config, CLIPTextConfig)
    default = CAANConfig()
    assert isinstance(default.vision_config, ViTConfig) and isinstance(default.text_config, BertConfig)
    assert (default.vision_config.hidden_size, default.vision_config.patch_size) == (768, 16)
    assert CAANConfig(vision_config={"hidden_size": 48}).vision_config.model_type == "vit"


def test_an_unknown_model_type_is_named():
    with pytest.raises(ValueError, match="Unrecognized model identifier: no_such_net"):
        CAANConfig(vision_config={"model_type": "no_such_net"})


def test_two_configs_do_not_share_their_encoders_configs():
    first, second = CAANConfig(), CAANConfig()
    first.vision_config.hidden_size = 24
    assert second.vision_config.hidden_size == 768


def test_a_saved_config_does_not_tell_where_the_encoders_lay(tmp_path):
    vision_config().save_pretrained(tmp_path / "vision")
    text_config().save_pretrained(tmp_path / "text")
    config = CAANConfig(
        vision_config=AutoConfig.from_pretrained(tmp_path / "vision"), text_config=AutoConfig.from_pretrained(tmp_path / "text")
    )
    config.save_pretrained(tmp_path / "caan")
    assert str(tmp_path) not in (tmp_path / "caan" / "config.json").read_text()

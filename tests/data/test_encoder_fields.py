"""Fields of an encoder in `model_config`.  python -m pytest tests/data/test_encoder_fields.py"""

import pytest
from tiny import text_config, vision_config

from caan.data.encoders import check_encoder

FAMILIES = ["vit", "dinov2", "dinov3_vit", "clip_vision", "siglip_vision", "resnet", "convnext", "timm_vit", "timm_swin"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_config_is_taken_as_it_is(family):
    check_encoder("vision_config", vision_config(family).to_dict())


def test_a_saved_text_config_is_taken_as_it_is():
    check_encoder("text_config", {**text_config().to_dict(), "_name_or_path": "/a/b", "pad_token_id": -1})


@pytest.mark.parametrize(
    "fields",
    [
        {"hidden_size": 16, "num_labels": 3, "hidden_dropout_prob": 0.0},
        {"model_type": "resnet", "depths": [1, 1], "hidden_sizes": [8, 16], "out_indices": [-1]},
        {"model_type": "resnet", "hidden_sizes": [8, 16, 32, 64]},
        {"model_type": "swin", "depths": [1, 1]},
        {"model_type": "dinov2_with_registers", "num_register_tokens": 0},
        {"model_type": "clip_vision_model", "num_attention_heads": 2},
        {"model_type": "timm_wrapper", "architecture": "resnet18", "model_args": {"channels": [8]}},
    ],
)
def test_what_is_right_is_taken(fields):
    check_encoder("vision_config", fields)


@pytest.mark.parametrize(
    "name, fields, said",
    [
        ("vision_config", {"hiden_size": 16}, "vision_config (vit) has no field 'hiden_size', did you mean 'hidden_size'?"),
        ("text_config", {"patch_size": 16}, "text_config (bert) has no field 'patch_size'"),
        (
            "vision_config",
            {"model_type": "resnet", "dephts": [1]},
            "vision_config (resnet) has no field 'dephts', did you mean",
        ),
        ("vision_config", {"model_type": "vitt"}, "vision_config: transformers knows no model_type 'vitt', did you mean 'vi"),
        ("vision_config", {"hidden_size": -16}, "vision_config (vit): hidden_size must be at least 1, got -16."),
        ("vision_config", {"hidden_size": 0}, "vision_config (vit): hidden_size must be at least 1, got 0."),
        ("vision_config", {"num_hidden_layers": -1}, "vision_config (vit): num_hidden_layers must be at least 1, got -1."),
        (
            "vision_config",
            {"hidden_dropout_prob": -0.1},
            "vision_config (vit): hidden_dropout_prob must be at least 0, got -0.1.",
        ),
        (
            "vision_config",
            {"model_type": "resnet", "depths": [1, -1]},
            "vision_config (resnet): depths must be at least 1, got [1, -1].",
        ),
        (
            "vision_config",
            {"model_type": "resnet", "depths": [1, 1], "hidden_sizes": [8, 16, 32]},
            "vision_config (resnet): depths [1, 1], hidden_sizes [8, 16, 32] are of different numbers of stages",
        ),
        (
            "vision_config",
            {"model_type": "resnet", "depths": [1, 1, 1], "hidden_sizes": [8, 16]},
            "vision_config (resnet): depths [1, 1, 1], hidden_sizes [8, 16] are of different numbers of stages",
        ),
        (
            "vision_config",
            {"model_type": "resnet", "depths": [1, 1]},
            "vision_config (resnet): depths [1, 1], hidden_sizes [256, 512, 1024, 2048] are of different numbers of stages",
        ),
        (
            "vision_config",
            {"model_type": "convnext", "depths": [1, 1, 1], "hidden_sizes": [8, 16, 16], "num_stages": 2},
            "vision_config (convnext): depths [1, 1, 1], hidden_sizes [8, 16, 16], num_stages 2 are of different numbers",
        ),
        (
            "vision_config",
            {"model_type": "swin", "depths": [1, 1], "num_heads": [1, 2, 4]},
            "vision_config (swin): depths [1, 1], num_heads [1, 2, 4] are of different numbers of stages",
        ),
        (
            "text_config",
            {"max_position_embeddings": -1},
            "text_config (bert): max_position_embeddings must be at least 0, got -1.",
        ),
    ],
)
def test_what_is_wrong_is_told_by_its_name(name, fields, said):
    with pytest.raises(ValueError) as caught:
        check_encoder(name, fields)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"channels": [8, 8], "layers": [1, 1, 1]}, "channels [8, 8], layers [1, 1, 1] are of different numbers of stages"),
        ({"layers": [0, 0, 0, 0]}, "layers must be at least 1, got [0, 0, 0, 0]."),
        ({"embed_dim": -16}, "embed_dim must be at least 1, got -16."),
        ({"depth": 0}, "depth must be at least 1, got 0."),
        ({"channels": "wide"}, "channels must be a list of numbers, got 'wide'."),
        ({"num_classes": 10}, "cannot have 'num_classes': no classes are told apart. Leave it out."),
        ({"pretrained": True}, "cannot have 'pretrained': weights come by vision_model"),
        ({"in_chans": 1}, "cannot have 'in_chans': pictures have three channels."),
    ],
)
def test_what_timm_is_told_is_checked(arguments, said):
    with pytest.raises(ValueError) as caught:
        check_encoder("vision_config", {"model_type": "timm_wrapper", "architecture": "resnet10t", "model_args": arguments})
    assert said in str(caught.value) and str(caught.value).startswith("vision_config (timm_wrapper): model_args")

"""Learned prompt tokens of the vision encoders.  python -m pytest tests/hub_set/test_prompts.py"""

import copy

import pytest
import torch
from tiny import (
    IMAGE_SIZE,
    assert_same_tensors,
    batch,
    caan_config,
    caan_model,
    complaints,
    features,
    timm_config,
    vision_config,
)
from transformers import AutoModel, SwinConfig

from caan.training.loop import recompute_activations
from caan.training.optimizer import vision_blocks
from configuration_caan import CAANConfig
from modeling_caan import CAANModel, trained_size

COUNT = 3
SERVED = ("vit", "dinov2", "dinov2_with_registers", "dinov3_vit", "clip_vision", "siglip_vision", "deit")
SERVED += ("timm_vit", "timm_vit_no_class_token", "timm_vit_registers_only")
REFUSED = ("resnet", "convnext", "timm_resnet", "timm_swin")


def prompted(name="vit", **fields) -> CAANModel:
    return caan_model(vision_config=name, num_prompt_tokens=COUNT, use_text=False, share_vision_encoder=True, **fields)


def pixels(height=IMAGE_SIZE, width=IMAGE_SIZE):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.parametrize("name", SERVED)
def test_all_blocks_read_the_prompts_and_nothing_after_them_does(name):
    model = prompted(name)
    tower, seen = model.image_encoder, []
    for block in vision_blocks(tower.encoder):
        block.register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0]))
    tokens = tower(pixels())
    prefix, size = tower.num_prefix_tokens, tower.num_prefix_tokens + COUNT + 16
    assert [read.shape[1] for read in seen] == [size, size]
    if name != "clip_vision":  # which norms what its first block reads
        assert torch.equal(seen[0][:, prefix : prefix + COUNT], tower.prompt_tokens.weight.expand(2, -1, -1))
    plain = caan_model(vision_config=name, use_text=False, share_vision_encoder=True)
    plain.load_state_dict(model.state_dict(), strict=False)
    without = plain.image_encoder(pixels())
    assert tokens.grid == without.grid == (4, 4) and tokens.local_tokens.shape == without.local_tokens.shape
    assert not torch.allclose(tokens.global_token, without.global_token, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", ["dinov2_with_registers", "dinov3_vit"])
@pytest.mark.parametrize("size", [(32, 32), (48, 64)])
def test_prompts_are_registers(name, size):
    """What a model with as many registers more computes, where the encoder has them: also with rotary positions."""
    tower = prompted(name).image_encoder
    config = copy.deepcopy(tower.encoder.config)
    config.num_register_tokens += COUNT
    other = caan_model(vision_config=config, use_text=False, share_vision_encoder=True).image_encoder
    weights = tower.state_dict()
    (key,) = [key for key in weights if key.endswith("register_tokens")]
    weights[key] = torch.cat([weights[key], weights.pop("prompt_tokens.weight")[None]], dim=1)
    other.load_state_dict(weights)
    found, expected = tower(pixels(*size)), other(pixels(*size))
    assert found.grid == expected.grid
    assert torch.allclose(found.global_token, expected.global_token, atol=1e-6)
    assert torch.allclose(found.local_tokens, expected.local_tokens, atol=1e-6)


@torch.no_grad()
def test_a_clip_run_by_hand():
    tower = prompted("clip_vision").image_encoder
    encoder = getattr(tower.encoder, "vision_model", tower.encoder)
    embeddings = copy.deepcopy(encoder.embeddings)
    embeddings._forward_hooks.clear()
    prompts = tower.prompt_tokens.weight.expand(2, -1, -1)
    tokens = torch.cat([embeddings(pixels()), prompts], dim=1)  # the order makes no difference
    hidden = encoder.encoder(inputs_embeds=encoder.pre_layrnorm(tokens)).last_hidden_state
    expected = tower.projection(hidden[:, :-COUNT])
    found = tower(pixels())
    assert torch.allclose(found.global_token, expected[:, 0], atol=1e-6)
    assert torch.allclose(found.local_tokens, expected[:, 1:], atol=1e-6)


@pytest.mark.parametrize("name", ["vit", "dinov3_vit", "timm_vit"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_prompts_learn_with_recomputed_activations_too(name, checkpointing):
    model = prompted(name).train()
    model.image_encoder.encoder.requires_grad_(False)
    if checkpointing:
        recompute_activations(model)
    model(**{key: value for key, value in batch().items() if "ids" not in key and "mask" not in key}).loss.backward()
    gradient = model.image_encoder.prompt_tokens.weight.grad
    assert gradient.shape == (COUNT, 16) and (gradient.abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("name", REFUSED)
def test_an_encoder_that_reads_no_prompts_is_refused_by_name(name):
    encoder = type(caan_model(vision_config=name).image_encoder.encoder).__name__
    with pytest.raises(ValueError, match=rf"^num_prompt_tokens must be 0 with this vision encoder \({encoder}\): prompts need"):
        prompted(name)


SWIN = SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4)
EVA = timm_config("eva02_tiny_patch14_224", img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2)


@pytest.mark.parametrize("config", [SWIN, EVA], ids=["windows", "rotary"])
def test_windows_and_rotary_positions_of_fixed_length_are_refused(config):
    with pytest.raises(ValueError, match="^num_prompt_tokens must be 0 with this vision encoder .*Error: "):
        prompted(config)


def test_the_trial_leaves_no_trace():
    torch.manual_seed(0)
    model = CAANModel(caan_config(use_text=False, num_prompt_tokens=COUNT))
    drawn = torch.rand(3)
    torch.manual_seed(0)
    again = CAANModel(caan_config(use_text=False, num_prompt_tokens=COUNT))
    assert model.training and all(module.training for module in model.modules())
    assert_same_tensors(model, again)
    assert torch.equal(drawn, torch.rand(3))
    assert 0 < model.image_encoder.prompt_tokens.weight.std() < 0.04  # initializer_range is 0.02


def test_a_saved_model_has_its_prompts(tmp_path):
    model = prompted("dinov2")
    model.save_pretrained(tmp_path)
    with complaints() as texts:
        again = AutoModel.from_pretrained(tmp_path)
    assert not texts and again.config.num_prompt_tokens == COUNT
    assert_same_tensors(model, again)
    for one, other in zip(features(model), features(again)):
        assert torch.equal(one, other)


def test_a_copy_reads_its_own_prompts():
    model = prompted()
    other = copy.deepcopy(model)
    torch.nn.init.zeros_(other.image_encoder.prompt_tokens.weight)
    assert not torch.equal(features(model)[1], features(other)[1])
    inference = model.for_inference()
    assert torch.equal(features(model)[1], features(inference)[1])
    torch.nn.init.zeros_(inference.image_encoder.prompt_tokens.weight)  # the same memory
    assert torch.equal(features(model)[1], features(other)[1])


def test_no_prompts_are_the_default_and_change_nothing():
    assert CAANConfig().num_prompt_tokens == 0
    model = caan_model(num_prompt_tokens=0)
    assert_same_tensors(model, caan_model())
    assert not any("prompt" in name for name in model.state_dict())
    assert not any(module._forward_hooks for module in model.image_encoder.modules())


def test_the_size_that_an_encoder_was_made_for():
    sizes = {name: trained_size(caan_model(vision_config=name).image_encoder.encoder) for name in ("vit", "timm_vit", "resnet")}
    assert sizes == {"vit": (32, 32), "timm_vit": (32, 32), "resnet": (224, 224)}
    config = vision_config("vit")
    config.image_size = [32, 16]
    assert trained_size(caan_model(vision_config=config).image_encoder.encoder) == (32, 16)

"""Saving, loading, the inference form, warm starts.  python -m pytest tests/hub_set/test_modeling_checkpoints.py"""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import add_noise, assert_same_tensors, batch, caan_model, complaints, features, tensors, text_config, vision_config
from transformers import AutoModel

from modeling_caan import CAANModel

TEXT_PARTS = ("text_encoder.", "text_projection.", "sketch_alignment.", "image_alignment.")


@pytest.mark.parametrize("name", ["vit", "dinov3_vit", "timm_vit", "timm_swin", "timm_resnet"])
def test_reloading_is_bit_equal(tmp_path, name):
    """timm's swin has buffers that are not saved and must be made anew."""
    model = caan_model(vision_config=name)
    model.save_pretrained(tmp_path)
    with complaints() as said:
        reloaded, report = CAANModel.from_pretrained(tmp_path, output_loading_info=True)
    assert said == [] and not any(report.values())
    assert_same_tensors(reloaded, model)
    for got, expected in zip(features(reloaded), features(model)):
        assert torch.equal(got, expected)
    assert not reloaded.training


def test_a_checkpoint_of_another_size_names_what_does_not_fit(tmp_path):
    caan_model().save_pretrained(tmp_path)
    with complaints() as said, pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        CAANModel.from_pretrained(tmp_path, hidden_size=16)
    assert "image_encoder.projection.weight" in said[0] and "ckpt: torch.Size([8, 16]) vs model:torch.Size([16, 16])" in said[0]
    assert CAANModel.from_pretrained(tmp_path, margin=0.7).config.margin == 0.7


def test_weights_missing_from_a_checkpoint_are_initialised_and_named(tmp_path):
    caan_model().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    lost = ("relation_network.", "image_encoder.", "text_projection.")
    save_file({k: v.clone() for k, v in load_file(path).items() if not k.startswith(lost)}, path, metadata={"format": "pt"})
    with complaints() as said:
        model, report = CAANModel.from_pretrained(tmp_path, output_loading_info=True)
    assert report["missing_keys"] == {name for name in model.state_dict() if name.startswith(lost)}
    assert "relation_network.reduction.weight" in said[0]
    for name, weight in model.named_parameters():
        assert weight.device.type == "cpu" and weight.isfinite().all() and weight.abs().max() < 5, name
    assert 0.01 < model.relation_network.reduction.weight.std() < 0.03 and (model.relation_network.reduction.bias == 0).all()


@pytest.mark.parametrize("name", ["vit", "timm_swin"])
def test_the_inference_form_has_the_same_features_and_no_text(tmp_path, name):
    model = caan_model(vision_config=name).train()
    state = torch.get_rng_state()
    light = model.for_inference()
    assert torch.equal(torch.get_rng_state(), state) and model.training and not light.training
    assert not light.config.use_text and model.config.use_text
    kept = {key for key in tensors(model) if not key.startswith(TEXT_PARTS)}
    assert tensors(light).keys() == kept and light.state_dict().keys() < model.state_dict().keys()
    light.save_pretrained(tmp_path)
    with complaints() as said:
        reloaded, report = CAANModel.from_pretrained(tmp_path, output_loading_info=True)
    assert said == [] and not any(report.values())
    assert_same_tensors(reloaded, light)
    for got, light_got, expected in zip(features(reloaded), features(light), features(model.eval())):
        assert torch.equal(got, expected) and torch.equal(light_got, expected)
    inputs = batch()
    for form in (light, reloaded):
        tokens = form.get_relation_tokens(inputs["pixel_values"], "photo")
        assert torch.equal(tokens, model.get_relation_tokens(inputs["pixel_values"], "photo"))


def test_the_inference_form_shares_memory_but_not_fate():
    """Freezing, casting or moving it leaves the model in training as it was; training reaches it."""
    model = caan_model()
    light, before = model.for_inference(), copy.deepcopy(model)
    weight = model.image_encoder.projection.weight
    assert light.image_encoder.projection.weight.data_ptr() == weight.data_ptr()
    with torch.no_grad():
        weight += 1
        assert torch.equal(light.image_encoder.projection.weight, weight)
        weight.copy_(before.image_encoder.projection.weight)
    light.requires_grad_(False)
    light.half()
    assert {p.dtype for p in light.parameters()} == {torch.float16} and {p.dtype for p in model.parameters()} == {torch.float32}
    assert all(p.requires_grad for p in model.image_encoder.parameters())
    assert_same_tensors(model.image_encoder, before.image_encoder)
    assert_same_tensors(light.for_inference(), light)


def test_a_shared_vision_encoder_is_one_module_saved_once(tmp_path):
    shared, inputs = caan_model(share_vision_encoder=True), batch()
    assert shared.vision_towers() == [shared.image_encoder] and len(caan_model().vision_towers()) == 2
    assert torch.equal(*(shared.encode(inputs["pixel_values"], m).global_token for m in ("sketch", "photo")))
    shared.save_pretrained(tmp_path)
    names = load_file(tmp_path / "model.safetensors").keys()
    assert any(n.startswith("image_encoder.") for n in names) and not any(n.startswith("sketch_encoder.") for n in names)
    assert_same_tensors(CAANModel.from_pretrained(tmp_path), shared)
    shared.train()(**inputs).loss.backward()
    assert shared.image_encoder.projection.weight.grad.abs().sum() > 0


# --------------------------------------------------------------------------------------------------------- warm start


def save_encoder(folder, config, dtype=torch.float32):
    torch.manual_seed(1)
    encoder = add_noise(AutoModel.from_config(config)).to(dtype)
    encoder.save_pretrained(folder)
    return encoder


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", ["vit", "dinov2", "timm_vit", "timm_resnet", "clip_vision"])
def test_a_warm_start_copies_the_encoders_into_both_towers_in_float32(tmp_path, name, dtype):
    vision = save_encoder(tmp_path / "vision", vision_config(name), dtype).eval()
    text = save_encoder(tmp_path / "text", text_config(), dtype)
    model = CAANModel.from_encoders_pretrained(
        tmp_path / "vision", tmp_path / "text", hidden_size=8, num_attention_heads=2, num_relation_tokens=4, margin=0.4
    )
    assert model.config.margin == 0.4 and model.config.vision_config.model_type == vision.config.model_type
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    for target, source in [(tower.encoder, vision) for tower in model.vision_towers()] + [(model.text_encoder, text)]:
        copied = source.state_dict()
        assert target.state_dict().keys() <= copied.keys()
        for key, weight in target.state_dict().items():
            assert torch.equal(weight, copied[key].to(weight.dtype)), key
    pixels = batch()["pixel_values"]
    with torch.no_grad():
        hidden = model.eval().sketch_encoder.encoder(pixels).last_hidden_state
        assert torch.allclose(hidden, vision.float()(pixels).last_hidden_state, atol=1e-5)
    first, second = (tower.encoder.state_dict() for tower in model.vision_towers())
    assert not any(first[key].data_ptr() == second[key].data_ptr() for key in first if first[key].numel())
    model.save_pretrained(tmp_path / "caan")
    assert str(tmp_path) not in (tmp_path / "caan" / "config.json").read_text()
    assert_same_tensors(CAANModel.from_pretrained(tmp_path / "caan"), model)


def test_a_warm_start_without_text_has_no_text(tmp_path):
    save_encoder(tmp_path, vision_config())
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_relation_tokens": 4}
    model = CAANModel.from_encoders_pretrained(tmp_path, share_vision_encoder=True, **sizes)
    assert not model.config.use_text and not any(name.startswith(TEXT_PARTS) for name in model.state_dict())
    with pytest.raises(ValueError, match="use_text=True needs a text encoder: give text"):
        CAANModel.from_encoders_pretrained(tmp_path, use_text=True, **sizes)


def test_a_warm_start_from_incomplete_weights_is_refused(tmp_path):
    """A missing head is not missed; a missing layer would be random noise that nobody asked for."""
    save_encoder(tmp_path, vision_config())
    path = tmp_path / "model.safetensors"
    weights = {name: weight.clone() for name, weight in load_file(path).items() if "pooler" not in name}
    save_file(weights, path, metadata={"format": "pt"})
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_relation_tokens": 4}
    model = CAANModel.from_encoders_pretrained(tmp_path, **sizes)
    assert torch.equal(model.sketch_encoder.encoder.layernorm.bias, weights["layernorm.bias"])
    save_file({k: w for k, w in weights.items() if k != "layernorm.bias"}, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"{tmp_path} lacks 1 of the encoder's weights: layernorm.bias"):
        CAANModel.from_encoders_pretrained(tmp_path, **sizes)


def test_a_warm_start_from_a_text_encoder_as_vision_is_refused(tmp_path):
    save_encoder(tmp_path, text_config())
    with pytest.raises(ValueError, match=r"BertConfig \(bert\) is no vision encoder"):
        CAANModel.from_encoders_pretrained(tmp_path)

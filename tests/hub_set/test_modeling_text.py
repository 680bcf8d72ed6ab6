"""Text at training and none at test; precision and memory of training.  python -m pytest tests/hub_set/test_modeling_text.py"""

import pytest
import torch
from tiny import batch, caan_model, features

from caan.training.loop import recompute_activations
from modeling_caan import CAANModel, join


@pytest.fixture(scope="module")
def model():
    return caan_model()


@pytest.mark.parametrize("loss_on", ["after", "both"])
def test_gradients_reach_both_towers_through_alignment(loss_on):
    model = caan_model(loss_on=loss_on, text_dropout=0.0).train()
    model(**batch()).loss.backward()
    for part in ("sketch_encoder", "image_encoder", "sketch_alignment", "image_alignment", "relation_network"):
        module = getattr(model, part)
        gradients = [weight.grad for weight in module.parameters() if weight.grad is not None]
        assert len(gradients) == len(list(module.parameters())), part
        assert all(gradient.isfinite().all() for gradient in gradients), part
        assert sum(gradient.abs().sum() for gradient in gradients) > 0, part
    assert model.text_projection.weight.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in model.text_encoder.parameters())


@torch.no_grad()
def test_the_text_changes_the_loss():
    model, inputs = caan_model(loss_on="after"), batch()
    other = {**inputs, "input_ids": inputs["input_ids"].roll(1, dims=0)}
    assert abs(model(**inputs).loss - model(**other).loss) > 1e-4


@torch.no_grad()
def test_retrieval_never_touches_text_or_alignment(monkeypatch):
    model, inputs = caan_model(), batch()
    expected = features(model)

    def refuse(*args, **kwargs):
        raise AssertionError("text was read at inference")

    for name in ("text_encoder", "text_projection", "sketch_alignment", "image_alignment"):
        monkeypatch.setattr(getattr(model, name), "forward", refuse)
    got = features(model)
    assert torch.equal(got[0], expected[0]) and torch.equal(got[1], expected[1])
    model.get_relation_tokens(inputs["pixel_values"], "photo")
    assert torch.equal(model(pixel_values=inputs["pixel_values"]).image_embeds, expected[1])
    with pytest.raises(AssertionError, match="text was read"):
        model(**inputs)


@torch.no_grad()
def test_sentences_are_encoded_one_by_one(model):
    inputs = batch()
    words, mask = model.encode_descriptions(inputs["input_ids"], inputs["attention_mask"])
    assert words.shape == (3, 10, 12) and mask.shape == (3, 10) and mask.dtype == torch.bool
    for c in range(3):
        for s in range(2):
            length = int(inputs["attention_mask"][c, s].sum())
            alone = model.text_encoder(input_ids=inputs["input_ids"][None, c, s, :length]).last_hidden_state[0]
            assert torch.allclose(words[c, 5 * s : 5 * s + length], alone, atol=1e-5)
            assert mask[c, 5 * s : 5 * s + 5].tolist() == [i < length for i in range(5)]


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 0), (torch.float16, 1e-3)])
def test_cached_descriptions_do_as_well_as_fresh_ones(model, dtype, tolerance):
    """Also when the cache is kept in half precision, and its mask as integers."""
    inputs = batch()
    words, mask = model.encode_descriptions(inputs["input_ids"], inputs["attention_mask"])
    cached = {name: inputs[name] for name in ("pixel_values", "sketch_pixel_values", "labels")}
    output = model(**cached, text_features=words.to(dtype), text_mask=mask.long())
    assert torch.allclose(output.loss, model(**inputs).loss, atol=tolerance)


@torch.no_grad()
def test_attention_maps_are_of_each_pictures_own_description(model):
    inputs = batch()
    output = model(**inputs, output_attentions=True)
    words, mask = model.encode_descriptions(inputs["input_ids"], inputs["attention_mask"])
    for kind, name in (("sketch", "sketch_pixel_values"), ("image", "pixel_values")):
        (weights,) = getattr(output, f"{kind}_text_attentions")
        assert weights.shape == (6, 2, 17, 10)
        assert torch.allclose(weights.sum(-1), torch.ones(6, 2, 17), atol=1e-5)
        tokens = join(model.encode(inputs[name], {"sketch": "sketch", "image": "photo"}[kind]))
        for row, label in enumerate(inputs["labels"].tolist()):
            assert (weights[row, :, :, ~mask[label]] == 0).all()
            text = model.text_projection(words[label, mask[label]])[None]
            every = torch.ones(text.shape[:2], dtype=torch.bool)
            alone = getattr(model, f"{kind}_alignment")(tokens[row : row + 1], text, every, True)[1][0]
            assert torch.allclose(weights[row][:, :, mask[label]], alone[0], atol=1e-5)
    assert torch.allclose(output.loss, model(**inputs).loss)


@pytest.mark.parametrize("reloaded", [False, True])
def test_a_frozen_text_encoder_stays_frozen_and_in_eval(tmp_path, reloaded):
    model = caan_model()
    if reloaded:
        model.save_pretrained(tmp_path)
        model = CAANModel.from_pretrained(tmp_path)
    model.train()
    assert model.training and model.image_encoder.training and not any(m.training for m in model.text_encoder.modules())
    assert not any(weight.requires_grad for weight in model.text_encoder.parameters())
    others = [weight for name, weight in model.named_parameters() if not name.startswith("text_encoder.")]
    assert all(weight.requires_grad for weight in others)
    words = model.encode_descriptions(batch()["input_ids"], batch()["attention_mask"])[0]
    assert not words.requires_grad


def test_an_unfrozen_text_encoder_learns():
    model = caan_model(freeze_text_encoder=False).train()
    assert all(module.training for module in model.text_encoder.modules())
    model(**batch()).loss.backward()
    gradients = [weight.grad for weight in model.text_encoder.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients) and sum(g.abs().sum() for g in gradients) > 0


# ----------------------------------------------------------------------------------------------- precision and memory


def step(model, inputs, **autocast):
    model.zero_grad()
    with torch.autocast("cpu", **(autocast or {"enabled": False})):
        loss = model(**inputs).loss
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["vit", "timm_vit"])
def test_activation_checkpointing_changes_memory_and_no_value(name):
    model, inputs = caan_model(vision_config=name, text_dropout=0.0).train(), batch()
    encoder = model.image_encoder.encoder
    first = "norm1" if name == "timm_vit" else "layernorm_before"
    block = next(module for path, module in encoder.named_modules() if path.endswith(first))
    calls = []
    block.register_forward_hook(lambda *_: calls.append(1))
    loss, gradients = step(model, inputs)
    assert len(calls) == 1
    recompute_activations(model)
    checkpointed, checkpointed_gradients = step(model, inputs)
    assert len(calls) == 3  # forward, and once more on the way back
    assert torch.equal(loss, checkpointed) and gradients.keys() == checkpointed_gradients.keys()
    for key in gradients:
        assert torch.allclose(gradients[key], checkpointed_gradients[key], atol=1e-7), key
    (getattr(model, "activation_checkpointing_disable", None) or model.gradient_checkpointing_disable)()
    step(model, inputs)
    assert len(calls) == 4


def test_a_timm_model_without_activation_checkpointing_is_named(monkeypatch):
    model = caan_model(vision_config="timm_resnet")
    monkeypatch.setattr(model.image_encoder.encoder, "supports_gradient_checkpointing", False)
    with pytest.raises(ValueError, match="timm's resnet18 does not support activation checkpointing"):
        recompute_activations(model)


@pytest.mark.parametrize("name", ["vit", "timm_swin"])
def test_bfloat16_autocast_trains_near_float32(name):
    model, inputs = caan_model(vision_config=name, text_dropout=0.0, lambda_text=0.5).train(), batch()
    loss, gradients = step(model, inputs)
    half_loss, half_gradients = step(model, inputs, dtype=torch.bfloat16)
    assert half_loss.dtype == torch.float32 and half_loss.item() == pytest.approx(loss.item(), rel=0.05)
    assert half_gradients.keys() == gradients.keys()
    assert all(gradient.isfinite().all() and gradient.dtype == torch.float32 for gradient in half_gradients.values())
    flat = [torch.cat([g.flatten() for g in grads.values()]) for grads in (gradients, half_gradients)]
    assert torch.cosine_similarity(*flat, dim=0) > 0.9


@pytest.mark.parametrize("name", ["vit", "resnet", "timm_vit"])
def test_a_model_loaded_in_bfloat16_is_wholly_so_and_learns(tmp_path, name):
    exact = caan_model(vision_config=name)
    exact.save_pretrained(tmp_path / "float32")
    model = CAANModel.from_pretrained(tmp_path / "float32", dtype=torch.bfloat16)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    for got, expected in zip(features(model), features(exact)):
        assert got.dtype == torch.bfloat16 and torch.cosine_similarity(got.float(), expected).min() > 0.97
    output = model.train()(**batch())  # float32 pixels
    output.loss.backward()
    assert output.loss.dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    model.save_pretrained(tmp_path / "bfloat16")
    assert {w.dtype for w in CAANModel.from_pretrained(tmp_path / "bfloat16").parameters()} == {torch.bfloat16}
    again = CAANModel.from_pretrained(tmp_path / "bfloat16", dtype=torch.float32)
    assert {w.dtype for w in again.parameters()} == {torch.float32}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit", "dinov2", "timm_vit", "resnet"])
def test_torch_compile_without_graph_breaks(name):
    model, inputs = caan_model(vision_config=name), batch()
    compiled = torch.compile(model.get_image_features, fullgraph=True, backend="eager")  # traced, not compiled
    with torch.no_grad():
        assert torch.allclose(compiled(inputs["pixel_values"]), model.get_image_features(inputs["pixel_values"]), atol=1e-5)

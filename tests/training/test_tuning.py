"""What of the vision encoders learns, told by which weights a step moves.  python -m pytest tests/training/test_tuning.py"""

import copy
import sys

import pytest
import torch
from tiny import IMAGE_SIZE, add_noise, assert_same_tensors, batch, caan_model, features, timm_config, vision_config
from torch import nn

from caan.options import ModelOptions, TrainOptions
from caan.training.loop import recompute_activations, set_training
from caan.training.optimizer import build_optimizer, vision_blocks
from caan.training.tuning import freeze_batch_norms, has_adapters, merge_adapters, tune_encoders
from modeling_caan import CAANModel

pytest.importorskip("peft")
NAMES = ("vit", "dinov2", "clip_vision", "siglip_vision", "dinov3_vit", "resnet", "convnext", "timm_vit", "timm_swin")
ATTENDING = ("vit", "dinov2", "clip_vision", "siglip_vision", "dinov3_vit", "timm_vit", "timm_swin")
NORMS = ("norm", "bn", "downsampling_layer.0")  # in the names of norms


def tuned(name: str, tune: str, **fields) -> CAANModel:
    """A tiny model of two towers that learn as `tune` says."""
    model = caan_model(vision_config=name, lambda_con=1.0, num_relation_tokens=4, **fields)
    tune_encoders(model, ModelOptions(tune=tune))
    return model


def step(model: CAANModel, checkpointing: bool = False) -> set[str]:
    """Names of the weights that a step of the optimizer, with decay, moves."""
    optimizer = build_optimizer(model, TrainOptions(learning_rate=0.01, weight_decay=0.5))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    if checkpointing:
        recompute_activations(model)
    set_training(model)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model(**batch()).loss.backward()
    optimizer.step()
    return {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}


def parts(model: CAANModel, names: set[str]) -> tuple[set[str], set[str]]:
    """Those of the names that are of vision encoders, without their tower, and the others. Both towers are alike."""
    encoders = {tower: {n.split(".encoder.", 1)[1] for n in names if n.startswith(f"{tower}.encoder.")} for tower in TOWERS}
    assert encoders["image_encoder"] == encoders["sketch_encoder"]
    return encoders["image_encoder"], {name for name in names if not name.startswith(tuple(f"{t}.encoder." for t in TOWERS))}


TOWERS = ("image_encoder", "sketch_encoder")


def used(name: str) -> set[str]:
    """Names of an encoder's weights that a step moves where all of it learns: some take no part in the features."""
    return parts(model := tuned(name, "all"), step(model))[0]


def test_everything_is_the_default():
    assert ModelOptions().tune == "all"
    model = tuned("vit", "all")
    assert_same_tensors(model, caan_model(vision_config="vit", lambda_con=1.0, num_relation_tokens=4))
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert frozen and all(name.startswith("text_encoder.") for name in frozen)


@pytest.mark.parametrize("tune", ["none", "layer_norm", "last_1", "lora"])
def test_what_is_ours_always_learns(tune):
    ours = parts(model := tuned("vit", "all", num_prompt_tokens=2), step(model))[1]
    assert {name.split(".")[0] for name in ours} == {
        *("image_encoder", "sketch_encoder", "relation_network", "text_projection", "sketch_alignment", "image_alignment")
    }
    assert {"image_encoder.projection.weight", "sketch_encoder.prompt_tokens.weight"} <= ours
    assert parts(model := tuned("vit", tune, num_prompt_tokens=2), step(model))[1] == ours


@pytest.mark.parametrize("name", NAMES)
def test_none_moves_nothing_of_the_encoders(name):
    assert parts(model := tuned(name, "none"), step(model))[0] == set()


@pytest.mark.parametrize("name", NAMES)
def test_layer_norm_moves_norms_alone(name):
    moved = parts(model := tuned(name, "layer_norm"), step(model))[0]
    norms = {n for n in used(name) if any(mark in n.lower() for mark in NORMS)}
    assert moved == norms and len(moved) >= 8


@pytest.mark.parametrize("name", ATTENDING)
def test_layer_norm_attention_leaves_patches_projections_and_perceptrons(name):
    """What the public code of CLIP-AT freezes: weights and biases of layers that are neither norms nor query, key and value."""
    moved = parts(model := tuned(name, "layer_norm_attention"), step(model))[0]
    still = used(name) - moved
    marks = ("patch", "o_proj", "out_proj", "attn.proj", "fc1", "fc2", "up_proj", "down_proj", "reduction")
    assert still == {n for n in used(name) if any(mark in n for mark in marks) and "norm" not in n}
    assert any("q_proj" in n or "qkv" in n for n in moved) and any("norm" in n for n in moved)


def test_layer_norm_attention_of_clip_learns_its_class_token_and_positions():
    moved = parts(model := tuned("clip_vision", "layer_norm_attention"), step(model))[0]
    assert {"embeddings.class_embedding", "embeddings.position_embedding.weight"} <= moved


@pytest.mark.parametrize("name", ["vit", "dinov2", "timm_vit", "resnet"])
@pytest.mark.parametrize("count", [1, 2])
def test_the_last_blocks_learn_and_what_follows_them(name, count):
    model = tuned(name, f"last_{count}")
    encoder = model.image_encoder.encoder
    names = {id(weight): n for n, weight in encoder.named_parameters()}
    inside = [[names[id(weight)] for weight in block.parameters()] for block in vision_blocks(encoder)]
    assert len(inside) == 2
    order = list(names.values())
    after = order[order.index(inside[-1][-1]) + 1 :]  # the last norm
    chosen = {n for block in inside[2 - count :] for n in block} | set(after)
    assert bool(after) is (name != "resnet")
    assert parts(model, step(model))[0] == chosen & used(name)


@pytest.mark.parametrize("name", ["vit", "dinov2", "clip_vision"])
def test_an_encoder_of_one_layer_has_one_block(name):
    config = vision_config(name)
    config.num_hidden_layers = 1
    (block,) = vision_blocks(tuned(config, "last_1").image_encoder.encoder)
    assert all(weight.requires_grad for weight in block.parameters())
    with pytest.raises(ValueError, match="^tune is last_2, but .* shows 1 blocks: take last_1 or fewer, or all.$"):
        tuned(config, "last_2")


@pytest.mark.parametrize(
    "name,tune,said",
    [
        ("vit", "last_3", "tune is last_3, but ViTModel shows 2 blocks: take last_2 or fewer, or all."),
        ("timm_resnet", "last_1", "tune is last_1, but TimmWrapperModel shows 0 blocks: take all, layer_norm, lora or none."),
        ("resnet", "layer_norm_attention", "but ResNetModel has no query, key and value: take layer_norm."),
    ],
)
def test_an_encoder_without_such_parts_is_refused_by_name(name, tune, said):
    with pytest.raises(ValueError) as caught:
        tuned(name, tune)
    assert str(caught.value).endswith(said)


def without(model: CAANModel, kind: type) -> CAANModel:
    """The model with its encoders' modules of a kind replaced by nothing."""
    for tower in model.vision_towers():
        for parent in list(tower.encoder.modules()):
            for name, child in parent.named_children():
                if isinstance(child, kind):
                    setattr(parent, name, nn.Identity())
    return model


@pytest.mark.parametrize(
    "tune,kind,said",
    [("layer_norm", nn.LayerNorm, "has no norms"), ("lora", nn.Linear, "has no linear layers: take all, layer_norm or none.")],
)
def test_an_encoder_without_such_layers_is_refused_by_name(tune, kind, said):
    with pytest.raises(ValueError, match=f"^tune is {tune}, but ViTModel {said}"):
        tune_encoders(without(caan_model(), kind), ModelOptions(tune=tune))


# ------------------------------------------------------------------------------------------------------------ batch norms


def test_frozen_batch_norms_keep_weights_and_statistics():
    model = caan_model(vision_config="resnet")
    freeze_batch_norms(model)
    norms = [module for tower in model.vision_towers() for module in tower.modules() if isinstance(module, nn.BatchNorm2d)]
    held = {id(p) for norm in norms for p in norm.parameters()}
    assert norms and {id(p) for p in model.parameters() if not p.requires_grad} - held == {
        id(p) for p in model.text_encoder.parameters()
    }
    before = {name: tensor.clone() for name, tensor in norms[0].state_dict().items()}
    set_training(model)
    model.get_image_features(torch.randn(4, 3, IMAGE_SIZE, IMAGE_SIZE) + 3).sum().backward()
    assert all(torch.equal(before[name], tensor) for name, tensor in norms[0].state_dict().items())


@pytest.mark.parametrize("tune", ["none", "lora", "last_1"])
def test_batch_norms_that_do_not_learn_keep_their_statistics(tune):
    model = tuned("resnet", tune)
    first = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    before = first.running_mean.clone()
    step(model)
    assert torch.equal(first.running_mean, before)
    step(model := tuned("resnet", "layer_norm"))
    assert not torch.equal(next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d)).running_mean, before)


@pytest.mark.parametrize(
    "name,tune,said",
    [
        ("vit", "all", "freeze_batch_norm would take no part: no batch norm of ViTModel learns. Leave it out."),
        ("resnet", "none", "freeze_batch_norm would take no part: no batch norm of ResNetModel learns. Leave it out."),
        (
            "resnet",
            "layer_norm",
            "tune layer_norm and freeze_batch_norm leave nothing of ResNetModel to learn: take none.",
        ),
    ],
)
def test_frozen_batch_norms_beside_what_is_frozen_anyway(name, tune, said):
    with pytest.raises(ValueError) as caught:
        tune_encoders(caan_model(vision_config=name), ModelOptions(tune=tune, freeze_batch_norm=True))
    assert str(caught.value) == said


def test_the_last_stages_of_a_convolutional_network_without_its_batch_norms():
    """What benchmarks/accuracy/parts.py trains of EfficientNet-Lite0: blocks 5 to 7 of 7."""
    model = caan_model(vision_config=timm_config("efficientnet_lite0"), share_vision_encoder=True)
    tune_encoders(model, ModelOptions(tune="last_3", freeze_batch_norm=True))
    encoder = model.image_encoder.encoder.timm_model
    learns = {name for name, weight in encoder.named_parameters() if weight.requires_grad}
    marks = ("blocks.4.", "blocks.5.", "blocks.6.", "conv_head.")
    assert len(encoder.blocks) == 7
    assert learns == {name for name, _ in encoder.named_parameters() if name.startswith(marks) and "bn" not in name}


# -------------------------------------------------------------------------------------------------------------------- LoRA


@pytest.mark.parametrize("name", NAMES)
def test_lora_moves_adapters_alone(name):
    moved = parts(model := tuned(name, "lora"), step(model))[0]
    assert moved and all(".lora_A." in n or ".lora_B." in n for n in moved)
    layers = {n.split(".lora_")[0] for n, _ in model.image_encoder.encoder.named_parameters() if ".lora_" in n}
    plain = caan_model(vision_config=name).image_encoder.encoder
    kinds = {n: m for n, m in plain.named_modules() if n != "head.attention.out_proj"}  # SigLIP's, of torch's own attention
    linear = {n for n, m in kinds.items() if isinstance(m, nn.Linear)}
    assert layers == linear | {n for n, m in kinds.items() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)}


@pytest.mark.parametrize("name", NAMES)
def test_adapters_begin_at_nothing_and_merged_equal_unmerged(name):
    plain, model = caan_model(vision_config=name), caan_model(vision_config=name)
    tune_encoders(model, ModelOptions(tune="lora", lora_rank=3))
    assert has_adapters(model)
    for one, other in zip(features(plain), features(model)):
        assert torch.equal(one, other)
    add_noise(model, seed=1, scale=0.1)
    moved = features(model)
    merged = merge_adapters(copy.deepcopy(model))
    assert list(merged.state_dict()) == list(plain.state_dict()) and merged.config.to_dict() == plain.config.to_dict()
    assert [type(m) for m in merged.modules()] == [type(m) for m in plain.modules()] and not has_adapters(merged)
    for one, other, first in zip(features(merged), moved, features(plain)):
        assert torch.allclose(one, other, atol=1e-5) and not torch.allclose(one, first, atol=1e-2)
    for tower in merged.vision_towers():
        assert not hasattr(tower.encoder, "peft_config")


def test_a_merged_weight_is_the_start_and_the_product_of_the_adapters():
    model = caan_model()
    tune_encoders(model, ModelOptions(tune="lora", lora_rank=2))
    add_noise(model, seed=1)
    layer = next(module for module in model.modules() if hasattr(module, "lora_A"))
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert down.shape[0] == up.shape[1] == 2
    expected = layer.base_layer.weight + up @ down
    name = next(name for name, module in model.named_modules() if module is layer)
    assert torch.allclose(merge_adapters(copy.deepcopy(model)).get_submodule(name).weight, expected, atol=1e-6)


def test_a_merged_model_is_saved_as_any_other(tmp_path):
    model = caan_model()
    model.save_pretrained(tmp_path / "plain")
    tune_encoders(model, ModelOptions(tune="lora"))
    merge_adapters(model).save_pretrained(tmp_path / "merged")
    config = [(tmp_path / name / "config.json").read_bytes() for name in ("plain", "merged")]
    assert config[0] == config[1] and b"lora" not in config[0] and b"peft" not in config[0]
    assert {p.name for p in (tmp_path / "plain").iterdir()} == {p.name for p in (tmp_path / "merged").iterdir()}
    assert_same_tensors(CAANModel.from_pretrained(tmp_path / "plain"), CAANModel.from_pretrained(tmp_path / "merged"))


@pytest.mark.parametrize("name", ["vit", "dinov2", "timm_vit"])
@pytest.mark.parametrize("tune", ["lora", "none", "layer_norm"])
def test_recomputed_activations_make_the_same_step(name, tune):
    models = [tuned(name, tune, num_prompt_tokens=2) for _ in range(2)]
    for model in models:
        torch.manual_seed(0)  # adapters begin at random
        for module in model.modules():
            if hasattr(module, "lora_A"):
                nn.init.normal_(module.lora_A["default"].weight)
    moved = [step(model, checkpointing) for model, checkpointing in zip(models, (False, True))]
    assert moved[0] == moved[1]
    for (key, one), other in zip(models[0].named_parameters(), models[1].parameters()):
        assert torch.allclose(one, other, atol=1e-5), key


def test_adapters_learn_at_the_rate_of_their_block_and_decay():
    model = tuned("vit", "lora")
    chosen = TrainOptions(learning_rate=0.3, vision_learning_rate=0.1, layer_decay=0.5, weight_decay=0.05)
    groups = build_optimizer(model, chosen).param_groups
    settings = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    blocks = vision_blocks(model.image_encoder.encoder)
    for depth, block in enumerate(blocks, start=1):
        adapters = [p for n, p in block.named_parameters() if ".lora_" in n]
        assert len(adapters) == 12
        for adapter in adapters:
            assert settings[id(adapter)] == (pytest.approx(0.1 * 0.5 ** (3 - depth)), 0.05)
    assert settings[id(model.image_encoder.projection.weight)] == (0.3, 0.05)
    assert len(settings) == sum(p.requires_grad for p in model.parameters())


def test_peft_that_is_missing_is_named_with_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r'tune: lora needs the package peft: pip install -e "\.\[lora\]" in the repository'):
        tuned("vit", "lora")

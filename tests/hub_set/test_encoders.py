"""python -m pytest tests/hub_set/test_encoders.py"""

import pytest
import torch
from tiny import HIDDEN_SIZE, IMAGE_SIZE, add_noise, caan_config, text_config, timm_config, vision_config
from transformers import CLIPConfig, T5Config, ViTConfig

from modeling_caan import VisionTower, VisualTokens, build_encoder, count_prefix_tokens, encoder_width, join, select, token_grid

# name -> tokens before the local ones, grid of a 32 x 32 picture
BACKBONES = {
    "vit": (1, (4, 4)),
    "dinov2": (1, (4, 4)),
    "dinov2_with_registers": (4, (4, 4)),
    "dinov3_vit": (4, (4, 4)),
    "clip_vision": (1, (4, 4)),
    "siglip_vision": (0, (4, 4)),
    "deit": (2, (4, 4)),
    "resnet": (0, (4, 4)),
    "convnext": (0, (4, 4)),
    "timm_vit": (1, (4, 4)),
    "timm_vit_no_class_token": (0, (4, 4)),
    "timm_vit_registers_only": (3, (4, 4)),
    "timm_resnet": (0, (1, 1)),
    "timm_swin": (0, (4, 4)),
}
HAS_CLASS_TOKEN = {"vit", "dinov2", "dinov2_with_registers", "dinov3_vit", "clip_vision", "deit", "timm_vit"}
ANY_SIZE = sorted(set(BACKBONES) - {"timm_swin"})


def tower(name, **fields) -> VisionTower:
    torch.manual_seed(0)
    return add_noise(VisionTower(caan_config(vision_config=name, use_text=False, **fields)), scale=0.05).eval()


def pixels(height=IMAGE_SIZE, width=IMAGE_SIZE, seed=0):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["token", "mean"])
@pytest.mark.parametrize("name", BACKBONES)
def test_tokens_are_the_encoders_own_projected(name, pooling):
    """Against the encoder run by hand: which rows are local, their order, and what the global token is."""
    model, (prefix, grid) = tower(name, pooling=pooling), BACKBONES[name]
    hidden = model.encoder(pixels()).last_hidden_state
    if hidden.ndim == 4:
        hidden = hidden.permute(0, 3, 1, 2) if name == "timm_swin" else hidden
        hidden = torch.stack([hidden[:, :, row, column] for row in range(grid[0]) for column in range(grid[1])], dim=1)
    expected = hidden @ model.projection.weight.T + model.projection.bias
    tokens = model(pixels())
    assert isinstance(tokens, VisualTokens) and tokens.grid == grid
    assert tokens.local_tokens.shape == (2, grid[0] * grid[1], HIDDEN_SIZE)
    assert torch.allclose(tokens.local_tokens, expected[:, prefix:], atol=1e-5)
    is_class_token = name in HAS_CLASS_TOKEN and pooling == "token"
    global_token = expected[:, 0] if is_class_token else expected[:, prefix:].mean(dim=1)
    assert torch.allclose(tokens.global_token, global_token, atol=1e-5)
    assert (model.num_prefix_tokens, model.use_class_token) == (prefix, is_class_token)


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 64), (64, 32), (48, 80)])
@pytest.mark.parametrize("name", ANY_SIZE)
def test_other_sizes_than_the_trained_one(name, size):
    model = tower(name)
    stride = IMAGE_SIZE // BACKBONES[name][1][0]
    grid = tuple(-(-side // stride) for side in size)
    tokens = model(pixels(*size))
    assert tokens.grid == grid and tokens.local_tokens.shape[1] == grid[0] * grid[1]
    assert tokens.local_tokens.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("name", ["dinov2", "dinov3_vit", "clip_vision", "timm_vit"])
@pytest.mark.parametrize("bright", [(0, 0), (1, 3), (5, 2)])
def test_local_tokens_lie_where_their_patch_lies(name, bright):
    """Of a 48 x 40 picture (grid 6 x 5), changing one patch moves its own token the most."""
    model = tower(name)
    before = model(pixels(48, 40)).local_tokens
    changed = pixels(48, 40)
    row, column = bright
    changed[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += 2
    moved = (model(changed).local_tokens - before).norm(dim=-1).view(2, 6, 5)
    assert (moved.flatten(1).argmax(dim=1) == 5 * row + column).all()


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet", "timm_swin", "timm_resnet"])
def test_feature_maps_are_read_row_by_row(name):
    """A picture whose left and right halves are exchanged, seen by a CNN far from the edges, exchanges its tokens."""
    model = tower(name)
    height, width = (IMAGE_SIZE, IMAGE_SIZE) if name == "timm_swin" else (64, 128)
    plain = torch.zeros(1, 3, height, width)
    spot = plain.clone()
    spot[:, :, : height // 4, -width // 4 :] = 3.0  # top right
    tokens = model(spot)
    moved = (tokens.local_tokens - model(plain).local_tokens).norm(dim=-1).view(tokens.grid)
    rows, columns = tokens.grid
    assert moved[0, columns - 1] > 2 * moved[rows - 1, 0] and moved[0, columns - 1] > 2 * moved[0, 0]


@torch.no_grad()
def test_a_vit_trained_on_a_listed_size_takes_others():
    config = ViTConfig(**{**vision_config("vit").to_dict(), "image_size": [32, 32]})
    model = VisionTower(caan_config(vision_config=config)).eval()
    assert model(pixels(64, 32)).grid == (8, 4) and model(pixels()).grid == (4, 4)


@torch.no_grad()
def test_sides_that_are_no_multiple_of_the_patch_are_cut_off():
    model = tower("vit")
    assert model(pixels(100, 60)).grid == (12, 7) and model(pixels(71, 32)).grid == (8, 4)


@pytest.mark.parametrize("rounding", ["cut off", "padded"])
def test_token_grid_finds_every_grid_a_patch_size_can_make(rounding):
    for height in range(20, 101, 16):
        for width in range(20, 101, 16):
            for patch in range(5, 20):
                grid = (height // patch, width // patch) if rounding == "cut off" else (-(-height // patch), -(-width // patch))
                found = token_grid(grid[0] * grid[1], height, width)
                # Another patch, rounded the other way, may give as many tokens: then either reading is of the right shape.
                assert found == grid or abs(found[0] / found[1] - height / width) <= abs(grid[0] / grid[1] - height / width)


@pytest.mark.parametrize("num_tokens", [0, -1, 17, 50, 65, 197, 257])
def test_tokens_that_form_no_grid_are_refused(num_tokens):
    """197 and its like are a square grid and a class token nobody counted."""
    with pytest.raises(ValueError, match=f"{num_tokens} local tokens do not form a grid over a 224x224 image"):
        token_grid(num_tokens, 224, 224)


@torch.no_grad()
@pytest.mark.parametrize("name", ["vit", "resnet", "convnext", "timm_vit", "timm_swin"])
def test_float32_pixels_enter_a_bfloat16_tower(name):
    model = tower(name)
    exact = model(pixels())
    tokens = model.to(torch.bfloat16)(pixels())
    assert tokens.global_token.dtype == torch.bfloat16
    assert torch.cosine_similarity(tokens.global_token.float(), exact.global_token).min() > 0.98


def test_the_dtype_of_an_encoders_checkpoint_is_not_taken_over():
    config = vision_config("vit")
    config.dtype = "float16"
    assert {weight.dtype for weight in VisionTower(caan_config(vision_config=config)).parameters()} == {torch.float32}


def test_no_head_is_built_that_nothing_uses():
    names = [name for name, _ in build_encoder(vision_config("vit")).named_parameters()]
    assert names and not any("pooler" in name for name in names)
    assert not any("pooler" in name for name, _ in build_encoder(text_config()).named_parameters())


def test_registers_without_a_class_token_are_no_class_token():
    assert count_prefix_tokens(build_encoder(vision_config("timm_vit_registers_only"))) == (3, False)
    assert count_prefix_tokens(build_encoder(vision_config("dinov2_with_registers"))) == (4, True)


def test_what_is_no_vision_encoder_is_named():
    """A text encoder has a width too, and a whole CLIP is easily taken for its vision half."""
    clip = CLIPConfig(vision_config=vision_config("clip_vision").to_dict(), text_config={"num_hidden_layers": 1})
    for config, name in ((text_config(), r"BertConfig \(bert\)"), (clip, r"CLIPConfig \(clip\)")):
        with pytest.raises(ValueError, match=f"A {name} is no vision encoder.*CLIPVisionConfig.*TimmWrapperConfig"):
            VisionTower(caan_config(vision_config=config))


def test_what_is_no_text_encoder_is_named():
    """An encoder-decoder would ask for the decoder's words in the middle of the training."""
    sizes = {"d_model": 8, "d_kv": 4, "num_layers": 1, "num_heads": 2, "d_ff": 8, "vocab_size": 10}
    for config, name in ((vision_config(), r"ViTConfig \(vit\)"), (T5Config(**sizes), r"T5Config \(t5\)")):
        with pytest.raises(ValueError, match=f"A {name} is no text encoder.*BertConfig"):
            encoder_width(build_encoder(config), "text")
    assert encoder_width(build_encoder(text_config()), "text") == 12


def test_an_unknown_timm_architecture_is_named():
    with pytest.raises(ImportError, match="no_such_net"):
        VisionTower(caan_config(vision_config=timm_config("no_such_net")))


def test_join_and_select():
    tokens = VisualTokens(torch.tensor([[1.0], [2.0]]), torch.tensor([[[3.0], [4.0]], [[5.0], [6.0]]]), (1, 2))
    assert join(tokens)[..., 0].tolist() == [[1, 3, 4], [2, 5, 6]]
    picked = select(tokens, torch.tensor([1, 1, 0]))
    assert join(picked)[..., 0].tolist() == [[2, 5, 6], [2, 5, 6], [1, 3, 4]] and picked.grid == (1, 2)

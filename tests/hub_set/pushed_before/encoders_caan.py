"""Feature Extraction Module of CAAN: any transformers or timm backbone as a tower that gives one global and N local tokens."""

import inspect
from math import inf
from typing import NamedTuple

import torch
from torch import nn
from transformers import AutoModel

CLASS_TOKEN_NAMES = ("cls_token", "class_embedding", "class_token")
KINDS = {  # what an encoder reads, and which ones do
    "vision": ("pixel_values", "a ViT-like or CNN config (ViTConfig, CLIPVisionConfig, ...) or, for timm, TimmWrapperConfig"),
    "text": ("input_ids", "the config of a text encoder (BertConfig, CLIPTextConfig, ...)"),
}


class VisualTokens(NamedTuple):
    """Tokens of a batch of images in the common space."""

    global_token: torch.Tensor  # (batch, hidden_size)
    local_tokens: torch.Tensor  # (batch, height * width, hidden_size)
    grid: tuple[int, int]  # height and width of the token grid


def join(tokens: VisualTokens) -> torch.Tensor:
    """Global and local tokens as one sequence (batch, 1 + tokens, hidden_size)."""
    return torch.cat([tokens.global_token[:, None], tokens.local_tokens], dim=1)


def select(tokens: VisualTokens, rows: torch.Tensor) -> VisualTokens:
    """The tokens of some rows of the batch."""
    return VisualTokens(tokens.global_token[rows], tokens.local_tokens[rows], tokens.grid)


def build_encoder(config):
    """A bare encoder with random weights from a transformers config, without the pooling head that nothing here would use.

    Its dtype is torch's default and not the config's, which for a half-precision checkpoint would leave one half of the
    model in float16 and the other in float32.
    """
    dtype = torch.get_default_dtype()
    try:
        return AutoModel.from_config(config, add_pooling_layer=False, dtype=dtype)
    except TypeError:  # the architecture has no such switch
        return AutoModel.from_config(config, dtype=dtype)


def load_encoder(name):
    """The encoder at a Hub id or folder in float32, whatever its weights are stored in, and the set of weights that lack."""
    encoder, report = AutoModel.from_pretrained(name, dtype=torch.float32, output_loading_info=True)
    return encoder, report["missing_keys"]


def copy_weights(source, target, missing):
    """Fills `target`, which may lack the source's head. Raises ValueError where a weight it needs is `missing`."""
    lacking = sorted(missing & target.state_dict().keys())
    if lacking:
        raise ValueError(f"{source.name_or_path} lacks {len(lacking)} of the encoder's weights: {', '.join(lacking[:3])}.")
    target.load_state_dict(source.state_dict(), strict=False)


def encoder_width(encoder, kind: str = "vision") -> int:
    """Channels of the last hidden state of a "vision" or "text" encoder.

    Raises:
        ValueError: naming the architecture, where it does not tell its width or is no encoder of that kind.
    """
    if hasattr(encoder, "timm_model"):
        return encoder.timm_model.num_features
    config = encoder.config
    width = getattr(config, "hidden_size", None) or (getattr(config, "hidden_sizes", None) or [None])[-1]
    input_name, cure = KINDS[kind]
    if width is None or encoder.main_input_name != input_name or config.is_encoder_decoder:
        raise ValueError(f"A {type(config).__name__} ({config.model_type}) is no {kind} encoder that CAAN knows. Use {cure}.")
    return width


def count_prefix_tokens(encoder) -> tuple[int, bool]:
    """Tokens before the local ones (class token, registers, distillation token), and whether the first is a class token."""
    names = {name.rsplit(".", 1)[-1] for name, _ in encoder.named_parameters()}
    has_class_token = any(name in names for name in CLASS_TOKEN_NAMES)
    if hasattr(encoder, "timm_model"):
        return getattr(encoder.timm_model, "num_prefix_tokens", int(has_class_token)), has_class_token
    registers = getattr(encoder.config, "num_register_tokens", 0)
    return has_class_token + registers + ("distillation_token" in names), has_class_token


def token_grid(num_tokens: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of `num_tokens` tokens: the grid that some patch size cuts out of a height x width image.

    Sides that are no multiple of the patch are cut off or padded, so rows / columns need not be height / width. Either way
    both counts grow as the patch shrinks, so that no two grids of one image have the same number of tokens.

    Raises:
        ValueError: no patch size gives that many tokens.
    """
    for rows in (n for n in range(1, num_tokens + 1) if num_tokens % n == 0):
        columns = num_tokens // rows
        if max(height / (rows + 1), width / (columns + 1)) < min(height / rows, width / columns):  # cut off
            return rows, columns
        above = (height / (rows - 1) if rows > 1 else inf, width / (columns - 1) if columns > 1 else inf)
        if max(height / rows, width / columns) < min(above):  # padded
            return rows, columns
    raise ValueError(f"{num_tokens} local tokens do not form a grid over a {height}x{width} image.")


class VisionTower(nn.Module):
    """A vision backbone and the linear projection of its tokens to the common space.

    `pixel_values` (batch, 3, height, width) -> `VisualTokens`. The global token is the class token or, without one or with
    `pooling="mean"`, the mean of the local tokens.
    """

    def __init__(self, config):
        super().__init__()
        self.encoder = build_encoder(config.vision_config)
        self.projection = nn.Linear(encoder_width(self.encoder), config.hidden_size)
        self.num_prefix_tokens, has_class_token = count_prefix_tokens(self.encoder)
        self.use_class_token = config.pooling == "token" and has_class_token
        self.channels_last = getattr(getattr(self.encoder, "timm_model", None), "output_fmt", "NCHW") == "NHWC"
        self.can_interpolate = "interpolate_pos_encoding" in inspect.signature(self.encoder.forward).parameters

    def forward(self, pixel_values) -> VisualTokens:
        pixel_values = pixel_values.to(self.encoder.dtype)  # some encoders cast, others refuse
        features = self.encoder(pixel_values, **self._position_options(pixel_values)).last_hidden_state
        if features.ndim == 4:  # feature map, (batch, c, h, w) or (batch, h, w, c)
            if self.channels_last:
                features = features.permute(0, 3, 1, 2)
            grid = tuple(features.shape[-2:])
            features = features.flatten(2).transpose(1, 2)  # (batch, h * w, c)
        else:
            grid = token_grid(features.shape[1] - self.num_prefix_tokens, *pixel_values.shape[-2:])
        tokens = self.projection(features)
        prefix, local_tokens = tokens.split([tokens.shape[1] - grid[0] * grid[1], grid[0] * grid[1]], dim=1)
        return VisualTokens(prefix[:, 0] if self.use_class_token else local_tokens.mean(dim=1), local_tokens, grid)

    def warm_start(self, source, missing) -> None:
        """Starts from the weights of `source`; the projection keeps its features where the widths agree."""
        copy_weights(source, self.encoder, missing)
        if self.projection.in_features == self.projection.out_features:
            nn.init.eye_(self.projection.weight)
            nn.init.zeros_(self.projection.bias)

    def _position_options(self, pixel_values) -> dict:
        """ViT and its kin refuse a size other than the trained one unless told to interpolate their positions."""
        trained = getattr(self.encoder.config, "image_size", None)
        trained = (trained, trained) if isinstance(trained, int) else trained
        differs = trained is not None and tuple(pixel_values.shape[-2:]) != tuple(trained)
        return {"interpolate_pos_encoding": True} if self.can_interpolate and differs else {}

"""Feature Extraction Module of CAAN: any transformers or timm backbone as a tower that gives one global and N local tokens."""

import inspect
from typing import NamedTuple

import torch
from torch import nn
from transformers import AutoModel

CLASS_TOKEN_NAMES = ("cls_token", "class_embedding", "class_token")


class VisualTokens(NamedTuple):
    """Tokens of a batch of images in the common space."""

    global_token: torch.Tensor  # (batch, hidden_size)
    local_tokens: torch.Tensor  # (batch, height * width, hidden_size)
    grid: tuple[int, int]  # height and width of the token grid


def build_encoder(config):
    """A bare encoder with random weights from a transformers config, without the pooling head that nothing here would use."""
    try:
        return AutoModel.from_config(config, add_pooling_layer=False)
    except TypeError:  # the architecture has no such switch
        return AutoModel.from_config(config)


def encoder_width(encoder) -> int:
    """Channels of the encoder's last hidden state. Raises ValueError for an architecture that does not say."""
    if hasattr(encoder, "timm_model"):
        return encoder.timm_model.num_features
    config = encoder.config
    width = getattr(config, "hidden_size", None) or (getattr(config, "hidden_sizes", None) or [None])[-1]
    if width is None:
        raise ValueError(
            f"Cannot tell the feature width of a {type(config).__name__} ({config.model_type}): it is no vision backbone that "
            "CAAN knows. Use a ViT-like or CNN transformers config, or TimmWrapperConfig(architecture=...) for a timm model."
        )
    return width


def count_prefix_tokens(encoder) -> int:
    """Tokens before the local ones: class token, registers, distillation token."""
    if hasattr(encoder, "timm_model"):
        return getattr(encoder.timm_model, "num_prefix_tokens", 0)
    names = {name.rsplit(".", 1)[-1] for name, _ in encoder.named_parameters()}
    extra = getattr(encoder.config, "num_register_tokens", 0) + ("distillation_token" in names)
    return extra + any(name in names for name in CLASS_TOKEN_NAMES)


class VisionTower(nn.Module):
    """A vision backbone and the linear projection of its tokens to the common space.

    `pixel_values` (batch, 3, height, width) -> `VisualTokens`. The global token is the class token or, without one or with
    `pooling="mean"`, the mean of the local tokens.
    """

    def __init__(self, config):
        super().__init__()
        self.encoder = build_encoder(config.vision_config)
        self.projection = nn.Linear(encoder_width(self.encoder), config.hidden_size)
        self.num_prefix_tokens = count_prefix_tokens(self.encoder)
        self.pooling = config.pooling
        self.channels_last = getattr(getattr(self.encoder, "timm_model", None), "output_fmt", "NCHW") == "NHWC"

    def forward(self, pixel_values) -> VisualTokens:
        features = self.encoder(pixel_values, **self._position_options(pixel_values)).last_hidden_state
        if features.ndim == 4:  # feature map, (batch, c, h, w) or (batch, h, w, c)
            if self.channels_last:
                features = features.permute(0, 3, 1, 2)
            grid = tuple(features.shape[-2:])
            features = features.flatten(2).transpose(1, 2)  # (batch, h * w, c)
        else:
            grid = self._token_grid(features.shape[1] - self.num_prefix_tokens, pixel_values)
        tokens = self.projection(features)
        prefix, local_tokens = tokens.split([tokens.shape[1] - grid[0] * grid[1], grid[0] * grid[1]], dim=1)
        use_class_token = self.pooling == "token" and self.num_prefix_tokens and prefix.shape[1]
        return VisualTokens(prefix[:, 0] if use_class_token else local_tokens.mean(dim=1), local_tokens, grid)

    def _position_options(self, pixel_values) -> dict:
        """ViT and its kin refuse a size other than the trained one unless told to interpolate their positions."""
        trained = getattr(self.encoder.config, "image_size", None)
        takes_option = "interpolate_pos_encoding" in inspect.signature(self.encoder.forward).parameters
        differs = isinstance(trained, int) and tuple(pixel_values.shape[-2:]) != (trained, trained)
        return {"interpolate_pos_encoding": True} if takes_option and differs else {}

    @staticmethod
    def _token_grid(num_tokens, pixel_values) -> tuple[int, int]:
        """Height and width of `num_tokens` tokens laid over an image of the batch's aspect ratio."""
        height, width = pixel_values.shape[-2:]
        rows = round((num_tokens * height / width) ** 0.5)
        if rows * (num_tokens // rows) != num_tokens:
            raise ValueError(f"{num_tokens} local tokens do not form a grid over a {height}x{width} image.")
        return rows, num_tokens // rows

"""CAAN, the Cross-Modal Attention Alignment Network (arXiv 2407.00979) for zero-shot sketch-based image retrieval.

Training sees sketches, photos and descriptions of their classes; inference sees a sketch or a photo, never text.

Of the paper only the parts and their roles are public. Decided here, and why: a network that aligns each picture with its
*own* class's text can solve every loss by copying the text, and learns nothing for inference. So all three members of a
triplet are read in the light of the *anchor's* description: the text says what to look for, only the picture can tell the
positive from the negative. The losses also act before alignment (`loss_on="both"`), on the features used at inference.
"""

import copy
import inspect
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import logging
from transformers.utils.generic import ModelOutput, can_return_tuple

try:  # as a module of the Hub repository
    from .configuration_caan import INSTALLED, TRAINING_MODULES, CAANConfig, CAANEnsembleConfig
    from .ink_caan import crop_to_ink  # not used here, nor are the last three: what is imported travels with the weights
    from .losses_caan import (
        instance_loss,
        mine_triplets,
        relation_loss,
        retained_knowledge_loss,
        sketch_photo_contrastive_loss,
        text_contrastive_loss,
        triplet_loss,
    )
    from .pipeline_caan import SketchRetrievalPipeline
    from .processing_caan import CAANImageProcessor
    from .sentence_caan import CAANSentenceModule
except ImportError:
    if __package__:
        raise
    from configuration_caan import INSTALLED, TRAINING_MODULES, CAANConfig, CAANEnsembleConfig  # as installed modules
    from ink_caan import crop_to_ink
    from losses_caan import (
        instance_loss,
        mine_triplets,
        relation_loss,
        retained_knowledge_loss,
        sketch_photo_contrastive_loss,
        text_contrastive_loss,
        triplet_loss,
    )
    from pipeline_caan import SketchRetrievalPipeline
    from processing_caan import CAANImageProcessor
    from sentence_caan import CAANSentenceModule

CLASS_TOKEN_NAMES = ("cls_token", "class_embedding", "class_token")
EMBEDDING_NAMES = ("embeddings", "norm_pre")  # modules that give what a transformer's blocks read: transformers, timm
KINDS = {  # what an encoder reads, and which ones do
    "vision": ("pixel_values", "a ViT-like or CNN config (ViTConfig, CLIPVisionConfig, ...) or, for timm, TimmWrapperConfig"),
    "text": ("input_ids", "the config of a text encoder (BertConfig, CLIPTextConfig, ...)"),
}


# --------------------------------------------------------------------------------------------------------- feature extraction


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


def encoder_config(config, kind: str = "vision"):
    """The config of the "vision" or "text" encoder in `config`: of a CLIP or SigLIP that of its part, else `config` itself."""
    part = getattr(config, f"{kind}_config", None)
    return part if type(part) in MODEL_MAPPING and not isinstance(config, CAANConfig) else config


def load_encoder(name, kind: str = "vision"):
    """The "vision" or "text" encoder at a Hub id or folder in float32, whatever its weights are stored in, and the set of
    weights that lack. Of a model with both, such as CLIP and SigLIP, only that part is read."""
    whole = AutoConfig.from_pretrained(name)
    config = encoder_config(whole, kind)
    verbosity = logging.get_verbosity()
    if config is not whole:
        logging.set_verbosity_error()  # or all weights of the other part are listed as unexpected
    try:
        encoder, report = AutoModel.from_pretrained(name, config=config, dtype=torch.float32, output_loading_info=True)
    finally:
        logging.set_verbosity(verbosity)
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


def trained_size(encoder) -> tuple[int, int]:
    """Height and width of the pictures that a vision encoder was made for, in pixels; 224 where it does not say."""
    of_timm = getattr(getattr(getattr(encoder, "timm_model", None), "patch_embed", None), "img_size", None)
    size = of_timm or getattr(encoder.config, "image_size", None) or 224
    return (size, size) if isinstance(size, int) else tuple(size)


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

    With `num_prompt_tokens` the blocks read so many learned tokens more, which no one reads after them: the "shallow" prompts
    of Jia et al., "Visual prompt tuning" (2022), which CLIP-AT learns for sketches.
    """

    def __init__(self, config):
        super().__init__()
        self.encoder = build_encoder(config.vision_config)
        self.projection = nn.Linear(encoder_width(self.encoder), config.hidden_size)
        self.num_prefix_tokens, has_class_token = count_prefix_tokens(self.encoder)
        self.use_class_token = config.pooling == "token" and has_class_token
        self.channels_last = getattr(getattr(self.encoder, "timm_model", None), "output_fmt", "NCHW") == "NHWC"
        self.can_interpolate = "interpolate_pos_encoding" in inspect.signature(self.encoder.forward).parameters
        self.prompt_tokens = None
        if config.num_prompt_tokens:
            self._add_prompts(config.num_prompt_tokens)

    def forward(self, pixel_values) -> VisualTokens:
        """Pictures (batch, 3, height, width) -> global token (batch, d), local tokens (batch, n, d)."""
        pixel_values = pixel_values.to(self.encoder.dtype)  # some encoders cast, others refuse
        features = self.encoder(pixel_values, **self._position_options(pixel_values)).last_hidden_state
        if features.ndim == 4:  # feature map, (batch, c, h, w) or (batch, h, w, c)
            if self.channels_last:
                features = features.permute(0, 3, 1, 2)
            grid = tuple(features.shape[-2:])
            features = features.flatten(2).transpose(1, 2)  # (batch, h * w, c)
        else:
            features = self._without_prompts(features)
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

    def _add_prompts(self, count: int) -> None:
        """Learned tokens beside the encoder's own, tried on a blank picture unless the weights have no memory yet.

        Raises:
            ValueError: the encoder's blocks do not read them.
        """
        self.prompt_tokens = nn.Embedding(count, encoder_width(self.encoder))  # which transformers knows how to initialise
        modules = (module for name, module in self.encoder.named_modules() if name.rsplit(".", 1)[-1] in EMBEDDING_NAMES)
        training, weight = self.training, self.projection.weight
        try:
            if (embeddings := next(modules, None)) is None:
                raise ValueError("it does not show what they read")
            embeddings.register_forward_hook(self._insert_prompts)
            if not weight.is_meta:
                with torch.no_grad(), torch.random.fork_rng(devices=[]):
                    self.eval()(torch.zeros(1, 3, *trained_size(self.encoder), device=weight.device))
        except Exception as error:  # each library has its own
            name, reason = type(self.encoder).__name__, " ".join(str(error).split())[:200].rstrip(".")
            raise ValueError(
                f"num_prompt_tokens must be 0 with this vision encoder ({name}): prompts need blocks that read one sequence of "
                f"tokens of any length, as those of ViT, DINOv2, CLIP and SigLIP do ({type(error).__name__}: {reason})."
            ) from error
        finally:
            self.train(training)

    def _insert_prompts(self, module, inputs, tokens):
        """Tokens (batch, prefix + local, width), with their positions -> (batch, prefix + prompts + local, width).

        Rotary positions are those of the last tokens (DINOv3), so that prompts follow the prefix. Here and not at the first
        block, since transformers makes masks for as many tokens as there are now. A method is copied along with its tower.
        """
        assert self.prompt_tokens is not None
        prompts = self.prompt_tokens.weight.to(tokens.dtype).expand(tokens.shape[0], -1, -1)
        return torch.cat([tokens[:, : self.num_prefix_tokens], prompts, tokens[:, self.num_prefix_tokens :]], dim=1)

    def _without_prompts(self, features):
        """Tokens (batch, prefix + prompts + local, width) that the encoder gave -> (batch, prefix + local, width)."""
        if self.prompt_tokens is None:
            return features
        prefix, end = self.num_prefix_tokens, self.num_prefix_tokens + self.prompt_tokens.num_embeddings
        return torch.cat([features[:, :prefix], features[:, end:]], dim=1)

    def _position_options(self, pixel_values) -> dict:
        """ViT and its kin refuse a size other than the trained one unless told to interpolate their positions."""
        trained = getattr(self.encoder.config, "image_size", None)
        trained = (trained, trained) if isinstance(trained, int) else trained
        differs = trained is not None and tuple(pixel_values.shape[-2:]) != tuple(trained)
        return {"interpolate_pos_encoding": True} if self.can_interpolate and differs else {}


# ------------------------------------------------------------------------------------------------------ cross-modal alignment


class CrossAttention(nn.Module):
    """Multi-head attention of one modality's tokens over the other's.

    The paper names cross-attention text-sketch and text-image and not its equations. Query and value from one side with the
    key from the other, as in ZSE-SBIR, needs equal token counts, which text and image do not have.
    """

    def __init__(self, hidden_size: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)

    def forward(self, tokens, context, context_mask=None, output_attentions=False):
        """tokens (batch, n, d), context (batch, m, d), context_mask (batch, m), True = real -> (batch, n, d), weights."""
        query, key, value = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (batch, heads, n or m, d / heads)
            for layer, x in ((self.query, tokens), (self.key, context), (self.value, context))
        )
        mask = None if context_mask is None else context_mask[:, None, None, :]
        weights = None
        if output_attentions:  # sdpa does not give its weights away
            scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
            if mask is not None:
                scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
            weights = scores.softmax(dim=-1)  # (batch, heads, n, m)
            attended = weights @ value
        else:
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.output(attended.transpose(1, 2).flatten(2)), weights


class FeedForward(nn.Sequential):
    """Pre-norm two-layer perceptron."""

    def __init__(self, hidden_size: int, intermediate_size: int):
        super().__init__(
            nn.LayerNorm(hidden_size),
            nn.Linear(hidden_size, intermediate_size),
            nn.GELU(),
            nn.Linear(intermediate_size, hidden_size),
        )


class AlignmentBlock(GradientCheckpointingLayer):
    """One bidirectional exchange: visual tokens attend to the description and the description to the visual tokens.

    Both directions read the same old tokens, so that neither side is privileged.
    """

    def __init__(self, config):
        super().__init__()
        size = config.hidden_size
        self.visual_norm, self.text_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.visual_attention = CrossAttention(size, config.num_attention_heads)
        self.text_attention = CrossAttention(size, config.num_attention_heads)
        self.visual_feed_forward = FeedForward(size, config.intermediate_size)
        self.text_feed_forward = FeedForward(size, config.intermediate_size)
        self.dropout = nn.Dropout(config.alignment_dropout)

    def forward(self, visual, text, text_mask, output_attentions=False):
        """visual (batch, 1 + n, d), text (batch, m, d), text_mask (batch, m) -> both updated, visual's attention weights."""
        visual_in, text_in = self.visual_norm(visual), self.text_norm(text)
        update, weights = self.visual_attention(visual_in, text_in, text_mask, output_attentions)
        visual = visual + self.dropout(update)
        text = text + self.dropout(self.text_attention(text_in, visual_in)[0])
        visual = visual + self.dropout(self.visual_feed_forward(visual))
        text = text + self.dropout(self.text_feed_forward(text))
        return visual, text, weights


class CrossModalAlignment(nn.Module):
    """`num_alignment_layers` exchanges between the tokens of one visual modality and those of a description.

    The aligned global token is the visual one plus the mean of what the words found in the picture: the change of the text
    tokens, not the text itself, which would be the same for every picture read with that text.
    """

    def __init__(self, config):
        super().__init__()
        self.blocks = nn.ModuleList(AlignmentBlock(config) for _ in range(config.num_alignment_layers))

    def forward(self, visual, text, text_mask, output_attentions=False):
        """visual (batch, 1 + n, d), text (batch, m, d), text_mask (batch, m), True = real token.

        Returns the aligned tokens (batch, 1 + n, d) and, on request, a tuple with each block's attention of the visual tokens
        over the description, (batch, heads, 1 + n, m). A row whose mask is all False (text dropped) comes back unchanged.
        """
        has_text = text_mask.any(dim=1)
        # A softmax over nothing is NaN, and NaN survives torch.where in the backward pass: such rows see one dummy token.
        mask = text_mask | ~has_text[:, None]
        aligned, words, attentions = visual, text, []
        for block in self.blocks:
            aligned, words, weights = block(aligned, words, mask, output_attentions)
            attentions.append(weights)
        share = mask.to(text.dtype)[..., None] / mask.sum(dim=1)[:, None, None]
        found = ((words - text) * share).sum(dim=1, keepdim=True)  # (batch, 1, d)
        aligned = torch.cat([aligned[:, :1] + found, aligned[:, 1:]], dim=1)
        aligned = torch.where(has_text[:, None, None], aligned, visual)
        return aligned, tuple(attentions) if output_attentions else None


class RelationNetwork(nn.Module):
    """Scores a sketch and a photo from the cosine similarities of all pairs of their local tokens (L_rn's network).

    As in ZSE-SBIR the tokens are reduced to a small grid and the flattened similarity matrix goes through a perceptron; here
    the reduction is average pooling over the true grid and a linear layer, which any encoder and resolution can feed.
    """

    def __init__(self, config):
        super().__init__()
        self.side = round(config.num_relation_tokens**0.5)
        hidden = config.relation_hidden_size
        self.reduction = nn.Linear(config.hidden_size, config.hidden_size)
        self.scorer = nn.Sequential(
            nn.Linear(config.num_relation_tokens**2, hidden),
            nn.ReLU(),
            nn.Linear(hidden, max(hidden // 4, 1)),
            nn.ReLU(),
            nn.Linear(max(hidden // 4, 1), 1),
        )

    def reduce(self, local_tokens, grid):
        """local tokens (batch, h * w, d) on grid (h, w) -> unit vectors (batch, num_relation_tokens, d)."""
        tokens = local_tokens.transpose(1, 2).unflatten(2, grid)
        if grid != (self.side, self.side):
            tokens = F.adaptive_avg_pool2d(tokens, self.side)
        return F.normalize(self.reduction(tokens.flatten(2).transpose(1, 2)), dim=-1)

    def forward(self, sketch_tokens, image_tokens):
        """Reduced tokens (..., r, d) of sketches and photos, broadcast over the leading axes -> scores (...) in (0, 1)."""
        similarity = sketch_tokens @ image_tokens.transpose(-1, -2)  # (..., r, r)
        return self.scorer(similarity.flatten(-2)).squeeze(-1).float().sigmoid()


# ------------------------------------------------------------------------------------------------------------------ whitening


class Whitening(nn.Module):
    """(batch, size) features of one modality -> unit vectors (batch, size). Until it is fitted it only normalises.

    After Hatch et al., "Within-class covariance normalization" (2006): each modality's mean is taken off, and directions weigh
    the less the more they vary within classes, by statistics of the training pictures alone. It is fitted once, after training
    (`caan.training.whitening`), and takes no part in the losses. Not of the paper.
    """

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))  # of unit vectors
        self.register_buffer("matrix", torch.eye(size))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features (..., d) -> whitened features of length 1, (..., d)."""
        return F.normalize((F.normalize(features, dim=-1) - self.mean) @ self.matrix, dim=-1)

    def set(self, mean: torch.Tensor, matrix: torch.Tensor) -> None:
        """New statistics: `mean` (size,), `matrix` (size, size)."""
        self.mean.copy_(mean)
        self.matrix.copy_(matrix)


# ----------------------------------------------------------------------------------------------------------- output and model


@dataclass
class CAANOutput(ModelOutput):
    """
    Args:
        loss (`torch.Tensor`): Weighted sum of the parts below, given when `labels` were.
        loss_tri, loss_rn, loss_con, loss_instance, loss_text, loss_teacher (`torch.Tensor`): The parts, unweighted; the last
            four only where their lambda is above 0.
        last_hidden_state (`torch.Tensor` of shape `(batch, 1 + tokens, hidden_size)`): Global and local tokens of the photos.
        pooler_output (`torch.Tensor` of shape `(batch, hidden_size)`): The same as `image_embeds`.
        image_embeds, sketch_embeds (`torch.Tensor` of shape `(batch, hidden_size)`): Unit vectors before alignment, the ones
            that retrieval compares.
        sketch_text_attentions, image_text_attentions (tuple of `torch.Tensor`): One `(batch, heads, 1 + tokens, text tokens)`
            a block; photos read their own class's description here. With `output_attentions=True`.
    """

    loss: torch.Tensor | None = None
    loss_tri: torch.Tensor | None = None
    loss_rn: torch.Tensor | None = None
    loss_con: torch.Tensor | None = None
    loss_instance: torch.Tensor | None = None
    loss_text: torch.Tensor | None = None
    loss_teacher: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    image_embeds: torch.Tensor | None = None
    sketch_embeds: torch.Tensor | None = None
    sketch_text_attentions: tuple[torch.Tensor, ...] | None = None
    image_text_attentions: tuple[torch.Tensor, ...] | None = None


def share_weights(model):
    """A copy of a model over the same memory. Its tensors are new, so that casting or moving it leaves the model as it is."""
    shared = {id(b): b.detach() for b in model.buffers()}
    shared |= {id(p): nn.Parameter(p.detach(), requires_grad=p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, shared)


class CAANModel(PreTrainedModel):
    """Two vision encoders, a text encoder, cross-modal alignment, a relation network and their losses."""

    config: CAANConfig
    base_model_prefix = "caan"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    gradient_checkpointing = False
    _supports_sdpa = True
    _no_split_modules = ["VisionTower", "AlignmentBlock"]

    def __init__(self, config: CAANConfig):
        super().__init__(config)
        self.image_encoder = VisionTower(config)
        if not config.share_vision_encoder:
            self.sketch_encoder = VisionTower(config)
        self.relation_network = RelationNetwork(config)
        if config.whitening > 0:
            self.sketch_whitening = Whitening(config.hidden_size)
            self.image_whitening = Whitening(config.hidden_size)
        if config.use_text:
            self.text_encoder = build_encoder(config.text_config)
            self.text_projection = nn.Linear(encoder_width(self.text_encoder, "text"), config.hidden_size)
            self.sketch_alignment = CrossModalAlignment(config)
            self.image_alignment = CrossModalAlignment(config)
        self.set_teacher_width(config.teacher_width)
        self.post_init()
        self.train(self.training)

    @classmethod
    def from_encoders_pretrained(cls, vision, text=None, **config_kwargs):
        """A CAAN warm-started from pretrained encoders; everything else is random.

        Args:
            vision: Hub id or folder of a vision model; both towers start from it.
            text: Hub id or folder of a text encoder; `None` builds the model without text (`use_text=False`).
            config_kwargs: fields of `CAANConfig`.
        """
        if text is None and config_kwargs.get("use_text"):
            raise ValueError("use_text=True needs a text encoder: give text, a Hub id or a folder.")
        vision_model, missing_vision = load_encoder(vision)
        text_model, missing_text = (None, None) if text is None else load_encoder(text, "text")
        config = cls.config_class(
            vision_config=vision_model.config,
            text_config=None if text_model is None else text_model.config,
            **{"use_text": text_model is not None, **config_kwargs},
        )
        model = cls(config)
        for tower in model.vision_towers():
            tower.warm_start(vision_model, missing_vision)
        if config.use_text:
            copy_weights(text_model, model.text_encoder, missing_text)
        return model

    def vision_towers(self) -> list[VisionTower]:
        """The distinct vision towers: photo, and sketch unless shared."""
        return [self.image_encoder] if self.config.share_vision_encoder else [self.image_encoder, self.sketch_encoder]

    def set_teacher_width(self, width: int) -> None:
        """A new head that predicts a teacher's features of `width`; 0 = none. A model is trained with one teacher at a time."""
        self.config.teacher_width = width
        self.teacher_head = nn.Linear(self.config.hidden_size, width, device=self.device, dtype=self.dtype) if width else None

    def get_input_embeddings(self):
        """None: there is no one table of embeddings, and FSDP2 asks for it."""
        return

    def train(self, mode: bool = True):
        super().train(mode)
        if self.config.use_text and self.config.freeze_text_encoder:
            self.text_encoder.eval().requires_grad_(False)  # its features are cached: dropout would make them vary
        return self

    def _set_gradient_checkpointing(self, enable=True, *args, **kwargs):
        super()._set_gradient_checkpointing(enable, *args, **kwargs)
        for module in self.modules():
            if hasattr(module, "timm_model"):  # timm has a switch of its own, which super() does not know
                if module.supports_gradient_checkpointing:
                    module._set_gradient_checkpointing(enable)
                elif enable:
                    raise ValueError(f"timm's {module.config.architecture} does not support activation checkpointing.")

    # ------------------------------------------------------------------------------------------------ inference

    def encode(self, pixel_values, modality: str) -> VisualTokens:
        """Tokens of `pixel_values` (batch, 3, height, width) of `modality` "sketch" or "photo", before alignment."""
        if modality not in ("sketch", "photo"):
            raise ValueError(f'modality must be "sketch" or "photo", got {modality!r}.')
        own = modality == "sketch" and not self.config.share_vision_encoder
        return (self.sketch_encoder if own else self.image_encoder)(pixel_values)

    def get_sketch_features(self, pixel_values) -> torch.Tensor:
        """Unit vectors (batch, hidden_size) of sketches (batch, 3, height, width)."""
        return self.retrieval_vectors(self.encode(pixel_values, "sketch"), "sketch")

    def get_image_features(self, pixel_values) -> torch.Tensor:
        """Unit vectors (batch, hidden_size) of photos (batch, 3, height, width)."""
        return self.retrieval_vectors(self.encode(pixel_values, "photo"), "photo")

    def retrieval_vectors(self, tokens: VisualTokens, modality: str) -> torch.Tensor:
        """What retrieval compares of sketches or photos: unit vectors (batch, hidden_size), whitened once that is fitted."""
        if not self.config.whitening:
            return F.normalize(tokens.global_token, dim=-1)
        return (self.sketch_whitening if modality == "sketch" else self.image_whitening)(tokens.global_token)

    def get_relation_tokens(self, pixel_values, modality: str) -> torch.Tensor:
        """Reduced local tokens (batch, num_relation_tokens, hidden_size), unit vectors: what `score_pairs` compares."""
        tokens = self.encode(pixel_values, modality)
        return self.relation_network.reduce(tokens.local_tokens, tokens.grid)

    def score_pairs(self, sketch_tokens, image_tokens) -> torch.Tensor:
        """Relation scores in (0, 1), higher = more likely of one class.

        Args:
            sketch_tokens, image_tokens: `get_relation_tokens` of sketches and photos, (..., tokens, hidden_size); leading axes
                broadcast, so `s[:, None], p[None]` scores all pairs and `s, p` scores row by row.
        """
        return self.relation_network(sketch_tokens, image_tokens)

    def for_inference(self) -> "CAANModel":
        """A model without what only training needs (`TRAINING_MODULES`) that shares this one's weights."""
        model = share_weights(self)
        for name in TRAINING_MODULES:
            if hasattr(model, name):
                delattr(model, name)
        model.teacher_head = None
        model.config.use_text, model.config.teacher_width = False, 0
        return model.eval()

    # ------------------------------------------------------------------------------------------------- training

    def encode_descriptions(self, input_ids, attention_mask) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens of each class's sentences, side by side. Computed once per run where the text encoder is frozen.

        Args:
            input_ids, attention_mask: (classes, sentences, length).

        Returns features (classes, sentences * length, text width) and mask (classes, sentences * length), True = real token.
        """
        if input_ids.ndim != 3 or attention_mask is None:
            raise ValueError(
                "Descriptions are input_ids and attention_mask of (classes, sentences, length); input_ids are "
                f"{tuple(input_ids.shape)}{', attention_mask is missing' if attention_mask is None else ''}."
            )
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.freeze_text_encoder):
            hidden = self.text_encoder(
                input_ids=input_ids.flatten(0, 1), attention_mask=attention_mask.flatten(0, 1)
            ).last_hidden_state
        return hidden.unflatten(0, input_ids.shape[:2]).flatten(1, 2), attention_mask.flatten(1, 2).bool()

    @can_return_tuple
    def forward(
        self,
        pixel_values=None,
        sketch_pixel_values=None,
        labels=None,
        input_ids=None,
        attention_mask=None,
        text_features=None,
        text_mask=None,
        output_attentions=None,
        teacher_photos=None,
        photo_targets=None,
        sketch_targets=None,
        sketch_instances=None,
        photo_instances=None,
        **kwargs,
    ) -> CAANOutput:
        """Features of photos and sketches, and with `labels` the losses over a batch of P classes x K.

        Args:
            pixel_values, sketch_pixel_values: (batch, 3, height, width) photos and sketches, either or both.
            labels: (batch,) the class of row i of *both*, as a row of the descriptions.
            input_ids, attention_mask: (classes, sentences, length) the classes' sentences; or
            text_features, text_mask: what `encode_descriptions` made of them.
            output_attentions: also return the alignment's attention maps; needs text and labels.
            teacher_photos, photo_targets, sketch_targets: features of the teacher, of training photos (photos, teacher_width)
                and of what the batch shows (batch, teacher_width); needed with labels where the model has a teacher.
            sketch_instances, photo_instances: (batch,) integers, equal for a sketch and the photo that it was drawn from, below
                0 for pictures of no pair; needed with labels where `lambda_instance` is above 0.

        Returns `CAANOutput`. Raises ValueError when the inputs do not suffice for what is asked.
        """
        photos = None if pixel_values is None else self.encode(pixel_values, "photo")
        sketches = None if sketch_pixel_values is None else self.encode(sketch_pixel_values, "sketch")
        if photos is None and sketches is None:
            raise ValueError("Give pixel_values (photos), sketch_pixel_values, or both.")
        if output_attentions and (labels is None or not self.config.use_text):
            raise ValueError("output_attentions needs labels and a model with text (use_text=True).")
        output: dict[str, Any] = {}
        if photos is not None:
            output["last_hidden_state"] = join(photos)
            output["image_embeds"] = output["pooler_output"] = self.retrieval_vectors(photos, "photo")
        if sketches is not None:
            output["sketch_embeds"] = self.retrieval_vectors(sketches, "sketch")
        if labels is not None:
            if photos is None or sketches is None or not len(photos[0]) == len(sketches[0]) == len(labels):
                raise ValueError("With labels, give as many photos as sketches; row i of both is of class labels[i].")
            text = self._read_text(input_ids, attention_mask, text_features, text_mask) if self.config.use_text else None
            teacher = (teacher_photos, sketch_targets, photo_targets)
            output.update(self._losses(sketches, photos, labels, text, teacher, (sketch_instances, photo_instances)))
            if output_attentions and text is not None:
                words, mask = text[0][labels], text[1][labels]
                output["sketch_text_attentions"] = self.sketch_alignment(join(sketches), words, mask, True)[1]
                output["image_text_attentions"] = self.image_alignment(join(photos), words, mask, True)[1]
        return CAANOutput(**output)  # built at once: its order is that of the fields, the loss first

    def _read_text(self, input_ids, attention_mask, text_features, text_mask) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens of all classes in the common space (classes, tokens, hidden_size), and their mask."""
        if text_features is None and input_ids is not None:
            text_features, text_mask = self.encode_descriptions(input_ids, attention_mask)
        if text_features is None or text_mask is None:
            raise ValueError(
                "This model learns with text: give input_ids and attention_mask, or text_features and text_mask. "
                "To train without, set use_text=False."
            )
        return self.text_projection(text_features.to(self.dtype)), text_mask.bool()

    def _losses(self, sketches, photos, labels, text, teacher, instances=(None, None)) -> dict:
        """The weighted sum and its parts. `text` is (projected tokens, mask) of all classes, or None; `teacher` and
        `instances` are of the batch, as in `forward`."""
        config = self.config
        positive, negative = mine_triplets(sketches.global_token, photos.global_token, labels, config.mining)
        before = (sketches, select(photos, positive), select(photos, negative))
        triplets = [before] if text is None or config.loss_on != "after" else []
        if text is not None and config.loss_on != "before":
            triplets.append(self._align(before, text[0][labels], text[1][labels]))
        parts = {
            "loss_tri": torch.stack([triplet_loss(*(x.global_token for x in t), config.margin) for t in triplets]).mean(),
            "loss_rn": torch.stack([self._relation_loss(*t) for t in triplets]).mean(),
        }
        sketch, photo = sketches.global_token, photos.global_token
        if config.lambda_con > 0:
            parts["loss_con"] = sketch_photo_contrastive_loss(sketch, photo, labels, config.temperature)
        if config.lambda_instance > 0:
            if any(codes is None for codes in instances):
                raise ValueError("lambda_instance is above 0: give sketch_instances and photo_instances, or set it to 0.")
            parts["loss_instance"] = instance_loss(sketch, photo, labels, *instances, config.temperature)
        if config.lambda_text > 0 and text is not None:
            share = text[1].to(text[0].dtype) / text[1].sum(dim=1, keepdim=True).clamp(min=1)
            prototypes = (text[0] * share[..., None]).sum(dim=1)  # (classes, hidden_size)
            contrast = [text_contrastive_loss(x, prototypes, labels, config.temperature) for x in (sketch, photo)]
            parts["loss_text"] = torch.stack(contrast).mean()
        if self.teacher_head is not None and config.lambda_teacher > 0:
            parts["loss_teacher"] = self.teacher_loss(sketch, photo, *teacher)
        weighted = [getattr(config, name.replace("loss", "lambda")) * value for name, value in parts.items()]
        return {"loss": torch.stack(weighted).sum(), **parts}

    def teacher_loss(self, sketch, photo, teacher_photos, sketch_targets, photo_targets) -> torch.Tensor:
        """`retained_knowledge_loss` of sketches and photos, global tokens (batch, hidden_size); the rest as in `forward`."""
        head = self.teacher_head
        if head is None or teacher_photos is None or sketch_targets is None or photo_targets is None:
            raise ValueError(
                "This model learns from a teacher: give teacher_photos, photo_targets and sketch_targets, or call "
                "set_teacher_width(0) to train without one."
            )
        targets, temperature = ((sketch, sketch_targets), (photo, photo_targets)), self.config.teacher_temperature
        losses = [retained_knowledge_loss(head(x), y, teacher_photos, temperature) for x, y in targets]
        return torch.stack(losses).mean()

    def _align(self, triplet, words, mask):
        """Anchor, positive and negative read with the anchor's description; some anchors go without (`text_dropout`)."""
        if self.training and self.config.text_dropout > 0:
            mask = mask & (torch.rand(len(mask), 1, device=mask.device) >= self.config.text_dropout)
        modules = (self.sketch_alignment, self.image_alignment, self.image_alignment)
        aligned = (module(join(tokens), words, mask)[0] for module, tokens in zip(modules, triplet))
        return tuple(VisualTokens(a[:, 0], a[:, 1:], tokens.grid) for a, tokens in zip(aligned, triplet))

    def _relation_loss(self, anchor, positive, negative):
        anchor, positive, negative = (
            self.relation_network.reduce(x.local_tokens, x.grid) for x in (anchor, positive, negative)
        )
        return relation_loss(self.score_pairs(anchor, positive), self.score_pairs(anchor, negative))


# ----------------------------------------------------------------------------------------------------------- several as one


def cut_part(pixel_values: torch.Tensor, part) -> torch.Tensor:
    """The part `(left, height, width)` of pictures (batch, 3, height of all, width of all): (batch, 3, height, width)."""
    left, height, width = part
    return pixel_values[..., :height, left : left + width].contiguous()


def concatenate_features(features, weights) -> torch.Tensor:
    """Unit vectors (batch, d_i) of each member -> unit vectors (batch, sum of d_i).

    Member i's are multiplied by the root of its share of the weights, so that the cosine of two such vectors is the mean of the
    members' cosines, weighted by `weights`.
    """
    shares = [(weight / sum(weights)) ** 0.5 for weight in weights]
    return torch.cat([share * vectors for share, vectors in zip(shares, features)], dim=-1)


class CAANEnsembleModel(PreTrainedModel):
    """Several trained CAANs, whose cosines are averaged. It is used as a `CAANModel` is, and not trained. Ours.

    `pixel_values` are (batch, 3, *config.input_size), as its image processor makes them: `CAANEnsembleConfig` says how the
    members' pictures lie in them. What needs the tokens of one network is asked of the member of the greatest weight.
    """

    config: CAANEnsembleConfig
    base_model_prefix = "caan_ensemble"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _supports_sdpa = True
    _no_split_modules = CAANModel._no_split_modules

    def __init__(self, config: CAANEnsembleConfig):
        attention, members = config._attn_implementation, config.member_configs()
        super().__init__(config)
        for member in members if attention not in (None, "sdpa") else ():  # which each takes by itself where it can
            member._attn_implementation = attention
        self.members = nn.ModuleList(map(CAANModel, members))
        self.post_init()

    @property
    def heaviest(self) -> int:
        """Which member has the greatest weight; of equals the first."""
        weights = list(self.config.member_weights)
        return weights.index(max(weights))

    def get_input_embeddings(self):
        """None, as of each member."""
        return

    def get_sketch_features(self, pixel_values) -> torch.Tensor:
        """Unit vectors (batch, hidden_size) of sketches (batch, 3, height, width)."""
        parts = self._cut(pixel_values)
        vectors = [member.get_sketch_features(part) for member, part in zip(self.members, parts)]
        return concatenate_features(vectors, self.config.member_weights)

    def get_image_features(self, pixel_values) -> torch.Tensor:
        """Unit vectors (batch, hidden_size) of photos (batch, 3, height, width)."""
        parts = self._cut(pixel_values)
        vectors = [member.get_image_features(part) for member, part in zip(self.members, parts)]
        return concatenate_features(vectors, self.config.member_weights)

    def get_relation_tokens(self, pixel_values, modality: str) -> torch.Tensor:
        """`CAANModel.get_relation_tokens` of the heaviest member."""
        return self.members[self.heaviest].get_relation_tokens(self._cut(pixel_values)[self.heaviest], modality)

    def score_pairs(self, sketch_tokens, image_tokens) -> torch.Tensor:
        """`CAANModel.score_pairs` of the heaviest member."""
        return self.members[self.heaviest].score_pairs(sketch_tokens, image_tokens)

    def for_inference(self) -> "CAANEnsembleModel":
        """A model that shares this one's weights: it has no other form."""
        return share_weights(self).eval()

    @can_return_tuple
    def forward(self, pixel_values=None, sketch_pixel_values=None, labels=None, **kwargs) -> CAANOutput:
        """Features of photos and sketches, either or both; `last_hidden_state` and losses are of single models.

        Raises ValueError without pictures, and with `labels`: members are trained apart.
        """
        if labels is not None:
            raise ValueError("A combined model has no loss: train its members apart, and combine them anew.")
        if pixel_values is None and sketch_pixel_values is None:
            raise ValueError("Give pixel_values (photos), sketch_pixel_values, or both.")
        photos = None if pixel_values is None else self.get_image_features(pixel_values)
        sketches = None if sketch_pixel_values is None else self.get_sketch_features(sketch_pixel_values)
        return CAANOutput(pooler_output=photos, image_embeds=photos, sketch_embeds=sketches)

    def _cut(self, pixel_values) -> list[torch.Tensor]:
        """Each member's pictures. Raises ValueError for pictures that the ensemble's image processor did not make."""
        height, width = self.config.input_size
        if pixel_values.ndim != 4 or tuple(pixel_values.shape[-2:]) != (height, width):
            raise ValueError(
                f"pixel_values are {tuple(pixel_values.shape)}, and this combined model takes (batch, 3, {height}, {width}): "
                "the pictures of all members side by side, as its own image processor makes them."
            )
        return [cut_part(pixel_values, part) for part in self.config.member_parts]


for config_class, model_class in ((CAANConfig, CAANModel), (CAANEnsembleConfig, CAANEnsembleModel)):
    model_class.register_for_auto_class("AutoModel")
    if INSTALLED:
        AutoModel.register(config_class, model_class, exist_ok=True)

__all__ = [
    "CAANConfig",
    "CAANEnsembleConfig",
    "CAANEnsembleModel",
    "CAANImageProcessor",
    "CAANModel",
    "CAANOutput",
    "CAANSentenceModule",
    "SketchRetrievalPipeline",
    "crop_to_ink",
]

"""CAAN, the Cross-Modal Attention Alignment Network (arXiv 2407.00979) for zero-shot sketch-based image retrieval.

Training sees sketches, photos and descriptions of their classes; inference sees a sketch or a photo, never text.

Of the paper only the parts and their roles are public. Decided here, and why: a network that aligns each picture with its
*own* class's text can solve every loss by copying the text, and learns nothing for inference. So all three members of a
triplet are read in the light of the *anchor's* description: the text says what to look for, only the picture can tell the
positive from the negative. The losses also act before alignment (`loss_on="both"`), on the features used at inference.
"""

import copy

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModel, PreTrainedModel
from transformers.utils.generic import can_return_tuple

try:  # as a module of the Hub repository
    from .alignment_caan import CrossModalAlignment, RelationNetwork
    from .configuration_caan import INSTALLED, CAANConfig
    from .embedding_caan import embed_images  # for the pipeline: older transformers copy no imports of imports
    from .encoders_caan import VisionTower, VisualTokens, build_encoder, copy_weights, encoder_width, join, load_encoder, select
    from .losses_caan import mine_triplets, relation_loss, sketch_photo_contrastive_loss, text_contrastive_loss, triplet_loss
    from .output_caan import CAANOutput
    from .pipeline_caan import SketchRetrievalPipeline  # not used here: what is imported travels with the weights
    from .whitening_caan import Whitening
except ImportError:  # as installed modules
    from alignment_caan import CrossModalAlignment, RelationNetwork
    from embedding_caan import embed_images
    from encoders_caan import VisionTower, VisualTokens, build_encoder, copy_weights, encoder_width, join, load_encoder, select
    from output_caan import CAANOutput
    from whitening_caan import Whitening

    from configuration_caan import INSTALLED, CAANConfig
    from losses_caan import mine_triplets, relation_loss, sketch_photo_contrastive_loss, text_contrastive_loss, triplet_loss
    from pipeline_caan import SketchRetrievalPipeline

TEXT_MODULES = ("text_encoder", "text_projection", "sketch_alignment", "image_alignment")


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
        text_model, missing_text = (None, None) if text is None else load_encoder(text)
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
        """A model without text encoder and alignment that shares this one's weights: what retrieval needs, and no more."""
        # The tensors are new over the same memory, so that casting or moving the copy leaves this model as it is.
        shared = {id(b): b.detach() for b in self.buffers()}
        shared |= {id(p): nn.Parameter(p.detach(), requires_grad=p.requires_grad) for p in self.parameters()}
        model = copy.deepcopy(self, shared)
        for name in TEXT_MODULES if self.config.use_text else ():
            delattr(model, name)
        model.config.use_text = False
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
        **kwargs,
    ) -> CAANOutput:
        """Features of photos and sketches, and with `labels` the losses over a batch of P classes x K.

        Args:
            pixel_values, sketch_pixel_values: (batch, 3, height, width) photos and sketches, either or both.
            labels: (batch,) the class of row i of *both*, as a row of the descriptions.
            input_ids, attention_mask: (classes, sentences, length) the classes' sentences; or
            text_features, text_mask: what `encode_descriptions` made of them.
            output_attentions: also return the alignment's attention maps; needs text and labels.

        Returns `CAANOutput`. Raises ValueError when the inputs do not suffice for what is asked.
        """
        photos = None if pixel_values is None else self.encode(pixel_values, "photo")
        sketches = None if sketch_pixel_values is None else self.encode(sketch_pixel_values, "sketch")
        if photos is None and sketches is None:
            raise ValueError("Give pixel_values (photos), sketch_pixel_values, or both.")
        if output_attentions and (labels is None or not self.config.use_text):
            raise ValueError("output_attentions needs labels and a model with text (use_text=True).")
        output = {}
        if photos is not None:
            output["last_hidden_state"] = join(photos)
            output["image_embeds"] = output["pooler_output"] = self.retrieval_vectors(photos, "photo")
        if sketches is not None:
            output["sketch_embeds"] = self.retrieval_vectors(sketches, "sketch")
        if labels is not None:
            if photos is None or sketches is None or not len(photos[0]) == len(sketches[0]) == len(labels):
                raise ValueError("With labels, give as many photos as sketches; row i of both is of class labels[i].")
            text = self._read_text(input_ids, attention_mask, text_features, text_mask) if self.config.use_text else None
            output.update(self._losses(sketches, photos, labels, text))
            if output_attentions:
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

    def _losses(self, sketches, photos, labels, text) -> dict:
        """The weighted sum and its parts. `text` is (projected tokens, mask) of all classes, or None."""
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
        if config.lambda_text > 0 and text is not None:
            share = text[1].to(text[0].dtype) / text[1].sum(dim=1, keepdim=True).clamp(min=1)
            prototypes = (text[0] * share[..., None]).sum(dim=1)  # (classes, hidden_size)
            contrast = [text_contrastive_loss(x, prototypes, labels, config.temperature) for x in (sketch, photo)]
            parts["loss_text"] = torch.stack(contrast).mean()
        weighted = [getattr(config, name.replace("loss", "lambda")) * value for name, value in parts.items()]
        return {"loss": torch.stack(weighted).sum(), **parts}

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


CAANModel.register_for_auto_class("AutoModel")
if INSTALLED:
    AutoModel.register(CAANConfig, CAANModel, exist_ok=True)

__all__ = ["CAANConfig", "CAANModel", "CAANOutput", "SketchRetrievalPipeline", "embed_images"]

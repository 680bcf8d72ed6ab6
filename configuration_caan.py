"""Configuration of CAAN, the Cross-Modal Attention Alignment Network (arXiv 2407.00979) for zero-shot sketch-based image
retrieval.

The paper's own hyper-parameters are not public: every default here is ours, chosen by analogy to the closest public method
or measured by this package, and each is a field so that another choice needs no code.
"""

import copy
import json
import os
from math import inf
from pathlib import Path
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

POSITIVE = (
    "hidden_size",
    "max_description_tokens",
    "num_attention_heads",
    "intermediate_size",
    "num_relation_tokens",
    "relation_hidden_size",
)
# Which pipeline file serves which task where the code comes from the Hub, in the form that transformers reads.
PIPELINES = {"sketch-retrieval": {"impl": "pipeline_caan.SketchRetrievalPipeline", "pt": ["AutoModel"]}}
# What makes a saved folder one of sentence-transformers too (`sentence_caan.py`), file by file.
SENTENCE_FILES = {
    "modules.json": [{"idx": 0, "name": "0", "path": "", "type": "sentence_caan.CAANSentenceModule"}],
    "config_sentence_transformers.json": {
        "model_type": "SentenceTransformer",
        "requirements": {"sentence-transformers": ">=6.2"},  # the first that was tried
        "prompts": {"query": "sketch", "document": "photo"},
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
    },
    # Of a module of our own it is read by others alone, such as mteb, who find the modalities here.
    "sentence_bert_config.json": {
        "transformer_task": "feature-extraction",
        "modality_config": {"image": {"method": "get_image_features", "method_output_name": None}},
        "module_output_name": "sentence_embedding",
    },
}
# Installed modules register themselves. Code from the Hub must not: it would serve other repositories and revisions too.
INSTALLED = not __package__
# Modules that retrieval never uses.
TRAINING_MODULES = ("text_encoder", "text_projection", "sketch_alignment", "image_alignment", "teacher_head")
# What a config says of its own file, and not of the model that is a member of another.
NOT_OF_A_MEMBER = {"architectures", "auto_map", "custom_pipelines", "dtype", "model_type", "transformers_version"}


def build_config(config: dict | PreTrainedConfig | None, default_type: str) -> PreTrainedConfig:
    """The config of an encoder; a dictionary without `model_type` is one of `default_type`.

    transformers 5.20 and later build sub-configs by themselves; this serves the versions before as well.
    """
    if isinstance(config, PreTrainedConfig):
        return config
    fields = dict(config or {})
    return AutoConfig.for_model(fields.pop("model_type", default_type), **fields)


class HubConfig(PreTrainedConfig):
    """What a config writes beside its own fields: wherever a model is saved or pushed, its config is."""

    def to_diff_dict(self):
        """What is saved. The encoders' origin is left out, as transformers does with the config's own: it may be a path of
        the machine that trained. The pipeline's name is added, so that every saved model brings it along."""
        output = super().to_diff_dict()
        for name in self.sub_configs:
            output[name].pop("_name_or_path", None)
        return {**output, "custom_pipelines": PIPELINES}

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs):
        """Writes config.json, and `SENTENCE_FILES` beside it.

        A config_sentence_transformers.json that is there stays, since its owner may have changed prompts in it.
        """
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in SENTENCE_FILES.items():
            if name != "config_sentence_transformers.json" or not (folder / name).exists():
                (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)


@strict
class CAANConfig(HubConfig):
    r"""
    Args:
        vision_config (`dict` or `PreTrainedConfig`, *optional*, defaults to a ViT-B/16):
            Any transformers vision config; a timm model comes through `TimmWrapperConfig(architecture=...)`. ViT tokens and
            CNN feature maps both work.
        text_config (`dict` or `PreTrainedConfig`, *optional*, defaults to BERT-base):
            Any transformers text encoder config.
        hidden_size (`int`): Width of the common space, of the global token and of the local tokens.
        pooling (`"token"` or `"mean"`): The global token is the encoder's class token, or the mean of its local tokens;
            an encoder without a class token always takes the mean.
        share_vision_encoder (`bool`): One module serves as sketch and as image encoder.
        num_prompt_tokens (`int`): Learned tokens that the blocks of each vision encoder read beside the picture's, as CLIP-AT's
            visual prompts; 0 = none. For encoders whose blocks read one sequence of tokens, such as a ViT.
        use_text (`bool`): `False` leaves out the text encoder and the alignment module: the form for inference.
        max_description_tokens (`int`): Tokens kept of each description sentence.
        num_alignment_layers (`int`): Bidirectional cross-attention blocks in each of text-sketch and text-image.
        num_attention_heads (`int`): Heads of the alignment's attention.
        intermediate_size (`int`): Width of the alignment's feed-forward layers.
        alignment_dropout (`float`): Dropout after attention and feed-forward of the alignment.
        num_relation_tokens (`int`): Local tokens an image keeps for the relation network; a square number.
        relation_hidden_size (`int`): Width of the relation network's hidden layer.
        lambda_tri, lambda_rn (`float`): Weights of the global triplet loss and of the local relation loss.
        lambda_text (`float`): Weight of a contrastive loss between images and class descriptions; ours, off by default.
        lambda_con (`float`): Weight of a contrastive loss between the batch's sketches and photos; ours, off by default.
        lambda_instance (`float`): Weight of a contrastive loss between each sketch and the photo that it was drawn from, among
            the photos of its class in the batch: for retrieval of the very photo. Needs pairs; ours, off by default.
        temperature (`float`): Temperature of the contrastive losses.
        margin (`float`): Margin of the triplet loss, in Euclidean distance of unit vectors (0 to 2).
        mining (`"batch_hard"` or `"random"`): How the positive and the negative photo of an anchor are picked in a batch.
        loss_on (`"both"`, `"before"` or `"after"`): Losses see the features before alignment, after it, or both (mean).
        text_dropout (`float`): Share of the anchors that go through alignment without their text.
        freeze_text_encoder (`bool`): The text encoder is not trained.
        teacher_width (`int`): Width of the features of a frozen teacher, whose knowledge of photos is retained in training; 0 =
            there is none. Training sets it. Ours.
        lambda_teacher (`float`): Weight of the loss that retains it; ours.
        teacher_temperature (`float`): Temperature of that loss.
        whitening (`float`): How far the variation within classes is flattened in the retrieval features after training, from 0
            (they stay as they are) to 1 (it is equal in all directions); their modality's mean is taken off too. Ours, off by
            default.
    """

    model_type = "caan"
    sub_configs = {"vision_config": AutoConfig, "text_config": AutoConfig}

    vision_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    hidden_size: int = 512
    pooling: Literal["token", "mean"] = "token"
    share_vision_encoder: bool = False
    num_prompt_tokens: int = 0
    use_text: bool = True
    max_description_tokens: int = 48
    num_alignment_layers: int = 1
    num_attention_heads: int = 8
    intermediate_size: int = 1024
    alignment_dropout: float | int = 0.0
    num_relation_tokens: int = 49
    relation_hidden_size: int = 256
    lambda_tri: float | int = 1.0
    lambda_rn: float | int = 1.0
    lambda_text: float | int = 0.0
    lambda_con: float | int = 0.0
    lambda_instance: float | int = 0.0
    temperature: float | int = 0.07
    margin: float | int = 0.3
    mining: Literal["batch_hard", "random"] = "batch_hard"
    loss_on: Literal["both", "before", "after"] = "both"
    text_dropout: float | int = 0.1
    freeze_text_encoder: bool = True
    teacher_width: int = 0
    lambda_teacher: float | int = 2.0
    teacher_temperature: float | int = 0.1
    whitening: float | int = 0.0
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        if INSTALLED:  # then the task is registered, and must not ask for trust_remote_code
            kwargs.pop("custom_pipelines", None)
        self.vision_config = build_config(self.vision_config, "vit")
        self.text_config = build_config(self.text_config, "bert")
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        """Part of the `@strict` validation: values that cannot work together are refused by name."""
        ranges = {
            "at least 1": (lambda value: value >= 1, POSITIVE),
            "at least 0": (
                lambda value: value >= 0,
                (
                    "num_alignment_layers",
                    "lambda_tri",
                    "lambda_rn",
                    "lambda_con",
                    "lambda_text",
                    "lambda_instance",
                    "lambda_teacher",
                    "teacher_width",
                    "num_prompt_tokens",
                ),
            ),
            "above 0": (lambda value: value > 0, ("temperature", "teacher_temperature")),
            "in [0, 1)": (lambda value: 0 <= value < 1, ("text_dropout", "alignment_dropout")),
            "in [0, 1]": (lambda value: 0 <= value <= 1, ("whitening",)),
            "in [0, 2]": (lambda value: 0 <= value <= 2, ("margin",)),
        }
        for range_name, (holds, fields) in ranges.items():
            for name in fields:
                if not holds(getattr(self, name)):
                    raise ValueError(f"{name} must be {range_name}, got {getattr(self, name)}.")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of num_attention_heads ({self.num_attention_heads})."
            )
        if round(self.num_relation_tokens**0.5) ** 2 != self.num_relation_tokens:
            raise ValueError(f"num_relation_tokens must be a square number such as 49, got {self.num_relation_tokens}.")
        readable = getattr(self.text_config, "max_position_embeddings", None)
        if readable is not None and self.max_description_tokens > readable:
            raise ValueError(
                f"max_description_tokens ({self.max_description_tokens}) is more than the text encoder reads "
                f"(max_position_embeddings = {readable})."
            )


def fields_of_member(config: CAANConfig | dict) -> dict:
    """The fields of a config that make the model, without those of its file."""
    fields = config.to_diff_dict() if isinstance(config, PreTrainedConfig) else config
    return {name: value for name, value in fields.items() if name not in NOT_OF_A_MEMBER}


@strict
class CAANEnsembleConfig(HubConfig):
    r"""Several trained CAANs as one model, which `caan combine` makes; ours.

    Each member sees the picture as its own image processor makes it. So `pixel_values` hold a part for each way in which the
    members want it, side by side from the left, at the top; what is below a lower part is 0. Members of equal settings have one
    part.

    Args:
        members (list of `CAANConfig` or of `dict`): The config of each member, kept as a `dict` of its fields.
        member_weights (list of `float`): The share of each member's cosine in that of the whole, above 0 and relative to the
            others'.
        member_parts (list of `(left, height, width)`): Each member's part of `pixel_values`, in pixels.
        hidden_size (`int`): Width of the features: the sum of the members', whatever is given.
    """

    model_type = "caan_ensemble"
    has_no_defaults_at_init = True  # there is no combined model of nothing
    use_text = False  # of no member

    members: list | tuple = ()
    member_weights: list | tuple = ()
    member_parts: list | tuple = ()
    hidden_size: int = 0

    def __post_init__(self, **kwargs):
        if INSTALLED:  # then the task is registered, and must not ask for trust_remote_code
            kwargs.pop("custom_pipelines", None)
        self.members = [config.to_diff_dict() if isinstance(config, PreTrainedConfig) else config for config in self.members]
        self.members = [fields_of_member(config) for config in self.members]
        self.hidden_size = sum(config.hidden_size for config in self.member_configs())
        super().__post_init__(**kwargs)

    def member_configs(self) -> list[CAANConfig]:
        """The members' configs, new ones at each call."""
        return [CAANConfig(**copy.deepcopy(fields)) for fields in self.members]

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of `pixel_values`."""
        return max(h for _, h, _ in self.member_parts), max(left + w for left, _, w in self.member_parts)

    def validate_members(self):
        """Part of the `@strict` validation."""
        counts = {len(self.members), len(self.member_weights), len(self.member_parts)}
        if len(counts) > 1 or len(self.members) < 2:
            raise ValueError(
                f"A combined model has two or more members, each with a weight and a part; got {len(self.members)} members, "
                f"{len(self.member_weights)} weights and {len(self.member_parts)} parts."
            )
        for weight in self.member_weights:
            if not 0 < weight < inf:  # NaN too
                raise ValueError(f"member_weights must be numbers above 0, got {weight}.")


# model_type of what gives vectors of sketches and photos by itself; other vision models are baselines.
MODEL_TYPES = (CAANConfig.model_type, CAANEnsembleConfig.model_type)

for config_class in (CAANConfig, CAANEnsembleConfig):
    config_class.register_for_auto_class()
    if INSTALLED:
        AutoConfig.register(config_class.model_type, config_class, exist_ok=True)

__all__ = ["CAANConfig", "CAANEnsembleConfig"]

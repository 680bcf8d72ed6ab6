"""The fields of an encoder in `model_config`, checked against the config class of its type.

    check_encoder("vision_config", {"model_type": "vit", "hiden_size": 16})    # ValueError: did you mean 'hidden_size'?

transformers takes any field and keeps those that it does not know, without effect: a typo would train another model than asked.
"""

import inspect

from transformers import CONFIG_MAPPING, PreTrainedConfig

from caan.errors import refuse_unknown
from configuration_caan import CAANConfig

GENERAL = {
    "model_type",
    "torch_dtype",
    "attn_implementation",
    "auto_map",
}  # of configs that were saved, and of how a model runs
SIZES = ("_size", "_sizes", "_dim", "_heads", "_layers", "_channels", "_stages", "depths")  # of nothing, no encoder is made
WRAPPED = {
    "num_classes": "no classes are told apart",
    "pretrained": "weights come by vision_model, timm/...",
    "pretrained_cfg": "weights come by vision_model, timm/...",
    "pretrained_cfg_overlay": "weights come by vision_model, timm/...",
    "checkpoint_path": "weights come by vision_model, timm/...",
    "features_only": "the whole encoder is needed",
    "out_indices": "the last tokens are taken",
    "in_chans": "pictures have three channels",
}  # of timm's model_args those that CAAN decides, and why
TIMM_LISTS = ("layers", "channels", "depths", "dims", "num_heads", "embed_dims")  # a number a stage
STAGES = ("depths", "hidden_sizes", "num_stages")  # an encoder is made of these, given or not; more of others are left over
HEADS = ("num_heads", "num_attention_heads", "embed_dims")
PLACES = ("_id", "_ids", "_idx", "_index", "_indices", "_layer")  # counted from the end where they are negative


def check_encoder(name: str, fields: dict) -> None:
    """Checks the type of an encoder's config, that its fields are the type's, that its sizes are none below 1, and that its
    lists are of as many stages; of a timm model that its `model_args` are.

    Args:
        name: "vision_config" or "text_config". fields: as in `model_config`; without `model_type` CAANConfig's default type.

    Raises:
        ValueError: naming an unknown type or field, and the nearest one that is known; or the size; or lists of different
            lengths.
    """
    model_type = fields["model_type"] if "model_type" in fields else getattr(CAANConfig(), name).model_type
    refuse_unknown(f"{name}: transformers knows no model_type", [model_type], CONFIG_MAPPING.keys())
    config_class = CONFIG_MAPPING[model_type]
    defaults = default_fields(config_class)
    public = [field for field in map(str, fields) if not field.startswith("_")]  # _name_or_path and such are transformers'
    refuse_unknown(f"{name} ({model_type}) has no field", public, known_fields(config_class) | {*defaults})
    for field, value in fields.items():
        lowest = lowest_number(field, defaults.get(config_class.attribute_map.get(field, field)))
        require_lowest(f"{name} ({model_type}): {field}", value, lowest)
    require_stages(f"{name} ({model_type})", stage_fields(fields, defaults))
    if isinstance(fields.get("model_args"), dict):
        check_model_args(f"{name} ({model_type}): model_args", fields["model_args"])


def check_model_args(name: str, arguments: dict) -> None:
    """Checks what timm is told besides the architecture; a name that the architecture does not have timm refuses itself.

    Raises:
        ValueError: naming what CAAN decides, a size below 1, or lists of different lengths.
    """
    for argument, value in arguments.items():
        if argument in WRAPPED:
            raise ValueError(f"{name} cannot have {argument!r}: {WRAPPED[argument]}. Leave it out.")
        numbers = value if isinstance(value, list | tuple) else [value]
        require_lowest(f"{name}: {argument}", value, 1 if argument.endswith((*SIZES, *TIMM_LISTS, "depth")) else None)
        if argument in TIMM_LISTS and not all(type(number) in (int, float) for number in numbers):
            raise ValueError(f"{name}: {argument} must be a list of numbers, got {value!r}.")
    require_stages(name, {key: value for key, value in arguments.items() if key in TIMM_LISTS})


def require_lowest(name: str, value, lowest: int | None) -> None:
    """Raises ValueError where a number, or one of a list, is below the least value; None = any may be."""
    for number in value if isinstance(value, list | tuple) else [value]:
        if lowest is not None and type(number) in (int, float) and number < lowest:
            raise ValueError(f"{name} must be at least {lowest}, got {value}.")


def stages(value) -> int | None:
    """How many stages a value speaks of: of a list of numbers its length; None of other values."""
    return len(value) if isinstance(value, list | tuple) and all(type(n) in (int, float) for n in value) else None


def stage_fields(fields: dict, defaults: dict) -> dict:
    """The fields with an item a stage as an encoder will have them: by name those in `STAGES`, and those of `HEADS` given."""
    told = {**defaults, **{key: value for key, value in fields.items() if value is not None}}
    count = stages(defaults.get("depths"))
    names = [key for key in (*STAGES, *HEADS) if count is not None and stages(defaults.get(key)) == count]
    names += ["num_stages"] if count is not None and "num_stages" in defaults else []
    return {key: told[key] for key in names if key in STAGES or key in fields}


def require_stages(name: str, values: dict) -> None:
    """Raises ValueError where fields speak of different numbers of stages: what is too much would be left out unseen."""
    counts = {key: value if key == "num_stages" else stages(value) for key, value in values.items()}
    if len({count for count in counts.values() if count is not None}) > 1:
        told = ", ".join(f"{key} {values[key]}" for key, count in counts.items() if count is not None)
        raise ValueError(f"{name}: {told} are of different numbers of stages: give each as many.")


def known_fields(config_class: type[PreTrainedConfig]) -> set[str]:
    """The names that a config of that class takes: its own and inherited ones, their other names, and what it works out."""
    signatures = [*inspect.signature(config_class).parameters, *inspect.signature(PreTrainedConfig).parameters]
    properties = [name for name, value in inspect.getmembers(config_class) if isinstance(value, property)]
    return {*GENERAL, *config_class.attribute_map, *signatures, *properties} - {"kwargs"}


def default_fields(config_class: type[PreTrainedConfig]) -> dict:
    """The fields of a config of that class that was told nothing; none where it needs to be told."""
    try:
        return config_class().to_dict()
    except Exception:  # a few have no defaults, each for a reason of its own; their fields are known from the signature
        return {}


def lowest_number(field: str, default) -> int | None:
    """The least value of a field: 1 of a size, 0 of another number that is none below it by default; None where any may be."""
    numbers = default if isinstance(default, list | tuple) else [default]
    if field.endswith(PLACES) or not numbers or not all(type(n) in (int, float) and n >= 0 for n in numbers):
        return None
    return 1 if field.endswith(SIZES) and min(numbers) >= 1 else 0

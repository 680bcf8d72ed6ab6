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
PLACES = ("_id", "_ids", "_idx", "_index", "_indices", "_layer")  # counted from the end where they are negative


def check_encoder(name: str, fields: dict) -> None:
    """Checks the type of an encoder's config, that its fields are the type's, and that its sizes are none below 1.

    Args:
        name: "vision_config" or "text_config". fields: as in `model_config`; without `model_type` CAANConfig's default type.

    Raises:
        ValueError: naming an unknown type or field, and the nearest one that is known; or the size.
    """
    model_type = fields["model_type"] if "model_type" in fields else getattr(CAANConfig(), name).model_type
    refuse_unknown(f"{name}: transformers knows no model_type", [model_type], CONFIG_MAPPING.keys())
    config_class = CONFIG_MAPPING[model_type]
    defaults = default_fields(config_class)
    public = [field for field in map(str, fields) if not field.startswith("_")]  # _name_or_path and such are transformers'
    refuse_unknown(f"{name} ({model_type}) has no field", public, known_fields(config_class) | {*defaults})
    for field, value in fields.items():
        lowest = lowest_number(field, defaults.get(config_class.attribute_map.get(field, field)))
        for number in value if isinstance(value, list | tuple) else [value]:
            if lowest is not None and type(number) in (int, float) and number < lowest:
                raise ValueError(f"{name} ({model_type}): {field} must be at least {lowest}, got {value}.")


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

"""The checks that the Hub on this machine makes of a card's header when it is asked to validate it, or when it is committed.

The Hub's own schema is not public as a file. Checked here is what its documentation says: the specification of model cards
(huggingface/hub-docs, modelcard.md), the lists of licences and pipeline tags, and the form of repository names.
"""

import re

import yaml
from huggingface_hub import ModelCardData

REPO_NAME = r"[\w.-]+(/[\w.-]+)?"
LICENSES = (  # of https://huggingface.co/docs/hub/repositories-licenses, those that matter here
    *("apache-2.0", "mit", "isc", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "agpl-3.0", "lgpl-3.0", "mpl-2.0", "unlicense"),
    *("openrail", "openrail++", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "other", "unknown"),
)
PIPELINE_TAGS = ("image-feature-extraction", "feature-extraction", "image-classification", "image-to-image", "other")
LISTS = {"tags": r"[^\s].{0,99}", "datasets": REPO_NAME, "base_model": REPO_NAME, "metrics": r"[\w-]+", "language": r"[a-z-]+"}


def card_header(content: str):
    """The YAML header of a card; None without one, which is legal."""
    match = re.match(r"\s*---\r?\n(.*?)\r?\n---(\r?\n|$)", content, re.DOTALL)
    return match and yaml.safe_load(match[1])


def metadata_errors(content: str, repo_type: str) -> list[str]:
    """What is wrong with the YAML header of a card; nothing for a good one."""
    try:
        header = card_header(content)
    except yaml.YAMLError as error:
        return [f"YAML Metadata Error: {error}"]
    if header is None:
        return []
    if not isinstance(header, dict):
        return ["YAML Metadata Error: the header must be a mapping"]
    errors = []
    if (license_id := header.get("license")) is not None and license_id not in LICENSES:
        errors.append(f'"license" must be one of the Hub\'s list, not {license_id!r}')
    if license_id == "other" and not header.get("license_name"):
        errors.append('"license_name" is required when "license" is other')
    if (tag := header.get("pipeline_tag")) is not None and tag not in PIPELINE_TAGS:
        errors.append(f'"pipeline_tag" must be a task of the Hub, not {tag!r}')
    for key, pattern in LISTS.items():
        values = header.get(key) or []
        for value in values if isinstance(values, list) else [values]:
            if not isinstance(value, str) or not re.fullmatch(pattern, value):
                errors.append(f'"{key}" cannot hold {value!r}')
    return errors + (result_errors(header) if repo_type == "model" and "model-index" in header else [])


def result_errors(header: dict) -> list[str]:
    """What is wrong with `model-index`: the client must be able to read it, and each value must be a finite number."""
    try:
        results = ModelCardData(**header, ignore_metadata_errors=False).eval_results
    except (KeyError, TypeError, ValueError) as error:
        return [f'"model-index" cannot be read: {error!r}']
    errors = []
    for result in results or []:
        required = (result.task_type, result.dataset_type, result.dataset_name, result.metric_type)
        if not all(isinstance(value, str) and value for value in required):
            errors.append('"model-index" needs a type of task, dataset and metric, and a name of the dataset')
        if not isinstance(result.metric_value, int | float) or result.metric_value != result.metric_value:
            errors.append(f'"model-index": {result.metric_name} has no number')
    return errors

"""The model card, `README.md`: a template filled with what was recorded and measured, and with nothing else.

It is written from `results.json` and `training.json`, of a combined model `combined.json`, in the model's folder. A card that
somebody has edited is left alone: the last line of ours holds a hash of the rest, which no longer fits then.
"""

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import fields
from importlib.resources import files
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData
from transformers import AutoConfig

from caan.data.provenance import is_hub_id
from caan.evaluation.combination import Combination, member_table, read_combination
from caan.evaluation.facts import FACTS_FILE, read_facts
from caan.evaluation.record import Evaluation, write_whole
from caan.evaluation.summary import (
    instance_sizes,
    instance_table,
    means,
    metric_definitions,
    metric_table,
    protocol,
    reranking_note,
    sizes,
)
from caan.hub.results import PICTURE_FILE, adopt_results, model_index, read_results, write_entries
from caan.options import EvalOptions
from configuration_caan import MODEL_TYPES

TAGS = ["sketch-based-image-retrieval", "zero-shot", "sketch", "image-retrieval", "caan", "custom_code"]
# Options of `caan eval` that stand elsewhere in the command, or change no number of a card.
NO_NUMBERS = {"model", "output_dir", "update_card", "rerank", "device", "batch_size", "num_workers", "picture_rows", "verify"}
UNKNOWN = "unknown"  # as the Hub writes a licence that nobody has stated
MARK = "<!-- Written by the caan package, which leaves the card alone once it was edited. sha256: "


def write_card(folder: Path, repo: str | None = None, license_id: str | None = None, source: Path | None = None) -> Path | None:
    """Writes the card of a model's folder, and `.eval_results` where the Hub has the benchmark.

    Args:
        repo: Hub id under which readers will load the model. license_id: of the weights, as the Hub names it. Where they are
            not given, what the training run was told; else the folder's name, and "unknown".
        source: the user's folder, where `folder` is a copy of it: errors of the record name the file there.

    Returns:
        `README.md`, or None where it was edited and stays as it is.
    """
    path = folder / "README.md"
    results = read_results(folder)
    write_entries(folder, results)
    if path.exists() and not is_ours(path.read_text(encoding="utf-8", errors="replace")):
        return None
    facts, combined = read_facts(source or folder), read_combination(source or folder)
    told = facts["options"] if facts else {}
    license_id = license_id or told.get("license") or (combined and combined.license) or UNKNOWN
    content = str(
        ModelCard.from_template(
            card_data(facts, combined, results, license_id),
            template_str=(files("caan.hub") / "model_card.md").read_text(encoding="utf-8"),
            repo=repo or told.get("hub_model_id") or folder.resolve().name,
            facts=facts,
            combined=combined,
            members=combined and member_table(combined),
            results=results and describe_results(results),
            picture=PICTURE_FILE if results and (folder / PICTURE_FILE).is_file() else None,
            recipe=facts and require_recipe(source or folder, facts),
            num_classes=facts and count_classes(facts),
            license_id=license_id,
            is_full=AutoConfig.from_pretrained(folder).use_text,
        )
    )
    write_whole(path, sign(content))
    return path


def carded_folders(names: Sequence[str], split: str) -> list[str]:
    """Those of the models that are evaluated whose cards can take the results: folders here that hold a CAAN.

    Raises:
        ValueError: there is none, or the numbers would not be zero-shot ones.
    """
    folders = [name for name in names if (Path(name) / "config.json").is_file()]
    folders = [name for name in folders if AutoConfig.from_pretrained(name).model_type in MODEL_TYPES]
    if not folders or split != "test":
        raise ValueError("update_card needs a folder of a CAAN among the models, and the zero-shot split, test.")
    return folders


def update_card(folder: Path, record: Evaluation, picture: Path | None) -> str:
    """Puts an evaluation into the model's folder and writes its card anew; returns what was done, in words.

    Args: as of `adopt_results`.
    """
    written = adopt_results(folder, record, picture)
    card = write_card(folder)
    return str(card) if card else f"README.md was edited and stays as it is (remove it to have it written anew); {written}"


def sign(content: str) -> str:
    """The card with its hash in the last line, which a reader of the rendered card does not see."""
    content = content.rstrip() + "\n\n"
    return f"{content}{MARK}{hashlib.sha256(content.encode()).hexdigest()} -->\n"


def is_ours(content: str) -> bool:
    """Whether a card is as `write_card` left it, or empty, as a new repository's may be."""
    return not content.strip() or content == sign(content.rpartition(MARK)[0])


def card_data(facts: dict | None, combined: Combination | None, results: Evaluation | None, license_id: str) -> ModelCardData:
    """The header. Names stand in it only where they are those of Hub repositories."""
    members = combined.members if combined else []
    trained = [record for record in (facts, *(member.training for member in members)) if record]
    named = [*(record["dataset"] for record in trained), *([results.dataset] if results else [])]
    datasets = {name for name in named if is_hub_id(name)}
    made_from = [member.name for member in members] or (facts or {}).get("base_models", {})
    base = [name for name in made_from if is_hub_id(name)]
    entries = model_index(results) if results else None
    return ModelCardData(
        license=license_id,
        library_name="transformers",
        pipeline_tag="image-feature-extraction",
        tags=TAGS,
        base_model=base or None,
        datasets=sorted(datasets) or None,
        metrics=sorted({entry.metric_type for entry in entries}) if entries else None,
        model_name=f"CAAN on {facts['dataset'].split('/')[-1]}" if facts else f"{len(members)} CAANs" if combined else "CAAN",
        eval_results=entries,
    )


def describe_results(record: Evaluation) -> dict:
    """What the template says of an evaluation: the table of all retrievers, definitions, circumstances, how to repeat it."""
    own = str(record.model)
    others = [name for name in record.results if name != own]
    return {
        "dataset": record.dataset,
        "protocol": protocol(record),
        "seen": str(record.seen(own)),
        "table": metric_table(record, {own: "**this model**"}, first="retriever"),
        "instance_sizes": instance_sizes(record),
        "instance_table": instance_table(record, {own: "**this model**"}, first="retriever"),
        "definitions": metric_definitions(record),
        "sizes": sizes(record),
        "means": means(record),
        "rerank": reranking_note(record),
        "notes": record.notes,
        "command": record.command,
        "again": shlex.join([*others, *settings_as_options(record)]),
        "date": record.date,
        "versions": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
    }


def settings_as_options(record: Evaluation) -> list[str]:
    """The options that measure the same again: the data set, and every setting that numbers depend on and is no default."""
    words, defaults = [], EvalOptions()
    for field in fields(defaults):
        value = getattr(record, field.name) if hasattr(record, field.name) else record.settings.get(field.name)
        named = field.name in ("dataset", "dataset_config") and value
        if field.name in NO_NUMBERS or value is None or not named and value == getattr(defaults, field.name):
            continue
        values = [] if value is True else value if isinstance(value, list) else [value]
        words += [f"--{field.name}", *map(str, values)]
    return words


def require_recipe(folder: Path, facts: dict) -> dict[str, object]:
    """The rows of the training table; raises ValueError, naming the file, where the record lacks one or has another type."""
    path = folder / FACTS_FILE
    try:
        return describe_recipe(facts)
    except KeyError as error:
        raise ValueError(f"{path} has no {error}, which the card tells. Remove the file to do without.") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} holds a value of the wrong type ({error}). Remove the file to do without.") from error


def describe_recipe(facts: dict) -> dict[str, object]:
    """The rows of the training table."""
    options = facts["options"]
    text = options["model"] or options["text_model"] or "random weights"
    searched, shade = options.get("inference_image_size"), options.get("sketch_shade")
    precision = facts.get("precision", options["mixed_precision"])
    rates = {options["learning_rate"], options["vision_learning_rate"] or options["learning_rate"]}
    return {
        "data": f"`{facts['dataset']}`, zero-shot split `{facts['dataset_config']}`",
        "seen classes": f"{count_classes(facts):,}" + describe_seen_before(facts.get("seen_before", [])),
        "pictures": f"{facts['sketches']:,} sketches, {facts['photos']:,} photos",
        "vision encoders start from": options["model"] or options["vision_model"] or "random weights",
        "text encoder starts from": text if facts["uses_text"] else "none: trained without text",
        **describe_tuning(options),
        **({"photos known as by": options["teacher_model"]} if options.get("teacher_model") else {}),
        "input": f"{options['image_size']} x {options['image_size']} pixels"
        + (f" in training, {searched} x {searched} in use" if searched else "")
        + (f"; what a sketch's outline encloses is shaded ({shade:g})" if shade else ""),
        "batch": f"{options['classes_per_batch']} classes x {options['items_per_class']} sketches and photos"
        + (f", {share:.0%} of the sketches with their own photos" if (share := options.get("own_photos")) else "")
        + (f", on each of {facts['processes']} processes" if facts["processes"] > 1 else ""),
        "epochs, steps": f"{facts['epoch']:,}, {facts['step']:,}",
        "batches for a step": facts.get("gradient_accumulation_steps", options["gradient_accumulation_steps"]),
        "learning rate": f"{options['learning_rate']:g}"
        + (f", vision encoders {options['vision_learning_rate']:g}" if len(rates) > 1 else ""),
        "precision": {"no": "float32"}.get(precision, precision),
        "seed": options["seed"],
        "hardware": facts["hardware"] + (f", {facts['processes']} processes" if facts["processes"] > 1 else ""),
        "versions": ", ".join(f"{name} {version}" for name, version in facts["versions"].items()),
        "date": facts["date"],
        **({"changed on the way": describe_history(facts["history"])} if facts.get("history") else {}),
    }


def describe_tuning(options: dict) -> dict[str, str]:
    """What of the vision encoders learned, and what the finished weights are, where a run did not train and keep them all."""
    tune, decay, share = options.get("tune"), options.get("ema_decay"), options.get("start_share")
    learned = {
        "layer_norm": "their norms alone",
        "layer_norm_attention": "norms, query, key, value, class token and positions (CLIP-AT's code calls that LayerNorm)",
        "lora": f"adapters of rank {options.get('lora_rank')} (LoRA), merged",
        "none": "nothing, they are frozen",
    }
    finished = [f"average over the steps (EMA, {decay:g})"] if decay else []
    finished += [f"vision encoders at {1 - share:g} of what they learned, {share:g} of their start (WiSE-FT)"] if share else []
    rows = {}
    if tune not in (None, "all"):
        rows["of the vision encoders learned"] = learned.get(tune, f"the {tune.replace('_', ' ')} blocks and what follows")
    if finished:
        rows["finished weights"] = "; ".join(finished)
    return rows


def describe_seen_before(classes: list[str] | None) -> str:
    """What a model that was trained on had seen; nothing where there was none, or the record is older than the question."""
    if classes is None:
        return ", and those that the model it was trained on had seen, which are not recorded"
    return f", and {len(classes):,} by the model it was trained on" if classes else ""


def count_classes(facts: dict) -> int:
    """How many classes a run trained on; records of earlier versions hold the number itself."""
    seen = facts["seen_classes"]
    return seen if isinstance(seen, int) else len(seen)


def describe_history(history: list[dict]) -> str:
    """Which settings changed when the run was resumed, and where it stood then."""
    text = "; ".join(
        f"at step {entry['step']:,}: " + ", ".join(f"{name} {old} to {new}" for name, (old, new) in entry["changed"].items())
        for entry in history
    )
    return text.replace("|", "\\|")  # it stands in a table

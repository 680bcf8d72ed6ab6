"""The model card: a template filled with what the run knows and measured."""

from importlib.resources import files
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

TAGS = ["sketch-based-image-retrieval", "zero-shot", "sketch", "image-retrieval", "caan", "custom_code"]


def write_card(folder: Path, train_split, model_options, data_options, options, state, command: str) -> Path:
    """Writes `README.md` into a trained model's folder.

    Args:
        train_split: the training split, for class and picture counts. state: the `TrainerState` at the end.
        model_options, data_options, options: as parsed by train.py. command: the command line of the run.
    """
    seen = sorted(set(train_split["label"]))
    selection = (
        "No test has been run. The weights were selected by mAP@all on held-out items of *seen* classes: "
        f"{state.best_metric:.4f} (validation split; not a zero-shot number). Run `python eval.py --model FOLDER` for the "
        "zero-shot numbers."
    )
    training = {
        "data": f"`{data_options.dataset}`, split {train_split.info.config_name}",
        "seen classes / pictures": f"{len(seen)} / {len(train_split)}",
        "vision encoders start from": model_options.model or model_options.vision_model or "random weights",
        "text encoder": model_options.model or model_options.text_model or "random weights, frozen",
        "input": f"{model_options.image_size} x {model_options.image_size} pixels",
        "batch": f"{options.classes_per_batch} classes x {options.items_per_class} sketches and photos a process",
        "epochs / steps": f"{state.epoch} / {state.step}",
        "learning rate": f"{options.learning_rate:g} (vision {options.vision_learning_rate or options.learning_rate:g})",
        "seed": options.seed,
        "weights kept": options.keep,
    }
    base = [name for name in (model_options.model, model_options.vision_model, model_options.text_model) if is_hub_id(name)]
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="image-feature-extraction",
        tags=TAGS,
        base_model=base or None,
        datasets=[data_options.dataset] if is_hub_id(data_options.dataset) else None,
    )
    card = ModelCard.from_template(
        data,
        template_str=(files("caan") / "templates" / "model_card.md").read_text(),
        title=f"CAAN on {Path(data_options.dataset).name}",
        repo=folder.name,
        training=training,
        command=command,
        results=None,
        selection=selection,
        num_classes=len(seen),
        dataset=Path(data_options.dataset).name,
    )
    path = folder / "README.md"
    card.save(path)
    return path


def is_hub_id(name: str | None) -> bool:
    """Whether a name is of the form org/repo and no folder here: only such a name may stand in the card's metadata."""
    return name is not None and name.count("/") == 1 and not Path(name).exists()

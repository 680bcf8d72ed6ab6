"""The work of `caan combine`: load the members, join them, check what was written, and only then give the folder its name."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import torch
from transformers import AutoImageProcessor, AutoModel

from caan.combine.members import Member, load_members
from caan.data.provenance import installed_versions, numbered, public_command
from caan.evaluation.combination import COMBINED_FILE, Combination
from caan.hub.card import write_card
from caan.options import CombineOptions
from caan.training.files import publish_folder, temporary_folder
from configuration_caan import CAANEnsembleConfig
from modeling_caan import CAANEnsembleModel
from pipeline_caan import probe_pixels
from processing_caan import CAANImageProcessor

TOLERANCE = 1e-4  # of a cosine of float32 vectors


def combine(models: Sequence[str], options: CombineOptions, command: Sequence[str]) -> Combination:
    """Writes the combination of `models`, folders or Hub ids, into `options.output_dir`; returns its record.

    Args:
        command: the command line, `caan combine` first, for the record.

    Raises:
        ValueError: a model or a weight that cannot be used, or a folder that holds something; nothing was written.
    """
    weights = member_weights(models, options.weights)
    with new_folder(Path(options.output_dir)) as folder:
        members = [member for name, weight in zip(models, weights) for member in load_members(name, weight)]
        model, processor = join(members)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        require_agreement(folder, members)
        names = numbered(member.origin["name"] for member in members)
        record = Combination(
            members=[member.describe(name) for member, name in zip(members, names)],
            command=public_command(command),
            date=date.today().isoformat(),
            versions=installed_versions(),
        )
        (folder / COMBINED_FILE).write_text(record.to_json(), encoding="utf-8")
        write_card(folder, repo=Path(options.output_dir).resolve().name)
    return record


def member_weights(models: Sequence[str], weights: Sequence[float] | None) -> Sequence[float]:
    """A weight for each model. Raises ValueError for fewer than two models, or another number of weights."""
    if len(models) < 2:
        raise ValueError(f"{models[0]} is one model: name two or more to combine.")
    if weights is not None and len(weights) != len(models):
        raise ValueError(f"--weights has {len(weights)} numbers for {len(models)} models: give one for each, in their order.")
    return [1.0] * len(models) if weights is None else weights


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder beside `target` that takes its name at the end, all at once; after an error nothing of it is left.

    Raises ValueError where `target` is there and not an empty folder.
    """
    target = target.resolve()
    require_free(target)
    temporary = temporary_folder(target)
    try:
        yield temporary
        require_free(target)  # still
        publish_folder(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_free(target: Path) -> None:
    """Raises ValueError where something lies under that name that is no empty folder."""
    found = target if target.is_file() else next(iter(sorted(target.iterdir())), None) if target.is_dir() else None
    if found is not None:
        raise ValueError(f"{target} is not empty: {found} would be replaced. Give another --output_dir, or move it away.")


def join(members: Sequence[Member]) -> tuple[CAANEnsembleModel, CAANImageProcessor]:
    """The combined model and its image processor, which makes one part for all members of equal settings."""
    settings: list[dict] = []
    for member in members:
        if member.settings not in settings:
            settings.append(member.settings)
    sizes = [(part["size"]["height"], part["size"]["width"]) for part in settings]
    lefts = [sum(width for _, width in sizes[:place]) for place in range(len(sizes))]
    places = [settings.index(member.settings) for member in members]
    config = CAANEnsembleConfig(
        members=[member.model.config for member in members],
        member_weights=[float(member.weight) for member in members],
        member_parts=[[lefts[place], *sizes[place]] for place in places],
    )
    model = CAANEnsembleModel(config).eval()
    for own, member in zip(model.members, members):
        own.load_state_dict(member.model.state_dict())
    height, width = config.input_size
    own_settings = {**members[model.heaviest].settings, "size": {"height": height, "width": width}}
    return model, CAANImageProcessor(**own_settings, parts=settings)


@torch.inference_mode()
def require_agreement(folder: Path, members: Sequence[Member]) -> None:
    """Loads what was written, and compares its cosines with the members' own on pictures that are always the same.

    Raises ValueError where they differ, as where an encoder keeps something that is not saved.
    """
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoImageProcessor.from_pretrained(folder)
    weighted = [member.weight * cosines(member.model, member.processor) for member in members]
    expected = torch.stack(weighted).sum(dim=0) / sum(member.weight for member in members)
    difference = float((cosines(model, processor) - expected).abs().max())
    if not difference <= TOLERANCE:  # NaN too
        raise ValueError(f"The combined model's cosines differ from its members' by {difference:.2g}: nothing was written.")


def cosines(model, processor) -> torch.Tensor:
    """Of some pictures, each taken for a sketch, with each taken for a photo."""
    pixels = probe_pixels(processor)
    return model.get_sketch_features(pixels).double() @ model.get_image_features(pixels).double().T

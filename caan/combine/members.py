"""The members of a combined model: loaded, checked, and described for its record."""

import json
from dataclasses import asdict, dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from caan.data.provenance import declared_license, public_name
from caan.evaluation.combination import CombinedMember, published_combination
from caan.evaluation.facts import published_facts
from caan.evaluation.retrievers import Retriever, load_retriever, retriever_config
from configuration_caan import MODEL_TYPES
from modeling_caan import CAANEnsembleModel, CAANModel
from processing_caan import CAANImageProcessor

NOT_SETTINGS = ("image_processor_type", "auto_map")  # of a processor: they say which class it is of


@dataclass
class Member:
    """A model in its form for inference, its image processor, its share, and what its record says of it beside its cost."""

    model: CAANModel
    processor: CAANImageProcessor
    weight: float
    origin: dict

    @property
    def settings(self) -> dict:
        """Of the image processor, as its file holds them."""
        settings = json.loads(self.processor.to_json_string())
        return {name: value for name, value in settings.items() if name not in NOT_SETTINGS}

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its input, in pixels."""
        return self.processor.size["height"], self.processor.size["width"]

    def describe(self, name: str) -> CombinedMember:
        """Its record under a name. The model is run once, for the count of multiplications."""
        config, tensors = self.model.config, self.model.state_dict().values()
        return CombinedMember(
            **{**self.origin, "name": name},
            weight=self.weight,
            encoder=getattr(config.vision_config, "architecture", None) or config.vision_config.model_type,
            image_size=list(self.size),
            hidden_size=config.hidden_size,
            whitened=config.whitening > 0,
            parameters=sum(weight.numel() for weight in self.model.parameters()),
            bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
            multiplications=multiplications(self.model, self.size),
        )


def load_members(name: str, weight: float) -> list[Member]:
    """The CAAN at a folder or Hub id in float32; of a combined one its members, whose weights share `weight`.

    Raises:
        ValueError: nothing can be loaded under this name, it is no CAAN, or its pictures have no one size.
    """
    kind = retriever_config(name).model_type
    if kind not in MODEL_TYPES:
        raise ValueError(
            f"{name} is no CAAN but a model of type {kind}. Train one that starts from it (caan train RECIPE --vision_model "
            f"{name}) and combine that."
        )
    retriever = load_retriever(name)
    members = parts_of(retriever, weight) if isinstance(retriever.model, CAANEnsembleModel) else [whole(retriever, weight)]
    for member in members:
        if not all(member.size) or not member.processor.do_resize:
            raise ValueError(
                f"{name} has an image processor that makes pictures of no one size: set height and width in its size."
            )
    return members


def whole(retriever: Retriever, weight: float) -> Member:
    """A single CAAN as a member."""
    name, identity = retriever.name, retriever.identity
    stated = declared_license(name, "model")
    origin = {
        "name": public_name(name),
        "revision": identity and identity.revision,
        "weights": identity and identity.weights,
        "license": None if stated == "unknown" else stated,  # which stands in cards where nobody has stated one
        "training": published_facts(name),
    }
    return Member(retriever.model.for_inference(), retriever.processor, weight, origin)


def parts_of(retriever: Retriever, weight: float) -> list[Member]:
    """The members of a combined model, with what its record says of them."""
    config = retriever.model.config
    record, total = published_combination(retriever.name), sum(config.member_weights)
    name, count = public_name(retriever.name), len(config.members)
    unknown = {"revision": None, "weights": None, "license": None, "training": None}
    origins: list[dict] = [{**unknown, "name": f"{name} ({i})"} for i in range(1, count + 1)]
    if record is not None and len(record.members) == count:
        origins = [{field: asdict(member)[field] for field in (*unknown, "name")} for member in record.members]
    lefts = sorted({left for left, _, _ in config.member_parts})
    settings = [retriever.processor.parts[lefts.index(left)] for left, _, _ in config.member_parts]  # type: ignore[index]
    members = zip(retriever.model.members, settings, config.member_weights, origins)
    return [Member(model, CAANImageProcessor(**own), weight * share / total, origin) for model, own, share, origin in members]


@torch.no_grad()
def multiplications(model: CAANModel, size: tuple[int, int]) -> int:
    """Multiplications for the vector of one photo of `size` (height, width), counted by torch: products of matrices and
    convolutions; the few elsewhere are left out."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # which is counted on every device
        model.get_image_features(torch.zeros(1, 3, *size))
    return counter.get_total_flops() // 2  # a product and a sum each

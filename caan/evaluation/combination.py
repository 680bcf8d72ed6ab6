"""What a combined model is made of, kept as `combined.json` in its folder, as `training.json` is of a trained one.

The card is written from it, and an evaluation asks it which classes the members have seen. It is made to be published: of a
path of this machine only the last name is kept.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from caan.evaluation.facts import published, published_facts
from caan.evaluation.report import results_table
from caan.evaluation.seen import seen_classes
from configuration_caan import CAANConfig, CAANEnsembleConfig

COMBINED_FILE = "combined.json"


@dataclass(kw_only=True)
class CombinedMember:
    """A member, and what it costs.

    Attributes:
        name: Hub id, or the folder's name. weight: as given, relative to the others'.
        revision, weights: its commit on the Hub, or the fingerprint of the folder's weights (`weights_fingerprint`).
        license: of its weights, where its card names one. training: its `training.json`; None where it has none.
        encoder: of its vision config, `model_type` or timm's architecture. image_size: height and width of its input, pixels.
        hidden_size: width of its vectors. whitened: whether they are whitened.
        parameters, bytes: of its weights as they lie in the combined folder.
        multiplications: for the vector of one photo, counted.
    """

    name: str
    weight: float
    revision: str | None
    weights: str | None
    license: str | None
    training: dict | None
    encoder: str
    image_size: list[int]
    hidden_size: int
    whitened: bool
    parameters: int
    bytes: int
    multiplications: int


@dataclass(kw_only=True)
class Combination:
    """The members in their order, how they were combined, and with what."""

    members: list[CombinedMember]
    command: str
    date: str
    versions: dict[str, str]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    def total(self, what: str) -> int:
        """The sum of a member's `parameters`, `bytes` or `multiplications`, or `hidden_size`."""
        return sum(getattr(member, what) for member in self.members)

    @property
    def license(self) -> str | None:
        """The licence that all members have; None where they differ, or one names none."""
        licenses = {member.license for member in self.members}
        return licenses.pop() if len(licenses) == 1 else None

    @property
    def seen_classes(self) -> list[str] | None:
        """The classes that any member saw; None where one does not say."""
        seen = [seen_classes(member.training) for member in self.members]
        return None if None in seen else sorted({name for names in seen for name in names or ()})


def read_combination(folder: Path) -> Combination | None:
    """The record of a folder; None where there is none.

    Raises:
        ValueError: the file holds no such record; names it.
    """
    path = folder / COMBINED_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Combination(**{**content, "members": [CombinedMember(**member) for member in content["members"]]})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is no record of a combined model ({type(error).__name__}: {error}). Remove it to do without, or combine "
            "the members anew."
        ) from error


def published_combination(name: str) -> Combination | None:
    """The record of a combined model, by its folder or Hub id; None where there is none or it cannot be reached."""
    return published(name, COMBINED_FILE, read_combination)


def learned_classes(name: str, model_type: str) -> list[str] | None:
    """The classes that the model at a folder or Hub id saw in training; None where that is not recorded."""
    if model_type == CAANConfig.model_type:
        return seen_classes(published_facts(name))
    record = published_combination(name) if model_type == CAANEnsembleConfig.model_type else None
    return None if record is None else record.seen_classes


def member_table(combination: Combination) -> str:
    """Members, their weights and what they cost, as a markdown table with a row for each and one for all."""
    headings = {"hidden_size": "width", "multiplications": "multiplications a picture"}
    costs = ("hidden_size", "parameters", "bytes", "multiplications")
    rows: list[dict] = [
        {
            "member": f"`{member.name}`".replace("|", "\\|") + (f" at `{member.revision[:12]}`" if member.revision else ""),
            "weight": f"{member.weight:g}",
            "encoder": member.encoder + (", whitened" if member.whitened else ""),
            "input": " x ".join(map(str, member.image_size)),
            **{cost: getattr(member, cost) for cost in costs},
        }
        for member in combination.members
    ]
    rows.append({"member": "together", **{cost: combination.total(cost) for cost in costs}})
    return results_table(rows, {name: headings.get(name, name) for name in rows[0]})

"""The record of an evaluation: one dataclass, made when the numbers are made, from which all that is published is written.

`results.json`, `table.md`, the model card and `.eval_results` are written from an `Evaluation`. It is free of paths of this
machine from the start, so that nothing has to take them out again.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date
from pathlib import Path

from caan.data.benchmark import Benchmark
from caan.data.provenance import hardware, installed_versions, public_command, public_name
from caan.evaluation.instance import InstanceReport
from caan.evaluation.report import RetrievalReport
from caan.evaluation.reranking import Reranking
from caan.evaluation.seen import Seen, compare_classes

FORMAT = 2  # of results.json; 1 is what was written before there was a number
RESULTS_FILE = "results.json"


@dataclass(kw_only=True)
class EvaluatedModel:
    """Which model a row of numbers belongs to.

    Attributes:
        weights: `weights_fingerprint` of a folder here. revision: commit of a repository on the Hub.
        seen_classes: names of the classes that it was trained on; None where that is not recorded.
    """

    weights: str | None = None
    revision: str | None = None
    seen_classes: list[str] | None = None


@dataclass(kw_only=True)
class Evaluation:
    """Retrievers measured in one run on one split, and all that is needed to get the numbers again.

    Attributes:
        dataset, dataset_config, split, generalized: what was searched; generalized = photos of seen classes in the gallery too.
        classes: names of the classes of the queries; None in records of format 1.
        average, ties: a key of `report.AVERAGES` and of `report.TIES`.
        rerank: how the ranking was made anew; None = plain cosine similarity.
        seed: None = nothing is drawn.
        settings: the options of the run, by name.
        results: retriever -> its metrics and the sizes they were measured on, as `RetrievalReport.to_dict` gives them.
        models: retriever -> which model it is.
        definitions: of each metric. notes: what a reader of the numbers must know, in sentences.
        instance_results, instance_definitions: the same of the instance level, as `InstanceReport.to_dict` gives them; empty
            where it was not measured.
        model: the retriever in whose folder this record lies; None = in none.
    """

    dataset: str
    dataset_config: str | None
    split: str
    generalized: bool
    classes: list[str] | None
    average: str
    ties: str
    rerank: Reranking | None = None
    seed: int | None = None
    settings: dict = field(default_factory=dict)
    hardware: str | None = None
    command: str
    date: str
    versions: dict[str, str]
    results: dict[str, dict] = field(default_factory=dict)
    models: dict[str, EvaluatedModel] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    instance_results: dict[str, dict] = field(default_factory=dict)
    instance_definitions: dict[str, str] = field(default_factory=dict)
    model: str | None = None

    @classmethod
    def begin(cls, benchmark: Benchmark, settings: dict, command: Sequence[str], *, device, rerank=None, seed=None, **what):
        """The record of a run that begins now, still without numbers.

        Args:
            settings: options by name. command: the command line, the script or `caan eval` first. device: a torch.device.
            what: `dataset`, `dataset_config`, `split`, `generalized`, `average` and `ties`.

        Paths of this machine are taken out of settings, names and command here, and nowhere else.
        """
        labels = sorted(set(benchmark.queries.labels.tolist()))
        return cls(
            **{name: public_name(value) for name, value in what.items()},
            classes=[benchmark.queries.names[label] for label in labels],
            rerank=rerank,
            seed=seed,
            settings={name: public_name(value) for name, value in settings.items() if name not in what},
            hardware=hardware(device),
            command=public_command(command),
            date=date.today().isoformat(),
            versions=installed_versions(),
        )

    def add(self, name: str, report: RetrievalReport, model: EvaluatedModel | None = None) -> None:
        """Enters the numbers of a retriever under its public name (`caan.data.provenance.public_names`)."""
        self.results[name] = report.to_dict()
        self.models[name] = model or EvaluatedModel()
        self.definitions = dict(report.definitions)
        self.notes += [note for note in report.notes if note not in self.notes]

    def add_instances(self, name: str, report: InstanceReport) -> None:
        """Enters the numbers of the instance level of a retriever, whose other numbers are there."""
        self.instance_results[name] = report.to_dict()
        self.instance_definitions = dict(report.definitions)
        self.notes += [note for note in report.notes if note not in self.notes]

    def seen(self, name: str) -> Seen:
        """How many of the evaluated classes that retriever was trained on."""
        known = self.models[name].seen_classes if self.classes is not None else None
        return compare_classes(self.classes or [], known)

    def of(self, name: str) -> "Evaluation":
        """The record as it lies in the folder of that retriever."""
        return replace(self, model=name)

    def to_dict(self) -> dict:
        """Everything, in values that JSON knows."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, content: dict) -> "Evaluation":
        """The record that `to_dict` made, or that the code before this one wrote (format 1).

        Raises:
            ValueError: it is neither; says what is missing.
        """
        try:
            content = dict(content) if content.get("format", 1) != 1 else _from_format_1(content)
            if (version := content.pop("format")) != FORMAT:
                raise ValueError(f"it is of format {version}, and this version of caan reads 1 and {FORMAT}")
            content["rerank"] = content["rerank"] and Reranking(**content["rerank"])
            content["models"] = {name: EvaluatedModel(**model) for name, model in content["models"].items()}
            record = cls(**content)
            if record.model is not None and not {record.model} <= record.results.keys() & record.models.keys():
                raise ValueError(f"it has no numbers of {record.model!r}, the model it should belong to")
            return record
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it is no record of an evaluation ({type(error).__name__}: {error})") from error

    def write(self, path: Path) -> Path:
        """Writes the record as JSON, whole or not at all; the folder is made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(self.to_dict(), indent=2) + "\n")
        return path

    @classmethod
    def read(cls, path: Path) -> "Evaluation":
        """The record of a file. Raises ValueError that names the file, where it holds none."""
        try:
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise ValueError(f"{path} cannot be read: {error}. Remove it, or evaluate anew.") from error


def _from_format_1(content: dict) -> dict:
    """A record of format 1, which did not list classes, brought to this one; seen or unseen is then unknown."""
    known = {item.name for item in fields(Evaluation)}
    names = list(content["results"])
    own, weights = content.get("model"), content.get("weights")
    own = own if own in names else None  # format 1 had the list of all models under this key before a folder took it
    if not names:
        raise ValueError("it has no numbers")
    circumstances = content["results"][names[0]]
    return {
        **{key: value for key, value in content.items() if key in known},
        "format": FORMAT,
        "dataset_config": content.get("dataset_config"),
        "generalized": bool(content.get("generalized")),
        "average": circumstances["average"],
        "ties": circumstances["ties"],
        "classes": None,
        "rerank": {"neighbours": content["rerank"]} if content.get("rerank") else None,
        "settings": {key: value for key, value in content.items() if key not in known | {"weights", "format"}},
        "models": {name: {"weights": weights if name == own else None} for name in names},
        "model": own,
    }


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file, a text in UTF-8, under its name only once it is complete: an older one stays where the disk is full.

    Raises OSError that names the file; what the system says of a full disk does not.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)

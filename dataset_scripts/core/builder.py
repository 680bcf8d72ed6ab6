"""The builder behind every benchmark: one class serves `datasets` 3.6 (as a script) and 5.x (instantiated by
`dataset_scripts.load`).

Decided here:

- The cache key holds a fingerprint of the pictures (names, sizes, times), the class lists, the hold-out list and the
  descriptions, so none of them can change and leave stale rows. Code changes raise `VERSION`.
- The cache holds absolute paths of the pictures, not copies; it stays valid as long as the folder stays where it is.
- Rows are made as one Arrow table a class (`datasets.ArrowBasedBuilder`), several times as fast as row by row.
- The folder check runs, and is printed, before anything is built (`core.check`).
- A script that `datasets` 3.6 loads is copied away from its siblings, so everything is imported from the installed
  package.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import datasets
import pyarrow as pa

from dataset_scripts.core.check import FolderReport, check_folder, require_usable
from dataset_scripts.core.descriptions import benchmark_descriptions
from dataset_scripts.core.layouts import Benchmark
from dataset_scripts.core.options import PictureConfig
from dataset_scripts.core.pairs import Pairs
from dataset_scripts.core.scan import ClassFolder, Listing, no_data_message, scan
from dataset_scripts.core.splits import ZeroShotSplit, read_split, split_rows
from dataset_scripts.core.texts import say

VERSION = datasets.Version("1.1.0")  # the column instance
MODALITIES = ["sketch", "photo"]


@dataclass
class ZeroShotConfig(PictureConfig):
    """One zero-shot split of a benchmark; the options of `PictureConfig`, and:

    Attributes:
        version: raised when code changes the rows.
        benchmark: the data set.
        published: whether `dataset_scripts.parquet.publish` takes it without being told to; folds for tuning are not.
    """

    version: datasets.Version = VERSION
    benchmark: Benchmark | None = None
    published: bool = True

    @cached_property
    def split(self) -> ZeroShotSplit:
        """Classes and hold-out list."""
        return read_split(self.benchmark.name, self.name)

    @cached_property
    def descriptions(self) -> dict[str, list[str]]:
        """Texts of each class."""
        return benchmark_descriptions(self.benchmark.name)

    def texts_of(self, label: str) -> list[str]:
        """Texts of one class; none where there are none."""
        return self.descriptions.get(label, [])

    @cached_property
    def listing(self) -> Listing:
        """The pictures on disk, listed once."""
        if not self.data_dir:
            raise FileNotFoundError(no_data_message("(not given)", self.benchmark))
        return scan(self.data_dir, self.benchmark, self.split.classes)

    @cached_property
    def pairs(self) -> Pairs:
        """Which sketch shows which photo."""
        return Pairs(self.listing, self.benchmark.pairing)

    def create_config_id(self, config_kwargs: dict, custom_features: datasets.Features | None = None) -> str:
        """Adds the fingerprint of everything the rows come from to the cache key."""
        self.check_options()
        if self.data_dir:
            digest = hashlib.blake2b(self.listing.fingerprint().encode(), digest_size=16)
            held_out = sorted((label, sorted(stems)) for label, stems in (self.split.held_out or {}).items())
            digest.update(repr((self.split.seen, self.split.unseen, held_out, self.descriptions)).encode())
            config_kwargs = {**config_kwargs, "fingerprint": digest.hexdigest()}
        return super().create_config_id(config_kwargs, custom_features=custom_features)


class ZeroShotBuilder(datasets.ArrowBasedBuilder):
    """Rows of one zero-shot split. Subclasses name their `BUILDER_CONFIGS`.

    Columns: ``image`` (a path in the cache, decoded on access), ``modality`` (sketch, photo), ``label`` (all classes,
    seen first), ``descriptions`` (texts of the class), ``file`` (path relative to ``data_dir``), ``instance`` (what a sketch
    and its photo have in common within their class, None where there is no such pair; `core.pairs`).

    Raises (when built):
        FileNotFoundError: ``data_dir`` is missing or holds no known layout.
        ValueError: the folder is partial or has corrupt files, and no option says to go on.
    """

    VERSION = VERSION
    BUILDER_CONFIG_CLASS = ZeroShotConfig

    def _info(self) -> datasets.DatasetInfo:
        benchmark = self.config.benchmark
        return datasets.DatasetInfo(
            description=f"{benchmark.title}, zero-shot split {self.config.name}.",
            features=datasets.Features(
                {
                    "image": datasets.Image(),
                    "modality": datasets.ClassLabel(names=MODALITIES),
                    "label": datasets.ClassLabel(names=self.config.split.classes),
                    "descriptions": datasets.Sequence(datasets.Value("string")),
                    "file": datasets.Value("string"),
                    "instance": datasets.Value("string"),
                }
            ),
            homepage=benchmark.home,
            license=benchmark.license_note,
            citation=benchmark.citation,
        )

    def check(self, verify: bool | None = None) -> FolderReport:
        """Print the folder check; stop where it says so.

        Args:
            verify: decode every picture; where not given, as the options say: what is to be left out must be found first.
        """
        config = self.config
        verify = config.verify or config.skip_corrupt if verify is None else verify
        report = check_folder(config.listing, config.benchmark, config.name, config.split, config.duplicates, verify)
        require_usable(report, config.allow_partial, config.skip_corrupt)
        say(str(report))
        return report

    def rows(self, corrupt: Collection[str] = ()) -> dict[str, list[ClassFolder]]:
        """Split -> class folders with the files of that split, without those in `corrupt`.

        A split without a picture is left out: `datasets` cannot read one back.

        Raises:
            ValueError: no split has a picture.
        """
        config = self.config
        listing = config.listing.without(corrupt)
        rows = split_rows(listing, config.benchmark, config.split, config.validation_photos, config.duplicates)
        if not any(rows.values()):
            raise ValueError(
                f"{listing.data_dir}: no class folder holds a picture. `python -m dataset_scripts."
                f"{config.benchmark.name} --data_dir ...` says what was found."
            )
        for name in [name for name, parts in rows.items() if not parts]:
            say(f"  split {name} has no picture and is left out")
            del rows[name]
        return rows

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        report = self.check()
        return [
            datasets.SplitGenerator(name=name, gen_kwargs={"parts": parts}) for name, parts in self.rows(report.corrupt).items()
        ]

    @cached_property
    def _schema(self) -> pa.Schema:
        return self.info.features.arrow_schema  # a millisecond each time it is asked for

    def table(self, part: ClassFolder) -> pa.Table:
        """The rows of one class folder."""
        directory = f"{self.config.listing.data_dir}/{part.folder}"
        texts = self.config.texts_of(part.label)
        features, n = self.info.features, len(part.files)
        columns = {
            "image": [{"bytes": None, "path": f"{directory}/{name}"} for name in part.files],
            "modality": [features["modality"].str2int(part.source.modality)] * n,
            "label": [features["label"].str2int(part.label)] * n,
            "descriptions": [texts] * n,
            "file": [f"{part.folder}/{name}" for name in part.files],
            "instance": self.config.pairs.of(part),
        }
        return pa.Table.from_pydict(columns, schema=self._schema)

    def _generate_tables(self, parts: list[ClassFolder]):
        for index, part in enumerate(parts):
            yield index, self.table(part)

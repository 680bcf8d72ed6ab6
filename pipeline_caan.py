"""`pipeline("sketch-retrieval", model="org/caan-sketchy", trust_remote_code=True)`: photos that a sketch finds in a gallery.

gallery = pipe.encode_gallery("photos/")                  # once; gallery.save("photos.safetensors") keeps it
pipe("sketch.png", gallery=gallery, top_k=5)              # [{"image": "photos/a.jpg", "score": 0.83, "rank": 1}, ...]
pipe(["a.png", "b.png"], gallery="photos.safetensors")    # a list of sketches gives a list of such lists
"""

import functools
import hashlib
import json
import os
import re
import types
import warnings
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm
from transformers import AutoModel, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

try:  # as a module of the Hub repository
    from .configuration_caan import INSTALLED, PIPELINES, TRAINING_MODULES
    from .processing_caan import INK_OPTIONS, as_batch, has_name, image_name
except ImportError:
    if __package__:
        raise
    from configuration_caan import INSTALLED, PIPELINES, TRAINING_MODULES  # as an installed module
    from processing_caan import INK_OPTIONS, as_batch, has_name, image_name

GALLERY_SUFFIX = ".safetensors"
# Formats that Pillow only recognises, or hands to a program or package that a picture's reader may not have.
UNREADABLE_FORMATS = {"BUFR", "EPS", "FPX", "GRIB", "HDF5", "IPTC", "MIC", "MPEG", "WMF"}
# Pictures, whether or not what reads them is installed (pillow-heif, Pillow 11.3): an error then names the file and the cure.
CAMERA_SUFFIXES = (".avif", ".avifs", ".heic", ".heics", ".heif", ".heifs", ".hif")
SVG_SUFFIXES = (".svg", ".svgz")  # of sketches alone: among photos they are icons and logos
# Folders of programs and file systems, as the builders have them: .thumbnails, @eaDir, #recycle, ~snapshot, __MACOSX.
SYSTEM_MARKS = (".", "@", "#", "$", "~", "__")
SYSTEM_FOLDERS = {"lost+found", "system volume information", "recycler"}
# In names of files; line ends, too, and what turns the order of letters, by which "exe.png" is read as "gnp.exe".
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
NAMES_SHOWN = 5  # of the files that are left out, in one warning
# What of an image processor changes the features of photos.
PHOTO_SETTINGS = ("size", "resample", "do_resize", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")
FEATURE_SETTINGS = ("pooling", "whitening")  # what of a config does: the same weights give other features
SAMPLES = 16  # values of each weight that are compared to notice a change
PLURALS = {"sketch": "sketches", "photo": "photos"}
ON_ERROR = ("raise", "skip")
UNTRUSTED = {"mps"}  # kinds of devices that have given wrong vectors without an error: CLIP's on Apple silicon
LEAST_COSINE = 0.999  # of a vector there and on the CPU; half precision stays above
REASONS_SHOWN = 20  # of the skipped pictures in one warning


def image_suffixes(svg: bool = False) -> tuple[str, ...]:
    """Lower-case suffixes, with the dot, of pictures; a plugin of Pillow that was registered adds its own, `svg` drawings."""
    Image.init()
    read = {*Image.OPEN, "MPO"} - UNREADABLE_FORMATS  # JPEG's reader opens MPO, the pictures of stereo and panorama cameras
    known = [suffix for suffix, name in Image.registered_extensions().items() if name in read]
    return tuple(sorted({*known, *CAMERA_SUFFIXES, *(SVG_SUFFIXES if svg else ())}))


def list_images(folder: str | os.PathLike, svg: bool = False) -> list[str]:
    """Paths of the pictures in `folder` and its subfolders, told by their suffix, sorted by folder and name.

    Links to folders are followed, each folder once. Hidden files and folders and those of operating systems are left out; one
    warning counts and names what else is, SVG files among it unless `svg` says that the folder holds sketches.

    Raises ValueError where the folder does not exist or holds no picture.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"No such folder of pictures: {show_path(root)}")
    suffixes, found, ignored = image_suffixes(svg), [], []
    left_out: Counter[str] = Counter()
    for files, problems in read_folders(root):
        for path in files:
            if path.suffix.lower() in suffixes:
                if path.stat().st_size:
                    found.append(path)
                else:
                    ignored.append(f"{show_path(path, root)} (empty)")
            else:
                ignored.append(show_path(path, root))
                left_out[path.suffix.lower() or "no suffix"] += 1
        ignored += problems
    if ignored:
        names = ", ".join(sorted(ignored)[:NAMES_SHOWN]) + (", ..." if len(ignored) > NAMES_SHOWN else "")
        counts = (
            f"; by suffix: {', '.join(f'{count} {suffix}' for suffix, count in left_out.most_common())}" if left_out else ""
        )
        text = f"{len(ignored)} entries that are no readable pictures are ignored: {names}{counts}"
        warnings.warn(f"{show_path(root)}: {text}", stacklevel=2)
    if not found:
        raise ValueError(f"There is no picture in {show_path(root)} or its subfolders; known are {', '.join(suffixes)}.")
    return [str(path) for path in sorted(found, key=lambda path: path.relative_to(root))]


def read_folders(root: Path, hidden: list[str] | None = None) -> Iterator[tuple[list[Path], list[str]]]:
    """Files of each folder at and below `root`, and what cannot be read, in words.

    The names of hidden files, and with a slash of folders that are hidden or a system's, are added to `hidden`. True folders
    come before links, so that what lies in the folder itself is listed under its own name.
    """
    waiting, seen = deque([root]), set()
    while waiting:
        folder = waiting.popleft()
        if (real := os.path.realpath(folder)) not in seen:
            seen.add(real)
            folders, files, problems = read_folder(folder, hidden)
            waiting.extendleft(path for path in folders if not os.path.islink(path))  # Path's own fails for a path too long
            waiting.extend(path for path in folders if os.path.islink(path))
            yield files, problems


def read_folder(folder: Path, hidden: list[str] | None = None) -> tuple[list[Path], list[Path], list[str]]:
    """Sub-folders and files that are not hidden, and what cannot be read, in words."""
    folders, files, problems = [], [], []
    hidden = [] if hidden is None else hidden
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        return [], [], [f"{show_path(folder, folder.parent)} ({error.strerror})"]
    for entry in entries:
        path = folder / entry.name
        try:
            if entry.is_dir():
                system = entry.name.startswith(SYSTEM_MARKS) or entry.name.casefold() in SYSTEM_FOLDERS
                hidden.append(f"{entry.name}/") if system else folders.append(path)
            elif entry.name.startswith("."):
                hidden.append(entry.name)
            elif entry.is_file():
                files.append(path)
            else:
                problems.append(
                    f"{show_path(path, folder)} ({'broken link' if entry.is_symlink() else 'no file, but a pipe or device'})"
                )
        except OSError as error:  # a link that leads back to itself
            problems.append(f"{show_path(path, folder)} ({error.strerror})")
    return folders, files, problems


def show_path(path: str | os.PathLike, root: Path | None = None) -> str:
    """A path, below `root` where that is given, as a line can hold it, whatever bytes and control characters its name has."""
    text = os.fsencode(Path(path).relative_to(root) if root else path).decode("utf-8", "backslashreplace")
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class ProcessedImages(Dataset):
    """Pixel values of a sequence of pictures, made where they are asked for (in a loader's worker).

    Each item is pixels (3, height, width) and "", or with `on_error="skip"` a blank picture and why the true one is missing.
    """

    def __init__(self, images: Sequence, processor, modality: str, on_error: str = "raise"):
        if on_error not in ON_ERROR:
            raise ValueError(f"on_error must be one of {', '.join(ON_ERROR)}, got {on_error!r}.")
        self.images, self.processor, self.modality = images, processor, modality
        self.blank = self._process(Image.new("RGB", (8, 8)), "photo") if on_error == "skip" else None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, str]:
        try:
            return self._read(row), ""
        except ValueError as error:
            if self.blank is None:
                raise
            return self.blank.clone(), str(error)

    def _read(self, row: int) -> torch.Tensor:
        image = self.images[row]  # a lazy sequence reads here, and names the file itself
        try:
            return self._process(image, self.modality)
        except ValueError as error:
            name = f" ({image_name(image)})" if has_name(image) else ""
            reason = error.__cause__ or error  # without the place in the processor's batch, which is always 0 here
            raise ValueError(f"{self.modality} {row}{name}: {reason}") from error

    def _process(self, image, modality: str) -> torch.Tensor:
        return self.processor([image], modality=modality, return_tensors="pt")["pixel_values"][0]


@torch.inference_mode()
def embed_images(
    model,
    processor,
    images: Any,
    modality: str,
    batch_size: int = 64,
    num_workers: int = 0,
    accelerator=None,
    progress: bool = True,
    on_error: str = "raise",
) -> torch.Tensor:
    """Features (len(images), hidden_size), float32 on the CPU, in the order of `images`.

    Args:
        model: anything with `get_sketch_features` and `get_image_features`, on its device; put in eval mode.
        processor: its image processor; makes `pixel_values` of one picture.
        images: a folder (`list_images` gives the order), or pictures in any form of `processing_caan.as_batch`, such as a list
            of paths; a sequence may be lazy as `caan.data.Pictures` is.
        modality: "sketch" or "photo".
        accelerator: an `Accelerator` whose processes share the work; every process gets all features.
        on_error: "raise", or "skip": the row of an unreadable picture or of a sketch without ink is NaN, and one warning
            counts them and says why; with an accelerator each process warns of those that it read.

    Raises ValueError naming the file or the position of an unreadable picture or a sketch without ink.
    """
    if modality not in PLURALS:
        raise ValueError(f'modality must be "sketch" or "photo", got {modality!r}.')
    images = list_images(images, modality == "sketch") if isinstance(images, (str, os.PathLike)) else as_batch(images)[0]
    features_of = model.get_sketch_features if modality == "sketch" else model.get_image_features
    loader = DataLoader(ProcessedImages(images, processor, modality, on_error), batch_size=batch_size, num_workers=num_workers)
    was_training = model.training
    model.eval()
    features, reasons = embed_batches(features_of, loader, device_of(model), accelerator, progress, PLURALS[modality])
    model.train(was_training)
    if reasons:
        shown = [*list(reasons)[:REASONS_SHOWN], *(["..."] if len(reasons) > REASONS_SHOWN else [])]
        warnings.warn("\n".join([f"skipped {len(reasons)} of {len(images)} {PLURALS[modality]}:", *shown]), stacklevel=3)
    return torch.cat(features) if features else torch.empty(0, 0)


def embed_batches(
    features_of, loader: DataLoader, device: torch.device, accelerator, progress: bool, what: str
) -> tuple[list[torch.Tensor], dict[str, None]]:
    """Features (batch, hidden_size) of each batch of `ProcessedImages`, on the CPU; and why pictures were skipped, each reason
    once."""
    if accelerator is not None:
        loader = accelerator.prepare_data_loader(loader, device_placement=True)
        accelerator._dataloaders.pop()  # of this call alone: Accelerate would keep it, and its state in every checkpoint
    show = progress and (accelerator is None or accelerator.is_main_process)
    features: list[torch.Tensor] = []
    reasons: dict[str, None] = {}
    with accelerator.autocast() if accelerator is not None else nullcontext():
        for pixels, errors in tqdm(loader, desc=f"encoding {what}", disable=not show, leave=False):
            batch = features_of(pixels.to(device)).float()
            batch[torch.tensor([bool(error) for error in errors])] = torch.nan
            reasons |= dict.fromkeys(filter(None, errors))  # once: the last batch is filled up from the first
            features.append((batch if accelerator is None else accelerator.gather_for_metrics(batch)).cpu())
    return features, reasons


def device_of(model) -> torch.device:
    """Where a model's weights are; offloaded ones are on meta."""
    placed = (weight.device for weight in model.parameters() if weight.device.type != "meta")
    return next(placed, torch.device("cpu"))


def checked_device(model, device: str | torch.device, pixels: torch.Tensor) -> torch.device:
    """The device to compute on: `device`, or the CPU where one batch gets other vectors on `device`, with a UserWarning.

    Only kinds in `UNTRUSTED` are tried; others come back at once, and nothing is moved. After a trial the model is on the
    device that is returned; so `model.to(checked_device(...))` serves all cases.

    Args:
        model: anything with `get_sketch_features` and `get_image_features`.
        pixels: (batch, 3, height, width) of the processor's size, such as `probe_pixels` makes.
    """
    device = torch.device(device)
    if device.type not in UNTRUSTED:
        return device
    was_training = model.training
    model.eval()
    expected, got = (trial_vectors(model, place, pixels) for place in (torch.device("cpu"), device))
    model.train(was_training)
    lowest = F.cosine_similarity(expected, got).min()
    if lowest >= LEAST_COSINE:  # never of NaN
        return device
    warnings.warn(
        f"{device} gives this model other vectors than the CPU does (cosine {lowest:.3f}, and {LEAST_COSINE} is the least): "
        "the CPU is used. A newer torch may cure it.",
        stacklevel=2,
    )
    model.to("cpu")
    return torch.device("cpu")


@torch.no_grad()
def trial_vectors(model, device: torch.device, pixels: torch.Tensor) -> torch.Tensor:
    """Vectors (2 * batch, hidden_size), float32 on the CPU, of pixels taken for photos and for sketches."""
    model.to(device)
    both = (encode(pixels.to(device)).float().cpu() for encode in (model.get_image_features, model.get_sketch_features))
    return torch.cat(list(both))


def probe_pixels(image_processor, count: int = 4) -> torch.Tensor:
    """Pixels (count, 3, height, width) of pictures that are always the same, to try a device with."""
    noise = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    return image_processor(list(map(Image.fromarray, noise)), modality="photo", return_tensors="pt")["pixel_values"]


@dataclass
class Gallery:
    """Features of pictures, and what names each of them in results.

    Attributes:
        features: (count, hidden_size), made float32 unit vectors on the CPU.
        images: a path, PIL image or whatever names each row; by default its index.
        skipped: pictures that `encode_gallery` could not read and left out.
        model: what made the features (`model_identity`); None = not known, and then any model of the width may search.

    Raises ValueError for an empty gallery, features that are no matrix or not finite, or another number of names.
    """

    features: torch.Tensor
    images: Sequence = ()
    skipped: Sequence = ()
    model: dict | None = None

    def __post_init__(self) -> None:
        features = torch.as_tensor(self.features).detach().float().cpu()
        if features.ndim != 2 or 0 in features.shape:
            raise ValueError(f"Gallery features must be (count, hidden_size) and not empty, got {tuple(features.shape)}.")
        if bad := (~features.isfinite().all(dim=1)).nonzero().flatten().tolist():
            raise ValueError(f"Gallery features hold NaN or infinity in {len(bad)} rows, first in row {bad[0]}.")
        self.images = range(len(features)) if self.images is None or not len(self.images) else self.images
        if len(self.images) != len(features):
            raise ValueError(f"There are {len(self.images)} gallery images for {len(features)} rows of features.")
        self.features = F.normalize(features, dim=-1)

    def save(self, path) -> None:
        """Writes a .safetensors file: `features`, and in its metadata `images`, a JSON list of the paths, as they were given.

        Pictures that are no files have no name to keep: loaded again, they are indices.
        """
        if not os.fspath(path).endswith(GALLERY_SUFFIX):
            raise ValueError(f"A gallery's file ends in {GALLERY_SUFFIX}, got {path}.")
        files = [os.fspath(image) for image in self.images if isinstance(image, (str, os.PathLike))]
        metadata = {"images": json.dumps(files)} if len(files) == len(self.images) else {}
        metadata |= {"model": json.dumps(self.model)} if self.model else {}
        save_file({"features": self.features.contiguous()}, path, metadata=metadata or None)

    @classmethod
    def load(cls, path) -> "Gallery":
        """The gallery of a file that `save` wrote, or of any .safetensors file with a tensor `features`.

        A file that does not say which model made it gives a warning.
        """
        if not os.path.isfile(path):
            raise ValueError(f"No such gallery file: {path}")
        try:
            with safe_open(path, "pt") as file:
                names, metadata = list(file.keys()), file.metadata() or {}
                features = file.get_tensor("features") if "features" in names else None
        except SafetensorError as error:
            raise ValueError(f"{path} is no gallery, or cut off ({error}): encode the pictures again.") from error
        if features is None:
            raise ValueError(f"{path} holds no tensor `features`; it holds {', '.join(names) or 'none'}.")
        if "model" not in metadata:
            warnings.warn(
                f"{path} does not say which model made its features: take care to search with the same.", stacklevel=2
            )
        try:
            images, model = (json.loads(metadata[name]) if name in metadata else None for name in ("images", "model"))
            if not isinstance(images, list | None) or not isinstance(model, dict | None):
                raise ValueError("its metadata `images` and `model` are not the list and the mapping that `save` writes.")
            return cls(features, images or (), model=model)
        except ValueError as error:
            raise ValueError(f"{path} cannot be searched: {error}") from error


def model_identity(model, image_processor) -> dict | None:
    """What decides the features of photos: `name`, `revision`, `weights` (a fingerprint), `config` and `photos` (settings).

    Of a folder on this machine the name alone is kept. None where weights are not in memory (offloaded), so that they cannot be
    told from others.
    """
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name.split(".")[0] not in TRAINING_MODULES}
    if any(tensor.device.type == "meta" for tensor in tensors.values()):
        return None
    name = getattr(model, "name_or_path", "")
    return {
        "name": os.path.basename(os.path.abspath(name)) if os.path.exists(name) else name,
        "revision": commit_of(name, getattr(model, "config", None)),
        "weights": fingerprint(tensors),
        "config": feature_settings(model),
        "photos": photo_settings(image_processor),
    }


def commit_of(name: str, config) -> str | None:
    """The commit that a Hub id was loaded from, None of a folder; transformers 5.24 no longer notes it in the config, and the
    path of the cached file tells."""
    if noted := getattr(config, "_commit_hash", None):
        return noted
    try:
        file = None if os.path.exists(name) else try_to_load_from_cache(name, "config.json")
    except HFValidationError:  # it is no id
        return None
    return os.path.basename(os.path.dirname(file)) if isinstance(file, str) else None


def difference(made: dict, own: dict) -> str | None:
    """What differs between two `model_identity`, in words, so that their features do not compare; None where nothing does.

    A part that `made` lacks, since an older version did not write it, does not count.
    """
    settings = {"config": "other settings of the model", "photos": "other settings of the image processor"}
    parts = {"weights": "another model", **settings}
    return next((what for part, what in parts.items() if own[part] != made.get(part, own[part])), None)


def feature_settings(model) -> dict:
    """`FEATURE_SETTINGS` of a model's config, where it has one; of a combined model those of its members, and their weights."""
    config: Any = getattr(model, "config", None)
    settings: dict = {name: getattr(config, name, None) for name in FEATURE_SETTINGS}
    if members := getattr(config, "members", None):
        settings["members"] = [{name: fields.get(name) for name in FEATURE_SETTINGS} for fields in members]
        settings["member_weights"] = [float(weight) for weight in config.member_weights]
    return settings


def photo_settings(image_processor) -> dict:
    """`PHOTO_SETTINGS` of an image processor, or of each of its parts, as a gallery's file gives them back."""
    settings: dict = {name: getattr(image_processor, name, None) for name in PHOTO_SETTINGS}
    if parts := getattr(image_processor, "parts", None):
        settings = {"parts": [{name: part.get(name) for name in PHOTO_SETTINGS} for part in parts]}
    return json.loads(json.dumps(settings, default=lambda value: dict(value) if hasattr(value, "keys") else str(value)))


def weights_state(model) -> tuple:
    """What tells in milliseconds that a weight has changed: where each lies, how often torch changed it, and some values.

    The values, `SAMPLES` of each, show what torch does not count: changes through `weight.data`, and those of weights made in
    inference mode.
    """
    weights = [value.detach() for value in model.state_dict().values() if value.device.type != "meta"]
    counts = tuple((value.data_ptr(), value.dtype, None if value.is_inference() else value._version) for value in weights)
    samples = [value.reshape(-1)[:: max(1, value.numel() // SAMPLES)].double().cpu() for value in weights]
    return counts, torch.cat(samples).numpy().tobytes() if samples else b""


def fingerprint(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 of tensors by name, rounded to bfloat16: loaded in float32 or in bfloat16, a model has the same."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        value = tensor.detach().cpu()
        value = value.bfloat16() if value.is_floating_point() else value
        digest.update(f"{name} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class SketchRetrievalPipeline(Pipeline):
    """Ranks the pictures of a gallery by their cosine similarity to a sketch.

    `pipe(sketches, gallery=..., top_k=10)`; `gallery`, `top_k` and options of the processor for sketches (`ink_mode` and the
    like) may also be given to `pipeline(...)`, for every call.
    """

    _load_processor = False
    _load_image_processor = True
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False
    device: torch.device

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.device.type in UNTRUSTED:  # pictures are processed for these alone
            self.device = checked_device(self.model, self.device, probe_pixels(self.image_processor))

    def __call__(self, sketches, gallery=None, **options):
        """What each sketch finds.

        Args:
            sketches: a path, URL, PIL image, array, file or bytes; several of them (a list, a column of a data set, an array
                of them), encoded in batches with progress; or a generator or `Dataset`, answered one by one.
            gallery: a `Gallery` or its .safetensors file; one on disk, a server or the Hub (`caan.search.gallery.Gallery`,
                opened); features (count, hidden_size); or pictures to encode now: a folder or a list of paths, URLs and PIL
                images.
            top_k: results a sketch, at most the whole gallery.
            batch_size, num_workers: as in any pipeline; a list of sketches takes 64 at once by default.
            ink_mode and the like: options of `CAANImageProcessor` for the sketches of this call.

        Returns:
            For one sketch a list of `{"image", "score", "rank"}`, best first: the path, PIL image or index in the gallery, the
            cosine similarity as a float, and 1, 2, ...; equals rank in gallery order. For a list, a list of these.

        Raises:
            ValueError: no gallery, an empty one, or one of another width; a blank sketch; an unreadable picture (named).
        """
        if gallery is not None:
            options["gallery"] = gallery
        loading = {name: options.pop(name, None) for name in ("batch_size", "num_workers")}
        ink, _, ranking = self._sanitize_parameters(**options)
        ink, ranking = {**self._preprocess_params, **ink}, {**self._postprocess_params, **ranking}
        self._require_own(ranking.get("gallery"))  # at each call: the model may have been trained since
        if isinstance(sketches, (types.GeneratorType, Dataset)):
            return super().__call__(sketches, **loading, **ranking, **ink)
        sketches, alone = as_batch(sketches)
        if alone:
            return super().__call__(sketches[0], **loading, **ranking, **ink)
        features = self._embed(sketches, "sketch", ink, **loading)
        return [self.postprocess({"features": row[None]}, **ranking) for row in features]

    def encode_gallery(self, images, on_error: str = "raise", progress: bool = True, **loading) -> Gallery:
        """Features of a folder (subfolders too) or a list of pictures, in batches with progress.

        Args:
            images: a folder, or pictures in any form of `processing_caan.as_batch`, such as a list of paths.
            on_error: "raise", or "skip": unreadable pictures are left out, counted in a warning, and listed in `skipped`.
            loading: `batch_size` (64) and `num_workers` (0) of the loader.

        Raises ValueError for an empty gallery, a folder without pictures, or an unreadable picture (named).
        """
        images = list_images(images) if isinstance(images, (str, os.PathLike)) else list(as_batch(images)[0])
        if not images:
            raise ValueError("The gallery is empty: give at least one picture.")
        features = self._embed(images, "photo", {}, on_error=on_error, progress=progress, **loading)
        readable = features.isfinite().all(dim=1) | (on_error == "raise")
        if not readable.any():
            raise ValueError(f"None of the {len(images)} pictures of the gallery can be read.")
        kept, skipped = ([image for image, ok in zip(images, readable) if ok == wanted] for wanted in (True, False))
        return Gallery(features[readable], kept, skipped, self.identity())

    def identity(self) -> dict | None:
        """`model_identity` of the pipeline's model; worked out anew where a weight has changed since."""
        state = photo_settings(self.image_processor), feature_settings(self.model), weights_state(self.model)
        if getattr(self, "_identity", (None,))[0] != state:
            self._identity = state, model_identity(self.model, self.image_processor)
        return self._identity[1]

    def _embed(self, images, modality: str, ink: dict, **options) -> torch.Tensor:
        options["batch_size"] = options.get("batch_size") or self._batch_size or 64
        options["num_workers"] = options.get("num_workers") or self._num_workers or 0
        with self.device_placement():
            return embed_images(self.model, functools.partial(self.image_processor, **ink), images, modality, **options)

    def _sanitize_parameters(self, gallery=None, top_k=None, **ink):
        if unknown := ink.keys() - set(INK_OPTIONS):
            raise TypeError(
                f"the pipeline has no option {', '.join(sorted(unknown))}: {', '.join(INK_OPTIONS)} are of sketches."
            )
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}.")
        options = {"gallery": None if gallery is None else self._as_gallery(gallery), "top_k": top_k}
        return ink, {}, {name: value for name, value in options.items() if value is not None}

    def _as_gallery(self, gallery) -> Gallery:
        if isinstance(gallery, (str, os.PathLike)) and os.fspath(gallery).endswith(GALLERY_SUFFIX):
            gallery = Gallery.load(gallery)
        if isinstance(gallery, Gallery) or hasattr(gallery, "search_vector"):
            return gallery
        if isinstance(gallery, (torch.Tensor, np.ndarray)):
            return Gallery(torch.as_tensor(gallery))
        return self.encode_gallery(gallery)

    def _require_own(self, gallery: Any) -> None:
        """Raises ValueError where another model, or this one with other settings for photos, made a gallery's features."""
        if not isinstance(gallery, Gallery):
            if gallery is not None:
                gallery.require_model(self.identity())
            return
        own = self.identity() if gallery.model else None
        if own and gallery.model and (what := difference(gallery.model, own)):
            made = " ".join(filter(None, [gallery.model.get("name") or "without a name", gallery.model.get("revision")]))
            raise ValueError(
                f"The gallery was made by {what} ({made}): its features do not compare with those of "
                f"{own['name'] or 'this one'}. Encode the pictures with this model (encode_gallery)."
            )

    def preprocess(self, sketch, **ink):
        return self.image_processor([sketch], modality="sketch", return_tensors="pt", **ink)

    def _forward(self, inputs):
        return {"features": self.model.get_sketch_features(inputs["pixel_values"])}

    def postprocess(self, outputs, gallery: Any = None, top_k: int = 10) -> list[dict]:
        """The best `top_k` pictures of the gallery for one sketch, each `{"image", "score", "rank"}`, by cosine similarity."""
        if gallery is None:
            raise ValueError("Say where to search: gallery= a folder, a list of pictures, features, or a .safetensors file.")
        query = F.normalize(outputs["features"].float(), dim=-1).squeeze(0)  # (hidden_size,)
        if not isinstance(gallery, Gallery):
            found = gallery.search_vector(query.cpu().numpy(), top_k)
            return [{"image": result.path, "score": result.score, "rank": result.rank} for result in found]
        if gallery.features.shape[1] != len(query):
            raise ValueError(
                f"The gallery's features are {gallery.features.shape[1]} wide, the sketch's {len(query)}: "
                "they come from another model. Encode the gallery with this one (encode_gallery)."
            )
        scores, rows = (gallery.features @ query).sort(descending=True, stable=True)
        best = zip(rows[:top_k].tolist(), scores[:top_k].tolist())
        return [{"image": gallery.images[row], "score": score, "rank": rank} for rank, (row, score) in enumerate(best, 1)]


if INSTALLED:
    for task in PIPELINES:
        PIPELINE_REGISTRY.register_pipeline(task, SketchRetrievalPipeline, pt_model=AutoModel)

__all__ = ["Gallery", "SketchRetrievalPipeline", "checked_device", "embed_images", "list_images", "probe_pixels"]

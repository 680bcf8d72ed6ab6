"""The card of a gallery on the Hub: what it holds, what made it, how it is read."""

from pathlib import Path

from huggingface_hub import DatasetCard, DatasetCardData

from caan.search.hub_files import FILES
from caan.search.identity import SETTING, SOURCE

TAGS = ["caan-gallery", "sketch-based-image-retrieval"]
TEXT = """
# {name}

{contents:,} pictures ({photos:,} files), to be searched by sketch: thumbnails, vectors and paths, no photos.

```python
from caan.search.gallery import Gallery

gallery = Gallery.open("hf://datasets/{repo}"{model_option})
gallery.search("sketch.png", top_k=20)
```

or `caan search sketch.png --gallery hf://datasets/{repo}`, or as a table: `datasets.load_dataset("{repo}")`.

## What it was made by

- model: {source}{revision}
- weights: `{weights}` (fingerprint; another model's sketches do not compare with these vectors)
- vectors: {width} numbers, float16, unit length

## Columns

- `hash`: SHA-256 of the photo's file
- `paths`: its files, below the folder that was indexed; of several folders each begins with the folder's number. `%` and bytes
  that are no UTF-8 are percent-coded
- `vector`, and `thumbnail`: a JPEG of at most 256 pixels without EXIF

## Licence

The rights in the pictures stay with their owners. Thumbnails can show people and places: publish what you may.
"""


def write_card(folder: Path, repo: str, contents: int, photos: int, width: int, settings: dict) -> None:
    """Writes README.md; its header is what lets `load_dataset` find the files.

    Args:
        settings: the model's identity and source, as they are published.
    """
    model, source = settings[SETTING], settings[SOURCE]["model"]
    header = DatasetCardData(
        pretty_name=f"Gallery {repo.rpartition('/')[2]}",
        license="other",
        license_name="rights-of-the-owners",
        tags=TAGS,
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": FILES}], "default": True}],
    )
    text = TEXT.format(
        name=repo.rpartition("/")[2],
        repo=repo,
        contents=contents,
        photos=photos,
        width=width,
        source=source,
        model_option="" if "/" in source else f', model="path/to/{source}"',
        revision=f", revision {model['revision']}" if model.get("revision") else "",
        weights=model["weights"],
    )
    DatasetCard(f"---\n{header.to_yaml()}\n---\n{text}").save(folder / "README.md")

"""A small tree for the `folder` builder: drawn shapes, as outlines and as coloured photos, with descriptions.

    make_shapes(root)                       # five seen classes and two unseen ones
    shape_options(root, tmp_path / "run")   # arguments of train.py for a tiny CAAN on it

`root` holds `sketch/<class>/<i>.png`, `photo/<class>/<i>.png`, `descriptions.jsonl` and `unseen.txt`.
"""

import json
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SEEN = ("arch", "bar", "cross", "diamond", "ellipse")
UNSEEN = ("frame", "gable")
CLASSES = SEEN + UNSEEN
SIDE = 48  # pixels
COLOURS = ("firebrick", "seagreen", "royalblue", "orange", "purple")
CONFIG = {  # a CAAN of about 20,000 weights that learns the shapes in twenty steps
    "vision_config": {
        "model_type": "resnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 16, 32],
        "depths": [1, 1, 1],
        "layer_type": "basic",
    },
    "share_vision_encoder": True,
    "text_config": {
        "model_type": "bert",
        "hidden_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 64,
    },
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "num_relation_tokens": 4,
    "relation_hidden_size": 8,
    "lambda_con": 1.0,
    "mining": "random",
}


def outline(name: str, box: tuple[int, int, int, int]) -> list[tuple[int, int]]:
    """Corners of a class's shape in a box (left, top, right, bottom)."""
    left, top, right, bottom = box
    x, y = (left + right) // 2, (top + bottom) // 2
    circle = [(x + (right - x) * np.cos(t), y + (bottom - y) * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 25)]
    return {
        "arch": [(left, bottom), (left, top), (right, top), (right, bottom), (right - 5, bottom), (x, y), (left + 5, bottom)],
        "bar": [(left, y - 3), (right, y - 3), (right, y + 3), (left, y + 3)],
        "cross": [(x, top), (x, bottom), (x, y), (left, y), (right, y), (x, y)],
        "diamond": [(x, top), (right, y), (x, bottom), (left, y)],
        "ellipse": circle,
        "frame": [(left, top), (right, top), (right, bottom), (left, bottom)],
        "gable": [(left, bottom), (x, top), (right, bottom)],
    }[name]


def draw_sketch(name: str, seed: int) -> Image.Image:
    """Black outline on white, of a place and size drawn from `seed`."""
    image = Image.new("RGB", (SIDE, SIDE), "white")
    points = outline(name, random_box(seed))
    ImageDraw.Draw(image).line([*points, points[0]], fill="black", width=2)
    return image


def draw_photo(name: str, seed: int) -> Image.Image:
    """Filled shape of some colour on a ground of another."""
    generator = np.random.default_rng(seed)
    image = Image.new("RGB", (SIDE, SIDE), tuple(int(v) for v in generator.integers(150, 256, 3)))
    ImageDraw.Draw(image).polygon(outline(name, random_box(seed)), fill=COLOURS[seed % len(COLOURS)], outline="black", width=2)
    return image


def random_box(seed: int) -> tuple[int, int, int, int]:
    left, top, right, bottom = np.random.default_rng(seed).integers(0, 8, 4)
    return int(4 + left), int(4 + top), int(SIDE - 4 - right), int(SIDE - 4 - bottom)


def make_shapes(root: Path, classes=CLASSES, unseen=UNSEEN, sketches: int = 10, photos: int = 8, texts: int = 2) -> Path:
    """Writes the tree and returns `root`. A fifth of the sketches and one photo a seen class become its held-out items."""
    for number, name in enumerate(classes):
        for modality, count, draw in (("sketch", sketches, draw_sketch), ("photo", photos, draw_photo)):
            folder = root / modality / name
            folder.mkdir(parents=True)
            for i in range(count):
                draw(name, 1000 * number + 2 * i + (modality == "photo")).save(folder / f"{i}.png")
    write_descriptions(root, {name: sentences(name)[:texts] for name in classes})
    (root / "unseen.txt").write_text("\n".join(unseen) + "\n")
    return root


def sentences(name: str) -> list[str]:
    """What the descriptions say of a class."""
    return [f"the {name} is a plain shape .", f"a drawing of one {name} on white paper .", f"{name} photos are in colour ."]


def write_descriptions(root: Path, texts: dict[str, list[str]]) -> None:
    """Writes `descriptions.jsonl`, in the form of `caan describe`."""
    rows = [{"class": name, "prompt": f"p{i}", "text": text} for name, lines in texts.items() for i, text in enumerate(lines)]
    (root / "descriptions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def shape_options(root: Path, output: Path, **options) -> list[str]:
    """Arguments of train.py: a tiny CAAN on the tree in `root`, five steps an epoch; `options` go on top.

    `model_config` gives fields over those of `CONFIG`; one that is None is left out.
    """
    config = {**CONFIG, **options.pop("model_config", {})}
    settings = {
        "dataset": "folder",
        "data_dir": root,
        "image_size": 32,
        "tokenizer_vocab_size": 100,
        "model_config": json.dumps({key: value for key, value in config.items() if value is not None}),
        "num_workers": 0,
        "num_epochs": 2,
        "classes_per_batch": 4,
        "items_per_class": 2,
        "learning_rate": 0.003,
        "cpu": os.environ.get("TEST_DEVICE", "cpu") == "cpu",
        "output_dir": output,
        **options,
    }
    return [f"--{key}={value}" for key, value in settings.items()]

"""The paper's figures from a trained model: retrieval, attention over words, token correspondences, t-SNE of unseen classes.

python -m benchmarks.accuracy.figures outputs/demo                                    # on the embedded drawings
python -m benchmarks.accuracy.figures org/caan-sketchy --dataset sketchy --dataset_config 104_21 --data_dir Sketchy
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from tqdm.auto import tqdm
from transformers import AutoConfig

from caan.data.benchmark import Benchmark, make_benchmark
from caan.data.pictures import load_splits
from caan.data.text import collect_descriptions
from caan.errors import exit_on_error, naming, refuse_unknown
from caan.evaluation.evaluate import embed_benchmark, measure, retrieval_picture
from caan.evaluation.retrievers import Retriever, load_retriever
from caan.figures.attention import draw_attention_maps, make_examples, why_no_attention
from caan.figures.correspondences import LinkedPair, cells_with_ink, draw_correspondences, mutual_nearest
from caan.figures.examples import Pair, choose_classes, choose_pairs, draw_rows, prepared_pictures
from caan.figures.page import DPI
from caan.figures.projection import draw_projection, need_scikit_learn, tsne
from caan.figures.words import Sentence, read_sentences
from caan.options import COUNT, NOT_NEGATIVE, Range, SourceOptions, option
from caan.parsing import OptionParser
from dataset_scripts import read_descriptions
from processing_caan import CAANProcessor

FIGURES = ("retrieval_grid", "attention_maps", "correspondences", "tsne")
PROG = "python -m benchmarks.accuracy.figures"
DESCRIPTION = """\
Draw what a trained CAAN found and why, on classes that it never saw, into the folder --output_dir:

  retrieval_grid.png   sketches and the photos found for them, from the best to the worst query; true positives in a solid
                       green frame, false ones in a dashed red one
  attention_maps.png   where in a sketch and a photo the words of the class's description are attended (alignment's last block,
                       mean over heads, the word's column of visual tokens over words, renormalised over the patches)
  correspondences.png  lines between the local tokens of a sketch and a photo that are each other's nearest
  tsne.png             embeddings of sketches (triangles) and photos (discs), a colour a class; pip install -e ".[figures]"

Classes and sketches are drawn by --seed, not picked; the photo beside a sketch is the nearest of its class. Attention maps need
the full form of a model: the form for inference has no text encoder and no alignment, and goes without that figure.
"""
EXAMPLES = """\
examples:
  # all figures of the demo's model, on the unseen classes of the embedded drawings
  python -m benchmarks.accuracy.figures outputs/demo

  # an archive's unseen classes
  python -m benchmarks.accuracy.figures outputs/sketchy --dataset sketchy --dataset_config 104_21 --data_dir Sketchy

  # attention maps alone, of classes that you name, reading the second sentence of their descriptions
  python -m benchmarks.accuracy.figures outputs/demo --figures attention_maps --classes guitar teapot --sentence 2

  # held-out pictures of the classes it was trained on
  python -m benchmarks.accuracy.figures outputs/demo --split validation
"""


@dataclass
class FigureOptions(SourceOptions):
    """What is drawn, of which data."""

    split: Literal["test", "validation"] = option("test", "test: unseen classes; validation: held-out items of seen classes")
    generalized: bool = option(False, "add the photos of all seen classes to the gallery")
    descriptions: str | None = option(None, "JSON lines of `caan describe`, in place of the data's own descriptions")
    figures: list[str] = field(default_factory=lambda: list(FIGURES), metadata={"help": "which of them"})
    output_dir: str = option("outputs/figures", "folder for the pictures")
    seed: int = option(0, "of the classes, of the pictures, and of t-SNE", NOT_NEGATIVE)
    rows: int = option(8, "queries in the retrieval grid, evenly spaced from the best to the worst", COUNT)
    top_k: int = option(10, "photos of each query in the retrieval grid", COUNT)
    classes: list[str] = field(
        default_factory=list, metadata={"help": "classes in attention maps and correspondences; none = drawn by the seed"}
    )
    num_classes: int = option(4, "how many classes are drawn for them", COUNT)
    words: int = option(3, "words of each class: the content words that are attended most", COUNT)
    sentence: int = option(1, "which sentence of the descriptions is read, from 1", COUNT)
    links: int = option(10, "most correspondences of a pair, the strongest", COUNT)
    tsne_classes: int = option(10, "classes in the t-SNE, drawn by the seed; 0 = all", NOT_NEGATIVE)
    tsne_pictures: int = option(60, "most sketches, and photos, of a class in the t-SNE; 0 = all", NOT_NEGATIVE)
    perplexity: float = option(30.0, "t-SNE's: about how many neighbours count", Range(0, above=True))
    batch_size: int = option(64, "pictures encoded at once", COUNT)
    num_workers: int = option(2, "processes that read pictures", NOT_NEGATIVE)
    device: str | None = option(None, "cpu, cuda, ...; none = the fastest there is")

    def __post_init__(self):
        super().__post_init__()
        refuse_unknown("There is no figure", self.figures, FIGURES)


def load_caan(name: str) -> Retriever:
    """A CAAN and its image processor. Raises ValueError for anything else: its local tokens were never trained to match."""
    with naming("model", name):
        kind = AutoConfig.from_pretrained(name).model_type
    if kind != "caan":
        raise ValueError(f"{name} is a {kind} and no CAAN. eval.py makes the retrieval grid of any vision model.")
    return load_retriever(name)


def choose_sentences(name: str, model, split, classes: list[int], options: FigureOptions) -> list[Sentence]:
    """The sentence of each class that its attention maps read, tokenised as in training."""
    own = read_descriptions(options.descriptions) if options.descriptions else None
    rows = [(label, texts) for label, texts in zip(split["label"], split["descriptions"]) if label in classes]
    table = collect_descriptions(*zip(*rows), split.features["label"].names, own)
    for label in classes:
        if len(table[label]) < options.sentence:
            count = len(table[label])
            raise ValueError(f"{split.features['label'].int2str(label)} has {count} sentences, no sentence {options.sentence}.")
    tokenizer = CAANProcessor.from_pretrained(name).tokenizer
    texts = [table[label][options.sentence - 1] for label in classes]
    return read_sentences(tokenizer, texts, model.config.max_description_tokens)


@torch.inference_mode()
def link(retriever: Retriever, pixels: dict, pictures: list[dict], names: list[str]) -> list[LinkedPair]:
    """The panels of the correspondence figure."""
    tokens = {m: retriever.model.get_relation_tokens(x.to(retriever.model.device), m).cpu() for m, x in pixels.items()}
    side = retriever.model.relation_network.side
    return [
        LinkedPair(name, **shown, links=mutual_nearest(sketch, photo, cells_with_ink(shown["sketch"], side)), side=side)
        for name, shown, sketch, photo in zip(names, pictures, tokens["sketch"], tokens["photo"])
    ]


def project(features: tuple, benchmark: Benchmark, options: FigureOptions):
    """The t-SNE of some classes."""
    classes = choose_classes(benchmark, count=options.tsne_classes, seed=options.seed)
    labels = {"sketch": benchmark.queries.labels, "photo": benchmark.gallery_labels}
    rows = {m: draw_rows(own, classes, options.tsne_pictures, options.seed) for m, own in labels.items()}
    places = tsne(features[0][rows["sketch"]], features[1][rows["photo"]], options.seed, options.perplexity)
    shown = {m: own[rows[m]].tolist() for m, own in labels.items()}
    return draw_projection(dict(zip(labels, places)), shown, benchmark.queries.names)


def pixels_of(pairs: list[Pair], benchmark: Benchmark, processor) -> tuple[list[dict], dict[str, torch.Tensor]]:
    """The pairs' prepared pictures, and of each modality the pixel values (pairs, 3, height, width)."""
    pictures = [prepared_pictures(pair, benchmark, processor) for pair in pairs]
    pixels = {
        m: processor([shown[m] for shown in pictures], modality="photo", return_tensors="pt")["pixel_values"]  # cropped already
        for m in ("sketch", "photo")
    }
    return pictures, pixels


def drawers(
    retriever: Retriever, benchmark: Benchmark, features: tuple, classes: list[int], sentences: list, options: FigureOptions
) -> dict[str, Callable]:
    """Figure -> what draws it: a PIL picture, or a matplotlib figure."""
    names = [benchmark.queries.names[label] for label in classes]
    pairs = choose_pairs(features, benchmark, classes, options.seed)
    pictures, pixels = pixels_of(pairs, benchmark, retriever.processor)
    return {
        "retrieval_grid": lambda: retrieval_picture(
            features, benchmark, measure(features, benchmark, per_query=True), options.rows, options.top_k
        ),
        "attention_maps": lambda: draw_attention_maps(
            make_examples(retriever.model, pixels, pictures, names, sentences, options.words)
        ),
        "correspondences": lambda: draw_correspondences(link(retriever, pixels, pictures, names), options.links),
        "tsne": lambda: project(features, benchmark, options),
    }


def write(draw: dict[str, Callable], folder: Path) -> None:
    """Draws the figures, one file each; those that are done stay where a later one fails."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (bar := tqdm(draw, desc="figures")):
        bar.set_postfix_str(name)
        picture, path = draw[name](), folder / f"{name}.png"
        picture.save(path) if isinstance(picture, Image.Image) else picture.savefig(path, dpi=DPI)
        bar.write(f"written: {path}")


def main() -> None:
    parser = OptionParser((FigureOptions,), prog=PROG, description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument("model", help="Hub id or folder of a CAAN")
    options, arguments = parser.fill(sys.argv[1:])
    with exit_on_error(PROG):
        draw_figures(options, arguments.model)


def draw_figures(options: FigureOptions, name: str) -> None:
    """Draws what the options ask for of the model called `name`."""
    wanted = [figure for figure in FIGURES if figure in options.figures]
    if "tsne" in wanted:
        need_scikit_learn()  # now, not after all pictures are encoded
    retriever = load_caan(name)
    retriever.model.to(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if "attention_maps" in wanted and (reason := why_no_attention(retriever.model)):
        wanted.remove("attention_maps")
        print(f"skipped: attention_maps.png, since {reason}.", flush=True)
    splits = load_splits(options)
    benchmark = make_benchmark(splits, options.split, options.generalized)
    classes, sentences = choose_classes(benchmark, options.classes, options.num_classes, options.seed), []
    if "attention_maps" in wanted:
        sentences = choose_sentences(name, retriever.model, splits[options.split], classes, options)
    features = embed_benchmark(retriever, benchmark, batch_size=options.batch_size, num_workers=options.num_workers)
    draw = drawers(retriever, benchmark, features, classes, sentences, options)
    write({name: draw[name] for name in wanted}, Path(options.output_dir))


if __name__ == "__main__":
    main()

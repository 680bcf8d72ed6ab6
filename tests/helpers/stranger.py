"""Run by test_hub_set.py in an interpreter of its own: `python -I stranger.py WORK REPO SHA`.

Loads what lies in WORK, where no module of the project can be imported, and writes down tensors, features, what a sketch
finds, and complaints. REPO has a second revision, `main`, with other code.
"""

import json
import logging
import pathlib
import runpy
import sys

OURS = runpy.run_path(str(pathlib.Path(__file__).with_name("blocked.py")))["OURS"]

import torch  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers import AutoImageProcessor, AutoModel, AutoProcessor, pipeline  # noqa: E402
from transformers.utils.logging import disable_progress_bar  # noqa: E402

disable_progress_bar()
work, repo, sha = sys.argv[1:]
said, results, arrays = [], {}, {}
handler = logging.Handler(logging.WARNING)
handler.emit = lambda record: said.append(record.getMessage())
logging.getLogger("transformers").handlers = [handler]  # what is said is kept here, and not on stderr
pictures = [Image.open(f"{work}/{name}.png") for name in ("sketch", "photo")]


def look(key, model, process):
    arrays.update({f"{key}|{name}": t.detach() for name, t in (*model.named_parameters(), *model.named_buffers())})
    inputs = [process(p, modality=m, return_tensors="pt").pixel_values for p, m in zip(pictures, ("sketch", "photo"))]
    with torch.no_grad():
        outputs = model.get_sketch_features(inputs[0]), model.get_image_features(inputs[1])
    made = zip(("pixels0", "pixels1", "features0", "features1"), (*inputs, *outputs))
    arrays.update({f"{key}|{name}": tensor.clone() for name, tensor in made})
    results[key] = {"modules": [type(model).__module__, type(process).__module__], "said": said.copy()}
    said.clear()


try:
    AutoModel.from_pretrained(f"{work}/vit", trust_remote_code=False)
except ValueError as error:
    results["without the flag"] = str(error)
for name in ("vit", "timm_swin", "inference"):
    model = AutoModel.from_pretrained(f"{work}/{name}", trust_remote_code=True)
    look(name, model, AutoImageProcessor.from_pretrained(f"{work}/{name}", trust_remote_code=True))
pinned = {"trust_remote_code": True, "revision": sha}
look("pinned", AutoModel.from_pretrained(repo, **pinned), AutoImageProcessor.from_pretrained(repo, **pinned))
model = AutoModel.from_pretrained(repo, trust_remote_code=True)
both = AutoProcessor.from_pretrained(repo, trust_remote_code=True)
look("hub", model, both)
results["words"] = both(text=["a cat"], return_tensors="pt").input_ids.tolist()
pipe = pipeline("image-feature-extraction", model=repo, trust_remote_code=True)
arrays["pipeline"] = torch.tensor(pipe(f"{work}/photo.png"))
arrays["pooled"] = torch.tensor(pipe(f"{work}/photo.png", pool=True))
results["pipeline"] = said.copy()
model.save_pretrained(f"{work}/again")
said.clear()
for key, source, options in [("folder", f"{work}/vit", {}), ("pinned", repo, {"revision": sha}), ("main", repo, {})]:
    pipe = pipeline("sketch-retrieval", model=source, trust_remote_code=True, **options)
    results[f"search {key}"] = pipe(f"{work}/sketch.png", gallery=f"{work}/photos")
    results[f"edition {key}"] = getattr(type(pipe.model), "edition", "first")
    results[f"pipeline {key}"] = type(pipe).__module__
    if key == "folder":
        pipe.encode_gallery(f"{work}/photos").save(f"{work}/photos.safetensors")
        results["search file"] = pipe([f"{work}/sketch.png"], f"{work}/photos.safetensors", top_k=1)
        pipe.save_pretrained(f"{work}/searching")
results["search said"] = said.copy()
results["ours"] = sorted(OURS & {name.split(".")[0] for name in sys.modules})
save_file(arrays, f"{work}/arrays.safetensors")
with open(f"{work}/results.json", "w") as file:
    json.dump(results, file)

"""Run by test_from_the_hub.py in an interpreter of its own: `python -I hub_stranger.py OUT MODEL SHA DATASET`.

Somebody who has transformers and datasets, and nothing of this project: runs the Python snippets of a model's card, from
the Hub that HF_ENDPOINT names, and loads a data set by its id. Writes down tensors, scores, rows and complaints.
"""

import json
import logging
import pathlib
import re
import runpy
import sys

OURS = runpy.run_path(str(pathlib.Path(__file__).with_name("blocked.py")))["OURS"]

import torch  # noqa: E402
from datasets import load_dataset  # noqa: E402
from huggingface_hub import hf_hub_download  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers import AutoImageProcessor, AutoModel  # noqa: E402

out, repo, sha, dataset = sys.argv[1:]
said, results, arrays = [], {}, {}
handler = logging.Handler(logging.WARNING)
handler.emit = lambda record: said.append(record.getMessage())
for name in ("transformers", "huggingface_hub", "datasets"):
    logging.getLogger(name).addHandler(handler)

card = pathlib.Path(hf_hub_download(repo, "README.md")).read_text()
scope = {}
for snippet in re.findall(r"```python\n(.*?)```", card, re.DOTALL):
    exec(snippet, scope)
found = scope["search"]("sketch.png", gallery=scope["gallery"], top_k=5)
results["found"] = [[item["image"], item["score"], item["rank"]] for item in found]
arrays |= {"query": scope["query"], "photos": scope["photos"], "scores": scope["scores"]}
arrays |= {f"model|{name}": tensor for name, tensor in scope["model"].state_dict().items()}
results["said"] = said.copy()
said.clear()

pinned = {"revision": sha, "trust_remote_code": True}
model, info = AutoModel.from_pretrained(repo, **pinned, output_loading_info=True)
processor = AutoImageProcessor.from_pretrained(repo, **pinned)
arrays |= {f"pinned|{name}": tensor for name, tensor in model.state_dict().items()}
pixels = processor("sketch.png", modality="sketch", return_tensors="pt")
arrays["pinned_query"] = model.eval().get_sketch_features(**pixels)
results["pinned_said"] = said.copy()
results["pinned_loading"] = {key: sorted(map(str, value)) for key, value in info.items()}

split = load_dataset(dataset)["test"]
arrays["first picture"] = torch.frombuffer(bytearray(split[0]["image"].convert("RGB").tobytes()), dtype=torch.uint8)
results["rows"] = [[row["file"], row["label"], row["modality"]] for row in split.remove_columns("image")]
results["ours"] = sorted(OURS & {name.split(".")[0] for name in sys.modules})
save_file({name: tensor.detach().contiguous().clone() for name, tensor in arrays.items()}, f"{out}.safetensors")
with open(f"{out}.json", "w") as file:
    json.dump(results, file)

"""Run by test_sentence.py in an interpreter of its own: `python -I sentence_stranger.py WORK NAME...`.

Somebody with sentence-transformers and without this project: writes down the vectors that each NAME, a folder in WORK or a Hub
id, gives the pictures in WORK, and where its code came from.
"""

import json
import os
import pathlib
import runpy
import sys

OURS = runpy.run_path(str(pathlib.Path(__file__).with_name("blocked.py")))["OURS"]

import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from sentence_transformers import SentenceTransformer  # noqa: E402

work, *names = sys.argv[1:]
os.chdir(work)
arrays, modules = {}, {}
for name in names:
    model = SentenceTransformer(name, trust_remote_code=True, device="cpu")
    arrays[f"{name} photos"] = torch.from_numpy(model.encode_document(["a.png", "b.png"]))
    arrays[f"{name} sketch"] = torch.from_numpy(model.encode_query(["sketch.png"]))
    modules[name] = type(model[0]).__module__
save_file(arrays, "arrays.safetensors")
with open("modules.json", "w") as file:
    json.dump(modules, file)

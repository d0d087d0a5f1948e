"""Writes MLX-quantised twins of the tiny qwen3 directory of convert_fixtures.py.

    python mlx_fixtures.py FOLDER        needs mlx (PyPI has wheels for processors), numpy and safetensors

`mlx-4bit` and `mlx-8bit` are packed by MLX itself; `mlx-…-widened` holds what MLX unpacks from them, in F32, for
`convert_fixtures.py --answer`, and is no fixture. In the 8-bit one the table of embeddings has groups of another size.
"""

import json
import pathlib
import shutil
import sys

import mlx.core as mx
import numpy as np
from safetensors.numpy import load_file, save_file

KEPT = ["tokenizer.json", "tokenizer_config.json"]


def main():
    out = pathlib.Path(sys.argv[1])
    tensors = {}
    for shard in (out / "qwen3").glob("*.safetensors"):
        tensors |= load_file(shard)
    for bits, own in ((4, {}), (8, {"model.embed_tokens": {"group_size": 64, "bits": 8}})):
        packed, widened = {}, {}
        for name, tensor in tensors.items():
            if tensor.ndim == 1:
                packed[name], widened[name] = mx.array(tensor), tensor
                continue
            module = name.removesuffix(".weight")
            groups = own.get(module, {"group_size": 32, "bits": bits})
            codes, scales, biases = mx.quantize(mx.array(tensor).astype(mx.bfloat16), **groups)
            packed |= {name: codes, f"{module}.scales": scales, f"{module}.biases": biases}
            wide = mx.dequantize(codes, scales.astype(mx.float32), biases.astype(mx.float32), **groups)
            widened[name] = np.array(wide)
        config = json.loads((out / "qwen3" / "config.json").read_text())
        for folder, save in ((f"mlx-{bits}bit", packed), (f"mlx-{bits}bit-widened", widened)):
            folder = out / folder
            folder.mkdir()
            for file in KEPT:
                shutil.copy(out / "qwen3" / file, folder)
            if save is packed:
                config["quantization"] = {"group_size": 32, "bits": bits, **own}
                mx.save_safetensors(str(folder / "model.safetensors"), packed, {"format": "mlx"})
            else:
                del config["quantization"]
                save_file(widened, folder / "model.safetensors", {"format": "pt"})
            (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""A model whose weights are finite and whose logits are not: SOURCE with the norm before layer 1 as large as BF16 goes.

overflow_make.py SOURCE DEST"""
import glob, json, os, shutil, struct, sys

NORM = "model.layers.1.input_layernorm.weight"
source, dest = sys.argv[1:3]
shutil.copytree(source, dest)
for path in glob.glob(os.path.join(dest, "*.safetensors")):
    data = bytearray(open(path, "rb").read())
    n, = struct.unpack_from("<Q", data)
    norm = json.loads(data[8:8 + n]).get(NORM)
    if norm:
        assert norm["dtype"] == "BF16", norm
        at, end = (8 + n + x for x in norm["data_offsets"])
        data[at:end] = b"\x61\x7f" * ((end - at) // 2)  # 3e38
        os.chmod(path, 0o644)
        open(path, "wb").write(data)
        break
else:
    sys.exit(f"{source}: no {NORM}")

#!/usr/bin/env python3
"""A model whose weights are finite and whose logits are not: llama-tiny with the norm before layer 1 as large as BF16 goes.

overflow_make.py SOURCE DEST"""
import json, os, shutil, struct, sys

source, dest = sys.argv[1:3]
shutil.copytree(source, dest)
path = os.path.join(dest, "model.safetensors")
data = bytearray(open(path, "rb").read())
n, = struct.unpack_from("<Q", data)
norm = json.loads(data[8:8 + n])["model.layers.1.input_layernorm.weight"]
assert norm["dtype"] == "BF16", norm
at, end = (8 + n + x for x in norm["data_offsets"])
data[at:end] = b"\x61\x7f" * ((end - at) // 2)         # 3e38
open(path, "wb").write(data)

"""hf_read.py: what is in the safetensors files of a folder, read by other code than the project's."""
import glob
import json
import os
import struct


def tensors(folder):
    """{name: (dtype, shape, bytes)}"""
    out = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), '*.safetensors'))):
        with open(path, 'rb') as f:
            d = f.read()
        n, = struct.unpack('<Q', d[:8])
        for k, v in json.loads(d[8:8 + n]).items():
            if k != '__metadata__':
                a, b = v['data_offsets']
                out[k] = (v['dtype'], v['shape'], d[8 + n + a:8 + n + b])
    return out

#!/usr/bin/env python3
"""Writes block_vectors.h: blocks of weights and their values, worked out by the PyPI package gguf,
for check_dequantize.c. Needed again only when a type is added:

    python3 make_block_vectors.py > block_vectors.h
"""
import numpy as np
import gguf
from gguf.quants import dequantize

TYPES = ["Q8_0", "Q4_0", "BF16"]
BLOCKS = 24


def blocks_of(name, rng):
    kind = gguf.GGMLQuantizationType[name]
    values, size = gguf.GGML_QUANT_SIZES[kind]
    count = BLOCKS if values > 1 else 32 * BLOCKS
    raw = rng.integers(0, 256, (count, size), dtype=np.uint8)
    if values > 1:
        special = [0x0001, 0x8001, 0x03FF, 0x0400, 0x7BFF, 0xFBFF, 0x3C00, 0x0000]
        scales = np.array(special, np.uint16)
        scales = np.concatenate([scales, rng.integers(0, 0x7C00, count - 8).astype(np.uint16)])
        raw[:, :2] = scales.view(np.uint8).reshape(-1, 2)
    else:
        high = raw.view(np.uint16).reshape(-1)
        high[(high & 0x7F80) == 0x7F80] = 0x3F80
    return raw, dequantize(raw.reshape(-1), kind).astype(np.float32).reshape(-1)


def array(kind, name, items):
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > 100:
            lines.append(line)
            line = "   "
        line += f" {item},"
    lines.append(line)
    body = "\n".join(lines)
    print(f"static const {kind} {name}[{len(items)}] = {{\n{body}\n}};\n")


def main():
    rng = np.random.default_rng(20)
    print("/* Made by make_block_vectors.py: blocks and the bits of their float values. */")
    print("#include <stdint.h>\n")
    print("/* clang-format off */")
    for name in TYPES:
        raw, values = blocks_of(name, rng)
        lower = name.lower()
        array("uint8_t", f"{lower}_blocks", [str(b) for b in raw.reshape(-1)])
        array("uint32_t", f"{lower}_values", [f"0x{v:08x}" for v in values.view(np.uint32)])
    print("/* clang-format on */")


main()

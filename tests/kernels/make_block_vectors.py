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
BLOCKS_SUMMED = 1024

# Where the f16 numbers of a block lie.
HALVES = {
    "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "IQ4_NL": [0], "MXFP4": [],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_XS": [0],
}
# The same for types whose values are mostly given as one sum; None: in the nibbles of IQ1_M.
SUMMED = {
    "NVFP4": [], "TQ1_0": [52], "TQ2_0": [64], "IQ1_S": [0], "IQ1_M": None, "IQ2_XXS": [0],
    "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0],
}
EXTREME = [0x7BFF, 0x8001, 0xFBFF, 0x0400, 0x03FF, 0x8400]
EXPONENTS = [0, 1, 2, 127, 128, 120, 251, 130]


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


def few_blocks_of(name, rng):
    """Two (of 256 values) or six (of 32) random blocks, half of them with extreme scales, one of
    all ones, one of all zeros."""
    kind = gguf.GGMLQuantizationType[name]
    values, size = gguf.GGML_QUANT_SIZES[kind]
    count = 4 if values > 32 else 8
    raw = rng.integers(0, 256, (count, size), dtype=np.uint8)
    raw[-2], raw[-1] = 255, 0
    for block in range(count):
        for number, at in enumerate(HALVES[name]):
            half = rng.integers(0x1000, 0x3C00) | rng.integers(0, 2) << 15
            if block < count // 2 - 1:
                half = EXTREME[(2 * block + number) % len(EXTREME)]
            raw[block, at : at + 2] = half & 255, half >> 8
        if name == "MXFP4":
            raw[block, 0] = EXPONENTS[block]
    return raw, dequantize(raw.reshape(-1), kind).astype(np.float32).reshape(-1)


def numbered_blocks(name):
    """Blocks whose bytes follow from their position, as check_dequantize.c makes them too. Scales
    are below 2: bit 14 of their numbers is cleared."""
    values, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    mixed = np.arange(BLOCKS_SUMMED * size, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    raw = (mixed >> np.uint64(56)).astype(np.uint8).reshape(-1, size)
    for at in [54] if SUMMED[name] is None else SUMMED[name]:
        raw[:, at + 1] &= 0xBF
    return raw


def values_of(name, raw):
    with np.errstate(over="ignore"):
        kind = gguf.GGMLQuantizationType[name]
        return dequantize(raw.reshape(-1), kind).astype(np.float32).reshape(-1).view(np.uint32)


def sum_of(values):
    """A sum that every value and its place take part in."""
    return (values.astype(np.uint64) * (2 * np.arange(len(values), dtype=np.uint64) + 1)).sum()


def print_summed(name):
    raw = numbered_blocks(name)
    array("uint8_t", f"{name.lower()}_blocks", [str(b) for b in raw[0]])
    array("uint32_t", f"{name.lower()}_values", [bits(v) for v in values_of(name, raw[0])])
    print(f"static const uint64_t {name.lower()}_sum = 0x{sum_of(values_of(name, raw)):016x};\n")


def bits(value):
    return f"0x{value:08x}" if value else "0"


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
    for name in HALVES:
        raw, values = few_blocks_of(name, rng)
        array("uint8_t", f"{name.lower()}_blocks", [str(b) for b in raw.reshape(-1)])
        array("uint32_t", f"{name.lower()}_values", [bits(v) for v in values.view(np.uint32)])
    print(f"enum {{ BLOCKS_SUMMED = {BLOCKS_SUMMED} }};\n")
    for name in SUMMED:
        print_summed(name)
    print("/* clang-format on */")


main()

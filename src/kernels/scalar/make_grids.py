#!/usr/bin/env python3
"""Writes grid_bits.h: the code books of the IQ types, taken from the PyPI package gguf and packed.
An entry is a number whose digits name its values, the first value lowest; a book lists its numbers
in ascending order, so one bit for each possible number says it all.

    python3 make_grids.py > grid_bits.h
"""
import numpy as np
from gguf import quants

BOOKS = ["IQ1_S", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"]
WORDS_OF_LINE = 4


def numbers(book):
    book.init_grid()
    values, grid = list(book.grid_map), book.grid.reshape(book.grid_shape)
    digits = np.vectorize(values.index)(grid)
    found = (digits * len(values) ** np.arange(grid.shape[1])).sum(axis=1)
    assert (np.diff(found) > 0).all()
    return found, len(values) ** grid.shape[1]


def words(found, possible):
    bits = np.zeros((possible + 63) // 64 * 64, np.uint8)
    bits[found] = 1
    return np.packbits(bits, bitorder="little").view("<u8")


def main():
    print("/* Made by make_grids.py: bit n of a book says whether number n is one of its entries. */")
    print("#ifndef UMBRA_KERNELS_GRID_BITS_H\n#define UMBRA_KERNELS_GRID_BITS_H\n")
    print("#include <stdint.h>\n\n/* clang-format off */")
    for name in BOOKS:
        packed = [f"0x{word:016x}," for word in words(*numbers(getattr(quants, name)))]
        print(f"static const uint64_t {name.lower()}_bits[{len(packed)}] = {{")
        for first in range(0, len(packed), WORDS_OF_LINE):
            print("    " + " ".join(packed[first : first + WORDS_OF_LINE]))
        print("};\n")
    print("/* clang-format on */\n\n#endif")


main()

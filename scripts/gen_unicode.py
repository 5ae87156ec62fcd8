#!/usr/bin/env python3
"""Writes libcore/unicode.def, the character classes that tokenizers split by. Run by hand when the pinned version changes.

Needs the package `regex`, whose 2024.11.6 release carries Unicode 16.0:  gen_unicode.py > libcore/unicode.def
"""
import regex

UPPER, LOWER = 9, 17        # letter + upper only, letter + lower only: they alternate in long stretches
SETS = [r'\p{L}', r'\p{N}', r'\p{White_Space}', r'[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}--\p{Script=Han}]',
        r'[\p{Ll}\p{Lm}\p{Lo}\p{M}--\p{Script=Han}]', r'\p{Script=Han}']


def bits(patterns, c):
    if 0xd800 <= c < 0xe000:
        return 0
    return sum(1 << i for i, p in enumerate(patterns) if p.fullmatch(chr(c)))


def rows():
    patterns = [regex.compile(s, regex.V1) for s in SETS]
    all_bits = [bits(patterns, c) for c in range(0x110000)]
    c = 0
    while c < len(all_bits):
        b, end = all_bits[c], c + 1
        if b in (UPPER, LOWER):
            while end < len(all_bits) and all_bits[end] == (b if (end - c) % 2 == 0 else UPPER + LOWER - b):
                end += 1
        if end - c >= 3:
            yield c << 8 | 64 | b
        else:
            end = c + 1
            while end < len(all_bits) and all_bits[end] == b:
                end += 1
            yield c << 8 | b
        c = end


table = [f'0x{r:x},' for r in rows()]
print('/* Unicode 16.0, written by scripts/gen_unicode.py: first scalar of a run << 8 | classes; 64: upper and lower case alternate. */')
for i in range(0, len(table), 9):
    print(' '.join(table[i:i + 9]))

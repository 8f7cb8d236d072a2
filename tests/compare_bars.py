#!/usr/bin/env python3
"""Compares two files of bars line by line and shows where they first differ.

    tests/compare_bars.py A B [--with-rev]

Every field must have the same text, so `1.50` beside `1.5` is a difference: bars promise one exact spelling. `rev` is left out
unless asked for, because a live engine may revise a bar that a whole-file reader gets right at once. Exit 0 when all
agree, 1 when not or when either file has no bars.
"""

import argparse
import gzip
import itertools
import json
import sys

SHOWN_MAX = 5


def lines_of(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8", newline="\n") as file:
        return file.read().splitlines()


def fields_of(line, with_rev):
    """The fields in their order, numbers as their text; None where the line is not an object."""
    try:
        pairs = json.loads(line, object_pairs_hook=list, parse_int=Text, parse_float=Text)
    except json.JSONDecodeError:
        return None
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        return None
    return [(key, value) for key, value in pairs if with_rev or key != "rev"]


class Text(str):
    """The text of a JSON number: never equal to a string with the same characters."""

    def __eq__(self, other):
        return isinstance(other, Text) and str.__eq__(self, other)

    __hash__ = str.__hash__
    __repr__ = str.__str__


def difference(a, b, with_rev):
    """What differs between two lines, as text; None if nothing does."""
    if a is None or b is None:
        return f"only in the {'second' if a is None else 'first'} file"
    if a == b:
        return None
    x, y = fields_of(a, with_rev), fields_of(b, with_rev)
    if x is None or y is None:
        return f"the {'first' if x is None else 'second'} file has no JSON object here"
    if x == y:
        return None
    keys_x, keys_y = [key for key, _ in x], [key for key, _ in y]
    if keys_x != keys_y:
        return f"fields {','.join(keys_x)} against {','.join(keys_y)}"
    return "  ".join(f"{key}: {v!r} against {w!r}" for (key, v), (_, w) in zip(x, y) if v != w)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B")
    parser.add_argument("--with-rev", action="store_true", help="compare rev as well")
    args = parser.parse_args()
    a, b = lines_of(args.a), lines_of(args.b)
    for path, lines in ((args.a, a), (args.b, b)):
        if not lines:
            print(f"{path}: no bars")
            return 1

    different = 0
    for number, (x, y) in enumerate(itertools.zip_longest(a, b), start=1):
        what = difference(x, y, args.with_rev)
        if what is None:
            continue
        different += 1
        if different <= SHOWN_MAX:
            print(f"line {number}: {what}")
            print(f"  A {x if x is not None else '(no such line)'}")
            print(f"  B {y if y is not None else '(no such line)'}")
    if different:
        print(f"{different} of {max(len(a), len(b))} lines differ ({args.a}: {len(a)} lines, {args.b}: {len(b)} lines)")
        return 1
    print(f"{len(a)} bars agree")
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Fills fuzz/corpus from the test vectors: each body goes to the target that parses records of its kind."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGETS = {
    "age-header": "age_header", "head": "head", "lead": "part_frame", "trail": "part_frame", "list": "list",
    "member": "ustar", "seal": "seal", "sums": "sums", "bag-sums": "manifest", "bag-name": "manifest",
}
# A journal with a line of each kind, without the checks.
JOURNAL = f"""pouch-journal 1
bundle {"0a" * 16}
recipient age1{"q" * 58}
kcommit {"0b" * 32}
class 1
scheme 2 1 1
options {"0c" * 32}
whom {"0d" * 32}
volumes 2
SEALS 2
1 seal.age {"0e" * 32}
2 seal.age {"0f" * 32}
STAMPS AAAAAAAAAAE
BEGUN
r 0 1048576 {"1a" * 16}
m 1 0 {"1b" * 16} s1000,2*s70,z1000:2x300+100
c
d 1 1 {"1c" * 32} 0 1640
p 1 2 {"1d" * 32}
"""


def body(path):
    """The body of a vector; `None` for a body that only repeats a byte."""
    fields, _, stored = path.read_bytes().partition(b"\n\n")
    how = re.search(rb"^body: (\w+)", fields, re.M).group(1)
    return {b"text": stored, b"hex": bytes.fromhex(stored.decode()) if how == b"hex" else None}.get(how)


def main():
    made = 0
    for kind, target in TARGETS.items():
        corpus = HERE / "corpus" / target
        corpus.mkdir(parents=True, exist_ok=True)
        for path in sorted((HERE.parent / "tests/vectors" / kind).glob("*.txt")):
            bytes_ = body(path)
            # A list is parsed line by line.
            pieces = bytes_.splitlines(keepends=True) if bytes_ and target == "list" else [bytes_]
            for at, piece in enumerate(piece for piece in pieces if piece is not None):
                (corpus / f"{kind}-{path.stem}-{at}").write_bytes(piece)
                made += 1
    journals = HERE / "corpus" / "journal"
    journals.mkdir(parents=True, exist_ok=True)
    (journals / "all-lines").write_text(JOURNAL)
    made += 1
    print(f"{made} seeds in {HERE / 'corpus'}", file=sys.stderr)


if __name__ == "__main__":
    main()

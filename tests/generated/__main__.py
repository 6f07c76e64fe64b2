"""Checks set-ups: ``python -m generated FAMILY [SEED [END]]``."""

from __future__ import annotations

import sys
import time

from generated.check import failure
from generated.families import SETUPS


def main(family: str, first: int, end: int) -> int:
    """Check the set-ups first .. end - 1 and print those that fail."""
    failed, start = 0, time.perf_counter()
    for seed in range(first, end):
        if found := failure(family, seed):
            failed += 1
            print(found, flush=True)
    print(f"{family}: {failed} of {end - first} set-ups failed, {time.perf_counter() - start:.1f} s", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    family, *seeds = sys.argv[1:]
    first = int(seeds[0]) if seeds else 0
    end = int(seeds[1]) if len(seeds) > 1 else first + 1 if seeds else 100
    sys.exit(max(main(name, first, end) for name in (SETUPS if family == "all" else [family])))

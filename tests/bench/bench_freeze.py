#!/usr/bin/env python3
"""What a frozen export costs the others: the throughput of two clients that export without end, while a third export's worker is
stuck in its cleanup, beside the same two clients while nothing is stuck. The two are measured in turns within one run.

Prints `frozen_throughput RATIO`: exports a second with the third stuck, divided by those without; at least 0.9.
"""

import os
import statistics
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration", "faults"))

from lab import Lab, in_background, wait_until  # noqa: E402

ROUNDS, SECONDS = 5, 6.0
HOLD = "phase export cleanup hold"


def exports_per_second(lab):
    """Two clients, one layer each."""
    counts, over = [0, 0], threading.Event()

    def body(index):
        while not over.is_set():
            lab.ctl("layer", "export", "--layer", f"C:\\layers\\busy{index}", "--parent", "C:\\layers\\base", "--compression",
                    "none", "--overwrite", "--wait-cleanup", "--output", f"C:\\out\\busy{index}.tar")
            counts[index] += 1

    began = time.monotonic()
    joins = [in_background(body, index) for index in range(2)]
    over.wait(SECONDS)
    over.set()
    for join in joins:
        join()
    return sum(counts) / (time.monotonic() - began)


def freeze(lab):
    """An export that is stuck in its cleanup, for as long as the fault point is set: the watchdog is told to be patient."""
    lab.set_points(HOLD)
    lab.ctl("layer", "export", "--layer", "C:\\layers\\stuck", "--parent", "C:\\layers\\base", "--overwrite", "--output",
            "C:\\out\\stuck.tar")
    wait_until("it is stuck", lambda: [row for row in lab.ctl("diag").json["operations"] if row["phase"] == "cleanup"])


def thaw(lab):
    lab.set_points()
    wait_until("it has ended", lambda: not lab.ctl("diag").json["operations"], 60)


def main():
    lab = Lab("bench-freeze").open(watchdog={"stall_seconds": 600})
    try:
        lab.make_layer("base", {"hello.txt": b"hello\n"})
        for index in range(2):
            lab.make_layer(f"busy{index}", {f"folder{number % 9}/file{number}.bin": os.urandom(2000) for number in range(300)})
        lab.make_layer("stuck", {"hello.txt": b"hello, stuck\n", "$Recycle.Bin/hold-me.bin": b"held"})
        lab.start_console()
        exports_per_second(lab)
        free, frozen = [], []
        for _ in range(ROUNDS):
            free.append(exports_per_second(lab))
            freeze(lab)
            frozen.append(exports_per_second(lab))
            thaw(lab)
        ratio = statistics.median(frozen) / statistics.median(free)
        print(f"# exports a second: {', '.join(f'{rate:.2f}' for rate in free)} with nothing stuck, "
              f"{', '.join(f'{rate:.2f}' for rate in frozen)} with one of three workers stuck")
        print(f"frozen_throughput {ratio:.2f} (two clients' exports while a third is stuck, as a share of those while nothing is; at "
              f"least 0.9)", flush=True)
    finally:
        lab.end()


if __name__ == "__main__":
    main()

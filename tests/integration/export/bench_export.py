#!/usr/bin/env python3
"""Prints the export engine's speed as ratios to floors measured beside it, in turns on the same machine.

    bench_export.py [--rounds N] [--quick] [--input FILE]     needs HCSD_BUILD_DIR and HCSD_WINE_RUN

(a) 20,000 files of 1–8 KiB in 3,000 folders, archive without compression and removal; floor: open, read and delete each staged file
by one handle, remove the folders. (b) 8 × 64 MiB, archive without compression, digest included; floor: read and write the bytes.
Compression: of FILE (default: a tar of this machine's Windows binaries) against zlib level 6 on one thread. Floor and engine run in
pairs, and the median of the pairs' ratios counts. Memory: the peak of RssAnon above the same image doing nothing.
"""
import argparse
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH = os.path.join(os.environ["HCSD_BUILD_DIR"], "bench", "bench_export.exe")


def windows(path):
    return "Z:" + path.replace("/", "\\")


def environment():
    lines = subprocess.run([os.environ["HCSD_WINE_RUN"], "--prefix", "bench", "--env"], capture_output=True, text=True, check=True).stdout
    shown = subprocess.run(["bash", "-c", lines + "\nenv -0"], capture_output=True, check=True).stdout
    return dict(line.split("=", 1) for line in shown.decode().split("\0") if "=" in line)


class Bench:
    def __init__(self):
        self.environment = environment()
        self.peak = 0

    def run(self, *arguments):
        """-> (seconds, bytes); the peak of RssAnon is kept in self.peak (KiB)"""
        child = subprocess.Popen([self.environment["WINE"], BENCH, *arguments], env=self.environment, stdout=subprocess.PIPE)
        self.peak = 0
        done = threading.Event()

        def watch():
            while not done.wait(0.005):
                try:
                    with open(f"/proc/{child.pid}/status", encoding="ascii", errors="replace") as file:
                        row = next((line for line in file if line.startswith("RssAnon")), "RssAnon: 0")
                    self.peak = max(self.peak, int(row.split()[1]))
                except OSError:
                    return

        watcher = threading.Thread(target=watch)
        watcher.start()
        output = child.communicate()[0]
        done.set()
        watcher.join()
        if child.returncode:
            raise SystemExit(f"bench_export {arguments}: exit status {child.returncode}")
        if not output.strip():
            return None
        row = json.loads(output)
        return row["seconds"], row["bytes"]


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


class Pairs:
    """Floor and engine in turns: what counts is the median of the pairs' ratios, for each pair saw the same machine."""

    def __init__(self, bench):
        self.bench, self.rows, self.peak = bench, [], 0

    def add(self, floor, engine):
        floor = floor()
        engine = engine()
        self.peak = max(self.peak, self.bench.peak)
        self.rows.append((engine[0] / floor[0], engine[0], floor[0]))

    def __str__(self):
        ratios = [row[0] for row in self.rows]
        return (f"{median(ratios):.2f} x floor (of {len(ratios)} pairs: {min(ratios):.2f} to {max(ratios):.2f}; "
                f"{median([row[1] for row in self.rows]):.2f} s, floor {median([row[2] for row in self.rows]):.2f} s)")


def small(bench, options, folder, make, output, idle):
    scale = 5 if options.quick else 1
    peaks = []
    # A quarter of the files first: memory must not grow with their number.
    for files, rounds in ((20000 // scale // 4, 0), (20000 // scale, options.rounds)):
        subprocess.run(make + ["--small-files", str(files), "--small-folders", str(files * 3 // 20)], check=True)
        staged = os.path.join(folder, "staged")

        def run(verb, *more):
            subprocess.run(["cp", "-a", os.path.join(folder, "small"), staged], check=True)
            return bench.run(verb, windows(staged), *more)

        pairs = Pairs(bench)
        if rounds == 0:
            run("small", windows(output))
            pairs.peak = bench.peak
        for _ in range(rounds):
            pairs.add(lambda: run("small-floor"), lambda: run("small", windows(output)))
        peaks.append(pairs.peak - idle)
        shutil.rmtree(os.path.join(folder, "small"))
    print(f"export (a) {20000 // scale} files of 1-8 KiB: {pairs}; goal 1.0")
    print(f"export (a) memory: +{peaks[1] / 1024:.1f} MiB, with a quarter of the files +{peaks[0] / 1024:.1f} MiB; goal +16, not growing")


def large(bench, options, folder, make, output, idle):
    count = 4 if options.quick else 8
    subprocess.run(make + ["--large", str(count)], check=True)
    source = windows(os.path.join(folder, "large"))

    def run(verb):
        row = bench.run(verb, source, windows(output))
        if os.path.exists(output):
            os.unlink(output)
        return row

    run("large-floor")  # what is read first is not in the cache
    pairs = Pairs(bench)
    for _ in range(options.rounds + 2):
        pairs.add(lambda: run("large-floor"), lambda: run("large"))
    print(f"export (b) {count} x 64 MiB: {pairs}; goal 1.3")
    print(f"export (b) memory: +{(pairs.peak - idle) / 1024:.1f} MiB; goal +16")
    shutil.rmtree(os.path.join(folder, "large"))


def binaries(path, limit):
    """A tar of Windows binaries that this machine has: Wine's own, and what the cross-compiler came with."""
    wanted = ["/usr/lib/x86_64-linux-gnu/wine/x86_64-windows", "/usr/lib/i386-linux-gnu/wine/i386-windows"]
    wanted += glob.glob("/usr/lib/gcc/x86_64-w64-mingw32/*/*.dll") + glob.glob("/usr/x86_64-w64-mingw32/lib/*.dll")
    subprocess.run(["tar", "-chf", path, *[one for one in wanted if os.path.exists(one)]], check=True, stderr=subprocess.DEVNULL)
    os.truncate(path, min(limit, os.path.getsize(path)))


def compression(bench, options, folder):
    source = options.input
    if not source:
        source = os.path.join(folder, "binaries.tar")
        binaries(source, (150 if options.quick else 700) << 20)
    zlib_seconds, zlib_bytes = bench.run("pack", windows(source), "zlib", "6")
    print(f"compression of {os.path.getsize(source) >> 20} MiB of binaries: zlib 6 takes {zlib_seconds:.1f} s for {zlib_bytes >> 20} MiB")
    for method, goal in (("gzip", 4), ("zstd", 12)):
        rows = [bench.run("pack", windows(source), method, "0") for _ in range(options.rounds)]
        print(f"export {method}: {zlib_seconds / median([row[0] for row in rows]):.1f} x zlib 6, size {rows[0][1] / zlib_bytes:.3f} of it; "
              f"goal {goal}, at most 1")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a fifth of the small files and of the binaries, half of the large files")
    parser.add_argument("--input", metavar="FILE", help="what is compressed instead of binaries")
    parser.add_argument("--only", choices=("small", "large", "compression"))
    options = parser.parse_args()
    bench = Bench()
    folder = tempfile.mkdtemp(prefix="hcsd-bench-", dir=os.environ["HCSD_BUILD_DIR"])
    make = [sys.executable, os.path.join(HERE, "make_corpus.py"), folder]
    output = os.path.join(folder, "out.tar")
    try:
        bench.run("idle")
        idle = bench.peak
        if options.only in (None, "small"):
            small(bench, options, folder, make, output, idle)
        if options.only in (None, "large"):
            large(bench, options, folder, make, output, idle)
        if options.only in (None, "compression"):
            compression(bench, options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

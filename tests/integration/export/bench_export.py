#!/usr/bin/env python3
"""Prints the export engine's speed as ratios to floors measured beside it, in turns on the same machine.

    bench_export.py [--rounds N] [--quick] [--input FILE]     needs HCSD_BUILD_DIR and HCSD_WINE_RUN

(a) 20,000 files of 1–8 KiB in 3,000 folders, archive without compression and removal; floor: open, read and delete each staged file
by one handle, remove the folders. (b) 8 × 64 MiB, archive without compression, digest included; floor: read and write the bytes.
Compression: of FILE (default: a tar of this machine's Windows binaries) against zlib level 6 on one thread. The best of N
rounds counts on both sides. Memory: the peak of RssAnon above the same image doing nothing.
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


def best(rows):
    return min(seconds for seconds, _ in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a fifth of the small files, half of the large ones")
    parser.add_argument("--input")
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
            scale = 5 if options.quick else 1
            subprocess.run(make + ["--small-files", str(20000 // scale), "--small-folders", str(3000 // scale)], check=True)
            rows, memory = {"small-floor": [], "small": []}, 0
            for _ in range(options.rounds):
                for verb in rows:
                    staged = os.path.join(folder, "staged")
                    subprocess.run(["cp", "-a", os.path.join(folder, "small"), staged], check=True)
                    rows[verb].append(bench.run(verb, windows(staged), *([windows(output)] if verb == "small" else [])))
                memory = max(memory, bench.peak)
            floor, engine = best(rows["small-floor"]), best(rows["small"])
            print(f"export (a) small files: {engine / floor:.2f} x floor ({engine:.2f} s, floor {floor:.2f} s), "
                  f"memory +{(memory - idle) / 1024:.1f} MiB; goal 1.0, +16")
        if options.only in (None, "large"):
            subprocess.run(make + ["--large", "4" if options.quick else "8"], check=True)
            rows, memory = {"large-floor": [], "large": []}, 0
            for _ in range(options.rounds):
                for verb in rows:
                    rows[verb].append(bench.run(verb, windows(os.path.join(folder, "large")), windows(output)))
                    if os.path.exists(output):
                        os.unlink(output)
                memory = max(memory, bench.peak)
            floor, engine = best(rows["large-floor"]), best(rows["large"])
            print(f"export (b) large files: {engine / floor:.2f} x floor ({engine:.2f} s, floor {floor:.2f} s), "
                  f"memory +{(memory - idle) / 1024:.1f} MiB; goal 1.3, +16")
        if options.only in (None, "compression"):
            source = options.input
            if not source:
                source = os.path.join(folder, "binaries.tar")
                wanted = glob.glob("/usr/lib/x86_64-linux-gnu/wine/x86_64-windows")
                subprocess.run(["tar", "-chf", source, *wanted], check=True, stderr=subprocess.DEVNULL)
            zlib_seconds, zlib_bytes = bench.run("pack", windows(source), "zlib", "6")
            print(f"compression of {os.path.getsize(source) >> 20} MiB: zlib 6 takes {zlib_seconds:.1f} s for {zlib_bytes >> 20} MiB")
            for method, level, goal in (("gzip", "0", 4), ("zstd", "0", 12)):
                rows = [bench.run("pack", windows(source), method, level) for _ in range(options.rounds)]
                print(f"export {method}: {zlib_seconds / best(rows):.1f} x zlib 6, size {rows[0][1] / zlib_bytes:.3f} of it; "
                      f"goal {goal}, at most 1")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""make bench: the pipe, a bare gRPC server on it, and hcsd beside that, under Wine against the emulator.

    bench.py [--rounds N] [--calls N] [--only NAME…]     NAME: memory, wakeups, state, stream, crowd, stdio, layers

Everything is a ratio or a difference between two things measured in turns, so that a busy machine disturbs both.
"""

import argparse
import fcntl
import glob
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration", "lifecycle"))

from crowd import Crowd, memory_at_rest  # noqa: E402
from host import BIN, BUILD, EMULATOR, Host, wait_until  # noqa: E402

BARE = "\\\\.\\pipe\\hcsd-bench-bare"
HCSD = "\\\\.\\pipe\\hcsd"
SERVER = os.path.join(BUILD, "bench", "bench_server.exe")
CLIENT = os.path.join(BUILD, "bench", "bench_client.exe")


def say(line):
    print(line, flush=True)


def client(host, *arguments):
    result = host.run(CLIENT, *arguments, timeout=900)
    if result.status != 0:
        raise SystemExit(f"bench_client {' '.join(arguments)}: {result.text.strip()}{result.error_text.strip()}")
    return result.text.strip()


def start_bare(host):
    process = host.start(SERVER, BARE, stdin=subprocess.PIPE)
    if process.stdout.readline().strip() != b"ready":
        raise SystemExit(f"bench_server: {process.stderr.read().decode(errors='replace')}")
    return process


def only_pid(host, image, argument=None):
    """The Unix pid of the one process of this image (with this argument): hcsd's workers have the same image."""
    found = []
    for pid in host.unix_pid(image):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            arguments = file.read().decode(errors="replace").split("\0")[1:]
        if argument is None or argument in arguments:
            found.append(pid)
    if len(found) != 1:
        raise SystemExit(f"expected one process of {image}, found {found}")
    return found[0]


def status(pid, name):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return int(re.search(rf"^{name}:\s*(\d+)", file.read(), re.MULTILINE).group(1))


def wakeups(pid):
    """How often each of its threads has gone to sleep, and so was woken, up to now."""
    counts = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/status", encoding="ascii", errors="replace") as file:
                counts[thread] = int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", file.read(), re.MULTILINE).group(1))
        except FileNotFoundError:
            pass
    return counts


def settled(pid):
    """Private memory once it no longer moves."""
    last = -1

    def still():
        nonlocal last
        time.sleep(1)
        now = status(pid, "RssAnon")
        same, last = now == last, now
        return same
    wait_until("memory settles", still, 30)
    return last


def bench_memory(host, bare, hcsd):
    for pipe in (BARE, HCSD):
        for _ in range(5):
            client(host, "touch", pipe)
    time.sleep(8)  # threads of the pool that have nothing to do go away within five seconds, and their memory with them
    plain, full = settled(bare), settled(hcsd)
    if os.environ.get("HCSD_BENCH_SMAPS"):
        for name, pid in (("bare", bare), ("hcsd", hcsd)):
            with open(f"/proc/{pid}/smaps", "rb") as source, open(os.path.join(os.environ["HCSD_BENCH_SMAPS"], name + ".smaps"), "wb") as out:
                out.write(source.read())
    say(f"# private memory: bare gRPC server {plain} kB, hcsd {full} kB; threads {status(bare, 'Threads')} and {status(hcsd, 'Threads')}")
    say(f"idle_memory_mb {(full - plain) / 1024:.2f} (hcsd's private memory beyond a bare gRPC server's, in MB; at most 4)")


def bench_worker(host):
    """A warm worker beside a process of the same image that only waits: to be rid of what it has to say about a bad configuration file, which
    nobody reads."""
    worker = only_pid(host, "hcsd.exe", "--worker")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "config.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({f"no_such_key_{number:04}": 0 for number in range(500)}, file)
        read, write = os.pipe()
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
        try:
            host.start(os.path.join(BIN, "hcsd.exe"), "--check-config", host.windows(path), stdout=write, stderr=write)
            wait_until("the waiting process is there", lambda: len(host.unix_pid("hcsd.exe")) == 3, 30)
            waiting = only_pid(host, "hcsd.exe", "--check-config")
            plain, warm = settled(waiting), settled(worker)
        finally:
            os.close(read)
            os.close(write)
    say(f"# private memory: waiting process {plain} kB, warm worker {warm} kB")
    say(f"worker_memory_mb {(warm - plain) / 1024:.2f} (a warm worker's private memory beyond a waiting process of its image, in MB; at most 8)")


def bench_wakeups(bare, hcsd, seconds=10):
    # A thread of the pool that finds nothing to do goes away within some seconds; that is no timer.
    time.sleep(seconds)
    before = wakeups(bare), wakeups(hcsd)
    time.sleep(seconds)
    rates = [sum(count - start.get(thread, 0) for thread, count in wakeups(pid).items()) / seconds
             for pid, start in zip((bare, hcsd), before)]
    say(f"# wake-ups of an idle bare gRPC server: {rates[0]:.1f} a second")
    say(f"idle_wakeups {rates[1]:.2f} (of an idle hcsd, each second, all threads; at most 1)")


def bench_state(host, rounds, calls):
    bundle = host.make_bundle("bench", "emu:sleep 3600")
    host.ctl("task", "create", "--bundle", bundle, "bench")
    try:
        say(client(host, "share", str(rounds), str(calls), BARE, HCSD, "bench"))
    finally:
        host.ctl("task", "delete", "bench", "--force", ok=False)


CROWD, FEW, FEW_ROUNDS = 1000, 10, 30


def bench_crowd(host, hcsd):
    """The same operations by the same clients on ten containers and on a thousand; the ten before and after, so that a machine that
    becomes busier disturbs both."""
    life = ("create", "start", "exec", "kill", "delete")

    def few():
        crowd, found = Crowd(host, FEW, FEW_ROUNDS, *life, bundles=CROWD), {phase: [] for phase in life}
        for _ in range(FEW_ROUNDS * len(life)):
            row = crowd.next()
            found[row["phase"]].append(row["us"])
        crowd.end()
        return found
    before = few()
    idle = memory_at_rest(hcsd)
    crowd, many = Crowd(host, CROWD, 1, "create", "start", "stop", "exec", "kill", "delete", bundles=CROWD), {}
    for phase in ("create", "start", "stop", "exec", "kill", "delete"):
        row = crowd.next()
        if phase == "stop":
            each = (memory_at_rest(hcsd) - idle) / CROWD
            crowd.go_on()
        else:
            many[phase] = row["us"]
    crowd.end()
    after = few()
    mean = {phase: statistics.median(before[phase] + after[phase]) for phase in life}
    say("# microseconds an operation, ten and a thousand containers: " +
        ", ".join(f"{phase} {mean[phase]:.0f} and {many[phase]:.0f}" for phase in life))
    say(f"crowd_time {sum(many.values()) / sum(mean.values()):.2f} (a create, start, exec, kill and delete at {CROWD} containers beside "
        f"that at {FEW}; at most 2)")
    say(f"crowd_memory_kib {each / 1024:.1f} (hcsd's private memory for an idle container, without threads; at most 40)")
def bench_stdio(host):
    image, = glob.glob(os.path.join(BIN, "hcsd-relay-*.exe"))
    result = host.run(os.path.join(BUILD, "bench", "bench_relay.exe"), host.windows(image), "9", "32", timeout=600)
    if result.status != 0:
        raise SystemExit(f"bench_relay: {result.error_text.strip()}")
    say(result.text.strip())


def bench_layers(host, rounds):
    result = host.run(os.path.join(BUILD, "bench", "bench_layers.exe"), host.windows(os.path.join(EMULATOR, "vmcompute.dll")),
                      "C:\\bench-layers", str(rounds), timeout=900)
    if result.status != 0:
        raise SystemExit(f"bench_layers: {result.text.strip()}{result.error_text.strip()}")
    say(result.text.strip())


def main():
    parser = argparse.ArgumentParser(description="What hcsd costs, as ratios within one run.")
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--only", nargs="*", default=["memory", "wakeups", "state", "stream", "crowd", "stdio", "layers"])
    options = parser.parse_args()
    host = Host("bench")
    try:
        host.boot()
        host.write_config()
        start_bare(host)
        host.start_console()
        bare, hcsd = only_pid(host, "bench_server.exe"), only_pid(host, "hcsd.exe", "--console")
        if "memory" in options.only:
            bench_memory(host, bare, hcsd)
            bench_worker(host)
        if "wakeups" in options.only:
            bench_wakeups(bare, hcsd)
        if "state" in options.only:
            bench_state(host, options.rounds, options.calls)
        if "stream" in options.only:
            say(client(host, "stream", "5", BARE))
        if "crowd" in options.only:
            bench_crowd(host, hcsd)
        if "stdio" in options.only:
            bench_stdio(host)
        if "layers" in options.only:
            bench_layers(host, options.rounds * 5)
    finally:
        host.end()


if __name__ == "__main__":
    main()

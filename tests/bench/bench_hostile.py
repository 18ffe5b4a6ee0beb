#!/usr/bin/env python3
"""make bench: what hostile clients cost one that behaves.

    bench_hostile.py [--rounds N] [--seconds N]

In turns: the good client alone, beside an attack on its own hcsd, and beside the same attack on another hcsd on the same machine.
The third shares nothing with the good client's hcsd but two cores and Wine's server, so it is what the machine's share is.
"""

import argparse
import json
import os
import statistics
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))

from host import BUILD, Host, wait_until  # noqa: E402

HOSTILE = os.path.join(BUILD, "tests", "hostile.exe")
KINDS = ("garbage", "frames", "half_open", "silent", "oversized", "streams", "slow_reader", "flood")
PIPE, OTHER = "\\\\.\\pipe\\hcsd", "\\\\.\\pipe\\hcsd-other"


def start_other(host):
    """A second hcsd, with folders and a pipe of its own."""
    with open(host.unix("C:/ProgramData/hcsd/other.json"), "w", encoding="utf-8") as file:
        json.dump({"pipe": OTHER, "state_dir": "C:\\other\\state", "staging_dir": "C:\\other\\staging",
                   "hcs": {"library": host.windows(os.path.join(host.emulator, "vmcompute.dll"))}}, file)
    log = os.path.join(host.drive_c, "other.log")
    with open(log, "wb") as output:
        host.start(host.program, "--console", "--config", "C:\\ProgramData\\hcsd\\other.json", stdout=output, stderr=output)

    def answers():
        with open(log, "rb") as text:
            return b"has started and answers on" in text.read()
    wait_until("the other hcsd has started", answers, 60)


def settle(host, pipe):
    """Until the attackers' connections are gone: the next round is to begin as this one did."""
    wait_until("their connections are gone", lambda: host.ctl("--address", pipe, "diag").json["connections"] == 1, 60)


def measure(host, seconds, attacked=None):
    good = host.start(HOSTILE, "good", PIPE, str(seconds))
    # Each kind from a process of its own, so that none is let off because of what another has done.
    attacks = [host.start(HOSTILE, "attack", attacked, str(seconds), kind) for kind in KINDS] if attacked is not None else []
    found = json.loads(good.communicate(timeout=seconds + 120)[0])
    for attack in attacks:
        attack.communicate(timeout=seconds + 120)
    if attacks:
        settle(host, attacked)
    if found["errors"] != 0:
        raise SystemExit(f"bench_hostile: the good client failed: {found['first_error']}")
    return found


def main():
    parser = argparse.ArgumentParser(description="What hostile clients cost one that behaves, as ratios within one run.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=6)
    options = parser.parse_args()
    rows = {"quiet": [], "attacked": [], "other attacked": []}
    host = Host("bench-hostile")
    try:
        host.boot()
        host.write_config()
        host.start_console()
        start_other(host)
        for _ in range(options.rounds):
            rows["quiet"].append(measure(host, options.seconds))
            rows["attacked"].append(measure(host, options.seconds, PIPE))
            rows["other attacked"].append(measure(host, options.seconds, OTHER))
    finally:
        host.end()
    for name, found in rows.items():
        print(f"# good client, {name}: p50 {[row['p50_us'] for row in found]} us, p99 {[row['p99_us'] for row in found]} us, "
              f"longest {max(row['max_us'] for row in found)} us")
    quiet, attacked, other = ([row["p99_us"] for row in found] for found in rows.values())
    by_quiet = [a / max(1, q) for a, q in zip(attacked, quiet)]
    by_other = [a / max(1, o) for a, o in zip(attacked, other)]
    machine = [o / max(1, q) for o, q in zip(other, quiet)]
    print(f"hostile_p99 {statistics.median(by_quiet):.2f} (a good client's p99 beside hostile ones, and alone; rounds "
          f"{min(by_quiet):.2f} to {max(by_quiet):.2f}; at most 3)")
    print(f"hostile_p99_machine {statistics.median(machine):.2f} (the same with the attack on another hcsd, which shares only the "
          f"machine; rounds {min(machine):.2f} to {max(machine):.2f})")
    print(f"hostile_p99_own {statistics.median(by_other):.2f} (attacked itself, and another attacked: what is hcsd's; rounds "
          f"{min(by_other):.2f} to {max(by_other):.2f})", flush=True)


if __name__ == "__main__":
    main()

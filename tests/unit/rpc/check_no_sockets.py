#!/usr/bin/env python3
"""A gRPC server on a pipe, and no socket of TCP or UDP anywhere: not in its process, nor in Wine's server, which holds the
sockets of Windows programs. Uses the bench's server, which is gRPC on the pipe and nothing else.

    check_no_sockets.py BENCH-SERVER BENCH-CLIENT
"""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "integration"))

from host import Host  # noqa: E402

PIPE = "\\\\.\\pipe\\hcsd-no-sockets"


def sockets(pid):
    """The inodes of the process's sockets."""
    found = set()
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        try:
            link = os.readlink(f"/proc/{pid}/fd/{descriptor}")
        except FileNotFoundError:
            continue
        if link.startswith("socket:["):
            found.add(link[8:-1])
    return found


def internet(pid):
    """The inodes of all TCP and UDP sockets of the process's network namespace."""
    found = {}
    for table in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        with open(f"/proc/{pid}/net/{table}", encoding="ascii") as file:
            for line in file.readlines()[1:]:
                found[line.split()[9]] = f"{table} {line.split()[1]}"
    return found


def main():
    server, client = sys.argv[1:3]
    host = Host("no-sockets")
    try:
        host.boot()
        process = host.start(server, PIPE, stdin=subprocess.PIPE)
        assert process.stdout.readline().strip() == b"ready"
        answered = host.run(client, "latency", "1", "20", PIPE)
        assert answered.status == 0, answered.text + answered.error_text
        pids = host.unix_pid("bench_server.exe") + host.unix_pid("wineserver")
        assert len(pids) >= 2, f"expected the server and Wine's, found {pids}"
        for pid in pids:
            open_ones = [what for inode, what in internet(pid).items() if inode in sockets(pid)]
            assert not open_ones, f"process {pid} has {open_ones}"
        print(f"processes {pids}: no TCP or UDP socket")
    finally:
        host.end()


if __name__ == "__main__":
    main()

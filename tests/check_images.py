#!/usr/bin/env python3
"""The programs as Windows sees them: what protects them is on (address space layout, no execution of data), the manifest tells the
Windows they know, and they need no DLL that Windows does not bring. check_images.py BIN"""

import os
import struct
import sys

AMD64 = 0x8664
RELOCATIONS_STRIPPED = 0x0001
PROTECTED = 0x0020 | 0x0040 | 0x0100  # HIGH_ENTROPY_VA, DYNAMIC_BASE, NX_COMPAT
EXPORTS, IMPORTS, RESOURCES = 0, 1, 2
MANIFEST, VERSION, MESSAGES = 24, 16, 11
SYSTEM_DLLS = {"advapi32.dll", "bcrypt.dll", "crypt32.dll", "dbghelp.dll", "iphlpapi.dll", "kernel32.dll", "msvcrt.dll", "ntdll.dll", "ole32.dll",
               "rpcrt4.dll", "shell32.dll", "user32.dll", "ws2_32.dll"}
WINDOWS_10 = b"{8e0f7a12-bfb3-4fe8-b9a5-48fd50a15a9a}"


class Image:
    """A PE32+ file."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        at = struct.unpack_from("<I", self.data, 0x3C)[0]
        assert self.data[at:at + 4] == b"PE\0\0", f"{path}: no PE file"
        self.machine, sections, _, _, _, optional, self.characteristics = struct.unpack_from("<HHIIIHH", self.data, at + 4)
        header = at + 24
        self.entry, self.protection = struct.unpack_from("<I", self.data, header + 16)[0], struct.unpack_from("<H", self.data, header + 70)[0]
        count = struct.unpack_from("<I", self.data, header + 108)[0]
        self.directories = [struct.unpack_from("<II", self.data, header + 112 + 8 * i) for i in range(count)]
        self.sections = [struct.unpack_from("<IIII", self.data, header + optional + 40 * i + 8) for i in range(sections)]

    def offset(self, address):
        """Of a relative virtual address, in the file."""
        for _, start, size, raw in self.sections:
            if start <= address < start + size:
                return address - start + raw
        raise ValueError(f"address {address:#x} is in no section")

    def imports(self):
        """Names of DLLs, in lower case."""
        address, found = self.directories[IMPORTS][0], set()
        at = self.offset(address) if address else None
        while at is not None and any(self.data[at:at + 20]):
            name = self.offset(struct.unpack_from("<I", self.data, at + 12)[0])
            found.add(self.data[name:self.data.index(b"\0", name)].decode("ascii").lower())
            at += 20
        return found

    def resources(self):
        """Type -> content of the first of that type."""
        if not self.directories[RESOURCES][0]:
            return {}
        root = self.offset(self.directories[RESOURCES][0])

        def entries(at):
            named, numbered = struct.unpack_from("<HH", self.data, at + 12)
            return [struct.unpack_from("<II", self.data, at + 16 + 8 * i) for i in range(named + numbered)]

        found = {}
        for kind, place in entries(root):
            while place & 0x80000000:
                place = entries(root + (place & 0x7FFFFFFF))[0][1]
            address, size = struct.unpack_from("<II", self.data, root + place)
            found[kind] = self.data[self.offset(address):self.offset(address) + size]
        return found


def problems(path):
    """What is wrong with that program or DLL."""
    image, name = Image(path), os.path.basename(path)
    resources = image.resources()
    if image.machine != AMD64:
        yield f"machine {image.machine:#x}, not x64"
    if image.protection & PROTECTED != PROTECTED:
        yield f"characteristics {image.protection:#x}: without some of {PROTECTED:#x}"
    if VERSION not in resources:
        yield "no version resource"
    for dll in sorted(image.imports() - SYSTEM_DLLS):
        yield f"needs {dll}, which Windows does not bring"
    if name.endswith(".dll"):
        if image.entry or image.imports() or MESSAGES not in resources:
            yield "a message DLL has a message table and no code"
        return
    if image.characteristics & RELOCATIONS_STRIPPED:
        yield "no relocations: its place in memory is always the same"
    manifest = resources.get(MANIFEST, b"")
    for word in (WINDOWS_10, b"longPathAware", b"asInvoker"):
        if word not in manifest:
            yield f"its manifest does not say {word.decode()}"


def main():
    names = sorted(name for name in os.listdir(sys.argv[1]) if name.endswith((".exe", ".dll")))
    if len(names) != 4:
        raise SystemExit(f"check_images: expected hcsd, hcsctl, the relay and the message DLL, found {names}")
    found = [f"{name}: {problem}" for name in names for problem in problems(os.path.join(sys.argv[1], name))]
    print("\n".join(found) or f"{', '.join(names)}: good")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()

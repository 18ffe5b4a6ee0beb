"""Which exports of vmcompute.dll there are, and which of them hcsd calls: read from the sources, so that a new call cannot be
forgotten."""

import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from host import ROOT  # noqa: E402

BINDING = os.path.join(ROOT, "lib", "hcs")
USERS = ("daemon", "service", os.path.join("lib", "task"), os.path.join("lib", "layer"), os.path.join("lib", "spec"))


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def sources(folder):
    for root, _, files in os.walk(folder):
        for name in sorted(files):
            if name.endswith((".c", ".cc")):
                yield os.path.join(root, name)


def exports(half):
    """The names of HCS_STORAGE_EXPORTS or HCS_COMPUTE_EXPORTS, in the header's order."""
    text = read(os.path.join(BINDING, "abi.h"))
    start = text.index(f"#define HCS_{half}_EXPORTS(X)")
    end = re.search(r"\n(?=\n|#)", text[start:]).start() + start
    return re.findall(r"\bX\((\w+), ", text[start:end])


def functions(path):
    """The functions of a source file laid out as this project's are: name -> body."""
    found = {}
    for match in re.finditer(r"^[a-zA-Z][^\n;{}]*?\b(\w+)\([^;{}]*\)\n\{\n(.*?)^\}", read(path), re.MULTILINE | re.DOTALL):
        found[match.group(1)] = match.group(2)
    # SYSTEM_RUN(run_start, HcsStartComputeSystem) makes one
    for match in re.finditer(r"^[A-Z_]+RUN\((\w+), (\w+)\)", read(path), re.MULTILINE):
        found[match.group(1)] = match.group(2)
    return found


def called():
    """Every export that code outside of the binding can come to: from the names that it uses, through the functions of the
    binding, down to the exports that those name."""
    names = exports("STORAGE") + exports("COMPUTE")
    bodies = {(path, name): body for path in sources(BINDING) for name, body in functions(path).items()}
    words = set()
    for user in USERS:
        for path in sources(os.path.join(ROOT, user)):
            words.update(re.findall(r"\w+", read(path)))
    reached, todo = set(), [key for key in bodies if key[1] in words]
    while todo:
        key = todo.pop()
        if key in reached:
            continue
        reached.add(key)
        for word in set(re.findall(r"\w+", bodies[key])):
            own = (key[0], word)  # static functions of several files may have one name
            todo.extend([own] if own in bodies else [other for other in bodies if other[1] == word])
    text = " ".join(bodies[key] for key in reached)
    return [name for name in names if re.search(rf"\b(?:HCS_EXPORT_)?{name}\b", text)]


if __name__ == "__main__":
    found = called()
    for name in exports("STORAGE") + exports("COMPUTE"):
        print("called  " if name in found else "        ", name)

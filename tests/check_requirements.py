#!/usr/bin/env python3
"""Checks tests/requirements.md: every row is full, every test that it names exists and is run, no numbered requirement is missing."""

import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TABLE = os.path.join(HERE, "requirements.md")
# How many of each series the facts have.
SERIES = {"C": 6, "S": 2, "E": 3, "O": 2, "D": 3, "V": 3, "X": 1, "T": 1, "L": 5, "W": 11}


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def rows():
    """(line number, cells) of each row of a table, heads and rules aside."""
    for number, line in enumerate(read(TABLE).splitlines(), 1):
        if line.startswith("|") and not re.match(r"^\|(-+\|)+$", line):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if cells[0] != "id":
                yield number, cells


def test_problem(reference):
    """What is wrong with a reference, or None."""
    place, _, name = reference.rpartition(":")
    if not place or not name:
        return "is neither FILE:NAME nor golden:NAME"
    if place == "golden":
        path = os.path.join(HERE, "unit", "spec", "golden", name + ".json")
        return None if os.path.exists(path) else "there is no such case"
    path = os.path.join(HERE, place)
    if not os.path.exists(path):
        return "there is no such file"
    text = read(path)
    if place.endswith(".py"):
        return None if re.search(rf"^    def {name}\(self", text, re.MULTILINE) else "there is no such test in it"
    if not re.search(rf"^static void {name}\(", text, re.MULTILINE):
        return "there is no such test in it"
    return None if re.search(rf"\b(TEST|cmocka_unit_test\w*|\w+_test\w*)\({name}\b", text) else "it is never run"


def main():
    problems, ids, references = [], set(), 0
    for number, cells in rows():
        if len(cells) != 3 or not all(cells):
            problems.append(f"line {number}: a row has an id, a requirement and its tests; this has an empty cell")
            continue
        if cells[0] in ids:
            problems.append(f"line {number}: {cells[0]} is there twice")
        ids.add(cells[0])
        for reference in cells[2].split(", "):
            references += 1
            problem = test_problem(reference)
            if problem:
                problems.append(f"line {number}: {reference}: {problem}")
    wanted = {f"R-{letter}{number}" for letter, count in SERIES.items() for number in range(1, count + 1)}
    numbered = {row for row in ids if row.startswith("R-")}
    problems += [f"{row} is missing" for row in sorted(wanted - numbered)]
    problems += [f"{row} is not known" for row in sorted(numbered - wanted)]
    for problem in problems:
        print(f"tests/requirements.md: {problem}", file=sys.stderr)
    print(f"{len(ids)} requirements, {references} tests named, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""dist.py --bin DIR --output DIR --version V: the release files: hcsd-V-x64.msi, hcsd-V-windows-x64.zip and SHA256SUMS.

The same input gives the same bytes; SOURCE_DATE_EPOCH, when set, dates the files (default: 2020-01-01). When a key is configured
(sign.py), programs and MSI are signed, with the time of day in the signatures; otherwise they are not, and that is said.
"""

import argparse
import glob
import hashlib
import os
import shutil
import sys
import tempfile
import time
import zipfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import package  # noqa: E402
import sign  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOCUMENTS = ["README.md", "docs/configuration.md", "docs/events.md", "docs/installer.md", "docs/threat-model.md"]


def release_files(folder):
    """The programs in `folder` and the documents; everything that must be there is."""
    programs = [os.path.join(folder, name) for name in ("hcsctl.exe", "hcsd.exe")]
    messages = glob.glob(os.path.join(folder, "hcsd-messages-*.dll"))
    if len(messages) != 1:
        raise SystemExit(f"dist: {folder}: expected one hcsd-messages-VERSION.dll, found {messages}")
    files = programs + messages + sorted(glob.glob(os.path.join(folder, "hcsd-relay-*.exe"))) + [os.path.join(ROOT, name) for name in DOCUMENTS]
    for path in files:
        if not os.path.isfile(path):
            raise SystemExit(f"dist: {path} is missing")
    return files


def write_zip(output, version, files, when):
    """One folder hcsd-V with the programs, docs below it, and the checksums of all."""
    date = time.gmtime(when)[:6]
    members = []
    for path in files:
        with open(path, "rb") as file:
            content = file.read()
        name = os.path.basename(path)
        members.append((f"docs/{name}" if name.endswith(".md") else name, content))
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(members))
    members.append(("SHA256SUMS", sums.encode()))
    with zipfile.ZipFile(output, "w") as archive:
        for name, content in sorted(members):
            info = zipfile.ZipInfo(f"hcsd-{version}/{name}", date)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content, compresslevel=9)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("bin", "output", "version"):
        parser.add_argument("--" + name, required=True)
    options = parser.parse_args()
    when = int(os.environ.get("SOURCE_DATE_EPOCH", "1577836800"))
    os.makedirs(options.output, exist_ok=True)
    signing = sign.options(os.environ)
    made = [os.path.join(options.output, f"hcsd-{options.version}-{kind}") for kind in ("x64.msi", "windows-x64.zip")]
    with tempfile.TemporaryDirectory() as work:
        files = sign.sign_all(release_files(options.bin), os.path.join(work, "files"), signing)
        msi = os.path.join(work, os.path.basename(made[0]))
        package.build(msi, os.path.join(work, "package"), options.version, files, when)
        shutil.copyfile(sign.sign_all([msi], os.path.join(work, "msi"), signing)[0], made[0])
        write_zip(made[1], options.version, files, when)
    with open(os.path.join(options.output, "SHA256SUMS"), "w", encoding="ascii") as sums:
        for path in made:
            with open(path, "rb") as file:
                sums.write(f"{hashlib.sha256(file.read()).hexdigest()}  {os.path.basename(path)}\n")
            print(path)
    if signing is None:
        print("unsigned: no key is configured (docs/installer.md says how)")


if __name__ == "__main__":
    main()

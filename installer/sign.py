"""Authenticode signatures by osslsigncode, when a key is configured by the environment (docs/installer.md):

HCSD_SIGN_PKCS12           a PKCS#12 file with certificate and key; or
HCSD_SIGN_CERT             the certificate and its chain (PEM), with
HCSD_SIGN_KEY              its key: a PEM file, or a PKCS#11 URI with
HCSD_SIGN_PKCS11_MODULE    the token's library (and HCSD_SIGN_PKCS11_ENGINE, OpenSSL's engine for it, where it needs one)
HCSD_SIGN_PASSWORD_FILE    a file with the key's password or the token's PIN
HCSD_SIGN_TIMESTAMP        the address of an RFC 3161 time stamp server; without it nobody is asked
"""

import os
import subprocess

# Variable -> option of osslsigncode.
OPTIONS = {
    "HCSD_SIGN_PKCS12": "-pkcs12",
    "HCSD_SIGN_CERT": "-certs",
    "HCSD_SIGN_KEY": "-key",
    "HCSD_SIGN_PKCS11_ENGINE": "-pkcs11engine",
    "HCSD_SIGN_PKCS11_MODULE": "-pkcs11module",
    "HCSD_SIGN_PASSWORD_FILE": "-readpass",
    "HCSD_SIGN_TIMESTAMP": "-ts",
}
SIGNED = (".exe", ".dll", ".msi")


def options(environment):
    """What osslsigncode is to be given; None: no key is configured. A key that is configured by half ends the program."""
    found = {name: environment[name] for name in OPTIONS if environment.get(name)}
    if not found:
        return None
    container, pair = "HCSD_SIGN_PKCS12" in found, {"HCSD_SIGN_CERT", "HCSD_SIGN_KEY"} & set(found)
    if container == bool(pair) or (pair and len(pair) != 2):
        raise SystemExit("sign: set HCSD_SIGN_PKCS12, or HCSD_SIGN_CERT and HCSD_SIGN_KEY; found " + ", ".join(sorted(found)))
    for name in ("HCSD_SIGN_PKCS12", "HCSD_SIGN_CERT", "HCSD_SIGN_PASSWORD_FILE", "HCSD_SIGN_PKCS11_MODULE"):
        if name in found and not os.path.isfile(found[name]):
            raise SystemExit(f"sign: {name}: there is no file {found[name]}")
    return [part for name, value in found.items() for part in (OPTIONS[name], value)]


def sign(source, target, given):
    """Writes the signed `source` as `target`, which is not there. `given` comes from options()."""
    # The name that Windows shows when it asks whether to run it.
    command = ["osslsigncode", "sign", *given, "-h", "sha256", "-n", "hcsd", "-in", source, "-out", target]
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0 or not os.path.isfile(target):
        raise SystemExit(f"sign: {os.path.basename(source)}: osslsigncode ended with {done.returncode}: {done.stdout}{done.stderr}")


def sign_all(paths, folder, given):
    """The same paths with signed copies in `folder` in the place of those that can be signed; as they are when `given` is None."""
    if given is None:
        return paths
    os.makedirs(folder)
    result = []
    for path in paths:
        if path.endswith(SIGNED):
            target = os.path.join(folder, os.path.basename(path))
            sign(path, target, given)
            path = target
        result.append(path)
    return result

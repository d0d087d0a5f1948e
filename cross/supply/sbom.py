#!/usr/bin/env python3
"""Writes the bill of materials of one program: every crate of the lock file that ships in it, as CycloneDX 1.6.

    sbom.py PROGRAM [--target TRIPLE] [--features LIST] [--binary FILE]     to standard output

PROGRAM is `outpost` or `outpost-control`. What ships is what cargo resolves for that program alone, target and features given:
dependencies of its code, not of its build, and no macros, which only make code. With the finished binary its hash is written
too, and the bill is held to what the binary says of itself.

The same input gives the same bytes: there is no time in it. Needs cargo, and nothing beside Python.
"""

import argparse
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tomllib
import urllib.parse
import uuid

import inside

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PACKAGES = {"outpost": "outpost-agent", "outpost-control": "outpost-control"}
# Libraries that other languages know by their own names come inside a crate: which file of it says their version, and how.
BUNDLED = {
    "aws-lc-sys": ("aws-lc", "aws-lc/include/openssl/base.h", r'AWSLC_VERSION_NUMBER_STRING "([^"]+)"', "Apache-2.0 AND ISC"),
    "libsqlite3-sys": ("sqlite", "sqlite3/sqlite3.h", r'define SQLITE_VERSION\s+"([^"]+)"', "blessing"),
    "zstd-sys": ("zstd", "Cargo.toml", r'(?m)^version = "[^"+]+\+zstd\.([^"]+)"', "BSD-3-Clause"),
}


def output_of(*command):
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def host():
    return re.search(r"^host: (.+)$", output_of("rustc", "-vV"), re.MULTILINE)[1]


def resolved(package, target, features):
    """What cargo resolves: the crates as `(name, version)`, the program's package first, each with those that it names."""
    command = ["cargo", "tree", "--locked", "--package", package, "--target", target, "--edges", "normal,no-proc-macro",
               "--prefix", "depth", "--format", "|{p}"]
    lines = output_of(*command, *(["--features", features] if features else [])).splitlines()
    crates, above = {}, []
    for line in lines:
        depth, name, version = re.match(r"(\d+)\|(\S+) v(\S+)", line).groups()
        crate = (name, version)
        crates.setdefault(crate, set())
        del above[int(depth):]
        if above:
            crates[above[-1]].add(crate)
        above.append(crate)
    return crates


def locked():
    """The checksums of the lock file, none for what is of this repository."""
    packages = tomllib.loads((ROOT / "Cargo.lock").read_text(encoding="utf-8"))["package"]
    return {(package["name"], package["version"]): package.get("checksum") for package in packages}


def described(target):
    """What the crates say of themselves. Those of other platforms are not fetched for that."""
    said = output_of("cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target)
    packages = json.loads(said)["packages"]
    return {(package["name"], package["version"]): package for package in packages}


def license_of(package):
    # An older way to write `OR`.
    return [{"expression": package["license"].replace("/", " OR ")}] if package.get("license") else []


def reference(crate, checksum):
    name, version = crate
    return f"pkg:cargo/{name}@{urllib.parse.quote(version)}" if checksum else f"{name}@{version}"


def bundled(crate, package):
    """The library of another language that a crate brings, if it does."""
    if crate[0] not in BUNDLED:
        return []
    name, file, pattern, license_expression = BUNDLED[crate[0]]
    text = (pathlib.Path(package["manifest_path"]).parent / file).read_text(encoding="utf-8")
    found = re.search(pattern, text)
    if not found:
        sys.exit(f"error: `{file}` of {crate[0]} {crate[1]} does not say which {name} it is")
    purl = f"pkg:generic/{name}@{found[1]}"
    return [{"type": "library", "bom-ref": purl, "name": name, "version": found[1],
             "licenses": [{"expression": license_expression}], "purl": purl}]


def component(crate, checksum, package):
    name, version = crate
    described_as = {"type": "library", "bom-ref": reference(crate, checksum), "name": name, "version": version}
    if package.get("description"):
        described_as["description"] = " ".join(package["description"].split())
    if checksum:
        described_as["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if license_of(package):
        described_as["licenses"] = license_of(package)
    if checksum:
        described_as["purl"] = reference(crate, checksum)
    # Written with a scheme, or it would be no address.
    if (package.get("repository") or "").startswith("https://"):
        described_as["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    if inner := bundled(crate, package):
        described_as["components"] = inner
    return described_as


def languages(target, content):
    """What comes from no lock file: Rust's own library with the crates that it is made of, and the C library where it is part of the
    program."""
    version = re.search(r"^release: (.+)$", output_of("rustc", "-vV"), re.MULTILINE)[1]
    purl = f"pkg:generic/rust-std@{version}"
    found = [{"type": "library", "bom-ref": purl, "name": "rust-std", "version": version,
              "licenses": [{"expression": "MIT OR Apache-2.0"}], "purl": purl}]
    if inner := sorted(inside.of_rust(content)):
        found[0]["components"] = [{"type": "library", "bom-ref": f"rust-std/{name}@{its}", "name": name, "version": its,
                                   "purl": f"pkg:cargo/{name}@{its}"} for name, its in inner]
    if target.endswith("-musl"):
        found.append({"type": "library", "bom-ref": "pkg:generic/musl", "name": "musl",
                      "description": "The C library, which is a part of this program.",
                      "licenses": [{"expression": "MIT"}], "purl": "pkg:generic/musl"})
    return found


def bill(program, target, features, binary):
    crates = resolved(PACKAGES[program], target, features)
    checksums, packages = locked(), described(target)
    if unknown := [crate for crate in crates if crate not in checksums]:
        sys.exit(f"error: not in the lock file: {unknown}")
    own, *_ = crates
    references = {crate: reference(crate, checksums[crate]) for crate in crates}
    main = {"type": "application", "bom-ref": references[own], "name": program, "version": own[1],
            "description": packages[own]["description"], "licenses": license_of(packages[own]),
            "properties": [{"name": "outpost:target", "value": target}, {"name": "outpost:features", "value": features}]}
    content = binary.read_bytes() if binary else b""
    if binary:
        main["hashes"] = [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}]
        try:
            mistakes = inside.disagreements(content, set(crates) - {own})
        except inside.Unreadable as error:
            sys.exit(f"error: {binary}: {error}")
        if mistakes:
            sys.exit("\n".join(f"error: {binary}: {mistake}" for mistake in mistakes))
    written = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": main},
        "components": [component(crate, checksums[crate], packages[crate]) for crate in sorted(set(crates) - {own})]
        + languages(target, content),
        "dependencies": [{"ref": references[crate], "dependsOn": sorted(references[other] for other in crates[crate])}
                         for crate in sorted(crates)],
    }
    # The same for the same content: another bill has another number.
    number = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(written, sort_keys=True))
    return {**written, "serialNumber": f"urn:uuid:{number}"}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("program", choices=PACKAGES)
    parser.add_argument("--target", default=None)
    parser.add_argument("--features", default="")
    parser.add_argument("--binary", type=pathlib.Path)
    options = parser.parse_args()
    written = bill(options.program, options.target or host(), options.features, options.binary)
    json.dump(written, sys.stdout, indent=2, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Holds a bill of materials to the lock file, by another way than the one that wrote it.

    hold.py BILL…      exit code 0 if all hold, 1 with one line per mistake

`sbom.py` asks cargo for the tree of one program. Here the whole workspace's graph is walked from that program through what its
code depends on, macros left out. More features are on there: what the walk finds is held against all that cargo names for the program
alone, macros and what only they need included.
"""

import functools
import json
import pathlib
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def output_of(*command):
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


@functools.cache
def reachable(package, target):
    """Every crate that the workspace's graph leads to from this package's code."""
    metadata = json.loads(output_of("cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target))
    packages = {entry["id"]: entry for entry in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    waiting = [name for name, entry in packages.items() if entry["name"] == package and entry["source"] is None]
    found = set()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for dependency in nodes[name]["deps"]:
            is_code = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            is_macro = any("proc-macro" in entry["kind"] for entry in packages[dependency["pkg"]]["targets"])
            if is_code and not is_macro:
                waiting.append(dependency["pkg"])
    return {(packages[name]["name"], packages[name]["version"]) for name in found}


@functools.cache
def switched_on(package, target):
    """Every crate that cargo names when it is asked for this program alone."""
    said = output_of("cargo", "tree", "--locked", "--package", package, "--target", target, "--edges", "normal", "--prefix", "none",
                     "--format", "{p}")
    return {(name, version.removeprefix("v")) for name, version, *_ in map(str.split, said.splitlines())}


def mistakes(bill):
    main = bill["metadata"]["component"]
    package = main["bom-ref"].split("@")[0]
    target = next(entry["value"] for entry in main["properties"] if entry["name"] == "outpost:target")
    locked = {(entry["name"], entry["version"]): entry.get("checksum")
              for entry in tomllib.loads((ROOT / "Cargo.lock").read_text(encoding="utf-8"))["package"]}
    from_elsewhere = {component["name"] for component in bill["components"]
                      if component.get("purl", "").startswith("pkg:generic/")}
    written = {(component["name"], component["version"]): component for component in bill["components"]
               if component["name"] not in from_elsewhere}
    ships = reachable(package, target) - {(package, main["version"])}
    for crate in sorted(set(written) - ships):
        yield f"{crate[0]} {crate[1]} is in the bill, and nothing leads to it"
    for crate in sorted((ships & switched_on(package, target)) - set(written)):
        yield f"{crate[0]} {crate[1]} ships and is not in the bill"
    for crate, component in sorted(written.items()):
        hashes = [entry["content"] for entry in component.get("hashes", [])]
        if crate not in locked or hashes != ([locked[crate]] if locked[crate] else []):
            yield f"{crate[0]} {crate[1]} has not the checksum of the lock file"
        if not component.get("licenses"):
            yield f"{crate[0]} {crate[1]} has no licence"
    known = {entry["ref"] for entry in bill["dependencies"]}
    named = {main["bom-ref"]} | {component["bom-ref"] for component in written.values()}
    if known != named:
        yield f"the graph of dependencies is of other crates: {sorted(known ^ named)}"


def main():
    failed = False
    for name in sys.argv[1:]:
        bill = json.loads(pathlib.Path(name).read_text(encoding="utf-8"))
        found = list(mistakes(bill))
        # A check that lets everything pass would prove nothing: one crate less must be missed.
        crates = [component for component in bill["components"] if component.get("purl", "").startswith("pkg:cargo/")]
        less = {**bill, "components": [component for component in bill["components"] if component is not crates[0]]}
        if not any(crates[0]["name"] in mistake for mistake in mistakes(less)):
            found.append(f"a bill without {crates[0]['name']} is taken, too")
        for mistake in found:
            failed = True
            print(f"error: {name}: {mistake}", file=sys.stderr)
        if not found:
            print(f"{name}: all {len(crates)} crates of others that ship, and {len(bill['components']) - len(crates)} components more")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

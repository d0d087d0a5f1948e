"""Which crates a finished binary says are in it: by the list that `cargo auditable` put there, and by the places that its own
panics name. An ELF file of either word size and byte order; nothing in it is trusted to be where it says."""

import json
import pathlib
import random
import re
import struct
import sys
import zlib

# The section of `cargo auditable`, and the most that its list may unpack to.
SECTION = b".dep-v0"
LIST_BYTES = 8 << 20
# A source file of a crate, as `…/name-1.2.3/src/…`; those that Rust's own library is made of lie in a folder of their own.
PLACE = re.compile(rb"(/rust/deps)?/([A-Za-z][A-Za-z0-9_-]*)-(\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?)/(?:src|rust)/")


class Unreadable(Exception):
    """The file is no program, or its list is none."""


def section(content, wanted):
    """The bytes of a section by its name; None if there is none."""
    if content[:4] != b"\x7fELF":
        raise Unreadable("it is no ELF file")
    wide, order = content[4] == 2, "<" if content[5] == 1 else ">"
    table, = struct.unpack_from(order + ("Q" if wide else "I"), content, 40 if wide else 32)
    size, count, names = struct.unpack_from(order + "HHH", content, 58 if wide else 46)
    entry = order + ("IIQQQQ" if wide else "IIIIII")

    def at(number):
        name, _, _, _, offset, length = struct.unpack_from(entry, content, table + number * size)
        return name, content[offset:offset + length]

    texts = at(names)[1]
    for number in range(count):
        name, body = at(number)
        if texts[name:texts.find(b"\0", name)] == wanted:
            return body
    return None


def listed(content):
    """The crates of the auditable list that are part of the program, without itself; None if it has no list."""
    try:
        return _listed(content)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error, zlib.error) as error:
        raise Unreadable(f"its sections or its list of crates are damaged: {error}") from error


def _listed(content):
    packed = section(content, SECTION)
    if packed is None:
        return None
    packages = json.loads(zlib.decompressobj().decompress(packed, LIST_BYTES))["packages"]
    return {(str(package["name"]), str(package["version"])) for package in packages
            if package.get("kind", "runtime") == "runtime" and not package.get("root")}


def named(content):
    """The crates that the binary's panics name; those of Rust's own library left out."""
    return {(name.decode(), version.decode()) for own, name, version in PLACE.findall(content) if not own}


def of_rust(content):
    """The crates of Rust's own library that the binary's panics name."""
    return {(name.decode(), version.decode()) for own, name, version in PLACE.findall(content) if own}


def disagreements(content, crates):
    """What the binary says against a list of crates, one text per mistake.

    The auditable list is the longer one: it has the macros, and what a feature that is off would bring. So all of ours must be on it, and
    what the code itself names must be ours."""
    own, places = listed(content), named(content)
    if own is None and not places:
        return ["it names no crate at all: built without `cargo auditable`, and stripped of its places"]
    return [f"{name} {version} is in the binary and not in the bill" for name, version in sorted(places - crates)] + [
        f"{name} {version} is in the bill and not in the binary" for name, version in sorted(crates - own if own is not None else ())]


def main():
    """Any bytes give a list or `Unreadable`: a program cut off and changed in many ways, given as the argument."""
    whole = pathlib.Path(sys.argv[1]).read_bytes()
    chance = random.Random(1)
    read = 0
    for _ in range(2000):
        bytes_ = bytearray(whole[:chance.choice([len(whole), chance.randrange(len(whole))])])
        for _ in range(chance.randrange(8)):
            # The header and the table at the end lead everywhere else.
            place = chance.choice([chance.randrange(64), chance.randrange(len(whole)), len(whole) - chance.randrange(1, 4096)])
            if 0 <= place < len(bytes_):
                bytes_[place] = chance.randrange(256)
        try:
            listed(bytes(bytes_))
            read += 1
        except Unreadable:
            pass
    print(f"{sys.argv[1]}: cut off and changed in 2000 ways, read in {read}, refused in the others")


if __name__ == "__main__":
    main()

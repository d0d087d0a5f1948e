#!/usr/bin/env python3
"""Checks an audit log that was exported as tiles, or the proof of one record, with nothing of the program that wrote it.

    verify.py tiles DIRECTORY --key KEY                   every record, hash, file and the signed head
    verify.py proof FILE.tlog-proof RECORD --key KEY      one record against the signed head

KEY is the log's verifier key (`name+id+key`, c2sp.org/signed-note) or a file that holds it: from enrolment, never from the
export itself. Needs Python 3.9 and the package `cryptography`. Exit code 0 if all holds, 1 with one line per problem, 2 if it
cannot be read. The forms are those of c2sp.org: signed-note, tlog-checkpoint, tlog-tiles, tlog-proof; hashing is RFC 6962's.
"""

import argparse
import base64
import hashlib
import pathlib
import re
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

WIDTH = 256  # hashes in a full tile


class Wrong(Exception):
    """Something that is not as it must be."""


def leaf_hash(record):
    return hashlib.sha256(b"\0" + record).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def root_of(hashes):
    """RFC 6962, section 2.1: split at the largest power of two below the count."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return node_hash(root_of(hashes[:split]), root_of(hashes[split:]))


def decimal(text):
    if not re.fullmatch(r"0|[1-9][0-9]{0,18}", text):
        raise Wrong(f"{text!r} is not a number")
    return int(text)


def decode(text, length=None):
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Wrong(f"{text[:80]!r} is not base64") from None
    # One spelling for each value: spare bits must be zero.
    if base64.b64encode(data).decode() != text or length not in (None, len(data)):
        raise Wrong(f"{text[:80]!r} is not base64 of the right length")
    return data


def read_key(line):
    """name+id+key: the id is a hash of name and key, so a mistyped key is noticed."""
    try:
        name, key_id, key = line.strip().split("+", 2)
    except ValueError:
        raise Wrong("the key is not `name+id+key`") from None
    typed = decode(key, 33)
    expected = hashlib.sha256(name.encode() + b"\n" + typed).digest()[:4]
    if typed[0] != 1 or expected.hex() != key_id:
        raise Wrong("the key is not of type Ed25519, or its id does not belong to it")
    return name, expected, Ed25519PublicKey.from_public_bytes(typed[1:])


def read_checkpoint(note, key):
    """Returns size and root, if the key signed them."""
    name, key_id, public = key
    text, blank, lines = note.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise Wrong("the checkpoint is no signed note")
    text += "\n"
    signed = False
    for line in lines[:-1].split("\n"):
        match = re.fullmatch(r"— ([^ +]+) (\S+)", line)
        if not match:
            raise Wrong("a signature line of the checkpoint is malformed")
        signature = decode(match[2])
        if match[1] == name and signature[:4] == key_id:
            try:
                public.verify(signature[4:], text.encode())
            except InvalidSignature:
                raise Wrong("the signature of the checkpoint is not by the log's key") from None
            signed = True
    if not signed:
        raise Wrong("the checkpoint is not signed by the log's key")
    origin, size, root, *_ = text.split("\n") + ["", ""]
    if origin != name:
        raise Wrong("the checkpoint is of another log")
    return decimal(size), decode(root, 32)


def path_of(row, number, width):
    """1234067 is x001/x234/067; a tile that is not full ends in .p/WIDTH."""
    digits = f"{number:03}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    name = "/".join(["x" + part for part in parts[:-1]] + parts[-1:])
    return f"tile/{row}/{name}" + (f".p/{width}" if width < WIDTH else "")


def check_tiles(folder, key, problems):
    size, root = read_checkpoint((folder / "checkpoint").read_bytes().decode(), key)
    files = {path.relative_to(folder).as_posix() for path in (folder / "tile").rglob("*") if not path.is_dir()}
    level, hashes = 0, []
    # Where records are missing, nothing above them can be computed: that ends the check.
    for number in range(-(-size // WIDTH)):
        width = min(WIDTH, size - number * WIDTH)
        name = path_of("entries", number, width)
        if name not in files:
            raise Wrong(f"{name} is missing: records {number * WIDTH} to {number * WIDTH + width - 1}")
        files.discard(name)
        data, at, records = (folder / name).read_bytes(), 0, []
        while at + 2 <= len(data) and at + 2 + (length := int.from_bytes(data[at : at + 2], "big")) <= len(data):
            records.append(data[at + 2 : at + 2 + length])
            at += 2 + length
        if at != len(data) or len(records) != width:
            first, last = number * WIDTH, number * WIDTH + width - 1
            raise Wrong(f"{name}: {len(records)} whole records instead of {width}: not all of {first} to {last}")
        hashes += map(leaf_hash, records)
    if root_of(hashes) != root:
        problems.append("the records do not lead to the signed root")
    while hashes:
        for number in range(-(-len(hashes) // WIDTH)):
            expected = hashes[number * WIDTH : (number + 1) * WIDTH]
            name = path_of(level, number, len(expected))
            if name not in files:
                problems.append(f"{name} is missing")
                continue
            files.discard(name)
            data = (folder / name).read_bytes()
            found = [data[at : at + 32] for at in range(0, len(data), 32)]
            for position, pair in enumerate(zip(expected, found)):
                if pair[0] != pair[1]:
                    first = (number * WIDTH + position) * WIDTH**level
                    problems.append(f"{name}: hash {position} is not that of what begins with record {first}")
            if len(found) != len(expected):
                problems.append(f"{name}: {len(data)} bytes instead of {32 * len(expected)}")
        hashes = [root_of(hashes[at : at + WIDTH]) for at in range(0, len(hashes) - WIDTH + 1, WIDTH)]
        level += 1
    problems.extend(f"{name} is not a part of a log of {size} records" for name in sorted(files))
    return f"{size} records, root {root.hex()}"


def check_proof(file, record_file, key, problems):
    head, _, checkpoint = file.read_bytes().decode().partition("\n\n")
    lines = head.split("\n")
    if lines.pop(0) != "c2sp.org/tlog-proof@v1":
        raise Wrong("this is no tlog-proof")
    if lines and lines[0].startswith("extra "):
        decode(lines.pop(0)[6:])
    if not lines or not lines[0].startswith("index "):
        raise Wrong("the proof names no index")
    index, path = decimal(lines.pop(0)[6:]), [decode(line, 32) for line in lines]
    size, root = read_checkpoint(checkpoint, key)
    if index >= size:
        raise Wrong(f"the proof is of record {index} of {size}")
    # RFC 9162, section 2.1.3.2: the same tree as RFC 6962's, with the algorithm written out.
    at, last, found = index, size - 1, leaf_hash(record_file.read_bytes())
    for sibling in path:
        if last == 0:
            raise Wrong("the proof has too many hashes")
        if at & 1 or at == last:
            found = node_hash(sibling, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        at, last = at >> 1, last >> 1
    if last != 0 or found != root:
        problems.append(f"record {index} and the hashes of the proof do not lead to the signed root")
    return f"record {index} of {size}, root {root.hex()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tiles", "proof"])
    parser.add_argument("paths", nargs="+", type=pathlib.Path, metavar="PATH")
    parser.add_argument("--key", required=True)
    arguments = parser.parse_args()
    if len(arguments.paths) != (1 if arguments.what == "tiles" else 2):
        parser.error("tiles are one directory; a proof is two files, the proof and its record")
    problems, verdict = [], ""
    try:
        key = arguments.key
        key = read_key(key if "+" in key else pathlib.Path(key).read_text())
        check = check_tiles if arguments.what == "tiles" else check_proof
        verdict = check(*arguments.paths, key, problems)
    except (Wrong, UnicodeDecodeError) as wrong:
        problems.append(str(wrong))
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for problem in problems[:50] + [f"and {len(problems) - 50} more"] * (len(problems) > 50):
        print(f"PROBLEM  {problem}")
    print(f"{'does NOT hold' if problems else 'holds'}: {verdict or 'nothing is shown'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

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
    """Something that is not as it must be, and that ends the check."""


def need(condition, what):
    if not condition:
        raise Wrong(what)


def leaf_hash(record):
    return hashlib.sha256(b"\0" + record).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def root_of(hashes):
    """RFC 6962, section 2.1: split at the largest power of two below the count."""
    if len(hashes) < 2:
        return hashes[0] if hashes else hashlib.sha256(b"").digest()
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return node_hash(root_of(hashes[:split]), root_of(hashes[split:]))


def decimal(text):
    need(re.fullmatch(r"0|[1-9][0-9]{0,18}", text), f"{text!r} is not a number")
    return int(text)


def decode(text, length=None):
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Wrong(f"{text[:80]!r} is not base64") from None
    # One spelling for each value: spare bits must be zero.
    need(base64.b64encode(data).decode() == text, f"{text[:80]!r} is not the one spelling of its bytes")
    need(length in (None, len(data)), f"{text[:80]!r} has {len(data)} bytes instead of {length}")
    return data


def read_key(line):
    """name+id+key: the id is a hash of name and key, so a mistyped key is noticed."""
    match = re.fullmatch(r"([^ +]+)\+([0-9a-f]{8})\+(\S+)", line.strip())
    need(match, "the key is not `name+id+key`")
    name, key = match[1], decode(match[3], 33)
    key_id = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
    need(key[0] == 1 and key_id.hex() == match[2], "the key is not of type Ed25519, or its id does not belong to it")
    return name, key_id, Ed25519PublicKey.from_public_bytes(key[1:])


def read_checkpoint(note, key):
    """Returns size and root, if the key signed them."""
    name, key_id, public = key
    text, blank, lines = note.rpartition("\n\n")
    need(blank and lines.endswith("\n"), "the checkpoint is no signed note")
    signed = False
    for line in lines[:-1].split("\n"):
        match = re.fullmatch(r"— ([^ +]+) (\S+)", line)
        need(match, "a signature line of the checkpoint is malformed")
        signature = decode(match[2])
        if match[1] == name and signature[:4] == key_id:
            try:
                public.verify(signature[4:], (text + "\n").encode())
            except InvalidSignature:
                raise Wrong("the signature of the checkpoint is not by the log's key") from None
            signed = True
    need(signed, "the checkpoint is not signed by the log's key")
    origin, size, root, *_ = f"{text}\n\n".split("\n")
    need(origin == name, "the checkpoint is of another log")
    return decimal(size), decode(root, 32)


def path_of(row, number, width):
    """1234067 is x001/x234/067; a tile that is not full ends in .p/WIDTH."""
    groups = re.findall("...", str(number).zfill(-(-len(str(number)) // 3) * 3))
    name = "".join(f"x{group}/" for group in groups[:-1]) + groups[-1]
    return f"tile/{row}/{name}" + (f".p/{width}" if width < WIDTH else "")


def chunks(items, size):
    return [items[at : at + size] for at in range(0, len(items), size)]


def records_of(bundle):
    """Each record stands behind its length in two bytes."""
    at = 0
    while at < len(bundle):
        start, end = at + 2, at + 2 + int.from_bytes(bundle[at : at + 2], "big")
        need(end <= len(bundle), "ends within a record")
        yield bundle[start:end]
        at = end


def check_tiles(folder, key, problems):
    size, root = read_checkpoint((folder / "checkpoint").read_bytes().decode(), key)
    files = {path.relative_to(folder).as_posix() for path in (folder / "tile").rglob("*") if not path.is_dir()}
    hashes = []
    # Where records are missing, nothing above them can be computed: that ends the check.
    for first in range(0, size, WIDTH):
        width = min(WIDTH, size - first)
        name = path_of("entries", first // WIDTH, width)
        need(name in files, f"{name} is missing: records {first} to {first + width - 1}")
        files.discard(name)
        try:
            found = list(map(leaf_hash, records_of((folder / name).read_bytes())))
            need(len(found) == width, f"holds {len(found)} records instead of {width}")
        except Wrong as wrong:
            raise Wrong(f"{name} {wrong}: not all of {first} to {first + width - 1}") from None
        hashes += found
    if root_of(hashes) != root:
        problems.append("the records do not lead to the signed root")
    level = 0
    while hashes:
        for number, expected in enumerate(chunks(hashes, WIDTH)):
            name = path_of(level, number, len(expected))
            if name not in files:
                problems.append(f"{name} is missing")
                continue
            files.discard(name)
            found = chunks((folder / name).read_bytes(), 32)
            for position, (right, stored) in enumerate(zip(expected, found)):
                if right != stored:
                    first = (number * WIDTH + position) * WIDTH**level
                    problems.append(f"{name}: hash {position} is not that of what begins with record {first}")
            if len(found) != len(expected):
                problems.append(f"{name} holds {len(found)} hashes instead of {len(expected)}")
        hashes = [root_of(tile) for tile in chunks(hashes, WIDTH) if len(tile) == WIDTH]
        level += 1
    problems.extend(f"{name} is not a part of a log of {size} records" for name in sorted(files))
    return f"{size} records, root {root.hex()}"


def check_proof(file, record_file, key, problems):
    head, _, checkpoint = file.read_bytes().decode().partition("\n\n")
    match = re.fullmatch(r"c2sp\.org/tlog-proof@v1\n(?:extra (.*)\n)?index (.*)((?:\n.+)*)", head)
    need(match, "this is no tlog-proof")
    decode(match[1] or "")
    index, path = decimal(match[2]), [decode(line, 32) for line in match[3].split("\n")[1:]]
    size, root = read_checkpoint(checkpoint, key)
    need(index < size, f"the proof is of record {index} of {size}")
    # RFC 9162, section 2.1.3.2: the same tree as RFC 6962's, with the algorithm written out.
    at, last, found = index, size - 1, leaf_hash(record_file.read_bytes())
    for sibling in path:
        need(last > 0, "the proof has too many hashes")
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
    check, count = {"tiles": (check_tiles, 1), "proof": (check_proof, 2)}[arguments.what]
    if len(arguments.paths) != count:
        parser.error("tiles are one directory; a proof is two files, the proof and its record")
    problems, verdict = [], "nothing is shown"
    try:
        key = arguments.key if "+" in arguments.key else pathlib.Path(arguments.key).read_text()
        verdict = check(*arguments.paths, read_key(key), problems)
    except (Wrong, UnicodeDecodeError) as wrong:
        problems.append(str(wrong))
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for problem in problems[:50] + [f"and {len(problems) - 50} more"] * (len(problems) > 50):
        print(f"PROBLEM  {problem}")
    print(f"{'does NOT hold' if problems else 'holds'}: {verdict}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Validates bills of materials against the official schema of CycloneDX 1.6, strictly, by the schema's own library.

    check.py FILE…      exit code 0 if all are valid, 1 with one line per mistake
"""

import json
import pathlib
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def main():
    failed = False
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    for name in sys.argv[1:]:
        text = pathlib.Path(name).read_text(encoding="utf-8")
        mistakes = list(validator.validate_str(text, all_errors=True) or [])
        # A validator that lets everything pass would prove nothing.
        broken = json.loads(text)
        broken["components"] = [{"type": "no such type", "name": "x"}]
        if not validator.validate_str(json.dumps(broken)):
            mistakes.append("the validator takes a component of no type")
        for mistake in mistakes:
            failed = True
            print(f"{name}: {mistake}", file=sys.stderr)
        if not mistakes:
            kinds = [component["type"] for component in json.loads(text)["components"]]
            print(f"{name}: valid CycloneDX 1.6, {len(kinds)} components: {', '.join(sorted(set(kinds)))}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

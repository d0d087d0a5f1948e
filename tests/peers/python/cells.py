"""One client's row of the table: its cells are run in turn, and each is told as a line of JSON.

A client's file names a function for a cell with `@cell("chat")`; several functions may share a cell, which then passes when
all of them do. What a client cannot do by its nature is said with `absent("embeddings", "why")`. Where the agent is and which
keys there are comes from the environment that `tests/peers/run` sets.
"""

import json
import os
import sys
import traceback
from typing import Literal

import pydantic

COLUMNS = ["list", "chat", "stream", "tools", "schema", "embeddings", "errors", "denied"]

URL = os.environ["OUTPOST_URL"]
TOKEN = os.environ["OUTPOST_TOKEN"]  # may ask
REFUSED_TOKEN = os.environ["OUTPOST_REFUSED_TOKEN"]  # an auditor's: may not ask
ADMIN_TOKEN = os.environ["OUTPOST_ADMIN_TOKEN"]  # may change which models there are
MODEL = os.environ["OUTPOST_MODEL"]
EMBEDDING_MODEL = os.environ["OUTPOST_EMBEDDING_MODEL"]

QUESTION = [{"role": "user", "content": "How does a device enrol?"}]
TOO_LONG = [{"role": "user", "content": "How does a device enrol? " * 2000}]
TEXTS = ["The pump is open.", "No oil"]


def without_titles(schema):
    """Some clients put schemas into the prompt, and the demo model reads 512 tokens in all."""
    for field in schema["properties"].values():
        field.pop("title")


class Pressure(pydantic.BaseModel, json_schema_extra=without_titles):
    """Read a pump."""

    pump: Literal["north", "south"]


# Every value is short, so that a small answer always has room for it.
class Reading(pydantic.BaseModel, json_schema_extra=without_titles):
    pump: Literal["north", "south"]
    bar: int = pydantic.Field(ge=0, le=9)
    open: bool


PARAMETERS = {
    "type": "object",
    "properties": {"pump": {"enum": ["north", "south"]}},
    "required": ["pump"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "pressure", "description": Pressure.__doc__, "parameters": PARAMETERS}}
TOOL_RESULT = '{"bar": 4}'

_checks = {column: [] for column in COLUMNS}
_absent = {}


def cell(column):
    def add(check):
        _checks[column].append(check)
        return check

    return add


def absent(column, because):
    _absent[column] = because


def refused(kind, act, **expected):
    """`act` has to end in exactly this kind of error, with these attributes."""
    try:
        answer = act()
    except kind as error:
        for name, value in expected.items():
            assert getattr(error, name) == value, f"{name} is {getattr(error, name)!r}, not {value!r}: {error}"
        return error
    raise AssertionError(f"answered, where {kind.__name__} was due: {str(answer)[:200]}")


def told(error):
    """The innermost line of the client's file, and the error."""
    here = os.path.dirname(os.path.abspath(__file__))
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if os.path.dirname(frame.filename) == here]
    where = f"line {own[-1].lineno}: " if own else ""
    return f"{where}{type(error).__name__}: {' '.join(str(error).split())}"[:600]


def main():
    failed = False
    for column in COLUMNS:
        outcome, because = "passed", ""
        if column in _absent:
            outcome, because = "absent", _absent[column]
        elif not _checks[column]:
            outcome, because = "failed", "no check was written"
        for check in _checks[column]:
            try:
                check()
            except Exception as error:  # every cell is told, whatever it died of
                outcome, because = "failed", f"{check.__name__}: {told(error)}"
                break
        failed |= outcome == "failed"
        print(json.dumps({"cell": column, "outcome": outcome, "because": because}), flush=True)
    sys.exit(failed)

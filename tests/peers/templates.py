"""What Python's Jinja answers to the chat templates of tests/fixtures/templates, in the environment that transformers makes.

    python templates.py FOLDER        FOLDER is tests/fixtures/templates; needs jinja2

Writes `answers.json`: for each template and each conversation the prompt, or null where Python refuses it.
"""

import datetime
import json
import pathlib
import sys

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

FOLDER = pathlib.Path(sys.argv[1])
NOW = datetime.datetime(2024, 2, 29, 12, 15, tzinfo=datetime.timezone.utc)
BOS, EOS = "<|begin|>", "<|endoftext|>"


class Generation(jinja2.ext.Extension):
    """The tag that marks the assistant's words for training: a scope of its own that changes nothing else."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("same"), [], [], body).set_lineno(line)

    def same(self, caller):
        return caller()


def raise_exception(words):
    raise jinja2.exceptions.TemplateError(words)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = NOW.strftime
    return made


def with_mappings(messages):
    """A call's arguments come as JSON text and are handed over as the mapping that the text spells."""
    for message in messages:
        for call in message.get("tool_calls") or []:
            if isinstance(call.get("function", {}).get("arguments"), str):
                call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return messages


def answer(template, case):
    given = {"messages": with_mappings(case["messages"]), "tools": case.get("tools"), **case.get("variables", {})}
    prompt = case.get("add_generation_prompt", True)
    try:
        return template.render(**given, bos_token=BOS, eos_token=EOS, add_generation_prompt=prompt)
    except (jinja2.exceptions.TemplateError, TypeError) as error:
        print(f"  refused: {case['name']}: {error}", file=sys.stderr)
        return None


def main():
    answers = {}
    for path in sorted(FOLDER.glob("*.jinja")):
        print(path.name, file=sys.stderr)
        template = environment().from_string(path.read_text())
        cases = json.loads((FOLDER / "conversations.json").read_text())
        answers[path.stem] = {case["name"]: answer(template, case) for case in cases}
    text = json.dumps(answers, ensure_ascii=False, indent=1)
    (FOLDER / "answers.json").write_text(text + "\n")


main()

"""Instructor over the OpenAI client: types out of tools, JSON and schemas, whole and in parts.

It wants an older OpenAI client than the others, so it has an environment of its own.
"""

import instructor
import openai
from cells import MODEL, QUESTION, REFUSED_TOKEN, TOKEN, TOO_LONG, URL, Pressure, Reading, absent, cell, main, refused
from instructor.core import InstructorRetryException

absent("list", "it wraps chat alone; the client inside it lists, and is another row")
absent("embeddings", "it wraps chat alone")


def client(mode=instructor.Mode.TOOLS, token=TOKEN):
    inner = openai.OpenAI(base_url=f"{URL}/v1", api_key=token, max_retries=0, timeout=60)
    return instructor.from_openai(inner, mode=mode).chat.completions


def ask(create=None, response_model=Reading, messages=QUESTION, **more):
    options = {"model": MODEL, "temperature": 0, "max_tokens": 160, "max_retries": 0}
    return (create or client().create)(response_model=response_model, messages=messages, **{**options, **more})


def cause(act, kind):
    """What lies under the wrapper that a failed try is told with."""
    try:
        answer = act()
    except (InstructorRetryException, openai.APIError) as error:
        under = error
        while under is not None and not isinstance(under, openai.APIStatusError):
            under = under.__cause__ or under.__context__
        assert type(under) is kind, f"{type(under).__name__}, not {kind.__name__}: {error}"
        return under
    raise AssertionError(f"answered, where {kind.__name__} was due: {answer}")


@cell("chat")
def answers():
    assert ask(response_model=None).choices[0].message.content.strip()
    reading, raw = ask(client().create_with_completion)
    assert isinstance(reading, Reading) and raw.usage.total_tokens > 0, raw


@cell("stream")
def streams_parts():
    parts = list(ask(client().create_partial))
    assert parts and Reading.model_validate(parts[-1].model_dump()), parts


@cell("tools")
def types_out_of_calls():
    assert isinstance(ask(response_model=Pressure), Pressure)
    assert isinstance(ask(client(instructor.Mode.TOOLS_STRICT).create, response_model=Pressure), Pressure)


@cell("schema")
def types_out_of_json():
    # Its older mode, JSON, only asks for an object and hopes for the rest: a matter of wit.
    assert isinstance(ask(client(instructor.Mode.JSON_SCHEMA).create), Reading)


@cell("errors")
def errors_have_their_class():
    cause(lambda: ask(model="no-such-model"), openai.NotFoundError)
    cause(lambda: ask(temperature=9), openai.BadRequestError)
    cause(lambda: ask(messages=TOO_LONG), openai.BadRequestError)


@cell("denied")
def nobody_gets_in_who_should_not():
    cause(lambda: ask(client(token="not-a-key").create), openai.AuthenticationError)
    cause(lambda: ask(client(token=REFUSED_TOKEN).create), openai.PermissionDeniedError)


if __name__ == "__main__":
    main()

"""The official OpenAI client against a running agent: lists, chats, streams, and is refused as it should be.

Reads OUTPOST_BASE_URL, OUTPOST_TOKEN (may infer) and OUTPOST_REFUSED_TOKEN (may not) from the environment; ends with
"N passed, N failed".
"""

import os
import sys

import openai

BASE_URL = os.environ["OUTPOST_BASE_URL"]
QUESTION = [{"role": "user", "content": "How does a device enrol?"}]


def client(token):
    return openai.OpenAI(base_url=BASE_URL, api_key=token, max_retries=0)


def lists_models():
    models = list(client(os.environ["OUTPOST_TOKEN"]).models.list())
    assert models and all(model.id for model in models), models


def chats():
    answer = client(os.environ["OUTPOST_TOKEN"]).chat.completions.create(
        model="default", messages=QUESTION, temperature=0, max_tokens=64
    )
    assert answer.choices[0].message.content.strip(), answer
    assert answer.choices[0].finish_reason in ("stop", "length"), answer
    usage = answer.usage
    assert usage.prompt_tokens > 0 and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage


def streams_the_same_answer():
    whole = client(os.environ["OUTPOST_TOKEN"]).chat.completions.create(
        model="default", messages=QUESTION, temperature=0, max_tokens=64
    )
    chunks = client(os.environ["OUTPOST_TOKEN"]).chat.completions.create(
        model="default", messages=QUESTION, temperature=0, max_tokens=64, stream=True,
        stream_options={"include_usage": True},
    )
    text, usage = "", None
    for chunk in chunks:
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
        usage = chunk.usage or usage
    assert text == whole.choices[0].message.content, (text, whole)
    assert usage.completion_tokens == whole.usage.completion_tokens, usage


def is_told_what_of_a_prompt_was_there_already():
    long = [{"role": "system", "content": "You answer questions about Outpost. " * 8}, *QUESTION]
    ask = lambda: client(os.environ["OUTPOST_TOKEN"]).chat.completions.create(
        model="default", messages=long, temperature=0, max_tokens=8
    )
    first, second = ask(), ask()
    assert first.usage.prompt_tokens_details.cached_tokens == 0, first.usage
    cached = second.usage.prompt_tokens_details.cached_tokens
    assert 0 < cached < second.usage.prompt_tokens, second.usage
    assert second.choices[0].message.content == first.choices[0].message.content, (first, second)


def is_refused_with_the_wrong_role():
    try:
        client(os.environ["OUTPOST_REFUSED_TOKEN"]).chat.completions.create(model="default", messages=QUESTION)
    except openai.PermissionDeniedError as refusal:
        assert refusal.status_code == 403 and refusal.message, refusal
        return
    raise AssertionError("the wrong role was answered")


def is_refused_without_a_token():
    try:
        client("not-a-token").chat.completions.create(model="default", messages=QUESTION)
    except openai.AuthenticationError as refusal:
        assert refusal.status_code == 401, refusal
        return
    raise AssertionError("a caller without a token was answered")


def gets_a_named_error_for_a_bad_value():
    try:
        client(os.environ["OUTPOST_TOKEN"]).chat.completions.create(model="default", messages=QUESTION, temperature=9)
    except openai.BadRequestError as refusal:
        assert "temperature" in refusal.message, refusal
        return
    raise AssertionError("temperature 9 was accepted")


def main():
    cases = [
        lists_models,
        chats,
        streams_the_same_answer,
        is_told_what_of_a_prompt_was_there_already,
        is_refused_with_the_wrong_role,
        is_refused_without_a_token,
        gets_a_named_error_for_a_bad_value,
    ]
    failed = 0
    for case in cases:
        try:
            case()
            print(f"ok   {case.__name__}")
        except Exception as error:  # every case is told, whatever it died of
            failed += 1
            print(f"FAIL {case.__name__}: {error!r}")
    print(f"{len(cases) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

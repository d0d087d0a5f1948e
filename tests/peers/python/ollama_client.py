"""The official Ollama client for Python. Its key comes from OLLAMA_API_KEY or an Authorization header, unchanged.

The protocol has no `tool_choice`: whether the model calls is its own affair, so `tools` holds that tools may be offered, that a
call obeys the schema where there is one, and that a call with its result in the history is answered.
"""

import os

import ollama
from cells import ADMIN_TOKEN, EMBEDDING_MODEL, MODEL, QUESTION, REFUSED_TOKEN, TEXTS, TOKEN, TOO_LONG, TOOL, TOOL_RESULT
from cells import URL, Pressure, Reading, cell, main, refused

OPTIONS = {"temperature": 0, "num_predict": 32}


def client(token=TOKEN):
    return ollama.Client(host=URL, headers={"Authorization": f"Bearer {token}"}, timeout=60)


def chat(messages=QUESTION, **more):
    return client().chat(model=MODEL, messages=messages, **{"options": OPTIONS, **more})


def counted(answer):
    assert answer.done and answer.done_reason in ("stop", "length"), answer
    assert answer.prompt_eval_count > 0 and answer.eval_count > 0 and answer.total_duration > 0, answer


@cell("list")
def tags_show_and_ps():
    listed = {model.model: model for model in client().list().models}
    for name in (MODEL, EMBEDDING_MODEL):
        found = listed.get(name) or listed.get(f"{name}:latest")
        assert found and found.size > 0 and found.digest and found.modified_at and found.details.family, listed
    shown = client().show(MODEL)
    assert "completion" in shown.capabilities and shown.modelinfo["general.architecture"] and shown.template, shown
    assert shown.details.format == "gguf", shown.details
    chat()
    assert any(model.model.removesuffix(":latest") == MODEL and model.size > 0 for model in client().ps().models)


@cell("list")
def the_key_is_found_in_the_environment():
    os.environ["OLLAMA_API_KEY"] = TOKEN
    try:
        assert ollama.Client(host=URL).list().models
    finally:
        del os.environ["OLLAMA_API_KEY"]


@cell("list")
def an_admin_copies_creates_pulls_and_deletes():
    admin = client(ADMIN_TOKEN)
    names = lambda: {model.model.removesuffix(":latest") for model in admin.list().models}
    admin.copy(MODEL, "peer-copy")
    steps = list(admin.create("peer-made", from_=MODEL, system="You answer briefly.", stream=True))
    assert steps[-1].status == "success", steps
    assert {"peer-copy", "peer-made"} <= names(), names()
    assert admin.generate("peer-made", "Hello", options=OPTIONS).done
    # What is here already is pulled without a network.
    steps = list(admin.pull(MODEL, stream=True))
    assert steps and steps[-1].status == "success", steps
    for name in ("peer-copy", "peer-made"):
        assert admin.delete(name).status == "success"
    assert not {"peer-copy", "peer-made"} & names(), names()
    refused(ollama.ResponseError, lambda: admin.delete("peer-copy"), status_code=404)
    # Who may ask may not change.
    refused(ollama.ResponseError, lambda: client().copy(MODEL, "peer-copy"), status_code=403)
    refused(ollama.ResponseError, lambda: client().delete(MODEL), status_code=403)


@cell("chat")
def chats_and_generates():
    answer = chat()
    assert answer.message.role == "assistant" and answer.message.content.strip(), answer
    counted(answer)
    generated = client().generate(MODEL, "How does a device enrol?", system="Be brief.", options=OPTIONS)
    assert generated.response.strip(), generated
    counted(generated)
    # No prompt: only load.
    assert client().generate(MODEL, keep_alive="5m").done_reason == "load"


@cell("stream")
def streams_the_same_answer():
    parts = list(chat(stream=True))
    assert "".join(part.message.content for part in parts) == chat().message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True], parts
    counted(parts[-1])
    parts = list(client().generate(MODEL, "A device", raw=True, stream=True, options=OPTIONS))
    assert "".join(part.response for part in parts) == client().generate(MODEL, "A device", raw=True, options=OPTIONS).response
    counted(parts[-1])


@cell("tools")
def tools_are_offered_called_and_answered():
    whole = chat(tools=[TOOL])
    calls = list(whole.message.tool_calls or [])
    for part in chat(tools=[TOOL], stream=True):
        calls += part.message.tool_calls or []
    for call in calls:
        Pressure.model_validate(call.function.arguments)
    made = {"function": {"name": "pressure", "arguments": {"pump": "north"}}}
    history = [
        *QUESTION,
        {"role": "assistant", "content": "", "tool_calls": [made]},
        {"role": "tool", "tool_name": "pressure", "content": TOOL_RESULT},
    ]
    counted(chat(history, tools=[TOOL]))


@cell("schema")
def the_answer_has_the_type():
    options = {"options": {"temperature": 0, "num_predict": 160}, "format": Reading.model_json_schema()}
    Reading.model_validate_json(chat(**options).message.content)
    Reading.model_validate_json("".join(part.message.content for part in chat(stream=True, **options)))
    Reading.model_validate_json(client().generate(MODEL, "A device", **options).response)


@cell("embeddings")
def embeds():
    answer = client().embed(EMBEDDING_MODEL, TEXTS)
    assert len(answer.embeddings) == 2 and answer.prompt_eval_count > 0, answer
    for vector in answer.embeddings:
        assert vector and abs(sum(number * number for number in vector) - 1) < 1e-3
    one = client().embed(EMBEDDING_MODEL, TEXTS[0]).embeddings
    assert max(abs(a - b) for a, b in zip(one[0], answer.embeddings[0])) < 1e-4
    assert len(client().embeddings(EMBEDDING_MODEL, TEXTS[0]).embedding) == len(one[0])


@cell("errors")
def errors_have_their_status():
    for act in (
        lambda: client().chat("no-such-model", QUESTION),
        lambda: client().generate("no-such-model", "Hello"),
        lambda: client().embed("no-such-model", TEXTS),
        lambda: client().show("no-such-model"),
    ):
        error = refused(ollama.ResponseError, act, status_code=404)
        assert "no-such-model" in error.error, error.error
    bad = refused(ollama.ResponseError, lambda: chat(options={"temperature": "hot"}), status_code=400)
    assert isinstance(bad.error, str) and "temperature" in bad.error, bad.error
    refused(ollama.ResponseError, lambda: chat(format={"type": "nonsense"}), status_code=400)
    refused(ollama.ResponseError, lambda: chat(TOO_LONG), status_code=400)
    long = TOO_LONG[0]["content"]
    refused(ollama.ResponseError, lambda: client().embed(EMBEDDING_MODEL, long, truncate=False), status_code=400)


@cell("denied")
def nobody_gets_in_who_should_not():
    acts = [
        lambda one: one.chat(MODEL, QUESTION),
        lambda one: list(one.chat(MODEL, QUESTION, stream=True)),
        lambda one: one.generate(MODEL, "Hello"),
        lambda one: one.embed(EMBEDDING_MODEL, TEXTS),
        lambda one: one.delete(MODEL),
    ]
    for act in acts:
        refused(ollama.ResponseError, lambda: act(client("not-a-key")), status_code=401)
        refused(ollama.ResponseError, lambda: act(client(REFUSED_TOKEN)), status_code=403)
    for act in (lambda one: one.list(), lambda one: one.ps(), lambda one: one.show(MODEL)):
        refused(ollama.ResponseError, lambda: act(client("not-a-key")), status_code=401)


if __name__ == "__main__":
    main()

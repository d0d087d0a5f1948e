"""LiteLLM, as the provider `openai` with an address of its own; it tells errors apart by status, and a long prompt by words."""

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # no look at a list of prices in the network

import litellm
from cells import EMBEDDING_MODEL, MODEL, QUESTION, REFUSED_TOKEN, TEXTS, TOKEN, TOO_LONG, TOOL, TOOL_RESULT, URL
from cells import Pressure, Reading, cell, main, refused

litellm.telemetry = False
litellm.suppress_debug_info = True


def at(token):
    return {"api_base": f"{URL}/v1", "api_key": token, "max_retries": 0, "timeout": 60}


def chat(messages=QUESTION, token=TOKEN, **more):
    options = {"model": f"openai/{MODEL}", "messages": messages, "temperature": 0, "max_tokens": 32}
    return litellm.completion(**{**options, **at(token), **more})


def embed(token=TOKEN, model=EMBEDDING_MODEL, **more):
    return litellm.embedding(model=f"openai/{model}", input=TEXTS, encoding_format="float", **at(token), **more)


@cell("list")
def models():
    listed = litellm.get_valid_models(
        check_provider_endpoint=True, custom_llm_provider="openai", api_key=TOKEN, api_base=URL
    )
    assert any(name.removeprefix("openai/") == MODEL for name in listed), listed


@cell("chat")
def answers():
    answer = chat()
    assert answer.choices[0].message.content.strip() and answer.choices[0].finish_reason in ("stop", "length"), answer
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0, answer.usage


@cell("stream")
def streams_the_same_answer():
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    built, whole = litellm.stream_chunk_builder(chunks, messages=QUESTION), chat()
    assert built.choices[0].message.content == whole.choices[0].message.content, (built, whole)
    assert built.usage.completion_tokens == whole.usage.completion_tokens, built.usage


@cell("tools")
def a_forced_call_is_made_and_its_result_answered():
    streamed = litellm.stream_chunk_builder(list(chat(tools=[TOOL], tool_choice="required", max_tokens=160, stream=True)))
    named = {"type": "function", "function": {"name": "pressure"}}
    for answer in (chat(tools=[TOOL], tool_choice=named, max_tokens=160), streamed):
        message = answer.choices[0].message
        call = message.tool_calls[0]
        Pressure.model_validate_json(call.function.arguments)
        result = {"role": "tool", "tool_call_id": call.id, "content": TOOL_RESULT}
        again = chat([*QUESTION, message, result], tools=[TOOL], tool_choice="none")
        assert again.choices[0].message.content is not None, again
    chat(tools=[TOOL], tool_choice="auto")


@cell("schema")
def the_answer_has_the_type():
    Reading.model_validate_json(chat(response_format=Reading, max_tokens=160).choices[0].message.content)


@cell("embeddings")
def embeds():
    answer = embed()
    assert len(answer.data) == 2 and len(answer.data[0]["embedding"]) > 0 and answer.usage.prompt_tokens > 0, answer


@cell("errors")
def errors_have_their_class():
    refused(litellm.NotFoundError, lambda: chat(model="openai/no-such-model"), status_code=404)
    refused(litellm.BadRequestError, lambda: chat(temperature=9), status_code=400)
    refused(litellm.ContextWindowExceededError, lambda: chat(TOO_LONG), status_code=400)
    refused(litellm.NotFoundError, lambda: embed(model="no-such-model"), status_code=404)


@cell("denied")
def nobody_gets_in_who_should_not():
    for act in (lambda token: chat(token=token), lambda token: embed(token=token)):
        refused(litellm.AuthenticationError, lambda: act("not-a-key"), status_code=401)
        # For this provider its class for 403 is the general one.
        refused(litellm.APIError, lambda: act(REFUSED_TOKEN), status_code=403)


if __name__ == "__main__":
    main()

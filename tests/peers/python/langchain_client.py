"""LangChain's OpenAI package: bound tools, structured output, embeddings, usage."""

import openai
from cells import EMBEDDING_MODEL, MODEL, REFUSED_TOKEN, TEXTS, TOKEN, TOO_LONG, TOOL_RESULT, URL, Pressure, Reading
from cells import absent, cell, main, refused
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

QUESTION = [HumanMessage("How does a device enrol?")]

absent("list", "the package has no call that lists models")


def chat(token=TOKEN, model=MODEL, **more):
    options = {"temperature": 0, "max_tokens": 160, "max_retries": 0, "timeout": 60}
    return ChatOpenAI(base_url=f"{URL}/v1", api_key=token, model=model, **{**options, **more})


def embedder(token=TOKEN, model=EMBEDDING_MODEL):
    # Otherwise it would cut texts into tokens of a vocabulary that it fetches from the network.
    return OpenAIEmbeddings(base_url=f"{URL}/v1", api_key=token, model=model, max_retries=0, check_embedding_ctx_length=False)


@cell("chat")
def answers():
    answer = chat().invoke(QUESTION)
    assert answer.content.strip() and answer.response_metadata["finish_reason"] in ("stop", "length"), answer
    assert answer.usage_metadata["total_tokens"] > answer.usage_metadata["output_tokens"] > 0, answer.usage_metadata
    assert chat(use_responses_api=True).invoke(QUESTION).text.strip()


@cell("stream")
def streams_the_same_answer():
    for extra in ({}, {"use_responses_api": True}):
        whole, parts = chat(**extra).invoke(QUESTION), None
        for part in chat(stream_usage=True, **extra).stream(QUESTION):
            parts = part if parts is None else parts + part
        assert parts.text == whole.text, (parts, whole)
        assert parts.usage_metadata["output_tokens"] == whole.usage_metadata["output_tokens"], parts.usage_metadata


@cell("tools")
def a_forced_call_is_made_and_its_result_answered():
    for choice in ("any", "Pressure"):
        bound = chat().bind_tools([Pressure], tool_choice=choice)
        streamed = None
        for part in bound.stream(QUESTION):
            streamed = part if streamed is None else streamed + part
        for message in (bound.invoke(QUESTION), streamed):
            assert not message.invalid_tool_calls, message
            call = message.tool_calls[0]
            Pressure.model_validate(call["args"])
            result = ToolMessage(TOOL_RESULT, tool_call_id=call["id"])
            chat().bind_tools([Pressure], tool_choice="none").invoke([*QUESTION, message, result])
    chat().bind_tools([Pressure]).invoke(QUESTION)


@cell("schema")
def the_answer_has_the_type():
    for method in ("json_schema", "function_calling"):
        assert isinstance(chat().with_structured_output(Reading, method=method).invoke(QUESTION), Reading), method


@cell("embeddings")
def embeds():
    vectors, one = embedder().embed_documents(TEXTS), embedder().embed_query(TEXTS[0])
    assert len(vectors) == 2 and len(one) == len(vectors[0]) > 0
    assert max(abs(a - b) for a, b in zip(one, vectors[0])) < 1e-4


@cell("errors")
def errors_have_their_class():
    refused(openai.NotFoundError, lambda: chat(model="no-such-model").invoke(QUESTION), status_code=404)
    refused(openai.BadRequestError, lambda: chat(temperature=9).invoke(QUESTION), status_code=400)
    refused(ContextOverflowError, lambda: chat().invoke(TOO_LONG), status_code=400)
    refused(openai.NotFoundError, lambda: embedder(model="no-such-model").embed_query(TEXTS[0]), status_code=404)


@cell("denied")
def nobody_gets_in_who_should_not():
    for act in (lambda token: chat(token).invoke(QUESTION), lambda token: embedder(token).embed_query(TEXTS[0])):
        refused(openai.AuthenticationError, lambda: act("not-a-key"), status_code=401)
        refused(openai.PermissionDeniedError, lambda: act(REFUSED_TOKEN), status_code=403)


if __name__ == "__main__":
    main()

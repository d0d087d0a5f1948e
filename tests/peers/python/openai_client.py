"""The official OpenAI client for Python: chat, completions and responses, whole and streamed."""

import openai
from cells import ADMIN_TOKEN, EMBEDDING_MODEL, MODEL, QUESTION, REFUSED_TOKEN, TEXTS, TOKEN, TOO_LONG, TOOL, TOOL_RESULT
from cells import URL, Pressure, Reading, cell, main, refused

GREEDY = {"model": MODEL, "temperature": 0}
RESPONSES_TOOL = {"type": "function", "strict": True, **TOOL["function"]}


def client(token=TOKEN):
    return openai.OpenAI(base_url=f"{URL}/v1", api_key=token, max_retries=0, timeout=60)


def chat(messages=QUESTION, **more):
    return client().chat.completions.create(messages=messages, **{**GREEDY, "max_tokens": 32, **more})


def adds_up(usage):
    assert usage.prompt_tokens > 0 and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage


@cell("list")
def models():
    listed = list(client().models.list())
    assert {MODEL, EMBEDDING_MODEL} <= {model.id for model in listed}, listed
    assert client().models.retrieve(MODEL).id == MODEL


@cell("chat")
def answers():
    answer = chat()
    assert answer.choices[0].message.content.strip(), answer
    assert answer.choices[0].finish_reason in ("stop", "length"), answer
    adds_up(answer.usage)


@cell("chat")
def several_choices_with_probabilities():
    answer = chat(n=2, seed=7, temperature=1, max_tokens=4, logprobs=True, top_logprobs=2, stop=["\n\n"], logit_bias={"5": -100})
    assert [choice.index for choice in answer.choices] == [0, 1], answer
    for choice in answer.choices:
        for token in choice.logprobs.content:
            assert token.logprob <= 0 and len(token.top_logprobs) == 2, token


@cell("chat")
def the_same_beginning_is_not_read_twice():
    long = [{"role": "system", "content": "You answer questions about Outpost. " * 8}, *QUESTION]
    first, second = chat(long, max_tokens=8), chat(long, max_tokens=8)
    cached = second.usage.prompt_tokens_details.cached_tokens
    assert 0 < cached < second.usage.prompt_tokens, second.usage
    assert second.choices[0].message.content == first.choices[0].message.content, (first, second)


@cell("chat")
def completions_with_echo():
    answer = client().completions.create(prompt="A device enrols", echo=True, logprobs=2, max_tokens=4, **GREEDY)
    choice = answer.choices[0]
    assert choice.text.startswith("A device enrols"), choice
    assert "".join(choice.logprobs.tokens) == choice.text, choice.logprobs
    # The first token of a prompt follows nothing.
    assert choice.logprobs.token_logprobs[0] is None and choice.logprobs.token_logprobs[-1] <= 0, choice.logprobs
    assert len(choice.logprobs.text_offset) == len(choice.logprobs.tokens), choice.logprobs
    adds_up(answer.usage)


@cell("chat")
def responses_that_follow_one_another():
    first = client().responses.create(input="How does a device enrol?", max_output_tokens=16, store=True, **GREEDY)
    assert first.output_text.strip() and first.usage.total_tokens > 0, first
    second = client().responses.create(
        input="And then?", previous_response_id=first.id, max_output_tokens=16, store=True, **GREEDY
    )
    assert second.previous_response_id == first.id and second.usage.input_tokens > first.usage.input_tokens, second
    kept = client().responses.retrieve(first.id)
    assert kept.output_text == first.output_text, kept
    # What one caller stored is nobody else's.
    refused(openai.NotFoundError, lambda: client(ADMIN_TOKEN).responses.retrieve(first.id), status_code=404)
    client().responses.delete(first.id)
    refused(openai.NotFoundError, lambda: client().responses.retrieve(first.id), status_code=404)


@cell("stream")
def streams_the_same_answer():
    whole = chat()
    text, usage, finish = "", None, None
    for chunk in chat(stream=True, stream_options={"include_usage": True}):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
        usage = chunk.usage or usage
    assert text == whole.choices[0].message.content, (text, whole)
    assert finish == whole.choices[0].finish_reason, finish
    assert usage.completion_tokens == whole.usage.completion_tokens, usage


@cell("stream")
def streams_completions():
    whole = client().completions.create(prompt="A device", max_tokens=8, **GREEDY).choices[0].text
    chunks = client().completions.create(prompt="A device", max_tokens=8, stream=True, **GREEDY)
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole


@cell("stream")
def streams_responses():
    with client().responses.stream(input="How does a device enrol?", max_output_tokens=96, **GREEDY) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events))), events
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text and text == final.output_text, final


@cell("stream")
def a_client_that_leaves_is_let_go():
    with chat(stream=True, max_tokens=400) as stream:
        next(iter(stream))
    assert chat(max_tokens=4).choices, "no answer after a stream was left"


@cell("tools")
def a_forced_call_is_made_and_its_result_answered():
    for choice in ("required", {"type": "function", "function": {"name": "pressure"}}):
        message = chat(tools=[TOOL], tool_choice=choice, max_tokens=160).choices[0].message
        call = message.tool_calls[0]
        Pressure.model_validate_json(call.function.arguments)
        assert call.id and call.type == "function" and call.function.name == "pressure", call
        result = {"role": "tool", "tool_call_id": call.id, "content": TOOL_RESULT}
        answer = chat([*QUESTION, message.model_dump(exclude_none=True), result], tools=[TOOL], tool_choice="none")
        assert answer.choices[0].message.content is not None and not answer.choices[0].message.tool_calls, answer


@cell("tools")
def a_forced_call_is_streamed():
    typed = openai.pydantic_function_tool(Pressure, name="pressure")
    with client().chat.completions.stream(
        messages=QUESTION, tools=[typed], tool_choice="required", max_tokens=160, **GREEDY
    ) as stream:
        kinds = {event.type for event in stream}
        choice = stream.get_final_completion().choices[0]
    assert "tool_calls.function.arguments.done" in kinds, kinds
    assert isinstance(choice.message.tool_calls[0].function.parsed_arguments, Pressure), choice
    assert choice.finish_reason == "tool_calls", choice


@cell("tools")
def a_free_choice_and_a_single_call_are_fine():
    answer = chat(tools=[TOOL], tool_choice="auto", max_tokens=160)
    for call in answer.choices[0].message.tool_calls or []:
        Pressure.model_validate_json(call.function.arguments)
    single = chat(tools=[TOOL], tool_choice="required", parallel_tool_calls=False, max_tokens=160)
    assert len(single.choices[0].message.tool_calls) == 1, single


@cell("tools")
def responses_call_too():
    ask = [{"role": "user", "content": "How does a device enrol?"}]
    first = client().responses.create(
        input=ask, tools=[RESPONSES_TOOL], tool_choice="required", max_output_tokens=160, **GREEDY
    )
    call = next(item for item in first.output if item.type == "function_call")
    Pressure.model_validate_json(call.arguments)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": TOOL_RESULT}
    again = [*ask, call.model_dump(exclude_none=True), result]
    second = client().responses.create(
        input=again, tools=[RESPONSES_TOOL], tool_choice="none", max_output_tokens=16, **GREEDY
    )
    assert any(item.type == "message" for item in second.output), second


@cell("schema")
def parses_into_a_type():
    answer = client().chat.completions.parse(messages=QUESTION, response_format=Reading, max_tokens=160, **GREEDY)
    assert isinstance(answer.choices[0].message.parsed, Reading), answer
    with client().chat.completions.stream(messages=QUESTION, response_format=Reading, max_tokens=160, **GREEDY) as stream:
        stream.until_done()
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Reading)


@cell("schema")
def responses_parse_too():
    answer = client().responses.parse(input="How does a device enrol?", text_format=Reading, max_output_tokens=160, **GREEDY)
    assert isinstance(answer.output_parsed, Reading), answer


@cell("embeddings")
def embeds():
    # The client asks for base64 by itself; both forms hold the same numbers.
    packed = client().embeddings.create(model=EMBEDDING_MODEL, input=TEXTS)
    plain = client().embeddings.create(model=EMBEDDING_MODEL, input=TEXTS, encoding_format="float")
    assert [one.index for one in packed.data] == [0, 1], packed
    for left, right in zip(packed.data, plain.data):
        assert len(left.embedding) == len(right.embedding) > 0
        assert max(abs(a - b) for a, b in zip(left.embedding, right.embedding)) < 1e-6
        assert abs(sum(number * number for number in right.embedding) - 1) < 1e-3
    assert packed.usage.prompt_tokens == packed.usage.total_tokens > 0, packed.usage


@cell("errors")
def errors_have_their_class():
    ask = client().chat.completions.create
    unknown = refused(openai.NotFoundError, lambda: ask(model="no-such-model", messages=QUESTION), status_code=404)
    assert unknown.code == "model_not_found", unknown
    bad = refused(openai.BadRequestError, lambda: ask(model=MODEL, messages=QUESTION, temperature=9), status_code=400)
    assert bad.param == "temperature", bad
    long = refused(openai.BadRequestError, lambda: ask(model=MODEL, messages=TOO_LONG), status_code=400)
    assert long.code == "context_length_exceeded", long
    refused(openai.NotFoundError, lambda: client().models.retrieve("no-such-model"), status_code=404)
    refused(openai.NotFoundError, lambda: client().embeddings.create(model="no-such-model", input=TEXTS))
    refused(openai.NotFoundError, lambda: client().responses.create(model="no-such-model", input="Hello"))
    impossible = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}
    refused(openai.BadRequestError, lambda: ask(model=MODEL, messages=QUESTION, response_format=impossible), status_code=400)


@cell("denied")
def nobody_gets_in_who_should_not():
    acts = [
        lambda one: one.chat.completions.create(model=MODEL, messages=QUESTION),
        lambda one: one.chat.completions.create(model=MODEL, messages=QUESTION, stream=True),
        lambda one: one.completions.create(model=MODEL, prompt="A device"),
        lambda one: one.responses.create(model=MODEL, input="Hello"),
        lambda one: one.embeddings.create(model=EMBEDDING_MODEL, input=TEXTS),
    ]
    for act in acts:
        refused(openai.AuthenticationError, lambda: act(client("not-a-key")), status_code=401)
        refused(openai.PermissionDeniedError, lambda: act(client(REFUSED_TOKEN)), status_code=403)
    refused(openai.AuthenticationError, lambda: client("not-a-key").models.list(), status_code=401)


if __name__ == "__main__":
    main()

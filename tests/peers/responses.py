"""The seven cases of the Open Responses compliance suite, rebuilt: every answer and every event against the specification's types.

    responses.py        reads OUTPOST_URL, OUTPOST_TOKEN and OUTPOST_MODEL from the environment

The suite itself is in no package registry. The requests say what its public description says, and the types are those that the
package `openresponses-types` generates from the specification; they are applied strictly, so that a number is no text. Two
differences: a call is required rather than hoped for, since the model that is tested may be tiny; and the order and the sums of
a stream are checked too. A model that only reads text may refuse the image, with a reason: that is told, and not counted as passed.
"""

import json
import os
import sys

import httpx
import openresponses_types as types
import pydantic

URL, TOKEN, MODEL = (os.environ[f"OUTPOST_{name}"] for name in ("URL", "TOKEN", "MODEL"))
# A red dot.
IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4//8/w38GIAXDIBKE0DHxgljNBAAO"
    "9TXL0Y4OHwAAAABJRU5ErkJggg=="
)
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather for a location",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string", "description": "The city and state", "maxLength": 12}},
        "required": ["location"],
        "additionalProperties": False,
    },
}


def events():
    """The specification's events by the value of their `type`."""
    found = {}
    for name, kind in vars(types).items():
        if name.endswith("StreamingEvent") and issubclass(kind, pydantic.BaseModel):
            (value,) = kind.model_fields["type"].annotation
            found[str(value)] = kind
    return found


EVENTS = events()


class Broken(Exception):
    """What the server did against the specification."""


class Refused(Exception):
    """What the server declined with a reason."""


def hold(held, problem):
    if not held:
        raise Broken(problem)


def strictly(kind, text, what):
    try:
        return kind.model_validate_json(text, strict=True)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise Broken(f"{what}: {'.'.join(map(str, first['loc']))}: {first['msg']} ({error.error_count()} in all)") from None


def user(content):
    return {"type": "message", "role": "user", "content": content}


def post(body):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx.stream("POST", f"{URL}/v1/responses", json={"model": MODEL, "temperature": 0, **body}, headers=headers, timeout=60)


def answer(**body):
    with post(body) as response:
        text = response.read().decode()
    hold(response.status_code == 200, f"{response.status_code}: {text[:300]}")
    return strictly(types.ResponseResource, text, "the response")


def stream(**body):
    """The final response of a stream whose every event is checked, and the events."""
    told, kind, done = [], None, False
    with post({**body, "stream": True}) as response:
        if response.status_code != 200:
            raise Broken(f"{response.status_code}: {response.read().decode()[:300]}")
        hold(response.headers["content-type"].startswith("text/event-stream"), response.headers["content-type"])
        for line in response.iter_lines():
            hold(not done or not line, f"after [DONE]: {line}")
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line == "data: [DONE]":
                done = True
            elif line.startswith("data: "):
                text = line.removeprefix("data: ")
                event = json.loads(text)
                hold(event["type"] in EVENTS, f"the event {event['type']} is not in the specification")
                hold(kind == event["type"], f"the line `event: {kind}` carries {event['type']}")
                strictly(EVENTS[event["type"]], text, event["type"])
                told.append(event)
    hold(done, "the stream does not end in [DONE]")
    hold([event["sequence_number"] for event in told] == list(range(len(told))), "the sequence numbers have gaps")
    in_order(told)
    return types.ResponseResource.model_validate(told[-1]["response"]), told


def in_order(told):
    """Every item and part is added before it is filled and done before the end, and the pieces add up to the whole."""
    kinds = [event["type"] for event in told]
    hold(kinds[:2] == ["response.created", "response.in_progress"], f"it begins with {kinds[:2]}")
    hold(kinds[-1] == "response.completed", f"it ends with {kinds[-1]}")
    hold({event["response"]["id"] for event in told if "response" in event} == {told[0]["response"]["id"]}, "the id changes")
    open_items, finished, pieces = {}, [], {}
    for event in told:
        kind, index = event["type"], event.get("output_index")
        if kind == "response.output_item.added":
            hold(index == len(open_items) + len(finished), f"item {index} is added out of turn")
            open_items[index] = event["item"]
        elif kind == "response.output_item.done":
            hold(open_items.pop(index)["id"] == event["item"]["id"], f"item {index} changed its id")
            finished.append(event["item"])
        elif index is not None:
            hold(index in open_items and event["item_id"] == open_items[index]["id"], f"{kind} belongs to no open item")
            place = (index, event.get("content_index"), kind.rsplit(".", 1)[0])
            if kind.endswith(".delta"):
                pieces[place] = pieces.get(place, "") + event["delta"]
            elif kind in ("response.output_text.done", "response.function_call_arguments.done"):
                whole = event["text"] if "text" in event else event["arguments"]
                hold(pieces.get(place, "") == whole, f"the pieces of {place} are {pieces.get(place)!r}, the whole is {whole!r}")
    hold(not open_items, f"items {list(open_items)} were never done")
    hold(told[-1]["response"]["output"] == finished, "the final response differs from the items that were done")


def completed(response):
    hold(response.status == "completed", f"the status is {response.status}")
    hold(response.output, "there is no output")


def called(response):
    calls = [item for item in response.output if item.type == "function_call"]
    hold(calls, f"no call among {[str(item.type) for item in response.output]}")
    for call in calls:
        arguments = json.loads(call.arguments)
        hold(set(arguments) == {"location"} and isinstance(arguments["location"], str), f"the arguments are {arguments}")


def basic_response():
    completed(answer(input=[user("Say hello in exactly 3 words.")]))


def streaming_response():
    response, told = stream(input=[user("Count from 1 to 5.")])
    completed(response)
    kinds = {event["type"] for event in told}
    for kind in ("output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done"):
        hold(f"response.{kind}" in kinds, f"no event response.{kind}")


def system_prompt():
    pirate = {"type": "message", "role": "system", "content": "You are a pirate. Always respond in pirate speak."}
    completed(answer(input=[pirate, user("Say hello.")]))


def tool_calling():
    called(answer(input=[user("What's the weather like in San Francisco?")], tools=[WEATHER], tool_choice="required"))


def tool_calling_streaming():
    ask = [user("What's the weather like in San Francisco?")]
    response, told = stream(input=ask, tools=[WEATHER], tool_choice="required")
    called(response)
    kinds = {event["type"] for event in told}
    for kind in ("function_call_arguments.delta", "function_call_arguments.done"):
        hold(f"response.{kind}" in kinds, f"no event response.{kind}")
    for kind in ("added", "done"):
        items = [event["item"]["type"] for event in told if event["type"] == f"response.output_item.{kind}"]
        hold("function_call" in items, f"no call among the items {kind}: {items}")


def image_input():
    text = {"type": "input_text", "text": "What do you see in this image? Answer in one sentence."}
    with post({"input": [user([text, {"type": "input_image", "image_url": IMAGE}])]}) as response:
        body = response.read().decode()
    if response.status_code == 400:
        error = json.loads(body)["error"]
        hold(error["type"] == "invalid_request_error" and "image" in error["message"], f"refused without a reason: {body}")
        raise Refused(error["message"])
    hold(response.status_code == 200, f"{response.status_code}: {body[:300]}")
    completed(strictly(types.ResponseResource, body, "the response"))


def multi_turn():
    said = {"type": "message", "role": "assistant", "content": "Hello Alice! Nice to meet you. How can I help you today?"}
    completed(answer(input=[user("My name is Alice."), said, user("What is my name?")]))


CASES = [basic_response, streaming_response, system_prompt, tool_calling, tool_calling_streaming, image_input, multi_turn]


def main():
    passed = failed = skipped = 0
    for case in CASES:
        name = case.__name__.replace("_", "-")
        try:
            case()
            passed += 1
            print(f"✓    {name}")
        except Refused as reason:
            skipped += 1
            print(f"–    {name}: refused: {reason}")
        except Exception as error:  # every case is told, whatever it died of
            failed += 1
            print(f"FAIL {name}: {error if isinstance(error, Broken) else repr(error)}")
    print(f"responses: {passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(failed > 0)


main()

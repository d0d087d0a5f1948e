// The official Anthropic client for JavaScript over `/v1/messages`, with its own header for keys and with a bearer token.

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { messages, model, parameters, Pressure, refused, refusedToken, run, token, toolResult, tooLong, url } from "./cells.mjs";

const common = { baseURL: url, maxRetries: 0, timeout: 60_000 };
const client = (apiKey = token) => new Anthropic({ ...common, apiKey, authToken: null });
const ask = (more = {}) => ({ model, messages, max_tokens: 32, temperature: 0, ...more });
const tools = [{ name: "pressure", description: "Read a pump.", input_schema: parameters }];
const text = (message) => message.content.filter((block) => block.type === "text").map((block) => block.text).join("");

async function models() {
  const ids = [];
  for await (const one of client().models.list()) ids.push(one.id);
  assert.ok(ids.includes(model), `${ids}`);
}

async function answers() {
  const answer = await client().messages.create(ask({ system: "You answer questions about Outpost." }));
  assert.equal(answer.type, "message");
  assert.equal(answer.role, "assistant");
  assert.ok(text(answer).trim());
  assert.match(answer.stop_reason, /^(end_turn|max_tokens)$/);
  assert.ok(answer.usage.input_tokens > 0 && answer.usage.output_tokens > 0, JSON.stringify(answer.usage));
  const bearer = new Anthropic({ ...common, apiKey: null, authToken: token });
  assert.equal(text(await bearer.messages.create(ask())), text(await client().messages.create(ask())));
}

async function stopsAtAWord() {
  const whole = text(await client().messages.create(ask()));
  const word = whole.trim().split(/\s+/)[1];
  const answer = await client().messages.create(ask({ stop_sequences: [word] }));
  assert.equal(answer.stop_reason, "stop_sequence");
  assert.equal(answer.stop_sequence, word);
  assert.equal(text(answer), whole.slice(0, whole.indexOf(word)));
}

async function counts() {
  const counted = await client().messages.countTokens({ model, messages });
  assert.equal(counted.input_tokens, (await client().messages.create(ask())).usage.input_tokens);
}

async function streamsTheSameAnswer() {
  const stream = client().messages.stream(ask());
  const events = [];
  for await (const event of stream) events.push(event.type);
  assert.equal(events[0], "message_start");
  assert.deepEqual(events.slice(-3), ["content_block_stop", "message_delta", "message_stop"]);
  const [whole, final] = [await client().messages.create(ask()), await stream.finalMessage()];
  assert.equal(text(final), text(whole));
  assert.equal(final.usage.output_tokens, whole.usage.output_tokens);
}

async function aForcedCallIsMadeAndItsResultAnswered() {
  const forced = (tool_choice) => ask({ tools, tool_choice, max_tokens: 160 });
  const whole = await client().messages.create(forced({ type: "tool", name: "pressure" }));
  const streamed = await client().messages.stream(forced({ type: "any" })).finalMessage();
  for (const answer of [whole, streamed]) {
    assert.equal(answer.stop_reason, "tool_use");
    const call = answer.content.find((block) => block.type === "tool_use");
    Pressure.parse(call.input);
    const result = { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: toolResult }] };
    const history = [...messages, { role: "assistant", content: answer.content }, result];
    const again = await client().messages.create(ask({ messages: history, tools, tool_choice: { type: "none" } }));
    assert.notEqual(again.stop_reason, "tool_use");
  }
  await client().messages.create(ask({ tools, tool_choice: { type: "auto" } }));
}

async function theAnswerHasTheType() {
  // The helper drops the bounds of numbers, so the type here is one of words.
  const output_config = { format: zodOutputFormat(Pressure) };
  Pressure.parse((await client().messages.parse(ask({ output_config, max_tokens: 160 }))).parsed_output);
}

async function errorsHaveTheirClass() {
  const nobody = () => client().messages.create(ask({ model: "no-such-model" }));
  const unknown = await refused(Anthropic.NotFoundError, nobody, { status: 404 });
  assert.equal(unknown.error.type, "error");
  assert.equal(unknown.error.error.type, "not_found_error");
  const bad = await refused(Anthropic.BadRequestError, () => client().messages.create(ask({ temperature: 9 })), { status: 400 });
  assert.equal(bad.error.error.type, "invalid_request_error");
  assert.match(bad.error.error.message, /temperature/);
  await refused(Anthropic.BadRequestError, () => client().messages.create(ask({ messages: tooLong })), { status: 400 });
}

async function nobodyGetsInWhoShouldNot() {
  for (const more of [{}, { stream: true }]) {
    const call = (key) => () => client(key).messages.create(ask(more));
    const stranger = await refused(Anthropic.AuthenticationError, call("not-a-key"), { status: 401 });
    assert.equal(stranger.error.error.type, "authentication_error");
    const auditor = await refused(Anthropic.PermissionDeniedError, call(refusedToken), { status: 403 });
    assert.equal(auditor.error.error.type, "permission_error");
  }
}

await run({
  list: models,
  chat: [answers, stopsAtAWord, counts],
  stream: streamsTheSameAnswer,
  tools: aForcedCallIsMadeAndItsResultAnswered,
  schema: theAnswerHasTheType,
  embeddings: "the protocol has no embeddings",
  errors: errorsHaveTheirClass,
  denied: nobodyGetsInWhoShouldNot,
});

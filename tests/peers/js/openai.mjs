// The official OpenAI client for JavaScript: chat, completions and responses, whole and streamed.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { adminToken, embeddingModel, messages, model, parameters, Pressure, question, Reading, refused } from "./cells.mjs";
import { refusedToken, run, texts, token, tool, toolResult, tooLong, url } from "./cells.mjs";

const client = (apiKey = token) => new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, timeout: 60_000 });
const greedy = { model, temperature: 0 };
const chat = (more = {}) => client().chat.completions.create({ messages, max_tokens: 32, ...greedy, ...more });
const respond = (more) => client().responses.create({ input: question, max_output_tokens: 16, ...greedy, ...more });

async function models() {
  const ids = [];
  for await (const one of client().models.list()) ids.push(one.id);
  assert.ok(ids.includes(model) && ids.includes(embeddingModel), `${ids}`);
  assert.equal((await client().models.retrieve(model)).id, model);
}

async function answers() {
  const answer = await chat();
  assert.ok(answer.choices[0].message.content.trim());
  assert.match(answer.choices[0].finish_reason, /^(stop|length)$/);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
}

async function completes() {
  const answer = await client().completions.create({ prompt: ["A device", "A model"], max_tokens: 4, ...greedy });
  assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1]);
}

async function responds() {
  const first = await respond({ store: true });
  assert.ok(first.output_text.trim());
  const second = await respond({ input: "And then?", previous_response_id: first.id, store: true });
  assert.equal(second.previous_response_id, first.id);
  const items = await client().responses.inputItems.list(first.id);
  assert.ok(items.data.length > 0);
  await refused(OpenAI.NotFoundError, () => client(adminToken).responses.retrieve(first.id), { status: 404 });
  await client().responses.delete(first.id);
  await refused(OpenAI.NotFoundError, () => client().responses.retrieve(first.id), { status: 404 });
}

async function streamsTheSameAnswer() {
  const whole = await chat();
  let [text, usage] = ["", null];
  for await (const chunk of await chat({ stream: true, stream_options: { include_usage: true } })) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
}

async function streamsResponses() {
  const stream = client().responses.stream({ input: question, max_output_tokens: 16, ...greedy });
  let [text, next] = ["", 0];
  for await (const event of stream) {
    assert.equal(event.sequence_number, next++);
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  assert.ok(text);
  assert.equal((await stream.finalResponse()).output_text, text);
}

async function aClientThatLeavesIsLetGo() {
  const stream = await chat({ stream: true, max_tokens: 400 });
  for await (const _ of stream) break;
  assert.ok((await chat({ max_tokens: 4 })).choices.length);
}

async function aForcedCallIsMadeAndItsResultAnswered() {
  const named = { type: "function", function: { name: "pressure" } };
  const forced = { messages, tools: [tool], tool_choice: "required", max_tokens: 160, ...greedy };
  const streamed = await client().chat.completions.stream(forced).finalChatCompletion();
  const whole = await chat({ tools: [tool], tool_choice: named, max_tokens: 160 });
  for (const answer of [whole, streamed]) {
    const { message } = answer.choices[0];
    const [call] = message.tool_calls;
    Pressure.parse(JSON.parse(call.function.arguments));
    const result = { role: "tool", tool_call_id: call.id, content: toolResult };
    const again = await chat({ messages: [...messages, message, result], tools: [tool], tool_choice: "none" });
    assert.equal(typeof again.choices[0].message.content, "string");
  }
  await chat({ tools: [tool], tool_choice: "auto" });
}

async function aTypedCallIsParsed() {
  const answer = await client().chat.completions.parse({
    messages, tools: [zodFunction({ name: "pressure", parameters: Pressure })], tool_choice: "required", max_tokens: 160, ...greedy,
  });
  Pressure.parse(answer.choices[0].message.tool_calls[0].function.parsed_arguments);
}

async function responsesCallToo() {
  const tools = [{ type: "function", name: "pressure", strict: true, parameters }];
  const answer = await respond({ tools, tool_choice: { type: "function", name: "pressure" }, max_output_tokens: 160 });
  Pressure.parse(JSON.parse(answer.output.find((item) => item.type === "function_call").arguments));
}

async function parsesIntoAType() {
  const format = { response_format: zodResponseFormat(Reading, "reading"), max_tokens: 160 };
  const answer = await client().chat.completions.parse({ messages, ...greedy, ...format });
  Reading.parse(answer.choices[0].message.parsed);
  const text = { format: zodTextFormat(Reading, "reading") };
  Reading.parse((await client().responses.parse({ input: question, text, max_output_tokens: 160, ...greedy })).output_parsed);
}

async function embeds() {
  const answer = await client().embeddings.create({ model: embeddingModel, input: texts });
  assert.equal(answer.data.length, 2);
  assert.ok(answer.data[0].embedding.length > 0 && answer.usage.prompt_tokens > 0);
}

async function errorsHaveTheirClass() {
  await refused(OpenAI.NotFoundError, () => chat({ model: "no-such-model" }), { status: 404, code: "model_not_found" });
  await refused(OpenAI.BadRequestError, () => chat({ temperature: 9 }), { status: 400, param: "temperature" });
  await refused(OpenAI.BadRequestError, () => chat({ messages: tooLong }), { status: 400, code: "context_length_exceeded" });
  await refused(OpenAI.NotFoundError, () => client().models.retrieve("no-such-model"), { status: 404 });
}

async function nobodyGetsInWhoShouldNot() {
  const acts = [
    (one) => one.chat.completions.create({ model, messages }),
    (one) => one.chat.completions.create({ model, messages, stream: true }),
    (one) => one.completions.create({ model, prompt: "A device" }),
    (one) => one.responses.create({ model, input: question }),
    (one) => one.embeddings.create({ model: embeddingModel, input: texts }),
  ];
  for (const act of acts) {
    await refused(OpenAI.AuthenticationError, () => act(client("not-a-key")), { status: 401 });
    await refused(OpenAI.PermissionDeniedError, () => act(client(refusedToken)), { status: 403 });
  }
}

await run({
  list: models,
  chat: [answers, completes, responds],
  stream: [streamsTheSameAnswer, streamsResponses, aClientThatLeavesIsLetGo],
  tools: [aForcedCallIsMadeAndItsResultAnswered, aTypedCallIsParsed, responsesCallToo],
  schema: parsesIntoAType,
  embeddings: embeds,
  errors: errorsHaveTheirClass,
  denied: nobodyGetsInWhoShouldNot,
});

// The AI SDK with its provider for OpenAI-compatible servers; it checks every chunk of a stream against a schema.

import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, embedMany, generateText, isStepCount, Output, streamText, tool } from "ai";
import { embeddingModel, messages, model, Pressure, Reading, refused } from "./cells.mjs";
import { refusedToken, run, texts, token, tooLong, url } from "./cells.mjs";

const provider = (apiKey = token) =>
  createOpenAICompatible({ name: "outpost", baseURL: `${url}/v1`, apiKey, includeUsage: true, supportsStructuredOutputs: true });
const ask = (more = {}, key) => ({
  model: provider(key)(model), messages, temperature: 0, maxOutputTokens: 32, maxRetries: 0, ...more,
});
const pressure = tool({ description: "Read a pump.", inputSchema: Pressure, execute: async () => ({ bar: 4 }) });
const embedder = (key, name = embeddingModel) => provider(key).embeddingModel(name);

async function answers() {
  const answer = await generateText(ask());
  assert.ok(answer.text.trim());
  assert.match(answer.finishReason, /^(stop|length)$/);
  assert.ok(answer.usage.inputTokens > 0 && answer.usage.outputTokens > 0, JSON.stringify(answer.usage));
}

async function completes() {
  const completion = provider().completionModel(model);
  const options = { prompt: "A device", maxOutputTokens: 8, temperature: 0, maxRetries: 0 };
  assert.ok((await generateText({ model: completion, ...options })).text);
}

async function streamsTheSameAnswer() {
  const stream = streamText(ask({ onError: () => {} }));
  let text = "";
  for await (const part of stream.fullStream) {
    if (part.type === "error") throw part.error;
    if (part.type === "text-delta") text += part.text;
  }
  assert.equal(text, (await generateText(ask())).text);
  assert.ok((await stream.usage).outputTokens > 0);
}

async function aForcedCallIsMadeAndItsResultAnswered() {
  // The first step has to call; the tool runs here, its result goes back, and the second step answers.
  const steps = (choice) => ({
    tools: { pressure }, maxOutputTokens: 160, stopWhen: isStepCount(2),
    prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? choice : "none" }),
  });
  const whole = await generateText(ask(steps({ type: "tool", toolName: "pressure" })));
  const stream = streamText(ask({ ...steps("required"), onError: () => {} }));
  for await (const part of stream.fullStream) if (part.type === "error") throw part.error;
  for (const made of [whole.steps, await stream.steps]) {
    assert.equal(made.length, 2);
    Pressure.parse(made[0].toolCalls[0].input);
    assert.deepEqual(made[0].toolResults[0].output, { bar: 4 });
    assert.equal(made[1].toolCalls.length, 0);
  }
  await generateText(ask({ tools: { pressure }, toolChoice: "auto" }));
}

async function theAnswerHasTheType() {
  const typed = { output: Output.object({ schema: Reading }), maxOutputTokens: 160 };
  Reading.parse((await generateText(ask(typed))).output);
  const stream = streamText(ask({ ...typed, onError: () => {} }));
  for await (const part of stream.fullStream) if (part.type === "error") throw part.error;
  Reading.parse(await stream.output);
}

async function embeds() {
  const answer = await embedMany({ model: embedder(), values: texts, maxRetries: 0 });
  assert.equal(answer.embeddings.length, 2);
  assert.ok(answer.embeddings[0].length > 0 && answer.usage.tokens > 0);
}

async function errorsHaveTheirStatus() {
  const call = (more) => () => generateText(ask(more));
  const nobody = { model: provider()("no-such-model") };
  const unknown = await refused(APICallError, call(nobody), { statusCode: 404, isRetryable: false });
  assert.match(unknown.message, /no-such-model/);
  await refused(APICallError, call({ temperature: 9 }), { statusCode: 400 });
  await refused(APICallError, call({ messages: tooLong }), { statusCode: 400 });
  const embed = () => embedMany({ model: embedder(token, "no-such-model"), values: texts, maxRetries: 0 });
  await refused(APICallError, embed, { statusCode: 404 });
}

async function nobodyGetsInWhoShouldNot() {
  for (const [key, statusCode] of [["not-a-key", 401], [refusedToken, 403]]) {
    await refused(APICallError, () => generateText(ask({}, key)), { statusCode, isRetryable: false });
    await refused(APICallError, () => embedMany({ model: embedder(key), values: texts, maxRetries: 0 }), { statusCode });
  }
}

await run({
  list: "the package has no call that lists models",
  chat: [answers, completes],
  stream: streamsTheSameAnswer,
  tools: aForcedCallIsMadeAndItsResultAnswered,
  schema: theAnswerHasTheType,
  embeddings: embeds,
  errors: errorsHaveTheirStatus,
  denied: nobodyGetsInWhoShouldNot,
});

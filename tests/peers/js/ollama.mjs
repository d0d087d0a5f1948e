// The official Ollama client for JavaScript; it reads OLLAMA_API_KEY for its maker's host alone, so the key is a header here.
// The protocol has no `tool_choice`; see python/ollama_client.py for what `tools` holds.

import assert from "node:assert/strict";
import { Ollama } from "ollama";
import { z } from "zod";
import { adminToken, embeddingModel, messages, model, Pressure, question, Reading, refused } from "./cells.mjs";
import { refusedToken, run, texts, token, tool, toolResult, tooLong, url } from "./cells.mjs";

const client = (key = token) => new Ollama({ host: url, headers: { Authorization: `Bearer ${key}` } });
const options = { temperature: 0, num_predict: 32 };
const chat = (more = {}) => client().chat({ model, messages, options, ...more });
const bare = (name) => name.replace(/:latest$/, "");

// The package does not export its error.
const answered = () => assert.fail("a wrong key was answered");
const ResponseError = await client("not-a-key").list().then(answered, (error) => error.constructor);

async function everyPart(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

function counted(answer) {
  assert.ok(answer.done && /^(stop|length)$/.test(answer.done_reason), JSON.stringify(answer));
  assert.ok(answer.prompt_eval_count > 0 && answer.eval_count > 0 && answer.total_duration > 0, JSON.stringify(answer));
}

async function tagsShowPsAndVersion() {
  const names = (await client().list()).models.map((one) => bare(one.name));
  assert.ok(names.includes(model) && names.includes(embeddingModel), `${names}`);
  const shown = await client().show({ model });
  assert.ok(shown.capabilities.includes("completion"), `${shown.capabilities}`);
  assert.ok(shown.model_info["general.architecture"], JSON.stringify(shown.model_info).slice(0, 300));
  await chat();
  assert.ok((await client().ps()).models.some((one) => bare(one.name) === model));
  assert.match((await client().version()).version, /^\d+\.\d+\.\d+/);
}

async function anAdminCopiesCreatesPullsAndDeletes() {
  const admin = client(adminToken);
  await admin.copy({ source: model, destination: "peer-copy-js" });
  const wanted = { model: "peer-made-js", from: model, system: "You answer briefly." };
  const made = await everyPart(await admin.create({ ...wanted, stream: true }));
  assert.equal(made.at(-1).status, "success");
  const pulled = await everyPart(await admin.pull({ model, stream: true }));
  assert.equal(pulled.at(-1).status, "success");
  for (const name of ["peer-copy-js", "peer-made-js"]) await admin.delete({ model: name });
  await refused(ResponseError, () => admin.delete({ model: "peer-copy-js" }), { status_code: 404 });
  await refused(ResponseError, () => client().delete({ model }), { status_code: 403 });
}

async function chatsAndGenerates() {
  const answer = await chat();
  assert.ok(answer.message.content.trim());
  counted(answer);
  const generated = await client().generate({ model, prompt: question, options });
  assert.ok(generated.response.trim());
  counted(generated);
}

async function streamsTheSameAnswer() {
  const parts = await everyPart(await chat({ stream: true }));
  assert.equal(parts.map((part) => part.message.content).join(""), (await chat()).message.content);
  counted(parts.at(-1));
  const generated = await everyPart(await client().generate({ model, prompt: question, options, stream: true }));
  assert.ok(generated.map((part) => part.response).join("").trim());
  counted(generated.at(-1));
}

async function aStreamThatIsAbortedIsLetGo() {
  const stream = await client().chat({ model, messages, stream: true, options: { num_predict: 400 } });
  try {
    for await (const _ of stream) stream.abort();
  } catch (error) {
    assert.equal(error.name, "AbortError");
  }
  counted(await chat());
}

async function toolsAreOfferedCalledAndAnswered() {
  const parts = [await chat({ tools: [tool] }), ...(await everyPart(await chat({ tools: [tool], stream: true })))];
  for (const call of parts.flatMap((part) => part.message.tool_calls ?? [])) Pressure.parse(call.function.arguments);
  const made = { function: { name: "pressure", arguments: { pump: "north" } } };
  const history = [
    ...messages,
    { role: "assistant", content: "", tool_calls: [made] },
    { role: "tool", tool_name: "pressure", content: toolResult },
  ];
  counted(await chat({ messages: history, tools: [tool] }));
}

async function theAnswerHasTheType() {
  const typed = { format: z.toJSONSchema(Reading), options: { temperature: 0, num_predict: 160 } };
  Reading.parse(JSON.parse((await chat(typed)).message.content));
  const parts = await everyPart(await chat({ ...typed, stream: true }));
  Reading.parse(JSON.parse(parts.map((part) => part.message.content).join("")));
}

async function embeds() {
  const answer = await client().embed({ model: embeddingModel, input: texts });
  assert.equal(answer.embeddings.length, 2);
  assert.ok(answer.embeddings[0].length > 0);
}

async function errorsHaveTheirStatus() {
  await refused(ResponseError, () => chat({ model: "no-such-model" }), { status_code: 404 });
  await refused(ResponseError, () => client().show({ model: "no-such-model" }), { status_code: 404 });
  const bad = await refused(ResponseError, () => chat({ options: { temperature: "hot" } }), { status_code: 400 });
  assert.match(bad.error, /temperature/);
  await refused(ResponseError, () => chat({ messages: tooLong }), { status_code: 400 });
}

async function nobodyGetsInWhoShouldNot() {
  const acts = [
    (one) => one.chat({ model, messages }),
    (one) => one.chat({ model, messages, stream: true }),
    (one) => one.generate({ model, prompt: question }),
    (one) => one.embed({ model: embeddingModel, input: texts }),
    (one) => one.delete({ model }),
  ];
  for (const act of acts) {
    await refused(ResponseError, () => act(client("not-a-key")), { status_code: 401 });
    await refused(ResponseError, () => act(client(refusedToken)), { status_code: 403 });
  }
}

await run({
  list: [tagsShowPsAndVersion, anAdminCopiesCreatesPullsAndDeletes],
  chat: chatsAndGenerates,
  stream: [streamsTheSameAnswer, aStreamThatIsAbortedIsLetGo],
  tools: toolsAreOfferedCalledAndAnswered,
  schema: theAnswerHasTheType,
  embeddings: embeds,
  errors: errorsHaveTheirStatus,
  denied: nobodyGetsInWhoShouldNot,
});

// One client's row of the table, as python/cells.py has it: its cells are run in turn, each is told as a line of JSON.

import assert from "node:assert/strict";
import { z } from "zod";

const columns = ["list", "chat", "stream", "tools", "schema", "embeddings", "errors", "denied"];

const wanted = (name) => process.env[name] ?? assert.fail(`${name} is not set`);
export const url = wanted("OUTPOST_URL");
export const token = wanted("OUTPOST_TOKEN"); // may ask
export const refusedToken = wanted("OUTPOST_REFUSED_TOKEN"); // an auditor's: may not ask
export const adminToken = wanted("OUTPOST_ADMIN_TOKEN"); // may change which models there are
export const model = wanted("OUTPOST_MODEL");
export const embeddingModel = wanted("OUTPOST_EMBEDDING_MODEL");

export const question = "How does a device enrol?";
export const messages = [{ role: "user", content: question }];
export const tooLong = [{ role: "user", content: "How does a device enrol? ".repeat(2000) }];
export const texts = ["The pump is open.", "No oil"];

export const Pressure = z.object({ pump: z.enum(["north", "south"]) });
// Every value is short, so that a small answer always has room for it.
export const Reading = z.object({ pump: z.enum(["north", "south"]), bar: z.int().min(0).max(9), open: z.boolean() });
// As short as it can be: it goes into a prompt, and the demo model reads 512 tokens in all.
export const parameters = {
  type: "object",
  properties: { pump: { enum: ["north", "south"] } },
  required: ["pump"],
  additionalProperties: false,
};
export const tool = {
  type: "function",
  function: { name: "pressure", description: "Read a pump.", parameters },
};
export const toolResult = '{"bar": 4}';

/** `act` has to end in this kind of error, with these properties. */
export async function refused(kind, act, expected) {
  try {
    await act();
  } catch (error) {
    assert.ok(error instanceof kind, `${error?.constructor?.name}, not ${kind.name}: ${error}`);
    for (const [name, value] of Object.entries(expected)) assert.deepEqual(error[name], value, `${name} of ${error}`);
    return error;
  }
  assert.fail(`answered, where ${kind.name} was due`);
}

// The innermost line of the client's file, and the error.
function told(error) {
  const line = /js\/(?!cells|node_modules)\w+\.mjs:(\d+)/.exec(error.stack ?? "");
  return `${line ? `line ${line[1]}: ` : ""}${error.name}: ${error.message}`.replace(/\s+/g, " ").slice(0, 600);
}

/** Runs a row: for each column a function, several, or a text that says why there is none. */
export async function run(cells) {
  let failed = false;
  for (const column of columns) {
    const cell = cells[column];
    let [outcome, because] = ["passed", ""];
    if (typeof cell === "string") [outcome, because] = ["absent", cell];
    else if (!cell) [outcome, because] = ["failed", "no check was written"];
    else {
      for (const check of [cell].flat()) {
        try {
          await check();
        } catch (error) {
          // Every cell is told, whatever it died of.
          [outcome, because] = ["failed", `${check.name}: ${told(error)}`];
          break;
        }
      }
    }
    failed ||= outcome === "failed";
    console.log(JSON.stringify({ cell: column, outcome, because }));
  }
  process.exit(failed ? 1 : 0);
}

// A hostile page in a real Chromium against the agent: of another origin, of the same machine's other port, sandboxed, and by DNS
// rebinding, with every means that a page has and even with a valid key. All of it has to be turned away at the gate (421 or
// 403), unread, without a trace of work in the audit log. The same page is first let loose on a server without defences, so that
// an attack that would never have worked proves nothing.
//
//   node attack.mjs        reads what `run` sets from the environment; CHROMIUM may name the browser

import { execFileSync } from "node:child_process";
import { chromium } from "playwright-core";
import { attempts } from "./attempts.mjs";
import { naive, pages, relay } from "./relay.mjs";

const { OUTPOST, OUTPOST_URL, OUTPOST_TOKEN, OUTPOST_ADMIN_TOKEN, OUTPOST_MODEL } = process.env;
const agentPort = Number(new URL(OUTPOST_URL).port);

// One path of every kind, and what its body would say.
const chat = { model: OUTPOST_MODEL, messages: [{ role: "user", content: "Hello" }], max_tokens: 4 };
const kinds = {
  "/health": {},
  "/v1/models": {},
  "/v1/chat/completions": chat,
  "/v1/completions": { model: OUTPOST_MODEL, prompt: "Hello", max_tokens: 4 },
  "/v1/embeddings": { model: OUTPOST_MODEL, input: "Hello" },
  "/v1/responses": { model: OUTPOST_MODEL, input: "Hello", max_output_tokens: 16 },
  "/v1/messages": chat,
  "/api/tags": {},
  "/api/chat": { ...chat, stream: false },
  "/api/generate": { model: OUTPOST_MODEL, prompt: "Hello" },
  "/api/delete": { model: OUTPOST_MODEL },
  "/api/copy": { source: OUTPOST_MODEL, destination: "stolen" },
  "/api/pull": { model: OUTPOST_MODEL },
  "/status": {},
  [`/models/unload/${OUTPOST_MODEL}`]: {},
  [`/openai/unload/${OUTPOST_MODEL}`]: {},
  "/foundry/list": {},
  "/outpost/status": {},
  "/outpost/audit/checkpoint": {},
  "/metrics": {},
  "/openapi.json": {},
};
const few = ["/v1/models", "/v1/chat/completions", "/api/delete"];

// Where the page comes from, and how it calls the server. `RELAY` is the port through which everything goes.
const evil = "http://evil.test:PAGES";
const rebound = (host, paths) => ({ page: `http://${host}:RELAY`, base: `http://${host}:RELAY`, rebound: true, paths });
const stages = [
  { name: "another site", page: evil, base: "http://127.0.0.1:RELAY", paths: Object.keys(kinds) },
  { name: "another site, by name", page: evil, base: "http://localhost:RELAY", paths: few },
  { name: "another site, any address", page: evil, base: "http://0.0.0.0:RELAY", paths: few },
  { name: "the same machine, another port", page: "http://127.0.0.1:PAGES", base: "http://127.0.0.1:RELAY", paths: few },
  { name: "no origin", page: evil, sandboxed: true, base: "http://127.0.0.1:RELAY", paths: few },
  { name: "rebinding", ...rebound("rebind.test", Object.keys(kinds)) },
  { name: "rebinding, final dot", ...rebound("rebind.test.", few) },
  { name: "rebinding, like ours", ...rebound("localhost.rebind.test", few) },
];

async function hostilePage(browser, stage, ports) {
  const at = (text) => text.replace("PAGES", ports.pages).replace("RELAY", ports.relay);
  const page = await (await browser.newContext()).newPage();
  if (stage.rebound) {
    // The name led to the attacker's server when the page was loaded; from then on it leads to this machine.
    const first = (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html><body></body>" });
    await page.route(at(stage.page), first, { times: 1 });
  }
  await page.goto(at(stage.page));
  if (!stage.sandboxed) return { page, frame: page.mainFrame(), base: at(stage.base) };
  await page.setContent('<iframe sandbox="allow-scripts allow-forms" srcdoc="<body></body>"></iframe>');
  const frame = await (await page.waitForSelector("iframe")).contentFrame();
  return { page, frame, base: at(stage.base) };
}

/** Every attempt of every stage at the server on `port`: what the page told, and what the server was asked and answered. */
async function attack(browser, port, only) {
  const [between, attacker] = [await relay(port), await pages()];
  const ports = { relay: between.port, pages: attacker.port };
  const told = [];
  for (const stage of stages) {
    const { page, frame, base } = await hostilePage(browser, stage, ports);
    const tryAll = async (path) => {
      const key = path === "/api/delete" || path === "/api/copy" ? OUTPOST_ADMIN_TOKEN : OUTPOST_TOKEN;
      const outcomes = await frame.evaluate(attempts, { base, path, key, body: kinds[path] });
      for (const [how, outcome] of Object.entries(outcomes)) told.push({ stage, path, how, ...outcome });
    };
    // A browser takes its time with each socket that fails: several paths at once.
    const paths = [...(only ?? stage.paths)];
    while (paths.length) await Promise.all(paths.splice(0, 7).map(tryAll));
    // A window of its own: the page cannot read it, and the server must not do what it asks.
    await frame.evaluate((url) => void window.open(url), `${base}/v1/models`).catch(() => {});
    await page.waitForTimeout(300);
    await page.context().close();
  }
  between.close();
  attacker.close();
  return { told, seen: between.seen };
}

const limits = { encoding: "utf8", maxBuffer: 1 << 28 };
const outpost = (...words) => JSON.parse(execFileSync(OUTPOST, ["--json", ...words], limits));
const records = () => outpost("audit", "show", "--last", "1000000").map((record) => record.type);
const models = async () => {
  const answer = await fetch(`${OUTPOST_URL}/v1/models`, { headers: { authorization: `Bearer ${OUTPOST_TOKEN}` } });
  return (await answer.json()).data.map((model) => model.id).sort();
};

const problems = [];
const hold = (held, problem) => held || problems.push(problem);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox",
    "--host-resolver-rules=MAP *.test 127.0.0.1, MAP *.test. 127.0.0.1",
    // Newer browsers ask before a page calls this machine. The server has to hold without that.
    "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests",
  ],
});
try {
  const open = await naive();
  const control = await attack(browser, open.port, ["/v1/chat/completions"]);
  open.close();
  const works = (stage, how) => control.told.find((one) => one.stage.name === stage && one.how === how)?.outcome;
  for (const stage of ["another site", "the same machine, another port", "no origin", "rebinding", "rebinding, like ours"]) {
    hold(works(stage, "fetch POST JSON with a key") === "read", `the attack from ${stage} does not even work on an open server`);
  }
  for (const method of ["GET", "POST", "DELETE", "WEBSOCKET"]) {
    hold(control.seen.some((one) => one.method === method), `no ${method} reached the open server`);
  }

  // Our own look at the models is on record too: it comes before the first count and after the second.
  const modelsBefore = await models();
  const before = records();
  const { told, seen } = await attack(browser, agentPort);
  const [after, modelsAfter] = [records(), await models()];

  const statuses = {};
  for (const one of seen) {
    statuses[one.status] = (statuses[one.status] ?? 0) + 1;
    // For a window that a page sent here the browser itself wants an icon; that is no page's doing, and wants a key.
    const icon = one.path === "/favicon.ico" && one.status === 401;
    hold(icon || [403, 421].includes(one.status), `${one.method} ${one.path} for ${one.headers.host} was answered ${one.status}`);
    const ours = /^(127\.0\.0\.1|localhost):/.test(one.headers.host);
    hold(ours || one.status === 421, `${one.headers.host} was answered ${one.status}, not 421`);
  }
  for (const { stage, path, how, outcome, status, detail } of told) {
    // A rebound page may read its own refusal, and nothing else.
    const refusal = stage.rebound && (status === 421 || /unknown_host/.test(detail ?? ""));
    hold(outcome !== "read" || refusal, `${stage.name}: ${how} ${path} could be read: ${status ?? ""} ${detail}`);
  }
  // Refusals may be recorded, and that somebody read the log; nothing else.
  const work = after.slice(before.length).filter((type) => !/fail|denied|refused|reject|^audit\./.test(type));
  hold(work.length === 0, `the audit log tells of work: ${[...new Set(work)]}`);
  hold(String(modelsBefore) === String(modelsAfter), `the models changed from ${modelsBefore} to ${modelsAfter}`);
  const answer = await fetch(`${OUTPOST_URL}/v1/chat/completions`, {
    method: "POST", body: JSON.stringify(chat),
    headers: { "content-type": "application/json", authorization: `Bearer ${OUTPOST_TOKEN}` },
  });
  hold(answer.status === 200, `after the attack an operator is answered ${answer.status}`);
  hold(records().slice(after.length).includes("infer.start"), "the audit log does not tell of the operator's question");

  const arrived = `${told.length} attempts from ${stages.length} kinds of page, ${seen.length} requests arrived`;
  console.log(`Chromium ${browser.version()}: ${arrived}:`);
  console.log(`  ${Object.entries(statuses).map(([status, count]) => `${count} × ${status}`).join(", ")}`);
  for (const outcome of ["blocked", "unreadable", "read"]) {
    const count = told.filter((one) => one.outcome === outcome).length;
    console.log(`  ${count} ${outcome}${outcome === "read" ? " (a rebound page reads its own refusal)" : ""}`);
  }
} finally {
  await browser.close();
}
for (const problem of [...new Set(problems)].slice(0, 20)) console.log(`FAIL ${problem}`);
console.log(`browser: ${problems.length === 0 ? "1 passed, 0 failed" : `0 passed, 1 failed (${problems.length} problems)`}`);
process.exit(problems.length ? 1 : 0);

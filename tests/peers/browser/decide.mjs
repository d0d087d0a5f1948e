// Two things that people decide on the console: which models run, by an approval, a withdrawal and its end; and which programs
// are sent what happens, with a receiver here that is sent it, signed.

import { createHmac } from "node:crypto";
import http from "node:http";
import { until } from "./house.mjs";

/** The field that is wrong says what is wrong with it, to whoever sees it and whoever hears it. */
async function holdMistake({ watch, text }, page, field, words) {
  await page.waitForSelector(`#problem-${field}`);
  const described = (await page.getAttribute(`#${field}`, "aria-describedby")).split(" ");
  watch.hold(described.includes(`problem-${field}`), `${field} is not described by what is wrong with it`);
  watch.hold((await page.getAttribute(`#${field}`, "aria-invalid")) === "true", `${field} is not said to be wrong`);
  watch.hold((await text(page, `#problem-${field}`)).includes(words), `${field} does not say ${words}`);
  await page.waitForFunction((id) => document.activeElement?.id === id, field);
}

/** A model of a licence that nobody allowed: refused, approved by `other`, run, withdrawn, taken back. */
export async function decideOnModel(walk, page, other, demo) {
  const { house, watch, show, text, assign } = walk;
  const named = (facts) => {
    facts.facts.model.model = "third";
    facts.facts.model.licence = "research-only";
    return facts;
  };
  house.control("catalogue", "release", "--keys", house.keys, "--model", house.variant(demo, "Q6_K", named));
  await show(page, "/console/models");
  await watch.look(page, "models-rules");
  watch.expected.add(403);
  await show(page, "/console/devices/till-1");
  await page.selectOption("#model", "third");
  await page.fill("#context", "256");
  await page.click('form[action$="/assignment"] button');
  await page.waitForSelector('.lead:has-text("nobody approved it")');
  watch.expected.delete(403);

  await show(other, "/console/models");
  await other.click('a[href="/console/models/third"]');
  await other.waitForSelector('.badge:text("needs an approval")');
  watch.hold((await other.locator('form[action$="/withdraw"]').count()) === 0, "an approver is offered to withdraw a model");
  await watch.look(other, "model-asks");
  watch.expected.add(400);
  await other.fill("#selector", "memry>1");
  await other.click('form[action$="/approve"] button');
  await holdMistake(walk, other, "selector", "did you mean");
  await watch.look(other, "model-mistake");
  watch.expected.delete(400);
  await other.fill("#until", new Date(Date.now() + 30 * 86_400_000).toISOString().slice(0, 10));
  await other.fill("#selector", "label.stage=canary");
  await other.fill("#note", "read by the lawyers on Tuesday");
  await other.click('form[action$="/approve"] button');
  await other.waitForSelector('p.notice:has-text("exactly the files")');
  await other.waitForSelector('.badge:text("approved")');
  await watch.look(other, "model-approved");

  const runs = async (model) => {
    await page.waitForSelector('#live-device .badge:text("in step")', { timeout: 120_000 });
    watch.hold((await text(page, "#live-device dl")).includes(model), `till-1 does not run ${model}`);
  };
  await assign(page, "till-1", "third");
  await runs("third");
  await show(page, "/console/models/third");
  watch.expected.add(400);
  await page.fill("#reason", "it invents prices");
  await page.fill("#hours", "0");
  await page.fill("#confirm", "thrid");
  await page.keyboard.press("Enter");
  await holdMistake(walk, page, "confirm", "nothing was withdrawn");
  watch.hold((await page.inputValue("#reason")) === "it invents prices", "what was typed is lost");
  await watch.look(page, "model-not-withdrawn");
  watch.expected.delete(400);
  await page.fill("#confirm", "third");
  await page.keyboard.press("Enter");
  await page.waitForSelector('p.notice:has-text("was withdrawn")');
  await watch.look(page, "model-withdrawn");
  await show(page, "/console/models");
  await watch.look(page, "models-withdrawn");
  await show(page, "/console/devices/till-1");
  const model = () => page.evaluate(() => document.querySelector("#live-device dl").innerText);
  await until("the end of the withdrawn model", async () => !/Model\s+third/.test(await model()), 120);
  await watch.look(page, "device-withdrawn");
  await show(page, "/console/models/third");
  await page.click('form[action$="/restore"] button');
  await page.waitForSelector('p.notice:has-text("assigned again")');
  await show(page, "/console/devices/till-1");
  await runs("third");
  await assign(page, "till-1", "outpost-demo");
  await runs("outpost-demo");
  // Whoever approved takes it back; another word stays for what follows, and a withdrawal that no device minds.
  await other.goto(`${house.url}/console/models/third`);
  await other.click('form[action$="/revoke"] button');
  await other.waitForSelector('p.notice:has-text("counts no more")');
  house.control("model", "approve", "third", "--until", "90d");
  house.control("model", "withdraw", "third", "--reason", "a drill", "--deadline", "90d");
}

/** Whether a receiver believes the headers and the body, as standardwebhooks.com has it. */
function isSigned(secret, { headers, body }) {
  const key = Buffer.from(secret.replace("whsec_", ""), "base64");
  const signed = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`;
  return headers["webhook-signature"] === `v1,${createHmac("sha256", key).update(signed).digest("base64")}`;
}

/** A receiver here is sent a test and what happens, fails for a while and is let go. */
export async function sendEvents(walk, page, other, enrolByPage) {
  const { house, watch, show, text } = walk;
  let answer = 200;
  const came = [];
  const receiver = http.createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      came.push({ headers: request.headers, body: Buffer.concat(parts).toString() });
      response.writeHead(answer).end();
    });
  });
  await new Promise((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${receiver.address().port}/outpost`;

  await show(other, "/console");
  watch.hold((await other.locator('a[href="/console/webhooks"]').count()) === 0, "who may not is shown the way to webhooks");
  watch.expected.add(403);
  await show(other, "/console/webhooks");
  watch.hold((await other.locator("form[action^='/console/webhooks']").count()) === 0, "who may not is offered to make webhooks");
  watch.expected.delete(403);

  const make = async (name, address, kinds) => {
    await page.fill("#name", name);
    await page.fill("#url", address);
    await page.fill("#kinds", kinds);
    await page.click('form[action="/console/webhooks"] button');
  };
  await show(page, "/console/webhooks");
  watch.expected.add(400);
  await make("pager", "https://169.254.169.254/latest/meta-data", "device.*");
  await holdMistake(walk, page, "url", "not a public address");
  watch.hold((await page.inputValue("#kinds")) === "device.*", "what was typed is lost");
  await watch.look(page, "webhook-mistake");
  watch.expected.delete(400);
  await make("pager", url, "device.*");
  await page.waitForSelector(".shown-once pre");
  const secret = await text(page, ".shown-once pre");
  await watch.look(page, "webhook-made");
  await page.click('.shown-once a:has-text("Send it a test")');
  await page.waitForURL(`${house.url}/console/webhooks/pager`);
  watch.hold(!(await page.content()).includes(secret), "the secret is shown again");
  await page.click('form[action$="/test"] button');
  await page.waitForSelector('.shown-once:has-text("The receiver took it")');
  watch.hold(came.length === 1 && JSON.parse(came[0].body).type === "webhook.test", `${came.length} tests came`);
  watch.hold(isSigned(secret, came[0]), "the receiver does not believe the test");
  await watch.look(page, "webhook-tested");

  // A device enrols while the receiver fails: it is told as soon as the receiver is well again.
  answer = 503;
  const code = await enrolByPage(page, "shed-4");
  await house.enrol("shed-4", code);
  const shows = (words) =>
    until(words, async () => {
      await show(page, "/console/webhooks/pager");
      return page.locator(`#live-webhook .badge:text-is("${words}")`).first().isVisible();
    });
  await shows("fails");
  await watch.look(page, "webhook-fails");
  await show(page, "/console/webhooks");
  await watch.look(page, "webhooks");
  answer = 200;
  await show(page, "/console/webhooks/pager");
  await page.click('form[action$="/retry"] button');
  await page.waitForSelector("p.notice");
  await shows("well");
  const enrolled = () => came.filter(({ body }) => JSON.parse(body).data.subject === "shed-4");
  await until("what happened", () => enrolled().length > 1);
  watch.hold(enrolled().every((one) => isSigned(secret, one)), "the receiver does not believe what happened");
  await show(page, "/console/webhooks/pager");
  await page.click('form[action$="/pause"] button');
  await page.waitForSelector('#live-webhook :text("ada paused it")');
  await watch.look(page, "webhook-paused");
  await page.click('form[action$="/retry"] button');
  await page.waitForSelector('#live-webhook .badge:text("well")');

  watch.expected.add(400);
  await page.fill("#confirm", "pgaer");
  await page.click('form[action$="/remove"] button');
  await holdMistake(walk, page, "confirm", "the webhook stays");
  watch.expected.delete(400);
  await page.fill("#confirm", "pager");
  await page.click('form[action$="/remove"] button');
  await page.waitForSelector('p.notice:has-text("was removed")');
  await page.waitForSelector(':text("No webhook yet.")');
  receiver.close();
  house.control("webhook", "add", "planted", "https://pager.example/outpost");
  house.control("webhook", "pause", "planted");
}

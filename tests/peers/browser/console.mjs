// The console in a real Chromium: people sign in, a device enrols and appears, is told what to run, is found, labelled, rolled out to;
// every page in light and dark, on a desk and on a tablet, with axe; names that would like to run; the keyboard alone.
//
//   node console.mjs PROGRAMS DEMO.gguf        CHROMIUM names the browser; OUTPOST_SHOTS is a folder for pictures

import fs from "node:fs";
import { chromium } from "playwright-core";
import { decideOnModel, sendEvents } from "./decide.mjs";
import { House, totp, until } from "./house.mjs";
import { HOSTILE, Watch } from "./watch.mjs";

const [programs, demo] = process.argv.slice(2);
const house = new House(programs);
let browser;
let watch;
let passed = 0;

/** One thing that a person does and sees. */
async function story(name, act) {
  try {
    await act();
    passed += 1;
    console.log(`  ✓ ${name}`);
  } catch (error) {
    watch.problems.push(`${name}: ${error.stack ?? error}`);
    console.log(`  ✗ ${name}: ${String(error).split("\n")[0]}`);
  }
}

/** Sets a password with the one-time code, through the page. */
async function setPassword(page, person) {
  await page.goto(`${house.url}/login/first`);
  await page.fill("#name", person.name);
  await page.fill("#code", person.code);
  await page.fill("#password", person.password);
  await page.click("main button");
  await page.waitForURL(`${house.url}/login`);
}

/** Types into the page that signs in, and sends it. */
async function type(page, person, code) {
  await page.fill("#name", person.name);
  await page.fill("#password", person.password);
  if (code) await page.fill("#code", code);
  await page.click("main button");
}

/** A browser of its own: its own cookies. */
async function visitor() {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  await watch.follow(context);
  return context.newPage();
}

const show = async (page, path) => {
  await page.goto(`${house.url}${path}`);
  await page.waitForSelector("h1");
};
const text = (page, selector) => page.textContent(selector).then((found) => found.trim());
/** The page was not loaded again since it was marked. */
const mark = (page) => page.evaluate(() => void (window.marked = true));
const isMarked = (page) => page.evaluate(() => window.marked === true);
const row = (name) => `#live-devices tr:has(a[href="/console/devices/${name}"])`;

async function enrolByPage(page, name) {
  await show(page, "/console/enrol");
  await page.fill("#device", name);
  await page.click('form[action="/console/enrol/code"] button');
  await page.waitForSelector(".big-code");
  return text(page, ".big-code");
}

async function assign(page, name, model) {
  await show(page, `/console/devices/${name}`);
  await page.selectOption("#model", model);
  await page.fill("#context", "256");
  await page.click('form[action$="/assignment"] button');
  await page.waitForSelector("p.notice");
}

async function stories() {
  const ada = house.person("ada", ["administrator", "operator"], { authenticator: true });
  const page = await visitor();
  const side = await visitor();

  await story("what is held on every page is noticed where it is not so", async () => {
    const open = await browser.newPage();
    await open.setContent(`<title>x</title><input><p style="color: #ccc; background: #fff">faint ${HOSTILE}</p>`);
    await open.waitForFunction(() => window.hit);
    const found = new Watch(house.url);
    await found.look(open, "open", ["light"]);
    for (const wanted of ["color-contrast", "label", "something ran"]) {
      watch.hold(found.problems.some((problem) => problem.includes(wanted)), `nobody notices ${wanted}`);
    }
    await open.close();
  });
  await story("a stranger sees the page that signs in and nothing else", async () => {
    for (const path of ["/", "/console", "/console/devices", "/console/audit"]) {
      await show(page, path);
      watch.hold(page.url() === `${house.url}/login`, `${path} leads a stranger to ${page.url()}`);
    }
    await watch.look(page, "login");
    await show(page, "/login/first");
    await watch.look(page, "login-first");
  });
  await story("a wrong code of the authenticator signs nobody in, the right one does", async () => {
    watch.expected.add(401);
    await setPassword(page, ada);
    await type(page, ada, "000000");
    await page.waitForSelector('[role="alert"]');
    await watch.look(page, "login-refused");
    watch.expected.delete(401);
    await type(page, ada, totp(ada.otpauth));
    await page.waitForURL(`${house.url}/console`);
    await watch.look(page, "overview-empty");
  });
  await side.context().addCookies(await page.context().cookies());
  await story("empty pages say what comes there", async () => {
    for (const name of ["devices", "groups", "models", "rollouts", "policies", "enrol", "audit", "people", "webhooks"]) {
      await show(page, `/console/${name}`);
      await watch.look(page, `${name}-empty`);
    }
  });
  await story("a device enrols with the code of the page and appears in the list without a reload", async () => {
    await show(side, "/console/devices");
    await mark(side);
    const code = await enrolByPage(page, "till-1");
    await watch.look(page, "enrol-code");
    await house.enrol("till-1", code);
    await house.runDevice("till-1");
    await side.waitForSelector(row("till-1"), { timeout: 60_000 });
    await side.waitForSelector(`${row("till-1")} :text("online")`, { timeout: 60_000 });
    watch.hold(await isMarked(side), "the list was loaded again");
  });
  await story("a device that asks without a code is accepted by its fingerprint", async () => {
    await show(page, "/console/enrol");
    const asking = house.enrol("till-2");
    await page.waitForSelector(".fingerprint", { timeout: 30_000 });
    await watch.look(page, "enrol-request");
    await page.click('form[action="/console/enrol/accept"] button');
    await page.waitForSelector("p.notice");
    await asking;
    await house.runDevice("till-2");
    await side.waitForSelector(row("till-2"), { timeout: 60_000 });
  });
  await story("a device is told what to run, and its page follows until it is in step", async () => {
    await assign(page, "till-1", "outpost-demo");
    await mark(page);
    await page.waitForSelector('#live-device .badge:text("in step")', { timeout: 120_000 });
    watch.hold(await isMarked(page), "the device's page was loaded again");
    await assign(page, "till-2", "outpost-demo");
    await page.waitForSelector('#live-device .badge:text("in step")', { timeout: 120_000 });
  });
  await story("a device's page draws its plan, says it in words beside, and tells what the machine can give", async () => {
    await show(page, "/console/devices/till-1");
    const picture = page.locator('#live-device .memory-picture svg[role="img"]');
    watch.hold(/is chosen with [0-9]+ tokens/.test(await picture.getAttribute("aria-label")), "the picture does not say what it shows");
    watch.hold((await picture.locator("polyline").count()) >= 1 && (await picture.locator("circle.chosen").count()) === 1, "no chosen point is drawn");
    const box = await picture.locator("circle.chosen").boundingBox();
    watch.hold(box !== null && box.width > 4, "the chosen point cannot be seen");
    watch.hold((await page.locator('#live-device td .badge:text("chosen")').count()) === 1, "the table does not say which was chosen");
    await page.waitForSelector('#live-device h2:text("What the machine can give")');
    await page.waitForSelector('#live-device dt:text-is("Cores")');
    await watch.look(page, "device-plan");
  });
  await story("a box that has no room says why it refuses, in numbers", async () => {
    const code = await enrolByPage(page, "yard-3");
    await house.enrol("yard-3", code, "[store]\ndisk_budget_mib = 1\n");
    await house.runDevice("yard-3");
    await side.waitForSelector(row("yard-3"), { timeout: 60_000 });
    await assign(page, "yard-3", "outpost-demo");
    await page.waitForSelector('#live-device .drift dd:has-text("missing")', { timeout: 120_000 });
    await watch.look(page, "device-refused");
  });
  await story("devices are labelled, grouped and found as one types", async () => {
    for (const [name, value] of [["till-1", "canary"], ["till-2", "wide"]]) {
      await show(page, `/console/devices/${name}`);
      await page.fill("#key", "stage");
      await page.fill("#value", value);
      await page.click('form:has(#key) button');
      await page.waitForSelector("p.notice");
    }
    await page.fill("#site", "store-12");
    await page.click('form[action$="/site"] button');
    await page.waitForSelector("p.notice");
    await show(page, "/console/groups");
    await page.fill("#name", "canary");
    await page.fill("#selector", "label.stage=canary");
    await page.waitForSelector('#live-preview:has-text("1 of 3")');
    await page.fill("#description", "who gets everything first");
    await page.click('form[action="/console/groups"] button');
    await page.waitForSelector("p.notice");
    await watch.look(page, "groups");
    await show(page, "/console/devices");
    await mark(page);
    await page.keyboard.press("/");
    await page.keyboard.type("group=canary or site=store-12");
    await page.waitForFunction(() => document.querySelectorAll("#live-devices [data-row]").length === 2);
    watch.expected.add(400);
    await page.fill("#filter", "memry>1");
    await page.waitForSelector('#live-devices [role="alert"]:has-text("did you mean")');
    watch.expected.delete(400);
    await watch.look(page, "devices-misread");
    await page.fill("#filter", "");
    await page.waitForFunction(() => document.querySelectorAll("#live-devices [data-row]").length === 3);
    watch.hold(await isMarked(page), "typing loaded the page again");
    await page.locator("#filter").blur();
    await page.keyboard.press("j");
    await page.keyboard.press("j");
    await page.keyboard.press("k");
    await page.keyboard.press("Enter");
    await page.waitForURL(`${house.url}/console/devices/till-1`);
  });
  await story("a command is given by a button and its answer appears", async () => {
    await show(page, "/console/devices/till-1");
    await page.click('button[value="status"]');
    await page.waitForSelector("p.notice");
    await page.waitForSelector('#live-device td:has-text("done")', { timeout: 30_000 });
    await watch.look(page, "device");
  });
  const other = await visitor();
  await story("a second person, who may approve and do nothing else, signs in and is offered nothing else", async () => {
    const bob = house.person("bob", ["approver"]);
    await setPassword(other, bob);
    await type(other, bob);
    await other.waitForURL(`${house.url}/console`);
    await show(other, "/console/devices/till-1");
    watch.hold((await other.locator("#content form").count()) === 0, "an approver is offered to change a device");
  });
  await story("a rollout goes wave by wave with a second person's word, stops at a failing gate and gives everything back", () => rollout(page, other));
  await story("a policy is written by one person and approved by another", () => policy(page, other));
  const walk = { house, watch, show, text, assign };
  await story("a model of a licence that nobody allowed is approved by a second person, withdrawn at once and taken back", () => decideOnModel(walk, page, other, demo));
  await story("a webhook is made, tried, follows the fleet, fails, goes on and is removed", () => sendEvents(walk, page, other, enrolByPage));
  await story("the audit logs of the devices are mirrored, and the page follows", async () => {
    await show(page, "/console/audit");
    await page.waitForSelector('#content a[href$="/till-1"]', { timeout: 60_000 });
    await watch.look(page, "audit");
  });
  await story("the audit report is made and read", () => report(page));
  await story("presence: a device that is killed is told to be away", async () => {
    await show(side, "/console/devices");
    await mark(side);
    house.devices.get("till-2").kill("SIGKILL");
    await side.waitForSelector(`${row("till-2")} :text("off,")`, { timeout: 60_000 });
    watch.hold(await isMarked(side), "the list was loaded again");
    await house.runDevice("till-2");
    await side.waitForSelector(`${row("till-2")} :text("online")`, { timeout: 60_000 });
  });
  await story("the fleet at a glance, with ways to its devices", async () => {
    await show(page, "/console");
    await watch.look(page, "overview");
    await page.click('.legend a:has-text("refused")');
    await page.waitForSelector(row("yard-3"));
    for (const [name, path] of [["devices", "/console/devices"], ["models", "/console/models"], ["policies", "/console/policies"]]) {
      await show(page, path);
      await watch.look(page, name);
    }
    watch.expected.add(404);
    await page.goto(`${house.url}/console/devices/nobody`);
    await watch.look(page, "unknown-device");
    watch.expected.delete(404);
  });
  await story("whatever anything is called, nothing of it runs", () => probes(page));
  await story("every page works by keyboard alone", async () => {
    for (const path of ["", "/devices", "/devices/till-1", "/groups", "/models", "/models/third", "/webhooks", "/webhooks/planted", "/enrol", "/audit"]) {
      await show(page, `/console${path}`);
      await watch.byKeyboard(page, `/console${path}`);
    }
  });
  await story("colours are chosen and stay", async () => {
    await show(page, "/console");
    await page.selectOption("#theme", "dark");
    await page.click('form[action="/console/theme"] button');
    await page.waitForSelector('html[data-theme="dark"]');
    await show(page, "/console/devices");
    await watch.look(page, "devices-chosen-dark", ["light"]);
  });
}

/** Three waves of one device each; the last box has no room for the change, so all get back what they had. */
async function rollout(page, other) {
  const named = (facts) => {
    facts.facts.model.model = "second";
    return facts;
  };
  house.control("catalogue", "release", "--keys", house.keys, "--model", house.variant(demo, "Q5_1", named));
  await show(page, "/console/rollouts");
  await watch.look(page, "rollouts-none");
  await page.fill("#name", "second-everywhere");
  await page.selectOption("#model", "second");
  await page.fill("#context", "256");
  await page.fill("#waves", "33, 33, 34");
  await page.fill("#approvals", "1");
  await page.fill("#soak", "0");
  await page.click('form[action="/console/rollouts"] button');
  await page.waitForURL(/second-everywhere/);
  await mark(page);
  await page.waitForSelector('#live-rollout-acts:has-text("You started it: a second person approves the next wave.")');
  watch.hold((await page.locator('form[action$="/approve"]').count()) === 0, "the author is offered an approval that is refused");
  watch.hold(!page.url().includes("done="), "the page loaded again would tell again that the rollout was started");
  await other.goto(page.url());
  for (let wave = 1; wave <= 3; wave += 1) {
    await other.waitForSelector('form[action$="/approve"] button', { timeout: 120_000 });
    await other.click('form[action$="/approve"] button');
    await other.waitForSelector("p.notice");
    if (wave === 3) break;
    const passed = (count) => [...document.querySelectorAll("#live-rollout .waves li")].filter((li) => li.textContent.includes("the gate passed")).length >= count;
    await page.waitForFunction(passed, wave, { timeout: 120_000 });
    if (wave === 2) await watch.look(page, "rollout-moving");
  }
  await page.waitForSelector('#live-rollout .badge:text("rolled back")', { timeout: 180_000 });
  watch.hold(await isMarked(page), "the rollout's page was loaded again");
  watch.hold((await text(page, "#live-rollout")).includes("yard-3"), "the page does not say who failed");
  const waves = await page.locator("#live-rollout .waves > li").allTextContents();
  watch.hold(waves[2].includes("failed: too many devices of wave 3"), `the wave that failed says ${waves[2]}`);
  watch.hold(!waves.some((wave) => wave.includes("not enough devices do well yet")), "a wave waits though the rollout is over");
  // It goes once it could be read.
  await page.waitForSelector("#done", { state: "detached", timeout: 15_000 });
  await watch.look(page, "rollout-back");
  for (const name of ["till-1", "till-2"]) {
    await show(page, `/console/devices/${name}`);
    await page.waitForSelector('#live-device .badge:text("in step")', { timeout: 120_000 });
    watch.hold((await text(page, "#live-device dl")).includes("outpost-demo"), `${name} has not got back what it had`);
  }
  await show(page, "/console/rollouts");
  await watch.look(page, "rollouts");
}

/** A draft of a policy that its author alone cannot release. */
async function policy(page, other) {
  await show(page, "/console/policies");
  await watch.look(page, "policies-desk");
  await page.fill("#name", "night");
  await page.click('form[action="/console/policies/drafts"] button');
  await page.waitForURL(/drafts\/night/);
  await watch.look(page, "policy-draft");
  await other.goto(page.url().split("?")[0]);
  await other.waitForSelector(':text("waits for a second person")');
  await other.click('form[action$="/approve"] button');
  await other.waitForSelector("p.notice");
  await watch.look(other, "policy-approved", ["light"]);
  await page.reload();
  await page.waitForSelector('.badge:text("can be released")');
}

/** What an auditor takes home is a page, too, and as easy to read. */
async function report(page) {
  await show(page, "/console/records");
  await watch.look(page, "records");
  await show(page, "/console/audit/till-1");
  await watch.look(page, "audit-device");
  await show(page, "/console/audit");
  const coming = page.waitForEvent("download");
  await page.click('a[href="/console/report"]');
  const html = fs.readFileSync(await (await coming).path(), "utf8");
  const open = await browser.newPage();
  await open.setContent(html);
  watch.hold(html.includes("till-1") && html.includes("ada"), "the report tells of no device or of no act");
  await watch.look(open, "report");
  await open.close();
}

/** Hostile words through every form, then planted where no form and no device could bring them. */
async function probes(page) {
  watch.expected.add(400).add(404);
  const submit = async (path, fields, button) => {
    await show(page, path);
    for (const [field, value] of Object.entries(fields)) {
      await page.evaluate((id) => document.getElementById(id).removeAttribute("maxlength"), field);
      await page.fill(`#${field}`, value);
    }
    await page.click(button);
    await page.waitForSelector("h1");
    watch.hold(!(await page.evaluate(() => window.hit)), `${path}: ${Object.keys(fields)} runs`);
  };
  await submit("/console/devices/till-1", { key: "a", value: HOSTILE }, "form:has(#key) button");
  await submit("/console/devices/till-1", { key: HOSTILE, value: "a" }, "form:has(#key) button");
  await submit("/console/devices/till-1", { site: HOSTILE }, 'form[action$="/site"] button');
  await submit("/console/devices/till-1", { confirm: HOSTILE }, 'form[action$="/revoke"] button');
  await submit("/console/enrol", { device: HOSTILE }, 'form[action="/console/enrol/code"] button');
  await submit("/console/groups", { name: "hostile", selector: "all", description: HOSTILE.slice(0, 120) }, 'form[action="/console/groups"] button');
  await submit("/console/groups", { name: HOSTILE, selector: HOSTILE }, 'form[action="/console/groups"] button');
  await submit("/console/devices", { filter: HOSTILE }, "form.filter button");
  await submit("/console/models/third", { selector: HOSTILE, note: HOSTILE }, 'form[action$="/approve"] button');
  await submit("/console/models/third", { reason: HOSTILE, confirm: HOSTILE }, 'form[action$="/withdraw"] button');
  await submit("/console/webhooks", { name: HOSTILE, url: HOSTILE, kinds: HOSTILE }, 'form[action="/console/webhooks"] button');
  await submit("/console/webhooks", { name: "other", url: HOSTILE, kinds: HOSTILE }, 'form[action="/console/webhooks"] button');
  await submit("/console/webhooks/planted", { confirm: HOSTILE }, 'form[action$="/remove"] button');
  for (const query of ["devices?filter=", "devices?after=", "groups?name=", "groups?selector=", "models?a=", "models/", "webhooks/", "enrol?done=", "devices/"]) {
    await page.goto(`${house.url}/console/${query}${encodeURIComponent(HOSTILE)}`);
    watch.hold(!(await page.evaluate(() => window.hit)), `${query} runs`);
  }
  house.plant("UPDATE devices SET agent = ?, audit_key = ?", [HOSTILE, HOSTILE]);
  house.plant("UPDATE facts SET agent = ?, cpu = ?, target = ?, reasons = ? WHERE device = 'till-1'", [HOSTILE, HOSTILE, HOSTILE, HOSTILE]);
  house.plant("UPDATE facts SET model = ? WHERE device = 'till-2'", [HOSTILE]);
  house.plant("INSERT INTO sites (device, site) VALUES ('till-1', ?) ON CONFLICT (device) DO UPDATE SET site = excluded.site", [HOSTILE]);
  house.plant("INSERT INTO labels (device, key, value) VALUES ('till-1', 'planted', ?)", [HOSTILE]);
  house.plant("INSERT INTO device_groups (name, description) VALUES (?, ?)", [HOSTILE, HOSTILE]);
  house.plant("INSERT INTO group_members (device, name) VALUES ('till-1', ?)", [HOSTILE]);
  house.plant("UPDATE events SET text = ?, kind = ?", [HOSTILE, HOSTILE]);
  house.plant("UPDATE commands SET asked_by = ?", [HOSTILE]);
  const asks = "INSERT INTO enrol_requests (key_sha256, wished_name, address, agent, first_s, seen_s) VALUES (zeroblob(32), ?, ?, ?, 1, 1)";
  house.plant(asks, [HOSTILE, HOSTILE, HOSTILE]);
  house.plant("UPDATE model_approvals SET selector = ?, licence = ?, person = ?, note = ?, revoked_by = ?", Array(5).fill(HOSTILE));
  house.plant("UPDATE withdrawals SET target = ?, reason = ?, person = ?", Array(3).fill(HOSTILE));
  house.plant("UPDATE webhooks SET url = ?, kinds = ?, disabled = ?", Array(3).fill(HOSTILE));
  const sent = "INSERT INTO webhook_deliveries (hook, attempt, number, at_s, status, took_ms, error) VALUES ('planted', 1000, 7, 1, 500, 3, ?)";
  house.plant(sent, [HOSTILE]);
  house.plant("INSERT INTO webhook_dead (hook, number, at_s, why) VALUES ('planted', 6, 1, ?)", [HOSTILE]);
  const hook = "INSERT INTO webhooks (name, url, kinds, salt, created_s, disabled, delivered, failures, due_s, claimed_s) VALUES (?, ?, '', zeroblob(8), 1, ?, 0, 0, 0, 0)";
  house.plant(hook, Array(3).fill(HOSTILE));
  watch.expected.delete(400);
  watch.expected.delete(404);
  for (const [name, path] of [
    ["model", "/models/third"], ["webhooks", "/webhooks"], ["webhook", "/webhooks/planted"],
    ["overview", ""], ["devices", "/devices"], ["device", "/devices/till-1"], ["groups", "/groups"], ["enrol", "/enrol"],
    ["models", "/models"], ["policies", "/policies"], ["rollouts", "/rollouts"], ["audit", "/audit"], ["people", "/people"],
  ]) {
    await show(page, `/console${path}`);
    const shown = await page.evaluate(() => document.body.innerText);
    watch.hold(!shown.includes("\u202e"), `${path}: a name turns the line around`);
    await watch.look(page, `hostile-${name}`, ["light", "tablet-dark"]);
  }
  await show(page, "/console/devices/till-1");
  watch.hold((await page.evaluate(() => document.body.innerText)).includes("<script>window.hit=1</script>"), "hostile words are not shown as they are");
}

try {
  await house.start(demo);
  watch = new Watch(house.url, process.env.OUTPOST_SHOTS);
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", `--ignore-certificate-errors-spki-list=${await house.certificate()}`],
  });
  console.log(`Chromium ${browser.version()}`);
  await stories();
  console.log(`  ${watch.checked} looks; axe: ${JSON.stringify(watch.findings)}`);
  if (watch.problems.length) console.log(house.logs());
} finally {
  await browser?.close();
  await house.stop();
}
const problems = [...new Set(watch?.problems ?? ["it did not start"])];
for (const problem of problems.slice(0, 40)) console.log(`FAIL ${problem}`);
console.log(`console: ${passed} passed, ${problems.length} failed`);
process.exit(problems.length ? 1 : 0);

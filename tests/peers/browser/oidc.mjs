// People sign in to the console at a provider that others wrote, in a real Chromium, with every redirect: by each algorithm, with the
// roles that the provider says each time; who has none, who does not agree and who comes with another's answer stays outside.
//
// Then one of the fleet's own people looks after their account; every page of it in light and dark, with axe.
//
//   node oidc.mjs PROGRAMS        CHROMIUM names the browser; OUTPOST_SHOTS is a folder for pictures

import fs from "node:fs";
import path from "node:path";
import { chromium } from "playwright-core";
import { House, freePort, totp } from "./house.mjs";
import { ALGORITHMS, CLIENT, provider } from "./provider.mjs";
import { Watch } from "./watch.mjs";

const house = new House(process.argv[2]);
const people = { ada: ["fleet-admins"], vic: ["outpost-viewer", "others"], eve: ["others"] };
let problems = [];
let browser;
let watch;
let passed = 0;

async function story(name, act) {
  try {
    await act();
    passed += 1;
    console.log(`  ✓ ${name}`);
  } catch (error) {
    problems.push(`${name}: ${error.stack ?? error}`);
    console.log(`  ✗ ${name}: ${String(error).split("\n")[0]}`);
  }
}

function hold(held, problem) {
  if (!held) throw new Error(problem);
}

/** A browser without any cookie. */
const visitor = async () => (await browser.newContext()).newPage();

/** From our page to the provider's, where `name` types who they are. */
async function begin(page, name) {
  await page.goto(`${house.url}/login`);
  await page.click('a[href="/login/oidc"]');
  await page.fill('input[name="login"]', name);
  await page.fill('input[name="password"]', "any will do");
  await page.click('button[type="submit"]');
  // The provider's second page asks whether we may know.
  await page.waitForFunction(() => !document.querySelector('input[name="login"]'));
}

async function signIn(page, name) {
  await begin(page, name);
  await page.click('button[type="submit"]');
}

/** What stands in the control plane's own log about signing in. */
const records = () =>
  house
    .control("audit", "self", "show")
    .map((record) => record.leaf)
    .filter((leaf) => leaf.act === "sign_in");

async function stories(start) {
  for (const algorithm of ALGORITHMS) {
    await story(`an ID token signed with ${algorithm} signs in`, async () => {
      const running = await start(algorithm);
      const page = await visitor();
      await signIn(page, "ada");
      await page.waitForURL(`${house.url}/console`);
      hold((await page.textContent(".who")).includes("ada"), "the console does not say who is there");
      const cookies = await page.context().cookies(house.url);
      const session = cookies.find((cookie) => cookie.name === "__Host-outpost");
      hold(session?.sameSite === "Strict" && session.httpOnly && session.secure, `the session is ${JSON.stringify(session)}`);
      hold(!cookies.some((cookie) => cookie.name === "__Host-outpost-login"), "the cookie of the way is still there");
      await running.close();
    });
  }
  const running = await start("RS256");
  await story("a viewer of the provider is a viewer here, and an administrator the next time if it says so", async () => {
    const page = await visitor();
    await signIn(page, "vic");
    await page.waitForURL(`${house.url}/console`);
    const status = () => page.evaluate(() => fetch("/v1/people").then((answer) => answer.status));
    hold((await status()) === 403, "a viewer reads who there is");
    people.vic = ["fleet-admins"];
    await page.goto(`${house.url}/login`);
    await page.click('a[href="/login/oidc"]');
    await page.waitForURL(`${house.url}/console`);
    hold((await status()) === 200, "an administrator does not read who there is");
  });
  await story("somebody without a role stays outside, on record", async () => {
    const page = await visitor();
    await signIn(page, "eve");
    await page.waitForSelector('[role="alert"]');
    hold((await page.textContent('[role="alert"]')).includes("no role"), "the page does not say why");
    await page.goto(`${house.url}/console`);
    hold(page.url() === `${house.url}/login`, "somebody without a role is inside");
    hold(records().some((leaf) => leaf.res?.err?.includes("no role")), "it is not on record");
  });
  await story("who does not agree at the provider stays outside", async () => {
    const page = await visitor();
    await begin(page, "ada");
    await page.click('a[href$="/abort"]');
    await page.waitForSelector('[role="alert"]');
    hold((await page.textContent('[role="alert"]')).includes("access_denied"), "the page does not say why");
  });
  await story("an answer is of no use in another browser, and twice", async () => {
    const page = await visitor();
    // Seen, not intercepted: a browser follows a redirect without asking who intercepts.
    let answer;
    page.on("request", (request) => {
      if (request.url().startsWith(`${house.url}/login/oidc/back?`)) answer ??= request.url();
    });
    await signIn(page, "ada");
    await page.waitForURL(`${house.url}/console`);
    for (const somebody of [page, await visitor()]) {
      const response = await somebody.goto(answer);
      hold(response.status() === 400, `it answers ${response.status()}`);
    }
  });
  await running.close();
  // What is known of the provider counts for an hour: its page is not there, ours is.
  const local = house.person("local", ["viewer"]);
  const page = await visitor();
  const type = async (password, code = "") => {
    await page.goto(`${house.url}/login`);
    await page.fill("#name", local.name);
    await page.fill("#password", password);
    await page.fill("#code", code);
    await page.click("main button");
  };
  const signOut = async () => {
    await page.click('form[action="/logout"] button');
    await page.waitForURL(`${house.url}/login`);
  };
  await story("without the provider a password still signs in", async () => {
    await page.goto(`${house.url}/login/first`);
    await watch.look(page, "first");
    await page.fill("#name", local.name);
    await page.fill("#code", local.code);
    await page.fill("#password", local.password);
    await page.click("main button");
    await page.waitForURL(`${house.url}/login`);
    await watch.look(page, "login-with-provider");
    await type("not the password");
    await page.waitForSelector('[role="alert"]');
    await watch.look(page, "login-refused");
    await type(local.password);
    await page.waitForURL(`${house.url}/console`);
  });
  let codes;
  await story("a person sets up an authenticator, and a recovery code stands in for it once", async () => {
    await page.click(".who a");
    await watch.look(page, "account");
    await page.fill("#authenticator-current", "not the password");
    await page.click('form[action="/console/account/authenticator"] button');
    await page.waitForSelector('[role="alert"]');
    const described = await page.getAttribute("#authenticator-current", "aria-describedby");
    hold((await page.textContent(`#${described}`)).includes("current password"), "the field does not say what is wrong with it");
    await watch.look(page, "account-refused");
    await page.fill("#authenticator-current", local.password);
    await page.click('form[action="/console/account/authenticator"] button');
    await page.waitForSelector(".big-code");
    await watch.look(page, "account-secret");
    await page.fill("#confirm-code", totp(await page.textContent("pre.command")));
    await page.click('form[action$="/confirm"] button');
    await page.waitForSelector(".codes");
    await watch.look(page, "account-codes");
    codes = await page.locator(".codes li").allTextContents();
    hold(new Set(codes).size === 10, `there are ${codes.length} codes`);
    await signOut();
    await type(local.password);
    await page.waitForSelector('[role="alert"]');
    await type(local.password, codes[0]);
    await page.waitForURL(`${house.url}/console`);
    await signOut();
    await type(local.password, codes[0]);
    await page.waitForSelector('[role="alert"]');
    await type(local.password, codes[1]);
    await page.waitForURL(`${house.url}/console`);
  });
  await story("a new password ends the other sessions, and one session ends another", async () => {
    const here = page.context();
    const other = await (await browser.newContext()).newPage();
    const signIn = async (password, code) => {
      await other.goto(`${house.url}/login`);
      await other.fill("#name", local.name);
      await other.fill("#password", password);
      await other.fill("#code", code);
      await other.click("main button");
      await other.waitForURL(`${house.url}/console`);
    };
    const isOut = async () => {
      await other.goto(`${house.url}/console`);
      return other.url() === `${house.url}/login`;
    };
    await signIn(local.password, codes[2]);
    await page.goto(`${house.url}/console/account`);
    await page.click('form[action$="/sessions/end"] button');
    await page.waitForSelector("p.notice");
    hold(await isOut(), "the session that was ended goes on");
    await signIn(local.password, codes[3]);
    await page.fill("#password-current", local.password);
    await page.fill("#password-new", "nine quiet herons");
    await page.click('form[action$="/account/password"] button');
    await page.waitForSelector("p.notice");
    hold(await isOut(), "the session of before the change goes on");
    await signIn("nine quiet herons", codes[4]);
    hold((await here.cookies(house.url)).length > 0, "this session is over, too");
  });
}

try {
  const port = await freePort();
  house.port = await freePort();
  house.url = `https://localhost:${house.port}`;
  const secret = path.join(house.folder, "secret");
  fs.writeFileSync(secret, CLIENT.secret, { mode: 0o600 });
  fs.mkdirSync(house.state, { mode: 0o700 });
  fs.writeFileSync(
    path.join(house.state, "outpost-control.toml"),
    `http_listen = "127.0.0.1:${house.port}"
mqtt_listen = "127.0.0.1:${await freePort()}"
[login]
url = "${house.url}"
[login.oidc]
issuer = "http://127.0.0.1:${port}"
client_id = "${CLIENT.id}"
client_secret_file = "${secret}"
roles_claim = "groups"
role_prefix = "outpost-"
roles.fleet-admins = ["administrator"]
`,
  );
  house.control("init");
  await house.serve();
  watch = new Watch(house.url, process.env.OUTPOST_SHOTS);
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", `--ignore-certificate-errors-spki-list=${await house.certificate()}`],
  });
  await stories((algorithm) => provider({ port, back: `${house.url}/login/oidc/back`, people, algorithm }));
  problems = problems.concat(watch.problems);
  console.log(`  ${watch.checked} looks; axe: ${JSON.stringify(watch.findings)}`);
  if (problems.length) console.log(house.logs());
} finally {
  await browser?.close();
  await house.stop();
}
for (const problem of problems) console.log(`error: ${problem}`);
console.log(`${passed} stories passed, ${problems.length} failed`);
process.exit(problems.length ? 1 : 0);

// What no page of the console may do, watched all the while: talk to another origin, break its own policy, complain on its console,
// run what somebody was called, be hard to use without a mouse or good eyes, or be wider than the screen.

import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";

const axe = fs.readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** How pages are looked at. */
export const LOOKS = {
  light: { colorScheme: "light", width: 1440, height: 900 },
  dark: { colorScheme: "dark", width: 1440, height: 900 },
  tablet: { colorScheme: "light", width: 820, height: 1180 },
  "tablet-dark": { colorScheme: "dark", width: 820, height: 1180 },
};

/** What executes if a page takes a text for more than a text. */
export const HOSTILE = `<script>window.hit=1</script>"'><img src=x onerror="window.hit=2"><svg onload="window.hit=3">{{7*7}}\u202egnp.exe`;

export class Watch {
  problems = [];
  checked = 0;
  findings = {};
  /** Answers that a step asks for on purpose, as `400`. */
  expected = new Set();

  constructor(origin, shots) {
    this.origin = origin;
    this.shots = shots;
    if (shots) fs.mkdirSync(shots, { recursive: true });
  }

  hold(held, problem) {
    if (!held) this.problems.push(problem);
    return held;
  }

  /** Every page of this context is watched from now on. */
  async follow(context) {
    await context.exposeBinding("outpostViolation", (_, words) => void this.problems.push(`policy broken: ${words}`));
    await context.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => {
        window.outpostViolation(`${event.violatedDirective} by ${event.blockedURI} on ${location.pathname}`);
      });
    });
    context.on("page", (page) => this.followPage(page));
  }

  followPage(page) {
    page.on("console", (message) => {
      const said = message.text();
      const wanted = [...this.expected].some((status) => said.includes(`status of ${status}`));
      this.hold(!["error", "warning"].includes(message.type()) || wanted, `console of ${page.url()}: ${said}`);
    });
    page.on("pageerror", (error) => this.problems.push(`script of ${page.url()}: ${error}`));
    page.on("dialog", (dialog) => {
      this.problems.push(`a dialog on ${page.url()}: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on("request", (request) => {
      const url = request.url();
      const ours = url.startsWith(`${this.origin}/`) || url.startsWith("data:") || url === "about:blank";
      this.hold(ours, `${page.url()} asks ${url}`);
    });
    page.on("response", (response) => this.hold(response.status() < 500, `${response.url()} answers ${response.status()}`));
  }

  /** Looks at what a page shows now, in every look: findings of axe, width, names that run; and keeps pictures. */
  async look(page, name, looks = Object.keys(LOOKS)) {
    for (const look of looks) {
      const { colorScheme, width, height } = LOOKS[look];
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.setViewportSize({ width, height });
      if (this.shots) await page.screenshot({ path: path.join(this.shots, `${name}-${look}.png`), fullPage: true });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      this.hold(wide <= 0, `${name} (${look}) is ${wide} px wider than the screen`);
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      for (const { id, impact, help, nodes } of violations) {
        const where = `${impact} ${id} (${help})`;
        this.findings[where] = (this.findings[where] ?? 0) + nodes.length;
        const first = nodes[0];
        this.hold(!["serious", "critical"].includes(impact), `${name} (${look}): ${where}: ${first.target.join(" ")}: ${first.failureSummary}`);
      }
      this.checked += 1;
    }
    this.hold(!(await page.evaluate(() => window.hit)), `${name}: something ran that was only a name`);
    await page.setViewportSize({ width: LOOKS.light.width, height: LOOKS.light.height });
    await page.emulateMedia({ colorScheme: "light" });
  }

  /** A page by keyboard alone: the first stop skips what every page has, and every stop is seen. */
  async byKeyboard(page, name) {
    await page.evaluate(() => document.activeElement?.blur());
    await page.keyboard.press("Tab");
    const first = await page.evaluate(() => {
      const { className, offsetLeft } = document.activeElement;
      return { className, offsetLeft };
    });
    this.hold(first.className === "skip" && first.offsetLeft >= 0, `${name}: the first stop is no visible way past the menu`);
    await page.keyboard.press("Enter");
    this.hold(await page.evaluate(() => document.activeElement?.id === "content"), `${name}: skipping leads nowhere`);
    for (let stop = 0; stop < 25; stop += 1) {
      await page.keyboard.press("Tab");
      const unseen = await page.evaluate(() => {
        const element = document.activeElement;
        if (!element || element === document.body) return null;
        const { outlineStyle, outlineWidth } = getComputedStyle(element);
        return outlineStyle !== "none" && parseFloat(outlineWidth) >= 2 ? null : element.outerHTML.slice(0, 120);
      });
      this.hold(!unseen, `${name}: the stop is not seen at ${unseen}`);
    }
  }
}

// A real control plane and real devices of the built programs, in a folder that is thrown away; and people to sign in as.

import { execFile, execFileSync, spawn } from "node:child_process";
import { createHash, createHmac, X509Certificate } from "node:crypto";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import tls from "node:tls";

/** Waits until `look` gives something; an error says `what` did not come. */
export async function until(what, look, seconds = 60) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`${what} did not come within ${seconds} s`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

export const freePort = () =>
  new Promise((resolve) => {
    const server = net.createServer();
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

/** The code of an authenticator now (RFC 6238), of the address that it was given. */
export function totp(otpauth) {
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  const bits = [...new URL(otpauth).searchParams.get("secret")].map((c) => letters.indexOf(c).toString(2).padStart(5, "0"));
  const key = Buffer.from(bits.join("").match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000)));
  const tag = createHmac("sha1", key).update(step).digest();
  return String((tag.readUInt32BE(tag.at(-1) & 15) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}

export class House {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "outpost-console-"));
  state = path.join(this.folder, "control");
  children = [];
  devices = new Map();

  constructor(programs) {
    this.programs = programs;
    process.on("exit", () => this.children.forEach((child) => child.kill("SIGKILL")));
  }

  /** Runs `outpost-control` on this fleet and reads what it answers. */
  control(...words) {
    const told = execFileSync(path.join(this.programs, "outpost-control"), ["--state", this.state, "--json", ...words], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
    return told.trim() ? JSON.parse(told) : null;
  }

  async start(demo) {
    this.port = await freePort();
    this.url = `https://localhost:${this.port}`;
    const settings = `http_listen = "127.0.0.1:${this.port}"
mqtt_listen = "127.0.0.1:${await freePort()}"
accept_requests = true
[licences]
allow = ["apache-2.0"]
[webhooks]
allow = ["127.0.0.0/8"]
http = true
`;
    fs.mkdirSync(this.state, { mode: 0o700 });
    fs.writeFileSync(path.join(this.state, "outpost-control.toml"), settings);
    this.token = this.control("init").admin_token;
    this.keys = path.join(this.folder, "keys");
    this.control("keys", "create", "--keys", this.keys);
    const models = ["Q8_0", "Q4_0"].flatMap((kind) => ["--model", this.variant(demo, kind)]);
    this.control("catalogue", "release", "--keys", this.keys, "--default-policy", ...models);
    await this.serve();
  }

  /** Makes a file of another kind of the demo model and says what a catalogue needs to know about it. */
  variant(demo, kind, change = (facts) => facts) {
    const outpost = path.join(this.programs, "outpost");
    const file = path.join(this.folder, `demo-${kind}-${fs.readdirSync(this.folder).length}.gguf`);
    execFileSync(outpost, ["model", "quantize", demo, file, "--to", kind], { stdio: "ignore" });
    const facts = execFileSync(outpost, ["model", "inspect", file, "--json"], { encoding: "utf8" });
    fs.writeFileSync(`${file}.json`, JSON.stringify(change(JSON.parse(facts))));
    return `${file}.json`;
  }

  async serve() {
    this.server = this.run("outpost-control", ["--state", this.state, "serve"], "control.log");
    await until("the control plane", () => this.certificate().catch(() => null));
  }

  /** What a browser needs to believe the server's certificate and no other. */
  certificate() {
    return new Promise((resolve, reject) => {
      const socket = tls.connect({ host: "127.0.0.1", port: this.port, rejectUnauthorized: false }, () => {
        const { publicKey } = new X509Certificate(socket.getPeerCertificate().raw);
        socket.end();
        resolve(createHash("sha256").update(publicKey.export({ type: "spki", format: "der" })).digest("base64"));
      });
      socket.on("error", reject);
    });
  }

  run(program, words, log) {
    const into = fs.openSync(path.join(this.folder, log), "a");
    const child = spawn(path.join(this.programs, program), words, { stdio: ["ignore", into, into] });
    this.children.push(child);
    return child;
  }

  ca() {
    return path.join(this.state, "tls", "ca.pem");
  }

  device(name) {
    return path.join(this.folder, `device-${name}`);
  }

  /** Enrols a device as somebody at the box does, with a code or (without one) by asking. */
  enrol(name, code, settings = "") {
    const state = this.device(name);
    fs.mkdirSync(state, { recursive: true, mode: 0o700 });
    if (settings) fs.writeFileSync(path.join(state, "outpost.toml"), settings);
    const how = code ? ["--code", code] : ["--name", name, "--wait", "2"];
    const words = ["--state", state, "enroll", "--server", this.url, "--ca", this.ca(), ...how];
    const enrolled = new Promise((resolve, reject) => {
      execFile(path.join(this.programs, "outpost"), words, (error, _, told) => (error ? reject(new Error(told)) : resolve()));
    });
    // Whoever waits for it hears of an error; nobody may be waiting any more.
    enrolled.catch(() => {});
    return enrolled;
  }

  async runDevice(name) {
    const words = ["--state", this.device(name), "run", "--listen", `127.0.0.1:${await freePort()}`];
    this.devices.set(name, this.run("outpost", words, `${name}.log`));
  }

  /** A person with a one-time code, and an authenticator if wanted. */
  person(name, roles, { authenticator = false } = {}) {
    const { code } = this.control("person", "add", name, ...roles.flatMap((role) => ["--role", role]));
    const otpauth = authenticator ? this.control("person", "totp", name).otpauth : null;
    return { name, code, otpauth, password: `seven mild otters ${this.children.length} swim at dusk` };
  }

  /** Writes into the database as no command and no device could: what is shown must be harmless whatever got there. */
  plant(sql, values) {
    const script = "import json, sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=20); c.execute(sys.argv[2], json.loads(sys.argv[3])); c.commit()";
    execFileSync("python3", ["-c", script, path.join(this.state, "control.db"), sql, JSON.stringify(values)]);
  }

  logs() {
    const tail = (file) => fs.readFileSync(path.join(this.folder, file), "utf8").split("\n").slice(-12).join("\n");
    return fs.readdirSync(this.folder).filter((file) => file.endsWith(".log")).map((file) => `── ${file}\n${tail(file)}`).join("\n");
  }

  async stop() {
    for (const child of this.children) child.kill("SIGTERM");
    const hasEnded = (child) => child.exitCode !== null || child.signalCode !== null;
    await Promise.all(this.children.map((child) => hasEnded(child) || new Promise((resolve) => child.once("exit", resolve))));
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

// What a hostile page tries; every function runs inside the browser and is handed over as text.
//
// Each tells `blocked` (an error, or nothing came), `unreadable` (something came, and the page cannot see what) or `read`.

/** All attempts of one page at one path. `key` is a key that the page should never have had: it must not help. */
export async function attempts({ base, path, key, body }) {
  const url = base + path;
  const json = { "content-type": "application/json" };
  const withKey = { authorization: `Bearer ${key}` };
  const text = JSON.stringify(body);
  const nothing = { outcome: "blocked", detail: "nothing came" };
  const later = (limit) => new Promise((resolve) => setTimeout(() => resolve(nothing), limit));

  const fetched = async (options) => {
    try {
      const answer = await fetch(url, { ...options, signal: AbortSignal.timeout(15_000) });
      if (answer.type === "opaque") return { outcome: "unreadable" };
      return { outcome: "read", status: answer.status, detail: (await answer.text()).slice(0, 200) };
    } catch (error) {
      return { outcome: "blocked", detail: String(error) };
    }
  };
  const element = (tag, attributes) =>
    new Promise((resolve) => {
      const made = Object.assign(document.createElement(tag), attributes);
      made.onload = () => resolve({ outcome: "unreadable" });
      made.onerror = () => resolve({ outcome: "blocked" });
      document.body.append(made);
    });
  const framed = (start) =>
    new Promise((resolve) => {
      const frame = document.createElement("iframe");
      frame.name = `frame-${Math.random()}`;
      document.body.append(frame);
      frame.onload = () => {
        let seen = null;
        try {
          seen = frame.contentDocument?.body?.innerText;
        } catch {}
        frame.remove();
        resolve(seen ? { outcome: "read", detail: seen.slice(0, 200) } : { outcome: "unreadable" });
      };
      start(frame);
    });
  const form = (enctype) =>
    framed((frame) => {
      const made = Object.assign(document.createElement("form"), { method: "POST", action: url, target: frame.name, enctype });
      // As text/plain the name, the equals sign and the value spell one JSON object.
      const [name, value] = enctype === "text/plain" ? [text.slice(0, -1) + ',"x":"', '"}'] : ["model", "x"];
      made.append(Object.assign(document.createElement("input"), { name, value }));
      document.body.append(made);
      made.submit();
    });
  const opened = (make, good) =>
    new Promise((resolve) => {
      try {
        const made = make();
        made[good] = () => (made.close(), resolve({ outcome: "read", detail: "it opened" }));
        made.onerror = () => (made.close(), resolve({ outcome: "blocked" }));
      } catch (error) {
        resolve({ outcome: "blocked", detail: String(error) });
      }
    });

  const tries = {
    "fetch GET": () => fetched({}),
    "fetch GET with a key": () => fetched({ headers: withKey }),
    "fetch GET no-cors": () => fetched({ mode: "no-cors" }),
    "fetch POST text": () => fetched({ method: "POST", body: text }),
    "fetch POST text no-cors": () => fetched({ method: "POST", mode: "no-cors", body: text }),
    "fetch POST JSON with a key": () => fetched({ method: "POST", body: text, headers: { ...json, ...withKey } }),
    "fetch DELETE with a key": () => fetched({ method: "DELETE", body: text, headers: { ...json, ...withKey } }),
    "fetch with cookies": () => fetched({ credentials: "include" }),
    beacon: async () => ({ outcome: navigator.sendBeacon(url, text) ? "unreadable" : "blocked" }),
    "form POST": () => form("application/x-www-form-urlencoded"),
    "form POST as JSON": () => form("text/plain"),
    img: () => element("img", { src: url }),
    script: () => element("script", { src: url }),
    stylesheet: () => element("link", { rel: "stylesheet", href: url }),
    iframe: () => framed((frame) => (frame.src = url)),
    EventSource: () => opened(() => new EventSource(url), "onopen"),
    WebSocket: () => opened(() => new WebSocket(url.replace("http", "ws")), "onopen"),
  };
  const one = async ([how, attempt]) => [how, await Promise.race([attempt(), later(20_000)])];
  return Object.fromEntries(await Promise.all(Object.entries(tries).map(one)));
}

// What stands between the browser and the server: it changes nothing, and writes down each request and how it was answered.

import http from "node:http";

const listen = (server) => new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));

/** A relay to `port` of this machine: its own port, and the list that grows. */
export async function relay(port) {
  const seen = [];
  const server = http.createServer((request, response) => {
    const entry = { method: request.method, path: request.url, headers: request.headers, status: null };
    seen.push(entry);
    const onward = http.request(as(request, port), (answer) => {
      entry.status = answer.statusCode;
      response.writeHead(answer.statusCode, answer.statusMessage, answer.rawHeaders);
      answer.pipe(response);
    });
    onward.on("upgrade", (answer, socket) => {
      entry.status = answer.statusCode;
      socket.destroy();
      response.destroy();
    });
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  });
  // A WebSocket's handshake comes as an upgrade; the server has to answer it with anything but 101.
  server.on("upgrade", (request, socket) => {
    const entry = { method: "WEBSOCKET", path: request.url, headers: request.headers, status: null };
    seen.push(entry);
    const onward = http.request(as(request, port));
    const close = (status) => {
      entry.status = status;
      socket.end(`HTTP/1.1 ${status} relayed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
    };
    onward.on("response", (answer) => (answer.resume(), close(answer.statusCode)));
    onward.on("upgrade", (answer, upgraded) => (upgraded.destroy(), close(answer.statusCode)));
    onward.on("error", () => socket.destroy());
    onward.end();
  });
  return { port: await listen(server), seen, close: () => server.closeAllConnections() };
}

// The same request once more; its headers as they came, in their case and order.
const as = ({ method, url, rawHeaders }, port) => ({ host: "127.0.0.1", port, method, path: url, headers: rawHeaders });

const everybody = {
  "content-type": "application/json",
  "access-control-allow-origin": "*",
  "access-control-allow-headers": "*, authorization",
  "access-control-allow-methods": "*",
};

/** A server that defends itself against nothing: it answers whoever asks. What works against it is a real attack. */
export async function naive() {
  const server = http.createServer((request, response) => {
    request.resume();
    request.on("end", () => {
      response.writeHead(200, everybody);
      response.end('{"secret": true}');
    });
  });
  return { port: await listen(server), close: () => server.closeAllConnections() };
}

/** The attacker's own web server: an empty page, under every name that leads here. */
export async function pages() {
  const server = http.createServer((_, response) => {
    response.writeHead(200, { "content-type": "text/html" });
    response.end("<!doctype html><title>harmless</title><body></body>");
  });
  return { port: await listen(server), close: () => server.closeAllConnections() };
}

// Live parts of a page follow the fleet, a filter shows what it finds as one types, keys move through lists.
"use strict";
(() => {
  const parts = () => document.querySelectorAll("[data-live]");

  // Fetches a page and takes its live parts over. Nothing in it is run: a parsed document has no scripts.
  const take = async (address) => {
    const answer = await fetch(address, { headers: { Accept: "text/html" } });
    if (answer.redirected) { location.reload(); return; }
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of parts()) {
      const next = fresh.getElementById(part.id);
      // What somebody is typing into, or has opened, stays as it is.
      const busy = part.querySelector("input:focus, select:focus, details[open]");
      if (!next || busy || next.isEqualNode(part)) continue;
      const row = document.activeElement;
      const at = part.contains(row) ? row.getAttribute("href") : null;
      part.replaceWith(document.adoptNode(next));
      if (at) next.querySelector(`[href="${CSS.escape(at)}"]`)?.focus();
    }
  };

  // What was just done is told once: the page loaded again does not tell it again, and where the page goes on by itself, it makes
  // way for what follows, but not before it could be read.
  const address = new URL(location.href);
  if (address.searchParams.has("done")) {
    address.searchParams.delete("done");
    history.replaceState(null, "", address);
  }
  const READ_MS = 10_000;
  const loaded = Date.now();
  const settle = () => setTimeout(() => document.getElementById("done")?.remove(), loaded + READ_MS - Date.now());

  // One fetch at a time; what changed meanwhile is fetched after it. A hidden page fetches when it is looked at again.
  let fetching = false, stale = false;
  const refresh = async () => {
    if (fetching || document.hidden) { stale = true; return; }
    fetching = true;
    stale = false;
    try { await take(location.href); settle(); } catch { /* the next event tries again */ }
    fetching = false;
    if (stale) setTimeout(refresh, 1000);
  };
  if (parts().length > 0) {
    const live = new EventSource("/console/live");
    live.addEventListener("changed", refresh);
    // What happened between the page and its stream, or between two streams, nobody told.
    live.addEventListener("open", refresh);
    document.addEventListener("visibilitychange", () => { if (!document.hidden && stale) refresh(); });
  }

  const form = document.querySelector("form[data-preview]");
  if (form) {
    let timer;
    form.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(async () => {
        const address = `${form.action}?${new URLSearchParams(new FormData(form))}`;
        history.replaceState(null, "", address);
        try { await take(address); } catch { /* the form still works */ }
      }, 250);
    });
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
    const box = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (box) { event.preventDefault(); box.focus(); return; }
    if (event.key !== "j" && event.key !== "k") return;
    const rows = [...document.querySelectorAll("[data-row]")];
    const at = rows.indexOf(document.activeElement);
    rows[Math.max(0, Math.min(rows.length - 1, at + (event.key === "j" ? 1 : -1)))]?.focus();
  });
})();

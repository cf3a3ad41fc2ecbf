// Live pages: a server-sent event says "look again", the page fetches itself and swaps the parts that have a data-part; what runs counts on by
// itself. Logs append as they grow.
"use strict";
(() => {
  if (navigator.clipboard) document.documentElement.classList.add("copies");  // not there over plain http
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(button.dataset.copy);
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 1500);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.querySelectorAll(".ask[open]").forEach((ask) => { ask.open = false; ask.querySelector("summary").focus(); });
  });
  // What the server drew last: neither what ticks nor what a person opened or filled in since is a change.
  const drawn = new Map([...document.querySelectorAll("[data-part]")].map((part) => [part, part.innerHTML]));
  const begun = new WeakMap();  // of what still runs: when, by this page's clock
  const tick = () => {
    for (const shown of document.querySelectorAll("[data-ms]")) {
      if (!begun.has(shown)) begun.set(shown, performance.now() - shown.dataset.ms);
      const s = Math.floor((performance.now() - begun.get(shown)) / 1000), two = (n) => String(n).padStart(2, "0");
      shown.textContent = s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min ${two(s % 60)} s` : `${Math.floor(s / 3600)} h ${two(Math.floor(s / 60) % 60)} min`;
    }
  };
  tick();
  setInterval(tick, 1000);
  const live = document.body.dataset.live;
  if (live) {
    // What a person opened, shut or stands on stays so in the new part.
    const swap = (part, next) => {
      const scrolls = [...part.querySelectorAll(".graph")].map((g) => g.scrollLeft);
      const folds = new Map([...part.querySelectorAll("details")].map((d) => [d.querySelector("summary a, summary").textContent, d.open]));
      const stops = "a, button, summary, .graph", at = [...part.querySelectorAll(stops)].indexOf(document.activeElement);
      part.innerHTML = next.innerHTML;
      part.querySelectorAll(".graph").forEach((g, i) => { g.scrollLeft = scrolls[i] || 0; });
      part.querySelectorAll("details").forEach((d) => { d.open = folds.get(d.querySelector("summary a, summary").textContent) ?? d.open; });
      if (at >= 0) part.querySelectorAll(stops)[at]?.focus({ preventScroll: true });
    };
    let busy = false, again = false;
    const refresh = async () => {
      if (busy) { again = true; return; }
      busy = true;
      try {
        const answer = await fetch(location.pathname + location.search, { headers: { "X-Part": "1" } });
        if (answer.ok) {
          const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
          document.title = fresh.title;
          for (const part of document.querySelectorAll("[data-part]")) {
            const next = fresh.querySelector(`[data-part="${part.dataset.part}"]`);
            if (next && next.innerHTML !== drawn.get(part)) {
              drawn.set(part, next.innerHTML);
              swap(part, next);
            }
          }
          tick();
        }
      } finally { busy = false; if (again) { again = false; setTimeout(refresh, 300); } }
    };
    const source = new EventSource(live);
    source.addEventListener("changed", refresh);
    source.addEventListener("end", () => { source.close(); refresh(); });
    document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });  // "3 min ago" has grown old
    addEventListener("pagehide", () => source.close());
  }

  const log = document.getElementById("log");
  if (!log) return;
  const folded = new Set();
  const follow = document.getElementById("follow");
  const lines = (within) => within.querySelectorAll(".l[data-s]");
  const hide = (line) => { line.hidden = line.dataset.s.split(" ").some((s) => folded.has(s)); };
  const fold = (button, shut) => {
    button.setAttribute("aria-expanded", String(!shut));
    shut ? folded.add(button.dataset.fold) : folded.delete(button.dataset.fold);
  };
  const take = (within) => {
    within.querySelectorAll(".fold[data-shut]").forEach((b) => fold(b, true));
    lines(within).forEach(hide);
  };
  take(log);
  log.addEventListener("click", (event) => {
    const button = event.target.closest(".fold");
    if (!button) return;
    fold(button, button.getAttribute("aria-expanded") === "true");
    lines(log).forEach(hide);
  });
  document.getElementById("fold-all").addEventListener("click", (event) => {
    const shut = event.target.textContent === "Fold all";
    log.querySelectorAll(".fold").forEach((b) => fold(b, shut));
    lines(log).forEach(hide);
    event.target.textContent = shut ? "Unfold all" : "Fold all";
  });
  // What came before is put in front of what is there; the line that one looks at stays where it is.
  log.parentElement.addEventListener("click", async (event) => {
    const link = event.target.closest("#before");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const answer = await fetch(link.href);
    if (!answer.ok) { location = link.href; return; }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const first = log.firstElementChild, top = first?.getBoundingClientRect().top;
    take(fresh.getElementById("log"));
    follow.checked = false;
    log.prepend(...fresh.getElementById("log").children);
    const next = fresh.getElementById("before");
    next ? link.parentElement.replaceWith(next.parentElement) : link.parentElement.remove();
    if (first) scrollBy(0, first.getBoundingClientRect().top - top);
  });
  const reveal = () => {
    const line = location.hash && document.getElementById(location.hash.slice(1));
    const number = location.hash.match(/^#L(\d+)$/)?.[1];
    if (!line && number && !new URLSearchParams(location.search).has("line")) location.replace(`?line=${number}#L${number}`);
    if (!line) return;
    (line.dataset.s || "").split(" ").forEach((s) => log.querySelectorAll(`.fold[data-fold="${s}"]`).forEach((b) => fold(b, false)));
    lines(log).forEach(hide);
    follow.checked = false;
    line.scrollIntoView({ block: "center" });
  };
  reveal();
  if (!log.dataset.events) return;
  const events = new EventSource(`${log.dataset.events}?from=${log.dataset.from}&lines=${log.dataset.lines}`);
  events.addEventListener("lines", (event) => {
    const data = JSON.parse(event.data);
    const holder = document.createElement("template");
    holder.innerHTML = data.html;  // made by web/ansi.py: every byte of the job is escaped there
    take(holder.content);
    log.append(holder.content);
    document.getElementById("log-size").textContent = data.size;
    if (follow.checked) log.lastElementChild?.scrollIntoView({ block: "end" });
  });
  events.addEventListener("end", () => events.close());
  addEventListener("wheel", (e) => { if (e.deltaY < 0) follow.checked = false; }, { passive: true });
  addEventListener("pagehide", () => events.close());
})();

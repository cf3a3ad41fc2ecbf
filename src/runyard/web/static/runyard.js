// Live pages: a server-sent event says "look again", the page fetches itself and swaps the parts that have a data-part. Logs append as they grow.
"use strict";
(() => {
  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.ask;
    if (question && !confirm(question)) event.preventDefault();
  });
  const live = document.body.dataset.live;
  if (live) {
    let busy = false, again = false;
    const refresh = async () => {
      if (busy) { again = true; return; }
      busy = true;
      try {
        const answer = await fetch(location.pathname + location.search, { headers: { "X-Part": "1" } });
        if (answer.ok) {
          const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
          for (const part of document.querySelectorAll("[data-part]")) {
            const next = fresh.querySelector(`[data-part="${part.dataset.part}"]`);
            if (next && next.innerHTML !== part.innerHTML) {
              const scrolls = [...part.querySelectorAll(".graph")].map((g) => g.scrollLeft);
              part.innerHTML = next.innerHTML;
              part.querySelectorAll(".graph").forEach((g, i) => { g.scrollLeft = scrolls[i] || 0; });
            }
          }
        }
      } finally { busy = false; if (again) { again = false; setTimeout(refresh, 300); } }
    };
    const source = new EventSource(live);
    source.addEventListener("changed", refresh);
    source.addEventListener("end", () => { source.close(); refresh(); });
    addEventListener("pagehide", () => source.close());
  }

  const log = document.getElementById("log");
  if (!log) return;
  const folded = new Set();
  const follow = document.getElementById("follow");
  const hide = (line) => { line.hidden = (line.dataset.s || "").split(" ").some((s) => folded.has(s)); };
  const fold = (button, shut) => {
    button.setAttribute("aria-expanded", String(!shut));
    shut ? folded.add(button.dataset.fold) : folded.delete(button.dataset.fold);
  };
  log.addEventListener("click", (event) => {
    const button = event.target.closest(".fold");
    if (!button) return;
    fold(button, button.getAttribute("aria-expanded") === "true");
    log.querySelectorAll(".l[data-s]").forEach(hide);
  });
  document.getElementById("fold-all").addEventListener("click", (event) => {
    const shut = event.target.textContent === "Fold all";
    log.querySelectorAll(".fold").forEach((b) => fold(b, shut));
    log.querySelectorAll(".l[data-s]").forEach(hide);
    event.target.textContent = shut ? "Unfold all" : "Fold all";
  });
  const events = new EventSource(`${log.dataset.events}?from=${log.dataset.from}&lines=${log.dataset.lines}`);
  events.addEventListener("lines", (event) => {
    const data = JSON.parse(event.data);
    const holder = document.createElement("template");
    holder.innerHTML = data.html;  // made by web/ansi.py: every byte of the job is escaped there
    holder.content.querySelectorAll(".l[data-s]").forEach(hide);
    log.append(holder.content);
    document.getElementById("log-size").textContent = data.size;
    if (follow.checked) log.lastElementChild?.scrollIntoView({ block: "end" });
  });
  events.addEventListener("end", () => events.close());
  addEventListener("wheel", (e) => { if (e.deltaY < 0) follow.checked = false; }, { passive: true });
  addEventListener("pagehide", () => events.close());
  if (location.hash) document.querySelector(location.hash)?.scrollIntoView({ block: "center" });
})();

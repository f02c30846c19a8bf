// The overview, kept fresh: the server sends it again when it changed, and only the parts that differ are replaced.
"use strict";

(() => {
  const live = document.getElementById("live");
  const word = document.getElementById("live-word");
  const pill = document.getElementById("pill");
  const line = document.getElementById("live-line");
  const shown = new Map();
  let source = null;

  for (const part of live.querySelectorAll("[data-part]")) shown.set(part.dataset.part, part.outerHTML);

  function replace(part) {
    const old = live.querySelector(`[data-part="${part.dataset.part}"]`);
    if (!old || shown.get(part.dataset.part) === part.outerHTML) return;
    shown.set(part.dataset.part, part.outerHTML);
    const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    if (old.hasAttribute("aria-live")) {
      // The region itself stays, or nobody is told that its text changed.
      old.className = part.className;
      old.replaceChildren(...part.childNodes);
    } else {
      old.replaceWith(part);
    }
    if (focused) live.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  }

  function draw(event) {
    const news = JSON.parse(event.data);
    const page = new DOMParser().parseFromString(news.html, "text/html");
    for (const part of [...page.querySelectorAll("[data-part]")]) replace(part);
    pill.textContent = news.word;
    pill.className = `pill tone-${news.tone}`;
    document.title = `${news.word} · Payouts`;
    say("Live.");
    document.dispatchEvent(new Event("redrawn"));
  }

  function say(text) {
    if (line.textContent !== text) line.textContent = text;
  }

  function open() {
    if (source || document.hidden) return;
    source = new EventSource(live.dataset.events);
    source.addEventListener("standing", draw);
    source.addEventListener("ended", () => location.reload());
    source.addEventListener("error", () => {
      if (source && source.readyState === EventSource.CLOSED) {
        // Refused, not only interrupted: the browser does not try again by itself.
        close();
        setTimeout(retry, 10000);
      }
      say("The connection is interrupted; what you see may be old. It is tried again by itself.");
    });
  }

  function close() {
    if (source) source.close();
    source = null;
  }

  async function retry() {
    try {
      if ((await fetch("/livez")).ok) location.reload();
      else setTimeout(retry, 10000);
    } catch {
      setTimeout(retry, 10000);
    }
  }

  // A page that nobody sees needs no stream: browsers allow few connections, and so does the server.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  if (word) open();
})();

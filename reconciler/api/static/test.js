// The test page: records as an overlay does, and shows what the databases say about it.
"use strict";

(() => {
  const AT_ONCE = 20;
  const trial = document.getElementById("trial");
  const controls = document.getElementById("controls");
  const said = document.getElementById("said");
  const look = document.getElementById("look");
  const token = document.getElementById("token");
  const countMax = Number(trial.dataset.countMax);
  let source = null;
  let watched = "";

  function say(text) {
    said.textContent = text;
  }

  trial.addEventListener("submit", async event => {
    event.preventDefault();
    if (source) source.close();
    controls.hidden = false;
    look.replaceChildren();
    watched = token.value.trim();
    const answer = await fetch("/test/find", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token: watched }),
    }).catch(() => null);
    if (!answer || !answer.ok) {
      say(answer && answer.status === 404 ? "No participation has this token." : "It could not be looked up; try again.");
      return;
    }
    const found = await answer.json();
    say("Watching.");
    source = new EventSource(`/test/watch/${encodeURIComponent(found.participation_id)}`);
    source.addEventListener("look", event => {
      const news = JSON.parse(event.data);
      if (news.away) {
        say("MongoDB does not answer.");
        return;
      }
      const page = new DOMParser().parseFromString(news.html, "text/html");
      look.replaceChildren(...page.body.childNodes);
    });
  });

  async function record(kind, count) {
    const answer = await fetch(`/api/v1/campaigns/${kind}/${encodeURIComponent(watched)}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ count }),
    }).catch(() => null);
    if (!answer) return { count: 0, why: "no answer" };
    const body = await answer.json().catch(() => ({}));
    return answer.ok ? { count, body } : { count: 0, why: body.title || `status ${answer.status}` };
  }

  async function one(kind) {
    const done = await record(kind, 1);
    say(done.count ? `Recorded 1 ${kind}; ${done.body.impressions.toLocaleString("en")} impressions now.` : `Not recorded: ${done.why}.`);
  }

  async function burst(total, each) {
    const began = performance.now();
    const refused = new Map();
    let recorded = 0;
    let left = total;
    async function worker() {
      while (left > 0) {
        const count = Math.min(each, left);
        left -= count;
        const done = await record("impression", count);
        recorded += done.count;
        if (done.why) refused.set(done.why, (refused.get(done.why) || 0) + count);
        say(`Recorded ${recorded.toLocaleString("en")} of ${total.toLocaleString("en")} …`);
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    const seconds = ((performance.now() - began) / 1000).toFixed(2);
    const whys = [...refused].map(([why, count]) => ` Not recorded: ${count.toLocaleString("en")} (${why}).`).join("");
    say(`Recorded ${recorded.toLocaleString("en")} of ${total.toLocaleString("en")} in ${seconds} s.${whys}`);
  }

  document.getElementById("impression").addEventListener("click", () => one("impression"));
  document.getElementById("click").addEventListener("click", () => one("click"));
  document.getElementById("burst").addEventListener("submit", async event => {
    event.preventDefault();
    const button = event.submitter || event.target.querySelector("button");
    button.disabled = true;
    const each = document.getElementById("how").value === "singles" ? 1 : countMax;
    await burst(document.getElementById("count").valueAsNumber, each);
    button.disabled = false;
  });
  addEventListener("pagehide", () => source && source.close());
})();

// The progress of a full check, until it has ended; then the page is loaded again, with how it ended.
"use strict";

(() => {
  const check = document.getElementById("check");
  const word = document.getElementById("check-word");
  const bar = document.getElementById("check-bar");
  const count = document.getElementById("check-count");
  const words = { waiting: "Waiting for the daemon to begin", running: "Comparing", finished: "Done" };
  const source = new EventSource(check.dataset.events);

  source.addEventListener("progress", event => {
    const state = JSON.parse(event.data);
    if (word.textContent !== words[state.state]) word.textContent = words[state.state];
    if (state.expected > 0) {
      bar.max = Math.max(state.expected, state.done);
      bar.value = state.done;
      count.textContent = `${state.done.toLocaleString("en")} of about ${state.expected.toLocaleString("en")} participations`;
    }
    if (state.state === "finished") {
      source.close();
      location.reload();
    }
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) word.textContent = "The connection was refused: reload the page.";
  });
  addEventListener("pagehide", () => source.close());
})();

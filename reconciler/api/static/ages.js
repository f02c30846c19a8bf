// Ages count up between two looks: "12 s ago" beside a time, by the server's clock as the page was drawn.
"use strict";

(() => {
  const drawn = document.querySelector("meta[name=now]");
  const skew = drawn ? Date.parse(drawn.content) - Date.now() : 0;

  function age(since) {
    const seconds = Math.max(0, Math.floor((Date.now() + skew - Date.parse(since)) / 1000));
    for (const [length, unit] of [[86400, "days"], [3600, "h"], [60, "min"]]) {
      if (seconds >= 2 * length) return `${Math.floor(seconds / length)} ${unit} ago`;
    }
    return `${seconds} s ago`;
  }

  function put(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  function tell() {
    for (const one of document.querySelectorAll("[data-since]")) {
      const time = one.querySelector("time");
      if (time) one.title = `${time.textContent} (${time.title})`;
      put(one, age(one.dataset.since));
    }
    for (const one of document.querySelectorAll("[data-ago]")) put(one, age(one.dataset.ago));
  }

  document.addEventListener("redrawn", tell);
  setInterval(tell, 1000);
  tell();
})();

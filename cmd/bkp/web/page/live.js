// Takes the sections that changed from the server, each second, and says so where nothing comes.
"use strict";
const stale = document.getElementById("stale");
let last = Date.now();
const events = new EventSource("/events");
events.onmessage = (e) => {
  last = Date.now();
  for (const [id, html] of Object.entries(JSON.parse(e.data))) {
    const to = document.getElementById(id);
    const at = [...to.querySelectorAll(".wide")].map((x) => x.scrollLeft); // who scrolled stays there
    const focused = to.contains(document.activeElement);
    to.innerHTML = html; // made by html/template, which escaped what is not ours
    to.querySelectorAll(".wide").forEach((x, i) => { x.scrollLeft = at[i] || 0; });
    if (focused) to.querySelector(".wide")?.focus();
  }
  const bad = document.querySelector("#health .bad");
  document.title = "bkp: " + (bad ? "degraded" : "ready");
};
setInterval(() => { stale.hidden = Date.now() - last < 6000; }, 1000);

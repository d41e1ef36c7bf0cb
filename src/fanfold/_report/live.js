"use strict";
const main = document.querySelector("main"), line = document.getElementById("live");
let next = {{ next_ms }};
function replace(text) {
  const open = [...main.querySelectorAll("details[open]")].map(item => item.id);
  const focused = main.contains(document.activeElement) ? document.activeElement.id : "";
  const scrolled = [...main.querySelectorAll(".wide")].map(item => [item.id, item.scrollLeft, item.scrollTop]);
  main.innerHTML = text;
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  for (const [id, left, top] of scrolled) document.getElementById(id)?.scrollTo(left, top);
  if (focused) document.getElementById(focused)?.focus({preventScroll: true});
}
async function refresh() {
  try {
    const response = await fetch("/main", {cache: "no-store"}), text = await response.text();
    if (!response.ok) throw new Error(text);
    replace(text);
    line.textContent = decodeURIComponent(response.headers.get("Fanfold-Line"));
    document.title = decodeURIComponent(response.headers.get("Fanfold-Title"));
    next = Number(response.headers.get("Fanfold-Next-Ms"));
  } catch (error) {
    line.textContent = `Not refreshed: ${error.message}. Is the command still running?`;
    next = 5000;
  }
  plan();
}
function plan() {
  if (next) setTimeout(() => {
    if (document.visibilityState === "visible") refresh();
    else document.addEventListener("visibilitychange", refresh, {once: true});
  }, next);
}
plan();

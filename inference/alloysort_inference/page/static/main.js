// The page: asks the service once a second, and shows one of its views.

import { get } from "./api.js";
import { fill, number } from "./dom.js";
import { labelView } from "./label.js";
import { recipeView } from "./recipe.js";
import { runView } from "./run.js";
import { systemView } from "./system.js";

const EVERY_MS = 1000;
const main = document.getElementById("main");
const status = document.getElementById("status");
const root = document.documentElement;
const makers = { run: runView, recipe: recipeView, label: () => labelView(families), system: systemView };
let families = [], view = null, latest = null;

function theme(wanted) {
  root.dataset.theme = wanted;
  localStorage.setItem("alloysort theme", wanted);
  if (view) view.repaint();
}

function open() {
  const name = location.hash.slice(1) in makers ? location.hash.slice(1) : "run";
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  view = makers[name]();
  fill(main, view.element);
  document.title = `alloysort – ${name}`;
  if (latest) view.update(latest);
}

function say(words, kind) {
  status.textContent = words;
  status.className = `pill ${kind}`;
}

function head(told) {
  document.getElementById("simulated").hidden = !told.simulated;
  const alarms = told.alarms.filter((alarm) => alarm.acknowledged === null);
  const gravest = alarms[0]?.severity;
  if (!told.ready) say("warming up", "warn");
  else if (gravest) say(`${alarms.length} alarm${alarms.length > 1 ? "s" : ""}`, gravest === "fault" ? "bad" : "warn");
  else say(told.rate_per_s > 0 ? "running" : "waiting for pieces", told.rate_per_s > 0 ? "good" : "");
  const waiting = told.kept ? told.kept.pieces - told.kept.labelled : 0;
  const count = document.getElementById("to-label");
  count.hidden = !waiting;
  count.textContent = number(waiting);
  document.getElementById("foot").textContent = `${told.bundle} ${told.bundle_sha256.slice(0, 12)} · recipe ${told.recipe} ${told.recipe_sha256.slice(0, 12)}`;
}

async function tick() {
  try {
    latest = await get("/v1/live");
    head(latest);
    view.update(latest);
  } catch (error) {
    say("no answer from the line", "bad");
    status.title = error.message;
  }
  setTimeout(tick, document.hidden ? 5 * EVERY_MS : EVERY_MS);
}

theme(localStorage.getItem("alloysort theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
document.getElementById("theme").addEventListener("click", () => theme(root.dataset.theme === "dark" ? "light" : "dark"));
addEventListener("hashchange", () => { open(); main.focus(); });
addEventListener("keydown", (event) => view && view.key(event));
families = (await get("/v1/model")).families;
open();
tick();

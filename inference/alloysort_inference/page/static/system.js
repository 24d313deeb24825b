// What runs: bundle and recipe by hash, a candidate beside, sensors, alarms that are over.

import { get, post } from "./api.js";
import { h, fill, number, percent, clock } from "./dom.js";

const WORDS = {
  pieces: "pieces judged", light_ratio_al: "light of the aluminium lines, of the expected", light_ratio_whole: "light of the whole spectrum, of the expected",
  shift_nm: "wavelength shift, nm", missed_shots_rate: "share of pieces with missed shots", saturated_rate: "share of saturated pieces",
  no_spectrum_rate: "share without a spectrum", no_picture_rate: "share without a picture", luma_ratio: "brightness of pictures, of the expected",
  focus_ratio: "sharpness of pictures, of the expected", colour_distance: "colour, distance from the expected in Lab",
  psi_family: "drift of families (PSI)", psi_confidence: "drift of confidence (PSI)", psi_novelty: "drift of novelty (PSI)", novelty_rate: "share of novel pieces",
};

export function systemView() {
  const model = h("section.card"), beside = h("section.card"), sensors = h("section.card"), over = h("section.card");
  const element = h("div");
  element.style.display = "contents";
  element.append(h("h1.skip", {}, "System"), h("div.halves", {}, model, beside), h("div.halves", {}, sensors, over));
  const said = h("p.said", { role: "status" });
  const path = h("input", { type: "text", "aria-label": "Folder of a bundle on the line's machine", placeholder: "folder of a bundle on the line's machine" });
  const numbers = h("div");
  const act = async (what, body) => {
    said.className = "said";
    said.textContent = "…";
    try {
      await post(`/v1/model/${what}`, body);
      said.textContent = "Done.";
    } catch (error) {
      said.className = "said bad";
      said.textContent = error.message;
    }
  };
  const buttons = {
    shadow: h("button.plain", { type: "button", onclick: () => act("shadow") }, "Show it every piece"),
    switch: h("button.primary", { type: "button", onclick: () => act("switch") }, "Let it decide"),
    rollback: h("button.plain", { type: "button", onclick: () => act("rollback") }, "Go back"),
  };
  fill(beside, h("header", {}, h("h2", {}, "Another bundle")), h("p.hint", {}, "It is loaded, verified and warmed beside the one that decides; shown every piece, it decides nothing."),
    h("form.row", { onsubmit: (event) => { event.preventDefault(); if (path.value.trim()) act("load", { bundle: path.value.trim() }); } }, path, h("button.plain", {}, "Load")),
    numbers, h("div.row", {}, buttons.shadow, buttons.switch, buttons.rollback), said);
  get("/v1/model").then((told) => fill(model, h("header", {}, h("h2", {}, "Model")), h("dl.facts", {}, [
    ["Bundle", `${told.name}, released ${told.created}`], ["SHA-256", told.sha256], ["Recipe", told.recipe], ["SHA-256", told.recipe_sha256],
    ["Grid", `${told.grid.channels} channels, ${told.grid.start_nm}–${told.grid.stop_nm} nm`], ["Runs on", told.providers.join(", ")],
    ["Accepts from", ["image", "spectrum", "both"].map((name) => `${name} ${percent(told.thresholds.confidence[name], 1)}`).join(", ")],
  ].map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])), h("p.hint", {}, h("a", { href: "/docs" }, "The interface, field by field"), " · ", h("a", { href: "/metrics" }, "metrics for Prometheus")))).catch(() => {});
  const update = (told) => {
    buttons.shadow.disabled = buttons.switch.disabled = !told.candidate;
    buttons.rollback.disabled = !told.previous;
    const shadow = told.shadow;
    fill(numbers, h("dl.facts", {}, [
      ["Decides", `${told.bundle} with ${told.recipe}`],
      ["Beside", told.candidate ? `${told.candidate.bundle} with ${told.candidate.recipe}` : "nothing is loaded"],
      ["Before", told.previous ? `${told.previous.bundle} with ${told.previous.recipe}` : "–"],
      ...(shadow ? [["Shown", `${number(shadow.pieces)} pieces: same family ${percent(shadow.pieces ? shadow.families / shadow.pieces : null)}, same outlet ${percent(shadow.pieces ? shadow.outlets / shadow.pieces : null)}`]] : []),
    ].map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
    const rows = Object.entries(WORDS).map(([name, words]) => [words, told.health[name]]).filter(([, value]) => typeof value === "number");
    fill(sensors, h("header", {}, h("h2", {}, "Sensors and feed"), h("span.hint", {}, "running figures beside what was expected")),
      rows.length ? h("div.scroll", { tabIndex: 0, role: "region", "aria-label": "Sensors and feed" }, h("table", {}, h("tbody", {}, rows.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td.number", {}, number(value, Number.isInteger(value) && value > 9 ? 0 : 3))))))) : h("p.empty", {}, "Learning from the first pieces of the run."));
    fill(over, h("header", {}, h("h2", {}, "Alarms that are over")), told.over.length ? h("ul.alarms", {}, told.over.map((alarm) => h("li.alarm", {}, h("strong", {}, alarm.text), h("span.hint", {}, `${clock(alarm.since)} to ${clock(alarm.until)}`)))) : h("p.empty", {}, "None."),
      told.log ? h("p.hint", {}, told.log.fault ? `Decision log: ${told.log.fault}` : `Decision log: good${told.log.lost ? `, ${told.log.lost} records lost` : ""}`) : h("p.hint", {}, "No decision log is kept."));
  };
  return { element, update, key: () => {}, repaint: () => {} };
}

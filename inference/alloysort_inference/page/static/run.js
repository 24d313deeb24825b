// The run as it stands: throughput, latency, outlets, alarms, the last pieces.

import { post } from "./api.js";
import { h, fill, percent, number, clock, track } from "./dom.js";
import { detail, picture } from "./piece.js";
import { spark } from "./plots.js";

const SHOWN = 8;

export function runView() {
  const figure = () => h("span.figure", {}, "–");
  const rate = figure(), latency = figure(), late = figure(), right = figure();
  const ratePlot = h("div.plot", { "aria-hidden": "true" }), latencyPlot = h("div.plot", { "aria-hidden": "true" });
  const rateNote = h("span.hint"), latencyNote = h("span.hint"), lateNote = h("span.hint"), rightNote = h("span.hint");
  const rightName = h("span.name", {}, "Kept for labelling");
  const lateTile = h("section.card.tile", { "aria-label": "Late and refused" }, h("span.name", {}, "Late"), late, lateNote);
  const outlets = h("div.outlets");
  const batchHint = h("span.hint"), batch = h("div.row");
  const alarms = h("ul.alarms", { "aria-live": "polite" });
  const list = h("ul.pieces");
  const pause = h("button.plain", { type: "button", "aria-pressed": "false", onclick: () => hold(!held) }, "Hold");
  const chosenHost = h("div", {}, h("p.empty", {}, "Choose a piece to see its spectrum and why it went where it went."));
  let held = false, chosen = null, drawn = null, latest = null;

  const hold = (wanted) => {
    held = wanted;
    pause.textContent = held ? "Go on" : "Hold";
    pause.setAttribute("aria-pressed", String(held));
  };
  const choose = (piece) => {
    chosen = piece.seq;
    fill(chosenHost, detail(piece));
    for (const button of list.querySelectorAll("button")) button.setAttribute("aria-pressed", String(Number(button.dataset.seq) === chosen));
  };
  const element = h("div", {},);
  element.className = "view";
  element.style.display = "contents";
  element.append(
    h("h1.skip", {}, "Run"),
    h("div.tiles", {},
      h("section.card.tile", { "aria-label": "Throughput" }, h("span.name", {}, "Throughput"), rate, rateNote, ratePlot),
      h("section.card.tile", { "aria-label": "Latency" }, h("span.name", {}, "Latency, 99 of 100 within"), latency, latencyNote, latencyPlot),
      lateTile,
      h("section.card.tile", { "aria-label": "Right or kept" }, rightName, right, rightNote)),
    h("div.columns", {},
      h("section.card", {}, h("header", {}, h("h2", {}, "Outlets"), batchHint), outlets, batch),
      h("section.card", {}, h("header", {}, h("h2", {}, "Alarms")), alarms)),
    h("div.halves", {},
      h("section.card", {}, h("header", {}, h("h2", {}, "Last pieces"), pause), list),
      h("section.card", {}, h("header", {}, h("h2", {}, "Piece")), chosenHost)));

  const batchName = h("input", { type: "text", "aria-label": "Name of the next batch", placeholder: "name of the next batch", maxLength: 200 });
  const batchSaid = h("span.said", { role: "status" });
  const change = async (path, body) => {
    try {
      await post(path, body);
      batchName.value = "";
      batchSaid.textContent = "";
    } catch (error) {
      batchSaid.textContent = error.message;
    }
  };
  const closing = h("button.plain", { type: "button", onclick: () => change("/v1/batches/close") }, "Close batch");
  fill(batch, h("form.row", { onsubmit: (event) => { event.preventDefault(); if (batchName.value.trim()) change("/v1/batches", { name: batchName.value.trim() }); } },
    batchName, h("button.plain", {}, "Open batch")), closing, batchSaid);

  const update = (told) => {
    latest = told;
    fill(rate, number(told.rate_per_s, told.rate_per_s < 100 ? 1 : 0), h("small", {}, " pieces/s"));
    rateNote.textContent = `${number(told.pieces)} pieces in all`;
    fill(latency, told.latency_ms ? number(told.latency_ms.p99, 1) : "–", h("small", {}, " ms"));
    latencyNote.textContent = told.latency_ms ? `half within ${number(told.latency_ms.p50, 1)}, longest ${number(told.latency_ms.max, 1)} ms` : "";
    fill(late, number(told.late));
    lateTile.classList.toggle("bad", told.late > 0);
    lateNote.textContent = `${number(told.refused)} refused; both go to the default outlet`;
    if (told.simulated) {
      rightName.textContent = "Right, of those accepted";
      fill(right, told.known ? percent(told.right / told.known) : "–");
      rightNote.textContent = told.known ? `${number(told.right)} of ${number(told.known)}: made up, so the truth is known` : "";
    } else {
      fill(right, told.kept ? number(told.kept.pieces - told.kept.labelled) : "–");
      rightNote.textContent = told.kept ? `${number(told.kept.labelled)} have a label` : "no decision log is kept";
    }
    drawn ??= { rate: spark(ratePlot, "pieces/s"), latency: spark(latencyPlot, "ms") };
    drawn.rate.setData([told.history.s, told.history.per_s]);
    drawn.latency.setData([told.history.s, told.history.p99_ms]);
    batchHint.textContent = told.batch ? `batch ${told.batch.name}, since ${clock(told.batch.opened)}` : `no batch is open; counted since ${clock(told.since)}`;
    closing.disabled = !told.batch;
    fill(outlets, told.outlets.map((outlet) => outletCard(outlet, told)));
    fill(alarms, told.alarms.length ? told.alarms.map(alarmItem) : h("li.empty", {}, "None."));
    if (!held) fill(list, told.last.slice(0, SHOWN).map((piece) => h("li", {}, pieceButton(piece, choose, chosen))));
    if (chosen === null && told.last.length) {
      const first = told.last.find((piece) => piece.spectrum && piece.image);
      if (first) choose(first);
    }
  };
  const key = (event) => {
    if (event.key === " " && event.target === document.body) {
      event.preventDefault();
      hold(!held);
    }
  };
  const repaint = () => {
    for (const plot of drawn ? [drawn.rate, drawn.latency] : []) plot.destroy();
    drawn = null;
    if (latest) {
      const again = latest.last.find((piece) => piece.seq === chosen);
      update(latest);
      if (again) choose(again);
    }
  };
  return { element, update, key, repaint };
}

function outletCard(outlet, told) {
  const box = told.boxes.find((one) => one.outlet === outlet.name);
  const rest = Object.entries(outlet.composition).filter(([name, [wt]]) => name !== "Al" && wt >= 0.05).sort((one, other) => other[1][0] - one[1][0]).slice(0, 5);
  const al = outlet.composition.Al;
  const purity = outlet.purity;
  return h("article.outlet", {},
    h("div.head", {}, h("h3", {}, outlet.name), h("span", { className: `tag ${outlet.ejects ? "eject" : ""}` }, outlet.ejects ? "eject" : "pass"), outlet.bar ? h("span.tag", {}, `from ${percent(outlet.bar, 0)}`) : null),
    h("div.mass", {}, `${number(outlet.mass_kg, outlet.mass_kg < 100 ? 2 : 0)} `, h("small", {}, `kg in ${number(outlet.pieces)} pieces`)),
    purity ? h("div.range", {}, h("div.words", {}, h("span", {}, "purity expected"), h("b", {}, `${percent(purity.value)} (${(100 * purity.low).toFixed(1)}–${(100 * purity.high).toFixed(1)})`)), track(purity.low, purity.high, purity.value)) : null,
    al ? h("div.contents", {}, [["Al", al], ...rest].map(([name, [wt, sigma]]) => h("span", {}, h("b", {}, name), ` ${number(wt, 2)} `, h("small", {}, `± ${number(sigma, 2)}`)))) : null,
    outlet.limits.length ? h("ul.limits", { "aria-label": "Limits of the melt" }, outlet.limits.map((limit) => h("li", { className: limit.kept ? "" : "broken" }, `${limit.text}${limit.kept ? "" : " broken"}`))) : null,
    box ? h("span.hint", {}, `box ${box.box}: ${number(box.mass_kg, 1)} kg, ${box.inside ? "inside every limit" : "outside a limit"}${box.full ? ", full" : ""}`) : null,
    outlet.value ? h("span.hint", {}, `worth ${number(outlet.value, 2)} by the recipe's prices`) : null);
}

function alarmItem(alarm) {
  const seen = alarm.acknowledged !== null;
  const item = h("li", { className: `alarm ${alarm.severity}` },
    h("strong", {}, alarm.text),
    h("span", {}, alarm.advice),
    h("div.foot", {}, h("span.hint", {}, `${alarm.severity}, since ${clock(alarm.since)}${seen ? `; seen by ${alarm.who}` : ""}`),
      seen ? null : h("button.plain", { type: "button", onclick: async (event) => {
        event.target.disabled = true;
        await post(`/v1/alarms/${alarm.id}/acknowledge`).catch((error) => { event.target.textContent = error.message; });
      } }, "Acknowledge")));
  return item;
}

const pictures = new Map();

function pieceButton(piece, choose, chosen) {
  if (!pictures.has(piece.seq)) pictures.set(piece.seq, picture(piece));
  if (pictures.size > 60) pictures.delete(pictures.keys().next().value);
  const wrong = piece.truth && piece.family !== piece.truth;
  return h("button.piece", { type: "button", "data-seq": piece.seq, "aria-pressed": String(piece.seq === chosen), onclick: () => choose(piece) },
    pictures.get(piece.seq),
    h("span", { className: `family ${wrong ? "wrong" : ""}` }, piece.family || piece.status, wrong ? h("small", {}, ` (is ${piece.truth})`) : null),
    h("span.sure", {}, piece.confidence === null ? "" : percent(piece.confidence, 0)),
    h("span.why", {}, piece.reason),
    h("span.to", {}, h("span", { className: `tag ${piece.eject ? "eject" : ""}` }, piece.outlet)));
}

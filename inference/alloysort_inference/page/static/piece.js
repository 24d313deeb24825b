// One piece: its picture, its spectrum, what was said of it and why it went where it went.

import { get, show } from "./api.js";
import { h, fill, percent, number, clock, track } from "./dom.js";
import { spectrum } from "./plots.js";

/** A picture of a piece, or a word where there is none. */
export function picture(piece, alt = "") {
  if (!piece.image) return h("div.blank", {}, "no picture");
  const image = h("img", { alt, loading: "lazy" });
  show(image, `/v1/pieces/${piece.seq}/image`);
  return image;
}

export function bars(probabilities) {
  const rows = Object.entries(probabilities || {}).sort((one, other) => other[1] - one[1]).slice(0, 4);
  return h("div.bars", {}, rows.map(([family, share]) => h("div.bar", {}, h("span", {}, family), track(0, share), h("span", {}, percent(share)))));
}

/** The spectrum of a piece, in a host of its own, with tools to zoom by keyboard. */
export async function drawSpectrum(host, piece) {
  if (!piece.spectrum) {
    fill(host, h("p.empty", {}, "The laser hit nothing."));
    return;
  }
  fill(host, h("p.empty", {}, "…"));
  let told;
  try {
    told = await get(`/v1/pieces/${piece.seq}/spectrum`);
  } catch (error) {
    fill(host, h("p.empty", {}, error.message));
    return;
  }
  const plot = h("div.plot", { role: "img", "aria-label": `Spectrum of ${told.hits} of ${told.shots} shots; strongest lines: ${told.lines.map((line) => `${line.element} ${line.nm.toFixed(1)} nm`).join(", ") || "none"}` });
  const tools = h("div.tools", {},
    h("span.hint", {}, h("span.key"), `${told.hits} of ${told.shots} shots hit`, " ", h("span.key.second"), "late ones, which see more metal"));
  fill(host, tools, plot);
  const drawn = spectrum(plot, told);
  tools.append(
    h("button.quiet", { type: "button", "aria-label": "Zoom in", onclick: () => drawn.zoom(0.5) }, "+"),
    h("button.quiet", { type: "button", "aria-label": "Zoom out", onclick: () => drawn.zoom(2) }, "−"),
    h("button.quiet", { type: "button", onclick: drawn.all }, "all"));
  host.drawn = drawn;
}

export function detail(piece) {
  const spectrumHost = h("div.spectrum.wide");
  const contents = Object.entries(piece.composition || {}).filter(([, [wt]]) => wt >= 0.01);
  const facts = [
    ["Decided", `${piece.outlet} (${piece.eject ? "eject" : "let pass"})`],
    ["Why", piece.reason],
    ["Family", piece.family ? `${piece.family}${piece.confidence === null ? "" : `, ${percent(piece.confidence)} sure`}` : "–"],
    piece.truth ? ["Really", h("span", { className: piece.truth === piece.family ? "" : "wrong" }, `${piece.truth} (made up, so known)`)] : null,
    ["Metal shown", piece.surface === null ? "–" : percent(piece.surface, 0)],
    ["Novelty", number(piece.novelty, 2)],
    ["Measurement", piece.quality.length ? piece.quality.join(", ").replaceAll("_", " ") : "good"],
    ["Mass", piece.mass_g === null ? "not told" : `${number(piece.mass_g, 1)} g`],
    ["Took", `${number(piece.total_ms, 1)} ms`],
    ["Piece", `${piece.piece_id}, ${clock(piece.time)}`],
  ].filter(Boolean);
  const element = h("div.detail", {},
    picture(piece, `Picture of piece ${piece.piece_id}`),
    h("dl.facts", {}, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    h("div.wide", {}, bars(piece.probabilities)),
    contents.length ? h("div.wide.contents", {}, contents.map(([name, [wt, sigma]]) => h("span", {}, h("b", {}, name), ` ${number(wt, 2)} `, h("small", {}, `± ${number(sigma, 2)}`))), h("small", {}, "wt%")) : null,
    spectrumHost);
  drawSpectrum(spectrumHost, piece);
  return element;
}

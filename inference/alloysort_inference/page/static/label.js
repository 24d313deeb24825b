// Labels for the pieces that the model was unsure of, by keyboard.

import { get, post } from "./api.js";
import { h, fill, percent } from "./dom.js";
import { bars, drawSpectrum, picture } from "./piece.js";

const KEYS = "1234567qwerasdfgzxcvb";

export function labelView(families) {
  const stage = h("section.card"), side = h("section.card");
  const element = h("div");
  element.style.display = "contents";
  element.append(h("h1.skip", {}, "Label"), h("div.label-grid", {}, stage, side));
  const said = h("p.said", { role: "status" });
  let waiting = [], place = 0, loaded = false, last = null;

  const load = async () => {
    loaded = true;
    try {
      waiting = await get("/v1/kept?most=50&unlabelled=true");
      place = 0;
      draw();
    } catch (error) {
      fill(stage, h("p.empty", {}, error.message));
      fill(side, said);
    }
  };
  const give = async (family) => {
    const piece = waiting[place];
    if (!piece) return;
    try {
      await post(`/v1/kept/${piece.seq}/label`, { family });
      last = piece;
      said.className = "said";
      fill(said, `${piece.piece_id} is ${family}. `, h("button.quiet", { type: "button", onclick: takeBack }, "take back"));
      waiting.splice(place, 1);
      place = Math.min(place, waiting.length - 1);
      if (waiting.length) draw();
      else await load();
    } catch (error) {
      said.className = "said bad";
      said.textContent = error.message;
    }
  };
  const takeBack = async () => {
    if (!last) return;
    await post(`/v1/kept/${last.seq}/label`, { family: null }).catch(() => {});
    waiting.splice(Math.max(place, 0), 0, last);
    last = null;
    said.textContent = "";
    draw();
  };
  const move = (step) => {
    place = Math.max(0, Math.min(waiting.length - 1, place + step));
    draw();
  };
  const draw = () => {
    const piece = waiting[place];
    if (!piece) {
      fill(stage, h("header", {}, h("h2", {}, "Nothing to label")), h("p.empty", {}, "The log keeps pieces that are novel, uncertain or hardly bare; none waits for a label."));
      fill(side, said);
      return;
    }
    const host = h("div.spectrum.wide");
    fill(stage, h("header", {}, h("h2", {}, `Piece ${place + 1} of ${waiting.length}`), h("span.tag", {}, piece.why), h("span.hint", {}, piece.piece_id)),
      h("div.detail", {}, picture(piece, "Picture of the piece"), h("div", {}, h("p.hint", {}, `The model says ${piece.family}, ${percent(piece.confidence)} sure. ${piece.reason}`), bars(piece.probabilities)), host));
    drawSpectrum(host, piece);
    fill(side, h("header", {}, h("h2", {}, "What is it?"), h("span.hint", {}, h("kbd", {}, "←"), " ", h("kbd", {}, "→"), " other piece")),
      h("div.families", {}, families.map((family, number) => h("button", { type: "button", className: family === piece.family ? "guess" : "", onclick: () => give(family) }, h("kbd", { "aria-hidden": "true" }, KEYS[number]), family))),
      said,
      h("p.hint", {}, "Labels go into the decision log; ", h("code", {}, "alloysort log export"), " makes training data of them."));
  };
  const key = (event) => {
    if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowRight") move(1);
    else if (event.key === "ArrowLeft") move(-1);
    else if (KEYS.includes(event.key.toLowerCase()) && event.key.length === 1) {
      const family = families[KEYS.indexOf(event.key.toLowerCase())];
      if (family) give(family);
    }
  };
  return { element, update: () => { if (!loaded) load(); }, key, repaint: draw };
}

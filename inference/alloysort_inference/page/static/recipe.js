// What is sorted: another recipe, or other bars, with what they would do before they are set.

import { get, post } from "./api.js";
import { h, fill, percent, number } from "./dom.js";
import { tradeoff } from "./plots.js";

export function recipeView() {
  const choices = h("div.recipes", { role: "radiogroup", "aria-label": "Recipes" });
  const outlets = h("div");
  outlets.style.display = "contents";
  const hint = h("span.hint"), said = h("p.said", { role: "status" });
  let sha256 = null, current = null;
  const element = h("div");
  element.style.display = "contents";
  element.append(
    h("h1.skip", {}, "Recipe"),
    h("div.columns", {},
      h("div", {}, outlets),
      h("section.card", {}, h("header", {}, h("h2", {}, "Recipe")), choices, said)));
  outlets.parentElement.style.display = "grid";
  outlets.parentElement.style.gap = "1rem";

  const apply = async (body, button) => {
    button.disabled = true;
    said.className = "said";
    said.textContent = "…";
    try {
      const told = await post("/v1/recipe", body);
      said.textContent = `${told.recipe} decides from now on.`;
    } catch (error) {
      said.className = "said bad";
      said.textContent = error.message;
    }
    button.disabled = false;
    sha256 = null;
  };

  const load = async (told) => {
    const [known, foreseen] = await Promise.all([get("/v1/recipes"), get("/v1/recipe/forecast")]);
    const button = h("button.primary", { type: "button", disabled: true }, "Sort by this recipe");
    let wanted = null;
    fill(choices, known.map((recipe) => h("label.choice", {},
      h("input", { type: "radio", name: "recipe", value: recipe.name, checked: recipe.current, disabled: recipe.usable !== null,
        onchange: () => { wanted = recipe.name; button.disabled = recipe.current; } }),
      h("span", {}, h("strong", {}, recipe.name), recipe.current ? h("span.tag.eject", {}, "in use") : null),
      h("span.hint", {}, recipe.usable || recipe.description || recipe.outlets.join(", ")))), button);
    button.addEventListener("click", () => wanted && apply({ recipe: wanted }, button));
    hint.textContent = "";
    const cards = told.outlets.filter((outlet) => foreseen.outlets[outlet.name]).map((outlet) => barCard(outlet, foreseen, apply));
    fill(outlets, cards.length ? cards : h("section.card", {}, h("p.empty", {}, foreseen.pieces ? "No outlet of this recipe has a confidence to move: its bars were fitted to a purity or a melt." : "No piece has come yet.")));
  };

  const update = (told) => {
    const changed = current !== null && (told.recipe_sha256 !== sha256);
    current = told;
    if (sha256 === null || changed) {
      if (!told.pieces) return;
      sha256 = told.recipe_sha256;
      load(told).catch((error) => { said.textContent = error.message; });
    }
  };
  return { element, update, key: () => {}, repaint: () => { sha256 = null; } };
}

function barCard(outlet, foreseen, apply) {
  const points = foreseen.outlets[outlet.name];
  const nearest = (bar) => points.reduce((best, point) => (Math.abs(point.bar - bar) < Math.abs(best.bar - bar) ? point : best));
  const before = nearest(outlet.bar);
  let chosen = before;
  const id = `bar-${outlet.name}`.replace(/\W/g, "-");
  const slider = h("input", { type: "range", id, min: 0, max: points.length - 1, step: 1, value: points.indexOf(before) });
  const figures = h("div.foreseen", { "aria-live": "polite" });
  const button = h("button.primary", { type: "button", disabled: true }, "Apply");
  const host = h("div.plot", { role: "img", "aria-label": `Purity over recovery of ${outlet.name}` });
  let plot = null;
  const show = () => {
    slider.setAttribute("aria-valuetext", `confidence ${percent(chosen.bar, 1)}`);
    fill(figures, [
      ["confidence asked", percent(chosen.bar, 1), percent(before.bar, 1)],
      ["purity expected", percent(chosen.purity, 2), percent(before.purity, 2)],
      ["recovery expected", percent(chosen.recovery), percent(before.recovery)],
      ["of all pieces", percent(chosen.pieces), percent(before.pieces)],
      ["value per tonne fed", number(chosen.value_per_t_fed, 0), number(before.value_per_t_fed, 0)],
    ].map(([name, value, was]) => h("div", {}, h("div.name", {}, name), h("div.figure", {}, value), h("div.was", {}, chosen === before ? "in use" : `now ${was}`))));
    button.disabled = chosen === before;
    if (plot) plot.redraw();
  };
  slider.addEventListener("input", () => { chosen = points[Number(slider.value)]; show(); });
  button.addEventListener("click", () => apply({ bars: { [outlet.name]: chosen.bar } }, button));
  const card = h("section.card", {},
    h("header", {}, h("h2", {}, outlet.name), h("span.hint", {}, `expected by the model itself, from the last ${number(foreseen.pieces)} pieces`)),
    host, h("label", { htmlFor: id }, "Least confidence"), slider, figures, h("div.row", {}, button));
  requestAnimationFrame(() => {
    plot = tradeoff(host, points, () => [[before, "in use", false], ...(chosen === before ? [] : [[chosen, "chosen", true]])]);
    show();
  });
  return card;
}

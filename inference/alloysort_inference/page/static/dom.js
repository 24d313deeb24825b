// Elements made of text alone: names of pieces and outlets come from outside and are never taken for markup.

/** h("p.hint", {title: "..."}, "words", child, [children]) */
export function h(kind, given = {}, ...children) {
  const [tag, ...classes] = kind.split(".");
  const element = document.createElement(tag || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && key !== "list") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

export const fill = (element, ...children) =>
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));

export const percent = (share, digits = 1) => (share === null || share === undefined ? "–" : `${(100 * share).toFixed(digits)} %`);
export const number = (value, digits = 0) =>
  value === null || value === undefined ? "–" : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");

/** A horizontal bar from low to high, with a mark at value; all shares. */
export function track(low, high, value = null) {
  const bar = h("i");
  bar.style.left = `${100 * low}%`;
  bar.style.right = `${100 * (1 - high)}%`;
  const parts = [bar];
  if (value !== null) {
    const mark = h("b");
    mark.style.left = `calc(${100 * value}% - 1.5px)`;
    parts.push(mark);
  }
  return h("div.track", { "aria-hidden": "true" }, parts);
}

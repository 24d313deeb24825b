// Plots by uPlot, in the colours of the page.

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const FONT = "12px system-ui, sans-serif";

/** Keep a plot as wide as the element that holds it. */
function fit(plot, host, height) {
  const watch = new ResizeObserver(() => {
    if (!host.isConnected) watch.disconnect();
    else if (host.clientWidth && Math.abs(host.clientWidth - plot.width) > 1) plot.setSize({ width: host.clientWidth, height });
  });
  watch.observe(host);
}

const axis = (label) => ({
  label, labelFont: FONT, font: FONT, labelSize: 18, stroke: colour("--soft"),
  grid: { stroke: colour("--track"), width: 1 }, ticks: { stroke: colour("--track"), width: 1 },
});

/** A line over the last two minutes, without axes. */
export function spark(host, name) {
  const height = 64;
  const plot = new uPlot({
    width: host.clientWidth || 200, height, padding: [4, 4, 2, 4], cursor: { show: false }, legend: { show: false }, select: { show: false },
    scales: { x: { time: false }, y: { range: (_, low, high) => [0, Math.max(high * 1.15, 1)] } },
    axes: [{ show: false }, { show: false }],
    series: [{}, { label: name, stroke: colour("--plot"), width: 1.5, fill: `${colour("--plot")}22`, points: { show: false } }],
  }, [[], []], host);
  fit(plot, host, height);
  return plot;
}

/** A spectrum: drag or the wheel zooms, a double click shows all; the strongest lines carry their element. */
export function spectrum(host, told) {
  const height = 300;
  const nm = told.wavelength_nm;
  const whole = [nm[0], nm[nm.length - 1]];
  const names = (plot) => {
    const { ctx, bbox } = plot;
    const placed = [];
    ctx.save();
    ctx.font = `600 ${12 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textAlign = "center";
    for (const line of told.lines) {
      const x = plot.valToPos(line.nm, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      const y = Math.max(plot.valToPos(line.counts, "y", true) - 6 * devicePixelRatio, bbox.top + 12 * devicePixelRatio);
      const gap = 26 * devicePixelRatio;
      if (placed.some((other) => Math.abs(other.x - x) < gap && Math.abs(other.y - y) < gap * 0.6)) continue;
      placed.push({ x, y });
      ctx.fillStyle = colour("--ink");
      ctx.fillText(line.element, x, y);
    }
    ctx.restore();
  };
  const plot = new uPlot({
    width: host.clientWidth || 400, height, legend: { show: false }, cursor: { drag: { x: true, y: false } },
    scales: {
      x: { time: false },
      y: { range: (u) => rangeIn(u.data, u.scales.x) },
    },
    axes: [axis("wavelength, nm in air"), { ...axis("counts"), size: 62, values: (_, ticks) => ticks.map((tick) => (tick >= 10000 ? `${tick / 1000}k` : `${tick}`)) }],
    series: [
      {},
      { label: "late shots", stroke: colour("--plot-2"), width: 1, points: { show: false } },
      { label: "all shots that hit", stroke: colour("--plot"), width: 1.25, points: { show: false } },
    ],
    hooks: { draw: [names] },
  }, [nm, told.late, told.counts], host);
  const zoom = (factor, at) => {
    const { min, max } = plot.scales.x;
    const centre = at ?? (min + max) / 2;
    const low = Math.max(whole[0], centre - (centre - min) * factor);
    const high = Math.min(whole[1], centre + (max - centre) * factor);
    if (high - low > 0.2) plot.setScale("x", { min: low, max: high });
  };
  plot.over.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY < 0 ? 0.75 : 1 / 0.75, plot.posToVal(event.offsetX, "x"));
  }, { passive: false });
  fit(plot, host, height);
  return { plot, zoom, all: () => plot.setScale("x", { min: whole[0], max: whole[1] }) };
}

function rangeIn(data, x) {
  const nm = data[0];
  let low = Infinity, high = -Infinity;
  for (let place = 0; place < nm.length; place++) {
    if ((x.min != null && nm[place] < x.min) || (x.max != null && nm[place] > x.max)) continue;
    for (const row of [data[1], data[2]]) {
      if (row[place] < low) low = row[place];
      if (row[place] > high) high = row[place];
    }
  }
  if (!(high > low)) return [0, 1];
  return [low - (high - low) * 0.02, high + (high - low) * 0.14];
}

/** Purity over recovery at every bar, with marks at the bar in use and at the one chosen. */
export function tradeoff(host, points, marks) {
  const height = 260;
  const some = points.filter((point) => point.purity !== null && point.recovery !== null).sort((one, other) => one.recovery - other.recovery);
  const draw = (plot) => {
    const { ctx } = plot;
    ctx.save();
    for (const [point, name, fillIn] of marks()) {
      if (!point || point.purity === null) continue;
      const x = plot.valToPos(point.recovery, "x", true), y = plot.valToPos(point.purity, "y", true);
      ctx.beginPath();
      ctx.arc(x, y, 6 * devicePixelRatio, 0, 2 * Math.PI);
      ctx.fillStyle = fillIn ? colour("--plot-2") : colour("--card");
      ctx.strokeStyle = fillIn ? colour("--plot-2") : colour("--ink");
      ctx.lineWidth = 2 * devicePixelRatio;
      ctx.fill();
      ctx.stroke();
      ctx.font = `600 ${12 * devicePixelRatio}px system-ui, sans-serif`;
      ctx.fillStyle = colour("--ink");
      ctx.textAlign = x > plot.bbox.left + plot.bbox.width / 2 ? "right" : "left";
      ctx.fillText(name, x + (ctx.textAlign === "right" ? -11 : 11) * devicePixelRatio, y + (fillIn ? 18 : -10) * devicePixelRatio);
    }
    ctx.restore();
  };
  const plot = new uPlot({
    width: host.clientWidth || 400, height, legend: { show: false }, cursor: { drag: { x: false, y: false } },
    scales: {
      x: { time: false, range: () => spread(some.map((point) => point.recovery)) },
      y: { range: () => spread(some.map((point) => point.purity)) },
    },
    axes: [
      { ...axis("recovery expected, %"), values: (_, ticks) => ticks.map((tick) => (100 * tick).toFixed(1).replace(/\.0$/, "")) },
      { ...axis("purity expected, %"), size: 58, values: (_, ticks) => ticks.map((tick) => (100 * tick).toFixed(1)) },
    ],
    series: [{}, { stroke: colour("--plot"), width: 2, points: { show: false } }],
    hooks: { draw: [draw] },
  }, [some.map((point) => point.recovery), some.map((point) => point.purity)], host);
  fit(plot, host, height);
  return plot;
}

function spread(shares) {
  if (!shares.length) return [0, 1];
  const low = Math.min(...shares), high = Math.max(...shares);
  const room = Math.max((high - low) * 0.1, 0.004);
  return [low - room, Math.min(high + room, 1.002)];
}

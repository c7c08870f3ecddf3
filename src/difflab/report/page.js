"use strict";
// The numbers and the figures come from Python; this script draws, filters and sorts them.

const figures = JSON.parse(document.getElementById("figures").textContent);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const dark = matchMedia("(prefers-color-scheme: dark)");
const touch = matchMedia("(hover: none)").matches;
const PAPER = 640; // the width of a printed chart, in pixels

// The checked values of each factor.
function checkedValues() {
  const values = new Map();
  for (const box of all("input[data-filter]")) {
    if (!values.has(box.dataset.filter)) values.set(box.dataset.filter, new Set());
    if (box.checked) values.get(box.dataset.filter).add(box.value);
  }
  return values;
}

function matches(factors, values, besides = []) {
  return Object.entries(factors).every(([name, v]) => besides.includes(name) || !values.has(name) || values.get(name).has(v));
}

// Whether an entry stands in a table whose switch for all columns is on.
function everything(entry) {
  return entry.closest("table") !== null && entry.closest("section").querySelector("input.columns").checked;
}

function show() {
  const values = checkedValues();
  const metric = document.getElementById("metric").value;
  for (const each of all("[data-metric]")) each.hidden = each.dataset.metric !== metric && !everything(each);
  for (const each of all("[data-extra]")) each.hidden = !everything(each);
  for (const each of all("[data-factors]")) each.hidden = !matches(JSON.parse(each.dataset.factors), values);
  for (const gallery of all(".gallery")) pick(gallery, values);
  for (const chart of all("[data-figure]")) if (chart.offsetParent !== null) draw(chart, values);
}

// Charts: the traces that pass the filters, with axes and text in the colours of the page.
function theme() {
  const style = getComputedStyle(document.documentElement);
  const [ink, grid, line, paper] = ["--ink", "--grid", "--line", "--paper"].map((name) => style.getPropertyValue(name));
  const axis = { title: { font: { size: 13 } }, gridcolor: grid, linecolor: line, zerolinecolor: line, tickcolor: line, ticks: "outside" };
  return {
    layout: {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", xaxis: axis, yaxis: axis,
      font: { color: ink, family: "system-ui, sans-serif", size: 13 },
      hoverlabel: { bgcolor: paper, bordercolor: line, font: { color: ink } },
    },
  };
}

function draw(chart, values, width) {
  const { data, layout } = figures[chart.dataset.figure];
  const traces = data.filter((trace) => matches(trace.meta?.factors ?? {}, values));
  const drawn = layout.meta ? [...traces, front(traces, layout.meta)] : traces;
  const whole = width ?? chart.clientWidth;
  const narrow = whole < 480;
  const legend = layout.showlegend === false ? 0 : legendHeight(drawn, whole - layout.margin.l - layout.margin.r);
  const size = { width, height: Number(chart.dataset.height) + legend, margin: { ...layout.margin, b: layout.margin.b + legend } };
  const options = { displaylogo: false, displayModeBar: touch ? false : "hover", responsive: true, toImageButtonOptions: { format: "svg" } };
  Plotly.react(chart, drawn, { ...layout, ...size, legend: { ...layout.legend, font: { size: narrow ? 11 : 12 } }, template: theme(), uirevision: "kept" }, options);
}

// Legends stand below, in columns as wide as the longest name, so that the axes keep their height.
function legendHeight(traces, width) {
  const names = traces.filter((trace) => trace.showlegend !== false).map((trace) => trace.name);
  const columns = Math.max(1, Math.floor(width / (60 + 7 * Math.max(0, ...names.map((name) => name.length)))));
  return 20 * Math.ceil(names.length / columns);
}

// The Pareto front: the best value at no more than x, over all traces that are drawn.
function front(traces, { better, front: style }) {
  const points = traces.filter((t) => t.meta?.factors).flatMap((t) => t.x.map((x, k) => [x, t.y[k]])).filter(([, y]) => y !== null);
  const sign = better === "lower" ? 1 : -1;
  points.sort((a, b) => a[0] - b[0] || sign * (a[1] - b[1]));
  let record = Infinity;
  const best = points.filter(([, y]) => sign * y < record && ((record = sign * y), true));
  return {
    name: "Pareto front", x: best.map((p) => p[0]), y: best.map((p) => p[1]), mode: "lines", hoverinfo: "skip",
    ...style, line: { ...style.line, shape: "hv" }, zorder: -1,
  };
}

// Pictures: one value of the guidance at a time, and one time between noise and data.
function pick(gallery, values) {
  const slider = gallery.querySelector("input.pick");
  const at = slider && JSON.parse(slider.dataset.values)[slider.value];
  const besides = slider ? JSON.parse(slider.dataset.factorsOf) : [];
  if (slider) slider.parentElement.querySelector("output").value = at;
  for (const row of all("tr[data-row]", gallery)) {
    const factors = JSON.parse(row.dataset.row);
    row.hidden = (slider !== null && row.dataset.guidance !== at) || !matches(factors, values, besides);
  }
}

function walk(slider) {
  slider.closest(".gallery").style.setProperty("--moment", slider.value);
  slider.parentElement.querySelector("output").value = `${Number(slider.value) + 1} of ${Number(slider.max) + 1}`;
}

// Tables: sorted by a column's numbers if it has them, else by its text; empty entries come last.
function sort(button) {
  const header = button.closest("th");
  const rising = header.getAttribute("aria-sort") !== "ascending";
  for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const key = (row) => row.cells[header.cellIndex].dataset.value ?? row.cells[header.cellIndex].textContent.trim();
  const order = new Intl.Collator("en", { numeric: true });
  const compare = (a, b) => (isNaN(a) || isNaN(b) ? order.compare(a, b) : a - b);
  const body = header.closest("table").tBodies[0];
  const rows = [...body.rows].sort((a, b) => {
    const [p, q] = [key(a), key(b)];
    return (p === "") - (q === "") || (rising ? 1 : -1) * compare(p, q);
  });
  body.append(...rows);
}

// A picture as large as the window, with the names of the classes above its columns.
function enlarge(button) {
  const dialog = document.getElementById("large");
  const small = button.querySelector("img");
  const classes = JSON.parse(button.dataset.classes);
  Object.assign(dialog.querySelector("img"), { src: small.src, alt: small.alt });
  dialog.querySelector("p").textContent = small.alt;
  dialog.querySelector(".classes").replaceChildren(
    ...classes.map((name) => Object.assign(document.createElement("span"), { textContent: name })),
  );
  dialog.showModal();
}

// Print: the verdicts unfolded, light colours, charts of the paper's width.
function print(on) {
  document.documentElement.classList.toggle("printing", on);
  for (const each of all("details.reading, details.card:first-of-type")) each.open = on || each.open;
  const values = checkedValues();
  for (const chart of all("[data-figure]")) if (chart.offsetParent !== null) draw(chart, values, on ? PAPER : undefined);
}

async function copy(button) {
  const code = button.parentElement.querySelector("code");
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(code);
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

for (const button of all("th button")) button.addEventListener("click", () => sort(button));
for (const button of all("button.copy")) button.addEventListener("click", () => copy(button));
for (const slider of all("input.walk")) slider.addEventListener("input", () => walk(slider));
for (const slider of all("input.pick")) slider.addEventListener("input", () => pick(slider.closest(".gallery"), checkedValues()));
document.getElementById("metric").addEventListener("change", show);
for (const form of all("form.controls")) {
  form.addEventListener("change", show);
  form.addEventListener("reset", () => setTimeout(show));
  form.addEventListener("submit", (event) => event.preventDefault());
}
dark.addEventListener("change", show);
for (const button of all("button.enlarge")) button.addEventListener("click", () => enlarge(button));
for (const box of all("input.columns")) box.addEventListener("change", show);
addEventListener("beforeprint", () => print(true));
addEventListener("afterprint", () => print(false));
all("input.walk").forEach(walk);
show();

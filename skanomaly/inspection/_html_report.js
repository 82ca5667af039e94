"use strict";
const get = (id) => document.getElementById(id);
const table = document.querySelector("table");
const dialog = document.querySelector("dialog");
const rows = Array.from(table.tBodies[0].rows, (element) => ({
  element,
  name: element.cells[1].textContent,
  kind: element.cells[2].textContent,
  score: element.dataset.score === "" ? NaN : Number(element.dataset.score),
  decision: element.dataset.decision,
}));
const kinds = new Set(rows.map((row) => row.kind));
const threshold = table.dataset.threshold === "" ? NaN : Number(table.dataset.threshold);
// If "good" is among the kinds, the histogram shows true labels instead of decisions.
const isLabelled = kinds.has("good");
const isBad = (row) => (isLabelled ? row.kind !== "good" : row.decision === "anomalous");
let shown = rows;
let opened = 0;

function fill(select, values) {
  for (const value of [...values].sort()) {
    if (value) select.add(new Option(value, value));
  }
}

function filter() {
  const part = get("search").value.toLowerCase();
  const [kind, decision] = [get("kind").value, get("decision").value];
  shown = rows.filter(
    (row) =>
      (!kind || row.kind === kind) &&
      (!decision || row.decision === decision) &&
      row.name.toLowerCase().includes(part),
  );
  const visible = new Set(shown);
  for (const row of rows) row.element.hidden = !visible.has(row);
  const count = (decision) => shown.filter((row) => row.decision === decision).length;
  const unreadable = count("unreadable") ? `, ${count("unreadable")} unreadable` : "";
  const anomalous = count("anomalous");
  get("count").textContent =
    `${shown.length} of ${rows.length} images, ${anomalous} anomalous${unreadable}`;
  drawHistogram();
}

function sort(key, direction) {
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  rows.sort((a, b) => {
    if (key !== "score") return direction * compare(a[key], b[key]);
    // Images without a score come last in both directions.
    return isNaN(a.score) - isNaN(b.score) || direction * (a.score - b.score) || 0;
  });
  for (const row of rows) table.tBodies[0].append(row.element);
  for (const head of table.tHead.rows[0].cells) {
    if (head.dataset.key === key) {
      head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    } else head.removeAttribute("aria-sort");
  }
  filter();
}

function draw(name, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  get("histogram").append(element);
}

function drawHistogram() {
  const bins = 50;
  const svg = get("histogram");
  const width = svg.clientWidth || 1000;
  svg.setAttribute("viewBox", `0 0 ${width} 176`);
  svg.replaceChildren();
  const known = rows.map((row) => row.score).concat(threshold).filter(Number.isFinite);
  if (!known.length) return;
  const lowest = known.reduce((a, b) => Math.min(a, b));
  const highest = known.reduce((a, b) => Math.max(a, b));
  // On a linear scale, negative scores over several powers of ten would share one bar.
  const isLogarithmic = highest < 0 && lowest < 20 * highest;
  const position = (score) => (isLogarithmic ? -Math.log(-score) : score);
  const span = position(highest) - position(lowest) || 1;
  const fraction = (score) => (position(score) - position(lowest)) / span;
  const counts = Array.from({ length: bins }, () => [0, 0]);
  for (const row of shown) {
    if (!Number.isFinite(row.score)) continue;
    counts[Math.min(bins - 1, Math.floor(bins * fraction(row.score)))][+isBad(row)] += 1;
  }
  const top = Math.max(1, ...counts.map(([good, bad]) => good + bad));
  counts.forEach(([good, bad], bin) => {
    const x = (bin * width) / bins;
    const [low, high] = [(124 * good) / top, (124 * bad) / top];
    const bar = { x, width: width / bins - 1 };
    if (good) draw("rect", { ...bar, y: 148 - low, height: low, class: "good" });
    if (bad) draw("rect", { ...bar, y: 148 - low - high, height: high, class: "bad" });
  });
  draw("line", { x1: 0, x2: width, y1: 148.5, y2: 148.5, stroke: "#b9c3ce" });
  draw("text", { x: 0, y: 14 }, `highest bar: ${top}`);
  draw("text", { x: 0, y: 168 }, shorten(lowest));
  draw("text", { x: width, y: 168, "text-anchor": "end" }, shorten(highest));
  const scale = isLogarithmic ? "score, logarithmic scale" : "score";
  draw("text", { x: width / 2, y: 168, "text-anchor": "middle" }, scale);
  if (!Number.isFinite(threshold)) return;
  const x = width * fraction(threshold);
  draw("line", { x1: x, x2: x, y1: 4, y2: 152, stroke: "#1d2733", "stroke-dasharray": "5 4" });
  const isRight = x > width / 2;
  const label = { x: isRight ? x - 6 : x + 6, y: 14, "text-anchor": isRight ? "end" : "start" };
  draw("text", label, `threshold ${shorten(threshold)}`);
}

function shorten(number) {
  return Number(number.toPrecision(4)).toString();
}

function panel(image, caption) {
  const figure = document.createElement("figure");
  const text = document.createElement("figcaption");
  text.textContent = caption;
  figure.append(image, text);
  return figure;
}

function open(index) {
  opened = (index + shown.length) % shown.length;
  const row = shown[opened];
  const image = row.element.querySelector("img").cloneNode();
  const stored = row.element.querySelector("template").content.cloneNode(true);
  get("opened").textContent = row.name;
  const score = `score ${row.element.cells[3].textContent || "unknown"}`;
  get("facts").textContent = [row.kind, score, row.decision].filter(Boolean).join(" · ");
  const others = [...stored.children].map((each) => panel(each, each.alt));
  get("panels").replaceChildren(panel(image, "image"), ...others);
  if (!dialog.open) dialog.showModal();
}

table.tHead.addEventListener("click", (event) => {
  const head = event.target.closest("th[data-key]");
  if (head) sort(head.dataset.key, head.getAttribute("aria-sort") === "ascending" ? -1 : 1);
});
table.tBodies[0].addEventListener("click", (event) => {
  const element = event.target.closest("tr");
  open(shown.findIndex((row) => row.element === element));
});
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
document.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (dialog.open && step) open(opened + step);
});
get("previous").addEventListener("click", () => open(opened - 1));
get("next").addEventListener("click", () => open(opened + 1));
get("close").addEventListener("click", () => dialog.close());
get("search").addEventListener("input", filter);
for (const id of ["kind", "decision"]) get(id).addEventListener("change", filter);
window.addEventListener("resize", drawHistogram);

document.body.classList.toggle("no-kind", kinds.size < 2 && !kinds.values().next().value);
fill(get("kind"), kinds);
fill(get("decision"), new Set(rows.map((row) => row.decision)));
if (isLabelled) {
  get("good-label").textContent = "good";
  get("bad-label").textContent = "defective";
}
if (Number.isFinite(threshold)) get("threshold-label").textContent = "; below the dashed line is anomalous";
sort("score", 1);

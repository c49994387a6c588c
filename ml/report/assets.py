"""How a page looks and what it can do: its style sheet and its program, which are the only ones that it may use."""

STYLE = """
:root { color-scheme: light dark;
  --page: #ffffff; --ink: #1d2733; --faint: #5b6876; --line: #d8dee5; --band: #f4f6f9; --accent: #1763a6;
  --on-accent: #ffffff; --bad: #b3261e;
  --s0: #1763a6; --s1: #c2570c; --s2: #177a4d; --s3: #a03a9c; --s4: #8a6d00; --s5: #0b7f91; --s6: #b3261e;
  --s7: #596673; }
@media (prefers-color-scheme: dark) { :root {
  --page: #14181d; --ink: #e6eaf0; --faint: #9aa6b4; --line: #343d48; --band: #1d232b; --accent: #6bb1f2;
  --on-accent: #0d1216; --bad: #ff8a80;
  --s0: #6bb1f2; --s1: #f2a15c; --s2: #6fce9d; --s3: #dd92da; --s4: #dcc25a; --s5: #5fcbdb; --s6: #ff8a80;
  --s7: #a9b4c0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 76rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; padding-top: .5rem; border-top: 1px solid var(--line); }
p { margin: .25rem 0 .75rem; max-width: 60rem; }
nav { margin: .75rem 0; }
nav a { margin-right: 1rem; white-space: nowrap; }
a { color: var(--accent); }
.note, caption, figcaption, .count { color: var(--faint); }
.scroll { overflow-x: auto; max-width: 100%; margin: .5rem 0 1rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1rem; }
figure { margin: 0; min-width: 0; break-inside: avoid; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
caption { text-align: left; padding-bottom: .25rem; }
th, td { padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  max-width: 32rem; }
td.long, caption { overflow-wrap: anywhere; min-width: 12rem; }
td.wide { min-width: 24rem; }
ul { margin: .25rem 0 .75rem; padding-left: 1.25rem; max-width: 60rem; }
th { white-space: nowrap; vertical-align: bottom; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.mark { color: var(--bad); }
tbody tr:hover { background: var(--band); }
th button { all: unset; cursor: pointer; }
th button:focus-visible { outline: 2px solid var(--accent); }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
input[type=search] { font: inherit; color: inherit; background: var(--band); border: 1px solid var(--line);
  border-radius: .3rem; padding: .2rem .5rem; width: min(22rem, 100%); margin: 0 .75rem .25rem 0; }
td img { max-width: 100%; image-rendering: pixelated; }
select { font: inherit; color: inherit; background: var(--band); border: 1px solid var(--line); border-radius: .3rem;
  padding: .15rem .35rem; margin: 0 .75rem .25rem 0; max-width: 100%; }
.slider { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; align-items: center; gap: .25rem .75rem;
  padding: .5rem 0; background: var(--page); border-bottom: 1px solid var(--line); }
.slider input { flex: 1 1 12rem; max-width: 30rem; accent-color: var(--accent); }
.slider output { font-weight: 600; }
[hidden] { display: none !important; }
:has(> .slider) [id] { scroll-margin-top: 3.5rem; }
.cards, .cards tbody tr, .cards td { display: block; }
.cards caption { display: block; }
.cards thead tr { display: flex; flex-wrap: wrap; gap: .1rem .9rem; padding-bottom: .5rem; }
.cards thead th { padding: 0; border: 0; }
.cards th:empty, .cards td:empty, .cards td:has(> [data-stage]:not([hidden]):empty) { display: none; }
.cards thead:has(button) tr::before { content: "Sort by"; color: var(--faint); }
.cards tbody { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 13.5rem), 1fr)); gap: .75rem; }
.cards tbody tr { border: 1px solid var(--line); border-radius: .3rem; padding: .5rem; min-width: 0;
  break-inside: avoid; }
.cards tbody td { padding: 0; border: 0; max-width: none; min-width: 0; text-align: left; white-space: normal;
  overflow-wrap: anywhere; font-size: .85rem; line-height: 1.4; }
.cards td[data-head]::before { content: attr(data-head) " "; color: var(--faint); }
.cards td img { display: block; width: 100%; height: 14rem; object-fit: contain; margin-bottom: .35rem;
  image-rendering: auto; }
.cards td svg.picture { height: 14rem; margin-bottom: .35rem; }
svg { display: block; width: 100%; height: auto; overflow: hidden; }
svg text { fill: var(--ink); font: 12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
svg .title { font-size: 14px; font-weight: 600; }
svg .halo { paint-order: stroke; stroke: var(--page); stroke-width: 3px; }
svg .faint { fill: var(--faint); }
svg .axis { stroke: var(--faint); fill: none; }
svg .grid { stroke: var(--line); fill: none; }
svg .curve { fill: none; stroke-width: 1.5; stroke-linejoin: round; }
svg .whisker { stroke: var(--ink); stroke-width: 1.2; fill: none; }
svg .cell { fill: var(--accent); } svg .cell.less { fill: var(--s1); }
svg .outline { fill: none; stroke-width: 2; }
svg text.on { fill: var(--on-accent); }
svg .dash1 { stroke-dasharray: 6 3; } svg .dash2 { stroke-dasharray: 2 2; }
svg .s0 { stroke: var(--s0); } svg .s1 { stroke: var(--s1); } svg .s2 { stroke: var(--s2); }
svg .s3 { stroke: var(--s3); } svg .s4 { stroke: var(--s4); } svg .s5 { stroke: var(--s5); }
svg .s6 { stroke: var(--s6); } svg .s7 { stroke: var(--s7); }
svg .f0 { fill: var(--s0); } svg .f1 { fill: var(--s1); } svg .f2 { fill: var(--s2); } svg .f3 { fill: var(--s3); }
svg .f4 { fill: var(--s4); } svg .f5 { fill: var(--s5); } svg .f6 { fill: var(--s6); } svg .f7 { fill: var(--s7); }
@media (max-width: 40rem) { body { padding: .75rem; } h1 { font-size: 1.3rem; } }
@media print {
  :root { color-scheme: light; --page: #fff; --ink: #000; --faint: #444; --line: #bbb; --band: #fff; --accent: #1763a6;
    --on-accent: #fff; --bad: #b3261e; --s0: #1763a6; --s1: #c2570c; --s2: #177a4d; --s3: #a03a9c; --s4: #8a6d00;
    --s5: #0b7f91; --s6: #b3261e; --s7: #596673; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, input, select, .count { display: none; }
  .slider { position: static; }
  .scroll { overflow: visible; }
  .figures { grid-template-columns: 1fr 1fr; }
  table { font-size: 7.5pt; }
  th, td, td.number, th.number { white-space: normal; overflow-wrap: anywhere; min-width: 0; padding-right: .35rem; }
  tr, figure { break-inside: avoid; }
  h2 { break-after: avoid; }
  thead { display: table-header-group; }
  .cards thead { display: none; } .cards tbody { grid-template-columns: repeat(4, 1fr); }
  .cards td img, .cards td svg.picture { height: 4cm; } }
"""

SCRIPT = """
"use strict";
const shown = (cell) => cell.querySelector(":scope > [data-stage]:not([hidden])") || cell;
const refreshes = [];
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[0].cells);
  const text = (row, column) => row.cells[column].querySelector("svg, img") ? "" : shown(row.cells[column]).textContent;
  const value = (row, column) => {
    if (!heads[column].classList.contains("number")) return text(row, column);
    const number = shown(row.cells[column]).dataset.value;
    return number === undefined ? NaN : Number(number);
  };
  const compare = (a, b) => typeof a === "number" ? a - b : a.localeCompare(b, undefined, {numeric: true});
  const sort = () => {
    const column = heads.findIndex((head) => head.hasAttribute("aria-sort"));
    if (column < 0) return;
    const descending = heads[column].getAttribute("aria-sort") === "descending";
    const keyed = rows.map((row) => [value(row, column), row]);
    const isThere = ([key]) => key === key && key !== "";
    const there = keyed.filter(isThere).sort(([a], [b]) => descending ? compare(b, a) : compare(a, b));
    const absent = keyed.filter((pair) => !isThere(pair));
    body.append(...there.concat(absent).map(([, row]) => row));
  };
  refreshes.push(sort);
  for (const head of heads) {
    if (!head.hasChildNodes()) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sort();
    });
  }
  if (rows.length < 5) continue;
  const filter = document.createElement("input");
  const count = document.createElement("span");
  filter.type = "search";
  filter.placeholder = "Filter rows";
  filter.setAttribute("aria-label", "Filter rows");
  count.className = "count";
  count.setAttribute("role", "status");
  const choices = heads.flatMap((head, column) => {
    if (!head.classList.contains("choice")) return [];
    const select = document.createElement("select");
    select.setAttribute("aria-label", head.textContent);
    return [{select, column, name: head.textContent}];
  });
  let texts = [];
  const update = () => {
    const words = filter.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let left = 0;
    rows.forEach((row, number) => {
      row.hidden = !words.every((word) => texts[number].includes(word))
        || choices.some(({select, column}) => select.value && text(row, column) !== select.value);
      left += row.hidden ? 0 : 1;
    });
    count.textContent = left < rows.length ? left + " of " + rows.length + " rows" : rows.length + " rows";
  };
  const refresh = () => {
    texts = rows.map((row) => heads.map((head, column) => text(row, column)).join("\\n").toLowerCase());
    for (const {select, column, name} of choices) {
      const counts = new Map(select.value ? [[select.value, 0]] : []);
      for (const row of rows) {
        const key = text(row, column);
        if (key) counts.set(key, (counts.get(key) || 0) + 1);
      }
      const option = ([key, number]) => new Option(key + " (" + number + ")", key, false, key === select.value);
      const options = Array.from(counts).sort(([a], [b]) => compare(a, b)).map(option);
      select.replaceChildren(new Option("any " + name, "", false, !select.value), ...options);
    }
    update();
  };
  refreshes.push(refresh);
  filter.addEventListener("input", update);
  for (const {select} of choices) select.addEventListener("change", update);
  table.parentElement.before(filter, ...choices.map(({select}) => select), count);
  refresh();
}
const slider = document.querySelector(".slider");
if (slider) {
  const [range, name] = [slider.querySelector("input"), slider.querySelector("output")];
  const names = Array.from(slider.querySelectorAll("li"), (item) => item.textContent);
  const staged = Array.from(document.querySelectorAll("[data-stage]"));
  const choose = () => {
    name.textContent = names[range.value];
    range.setAttribute("aria-valuetext", names[range.value]);
    for (const element of staged) element.toggleAttribute("hidden", element.dataset.stage !== range.value);
    for (const refresh of refreshes) refresh();
  };
  range.addEventListener("input", choose);
  slider.hidden = false;
  choose();
}
"""

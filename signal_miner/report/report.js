"use strict";
// Everything here works from the page itself: no request, no storage.
const data = JSON.parse(document.getElementById("data").textContent);
const table = document.getElementById("leaderboard");
const body = table.tBodies[0];
const tip = document.getElementById("tip");
const chosen = document.getElementById("chosen");
const svgName = "http://www.w3.org/2000/svg";
const NEAR = 16; // pixels from a dot that still mean it

if (window.matchMedia("(max-width: 700px)").matches)
  for (const part of document.querySelectorAll("details.part")) part.open = false;

function words(place) {
  const model = data.models[place];
  const lines = [model.name, ...model.scores];
  const params = Object.entries(data.params).filter(([, values]) => values[place] != null);
  if (params.length) lines.push(params.map(([name, values]) => `${name} ${values[place]}`).join(", "));
  return lines;
}

function fill(box, place, linked) {
  box.replaceChildren();
  words(place).forEach((line, number) => {
    const item = document.createElement(number ? "div" : "strong");
    item.textContent = line;
    box.append(item);
  });
  const run = data.models[place].run;
  if (!linked || !run) return;
  const link = document.createElement("a");
  link.href = (location.protocol === "file:" ? data.server : "") + run;
  link.target = "_blank";
  link.rel = "noopener";
  link.textContent = "its run in MLflow";
  const close = document.createElement("button");
  close.textContent = "close";
  close.addEventListener("click", () => select(null));
  box.append(link, " ", close);
}

const figures = Object.entries(data.figures).flatMap(([name, points]) => {
  const svg = document.querySelector(`#figure-${name} svg`);
  if (!svg) return [];
  const mark = document.createElementNS(svgName, "circle");
  mark.setAttribute("r", "8");
  mark.setAttribute("class", "mark");
  svg.append(mark);
  return [{ svg, mark, points }];
});

function select(place) {
  for (const { mark, points } of figures) {
    const known = place != null && points.x[place] != null;
    mark.style.display = known ? "inline" : "none";
    if (known) {
      mark.setAttribute("cx", points.x[place]);
      mark.setAttribute("cy", points.y[place]);
    }
  }
  for (const row of body.rows) row.classList.toggle("marked", place != null && row.dataset.place === String(place));
  chosen.hidden = place == null;
  if (place != null) fill(chosen, place, true);
}

function nearest({ svg, points }, event) {
  const box = svg.getBoundingClientRect();
  const scale = box.width / svg.viewBox.baseVal.width;
  let best = null;
  let least = NEAR * NEAR;
  points.x.forEach((x, place) => {
    if (x == null) return;
    const across = box.left + x * scale - event.clientX;
    const down = box.top + points.y[place] * scale - event.clientY;
    const distance = across * across + down * down;
    if (distance < least) [best, least] = [place, distance];
  });
  return best;
}

for (const figure of figures) {
  figure.svg.addEventListener("pointermove", (event) => {
    const place = nearest(figure, event);
    tip.hidden = place == null;
    figure.svg.style.cursor = place == null ? "auto" : "pointer";
    if (place == null) return;
    fill(tip, place, false);
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, window.innerHeight - tip.offsetHeight - 8))}px`;
  });
  figure.svg.addEventListener("pointerleave", () => (tip.hidden = true));
  figure.svg.addEventListener("click", (event) => {
    tip.hidden = true;
    select(nearest(figure, event));
  });
}

body.addEventListener("click", (event) => {
  const row = event.target.closest("tr");
  if (row && row.dataset.place) select(row.classList.contains("marked") ? null : Number(row.dataset.place));
});

for (const button of table.querySelectorAll("thead button"))
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const column = Number(head.dataset.column);
    const down = head.getAttribute("aria-sort") !== "descending";
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const order = (one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === "" || b === "") return (a === "") - (b === ""); // what is not known is last
      const both = Number(a) - Number(b);
      const compared = Number.isNaN(both) ? a.localeCompare(b) : both;
      return down ? -compared : compared;
    };
    body.append(...[...body.rows].sort(order));
  });

const filter = document.getElementById("filter");
const all = document.getElementById("all");
function show() {
  const wanted = filter.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of body.rows) {
    const place = row.dataset.place;
    const text = `${row.textContent} ${place ? words(Number(place)).join(" ") : ""}`.toLowerCase();
    row.hidden = wanted.length ? !wanted.every((word) => text.includes(word)) : row.classList.contains("more") && !all.checked;
  }
}
filter.addEventListener("input", show);
all.addEventListener("change", show);
document.getElementById("tools").hidden = false;

// What all charts share: elements, numbers, axes, the tooltip, keys.
const SVG = "http://www.w3.org/2000/svg";
const COLOURS = 8;
const DASHES = ["", "7 3", "2 3", "8 3 2 3"];
const colour = (index) => (index < 0 ? "var(--muted)" : `var(--c${index % COLOURS})`);
const dash = (index) => DASHES[Math.floor(index / COLOURS) % DASHES.length];

function dress(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}
const html = (name, attributes = {}, ...children) =>
  dress(document.createElement(name), attributes, children);
const svg = (name, attributes = {}, ...children) =>
  dress(document.createElementNS(SVG, name), attributes, children);

// A number as a reader wants it: fractions in percent, four digits of others.
function shown(value, percent) {
  if (value === null || value === undefined) return "-";
  if (percent) return `${(100 * value).toFixed(1)}%`;
  if (Math.abs(value) >= 1e4) return Math.round(value).toLocaleString("en");
  if (value !== 0 && Math.abs(value) < 1e-4) return value.toPrecision(3);
  return value.toLocaleString("en", { maximumSignificantDigits: 4 });
}
function shownInterval(value, low, high, percent) {
  if (low === null || high === null || low === undefined) return shown(value, percent);
  return `${shown(value, percent)} [${shown(low, percent)}, ${shown(high, percent)}]`;
}

// A linear scale with round ticks: steps of 1, 2, 2.5 or 5 times a power of ten.
function scale(low, high, from, to, count, percent = false) {
  if (!(high > low)) {
    const room = Math.abs(low) * 0.05 || 0.5;
    [low, high] = [low - room, high + room];
  }
  const raw = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((k) => k * power).find((s) => s >= raw * 0.999);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-6); k * step <= high + 1e-6 * step; k++) ticks.push(k * step);
  const unit = percent ? 100 : 1;
  const size = step * unit;
  const digits = [0, 1, 2, 3, 4, 5, 6].find((d) => {
    const scaled = size * 10 ** d;
    return Math.abs(scaled - Math.round(scaled)) < 1e-6 * scaled;
  });
  const label = (tick) => {
    const options = { minimumFractionDigits: digits ?? 6, maximumFractionDigits: digits ?? 6 };
    // -0 is 0.
    const text = (Math.round(tick * unit * 1e9) / 1e9 + 0).toLocaleString("en", options);
    return percent ? `${text}%` : text;
  };
  const at = (value) => from + ((value - low) / (high - low)) * (to - from);
  return { at, ticks, label, low, high };
}

// Grid, ticks and titles of a plot in `box` = {left, top, right, bottom}.
function axes(parent, box, xs, ys, titles) {
  for (const tick of ys.ticks) {
    const y = ys.at(tick);
    parent.append(
      svg("line", { class: "grid", x1: box.left, x2: box.right, y1: y, y2: y }),
      svg("text", { x: box.left - 7, y: y + 4, "text-anchor": "end" }, ys.label(tick)),
    );
  }
  for (const tick of xs.ticks) {
    const x = xs.at(tick);
    const place = xs.slanted
      ? { transform: `translate(${x},${box.bottom + 15}) rotate(-38)`, "text-anchor": "end" }
      : { x, y: box.bottom + 18, "text-anchor": "middle" };
    parent.append(
      svg("line", { class: "grid", x1: x, x2: x, y1: box.top, y2: box.bottom }),
      svg("text", place, xs.label(tick)),
    );
  }
  const middle = (box.top + box.bottom) / 2;
  const low = box.bottom + (xs.slanted ?? 0) + 38;
  parent.append(
    svg("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
    svg("line", { class: "axis", x1: box.left, x2: box.left, y1: box.top, y2: box.bottom }),
    svg("text", { class: "title", x: (box.left + box.right) / 2, y: low, "text-anchor": "middle" }, titles[0]),
    svg("text", { class: "title", transform: `translate(14,${middle}) rotate(-90)`, "text-anchor": "middle" }, titles[1]),
  );
}

// Room that the labels of a vertical scale need.
const roomFor = (ys) => 34 + 6.6 * Math.max(2, ...ys.ticks.map((tick) => ys.label(tick).length));

const tip = {
  element: document.getElementById("tip"),
  // rows: [heading, text, mark]; place: where the pointer is, or what has a rectangle.
  show(place, title, rows, note = "") {
    const list = html("dl");
    for (const [heading, text, mark] of rows) {
      list.append(html("dt", {}, ...(mark ? [mark] : []), heading), html("dd", {}, text));
    }
    this.element.replaceChildren(html("strong", {}, title), list);
    if (note) this.element.append(html("small", {}, note));
    this.element.hidden = false;
    this.place = place;
    this.move();
  },
  move() {
    const at = this.place.getBoundingClientRect?.() ?? this.place;
    const x = at.x + (at.width ?? 0), y = at.y + (at.height ?? 0);
    const { offsetWidth: width, offsetHeight: height } = this.element;
    const left = x + 14 + width < innerWidth - 8 ? x + 14 : Math.max(8, at.x - width - 14);
    const top = y + 12 + height < innerHeight - 8 ? y + 12 : Math.max(8, at.y - height - 12);
    this.element.style.left = `${left}px`;
    this.element.style.top = `${top}px`;
  },
  hide() {
    this.element.hidden = true;
  },
};
// What the keyboard reached is followed; the pointer stays while its page moves away.
const scrolled = () => {
  if (tip.element.hidden) return;
  if (tip.place.getBoundingClientRect) tip.move();
  else tip.hide();
};
addEventListener("scroll", scrolled, { passive: true, capture: true });

// A finger leaves when it is lifted; what it asked for stays until it touches elsewhere.
addEventListener("pointerdown", (event) => event.target.closest?.(".plot") || tip.hide());
const hasLeft = (event) => event.pointerType !== "touch";

const wordsOf = (input) => input.value.toLowerCase().split(/\s+/).filter(Boolean);
const holds = (text, words) => words.every((word) => text.includes(word));

function selector(label, options, chosen, change) {
  const select = html("select", { change: () => change(select.value) });
  for (const [value, text] of options) {
    select.append(html("option", { value, selected: value === chosen }, text));
  }
  return html("label", {}, label, select);
}
function toggle(label, checked, change) {
  const box = html("input", { type: "checkbox", checked, change: () => change(box.checked) });
  return html("label", {}, box, label);
}
function search(label, change) {
  const field = html("input", { type: "search", placeholder: label, "aria-label": label });
  field.addEventListener("input", () => change(wordsOf(field)));
  return field;
}

// One stop of the Tab key for many elements: arrows move among them.
function step(event, items, current) {
  const at = items.indexOf(current);
  const moves = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, PageDown: 10, PageUp: -10 };
  if (event.key === "Home") return items[0];
  if (event.key === "End") return items[items.length - 1];
  if (!(event.key in moves) || !items.length) return undefined;
  return items[Math.min(items.length - 1, Math.max(0, at + moves[event.key]))];
}

// A sample of a line or a point for a legend.
function lineMark(index) {
  const line = svg("line", { x1: 1, x2: 21, y1: 6, y2: 6, "stroke-width": 2.5, stroke: colour(index), "stroke-dasharray": dash(index) });
  return svg("svg", { viewBox: "0 0 22 12", "aria-hidden": "true" }, line);
}

// Places in order, at least `room` apart and inside [low, high] where they fit.
function spread(places, room, low, high) {
  const order = places.map((_, i) => i).sort((a, b) => places[a] - places[b]);
  const found = [];
  let last = low - room;
  for (const i of order) found[i] = last = Math.max(places[i], last + room);
  last = high + room;
  for (const i of order.reverse()) found[i] = last = Math.min(found[i], last - room);
  const short = order.length ? Math.max(0, low - last) : 0;
  return found.map((place) => place + short);
}

// What all charts share: elements, numbers, the tooltip, keys, lists, the page's state.
const SVG = "http://www.w3.org/2000/svg";
const SHAPES = {
  circle: "M-4.6,0a4.6,4.6 0 1,0 9.2,0a4.6,4.6 0 1,0 -9.2,0",
  square: "M-4.2,-4.2h8.4v8.4h-8.4z",
  "triangle-up": "M0,-5L5,4H-5z",
  diamond: "M0,-5.6L5.6,0L0,5.6L-5.6,0z",
  "triangle-down": "M0,5L5,-4H-5z",
};
// The style of a slot of the page's registry; `style_at` in look.py is the same.
const FIRST_SHAPES = [0, 1, 2, 3, 4, 3, 2, 1];
const DASHES = [[], [7, 3], [2, 3], [8, 3, 2, 3]];
function styleAt(slot) {
  if (slot === null || slot < 0) return { colour: "var(--muted)", dash: [], shape: "circle" };
  const turn = Math.floor(slot / 8), names = Object.keys(SHAPES);
  return {
    colour: `var(--c${slot % 8})`,
    dash: DASHES[turn % DASHES.length],
    shape: names[(FIRST_SHAPES[slot % 8] + turn) % names.length],
  };
}

function dress(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}
const html = (name, attributes = {}, ...children) => dress(document.createElement(name), attributes, children);
const svg = (name, attributes = {}, ...children) => dress(document.createElementNS(SVG, name), attributes, children);

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

// What is isolated, in every chart, and what else a link to this view has to say.
const state = { models: new Set(), groups: new Set(), figures: {} };
const listeners = [];
const [anchor, stored] = (() => {
  const [name, text] = location.hash.slice(1).split("~");
  try {
    return [name, text ? JSON.parse(decodeURIComponent(text)) : {}];
  } catch {
    return [name, {}];
  }
})();
for (const name of stored.models ?? []) state.models.add(String(name));
for (const name of stored.groups ?? []) state.groups.add(String(name));
Object.assign(state.figures, stored.figures ?? {});
const remembered = (figure) => (state.figures[figure] ??= {});
function link(section) {
  const figures = Object.fromEntries(Object.entries(state.figures).filter(([, value]) => Object.keys(value).length));
  const whole = {};
  if (state.models.size) whole.models = [...state.models];
  if (state.groups.size) whole.groups = [...state.groups];
  if (Object.keys(figures).length) whole.figures = figures;
  const text = Object.keys(whole).length ? `~${encodeURIComponent(JSON.stringify(whole))}` : "";
  return `#${section}${text}`;
}
function changed() {
  history.replaceState(null, "", link(location.hash.slice(1).split("~")[0]));
  listeners.forEach((update) => update());
}
function isolate(set, name) {
  if (!set.delete(name)) set.add(name);
  changed();
}
function showAll() {
  if (!state.models.size && !state.groups.size) return;
  state.models.clear();
  state.groups.clear();
  changed();
}

const tip = {
  element: document.getElementById("tip"),
  // rows: [heading, text, mark]; place: where the pointer is, or what has a rectangle.
  show(place, title, rows, note = "") {
    const list = html("dl");
    for (const [heading, text, mark] of rows) {
      list.append(html("dt", { dir: "auto" }, ...(mark ? [mark] : []), heading), html("dd", { dir: "auto" }, text));
    }
    this.element.replaceChildren(html("strong", { dir: "auto" }, title), list);
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

const wordsOf = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);
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
function search(label, change, start = "") {
  const field = html("input", { type: "search", placeholder: label, "aria-label": label, value: start });
  field.addEventListener("input", () => change(field.value));
  return field;
}
const button = (text, click, attributes = {}) => html("button", { type: "button", click, ...attributes }, text);

// One stop of the Tab key for many elements: arrows move among them.
// With another key, as in Alt and an arrow, they are the browser's.
const isPlain = (event) => !event.altKey && !event.ctrlKey && !event.metaKey;
function step(event, items, current) {
  if (!isPlain(event)) return undefined;
  const at = items.indexOf(current);
  const moves = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, PageDown: 10, PageUp: -10 };
  if (event.key === "Home") return items[0];
  if (event.key === "End") return items[items.length - 1];
  if (!(event.key in moves) || !items.length) return undefined;
  return items[Math.min(items.length - 1, Math.max(0, at + moves[event.key]))];
}

// A sample of a line or a point for a legend.
function sampleOf({ colour, dash, shape }, isLine) {
  const mark = isLine
    ? svg("line", { x1: 1, x2: 21, y1: 6, y2: 6, "stroke-width": 2.5, stroke: colour, "stroke-dasharray": dash.join(" ") })
    : svg("path", { d: SHAPES[shape], transform: "translate(11,6)", fill: colour });
  return svg("svg", { viewBox: "0 0 22 12", "aria-hidden": "true" }, mark);
}

// A list of models to choose from, with a filter; it opens with the models of `start`.
function chooser(labels, initial, verb, change, start = initial) {
  const chosen = new Set(start);
  const count = html("summary");
  const boxes = labels.map((label, index) => {
    const box = html("input", { type: "checkbox", tabindex: index ? "-1" : "0", value: index });
    box.addEventListener("change", () => set([index], box.checked));
    return box;
  });
  const rows = labels.map((label, index) => html("label", {}, boxes[index], html("span", { dir: "auto" }, label)));
  const texts = labels.map((label) => label.toLowerCase());
  const list = html("div", { class: "list", role: "group", "aria-label": `Models to ${verb}` }, ...rows);
  const visible = () => boxes.filter((_, index) => !rows[index].hidden);
  const field = search(`Filter ${labels.length} models`, (text) => {
    rows.forEach((row, index) => (row.hidden = !holds(texts[index], wordsOf(text))));
    reach(visible()[0]);
  });
  // The list is one stop of the Tab key: past 700 boxes nobody tabs.
  const reach = (box) => boxes.forEach((other) => (other.tabIndex = other === box ? 0 : -1));
  list.addEventListener("keydown", (event) => {
    const next = step(event, visible(), event.target);
    if (!next) return;
    event.preventDefault();
    reach(next);
    next.focus();
  });
  list.addEventListener("focusin", (event) => reach(event.target));
  const listed = () => visible().map((box) => Number(box.value));
  const all = button("All listed", () => set(listed(), true));
  const none = button("None listed", () => set(listed(), false));
  const again = button("As at first", () => reset(initial));
  const element = html("details", { class: "chooser" }, count, html("div", { class: "row" }, field, all, none, again), list);

  function set(indices, on) {
    indices.forEach((index) => (on ? chosen.add(index) : chosen.delete(index)));
    update();
  }
  function reset(indices) {
    chosen.clear();
    indices.forEach((index) => chosen.add(index));
    update();
  }
  function write() {
    boxes.forEach((box, index) => (box.checked = chosen.has(index)));
    count.textContent = `Choose models: ${chosen.size} of ${labels.length} ${verb === "show" ? "shown" : "highlighted"}`;
  }
  function update() {
    write();
    change();
  }
  write();
  // Chosen models in the order of the list.
  return { element, has: (index) => chosen.has(index), chosen: () => [...chosen].sort((a, b) => a - b), set, reset };
}

// Buttons under a chart; a pressed one isolates what it names.
function legendButtons(legend, items, pressed, press, hover = () => {}) {
  // What is new replaces the old, so the keyboard's place is kept by its key.
  const focused = legend.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  let moved = false; // the focus that is restored emphasises nothing
  legend.replaceChildren(
    ...items.map(({ key, text, style, isLine, count }) =>
      html(
        "button",
        {
          type: "button",
          "data-key": key,
          "aria-pressed": String(pressed.has(key)),
          click: () => press(key),
          pointerenter: () => hover(key),
          pointerleave: () => hover(null),
          focus: () => moved && hover(key),
          blur: () => hover(null),
        },
        sampleOf(style, isLine),
        html("span", { dir: "auto" }, text),
        ...(count === undefined ? [] : [html("small", {}, String(count))]),
      ),
    ),
  );
  legend.classList.toggle("some", items.some(({ key }) => pressed.has(key)));
  if (focused !== null) [...legend.children].find((item) => item.dataset.key === focused)?.focus();
  moved = true;
}

// Charts: Vega draws the rows that a kind of chart computes from the reader's choices.
//
// KINDS[kind](parts, data, memory) gives {panels(size), clear?}; `panels` returns what is
// drawn at a size: {parts: [{title, rows, signals, width, height, bottom}], legend, message,
// label}. The page draws it in its plot, and saving draws it once more at a still's size.
const KINDS = {};
const FRAME = { left: 66, right: 18, top: 12, bottom: 46 };
const STILL = { width: 640, height: 400, still: true };
const LETTER = 6.7;
const LIGHT = JSON.parse(document.getElementById("light-colours").textContent);

const shortened = (text, most = 34) => ([...text].length <= most ? text : `${[...text].slice(0, most - 2).join("")}…`);

// Names beside their points; `place_names` in names.py is the same.
function placeNames(spots, right, bottom) {
  const taken = spots.map(({ x, y }) => [x - 5, y - 5, x + 5, y + 5]);
  const meet = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
  const placed = [];
  for (const { text: whole, x, y } of spots) {
    const text = shortened(whole);
    const wide = LETTER * [...text].length;
    for (const [px, py] of [[x + 9, y + 4], [x - 9 - wide, y + 4], [x - wide / 2, y - 9], [x - wide / 2, y + 18]]) {
      const own = [px, py - 11, px + wide, py + 3];
      const inside = own[0] > 0 && own[2] < right && own[1] > -10 && own[3] < bottom;
      if (!inside || taken.some((other) => meet(own, other))) continue;
      taken.push(own);
      placed.push({ px, py, text });
      break;
    }
  }
  return placed;
}
// Places in order, at least `room` apart; `spread` in names.py is the same.
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

// A specification with rows, parameters and sizes in their places; one that is given no
// height has sizes of its own.
function filled(spec, { rows = {}, signals = {}, width, height, ...rooms }) {
  const padding = { ...FRAME };
  for (const side of Object.keys(FRAME)) padding[side] = rooms[side] ?? FRAME[side];
  const sized = height && { width: width - padding.left - padding.right, height: height - padding.top - padding.bottom, padding };
  return {
    ...spec,
    ...sized,
    data: spec.data.map((item) => (item.name in rows ? { ...item, values: rows[item.name] } : item)),
    signals: (spec.signals ?? []).map((item) => (item.name in signals ? { ...item, value: signals[item.name] } : item)),
  };
}
const light = (value) => {
  if (typeof value === "string") {
    const match = /^var\(--(\w+)\)$/.exec(value);
    return match ? LIGHT[match[1]] : value;
  }
  if (Array.isArray(value)) return value.map(light);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, light(item)]));
};

// The views of a plot, one a panel; they are kept while their number stays.
class Views {
  constructor(plot, spec) {
    Object.assign(this, { plot, spec, views: [], parts: [] });
  }
  // Vega draws in a later microtask.
  async show(parts) {
    if (parts.length !== this.views.length) this.start(parts);
    this.parts = parts;
    const drawn = parts.map((part, k) => {
      const view = this.views[k];
      const { padding, width, height } = filled(this.spec, part);
      view.width(width).height(height).padding(padding);
      for (const [name, value] of Object.entries(part.signals)) view.signal(name, value);
      for (const [name, rows] of Object.entries(part.rows)) view.data(name, rows.map((row) => ({ ...row })));
      const head = this.plot.children[k].querySelector("h4");
      head.textContent = part.title ?? "";
      head.hidden = !part.title;
      this.plot.children[k].style.width = `${part.width}px`;
      return view.runAsync();
    });
    await Promise.all(drawn);
  }
  start(parts) {
    this.views.forEach((view) => view.finalize());
    const cells = parts.map(() => html("div", { class: "cell" }, html("h4", { dir: "auto" }), html("div")));
    this.plot.replaceChildren(...cells);
    this.views = parts.map((part, k) => {
      const runtime = vega.parse({ ...this.spec });
      const settings = { renderer: "svg", container: cells[k].lastChild, hover: false, tooltip: () => {} };
      return new vega.View(runtime, settings).logLevel(vega.Error);
    });
  }
  svg(k = 0) {
    return this.plot.children[k]?.querySelector("svg");
  }
  // The drawn items of a mark that the chart names.
  items(name, k = 0) {
    const found = [];
    const visit = (mark) => {
      if (mark.name === `${name}_marks`) found.push(...mark.items);
      for (const item of mark.items ?? []) item.items?.forEach(visit);
    };
    visit(this.views[k].scenegraph().root);
    return found;
  }
  message(text) {
    this.views.forEach((view) => view.finalize());
    this.views = [];
    this.plot.replaceChildren(html("p", { class: "nothing" }, text));
  }
}

// Plots beside each other and the legend below; `_compose` in stills.py is the same.
async function drawing(spec, { parts, legend = [], message }) {
  const COLUMNS = 3, ROW = 19;
  const text = (content, x, y, colour, size, anchor = "start") =>
    svg("text", { x, y, fill: LIGHT[colour], "font-size": size, "text-anchor": anchor }, content);
  const font = spec.config?.font ?? "sans-serif";
  const root = svg("svg", { xmlns: SVG, "font-family": font });
  root.append(svg("rect", { width: "100%", height: "100%", fill: LIGHT.card }));
  const drawn = [];
  for (const part of message ? [] : parts) {
    const view = new vega.View(vega.parse(light(filled(spec, part))), { renderer: "none" }).logLevel(vega.Error);
    drawn.push(new DOMParser().parseFromString(await view.toSVG(), "image/svg+xml").documentElement);
    view.finalize();
  }
  const largest = (name, least) => Math.max(0, ...drawn.map((one) => Number(one.getAttribute(name)))) || least;
  const columns = Math.min(COLUMNS, Math.max(1, drawn.length));
  const title = parts.some((part) => part.title) ? 22 : 0;
  const [wide, tall] = [largest("width", STILL.width), largest("height", STILL.height) + title];
  let [width, height] = [columns * wide, (Math.ceil(drawn.length / columns) || 1) * tall];
  drawn.forEach((one, k) => {
    const [x, y] = [(k % columns) * wide, Math.floor(k / columns) * tall];
    if (parts[k].title) root.append(text(shortened(parts[k].title, Math.floor((wide - 66) / (1.2 * LETTER))), x + 66, y + 15, "ink", 13));
    root.append(svg("g", { transform: `translate(${x},${y + title})` }, one));
  });
  if (message) root.append(text(message, STILL.width / 2, STILL.height / 2, "muted", 13, "middle"));
  const items = legend.slice(0, 24);
  const each = Math.max(1, ...items.map((item) => LETTER * [...shortened(item.text, 60)].length + 48));
  const across = Math.max(1, Math.floor((width - 20) / each));
  items.forEach((item, k) => {
    const [x, y] = [20 + (k % across) * each, height + 14 + Math.floor(k / across) * ROW];
    const colour = light(item.style.colour);
    root.append(
      item.isLine
        ? svg("path", { d: `M${x},${y}h22`, stroke: colour, "stroke-width": 2, fill: "none", "stroke-dasharray": item.style.dash.join(" ") })
        : svg("path", { d: SHAPES[item.style.shape], fill: colour, transform: `translate(${x + 11},${y})` }),
      text(shortened(item.text, 60), x + 30, y + 4, "ink", 11),
    );
  });
  if (items.length) height += Math.ceil(items.length / across) * ROW + 12;
  dress(root, { width, height, viewBox: `0 0 ${width} ${height}` }, []);
  return root;
}

function download(blob, name) {
  const target = html("a", { download: name, href: URL.createObjectURL(blob) });
  target.click();
  setTimeout(() => URL.revokeObjectURL(target.href));
}
async function save(figure, root, format) {
  const name = figure.id.replace("figure-", "");
  const text = new XMLSerializer().serializeToString(root);
  if (format === "svg") return download(new Blob([text], { type: "image/svg+xml" }), `${name}.svg`);
  const image = new Image();
  image.src = `data:image/svg+xml,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = html("canvas", { width: 2 * root.getAttribute("width"), height: 2 * root.getAttribute("height") });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => download(blob, `${name}.png`));
}
// A browser has no other way to a PDF than its printer: it gets this figure alone.
function printed(root) {
  const sheet = html("div", { id: "sheet" }, root);
  const size = html("style", {}, `@page { size: ${root.getAttribute("width")}px ${root.getAttribute("height")}px; margin: 0; }`);
  document.body.append(sheet, size);
  document.documentElement.classList.add("one");
  const end = () => {
    document.documentElement.classList.remove("one");
    sheet.remove();
    size.remove();
  };
  addEventListener("afterprint", end, { once: true });
  print();
}
function savers(figure, make) {
  const section = figure.closest("section")?.id ?? "";
  const copy = button("Copy link", async () => {
    const address = location.href.split("#")[0] + link(section);
    history.replaceState(null, "", link(section));
    // Without the right to the clipboard, the address bar has the link.
    await navigator.clipboard?.writeText(address).catch(() => {});
    copy.textContent = "Link copied";
    setTimeout(() => (copy.textContent = "Copy link"), 1500);
  });
  const into = (format) => async () => save(figure, await make(), format);
  return html(
    "div",
    { class: "save", role: "group", "aria-label": "Save this figure" },
    button("SVG", into("svg")),
    button("PNG", into("png")),
    button("PDF", async () => printed(await make())),
    copy,
  );
}

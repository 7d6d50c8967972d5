// Models as points: the reader chooses axes and colours, and isolates groups or models.
const SHAPES = [
  (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0`,
  (r) => `M${-r},${-r}h${2 * r}v${2 * r}h${-2 * r}z`,
  (r) => `M0,${-1.2 * r}L${1.2 * r},${r}H${-1.2 * r}z`,
  (r) => `M0,${-1.3 * r}L${1.3 * r},0L0,${1.3 * r}L${-1.3 * r},0z`,
  (r) => `M0,${1.2 * r}L${1.2 * r},${-r}H${-1.2 * r}z`,
];
// Alike colours have unlike shapes: 40 groups can be told apart.
const FIRST_SHAPES = [0, 1, 2, 3, 4, 3, 2, 1];
function shapeOf(group) {
  const index = Math.max(0, group);
  const shape = FIRST_SHAPES[index % COLOURS] + Math.floor(index / COLOURS);
  return SHAPES[shape % SHAPES.length];
}
// Past so many points, intervals and names hide more than they show.
const MOST_INTERVALS = 100;
const MOST_NAMES = 30;

// Rank correlation, ties sharing the mean of their ranks. Spearman (1904).
function spearman(xs, ys) {
  const rank = (values) => {
    const order = values.map((_, i) => i).sort((a, b) => values[a] - values[b]);
    const ranks = [];
    for (let from = 0, to; from < order.length; from = to) {
      to = from + 1;
      while (to < order.length && values[order[to]] === values[order[from]]) to++;
      for (let k = from; k < to; k++) ranks[order[k]] = (from + to - 1) / 2;
    }
    return ranks;
  };
  const [a, b] = [rank(xs), rank(ys)];
  const mean = (a.length - 1) / 2;
  let ab = 0, aa = 0, bb = 0;
  a.forEach((value, i) => {
    ab += (value - mean) * (b[i] - mean);
    aa += (value - mean) ** 2;
    bb += (b[i] - mean) ** 2;
  });
  return aa && bb ? ab / Math.sqrt(aa * bb) : null;
}

function scatter({ name, controls, plot, legend }, data) {
  const metrics = new Map(data.metrics.map((metric) => [metric.name, metric]));
  const groupings = new Map(data.groupings.map((grouping) => [grouping.name, grouping]));
  const count = data.labels.length;
  const texts = data.labels.map((label, i) =>
    [label, ...data.groupings.map((g) => g.groups[g.of[i]] ?? ""), ...data.details[i].flat()].join(" ").toLowerCase(),
  );
  const state = { x: data.x, y: data.y, group: data.group, bars: count <= MOST_INTERVALS, fit: false, words: [] };
  const groups = new Set();
  const models = new Set();
  let cursor = null, width = 0, places = [], marks = [];
  const status = html("span", { class: "status", role: "status" });
  const all = html("button", { type: "button", click: () => clear() }, "Show all");
  const has = (i) => metrics.get(state.x).value[i] !== null && metrics.get(state.y).value[i] !== null;
  const isShown = (i) => has(i) && holds(texts[i], state.words);
  const groupOf = (i) => groupings.get(state.group)?.of[i] ?? 0;
  const isBright = (i) => (!groups.size && !models.size) || groups.has(groupOf(i)) || models.has(i);

  function redraw(changes) {
    Object.assign(state, changes);
    render();
  }
  const options = data.metrics.map((metric) => [metric.name, metric.heading]);
  controls.append(
    selector("Across", options, state.x, (x) => redraw({ x })),
    selector("Up", options, state.y, (y) => redraw({ y })),
  );
  if (groupings.size) {
    const colours = [["", "none"], ...[...groupings.keys()].map((key) => [key, key])];
    controls.append(selector("Colour", colours, state.group, (group) => (groups.clear(), redraw({ group }))));
  }
  controls.append(search(`Filter ${count} models`, (words) => redraw({ words })));
  if (data.metrics.some((metric) => metric.low)) {
    controls.append(toggle("Intervals", state.bars, (bars) => redraw({ bars })));
  }
  controls.append(toggle("Fit axes to what is shown", false, (fit) => redraw({ fit })), all, status);

  function domain(metric, indices) {
    let low = Infinity, high = -Infinity;
    for (const i of indices) {
      const ends = state.bars && metric.low ? [metric.low[i], metric.high[i]] : [];
      for (const value of [metric.value[i], ...ends]) {
        if (value === null) continue;
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    }
    const room = (high - low) * 0.05 || Math.abs(low) * 0.05 || 0.05;
    return [low - room, high + room];
  }

  function render() {
    const held = plot.contains(document.activeElement);
    const [x, y] = [metrics.get(state.x), metrics.get(state.y)];
    const complete = data.labels.map((_, i) => i).filter(has);
    const visible = complete.filter(isShown);
    const bright = visible.filter(isBright);
    const label = `${name}: ${y.heading} by ${x.heading}, ${bright.length} models. Arrow keys move between them, Enter isolates one, Escape shows all.`;
    const height = Math.round(Math.min(560, Math.max(330, width * 0.58)));
    const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label });
    places = [];
    marks = [];
    all.hidden = !groups.size && !models.size;
    note(bright, complete.length);
    drawLegend(visible);
    plot.replaceChildren(root);
    if (!visible.length) {
      const text = complete.length ? "No model matches the filter." : "No model has both numbers; choose other axes.";
      root.append(svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, text));
      return;
    }
    const framed = state.fit && bright.length ? bright : complete;
    const box = { top: 10, bottom: height - 46, right: width - 18 };
    const ys = scale(...domain(y, framed), box.bottom, box.top, height / 60, y.percent);
    box.left = roomFor(ys);
    const xs = scale(...domain(x, framed), box.left, box.right, (box.right - box.left) / 85, x.percent);
    axes(root, box, xs, ys, [x.heading, y.heading]);
    const clip = `${plot.parentElement.id}-box`;
    const area = { x: box.left - 8, y: box.top - 8, width: box.right - box.left + 16, height: box.bottom - box.top + 16 };
    root.append(svg("clipPath", { id: clip }, svg("rect", area)));
    const layer = svg("g", { "clip-path": `url(#${clip})` });
    root.append(layer);
    for (const i of visible) places[i] = [xs.at(x.value[i]), ys.at(y.value[i])];
    // What is isolated is drawn last, so that nothing hides it.
    const order = [...visible.filter((i) => !isBright(i)), ...bright];
    if (state.bars) layer.append(...order.map((i) => bars(i, x, y, xs, ys)));
    layer.append(...order.map(mark));
    const few = groups.size || models.size || state.words.length || count <= MOST_NAMES;
    if (few && bright.length <= MOST_NAMES) names(root, bright, box);
    if (!bright.includes(cursor)) cursor = sorted(bright)[0] ?? null;
    if (cursor !== null) {
      marks[cursor].setAttribute("tabindex", "0");
      if (held) marks[cursor].focus({ preventScroll: true });
    }
  }

  function bars(i, x, y, xs, ys) {
    const [px, py] = places[i];
    let path = "";
    if (x.low && x.low[i] !== null && x.high[i] !== null) path += `M${xs.at(x.low[i])},${py}H${xs.at(x.high[i])}`;
    if (y.low && y.low[i] !== null && y.high[i] !== null) path += `M${px},${ys.at(y.low[i])}V${ys.at(y.high[i])}`;
    return svg("path", { class: isBright(i) ? "bars" : "bars dim", d: path, stroke: colour(groupOf(i)) });
  }

  function mark(i) {
    const group = groupOf(i);
    marks[i] = svg("path", {
      class: isBright(i) ? "point" : "point dim",
      d: shapeOf(group)(count > 1000 ? 3 : count > 300 ? 4 : 5),
      transform: `translate(${places[i]})`,
      fill: colour(group),
      tabindex: "-1",
      role: "button",
      "aria-pressed": String(models.has(i)),
      "aria-label": data.labels[i],
      "data-i": i,
      focus: () => ((cursor = i), describe(i, marks[i])),
      blur: () => tip.hide(),
    });
    return marks[i];
  }

  // A name beside each point where it covers neither another name nor another point.
  function names(root, bright, box) {
    const taken = bright.map((i) => [places[i][0] - 5, places[i][1] - 5, places[i][0] + 5, places[i][1] + 5]);
    for (const i of bright) {
      const [px, py] = places[i];
      const long = data.labels[i].length > 34;
      const text = long ? `${data.labels[i].slice(0, 32)}…` : data.labels[i];
      const wide = 6.5 * text.length;
      const spots = [[px + 8, py + 4], [px - 8 - wide, py + 4], [px - wide / 2, py - 9], [px - wide / 2, py + 18]];
      for (const [left, base] of spots) {
        const own = [left, base - 11, left + wide, base + 3];
        const inside = own[0] > box.left && own[2] < width && own[1] > 0 && own[3] < box.bottom;
        if (!inside || taken.some((t) => own[0] < t[2] && t[0] < own[2] && own[1] < t[3] && t[1] < own[3])) continue;
        taken.push(own);
        root.append(svg("text", { class: "name", x: left, y: base, "aria-hidden": "true" }, text));
        break;
      }
    }
  }

  function describe(i, place) {
    const shownMetrics = [...new Set([state.x, state.y])].map((key) => metrics.get(key));
    const rows = shownMetrics.map((m) => [m.heading, shownInterval(m.value[i], m.low?.[i], m.high?.[i], m.percent)]);
    for (const grouping of data.groupings) {
      if (grouping.of[i] >= 0) rows.push([grouping.name, grouping.groups[grouping.of[i]]]);
    }
    tip.show(place, data.labels[i], [...rows, ...data.details[i]]);
  }

  function note(bright, complete) {
    const rho = spearman(...[state.x, state.y].map((key) => bright.map((i) => metrics.get(key).value[i])));
    const left = complete < count ? `, ${count - complete} without both numbers` : "";
    const correlation = rho !== null && bright.length > 2 ? `; Spearman's ρ ${rho.toFixed(3)}` : "";
    status.textContent = `${bright.length} of ${count} models${left}${correlation}`;
  }

  function drawLegend(visible) {
    const grouping = groupings.get(state.group);
    if (!grouping) return legend.replaceChildren();
    const counts = new Map();
    for (const i of visible) counts.set(grouping.of[i], (counts.get(grouping.of[i]) ?? 0) + 1);
    const items = [...counts.keys()]
      .sort((a, b) => (a < 0) - (b < 0) || a - b)
      .map((group) => ({
        key: group,
        text: grouping.groups[group] ?? "no group",
        count: counts.get(group),
        mark: svg("svg", { viewBox: "0 0 22 12", "aria-hidden": "true" },
          svg("path", { d: shapeOf(group)(4.6), transform: "translate(11,6)", fill: colour(group) })),
      }));
    legendButtons(legend, items, groups, (group) => flip(groups, group));
  }

  function flip(set, key) {
    if (!set.delete(key)) set.add(key);
    render();
  }
  const sorted = (indices) => [...indices].sort((a, b) => places[a][0] - places[b][0] || places[a][1] - places[b][1]);

  // A finger is no needle: within 24 pixels, 8 for a point that is dimmed.
  function nearest(event) {
    const area = plot.firstElementChild.getBoundingClientRect();
    let best = null, least = 24;
    places.forEach(([px, py], i) => {
      const distance = Math.hypot(event.clientX - area.x - px, event.clientY - area.y - py) * (isBright(i) ? 1 : 3);
      if (distance < least) [best, least] = [i, distance];
    });
    return best;
  }
  let hot = null;
  function heat(i, place) {
    marks[hot]?.classList.remove("hot");
    hot = i;
    if (i === null) return tip.hide();
    marks[i].classList.add("hot");
    describe(i, place);
  }
  plot.addEventListener("pointermove", (event) => heat(nearest(event), { x: event.clientX, y: event.clientY }));
  plot.addEventListener("pointerleave", (event) => hasLeft(event) && heat(null));
  plot.addEventListener("click", (event) => {
    const i = nearest(event);
    if (i === null) return;
    cursor = i;
    flip(models, i);
    if (marks[i]) heat(i, marks[i]);
  });
  plot.addEventListener("keydown", (event) => {
    if (!("i" in event.target.dataset)) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      return flip(models, cursor);
    }
    const up = event.key === "ArrowUp" || event.key === "ArrowDown";
    const bright = Object.keys(places).map(Number).filter(isBright);
    const order = up ? bright.sort((a, b) => places[b][1] - places[a][1]).reverse() : sorted(bright);
    const next = step(event, order, cursor);
    if (next === undefined) return;
    event.preventDefault();
    marks[cursor].setAttribute("tabindex", "-1");
    marks[next].setAttribute("tabindex", "0");
    marks[next].focus();
  });

  function clear() {
    if (!groups.size && !models.size) return;
    groups.clear();
    models.clear();
    render();
  }
  return { draw: (wanted) => ((width = wanted), render()), clear };
}

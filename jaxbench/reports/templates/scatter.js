// Models as points: the reader chooses axes and colours, and isolates groups or models.
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

KINDS.scatter = ({ name, controls, plot, legend, views, redraw }, data, memory) => {
  const metrics = new Map(data.metrics.map((metric) => [metric.name, metric]));
  const groupings = new Map(data.groupings.map((grouping) => [grouping.name, grouping]));
  const count = data.labels.length;
  const texts = data.labels.map((label, i) =>
    [label, ...data.groupings.map((g) => g.groups[g.of[i]] ?? ""), ...data.details[i].flat()].join(" ").toLowerCase(),
  );
  const first = { x: data.x, y: data.y, group: data.group, words: "", bars: count <= MOST_INTERVALS, fit: false, front: false, zoom: null };
  const now = { ...first, ...memory };
  if (!metrics.has(now.x)) now.x = first.x;
  if (!metrics.has(now.y)) now.y = first.y;
  if (!groupings.has(now.group)) now.group = first.group;
  let cursor = null, places = [], shownRows = [], domains = null;
  // After Escape, the point that is drawn anew and has the focus shows no tooltip.
  let quiet = false;

  const value = (key, i, end = "value") => {
    const metric = metrics.get(key);
    const found = metric[end]?.[i] ?? null;
    return found === null ? null : found * metric.scale;
  };
  const has = (i) => value(now.x, i) !== null && value(now.y, i) !== null;
  const groupOf = (i) => groupings.get(now.group)?.of[i] ?? -1;
  const groupName = (i) => groupings.get(now.group)?.groups[groupOf(i)];
  const labels = new Set(data.labels);
  const isolated = () => [
    [...state.models].filter((label) => labels.has(label)),
    [...state.groups].filter((group) => groupings.get(now.group)?.groups.includes(group)),
  ];
  function choose(changes) {
    Object.assign(now, changes);
    for (const key of Object.keys(first)) {
      if (JSON.stringify(now[key]) === JSON.stringify(first[key])) delete memory[key];
      else memory[key] = now[key];
    }
    changed();
  }

  const status = html("span", { class: "status", role: "status" });
  const all = button("Show all", () => showAll());
  const whole = button("Whole range", () => choose({ zoom: null }));
  const options = data.metrics.map((metric) => [metric.name, metric.heading]);
  controls.append(
    selector("Across", options, now.x, (x) => choose({ x, zoom: null })),
    selector("Up", options, now.y, (y) => choose({ y, zoom: null })),
  );
  if (groupings.size) {
    const colours = [["", "none"], ...[...groupings.keys()].map((key) => [key, key])];
    controls.append(selector("Colour", colours, now.group, (group) => choose({ group })));
  }
  controls.append(search(`Filter ${count} models`, (words) => choose({ words }), now.words));
  if (data.metrics.some((metric) => metric.low)) {
    controls.append(toggle("Intervals", now.bars, (bars) => choose({ bars })));
  }
  controls.append(
    toggle("Fit axes to what is shown", now.fit, (fit) => choose({ fit, zoom: null })),
    toggle("Pareto front", now.front, (front) => choose({ front })),
    button("+", () => zoomBy(0.5), { "aria-label": "Zoom in" }),
    button("−", () => zoomBy(2), { "aria-label": "Zoom out" }),
    whole,
    all,
    status,
  );

  function rangeOf(key, indices) {
    let low = Infinity, high = -Infinity;
    for (const i of indices) {
      const ends = now.bars ? [value(key, i, "low"), value(key, i, "high")] : [];
      for (const number of [value(key, i), ...ends]) {
        if (number === null) continue;
        low = Math.min(low, number);
        high = Math.max(high, number);
      }
    }
    const room = (high - low) * 0.05 || Math.abs(low) * 0.05 || 0.05;
    return [low - room, high + room];
  }
  // Around a point, which keeps its place, or around the middle.
  function zoomBy(factor, i = null) {
    const around = ([low, high], k) => {
      const fixed = i === null ? (low + high) / 2 : value([now.x, now.y][k], i);
      return [low, high].map((end) => fixed + (end - fixed) * factor);
    };
    choose({ zoom: domains.map(around) });
  }
  // The models that no other beats on both axes; of a metric without a direction, more.
  function frontOf(indices) {
    const sign = (key) => (metrics.get(key).direction === "↓" ? -1 : 1);
    const [sx, sy] = [sign(now.x), sign(now.y)];
    const order = [...indices].sort((a, b) => sx * (value(now.x, b) - value(now.x, a)) || sy * (value(now.y, b) - value(now.y, a)));
    const found = [];
    let best = -Infinity;
    for (const i of order) {
      if (sy * value(now.y, i) <= best) continue;
      best = sy * value(now.y, i);
      found.push(i);
    }
    return found;
  }

  function panels({ width, height }) {
    const complete = data.labels.map((_, i) => i).filter(has);
    const words = wordsOf(now.words);
    const visible = complete.filter((i) => holds(texts[i], words));
    const [models, groups] = isolated();
    const some = models.length || groups.length;
    const isBright = (i) => !some || models.includes(data.labels[i]) || groups.includes(groupName(i));
    const bright = visible.filter(isBright);
    const [x, y] = [metrics.get(now.x), metrics.get(now.y)];
    const drawn = { bright, visible, complete, isBright, legend: legendOf(visible), parts: [] };
    drawn.label = `${name}: ${y.heading} by ${x.heading}, ${bright.length} models. Arrow keys move between them, Enter isolates one, Escape shows all.`;
    if (!visible.length) {
      drawn.message = complete.length ? "No model matches the filter." : "No model has both numbers; choose other axes.";
      return drawn;
    }
    const framed = now.fit && bright.length ? bright : complete;
    const [across, up] = (domains = now.zoom ?? [rangeOf(now.x, framed), rangeOf(now.y, framed)]);
    const inner = [width - FRAME.left - FRAME.right, height - FRAME.top - FRAME.bottom];
    const within = (i) => [[now.x, across], [now.y, up]].every(([key, [low, high]]) => value(key, i) >= low && value(key, i) <= high);
    // What is isolated is drawn last, so that nothing hides it.
    const order = [...visible.filter((i) => !isBright(i)), ...bright].filter(within);
    const grouping = groupings.get(now.group);
    const rows = order.map((i) => {
      const style = styleAt(grouping && groupOf(i) >= 0 ? grouping.slots[groupOf(i)] : -1);
      const row = { i, label: data.labels[i], colour: style.colour, shape: style.shape };
      row.opacity = isBright(i) ? 1 : 0.12;
      row.faint = isBright(i) ? 0.55 : 0.06;
      row.size = count > 1000 ? 28 : count > 300 ? 50 : 80;
      for (const [axis, key, [from, to]] of [["x", now.x, across], ["y", now.y, up]]) {
        row[axis] = value(key, i);
        const [low, high] = [value(key, i, "low"), value(key, i, "high")];
        if (!now.bars || low === null || high === null) continue;
        row[`${axis}_low`] = Math.max(from, low);
        row[`${axis}_high`] = Math.min(to, high);
      }
      return row;
    });
    const few = some || words.length || count <= MOST_NAMES;
    const named = bright.filter(within);
    const spots = few && named.length <= MOST_NAMES
      ? named.map((i) => ({
          text: data.labels[i],
          x: ((value(now.x, i) - across[0]) / (across[1] - across[0])) * inner[0],
          y: ((up[1] - value(now.y, i)) / (up[1] - up[0])) * inner[1],
        }))
      : [];
    const front = now.front ? frontOf(bright).filter(within).map((i, n) => ({ n, x: value(now.x, i), y: value(now.y, i) })) : [];
    const signals = {
      ...{ x_domain: across, y_domain: up, x_title: x.heading, y_title: y.heading },
      ...{ x_percent: x.percent, y_percent: y.percent },
    };
    const names = placeNames(spots, inner[0] + FRAME.right, inner[1]);
    drawn.parts.push({ width, height, signals, rows: { points: rows, names, front, focus: [] } });
    return drawn;
  }
  function legendOf(visible) {
    const grouping = groupings.get(now.group);
    if (!grouping) return [];
    const counts = new Map();
    for (const i of visible) counts.set(grouping.of[i], (counts.get(grouping.of[i]) ?? 0) + 1);
    return [...counts.keys()]
      .sort((a, b) => (a < 0) - (b < 0) || a - b)
      .map((group) => ({
        key: grouping.groups[group] ?? "",
        text: grouping.groups[group] ?? "no group",
        style: styleAt(group < 0 ? -1 : grouping.slots[group]),
        count: counts.get(group),
      }));
  }

  function drawn({ bright, complete, isBright, legend: items, label, parts }, held) {
    all.hidden = !state.models.size && !state.groups.size;
    whole.hidden = now.zoom === null;
    const rho = spearman(...[now.x, now.y].map((key) => bright.map((i) => value(key, i))));
    const left = complete.length < count ? `, ${count - complete.length} without both numbers` : "";
    const correlation = rho !== null && bright.length > 2 ? `; Spearman's ρ ${rho.toFixed(3)}` : "";
    status.textContent = `${bright.length} of ${count} models${left}${correlation}`;
    legendButtons(legend, items, state.groups, (group) => group && isolate(state.groups, group));
    places = [];
    shownRows = [];
    if (!parts.length) return;
    const root = views.svg();
    dress(root, { role: "group", "aria-label": label }, []);
    for (const item of views.items("point")) {
      const i = item.datum.i;
      places[i] = [item.x + FRAME.left, item.y + FRAME.top];
      shownRows[i] = { element: item._svg, bright: isBright(i) };
      dress(
        item._svg,
        { class: "point", tabindex: "-1", role: "button", "aria-pressed": String(state.models.has(data.labels[i])), "aria-label": data.labels[i], "data-i": i },
        [],
      );
      item._svg.onfocus = () => ((cursor = i), describe(i, item._svg));
      item._svg.onblur = () => (ring(null), tip.hide());
    }
    if (!shownRows[cursor]?.bright) cursor = sorted()[0] ?? null;
    if (cursor === null) return;
    shownRows[cursor].element.setAttribute("tabindex", "0");
    if (held) shownRows[cursor].element.focus({ preventScroll: true });
    if (quiet) tip.hide();
    quiet = false;
  }
  const reachable = () => Object.keys(shownRows).map(Number).filter((i) => shownRows[i].bright);
  const sorted = () => reachable().sort((a, b) => places[a][0] - places[b][0] || places[a][1] - places[b][1]);

  // A circle around a point that the keyboard or the pointer has reached.
  function ring(i) {
    const view = views.views[0];
    if (!view) return;
    view.data("focus", i === null || !shownRows[i] ? [] : [{ x: value(now.x, i), y: value(now.y, i) }]).run();
  }
  function describe(i, place) {
    const rows = [...new Set([now.x, now.y])].map((key) => {
      const metric = metrics.get(key);
      return [metric.heading, shownInterval(value(key, i), value(key, i, "low"), value(key, i, "high"), metric.percent)];
    });
    for (const grouping of data.groupings) {
      if (grouping.of[i] >= 0) rows.push([grouping.name, grouping.groups[grouping.of[i]]]);
    }
    tip.show(place, data.labels[i], [...rows, ...data.details[i]]);
    ring(i);
  }
  const at = (event) => {
    const area = views.svg().getBoundingClientRect();
    return [event.clientX - area.x, event.clientY - area.y];
  };
  // A finger is no needle: within 24 pixels, 8 for a point that is dimmed.
  function nearest(event) {
    if (!views.svg()) return null;
    const [px, py] = at(event);
    let best = null, least = 24;
    places.forEach(([x, y], i) => {
      const distance = Math.hypot(px - x, py - y) * (shownRows[i].bright ? 1 : 3);
      if (distance < least) [best, least] = [i, distance];
    });
    return best;
  }
  let hot = null, box = null;
  function heat(i, place) {
    if (i === null) {
      if (hot !== null) (ring(null), tip.hide());
    } else describe(i, place);
    hot = i;
  }
  // A box drawn with the mouse is the new range.
  function zoomTo([x0, y0], [x1, y1]) {
    const { clientWidth: width } = plot;
    const view = views.views[0];
    const inner = [view.width(), view.height()];
    const part = ([low, high], share) => low + (high - low) * Math.min(1, Math.max(0, share));
    const shares = [[x0, x1].map((x) => (x - FRAME.left) / inner[0]), [y0, y1].map((y) => 1 - (y - FRAME.top) / inner[1])];
    if (width) choose({ zoom: domains.map((domain, k) => shares[k].sort((a, b) => a - b).map((share) => part(domain, share))) });
  }
  plot.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" || event.button || !views.svg()) return;
    box = { start: at(event), element: null };
  });
  plot.addEventListener("pointermove", (event) => {
    if (!box) return heat(nearest(event), { x: event.clientX, y: event.clientY });
    const [here, [x, y]] = [at(event), box.start];
    if (!box.element && Math.hypot(here[0] - x, here[1] - y) < 8) return;
    box.element ??= plot.appendChild(html("div", { class: "box" }));
    Object.assign(box.element.style, {
      left: `${Math.min(x, here[0])}px`,
      top: `${Math.min(y, here[1])}px`,
      width: `${Math.abs(here[0] - x)}px`,
      height: `${Math.abs(here[1] - y)}px`,
    });
    box.end = here;
  });
  plot.addEventListener("pointerleave", (event) => hasLeft(event) && heat(null));
  addEventListener("pointerup", () => {
    const done = box;
    box = null;
    if (!done?.element) return;
    done.element.remove();
    dragged = true;
    setTimeout(() => (dragged = false));
    zoomTo(done.start, done.end);
  });
  let dragged = false;
  plot.addEventListener("click", (event) => {
    const i = dragged ? null : nearest(event);
    if (i === null) return;
    cursor = i;
    isolate(state.models, data.labels[i]);
    if (shownRows[i]) describe(i, shownRows[i].element);
  });
  plot.addEventListener("keydown", (event) => {
    if (!("i" in event.target.dataset)) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      return isolate(state.models, data.labels[cursor]);
    }
    if (isPlain(event) && (event.key === "+" || event.key === "-")) return zoomBy(event.key === "+" ? 0.5 : 2, cursor);
    const up = event.key === "ArrowUp" || event.key === "ArrowDown";
    const order = up ? reachable().sort((a, b) => places[a][1] - places[b][1]) : sorted();
    const next = step(event, order, cursor);
    if (next === undefined) return;
    event.preventDefault();
    shownRows[cursor].element.setAttribute("tabindex", "-1");
    shownRows[next].element.setAttribute("tabindex", "0");
    shownRows[next].element.focus();
  });
  const clear = () => (quiet = state.models.size + state.groups.size > 0);
  return { panels, drawn, clear };
};

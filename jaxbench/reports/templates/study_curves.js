// Curves of the chosen models: in one plot, or each in its own beside the others.
const MOST_ROWS = 12;

function curves({ name, controls, plot, legend }, data) {
  const [xPercent, yPercent] = data.percent;
  const isolated = new Set();
  let width = 0, panels = false, cursor = null, hovered = null, boxes = [];
  const pick = chooser(data.labels, data.shown, "show", () => {
    for (const i of isolated) if (!pick.slots.has(i)) isolated.delete(i);
    render();
  });
  controls.append(toggle("Side by side", false, (on) => ((panels = on), render())), pick.element);
  const xsOf = (i) => data.xs[data.lines[i].x];
  const isDim = (i) => (hovered !== null ? hovered !== i : isolated.size > 0 && !isolated.has(i));

  function range(lists) {
    let low = Infinity, high = -Infinity;
    for (const list of lists) {
      for (const value of list) {
        if (value === null) continue;
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    }
    return high >= low ? [low, high] : [0, 1];
  }
  function domains(chosen) {
    if (data.kind === "reliability") return [[0, 1], [0, 1]];
    const lists = chosen.flatMap((i) => [data.lines[i].y, data.lines[i].low ?? [], data.lines[i].high ?? []]);
    const [low, high] = range(lists);
    if (data.kind === "risk") return [[0, 1], [Math.min(0, low), high * 1.05 || 0.05]];
    const room = (high - low) * 0.06 || 0.05;
    // What begins just above zero begins at zero.
    const from = low >= 0 && low - room < 0 ? 0 : low - room;
    const across = data.places.length ? [-0.3, data.places.length - 0.7] : range(chosen.map(xsOf));
    return [across, [from, high + room]];
  }

  function render() {
    const chosen = pick.chosen();
    const columns = panels ? Math.max(1, Math.min(chosen.length, Math.floor(width / 270))) : 1;
    const rows = panels ? Math.ceil(chosen.length / columns) || 1 : 1;
    const wide = width / columns;
    const tallest = data.kind === "reliability" ? 520 : 440;
    const tall = Math.round(panels ? Math.min(300, wide * 0.95) : Math.min(tallest, Math.max(300, width * 0.58)));
    const height = rows * tall;
    const label = `${name}: ${data.titles[1]} by ${data.titles[0]} of ${chosen.length} models. Left and right arrow keys read the values.`;
    const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, tabindex: "0" });
    root.addEventListener("keydown", onKey);
    root.addEventListener("blur", () => point(null));
    const held = plot.contains(document.activeElement);
    plot.replaceChildren(root);
    boxes = [];
    drawLegend(chosen);
    if (!chosen.length) {
      root.append(svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, data.labels.length ? "No model is chosen." : "Nothing to show."));
      return;
    }
    const limits = domains(chosen);
    (panels ? chosen.map((i) => [i]) : [chosen]).forEach((members, k) => {
      const origin = [(k % columns) * wide, Math.floor(k / columns) * tall];
      root.append(panel(members, limits, wide, tall, origin));
    });
    if (held) root.focus({ preventScroll: true });
  }

  function panel(members, [across, up], wide, tall, origin) {
    const group = svg("g", { transform: `translate(${origin})` });
    const longest = Math.max(0, ...data.places.map((place) => place.length));
    const box = { top: panels ? 26 : 10, right: wide - 22 };
    const probe = scale(...up, 0, 1, tall / 60, yPercent);
    box.left = roomFor(probe);
    const slanted = longest * 7 > (box.right - box.left) / Math.max(1, data.places.length);
    const lower = slanted ? Math.min(90, longest * 4.4) : 0;
    box.bottom = tall - 46 - lower;
    const ys = scale(...up, box.bottom, box.top, tall / 60, yPercent);
    const xs = scale(...across, box.left, box.right, (box.right - box.left) / 75, xPercent);
    if (data.places.length) {
      xs.ticks = data.places.map((_, k) => k);
      xs.label = (tick) => (data.places[tick].length > 22 ? `${data.places[tick].slice(0, 20)}…` : data.places[tick]);
      xs.slanted = lower;
    }
    axes(group, box, xs, ys, data.titles);
    if (panels) {
      const room = Math.floor((wide - box.left) / 7);
      const text = data.labels[members[0]];
      const title = text.length > room ? `${text.slice(0, room - 1)}…` : text;
      group.append(svg("text", { class: "title", x: box.left, y: 16 }, title));
    }
    if (data.kind === "reliability") {
      group.append(svg("line", { class: "even", x1: xs.at(0), y1: ys.at(0), x2: xs.at(1), y2: ys.at(1) }));
    }
    const order = [...members.filter(isDim), ...members.filter((i) => !isDim(i))];
    group.append(...order.map((i) => band(i, xs, ys)).filter(Boolean));
    for (const i of order) group.append(...line(i, xs, ys));
    const rule = svg("line", { class: "axis", y1: box.top, y2: box.bottom, visibility: "hidden" });
    group.append(rule);
    boxes.push({ origin, box, xs, wide, tall, rule });
    return group;
  }

  // Stretches of the line between gaps.
  function path(x, y, xs, ys) {
    let text = "", pen = "M";
    y.forEach((value, k) => {
      if (value === null || x[k] === null) return (pen = "M");
      text += `${pen}${xs.at(x[k]).toFixed(1)},${ys.at(value).toFixed(1)}`;
      pen = "L";
    });
    return text;
  }
  function line(i, xs, ys) {
    const slot = pick.slots.get(i);
    const look = { stroke: colour(slot), "stroke-dasharray": dash(slot), "data-i": i };
    const drawn = [svg("path", { class: isDim(i) ? "curve dim" : "curve", d: path(xsOf(i), data.lines[i].y, xs, ys), ...look })];
    // Few points are seen as points; one alone has no line.
    if (xsOf(i).length <= 25) {
      data.lines[i].y.forEach((value, k) => {
        if (value === null || xsOf(i)[k] === null) return;
        drawn.push(svg("circle", { class: isDim(i) ? "dim" : "", cx: xs.at(xsOf(i)[k]), cy: ys.at(value), r: 3, fill: colour(slot) }));
      });
    }
    return drawn;
  }
  // A polygon for every stretch with both ends.
  function band(i, xs, ys) {
    const { low, high } = data.lines[i];
    if (!low) return null;
    const x = xsOf(i);
    let text = "", run = [];
    const close = () => {
      if (run.length) {
        const there = run.map((k) => `${xs.at(x[k]).toFixed(1)},${ys.at(high[k]).toFixed(1)}`);
        const back = run.map((k) => `${xs.at(x[k]).toFixed(1)},${ys.at(low[k]).toFixed(1)}`).reverse();
        text += `M${[...there, ...back].join("L")}Z`;
      }
      run = [];
    };
    x.forEach((value, k) => (value === null || low[k] === null || high[k] === null ? close() : run.push(k)));
    close();
    return svg("path", { class: isDim(i) ? "band dim" : "band", d: text, fill: colour(pick.slots.get(i)) });
  }

  function drawLegend(chosen) {
    const items = chosen.map((i) => ({ key: i, text: data.labels[i], mark: lineMark(pick.slots.get(i)) }));
    legendButtons(legend, items, isolated, (i) => {
      if (!isolated.delete(i)) isolated.add(i);
      hovered = null;
      render();
    }, emphasise);
  }
  // Only classes change, so a click that follows finds its button.
  function emphasise(i) {
    hovered = i;
    for (const element of plot.querySelectorAll(".curve")) {
      element.classList.toggle("dim", isDim(Number(element.dataset.i)));
    }
  }

  const readable = () => pick.chosen().filter((i) => !isDim(i));
  function positions() {
    const all = new Set(readable().flatMap((i) => xsOf(i).filter((value) => value !== null)));
    return [...all].sort((a, b) => a - b);
  }
  // Reads all curves at a position: each at its nearest point.
  function point(x, place) {
    cursor = x;
    for (const { rule, xs } of boxes) {
      rule.setAttribute("visibility", x === null ? "hidden" : "visible");
      if (x !== null) ["x1", "x2"].forEach((key) => rule.setAttribute(key, xs.at(x)));
    }
    if (x === null) return tip.hide();
    const read = readable().map((i) => {
      const x_ = xsOf(i);
      let best = -1;
      x_.forEach((value, k) => {
        if (value === null || data.lines[i].y[k] === null) return;
        if (best < 0 || Math.abs(value - x) < Math.abs(x_[best] - x)) best = k;
      });
      return [i, best];
    }).filter(([, k]) => k >= 0);
    read.sort(([a, j], [b, k]) => data.lines[b].y[k] - data.lines[a].y[j]);
    const rows = read.slice(0, MOST_ROWS).map(([i, k]) => {
      const { y, low, high } = data.lines[i];
      return [data.labels[i], shownInterval(y[k], low?.[k], high?.[k], yPercent), lineMark(pick.slots.get(i))];
    });
    const at = data.places.length ? data.places[x] : `${data.titles[0]} ${shown(x, xPercent)}`;
    const more = read.length > MOST_ROWS ? `and ${read.length - MOST_ROWS} more` : "";
    tip.show(place ?? anchor(x), at, rows, more);
  }
  function anchor(x) {
    const { origin, box, xs } = boxes[0];
    return {
      getBoundingClientRect() {
        const area = plot.firstElementChild.getBoundingClientRect();
        return { x: area.x + origin[0] + xs.at(x), y: area.y + origin[1] + box.top };
      },
    };
  }
  function onKey(event) {
    if (event.key === "Escape") return point(null);
    const next = cursor === null && /^Arrow/.test(event.key) ? positions()[0] : step(event, positions(), cursor);
    if (next === undefined) return;
    event.preventDefault();
    point(next);
  }
  const follow = (event) => {
    const area = plot.firstElementChild.getBoundingClientRect();
    const [px, py] = [event.clientX - area.x, event.clientY - area.y];
    const inside = boxes.find(({ origin: [x, y], wide, tall }) => px >= x && px < x + wide && py >= y && py < y + tall);
    const all = positions();
    if (!inside || !all.length) return;
    const distance = (x) => Math.abs(inside.xs.at(x) + inside.origin[0] - px);
    const x = all.reduce((best, value) => (distance(value) < distance(best) ? value : best));
    point(x, hasLeft(event) ? { x: event.clientX, y: event.clientY } : anchor(x));
  };
  plot.addEventListener("pointermove", follow);
  plot.addEventListener("pointerdown", follow);
  plot.addEventListener("pointerleave", (event) => hasLeft(event) && point(null));

  return {
    draw: (wanted) => ((width = wanted), render()),
    clear() {
      if (isolated.size) (isolated.clear(), render());
    },
  };
}

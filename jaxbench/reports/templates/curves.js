// Curves of the chosen models: in one plot, each in its own, or a panel a quantity.
const MOST_ROWS = 12;
const MOST_DOTS = 25;

KINDS.curves = ({ name, controls, plot, legend, views, redraw }, data, memory) => {
  const sets = data.panels ?? [data];
  const slots = new Map(sets.flatMap((set) => set.labels.map((label, i) => [label, set.slots[i]])));
  const labels = [...slots.keys()];
  const number = new Map(labels.map((label, i) => [label, i]));
  const first = [...new Set(sets.flatMap((set) => set.shown.map((i) => number.get(set.labels[i]))))];
  const remember = () => {
    const chosen = pick.chosen().map((i) => labels[i]);
    if (chosen.join("\n") === first.map((i) => labels[i]).sort((a, b) => number.get(a) - number.get(b)).join("\n")) delete memory.shown;
    else memory.shown = chosen;
    if (beside) memory.beside = true;
    else delete memory.beside;
    changed();
  };
  let beside = memory.beside ?? false, cursor = null, active = 0, hovered = null, parts = [];
  const start = memory.shown?.filter((label) => number.has(label)).map((label) => number.get(label));
  const pick = chooser(labels, first, "show", () => remember(), start);
  if (!data.panels) controls.append(toggle("Side by side", beside, (on) => ((beside = on), remember())));
  controls.append(pick.element);
  const isolated = () => labels.filter((label) => state.models.has(label));
  const isDim = (label) => (hovered !== null ? hovered !== label : isolated().length > 0 && !state.models.has(label));
  const chosen = () => [...new Set([...pick.chosen().map((i) => labels[i]), ...isolated()])];

  function range(lists) {
    let low = Infinity, high = -Infinity;
    for (const value of lists.flat()) {
      if (value === null) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    return high >= low ? [low, high] : [0, 1];
  }
  const indexIn = (set, label) => set.labels.indexOf(label);
  function domains(set, members) {
    if (set.kind === "reliability") return [[0, 1], [0, 1]];
    const lines = members.map((label) => set.lines[indexIn(set, label)]);
    const [low, high] = range(lines.flatMap((line) => [line.y, line.low ?? [], line.high ?? []]));
    if (set.kind === "risk") return [[0, 1], [Math.min(0, low), high * 1.05 || 0.05]];
    const room = (high - low) * 0.06 || 0.05;
    // What begins just above zero begins at zero.
    const from = low >= 0 && low - room < 0 ? 0 : low - room;
    const across = set.places.length ? [-0.3, set.places.length - 0.7] : range(lines.map((line) => set.xs[line.x]));
    return [across, [from, high + room]];
  }
  function rowsOf(set, label) {
    const { x: list, y, low, high } = set.lines[indexIn(set, label)];
    const { colour, dash } = styleAt(slots.get(label));
    const dim = isDim(label), rows = [];
    let stretch = 0;
    set.xs[list].forEach((x, k) => {
      if (x === null || y[k] === null) return (stretch += 1);
      const row = { x, y: y[k], s: `${slots.get(label)}.${stretch}`, colour, dash, label };
      row.opacity = dim ? 0.15 : 1;
      row.faint = dim ? 0.03 : 0.16;
      if (low && low[k] !== null && high[k] !== null) Object.assign(row, { low: low[k], high: high[k] });
      rows.push(row);
    });
    return rows;
  }
  function part(set, members, title, shared, [width, height]) {
    const lit = [...members.filter(isDim), ...members.filter((label) => !isDim(label))];
    const rows = lit.map((label) => rowsOf(set, label));
    const places = set.places.map((place) => shortened(place, 22));
    const longest = Math.max(0, ...places.map((place) => place.length));
    const inner = width - FRAME.left - FRAME.right;
    const slanted = longest * 7 > inner / Math.max(1, places.length);
    const lower = slanted ? Math.min(90, Math.round(longest * 4.4)) : 0;
    const [across, up] = domains(set, shared);
    const diagonal = set.kind === "reliability" ? [{ x: 0, y: 0 }, { x: 1, y: 1 }] : [];
    const dots = rows.filter((_, k) => set.xs[set.lines[indexIn(set, lit[k])].x].length <= MOST_DOTS).flat();
    return {
      title, width, height, set, members,
      bottom: FRAME.bottom + lower,
      rows: { lines: rows.flat(), dots, diagonal, cursor: [] },
      signals: {
        ...{ x_domain: across, y_domain: up, x_title: set.titles[0], y_title: set.titles[1] },
        ...{ x_percent: set.percent[0], y_percent: set.percent[1], places, slanted, x_title_y: 30 + lower },
      },
    };
  }
  function panels({ width, height, still }) {
    const all = chosen();
    const drawn = { legend: all.map((label) => ({ key: label, text: label, style: styleAt(slots.get(label)), isLine: true })), parts: [] };
    if (!all.length) return { ...drawn, message: labels.length ? "No model is chosen." : "Nothing to show." };
    const many = data.panels ? sets.length : beside ? all.length : 1;
    const columns = still ? 1 : Math.max(1, Math.min(many, Math.floor(width / 290)));
    const size = many === 1 || still ? [width, height] : [Math.floor(width / columns), 270];
    if (data.panels) {
      for (const set of sets) {
        const members = all.filter((label) => set.labels.includes(label));
        drawn.parts.push(part(set, members, set.title, members, size));
      }
    } else if (beside) drawn.parts = all.map((label) => part(data, [label], label, all, size));
    else drawn.parts = [part(data, all, "", all, size)];
    return drawn;
  }
  function drawn(found, held) {
    parts = found.parts;
    legendButtons(legend, found.legend, state.models, (label) => ((hovered = null), isolate(state.models, label)), emphasise);
    parts.forEach((one, k) => {
      const label = `${name}${one.title ? `, ${one.title}` : ""}: ${one.set.titles[1]} by ${one.set.titles[0]} of ${one.members.length} models. Left and right arrow keys read the values${parts.length > 1 ? ", up and down change the panel" : ""}.`;
      const root = views.svg(k);
      dress(root, { role: "img", "aria-label": label, tabindex: k === active ? "0" : "-1" }, []);
      root.onblur = () => point(null);
      root.onfocus = () => (active = k);
    });
    active = Math.min(active, Math.max(0, parts.length - 1));
    if (held) views.svg(active)?.focus({ preventScroll: true });
  }
  // The rows alone change, so a click that follows finds its button.
  function emphasise(label) {
    if (hovered === label) return;
    hovered = label;
    parts.forEach((one, k) => {
      const again = part(one.set, one.members, one.title, one.members, [one.width, one.height]);
      views.views[k]?.data("lines", again.rows.lines).data("dots", again.rows.dots).run();
    });
  }

  const positions = (one) => [...new Set(one.members.flatMap((label) => one.set.xs[one.set.lines[indexIn(one.set, label)].x]))]
    .filter((value) => value !== null)
    .sort((a, b) => a - b);
  // Reads all curves of a panel at a position: each at its nearest point.
  function point(x, place) {
    cursor = x;
    views.views.forEach((view, k) => view.data("cursor", x === null || k !== active ? [] : [{ x }]).run());
    if (x === null) return tip.hide();
    const { set, members } = parts[active];
    const read = members.filter((label) => !isDim(label)).map((label) => {
      const line = set.lines[indexIn(set, label)], xs = set.xs[line.x];
      let best = -1;
      xs.forEach((value, k) => {
        if (value === null || line.y[k] === null) return;
        if (best < 0 || Math.abs(value - x) < Math.abs(xs[best] - x)) best = k;
      });
      return { label, line, k: best };
    }).filter(({ k }) => k >= 0);
    read.sort((a, b) => b.line.y[b.k] - a.line.y[a.k]);
    const rows = read.slice(0, MOST_ROWS).map(({ label, line: { y, low, high }, k }) =>
      [label, shownInterval(y[k], low?.[k], high?.[k], set.percent[1]), sampleOf(styleAt(slots.get(label)), true)]);
    const at = set.places.length ? set.places[x] : `${set.titles[0]} ${shown(x, set.percent[0])}`;
    const more = read.length > MOST_ROWS ? `and ${read.length - MOST_ROWS} more` : "";
    tip.show(place ?? anchorOf(x), at, rows, more);
  }
  const across = (x) => FRAME.left + views.views[active].scale("x")(x);
  const anchorOf = (x) => ({
    getBoundingClientRect() {
      const area = views.svg(active).getBoundingClientRect();
      return { x: area.x + across(x), y: area.y + FRAME.top };
    },
  });
  plot.addEventListener("keydown", (event) => {
    if (!parts.length) return;
    if (event.key === "Escape") return point(null);
    const turn = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (turn && parts.length > 1) {
      event.preventDefault();
      const next = Math.min(parts.length - 1, Math.max(0, active + turn));
      views.svg(active).setAttribute("tabindex", "-1");
      views.svg(next).setAttribute("tabindex", "0");
      return views.svg(next).focus();
    }
    const all = positions(parts[active]);
    const next = cursor === null && /^Arrow/.test(event.key) ? all[0] : step(event, all, cursor);
    if (next === undefined) return;
    event.preventDefault();
    point(next);
  });
  const follow = (event) => {
    const over = [...plot.children].findIndex((cell) => cell.contains(event.target));
    if (over < 0 || !parts[over]) return;
    active = over;
    const px = event.clientX - views.svg(over).getBoundingClientRect().x;
    const all = positions(parts[over]);
    if (!all.length) return;
    const distance = (x) => Math.abs(across(x) - px);
    const x = all.reduce((best, value) => (distance(value) < distance(best) ? value : best));
    point(x, hasLeft(event) ? { x: event.clientX, y: event.clientY } : anchorOf(x));
  };
  plot.addEventListener("pointermove", follow);
  plot.addEventListener("pointerdown", follow);
  plot.addEventListener("pointerleave", (event) => hasLeft(event) && point(null));
  return { panels, drawn, clear: () => (hovered = null) };
};

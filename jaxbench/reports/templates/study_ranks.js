// Ranks over datasets: a thin line a model, the chosen ones in colour with their names.
function ranks({ name, controls, plot, legend }, data) {
  const count = data.labels.length, places = data.datasets.length;
  const grouped = data.groups.length > 0;
  const groups = new Set();
  // What Enter or a click changed, and how it was before: Escape undoes it.
  const before = new Map();
  const few = count <= 12 && !data.shown.length;
  const pick = chooser(data.labels, few ? data.labels.map((_, i) => i) : data.shown, "highlight", () => render());
  controls.append(pick.element);
  let width = 0, cursor = 0, hot = null, lines = [], xAt, yAt;
  const isLit = (i) => pick.slots.has(i) || (grouped && groups.has(data.of[i]));
  const lit = () => data.labels.map((_, i) => i).filter(isLit);
  const colourOf = (i) => colour(grouped ? data.of[i] : pick.slots.get(i) ?? -1);
  function flip(i) {
    if (!before.has(i)) before.set(i, pick.slots.has(i));
    pick.set([i], !pick.slots.has(i));
  }
  const worst = Math.max(1, ...data.ranks.flat().filter((rank) => rank !== null));
  // Best first on the reference, for the arrow keys.
  const order = data.labels.map((_, i) => i).sort((a, b) => (data.ranks[a][0] ?? Infinity) - (data.ranks[b][0] ?? Infinity));

  function render() {
    const held = plot.contains(document.activeElement);
    const chosen = lit();
    const longest = Math.max(0, ...chosen.map((i) => data.labels[i].length));
    const right = chosen.length ? Math.min(30 + 6.6 * longest, Math.max(84, width * 0.3)) : 20;
    const left = 52;
    const needed = left + right + 32 * Math.max(1, places - 1);
    const wide = Math.max(width, needed);
    const slant = Math.min(110, 10 + 4.6 * Math.max(0, ...data.datasets.map((text) => Math.min(24, text.length))));
    const body = Math.min(560, Math.max(240, 18 * count));
    const height = body + 24 + slant;
    const label = `${name}: ranks of ${count} models on ${places} datasets, ${chosen.length} highlighted. Arrow keys move between models, Enter highlights one, Escape ends it.`;
    const root = svg("svg", { width: wide, height, viewBox: `0 0 ${wide} ${height}`, role: "group", "aria-label": label });
    plot.replaceChildren(root);
    drawLegend(chosen);
    if (!count || !places) {
      root.append(svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "Nothing to show."));
      return;
    }
    xAt = (k) => (places === 1 ? left + 20 : left + 8 + (k / (places - 1)) * (wide - left - right - 16));
    yAt = (rank) => 14 + ((rank - 1) / Math.max(1, worst - 1)) * (body - 8);
    frame(root, body, slant);
    lines = [];
    const back = data.labels.map((_, i) => i).filter((i) => !isLit(i));
    for (const i of [...back, ...chosen]) {
      lines[i] = line(i);
      root.append(lines[i], ...dots(i));
    }
    nameEnds(root, chosen, wide - right, right, body);
    lines[cursor].setAttribute("tabindex", "0");
    if (held) lines[cursor].focus({ preventScroll: true });
  }

  function frame(root, body, slant) {
    const middle = 14 + body / 2;
    root.append(svg("text", { class: "title", transform: `translate(14,${middle}) rotate(-90)`, "text-anchor": "middle" }, "Rank"));
    const { ticks } = scale(1, worst, 0, 1, Math.min(8, worst - 1));
    const whole = new Set([1, ...ticks.filter((tick) => tick >= 1 && Number.isInteger(tick))]);
    if (whole.has(2) && worst > 12) whole.delete(2);
    for (const tick of whole) {
      root.append(svg("text", { x: 44, y: yAt(tick) + 4, "text-anchor": "end" }, String(tick)));
    }
    data.datasets.forEach((text, k) => {
      const short = text.length > 24 ? `${text.slice(0, 22)}…` : text;
      root.append(
        svg("line", { class: "grid", x1: xAt(k), x2: xAt(k), y1: 8, y2: body + 14 }),
        svg("text", { transform: `translate(${xAt(k) + 4},${body + 28}) rotate(-38)`, "text-anchor": "end" }, short),
      );
    });
  }

  function line(i) {
    let text = "", pen = "M";
    data.ranks[i].forEach((rank, k) => {
      if (rank === null) return (pen = "M");
      text += `${pen}${xAt(k).toFixed(1)},${yAt(rank).toFixed(1)}`;
      pen = "L";
    });
    return svg("path", {
      class: isLit(i) ? "rank lit" : "rank",
      d: text,
      style: isLit(i) ? `stroke:${colourOf(i)}` : null,
      "stroke-dasharray": isLit(i) ? dash(Math.max(0, grouped ? data.of[i] : pick.slots.get(i) ?? 0)) : null,
      tabindex: "-1",
      role: "button",
      "aria-pressed": String(isLit(i)),
      "aria-label": data.labels[i],
      "data-i": i,
      focus: (event) => ((cursor = i), describe(i, start(i, event.target))),
      blur: () => tip.hide(),
    });
  }
  // A model on few datasets may have points without a line between them.
  function dots(i) {
    const isolatedPoint = (k) => data.ranks[i][k - 1] == null && data.ranks[i][k + 1] == null;
    return data.ranks[i].flatMap((rank, k) => {
      if (rank === null || !(isLit(i) || isolatedPoint(k))) return [];
      return [svg("circle", { cx: xAt(k), cy: yAt(rank), r: isLit(i) ? 3.5 : 2, fill: isLit(i) ? colourOf(i) : "var(--edge)" })];
    });
  }
  function nameEnds(root, chosen, x, room, body) {
    const ended = chosen.filter((i) => data.ranks[i].some((rank) => rank !== null));
    // More names than lines of text would overlap: the legend has them all.
    const fitting = ended.slice(0, Math.floor(body / 13));
    const last = (i) => data.ranks[i].findLast((rank) => rank !== null);
    const wanted = fitting.map((i) => yAt(last(i)));
    const letters = Math.floor((room - 14) / 6.4);
    spread(wanted, 13, 10, body + 12).forEach((y, k) => {
      const text = data.labels[fitting[k]];
      const short = text.length > letters ? `${text.slice(0, letters - 1)}…` : text;
      root.append(svg("text", { class: "name", x: x + 6, y: y + 4, style: `fill:${colourOf(fitting[k])}` }, short));
    });
  }

  function drawLegend(chosen) {
    if (!grouped) {
      const items = chosen.map((i) => ({ key: i, text: data.labels[i], mark: lineMark(pick.slots.get(i)) }));
      return legendButtons(legend, items, new Set(chosen), (i) => pick.set([i], false), emphasise);
    }
    const items = data.groups.map((text, k) => ({
      key: k,
      text,
      count: data.of.filter((group) => group === k).length,
      mark: lineMark(k),
    }));
    legendButtons(legend, items, groups, (k) => {
      if (!groups.delete(k)) groups.add(k);
      render();
    });
  }
  // Where a line begins: its rectangle covers the whole chart.
  const start = (i, path) => {
    const k = data.ranks[i].findIndex((rank) => rank !== null);
    if (k < 0) return path;
    return {
      getBoundingClientRect() {
        const area = plot.firstElementChild.getBoundingClientRect();
        return { x: area.x + xAt(k), y: area.y + yAt(data.ranks[i][k]) };
      },
    };
  };
  function describe(i, place) {
    const rows = data.datasets.map((text, k) => [text, shown(data.ranks[i][k])]);
    const group = grouped && data.of[i] >= 0 ? [["group", data.groups[data.of[i]]]] : [];
    const most = rows.length > 16 ? rows.slice(0, 16) : rows;
    tip.show(place, data.labels[i], [...group, ...most], rows.length > 16 ? `and ${rows.length - 16} more` : "");
  }
  function emphasise(i) {
    lines[hot]?.classList.remove("hot");
    hot = i;
    lines[i]?.classList.add("hot");
  }
  // The line that passes nearest above or below the pointer.
  function nearest(event) {
    if (!lines.length) return null;
    const area = plot.firstElementChild.getBoundingClientRect();
    const [px, py] = [event.clientX - area.x, event.clientY - area.y];
    let best = null, least = 14;
    data.ranks.forEach((of, i) => {
      for (let k = 0; k < places; k++) {
        if (of[k] === null) continue;
        const next = of[k + 1] ?? null;
        const [x0, x1] = [xAt(k), next === null ? xAt(k) : xAt(k + 1)];
        if (px < x0 - 8 || px > x1 + 8) continue;
        const share = x1 > x0 ? Math.min(1, Math.max(0, (px - x0) / (x1 - x0))) : 0;
        const distance = Math.abs(yAt(of[k] + share * ((next ?? of[k]) - of[k])) - py);
        // Of equals the highlighted one.
        if (distance < least - (isLit(i) ? 0 : 1e-9) || (distance <= least && isLit(i))) [best, least] = [i, distance];
      }
    });
    return best;
  }
  plot.addEventListener("pointermove", (event) => {
    const i = nearest(event);
    emphasise(i);
    if (i === null) tip.hide();
    else describe(i, { x: event.clientX, y: event.clientY });
  });
  plot.addEventListener("pointerleave", (event) => hasLeft(event) && (emphasise(null), tip.hide()));
  plot.addEventListener("click", (event) => {
    const i = nearest(event);
    if (i === null) return;
    cursor = i;
    flip(i);
    describe(i, start(i, lines[i]));
  });
  plot.addEventListener("keydown", (event) => {
    if (!("i" in event.target.dataset)) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      return flip(cursor);
    }
    const next = step(event, order, cursor);
    if (next === undefined) return;
    event.preventDefault();
    lines[cursor].setAttribute("tabindex", "-1");
    lines[next].setAttribute("tabindex", "0");
    lines[next].focus();
  });

  return {
    draw: (wanted) => ((width = wanted), render()),
    clear() {
      if (!groups.size && !before.size) return;
      const lit = [...before.keys()].filter((i) => before.get(i));
      const unlit = [...before.keys()].filter((i) => !before.get(i));
      groups.clear();
      before.clear();
      pick.set(unlit, false);
      pick.set(lit, true);
    },
  };
}

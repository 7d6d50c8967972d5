// Ranks over datasets: a thin line a model, the chosen ones in colour with their names.
KINDS.ranks = ({ name, controls, plot, legend, views }, data, memory) => {
  const count = data.labels.length, places = data.datasets.length;
  const grouped = data.groups.length > 0;
  // What Enter or a click changed, and how it was before: Escape undoes it.
  const before = new Map();
  const start = memory.lit?.map((label) => data.labels.indexOf(label)).filter((i) => i >= 0);
  const pick = chooser(data.labels, data.shown, "highlight", () => changedChoice(), start);
  controls.append(pick.element);
  let hot = -1;
  const all = data.labels.map((_, i) => i);
  const slotOf = (i) => (grouped ? data.group_slots[data.of[i]] ?? -1 : data.slots[i]);
  const styles = all.map((i) => styleAt(slotOf(i)));
  const isLit = (i) =>
    pick.has(i) || state.models.has(data.labels[i]) || (grouped && state.groups.has(data.groups[data.of[i]]));
  const lit = () => all.filter(isLit);
  // Best first on the reference, for the arrow keys.
  const order = [...all].sort((a, b) => (data.ranks[a][0] ?? Infinity) - (data.ranks[b][0] ?? Infinity));
  let cursor = order[0];
  const rows = all.flatMap((i) =>
    data.ranks[i].map((rank, k) => {
      const alone = rank !== null && (data.ranks[i][k - 1] ?? null) === null && (data.ranks[i][k + 1] ?? null) === null;
      return { i, k, rank, colour: styles[i].colour, dash: styles[i].dash, alone };
    }),
  );
  function changedChoice() {
    const now = pick.chosen();
    if (String(now) === String(data.shown)) delete memory.lit;
    else memory.lit = now.map((i) => data.labels[i]);
    changed();
  }
  function flip(i) {
    if (!before.has(i)) before.set(i, pick.has(i));
    pick.set([i], !pick.has(i));
  }
  function ends(chosen, letters) {
    const last = (i) => data.ranks[i].findLast((rank) => rank !== null);
    // More names than lines of text would overlap: the legend has them all.
    const ended = chosen.filter((i) => data.ranks[i].some((rank) => rank !== null)).slice(0, Math.floor(data.height / 14));
    const wanted = ended.map((i) => ((last(i) - 0.5) / data.worst) * data.height);
    return spread(wanted, 14, 7, data.height - 7).map((y, k) => ({
      y,
      name: shortened(data.labels[ended[k]], letters),
      colour: styles[ended[k]].colour,
    }));
  }
  function panels({ width, still }) {
    if (!count || !places) return { parts: [], message: "Nothing to show." };
    const chosen = lit();
    const longest = Math.max(0, ...chosen.map((i) => [...data.labels[i]].length));
    const letters = Math.max(8, Math.min(34, longest, Math.floor((width * (still ? 0.45 : 0.32)) / LETTER)));
    const right = chosen.length ? 24 + Math.ceil(LETTER * Math.min(longest, letters)) : 18;
    // What is too wide for the window scrolls.
    const wide = Math.max(width, FRAME.left + right + 30 * places);
    const signals = { lit: chosen, hot: still ? -1 : hot, places: data.places, worst: data.worst, ticks: data.ticks, y_percent: false };
    const part = { rows: { ranks: rows, ends: ends(chosen, letters) }, signals, width: wide, right, bottom: data.bottom };
    return { parts: [{ ...part, height: data.height + FRAME.top + data.bottom }], legend: still && !grouped ? [] : items(chosen) };
  }
  const items = (chosen) =>
    grouped
      ? data.groups.map((text, k) => ({
          key: text,
          text,
          count: data.of.filter((group) => group === k).length,
          style: styleAt(data.group_slots[k]),
          isLine: true,
        }))
      : chosen.map((i) => ({ key: String(i), text: data.labels[i], style: styles[i], isLine: true }));
  function drawn({ message, legend: shownItems = [] }, held) {
    if (message) return;
    const pressed = grouped ? state.groups : new Set(shownItems.map(({ key }) => key));
    const press = grouped ? (key) => isolate(state.groups, key) : (key) => (state.models.delete(data.labels[key]), pick.set([Number(key)], false));
    legendButtons(legend, shownItems, pressed, press, (key) => grouped || emphasise(key === null ? -1 : Number(key)));
    const root = views.svg();
    const text = `${name}: ranks of ${count} models on ${places} datasets, ${lit().length} highlighted. Arrow keys move between models, Enter highlights one, Escape ends it.`;
    dress(root, { tabindex: "0", role: "group", "aria-label": text }, []);
    if (held) root.focus({ preventScroll: true });
  }
  function emphasise(i) {
    if (i === hot || !views.views.length) return;
    hot = i;
    views.views[0].signal("hot", i).run();
  }

  function at(i, k) {
    const view = views.views[0], [left, top] = view.origin(), area = views.svg().getBoundingClientRect();
    return { x: area.x + left + view.scale("x")(k), y: area.y + top + view.scale("y")(data.ranks[i][k]) };
  }
  // Where a line begins; it moves with the page.
  const beginning = (i) => {
    const k = data.ranks[i].findIndex((rank) => rank !== null);
    return { getBoundingClientRect: () => (k < 0 ? views.svg().getBoundingClientRect() : at(i, k)) };
  };
  function describe(i, place) {
    const values = data.datasets.map((text, k) => [text, shown(data.ranks[i][k])]);
    const group = grouped && data.of[i] >= 0 ? [["group", data.groups[data.of[i]]]] : [];
    const more = values.length > 16 ? `and ${values.length - 16} more` : "";
    tip.show(place, data.labels[i], [...group, ["highlighted", isLit(i) ? "yes" : "no"], ...values.slice(0, 16)], more);
  }
  // The line that passes nearest above or below the pointer.
  function nearest(event) {
    if (!views.views.length) return -1;
    let best = -1, least = 14;
    const origin = at(order[0], 0).x - views.views[0].scale("x")(0);
    const y0 = views.svg().getBoundingClientRect().y + views.views[0].origin()[1];
    const xs = data.datasets.map((_, k) => origin + views.views[0].scale("x")(k));
    const yAt = (rank) => y0 + views.views[0].scale("y")(rank);
    for (const i of all) {
      for (let k = 0; k < places; k++) {
        const rank = data.ranks[i][k], next = data.ranks[i][k + 1] ?? null;
        if (rank === null) continue;
        const x1 = next === null ? xs[k] : xs[k + 1];
        if (event.clientX < xs[k] - 8 || event.clientX > x1 + 8) continue;
        const share = x1 > xs[k] ? Math.min(1, Math.max(0, (event.clientX - xs[k]) / (x1 - xs[k]))) : 0;
        const distance = Math.abs(yAt(rank + share * ((next ?? rank) - rank)) - event.clientY);
        // Of equals the highlighted one.
        if (distance < least - (isLit(i) ? 0 : 1e-9) || (distance <= least && isLit(i))) [best, least] = [i, distance];
      }
    }
    return best;
  }
  plot.addEventListener("pointermove", (event) => {
    const i = nearest(event);
    emphasise(i);
    if (i < 0) tip.hide();
    else describe(i, { x: event.clientX, y: event.clientY });
  });
  plot.addEventListener("pointerleave", (event) => hasLeft(event) && (emphasise(-1), tip.hide()));
  plot.addEventListener("click", (event) => {
    const i = nearest(event);
    if (i < 0) return;
    cursor = i;
    flip(i);
    describe(i, beginning(i));
  });
  const reach = (i) => ((cursor = i), emphasise(i), describe(i, beginning(i)));
  plot.addEventListener("focusin", () => plot.querySelector(":focus-visible") && reach(cursor));
  plot.addEventListener("focusout", () => (emphasise(-1), tip.hide()));
  plot.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      flip(cursor);
      return reach(cursor);
    }
    const next = step(event, order, cursor);
    if (next === undefined) return;
    event.preventDefault();
    reach(next);
  });

  return {
    panels,
    drawn,
    clear() {
      emphasise(-1);
      if (!before.size) return;
      const on = [...before.keys()].filter((i) => before.get(i));
      const off = [...before.keys()].filter((i) => !before.get(i));
      before.clear();
      pick.set(off, false);
      pick.set(on, true);
    },
  };
};

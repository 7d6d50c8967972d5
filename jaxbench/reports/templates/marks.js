// Bars, ridges and boxes: marks in rows, a panel a grouping, each with what is read of it.
KINDS.marks = ({ name, plot, legend, views }, data) => {
  const count = data.readings.length;
  let hot = -1, cursor = 0;
  const isolated = () => state.models.size + state.groups.size > 0;
  // Nothing is pale where nothing of this chart is isolated.
  const bright = () => {
    if (!isolated()) return [];
    return data.readings.flatMap(([names], t) => (names.some((n) => state.models.has(n) || state.groups.has(n)) ? [t] : []));
  };
  // Names take at most half the width: on a phone they are one line, cut.
  function beside({ left, signals }, width, now) {
    const room = Math.max(90, 0.5 * width);
    if (left <= room) return { left, signals: { ...signals, ...now } };
    const letters = Math.floor((room - 18) / (1.1 * LETTER));
    const names = signals.names.map((lines) => [shortened(lines.join(" "), letters)]);
    return { left: room, signals: { ...signals, ...now, names, name_offsets: [] } };
  }
  function panels({ width, still }) {
    if (data.message) return { parts: [], message: data.message };
    const columns = still || data.panels.length === 1 ? 1 : Math.max(1, Math.min(data.panels.length, Math.floor(width / 340)));
    const each = still ? (data.panels.length > 1 ? 440 : width) : Math.floor(width / columns);
    const parts = data.panels.map((panel) => ({
      title: panel.title,
      rows: panel.rows,
      ...beside(panel, each, { bright: bright(), hot: still ? -1 : hot }),
      width: each,
      height: panel.height,
    }));
    const items = data.groups.map((text, k) => ({ key: text, text, style: styleAt(data.slots[k]), isLine: false }));
    return { parts, legend: items };
  }
  function drawn({ message, legend: items = [] }, held) {
    if (message) return;
    if (items.length) legendButtons(legend, items, state.groups, (key) => isolate(state.groups, key));
    const text = `${name}: ${count} marks. Arrow keys move between them, Enter isolates one, Escape shows all.`;
    dress(plot, { tabindex: "0", role: "group", "aria-label": text }, []);
    if (held) plot.focus({ preventScroll: true });
  }
  function emphasise(t) {
    if (t === hot) return;
    hot = t;
    views.views.forEach((view) => view.signal("hot", t).run());
  }
  // The first drawn mark of a reading; it moves with the page.
  function elementOf(t) {
    let found = null;
    const visit = (mark) => {
      for (const item of mark.items ?? []) {
        if (!found && item.datum?.t === t && item._svg) found = item._svg;
        item.items?.forEach(visit);
      }
    };
    views.views.forEach((view) => visit(view.scenegraph().root));
    return found ?? plot;
  }
  const describe = (t, place) => tip.show(place, data.readings[t][1], data.readings[t][2]);
  // Marks are found by what is under the pointer; SVG elements know their items.
  function under(event) {
    const t = event.target.__data__?.datum?.t ?? event.target.__data__?.mark?.group?.datum?.t;
    return Number.isInteger(t) ? t : -1;
  }
  const press = (t) => isolate(state.models, data.readings[t][0][0]);
  plot.addEventListener("pointermove", (event) => {
    const t = under(event);
    emphasise(t);
    if (t < 0) tip.hide();
    else describe(t, { x: event.clientX, y: event.clientY });
  });
  plot.addEventListener("pointerleave", (event) => hasLeft(event) && (emphasise(-1), tip.hide()));
  plot.addEventListener("click", (event) => {
    const t = under(event);
    if (t < 0) return;
    cursor = t;
    press(t);
    describe(t, elementOf(t));
  });
  const reach = (t) => ((cursor = t), emphasise(t), describe(t, elementOf(t)));
  plot.addEventListener("focus", () => count && plot.matches(":focus-visible") && reach(cursor));
  plot.addEventListener("blur", () => (emphasise(-1), tip.hide()));
  plot.addEventListener("keydown", (event) => {
    if (!count) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      press(cursor);
      return reach(cursor);
    }
    const next = step(event, [...data.readings.keys()], cursor);
    if (next === undefined) return;
    event.preventDefault();
    reach(next);
  });
  return { panels, drawn, clear: () => emphasise(-1) };
};

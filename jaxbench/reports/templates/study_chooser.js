// A list of models to choose from, with a filter, and the legend of the chosen ones.
// `slots` maps a chosen model to the number of its colour, which it keeps while chosen.
function chooser(labels, initial, verb, change) {
  const slots = new Map();
  const choose = (index) => {
    if (slots.has(index)) return;
    const taken = new Set(slots.values());
    let slot = 0;
    while (taken.has(slot)) slot++;
    slots.set(index, slot);
  };
  initial.forEach(choose);
  const count = html("summary");
  const boxes = labels.map((label, index) => {
    const box = html("input", { type: "checkbox", tabindex: index ? "-1" : "0", value: index });
    box.addEventListener("change", () => set([index], box.checked));
    return box;
  });
  const rows = labels.map((label, index) => html("label", {}, boxes[index], html("span", {}, label)));
  const texts = labels.map((label) => label.toLowerCase());
  const list = html("div", { class: "list", role: "group", "aria-label": `Models to ${verb}` }, ...rows);
  const visible = () => boxes.filter((_, index) => !rows[index].hidden);
  const field = search(`Filter ${labels.length} models`, (words) => {
    rows.forEach((row, index) => (row.hidden = !holds(texts[index], words)));
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
  const all = html("button", { type: "button", click: () => set(listed(), true) }, `All listed`);
  const none = html("button", { type: "button", click: () => set(listed(), false) }, "None listed");
  const again = html("button", { type: "button", click: () => reset() }, "As at first");
  const element = html("details", { class: "chooser" }, count, html("div", { class: "row" }, field, all, none, again), list);

  function set(indices, on) {
    indices.forEach((index) => (on ? choose(index) : slots.delete(index)));
    update();
  }
  function reset() {
    slots.clear();
    initial.forEach(choose);
    update();
  }
  function update() {
    boxes.forEach((box, index) => (box.checked = slots.has(index)));
    count.textContent = `Choose models: ${slots.size} of ${labels.length} ${verb === "show" ? "shown" : "highlighted"}`;
    change();
  }
  boxes.forEach((box, index) => (box.checked = slots.has(index)));
  count.textContent = `Choose models: ${slots.size} of ${labels.length} ${verb === "show" ? "shown" : "highlighted"}`;
  // Chosen models in the order of the list.
  const chosen = () => [...slots.keys()].sort((a, b) => a - b);
  return { element, slots, chosen, set };
}

// Buttons under a chart; a pressed one isolates what it names.
function legendButtons(legend, items, pressed, press, hover = () => {}) {
  // What is new replaces the old, so the keyboard's place is kept by its key.
  const focused = legend.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  legend.replaceChildren(
    ...items.map(({ key, text, mark, count }) =>
      html(
        "button",
        {
          type: "button",
          "data-key": key,
          "aria-pressed": String(pressed.has(key)),
          click: () => press(key),
          pointerenter: () => hover(key),
          pointerleave: () => hover(null),
          focus: () => hover(key),
          blur: () => hover(null),
        },
        mark,
        text,
        ...(count === undefined ? [] : [html("small", {}, String(count))]),
      ),
    ),
  );
  legend.classList.toggle("some", pressed.size > 0);
  if (focused !== null) legend.querySelector(`[data-key="${focused}"]`)?.focus();
}

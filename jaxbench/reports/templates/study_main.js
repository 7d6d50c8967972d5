// Sets charts up when they come near the window, and draws them again when it changes.
const KINDS = { scatter, curves, ranks };
const PRINTED = 660;
const figures = new Map();

function setUp(figure) {
  if (figures.has(figure)) return figures.get(figure);
  const plot = figure.querySelector(".plot");
  const parts = {
    name: figure.dataset.name,
    controls: figure.querySelector(".controls"),
    plot,
    legend: figure.querySelector(".legend"),
  };
  const data = JSON.parse(figure.querySelector("script").textContent);
  const chart = KINDS[figure.dataset.kind](parts, data);
  let width = 0;
  const fit = (wanted) => {
    if (wanted < 1 || wanted === width) return;
    width = wanted;
    chart.draw(width);
  };
  const item = { fit: (wanted) => fit(wanted ?? plot.clientWidth), clear: chart.clear };
  figures.set(figure, item);
  figure.dataset.ready = "";
  item.fit();
  // In the next frame: a drawing may bring a scroll bar, which changes the width again.
  new ResizeObserver(() => requestAnimationFrame(() => item.fit())).observe(plot);
  return item;
}

const drawn = [...document.querySelectorAll(".chart")].filter((f) => f.dataset.kind in KINDS);
const watcher = new IntersectionObserver(
  (entries) => {
    for (const entry of entries.filter((e) => e.isIntersecting)) {
      watcher.unobserve(entry.target);
      setUp(entry.target);
    }
  },
  { rootMargin: "900px 0px" },
);
drawn.forEach((figure) => watcher.observe(figure));
addEventListener("beforeprint", () => drawn.forEach((figure) => setUp(figure).fit(PRINTED)));
addEventListener("afterprint", () => drawn.forEach((figure) => setUp(figure).fit()));
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  figures.forEach((item) => item.clear());
  // Last: a point that is drawn anew and has the focus tells of itself.
  tip.hide();
});

// Names of a heat map's columns stand upright where they are long.
for (const table of document.querySelectorAll("table.heat")) {
  const names = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent.length);
  table.classList.toggle("tall", names.length > 4 && Math.max(...names) > 7);
}

// A table as a file: the rows that the filter leaves, in their order, as shown.
for (const table of document.querySelectorAll(".part table.data")) {
  table.closest(".scroll").tabIndex = 0;
  const tools = table.closest(".scroll").previousElementSibling;
  const name = table.dataset.file ?? table.closest("[data-file]").dataset.file;
  const save = () => {
    const rows = [table.tHead.rows[0], ...table.tBodies[0].rows].filter((row) => !row.hidden);
    const quote = (cell) => `"${cell.textContent.replaceAll('"', '""')}"`;
    const text = rows.map((row) => [...row.cells].map(quote).join(",")).join("\r\n");
    const link = html("a", { download: `${name}.csv` });
    link.href = URL.createObjectURL(new Blob(["\ufeff", text, "\r\n"], { type: "text/csv" }));
    link.click();
    URL.revokeObjectURL(link.href);
  };
  tools.append(html("button", { type: "button", click: save }, "Save as CSV"));
}

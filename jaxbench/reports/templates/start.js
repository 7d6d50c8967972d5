// Sets charts up when they come near the window, and draws them again when it changes.
const PRINTED = 660;
const figures = new Map();

function setUp(figure) {
  if (figures.has(figure)) return figures.get(figure);
  const plot = figure.querySelector(".plot");
  const data = JSON.parse(figure.querySelector("script").textContent);
  const name = figure.id.replace("figure-", "");
  const views = new Views(plot, data.spec);
  const parts = {
    name: figure.dataset.name,
    controls: figure.querySelector(".controls"),
    legend: figure.querySelector(".legend"),
    plot,
    views,
    redraw: () => draw(),
  };
  const chart = KINDS[figure.dataset.kind](parts, data, remembered(name));
  parts.controls.append(savers(figure, async () => drawing(data.spec, chart.panels(STILL))));
  let width = 0, turn = 0;
  async function draw() {
    if (width < 1) return;
    const mine = ++turn;
    const held = plot.contains(document.activeElement);
    const drawn = chart.panels({ width, height: Math.round(Math.min(560, Math.max(330, width * 0.58))) });
    if (drawn.message) views.message(drawn.message);
    else await views.show(drawn.parts);
    // A later drawing has its own end.
    if (mine !== turn) return;
    chart.drawn?.(drawn, held);
    figure.dataset.drawn = String(turn);
  }
  const fit = (wanted) => {
    if (wanted < 1 || wanted === width) return;
    width = wanted;
    draw();
  };
  const item = { fit: (wanted) => fit(wanted ?? plot.clientWidth), clear: () => chart.clear?.(), draw };
  figures.set(figure, item);
  listeners.push(draw);
  figure.dataset.ready = "";
  item.fit();
  // In the next frame: a drawing may bring a scroll bar, which changes the width again.
  new ResizeObserver(() => requestAnimationFrame(() => item.fit())).observe(plot);
  return item;
}

function startWith(figure) {
  if (figure.dataset.kind in KINDS) setUp(figure);
}
// When the whole page is there.
function start() {
  const charts = [...document.querySelectorAll(".chart")].filter((figure) => figure.dataset.kind in KINDS);
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((e) => e.isIntersecting)) {
        watcher.unobserve(entry.target);
        setUp(entry.target);
      }
    },
    { rootMargin: "900px 0px" },
  );
  charts.forEach((figure) => watcher.observe(figure));
  addEventListener("beforeprint", () => charts.forEach((figure) => setUp(figure).fit(PRINTED)));
  addEventListener("afterprint", () => charts.forEach((figure) => setUp(figure).fit()));
  // A heat map is a table in the page; its picture is drawn when it is saved.
  for (const figure of document.querySelectorAll('.chart[data-kind="heat"]')) {
    const { spec } = JSON.parse(figure.querySelector("script").textContent);
    figure.querySelector(".controls").append(savers(figure, () => drawing(spec, { parts: [{}] })));
  }
  // A link to a state names its section before the state.
  if (location.hash.includes("~")) document.getElementById(anchor)?.scrollIntoView();
}
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  figures.forEach((item) => item.clear());
  showAll();
  tip.hide();
});

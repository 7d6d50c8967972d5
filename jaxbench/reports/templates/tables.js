// Tables: sorting, filters, hidden columns, and files of what is visible.
const BRACKETS = /\s*\[[^\]]*\]$/;
const numbersOf = (cell) => (cell.dataset.v ?? "").split(" ").filter(Boolean).map(Number);
const isMissing = (cell) => !Number.isFinite(numbersOf(cell)[0]);
const textOf = (cell) => {
  const copy = cell.cloneNode(true);
  copy.querySelectorAll("[aria-hidden]").forEach((part) => part.remove());
  return copy.textContent.trim().replace(/\s+/g, " ");
};

// What a file holds: the visible rows in their order, the visible columns.
function visible(table) {
  const heads = [...table.tHead.rows[0].cells];
  const columns = heads.map((_, k) => k).filter((k) => !heads[k].hidden);
  const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden);
  return { columns, heads: columns.map((k) => heads[k]), rows: rows.map((row) => columns.map((k) => row.cells[k])) };
}
// Numbers unscaled, in columns of their own: value, lower and upper end.
function asCsv(table) {
  const { heads, rows } = visible(table);
  const quote = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const wide = heads.map((head, k) => head.classList.contains("n") && rows.some((row) => numbersOf(row[k]).length === 3));
  const names = heads.flatMap((head, k) => [head.dataset.name, ...(wide[k] ? ["_low", "_high"].map((end) => head.dataset.name + end) : [])]);
  const lines = rows.map((row) =>
    row.flatMap((cell, k) => {
      if (!heads[k].classList.contains("n")) return [textOf(cell)];
      const texts = (cell.dataset.v ?? "").split(" ");
      return wide[k] ? [texts[0] ?? "", texts[1] ?? "", texts[2] ?? ""] : [texts[0]];
    }),
  );
  return [names, ...lines].map((line) => line.map(quote).join(",")).join("\n") + "\n";
}
function asMarkdown(table) {
  const { heads, rows } = visible(table);
  const clean = (text) => text.replace(/[\\|]/g, "\\$&");
  const line = (texts) => `| ${texts.map(clean).join(" | ")} |`;
  const rule = `| ${heads.map((head) => (head.classList.contains("n") ? "---:" : "---")).join(" | ")} |`;
  return [line(heads.map(textOf)), rule, ...rows.map((row) => line(row.map(textOf)))].join("\n") + "\n";
}
const LATEX = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "↑": "$\\uparrow$", "↓": "$\\downarrow$", "×": "$\\times$" };
const latex = (text) => text.replace(/[\\~^↑↓×&%$#_{}]/g, (found) => LATEX[found] ?? `\\${found}`);
function asLatex(table) {
  const { heads, rows } = visible(table);
  const number = (text) => latex(text).replace(/ (\[[^\]]*\])$/, " {\\scriptsize $1}");
  const line = (texts) => `${texts.join(" & ")} \\\\`;
  const body = rows.map((row) => line(row.map((cell, k) => (heads[k].classList.contains("n") ? number : latex)(textOf(cell)))));
  const kinds = heads.map((head) => (head.classList.contains("n") ? "r" : "l")).join("");
  const lines = [`\\begin{tabular}{${kinds}}`, "\\toprule", line(heads.map((head) => latex(textOf(head)))), "\\midrule", ...body, "\\bottomrule", "\\end{tabular}"];
  return lines.join("\n") + "\n";
}

function saveText(text, name, type) {
  const target = html("a", { download: name, href: URL.createObjectURL(new Blob([text], { type })) });
  target.click();
  setTimeout(() => URL.revokeObjectURL(target.href));
}
function copyButton(label, make) {
  const copy = button(label, async () => {
    try {
      await navigator.clipboard.writeText(make());
      copy.textContent = "Copied";
    } catch {
      // Pages from a file may be denied the clipboard.
      saveText(make(), `${copy.dataset.file}`, "text/plain");
    }
    setTimeout(() => (copy.textContent = label), 1500);
  });
  return copy;
}

// A click on a heading sorts by it, numbers by their full value, missing ones last; a
// third click brings the page's own order back.
const orders = new Map();
document.addEventListener("click", (event) => {
  const head = event.target.closest("table.data thead th");
  if (head) sortBy(head);
});
function sortBy(head) {
  const table = head.closest("table"), body = table.tBodies[0];
  if (!orders.has(table)) orders.set(table, [...body.rows]);
  const original = orders.get(table), numeric = head.classList.contains("n");
  const before = head.getAttribute("aria-sort");
  const [first, other] = numeric ? ["descending", "ascending"] : ["ascending", "descending"];
  for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
  if (before === other) return body.append(...original);
  const order = before === first ? other : first;
  head.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const keyed = original.map((row) => {
    const cell = row.cells[head.cellIndex];
    return [numeric ? (isMissing(cell) ? "" : numbersOf(cell)[0]) : cell.textContent, row];
  });
  keyed.sort(([x], [y]) => {
    if (x === "" || y === "") return (x === "") - (y === "");
    return sign * (numeric ? x - y : x.localeCompare(y, "en", { numeric: true }));
  });
  body.append(...keyed.map(([, row]) => row));
}
function filter(table, count) {
  const rows = [...table.tBodies[0].rows];
  let texts = null;
  const field = search(`Filter ${rows.length} rows`, (text) => {
    texts ??= rows.map((row) => row.textContent.toLowerCase());
    const words = wordsOf(text);
    let kept = 0;
    rows.forEach((row, index) => {
      row.hidden = !holds(texts[index], words);
      kept += !row.hidden;
    });
    count.textContent = words.length ? `${kept} of ${rows.length} rows` : "";
  });
  field.setAttribute("aria-label", "Filter rows");
  return field;
}
function columnList(table) {
  const heads = [...table.tHead.rows[0].cells];
  const boxes = heads.slice(1).map((head, k) =>
    toggle(textOf(head), true, (on) => {
      for (const row of table.rows) row.cells[k + 1].hidden = !on;
    }),
  );
  return html("details", { class: "columns" }, html("summary", {}, "Columns"), html("div", { class: "list" }, ...boxes));
}
function intervals(table) {
  if (!table.querySelector('td[data-v*=" "]')) return [];
  let full = null;
  return [
    toggle("Intervals", true, (on) => {
      full ??= new Map([...table.querySelectorAll('td[data-v*=" "]')].map((cell) => [cell, cell.textContent]));
      for (const [cell, text] of full) cell.textContent = on ? text : text.replace(BRACKETS, "");
    }),
  ];
}

function setUpTools(table) {
  const tools = document.querySelector(`[data-for="${table.id}"]`);
  const name = table.dataset.file, count = html("span", { class: "count", role: "status" });
  const [markdown, tex] = [copyButton("Markdown", () => asMarkdown(table)), copyButton("LaTeX", () => asLatex(table))];
  [markdown.dataset.file, tex.dataset.file] = [`${name}.md`, `${name}.tex`];
  tools.append(
    ...(table.tBodies[0].rows.length > 8 ? [filter(table, count)] : []),
    count,
    ...intervals(table),
    ...(table.tHead.rows[0].cells.length > 3 ? [columnList(table)] : []),
    html(
      "div",
      { class: "save", role: "group", "aria-label": "Save this table" },
      button("CSV", () => saveText(asCsv(table), `${name}.csv`, "text/csv")),
      markdown,
      tex,
    ),
  );
}
// After the first charts, which a reader waits for.
setTimeout(() => {
  document.querySelectorAll("table.data").forEach(setUpTools);
  // A picture of the whole page has its tables, too.
  document.querySelectorAll(".scroll.long").forEach((box) => box.classList.remove("long"));
});
// Names of a heat map's columns stand upright where they are long.
for (const table of document.querySelectorAll("table.heat")) {
  const names = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent.length);
  table.classList.toggle("tall", names.length > 4 && Math.max(...names) > 7);
}

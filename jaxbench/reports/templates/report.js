"use strict";
// Sorting: a click on a heading, numbers by their full value, missing ones last; a third
// click brings the page's own order back.
for (const table of document.querySelectorAll("table.data")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, index) => {
    head.addEventListener("click", () => {
      const numeric = head.classList.contains("n");
      const before = head.getAttribute("aria-sort");
      const first = numeric ? "descending" : "ascending";
      const other = numeric ? "ascending" : "descending";
      heads.forEach((cell) => cell.removeAttribute("aria-sort"));
      if (before === other) return body.append(...original);
      const order = before === first ? other : first;
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const keyed = original.map((row) => {
        const cell = row.cells[index];
        const text = numeric ? cell.dataset.v : cell.textContent;
        return [numeric && Number.isNaN(Number(text)) ? "" : text, row];
      });
      keyed.sort(([x], [y]) => {
        if (x === "" || y === "") return (x === "") - (y === "");
        if (numeric) return sign * (Number(x) - Number(y));
        return sign * x.localeCompare(y, "en", { numeric: true });
      });
      body.append(...keyed.map(([, row]) => row));
    });
  });
}
// Filtering: rows that hold every word.
for (const input of document.querySelectorAll("input[data-table]")) {
  const rows = [...document.getElementById(input.dataset.table).tBodies[0].rows];
  const count = document.querySelector(`[data-count="${input.dataset.table}"]`);
  let texts = null;
  input.addEventListener("input", () => {
    texts ??= rows.map((row) => row.textContent.toLowerCase());
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, index) => {
      row.hidden = !words.every((word) => texts[index].includes(word));
      shown += !row.hidden;
    });
    count.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
  });
}

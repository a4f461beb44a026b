// Sorting, filtering and the split of each leaderboard.
const words = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

const compare = (numeric, sign) => (one, other) => {
  if (one.key === undefined || other.key === undefined) return (one.key === undefined) - (other.key === undefined);
  return sign * (numeric ? one.key - other.key : words.compare(one.key, other.key));
};

const sort = (table, head) => {
  const button = head.querySelector("button");
  const was = head.getAttribute("aria-sort");
  const falling = was ? was === "ascending" : "falling" in button.dataset;
  const numeric = head.classList.contains("n");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => ({ row, key: row.cells[head.cellIndex].dataset.key }));
  rows.sort(compare(numeric, falling ? -1 : 1));
  body.append(...rows.map((each) => each.row));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
};

const filter = (section) => {
  const wanted = section.querySelector("input[type=search]").value.trim().toLowerCase();
  const bestOnly = section.querySelector("input[name=best]").checked;
  const shown = new Set(Array.from(section.querySelectorAll("input[name=status]:checked"), (box) => box.value));
  const rows = Array.from(section.querySelector("table").tBodies[0].rows);
  for (const row of rows) {
    const objective = row.querySelector("th").dataset.key.toLowerCase();
    const kept = !bestOnly || row.classList.contains("best") || row.classList.contains("start");
    const status = row.dataset.statuses.split(" ").some((each) => shown.has(each));
    row.hidden = !(kept && status && objective.includes(wanted));
  }
  const count = rows.filter((row) => !row.hidden).length;
  section.querySelector("output").textContent = `${count} of ${rows.length} rows`;
};

const start = (section) => {
  const table = section.querySelector("table");
  for (const head of table.tHead.rows[0].cells) {
    head.querySelector("button").addEventListener("click", () => sort(table, head));
  }
  for (const radio of section.querySelectorAll("input[type=radio]")) {
    radio.addEventListener("change", () => {
      table.classList.remove("test", "validation");
      table.classList.add(radio.value);
    });
  }
  section.querySelector(".tools").addEventListener("input", () => filter(section));
  table.tBodies[0].addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (!event.target.closest("a") && !getSelection().toString()) location.hash = row.dataset.row;
  });
  // a browser that comes back to the page keeps what was typed and ticked
  const ticked = section.querySelector("input[type=radio]:checked");
  if (ticked) ticked.dispatchEvent(new Event("change"));
  filter(section);
};

document.querySelectorAll("section.group").forEach(start);
// on paper nothing can be opened
addEventListener("beforeprint", () => document.querySelectorAll("details.notes").forEach((each) => { each.open = true; }));

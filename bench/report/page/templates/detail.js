// What opens when a row is chosen: every text from the records goes in as text, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const dialog = document.getElementById("detail");
const title = document.getElementById("detail-title");
const body = document.getElementById("detail-body");
const places = new Map();
const runName = (run) => `run-${run.key}-${run.evaluation}`;

for (const group of data.groups) {
  for (const setting of group.settings) {
    places.set(setting.id, { group, setting });
    for (const run of setting.runs) places.set(runName(run), { group, setting, run });
  }
}

const el = (tag, attributes, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null));
  return made;
};

const number = (value, places = 3) => (value === null ? "–" : value.toFixed(places).replace("-", "−"));
const plain = (value) => (value === null ? "–" : String(Number(value.toPrecision(6))).replace("-", "−"));
const grouped = (value) => Math.round(value).toLocaleString("en");

const measured = (pair, places) => {
  const cell = el("td", { class: "n" }, pair === null ? "–" : number(pair[0], places));
  if (pair !== null && pair[1] !== null) {
    cell.append(" ", el("span", { class: "spread" }, `± ${number(1.96 * pair[1], places)}`));
  }
  return cell;
};

const mark = (setting) => {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const path = document.createElementNS(space, "path");
  svg.setAttribute("viewBox", "0 0 12 12");
  svg.setAttribute("class", "mark");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", setting.mark);
  path.setAttribute("fill", setting.colour);
  svg.append(path);
  return svg;
};

const table = (label, heads, rows) =>
  el("div", { class: "box", tabindex: "0", role: "region", "aria-label": label },
    el("table", {},
      el("thead", {}, el("tr", {}, ...heads.map(([text, kind]) => el("th", { scope: "col", class: kind }, text)))),
      el("tbody", {}, ...rows)));

const runRow = (setting, run, { current, asked }) => {
  const params = Object.entries(data.pool[run.params]).map(([name, value]) => `${name}=${plain(value)}`).join(" ");
  const status = el("td", {}, run.status === "completed" ? run.status : el("span", { class: "tag bad" }, run.status));
  if (run.error !== null) status.append(el("span", { class: "error" }, run.error));
  const names = [current ? "current" : "", asked ? "asked" : ""].join(" ").trim();
  return el("tr", { class: names, "data-run": runName(run) },
    el("td", {}, current ? params || "–" : el("a", { href: `#${setting.id}` }, params || setting.text)),
    el("td", { class: "n" }, run.learning_rate === null ? "–" : plain(run.learning_rate)),
    el("td", { class: "n" }, String(run.seed)), el("td", {}, run.split),
    measured(run.target, 3), measured(run.gold_reward, 3), measured(run.kl, 2),
    status, el("td", { class: "n" }, number(run.seconds, 1)),
    el("td", {}, el("a", { href: `#${runName(run)}` }, el("code", {}, run.key))));
};

const runs = (place) => {
  const same = place.group.settings.filter((other) => other.objective === place.setting.objective);
  const order = [place.setting, ...same.filter((other) => other !== place.setting)];
  const rows = order.flatMap((setting) => setting.runs.map((run) =>
    runRow(setting, run, { current: setting === place.setting, asked: run === place.run })));
  const heads = [["parameters", ""], ["learning rate", "n"], ["seed", "n"], ["prompts", ""],
    [place.group.heads.target, "n"], [place.group.heads.reward, "n"], ["KL [nats]", "n"], ["status", ""], ["training [s]", "n"], ["run", ""]];
  return [el("h3", {}, `Runs of ${place.setting.objective} `, el("small", {}, `${rows.length}, those of this setting first; ± 95 % over prompts`)),
    table(`Runs of ${place.setting.objective}`, heads, rows)];
};

const completion = (label, found) => {
  if (found === null) return el("div", {}, el("h5", {}, el("b", {}, label)), el("p", { class: "missing" }, "not sampled"));
  const [text, left, gold, kl, ended] = found;
  const told = ` · reward ${number(gold, 2)} · KL ${number(kl, 1)}${ended ? "" : " · cut at the limit"}`;
  const shown = text.trim() === "" ? el("p", { class: "missing" }, "empty") : el("p", { class: "text", dir: "auto" }, text.trim());
  const rest = left > 0 ? el("p", { class: "missing" }, `… and ${grouped(left)} more characters`) : null;
  return el("div", {}, el("h5", {}, el("b", {}, label), told), shown, rest);
};

const samples = ({ setting }) => {
  const found = setting.samples;
  if (found.why) return [el("h3", {}, "Completions"), el("p", { class: "about" }, found.why)];
  const untrained = setting.objective === "start" && setting.text === "untrained";
  const about = `the first ${found.rows.length} of ${found.of} ${found.split} prompts, seed ${found.seed}`;
  return [el("h3", {}, "Completions ", el("small", {}, about)), ...found.rows.map((row, at) => {
    const [prompt, left] = data.pool[row.prompt];
    const shown = el("span", { class: "text", dir: "auto" }, left > 0 ? `${prompt} …` : prompt);
    const pair = [completion(setting.objective, row.own)];
    if (!untrained) pair.push(completion("start model", data.pool[row.start]));
    return el("article", { class: "sample" }, el("h4", {}, el("span", { class: "at" }, `${at + 1}  `), shown), el("div", { class: "pair" }, ...pair));
  })];
};

const metrics = ({ setting }) => {
  const names = new Map();
  setting.runs.forEach((run, at) => run.metrics.forEach(([name, value, error, n]) => {
    if (!names.has(name)) names.set(name, []);
    names.get(name)[at] = [value, error, n];
  }));
  const heads = [["metric", ""], ...setting.runs.map((run) => [`${run.split}, seed ${run.seed}`, "n"])];
  const rows = [...names].map(([name, found]) => el("tr", {}, el("td", {}, data.pool[name].join(" · ")),
    ...setting.runs.map((_, at) => {
      const one = found[at];
      if (!one || one[0] === null) return el("td", { class: "n" }, "–");
      const spread = one[1] === null ? null : el("span", { class: "spread" }, ` ± ${plain(one[1])}`);
      return el("td", { class: "n", title: `n = ${one[2]}` }, plain(one[0]), spread);
    })));
  return rows.length === 0 ? [] : [el("details", {}, el("summary", {}, "All metrics, with standard errors"), table("All metrics", heads, rows))];
};

const cost = ({ setting }) => {
  const c = setting.cost;
  const facts = [["runs", c.runs], ["training", `${number(c.train_seconds, 1)} s`], ["evaluation", `${number(c.evaluate_seconds, 1)} s`],
    ["reference", `${number(c.reference_seconds, 1)} s`], ["tokens trained on", grouped(c.tokens)],
    ["tokens in all passes", grouped(c.forward_tokens)], ["computation", `${plain(c.flops / 1e12)} TFLOP`],
    ["peak memory", `${number(c.peak_memory_bytes / 2 ** 30, 2)} GiB`], ["device", c.device]];
  return [el("h3", {}, "Cost ", el("small", {}, "all runs of this setting together")),
    el("dl", { class: "facts" }, ...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))))];
};

const specs = ({ setting, run: asked }) => {
  const whole = (places) => Object.fromEntries(Object.entries(places).map(([name, at]) => [name, data.pool[at]]));
  return [el("h3", {}, "Specs"), ...setting.runs.map((run) => {
    const found = { key: run.key, spec: whole(run.spec), evaluation_key: run.evaluation, evaluation: data.pool[run.evaluation_spec],
      provenance: whole(run.provenance) };
    const details = el("details", {}, el("summary", {}, `${run.split}, seed ${run.seed} · `, el("code", {}, run.key)),
      el("pre", { tabindex: "0" }, JSON.stringify(found, null, 2)));
    details.open = run === asked;
    return details;
  })];
};

const show = () => {
  const place = places.get(location.hash.slice(1));
  if (!place) return dialog.close();
  const { setting } = place;
  title.replaceChildren(mark(setting), setting.objective, el("small", {}, setting.text + (setting.best ? " · ★ best setting" : "")));
  const notes = setting.notes.length ? [el("p", { class: "note" }, `Degenerate outputs: ${setting.notes.join(", ")}.`)] : [];
  body.replaceChildren(...notes, ...runs(place), ...samples(place), ...metrics(place), ...cost(place), ...specs(place));
  if (!dialog.open) dialog.showModal();
  body.scrollTop = 0;
  title.focus();
};

dialog.addEventListener("close", () => {
  const place = places.get(location.hash.slice(1));
  if (!place) return;
  history.replaceState(null, "", location.href.split("#")[0]);
  document.querySelector(`[data-row="${place.setting.id}"] a`).focus();
});
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
dialog.querySelector(".close").addEventListener("click", () => dialog.close());
addEventListener("hashchange", show);
if (location.hash) show();

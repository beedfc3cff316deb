"use strict";
// One point per subject and method; a click opens the subject: volumes, scores, log.
const explorer = {
  data: JSON.parse(document.getElementById("explorer-data").textContent),
  state: {},
  view: null,
  listeners: [],
};

explorer.by = (list, id) => list.find((one) => one.id === id);

explorer.format = (value, measure) =>
  value === null || value === undefined ? "–" : (value / measure.scale).toFixed(measure.decimals);

explorer.label = (measure) => {
  const arrow = { lower: "↓", higher: "↑", zero: "→0", none: "" }[measure.better];
  return [measure.title, measure.unit && `(${measure.unit})`, arrow].filter(Boolean).join(" ");
};

// Settings in the address win over the defaults; what is not known is ignored.
explorer.read = () => {
  const { data, state } = explorer;
  const asked = page.settings();
  const pick = (list, id, fallback) => (list.some((one) => one.id === id) ? id : fallback);
  const candidates = data.methods.filter((one) => one.images);
  state.measure = pick(data.measures, asked.measure, state.measure ?? data.endpoint);
  state.direction = pick(data.directions, asked.direction, state.direction ?? data.directions[0].id);
  state.subject = pick(data.subjects, asked.subject, state.subject ?? data.first);
  state.method = pick(candidates, asked.method, state.method ?? candidates[0]?.id ?? "");
  state.groups ??= new Set(data.subjects.map((one) => one.group));
};

explorer.write = () => {
  const { measure, direction, subject, method } = explorer.state;
  const query = new URLSearchParams({ measure, direction, subject, method });
  history.replaceState(null, "", `#explore?${query}`);
};

// Change settings, and everything that shows them.
explorer.set = (changes) => {
  Object.assign(explorer.state, changes);
  explorer.write();
  explorer.show(changes);
};

explorer.rows = () => {
  const { data, state } = explorer;
  const measure = explorer.by(data.measures, state.measure);
  const values = data.values[state.measure]?.[state.direction] ?? {};
  return data.methods.flatMap((method, order) =>
    data.subjects.flatMap((subject, place) => {
      const value = values[method.id]?.[place];
      if (value === null || value === undefined || !state.groups.has(subject.group)) return [];
      return [{
        subject: subject.id, group: subject.group, method: method.title, id: method.id, order,
        value: value / measure.scale, shown: explorer.format(value, measure),
        // Spread by place and not by chance.
        spread: Math.sin(2.4 * place),
        name: `${subject.id}, ${method.title}: ${explorer.format(value, measure)}`,
      }];
    }));
};

explorer.spec = (rows) => {
  const { data, state } = explorer;
  const measure = explorer.by(data.measures, state.measure);
  const methods = data.methods.filter((one) => data.values[state.measure]?.[state.direction]?.[one.id]);
  const y = { field: "method", type: "nominal", sort: methods.map((one) => one.title), title: null,
    axis: { labelLimit: 170 } };
  const x = { field: "value", type: "quantitative", title: explorer.label(measure),
    scale: { zero: false, nice: true }, axis: { tickCount: { expr: "max(3, min(10, width / 90))" } } };
  const yOffset = { field: "spread", type: "quantitative", scale: { domain: [-1.6, 1.6] } };
  const groups = [...new Set(data.subjects.map((one) => one.group))];
  return {
    width: "container", height: 46 * methods.length, autosize: { type: "fit-x", contains: "padding" },
    datasets: { scores: rows, chosen: rows.filter((row) => row.subject === state.subject) },
    data: { name: "scores" },
    layer: [
      { data: { name: "chosen" }, mark: { type: "line", strokeWidth: 1, opacity: 0.7, color: "#888" },
        encoding: { x, y, yOffset, order: { field: "order" } } },
      { mark: { type: "tick", thickness: 3, size: 34, color: "#888", tooltip: false },
        encoding: { x: { ...x, aggregate: "median" }, y } },
      { mark: { type: "point", filled: true, size: 80, opacity: 0.85, cursor: "pointer" },
        encoding: {
          x, y, description: { field: "name" },
          yOffset,
          color: { field: "method", type: "nominal", legend: null,
            scale: { domain: methods.map((one) => one.title),
              range: methods.map((one) => (one.colour === "#000000" ? "#888" : one.colour)) } },
          shape: { field: "group", type: "nominal", scale: { domain: groups },
            legend: groups.length > 1 ? { orient: "top", title: null } : null },
          tooltip: [{ field: "subject", title: "Subject" }, { field: "group", title: "Group" },
            { field: "method", title: "Method" }, { field: "shown", title: explorer.label(measure) }],
        } },
      { data: { name: "chosen" },
        mark: { type: "point", size: 190, strokeWidth: 2.5, filled: false, color: "#e8590c", tooltip: false },
        encoding: { x, y, yOffset } },
    ],
  };
};

explorer.config = () => {
  const style = getComputedStyle(document.body);
  const [ink, soft, line] = ["--ink", "--soft", "--line"].map((name) => style.getPropertyValue(name).trim());
  const text = { labelColor: ink, titleColor: ink, labelFontSize: 13, titleFontSize: 13 };
  return { background: null, font: style.fontFamily, view: { stroke: null },
    axis: { ...text, gridColor: line, domainColor: soft, tickColor: soft }, legend: { ...text, symbolFillColor: soft } };
};

explorer.draw = async () => {
  const place = document.getElementById("strip-plot");
  const shown = await vegaEmbed(place, explorer.spec(explorer.rows()), {
    mode: "vega-lite", renderer: "svg", config: explorer.config(),
    actions: { export: true, source: false, compiled: false, editor: false },
    downloadFileName: `${explorer.state.measure} ${explorer.state.direction}`,
    tooltip: { theme: page.isDark() ? "dark" : "light" },
  });
  explorer.view?.finalize();
  explorer.view = shown.view;
  shown.view.addEventListener("click", (_, item) => {
    const { subject, id } = item?.datum ?? {};
    if (!subject) return;
    const method = explorer.by(explorer.data.methods, id);
    explorer.set(method?.images ? { subject, method: id } : { subject });
  });
};

explorer.showScores = () => {
  const { data, state } = explorer;
  const place = data.subjects.findIndex((one) => one.id === state.subject);
  const methods = data.methods;
  const head = page.element("tr", {}, ...["Measure", ...methods.map((one) => one.title)].map((text, column) =>
    page.element("th", { scope: "col", textContent: text, className: column ? "" : "label" })));
  const body = page.element("tbody");
  const endpoint = explorer.by(data.measures, data.endpoint);
  for (const measure of [endpoint, ...data.measures.filter((one) => one !== endpoint)]) {
    const values = data.values[measure.id]?.[state.direction] ?? {};
    const row = page.element("tr", { className: measure.id === state.measure ? "chosen" : "" });
    row.append(page.element("th", { scope: "row", textContent: explorer.label(measure) }));
    for (const method of methods) {
      const value = values[method.id]?.[place];
      const cell = page.element("td", { textContent: explorer.format(value, measure) });
      cell.dataset.sort = value ?? "";
      row.append(cell);
    }
    body.append(row);
  }
  const table = page.element("table", {}, page.element("thead", {}, head), body);
  const region = page.element("div", { className: "scroll tall", tabIndex: 0 }, table);
  region.setAttribute("role", "region");
  region.setAttribute("aria-label", `Scores of ${state.subject}`);
  region.dataset.name = `scores ${state.subject} ${state.direction}`;
  document.getElementById("subject-scores").replaceChildren(region);
  page.addTools(region);
};

explorer.showLog = () => {
  const { data, state } = explorer;
  const place = data.subjects.findIndex((one) => one.id === state.subject);
  const cells = (data.logs[state.direction]?.[state.method] ?? [])
    .filter((one) => one.subjects.includes(place));
  const parts = cells.flatMap((one) => {
    const title = page.element("p", {}, `${one.cell}: ${one.status}`);
    if (one.link) title.append(" · ", page.element("a", { href: one.link, textContent: "whole log" }));
    return [title, page.element("pre", { textContent: one.text || "no log", tabIndex: 0 })];
  });
  const none = page.element("p", { textContent: "No cell of this method tested this subject." });
  document.getElementById("subject-log").replaceChildren(...(parts.length ? parts : [none]));
};

// Fill the pickers, once.
explorer.build = () => {
  const { data, state } = explorer;
  const fill = (id, list, name) => {
    const picker = document.getElementById(id);
    picker.replaceChildren(...list.map((one) => page.element("option", { value: one.id, textContent: one.title ?? one.id })));
    picker.addEventListener("change", () => explorer.set({ [name]: picker.value }));
  };
  fill("pick-measure", data.measures, "measure");
  fill("pick-direction", data.directions, "direction");
  fill("pick-subject", data.subjects.map((one) => ({ id: one.id, title: `${one.id} (${one.group})` })), "subject");
  fill("pick-method", data.methods.filter((one) => one.images), "method");
  const groups = [...state.groups];
  const boxes = groups.map((group) => {
    const box = page.element("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => {
      state.groups[box.checked ? "add" : "delete"](group);
      explorer.draw();
    });
    return page.element("label", {}, box, ` ${group}`);
  });
  document.getElementById("pick-groups").replaceChildren(...(groups.length > 1 ? boxes : []));
};

explorer.show = (changes = explorer.state) => {
  const { state } = explorer;
  for (const name of ["measure", "direction", "subject", "method"]) {
    document.getElementById(`pick-${name}`).value = state[name];
  }
  document.getElementById("subject-title").textContent = `Subject ${state.subject}`;
  if ("measure" in changes || "direction" in changes || !explorer.view) explorer.draw();
  else if ("subject" in changes) {
    const chosen = explorer.rows().filter((row) => row.subject === state.subject);
    explorer.view.data("chosen", chosen).runAsync();
  }
  explorer.showScores();
  explorer.showLog();
  explorer.listeners.forEach((listener) => listener(changes));
};

// The next or previous subject or method.
explorer.step = (name, list, by) => {
  const at = list.findIndex((one) => one.id === explorer.state[name]);
  const next = list[(at + by + list.length) % list.length];
  if (next) explorer.set({ [name]: next.id });
};

addEventListener("DOMContentLoaded", async () => {
  await Promise.all(["vega", "vega-lite", "tablesort"].map(page.load));
  await page.load("vega-embed");
  explorer.read();
  explorer.build();
  explorer.show();
  document.getElementById("explore").dataset.ready = "yes";
  addEventListener("themechange", explorer.draw);
  addEventListener("hashchange", () => {
    if (!location.hash.startsWith("#explore?")) return;
    explorer.read();
    explorer.show();
  });
  document.getElementById("explore").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|SELECT/.test(event.target.tagName)) return;
    const candidates = explorer.data.methods.filter((one) => one.images);
    const steps = { s: ["subject", explorer.data.subjects], m: ["method", candidates], d: ["direction", explorer.data.directions] };
    const [name, list] = steps[event.key.toLowerCase()] ?? [];
    if (!name) return;
    explorer.step(name, list, event.shiftKey ? -1 : 1);
    event.preventDefault();
  });
});

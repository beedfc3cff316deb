"use strict";
// What every page can do: unpack bundles, sort, filter and save tables, change colours, open folds by link.
const page = {
  // Bytes of a text made by harmbench.pages.bundles.compressed.
  async unpack(text) {
    const packed = Uint8Array.from(atob(text.trim()), (sign) => sign.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  },

  loaded: new Map(),

  // Run a bundle that the page carries, once.
  load(name) {
    if (!page.loaded.has(name)) {
      const text = document.getElementById(`bundle-${name}`).textContent;
      page.loaded.set(name, page.unpack(text).then((bytes) => {
        const script = document.createElement("script");
        script.textContent = new TextDecoder().decode(bytes);
        document.head.append(script);
      }));
    }
    return page.loaded.get(name);
  },

  element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  },

  // Settings behind the # of the address: `#explore?subject=s1&method=dm`.
  settings() {
    const query = location.hash.split("?")[1] ?? "";
    return Object.fromEntries(new URLSearchParams(query));
  },
};

page.addTools = (region) => {
  const table = region.querySelector("table");
  if (!table?.tBodies.length || table.dataset.tools) return;
  table.dataset.tools = "yes";
  const rows = table.tBodies[0].rows;
  const tools = page.element("div", { className: "tools" });
  if (rows.length > 5 && region.dataset.filter !== "no") {
    const filter = page.element("input", { type: "search", placeholder: "Filter rows" });
    filter.setAttribute("aria-label", `Filter rows of ${region.getAttribute("aria-label") ?? "the table"}`);
    filter.addEventListener("input", () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of table.tBodies[0].rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
    });
    tools.append(filter);
  }
  const save = page.element("a", { href: region.dataset.csv ?? "#", textContent: "CSV", className: "csv" });
  save.setAttribute("aria-label", `Save as CSV: ${region.getAttribute("aria-label") ?? "table"}`);
  save.addEventListener("click", (event) => {
    event.preventDefault();
    page.save(page.csv(table), `${region.dataset.name || "table"}.csv`);
  });
  tools.append(save);
  region.parentElement.querySelector(":scope > .csv")?.remove();
  region.before(tools);
  if (rows.length > 1) new Tablesort(table);
};

// The table as shown, numbers in full.
page.csv = (table) => {
  const heads = page.columnHeads(table);
  const quote = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = [...table.tBodies[0].rows].map((row) =>
    [...row.cells].map((cell) => cell.dataset.sort ?? cell.textContent.trim()));
  return [heads, ...lines].map((line) => line.map(quote).join(",")).join("\n") + "\n";
};

// One text per column: the heads above it, joined.
page.columnHeads = (table) => {
  const grid = [];
  [...table.tHead.rows].forEach((row, level) => {
    grid[level] ??= [];
    let at = 0;
    for (const cell of row.cells) {
      while (grid[level][at] !== undefined) at += 1;
      for (let down = 0; down < cell.rowSpan; down += 1) {
        grid[level + down] ??= [];
        for (let right = 0; right < cell.colSpan; right += 1) {
          grid[level + down][at + right] = down ? "" : cell.textContent.trim();
        }
      }
    }
  });
  return grid[0].map((_, column) => grid.map((line) => line[column]).filter(Boolean).join(" / "));
};

page.save = (text, name) => {
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  page.element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
};

// A link into a fold opens it.
page.reveal = () => {
  const name = decodeURIComponent(location.hash.slice(1).split("?")[0]);
  const target = name && document.getElementById(name);
  if (!target) return;
  for (let part = target; part; part = part.parentElement) {
    if (part.tagName === "DETAILS") part.open = true;
  }
  target.scrollIntoView();
};

page.isDark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};

page.addThemeButton = (header) => {
  const button = page.element("button", { type: "button", className: "theme" });
  const show = () => {
    button.textContent = page.isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Use ${button.textContent.toLowerCase()} colours`);
    dispatchEvent(new Event("themechange"));
  };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = page.isDark() ? "light" : "dark";
    show();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  header.prepend(button);
  show();
};

addEventListener("DOMContentLoaded", async () => {
  page.addThemeButton(document.querySelector("header"));
  page.reveal();
  addEventListener("hashchange", page.reveal);
  await page.load("tablesort");
  // Numbers carry their full value; what has none comes last.
  const number = (text) => (text === "" || Number.isNaN(Number(text)) ? Infinity : Number(text));
  Tablesort.extend("value", (text) => !Number.isNaN(Number(text)), (one, other) => {
    const [a, b] = [number(one), number(other)];
    return a === b ? 0 : b - a;
  });
  document.querySelectorAll(".scroll").forEach(page.addTools);
});

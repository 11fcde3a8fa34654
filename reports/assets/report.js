"use strict";
(function () {
  const $ = (selector, from) => (from || document).querySelector(selector);
  const $$ = (selector, from) => Array.from((from || document).querySelectorAll(selector));
  const number = new Intl.NumberFormat("en-US");
  const data = JSON.parse($("#data").textContent);

  // Tables: a click on a head sorts; numbers by value, through data-sort where the text has units.
  function sortValue(row, column) {
    const cell = row.cells[column];
    return cell.dataset.sort !== undefined ? cell.dataset.sort : cell.textContent.trim();
  }
  function sortTable(table, column, descending) {
    const numeric = table.tHead.rows[0].cells[column].classList.contains("num");
    const rows = Array.from(table.tBodies[0].rows);
    rows.forEach((row, i) => { if (row.dataset.i === undefined) row.dataset.i = i; });
    const compare = (a, b) => {
      const x = sortValue(a, column), y = sortValue(b, column);
      const by = numeric ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true });
      return (descending ? -by : by) || a.dataset.i - b.dataset.i;
    };
    table.tBodies[0].append(...rows.sort(compare));
  }
  for (const table of $$("table.sortable")) {
    Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const descending = head.getAttribute("aria-sort") === "ascending";
        for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        sortTable(table, column, descending);
      });
    });
  }

  // Filters: text, verdict, reason and slot together.
  const filters = [];
  for (const tools of $$(".tools")) {
    const table = document.getElementById(tools.dataset.table);
    const input = $("input", tools), shown = $(".shown", tools), slotChip = $(".slotchip", tools);
    const state = { verdict: "", reason: "", slot: null };
    const texts = new Map($$("tbody tr", table).map((row) => [row, row.textContent.toLowerCase()]));
    function apply() {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let n = 0;
      for (const [row, text] of texts) {
        const ok = words.every((w) => text.includes(w)) && (!state.verdict || row.dataset.verdict === state.verdict) &&
          (!state.reason || row.dataset.reason === state.reason) &&
          (state.slot === null || Number(row.dataset.slot) === state.slot);
        row.hidden = !ok;
        if (ok) n++;
      }
      shown.textContent = number.format(n) + " of " + number.format(texts.size) + " shown";
      if (slotChip) {
        slotChip.hidden = state.slot === null;
        slotChip.textContent = "slot " + state.slot + " ✕";
      }
    }
    input.addEventListener("input", apply);
    function press(verdict, reason) {
      state.verdict = verdict;
      state.reason = reason;
      for (const c of $$(".chip[data-verdict]", tools)) c.setAttribute("aria-pressed", String(!reason && c.dataset.verdict === verdict));
      for (const c of $$(".chip[data-reason]", tools)) c.setAttribute("aria-pressed", String(c.dataset.reason === reason));
      apply();
    }
    for (const chip of $$(".chip[data-verdict]", tools)) chip.addEventListener("click", () => press(chip.dataset.verdict, ""));
    for (const chip of $$(".chip[data-reason]", tools)) {
      chip.addEventListener("click", () => press("", state.reason === chip.dataset.reason ? "" : chip.dataset.reason));
    }
    if (slotChip) slotChip.addEventListener("click", () => setSlot(null));
    filters.push({ state, apply });
    apply();
  }
  function setSlot(slot) {
    for (const f of filters) { f.state.slot = slot; f.apply(); }
    if (map) { map.selected = slot; map.draw(); map.tell(slot); }
  }

  // The treemap: a tile filters the table of prefixes.
  for (const tile of $$("[data-prefix]")) {
    tile.addEventListener("click", () => {
      const input = $('.tools[data-table="prefixes-table"] input');
      if (!input) return;
      input.value = tile.dataset.prefix;
      input.dispatchEvent(new Event("input"));
      input.scrollIntoView({ block: "center" });
    });
  }

  // Copy buttons; a page from a file has no clipboard API everywhere.
  for (const button of $$(".copy")) {
    button.addEventListener("click", async () => {
      const pre = $("pre", button.parentNode);
      try {
        await navigator.clipboard.writeText(pre.textContent);
      } catch (_) {
        getSelection().selectAllChildren(pre);
        document.execCommand("copy");
      }
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }

  // The map of slots: 128 rows of 128. A slot takes a whole number of the screen's pixels, else the grid would blur.
  const side = 128;
  function size(bytes) {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let u = 0;
    while (bytes >= 1024 && u < units.length - 1) { bytes /= 1024; u++; }
    return (u === 0 ? bytes : bytes.toFixed(1)) + " " + units[u];
  }
  function mix(a, b, t) {
    const parse = (c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16));
    const x = parse(a), y = parse(b);
    return "rgb(" + x.map((v, i) => Math.round(v + (y[i] - v) * t)).join(",") + ")";
  }
  function makeMap(canvas) {
    const context = canvas.getContext("2d");
    const slots = new Map(data.slots.map((s) => [s[0], s]));
    const top = data.slots.reduce((m, s) => Math.max(m, s[2]), 1), low = data.slots.reduce((m, s) => Math.min(m, s[2]), top);
    const odd = data.kind === "verify" ? data.slots.filter((s) => s[3] !== "same") : [];
    const isOdd = new Set(odd.map((s) => s[0]));
    const stops = odd.length ? odd.map((s) => s[0]) : $$("[data-goto]").map((b) => Number(b.dataset.goto)).sort((a, b) => a - b);
    let cell = 8;
    const map = { selected: null, cursor: 0, hover: null };
    const color = (style, s) => {
      if (!s) return style.getPropertyValue("--empty").trim();
      if (data.kind === "verify") return style.getPropertyValue("--" + s[3]).trim();
      const at = (Math.log1p(s[2]) - Math.log1p(low)) / Math.max(1e-9, Math.log1p(top) - Math.log1p(low)) * 4, i = Math.min(3, Math.floor(at));
      return mix(style.getPropertyValue("--heat-" + i).trim(), style.getPropertyValue("--heat-" + (i + 1)).trim(), at - i);
    };
    map.draw = () => {
      const style = getComputedStyle(document.documentElement);
      const printing = matchMedia("print").matches, ratio = window.devicePixelRatio || 1;
      const room = Math.min(640, canvas.parentNode.clientWidth - 46);
      cell = printing ? 8 : Math.max(2, Math.floor(room * ratio / side));
      canvas.width = canvas.height = side * cell;
      canvas.style.width = canvas.style.height = printing ? "" : side * cell / ratio + "px";
      const gap = cell > 3 ? 1 : 0;
      context.fillStyle = style.getPropertyValue("--gap").trim();
      context.fillRect(0, 0, canvas.width, canvas.height);
      for (let slot = 0; slot < side * side; slot++) {
        context.fillStyle = color(style, slots.get(slot));
        context.fillRect(slot % side * cell, Math.floor(slot / side) * cell, cell - gap, cell - gap);
      }
      const ring = (slot, radius, width, stroke) => {
        context.beginPath();
        context.arc(slot % side * cell + cell / 2 - gap / 2, Math.floor(slot / side) * cell + cell / 2 - gap / 2, radius * cell, 0, 7);
        context.lineWidth = width * cell;
        context.strokeStyle = stroke;
        context.stroke();
      };
      if (odd.length <= 300) {
        for (const s of odd) {
          ring(s[0], .72, 1.46, style.getPropertyValue("--card").trim()); // a white disc, so that the slot stands out
          ring(s[0], 1.45, .8, style.getPropertyValue("--card").trim());
          ring(s[0], 1.45, .4, color(style, s));
        }
        for (const s of odd) {
          context.fillStyle = color(style, s);
          context.fillRect(s[0] % side * cell - gap, Math.floor(s[0] / side) * cell - gap, cell + gap, cell + gap);
        }
      }
      if (map.selected !== null) ring(map.selected, 2.2, .6, style.getPropertyValue("--ink").trim());
    };
    const probe = $("#probe");
    map.tell = (slot) => {
      if (slot === null) { probe.textContent = probe.dataset.hint; return; }
      const s = slots.get(slot), head = document.createElement("h3"), list = document.createElement("dl");
      head.textContent = "Slot " + slot;
      const line = (name, value) => {
        const dt = document.createElement("dt"), dd = document.createElement("dd");
        dt.textContent = name; dd.textContent = value;
        list.append(dt, dd);
      };
      if (!s) line("Keys", "none");
      else if (data.kind === "verify") {
        line("Verdict", s[3]); line("Source keys", number.format(s[1])); line("Target keys", number.format(s[2]));
        const found = data.findings[slot];
        if (found) line("Findings", number.format(found));
      } else { line("Keys", number.format(s[1])); line("Bytes", size(s[2])); }
      probe.replaceChildren(head, list);
    };
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      const x = Math.min(side - 1, Math.max(0, Math.floor((event.clientX - box.left) / box.width * side)));
      const y = Math.min(side - 1, Math.max(0, Math.floor((event.clientY - box.top) / box.height * side)));
      // A slot that is not the same is caught from next to it: a cell is small for a hand.
      for (const [dx, dy] of [[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1], [-1, -1], [1, -1], [-1, 1], [1, 1]]) {
        const s = (y + dy) * side + x + dx;
        if (x + dx >= 0 && x + dx < side && isOdd.has(s)) return s;
      }
      return y * side + x;
    };
    canvas.addEventListener("mousemove", (event) => { const s = at(event); if (s !== map.hover) { map.hover = s; map.tell(s); } });
    canvas.addEventListener("mouseleave", () => { map.hover = null; map.tell(map.selected); });
    canvas.addEventListener("click", (event) => { const s = at(event); map.cursor = s; setSlot(s === map.selected ? null : s); });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -side, ArrowDown: side }[event.key];
      if (step) map.cursor = Math.min(side * side - 1, Math.max(0, map.cursor + step));
      else if (event.key === "n" && stops.length) map.cursor = stops.find((s) => s > map.cursor) ?? stops[0];
      else if (event.key === "Escape") return setSlot(null);
      else if (event.key !== "Enter") return;
      event.preventDefault();
      setSlot(map.cursor);
    });
    for (const button of $$("[data-goto]")) button.addEventListener("click", () => { map.cursor = Number(button.dataset.goto); setSlot(map.cursor); });
    addEventListener("resize", map.draw);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", map.draw);
    matchMedia("print").addEventListener("change", map.draw);
    addEventListener("beforeprint", map.draw);
    addEventListener("afterprint", map.draw);
    return map;
  }
  const canvas = $("#map");
  const map = canvas ? makeMap(canvas) : null;
  if (map) map.draw();
  document.documentElement.dataset.ready = "yes";
})();

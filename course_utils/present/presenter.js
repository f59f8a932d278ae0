// Steps through lessons in JupyterLab: one step per page, by keyboard, with live cells.
//
// JupyterLab loads this file as it is (there is no build step): an extension is a script that puts
// a container with `init` and `get` into window._JUPYTERLAB. A page is a Markdown cell that opens a
// step, and the cells up to the next such cell; all other cells are hidden by a class. Nothing is
// written to the notebook. The plan (`lab.plan`) comes in the page's configuration.
(() => {
  const NAME = "course-presenter";
  const STYLE = `
    body.cp { --jp-content-font-size1: clamp(15px, 1.6vw, 44px);
              --jp-code-font-size: clamp(12px, 1.33vw, 34px);
              --jp-widgets-font-size: clamp(13px, 1.33vw, 30px);
              --jp-widgets-inline-height: 2.2em; --cp-bar: 34px; }
    body.cp #main { bottom: var(--cp-bar); }
    body.cp .cp-off, body.cp .cp-fold > .jp-Cell-inputWrapper, body.cp .jp-InputPrompt,
    body.cp .jp-OutputPrompt, body.cp .jp-Collapser, body.cp .jp-cell-toolbar,
    body.cp .jp-Notebook-footer, body.cp .jp-InternalAnchorLink,
    body.cp .jp-NotebookPanel-toolbar { display: none !important; }
    body.cp.cp-code .cp-fold > .jp-Cell-inputWrapper { display: flex !important; }
    body.cp .jp-NotebookPanel-notebook { top: 0 !important; height: 100% !important; }
    body.cp .jp-OutputArea-output img { zoom: var(--cp-zoom, 1); width: auto; height: auto;
      max-width: 100%; max-height: calc(64vh / var(--cp-zoom, 1)); }
    body.cp .jp-Notebook .jp-Cell { padding: 2px 2.5vw; border: none; }
    body.cp .jp-Cell { outline: none !important; box-shadow: none !important; }
    body.cp .jp-MarkdownCell .jp-InputArea-editor, body.cp .jp-MarkdownOutput { border: none; }
    body.cp .jp-OutputArea-output pre { word-break: normal; overflow-wrap: anywhere; }
    body.cp .jp-RenderedHTMLCommon table { font-size: calc(0.86 * var(--jp-content-font-size1)); }
    body.cp[data-jp-theme-light="false"] { --jp-mirror-editor-comment-color: #8fbfbf; }
    #cp-bar { position: fixed; left: 0; right: 0; bottom: 0; height: 34px; z-index: 20000;
      display: flex; align-items: center; gap: 14px; padding: 0 12px; box-sizing: border-box;
      font: 15px system-ui, sans-serif; color: var(--jp-ui-font-color1);
      background: var(--jp-layout-color2); white-space: nowrap; overflow: hidden; }
    #cp-bar button { font: inherit; color: inherit; background: none; border: none; padding: 4px 6px;
      cursor: pointer; border-radius: 3px; }
    #cp-bar button:hover { background: var(--jp-layout-color3); }
    #cp-title { flex: 1; overflow: hidden; text-overflow: ellipsis; }
    #cp-time.cp-late { color: var(--jp-error-color1); font-weight: 600; }`;
  let app, plan, share, Cell;
  let place = null; // { stop: index into plan.route, id: the first cell of the page }
  let busy = 0; // counts the runs: a newer one ends an older one
  let notes = null;
  const leftOut = new Set(); // tags: pages that begin with such a cell are left out
  const OPTIONAL = { deeper: ["Side paths", "F6"], exercise: ["Exercises", "F7"] };
  const ran = new Map(); // path -> ids of the cells that its present kernel has run
  const prepared = new Set(); // paths that are run as far as they will be before their page is shown
  const spent = {}; // section -> seconds
  let remembered = {}; // what this launch stored before the page was loaded
  const MEMORY = "course-presenter";
  const SLOW = 1000; // milliseconds: training that takes longer is kept for the next kernel

  // --- pages -------------------------------------------------------------------------------------
  const source = (cell) => cell.model.sharedModel.getSource();
  const has = (cell, tag) => (cell.model.getMetadata("tags") ?? []).includes(tag);
  const isCode = (cell) => cell.model.type === "code";
  const paths = () => [...new Set(plan.route.map((stop) => stop.notebook))];
  const died = new Set(); // paths whose kernel died, and was not brought back by F9
  const panels = new Map(); // path -> NotebookPanel

  function opensPage(cell, next, before) {
    if (has(cell, "deeper") !== has(before, "deeper")) return true; // a page is of one kind
    if (cell.model.type !== "markdown") return false;
    const text = source(cell);
    if (/^#{1,3} /.test(text) || has(cell, "step") || has(cell, "exercise")) return true;
    return next !== undefined && isCode(next) && !text.startsWith("<details");
  }

  function pagesOf(panel) {
    const pages = [];
    let section = "";
    panel.content.widgets.forEach((cell, index, all) => {
      const head = cell.model.type === "markdown" && /^## (\d\d\.\d+)?/.exec(source(cell));
      if (head) section = head[1] ?? "";
      if (index === 0 || opensPage(cell, all[index + 1], all[index - 1])) pages.push({ section, cells: [] });
      pages.at(-1).cells.push(cell);
    });
    return pages;
  }

  // The pages of the whole walk, as far as their notebooks are open. A lesson is walked whole: its
  // head goes with its first section, its end with its last.
  function walk() {
    return plan.route.flatMap((stop, index) => {
      const panel = panels.get(stop.notebook);
      if (!panel) return [];
      const pages = pagesOf(panel);
      const own = (page, at) => {
        if (page.section === stop.id) return true;
        if (!plan.whole || page.section) return false;
        const before = pages.slice(0, at).findLast((other) => other.section);
        return before ? before.section === stop.id : index === 0;
      };
      return pages.filter(own).map((page) => ({ ...page, stop: index, panel, path: stop.notebook }));
    });
  }

  function whereIn(pages) {
    const at = pages.findIndex(
      (page) => page.stop === place.stop && page.cells.some((cell) => cell.model.id === place.id),
    );
    return at < 0 ? Math.max(0, pages.findIndex((page) => page.stop === place.stop)) : at;
  }

  // The next page that is to be shown, or the same one where there is none.
  function beside(pages, at, by) {
    let to = at + by;
    while (pages[to] && [...leftOut].some((tag) => has(pages[to].cells[0], tag))) to += by;
    return pages[to] ? to : at;
  }

  // --- showing -----------------------------------------------------------------------------------
  function show(page, top = true) {
    const notebook = page.panel.content;
    place = { stop: page.stop, id: page.cells[0].model.id };
    remember();
    if (app.shell.currentWidget !== page.panel) app.shell.activateById(page.panel.id);
    for (const cell of notebook.widgets) {
      cell.node.classList.toggle("cp-off", !page.cells.includes(cell));
      cell.node.classList.toggle("cp-fold", isCode(cell) && (has(cell, "figure") || has(cell, "widget")));
    }
    if (top) {
      notebook.mode = "command";
      notebook.node.focus({ preventScroll: true });
      const toTop = () => ((notebook.outerNode ?? notebook.node).scrollTop = 0);
      toTop();
      requestAnimationFrame(() => requestAnimationFrame(toTop)); // after JupyterLab's own scrolling
    }
    document.body.style.setProperty("--cp-zoom", Math.max(1, innerWidth / 1280));
    draw();
    ensure(page).catch((error) => say(`This page was not run: ${error.message ?? error}`, true));
  }

  // JupyterLab takes a tenth of a second to make another cell the active one (it sets the cursor of
  // every editor): only a key that is meant for a cell makes it one of the page.
  function activate() {
    const notebook = panels.get(plan.route[place.stop].notebook).content;
    const hidden = (cell) => !cell || cell.node.classList.contains("cp-off");
    if (!hidden(notebook.activeCell)) return;
    const shown = notebook.widgets.filter((cell) => !hidden(cell));
    notebook.deselectAll();
    notebook.activeCellIndex = notebook.widgets.indexOf(shown.find(isCode) ?? shown[0]);
  }

  // What a step longer than the screen has below: a clicker has no other key for it.
  function scrolledOn(page) {
    const outer = page.panel.content.outerNode ?? page.panel.content.node;
    const below = page.cells.at(-1).node.getBoundingClientRect().bottom - outer.getBoundingClientRect().bottom;
    if (below < 24) return false;
    outer.scrollBy({ top: Math.min(below + 8, 0.8 * outer.clientHeight) });
    return true;
  }

  function move(by, bySection = false) {
    const pages = walk();
    const at = whereIn(pages);
    if (by > 0 && !bySection && scrolledOn(pages[at])) return;
    let to = beside(pages, at, by);
    if (bySection) {
      const start = (index) => pages.findIndex((p) => p.stop === pages[index].stop);
      const next = pages.findIndex((p, i) => i > at && p.stop !== pages[at].stop);
      if (by > 0) to = next < 0 ? pages.length - 1 : next;
      else to = at > start(at) ? start(at) : start(Math.max(0, at - 1));
    }
    if (to !== at) show(pages[to]);
    else say(by > 0 ? `This is the last step: ${minutes(plan.route)}.` : "This is the first step.");
  }

  function leaveOut(tag) {
    const [name, key] = OPTIONAL[tag];
    const back = leftOut.delete(tag);
    if (!back) leftOut.add(tag);
    say(back ? `With ${name.toLowerCase()}.` : `${name} are left out; ${key} brings them back.`);
    remember();
    draw();
  }

  function refresh() {
    const pages = walk();
    if (place && pages.length) show(pages[whereIn(pages)], false);
  }

  // --- running -----------------------------------------------------------------------------------
  const contextOf = (panel) => panel.sessionContext;
  const codeOf = (panel) => panel.content.widgets.filter(isCode);
  const done = (path) => ran.get(path) ?? ran.set(path, new Set()).get(path);

  async function run(panel, path, cells, word) {
    const mine = busy;
    let ok = true;
    for (const [index, cell] of cells.entries()) {
      if (mine !== busy) return null; // a newer run took over
      if (word) say(`${word}: ${index + 1} of ${cells.length}`, true);
      done(path).add(cell.model.id);
      if (!source(cell).trim()) continue;
      try {
        if (has(cell, "train") && (await recall(panel, cell))) continue;
        const started = Date.now();
        const reply = await Cell.execute(cell, contextOf(panel), { deletedCells: [], recordTiming: false });
        if (reply?.content?.status === "error") ok = false;
        else if (has(cell, "train") && Date.now() - started > SLOW) await keep(panel, cell);
      } catch (error) {
        if (mine !== busy) return null;
        say(`${cell.model.id} was not run: ${error.message ?? error}`, true);
        return false;
      }
    }
    if (mine !== busy) return null;
    if (word) say("");
    return ok;
  }

  // All cells of a lesson, once per kernel. After a reload the kernel still has them, but the views
  // of its widgets are gone: those are run again when their page is shown.
  async function prepareLesson(path) {
    const panel = panels.get(path);
    const kernel = contextOf(panel).session?.kernel?.id;
    const before = remembered.kernels?.[path];
    if (kernel && before?.id === kernel) {
      const kept = codeOf(panel).filter((c) => before.ran.includes(c.model.id) && !has(c, "widget"));
      ran.set(path, new Set(kept.map((cell) => cell.model.id)));
      if (before.prepared) return;
    }
    const missing = codeOf(panel).filter((cell) => !done(path).has(cell.model.id));
    await run(panel, path, missing, `Running ${path.split("/").pop()}`);
    prepared.add(path);
  }

  // What the page needs and this kernel has not run yet, in order.
  let preparing = true;
  async function ensure(page) {
    if (preparing || plan.stored) return;
    const { panel, path } = page;
    const missing = page.cells.filter((cell) => isCode(cell) && !done(path).has(cell.model.id));
    if (!missing.length) return;
    busy += 1;
    const code = codeOf(panel);
    const wanted = missing.map((cell) => code.indexOf(cell));
    const order = await ask(panel, "cells_behind", wanted);
    const fresh = (index) => !done(path).has(code[index].model.id);
    const todo = order.filter(fresh).map((index) => code[index]);
    const word = todo.length > missing.length ? "Catching up" : "";
    if ((await run(panel, path, todo, word)) !== false) return;
    // Something was missing all the same: everything above, from the top.
    const last = Math.max(...wanted);
    await run(panel, path, code.slice(0, last + 1), "Running everything above");
  }

  // Ask course_utils/present/memory.py, in the lesson's kernel.
  async function ask(panel, name, ...others) {
    const cells = codeOf(panel)
      .map((c) => ({ source: source(c), tags: c.model.getMetadata("tags") ?? [] }));
    const asText = JSON.stringify(JSON.stringify([name, [cells, ...others]]))
      .replace(/[\u007f-\uffff]/g, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
    const call = `__import__("course_utils.present.memory", fromlist=["x"]).answer(${asText}, globals())`;
    const request = { code: "", silent: true, store_history: false, user_expressions: { x: call } };
    const kernel = contextOf(panel).session.kernel;
    const answer = (await kernel.requestExecute(request).done).content.user_expressions?.x;
    if (answer?.status !== "ok") throw new Error(`${name}: ${answer?.evalue ?? "no answer"}`);
    return JSON.parse(answer.data["text/plain"]);
  }

  // What a training cell left in an earlier run of the same cells, with its outputs.
  async function recall(panel, cell) {
    const outputs = await ask(panel, "recall", codeOf(panel).indexOf(cell));
    if (outputs) cell.model.outputs.fromJSON(outputs);
    return outputs !== null;
  }

  async function keep(panel, cell) {
    const view = "application/vnd.jupyter.widget-view+json"; // lives as long as its kernel
    const outputs = cell.model.outputs.toJSON().filter((output) => !output.data?.[view]);
    const kept = ask(panel, "keep", codeOf(panel).indexOf(cell), outputs);
    await kept.catch((error) => console.warn(`${cell.model.id} was run, but is not kept: ${error}`));
  }

  // One key: a new kernel, and what the page on the screen needs.
  async function revive() {
    const page = walk()[whereIn(walk())];
    const context = contextOf(page.panel);
    const started = Date.now();
    busy += 1;
    preparing = true;
    plan.stored = false;
    forget(page.path);
    say("A new kernel starts …", true);
    closeDialogs();
    const closing = setInterval(closeDialogs, 200); // the one that says that the kernel died
    try {
      // One that died was started again by the server already.
      if (!died.delete(page.path)) await context.restartKernel();
      await until(() => context.session?.kernel?.status === "idle", 30);
    } catch (error) {
      return say(`No new kernel: ${error.message ?? error}. F9 tries again.`, true);
    } finally {
      clearInterval(closing);
      preparing = false;
    }
    forget(page.path);
    await ensure(page);
    say(`Back after ${Math.round((Date.now() - started) / 100) / 10} s`);
  }

  async function until(holds, seconds) {
    for (const end = Date.now() + 1000 * seconds; !holds(); await new Promise((go) => setTimeout(go, 50)))
      if (Date.now() > end) throw new Error(`it did not answer within ${seconds} s`);
  }

  function closeDialogs() {
    document.querySelectorAll(".jp-Dialog .jp-mod-accept").forEach((button) => button.click());
  }

  // A new kernel: what a page needs is run when the page is shown.
  function forget(path) {
    ran.delete(path);
    prepared.add(path);
  }

  // --- what outlives a reload ----------------------------------------------------------------------
  function lastPlace() {
    const stored = JSON.parse(localStorage.getItem(MEMORY) ?? "{}");
    return stored.launch === plan.launch ? stored : {};
  }
  function remember() {
    const kernels = Object.fromEntries([...panels].map(([path, panel]) => [path, {
      id: contextOf(panel).session?.kernel?.id,
      ran: [...done(path)],
      prepared: prepared.has(path),
    }]));
    localStorage.setItem(MEMORY, JSON.stringify({ launch: plan.launch, place, spent, kernels, leftOut: [...leftOut] }));
  }

  // --- the bar and the notes -----------------------------------------------------------------------
  const bar = document.createElement("div");
  bar.id = "cp-bar";
  bar.innerHTML = `<button id="cp-back" aria-label="previous step">‹</button>
    <button id="cp-next" aria-label="next step">›</button>
    <span id="cp-title"></span><span id="cp-said" role="status"></span>
    <button id="cp-notes">notes F8</button><button id="cp-code">code F10</button>
    <button id="cp-kernel">kernel F9</button><span id="cp-time"></span>`;
  const part = (name) => bar.querySelector(`#cp-${name}`);
  let quiet = null;

  function say(text, stays = false) {
    clearTimeout(quiet);
    part("said").textContent = text;
    if (text && !stays) quiet = setTimeout(() => say(""), 4000);
  }

  function draw() {
    const pages = walk();
    if (!place || !pages.length) return;
    const at = whereIn(pages);
    const stop = plan.route[place.stop];
    const ofStop = pages.filter((page) => page.stop === place.stop);
    const name = `${stop.id} ${stop.title}${stop.optional ? " (optional)" : ""}`;
    const title = pages[at].section ? name : heading(pages[at]);
    part("title").textContent = `${title} · ${ofStop.indexOf(pages[at]) + 1}/${ofStop.length}`;
    const now = new Date().toTimeString().slice(0, 5);
    part("time").textContent = `${minutes([stop])} · ${now}`;
    part("time").classList.toggle("cp-late", (spent[stop.id] ?? 0) >= 60 * stop.minutes);
    if (notes && !notes.closed) drawNotes(pages, at);
  }

  function minutes(stops) {
    const seconds = stops.reduce((sum, stop) => sum + (spent[stop.id] ?? 0), 0);
    return `${Math.floor(seconds / 60)} of ${stops.reduce((sum, stop) => sum + stop.minutes, 0)} min`;
  }

  function heading(page) {
    const line = page ? source(page.cells[0]).split("\n")[0].replace(/^#+ |\*\*/g, "") : "the end";
    return line.length > 90 ? `${line.slice(0, 90).replace(/\$[^$]*$|\s\S*$/, "")} …` : line;
  }

  function drawNotes(pages, at) {
    const next = beside(pages, at, 1);
    const said = pages[at].cells.map((cell) => cell.model.getMetadata("notes")).filter(Boolean);
    const body = notes.document.body;
    const lines = [
      ["p", `${part("time").textContent} · ${part("title").textContent}`],
      ["h1", heading(pages[at])],
      ["div", said.flat().join("\n\n") || "No notes for this step."],
      ["p", `Next: ${heading(next === at ? null : pages[next])}`],
    ];
    body.replaceChildren(...lines.map(([kind, text]) => {
      const node = notes.document.createElement(kind);
      node.textContent = text;
      return node;
    }));
  }

  // A window of its own, for the lecturer's screen: the projector shows the lesson only.
  function openNotes() {
    notes = window.open("", "course-notes", "popup,width=720,height=520");
    if (!notes) return say("The browser blocked the window with the notes.");
    notes.document.title = "Notes";
    notes.document.body.style.cssText =
      "font: 20px/1.5 system-ui, sans-serif; margin: 1.5em; white-space: pre-wrap";
    notes.onkeydown = keys;
    draw();
  }

  // --- keys ----------------------------------------------------------------------------------------
  function keys(event) {
    if (!place) return;
    const act = !event.ctrlKey && !event.altKey && !event.metaKey && {
      PageDown: () => move(1, event.shiftKey),
      PageUp: () => move(-1, event.shiftKey),
      F6: () => leaveOut("deeper"),
      F7: () => leaveOut("exercise"),
      F8: openNotes,
      F9: revive,
      F10: () => document.body.classList.toggle("cp-code"),
    }[event.key];
    if (!act) return activate();
    event.preventDefault();
    event.stopImmediatePropagation();
    act();
  }

  // --- start ---------------------------------------------------------------------------------------
  async function open(path) {
    const panel = await app.commands.execute("docmanager:open", { path, factory: "Notebook" });
    await panel.context.ready;
    await panel.revealed;
    await contextOf(panel).ready;
    panels.set(path, panel);
    panel.content.model.cells.changed.connect(() => setTimeout(refresh));
    panel.content.activeCellChanged.connect((notebook, cell) => stay(panel, notebook, cell));
    contextOf(panel).statusChanged.connect((_, status) => {
      if (["restarting", "autorestarting", "dead"].includes(status)) forget(path);
      if (status === "autorestarting") died.add(path);
      if (["autorestarting", "dead"].includes(status)) {
        busy += 1;
        for (const wait of [100, 500, 1500]) setTimeout(closeDialogs, wait); // it would cover the page
        say("The kernel died. F9 brings it and this page back.", true);
      }
    });
  }

  // Shift+Enter on the last cell of a page must not make a hidden cell the active one.
  function stay(panel, notebook, cell) {
    if (!cell || !cell.node.classList.contains("cp-off") || app.shell.currentWidget !== panel) return;
    const shown = notebook.widgets.filter((other) => !other.node.classList.contains("cp-off"));
    if (shown.length) notebook.activeCellIndex = notebook.widgets.indexOf(shown.at(-1));
  }

  function hideFrame() {
    for (const id of ["jp-top-panel", "jp-menu-panel", "jp-header-panel", "jp-bottom-panel", "jp-top-bar"]) {
      for (const widget of app.shell.layout.widgets) if (widget.id === id) widget.hide();
    }
    for (const side of ["left", "right"]) {
      const name = "application:toggle-side-tabbar";
      if (app.commands.isToggled(name, { side })) app.commands.execute(name, { side });
    }
    app.shell.collapseLeft();
    app.shell.collapseRight();
    dispatchEvent(new Event("resize"));
  }

  async function start() {
    document.head.append(Object.assign(document.createElement("style"), { textContent: STYLE }));
    document.body.append(bar);
    document.body.classList.add("cp");
    for (const [name, act] of Object.entries({
      back: () => move(-1), next: () => move(1), notes: openNotes, kernel: revive,
      code: () => document.body.classList.toggle("cp-code"),
    })) part(name).addEventListener("click", act);
    addEventListener("keydown", keys, true);
    addEventListener("resize", () => document.body.style.setProperty("--cp-zoom", Math.max(1, innerWidth / 1280)));
    hideFrame();
    say("Opening …", true);
    remembered = lastPlace();
    Object.assign(spent, remembered.spent);
    for (const tag of remembered.leftOut ?? []) leftOut.add(tag);
    const first = plan.route.findIndex((stop) => stop.id === plan.start);
    const wanted = remembered.place ?? { stop: Math.max(0, first), id: "" };
    const order = [plan.route[wanted.stop].notebook, ...paths()];
    for (const path of new Set(order)) {
      await open(path);
      if (!place) place = wanted;
      const pages = walk();
      show(pages[whereIn(pages)]);
    }
    if (!plan.stored) for (const path of new Set(order)) await prepareLesson(path);
    preparing = false;
    say("");
    refresh();
    setInterval(() => {
      const id = plan.route[place.stop].id;
      spent[id] = (spent[id] ?? 0) + 1;
      remember();
      draw();
    }, 1000);
  }

  const plugin = {
    id: `${NAME}:plugin`,
    autoStart: true,
    activate: (lab) => {
      const config = JSON.parse(document.getElementById("jupyter-config-data").textContent);
      if (!config.coursePresent) return;
      [app, plan] = [lab, JSON.parse(config.coursePresent)];
      app.restored.then(async () => {
        const versions = Object.values(share["@jupyterlab/cells"]);
        Cell = (await versions[0].get())().CodeCell;
        await start();
      });
    },
  };
  (window._JUPYTERLAB ??= {})[NAME] = {
    init: (scope) => { share = scope; },
    get: async () => () => ({ __esModule: true, default: plugin }),
  };
})();

// Keys, uploads and drag-and-drop: what the page does by itself. Everything else is decided on the server.
(() => {
  const trigger = (name, ...args) => window.trame && window.trame.trigger(name, args);

  const KEYS = {
    ArrowUp: "up", ArrowDown: "down", PageUp: "up5", PageDown: "down5", Home: "first", End: "last", c: "cine", w: "window-level",
    q: "distance", a: "roi", j: "crosshair", Enter: "maximise", F2: "layout1", F3: "layout2", F4: "layout3",
    1: "preset1", 2: "preset2", 3: "preset3", 4: "preset4", 5: "preset5",
    f: "flicker", z: "undo", y: "redo", h: "heal", i: "heal-slice", v: "saliency",
    Escape: "escape", m: "mask", l: "lesion", o: "overlay", p: "paint", e: "erase", d: "draw", n: "no-tool", b: "box",
    t: "tab", g: "induce", x: "reroll", k: "keep", r: "fit", "?": "help", "[": "brush-", "]": "brush+", ",": "blend-", ".": "blend+",
  };
  // keys that a focused control needs for itself
  const own = (element, key) => element && (
    (key === "Enter" && ["BUTTON", "A", "SUMMARY", "INPUT", "TR"].includes(element.tagName)) ||
    (element.tagName === "INPUT" && element.type === "range" && /^(Arrow|Page|Home|End)/.test(key)));
  const typing = (element) =>
    element && (element.tagName === "TEXTAREA" || element.tagName === "SELECT" || element.isContentEditable ||
      (element.tagName === "INPUT" && !["range", "checkbox", "radio", "button"].includes(element.type)));

  window.addEventListener("keydown", (event) => {
    if (event.altKey || (event.ctrlKey && !["z", "y"].includes(event.key.toLowerCase())) || event.metaKey) return;
    if (typing(event.target)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (own(event.target, event.key)) return;
    let name = KEYS[event.key] || KEYS[event.key.toLowerCase()];
    if (event.key === "Z" && event.shiftKey) name = "redo";
    if (!name) return;
    event.preventDefault();
    event.stopPropagation();
    trigger("viewer_key", name);
  }, true);

  // the pointer over the views: what is there, a view made large, measures
  const viewAt = (event) => event.target instanceof Element && event.target.closest(".bv-view[data-tag]");
  const share = (view, event) => {
    const box = view.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  let asking = false, next = null, last = "";
  const probe = async (...place) => {
    next = place;
    if (asking || !window.trame) return;
    asking = true;
    while (next) {
      const now = next;
      next = null;
      try {
        await trigger("viewer_probe", ...now);
      } catch (problem) { // noted in the server's log; the next move asks again
        next = null;
      }
      await new Promise((done) => window.setTimeout(done, 40));
    }
    asking = false;
  };
  window.addEventListener("pointermove", (event) => {
    const view = viewAt(event);
    if (view && !event.buttons) probe(view.dataset.tag, ...share(view, event));
    else if (last && !view) probe("", 0, 0);
    last = view ? view.dataset.tag : "";
  }, { passive: true });
  window.addEventListener("dblclick", (event) => {
    const view = viewAt(event);
    if (view && !event.target.closest("input, button")) trigger("viewer_maximise", view.dataset.tag);
  }, true);

  const SVG = "http://www.w3.org/2000/svg";
  window.addEventListener("pointerdown", (event) => {
    const area = event.target instanceof Element && event.target.closest(".bv-measure");
    if (!area || event.button !== 0) return;
    event.preventDefault();
    area.setPointerCapture(event.pointerId);
    const begin = share(area, event);
    const kind = area.dataset.kind;
    const drawing = document.createElementNS(SVG, "svg");
    drawing.setAttribute("class", "bv-svg");
    const shape = document.createElementNS(SVG, kind === "roi" ? "ellipse" : "line");
    shape.setAttribute("class", "bv-drawing");
    drawing.append(shape);
    area.append(drawing);
    const draw = (to) => {
      const percent = (value) => `${100 * value}%`;
      const values = kind === "roi"
        ? { cx: (begin[0] + to[0]) / 2, cy: (begin[1] + to[1]) / 2, rx: Math.abs(to[0] - begin[0]) / 2, ry: Math.abs(to[1] - begin[1]) / 2 }
        : { x1: begin[0], y1: begin[1], x2: to[0], y2: to[1] };
      for (const [name, value] of Object.entries(values)) shape.setAttribute(name, percent(value));
    };
    const move = (moved) => draw(share(area, moved));
    const end = (ended) => {
      area.removeEventListener("pointermove", move);
      drawing.remove();
      if (ended.type === "pointerup") trigger("viewer_measure", kind, area.dataset.tag, ...begin, ...share(area, ended));
    };
    area.addEventListener("pointermove", move);
    area.addEventListener("pointerup", end, { once: true });
    area.addEventListener("pointercancel", end, { once: true });
  }, true);
  window.addEventListener("wheel", (event) => {
    if (event.target instanceof Element && event.target.closest(".bv-measure")) trigger("viewer_key", event.deltaY > 0 ? "down" : "up");
  }, { passive: true });

  // pictures have a name for those who do not see them; a row of a table is pressed like a button
  new MutationObserver(() => {
    for (const picture of document.querySelectorAll(".bv-view[data-tag] img:not([alt])"))
      picture.alt = `The view ${picture.closest(".bv-view").dataset.tag}`;
  }).observe(document.body, { childList: true, subtree: true });
  window.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.tagName === "TR") event.target.click();
  });

  const upload = async (files, kind) => {
    files = Array.from(files || []);
    if (!files.length) return;
    const form = new FormData();
    for (const file of files) form.append("file", file, encodeURIComponent(file.webkitRelativePath || file.name));
    window.trame.state.set("busy_text", files.length > 1 ? `Reading ${files.length} files` : `Reading ${files[0].name}`);
    try {
      const answer = await fetch(`/upload?kind=${kind}`, { method: "POST", body: form });
      if (!answer.ok) throw new Error(await answer.text());
    } catch (problem) {
      trigger("upload_failed", String(problem.message || problem));
    }
  };

  const pick = (kind, folder) => {
    const input = document.createElement("input");
    input.type = "file";
    input.multiple = kind === "scan" || folder;
    if (folder) input.webkitdirectory = true;
    input.addEventListener("change", () => upload(input.files, kind));
    input.click();
  };

  let depth = 0;
  const carriesFiles = (event) => event.dataTransfer && Array.from(event.dataTransfer.types).includes("Files");
  window.addEventListener("dragenter", (event) => { if (carriesFiles(event)) { depth += 1; document.body.classList.add("bv-drag"); } });
  window.addEventListener("dragleave", () => { depth = Math.max(0, depth - 1); if (!depth) document.body.classList.remove("bv-drag"); });
  window.addEventListener("dragover", (event) => { if (carriesFiles(event)) event.preventDefault(); });
  window.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    depth = 0;
    document.body.classList.remove("bv-drag");
    upload(event.dataTransfer.files, "scan");
  });

  const showRow = () => window.setTimeout(() => {
    const row = document.querySelector(".bv-table tr.now");
    const box = row && row.closest("div");
    if (box) box.scrollTop = row.offsetTop - box.clientHeight / 2;
  }, 60);

  const take = (address) => { // a download that does not leave the page
    const link = document.createElement("a");
    link.href = address;
    link.download = "";
    link.click();
  };

  // The server's process may die; another takes its place under this address, with the session of the first. The page
  // is gone then (trame takes it away), so the sign is made here.
  const LOST_SECONDS = 120;
  let lost = 0;
  const sign = (text, ready) => {
    let cover = document.querySelector(".id-stopped");
    if (!cover) {
      cover = document.createElement("div");
      cover.className = "bv-cover bv-root-like id-stopped";
      cover.innerHTML = '<div class="bv-dialog bv-stopped" role="alertdialog" aria-labelledby="bv-stopped-head" ' +
        'aria-describedby="bv-stopped-text"><h2 id="bv-stopped-head">The viewer has stopped.</h2>' +
        '<p id="bv-stopped-text" aria-live="polite"></p>' +
        '<button type="button" class="bv-btn primary big id-go-on" disabled>Go on</button></div>';
      document.body.append(cover);
      cover.querySelector("button").addEventListener("click", () => window.location.reload());
    }
    cover.querySelector("#bv-stopped-text").textContent = text;
    cover.querySelector("button").disabled = !ready;
    if (ready) cover.querySelector("button").focus();
  };
  const watch = async () => {
    try {
      const answer = await fetch("/alive", { cache: "no-store" });
      const { process } = await answer.json();
      watch.process = watch.process || process;
      if (process !== watch.process) {
        sign("It was started again. Scans, masks, results and settings are as they were; a running job is lost.", true);
        return;
      }
    } catch (problem) { // nobody listens there
      lost = lost || Date.now();
      sign(Date.now() - lost > 1000 * LOST_SECONDS
        ? "It does not answer any more. Start the viewer again: it offers to bring this session back."
        : "It is being started again. Scans, masks, results and settings are kept.", false);
    }
    window.setTimeout(watch, lost ? 500 : 2000);
  };
  window.setTimeout(watch, 1000);

  window.brainviewer = { upload, pick, showRow, take };
  document.title = "BrainViewer";
})();

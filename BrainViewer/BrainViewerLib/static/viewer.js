// Keys, uploads and drag-and-drop: what the page does by itself. Everything else is decided on the server.
(() => {
  const trigger = (name, ...args) => window.trame && window.trame.trigger(name, args);

  const KEYS = {
    ArrowUp: "up", ArrowDown: "down", PageUp: "up5", PageDown: "down5", w: "up", s: "down",
    1: "layout1", 2: "layout2", 3: "layout3", f: "flicker", z: "undo", y: "redo", h: "heal", i: "heal-slice", v: "saliency",
    Escape: "escape", m: "mask", l: "lesion", o: "overlay", p: "paint", e: "erase", d: "draw", n: "no-tool", b: "box",
    t: "tab", g: "induce", x: "reroll", k: "keep", r: "fit", "?": "help", "[": "brush-", "]": "brush+", ",": "blend-", ".": "blend+",
  };
  const typing = (element) =>
    element && (element.tagName === "TEXTAREA" || element.tagName === "SELECT" || element.isContentEditable ||
      (element.tagName === "INPUT" && !["range", "checkbox", "radio", "button"].includes(element.type)));

  window.addEventListener("keydown", (event) => {
    if (event.altKey || (event.ctrlKey && !["z", "y"].includes(event.key.toLowerCase())) || event.metaKey) return;
    if (typing(event.target)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    let name = KEYS[event.key] || KEYS[event.key.toLowerCase()];
    if (event.key === "Z" && event.shiftKey) name = "redo";
    if (!name) return;
    event.preventDefault();
    event.stopPropagation();
    trigger("viewer_key", name);
  }, true);

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

"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  let unknown = location.hash === "#unknown";
  at("title").textContent = data.title;

  function card(entry) {
    const link = document.createElement("a");
    link.href = entry.href + (unknown ? "#unknown" : "#study");
    const picture = document.createElement("img");
    picture.src = entry.picture;
    picture.alt = "";
    const name = document.createElement("strong");
    name.textContent = unknown ? `Case ${entry.number}` : `${entry.number}. ${entry.title}`;
    const facts = document.createElement("small");
    facts.textContent = unknown ? entry.modality : [entry.modality, entry.kind].filter(Boolean).join(", ");
    const text = document.createElement("div");
    text.append(name, facts);
    link.append(picture, text);
    const item = document.createElement("li");
    item.append(link);
    return item;
  }

  function show() {
    const wanted = at("search").value.trim().toLowerCase();
    const found = data.cases.filter((entry) =>
      unknown || !wanted || `${entry.title} ${entry.modality} ${entry.kind}`.toLowerCase().includes(wanted));
    at("cases").replaceChildren(...found.map(card));
    at("count").textContent = found.length === 1 ? "1 case" : `${found.length} cases`;
    at("search").hidden = at("search-label").hidden = unknown;
    at("mode-study").setAttribute("aria-pressed", String(!unknown));
    at("mode-unknown").setAttribute("aria-pressed", String(unknown));
  }

  const setMode = (value) => { unknown = value; location.hash = value ? "unknown" : ""; show(); };
  at("mode-study").addEventListener("click", () => setMode(false));
  at("mode-unknown").addEventListener("click", () => setMode(true));
  at("search").addEventListener("input", show);
  show();
})();

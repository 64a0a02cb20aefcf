"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const state = { slice: data.first, curtain: 50, difference: false, solved: false, unknown: false };

  const put = (id, text) => {
    at(id).textContent = text || "";
    const box = at(id + "-box");
    if (box) box.hidden = !text;
  };
  for (const id of ["history", "findings", "diagnosis", "discussion", "question", "made"]) put(id, data[id]);
  for (const file of data.files) {
    const link = document.createElement("a");
    link.href = file.href;
    link.textContent = file.name;
    const item = document.createElement("li");
    item.append(link);
    at("files").append(item);
  }
  data.choices.forEach((text, index) => {
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name: "choice", value: String(index + 1) });
    const label = document.createElement("label");
    label.append(input, document.createTextNode(text));
    at("choices").append(label);
  });
  at("quiz").hidden = !data.question;
  at("check").hidden = !data.choices.length || !data.answer;

  const hidden = () => state.unknown && !state.solved;

  function show() {
    const slice = data.slices[state.slice];
    const number = `${state.slice + 1} of ${data.slices.length}`;
    const secret = hidden();
    at("over").src = slice.diseased;
    at("under").src = secret ? slice.diseased : slice.healthy;
    at("over").alt = `Slice ${number}. ${data.left}`;
    at("under").alt = secret ? "" : `Slice ${number}. ${data.right}`;
    at("over").style.clipPath = secret ? "none" : `inset(0 ${100 - state.curtain}% 0 0)`;
    at("seam").style.left = `${state.curtain}%`;
    at("seam").hidden = secret;
    const marked = state.difference && !secret && slice.difference;
    at("difference").hidden = !marked;
    if (marked) {
      at("difference").src = slice.difference;
      at("difference").alt = "What differs between the two, in colour";
    }
    at("slice").max = String(data.slices.length);
    at("slice").value = String(state.slice + 1);
    at("slice").setAttribute("aria-valuetext", number);
    at("slice-told").textContent = number;
    at("curtain").value = String(state.curtain);
    at("curtain-box").hidden = at("sides").hidden = secret;
    at("reveal").hidden = secret;
    at("reveal").setAttribute("aria-pressed", String(state.difference));
    at("reveal").textContent = state.difference ? "Hide the difference" : "Reveal the difference";
    at("legend").hidden = !(state.difference && !secret);
    at("left").textContent = data.left;
    at("right").textContent = data.right;
    at("title").textContent = secret ? "Unknown case" : data.title;
    document.title = at("title").textContent;
    at("kind").textContent = secret ? data.modality : [data.modality, data.kind].filter(Boolean).join(", ");
    at("solve").hidden = !secret;
    at("solution").hidden = secret;
    at("mode-study").setAttribute("aria-pressed", String(!state.unknown));
    at("mode-unknown").setAttribute("aria-pressed", String(state.unknown));
    at("stage").setAttribute("aria-label", `Slice ${number}`);
  }

  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const setSlice = (index) => { state.slice = clamp(index, 0, data.slices.length - 1); show(); };
  const setCurtain = (value) => { state.curtain = clamp(Math.round(value), 0, 100); show(); };
  const setMode = (unknown) => {
    Object.assign(state, { unknown, solved: false, difference: false });
    at("quiz").reset();
    at("verdict").textContent = "";
    show();
  };

  at("slice").addEventListener("input", (event) => setSlice(Number(event.target.value) - 1));
  at("curtain").addEventListener("input", (event) => setCurtain(Number(event.target.value)));
  at("reveal").addEventListener("click", () => { state.difference = !state.difference; show(); });
  at("solve").addEventListener("click", () => { state.solved = true; show(); at("solution").focus(); });
  at("mode-study").addEventListener("click", () => { location.hash = ""; setMode(false); });
  at("mode-unknown").addEventListener("click", () => { location.hash = "unknown"; setMode(true); });
  addEventListener("hashchange", () => {
    const unknown = location.hash === "#unknown";
    if (unknown !== state.unknown) setMode(unknown);
  });
  at("quiz").addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = at("quiz").querySelector("input:checked");
    const right = chosen !== null && Number(chosen.value) === data.answer;
    at("verdict").className = right ? "right" : "wrong";
    at("verdict").textContent = chosen === null ? "Choose one first."
      : right ? "Right." : `Not quite: ${data.choices[data.answer - 1]}.`;
    if (chosen !== null) { state.solved = true; show(); }
  });

  const stage = at("stage");
  stage.style.maxWidth = `max(16rem, ${Math.round(56 * data.aspect)}vh)`;  // the controls stay in view below it
  stage.addEventListener("keydown", (event) => {
    const moves = { ArrowUp: 1, ArrowDown: -1, PageUp: 5, PageDown: -5 };
    if (event.key in moves) setSlice(state.slice + moves[event.key]);
    else if (event.key === "Home") setSlice(0);
    else if (event.key === "End") setSlice(data.slices.length - 1);
    else if (event.key === "ArrowLeft") setCurtain(state.curtain - 5);
    else if (event.key === "ArrowRight") setCurtain(state.curtain + 5);
    else if (event.key === "d" || event.key === "D") { if (!hidden()) at("reveal").click(); }
    else return;
    event.preventDefault();
  });
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    setSlice(state.slice + (event.deltaY < 0 ? 1 : -1));
  }, { passive: false });
  const drag = (event) => {
    const box = stage.getBoundingClientRect();
    setCurtain(100 * (event.clientX - box.left) / box.width);
  };
  stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); drag(event); });
  stage.addEventListener("pointermove", (event) => { if (event.buttons & 1) drag(event); });

  if (location.hash !== "#unknown" && data.unknown && !location.hash) location.hash = "unknown";
  setMode(location.hash === "#unknown");
})();

// Keys of a reader study; what each does is decided on the server.
(() => {
  const KEYS = {
    Enter: "enter", ArrowUp: "up", ArrowDown: "down", PageUp: "up5", PageDown: "down5", ArrowRight: "next",
    ArrowLeft: "previous", Backspace: "back", w: "up", s: "down", r: "fit", m: "mark", n: "nothing", p: "pause",
  };
  const press = (name) => window.trame && window.trame.trigger("kiosk_key", [name]);

  window.addEventListener("keydown", (event) => {
    if (event.altKey || event.metaKey || event.isComposing) return;
    if (event.target && event.target.tagName === "TEXTAREA") {
      if (event.key === "Escape") event.target.blur();
      if (event.key !== "Enter" || !event.ctrlKey) return;
    } else if (event.ctrlKey) return;
    const name = /^[0-9]$/.test(event.key) ? event.key : KEYS[event.key] || KEYS[event.key.toLowerCase()];
    if (!name) return;
    event.preventDefault();
    event.stopPropagation();
    const moves = name.startsWith("up") || name.startsWith("down");
    if (!event.repeat || moves) press(name); // a key held down must not answer the next case
  }, true);
  new MutationObserver((changes) => { // the question that the keys answer is in sight
    for (const { target } of changes) {
      if (target.classList.contains("asked")) target.scrollIntoView({ block: "nearest" });
    }
  }).observe(document, { subtree: true, attributes: true, attributeFilter: ["class"] });
  window.addEventListener("contextmenu", (event) => event.preventDefault());
})();

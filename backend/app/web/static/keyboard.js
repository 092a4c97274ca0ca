"use strict";
// / search, j and k through the rows, Enter opens, n new, ? the list of them. Never while one types.
(() => {
  const rows = () => [...document.querySelectorAll("[data-row]")];
  const move = (by) => {
    const all = rows();
    if (!all.length) return;
    const now = all.findIndex((row) => row.contains(document.activeElement));
    const next = all[now < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, now + by))];
    next.querySelector("[data-open]").focus();
    next.scrollIntoView({ block: "nearest" });
  };
  const acts = {
    "/": () => {
      const field = document.querySelector("input[type=search]");
      if (field) field.focus();
      else location.assign("/sessions#search");
    },
    "?": () => document.getElementById("keys")?.showModal(),
    j: () => move(1),
    k: () => move(-1),
    n: () => location.assign("/new"),
  };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, [contenteditable], dialog");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in acts)) return;
    event.preventDefault();
    acts[event.key]();
  });
  document.querySelector(".keys-hint")?.removeAttribute("hidden");
  if (location.hash === "#search") document.querySelector("input[type=search]")?.focus();
})();

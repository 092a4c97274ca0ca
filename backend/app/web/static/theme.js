"use strict";
// Before the first paint: the theme that was chosen here, if any; else the system's.
(() => {
  const chosen = localStorage.getItem("theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    const order = ["", "light", "dark"];
    const names = { "": "as the system has it", light: "light", dark: "dark" };
    const tell = () => {
      const theme = document.documentElement.dataset.theme ?? "";
      button.setAttribute("aria-label", `Theme: ${names[theme]}`);
      button.title = `Theme: ${names[theme]}`;
    };
    button.addEventListener("click", () => {
      const now = document.documentElement.dataset.theme ?? "";
      const next = order[(order.indexOf(now) + 1) % order.length];
      if (next) document.documentElement.dataset.theme = next;
      else delete document.documentElement.dataset.theme;
      localStorage.setItem("theme", next);
      tell();
    });
    button.hidden = false;
    tell();
  });
})();

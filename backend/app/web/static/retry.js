"use strict";
// Shows a retry as it is chosen in the form as a command and a request, for a terminal.
(() => {
  const quoted = (text) => /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;
  const plain = new WeakMap(); // the code elements, as the server wrote them
  const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

  function tell() {
    const act = document.getElementById("act-retry");
    if (!act) return;
    const words = [], body = {};
    let isInCommand = true;
    for (const field of act.querySelectorAll("[data-flag]")) {
      const { flag, stored } = field.dataset;
      const value = lines(field.value).join("\n");
      if (value === lines(stored).join("\n")) continue;
      if (field.name === "map") body.map = lines(value);
      else if (field.name === "day_first") body.day_first = value ? value === "true" : null;
      else if (field.name === "split_level") body.split_level = value ? Number(value) : null;
      else body[field.name] = value || null;
      if (!value) isInCommand = false; // a command takes no choice back
      else if (field.name === "day_first") words.push(value === "true" ? flag : "--month-first");
      else for (const line of lines(value)) words.push(flag, quoted(line));
    }
    const without = [...act.querySelectorAll("[name=without]:checked")].map((box) => box.value);
    if (without.length) body.without = without;
    for (const name of without) words.push("--without", quoted(name));
    const files = [...act.querySelector("[name=documents]")?.files ?? []].map((file) => quoted(file.name));
    write(act.querySelector("[data-same=command]"), isInCommand, (command) => [command, ...files, ...words].join(" "));
    const json = JSON.stringify(body).replaceAll("'", "\\u0027");
    write(act.querySelector("[data-same=curl]"), !files.length, (curl) => json === "{}" ? curl
      : `${curl} \\\n  -H 'Content-Type: application/json' \\\n  -d '${json}'`);
    act.querySelector("[data-same=neither]").hidden = isInCommand || !files.length;
  }

  function write(place, isShown, text) {
    if (!place) return;
    const code = place.querySelector("code");
    if (!plain.has(code) || code.textContent !== code.dataset.told) plain.set(code, code.textContent);
    place.hidden = !isShown;
    code.textContent = code.dataset.told = text(plain.get(code));
  }

  document.addEventListener("input", tell);
  document.addEventListener("change", tell);
  document.addEventListener("page:shown", tell);
  tell();
})();

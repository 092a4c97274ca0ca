"use strict";
// The form posts itself. This adds: the chosen files with their sizes, each of which can be removed,
// checks of the limits before the upload, its progress, and a preview that keeps the files.
(() => {
  const form = document.getElementById("upload");
  const files = document.getElementById("documents");
  const chosen = document.getElementById("chosen");
  const send = document.getElementById("send");
  const preview = document.getElementById("look");
  const box = document.getElementById("upload-progress");
  const bar = document.getElementById("upload-bar");
  const word = document.getElementById("upload-word");
  const most = {
    documents: Number(form.dataset.mostDocuments),
    bytes: Number(form.dataset.mostBytes),
    request: Number(form.dataset.mostRequest),
  };
  const suffixes = form.dataset.suffixes.split(" ");

  const size = (bytes) => {
    if (bytes < 1000) return `${bytes} bytes`;
    let value = bytes / 1000, unit = "KB";
    for (const larger of ["MB", "GB"]) {
      if (value < 999.5) break;
      value /= 1000;
      unit = larger;
    }
    return `${value >= 9.95 ? value.toFixed(0) : value.toFixed(1)} ${unit}`;
  };

  const tell = (field, text) => {
    const place = document.getElementById(`${field}-problem`);
    if (!place) return;
    place.querySelector("span").textContent = text;
    place.hidden = !text;
    const input = document.getElementById(field);
    input?.toggleAttribute("aria-invalid", false);
    if (!text) return;
    input?.setAttribute("aria-invalid", "true");
    input?.closest("details")?.setAttribute("open", "");
  };

  const allow = (allowed) => { send.disabled = preview.disabled = !allowed; };

  const problemOf = (file) => {
    if (!suffixes.some((suffix) => file.name.toLowerCase().endsWith(suffix))) return "not of a type that is taken";
    if (file.size > most.bytes) return `more than ${size(most.bytes)}`;
    return file.size ? "" : "empty";
  };

  function look() {
    const list = [...files.files];
    const total = list.reduce((sum, file) => sum + file.size, 0);
    chosen.replaceChildren(...list.slice(0, 50).map((file) => {
      const item = document.createElement("li");
      const name = document.createElement("span");
      const note = document.createElement("span");
      name.className = "document-name";
      name.textContent = file.name;
      const problem = problemOf(file);
      note.className = problem ? "field-error" : "muted figure";
      note.textContent = problem ? `${size(file.size)}: ${problem}` : size(file.size);
      const remove = document.createElement("button");
      remove.type = "button";
      remove.className = "button small";
      remove.textContent = "Remove";
      remove.setAttribute("aria-label", `Remove ${file.name}`);
      remove.addEventListener("click", () => {
        const kept = new DataTransfer();
        for (const each of files.files) if (each !== file) kept.items.add(each);
        files.files = kept.files;
        for (const shown of document.querySelectorAll("#preview [data-document]")) {
          if (shown.dataset.document === file.name) shown.remove(); // with what was chosen for its columns
        }
        look();
        (chosen.querySelector("button") ?? files).focus();
      });
      item.append(name, note, remove);
      return item;
    }));
    if (list.length > 50) {
      const rest = document.createElement("li");
      rest.className = "muted";
      rest.textContent = `and ${list.length - 50} more`;
      chosen.append(rest);
    }
    chosen.hidden = !list.length;
    const names = new Set(list.map((file) => file.name));
    let problem = "";
    if (list.length > most.documents) problem = `${list.length} files are more than the ${most.documents} that a session takes.`;
    else if (total > most.request) problem = `Together they have ${size(total)}; one upload may have ${size(most.request)}.`;
    else if (names.size < list.length) problem = "Two of them have the same name.";
    else if (list.some(problemOf)) problem = "Remove or correct the files that cannot be used.";
    tell("documents", problem);
    allow(!problem);
  }
  files.addEventListener("change", look);
  for (const name of ["dragover", "dragleave", "drop"]) {
    files.addEventListener(name, () => files.parentElement.classList.toggle("is-over", name === "dragover"));
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const isPreview = event.submitter === preview;
    const request = new XMLHttpRequest();
    const stopped = (text) => {
      box.hidden = true;
      allow(true);
      if (text) tell("documents", text);
    };
    request.upload.addEventListener("progress", (sent) => {
      if (!sent.lengthComputable) return;
      bar.value = Math.round(100 * sent.loaded / sent.total);
      word.textContent = sent.loaded < sent.total ? `${size(sent.loaded)} of ${size(sent.total)}` : isPreview ? "Reading" : "Storing";
    });
    request.addEventListener("load", () => {
      const page = new DOMParser().parseFromString(request.responseText, "text/html");
      const corrected = page.getElementById("upload");
      if (request.status < 400 && !isPreview) { location.assign(request.responseURL); return; }
      stopped("");
      if (!corrected) {
        const said = [...page.querySelectorAll("main h1, main .next")].map((part) => part.textContent.trim());
        tell("documents", said.join(". ") || `The server returned ${request.status}.`);
        return;
      }
      form.elements.token.value = corrected.elements.token.value;
      form.elements.project_key.value = corrected.elements.project_key.value; // SHOP for shop
      for (const place of page.querySelectorAll("[data-problem]")) {
        tell(place.id.replace(/-problem$/, ""), place.querySelector("span").textContent);
      }
      if (isPreview && request.status < 400) {
        document.getElementById("preview").replaceChildren(...page.getElementById("preview").childNodes);
        document.getElementById("map").value = page.getElementById("map").value;
        preview.textContent = "Preview again";
        document.getElementById("preview-title")?.focus();
        return;
      }
      form.querySelector("[aria-invalid]")?.focus();
    });
    request.addEventListener("error", () => stopped("The server was not reached; nothing was stored. Try again."));
    request.addEventListener("abort", () => stopped("Stopped; nothing was opened."));
    document.getElementById("upload-stop").onclick = () => request.abort();
    const data = new FormData(form);
    const rules = data.getAll("map").filter(Boolean);
    data.delete("map");
    for (const rule of rules) data.append("map", rule);
    request.open("POST", isPreview ? preview.formAction : form.action);
    request.setRequestHeader("Accept", "text/html");
    request.send(data);
    allow(false);
    bar.value = 0;
    box.hidden = false;
  });
  addEventListener("pageshow", () => { allow(true); box.hidden = true; if (files.files.length) look(); });
})();

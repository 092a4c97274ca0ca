"use strict";
// Keeps a page up to date while it is open. The event stream (hx-sse) only says that something has
// changed: the page itself is fetched again, and the difference is morphed in (htmx). Where the
// stream fails, the page is fetched every few seconds instead. Nothing here is needed to act.
(() => {
  const AT_MOST_EVERY = 700; // ms between two fetches
  const LOOK_AGAIN_AFTER = 1_500;
  const POLL_EVERY = 10_000;
  const STALE_AFTER = 20_000;

  const live = () => document.getElementById("live");
  const stream = document.getElementById("stream");

  // -- times, in the reader's own zone ----------------------------------------------------------
  const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const slot = new Intl.DateTimeFormat(undefined, { day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit" });
  const hour = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
  const two = (n) => String(n).padStart(2, "0");
  const span = (s) => {
    if (s < 60) return `${Math.floor(s)} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min ${two(Math.floor(s % 60))} s`;
    return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} min`;
  };
  const age = (s) => {
    if (s < 60) return "just now";
    if (s < 3600) return `${Math.round(s / 60)} min ago`;
    if (s < 86400) return `${Math.round(s / 3600)} h ago`;
    const days = Math.round(s / 86400);
    return `${days} day${days === 1 ? "" : "s"} ago`;
  };
  const COUNTS = "no one two three four five six seven eight nine ten eleven twelve".split(" ");
  const words = (s) => { // as app/web/headline.py has it
    if (s < 2) return "just now";
    for (const [size, unit] of [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]]) {
      if (s < size) continue;
      const count = Math.floor(s / size);
      return `${size > 1 && COUNTS[count] || count} ${unit}${count === 1 ? "" : "s"} ago`;
    }
  };
  // The server's clock decides; ours may be hours off.
  const sent = Date.parse(document.documentElement.dataset.now ?? "");
  const ahead = Number.isNaN(sent) ? 0 : Date.now() - sent;
  const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };
  const tellTimes = () => {
    const now = Date.now() - ahead;
    for (const time of document.querySelectorAll("time[data-local], time[data-ago], time[data-since], time[data-until], time[data-words]")) {
      const at = Date.parse(time.dateTime);
      const seconds = Math.max(0, (now - at) / 1000);
      if ("local" in time.dataset) write(time, clock.format(at));
      else if ("ago" in time.dataset) write(time, age(seconds));
      else if ("words" in time.dataset) write(time, words(seconds));
      else if ("until" in time.dataset) write(time, span(Math.max(0, (at - now) / 1000)));
      else write(time, span(seconds));
    }
    tellSlices();
    tellSelection();
  };
  const tellSlices = () => { // charts: a day is named where the window is longer than one
    const slices = [...document.querySelectorAll("time[data-slice]")];
    if (!slices.length) return;
    const moments = slices.map((time) => Date.parse(time.dateTime));
    const isLong = Math.max(...moments) - Math.min(...moments) > 86400000;
    const form = isLong ? slot : hour;
    slices.forEach((time, index) => write(time, form.format(moments[index])));
    for (const title of document.querySelectorAll("title[data-slice]")) {
      const told = title.dataset.told ?? title.dataset.utc;
      const local = form.format(Date.parse(title.dataset.slice));
      write(title, local + title.textContent.slice(told.length));
      title.dataset.told = local;
    }
    for (const zone of document.querySelectorAll("[data-zone]")) write(zone, clock.resolvedOptions().timeZone);
  };
  // Select all on the page: the box in the heading, where scripts run; the page may be replaced.
  const tellSelection = () => {
    const all = document.getElementById("select-all");
    if (!all) return;
    const boxes = [...document.querySelectorAll("tbody input[name=session]")];
    const chosen = boxes.filter((box) => box.checked).length;
    all.hidden = false;
    all.checked = chosen > 0 && chosen === boxes.length;
    all.indeterminate = chosen > 0 && chosen < boxes.length;
  };
  document.addEventListener("change", (event) => {
    if (event.target.id === "select-all") {
      for (const box of document.querySelectorAll("tbody input[name=session]")) box.checked = event.target.checked;
    }
    tellSelection();
  });
  tellTimes();
  setInterval(() => {
    tellTimes();
    const due = document.querySelector("[data-look-again]");
    if (!due || Date.now() - ahead < Date.parse(due.dataset.lookAgain)) return;
    due.removeAttribute("data-look-again"); // the page that is fetched says when the next is due
    refreshSoon();
  }, 1000);

  // -- copy buttons -----------------------------------------------------------------------------
  const showCopyButtons = () => {
    if (!navigator.clipboard) return;
    for (const button of document.querySelectorAll("button[data-copy][hidden]")) button.hidden = false;
  };
  showCopyButtons();
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
    announce("Copied");
    const word = button.querySelector("span");
    if (!word) return;
    word.textContent = "Copied";
    setTimeout(() => { word.textContent = "Copy"; }, 1500);
  });

  function announce(text) {
    document.getElementById("announce").textContent = text;
  }

  // -- fetching the page again ------------------------------------------------------------------
  let lastFetch = 0, timer = 0, busy = false, again = false;
  let lastChange = 0; // when the newest change that we heard of was made, by the database's clock
  let heldPage = null; // what would move rows under the pointer

  const rowsOf = (root) => [...root.querySelectorAll("[data-row]")].map((row) => row.id);
  const movesRows = (page) => rowsOf(page).join() !== rowsOf(document).join();
  const comingAndGoing = (page) => {
    const now = new Set(rowsOf(document)), then = new Set(rowsOf(page));
    return [...now].filter((id) => !then.has(id)).length + [...then].filter((id) => !now.has(id)).length;
  };
  const handIsOnRows = () => {
    const rows = live()?.querySelector("[data-rows]");
    return Boolean(rows && (rows.matches(":hover") || rows.contains(document.activeElement)));
  };

  function refreshSoon() {
    if (timer || document.hidden) return;
    timer = setTimeout(refresh, Math.max(50, lastFetch + AT_MOST_EVERY - Date.now()));
  }

  async function refresh() {
    timer = 0;
    if (busy) { again = true; return; }
    busy = true;
    lastFetch = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
      if (answer.redirected || answer.status === 404) { location.reload(); return; }
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      fresh();
      if (movesRows(page) && handIsOnRows()) hold(page);
      else await show(page);
      // Figures may be cached for some seconds: fetch again until they include the change.
      if (Date.parse(page.getElementById("live")?.dataset.asOf ?? "") < lastChange) {
        timer ||= setTimeout(refresh, LOOK_AGAIN_AFTER);
      }
    } catch (error) {
      failed();
    } finally {
      busy = false;
      if (again) { again = false; refreshSoon(); }
    }
  }

  async function show(page) {
    const target = live(), source = page.getElementById("live");
    if (!target || !source) return;
    heldPage = null;
    await htmx.swap({ text: source.outerHTML, sourceElement: target, target, swap: "outerMorph" });
    document.title = page.title;
    tellTimes();
    showCopyButtons();
    document.dispatchEvent(new Event("page:shown"));
  }

  function hold(page) {
    heldPage = page;
    const bar = document.getElementById("held");
    if (!bar) return;
    const count = Math.max(1, comingAndGoing(page));
    bar.textContent = `${count} update${count === 1 ? "" : "s"}: show`;
    bar.hidden = false;
  }

  document.addEventListener("click", (event) => {
    if (event.target.id !== "held" || !heldPage) return;
    event.target.hidden = true;
    show(heldPage);
  });

  // -- how fresh the page is --------------------------------------------------------------------
  if (!stream) return;
  let connected = false, since = Date.now(), lastTrue = Date.now(), pollTimer = 0;

  function tell(state, word) {
    const box = document.getElementById("live-state");
    if (!box) return;
    box.hidden = false;
    if (box.dataset.state === state && document.getElementById("live-word").textContent === word) return;
    box.dataset.state = state;
    document.getElementById("live-word").textContent = word;
  }

  function tellState() {
    if (document.hidden) tell("paused", "Paused");
    else if (connected) tell("live", "Live");
    else if (Date.now() - lastTrue > STALE_AFTER) tell("stale", `Stale since ${hour.format(lastTrue)}`);
    else tell("reconnecting", "Reconnecting");
  }

  function fresh() {
    lastTrue = Date.now();
    tellState();
  }

  function failed() {
    tellState();
  }

  function lost() {
    if (connected) since = Date.now();
    connected = false;
    tellState();
  }

  document.addEventListener("htmx:sse:after:connection", () => {
    const missed = !connected && Date.now() - since > 0;
    connected = true;
    fresh();
    if (missed) refreshSoon(); // whatever happened while nobody listened
  });
  document.addEventListener("htmx:sse:error", lost);
  document.addEventListener("htmx:sse:close", lost);
  document.addEventListener("htmx:sse:before:connection", (event) => {
    if (event.detail?.connection?.attempt > 0) lost();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) refreshSoon();
    tellState();
  });

  setInterval(() => {
    tellState();
    if (connected || document.hidden || pollTimer) return;
    pollTimer = setTimeout(() => {
      pollTimer = 0;
      if (connected) return;
      refresh();
      // The extension reconnects on its own, but only once it was connected.
      if (!stream._htmx?.sse) {
        htmx.ajax("GET", stream.getAttribute("hx-sse:connect"), { source: stream, swap: "none" });
      }
    }, POLL_EVERY);
  }, 1000);

  // -- what happened, in words, once ------------------------------------------------------------
  const known = new Map();
  const NAMES = { processing: "processing", export: "export", adf_validation: "ADF validation" };
  stream.addEventListener("session", (event) => {
    refreshSoon();
    const session = JSON.parse(event.detail.data);
    lastChange = Math.max(lastChange, Date.parse(session.updated_at));
    const { task_type: type, status } = session.task;
    const state = `${type} ${status}`;
    if (known.has(session.id) && known.get(session.id) !== state && type) {
      const name = session.label || `Session ${session.id.slice(0, 8)}`;
      announce(`${name}: ${NAMES[type] ?? type} ${status}`);
    }
    known.set(session.id, state);
    lastTrue = Date.now();
  });
  stream.addEventListener("deleted", refreshSoon);
  stream.addEventListener("reset", refreshSoon);
})();

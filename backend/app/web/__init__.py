"""The dashboard: pages that a server renders, and that work without JavaScript too.

How to add a page
-----------------
1. A module here, named after the page, with a `router` and routes of a few lines: read, then
   `page.render("name.html", ...)`. Parameters as in `app.api`: `Caller`, `ServicesOf`, and
   `page: PageOf`. What the page shows is a value made by a function that a test can call.
2. A template in `templates/` that extends `base.html` and fills `title` and `content`. Badges,
   steppers, progress bars, times and the like are macros of `components.html`.
3. The router's name in `app.web.dashboard.ROUTERS`.

An act is a form that posts: `page.redirect("/sessions/…", said="Cancelled.")` answers it, and the
next page says so once. Errors may simply be raised: `app.web.errors` shows them as a page, with the
status and the words of the API's problem. The browser's cookie acts only from our own pages
(`app.api.request_guard` compares the Origin), so forms need no token of their own.

What changes while one looks stands inside `<div id="live">` (block `content`): `static/live.js`
fetches the page again when the event stream says that something changed, and morphs the difference
in. Give whatever repeats an `id`, so that it keeps its place and its focus.
"""

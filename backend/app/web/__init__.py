"""The dashboard: pages rendered on the server, which also work without JavaScript.

How to add a page
-----------------
1. A module here, named after the page, with a `router` and routes of a few lines: read, then
   `page.render("name.html", ...)`. Parameters as in `app.api`: `Caller`, `ServicesOf`, and
   `page: PageOf`. A function that a test can call makes the values that the page shows.
2. A template in `templates/` that extends `base.html` and fills `title` and `content`. Badges,
   steppers, progress bars, times and the like are macros of `components.html`.
3. The router's name in `app.web.dashboard.ROUTERS`.

An act is a form that posts. Its route returns `page.redirect("/sessions/…", said="Cancelled.")`,
and the next page shows that text once. Raise errors: `app.web.errors` renders them as a page, with
the status and text of the API's problem. The browser's cookie is accepted only from our own pages
(`app.api.request_guard` compares the Origin), so forms need no token of their own.

Put content that changes while the page is open into `<div id="live">` (block `content`):
`static/live.js` fetches the page again when the event stream reports a change, and morphs the
difference in. Give repeated elements an `id`, so that they keep their place and focus.
"""

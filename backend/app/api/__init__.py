"""The REST API: routes of a few lines each (parse, one call of a repository, answer).

============ ======================================================================================
`application` the app, whole: `create_app(database, settings)`
`services`    what routes are given: the parts of this process, and who asks; `paging`, page tokens
`gate`        what every request passes before its body is read: host, key (`keyring`), limits, body
`problems`    every error as an RFC 9457 problem; the one table from the error tree to statuses
`resources`   what is answered, as models; and `presenting`: snapshots of rows as these
`answers`     JSON, kept under an Idempotency-Key, or refused with the session's state
`sessions`    routes of sessions, `tasks` of their tasks, `content` of what tasks made
`uploads`     a multipart form as documents, within limits
`polling`     the state of a task, asked again and again, past what other requests pass
`events`      server-sent events; `hub` is the one listener behind them all
`keys`        administration of API keys
`operations`  `/healthz`, `/readyz`, `/metrics`; `http_metrics`, what is counted of requests
`document`    writes `docs/openapi.json`
`server`      uvicorn, with what it leaves unbounded bounded
============ ======================================================================================
"""

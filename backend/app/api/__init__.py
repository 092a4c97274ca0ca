"""The REST API: routes of a few lines each (parse, one call of a repository, answer).

============ ======================================================================================
`application` the app, whole: `create_app(database, settings)`
`gate`        what every request passes before its body is read: host, key, limits, body
`problems`    every error as an RFC 9457 problem; the one table from the error tree to statuses
`resources`   what is answered, as models; and `presenting`: snapshots of rows as these
`sessions`    routes of sessions, `tasks` of their tasks, `content` of what tasks made
`uploads`     a multipart form as documents, within limits
`events`      server-sent events; `hub` is the one listener behind them all
`keys`        administration of API keys
`operations`  `/healthz`, `/readyz`, `/metrics`; `metrics` is what is counted
`server`      uvicorn, with what it leaves unbounded bounded
============ ======================================================================================
"""

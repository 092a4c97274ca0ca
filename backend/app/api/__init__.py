"""The REST API: routes of a few lines each (parse, one call of a repository, return).

=================== ===============================================================================
`application`       `create_app(database, settings)`: the ASGI application
`services`          dependencies of routes: the parts of this process, and the caller
`request_guard`     checks every request passes before its body is read: host, key, limits, size
`fair_queue`        turns to send and to store documents, shared fairly among keys
`api_key_cache`     recognises API keys, remembering them for seconds
`problems`          errors as RFC 9457 problem documents: one table from the error tree to statuses
`resources`         request and response bodies as models
`serializers`       snapshots of rows as those models, and their ETags
`responses`         JSON responses, stored under an Idempotency-Key or refused with the state
`paging`            page tokens
`sessions`          routes of sessions; `tasks`: of their tasks; `content`: of what tasks made
`uploads`           a multipart form as documents, within limits
`polling`           the state of a task, without FastAPI's routing
`snapshot_loader`   session snapshots, many requests' by one query
`events`            routes of server-sent events
`event_broadcaster` one listener that feeds all open streams
`keys`              routes to administer API keys
`operations`        `/healthz`, `/readyz`, `/metrics`; `http_metrics` counts requests
`document`          writes `docs/openapi.json`
`server`            uvicorn with its missing limits added
=================== ===============================================================================
"""

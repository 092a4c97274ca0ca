"""The route of previews: documents in, tickets and problems out; nothing is stored."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Response
from starlette.concurrency import run_in_threadpool

from app.api.responses import API, json_response
from app.api.services import EVERYWHERE, Caller, Services, ServicesOf, problems
from app.api.uploads import NewSession, usable_documents
from app.engines.reading_apart import preview_apart
from app.presentation.previews import with_option_names
from app.tasks.preview import Preview, problems_of

router = APIRouter(prefix=API, tags=["sessions"], responses=problems(*EVERYWHERE))


@router.post(
    "/preview",
    response_model=Preview,
    summary="What documents would become, and all that is wrong with them; nothing is stored",
    responses=problems(400, 408, 413),
)
async def preview_session(
    form: Annotated[NewSession, Form(media_type="multipart/form-data")],
    caller: Caller,
    services: ServicesOf,
) -> Response:
    """The request is that of opening a session. Problems are in the response; nothing is stored."""
    async with services.previews.turn(caller.key_id):
        made = await run_in_threadpool(make_preview, form, services)
    return json_response(with_option_names(made, str))


def make_preview(form: NewSession, services: Services) -> Preview:
    """Read the documents in a separate process; called while a turn is held.

    Raises:
        DocumentError: too many documents, or they need more time or memory than a preview has.

    """
    usable, refused = usable_documents(form, services.settings)
    made = preview_apart(usable.read(), usable.names, form.options(), services.settings)
    listed = [*problems_of(refused), *made.problems]
    count = made.problem_count + len(refused)
    return made.model_copy(update={"problems": listed, "problem_count": count})

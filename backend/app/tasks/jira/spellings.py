"""Which column is which field of Jira: the names that other programs' exports give them.

The same table stands in `docs/jira.md`; a test compares the two. Names are compared without
case, with blanks for `_`, and `Custom field (X)`, as Jira's own export writes it in its languages,
is `X`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Origin(Enum):
    """The program that a table was exported from, known by columns that only its exports have."""

    JIRA = "Jira"
    AZURE_DEVOPS = "Azure DevOps"
    GITHUB = "GitHub"
    LINEAR = "Linear"
    REDMINE = "Redmine"
    TRELLO = "Trello"
    ASANA = "Asana"
    CLICKUP = "ClickUp"
    GITLAB = "GitLab"
    YOUTRACK = "YouTrack"
    OTHER = ""


@dataclass(frozen=True, slots=True)
class FieldName:
    """A field, and the columns that it is read from.

    Attributes:
        id: Jira's own id of a system field, or a name of ours where the id differs by site.
        label: what people call it.
        names: columns that are this field in any table.
        exports: columns that are this field only in a program's own exports.
        needs_site: whether only a site can say what a value means.

    """

    id: str
    label: str
    names: tuple[str, ...]
    exports: tuple[tuple[Origin, tuple[str, ...]], ...] = ()
    needs_site: bool = False


FIELDS = (
    FieldName(
        "issuetype",
        "Issue type",
        ("issue type", "issuetype", "work type", "work item type", "vorgangstyp",
         "arbeitselementtyp", "type de ticket", "type de demande", "tipo de incidencia",
         "tipo de item", "tipo de pendência", "課題タイプ"),
        ((Origin.REDMINE, ("tracker",)), (Origin.LINEAR, ("type",)), (Origin.JIRA, ("type",)),
         (Origin.CLICKUP, ("task type",)), (Origin.YOUTRACK, ("type",))),
    ),
    FieldName(
        "priority",
        "Priority",
        ("priority", "priorität", "priorité", "prioridad", "prioridade", "優先度"),
    ),
    FieldName(
        "labels",
        "Labels",
        ("labels", "label", "tags", "stichwörter", "étiquettes", "etiquetas", "ラベル"),
    ),
    FieldName(
        "components",
        "Components",
        ("components", "component", "component/s", "komponenten", "komponente",
         "komponente(n)", "komponente/n", "composants", "componentes",
         "コンポーネント"),
        ((Origin.REDMINE, ("category", "kategorie")), (Origin.YOUTRACK, ("subsystem",))),
    ),
    FieldName(
        "fixVersions",
        "Fix versions",
        ("fix versions", "fix version", "fix version/s", "fixversions", "lösungsversionen",
         "lösungsversion", "lösungsversion(en)", "lösungsversion/en", "korrekturversion",
         "korrekturversion(en)",
         "korrekturversionen", "versions corrigées", "versiones corregidas", "versões corrigidas",
         "修正バージョン"),
        ((Origin.REDMINE, ("target version", "zielversion")), (Origin.GITHUB, ("milestone",)),
         (Origin.GITLAB, ("milestone",))),
    ),
    FieldName(
        "versions",
        "Affects versions",
        ("affects versions", "affects version", "affects version/s", "affected versions",
         "versions", "betroffene versionen", "betroffene version", "betroffene version(en)",
         "betrifft version", "betrifft version(en)", "betrifft version/en", "betrifft versionen",
         "versions affectées", "versiones afectadas", "versões afetadas",
         "影響バージョン"),
    ),
    FieldName(
        "duedate",
        "Due date",
        ("due date", "duedate", "due", "due on", "deadline", "end date", "fälligkeitsdatum",
         "fällig am", "abgabedatum", "date d'échéance", "échéance",
         "fecha de vencimiento", "data de vencimento", "data limite", "期限"),
        ((Origin.AZURE_DEVOPS, ("target date",)),),
    ),
    FieldName(
        "parent",
        "Parent",
        ("parent", "parent id", "parent key", "parent issue", "parent task", "epic link", "epic",
         "übergeordnet", "übergeordneter vorgang", "übergeordnete id", "übergeordnete vorgangs-id",
         "übergeordnetes ticket", "übergeordnetes element", "epos-verknüpfung",
         "epic-verknüpfung", "epic-link", "parente", "pai", "親課題", "親"),
    ),
    FieldName(
        "environment",
        "Environment",
        ("environment", "umgebung", "environnement", "entorno", "ambiente", "環境"),
    ),
    FieldName(
        "originalEstimate",
        "Original estimate",
        ("original estimate", "originalestimate", "estimated time", "time estimate",
         "time estimated", "ursprüngliche schätzung", "geschätzter aufwand",
         "geschätzte zeit", "estimation originale",
         "estimación original", "estimativa original", "初期見積り"),
        ((Origin.YOUTRACK, ("estimation",)),),
    ),
    FieldName(
        "assignee",
        "Assignee",
        ("assignee", "assignee id", "assignee email", "assigned to", "assignees",
         "zugewiesene person", "zugewiesen an", "bearbeiter", "responsable", "persona asignada",
         "responsável", "担当者"),
        ((Origin.TRELLO, ("members",)),),
        needs_site=True,
    ),
    FieldName(
        "reporter",
        "Reporter",
        ("reporter", "reporter id", "autor", "rapporteur", "informador", "relator", "報告者"),
        ((Origin.REDMINE, ("author",)), (Origin.GITHUB, ("author",)),
         (Origin.LINEAR, ("creator",)), (Origin.AZURE_DEVOPS, ("created by",)),
         (Origin.GITLAB, ("author",))),
        needs_site=True,
    ),
    FieldName(
        "storypoints",
        "Story points",
        ("story points", "story point estimate"),
        ((Origin.LINEAR, ("estimate",)), (Origin.AZURE_DEVOPS, ("effort",)),
         (Origin.GITHUB, ("estimate",)), (Origin.GITLAB, ("weight",))),
        needs_site=True,
    ),
    FieldName(
        "startdate",
        "Start date",
        ("start date", "startdatum"),
        ((Origin.REDMINE, ("beginn",)),),
        needs_site=True,
    ),
    FieldName(
        "sprint",
        "Sprint",
        ("sprint", "スプリント"),
        ((Origin.AZURE_DEVOPS, ("iteration path",)), (Origin.LINEAR, ("cycle name",)),
         (Origin.GITHUB, ("iteration",))),
        needs_site=True,
    ),
    FieldName(
        "status",
        "Status",
        ("status", "statut", "estado", "ステータス"),
        ((Origin.AZURE_DEVOPS, ("state", "zustand")), (Origin.GITHUB, ("state",)),
         (Origin.YOUTRACK, ("state",)),
         (Origin.TRELLO, ("list name",)), (Origin.ASANA, ("section/column",))),
        needs_site=True,
    ),
)  # fmt: skip

IDENTITIES = (
    "issue key", "issue id", "key", "id", "#", "number", "task id", "card id", "task custom id",
    "url",
    "schlüssel", "vorgangsschlüssel", "vorgangs-id", "clé", "clave", "chave", "キー",
)  # fmt: skip
"""Columns by which one row names another as its parent."""

_SIGNS: tuple[tuple[Origin, tuple[str, ...]], ...] = (
    (Origin.AZURE_DEVOPS, ("work item type",)),
    (Origin.AZURE_DEVOPS, ("arbeitselementtyp",)),
    (Origin.GITLAB, ("issue id", "title", "author username")),
    (Origin.YOUTRACK, ("issue id", "project", "summary", "tags")),
    (Origin.JIRA, ("issue key",)),
    (Origin.JIRA, ("issue id",)),
    (Origin.JIRA, ("vorgangsschlüssel",)),
    (Origin.REDMINE, ("tracker", "subject")),
    (Origin.REDMINE, ("#", "subject")),
    (Origin.REDMINE, ("#", "thema")),
    (Origin.REDMINE, ("tracker", "thema")),
    (Origin.TRELLO, ("card name",)),
    (Origin.CLICKUP, ("task name", "task id")),
    (Origin.ASANA, ("section/column",)),
    (Origin.ASANA, ("task id", "name", "notes")),
    (Origin.LINEAR, ("team", "cycle name")),
    (Origin.LINEAR, ("id", "team", "title")),
    (Origin.GITHUB, ("number", "title", "state")),
    (Origin.GITHUB, ("title", "url", "repository")),
    (Origin.GITHUB, ("title", "body", "state")),
    (Origin.JIRA, ("issue type", "summary")),
)
"""Columns that, all together, tell the program; the first that fits wins."""

_CUSTOM_FIELD = re.compile(
    r"(?:custom field|benutzerdefiniertes feld|champs? personnalisés?|campo personalizado)"
    r" ?\((.*)\)"
)
_FIELD_ID = re.compile(r"customfield_\d+", re.IGNORECASE)


def origin_of(header: Iterable[str]) -> Origin:
    """Return the program that a table with these columns was exported from."""
    columns = {folded(name) for name in header}
    return next((origin for origin, signs in _SIGNS if columns.issuperset(signs)), Origin.OTHER)


def field_of_column(name: str, origin: Origin) -> FieldName | None:
    """Return the field that a column of such an export is; None: it is none."""
    return _by_column(origin).get(folded(name))


def field_named(name: str) -> FieldName | None:
    """Return the field that people call so: its id, its label, or any of its columns' names."""
    wanted = folded(name)
    if _FIELD_ID.fullmatch(wanted):
        return FieldName(wanted, wanted, ())
    for field in FIELDS:
        if wanted in {field.id.lower(), field.label.lower(), *field.names}:
            return field
    return None


def folded(name: str) -> str:
    """Return a column's name as names are compared."""
    plain = " ".join(name.split()).casefold()
    if _FIELD_ID.fullmatch(plain) is None:
        plain = plain.replace("_", " ")
    match = _CUSTOM_FIELD.fullmatch(plain)
    return match[1] if match else plain


def _by_column(origin: Origin) -> dict[str, FieldName]:
    if origin not in _known:
        known = {name: field for field in FIELDS for name in field.names}
        for field in FIELDS:
            for program, names in field.exports:
                known |= dict.fromkeys(names, field) if program is origin else {}
        _known[origin] = known
    return _known[origin]


_known: dict[Origin, dict[str, FieldName]] = {}

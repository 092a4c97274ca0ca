"""The columns that hold titles and descriptions, as the exports of other tools name them.

`docs/documents.md` has the same table; a test compares the two. Names are matched without case,
with blanks for `_`; of several in one table the first of this list counts.
"""

from __future__ import annotations

TITLE_COLUMNS_BY_TOOL: dict[str, tuple[str, ...]] = {
    "Jira": ("summary",),
    "Azure DevOps, GitHub, GitLab, Linear, Notion": ("title", "issue title"),
    "Redmine": ("subject",),
    "Trello": ("card name",),
    "ClickUp": ("task name",),
    "Asana, monday.com": ("name", "task"),
    "ServiceNow, Bugzilla": ("short description", "short desc"),
    "German": ("zusammenfassung", "titel", "betreff", "thema", "aufgabe", "vorgang"),
    "French": ("résumé", "titre", "sujet", "tâche"),
    "Spanish": ("resumen", "título", "asunto", "tarea"),
    "Portuguese": ("resumo", "assunto", "tarefa"),
    "Japanese": ("要約", "タイトル", "件名", "概要"),
    "tables made by hand": ("issue summary", "headline", "issue", "story", "user story", "item"),
}
BODY_COLUMNS_BY_TOOL: dict[str, tuple[str, ...]] = {
    "Jira, Azure DevOps, GitLab, Linear, Redmine": ("description",),
    "GitHub": ("body",),
    "Trello": ("card description",),
    "ClickUp": ("task content", "task description"),
    "Asana": ("notes",),
    "Azure DevOps": ("repro steps",),
    "German": ("beschreibung", "inhalt", "notizen"),
    "French": ("corps", "contenu"),
    "Spanish": ("descripción", "contenido"),
    "Portuguese": ("descrição", "conteúdo"),
    "Japanese": ("説明", "内容", "本文", "詳細"),
    "tables made by hand": ("issue description", "details", "content", "text"),
}
TITLE_COLUMNS = tuple(name for names in TITLE_COLUMNS_BY_TOOL.values() for name in names)
BODY_COLUMNS = tuple(name for names in BODY_COLUMNS_BY_TOOL.values() for name in names)

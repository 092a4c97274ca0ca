"""ADF, the Atlassian Document Format: made from Markdown, and checked as Jira would check it."""

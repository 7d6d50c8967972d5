"""Parts of a study's page."""


def section(page, name):
    return next(one for one in page.sections if one.name == name)


def rows(page, name):
    """A table's rows as heading to cell."""
    table = section(page, name).table
    headings = [column.heading for column in table.columns]
    return [dict(zip(headings, row, strict=True)) for row in table.rows]

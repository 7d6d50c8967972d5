"""HTML as tests read it."""

from html.parser import HTMLParser

VOID = {"meta", "input", "br", "link", "img"}


class Parsed(HTMLParser):
    """Collects what the tests ask for, and refuses tags that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.loads, self.tags, self.texts = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self._attributes(attrs)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self._attributes(attrs)

    def _attributes(self, attrs):
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "action", "data", "srcset"):
                self.loads.append(value)

    def handle_endtag(self, tag):
        # Rows and cells end with their table.
        while tag not in ("tr", "td") and self.open[-1] in ("tr", "td"):
            self.open.pop()
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return "".join(self.texts)

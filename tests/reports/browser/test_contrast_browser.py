"""Contrast of what is rendered, on light and on dark pages."""

import pytest

from jaxbench.reports.charts.shades import contrast
from tests.reports.browser.helpers import figure, figures

pytestmark = pytest.mark.browser
# Colours as they are painted: [what, ink, ground], each pair once.
PAINTED = """() => {
  const pen = document.createElement("canvas")
    .getContext("2d", {willReadFrequently: true});
  const known = new Map();
  const read = (text) => {
    if (known.has(text)) return known.get(text);
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = text;
    pen.fillRect(0, 0, 1, 1);
    known.set(text, [...pen.getImageData(0, 0, 1, 1).data]);
    return known.get(text);
  };
  const above = (e) => (e ? [e, ...above(e.parentElement)] : []);
  const digits = (v) => Math.round(v).toString(16).padStart(2, "0");
  const hex = (c) => "#" + c.slice(0, 3).map(digits).join("");
  let pairs;
  const add = (what, e, colour, more = 1) => {
    const styles = above(e).map((a) => getComputedStyle(a)), top = read(colour);
    const share = styles.reduce((n, s) => n * s.opacity, more * top[3] / 255);
    const ground = styles.map((s) => read(s.backgroundColor)).find((c) => c[3] === 255);
    if (!share) return;
    const ink = top.map((v, k) => share * v + (1 - share) * ground[k]);
    const pair = [hex(ink), hex(ground)];
    if (!pairs.has(String(pair))) pairs.set(String(pair), [what, ...pair]);
  };
  const list = (selector) => [...document.querySelectorAll(selector)]
    .filter((e) => e.checkVisibility() && e.getBoundingClientRect().width > 1);
  const found = (fill) => (pairs = new Map(), fill(), [...pairs.values()]);
  const texts = found(() => {
    for (const e of list("body *:not(script, style, option)")) {
      const own = [...e.childNodes].filter((n) => n.nodeType === 3);
      const text = own.map((n) => n.data.trim()).join(""), style = getComputedStyle(e);
      if (text) add(text.slice(0, 30), e, e.closest("svg") ? style.fill : style.color);
    }
    for (const e of list("input[type=search]")) {
      const style = getComputedStyle(e, "::placeholder");
      add(e.placeholder, e, style.color, style.opacity);
    }
  });
  const graphics = found(() => {
    const bright = ":not([opacity='0.12'], [opacity='0.15'])";
    const marks = ".plot :is(.mark-symbol, .mark-line, .mark-rect)";
    const samples = ".legend button:not(.some > [aria-pressed='false']) > svg";
    for (const kind of ["fill", "stroke"]) {
      for (const e of list(`${marks} path${bright}, ${samples} *`)) {
        if (!/--c\\d/.test(e.getAttribute(kind))) continue;
        add(e.outerHTML.slice(0, 80), e, getComputedStyle(e)[kind]);
      }
    }
    for (const e of list("input[type=search], select")) {
      add("border", e.parentElement, getComputedStyle(e).borderTopColor);
    }
  });
  return {texts, graphics};
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_rendered_can_be_read(visit, sample_file, scheme):
    with visit(sample_file, color_scheme=scheme) as page:
        list(figures(page))
        page.locator("details").evaluate_all("l => l.forEach(e => (e.open = true))")
        dots = figure(page, "accuracy_calibration")
        dots.locator(".legend button").first.click()  # the others are dimmed
        dots.locator(".point[tabindex='0']").focus()
        page.locator("#tip:not([hidden])").wait_for()
        found = page.evaluate(PAINTED)
    assert len(found["texts"]) > 20
    assert len(found["graphics"]) >= 8
    for kind, least in (("texts", 4.5), ("graphics", 3)):
        pale = [one for one in found[kind] if contrast(*one[1:]) < least]
        assert not pale, kind

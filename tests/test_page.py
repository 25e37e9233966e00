"""The page in a real browser."""

import json

import pytest

from reproduction import report
from reproduction.log_reader import read_runs
from reproduction.options import ReportOptions
from reproduction.page import html
from reproduction.runs import over_seeds
from tests.conftest import ROOT

SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 375, "height": 812}}

# What sticks out of the page, or of its own box where that would cut it off.
OVERFLOWING = """() => [...document.body.querySelectorAll("*")].filter(e =>
  !e.closest("dialog") && e.getClientRects().length && (
    e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5 ||
    (e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0)
  )
).map(e => e.tagName + " " + e.textContent.slice(0, 60))"""


@pytest.fixture(scope="module")
def report_page(tmp_path_factory):
    """The official page, beside links to the committed figures."""
    folder = tmp_path_factory.mktemp("figures")
    for figures in (ROOT / "figures").glob("q*"):
        (folder / figures.name).symlink_to(figures)
    options = ReportOptions(ROOT / "logs", folder)
    (folder / "report.html").write_text(html(options, *report.collect(options)))
    return (folder / "report.html").as_uri()


@pytest.fixture(params=[(size, scheme) for size in SIZES for scheme in ("light", "dark")], ids=" ".join)
def page(request, browser, report_page):
    size, scheme = request.param
    with browser.new_page(viewport=SIZES[size], color_scheme=scheme, offline=True) as page:
        page.goto(report_page)
        yield page


def luminance(page, what):
    """Relative luminance of a CSS colour of <body> (WCAG 2)."""
    colour = page.evaluate(f"getComputedStyle(document.body).{what}")
    parts = [int(part) / 255 for part in colour.partition("(")[2].strip(")").split(",")[:3]]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear))


def unfold(page):
    """Opens all that is folded, and loads every picture."""
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
    page.wait_for_function("[...document.querySelectorAll('main img')].every(image => image.complete)")


@pytest.mark.parametrize("unfolded", [False, True])
def test_nothing_sticks_out_at_any_width(page, unfolded):
    if unfolded:
        unfold(page)
    assert page.evaluate(OVERFLOWING) == []


def test_every_picture_is_there_and_described(page):
    unfold(page)
    images = page.evaluate("[...document.querySelectorAll('main img')].map(i => [i.naturalWidth > 0, i.alt])")
    assert len(images) > 30
    assert all(loaded and alt for loaded, alt in images)


def test_no_picture_is_larger_than_it_is(page):
    unfold(page)
    sizes = page.evaluate("[...document.querySelectorAll('figure img')].map(i => [i.width, i.naturalWidth])")
    assert all(shown <= natural for shown, natural in sizes)


def test_text_stands_out_in_both_colours(page):
    text = luminance(page, "color")
    back = luminance(page, "backgroundColor")
    assert (max(text, back) + 0.05) / (min(text, back) + 0.05) > 7  # WCAG's enhanced contrast
    assert (text > back) == page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")


def test_the_page_opens_with_one_run_of_each_paper(page):
    names = page.evaluate("[...document.querySelectorAll('details.run[open]')].map(run => run.id)")
    assert [name.partition("/")[0] for name in names] == list(read_runs(ROOT / "logs"))


def test_the_tables_hold_the_numbers_of_the_results_files(page):
    rows = "[...document.querySelectorAll('[data-row]')]"
    place = "c.closest('section').id + '/' + c.dataset.row"
    cells = dict(page.evaluate(f"{rows}.map(c => [{place}, c.textContent])"))
    count = 0
    for question, runs in read_runs(ROOT / "logs").items():
        for experiment in over_seeds(runs):
            if len(experiment.runs) > 1:
                continue  # shown as mean and deviation, which test_report.py covers
            results = json.loads((experiment.runs[0].folder / "results.json").read_text())
            for row in results["rows"]:
                shown = cells[f"{question}/{experiment.name}/{row['name']}"].replace("±", " ").split()
                digits = len(shown[0].partition(".")[2])
                assert float(shown[0]) == round(row["value"], digits), row
                count += 1
    assert count > 50


def test_a_run_name_leads_to_its_command(page):
    page.click("section#q2_protonet table.results a")
    name = page.evaluate("decodeURIComponent(location.hash)").partition("/")[2]
    assert f"--run_name {name}" in page.inner_text(".run:target .command")


def test_a_link_opens_what_a_run_is_folded_in(page):
    page.evaluate("location.hash = '#q2_protonet/omniglot-5w5s'")
    page.wait_for_function("document.querySelector('.run:target').open")
    assert page.locator(".run:target .command").is_visible()


def test_a_picture_opens(page):
    page.click("figure img >> nth=0")
    assert page.evaluate("document.querySelector('dialog').open")
    assert page.evaluate("document.querySelector('dialog img').naturalWidth > 0")


def test_the_page_prints(browser, report_page):
    with browser.new_page() as page:
        page.goto(report_page)
        assert page.pdf(format="A4").count(b"/Type /Page\n") > 5

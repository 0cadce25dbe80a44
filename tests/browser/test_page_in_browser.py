"""The report as a browser shows it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pages import NO_WEBGL, PATIENCE, Browser, until, write_page
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from drgnalign.cli import main
from drgnalign.formats.star import read_star

pytestmark = pytest.mark.slow

CELL = "figure[data-map='{}']"


# The element of a kind that stands in a label which begins with a text, in a section
CONTROL = """
    const labels = [...document.querySelectorAll(arguments[0] + ' label')];
    const control = labels.find((one) => one.textContent.startsWith(arguments[1])).querySelector(arguments[2]);
    control.value = arguments[3];
    for (const kind of ['input', 'change']) control.dispatchEvent(new Event(kind));"""


def set_slider(page: Browser, section: str, name: str, value: float) -> None:
    """As if it was drawn to a value and let go."""
    page.execute_script(CONTROL, section, name, "input", value)


def choose(page: Browser, section: str, name: str, value: str) -> None:
    page.execute_script(CONTROL, section, name, "select", value)


def triangles(page: Browser, name: str) -> int:
    return int(page.execute_script(f"return document.querySelector(`{CELL.format(name)}`).dataset.triangles"))


def colours(page: Browser, canvas: str) -> int:
    """How many different pixels a canvas has."""
    script = """
        const shown = document.querySelector(arguments[0]);
        const copy = Object.assign(document.createElement('canvas'), {width: shown.width, height: shown.height});
        copy.getContext('2d').drawImage(shown, 0, 0);
        const {data} = copy.getContext('2d').getImageData(0, 0, copy.width, copy.height);
        return new Set(new Uint32Array(data.buffer)).size;"""
    return int(page.execute_script(script, canvas))


def complaints(page: Browser) -> list[dict[str, Any]]:
    return [entry for entry in page.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def test_nothing_is_asked_of_a_network_and_nothing_goes_wrong(page: Browser) -> None:
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert urls and all(url.split(":")[0] in ("file", "data", "blob") for url in urls), urls
    policy = page.execute_script("return document.querySelector('meta[http-equiv=Content-Security-Policy]').content")
    assert "default-src 'none'" in policy and "http" not in policy
    assert not complaints(page)
    # the policy holds: a script that asks is refused
    asked = "return fetch('http://127.0.0.1:9/').then(() => 'answered', (error) => error.name)"
    assert page.execute_script(asked) == "TypeError"
    assert any("Content Security Policy" in entry["message"] for entry in page.get_log("browser"))


def test_surfaces_follow_contour_round_and_colour(page: Browser) -> None:
    names = [cell.get_attribute("data-map") for cell in page.find_elements(By.CSS_SELECTOR, "#maps figure.dr-cell")]
    assert names == ["consensus", "cluster 1", "cluster 2", "along the motion", "along PC1"]
    before = triangles(page, "cluster 1")
    assert before > 100 and colours(page, "#maps .dr-canvas") > 50
    set_slider(page, "#maps", "Contour", 2)
    until(page, f"document.querySelector(`{CELL.format('cluster 1')}`).dataset.triangles != {before}")
    assert 0 < triangles(page, "cluster 1") < before
    set_slider(page, "#maps", "Contour", 1)
    until(page, f"document.querySelector(`{CELL.format('cluster 1')}`).dataset.triangles == {before}")
    choose(page, "#maps", "Colour by", "difference")
    assert "Blue: less" in page.find_element(By.CSS_SELECTOR, "#maps .dr-legend").text
    choose(page, "#maps", "Colour by", "resolution")
    # one scale for both clusters, whose local resolutions are around 12 and 18 Å
    legend = page.find_element(By.CSS_SELECTOR, "#maps .dr-legend").text
    low, high = map(float, re.findall(r"([\d.]+) Å", legend))
    assert legend.startswith("Local resolution from") and low < 12 and high > 18
    choose(page, "#maps", "Colour by", "cluster")
    set_slider(page, "#maps", "Round", 0)
    until(page, "document.querySelectorAll('#maps figure.dr-cell').length == 1")
    set_slider(page, "#maps", "Round", 2)
    until(page, "document.querySelectorAll('#maps figure.dr-cell[data-triangles]').length == 5")
    assert not complaints(page)


def test_cameras_are_linked_and_obey_the_keyboard(page: Browser) -> None:
    grid = page.find_element(By.CSS_SELECTOR, "#maps .dr-grid")
    snapshot = "return document.querySelector('#maps .dr-canvas').toDataURL()"
    before = page.execute_script(snapshot)
    page.execute_script("arguments[0].focus()", grid)
    grid.send_keys(Keys.ARROW_LEFT)
    until(page, f"document.querySelector('#maps .dr-canvas').toDataURL() !== {json.dumps(before)}")
    grid.send_keys("0")
    until(page, f"document.querySelector('#maps .dr-canvas').toDataURL() === {json.dumps(before)}")


def test_the_film_runs(page: Browser) -> None:
    said = "document.querySelector(`figure[data-map='along PC1'] output`).textContent"
    play = page.find_element(By.XPATH, "//figure[@data-map='along PC1']//button")
    page.execute_script("arguments[0].click()", play)
    until(page, f"{said} === '3 of 6'")
    page.execute_script("arguments[0].click()", play)
    assert play.text == "Play"


def test_a_film_shows_the_contour_that_is_asked_for_in_every_frame(page: Browser) -> None:
    """Frames that are not seen are not made at once."""
    film = CELL.format("along PC1")
    drawn = f"""(() => {{
        const find = (at) => document.querySelector(at);
        const found = ['#maps .dr-canvas', '#maps .dr-grid', `{film} .dr-window`].map(find);
        const [canvas, whole, place] = [found[0], ...found.slice(1).map((one) => one.getBoundingClientRect())];
        const copy = document.createElement('canvas').getContext('2d');
        copy.drawImage(canvas, whole.left - place.left, whole.top - place.top, whole.width, whole.height);
        const {{ data }} = copy.getImageData(0, 0, place.width, place.height);
        return data.filter((value, i) => i % 4 === 3 && value).length;
    }})()"""
    frame = f"""(number) => {{
        const input = document.querySelector(`{film} input`);
        input.value = number;
        input.dispatchEvent(new Event('input'));
    }}"""
    page.execute_script(f"({frame})(1)")
    set_slider(page, "#maps", "Contour", 1)
    until(page, f"{drawn} > 100")
    many = page.execute_script(f"return {drawn}")
    for number in (5, 1):
        page.execute_script(f"({frame})({number})")
        set_slider(page, "#maps", "Contour", 3)
        until(page, f"0 < {drawn} && {drawn} < {0.8 * many}")
        page.execute_script(f"({frame})(4)")
        until(page, f"0 < {drawn} && {drawn} < {0.8 * many}")
        set_slider(page, "#maps", "Contour", 1)
        until(page, f"{drawn} >= {0.8 * many}")
    assert not complaints(page)


def test_a_film_of_noise_is_called_so(page: Browser) -> None:
    """The first training's, not the second's."""
    film = "document.querySelector(`figure[data-map='along PC1']`).textContent"
    assert "hardly resemble" not in page.find_element(By.CSS_SELECTOR, CELL.format("along PC1")).text
    set_slider(page, "#maps", "Round", 1)
    until(page, f"{film}.includes('hardly resemble the consensus')")
    set_slider(page, "#maps", "Round", 2)
    until(page, f"!{film}.includes('hardly resemble the consensus')")


def test_the_motion_is_a_film_that_says_what_each_map_is(page: Browser) -> None:
    film = page.find_element(By.CSS_SELECTOR, CELL.format("along the motion"))
    assert "At 10 % of the motion, as of 123 particles: 12.5 Å, blur 7 %" in film.text
    both = ("along the motion", "along PC1")
    first, second = (page.find_element(By.XPATH, f"//figure[@data-map='{name}']//button") for name in both)
    page.execute_script("arguments[0].click()", first)
    until(page, "document.querySelector(\"figure[data-map='along the motion'] output\").textContent === '2 of 2'")
    # one film runs at a time, and moves no other
    page.execute_script("arguments[0].click()", second)
    assert [first.text, second.text] == ["Play", "Stop"]
    page.execute_script("arguments[0].click()", second)
    assert second.text == "Play"


def draw_lasso(page: Browser, left: float, right: float) -> None:
    """Around all between two shares of the plot's width."""
    plot = page.find_element(By.CSS_SELECTOR, "#latent .dr-plot")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    width, height = plot.size["width"], plot.size["height"]
    corners = [(left, 0.03), (right, 0.03), (right, 0.97), (left, 0.97)]
    places = [((x - 0.5) * width, (y - 0.5) * height) for x, y in corners]
    actions = ActionChains(page, duration=50).move_to_element_with_offset(plot, *map(int, places[0])).click_and_hold()
    for x, y in places[1:]:
        actions.move_to_element_with_offset(plot, int(x), int(y))
    actions.release().perform()


def test_a_lasso_selects_in_all_rounds_and_select_gives_these_particles(page: Browser, run: Path) -> None:
    assert colours(page, "#latent .dr-points") > 3
    lasso = page.find_element(By.XPATH, "//section[@id='latent']//button[text()='Lasso']")
    page.execute_script("arguments[0].click()", lasso)
    draw_lasso(page, 0.02, 0.5)
    selected = int(page.execute_script("return document.querySelector('#latent .dr-plot').dataset.selected"))
    # the left half of latent space is cluster 1, all but those that are left out
    row = "return [...document.querySelectorAll('#latent tr[data-label=\"{}\"] td')].map((cell) => cell.textContent)"
    ones, twos = (page.execute_script(row.format(label))[:2] for label in (1, 2))
    assert int(ones[1]) > 250 and int(twos[1]) < 40
    assert int(twos[0]) >= int(twos[1]) + 30  # in the round before, 40 of these had been elsewhere
    download = page.find_element(By.XPATH, "//section[@id='latent']//button[starts-with(text(), 'Download')]")
    page.execute_script("arguments[0].click()", download)
    names = run / "selection.csv"
    end = time.monotonic() + PATIENCE
    while not names.exists() and time.monotonic() < end:
        time.sleep(0.05)
    command = page.find_element(By.CSS_SELECTOR, "#latent .dr-command code").text.split()
    stand_ins = {"round_02/particles.star": run / "pass_3" / "particles.star", "selection.csv": names}
    words = [str(stand_ins.get(word, run / word if word == "selection.star" else word)) for word in command[1:]]
    main(words, standalone_mode=False)
    chosen = read_star(run / "selection.star").table["rlnImageName"].tolist()
    assert chosen == pd.read_csv(names)["rlnImageName"].tolist() and len(chosen) == selected
    page.find_element(By.CSS_SELECTOR, "#latent .dr-plot").send_keys(Keys.ESCAPE)
    assert "No particle" in page.find_element(By.CSS_SELECTOR, "#latent .dr-chosen").text
    page.execute_script("arguments[0].click()", lasso)
    assert not complaints(page)


def test_keys_draw_a_lasso_too(page: Browser) -> None:
    lasso = page.find_element(By.XPATH, "//section[@id='latent']//button[text()='Lasso']")
    page.execute_script("arguments[0].click()", lasso)
    plot = page.find_element(By.CSS_SELECTOR, "#latent .dr-plot")
    far = 40
    # the left half, from the middle over two corners
    words = [Keys.ARROW_UP * far, Keys.ENTER, Keys.ARROW_LEFT * far, Keys.ENTER, Keys.ARROW_DOWN * far, Keys.ENTER]
    plot.send_keys(*words, Keys.ARROW_RIGHT * (far // 4), Keys.ENTER)
    assert plot.get_attribute("data-selected") == "0"
    plot.send_keys(Keys.SPACE)
    assert 200 < int(plot.get_attribute("data-selected")) < 550
    plot.send_keys(Keys.ESCAPE)
    assert plot.get_attribute("data-selected") == "0"
    page.execute_script("arguments[0].click()", lasso)
    assert not complaints(page)


def test_whoever_works_with_keys_stays_where_they_are(page: Browser) -> None:
    key = "return document.activeElement.dataset.key"
    for places, word in (("#maps .dr-chip input", Keys.SPACE), ("#latent .dr-counts button", Keys.ENTER)):
        for _ in range(2):
            page.find_elements(By.CSS_SELECTOR, places)[1].send_keys(word)
            assert page.execute_script(key) == page.find_elements(By.CSS_SELECTOR, places)[1].get_attribute("data-key")
    page.find_element(By.CSS_SELECTOR, "#latent .dr-plot").send_keys(Keys.ESCAPE)
    until(page, "document.querySelectorAll('#maps .dr-cell').length === 5")


def test_umaps_of_other_rounds_and_in_three_dimensions(page: Browser) -> None:
    snapshot = "return document.querySelector('#latent .dr-points').toDataURL()"
    seen = [page.execute_script(snapshot)]
    set_slider(page, "#latent", "Round", 0)
    seen.append(page.execute_script(snapshot))
    choose(page, "#latent", "UMAP in", "3")
    seen.append(page.execute_script(snapshot))
    plot = page.find_element(By.CSS_SELECTOR, "#latent .dr-plot")
    plot.send_keys(Keys.ARROW_LEFT)
    until(page, f"document.querySelector('#latent .dr-points').toDataURL() !== {json.dumps(seen[-1])}")
    seen.append(page.execute_script(snapshot))
    assert len(set(seen)) == 4
    choose(page, "#latent", "UMAP in", "2")
    set_slider(page, "#latent", "Round", 1)
    assert len(page.find_elements(By.CSS_SELECTOR, "#latent .dr-pca circle")) == 6


def test_flow_and_fsc_are_drawn(page: Browser) -> None:
    assert len(page.find_elements(By.CSS_SELECTOR, "#flow-plot rect")) == 6
    words = [text.text for text in page.find_elements(By.CSS_SELECTOR, "#flow-plot text")]
    assert {"round 1", "round 2"} <= set(words)
    captions = [caption.text for caption in page.find_elements(By.CSS_SELECTOR, "#fsc-plots figcaption")]
    assert captions[0] == "cluster 1: 12.00 Å" and "local resolution" in captions[1]
    assert colours(page, "#fsc-plots canvas") > 5
    assert not complaints(page)


def test_a_legend_shows_the_lines_as_they_are_drawn(page: Browser) -> None:
    legend = "[...document.querySelector('#fsc-plots .u-legend').querySelectorAll('.u-series')]"
    labels = page.execute_script(f"return {legend}.map((row) => row.querySelector('.u-label').textContent.trim())")
    assert labels == ["", "unmasked", "masked", "phases randomised", "corrected"]
    dashes = f"return {legend}.slice(1).map((row) => row.querySelector('.u-marker').style.background)"
    assert len({sample.split("dasharray")[1] for sample in page.execute_script(dashes)}) == 4


def test_the_points_of_latent_space_fill_their_panel(page: Browser) -> None:
    script = """
        const shown = document.querySelector('#latent .dr-points');
        const {data, width, height} = shown.getContext('2d').getImageData(0, 0, shown.width, shown.height);
        const inked = [...data.keys()].filter((i) => i % 4 === 3 && data[i]).map((i) => (i - 3) / 4);
        const extreme = (values, which) => values.reduce((found, one) => which(found, one));
        const span = (values) => extreme(values, (a, b) => Math.max(a, b)) - extreme(values, (a, b) => Math.min(a, b));
        return [span(inked.map((i) => i % width)) / width, span(inked.map((i) => Math.floor(i / width))) / height];"""
    # of which they are twice as wide as high
    assert all(0.8 < share <= 1 for share in page.execute_script(script))


def test_the_film_says_what_it_is(page: Browser) -> None:
    film = page.find_element(By.CSS_SELECTOR, CELL.format("along PC1"))
    assert "have no resolution" in film.text
    window, play = (film.find_element(By.CSS_SELECTOR, part).rect for part in (".dr-window", "button"))
    assert play["x"] >= window["x"] + window["width"] and play["y"] < window["y"] + window["height"]


def test_paper_has_the_maps_in_their_places(page: Browser) -> None:
    width = "return document.querySelector('#fsc-plots .uplot canvas').clientWidth"
    before = page.execute_script(width)
    page.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})
    assert all(colours(page, f"{CELL.format(name)} .dr-paper") > 10 for name in ("consensus", "cluster 1", "along PC1"))
    until(page, f"(() => {{ {width} }})() === {before}")
    assert not complaints(page)


def test_a_narrow_window_can_be_read(page: Browser) -> None:
    page.set_window_size(500, 900)
    try:
        until(page, "innerWidth < 600")
        wide = """
            const parts = [...document.querySelectorAll('#maps *, #latent *, #flow-plot *, #fsc-plots *')];
            const scrolled = parts.filter((one) => !one.closest('.dr-counts'));
            const beyond = scrolled.filter((one) => one.getBoundingClientRect().right > innerWidth + 1);
            return beyond.map((one) => one.outerHTML.slice(0, 80));"""
        until(page, "document.documentElement.scrollWidth <= innerWidth + 1")
        assert page.execute_script(wide) == []
    finally:
        page.set_window_size(1200, 900)


def test_the_first_screen_holds_long_names_and_buttons_in_one_line(page: Browser) -> None:
    script = """
        const [column, button] = ['.facts li', '.command button'].map((one) => document.querySelector(one));
        const place = column.closest('.facts > div');
        const path = place.querySelector('ul, ol').appendChild(document.createElement('li'));
        path.textContent = '/long'.repeat(100);
        const beyond = path.scrollWidth > path.clientWidth || place.scrollWidth > place.clientWidth;
        path.remove();
        return [beyond, button.textContent, button.getBoundingClientRect().height];"""
    beyond, text, height = page.execute_script(script)
    assert not beyond and text == "Copy" and height < 40


def clusters(*labels: int) -> list[str]:
    return [f"cluster_{label:02d}" for label in labels]


# maps that are shown, surfaces that are offered, bars of the label flow
RUNS = {
    "no rounds": ({0: ["consensus"]}, 1, 1, 0),
    "no cluster": ({0: ["consensus"], 1: []}, 1, 1, 2),
    "one cluster": ({0: ["consensus"], 1: clusters(1)}, 3, 2, 2),
    "one that vanished": ({0: ["consensus"], 1: clusters(1, 2, 3), 2: clusters(1, 3)}, 5, 3, 7),
    "fifty": ({0: ["consensus"], 1: clusters(*range(1, 51))}, 10, 51, 51),
}


@pytest.mark.parametrize(("names", "shown", "offered", "bars"), RUNS.values(), ids=RUNS)
def test_runs_of_all_kinds(
    page: Browser, run: Path, tmp_path: Path, names: dict[int, list[str]], shown: int, offered: int, bars: int
) -> None:
    page.get(write_page(tmp_path, names).as_uri())
    try:
        until(page, "document.documentElement.dataset.ready")
        parts = (".dr-cell", ".dr-chip input", "#flow-plot rect")
        assert [len(page.find_elements(By.CSS_SELECTOR, part)) for part in parts] == [shown, offered, bars]
        until(page, "[...document.querySelectorAll('.dr-cell')].every((cell) => cell.dataset.triangles > 0)")
        assert not complaints(page) and not page.find_elements(By.CSS_SELECTOR, "[role=alert]")
    finally:
        page.get((run / "report" / "report.html").as_uri())
        until(page, "document.documentElement.dataset.ready")


def test_where_the_card_is_taken_away_slices_take_the_surfaces_place(start: Callable[..., Browser]) -> None:
    page = start()
    card = "document.querySelector('#maps .dr-canvas').getContext('webgl2')"
    page.execute_script(f"{card}.getExtension('WEBGL_lose_context').loseContext()")
    until(page, "document.querySelectorAll('#maps .dr-slice').length >= 9")
    assert page.execute_script("return document.querySelector('#maps .dr-canvas').hidden")
    assert not page.execute_script("return document.querySelectorAll('[role=alert]').length")
    # and a round's maps are shown so, too
    set_slider(page, "#maps", "Round", 0)
    until(page, "document.querySelectorAll('#maps .dr-slice').length === 3")


def test_a_browser_that_is_too_old_is_told_so(start: Callable[..., Browser]) -> None:
    page = start()
    page.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": "delete globalThis.DecompressionStream"})
    page.refresh()
    until(page, "document.documentElement.dataset.ready")
    said = [alert.text for alert in page.find_elements(By.CSS_SELECTOR, "[role=alert]")]
    assert len(said) == 2 and all("lacks DecompressionStream" in text for text in said)
    # what stands there for those without surfaces is there
    assert page.find_element(By.CSS_SELECTOR, "#maps .fallback").is_displayed()
    assert not page.find_elements(By.CSS_SELECTOR, "#maps .dr-grid")


def test_without_webgl_there_are_slices(start: Callable[..., Browser]) -> None:
    page = start(*NO_WEBGL)
    assert page.find_element(By.CSS_SELECTOR, "#maps .dr-viewer").get_attribute("data-webgl") == "no"
    assert len(page.find_elements(By.CSS_SELECTOR, "#maps .dr-slice")) == 3 * 5
    before = colours(page, "#maps .dr-slice")
    assert before > 10
    assert "no WebGL" in page.find_element(By.CSS_SELECTOR, "#maps .dr-legend").text
    assert not complaints(page)

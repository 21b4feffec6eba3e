import io
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from lensblend.comparison.runs import Entry
from lensblend.comparison.studies import plots
from lensblend.comparison.studies.analysis import Analysed
from lensblend.inference import figures


def run(label, maps=("W0 · photo", "W1 · gaussian 25", "W2 · gaussian 75"), phase="phase1", focus=0.8):
    near_to_far = np.linspace(0.8, 0.2, 5)
    values = {f"w{i}_fifth{j + 1}": np.full(3, (1 - w) / (len(maps) - 1)) for i in range(1, len(maps)) for j, w in
              enumerate(near_to_far)}  # fmt: skip
    values |= {f"w0_fifth{j + 1}": np.full(3, w) for j, w in enumerate(near_to_far) if maps}
    if maps:
        values |= {"w0_focus": np.array([0.8, 0.9, 0.7]), "w0_background": np.array([0.2, 0.3, 0.1])}
    values |= {"sharpness_focus": focus + np.array([0, 0.1, -0.1]), "sharpness_background": np.array([0.4, 0.5, 0.3])}
    values |= {"target_sharpness_focus": np.ones(3), "target_sharpness_background": np.full(3, 0.2)}
    return Analysed(label, Entry(Path(label), phase, {"kernels": list(maps)}), tuple(maps), values)


RUNS = [run("gaussian_25_75"), run("gaussian_75 · phase2", ("W0 · photo", "W1 · gaussian 75"), "phase2", 0.6)]


def opened(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image.convert("RGB"))


def has(picture, colour, least=50):
    red_green_blue = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return (np.abs(picture.astype(int) - red_green_blue).max(axis=2) <= 2).sum() >= least


def test_weights_by_depth_stacks_each_copy_in_its_colour_as_high_as_its_mean():
    picture = opened(plots.weights_by_depth_plot(RUNS[:1]))
    colours = plots._colours(["photo", "gaussian 25", "gaussian 75"])
    assert all(has(picture, colour, 1000) for colour in colours.values())
    # The photo's share is that of W0 over all fifths, one half; the legend's patch adds a little.
    areas = [(np.abs(picture.astype(int) - [int(c[i : i + 2], 16) for i in (1, 3, 5)]).max(axis=2) <= 2).sum() for c in
             colours.values()]  # fmt: skip
    assert areas[0] / sum(areas) == pytest.approx(0.5, abs=0.03)
    assert areas[1] == pytest.approx(areas[2], rel=0.1)


def test_the_colour_of_a_copy_is_darker_the_more_it_is_blurred():
    names = ["gaussian 75", "photo", "gaussian 5", "gaussian 25"]
    colours = plots._colours(names)
    assert list(colours) == ["photo", "gaussian 5", "gaussian 25", "gaussian 75"]
    light = [sum(w * int(c[i : i + 2], 16) for w, i in ((0.3, 1), (0.6, 3), (0.1, 5))) for c in colours.values()]
    assert light == sorted(light, reverse=True)


def test_focus_and_sharpness_draw_every_run():
    # Short names: their letters alone are too few pixels of a colour.
    runs = [replace(one, label=name) for one, name in zip(RUNS, "ij", strict=True)]
    for plot in (plots.focus_plot, plots.sharpness_plot):
        picture = opened(plot(runs))
        assert 500 < picture.shape[1] < 2000
        assert 150 < picture.shape[0] < 1500
        assert has(picture, plots.COLOURS[0], 100)
        assert has(picture, plots.COLOURS[1], 100)


def test_names_of_points_that_lie_together_do_not_cover_each_other():
    taken, size, frame = [np.array([491.0, 291.0, 509.0, 309.0])], (200.0, 16.0), (0.0, 0.0, 1000.0, 600.0)
    for _ in range(12):
        x, y = figures._free_place(np.array([500.0, 300.0]), size, frame, taken)
        box = np.array([500 + x, 300 + y - 8, 700 + x, 300 + y + 8])
        assert box.min() > 0
        assert box[2] < 1000
        assert all(box[0] > t[2] or box[2] < t[0] or box[1] > t[3] or box[3] < t[1] for t in taken)
        taken.append(box)


def test_maps_are_drawn_on_one_grey_scale():
    photo = np.full((48, 64, 3), (200, 30, 40), np.uint8)
    target = np.full((48, 64, 3), (20, 130, 40), np.uint8)
    bokeh = np.full((48, 64, 3), (20, 30, 240), np.uint8)
    # Were each map stretched to its own range, neither grey would be seen.
    maps = {"W0": np.full((24, 32), 64, np.uint8), "W1": np.full((24, 32), 191, np.uint8)}
    picture = opened(plots.maps_plot("image", photo, target, [("run", bokeh, maps), ("bare", bokeh, {})]))
    cell = plots.CELL_WIDTH * figures.DOTS_PER_INCH
    for colour, count in (("#c81e28", 1), ("#148228", 1), ("#141ef0", 2), ("#404040", 1), ("#bfbfbf", 1)):
        assert has(picture, colour, count * 0.85 * cell * cell * 0.75)
    assert picture.shape[1] == pytest.approx(3 * cell, rel=0.05)
    without = opened(plots.maps_plot("image", photo, target, [("bare", bokeh, {})]))
    assert without.shape[1] == pytest.approx(2 * cell, rel=0.05)


def test_plots_leave_the_settings_of_other_plots_alone():
    with matplotlib.rc_context({"font.size": 13.0, "text.parse_math": True}):
        before = dict(matplotlib.rcParams)
        plots.sharpness_plot(RUNS)
        assert dict(matplotlib.rcParams) == before


def test_a_name_is_text_whatever_it_contains():
    odd = r"$\nothing{ _^$ <b>"
    assert plots.sharpness_plot([run(odd)])
    assert plots.weights_by_depth_plot([run(odd)])

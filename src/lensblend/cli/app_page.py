"""The page of ``lensblend demo-app``: a photo in, its rendering beside it under one slider, and the file to keep."""

# Gradio reads the annotations of what it calls, so that they are not put off here; it is imported where it is needed.
import html
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lensblend.cli.app_sessions import Session, Sessions
from lensblend.cli.app_studio import F_NUMBERS, STRENGTHS, Studio, Wish, in_the_apps_words, shown
from lensblend.data.listing import SUFFIXES
from lensblend.errors import LensblendError, printable

AS_EVER, BY_STRENGTH, BY_F_NUMBER = "default", "strength", "f-number"
_CLICK = "Click into the photo: what lies there will be in focus."
_NO_CLICK = "The model finds what is in focus. A click checks whether a point is."
CSS = """
.gradio-container { max-width: 1320px !important; margin: 0 auto !important; }
#title h1 { margin-bottom: 0.1rem; }
#hint p, #said p, #legend p { margin: 0; }
#result, #result .empty { min-height: 26rem; }
#maps .grid-container { grid-template-columns: repeat(5, 1fr) !important; }
#maps .grid-wrap { min-height: 0; max-height: none; height: auto; }
footer { display: none !important; }
"""


def theme() -> Any:
    """Return the page's look, in the fonts of the visitor's own machine."""
    import gradio as gr

    return gr.themes.Default(
        primary_hue="blue",
        neutral_hue="slate",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    )


class Handlers:
    """What happens when a visitor, told by a key, drops a photo, clicks into it, or asks for a rendering.

    Args:
        studio: Renders.
        sessions: Keep the photos.
    """

    def __init__(self, studio: Studio, sessions: Sessions) -> None:
        self._studio, self._sessions = studio, sessions

    def take(self, key: str, upload: Any) -> list[Any]:
        """Take over an upload: show it, and clear what was shown of the one before."""
        import gradio as gr

        with _answered():
            session = self._sessions.begin(key, Path(upload or ""))
        with self._working(session):
            size, preview = self._preview(session)
        said = f"{size[1]} × {size[0]} pixels, {size[0] * size[1] / 1e6:.1f} megapixels."
        hidden = gr.update(visible=False)
        start = [
            None,
            gr.update(visible=True),
            gr.update(value=str(preview), visible=True),
            gr.update(interactive=True),
        ]
        return [*start, said, hidden, None, hidden, hidden, hidden]

    def aim(self, key: str, index: Any) -> list[Any]:
        """Remember the point that was clicked, right and down in pixels of what is shown; draw a ring around it."""
        import gradio as gr

        with _answered():
            session = self._sessions.of(key)
        with self._working(session):
            session.focus = Wish(focus=self._point(session, index)).focus
            _, preview = self._preview(session)
        x, y = session.focus or (0.0, 0.0)
        return [str(preview), f"In focus: {x:.0%} from the left, {y:.0%} from the top.", gr.update(visible=True)]

    def unaim(self, key: str) -> list[Any]:
        """Forget the point."""
        import gradio as gr

        with _answered():
            session = self._sessions.of(key)
        with self._working(session):
            session.focus = None
            _, preview = self._preview(session)
        return [str(preview), "The model chooses what is in focus.", gr.update(visible=False)]

    def render(self, key: str, way: Any, strength: Any, f_number: Any, advance: Callable[..., None]) -> list[Any]:
        """Render the photo as `lensblend.cli.app_studio.Studio.render` does, and show what came of it.

        Args:
            key: Of the visitor.
            way: Which of the sliders counts.
            strength: Of its slider.
            f_number: Of its slider.
            advance: Is told how large a share is done, and what is being done.
        """
        import gradio as gr

        advance(0.0, "Waiting for the photo")
        with _answered():
            session = self._sessions.of(key)
        with self._working(session):
            wish = Wish(
                strength if way == BY_STRENGTH else None, f_number if way == BY_F_NUMBER else None, session.focus
            )
            advance(0.02, "Rendering")
            bokeh, maps = self._studio.render(
                session.photo, wish, lambda part: advance(0.02 + 0.88 * part, "Rendering")
            )
            advance(0.9, "Preparing the pictures")
            sides = [self._shown(session, session.photo, "photo.jpg"), self._shown(session, bokeh, "bokeh.jpg")]
            pictures = [(str(self._shown(session, file, "map.png")), name) for name, file in maps.items()]
            self._sessions.list(session, [bokeh])
        return [
            f"Rendered at the photo's own size: {bokeh.stat().st_size / 1e6:.1f} MB.",
            (str(sides[0]), str(sides[1])),
            gr.update(visible=bool(pictures)),
            gr.update(value=pictures, visible=bool(pictures)),
            gr.update(value=str(bokeh), label=f"Download {bokeh.name}", visible=True),
        ]

    def forget(self, key: str) -> None:
        """Delete the photo of a visitor who has left."""
        self._sessions.forget(key)

    def _point(self, session: Session, index: Any) -> tuple[float, float]:
        """Return a click into the preview as shares of its width and height."""
        from lensblend.data.images import read_size

        height, width = read_size(self._shown(session, session.photo, "size.jpg"))
        try:
            x, y = (float(number) for number in index)
        except (TypeError, ValueError):
            x = y = -1.0
        return (x + 0.5) / width, (y + 0.5) / height

    def _preview(self, session: Session) -> tuple[tuple[int, int], Path]:
        file = session.fresh("preview.jpg")
        size = shown(session.photo, file, self._studio.max_pixels, session.focus)
        self._sessions.list(session, [file])
        return size, file

    def _shown(self, session: Session, picture: Path, name: str) -> Path:
        file = session.fresh(name)
        shown(picture, file, self._studio.max_pixels)
        self._sessions.list(session, [file])
        return file

    @contextmanager
    def _working(self, session: Session) -> Iterator[None]:
        """Hold a session while something is made of its photo; what goes wrong is said to the visitor."""
        with session.lock, _answered(session.photo):
            yield


@contextmanager
def _answered(photo: Path | None = None) -> Iterator[None]:
    """Say to the visitor what went wrong, as text and not as markup."""
    try:
        yield
    except LensblendError as error:
        message = str(error) if photo is None else in_the_apps_words(str(error), photo)
        import gradio as gr

        raise gr.Error(html.escape(printable(message)), print_exception=False) from error


def page(studio: Studio, sessions: Sessions, queue: int, about: str) -> Any:
    """Lay out the page and connect it, as Gradio's ``Blocks``.

    Args:
        studio: Renders.
        sessions: Keep the photos.
        queue: How many requests wait at most.
        about: What renders, for the head of the page.
    """
    import gradio as gr

    ways = [AS_EVER, BY_STRENGTH, *([BY_F_NUMBER] if studio.takes_f_numbers or studio.focuses else [])]
    with gr.Blocks(title="lensblend", analytics_enabled=False) as blocks:
        gr.Markdown(f"# lensblend\n{html.escape(about)}", elem_id="title")
        with gr.Row():
            with gr.Column(scale=2, min_width=372):
                photo = gr.File(
                    label="Drop a photo", file_types=list(SUFFIXES), type="filepath", height=150, elem_id="photo"
                )
                hint = gr.Markdown(_CLICK if studio.focuses else _NO_CLICK, visible=False, elem_id="hint")
                preview = gr.Image(
                    interactive=False, type="filepath", show_label=False, visible=False, buttons=[], elem_id="preview"
                )
                unaim = gr.Button("Forget the focus", size="sm", visible=False, elem_id="unaim")
                way = gr.Radio(ways, value=AS_EVER, label="How wide the blur is", elem_id="way")
                strength = gr.Slider(
                    *STRENGTHS, value=1.0, step=0.05, label="Strength", info="2 is twice as wide", visible=False,
                    elem_id="strength",
                )  # fmt: skip
                f_number = gr.Slider(
                    *F_NUMBERS, value=2.0, step=0.1, label="f-number", info="full frame", visible=False,
                    elem_id="f-number",
                )  # fmt: skip
                go = gr.Button("Render", variant="primary", interactive=False, elem_id="go")
                said = gr.Markdown("", elem_id="said")
            with gr.Column(scale=5, min_width=420):
                slider = gr.ImageSlider(
                    label="Photo and bokeh", interactive=False, type="filepath", max_height=720,
                    buttons=["fullscreen"], elem_id="result",
                )  # fmt: skip
                download = gr.DownloadButton("Download", visible=False, elem_id="download")
                legend = gr.Markdown(
                    "What each blurred copy contributes (white: all); depth, where there is one (white: nearest).",
                    visible=False, elem_id="legend",
                )  # fmt: skip
                maps = gr.Gallery(
                    show_label=False, columns=5, height="auto", interactive=False, visible=False,
                    object_fit="contain", buttons=["fullscreen"], elem_id="maps",
                )  # fmt: skip
        results = [slider, legend, maps, download]
        taken, aimed = [photo, hint, preview, go, said, unaim, *results], [preview, said, unaim]
        _connect(
            Handlers(studio, sessions),
            blocks,
            (photo, preview, unaim, go),
            (taken, aimed, [said, *results]),
            [way, strength, f_number],
        )
        way.change(
            _sliders, [way], [strength, f_number], concurrency_limit=None, show_progress="hidden",
            api_visibility="private",
        )  # fmt: skip
    return blocks.queue(max_size=queue, default_concurrency_limit=1, api_open=False)


def _sliders(way: str) -> list[Any]:
    """Show the slider that belongs to a choice of how wide the blur is."""
    import gradio as gr

    return [gr.update(visible=way == BY_STRENGTH), gr.update(visible=way == BY_F_NUMBER)]


def _connect(handlers: Handlers, blocks: Any, parts: Any, shown_in: Any, wish: Any) -> None:
    """Connect the page's parts with what happens; one photo at a time is worked on.

    Args:
        handlers: What happens.
        blocks: The page.
        parts: Where a photo is dropped, where it is shown, what forgets the focus, what renders.
        shown_in: What an upload, a click, and a rendering change.
        wish: The choice of how wide the blur is, and its sliders.
    """
    import gradio as gr

    photo, preview, unaim, go = parts
    taken, aimed, rendered = shown_in
    told = gr.Progress()

    def take(upload: Any, request: gr.Request) -> list[Any]:
        return handlers.take(_key(request), upload)

    def aim(event: gr.SelectData, request: gr.Request) -> list[Any]:
        return handlers.aim(_key(request), event.index)

    def forget_focus(request: gr.Request) -> list[Any]:
        return handlers.unaim(_key(request))

    def render(way: Any, strength: Any, f_number: Any, request: gr.Request, progress: gr.Progress = told) -> list[Any]:
        return handlers.render(_key(request), way, strength, f_number, lambda part, what: progress(part, desc=what))

    def leave(request: gr.Request) -> None:
        handlers.forget(_key(request))

    one: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "photos", "api_visibility": "private"}
    photo.upload(take, [photo], taken, **one)
    preview.select(aim, None, aimed, **one)
    unaim.click(forget_focus, None, aimed, **one)
    go.click(render, wish, rendered, show_progress_on=rendered[1], **one)
    blocks.unload(leave)


def _key(request: Any) -> str:
    return str(request.session_hash)

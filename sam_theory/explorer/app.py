"""The explorer as a marimo notebook; what it computes and draws is in the modules beside it."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="sam_theory explorer")


@app.cell
def imports():
    import time

    import marimo as mo

    from sam_theory.explorer import model, page, sources

    def slider(steps, value, label):
        return mo.ui.slider(
            steps=list(steps), value=value, label=label, show_value=True, full_width=True
        )

    def dropdown(options, value, label):
        return mo.ui.dropdown(options, value=value, label=label, full_width=True)

    return dropdown, mo, model, page, slider, sources, time


@app.cell
def heading(mo, page):
    mo.Html(page.HEADING)
    return


@app.cell
def origin(dropdown, mo, sources):
    _request = mo.app_meta().request
    given = sources.given({} if _request is None else dict(_request.meta))
    source = dropdown(
        ["generated", "my CSV file"],
        "generated" if given is None else "my CSV file",
        "data",
    )
    upload = mo.ui.file(filetypes=[".csv"], max_size=20_000_000, label="CSV with a header")
    return given, source, upload


@app.cell
def columns_of_file(dropdown, given, mo, slider, sources, upload):
    file = given
    if upload.value:
        file = sources.File(upload.value[0].name, upload.value[0].contents)
    _names = sources.columns(file)
    _target = None if file is None else file.target
    target = dropdown(list(_names), _target if _target in _names else None, "labels are in")
    held_out = slider(sources.HELD_OUT, 0.0, "share of rows held out")
    standardize = mo.ui.checkbox(label="centre and scale")
    return file, held_out, standardize, target


@app.cell
def sliders_of_data(dropdown, slider, sources):
    size = dropdown({f"{n} x {d}": (n, d) for n, d in sources.SIZES}, "20 x 30", "rows x columns")
    nonzeros = slider(range(1, 21), 3, "nonzeros")
    noise = slider(sources.NOISES, 0.0, "noise")
    correlation = slider(sources.CORRELATIONS, 0.0, "correlation of columns ρₓ")
    seed = slider(range(100), 0, "seed")
    return correlation, noise, nonzeros, seed, size


@app.cell
def problem_of_file(file, held_out, source, sources, standardize, target):
    own = source.value != "generated"
    from_file = sources.uploaded(
        file if own else None, target.value, standardize=standardize.value, held_out=held_out.value
    )
    return from_file, own


@app.cell
def algorithms(dropdown, model):
    _kinds = {name: kind for kind, name in model.NAMES.items()}
    first = dropdown(_kinds, "1-SAM", "algorithm")
    second = dropdown(_kinds, "n-SAM", "beside it")
    return first, second


@app.cell
def sliders_of_blocks(from_file, model, own, size, slider):
    _n = size.value[0] if not own else (1 if from_file.data is None else from_file.data.n)
    _blocks = model.divisors(_n)
    m = slider(_blocks, _blocks[len(_blocks) // 2], "m") if _blocks else None
    second_m = slider(_blocks, _blocks[0], "m beside it") if _blocks else None
    return m, second_m


@app.cell
def sliders_of_scale(model, slider):
    alpha = slider(model.ALPHAS, 0.1, "initial scale α")
    rho = slider(model.RHOS, 0.1, "radius ρ")
    return alpha, rho


@app.cell
def controls(
    alpha, correlation, first, held_out, m, mo, noise, nonzeros, own, page, rho, second, second_m,
    seed, size, source, standardize, target, upload,
):  # fmt: skip
    _data = [upload, target, held_out, standardize] if own else [
        size, nonzeros, noise, correlation, seed
    ]  # fmt: skip
    _blocks = [
        block
        for kind, block in ((first.value, m), (second.value, second_m))
        if kind == "m-sam" and block is not None
    ]
    mo.Html(page.grid([alpha, rho, first, second, *_blocks]) + page.grid([source, *_data]))
    return


@app.cell
def preparing(mo, model, page):
    with mo.status.spinner(page.PREPARING):
        model.prepare()
    ready = True
    return (ready,)


@app.cell
def problem_to_solve(correlation, from_file, noise, nonzeros, own, seed, size, sources):
    problem = from_file
    if not own:
        problem = sources.generated(
            *size.value,
            nonzeros=nonzeros.value,
            noise=noise.value,
            correlation=correlation.value,
            seed=seed.value,
        )
    return (problem,)


@app.cell
def results(alpha, first, m, mo, model, page, problem, ready, rho, second, second_m, time):
    assert ready
    _choices = model.beside(
        model.chosen(first.value, None if m is None else m.value),
        model.chosen(second.value, None if second_m is None else second_m.value),
    )

    _work = model.Work(problem, _choices, alpha=alpha.value, rho=rho.value)

    def _show(found):
        return mo.Html(page.results(problem, found, alpha.value))

    def _follow():
        # Ends soon after a slider has moved again: the cell is run anew, and its threads are told.
        _thread = mo.current_thread()
        if _work.run(lambda: _thread.should_exit):
            time.sleep(model.TURN)
            if not _thread.should_exit:
                mo.output.replace(_show(_work.found()))

    mo.Thread(target=_follow, daemon=True).start()
    _show(_work.first())
    return


if __name__ == "__main__":
    app.run()

"""``unsee bench``: grids of data, rules, methods and seeds, their tables and pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from unsee.cli import _flags as flags
from unsee.cli._app import app
from unsee.cli._guard import say
from unsee.errors import OptionError, RunError

if TYPE_CHECKING:  # loads torch
    from unsee.benchmark.checking import Checked

OUTSIDE = 3
FORMATS = ("text", "markdown", "csv")
bench = typer.Typer(
    rich_markup_mode=None,
    help="Measure many methods on equal terms, and put them into tables and pictures.",
)
app.add_typer(bench, name="bench")

GridFile = Annotated[str, Argument(metavar="GRID.toml", help="The grid: see docs/benchmarks.md.")]
Results = Annotated[str, Argument(metavar="RESULTS", help="The folder of a grid's results.")]
Where = Annotated[
    str | None,
    Option("--results", metavar="DIR", help="Result files; else results/GRID beside the grid."),
]
Work = Annotated[
    str, Option("--work", metavar="DIR", help="Models that cells share, and run folders.")
]
Only = Annotated[
    list[str] | None,
    Option("--only", metavar="TEXT", help="Cells whose names hold this; repeatable."),
]
Jobs = Annotated[int, Option("--jobs", metavar="N", help="Processes side by side; 0: one a core.")]


def _places(grid: str, results: str | None, work: str) -> tuple[Path, Path]:
    path = Path(grid)
    return Path(results or path.parent / "results" / path.stem), Path(work) / path.stem


@bench.command("run")
def bench_run(
    grid: GridFile,
    results: Where = None,
    work: Work = "runs/bench",
    only: Only = None,
    jobs: Jobs = 0,
    again: Annotated[bool, Option("--again", help="Measure cells that failed once more.")] = False,
    keep: Annotated[
        bool, Option("--keep", help="Leave the run folders, with reports and models.")
    ] = False,
    portable: Annotated[
        bool,
        Option("--portable", help="With AVX2 and in float32, as all but old x86 can."),
    ] = False,
    backend: flags.Backend = "loky",
    address: flags.Address = None,
    quiet: flags.Quiet = False,
) -> None:
    """Measure the cells of a grid that are not there yet, each a run of its own.

    A stopped call goes on when it is given again. A cell that fails is written down with its
    reason, and the others go on.
    """
    from unsee import machine

    with machine.kept_to(machine.PORTABLE if portable else ""):  # before torch is loaded
        from unsee import console, parallel
        from unsee.benchmark import running

        asked = running.read_grid(Path(grid))
        place, scratch = _places(grid, results, work)
        with console.progress(quiet=quiet), parallel.spread(backend, address):
            done = running.bench(
                asked, place, scratch, jobs=jobs, only=only or (), again=again, keep=keep
            )
    counts = f"{done.measured} measured, {done.there} there before, {len(done.failed)} failed"
    print(f"cells: {counts}; {done.left} not there, or of other settings or code")
    if done.unsuited:
        print(f"  {done.unsuited} of methods for whole classes alone, and not asked")
    for told in done.failed:
        print(f"  {console.printable(told)}")
    if len(done.used) > 1:
        print(
            f"computed with {' and '.join(done.used)}: figures differ by that, too; cells that are "
            "all computed with --portable agree"
        )
    if done.strange:
        named = ", ".join(map(console.printable, done.strange[:3]))
        print(
            f"{len(done.strange)} results in {place} are of no cell of this grid and stand in its "
            f"tables: delete them, such as {named}"
        )
    print(f"next    unsee bench table {place}")


@bench.command("table")
def bench_table(
    results: Results,
    format_: Annotated[
        str, Option("--format", metavar="KIND", help="text, markdown or csv.")
    ] = "text",
    out: Annotated[
        str | None, Option("--out", metavar="FILE", help="Write it instead of printing it.")
    ] = None,
    page: Annotated[
        str | None,
        Option("--page", metavar="FILE", help="Put the Markdown between this page's markers."),
    ] = None,
    force: flags.ForceFile = False,
) -> None:
    """Put results into tables: means and intervals over seeds, failures, and what is tied.

    Best and tied methods together hold the one that is truly nearest to retraining with 95 %
    confidence, by paired t tests over seeds (of one seed: over its images). What
    the grid asks for and is not there is named, and nothing is ranked before it is.
    """
    if page and (out or format_ != "text"):
        raise OptionError("Expected --page, or --format and --out, got both: a page is Markdown")
    if format_ not in FORMATS:
        raise OptionError(f"Expected a --format among {[*FORMATS]}, got {format_!r}")
    path = flags.new_file(out, force=force) if out else None
    from unsee import benchmark, folder

    place = Path(results)
    records, asked = benchmark.read_results(place), benchmark.read_asked(place)
    if page:
        block = benchmark.page_block(place, Path(page), records, asked)
        text = benchmark.into_page(Path(page), place.resolve().name, block)
        folder.write(Path(page), text.encode())
        print(page)
        return
    text = f"{getattr(benchmark, f'as_{format_}')(records, asked).rstrip()}\n"
    if path is None:
        print(text, end="")
    else:
        folder.write(path, text.encode())
        print(path)


@bench.command("plot")
def bench_plot(
    results: Results,
    out: Annotated[
        str | None, Option("--out", metavar="DIR", help="A folder; else that of the results.")
    ] = None,
) -> None:
    """Draw distance to retraining against seconds and image gradients, an SVG for each rule."""
    from unsee import benchmark, folder

    place = Path(results)
    drawn = benchmark.pareto(benchmark.read_results(place), benchmark.read_asked(place))
    if not drawn:
        raise RunError(f"Expected distances to a retrained model in {results}, got none")
    place = Path(out or results)
    if not place.is_dir():
        raise OptionError(f"Expected a folder for --out, got {place}: make it first")
    for name, picture in drawn.items():
        file = place / name
        folder.write(file, picture.file().encode())
        print(file)


@bench.command("check")
def bench_check(
    grid: GridFile,
    results: Where = None,
    work: Work = "runs/bench",
    only: Only = None,
    seed: Annotated[
        int | None, Option("--seed", metavar="N", help="Draws the cell; else any number.")
    ] = None,
    tolerance: Annotated[
        float, Option("--tolerance", metavar="T", help="How far figures in 0..1 may be off.")
    ] = 0.02,
    accept: Annotated[
        bool,
        Option("--accept", help="Of each method whose code has changed; its cells then stand."),
    ] = False,
    against: Annotated[
        str | None,
        Option("--against", metavar="DIR", help="Compare with results here; see above."),
    ] = None,
    jobs: Jobs = 1,
    quiet: flags.Quiet = False,
) -> int:
    """Measure one cell, drawn by lot, again, and compare it with what was kept.

    Ends with exit code 3 if a figure is off by more than the tolerance. It is computed with as many
    threads as it was, and with the same instructions where this processor has them.

    With --accept one cell of each method whose code has changed since, of whole classes and of
    other images. Where it comes out alike, all such cells of the method stand for the code of
    today, and say so; else unsee bench run measures them again. Machines without those instructions
    round otherwise: --against compares with what the code of before gave on this one.
    """
    import secrets

    from unsee import console
    from unsee.benchmark import checking
    from unsee.benchmark.running import read_grid

    number = secrets.randbelow(10**6) if seed is None else seed
    place, scratch = _places(grid, results, work)
    asked = read_grid(Path(grid))
    there = Path(against) if against else place
    groups = checking.changed(asked, place, only or ()) if accept else {"": asked.cells()}
    if not groups:
        checking.kept(asked.cells(), place, only or ())  # or there is nothing to say that of
        print("no cell was made by other code")
        return 0
    print(f"drawn with --seed {number}, tolerance {tolerance:g}, 1 % for image gradients")
    outside = []
    for method, cells in groups.items():
        alike = checking.as_kept(cells, place, there) if against else cells
        cell = checking.drawn(alike, there, number, only or ())
        with console.progress(quiet=quiet):
            done = checking.check(cell, there, scratch, tolerance=tolerance, jobs=jobs, anew=accept)
        print(f"{console.printable(cell.name)}: {'inside' if done.inside else 'outside'}")
        if not (accept and done.inside):
            _print_figures(done)
        if not done.inside:
            outside.append(done.name)
        elif accept:
            checking.stand(cells, place, scratch, done)
            print(f"{console.printable(method)}: {len(cells)} cells stand")
    if outside:
        say(
            f"a figure is outside the tolerance, or a cell failed differently: {len(outside)} cells"
        )
    return OUTSIDE if outside else 0


def _print_figures(done: "Checked") -> None:
    from unsee import console

    if not done.same_code:
        print("the code or the grid has changed since it was kept")
    if not done.same_options:
        print("its options are others: a default has changed")
    for name, was, found in done.other:
        print(f"{name}: {was} then, {found} now, so that sums round otherwise")
    for x in done.figures:
        if x.inside and x.end != "value":
            continue
        now, before = (("-" if v is None else f"{v:,.4f}") for v in (x.now, x.before))
        name = x.name if x.end == "value" else f"{x.name} ({x.end})"
        print(f"{name:38} {before:>14} {now:>14}  {'' if x.inside else 'outside'}".rstrip())
    for when, why in zip(("before", "now"), done.failed, strict=True):
        if why:
            print(f"failed {when}: {console.printable(why)}")


@bench.command("recipe")
def bench_recipe(
    results: Results,
    cell: Annotated[
        str | None, Argument(metavar="[CELL]", help="The name of a cell; none: all of them.")
    ] = None,
) -> None:
    """Print cells as lines of `unsee run` to paste."""
    from unsee import benchmark

    records = benchmark.read_results(Path(results))
    names = {record["cell"]["name"]: benchmark.pasted(record) for record in records}
    if cell is not None and cell not in names:
        raise OptionError(f"Expected a cell among {[*names][:8]}, got {cell!r}")
    for line in [names[cell]] if cell else names.values():
        print(line)

"""The layers of unsee import downwards only, and the public names stay what they are."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType

import pytest

import unsee

LAYERS = [
    *("errors", "events", "machine", "memory", "ranks", "cluster", "parallel", "draws", "nouns"),
    *("functional", "data", "models", "distributed", "training", "matching", "explanation"),
    "methods",
    *(
        "testing",
        "audits",
        "locking",
        "ownership",
        "folder",
        "unnamed",
        "accounting",
        "verdict",
        "reporting",
    ),
    *(
        "requirements",
        "references",
        "buffers",
        "units",
        "preparation",
        "guarding",
        "tuning",
        "erasure",
        "auditing",
        "fleets",
        "rehearsal",
        "pipeline",
        "sequences",
    ),
    *("certificate", "ledger", "web", "console", "benchmark", "cli", "__init__"),
    "__main__",
]
UPWARDS = {("nouns/_data.py", "data")}  # Data.from_dataset: the one name that users look for there
SOURCE = Path(__file__).parent.parent / "src" / "unsee"
FILES = sorted(SOURCE.rglob("*.py"))


def name_of(path):
    return path.relative_to(SOURCE).as_posix()


def layer(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def parsed(path):
    return [*ast.walk(ast.parse(path.read_text()))]


def imported_layers(path):
    found = set()
    for node in parsed(path):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("unsee.")}
    return found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_only_from_below(path):
    here = LAYERS.index(layer(path))
    above = {name for name in imported_layers(path) if LAYERS.index(name) > here}
    above -= {name for file, name in UPWARDS if file == name_of(path)}
    assert not above, f"{path.name} is in layer {LAYERS[here]!r} and imports from above: {above}"


@pytest.mark.parametrize("file, name", UPWARDS)
def test_an_exception_to_the_layers_is_needed_and_stays_inside_a_function(file, name):
    assert name in imported_layers(SOURCE / file)
    tree = ast.parse((SOURCE / file).read_text())
    outer = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert f"unsee.{name}" not in " ".join(map(ast.unparse, outer))


def test_a_file_is_readable_in_one_sitting():
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in FILES}
    assert not {name: length for name, length in lengths.items() if length > 300}


def test_a_file_is_called_by_what_it_holds():
    vague = ("util", "help", "common", "base", "manager", "engine", "misc")
    names = {name_of(path): path.stem.lstrip("_") for path in FILES}
    assert not [file for file, name in names.items() if name.startswith(vague)]


def test_public_names_survive_the_import_of_every_submodule():
    for module in walk_packages(unsee.__path__, "unsee."):
        if not module.name.endswith("__main__"):  # importing that is running it
            import_module(module.name)
    public = {name: getattr(unsee, name) for name in unsee.__all__}
    assert unsee.__all__ == sorted(unsee.__all__) and len(unsee.__all__) <= 20
    assert not [name for name, value in public.items() if isinstance(value, ModuleType)]
    with pytest.raises(AttributeError, match="'unsee' has no attribute 'scurb'"):
        _ = unsee.scurb


def test_what_type_checkers_see_is_what_there_is():
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    shown = {alias.asname for node in guarded.body for alias in node.names}
    assert shown == {*unsee.__all__}


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "code",
    [
        "import unsee; unsee.Run; unsee.Config; unsee.Measurement; unsee.UnseeError",
        "import unsee.events, unsee.errors",
        "import unsee.folder",
        "import unsee.reporting",
        "import unsee.ledger",
        "import unsee.benchmark",
    ],
)
def test_what_only_reads_runs_loads_no_torch(code):
    done = run_python(f"import sys; {code}; sys.exit('torch' in sys.modules)")
    assert done.returncode == 0, done.stderr or "torch was imported"


def test_nothing_depends_on_assertions_which_python_may_leave_out():
    found = {(name_of(p), n.lineno) for p in FILES for n in parsed(p) if isinstance(n, ast.Assert)}
    assert not found


GLOBAL_STATE = {  # what would change the caller's process
    *("manual_seed", "manual_seed_all", "seed", "set_rng_state", "set_num_threads"),
    *("use_deterministic_algorithms", "set_default_dtype", "set_default_device"),
    *("set_float32_matmul_precision", "set_grad_enabled", "filterwarnings", "simplefilter"),
}
GIVE_BACK = {"fork_rng", "catch_warnings", "set_grad_enabled"}  # context managers that undo it


def calls(tree):
    """All calls below ``tree``, but for what runs inside a block that gives the state back."""
    if isinstance(tree, ast.With):
        if any(name in ast.unparse(item) for item in tree.items for name in GIVE_BACK):
            return
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Attribute):
        yield tree
    last = getattr(tree, "finalbody", [])  # what a ``finally`` calls again is given back there
    back = {call.func.attr for end in last for call in calls(end)} & GLOBAL_STATE
    for child in ast.iter_child_nodes(tree):
        yield from (call for call in calls(child) if call.func.attr not in back)


def test_global_state_is_left_alone_outside_a_block_that_gives_it_back():
    found = {
        (name_of(path), ast.unparse(call))
        for path in FILES
        for call in calls(ast.parse(path.read_text()))
        if call.func.attr in GLOBAL_STATE and "Generator" not in ast.unparse(call.func.value)
    }
    assert not found


def test_a_torch_file_is_never_unpickled():
    loads = [n for p in FILES for n in parsed(p) if isinstance(n, ast.Call)]
    flags = [
        {word.arg: ast.unparse(word.value) for word in call.keywords}
        for call in loads
        if ast.unparse(call.func) == "torch.load"
    ]
    assert all(flag.get("weights_only") == "True" for flag in flags)


def test_an_exception_is_caught_by_name_and_not_swallowed():
    handlers = [
        (name_of(p), n) for p in FILES for n in parsed(p) if isinstance(n, ast.ExceptHandler)
    ]
    assert not [(file, h.lineno) for file, h in handlers if h.type is None]
    broad = [(file, h) for file, h in handlers if "Exception" in ast.unparse(h.type)]
    told = (ast.Raise, ast.Return)  # what comes back says what happened
    swallowing = [(f, h.lineno) for f, h in broad if not isinstance(h.body[-1], told)]
    assert not swallowing
